//! A server that lies, connections that come and go, restarts, and a driver that keeps its contract: nothing is left over, and every
//! request of the application has its end.

mod choices;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::Unstructured;
use leasehold::client::{
    AckId, Action, Adaptive, Client, ClientConfig, Event, FileRef, OpenRef, Opening, Policy, PreviousSession,
    SessionLoss,
};
use leasehold::persist::{ClientChange, ClientRecord, Need};
use leasehold::server::{Capabilities, Terms};
use leasehold::wire::RequestContexts;
use leasehold::{
    ConnId, Dialect, FileId, HashKey, Instant, LeaseKey, LeaseState, Machine, OplockLevel, RequestId,
    SessionId,
};

pub use choices::{Choices, Seeded};

/// Runs the history that the octets spell, twice with different hash keys.
pub fn ops(octets: &[u8]) {
    let first = said(octets, HashKey::new([1; 16]));
    let second = said(octets, HashKey::new([0xfe; 16]));
    assert_eq!(first, second, "no action depends on the hash key");
}

fn said(octets: &[u8], hash_key: HashKey) -> Vec<Action> {
    let mut chaos = Chaos::new(Unstructured::new(octets), hash_key);
    while !chaos.choices.is_empty() {
        chaos.step();
    }
    chaos.end();
    chaos.said
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    pub ready: u64,
    pub failed: u64,
    pub regained: u64,
    pub lost: u64,
    pub restored: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Create(OpenRef),
    Reconnect(OpenRef),
    Close(OpenRef),
    Ack(AckId),
}

/// The client, and everybody around it.
pub struct Chaos<C> {
    choices: C,
    config: ClientConfig,
    client: Client,
    now: u64,
    conns: Vec<ConnId>,
    session: SessionId,
    valid: bool,
    next: u64,
    sent: Vec<(ConnId, Sent)>,
    /// What was asked for with each open, the last time.
    wishes: BTreeMap<OpenRef, (OplockLevel, RequestContexts)>,
    flushes: Vec<FileRef>,
    purges: Vec<FileRef>,
    /// Requests of the application without an answer, opens that it uses, those without a connection.
    asked: BTreeSet<RequestId>,
    used: BTreeSet<OpenRef>,
    away: BTreeSet<OpenRef>,
    /// Of each open that the server has: a FileId that may be its.
    file_ids: Vec<FileId>,
    allowed: BTreeMap<FileRef, LeaseState>,
    store: BTreeMap<u64, ClientRecord>,
    /// The driver dies when it has carried out so many more actions.
    dies: Option<u64>,
    said: Vec<Action>,
    pub ends: Ends,
}

impl<C: Choices> Chaos<C> {
    pub fn new(mut choices: C, hash_key: HashKey) -> Self {
        let config = config(&mut choices, hash_key);
        Self {
            choices,
            config,
            client: Client::new(config),
            now: 0,
            conns: Vec::new(),
            session: SessionId::new(1),
            valid: false,
            next: 1,
            sent: Vec::new(),
            wishes: BTreeMap::new(),
            flushes: Vec::new(),
            purges: Vec::new(),
            asked: BTreeSet::new(),
            used: BTreeSet::new(),
            away: BTreeSet::new(),
            file_ids: Vec::new(),
            allowed: BTreeMap::new(),
            store: BTreeMap::new(),
            dies: None,
            said: Vec::new(),
            ends: Ends::default(),
        }
    }

    /// Everybody lets go: what is left then would stay for ever.
    pub fn end(&mut self) {
        self.dies = None;
        while let Some(open) = self.used.pop_first() {
            self.tell(Event::Release { open });
        }
        while !self.conns.is_empty() {
            self.hang_up();
        }
        for _ in 0..1_000 {
            if self.caches() {
                continue;
            }
            let Some(due) = self.client.poll_timeout() else { break };
            self.now = self.now.max(due.as_millis());
            self.tell_the_time();
        }
        assert_eq!(self.client.poll_timeout(), None);
        assert_eq!((self.asked.len(), self.away.len(), self.sent.len()), (0, 0, 0));
        assert!(self.allowed.values().all(|state| state.is_empty()), "{:?}", self.allowed);
        assert_eq!(self.client.names(), 0, "a name is left");
        assert_eq!(self.store.len(), 0, "a record is left");
    }

