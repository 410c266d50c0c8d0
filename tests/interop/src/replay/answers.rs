//! The bodies of answers. What a recorded line lacks is not compared.

use std::fmt::Display;

use leasehold::LeaseState;
use leasehold::server::DurableGrant;
use leasehold::wire::{Lease, LeaseFlags};

use super::driver::{Body, CreateBody, OplockNotice};
use super::request::{Context, LeaseFields};
use super::response::Response;

/// What of a body is not as recorded. An error has no body.
pub(super) fn compare(response: &Response, body: &Body) -> Option<String> {
    match body {
        Body::Nothing => None,
        Body::Create(body) => create(response, body),
        Body::Ack(ack) => differs("key", response.key, ack.key)
            .or_else(|| differs("state", response.state.map(state), ack.state)),
        Body::OplockAck(notice) => differs("oplock level", response.level, notice.level)
            .or_else(|| notice.elsewhere(&response.handle)),
        Body::Read { length, data } => {
            differs("length", response.length, *length).or_else(|| octets(response.data.as_deref()?, data))
        }
        Body::Write { count } => differs("count", response.count, *count),
    }
}

fn create(response: &Response, body: &CreateBody) -> Option<String> {
    let action = body.action.to_wire();
    differs("oplock level", response.level, body.level.to_wire())
        .or_else(|| differs("action", response.action, action))
        .or_else(|| differs("end of file", response.end_of_file, body.end_of_file))
        .or_else(|| differs("attributes", response.attributes, body.attributes))
        .or_else(|| differs("handle", response.handle.as_deref(), body.handle.as_deref()?))
        .or_else(|| differs("open", response.open.as_deref(), body.open.as_deref()?))
        .or_else(|| {
            let contexts = response.contexts.as_ref()?;
            let recorded = contexts.iter().find(|context| context.tag == "RqLs");
            match (recorded, &body.lease) {
                (None, None) => None,
                (Some(context), Some(given)) => {
                    let version =
                        context.lease.version.or(context.len.map(|len| if len == 32 { 1 } else { 2 }));
                    lease(version, &context.lease, given)
                }
                (Some(_), None) => Some("RqLs: expected one, none came".to_owned()),
                (None, Some(given)) => {
                    Some(format!("RqLs: expected none, one with state {} came", given.state()))
                }
            }
        })
        .or_else(|| durable(response.contexts.as_deref()?, body.durable))
        .or_else(|| {
            let came = [body.lease.map(|_| "RqLs"), body.durable.map(tag)];
            let absent = |tag: &&str| response.contexts_absent.iter().any(|absent| absent == tag);
            let tag = came.into_iter().flatten().find(absent)?;
            Some(format!("contexts_absent: {tag} came"))
        })
}

/// What of the durable contexts is not as recorded. A handle that is given back has none (MS-SMB2 3.3.5.9.7, 3.3.5.9.12).
fn durable(contexts: &[Context], given: Option<DurableGrant>) -> Option<String> {
    let recorded = |tag: &&str| contexts.iter().find(|context| context.tag == *tag);
    if let Some(came) = given.map(tag).filter(|tag| recorded(tag).is_none()) {
        return Some(format!("{came}: expected none, one came"));
    }
    let missing = |tag: &&&str| recorded(tag).is_some() && given.map(self::tag) != Some(**tag);
    if let Some(tag) = ["DHnQ", "DHnC", "DH2Q", "DH2C"].iter().find(missing) {
        return Some(format!("{tag}: expected one, none came"));
    }
    let Some(DurableGrant::V2(given)) = given else { return None };
    let fields = &recorded(&"DH2Q")?.durable;
    differs("DH2Q timeout", fields.timeout, given.timeout)
        .or_else(|| differs("DH2Q flags", fields.flags, given.flags.bits()))
}

/// The name of the context that says so.
fn tag(grant: DurableGrant) -> &'static str {
    match grant {
        DurableGrant::V1(_) => "DHnQ",
        DurableGrant::V2(_) => "DH2Q",
    }
}

fn lease(version: Option<u64>, recorded: &LeaseFields, given: &Lease) -> Option<String> {
    let (number, parent) = match given {
        Lease::V1(_) => (1, None),
        Lease::V2(lease) => (2, lease.parent),
    };
    let flag = if parent.is_some() { LeaseFlags::PARENT_LEASE_KEY_SET } else { LeaseFlags::empty() };
    let flags = given.flags().union(flag).bits();
    differs("lease version", version, number)
        .or_else(|| differs("lease key", recorded.key, given.key()))
        .or_else(|| differs("lease state", recorded.state.map(state), given.state()))
        .or_else(|| differs("lease flags", recorded.flags, flags))
        .or_else(|| {
            let epoch = given.epoch()?;
            differs("lease epoch", recorded.epoch, epoch.get())
        })
        .or_else(|| {
            let octets = parent.map_or([0; 16], leasehold::LeaseKey::octets);
            differs("parent lease key", recorded.parent, leasehold::LeaseKey::new(octets))
        })
}

/// What was read, where it is known.
fn octets(recorded: &[u8], read: &[Option<u8>]) -> Option<String> {
    let wrong =
        recorded.iter().zip(read).position(|(expected, came)| came.is_some_and(|came| came != *expected));
    wrong.map(|at| format!("data: octet {at} is another"))
}

impl OplockNotice {
    /// What is wrong with the open that it is about.
    pub(super) fn elsewhere(&self, recorded: &Option<String>) -> Option<String> {
        differs("handle", recorded.as_deref(), self.handle.as_deref().unwrap_or("another"))
    }
}

/// A field that is not as recorded.
pub(super) fn differs<T: PartialEq + Display>(what: &str, recorded: Option<T>, came: T) -> Option<String> {
    let recorded = recorded.filter(|recorded| *recorded != came)?;
    Some(format!("{what}: expected {recorded}, came {came}"))
}

pub(super) fn state(bits: u32) -> LeaseState {
    LeaseState::from_bits_retain(bits)
}
