//! Records of persistent opens as octets: the files that every version has to read, and what holds for all of them.

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

use std::fs;
use std::path::Path;

use arbitrary::Unstructured;
use bodies::record;
use leasehold::persist::{Record, RecordError, RecordField, RecordForm};
use leasehold::server::LockSequence;
use leasehold::wire::{Lease, LeaseFlags, LeaseV2};
use leasehold::{Epoch, LeaseKey, LeaseState, OplockLevel};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/record.txt",
        ))),
        ..ProptestConfig::default()
    }
}

fn records() -> impl Strategy<Value = Record> {
    vec(any::<u8>(), 0..700).prop_map(|octets| record::draw(&mut Unstructured::new(&octets)))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_record_comes_back(value in records()) {
        record::comes_back(&value);
    }

    #[test]
    fn a_record_cut_short_is_refused(value in records(), cut in any::<prop::sample::Index>()) {
        let octets = value.encode();
        record::assert_cut_short(&octets, cut.index(octets.len()));
    }

    #[test]
    fn a_record_with_another_bit_is_refused(value in records(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let octets = value.encode();
        prop_assert!(Record::decode(&record::flipped(&octets, at.index(octets.len()), bit)).is_err());
    }

    #[test]
    fn octets_behind_a_record_are_refused(value in records(), behind in vec(any::<u8>(), 1..40)) {
        let mut octets = value.encode();
        let (len, form) = (octets.len() as u32, RecordForm::Plain);
        octets.extend(behind);
        let had = octets.len() as u32;
        prop_assert_eq!(Record::decode(&octets), Err(RecordError::Trailing { form, len, had }));
    }

    #[test]
    fn a_changed_octet_is_judged_as_specified(value in records(), at in any::<prop::sample::Index>(), new in any::<u8>()) {
        let mut octets = value.encode();
        let end = octets.len() - 4;
        octets[at.index(end)] = new;
        record::judged_as_specified(&octets);
        let checksum = record::crc32(&octets[..end]);
        octets[end..].copy_from_slice(&checksum.to_le_bytes());
        record::judged_as_specified(&octets);
    }

    #[test]
    fn any_octets_keep_the_laws(octets in vec(any::<u8>(), 0..700)) {
        record::record(&octets);
    }

    #[cfg(feature = "arbitrary")]
    #[test]
    fn whatever_arbitrary_makes_comes_back(octets in vec(any::<u8>(), 0..700)) {
        use arbitrary::Arbitrary;

        if let Ok(value) = Record::arbitrary(&mut Unstructured::new(&octets)) {
            record::comes_back(&value);
        }
    }

    #[cfg(feature = "seal")]
    #[test]
    fn a_sealed_record_comes_back_with_its_key_only(
        value in records(),
        damage in any::<u16>(),
        bit in any::<u8>(),
        cut in any::<u16>(),
    ) {
        record::sealed_laws(&value, damage.into(), bit, cut);
    }

    #[cfg(feature = "seal")]
    #[test]
    fn what_was_not_sealed_is_not_unsealed(octets in vec(any::<u8>(), 0..400)) {
        record::unsealed(&octets);
    }
}

#[test]
fn every_prefix_and_every_bit_counts() {
    let octets = golden::everything().encode();
    for len in 0..octets.len() {
        record::assert_cut_short(&octets, len);
    }
    for at in 0..octets.len() {
        for bit in 0..8 {
            let error = Record::decode(&record::flipped(&octets, at, bit)).unwrap_err();
            let expected: &[RecordField] = match at {
                0..=3 => &[RecordField::Magic],
                5 => &[RecordField::Version],
                8..12 => &[RecordField::Length],
                _ => &[RecordField::Checksum],
            };
            assert!(expected.contains(&error.field()), "{at}, {bit}: {error}");
        }
    }
}

#[test]
fn every_value_of_every_octet_is_judged_as_specified() {
    for record in [golden::minimal(), golden::everything(), golden::lease_v1(), golden::directory()] {
        let octets = record.encode();
        let end = octets.len() - 4;
        for at in 0..end {
            // Identifiers, keys and masks have no values that are wrong by themselves.
            let opaque = matches!(at, 16..=191 | 204..=223);
            for value in (0..=u8::MAX).filter(|value| !opaque || [0, 1, 0xff].contains(value)) {
                let mut octets = octets.clone();
                octets[at] = value;
                let checksum = record::crc32(&octets[..end]);
                octets[end..].copy_from_slice(&checksum.to_le_bytes());
                record::judged_as_specified(&octets);
            }
        }
    }
}

#[cfg(feature = "seal")]
#[test]
fn every_prefix_and_every_bit_of_a_sealed_record_counts() {
    use leasehold::persist::{Nonce, SealKey};

    let (record, key) = (golden::everything(), SealKey::new([7; 32]));
    let octets = record.seal(&key, Nonce::new([9; 12]));
    for len in 0..octets.len() {
        let error = Record::unseal(&octets[..len], record.persistent, &key).unwrap_err();
        assert_eq!(error.field(), RecordField::Length, "{len}: {error}");
    }
    for at in 0..octets.len() {
        for bit in 0..8 {
            let octets = record::flipped(&octets, at, bit);
            let error = Record::unseal(&octets, record.persistent, &key).unwrap_err();
            let expected = match at {
                0..=3 => RecordField::Magic,
                5 => RecordField::Version,
                6..8 => RecordField::FixedLength,
                8..12 => RecordField::Length,
                24..32 => RecordField::Persistent,
                _ => RecordField::Tag,
            };
            assert_eq!(error.field(), expected, "{at}, {bit}: {error}");
        }
    }
}

#[cfg(feature = "seal")]
#[test]
fn a_key_is_not_shown() {
    let key = leasehold::persist::SealKey::new([0xab; 32]);
    assert_eq!(format!("{key:?}"), "SealKey(..)");
}

#[test]
fn a_newer_major_version_is_refused_whatever_it_looks_like() {
    let mut octets = golden::everything().encode();
    octets[5] = 2;
    octets.truncate(20);
    let error = Record::decode(&octets).unwrap_err();
    assert_eq!(error, RecordError::Version { form: RecordForm::Plain, major: 2, minor: 0 });
    assert_eq!(error.to_string(), "Record: Version 2.0, only 1.x can be read (offset 4)");
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
        let checksum = record::crc32(&octets[..278]);
        octets[278..].copy_from_slice(&checksum.to_le_bytes());
        text(&octets)
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
    let checksum = record::crc32(&octets[..278]);
    octets[278..].copy_from_slice(&checksum.to_le_bytes());
    let error = Record::decode(&octets).unwrap_err();
    assert_eq!(error.to_string(), "Record: LockCount 0xffffffff is undefined (offset 12)");
}

#[test]
fn lock_sequences_stand_in_order() {
    // Two of one index, and two the wrong way round: neither is written.
    for second in [0x10u32, 0x1f, 0x00] {
        let mut record = golden::everything();
        record.sequences.done(LockSequence::from_wire(0x20).unwrap());
        let mut octets = record.encode();
        let end = octets.len() - 4;
        octets[274..278].copy_from_slice(&second.to_le_bytes());
        let checksum = record::crc32(&octets[..end]);
        octets[end..].copy_from_slice(&checksum.to_le_bytes());
        let error = Record::decode(&octets).unwrap_err();
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
            record::record(&fs::read(&path).unwrap());
        }
    }
}
