//! What may be cached and what was asked for: lease states, oplock levels, access, sharing, dialects.

use core::fmt;

use bitflags::bitflags;

macro_rules! arbitrary_bits {
    ($($name:ty),*) => {$(
        #[cfg(feature = "arbitrary")]
        impl<'a> arbitrary::Arbitrary<'a> for $name {
            fn arbitrary(input: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
                Ok(Self::from_bits_retain(input.arbitrary()?))
            }

            fn size_hint(depth: usize) -> (usize, Option<usize>) {
                <u32 as arbitrary::Arbitrary<'a>>::size_hint(depth)
            }
        }
    )*};
}
pub(crate) use arbitrary_bits;

bitflags! {
    /// LeaseState (MS-SMB2 2.2.13.2.8): what a lease lets its client cache. 32 bits, little-endian on the wire.
    ///
    /// Many implementations swap the last two. HANDLE is 0x2, WRITE is 0x4.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct LeaseState: u32 {
        /// R: reads may be served from the cache.
        const READ = 0x1;
        /// H: a handle may be kept open after the application closed it.
        const HANDLE = 0x2;
        /// W: writes and byte-range locks may be kept back.
        const WRITE = 0x4;
        // Unknown bits are kept by the codecs and dropped where a machine decides.
        const _ = !0;
    }
}

impl LeaseState {
    /// No caching.
    pub const NONE: Self = Self::empty();
    /// Read caching.
    pub const R: Self = Self::READ;
    /// Read and handle caching.
    pub const RH: Self = Self::READ.union(Self::HANDLE);
    /// Read and write caching.
    pub const RW: Self = Self::READ.union(Self::WRITE);
    /// Read, write and handle caching.
    pub const RWH: Self = Self::RW.union(Self::HANDLE);

    /// The nearest state at or below this one that can be held: NONE, R, RH, RW or RWH (MS-SMB2 3.3.1.4 <212>).
    ///
    /// Handle or write caching without read caching does not exist, so a state without R is NONE.
    #[must_use]
    pub const fn normalized(self) -> Self {
        if self.contains(Self::READ) { self.intersection(Self::RWH) } else { Self::NONE }
    }

    /// What is left of this state when `bits` are taken away; again a state that can be held.
    #[must_use]
    pub const fn without(self, bits: Self) -> Self {
        self.difference(bits).normalized()
    }
}

/// The letters in use in the field: `RWH`, `RH`, `-` for none.
impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (bit, letter) in [(Self::READ, "R"), (Self::WRITE, "W"), (Self::HANDLE, "H")] {
            if self.contains(bit) {
                f.write_str(letter)?;
            }
        }
        let unknown = self.difference(Self::RWH);
        if unknown.is_empty() { Ok(()) } else { write!(f, "+{:#x}", unknown.bits()) }
    }
}

/// An oplock level as one octet of the wire (MS-SMB2 2.2.13, 2.2.14, 2.2.23.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "the field has 256 values and all of them are here")]
pub enum OplockLevel {
    /// 0x00
    #[default]
    None,
    /// 0x01, level II: reads may be cached.
    II,
    /// 0x08
    Exclusive,
    /// 0x09
    Batch,
    /// 0xFF: the level is that of the lease context.
    Lease,
    /// Any other octet. MS-SMB2 gives it no meaning: in a CREATE it counts as NONE, in an acknowledgment it is wrong.
    Undefined(UndefinedLevel),
}

/// An octet that is no oplock level. Only [`OplockLevel::from_wire`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UndefinedLevel(u8);

impl UndefinedLevel {
    /// The octet.
    pub const fn get(self) -> u8 {
        self.0
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for UndefinedLevel {
    fn arbitrary(input: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        match OplockLevel::from_wire(input.int_in_range(2..=254)?) {
            OplockLevel::Undefined(level) => Ok(level),
            OplockLevel::None
            | OplockLevel::II
            | OplockLevel::Exclusive
            | OplockLevel::Batch
            | OplockLevel::Lease => Err(arbitrary::Error::IncorrectFormat),
        }
    }
}

impl OplockLevel {
    /// Reads the octet.
    pub const fn from_wire(octet: u8) -> Self {
        match octet {
            0x00 => Self::None,
            0x01 => Self::II,
            0x08 => Self::Exclusive,
            0x09 => Self::Batch,
            0xff => Self::Lease,
            other => Self::Undefined(UndefinedLevel(other)),
        }
    }

    /// The octet.
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::None => 0x00,
            Self::II => 0x01,
            Self::Exclusive => 0x08,
            Self::Batch => 0x09,
            Self::Lease => 0xff,
            Self::Undefined(level) => level.0,
        }
    }
}

