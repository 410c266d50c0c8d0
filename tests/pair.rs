//! Clients with a cache of one page each, one server, and a network that delays: no read is ever stale.
//!
//! Everything follows from a seed. Messages of one connection keep their order, connections overtake each other, and
//! connections are lost. Values are numbers that only grow, and one write is under way at a time, so a read is right exactly
//! if it returns no less than the last write that had ended when it began; a cache may lag behind for as long as the
//! notification is on its way to it, and no longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, VecDeque};

use leasehold::client::{self, AckId, Client, ClientConfig, CreateReply, FileRef, OpenRef};
use leasehold::server::{
    self, Capabilities, Config, Create, ObjectKind, Opened, Origin, RouteSeed, Server, Terms,
};
use leasehold::wire::{Lease, LeaseAck, LeaseBreak};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, FileId, FileKey,
    HashKey, Instant, Intent, LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId, ShareMode,
    Status, TreeId,
};

const CLIENTS: usize = 3;
const FILE: FileKey = FileKey::new(7);
const PAGE: FileRef = FileRef::new(1);

#[test]
fn no_read_is_stale_and_no_write_is_lost() {
    let mut reads = 0;
    let mut cached = 0;
    let mut taken_up = 0;
    let mut breaks = 0;
    for seed in 0..400 {
        let world = World::run(seed, 400);
        reads += world.reads;
        cached += world.cached;
        taken_up += world.taken_up;
        breaks += world.server.stats().lease_breaks_sent;
    }
    println!("{reads} reads, {cached} of them from a cache, {breaks} breaks");
    assert!(
        cached > 1_000 && taken_up > 100 && reads > cached + 1_000 && breaks > 1_000,
        "too quiet to mean anything"
    );
}

/// To the server.
#[derive(Clone, Debug)]
enum Ask {
    Create { open: OpenRef, level: OplockLevel, lease: Option<Lease> },
    Close { open: OpenRef, file_id: FileId },
    Ack { ack: AckId, body: LeaseAck },
    Read { file_id: FileId },
    Write { file_id: FileId, value: u64, flush: bool },
}

/// To a client.
#[derive(Clone, Debug)]
enum Tell {
    Created { open: OpenRef, result: Result<CreateReply, Status> },
    Closed { open: OpenRef },
    Acked { ack: AckId, result: Result<(), Status> },
    Break(LeaseBreak),
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
    /// What had been written when the read under way began.
    reading: Option<u64>,
    requests: u64,
}

struct World {
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
    reads: u64,
    cached: u64,
    /// Opens that were served from a handle that was kept.
    taken_up: u64,
}

impl World {
    fn run(seed: u64, steps: u32) -> Self {
        let peers = (0..CLIENTS).map(|_| Peer::new());
        let mut world = Self {
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
            reads: 0,
            cached: 0,
            taken_up: 0,
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
        self.tell_client(who, client::Event::Open(opening.want(client::Want::State(want))));
    }

    fn connect(&mut self, who: usize) {
        self.conns += 1;
        let (conn, session) = (ConnId::new(self.conns), SessionId::new(self.conns));
        let guid = ClientGuid::from_wire([1 + u8::try_from(who).unwrap(); 16]);
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        self.tell_server(server::Event::Connected { conn, client: guid, terms });
        self.tell_server(server::Event::SessionBound { conn, session });
        self.peers[who].conn = Some(conn);
        let previous = client::PreviousSession::Unknown;
        self.tell_client(who, client::Event::Connected { conn, session, previous, terms });
    }

    fn read(&mut self, who: usize) {
        let written = self.written;
        let peer = &mut self.peers[who];
        let Some(file_id) = peer.handle().filter(|_| peer.reading.is_none()) else { return };
        if let Some(value) = peer.page.filter(|_| peer.allowed.contains(LeaseState::READ)) {
            // MS-SMB2 3.3.4.7: nobody waits for R, so until the notification is there the old value may be read.
            let told = peer.down.iter().any(|tell| matches!(tell, Tell::Break(_)));
            assert!(value >= written || told, "client {who} reads {value}, {written} was written before");

            self.reads += 1;
            self.cached += 1;
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
        let Some(file_id) = peer.handle() else { return };
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
        peer.handles.clear();
        (peer.used, peer.opening, peer.reading) = (None, false, None);
        let flushing = peer.flushing.take().is_some();
        if peer.dirty.take().is_some() || flushing {
            // The application is told that this is lost, which is all that can be done.
            self.written = self.disk;
            for peer in &mut self.peers {
                peer.reading = peer.reading.map(|before| before.min(self.disk));
            }
        }
        if self.writing == Some(who) {
            self.writing = None;
        }
        self.tell_client(who, client::Event::Disconnected { conn });
        if flushing {
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
            Ask::Create { level, lease, .. } => {
                let create = Create::new(request, origin, FILE)
                    .access(Access::READ_DATA | Access::WRITE_DATA, ShareMode::ALL)
                    .disposition(Disposition::OpenIf, CreateOptions::empty())
                    .caching(*level, *lease);
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
                        assert!(value > self.disk, "{value} is written over {}", self.disk);
                        self.disk = value;
                        Tell::Written { value, flush }
                    }
                    other => panic!("{other:?} does not proceed"),
                };
                self.peers[who].down.push_back(answer);
                self.tell_server(server::Event::Done { ticket, result: Ok(()) });
            }
            server::Action::Granted { request, grant } => {
                let Some((who, _, Ask::Create { open, .. })) = self.asked.remove(&request) else { return };
                let reply = CreateReply::new(grant.file_id, grant.level, grant.contexts());
                self.peers[who].down.push_back(Tell::Created { open, result: Ok(reply) });
            }
            server::Action::Refused { request, status } => {
                let Some((who, _, ask)) = self.asked.remove(&request) else { return };
                let answer = match ask {
                    Ask::Create { open, .. } => Tell::Created { open, result: Err(status) },
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
            server::Action::Accepted { .. }
            | server::Action::SendOplockBreak { .. }
            | server::Action::AnswerOplockAck { .. } => panic!("nobody locks or has an oplock"),
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
                self.reads += 1;
                return;
            }
            Tell::Written { flush: true, .. } => {
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
                let lease = contexts.lease;
                self.peers[who].up.push_back(Ask::Create { open, level, lease });
            }
            client::Action::SendClose { open, file_id, .. } => {
                self.peers[who].handles.remove(&open);
                self.peers[who].up.push_back(Ask::Close { open, file_id });
            }
            client::Action::SendLeaseAck { ack, body, .. } => {
                self.peers[who].up.push_back(Ask::Ack { ack, body })
            }
            client::Action::Allow { state, .. } => self.peers[who].allowed = state,
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
                self.peers[who].page = None;
                self.tell_client(who, client::Event::Purged { file });
            }
            client::Action::Ready { open, served: client::Served::Kept, .. } => {
                let peer = &mut self.peers[who];
                (peer.used, peer.opening) = (Some(open), false);
                self.taken_up += 1;
            }
            client::Action::Ready { .. } | client::Action::Lost { .. } => {}
            client::Action::SendOplockAck { .. } => panic!("nobody has an oplock"),
            client::Action::SendReconnect { .. }
            | client::Action::RenewSession { .. }
            | client::Action::Away { .. }
            | client::Action::Regained { .. } => panic!("nobody asked for a durable handle"),
            client::Action::Failed { .. } => self.peers[who].opening = false,
        }
    }
}

impl Peer {
    fn handle(&self) -> Option<FileId> {
        self.handles.get(&self.used?).copied()
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
            reading: None,
            requests: 0,
        }
    }
}
