//! The rules of MS-SMB2 and MS-FSA written down a second time, in lists and loops: what a server must say to each event.
//!
//! Nothing here is fast, and nothing is shared with the machine but the types of its interface.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    clippy::missing_errors_doc,
    unreachable_pub,
    missing_docs,
    reason = "a model that goes wrong should stop"
)]

mod breaks;
pub mod check;
mod creates;
mod durable;
mod grants;
pub mod harness;
pub mod judge;
pub mod known;
pub mod locks;
mod operations;
pub mod persistent;
pub mod rules;
pub mod steps;
pub mod store;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold::server::{
    BreakId, Capabilities, ChannelChoice, Config, Create, DurableGrant, Event, FollowUp, FollowUpEpoch,
    LeaseIdentity, Link, Lock, LockFlags, LockReach, LockSequences, ObjectKind, Opened, Origin, OvertakenAck,
    SessionEnd, ShareFlags, ShareKind, Terms, Ticket, UnexpectedAck,
};
use leasehold::wire::{BreakFlags, Lease as Context, LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, CreateGuid, CreateOptions, Dialect, Epoch, FileId, FileKey,
    Instant, Intent, LeaseKey, LeaseState, OplockLevel, RequestId, SessionId, ShareMode, Status, UserId,
};

use rules::Row;
use store::{Gated, Store};

/// A client and a key: the name of a lease.
pub type Key = (ClientGuid, LeaseKey);

/// What the machine says, with requests in place of the names that it chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    OpenFile {
        request: RequestId,
    },
    Proceed {
        request: RequestId,
    },
    /// `open`: its CREATE, another one where an open is given back or a CREATE is replayed. `fresh`: with a new volatile half.
    Granted {
        request: RequestId,
        open: RequestId,
        fresh: bool,
        action: CreateAction,
        level: OplockLevel,
        lease: Option<Context>,
        durable: Option<DurableGrant>,
        replayable: bool,
    },
    Refused {
        request: RequestId,
        status: Status,
    },
    Resolve {
        request: RequestId,
    },
    Interim {
        request: RequestId,
    },
    Closed {
        request: RequestId,
    },
    Accepted {
        request: RequestId,
    },
    LeaseBreak {
        conn: ConnId,
        body: LeaseBreak,
    },
    /// `open`: its CREATE.
    OplockBreak {
        conn: ConnId,
        session: SessionId,
        open: RequestId,
        level: OplockLevel,
    },
    LeaseAck {
        request: RequestId,
        result: Result<LeaseAck, Status>,
    },
    OplockAck {
        request: RequestId,
        result: Result<OplockLevel, Status>,
    },
    /// `open`: its CREATE.
    CloseFile {
        open: RequestId,
        link: Link,
    },
    Unlink {
        file: FileKey,
    },
}

/// A connection.
#[derive(Clone, Debug)]
struct Conn {
    client: ClientGuid,
    terms: Terms,
    arrived: u64,
}

/// A break that has to be acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Breaking<T> {
    /// What the holder was told.
    pub told: T,
    /// What all conflicts together need.
    pub needed: T,
    /// When nothing is left of it; `None` as long as nobody is told.
    pub deadline: Option<Instant>,
    /// Which notification it is.
    pub serial: u64,
    /// Where it was sent, and when that connection had come.
    sent: (u64, ConnId),
}

/// A lease (MS-SMB2 3.3.1.12).
#[derive(Clone, Debug)]
pub struct Lease {
    pub key: Key,
    pub file: FileKey,
    pub state: LeaseState,
    /// Version 2, or 1.
    pub second: bool,
    pub epoch: Epoch,
    pub parent: Option<LeaseKey>,
    pub breaking: Option<Breaking<LeaseState>>,
    /// The last notification, with or without acknowledgment.
    serial: u64,
    /// The last notification if nobody has to acknowledge it, and where it was sent.
    announced: Option<(LeaseBreak, (u64, ConnId))>,
    /// Whether that is about what nobody answered in time.
    late: bool,
    /// It is as a record left it: its client has not come yet.
    pub restored: bool,
}

