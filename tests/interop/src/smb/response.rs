//! The bodies of responses. Each is appended to a message that holds its header and nothing else, so that offsets count from
//! where that begins. Read, they begin with their header again.

use leasehold::Status;
use leasehold::wire::{CreateResponse, Fixed as _, LeaseAck, OplockBreak};

use super::negotiate::{NegotiateResponse, len16, len32};
use super::octets::{Octets, buffer_of_one, put};
use super::request::{BODY, Command};

/// The body of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// MS-SMB2 2.2.2; `data` is what an error has to say beside its status.
    Error { data: Vec<u8> },
    /// MS-SMB2 2.2.4
    Negotiate(NegotiateResponse),
    /// MS-SMB2 2.2.6
    SessionSetup { flags: u16, token: Vec<u8> },
    /// MS-SMB2 2.2.8, 2.2.12, 2.2.18, 2.2.27, 2.2.29: LOGOFF, TREE_DISCONNECT, FLUSH, LOCK and ECHO say nothing.
    Empty,
    /// MS-SMB2 2.2.10
    TreeConnect { share_type: u8, flags: u32, capabilities: u32, maximal_access: u32 },
    /// MS-SMB2 2.2.14
    Create(CreateResponse<'a>),
    /// MS-SMB2 2.2.16: attributes if they were asked for.
    Close(Option<Attributes>),
    /// MS-SMB2 2.2.20
    Read(Vec<u8>),
    /// MS-SMB2 2.2.22
    Write(u32),
    /// MS-SMB2 2.2.32
    Ioctl { code: u32, file_id: [u8; 16], output: Vec<u8> },
    /// MS-SMB2 2.2.34, 2.2.36, 2.2.38: QUERY_DIRECTORY, CHANGE_NOTIFY and QUERY_INFO have a buffer.
    Output(Vec<u8>),
    /// MS-SMB2 2.2.40
    SetInfo,
    /// MS-SMB2 2.2.25.1, and 2.2.23.1 of a notification
    OplockBreak(OplockBreak),
    /// MS-SMB2 2.2.25.2
    LeaseAck(LeaseAck),
}

/// What a CLOSE says of the file (MS-SMB2 2.2.16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// CreationTime, LastAccessTime, LastWriteTime, ChangeTime: FILETIME.
    pub times: [u64; 4],
    /// AllocationSize, in octets.
    pub allocation_size: u64,
    /// EndOfFile, in octets.
    pub end_of_file: u64,
    /// FileAttributes
    pub attributes: u32,
}

impl<'a> Response<'a> {
    /// Decodes a message that begins with its header, up to the next one of a compound. `status` is that of the header. What a
    /// server notifies of is no response: see [`Notification`](leasehold::wire::Notification).
    ///
    /// # Errors
    ///
    /// STATUS_INVALID_PARAMETER if the octets are no response to that command.
    pub fn decode(command: Command, message: &'a [u8], status: Status) -> Result<Self, Status> {
        let octets = Octets(message);
        let size = octets.u16(BODY)?;
        let sized = |expected: u16| if size == expected { Ok(()) } else { Err(Status::INVALID_PARAMETER) };
        // A buffer that is named by its offset and its length.
        let buffer = |at: usize, len: usize| octets.slice(octets.u16(at)?.into(), len).map(<[u8]>::to_vec);
        if !has_body(command, status, size) {
            sized(9)?;
            return Ok(Self::Error { data: octets.slice(BODY + 8, wide(octets.u32(BODY + 4)?)?)?.to_vec() });
        }
        Ok(match command {
            Command::Negotiate => {
                sized(65)?;
                Self::Negotiate(negotiate(octets)?)
            }
            Command::SessionSetup => {
                sized(9)?;
                let token = buffer(BODY + 4, octets.u16(BODY + 6)?.into())?;
                Self::SessionSetup { flags: octets.u16(BODY + 2)?, token }
            }
            Command::Logoff | Command::TreeDisconnect | Command::Flush | Command::Lock | Command::Echo => {
                sized(4)?;
                Self::Empty
            }
            Command::TreeConnect => {
                sized(16)?;
                Self::TreeConnect {
                    share_type: octets.u8(BODY + 2)?,
                    flags: octets.u32(BODY + 4)?,
                    capabilities: octets.u32(BODY + 8)?,
                    maximal_access: octets.u32(BODY + 12)?,
                }
            }
            Command::Create => {
                Self::Create(CreateResponse::decode(message).map_err(|_| Status::INVALID_PARAMETER)?)
            }
            Command::Close => {
                sized(60)?;
                let attributes = attributes(octets)?;
                Self::Close(
                    Some(attributes).filter(|_| octets.u16(BODY + 2).is_ok_and(|flags| flags & 1 != 0)),
                )
            }
            Command::Read => {
                sized(17)?;
                let len = wide(octets.u32(BODY + 4)?)?;
                Self::Read(octets.slice(octets.u8(BODY + 2)?.into(), len)?.to_vec())
            }
            Command::Write => {
                sized(17)?;
                Self::Write(octets.u32(BODY + 4)?)
            }
            Command::Ioctl => {
                sized(49)?;
                let (at, len) = (wide(octets.u32(BODY + 32)?)?, wide(octets.u32(BODY + 36)?)?);
                Self::Ioctl {
                    code: octets.u32(BODY + 4)?,
                    file_id: octets.array(BODY + 8)?,
                    output: octets.slice(at, len)?.to_vec(),
                }
            }
            Command::QueryDirectory | Command::ChangeNotify | Command::QueryInfo => {
                sized(9)?;
                Self::Output(buffer(BODY + 2, wide(octets.u32(BODY + 4)?)?)?)
            }
            Command::SetInfo => {
                sized(2)?;
                Self::SetInfo
            }
            Command::OplockBreak => return acknowledged(octets, size),
            // MS-SMB2 3.3.5.16: it has no response.
            Command::Cancel => return Err(Status::INVALID_PARAMETER),
        })
    }

