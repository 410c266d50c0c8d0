//! The tables: who takes what from whom, which opens exclude each other. Written down once more, from the texts.

use leasehold::{Access, Disposition, Intent, LeaseState, OplockLevel, ShareMode};

/// What an operation takes from leases and oplocks of others, and what of it it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What leases lose.
    pub takes: LeaseState,
    /// Whoever holds one of these is waited for.
    pub awaits: LeaseState,
    /// Whether II becomes NONE. Nobody waits for that.
    pub level_ii: bool,
    /// What EXCLUSIVE becomes. This is waited for.
    pub exclusive: Option<OplockLevel>,
    /// What BATCH becomes. This is waited for.
    pub batch: Option<OplockLevel>,
    /// Whether a level II of the open that acts goes as well.
    pub own_level_ii: bool,
    /// Whether it also waits for a lease that has a further stage ahead of it, whatever it needs.
    pub behind_stages: bool,
}

impl Row {
    /// What of a state nobody would lose to this: of a lease, or of the highest oplock level within it.
    pub fn leaves(&self, state: LeaseState, oplock: bool) -> LeaseState {
        if !oplock {
            return state.without(self.takes);
        }
        let levels = [
            (OplockLevel::Batch, self.batch.is_none()),
            (OplockLevel::Exclusive, self.exclusive.is_none()),
            (OplockLevel::II, !self.level_ii),
        ];
        let left = levels.into_iter().find(|(level, stays)| *stays && state.contains(as_state(*level)));
        left.map_or(LeaseState::NONE, |(level, _)| as_state(level))
    }
}

const NOTHING: Row = Row {
    takes: LeaseState::NONE,
    awaits: LeaseState::NONE,
    level_ii: false,
    exclusive: None,
    batch: None,
    own_level_ii: false,
    behind_stages: false,
};

/// MS-FSA 2.1.4.12, OPEN: a second opener takes W and waits for what is dirty.
const OPEN: Row = Row {
    takes: LeaseState::WRITE,
    awaits: LeaseState::WRITE,
    exclusive: Some(OplockLevel::II),
    batch: Some(OplockLevel::II),
    behind_stages: true,
    ..NOTHING
};

/// MS-FSA 2.1.4.12: READ_CONTROL is harmless to leases, not to oplocks.
const OPEN_FOR_CONTROL: Row =
    Row { exclusive: Some(OplockLevel::II), batch: Some(OplockLevel::II), ..NOTHING };

/// MS-FSA 2.1.4.12, OPEN that overwrites: everything goes.
const OVERWRITE: Row = Row { behind_stages: true, ..DATA_CHANGE_OF_OTHERS };

const DATA_CHANGE_OF_OTHERS: Row = Row {
    takes: LeaseState::RW,
    awaits: LeaseState::WRITE,
    level_ii: true,
    exclusive: Some(OplockLevel::None),
    batch: Some(OplockLevel::None),
    ..NOTHING
};

/// MS-FSA 2.1.5.4, 2.1.5.8, 2.1.5.15.4: WRITE, LOCK_CONTROL, SET_INFORMATION of sizes. Level II goes, the actor's own too.
pub const DATA_CHANGE: Row = Row { own_level_ii: true, ..DATA_CHANGE_OF_OTHERS };

/// MS-FSA 2.1.5.3, 2.1.5.7: READ, FLUSH.
const DATA_READ: Row = Row {
    takes: LeaseState::WRITE,
    awaits: LeaseState::WRITE,
    exclusive: Some(OplockLevel::II),
    batch: Some(OplockLevel::II),
    ..NOTHING
};

/// MS-SMB2 3.3.1.4: H goes, and is waited for.
const HANDLES: Row = Row { takes: LeaseState::HANDLE, awaits: LeaseState::HANDLE, ..NOTHING };

/// MS-FSA 2.1.5.15.11: a rename takes BATCH as well.
const HANDLES_AND_BATCH: Row = Row { batch: Some(OplockLevel::None), ..HANDLES };

/// A sharing conflict (MS-FSA 2.1.5.1.2.2): only leases, since BATCH went before.
pub const SHARE_CONFLICT: Row = HANDLES;

/// The close of a handle with FILE_DELETE_ON_CLOSE: does not wait.
pub const DELETING_CLOSE: Row = Row { takes: LeaseState::HANDLE, ..NOTHING };

/// A change below a directory (MS-FSA 2.1.4.12, PARENT_OBJECT): does not wait.
pub const ENTRY_CHANGED: Row = Row { takes: LeaseState::RW, ..NOTHING };

