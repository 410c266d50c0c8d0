//! What breaks what, as data: one row an operation, each with its source.

use crate::state::LeaseState;

/// An operation as the object store sees it (MS-FSA 2.1.4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// An open, or anything else, that asks for stat access only.
    Stat,
    /// An open that another open excludes. A deferred close may cure that.
    ShareConflict,
    /// An open of an existing file that leaves its data alone.
    Open,
    /// An open that takes the data away.
    Overwrite,
    Read,
    Flush,
    Write,
    SetSize,
    /// The close of a handle opened with delete-on-close.
    DeleteOnClose,
}

/// What an operation takes from the lease of another, and for what it has to wait.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the name and the source of a row are for people and tests")
)]
pub(crate) struct Rule {
    pub(crate) operation: Operation,
    /// The caching that does not survive the operation.
    pub(crate) revokes: LeaseState,
    /// The operation waits for a holder that loses any of this: dirty data to be written back, deferred closes to be
    /// sent. A cache that only loses the right to be read is told, not waited for.
    pub(crate) awaits: LeaseState,
    /// Whether it waits for a break from which it needs nothing.
    pub(crate) queue: Queue,
    /// Where it is written.
    pub(crate) cite: &'static str,
}

/// What an operation does when a lease is breaking in stages of which it needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// It waits until the lease has come all the way down.
    BehindStages,
    Nowhere,
}

const NONE: LeaseState = LeaseState::NONE;
const W: LeaseState = LeaseState::WRITE;
const H: LeaseState = LeaseState::HANDLE;
const RW: LeaseState = LeaseState::RW;

/// The rows, in the order of MS-FSA 2.1.4.12.
pub(crate) const RULES: [Rule; 9] = [
    row(
        Operation::Stat,
        NONE,
        NONE,
        "MS-SMB2 3.3.1.4, MS-FSA 2.1.4.12: attributes and SYNCHRONIZE, for leases READ_CONTROL",
    ),
    row(Operation::ShareConflict, H, H, "MS-SMB2 3.3.1.4, MS-FSA 2.1.5.1.2.2: a sharing conflict"),
    row(Operation::Open, W, W, "MS-SMB2 3.3.1.4: an open beyond attributes"),
    row(Operation::Overwrite, RW, W, "MS-SMB2 3.3.1.4: an open that overwrites"),
    row(Operation::Read, W, W, "MS-FSA 2.1.5.3, 2.1.4.12"),
    row(Operation::Flush, W, W, "MS-FSA 2.1.5.7, 2.1.4.12"),
    row(Operation::Write, RW, W, "MS-SMB2 3.3.1.4, MS-FSA 2.1.5.4"),
    row(Operation::SetSize, RW, W, "MS-SMB2 3.3.1.4: a change of size; MS-FSA 2.1.5.15"),
    // Choice: as Samba and Windows do, the close itself does not wait.
    row(Operation::DeleteOnClose, H, NONE, "MS-SMB2 3.3.1.4: removal; MS-FSA 2.1.5.5"),
];

const fn row(operation: Operation, revokes: LeaseState, awaits: LeaseState, cite: &'static str) -> Rule {
    // Choice: as Samba and Windows have it, opens alone wait for stages that others caused.
    let queue = match operation {
        Operation::Open => Queue::BehindStages,
        Operation::Stat
        | Operation::ShareConflict
        | Operation::Overwrite
        | Operation::Read
        | Operation::Flush
        | Operation::Write
        | Operation::SetSize
        | Operation::DeleteOnClose => Queue::Nowhere,
    };
    Rule { operation, revokes, awaits, queue, cite }
}

impl Operation {
    /// The row of this operation.
    pub(crate) fn rule(self) -> &'static Rule {
        let [stat, share_conflict, open, overwrite, read, flush, write, set_size, delete_on_close] = &RULES;
        match self {
            Self::Stat => stat,
            Self::ShareConflict => share_conflict,
            Self::Open => open,
            Self::Overwrite => overwrite,
            Self::Read => read,
            Self::Flush => flush,
            Self::Write => write,
            Self::SetSize => set_size,
            Self::DeleteOnClose => delete_on_close,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::{Break, Holder, Verdict, judge};

    const R: LeaseState = LeaseState::R;
    const RH: LeaseState = LeaseState::RH;
    const RWH: LeaseState = LeaseState::RWH;

    /// What becomes of a holder.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Cell {
        Untouched,
        Told(LeaseState),
        Awaited(LeaseState),
    }
    use Cell::{Awaited, Told, Untouched};

    /// MS-SMB2 3.3.1.4 and MS-FSA 2.1.4.12 with what servers do in practice: holders R, RH, RW, RWH in this order.
    const MATRIX: [(Operation, [Cell; 4]); 9] = [
        (Operation::Stat, [Untouched; 4]),
        (Operation::ShareConflict, [Untouched, Awaited(R), Untouched, Awaited(RW)]),
        (Operation::Open, [Untouched, Untouched, Awaited(R), Awaited(RH)]),
        (Operation::Overwrite, [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::Read, [Untouched, Untouched, Awaited(R), Awaited(RH)]),
        (Operation::Flush, [Untouched, Untouched, Awaited(R), Awaited(RH)]),
        (Operation::Write, [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::SetSize, [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::DeleteOnClose, [Untouched, Told(R), Untouched, Told(RW)]),
    ];

    #[test]
    fn every_row_does_to_every_holder_what_the_specification_says() {
        for (operation, cells) in MATRIX {
            assert_eq!(operation.rule().operation, operation);
            for (held, cell) in [R, RH, RW, RWH].into_iter().zip(cells) {
                let mut breaks = std::vec::Vec::new();
                let holder = Holder { id: (), held, breaking: None };
                let verdict = judge([holder].into_iter(), operation, &mut breaks);
                let became = match (verdict, breaks.as_slice()) {
                    (Verdict::Go, []) => Untouched,
                    (Verdict::Go, [Break { to, .. }]) => Told(*to),
                    (Verdict::Wait, [Break { to, .. }]) => Awaited(*to),
                    other => panic!("{operation:?} against {held}: {other:?}"),
                };
                assert_eq!(became, cell, "{operation:?} against {held}: {}", operation.rule().cite);
            }
        }
    }
}
