//! What became of files of lines.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::{Judgment, Outcome, judge};

/// Counts of lines by kind, and the failures in full.
#[derive(Debug, Default)]
pub struct Report {
    /// By kind.
    pub kinds: BTreeMap<String, Counts>,
    /// In order.
    pub failures: Vec<Failure>,
}

/// What became of the lines of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub lines: usize,
    /// Captured octets that came back.
    pub exact: usize,
    /// Captured octets that came back in the canonical form.
    pub by_meaning: usize,
    /// Malformed octets that were treated as they should be.
    pub as_expected: usize,
    /// Malformed octets without a verdict.
    pub unjudged: usize,
    /// Failures.
    pub failed: usize,
    /// How many lines were not canonical, by reason. A line may have several.
    pub reasons: BTreeMap<&'static str, usize>,
}

/// One line that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line, counted from one.
    pub line: usize,
    /// Its `id`.
    pub id: String,
    /// What was wrong.
    pub reason: String,
}

impl Report {
    /// Judges every line of a file. Blank lines are skipped; one that is no JSON is a failure.
    pub fn add(&mut self, lines: &str) {
        for (number, line) in (1..).zip(lines.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let Judgment { id, kind, verdict } = match serde_json::from_str::<Value>(line) {
                Ok(line) => judge(&line),
                Err(error) => Judgment {
                    id: format!("line {number}"),
                    kind: "unreadable".to_owned(),
                    verdict: Err(format!("no JSON: {error}")),
                },
            };
            let counts = self.kinds.entry(kind).or_default();
            counts.lines += 1;
            match verdict {
                Ok(Outcome::Exact) => counts.exact += 1,
                Ok(Outcome::ByMeaning(reasons)) => {
                    counts.by_meaning += 1;
                    for reason in reasons {
                        *counts.reasons.entry(reason).or_default() += 1;
                    }
                }
                Ok(Outcome::AsExpected) => counts.as_expected += 1,
                Ok(Outcome::Unjudged) => counts.unjudged += 1,
                Err(reason) => {
                    counts.failed += 1;
                    self.failures.push(Failure { line: number, id, reason });
                }
            }
        }
    }

    /// How many lines did not fail.
    pub fn passed(&self) -> usize {
        self.kinds.values().map(|counts| counts.lines - counts.failed).sum()
    }
}

/// The table, and under it why lines came back in the canonical form only.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["lines", "exact", "by meaning", "expected", "unjudged", "failed"];
        write!(f, "{:<26}", "kind")?;
        heads.iter().try_for_each(|head| write!(f, " {head:>10}"))?;
        writeln!(f)?;
        for (kind, counts) in &self.kinds {
            let Counts { lines, exact, by_meaning, as_expected, unjudged, failed, .. } = counts;
            write!(f, "{kind:<26}")?;
            let numbers = [lines, exact, by_meaning, as_expected, unjudged, failed];
            numbers.iter().try_for_each(|number| write!(f, " {number:>10}"))?;
            writeln!(f)?;
        }
        for (kind, counts) in &self.kinds {
            for (reason, lines) in &counts.reasons {
                writeln!(f, "by meaning: {kind}: {lines} with {reason}")?;
            }
        }
        Ok(())
    }
}
