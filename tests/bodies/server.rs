//! Histories of the server: any sequence of events from a few clients on a few files, judged action by action.
//!
//! The judge is an independent one. It keeps plain maps of who has what open and what each client was told about its
//! lease, and holds every action against the properties of MS-SMB2 3.3.1.4, 3.3.4.7 and 3.3.5.22.2; it does not know how
//! the server decides.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use leasehold::server::{
    Action, BreakId, Capabilities, Config, Create, Event, Link, ObjectKind, OpenSnapshot, Opened, Origin,
    RouteSeed, Server, SessionEnd, Terms, Ticket,
};
use leasehold::wire::{BreakFlags, Lease, LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, Epoch, FileId,
    FileKey, HashKey, Instant, Intent, LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId,
    ShareMode, Status, TreeId,
};

const CONNS: u64 = 4;
const FILES: u128 = 3;
/// The file that is a directory.
const DIRECTORY: FileKey = FileKey::new(2);
const BREAK: u64 = 35_000;

/// Runs the history that the octets spell, twice with different hash keys, and holds it against the properties.
pub fn histories(octets: &[u8]) {
    let first = World::run(octets, HashKey::new([1; 16]));
    let second = World::run(octets, HashKey::new([0xfe; 16]));
    assert_eq!(first, second, "no action depends on the hash key");
}