bitflags! {
    /// ACCESS_MASK of a file, pipe, printer or directory (MS-SMB2 2.2.13.1). 32 bits, little-endian on the wire.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Access: u32 {
        /// FILE_READ_DATA, FILE_LIST_DIRECTORY
        const READ_DATA = 0x0000_0001;
        /// FILE_WRITE_DATA, FILE_ADD_FILE
        const WRITE_DATA = 0x0000_0002;
        /// FILE_APPEND_DATA, FILE_ADD_SUBDIRECTORY
        const APPEND_DATA = 0x0000_0004;
        /// FILE_READ_EA
        const READ_EA = 0x0000_0008;
        /// FILE_WRITE_EA
        const WRITE_EA = 0x0000_0010;
        /// FILE_EXECUTE, FILE_TRAVERSE
        const EXECUTE = 0x0000_0020;
        /// FILE_DELETE_CHILD
        const DELETE_CHILD = 0x0000_0040;
        /// FILE_READ_ATTRIBUTES
        const READ_ATTRIBUTES = 0x0000_0080;
        /// FILE_WRITE_ATTRIBUTES
        const WRITE_ATTRIBUTES = 0x0000_0100;
        /// DELETE
        const DELETE = 0x0001_0000;
        /// READ_CONTROL
        const READ_CONTROL = 0x0002_0000;
        /// WRITE_DAC
        const WRITE_DAC = 0x0004_0000;
        /// WRITE_OWNER
        const WRITE_OWNER = 0x0008_0000;
        /// SYNCHRONIZE
        const SYNCHRONIZE = 0x0010_0000;
        /// ACCESS_SYSTEM_SECURITY
        const ACCESS_SYSTEM_SECURITY = 0x0100_0000;
        /// MAXIMUM_ALLOWED
        const MAXIMUM_ALLOWED = 0x0200_0000;
        /// GENERIC_ALL
        const GENERIC_ALL = 0x1000_0000;
        /// GENERIC_EXECUTE
        const GENERIC_EXECUTE = 0x2000_0000;
        /// GENERIC_WRITE
        const GENERIC_WRITE = 0x4000_0000;
        /// GENERIC_READ
        const GENERIC_READ = 0x8000_0000;
        const _ = !0;
    }
}

bitflags! {
    /// ShareAccess of a CREATE (MS-SMB2 2.2.13): what others may do meanwhile. 32 bits, little-endian on the wire.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct ShareMode: u32 {
        /// FILE_SHARE_READ
        const READ = 0x1;
        /// FILE_SHARE_WRITE
        const WRITE = 0x2;
        /// FILE_SHARE_DELETE
        const DELETE = 0x4;
        const _ = !0;
    }
}

impl ShareMode {
    /// Everything is shared.
    pub const ALL: Self = Self::READ.union(Self::WRITE).union(Self::DELETE);
}

bitflags! {
    /// CreateOptions of a CREATE (MS-SMB2 2.2.13). 32 bits, little-endian on the wire. Only the bits that some rule of
    /// this crate looks at have names; all are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct CreateOptions: u32 {
        /// FILE_DIRECTORY_FILE
        const DIRECTORY_FILE = 0x0000_0001;
        /// FILE_WRITE_THROUGH
        const WRITE_THROUGH = 0x0000_0002;
        /// FILE_NON_DIRECTORY_FILE
        const NON_DIRECTORY_FILE = 0x0000_0040;
        /// FILE_COMPLETE_IF_OPLOCKED
        const COMPLETE_IF_OPLOCKED = 0x0000_0100;
        /// FILE_DELETE_ON_CLOSE
        const DELETE_ON_CLOSE = 0x0000_1000;
        /// FILE_OPEN_REQUIRING_OPLOCK
        const OPEN_REQUIRING_OPLOCK = 0x0001_0000;
        /// FILE_RESERVE_OPFILTER
        const RESERVE_OPFILTER = 0x0010_0000;
        const _ = !0;
    }
}

