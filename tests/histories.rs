//! Random histories of the server, judged by `bodies/server.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

#[path = "bodies/server.rs"]
mod server;

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
        server::histories(&octets);
    }
}
