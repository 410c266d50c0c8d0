//! Clients with a cache of one page each, one server, and a network that delays: no read is ever stale. Under leases, under oplocks,
//! and with handles that come back.
//!
//! Everything follows from a seed. Messages of one connection keep their order, connections overtake each other, and
//! connections are lost. Values are numbers that only grow, and one write is under way at a time, so a read is right exactly
//! if it returns no less than the last write that had ended when it began; a cache may lag behind for as long as the
//! notification is on its way to it, and no longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leasehold::client::{self, AckId, Client, ClientConfig, CreateReply, FileRef, OpenRef};
use leasehold::server::{
    self, Capabilities, Config, Create, Durability, ObjectKind, Opened, Origin, Reconnect, RouteSeed, Server,
    Terms,
};
use leasehold::wire::{LeaseAck, LeaseBreak, OplockBreak, RequestContexts};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateGuid, CreateOptions, Dialect, Disposition, FileId,
    FileKey, HashKey, Instant, Intent, LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId,
    ShareMode, Status, TreeId, UserId,
};
use uuid::Uuid;

const CLIENTS: usize = 3;
const FILE: FileKey = FileKey::new(7);
const PAGE: FileRef = FileRef::new(1);

/// What the clients cache by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Leases,
    Oplocks,
    /// Leases, of opens that are to outlive their connections.
    Durable,
}

#[derive(Debug, Default)]
struct Counts {
    reads: u64,
    cached: u64,
    breaks: u64,
    taken_up: u64,
    regained: u64,
    lost: u64,
}

fn histories(by: By) -> Counts {
    let mut sum = Counts::default();
    for seed in 0..400 {
        let world = World::run(by, seed, 400);
        let stats = world.server.stats();
        sum.reads += world.counts.reads;
        sum.cached += world.counts.cached;
        sum.breaks += stats.lease_breaks_sent + stats.oplock_breaks_sent;
        sum.taken_up += world.counts.taken_up;
        sum.regained += world.counts.regained;
        sum.lost += world.counts.lost;
    }
    println!("{by:?}: {sum:?}");
    assert!(sum.cached > 500 && sum.reads > sum.cached + 1_000, "too quiet to mean anything");
    assert!(sum.breaks > 1_000 && sum.taken_up > 20, "too quiet to mean anything");
    sum
}

#[test]
fn no_read_is_stale_and_no_write_is_lost() {
    histories(By::Leases);
}

#[test]
fn under_oplocks_too() {
    histories(By::Oplocks);
}

#[test]
fn nor_where_handles_come_back() {
    let counts = histories(By::Durable);
    assert!(counts.regained > 200 && counts.lost > 100, "too quiet to mean anything");
}

/// To the server.
#[derive(Clone, Debug)]
enum Ask {
    Create { open: OpenRef, level: OplockLevel, contexts: RequestContexts },
    Reconnect { open: OpenRef, contexts: RequestContexts },
    OplockAck { ack: AckId, body: OplockBreak },
    Close { open: OpenRef, file_id: FileId },
    Ack { ack: AckId, body: LeaseAck },
    Read { file_id: FileId },
    Write { file_id: FileId, value: u64, flush: bool },
}

/// To a client.
#[derive(Clone, Debug)]
enum Tell {
    Created { open: OpenRef, result: Result<CreateReply, Status> },
    Reconnected { open: OpenRef, result: Result<CreateReply, Status> },
    Closed { open: OpenRef },
    Acked { ack: AckId, result: Result<(), Status> },
    Break(LeaseBreak),
    OplockBreak(OplockBreak),
    Read(u64),
    Written { value: u64, flush: bool },
    Failed { flush: bool },
}

