//! The jobs: what is decoded and encoded, and by which calls.

use std::hint::black_box;
use std::io::Cursor;

use binrw::{BinRead, BinWrite};
use leasehold::wire::{
    ContextWriter, Contexts, DecodeError, DurableHandleRequestV2, Fixed, Lease, LeaseBreak, LeaseV2, Named,
    OplockBreak, RequestContexts,
};
use smb_fscc::ChainedItemList;
use smb_msg::CreateContextRequest;
use smb_server::wire::messages as server;
use smb2::msg::create_context as smb2_contexts;
use smb2::pack::{Pack, ReadCursor, Unpack, WriteCursor};

use crate::bench::{Contender, Row, Shape};
use crate::judge::judge;
use crate::octets::{Sample, Samples, VARIANTS};

type SmbMsgChain = ChainedItemList<CreateContextRequest, 8>;

/// A decoder: octets in, a value out, all of it in memory. Neither is known to the compiler.
macro_rules! decoder {
    ($samples:ident.$field:ident, $octets:ident => $call:expr) => {
        Contender::new(
            move |variant| {
                let $octets = black_box($samples[variant].$field.as_slice());
                black_box(&$call);
            },
            move |variant| {
                let $octets = $samples[variant].$field.as_slice();
                $call.is_ok()
            },
        )
    };
}

/// An encoder: a value in, octets out. `$room` outlives the operation, so that whoever can may write into it again.
macro_rules! encoder {
    ($samples:ident.$field:ident, $room:ident = $init:expr, $value:ident in $values:expr => $call:expr) => {{
        let values = $values;
        let (mut timed, mut checked) = ($init, $init);
        Contender::new(
            move |variant| {
                let ($room, $value) = (&mut timed, black_box(&values[variant]));
                black_box(&$call);
            },
            move |variant| {
                let ($room, $value) = (&mut checked, &values[variant]);
                same(&$call, &$samples[variant].$field)
            },
        )
    }};
}

/// Every row. Chains are requests throughout.
pub(crate) fn rows(samples: Samples) -> Vec<Row> {
    let mut rows = decoders(samples);
    rows.extend(encoders(samples));
    rows
}

