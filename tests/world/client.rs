//! A client machine with its driver: connections, opens, and what a cache is told.

mod duties;
mod links;

use std::collections::BTreeMap;
use std::mem;

use leasehold::client::{AckId, Action, Client, ClientConfig, Event, FileRef, OpenRef};
use leasehold::{ConnId, FileId, HashKey, Instant, LeaseKey, Machine, OplockLevel, RequestId, SessionId};

use super::cache::CachedFile;
use super::memory::Memory;
use super::plan::Plan;
use super::queue::What;
use super::{Wanted, World};

pub(super) struct ClientSide {
    pub machine: Client,
    /// Another one after each crash that takes all it had.
    pub incarnation: u8,
    /// Another one after each crash, and each start.
    pub life: u32,
    pub alive: bool,
    /// Not silent.
    pub speaks: bool,
    pub silent_until: u64,
    pub rests_until: u64,
    pub due: Option<u64>,
    /// Those that carry the session, the oldest first.
    pub conns: Vec<ConnId>,
    dialing: Vec<ConnId>,
    pub session: Option<SessionId>,
    names_previous: bool,
    /// A session was not named by the next one, and some opens have not been back since.
    pub unnamed: bool,
    /// The lease key of each name: the last one that a CREATE had.
    pub keys: Vec<Option<LeaseKey>>,
    pub files: Vec<CachedFile>,
    pub opens: BTreeMap<OpenRef, Handle>,
    /// Requests of the application without an answer.
    pub openings: BTreeMap<RequestId, Wanted>,
    pub ops: BTreeMap<u64, Op>,
    /// Acknowledgments without an answer, each with its connection and file: whoever has missed a deadline hears of it by that.
    pub acks: BTreeMap<AckId, (ConnId, usize)>,
    pub serial: u64,
    pub memory: Memory,
    /// What the cache has answered while actions were carried out.
    inbox: Vec<Event>,
    /// It does not come back any more.
    pub retired: bool,
    spare: Vec<Action>,
}

/// An open, from its CREATE on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle {
    pub request: RequestId,
    pub wanted: Wanted,
    pub file_id: Option<FileId>,
    pub level: OplockLevel,
    /// The application uses it.
    pub used: bool,
    pub away: bool,
    pub closing: bool,
    pub persistent: bool,
}

impl Handle {
    /// Whether a request can go through it now.
    pub(super) fn usable(&self) -> Option<FileId> {
        self.file_id.filter(|_| !self.away && !self.closing)
    }
}

/// A request of the cache or of the application that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub conn: ConnId,
    pub open: OpenRef,
    pub file: usize,
    pub kind: OpKind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum OpKind {
    /// `fills`: the generation of the cache that the answer may fill.
    Read {
        page: usize,
        begun: u64,
        fills: Option<u64>,
    },
    Write {
        page: usize,
        value: u64,
    },
    WriteBack {
        page: usize,
        value: u64,
    },
    Sync,
}

/// The incarnation of what no client knows of any more.
pub(super) const GHOST: u8 = u8::MAX;

/// What a lease key of this world says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseName {
    pub client: usize,
    pub incarnation: u8,
    pub file: usize,
}

impl LeaseName {
    pub(super) fn key(self, serial: u64) -> LeaseKey {
        let mut octets = [0x4c; 16];
        octets[0] = self.client as u8;
        octets[1] = self.incarnation;
        octets[2] = self.file as u8;
        octets[8..].copy_from_slice(&serial.to_le_bytes());
        LeaseKey::new(octets)
    }

    pub(super) fn of(key: LeaseKey) -> Self {
        let [client, incarnation, file, ..] = key.octets();
        Self { client: client.into(), incarnation, file: file.into() }
    }
}

pub(super) fn name_of(file: usize) -> FileRef {
    FileRef::new(file as u64)
}