struct Peer {
    machine: Client,
    /// `None` while it is not connected.
    conn: Option<ConnId>,
    up: VecDeque<Ask>,
    down: VecDeque<Tell>,
    allowed: LeaseState,
    page: Option<u64>,
    dirty: Option<u64>,
    /// What is being written back.
    flushing: Option<u64>,
    /// Handles that are open at the server, those that are kept open among them.
    handles: BTreeMap<OpenRef, FileId>,
    /// The one that the application uses.
    used: Option<OpenRef>,
    opening: bool,
    /// Opens without a connection.
    away: BTreeSet<OpenRef>,
    /// An open was lost: what is dirty may be lost with it.
    bereft: bool,
    /// What had been written when the read under way began.
    reading: Option<u64>,
    requests: u64,
}

struct World {
    by: By,
    random: u64,
    now: u64,
    server: Server,
    disk: u64,
    peers: Vec<Peer>,
    asked: BTreeMap<RequestId, (usize, ConnId, Ask)>,
    next: u64,
    conns: u64,
    /// The last write that has ended, the last that has begun, and who is writing.
    written: u64,
    begun: u64,
    writing: Option<usize>,
    counts: Counts,
}

impl World {
    fn run(by: By, seed: u64, steps: u32) -> Self {
        let peers = (0..CLIENTS).map(|_| Peer::new());
        let mut world = Self {
            by,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 0,
            server: Server::new(Config::new(HashKey::new([5; 16]), RouteSeed::new([6; 16]), 1)),
            disk: 0,
            peers: peers.collect(),
            asked: BTreeMap::new(),
            next: 0,
            conns: 0,
            written: 0,
            begun: 0,
            writing: None,
            counts: Counts::default(),
        };
        for _ in 0..steps {
            world.step();
        }
        // Quiet at the end: everything that is under way arrives, and then nobody waits for anybody.
        for _ in 0..10_000 {
            if !(0..CLIENTS).any(|who| world.deliver(who)) {
                break;
            }
        }
        let snapshot = world.server.snapshot();
        assert!(snapshot.files.iter().all(|file| file.waiting.is_empty()), "{snapshot:?}");
        assert_eq!(world.server.stats().anomalies, 0);
        world
    }

    fn chance(&mut self, of: u64) -> u64 {
        // xorshift64.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % of
    }

    fn step(&mut self) {
        self.now += 1;
        let who = usize::try_from(self.chance(CLIENTS as u64)).unwrap();
        match self.chance(40) {
            0..=23 => {
                self.deliver(who);
            }
            24..=27 => self.open(who),
            28..=32 => self.read(who),
            33..=36 => self.write(who),
            37 | 38 => self.close(who),
            _ => self.hang_up(who),
        }
    }

    // ---- what applications do -----------------------------------------------------------------------------------------

    fn open(&mut self, who: usize) {
        let wants = [LeaseState::R, LeaseState::RH, LeaseState::RW, LeaseState::RWH];
        let want = wants[usize::try_from(self.chance(4)).unwrap()];
        if self.peers[who].conn.is_none() {
            self.connect(who);
        }
        let peer = &mut self.peers[who];
        if peer.used.is_some() || peer.opening {
            return;
        }
        peer.opening = true;
        peer.requests += 1;
        let request = RequestId::new(peer.requests);
        let key = LeaseKey::new([1 + u8::try_from(who).unwrap(); 16]);
        let opening = client::Opening::new(request, PAGE, key)
            .access(Access::READ_DATA | Access::WRITE_DATA, ShareMode::ALL)
            .disposition(Disposition::OpenIf, CreateOptions::empty());
        let opening = match self.by {
            By::Leases | By::Oplocks => opening,
            By::Durable => opening
                .durable(CreateGuid::new(Uuid::from_u128((who as u128) << 64 | u128::from(request.get())))),
        };
        self.tell_client(who, client::Event::Open(opening.want(client::Want::State(want))));
    }

