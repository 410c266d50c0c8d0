//! Worked examples: octets put together field by field from MS-SMB2 2.2, beside the values they stand for. Every one is
//! decoded to those values, and those values are written to these octets.
//!
//! They share a FileId, a CreateGuid, a lease key, its parent and a session; the numbers E1 to E29 are theirs alone. E27
//! is a LOCK request and has no structure here.

use std::fmt::Debug;

use leasehold::wire::{
    Acknowledgment, AppInstanceId, AppInstanceVersion, BreakFlags, Command, Context, ContextWriter, Contexts,
    CreateRequest, CreateResponse, DurableFlags, DurableHandleReconnect, DurableHandleReconnectV2,
    DurableHandleRequest, DurableHandleRequestV2, DurableHandleResponse, DurableHandleResponseV2,
    EncodeError, Fixed, Header, HeaderFlags, Lease, LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2,
    Named, Notification, OplockBreak, RequestContexts, ResiliencyRequest, ResponseContexts, Route,
};
use leasehold::{
    Access, CreateAction, CreateGuid, CreateOptions, Dialect, Disposition, Epoch, FileId, LeaseKey,
    LeaseState, OplockLevel, SessionId, ShareMode, Status, TreeId,
};
use uuid::Uuid;

use crate::unhex;

const FILE: FileId = FileId { persistent: 0x0000_0005_0000_0011, volatile: 0x0000_0004_0000_00a9 };
const GUID: CreateGuid = CreateGuid::new(Uuid::from_u128(0xf1e2d3c4_b5a6_9788_0123_456789abcdef));
/// {0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0}
const KEY: LeaseKey = LeaseKey::new([
    0x3c, 0x2d, 0x1e, 0x0f, 0x5a, 0x4b, 0x78, 0x69, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0,
]);
/// {11223344-5566-7788-99aa-bbccddeeff00}
const PARENT: LeaseKey = LeaseKey::new([
    0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00,
]);
const SESSION: SessionId = SessionId::new(0x0000_0400_0000_0019);

const RECONNECT: DurableHandleReconnect = DurableHandleReconnect { file_id: FILE };
const REQUEST_V2: DurableHandleRequestV2 =
    DurableHandleRequestV2 { timeout: 0, flags: DurableFlags::empty(), create_guid: GUID };
const PERSISTENT: DurableHandleRequestV2 =
    DurableHandleRequestV2 { timeout: 120_000, flags: DurableFlags::PERSISTENT, create_guid: GUID };
const RESPONSE_V2: DurableHandleResponseV2 =
    DurableHandleResponseV2 { timeout: 60_000, flags: DurableFlags::empty() };
const RECONNECT_V2: DurableHandleReconnectV2 =
    DurableHandleReconnectV2 { file_id: FILE, create_guid: GUID, flags: DurableFlags::PERSISTENT };
const LEASE_V1: LeaseV1 = LeaseV1 { key: KEY, state: LeaseState::RWH, flags: LeaseFlags::empty() };
const LEASE_V2: LeaseV2 = LeaseV2 {
    key: KEY,
    state: LeaseState::RWH,
    flags: LeaseFlags::empty(),
    parent: Some(PARENT),
    epoch: Epoch::ZERO,
};
const APP: AppInstanceId = AppInstanceId { id: Uuid::from_u128(0x7d1a3c5e_2b4f_4a6d_8c9e_0f1a2b3c4d5e) };
const APP_VERSION: AppInstanceVersion = AppInstanceVersion { high: 2, low: 0x1000_0000_0000_0007 };

#[test]
fn lone_contexts_are_their_examples() {
    context(&DurableHandleRequest, b"DHnQ", E1);
    context(&DurableHandleResponse, b"DHnQ", E2);
    context(&RECONNECT, b"DHnC", E3);
    context(&PERSISTENT, b"DH2Q", E4);
    context(&RESPONSE_V2, b"DH2Q", E5);
    context(&RECONNECT_V2, b"DH2C", E6);
    context(&LEASE_V1, b"RqLs", E7);
    let breaking = LeaseV1 { key: KEY, state: LeaseState::RH, flags: LeaseFlags::BREAK_IN_PROGRESS };
    context(&breaking, b"RqLs", E8);
    context(&LEASE_V2, b"RqLs", E9);
    context(&LeaseV2 { epoch: Epoch::new(1), ..LEASE_V2 }, b"RqLs", E10);
    let id = b"\x45\xbc\xa6\x6a\xef\xa7\xf7\x4a\x90\x08\xfa\x46\x2e\x14\x4d\x74";
    context(&APP, id, E11);
    let version = b"\xb9\x82\xd0\xb7\x3b\x56\x07\x4f\xa0\x7b\x52\x4a\x81\x16\xa0\x10";
    context(&APP_VERSION, version, E12);
}

