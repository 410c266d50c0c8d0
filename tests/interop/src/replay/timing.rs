//! When something may be said: between which two things that the client did.
//!
//! The machine answers in no time, the recorded server took some. An answer that was recorded behind what the client did
//! next may have been on its way already, so the recording does not always say what brought it about. What it does say:
//!
//! * **Too late.** What the server said before the client did something was not brought about by that. So nothing may
//!   come after a line of the client that was recorded behind it. This holds without exception.
//! * **Too early, by order.** A server takes the requests of one connection in order. An answer that was recorded behind
//!   the answer to a *later* request was held back at least until that request, so it may not come before it. On other
//!   connections the server is another process, and orders within some microseconds are no promise: there this counts only
//!   for an answer that took longer than [`RACE`], and never for CLOSE, TREE_DISCONNECT and LOGOFF, which wait for nobody
//!   (MS-SMB2 3.3.5.6, 3.3.5.8, 3.3.5.10).
//! * **Too early, by word.** A CREATE of which the server said that it waits may not be answered at once. (The server says
//!   so of reads and writes that the disk holds up, too; there it means nothing. Nor does it prove anything until
//!   [`CROSSING`] after another connection was lost: what was open there is closed, or kept, by another process, and the
//!   CREATE may have waited for that.)
//! * **Too early, by time.** Nothing takes a server longer than [`PATIENCE`] but waiting, and nothing that the client can
//!   overtake takes longer than [`CROSSING`].
//!
//! What a deadline brings about is held to the moment alone, within [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet};

use super::driver::Cause;
use super::request::{Command, Request};
use super::trace::{Event, Line, Trace};

/// Within so many microseconds answers on different connections can overtake each other. After about as many Samba says
/// of a request that it waits.
const RACE: u64 = 500;
/// So many microseconds later the client has seen everything that is not waiting for something, or can have seen it.
const CROSSING: u64 = 10_000;
/// More microseconds than any recorded server took for what does not wait, fewer than any test lets pass on purpose.
const PATIENCE: u64 = 500_000;

/// A recording, as far as its order and times go.
pub(super) struct Clock<'t> {
    /// What the client did.
    steps: Vec<&'t Line>,
    /// Requests, with the place of their answers.
    requests: BTreeMap<u64, Asked<'t>>,
    /// Requests of which the server said that they wait.
    waited: BTreeSet<u64>,
}

struct Asked<'t> {
    line: &'t Line,
    request: &'t Request,
    answered: Option<u64>,
}

impl<'t> Clock<'t> {
    pub(super) fn new(trace: &'t Trace) -> Self {
        let places: BTreeMap<u64, u64> =
            trace.responses().map(|(line, response)| (response.request, line.seq)).collect();
        let asked = |(line, request): (&'t Line, &'t Request)| {
            (line.seq, Asked { line, request, answered: places.get(&line.seq).copied() })
        };
        let mut waited = BTreeSet::new();
        let mut steps = Vec::new();
        for line in &trace.lines {
            match line.event {
                Event::Connect | Event::Disconnect | Event::Request(_) => steps.push(line),
                Event::Interim(request) => {
                    waited.insert(request);
                }
                Event::Response(_) | Event::Break(_) | Event::Unknown(_) => {}
            }
        }
        Self { steps, requests: trace.requests().map(asked).collect(), waited }
    }

    /// What is wrong with the moment of an answer to the request `seq` that was recorded at `line`.
    pub(super) fn answer(&self, line: &Line, seq: u64, cause: &Cause) -> Option<String> {
        let early = |bound: u64, why: &str| {
            let Cause { after, .. } = *cause;
            Some(format!("came too early: after seq {after}, expected not before seq {bound} ({why})"))
        };
        if let Some(asked) = self.requests.get(&seq).filter(|_| !cause.deadline) {
            if let Some(bound) = self.held_until(line, asked).filter(|bound| cause.after < *bound) {
                return early(bound, "which was answered before");
            }
            let waits = matches!(asked.request.command, Command::Create(_)) && self.waited.contains(&seq);
            if waits && cause.after <= seq && !self.clears_up(line, asked) {
                return Some("came at once, expected to wait for something".to_owned());
            }
        }
        self.moment(line, cause)
    }

    /// Whether the server may have had to clear up behind another connection before it answered.
    fn clears_up(&self, line: &Line, asked: &Asked<'_>) -> bool {
        self.steps.iter().any(|step| {
            let lost = matches!(step.event, Event::Disconnect) && step.conn != asked.line.conn;
            lost && step.seq < asked.line.seq && line.at.micros_since(step.at) <= CROSSING
        })
    }

    /// What is wrong with the moment of something that was recorded at `line`.
    pub(super) fn moment(&self, line: &Line, cause: &Cause) -> Option<String> {
        let Cause { after, at, deadline } = *cause;
        let since = line.at.micros_since(at);
        if deadline {
            let apart = since.max(at.micros_since(line.at));
            return (apart > PATIENCE)
                .then(|| format!("came by a deadline at {at}, expected at {}", line.at));
        }
        if after > line.seq {
            return Some(format!("came too late: not before seq {after}"));
        }
        if since > PATIENCE {
            return Some(format!("came too early: at {at}, expected at {}", line.at));
        }
        let last = self.steps.iter().rev().find(|step| step.seq < line.seq)?;
        let crossed = after < last.seq && since > CROSSING;
        crossed.then(|| format!("came too early: after seq {after}, expected after seq {}", last.seq))
    }

    /// The last request at which the answer to `asked` is known to have been held back.
    fn held_until(&self, line: &Line, asked: &Asked<'_>) -> Option<u64> {
        let took = line.at.micros_since(asked.line.at);
        let may_wait = match asked.request.command {
            Command::Close { .. } | Command::TreeDisconnect | Command::Logoff => false,
            _ => took > RACE,
        };
        let later = self.requests.range(asked.line.seq..line.seq).rev();
        let proof = |other: &Asked<'_>| {
            let before = other.line.seq > asked.line.seq && other.answered.is_some_and(|at| at < line.seq);
            before && (may_wait || other.line.conn == asked.line.conn)
        };
        later.map(|(_, other)| other).find(|other| proof(other)).map(|other| other.line.seq)
    }
}
