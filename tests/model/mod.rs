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

pub mod check;
mod durable;
pub mod harness;
pub mod judge;
pub mod locks;
pub mod rules;
pub mod steps;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold::server::{
    BreakId, Capabilities, ChannelChoice, Config, Create, DurableGrant, Event, FollowUp, FollowUpEpoch,
    LeaseIdentity, Link, Lock, LockFlags, LockReach, ObjectKind, Opened, Origin, OvertakenAck, SessionEnd,
    ShareFlags, ShareKind, Terms, Ticket, UnexpectedAck,
};
use leasehold::wire::{BreakFlags, Lease as Context, LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, CreateGuid, CreateOptions, Dialect, Epoch, FileId, FileKey,
    Instant, Intent, LeaseKey, LeaseState, OplockLevel, RequestId, SessionId, ShareMode, Status, UserId,
};

use rules::Row;

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
    /// When nothing is left of it.
    pub deadline: Instant,
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
    /// Which open it was when it began: one that is given back is another.
    order: Option<u64>,
}

/// Whom a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    Lease(Key),
    Oplock(RequestId),
    Range(RequestId),
    /// An operation between `Proceed` and `Done`.
    Operation(RequestId),
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
        self.said.clone()
    }

    /// What the machine must say when nothing happens but time.
    pub fn pass(&mut self, now: Instant) -> Vec<Said> {
        self.said.clear();
        self.causes.clear();
        self.expire(now);
        self.said.clone()
    }

    /// For everything said last, in that order: the request for whose sake it was.
    pub fn causes(&self) -> &[Option<RequestId>] {
        &self.causes
    }

    /// The earliest deadline.
    pub fn next_due(&self) -> Option<Instant> {
        let leases = self.leases.iter().filter_map(|lease| Some(lease.breaking?.deadline));
        let oplocks = self.opens.iter().filter_map(|open| Some(open.breaking?.deadline));
        let orphans = self.opens.iter().filter_map(|open| Some(open.orphan?.0));
        leases.chain(oplocks).chain(orphans).min()
    }

    /// Whether nothing is left.
    pub fn idle(&self) -> bool {
        self.conns.is_empty() && self.opens.is_empty() && self.waiters.is_empty() && self.running.is_empty()
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
        let current = self.name_of(open.request()) == Some(file_id) && open.orphan.is_none();
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
                self.end(here, Some(Status::NETWORK_NAME_DELETED), None);
                self.say(Said::Closed { request: *request });
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
                        let file = self.close(open);
                        self.judge_again(file);
                        self.say(Said::Closed { request: *request });
                    }
                }
            }
            Event::LeaseAck { request, conn, ack } => self.lease_ack(*request, *conn, *ack),
            Event::OplockAck { request, session, ack } => {
                self.oplock_ack(*request, *session, ack.file_id, ack.level);
            }
            Event::Undelivered { id, conn } => self.undelivered(*id, *conn),
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
                Phase::Live => live.push(open.request()),
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
            let file = state.file();
            if self.survives(state, how) {
                self.orphan(open);
            } else {
                self.close(open);
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

    // ---- CREATE

    /// MS-SMB2 3.3.5.9, 3.3.5.9.8, 3.3.5.9.11: which context counts, and whether its key is free.
    fn create(&mut self, create: &Create) {
        let request = create.request;
        if create.options.contains(CreateOptions::RESERVE_OPFILTER) {
            return self.refuse(request, Status::NOT_SUPPORTED);
        }
        let conn = &self.conns[&create.origin.conn];
        let (client, terms) = (conn.client, conn.terms);
        let v2_from = if self.config.profile.lease_v2_on_smb210 { Dialect::Smb210 } else { Dialect::Smb300 };
        let context = create.lease.filter(|context| {
            let from = if matches!(context, Context::V1(_)) { Dialect::Smb210 } else { v2_from };
            create.level == OplockLevel::Lease
                && terms.capabilities.contains(Capabilities::LEASING)
                && context.key() != LeaseKey::ZERO
                && create.share.kind == ShareKind::Disk
                && terms.dialect >= from
        });
        let mut key = context.map(|context| (client, context.key()));
        let ask = Ask { create: create.clone(), client, terms, context, key };
        // In doubt what refuses comes before what closes: no text says when a CREATE under way is noticed. Choice: a CreateGuid that
        // is in use refuses as well, where MS-SMB2 3.3.5.9.10 closes the former instance first.
        if self.replayed_early(&ask) || self.replayed(&ask) {
            return;
        }
        if let Some(wanted) = key {
            if self.bound_elsewhere(wanted, create.file) {
                if self.deleting.contains(&wanted) {
                    key = None;
                } else {
                    return self.refuse(request, Status::INVALID_PARAMETER);
                }
            }
        }
        let ask = Ask { create: create.clone(), client, terms, context, key };
        let before = self.went.len();
        if !self.take_over(&ask) {
            return;
        }
        if self.went[before..].contains(&create.file) {
            return self.say(Said::Resolve { request });
        }
        let waiter = Waiter {
            request,
            origin: Some(create.origin),
            file: create.file,
            what: What::Create(Box::new(ask)),
        };
        self.arrive(waiter);
    }

    /// A key is bound by the opens of its lease and by every CREATE in flight.
    fn bound_elsewhere(&self, key: Key, file: FileKey) -> bool {
        let opens = self.opens.iter().any(|open| open.ask.key == Some(key) && open.file() != file);
        let waiting = |waiter: &Waiter| {
            matches!(&waiter.what, What::Create(ask) if ask.key == Some(key)) && waiter.file != file
        };
        opens || self.waiters.iter().any(waiting)
    }

    /// MS-FSA 2.1.5.1.2, 2.1.5.1.2.2, in the order of the text.
    fn judge_create(&self, ask: &Ask) -> Judgment {
        let create = &ask.create;
        let file = create.file;
        if self.going.contains_key(&file) {
            return Judgment::refuse(Status::DELETE_PENDING);
        }
        // Whoever renames over the file, above it or into it has it to itself.
        let uses = rules::uses(create.granted, create.disposition);
        let bars = |running: &&Running| {
            running.file == file
                && match running.intent {
                    Intent::Replaced | Intent::AncestorMoved => true,
                    Intent::RenameWithin => uses.contains(ShareMode::DELETE),
                    _ => false,
                }
        };
        if let Some(running) = self.running.iter().find(bars) {
            let outcome = Outcome::Wait(vec![Blocker::Operation(running.request)]);
            return Judgment { breaches: Vec::new(), outcome };
        }
        let overwrites = create.disposition.overwrites();
        // BATCH goes before sharing is looked at.
        if !rules::attributes_only(create.desired, create.disposition) {
            let to = if overwrites { OplockLevel::None } else { OplockLevel::II };
            let holders: Vec<_> =
                self.on(file).filter(|open| open.oplock == OplockLevel::Batch).map(Open::request).collect();
            if !holders.is_empty() {
                return Judgment {
                    breaches: holders.iter().map(|holder| Breach::Oplock(*holder, to)).collect(),
                    outcome: Outcome::Wait(holders.into_iter().map(Blocker::Oplock).collect()),
                };
            }
        }
        let who = Who { lease: ask.key, open: None };
        let mine = (rules::uses(create.granted, create.disposition), create.sharing);
        let in_the_way: Vec<&Open> =
            self.on(file).filter(|open| rules::exclude(mine, open.sharing())).collect();
        if !in_the_way.is_empty() {
            // A deferred close may cure it, if every one of them may be deferred.
            if in_the_way.iter().all(|open| self.foreign(open, who) && self.holds_handle(open)) {
                return self.against(file, who, &rules::SHARE_CONFLICT);
            }
            return Judgment::refuse(Status::SHARING_VIOLATION);
        }
        self.against(file, who, &rules::of_open(create.desired, create.disposition))
    }

    /// Whether the handle may be there only because its client caches it.
    fn holds_handle(&self, open: &Open) -> bool {
        open.phase == Phase::Live
            && open.ask.key.is_some_and(|key| {
                self.lease(key).is_some_and(|lease| lease.state.contains(LeaseState::HANDLE))
            })
    }

    /// What an operation takes from everyone but itself, and for whom it waits (MS-FSA 2.1.4.12; MS-SMB2 3.3.4.6, 3.3.4.7).
    fn against(&self, file: FileKey, who: Who, row: &Row) -> Judgment {
        let mut breaches = Vec::new();
        let mut blockers = Vec::new();
        for lease in self.leases_on(file).filter(|lease| !self.same(Some(lease.key), who.lease)) {
            if !row.takes.is_empty() && !lease.state.is_empty() {
                breaches.push(Breach::Lease(lease.key, row.takes));
            }
            let waits = match &lease.breaking {
                _ if lease.state.intersects(row.awaits) => true,
                Some(breaking) => {
                    let untold = breaking.told.without(row.takes) != breaking.told;
                    // Its need is part of what is needed from now on.
                    let needed = (breaking.needed & lease.state.without(row.takes)).normalized();
                    (untold && !row.awaits.is_empty()) || (row.behind_stages && needed != breaking.told)
                }
                None => false,
            };
            if waits {
                blockers.push(Blocker::Lease(lease.key));
            }
        }
        for open in self.on(file) {
            let own = who.open == Some(open.request());
            let (to, waits) = match open.oplock {
                OplockLevel::II if if own { row.own_level_ii } else { row.level_ii } => {
                    (Some(OplockLevel::None), false)
                }
                OplockLevel::Exclusive if !own => (row.exclusive, true),
                OplockLevel::Batch if !own => (row.batch, true),
                _ => (None, false),
            };
            if let Some(to) = to {
                breaches.push(Breach::Oplock(open.request(), to));
                if waits {
                    blockers.push(Blocker::Oplock(open.request()));
                }
            }
        }
        let outcome = if blockers.is_empty() { Outcome::Go } else { Outcome::Wait(blockers) };
        Judgment { breaches, outcome }
    }

    /// What becomes of a request that waits, if it is looked at now.
    pub fn outcome(&self, waiter: &Waiter) -> Outcome {
        self.judge(waiter).outcome
    }

    fn judge(&self, waiter: &Waiter) -> Judgment {
        match &waiter.what {
            What::Create(ask) => self.judge_create(ask),
            What::Operation { who, intent, since } => {
                self.judge_operation(waiter.file, *who, *intent, *since)
            }
            What::Lock { who, lock } => self.judge_lock(waiter.file, *who, lock),
        }
    }

    /// A request that is new.
    fn arrive(&mut self, waiter: Waiter) {
        self.cause = Some(waiter.request);
        if let Some(waiter) = self.look_at(waiter, false) {
            if waiter.origin.is_some() {
                self.say(Said::Interim { request: waiter.request });
            }
            self.waiters.push(waiter);
        }
    }

    /// Everything that waits for a file is judged again, in order of arrival.
    fn judge_again(&mut self, file: FileKey) {
        self.shed();
        let cause = self.cause;
        let here = |waiter: &&Waiter| waiter.file == file;
        let all: Vec<RequestId> = self.waiters.iter().filter(here).map(|waiter| waiter.request).collect();
        for request in all {
            let Some(at) = self.waiters.iter().position(|waiter| waiter.request == request) else { continue };
            let waiter = self.waiters.remove(at);
            self.cause = Some(request);
            if let Some(waiter) = self.look_at(waiter, true) {
                self.waiters.insert(at.min(self.waiters.len()), waiter);
            }
            if std::mem::take(&mut self.again) {
                self.cause = cause;
                return self.judge_again(file);
            }
        }
        self.cause = cause;
    }

    /// Judges a request and does what follows; gives it back if it waits.
    fn look_at(&mut self, waiter: Waiter, queued: bool) -> Option<Waiter> {
        let judgment = loop {
            let judgment = self.judge(&waiter);
            let purges: Vec<_> =
                judgment.breaches.iter().filter(|breach| self.purges(**breach)).copied().collect();
            if purges.is_empty() {
                break judgment;
            }
            let before = self.went.len();
            purges.into_iter().for_each(|breach| self.breach(breach));
            if self.went[before..].contains(&waiter.file) {
                self.say(Said::Resolve { request: waiter.request });
                return None;
            }
            // In a queue those before it are looked at first.
            if queued {
                self.again = true;
                return Some(waiter);
            }
        };
        for breach in judgment.breaches {
            self.breach(breach);
        }
        match judgment.outcome {
            Outcome::Wait(_) => return Some(waiter),
            Outcome::Refuse(status) => self.refuse(waiter.request, status),
            Outcome::Go => self.go(waiter),
        }
        None
    }

    fn go(&mut self, waiter: Waiter) {
        let request = waiter.request;
        match waiter.what {
            What::Create(ask) => {
                let order = self.next_serial();
                let parent = ask.context.and_then(|context| context.parent());
                let directory = ask.create.directory;
                let (owner, replay) = (ask.create.user, ask.guid());
                self.opens.push(Open {
                    ask: *ask,
                    phase: Phase::Opening,
                    order,
                    leased: false,
                    oplock: OplockLevel::None,
                    ever_oplock: false,
                    breaking: None,
                    serial: 0,
                    announced: None,
                    parent,
                    directory,
                    modified: false,
                    owner,
                    durable: None,
                    resilient: None,
                    guid: CreateGuid::from_wire([0; 16]),
                    replay,
                    action: CreateAction::Opened,
                    orphan: None,
                });
                self.say(Said::OpenFile { request });
            }
            What::Operation { who, intent, .. } => {
                let open = who.open.and_then(|open| self.open(open));
                let (place, order) =
                    (open.map(|open| (open.directory, open.parent)), open.map(|open| open.order));
                self.running.push(Running { request, file: waiter.file, who, intent, place, order });
                self.say(Said::Proceed { request });
            }
            What::Lock { who, lock } => {
                let owner = who.open.unwrap();
                let held = self.locks.entry(waiter.file).or_default();
                *held = locks::lock(held, owner, &lock.elements).unwrap();
                self.say(Said::Accepted { request });
            }
        }
    }

    // ---- grants

    /// The file is open, or could not be opened (MS-SMB2 3.3.5.9 "Oplock Acquisition").
    fn opened(&mut self, request: RequestId, result: Result<Opened, Status>) {
        let open = self.open(request).unwrap().clone();
        let file = open.file();
        let opened = match result {
            Ok(opened) => opened,
            Err(status) => {
                if open.phase == Phase::Opening {
                    self.refuse(request, status);
                }
                self.opens.retain(|open| open.request() != request);
                if self.going.contains_key(&file) && self.on(file).next().is_none() {
                    self.say(Said::Unlink { file });
                    self.gone(file, open.directory, open.parent);
                }
                self.judge_again(file);
                return;
            }
        };
        if opened.action != CreateAction::Opened {
            self.directory_changed(open.directory, open.parent);
        }
        if open.phase == Phase::Abandoned {
            let file = self.close(request);
            self.judge_again(file);
            return;
        }
        let (level, lease) = self.grant(&open, opened);
        let made = self.made_durable(&open, opened, level, lease);
        if let Some(open) = self.open_mut(request) {
            open.action = opened.action;
            open.durable = made;
            if made.is_some() {
                open.guid = open.ask.guid().map_or(open.guid, |(_, guid)| guid);
            }
            // MS-SMB2 3.3.5.9.10: only that of a file on a share of files.
            let file = opened.kind == ObjectKind::File && open.ask.create.share.kind == ShareKind::Disk;
            if !file || !open.ask.create.granted.intersects(durable::DATA) {
                open.replay = None;
            }
            open.phase = Phase::Live;
            open.leased = level == OplockLevel::Lease;
            if !open.leased {
                open.ask.key = None;
                open.oplock = level;
                open.ever_oplock = level != OplockLevel::None;
            }
        }
        let open = self.open(request).unwrap();
        let (durable, replayable) = (open.durable_grant(), open.replay.is_some());
        self.say(Said::Granted {
            request,
            open: request,
            fresh: false,
            action: opened.action,
            level,
            lease,
            durable,
            replayable,
        });
    }

    fn grant(&mut self, open: &Open, opened: Opened) -> (OplockLevel, Option<Context>) {
        let directory = opened.kind == ObjectKind::Directory;
        let (ask, share) = (&open.ask, open.ask.create.share);
        let terms = ask.terms;
        if share.kind != ShareKind::Disk {
            return (OplockLevel::None, None);
        }
        let scale_out = share.flags.contains(ShareFlags::SCALE_OUT) && terms.dialect >= Dialect::Smb300;
        let forced = share.flags.contains(ShareFlags::FORCE_LEVEL_II);
        let Some(context) = ask.context else {
            // MS-FSA 2.1.5.18: no oplock on a directory.
            let mut asked = if directory { LeaseState::NONE } else { rules::as_state(ask.create.level) };
            if scale_out && ask.create.level == OplockLevel::Batch {
                asked &= LeaseState::R;
            }
            if forced {
                asked = asked.without(LeaseState::WRITE);
            }
            let crowded = rules::attributes_only(ask.create.desired, ask.create.disposition)
                && self.on(open.file()).any(|other| other.request() != open.request());
            let handles = self.leases_on(open.file()).any(|lease| lease.state.contains(LeaseState::HANDLE));
            if crowded || handles {
                asked = LeaseState::NONE;
            }
            return (rules::as_level(self.grantable(open, opened, asked)), None);
        };
        let leasing =
            terms.capabilities.contains(Capabilities::DIRECTORY_LEASING) && terms.dialect >= Dialect::Smb300;
        if directory && !leasing {
            return (OplockLevel::None, None);
        }
        let Some(key) = ask.key else {
            // MS-SMB2 3.3.5.9.8: the key leads to another file that is being deleted; a context without a lease.
            return (OplockLevel::Lease, Some(with_state(context, LeaseState::NONE)));
        };
        let mut asked = context.state().normalized();
        if directory || forced {
            asked = asked.without(LeaseState::WRITE);
        }
        if scale_out {
            asked &= LeaseState::R;
        }
        let can = self.grantable(open, opened, asked);
        if self.lease(key).is_none() {
            // MS-SMB2 3.3.5.9.11, as deployed: the counter goes on from the request's.
            let epoch = context.epoch().unwrap_or_default();
            self.leases.push(Lease {
                key,
                file: open.file(),
                state: can,
                second: matches!(context, Context::V2(_)),
                epoch: if can.is_empty() { epoch } else { epoch.next() },
                parent: context.parent(),
                breaking: None,
                serial: 0,
                announced: None,
            });
        } else if let Some(lease) = self.lease_mut(key) {
            // MS-SMB2 3.3.5.9.8: all of what is asked, if it is more, or nothing.
            let more = asked.contains(lease.state) && asked != lease.state;
            if more && can == asked && lease.breaking.is_none() {
                lease.state = can;
                lease.epoch = lease.epoch.next();
            }
        }
        if ask.create.options.contains(CreateOptions::DELETE_ON_CLOSE) {
            self.deleting.insert(key);
        }
        (OplockLevel::Lease, self.lease_context(key))
    }

    /// What a lease is, as an answer.
    fn lease_context(&self, key: Key) -> Option<Context> {
        let lease = self.lease(key)?;
        let flags =
            if lease.breaking.is_some() { LeaseFlags::BREAK_IN_PROGRESS } else { LeaseFlags::empty() };
        let (key, state) = (key.1, lease.state);
        Some(if lease.second {
            Context::V2(LeaseV2 { key, state, flags, parent: lease.parent, epoch: lease.epoch })
        } else {
            Context::V1(LeaseV1 { key, state, flags })
        })
    }

    /// The part of what is asked that nobody stands in the way of (MS-FSA 2.1.5.18, as deployed).
    fn grantable(&self, open: &Open, opened: Opened, asked: LeaseState) -> LeaseState {
        let file = open.file();
        let who = Who { lease: open.ask.key, open: Some(open.request()) };
        let others: Vec<&Open> = self.on(file).filter(|other| self.foreign(other, who)).collect();
        let mut state = asked.normalized();
        if self.going.contains_key(&file) {
            state = state.without(LeaseState::HANDLE);
        }
        for other in &others {
            let create = &other.ask.create;
            let keyed = other.ask.context.is_some() && (other.phase != Phase::Live || other.leased);
            if keyed || other.ever_oplock || !rules::attributes_only(create.desired, create.disposition) {
                state = state.without(LeaseState::WRITE);
            }
            if other.oplock != OplockLevel::None {
                state = state.without(LeaseState::HANDLE);
            }
            if rules::rank(other.oplock) > rules::rank(OplockLevel::II) {
                state = LeaseState::NONE;
            }
            // What it takes once it is open, nobody gets meanwhile.
            if other.phase != Phase::Live {
                state = rules::of_open(create.desired, create.disposition).leaves(state, who.lease.is_none());
            }
            // Whoever caches writes would write below its locks.
            let locks = self.locks.get(&file).map_or(&[][..], Vec::as_slice);
            if locks.iter().any(|lock| lock.owner == other.request()) {
                state = state.without(LeaseState::WRITE);
            }
        }
        let foreign_write = |lease: &Lease| {
            lease.state.contains(LeaseState::WRITE) && !self.same(Some(lease.key), open.ask.key)
        };
        if self.leases_on(file).any(foreign_write) {
            state = LeaseState::NONE;
        }
        for running in self.running.iter().filter(|running| running.file == file) {
            let spared = match running.intent {
                Intent::EntryChanged { parent } => {
                    let key = open.ask.key.map(|key| key.1);
                    parent.is_some() && parent == key
                }
                Intent::Replaced | Intent::AncestorMoved => false,
                _ => self.same(running.who.lease, open.ask.key),
            };
            if !spared {
                state = self.row(running.intent).leaves(state, who.lease.is_none());
            }
        }
        // MS-FSA 2.1.5.18: behind a byte-range lock nobody caches but whoever is alone.
        let overwritten = matches!(opened.action, CreateAction::Overwritten | CreateAction::Superseded);
        let locked = self
            .locks
            .get(&file)
            .is_some_and(|locks| locks.iter().any(|lock| lock.offset < opened.allocation));
        if locked && !overwritten && !state.contains(LeaseState::WRITE) {
            state = LeaseState::NONE;
        }
        state
    }

    fn row(&self, intent: Intent) -> Row {
        let profile = &self.config.profile;
        rules::of_intent(intent, profile.link_breaks_handles, profile.security_breaks_handles)
    }

    // ---- operations

    fn operate(
        &mut self,
        request: RequestId,
        origin: Option<Origin>,
        file: FileKey,
        actor: Actor,
        intent: Intent,
    ) {
        let who = match actor {
            Actor::Open(file_id) => match self.usable(file_id, origin.map(|origin| origin.session)) {
                Some(open) if open.file() == file => {
                    let who = Who { lease: open.ask.key, open: Some(open.request()) };
                    self.used(who.open.unwrap());
                    who
                }
                _ => return self.refuse(request, Status::FILE_CLOSED),
            },
            Actor::Lease { client, key } => Who { lease: Some((client, key)), open: None },
            Actor::Other => Who::default(),
        };
        let since = self.serial;
        self.arrive(Waiter { request, origin, file, what: What::Operation { who, intent, since } });
    }

    fn judge_operation(&self, file: FileKey, who: Who, intent: Intent, since: u64) -> Judgment {
        let row = self.row(intent);
        match intent {
            // MS-FSA 2.1.5.15.12: no open may be left, and the caching ones may go.
            Intent::Replaced | Intent::AncestorMoved => {
                let curable = |open: &Open| open.oplock == OplockLevel::Batch || self.holds_handle(open);
                // One that came meanwhile is not waited for.
                if !self.on(file).all(|open| curable(open) && open.order <= since) {
                    return Judgment::refuse(Status::ACCESS_DENIED);
                }
                self.against(file, Who::default(), &row)
            }
            // A directory that somebody may delete is not renamed into (MS-FSA 2.1.5.15.12).
            Intent::RenameWithin => {
                let deletes = |open: &&Open| {
                    let create = &open.ask.create;
                    rules::uses(create.granted, create.disposition).contains(ShareMode::DELETE)
                        && self.foreign(open, who)
                };
                let in_the_way: Vec<&Open> = self.on(file).filter(deletes).collect();
                if in_the_way.is_empty() {
                    return Judgment { breaches: Vec::new(), outcome: Outcome::Go };
                }
                if in_the_way.iter().all(|open| self.holds_handle(open)) {
                    return self.against(file, who, &row);
                }
                Judgment::refuse(Status::SHARING_VIOLATION)
            }
            Intent::EntryChanged { parent } => {
                Judgment { breaches: self.entry_changed(file, parent), outcome: Outcome::Go }
            }
            _ => {
                let mut judgment = self.against(file, who, &row);
                let locks = self.locks.get(&file).map_or(&[][..], Vec::as_slice);
                if judgment.outcome == Outcome::Go && locks::refuses(locks, who.open, intent) {
                    judgment.outcome = Outcome::Refuse(Status::FILE_LOCK_CONFLICT);
                }
                judgment
            }
        }
    }

    fn done(&mut self, request: RequestId, result: Result<(), Status>) {
        let at = self.running.iter().position(|running| running.request == request).unwrap();
        let running = self.running.remove(at);
        let file = running.file;
        if result.is_ok() {
            self.follow(&running);
        }
        // Who was kept from opening it meanwhile.
        if matches!(running.intent, Intent::Replaced | Intent::AncestorMoved | Intent::RenameWithin) {
            self.judge_again(file);
        }
    }

    fn follow(&mut self, running: &Running) {
        let file = running.file;
        if matches!(running.intent, Intent::Replaced | Intent::AncestorMoved) {
            self.look_again(|waiter| waiter.file == file && matches!(waiter.what, What::Create(_)));
        }
        // As the machine has it: an open that was given back meanwhile is not the one that was written through, and its directory
        // changes at once, not at the close. No text says.
        let open = running.who.open.and_then(|open| self.open(open)).cloned();
        let open = open.filter(|open| Some(open.order) == running.order);
        // Where it stands now, or stood when its open was still there.
        let place = open.as_ref().map(|open| (open.directory, open.parent)).or(running.place);
        let of_lease = running
            .place
            .and(running.who.lease)
            .filter(|key| self.lease(*key).is_some_and(|lease| lease.file == file));
        if let Intent::Delete { pending } = running.intent {
            let anybody = self.on(file).next().is_some();
            if !pending {
                self.going.remove(&file);
            } else if anybody || place.is_some() {
                self.goes(file, place.and_then(|(_, parent)| parent));
            }
            // MS-SMB2 3.3.5.21.1, whatever the value.
            self.deleting.extend(of_lease);
            if let (true, false, Some((directory, parent))) = (self.going.contains_key(&file), anybody, place)
            {
                self.say(Said::Unlink { file });
                self.gone(file, directory, parent);
            }
            self.judge_again(file);
        }
        let Some((directory, parent)) = place else { return };
        match running.intent {
            Intent::Write { .. } => match open {
                Some(open) => self.open_mut(open.request()).unwrap().modified = true,
                None => self.directory_changed(directory, parent),
            },
            Intent::SetSize | Intent::SetAttributes => self.directory_changed(directory, parent),
            Intent::Rename { to } => {
                self.directory_changed(directory, parent);
                if to != directory {
                    self.directory_changed(to, parent);
                }
                for other in self.opens.iter_mut().filter(|other| other.file() == file) {
                    if other.directory == directory {
                        other.directory = to;
                    }
                }
                if let Some(key) = of_lease {
                    self.deleting.remove(&key);
                }
                self.look_again(|waiter| {
                    let old = |ask: &Ask| ask.create.directory == directory;
                    waiter.file == file && matches!(&waiter.what, What::Create(ask) if old(ask))
                });
            }
            Intent::Link { to } => self.directory_changed(to, parent),
            _ => {}
        }
    }

    /// What breaks in a directory when an entry of it changes (MS-FSA 2.1.4.12). The exemption is by key alone.
    fn entry_changed(&self, directory: FileKey, spared: Option<LeaseKey>) -> Vec<Breach> {
        self.leases_on(directory)
            .filter(|lease| Some(lease.key.1) != spared && !lease.state.is_empty())
            .map(|lease| Breach::Lease(lease.key, rules::ENTRY_CHANGED.takes))
            .collect()
    }

    fn directory_changed(&mut self, directory: Option<FileKey>, spared: Option<LeaseKey>) {
        let Some(directory) = directory else { return };
        if let Some(changes) = &mut self.changes {
            changes.push((directory, spared));
            return;
        }
        for breach in self.entry_changed(directory, spared) {
            self.breach(breach);
        }
    }

    // ---- LOCK

    fn lock(&mut self, lock: &Lock) {
        let request = lock.request;
        let Some(open) = self.usable(lock.file_id, Some(lock.origin.session)) else {
            return self.refuse(request, Status::FILE_CLOSED);
        };
        let (file, who) = (open.file(), Who { lease: open.ask.key, open: Some(open.request()) });
        let owner = open.request();
        self.used(owner);
        let Some(first) = lock.elements.first() else {
            return self.refuse(request, Status::INVALID_PARAMETER);
        };
        if lock.elements.len() > self.config.limits.locks_per_request {
            return self.refuse(request, Status::INSUFFICIENT_RESOURCES);
        }
        if first.flags == LockFlags::UNLOCK {
            let held = self.locks.entry(file).or_default();
            let before = held.len();
            let result = locks::unlock(held, owner, &lock.elements);
            let changed = held.len() != before;
            match result {
                Ok(()) => self.say(Said::Accepted { request }),
                Err(status) => self.refuse(request, status),
            }
            if changed {
                self.judge_again(file);
            }
            return;
        }
        if let Err(status) = locks::well_formed(&lock.elements) {
            return self.refuse(request, status);
        }
        let (origin, lock) = (Some(lock.origin), lock.clone());
        self.arrive(Waiter { request, origin, file, what: What::Lock { who, lock } });
    }

    fn judge_lock(&self, file: FileKey, who: Who, lock: &Lock) -> Judgment {
        let mut judgment = Judgment { breaches: Vec::new(), outcome: Outcome::Go };
        // MS-FSA 2.1.5.8: beyond the allocation there is nothing that anybody could have cached.
        let everywhere = self.config.profile.lock_reach == LockReach::Everywhere;
        if everywhere || lock.elements.iter().any(|element| element.offset < lock.allocation) {
            judgment = self.against(file, who, &rules::DATA_CHANGE);
        }
        if judgment.outcome == Outcome::Go {
            let held = self.locks.get(&file).map_or(&[][..], Vec::as_slice);
            if let Err(owners) = locks::lock(held, who.open.unwrap(), &lock.elements) {
                let waits =
                    lock.elements.iter().all(|element| !element.flags.contains(LockFlags::FAIL_IMMEDIATELY));
                judgment.outcome = if waits {
                    Outcome::Wait(owners.into_iter().map(Blocker::Range).collect())
                } else {
                    // Choice, as recorded: what fails takes nothing from anybody.
                    judgment.breaches.clear();
                    Outcome::Refuse(Status::LOCK_NOT_GRANTED)
                };
            }
        }
        judgment
    }

    // ---- close

    /// MS-SMB2 3.3.4.17, MS-FSA 2.1.5.5. Who waits for the file is judged by the caller.
    fn close(&mut self, request: RequestId) -> FileKey {
        let open = self.open(request).unwrap().clone();
        let file = open.file();
        self.opens.retain(|open| open.request() != request);
        self.dismiss(request);
        if let Some(locks) = self.locks.get_mut(&file) {
            locks.retain(|lock| lock.owner != request);
        }
        if let Some(key) = open.ask.key {
            let member = |other: &Open| other.ask.key == Some(key) && other.leased;
            if !self.opens.iter().any(member) {
                self.leases.retain(|lease| lease.key != key);
            }
        }
        let deletes = open.ask.create.options.contains(CreateOptions::DELETE_ON_CLOSE);
        if deletes {
            self.goes(file, open.parent);
        }
        let last = self.on(file).next().is_none();
        if last && self.going.contains_key(&file) {
            self.say(Said::CloseFile { open: request, link: Link::Remove });
            self.gone(file, open.directory, open.parent);
        } else {
            if open.modified {
                self.directory_changed(open.directory, open.parent);
            }
            self.say(Said::CloseFile { open: request, link: Link::Keep });
        }
        // Behind its own end: opens that nobody is connected to may go for this.
        if deletes {
            let who = Who { lease: open.ask.key, open: Some(request) };
            for breach in self.against(file, who, &rules::DELETING_CLOSE).breaches {
                self.breach(breach);
            }
        }
        file
    }

    /// What waits on behalf of an open that is not there any more.
    fn dismiss(&mut self, request: RequestId) {
        let all = std::mem::take(&mut self.waiters);
        let (over, on): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|waiter| waiter.who().open == Some(request));
        self.waiters = on;
        for waiter in over {
            let lock = matches!(waiter.what, What::Lock { .. });
            self.refuse(waiter.request, if lock { Status::RANGE_NOT_LOCKED } else { Status::FILE_CLOSED });
        }
    }

    fn goes(&mut self, file: FileKey, deleter: Option<LeaseKey>) {
        self.going.entry(file).or_insert(deleter);
    }

    /// The name is gone: who waited must resolve it again, and the directory has changed.
    fn gone(&mut self, file: FileKey, directory: Option<FileKey>, parent: Option<LeaseKey>) {
        let deleter = self.going.remove(&file).unwrap();
        self.went.push(file);
        self.look_again(|waiter| waiter.file == file);
        let spared = parent.filter(|parent| deleter == Some(*parent));
        self.directory_changed(directory, spared);
    }

    /// Requests whose names lead elsewhere now.
    fn look_again(&mut self, which: impl Fn(&Waiter) -> bool) {
        let all = std::mem::take(&mut self.waiters);
        let (over, on): (Vec<_>, Vec<_>) = all.into_iter().partition(which);
        self.waiters = on;
        for waiter in over {
            self.say(Said::Resolve { request: waiter.request });
        }
    }

    // ---- breaks

    fn breach(&mut self, breach: Breach) {
        match breach {
            Breach::Lease(key, takes) => self.take(key, takes),
            Breach::Oplock(open, to) => self.lower(open, to),
        }
    }

    /// MS-SMB2 3.3.4.7.
    fn take(&mut self, key: Key, takes: LeaseState) {
        if self.purges(Breach::Lease(key, takes)) {
            return self.purge_lease(key);
        }
        let Some(lease) = self.lease_mut(key) else { return };
        let left = lease.state.without(takes);
        if let Some(breaking) = &mut lease.breaking {
            // The holder is told when it has acknowledged what it was told.
            breaking.needed = (breaking.needed & left).normalized();
        } else if left != lease.state {
            self.tell_lease(key, left, left, true);
        }
    }

    /// A notification: the first of a break, or one that follows an acknowledgment.
    fn tell_lease(&mut self, key: Key, told: LeaseState, needed: LeaseState, new_epoch: bool) {
        if self.deserted(key) {
            // As the machine has it: what follows an acknowledgment counts, also if nobody is told. No text says.
            let lease = self.lease_mut(key).unwrap();
            if new_epoch {
                lease.epoch = lease.epoch.next();
            }
            return self.purge_lease(key);
        }
        let serial = self.next_serial();
        let channel = self.lease_channel(key.0, 0);
        let Some(lease) = self.lease_mut(key) else { return };
        lease.serial = serial;
        // As the machine has it: it counts also if no connection is left to carry it, as long as an open has a session. No text says.
        if new_epoch {
            lease.epoch = lease.epoch.next();
        }
        let ack = lease.state.intersects(LeaseState::WRITE | LeaseState::HANDLE);
        let body = LeaseBreak {
            epoch: if lease.second { lease.epoch } else { Epoch::ZERO },
            flags: if ack { BreakFlags::ACK_REQUIRED } else { BreakFlags::empty() },
            key: key.1,
            current: lease.state,
            new: told,
        };
        lease.breaking = None;
        if !ack {
            lease.state = told;
        }
        let Some(sent) = channel else {
            self.lease_mut(key).unwrap().state = LeaseState::NONE;
            return;
        };
        self.say(Said::LeaseBreak { conn: sent.1, body });
        self.lease_mut(key).unwrap().announced = (!ack).then_some((body, sent));
        if ack {
            let deadline = self.now.saturating_add(self.config.lease_break_timeout);
            self.lease_mut(key).unwrap().breaking = Some(Breaking { told, needed, deadline, serial, sent });
        }
    }

    /// The connection of a client that carries a notification: the first that came later than this one.
    fn lease_channel(&self, client: ClientGuid, after: u64) -> Option<(u64, ConnId)> {
        let all = self.conns.iter().filter(|(_, conn)| conn.client == client);
        self.channel(all.map(|(id, conn)| (conn.arrived, *id)), after)
    }

    fn oplock_channel(&self, session: SessionId, after: u64) -> Option<(u64, ConnId)> {
        self.channel(self.sessions.get(&session)?.iter().copied(), after)
    }

    fn channel(&self, all: impl Iterator<Item = (u64, ConnId)>, after: u64) -> Option<(u64, ConnId)> {
        match self.config.profile.channel_choice {
            ChannelChoice::FirstThenOthers => {
                all.filter(|(came, _)| *came > after).min_by_key(|(came, _)| *came)
            }
            ChannelChoice::LatestOnly if after == 0 => all.max_by_key(|(came, _)| *came),
            ChannelChoice::LatestOnly => None,
        }
    }

    /// MS-SMB2 3.3.4.6.
    fn lower(&mut self, request: RequestId, to: OplockLevel) {
        if self.purges(Breach::Oplock(request, to)) {
            return self.purge_oplock(request);
        }
        let Some(open) = self.open_mut(request) else { return };
        if let Some(breaking) = &mut open.breaking {
            breaking.needed = rules::lower(breaking.needed, to);
        } else if rules::rank(to) < rules::rank(open.oplock) {
            self.tell_oplock(request, to);
        }
    }

    fn tell_oplock(&mut self, request: RequestId, to: OplockLevel) {
        if self.open(request).is_some_and(|open| open.orphan.is_some()) {
            return self.purge_oplock(request);
        }
        let serial = self.next_serial();
        let deadline = self.now.saturating_add(self.config.oplock_break_timeout);
        let open = self.open_mut(request).unwrap();
        open.serial = serial;
        let session = open.session();
        let ack = open.oplock != OplockLevel::II;
        if !ack {
            open.oplock = to;
        }
        let sent = self.oplock_channel(session, 0);
        let open = self.open_mut(request).unwrap();
        let Some(sent) = sent else {
            open.oplock = OplockLevel::None;
            return;
        };
        open.announced = (!ack).then_some(sent);
        if ack {
            open.breaking = Some(Breaking { told: to, needed: to, deadline, serial, sent });
        }
        self.say(Said::OplockBreak { conn: sent.1, session, open: request, level: to });
    }

    /// MS-SMB2 3.3.5.22.2.
    fn lease_ack(&mut self, request: RequestId, conn: ConnId, ack: LeaseAck) {
        let key = (self.conns[&conn].client, ack.key);
        let profile = self.config.profile;
        let members: Vec<_> = self.members(key).map(Open::request).collect();
        members.into_iter().for_each(|open| self.used(open));
        let Some(lease) = self.lease_mut(key) else {
            let result = Err(Status::OBJECT_NAME_NOT_FOUND);
            return self.say(Said::LeaseAck { request, result });
        };
        let Some(breaking) = lease.breaking else {
            return self.say(Said::LeaseAck { request, result: Err(Status::UNSUCCESSFUL) });
        };
        // Bits without a meaning are dropped.
        let acked = ack.state & LeaseState::RWH;
        if !breaking.told.contains(acked) {
            return self.say(Said::LeaseAck { request, result: Err(Status::REQUEST_NOT_ACCEPTED) });
        }
        let state = acked.normalized();
        let file = lease.file;
        lease.state = state;
        lease.breaking = None;
        self.say(Said::LeaseAck { request, result: Ok(LeaseAck { key: key.1, state }) });
        if !breaking.needed.contains(state) {
            let through = state.intersects(LeaseState::WRITE | LeaseState::HANDLE)
                && profile.follow_up == FollowUp::ThroughRead;
            let told = if through { breaking.needed | LeaseState::R } else { breaking.needed };
            self.tell_lease(key, told, breaking.needed, profile.follow_up_epoch == FollowUpEpoch::Next);
        }
        self.judge_again(file);
    }

    /// MS-SMB2 3.3.5.22.1.
    fn oplock_ack(&mut self, request: RequestId, session: SessionId, file_id: FileId, level: OplockLevel) {
        let profile = self.config.profile;
        let answer = |model: &mut Self, result| model.say(Said::OplockAck { request, result });
        let Some(open) = self.usable(file_id, Some(session)) else {
            return answer(self, Err(Status::FILE_CLOSED));
        };
        let named = open.request();
        self.used(named);
        let open = self.open(named).unwrap();
        if open.leased {
            return answer(self, Err(Status::INVALID_OPLOCK_PROTOCOL));
        }
        let Some(breaking) = open.breaking else {
            let status = match profile.unexpected_ack {
                UnexpectedAck::InvalidOplockProtocol => Status::INVALID_OPLOCK_PROTOCOL,
                UnexpectedAck::InvalidDeviceState => Status::INVALID_DEVICE_STATE,
            };
            return answer(self, Err(status));
        };
        let (held, file, open) = (open.oplock, open.file(), open.request());
        let (left, result) = match level {
            OplockLevel::Lease => (OplockLevel::None, Err(Status::INVALID_PARAMETER)),
            OplockLevel::II | OplockLevel::None => {
                let left = rules::lower(level, breaking.told);
                (left, Ok(left))
            }
            // From BATCH only.
            OplockLevel::Exclusive if held == OplockLevel::Batch => {
                (OplockLevel::None, Ok(OplockLevel::None))
            }
            _ => (OplockLevel::None, Err(Status::INVALID_OPLOCK_PROTOCOL)),
        };
        let overtaken = rules::rank(breaking.needed) < rules::rank(left);
        let state = self.open_mut(open).unwrap();
        state.breaking = None;
        state.oplock = left;
        if overtaken && profile.overtaken_ack == OvertakenAck::Refuse {
            state.oplock = OplockLevel::None;
            answer(self, Err(Status::REQUEST_NOT_ACCEPTED));
        } else {
            answer(self, result);
            if overtaken {
                self.tell_oplock(open, breaking.needed);
            }
        }
        self.judge_again(file);
    }

    /// MS-SMB2 3.3.4.6, 3.3.4.7: the next connection, or nothing is left.
    fn undelivered(&mut self, id: BreakId, conn: ConnId) {
        let known = self.names.breaks.iter().find(|(known, _, _)| *known == id).copied();
        let Some((_, holder, serial)) = known else { return };
        let now = self.now;
        match holder {
            Holder::Lease(key) => {
                if let Some(lease) = self.lease(key).filter(|lease| lease.serial == serial) {
                    if let Some((body, sent)) = lease.announced.filter(|(_, sent)| sent.1 == conn) {
                        if let Some(next) = self.lease_channel(key.0, sent.0) {
                            self.lease_mut(key).unwrap().announced = Some((body, next));
                            self.say(Said::LeaseBreak { conn: next.1, body });
                        }
                        return;
                    }
                }
                let timeout = self.config.lease_break_timeout;
                let Some((breaking, file)) =
                    self.lease(key).and_then(|lease| Some((lease.breaking?, lease.file)))
                else {
                    return;
                };
                if breaking.serial != serial || breaking.sent.1 != conn {
                    return;
                }
                let next = self.lease_channel(key.0, breaking.sent.0);
                let lease = self.lease_mut(key).unwrap();
                let Some(sent) = next else {
                    lease.state = LeaseState::NONE;
                    lease.breaking = None;
                    return self.judge_again(file);
                };
                let body = LeaseBreak {
                    epoch: if lease.second { lease.epoch } else { Epoch::ZERO },
                    flags: BreakFlags::ACK_REQUIRED,
                    key: key.1,
                    current: lease.state,
                    new: breaking.told,
                };
                lease.breaking = Some(Breaking { sent, deadline: now.saturating_add(timeout), ..breaking });
                self.say(Said::LeaseBreak { conn: sent.1, body });
            }
            Holder::Orphan(_) => {}
            Holder::Oplock(request) => {
                if let Some(open) = self.open(request).filter(|open| open.serial == serial) {
                    if let Some(sent) = open.announced.filter(|sent| sent.1 == conn) {
                        let session = open.session();
                        if let Some(next) = self.oplock_channel(session, sent.0) {
                            self.open_mut(request).unwrap().announced = Some(next);
                            let level = OplockLevel::None;
                            self.say(Said::OplockBreak { conn: next.1, session, open: request, level });
                        }
                        return;
                    }
                }
                let timeout = self.config.oplock_break_timeout;
                let Some((breaking, file, session)) =
                    self.open(request).and_then(|open| Some((open.breaking?, open.file(), open.session())))
                else {
                    return;
                };
                if breaking.serial != serial || breaking.sent.1 != conn {
                    return;
                }
                let next = self.oplock_channel(session, breaking.sent.0);
                let open = self.open_mut(request).unwrap();
                let Some(sent) = next else {
                    open.oplock = OplockLevel::None;
                    open.breaking = None;
                    return self.judge_again(file);
                };
                open.breaking = Some(Breaking { sent, deadline: now.saturating_add(timeout), ..breaking });
                let level = breaking.told;
                self.say(Said::OplockBreak { conn: sent.1, session, open: request, level });
            }
        }
    }

    /// MS-SMB2 3.3.6.1, 3.3.6.5: nothing is left of what was not acknowledged in time.
    fn expire(&mut self, now: Instant) {
        self.now = self.now.max(now);
        loop {
            let leases = self.leases.iter().filter_map(|lease| {
                lease.breaking.map(|breaking| (breaking.deadline, breaking.serial, Holder::Lease(lease.key)))
            });
            let oplocks = self.opens.iter().filter_map(|open| {
                open.breaking
                    .map(|breaking| (breaking.deadline, breaking.serial, Holder::Oplock(open.request())))
            });
            let orphans = self.opens.iter().filter_map(|open| {
                open.orphan.map(|(deadline, serial)| (deadline, serial, Holder::Orphan(open.request())))
            });
            let first =
                leases.chain(oplocks).chain(orphans).min_by_key(|(deadline, serial, _)| (*deadline, *serial));
            let Some((deadline, _, holder)) = first else { return };
            if deadline > self.now {
                return;
            }
            let file = match holder {
                Holder::Lease(key) => {
                    let lease = self.lease_mut(key).unwrap();
                    lease.breaking = None;
                    lease.state = LeaseState::NONE;
                    lease.file
                }
                Holder::Oplock(request) => {
                    let open = self.open_mut(request).unwrap();
                    open.breaking = None;
                    open.oplock = OplockLevel::None;
                    open.file()
                }
                Holder::Orphan(request) => self.close(request),
            };
            self.judge_again(file);
            self.settle();
        }
    }
}

/// A context with another state, as an answer.
fn with_state(context: Context, state: LeaseState) -> Context {
    match context {
        Context::V1(lease) => Context::V1(LeaseV1 { state, flags: LeaseFlags::empty(), ..lease }),
        Context::V2(lease) => Context::V2(LeaseV2 { state, flags: LeaseFlags::empty(), ..lease }),
    }
}
