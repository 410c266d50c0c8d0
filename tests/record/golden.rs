//! Records written from the tables in the documentation of `Record`, field by field, and the files that are those octets.
//!
//! Checksums are those of zlib, and what is sealed was sealed with OpenSSL. Whatever version of the crate reads this, the files
//! stay as they are: a store may hold their like.

use leasehold::persist::{LockRecord, Record, RecordError, RecordForm};
use leasehold::server::{AppInstance, LockSequence, ObjectKind};
use leasehold::wire::{AppInstanceId, AppInstanceVersion, Lease, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Access, ClientGuid, CreateAction, CreateGuid, CreateOptions, Disposition, Epoch, FileKey, LeaseKey,
    LeaseState, OplockLevel, ShareMode, UserId,
};
use uuid::Uuid;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../golden/record-", $name, ".bin")).as_slice()
    };
}

const CLIENT: ClientGuid = ClientGuid::new(Uuid::from_u128(0xf1e2d3c4_b5a6_9788_0123_456789abcdef));
const CREATE_GUID: CreateGuid = CreateGuid::new(Uuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff));
const OWNER: UserId = UserId::new([
    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f,
]);
const INSTANCE: AppInstanceId = AppInstanceId { id: Uuid::from_u128(0xa1b2c3d4_e5f6_a7b8_c9d0_e1f203142536) };

