//! AppInstanceId and AppInstanceVersion: failover of an application between clients.

use bytes::BufMut;
use uuid::Uuid;

use super::error::{DecodeError, Structure};
use super::parse::{self, octets16, reserved, u64};
use super::{Fixed, Named, name};

/// AppInstanceId (MS-SMB2 2.2.13.2.13). Requests only, SMB 3.x.
///
/// | offset | size | field                     |
/// |-------:|-----:|---------------------------|
/// |      0 |    2 | StructureSize, always 20  |
/// |      2 |    2 | Reserved (ignored)        |
/// |      4 |   16 | AppInstanceId             |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.13")]
pub struct AppInstanceId {
    /// AppInstanceId, mixed-endian on the wire.
    pub id: Uuid,
}

/// AppInstanceVersion (MS-SMB2 2.2.13.2.15). Requests only, SMB 3.1.1. Ordered by (high, low), unsigned.
///
/// | offset | size | field                     |
/// |-------:|-----:|---------------------------|
/// |      0 |    2 | StructureSize, always 24  |
/// |      2 |    6 | Reserved, Padding (ignored) |
/// |      8 |    8 | AppInstanceVersionHigh    |
/// |     16 |    8 | AppInstanceVersionLow     |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.15")]
pub struct AppInstanceVersion {
    /// AppInstanceVersionHigh
    pub high: u64,
    /// AppInstanceVersionLow
    pub low: u64,
}

impl Fixed for AppInstanceId {
    const LEN: usize = 20;
    const STRUCTURE: Structure = Structure::AppInstanceId;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let ((), id) = parse::sized::<Self, _>(octets, (reserved(2), octets16()))?;
        Ok(Self { id: Uuid::from_bytes_le(id) })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        buf.put_u16_le(20);
        buf.put_u16_le(0);
        buf.put_slice(&self.id.to_bytes_le());
    }
}

impl Named for AppInstanceId {
    const NAME: &'static [u8] = name::APP_INSTANCE_ID;
}

impl Fixed for AppInstanceVersion {
    const LEN: usize = 24;
    const STRUCTURE: Structure = Structure::AppInstanceVersion;

    #[inline]
    fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let ((), high, low) = parse::sized::<Self, _>(octets, (reserved(6), u64(), u64()))?;
        Ok(Self { high, low })
    }

    #[inline]
    fn encode<B: BufMut>(&self, buf: &mut B) {
        buf.put_u16_le(24);
        buf.put_bytes(0, 6);
        buf.put_u64_le(self.high);
        buf.put_u64_le(self.low);
    }
}

impl Named for AppInstanceVersion {
    const NAME: &'static [u8] = name::APP_INSTANCE_VERSION;
}
