//! The client: a cache that is told what it may do, and handles that close when they must.
//!
//! One [`Client`] stands for one ClientGuid at one server. It owns the lease keys, states and epochs of the names in use,
//! and the opens under them; it never touches data. The application's cache is asked to write back and to forget, and only
//! then is the server told.

mod action;
mod asking;
mod breaking;
mod config;
mod creating;
mod descent;
mod event;
mod file;
mod grant;
mod kept;
mod level;
mod losing;
mod open;
mod opening;
mod policy;
mod refs;

use alloc::vec::Vec;

use slotmap::{Key, KeyData, SlotMap, new_key_type};

pub use action::{Action, Served};
pub use config::ClientConfig;
pub use event::{CreateReply, Event};
pub use opening::{Object, Opening, Want};
pub use policy::{Adaptive, Policy};
pub use refs::{AckId, FileRef, OpenRef};

use crate::machine::Machine;
use crate::server::Terms;
use crate::state::LeaseState;
use crate::store::list::List;
use crate::store::table::{Keyed, Table};
use crate::time::Instant;
use crate::types::{ConnId, Epoch, FileId, LeaseKey};
use crate::wire::OplockBreak;
use file::{File, Turn};
use open::Open;
use policy::Habits;

new_key_type! {
    struct FileSlot;
    struct OpenSlot;
    struct NameSlot;
    struct IdSlot;
    struct HabitSlot;
}

/// How a driver can break the contract. The machine is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// An event names a connection that is not there.
    #[error("no such connection")]
    UnknownConnection,
    /// A connection arrives twice.
    #[error("this connection is there already")]
    DuplicateConnection,
    /// A new name comes with a lease key that another name has, or with zeros.
    #[error("this lease key is no new one")]
    LeaseKey,
    /// A directory that is the name itself, or inside of it.
    #[error("no name is its own directory")]
    Parent,
    /// An event names an open that is not there, or not in that stage.
    #[error("no such open")]
    UnknownOpen,
    /// An answer to nothing that was asked.
    #[error("nothing was asked of this file")]
    UnknownFile,
}

/// The name that a lease key belongs to.
#[derive(Clone, Copy, Debug)]
struct Named {
    key: LeaseKey,
    file: FileSlot,
}

/// The open that a FileId belongs to.
#[derive(Clone, Copy, Debug)]
struct Identified {
    file_id: FileId,
    open: OpenSlot,
}

/// The break of an oplock whose open is not known as yet.
#[derive(Clone, Copy, Debug)]
struct Early(OplockBreak);

/// An acknowledgment without an answer.
#[derive(Clone, Copy, Debug)]
struct Sent {
    ack: AckId,
    conn: ConnId,
    of: Acked,
}

#[derive(Clone, Copy, Debug)]
enum Acked {
    Lease { file: FileSlot, state: LeaseState, turn: Turn },
    Oplock { open: OpenSlot },
}

impl Sent {
    fn file(&self) -> Option<FileSlot> {
        match self.of {
            Acked::Lease { file, .. } => Some(file),
            Acked::Oplock { .. } => None,
        }
    }
}

/// An SMB2 client's mind.
///
/// A call costs the opens of the file that it concerns; the loss of a connection, all opens; an acknowledgment, those under
/// way, of which [`ClientConfig::acknowledgments`] are remembered.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    conns: Vec<(ConnId, Terms)>,
    files: Table<FileSlot, File>,
    names: Table<NameSlot, Named>,
    ids: Table<IdSlot, Identified>,
    opens: SlotMap<OpenSlot, Open>,
    /// Handles that H keeps open, the longest kept first.
    kept: List<OpenSlot>,
    /// Of the next handle that is kept.
    turn: u64,
    habits: Habits,
    /// CREATEs without an answer, and breaks that may be theirs.
    creating: usize,
    early: Vec<Early>,
    now: Instant,
    /// Oldest first.
    acks: Vec<Sent>,
    next_ack: u64,
}

type Out<'a> = &'a mut Vec<Action>;

impl Client {
    /// A client without connections.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            conns: Vec::new(),
            files: Table::new(config.hash_key, config.files),
            names: Table::new(config.hash_key, config.files),
            ids: Table::new(config.hash_key, config.opens),
            opens: SlotMap::with_key(),
            kept: List::default(),
            turn: 0,
            habits: Habits::new(config.policy, config.hash_key),
            creating: 0,
            early: Vec::new(),
            now: Instant::ZERO,
            acks: Vec::new(),
            next_ack: 0,
            config,
        }
    }

    /// What the lease of a name gives now; oplocks come on top.
    pub fn state(&self, file: FileRef) -> LeaseState {
        self.files
            .find(file)
            .and_then(|slot| self.files.get(slot))
            .map_or(LeaseState::NONE, |file| file.state)
    }

    /// The epoch of the lease of a name.
    pub fn epoch(&self, file: FileRef) -> Epoch {
        self.files.find(file).and_then(|slot| self.files.get(slot)).map_or(Epoch::ZERO, |file| file.epoch)
    }
}

impl Machine for Client {
    type Event = Event;
    type Action = Action;
    type Misuse = Misuse;

    fn handle(&mut self, now: Instant, event: Event, out: Out<'_>) -> Result<(), Misuse> {
        self.now = self.now.max(now);
        match event {
            Event::Connected { conn, terms } => {
                if self.conns.iter().any(|(other, _)| *other == conn) {
                    return Err(Misuse::DuplicateConnection);
                }
                self.conns.push((conn, terms));
            }
            Event::Disconnected { conn } => return self.disconnected(conn, out),
            Event::Open(opening) => return self.open(opening, out),
            Event::Created { open, result } => return self.created(open, result, out),
            Event::Release { open } => return self.release(open, out),
            Event::Closed { open } => return self.closed(open, out),
            Event::Flushed { file } => {
                return self.finished(file, |file| &mut file.descent.flush, out);
            }
            Event::Purged { file } => {
                return self.finished(file, |file| &mut file.descent.purge, out);
            }
            Event::LeaseBroken { body } => self.lease_broken(&body, out),
            Event::OplockBroken { body, .. } => self.oplock_broken(&body, out),
            Event::AckAnswered { ack, result } => self.answered(ack, result, out),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _: Instant, _: Out<'_>) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

fn open_ref(slot: OpenSlot) -> OpenRef {
    OpenRef(slot.data().as_ffi())
}

fn open_slot(open: OpenRef) -> OpenSlot {
    KeyData::from_ffi(open.0).into()
}

impl Keyed for Named {
    type Key = LeaseKey;

    fn key(&self) -> LeaseKey {
        self.key
    }
}

impl Keyed for Identified {
    type Key = FileId;

    fn key(&self) -> FileId {
        self.file_id
    }
}
