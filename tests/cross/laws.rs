//! What has to be so whatever has happened, by what the machine shows of itself.

use std::collections::BTreeSet;

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

/// Who waits for whom, as the machine shows it: of those in its way perhaps only some, behind whom the others are.
#[derive(Clone, Debug)]
pub struct Wait {
    pub request: RequestId,
    /// Whose request it is, if it is one for locks.
    pub who: Option<Who>,
    pub on: BTreeSet<Who>,
}

impl Wait {
    /// Whether it comes to the same as to wait for these.
    pub fn amounts_to(&self, on: &BTreeSet<Who>, all: &[Self]) -> bool {
        self.on.is_subset(on) && on.is_subset(&behind(&self.on, all))
    }
}

/// These, and everybody for whom they wait, over however many others.
fn behind(on: &BTreeSet<Who>, all: &[Wait]) -> BTreeSet<Who> {
    let mut reached = on.clone();
    loop {
        let theirs = all.iter().filter(|wait| wait.who.is_some_and(|who| reached.contains(&who)));
        let more: BTreeSet<Who> = theirs.flat_map(|wait| &wait.on).copied().collect();
        if more.is_subset(&reached) {
            return reached;
        }
        reached.extend(more);
    }
}

/// Of locks: nobody has what excludes another's, no circle stands, and nobody waits for others than the rule says.
pub fn hold(world: &World) {
    let held = held(world);
    for (nth, lock) in held.iter().enumerate() {
        let other = held[nth + 1..].iter().find(|other| lock.conflicts(other));
        assert!(other.is_none(), "both are held: {lock:?} {other:?}");
    }
    let all = waits(world);
    let wishes: Vec<(RequestId, Wish)> =
        world.model.waiters.iter().filter_map(|waiter| Some((waiter.request, waiter.wish()?))).collect();
    for wait in &all {
        let circle = wait.who.is_some_and(|who| behind(&wait.on, &all).contains(&who));
        assert!(!circle, "a circle: {wait:?} {all:?}");
        let at = wishes.iter().position(|(request, _)| *request == wait.request).unwrap();
        let (before, wish) = (&wishes[..at], &wishes[at].1);
        let holders = against(&held, wish);
        let ahead = before.iter().filter(|(_, other)| wish.conflicts(other)).map(|(_, other)| other.owner);
        let line: BTreeSet<Who> = holders.iter().copied().chain(ahead).collect();
        let right = wait.amounts_to(&line, &all) || wait.amounts_to(&holders, &all);
        assert!(right, "{wait:?}, not for {line:?} or {holders:?}");
        assert!(!wait.on.is_empty(), "for nobody: {wait:?} {wish:?}");
    }
}

/// Whether one more that waits would wait for ever, though it passed all others.
pub fn would_close_a_circle(world: &World, wish: &Wish) -> bool {
    behind(&against(&held(world), wish), &waits(world)).contains(&wish.owner)
}

fn against(held: &[Wish], wish: &Wish) -> BTreeSet<Who> {
    held.iter().filter(|lock| wish.conflicts(lock)).map(|lock| lock.owner).collect()
}

/// What the machine says is held by owners.
fn held(world: &World) -> Vec<Wish> {
    let mut held = Vec::new();
    for file in 0..FILES {
        for holding in world.server.holders(key(file)) {
            let (What::Lock { offset, len, exclusive }, Holder::Owner(owner)) =
                (holding.what, holding.holder)
            else {
                continue;
            };
            let (owner, span) = (Who::Owner(owner), Span::new(offset, len));
            held.push(Wish { owner, file, span, exclusive });
        }
    }
    held
}

fn waits(world: &World) -> Vec<Wait> {
    (0..FILES).flat_map(|file| world.waits(file)).collect()
}