impl ClientSide {
    pub(super) fn new(plan: &Plan, hash_key: u8) -> Self {
        let mut config = ClientConfig::new(HashKey::new([hash_key.wrapping_add(1); 16]));
        (config.kept, config.kept_per_file) = plan.kept;
        config.persistence = plan.records;
        Self {
            machine: Client::new(config),
            incarnation: 0,
            life: 0,
            alive: false,
            speaks: true,
            silent_until: 0,
            rests_until: 0,
            due: None,
            conns: Vec::new(),
            dialing: Vec::new(),
            session: None,
            names_previous: true,
            unnamed: false,
            keys: vec![None; plan.files],
            files: (0..plan.files).map(|_| CachedFile::new(plan.pages)).collect(),
            opens: BTreeMap::new(),
            openings: BTreeMap::new(),
            ops: BTreeMap::new(),
            acks: BTreeMap::new(),
            serial: 0,
            memory: Memory::default(),
            inbox: Vec::new(),
            retired: false,
            spare: Vec::new(),
        }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Through what a page can be written: best by the handle that may hold the write oplock.
    pub(super) fn writer(&self, file: usize) -> Option<(OpenRef, FileId)> {
        let opens = self.opens.iter().filter(|(_, open)| open.wanted.file == file && open.wanted.writes());
        let usable = opens.filter_map(|(id, open)| Some((open, (*id, open.usable()?))));
        let holds = |open: &Handle| matches!(open.level, OplockLevel::Batch | OplockLevel::Exclusive);
        usable.max_by_key(|(open, _)| holds(open)).map(|(_, found)| found)
    }
}

impl World {
    pub(super) fn start_client(&mut self, client: usize) {
        let hash_key = self.server.hash_key();
        let side = &mut self.clients[client];
        let (incarnation, serial) = (side.incarnation, side.serial);
        let (life, memory) = (side.life + 1, mem::take(&mut side.memory));
        let (files, session) = (mem::take(&mut side.files), side.session);
        *side = ClientSide::new(&self.plan, hash_key);
        (side.incarnation, side.serial, side.alive) = (incarnation, serial, true);
        (side.life, side.memory) = (life, memory);
        if self.plan.records {
            // It may have noted its session as well.
            side.session = session.filter(|_| life % 2 == 0);
            side.files = files;
            self.restore_client(client);
        }
        self.queue.push(self.now, What::Connect { client, life });
        self.queue.push(self.now + 1, What::App { client, life });
    }

    pub(super) fn crash_client(&mut self, client: usize) {
        let side = &mut self.clients[client];
        (side.alive, side.speaks, side.due) = (false, true, None);
        side.acks.clear();
        let conns: Vec<_> = side.conns.drain(..).chain(side.dialing.drain(..)).collect();
        side.life += 1;
        for conn in conns {
            self.leave(conn);
        }
        self.checker.trouble(client, self.now);
        if self.plan.records {
            self.remember(client);
        } else {
            let side = &mut self.clients[client];
            side.incarnation = (side.incarnation + 1) % GHOST;
            side.files.fill(CachedFile::new(self.plan.pages));
            self.checker.client_gone(client);
        }
        let pause = self.random.pick(&[10, 1_000, 50_000]);
        let at = self.now + self.random.below(pause);
        self.queue.push(at, What::ClientStarts { client });
    }

    pub(super) fn tell_client(&mut self, client: usize, event: Event) {
        let now = Instant::from_millis(self.now);
        let mut next = Some(event);
        while let Some(event) = next {
            let side = &mut self.clients[client];
            let mut actions = mem::take(&mut side.spare);
            let result = side.machine.handle(now, event, &mut actions);
            self.note(|| format!("    > client {client} {event:?}"));
            if let Err(misuse) = result {
                let what = || format!("client {client}: {misuse}: {event:?}");
                self.violate("a driver that keeps the contract misuses nothing", what);
            }
            self.after_client(client, actions);
            let side = &mut self.clients[client];
            next = if side.inbox.is_empty() { None } else { Some(side.inbox.remove(0)) };
        }
    }

    pub(super) fn client_time_passes(&mut self, client: usize) {
        let at = self.now;
        self.note(|| format!("@{at} time passes for client {client}"));
        let side = &mut self.clients[client];
        let mut actions = mem::take(&mut side.spare);
        side.machine.handle_timeout(Instant::from_millis(at), &mut actions);
        self.after_client(client, actions);
        let side = &mut self.clients[client];
        for event in mem::take(&mut side.inbox) {
            self.tell_client(client, event);
        }
    }

    fn after_client(&mut self, client: usize, mut actions: Vec<Action>) {
        let side = &mut self.clients[client];
        side.due = side.machine.poll_timeout().map(Instant::as_millis);
        for action in actions.drain(..) {
            self.witness(["client 0", "client 1", "client 2", "client 3"][client.min(3)], &action);
            self.perform_client(client, action);
        }
        self.clients[client].spare = actions;
    }

    /// Answers the machine when the actions of this call are carried out.
    pub(super) fn later(&mut self, client: usize, event: Event) {
        self.clients[client].inbox.push(event);
    }
}