/// What no decoder can do without: nothing, which is in every row; and a copy of the octets of a body, after a look at
/// their length.
pub(crate) fn floors(samples: Samples) -> [(&'static str, Contender); 3] {
    [
        ("nothing at all", decoder!(samples.lease, octets => Some(octets).ok_or(()))),
        ("a copy of 32 octets", decoder!(samples.durable, octets => <&[u8; 32]>::try_from(octets).copied())),
        ("a copy of 52 octets", decoder!(samples.lease, octets => <&[u8; 52]>::try_from(octets).copied())),
    ]
}

fn decoders(samples: Samples) -> Vec<Row> {
    vec![
        Row {
            name: "decode RqLs v2, body of 52",
            shape: Shape::Data,
            calls: [
                "Lease::decode, either version",
                "RequestLeaseV2::read_le, this version",
                "-",
                "LeaseContext::parse, either",
            ],
            ours: decoder!(samples.lease, octets => Lease::decode(octets)),
            peers: [
                Some(
                    decoder!(samples.lease, octets => smb_msg::RequestLeaseV2::read_le(&mut Cursor::new(octets))),
                ),
                None,
                Some(decoder!(samples.lease, octets => server::LeaseContext::parse(octets))),
            ],
        },
        Row {
            name: "decode DH2Q, body of 32",
            shape: Shape::Data,
            calls: [
                "DurableHandleRequestV2::decode",
                "DurableHandleRequestV2::read_le",
                "-",
                "DurableRequestV2::parse",
            ],
            ours: decoder!(samples.durable, octets => DurableHandleRequestV2::decode(octets)),
            peers: [
                Some(decoder!(samples.durable, octets =>
                    smb_msg::DurableHandleRequestV2::read_le(&mut Cursor::new(octets)))),
                None,
                Some(decoder!(samples.durable, octets => server::DurableRequestV2::parse(octets))),
            ],
        },
        Row {
            name: "decode lease break, body of 44",
            shape: Shape::Message,
            calls: ["LeaseBreak::decode", "LeaseBreakNotify::read_le", "-", "LeaseBreakNotification::parse"],
            ours: decoder!(samples.lease_break, octets => LeaseBreak::decode(octets)),
            peers: [
                Some(decoder!(samples.lease_break, octets =>
                    smb_msg::LeaseBreakNotify::read_le(&mut Cursor::new(octets)))),
                None,
                Some(decoder!(samples.lease_break, octets => server::LeaseBreakNotification::parse(octets))),
            ],
        },
        Row {
            name: "decode oplock break, body of 24",
            shape: Shape::Message,
            calls: [
                "OplockBreak::decode",
                "-, it wants StructureSize 12",
                "OplockBreak::unpack",
                "OplockBreakNotification::parse",
            ],
            ours: decoder!(samples.oplock_break, octets => OplockBreak::decode(octets)),
            peers: [
                None,
                Some(decoder!(samples.oplock_break, octets =>
                    smb2::msg::oplock_break::OplockBreak::unpack(&mut ReadCursor::new(octets)))),
                Some(
                    decoder!(samples.oplock_break, octets => server::OplockBreakNotification::parse(octets)),
                ),
            ],
        },
        Row {
            name: "decode RqLs v2, element of 76",
            shape: Shape::Chain,
            calls: TYPED_DECODERS,
            ours: decoder!(samples.lease_element, octets => ours_typed(octets)),
            peers: [
                Some(
                    decoder!(samples.lease_element, octets => SmbMsgChain::read_le(&mut Cursor::new(octets))),
                ),
                None,
                Some(decoder!(samples.lease_element, octets => server_typed(octets))),
            ],
        },
        Row {
            name: "decode DH2Q, element of 56",
            shape: Shape::Chain,
            calls: TYPED_DECODERS,
            ours: decoder!(samples.durable_element, octets => ours_typed(octets)),
            peers: [
                Some(
                    decoder!(samples.durable_element, octets => SmbMsgChain::read_le(&mut Cursor::new(octets))),
                ),
                None,
                Some(decoder!(samples.durable_element, octets => server_typed(octets))),
            ],
        },
        Row {
            name: "decode DH2Q + RqLs v2",
            shape: Shape::Chain,
            calls: TYPED_DECODERS,
            ours: decoder!(samples.two, octets => ours_typed(octets)),
            peers: [
                Some(decoder!(samples.two, octets => SmbMsgChain::read_le(&mut Cursor::new(octets)))),
                None,
                Some(decoder!(samples.two, octets => server_typed(octets))),
            ],
        },
        Row {
            name: "decode DH2Q + RqLs v2 + MxAc + QFid",
            shape: Shape::Chain,
            calls: TYPED_DECODERS,
            ours: decoder!(samples.four, octets => ours_typed(octets)),
            peers: [
                Some(decoder!(samples.four, octets => SmbMsgChain::read_le(&mut Cursor::new(octets)))),
                None,
                Some(decoder!(samples.four, octets => server_typed(octets))),
            ],
        },
        Row {
            name: "walk DH2Q + RqLs v2",
            shape: Shape::Chain,
            calls: WALKERS,
            ours: decoder!(samples.two, octets => ours_framing(octets)),
            peers: [
                None,
                Some(decoder!(samples.two, octets => smb2_contexts::parse_contexts(octets))),
                Some(decoder!(samples.two, octets => server::CreateContext::parse_chain(octets))),
            ],
        },
        Row {
            name: "walk DH2Q + RqLs v2 + MxAc + QFid",
            shape: Shape::Chain,
            calls: WALKERS,
            ours: decoder!(samples.four, octets => ours_framing(octets)),
            peers: [
                None,
                Some(decoder!(samples.four, octets => smb2_contexts::parse_contexts(octets))),
                Some(decoder!(samples.four, octets => server::CreateContext::parse_chain(octets))),
            ],
        },
    ]
}

const TYPED_DECODERS: [&str; 4] = [
    "every value: RequestContexts::decode",
    "ChainedItemList<CreateContextRequest>::read_le",
    "-",
    "CreateContext::parse_chain, then LeaseContext::parse and DurableRequestV2::parse",
];
const WALKERS: [&str; 4] = [
    "names and data as octets: Contexts",
    "-, it has no such call",
    "parse_contexts",
    "CreateContext::parse_chain",
];

fn encoders(samples: Samples) -> Vec<Row> {
    vec![
        Row {
            name: "encode RqLs v2, body of 52",
            shape: Shape::Data,
            calls: [
                "LeaseV2::encode",
                "RequestLeaseV2::write_le into the same buffer",
                "-",
                "LeaseContext::encode",
            ],
            ours: encoder!(samples.lease, room = room(), value in ours::<LeaseV2>(samples, |s| &s.lease) =>
                ours_body(value, room)),
            peers: [
                Some(encoder!(samples.lease, room = room(),
                    value in smb_msg_values::<smb_msg::RequestLeaseV2>(samples, |s| &s.lease) =>
                    binrw_into(value, room))),
                None,
                Some(encoder!(samples.lease, _room = (), value in server_leases(samples) => value.encode())),
            ],
        },
        Row {
            name: "encode DH2Q, body of 32",
            shape: Shape::Data,
            calls: [
                "DurableHandleRequestV2::encode",
                "DurableHandleRequestV2::write_le",
                "DurableRequestV2::to_bytes",
                "-, responses only",
            ],
            ours: encoder!(samples.durable, room = room(),
                value in ours::<DurableHandleRequestV2>(samples, |s| &s.durable) => ours_body(value, room)),
            peers: [
                Some(encoder!(samples.durable, room = room(),
                    value in smb_msg_values::<smb_msg::DurableHandleRequestV2>(samples, |s| &s.durable) =>
                    binrw_into(value, room))),
                Some(
                    encoder!(samples.durable, _room = (), value in smb2_durables(samples) => value.to_bytes()),
                ),
                None,
            ],
        },
        Row {
            name: "encode lease break, body of 44",
            shape: Shape::Message,
            calls: [
                "LeaseBreak::encode",
                "LeaseBreakNotify::write_le",
                "-",
                "BinWrite of LeaseBreakNotification, whose own write_to allocates",
            ],
            ours: encoder!(samples.lease_break, room = room(),
                value in ours::<LeaseBreak>(samples, |s| &s.lease_break) => ours_body(value, room)),
            peers: [
                Some(encoder!(samples.lease_break, room = room(),
                    value in smb_msg_values::<smb_msg::LeaseBreakNotify>(samples, |s| &s.lease_break) =>
                    binrw_into(value, room))),
                None,
                Some(encoder!(samples.lease_break, room = room(),
                    value in smb_msg_values::<server::LeaseBreakNotification>(samples, |s| &s.lease_break) =>
                    binrw_into(value, room))),
            ],
        },
        Row {
            name: "encode oplock break, body of 24",
            shape: Shape::Message,
            calls: [
                "OplockBreak::encode",
                "-, it writes StructureSize 12",
                "OplockBreak::pack, 64 into one cursor",
                "BinWrite of OplockBreakNotification, whose own write_to allocates",
            ],
            ours: encoder!(samples.oplock_break, room = room(),
                value in ours::<OplockBreak>(samples, |s| &s.oplock_break) => ours_body(value, room)),
            peers: [
                None,
                Some(encoder!(samples.oplock_break, room = WriteCursor::with_capacity(PACKED),
                    value in smb2_breaks(samples) => smb2_packed(value, room))),
                Some(encoder!(samples.oplock_break, room = room(),
                    value in smb_msg_values::<server::OplockBreakNotification>(samples, |s| &s.oplock_break) =>
                    binrw_into(value, room))),
            ],
        },
        Row {
            name: "encode RqLs v2, element of 76",
            shape: Shape::Chain,
            calls: [
                "ContextWriter::put",
                "ChainedItemList::write_le",
                "-",
                "CreateContext::encode_chain of LeaseContext::encode",
            ],
            ours: encoder!(samples.lease_element, room = room(),
                value in ours::<LeaseV2>(samples, |s| &s.lease) => ours_element(value, room)),
            peers: [
                Some(encoder!(samples.lease_element, room = room(),
                    value in smb_msg_values::<SmbMsgChain>(samples, |s| &s.lease_element) =>
                    binrw_into(value, room))),
                None,
                Some(encoder!(samples.lease_element, room = Vec::with_capacity(256),
                    value in server_leases(samples) => server_lease_element(value, room))),
            ],
        },
        Row {
            name: "encode DH2Q, element of 56",
            shape: Shape::Chain,
            calls: [
                "ContextWriter::put",
                "ChainedItemList::write_le",
                "pack_contexts of DurableRequestV2::context",
                "-, responses only",
            ],
            ours: encoder!(samples.durable_element, room = room(),
                value in ours::<DurableHandleRequestV2>(samples, |s| &s.durable) => ours_element(value, room)),
            peers: [
                Some(encoder!(samples.durable_element, room = room(),
                    value in smb_msg_values::<SmbMsgChain>(samples, |s| &s.durable_element) =>
                    binrw_into(value, room))),
                Some(encoder!(samples.durable_element, _room = (), value in smb2_durables(samples) =>
                    smb2_contexts::pack_contexts(&[value.context()]))),
                None,
            ],
        },
        Row {
            name: "encode DH2Q + RqLs v2",
            shape: Shape::Chain,
            calls: TYPED_ENCODERS,
            ours: encoder!(samples.two, room = room(), value in ours_requests(samples) => ours_two(value, room)),
            peers: [
                Some(encoder!(samples.two, room = room(),
                    value in smb_msg_values::<SmbMsgChain>(samples, |s| &s.two) => binrw_into(value, room))),
                None,
                None,
            ],
        },
        Row {
            name: "encode DH2Q + RqLs v2 + MxAc + QFid",
            shape: Shape::Chain,
            calls: TYPED_ENCODERS,
            ours: encoder!(samples.four, room = room(), value in ours_requests(samples) => ours_four(value, room)),
            peers: [
                Some(encoder!(samples.four, room = room(),
                    value in smb_msg_values::<SmbMsgChain>(samples, |s| &s.four) => binrw_into(value, room))),
                None,
                None,
            ],
        },
        Row {
            name: "frame DH2Q + RqLs v2",
            shape: Shape::Chain,
            calls: FRAMERS,
            ours: encoder!(samples.two, room = room(), value in pairs(samples, |s| &s.two) =>
                ours_framed(value, room)),
            peers: [
                None,
                Some(encoder!(samples.two, _room = (), value in smb2_pairs(samples, |s| &s.two) =>
                    smb2_contexts::pack_contexts(value))),
                Some(encoder!(samples.two, room = Vec::with_capacity(256),
                    value in server_pairs(samples, |s| &s.two) => server_framed(value, room))),
            ],
        },
        Row {
            name: "frame DH2Q + RqLs v2 + MxAc + QFid",
            shape: Shape::Chain,
            calls: FRAMERS,
            ours: encoder!(samples.four, room = room(), value in pairs(samples, |s| &s.four) =>
                ours_framed(value, room)),
            peers: [
                None,
                Some(encoder!(samples.four, _room = (), value in smb2_pairs(samples, |s| &s.four) =>
                    smb2_contexts::pack_contexts(value))),
                Some(encoder!(samples.four, room = Vec::with_capacity(256),
                    value in server_pairs(samples, |s| &s.four) => server_framed(value, room))),
            ],
        },
    ]
}

const TYPED_ENCODERS: [&str; 4] = [
    "from values: RequestContexts::write and ContextWriter::push",
    "ChainedItemList::write_le",
    "-, no RqLs",
    "-, no DH2Q of a request",
];
const FRAMERS: [&str; 4] = [
    "from names and data as octets, ready made: ContextWriter::push",
    "-, it has no such call",
    "pack_contexts",
    "CreateContext::encode_chain",
];

/// What an encoder may write into, again and again. How much there is, the compiler does not know.
fn room() -> Vec<u8> {
    vec![0; 256]
}

// Ours.

#[inline]
fn ours_typed(octets: &[u8]) -> Result<RequestContexts, DecodeError> {
    RequestContexts::decode(octets, |context| {
        black_box(&context);
    })
}

#[inline]
fn ours_framing(octets: &[u8]) -> Result<(), DecodeError> {
    for context in Contexts::new(octets) {
        black_box(&context?);
    }
    Ok(())
}

#[inline]
fn ours_body<'a, T: Fixed>(value: &T, room: &'a mut [u8]) -> &'a [u8] {
    value.encode(&mut &mut *room);
    &room[..T::LEN]
}