/// One step of a history. Numbers choose among what is there.
#[derive(Arbitrary, Debug)]
enum Step {
    Connect { conn: u8, old: bool },
    Disconnect { conn: u8 },
    EndSession { conn: u8 },
    EndTree { conn: u8 },
    Create { conn: u8, file: u8, key: u8, state: u8, epoch: u16, kind: CreateKind, version: bool },
    Opened { which: u8, fails: bool },
    Operate { conn: u8, which: u8, local: bool, intent: u8 },
    Done { which: u8 },
    Cancel { which: u8 },
    Close { which: u8 },
    Ack { which: u8, state: u8, exact: bool },
    Undelivered { which: u8 },
    Pass { millis: u16 },
    Expire,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum CreateKind {
    Plain,
    Stat,
    Overwrite,
    DeleteOnClose,
    Keyless,
    KeylessOverwrite,
    Exclusive,
}

type Name = (ClientGuid, LeaseKey);

/// What a client was told about a lease.
#[derive(Clone, Debug)]
struct Belief {
    file: FileKey,
    state: LeaseState,
    epoch: Epoch,
    v1: bool,
    /// What it was told to come down to and has not acknowledged, and until when it may.
    pending: Option<(LeaseState, u64)>,
    /// Its last notification.
    last: Option<BreakId>,
}

#[derive(Clone, Debug)]
struct Handle {
    conn: u64,
    file: FileKey,
    name: Option<Name>,
    kind: CreateKind,
    asked: Option<Lease>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Opening,
    Open,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Create,
    Operate {
        file: FileKey,
        own: Option<Name>,
        intent: Intent,
    },
    Other,
    /// The expected answer.
    Ack(Result<LeaseState, Status>),
}

struct World {
    now: u64,
    server: Server,
    log: Vec<Action>,
    /// Connections that are there, by number; client, session and dialect follow from the number.
    conns: BTreeMap<u64, Dialect>,
    /// Connections in order of arrival.
    arrivals: Vec<u64>,
    sessions: BTreeMap<u64, ()>,
    handles: BTreeMap<FileId, Handle>,
    beliefs: BTreeMap<Name, Belief>,
    running: Vec<(Ticket, FileKey, Option<Name>, Intent)>,
    asked: BTreeMap<RequestId, (Option<u64>, Asked)>,
    creates: BTreeMap<RequestId, Handle>,
    sent: Vec<(BreakId, ConnId, LeaseBreak)>,
    next: u64,
}

fn client_of(conn: u64) -> ClientGuid {
    ClientGuid::from_wire([1 + u8::try_from(conn % 2).unwrap(); 16])
}

fn session_of(conn: u64) -> SessionId {
    SessionId::new(0x100 + conn)
}

impl World {
    fn run(octets: &[u8], hash_key: HashKey) -> Vec<Action> {
        let config = Config::new(hash_key, RouteSeed::new([3; 16]), 1);
        let mut world = Self {
            now: 0,
            server: Server::new(config),
            log: Vec::new(),
            conns: BTreeMap::new(),
            arrivals: Vec::new(),
            sessions: BTreeMap::new(),
            handles: BTreeMap::new(),
            beliefs: BTreeMap::new(),
            running: Vec::new(),
            asked: BTreeMap::new(),
            creates: BTreeMap::new(),
            sent: Vec::new(),
            next: 0,
        };
        let mut input = Unstructured::new(octets);
        for conn in 0..2 {
            world.step(Step::Connect { conn, old: false });
        }
        while !input.is_empty() {
            let Ok(step) = Step::arbitrary(&mut input) else { break };
            world.step(step);
            world.check();
        }
        world.finish();
        world.log
    }
}

/// Steps.
impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Connect { conn, old } => self.connect(u64::from(conn) % CONNS, old),
            Step::Disconnect { conn } => self.disconnect(u64::from(conn) % CONNS),
            Step::EndSession { conn } => {
                let conn = u64::from(conn) % CONNS;
                if self.sessions.remove(&conn).is_some() {
                    self.handle(Event::SessionEnded {
                        session: session_of(conn),
                        end: SessionEnd::LoggedOff,
                    });
                }
            }
            Step::EndTree { conn } => {
                let conn = u64::from(conn) % CONNS;
                if self.sessions.contains_key(&conn) {
                    let request = self.ask(Some(conn), Asked::Other);
                    let (session, tree) = (session_of(conn), TreeId::new(1));
                    self.handle(Event::TreeDisconnected { request, session, tree });
                }
            }
            Step::Create { conn, file, key, state, epoch, kind, version } => {
                self.create(u64::from(conn) % CONNS, file, key, state, epoch, kind, version);
            }
            Step::Opened { which, fails } => self.opened(which, fails),
            Step::Operate { conn, which, local, intent } => {
                self.operate(u64::from(conn) % CONNS, which, local, intent);
            }
            Step::Done { which } => {
                if let Some(at) = pick(which, self.running.len()) {
                    let (ticket, ..) = self.running.remove(at);
                    self.handle(Event::Done { ticket, result: Ok(()) });
                }
            }
            Step::Cancel { which } => {
                if let Some(request) = pick_key(which, &self.asked) {
                    self.handle(Event::Cancel { request });
                }
            }
            Step::Close { which } => {
                let Some(file_id) = pick_key(which, &self.handles) else { return };
                let handle = &self.handles[&file_id];
                if handle.stage == Stage::Open {
                    let conn = handle.conn;
                    let request = self.ask(Some(conn), Asked::Other);
                    self.handle(Event::Close { request, session: session_of(conn), file_id });
                }
            }
            Step::Ack { which, state, exact } => self.acknowledge(which, state, exact),
            Step::Undelivered { which } => {
                if let Some(at) = pick(which, self.sent.len()) {
                    let (id, conn, body) = self.sent[at];
                    self.undeliverable(id, conn, body.key);
                    self.handle(Event::Undelivered { id, conn });
                }
            }
            Step::Pass { millis } => self.pass(u64::from(millis)),
            Step::Expire => {
                if let Some(due) = self.server.poll_timeout() {
                    self.pass(due.as_millis().saturating_sub(self.now));
                }
            }
        }
    }

    fn connect(&mut self, conn: u64, old: bool) {
        if self.conns.contains_key(&conn) {
            return;
        }
        let dialect = if old { Dialect::Smb210 } else { Dialect::Smb311 };
        self.conns.insert(conn, dialect);
        self.arrivals.retain(|other| *other != conn);
        self.arrivals.push(conn);
        self.sessions.insert(conn, ());
        let terms = Terms::new(dialect, Capabilities::LEASING | Capabilities::DIRECTORY_LEASING);
        self.handle(Event::Connected { conn: ConnId::new(conn), client: client_of(conn), terms });
        self.handle(Event::SessionBound { conn: ConnId::new(conn), session: session_of(conn) });
    }

    fn disconnect(&mut self, conn: u64) {
        if self.conns.remove(&conn).is_none() {
            return;
        }
        self.sessions.remove(&conn);
        self.asked.retain(|_, (of, _)| *of != Some(conn));
        self.creates.retain(|_, create| create.conn != conn);
        self.handle(Event::Disconnected { conn: ConnId::new(conn) });
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a step")]
    fn create(
        &mut self,
        conn: u64,
        file: u8,
        key: u8,
        state: u8,
        epoch: u16,
        kind: CreateKind,
        version: bool,
    ) {
        if !self.sessions.contains_key(&conn) {
            return;
        }
        let file = FileKey::new(u128::from(file) % FILES);
        let key = LeaseKey::new([10 + key % 3; 16]);
        let state = LeaseState::from_bits_retain(u32::from(state % 16));
        let lease = if version {
            Lease::V2(LeaseV2 {
                key,
                state,
                flags: LeaseFlags::empty(),
                parent: None,
                epoch: Epoch::new(epoch),
            })
        } else {
            Lease::V1(LeaseV1 { key, state, flags: LeaseFlags::empty() })
        };
        let keyless = matches!(kind, CreateKind::Keyless | CreateKind::KeylessOverwrite);
        let understood = !version || self.conns[&conn] == Dialect::Smb311;
        let request = self.ask(Some(conn), Asked::Create);
        let (desired, disposition, options) = shape(kind);
        let exclusive = matches!(kind, CreateKind::Exclusive);
        let sharing = if exclusive { ShareMode::empty() } else { ShareMode::ALL };
        let origin = Origin::new(ConnId::new(conn), session_of(conn), TreeId::new(1));
        let create = Create::new(request, origin, file)
            .access(desired, sharing)
            .disposition(disposition, options)
            .caching(OplockLevel::Lease, (!keyless).then_some(lease));
        let name = (!keyless && understood).then_some((client_of(conn), key));
        let asked = name.map(|_| lease);
        let handle = Handle { conn, file, name, kind, asked, stage: Stage::Opening };
        self.creates.insert(request, handle);
        self.handle(Event::Create(create));
    }

    fn opened(&mut self, which: u8, fails: bool) {
        let opening: Vec<FileId> = self
            .handles
            .iter()
            .filter(|(_, handle)| handle.stage == Stage::Opening)
            .map(|(file_id, _)| *file_id)
            .collect();
        let Some(file_id) = pick(which, opening.len()).map(|at| opening[at]) else { return };
        let result = if fails {
            self.handles.remove(&file_id);
            Err(Status::from_wire(0xc000_0022))
        } else {
            let directory = self.handles[&file_id].file == DIRECTORY;
            let kind = if directory { ObjectKind::Directory } else { ObjectKind::File };
            Ok(Opened::new(CreateAction::Opened, kind, u64::MAX))
        };
        self.handle(Event::Opened { file_id, result });
    }

    fn operate(&mut self, conn: u64, which: u8, local: bool, intent: u8) {
        let intent = match intent % 4 {
            0 => Intent::Read { offset: 0, len: 1 },
            1 => Intent::Write { offset: 0, len: 1 },
            2 => Intent::Flush,
            _ => Intent::SetSize,
        };
        if local {
            let file = FileKey::new(u128::from(which) % FILES);
            let request = self.ask(None, Asked::Operate { file, own: None, intent });
            self.handle(Event::Operate { request, origin: None, file, actor: Actor::Other, intent });
            return;
        }
        let live: Vec<(FileId, FileKey, Option<Name>, u64)> = self
            .handles
            .iter()
            .filter(|(_, handle)| handle.stage == Stage::Open && self.sessions.contains_key(&handle.conn))
            .map(|(file_id, handle)| (*file_id, handle.file, handle.name, handle.conn))
            .collect();
        let Some(at) = pick(which, live.len()) else { return };
        let (file_id, file, own, owner) = live[at];
        // Now and then through a session that the open does not belong to.
        let through = if conn == 3 && self.sessions.contains_key(&3) { 3 } else { owner };
        let request = self.ask(Some(through), Asked::Operate { file, own, intent });
        let origin = Some(Origin::new(ConnId::new(through), session_of(through), TreeId::new(1)));
        self.handle(Event::Operate { request, origin, file, actor: Actor::Open(file_id), intent });
    }

    fn acknowledge(&mut self, which: u8, state: u8, exact: bool) {
        let Some(name) = pick_key(which, &self.beliefs) else { return };
        let Some(conn) = self.conns.keys().copied().find(|conn| client_of(*conn) == name.0) else { return };
        let belief = self.beliefs.get_mut(&name).unwrap();
        let chosen = LeaseState::from_bits_retain(u32::from(state % 8));
        let state = belief.pending.filter(|_| exact).map_or(chosen, |(to, _)| to);
        let expected = match belief.pending {
            None => Err(Status::UNSUCCESSFUL),
            Some((to, _)) if !to.contains(state) => Err(Status::REQUEST_NOT_ACCEPTED),
            Some(_) => {
                // A state without R cannot be held, MS-SMB2 3.3.1.4.
                let kept = if state.contains(LeaseState::READ) { state } else { LeaseState::NONE };
                belief.state = kept;
                belief.pending = None;
                Ok(kept)
            }
        };
        let request = self.ask(Some(conn), Asked::Ack(expected));
        let ack = LeaseAck { key: name.1, state };
        self.handle(Event::LeaseAck { request, conn: ConnId::new(conn), ack });
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        let now = self.now;
        for belief in self.beliefs.values_mut() {
            // MS-SMB2 3.3.6.5: nothing is left, whatever was asked for.
            if belief.pending.is_some_and(|(_, due)| due <= now) {
                belief.pending = None;
                belief.state = LeaseState::NONE;
            }
        }
        let mut actions = Vec::new();
        self.server.handle_timeout(Instant::from_millis(now), &mut actions);
        self.judge(actions);
    }

    /// Answers what is open, hangs up, lets every deadline pass, and finds nothing left.
    fn finish(&mut self) {
        for _ in 0..1_000 {
            let opening = self.handles.values().any(|handle| handle.stage == Stage::Opening);
            if !opening && self.running.is_empty() && self.conns.is_empty() && self.asked.is_empty() {
                break;
            }
            self.step(Step::Opened { which: 0, fails: false });
            self.step(Step::Done { which: 0 });
            for conn in 0..4 {
                self.step(Step::Disconnect { conn });
            }
            self.step(Step::Expire);
        }
        assert!(self.asked.is_empty(), "a request was never answered: {:?}", self.asked);
        assert!(self.server.idle(), "something is left: {:?}", self.server.snapshot());
        assert_eq!(self.server.poll_timeout(), None);
    }

    /// MS-SMB2 3.3.4.7: the next connection of the client, and if there is none, nothing is left of the lease.
    fn undeliverable(&mut self, id: BreakId, conn: ConnId, key: LeaseKey) {
        let client = client_of(conn.get());
        let mut others = self.conns.keys().filter(|other| client_of(**other) == client);
        let arrived = |conn: u64| self.arrivals.iter().position(|other| *other == conn);
        let tried = self.conns.contains_key(&conn.get()).then(|| arrived(conn.get())).flatten();
        if others.any(|other| tried.is_none() || arrived(*other) > tried) {
            return;
        }
        if let Some(belief) = self.beliefs.get_mut(&(client, key)).filter(|belief| belief.last == Some(id)) {
            if belief.pending.take().is_some() {
                belief.state = LeaseState::NONE;
            }
        }
    }

    fn ask(&mut self, conn: Option<u64>, asked: Asked) -> RequestId {
        self.next += 1;
        let request = RequestId::new(self.next);
        self.asked.insert(request, (conn, asked));
        request
    }

    fn handle(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.server
            .handle(Instant::from_millis(self.now), event, &mut actions)
            .expect("no contract is broken");
        self.judge(actions);
    }

    /// An open is gone, and with the last one of its lease what its client believes.
    fn forget(&mut self, id: FileId) {
        let Some(handle) = self.handles.remove(&id) else { return };
        let last =
            !self.handles.values().any(|other| other.stage == Stage::Open && other.name == handle.name);
        if let Some(name) = handle.name.filter(|_| last) {
            self.beliefs.remove(&name);
        }
    }
}

