//! RqLs: the lease context, of version 1 or 2, in a request or a response.

use bitflags::bitflags;
use bytes::BufMut;

use super::error::{DecodeError, DecodeErrorKind, Field, Structure};
use super::parse::{self, clamp32, lease_key, octets16, reserved, u16, u32};
use super::{Fixed, Named, name};
use crate::state::{LeaseState, arbitrary_bits};
use crate::types::{Epoch, LeaseKey};

bitflags! {
    /// LeaseFlags of a lease context (MS-SMB2 2.2.13.2.10, 2.2.14.2.10). 32 bits, little-endian.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LeaseFlags: u32 {
        /// SMB2_LEASE_FLAG_BREAK_IN_PROGRESS: responses only; the state is the one before the break.
        const BREAK_IN_PROGRESS = 0x2;
        /// SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET: version 2 only; ParentLeaseKey is valid.
        const PARENT_LEASE_KEY_SET = 0x4;
        const _ = !0;
    }
}
arbitrary_bits!(LeaseFlags);

/// RqLs of version 1, both directions (MS-SMB2 2.2.13.2.8, 2.2.14.2.10).
///
/// | offset | size | field                   |
/// |-------:|-----:|-------------------------|
/// |      0 |   16 | LeaseKey                |
/// |     16 |    4 | LeaseState              |
/// |     20 |    4 | LeaseFlags              |
/// |     24 |    8 | LeaseDuration (ignored) |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.8")]
pub struct LeaseV1 {
    /// LeaseKey
    pub key: LeaseKey,
    /// LeaseState: asked for, or granted.
    pub state: LeaseState,
    /// LeaseFlags
    pub flags: LeaseFlags,
}

/// RqLs of version 2, both directions (MS-SMB2 2.2.13.2.10, 2.2.14.2.11).
///
/// | offset | size | field                                      |
/// |-------:|-----:|--------------------------------------------|
/// |      0 |   16 | LeaseKey                                   |
/// |     16 |    4 | LeaseState                                 |
/// |     20 |    4 | Flags                                      |
/// |     24 |    8 | LeaseDuration (ignored)                    |
/// |     32 |   16 | ParentLeaseKey (ignored unless flag 0x4)   |
/// |     48 |    2 | Epoch                                      |
/// |     50 |    2 | Reserved (ignored; not always zero <59>)   |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.10")]
pub struct LeaseV2 {
    /// LeaseKey
    pub key: LeaseKey,
    /// LeaseState: asked for, or granted.
    pub state: LeaseState,
    /// Flags without PARENT_LEASE_KEY_SET, which `parent` implies; the bit is not looked at here.
    #[cfg_attr(feature = "arbitrary", arbitrary(with = without_parent_bit))]
    pub flags: LeaseFlags,
    /// ParentLeaseKey, if the flag says that it is valid.
    pub parent: Option<LeaseKey>,
    /// Epoch
    pub epoch: Epoch,
}

/// RqLs of either version. The data length tells them apart, and nothing else does (MS-SMB2 2.2.13.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.13.2")]
pub enum Lease {
    /// 32 octets
    V1(LeaseV1),
    /// 52 octets
    V2(LeaseV2),
}

impl Lease {
    /// Decodes the data of an RqLs context.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::LeaseLength`] for any length but 32 and 52 (STATUS_INVALID_PARAMETER, MS-SMB2 3.3.5.9).
    #[inline]
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        match octets.len() {
            LeaseV2::LEN => LeaseV2::decode(octets).map(Self::V2),
            LeaseV1::LEN => LeaseV1::decode(octets).map(Self::V1),
            other => {
                let kind = DecodeErrorKind::LeaseLength { actual: clamp32(other) };
                Err(DecodeError::new(Structure::Lease, Field::Whole, 0, kind))
            }
        }
    }

    /// LeaseKey of either version.
    pub const fn key(&self) -> LeaseKey {
        match self {
            Self::V1(lease) => lease.key,
            Self::V2(lease) => lease.key,
        }
    }

    /// LeaseState of either version.
    pub const fn state(&self) -> LeaseState {
        match self {
            Self::V1(lease) => lease.state,
            Self::V2(lease) => lease.state,
        }
    }

    /// LeaseFlags of either version, without PARENT_LEASE_KEY_SET of version 2.
    pub const fn flags(&self) -> LeaseFlags {
        match self {
            Self::V1(lease) => lease.flags,
            Self::V2(lease) => lease.flags,
        }
    }

    /// Epoch; version 1 has none.
    pub const fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::V1(_) => None,
            Self::V2(lease) => Some(lease.epoch),
        }
    }

    /// ParentLeaseKey, if it is valid; version 1 has none.
    pub const fn parent(&self) -> Option<LeaseKey> {
        match self {
            Self::V1(_) => None,
            Self::V2(lease) => lease.parent,
        }
    }
}

impl Fixed for LeaseV1 {
    const LEN: usize = 32;
    const STRUCTURE: Structure = Structure::LeaseV1;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let (key, state, flags, ()) =
            parse::fixed::<Self, _>(octets, (lease_key(), u32(), u32(), reserved(8)))?;
        Ok(Self {
            key,
            state: LeaseState::from_bits_retain(state),
            flags: LeaseFlags::from_bits_retain(flags),
        })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let mut body = [0; Self::LEN];
        {
            let mut body = body.as_mut_slice();
            body.put_slice(&self.key.octets());
            body.put_u32_le(self.state.bits());
            body.put_u32_le(self.flags.bits());
        }
        buf.put_slice(&body);
    }
}

impl Named for LeaseV1 {
    const NAME: &'static [u8] = name::RQLS;
}

impl Fixed for LeaseV2 {
    const LEN: usize = 52;
    const STRUCTURE: Structure = Structure::LeaseV2;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let fields = (lease_key(), u32(), u32(), reserved(8), octets16(), u16(), reserved(2));
        let (key, state, flags, (), parent, epoch, ()) = parse::fixed::<Self, _>(octets, fields)?;
        let flags = LeaseFlags::from_bits_retain(flags);
        Ok(Self {
            key,
            state: LeaseState::from_bits_retain(state),
            flags: flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET),
            parent: flags.contains(LeaseFlags::PARENT_LEASE_KEY_SET).then_some(LeaseKey::new(parent)),
            epoch: Epoch::new(epoch),
        })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let parent = match self.parent {
            Some(_) => LeaseFlags::PARENT_LEASE_KEY_SET,
            None => LeaseFlags::empty(),
        };
        let flags = self.flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET).union(parent);
        let mut body = [0; Self::LEN];
        {
            let mut body = body.as_mut_slice();
            body.put_slice(&self.key.octets());
            body.put_u32_le(self.state.bits());
            body.put_u32_le(flags.bits());
            body.put_u64_le(0);
            body.put_slice(&self.parent.unwrap_or(LeaseKey::ZERO).octets());
            body.put_u16_le(self.epoch.get());
        }
        buf.put_slice(&body);
    }
}

impl Named for LeaseV2 {
    const NAME: &'static [u8] = name::RQLS;
}

#[cfg(feature = "arbitrary")]
fn without_parent_bit(input: &mut arbitrary::Unstructured<'_>) -> arbitrary::Result<LeaseFlags> {
    let flags: LeaseFlags = input.arbitrary()?;
    Ok(flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET))
}