    /// Appends the body to its header.
    ///
    /// # Errors
    ///
    /// STATUS_INTERNAL_ERROR if the create contexts do not fit: they are what this server puts there itself.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Status> {
        match self {
            Self::Error { data } => {
                put(out, &[&9_u16.to_le_bytes(), &[0; 2], &len32(data.len()).to_le_bytes(), data]);
                // ErrorData has one octet at least.
                if data.is_empty() {
                    out.push(0);
                }
            }
            Self::Negotiate(response) => response.encode(out),
            Self::SessionSetup { flags, token } => {
                let lens = [72_u16, len16(token)].map(u16::to_le_bytes);
                put(out, &[&9_u16.to_le_bytes(), &flags.to_le_bytes(), lens.as_flattened(), token]);
            }
            Self::Empty => put(out, &[&4_u16.to_le_bytes(), &[0; 2]]),
            Self::TreeConnect { share_type, flags, capabilities, maximal_access } => {
                let words = [*flags, *capabilities, *maximal_access].map(u32::to_le_bytes);
                put(out, &[&16_u16.to_le_bytes(), &[*share_type, 0], words.as_flattened()]);
            }
            Self::Create(response) => {
                response.encode(out).map_err(|_| INTERNAL_ERROR)?;
            }
            Self::Close(attributes) => {
                let Attributes { times, allocation_size, end_of_file, attributes: bits } =
                    attributes.unwrap_or_default();
                put(out, &[&60_u16.to_le_bytes(), &u16::from(attributes.is_some()).to_le_bytes(), &[0; 4]]);
                put(out, &[times.map(u64::to_le_bytes).as_flattened(), &allocation_size.to_le_bytes()]);
                put(out, &[&end_of_file.to_le_bytes(), &bits.to_le_bytes()]);
            }
            Self::Read(data) => {
                put(out, &[&17_u16.to_le_bytes(), &[80, 0], &len32(data.len()).to_le_bytes(), &[0; 8], data]);
                buffer_of_one(out, data);
            }
            Self::Write(count) => put(out, &[&17_u16.to_le_bytes(), &[0; 2], &count.to_le_bytes(), &[0; 9]]),
            Self::Ioctl { code, file_id, output } => {
                put(out, &[&49_u16.to_le_bytes(), &[0; 2], &code.to_le_bytes(), file_id]);
                let words = [112, 0, 112, len32(output.len()), 0, 0].map(u32::to_le_bytes);
                put(out, &[words.as_flattened(), output]);
                buffer_of_one(out, output);
            }
            Self::Output(data) => {
                put(out, &[&9_u16.to_le_bytes(), &[72, 0], &len32(data.len()).to_le_bytes(), data]);
                buffer_of_one(out, data);
            }
            Self::SetInfo => put(out, &[&2_u16.to_le_bytes()]),
            Self::OplockBreak(body) => body.encode(out),
            Self::LeaseAck(body) => body.encode(out),
        }
        Ok(())
    }
}

