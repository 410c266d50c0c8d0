//! The data of create contexts: those that leasehold knows, and those that it hands through.

use leasehold::wire::{
    AppInstanceId, AppInstanceVersion, Context, ContextWriter, DurableFlags, DurableHandleReconnect,
    DurableHandleReconnectV2, DurableHandleRequest, DurableHandleRequestV2, DurableHandleResponse,
    DurableHandleResponseV2, EncodeError, Fixed, Lease, LeaseFlags, LeaseV1, LeaseV2,
};
use leasehold::{Access, FileId};

use super::octets::{Reasons, Reserved, number, part};
use super::said::Said;

/// Which way a message went. The same name means another structure in a request and in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// What leasehold makes of the data of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    DurableRequest(DurableHandleRequest),
    DurableResponse(DurableHandleResponse),
    Reconnect(DurableHandleReconnect),
    RequestV2(DurableHandleRequestV2),
    ResponseV2(DurableHandleResponseV2),
    ReconnectV2(DurableHandleReconnectV2),
    Lease(Lease),
    AppInstanceId(AppInstanceId),
    AppInstanceVersion(AppInstanceVersion),
    /// Handed through untouched.
    Other,
}

impl Body {
    /// Decodes data by the name of its context, spelled out here as MS-SMB2 2.2.13.2 has it.
    pub(super) fn decode(direction: Direction, name: &[u8], data: &[u8]) -> Result<Self, String> {
        let decoded = match (direction, name) {
            (Direction::Request, b"DHnQ") => DurableHandleRequest::decode(data).map(Self::DurableRequest),
            (Direction::Response, b"DHnQ") => DurableHandleResponse::decode(data).map(Self::DurableResponse),
            (Direction::Request, b"DHnC") => DurableHandleReconnect::decode(data).map(Self::Reconnect),
            (Direction::Request, b"DH2Q") => DurableHandleRequestV2::decode(data).map(Self::RequestV2),
            (Direction::Response, b"DH2Q") => DurableHandleResponseV2::decode(data).map(Self::ResponseV2),
            (Direction::Request, b"DH2C") => DurableHandleReconnectV2::decode(data).map(Self::ReconnectV2),
            (Direction::Request | Direction::Response, b"RqLs") => Lease::decode(data).map(Self::Lease),
            (Direction::Request, name) if name == APP_INSTANCE_ID => {
                AppInstanceId::decode(data).map(Self::AppInstanceId)
            }
            (Direction::Request, name) if name == APP_INSTANCE_VERSION => {
                AppInstanceVersion::decode(data).map(Self::AppInstanceVersion)
            }
            (Direction::Request | Direction::Response, _) => Ok(Self::Other),
        };
        decoded.map_err(|error| error.to_string())
    }

