//! What codecs elsewhere got wrong, one test for each report; a test is named after the tracker's number and says what is
//! right. The table in `scenarios/README.md` has all reports.
//!
//! Several of these mistakes agreed with themselves, so that the tests beside them passed: a constant swapped both ways,
//! a name cut off on both sides. Here every expectation is octets that were captured, or put together by hand from MS-SMB2
//! 2.2, and each is read and written. Nothing is read from a file, so that Miri can run it for a big-endian target.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong should stop"
)]

use std::fmt::Debug;

use leasehold::wire::{
    Acknowledgment, AppInstanceId, AppInstanceVersion, BreakFlags, ContextWriter, Contexts, CreateRequest,
    CreateResponse, DurableHandleReconnectV2, DurableHandleRequestV2, EncodeError, Fixed, Header, Lease,
    LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2, Named, Notification, OplockBreak, RequestContexts,
    ResponseContexts,
};
use leasehold::{
    Access, CreateAction, CreateOptions, Dialect, Disposition, Epoch, FileId, LeaseKey, LeaseState,
    OplockLevel, SessionId, ShareMode, Status,
};

/// Octets written in hexadecimal; white space is for the eye.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert_eq!(digits.len(), text.chars().filter(|c| !c.is_whitespace()).count());
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// A body is these octets, read and written.
#[track_caller]
fn is<T: Fixed + PartialEq + Debug>(value: T, octets: &str) {
    let octets = hex(octets);
    assert_eq!(T::decode(&octets).as_ref(), Ok(&value));
    assert_eq!(encoded(&value), octets);
}

fn encoded<T: Fixed>(value: &T) -> Vec<u8> {
    let mut octets = Vec::new();
    value.encode(&mut octets);
    octets
}

