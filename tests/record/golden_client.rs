//! Records of a client written from the table in the documentation of `ClientRecord`, field by field, and the files that are those
//! octets.
//!
//! Checksums are those of zlib, and what is sealed was sealed with OpenSSL. As in `golden.rs`, the files stay as they are.

use leasehold::client::FileRef;
use leasehold::persist::{ClientRecord, Need, Promise, RecordError, RecordField, RecordForm};
use leasehold::server::ShareFlags;
use leasehold::{
    Access, CreateGuid, CreateOptions, Disposition, Epoch, FileId, LeaseKey, LeaseState, OplockLevel,
    ShareMode,
};
use uuid::Uuid;

use super::golden::octets;
use super::record;

#[path = "octets_client.rs"]
mod texts;

use texts::*;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../golden/client-record-", $name, ".bin")).as_slice()
    };
}

const CREATE_GUID: CreateGuid = CreateGuid::new(Uuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff));

fn minimal() -> ClientRecord {
    with(0x1122_3344_5566_7788, Promise::V1)
}

fn with(id: u64, promise: Promise) -> ClientRecord {
    let (file, key) = (FileRef::new(0x0807_0605_0403_0201), LeaseKey::new(*b"LEASE KEY OF IT."));
    let file_id = FileId::new(0x1716_1514_1312_1110, 0x1f1e_1d1c_1b1a_1918);
    let mut record = ClientRecord::new(id, file, key, file_id, promise);
    record.access = Access::empty();
    record.sharing = ShareMode::empty();
    record
}

/// A value that says in every field which one it is.
pub(crate) fn everything() -> ClientRecord {
    let guid = CreateGuid::new(Uuid::from_u128(0x01020304_0506_0708_090a_0b0c0d0e0f10));
    let (file, key) = (FileRef::new(0xf0e0_d0c0_b0a0_9080), LeaseKey::new(*b"LEASE KEY OF IT."));
    let file_id = FileId::new(0x2122_2324_2526_2728, 0x3132_3334_3536_3738);
    let mut record = ClientRecord::new(0xffff_ffff_ffff_fffe, file, key, file_id, Promise::Persistent(guid));
    record.timeout = 300_000;
    record.directory = Some((FileRef::new(0x4142_4344_4546_4748), LeaseKey::new(*b"THE DIRECTORY'S.")));
    record.level = OplockLevel::Lease;
    record.state = LeaseState::RWH;
    record.epoch = Some(Epoch::new(0xfffe));
    record.access = Access::from_bits_retain(0x0012_019f);
    record.sharing = ShareMode::ALL;
    record.options = CreateOptions::from_bits_retain(0x0020_1042);
    record.share = ShareFlags::CONTINUOUSLY_AVAILABLE;
    record.disposition = Disposition::OverwriteIf;
    record.need = Need::WriteBack;
    record.flush = true;
    record.purge = true;
    record
}

fn lease_v1() -> ClientRecord {
    let mut record = with(2, Promise::V1);
    record.timeout = 960_000;
    record.directory = Some((FileRef::new(0), LeaseKey::ZERO));
    record.level = OplockLevel::Lease;
    record.state = LeaseState::RH;
    record.access = Access::from_bits_retain(0x0012_0089);
    record.sharing = ShareMode::READ;
    record.options = CreateOptions::NON_DIRECTORY_FILE;
    record.share = ShareFlags::FORCE_LEVEL_II;
    record.disposition = Disposition::OpenIf;
    record.purge = true;
    record
}

fn oplock() -> ClientRecord {
    let mut record = with(3, Promise::V2(CREATE_GUID));
    record.timeout = 60_000;
    record.level = OplockLevel::Batch;
    record.access = Access::from_bits_retain(0x0012_019f);
    record.options = CreateOptions::NON_DIRECTORY_FILE;
    record.share = ShareFlags::SCALE_OUT;
    record.disposition = Disposition::Create;
    record.need = Need::Nobody;
    record.flush = true;
    record
}

fn resilient() -> ClientRecord {
    let mut record = with(4, Promise::Resilient(None));
    record.timeout = u32::MAX;
    record.level = OplockLevel::II;
    record.access = Access::from_bits_retain(0x0012_0089);
    record.sharing = ShareMode::READ;
    record
}

fn resilient_guid() -> ClientRecord {
    let mut record = resilient();
    (record.id, record.promise) = (5, Promise::Resilient(Some(CREATE_GUID)));
    record.level = OplockLevel::Lease;
    record.epoch = Some(Epoch::ZERO);
    record
}

pub(crate) fn all() -> [ClientRecord; 6] {
    [minimal(), everything(), lease_v1(), oplock(), resilient(), resilient_guid()]
}

#[test]
fn version_1_0_is_read_and_written_as_it_is_specified() {
    let texts = [MINIMAL, EVERYTHING, LEASE_V1, OPLOCK, RESILIENT, RESILIENT_GUID];
    let files = [
        file!("v1-minimal"),
        file!("v1-everything"),
        file!("v1-lease-v1"),
        file!("v1-oplock"),
        file!("v1-resilient"),
        file!("v1-resilient-guid"),
    ];
    for ((text, file), record) in texts.into_iter().zip(files).zip(all()) {
        assert_eq!(octets(text), file);
        assert_eq!(ClientRecord::decode(file), Ok(record));
        assert_eq!(record.encode(), file);
        assert_eq!(record.encoded_len(), file.len());
        assert_eq!(ClientRecord::decode_as(record.id, file), Ok(record));
    }
}