    /// Says every field. `data` is for what leasehold does not keep.
    pub(super) fn say(
        &self,
        direction: Direction,
        name: &[u8],
        data: &[u8],
        said: &mut Said,
    ) -> Result<(), String> {
        match self {
            Self::DurableRequest(DurableHandleRequest) | Self::DurableResponse(DurableHandleResponse) => {}
            Self::Reconnect(DurableHandleReconnect { file_id }) => say_file_id(*file_id, said),
            Self::RequestV2(DurableHandleRequestV2 { timeout, flags, create_guid }) => {
                said.number("smb2.dh2x.timeout", *timeout);
                said.number("smb2.dh2x.flags", flags.bits());
                let persistent = flags.contains(DurableFlags::PERSISTENT);
                said.number("smb2.dh2x.flags.persistent_handle", persistent);
                said.guid("smb2.dh2x.create_guid", create_guid);
            }
            Self::ResponseV2(DurableHandleResponseV2 { timeout, flags }) => {
                said.number("smb2.dh2x.timeout", *timeout);
                said.number("smb2.dh2x.flags", flags.bits());
            }
            Self::ReconnectV2(DurableHandleReconnectV2 { file_id, create_guid, flags }) => {
                say_file_id(*file_id, said);
                said.guid("smb2.dh2x.create_guid", create_guid);
                said.number("smb2.dh2x.flags", flags.bits());
            }
            Self::Lease(Lease::V1(LeaseV1 { key, state, flags })) => {
                said.octets("smb2.lease.lease_key", &key.octets());
                said.lease_state(*state);
                said.lease_flags(*flags);
            }
            Self::Lease(Lease::V2(LeaseV2 { key, state, flags, parent, epoch })) => {
                said.octets("smb2.lease.lease_key", &key.octets());
                said.lease_state(*state);
                let implied =
                    if parent.is_some() { LeaseFlags::PARENT_LEASE_KEY_SET } else { LeaseFlags::empty() };
                said.lease_flags(flags.union(implied));
                if let Some(parent) = parent {
                    said.octets("smb2.lease.parent_lease_key", &parent.octets());
                }
                said.number("smb2.lease.lease_oplock", epoch.get());
            }
            Self::AppInstanceId(AppInstanceId { id }) => {
                said.number("smb2.app_instance.struct_size", 20u64);
                said.guid("smb2.app_instance.app_guid", id);
            }
            Self::AppInstanceVersion(AppInstanceVersion { high, low }) => {
                said.number("smb2.app_instance_version.struct_size", 24u64);
                said.number("smb2.app_instance_version.version.high", *high);
                said.number("smb2.app_instance_version.version.low", *low);
            }
            Self::Other => say_other(direction, name, data, said)?,
        }
        Reserved::say(self.reserved(), data, said)
    }

    /// The data as leasehold writes it.
    pub(super) fn encode(&self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::DurableRequest(body) => encode(body),
            Self::DurableResponse(body) => encode(body),
            Self::Reconnect(body) => encode(body),
            Self::RequestV2(body) => encode(body),
            Self::ResponseV2(body) => encode(body),
            Self::ReconnectV2(body) => encode(body),
            Self::Lease(Lease::V1(body)) => encode(body),
            Self::Lease(Lease::V2(body)) => encode(body),
            Self::AppInstanceId(body) => encode(body),
            Self::AppInstanceVersion(body) => encode(body),
            Self::Other => data.to_vec(),
        }
    }

    /// Appends the context, by its type if leasehold has one.
    pub(super) fn put(
        &self,
        context: &Context<'_>,
        writer: &mut ContextWriter<'_>,
    ) -> Result<(), EncodeError> {
        match self {
            Self::DurableRequest(body) => writer.put(body),
            Self::DurableResponse(body) => writer.put(body),
            Self::Reconnect(body) => writer.put(body),
            Self::RequestV2(body) => writer.put(body),
            Self::ResponseV2(body) => writer.put(body),
            Self::ReconnectV2(body) => writer.put(body),
            Self::Lease(Lease::V1(body)) => writer.put(body),
            Self::Lease(Lease::V2(body)) => writer.put(body),
            Self::AppInstanceId(body) => writer.put(body),
            Self::AppInstanceVersion(body) => writer.put(body),
            Self::Other => writer.push(context.name, context.data),
        }
    }

    /// The data in the canonical form: what is reserved is zero.
    pub(super) fn canonical(&self, data: &[u8], reasons: &mut Reasons) -> Result<Vec<u8>, String> {
        let mut canonical = data.to_vec();
        Reserved::clear(self.reserved(), &mut canonical, reasons)?;
        Ok(canonical)
    }

    fn reserved(&self) -> &'static [Reserved] {
        match self {
            Self::DurableRequest(_) => DURABLE_REQUEST,
            Self::DurableResponse(_) => DURABLE_RESPONSE,
            Self::RequestV2(_) => REQUEST_V2,
            Self::Lease(Lease::V1(_)) => LEASE_V1,
            Self::Lease(Lease::V2(LeaseV2 { parent: Some(_), .. })) => LEASE_V2,
            Self::Lease(Lease::V2(LeaseV2 { parent: None, .. })) => LEASE_V2_WITHOUT_PARENT,
            Self::AppInstanceId(_) => APP_ID,
            Self::AppInstanceVersion(_) => APP_VERSION,
            Self::Reconnect(_) | Self::ResponseV2(_) | Self::ReconnectV2(_) | Self::Other => &[],
        }
    }
}

