//! Records of opens as octets, those of a server and those of a client: the files that every version has to read, and what holds for
//! all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong should stop"
)]

mod bodies;
#[path = "record/golden.rs"]
mod golden;
#[path = "record/golden_client.rs"]
mod golden_client;
#[path = "record/properties.rs"]
mod properties;

use std::fs;
use std::path::Path;

use bodies::record::{self, Form};
use leasehold::persist::{ClientRecord, Record, RecordError, RecordField, RecordForm};
use leasehold::server::LockSequence;
use leasehold::wire::{Lease, LeaseFlags, LeaseV2};
use leasehold::{Epoch, LeaseKey, LeaseState, OplockLevel};

/// Every prefix of the octets of a record is none, and with every bit that is another an error names the field that has it.
fn assert_every_prefix_and_every_bit_counts<R: Form>(record: &R) {
    let octets = record.encode();
    for len in 0..octets.len() {
        record::assert_cut_short::<R>(&octets, len);
    }
    for at in 0..octets.len() {
        for bit in 0..8 {
            let error = R::decode(&record::flipped(&octets, at, bit)).unwrap_err();
            let expected = match at {
                0..=3 => RecordField::Magic,
                5 => RecordField::Version,
                8..12 => RecordField::Length,
                _ => RecordField::Checksum,
            };
            assert_eq!(error.field(), expected, "{at}, {bit}: {error}");
        }
    }
}

#[test]
fn every_prefix_and_every_bit_counts() {
    assert_every_prefix_and_every_bit_counts(&golden::everything());
    assert_every_prefix_and_every_bit_counts(&golden_client::everything());
}

/// Of octets that are `opaque` no value is wrong by itself.
fn assert_every_value_is_judged_as_specified<R: Form>(record: &R, opaque: impl Fn(usize) -> bool) {
    let octets = record.encode();
    for at in 0..octets.len() - 4 {
        for value in (0..=u8::MAX).filter(|value| !opaque(at) || [0, 1, 0xff].contains(value)) {
            let mut octets = octets.clone();
            octets[at] = value;
            record::judged_as_specified::<R>(&record::mended(octets));
        }
    }
}

#[test]
fn every_value_of_every_octet_is_judged_as_specified() {
    for record in [golden::minimal(), golden::everything(), golden::lease_v1(), golden::directory()] {
        assert_every_value_is_judged_as_specified(&record, |at| matches!(at, 16..=191 | 204..=223));
    }
    for record in golden_client::all() {
        assert_every_value_is_judged_as_specified(&record, |at| matches!(at, 12..=123));
    }
}

#[cfg(feature = "seal")]
fn assert_every_prefix_and_every_bit_counts_sealed<R: Form>(record: &R) {
    use leasehold::persist::{Nonce, SealKey};

    let key = SealKey::new([7; 32]);
    let octets = record.seal(&key, Nonce::new([9; 12]));
    for len in 0..octets.len() {
        let error = R::unseal(&octets[..len], record.name(), &key).unwrap_err();
        assert_eq!(error.field(), RecordField::Length, "{len}: {error}");
    }
    for at in 0..octets.len() {
        for bit in 0..8 {
            let error = R::unseal(&record::flipped(&octets, at, bit), record.name(), &key).unwrap_err();
            let expected = match at {
                0..=3 => RecordField::Magic,
                5 => RecordField::Version,
                6..8 => RecordField::FixedLength,
                8..12 => RecordField::Length,
                24..32 => RecordField::Name,
                _ => RecordField::Tag,
            };
            assert_eq!(error.field(), expected, "{at}, {bit}: {error}");
        }
    }
}

#[cfg(feature = "seal")]
#[test]
fn every_prefix_and_every_bit_of_a_sealed_record_counts() {
    assert_every_prefix_and_every_bit_counts_sealed(&golden::everything());
    assert_every_prefix_and_every_bit_counts_sealed(&golden_client::everything());
}

#[cfg(feature = "seal")]
#[test]
fn a_key_is_not_shown() {
    let key = leasehold::persist::SealKey::new([0xab; 32]);
    assert_eq!(format!("{key:?}"), "SealKey(..)");
}

#[test]
fn a_newer_major_version_is_refused_whatever_it_looks_like() {
    fn of_a_newer<R: Form>(record: &R) -> String {
        let mut octets = record.encode();
        octets[5] = 2;
        octets.truncate(20);
        let error = R::decode(&octets).unwrap_err();
        assert_eq!(error, RecordError::Version { form: R::FORM, major: 2, minor: 0 });
        error.to_string()
    }
    let text = of_a_newer(&golden::everything());
    assert_eq!(text, "Record: Version 2.0, only 1.x can be read (offset 4)");
    let text = of_a_newer(&golden_client::everything());
    assert_eq!(text, "Client Record: Version 2.0, only 1.x can be read (offset 4)");
}

/// A record that was stored as another form than it is read as.
fn assert_other_form<T>(read: Result<T, RecordError>, form: RecordForm, found: RecordForm) {
    assert_eq!(read.err(), Some(RecordError::OtherForm { form, found }));
}

#[test]
fn the_records_of_servers_and_of_clients_are_told_apart() {
    let (server, client) = (golden::everything().encode(), golden_client::everything().encode());
    assert_other_form(Record::decode(&client), RecordForm::Plain, RecordForm::Client);
    assert_other_form(ClientRecord::decode(&server), RecordForm::Client, RecordForm::Plain);
}

