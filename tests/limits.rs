//! Every limit reached: what happens then, that nothing is broken for a request that is refused, and that nothing leaks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

use leasehold::server::{
    Action, Capabilities, Config, Create, Event, Lock, LockElement, LockFlags, Misuse, ObjectKind, Opened,
    Origin, RouteSeed, Server, Terms,
};
use leasehold::wire::{Lease, LeaseFlags, LeaseV2};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, Dialect, Epoch, FileId, FileKey, HashKey, Instant, Intent,
    LeaseKey, LeaseState, Limits, Machine, OplockLevel, RequestId, SessionId, Status, TreeId,
};

struct Bounded {
    server: Server,
    next: u64,
}

impl Bounded {
    fn new(set: impl FnOnce(&mut Limits)) -> Self {
        let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        set(&mut config.limits);
        let mut bounded = Self { server: Server::new(config), next: 0 };
        bounded.connect(1).unwrap();
        bounded
    }

    fn tell(&mut self, event: Event) -> Result<Vec<Action>, Misuse> {
        let mut actions = Vec::new();
        self.server.handle(Instant::ZERO, event, &mut actions)?;
        Ok(actions)
    }

    /// Connection and session of that number; the client is the same for all.
    fn connect(&mut self, number: u64) -> Result<(), Misuse> {
        let (conn, client) = (ConnId::new(number), ClientGuid::from_wire([1; 16]));
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        self.tell(Event::Connected { conn, client, terms })?;
        self.tell(Event::SessionBound { conn, session: SessionId::new(number) })?;
        Ok(())
    }

    fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId::new(self.next)
    }

    fn origin(conn: u64) -> Origin {
        Origin::new(ConnId::new(conn), SessionId::new(conn), TreeId::new(1))
    }

    /// A CREATE, and the opening of the file if it comes to that.
    fn create(&mut self, conn: u64, file: u128, key: Option<u8>) -> Vec<Action> {
        let lease = key.map(|key| {
            let (key, state) = (LeaseKey::new([key; 16]), LeaseState::RWH);
            Lease::V2(LeaseV2 { key, state, flags: LeaseFlags::empty(), parent: None, epoch: Epoch::ZERO })
        });
        let level = if lease.is_some() { OplockLevel::Lease } else { OplockLevel::None };
        let request = self.request();
        let create = Create::new(request, Self::origin(conn), FileKey::new(file)).caching(level, lease);
        let mut actions = self.tell(Event::Create(create)).unwrap();
        if let Some(Action::OpenFile { file_id, .. }) = actions.last().cloned() {
            let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, u64::MAX));
            actions.extend(self.tell(Event::Opened { file_id, result }).unwrap());
        }
        actions
    }

    /// A LOCK of single octets at these offsets.
    fn lock(&mut self, file_id: FileId, offsets: &[u64], flags: LockFlags) -> Vec<Action> {
        let flags = if flags == LockFlags::UNLOCK { flags } else { flags | LockFlags::FAIL_IMMEDIATELY };
        let elements = offsets.iter().map(|offset| LockElement { offset: *offset, len: 1, flags }).collect();
        let lock = Lock::new(self.request(), Self::origin(1), file_id, u64::MAX, elements);
        self.tell(Event::Lock(lock)).unwrap()
    }

    fn read(&mut self, file: u128) -> Vec<Action> {
        let (request, file) = (self.request(), FileKey::new(file));
        let intent = Intent::Read { offset: 0, len: 1 };
        self.tell(Event::Operate { request, origin: None, file, actor: Actor::Other, intent }).unwrap()
    }

    /// The disk is broken.
    fn fail_to_open(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::OpenFile { file_id, .. } = action {
                let result = Err(Status::INSUFFICIENT_RESOURCES);
                self.tell(Event::Opened { file_id: *file_id, result }).unwrap();
            }
        }
    }

    /// Hangs up, ends what runs, and finds nothing left.
    fn end(mut self, conns: u64) {
        for conn in 1..=conns {
            let actions = self.tell(Event::Disconnected { conn: ConnId::new(conn) }).unwrap();
            self.fail_to_open(&actions);
        }
        assert!(self.server.idle(), "{:?}", self.server.snapshot());
        assert_eq!(self.server.stats().anomalies, 0);
    }
}

