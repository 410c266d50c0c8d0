//! The client: a cache that is told what it may do, and handles that close when they must.
//!
//! One [`Client`] stands for one ClientGuid at one server. It owns the lease keys, states and epochs of the names in use,
//! and the opens under them; it never touches data. The application's cache is asked to write back and to forget, and only
//! then is the server told.
//!
//! What a cluster's witness says (MS-SWN) needs no event of its own: of a server that is offline, or of a client that is to move, the
//! driver ends the connections ([`Event::Disconnected`], MS-SMB2 3.2.4.27, 3.2.4.29), and connects anew where it was told to.

mod action;
mod asking;
mod away;
mod breaking;
mod buckets;
mod config;
mod creating;
mod descent;
mod durability;
mod event;
mod file;
mod grant;
mod kept;
mod level;
mod losing;
mod open;
mod opening;
mod policy;
mod records;
mod refs;
mod retry;
mod returning;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use slotmap::{Key, KeyData, SlotMap, new_key_type};

pub use action::{Action, Replay, Served};
pub use away::LossReason;
pub use buckets::LockBuckets;
pub use config::ClientConfig;
pub use event::{CreateReply, Event, PreviousSession, SessionLoss};
pub use opening::{Object, Opening, Want};
pub use policy::{Adaptive, Policy};
pub use refs::{AckId, FileRef, OpenRef};
pub use retry::{Renewal, Retry};

use crate::machine::Machine;
use crate::server::{Capabilities, Terms};
use crate::state::LeaseState;
use crate::store::list::List;
use crate::store::table::{Keyed, Table};
use crate::store::timer::Timers;
use crate::time::Instant;
use crate::types::{ConnId, Epoch, FileId, LeaseKey, SessionId};
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
    /// A session that is not the machine's, or another one beside it.
    #[error("all connections of a client carry one session")]
    OtherSession,
    /// A directory that is the name itself, or inside of it.
    #[error("no name is its own directory")]
    Parent,
    /// An event names an open that is not there, or not in that stage.
    #[error("no such open")]
    UnknownOpen,
    /// A record after the first connection, or twice.
    #[error("records come before the first connection, and once")]
    Restore,
    /// A record for which there is no room: the limits are lower than in the life that wrote it.
    #[error("there is no room for this record")]
    Full,
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

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// The server keeps the open no longer, or the application waits no longer.
    Deadline(OpenSlot),
    /// The next try.
    Retry(OpenSlot),
}

/// The one session of the connections.
#[derive(Clone, Copy, Debug)]
struct Session {
    id: Option<SessionId>,
    valid: bool,
    previous: PreviousSession,
    channel_sequence: u16,
    /// What the driver was asked for, and on which connection.
    renewal: Option<(ConnId, Renewal)>,
}

impl Session {
    const NONE: Self =
        Self { id: None, valid: false, previous: PreviousSession::Ended, channel_sequence: 0, renewal: None };
}

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

/// A connection with the session on it. One that carries a former session carries nothing.
#[derive(Clone, Copy, Debug)]
struct Channel {
    conn: ConnId,
    terms: Terms,
    session: SessionId,
}

/// An SMB2 client's mind.
///
/// A call costs the opens of the file that it concerns; the loss of a connection, all opens; an acknowledgment, those under
/// way, of which [`ClientConfig::acknowledgments`] are remembered.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    /// In the order in which they came.
    conns: Vec<Channel>,
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
    session: Session,
    /// Of the next name or open.
    serial: u64,
    /// Opens and CREATEs that wait for their turn, in the order of names and opens.
    queue: BTreeMap<(u64, u64), OpenSlot>,
    /// Reconnects without an answer.
    in_flight: usize,
    timers: Timers<Due>,
    /// Oldest first.
    acks: Vec<Sent>,
    next_ack: u64,
    /// Names whose records may have changed in this call, and records that are to go.
    touched: Vec<FileSlot>,
    erased: Vec<u64>,
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
            session: Session::NONE,
            serial: 0,
            queue: BTreeMap::new(),
            in_flight: 0,
            timers: Timers::default(),
            acks: Vec::new(),
            next_ack: 0,
            touched: Vec::new(),
            erased: Vec::new(),
            config,
        }
    }

    /// The connections that carry the session.
    fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.conns.iter().filter(|channel| Some(channel.session) == self.session.id)
    }

    /// What the lease of a name gives now; oplocks come on top.
    pub fn state(&self, file: FileRef) -> LeaseState {
        self.files
            .find(file)
            .and_then(|slot| self.files.get(slot))
            .map_or(LeaseState::NONE, |file| file.state)
    }

    /// How many names the machine knows: those that are open or being opened, and their directories.
    pub fn names(&self) -> usize {
        self.files.len()
    }

    /// ChannelSequence for the headers of the session (MS-SMB2 3.2.4.1): one more after each channel that is lost beside others.
    pub fn channel_sequence(&self) -> u16 {
        self.session.channel_sequence
    }

    /// Whether LOCK requests of an open have numbers (MS-SMB2 3.2.4.19): see [`LockBuckets`].
    pub fn sequences_locks(&self, open: OpenRef) -> bool {
        let channels =
            self.channels().any(|channel| channel.terms.capabilities.contains(Capabilities::MULTI_CHANNEL));
        let insists = |open: &Open| channels || open.durability.insists();
        self.opens.get(open_slot(open)).is_some_and(insists)
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
        let start = out.len();
        self.take(event, out)?;
        self.pump(out);
        self.persist(start, out);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant, out: Out<'_>) {
        self.now = self.now.max(now);
        let start = out.len();
        while let Some(due) = self.timers.expire(self.now) {
            self.due(due, out);
        }
        self.pump(out);
        self.persist(start, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_due()
    }
}

impl Client {
    fn take(&mut self, event: Event, out: Out<'_>) -> Result<(), Misuse> {
        match event {
            Event::Connected { conn, session, previous, terms } => {
                if self.conns.iter().any(|channel| channel.conn == conn) {
                    return Err(Misuse::DuplicateConnection);
                }
                let other = self.session.valid && self.session.id != Some(session);
                if other && self.channels().next().is_some() {
                    return Err(Misuse::OtherSession);
                }
                self.supersede(session, out);
                self.conns.push(Channel { conn, terms, session });
                self.session_ready(session, previous);
            }
            Event::Restore { record, elapsed } => return self.restore(&record, elapsed, out),
            Event::SessionReady { session, previous } => {
                if self.conns.is_empty() {
                    return Err(Misuse::UnknownConnection);
                }
                if self.session.valid && self.session.id != Some(session) {
                    return Err(Misuse::OtherSession);
                }
                self.supersede(session, out);
                self.conns.iter_mut().for_each(|channel| channel.session = session);
                self.session_ready(session, previous);
            }
            Event::SessionLost { session, reason } => return self.session_lost(session, reason, out),
            Event::Disconnected { conn } => return self.disconnected(conn, out),
            Event::Open(opening) => return self.open(opening, out),
            Event::Created { open, result } => return self.created(open, result, out),
            Event::Reconnected { open, result } => return self.reconnected(open, result, out),
            Event::Resilient { open, timeout } => return self.resilient(open, timeout),
            Event::HandleLost { open, status } => return self.handle_lost(open, status, out),
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