/// A CREATE with what its connection makes of it.
#[derive(Clone, Debug)]
pub struct Ask {
    pub create: Create,
    pub client: ClientGuid,
    pub terms: Terms,
    /// The lease context, if it counts.
    pub context: Option<Context>,
    /// The lease that it joins or makes.
    pub key: Option<Key>,
}

/// How far an open has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The driver opens it.
    Opening,
    /// The driver opens it, and nobody waits for it any more.
    Abandoned,
    /// It is granted.
    Live,
}

/// An open (MS-SMB2 3.3.1.10), from `OpenFile` on.
#[derive(Clone, Debug)]
pub struct Open {
    pub ask: Ask,
    pub phase: Phase,
    pub order: u64,
    /// Whether LEASE was answered.
    pub leased: bool,
    pub oplock: OplockLevel,
    pub ever_oplock: bool,
    pub breaking: Option<Breaking<OplockLevel>>,
    serial: u64,
    /// Where the last notification was sent, if nobody has to acknowledge it.
    announced: Option<(u64, ConnId)>,
    /// ParentLeaseKey, if the context counted.
    parent: Option<LeaseKey>,
    directory: Option<FileKey>,
    modified: bool,
    /// DurableOwner
    owner: UserId,
    /// DurableOpenTimeout, if IsDurable.
    pub durable: Option<Duration>,
    /// ResiliencyTimeout, if IsResilient.
    pub resilient: Option<Duration>,
    /// CreateGuid, as a reconnect has to name it.
    guid: CreateGuid,
    /// The ClientGuid and CreateGuid under which its CREATE can be replayed.
    pub replay: Option<(ClientGuid, CreateGuid)>,
    action: CreateAction,
    /// Nobody is connected; until when it is kept, and its place among the deadlines.
    pub orphan: Option<(Instant, u64)>,
    /// IsPersistent
    pub persistent: bool,
    /// It waits for the store before its client is told of it.
    pub unheard: bool,
    /// Somebody knows of it: its client was told.
    pub told: bool,
    /// It could not be stored, and waits until nothing of it is left in the store.
    pub withdrawn: bool,
    /// Its place among those that have a CreateGuid.
    promised_at: u64,
    /// It is as a record left it: its client has not come yet.
    restored: bool,
    kind: ObjectKind,
    /// A lease context that joined no lease.
    bare: Option<Context>,
    sequences: LockSequences,
}

impl Open {
    pub fn request(&self) -> RequestId {
        self.ask.create.request
    }
    pub fn file(&self) -> FileKey {
        self.ask.create.file
    }
    fn session(&self) -> SessionId {
        self.ask.create.origin.session
    }
    fn sharing(&self) -> (ShareMode, ShareMode) {
        let create = &self.ask.create;
        (rules::uses(create.granted, create.disposition), create.sharing)
    }
}

/// What waits.
#[derive(Clone, Debug)]
pub enum What {
    Create(Box<Ask>),
    /// And the last open that there was when it came.
    Operation {
        who: Who,
        intent: Intent,
        since: u64,
    },
    Lock {
        who: Who,
        lock: Lock,
    },
}

/// A request that waits.
#[derive(Clone, Debug)]
pub struct Waiter {
    pub request: RequestId,
    pub origin: Option<Origin>,
    pub file: FileKey,
    pub what: What,
}

impl Waiter {
    fn who(&self) -> Who {
        match &self.what {
            What::Create(ask) => Who { lease: ask.key, open: None },
            What::Operation { who, .. } | What::Lock { who, .. } => *who,
        }
    }
}

/// Who acts: through which lease, through which open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who {
    pub lease: Option<Key>,
    pub open: Option<RequestId>,
}

/// An operation between `Proceed` and `Done`.
#[derive(Clone, Debug)]
struct Running {
    request: RequestId,
    file: FileKey,
    who: Who,
    intent: Intent,
    /// Where the name of the open stood when it began, and its ParentLeaseKey.
    place: Option<(Option<FileKey>, Option<LeaseKey>)>,
    /// Whether its open is delete-on-close.
    doomed: bool,
}

