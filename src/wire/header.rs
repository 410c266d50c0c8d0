//! The 64-octet SMB2 header in both forms. A convenience: a server or client has its own.

use bitflags::bitflags;
use bytes::BufMut;

use super::Fixed;
use super::error::{DecodeError, DecodeErrorKind, Field, Structure};
use super::parse::{self, octets16, u16, u32, u64};
use crate::state::arbitrary_bits;
use crate::status::Status;
use crate::types::{SessionId, TreeId};

bitflags! {
    /// Flags of the header (MS-SMB2 2.2.1). 32 bits, little-endian.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct HeaderFlags: u32 {
        /// SMB2_FLAGS_SERVER_TO_REDIR: every response and every notification.
        const SERVER_TO_REDIR = 0x0000_0001;
        /// SMB2_FLAGS_ASYNC_COMMAND: the header has an AsyncId instead of a TreeId.
        const ASYNC_COMMAND = 0x0000_0002;
        /// SMB2_FLAGS_RELATED_OPERATIONS
        const RELATED_OPERATIONS = 0x0000_0004;
        /// SMB2_FLAGS_SIGNED
        const SIGNED = 0x0000_0008;
        /// SMB2_FLAGS_PRIORITY_MASK, dialect 3.1.1
        const PRIORITY_MASK = 0x0000_0070;
        /// SMB2_FLAGS_DFS_OPERATIONS
        const DFS_OPERATIONS = 0x1000_0000;
        /// SMB2_FLAGS_REPLAY_OPERATION, requests of 3.x
        const REPLAY_OPERATION = 0x2000_0000;
        const _ = !0;
    }
}
arbitrary_bits!(HeaderFlags);

/// Command of the header (MS-SMB2 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Command(u16);

impl Command {
    /// CREATE
    pub const CREATE: Self = Self(0x0005);
    /// CLOSE
    pub const CLOSE: Self = Self(0x0006);
    /// READ
    pub const READ: Self = Self(0x0008);
    /// WRITE
    pub const WRITE: Self = Self(0x0009);
    /// LOCK
    pub const LOCK: Self = Self(0x000a);
    /// IOCTL
    pub const IOCTL: Self = Self(0x000b);
    /// OPLOCK_BREAK
    pub const OPLOCK_BREAK: Self = Self(0x0012);

    /// Reads the field.
    pub const fn from_wire(value: u16) -> Self {
        Self(value)
    }

    /// The value of the field.
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

/// Offsets 32 to 39 of the header: which of its two forms it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.1")]
pub enum Route {
    /// MS-SMB2 2.2.1.2
    Sync {
        /// Reserved; Windows clients send 0xFEFF and servers echo it, so it is kept.
        reserved: u32,
        /// TreeId
        tree: TreeId,
    },
    /// MS-SMB2 2.2.1.1
    Async {
        /// AsyncId
        id: u64,
    },
}

/// SMB2 packet header (MS-SMB2 2.2.1).
///
/// | offset | size | field                                                                   |
/// |-------:|-----:|-------------------------------------------------------------------------|
/// |      0 |    4 | ProtocolId, FE 53 4D 42                                                 |
/// |      4 |    2 | StructureSize, always 64                                                |
/// |      6 |    2 | CreditCharge                                                            |
/// |      8 |    4 | Status in a response; ChannelSequence and Reserved in a request of 3.x  |
/// |     12 |    2 | Command                                                                 |
/// |     14 |    2 | CreditRequest, CreditResponse                                           |
/// |     16 |    4 | Flags                                                                   |
/// |     20 |    4 | NextCommand                                                             |
/// |     24 |    8 | MessageId                                                               |
/// |     32 |    8 | Reserved and TreeId, or AsyncId                                         |
/// |     40 |    8 | SessionId                                                               |
/// |     48 |   16 | Signature                                                               |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.1")]
pub struct Header {
    /// CreditCharge
    pub credit_charge: u16,
    /// Status of a response. In a request of 3.x the low half is the ChannelSequence.
    pub status: Status,
    /// Command
    pub command: Command,
    /// CreditRequest or CreditResponse
    pub credits: u16,
    /// Flags without ASYNC_COMMAND, which `route` implies; the bit is not looked at here.
    #[cfg_attr(feature = "arbitrary", arbitrary(with = without_async_bit))]
    pub flags: HeaderFlags,
    /// NextCommand: 0, or the distance to the next header of a compound, in octets.
    pub next_command: u32,
    /// MessageId
    pub message_id: u64,
    /// TreeId or AsyncId
    pub route: Route,
    /// SessionId
    pub session: SessionId,
    /// Signature
    pub signature: [u8; 16],
}

impl Header {
    /// The MessageId of everything that a server sends unasked (MS-SMB2 3.3.4.6, 3.3.4.7).
    pub const UNSOLICITED: u64 = u64::MAX;

