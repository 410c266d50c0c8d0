//! What a driver does with a store: it restores at the start, and carries changes out ever after.

use std::cmp::Reverse;
use std::iter;
use std::sync::mpsc::Receiver;

use leasehold::persist::Change;
use leasehold::server::{Event, Misuse, PersistSeq};

use super::{Batch, Image, Store, StoreError, Stored, decode, wall_clock};

/// The store belongs to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced;

/// Why a driver cannot start from what is stored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// What the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine has no room for a record: it would be lost.
    #[error("record {0:016x}: {1}")]
    NoRoom(u64, Misuse),
}

/// Carries changes out until there are no more to come, or nobody listens, or the store belongs to somebody else.
pub fn keep(
    mut store: Box<dyn Store>,
    changes: &Receiver<(PersistSeq, Change)>,
    mut tell: impl FnMut(Result<Event, Fenced>) -> bool,
) {
    while let Ok(first) = changes.recv() {
        // What has come while the last batch was flushed goes into this one.
        let heard = match flush(store.as_mut(), iter::once(first).chain(changes.try_iter())) {
            Ok(events) => events.into_iter().all(|event| tell(Ok(event))),
            Err(Fenced) => tell(Err(Fenced)),
        };
        if !heard {
            return;
        }
    }
}

/// As many changes as one batch takes, and what the machine has to know of them.
///
/// # Errors
///
/// [`Fenced`].
pub fn flush(
    store: &mut dyn Store,
    changes: impl Iterator<Item = (PersistSeq, Change)>,
) -> Result<Vec<Event>, Fenced> {
    let mut batch = Batch::default();
    let (room, now) = (store.room(), wall_clock());
    let add = |(seq, change)| {
        batch.add(change, now);
        seq
    };
    let numbers: Vec<PersistSeq> = changes.take(room).map(add).collect();
    let Some(&up_to) = numbers.last() else { return Ok(Vec::new()) };
    match store.commit(&batch) {
        Ok(()) => Ok(vec![Event::Persisted { up_to }]),
        // `PersistFailed` would have the machine grant what it can without the store: nothing may be granted now.
        Err(StoreError::Fenced) => Err(Fenced),
        Err(error @ (StoreError::Refused(_) | StoreError::Unusable(_))) => {
            eprintln!("{} changes are not stored: {error}", numbers.len());
            Ok(numbers.into_iter().map(|seq| Event::PersistFailed { seq }).collect())
        }
    }
}

/// Restores what can be, sets aside what cannot, and says how many there were of the former.
///
/// # Errors
///
/// [`RestoreError`].
pub fn restore(
    store: &mut dyn Store,
    image: Image,
    mut handle: impl FnMut(Event) -> Result<(), Misuse>,
) -> Result<usize, RestoreError> {
    let mut restored = 0;
    let mut aside = Vec::new();
    let now = wall_clock();
    let decoded = image.records.into_iter().map(|(persistent, stored)| {
        let record = decode(persistent, &stored, now);
        (persistent, stored, record)
    });
    let mut records: Vec<_> = decoded.collect();
    // From the latest to the earliest; those that are none at the end.
    records.sort_by_key(|(_, _, record)| Reverse(record.as_ref().map_or(0, |(record, _)| record.written)));
    for (persistent, stored, record) in records {
        let why = match record {
            Ok((record, elapsed)) => match handle(Event::Restore { record, elapsed }) {
                Ok(()) => {
                    restored += 1;
                    continue;
                }
                // Whoever runs this has to give it more room.
                Err(misuse @ Misuse::NoRoom) => return Err(RestoreError::NoRoom(persistent, misuse)),
                Err(misuse) => misuse.to_string(),
            },
            Err(error) => error.to_string(),
        };
        eprintln!("record {persistent:016x} is set aside: {why}");
        aside.push((persistent, stored));
    }
    set_aside(store, aside)?;
    Ok(restored)
}

/// Moves records out of the way, for somebody to look at.
///
/// # Errors
///
/// [`StoreError`].
pub fn set_aside(
    store: &mut dyn Store,
    records: impl IntoIterator<Item = (u64, Stored)>,
) -> Result<(), StoreError> {
    let mut aside = Batch::default();
    for (persistent, stored) in records {
        aside.set_aside(persistent, stored);
        // Each is two changes.
        if aside.aside.len() >= store.room() / 2 {
            store.commit(&std::mem::take(&mut aside))?;
        }
    }
    if aside.is_empty() { Ok(()) } else { store.commit(&aside) }
}
