//! Messages between the registry and a shard that cross: each of the two has its own thread in a driver that shards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::wildcard_enum_match_arm)]

use std::num::NonZeroU16;

use leasehold::server::{
    Action, Capabilities, Config, Create, Event, ObjectKind, Opened, Origin, OwnerLock, Registry,
    RegistryAction, RegistryEvent, RouteSeed, Shard, ShardAction, Terms, ToRegistry, ToShard,
};
use leasehold::wire::{Lease, LeaseAck, LeaseFlags, LeaseV2};
use leasehold::{
    ClientGuid, ConnId, CreateAction, Dialect, Epoch, FileKey, HashKey, Instant, LeaseKey, LeaseState,
    Machine, OplockLevel, OwnerId, Protocol, RequestId, SessionId, TreeId,
};

struct Pair {
    registry: Registry,
    shard: Shard,
}

impl Pair {
    fn new() -> Self {
        let config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        Self { registry: Registry::new(config, NonZeroU16::MIN), shard: Shard::new(config) }
    }

    /// What the registry has for the shard, of what the driver has for the registry.
    fn tell_registry(&mut self, event: RegistryEvent) -> Vec<ToShard> {
        let mut actions = Vec::new();
        self.registry.handle(Instant::ZERO, event, &mut actions).unwrap();
        let message = |action| match action {
            RegistryAction::Shard(_, message) | RegistryAction::Broadcast(message) => message,
            RegistryAction::Driver(action) => panic!("{action:?}"),
        };
        actions.into_iter().map(message).collect()
    }

    /// What the shard has for the driver and for the registry.
    fn tell_shard(&mut self, message: ToShard) -> (Vec<Action>, Vec<ToRegistry>) {
        let (mut actions, mut done, mut messages) = (Vec::new(), Vec::new(), Vec::new());
        self.shard.handle(Instant::ZERO, message, &mut actions).unwrap();
        for action in actions {
            match action {
                ShardAction::Driver(action) => done.push(action),
                ShardAction::Registry(message) => messages.push(message),
            }
        }
        (done, messages)
    }