    fn chance(&mut self, of: u64) -> u64 {
        self.choices.chance(of)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        pick(&mut self.choices, of)
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        if let Err(misuse) = self.client.handle(Instant::from_millis(self.now), event, &mut actions) {
            panic!("{misuse}: {event:?}");
        }
        self.perform(actions);
    }

    fn tell_the_time(&mut self) {
        let mut actions = Vec::new();
        self.client.handle_timeout(Instant::from_millis(self.now), &mut actions);
        assert!(self.client.poll_timeout().is_none_or(|due| due.as_millis() > self.now), "due and not done");
        self.perform(actions);
    }

    /// The cache has done something of what it was asked to do.
    fn caches(&mut self) -> bool {
        let flushed = self.flushes.pop().map(|file| Event::Flushed { file });
        let Some(done) = flushed.or_else(|| self.purges.pop().map(|file| Event::Purged { file })) else {
            return false;
        };
        self.tell(done);
        true
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let rests = |action: &Action| !matches!(action, Action::Persist { .. });
        assert!(actions.is_sorted_by_key(rests), "stored behind what rests on it: {actions:?}");
        for action in actions {
            match &mut self.dies {
                Some(0) => return self.restart(),
                Some(left) => *left -= 1,
                None => (),
            }
            self.said.push(action);
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::SendCreate { open, conn, level, contexts, .. } => {
                self.wishes.insert(open, (level, contexts));
                self.send(conn, Sent::Create(open));
            }
            Action::SendReconnect { open, conn, level, contexts } => {
                self.wishes.insert(open, (level, contexts));
                self.send(conn, Sent::Reconnect(open));
            }
            Action::SendClose { open, conn, .. } => {
                assert!(!self.used.contains(&open), "the application uses it");
                self.send(conn, Sent::Close(open));
            }
            Action::SendLeaseAck { ack, conn, .. } | Action::SendOplockAck { ack, conn, .. } => {
                self.send(conn, Sent::Ack(ack));
            }
            Action::RenewSession { conn, .. } => {
                assert!(self.conns.contains(&conn));
                self.valid = false;
            }
            Action::Allow { file, state } => {
                assert_eq!(state, state.normalized());
                assert_ne!(self.allowed.insert(file, state), Some(state), "said twice");
            }
            Action::Flush { file } => {
                self.assert_idle(file);
                assert!(!self.conns.is_empty(), "there is nobody to write back to");
                self.flushes.push(file);
            }
            Action::Purge { file } => {
                self.assert_idle(file);
                self.purges.push(file);
            }
            Action::Ready { request, open, .. } => {
                assert!(self.asked.remove(&request) && self.used.insert(open));
                self.ends.ready += 1;
            }
            Action::Failed { request, .. } => {
                assert!(self.asked.remove(&request));
                self.ends.failed += 1;
            }
            Action::Persist { change } => self.persist(change),
            Action::Restored { id, open } => {
                let need = self.store[&id].need;
                assert!(need == Need::Nobody || self.away.insert(open));
                assert!(need != Need::Application || self.used.insert(open));
                self.ends.restored += 1;
            }
            Action::Away { open } => assert!(self.away.insert(open)),
            Action::Regained { open } => {
                assert!(self.away.remove(&open));
                self.ends.regained += 1;
            }
            Action::Lost { open, .. } => {
                self.away.remove(&open);
                self.used.remove(&open);
                self.ends.lost += 1;
            }
        }
    }

    fn send(&mut self, conn: ConnId, sent: Sent) {
        assert!(self.conns.contains(&conn), "{sent:?} on a connection that is gone");
        assert!(!self.sent.iter().any(|(_, other)| *other == sent), "{sent:?} is under way");
        self.sent.push((conn, sent));
    }

