//! Three owners, three ranges: every order of what they can do, on one file and on three, beside the model.

use std::collections::HashSet;

use leasehold::{OwnerId, Protocol};

use super::model::{Job, Rules, Who};
use super::steps::{FILES, LONG, Step, rules};
use super::world::World;

const OWNERS: [OwnerId; 3] = [
    OwnerId::new(Protocol::Nlm, 1, 1),
    OwnerId::new(Protocol::Nfs4, 1, 1),
    OwnerId::new(Protocol::Local, 0, 1),
];

/// Which of the six orders of three ranges.
const ORDERS: [[u8; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// What an owner locks, one after the other, waiting for each: which range, exclusively or not. Then it unlocks everything.
pub type Program = [(u8, bool); 3];

/// Whether the ranges are on one file or each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    OneFile,
    ThreeFiles,
}

/// What there was to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub programs: u64,
    pub worlds: u64,
    pub moves: u64,
}

/// How far an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// So many locks were asked for and had.
    Had(u8),
    /// Waits for the next behind so many.
    Waits(u8),
    /// Was refused, or has cancelled, or has all: unlocks.
    Over,
    Gone,
}

#[derive(Clone)]
struct State {
    world: World,
    at: [At; 3],
}

/// Everything that the owners of these programs can do.
pub fn programs(programs: [Program; 3], on: Where, count: &mut Count) {
    count.programs += 1;
    let world = World::new(plain());
    let mut seen = HashSet::new();
    let mut open = vec![State { world, at: [At::Had(0); 3] }];
    while let Some(state) = open.pop() {
        let mut next = Vec::new();
        for who in 0..3 {
            moves(&state, who, programs[who], on, &mut next);
        }
        // Whoever waits, waits for somebody who does not.
        let stuck = state.at.iter().any(|at| matches!(at, At::Waits(_)))
            && state.at.iter().all(|at| matches!(at, At::Waits(_) | At::Gone));
        assert!(!stuck, "all wait: {:?} {programs:?}", state.world.model);
        count.moves += next.len() as u64;
        for state in next {
            if seen.insert(key(&state)) {
                count.worlds += 1;
                open.push(state);
            }
        }
    }
}

fn plain() -> Rules {
    rules([0; LONG])
}

/// What tells two states apart: the order in line is part of it, the numbers of requests are not.
fn key(state: &State) -> (Vec<String>, [At; 3]) {
    let model = &state.world.model;
    let mut parts: Vec<String> = model.locks_of_all();
    for waiter in &model.waiters {
        if let Job::Lock { by: Who::Owner(owner), span, exclusive, .. } = waiter.job {
            parts.push(format!("{owner:?} {} {span:?} {exclusive} {:?}", waiter.file, waiter.on));
        }
    }
    (parts, state.at)
}

/// Each thing that one owner can do next.
fn moves(state: &State, who: usize, program: Program, on: Where, next: &mut Vec<State>) {
    let owner = OWNERS[who];
    let mut add = |at: At, steps: &[Step]| {
        let mut state = state.clone();
        state.at[who] = at;
        for step in steps {
            state.world.step(*step);
        }
        settle(&mut state);
        next.push(state);
    };
    match state.at[who] {
        At::Had(had) if had < 3 => {
            let (range, exclusive) = program[usize::from(had)];
            let (file, offset) = match on {
                Where::OneFile => (0, u64::from(range) * 3),
                Where::ThreeFiles => (range, 0),
            };
            let lock =
                Step::OwnerLock { owner, file, offset, len: 3, exclusive, waits: true, reclaims: false };
            add(At::Waits(had), &[lock]);
            add(At::Gone, &[Step::OwnerGone { owner }]);
        }
        At::Had(_) | At::Over => {
            let files = if on == Where::OneFile { 1 } else { FILES };
            let unlock = |file| Step::OwnerUnlock { owner, file, offset: 0, len: u64::MAX };
            let all: Vec<Step> = (0..files).map(unlock).collect();
            add(At::Gone, &all);
        }
        At::Waits(_) => {
            let waiting = state.world.model.waiters.iter();
            let nth = waiting.clone().position(|waiter| of(&waiter.job, owner)).unwrap();
            add(At::Over, &[Step::Cancel { nth: u8::try_from(nth).unwrap() }]);
            add(At::Gone, &[Step::OwnerGone { owner }]);
        }
        At::Gone => {}
    }
}

fn of(job: &Job, owner: OwnerId) -> bool {
    matches!(job, Job::Lock { by: Who::Owner(other), .. } if *other == owner)
}

/// Who was answered goes on: with the next, or not if it was refused. What the answer was is known by what is held.
fn settle(state: &mut State) {
    for who in 0..3 {
        let At::Waits(had) = state.at[who] else { continue };
        let model = &state.world.model;
        if !model.waiters.iter().any(|waiter| of(&waiter.job, OWNERS[who])) {
            let held: usize = (0..FILES).map(|file| octets(model.map(OWNERS[who], file))).sum();
            state.at[who] = if held == 3 * (usize::from(had) + 1) { At::Had(had + 1) } else { At::Over };
        }
    }
}

fn octets(map: super::model::Map) -> usize {
    map.iter().filter(|octet| octet.is_some()).count()
}

/// Every program of three owners, but for the names of the ranges: the first owner takes them in order. `kinds`: of each owner's
/// locks, in bits; `one_in`: of so many programs one.
pub fn all(kinds: &[u8], on: Where, one_in: usize) -> Count {
    let (mut count, mut nth) = (Count::default(), 0);
    let program = |order: [u8; 3], kinds: u8| [0, 1, 2].map(|nth| (order[nth], kinds >> nth & 1 == 1));
    for (first, second, third) in kinds
        .iter()
        .flat_map(|one| kinds.iter().flat_map(move |two| kinds.iter().map(move |three| (*one, *two, *three))))
    {
        for order in ORDERS {
            for last in ORDERS {
                nth += 1;
                if nth % one_in != 0 {
                    continue;
                }
                let three = [program(ORDERS[0], first), program(order, second), program(last, third)];
                programs(three, on, &mut count);
            }
        }
    }
    count
}
