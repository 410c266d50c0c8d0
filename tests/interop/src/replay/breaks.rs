//! Notifications, as a set: each recorded one must have come, in its time and to its client, and no other.

use leasehold::ClientGuid;
use leasehold::wire::{BreakFlags, LeaseBreak};

use super::answers::{differs, state};
use super::compare::Difference;
use super::driver::{Cause, Notice, OplockNotice, Play, Said};
use super::response::{Break, BreakKind};
use super::timing::Clock;
use super::trace::{Event, Line, Trace};

/// A notification that came.
struct Came<'p> {
    cause: Cause,
    client: Option<ClientGuid>,
    notice: &'p Notice,
    taken: bool,
}

/// What is not as recorded, up to the line `end`.
pub(super) fn compare(trace: &Trace, play: &Play, clock: &Clock<'_>, end: u64) -> Vec<Difference> {
    let came = |(cause, what)| match what {
        &Said::Break { client, ref notice } => Some(Came { cause, client, notice, taken: false }),
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
    for Came { cause, notice, .. } in came.iter().filter(|came| !came.taken) {
        let what = format!("expected no break, came {}", describe(notice));
        found.push(Difference { seq: cause.after, what });
    }
    found
}

/// What came in place of a notification: one of the same lease or oplock in its time, the same one at another time, or any
/// other in its time.
fn instead(trace: &Trace, clock: &Clock<'_>, line: &Line, told: &Break, came: &mut [Came<'_>]) -> Difference {
    let in_time = |came: &Came<'_>| !came.taken && clock.moment(line, &came.cause).is_none();
    let own = |came: &Came<'_>| in_time(came) && same_holder(&told.kind, came.notice);
    let same = |came: &Came<'_>| !came.taken && content(trace, line, told, came).is_none();
    let index = came.iter().position(own).or_else(|| came.iter().position(same));
    let index = index.or_else(|| came.iter().position(in_time));
    let Some(other) = index.and_then(|index| came.get_mut(index)) else {
        let what = match &told.kind {
            BreakKind::Lease { key, current, new, .. } => {
                let states = match (current, new) {
                    (Some(current), Some(new)) => format!(" {} to {}", state(*current), state(*new)),
                    (None, _) | (_, None) => String::new(),
                };
                format!("break{}{states}", key.map(|key| format!(" of lease {key}")).unwrap_or_default())
            }
            BreakKind::Oplock { level, handle } => {
                let level = level.map(|level| format!(" to {level}")).unwrap_or_default();
                format!("break of the oplock of {}{level}", handle.as_deref().unwrap_or("a handle"))
            }
        };
        return Difference { seq: line.seq, what: format!("{what}: expected, none came") };
    };
    other.taken = true;
    let what = content(trace, line, told, other).or_else(|| clock.moment(line, &other.cause));
    let what = format!("break of {}: {}", holder(other.notice), what.unwrap_or_default());
    // What came before its time was wrong when it came.
    let early = clock.moment(line, &other.cause).is_some() && other.cause.after < line.seq;
    Difference { seq: if early { other.cause.after } else { line.seq }, what }
}

/// Whether both are about one lease or one oplock, as far as it was recorded.
fn same_holder(told: &BreakKind, came: &Notice) -> bool {
    match (told, came) {
        (BreakKind::Lease { key, .. }, Notice::Lease(body)) => key.is_none_or(|key| key == body.key),
        (BreakKind::Oplock { handle, .. }, Notice::Oplock(notice)) => {
            handle.is_none() || *handle == notice.handle
        }
        (BreakKind::Lease { .. }, Notice::Oplock(_)) | (BreakKind::Oplock { .. }, Notice::Lease(_)) => false,
    }
}

/// What of a notification is not as recorded.
fn content(trace: &Trace, line: &Line, told: &Break, came: &Came<'_>) -> Option<String> {
    let label = told.client.as_deref().or_else(|| trace.client_on(line.conn.as_deref()?));
    let client = label.map(|label| trace.client(label));
    let body = match (&told.kind, came.notice) {
        (&BreakKind::Lease { key, current, new, epoch, flags, ack_required }, Notice::Lease(body)) => {
            differs("key", key, body.key)
                .or_else(|| differs("current state", current.map(state), body.current))
                .or_else(|| differs("new state", new.map(state), body.new))
                .or_else(|| differs("epoch", epoch, body.epoch.get()))
                .or_else(|| differs("flags", flags, body.flags.bits()))
                .or_else(|| {
                    differs("ack_required", ack_required, body.flags.contains(BreakFlags::ACK_REQUIRED))
                })
        }
        (BreakKind::Oplock { level, handle }, Notice::Oplock(notice)) => {
            differs("oplock level", *level, notice.level).or_else(|| notice.elsewhere(handle))
        }
        (BreakKind::Lease { .. }, Notice::Oplock(_)) => {
            Some("expected one of a lease, came one of an oplock".to_owned())
        }
        (BreakKind::Oplock { .. }, Notice::Lease(_)) => {
            Some("expected one of an oplock, came one of a lease".to_owned())
        }
    };
    body.or_else(|| {
        let came = came.client?;
        differs("client", client, came)
    })
}

fn describe(notice: &Notice) -> String {
    match notice {
        Notice::Lease(LeaseBreak { epoch, flags, current, new, .. }) => {
            let (epoch, flags) = (epoch.get(), flags.bits());
            format!("one of {} {current} to {new}, epoch {epoch}, flags {flags}", holder(notice))
        }
        Notice::Oplock(OplockNotice { level, .. }) => format!("one of {} to {level}", holder(notice)),
    }
}

fn holder(notice: &Notice) -> String {
    match notice {
        Notice::Lease(body) => format!("lease {}", body.key),
        Notice::Oplock(notice) => {
            format!("the oplock of {}", notice.handle.as_deref().unwrap_or("a handle that was not recorded"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::driver::Output;

    const RECORDING: &str = r#"{"ev":"meta"}
        {"seq":1,"t_ms":0,"ev":"req","conn":"c1","client":"g1","cmd":"ECHO"}
        {"seq":2,"t_ms":1,"ev":"break","conn":"c1","client":"g1","kind":"oplock","oplock":1,"h":"h1"}"#;

    /// What is wrong if the server said this.
    fn differences(said: &[(u8, &str)]) -> Vec<String> {
        let trace = Trace::parse("", RECORDING).unwrap();
        let output = |(level, handle): &(u8, &str)| {
            let notice = Notice::Oplock(OplockNotice { level: *level, handle: Some((*handle).to_owned()) });
            let what = Said::Break { client: Some(trace.client("g1")), notice };
            Output { cause: Cause { after: 1, ..Cause::default() }, what }
        };
        let play = Play { outputs: said.iter().map(output).collect(), stopped: None };
        let found = compare(&trace, &play, &Clock::new(&trace), u64::MAX);
        found.into_iter().map(|difference| difference.what).collect()
    }

    #[test]
    fn an_oplock_break_is_that_of_a_handle_to_a_level() {
        assert_eq!(differences(&[(1, "h1")]), [""; 0]);
        assert_eq!(differences(&[]), ["break of the oplock of h1 to 1: expected, none came"]);
        assert_eq!(
            differences(&[(0, "h1")]),
            ["break of the oplock of h1: oplock level: expected 1, came 0"]
        );
        assert_eq!(differences(&[(1, "h2")]), ["break of the oplock of h2: handle: expected h1, came h2"]);
        assert_eq!(
            differences(&[(1, "h1"), (1, "h1")]),
            ["expected no break, came one of the oplock of h1 to 1"]
        );
    }
}