const HARMLESS_TO_OPLOCKS: Access =
    Access::READ_ATTRIBUTES.union(Access::WRITE_ATTRIBUTES).union(Access::SYNCHRONIZE);

/// Whether an open is for attributes only as oplocks see it (MS-FSA 2.1.4.12). Overwriting adds the right to write.
pub fn attributes_only(desired: Access, disposition: Disposition) -> bool {
    !disposition.overwrites() && HARMLESS_TO_OPLOCKS.contains(desired)
}

/// Whether an open is for attributes only as leases see it (MS-FSA 2.1.4.12): READ_CONTROL is harmless too.
pub fn harmless_to_leases(desired: Access, disposition: Disposition) -> bool {
    !disposition.overwrites() && HARMLESS_TO_OPLOCKS.union(Access::READ_CONTROL).contains(desired)
}

/// The row of an open of a file that is there.
pub fn of_open(desired: Access, disposition: Disposition) -> Row {
    if disposition.overwrites() {
        OVERWRITE
    } else if attributes_only(desired, disposition) {
        NOTHING
    } else if harmless_to_leases(desired, disposition) {
        OPEN_FOR_CONTROL
    } else {
        OPEN
    }
}

/// The row of an operation. `links` and `security`: whether these take H as well.
pub fn of_intent(intent: Intent, links: bool, security: bool) -> Row {
    match intent {
        Intent::Read { .. } | Intent::Flush => DATA_READ,
        Intent::Write { .. } | Intent::SetSize => DATA_CHANGE,
        Intent::Rename { .. } | Intent::Replaced | Intent::AncestorMoved => HANDLES_AND_BATCH,
        Intent::Link { .. } if links => HANDLES_AND_BATCH,
        Intent::Link { .. } => Row { batch: Some(OplockLevel::None), ..NOTHING },
        Intent::SetSecurity if security => HANDLES,
        Intent::Delete { pending: true } | Intent::RenameWithin => HANDLES,
        Intent::EntryChanged { .. } => ENTRY_CHANGED,
        _ => NOTHING,
    }
}

/// What an open does with the data of the file, as far as sharing goes (MS-FSA 2.1.5.1.2.2), with what its disposition implies.
pub fn uses(granted: Access, disposition: Disposition) -> ShareMode {
    let mut uses = ShareMode::empty();
    if granted.intersects(Access::READ_DATA | Access::EXECUTE) {
        uses |= ShareMode::READ;
    }
    let overwrites = matches!(disposition, Disposition::Overwrite | Disposition::OverwriteIf);
    if overwrites || granted.intersects(Access::WRITE_DATA | Access::APPEND_DATA) {
        uses |= ShareMode::WRITE;
    }
    if disposition == Disposition::Supersede || granted.contains(Access::DELETE) {
        uses |= ShareMode::DELETE;
    }
    uses
}

/// Whether two opens exclude each other. One that uses no data excludes nobody.
pub fn exclude(one: (ShareMode, ShareMode), other: (ShareMode, ShareMode)) -> bool {
    let ((one_uses, one_shares), (other_uses, other_shares)) = (one, other);
    if one_uses.is_empty() || other_uses.is_empty() {
        return false;
    }
    !one_shares.contains(other_uses) || !other_shares.contains(one_uses)
}

/// Oplock levels in order.
pub fn rank(level: OplockLevel) -> u8 {
    match level {
        OplockLevel::II => 1,
        OplockLevel::Exclusive => 2,
        OplockLevel::Batch => 3,
        _ => 0,
    }
}

/// The lower of two oplock levels.
pub fn lower(one: OplockLevel, other: OplockLevel) -> OplockLevel {
    if rank(other) < rank(one) { other } else { one }
}

/// What an oplock level is as a lease state (MS-SMB2 <316>).
pub fn as_state(level: OplockLevel) -> LeaseState {
    match level {
        OplockLevel::II => LeaseState::R,
        OplockLevel::Exclusive => LeaseState::RW,
        OplockLevel::Batch => LeaseState::RWH,
        _ => LeaseState::NONE,
    }
}

/// What a lease state is as an oplock level, rounded down.
pub fn as_level(state: LeaseState) -> OplockLevel {
    match state {
        LeaseState::RWH => OplockLevel::Batch,
        LeaseState::RW => OplockLevel::Exclusive,
        LeaseState::RH | LeaseState::R => OplockLevel::II,
        _ => OplockLevel::None,
    }
}
