//! Byte-range locks, as a list (MS-FSA 2.1.4.10, 2.1.5.8, 2.1.5.9; MS-SMB2 3.3.5.14).

use leasehold::server::{LockElement, LockFlags};
use leasehold::{Intent, RequestId, Status};

/// A lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The open that holds it, by its CREATE.
    pub owner: RequestId,
    pub offset: u64,
    pub len: u64,
    pub exclusive: bool,
}

/// Whether two ranges have an octet in common, or one without octets lies inside the other.
fn touch(one: (u64, u64), other: (u64, u64)) -> bool {
    let end = |(offset, len): (u64, u64)| u128::from(offset) + u128::from(len);
    u128::from(one.0) < end(other) && u128::from(other.0) < end(one)
}

/// Whether a lock would end behind the last octet that there is (MS-FSA 2.1.5.8).
pub fn wraps(element: &LockElement) -> bool {
    u128::from(element.offset) + u128::from(element.len) > 1 << 64
}

/// Whether all elements of a LOCK fit together (MS-SMB2 3.3.5.14.2).
pub fn well_formed(elements: &[LockElement]) -> Result<(), Status> {
    let alone = elements.len() == 1;
    for element in elements {
        let immediately = element.flags.contains(LockFlags::FAIL_IMMEDIATELY);
        let kind = element.flags.difference(LockFlags::FAIL_IMMEDIATELY);
        if (kind != LockFlags::SHARED && kind != LockFlags::EXCLUSIVE) || !(immediately || alone) {
            return Err(Status::INVALID_PARAMETER);
        }
    }
    if elements.iter().any(wraps) { Err(Status::INVALID_LOCK_RANGE) } else { Ok(()) }
}

/// Locks all, or returns who is in the way of the first that cannot be locked.
pub fn lock(held: &[Held], owner: RequestId, elements: &[LockElement]) -> Result<Vec<Held>, Vec<RequestId>> {
    let mut all = held.to_vec();
    for element in elements {
        let exclusive = element.flags.contains(LockFlags::EXCLUSIVE);
        let range = (element.offset, element.len);
        // A shared lock goes on top of an exclusive one of the same open, never the other way round.
        let in_the_way = |other: &&Held| {
            touch(range, (other.offset, other.len))
                && (exclusive || (other.exclusive && other.owner != owner))
        };
        let owners: Vec<RequestId> = all.iter().filter(in_the_way).map(|other| other.owner).collect();
        if !owners.is_empty() {
            return Err(owners);
        }
        all.push(Held { owner, offset: element.offset, len: element.len, exclusive });
    }
    Ok(all)
}

/// Unlocks one after the other (MS-SMB2 3.3.5.14.1); what is done stays done.
pub fn unlock(held: &mut Vec<Held>, owner: RequestId, elements: &[LockElement]) -> Result<(), Status> {
    for element in elements {
        if element.flags != LockFlags::UNLOCK {
            return Err(Status::INVALID_PARAMETER);
        }
        if wraps(element) {
            return Err(Status::INVALID_LOCK_RANGE);
        }
        let same = |lock: &Held| (lock.owner, lock.offset, lock.len) == (owner, element.offset, element.len);
        // Of a stack the exclusive one comes off first.
        let at = held.iter().position(|lock| same(lock) && lock.exclusive).or(held.iter().position(same));
        held.remove(at.ok_or(Status::RANGE_NOT_LOCKED)?);
    }
    Ok(())
}

/// Whether a read or write meets a lock (MS-FSA 2.1.5.3, 2.1.5.4). `by`: the open that acts.
pub fn refuses(held: &[Held], by: Option<RequestId>, intent: Intent) -> bool {
    let (range, writes) = match intent {
        Intent::Read { offset, len } => ((offset, len), false),
        Intent::Write { offset, len } => ((offset, len), true),
        _ => return false,
    };
    if range.1 == 0 {
        return false;
    }
    held.iter().any(|lock| {
        let own = by == Some(lock.owner);
        let harmful = if writes { !(own && lock.exclusive) } else { lock.exclusive && !own };
        harmful && touch(range, (lock.offset, lock.len))
    })
}
