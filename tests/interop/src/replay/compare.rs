//! Holds what came of a recording against the recording.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::Status;

use super::answers;
use super::breaks;
use super::driver::{Body, Cause, Play, Said, Stop};
use super::request::{Command, Request};
use super::requests::FORGET_PEER;
use super::response::Response;
use super::timing::Clock;
use super::trace::{Line, Trace};
use crate::fs::nt;

/// The first thing that is not as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: the `seq` of what was expected, else of what the client did last.
    pub seq: u64,
    /// What was expected, and what came.
    pub what: String,
}

/// What the server said to a request.
struct Answer<'p> {
    cause: Cause,
    status: Status,
    body: &'p Body,
}

/// The first difference, if there is one.
pub(super) fn compare(trace: &Trace, play: &Play) -> Option<Difference> {
    differences(trace, play).into_iter().min_by_key(|difference| difference.seq)
}

/// All differences. Later ones may follow from the first. The last is why it stopped, if it did.
pub(super) fn differences(trace: &Trace, play: &Play) -> Vec<Difference> {
    let end = play.stopped.as_ref().map_or(u64::MAX, |(seq, _)| *seq);
    let clock = Clock::new(trace);
    let mut found = breaks::compare(trace, play, &clock, end);
    let requests: BTreeMap<u64, (&Line, &Request)> =
        trace.requests().map(|(line, request)| (line.seq, (line, request))).collect();
    let answers = answers_of(play, &mut found);
    for (line, response) in trace.responses().filter(|(line, _)| line.seq < end) {
        let Some((asked, request)) = requests.get(&response.request) else { continue };
        if !judged(&request.command) {
            continue;
        }
        let answer = answers.get(&response.request);
        if let Some(what) = judge(trace, &clock, line, response, answer) {
            let place = format!("{} of seq {}", request.command.name(), asked.seq);
            found.push(Difference { seq: line.seq, what: format!("{place}: {what}") });
        }
    }
    if let Some((seq, stop)) = &play.stopped {
        let what = match stop {
            Stop::Unsupported(what) => format!("not supported yet: {what}"),
            Stop::Misuse(misuse) => format!("the machine was misused: {misuse}"),
            Stop::Fault(what) => format!("the machine cannot be right: {what}"),
        };
        found.push(Difference { seq: *seq, what });
    }
    found
}

/// How many requests have no recorded answer, so that none was judged. CANCEL never has one.
pub(super) fn unanswered(trace: &Trace) -> usize {
    let answered: BTreeSet<u64> = trace.responses().map(|(_, response)| response.request).collect();
    let wants =
        |request: &Request| !matches!(request.command, Command::Cancel { .. }) && judged(&request.command);
    trace.requests().filter(|(line, request)| wants(request) && !answered.contains(&line.seq)).count()
}

/// Whether an answer to it is judged. What was agreed when a client arrived is given, and the test-only control is left
/// out.
fn judged(command: &Command) -> bool {
    !matches!(
        command,
        Command::Negotiate { .. }
            | Command::SessionSetup { .. }
            | Command::TreeConnect { .. }
            | Command::Ioctl { control: FORGET_PEER, .. }
    )
}

/// What the server said to each request. To say something twice is a difference.
fn answers_of<'p>(play: &'p Play, found: &mut Vec<Difference>) -> BTreeMap<u64, Answer<'p>> {
    let mut answers = BTreeMap::new();
    for output in &play.outputs {
        let Said::Answer { request, status, body } = &output.what else { continue };
        let answer = Answer { cause: output.cause, status: *status, body };
        if answers.insert(*request, answer).is_some() {
            let what = format!("seq {request} is answered a second time");
            found.push(Difference { seq: output.cause.after, what });
        }
    }
    answers
}

/// What is wrong with an answer.
fn judge(
    trace: &Trace,
    clock: &Clock<'_>,
    line: &Line,
    response: &Response,
    answer: Option<&Answer<'_>>,
) -> Option<String> {
    let Some(Answer { cause, status, body }) = answer else {
        return Some(format!("expected {}, nothing came", nt::name(response.status)));
    };
    let asserted = !trace.status_not_asserted.contains(&line.seq);
    if asserted && *status != response.status {
        return Some(format!("status: expected {}, came {}", nt::name(response.status), nt::name(*status)));
    }
    answers::compare(response, body).or_else(|| clock.answer(line, response.request, cause))
}
