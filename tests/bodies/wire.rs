//! The laws of the wire layer, over any octets.

mod create;
mod writer;

use std::fmt::Debug;

use arbitrary::Unstructured;
use leasehold::Dialect;
use leasehold::wire::{
    Acknowledgment, AppInstanceId, AppInstanceVersion, Context, ContextWriter, Contexts, DecodeError,
    DecodeErrorKind, DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest,
    DurableHandleRequestV2, DurableHandleResponse, DurableHandleResponseV2, Field, Fixed, Header, Lease,
    LeaseAck, LeaseBreak, LeaseV1, LeaseV2, Notification, OplockBreak, RequestContexts, ResiliencyRequest,
    ResponseContexts, Structure,
};

use super::sheet::{self, Body, Refusal, any, le16, le32, le64, refusal, wrong_length};

pub use create::create;
pub use writer::writer;

/// What a buffer holds before something is written into it.
const OLD: u8 = 0xa5;

// ---- The four laws of `Fixed` ----

/// A value, encoded and decoded, is the same value; its octets are canonical and as many as they have to be.
pub fn value_comes_back<T: Body>(value: T) {
    let octets = encoded(&value);
    assert_eq!(T::decode(&octets), Ok(value));
    assert_eq!(octets, canonical::<T>(&octets), "reserved octets are zero on output");
}

/// Canonical octets, decoded and encoded, are the same octets. Any octets are made canonical first.
pub fn canonical_octets_come_back<T: Body>(octets: &[u8]) {
    let octets = canonical::<T>(octets);
    let value = T::decode(&octets).unwrap();
    assert_eq!(encoded(&value), octets);
}

/// What any lawful octets decode to survives being encoded, and its octets are the canonical form of the first.
pub fn coding_again_changes_nothing<T: Body>(octets: &[u8]) {
    let Ok(value) = T::decode(octets) else { return };
    let again = encoded(&value);
    assert_eq!(again, canonical::<T>(octets));
    assert_eq!(T::decode(&again), Ok(value));
    assert_eq!(encoded(&T::decode(&again).unwrap()), again);
}

/// Every proper prefix of a lawful body is refused for its length, and so is one octet more.
pub fn prefixes_are_refused<T: Body>(octets: &[u8]) {
    let mut octets = lawful::<T>(octets);
    assert!(T::decode(&octets).is_ok());
    octets.push(0);
    for len in (0..T::OCTETS).chain([T::OCTETS + 1]) {
        let error = T::decode(&octets[..len]).unwrap_err();
        let expected = (T::STRUCTURE, Field::Whole, 0, wrong_length(len, T::OCTETS));
        assert_eq!(refusal(error), expected);
    }
}

/// The decoder refuses what the specification refuses, for the same reason, and nothing else.
pub fn judged_as_specified<T: Body>(octets: &[u8]) {
    assert_eq!(T::decode(octets).err().map(refusal), T::fault(octets));
}

fn all_laws<T: Body>(octets: &[u8]) {
    assert_eq!(T::LEN, T::OCTETS);
    judged_as_specified::<T>(octets);
    coding_again_changes_nothing::<T>(octets);
    coding_again_changes_nothing::<T>(&lawful::<T>(octets));
    canonical_octets_come_back::<T>(octets);
    prefixes_are_refused::<T>(octets);
}

fn encoded<T: Fixed>(value: &T) -> Vec<u8> {
    let mut octets = vec![];
    value.encode(&mut octets);
    assert_eq!(octets.len(), T::LEN);

    let mut room = vec![OLD; T::LEN + 1];
    let mut place = room.as_mut_slice();
    value.encode(&mut place);
    assert_eq!(place, [OLD], "a body takes its octets and no more");
    assert_eq!(room[..T::LEN], octets);
    octets
}

fn lawful<T: Body>(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets.resize(T::OCTETS, 0);
    T::make_lawful(&mut octets);
    octets
}

fn canonical<T: Body>(octets: &[u8]) -> Vec<u8> {
    let mut octets = lawful::<T>(octets);
    T::make_canonical(&mut octets);
    octets
}

// ---- Structures of fixed size ----

