//! An open, from the moment when its CREATE goes out.

use alloc::boxed::Box;

use super::asking::Ask;
use super::away::Away;
use super::durability::Durability;
use super::level::Level;
use super::opening::Opening;
use super::{FileSlot, OpenSlot};
use crate::persist::ClientRecord;
use crate::state::LeaseState;
use crate::store::list::Links;
use crate::types::{ConnId, FileId};

#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) file: FileSlot,
    /// Of no meaning before the CREATE is sent, and while it is away.
    pub(super) conn: ConnId,
    pub(super) away: Option<Away>,
    pub(super) asked: Opening,
    pub(super) under: Under,
    pub(super) stage: Stage,
    pub(super) durability: Durability,
    /// In which order opens were made.
    pub(super) serial: u64,
    /// CREATEs sent again, or reconnects in vain since the last success.
    pub(super) tries: u32,
    /// How the CREATE asked for caching: one that is sent again asks for the same.
    pub(super) ask: Option<Ask>,
    pub(super) in_file: Links<OpenSlot>,
    pub(super) in_kept: Links<OpenSlot>,
    /// The record that was stored last.
    pub(super) saved: Option<Box<ClientRecord>>,
}

/// Each of these may be away: see [`Away`].
///
/// ```text
/// Creating ──► Live ──Release, H──► Kept ──H lost, or too many──► Parting ──written back──► Closing
///    │          ▲ └──────────────────┼──Release, no H───────────────►┘                         ▲
///    │          └──────taken up──────┘                                                         │
///    └──answered with the lease of another key─────────────────────────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Creating,
    Live {
        file_id: FileId,
        oplock: Debt,
    },
    /// The application is done with it; H keeps it open. `turn` says which of them is the oldest.
    Kept {
        file_id: FileId,
        turn: u64,
    },
    /// The application is done with it; it closes when nothing is dirty any more.
    Parting {
        file_id: FileId,
    },
    Closing {
        file_id: FileId,
    },
}

/// Whether an acknowledgment of an oplock break is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Debt {
    None,
    Due,
}

/// Whether an open belongs to the lease of its name. One that does not keeps no lease alive, and no lease break closes it; it may
/// have an oplock of its own. Of an open that is being made: what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Under {
    Lease,
    Oplock(Level),
}

impl Open {
    /// An open whose CREATE is about to go out.
    pub(super) fn new(file: FileSlot, asked: Opening, serial: u64) -> Self {
        Self {
            file,
            conn: ConnId::new(0),
            away: None,
            asked,
            under: Under::Oplock(Level::None),
            stage: Stage::Creating,
            durability: Durability::None,
            serial,
            tries: 0,
            ask: None,
            in_file: Links::default(),
            in_kept: Links::default(),
            saved: None,
        }
    }

    /// Whether the server has the lease for the sake of this open, and will have.
    pub(super) fn holds_lease(&self) -> bool {
        self.under == Under::Lease && self.stage.holds()
    }

    /// What its own oplock adds to what the cache may do.
    pub(super) fn oplock(&self) -> LeaseState {
        match self.under {
            Under::Oplock(level) if self.stage.holds() => level.permits(),
            Under::Oplock(_) | Under::Lease => LeaseState::NONE,
        }
    }

    /// What it may cache, beside a lease in this state.
    pub(super) fn caches(&self, lease: LeaseState) -> LeaseState {
        match self.under {
            Under::Lease => lease,
            Under::Oplock(level) => level.permits(),
        }
    }

    /// Whether its close may be kept back, beside a lease in this state.
    pub(super) fn may_stay(&self, lease: LeaseState) -> bool {
        self.caches(lease).contains(LeaseState::HANDLE) && self.asked.may_be_kept()
    }
}

impl Stage {
    fn holds(self) -> bool {
        match self {
            Self::Live { .. } | Self::Kept { .. } => true,
            Self::Creating | Self::Parting { .. } | Self::Closing { .. } => false,
        }
    }

    /// Whether there is a handle, or will be again, through which data can be written.
    pub(super) fn usable(self) -> bool {
        match self {
            Self::Live { .. } | Self::Kept { .. } | Self::Parting { .. } => true,
            Self::Creating | Self::Closing { .. } => false,
        }
    }

    /// The same stage after a reconnect: the FileId is a new one, and what was to be acknowledged is asked anew.
    pub(super) fn again(self, file_id: FileId) -> Self {
        match self {
            Self::Creating => Self::Creating,
            Self::Live { .. } => Self::Live { file_id, oplock: Debt::None },
            Self::Kept { turn, .. } => Self::Kept { file_id, turn },
            Self::Parting { .. } => Self::Parting { file_id },
            Self::Closing { .. } => Self::Closing { file_id },
        }
    }

    pub(super) fn file_id(self) -> Option<FileId> {
        match self {
            Self::Creating => None,
            Self::Live { file_id, .. }
            | Self::Kept { file_id, .. }
            | Self::Parting { file_id }
            | Self::Closing { file_id } => Some(file_id),
        }
    }
}