pub(crate) fn minimal() -> Record {
    let file = FileKey::new(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    let mut record = Record::new(0x1122_3344_5566_7788, file, CLIENT, OWNER, CREATE_GUID);
    record.desired = Access::empty();
    record.granted = Access::empty();
    record.sharing = ShareMode::empty();
    record
}

/// A value that says in every field which one it is.
pub(crate) fn everything() -> Record {
    let client = ClientGuid::new(Uuid::from_u128(0x76543210_ba98_fedc_0f1e_2d3c4b5a6978));
    let create_guid = CreateGuid::new(Uuid::from_u128(0x01020304_0506_0708_090a_0b0c0d0e0f10));
    let file = FileKey::new(0x8000_0000_0000_0000_0000_0000_0000_00ff);
    let owner = UserId::new(*b"OWNER-OWNER-OWNE");
    let mut record = Record::new(0xffff_ffff_ffff_fffe, file, client, owner, create_guid);
    record.written = 0x2122_2324_2526_2728;
    record.directory = Some(FileKey::new(0x0000_0000_0000_0002_0000_0000_0000_0001));
    record.parent = Some(LeaseKey::new(*b"PARENT OPLOCK KE"));
    let version = AppInstanceVersion { high: 0x0102_0304_0506_0708, low: 0x1112_1314_1516_1718 };
    record.instance = Some(AppInstance { id: INSTANCE, version: Some(version) });
    record.desired = Access::from_bits_retain(0x0012_019f);
    record.granted = Access::from_bits_retain(0x001f_01ff);
    record.sharing = ShareMode::ALL;
    record.disposition = Disposition::OverwriteIf;
    record.options = CreateOptions::from_bits_retain(0x0020_1042);
    record.action = CreateAction::Overwritten;
    record.timeout = 300_000;
    record.channel_sequence = 0x1234;
    record.connected = true;
    record.goes = true;
    record.level = OplockLevel::Lease;
    record.lease = Some(Lease::V2(LeaseV2 {
        key: LeaseKey::new(*b"LEASE KEY OF IT."),
        state: LeaseState::RWH,
        flags: LeaseFlags::BREAK_IN_PROGRESS,
        parent: Some(LeaseKey::new(*b"THE DIRECTORY'S.")),
        epoch: Epoch::new(0xfffe),
    }));
    record.told = Some(LeaseState::R);
    record.relaxed = true;
    record.locks = vec![
        LockRecord { offset: 4096, len: 512, exclusive: true },
        LockRecord { offset: u64::MAX, len: 0, exclusive: false },
    ];
    done(&mut record, 1, 0);
    done(&mut record, 64, 15);
    record
}

pub(crate) fn lease_v1() -> Record {
    let mut record = Record::new(7, FileKey::new(42), CLIENT, OWNER, CREATE_GUID);
    record.written = 1;
    record.directory = Some(FileKey::new(43));
    record.desired = Access::from_bits_retain(0x0012_0089);
    record.granted = record.desired;
    record.sharing = ShareMode::READ;
    record.disposition = Disposition::OpenIf;
    record.options = CreateOptions::NON_DIRECTORY_FILE;
    record.action = CreateAction::Created;
    record.timeout = 60_000;
    record.connected = true;
    record.level = OplockLevel::Lease;
    let octets =
        [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x22, 0x22, 0x33, 0x33, 0x33, 0x33, 0x44, 0x44, 0x44, 0x44];
    let flags = LeaseFlags::empty();
    record.lease = Some(Lease::V1(LeaseV1 { key: LeaseKey::new(octets), state: LeaseState::RH, flags }));
    record
}

pub(crate) fn directory() -> Record {
    let mut record = Record::new(8, FileKey::new(43), CLIENT, OWNER, CREATE_GUID);
    record.written = 2;
    record.directory = Some(FileKey::new(1));
    record.parent = Some(LeaseKey::ZERO);
    record.instance = Some(AppInstance { id: INSTANCE, version: None });
    record.desired = Access::from_bits_retain(0x0010_0081);
    record.granted = record.desired;
    record.sharing = ShareMode::ALL;
    record.options = CreateOptions::DIRECTORY_FILE;
    record.kind = ObjectKind::Directory;
    record.timeout = 120_000;
    record.channel_sequence = 2;
    record.level = OplockLevel::Lease;
    let octets =
        [0xaa, 0xaa, 0xaa, 0xaa, 0xbb, 0xbb, 0xbb, 0xbb, 0xcc, 0xcc, 0xcc, 0xcc, 0xdd, 0xdd, 0xdd, 0xdd];
    record.lease = Some(Lease::V2(LeaseV2 {
        key: LeaseKey::new(octets),
        state: LeaseState::RH,
        flags: LeaseFlags::empty(),
        parent: None,
        epoch: Epoch::new(1),
    }));
    record
}

fn locks() -> Record {
    let mut record = minimal();
    record.written = u64::MAX;
    record.level = OplockLevel::Batch;
    record.told = Some(LeaseState::NONE);
    let lock = |i: u64| LockRecord { offset: i * 1000, len: i + 1, exclusive: i % 2 == 1 };
    record.locks = (0..32).map(lock).collect();
    for i in 0..32 {
        done(&mut record, 2 * i + 2, i % 16);
    }
    record
}

fn done(record: &mut Record, index: u32, number: u32) {
    record.sequences.done(LockSequence::from_wire(index << 4 | number).unwrap());
}

/// The octets of a text: pairs of hexadecimal digits, and a remark behind `#` that begins with the offset.
fn octets(text: &str) -> Vec<u8> {
    let mut octets = vec![];
    for line in text.trim().lines() {
        let (digits, remark) = line.split_once('#').unwrap();
        assert_eq!(remark.split_whitespace().next(), Some(octets.len().to_string().as_str()), "{line}");
        octets.extend(digits.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()));
    }
    octets
}

#[test]
fn version_1_0_is_read_and_written_as_it_is_specified() {
    for (text, file, record) in [
        (MINIMAL, file!("v1-minimal"), minimal()),
        (EVERYTHING, file!("v1-everything"), everything()),
        (LEASE_V1, file!("v1-lease-v1"), lease_v1()),
        (DIRECTORY, file!("v1-directory"), directory()),
        (LOCKS, file!("v1-locks"), locks()),
    ] {
        assert_eq!(octets(text), file);
        assert_eq!(Record::decode(file), Ok(record.clone()));
        assert_eq!(record.encode(), file);
        assert_eq!(record.encoded_len(), file.len());
        assert_eq!(Record::decode_as(record.persistent, file), Ok(record));
    }
}