/// The data of an RqLs context.
pub fn lease(octets: &[u8]) {
    all_laws::<LeaseV1>(octets);
    all_laws::<LeaseV2>(octets);

    // MS-SMB2 2.2.13.2: the length tells the versions apart, whatever the octets say.
    for octets in [octets.to_vec(), lawful::<LeaseV1>(octets), lawful::<LeaseV2>(octets)] {
        let lease = Lease::decode(&octets);
        match octets.len() {
            32 => assert_eq!(lease, LeaseV1::decode(&octets).map(Lease::V1)),
            52 => assert_eq!(lease, LeaseV2::decode(&octets).map(Lease::V2)),
            len => {
                let kind = DecodeErrorKind::LeaseLength { actual: len as u32 };
                let expected = (Structure::Lease, Field::Whole, 0, kind);
                assert_eq!(lease.map_err(refusal), Err(expected));
                continue;
            }
        }
        let lease = lease.unwrap();
        let v2 = octets.len() == 52;
        let flags = le32(&octets, 20);
        assert_eq!(lease.key().octets(), octets[..16]);
        assert_eq!(lease.state().bits(), le32(&octets, 16));
        assert_eq!(lease.flags().bits(), if v2 { flags & !0x4 } else { flags });
        assert_eq!(lease.epoch().map(|epoch| epoch.get()), v2.then(|| le16(&octets, 48)));
        let parent = (v2 && flags & 0x4 != 0).then(|| octets[32..48].to_vec());
        assert_eq!(lease.parent().map(|key| key.octets().to_vec()), parent);
    }
}

/// The data of DHnQ, DHnC, DH2Q and DH2C, and the request for a resilient handle.
pub fn durable(octets: &[u8]) {
    all_laws::<DurableHandleRequest>(octets);
    all_laws::<DurableHandleResponse>(octets);
    all_laws::<DurableHandleReconnect>(octets);
    all_laws::<DurableHandleRequestV2>(octets);
    all_laws::<DurableHandleResponseV2>(octets);
    all_laws::<DurableHandleReconnectV2>(octets);
    all_laws::<ResiliencyRequest>(octets);

    // MS-SMB2 3.3.5.15.9: the input may be longer than the structure, not shorter.
    let input = ResiliencyRequest::decode_input(octets).map_err(refusal);
    if octets.len() >= 8 {
        assert_eq!(input, Ok(ResiliencyRequest { timeout: le32(octets, 0) }));
    } else {
        let kind = wrong_length(octets.len(), 8);
        assert_eq!(input, Err((Structure::ResiliencyRequest, Field::Whole, 0, kind)));
    }
}

/// The data of AppInstanceId and AppInstanceVersion.
pub fn instance(octets: &[u8]) {
    all_laws::<AppInstanceId>(octets);
    all_laws::<AppInstanceVersion>(octets);
}

/// The body of an OPLOCK_BREAK in either direction.
pub fn breaks(octets: &[u8]) {
    all_laws::<OplockBreak>(octets);
    all_laws::<LeaseBreak>(octets);
    all_laws::<LeaseAck>(octets);

    let mut forms = vec![octets.to_vec(), lawful::<OplockBreak>(octets)];
    forms.extend([lawful::<LeaseBreak>(octets), lawful::<LeaseAck>(octets)]);
    for octets in forms {
        // MS-SMB2 3.2.5.19.
        let size = (octets.len() >= 2).then(|| le16(&octets, 0));
        let oplock = OplockBreak::decode(&octets);
        let expected = match size {
            Some(44) => LeaseBreak::decode(&octets).map(Notification::Lease),
            _ => oplock.map(Notification::Oplock),
        };
        assert_eq!(Notification::decode(&octets), expected);

        // MS-SMB2 3.3.5.22.
        for revision in [0x0202, 0x0210, 0x0300, 0x0302, 0x0311] {
            let expected = match size {
                Some(36) if revision != 0x0202 => LeaseAck::decode(&octets).map(Acknowledgment::Lease),
                _ => oplock.map(Acknowledgment::Oplock),
            };
            let dialect = Dialect::from_wire(revision).unwrap();
            assert_eq!(Acknowledgment::decode(dialect, &octets), expected);
        }
    }
}

/// A message of any kind: its header.
pub fn header(octets: &[u8]) {
    all_laws::<Header>(octets);

    let split = Header::split(octets);
    let whole = octets.get(..64).unwrap_or(octets);
    assert_eq!(split.map(|(header, _)| header), Header::decode(whole));
    if let Ok((_, body)) = split {
        assert_eq!(body, &octets[64..]);
    }

    // MS-SMB2 3.2.5.19: OPLOCK_BREAK and a MessageId of all ones, neither alone.
    let mut unsolicited = lawful::<Header>(octets);
    unsolicited[24..32].fill(0xff);
    let mut oplock_break = lawful::<Header>(octets);
    oplock_break[12..14].copy_from_slice(&[0x12, 0]);
    let mut both = unsolicited.clone();
    both[12..14].copy_from_slice(&[0x12, 0]);
    for octets in [lawful::<Header>(octets), unsolicited, oplock_break, both] {
        let header = Header::decode(&octets).unwrap();
        assert_eq!(header.notifies_break(), le16(&octets, 12) == 0x12 && le64(&octets, 24) == u64::MAX);
        assert_eq!(header.channel_sequence(), le16(&octets, 8));
    }
}

