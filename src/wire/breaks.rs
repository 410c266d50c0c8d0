//! OPLOCK_BREAK: the notifications, acknowledgments and responses of oplocks and leases.
//!
//! StructureSize is the size of the body here, and it alone tells the two kinds apart (MS-SMB2 3.2.5.19, 3.3.5.22).

use bitflags::bitflags;
use bytes::BufMut;

use super::Fixed;
use super::error::{DecodeError, Structure};
use super::parse::{self, file_id, lease_key, octet, reserved, u16, u32};
use crate::state::{Dialect, LeaseState, OplockLevel, arbitrary_bits};
use crate::types::{Epoch, FileId, LeaseKey};

bitflags! {
    /// Flags of a Lease Break Notification (MS-SMB2 2.2.23.2). 32 bits, little-endian.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct BreakFlags: u32 {
        /// SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED
        const ACK_REQUIRED = 0x1;
        const _ = !0;
    }
}
arbitrary_bits!(BreakFlags);

/// Oplock Break Notification, Acknowledgment and Response (MS-SMB2 2.2.23.1, 2.2.24.1, 2.2.25.1): one layout.
///
/// | offset | size | field                      |
/// |-------:|-----:|----------------------------|
/// |      0 |    2 | StructureSize, always 24   |
/// |      2 |    1 | OplockLevel                |
/// |      3 |    5 | Reserved (ignored)         |
/// |      8 |   16 | FileId                     |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.23.1")]
pub struct OplockBreak {
    /// OplockLevel: the new one, the accepted one, or the one now held.
    pub level: OplockLevel,
    /// FileId
    pub file_id: FileId,
}

/// Lease Break Notification (MS-SMB2 2.2.23.2).
///
/// | offset | size | field                                              |
/// |-------:|-----:|----------------------------------------------------|
/// |      0 |    2 | StructureSize, always 44                           |
/// |      2 |    2 | NewEpoch; 0 for a lease of version 1               |
/// |      4 |    4 | Flags                                              |
/// |      8 |   16 | LeaseKey                                           |
/// |     24 |    4 | CurrentLeaseState                                  |
/// |     28 |    4 | NewLeaseState                                      |
/// |     32 |   12 | BreakReason, AccessMaskHint, ShareMaskHint (ignored) |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.23.2")]
pub struct LeaseBreak {
    /// NewEpoch
    pub epoch: Epoch,
    /// Flags
    pub flags: BreakFlags,
    /// LeaseKey
    pub key: LeaseKey,
    /// CurrentLeaseState
    pub current: LeaseState,
    /// NewLeaseState
    pub new: LeaseState,
}

/// Lease Break Acknowledgment and Response (MS-SMB2 2.2.24.2, 2.2.25.2): one layout.
///
/// | offset | size | field                            |
/// |-------:|-----:|----------------------------------|
/// |      0 |    2 | StructureSize, always 36         |
/// |      2 |    6 | Reserved, Flags (ignored)        |
/// |      8 |   16 | LeaseKey                         |
/// |     24 |    4 | LeaseState                       |
/// |     28 |    8 | LeaseDuration (ignored)          |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.24.2")]
pub struct LeaseAck {
    /// LeaseKey
    pub key: LeaseKey,
    /// LeaseState: the accepted one, or the one now held.
    pub state: LeaseState,
}

/// What a server sends unasked: OPLOCK_BREAK with MessageId 0xFFFFFFFFFFFFFFFF (MS-SMB2 2.2.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.23")]
pub enum Notification {
    /// StructureSize 24
    Oplock(OplockBreak),
    /// StructureSize 44
    Lease(LeaseBreak),
}

impl Notification {
    /// Decodes the body behind the header (MS-SMB2 3.2.5.19).
    ///
    /// # Errors
    ///
    /// As [`LeaseBreak::decode`] if StructureSize is 44, else as [`OplockBreak::decode`].
    #[inline]
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        if announces(octets, LeaseBreak::LEN) {
            LeaseBreak::decode(octets).map(Self::Lease)
        } else {
            OplockBreak::decode(octets).map(Self::Oplock)
        }
    }
}

/// What a client answers to a notification, and the server to that: OPLOCK_BREAK with an ordinary MessageId
/// (MS-SMB2 2.2.24, 2.2.25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.24")]
pub enum Acknowledgment {
    /// StructureSize 24
    Oplock(OplockBreak),
    /// StructureSize 36
    Lease(LeaseAck),
}

