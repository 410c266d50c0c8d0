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
    record.level = OplockLevel::Batch;
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
    // The octets up to 216 are those of a later state of the open, the others those of an earlier one.
    let error = Record::decode(file!("v1-torn")).unwrap_err();
    assert_eq!(error, RecordError::Checksum { offset: 266, found: 0x328b_d80a, computed: 0x719b_c064 });
    let text = "Record: Checksum 0x328bd80a, computed 0x719bc064 (offset 266)";
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
e0 00                                            # 6    FixedLength 224
e4 00 00 00                                      # 8    Length 228
00 00 00 00                                      # 12   LockCount 0
88 77 66 55 44 33 22 11                          # 16   Persistent 0x1122334455667788
0f 0e 0d 0c 0b 0a 09 08 07 06 05 04 03 02 01 00  # 24   File 0x000102030405060708090a0b0c0d0e0f
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 56   Parent
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 72   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 88   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 104  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 120  AppInstanceId
00 00 00 00 00 00 00 00                          # 136  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionLow
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 152  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 168  ParentLeaseKey
00 00 00 00                                      # 184  LeaseState
00 00 00 00                                      # 188  LeaseFlags
00 00 00 00                                      # 192  DesiredAccess
00 00 00 00                                      # 196  GrantedAccess
00 00 00 00                                      # 200  ShareAccess
00 00 00 00                                      # 204  CreateOptions
00 00 00 00                                      # 208  Timeout
00 00                                            # 212  Epoch
00 00                                            # 214  ChannelSequence
01                                               # 216  CreateDisposition FILE_OPEN
01                                               # 217  CreateAction FILE_OPENED
00                                               # 218  Kind file
00                                               # 219  OplockLevel NONE
00                                               # 220  LeaseVersion none
00                                               # 221  Present nothing
00                                               # 222  State nothing
00                                               # 223  0 lock sequences
45 58 e0 9d                                      # 224  Checksum 0x9de05845
";

/// Whatever can be there is.
const EVERYTHING: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
e0 00                                            # 6    FixedLength 224
0e 01 00 00                                      # 8    Length 270
02 00 00 00                                      # 12   LockCount 2
fe ff ff ff ff ff ff ff                          # 16   Persistent 0xfffffffffffffffe
ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80  # 24   File 0x800000000000000000000000000000ff
01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00  # 40   Directory 0x00000000000000020000000000000001
50 41 52 45 4e 54 20 4f 50 4c 4f 43 4b 20 4b 45  # 56   Parent PARENT OPLOCK KE
10 32 54 76 98 ba dc fe 0f 1e 2d 3c 4b 5a 69 78  # 72   ClientGuid 76543210-ba98-fedc-0f1e-2d3c4b5a6978
4f 57 4e 45 52 2d 4f 57 4e 45 52 2d 4f 57 4e 45  # 88   Owner OWNER-OWNER-OWNE
04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10  # 104  CreateGuid 01020304-0506-0708-090a-0b0c0d0e0f10
d4 c3 b2 a1 f6 e5 b8 a7 c9 d0 e1 f2 03 14 25 36  # 120  AppInstanceId a1b2c3d4-e5f6-a7b8-c9d0-e1f203142536
08 07 06 05 04 03 02 01                          # 136  AppInstanceVersionHigh 0x0102030405060708
18 17 16 15 14 13 12 11                          # 144  AppInstanceVersionLow 0x1112131415161718
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 152  LeaseKey LEASE KEY OF IT.
54 48 45 20 44 49 52 45 43 54 4f 52 59 27 53 2e  # 168  ParentLeaseKey THE DIRECTORY'S.
07 00 00 00                                      # 184  LeaseState RWH
06 00 00 00                                      # 188  LeaseFlags BREAK_IN_PROGRESS, PARENT_LEASE_KEY_SET
9f 01 12 00                                      # 192  DesiredAccess 0x0012019f
ff 01 1f 00                                      # 196  GrantedAccess 0x001f01ff
07 00 00 00                                      # 200  ShareAccess all
42 10 20 00                                      # 204  CreateOptions 0x00201042
e0 93 04 00                                      # 208  Timeout 300000
fe ff                                            # 212  Epoch 0xfffe
34 12                                            # 214  ChannelSequence 0x1234
05                                               # 216  CreateDisposition FILE_OVERWRITE_IF
03                                               # 217  CreateAction FILE_OVERWRITTEN
00                                               # 218  Kind file
ff                                               # 219  OplockLevel LEASE
02                                               # 220  LeaseVersion 2
0f                                               # 221  Present directory, parent, instance, its version
07                                               # 222  State connected, goes, relaxed
02                                               # 223  2 lock sequences
00 10 00 00 00 00 00 00                          # 224  Offset 4096
00 02 00 00 00 00 00 00                          # 232  Length 512
01                                               # 240  exclusive
ff ff ff ff ff ff ff ff                          # 241  Offset 0xffffffffffffffff
00 00 00 00 00 00 00 00                          # 249  Length 0
00                                               # 257  shared
10 00 00 00                                      # 258  index 1, number 0
0f 04 00 00                                      # 262  index 64, number 15
0a d8 8b 32                                      # 266  Checksum 0x328bd80a
";

