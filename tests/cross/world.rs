//! The machine beside the model: each step is told to both, and what they say and hold is compared.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::server::{
    Action, Capabilities, Config, Create, DelegationKind, Event, Lock, LockElement, LockFlags, ObjectKind,
    Opened, Origin, OwnerLock, Reservation, RouteSeed, Server, SessionEnd, Terms, Ticket,
};
use leasehold::wire::{Lease, LeaseAck, LeaseFlags, LeaseV1};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, FileId, FileKey,
    HashKey, Instant, Intent, LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId, ShareMode,
    Status, TreeId,
};

use super::model::*;
use super::steps::{CLIENTS, FILES, LONG, Step};

/// Allocation size of every file: all locks begin below it.
const ALLOCATION: u64 = 64;

/// How many ways through a step are looked at.
const WAYS: usize = 200;

/// Runs the history that the octets spell.
pub fn history(octets: &[u8]) {
    let mut chunks = octets.chunks(LONG).map(|chunk| {
        let mut octets = [0; LONG];
        octets[..chunk.len()].copy_from_slice(chunk);
        octets
    });
    let mut world = World::new(super::steps::rules(chunks.next().unwrap_or_default()));
    chunks.for_each(|octets| world.step(Step::new(octets)));
    world.end();
}

#[derive(Clone, Debug)]
pub struct World {
    pub server: Server,
    pub model: Model,
    requests: u64,
    /// The connection of each client, of as many as there were.
    conns: BTreeMap<u8, u64>,
    arrived: u64,
    pub ids: BTreeMap<RequestId, FileId>,
    tickets: BTreeMap<RequestId, Ticket>,
    /// If it is only a look at what the machine will do: whether the model does so too, as far as it has a choice.
    fits: Option<bool>,
    /// Requests that were refused because of circles.
    pub deadlocks: Vec<RequestId>,
}

pub fn key(file: u8) -> FileKey {
    FileKey::new(u128::from(file) + 1)
}

pub fn lease_key(key: Key) -> LeaseKey {
    LeaseKey::new([key.1 + 1; 16])
}

fn guid(client: u8) -> ClientGuid {
    ClientGuid::from_wire([client + 1; 16])
}

fn origin(conn: u64) -> Origin {
    Origin::new(ConnId::new(conn), SessionId::new(conn), TreeId::new(1))
}

pub fn kind(write: bool) -> DelegationKind {
    if write { DelegationKind::Write } else { DelegationKind::Read }
}

pub fn access(claim: &Claim) -> Access {
    let mut access = Access::empty();
    access.set(Access::READ_DATA, claim.reads);
    access.set(Access::WRITE_DATA, claim.writes);
    if access.is_empty() { Access::READ_ATTRIBUTES } else { access }
}

pub fn sharing(claim: &Claim) -> ShareMode {
    let mut sharing = ShareMode::DELETE;
    sharing.set(ShareMode::READ, claim.share_read);
    sharing.set(ShareMode::WRITE, claim.share_write);
    sharing
}

fn pick<T: Clone>(all: &[T], nth: u8) -> Option<T> {
    if all.is_empty() { None } else { Some(all[usize::from(nth) % all.len()].clone()) }
}

impl World {
    pub fn new(rules: Rules) -> Self {
        let mut config = Config::new(HashKey::new([3; 16]), RouteSeed::new([4; 16]), 1);
        config.profile = rules.profile;
        config.reclaim_grace = rules.grace;
        let mut world = Self {
            server: Server::new(config),
            model: Model::new(rules),
            requests: 0,
            conns: BTreeMap::new(),
            arrived: 0,
            ids: BTreeMap::new(),
            tickets: BTreeMap::new(),
            fits: None,
            deadlocks: Vec::new(),
        };
        // The time of grace counts from here.
        world.server.handle_timeout(Instant::ZERO, &mut Vec::new());
        (0..CLIENTS).for_each(|client| world.connect(client));
        world
    }