#[test]
fn lease_contexts_tell_their_versions_apart() {
    assert_eq!(Contexts::new(&unhex(E7)).next().unwrap().unwrap().lease(), Ok(Lease::V1(LEASE_V1)));
    assert_eq!(Contexts::new(&unhex(E9)).next().unwrap().unwrap().lease(), Ok(Lease::V2(LEASE_V2)));
}

#[test]
fn request_chains_are_their_examples() {
    let write = |writer: &mut ContextWriter<'_>| {
        writer.put(&REQUEST_V2)?;
        writer.put(&LEASE_V2)?;
        writer.push(b"MxAc", b"")?;
        writer.push(b"QFid", b"")
    };
    let others: [(&[u8], &[u8]); 2] = [(b"MxAc", b""), (b"QFid", b"")];
    let mut expected = RequestContexts::default();
    expected.durable.dh2q = Some(REQUEST_V2);
    expected.lease = Some(Lease::V2(LEASE_V2));
    request(expected, &others, &unhex(E13));
    assert_eq!(chain(write), unhex(E13));

    // The form that MS-SMB2 2.2.13.2 recommends: DataOffset 0 without data, and nothing behind the last name.
    let mut recommended = unhex(E13);
    recommended[0x92] = 0;
    recommended[0xaa] = 0;
    recommended.truncate(180);
    request(expected, &others, &recommended);

    let reconnect = DurableHandleReconnectV2 { flags: DurableFlags::empty(), ..RECONNECT_V2 };
    let lease = LeaseV2 { epoch: Epoch::new(1), ..LEASE_V2 };
    let mut expected = RequestContexts::default();
    expected.durable.dh2c = Some(reconnect);
    expected.lease = Some(Lease::V2(lease));
    request(expected, &[], &unhex(E15));
    assert_eq!(chain(|writer| expected.write(writer)), unhex(E15));

    let mut expected = RequestContexts::default();
    expected.durable.dhnc = Some(RECONNECT);
    expected.lease = Some(Lease::V1(LEASE_V1));
    request(expected, &[], &unhex(E16));
    assert_eq!(chain(|writer| expected.write(writer)), unhex(E16));

    let mut expected = RequestContexts::default();
    expected.durable.dh2q = Some(PERSISTENT);
    expected.app_instance = Some(APP);
    expected.app_instance_version = Some(APP_VERSION);
    request(expected, &[], &unhex(E29));
    assert_eq!(chain(|writer| expected.write(writer)), unhex(E29));
}

#[test]
fn response_chain_is_its_example() {
    // QueryStatus 0, MaximalAccess 0x001f01ff; DiskFileId 0x0001000000000a2c, VolumeId 0xdeadbeef, 16 reserved octets.
    let mxac = unhex("00000000ff011f00");
    let qfid = unhex("2c0a000000000100efbeadde0000000000000000000000000000000000000000");
    let lease = LeaseV2 { epoch: Epoch::new(1), ..LEASE_V2 };
    let written = chain(|writer| {
        writer.push(b"MxAc", &mxac)?;
        writer.put(&lease)?;
        writer.put(&RESPONSE_V2)?;
        writer.push(b"QFid", &qfid)
    });
    assert_eq!(written, unhex(E14));

    let mut expected = ResponseContexts::default();
    expected.lease = Some(Lease::V2(lease));
    expected.durable_v2 = Some(RESPONSE_V2);
    let octets = unhex(E14);
    let mut others = Vec::new();
    assert_eq!(ResponseContexts::decode(&octets, |context| others.push(parts(context))), Ok(expected));
    let named: [(&[u8], &[u8]); 2] = [(b"MxAc", &mxac), (b"QFid", &qfid)];
    assert_eq!(others, named);
}

#[test]
fn create_request_is_its_example() {
    let contexts = unhex(E13);
    let expected = CreateRequest {
        level: OplockLevel::Lease,
        impersonation: 2,
        desired: Access::from_bits_retain(0x0012_019f),
        attributes: 0x80,
        sharing: ShareMode::READ | ShareMode::WRITE | ShareMode::DELETE,
        disposition: Disposition::OpenIf.to_wire(),
        options: CreateOptions::NON_DIRECTORY_FILE,
        name: b"a\0.\0t\0x\0t\0",
        contexts: &contexts,
    };
    let octets = unhex(E17);
    assert_eq!(CreateRequest::decode(&octets), Ok(expected));

    let mut written = Vec::new();
    answered(Command::CREATE, 8, HeaderFlags::empty()).encode(&mut written);
    expected.encode(&mut written).unwrap();
    assert_eq!(written, octets);
}