#[inline]
fn ours_element<'a, T: Named>(value: &T, room: &'a mut [u8]) -> &'a [u8] {
    let mut writer = ContextWriter::new(room);
    let fits = writer.put(value).is_ok();
    let len = writer.finish();
    assert!(fits, "no room");
    &room[..len]
}

#[inline]
fn ours_two<'a>(value: &RequestContexts, room: &'a mut [u8]) -> &'a [u8] {
    let mut writer = ContextWriter::new(room);
    let fits = value.write(&mut writer).is_ok();
    let len = writer.finish();
    assert!(fits, "no room");
    &room[..len]
}

#[inline]
fn ours_four<'a>(value: &RequestContexts, room: &'a mut [u8]) -> &'a [u8] {
    let mut writer = ContextWriter::new(room);
    let fits = value.write(&mut writer).is_ok()
        && writer.push(b"MxAc", &[]).is_ok()
        && writer.push(b"QFid", &[]).is_ok();
    let len = writer.finish();
    assert!(fits, "no room");
    &room[..len]
}

#[inline]
fn ours_framed<'a>(contexts: &[Pair], room: &'a mut [u8]) -> &'a [u8] {
    let mut writer = ContextWriter::new(room);
    let fits = contexts.iter().all(|(name, data)| writer.push(name, data).is_ok());
    let len = writer.finish();
    assert!(fits, "no room");
    &room[..len]
}