/// Whom a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    Lease(Key),
    Oplock(RequestId),
    Range(RequestId),
    /// An operation between `Proceed` and `Done`.
    Operation(RequestId),
    /// Somebody has lost what it had, and that is not stored yet.
    Store,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Go,
    Wait(Vec<Blocker>),
    Refuse(Status),
}

/// Something to break.
#[derive(Clone, Copy, Debug)]
enum Breach {
    Lease(Key, LeaseState),
    Oplock(RequestId, OplockLevel),
}

/// What becomes of a request, and what breaks for it.
#[derive(Clone, Debug)]
struct Judgment {
    breaches: Vec<Breach>,
    outcome: Outcome,
}

impl Judgment {
    fn of_the_store() -> Self {
        Self { breaches: Vec::new(), outcome: Outcome::Wait(vec![Blocker::Store]) }
    }

    fn refuse(status: Status) -> Self {
        Self { breaches: Vec::new(), outcome: Outcome::Refuse(status) }
    }
}

/// Whom a notification is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Lease(Key),
    Oplock(RequestId),
    /// Nobody is connected to it.
    Orphan(RequestId),
}

/// The names that the machine chose.
#[derive(Clone, Debug, Default)]
struct Names {
    opens: BTreeMap<FileId, RequestId>,
    /// The name of an open by now.
    current: BTreeMap<RequestId, FileId>,
    tickets: Vec<(Ticket, RequestId)>,
    breaks: Vec<(BreakId, Holder, u64)>,
}

/// What a server must say.
#[derive(Clone, Debug)]
pub struct Model {
    config: Config,
    pub now: Instant,
    serial: u64,
    conns: BTreeMap<ConnId, Conn>,
    /// In order of binding.
    sessions: BTreeMap<SessionId, Vec<(u64, ConnId)>>,
    pub opens: Vec<Open>,
    pub leases: Vec<Lease>,
    pub waiters: Vec<Waiter>,
    running: Vec<Running>,
    /// Files that go with their last open, and the ParentLeaseKey of the open that made them.
    going: BTreeMap<FileKey, Option<LeaseKey>>,
    pub locks: BTreeMap<FileKey, Vec<locks::Held>>,
    /// Lease.FileDeleteOnClose: kept with the key until nobody uses it any more, not even a CREATE in flight.
    deleting: BTreeSet<Key>,
    names: Names,
    /// Directories that change while several opens are closed at once: those that are among them lose nothing any more.
    changes: Option<Vec<(FileKey, Option<LeaseKey>)>>,
    /// Files of which opens were purged: who waits for them is looked at once more.
    purged: Vec<FileKey>,
    /// A request in a queue purged: the queue is looked at from its start.
    again: bool,
    pub store: Store,
    /// Files that went, in order.
    went: Vec<FileKey>,
    said: Vec<Said>,
    causes: Vec<Option<RequestId>>,
    cause: Option<RequestId>,
}

