//! What a client has after its crash: records of its opens, and with them its cache.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::client::{Event, OpenRef, Want};
use leasehold::persist::{ClientChange, ClientRecord, Need, Promise};
use leasehold::{Access, RequestId};

use super::cache::CachedFile;
use super::client::{ClientSide, GHOST, Handle};
use super::{Wanted, World};

/// What outlives a client.
#[derive(Debug, Default)]
pub(super) struct Memory {
    records: BTreeMap<u64, ClientRecord>,
    /// When it crashed.
    since: u64,
}

impl Memory {
    pub(super) fn apply(&mut self, change: ClientChange) {
        match change {
            ClientChange::Put(record) => drop(self.records.insert(record.id, record)),
            ClientChange::Delete { id } => drop(self.records.remove(&id)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What of the cache is of use: that of names with a record, and what is dirty if it can be written back.
    pub(super) fn keep_files(&self, files: &mut [CachedFile]) {
        for (at, file) in files.iter_mut().enumerate() {
            let records = || self.records.values().filter(move |record| record.file.get() == at as u64);
            let mut needed = records().filter(|record| record.need != Need::Nobody);
            // A CREATE that may still overwrite the file breaks no lease of one's own.
            let reads = needed.clone().next().is_some() && file.overwriting == 0;
            let writes = needed.any(|record| record.access.contains(Access::WRITE_DATA));
            let mut kept = CachedFile::new(file.pages.len());
            kept.generation = file.generation + 1;
            for (page, before) in kept.pages.iter_mut().zip(&file.pages) {
                // Below what is dirty there is nothing.
                page.clean = before.clean.filter(|_| reads && before.unwritten().is_none());
                page.dirty = before.unwritten().filter(|_| writes);
            }
            *file = kept;
        }
    }
}

impl World {
    /// What is left of a client when it crashes.
    pub(super) fn remember(&mut self, client: usize) {
        let now = self.now;
        let side = &mut self.clients[client];
        side.memory.since = now;
        let ClientSide { memory, files, .. } = side;
        memory.keep_files(files);
        let known =
            |persistent| memory.records.values().any(|record| record.file_id.persistent == persistent);
        for (persistent, open) in &mut self.server.opens {
            if open.client == client && !known(*persistent) {
                open.incarnation = GHOST;
            }
        }
        // What the server holds for it is looked at anew.
        self.server.touched = true;
    }

    /// The opens of the former life.
    pub(super) fn restore_client(&mut self, client: usize) {
        let memory = &self.clients[client].memory;
        let elapsed = Duration::from_millis(self.now - memory.since);
        let records: Vec<_> = memory.records.values().copied().collect();
        for record in records {
            self.tell_client(client, Event::Restore { record, elapsed });
        }
    }

    pub(super) fn restored(&mut self, client: usize, id: u64, open: OpenRef) {
        let side = &mut self.clients[client];
        let Some(record) = side.memory.records.get(&id) else {
            return self.violate("what is restored has a record", || format!("client {client}: {id}"));
        };
        let wanted = Wanted {
            file: record.file.get() as usize,
            access: record.access,
            sharing: record.sharing,
            disposition: record.disposition,
            want: Want::Usual,
            durable: None,
        };
        let handle = Handle {
            request: RequestId::new(0),
            wanted,
            file_id: Some(record.file_id),
            level: record.level,
            used: record.need == Need::Application,
            away: record.need != Need::Nobody,
            closing: record.need == Need::Nobody,
            persistent: matches!(record.promise, Promise::Persistent(_)),
        };
        side.keys[handle.wanted.file] = Some(record.key);
        side.opens.insert(open, handle);
    }
}