// ---- The chain of contexts ----

/// A chain of create contexts.
pub fn chain(octets: &[u8]) {
    walk(octets);
    request_contexts(octets);
    response_contexts(octets);
}

fn walk(chain: &[u8]) {
    let (expected, faults) = sheet::walk(chain);
    let mut contexts = Contexts::new(chain);
    for element in &expected {
        let context = contexts.next().unwrap().unwrap();
        assert_eq!((context.name, context.data), (element.name, element.data));
        assert_inside(context.name, chain);
        assert_inside(context.data, chain);
        assert_eq!(&chain[context.offset..][..context.data.len()], context.data);
        if let Some(at) = element.data_at {
            assert_eq!(context.offset, at);
        }
    }
    match faults {
        Some(faults) => assert_among(contexts.next().unwrap().unwrap_err(), &faults, chain),
        None => assert_eq!(contexts.next(), None),
    }
    // Fused: whatever the end was, it stays the end.
    for _ in 0..3 {
        assert_eq!(contexts.next(), None);
    }
    let walked = Contexts::new(chain).filter(Result::is_ok).take(1000).count();
    assert!(walked <= 64);
    assert_eq!(walked, expected.len());
}

fn request_contexts(chain: &[u8]) {
    let mut others = vec![];
    let decoded = RequestContexts::decode(chain, |context| others.push(context));
    let by_hand = by_hand(chain, |context| {
        let data = context.data;
        match context.name {
            sheet::RQLS => Some(Lease::decode(data).err()),
            sheet::DHNQ => Some(DurableHandleRequest::decode(data).err()),
            sheet::DHNC => Some(DurableHandleReconnect::decode(data).err()),
            sheet::DH2Q => Some(DurableHandleRequestV2::decode(data).err()),
            sheet::DH2C => Some(DurableHandleReconnectV2::decode(data).err()),
            sheet::APP_INSTANCE_ID => Some(AppInstanceId::decode(data).err()),
            sheet::APP_INSTANCE_VERSION => Some(AppInstanceVersion::decode(data).err()),
            _ => None,
        }
    });
    assert_eq!(others, by_hand.others);
    if let Some(expected) = by_hand.refusal {
        return assert_eq!(decoded.map_err(refusal), Err(expected));
    }
    let mut expected = RequestContexts::default();
    let first = |name| by_hand.first(name);
    expected.lease = first(sheet::RQLS).map(|data| Lease::decode(data).unwrap());
    expected.durable.dhnq = first(sheet::DHNQ).map(|data| DurableHandleRequest::decode(data).unwrap());
    expected.durable.dhnc = first(sheet::DHNC).map(|data| DurableHandleReconnect::decode(data).unwrap());
    expected.durable.dh2q = first(sheet::DH2Q).map(|data| DurableHandleRequestV2::decode(data).unwrap());
    expected.durable.dh2c = first(sheet::DH2C).map(|data| DurableHandleReconnectV2::decode(data).unwrap());
    expected.app_instance = first(sheet::APP_INSTANCE_ID).map(|data| AppInstanceId::decode(data).unwrap());
    expected.app_instance_version =
        first(sheet::APP_INSTANCE_VERSION).map(|data| AppInstanceVersion::decode(data).unwrap());
    assert_eq!(decoded, Ok(expected));
    request_contexts_come_back(&expected);
}

fn response_contexts(chain: &[u8]) {
    let mut others = vec![];
    let decoded = ResponseContexts::decode(chain, |context| others.push(context));
    let by_hand = by_hand(chain, |context| {
        let data = context.data;
        match context.name {
            sheet::RQLS => Some(Lease::decode(data).err()),
            sheet::DHNQ => Some(DurableHandleResponse::decode(data).err()),
            sheet::DH2Q => Some(DurableHandleResponseV2::decode(data).err()),
            _ => None,
        }
    });
    assert_eq!(others, by_hand.others);
    if let Some(expected) = by_hand.refusal {
        return assert_eq!(decoded.map_err(refusal), Err(expected));
    }
    let mut expected = ResponseContexts::default();
    let first = |name| by_hand.first(name);
    expected.lease = first(sheet::RQLS).map(|data| Lease::decode(data).unwrap());
    expected.durable = first(sheet::DHNQ).map(|data| DurableHandleResponse::decode(data).unwrap());
    expected.durable_v2 = first(sheet::DH2Q).map(|data| DurableHandleResponseV2::decode(data).unwrap());
    assert_eq!(decoded, Ok(expected));
    response_contexts_come_back(&expected);
}

