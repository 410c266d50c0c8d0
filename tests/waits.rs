//! Who waits for whom: stories of locks, lines and circles that once went wrong, each as small as it can be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test that goes wrong should stop"
)]

use std::time::Duration;

use leasehold::server::{
    Action, Capabilities, Config, Create, DelegationKind, Event, Lock, LockElement, LockFlags, ObjectKind,
    Opened, Origin, OwnerLock, Reservation, RouteSeed, Server, Terms,
};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, Dialect, FileId, FileKey, HashKey, Instant, Intent,
    Machine, OwnerId, Protocol, RequestId, SessionId, Status, TreeId,
};

const FILE: FileKey = FileKey::new(1);
const OTHER_FILE: FileKey = FileKey::new(2);
const A: OwnerId = OwnerId::new(Protocol::Nlm, 1, 1);
const B: OwnerId = OwnerId::new(Protocol::Nlm, 2, 1);
const C: OwnerId = OwnerId::new(Protocol::Nfs4, 3, 1);
const D: OwnerId = OwnerId::new(Protocol::Local, 0, 1);

const SHARED: bool = false;
const EXCLUSIVE: bool = true;

struct World {
    server: Server,
    requests: u64,
}

/// What one request, and what others that waited, are answered.
#[derive(Debug, PartialEq)]
enum Answer {
    Accepted(u64),
    Refused(u64, Status),
    Interim(u64),
}
use Answer::{Accepted, Interim, Refused};

impl World {
    fn new() -> Self {
        let config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        Self { server: Server::new(config), requests: 0 }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.server.handle(Instant::ZERO, event, &mut actions).unwrap();
        actions
    }

