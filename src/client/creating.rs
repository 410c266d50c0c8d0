//! Opening and closing (MS-SMB2 3.2.4.3, 3.2.5.7, 3.2.4.5).

use core::time::Duration;

use super::action::{Replay, Served};
use super::asking::{ask, directory_leasing};
use super::away::Phase;
use super::durability::wish;
use super::event::CreateReply;
use super::file::File;
use super::grant::apply;
use super::level::Level;
use super::open::{Debt, Open, Stage, Under};
use super::opening::Opening;
use super::{
    Action, Channel, Client, Due, FileRef, FileSlot, Identified, Misuse, Named, OpenRef, OpenSlot, Out,
};
use super::{open_ref, open_slot};
use crate::state::{LeaseState, OplockLevel};
use crate::status::Status;
use crate::types::{ConnId, FileId, LeaseKey};
use crate::wire::{Lease, RequestContexts};

/// The table of FileIds knows this one.
pub(super) struct Taken;

impl Client {
    pub(super) fn open(&mut self, opening: Opening, out: Out<'_>) -> Result<(), Misuse> {
        let channel = self.channels().next().or(self.conns.first()).copied();
        let terms = channel.ok_or(Misuse::UnknownConnection)?.terms;
        let Opening { request, file: name, key, .. } = opening;
        // The root of a share has no directory; where directories have no leases, nobody looks at their keys.
        let parent = opening.parent.filter(|_| directory_leasing(terms));
        self.check_names(name, key, parent)?;
        if self.take_up(self.files.find(name), &opening, out) {
            return Ok(());
        }
        let slot = if self.opens.len() < self.config.opens { self.enter(name, key, parent) } else { None };
        let Some((slot, file)) = slot.and_then(|slot| Some((slot, self.files.get_mut(slot)?))) else {
            out.push(Action::Failed { request, status: Status::INSUFFICIENT_RESOURCES });
            return Ok(());
        };
        let open = self.opens.insert(Open::new(slot, opening, self.serial));
        self.serial = self.serial.saturating_add(1);
        file.opens.push_back(&mut self.opens, open, |open| &mut open.in_file);
        let clears = self.clear_the_way(slot, &opening);
        match self.ready().filter(|_| !self.away(slot)) {
            _ if clears => {
                // Behind the CLOSE of what is in its way: the way down puts it into the queue.
                self.send_away(open, LeaseState::NONE, self.config.create_timeout);
                self.dequeue(open);
                self.descend(slot, out);
            }
            Some(conn) => self.send_create(open, conn, out),
            // The lease of the name is not there to join as yet, or the session is not.
            None => self.send_away(open, LeaseState::NONE, self.config.create_timeout),
        }
        Ok(())
    }

    /// Sends a CREATE, for the first time or again.
    pub(super) fn send_create(&mut self, slot: OpenSlot, conn: ConnId, out: Out<'_>) {
        let Some(Channel { terms, .. }) = self.conns.iter().find(|channel| channel.conn == conn).copied()
        else {
            return;
        };
        let Some(open) = self.opens.get_mut(slot) else { return };
        let parent = self.files.get(open.file).and_then(|file| file.parent);
        let parent = parent.and_then(|parent| self.files.get(parent)).map(|parent| parent.key);
        let Some(file) = self.files.get_mut(open.file) else { return };
        let usual = self.habits.usual(self.now, file.name, open.asked.access);
        let asked = open.ask.unwrap_or_else(|| ask(terms, &open.asked, usual, file.state));
        (open.conn, open.under, open.ask) = (conn, asked.under, Some(asked));
        open.durability = wish(terms, &open.asked, asked);
        file.count_creating(asked.under, u32::saturating_add);
        self.creating = self.creating.saturating_add(1);
        let lease = asked.lease(terms, file, parent);
        let contexts =
            RequestContexts { lease, durable: open.durability.request(), ..RequestContexts::default() };
        let replay =
            if open.tries > 0 && open.durability.replayable() { Replay::Again } else { Replay::First };
        let (request, open) = (open.asked.request, open_ref(slot));
        out.push(Action::SendCreate { request, open, conn, level: asked.level(), replay, contexts });
    }

    /// Whether a name and its directory fit what is known of names. A key counts if its name has none yet.
    pub(super) fn check_names(
        &self,
        name: FileRef,
        key: LeaseKey,
        parent: Option<(FileRef, LeaseKey)>,
    ) -> Result<(), Misuse> {
        let known = self.files.find(name);
        if known.is_none() {
            self.check_key(key)?;
        }
        let Some((directory, directory_key)) = parent else { return Ok(()) };
        self.check_parent(known, name, directory)?;
        if self.files.find(directory).is_some() {
            return Ok(());
        }
        self.check_key(directory_key)?;
        if known.is_none() && directory_key == key { Err(Misuse::LeaseKey) } else { Ok(()) }
    }