/// Judgement.
impl World {
    fn judge(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.log.push(action.clone());
            match action {
                Action::OpenFile { request, file_id } => {
                    let handle = match self.creates.get(&request) {
                        Some(handle) => handle.clone(),
                        None => panic!("{request:?} was not a CREATE, or its client is gone"),
                    };
                    self.coherent(handle.file, handle.name, taken_by_open(handle.kind), &action);
                    self.shared(&handle);
                    assert!(self.handles.insert(file_id, handle).is_none(), "a FileId was given twice");
                }
                Action::Unlink { file } => {
                    assert!(self.handles.values().all(|handle| handle.file != file), "a handle is left");
                }
                Action::Resolve { request } => {
                    self.answered(request);
                }
                Action::Interim { request } => {
                    assert!(self.asked.get(&request).is_some_and(|(conn, _)| conn.is_some()));
                }
                Action::Proceed { request, ticket } => match self.answered(request) {
                    Asked::Operate { file, own, intent } => {
                        self.coherent(file, own, taken_by(intent), &action);
                        self.running.push((ticket, file, own, intent));
                    }
                    other => panic!("{other:?} may not proceed"),
                },
                Action::Granted { request, grant } => {
                    assert!(matches!(self.answered(request), Asked::Create));
                    self.granted(grant.file_id, grant.level, grant.lease);
                }
                Action::Refused { request, status } => {
                    assert_ne!(status, Status::SUCCESS);
                    self.answered(request);
                }
                Action::Persist { .. } => panic!("there is no store"),
                Action::Recall { .. }
                | Action::Revoked { .. }
                | Action::Repeated { .. }
                | Action::Tested { .. } => {
                    panic!("nobody speaks anything but SMB: {action:?}")
                }
                Action::Closed { request } => assert!(matches!(self.answered(request), Asked::Other)),
                Action::Accepted { .. } | Action::SendOplockBreak { .. } | Action::AnswerOplockAck { .. } => {
                    panic!("nobody locks or has an oplock: {action:?}")
                }
                Action::SendLeaseBreak { id, conn, body, .. } => self.told(id, conn, body),
                Action::AnswerLeaseAck { request, result } => match self.answered(request) {
                    Asked::Ack(expected) => assert_eq!(result.map(|ack| ack.state), expected),
                    other => panic!("{other:?} was no acknowledgment"),
                },
                Action::CloseFile { file_id, link } => {
                    let file = self.handles[&file_id].file;
                    self.forget(file_id);
                    // The name goes with the last open, never before.
                    assert!(link == Link::Keep || self.handles.values().all(|other| other.file != file));
                }
            }
        }
    }

    fn answered(&mut self, request: RequestId) -> Asked {
        match self.asked.remove(&request) {
            Some((_, asked)) => asked,
            None => panic!("{request:?} is answered twice, or its client is gone"),
        }
    }

    /// Nothing runs while another holds a cache that it makes stale, or data that it needs (MS-SMB2 3.3.1.4).
    fn coherent(&self, file: FileKey, own: Option<Name>, takes: LeaseState, action: &Action) {
        for (name, belief) in &self.beliefs {
            if belief.file != file || Some(*name) == own {
                continue;
            }
            let told = belief.pending.map_or(belief.state, |(to, _)| to);
            assert!(!told.intersects(takes), "{action:?}: {name:?} was not told: {belief:?}");
            let dirty = belief.state.contains(LeaseState::WRITE);
            assert!(!dirty || takes.is_empty(), "{action:?}: {name:?} has not written back: {belief:?}");
        }
    }

    /// Nobody is let in beside an open that excludes him (MS-FSA 2.1.5.1.2.2).
    fn shared(&self, mine: &Handle) {
        let takes_part = |handle: &&Handle| !matches!(handle.kind, CreateKind::Stat);
        for other in self.handles.values().filter(|other| other.file == mine.file).filter(takes_part) {
            let alone = |handle: &Handle| matches!(handle.kind, CreateKind::Exclusive);
            assert!(!takes_part(&mine) || !(alone(mine) || alone(other)), "{mine:?} beside {other:?}");
        }
    }

    fn granted(&mut self, file_id: FileId, level: OplockLevel, lease: Option<Lease>) {
        let handle = self.handles.get_mut(&file_id).expect("an open that was reserved");
        handle.stage = Stage::Open;
        let Some(lease) = lease else {
            assert_eq!(level, OplockLevel::None);
            handle.name = None;
            return;
        };
        assert_eq!(level, OplockLevel::Lease);
        // A key that names another file, one that is about to go, joins no lease.
        let joined = |open: &OpenSnapshot| open.file_id == file_id && open.oplock == OplockLevel::Lease;
        if !self.server.snapshot().files.iter().any(|file| file.opens.iter().any(joined)) {
            handle.name = None;
            return assert_eq!(lease.state(), LeaseState::NONE, "no lease of two files");
        }
        let handle = handle.clone();
        let (name, asked) = (handle.name.expect("a lease was asked for"), handle.asked.unwrap());
        assert_eq!(lease.key(), name.1);
        let state = lease.state();
        assert!([0, 1, 3, 5, 7].contains(&state.bits()), "P1: {state}");
        let breaking = lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS);
        let before = self.beliefs.get(&name).map_or(LeaseState::NONE, |belief| belief.state);
        match self.beliefs.get_mut(&name) {
            Some(belief) => {
                assert_eq!(breaking, belief.pending.is_some(), "BREAK_IN_PROGRESS");
                assert!(state.contains(belief.state), "P4: a CREATE never lowers a lease");
                let raised = state != belief.state;
                // MS-SMB2 3.3.5.9.11: never W on a directory.
                let most = if handle.file == DIRECTORY { LeaseState::RH } else { LeaseState::RWH };
                assert!(!raised || (!breaking && state == asked.state().intersection(most)));
                let epoch = if raised { belief.epoch.next() } else { belief.epoch };
                assert_eq!(matches!(lease, Lease::V1(_)), belief.v1, "the version of the lease");
                assert!(belief.v1 || lease.epoch() == Some(epoch), "P7");
                (belief.state, belief.epoch) = (state, epoch);
            }
            None => {
                assert!(!breaking);
                assert!(asked.state().contains(state));
                let first = asked.epoch().unwrap_or_default();
                let epoch = if state.is_empty() { first } else { first.next() };
                let v1 = matches!(lease, Lease::V1(_));
                assert_eq!(v1, matches!(asked, Lease::V1(_)), "the version of the lease");
                assert!(v1 || lease.epoch() == Some(epoch), "P7");
                self.beliefs
                    .insert(name, Belief { file: handle.file, state, epoch, v1, pending: None, last: None });
            }
        }
        if state != before {
            self.fits(name, state, &handle);
        }
    }

    /// What was granted stands beside everything else (P2), and nothing runs that would have broken it.
    fn fits(&self, name: Name, state: LeaseState, mine: &Handle) {
        let foreign =
            self.handles.values().filter(|handle| handle.file == mine.file && handle.name != Some(name));
        for other in foreign {
            if state.contains(LeaseState::WRITE) {
                assert!(other.name.is_none() && matches!(other.kind, CreateKind::Stat), "P2: {other:?}");
            }
            if other.stage == Stage::Opening {
                assert!(!state.intersects(taken_by_open(other.kind)), "{state} beside {other:?}");
            }
        }
        for (_, file, own, intent) in &self.running {
            if *file == mine.file && *own != Some(name) {
                assert!(!state.intersects(taken_by(*intent)), "{state} beside a running {intent:?}");
            }
        }
        for (other, belief) in &self.beliefs {
            if belief.file == mine.file && *other != name && !state.is_empty() {
                assert!(!belief.state.contains(LeaseState::WRITE), "{state} beside {other:?} with W");
            }
        }
    }

    fn told(&mut self, id: BreakId, conn: ConnId, body: LeaseBreak) {
        assert!(self.conns.contains_key(&conn.get()), "a connection that is gone");
        let name = (client_of(conn.get()), body.key);
        if let Some((.., before)) = self.sent.iter().find(|(other, ..)| *other == id) {
            let belief = self.beliefs.get(&name);
            let over = belief.is_none_or(|belief| belief.pending.is_none() && belief.state.is_empty());
            // Given up before it was known that nobody had it: that nothing is left (MS-SMB2 3.3.6.5).
            let (current, new, flags) = (LeaseState::R, LeaseState::NONE, BreakFlags::empty());
            let belated = LeaseBreak { current, new, flags, ..*before };
            let expected = if over { belated } else { *before };
            assert_eq!(expected, body, "the same notification, sent again");
            self.sent.push((id, conn, body));
            // MS-SMB2 3.3.2.5: it has its full time from here.
            if let Some((_, due)) = self.beliefs.get_mut(&name).and_then(|belief| belief.pending.as_mut()) {
                *due = self.now + BREAK;
            }
            return;
        }
        self.sent.push((id, conn, body));
        let due = self.now + BREAK;
        let belief =
            self.beliefs.get_mut(&name).expect("a client hears of a lease before it hears of its break");
        assert_eq!(belief.pending, None, "P5: one notification at a time");
        assert_eq!(body.current, belief.state);
        assert!(body.current.contains(body.new) && body.current != body.new);
        assert!([0, 1, 3, 5].contains(&body.new.bits()));
        let ack = body.flags.contains(BreakFlags::ACK_REQUIRED);
        assert_eq!(ack, body.current.intersects(LeaseState::WRITE | LeaseState::HANDLE), "P6");
        belief.last = Some(id);
        belief.epoch = belief.epoch.next();
        assert_eq!(body.epoch, if belief.v1 { Epoch::ZERO } else { belief.epoch }, "P7, P8");
        if ack {
            belief.pending = Some((body.new, due));
        } else {
            belief.state = body.new;
        }
    }

    /// What holds between any two events.
    fn check(&self) {
        let snapshot = self.server.snapshot();
        assert_eq!(self.server.stats().anomalies, 0);
        let mut breaking = false;
        for file in &snapshot.files {
            for lease in &file.leases {
                let belief = &self.beliefs[&(lease.client, lease.key)];
                assert_eq!((belief.state, belief.file), (lease.state, file.key));
                assert_eq!(belief.pending.map(|(to, _)| to), lease.breaking.map(|(told, _)| told));
                if let Some((told, needed)) = lease.breaking {
                    assert!(
                        told.contains(needed) && lease.state.contains(told) && lease.state != told,
                        "P12"
                    );
                    breaking = true;
                }
            }
            // P10: what waits, waits for somebody on this file, and not for ever.
            let awaited = file.leases.iter().any(|lease| lease.breaking.is_some());
            assert!(file.waiting.is_empty() || awaited, "a waiter without a blocker: {file:?}");
        }
        let leases: usize = snapshot.files.iter().map(|file| file.leases.len()).sum();
        assert_eq!(leases, self.beliefs.len(), "every lease is known to its client");
        assert_eq!(
            self.server.poll_timeout().is_some(),
            breaking,
            "a deadline for every break, and for nothing else"
        );
    }
}

