//! The NTSTATUS values that the machines emit.

use core::fmt;

/// An NTSTATUS (MS-ERREF 2.3), 32 bits, little-endian on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Status(u32);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name without `STATUS_`, if it is one of the values above.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Done.
    SUCCESS = 0x0000_0000,
    /// The request waits; the final answer follows (MS-SMB2 3.3.4.2).
    PENDING = 0x0000_0103,
    /// An acknowledgment of a lease that is not breaking (MS-SMB2 3.3.5.22.2).
    UNSUCCESSFUL = 0xc000_0001,
    /// A malformed request, or a lease key that names another file (MS-SMB2 3.3.5.9, 3.3.5.9.8).
    INVALID_PARAMETER = 0xc000_000d,
    /// A name that leads nowhere; the key of an unknown lease (MS-SMB2 3.3.5.22.2).
    OBJECT_NAME_NOT_FOUND = 0xc000_0034,
    /// Another open excludes this one (MS-SMB2 3.3.5.9, MS-FSA 2.1.5.1.2.2).
    SHARING_VIOLATION = 0xc000_0043,
    /// A limit was reached (MS-SMB2 3.3.5.9.8).
    INSUFFICIENT_RESOURCES = 0xc000_009a,
    /// A read or write of octets that another has locked (MS-FSA 2.1.5.3, 2.1.5.4).
    FILE_LOCK_CONFLICT = 0xc000_0054,
    /// A lock of octets that another has locked (MS-SMB2 3.3.5.14.2).
    LOCK_NOT_GRANTED = 0xc000_0055,
    /// A wait that would never end: NLM4_DEADLCK, NFS4ERR_DEADLOCK.
    POSSIBLE_DEADLOCK = 0xc000_0194,
    /// A delegation that is not given.
    OPLOCK_NOT_GRANTED = 0xc000_00e2,
    /// An unlock of what is not locked (MS-SMB2 3.3.5.14.1); a lock that waited for an open that is closed.
    RANGE_NOT_LOCKED = 0xc000_007e,
    /// A lock of octets beyond offset 2^64 - 1 (MS-FSA 2.1.5.8).
    INVALID_LOCK_RANGE = 0xc000_01a1,
    /// A request that may not be carried out any more, or not as yet (MS-SMB2 3.3.5.2.10, 3.3.5.9).
    FILE_NOT_AVAILABLE = 0xc000_0467,
    /// An application has failed over meanwhile, or is about to with a newer version (MS-SMB2 3.3.5.9.13).
    FILE_FORCED_CLOSED = 0xc000_00b6,
    /// A CREATE that is sent again as another one (MS-SMB2 3.3.5.9).
    CONTEXT_MISMATCH = 0xc000_0719,
    /// A CreateGuid that is in use (MS-SMB2 3.3.5.9.10).
    DUPLICATE_OBJECTID = 0xc000_022a,
    /// A file or directory that is open is in the way of a rename (MS-FSA 2.1.5.15.12).
    ACCESS_DENIED = 0xc000_0022,
    /// An oplock acknowledgment that nothing asked for, by the text (MS-SMB2 3.3.5.22.1).
    INVALID_DEVICE_STATE = 0xc000_0184,
    /// The file is about to be deleted (MS-FSA 2.1.5.1.2).
    DELETE_PENDING = 0xc000_0056,
    /// FILE_RESERVE_OPFILTER, which no server grants over the wire (MS-SMB2 3.3.5.9).
    NOT_SUPPORTED = 0xc000_00bb,
    /// An acknowledgment of more than the notification left (MS-SMB2 3.3.5.22.2).
    REQUEST_NOT_ACCEPTED = 0xc000_00d0,
    /// An oplock acknowledgment that does not fit what is breaking (MS-SMB2 3.3.5.22.1).
    INVALID_OPLOCK_PROTOCOL = 0xc000_00e3,
    /// Cancelled by its sender (MS-SMB2 3.3.5.16).
    CANCELLED = 0xc000_0120,
    /// No such open (MS-SMB2 3.3.5.10).
    FILE_CLOSED = 0xc000_0128,
    /// A response that makes no sense.
    INVALID_NETWORK_RESPONSE = 0xc000_00c3,
    /// The connection was lost before the answer came.
    CONNECTION_DISCONNECTED = 0xc000_020c,
    /// The session has ended under the request (MS-SMB2 3.3.5.2.9).
    USER_SESSION_DELETED = 0xc000_0203,
    /// The tree connect has ended under the request (MS-SMB2 3.3.5.2.11).
    NETWORK_NAME_DELETED = 0xc000_00c9,
    /// The user of the session has to authenticate again (MS-SMB2 3.3.5.2.9).
    NETWORK_SESSION_EXPIRED = 0xc000_035c,
    /// The server is failing over (MS-SMB2 3.3.5.9).
    SERVER_UNAVAILABLE = 0xc000_0466,
    /// The share is failing over (MS-SMB2 3.3.5.7).
    SHARE_UNAVAILABLE = 0xc000_0480,
}

impl Status {
    /// Wraps a value.
    pub const fn from_wire(value: u32) -> Self {
        Self(value)
    }

    /// The value.
    pub const fn to_wire(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "STATUS_{name}"),
            None => write!(f, "NTSTATUS {:#010x}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Status {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn values_print_with_their_names() {
        assert_eq!(Status::REQUEST_NOT_ACCEPTED.to_string(), "STATUS_REQUEST_NOT_ACCEPTED");
        assert_eq!(Status::from_wire(0xc000_00fd).to_string(), "NTSTATUS 0xc00000fd");
    }
}
