//! Action lines.

use leasehold::server::{Action, DelegationKind, DurableGrant, Grant, Link, Misuse, Protection};
use leasehold::wire::{BreakFlags, DurableFlags, LeaseFlags};
use leasehold::{CreateAction, Locker, OplockLevel};

use super::names::{Holder, Names};
use super::store;
use super::values::{action_name, file_name, key_name, level_name, owner_name, owner_range_name};

/// Writes an action down, and learns the names that it brings.
pub(crate) fn line(names: &mut Names, action: Action) -> String {
    match action {
        Action::OpenFile { request, file_id } => {
            names.opening(request, file_id);
            format!("open r{}", request.get())
        }
        Action::Resolve { request } => {
            names.again(request);
            format!("resolve r{}", request.get())
        }
        Action::Interim { request } => format!("interim r{}", request.get()),
        Action::Proceed { request, ticket } => {
            names.proceeds(request, ticket);
            format!("proceed r{}", request.get())
        }
        Action::Granted { request, grant } => {
            names.given_back(grant.file_id);
            format!("granted r{} {}", request.get(), granted(&grant))
        }
        Action::Refused { request, status } => format!("refused r{} {status}", request.get()),
        Action::Closed { request } => format!("closed r{}", request.get()),
        Action::Persist { seq, change } => store::line(names, seq, &change),
        Action::Accepted { request } => format!("accepted r{}", request.get()),
        Action::SendLeaseBreak { id, conn, protection, body } => {
            names.sends(conn, Holder::Lease(body.key), id);
            let ack = if body.flags.contains(BreakFlags::ACK_REQUIRED) { "ack" } else { "no-ack" };
            let unknown = flags(body.flags.difference(BreakFlags::ACK_REQUIRED).bits());
            format!(
                "lease-break c{} {} {}->{} epoch={} {ack}{unknown}{}",
                conn.get(),
                key_name(body.key),
                body.current,
                body.new,
                body.epoch.get(),
                protected(protection),
            )
        }
        Action::SendOplockBreak { id, conn, session, protection, body } => {
            names.sends(conn, Holder::Oplock(body.file_id), id);
            let session = match session.get() {
                usual if usual == conn.get() => String::new(),
                other => format!(" session=s{other}"),
            };
            let (open, level) = (names.open_name(body.file_id), level_name(body.level));
            format!("oplock-break c{} {open} {level}{session}{}", conn.get(), protected(protection))
        }
        Action::AnswerLeaseAck { request, result } => match result {
            Ok(ack) => format!("answer r{} {} {}", request.get(), key_name(ack.key), ack.state),
            Err(status) => format!("answer r{} {status}", request.get()),
        },
        Action::AnswerOplockAck { request, result } => match result {
            Ok(ack) => {
                format!(
                    "answer r{} {} {}",
                    request.get(),
                    names.open_name(ack.file_id),
                    level_name(ack.level)
                )
            }
            Err(status) => format!("answer r{} {status}", request.get()),
        },
        Action::Recall { owner, file, kind, .. } => {
            let kind = match kind {
                DelegationKind::Read => "read",
                DelegationKind::Write => "write",
            };
            format!("recall {} {} {kind}", owner_name(owner), file_name(file))
        }
        Action::Revoked { owner, file } => format!("revoked {} {}", owner_name(owner), file_name(file)),
        Action::Repeated { request, first } => format!("repeated r{} of r{}", request.get(), first.get()),
        Action::Tested { request, conflict: None } => format!("tested r{} free", request.get()),
        Action::Tested { request, conflict: Some(lock) } => {
            let holder = match lock.locker {
                Locker::Open(persistent) => names.lasting(persistent),
                Locker::Owner(owner) => owner_name(owner),
            };
            let kind = if lock.exclusive { "exclusive" } else { "shared" };
            format!("tested r{} {holder} {} {kind}", request.get(), owner_range_name(lock.offset, lock.len))
        }
        Action::Unlink { file } => format!("unlink {}", file_name(file)),
        Action::CloseFile { file_id, link } => {
            let link = match link {
                Link::Keep => "keep",
                Link::Remove => "remove",
            };
            format!("close-file {} {link}", names.open_name(file_id))
        }
    }
}

/// What the machine says of an event that breaks the driver's contract.
pub(crate) fn misuse(misuse: Misuse) -> String {
    format!("misuse: {misuse}")
}

fn granted(grant: &Grant) -> String {
    let mut words = Vec::new();
    match (grant.level, grant.lease) {
        (OplockLevel::None, None) => words.push("none".to_owned()),
        (OplockLevel::Lease, Some(_)) => {}
        (level, _) => words.push(format!("oplock={}", level_name(level))),
    }
    if let Some(lease) = grant.lease {
        words.push(format!("lease={}:{}", key_name(lease.key()), lease.state()));
        match lease.epoch() {
            Some(epoch) => words.push(format!("epoch={}", epoch.get())),
            None => words.push("v1".to_owned()),
        }
        words.extend(lease.parent().map(|parent| format!("parent={}", key_name(parent))));
        if lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS) {
            words.push("breaking".to_owned());
        }
    }
    let unknown = grant.lease.map_or(LeaseFlags::empty(), |lease| lease.flags());
    let unknown = flags(unknown.difference(LeaseFlags::BREAK_IN_PROGRESS).bits());
    if grant.action != CreateAction::Opened {
        words.push(action_name(grant.action).to_owned());
    }
    match grant.durable {
        Some(DurableGrant::V1(_)) => words.push("durable".to_owned()),
        Some(DurableGrant::V2(response)) => {
            let persistent = response.flags.contains(DurableFlags::PERSISTENT);
            words.push(format!("{}={}", if persistent { "persistent" } else { "durable" }, response.timeout));
        }
        None => {}
    }
    words.join(" ") + &unknown
}

/// Flags that have no word of their own.
fn flags(bits: u32) -> String {
    if bits == 0 { String::new() } else { format!(" flags={bits:#x}") }
}

/// Nothing for clear text, which is the usual.
fn protected(protection: Protection) -> &'static str {
    match protection {
        Protection::Plain => "",
        Protection::OfSession => " of-session",
    }
}
