//! One name with its lease key: what the server was told it holds, what the cache may do, and how it comes down.

use super::{FileRef, FileSlot, OpenSlot};
use crate::state::LeaseState;
use crate::store::list::{Links, List};
use crate::store::table::Keyed;
use crate::types::{ConnId, Epoch, FileId, LeaseKey, RequestId};

/// A name that is open or being opened (MS-SMB2 3.2.1.5).
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: FileRef,
    pub(super) key: LeaseKey,
    /// What the lease gives: never more than the server has granted, never more than it was told in a break.
    pub(super) state: LeaseState,
    pub(super) version: Version,
    pub(super) epoch: Epoch,
    /// What the cache was allowed last.
    pub(super) allowed: LeaseState,
    pub(super) opens: List<OpenSlot>,
    /// CREATEs that are not answered.
    pub(super) creating: u32,
    pub(super) descent: Descent,
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
    pub(super) answer: Answer,
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
    Due,
}

impl Task {
    pub(super) fn demand(&mut self) {
        *self = match *self {
            Self::Idle | Self::Due => Self::Due,
            Self::Running | Self::Again => Self::Again,
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
    pub(super) const DONE: Self = Self { flush: Task::Idle, purge: Task::Idle, answer: Answer::None };
}

impl File {
    pub(super) fn new(name: FileRef, key: LeaseKey) -> Self {
        Self {
            name,
            key,
            state: LeaseState::NONE,
            version: Version::V2,
            epoch: Epoch::ZERO,
            allowed: LeaseState::NONE,
            opens: List::default(),
            creating: 0,
            descent: Descent::DONE,
        }
    }

    /// Comes down to what of the present state is in `to`: what is lost has to be written back or dropped.
    pub(super) fn lower(&mut self, to: LeaseState) {
        let left = self.state.intersection(to).normalized();
        let lost = self.state.difference(left);
        if lost.contains(LeaseState::WRITE) {
            self.descent.flush.demand();
        }
        if lost.contains(LeaseState::READ) {
            self.descent.purge.demand();
        }
        self.state = left;
    }

    /// The lease is gone with the last connection: there is nobody to write back to. Returns what the cache was allowed.
    pub(super) fn lose(&mut self) -> LeaseState {
        if !self.state.is_empty() {
            self.descent.purge.demand();
        }
        self.state = LeaseState::NONE;
        self.allowed
    }
}

/// An open of the application's, from the moment when its CREATE goes out.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) file: FileSlot,
    pub(super) conn: ConnId,
    pub(super) stage: Stage,
    pub(super) in_file: Links<OpenSlot>,
}

/// ```text
/// Creating ──► Live ──Release──► Kept ──H lost──► Closing
///                └──Release, no H──► Parting ──written back──► Closing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Creating {
        request: RequestId,
    },
    Live {
        file_id: FileId,
    },
    /// The application is done with it; H keeps it open.
    Kept {
        file_id: FileId,
    },
    /// The application is done with it; it closes when nothing is dirty any more.
    Parting {
        file_id: FileId,
    },
    Closing,
}

impl Keyed for File {
    type Key = FileRef;

    fn key(&self) -> FileRef {
        self.name
    }
}
