//! Lines with a `kind`: captured octets and another decoder's reading of them.

use leasehold::Dialect;
use leasehold::wire::{Command, Lease};
use serde_json::{Map, Value};

use super::bodies::{APP_INSTANCE_ID, APP_INSTANCE_VERSION, Body, Direction};
use super::chains::{rewrite, walk};
use super::messages::{Form, Sent, acknowledgment, error, header, notification};
use super::octets::{Reasons, count, equal, same};
use super::said::Said;
use super::{Outcome, creates, octets, text};

pub(super) fn judge(line: &Value) -> Result<Outcome, String> {
    let hex = octets(line, "hex")?;
    let decoded = line.get("decoded").and_then(Value::as_object).ok_or("no object `decoded`")?;
    let sent = match text(line, "direction")? {
        "request" => Sent::Request,
        "response" => Sent::Response,
        "notification" => Sent::Notification,
        other => return Err(format!("direction {other}")),
    };
    let dialect = dialect(text(line, "dialect")?)?;
    let mut said = Said::default();
    let mut reasons = Reasons::new();

    let kind = text(line, "kind")?;
    match (kind, sent) {
        ("chain", Sent::Request) => {
            chain(line, Direction::Request, &hex, decoded, &mut reasons)?;
            return Ok(outcome(reasons));
        }
        ("chain", Sent::Response) => {
            chain(line, Direction::Response, &hex, decoded, &mut reasons)?;
            return Ok(outcome(reasons));
        }
        ("create_request", Sent::Request) => {
            header(&hex, sent, Command::CREATE, &mut said)?;
            creates::request(&hex, &mut said, &mut reasons)?;
        }
        ("create_response", Sent::Response) => {
            header(&hex, sent, Command::CREATE, &mut said)?;
            creates::response(&hex, &mut said, &mut reasons)?;
        }
        ("oplock_break_notification", Sent::Notification) => {
            let (_, body) = header(&hex, sent, Command::OPLOCK_BREAK, &mut said)?;
            notification(body, Form::Oplock, &mut said, &mut reasons)?;
        }
        ("lease_break_notification", Sent::Notification) => {
            let (_, body) = header(&hex, sent, Command::OPLOCK_BREAK, &mut said)?;
            notification(body, Form::Lease, &mut said, &mut reasons)?;
        }
        ("oplock_break_ack", Sent::Request) | ("oplock_break_response", Sent::Response) => {
            let (_, body) = header(&hex, sent, Command::OPLOCK_BREAK, &mut said)?;
            acknowledgment(body, Form::Oplock, dialect, &mut said, &mut reasons)?;
        }
        ("lease_break_ack", Sent::Request) | ("lease_break_response", Sent::Response) => {
            let (_, body) = header(&hex, sent, Command::OPLOCK_BREAK, &mut said)?;
            acknowledgment(body, Form::Lease, dialect, &mut said, &mut reasons)?;
        }
        ("break_error_response", Sent::Response) => {
            let (header, body) = header(&hex, sent, Command::OPLOCK_BREAK, &mut said)?;
            error(&header, body, dialect, &mut said)?;
        }
        (_, Sent::Request) => context(line, kind, Direction::Request, &hex, &mut said, &mut reasons)?,
        (_, Sent::Response) => context(line, kind, Direction::Response, &hex, &mut said, &mut reasons)?,
        (_, Sent::Notification) => return Err(format!("unknown kind {kind} of a notification")),
    }
    said.compare(decoded)?;
    if let Some(status) = line.get("status") {
        equal("status", &decoded.get("smb2.nt_status"), &Some(status))?;
    }
    Ok(outcome(reasons))
}

fn outcome(reasons: Reasons) -> Outcome {
    if reasons.is_empty() { Outcome::Exact } else { Outcome::ByMeaning(reasons) }
}

/// A whole chain: `tags` and `decoded.elements`, element by element.
fn chain(
    line: &Value,
    direction: Direction,
    chain: &[u8],
    decoded: &Map<String, Value>,
    reasons: &mut Reasons,
) -> Result<(), String> {
    if let Some(key) = decoded.keys().find(|key| *key != "elements") {
        return Err(format!("{key}: a field that is neither compared nor ignored"));
    }
    let theirs = decoded.get("elements").and_then(Value::as_array).ok_or("no list `elements`")?;
    let tags = line.get("tags").and_then(Value::as_array).ok_or("no list `tags`")?;
    let elements = walk(direction, chain)?;
    equal("how many contexts", &elements.len(), &theirs.len())?;
    equal("how many tags", &tags.len(), &theirs.len())?;
    for (index, ((element, theirs), tag)) in elements.iter().zip(theirs).zip(tags).enumerate() {
        let mut said = Said::default();
        said.name("tag", element.context.name);
        element.body.say(direction, element.context.name, element.context.data, &mut said)?;
        let theirs = theirs.as_object().ok_or("an element that is no object")?;
        said.compare(theirs).map_err(|error| format!("context {index}: {error}"))?;
        equal("the tag of a context", &theirs.get("tag"), &Some(tag))?;
    }
    rewrite(direction, chain, &elements, reasons)
}

