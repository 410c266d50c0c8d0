//! What must outlive the client itself: records of the opens that a server keeps for it (MS-SMB2 3.2.1.4, 3.2.1.6).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::durability::Durability;
use super::file::{Cache, File, Task, Version};
use super::level::Level;
use super::open::{Debt, Open, Stage, Under};
use super::{Action, Client, FileSlot, Misuse, OpenSlot, Opening, Out, open_ref};
use crate::persist::{ClientChange, ClientRecord, Need};
use crate::state::{LeaseState, OplockLevel};
use crate::types::{Epoch, RequestId};

impl Client {
    /// A name may have changed: its records are looked at when the event is over.
    pub(super) fn touch(&mut self, slot: FileSlot) {
        if self.config.persistence && self.touched.last() != Some(&slot) {
            self.touched.push(slot);
        }
    }

    /// Puts what has changed before the actions from `start` on, which rest on it.
    pub(super) fn persist(&mut self, start: usize, out: Out<'_>) {
        if self.touched.is_empty() && self.erased.is_empty() {
            return;
        }
        let mut changes: Vec<ClientChange> =
            self.erased.drain(..).map(|id| ClientChange::Delete { id }).collect();
        let mut touched = core::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for slot in touched.drain(..) {
            let mut next = self.files.get(slot).and_then(|file| file.opens.head());
            while let Some(open) = next {
                self.note(open, &mut changes);
                next = self.opens.get(open).and_then(|open| open.in_file.next());
            }
        }
        self.touched = touched;
        let rest = out.split_off(start.min(out.len()));
        out.extend(changes.into_iter().map(|change| Action::Persist { change }));
        out.extend(rest);
    }

    /// Says what has changed of the record of an open.
    fn note(&mut self, slot: OpenSlot, changes: &mut Vec<ClientChange>) {
        let record = self.record(slot);
        let Some(open) = self.opens.get_mut(slot) else { return };
        if open.saved.as_deref() == record.as_ref() {
            return;
        }
        let before = open.saved.take();
        match (record, before) {
            (Some(record), before) => {
                changes.push(ClientChange::Put(record));
                let mut saved = before.unwrap_or_else(|| Box::new(record));
                *saved = record;
                open.saved = Some(saved);
            }
            (None, Some(before)) => changes.push(ClientChange::Delete { id: before.id }),
            (None, None) => {}
        }
    }

    /// The record that an open has now, if it needs one.
    fn record(&self, slot: OpenSlot) -> Option<ClientRecord> {
        let open = self.opens.get(slot)?;
        let file = self.files.get(open.file)?;
        let need = match open.stage {
            Stage::Creating => return None,
            Stage::Live { .. } => Need::Application,
            Stage::Kept { .. } | Stage::Parting { .. } => Need::WriteBack,
            // The server closes it when its time is over; only a persistent one would be in the way of others for long.
            Stage::Closing { .. } if !open.durability.outlives_the_server() => return None,
            Stage::Closing { .. } => Need::Nobody,
        };
        let (promise, timeout) = open.durability.to_record()?;
        let asked = &open.asked;
        let mut record = ClientRecord::new(open.serial, file.name, file.key, open.stage.file_id()?, promise);
        record.timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        record.directory =
            file.parent.and_then(|parent| self.files.get(parent)).map(|file| (file.name, file.key));
        (record.level, record.state, record.epoch) = match open.under {
            Under::Lease => (OplockLevel::Lease, file.state, file.counted()),
            Under::Oplock(level) => (level.to_wire(), LeaseState::NONE, None),
        };
        (record.access, record.sharing) = (asked.access, asked.sharing);
        (record.disposition, record.options, record.share) = (asked.disposition, asked.options, asked.share);
        record.need = need;
        record.flush = file.descent.flush != Task::Idle;
        // What was cached under others of the name ends with this life, unless they have records of their own.
        let more = file.held().difference(open.caches(file.state)).contains(LeaseState::READ);
        record.purge = more || file.descent.purge != Task::Idle;
        Some(record)
    }