/// A chain as the writer makes it.
fn chain(write: impl Fn(&mut ContextWriter<'_>) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut buffer = [0xa5; 256];
    let mut writer = ContextWriter::new(&mut buffer);
    write(&mut writer).unwrap();
    let len = writer.finish();
    buffer[..len].to_vec()
}

/// The lease key that the examples of MS-SMB2 2.2 here share, as a GUID {0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0}.
const KEY: LeaseKey = LeaseKey::new([
    0x3c, 0x2d, 0x1e, 0x0f, 0x5a, 0x4b, 0x78, 0x69, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0,
]);
/// Their parent, {11223344-5566-7788-99aa-bbccddeeff00}.
const PARENT: LeaseKey = LeaseKey::new([
    0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00,
]);
const FILE: FileId = FileId { persistent: 0x0000_0005_0000_0011, volatile: 0x0000_0004_0000_00a9 };
/// No contexts and the name a.txt.
const CREATE: &str = "
    fe534d42 40000100 00000000 05000100 00000000 00000000 08000000 00000000
    fffe0000 05000000 19000000 00040000 00000000 00000000 00000000 00000000
    390000ff 02000000 00000000 00000000 00000000 00000000 9f011200 80000000
    07000000 03000000 40000000 78000a00 00000000 00000000 61002e00 74007800
    7400";
/// A client's, captured: BATCH, with a durable handle request.
const CAPTURED_CREATE: &str = "
    fe534d42400001000000000005001f00 00000000000000000900000000000000
    00000000070000000807060504030201 00000000000000000000000000000000
    39000009020000000000000000000000 00000000000000009f01120080000000
    07000000010000004000000078001800 90000000280000007600650063005c00
    660069006c0065002e00640061007400 00000000100004000000180010000000
    44486e51000000000000000000000000 0000000000000000";

// ---- Samba ----

#[test]
fn samba_15849_contexts_and_breaks_are_little_endian_on_every_host() {
    let lease = LeaseV2 {
        key: KEY,
        state: LeaseState::RWH,
        flags: LeaseFlags::from_bits_retain(0x0102_0300),
        parent: Some(PARENT),
        epoch: Epoch::new(0x4711),
    };
    is(
        lease,
        "3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0  07000000 04030201 00000000 00000000
         44332211 66558877 99aabbcc ddeeff00  1147 0000",
    );
    let lease = LeaseV1 { key: KEY, state: LeaseState::RH, flags: LeaseFlags::BREAK_IN_PROGRESS };
    is(lease, "3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0  03000000 02000000 00000000 00000000");
    let notification = LeaseBreak {
        epoch: Epoch::new(0x4712),
        flags: BreakFlags::ACK_REQUIRED,
        key: KEY,
        current: LeaseState::RWH,
        new: LeaseState::RH,
    };
    is(
        notification,
        "2c00 1247 01000000  3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0  07000000 03000000 00000000 00000000 00000000",
    );
    // 120,000 ms; a FileId; a GUID, whose first three fields have an order of their own.
    let request = DurableHandleRequestV2::decode(&hex(
        "c0d40100 02000000 00000000 00000000  c4d3e2f1 a6b5 8897 0123456789abcdef",
    ));
    let request = request.unwrap();
    assert_eq!(request.timeout, 120_000);
    assert_eq!(request.create_guid.to_string(), "f1e2d3c4-b5a6-9788-0123-456789abcdef");
    assert_eq!(encoded(&request)[..8], hex("c0d40100 02000000"));
    assert_eq!(encoded(&request)[16..], hex("c4d3e2f1a6b588970123456789abcdef"));
    let reconnect = "11000000 05000000 a9000000 04000000  c4d3e2f1 a6b5 8897 0123456789abcdef  02000000";
    let decoded = DurableHandleReconnectV2::decode(&hex(reconnect)).unwrap();
    assert_eq!(decoded.file_id, FILE);
    is(decoded, reconnect);
    // Next, NameOffset, NameLength, DataOffset and DataLength of the chain.
    assert_eq!(chain(|writer| writer.put(&lease))[..16], hex("00000000 1000 0400 0000 1800 20000000"));
}

// ---- ksmbd ----

#[test]
fn ksmbd_82_every_break_says_its_own_size() {
    let oplock = OplockBreak { level: OplockLevel::II, file_id: FILE };
    is(oplock, "1800 01 00 00000000 11000000 05000000 a9000000 04000000");
    // Captured: a notification from RH to NONE, and an acknowledgment of H.
    let notification = "2c00 0200 01000000 0100000000000000feffffffffffffff 03000000 00000000
         00000000 00000000 00000000";
    let ack = "2400 0000 00000000 c8cfd6dde4ebf2f900070e151c232a31 02000000 0000000000000000";
    is(LeaseBreak::decode(&hex(notification)).unwrap(), notification);
    is(LeaseAck::decode(&hex(ack)).unwrap(), ack);

    // With the size of another, or that of its body and one more, it is nobody's.
    fn only<T: Fixed + Debug>(size: u16) {
        for other in [0, 24, 25, 36, 37, 44, 45, 0xffff].into_iter().filter(|other| *other != size) {
            let mut octets = vec![0; T::LEN];
            octets[..2].copy_from_slice(&other.to_le_bytes());
            assert!(T::decode(&octets).is_err(), "{other}");
            octets[..2].copy_from_slice(&size.to_le_bytes());
            assert!(T::decode(&octets).is_ok(), "{size}");
        }
    }
    only::<OplockBreak>(24);
    only::<LeaseAck>(36);
    only::<LeaseBreak>(44);
}

#[test]
fn ksmbd_294f1be_answers_and_breaks_of_version_2_carry_epoch_and_parent() {
    let lease = LeaseV2 {
        key: KEY,
        state: LeaseState::RWH,
        flags: LeaseFlags::empty(),
        parent: Some(PARENT),
        epoch: Epoch::new(1),
    };
    let octets = hex("00000000 1000 0400 0000 1800 34000000  52714c73 00000000
         3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0  07000000 04000000 00000000 00000000
         44332211 66558877 99aabbcc ddeeff00  0100 0000");
    let mut contexts = ResponseContexts::default();
    contexts.lease = Some(Lease::V2(lease));
    assert_eq!(ResponseContexts::decode(&octets, |_| ()), Ok(contexts));
    assert_eq!(chain(|writer| contexts.write(writer)), octets);
    // Without the flag there is no parent, whatever lies in its place; and then nothing is written there.
    let mut without = octets[24..].to_vec();
    without[20] = 0;
    let decoded = LeaseV2::decode(&without).unwrap();
    assert_eq!(decoded, LeaseV2 { parent: None, ..lease });
    assert_eq!(encoded(&decoded)[32..], hex("00000000 00000000 00000000 00000000 0100 0000"));
    // NewEpoch of a break lies behind its size.
    let lowered = hex("2c00 0200 01000000 3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0 07000000 03000000
         00000000 00000000 00000000");
    let lowered = LeaseBreak::decode(&lowered).unwrap();
    assert_eq!((lowered.epoch, lowered.flags), (Epoch::new(2), BreakFlags::ACK_REQUIRED));
    assert_eq!(encoded(&LeaseBreak { epoch: Epoch::new(0x0304), ..lowered })[..4], hex("2c00 0403"));
}

#[test]
fn ksmbd_3a55239_level_lease_without_a_context_is_just_that() {
    let octets = hex(CREATE);
    let request = CreateRequest {
        level: OplockLevel::Lease,
        impersonation: 2,
        desired: Access::from_bits_retain(0x0012_019f),
        attributes: 0x80,
        sharing: ShareMode::READ | ShareMode::WRITE | ShareMode::DELETE,
        disposition: Disposition::OpenIf.to_wire(),
        options: CreateOptions::NON_DIRECTORY_FILE,
        name: b"a\0.\0t\0x\0t\0",
        contexts: b"",
    };
    assert_eq!(CreateRequest::decode(&octets), Ok(request));
    let contexts = RequestContexts::decode(request.contexts, |_| panic!("a context"));
    assert_eq!(contexts, Ok(RequestContexts::default()));
    let mut written = octets[..64].to_vec();
    request.encode(&mut written).unwrap();
    assert_eq!(written, octets);
    // And not one of some octets that happen to lie behind it.
    let mut longer = octets;
    longer.extend(hex("00000000 1000 0400 0000 1800 20000000 52714c73 00000000"));
    assert_eq!(CreateRequest::decode(&longer).unwrap().contexts, b"");
}

/// Every context of ours, alone; then chains of several.
const CONTEXTS: [&str; 14] = [
    "00000000 1000 0400 0000 1800 10000000 44486e51 00000000 00000000 00000000 00000000 00000000",
    "00000000 1000 0400 0000 1800 10000000 44486e43 00000000 11000000 05000000 a9000000 04000000",
    "00000000 1000 0400 0000 1800 20000000 44483251 00000000 c0d40100 02000000 00000000 00000000
     c4d3e2f1 a6b58897 01234567 89abcdef",
    "00000000 1000 0400 0000 1800 24000000 44483243 00000000 11000000 05000000 a9000000 04000000
     c4d3e2f1 a6b58897 01234567 89abcdef 02000000",
    "00000000 1000 0400 0000 1800 20000000 52714c73 00000000 3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0
     07000000 00000000 00000000 00000000",
    "00000000 1000 0400 0000 1800 34000000 52714c73 00000000 3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0
     07000000 04000000 00000000 00000000 44332211 66558877 99aabbcc ddeeff00 00000000",
    "00000000 1000 1000 0000 2000 14000000 45bca66a efa7f74a 9008fa46 2e144d74 14000000
     5e3c1a7d 4f2b6d4a 8c9e0f1a 2b3c4d5e",
    "00000000 1000 1000 0000 2000 18000000 b982d0b7 3b56074f a07b524a 8116a010 18000000 00000000
     02000000 00000000 07000000 00000010",
    // DH2C and RqLs 2; DHnC and RqLs 1.
    "40000000 1000 0400 0000 1800 24000000 44483243 00000000 11000000 05000000 a9000000 04000000
     c4d3e2f1 a6b58897 01234567 89abcdef 00000000 00000000
     00000000 1000 0400 0000 1800 34000000 52714c73 00000000 3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0
     07000000 04000000 00000000 00000000 44332211 66558877 99aabbcc ddeeff00 01000000",
    "28000000 1000 0400 0000 1800 10000000 44486e43 00000000 11000000 05000000 a9000000 04000000
     00000000 1000 0400 0000 1800 20000000 52714c73 00000000 3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0
     07000000 00000000 00000000 00000000",
    // DH2Q, AppInstanceId, AppInstanceVersion.
    "38000000 1000 0400 0000 1800 20000000 44483251 00000000 c0d40100 02000000 00000000 00000000
     c4d3e2f1 a6b58897 01234567 89abcdef
     38000000 1000 1000 0000 2000 14000000 45bca66a efa7f74a 9008fa46 2e144d74 14000000
     5e3c1a7d 4f2b6d4a 8c9e0f1a 2b3c4d5e 00000000
     00000000 1000 1000 0000 2000 18000000 b982d0b7 3b56074f a07b524a 8116a010 18000000 00000000
     02000000 00000000 07000000 00000010",
    // Captured: R and H of a directory, and AppInstanceVersion.
    "00000000 1000 0400 0000 1800 34000000 52714c73 00000000 0df0dde0 fe0fdcba f20f221f 01f02345
     03000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 11000000",
    "00000000 1000 0400 0000 1800 20000000 52714c73 00000000 07d11c14 00000000 f82ee3eb ffffffff
     05000000 00000000 00000000 00000000",
    "00000000 1000 1000 0000 2000 18000000 b982d0b7 3b56074f a07b524a 8116a010 18000000 00000000
     01000000 00000000 02000000 00000000",
];

#[test]
fn ksmbd_af2c705_every_truncation_of_every_context_is_an_error() {
    for text in CONTEXTS {
        let octets = hex(text);
        let contexts = RequestContexts::decode(&octets, |_| panic!("all are ours")).unwrap();
        assert_eq!(chain(|writer| contexts.write(writer)), octets);
        for len in 1..octets.len() {
            let cut = RequestContexts::decode(&octets[..len], |_| ());
            assert!(cut.is_err(), "{len} of {}: {cut:?}", octets.len());
            // Nor is a part of it written where there is no room for all.
            let mut room = vec![0xa5; len];
            let mut writer = ContextWriter::new(&mut room);
            assert!(matches!(contexts.write(&mut writer), Err(EncodeError::Full { .. })), "{len}");
            assert_eq!(writer.finish(), 0);
        }
        // A frame that is right around data that are too short, or too long, for their name.
        let last = Contexts::new(&octets).last().unwrap().unwrap();
        let (name, data) = (last.name, last.data);
        for len in (0..data.len()).chain(data.len() + 1..64) {
            let mut wrong = data.to_vec();
            wrong.resize(len, 0);
            let lease = name == b"RqLs" && matches!(len, 32 | 52);
            let framed = chain(|writer| writer.push(name, &wrong));
            assert_eq!(RequestContexts::decode(&framed, |_| ()).is_ok(), lease, "{name:?}, {len}");
        }
    }
}

// ---- DittoFS ----

#[test]
fn dittofs_332_h_is_2_and_w_is_4() {
    // Captured: R and H asked for, R and W granted; H, W and all three acknowledged. Octet 16, and octet 24.
    let key = |octets: &str| LeaseKey::new(hex(octets).try_into().unwrap());
    let asked = LeaseV2 {
        key: key("0df0dde0fe0fdcbaf20f221f01f02345"),
        state: LeaseState::READ | LeaseState::HANDLE,
        flags: LeaseFlags::empty(),
        parent: None,
        epoch: Epoch::new(0x11),
    };
    is(
        asked,
        "0df0dde0fe0fdcbaf20f221f01f02345 03000000 00000000 0000000000000000
         00000000000000000000000000000000 11000000",
    );
    let granted = LeaseV1 {
        key: key("07d11c1400000000f82ee3ebffffffff"),
        state: LeaseState::READ | LeaseState::WRITE,
        flags: LeaseFlags::empty(),
    };
    is(granted, "07d11c1400000000f82ee3ebffffffff 05000000 00000000 0000000000000000");
    for (acknowledged, octet, state) in [
        ("c8cfd6dde4ebf2f900070e151c232a31", "02", LeaseState::HANDLE),
        ("eaf1f8ff060d141b222930373e454c53", "04", LeaseState::WRITE),
        ("1d242b323940474e555c636a71787f86", "07", LeaseState::RWH),
    ] {
        let ack = LeaseAck { key: key(acknowledged), state };
        is(ack, &format!("2400000000000000 {acknowledged} {octet}000000 0000000000000000"));
    }
    // Captured: a break takes H away, another W.
    for (new, lost) in [("05000000", LeaseState::HANDLE), ("03000000", LeaseState::WRITE)] {
        let octets = format!(
            "2c00 1300 01000000 0df0dde0fe0fdcbaf20f221f01f02345 07000000 {new}
             00000000 00000000 00000000"
        );
        let lowered = LeaseBreak::decode(&hex(&octets)).unwrap();
        assert_eq!(lowered.current.difference(lowered.new), lost);
        is(lowered, &octets);
    }
    assert_eq!(
        [1, 2, 4],
        [LeaseState::READ, LeaseState::HANDLE, LeaseState::WRITE].map(|state| state.bits())
    );
    assert_eq!([3, 5, 7], [LeaseState::RH, LeaseState::RW, LeaseState::RWH].map(|state| state.bits()));
}

#[test]
fn dittofs_975_app_instance_names_have_16_octets() {
    // Captured.
    let octets = hex("00000000 1000 1000 0000 2000 14000000  45bca66aefa7f74a9008fa462e144d74
         14000000 0e151c232a31383f464d545b62697077");
    let contexts = RequestContexts::decode(&octets, |_| panic!("not ours")).unwrap();
    let app = contexts.app_instance.unwrap();
    assert_eq!(app.id.to_string(), "231c150e-312a-3f38-464d-545b62697077");
    assert_eq!(chain(|writer| writer.put(&app)), octets);
    assert_eq!(AppInstanceId::NAME, hex("45bca66aefa7f74a9008fa462e144d74"));

    let octets = hex("00000000 1000 1000 0000 2000 18000000  b982d0b73b56074fa07b524a8116a010
         18000000 00000000 01000000 00000000 02000000 00000000");
    let contexts = RequestContexts::decode(&octets, |_| panic!("not ours")).unwrap();
    let version = AppInstanceVersion { high: 1, low: 2 };
    assert_eq!(contexts.app_instance_version, Some(version));
    assert_eq!(chain(|writer| writer.put(&version)), octets);
    assert_eq!(AppInstanceVersion::NAME, hex("b982d0b73b56074fa07b524a8116a010"));

    // What agrees in the first four octets, or in the first fifteen, is something else.
    for name in
        ["45bca66a", "45bca66aefa7f74a9008fa462e144d75", "b982d0b7", "b982d0b73b56074fa07b524a8116a011"]
    {
        let name = hex(name);
        let octets = chain(|writer| writer.push(&name, &[0; 20]));
        let mut others = Vec::new();
        let contexts = RequestContexts::decode(&octets, |other| others.push(other.name.to_vec()));
        assert_eq!((contexts, others), (Ok(RequestContexts::default()), vec![name]));
    }
}

// ---- Chimera ----

#[test]
fn chimera_304_the_requested_level_is_the_fourth_octet() {
    let octets = hex(CAPTURED_CREATE);
    let request = CreateRequest::decode(&octets).unwrap();
    assert_eq!((octets[64 + 3], request.level), (0x09, OplockLevel::Batch));
    let mut written = octets[..64].to_vec();
    request.encode(&mut written).unwrap();
    assert_eq!(written, octets);
    // Every level in its place; its neighbours, SecurityFlags and ImpersonationLevel, are none.
    let levels =
        [OplockLevel::None, OplockLevel::II, OplockLevel::Exclusive, OplockLevel::Batch, OplockLevel::Lease];
    for (octet, level) in [0x00, 0x01, 0x08, 0x09, 0xff].into_iter().zip(levels) {
        let mut changed = octets.clone();
        (changed[64 + 2], changed[64 + 3], changed[64 + 4]) = (0xff, octet, 0x01);
        let decoded = CreateRequest::decode(&changed).unwrap();
        assert_eq!((decoded.level, decoded.impersonation), (level, 1));
        let mut written = Vec::new();
        CreateRequest { level, ..request }.encode(&mut written).unwrap();
        assert_eq!(written[..8], [57, 0, 0, octet, 2, 0, 0, 0]);
    }

    // That of a response is the third.
    let response = CreateResponse {
        level: OplockLevel::II,
        flags: 0,
        action: CreateAction::Created.to_wire(),
        times: [0x01da_0000_0000_0000; 4],
        allocation_size: 0,
        end_of_file: 0,
        attributes: 0x20,
        file_id: FILE,
        contexts: b"",
    };
    let octets = hex("
        fe534d42 40000100 00000000 05000100 01000000 00000000 08000000 00000000
        fffe0000 05000000 19000000 00040000 00000000 00000000 00000000 00000000
        5900 01 00 02000000  00000000 0000da01 00000000 0000da01 00000000 0000da01 00000000 0000da01
        00000000 00000000 00000000 00000000 20000000 00000000 11000000 05000000 a9000000 04000000
        00000000 00000000");
    assert_eq!(CreateResponse::decode(&octets), Ok(response));
    let mut written = Vec::new();
    response.encode(&mut written).unwrap();
    assert_eq!(written[..88], octets[64..]);
}

#[test]
fn chimera_1282_the_flags_of_an_answered_acknowledgment_are_zero() {
    // Captured: RH is left.
    let octets = "2400 0000 00000000 0df0dde0fe0fdcbaf20f221f01f02345 03000000 0000000000000000";
    let answer = LeaseAck::decode(&hex(octets)).unwrap();
    is(answer, octets);
    // A peer that sets them is understood, and not imitated.
    let mut other = hex(octets);
    other[2..8].fill(0xff);
    other[28..].fill(0xff);
    assert_eq!(LeaseAck::decode(&other), Ok(answer));
    assert_eq!(encoded(&LeaseAck::decode(&other).unwrap()), hex(octets));
}

#[test]
fn chimera_1458_a_lease_break_names_no_session_and_an_oplock_break_its_own() {
    // Both captured.
    let lease = hex("fe534d42400000000000000012000000 0100000000000000ffffffffffffffff
         0000000000000000 0000000000000000 00000000000000000000000000000000");
    let oplock = hex("fe534d42400000000000000012000000 0100000000000000ffffffffffffffff
         0000000000000000 b5125acb00000000 00000000000000000000000000000000");
    for (octets, session) in [(lease, 0), (oplock, 0xcb5a_12b5)] {
        let header = Header::notification(SessionId::new(session), Status::SUCCESS);
        assert_eq!(Header::decode(&octets), Ok(header));
        assert_eq!(encoded(&header), octets);
        // Whatever it names, it is a break.
        assert!(header.notifies_break());
    }
}

// ---- Clients and libraries ----

#[test]
fn jcifs_103_the_two_break_notifications_are_told_apart_by_their_size() {
    // Both captured: II for an open, and RH to R for a lease, under one command.
    let oplock = "1800 01 00 00000000 0103833100000000 063dbc5600000000";
    let lease = "2c00 0200 01000000 0100000000000000feffffffffffffff 03000000 01000000
         00000000 00000000 00000000";
    let level = OplockBreak {
        level: OplockLevel::II,
        file_id: FileId { persistent: 0x3183_0301, volatile: 0x56bc_3d06 },
    };
    let lowered = LeaseBreak {
        epoch: Epoch::new(2),
        flags: BreakFlags::ACK_REQUIRED,
        key: LeaseKey::new(hex("0100000000000000feffffffffffffff").try_into().unwrap()),
        current: LeaseState::RH,
        new: LeaseState::READ,
    };
    assert_eq!(Notification::decode(&hex(oplock)), Ok(Notification::Oplock(level)));
    assert_eq!(Notification::decode(&hex(lease)), Ok(Notification::Lease(lowered)));
    is(level, oplock);
    is(lowered, lease);
    // By the one that does not fit neither is read, not even in part.
    assert!(OplockBreak::decode(&hex(lease)).is_err());
    assert!(LeaseBreak::decode(&hex(oplock)).is_err());
}

#[test]
fn libsmb2_359_every_field_of_an_acknowledgment_has_its_offset() {
    // From the example: RH is accepted. All of the body, and then field by field.
    let ack = LeaseAck { key: KEY, state: LeaseState::RH };
    let octets = "2400 0000 00000000 3c2d1e0f 5a4b7869 8796a5b4 c3d2e1f0 03000000 00000000 00000000";
    is(ack, octets);
    assert_eq!(Acknowledgment::decode(Dialect::Smb210, &hex(octets)), Ok(Acknowledgment::Lease(ack)));
    let level = OplockBreak { level: OplockLevel::II, file_id: FILE };
    let octets = "1800 01 00 00000000 11000000 05000000 a9000000 04000000";
    is(level, octets);
    assert_eq!(Acknowledgment::decode(Dialect::Smb311, &hex(octets)), Ok(Acknowledgment::Oplock(level)));

    // One value changed, and these octets are other ones.
    fn changed<T: Fixed>(one: T, other: T) -> Vec<usize> {
        let (one, other) = (encoded(&one), encoded(&other));
        (0..T::LEN).filter(|at| one[*at] != other[*at]).collect()
    }
    let ones = LeaseKey::new([0xff; 16]);
    let most = LeaseState::from_bits_retain(0xffff_ffff);
    assert_eq!(changed(ack, LeaseAck { key: ones, ..ack }), (8..24).collect::<Vec<_>>());
    assert_eq!(changed(ack, LeaseAck { state: most, ..ack }), [24, 25, 26, 27]);
    assert_eq!(changed(level, OplockBreak { level: OplockLevel::None, ..level }), [2]);
    let file_id = FileId { persistent: u64::MAX, ..FILE };
    assert_eq!(changed(level, OplockBreak { file_id, ..level }), (8..16).collect::<Vec<_>>());
    let file_id = FileId { volatile: u64::MAX, ..FILE };
    assert_eq!(changed(level, OplockBreak { file_id, ..level }), (16..24).collect::<Vec<_>>());

    // The notification likewise.
    let none = LeaseBreak {
        epoch: Epoch::ZERO,
        flags: BreakFlags::empty(),
        key: LeaseKey::ZERO,
        current: LeaseState::NONE,
        new: LeaseState::NONE,
    };
    assert_eq!(changed(none, LeaseBreak { epoch: Epoch::new(0xffff), ..none }), [2, 3]);
    let flags = BreakFlags::from_bits_retain(0xffff_ffff);
    assert_eq!(changed(none, LeaseBreak { flags, ..none }), [4, 5, 6, 7]);
    assert_eq!(changed(none, LeaseBreak { key: ones, ..none }), (8..24).collect::<Vec<_>>());
    assert_eq!(changed(none, LeaseBreak { current: most, ..none }), [24, 25, 26, 27]);
    assert_eq!(changed(none, LeaseBreak { new: most, ..none }), [28, 29, 30, 31]);
}

#[test]
fn smbprotocol_11_the_length_tells_the_versions_apart() {
    // One name, RqLs, 32 octets or 52. Both captured.
    let first = hex("00000000 1000 0400 0000 1800 20000000  52714c73 00000000
         07d11c1400000000f82ee3ebffffffff 05000000 00000000 0000000000000000");
    let second = hex("00000000 1000 0400 0000 1800 34000000  52714c73 00000000
         0df0dde0fe0fdcbaf20f221f01f02345 03000000 00000000 0000000000000000
         00000000000000000000000000000000 1100 0000");
    for (octets, version) in [(&first, 1), (&second, 2)] {
        let request = RequestContexts::decode(octets, |_| panic!("not ours")).unwrap();
        let response = ResponseContexts::decode(octets, |_| panic!("not ours")).unwrap();
        assert_eq!(request.lease, response.lease);
        let found = match request.lease.unwrap() {
            Lease::V1(_) => 1,
            Lease::V2(_) => 2,
        };
        assert_eq!(found, version);
        assert_eq!(chain(|writer| request.write(writer)), *octets);
        assert_eq!(chain(|writer| response.write(writer)), *octets);
    }
    assert_eq!((LeaseV1::NAME, LeaseV2::NAME), (&b"RqLs"[..], &b"RqLs"[..]));
    // Not the flags: that of a parent key in 32 octets, none in 52.
    let mut flagged = first[24..].to_vec();
    flagged[20] = 0x04;
    assert!(matches!(Lease::decode(&flagged), Ok(Lease::V1(_))));
    assert!(matches!(Lease::decode(&second[24..]), Ok(Lease::V2(LeaseV2 { parent: None, .. }))));
    // And nothing in between, where a lenient reader takes the first 32 of 36.
    for len in (0..100).filter(|len| ![32, 52].contains(len)) {
        assert!(Lease::decode(&vec![0; len]).is_err(), "{len}");
    }
}