#[test]
fn what_a_later_minor_version_adds_is_skipped() {
    let file = file!("v1.7-everything");
    assert_eq!(octets(LATER), file);
    assert_eq!(ClientRecord::decode(file), Ok(everything()));
    assert_eq!(everything().encode(), file!("v1-everything"), "what was skipped is not kept");
}

#[test]
fn a_write_that_was_torn_is_seen() {
    // The octets up to 104 are those of a later state of the open, the others those of an earlier one.
    assert_eq!(octets(TORN), file!("v1-torn"));
    let error = ClientRecord::decode(file!("v1-torn")).unwrap_err();
    let form = RecordForm::Client;
    assert_eq!(error, RecordError::Checksum { form, offset: 132, found: 0x33d3_e591, computed: 0x1ecb_b435 });
    let text = "Client Record: Checksum 0x33d3e591, computed 0x1ecbb435 (offset 132)";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_record_of_another_open_is_seen_where_the_open_is_named() {
    let file = file!("v1-foreign");
    assert_eq!(octets(FOREIGN), file);
    let mut record = oplock();
    record.id = 0x99;
    assert_eq!(ClientRecord::decode_as(0x99, file), Ok(record));
    let error = ClientRecord::decode_as(3, file).unwrap_err();
    let form = RecordForm::Client;
    assert_eq!(error, RecordError::Foreign { form, offset: 16, found: 0x99, expected: 3 });
    assert_eq!(error.to_string(), "Client Record: Name 0x99, expected 0x3 (offset 16)");
}

#[cfg(feature = "seal")]
#[test]
fn a_sealed_record_is_read_and_written_as_it_is_specified() {
    use leasehold::persist::{Nonce, SealKey};

    let file = file!("v1-sealed");
    assert_eq!(octets(SEALED), file);
    let key = SealKey::new(std::array::from_fn(|i| i as u8));
    let record = everything();
    assert_eq!(ClientRecord::unseal(file, record.id, &key), Ok(record));
    let nonce = Nonce::new(std::array::from_fn(|i| 0xa0 + i as u8));
    assert_eq!(record.seal(&key, nonce), file);
}

#[test]
fn errors_name_form_field_and_offset() {
    let text = |octets: &[u8]| ClientRecord::decode(octets).unwrap_err().to_string();
    let octets = everything().encode();
    assert_eq!(text(b"{\"id\": 7}"), "Client Record: Magic is another one (offset 0)");
    assert_eq!(text(b"\xf5LHS"), "Client Record: Magic is that of a Sealed Record (offset 0)");
    assert_eq!(text(b"\xf5LHP"), "Client Record: Magic is that of a Record (offset 0)");
    assert_eq!(text(&[]), "Client Record: Length 136, only 0 are there (offset 8)");
    assert_eq!(text(&octets[..135]), "Client Record: Length 136, only 135 are there (offset 8)");
    assert_eq!(text(&[&octets[..], &[0]].concat()), "Client Record: Length 136, 137 are there (offset 8)");

    let sound = |at: usize, value: u8| {
        let mut octets = octets.clone();
        octets[at] = value;
        text(&record::mended(octets))
    };
    assert_eq!(sound(6, 0x85), "Client Record: FixedLength 0x85 is undefined (offset 6)");
    assert_eq!(sound(126, 6), "Client Record: CreateDisposition 0x6 is undefined (offset 126)");
    assert_eq!(sound(127, 0x0a), "Client Record: OplockLevel 0xa is undefined (offset 127)");
    assert_eq!(sound(128, 1), "Client Record: Promise 0x1 is undefined (offset 128)");
    assert_eq!(sound(128, 5), "Client Record: Promise 0x5 is undefined (offset 128)");
    assert_eq!(sound(129, 3), "Client Record: Need 0x3 is undefined (offset 129)");
    assert_eq!(sound(130, 0x0f), "Client Record: Present 0xf is undefined (offset 130)");
    assert_eq!(sound(131, 4), "Client Record: Due 0x4 is undefined (offset 131)");
    assert_eq!(sound(130, 6), "Client Record: Directory is absent and not zero (offset 32)");
    assert_eq!(sound(130, 3), "Client Record: Epoch is absent and not zero (offset 124)");
}

#[test]
fn later_versions_alone_have_more_fixed_fields() {
    let mut octets = octets(LATER);
    octets[4] = 0;
    let error = ClientRecord::decode(&record::mended(octets)).unwrap_err();
    assert_eq!((error.field(), error.offset()), (RecordField::FixedLength, 6));
}

#[test]
fn the_level_says_whether_there_is_a_lease() {
    let undefined = OplockLevel::from_wire(0x10);
    for (level, lawful) in [(OplockLevel::II, OplockLevel::II), (undefined, OplockLevel::None)] {
        let mut record = everything();
        record.level = level;
        let octets = record.encode();
        (record.level, record.state, record.epoch) = (lawful, LeaseState::NONE, None);
        assert_eq!(ClientRecord::decode(&octets), Ok(record));
    }
}
