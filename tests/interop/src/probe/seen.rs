//! What was seen, in a line each: `A> ` is sent by the client A, `A< ` received, `A: ` told to its application.
//!
//! A lease is written with its epoch, `RWH/2`, or `RWH` if it is of version 1.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;

use leasehold::wire::{BreakFlags, DurableFlags, Lease, Notification, RequestContexts, ResponseContexts};
use leasehold::{Dialect, OplockLevel, Status};

/// The lines, of all clients together.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    pub(super) fn push(&self, line: String) {
        self.0.borrow_mut().push(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// What a CREATE asks for.
pub(super) fn asked(level: OplockLevel, contexts: &RequestContexts) -> String {
    let mut text = caching(level, contexts.lease.as_ref());
    let durable = contexts.durable;
    let flags = durable.dh2q.map(|v2| v2.flags).or(durable.dh2c.map(|v2| v2.flags)).unwrap_or_default();
    let names = [
        (durable.dhnq.is_some(), "DHnQ"),
        (durable.dhnc.is_some(), "DHnC"),
        (durable.dh2q.is_some(), "DH2Q"),
        (durable.dh2c.is_some(), "DH2C"),
    ];
    for (_, name) in names.into_iter().filter(|(there, _)| *there) {
        let _ = write!(text, " {name}{}", persistent(flags));
    }
    text
}

/// What the answer grants.
pub(super) fn granted(level: OplockLevel, contexts: &ResponseContexts) -> String {
    let mut text = caching(level, contexts.lease.as_ref());
    if contexts.durable.is_some() {
        text += " DHnQ";
    }
    if let Some(v2) = contexts.durable_v2 {
        let _ = write!(text, " DH2Q{} {} ms", persistent(v2.flags), v2.timeout);
    }
    text
}

/// A notification.
pub(super) fn broken(notification: &Notification) -> String {
    match notification {
        Notification::Oplock(body) => level(body.level).into(),
        Notification::Lease(body) => {
            let ack = if body.flags.contains(BreakFlags::ACK_REQUIRED) { " ack" } else { "" };
            format!("{}-{}/{}{ack}", body.current, body.new, body.epoch.get())
        }
    }
}

/// The name of a status without STATUS_.
pub(super) fn status(status: Status) -> String {
    status.name().map_or_else(|| status.to_string(), str::to_owned)
}

pub(super) fn dialect(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Smb202 => "2.0.2",
        Dialect::Smb210 => "2.1",
        Dialect::Smb300 => "3.0",
        Dialect::Smb302 => "3.0.2",
        Dialect::Smb311 => "3.1.1",
        _ => "?",
    }
}

pub(super) fn level(level: OplockLevel) -> &'static str {
    match level {
        OplockLevel::None => "NONE",
        OplockLevel::II => "II",
        OplockLevel::Exclusive => "EXCLUSIVE",
        OplockLevel::Batch => "BATCH",
        OplockLevel::Lease => "LEASE",
        OplockLevel::Undefined(_) => "UNDEFINED",
    }
}

fn caching(of: OplockLevel, lease: Option<&Lease>) -> String {
    match lease {
        None => level(of).into(),
        Some(Lease::V1(lease)) => lease.state.to_string(),
        Some(Lease::V2(lease)) => format!("{}/{}", lease.state, lease.epoch.get()),
    }
}

fn persistent(flags: DurableFlags) -> &'static str {
    if flags.contains(DurableFlags::PERSISTENT) { " persistent" } else { "" }
}
