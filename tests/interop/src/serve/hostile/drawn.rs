//! Requests that are well-formed, of which a few octets choose all: so that most histories get somewhere.

use leasehold::server::{LockElement, LockFlags};
use leasehold::wire::{ContextWriter, CreateRequest, Fixed as _, Header, LeaseAck, OplockBreak, name};
use leasehold::{Access, CreateOptions, FileId, LeaseKey, LeaseState, OplockLevel, ShareMode};

use crate::smb::octets::to_utf16;
use crate::smb::request::{Command, Ioctl, QueryDirectory, QueryInfo, Request, SessionSetup};

/// How many octets choose a request.
pub(super) const CHOICES: usize = 4;

const NAMES: [&str; 8] = ["a", "b", "d", "d\\a", "d\\b", "a:s", "e\\a", ""];
const LEVELS: [OplockLevel; 4] =
    [OplockLevel::None, OplockLevel::II, OplockLevel::Exclusive, OplockLevel::Batch];
/// FILE_ALL_ACCESS; FILE_READ_DATA; FILE_READ_ATTRIBUTES and SYNCHRONIZE; DELETE and FILE_WRITE_DATA
const ACCESSES: [u32; 4] = [0x001f_01ff, 0x0000_0001, 0x0010_0080, 0x0001_0002];
const SHARINGS: [u32; 4] = [7, 0, 1, 3];
/// FILE_NON_DIRECTORY_FILE, FILE_DIRECTORY_FILE, FILE_DELETE_ON_CLOSE
const OPTIONS: [u32; 4] = [0x40, 0x1, 0x1000, 0];
/// FSCTL_LMR_REQUEST_RESILIENCY, FSCTL_CREATE_OR_GET_OBJECT_ID, the control of tests, FSCTL_DFS_GET_REFERRALS
const CONTROLS: [u32; 4] = [0x0014_01d4, 0x0009_00c0, 0x8384_8003, 0x0006_0194];
const SET: [u8; 10] = [4, 10, 11, 13, 14, 16, 19, 20, 64, 65];
const LISTED: [u8; 4] = [1, 12, 37, 38];
const LOCKS: [u32; 8] = [0x1, 0x2, 0x4, 0x11, 0x12, 0x2, 0x4, 0x14];
/// Is replaced where another is meant.
const FILE: FileId = FileId::PREVIOUS;

/// The request that four octets choose, as its command and body. [`FileId::PREVIOUS`] stands for its open.
pub(super) fn request([what, a, b, c]: [u8; CHOICES]) -> Vec<u8> {
    let command = match Command::from_wire(u16::from(what) % 19) {
        // What ends a session or more is rare, or histories would not get far.
        Some(Command::SessionSetup | Command::Logoff | Command::TreeDisconnect) if c & 7 != 0 => {
            Command::Create
        }
        Some(Command::Negotiate) | None => Command::Create,
        Some(command) => command,
    };
    let mut message = vec![0; Header::LEN];
    let (offset, length) = (u64::from(a), u32::from(b));
    let text = to_utf16(pick(&NAMES, b));
    let done = match command {
        Command::Negotiate | Command::Cancel => Request::Cancel.encode(&mut message),
        Command::SessionSetup => {
            let setup = SessionSetup { binding: a & 1 != 0, security_mode: 1, previous: 0, token: &[b; 16] };
            Request::SessionSetup(setup).encode(&mut message)
        }
        Command::Logoff => Request::Logoff.encode(&mut message),
        Command::TreeConnect => {
            let path = to_utf16(if a & 1 == 0 { r"\\server\share" } else { r"\\server\IPC$" });
            Request::TreeConnect(&path).encode(&mut message)
        }
        Command::TreeDisconnect => Request::TreeDisconnect.encode(&mut message),
        Command::Create => create(a, b, c, &mut message),
        Command::Close => Request::Close { file_id: FILE, query_attributes: a & 1 != 0 }.encode(&mut message),
        Command::Flush => Request::Flush(FILE).encode(&mut message),
        Command::Read => {
            Request::Read { file_id: FILE, offset, length, minimum: c.into() }.encode(&mut message)
        }
        Command::Write => {
            Request::Write { file_id: FILE, offset, data: &vec![c; b.into()] }.encode(&mut message)
        }
        Command::Lock => {
            let element = |by: u8| LockElement {
                offset: u64::from(b & 0xf) + u64::from(by),
                len: u64::from(b >> 4),
                flags: LockFlags::from_bits_retain(pick(&LOCKS, c.wrapping_add(by))),
            };
            let elements = if c & 0x80 == 0 { vec![element(0)] } else { vec![element(0), element(8)] };
            Request::Lock { file_id: FILE, sequence: a.into(), elements }.encode(&mut message)
        }
        Command::Ioctl => {
            let input = [c, 1, 0, 0, 0, 0, 0, 0];
            let (code, is_fsctl) = (pick(&CONTROLS, a), b & 0x80 == 0);
            Request::Ioctl(Ioctl { code, file_id: FILE, input: &input, max_output: 64, is_fsctl })
                .encode(&mut message)
        }
        Command::Echo => Request::Echo.encode(&mut message),
        Command::QueryDirectory => {
            let pattern = to_utf16(if c & 1 == 0 { "*" } else { "a" });
            Request::QueryDirectory(QueryDirectory {
                class: pick(&LISTED, c >> 1),
                flags: a,
                file_id: FILE,
                pattern: &pattern,
                max_output: length * 4,
            })
            .encode(&mut message)
        }
        Command::ChangeNotify => {
            Request::ChangeNotify { file_id: FILE, flags: a.into(), filter: length, max_output: 512 }
                .encode(&mut message)
        }
        Command::QueryInfo => {
            let (kind, max_output, additional) = (1 + a % 4, u32::from(c) * 4, c.into());
            Request::QueryInfo(QueryInfo {
                kind,
                class: b,
                max_output,
                input: &[],
                additional,
                file_id: FILE,
            })
            .encode(&mut message)
        }
        Command::SetInfo => {
            let class = pick(&SET, a);
            let data = match class {
                10 | 11 | 65 => {
                    let len = u32::try_from(text.len()).unwrap_or(0);
                    [&[c & 1][..], &[0; 15], &len.to_le_bytes(), &text].concat()
                }
                4 => [&[b; 32][..], &[c & 0x27, 0, 0, 0, 0, 0, 0, 0]].concat(),
                _ => vec![b & 1, c & 0x3f, 0, 0, 0, 0, 0, 0],
            };
            let kind = if c & 0x80 == 0 { 1 } else { 3 };
            Request::SetInfo { file_id: FILE, kind, class, additional: 0, data: &data }.encode(&mut message)
        }
        Command::OplockBreak => if c & 1 == 0 {
            let state = LeaseState::from_bits_retain(u32::from(b & 7));
            Request::LeaseAck(LeaseAck { key: key(a), state })
        } else {
            Request::OplockAck(OplockBreak { level: pick(&LEVELS, b), file_id: FILE })
        }
        .encode(&mut message),
    };
    // All of these are short enough, and have names of whole units.
    debug_assert_eq!(done, Ok(()));
    let number = u8::try_from(command.to_wire()).unwrap_or(0);
    [&[number], message.get(Header::LEN..).unwrap_or_default()].concat()
}