    fn connect(&mut self, client: u8) {
        self.arrived += 1;
        let conn = ConnId::new(self.arrived);
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        self.tell(Event::Connected { conn, client: guid(client), terms });
        self.tell(Event::SessionBound { conn, session: SessionId::new(self.arrived) });
        self.conns.insert(client, self.arrived);
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.model.now)
    }

    /// Tells the machine, after the model, and compares.
    fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.server.handle(self.now(), event, &mut actions).unwrap();
        self.compare(&actions);
    }

    fn compare(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::OpenFile { request, file_id } => drop(self.ids.insert(*request, *file_id)),
                Action::Proceed { request, ticket } => drop(self.tickets.insert(*request, *ticket)),
                Action::Refused { request, status: Status::POSSIBLE_DEADLOCK } => {
                    self.model.choices.refused.insert(*request);
                    self.deadlocks.push(*request);
                }
                _ => {}
            }
        }
        let expected = std::mem::take(&mut self.model.said);
        match self.fits {
            Some(fits) => self.fits = Some(fits && self.agrees(&expected, actions)),
            None => {
                self.said(&expected, actions);
                self.held();
            }
        }
    }

    /// The client of a connection that is there.
    pub fn client(&self, conn: u64) -> u8 {
        *self.conns.iter().find(|(_, other)| **other == conn).unwrap().0
    }

    fn live(&self) -> Vec<Open> {
        self.model.opens.iter().filter(|open| open.phase == Phase::Live).cloned().collect()
    }

    pub fn step(&mut self, step: Step) {
        if self.model.waiters.len() > 1 {
            self.model.choices = self.way(step);
        }
        self.play(step);
        self.model.choices = Choices::default();
    }

    /// The way that the machine goes in a step, if the model has that one: else its own.
    fn way(&self, step: Step) -> Choices {
        let mut peek = self.clone();
        peek.fits = Some(true);
        peek.play(step);
        if peek.fits == Some(true) {
            return peek.model.choices.again();
        }
        let left = (0..FILES).flat_map(|file| peek.waits(file)).map(|wait| (wait.request, wait.on)).collect();
        let mut way = Choices::like(peek.model.choices.refused, left);
        for _ in 0..WAYS {
            let mut peek = self.clone();
            (peek.fits, peek.model.choices) = (Some(true), way);
            peek.play(step);
            if peek.fits == Some(true) {
                return peek.model.choices.again();
            }
            let Some(next) = peek.model.choices.another() else { break };
            way = next;
        }
        Choices::default()
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Create { client, file, claim, lease } => self.create(client, file, claim, lease),
            Step::Opened { nth, opens } => {
                let opening: Vec<RequestId> = self
                    .model
                    .opens
                    .iter()
                    .filter(|open| open.phase != Phase::Live)
                    .map(|open| open.name)
                    .collect();
                if let Some(name) = pick(&opening, nth) {
                    self.opened(name, opens);
                }
            }
            Step::Close { nth } => {
                let Some(open) = pick(&self.live(), nth) else { return };
                let request = self.request();
                self.model.close_by_client(request, open.name);
                let (session, file_id) = (SessionId::new(open.conn), self.ids[&open.name]);
                self.tell(Event::Close { request, session, file_id });
            }
            Step::Lock { nth, offset, len, exclusive, waits } => {
                let Some(open) = pick(&self.live(), nth) else { return };
                let request = self.request();
                self.model.lock(request, open.name, Span::new(offset, len), exclusive, waits);
                let mut flags = if exclusive { LockFlags::EXCLUSIVE } else { LockFlags::SHARED };
                flags.set(LockFlags::FAIL_IMMEDIATELY, !waits);
                self.smb_lock(request, &open, LockElement { offset, len, flags });
            }
            Step::Unlock { nth, lock, any } => {
                let locked: Vec<Open> =
                    self.live().into_iter().filter(|open| any.is_some() || !open.locks.is_empty()).collect();
                let Some(open) = pick(&locked, nth) else { return };
                let (offset, len) = match any {
                    Some(any) => any,
                    None => {
                        let (span, _) = pick(&open.locks, lock).unwrap();
                        (span.from as u64, (span.to - span.from) as u64)
                    }
                };
                let request = self.request();
                self.model.unlock(request, open.name, Span::new(offset, len));
                self.smb_lock(request, &open, LockElement { offset, len, flags: LockFlags::UNLOCK });
            }
            Step::OwnerLock { owner, file, offset, len, exclusive, waits, reclaims } => {
                let request = self.request();
                let span = Span::new(offset, len);
                self.model.owner_lock(request, owner, file, (span, exclusive), waits, reclaims);
                let mut lock = OwnerLock::new(request, owner, key(file), exclusive).range(offset, len);
                (lock.waits, lock.reclaims) = (waits, reclaims);
                self.tell(Event::OwnerLock(lock));
            }
            Step::OwnerUnlock { owner, file, offset, len } => {
                let request = self.request();
                self.model.owner_unlock(request, owner, file, Span::new(offset, len));
                self.tell(Event::OwnerUnlock { request, owner, file: key(file), offset, len });
            }
            Step::Test { owner, file, offset, len, exclusive } => {
                let request = self.request();
                self.model.test(request, owner, file, Span::new(offset, len), exclusive);
                let lock = OwnerLock::new(request, owner, key(file), exclusive).range(offset, len);
                self.tell(Event::TestLock(lock));
            }
            Step::Reserve { owner, file, claim, reclaims } => {
                let request = self.request();
                self.model.reserve(request, owner, file, claim, reclaims);
                let mut reserved =
                    Reservation::new(request, owner, key(file), access(&claim)).sharing(sharing(&claim));
                (reserved.overwrites, reserved.reclaims) = (claim.overwrites, reclaims);
                self.tell(Event::Reserve(reserved));
            }
            Step::Unreserve { owner, file } => {
                self.model.unreserve(owner, file);
                self.tell(Event::Unreserve { owner, file: key(file) });
            }
            Step::Delegate { owner, nth, write, reclaims } => {
                let open: Vec<_> =
                    self.model.reserved.iter().map(|(owner, file, _)| (*owner, *file)).collect();
                let (owner, file) = pick(&open, nth).unwrap_or((owner, 0));
                let request = self.request();
                self.model.delegate(request, owner, file, kind(write), reclaims);
                let (file, kind) = (key(file), kind(write));
                self.tell(Event::Delegate { request, owner, file, kind, reclaims });
            }
            Step::Returned { nth, any } => {
                let all: Vec<_> =
                    self.model.delegations.iter().map(|other| (other.owner, other.file)).collect();
                let Some((owner, file)) = any.or(pick(&all, nth)) else { return };
                self.model.returned(owner, file);
                self.tell(Event::Returned { owner, file: key(file) });
            }
            Step::OwnerOperates { owner, file, what, offset, len } => {
                let by = By { owner: Some(owner), ..By::default() };
                self.operate(None, file, by, Actor::Owner(owner), (what, offset, len));
            }
            Step::OpenOperates { nth, what, offset, len } => {
                let Some(open) = pick(&self.live(), nth) else { return };
                let by = By { open: Some(open.name), key: open.key, owner: None };
                let actor = Actor::Open(self.ids[&open.name]);
                self.operate(Some(open.conn), open.file, by, actor, (what, offset, len));
            }
            Step::Done { nth, fails } => {
                let running: Vec<RequestId> = self.model.running.iter().map(|run| run.request).collect();
                let Some(request) = pick(&running, nth) else { return };
                self.model.done(request, fails);
                let (ticket, failed) = (self.tickets[&request], Err(Status::ACCESS_DENIED));
                self.tell(Event::Done { ticket, result: if fails { failed } else { Ok(()) } });
            }
            Step::Acknowledge { nth, state } => {
                let told = |lease: &Lease_| lease.breaking.as_ref().map_or(0, |breaking| breaking.told);
                let mut leases = self.model.leases.clone();
                leases.sort_by_key(|lease| lease.breaking.is_none());
                let breaking = leases.iter().filter(|lease| lease.breaking.is_some()).count();
                leases.truncate(if breaking == 0 { 1 } else { breaking });
                let Some(lease) = pick(&leases, nth) else { return };
                let Some(conn) = self.conns.get(&lease.key.0).copied() else { return };
                let (request, state) = (self.request(), state.unwrap_or(told(&lease)));
                self.model.acknowledge(request, lease.file, lease.key, state);
                let ack = LeaseAck { key: lease_key(lease.key), state: LeaseState::from_bits_retain(state) };
                self.tell(Event::LeaseAck { request, conn: ConnId::new(conn), ack });
            }
            Step::Cancel { nth } => {
                let waiting: Vec<_> = self.model.waiters.iter().map(|waiter| waiter.request).collect();
                let Some(request) = pick(&waiting, nth) else { return };
                self.model.cancel(request);
                self.tell(Event::Cancel { request });
            }
            Step::OwnerGone { owner } => {
                self.model.owners_gone(|other| other == owner);
                self.tell(Event::OwnerGone { owner });
            }
            Step::HostGone { owner } => {
                self.model.owners_gone(|other| same_host(other, owner));
                self.tell(Event::HostGone { protocol: owner.protocol, host: owner.host });
            }
            Step::Leave { client, answered } => {
                let conn = self.conns[&client];
                self.model.leave(conn, answered);
                if answered {
                    let (session, end) = (SessionId::new(conn), SessionEnd::LoggedOff);
                    self.tell(Event::SessionEnded { session, end });
                }
                self.tell(Event::Disconnected { conn: ConnId::new(conn) });
                self.connect(client);
            }
            Step::Time { due, millis } => {
                let until = match self.model.due() {
                    // At most half a second on either side.
                    Some(next) if due => (next + millis % 1000).saturating_sub(500).max(self.model.now),
                    _ => self.model.now + millis,
                };
                self.pass(until);
            }
            Step::GraceOver => {
                self.model.reclaiming = false;
                self.tell(Event::GraceOver);
            }
        }
    }

    fn create(&mut self, client: u8, file: u8, claim: Claim, lease: Option<(u8, State)>) {
        if self.live().len() >= 8 {
            return;
        }
        let (request, conn) = (self.request(), self.conns[&client]);
        // A key names one file.
        let named = lease.map(|(number, asked)| ((client, file * 2 + number), asked));
        self.model.create(Open {
            name: request,
            conn,
            file,
            claim,
            key: named.map(|(key, _)| key),
            asked: named.map_or(0, |(_, asked)| asked),
            phase: Phase::Opening,
            locks: Vec::new(),
        });
        let disposition = if claim.overwrites { Disposition::Overwrite } else { Disposition::Open };
        let mut create = Create::new(request, origin(conn), key(file))
            .access(access(&claim), sharing(&claim))
            .disposition(disposition, CreateOptions::empty());
        if let Some((key, asked)) = named {
            let (state, flags) = (LeaseState::from_bits_retain(asked), LeaseFlags::empty());
            let lease = Lease::V1(LeaseV1 { key: lease_key(key), state, flags });
            create = create.caching(OplockLevel::Lease, Some(lease));
        }
        self.tell(Event::Create(create));
    }

    fn opened(&mut self, name: RequestId, opens: bool) {
        let overwrites = self.model.open(name).unwrap().claim.overwrites;
        self.model.opened(name, opens);
        let action = if overwrites { CreateAction::Overwritten } else { CreateAction::Opened };
        let opened = Opened::new(action, ObjectKind::File, ALLOCATION);
        let result = if opens { Ok(opened) } else { Err(Status::ACCESS_DENIED) };
        self.tell(Event::Opened { file_id: self.ids[&name], result });
    }

    fn smb_lock(&mut self, request: RequestId, open: &Open, element: LockElement) {
        let file_id = self.ids[&open.name];
        self.tell(Event::Lock(Lock::new(request, origin(open.conn), file_id, ALLOCATION, vec![element])));
    }

    fn operate(
        &mut self,
        conn: Option<u64>,
        file: u8,
        by: By,
        actor: Actor,
        (what, offset, len): (u8, u64, u64),
    ) {
        let span = Span::new(offset, len);
        let (deed, intent) = match what % 12 {
            0..3 => (Deed::Read(span), Intent::Read { offset, len }),
            3..6 => (Deed::Write(span), Intent::Write { offset, len }),
            6 => (Deed::Flush, Intent::Flush),
            7 => (Deed::SetSize, Intent::SetSize),
            8 => (Deed::SetAttributes, Intent::SetAttributes),
            // That of an open sends others to look where their names lead now, which is another story.
            9 if conn.is_none() => (Deed::Rename, Intent::Rename { to: None }),
            9 => (Deed::Flush, Intent::Flush),
            10 => (Deed::Link, Intent::Link { to: None }),
            _ if conn.is_none() => (Deed::Unlink, Intent::Unlink),
            _ => (Deed::SetSecurity, Intent::SetSecurity),
        };
        let request = self.request();
        self.model.operate(request, conn, file, by, deed);
        self.tell(Event::Operate { request, origin: conn.map(origin), file: key(file), actor, intent });
    }

    fn pass(&mut self, until: u64) {
        self.model.expire(until);
        let (now, mut actions) = (self.now(), Vec::new());
        // Once at least: it may be early.
        self.server.handle_timeout(now, &mut actions);
        while self.server.poll_timeout().is_some_and(|due| due <= now) {
            self.server.handle_timeout(now, &mut actions);
        }
        self.compare(&actions);
    }

    /// Everything is let go: then nothing is left, and nobody has waited for ever.
    pub fn end(&mut self) {
        for running in self.model.running.clone() {
            self.model.done(running.request, false);
            let ticket = self.tickets[&running.request];
            self.tell(Event::Done { ticket, result: Ok(()) });
        }
        for owner in super::steps::OWNERS {
            self.step(Step::OwnerGone { owner });
        }
        for client in 0..CLIENTS {
            self.step(Step::Leave { client, answered: false });
            // Nothing is left to the connection that came in its place.
            self.tell(Event::Disconnected { conn: ConnId::new(self.conns[&client]) });
        }
        self.pass(self.model.now + Duration::from_secs(1_000).as_millis() as u64);
        let abandoned: Vec<RequestId> = self.model.opens.iter().map(|open| open.name).collect();
        abandoned.into_iter().for_each(|name| self.opened(name, true));
        for running in self.model.running.clone() {
            self.model.done(running.request, false);
            let ticket = self.tickets[&running.request];
            self.tell(Event::Done { ticket, result: Ok(()) });
        }
        assert!(self.server.idle(), "{:?}", self.server.snapshot());
        assert_eq!(self.server.stats().anomalies, 0);
    }
}

type Lease_ = super::model::Lease;
