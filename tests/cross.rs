//! Random histories of every protocol at once: the machine and the model of `cross/` must say and hold the same, event by event.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that goes wrong should stop")]

#[path = "cross/mod.rs"]
mod cross;

use cross::interleave::{self, Layout};
use cross::messages::{self, BESIDES};
use cross::steps::{LONG, Step, rules};
use cross::world::World;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// The model is beside the machine, in the world: there is nothing else to remember than what the history is about.
struct Histories;

impl ReferenceStateMachine for Histories {
    type State = [u8; LONG];
    type Transition = [u8; LONG];

    fn init_state() -> BoxedStrategy<[u8; LONG]> {
        any::<[u8; LONG]>().boxed()
    }

    fn transitions(_: &[u8; LONG]) -> BoxedStrategy<[u8; LONG]> {
        any::<[u8; LONG]>().boxed()
    }

    fn apply(first: [u8; LONG], _: &[u8; LONG]) -> [u8; LONG] {
        first
    }
}

impl StateMachineTest for Histories {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(first: &[u8; LONG]) -> World {
        println!("----");
        World::new(rules(*first))
    }

    fn apply(mut world: World, _: &[u8; LONG], octets: [u8; LONG]) -> World {
        let step = Step::new(octets);
        // Shown if the two differ.
        println!("{step:?}");
        world.step(step);
        world
    }

    fn teardown(mut world: World) {
        world.end();
    }
}

/// How many histories: PROPTEST_CASES, or as many as ten seconds have room for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(250)
}

/// Which: PROPTEST_RNG_SEED, or the same each time.
fn seed() -> u64 {
    std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/cross.txt"))),
        cases: cases(),
        rng_seed: RngSeed::Fixed(seed()),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_protocol_meets_what_the_table_says(sequential 1..250 => Histories);
}

/// But for the names of owners and ranges, which make no difference; with them it is among the worlds of `cargo worlds`.
#[test]
fn whatever_three_owners_do_nobody_waits_for_ever() {
    for layout in [Layout::Beside, Layout::ThreeFiles] {
        let count = interleave::all(layout, true, true);
        println!("{layout:?}: {count:?}");
        assert!(count.states > 1_500 && count.circles > 0, "the worlds have become small: {count:?}");
    }
}

/// A slice; all of it is among the worlds of `cargo worlds`.
#[test]
fn whatever_is_late_a_circle_is_seen_and_no_other() {
    for shards in [2, 3] {
        let count = messages::rings(shards, 2, (true, true), &[0], &BESIDES[..1]);
        println!("{shards} shards: {count:?}");
        assert!(count.refused > 0);
    }
}
