//! The machine beside the model: each step is told to both, and what they say and hold is compared.

use std::collections::BTreeMap;

use leasehold::server::{
    Action, Capabilities, Config, DelegationKind, Event, Origin, RouteSeed, Server, Terms, Ticket,
};
use leasehold::{
    Access, ClientGuid, ConnId, Dialect, FileId, FileKey, HashKey, Instant, LeaseKey, Machine, RequestId,
    SessionId, ShareMode, Status, TreeId,
};

use super::choices::Choices;
use super::model::*;
use super::steps::{CLIENTS, FILES, LONG, Step};

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
    pub(super) conns: BTreeMap<u8, u64>,
    arrived: u64,
    pub ids: BTreeMap<RequestId, FileId>,
    pub(super) tickets: BTreeMap<RequestId, Ticket>,
    /// If it is only a look at what the machine will do: whether the model does so too, as far as it has a choice.
    pub(super) fits: Option<bool>,
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

pub(super) fn origin(conn: u64) -> Origin {
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

    pub(super) fn connect(&mut self, client: u8) {
        self.arrived += 1;
        let conn = ConnId::new(self.arrived);
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        self.tell(Event::Connected { conn, client: guid(client), terms });
        self.tell(Event::SessionBound { conn, session: SessionId::new(self.arrived) });
        self.conns.insert(client, self.arrived);
    }

    pub(super) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    pub(super) fn now(&self) -> Instant {
        Instant::from_millis(self.model.now)
    }

    /// Tells the machine, after the model, and compares.
    pub(super) fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.server.handle(self.now(), event, &mut actions).unwrap();
        self.compare(&actions);
    }

    pub(super) fn compare(&mut self, actions: &[Action]) {
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

    pub(super) fn live(&self) -> Vec<Open> {
        self.model.opens.iter().filter(|open| open.phase == Phase::Live).cloned().collect()
    }

    pub fn step(&mut self, step: Step) {
        if !self.model.waiters.is_empty() {
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
        self.step(Step::Time { due: false, millis: 1_000_000 });
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
