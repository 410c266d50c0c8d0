//! The arbiter: what an operation needs of those who hold something on a file. Pure, without time and without ids of its own.

pub(crate) mod posix;
pub(crate) mod range;
pub(crate) mod rules;
pub(crate) mod share;
mod tree;
pub(crate) mod waits;

use alloc::vec::Vec;

use crate::state::{Access, Disposition, LeaseState, OplockLevel};
use crate::types::{ClientGuid, FileId, FileKey, LeaseKey, OwnerId};
pub(crate) use rules::{Operation, Queue};
use share::Claim;
pub use waits::Locker;

/// Who acts. A lease is never broken by its own holder (MS-SMB2 3.3.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "who acts is an open, a lease, or an owner without either")]
pub enum Actor {
    /// An SMB open of the file.
    Open(FileId),
    /// The holder of a lease that acts on another file than that of its open.
    Lease {
        /// Its client.
        client: ClientGuid,
        /// Its key.
        key: LeaseKey,
    },
    /// An owner of another protocol, or a process: it has no key, so nothing of SMB's is its own.
    Owner(OwnerId),
    /// Somebody without a lease who acts on another file than that of its open, or the server itself: equal to nobody.
    Other,
}

/// What is about to happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Intent {
    /// Data are read.
    Read {
        /// First octet.
        offset: u64,
        /// How many, in octets.
        len: u64,
    },
    /// Data are written.
    Write {
        /// First octet.
        offset: u64,
        /// How many, in octets.
        len: u64,
    },
    /// Data are to reach stable storage.
    Flush,
    /// End of file or allocation size is set, or a range is zeroed.
    SetSize,
    /// Times, attributes or extended attributes are set: the leases of the directory break.
    SetAttributes,
    /// The security descriptor is set.
    SetSecurity,
    /// The file is renamed. By somebody who has it not open with SMB: all opens of it stand by the new name from then on, and
    /// [`EntryChanged`](Self::EntryChanged) is to be said of both directories.
    Rename {
        /// The directory that the new name stands in.
        to: Option<FileKey>,
    },
    /// The file gets a further name.
    Link {
        /// The directory that the name stands in.
        to: Option<FileKey>,
    },
    /// FileDispositionInformation is set: the file goes with its last open, or stays after all.
    Delete {
        /// DeletePending
        pending: bool,
    },
    /// A name of the file goes at once, whoever has it open: REMOVE of NFS, unlink. The file itself stays for as long as it is open.
    Unlink,
    /// The file gives its name to another, by a rename that replaces it: refused with STATUS_ACCESS_DENIED while it is open.
    Replaced,
    /// For a file below a directory that is renamed: refused with STATUS_ACCESS_DENIED while it is open.
    AncestorMoved,
    /// For a directory into which, or within which, an entry is renamed: refused with STATUS_SHARING_VIOLATION while another
    /// has it open with DELETE access.
    RenameWithin,
    /// For a directory an entry of which was added, removed, renamed or changed by somebody without an open of it.
    EntryChanged {
        /// The ParentLeaseKey of whoever did it: its lease is spared (MS-FSA 2.1.4.12.2).
        parent: Option<LeaseKey>,
    },
}

/// The oplock levels that can be held, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    II,
    Exclusive,
    Batch,
}

impl Level {
    /// The level that caches no more than this. H without W does not exist here, and II does not defer closes.
    pub(crate) const fn within(state: LeaseState) -> Self {
        if !state.contains(LeaseState::READ) {
            Self::None
        } else if state.contains(LeaseState::RWH) {
            Self::Batch
        } else if state.contains(LeaseState::RW) {
            Self::Exclusive
        } else {
            Self::II
        }
    }

    /// What it lets its client cache (MS-SMB2 3.3.1.4 <316>).
    pub(crate) const fn caches(self) -> LeaseState {
        match self {
            Self::None => LeaseState::NONE,
            Self::II => LeaseState::R,
            Self::Exclusive => LeaseState::RW,
            Self::Batch => LeaseState::RWH,
        }
    }