/// A lease of version 1.
const LEASE_V1: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
e0 00                                            # 6    FixedLength 224
e4 00 00 00                                      # 8    Length 228
00 00 00 00                                      # 12   LockCount 0
07 00 00 00 00 00 00 00                          # 16   Persistent 7
2a 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 24   File 42
2b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   Directory 43
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 56   Parent
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 72   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 88   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 104  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 120  AppInstanceId
00 00 00 00 00 00 00 00                          # 136  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionLow
11 11 11 11 22 22 22 22 33 33 33 33 44 44 44 44  # 152  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 168  ParentLeaseKey
03 00 00 00                                      # 184  LeaseState RH
00 00 00 00                                      # 188  LeaseFlags
89 00 12 00                                      # 192  DesiredAccess 0x00120089
89 00 12 00                                      # 196  GrantedAccess 0x00120089
01 00 00 00                                      # 200  ShareAccess FILE_SHARE_READ
40 00 00 00                                      # 204  CreateOptions FILE_NON_DIRECTORY_FILE
60 ea 00 00                                      # 208  Timeout 60000
00 00                                            # 212  Epoch
00 00                                            # 214  ChannelSequence
03                                               # 216  CreateDisposition FILE_OPEN_IF
02                                               # 217  CreateAction FILE_CREATED
00                                               # 218  Kind file
ff                                               # 219  OplockLevel LEASE
01                                               # 220  LeaseVersion 1
01                                               # 221  Present directory
01                                               # 222  State connected
00                                               # 223  0 lock sequences
fa 8d c2 33                                      # 224  Checksum 0x33c28dfa
";

/// A directory, its lease, and an instance without a version.
const DIRECTORY: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
e0 00                                            # 6    FixedLength 224
e4 00 00 00                                      # 8    Length 228
00 00 00 00                                      # 12   LockCount 0
08 00 00 00 00 00 00 00                          # 16   Persistent 8
2b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 24   File 43
01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   Directory 1
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 56   Parent, which is there and zero
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 72   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 88   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 104  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
d4 c3 b2 a1 f6 e5 b8 a7 c9 d0 e1 f2 03 14 25 36  # 120  AppInstanceId a1b2c3d4-e5f6-a7b8-c9d0-e1f203142536
00 00 00 00 00 00 00 00                          # 136  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionLow
aa aa aa aa bb bb bb bb cc cc cc cc dd dd dd dd  # 152  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 168  ParentLeaseKey
03 00 00 00                                      # 184  LeaseState RH
00 00 00 00                                      # 188  LeaseFlags
81 00 10 00                                      # 192  DesiredAccess 0x00100081
81 00 10 00                                      # 196  GrantedAccess 0x00100081
07 00 00 00                                      # 200  ShareAccess all
01 00 00 00                                      # 204  CreateOptions FILE_DIRECTORY_FILE
c0 d4 01 00                                      # 208  Timeout 120000
01 00                                            # 212  Epoch 1
02 00                                            # 214  ChannelSequence 2
01                                               # 216  CreateDisposition FILE_OPEN
01                                               # 217  CreateAction FILE_OPENED
01                                               # 218  Kind directory
ff                                               # 219  OplockLevel LEASE
02                                               # 220  LeaseVersion 2
07                                               # 221  Present directory, parent, instance without a version
00                                               # 222  State nothing
00                                               # 223  0 lock sequences
d0 e0 14 74                                      # 224  Checksum 0x7414e0d0
";

