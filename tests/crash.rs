//! What was promised survives every crash: a persistent handle that was granted is never lost, one that was not is never
//! honoured, whatever of what is not covered as yet the store holds.
//!
//! Random histories of a few clients run against a server and a store. The server is cut down after each event and between any
//! two actions; with everything that may be stored by then a server starts again, and the clients, who know what they were told
//! and nothing else, want back what is theirs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "a test that goes wrong should stop"
)]

#[path = "crash/book.rs"]
mod book;
#[path = "crash/brief.rs"]
mod brief;
#[path = "crash/checks.rs"]
mod checks;
#[path = "crash/cut.rs"]
mod cut;
#[path = "crash/life.rs"]
mod life;
#[path = "crash/rng.rs"]
mod rng;
#[path = "crash/steps.rs"]
mod steps;
#[path = "crash/store.rs"]
mod store;
#[path = "crash/stories.rs"]
mod stories;
#[path = "crash/told.rs"]
mod told;
#[path = "crash/trial.rs"]
mod trial;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cut::{CRASHES, PATH, SEEN, SHOWN};
use steps::history;
use store::Lie;

/// How many steps a life has.
const STEPS: usize = 40;
/// Up to how many sets of durable changes are tried at one place.
const SETS: usize = 12;

/// How many crashes one run examines at least: CRASH_POINTS, or as many as a minute has room for.
fn crashes() -> u64 {
    std::env::var("CRASH_POINTS").ok().and_then(|crashes| crashes.parse().ok()).unwrap_or(100_000)
}

fn run(seed: u64, lie: Option<Lie>, loud: bool) -> Result<(), String> {
    CRASHES.set(0);
    PATH.take();
    let run = AssertUnwindSafe(|| history(seed, STEPS, SETS, lie, loud));
    catch_unwind(run).unwrap_or_else(|_| Err("the machine panicked".into()))
}

#[test]
fn what_was_promised_survives_every_crash() {
    let first = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let (mut seed, mut total) = (first.unwrap_or(1), 0);
    while total < crashes() {
        if let Err(what) = run(seed, None, false) {
            // Once more, for a reader.
            SHOWN.set(PATH.take());
            let again = run(seed, None, true);
            panic!("seed {seed}: {what}; and again: {again:?}");
        }
        total += CRASHES.get();
        seed += 1;
    }
    println!("{total} crashes in {} histories", seed - first.unwrap_or(1));
    for (what, times) in SEEN.take() {
        println!("{times:>9} {what}");
    }
    assert!(total >= crashes());
}

/// A store that does not keep what it covers is noticed.
fn notices(lie: Lie) {
    let honest = |seed: &u64| run(*seed, None, false).is_ok();
    let noticed = (1..40).filter(honest).find_map(|seed| run(seed, Some(lie), false).err());
    println!("{lie:?}: {noticed:?}");
    assert!(noticed.is_some(), "{lie:?} went unnoticed");
}

#[test]
fn the_judge_notices_a_lost_change() {
    notices(Lie::Loses);
}

#[test]
fn the_judge_notices_a_record_that_is_back() {
    notices(Lie::Revives);
}

#[test]
fn the_judge_notices_an_older_record() {
    notices(Lie::Reorders);
}
