//! Notifications, as a set: each recorded one must have come, in its time and to its client, and no other.

use leasehold::ClientGuid;
use leasehold::wire::{BreakFlags, LeaseBreak};

use super::answers::{differs, state};
use super::compare::Difference;
use super::driver::{Cause, Play, Said};
use super::response::{Break, BreakKind};
use super::timing::Clock;
use super::trace::{Event, Line, Trace};

/// A notification that came.
struct Came<'p> {
    cause: Cause,
    client: Option<ClientGuid>,
    body: &'p LeaseBreak,
    taken: bool,
}

/// What is not as recorded, up to the line `end`.
pub(super) fn compare(trace: &Trace, play: &Play, clock: &Clock<'_>, end: u64) -> Vec<Difference> {
    let came = |(cause, what)| match what {
        &Said::Break { client, ref body } => Some(Came { cause, client, body, taken: false }),
        Said::Answer { .. } => None,
    };
    let mut came: Vec<_> =
        play.outputs.iter().map(|output| (output.cause, &output.what)).filter_map(came).collect();
    let recorded = trace.lines.iter().filter_map(|line| match &line.event {
        Event::Break(told) => Some((line, told)),
        Event::Connect
        | Event::Disconnect
        | Event::Request(_)
        | Event::Response(_)
        | Event::Interim(_)
        | Event::Unknown(_) => None,
    });
    // First what is right, so that nothing right is taken for something else gone wrong.
    let mut missing = Vec::new();
    for (line, told) in recorded {
        let right = |came: &&mut Came<'_>| {
            !came.taken
                && content(trace, line, told, came).is_none()
                && clock.moment(line, &came.cause).is_none()
        };
        match came.iter_mut().find(right) {
            Some(came) => came.taken = true,
            None => missing.push((line, told)),
        }
    }
    let mut found = Vec::new();
    for (line, told) in missing.into_iter().filter(|(line, _)| line.seq < end) {
        found.push(instead(trace, clock, line, told, &mut came));
    }
    for Came { cause, body, .. } in came.iter().filter(|came| !came.taken) {
        let what = format!("expected no break, came {}", describe(body));
        found.push(Difference { seq: cause.after, what });
    }
    found
}

/// What came in place of a notification: one of the same lease in its time, the same one at another time, or any other in
/// its time.
fn instead(trace: &Trace, clock: &Clock<'_>, line: &Line, told: &Break, came: &mut [Came<'_>]) -> Difference {
    let BreakKind::Lease { key, current, new, .. } = &told.kind else {
        return Difference { seq: line.seq, what: "break of an oplock: expected one, none came".to_owned() };
    };
    let in_time = |came: &Came<'_>| {
        !came.taken && key.is_none_or(|key| key == came.body.key) && clock.moment(line, &came.cause).is_none()
    };
    let same = |came: &Came<'_>| !came.taken && content(trace, line, told, came).is_none();
    let other_key = |came: &Came<'_>| !came.taken && clock.moment(line, &came.cause).is_none();
    let index = came.iter().position(in_time).or_else(|| came.iter().position(same));
    let index = index.or_else(|| came.iter().position(other_key));
    let Some(other) = index.and_then(|index| came.get_mut(index)) else {
        let states = match (current, new) {
            (Some(current), Some(new)) => format!(" {} to {}", state(*current), state(*new)),
            (None, _) | (_, None) => String::new(),
        };
        let key = key.map(|key| format!(" of lease {key}")).unwrap_or_default();
        return Difference { seq: line.seq, what: format!("break{key}{states}: expected, none came") };
    };
    other.taken = true;
    let what = content(trace, line, told, other).or_else(|| clock.moment(line, &other.cause));
    let what = format!("break of lease {}: {}", other.body.key, what.unwrap_or_default());
    // What came before its time was wrong when it came.
    let early = clock.moment(line, &other.cause).is_some() && other.cause.after < line.seq;
    Difference { seq: if early { other.cause.after } else { line.seq }, what }
}

/// What of a notification is not as recorded.
fn content(trace: &Trace, line: &Line, told: &Break, came: &Came<'_>) -> Option<String> {
    let BreakKind::Lease { key, current, new, epoch, flags, ack_required } = &told.kind else {
        return Some("expected one of an oplock, came one of a lease".to_owned());
    };
    let body = came.body;
    let label = told.client.as_deref().or_else(|| trace.client_on(line.conn.as_deref()?));
    let client = label.map(|label| trace.client(label));
    differs("key", *key, body.key)
        .or_else(|| differs("current state", current.map(state), body.current))
        .or_else(|| differs("new state", new.map(state), body.new))
        .or_else(|| differs("epoch", *epoch, body.epoch.get()))
        .or_else(|| differs("flags", *flags, body.flags.bits()))
        .or_else(|| differs("ack_required", *ack_required, body.flags.contains(BreakFlags::ACK_REQUIRED)))
        .or_else(|| {
            let came = came.client?;
            differs("client", client, came)
        })
}

fn describe(body: &LeaseBreak) -> String {
    let LeaseBreak { epoch, flags, key, current, new } = body;
    format!("one of lease {key} {current} to {new}, epoch {}, flags {}", epoch.get(), flags.bits())
}
