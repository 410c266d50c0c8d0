//! Judges lines of vector files: octets that went over the wire beside what another decoder made of them, and malformed
//! octets beside what a decoder has to make of them.
//!
//! | schema | recognised by | what is judged |
//! |---|---|---|
//! | captured | `kind` | every field of the other decode, then the octets that leasehold writes back |
//! | malformed | `target` | whether leasehold accepts or refuses them |
//!
//! Expected values come from the line alone, never from leasehold. What it writes back is the captured octets, but for
//! deviations from the canonical form that are found in the captured octets and have a name. A line that does not say
//! what this module knows how to judge is a failure: no kind, no field and no verdict is skipped silently.

#[path = "vectors/bodies.rs"]
mod bodies;
#[path = "vectors/captured.rs"]
mod captured;
#[path = "vectors/chains.rs"]
mod chains;
#[path = "vectors/creates.rs"]
mod creates;
#[path = "vectors/malformed.rs"]
mod malformed;
#[path = "vectors/messages.rs"]
mod messages;
#[path = "vectors/octets.rs"]
mod octets;
#[path = "vectors/report.rs"]
mod report;
#[path = "vectors/said.rs"]
mod said;

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

pub use report::{Counts, Failure, Report};

/// How a line passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every field is as decoded elsewhere, and the captured octets came back.
    Exact,
    /// Every field is as decoded elsewhere. The octets that came back differ in ways that have names.
    ByMeaning(BTreeSet<&'static str>),
    /// Malformed octets were accepted or refused as they should be.
    AsExpected,
    /// Malformed octets on which there is no verdict: nothing panicked.
    Unjudged,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgment {
    /// The line's `id`.
    pub id: String,
    /// The line's `kind`, or `malformed` and its `target`.
    pub kind: String,
    /// How it passed, or why it did not.
    pub verdict: Result<Outcome, String>,
}

/// Judges one line. A panic is a failure of that line.
pub fn judge(line: &Value) -> Judgment {
    let text = |key| line.get(key).and_then(Value::as_str);
    let id = text("id").unwrap_or("without id").to_owned();
    let (kind, judged) = match (text("kind"), text("target")) {
        (Some(kind), None) => (kind.to_owned(), catch_unwind(AssertUnwindSafe(|| captured::judge(line)))),
        (None, Some(target)) => {
            (format!("malformed {target}"), catch_unwind(AssertUnwindSafe(|| malformed::judge(line))))
        }
        (Some(_), Some(_)) => ("unknown".to_owned(), Ok(Err("both a kind and a target".to_owned()))),
        (None, None) => ("unknown".to_owned(), Ok(Err("neither a kind nor a target".to_owned()))),
    };
    let verdict = judged.unwrap_or_else(|panic| Err(format!("panicked: {}", message(panic.as_ref()))));
    Judgment { id, kind, verdict }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match panic.downcast_ref::<&str>() {
        Some(text) => text,
        None => panic.downcast_ref::<String>().map_or("without a message", String::as_str),
    }
}

/// The string under a key that a line has to have.
fn text<'a>(line: &'a Value, key: &str) -> Result<&'a str, String> {
    line.get(key).and_then(Value::as_str).ok_or_else(|| format!("no string `{key}`"))
}

/// The octets under a key that a line has to have.
fn octets(line: &Value, key: &str) -> Result<Vec<u8>, String> {
    octets::from_hex(text(line, key)?).map_err(|error| format!("`{key}`: {error}"))
}
