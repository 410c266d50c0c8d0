//! Deadlines in an indexed 4-ary heap: exact, O(1) to look at, cancelled without leaving anything behind.
//!
//! Ties expire in the order in which they were started.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use crate::time::Instant;

const ARITY: usize = 4;

/// Names a running timer. Valid until the timer is stopped or expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(NonZeroU32);

impl TimerId {
    /// One more than the slot, so that `Option<TimerId>` is no larger.
    fn of_slot(slot: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot))
    }

    fn slot(self) -> u32 {
        self.0.get().saturating_sub(1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Instant,
    /// Order of starting, for ties.
    turn: u64,
    slot: u32,
}

#[derive(Clone, Debug)]
enum Slot<T> {
    /// Next free slot, last in, first out.
    Free(Option<u32>),
    Running {
        place: usize,
        what: T,
    },
}

/// Timers that carry a `T` each.
#[derive(Clone, Debug)]
pub(crate) struct Timers<T> {
    heap: Vec<Entry>,
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    turn: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: Vec::new(), slots: Vec::new(), free: None, turn: 0 }
    }
}

impl<T: Copy> Timers<T> {
    /// Starts a timer. O(log n), O(1) if it is the last to expire.
    pub(crate) fn start(&mut self, due: Instant, what: T) -> TimerId {
        let place = self.heap.len();
        let slot = match self.free {
            Some(slot) => {
                if let Some(Slot::Free(next)) = self.slot(slot) {
                    self.free = *next;
                }
                slot
            }
            None => {
                let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                self.slots.push(Slot::Free(None));
                slot
            }
        };
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            *entry = Slot::Running { place, what };
        }
        self.heap.push(Entry { due, turn: self.turn, slot });
        self.turn = self.turn.saturating_add(1);
        self.rise(place);
        TimerId::of_slot(slot)
    }

    /// Stops a timer that has not expired. O(log n).
    pub(crate) fn stop(&mut self, id: TimerId) {
        if let Some(Slot::Running { place, .. }) = self.slot(id.slot()) {
            let place = *place;
            self.take(place);
        }
    }

    /// The earliest deadline. O(1).
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.due)
    }

    /// Takes out the earliest timer if it is due. O(log n).
    pub(crate) fn expire(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? <= now { self.take(0) } else { None }
    }

    /// How many are running.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When a running timer is due. O(1).
    pub(crate) fn due(&self, id: TimerId) -> Option<Instant> {
        match self.slot(id.slot())? {
            Slot::Running { place, .. } => self.heap.get(*place).map(|entry| entry.due),
            Slot::Free(_) => None,
        }
    }

    fn take(&mut self, place: usize) -> Option<T> {
        if place >= self.heap.len() {
            return None;
        }
        let Entry { slot, .. } = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.note(place);
            self.sink(place);
            self.rise(place);
        }
        let vacated = core::mem::replace(self.slots.get_mut(slot as usize)?, Slot::Free(self.free));
        self.free = Some(slot);
        match vacated {
            Slot::Running { what, .. } => Some(what),
            Slot::Free(_) => None,
        }
    }

    fn rise(&mut self, mut place: usize) {
        while let Some(parent) = place.checked_sub(1).map(|above| above / ARITY) {
            if !self.earlier(place, parent) {
                break;
            }
            self.swap(place, parent);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let first = place.saturating_mul(ARITY).saturating_add(1);
            let children = first..first.saturating_add(ARITY).min(self.heap.len());
            let Some(child) =
                children.reduce(|best, other| if self.earlier(other, best) { other } else { best })
            else {
                break;
            };
            if !self.earlier(child, place) {
                break;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn earlier(&self, one: usize, other: usize) -> bool {
        let rank = |place: usize| self.heap.get(place).map(|entry| (entry.due, entry.turn));
        rank(one) < rank(other)
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.note(one);
        self.note(other);
    }

    /// Tells the slot of the entry at `place` where it lies now.
    fn note(&mut self, place: usize) {
        let Some(entry) = self.heap.get(place) else { return };
        if let Some(Slot::Running { place: noted, .. }) = self.slots.get_mut(entry.slot as usize) {
            *noted = place;
        }
    }

    fn slot(&self, slot: u32) -> Option<&Slot<T>> {
        self.slots.get(slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Start(u64),
        Stop(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u64..20).prop_map(Step::Start),
            2 => any::<prop::sample::Index>().prop_map(|at| Step::Stop(at.index(64))),
            1 => (0u64..6).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a sorted vector, for any sequence of starting, stopping and passing time.
        #[test]
        fn expires_in_order_of_deadline_and_start(steps in prop::collection::vec(step(), 0..200)) {
            let mut timers = Timers::default();
            let mut model: Vec<(u64, u32, TimerId)> = Vec::new();
            let mut now = 0;
            for (name, step) in (0u32..).zip(steps) {
                match step {
                    Step::Start(after) => {
                        let id = timers.start(Instant::from_millis(now + after), name);
                        prop_assert!(model.iter().all(|(_, _, other)| *other != id));
                        model.push((now + after, name, id));
                    }
                    Step::Stop(at) if at < model.len() => {
                        let (due, _, id) = model.remove(at);
                        prop_assert_eq!(timers.due(id), Some(Instant::from_millis(due)));
                        timers.stop(id);
                    }
                    Step::Stop(_) => {}
                    Step::Pass(span) => {
                        now += span;
                        model.sort_by_key(|(due, name, _)| (*due, *name));
                        while let Some(name) = timers.expire(Instant::from_millis(now)) {
                            let (due, expected, _) = model.remove(0);
                            prop_assert_eq!(name, expected);
                            prop_assert!(due <= now);
                        }
                        prop_assert!(model.first().is_none_or(|(due, _, _)| *due > now));
                    }
                }
                let first = model.iter().map(|(due, _, _)| *due).min().map(Instant::from_millis);
                prop_assert_eq!(timers.next_due(), first);
            }
        }
    }
}