fn ours<T: Fixed>(samples: Samples, octets: fn(&Sample) -> &Vec<u8>) -> &'static [T; VARIANTS] {
    each(samples, |sample| decoded(T::decode(octets(sample)).ok()))
}

fn ours_requests(samples: Samples) -> &'static [RequestContexts; VARIANTS] {
    each(samples, |sample| decoded(RequestContexts::decode(&sample.two, |_| ()).ok()))
}

// Whatever is written by `binrw`: all of smb-msg, some of smb-server.

#[inline]
fn binrw_into<'a, T>(value: &T, room: &'a mut [u8]) -> &'a [u8]
where
    T: BinWrite,
    for<'b> T::Args<'b>: Default,
{
    let mut cursor = Cursor::new(room);
    let fits = value.write_le(&mut cursor).is_ok();
    assert!(fits, "no room");
    let len = usize::try_from(cursor.position()).unwrap_or(0);
    &cursor.into_inner()[..len]
}

fn smb_msg_values<T>(samples: Samples, octets: fn(&Sample) -> &Vec<u8>) -> &'static [T; VARIANTS]
where
    T: BinRead,
    for<'b> T::Args<'b>: Default,
{
    each(samples, |sample| decoded(T::read_le(&mut Cursor::new(octets(sample))).ok()))
}

