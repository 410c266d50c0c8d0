//! The bodies of requests. What is wrong with one is a status, as a server answers it: STATUS_INVALID_PARAMETER, for a
//! StructureSize as well as for an offset that leads out of the message (MS-SMB2 3.3.5.2.6 and the section of each command).

use leasehold::server::{LockElement, LockFlags};
use leasehold::wire::{CreateRequest, Fixed as _, LeaseAck, OplockBreak};
use leasehold::{FileId, Status};

use super::negotiate::NegotiateRequest;
use super::octets::{Octets, buffer_of_one, put};

/// Command of the header (MS-SMB2 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Command {
    Negotiate = 0x00,
    SessionSetup = 0x01,
    Logoff = 0x02,
    TreeConnect = 0x03,
    TreeDisconnect = 0x04,
    Create = 0x05,
    Close = 0x06,
    Flush = 0x07,
    Read = 0x08,
    Write = 0x09,
    Lock = 0x0a,
    Ioctl = 0x0b,
    Cancel = 0x0c,
    Echo = 0x0d,
    QueryDirectory = 0x0e,
    ChangeNotify = 0x0f,
    QueryInfo = 0x10,
    SetInfo = 0x11,
    OplockBreak = 0x12,
}

impl Command {
    /// All of them, by their numbers.
    const ALL: [Self; 19] = [
        Self::Negotiate,
        Self::SessionSetup,
        Self::Logoff,
        Self::TreeConnect,
        Self::TreeDisconnect,
        Self::Create,
        Self::Close,
        Self::Flush,
        Self::Read,
        Self::Write,
        Self::Lock,
        Self::Ioctl,
        Self::Cancel,
        Self::Echo,
        Self::QueryDirectory,
        Self::ChangeNotify,
        Self::QueryInfo,
        Self::SetInfo,
        Self::OplockBreak,
    ];

