//! A registry and some shards whose messages take their time, and a driver with clients who see only what has arrived.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leasehold::server::{
    Action, BreakId, Create, Event, LeaseIdentity, Link, Lock, Opened, Origin, Profile, RegistryAction,
    RegistryEvent, Shard, ShardAction, Snapshot, Ticket, ToShard,
};
use leasehold::wire::{BreakFlags, Lease, LeaseAck, LeaseFlags, LeaseV1, OplockBreak};
use leasehold::{
    Actor, ClientGuid, ConnId, FileId, FileKey, Instant, Intent, LeaseState, Machine, OplockLevel, RequestId,
    SessionId, Status, TreeId,
};

use crate::check::{self, Breaks};
use crate::cluster::Cluster;
use crate::model::Key;
use crate::model::harness::{About, Notification};
use crate::model::steps::{Disk, FILES, SLOTS, Step, Wish, lease_key, nth_of, terms_of};
use crate::model::world::config_of;

/// How the registry takes what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbox {
    /// From everybody in the order in which it was sent, as the machines demand.
    One,
    /// From each shard and from the driver in order. When a key is free is then anybody's guess, and nothing else.
    Many,
}

/// A place at which a client may be.
#[derive(Clone, Debug, Default)]
struct Slot {
    conn: Option<ConnId>,
    session: Option<SessionId>,
}

/// A request that has no final answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// On which connection; `None` for one of the server itself.
    conn: Option<ConnId>,
    pending: bool,
    opened: bool,
}

/// The machines, what is under way between them, and the driver.
#[derive(Debug)]
pub(crate) struct Late {
    cluster: Cluster,
    inbox: Inbox,
    identity: LeaseIdentity,
    now: Instant,
    /// From the driver, and from each shard; only the first is used if there is one inbox.
    to_registry: Vec<VecDeque<RegistryEvent>>,
    to_shards: Vec<VecDeque<ToShard>>,
    /// What each shard has said, messages and actions alike.
    from_shards: Vec<VecDeque<ShardAction>>,
    breaks: Breaks,
    slots: Vec<Slot>,
    clients: BTreeMap<ConnId, ClientGuid>,
    next: u64,
    disk: Disk,
    creates: BTreeMap<RequestId, Create>,
    opens: BTreeMap<FileId, RequestId>,
    intents: BTreeMap<RequestId, (FileKey, Intent)>,
    /// CREATEs that may still use their lease keys, as far as the driver knows.
    using: BTreeSet<RequestId>,
    /// CREATEs whose lease keys nobody used for another file when they were sent.
    free: BTreeSet<RequestId>,
    /// CREATEs that were granted.
    granted: BTreeSet<RequestId>,
    /// What no longer uses anything once this is answered.
    ends: BTreeMap<RequestId, Vec<RequestId>>,
    asked: BTreeMap<RequestId, Asked>,
    /// Connections that were there.
    gone: BTreeSet<ConnId>,
    opening: Vec<(RequestId, FileId)>,
    running: Vec<(RequestId, Ticket)>,
    /// Granted opens that were not closed as far as the driver knows.
    open: Vec<(RequestId, FileId)>,
    notifications: Vec<Notification>,
}

/// One move of what is under way.
#[derive(Clone, Copy, Debug)]
enum Move {
    Registry(usize),
    Shard(usize),
    Said(usize),
    Time(usize),
}

impl Late {
    pub(crate) fn new(profile: Profile, shards: u16, inbox: Inbox) -> Self {
        let config = config_of(profile);
        // No more than can be there: what is left behind would be missed.
        let mut tight = config;
        tight.limits.connections = SLOTS.len();
        tight.limits.sessions = SLOTS.len();
        let count = usize::from(shards);
        let mut late = Self {
            cluster: Cluster::new(tight, config, shards),
            inbox,
            identity: profile.lease_identity,
            now: Instant::ZERO,
            to_registry: vec![VecDeque::new(); count + 1],
            to_shards: vec![VecDeque::new(); count],
            from_shards: vec![VecDeque::new(); count],
            breaks: Breaks::default(),
            slots: vec![Slot::default(); SLOTS.len()],
            clients: BTreeMap::new(),
            next: 100,
            disk: Disk::new(),
            creates: BTreeMap::new(),
            opens: BTreeMap::new(),
            intents: BTreeMap::new(),
            using: BTreeSet::new(),
            free: BTreeSet::new(),
            granted: BTreeSet::new(),
            ends: BTreeMap::new(),
            asked: BTreeMap::new(),
            gone: BTreeSet::new(),
            opening: Vec::new(),
            running: Vec::new(),
            open: Vec::new(),
            notifications: Vec::new(),
        };
        (0..SLOTS.len()).for_each(|slot| late.connect(slot));
        late
    }