    /// The octet of the wire.
    pub(crate) const fn on_wire(self) -> OplockLevel {
        match self {
            Self::None => OplockLevel::None,
            Self::II => OplockLevel::II,
            Self::Exclusive => OplockLevel::Exclusive,
            Self::Batch => OplockLevel::Batch,
        }
    }
}

/// One lease, oplock or delegation on the file, of another than the actor. What an oplock holds is said in the terms of leases:
/// [`Level::caches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder<Id> {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
    pub(crate) held: LeaseState,
    /// What its client was told to come down to and has not answered yet, and what it must come down to in the end.
    pub(crate) breaking: Option<(LeaseState, LeaseState)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lease,
    Oplock,
    /// RH to read, RWH to write. Recalled as a whole (RFC 8881 10.4).
    Delegation,
}

/// What must come down, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Break<Id> {
    pub(crate) id: Id,
    pub(crate) to: LeaseState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on as soon as those in `breaks` were told.
    Go,
    /// Park until a holder has come down, then judge again.
    Wait,
}

/// Judges an operation against all leases, oplocks and delegations on a file but the actor's own, and appends what must come down.
///
/// A holder that is breaking already is waited for if it loses something that the operation awaits, or if it was not yet
/// told of all that the operation takes: a second notification cannot go out before the first is answered
/// (MS-SMB2 3.3.4.7). O(holders).
pub(crate) fn judge<Id>(
    holders: impl Iterator<Item = Holder<Id>>,
    operation: Operation,
    breaks: &mut Vec<Break<Id>>,
) -> Verdict {
    let rule = operation.rule();
    let mut verdict = Verdict::Go;
    for Holder { id, kind, held, breaking } in holders {
        let (to, awaits) = match kind {
            Kind::Lease => (held.without(rule.revokes), rule.awaits),
            Kind::Delegation => (rule.delegation(held), LeaseState::RWH),
            // Level II is told and never waited for: it holds back neither data nor closes.
            Kind::Oplock => (rule.oplock(Level::within(held)).caches(), LeaseState::WRITE),
        };
        if to == held {
            let unfinished = breaking.is_some_and(|(told, needed)| told != needed);
            if unfinished && rule.queue == Queue::BehindStages {
                verdict = Verdict::Wait;
            }
            continue;
        }
        let awaited = held.difference(to).intersects(awaits);
        let untold = breaking.is_some_and(|(told, _)| !to.contains(told));
        // What nobody waits for has to be told all the same, but not before the first notification is answered.
        if awaited || (untold && !awaits.is_empty()) {
            verdict = Verdict::Wait;
        }
        breaks.push(Break { id, to });
    }
    verdict
}

/// The bits that make an open no more than a look at the file: it breaks no lease (MS-SMB2 3.3.1.4, MS-FSA 2.1.4.12).
const STAT: Access = Access::READ_ATTRIBUTES.union(Access::WRITE_ATTRIBUTES).union(Access::SYNCHRONIZE);

/// What an open does to what others cache. The disposition adds to the access (MS-FSA 2.1.5.1.2): OVERWRITE the right
/// to write, SUPERSEDE the right to delete.
/// With MAXIMUM_ALLOWED what was granted says whether data may be written: the claim has it.
pub(crate) fn operation_of_open(desired: Access, claim: Claim, disposition: Disposition) -> Operation {
    if disposition.overwrites() {
        Operation::Overwrite
    } else if STAT.contains(desired) {
        Operation::Stat
    } else if STAT.union(Access::READ_CONTROL).contains(desired) {
        Operation::Control
    } else if desired.intersects(WRITING) || claim.disturbs_readers() {
        Operation::OpenToWrite
    } else {
        Operation::Open
    }
}

/// The bits by which data may be written: what a client believes that reads from a delegation would not be so any more.
const WRITING: Access =
    Access::WRITE_DATA.union(Access::APPEND_DATA).union(Access::GENERIC_WRITE).union(Access::GENERIC_ALL);

