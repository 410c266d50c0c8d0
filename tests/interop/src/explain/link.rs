//! From a packet to the TCP segment in it.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::capture::Packet;

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) number: u32,
    /// What the other side has received, if it says so.
    pub(super) received: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) data: &'a [u8],
}

/// Why a packet has no segment.
pub(super) enum Other {
    /// The link type is none of those that are read.
    Link(i32),
    /// A fragment of an IP packet.
    Fragment,
    /// Not TCP.
    Foreign,
}

/// The segment in a packet.
pub(super) fn segment<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, Other> {
    let Packet { link, data, .. } = *packet;
    let sliced = match link {
        // LINKTYPE_ETHERNET
        1 => LaxSlicedPacket::from_ethernet(data).map_err(|_| Other::Foreign)?,
        // LINKTYPE_NULL and LINKTYPE_LOOP: four octets of protocol family.
        0 | 108 => ip(data.get(4..))?,
        // LINKTYPE_RAW, by its number here and on other systems; LINKTYPE_IPV4, LINKTYPE_IPV6
        101 | 12 | 14 | 228 | 229 => ip(Some(data))?,
        // LINKTYPE_LINUX_SLL: the protocol is the last of 16 octets.
        113 => cooked(data.get(14..16), data.get(16..))?,
        // LINKTYPE_LINUX_SLL2: the protocol is the first of 20 octets.
        276 => cooked(data.get(..2), data.get(20..))?,
        other => return Err(Other::Link(other)),
    };
    let (from, to): (IpAddr, IpAddr) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Arp(_)) | None => return Err(Other::Foreign),
    };
    if sliced.ip_payload().is_some_and(|payload| payload.fragmented) {
        return Err(Other::Fragment);
    }
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return Err(Other::Foreign) };
    Ok(Segment {
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        number: tcp.sequence_number(),
        received: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        data: tcp.payload(),
    })
}

fn ip(octets: Option<&[u8]>) -> Result<LaxSlicedPacket<'_>, Other> {
    LaxSlicedPacket::from_ip(octets.ok_or(Other::Foreign)?).map_err(|_| Other::Foreign)
}

fn cooked<'a>(protocol: Option<&[u8]>, octets: Option<&'a [u8]>) -> Result<LaxSlicedPacket<'a>, Other> {
    let protocol: [u8; 2] = protocol.and_then(|octets| octets.try_into().ok()).ok_or(Other::Foreign)?;
    let kind = EtherType(u16::from_be_bytes(protocol));
    Ok(LaxSlicedPacket::from_ether_type(kind, octets.ok_or(Other::Foreign)?))
}
