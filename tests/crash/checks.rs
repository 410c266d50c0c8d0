//! What holds at any time.

use std::collections::BTreeMap;

use leasehold::{Access, LeaseState, ShareMode};

use crate::book::{Handle, Standing, Verdict, hold};
use crate::life::{Life, caches};

impl Life {
    /// Between two events, once everything is stored, the store holds what is there and nothing else.
    pub fn settled(&self) -> Verdict {
        let whole = self.journal.whole();
        for (persistent, handle) in &self.book.handles {
            let Some(record) = whole.records.get(persistent) else {
                hold!(handle.standing != Standing::Firm, "{persistent:#x} is not about to be stored");
                continue;
            };
            let over = handle.closed || handle.standing == Standing::Never;
            hold!(!over || handle.ghost, "{persistent:#x} is not about to be deleted");
            let connected = handle.seat.is_some();
            let here = connected || handle.lost;
            if handle.standing != Standing::Firm || handle.scarred || !here {
                continue;
            }
            hold!(record.connected == connected, "{persistent:#x}: connected is {}", record.connected);
            let key = handle.wish.lease.map(|(key, _)| (handle.wish.client, key));
            let told = key.and_then(|key| self.book.told.get(&key));
            let shared = |other: &&Handle| other.wish.lease.map(|(key, _)| (other.wish.client, key)) == key;
            let mut handles = self.book.handles.values().filter(shared);
            // A further open of the lease may be about to get more, or have got it and gone before anybody heard of it.
            let more = handles.any(|other| !other.told);
            if handle.unbound {
                let nothing = record.lease.is_some_and(|lease| lease.state().is_empty());
                hold!(nothing, "{persistent:#x}: its key joined no lease");
            } else if let (Some(lease), Some(told), false) = (record.lease, told, more) {
                let stored = record.told.unwrap_or_else(|| lease.state());
                let (told, exact) = (told.state, told.exact && connected);
                hold!(told.contains(stored), "{persistent:#x}: {stored} is stored, and {told} was told");
                hold!(!exact || stored == told, "{persistent:#x}: {stored} is stored, and {told} is held",);
            }
            if record.lease.is_none() {
                let told = caches(handle.level);
                let stored = record.told.unwrap_or_else(|| caches(record.level));
                hold!(told.contains(stored), "{persistent:#x}: {:?} is stored", record.level);
            }
        }
        Ok(())
    }

    /// The locks of what was restored are held, whoever is back.
    pub fn locks_fit(&self) -> Verdict {
        for file in self.server.snapshot().files {
            for open in &file.opens {
                let persistent = open.file_id.persistent;
                let Some(handle) = self.book.handles.get(&persistent) else { continue };
                let mut locks: BTreeMap<u64, i32> = BTreeMap::new();
                for lock in file.locks.iter().filter(|lock| lock.file_id.persistent == persistent) {
                    *locks.entry(lock.offset).or_default() += 1;
                }
                handle.locks_fit(&locks).map_err(|what| format!("{persistent:#x}: {what}"))?;
            }
        }
        Ok(())
    }

    /// What was granted does not exclude each other.
    pub fn shared(&self) -> Verdict {
        let firm: Vec<_> = self
            .book
            .handles
            .values()
            .filter(|handle| handle.standing == Standing::Firm && !handle.revived)
            .collect();
        for (one, other) in firm.iter().flat_map(|one| firm.iter().map(move |other| (one, other))) {
            let apart = one.wish.file != other.wish.file || one.file_id == other.file_id;
            let kinds = [
                (Access::READ_DATA, ShareMode::READ),
                (Access::WRITE_DATA, ShareMode::WRITE),
                (Access::DELETE, ShareMode::DELETE),
            ];
            let real = kinds.iter().any(|(access, _)| other.wish.access.contains(*access));
            let shares = kinds.iter().all(|(access, sharing)| {
                !one.wish.access.contains(*access) || other.wish.sharing.contains(*sharing)
            });
            hold!(
                apart || !real || shares,
                "{:#x} excludes {:#x}",
                other.file_id.persistent,
                one.file_id.persistent
            );
        }
        Ok(())
    }

    /// Nobody caches beside write caching.
    pub fn nothing_excluded(&self) -> Verdict {
        for file in self.server.snapshot().files {
            let mut held: Vec<LeaseState> = file.leases.iter().map(|lease| lease.state).collect();
            held.extend(file.opens.iter().map(|open| caches(open.oplock)));
            held.retain(|state| !state.is_empty());
            let writes = held.iter().any(|state| state.contains(LeaseState::WRITE));
            hold!(!writes || held.len() == 1, "write caching beside others: {file:?}");
        }
        Ok(())
    }
}
