//! Where a server keeps the records of its persistent opens: what `Persist` and `Restore` are carried out on.
//!
//! A store holds octets under the FileId.Persistent of an open, each with the wall clock of when it was written, and one number:
//! the bound of `Serials`. It knows nothing of SMB. A [`Batch`] of changes is one transaction, so one flush answers for many.
//!
//! | store | `StoreUrl` | who may write |
//! |---|---|---|
//! | [`memory`] | `memory` | this process; forgotten with it |
//! | [`mod@redb`] | `redb:PATH` | the process that has the file open: the database locks it |
//! | [`etcd`] | `etcd:http://HOST:PORT[/PREFIX][?ttl=SECONDS]` | the node that owns the prefix: see there |

pub mod etcd;
pub mod keeping;
pub mod memory;
pub mod ownership;
pub mod redb;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold::persist::{Change, Record, RecordError};

use self::ownership::Ownership;

/// A stable store, opened by the one process that may write to it.
pub trait Store: Send {
    /// All that is there. Nobody else can change it meanwhile.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn load(&mut self) -> Result<Image, StoreError>;

    /// Carries a batch out, all of it or nothing. When it returns, that is durable.
    ///
    /// # Errors
    ///
    /// If it was not carried out.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// How many changes fit in one batch.
    fn room(&self) -> usize;

    /// For how long nobody else can serve from this store.
    fn ownership(&self) -> Ownership;
}

/// Why a store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another node owns the store now, or may: this one must not grant anything any more, whatever it is.
    #[error("fenced: another node may own the store")]
    Fenced,
    /// The store would not or could not, and has changed nothing.
    #[error("the store refused: {0}")]
    Refused(String),
    /// It could not be opened or understood.
    #[error("the store is of no use: {0}")]
    Unusable(String),
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By FileId.Persistent.
    pub records: BTreeMap<u64, Stored>,
    /// What was set aside, because nobody could read it.
    pub aside: BTreeMap<u64, Stored>,
    /// The highest bound of `Serials`; 0 if there was none.
    pub below: u64,
}

/// The octets of a record, and when they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Wall clock, in milliseconds since 1970.
    pub since: u64,
    /// The record.
    pub octets: Vec<u8>,
}

/// Changes that are carried out together. Of several to one record the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What becomes of records: new octets, or none.
    pub records: BTreeMap<u64, Option<Stored>>,
    /// Records that are moved aside: they are in `records` too, as gone.
    pub aside: BTreeMap<u64, Stored>,
    /// The bound is raised to this; 0 leaves it.
    pub below: u64,
}

impl Batch {
    /// Adds a change, stamped with this wall clock.
    pub fn add(&mut self, change: Change, since: u64) {
        match change {
            Change::Put(record) => self.put(record.persistent, Stored { since, octets: record.encode() }),
            Change::Delete { persistent } => self.delete(persistent),
            Change::Serials { below } => self.below = self.below.max(below),
        }
    }

    /// Stores octets in the place of those under this number.
    pub fn put(&mut self, persistent: u64, stored: Stored) {
        self.records.insert(persistent, Some(stored));
    }

    /// Removes what is under this number.
    pub fn delete(&mut self, persistent: u64) {
        self.records.insert(persistent, None);
    }

    /// Moves what is under this number out of the way, for somebody to look at.
    pub fn set_aside(&mut self, persistent: u64, stored: Stored) {
        self.delete(persistent);
        self.aside.insert(persistent, stored);
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.aside.is_empty() && self.below == 0
    }
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// Nowhere: it goes with the process.
    Memory,
    /// A file.
    Redb(PathBuf),
    /// A prefix in etcd.
    Etcd {
        /// Of the JSON gateway.
        base: String,
        /// Before every key.
        prefix: String,
        /// How long a node that says nothing stays the owner.
        ttl: Duration,
    },
}