    /// The header of a break notification: unsigned, no credits, no tree (MS-SMB2 3.3.4.6, 3.3.4.7).
    ///
    /// `session` is zero for a lease, that of the open for an oplock; `status` is zero but for the break of a lease whose
    /// last open the server itself closed <248>.
    pub const fn notification(session: SessionId, status: Status) -> Self {
        Self {
            credit_charge: 0,
            status,
            command: Command::OPLOCK_BREAK,
            credits: 0,
            flags: HeaderFlags::SERVER_TO_REDIR,
            next_command: 0,
            message_id: Self::UNSOLICITED,
            route: Route::Sync { reserved: 0, tree: TreeId::new(0) },
            session,
            signature: [0; 16],
        }
    }

    /// Splits a message into its header and what follows.
    ///
    /// # Errors
    ///
    /// As [`Header::decode`], for a message shorter than a header too.
    #[inline]
    pub fn split(message: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        match message.split_at_checked(Self::LEN) {
            Some((header, body)) => Ok((Self::decode(header)?, body)),
            None => Err(parse::length(Structure::Header, message.len(), Self::LEN)),
        }
    }

    /// ChannelSequence of a request of 3.x (MS-SMB2 2.2.1.2).
    pub const fn channel_sequence(&self) -> u16 {
        let [low, high, ..] = self.status.to_wire().to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Whether this is an oplock or lease break that nobody asked for (MS-SMB2 3.2.5.19).
    pub fn notifies_break(&self) -> bool {
        self.command == Command::OPLOCK_BREAK && self.message_id == Self::UNSOLICITED
    }
}

/// FE 53 4D 42, as the little-endian integer that the field is not.
const PROTOCOL_ID: u32 = u32::from_le_bytes(*b"\xfeSMB");

impl Fixed for Header {
    const LEN: usize = 64;
    const STRUCTURE: Structure = Structure::Header;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let first = (u32(), u16(), u16(), u32(), u16(), u16(), u32(), u32());
        let second = (u64(), u64(), u64(), octets16());
        let (
            (protocol, size, credit_charge, status, command, credits, flags, next_command),
            (message_id, route, session, signature),
        ) = parse::fixed::<Self, _>(octets, (first, second))?;
        if protocol != PROTOCOL_ID {
            let kind = DecodeErrorKind::Mismatch;
            return Err(DecodeError::new(Structure::Header, Field::ProtocolId, 0, kind));
        }
        parse::structure_size(Structure::Header, 4, size, Self::LEN)?;
        let flags = HeaderFlags::from_bits_retain(flags);
        Ok(Self {
            credit_charge,
            status: Status::from_wire(status),
            command: Command(command),
            credits,
            flags: flags.difference(HeaderFlags::ASYNC_COMMAND),
            next_command,
            message_id,
            route: if flags.contains(HeaderFlags::ASYNC_COMMAND) {
                Route::Async { id: route }
            } else {
                let [a, b, c, d, e, f, g, h] = route.to_le_bytes();
                let tree = TreeId::new(u32::from_le_bytes([e, f, g, h]));
                Route::Sync { reserved: u32::from_le_bytes([a, b, c, d]), tree }
            },
            session: SessionId::new(session),
            signature,
        })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let asynchronous = match self.route {
            Route::Async { .. } => HeaderFlags::ASYNC_COMMAND,
            Route::Sync { .. } => HeaderFlags::empty(),
        };
        let flags = self.flags.difference(HeaderFlags::ASYNC_COMMAND).union(asynchronous);
        buf.put_u32_le(PROTOCOL_ID);
        buf.put_u16_le(64);
        buf.put_u16_le(self.credit_charge);
        buf.put_u32_le(self.status.to_wire());
        buf.put_u16_le(self.command.0);
        buf.put_u16_le(self.credits);
        buf.put_u32_le(flags.bits());
        buf.put_u32_le(self.next_command);
        buf.put_u64_le(self.message_id);
        match self.route {
            Route::Sync { reserved, tree } => {
                buf.put_u32_le(reserved);
                buf.put_u32_le(tree.get());
            }
            Route::Async { id } => buf.put_u64_le(id),
        }
        buf.put_u64_le(self.session.get());
        buf.put_slice(&self.signature);
    }
}

#[cfg(feature = "arbitrary")]
fn without_async_bit(input: &mut arbitrary::Unstructured<'_>) -> arbitrary::Result<HeaderFlags> {
    let flags: HeaderFlags = input.arbitrary()?;
    Ok(flags.difference(HeaderFlags::ASYNC_COMMAND))
}