impl Acknowledgment {
    /// Decodes the body behind the header: of a lease if StructureSize is 36 and the dialect knows leases, else of an
    /// oplock (MS-SMB2 3.3.5.22).
    ///
    /// # Errors
    ///
    /// As [`LeaseAck::decode`] or [`OplockBreak::decode`].
    #[inline]
    pub fn decode(dialect: Dialect, octets: &[u8]) -> Result<Self, DecodeError> {
        if dialect != Dialect::Smb202 && announces(octets, LeaseAck::LEN) {
            LeaseAck::decode(octets).map(Self::Lease)
        } else {
            OplockBreak::decode(octets).map(Self::Oplock)
        }
    }
}

fn announces(octets: &[u8], size: usize) -> bool {
    octets.first_chunk().is_some_and(|size_field| usize::from(u16::from_le_bytes(*size_field)) == size)
}

impl Fixed for OplockBreak {
    const LEN: usize = 24;
    const STRUCTURE: Structure = Structure::OplockBreak;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let (level, (), file_id) = parse::sized::<Self, _>(octets, (octet(), reserved(5), file_id()))?;
        Ok(Self { level: OplockLevel::from_wire(level), file_id })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let mut body = [0; Self::LEN];
        {
            let mut body = body.as_mut_slice();
            body.put_u16_le(24);
            body.put_u8(self.level.to_wire());
            body.put_bytes(0, 5);
            body.put_u64_le(self.file_id.persistent);
            body.put_u64_le(self.file_id.volatile);
        }
        buf.put_slice(&body);
    }
}

impl Fixed for LeaseBreak {
    const LEN: usize = 44;
    const STRUCTURE: Structure = Structure::LeaseBreak;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let fields = (u16(), u32(), lease_key(), u32(), u32(), reserved(12));
        let (epoch, flags, key, current, new, ()) = parse::sized::<Self, _>(octets, fields)?;
        Ok(Self {
            epoch: Epoch::new(epoch),
            flags: BreakFlags::from_bits_retain(flags),
            key,
            current: LeaseState::from_bits_retain(current),
            new: LeaseState::from_bits_retain(new),
        })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let mut body = [0; Self::LEN];
        {
            let mut body = body.as_mut_slice();
            body.put_u16_le(44);
            body.put_u16_le(self.epoch.get());
            body.put_u32_le(self.flags.bits());
            body.put_slice(&self.key.octets());
            body.put_u32_le(self.current.bits());
            body.put_u32_le(self.new.bits());
        }
        buf.put_slice(&body);
    }
}

impl Fixed for LeaseAck {
    const LEN: usize = 36;
    const STRUCTURE: Structure = Structure::LeaseAck;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let ((), key, state, ()) =
            parse::sized::<Self, _>(octets, (reserved(6), lease_key(), u32(), reserved(8)))?;
        Ok(Self { key, state: LeaseState::from_bits_retain(state) })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let mut body = [0; Self::LEN];
        {
            let mut body = body.as_mut_slice();
            body.put_u16_le(36);
            body.put_bytes(0, 6);
            body.put_slice(&self.key.octets());
            body.put_u32_le(self.state.bits());
        }
        buf.put_slice(&body);
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_lease_acknowledgment_of_dialect_202_is_judged_as_an_oplock_one() {
        // MS-SMB2 3.3.5.22: dialect 2.0.2 has no leases, so its 36 octets fail the size of the oplock body.
        let mut body = Vec::new();
        LeaseAck { key: LeaseKey::new([7; 16]), state: LeaseState::RH }.encode(&mut body);
        assert!(matches!(Acknowledgment::decode(Dialect::Smb210, &body), Ok(Acknowledgment::Lease(_))));
        let error = Acknowledgment::decode(Dialect::Smb202, &body).unwrap_err();
        assert_eq!(error.to_string(), "Oplock Break: length 36, expected 24 (offset 0)");
    }

    #[test]
    fn errors_name_structure_field_and_offset() {
        let mut body = Vec::new();
        LeaseAck { key: LeaseKey::new([7; 16]), state: LeaseState::RH }.encode(&mut body);
        let short = LeaseAck::decode(&body[..35]).unwrap_err();
        assert_eq!(short.to_string(), "Lease Break Acknowledgment: length 35, expected 36 (offset 0)");
        body[0] = 37;
        let size = LeaseAck::decode(&body).unwrap_err();
        assert_eq!(size.to_string(), "Lease Break Acknowledgment: StructureSize 37, expected 36 (offset 0)");
    }
}