/// One context: its data alone, and the element that it was in.
fn context(
    line: &Value,
    kind: &str,
    direction: Direction,
    data: &[u8],
    said: &mut Said,
    reasons: &mut Reasons,
) -> Result<(), String> {
    let name = name(kind, direction).ok_or_else(|| format!("unknown kind {kind} of a {direction:?}"))?;
    same("`name_hex`", &octets(line, "name_hex")?, name)?;
    let body = Body::decode(direction, name, data)?;
    let fits = match body {
        Body::Lease(Lease::V1(_)) => kind == "RqLs.v1",
        Body::Lease(Lease::V2(_)) => kind == "RqLs.v2",
        Body::Other => HANDED_THROUGH.contains(&kind),
        Body::DurableRequest(_)
        | Body::DurableResponse(_)
        | Body::Reconnect(_)
        | Body::RequestV2(_)
        | Body::ResponseV2(_)
        | Body::ReconnectV2(_)
        | Body::AppInstanceId(_)
        | Body::AppInstanceVersion(_) => !HANDED_THROUGH.contains(&kind),
    };
    if !fits {
        return Err(format!("{kind} was taken for {body:?}"));
    }
    body.say(direction, name, data, said)?;
    let ours = body.encode(data);
    same("the data", &ours, &body.canonical(data, reasons)?)?;
    equal("the data written and decoded again", &Body::decode(direction, name, &ours)?, &body)?;

    // An element that was not the last of its chain leads to a next one, and gets one.
    let mut chain = octets(line, "element_hex")?;
    let next = count(&chain, 0, 4)?;
    if next != 0 {
        equal("Next of `element_hex`", &next, &chain.len())?;
        chain.extend(BEHIND);
    }
    let elements = walk(direction, &chain)?;
    equal("how many contexts", &elements.len(), &if next == 0 { 1 } else { 2 })?;
    let element = elements.first().ok_or("no context")?;
    same("the name in `element_hex`", element.context.name, name)?;
    same("the data in `element_hex`", element.context.data, data)?;
    equal("what `element_hex` holds", &element.body, &body)?;
    rewrite(direction, &chain, &elements, reasons)
}

/// The names of contexts (MS-SMB2 2.2.13.2, 2.2.14.2).
fn name(kind: &str, direction: Direction) -> Option<&'static [u8]> {
    let name: &[u8] = match (kind, direction) {
        ("DHnQ", Direction::Request | Direction::Response) => b"DHnQ",
        ("DHnC", Direction::Request) => b"DHnC",
        ("DH2Q", Direction::Request | Direction::Response) => b"DH2Q",
        ("DH2C", Direction::Request) => b"DH2C",
        ("RqLs.v1" | "RqLs.v2", Direction::Request | Direction::Response) => b"RqLs",
        ("AppInstanceId", Direction::Request) => APP_INSTANCE_ID,
        ("AppInstanceVersion", Direction::Request) => APP_INSTANCE_VERSION,
        ("MxAc", Direction::Request | Direction::Response) => b"MxAc",
        ("QFid", Direction::Request | Direction::Response) => b"QFid",
        ("AlSi", Direction::Request) => b"AlSi",
        ("TWrp", Direction::Request) => b"TWrp",
        ("ExtA", Direction::Request) => b"ExtA",
        ("SecD", Direction::Request) => b"SecD",
        _ => return None,
    };
    Some(name)
}

/// Octets that were not captured on a connection have no dialect: they are judged as the newest one.
fn dialect(name: &str) -> Result<Dialect, String> {
    match name {
        "2.0.2" => Ok(Dialect::Smb202),
        "2.1" => Ok(Dialect::Smb210),
        "3.0" => Ok(Dialect::Smb300),
        "3.0.2" => Ok(Dialect::Smb302),
        "3.1.1" | "n/a" | "?" => Ok(Dialect::Smb311),
        other => Err(format!("dialect {other}")),
    }
}

/// Contexts whose data leasehold does not interpret.
const HANDED_THROUGH: &[&str] = &["MxAc", "QFid", "AlSi", "TWrp", "ExtA", "SecD"];

/// A last element, of a name that nobody has.
const BEHIND: &[u8] = b"\0\0\0\0\x10\0\x04\0\0\0\x18\0\0\0\0\0none\0\0\0\0";