#[cfg(feature = "seal")]
#[test]
fn sealed_records_are_told_apart() {
    use leasehold::persist::{Nonce, SealKey};

    let (server, mut client) = (golden::everything(), golden_client::everything());
    client.id = server.persistent;
    let (name, key) = (client.id, SealKey::new([7; 32]));
    let (server, client) = (server.encode(), client.encode());
    assert_other_form(Record::unseal(&server, name, &key), RecordForm::Sealed, RecordForm::Plain);
    assert_other_form(Record::unseal(&client, name, &key), RecordForm::Sealed, RecordForm::Client);
    assert_other_form(ClientRecord::unseal(&server, name, &key), RecordForm::Sealed, RecordForm::Plain);
    assert_other_form(ClientRecord::unseal(&client, name, &key), RecordForm::Sealed, RecordForm::Client);

    let server = Record::decode(&server).unwrap().seal(&key, Nonce::new([1; 12]));
    let client = ClientRecord::decode(&client).unwrap().seal(&key, Nonce::new([2; 12]));
    assert_other_form(Record::decode(&server), RecordForm::Plain, RecordForm::Sealed);
    assert_other_form(ClientRecord::decode(&client), RecordForm::Client, RecordForm::Sealed);
    // What is inside is of the other side, under the same name.
    assert_other_form(Record::unseal(&client, name, &key), RecordForm::Plain, RecordForm::Client);
    assert_other_form(ClientRecord::unseal(&server, name, &key), RecordForm::Client, RecordForm::Plain);
}

#[test]
fn errors_name_form_field_and_offset() {
    let text = |octets: &[u8]| Record::decode(octets).unwrap_err().to_string();
    let octets = golden::everything().encode();
    assert_eq!(text(b"{\"persistent\": 7}"), "Record: Magic is another one (offset 0)");
    assert_eq!(text(b"\xf5LHS"), "Record: Magic is that of a Sealed Record (offset 0)");
    assert_eq!(text(&[]), "Record: Length 240, only 0 are there (offset 8)");
    assert_eq!(text(&octets[..281]), "Record: Length 282, only 281 are there (offset 8)");
    assert_eq!(text(&[&octets[..], &[0]].concat()), "Record: Length 282, 283 are there (offset 8)");

    let sound = |at: usize, value: u8| {
        let mut octets = octets.clone();
        octets[at] = value;
        text(&record::mended(octets))
    };
    assert_eq!(sound(231, 0x0a), "Record: OplockLevel 0xa is undefined (offset 231)");
    assert_eq!(sound(231, 0x09), "Record: OplockLevel 0x9 is undefined (offset 231)");
    assert_eq!(sound(233, 0x1e), "Record: Directory is absent and not zero (offset 48)");
    assert_eq!(sound(233, 0x0f), "Record: Told is absent and not zero (offset 200)");
    assert_eq!(sound(233, 0x3f), "Record: Present 0x3f is undefined (offset 233)");
    assert_eq!(sound(269, 2), "Record: Exclusive 0x2 is undefined (offset 269)");
    assert_eq!(sound(274, 0x1f), "Record: LockSequence 0x41f is undefined (offset 274)");
}

#[test]
fn more_locks_than_there_are_octets_make_no_room() {
    let mut octets = golden::everything().encode();
    octets[12..16].fill(0xff);
    let error = Record::decode(&record::mended(octets)).unwrap_err();
    assert_eq!(error.to_string(), "Record: LockCount 0xffffffff is undefined (offset 12)");
}

#[test]
fn lock_sequences_stand_in_order() {
    // Two of one index, and two the wrong way round: neither is written.
    for second in [0x10u32, 0x1f, 0x00] {
        let mut record = golden::everything();
        record.sequences.done(LockSequence::from_wire(0x20).unwrap());
        let mut octets = record.encode();
        octets[274..278].copy_from_slice(&second.to_le_bytes());
        let error = Record::decode(&record::mended(octets)).unwrap_err();
        assert_eq!((error.field(), error.offset()), (RecordField::LockSequence, 274));
    }
}

#[test]
fn the_lease_says_what_the_level_is() {
    let mut record = golden::everything();
    let lawful = record.clone();
    record.level = OplockLevel::Batch;
    assert_eq!(Record::decode(&record.encode()), Ok(lawful));

    record.lease = None;
    for level in [OplockLevel::Lease, OplockLevel::from_wire(0x10)] {
        record.level = level;
        let decoded = Record::decode(&record.encode()).unwrap();
        assert_eq!((decoded.level, decoded.lease), (OplockLevel::None, None));
    }
}

#[test]
fn the_flag_of_a_parent_is_there_if_the_parent_is() {
    let mut record = golden::everything();
    let lease = |flags, parent| {
        let (key, state, epoch) = (LeaseKey::new([1; 16]), LeaseState::R, Epoch::new(1));
        Some(Lease::V2(LeaseV2 { key, state, flags, parent, epoch }))
    };
    record.lease = lease(LeaseFlags::PARENT_LEASE_KEY_SET, None);
    let decoded = Record::decode(&record.encode()).unwrap();
    assert_eq!(decoded.lease, lease(LeaseFlags::empty(), None));
}

// ---- Seeds ----

#[test]
fn every_committed_seed_and_every_file_goes_through_the_body() {
    for directory in ["fuzz/seeds/record", "tests/golden"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty());
        for path in paths {
            // Shown if the body panics.
            println!("{}", path.display());
            let octets = fs::read(&path).unwrap();
            record::record::<Record>(&octets);
            record::record::<ClientRecord>(&octets);
        }
    }
}