    fn answers(&mut self, event: Event) -> Vec<Answer> {
        let answer = |action| match action {
            Action::Accepted { request } => Accepted(request.get()),
            Action::Refused { request, status } => Refused(request.get(), status),
            Action::Interim { request } => Interim(request.get()),
            other => panic!("{other:?}"),
        };
        self.tell(event).into_iter().map(answer).collect()
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    fn wait(&mut self, owner: OwnerId, file: FileKey, octets: (u64, u64), exclusive: bool) -> Vec<Answer> {
        let lock = OwnerLock::new(self.request(), owner, file, exclusive).range(octets.0, octets.1).waiting();
        self.answers(Event::OwnerLock(lock))
    }

    fn lock(&mut self, owner: OwnerId, file: FileKey, octets: (u64, u64), exclusive: bool) -> Vec<Answer> {
        let lock = OwnerLock::new(self.request(), owner, file, exclusive).range(octets.0, octets.1);
        self.answers(Event::OwnerLock(lock))
    }

    fn unlock(&mut self, owner: OwnerId, (offset, len): (u64, u64)) -> Vec<Answer> {
        let request = self.request();
        self.answers(Event::OwnerUnlock { request, owner, file: FILE, offset, len })
    }

    fn reserve(&mut self, owner: OwnerId) -> Vec<Answer> {
        let reservation = Reservation::new(self.request(), owner, FILE, Access::READ_DATA);
        self.answers(Event::Reserve(reservation))
    }

    /// An SMB open of the first file, on a connection of its own.
    fn open(&mut self, conn: u64) -> FileId {
        let origin = origin(conn);
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        let client = ClientGuid::from_wire([u8::try_from(conn).unwrap(); 16]);
        self.tell(Event::Connected { conn: origin.conn, client, terms });
        self.tell(Event::SessionBound { conn: origin.conn, session: origin.session });
        let create = Create::new(self.request(), origin, FILE);
        let actions = self.tell(Event::Create(create));
        let [Action::OpenFile { file_id, .. }] = actions[..] else { panic!("{actions:?}") };
        let opened = Opened::new(CreateAction::Opened, ObjectKind::File, 100);
        self.tell(Event::Opened { file_id, result: Ok(opened) });
        file_id
    }

    fn smb_lock(&mut self, conn: u64, file_id: FileId, flags: LockFlags) -> Vec<Answer> {
        let element = LockElement { offset: 0, len: 1, flags };
        let lock = Lock::new(self.request(), origin(conn), file_id, 100, vec![element]);
        self.answers(Event::Lock(lock))
    }
}

fn origin(conn: u64) -> Origin {
    Origin::new(ConnId::new(conn), SessionId::new(conn), TreeId::new(1))
}

/// NLM sends again what was not answered, and fcntl lowers a lock by a call that may wait: neither takes anything from who waits.
#[test]
fn who_asks_for_what_it_has_does_not_wait_behind_those_who_wait_for_it() {
    let mut world = World::new();
    assert_eq!(world.wait(A, FILE, (0, 10), EXCLUSIVE), [Accepted(1)]);
    assert_eq!(world.wait(B, FILE, (0, 10), EXCLUSIVE), [Interim(2)]);
    assert_eq!(world.wait(A, FILE, (0, 10), EXCLUSIVE), [Accepted(3)], "the same once more");
    assert_eq!(world.wait(A, FILE, (2, 5), SHARED), [Accepted(4)], "less");
    assert_eq!(world.wait(A, FILE, (8, 9), EXCLUSIVE), [Accepted(5)], "more, where nobody waits");
}

/// An exclusive lock that nobody wants any more keeps no shared one out.
#[test]
fn who_stood_behind_a_request_that_is_cancelled_goes_on() {
    let mut world = World::new();
    assert_eq!(world.lock(A, FILE, (0, 1), SHARED), [Accepted(1)]);
    assert_eq!(world.wait(B, FILE, (0, 1), EXCLUSIVE), [Interim(2)]);
    assert_eq!(world.wait(C, FILE, (0, 1), SHARED), [Interim(3)]);
    let cancelled = world.answers(Event::Cancel { request: RequestId::new(2) });
    assert_eq!(cancelled, [Refused(2, Status::CANCELLED), Accepted(3)]);
}

/// Likewise where the connection of that request is lost, and its session goes on with another.
#[test]
fn who_stood_behind_a_request_of_a_lost_channel_goes_on() {
    let mut world = World::new();
    let open = world.open(1);
    let (conn, session, terms) =
        (ConnId::new(9), SessionId::new(1), Terms::new(Dialect::Smb311, Capabilities::MULTI_CHANNEL));
    world.tell(Event::Connected { conn, client: ClientGuid::from_wire([1; 16]), terms });
    world.tell(Event::SessionBound { conn, session });
    assert_eq!(world.lock(A, FILE, (0, 1), SHARED), [Accepted(2)]);
    assert_eq!(world.smb_lock(1, open, LockFlags::EXCLUSIVE), [Interim(3)]);
    assert_eq!(world.wait(C, FILE, (0, 1), SHARED), [Interim(4)]);
    assert_eq!(world.answers(Event::Disconnected { conn: ConnId::new(1) }), [Accepted(4)]);
}

/// One that is granted lets the others be looked at anew: that must not put those behind before those ahead.
#[test]
fn a_grant_leaves_the_line_of_others_as_it_was() {
    let mut world = World::new();
    assert_eq!(world.lock(A, FILE, (0, 10), EXCLUSIVE), [Accepted(1)]);
    assert_eq!(world.wait(B, FILE, (0, 1), EXCLUSIVE), [Interim(2)]);
    assert_eq!(world.wait(C, FILE, (5, 1), EXCLUSIVE), [Interim(3)]);
    assert_eq!(world.wait(D, FILE, (5, 1), EXCLUSIVE), [Interim(4)]);
    assert_eq!(world.unlock(A, (0, 1)), [Accepted(5), Accepted(2)]);
    assert_eq!(world.unlock(A, (5, 1)), [Accepted(6), Accepted(3)], "first come, first served");
    assert_eq!(world.unlock(C, (5, 1)), [Accepted(7), Accepted(4)]);
}

/// One open may wait for one range twice: each has its own place in line, and leaves none behind.
#[test]
fn two_requests_for_one_range_have_a_place_each() {
    let mut world = World::new();
    let open = world.open(1);
    assert_eq!(world.lock(A, FILE, (0, 1), EXCLUSIVE), [Accepted(2)]);
    assert_eq!(world.smb_lock(1, open, LockFlags::SHARED), [Interim(3)]);
    assert_eq!(world.smb_lock(1, open, LockFlags::SHARED), [Interim(4)]);
    assert_eq!(world.unlock(A, (0, 1)), [Accepted(5), Accepted(3), Accepted(4)]);
    assert_eq!(world.smb_lock(1, open, LockFlags::UNLOCK), [Accepted(6)]);
    assert_eq!(world.smb_lock(1, open, LockFlags::UNLOCK), [Accepted(7)]);
    assert_eq!(world.wait(B, FILE, (0, 1), EXCLUSIVE), [Accepted(8)], "nobody is left in line");
}

/// A lock that would rather fail overtakes: whoever waits there waits for it too from then on.
#[test]
fn a_circle_over_an_open_that_overtook_is_seen() {
    let mut world = World::new();
    let (first, second) = (world.open(1), world.open(2));
    let overtakes = LockFlags::SHARED | LockFlags::FAIL_IMMEDIATELY;
    assert_eq!(world.lock(B, FILE, (50, 1), EXCLUSIVE), [Accepted(3)]);
    assert_eq!(world.smb_lock(1, first, overtakes), [Accepted(4)]);
    assert_eq!(world.wait(B, FILE, (0, 1), EXCLUSIVE), [Interim(5)], "for the first open");
    assert_eq!(world.smb_lock(2, second, overtakes), [Accepted(6)]);
    let element = LockElement { offset: 50, len: 1, flags: LockFlags::EXCLUSIVE };
    let lock = Lock::new(world.request(), origin(2), second, 100, vec![element]);
    assert_eq!(world.answers(Event::Lock(lock)), [Refused(7, Status::POSSIBLE_DEADLOCK)]);
}

/// As above, over two files.
#[test]
fn a_circle_over_an_owner_that_overtook_is_seen() {
    let mut world = World::new();
    assert_eq!(world.lock(B, OTHER_FILE, (0, 1), EXCLUSIVE), [Accepted(1)]);
    assert_eq!(world.lock(A, FILE, (0, 1), SHARED), [Accepted(2)]);
    assert_eq!(world.wait(B, FILE, (0, 1), EXCLUSIVE), [Interim(3)]);
    assert_eq!(world.lock(D, FILE, (0, 1), SHARED), [Accepted(4)]);
    assert_eq!(world.wait(D, OTHER_FILE, (0, 1), SHARED), [Refused(5, Status::POSSIBLE_DEADLOCK)]);
}

/// fcntl and NLM unlock all of a file by (0, to the end): nothing is left, also not of what was locked up to the end from further on.
#[test]
fn an_unlock_up_to_the_end_leaves_nothing() {
    const TO_THE_END: u64 = u64::MAX;
    let mut world = World::new();
    assert_eq!(world.lock(A, FILE, (12, TO_THE_END), EXCLUSIVE), [Accepted(1)]);
    assert_eq!(world.wait(B, FILE, (30, TO_THE_END), EXCLUSIVE), [Interim(2)]);
    assert_eq!(world.unlock(A, (0, TO_THE_END)), [Accepted(3), Accepted(2)]);
    assert_eq!(world.lock(B, FILE, (0, TO_THE_END), SHARED), [Accepted(4)], "in place of the other");
    assert_eq!(world.lock(A, FILE, (5, TO_THE_END), SHARED), [Accepted(5)]);
    // Nobody can lock what no file has (RFC 8881 18.10.3).
    assert_eq!(world.lock(C, FILE, (u64::MAX, 1), SHARED), [Refused(6, Status::INVALID_LOCK_RANGE)]);
    assert_eq!(world.lock(C, FILE, (u64::MAX, TO_THE_END), SHARED), [Refused(7, Status::INVALID_LOCK_RANGE)]);
    assert_eq!(world.lock(C, FILE, (9, u64::MAX - 9), SHARED), [Accepted(8)]);
    assert_eq!(world.lock(C, FILE, (9, u64::MAX - 8), SHARED), [Refused(9, Status::INVALID_LOCK_RANGE)]);
}

/// Who asks in time for what it had gets it, also if it has to wait for longer than the time of grace.
#[test]
fn a_reclaim_that_waits_is_in_time() {
    let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
    config.reclaim_grace = Duration::from_secs(90);
    let mut world = World { server: Server::new(config), requests: 0 };
    let reclaim = |world: &mut World, owner| {
        let lock = OwnerLock::new(world.request(), owner, FILE, EXCLUSIVE).range(0, 1).waiting().reclaiming();
        world.answers(Event::OwnerLock(lock))
    };
    assert_eq!(reclaim(&mut world, A), [Accepted(1)]);
    assert_eq!(reclaim(&mut world, B), [Interim(2)]);
    assert_eq!(world.answers(Event::GraceOver), []);
    assert_eq!(reclaim(&mut world, C), [Refused(3, Status::REQUEST_NOT_ACCEPTED)], "too late");
    assert_eq!(world.unlock(A, (0, 1)), [Accepted(4), Accepted(2)]);
}

/// RFC 8881 10.4.1: whoever reads leaves a reader what it has.
#[test]
fn what_runs_and_would_recall_nothing_keeps_no_delegation_back() {
    let mut world = World::new();
    assert_eq!(world.reserve(C), [Accepted(1)]);
    let (request, actor) = (world.request(), Actor::Owner(D));
    let intent = Intent::Read { offset: 0, len: 1 };
    let actions = world.tell(Event::Operate { request, origin: None, file: FILE, actor, intent });
    assert!(matches!(actions[..], [Action::Proceed { .. }]), "{actions:?}");
    let (request, owner, file) = (world.request(), C, FILE);
    let kind = DelegationKind::Write;
    let answers = world.answers(Event::Delegate { request, owner, file, kind, reclaims: false });
    assert_eq!(answers, [Refused(3, Status::OPLOCK_NOT_GRANTED)]);
    let (request, kind) = (world.request(), DelegationKind::Read);
    let answers = world.answers(Event::Delegate { request, owner, file, kind, reclaims: false });
    assert_eq!(answers, [Accepted(4)]);
}