/// An oplock, 32 locks and 32 lock sequences.
const LOCKS: &str = "
f5 4c 48 50                                      # 0    Magic
00 01                                            # 4    Version 1.0
e0 00                                            # 6    FixedLength 224
84 03 00 00                                      # 8    Length 900
20 00 00 00                                      # 12   LockCount 32
88 77 66 55 44 33 22 11                          # 16   Persistent 0x1122334455667788
0f 0e 0d 0c 0b 0a 09 08 07 06 05 04 03 02 01 00  # 24   File 0x000102030405060708090a0b0c0d0e0f
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 56   Parent
c4 d3 e2 f1 a6 b5 88 97 01 23 45 67 89 ab cd ef  # 72   ClientGuid f1e2d3c4-b5a6-9788-0123-456789abcdef
20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  # 88   Owner
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 104  CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 120  AppInstanceId
00 00 00 00 00 00 00 00                          # 136  AppInstanceVersionHigh
00 00 00 00 00 00 00 00                          # 144  AppInstanceVersionLow
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 152  LeaseKey
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 168  ParentLeaseKey
00 00 00 00                                      # 184  LeaseState
00 00 00 00                                      # 188  LeaseFlags
00 00 00 00                                      # 192  DesiredAccess
00 00 00 00                                      # 196  GrantedAccess
00 00 00 00                                      # 200  ShareAccess
00 00 00 00                                      # 204  CreateOptions
00 00 00 00                                      # 208  Timeout
00 00                                            # 212  Epoch
00 00                                            # 214  ChannelSequence
01                                               # 216  CreateDisposition FILE_OPEN
01                                               # 217  CreateAction FILE_OPENED
00                                               # 218  Kind file
09                                               # 219  OplockLevel BATCH
00                                               # 220  LeaseVersion none
00                                               # 221  Present nothing
00                                               # 222  State nothing
20                                               # 223  32 lock sequences
00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00# 224  lock 0
e8 03 00 00 00 00 00 00 02 00 00 00 00 00 00 00 01# 241  lock 1
d0 07 00 00 00 00 00 00 03 00 00 00 00 00 00 00 00# 258  lock 2
b8 0b 00 00 00 00 00 00 04 00 00 00 00 00 00 00 01# 275  lock 3
a0 0f 00 00 00 00 00 00 05 00 00 00 00 00 00 00 00# 292  lock 4
88 13 00 00 00 00 00 00 06 00 00 00 00 00 00 00 01# 309  lock 5
70 17 00 00 00 00 00 00 07 00 00 00 00 00 00 00 00# 326  lock 6
58 1b 00 00 00 00 00 00 08 00 00 00 00 00 00 00 01# 343  lock 7
40 1f 00 00 00 00 00 00 09 00 00 00 00 00 00 00 00# 360  lock 8
28 23 00 00 00 00 00 00 0a 00 00 00 00 00 00 00 01# 377  lock 9
10 27 00 00 00 00 00 00 0b 00 00 00 00 00 00 00 00# 394  lock 10
f8 2a 00 00 00 00 00 00 0c 00 00 00 00 00 00 00 01# 411  lock 11
e0 2e 00 00 00 00 00 00 0d 00 00 00 00 00 00 00 00# 428  lock 12
c8 32 00 00 00 00 00 00 0e 00 00 00 00 00 00 00 01# 445  lock 13
b0 36 00 00 00 00 00 00 0f 00 00 00 00 00 00 00 00# 462  lock 14
98 3a 00 00 00 00 00 00 10 00 00 00 00 00 00 00 01# 479  lock 15
80 3e 00 00 00 00 00 00 11 00 00 00 00 00 00 00 00# 496  lock 16
68 42 00 00 00 00 00 00 12 00 00 00 00 00 00 00 01# 513  lock 17
50 46 00 00 00 00 00 00 13 00 00 00 00 00 00 00 00# 530  lock 18
38 4a 00 00 00 00 00 00 14 00 00 00 00 00 00 00 01# 547  lock 19
20 4e 00 00 00 00 00 00 15 00 00 00 00 00 00 00 00# 564  lock 20
08 52 00 00 00 00 00 00 16 00 00 00 00 00 00 00 01# 581  lock 21
f0 55 00 00 00 00 00 00 17 00 00 00 00 00 00 00 00# 598  lock 22
d8 59 00 00 00 00 00 00 18 00 00 00 00 00 00 00 01# 615  lock 23
c0 5d 00 00 00 00 00 00 19 00 00 00 00 00 00 00 00# 632  lock 24
a8 61 00 00 00 00 00 00 1a 00 00 00 00 00 00 00 01# 649  lock 25
90 65 00 00 00 00 00 00 1b 00 00 00 00 00 00 00 00# 666  lock 26
78 69 00 00 00 00 00 00 1c 00 00 00 00 00 00 00 01# 683  lock 27
60 6d 00 00 00 00 00 00 1d 00 00 00 00 00 00 00 00# 700  lock 28
48 71 00 00 00 00 00 00 1e 00 00 00 00 00 00 00 01# 717  lock 29
30 75 00 00 00 00 00 00 1f 00 00 00 00 00 00 00 00# 734  lock 30
18 79 00 00 00 00 00 00 20 00 00 00 00 00 00 00 01# 751  lock 31
20 00 00 00                                      # 768  index 2, number 0
41 00 00 00                                      # 772  index 4, number 1
62 00 00 00                                      # 776  index 6, number 2
83 00 00 00                                      # 780  index 8, number 3
a4 00 00 00                                      # 784  index 10, number 4
c5 00 00 00                                      # 788  index 12, number 5
e6 00 00 00                                      # 792  index 14, number 6
07 01 00 00                                      # 796  index 16, number 7
28 01 00 00                                      # 800  index 18, number 8
49 01 00 00                                      # 804  index 20, number 9
6a 01 00 00                                      # 808  index 22, number 10
8b 01 00 00                                      # 812  index 24, number 11
ac 01 00 00                                      # 816  index 26, number 12
cd 01 00 00                                      # 820  index 28, number 13
ee 01 00 00                                      # 824  index 30, number 14
0f 02 00 00                                      # 828  index 32, number 15
20 02 00 00                                      # 832  index 34, number 0
41 02 00 00                                      # 836  index 36, number 1
62 02 00 00                                      # 840  index 38, number 2
83 02 00 00                                      # 844  index 40, number 3
a4 02 00 00                                      # 848  index 42, number 4
c5 02 00 00                                      # 852  index 44, number 5
e6 02 00 00                                      # 856  index 46, number 6
07 03 00 00                                      # 860  index 48, number 7
28 03 00 00                                      # 864  index 50, number 8
49 03 00 00                                      # 868  index 52, number 9
6a 03 00 00                                      # 872  index 54, number 10
8b 03 00 00                                      # 876  index 56, number 11
ac 03 00 00                                      # 880  index 58, number 12
cd 03 00 00                                      # 884  index 60, number 13
ee 03 00 00                                      # 888  index 62, number 14
0f 04 00 00                                      # 892  index 64, number 15
8e 57 23 68                                      # 896  Checksum 0x6823578e
";