    /// Reads the field.
    pub fn from_wire(value: u16) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }

    /// The value of the field.
    pub const fn to_wire(self) -> u16 {
        self as u16
    }
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// MS-SMB2 2.2.3
    Negotiate(NegotiateRequest),
    /// MS-SMB2 2.2.5
    SessionSetup(SessionSetup<'a>),
    /// MS-SMB2 2.2.7
    Logoff,
    /// MS-SMB2 2.2.9: the path, UTF-16.
    TreeConnect(&'a [u8]),
    /// MS-SMB2 2.2.11
    TreeDisconnect,
    /// MS-SMB2 2.2.13
    Create(CreateRequest<'a>),
    /// MS-SMB2 2.2.15
    Close { file_id: FileId, query_attributes: bool },
    /// MS-SMB2 2.2.17
    Flush(FileId),
    /// MS-SMB2 2.2.19
    Read { file_id: FileId, offset: u64, length: u32, minimum: u32 },
    /// MS-SMB2 2.2.21
    Write { file_id: FileId, offset: u64, data: &'a [u8] },
    /// MS-SMB2 2.2.26
    Lock { file_id: FileId, sequence: u32, elements: Vec<LockElement> },
    /// MS-SMB2 2.2.31
    Ioctl(Ioctl<'a>),
    /// MS-SMB2 2.2.30
    Cancel,
    /// MS-SMB2 2.2.28
    Echo,
    /// MS-SMB2 2.2.33
    QueryDirectory(QueryDirectory<'a>),
    /// MS-SMB2 2.2.35
    ChangeNotify { file_id: FileId, flags: u16, filter: u32, max_output: u32 },
    /// MS-SMB2 2.2.37
    QueryInfo(QueryInfo<'a>),
    /// MS-SMB2 2.2.39
    SetInfo { file_id: FileId, kind: u8, class: u8, additional: u32, data: &'a [u8] },
    /// MS-SMB2 2.2.24.1
    OplockAck(OplockBreak),
    /// MS-SMB2 2.2.24.2
    LeaseAck(LeaseAck),
}

/// SESSION_SETUP (MS-SMB2 2.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSetup<'a> {
    /// SMB2_SESSION_FLAG_BINDING
    pub binding: bool,
    /// SecurityMode
    pub security_mode: u8,
    /// PreviousSessionId
    pub previous: u64,
    /// The token of the security mechanism.
    pub token: &'a [u8],
}

/// IOCTL (MS-SMB2 2.2.31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ioctl<'a> {
    /// CtlCode
    pub code: u32,
    /// FileId; all ones where the control concerns none.
    pub file_id: FileId,
    /// The input.
    pub input: &'a [u8],
    /// MaxOutputResponse
    pub max_output: u32,
    /// SMB2_0_IOCTL_IS_FSCTL
    pub is_fsctl: bool,
}

/// QUERY_DIRECTORY (MS-SMB2 2.2.33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryDirectory<'a> {
    /// FileInformationClass
    pub class: u8,
    /// Flags
    pub flags: u8,
    /// FileId
    pub file_id: FileId,
    /// The pattern, UTF-16.
    pub pattern: &'a [u8],
    /// OutputBufferLength
    pub max_output: u32,
}

/// QUERY_INFO (MS-SMB2 2.2.37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryInfo<'a> {
    /// InfoType
    pub kind: u8,
    /// FileInfoClass
    pub class: u8,
    /// OutputBufferLength
    pub max_output: u32,
    /// The input.
    pub input: &'a [u8],
    /// AdditionalInformation
    pub additional: u32,
    /// FileId
    pub file_id: FileId,
}

/// Where the body begins, in octets.
pub(super) const BODY: usize = 64;
/// How many locks one LOCK may have: what lies beyond fits in no message that is worth reading.
const MOST_LOCKS: u16 = 4096;

impl<'a> Request<'a> {
    /// Decodes a message that begins with its header, up to the next one of a compound.
    ///
    /// # Errors
    ///
    /// STATUS_INVALID_PARAMETER.
    pub fn decode(command: Command, message: &'a [u8]) -> Result<Self, Status> {
        let octets = Octets(message);
        let size = octets.u16(BODY)?;
        let sized = |expected: u16| if size == expected { Ok(()) } else { Err(Status::INVALID_PARAMETER) };
        // A buffer that is named by its 16-bit offset and its length.
        let buffer = |at: usize, len: usize| octets.slice(octets.u16(at)?.into(), len);
        Ok(match command {
            Command::Negotiate => Self::Negotiate(NegotiateRequest::decode(message)?),
            Command::SessionSetup => {
                sized(25)?;
                Self::SessionSetup(SessionSetup {
                    binding: octets.u8(BODY + 2)? & 0x01 != 0,
                    security_mode: octets.u8(BODY + 3)?,
                    previous: octets.u64(BODY + 16)?,
                    token: buffer(BODY + 12, octets.u16(BODY + 14)?.into())?,
                })
            }
            Command::Logoff => {
                sized(4)?;
                Self::Logoff
            }
            Command::TreeConnect => {
                sized(9)?;
                Self::TreeConnect(buffer(BODY + 4, octets.u16(BODY + 6)?.into())?)
            }
            Command::TreeDisconnect => {
                sized(4)?;
                Self::TreeDisconnect
            }
            Command::Create => {
                Self::Create(CreateRequest::decode(message).map_err(|_| Status::INVALID_PARAMETER)?)
            }
            Command::Close => {
                sized(24)?;
                let query_attributes = octets.u16(BODY + 2)? & 0x0001 != 0;
                Self::Close { file_id: octets.file_id(BODY + 8)?, query_attributes }
            }
            Command::Flush => {
                sized(24)?;
                Self::Flush(octets.file_id(BODY + 8)?)
            }
            Command::Read => {
                sized(49)?;
                Self::Read {
                    length: octets.u32(BODY + 4)?,
                    offset: octets.u64(BODY + 8)?,
                    file_id: octets.file_id(BODY + 16)?,
                    minimum: octets.u32(BODY + 32)?,
                }
            }
            Command::Write => {
                sized(49)?;
                let len = usize::try_from(octets.u32(BODY + 4)?).map_err(|_| Status::INVALID_PARAMETER)?;
                Self::Write {
                    data: buffer(BODY + 2, len)?,
                    offset: octets.u64(BODY + 8)?,
                    file_id: octets.file_id(BODY + 16)?,
                }
            }
            Command::Lock => {
                sized(48)?;
                Self::Lock {
                    sequence: octets.u32(BODY + 4)?,
                    file_id: octets.file_id(BODY + 8)?,
                    elements: locks(octets)?,
                }
            }
            Command::Ioctl => {
                sized(57)?;
                let len = octets.u32(BODY + 28)?;
                Self::Ioctl(Ioctl {
                    code: octets.u32(BODY + 4)?,
                    file_id: octets.file_id(BODY + 8)?,
                    input: octets.slice(wide(octets.u32(BODY + 24)?)?, wide(len)?)?,
                    max_output: octets.u32(BODY + 44)?,
                    is_fsctl: octets.u32(BODY + 48)? & 0x0000_0001 != 0,
                })
            }
            Command::Cancel => {
                sized(4)?;
                Self::Cancel
            }
            Command::Echo => {
                sized(4)?;
                Self::Echo
            }
            Command::QueryDirectory => {
                sized(33)?;
                Self::QueryDirectory(QueryDirectory {
                    class: octets.u8(BODY + 2)?,
                    flags: octets.u8(BODY + 3)?,
                    file_id: octets.file_id(BODY + 8)?,
                    pattern: buffer(BODY + 24, octets.u16(BODY + 26)?.into())?,
                    max_output: octets.u32(BODY + 28)?,
                })
            }
            Command::ChangeNotify => {
                sized(32)?;
                Self::ChangeNotify {
                    flags: octets.u16(BODY + 2)?,
                    max_output: octets.u32(BODY + 4)?,
                    file_id: octets.file_id(BODY + 8)?,
                    filter: octets.u32(BODY + 24)?,
                }
            }
            Command::QueryInfo => {
                sized(41)?;
                Self::QueryInfo(QueryInfo {
                    kind: octets.u8(BODY + 2)?,
                    class: octets.u8(BODY + 3)?,
                    max_output: octets.u32(BODY + 4)?,
                    input: buffer(BODY + 8, wide(octets.u32(BODY + 12)?)?)?,
                    additional: octets.u32(BODY + 16)?,
                    file_id: octets.file_id(BODY + 24)?,
                })
            }
            Command::SetInfo => {
                sized(33)?;
                Self::SetInfo {
                    kind: octets.u8(BODY + 2)?,
                    class: octets.u8(BODY + 3)?,
                    data: buffer(BODY + 8, wide(octets.u32(BODY + 4)?)?)?,
                    additional: octets.u32(BODY + 12)?,
                    file_id: octets.file_id(BODY + 16)?,
                }
            }
            Command::OplockBreak => acknowledgment(message, size)?,
        })
    }

    /// Appends the body to its header, the mirror of [`Request::decode`]: `out` holds 64 octets, from which offsets count.
    ///
    /// # Errors
    ///
    /// STATUS_INVALID_PARAMETER for a name of odd length, and for what is longer than its length field can say; `out` is of no
    /// use then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Status> {
        match self {
            Self::Negotiate(request) => request.encode(out),
            Self::SessionSetup(SessionSetup { binding, security_mode, previous, token }) => {
                put(out, &[&25_u16.to_le_bytes(), &[u8::from(*binding), *security_mode], &[0; 8]]);
                put(out, &[&place(BODY + 24), &short(token)?, &previous.to_le_bytes(), token]);
                buffer_of_one(out, token);
            }
            Self::Logoff | Self::TreeDisconnect | Self::Cancel | Self::Echo => {
                put(out, &[&4_u16.to_le_bytes(), &[0; 2]]);
            }
            Self::TreeConnect(path) => {
                put(out, &[&9_u16.to_le_bytes(), &[0; 2], &place(BODY + 8), &short(path)?, path]);
                buffer_of_one(out, path);
            }
            Self::Create(request) => request.encode(out).map_err(|_| Status::INVALID_PARAMETER)?,
            Self::Close { file_id, query_attributes } => {
                put(out, &[&24_u16.to_le_bytes(), &u16::from(*query_attributes).to_le_bytes(), &[0; 4]]);
                put(out, &[&of(*file_id)]);
            }
            Self::Flush(file_id) => put(out, &[&24_u16.to_le_bytes(), &[0; 6], &of(*file_id)]),
            Self::Read { file_id, offset, length, minimum } => {
                put(out, &[&49_u16.to_le_bytes(), &[0; 2], &length.to_le_bytes(), &offset.to_le_bytes()]);
                put(out, &[&of(*file_id), &minimum.to_le_bytes(), &[0; 12], &[0]]);
            }
            Self::Write { file_id, offset, data } => {
                put(out, &[&49_u16.to_le_bytes(), &place(BODY + 48), &long(data)?, &offset.to_le_bytes()]);
                put(out, &[&of(*file_id), &[0; 16], data]);
                buffer_of_one(out, data);
            }
            Self::Lock { file_id, sequence, elements } => {
                let count = u16::try_from(elements.len()).map_err(|_| Status::INVALID_PARAMETER)?;
                put(out, &[&48_u16.to_le_bytes(), &count.to_le_bytes(), &sequence.to_le_bytes()]);
                put(out, &[&of(*file_id)]);
                for LockElement { offset, len, flags } in elements {
                    put(
                        out,
                        &[&offset.to_le_bytes(), &len.to_le_bytes(), &flags.bits().to_le_bytes(), &[0; 4]],
                    );
                }
            }
            Self::Ioctl(Ioctl { code, file_id, input, max_output, is_fsctl }) => {
                put(out, &[&57_u16.to_le_bytes(), &[0; 2], &code.to_le_bytes(), &of(*file_id)]);
                put(out, &[&place(BODY + 56), &[0; 2], &long(input)?, &[0; 12]]);
                let words = [*max_output, u32::from(*is_fsctl), 0].map(u32::to_le_bytes);
                put(out, &[words.as_flattened(), input]);
                buffer_of_one(out, input);
            }
            Self::QueryDirectory(QueryDirectory { class, flags, file_id, pattern, max_output }) => {
                put(out, &[&33_u16.to_le_bytes(), &[*class, *flags], &[0; 4], &of(*file_id)]);
                put(out, &[&place(BODY + 32), &short(pattern)?, &max_output.to_le_bytes(), pattern]);
                buffer_of_one(out, pattern);
            }
            Self::ChangeNotify { file_id, flags, filter, max_output } => {
                put(out, &[&32_u16.to_le_bytes(), &flags.to_le_bytes(), &max_output.to_le_bytes()]);
                put(out, &[&of(*file_id), &filter.to_le_bytes(), &[0; 4]]);
            }
            Self::QueryInfo(QueryInfo { kind, class, max_output, input, additional, file_id }) => {
                put(out, &[&41_u16.to_le_bytes(), &[*kind, *class], &max_output.to_le_bytes()]);
                put(out, &[&place(BODY + 40), &[0; 2], &long(input)?, &additional.to_le_bytes(), &[0; 4]]);
                put(out, &[&of(*file_id), input]);
                buffer_of_one(out, input);
            }
            Self::SetInfo { file_id, kind, class, additional, data } => {
                put(
                    out,
                    &[&33_u16.to_le_bytes(), &[*kind, *class], &long(data)?, &place(BODY + 32), &[0; 2]],
                );
                put(out, &[&additional.to_le_bytes(), &of(*file_id), data]);
                buffer_of_one(out, data);
            }
            Self::OplockAck(body) => body.encode(out),
            Self::LeaseAck(body) => body.encode(out),
        }
        Ok(())
    }

    /// The command that it is the body of.
    pub const fn command(&self) -> Command {
        match self {
            Self::Negotiate(_) => Command::Negotiate,
            Self::SessionSetup(_) => Command::SessionSetup,
            Self::Logoff => Command::Logoff,
            Self::TreeConnect(_) => Command::TreeConnect,
            Self::TreeDisconnect => Command::TreeDisconnect,
            Self::Create(_) => Command::Create,
            Self::Close { .. } => Command::Close,
            Self::Flush(_) => Command::Flush,
            Self::Read { .. } => Command::Read,
            Self::Write { .. } => Command::Write,
            Self::Lock { .. } => Command::Lock,
            Self::Ioctl(_) => Command::Ioctl,
            Self::Cancel => Command::Cancel,
            Self::Echo => Command::Echo,
            Self::QueryDirectory(_) => Command::QueryDirectory,
            Self::ChangeNotify { .. } => Command::ChangeNotify,
            Self::QueryInfo(_) => Command::QueryInfo,
            Self::SetInfo { .. } => Command::SetInfo,
            Self::OplockAck(_) | Self::LeaseAck(_) => Command::OplockBreak,
        }
    }

    /// The open that the request names.
    pub fn file_id(&self) -> Option<FileId> {
        match self {
            Self::Close { file_id, .. }
            | Self::Flush(file_id)
            | Self::Read { file_id, .. }
            | Self::Write { file_id, .. }
            | Self::Lock { file_id, .. }
            | Self::Ioctl(Ioctl { file_id, .. })
            | Self::QueryDirectory(QueryDirectory { file_id, .. })
            | Self::ChangeNotify { file_id, .. }
            | Self::QueryInfo(QueryInfo { file_id, .. })
            | Self::SetInfo { file_id, .. }
            | Self::OplockAck(OplockBreak { file_id, .. }) => Some(*file_id),
            Self::Negotiate(_)
            | Self::SessionSetup(_)
            | Self::Logoff
            | Self::TreeConnect(_)
            | Self::TreeDisconnect
            | Self::Create(_)
            | Self::Cancel
            | Self::Echo
            | Self::LeaseAck(_) => None,
        }
    }
}

/// A length or offset of 32 bits as one of memory.
fn wide(value: u32) -> Result<usize, Status> {
    usize::try_from(value).map_err(|_| Status::INVALID_PARAMETER)
}

/// The elements of a LOCK: one at least (MS-SMB2 3.3.5.14).
fn locks(octets: Octets<'_>) -> Result<Vec<LockElement>, Status> {
    let count = octets.u16(BODY + 2)?;
    if count == 0 || count > MOST_LOCKS {
        return Err(Status::INVALID_PARAMETER);
    }
    let element = |index: u16| {
        let at = BODY + 24 + usize::from(index) * 24;
        let flags = LockFlags::from_bits_retain(octets.u32(at + 16)?);
        Ok(LockElement { offset: octets.u64(at)?, len: octets.u64(at + 8)?, flags })
    };
    (0..count).map(element).collect()
}

/// StructureSize tells the two acknowledgments apart (MS-SMB2 2.2.24).
fn acknowledgment<'a>(message: &'a [u8], size: u16) -> Result<Request<'a>, Status> {
    let body = |len: usize| Octets(message).slice(BODY, len);
    match size {
        24 => OplockBreak::decode(body(24)?).map(Request::OplockAck).map_err(|_| Status::INVALID_PARAMETER),
        36 => LeaseAck::decode(body(36)?).map(Request::LeaseAck).map_err(|_| Status::INVALID_PARAMETER),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

/// Where a buffer begins, in sixteen bits.
const fn place(at: usize) -> [u8; 2] {
    (at as u16).to_le_bytes()
}

/// A length of sixteen bits.
fn short(buffer: &[u8]) -> Result<[u8; 2], Status> {
    u16::try_from(buffer.len()).map(u16::to_le_bytes).map_err(|_| Status::INVALID_PARAMETER)
}

/// A length of 32 bits.
fn long(buffer: &[u8]) -> Result<[u8; 4], Status> {
    u32::try_from(buffer.len()).map(u32::to_le_bytes).map_err(|_| Status::INVALID_PARAMETER)
}

/// SMB2_FILEID (MS-SMB2 2.2.14.1).
fn of(file_id: FileId) -> [u8; 16] {
    let mut octets = [0; 16];
    let (persistent, volatile) = octets.split_at_mut(8);
    persistent.copy_from_slice(&file_id.persistent.to_le_bytes());
    volatile.copy_from_slice(&file_id.volatile.to_le_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use leasehold::wire::Header;
    use leasehold::{Access, ClientGuid, CreateOptions, LeaseKey, LeaseState, OplockLevel, ShareMode};

    use super::*;

    const FILE: FileId = FileId::new(0x0102_0304_0506_0708, 0x1112_1314_1516_1718);

    /// What a server reads is what was meant; a message that is cut short is not read at all.
    fn round_trip(request: &Request<'_>) {
        let mut message = vec![0; Header::LEN];
        request.encode(&mut message).unwrap();
        assert_eq!(Request::decode(request.command(), &message).as_ref(), Ok(request));
        assert!(Request::decode(request.command(), &message[..BODY + 1]).is_err());
    }

    #[test]
    fn sessions_and_trees() {
        for (dialects, sha512) in [
            (vec![0x0202, 0x0210], None),
            (vec![0x0202, 0x0210, 0x0300, 0x0302, 0x0311], Some(true)),
            (vec![0x0311], Some(false)),
            (vec![0x0311], None),
        ] {
            let client = ClientGuid::from_wire([9; 16]);
            round_trip(&Request::Negotiate(NegotiateRequest {
                security_mode: 1,
                capabilities: 0x7f,
                client,
                dialects,
                sha512,
            }));
        }
        for token in [&b"NTLMSSP"[..], &[]] {
            let setup = SessionSetup { binding: true, security_mode: 2, previous: 77, token };
            round_trip(&Request::SessionSetup(setup));
            round_trip(&Request::SessionSetup(SessionSetup { binding: false, ..setup }));
        }
        round_trip(&Request::TreeConnect(b"\\\0s\0"));
        for request in [Request::Logoff, Request::TreeDisconnect, Request::Cancel, Request::Echo] {
            round_trip(&request);
        }
    }

    #[test]
    fn opens() {
        for (name, contexts) in [(&b"a\0"[..], &[7; 24][..]), (b"", &[7; 24]), (b"a\0b\0", b""), (b"", b"")] {
            round_trip(&Request::Create(CreateRequest {
                level: OplockLevel::Lease,
                impersonation: 2,
                desired: Access::READ_DATA,
                attributes: 0x80,
                sharing: ShareMode::ALL,
                disposition: 3,
                options: CreateOptions::from_bits_retain(0x40),
                name,
                contexts,
            }));
        }
        round_trip(&Request::Close { file_id: FILE, query_attributes: true });
        round_trip(&Request::Close { file_id: FILE, query_attributes: false });
        round_trip(&Request::Flush(FILE));
        round_trip(&Request::OplockAck(OplockBreak { level: OplockLevel::II, file_id: FILE }));
        round_trip(&Request::LeaseAck(LeaseAck { key: LeaseKey::new([3; 16]), state: LeaseState::RH }));
    }

    #[test]
    fn data() {
        round_trip(&Request::Read { file_id: FILE, offset: 1 << 40, length: 4096, minimum: 1 });
        for data in [&b"abc"[..], &[]] {
            round_trip(&Request::Write { file_id: FILE, offset: 1 << 40, data });
            let (kind, class, additional) = (1, 20, 4);
            round_trip(&Request::SetInfo { file_id: FILE, kind, class, additional, data });
            let info = QueryInfo { kind, class, max_output: 512, input: data, additional, file_id: FILE };
            round_trip(&Request::QueryInfo(info));
            let (code, max_output) = (0x0014_0204, 24);
            round_trip(&Request::Ioctl(Ioctl {
                code,
                file_id: FileId::PREVIOUS,
                input: data,
                max_output,
                is_fsctl: true,
            }));
        }
        let pattern = b"*\0";
        round_trip(&Request::QueryDirectory(QueryDirectory {
            class: 12,
            flags: 1,
            file_id: FILE,
            pattern,
            max_output: 9,
        }));
        round_trip(&Request::ChangeNotify { file_id: FILE, flags: 1, filter: 0x17, max_output: 8 });
        let element =
            |offset, flags| LockElement { offset, len: 9, flags: LockFlags::from_bits_retain(flags) };
        let elements = vec![element(0, 2), element(1 << 63, 0x11)];
        round_trip(&Request::Lock { file_id: FILE, sequence: 0x12, elements });
    }

    #[test]
    fn what_no_length_field_can_say_is_not_written() {
        let long = vec![0; 1 << 16];
        for request in [
            Request::TreeConnect(&long),
            Request::SessionSetup(SessionSetup {
                binding: false,
                security_mode: 1,
                previous: 0,
                token: &long,
            }),
        ] {
            assert_eq!(request.encode(&mut vec![0; Header::LEN]), Err(Status::INVALID_PARAMETER));
        }
    }
}
