//! DHnQ, DHnC, DH2Q, DH2C: the contexts of durable and persistent handles; and the request for a resilient one.

use bitflags::bitflags;
use bytes::BufMut;

use super::error::{DecodeError, Structure};
use super::parse::{self, file_id, octets16, reserved, u32};
use super::{Fixed, Named, name};
use crate::state::arbitrary_bits;
use crate::types::{CreateGuid, FileId};

bitflags! {
    /// Flags of DH2Q and DH2C (MS-SMB2 2.2.13.2.11). 32 bits, little-endian.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DurableFlags: u32 {
        /// SMB2_DHANDLE_FLAG_PERSISTENT: asked for, or granted.
        const PERSISTENT = 0x2;
        const _ = !0;
    }
}
arbitrary_bits!(DurableFlags);

/// DHnQ in a request (MS-SMB2 2.2.13.2.3): sixteen reserved octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.3")]
pub struct DurableHandleRequest;

/// DHnQ in a response (MS-SMB2 2.2.14.2.3): eight reserved octets. Its presence is the grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.14.2.3")]
pub struct DurableHandleResponse;

/// DHnC (MS-SMB2 2.2.13.2.4). There is no such context in a response.
///
/// | offset | size | field                                      |
/// |-------:|-----:|--------------------------------------------|
/// |      0 |   16 | FileId; the server looks at the persistent half alone |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.4")]
pub struct DurableHandleReconnect {
    /// FileId of the open before the loss.
    pub file_id: FileId,
}

/// DH2Q in a request (MS-SMB2 2.2.13.2.11).
///
/// | offset | size | field              |
/// |-------:|-----:|--------------------|
/// |      0 |    4 | Timeout            |
/// |      4 |    4 | Flags              |
/// |      8 |    8 | Reserved (ignored) |
/// |     16 |   16 | CreateGuid         |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.11")]
pub struct DurableHandleRequestV2 {
    /// Timeout in milliseconds; 0 leaves it to the server.
    pub timeout: u32,
    /// Flags
    pub flags: DurableFlags,
    /// CreateGuid
    pub create_guid: CreateGuid,
}

/// DH2Q in a response (MS-SMB2 2.2.14.2.12).
///
/// | offset | size | field   |
/// |-------:|-----:|---------|
/// |      0 |    4 | Timeout |
/// |      4 |    4 | Flags   |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.14.2.12")]
pub struct DurableHandleResponseV2 {
    /// Timeout in milliseconds, as granted.
    pub timeout: u32,
    /// Flags, as granted.
    pub flags: DurableFlags,
}

/// DH2C (MS-SMB2 2.2.13.2.12). There is no such context in a response, and none of DH2Q answers it.
///
/// | offset | size | field                             |
/// |-------:|-----:|-----------------------------------|
/// |      0 |   16 | FileId                            |
/// |     16 |   16 | CreateGuid, that of the first DH2Q |
/// |     32 |    4 | Flags                             |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.12")]
pub struct DurableHandleReconnectV2 {
    /// FileId of the open before the loss.
    pub file_id: FileId,
    /// CreateGuid
    pub create_guid: CreateGuid,
    /// Flags
    pub flags: DurableFlags,
}

/// NETWORK_RESILIENCY_REQUEST, the input of FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 2.2.31.3).
///
/// | offset | size | field              |
/// |-------:|-----:|--------------------|
/// |      0 |    4 | Timeout            |
/// |      4 |    4 | Reserved (ignored) |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.31.3")]
pub struct ResiliencyRequest {
    /// Timeout in milliseconds.
    pub timeout: u32,
}

impl ResiliencyRequest {
    /// The control code, FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 2.2.31).
    pub const CTL_CODE: u32 = 0x0014_01d4;

