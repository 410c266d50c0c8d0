//! What has to be so whatever has happened, by what the machine shows of itself.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::RequestId;
use leasehold::server::{Holder, What};

use super::model::{Span, Who};
use super::steps::FILES;
use super::world::{World, key};

/// A lock that is held, or wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    pub owner: Who,
    pub file: u8,
    pub span: Span,
    pub exclusive: bool,
}

impl Wish {
    /// Whether two exclude each other.
    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.file == other.file
            && (self.exclusive || other.exclusive)
            && self.span.meets(other.span)
    }
}

/// Who waits for whom.
type Edges = Vec<(RequestId, Who, BTreeSet<Who>)>;

/// Of locks: nobody has what excludes another's, no circle stands, and nobody waits for others than the rule says.
pub fn hold(world: &World) {
    let held = held(world);
    for (nth, lock) in held.iter().enumerate() {
        let other = held[nth + 1..].iter().find(|other| lock.conflicts(other));
        assert!(other.is_none(), "both are held: {lock:?} {other:?}");
    }
    let edges = edges(world);
    for (request, owner, _) in &edges {
        assert!(!reaches(&edges, *owner, *owner), "{request:?} is part of a circle: {edges:?}");
    }
    let wishes = wishes(world);
    for (request, owner, on) in &edges {
        let at = wishes.iter().position(|(other, _)| other == request).unwrap();
        let (before, wish) = (&wishes[..at], &wishes[at].1);
        let holders = against(&held, wish);
        let ahead = before.iter().filter(|(_, other)| wish.conflicts(other)).map(|(_, other)| other.owner);
        let line: BTreeSet<Who> = holders.iter().copied().chain(ahead).collect();
        assert!(*on == line || *on == holders, "{owner:?} waits for {on:?}, not for {line:?} or {holders:?}");
        assert!(!on.is_empty(), "{owner:?} waits for nobody: {wish:?}");
    }
}

/// Whether one more that waits would wait for ever, though it passed all others.
pub fn would_close_a_circle(world: &World, wish: &Wish) -> bool {
    let (held, edges) = (held(world), edges(world));
    let holders = against(&held, wish);
    holders.iter().any(|other| *other == wish.owner || reaches(&edges, *other, wish.owner))
}

fn against(held: &[Wish], wish: &Wish) -> BTreeSet<Who> {
    held.iter().filter(|lock| wish.conflicts(lock)).map(|lock| lock.owner).collect()
}

fn reaches(edges: &Edges, from: Who, goal: Who) -> bool {
    let mut all: BTreeMap<Who, BTreeSet<Who>> = BTreeMap::new();
    for (_, owner, on) in edges {
        all.entry(*owner).or_default().extend(on);
    }
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        for other in all.get(&at).into_iter().flatten() {
            if *other == goal {
                return true;
            }
            if seen.insert(*other) {
                next.push(*other);
            }
        }
    }
    false
}

/// What the machine says is held.
fn held(world: &World) -> Vec<Wish> {
    let mut held = Vec::new();
    for file in 0..FILES {
        for holding in world.server.holders(key(file)) {
            if let (What::Lock { offset, len, exclusive }, Holder::Owner(owner)) =
                (holding.what, holding.holder)
            {
                held.push(Wish { owner: Who::Owner(owner), file, span: Span::new(offset, len), exclusive });
            }
        }
    }
    held
}

/// What the machine says of who waits for whom.
fn edges(world: &World) -> Edges {
    let mut edges = Edges::new();
    for (file, wish) in (0..FILES).flat_map(|file| world.waits(file).into_iter().map(move |one| (file, one)))
    {
        let (request, on) = wish;
        let owner = wishes(world).into_iter().find(|(other, _)| *other == request);
        let owner = owner.unwrap_or_else(|| panic!("{request:?} waits for {file}")).1.owner;
        edges.push((request, owner, on));
    }
    edges
}

/// What those asked for who wait, in the order in which they came.
fn wishes(world: &World) -> Vec<(RequestId, Wish)> {
    world.model.waiters.iter().filter_map(|waiter| Some((waiter.request, waiter.wish()?))).collect()
}
