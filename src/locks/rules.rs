//! What breaks what, as data: one row an operation, each with its source.

use super::Level;
use super::Level::{Batch, Exclusive, II};
use crate::state::LeaseState;
use Recalls::{Everybody, Nobody, Writers};

/// An operation as the object store sees it (MS-FSA 2.1.4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// An open that asks for attributes only, or anything else that disturbs nobody.
    Stat,
    /// An open that asks for READ_CONTROL besides.
    Control,
    /// An open that another open excludes. A deferred close may cure that.
    ShareConflict,
    /// An open of an existing file that leaves its data alone.
    Open,
    /// Such an open by which data may be written, or that leaves others no reading.
    OpenToWrite,
    /// An open that takes the data away.
    Overwrite,
    Read,
    Flush,
    Write,
    /// A byte-range lock.
    Lock,
    /// Such a lock that nobody else may read behind: SMB's exclusive ones are mandatory.
    LockFromReaders,
    /// A lock of octets that the file does not have: nothing is cached of them.
    LockBeyond,
    SetSize,
    /// The file is renamed.
    Rename,
    /// The file gets a further name.
    Link,
    /// As `Link`, by the letter of MS-FSA.
    LinkTakingHandles,
    /// Times, attributes, owner or mode are set.
    SetAttributes,
    /// The security descriptor is set, by the letter of MS-FSA.
    SetSecurity,
    /// The file is to go with its last open.
    Delete,
    /// The close of a handle opened with delete-on-close.
    DeleteOnClose,
    /// The file must not be open any more: its name is needed, or that of a directory above.
    Evict,
    /// For a directory: something about an entry is another.
    EntryChanged,
}

/// What an operation takes from the lease or oplock of another, and for what it has to wait.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the name and the source of a row are for people and tests")
)]
pub(crate) struct Rule {
    pub(crate) operation: Operation,
    /// The caching that does not survive the operation.
    pub(crate) revokes: LeaseState,
    /// The operation waits for a lease that loses any of this: dirty data to be written back, deferred closes to be
    /// sent. A cache that only loses the right to be read is told, not waited for.
    pub(crate) awaits: LeaseState,
    /// Whose delegations are recalled. It waits for those always: a client that has one may act on it until it is returned.
    pub(crate) recalls: Recalls,
    /// What becomes of the oplocks II, EXCLUSIVE and BATCH. It waits for the latter two.
    pub(crate) oplocks: [Level; 3],
    /// Whether it waits for a break from which it needs nothing.
    pub(crate) queue: Queue,
    /// Where it is written.
    pub(crate) cite: &'static str,
}

/// Which delegations an operation conflicts with (RFC 8881 10.4.1, 10.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Recalls {
    Nobody,
    /// OPEN_DELEGATE_WRITE: its client has data and attributes that nobody else sees.
    Writers,
    /// OPEN_DELEGATE_READ too: what its client believes would not be so any more.
    Everybody,
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

/// Oplocks stay as they are.
const STAY: [Level; 3] = [II, Exclusive, Batch];
/// Oplocks that cache writes come down to II.
const TO_II: [Level; 3] = [II, II, II];
const TO_NONE: [Level; 3] = [Level::None, Level::None, Level::None];
/// BATCH alone goes: only it defers closes.
const BATCH_GOES: [Level; 3] = [II, Exclusive, Level::None];

