//! What clients believe, what they read, and what becomes of what they write.

use leasehold::LeaseState;
use leasehold::client::LossReason;
use leasehold::{FileId, Status};

use super::super::World;
use super::super::client::Handle;
use super::{Cause, HISTORY};

impl World {
    /// Nothing more at a client than at the server, unless the news is on its way.
    pub(super) fn check_beliefs(&mut self) {
        if self.server.machine.is_none() {
            return;
        }
        for client in 0..self.plan.clients {
            let side = &self.clients[client];
            let session = side.session.filter(|_| !side.conns.is_empty());
            let cut_off = session.is_some_and(|session| !self.server.sessions.contains_key(&session));
            for file in 0..self.plan.files {
                let side = &self.clients[client];
                let allowed = side.files[file].allowed;
                // An answer that gives back what is over by now may be on its way.
                let returning = side.opens.values().any(|open| open.wanted.file == file && open.away);
                let unanswered =
                    returning || side.acks.values().any(|(_, at)| *at == file) || side.files[file].is_busy();
                let known = &mut self.checker.sides[client][file];
                let mut granted = known.granted;
                granted.set(LeaseState::READ, known.reads);
                if granted.contains(allowed) {
                    if known.flying == 0 {
                        // Whoever has missed a deadline hears of it by the answer to its acknowledgment.
                        known.timed_out &= !allowed.is_empty() || unanswered;
                        known.lags = known.lags.filter(|_| known.timed_out || !known.reads);
                    }
                    continue;
                }
                if known.flying == 0 && !cut_off && !known.timed_out {
                    let what = format!("client {client}, file {file}: allowed {allowed}: {known:?}");
                    let what = || what;
                    return self.violate("a cache is allowed what the server grants", what);
                }
            }
        }
    }

    /// What each page is now.
    pub(super) fn settle_values(&mut self) {
        for file in 0..self.plan.files {
            for page in 0..self.plan.pages {
                let stored = self.server.disk.files[file][page].now;
                let value = self.unwritten(file, page).unwrap_or(stored);
                if value != self.checker.value(file, page) {
                    let instant = self.checker.begin();
                    let values = &mut self.checker.values[file][page];
                    values.push_back((instant, value));
                    if values.len() > HISTORY {
                        values.pop_front();
                    }
                }
            }
        }
    }

    /// What somebody who may has written, and not written back.
    pub(super) fn unwritten(&self, file: usize, page: usize) -> Option<u64> {
        let of_clients = (0..self.plan.clients).find_map(|client| {
            let side = &self.checker.sides[client][file];
            let doomed = side.doomed.map_or(0, |(below, _)| below);
            let holds = side.granted.contains(LeaseState::WRITE);
            let value = self.clients[client].files[file].pages[page].unwritten();
            value.filter(|value| holds && *value > doomed)
        });
        of_clients.or_else(|| self.beside.unwritten(file, page))
    }

    pub(in crate::world) fn check_read(
        &mut self,
        client: usize,
        file: usize,
        page: usize,
        value: u64,
        begun: u64,
    ) {
        if !self.checker.had(file, page, value, begun) {
            let what = format!(
                "client {client}, file {file}, page {page}: {value}, which is {}",
                self.checker.value(file, page)
            );
            self.violate("a read returns what was there while it was under way", || what);
        }
    }

    pub(in crate::world) fn check_cached_read(
        &mut self,
        client: usize,
        file: usize,
        page: usize,
        value: u64,
    ) {
        let side = self.checker.sides[client][file];
        let own = self.clients[client].files[file].pages[page].unwritten() == Some(value);
        // Nobody has told it as yet that what it wrote is lost.
        let doomed = own && side.doomed.is_some_and(|(below, _)| value <= below);
        let blind = own && !side.granted.contains(LeaseState::WRITE);
        let since = side.lags.unwrap_or(u64::MAX);
        let right = self.checker.value(file, page) == value || self.checker.had(file, page, value, since);
        if !right && !doomed && !blind {
            let what = format!(
                "client {client}, file {file}, page {page}: {value}, which is {}: {side:?}",
                self.checker.value(file, page)
            );
            self.violate("a cache returns what is there", || what);
        }
    }

