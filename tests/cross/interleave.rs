//! Three owners, three ranges: every state that they can come into by locks that wait, locks that fail, unlocks, cancels and their own
//! end, in whatever order and however often, beside the model and the laws.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::{OwnerId, Protocol};

use super::laws::{self, Wish};
use super::model::{Job, Span, Waiter, Who};
use super::steps::{LONG, Step, rules};
use super::world::World;

const OWNERS: [OwnerId; 3] = [
    OwnerId::new(Protocol::Nlm, 1, 1),
    OwnerId::new(Protocol::Nfs4, 1, 1),
    OwnerId::new(Protocol::Local, 0, 1),
];

/// The orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Where the ranges are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Side by side on one file.
    Beside,
    /// On one file, each with an octet of the next.
    Overlapping,
    /// Each on a file of its own.
    ThreeFiles,
}

/// What there was to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub states: u64,
    pub moves: u64,
    /// Moves by which a request was refused because of a circle.
    pub circles: u64,
    /// How many moves the state is away that is farthest.
    pub depth: u64,
}

impl Layout {
    /// File, offset, length.
    fn range(self, nth: usize) -> (u8, u64, u64) {
        match self {
            Self::Beside => (0, nth as u64, 1),
            Self::Overlapping => (0, nth as u64, 2),
            Self::ThreeFiles => (nth as u8, 0, 1),
        }
    }

    fn nth(self, file: u8, span: Span) -> usize {
        match self {
            Self::Beside | Self::Overlapping => span.from as usize,
            Self::ThreeFiles => usize::from(file),
        }
    }

    /// Octets that are told apart, with their files.
    fn octets(self) -> Vec<(u8, usize)> {
        match self {
            Self::Beside => (0..3).map(|octet| (0, octet)).collect(),
            Self::Overlapping => (0..4).map(|octet| (0, octet)).collect(),
            Self::ThreeFiles => (0..3).map(|file| (file, 0)).collect(),
        }
    }

    /// What can be done to the names of ranges and octets without a difference.
    fn likenesses(self) -> Vec<(Vec<usize>, Vec<usize>)> {
        match self {
            Self::Beside | Self::ThreeFiles => {
                ORDERS.iter().map(|order| (order.to_vec(), order.to_vec())).collect()
            }
            Self::Overlapping => {
                vec![(vec![0, 1, 2], vec![0, 1, 2, 3]), (vec![2, 1, 0], vec![3, 2, 1, 0])]
            }
        }
    }
}

/// What of a state counts: what each owner has of each octet; who waits for which range, exclusively, past the line, for whom.
type Key = (Vec<Option<bool>>, Vec<(usize, usize, bool, bool, u8)>);

/// Every state that can be reached. `tries`: also by locks that fail. `likenesses`: states that differ by the names of owners and ranges
/// alone are one.
pub fn all(layout: Layout, tries: bool, likenesses: bool) -> Count {
    let (mut count, mut seen) = (Count::default(), BTreeSet::new());
    let world = World::new(rules([0; LONG]));
    seen.insert(key(&world, layout, likenesses));
    let mut level = vec![world];
    while !level.is_empty() {
        count.states += level.len() as u64;
        count.depth += 1;
        let mut next = Vec::new();
        for world in level {
            for step in moves(&world, layout, tries) {
                count.moves += 1;
                let mut after = world.clone();
                after.step(step);
                count.circles += u64::from(obeys(&world, step, &after));
                if seen.insert(key(&after, layout, likenesses)) {
                    next.push(after);
                }
            }
        }
        level = next;
    }
    count
}

fn waiting(world: &World, owner: OwnerId) -> Option<&Waiter> {
    world.model.waiters.iter().find(|waiter| of(&waiter.job, owner))
}

fn of(job: &Job, owner: OwnerId) -> bool {
    matches!(job, Job::Lock { by: Who::Owner(other), .. } if *other == owner)
}

/// Each thing that one owner can do next: whoever waits can only stop.
fn moves(world: &World, layout: Layout, tries: bool) -> Vec<Step> {
    let mut moves = Vec::new();
    for owner in OWNERS {
        moves.push(Step::OwnerGone { owner });
        if let Some(waiter) = waiting(world, owner) {
            let nth = world.model.waiters.iter().position(|other| other.request == waiter.request).unwrap();
            moves.push(Step::Cancel { nth: nth as u8 });
            continue;
        }
        for (file, offset, len) in (0..3).map(|nth| layout.range(nth)) {
            moves.push(Step::OwnerUnlock { owner, file, offset, len });
            for exclusive in [false, true] {
                let lock =
                    |waits| Step::OwnerLock { owner, file, offset, len, exclusive, waits, reclaims: false };
                moves.push(lock(true));
                moves.extend(tries.then(|| lock(false)));
            }
        }
    }
    moves
}

/// The laws, once somebody has done something. Returns whether somebody was refused because of a circle.
fn obeys(before: &World, step: Step, after: &World) -> bool {
    laws::hold(after);
    let circled = after.deadlocks.len() > before.deadlocks.len();
    let left: Vec<_> = after.model.waiters.iter().map(|waiter| waiter.request).collect();
    for request in &after.deadlocks[before.deadlocks.len()..] {
        assert!(!left.contains(request));
        // Of who asks it is seen at once whether there was no other way.
        if let (Step::OwnerLock { owner, file, offset, len, exclusive, waits: true, .. }, None) =
            (step, before.model.waiters.iter().find(|waiter| waiter.request == *request))
        {
            let wish = Wish { owner: Who::Owner(owner), file, span: Span::new(offset, len), exclusive };
            assert!(laws::would_close_a_circle(before, &wish), "no circle: {step:?} {:#?}", before.model);
        }
    }
    circled
}

fn key(world: &World, layout: Layout, likenesses: bool) -> Key {
    let orders = if likenesses { &ORDERS[..] } else { &ORDERS[..1] };
    let alike = layout.likenesses();
    let alike = if likenesses { &alike[..] } else { &alike[..1] };
    let held: Vec<Vec<Option<bool>>> = OWNERS
        .iter()
        .map(|owner| {
            let octets = layout.octets().into_iter();
            octets.map(|(file, octet)| world.model.map(*owner, file)[octet]).collect()
        })
        .collect();
    let number: BTreeMap<Who, usize> =
        OWNERS.iter().enumerate().map(|(nth, owner)| (Who::Owner(*owner), nth)).collect();
    let named = |owners: &[usize; 3], ranges: &[usize], octets: &[usize]| {
        let place = |names: &[usize], name: usize| names.iter().position(|other| *other == name).unwrap();
        let held = owners.iter().flat_map(|owner| octets.iter().map(|octet| held[*owner][*octet])).collect();
        let mut waiters: Vec<_> = world
            .model
            .waiters
            .iter()
            .map(|waiter| {
                let Job::Lock { by, span, exclusive, .. } = waiter.job else { panic!("{waiter:?}") };
                let on = waiter.on.iter().fold(0, |on, who| on | 1 << place(owners, number[who]));
                let range = place(ranges, layout.nth(waiter.file, span));
                (place(owners, number[&by]), range, exclusive, waiter.passes, on)
            })
            .collect();
        if layout == Layout::ThreeFiles {
            // There is a line for each.
            waiters.sort_by_key(|waiter| waiter.1);
        }
        (held, waiters)
    };
    let all = orders
        .iter()
        .flat_map(|owners| alike.iter().map(move |(ranges, octets)| named(owners, ranges, octets)));
    all.min().unwrap()
}
