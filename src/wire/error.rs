//! What was wrong with octets.

use core::fmt;

/// Why octets could not be decoded: what was wrong, with which field, of which structure, at which offset.
///
/// `Copy` and sixteen octets; it never allocates. A server answers STATUS_INVALID_PARAMETER (MS-SMB2 3.3.5.2.6, 3.3.5.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{structure}: {} (offset {offset})", Problem(*field, *kind))]
pub struct DecodeError {
    pub(super) kind: DecodeErrorKind,
    pub(super) offset: u32,
    pub(super) structure: Structure,
    pub(super) field: Field,
}

const _: () = assert!(size_of::<DecodeError>() <= 16);

impl DecodeError {
    /// What was wrong.
    pub const fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// The structure that was being decoded.
    pub const fn structure(&self) -> Structure {
        self.structure
    }

    /// The field that was wrong.
    pub const fn field(&self) -> Field {
        self.field
    }

    /// Where that field lies, in octets from the start of what was handed to the decoder.
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    pub(super) fn new(structure: Structure, field: Field, offset: usize, kind: DecodeErrorKind) -> Self {
        Self { kind, offset: u32::try_from(offset).unwrap_or(u32::MAX), structure, field }
    }

    /// The same error of a structure that lies `by` octets into something larger.
    pub(super) fn shifted(self, by: usize) -> Self {
        let by = u32::try_from(by).unwrap_or(u32::MAX);
        Self { offset: self.offset.saturating_add(by), ..self }
    }
}

/// The kinds of [`DecodeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// A body of fixed size has another one, or a variable one is cut short. In octets.
    Length {
        /// The length that was found.
        actual: u32,
        /// The length that was needed.
        expected: u16,
    },
    /// An `RqLs` context that is neither of version 1 (32 octets) nor of version 2 (52).
    LeaseLength {
        /// The length that was found, in octets.
        actual: u32,
    },
    /// A field that has one lawful value has another.
    Value {
        /// The value that was found.
        found: u32,
        /// The only lawful one.
        expected: u16,
    },
    /// A field of fixed octets has others.
    Mismatch,
    /// An offset that has to be a multiple of eight is not.
    Misaligned {
        /// The value that was found.
        found: u32,
    },
    /// A value below its lower bound: what it points at would overlap what comes before.
    TooSmall {
        /// The value that was found.
        found: u32,
        /// What it has to reach; 65,535 where that is more than 65,535.
        least: u16,
    },
    /// An offset or length that leads out of the octets it belongs to. Of an offset and its length, the length is named.
    PastEnd {
        /// The value that was found.
        found: u32,
    },
    /// A length that has to be even (UTF-16) is odd.
    Odd {
        /// The value that was found.
        found: u32,
    },
    /// More elements than the decoder is willing to walk.
    TooMany {
        /// How many it would have walked.
        most: u16,
    },
}

