//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;

use leasehold::Stats;

use super::digest::Digest;
use super::plan::Fault;

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    pub check: &'static str,
    pub detail: String,
    pub step: u64,
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} at {} ms: {}: {}", self.step, self.at, self.check, self.detail)
    }
}

#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub events: u64,
    pub faults: BTreeMap<Fault, u64>,
    /// READs that were answered, from the cache and in all.
    pub cached: u64,
    pub reads: u64,
    /// Writes that were kept back, and in all.
    pub kept_back: u64,
    pub writes: u64,
    pub written_back: u64,
    pub breaks: u64,
    pub timed_out: u64,
    /// Opens that the server gave back, and those that their clients then had.
    pub reconnects: u64,
    pub reclaimed: u64,
    /// Handles that were kept and taken up again.
    pub taken_up: u64,
    pub lost: BTreeMap<String, u64>,
    /// Pages whose unwritten data went with their cause.
    pub dirty_lost: u64,
    pub quiets: u64,
    /// What those did who speak other protocols.
    pub beside: BTreeMap<&'static str, u64>,
    pub digest: Digest,
    pub violation: Option<Violation>,
    pub history: Vec<String>,
}

impl Report {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            events: 0,
            faults: BTreeMap::new(),
            cached: 0,
            reads: 0,
            kept_back: 0,
            writes: 0,
            written_back: 0,
            breaks: 0,
            timed_out: 0,
            reconnects: 0,
            reclaimed: 0,
            taken_up: 0,
            lost: BTreeMap::new(),
            dirty_lost: 0,
            quiets: 0,
            beside: BTreeMap::new(),
            digest: Digest::default(),
            violation: None,
            history: Vec::new(),
        }
    }

    pub(super) fn add_stats(&mut self, stats: &Stats) {
        self.breaks += stats.lease_breaks_sent + stats.oplock_breaks_sent;
        self.timed_out += stats.breaks_timed_out;
        self.reconnects += stats.reconnected;
    }

    pub(super) fn finish(&mut self, events: u64, digest: Digest, stats: Option<Stats>) {
        (self.events, self.digest) = (events, digest);
        if let Some(stats) = stats {
            self.add_stats(&stats);
        }
    }

    /// Both together; digests in the order in which they come.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.events, other.events),
            (&mut self.cached, other.cached),
            (&mut self.reads, other.reads),
            (&mut self.kept_back, other.kept_back),
            (&mut self.writes, other.writes),
            (&mut self.written_back, other.written_back),
            (&mut self.breaks, other.breaks),
            (&mut self.timed_out, other.timed_out),
            (&mut self.reconnects, other.reconnects),
            (&mut self.reclaimed, other.reclaimed),
            (&mut self.taken_up, other.taken_up),
            (&mut self.dirty_lost, other.dirty_lost),
            (&mut self.quiets, other.quiets),
        ] {
            *sum += more;
        }
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        for (what, times) in &other.beside {
            *self.beside.entry(*what).or_default() += times;
        }
        for (reason, times) in &other.lost {
            *self.lost.entry(reason.clone()).or_default() += times;
        }
        self.digest.add(other.digest.value());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "events       {}", self.events)?;
        writeln!(f, "reads        {} (from a cache {})", self.reads, self.cached)?;
        writeln!(
            f,
            "writes       {} (kept back {}, written back {}, lost with a report {})",
            self.writes, self.kept_back, self.written_back, self.dirty_lost
        )?;
        let faults: Vec<_> = self.faults.iter().map(|(fault, times)| format!("{fault:?} {times}")).collect();
        writeln!(f, "faults       {}", faults.join(", "))?;
        writeln!(f, "breaks       {} (timed out {})", self.breaks, self.timed_out)?;
        writeln!(f, "reconnects   {}", self.reconnects)?;
        writeln!(f, "reclaimed    {} (kept handles taken up {})", self.reclaimed, self.taken_up)?;
        let lost: Vec<_> = self.lost.iter().map(|(reason, times)| format!("{reason} {times}")).collect();
        writeln!(f, "lost         {}", lost.join(", "))?;
        let beside: Vec<_> = self.beside.iter().map(|(what, times)| format!("{what} {times}")).collect();
        writeln!(f, "neighbours   {}", beside.join(", "))?;
        writeln!(f, "quiet times  {}", self.quiets)?;
        writeln!(f, "violations   {}", u8::from(self.violation.is_some()))?;
        write!(f, "digest       {}", self.digest)
    }
}
