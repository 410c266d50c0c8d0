//! Random histories of the server and of the client, and the committed ones, judged by `bodies` and, those of the server, by the
//! model; small worlds with one operation.

mod bodies;
#[path = "cross/mod.rs"]
mod cross;
mod model;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/histories.txt"))),
        cases: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_keeps_every_property(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        bodies::server::histories(&octets);
    }

    #[test]
    fn every_history_of_a_client_leaves_nothing(octets in prop::collection::vec(any::<u8>(), 0..1_500)) {
        bodies::client::ops(&octets);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/histories.txt"))),
        cases: 1_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_operation_is_judged_as_the_rules_say(octets in prop::collection::vec(any::<u8>(), 0..160)) {
        model::judge::operation(&octets);
    }
}

/// What a fuzz target does with octets, and how many seeds it has at least.
type Target = (&'static str, &'static [fn(&[u8])], usize);

const TARGETS: [Target; 4] = [
    ("client_ops", &[bodies::client::ops], 24),
    ("cross_ops", &[cross::world::history], 16),
    ("judge", &[model::judge::operation], 9),
    ("server_ops", &[bodies::server::histories, model::world::history, model::world::promises], 21),
];

#[test]
fn every_committed_history_keeps_every_property() -> std::io::Result<()> {
    for (target, bodies, least) in TARGETS {
        let mut seeds = 0;
        for seed in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target))? {
            let seed = seed?.path();
            // Shown if a body panics.
            println!("{}", seed.display());
            let octets = fs::read(&seed)?;
            bodies.iter().for_each(|body| body(&octets));
            seeds += 1;
        }
        assert!(seeds >= least, "{target}: seeds are missing: {seeds}");
    }
    Ok(())
}
