//! Random histories of a server and its clients: the machine and the model of `model/` must say the same, event by event.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that goes wrong should stop"
)]

mod model;
mod steps;

use leasehold::server::{Config, Profile};
use model::steps::Step;
use model::world::World;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Histories without or with opens that outlive their connections.
struct Histories<const DURABLE: bool>;

impl<const DURABLE: bool> ReferenceStateMachine for Histories<DURABLE> {
    type State = Profile;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Profile> {
        steps::profiles().boxed()
    }

    fn transitions(_: &Profile) -> BoxedStrategy<Step> {
        if DURABLE { steps::durable_steps().boxed() } else { steps::steps().boxed() }
    }

    fn apply(profile: Profile, _: &Step) -> Profile {
        profile
    }
}

impl<const DURABLE: bool> StateMachineTest for Histories<DURABLE> {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(profile: &Profile) -> World {
        World::new(*profile)
    }

    fn apply(mut world: World, _: &Profile, step: Step) -> World {
        world.step(step);
        world
    }

    fn teardown(mut world: World) {
        world.end();
    }
}

/// Histories with a store, in which the server is started anew.
struct Promises;

impl ReferenceStateMachine for Promises {
    type State = Config;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Config> {
        steps::promising().boxed()
    }

    fn transitions(_: &Config) -> BoxedStrategy<Step> {
        steps::promised_steps().boxed()
    }

    fn apply(config: Config, _: &Step) -> Config {
        config
    }
}

impl StateMachineTest for Promises {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(config: &Config) -> World {
        World::with(*config)
    }

    fn apply(mut world: World, _: &Config, step: Step) -> World {
        world.step(step);
        world
    }

    fn teardown(mut world: World) {
        world.end();
    }
}

/// How many histories: PROPTEST_CASES, or as many as a minute has room for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}

/// As above, of those with a store, which take longer.
fn promised_cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_000)
}

/// Which histories: PROPTEST_RNG_SEED, or the same each time as long as the machine is known to differ (`model/known.rs`).
fn seed() -> u64 {
    std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5)
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/prop.txt"))),
        cases: cases(),
        max_shrink_iters: 40_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_says_what_the_rules_say(sequential 1..400 => Histories<false>);
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/durable.txt"))),
        cases: cases(),
        rng_seed: RngSeed::Fixed(seed()),
        max_shrink_iters: 40_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_keeps_what_the_rules_keep(sequential 1..300 => Histories<true>);
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/promises.txt"))),
        cases: promised_cases(),
        rng_seed: RngSeed::Fixed(seed()),
        max_shrink_iters: 40_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_promises_what_the_rules_promise(sequential 1..300 => Promises);
}