    /// The name, with its directory; `None` if there is no room for it.
    pub(super) fn enter(
        &mut self,
        name: FileRef,
        key: LeaseKey,
        parent: Option<(FileRef, LeaseKey)>,
    ) -> Option<FileSlot> {
        let slot = self.files.find(name).or_else(|| self.remember(name, key))?;
        if let Some((directory, directory_key)) = parent {
            self.adopt(slot, directory, directory_key);
        }
        Some(slot)
    }

    /// A new key is no other name's, and none that servers ignore.
    fn check_key(&self, key: LeaseKey) -> Result<(), Misuse> {
        if key == LeaseKey::ZERO || self.names.find(key).is_some() { Err(Misuse::LeaseKey) } else { Ok(()) }
    }

    fn remember(&mut self, name: FileRef, key: LeaseKey) -> Option<FileSlot> {
        let file = self.files.insert(File::new(name, key, self.serial)).ok()?;
        self.serial = self.serial.saturating_add(1);
        if self.names.insert(Named { key, file }).is_err() {
            self.files.remove(file);
            return None;
        }
        Some(file)
    }

    /// No directory is inside itself: names that keep each other would stay for ever.
    fn check_parent(&self, file: Option<FileSlot>, name: FileRef, directory: FileRef) -> Result<(), Misuse> {
        if directory == name {
            return Err(Misuse::Parent);
        }
        let mut next = self.files.find(directory).filter(|_| file.is_some());
        while let Some(slot) = next {
            if Some(slot) == file {
                return Err(Misuse::Parent);
            }
            next = self.files.get(slot).and_then(|file| file.parent);
        }
        Ok(())
    }

    /// Notes the directory of a name. If there is no room for it, its key does not go along: correct, only slower.
    fn adopt(&mut self, slot: FileSlot, directory: FileRef, key: LeaseKey) {
        let Some(directory) = self.files.find(directory).or_else(|| self.remember(directory, key)) else {
            return;
        };
        let Some(before) = self.files.get_mut(slot).map(|file| file.parent.replace(directory)) else {
            return;
        };
        if before == Some(directory) {
            return;
        }
        if let Some(directory) = self.files.get_mut(directory) {
            directory.children = directory.children.saturating_add(1);
        }
        if let Some(before) = before {
            self.disown(before);
        }
    }

    /// One name less names this one as its directory.
    pub(super) fn disown(&mut self, directory: FileSlot) {
        if let Some(directory) = self.files.get_mut(directory) {
            directory.children = directory.children.saturating_sub(1);
        }
        self.dismiss(directory);
    }

    pub(super) fn parent_key(&self, slot: FileSlot) -> Option<LeaseKey> {
        let parent = self.files.get(slot)?.parent?;
        self.files.get(parent).map(|parent| parent.key)
    }

    pub(super) fn created(
        &mut self,
        open: OpenRef,
        result: Result<CreateReply, Status>,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        let slot = open_slot(open);
        let record = self.opens.get(slot).ok_or(Misuse::UnknownOpen)?;
        if record.stage != Stage::Creating || record.away.is_some() {
            return Err(Misuse::UnknownOpen);
        }
        let (file, under, request) = (record.file, record.under, record.asked.request);
        self.answer_to_create(file, under);
        match result {
            // MS-SMB2 <193>: the first is under way still, or the server is failing over.
            Err(Status::FILE_NOT_AVAILABLE) if self.may_replay(slot) => self.replay_later(slot),
            Err(status) => {
                self.forget(slot);
                out.push(Action::Failed { request, status });
            }
            Ok(reply) => {
                let lease = reply.contexts.lease.filter(|_| reply.level == OplockLevel::Lease);
                if self.identify(slot, reply.file_id).is_err() {
                    // A handle that is open already: a CLOSE would hit the other.
                    self.forget(slot);
                    out.push(Action::Failed { request, status: Status::INVALID_NETWORK_RESPONSE });
                } else if self.fits(file, under, lease) {
                    self.take_in(slot, &reply, lease);
                    out.push(Action::Ready { request, open, served: Served::Server });
                    self.late_break(reply.file_id);
                } else {
                    // Somebody else's lease, or one that nobody asked for: nothing may be cached on it.
                    if let Some(record) = self.opens.get_mut(slot) {
                        record.stage = Stage::Closing { file_id: reply.file_id };
                        out.push(Action::SendClose { open, conn: record.conn, file_id: reply.file_id });
                    }
                    out.push(Action::Failed { request, status: Status::INVALID_NETWORK_RESPONSE });
                }
            }
        }
        self.forget_early();
        self.descend(file, out);
        Ok(())
    }

    fn may_replay(&self, slot: OpenSlot) -> bool {
        let open = self.opens.get(slot);
        open.is_some_and(|open| open.durability.replayable() && open.tries < self.config.replays)
    }

