//! One registry and several shards: what they say together if messages arrive at once, and what holds if they do not.

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

#[path = "shards/check.rs"]
mod check;
#[path = "shards/cluster.rs"]
mod cluster;
#[path = "shards/late.rs"]
mod late;
#[path = "shards/mirror.rs"]
mod mirror;

use late::{Inbox, Late};
use mirror::Mirror;
use model::world::{World, config_of};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// How many histories of each kind: PROPTEST_CASES, or as many as twenty seconds have room for.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/shards.txt",
        ))),
        cases: asked.unwrap_or(cases),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(800))]

    #[test]
    fn shards_say_together_what_a_server_says(
        profile in steps::profiles(),
        steps in prop_oneof![vec(steps::steps(), 1..300), vec(steps::durable_steps(), 1..300)],
    ) {
        let mut world = World::new(profile);
        let mut mirrors = [1, 2, 3].map(|count| Mirror::new(config_of(profile), count));
        let compare = |world: &mut World, mirrors: &mut [Mirror; 3]| {
            for (now, event, actions) in world.log.drain(..) {
                mirrors.iter_mut().for_each(|mirror| mirror.handle(now, event.as_ref(), &actions));
            }
            mirrors.iter().for_each(|mirror| mirror.agree(&world.harness.server));
        };
        for step in steps {
            world.step(step);
            compare(&mut world, &mut mirrors);
        }
        world.end();
        compare(&mut world, &mut mirrors);
    }
}

proptest! {
    #![proptest_config(config(800))]

    #[test]
    fn late_messages_break_no_rule(
        profile in steps::profiles(),
        shards in 1..4u16,
        inbox in prop_oneof![3 => Just(Inbox::One), 1 => Just(Inbox::Many)],
        steps in vec((steps::steps(), vec(any::<u8>(), 0..10)), 1..300),
    ) {
        let mut late = Late::new(profile, shards, inbox);
        for (step, moves) in steps {
            late.step(&step);
            moves.into_iter().for_each(|which| { late.advance(which); });
        }
        late.end();
    }
}