    fn connect(&mut self, who: usize) {
        self.conns += 1;
        let (conn, session) = (ConnId::new(self.conns), SessionId::new(self.conns));
        let guid = ClientGuid::from_wire([1 + u8::try_from(who).unwrap(); 16]);
        let terms = match self.by {
            By::Leases | By::Durable => Terms::new(Dialect::Smb311, Capabilities::LEASING),
            By::Oplocks => Terms::new(Dialect::Smb210, Capabilities::empty()),
        };
        self.tell_server(server::Event::Connected { conn, client: guid, terms });
        self.tell_server(server::Event::SessionBound { conn, session });
        self.peers[who].conn = Some(conn);
        let previous = client::PreviousSession::Ended;
        self.tell_client(who, client::Event::Connected { conn, session, previous, terms });
    }

    fn read(&mut self, who: usize) {
        let written = self.written;
        let peer = &mut self.peers[who];
        let Some(file_id) = peer.handle().filter(|_| peer.reading.is_none() && peer.conn.is_some()) else {
            return;
        };
        if let Some(value) = peer.page.filter(|_| peer.allowed.contains(LeaseState::READ)) {
            // MS-SMB2 3.3.4.7: nobody waits for R, so until the notification is there the old value may be read.
            let told = peer.down.iter().any(|tell| matches!(tell, Tell::Break(_) | Tell::OplockBreak(_)));
            assert!(value >= written || told, "client {who} reads {value}, {written} was written before");

            self.counts.reads += 1;
            self.counts.cached += 1;
            return;
        }
        peer.reading = Some(written);
        peer.up.push_back(Ask::Read { file_id });
    }

    fn write(&mut self, who: usize) {
        if self.writing.is_some() {
            return;
        }
        let peer = &mut self.peers[who];
        let Some(file_id) = peer.handle().filter(|_| peer.conn.is_some()) else { return };
        self.begun += 1;
        let value = self.begun;
        if peer.allowed.contains(LeaseState::WRITE) {
            (peer.page, peer.dirty) = (Some(value), Some(value));
            self.written = value;
        } else {
            self.writing = Some(who);
            peer.up.push_back(Ask::Write { file_id, value, flush: false });
        }
    }

    fn close(&mut self, who: usize) {
        let peer = &mut self.peers[who];
        if peer.reading.is_some() || self.writing == Some(who) {
            return;
        }
        if let Some(open) = peer.used.take() {
            self.tell_client(who, client::Event::Release { open });
        }
    }

    fn hang_up(&mut self, who: usize) {
        let Some(conn) = self.peers[who].conn.take() else { return };
        self.asked.retain(|_, (_, of, _)| *of != conn);
        let peer = &mut self.peers[who];
        peer.up.clear();
        peer.down.clear();
        (peer.opening, peer.reading) = (false, None);
        let flushing = peer.flushing.take();
        // What could not be written back is dirty still.
        peer.dirty = peer.dirty.or(flushing);
        if peer.dirty.is_some() {
            // Others may get the file before this one is back; then it is lost.
            self.written = self.disk;
            for peer in &mut self.peers {
                peer.reading = peer.reading.map(|before| before.min(self.disk));
            }
        }
        if self.writing == Some(who) {
            self.writing = None;
        }
        self.tell_client(who, client::Event::Disconnected { conn });
        if flushing.is_some() {
            // Every `Flush` is answered, also one that failed.
            self.tell_client(who, client::Event::Flushed { file: PAGE });
        }
        self.tell_server(server::Event::Disconnected { conn });
    }

    // ---- the network --------------------------------------------------------------------------------------------------

    /// Delivers one message of a client, in one direction or the other.
    fn deliver(&mut self, who: usize) -> bool {
        let upwards = self.chance(2) == 0 || self.peers[who].down.is_empty();
        let Some(conn) = self.peers[who].conn else { return false };
        if upwards {
            let Some(ask) = self.peers[who].up.pop_front() else { return !self.peers[who].down.is_empty() };
            self.ask(who, conn, ask);
        } else {
            let tell = self.peers[who].down.pop_front().unwrap();
            self.told(who, tell);
        }
        true
    }