#[test]
fn create_response_is_its_example() {
    let contexts = unhex(E14);
    let expected = CreateResponse {
        level: OplockLevel::Lease,
        flags: 0,
        action: CreateAction::Created.to_wire(),
        times: [0x01da_0000_0000_0000; 4],
        allocation_size: 0,
        end_of_file: 0,
        attributes: 0x20,
        file_id: FILE,
        contexts: &contexts,
    };
    let octets = unhex(E18);
    assert_eq!(CreateResponse::decode(&octets), Ok(expected));

    let mut written = Vec::new();
    answered(Command::CREATE, 8, HeaderFlags::SERVER_TO_REDIR).encode(&mut written);
    expected.encode(&mut written).unwrap();
    assert_eq!(written, octets);
}

#[test]
fn breaks_are_their_examples() {
    let level_ii = OplockBreak { level: OplockLevel::II, file_id: FILE };
    let octets = message(&Header::notification(SESSION, Status::SUCCESS), &level_ii, E19);
    assert_eq!(Notification::decode(&octets), Ok(Notification::Oplock(level_ii)));

    let lowered = LeaseBreak {
        epoch: Epoch::new(2),
        flags: BreakFlags::ACK_REQUIRED,
        key: KEY,
        current: LeaseState::RWH,
        new: LeaseState::RH,
    };
    let octets = message(&Header::notification(SessionId::new(0), Status::SUCCESS), &lowered, E20);
    assert_eq!(Notification::decode(&octets), Ok(Notification::Lease(lowered)));

    let accepted = LeaseAck { key: KEY, state: LeaseState::RH };
    let lease_ack = Ok(Acknowledgment::Lease(accepted));
    let request = answered(Command::OPLOCK_BREAK, 21, HeaderFlags::empty());
    assert_eq!(Acknowledgment::decode(Dialect::Smb311, &message(&request, &accepted, E21)), lease_ack);
    let response = answered(Command::OPLOCK_BREAK, 21, HeaderFlags::SERVER_TO_REDIR);
    assert_eq!(Acknowledgment::decode(Dialect::Smb210, &message(&response, &accepted, E22)), lease_ack);

    let request = answered(Command::OPLOCK_BREAK, 22, HeaderFlags::empty());
    let oplock_ack = Ok(Acknowledgment::Oplock(level_ii));
    assert_eq!(Acknowledgment::decode(Dialect::Smb202, &message(&request, &level_ii, E23)), oplock_ack);

    let ended = LeaseBreak {
        epoch: Epoch::ZERO,
        flags: BreakFlags::empty(),
        key: KEY,
        current: LeaseState::READ,
        new: LeaseState::NONE,
    };
    body(&ended, &unhex(E24));
}

#[test]
fn headers_are_their_examples() {
    let interim = Header {
        status: Status::PENDING,
        route: Route::Async { id: 0x42 },
        ..answered(Command::CREATE, 9, HeaderFlags::SERVER_TO_REDIR)
    };
    let octets = unhex(E25);
    body(&interim, &octets[..64]);
    assert_eq!(Header::split(&octets), Ok((interim, &octets[64..])));

    let replayed = Header {
        status: Status::from_wire(1),
        ..answered(Command::CREATE, 8, HeaderFlags::REPLAY_OPERATION)
    };
    body(&replayed, &unhex(E28));
    assert_eq!(replayed.channel_sequence(), 1);
}

#[test]
fn resiliency_request_is_its_example() {
    // The IOCTL around it is not here: CtlCode at 4, the input at 56.
    let octets = unhex(E26);
    assert_eq!(octets[4..8], ResiliencyRequest::CTL_CODE.to_le_bytes());
    body(&ResiliencyRequest { timeout: 120_000 }, &octets[56..]);
    assert_eq!(ResiliencyRequest::decode_input(&octets[56..]), Ok(ResiliencyRequest { timeout: 120_000 }));
}

/// The header that the examples share: tree 5 of the session, one credit, and Reserved as Windows sends it.
fn answered(command: Command, message_id: u64, flags: HeaderFlags) -> Header {
    Header {
        credit_charge: 1,
        status: Status::SUCCESS,
        command,
        credits: 1,
        flags,
        next_command: 0,
        message_id,
        route: Route::Sync { reserved: 0xfeff, tree: TreeId::new(5) },
        session: SESSION,
        signature: [0; 16],
    }
}

