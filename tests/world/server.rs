//! The server machine with its driver: sessions, files, a store that is durable a little later.

mod duties;
mod requests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use leasehold::server::{Action, ChannelSequence, Config, Event, Outstanding, RouteSeed, Server};
use leasehold::{
    Access, ClientGuid, ConnId, FileKey, HashKey, Instant, Machine, RequestId, SessionId, Stats, UserId,
};

use super::World;
use super::disk::Disk;
use super::net::Ask;
use super::plan::{Plan, Scene};
use super::queue::What;

/// How long hosts of other protocols may have again what they had, in milliseconds.
const GRACE: u64 = 60_000;

const USER: UserId = UserId::new([1; 16]);

pub(super) struct ServerSide {
    /// `None` while it is down.
    pub machine: Option<Server>,
    pub life: u32,
    /// Until when what was had before may be had again.
    pub grace_until: u64,
    pub due: Option<u64>,
    /// Something was said to it since it was looked at.
    pub touched: bool,
    pub sessions: BTreeMap<SessionId, usize>,
    /// Clients whose session has ended since the server was looked at.
    pub ended: Vec<usize>,
    asked: BTreeMap<RequestId, Request>,
    pub opens: BTreeMap<u64, OpenInfo>,
    pub disk: Disk,
    /// By client and file: how far the epochs that a client sees are ahead.
    pub leaps: Vec<Vec<u16>>,
    hash_key: u8,
    requests: u64,
    made: u64,
    spare: Vec<Action>,
}

/// A request without an answer. Where its connection is gone, it may still be carried out.
#[derive(Debug)]
struct Request {
    conn: ConnId,
    client: usize,
    incarnation: u8,
    ask: Ask,
    answerable: bool,
    /// Of a WRITE: its open, and what goes back to its ChannelSequence.
    outstanding: Option<(u64, Outstanding)>,
    running: bool,
}

/// What the driver knows of an open.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenInfo {
    pub client: usize,
    pub incarnation: u8,
    pub file: usize,
    pub access: Access,
    sequence: ChannelSequence,
}

pub(super) fn key_of(file: usize) -> FileKey {
    FileKey::new(file as u128 + 1)
}

pub(super) fn file_of(key: FileKey) -> usize {
    key.get() as usize - 1
}

pub(super) fn guid_of(client: usize) -> ClientGuid {
    ClientGuid::from_wire([client as u8 + 1; 16])
}

pub(super) fn client_of(guid: ClientGuid) -> usize {
    usize::from(guid.to_wire()[0]) - 1
}

impl ServerSide {
    pub(super) fn new(plan: &Plan, hash_key: u8) -> Self {
        Self {
            machine: None,
            life: 0,
            grace_until: 0,
            due: None,
            touched: false,
            sessions: BTreeMap::new(),
            ended: Vec::new(),
            asked: BTreeMap::new(),
            opens: BTreeMap::new(),
            disk: Disk::new(plan.files, plan.pages),
            leaps: vec![vec![0; plan.files]; plan.clients],
            hash_key,
            requests: 0,
            made: 0,
            spare: Vec::new(),
        }
    }

    /// Whether it is up, and has not started anew.
    pub(super) fn lives(&self, life: u32) -> bool {
        self.machine.is_some() && self.life == life
    }

    pub(super) fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    pub(super) const fn hash_key(&self) -> u8 {
        self.hash_key
    }

    pub(super) fn stats(&self) -> Option<Stats> {
        self.machine.as_ref().map(Server::stats)
    }

    /// Requests whose senders wait for an answer.
    pub(super) fn unanswered(&self) -> usize {
        self.asked.values().filter(|request| request.answerable).count()
    }

    /// Forgets requests that nobody waits for.
    pub(super) fn sweep(&mut self) {
        self.asked.retain(|_, request| request.answerable);
    }
}

