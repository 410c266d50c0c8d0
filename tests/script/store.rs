//! The store of a story: what the server has had stored, and what is durable of it.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::persist::{Change, Record};
use leasehold::server::{Config, Event, PersistSeq};

use super::names::Names;
use super::values::{integer, key_name, level_name};
use super::words::Words;

#[derive(Default)]
pub(crate) struct Store {
    /// Changes that are on their way.
    asked: BTreeMap<u64, (PersistSeq, Change)>,
    /// As octets.
    records: BTreeMap<u64, Vec<u8>>,
    serials: u64,
}

impl Store {
    pub(crate) fn asks(&mut self, seq: PersistSeq, change: &Change) {
        self.asked.insert(seq.number(), (seq, change.clone()));
    }

    /// `stored [#3]`: everything up to there is durable, or everything.
    pub(crate) fn stored(&mut self, words: &mut Words<'_>) -> Result<Event, String> {
        let last = self.asked.last_key_value().map(|(number, _)| *number).ok_or("nothing is to be stored")?;
        let number = optional_number(words)?.unwrap_or(last);
        let (seq, _) = self.asked.get(&number).ok_or("that is not to be stored")?;
        let up_to = *seq;
        self.apply(number);
        Ok(Event::Persisted { up_to })
    }

    /// `not-stored #3`
    pub(crate) fn not_stored(&mut self, words: &mut Words<'_>) -> Result<Event, String> {
        let number = optional_number(words)?.ok_or("the change is missing")?;
        let (seq, _) = self.asked.remove(&number).ok_or("that is not to be stored")?;
        Ok(Event::PersistFailed { seq })
    }

    fn apply(&mut self, up_to: u64) {
        while let Some(entry) = self.asked.first_entry().filter(|entry| *entry.key() <= up_to) {
            match entry.remove().1 {
                Change::Put(record) => {
                    self.records.insert(record.persistent, record.encode());
                }
                Change::Delete { persistent } => {
                    self.records.remove(&persistent);
                }
                Change::Serials { below } => self.serials = self.serials.max(below),
            }
        }
    }

    /// `restart [#5] [away=1000]`: what was on its way is lost, but for what comes before that number.
    pub(crate) fn restart(
        &mut self,
        words: &mut Words<'_>,
        config: &mut Config,
    ) -> Result<Vec<Event>, String> {
        if let Some(number) = optional_number(words)? {
            self.apply(number);
        }
        let elapsed = Duration::from_millis(words.read("away", integer)?.unwrap_or(0));
        self.asked.clear();
        config.first_serial = config.first_serial.max(self.serials);
        let decoded = self.records.iter().map(|(persistent, octets)| Record::decode_as(*persistent, octets));
        let mut records = decoded.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        records.sort_by_key(|record| std::cmp::Reverse(record.written));
        let restored = records.into_iter().map(|record| Event::Restore { record: Box::new(record), elapsed });
        let mut events: Vec<Event> = restored.collect();
        events.push(Event::Recovered);
        Ok(events)
    }
}

fn optional_number(words: &mut Words<'_>) -> Result<Option<u64>, String> {
    words.next_if(|word| word.starts_with('#')).map(|word| integer(word.trim_start_matches('#'))).transpose()
}

/// Writes a change down.
pub(crate) fn line(names: &Names, seq: PersistSeq, change: &Change) -> String {
    let what = match change {
        Change::Put(record) => put(names, record),
        Change::Delete { persistent } => format!("delete {}", names.lasting(*persistent)),
        Change::Serials { below } => format!("serials below={below:#x}"),
    };
    format!("store #{} {what}", seq.number())
}

fn put(names: &Names, record: &Record) -> String {
    let mut words = vec![format!("put {}", names.lasting(record.persistent))];
    match record.lease {
        Some(lease) => {
            words.push(format!("lease={}:{}", key_name(lease.key()), lease.state()));
            words.extend(lease.epoch().map(|epoch| format!("epoch={}", epoch.get())));
        }
        None => words.push(format!("oplock={}", level_name(record.level))),
    }
    words.extend(record.told.map(|told| format!("told={told}")));
    for lock in &record.locks {
        let kind = if lock.exclusive { "exclusive" } else { "shared" };
        words.push(format!("lock={}+{}:{kind}", lock.offset, lock.len));
    }
    words.extend(record.directory.map(|directory| format!("in={}", super::values::file_name(directory))));
    words.extend(record.goes.then(|| "goes".to_owned()));
    words.extend((!record.connected).then(|| "away".to_owned()));
    words.join(" ")
}
