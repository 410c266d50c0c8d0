//! Lines with a `target`: octets that a decoder has to refuse, has to accept, or must merely survive.

use leasehold::Dialect;
use leasehold::wire::{
    Acknowledgment, AppInstanceId, AppInstanceVersion, Contexts, CreateRequest, CreateResponse, DecodeError,
    DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest, DurableHandleRequestV2,
    DurableHandleResponse, DurableHandleResponseV2, Fixed, Header, Lease, LeaseAck, LeaseBreak, MAX_CONTEXTS,
    Notification, OplockBreak, RequestContexts, ResiliencyRequest, ResponseContexts,
};
use serde_json::Value;

use super::{Outcome, octets, text};

pub(super) fn judge(line: &Value) -> Result<Outcome, String> {
    let hex = octets(line, "hex")?;
    survive(&hex)?;
    let expected = match text(line, "expect")? {
        "reject" => Expect::Reject,
        "codec-reject" => Expect::CodecReject,
        "accept" => Expect::Accept,
        "either" | "semantic" => return Ok(Outcome::Unjudged),
        other => return Err(format!("expect {other}")),
    };
    match text(line, "target")? {
        "chain" => chain(&hex, expected)?,
        "break" => acknowledgment(&hex, expected)?,
        _ => return Ok(Outcome::Unjudged),
    }
    Ok(Outcome::AsExpected)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// Walking or decoding fails.
    Reject,
    /// Walking succeeds, decoding fails.
    CodecReject,
    Accept,
}

/// The contexts of a CREATE request.
fn chain(hex: &[u8], expected: Expect) -> Result<(), String> {
    let walked = Contexts::new(hex).try_for_each(|context| context.map(|_| ()));
    let decoded = RequestContexts::decode(hex, |_| ());
    if walked.is_err() && decoded.is_ok() {
        return Err("the walk fails and the decode does not".to_owned());
    }
    match (expected, walked, decoded) {
        (Expect::Reject, _, Err(_))
        | (Expect::CodecReject, Ok(()), Err(_))
        | (Expect::Accept, Ok(()), Ok(_)) => Ok(()),
        (Expect::Reject | Expect::CodecReject, _, Ok(decoded)) => Err(format!("accepted: {decoded:?}")),
        (Expect::CodecReject, Err(error), Err(_)) => Err(format!("the walk refused it: {error}")),
        (Expect::Accept, _, Err(error)) => Err(format!("refused: {error}")),
        (Expect::Accept, Err(error), Ok(_)) => Err(format!("the walk refused it: {error}")),
    }
}

/// What follows the header of an OPLOCK_BREAK request. There is no walk.
fn acknowledgment(hex: &[u8], expected: Expect) -> Result<(), String> {
    match (expected, Acknowledgment::decode(Dialect::Smb311, hex)) {
        (Expect::Reject | Expect::CodecReject, Err(_)) | (Expect::Accept, Ok(_)) => Ok(()),
        (Expect::Reject | Expect::CodecReject, Ok(decoded)) => Err(format!("accepted: {decoded:?}")),
        (Expect::Accept, Err(error)) => Err(format!("refused: {error}")),
    }
}

/// Hands the octets to every decoder there is. A panic is caught by the caller.
fn survive(hex: &[u8]) -> Result<(), String> {
    for octets in [hex, hex.get(Header::LEN..).unwrap_or_default()] {
        let most = usize::from(MAX_CONTEXTS).saturating_add(1);
        if Contexts::new(octets).count() > most {
            return Err("a walk without end".to_owned());
        }
        let mut results: Vec<Result<(), DecodeError>> = vec![
            RequestContexts::decode(octets, |_| ()).map(|_| ()),
            ResponseContexts::decode(octets, |_| ()).map(|_| ()),
            Header::split(octets).map(|_| ()),
            CreateRequest::decode(octets).map(|_| ()),
            CreateResponse::decode(octets).map(|_| ()),
            Notification::decode(octets).map(|_| ()),
            Acknowledgment::decode(Dialect::Smb202, octets).map(|_| ()),
            Acknowledgment::decode(Dialect::Smb210, octets).map(|_| ()),
            Acknowledgment::decode(Dialect::Smb300, octets).map(|_| ()),
            Acknowledgment::decode(Dialect::Smb302, octets).map(|_| ()),
            Acknowledgment::decode(Dialect::Smb311, octets).map(|_| ()),
            ResiliencyRequest::decode_input(octets).map(|_| ()),
            Lease::decode(octets).map(|_| ()),
        ];
        let bodies: [Decode; 13] = [
            fixed::<Header>,
            fixed::<DurableHandleRequest>,
            fixed::<DurableHandleResponse>,
            fixed::<DurableHandleReconnect>,
            fixed::<DurableHandleRequestV2>,
            fixed::<DurableHandleResponseV2>,
            fixed::<DurableHandleReconnectV2>,
            fixed::<AppInstanceId>,
            fixed::<AppInstanceVersion>,
            fixed::<OplockBreak>,
            fixed::<LeaseBreak>,
            fixed::<LeaseAck>,
            fixed::<ResiliencyRequest>,
        ];
        for context in Contexts::new(octets).flatten() {
            results.extend(bodies.iter().map(|decode| decode(context.data)));
        }
        results.extend(bodies.iter().map(|decode| decode(octets)));
        // An error has a text for whatever went wrong.
        if results.iter().filter_map(|result| result.err()).any(|error| error.to_string().is_empty()) {
            return Err("an error without a text".to_owned());
        }
    }
    Ok(())
}

type Decode = fn(&[u8]) -> Result<(), DecodeError>;

fn fixed<T: Fixed>(octets: &[u8]) -> Result<(), DecodeError> {
    T::decode(octets).map(|_| ())
}