    fn replay_later(&mut self, slot: OpenSlot) {
        let Some(open) = self.opens.get_mut(slot) else { return };
        open.tries = open.tries.saturating_add(1);
        let (tries, serial) = (open.tries, open.serial);
        self.send_away(slot, LeaseState::NONE, self.config.create_timeout);
        let delay = self.config.retry.wait(tries.saturating_sub(1), tries, serial);
        let timer = self.timers.start(self.now.saturating_add(delay), Due::Retry(slot));
        self.waits(slot, Phase::Delayed { timer });
    }

    /// A CREATE is not under way any more.
    pub(super) fn answer_to_create(&mut self, file: FileSlot, under: Under) {
        if let Some(file) = self.files.get_mut(file) {
            file.count_creating(under, u32::saturating_sub);
        }
        self.creating = self.creating.saturating_sub(1);
    }

    /// Whether the lease in an answer is the one that was asked for (MS-SMB2 3.2.5.7.4, 3.2.5.7.5).
    pub(super) fn fits(&self, file: FileSlot, under: Under, lease: Option<Lease>) -> bool {
        let key = self.files.get(file).map(|file| file.key);
        lease.is_none_or(|lease| under == Under::Lease && Some(lease.key()) == key)
    }

    /// Enters a FileId: breaks of oplocks come under it (MS-SMB2 3.2.5.19.1).
    pub(super) fn identify(&mut self, open: OpenSlot, file_id: FileId) -> Result<(), Taken> {
        if self.ids.find(file_id).is_some() {
            return Err(Taken);
        }
        self.ids.insert(Identified { file_id, open }).map(|_| ()).map_err(|_| Taken)
    }

    fn take_in(&mut self, slot: OpenSlot, reply: &CreateReply, lease: Option<Lease>) {
        let Some(record) = self.opens.get_mut(slot) else { return };
        record.stage = Stage::Live { file_id: reply.file_id, oplock: Debt::None };
        record.durability = record.durability.granted(&reply.contexts, self.config.durable_timeout);
        record.tries = 0;
        // A server may answer with an oplock, or with nothing: the lease is as it was then.
        record.under = match lease {
            Some(_) => Under::Lease,
            None => Under::Oplock(Level::granted(reply.level)),
        };
        if let (Some(lease), Some(file)) = (lease, self.files.get_mut(record.file)) {
            apply(file, &lease);
        }
    }

    /// The application is done with an open.
    pub(super) fn release(&mut self, open: OpenRef, out: Out<'_>) -> Result<(), Misuse> {
        let open = open_slot(open);
        let record = self.opens.get_mut(open).ok_or(Misuse::UnknownOpen)?;
        let Stage::Live { file_id, .. } = record.stage else { return Err(Misuse::UnknownOpen) };
        let slot = record.file;
        let Some(file) = self.files.get_mut(slot) else { return Err(Misuse::UnknownOpen) };
        if record.may_stay(file.state) {
            self.keep(open, file_id, out);
        } else {
            record.stage = Stage::Parting { file_id };
            file.flush_before_closing();
        }
        self.descend(slot, out);
        Ok(())
    }

    pub(super) fn closed(&mut self, open: OpenRef, out: Out<'_>) -> Result<(), Misuse> {
        let slot = open_slot(open);
        let record = self.opens.get(slot).ok_or(Misuse::UnknownOpen)?;
        if !matches!(record.stage, Stage::Closing { .. }) || record.away.is_some() {
            return Err(Misuse::UnknownOpen);
        }
        let file = record.file;
        self.forget(slot);
        self.descend(file, out);
        Ok(())
    }

    pub(super) fn forget(&mut self, slot: OpenSlot) {
        self.no_longer_kept(slot);
        self.unidentify(slot);
        let Some((file, saved)) = self.opens.get_mut(slot).map(|open| (open.file, open.saved.take())) else {
            return;
        };
        self.erased.extend(saved.map(|record| record.id));
        if let Some(file) = self.files.get_mut(file) {
            file.opens.remove(&mut self.opens, slot, |open| &mut open.in_file);
        }
        self.opens.remove(slot);
    }

    /// Strikes out the FileId of an open.
    pub(super) fn unidentify(&mut self, slot: OpenSlot) {
        let file_id = self.opens.get(slot).and_then(|open| open.stage.file_id());
        let id = file_id.and_then(|file_id| self.ids.find(file_id));
        if let Some(id) = id.filter(|id| self.ids.get(*id).is_some_and(|known| known.open == slot)) {
            self.ids.remove(id);
        }
    }

    /// FSCTL_LMR_REQUEST_RESILIENCY has succeeded (MS-SMB2 3.2.5.14.9).
    pub(super) fn resilient(&mut self, open: OpenRef, timeout: Duration) -> Result<(), Misuse> {
        let open = self.opens.get_mut(open_slot(open)).ok_or(Misuse::UnknownOpen)?;
        let Stage::Live { .. } = open.stage else { return Err(Misuse::UnknownOpen) };
        let timeout = if timeout.is_zero() { self.config.durable_timeout } else { timeout };
        open.durability = open.durability.resilient(timeout);
        let file = open.file;
        self.touch(file);
        Ok(())
    }
}