fn open_of(actions: &[Action]) -> FileId {
    let Some(Action::Granted { grant, .. }) = actions.last() else { panic!("{actions:?}") };
    grant.file_id
}

fn accepted(actions: &[Action]) -> bool {
    matches!(actions, [Action::Accepted { .. }])
}

/// Refused for want of resources, and nothing else: no break, no interim answer.
fn refused(actions: &[Action]) -> bool {
    matches!(actions, [Action::Refused { status: Status::INSUFFICIENT_RESOURCES, .. }])
}

fn granted(actions: &[Action]) -> bool {
    matches!(actions.last(), Some(Action::Granted { .. }))
}

fn waits(actions: &[Action]) -> bool {
    matches!(actions.last(), Some(Action::Interim { .. }))
}

#[test]
fn opens() {
    let mut bounded = Bounded::new(|limits| limits.opens = 1);
    assert!(granted(&bounded.create(1, 1, Some(1))));
    // It would break the first one's lease, were there room for it.
    assert!(refused(&bounded.create(1, 1, None)));
    assert!(refused(&bounded.create(1, 2, Some(2))));
    bounded.end(1);
}

#[test]
fn opens_of_a_file_and_of_a_session() {
    let mut bounded = Bounded::new(|limits| limits.opens_per_file = 1);
    assert!(granted(&bounded.create(1, 1, Some(1))));
    assert!(refused(&bounded.create(1, 1, None)));
    assert!(granted(&bounded.create(1, 2, None)));
    bounded.end(1);
    let mut bounded = Bounded::new(|limits| limits.opens_per_session = 1);
    bounded.connect(2).unwrap();
    assert!(granted(&bounded.create(1, 1, Some(1))));
    assert!(refused(&bounded.create(1, 1, None)));
    assert!(waits(&bounded.create(2, 1, None)), "another session");
    bounded.end(2);
}

#[test]
fn locks() {
    type Set = fn(&mut Limits);
    let of_all: Set = |limits| limits.locks = 2;
    let of_an_open: Set = |limits| limits.locks_per_open = 2;
    for set in [of_all, of_an_open] {
        let mut bounded = Bounded::new(set);
        // Somebody reads from a cache all the time; a lock that is refused does not disturb it.
        let file_id = open_of(&bounded.create(1, 1, None));
        assert!(accepted(&bounded.lock(file_id, &[0, 1], LockFlags::EXCLUSIVE)));
        assert!(granted(&bounded.create(1, 2, Some(1))));
        let other = open_of(&bounded.create(1, 1, None));
        let more = bounded.lock(file_id, &[2], LockFlags::EXCLUSIVE);
        assert!(refused(&more));
        // Unlocking makes room.
        assert!(accepted(&bounded.lock(file_id, &[0], LockFlags::UNLOCK)));
        assert!(accepted(&bounded.lock(file_id, &[3], LockFlags::SHARED)));
        assert_eq!(bounded.lock(other, &[4], LockFlags::SHARED).len(), 1);
        assert_eq!(bounded.server.stats().lease_breaks_sent, 0);
        bounded.end(1);
    }
    let mut bounded = Bounded::new(|limits| limits.locks_per_request = 1);
    let file_id = open_of(&bounded.create(1, 1, None));
    assert!(refused(&bounded.lock(file_id, &[0, 1], LockFlags::SHARED)));
    assert!(refused(&bounded.lock(file_id, &[0, 1], LockFlags::UNLOCK)));
    assert!(accepted(&bounded.lock(file_id, &[0], LockFlags::SHARED)));
    bounded.end(1);
    assert_eq!(Limits::default().locks_per_request, 64);
}