// smb2.

/// Sixty-four bodies: a `WriteCursor` cannot be written into again, but it can be appended to.
const PACKED: usize = 64 * 24;

#[inline]
fn smb2_packed<'a>(value: &impl Pack, cursor: &'a mut WriteCursor) -> &'a [u8] {
    if cursor.position() == PACKED {
        *cursor = WriteCursor::with_capacity(PACKED);
    }
    let start = cursor.position();
    value.pack(cursor);
    &cursor.as_bytes()[start..]
}

fn smb2_durables(samples: Samples) -> &'static [smb2_contexts::DurableRequestV2; VARIANTS] {
    each(samples, |sample| {
        let create_guid = decoded(smb2::pack::Guid::unpack(&mut ReadCursor::new(&sample.durable[16..])).ok());
        let timeout_ms = decoded(ReadCursor::new(&sample.durable).read_u32_le().ok());
        smb2_contexts::DurableRequestV2 { timeout_ms, persistent: false, create_guid }
    })
}

fn smb2_breaks(samples: Samples) -> &'static [smb2::msg::oplock_break::OplockBreak; VARIANTS] {
    each(samples, |sample| decoded(Unpack::unpack(&mut ReadCursor::new(&sample.oplock_break)).ok()))
}

fn smb2_pairs(
    samples: Samples,
    chain: fn(&Sample) -> &Vec<u8>,
) -> &'static [Vec<smb2_contexts::CreateContext>; VARIANTS] {
    each(samples, |sample| decoded(smb2_contexts::parse_contexts(chain(sample)).ok()))
}

