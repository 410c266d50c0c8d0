//! What must outlive the server itself: records of persistent opens, and the changes that a store carries out (MS-SMB2 3.3.1.10). And
//! what a client stores of its own: [`ClientRecord`].
//!
//! The server says [`Action::Persist`](crate::server::Action::Persist); the driver stores the change, and answers when it is
//! durable. What a client was told rests on what is durable by then: see [`Change`].
//!
//! A driver keeps beside each record what it needs by itself to open the file again: share, path, attributes, times.
//!
//! ```
//! use std::cmp::Reverse;
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//! use leasehold::persist::{Change, Record, RecordError};
//! use leasehold::server::{Action, Config, Event, Server};
//! use leasehold::{Instant, Machine};
//!
//! /// Stands for a store that is durable when a call returns.
//! #[derive(Default)]
//! struct Store {
//!     records: BTreeMap<u64, Vec<u8>>,
//!     serials: u64,
//! }
//!
//! impl Store {
//!     fn apply(&mut self, change: Change) {
//!         match change {
//!             Change::Put(record) => drop(self.records.insert(record.persistent, record.encode())),
//!             Change::Delete { persistent } => drop(self.records.remove(&persistent)),
//!             Change::Serials { below } => self.serials = self.serials.max(below),
//!         }
//!     }
//! }
//!
//! /// Tells the machine of one event; whatever it wants stored is durable before anything behind it is carried out.
//! fn tell(server: &mut Server, now: Instant, event: Event, store: &mut Store, perform: &mut impl FnMut(Action)) {
//!     let mut due = vec![event];
//!     while let Some(event) = due.pop() {
//!         let mut actions = Vec::new();
//!         server.handle(now, event, &mut actions).expect("this driver keeps the contract");
//!         for action in actions {
//!             match action {
//!                 Action::Persist { seq, change } => {
//!                     store.apply(change);
//!                     // One answer covers all changes before it.
//!                     due = vec![Event::Persisted { up_to: seq }];
//!                 }
//!                 other => perform(other),
//!             }
//!         }
//!     }
//! }
//!
//! /// Begins with what a former life has left. A record that cannot be read is reported, and nothing else is lost by that.
//! fn start(mut config: Config, store: &mut Store, report: impl Fn(RecordError)) -> Server {
//!     config.persistence = true;
//!     config.first_serial = config.first_serial.max(store.serials);
//!     let (mut server, now) = (Server::new(config), Instant::ZERO);
//!     let mut records = Vec::new();
//!     for (id, octets) in &store.records {
//!         match Record::decode_as(*id, octets) {
//!             Ok(record) => records.push(record),
//!             Err(error) => report(error),
//!         }
//!     }
//!     // From the latest to the earliest: where two contradict each other, the later one is right.
//!     records.sort_by_key(|record| Reverse(record.written));
//!     for record in records {
//!         let event = Event::Restore { record: Box::new(record), elapsed: Duration::ZERO };
//!         tell(&mut server, now, event, store, &mut |_| {});
//!     }
//!     tell(&mut server, now, Event::Recovered, store, &mut |_| {});
//!     server
//! }
//! # use leasehold::{HashKey, server::RouteSeed};
//! # let config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
//! # let mut store = Store::default();
//! # start(config, &mut store, |error| panic!("{error}"));
//! # assert!(store.serials > 1);
//! ```

mod client;
mod error;
mod head;
mod record;
#[cfg(feature = "seal")]
mod seal;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

pub use client::{ClientChange, ClientRecord, Need, Promise};
pub use error::{RecordError, RecordField, RecordForm};
#[cfg(feature = "seal")]
pub use seal::{Nonce, SealKey};

use crate::server::{AppInstance, LockSequences, ObjectKind};
use crate::state::{Access, CreateAction, CreateOptions, Disposition, LeaseState, OplockLevel, ShareMode};
use crate::types::{ClientGuid, CreateGuid, FileKey, LeaseKey, UserId};
use crate::wire::Lease;

/// What a store has to carry out.
///
/// The changes of one shard are carried out in the order of their numbers; those of different shards concern different records.
/// A store that is lost loses handles; one that goes back to an older state may give a client back what another has by now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores a new duty must not compile")]
pub enum Change {
    /// Store this record in the place of the one with the same [`Record::persistent`], if there is one.
    Put(Box<Record>),
    /// Remove the record with this FileId.Persistent. There may be none.
    Delete {
        /// [`Record::persistent`]
        persistent: u64,
    },
    /// Serial numbers of FileIds below this may be in use: keep the highest, and start the next life of the server with it as
    /// [`Config::first_serial`](crate::server::Config::first_serial).
    Serials {
        /// The first that is not in use for certain.
        below: u64,
    },
}

/// What all records have in common, whatever form they have.
trait Octets: Sized {
    const FORM: RecordForm;
    /// Where the name lies.
    const NAME_AT: u32;

    /// What the store keeps it under.
    fn name(&self) -> u64;

