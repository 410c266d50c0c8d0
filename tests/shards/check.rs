//! What must hold of every shard at any time, seen in its snapshot.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{
    BreakId, Create, FileSnapshot, LeaseIdentity, LeaseSnapshot, OpenSnapshot, Snapshot,
};
use leasehold::{FileId, LeaseState, OplockLevel};

use crate::model::{Key, rules};

/// Notifications that have to be acknowledged, by lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breaks {
    /// Those that clients were sent.
    told: BTreeMap<Key, BTreeSet<BreakId>>,
    /// How many are over: acknowledged, too late, or without a lease.
    over: BTreeMap<Key, usize>,
}

impl Breaks {
    /// What one call has brought about. `breaks`: whether it broke anything.
    pub(crate) fn look_at(&mut self, before: &Snapshot, after: &Snapshot, breaks: bool) {
        for lease in leases(before) {
            let later = leases(after).find(|later| name(later) == name(lease));
            let goes_on = later.is_some_and(|later| told(later) == told(lease) && later.epoch == lease.epoch);
            // What has begun in the same call that ended the lease is over as well.
            let unseen = lease.breaking.is_none() && later.is_none() && breaks;
            if unseen || (lease.breaking.is_some() && !goes_on) {
                *self.over.entry(name(lease)).or_default() += 1;
            }
        }
    }

    /// P5: one at a time.
    pub(crate) fn told(&mut self, key: Key, id: BreakId, snapshot: &Snapshot) {
        let told = self.told.entry(key).or_default();
        told.insert(id);
        let over = self.over.get(&key).copied().unwrap_or_default();
        let under_way = usize::from(breaking(snapshot).any(|lease| name(lease) == key));
        assert!(told.len() <= over + under_way, "P5: {key:?}: {} told, {over} over", told.len());
    }
}

fn name(lease: &LeaseSnapshot) -> Key {
    (lease.client, lease.key)
}

fn told(lease: &LeaseSnapshot) -> Option<LeaseState> {
    lease.breaking.map(|(told, _)| told)
}

fn leases(snapshot: &Snapshot) -> impl Iterator<Item = &LeaseSnapshot> {
    snapshot.files.iter().flat_map(|file| &file.leases)
}

fn breaking(snapshot: &Snapshot) -> impl Iterator<Item = &LeaseSnapshot> {
    leases(snapshot).filter(|lease| lease.breaking.is_some())
}

/// A lease key names one file, whichever shard has it.
pub(crate) fn keys(snapshot: &Snapshot) {
    let mut names = BTreeSet::new();
    for lease in leases(snapshot) {
        assert!(names.insert(name(lease)), "a lease on two files: {lease:?}");
    }
}

/// `create`: of which CREATE an open is; `owner`: with which client and key it came.
pub(crate) fn shard<'a>(
    snapshot: &Snapshot,
    identity: LeaseIdentity,
    create: impl Fn(FileId) -> &'a Create,
    owner: impl Fn(FileId) -> Option<Key>,
) {
    let same = |one: Key, other: Key| match identity {
        LeaseIdentity::ClientAndKey => one == other,
        LeaseIdentity::KeyAlone => one.1 == other.1,
    };
    for file in &snapshot.files {
        for lease in &file.leases {
            alone(lease, file, &same, &create, &owner);
        }
        for open in &file.opens {
            exclusive(open, file, &create);
        }
    }
}

fn alone<'a>(
    lease: &LeaseSnapshot,
    file: &FileSnapshot,
    same: &impl Fn(Key, Key) -> bool,
    create: &impl Fn(FileId) -> &'a Create,
    owner: &impl Fn(FileId) -> Option<Key>,
) {
    assert!([0, 1, 3, 5, 7].contains(&lease.state.bits()), "P1: {lease:?}");
    if let Some((told, needed)) = lease.breaking {
        assert!(told.contains(needed) && lease.state.contains(told) && told != lease.state, "P12: {lease:?}");
    }
    if lease.state.contains(LeaseState::HANDLE) {
        let oplock = |open: &&OpenSnapshot| !matches!(open.oplock, OplockLevel::None | OplockLevel::Lease);
        assert_eq!(file.opens.iter().find(oplock), None, "P3: {lease:?}");
    }
    if !lease.state.contains(LeaseState::WRITE) {
        return;
    }
    for other in file.leases.iter().filter(|other| !same(name(other), name(lease))) {
        assert!(other.state.is_empty(), "P2: {lease:?} and {other:?}");
    }
    let own = |file_id| owner(file_id).is_some_and(|other| same(other, name(lease)));
    for open in &file.opens {
        if open.oplock != OplockLevel::Lease {
            assert_eq!(open.oplock, OplockLevel::None, "P2: {lease:?} and {open:?}");
        } else if own(open.file_id) {
            continue;
        }
        harmless(create(open.file_id), lease);
    }
    for opening in file.opening.iter().filter(|opening| !own(**opening)) {
        harmless(create(*opening), lease);
    }
}

fn harmless(create: &Create, lease: &LeaseSnapshot) {
    assert!(rules::harmless_to_leases(create.desired, create.disposition), "P2: {lease:?} and {create:?}");
}

/// P2 for EXCLUSIVE and BATCH.
fn exclusive<'a>(open: &OpenSnapshot, file: &FileSnapshot, create: &impl Fn(FileId) -> &'a Create) {
    if rules::rank(open.oplock) <= rules::rank(OplockLevel::II) {
        return;
    }
    for other in file.opens.iter().filter(|other| other.file_id != open.file_id) {
        assert!(matches!(other.oplock, OplockLevel::None | OplockLevel::Lease), "P2: {open:?} and {other:?}");
    }
    for lease in &file.leases {
        assert!(lease.state.is_empty(), "P2: {open:?} and {lease:?}");
    }
    let live = file.opens.iter().map(|other| other.file_id);
    for other in live.chain(file.opening.iter().copied()).filter(|other| *other != open.file_id) {
        let create = create(other);
        assert!(rules::attributes_only(create.desired, create.disposition), "P2: {open:?} and {create:?}");
    }
}