    // ---- what is under way

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        moves.extend(
            (0..self.to_registry.len()).filter(|at| !self.to_registry[*at].is_empty()).map(Move::Registry),
        );
        for at in 0..self.cluster.shards.len() {
            if !self.to_shards[at].is_empty() {
                moves.push(Move::Shard(at));
            }
            if !self.from_shards[at].is_empty() {
                moves.push(Move::Said(at));
            }
            if self.cluster.shards[at].poll_timeout().is_some_and(|due| due <= self.now) {
                moves.push(Move::Time(at));
            }
        }
        moves
    }

    /// Something that is under way arrives. `false` if there is nothing.
    pub(crate) fn advance(&mut self, which: u8) -> bool {
        let Some(next) = nth_of(&self.moves(), usize::from(which)).copied() else { return false };
        match next {
            Move::Registry(at) => {
                let event = self.to_registry[at].pop_front().unwrap();
                let mut out = Vec::new();
                let done = self.cluster.registry.handle(self.now, event, &mut out);
                assert_eq!(done, Ok(()), "the driver does as it should");
                for action in out {
                    match action {
                        RegistryAction::Driver(action) => self.perform(action),
                        RegistryAction::Shard(shard, message) => {
                            self.to_shards[usize::from(shard.get())].push_back(message);
                        }
                        RegistryAction::Broadcast(message) => {
                            self.to_shards.iter_mut().for_each(|queue| queue.push_back(message.clone()));
                        }
                    }
                }
            }
            Move::Shard(at) => {
                let message = self.to_shards[at].pop_front().unwrap();
                self.call(at, |shard, now, out| shard.handle_timeout(now, out));
                self.call(at, |shard, now, out| {
                    assert_eq!(shard.handle(now, message, out), Ok(()), "the driver does as it should");
                });
            }
            Move::Time(at) => self.call(at, |shard, now, out| shard.handle_timeout(now, out)),
            Move::Said(at) => match self.from_shards[at].pop_front().unwrap() {
                ShardAction::Driver(action) => self.perform(action),
                ShardAction::Registry(message) => {
                    let queue = if self.inbox == Inbox::One { 0 } else { at + 1 };
                    self.to_registry[queue].push_back(RegistryEvent::Shard(message));
                }
            },
        }
        true
    }

    /// One call of a shard, and what can be seen of it.
    fn call(&mut self, at: usize, call: impl FnOnce(&mut Shard, Instant, &mut Vec<ShardAction>)) {
        let shard = &mut self.cluster.shards[at];
        let (before, sent) = (shard.snapshot(), shard.stats().lease_breaks_sent);
        let mut out = Vec::new();
        call(shard, self.now, &mut out);
        let breaks = shard.stats().lease_breaks_sent != sent;
        for action in &out {
            if let ShardAction::Driver(Action::OpenFile { request, file_id }) = action {
                let other = self.opens.insert(*file_id, *request);
                assert_eq!(other, None, "{file_id} was given out before");
            }
        }
        self.from_shards[at].extend(out);
        let after = self.cluster.shards[at].snapshot();
        self.breaks.look_at(&before, &after, breaks);
        let create = |file_id: FileId| &self.creates[&self.opens[&file_id]];
        let owner = |file_id: FileId| self.key_of(self.opens[&file_id]);
        check::shard(&after, self.identity, create, owner);
        check::keys(&self.cluster.snapshot());
        assert_eq!(self.cluster.stats().anomalies, 0);
    }

    /// Everything arrives.
    fn drain(&mut self) {
        while self.advance(0) {}
    }

    // ---- the driver

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A request of somebody, to be answered once.
    fn ask(&mut self, conn: Option<ConnId>) -> RequestId {
        let request = RequestId::new(self.number());
        self.asked.insert(request, Asked { conn, pending: false, opened: false });
        request
    }

    fn tell(&mut self, event: Event) {
        self.to_registry[0].push_back(RegistryEvent::Driver(event));
    }

    fn answered(&mut self, request: RequestId) -> Asked {
        self.asked.remove(&request).unwrap_or_else(|| panic!("{request:?} is answered twice"))
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::OpenFile { request, file_id } => {
                let asked = self.asked.get_mut(&request).expect("a CREATE");
                assert!(!asked.opened, "{request:?} is opened twice");
                asked.opened = true;
                self.opening.push((request, file_id));
            }
            action @ (Action::Recall { .. }
            | Action::Revoked { .. }
            | Action::Repeated { .. }
            | Action::Tested { .. }) => {
                panic!("nobody speaks anything but SMB: {action:?}")
            }
            Action::Interim { request } => {
                let asked = self.asked.get_mut(&request).expect("a request");
                assert!(!asked.pending && asked.conn.is_some(), "{request:?} is pending twice");
                asked.pending = true;
            }
            Action::Proceed { request, ticket } => {
                self.answered(request);
                self.running.push((request, ticket));
            }
            Action::Granted { request, grant } => {
                assert!(self.answered(request).opened, "{request:?} was not opened");
                assert_eq!(self.opens[&grant.file_id], request);
                self.granted.insert(request);
                self.open.push((request, grant.file_id));
            }
            Action::Refused { request, status } => {
                // Abandoned while it is opened, it uses its key until that is done.
                let abandoned =
                    [Status::NETWORK_NAME_DELETED, Status::USER_SESSION_DELETED].contains(&status);
                if !(self.answered(request).opened && abandoned) {
                    self.using.remove(&request);
                }
                let taken = status == Status::INVALID_PARAMETER && self.free.contains(&request);
                assert!(!taken || self.inbox == Inbox::Many, "the lease key of {request:?} was free");
            }
            Action::Closed { request } => {
                self.answered(request);
                let ends = self.ends.remove(&request).unwrap_or_default();
                self.using.retain(|create| !(ends.contains(create) && self.granted.contains(create)));
                let file_of = |open: &FileId| ends.contains(&self.opens[open]);
                let snapshot = self.cluster.snapshot();
                let left =
                    snapshot.files.iter().flat_map(|file| &file.opens).find(|open| file_of(&open.file_id));
                assert_eq!(left, None, "it is closed, says the answer to {request:?}");
            }
            Action::Resolve { request } => {
                self.answered(request);
                self.using.remove(&request);
            }
            Action::Accepted { request }
            | Action::AnswerLeaseAck { request, .. }
            | Action::AnswerOplockAck { request, .. } => {
                self.answered(request);
            }
            Action::CloseFile { file_id, link } => {
                self.open.retain(|(_, open)| *open != file_id);
                if link == Link::Remove {
                    self.removed(self.creates[&self.opens[&file_id]].file);
                }
            }
            Action::Persist { .. } => panic!("there is no store"),
            Action::Unlink { file } => self.removed(file),
            Action::SendLeaseBreak { id, conn, body, .. } => {
                // P6
                let ack = body.flags.contains(BreakFlags::ACK_REQUIRED);
                let holds = body.current.intersects(LeaseState::WRITE | LeaseState::HANDLE);
                assert_eq!(ack, holds, "P6: {body:?}");
                assert!(body.current.contains(body.new) && body.current != body.new, "P12: {body:?}");
                if ack {
                    self.breaks.told((self.clients[&conn], body.key), id, &self.cluster.snapshot());
                }
                self.sent(id, conn, About::Lease { key: body.key, told: body.new }, ack);
            }
            Action::SendOplockBreak { id, conn, session, body, .. } => {
                let about = About::Oplock { session, file_id: body.file_id, told: body.level };
                self.sent(id, conn, about, true);
            }
        }
    }

    fn sent(&mut self, id: BreakId, conn: ConnId, about: About, ack: bool) {
        if !self.gone.contains(&conn) {
            self.notifications.push(Notification { id, conn, about, ack });
        }
    }

    fn removed(&mut self, file: FileKey) {
        let fresh = FileKey::new(u128::from(self.number()));
        self.disk.removed(file, fresh);
    }

    // ---- steps

    pub(crate) fn step(&mut self, step: &Step) {
        match *step {
            Step::Connect { slot } => self.connect(slot),
            Step::Disconnect { slot } => self.disconnect(slot),
            Step::Logoff { slot } => {
                if let Some(session) = self.slots[slot].session {
                    for slot in &mut self.slots {
                        if slot.session == Some(session) {
                            slot.session = None;
                        }
                    }
                    self.tell(Event::SessionEnded { session, end: leasehold::server::SessionEnd::LoggedOff });
                }
            }
            Step::TreeDisconnect { slot, tree } => {
                if let Some(session) = self.slots[slot].session {
                    let (request, tree) = (self.ask(self.slots[slot].conn), TreeId::new(tree));
                    let here =
                        |create: &&Create| (create.origin.session, create.origin.tree) == (session, tree);
                    let ends = self.creates.values().filter(here).map(|create| create.request);
                    self.ends.insert(request, ends.collect());
                    self.tell(Event::TreeDisconnected { request, session, tree });
                }
            }
            Step::Create(ref wish) => self.create(wish),
            Step::Opened { nth, fails, empty } => self.opened(nth, fails, empty),
            Step::Operate { slot, nth, actor, local, name, what, offset, len } => {
                self.operate(slot, nth, actor, local, name, (what, offset, len));
            }
            Step::Done { nth, .. } => self.done(nth),
            Step::Lock { nth, empty, ref elements, .. } => {
                let Some((open, file_id)) = nth_of(&self.open, nth).copied() else { return };
                let Some(origin) = self.home(open).and_then(|slot| self.origin(slot, 0)) else { return };
                let request = self.ask(Some(origin.conn));
                let allocation = if empty { 0 } else { 2 };
                self.tell(Event::Lock(Lock::new(request, origin, file_id, allocation, elements.clone())));
            }
            Step::Cancel { nth } => {
                let pending: Vec<_> = self.asked.keys().copied().collect();
                if let Some(request) = nth_of(&pending, nth).copied() {
                    self.tell(Event::Cancel { request });
                }
            }
            Step::Close { slot, nth, own } => {
                let Some((open, _)) = nth_of(&self.open, nth).copied() else { return };
                let slot = if own { self.home(open) } else { Some(slot) };
                slot.into_iter().for_each(|slot| self.close(slot, nth));
            }
            Step::Ack { slot, nth, how, level } => self.ack(slot, nth, how, level),
            Step::Undelivered { nth } => {
                if let Some(Notification { id, conn, .. }) = nth_of(&self.notifications, nth).copied() {
                    self.notifications.retain(|sent| (sent.id, sent.conn) != (id, conn));
                    self.tell(Event::Undelivered { id, conn });
                }
            }
            // Durable opens are left to `tests/prop.rs`.
            Step::End { .. }
            | Step::Reconnect { .. }
            | Step::Resilience { .. }
            | Step::Used { .. }
            | Step::Again { .. }
            | Step::Resend { .. }
            | Step::Stored { .. }
            | Step::NotStored { .. }
            | Step::Restart { .. } => {}
            Step::Time { millis } => self.now = Instant::from_millis(self.now.as_millis() + millis),
        }
    }

    fn connect(&mut self, slot: usize) {
        let (client, dialect) = SLOTS[slot];
        let conn = self.slots[slot].conn.unwrap_or_else(|| {
            let (conn, client) = (ConnId::new(self.number()), ClientGuid::from_wire([client; 16]));
            self.clients.insert(conn, client);
            self.tell(Event::Connected { conn, client, terms: terms_of(dialect) });
            self.slots[slot].conn = Some(conn);
            conn
        });
        if self.slots[slot].session.is_none() {
            let twin = [1, 0].get(slot).and_then(|twin| self.slots[*twin].session);
            let session = twin.unwrap_or_else(|| SessionId::new(self.number()));
            self.slots[slot].session = Some(session);
            self.tell(Event::SessionBound { conn, session });
        }
    }

    fn disconnect(&mut self, slot: usize) {
        if let Some(conn) = self.slots[slot].conn.take() {
            self.slots[slot].session = None;
            self.gone.insert(conn);
            self.notifications.retain(|sent| sent.conn != conn);
            self.tell(Event::Disconnected { conn });
        }
    }

    fn origin(&self, slot: usize, tree: u32) -> Option<Origin> {
        let Slot { conn, session } = self.slots[slot];
        Some(Origin::new(conn?, session?, TreeId::new(tree)))
    }

    /// A slot from which an open can be used.
    fn home(&self, open: RequestId) -> Option<usize> {
        let session = self.creates[&open].origin.session;
        self.slots.iter().position(|slot| slot.session == Some(session))
    }

    fn create(&mut self, wish: &Wish) {
        let Some(origin) = self.origin(wish.slot, wish.tree) else { return };
        let request = self.ask(Some(origin.conn));
        let create = wish.create(request, origin, self.disk.names[wish.name]);
        self.creates.insert(request, create.clone());
        let taken = |other: &&RequestId| {
            self.creates[*other].file != create.file && self.key_of(**other) == self.key_of(request)
        };
        if !self.using.iter().any(|other| taken(&other)) {
            self.free.insert(request);
        }
        self.using.insert(request);
        self.tell(Event::Create(create));
    }

    /// With which client and key a CREATE came.
    fn key_of(&self, create: RequestId) -> Option<Key> {
        let create = &self.creates[&create];
        Some((self.clients[&create.origin.conn], create.lease?.key()))
    }

    fn opened(&mut self, nth: usize, fails: bool, empty: bool) {
        let Some((request, file_id)) = nth_of(&self.opening, nth).copied() else { return };
        self.opening.retain(|(_, other)| *other != file_id);
        let create = self.creates[&request].clone();
        let kind = self.disk.kind(create.file);
        let allocation = if empty { 0 } else { 2 };
        let result = self.disk.open(&create, fails).map(|action| Opened::new(action, kind, allocation));
        self.tell(Event::Opened { file_id, result });
    }

    fn operate(
        &mut self,
        slot: usize,
        nth: usize,
        actor: u8,
        local: bool,
        name: usize,
        (what, offset, len): (u8, u64, u64),
    ) {
        let (client, _) = SLOTS[slot];
        let (mut actor, mut file, mut origin) = match (actor, nth_of(&self.open, nth).copied()) {
            (0..=3, Some((open, file_id))) => {
                let origin = self.home(open).and_then(|slot| self.origin(slot, 0));
                (Actor::Open(file_id), self.creates[&open].file, origin)
            }
            (4, _) => {
                let (client, key) = (ClientGuid::from_wire([client; 16]), lease_key(name as u8));
                (Actor::Lease { client, key }, self.disk.names[name].0, self.origin(slot, 0))
            }
            _ => (Actor::Other, self.disk.names[name].0, self.origin(slot, 0)),
        };
        if local {
            origin = None;
        }
        let intent = self.disk.intent(what, name, offset, len);
        if matches!(intent, Intent::RenameWithin | Intent::EntryChanged { .. }) {
            file = self.disk.names[FILES].0;
            if !matches!((intent, actor), (Intent::RenameWithin, Actor::Lease { .. })) {
                actor = Actor::Other;
            }
        }
        let of_names = matches!(intent, Intent::Delete { .. } | Intent::Rename { .. } | Intent::Link { .. });
        if of_names && self.disk.directory(file) {
            return;
        }
        let request = self.ask(origin.map(|origin| origin.conn));
        self.intents.insert(request, (file, intent));
        self.tell(Event::Operate { request, origin, file, actor, intent });
    }

    fn done(&mut self, nth: usize) {
        let Some((request, ticket)) = nth_of(&self.running, nth).copied() else { return };
        self.running.retain(|(_, other)| *other != ticket);
        if let (file, Intent::Rename { to }) = self.intents[&request] {
            self.disk.renamed(file, to);
        }
        self.tell(Event::Done { ticket, result: Ok(()) });
    }

    fn close(&mut self, slot: usize, nth: usize) {
        let Some((open, file_id)) = nth_of(&self.open, nth).copied() else { return };
        let Slot { conn: Some(conn), session: Some(session) } = self.slots[slot] else { return };
        let request = self.ask(Some(conn));
        self.ends.insert(request, vec![open]);
        self.tell(Event::Close { request, session, file_id });
    }

    fn ack(&mut self, slot: usize, nth: usize, how: u8, level: u8) {
        let sent = self.notifications.iter().rev().filter(|sent| sent.ack || how > 7).nth(nth).copied();
        let Some(sent) = sent else { return };
        match sent.about {
            About::Lease { key, told } => {
                let state = match how {
                    0..=5 => told,
                    6 => told & LeaseState::from_bits_retain(u32::from(level)),
                    _ => LeaseState::from_bits_retain(u32::from(level) & 7),
                };
                let conn = if how == 9 { self.slots[slot].conn } else { Some(sent.conn) };
                let Some(conn) = conn else { return };
                let request = self.ask(Some(conn));
                self.tell(Event::LeaseAck { request, conn, ack: LeaseAck { key, state } });
            }
            About::Oplock { session, file_id, told } => {
                let level = match how {
                    0..=5 => told,
                    6 => OplockLevel::None,
                    _ => OplockLevel::from_wire([0, 1, 8, 9, 0xff, 0x33][usize::from(level) % 6]),
                };
                let Some(slot) = self.slots.iter().find(|slot| slot.session == Some(session)) else { return };
                let request = self.ask(slot.conn);
                self.tell(Event::OplockAck { request, session, ack: OplockBreak { level, file_id } });
            }
        }
    }

    // ---- the end

    /// What the driver was asked to do is done, and what comes of it.
    fn settle(&mut self) {
        loop {
            self.drain();
            if self.opening.is_empty() && self.running.is_empty() {
                return;
            }
            while !self.opening.is_empty() {
                self.opened(0, false, false);
            }
            while !self.running.is_empty() {
                self.done(0);
            }
        }
    }

    /// Everybody closes what he has open, then goes home: nobody is left without an answer, and nothing is left.
    pub(crate) fn end(mut self) {
        for _ in 0..8 {
            self.settle();
            self.step(&Step::Time { millis: 35_000 });
        }
        self.settle();
        while let Some((open, _)) = self.open.first().copied() {
            let home = self.home(open).expect("an open goes with its session");
            self.close(home, 0);
            self.settle();
        }
        self.asked.retain(|_, asked| asked.conn.is_none_or(|conn| !self.gone.contains(&conn)));
        assert!(self.asked.is_empty(), "never answered: {:?}\n{:#?}", self.asked, self.cluster.snapshot());
        (0..SLOTS.len()).for_each(|slot| self.disconnect(slot));
        self.settle();
        let stats = self.cluster.stats();
        let gauges = [stats.opens, stats.leases, stats.breaking, stats.waiters, stats.locks];
        assert_eq!((self.cluster.snapshot(), gauges), (Snapshot::default(), [0; 5]), "something is left");
        assert_eq!((self.cluster.poll_timeout(), stats.anomalies), (None, 0));
        self.registry_is_empty();
    }

    /// There is room for as many connections and sessions as ever, and every lease key may name another file.
    fn registry_is_empty(&mut self) {
        (0..SLOTS.len()).for_each(|slot| self.connect(slot));
        for (slot, key) in (0..SLOTS.len()).flat_map(|slot| (1..4).map(move |key| (slot, key))) {
            let request = self.ask(self.slots[slot].conn);
            let lease =
                Lease::V1(LeaseV1 { key: lease_key(key), state: LeaseState::R, flags: LeaseFlags::empty() });
            let file = FileKey::new(u128::from(self.number()));
            let create = Create::new(request, self.origin(slot, 0).unwrap(), file)
                .caching(OplockLevel::Lease, Some(lease));
            self.creates.insert(request, create.clone());
            self.tell(Event::Create(create));
            self.drain();
            assert!(!self.opening.is_empty(), "lease key {key} of slot {slot} is not free");
            self.opened(0, true, false);
            self.drain();
        }
        (0..SLOTS.len()).for_each(|slot| self.disconnect(slot));
        self.drain();
    }
}