/// STATUS_INTERNAL_ERROR
const INTERNAL_ERROR: Status = Status::from_wire(0xc000_00e5);

/// STATUS_BUFFER_OVERFLOW
const BUFFER_OVERFLOW: Status = Status::from_wire(0x8000_0005);
/// STATUS_MORE_PROCESSING_REQUIRED
const MORE_PROCESSING_REQUIRED: Status = Status::from_wire(0xc000_0016);

/// Whether the body is that of the command and not of an error (MS-SMB2 3.3.4.4).
fn has_body(command: Command, status: Status, size: u16) -> bool {
    let cut_short =
        matches!(command, Command::Read | Command::Ioctl | Command::QueryInfo | Command::QueryDirectory);
    match status {
        Status::PENDING => false,
        MORE_PROCESSING_REQUIRED => command == Command::SessionSetup,
        BUFFER_OVERFLOW => cut_short,
        // FSCTL_SRV_COPYCHUNK says so of its limits.
        Status::INVALID_PARAMETER => command == Command::Ioctl && size == 49,
        other => other.to_wire() >> 30 == 0,
    }
}

/// A length or offset of 32 bits as one of memory.
fn wide(value: u32) -> Result<usize, Status> {
    usize::try_from(value).map_err(|_| Status::INVALID_PARAMETER)
}

/// NEGOTIATE. Of the three sizes MaxTransactSize is taken.
fn negotiate(octets: Octets<'_>) -> Result<NegotiateResponse, Status> {
    let revision = octets.u16(BODY + 4)?;
    let token = octets.slice(octets.u16(BODY + 56)?.into(), octets.u16(BODY + 58)?.into())?;
    Ok(NegotiateResponse {
        security_mode: octets.u16(BODY + 2)?,
        revision,
        server: octets.array(BODY + 8)?,
        capabilities: octets.u32(BODY + 24)?,
        max_size: octets.u32(BODY + 28)?,
        time: octets.u64(BODY + 40)?,
        token: token.to_vec(),
        salt: if revision == 0x0311 { salt(octets)? } else { None },
    })
}

/// The salt in the negotiate contexts, if it has 32 octets (MS-SMB2 2.2.4.1).
fn salt(octets: Octets<'_>) -> Result<Option<[u8; 32]>, Status> {
    let mut at = wide(octets.u32(BODY + 60)?)?;
    for _ in 0..octets.u16(BODY + 6)? {
        let len = usize::from(octets.u16(at + 2)?);
        // SMB2_PREAUTH_INTEGRITY_CAPABILITIES
        if octets.u16(at)? == 1 {
            let data = Octets(octets.slice(at + 8, len)?);
            let (algorithms, salt) = (usize::from(data.u16(0)?), usize::from(data.u16(2)?));
            return Ok(data.slice(4 + 2 * algorithms, salt)?.try_into().ok());
        }
        at = (at + 8 + len).next_multiple_of(8);
    }
    Ok(None)
}

/// What a CLOSE says, whether it was asked for or not.
fn attributes(octets: Octets<'_>) -> Result<Attributes, Status> {
    let time = |index: usize| octets.u64(BODY + 8 + 8 * index);
    Ok(Attributes {
        times: [time(0)?, time(1)?, time(2)?, time(3)?],
        allocation_size: octets.u64(BODY + 40)?,
        end_of_file: octets.u64(BODY + 48)?,
        attributes: octets.u32(BODY + 56)?,
    })
}