/// A chain sorted by name after it was walked.
struct ByHand<'a> {
    contexts: Vec<Context<'a>>,
    others: Vec<Context<'a>>,
    refusal: Option<Refusal>,
}

impl<'a> ByHand<'a> {
    fn first(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.contexts.iter().find(|context| context.name == name).map(|context| context.data)
    }
}

/// Walks and judges every context of ours; the first refusal of either counts, and ends what others get to see.
fn by_hand<'a>(chain: &'a [u8], judge: impl Fn(&Context<'a>) -> Option<Option<DecodeError>>) -> ByHand<'a> {
    let walked: Vec<_> = Contexts::new(chain).collect();
    let contexts: Vec<_> = walked.iter().map_while(|context| context.ok()).collect();
    let refusals: Vec<_> = contexts
        .iter()
        .map(|context| {
            let (structure, field, at, kind) = refusal(judge(context)??);
            Some((structure, field, context.offset + at, kind))
        })
        .collect();
    let until = refusals.iter().position(Option::is_some).unwrap_or(contexts.len());
    let mut others = contexts[..until].to_vec();
    others.retain(|context| judge(context).is_none());
    let chain_refusal = walked.last().and_then(|context| context.err()).map(refusal);
    let refusal = refusals.into_iter().flatten().next().or(chain_refusal);
    ByHand { contexts, others, refusal }
}

fn request_contexts_come_back(contexts: &RequestContexts) {
    let mut buf = [OLD; 512];
    let mut writer = ContextWriter::new(&mut buf);
    assert_eq!(contexts.write(&mut writer), Ok(()));
    let len = writer.finish();
    assert!(buf[len..].iter().all(|octet| *octet == OLD));
    let again = RequestContexts::decode(&buf[..len], |other| panic!("nobody wrote {other:?}"));
    assert_eq!(again, Ok(*contexts));
}

fn response_contexts_come_back(contexts: &ResponseContexts) {
    let mut buf = [OLD; 512];
    let mut writer = ContextWriter::new(&mut buf);
    assert_eq!(contexts.write(&mut writer), Ok(()));
    let len = writer.finish();
    assert!(buf[len..].iter().all(|octet| *octet == OLD));
    let again = ResponseContexts::decode(&buf[..len], |other| panic!("nobody wrote {other:?}"));
    assert_eq!(again, Ok(*contexts));
}

// ---- Values ----

/// Any value of every structure, made of the octets.
pub fn roundtrip(octets: &[u8]) {
    drawn::<DurableHandleRequest>(octets);
    drawn::<DurableHandleResponse>(octets);
    drawn::<DurableHandleReconnect>(octets);
    drawn::<DurableHandleRequestV2>(octets);
    drawn::<DurableHandleResponseV2>(octets);
    drawn::<DurableHandleReconnectV2>(octets);
    drawn::<ResiliencyRequest>(octets);
    drawn::<AppInstanceId>(octets);
    drawn::<AppInstanceVersion>(octets);
    drawn::<OplockBreak>(octets);
    drawn::<LeaseBreak>(octets);
    drawn::<LeaseAck>(octets);
    drawn::<LeaseV1>(octets);
    drawn::<LeaseV2>(octets);
    drawn::<Header>(octets);

    let mut input = Unstructured::new(octets);
    let which: u8 = any(&mut input);
    request_contexts_come_back(&draw_request_contexts(which, &mut input));
    let mut input = Unstructured::new(octets);
    let which: u8 = any(&mut input);
    response_contexts_come_back(&draw_response_contexts(which, &mut input));
    create::drawn(&mut Unstructured::new(octets));
    #[cfg(feature = "arbitrary")]
    derived::roundtrip(octets);
}

fn drawn<T: Body>(octets: &[u8]) {
    value_comes_back(T::draw(&mut Unstructured::new(octets)));
}

fn draw_request_contexts(which: u8, input: &mut Unstructured<'_>) -> RequestContexts {
    let mut contexts = RequestContexts::default();
    contexts.durable.dhnq = (which & 0x01 != 0).then(|| Body::draw(input));
    contexts.durable.dhnc = (which & 0x02 != 0).then(|| Body::draw(input));
    contexts.durable.dh2q = (which & 0x04 != 0).then(|| Body::draw(input));
    contexts.durable.dh2c = (which & 0x08 != 0).then(|| Body::draw(input));
    contexts.lease = draw_lease(which, input);
    contexts.app_instance = (which & 0x40 != 0).then(|| Body::draw(input));
    contexts.app_instance_version = (which & 0x80 != 0).then(|| Body::draw(input));
    contexts
}

fn draw_response_contexts(which: u8, input: &mut Unstructured<'_>) -> ResponseContexts {
    let mut contexts = ResponseContexts::default();
    contexts.durable = (which & 0x01 != 0).then(|| Body::draw(input));
    contexts.durable_v2 = (which & 0x04 != 0).then(|| Body::draw(input));
    contexts.lease = draw_lease(which, input);
    contexts
}

fn draw_lease(which: u8, input: &mut Unstructured<'_>) -> Option<Lease> {
    match which & 0x30 {
        0x10 => Some(Lease::V1(Body::draw(input))),
        0x20 => Some(Lease::V2(Body::draw(input))),
        _ => None,
    }
}

/// Values made by the `Arbitrary` of the crate itself.
#[cfg(feature = "arbitrary")]
mod derived {
    use arbitrary::Arbitrary;

    use super::*;

    pub(super) fn roundtrip(octets: &[u8]) {
        made::<DurableHandleRequest>(octets, value_comes_back);
        made::<DurableHandleResponse>(octets, value_comes_back);
        made::<DurableHandleReconnect>(octets, value_comes_back);
        made::<DurableHandleRequestV2>(octets, value_comes_back);
        made::<DurableHandleResponseV2>(octets, value_comes_back);
        made::<DurableHandleReconnectV2>(octets, value_comes_back);
        made::<ResiliencyRequest>(octets, value_comes_back);
        made::<AppInstanceId>(octets, value_comes_back);
        made::<AppInstanceVersion>(octets, value_comes_back);
        made::<OplockBreak>(octets, value_comes_back);
        made::<LeaseBreak>(octets, value_comes_back);
        made::<LeaseAck>(octets, value_comes_back);
        made::<LeaseV1>(octets, value_comes_back);
        made::<LeaseV2>(octets, value_comes_back);
        made::<Header>(octets, value_comes_back);
        made::<RequestContexts>(octets, |contexts| request_contexts_come_back(&contexts));
        made::<ResponseContexts>(octets, |contexts| response_contexts_come_back(&contexts));
        made::<Lease>(octets, |lease| match lease {
            Lease::V1(inner) => assert_eq!(Lease::decode(&encoded(&inner)), Ok(lease)),
            Lease::V2(inner) => assert_eq!(Lease::decode(&encoded(&inner)), Ok(lease)),
        });
        made::<Notification>(octets, |notification| match notification {
            Notification::Oplock(inner) => {
                assert_eq!(Notification::decode(&encoded(&inner)), Ok(notification));
            }
            Notification::Lease(inner) => {
                assert_eq!(Notification::decode(&encoded(&inner)), Ok(notification));
            }
        });
        made::<Acknowledgment>(octets, |acknowledgment| {
            let octets = match acknowledgment {
                Acknowledgment::Oplock(inner) => encoded(&inner),
                Acknowledgment::Lease(inner) => encoded(&inner),
            };
            assert_eq!(Acknowledgment::decode(Dialect::Smb311, &octets), Ok(acknowledgment));
        });
    }

    fn made<T: for<'a> Arbitrary<'a>>(octets: &[u8], law: impl Fn(T)) {
        // A value that could not be made is not a value: too few octets for an enum, say.
        if let Ok(value) = T::arbitrary(&mut Unstructured::new(octets)) {
            law(value);
        }
    }
}

// ---- Helpers ----

/// The decoder found a fault, one that is there, inside what it was given.
#[track_caller]
fn assert_among(error: DecodeError, faults: &[Refusal], octets: &[u8]) {
    assert!(faults.contains(&refusal(error)), "{error}: not one of {faults:?}");
    assert!(error.offset() < octets.len().max(1), "{error}: behind the end");
}

/// Borrowed, not made up. Nothing at all may lie anywhere.
#[track_caller]
fn assert_inside<T: Debug>(part: &[T], whole: &[T]) {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    assert!(part.is_empty() || (whole.start <= part.start && part.end <= whole.end));
}
