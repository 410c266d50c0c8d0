//! One persistent open, one client that wants its file, one store: every order of what can happen to them.

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

use leasehold::server::Profile;
use model::steps::{Lasting, Return, Step, Wish};
use model::world::{World, promising};

/// How many things happen.
const DEPTH: usize = if cfg!(leasehold_exhaustive) { 6 } else { 4 };

fn wish(slot: usize, key: u8, state: u32, sharing: u32, lasting: Lasting) -> Step {
    let (share, lease) = (5, (state != 8).then_some((key, state, true, None)));
    Step::Create(Wish {
        slot,
        name: 0,
        tree: 0,
        access: 2,
        sharing,
        disposition: 3,
        delete: false,
        opfilter: false,
        level: if lease.is_some() { 0xff } else { 0 },
        lease,
        share,
        lasting,
        user: 0,
        replay: false,
        instance: None,
    })
}

fn back() -> Step {
    let how = Return {
        slot: 0,
        home: true,
        nth: 0,
        lost: true,
        guid: 0,
        lease: 0,
        user: 0,
        file: 0,
        flag: 0,
        by_guid: false,
        word: None,
    };
    Step::Reconnect { how }
}

/// What can happen. The client that is away is that of slot 0, the other that of slot 2.
fn alphabet() -> Vec<Step> {
    vec![
        Step::Disconnect { slot: 0 },
        Step::Connect { slot: 0 },
        back(),
        Step::Resend { slot: 0, nth: 0, replay: true, what: 0, word: None },
        wish(2, 2, 3, 7, Lasting::Not),
        Step::Opened { nth: 0, fails: false, empty: false },
        Step::Ack { slot: 0, nth: 0, how: 0, level: 0 },
        Step::Close { slot: 0, nth: 0, own: true },
        Step::Stored { nth: 0 },
        Step::NotStored { nth: 0 },
        Step::Time { millis: 60_000 },
        Step::Restart { extra: 0, away: 0 },
        Step::Restart { extra: 9, away: 0 },
    ]
}

fn search(world: &World, depth: usize, count: &mut u64) {
    *count += 1;
    if depth == 0 {
        let mut world = world.clone();
        // Behind a restart the other client comes back as well.
        world.end();
        return;
    }
    for step in alphabet() {
        let mut next = world.clone();
        next.log.clear();
        next.step(step);
        search(&next, depth - 1, count);
    }
}

/// Whatever is granted as persistent is there after every restart, whatever is closed is not, no cache is stale, and nobody waits for
/// ever: the model and what it is checked by say so at each step.
#[test]
fn every_order_keeps_every_promise() {
    let second = Lasting::Second { timeout: 60_000, guid: 1, persistent: true };
    let mut count = 0;
    // What is held: nothing, R, RW, RH, RWH; and what others may do beside it.
    for (state, sharing) in [(8, 7), (1, 7), (5, 7), (3, 7), (7, 7), (7, 1)] {
        let mut world = World::with(promising(Profile::default(), true));
        world.step(Step::Stored { nth: 0 });
        world.step(Step::Disconnect { slot: 1 });
        world.step(wish(0, 1, state, sharing, second));
        world.step(Step::Opened { nth: 0, fails: false, empty: false });
        search(&world, if state == 7 { DEPTH } else { DEPTH - 1 }, &mut count);
    }
    println!("{count} orders");
}