/// The rows, in the order of MS-FSA 2.1.4.12.
pub(crate) const RULES: [Rule; 22] = [
    row(
        Operation::Stat,
        NONE,
        NONE,
        Nobody,
        STAY,
        "MS-SMB2 3.3.1.4, MS-FSA 2.1.4.12: attributes and SYNCHRONIZE",
    ),
    row(
        Operation::Control,
        NONE,
        NONE,
        Nobody,
        TO_II,
        "MS-FSA 2.1.4.12: READ_CONTROL is harmless to leases alone",
    ),
    row(
        Operation::ShareConflict,
        H,
        H,
        Everybody,
        STAY,
        "MS-SMB2 3.3.1.4, MS-FSA 2.1.5.1.2.2: a sharing conflict; RFC 8881 10.4: a CLOSE is kept back too",
    ),
    row(Operation::Open, W, W, Writers, TO_II, "MS-SMB2 3.3.1.4: an open beyond attributes"),
    row(Operation::OpenToWrite, W, W, Everybody, TO_II, "MS-SMB2 3.3.1.4: as above; RFC 8881 10.4.4"),
    row(Operation::Overwrite, RW, W, Everybody, TO_NONE, "MS-SMB2 3.3.1.4: an open that overwrites"),
    row(Operation::Read, W, W, Writers, TO_II, "MS-FSA 2.1.5.3, 2.1.4.12"),
    row(Operation::Flush, W, W, Writers, TO_II, "MS-FSA 2.1.5.7, 2.1.4.12"),
    row(Operation::Write, RW, W, Everybody, TO_NONE, "MS-SMB2 3.3.1.4, MS-FSA 2.1.5.4"),
    // RFC 8881 10.4.4: who may write by itself may lock by itself.
    row(Operation::Lock, RW, W, Writers, TO_NONE, "MS-SMB2 3.3.1.4: a byte-range lock; MS-FSA 2.1.5.8"),
    row(Operation::LockFromReaders, RW, W, Everybody, TO_NONE, "MS-FSA 2.1.5.8, 2.1.5.3; RFC 8881 10.4"),
    row(Operation::LockBeyond, NONE, NONE, Writers, STAY, "MS-FSA 2.1.5.8; RFC 8881 10.4.4"),
    row(Operation::SetSize, RW, W, Everybody, TO_NONE, "MS-SMB2 3.3.1.4: a change of size; MS-FSA 2.1.5.15"),
    row(Operation::Rename, H, H, Everybody, BATCH_GOES, "MS-SMB2 3.3.1.4: a rename; MS-FSA 2.1.5.15.12"),
    // Choice: as Samba has it.
    row(Operation::Link, NONE, NONE, Everybody, BATCH_GOES, "MS-FSA 2.1.5.15.6, without its handles"),
    row(Operation::LinkTakingHandles, H, H, Everybody, BATCH_GOES, "MS-FSA 2.1.5.15.6"),
    row(
        Operation::SetAttributes,
        NONE,
        NONE,
        Everybody,
        STAY,
        "RFC 8881 10.4.1: SETATTR; no lease of the file breaks",
    ),
    row(Operation::SetSecurity, H, H, Everybody, STAY, "MS-FSA 2.1.5.17"),
    row(Operation::Delete, H, H, Everybody, STAY, "MS-SMB2 3.3.1.4: removal; MS-FSA 2.1.5.15.3"),
    // Choice: as Samba and Windows do, the close itself does not wait.
    row(Operation::DeleteOnClose, H, NONE, Everybody, STAY, "MS-SMB2 3.3.1.4: removal; MS-FSA 2.1.5.5"),
    // Choice: H alone also from the target of a rename, as Windows has it; MS-FSA takes R and W.
    row(Operation::Evict, H, H, Everybody, BATCH_GOES, "MS-SMB2 3.3.1.4, MS-FSA 2.1.4.2, 2.1.5.15.12"),
    row(
        Operation::EntryChanged,
        RW,
        NONE,
        Nobody,
        STAY,
        "MS-SMB2 3.3.1.4, MS-FSA 2.1.4.12: of the parent directory",
    ),
];

const fn row(
    operation: Operation,
    revokes: LeaseState,
    awaits: LeaseState,
    recalls: Recalls,
    oplocks: [Level; 3],
    cite: &'static str,
) -> Rule {
    // Choice: as Samba and Windows have it, opens alone wait for stages that others caused.
    let queue = match operation {
        Operation::Open | Operation::OpenToWrite => Queue::BehindStages,
        Operation::Stat
        | Operation::Control
        | Operation::ShareConflict
        | Operation::Overwrite
        | Operation::Read
        | Operation::Flush
        | Operation::Write
        | Operation::Lock
        | Operation::LockFromReaders
        | Operation::LockBeyond
        | Operation::SetSize
        | Operation::Rename
        | Operation::Link
        | Operation::LinkTakingHandles
        | Operation::SetAttributes
        | Operation::SetSecurity
        | Operation::Delete
        | Operation::DeleteOnClose
        | Operation::Evict
        | Operation::EntryChanged => Queue::Nowhere,
    };
    Rule { operation, revokes, awaits, recalls, oplocks, queue, cite }
}

impl Operation {
    /// The row of this operation.
    pub(crate) const fn rule(self) -> &'static Rule {
        // By name, so that a row in the wrong place does not compile into a wrong answer: `every_row` holds the two together.
        let [
            stat,
            control,
            share_conflict,
            open,
            open_to_write,
            overwrite,
            read,
            flush,
            write,
            lock,
            lock_from_readers,
            lock_beyond,
            set_size,
            rename,
            link,
            link_taking_handles,
            set_attributes,
            set_security,
            delete,
            delete_on_close,
            evict,
            entry_changed,
        ] = &RULES;
        match self {
            Self::Stat => stat,
            Self::Control => control,
            Self::ShareConflict => share_conflict,
            Self::Open => open,
            Self::OpenToWrite => open_to_write,
            Self::Overwrite => overwrite,
            Self::Read => read,
            Self::Flush => flush,
            Self::Write => write,
            Self::Lock => lock,
            Self::LockFromReaders => lock_from_readers,
            Self::LockBeyond => lock_beyond,
            Self::SetSize => set_size,
            Self::Rename => rename,
            Self::Link => link,
            Self::LinkTakingHandles => link_taking_handles,
            Self::SetAttributes => set_attributes,
            Self::SetSecurity => set_security,
            Self::Delete => delete,
            Self::DeleteOnClose => delete_on_close,
            Self::Evict => evict,
            Self::EntryChanged => entry_changed,
        }
    }
}