    fn len(&self) -> usize;

    /// Writes [`len`](Self::len) octets behind those that are there.
    fn append(&self, octets: &mut Vec<u8>);

    fn decode(octets: &[u8]) -> Result<Self, RecordError>;

    fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.len());
        self.append(&mut octets);
        octets
    }

    fn decode_as(name: u64, octets: &[u8]) -> Result<Self, RecordError> {
        let record = Self::decode(octets)?;
        let found = record.name();
        if found == name {
            return Ok(record);
        }
        Err(RecordError::Foreign { form: Self::FORM, offset: Self::NAME_AT, found, expected: name })
    }
}

/// A persistent open, as it has to be after a restart of the server: all of MS-SMB2 3.3.1.10 that a client may find again.
///
/// [`encode`](Self::encode) and [`decode`](Self::decode) turn it into octets and back. Every record that the server makes, and
/// every one that was decoded, has `level` [`Lease`](OplockLevel::Lease) if and only if it has a `lease`, and never an undefined
/// level.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// FileId.Persistent, Open.DurableFileId: names the record.
    pub persistent: u64,
    /// Higher than that of every record that its shard wrote before: of two records that contradict each other the later one is right.
    pub written: u64,
    /// The file.
    pub file: FileKey,
    /// The directory in which its name stands.
    pub directory: Option<FileKey>,
    /// Open.ParentOplockKey (MS-FSA 2.1.1.6).
    pub parent: Option<LeaseKey>,
    /// Open.ClientGuid
    pub client: ClientGuid,
    /// Open.DurableOwner
    pub owner: UserId,
    /// Open.CreateGuid
    pub create_guid: CreateGuid,
    /// Open.AppInstanceId and its version.
    pub instance: Option<AppInstance>,
    /// Open.DesiredAccess
    pub desired: Access,
    /// Open.GrantedAccess
    pub granted: Access,
    /// Open.ShareMode
    pub sharing: ShareMode,
    /// CreateDisposition of the CREATE.
    pub disposition: Disposition,
    /// Open.CreateOptions
    pub options: CreateOptions,
    /// CreateAction of the first answer; a replay repeats it.
    pub action: CreateAction,
    /// What was opened.
    pub kind: ObjectKind,
    /// Open.DurableOpenTimeout, in milliseconds.
    pub timeout: u32,
    /// Open.ChannelSequence as the CREATE had it (MS-SMB2 3.3.5.2.10): for the driver.
    pub channel_sequence: u16,
    /// Whether its client was connected.
    pub connected: bool,
    /// Whether the file was to be deleted with its last open.
    pub goes: bool,
    /// Its oplock; LEASE if it is part of a lease.
    pub level: OplockLevel,
    /// Its lease, as it would be answered. What the client was told to give up is in `told`.
    pub lease: Option<Lease>,
    /// What its client was told to come down to and has not answered: of its lease, or of its oplock in the terms of a lease.
    pub told: Option<LeaseState>,
    /// Lease.FileDeleteOnClose
    pub relaxed: bool,
    /// Its byte-range locks.
    pub locks: Vec<LockRecord>,
    /// Open.LockSequenceArray (MS-SMB2 3.3.5.14): for the driver.
    pub sequences: LockSequences,
}

/// A byte-range lock of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.26.1")]
pub struct LockRecord {
    /// Offset
    pub offset: u64,
    /// Length, in octets.
    pub len: u64,
    /// Whether it is exclusive.
    pub exclusive: bool,
}

impl Record {
    /// A record of a file that is open for reading, shared with all, with nothing cached.
    pub fn new(
        persistent: u64,
        file: FileKey,
        client: ClientGuid,
        owner: UserId,
        create_guid: CreateGuid,
    ) -> Self {
        Self {
            persistent,
            written: 0,
            file,
            directory: None,
            parent: None,
            client,
            owner,
            create_guid,
            instance: None,
            desired: Access::READ_DATA,
            granted: Access::READ_DATA,
            sharing: ShareMode::ALL,
            disposition: Disposition::Open,
            options: CreateOptions::empty(),
            action: CreateAction::Opened,
            kind: ObjectKind::File,
            timeout: 0,
            channel_sequence: 0,
            connected: false,
            goes: false,
            level: OplockLevel::None,
            lease: None,
            told: None,
            relaxed: false,
            locks: Vec::new(),
            sequences: LockSequences::default(),
        }
    }

    /// Whether its lease key named another file, which was about to go, and joined no lease (MS-SMB2 3.3.5.9.8): then the context has
    /// nothing, and nothing is what it was told to come down to.
    pub fn joins_no_lease(&self) -> bool {
        self.lease.is_some_and(|lease| lease.state().is_empty()) && self.told == Some(LeaseState::NONE)
    }

    /// How long its client may stay away, once it is gone.
    pub const fn patience(&self) -> Duration {
        Duration::from_millis(self.timeout as u64)
    }
}
