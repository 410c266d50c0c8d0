//! Feeds recorded traces to a server and compares what it says with what was recorded, request by request.
//!
//! The schema of the traces is that of `tests/traces/README.md`; `trace` reads them. What the machine asks of a driver is
//! done by the [`Host`](crate::host::Host) that serves real clients, too.
//!
//! # What is compared
//!
//! | | compared | not compared, and why |
//! |---|---|---|
//! | every answer | status | MessageId, AsyncId, signing: not of the machine |
//! | CREATE | oplock level, action, end of file, attributes; of RqLs its version, key, state, flags, epoch, parent, or that there is none; that DHnQ is there or not; of DH2Q timeout and flags, or that there is none; `contexts_absent`; whether the handle, and the open, is one that was given before, and which | file ids, times: chosen by the server. Allocation: of its disk. Other contexts: not of the machine |
//! | READ, WRITE | length, count, data where both sides know them | |
//! | acknowledgments | of a lease key, state; of an oplock level, handle | flags: always 0 |
//! | LOCK, SET_INFO | status alone | there is nothing else |
//! | CLOSE | | attributes: no more than CREATE has |
//! | QUERY_INFO, QUERY_DIRECTORY, IOCTL | status alone | the file system here has no times, no ids and no order on disk |
//! | NEGOTIATE, SESSION_SETUP, TREE_CONNECT | nothing | their recorded answers are the terms under which the rest runs |
//! | lease breaks | client, key, states, epoch, flags | connection: any of the client will do (MS-SMB2 3.3.4.7). Reason, hints: reserved |
//! | oplock breaks | client, handle, level | connection: any of the session will do (MS-SMB2 3.3.4.6) |
//! | `interim` | nothing by itself | whether it is sent depends on time. What it proves is used, see `timing` |
//!
//! Labels stand for ids: the handle that a CREATE was answered with in the recording is the open that it was granted here.
//! A CREATE that is sent again gets the handle of the first; the first has no answer if its connection is lost meanwhile.
//! A field that a recorded line lacks is not compared, nor is the status of a response in `meta.status_not_asserted`. A
//! request without a recorded answer is fed and not judged. What cannot be fed yet ends the trace there, as a failure:
//! persistent handles, AppInstanceVersion, snapshots of the past, controls and information without code here.
//!
//! Recorded servers do some things otherwise than the machine does by default; `profiles` says which, and why.
//!
//! Answers and breaks are compared as sets between two things that the client did; see `timing`. In the end, when
//! every connection is closed, nothing may be left in the machine, nor open on the disk, once the time of what is durable has
//! passed.

mod answers;
mod breaks;
mod compare;
mod creates;
mod driver;
mod fields;
mod peers;
mod profiles;
mod request;
mod requests;
mod response;
pub mod story;
mod timing;
mod trace;

use std::fmt;

pub use compare::Difference;
use trace::Trace;

/// What became of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which trace.
    pub name: String,
    /// How many requests have no recorded answer.
    pub unanswered: usize,
    /// What is not as recorded, if anything is.
    pub difference: Option<Difference>,
}

/// Replays the lines of one trace. A file that is no trace is a difference at seq 0.
pub fn replay(name: &str, lines: &str) -> Report {
    let name = name.to_owned();
    match Trace::parse(&name, lines) {
        Ok(trace) => {
            let play = driver::play(&trace, profiles::habits(&name));
            let difference = compare::compare(&trace, &play);
            Report { name, unanswered: compare::unanswered(&trace), difference }
        }
        Err(malformed) => {
            let difference = Difference { seq: 0, what: malformed.to_string() };
            Report { name, unanswered: 0, difference: Some(difference) }
        }
    }
}

impl Report {
    /// Whether everything is as recorded.
    pub fn passed(&self) -> bool {
        self.difference.is_none()
    }
}

/// One line: the verdict, the trace, and the first difference.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "PASS" } else { "FAIL" };
        write!(f, "{verdict} {}", self.name)?;
        match self.unanswered {
            0 => {}
            1 => f.write_str(" (1 request without an answer, not judged)")?,
            more => write!(f, " ({more} requests without an answer, not judged)")?,
        }
        match &self.difference {
            Some(Difference { seq, what }) => write!(f, ": seq {seq}: {what}"),
            None => Ok(()),
        }
    }
}