/// The structures that this crate decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Structure {
    /// SMB2 packet header (MS-SMB2 2.2.1)
    Header,
    /// SMB2 CREATE Request (MS-SMB2 2.2.13)
    CreateRequest,
    /// SMB2 CREATE Response (MS-SMB2 2.2.14)
    CreateResponse,
    /// SMB2_CREATE_CONTEXT (MS-SMB2 2.2.13.2)
    CreateContext,
    /// DHnQ, request (MS-SMB2 2.2.13.2.3)
    DurableHandleRequest,
    /// DHnQ, response (MS-SMB2 2.2.14.2.3)
    DurableHandleResponse,
    /// DHnC (MS-SMB2 2.2.13.2.4)
    DurableHandleReconnect,
    /// DH2Q, request (MS-SMB2 2.2.13.2.11)
    DurableHandleRequestV2,
    /// DH2Q, response (MS-SMB2 2.2.14.2.12)
    DurableHandleResponseV2,
    /// DH2C (MS-SMB2 2.2.13.2.12)
    DurableHandleReconnectV2,
    /// RqLs, version 1 or 2 not yet known
    Lease,
    /// RqLs of 32 octets (MS-SMB2 2.2.13.2.8, 2.2.14.2.10)
    LeaseV1,
    /// RqLs of 52 octets (MS-SMB2 2.2.13.2.10, 2.2.14.2.11)
    LeaseV2,
    /// AppInstanceId (MS-SMB2 2.2.13.2.13)
    AppInstanceId,
    /// AppInstanceVersion (MS-SMB2 2.2.13.2.15)
    AppInstanceVersion,
    /// Oplock Break Notification, Acknowledgment and Response (MS-SMB2 2.2.23.1, 2.2.24.1, 2.2.25.1)
    OplockBreak,
    /// Lease Break Notification (MS-SMB2 2.2.23.2)
    LeaseBreak,
    /// Lease Break Acknowledgment and Response (MS-SMB2 2.2.24.2, 2.2.25.2)
    LeaseAck,
    /// NETWORK_RESILIENCY_REQUEST (MS-SMB2 2.2.31.3)
    ResiliencyRequest,
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "SMB2 Header",
            Self::CreateRequest => "CREATE Request",
            Self::CreateResponse => "CREATE Response",
            Self::CreateContext => "Create Context",
            Self::DurableHandleRequest => "Durable Handle Request",
            Self::DurableHandleResponse => "Durable Handle Response",
            Self::DurableHandleReconnect => "Durable Handle Reconnect",
            Self::DurableHandleRequestV2 => "Durable Handle Request V2",
            Self::DurableHandleResponseV2 => "Durable Handle Response V2",
            Self::DurableHandleReconnectV2 => "Durable Handle Reconnect V2",
            Self::Lease => "Lease Context",
            Self::LeaseV1 => "Lease Context V1",
            Self::LeaseV2 => "Lease Context V2",
            Self::AppInstanceId => "App Instance Id",
            Self::AppInstanceVersion => "App Instance Version",
            Self::OplockBreak => "Oplock Break",
            Self::LeaseBreak => "Lease Break Notification",
            Self::LeaseAck => "Lease Break Acknowledgment",
            Self::ResiliencyRequest => "Network Resiliency Request",
        })
    }
}

/// The fields that a decoder can find fault with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The structure as a whole.
    Whole,
    /// ProtocolId of the header.
    ProtocolId,
    /// StructureSize.
    StructureSize,
    /// Next of a create context.
    Next,
    /// NameOffset of a create context or a CREATE request.
    NameOffset,
    /// NameLength of a create context or a CREATE request.
    NameLength,
    /// DataOffset of a create context.
    DataOffset,
    /// DataLength of a create context.
    DataLength,
    /// CreateContextsOffset of a CREATE.
    CreateContextsOffset,
    /// CreateContextsLength of a CREATE.
    CreateContextsLength,
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Whole => "length",
            Self::ProtocolId => "ProtocolId",
            Self::StructureSize => "StructureSize",
            Self::Next => "Next",
            Self::NameOffset => "NameOffset",
            Self::NameLength => "NameLength",
            Self::DataOffset => "DataOffset",
            Self::DataLength => "DataLength",
            Self::CreateContextsOffset => "CreateContextsOffset",
            Self::CreateContextsLength => "CreateContextsLength",
        }
    }
}

struct Problem(Field, DecodeErrorKind);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.0.name();
        match self.1 {
            DecodeErrorKind::Length { actual, expected } => {
                write!(f, "{field} {actual}, expected {expected}")
            }
            DecodeErrorKind::LeaseLength { actual } => write!(f, "{field} {actual}, expected 32 or 52"),
            DecodeErrorKind::Value { found, expected } => write!(f, "{field} {found}, expected {expected}"),
            DecodeErrorKind::Mismatch => write!(f, "{field} is another one"),
            DecodeErrorKind::Misaligned { found } => write!(f, "{field} {found} is not a multiple of 8"),
            DecodeErrorKind::TooSmall { found, least } => write!(f, "{field} {found}, at least {least}"),
            DecodeErrorKind::PastEnd { found } => write!(f, "{field} {found} leads past the end"),
            DecodeErrorKind::Odd { found } => write!(f, "{field} {found} is odd"),
            DecodeErrorKind::TooMany { most } => write!(f, "more than {most} elements"),
        }
    }
}
