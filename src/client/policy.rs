//! What a cache asks for: fixed, as Windows does, or less for a while of what was broken again and again.

use core::time::Duration;

use super::{FileRef, HabitSlot};
use crate::state::{Access, LeaseState};
use crate::store::hash::HashKey;
use crate::store::list::{Links, List};
use crate::store::table::{Keyed, Table};
use crate::time::Instant;

/// What to ask for when the application leaves it to the client ([`Want::Usual`](super::Want::Usual)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// RH, and RWH for an open that may write (MS-SMB2 3.2.4.3.8 <153>).
    #[default]
    Windows,
    /// The same for every file.
    Fixed(LeaseState),
    /// As Windows, but less for a while of a file whose W or H is broken again and again.
    Adaptive(Adaptive),
}

/// When a file counts as shared.
///
/// Every break that takes W, or H, adds one to the count of that letter. A count loses half of itself (rounded down, in
/// 256ths) with each half-life that passes, as told by the `now` of `handle`. While a count is at or above `breaks`, that letter
/// is not asked for. At most `files` names are remembered; the one whose last break is the longest ago is forgotten first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adaptive {
    /// From how many breaks on.
    pub breaks: u16,
    /// In which time half of them are forgotten. Zero forgets all at once.
    pub half_life: Duration,
    /// How many names to remember.
    pub files: usize,
}

impl Adaptive {
    /// Three breaks, half of them forgotten in a minute, 4096 names.
    pub const DEFAULT: Self = Self { breaks: 3, half_life: Duration::from_secs(60), files: 1 << 12 };

    /// With another threshold, half-life and number of names.
    pub const fn new(breaks: u16, half_life: Duration, files: usize) -> Self {
        Self { breaks, half_life, files }
    }
}

/// One break, in the units of a count.
const ONE: u32 = 256;

/// Accesses with which an open may change data.
pub(super) const WRITING: Access = Access::WRITE_DATA
    .union(Access::APPEND_DATA)
    .union(Access::GENERIC_WRITE)
    .union(Access::GENERIC_ALL)
    .union(Access::MAXIMUM_ALLOWED);

/// How often a name was broken of late.
#[derive(Clone, Copy, Debug)]
struct Habit {
    name: FileRef,
    /// Counts of W and of H, at `since`.
    write: u32,
    handle: u32,
    since: Instant,
    in_order: Links<HabitSlot>,
}

/// The policy with what it remembers.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    policy: Policy,
    known: Table<HabitSlot, Habit>,
    /// The longest ago first.
    order: List<HabitSlot>,
}

impl Habits {
    pub(super) fn new(policy: Policy, hash_key: HashKey) -> Self {
        let files = match policy {
            Policy::Windows | Policy::Fixed(_) => 0,
            Policy::Adaptive(adaptive) => adaptive.files,
        };
        Self { policy, known: Table::new(hash_key, files), order: List::default() }
    }

    /// What to ask for.
    pub(super) fn usual(&self, now: Instant, name: FileRef, access: Access) -> LeaseState {
        let windows = if access.intersects(WRITING) { LeaseState::RWH } else { LeaseState::RH };
        match self.policy {
            Policy::Windows => windows,
            Policy::Fixed(state) => state.normalized(),
            Policy::Adaptive(adaptive) => windows.without(self.shared(now, name, adaptive)),
        }
    }

    /// A break has taken this.
    pub(super) fn note(&mut self, now: Instant, name: FileRef, lost: LeaseState) {
        let Policy::Adaptive(adaptive) = self.policy else { return };
        if !lost.intersects(LeaseState::WRITE.union(LeaseState::HANDLE)) {
            return;
        }
        let Some(slot) = self.known.find(name).or_else(|| self.remember(now, name)) else { return };
        self.order.remove(&mut self.known.records, slot, |habit| &mut habit.in_order);
        self.order.push_back(&mut self.known.records, slot, |habit| &mut habit.in_order);
        if let Some(habit) = self.known.get_mut(slot) {
            habit.fade(now, adaptive.half_life);
            for (letter, count) in
                [(LeaseState::WRITE, &mut habit.write), (LeaseState::HANDLE, &mut habit.handle)]
            {
                if lost.contains(letter) {
                    *count = count.saturating_add(ONE);
                }
            }
        }
    }

    fn remember(&mut self, now: Instant, name: FileRef) -> Option<HabitSlot> {
        if let Some(oldest) = self.order.head().filter(|_| self.known.is_full()) {
            self.order.remove(&mut self.known.records, oldest, |habit| &mut habit.in_order);
            self.known.remove(oldest);
        }
        let habit = Habit { name, write: 0, handle: 0, since: now, in_order: Links::default() };
        let slot = self.known.insert(habit).ok()?;
        self.order.push_back(&mut self.known.records, slot, |habit| &mut habit.in_order);
        Some(slot)
    }

    fn shared(&self, now: Instant, name: FileRef, adaptive: Adaptive) -> LeaseState {
        let Some(mut habit) = self.known.find(name).and_then(|slot| self.known.get(slot)).copied() else {
            return LeaseState::NONE;
        };
        habit.fade(now, adaptive.half_life);
        let enough = u32::from(adaptive.breaks.max(1)).saturating_mul(ONE);
        let mut shared = LeaseState::NONE;
        shared.set(LeaseState::WRITE, habit.write >= enough);
        shared.set(LeaseState::HANDLE, habit.handle >= enough);
        shared
    }
}

impl Habit {
    /// Halves the counts for every half-life that has passed whole; what is left of the time counts on.
    fn fade(&mut self, now: Instant, half_life: Duration) {
        let passed = now.saturating_since(self.since).as_millis();
        let halves = passed.checked_div(half_life.as_millis()).unwrap_or(u128::MAX);
        let shift = u32::try_from(halves).unwrap_or(u32::MAX);
        self.write = self.write.checked_shr(shift).unwrap_or(0);
        self.handle = self.handle.checked_shr(shift).unwrap_or(0);
        self.since = self.since.saturating_add(half_life.saturating_mul(shift)).min(now);
    }
}

impl Keyed for Habit {
    type Key = FileRef;

    fn key(&self) -> FileRef {
        self.name
    }
}