/// A body is its octets, both ways.
fn body<T: Fixed + PartialEq + Debug>(value: &T, octets: &[u8]) {
    assert_eq!(&T::decode(octets).unwrap(), value);
    let mut written = Vec::new();
    value.encode(&mut written);
    assert_eq!(written, octets);
}

/// A message is its header and its body, both ways. Returns the octets of the body.
fn message<T: Fixed + PartialEq + Debug>(header: &Header, value: &T, hex: &str) -> Vec<u8> {
    let octets = unhex(hex);
    let (head, rest) = octets.split_at(64);
    body(header, head);
    body(value, rest);
    assert_eq!(Header::split(&octets), Ok((*header, rest)));
    rest.to_vec()
}

/// A chain of one context is its octets, both ways, under the name that is spelled out.
fn context<T: Named + PartialEq + Debug>(value: &T, name: &[u8], hex: &str) {
    let octets = unhex(hex);
    let walked: Vec<Context<'_>> = Contexts::new(&octets).map(Result::unwrap).collect();
    assert_eq!(walked.len(), 1);
    assert_eq!(walked[0].name, name);
    assert_eq!(&walked[0].body::<T>().unwrap(), value);
    body(value, walked[0].data);
    assert_eq!(chain(|writer| writer.put(value)), octets);
}

fn request(expected: RequestContexts, others: &[(&[u8], &[u8])], octets: &[u8]) {
    let mut found = Vec::new();
    assert_eq!(RequestContexts::decode(octets, |context| found.push(parts(context))), Ok(expected));
    assert_eq!(found, others);
}

fn parts<'a>(context: Context<'a>) -> (&'a [u8], &'a [u8]) {
    (context.name, context.data)
}