/// StructureSize tells the answers to the two acknowledgments apart (MS-SMB2 2.2.25).
fn acknowledged<'a>(octets: Octets<'_>, size: u16) -> Result<Response<'a>, Status> {
    let body = |len: usize| octets.slice(BODY, len);
    match size {
        24 => {
            OplockBreak::decode(body(24)?).map(Response::OplockBreak).map_err(|_| Status::INVALID_PARAMETER)
        }
        36 => LeaseAck::decode(body(36)?).map(Response::LeaseAck).map_err(|_| Status::INVALID_PARAMETER),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use leasehold::{FileId, LeaseKey, LeaseState, OplockLevel};

    use super::*;

    fn octets(response: &Response<'_>) -> Vec<u8> {
        let mut message = vec![0; BODY];
        response.encode(&mut message).unwrap();
        message
    }

    /// A response of each kind, with the command and the status that it answers with.
    fn responses() -> Vec<(Command, Status, Response<'static>)> {
        use Command as C;
        let negotiate = NegotiateResponse {
            security_mode: 1,
            revision: 0x0311,
            server: [7; 16],
            capabilities: 0x2f,
            max_size: 1 << 20,
            time: 5,
            token: vec![1, 2, 3],
            salt: Some([9; 32]),
        };
        let create = CreateResponse {
            level: OplockLevel::Batch,
            flags: 0,
            action: 2,
            times: [1, 2, 3, 4],
            allocation_size: 4096,
            end_of_file: 9,
            attributes: 0x20,
            file_id: FileId::new(1, 2),
            contexts: &[],
        };
        let attributes =
            Attributes { times: [4, 3, 2, 1], end_of_file: 8, attributes: 32, ..Attributes::default() };
        let ack = LeaseAck { key: LeaseKey::new([3; 16]), state: LeaseState::READ };
        let oplock = OplockBreak { level: OplockLevel::II, file_id: FileId::new(5, 6) };
        let old = NegotiateResponse { revision: 0x0210, salt: None, ..negotiate.clone() };
        let setup = Response::SessionSetup { flags: 1, token: vec![4; 5] };
        let tree = Response::TreeConnect { share_type: 1, flags: 2, capabilities: 16, maximal_access: 3 };
        let control = Response::Ioctl { code: 0x0014_0204, file_id: [8; 16], output: vec![1; 24] };
        let ok = Status::SUCCESS;
        vec![
            (C::Create, Status::SHARING_VIOLATION, Response::Error { data: Vec::new() }),
            (C::Create, Status::PENDING, Response::Error { data: Vec::new() }),
            (C::Create, Status::from_wire(0x8000_002d), Response::Error { data: vec![1, 2] }),
            (C::Negotiate, ok, Response::Negotiate(negotiate)),
            (C::Negotiate, ok, Response::Negotiate(old)),
            (C::SessionSetup, MORE_PROCESSING_REQUIRED, setup.clone()),
            (C::SessionSetup, ok, setup),
            (C::Logoff, ok, Response::Empty),
            (C::TreeConnect, ok, tree),
            (C::Create, ok, Response::Create(create)),
            (C::Close, ok, Response::Close(None)),
            (C::Close, ok, Response::Close(Some(attributes))),
            (C::Read, BUFFER_OVERFLOW, Response::Read(vec![1, 2])),
            (C::Read, ok, Response::Read(Vec::new())),
            (C::Write, ok, Response::Write(77)),
            (C::Ioctl, ok, control.clone()),
            (C::Ioctl, Status::INVALID_PARAMETER, control),
            (C::QueryDirectory, ok, Response::Output(vec![5; 9])),
            (C::ChangeNotify, Status::from_wire(0x0000_010c), Response::Output(Vec::new())),
            (C::SetInfo, ok, Response::SetInfo),
            (C::OplockBreak, ok, Response::OplockBreak(oplock)),
            (C::OplockBreak, ok, Response::LeaseAck(ack)),
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (command, status, response) in responses() {
            let message = octets(&response);
            assert_eq!(Response::decode(command, &message, status).as_ref(), Ok(&response), "{command:?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for (command, status, response) in responses() {
            let message = octets(&response);
            // One octet of padding stands for an empty buffer, some fields behind the last that is read are reserved.
            for end in 0..message.len().saturating_sub(9) {
                let cut = Response::decode(command, message.get(..end).unwrap(), status);
                assert_eq!(cut, Err(Status::INVALID_PARAMETER), "{command:?} cut at {end}");
            }
        }
    }

    #[test]
    fn another_structure_size_is_refused() {
        for (command, status, response) in responses() {
            let mut message = octets(&response);
            message[BODY] ^= 0x40;
            assert_eq!(
                Response::decode(command, &message, status),
                Err(Status::INVALID_PARAMETER),
                "{command:?}"
            );
        }
        let message = octets(&Response::Empty);
        assert_eq!(
            Response::decode(Command::Cancel, &message, Status::SUCCESS),
            Err(Status::INVALID_PARAMETER)
        );
    }
}