/// [`EVERYTHING`] as a later minor version would write it, with eleven octets more.
const LATER: &str = "
f5 4c 48 50                                      # 0    Magic
07 01                                            # 4    Version 1.7
eb 00                                            # 6    FixedLength 235
19 01 00 00                                      # 8    Length 281
02 00 00 00                                      # 12   LockCount 2
fe ff ff ff ff ff ff ff                          # 16   Persistent 0xfffffffffffffffe
ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80  # 24   File 0x800000000000000000000000000000ff
01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00  # 40   Directory 0x00000000000000020000000000000001
50 41 52 45 4e 54 20 4f 50 4c 4f 43 4b 20 4b 45  # 56   Parent PARENT OPLOCK KE
10 32 54 76 98 ba dc fe 0f 1e 2d 3c 4b 5a 69 78  # 72   ClientGuid 76543210-ba98-fedc-0f1e-2d3c4b5a6978
4f 57 4e 45 52 2d 4f 57 4e 45 52 2d 4f 57 4e 45  # 88   Owner OWNER-OWNER-OWNE
04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10  # 104  CreateGuid 01020304-0506-0708-090a-0b0c0d0e0f10
d4 c3 b2 a1 f6 e5 b8 a7 c9 d0 e1 f2 03 14 25 36  # 120  AppInstanceId a1b2c3d4-e5f6-a7b8-c9d0-e1f203142536
08 07 06 05 04 03 02 01                          # 136  AppInstanceVersionHigh 0x0102030405060708
18 17 16 15 14 13 12 11                          # 144  AppInstanceVersionLow 0x1112131415161718
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 152  LeaseKey LEASE KEY OF IT.
54 48 45 20 44 49 52 45 43 54 4f 52 59 27 53 2e  # 168  ParentLeaseKey THE DIRECTORY'S.
07 00 00 00                                      # 184  LeaseState RWH
06 00 00 00                                      # 188  LeaseFlags BREAK_IN_PROGRESS, PARENT_LEASE_KEY_SET
9f 01 12 00                                      # 192  DesiredAccess 0x0012019f
ff 01 1f 00                                      # 196  GrantedAccess 0x001f01ff
07 00 00 00                                      # 200  ShareAccess all
42 10 20 00                                      # 204  CreateOptions 0x00201042
e0 93 04 00                                      # 208  Timeout 300000
fe ff                                            # 212  Epoch 0xfffe
34 12                                            # 214  ChannelSequence 0x1234
05                                               # 216  CreateDisposition FILE_OVERWRITE_IF
03                                               # 217  CreateAction FILE_OVERWRITTEN
00                                               # 218  Kind file
ff                                               # 219  OplockLevel LEASE
02                                               # 220  LeaseVersion 2
0f                                               # 221  Present directory, parent, instance, its version
07                                               # 222  State connected, goes, relaxed
02                                               # 223  2 lock sequences
de ad be ef 00 11 22 33 44 55 66                 # 224  eleven octets that version 1.7 added
00 10 00 00 00 00 00 00                          # 235  Offset 4096
00 02 00 00 00 00 00 00                          # 243  Length 512
01                                               # 251  exclusive
ff ff ff ff ff ff ff ff                          # 252  Offset 0xffffffffffffffff
00 00 00 00 00 00 00 00                          # 260  Length 0
00                                               # 268  shared
10 00 00 00                                      # 269  index 1, number 0
0f 04 00 00                                      # 273  index 64, number 15
6c de 9d 8f                                      # 277  Checksum 0x8f9dde6c
";