    fn ask(&mut self, who: usize, conn: ConnId, ask: Ask) {
        self.next += 1;
        let request = RequestId::new(self.next);
        let session = SessionId::new(conn.get());
        let origin = Origin::new(conn, session, TreeId::new(1));
        let event = match &ask {
            Ask::Reconnect { contexts, .. } => {
                let dh2c = contexts.durable.dh2c.unwrap();
                let reconnect =
                    Reconnect::new(request, origin, UserId::new([1; 16]), dh2c.file_id.persistent)
                        .with_guid(dh2c.create_guid)
                        .lease(contexts.lease.unwrap(), Some(FILE));
                server::Event::Reconnect(reconnect)
            }
            Ask::OplockAck { body, .. } => server::Event::OplockAck { request, session, ack: *body },
            Ask::Create { level, contexts, .. } => {
                let durability = match contexts.durable.dh2q {
                    Some(dh2q) => {
                        Durability::V2 { timeout: 0, create_guid: dh2q.create_guid, persistent: false }
                    }
                    None => Durability::None,
                };
                let create = Create::new(request, origin, FILE)
                    .access(Access::READ_DATA | Access::WRITE_DATA, ShareMode::ALL)
                    .disposition(Disposition::OpenIf, CreateOptions::empty())
                    .caching(*level, contexts.lease)
                    .durable(UserId::new([1; 16]), durability);
                server::Event::Create(create)
            }
            Ask::Close { file_id, .. } => server::Event::Close { request, session, file_id: *file_id },
            Ask::Ack { body, .. } => server::Event::LeaseAck { request, conn, ack: *body },
            Ask::Read { file_id } => {
                let (actor, intent) = (Actor::Open(*file_id), Intent::Read { offset: 0, len: 8 });
                server::Event::Operate { request, origin: Some(origin), file: FILE, actor, intent }
            }
            Ask::Write { file_id, .. } => {
                let (actor, intent) = (Actor::Open(*file_id), Intent::Write { offset: 0, len: 8 });
                server::Event::Operate { request, origin: Some(origin), file: FILE, actor, intent }
            }
        };
        self.asked.insert(request, (who, conn, ask));
        self.tell_server(event);
    }

    fn tell_server(&mut self, event: server::Event) {
        let mut actions = Vec::new();
        self.server.handle(Instant::from_millis(self.now), event, &mut actions).unwrap();
        for action in actions {
            self.perform_server(action);
        }
    }

