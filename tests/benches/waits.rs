//! Who waits for whom: what it costs to have one more lock wait, and to see that it must not, among ten thousand that do.

use std::collections::BTreeSet;

use divan::{Bencher, black_box};
use leasehold::server::{Action, Config, Event, OwnerLock, RouteSeed, Server};
use leasehold::{FileKey, HashKey, Instant, Machine, OwnerId, Protocol, RequestId};

const WAITERS: u64 = 10_000;

/// A server with locks of whole files, and requests that wait for them.
struct Line {
    server: Server,
    actions: Vec<Action>,
    requests: u64,
    seed: u64,
}

fn owner(number: u64) -> OwnerId {
    // A host each: none has more in flight than one may.
    OwnerId::new(Protocol::Nlm, number, 1)
}

impl Line {
    fn new() -> Self {
        let mut config = Config::new(HashKey::new([7; 16]), RouteSeed::new([9; 16]), 1);
        (config.limits.waiters, config.limits.waiters_per_file) = (1 << 20, 1 << 20);
        Self { server: Server::new(config), actions: Vec::new(), requests: 0, seed: 1 }
    }

    fn tell(&mut self, event: Event) {
        self.actions.clear();
        self.server.handle(Instant::ZERO, event, &mut self.actions).unwrap();
    }

    /// Asks for all of a file, and waits for it if need be.
    fn lock(&mut self, number: u64, file: u64, exclusive: bool) {
        self.requests += 1;
        let request = RequestId::new(self.requests);
        let lock = OwnerLock::new(request, owner(number), FileKey::new(file.into()), exclusive).waiting();
        self.tell(Event::OwnerLock(lock));
    }

    /// One more that waits, and takes it back.
    fn wait_and_cancel(&mut self, number: u64, file: u64) {
        self.lock(number, file, true);
        let request = RequestId::new(self.requests);
        assert!(matches!(self.actions[..], [Action::Interim { .. }]), "{:?}", self.actions);
        self.tell(Event::Cancel { request });
    }

    /// Who has all of a file gives it to the first in line, and stands behind the last.
    fn pass_on(&mut self, number: u64, file: u64) {
        self.requests += 1;
        let (request, file_key) = (RequestId::new(self.requests), FileKey::new(file.into()));
        let owner = owner(number);
        self.tell(Event::OwnerUnlock { request, owner, file: file_key, offset: 0, len: u64::MAX });
        assert!(matches!(self.actions[..], [Action::Accepted { .. }, Action::Accepted { .. }]));
        self.lock(number, file, true);
    }

    fn refused(&mut self, number: u64, file: u64) {
        self.lock(number, file, true);
        assert!(matches!(self.actions[..], [Action::Refused { .. }]), "{:?}", self.actions);
    }

    fn any(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % bound
    }

    /// Owner n has file n and waits for file n + 1, whose owner waits for the next: the last waits for nobody.
    fn chain(waiters: u64) -> Self {
        let mut line = Self::new();
        (0..=waiters).for_each(|number| line.lock(number, number, true));
        (0..waiters).for_each(|number| line.lock(number, number + 1, true));
        line
    }

    /// So many who wait for files of others, at random, but for what would be a circle.
    fn random(waiters: u64) -> Self {
        let mut line = Self::new();
        // Of each file four are readers, so that whoever waits for it waits for all of them.
        for file in 0..waiters {
            (0..4).for_each(|reader| line.lock((file + reader * 2_503) % waiters, file, false));
        }
        for number in 0..waiters {
            let file = line.any(waiters);
            line.lock(number, file, true);
        }
        line
    }
}

/// What the graph does, by a list of all edges: whether somebody waits for another, over however many.
fn search_all_edges(edges: &[(u64, u64)], from: u64, goal: u64) -> bool {
    let (mut seen, mut next) = (BTreeSet::from([from]), vec![from]);
    while let Some(at) = next.pop() {
        for (_, to) in edges.iter().filter(|(waiter, _)| *waiter == at) {
            if *to == goal {
                return true;
            }
            if seen.insert(*to) {
                next.push(*to);
            }
        }
    }
    false
}

/// Behind the first of a chain: every one of them is looked at.
#[divan::bench(args = [10, WAITERS], sample_count = 50)]
fn wait_behind_a_chain(bencher: Bencher<'_, '_>, waiters: u64) {
    let mut line = Line::chain(waiters);
    bencher.bench_local(move || line.wait_and_cancel(waiters + 1, 0));
}

/// The same question to a list of edges.
#[divan::bench(args = [10, WAITERS], sample_count = 5)]
fn wait_behind_a_chain_in_a_list(bencher: Bencher<'_, '_>, waiters: u64) {
    let edges: Vec<(u64, u64)> = (0..waiters).map(|number| (number, number + 1)).collect();
    bencher.bench_local(|| assert!(!search_all_edges(black_box(&edges), 0, waiters + 1)));
}

/// The last of a chain asks for what the first has: refused at the far end.
#[divan::bench(args = [10, WAITERS], sample_count = 50)]
fn refuse_the_end_of_a_chain(bencher: Bencher<'_, '_>, waiters: u64) {
    let mut line = Line::chain(waiters);
    bencher.bench_local(move || line.refused(waiters, 0));
}

/// All wait for one owner, each for another of its files.
#[divan::bench(sample_count = 50)]
fn wait_beside_a_star(bencher: Bencher<'_, '_>) {
    let mut line = Line::new();
    (0..=WAITERS).for_each(|file| line.lock(0, file, true));
    (0..WAITERS).for_each(|file| line.lock(file + 1, file, true));
    bencher.bench_local(move || line.wait_and_cancel(WAITERS + 1, WAITERS));
}

/// All stand in line for one file: an unlock, the next of them granted, and one more in line.
#[divan::bench(args = [10, 1_000], sample_count = 50)]
fn wait_in_line(bencher: Bencher<'_, '_>, waiters: u64) {
    let mut line = Line::new();
    (0..=waiters).for_each(|number| line.lock(number, 0, true));
    let mut holder = 0;
    bencher.bench_local(move || {
        line.pass_on(holder, 0);
        holder = (holder + 1) % (waiters + 1);
    });
}

/// One that waits for a thousand readers of one file.
#[divan::bench(sample_count = 50)]
fn wait_for_a_thousand_readers(bencher: Bencher<'_, '_>) {
    let mut line = Line::new();
    (0..1_000).for_each(|number| line.lock(number, 0, false));
    bencher.bench_local(move || line.wait_and_cancel(WAITERS, 0));
}

/// One more of those who wait at random.
#[divan::bench(args = [10, WAITERS], sample_count = 50)]
fn wait_in_a_random_graph(bencher: Bencher<'_, '_>, waiters: u64) {
    let mut line = Line::random(waiters);
    bencher.bench_local(move || {
        let file = line.any(waiters);
        line.wait_and_cancel(waiters + 1, file);
    });
}