    fn assert_idle(&self, file: FileRef) {
        assert!(!self.flushes.contains(&file) && !self.purges.contains(&file), "{file:?} is busy");
    }

    fn persist(&mut self, change: ClientChange) {
        assert!(self.config.persistence);
        match change {
            ClientChange::Put(record) => drop(self.store.insert(record.id, record)),
            ClientChange::Delete { id } => assert!(self.store.remove(&id).is_some(), "nothing to delete"),
        }
    }

    /// What is stored is what would be missed: who needs each open, and what the cache still has to do.
    fn assert_recorded(&self) {
        assert!(self.store.len() <= self.config.opens);
        let used = self.store.values().filter(|record| record.need == Need::Application);
        assert!(used.count() <= self.used.len(), "a record of an open that is not used");
        for record in self.store.values() {
            assert!(record.flush || !self.flushes.contains(&record.file), "{record:?}");
            assert!(record.purge || !self.purges.contains(&record.file), "{record:?}");
        }
    }

    /// The client is gone, and with it whatever was under way; the next one has its records.
    fn restart(&mut self) {
        self.dies = None;
        self.client = Client::new(self.config);
        self.conns.clear();
        self.sent.clear();
        self.flushes.clear();
        self.purges.clear();
        self.asked.clear();
        self.used.clear();
        self.away.clear();
        self.allowed.clear();
        self.valid = false;
        let records: Vec<_> = self.store.values().copied().collect();
        for record in records {
            let elapsed = Duration::from_millis(self.chance(50));
            self.tell(Event::Restore { record, elapsed });
        }
        self.tell_the_time();
    }

    /// The driver breaks the contract: the machine is as it was before, and has nothing to do.
    fn misuse(&mut self) {
        let result = self.result();
        let (previous, terms) = (PreviousSession::Ended, Terms::new(Dialect::Smb311, Capabilities::LEASING));
        let elapsed = Duration::ZERO;
        let mut events = vec![
            Event::Flushed { file: FileRef::new(999) },
            Event::Purged { file: FileRef::new(100) },
            Event::Disconnected { conn: ConnId::new(0) },
            Event::SessionLost { session: SessionId::new(0), reason: SessionLoss::Deleted },
            Event::Open(Opening::new(RequestId::new(0), FileRef::new(77), LeaseKey::ZERO)),
        ];
        if let Some(conn) = self.conns.last().copied() {
            events.push(Event::Connected { conn, session: self.session, previous, terms });
            events.extend(self.store.values().map(|record| Event::Restore { record: *record, elapsed }));
        }
        if let Some(open) = self.used.difference(&self.away).next().copied() {
            events.push(Event::Closed { open });
            events.push(Event::Created { open, result });
            events.push(Event::Reconnected { open, result });
        }
        for event in events {
            let before = format!("{:?}", self.client);
            let mut actions = Vec::new();
            let refused = self.client.handle(Instant::from_millis(self.now), event, &mut actions);
            assert!(refused.is_err() && actions.is_empty(), "{event:?}: {actions:?}");
            assert!(format!("{:?}", self.client) == before, "{event:?} has changed something");
        }
    }
}

fn pick<T: Copy>(choices: &mut impl Choices, of: &[T]) -> T {
    of[choices.chance(of.len() as u64) as usize]
}

/// Limits so narrow that they are met, or so wide that they are not.
fn config(choices: &mut impl Choices, hash_key: HashKey) -> ClientConfig {
    let mut config = ClientConfig::new(hash_key);
    config.reconnects = 2;
    if choices.chance(4) != 3 {
        (config.kept, config.kept_per_file) = (3, 2);
        (config.opens, config.acknowledgments, config.early_breaks) = (12, 3, 2);
    }
    config.files = pick(choices, &[8, 8, 8, 2]);
    let adaptive = Policy::Adaptive(Adaptive::new(2, Duration::from_millis(50), 2));
    config.policy = pick(choices, &[adaptive, adaptive, Policy::Windows]);
    config.persistence = choices.chance(8) != 7;
    config
}
