//! Oplocks of single opens: what they permit, and how they come down (MS-SMB2 3.2.5.19.1).

use crate::state::{LeaseState, OplockLevel};

/// Open.OplockLevel of an open without a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    None,
    II,
    Exclusive,
    Batch,
}

/// Whether the server waits for an answer to a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Silence,
    Acknowledgment,
}

/// MS-SMB2 3.2.5.19.1: level held, level left, and whether that is acknowledged. Everything else is ignored. What is written back,
/// purged and closed follows from what either permits.
const BREAKS: [(Level, Level, Reply); 6] = [
    (Level::II, Level::None, Reply::Silence),
    (Level::Exclusive, Level::II, Reply::Acknowledgment),
    (Level::Exclusive, Level::None, Reply::Acknowledgment),
    (Level::Batch, Level::Exclusive, Reply::Acknowledgment),
    (Level::Batch, Level::II, Reply::Acknowledgment),
    (Level::Batch, Level::None, Reply::Acknowledgment),
];

impl Level {
    /// What a CREATE response says; a value that means nothing is none.
    pub(super) fn granted(level: OplockLevel) -> Self {
        match level {
            OplockLevel::II => Self::II,
            OplockLevel::Exclusive => Self::Exclusive,
            OplockLevel::Batch => Self::Batch,
            // 0xFF without a context is no lease (MS-SMB2 3.2.5.7).
            OplockLevel::None | OplockLevel::Lease | OplockLevel::Undefined(_) => Self::None,
        }
    }

    pub(super) fn to_wire(self) -> OplockLevel {
        match self {
            Self::None => OplockLevel::None,
            Self::II => OplockLevel::II,
            Self::Exclusive => OplockLevel::Exclusive,
            Self::Batch => OplockLevel::Batch,
        }
    }

    /// What a cache may do under it, in the letters of leases.
    pub(super) fn permits(self) -> LeaseState {
        match self {
            Self::None => LeaseState::NONE,
            Self::II => LeaseState::R,
            Self::Exclusive => LeaseState::RW,
            Self::Batch => LeaseState::RWH,
        }
    }

    /// The lower one of two.
    pub(super) fn lower(self, other: Self) -> Self {
        if self.permits().contains(other.permits()) { other } else { self }
    }

    /// The level to ask for where there are no leases. Windows asks for BATCH where EXCLUSIVE would do (MS-SMB2 3.2.4.3 <151>).
    pub(super) fn wanted(state: LeaseState) -> Self {
        if state.contains(LeaseState::WRITE) {
            Self::Batch
        } else if state.contains(LeaseState::READ) {
            Self::II
        } else {
            Self::None
        }
    }

    /// Whether a break makes sense, and what the server expects.
    pub(super) fn breaks_to(self, new: OplockLevel) -> Option<(Self, Reply)> {
        let row = BREAKS.into_iter().find(|(held, to, _)| *held == self && to.to_wire() == new);
        row.map(|(_, to, reply)| (to, reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_always_lowers_and_only_level_ii_is_silent() {
        // MS-SMB2 3.2.5.19.1.
        let levels = [Level::None, Level::II, Level::Exclusive, Level::Batch];
        for (held, at) in levels.into_iter().zip(0..) {
            for (new, to) in levels.into_iter().zip(0..) {
                let expected = match (held, to < at) {
                    (_, false) => None,
                    (Level::II, true) => Some((new, Reply::Silence)),
                    (Level::None | Level::Exclusive | Level::Batch, true) => {
                        Some((new, Reply::Acknowledgment))
                    }
                };
                assert_eq!(held.breaks_to(new.to_wire()), expected, "{held:?} to {new:?}");
            }
            assert_eq!(held.breaks_to(OplockLevel::Lease), None);
        }
    }
}