/// Whether an open stands in the way of another's W. READ_CONTROL breaks no lease, but forbids W (MS-FSA 2.1.4.12).
pub(crate) fn forbids_write_caching(desired: Access, disposition: Disposition) -> bool {
    disposition.overwrites() || !STAT.contains(desired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ShareMode;

    fn one(held: LeaseState, told: Option<LeaseState>, operation: Operation) -> Verdict {
        judge(
            [Holder { id: 0, kind: Kind::Lease, held, breaking: told.map(|told| (told, told)) }].into_iter(),
            operation,
            &mut Vec::new(),
        )
    }

    #[test]
    fn an_overwrite_of_a_lease_that_breaks_to_none_does_not_wait_again() {
        // MS-SMB2 3.3.4.7: RH was told NONE; R and H are not waited for.
        assert_eq!(one(LeaseState::RH, Some(LeaseState::NONE), Operation::Overwrite), Verdict::Go);
    }

    #[test]
    fn what_the_client_was_not_told_is_waited_for() {
        // The client of RH was told R and may go on reading its cache: no overwrite behind its back.
        assert_eq!(one(LeaseState::RH, Some(LeaseState::R), Operation::Overwrite), Verdict::Wait);
        assert_eq!(one(LeaseState::RWH, Some(LeaseState::RH), Operation::Open), Verdict::Wait);
    }

    #[test]
    fn an_open_waits_for_a_lease_with_a_stage_to_go_and_for_no_other() {
        // As deployed: an open that met a breaking lease stays parked until the lease has come all the way down.
        let stages = |operation| {
            let breaking = Some((LeaseState::R, LeaseState::NONE));
            let holder = Holder { id: 0, kind: Kind::Lease, held: LeaseState::RH, breaking };
            judge([holder].into_iter(), operation, &mut Vec::new())
        };
        assert_eq!(stages(Operation::Open), Verdict::Wait);
        assert_eq!(stages(Operation::Read), Verdict::Go);
        assert_eq!(stages(Operation::Stat), Verdict::Go);
        // One that is told all it has to give is no obstacle to an open that takes nothing from it: two clients whose
        // acknowledgments wait for such opens of their own would wait for each other.
        assert_eq!(one(LeaseState::RH, Some(LeaseState::NONE), Operation::Open), Verdict::Go);
        assert_eq!(one(LeaseState::RH, Some(LeaseState::R), Operation::Open), Verdict::Go);
    }

    #[test]
    fn attributes_alone_break_nothing_unless_the_disposition_overwrites() {
        // MS-FSA 2.1.4.12 and 2.1.5.1.2, bit by bit.
        let harmless = [0x80, 0x100, 0x10_0000];
        for bit in 0..32 {
            let desired = Access::from_bits_retain(1 << bit);
            let expected = match 1 << bit {
                0x2_0000 => Operation::Control,
                bit if harmless.contains(&bit) => Operation::Stat,
                // RFC 8881 10.4: FILE_WRITE_DATA, FILE_APPEND_DATA, GENERIC_ALL, GENERIC_WRITE.
                0x2 | 0x4 | 0x1000_0000 | 0x4000_0000 => Operation::OpenToWrite,
                _ => Operation::Open,
            };
            let open = |sharing| {
                let claim = Claim::new(desired, sharing, Disposition::OpenIf);
                operation_of_open(desired, claim, Disposition::OpenIf)
            };
            assert_eq!(open(ShareMode::ALL), expected, "bit {bit}");
            let denies = ShareMode::WRITE.union(ShareMode::DELETE);
            let expected = if expected == Operation::Open { Operation::OpenToWrite } else { expected };
            assert_eq!(open(denies), expected, "bit {bit}, others must not read");
            assert_eq!(
                operation_of_open(
                    desired,
                    Claim::new(desired, ShareMode::ALL, Disposition::OverwriteIf),
                    Disposition::OverwriteIf
                ),
                Operation::Overwrite,
                "bit {bit}"
            );
        }
        assert!(forbids_write_caching(Access::READ_CONTROL, Disposition::Open));
        assert!(!forbids_write_caching(Access::READ_ATTRIBUTES, Disposition::Open));
    }
}