    /// Decodes the input buffer of the IOCTL, which may be longer than the structure (MS-SMB2 3.3.5.15.9).
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::Length`](super::DecodeErrorKind::Length) if it is shorter.
    pub fn decode_input(input: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(input.get(..Self::LEN).unwrap_or(input))
    }
}

macro_rules! empty_body {
    ($name:ident, $len:literal) => {
        impl Fixed for $name {
            const LEN: usize = $len;
            const STRUCTURE: Structure = Structure::$name;

            #[inline]
            fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
                parse::fixed::<Self, _>(octets, reserved($len)).map(|()| Self)
            }

            #[inline]
            fn encode<B: BufMut>(&self, buf: &mut B) {
                buf.put_bytes(0, $len);
            }
        }

        impl Named for $name {
            const NAME: &'static [u8] = name::DHNQ;
        }
    };
}

empty_body!(DurableHandleRequest, 16);
empty_body!(DurableHandleResponse, 8);

impl Fixed for DurableHandleReconnect {
    const LEN: usize = 16;
    const STRUCTURE: Structure = Structure::DurableHandleReconnect;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        parse::fixed::<Self, _>(octets, file_id()).map(|file_id| Self { file_id })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        buf.put_u64_le(self.file_id.persistent);
        buf.put_u64_le(self.file_id.volatile);
    }
}

impl Named for DurableHandleReconnect {
    const NAME: &'static [u8] = name::DHNC;
}

impl Fixed for DurableHandleRequestV2 {
    const LEN: usize = 32;
    const STRUCTURE: Structure = Structure::DurableHandleRequestV2;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let (timeout, flags, (), guid) =
            parse::fixed::<Self, _>(octets, (u32(), u32(), reserved(8), octets16()))?;
        let flags = DurableFlags::from_bits_retain(flags);
        Ok(Self { timeout, flags, create_guid: CreateGuid::from_wire(guid) })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let mut body = [0; Self::LEN];
        {
            let mut body = body.as_mut_slice();
            body.put_u32_le(self.timeout);
            body.put_u32_le(self.flags.bits());
            body.put_u64_le(0);
            body.put_slice(&self.create_guid.to_wire());
        }
        buf.put_slice(&body);
    }
}

impl Named for DurableHandleRequestV2 {
    const NAME: &'static [u8] = name::DH2Q;
}

impl Fixed for DurableHandleResponseV2 {
    const LEN: usize = 8;
    const STRUCTURE: Structure = Structure::DurableHandleResponseV2;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let (timeout, flags) = parse::fixed::<Self, _>(octets, (u32(), u32()))?;
        Ok(Self { timeout, flags: DurableFlags::from_bits_retain(flags) })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        buf.put_u32_le(self.timeout);
        buf.put_u32_le(self.flags.bits());
    }
}

impl Named for DurableHandleResponseV2 {
    const NAME: &'static [u8] = name::DH2Q;
}

impl Fixed for DurableHandleReconnectV2 {
    const LEN: usize = 36;
    const STRUCTURE: Structure = Structure::DurableHandleReconnectV2;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let (file_id, guid, flags) = parse::fixed::<Self, _>(octets, (file_id(), octets16(), u32()))?;
        let flags = DurableFlags::from_bits_retain(flags);
        Ok(Self { file_id, create_guid: CreateGuid::from_wire(guid), flags })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        let mut body = [0; Self::LEN];
        {
            let mut body = body.as_mut_slice();
            body.put_u64_le(self.file_id.persistent);
            body.put_u64_le(self.file_id.volatile);
            body.put_slice(&self.create_guid.to_wire());
            body.put_u32_le(self.flags.bits());
        }
        buf.put_slice(&body);
    }
}

impl Named for DurableHandleReconnectV2 {
    const NAME: &'static [u8] = name::DH2C;
}

impl Fixed for ResiliencyRequest {
    const LEN: usize = 8;
    const STRUCTURE: Structure = Structure::ResiliencyRequest;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        parse::fixed::<Self, _>(octets, (u32(), reserved(4))).map(|(timeout, ())| Self { timeout })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        buf.put_u32_le(self.timeout);
        buf.put_u32_le(0);
    }
}