/// CREATE. `a` chooses the name, the disposition and options; `b` the oplock or lease; `c` access, sharing, durability.
fn create(a: u8, b: u8, c: u8, message: &mut Vec<u8>) -> Result<(), leasehold::Status> {
    let mut room = [0; 512];
    let mut writer = ContextWriter::new(&mut room);
    let leased = b & 4 != 0;
    if leased {
        let mut data = vec![key_octet(b >> 3); 16];
        data.extend(u32::from(b >> 4 & 7).to_le_bytes());
        data.resize(if b & 0x80 == 0 { 52 } else { 32 }, 0);
        let _ = writer.push(name::RQLS, &data);
    }
    let guid = [5 + (b >> 3 & 1); 16];
    let flags = u32::from(c >> 4 & 1) * 2;
    let mut v2 = [0; 36];
    let _ = match c >> 4 & 7 {
        0 | 1 => Ok(()),
        2 => writer.push(name::DHNQ, &[0; 16]),
        3 => writer.push(name::DHNC, &[0; 16]),
        4 | 5 => {
            v2[4..8].copy_from_slice(&flags.to_le_bytes());
            v2[16..32].copy_from_slice(&guid);
            writer.push(name::DH2Q, &v2[..32])
        }
        _ => {
            v2[16..32].copy_from_slice(&guid);
            v2[32..].copy_from_slice(&flags.to_le_bytes());
            writer.push(name::DH2C, &v2)
        }
    };
    if c & 0x80 != 0 {
        let data = [&[20, 0, 0, 0][..], &[7; 16]].concat();
        let _ = writer.push(name::APP_INSTANCE_ID, &data);
    }
    let len = writer.finish();
    let text = to_utf16(pick(&NAMES, a));
    Request::Create(CreateRequest {
        level: if leased { OplockLevel::Lease } else { pick(&LEVELS, b) },
        impersonation: 2,
        desired: Access::from_bits_retain(pick(&ACCESSES, c)),
        attributes: 0,
        sharing: ShareMode::from_bits_retain(pick(&SHARINGS, c >> 2)),
        disposition: u32::from(3 + (a >> 3 & 7)) % 6,
        options: CreateOptions::from_bits_retain(pick(&OPTIONS, a >> 6)),
        name: &text,
        contexts: room.get(..len).unwrap_or_default(),
    })
    .encode(message)
}

fn key(choice: u8) -> LeaseKey {
    LeaseKey::new([key_octet(choice); 16])
}

/// One of two.
fn key_octet(choice: u8) -> u8 {
    1 + (choice & 1)
}

fn pick<T: Copy, const N: usize>(table: &[T; N], choice: u8) -> T {
    table[usize::from(choice) % N]
}