fn chain(contexts: impl Fn(&mut ContextWriter<'_>) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut buffer = [0xa5; 512];
    let mut writer = ContextWriter::new(&mut buffer);
    contexts(&mut writer).unwrap();
    let len = writer.finish();
    buffer[..len].to_vec()
}

const E1: &str = "0000000010000400000018001000000044486e510000000000000000000000000000000000000000";
const E2: &str = "0000000010000400000018000800000044486e51000000000000000000000000";
const E3: &str = "0000000010000400000018001000000044486e43000000001100000005000000a900000004000000";
const E4: &str = "\
    000000001000040000001800200000004448325100000000c0d40100020000000000000000000000c4d3e2f1\
    a6b588970123456789abcdef";
const E5: &str = "00000000100004000000180008000000444832510000000060ea000000000000";
const E6: &str = "\
    0000000010000400000018002400000044483243000000001100000005000000a900000004000000c4d3e2f1\
    a6b588970123456789abcdef02000000";
const E7: &str = "\
    0000000010000400000018002000000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f007000000\
    000000000000000000000000";
const E8: &str = "\
    0000000010000400000018002000000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f003000000\
    020000000000000000000000";
const E9: &str = "\
    0000000010000400000018003400000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f007000000\
    040000000000000000000000443322116655887799aabbccddeeff0000000000";
const E10: &str = "\
    0000000010000400000018003400000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f007000000\
    040000000000000000000000443322116655887799aabbccddeeff0001000000";
const E11: &str = "\
    0000000010001000000020001400000045bca66aefa7f74a9008fa462e144d74140000005e3c1a7d4f2b6d4a\
    8c9e0f1a2b3c4d5e";
const E12: &str = "\
    00000000100010000000200018000000b982d0b73b56074fa07b524a8116a010180000000000000002000000\
    000000000700000000000010";
const E13: &str = "\
    38000000100004000000180020000000444832510000000000000000000000000000000000000000c4d3e2f1\
    a6b588970123456789abcdef5000000010000400000018003400000052714c73000000003c2d1e0f5a4b7869\
    8796a5b4c3d2e1f007000000040000000000000000000000443322116655887799aabbccddeeff0000000000\
    00000000180000001000040000001800000000004d7841630000000000000000100004000000180000000000\
    5146696400000000";
const E14: &str = "\
    200000001000040000001800080000004d7841630000000000000000ff011f00500000001000040000001800\
    3400000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f007000000040000000000000000000000\
    443322116655887799aabbccddeeff0001000000000000002000000010000400000018000800000044483251\
    0000000060ea0000000000000000000010000400000018002000000051466964000000002c0a000000000100\
    efbeadde0000000000000000000000000000000000000000";
const E15: &str = "\
    4000000010000400000018002400000044483243000000001100000005000000a900000004000000c4d3e2f1\
    a6b588970123456789abcdef00000000000000000000000010000400000018003400000052714c7300000000\
    3c2d1e0f5a4b78698796a5b4c3d2e1f007000000040000000000000000000000443322116655887799aabbcc\
    ddeeff0001000000";
const E16: &str = "\
    2800000010000400000018001000000044486e43000000001100000005000000a90000000400000000000000\
    10000400000018002000000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f00700000000000000\
    0000000000000000";
const E17: &str = "\
    fe534d4240000100000000000500010000000000000000000800000000000000fffe00000500000019000000\
    0004000000000000000000000000000000000000390000ff0200000000000000000000000000000000000000\
    9f0112008000000007000000030000004000000078000a0088000000b800000061002e007400780074000000\
    0000000038000000100004000000180020000000444832510000000000000000000000000000000000000000\
    c4d3e2f1a6b588970123456789abcdef5000000010000400000018003400000052714c73000000003c2d1e0f\
    5a4b78698796a5b4c3d2e1f007000000040000000000000000000000443322116655887799aabbccddeeff00\
    0000000000000000180000001000040000001800000000004d78416300000000000000001000040000001800\
    000000005146696400000000";
const E18: &str = "\
    fe534d4240000100000000000500010001000000000000000800000000000000fffe00000500000019000000\
    00040000000000000000000000000000000000005900ff0002000000000000000000da01000000000000da01\
    000000000000da01000000000000da0100000000000000000000000000000000200000000000000011000000\
    05000000a90000000400000098000000c8000000200000001000040000001800080000004d78416300000000\
    00000000ff011f005000000010000400000018003400000052714c73000000003c2d1e0f5a4b78698796a5b4\
    c3d2e1f007000000040000000000000000000000443322116655887799aabbccddeeff000100000000000000\
    20000000100004000000180008000000444832510000000060ea000000000000000000001000040000001800\
    2000000051466964000000002c0a000000000100efbeadde0000000000000000000000000000000000000000";
const E19: &str = "\
    fe534d424000000000000000120000000100000000000000ffffffffffffffff000000000000000019000000\
    000400000000000000000000000000000000000018000100000000001100000005000000a900000004000000";
const E20: &str = "\
    fe534d424000000000000000120000000100000000000000ffffffffffffffff000000000000000000000000\
    00000000000000000000000000000000000000002c000200010000003c2d1e0f5a4b78698796a5b4c3d2e1f0\
    0700000003000000000000000000000000000000";
const E21: &str = "\
    fe534d4240000100000000001200010000000000000000001500000000000000fffe00000500000019000000\
    000400000000000000000000000000000000000024000000000000003c2d1e0f5a4b78698796a5b4c3d2e1f0\
    030000000000000000000000";
const E22: &str = "\
    fe534d4240000100000000001200010001000000000000001500000000000000fffe00000500000019000000\
    000400000000000000000000000000000000000024000000000000003c2d1e0f5a4b78698796a5b4c3d2e1f0\
    030000000000000000000000";
const E23: &str = "\
    fe534d4240000100000000001200010000000000000000001600000000000000fffe00000500000019000000\
    000400000000000000000000000000000000000018000100000000001100000005000000a900000004000000";
const E24: &str = "2c000000000000003c2d1e0f5a4b78698796a5b4c3d2e1f00100000000000000000000000000000000000000";
const E25: &str = "\
    fe534d4240000100030100000500010003000000000000000900000000000000420000000000000019000000\
    0004000000000000000000000000000000000000090000000000000000";
const E26: &str = "\
    39000000d40114001100000005000000a9000000040000007800000008000000000000000000000000000000\
    000000000100000000000000c0d4010000000000";
const E28: &str = "\
    fe534d4240000100010000000500010000000020000000000800000000000000fffe00000500000019000000\
    0004000000000000000000000000000000000000";
const E29: &str = "\
    380000001000040000001800200000004448325100000000c0d40100020000000000000000000000c4d3e2f1\
    a6b588970123456789abcdef3800000010001000000020001400000045bca66aefa7f74a9008fa462e144d74\
    140000005e3c1a7d4f2b6d4a8c9e0f1a2b3c4d5e0000000000000000100010000000200018000000b982d0b7\
    3b56074fa07b524a8116a010180000000000000002000000000000000700000000000010";