    /// An event and all that follows.
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let (mut events, mut done) = (vec![RegistryEvent::Driver(event)], Vec::new());
        while let Some(event) = events.pop() {
            let mut actions = Vec::new();
            self.registry.handle(Instant::ZERO, event, &mut actions).unwrap();
            for action in actions {
                match action {
                    RegistryAction::Driver(action) => done.push(action),
                    RegistryAction::Shard(_, message) | RegistryAction::Broadcast(message) => {
                        let (more, messages) = self.tell_shard(message);
                        done.extend(more);
                        events.extend(messages.into_iter().map(RegistryEvent::Shard));
                    }
                }
            }
        }
        done
    }

    fn connect(&mut self, number: u8) {
        let (conn, client) = (ConnId::new(number.into()), ClientGuid::from_wire([number; 16]));
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        assert!(self.tell(Event::Connected { conn, client, terms }).is_empty());
        assert!(self.tell(Event::SessionBound { conn, session: SessionId::new(number.into()) }).is_empty());
    }

    /// A CREATE of the one file there is, with a lease of the client's key.
    fn create(&mut self, conn: u8, request: u64, state: LeaseState) -> Vec<Action> {
        let origin = Origin::new(ConnId::new(conn.into()), SessionId::new(conn.into()), TreeId::new(1));
        let key = LeaseKey::new([conn; 16]);
        let lease = LeaseV2 { key, state, flags: LeaseFlags::empty(), parent: None, epoch: Epoch::ZERO };
        let create = Create::new(RequestId::new(request), origin, FileKey::new(1))
            .caching(OplockLevel::Lease, Some(Lease::V2(lease)));
        self.tell(Event::Create(create))
    }

    /// A byte-range lock of one octet that would rather wait, as far as the registry: what is to be told next, and to whom.
    fn lock(&mut self, lock: OwnerLock) -> (Vec<Action>, Vec<ToRegistry>) {
        let message = self.tell_registry(RegistryEvent::Driver(Event::OwnerLock(lock))).remove(0);
        self.tell_shard(message)
    }

    fn unlock(&mut self, request: u64, owner: OwnerId, file: u128) -> (Vec<Action>, Vec<ToRegistry>) {
        let (request, file) = (RequestId::new(request), FileKey::new(file));
        let event = Event::OwnerUnlock { request, owner, file, offset: 0, len: u64::MAX };
        let message = self.tell_registry(RegistryEvent::Driver(event)).remove(0);
        self.tell_shard(message)
    }

    /// The file that was to be opened is open: the lease context of the answer.
    fn opened(&mut self, actions: &[Action]) -> LeaseV2 {
        let file_id = actions.iter().find_map(|action| match action {
            Action::OpenFile { file_id, .. } => Some(*file_id),
            _ => None,
        });
        let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, u64::MAX));
        let actions = self.tell(Event::Opened { file_id: file_id.unwrap(), result });
        match actions.as_slice() {
            [Action::Granted { grant, .. }] => match grant.lease {
                Some(Lease::V2(lease)) => lease,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// MS-SMB2 3.3.4.7, 3.3.5.22.2: the registry finds that nobody is left to tell while the acknowledgment is on its way.
#[test]
fn a_report_that_crosses_an_acknowledgment_takes_nothing() {
    let mut pair = Pair::new();
    pair.connect(1);
    pair.connect(2);
    let opens = pair.create(1, 1, LeaseState::RWH);
    assert_eq!(pair.opened(&opens).state, LeaseState::RWH);
    let breaks = pair.create(2, 2, LeaseState::R);
    let id = breaks.iter().find_map(|action| match action {
        Action::SendLeaseBreak { id, .. } => Some(*id),
        _ => None,
    });
    let (id, conn) = (id.unwrap(), ConnId::new(1));
    // It is said not to have gone out, and the shard asks for another connection.
    let undelivered = pair.tell_registry(RegistryEvent::Driver(Event::Undelivered { id, conn })).remove(0);
    let (done, mut again) = pair.tell_shard(undelivered);
    assert!(done.is_empty());
    // But it has: here is the answer. Behind it comes that there is no other connection.
    let ack = LeaseAck { key: LeaseKey::new([1; 16]), state: LeaseState::RH };
    let request = RequestId::new(3);
    let ack = pair.tell_registry(RegistryEvent::Driver(Event::LeaseAck { request, conn, ack })).remove(0);
    let nobody = pair.tell_registry(RegistryEvent::Shard(again.remove(0))).remove(0);
    let (opens, _) = pair.tell_shard(ack);
    assert!(matches!(opens[0], Action::AnswerLeaseAck { result: Ok(_), .. }), "{opens:?}");
    assert!(pair.tell_shard(nobody).0.is_empty());
    assert_eq!(pair.opened(&opens).state, LeaseState::R);
    // The lease is what was acknowledged.
    let opens = pair.create(1, 4, LeaseState::R);
    let lease = pair.opened(&opens);
    assert_eq!((lease.state, lease.epoch), (LeaseState::RH, Epoch::new(2)));
    assert_eq!((pair.shard.stats().breaks_undeliverable, pair.shard.stats().anomalies), (0, 0));
}

/// XNFS NLM_LOCK: a circle is found while the lock that closes it is unlocked. Nobody who waits for less by now is refused for it.
#[test]
fn a_deadlock_that_crosses_an_unlock_is_none() {
    let mut pair = Pair::new();
    let [a, b, c] = [1, 2, 3].map(|id| OwnerId::new(Protocol::Nlm, 1, id));
    let lock = |request, owner, file, exclusive| {
        OwnerLock::new(RequestId::new(request), owner, FileKey::new(file), exclusive).waiting()
    };
    let accepted = |request| Action::Accepted { request: RequestId::new(request) };
    let interim = |request| Action::Interim { request: RequestId::new(request) };
    for (request, owner, file, exclusive) in [(1, a, 1, false), (2, c, 1, false), (3, b, 2, true)] {
        assert_eq!(pair.tell(Event::OwnerLock(lock(request, owner, file, exclusive))), [accepted(request)]);
    }
    assert_eq!(pair.tell(Event::OwnerLock(lock(4, a, 2, true))), [interim(4)]);
    // B waits for A and C: a circle. But that is not known as yet, and A unlocks.
    let (done, mut of_both) = pair.lock(lock(5, b, 1, true));
    assert!(done.is_empty());
    let (done, mut of_one) = pair.unlock(6, a, 1);
    assert_eq!(done, [accepted(6)]);
    let [first, second] = [&mut of_both, &mut of_one]
        .map(|message| pair.tell_registry(RegistryEvent::Shard(message.remove(0))).remove(0));
    assert!(pair.tell_shard(first).0.is_empty());
    assert_eq!(pair.tell_shard(second).0, [interim(5)]);
    assert_eq!(pair.unlock(7, c, 1).0, [accepted(7), accepted(5)]);
    assert_eq!(pair.shard.stats().deadlocks, 0);
}
