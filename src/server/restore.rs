//! The server has been started anew: records become opens again, and wait for their clients (MS-SMB2 3.3.1.10, 3.3.5.9).

use alloc::boxed::Box;
use core::time::Duration;

use slotmap::Key;

use super::Misuse;
use super::action::{Action, Link};
use super::durable::{Durable, Kind, Promise};
use super::event::{ObjectKind, Opened};
use super::granting::Since;
use super::hold::Hold;
use super::lease::{Lease, LeaseName};
use super::oplock::Oplock;
use super::records::{Caching, File, Instance, Open, Place, Stage};
use super::replay::level_of;
use super::scale::{LeaseSlot, OpenSlot, RegistryInput, Route};
use super::shard::{Out, Shard, perform, release, tell};
use crate::locks::Level;
use crate::locks::range::{LockKind, Owner, Range};
use crate::locks::share::Claim;
use crate::persist::Record;
use crate::state::{CreateAction, LeaseState};
use crate::stats::count;
use crate::store::list::Links;
use crate::types::{FileId, TreeId};
use crate::wire;

impl Shard {
    /// What a record must fulfil, before anything is changed.
    pub(super) fn check_record(&self, record: &Record) -> Result<(), Misuse> {
        let limits = &self.config.limits;
        let of_file = self.files.find(record.file).and_then(|file| self.files.get(file));
        let lease = record.lease.map(|lease| (record.client, lease.key()));
        let room = self.opens.len() < limits.opens
            && of_file.map_or(0, |file| file.opens.len()) < limits.opens_per_file
            && (of_file.is_some() || !self.files.is_full())
            && (!self.leases.is_full() || lease.is_none_or(|name| self.leases.find(name).is_some()))
            && self.ranges.len().saturating_add(record.locks.len()) <= limits.locks;
        if self.durables.find(record.persistent).is_some() {
            Err(Misuse::ForeignRecord)
        } else if room {
            Ok(())
        } else {
            Err(Misuse::NoRoom)
        }
    }

    /// Makes a record an open without a connection. What contradicts one that was written later, and so restored before, is left
    /// out: it was over by then, and the store does not know, or nobody was told of it.
    pub(super) fn restore(&mut self, record: &Record, elapsed: Duration, joins: bool, out: Out<'_>) {
        let known = self.files.find(record.file);
        let Some(file) = known.or_else(|| self.files.insert(File::new(record.file)).ok()) else { return };
        let persistent = record.persistent;
        self.serial = self.serial.max(Route::serial_of(FileId::new(persistent, 0)).saturating_add(1));
        let claim = Claim::new(record.granted, record.sharing, record.disposition);
        let name = record.lease.filter(|_| joins).map(|lease| (record.client, lease.key()));
        self.journal.written = self.journal.written.max(record.written);
        if self.files.get(file).is_some_and(|file| !file.shares.fit(claim)) {
            count(&mut self.stats.restored_in_part);
            release(name, out);
            self.expunge(persistent, out);
            let file_id = FileId::new(persistent, 0);
            return perform(out, Action::CloseFile { file_id, link: Link::Keep });
        }
        let open = self.opens.insert_with_key(|open| Open {
            file_id: FileId::new(persistent, open.data().as_ffi()),
            file,
            session: None,
            tree: TreeId::new(0),
            desired: record.desired,
            disposition: record.disposition,
            options: record.options,
            claim,
            bound: name,
            leased: record.lease.is_some(),
            place: Place { directory: record.directory, parent: record.parent },
            // Nobody knows any more.
            modified: claim.writes(),
            waiting: 0,
            instance: record.instance.map(|app| Box::new(Instance { app, client: record.client })),
            replay: None,
            durable: None,
            locks: Owner::new(persistent),
            stage: Stage::Orphaned(Caching::Nothing),
            in_file: Links::default(),
            in_session: Links::default(),
            since: self.now,
            in_lane: Links::default(),
        });
        if let Some(file) = self.files.get_mut(file) {
            file.opens.push_back(&mut self.opens, open, |open| &mut open.in_file);
            file.shares.add(claim);
            file.unclaimed = file.unclaimed.saturating_add(1);
            if record.goes {
                file.dispose(true, record.parent);
            }
        }
        self.restore_locks(open, record);
        let caching = self.restored_caching(open, record, name);
        if let Some(open) = self.opens.get_mut(open) {
            open.stage = Stage::Orphaned(caching);
        }
        if record.relaxed {
            self.relax(file, name, true, out);
        }
        let promise = Promise {
            granted: record.granted,
            sharing: record.sharing,
            action: record.action,
            kind: record.kind,
            channel_sequence: record.channel_sequence,
            sequences: record.sequences,
            stored: true,
            told: true,
            reads: reads(record),
            withdrawn: false,
            dirty: false,
            unclaimed: true,
        };
        let left = record.patience().saturating_sub(elapsed).max(self.config.restored_min);
        let (owner, create_guid) = (record.owner, record.create_guid);
        let durable = Durable {
            persistent,
            open,
            client: record.client,
            owner,
            create_guid,
            timeout: record.patience(),
            kind: Kind::Persistent(Box::new(promise)),
            timer: None,
        };
        let durable = self.durables.insert(durable).ok();
        if let Some(open) = self.opens.get_mut(open) {
            open.durable = durable;
        }
        self.await_return(open, left);
        self.count_promised(open, |count| count.saturating_add(1));
        count(&mut self.stats.restored);
        let client = record.client;
        tell(out, RegistryInput::Promised { guid: create_guid, client, persistent });
        let restored = durable.and_then(|durable| self.record(durable));
        let as_written = Record { connected: false, ..record.clone() };
        if restored.is_some_and(|restored| Record { written: record.written, ..restored } != as_written) {
            self.touch(open);
        }
    }

