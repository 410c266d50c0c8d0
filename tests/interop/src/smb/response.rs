//! The bodies of responses. Each is appended to a message that holds its header and nothing else, so that offsets count from
//! where that begins.

use leasehold::Status;
use leasehold::wire::{CreateResponse, Fixed as _, LeaseAck, OplockBreak};

use super::negotiate::{NegotiateResponse, len16, len32};

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

impl Response<'_> {
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

fn put(out: &mut Vec<u8>, fields: &[&[u8]]) {
    fields.iter().for_each(|field| out.extend_from_slice(field));
}

/// An odd StructureSize counts one octet of the buffer, which some clients wait for.
fn buffer_of_one(out: &mut Vec<u8>, buffer: &[u8]) {
    if buffer.is_empty() {
        out.push(0);
    }
}