impl World {
    /// A life of the server begins, with what the store has.
    pub(super) fn start_server(&mut self) {
        let side = &mut self.server;
        side.life += 1;
        let hash_key = HashKey::new([side.hash_key; 16]);
        let persistence = self.plan.scene == Scene::Persistent;
        // Without a store: by the number of its life, above all that earlier ones gave out.
        let serial = if persistence { side.disk.serials } else { u64::from(side.life) << 20 };
        let mut config = Config::new(hash_key, RouteSeed::new([6; 16]), serial);
        config.persistence = persistence;
        if self.plan.reclaims && !self.plan.neighbours.is_empty() {
            config.reclaim_grace = Duration::from_millis(GRACE);
            side.grace_until = self.now + GRACE;
        }
        side.machine = Some(Server::new(config));
        side.touched = true;
        let records = &side.disk.records;
        side.opens.retain(|persistent, _| records.contains_key(persistent));
        if config.persistence {
            let mut records: Vec<_> = side.disk.records.values().cloned().collect();
            records.sort_by_key(|record| Reverse(record.written));
            for record in records {
                let elapsed = Duration::from_millis(500);
                self.tell_server(Event::Restore { record: Box::new(record), elapsed });
            }
            self.tell_server(Event::Recovered);
        }
        self.reclaim_beside();
    }

    pub(super) fn crash_server(&mut self) {
        let Some(machine) = self.server.machine.take() else { return };
        self.report.add_stats(&machine.stats());
        self.server.due = None;
        self.server.sessions.clear();
        self.server.asked.clear();
        self.server.disk.crash(&mut self.random);
        self.check_promises();
        let conns: Vec<_> = self.net.conns.keys().copied().collect();
        for id in conns {
            let Some(conn) = self.net.conns.get_mut(&id) else { continue };
            (conn.at_server, conn.known, conn.session) = (false, false, None);
            conn.up.clear();
            let down = conn.down.len();
            let down = self.random.index(down + 1);
            self.break_off(id, 0, down);
            self.never_delivered(id);
            self.tidy(id);
        }
        self.checker.server_gone();
        self.server_gone_beside();
        let pause = self.random.pick(&[10, 500, 5_000, 40_000]);
        let at = self.now + self.random.below(pause);
        self.queue.push(at, What::ServerStarts);
    }

    pub(super) fn tell_server(&mut self, event: Event) {
        let now = Instant::from_millis(self.now);
        let Some(machine) = self.server.machine.as_mut() else { return };
        let mut actions = mem::take(&mut self.server.spare);
        let told = self.history.is_some().then(|| format!("    > server {event:?}"));
        let result = machine.handle(now, event, &mut actions);
        if let Some(told) = told {
            self.note(|| told);
        }
        if let Err(misuse) = result {
            self.violate("a driver that keeps the contract misuses nothing", || format!("server: {misuse}"));
        }
        self.after_server(actions);
    }

    pub(super) fn server_time_passes(&mut self) {
        let now = Instant::from_millis(self.now);
        let Some(machine) = self.server.machine.as_mut() else { return };
        let mut actions = mem::take(&mut self.server.spare);
        machine.handle_timeout(now, &mut actions);
        let at = self.now;
        self.note(|| format!("@{at} time passes for the server"));
        self.after_server(actions);
    }

    fn after_server(&mut self, mut actions: Vec<Action>) {
        let due = self.server.machine.as_ref().and_then(Server::poll_timeout);
        self.server.due = due.map(Instant::as_millis);
        self.server.touched = true;
        for action in actions.drain(..) {
            self.witness("server", &action);
            self.perform_server(action);
        }
        self.server.spare = actions;
    }
}

fn release(opens: &mut BTreeMap<u64, OpenInfo>, outstanding: Option<(u64, Outstanding)>) {
    let Some((open, outstanding)) = outstanding else { return };
    if let Some(open) = opens.get_mut(&open) {
        open.sequence.answered(outstanding);
    }
}