    /// An open of a former life of this client. It is away, and asked for again as if its connection had been lost.
    pub(super) fn restore(
        &mut self,
        record: &ClientRecord,
        elapsed: Duration,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        let ClientRecord { id, file: name, key, directory, file_id, .. } = *record;
        if self.session.id.is_some() || self.opens.values().any(|open| open.serial == id) {
            return Err(Misuse::Restore);
        }
        if self.files.find(name).and_then(|slot| self.files.get(slot)).is_some_and(|file| file.key != key) {
            return Err(Misuse::LeaseKey);
        }
        self.check_names(name, key, directory)?;
        self.serial = self.serial.max(id.saturating_add(1));
        let slot = if self.opens.len() < self.config.opens { self.enter(name, key, directory) } else { None };
        let Some((slot, file)) = slot.and_then(|slot| Some((slot, self.files.get_mut(slot)?))) else {
            return Err(Misuse::Full);
        };
        let under = match record.level {
            OplockLevel::Lease => Under::Lease,
            level @ (OplockLevel::None
            | OplockLevel::II
            | OplockLevel::Exclusive
            | OplockLevel::Batch
            | OplockLevel::Undefined(_)) => Under::Oplock(Level::granted(level)),
        };
        let mut others = file.opens.iter(&self.opens, |open| &open.in_file);
        let first = !others.any(|(_, open)| open.under == Under::Lease && open.stage.usable());
        drop(others);
        // What only closes says nothing beside what is used.
        if under == Under::Lease && (first || record.need != Need::Nobody) {
            file.hold_again(record, first);
        }
        file.owe_again(record);
        let mut asked = Opening::new(RequestId::new(0), name, key)
            .access(record.access, record.sharing)
            .disposition(record.disposition, record.options)
            .share(record.share);
        asked.durable = record.promise.guid();
        let timeout = Duration::from_millis(record.timeout.into());
        let open = Open {
            under,
            stage: match record.need {
                Need::Application => Stage::Live { file_id, oplock: Debt::None },
                Need::WriteBack => Stage::Parting { file_id },
                Need::Nobody => Stage::Closing { file_id },
            },
            durability: Durability::from_record(record.promise, timeout),
            saved: self.config.persistence.then(|| Box::new(*record)),
            ..Open::new(slot, asked, id)
        };
        let mut held = open.caches(file.state);
        if let (Under::Oplock(level), true) = (under, open.stage.usable()) {
            file.oplocks |= level.permits();
        }
        if file.descent.flush != Task::Idle {
            held |= LeaseState::RW;
        }
        let open = self.opens.insert(open);
        file.opens.push_back(&mut self.opens, open, |open| &mut open.in_file);
        self.send_away(open, held, timeout.saturating_sub(elapsed));
        out.push(Action::Restored { id, open: open_ref(open) });
        Ok(())
    }
}

impl File {
    /// The epoch, if it says anything.
    fn counted(&self) -> Option<Epoch> {
        match self.version {
            Version::V1 => None,
            Version::V2 => Some(self.epoch),
        }
    }

    /// The lease of a record. Where two of one name differ, the crash came between them: the later epoch counts, what both hold, and
    /// nothing that is cached.
    fn hold_again(&mut self, record: &ClientRecord, first: bool) {
        let state = match record.need {
            Need::Application | Need::WriteBack => record.state.normalized(),
            // What was cached was cached for others.
            Need::Nobody => LeaseState::NONE,
        };
        let newer = record.epoch.filter(|epoch| first || epoch.since(self.epoch).is_some());
        if first {
            self.state = state;
            self.version = if record.epoch.is_some() { Version::V2 } else { Version::V1 };
        } else if (state, record.epoch) != (self.state, self.counted()) {
            self.lower(state);
            self.void();
        }
        self.epoch = newer.unwrap_or(self.epoch);
    }

    /// What was asked of the cache and not answered is asked again.
    fn owe_again(&mut self, record: &ClientRecord) {
        // Nobody writes through an open that is to close.
        match record.need {
            Need::WriteBack => self.descent.flush.demand(),
            Need::Application if record.flush => self.descent.flush.demand(),
            Need::Application | Need::Nobody => {}
        }
        // What was cached under an open that nobody needs was cached for others, who may have no record.
        let unfounded = record.need == Need::Nobody && !self.held().contains(LeaseState::READ);
        if record.purge || unfounded {
            self.descent.purge.demand();
            self.descent.cache = Cache::Void;
        }
        // By whichever record: what is dirty under W is not what is to be dropped.
        if self.descent.purge != Task::Idle {
            self.flush_before_closing();
        }
    }
}