impl Rule {
    /// What a delegation comes down to: it is returned, or stays.
    pub(crate) fn delegation(&self, held: LeaseState) -> LeaseState {
        let (writes, reads) = (held.contains(LeaseState::WRITE), !held.is_empty());
        let recalled = match self.recalls {
            Nobody => false,
            Writers => writes,
            Everybody => reads,
        };
        if recalled { LeaseState::NONE } else { held }
    }

    /// What an oplock of that level comes down to.
    pub(crate) const fn oplock(&self, held: Level) -> Level {
        let [two, exclusive, batch] = self.oplocks;
        match held {
            Level::None => Level::None,
            II => two,
            Exclusive => exclusive,
            Batch => batch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::{Break, Holder, Kind, Verdict, judge};

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

    const ____: Cell = Untouched;

    /// MS-SMB2 3.3.1.4 and MS-FSA 2.1.4.12 with what servers do in practice: leases R, RH, RW, RWH, then oplocks II, EXCLUSIVE,
    /// BATCH, whose II is R here; then delegations to read and to write (RFC 8881 10.4).
    #[rustfmt::skip]
    const MATRIX: [(Operation, [Cell; 9]); 22] = [
        (Operation::Stat,          [____, ____, ____, ____, ____, ____, ____, ____, ____]),
        (Operation::Control,       [____, ____, ____, ____, ____, Awaited(R), Awaited(R), ____, ____]),
        (Operation::ShareConflict, [____, Awaited(R), ____, Awaited(RW), ____, ____, ____, Awaited(NONE), Awaited(NONE)]),
        (Operation::Open,          [____, ____, Awaited(R), Awaited(RH), ____, Awaited(R), Awaited(R), ____, Awaited(NONE)]),
        (Operation::OpenToWrite,   [____, ____, Awaited(R), Awaited(RH), ____, Awaited(R), Awaited(R), Awaited(NONE), Awaited(NONE)]),
        (Operation::Overwrite,     [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::Read,          [____, ____, Awaited(R), Awaited(RH), ____, Awaited(R), Awaited(R), ____, Awaited(NONE)]),
        (Operation::Flush,         [____, ____, Awaited(R), Awaited(RH), ____, Awaited(R), Awaited(R), ____, Awaited(NONE)]),
        (Operation::Write,         [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::Lock,          [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), ____, Awaited(NONE)]),
        (Operation::LockFromReaders, [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::LockBeyond,    [____, ____, ____, ____, ____, ____, ____, ____, Awaited(NONE)]),
        (Operation::SetSize,       [Told(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Told(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::Rename,        [____, Awaited(R), ____, Awaited(RW), ____, ____, Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::Link,          [____, ____, ____, ____, ____, ____, Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::LinkTakingHandles, [____, Awaited(R), ____, Awaited(RW), ____, ____, Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::SetAttributes, [____, ____, ____, ____, ____, ____, ____, Awaited(NONE), Awaited(NONE)]),
        (Operation::SetSecurity,   [____, Awaited(R), ____, Awaited(RW), ____, ____, ____, Awaited(NONE), Awaited(NONE)]),
        (Operation::Delete,        [____, Awaited(R), ____, Awaited(RW), ____, ____, ____, Awaited(NONE), Awaited(NONE)]),
        (Operation::DeleteOnClose, [____, Told(R), ____, Told(RW), ____, ____, ____, Awaited(NONE), Awaited(NONE)]),
        (Operation::Evict,         [____, Awaited(R), ____, Awaited(RW), ____, ____, Awaited(NONE), Awaited(NONE), Awaited(NONE)]),
        (Operation::EntryChanged,  [Told(NONE), Told(NONE), Told(NONE), Told(NONE), ____, ____, ____, ____, ____]),
    ];

    #[test]
    fn every_row_does_to_every_holder_what_the_specification_says() {
        for (operation, cells) in MATRIX {
            assert_eq!(operation.rule().operation, operation);
            let leases = [R, RH, RW, RWH].map(|held| (Kind::Lease, held));
            let oplocks = [R, RW, RWH].map(|held| (Kind::Oplock, held));
            let delegations = [RH, RWH].map(|held| (Kind::Delegation, held));
            for ((kind, held), cell) in leases.into_iter().chain(oplocks).chain(delegations).zip(cells) {
                let mut breaks = std::vec::Vec::new();
                let holder = Holder { id: (), kind, held, breaking: None };
                let verdict = judge([holder].into_iter(), operation, &mut breaks);
                let became = match (verdict, breaks.as_slice()) {
                    (Verdict::Go, []) => Untouched,
                    (Verdict::Go, [Break { to, .. }]) => Told(*to),
                    (Verdict::Wait, [Break { to, .. }]) => Awaited(*to),
                    other => panic!("{operation:?} against {held}: {other:?}"),
                };
                assert_eq!(became, cell, "{operation:?} against {kind:?} {held}: {}", operation.rule().cite);
            }
        }
    }
}