    fn restore_locks(&mut self, slot: OpenSlot, record: &Record) {
        let Some(open) = self.opens.get_mut(slot) else { return };
        let Some(file) = self.files.get_mut(open.file) else { return };
        for lock in &record.locks {
            let kind = if lock.exclusive { LockKind::Exclusive } else { LockKind::Shared };
            if let Some(range) = Range::new(lock.offset, lock.len) {
                let done = file.locks.try_lock(&mut self.ranges, &mut open.locks, range, kind);
                if done.is_err() {
                    count(&mut self.stats.restored_in_part);
                }
            }
        }
    }

    /// What is cached under a record, beside what is held already.
    fn restored_caching(&mut self, slot: OpenSlot, record: &Record, name: Option<LeaseName>) -> Caching {
        let opened = Opened::new(CreateAction::Opened, record.kind, u64::MAX);
        match (record.lease, name) {
            (Some(context), Some(name)) => {
                // Entries may have changed, of which the break that nobody waits for was not stored yet (MS-SMB2 3.3.4.7).
                let told = match record.kind {
                    ObjectKind::Directory => Some(LeaseState::NONE),
                    ObjectKind::File => record.told,
                };
                let lease = self.restored_lease(slot, &context, told, name, opened);
                lease.map_or(Caching::Nothing, Caching::Lease)
            }
            (Some(context), None) => Caching::Guest(Box::new(Lease::nothing(&context))),
            (None, _) => match level_of(record.level) {
                Level::None => Caching::Nothing,
                level @ (Level::II | Level::Exclusive | Level::Batch) => {
                    let level =
                        Level::within(self.grantable(slot, None, level.caches(), opened, Since::Before));
                    let file = self.opens.get(slot).and_then(|open| self.files.get_mut(open.file));
                    if let Some(file) = file.filter(|_| level != Level::None) {
                        file.oplocks = file.oplocks.saturating_add(1);
                    }
                    let mut oplock = Oplock::new(level);
                    keep(&mut oplock.hold, record.told);
                    Caching::Oplock(oplock)
                }
            },
        }
    }

    fn restored_lease(
        &mut self,
        slot: OpenSlot,
        context: &wire::Lease,
        told: Option<LeaseState>,
        name: LeaseName,
        opened: Opened,
    ) -> Option<LeaseSlot> {
        let file = self.opens.get(slot)?.file;
        let asked = match opened.kind {
            ObjectKind::File => context.state().normalized(),
            ObjectKind::Directory => context.state().without(LeaseState::WRITE),
        };
        let lease = match self.leases.find(name) {
            Some(lease) => {
                self.leases.get_mut(lease)?.restore(context);
                lease
            }
            None => {
                let may_have = self.grantable(slot, Some(name), asked, opened, Since::Before);
                let mut restored = Lease::restored(name, file, context, may_have);
                keep(&mut restored.hold, told);
                let lease = self.leases.insert(restored).ok()?;
                let record = self.files.get_mut(file)?;
                record.leases.push_back(&mut self.leases.records, lease, |lease| &mut lease.in_file);
                lease
            }
        };
        let now = self.now;
        let record = self.leases.get_mut(lease)?;
        record.since = now;
        record.opens = record.opens.saturating_add(1);
        record.orphans = record.orphans.saturating_add(1);
        Some(lease)
    }
}

/// Keeps a break that the client has not answered: it may have dirty data that others wait for.
fn keep(hold: &mut Hold, told: Option<LeaseState>) {
    if let Some(told) = told.filter(|told| !told.contains(hold.state())) {
        hold.amend(told.intersection(hold.state()));
    }
}

/// Whether by its record an open may read from its cache.
fn reads(record: &Record) -> bool {
    let caches = record.lease.map_or_else(|| level_of(record.level).caches(), |lease| lease.state());
    record.told.unwrap_or(caches).contains(LeaseState::READ)
}