impl Model {
    /// A server without clients.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Instant::ZERO,
            serial: 0,
            conns: BTreeMap::new(),
            sessions: BTreeMap::new(),
            opens: Vec::new(),
            leases: Vec::new(),
            waiters: Vec::new(),
            running: Vec::new(),
            going: BTreeMap::new(),
            locks: BTreeMap::new(),
            deleting: BTreeSet::new(),
            names: Names::default(),
            changes: None,
            purged: Vec::new(),
            again: false,
            store: Store {
                recovering: config.persistence,
                reserved: !config.persistence,
                ..Store::default()
            },
            went: Vec::new(),
            said: Vec::new(),
            causes: Vec::new(),
            cause: None,
        }
    }

    /// What the machine must say to this event, in any order.
    pub fn handle(&mut self, now: Instant, event: &Event) -> Vec<Said> {
        self.said.clear();
        self.causes.clear();
        self.expire(now);
        self.cause = None;
        self.event(event);
        self.cause = None;
        self.settle();
        let mut deleting = std::mem::take(&mut self.deleting);
        deleting.retain(|key| self.leases.iter().any(|lease| lease.key == *key));
        self.deleting = deleting;
        self.write_down();
        self.said.clone()
    }

    /// What the machine must say when nothing happens but time.
    pub fn pass(&mut self, now: Instant) -> Vec<Said> {
        self.said.clear();
        self.causes.clear();
        self.expire(now);
        self.write_down();
        self.said.clone()
    }

    /// For everything said last, in that order: the request for whose sake it was.
    pub fn causes(&self) -> &[Option<RequestId>] {
        &self.causes
    }

    /// The earliest deadline.
    pub fn next_due(&self) -> Option<Instant> {
        let leases = self.leases.iter().filter_map(|lease| lease.breaking?.deadline);
        let oplocks = self.opens.iter().filter_map(|open| open.breaking?.deadline);
        let orphans = self.opens.iter().filter_map(|open| Some(open.orphan?.0));
        leases.chain(oplocks).chain(orphans).min()
    }

    /// Whether nothing is left.
    pub fn idle(&self) -> bool {
        self.conns.is_empty()
            && self.opens.is_empty()
            && self.waiters.is_empty()
            && self.running.is_empty()
            && self.store.gates.is_empty()
    }

    /// The machine calls an open so.
    pub fn learn_open(&mut self, file_id: FileId, request: RequestId) {
        self.names.opens.insert(file_id, request);
        self.names.current.insert(request, file_id);
    }

    /// What the machine calls an open by now.
    pub fn name_of(&self, request: RequestId) -> Option<FileId> {
        self.names.current.get(&request).copied()
    }

    /// The CREATE of the open with this persistent half.
    pub fn open_persistent(&self, persistent: u64) -> Option<RequestId> {
        let mut all = self.names.opens.iter();
        all.find(|(file_id, _)| file_id.persistent == persistent).map(|(_, request)| *request)
    }

    /// The CREATE of an open.
    pub fn open_named(&self, file_id: FileId) -> Option<RequestId> {
        self.names.opens.get(&file_id).copied()
    }

    /// The machine calls a running operation so.
    pub fn learn_ticket(&mut self, ticket: Ticket, request: RequestId) {
        self.names.tickets.push((ticket, request));
    }

    /// The machine calls the last notification about this lease so.
    pub fn learn_lease_break(&mut self, id: BreakId, conn: ConnId, key: LeaseKey) {
        let Some(conn) = self.conns.get(&conn) else { return };
        let key = (conn.client, key);
        if let Some(lease) = self.lease(key) {
            let serial = lease.serial;
            self.names.breaks.push((id, Holder::Lease(key), serial));
        }
    }

    /// The machine calls the last notification about this open so.
    pub fn learn_oplock_break(&mut self, id: BreakId, open: RequestId) {
        if let Some(serial) = self.open(open).map(|open| open.serial) {
            self.names.breaks.push((id, Holder::Oplock(open), serial));
        }
    }

    /// The connections that there are.
    pub fn has_conn(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// Whether a session is valid on a connection.
    pub fn bound(&self, conn: ConnId, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|channels| channels.iter().any(|(_, at)| *at == conn))
    }

    /// Whether a session is there.
    pub fn has_session(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Who acts between `Proceed` and `Done`.
    pub fn who(&self, request: RequestId) -> Who {
        let running = self.running.iter().find(|running| running.request == request);
        running.map_or_else(Who::default, |running| running.who)
    }

    fn say(&mut self, said: Said) {
        self.said.push(said);
        self.causes.push(self.cause);
    }

    fn refuse(&mut self, request: RequestId, status: Status) {
        self.say(Said::Refused { request, status });
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn open(&self, request: RequestId) -> Option<&Open> {
        self.opens.iter().find(|open| open.request() == request)
    }

    fn open_mut(&mut self, request: RequestId) -> Option<&mut Open> {
        self.opens.iter_mut().find(|open| open.request() == request)
    }

    pub fn lease(&self, key: Key) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.key == key)
    }

    fn lease_mut(&mut self, key: Key) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| lease.key == key)
    }

    fn on(&self, file: FileKey) -> impl Iterator<Item = &Open> {
        self.opens.iter().filter(move |open| open.file() == file)
    }

    fn leases_on(&self, file: FileKey) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(move |lease| lease.file == file)
    }

    /// An open that is live and may be used from this session.
    fn usable(&self, file_id: FileId, session: Option<SessionId>) -> Option<&Open> {
        let open = self.open(self.open_named(file_id)?)?;
        let here = session.is_none_or(|session| session == open.session());
        let current = self.name_of(open.request()) == Some(file_id) && open.orphan.is_none() && !open.unheard;
        (open.phase == Phase::Live && here && current).then_some(open)
    }

    /// Whether two are one holder (MS-FSA 2.1.4.12.2, MS-SMB2 <211>). No key is equal to no key.
    pub fn same(&self, one: Option<Key>, other: Option<Key>) -> bool {
        match (one, other, self.config.profile.lease_identity) {
            (Some(one), Some(other), LeaseIdentity::ClientAndKey) => one == other,
            (Some(one), Some(other), LeaseIdentity::KeyAlone) => one.1 == other.1,
            _ => false,
        }
    }

    fn foreign(&self, open: &Open, who: Who) -> bool {
        who.open != Some(open.request()) && !self.same(open.ask.key, who.lease)
    }

    // ---- events

    fn event(&mut self, event: &Event) {
        match event {
            Event::Connected { conn, client, terms } => {
                let arrived = self.next_serial();
                self.conns.insert(*conn, Conn { client: *client, terms: *terms, arrived });
            }
            Event::SessionBound { conn, session } => {
                let serial = self.next_serial();
                self.sessions.entry(*session).or_default().push((serial, *conn));
            }
            Event::Disconnected { conn } => self.disconnected(*conn),
            Event::SessionEnded { session, end } => {
                self.sessions.remove(session);
                let status = Some(Status::USER_SESSION_DELETED);
                self.end(|origin| origin.session == *session, status, Some(*end));
            }
            Event::TreeDisconnected { request, session, tree } => {
                let here = |origin: Origin| origin.session == *session && origin.tree == *tree;
                let promised =
                    |open: &&Open| open.persistent && here(open.ask.create.origin) && open.orphan.is_none();
                let promised: Vec<RequestId> =
                    self.opens.iter().filter(promised).map(Open::request).collect();
                self.end(here, Some(Status::NETWORK_NAME_DELETED), None);
                // Choice: where a CLOSE does not wait, this does not either.
                if promised.is_empty() || !self.config.gate_close {
                    self.say(Said::Closed { request: *request });
                } else {
                    let origin = self.origin_of(*session, *tree);
                    self.gate(Gated::Tree, *request, origin, &promised);
                }
            }
            Event::Create(create) => self.create(create),
            Event::RequestResilience { request, origin, user, file_id, timeout } => {
                self.request_resilience(*request, origin.session, *user, *file_id, *timeout);
            }
            Event::Used { file_id } => {
                // The report may come behind the loss of its connection.
                if let Some(open) = self.open_named(*file_id) {
                    self.used(open);
                }
            }
            Event::Reconnect(wanted) => self.reconnect(wanted),
            Event::Opened { file_id, result } => {
                let request = self.open_named(*file_id).unwrap();
                self.opened(request, *result);
            }
            Event::Operate { request, origin, file, actor, intent } => {
                self.operate(*request, *origin, *file, *actor, *intent);
            }
            Event::Done { ticket, result } => {
                let at = self.names.tickets.iter().position(|(known, _)| known == ticket).unwrap();
                let (_, request) = self.names.tickets.remove(at);
                self.done(request, *result);
            }
            Event::Lock(lock) => self.lock(lock),
            Event::Cancel { request } => {
                if let Some(at) = self.waiters.iter().position(|waiter| waiter.request == *request) {
                    self.waiters.remove(at);
                    self.refuse(*request, Status::CANCELLED);
                }
            }
            Event::Close { request, session, file_id } => {
                match self.usable(*file_id, Some(*session)).map(Open::request) {
                    None => self.refuse(*request, Status::FILE_CLOSED),
                    Some(open) => {
                        let gated = self.gated(open) && self.config.gate_close;
                        let origin = self.open(open).map(|open| open.ask.create.origin);
                        let file = self.close(open);
                        self.judge_again(file);
                        if gated {
                            self.gate(Gated::Close, *request, origin, &[open]);
                        } else {
                            self.say(Said::Closed { request: *request });
                        }
                    }
                }
            }
            Event::LeaseAck { request, conn, ack } => self.lease_ack(*request, *conn, *ack),
            Event::OplockAck { request, session, ack } => {
                self.oplock_ack(*request, *session, ack.file_id, ack.level);
            }
            Event::Undelivered { id, conn } => self.undelivered(*id, *conn),
            Event::Recovered => self.recover(),
            Event::Persisted { up_to } => self.persisted(*up_to),
            Event::PersistFailed { seq } => self.persist_failed(*seq),
            _ => panic!("an event that the model does not know"),
        }
    }

    /// MS-SMB2 3.3.7.1: the channel goes, and with the last one the session.
    fn disconnected(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        let alone = |session: SessionId| {
            self.sessions.get(&session).is_none_or(|channels| channels.iter().all(|(_, at)| *at == conn))
        };
        // What can be replayed on another channel goes on.
        let goes_on = |ask: &Ask| ask.guid().is_some() && !alone(ask.create.origin.session);
        self.waiters.retain(|waiter| {
            let stays = matches!(&waiter.what, What::Create(ask) if goes_on(ask));
            stays || waiter.origin.is_none_or(|origin| origin.conn != conn)
        });
        for open in &mut self.opens {
            let here = open.ask.create.origin.conn == conn && !goes_on(&open.ask);
            if open.phase == Phase::Opening && here {
                open.phase = Phase::Abandoned;
            }
        }
        for channels in self.sessions.values_mut() {
            channels.retain(|(_, at)| *at != conn);
        }
        let lost: Vec<SessionId> =
            self.sessions.iter().filter(|(_, channels)| channels.is_empty()).map(|(id, _)| *id).collect();
        self.sessions.retain(|_, channels| !channels.is_empty());
        self.end(|origin| lost.contains(&origin.session), None, Some(SessionEnd::Replaced));
    }

    /// MS-SMB2 3.3.5.6, 3.3.5.8, 3.3.7.1: what waits is answered if somebody listens, and every open is closed that is not kept.
    fn end(&mut self, ends: impl Fn(Origin) -> bool, status: Option<Status>, how: Option<SessionEnd>) {
        let all = std::mem::take(&mut self.waiters);
        let (over, on): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|waiter| waiter.origin.is_some_and(&ends));
        self.waiters = on;
        for waiter in over {
            let status = match waiter.what {
                What::Lock { .. } => status.map(|_| Status::RANGE_NOT_LOCKED),
                _ => status,
            };
            if let Some(status) = status {
                self.refuse(waiter.request, status);
            }
        }
        let mut live = Vec::new();
        let mut answers = Vec::new();
        let mut declined = Vec::new();
        for open in &mut self.opens {
            if !ends(open.ask.create.origin) || open.orphan.is_some() {
                continue;
            }
            match open.phase {
                Phase::Opening => {
                    open.phase = Phase::Abandoned;
                    answers.push(open.request());
                }
                Phase::Abandoned => {}
                Phase::Live => {
                    if open.unheard && self.store.unhear(open.request()) {
                        answers.push(open.request());
                        // Who is answered that it has nothing has nothing.
                        if status.is_some() {
                            declined.push(open.request());
                        }
                    }
                    live.push(open.request());
                }
            }
        }
        if let Some(status) = status {
            answers.into_iter().for_each(|request| self.refuse(request, status));
        }
        self.changes = Some(Vec::new());
        let mut files = Vec::new();
        for open in live {
            // It may have gone for the sake of another.
            let Some(state) = self.open(open) else { continue };
            let (file, promised) = (state.file(), state.persistent);
            if !declined.contains(&open) && self.survives(state, how) {
                self.orphan(open);
            } else {
                self.close(open);
                // Its client asked for none of this.
                if promised && how == Some(SessionEnd::Refused) {
                    self.bar_others(file, &[open]);
                }
            }
            if !files.contains(&file) {
                files.push(file);
            }
        }
        self.end_unheard();
        files.into_iter().for_each(|file| self.judge_again(file));
        for (directory, spared) in self.changes.take().unwrap_or_default() {
            self.directory_changed(Some(directory), spared);
        }
    }
}
