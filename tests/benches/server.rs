//! What the server machine costs. `cargo bench` prints a table; with `-- --include-ignored` the large ones as well.
//!
//! Allocations are counted beside the times: on the steady path there are none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::wildcard_enum_match_arm)]

mod survival;
mod waits;
mod world;

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use leasehold::server::LockFlags;
use leasehold::{LeaseState, OplockLevel};
use world::{READ, World};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Judges a read that disturbs nobody, beside that many holders of R: `Operate`, `Proceed`, `Done`.
#[divan::bench(args = [1, 4, 1_000])]
fn judge_beside(bencher: Bencher<'_, '_>, holders: u64) {
    let mut world = World::new(holders as usize);
    for holder in 0..holders {
        world.open(1, Some((holder, LeaseState::R)));
    }
    let reader = world.open(1, None);
    bencher.bench_local(move || world.operate(1, reader, READ));
}

/// CREATE of a file of its own, the grant of RWH, and CLOSE, beside that many live leases.
fn create_grant_close(bencher: Bencher<'_, '_>, live: u64) {
    let mut world = World::with_live_leases(live);
    let mut next = live;
    bencher.bench_local(move || {
        next += 1;
        let open = world.open(u128::from(next), Some((next, LeaseState::RWH)));
        world.close(open);
    });
}

#[divan::bench(name = "create_grant_close", args = [1_000, 100_000, 1_000_000])]
fn create_grant_close_warm(bencher: Bencher<'_, '_>, live: u64) {
    create_grant_close(bencher, live);
}

#[divan::bench(name = "create_grant_close_large", args = [10_000_000], ignore)]
fn create_grant_close_cold(bencher: Bencher<'_, '_>, live: u64) {
    create_grant_close(bencher, live);
}

/// As above, of a file chosen at random among the live ones, so that nothing is in a cache: a second RH beside the first.
fn share_grant_close(bencher: Bencher<'_, '_>, live: u64) {
    let mut world = World::with_live_leases(live);
    let mut next = live;
    bencher.bench_local(move || {
        next += 1;
        let file = world.any(live);
        let open = world.open(u128::from(file), Some((next, LeaseState::RH)));
        world.close(open);
    });
}

#[divan::bench(name = "share_grant_close", args = [1_000, 100_000, 1_000_000])]
fn share_grant_close_warm(bencher: Bencher<'_, '_>, live: u64) {
    share_grant_close(bencher, live);
}

#[divan::bench(name = "share_grant_close_large", args = [10_000_000], ignore)]
fn share_grant_close_cold(bencher: Bencher<'_, '_>, live: u64) {
    share_grant_close(bencher, live);
}

/// An acknowledgment and the CREATE that it lets go on: `OpenFile`.
#[divan::bench(sample_count = 20)]
fn acknowledge_and_resume(bencher: Bencher<'_, '_>) {
    const WAITING: u64 = 1_000;
    bencher
        .counter(ItemsCount::new(WAITING))
        .with_inputs(|| {
            let mut world = World::new(WAITING as usize);
            for file in 0..WAITING {
                world.open(u128::from(file), Some((file, LeaseState::RWH)));
                world.ask(u128::from(file), OplockLevel::None);
            }
            world
        })
        .bench_local_refs(|world| {
            for key in 0..WAITING {
                world.acknowledge(key, LeaseState::RH);
            }
        });
}

/// A write that takes R from that many readers.
#[divan::bench(args = [10_000], sample_count = 20)]
fn write_that_breaks(bencher: Bencher<'_, '_>, readers: u64) {
    bencher
        .counter(ItemsCount::new(readers))
        .with_inputs(|| {
            let mut world = World::new(readers as usize);
            for reader in 0..readers {
                world.open(1, Some((reader, LeaseState::R)));
            }
            let writer = world.open(1, None);
            (world, writer)
        })
        .bench_local_refs(|(world, writer)| world.operate(1, *writer, world::WRITE));
}

/// That many breaks whose deadline passes at once.
#[divan::bench(args = [1_000_000], sample_count = 3, sample_size = 1)]
fn deadlines_expire(bencher: Bencher<'_, '_>, breaks: u64) {
    bencher
        .counter(ItemsCount::new(breaks))
        .with_inputs(|| {
            let mut world = World::new(breaks as usize);
            for file in 0..breaks {
                world.open(u128::from(file), Some((file, LeaseState::RWH)));
                world.ask(u128::from(file), OplockLevel::None);
            }
            world
        })
        .bench_local_refs(|world| black_box(world.pass(Duration::from_secs(36))));
}

/// A lock and its unlock beside that many locks on the same file.
#[divan::bench(args = [1, 10_000, 1_000_000])]
fn lock_and_unlock_beside(bencher: Bencher<'_, '_>, locks: u64) {
    let mut world = World::new(1);
    let owner = world.open(1, None);
    for lock in 0..locks {
        world.lock(owner, 2 * lock, LockFlags::EXCLUSIVE);
    }
    let mut at = 0;
    bencher.bench_local(move || {
        at = (at + 0x9e37_79b9) % (2 * locks);
        world.lock(owner, at | 1, LockFlags::EXCLUSIVE);
        world.lock(owner, at | 1, LockFlags::UNLOCK);
    });
}

/// Everything at once, as a busy shard has it: opens, reads, writes, breaks, acknowledgments, closes, locks. Counts events.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn mixed_load(bencher: Bencher<'_, '_>) {
    const EVENTS: u64 = 100_000;
    let mut world = World::with_live_leases(100_000);
    world.mix(EVENTS);
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(move || world.mix(EVENTS));
}