#[test]
fn what_a_later_minor_version_adds_is_skipped() {
    let file = file!("v1.7-everything");
    assert_eq!(octets(LATER), file);
    assert_eq!(Record::decode(file), Ok(everything()));
    assert_eq!(everything().encode(), file!("v1-everything"), "what was skipped is not kept");
}

#[test]
fn a_write_that_was_torn_is_seen() {
    // The octets up to 228 are those of a later state of the open, the others those of an earlier one.
    let error = Record::decode(file!("v1-torn")).unwrap_err();
    let form = RecordForm::Plain;
    assert_eq!(error, RecordError::Checksum { form, offset: 278, found: 0xba5c_ff24, computed: 0x04fa_a6f9 });
    let text = "Record: Checksum 0xba5cff24, computed 0x04faa6f9 (offset 278)";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_record_of_another_open_is_seen_where_the_open_is_named() {
    let file = file!("v1-foreign");
    assert_eq!(Record::decode(file).unwrap().persistent, 0x99);
    assert!(Record::decode_as(0x99, file).is_ok());
    let error = Record::decode_as(0x1122_3344_5566_7788, file).unwrap_err();
    let (form, expected) = (RecordForm::Plain, 0x1122_3344_5566_7788);
    assert_eq!(error, RecordError::Foreign { form, offset: 16, found: 0x99, expected });
    assert_eq!(error.to_string(), "Record: Persistent 0x99, expected 0x1122334455667788 (offset 16)");
}

#[cfg(feature = "seal")]
#[test]
fn a_sealed_record_is_read_and_written_as_it_is_specified() {
    use leasehold::persist::{Nonce, SealKey};

    let file = file!("v1-sealed");
    assert_eq!(octets(SEALED), file);
    let key = SealKey::new(std::array::from_fn(|i| i as u8));
    let record = everything();
    assert_eq!(Record::unseal(file, record.persistent, &key), Ok(record.clone()));
    let nonce = Nonce::new(std::array::from_fn(|i| 0xa0 + i as u8));
    assert_eq!(record.seal(&key, nonce), file);
}

/// No more than a record has to have.
const MINIMAL: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
ec 00                                            # 6    FixedLength 236
f0 00 00 00                                      # 8    Length 240
00 00 00 00                                      # 12   LockCount 0
88 77 66 55 44 33 22 11                          # 16   Persistent 0x1122334455667788
00 00 00 00 00 00 00 00                          # 24   Written 0
0f 0e 0d 0c 0b 0a 09 08 07 06 05 04 03 02 01 00  # 32   File 0x000102030405060708090a0b0c0d0e0f
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 48   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 64   Parent
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 80   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 96   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 112  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 128  AppInstanceId
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 152  AppInstanceVersionLow
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 160  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 176  ParentLeaseKey
00 00 00 00                                      # 192  LeaseState
00 00 00 00                                      # 196  LeaseFlags
00 00 00 00                                      # 200  Told
00 00 00 00                                      # 204  DesiredAccess
00 00 00 00                                      # 208  GrantedAccess
00 00 00 00                                      # 212  ShareAccess
00 00 00 00                                      # 216  CreateOptions
00 00 00 00                                      # 220  Timeout
00 00                                            # 224  Epoch
00 00                                            # 226  ChannelSequence
01                                               # 228  CreateDisposition FILE_OPEN
01                                               # 229  CreateAction FILE_OPENED
00                                               # 230  Kind file
00                                               # 231  OplockLevel NONE
00                                               # 232  LeaseVersion none
00                                               # 233  Present nothing
00                                               # 234  State nothing
00                                               # 235  0 lock sequences
44 b4 15 b4                                      # 236  Checksum 0xb415b444
";

/// Whatever can be there is.
const EVERYTHING: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
ec 00                                            # 6    FixedLength 236
1a 01 00 00                                      # 8    Length 282
02 00 00 00                                      # 12   LockCount 2
fe ff ff ff ff ff ff ff                          # 16   Persistent 0xfffffffffffffffe
28 27 26 25 24 23 22 21                          # 24   Written 0x2122232425262728
ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80  # 32   File 0x800000000000000000000000000000ff
01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00  # 48   Directory 0x00000000000000020000000000000001
50 41 52 45 4e 54 20 4f 50 4c 4f 43 4b 20 4b 45  # 64   Parent PARENT OPLOCK KE
10 32 54 76 98 ba dc fe 0f 1e 2d 3c 4b 5a 69 78  # 80   ClientGuid 76543210-ba98-fedc-0f1e-2d3c4b5a6978
4f 57 4e 45 52 2d 4f 57 4e 45 52 2d 4f 57 4e 45  # 96   Owner OWNER-OWNER-OWNE
04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10  # 112  CreateGuid 01020304-0506-0708-090a-0b0c0d0e0f10
d4 c3 b2 a1 f6 e5 b8 a7 c9 d0 e1 f2 03 14 25 36  # 128  AppInstanceId a1b2c3d4-e5f6-a7b8-c9d0-e1f203142536
08 07 06 05 04 03 02 01                          # 144  AppInstanceVersionHigh 0x0102030405060708
18 17 16 15 14 13 12 11                          # 152  AppInstanceVersionLow 0x1112131415161718
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 160  LeaseKey LEASE KEY OF IT.
54 48 45 20 44 49 52 45 43 54 4f 52 59 27 53 2e  # 176  ParentLeaseKey THE DIRECTORY'S.
07 00 00 00                                      # 192  LeaseState RWH
06 00 00 00                                      # 196  LeaseFlags BREAK_IN_PROGRESS, PARENT_LEASE_KEY_SET
01 00 00 00                                      # 200  Told R
9f 01 12 00                                      # 204  DesiredAccess 0x0012019f
ff 01 1f 00                                      # 208  GrantedAccess 0x001f01ff
07 00 00 00                                      # 212  ShareAccess all
42 10 20 00                                      # 216  CreateOptions 0x00201042
e0 93 04 00                                      # 220  Timeout 300000
fe ff                                            # 224  Epoch 0xfffe
34 12                                            # 226  ChannelSequence 0x1234
05                                               # 228  CreateDisposition FILE_OVERWRITE_IF
03                                               # 229  CreateAction FILE_OVERWRITTEN
00                                               # 230  Kind file
ff                                               # 231  OplockLevel LEASE
02                                               # 232  LeaseVersion 2
1f                                               # 233  Present directory, parent, instance, its version, told
07                                               # 234  State connected, goes, relaxed
02                                               # 235  2 lock sequences
00 10 00 00 00 00 00 00                          # 236  Offset 4096
00 02 00 00 00 00 00 00                          # 244  Length 512
01                                               # 252  exclusive
ff ff ff ff ff ff ff ff                          # 253  Offset 0xffffffffffffffff
00 00 00 00 00 00 00 00                          # 261  Length 0
00                                               # 269  shared
10 00 00 00                                      # 270  index 1, number 0
0f 04 00 00                                      # 274  index 64, number 15
24 ff 5c ba                                      # 278  Checksum 0xba5cff24
";

/// A lease of version 1.
const LEASE_V1: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
ec 00                                            # 6    FixedLength 236
f0 00 00 00                                      # 8    Length 240
00 00 00 00                                      # 12   LockCount 0
07 00 00 00 00 00 00 00                          # 16   Persistent 7
01 00 00 00 00 00 00 00                          # 24   Written 1
2a 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 32   File 42
2b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 48   Directory 43
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 64   Parent
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 80   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 96   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 112  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 128  AppInstanceId
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 152  AppInstanceVersionLow
11 11 11 11 22 22 22 22 33 33 33 33 44 44 44 44  # 160  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 176  ParentLeaseKey
03 00 00 00                                      # 192  LeaseState RH
00 00 00 00                                      # 196  LeaseFlags
00 00 00 00                                      # 200  Told
89 00 12 00                                      # 204  DesiredAccess 0x00120089
89 00 12 00                                      # 208  GrantedAccess 0x00120089
01 00 00 00                                      # 212  ShareAccess FILE_SHARE_READ
40 00 00 00                                      # 216  CreateOptions FILE_NON_DIRECTORY_FILE
60 ea 00 00                                      # 220  Timeout 60000
00 00                                            # 224  Epoch
00 00                                            # 226  ChannelSequence
03                                               # 228  CreateDisposition FILE_OPEN_IF
02                                               # 229  CreateAction FILE_CREATED
00                                               # 230  Kind file
ff                                               # 231  OplockLevel LEASE
01                                               # 232  LeaseVersion 1
01                                               # 233  Present directory
01                                               # 234  State connected
00                                               # 235  0 lock sequences
50 34 45 e0                                      # 236  Checksum 0xe0453450
";

/// A directory, its lease, and an instance without a version.
const DIRECTORY: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
ec 00                                            # 6    FixedLength 236
f0 00 00 00                                      # 8    Length 240
00 00 00 00                                      # 12   LockCount 0
08 00 00 00 00 00 00 00                          # 16   Persistent 8
02 00 00 00 00 00 00 00                          # 24   Written 2
2b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 32   File 43
01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 48   Directory 1
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 64   Parent, which is there and zero
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 80   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 96   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 112  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
d4 c3 b2 a1 f6 e5 b8 a7 c9 d0 e1 f2 03 14 25 36  # 128  AppInstanceId a1b2c3d4-e5f6-a7b8-c9d0-e1f203142536
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 152  AppInstanceVersionLow
aa aa aa aa bb bb bb bb cc cc cc cc dd dd dd dd  # 160  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 176  ParentLeaseKey
03 00 00 00                                      # 192  LeaseState RH
00 00 00 00                                      # 196  LeaseFlags
00 00 00 00                                      # 200  Told
81 00 10 00                                      # 204  DesiredAccess 0x00100081
81 00 10 00                                      # 208  GrantedAccess 0x00100081
07 00 00 00                                      # 212  ShareAccess all
01 00 00 00                                      # 216  CreateOptions FILE_DIRECTORY_FILE
c0 d4 01 00                                      # 220  Timeout 120000
01 00                                            # 224  Epoch 1
02 00                                            # 226  ChannelSequence 2
01                                               # 228  CreateDisposition FILE_OPEN
01                                               # 229  CreateAction FILE_OPENED
01                                               # 230  Kind directory
ff                                               # 231  OplockLevel LEASE
02                                               # 232  LeaseVersion 2
07                                               # 233  Present directory, parent, instance without a version
00                                               # 234  State nothing
00                                               # 235  0 lock sequences
46 ea 78 50                                      # 236  Checksum 0x5078ea46
";

/// An oplock that is to be given up, 32 locks and 32 lock sequences.
const LOCKS: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
ec 00                                            # 6    FixedLength 236
90 03 00 00                                      # 8    Length 912
20 00 00 00                                      # 12   LockCount 32
88 77 66 55 44 33 22 11                          # 16   Persistent 0x1122334455667788
ff ff ff ff ff ff ff ff                          # 24   Written 0xffffffffffffffff
0f 0e 0d 0c 0b 0a 09 08 07 06 05 04 03 02 01 00  # 32   File 0x000102030405060708090a0b0c0d0e0f
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 48   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 64   Parent
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 80   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 96   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 112  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 128  AppInstanceId
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 152  AppInstanceVersionLow
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 160  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 176  ParentLeaseKey
00 00 00 00                                      # 192  LeaseState
00 00 00 00                                      # 196  LeaseFlags
00 00 00 00                                      # 200  Told NONE, which is there and zero
00 00 00 00                                      # 204  DesiredAccess
00 00 00 00                                      # 208  GrantedAccess
00 00 00 00                                      # 212  ShareAccess
00 00 00 00                                      # 216  CreateOptions
00 00 00 00                                      # 220  Timeout
00 00                                            # 224  Epoch
00 00                                            # 226  ChannelSequence
01                                               # 228  CreateDisposition FILE_OPEN
01                                               # 229  CreateAction FILE_OPENED
00                                               # 230  Kind file
09                                               # 231  OplockLevel BATCH
00                                               # 232  LeaseVersion none
10                                               # 233  Present told
00                                               # 234  State nothing
20                                               # 235  32 lock sequences
00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00# 236  lock 0
e8 03 00 00 00 00 00 00 02 00 00 00 00 00 00 00 01# 253  lock 1
d0 07 00 00 00 00 00 00 03 00 00 00 00 00 00 00 00# 270  lock 2
b8 0b 00 00 00 00 00 00 04 00 00 00 00 00 00 00 01# 287  lock 3
a0 0f 00 00 00 00 00 00 05 00 00 00 00 00 00 00 00# 304  lock 4
88 13 00 00 00 00 00 00 06 00 00 00 00 00 00 00 01# 321  lock 5
70 17 00 00 00 00 00 00 07 00 00 00 00 00 00 00 00# 338  lock 6
58 1b 00 00 00 00 00 00 08 00 00 00 00 00 00 00 01# 355  lock 7
40 1f 00 00 00 00 00 00 09 00 00 00 00 00 00 00 00# 372  lock 8
28 23 00 00 00 00 00 00 0a 00 00 00 00 00 00 00 01# 389  lock 9
10 27 00 00 00 00 00 00 0b 00 00 00 00 00 00 00 00# 406  lock 10
f8 2a 00 00 00 00 00 00 0c 00 00 00 00 00 00 00 01# 423  lock 11
e0 2e 00 00 00 00 00 00 0d 00 00 00 00 00 00 00 00# 440  lock 12
c8 32 00 00 00 00 00 00 0e 00 00 00 00 00 00 00 01# 457  lock 13
b0 36 00 00 00 00 00 00 0f 00 00 00 00 00 00 00 00# 474  lock 14
98 3a 00 00 00 00 00 00 10 00 00 00 00 00 00 00 01# 491  lock 15
80 3e 00 00 00 00 00 00 11 00 00 00 00 00 00 00 00# 508  lock 16
68 42 00 00 00 00 00 00 12 00 00 00 00 00 00 00 01# 525  lock 17
50 46 00 00 00 00 00 00 13 00 00 00 00 00 00 00 00# 542  lock 18
38 4a 00 00 00 00 00 00 14 00 00 00 00 00 00 00 01# 559  lock 19
20 4e 00 00 00 00 00 00 15 00 00 00 00 00 00 00 00# 576  lock 20
08 52 00 00 00 00 00 00 16 00 00 00 00 00 00 00 01# 593  lock 21
f0 55 00 00 00 00 00 00 17 00 00 00 00 00 00 00 00# 610  lock 22
d8 59 00 00 00 00 00 00 18 00 00 00 00 00 00 00 01# 627  lock 23
c0 5d 00 00 00 00 00 00 19 00 00 00 00 00 00 00 00# 644  lock 24
a8 61 00 00 00 00 00 00 1a 00 00 00 00 00 00 00 01# 661  lock 25
90 65 00 00 00 00 00 00 1b 00 00 00 00 00 00 00 00# 678  lock 26
78 69 00 00 00 00 00 00 1c 00 00 00 00 00 00 00 01# 695  lock 27
60 6d 00 00 00 00 00 00 1d 00 00 00 00 00 00 00 00# 712  lock 28
48 71 00 00 00 00 00 00 1e 00 00 00 00 00 00 00 01# 729  lock 29
30 75 00 00 00 00 00 00 1f 00 00 00 00 00 00 00 00# 746  lock 30
18 79 00 00 00 00 00 00 20 00 00 00 00 00 00 00 01# 763  lock 31
20 00 00 00                                      # 780  index 2, number 0
41 00 00 00                                      # 784  index 4, number 1
62 00 00 00                                      # 788  index 6, number 2
83 00 00 00                                      # 792  index 8, number 3
a4 00 00 00                                      # 796  index 10, number 4
c5 00 00 00                                      # 800  index 12, number 5
e6 00 00 00                                      # 804  index 14, number 6
07 01 00 00                                      # 808  index 16, number 7
28 01 00 00                                      # 812  index 18, number 8
49 01 00 00                                      # 816  index 20, number 9
6a 01 00 00                                      # 820  index 22, number 10
8b 01 00 00                                      # 824  index 24, number 11
ac 01 00 00                                      # 828  index 26, number 12
cd 01 00 00                                      # 832  index 28, number 13
ee 01 00 00                                      # 836  index 30, number 14
0f 02 00 00                                      # 840  index 32, number 15
20 02 00 00                                      # 844  index 34, number 0
41 02 00 00                                      # 848  index 36, number 1
62 02 00 00                                      # 852  index 38, number 2
83 02 00 00                                      # 856  index 40, number 3
a4 02 00 00                                      # 860  index 42, number 4
c5 02 00 00                                      # 864  index 44, number 5
e6 02 00 00                                      # 868  index 46, number 6
07 03 00 00                                      # 872  index 48, number 7
28 03 00 00                                      # 876  index 50, number 8
49 03 00 00                                      # 880  index 52, number 9
6a 03 00 00                                      # 884  index 54, number 10
8b 03 00 00                                      # 888  index 56, number 11
ac 03 00 00                                      # 892  index 58, number 12
cd 03 00 00                                      # 896  index 60, number 13
ee 03 00 00                                      # 900  index 62, number 14
0f 04 00 00                                      # 904  index 64, number 15
ba 1e 7c dc                                      # 908  Checksum 0xdc7c1eba
";

/// [`EVERYTHING`] as a later minor version would write it, with eleven octets more.
const LATER: &str = "
f5 4c 48 50                                      # 0    Magic
07 01                                            # 4    Version 1.7
f7 00                                            # 6    FixedLength 247
25 01 00 00                                      # 8    Length 293
02 00 00 00                                      # 12   LockCount 2
fe ff ff ff ff ff ff ff                          # 16   Persistent 0xfffffffffffffffe
28 27 26 25 24 23 22 21                          # 24   Written 0x2122232425262728
ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80  # 32   File 0x800000000000000000000000000000ff
01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00  # 48   Directory 0x00000000000000020000000000000001
50 41 52 45 4e 54 20 4f 50 4c 4f 43 4b 20 4b 45  # 64   Parent PARENT OPLOCK KE
10 32 54 76 98 ba dc fe 0f 1e 2d 3c 4b 5a 69 78  # 80   ClientGuid 76543210-ba98-fedc-0f1e-2d3c4b5a6978
4f 57 4e 45 52 2d 4f 57 4e 45 52 2d 4f 57 4e 45  # 96   Owner OWNER-OWNER-OWNE
04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10  # 112  CreateGuid 01020304-0506-0708-090a-0b0c0d0e0f10
d4 c3 b2 a1 f6 e5 b8 a7 c9 d0 e1 f2 03 14 25 36  # 128  AppInstanceId a1b2c3d4-e5f6-a7b8-c9d0-e1f203142536
08 07 06 05 04 03 02 01                          # 144  AppInstanceVersionHigh 0x0102030405060708
18 17 16 15 14 13 12 11                          # 152  AppInstanceVersionLow 0x1112131415161718
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 160  LeaseKey LEASE KEY OF IT.
54 48 45 20 44 49 52 45 43 54 4f 52 59 27 53 2e  # 176  ParentLeaseKey THE DIRECTORY'S.
07 00 00 00                                      # 192  LeaseState RWH
06 00 00 00                                      # 196  LeaseFlags BREAK_IN_PROGRESS, PARENT_LEASE_KEY_SET
01 00 00 00                                      # 200  Told R
9f 01 12 00                                      # 204  DesiredAccess 0x0012019f
ff 01 1f 00                                      # 208  GrantedAccess 0x001f01ff
07 00 00 00                                      # 212  ShareAccess all
42 10 20 00                                      # 216  CreateOptions 0x00201042
e0 93 04 00                                      # 220  Timeout 300000
fe ff                                            # 224  Epoch 0xfffe
34 12                                            # 226  ChannelSequence 0x1234
05                                               # 228  CreateDisposition FILE_OVERWRITE_IF
03                                               # 229  CreateAction FILE_OVERWRITTEN
00                                               # 230  Kind file
ff                                               # 231  OplockLevel LEASE
02                                               # 232  LeaseVersion 2
1f                                               # 233  Present directory, parent, instance, its version, told
07                                               # 234  State connected, goes, relaxed
02                                               # 235  2 lock sequences
de ad be ef 00 11 22 33 44 55 66                 # 236  eleven octets that version 1.7 added
00 10 00 00 00 00 00 00                          # 247  Offset 4096
00 02 00 00 00 00 00 00                          # 255  Length 512
01                                               # 263  exclusive
ff ff ff ff ff ff ff ff                          # 264  Offset 0xffffffffffffffff
00 00 00 00 00 00 00 00                          # 272  Length 0
00                                               # 280  shared
10 00 00 00                                      # 281  index 1, number 0
0f 04 00 00                                      # 285  index 64, number 15
8c 42 ed 33                                      # 289  Checksum 0x33ed428c
";

/// [`EVERYTHING`], sealed with the key 00 01 02 ... 1f.
#[cfg(feature = "seal")]
const SEALED: &str = "
f5 4c 48 53                                      # 0    Magic
00 01                                            # 4    Version 1.0
20 00                                            # 6    FixedLength 32
4a 01 00 00                                      # 8    Length 330
a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab              # 12   Nonce
fe ff ff ff ff ff ff ff                          # 24   Persistent 0xfffffffffffffffe
13 54 34 7d 45 ca ee bf 78 64 87 d3 05 7a c0 de  # 32   ciphertext
8e 53 a6 ef 6d 48 bd 93 b4 29 00 a3 5b 88 57 20  # 48   ciphertext
2d 76 47 ff af 22 53 3d 5f 9c 04 c8 09 7a 83 79  # 64   ciphertext
46 1b 46 48 62 d0 1a 7e 43 5e 0b 5e a4 70 85 b0  # 80   ciphertext
e4 fd d7 2a 7e f1 c4 af a4 ae b0 5b c4 ee 87 ff  # 96   ciphertext
dd 39 ff d2 5d 7b 45 84 e1 6b 13 a6 fa c0 24 ec  # 112  ciphertext
c0 d3 65 ee 51 83 c0 cc d0 9e 54 7d ca df a3 6d  # 128  ciphertext
20 53 63 af d8 30 93 3b 26 c5 d5 a8 b9 5b fd 5d  # 144  ciphertext
11 d2 02 de 25 a7 38 b0 fe 89 1f 79 11 5e b4 e0  # 160  ciphertext
80 de ab 6e ba d3 f8 8d e5 da ab e0 bb d4 26 3a  # 176  ciphertext
8a 5d 5e e2 f3 4a 0b 53 db 2a 64 64 4f 9b e2 cf  # 192  ciphertext
23 6e b8 b8 46 2f fc 7b c1 d6 39 6b 05 a5 4c 79  # 208  ciphertext
33 36 4c c9 66 d1 bb ed f2 5d 40 cf d6 25 20 b5  # 224  ciphertext
ad e8 fb e8 38 63 d8 b8 af d1 78 e5 bd 55 de 67  # 240  ciphertext
96 ae 06 33 bc 6e d9 c0 c2 a3 45 5d 42 1b 40 7f  # 256  ciphertext
0b bd c2 3f 89 50 70 87 6b ad ad 6a 64 cc d7 6d  # 272  ciphertext
e8 c0 36 78 10 cc a2 e0 66 a3 57 85 67 3b 7c d3  # 288  ciphertext
38 11 05 54 bb ba e7 d5 a4 dd                    # 304  ciphertext
46 1b 68 b8 2d 42 79 ab db df b9 76 d5 32 96 97  # 314  Tag
";
