//! Random histories of the server, and the committed ones, judged by `bodies/server.rs`.

mod bodies;

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
}

#[test]
fn every_committed_history_keeps_every_property() -> std::io::Result<()> {
    let mut seeds = 0;
    for seed in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/server_ops"))? {
        bodies::server::histories(&std::fs::read(seed?.path())?);
        seeds += 1;
    }
    assert!(seeds > 20, "seeds are missing: {seeds}");
    Ok(())
}