/// [`EVERYTHING`], sealed with the key 00 01 02 ... 1f.
#[cfg(feature = "seal")]
const SEALED: &str = "
f5 4c 48 53                                      # 0    Magic
00 01                                            # 4    Version 1.0
20 00                                            # 6    FixedLength 32
3e 01 00 00                                      # 8    Length 318
a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab              # 12   Nonce
fe ff ff ff ff ff ff ff                          # 24   Persistent 0xfffffffffffffffe
13 54 34 7d 45 ca e2 bf 6c 64 87 d3 05 7a c0 de  # 32   ciphertext
8e 53 a6 ef 6d 48 bd 93 63 0e 26 86 7f ab 75 01  # 48   ciphertext
d2 76 47 ff af 22 53 bd 5e 9c 04 c8 09 7a 83 f9  # 64   ciphertext
45 1b 46 48 62 d0 1a 7e 11 1f 59 1b ea 24 a5 ff  # 80   ciphertext
e4 f0 ca 2c 7b 85 af a5 e4 d0 ab 6e 17 74 10 44  # 96   ciphertext
c2 15 86 98 8e 9b f0 02 a1 22 70 df e3 b7 02 c3  # 112  ciphertext
c1 c1 79 86 4c f9 c1 de 9a d8 04 51 83 8d e5 2f  # 128  ciphertext
2d 5a 6a a2 d3 3b 94 2c fb 0c 6c 05 42 b0 4a ea  # 144  ciphertext
0c c1 51 8d d0 56 a5 21 3f 5e f8 8e 16 49 93 d7  # 160  ciphertext
90 ce bb 7e aa c3 e8 9d b1 88 fc a6 ea e7 7f 6e  # 176  ciphertext
9f 38 50 f7 96 23 14 38 d6 42 6e 02 2b 9b e4 a4  # 192  ciphertext
34 72 b2 ca 5b 41 fd 10 85 82 76 39 5a 82 1f 57  # 208  ciphertext
ab 37 5e c9 9f d0 a4 ed f4 5d 40 cf 0b 34 12 b5  # 224  ciphertext
b2 7a e0 e8 c1 9c ec aa e8 c2 58 1a 5f c9 dd 65  # 240  ciphertext
68 41 32 21 b9 6d d9 3f c0 be 42 5f 42 0b 40 7f  # 256  ciphertext
0a 42 3d c0 76 ad 8f 78 94 ad ad 6a 65 33 28 92  # 272  ciphertext
17 3f d9 87 ef cc ad e4 66 a3 5d 5d ec 09        # 288  ciphertext
0c 39 3a 74 d1 6d 35 6f e0 94 36 1c 08 50 f1 a4  # 302  Tag
";