#[test]
fn deadlines_of_one_call() {
    let mut bounded = Bounded::new(|limits| limits.deadlines_per_call = 2);
    for file in 1..=5 {
        assert!(granted(&bounded.create(1, file, Some(u8::try_from(file).unwrap()))));
        assert!(waits(&bounded.create(1, file, None)));
    }
    let due = Instant::from_millis(35_000);
    let (mut calls, mut opened) = (Vec::new(), Vec::new());
    while bounded.server.poll_timeout() == Some(due) {
        let before = opened.len();
        bounded.server.handle_timeout(due, &mut opened);
        calls.push(opened.len() - before);
    }
    bounded.fail_to_open(&opened);
    assert_eq!(calls, [2, 2, 1]);
    bounded.end(1);
}

#[test]
fn leases() {
    let mut bounded = Bounded::new(|limits| limits.leases = 1);
    assert!(granted(&bounded.create(1, 1, Some(1))));
    assert!(refused(&bounded.create(1, 2, Some(2))));
    assert!(granted(&bounded.create(1, 1, Some(1))), "a key that is in use needs no room");
    assert!(granted(&bounded.create(1, 2, None)));
    bounded.end(1);
}

#[test]
fn leases_per_client() {
    let mut bounded = Bounded::new(|limits| limits.leases_per_client = 1);
    assert!(granted(&bounded.create(1, 1, Some(1))));
    assert!(refused(&bounded.create(1, 2, Some(2))));
    bounded.end(1);
}

#[test]
fn files() {
    let mut bounded = Bounded::new(|limits| limits.files = 1);
    assert!(granted(&bounded.create(1, 1, Some(1))));
    assert!(refused(&bounded.create(1, 2, Some(2))));
    assert!(refused(&bounded.read(2)));
    assert!(granted(&bounded.create(1, 1, Some(1))));
    bounded.end(1);
}

#[test]
fn waiters() {
    for set in [
        (|limits| limits.waiters = 1) as fn(&mut Limits),
        |limits| limits.waiters_per_file = 1,
        |limits| limits.waiters_per_connection = 1,
    ] {
        let mut bounded = Bounded::new(set);
        assert!(granted(&bounded.create(1, 1, Some(1))));
        assert!(waits(&bounded.create(1, 1, None)));
        assert!(refused(&bounded.create(1, 1, None)));
        bounded.end(1);
    }
}

#[test]
fn a_request_that_may_not_wait_breaks_nothing() {
    let mut bounded = Bounded::new(|limits| limits.waiters = 0);
    assert!(granted(&bounded.create(1, 1, Some(1))));
    assert!(refused(&bounded.create(1, 1, None)));
    assert_eq!(bounded.server.stats().lease_breaks_sent, 0);
    assert_eq!(bounded.server.poll_timeout(), None);
    bounded.end(1);
}

#[test]
fn running() {
    let mut bounded = Bounded::new(|limits| limits.running = 1);
    let [Action::Proceed { ticket, .. }] = bounded.read(1)[..] else { panic!("it may run") };
    assert!(refused(&bounded.read(1)));
    bounded.tell(Event::Done { ticket, result: Ok(()) }).unwrap();
    assert_eq!(bounded.tell(Event::Done { ticket, result: Ok(()) }).unwrap_err(), Misuse::UnknownTicket);
    let [Action::Proceed { ticket, .. }] = bounded.read(1)[..] else { panic!("it may run again") };
    bounded.tell(Event::Done { ticket, result: Ok(()) }).unwrap();
    bounded.end(1);
}

#[test]
fn connections_and_sessions() {
    for set in
        [(|limits| limits.connections = 1) as fn(&mut Limits), |limits| limits.connections_per_client = 1]
    {
        let mut bounded = Bounded::new(set);
        assert_eq!(bounded.connect(2), Err(Misuse::TooManyConnections));
        bounded.end(1);
    }
    let mut bounded = Bounded::new(|limits| limits.sessions = 1);
    assert_eq!(bounded.connect(2), Err(Misuse::TooManySessions));
    bounded.end(2);
}