// smb-server.

/// What its CREATE handler does with a chain, all values kept.
type ServerContexts =
    (Option<server::LeaseContext>, Option<server::DurableRequestV2>, Vec<server::CreateContext>);

#[inline]
fn server_typed(octets: &[u8]) -> Result<ServerContexts, ()> {
    let contexts = server::CreateContext::parse_chain(octets).map_err(drop)?;
    let (mut lease, mut durable) = (None, None);
    for context in &contexts {
        match context.name.as_slice() {
            b"RqLs" => lease = Some(server::LeaseContext::parse(&context.data).map_err(drop)?),
            b"DH2Q" => durable = Some(server::DurableRequestV2::parse(&context.data).map_err(drop)?),
            _ => {}
        }
    }
    Ok((lease, durable, contexts))
}

#[inline]
fn server_lease_element<'a>(lease: &server::LeaseContext, octets: &'a mut Vec<u8>) -> &'a [u8] {
    let name = server::CreateContext::NAME_RQLS.to_vec();
    server_framed(&[server::CreateContext { name, data: lease.encode() }], octets)
}

#[inline]
fn server_framed<'a>(contexts: &[server::CreateContext], octets: &'a mut Vec<u8>) -> &'a [u8] {
    octets.clear();
    let fits = server::CreateContext::encode_chain(contexts, octets).is_ok();
    assert!(fits, "no room");
    octets
}

fn server_leases(samples: Samples) -> &'static [server::LeaseContext; VARIANTS] {
    each(samples, |sample| decoded(server::LeaseContext::parse(&sample.lease).ok()))
}

fn server_pairs(
    samples: Samples,
    chain: fn(&Sample) -> &Vec<u8>,
) -> &'static [Vec<server::CreateContext>; VARIANTS] {
    each(samples, |sample| decoded(server::CreateContext::parse_chain(chain(sample)).ok()))
}

// All.

/// Name and data.
type Pair = (Vec<u8>, Vec<u8>);

fn pairs(samples: Samples, chain: fn(&Sample) -> &Vec<u8>) -> &'static [Vec<Pair>; VARIANTS] {
    each(samples, |sample| {
        let elements = judge(chain(sample)).elements;
        elements.into_iter().map(|element| (element.name.to_vec(), element.data.to_vec())).collect()
    })
}

/// One value for each variant, alive for the rest of the run.
fn each<T>(samples: Samples, value: impl Fn(&Sample) -> T) -> &'static [T; VARIANTS] {
    Box::leak(Box::new(std::array::from_fn(|variant| value(&samples[variant]))))
}

fn decoded<T>(value: Option<T>) -> T {
    match value {
        Some(value) => value,
        None => panic!("a sample that was laid out by hand is refused"),
    }
}

/// The same octets; or the same contexts, because not everybody pads alike.
fn same(octets: &[u8], expected: &[u8]) -> bool {
    let (found, wanted) = (judge(octets).elements, judge(expected).elements);
    octets == expected || !wanted.is_empty() && found == wanted
}