/// The octets of the wire, put together here: FileId.Persistent first, both halves little-endian.
pub(super) fn say_file_id(id: FileId, said: &mut Said) {
    let mut octets = id.persistent.to_le_bytes().to_vec();
    octets.extend(id.volatile.to_le_bytes());
    said.octets("smb2.fid", &octets);
}

pub(super) fn encode(body: &impl Fixed) -> Vec<u8> {
    let mut octets = Vec::new();
    body.encode(&mut octets);
    octets
}

/// What the other decoder shows of data that leasehold only finds: that the walker found the right octets.
fn say_other(direction: Direction, name: &[u8], data: &[u8], said: &mut Said) -> Result<(), String> {
    match (direction, name, data.len()) {
        (Direction::Request, b"AlSi", _) => {
            said.number("smb2.allocation_size", number(data, 0, 8)?);
        }
        (Direction::Request, b"TWrp", _) => {
            said.time("smb2.twrp_timestamp", number(data, 0, 8)?);
        }
        (Direction::Request, b"MxAc", 8) => {
            said.time("smb2.mxac_timestamp", number(data, 0, 8)?);
        }
        (Direction::Response, b"MxAc", 8) => {
            said.raw("smb2.mxac_status", part(data, 0, 4)?);
            let access = u32::try_from(number(data, 4, 4)?).map_err(|error| error.to_string())?;
            said.access(Access::from_bits_retain(access));
        }
        (Direction::Request | Direction::Response, _, _) => {}
    }
    Ok(())
}

/// 6AA6BC45-A7EF-4AF7-9008-FA462E144D74
pub(super) const APP_INSTANCE_ID: &[u8] = b"\x45\xbc\xa6\x6a\xef\xa7\xf7\x4a\x90\x08\xfa\x46\x2e\x14\x4d\x74";
/// B7D082B9-563B-4F07-A07B-524A8116A010
pub(super) const APP_INSTANCE_VERSION: &[u8] =
    b"\xb9\x82\xd0\xb7\x3b\x56\x07\x4f\xa0\x7b\x52\x4a\x81\x16\xa0\x10";

const DURABLE_REQUEST: &[Reserved] = &[Reserved::new("smb2.fid", 0, 16, "DHnQ not zero")];
const DURABLE_RESPONSE: &[Reserved] = &[Reserved::new("smb2.dhnq_buffer_reserved", 0, 8, "DHnQ not zero")];
const REQUEST_V2: &[Reserved] = &[Reserved::new("smb2.dh2x.reserved", 8, 8, "Reserved of DH2Q not zero")];
const LEASE_V1: &[Reserved] = &[LEASE_DURATION];
const LEASE_V2: &[Reserved] = &[LEASE_DURATION, LEASE_RESERVED];
const LEASE_V2_WITHOUT_PARENT: &[Reserved] = &[
    LEASE_DURATION,
    Reserved::new("smb2.lease.parent_lease_key", 32, 16, "ParentLeaseKey without its flag"),
    LEASE_RESERVED,
];
const LEASE_DURATION: Reserved =
    Reserved::new("smb2.lease.lease_duration", 24, 8, "LeaseDuration of RqLs not zero");
const LEASE_RESERVED: Reserved =
    Reserved::new("smb2.lease.lease_reserved", 50, 2, "Reserved of RqLs not zero");
const APP_ID: &[Reserved] =
    &[Reserved::new("smb2.app_instance.reserved", 2, 2, "Reserved of AppInstanceId not zero")];
const APP_VERSION: &[Reserved] = &[
    Reserved::new("smb2.app_instance_version.reserved", 2, 2, "Reserved of AppInstanceVersion not zero"),
    Reserved::new("smb2.app_instance_version.padding", 4, 4, "Padding of AppInstanceVersion not zero"),
];
