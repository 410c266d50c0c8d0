//! One name with its lease key: what the server was told it holds, what the cache may do, and how it comes down.

use super::open::Under;
use super::{FileRef, FileSlot, OpenSlot};
use crate::state::LeaseState;
use crate::store::list::List;
use crate::store::table::Keyed;
use crate::types::{Epoch, LeaseKey};

/// A name that is open or being opened (MS-SMB2 3.2.1.5).
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: FileRef,
    pub(super) key: LeaseKey,
    /// What the lease gives: never more than the server has granted.
    pub(super) state: LeaseState,
    /// What the oplocks of single opens add to it.
    pub(super) oplocks: LeaseState,
    /// The directory whose key goes along, and how many names name this one so: they keep it (MS-SMB2 3.2.4.3.8).
    pub(super) parent: Option<FileSlot>,
    pub(super) children: u32,
    /// Handles that only H keeps open.
    pub(super) kept: u32,
    pub(super) version: Version,
    pub(super) epoch: Epoch,
    /// What the cache was allowed last.
    pub(super) allowed: LeaseState,
    pub(super) opens: List<OpenSlot>,
    /// CREATEs that ask for this lease and are not answered.
    pub(super) creating: u32,
    pub(super) descent: Descent,
    /// Of the acknowledgment that is due next.
    pub(super) turn: Turn,
    /// The notification that was answered last, or is to be: it may come twice, on two channels.
    pub(super) heard: Option<(Epoch, LeaseState)>,
    pub(super) presence: Presence,
    /// In which order names came.
    pub(super) serial: u64,
}

/// Whether an acknowledgment goes out for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    /// The first one was under way on a connection that is gone.
    Again,
}

/// Whether epochs say anything: the lease keeps the version with which the server answers (MS-SMB2 3.3.5.9.8, .11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// The way down after a break: write back, purge, close what was kept open, answer. Each step waits for the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descent {
    pub(super) flush: Task,
    pub(super) purge: Task,
    pub(super) cache: Cache,
    pub(super) answer: Answer,
}

/// Whether all opens of a name have a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    Away,
}

/// Whether what is cached can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    Valid,
    /// Something changed unseen: nothing may be used until it is purged.
    Void,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Idle,
    Due,
    Running,
    /// Running, and due once more.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    None,
    /// An acknowledgment is due, of no more than `told`.
    Due {
        told: LeaseState,
    },
}

impl Task {
    pub(super) fn demand(&mut self) {
        *self = match *self {
            Self::Idle | Self::Due => Self::Due,
            Self::Running | Self::Again => Self::Again,
        };
    }

    /// What is not begun is not done.
    pub(super) fn forgo(&mut self) {
        *self = match *self {
            Self::Idle | Self::Due => Self::Idle,
            Self::Running | Self::Again => Self::Running,
        };
    }

    pub(super) fn finish(&mut self) {
        *self = match *self {
            Self::Idle | Self::Running => Self::Idle,
            Self::Due | Self::Again => Self::Due,
        };
    }
}

impl Descent {
    pub(super) const DONE: Self =
        Self { flush: Task::Idle, purge: Task::Idle, cache: Cache::Valid, answer: Answer::None };
}

impl File {
    pub(super) fn new(name: FileRef, key: LeaseKey, serial: u64) -> Self {
        Self {
            name,
            key,
            state: LeaseState::NONE,
            oplocks: LeaseState::NONE,
            parent: None,
            children: 0,
            kept: 0,
            version: Version::V2,
            epoch: Epoch::ZERO,
            allowed: LeaseState::NONE,
            opens: List::default(),
            creating: 0,
            descent: Descent::DONE,
            turn: Turn::First,
            heard: None,
            presence: Presence::Here,
            serial,
        }
    }

    /// What server and client agree on: lease and oplocks together.
    pub(super) fn held(&self) -> LeaseState {
        self.state.union(self.oplocks)
    }

    pub(super) fn count_creating(&mut self, under: Under, count: impl Fn(u32, u32) -> u32) {
        if under == Under::Lease {
            self.creating = count(self.creating, 1);
        }
    }

    /// A handle is about to close: what is dirty may have been written through it, and is written back first.
    pub(super) fn flush_before_closing(&mut self) {
        if self.held().contains(LeaseState::WRITE) {
            self.descent.flush.demand();
        }
    }

    /// Comes down to what of the present lease is in `to`.
    pub(super) fn lower(&mut self, to: LeaseState) {
        self.hold(self.state.intersection(to).normalized(), self.oplocks);
    }

    /// Holds this from now on: what is lost has to be written back or dropped.
    pub(super) fn hold(&mut self, state: LeaseState, oplocks: LeaseState) {
        let before = self.held();
        (self.state, self.oplocks) = (state, oplocks);
        let lost = before.difference(self.held());
        if lost.contains(LeaseState::WRITE) {
            self.descent.flush.demand();
        }
        if lost.contains(LeaseState::READ) {
            self.descent.purge.demand();
        }
    }

    /// What is cached may be stale. What is dirty is not: it is written back first.
    pub(super) fn void(&mut self) {
        self.flush_before_closing();
        self.descent.purge.demand();
        self.descent.cache = Cache::Void;
    }

    /// What the cache may do now.
    pub(super) fn permitted(&self) -> LeaseState {
        match (self.descent.cache, self.presence) {
            (Cache::Valid, Presence::Here) => self.held(),
            // Choice: while a handle is away its server may give it up untold, so that what is cached is only kept.
            (Cache::Void, _) | (_, Presence::Away) => LeaseState::NONE,
        }
    }

    /// What is lost if the last connection goes: with W, what is not written back.
    pub(super) fn at_stake(&self) -> LeaseState {
        let cached = match self.presence {
            Presence::Here => self.allowed,
            Presence::Away => self.held(),
        };
        match self.descent.flush {
            Task::Idle => cached,
            Task::Due | Task::Running | Task::Again => cached.union(LeaseState::RW),
        }
    }

    /// The last connection is gone, and opens will come back: what was being written back is dirty still, and nobody waits for an
    /// answer.
    pub(super) fn interrupted(&mut self) {
        self.descent.answer = Answer::None;
        (self.turn, self.heard) = (Turn::First, None);
        if self.descent.flush == Task::Running {
            self.descent.flush = Task::Again;
        }
    }

    /// Everything is gone with the last connection: there is nobody to write back to, and nobody to answer.
    pub(super) fn lose(&mut self) {
        if !self.held().is_empty() {
            self.descent.purge.demand();
        }
        (self.state, self.oplocks) = (LeaseState::NONE, LeaseState::NONE);
        // <202>: a CREATE that is on its way may join the lease that is breaking, and has to answer then.
        if self.creating == 0 {
            self.descent.answer = Answer::None;
            (self.turn, self.heard) = (Turn::First, None);
        }
        self.descent.flush.forgo();
    }

    /// An acknowledgment is due, of no more than this and of what was told before.
    pub(super) fn answer_due(&mut self, told: LeaseState) {
        let told = match self.descent.answer {
            Answer::None => told,
            Answer::Due { told: before } => before.intersection(told),
        };
        self.descent.answer = Answer::Due { told };
    }
}

impl Keyed for File {
    type Key = FileRef;

    fn key(&self) -> FileRef {
        self.name
    }
}