arbitrary_bits!(LeaseState, Access, ShareMode, CreateOptions);

/// CreateDisposition of a CREATE (MS-SMB2 2.2.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.13")]
pub enum Disposition {
    /// 0, FILE_SUPERSEDE
    Supersede,
    /// 1, FILE_OPEN
    Open,
    /// 2, FILE_CREATE
    Create,
    /// 3, FILE_OPEN_IF
    OpenIf,
    /// 4, FILE_OVERWRITE
    Overwrite,
    /// 5, FILE_OVERWRITE_IF
    OverwriteIf,
}

impl Disposition {
    /// Reads the field; `None` for a value that MS-SMB2 does not define (STATUS_INVALID_PARAMETER, 3.3.5.9).
    pub const fn from_wire(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Supersede),
            1 => Some(Self::Open),
            2 => Some(Self::Create),
            3 => Some(Self::OpenIf),
            4 => Some(Self::Overwrite),
            5 => Some(Self::OverwriteIf),
            _ => None,
        }
    }

    /// The value of the field.
    pub const fn to_wire(self) -> u32 {
        match self {
            Self::Supersede => 0,
            Self::Open => 1,
            Self::Create => 2,
            Self::OpenIf => 3,
            Self::Overwrite => 4,
            Self::OverwriteIf => 5,
        }
    }

    /// Whether an existing file loses its data to this disposition.
    pub const fn overwrites(self) -> bool {
        match self {
            Self::Supersede | Self::Overwrite | Self::OverwriteIf => true,
            Self::Open | Self::Create | Self::OpenIf => false,
        }
    }
}

/// CreateAction of a CREATE response (MS-SMB2 2.2.14): what became of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.14")]
pub enum CreateAction {
    /// 0, FILE_SUPERSEDED
    Superseded,
    /// 1, FILE_OPENED
    Opened,
    /// 2, FILE_CREATED
    Created,
    /// 3, FILE_OVERWRITTEN
    Overwritten,
}

impl CreateAction {
    /// Reads the field; `None` for a value that MS-SMB2 does not define.
    pub const fn from_wire(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Superseded),
            1 => Some(Self::Opened),
            2 => Some(Self::Created),
            3 => Some(Self::Overwritten),
            _ => None,
        }
    }

    /// The value of the field.
    pub const fn to_wire(self) -> u32 {
        match self {
            Self::Superseded => 0,
            Self::Opened => 1,
            Self::Created => 2,
            Self::Overwritten => 3,
        }
    }
}

/// A negotiated dialect (MS-SMB2 2.2.4), in order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Dialect {
    /// 0x0202
    Smb202,
    /// 0x0210
    Smb210,
    /// 0x0300
    Smb300,
    /// 0x0302
    Smb302,
    /// 0x0311
    Smb311,
}

impl Dialect {
    /// Reads the DialectRevision of a NEGOTIATE response; `None` for a dialect that is not an SMB2 one.
    pub const fn from_wire(revision: u16) -> Option<Self> {
        match revision {
            0x0202 => Some(Self::Smb202),
            0x0210 => Some(Self::Smb210),
            0x0300 => Some(Self::Smb300),
            0x0302 => Some(Self::Smb302),
            0x0311 => Some(Self::Smb311),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn only_five_states_can_be_held() {
        // MS-SMB2 3.3.1.4 <212>, for every combination of the three bits and one unknown one.
        let held = [0, 1, 0, 3, 0, 5, 0, 7];
        for (bits, expected) in (0u32..).zip(held) {
            assert_eq!(LeaseState::from_bits_retain(bits).normalized().bits(), expected);
            assert_eq!(LeaseState::from_bits_retain(bits | 0x100).normalized().bits(), expected);
        }
    }

    #[test]
    fn every_octet_is_a_level_and_comes_back() {
        for octet in 0..=u8::MAX {
            assert_eq!(OplockLevel::from_wire(octet).to_wire(), octet);
        }
    }

    #[test]
    fn states_print_as_the_field_writes_them() {
        assert_eq!(LeaseState::RWH.to_string(), "RWH");
        assert_eq!(LeaseState::NONE.to_string(), "-");
        assert_eq!(LeaseState::from_bits_retain(0x13).to_string(), "RH+0x10");
    }
}