impl StoreUrl {
    /// Reads `memory`, `redb:PATH` or `etcd:http://HOST:PORT[/PREFIX][?ttl=SECONDS]`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let wrong = |what: &str| StoreError::Unusable(format!("{what}: {text}"));
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("redb", path)) if !path.is_empty() => Ok(Self::Redb(path.into())),
            Some(("etcd", url)) => {
                let (url, ttl) = match url.split_once("?ttl=") {
                    Some((url, ttl)) => (url, ttl.parse().map_err(|_| wrong("no number of seconds"))?),
                    None => (url, 10),
                };
                let rest = url.strip_prefix("http://").ok_or_else(|| wrong("no http"))?;
                let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if host.is_empty() || ttl == 0 {
                    return Err(wrong("no host, or no time"));
                }
                let prefix = if prefix.is_empty() { "leasehold" } else { prefix };
                Ok(Self::Etcd {
                    base: format!("http://{host}"),
                    prefix: prefix.trim_end_matches('/').into(),
                    ttl: Duration::from_secs(ttl),
                })
            }
            _ => Err(wrong("neither memory, redb:PATH nor etcd:URL")),
        }
    }

    /// Opens it. For a store of a cluster that takes until the node that owned it is certain to have stopped.
    ///
    /// # Errors
    ///
    /// If it is not there, or somebody else has it open.
    pub fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Memory => Box::new(memory::MemoryStore::default()),
            Self::Redb(path) => Box::new(redb::RedbStore::open(path)?),
            Self::Etcd { base, prefix, ttl } => Box::new(etcd::EtcdStore::open(base, prefix, *ttl)?),
        })
    }
}

/// A record out of a store, with the time that its client has been away by then.
///
/// The stamp counts only where the record says that its client was gone. Nobody wrote down when the server itself went, so the
/// time of a client that was connected begins now: rather too late than too early.
///
/// # Errors
///
/// If the octets are no record of this number.
pub fn decode(persistent: u64, stored: &Stored, now: u64) -> Result<(Box<Record>, Duration), RecordError> {
    let record = Record::decode_as(persistent, &stored.octets)?;
    let away = if record.connected { 0 } else { now.saturating_sub(stored.since) };
    Ok((Box::new(record), Duration::from_millis(away)))
}

/// The wall clock, in milliseconds since 1970.
pub fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_store() {
        assert_eq!(StoreUrl::parse("memory"), Ok(StoreUrl::Memory));
        assert_eq!(StoreUrl::parse("redb:a/b:c"), Ok(StoreUrl::Redb("a/b:c".into())));
        let etcd = |prefix: &str, ttl| StoreUrl::Etcd {
            base: "http://127.0.0.1:2379".into(),
            prefix: prefix.into(),
            ttl: Duration::from_secs(ttl),
        };
        assert_eq!(StoreUrl::parse("etcd:http://127.0.0.1:2379"), Ok(etcd("leasehold", 10)));
        assert_eq!(StoreUrl::parse("etcd:http://127.0.0.1:2379/a/b/?ttl=2"), Ok(etcd("a/b", 2)));
        for wrong in [
            "",
            "redb:",
            "redb",
            "etcd:",
            "etcd:http://",
            "etcd:http://h?ttl=x",
            "etcd:http://h?ttl=0",
            "sled:x",
        ] {
            assert!(StoreUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_several_changes_the_last_counts_and_the_bound_only_rises() {
        let stored = |octet| Stored { since: 1, octets: vec![octet] };
        let mut batch = Batch::default();
        batch.put(1, stored(1));
        batch.delete(1);
        batch.put(2, stored(2));
        batch.put(2, stored(3));
        batch.add(Change::Serials { below: 9 }, 1);
        batch.add(Change::Serials { below: 5 }, 1);
        assert_eq!(batch.records, [(1, None), (2, Some(stored(3)))].into());
        assert_eq!(batch.below, 9);
    }
}