    fn perform_server(&mut self, action: server::Action) {
        match action {
            server::Action::OpenFile { file_id, .. } => {
                let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, u64::MAX));
                self.tell_server(server::Event::Opened { file_id, result });
            }
            server::Action::Proceed { request, ticket } => {
                let (who, ask) = match self.asked.remove(&request) {
                    Some((who, _, ask)) => (who, ask),
                    // Its client has gone; the operation runs all the same, or not at all.
                    None => return self.tell_server(server::Event::Done { ticket, result: Ok(()) }),
                };
                let answer = match ask {
                    Ask::Read { .. } => Tell::Read(self.disk),
                    Ask::Write { value, flush, .. } => {
                        // An answer that was lost with its connection has it written twice.
                        assert!(
                            value > self.disk || flush && value == self.disk,
                            "{value} is written over {}",
                            self.disk
                        );
                        self.disk = value;
                        Tell::Written { value, flush }
                    }
                    other => panic!("{other:?} does not proceed"),
                };
                self.peers[who].down.push_back(answer);
                self.tell_server(server::Event::Done { ticket, result: Ok(()) });
            }
            server::Action::Granted { request, grant } => {
                let result = Ok(CreateReply::new(grant.file_id, grant.level, grant.contexts()));
                let (who, tell) = match self.asked.remove(&request) {
                    Some((who, _, Ask::Create { open, .. })) => (who, Tell::Created { open, result }),
                    Some((who, _, Ask::Reconnect { open, .. })) => (who, Tell::Reconnected { open, result }),
                    _ => return,
                };
                self.peers[who].down.push_back(tell);
            }
            server::Action::Refused { request, status } => {
                let Some((who, _, ask)) = self.asked.remove(&request) else { return };
                let answer = match ask {
                    Ask::Create { open, .. } => Tell::Created { open, result: Err(status) },
                    Ask::Reconnect { open, .. } => Tell::Reconnected { open, result: Err(status) },
                    Ask::Close { open, .. } => Tell::Closed { open },
                    Ask::Write { flush, .. } => Tell::Failed { flush },
                    Ask::Read { .. } => Tell::Failed { flush: false },
                    other => panic!("{other:?} is refused: {status}"),
                };
                self.peers[who].down.push_back(answer);
            }
            server::Action::Closed { request } => {
                let Some((who, _, Ask::Close { open, .. })) = self.asked.remove(&request) else { return };
                self.peers[who].down.push_back(Tell::Closed { open });
            }
            server::Action::AnswerLeaseAck { request, result } => {
                let Some((who, _, Ask::Ack { ack, .. })) = self.asked.remove(&request) else { return };
                self.peers[who].down.push_back(Tell::Acked { ack, result: result.map(|_| ()) });
            }
            server::Action::SendLeaseBreak { conn, body, .. } => {
                let peer = self.peers.iter_mut().find(|peer| peer.conn == Some(conn)).unwrap();
                peer.down.push_back(Tell::Break(body));
            }
            server::Action::Interim { .. } | server::Action::CloseFile { .. } => {}
            server::Action::Resolve { .. } | server::Action::Unlink { .. } => panic!("nobody deletes"),
            server::Action::Persist { .. } => panic!("there is no store"),
            server::Action::SendOplockBreak { conn, body, .. } => {
                let peer = self.peers.iter_mut().find(|peer| peer.conn == Some(conn)).unwrap();
                peer.down.push_back(Tell::OplockBreak(body));
            }
            server::Action::AnswerOplockAck { request, result } => {
                let Some((who, _, Ask::OplockAck { ack, .. })) = self.asked.remove(&request) else { return };
                self.peers[who].down.push_back(Tell::Acked { ack, result: result.map(|_| ()) });
            }
            server::Action::Accepted { .. } => panic!("nobody locks"),
        }
    }

    fn told(&mut self, who: usize, tell: Tell) {
        let event = match tell {
            Tell::Created { open, result } => {
                if let Ok(reply) = result {
                    self.peers[who].handles.insert(open, reply.file_id);
                    self.peers[who].used = Some(open);
                }
                self.peers[who].opening = false;
                client::Event::Created { open, result }
            }
            Tell::Reconnected { open, result } => {
                if let Ok(reply) = result {
                    self.peers[who].handles.insert(open, reply.file_id);
                }
                client::Event::Reconnected { open, result }
            }
            Tell::OplockBreak(body) => client::Event::OplockBroken {
                conn: self.peers[who].conn.unwrap(),
                session: SessionId::new(0),
                body,
            },
            Tell::Closed { open } => client::Event::Closed { open },
            Tell::Acked { ack, result } => client::Event::AckAnswered { ack, result },
            Tell::Break(body) => client::Event::LeaseBroken { body },
            Tell::Read(value) => {
                let peer = &mut self.peers[who];
                let before = peer.reading.take().unwrap();
                assert!(value >= before, "client {who} reads {value}, {before} was written before");
                // What is here already is newer: one's own writes, written back or not.
                if peer.allowed.contains(LeaseState::READ) {
                    peer.page.get_or_insert(value);
                }
                self.counts.reads += 1;
                return;
            }
            Tell::Written { flush: true, value } => {
                self.written = self.written.max(value);
                self.peers[who].flushing = None;
                client::Event::Flushed { file: PAGE }
            }
            Tell::Written { value, flush: false } => {
                self.written = self.written.max(value);
                self.writing = None;
                // One's own write breaks no lease of one's own: what was read while it was under way is void.
                self.peers[who].page = None;
                return;
            }
            Tell::Failed { flush } => {
                assert!(!flush, "what was dirty could not be written back");
                self.peers[who].reading = None;
                if self.writing == Some(who) {
                    self.writing = None;
                }
                return;
            }
        };
        self.tell_client(who, event);
    }

    fn tell_client(&mut self, who: usize, event: client::Event) {
        let mut actions = Vec::new();
        self.peers[who].machine.handle(Instant::from_millis(self.now), event, &mut actions).unwrap();
        for action in actions {
            self.perform_client(who, action);
        }
    }

    fn perform_client(&mut self, who: usize, action: client::Action) {
        match action {
            client::Action::SendCreate { open, level, contexts, .. } => {
                self.peers[who].opening = true;
                self.peers[who].up.push_back(Ask::Create { open, level, contexts });
            }
            client::Action::SendReconnect { open, contexts, .. } => {
                self.peers[who].up.push_back(Ask::Reconnect { open, contexts });
            }
            client::Action::SendOplockAck { ack, body, .. } => {
                self.peers[who].up.push_back(Ask::OplockAck { ack, body });
            }
            client::Action::SendClose { open, file_id, .. } => {
                self.peers[who].handles.remove(&open);
                self.peers[who].up.push_back(Ask::Close { open, file_id });
            }
            client::Action::SendLeaseAck { ack, body, .. } => {
                self.peers[who].up.push_back(Ask::Ack { ack, body })
            }
            client::Action::Allow { state, .. } => {
                let peer = &mut self.peers[who];
                peer.allowed = state;
                if let Some(value) = peer.dirty.filter(|_| state.contains(LeaseState::WRITE)) {
                    // It has come back with what it had: nobody else has written.
                    self.written = self.written.max(value);
                }
            }
            client::Action::Flush { file } => {
                let peer = &mut self.peers[who];
                match (peer.dirty.take(), peer.handles.values().next().copied()) {
                    (Some(value), Some(file_id)) => {
                        peer.flushing = Some(value);
                        peer.up.push_back(Ask::Write { file_id, value, flush: true });
                    }
                    (Some(value), None) => {
                        panic!("{value} is dirty, and there is no handle to write it through")
                    }
                    (None, _) => self.tell_client(who, client::Event::Flushed { file }),
                }
            }
            client::Action::Purge { file } => {
                let peer = &mut self.peers[who];
                let lost = peer.dirty.take();
                assert!(lost.is_none() || peer.bereft, "{lost:?} is dirty and is dropped");
                (peer.page, peer.bereft) = (None, false);
                self.tell_client(who, client::Event::Purged { file });
            }
            client::Action::Ready { open, served: client::Served::Kept, .. } => {
                let peer = &mut self.peers[who];
                (peer.used, peer.opening) = (Some(open), false);
                self.counts.taken_up += 1;
            }
            client::Action::Ready { .. } => {}
            client::Action::Away { open } => {
                self.peers[who].away.insert(open);
            }
            client::Action::Regained { open } => {
                self.peers[who].away.remove(&open);
                self.counts.regained += 1;
            }
            client::Action::Lost { open, .. } => {
                let peer = &mut self.peers[who];
                peer.away.remove(&open);
                peer.handles.remove(&open);
                peer.used = peer.used.filter(|used| *used != open);
                peer.bereft = true;
                self.counts.lost += 1;
            }
            client::Action::Persist { .. } | client::Action::Restored { .. } => panic!("nothing is stored"),
            client::Action::RenewSession { .. } => panic!("no session ends"),
            client::Action::Failed { .. } => self.peers[who].opening = false,
        }
    }
}

impl Peer {
    fn handle(&self) -> Option<FileId> {
        let used = self.used.filter(|open| !self.away.contains(open))?;
        self.handles.get(&used).copied()
    }

    fn new() -> Self {
        Self {
            machine: Client::new(ClientConfig::new(HashKey::new([8; 16]))),
            conn: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            allowed: LeaseState::NONE,
            page: None,
            dirty: None,
            flushing: None,
            handles: BTreeMap::new(),
            used: None,
            opening: false,
            away: BTreeSet::new(),
            bereft: false,
            reading: None,
            requests: 0,
        }
    }
}