    /// The server carries out what was kept back: by whoever may still keep it back, or after a deadline that was missed.
    pub(in crate::world) fn check_write_back(
        &mut self,
        file_id: FileId,
        file: usize,
        page: usize,
        value: u64,
    ) {
        let Some(open) = self.server.opens.get(&file_id.persistent) else { return };
        let client = open.client;
        let side = &self.clients[client];
        let knows = side.opens.values().any(|handle| handle.file_id == Some(file_id));
        if open.incarnation != side.incarnation || !knows {
            // The last words of a client that is gone, or through an open that it has lost.
            return;
        }
        let side = self.checker.sides[client][file];
        let stored = self.server.disk.files[file][page].now;
        let late = side.doomed.is_some_and(|(below, cause)| value <= below && cause != Cause::Absence);
        if !side.granted.contains(LeaseState::WRITE) && stored != value && !late {
            let what = format!("client {client}, file {file}, page {page}: {value} over {stored}: {side:?}");
            self.violate("what is written back was kept back by right", || what);
        }
    }

    /// What is written back is refused only to whom has lost the right to it.
    pub(in crate::world) fn check_refused_write_back(
        &mut self,
        client: usize,
        file: usize,
        page: usize,
        value: u64,
        status: Status,
    ) {
        let side = self.checker.sides[client][file];
        let gone = side.doomed.is_some_and(|(below, _)| value <= below);
        if !gone && self.checker.value(file, page) == value {
            let what = || format!("client {client}, file {file}, page {page}: {value}, {status}: {side:?}");
            self.violate("what is dirty can be written back", what);
        }
    }

    /// Unwritten data go only when the application was told that the open is lost.
    pub(in crate::world) fn check_purge(&mut self, client: usize, file: usize) {
        let side = &self.clients[client];
        let cached = &side.files[file];
        if cached.unwritten() && !(cached.bereft && side.writer(file).is_none()) {
            let what = format!("client {client}, file {file}: {:?}", cached.pages);
            self.violate("what is dirty is written back before it is dropped", || what);
        }
        let side = &mut self.checker.sides[client][file];
        (side.doomed, side.lags) = (None, side.lags.filter(|_| !side.reads));
    }

    /// Whoever was told of a persistent open has it over a crash of the server.
    pub(in crate::world) fn check_promises(&mut self) {
        let handles = self.clients.iter().enumerate().flat_map(|(client, side)| {
            side.opens
                .values()
                .filter(|handle| handle.persistent && !handle.closing)
                .map(move |handle| (client, handle))
        });
        let known = |id: &FileId| self.server.opens.contains_key(&id.persistent);
        let stored = |id: &FileId| self.server.disk.records.contains_key(&id.persistent);
        let mut promised = handles.filter_map(|(client, handle)| Some((client, handle.file_id?)));
        if let Some((client, id)) = promised.find(|(_, id)| known(id) && !stored(id)) {
            self.violate("a promise outlives the server", || format!("client {client}: {id}"));
        }
    }

    /// What the server still has is not given up because it is not found, where the former session was said to have ended.
    pub(in crate::world) fn check_loss(
        &mut self,
        client: usize,
        handle: &Handle,
        reason: LossReason,
        status: Status,
    ) {
        let Some(id) = handle.file_id else { return };
        let there = self.server.machine.is_some() && self.server.opens.contains_key(&id.persistent);
        if there && reason == LossReason::Refused && !self.clients[client].unnamed {
            let what = || format!("client {client}: {id}, {status}: {handle:?}");
            self.violate("what the server has is not lost", what);
        }
    }
}
