//! Clients and a server in one world: no read is stale, nothing that was to be kept is lost, and nobody waits for ever. Under leases,
//! under oplocks, with handles that come back, and with handles that outlive the server; in half of the worlds beside clients of NFS
//! and NLM.
//!
//! The world is in `world/`; what holds in it is in `world/checker.rs`. `cargo run --release -p leasehold-interop --bin simulate` runs
//! more of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::wildcard_enum_match_arm)]

mod world;

use world::{Fault, Options, Report, Scene, World};

/// Short worlds, one for each seed.
fn worlds(scene: Scene) -> Report {
    let mut sum = Report::new(0);
    for seed in 0..330 {
        let report = World::run(&Options::new(seed, 4_000).scene(scene));
        if let Some(violation) = &report.violation {
            panic!("seed {seed}, {scene:?}: {violation}");
        }
        sum.add(&report);
    }
    println!("{scene:?}:\n{sum}");
    assert!(sum.cached > 1_000 && sum.reads > sum.cached + 1_000, "too quiet to mean anything");
    assert!(sum.kept_back > 1_000 && sum.written_back > 100, "too quiet to mean anything");
    assert!(sum.breaks > 2_000 && sum.taken_up > 50, "too quiet to mean anything");
    let faults = |fault| sum.faults.get(&fault).copied().unwrap_or_default();
    assert!(Fault::ALL.into_iter().all(|fault| faults(fault) > 20), "too quiet to mean anything");
    let beside = |what| sum.beside.get(what).copied().unwrap_or_default();
    let done = ["reads", "writes", "locks", "unlocks", "waited", "opens", "refused"].map(beside);
    assert!(done.into_iter().all(|count| count > 1_000), "too quiet to mean anything");
    let given = ["delegations", "recalls", "cached", "kept back"].map(beside);
    assert!(given.into_iter().all(|count| count > 100), "too quiet to mean anything");
    let faults = ["gone", "written back", "reclaimed"].map(beside);
    assert!(faults.into_iter().all(|count| count > 0), "too quiet to mean anything");
    sum
}

#[test]
fn no_read_is_stale_and_no_write_is_lost() {
    worlds(Scene::Leases);
}

#[test]
fn under_oplocks_too() {
    worlds(Scene::Oplocks);
}

#[test]
fn nor_where_handles_come_back() {
    let sum = worlds(Scene::Durable);
    assert!(sum.reclaimed > 100 && sum.lost.values().sum::<u64>() > 100, "too quiet to mean anything");
}

#[test]
fn nor_where_handles_outlive_the_server() {
    let sum = worlds(Scene::Persistent);
    assert!(sum.reclaimed > 200 && sum.faults[&Fault::NotStored] > 100, "too quiet to mean anything");
}

#[test]
fn the_seed_decides_all_and_the_keys_of_hash_tables_nothing() {
    for scene in Scene::ALL {
        let options = Options::new(7, 5_000).scene(scene);
        let first = World::run(&options);
        let other_keys = World::run(&Options { hash_key: 200, ..options });
        assert_eq!(first.digest, other_keys.digest, "{scene:?}");
        let other_seed = World::run(&Options { seed: 8, ..options });
        assert_ne!(first.digest, other_seed.digest, "{scene:?}");
    }
}