/// What an operation takes from the leases of others, MS-SMB2 3.3.1.4.
fn taken_by(intent: Intent) -> LeaseState {
    match intent {
        Intent::Write { .. } | Intent::SetSize => LeaseState::RW,
        _ => LeaseState::WRITE,
    }
}

fn taken_by_open(kind: CreateKind) -> LeaseState {
    match kind {
        CreateKind::Stat => LeaseState::NONE,
        CreateKind::Overwrite | CreateKind::KeylessOverwrite => LeaseState::RW,
        CreateKind::Plain | CreateKind::DeleteOnClose | CreateKind::Keyless | CreateKind::Exclusive => {
            LeaseState::WRITE
        }
    }
}

fn shape(kind: CreateKind) -> (Access, Disposition, CreateOptions) {
    let data = Access::READ_DATA | Access::WRITE_DATA;
    match kind {
        CreateKind::Plain | CreateKind::Keyless | CreateKind::Exclusive => {
            (data, Disposition::OpenIf, CreateOptions::empty())
        }
        CreateKind::Stat => (Access::READ_ATTRIBUTES, Disposition::Open, CreateOptions::empty()),
        CreateKind::Overwrite | CreateKind::KeylessOverwrite => {
            (data, Disposition::OverwriteIf, CreateOptions::empty())
        }
        CreateKind::DeleteOnClose => (Access::DELETE, Disposition::Open, CreateOptions::DELETE_ON_CLOSE),
    }
}

fn pick(which: u8, len: usize) -> Option<usize> {
    usize::from(which).checked_rem(len)
}

fn pick_key<K: Copy + Ord, V>(which: u8, map: &BTreeMap<K, V>) -> Option<K> {
    pick(which, map.len()).and_then(|at| map.keys().nth(at).copied())
}
