//! What a server counts, along a story that is counted by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

use leasehold::server::{
    Action, Capabilities, Config, Create, Event, ObjectKind, Opened, Origin, RouteSeed, Server, Terms,
};
use leasehold::wire::{Lease, LeaseAck, LeaseFlags, LeaseV2};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, Dialect, Epoch, FileKey, HashKey, Instant, Intent, LeaseKey,
    LeaseState, Machine, OplockLevel, RequestId, SessionId, TreeId,
};

struct Story {
    server: Server,
    millis: u64,
    next: u64,
}

impl Story {
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.server.handle(Instant::from_millis(self.millis), event, &mut actions).unwrap();
        actions
    }

    fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId::new(self.next)
    }

    /// A client with one connection and one session, all of that number.
    fn connect(&mut self, number: u8) {
        let (conn, client) = (ConnId::new(number.into()), ClientGuid::from_wire([number; 16]));
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        self.tell(Event::Connected { conn, client, terms });
        self.tell(Event::SessionBound { conn, session: SessionId::new(number.into()) });
    }

    fn create(
        &mut self,
        conn: u8,
        file: u128,
        level: OplockLevel,
        lease: Option<(u8, LeaseState)>,
    ) -> Vec<Action> {
        let origin = Origin::new(ConnId::new(conn.into()), SessionId::new(conn.into()), TreeId::new(1));
        let lease = lease.map(|(key, state)| {
            let (key, flags) = (LeaseKey::new([key; 16]), LeaseFlags::empty());
            Lease::V2(LeaseV2 { key, state, flags, parent: None, epoch: Epoch::ZERO })
        });
        let level = if lease.is_some() { OplockLevel::Lease } else { level };
        let create = Create::new(self.request(), origin, FileKey::new(file)).caching(level, lease);
        let actions = self.tell(Event::Create(create));
        self.open(&actions);
        actions
    }

    /// Opens the files that are to be opened.
    fn open(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::OpenFile { file_id, .. } = action {
                let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, u64::MAX));
                self.tell(Event::Opened { file_id: *file_id, result });
            }
        }
    }

    fn acknowledge(&mut self, conn: u8, key: u8, state: LeaseState) {
        let (request, conn) = (self.request(), ConnId::new(conn.into()));
        let ack = LeaseAck { key: LeaseKey::new([key; 16]), state };
        let actions = self.tell(Event::LeaseAck { request, conn, ack });
        self.open(&actions);
    }
}

#[test]
fn every_grant_and_every_break_is_counted_once() {
    let config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
    let mut story = Story { server: Server::new(config), millis: 0, next: 0 };
    story.connect(1);
    story.connect(2);
    // Granted with something to cache, with nothing, raised, and an oplock.
    story.create(1, 1, OplockLevel::None, Some((1, LeaseState::RWH)));
    story.create(1, 2, OplockLevel::None, Some((2, LeaseState::NONE)));
    let stats = story.server.stats();
    assert_eq!((stats.granted, stats.leases_granted, stats.leases_raised, stats.leases), (2, 1, 0, 2));
    story.create(1, 2, OplockLevel::None, Some((2, LeaseState::R)));
    story.create(1, 3, OplockLevel::Batch, None);
    let stats = story.server.stats();
    assert_eq!((stats.granted, stats.leases_granted, stats.leases_raised), (4, 1, 1));
    assert_eq!((stats.oplocks_granted, stats.opens, stats.leases), (1, 4, 2));
    // A break that is acknowledged after 5 ms, first wrongly: 4 to 8 ms are the class of number 3.
    story.millis = 100;
    story.create(2, 1, OplockLevel::None, Some((3, LeaseState::RH)));
    let stats = story.server.stats();
    assert_eq!((stats.lease_breaks_sent, stats.waited, stats.waiters, stats.breaking), (1, 1, 1, 1));
    story.millis = 103;
    story.acknowledge(1, 1, LeaseState::RWH);
    let stats = story.server.stats();
    assert_eq!((stats.acknowledgments_refused, stats.breaks_acknowledged, stats.waiters), (1, 0, 1));
    assert_eq!(stats.acknowledgment_latency, [0; 16]);
    story.millis = 105;
    story.acknowledge(1, 1, LeaseState::RH);
    let stats = story.server.stats();
    assert_eq!((stats.acknowledgments_refused, stats.breaks_acknowledged, stats.waiters), (1, 1, 0));
    assert_eq!(stats.acknowledgment_latency, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((stats.granted, stats.leases_granted, stats.breaking), (5, 2, 0));
    // One whose deadline passes.
    story.millis = 200;
    story.create(2, 3, OplockLevel::None, None);
    story.millis = 35_200;
    let mut actions = Vec::new();
    story.server.handle_timeout(Instant::from_millis(story.millis), &mut actions);
    story.open(&actions);
    let stats = story.server.stats();
    assert_eq!((stats.oplock_breaks_sent, stats.breaks_timed_out, stats.granted), (1, 1, 6));
    assert_eq!(stats.breaks_acknowledged, 1);
    // Two that nobody waits for, of which one cannot be told.
    let (request, file) = (story.request(), FileKey::new(1));
    let intent = Intent::Write { offset: 0, len: 1 };
    let actions = story.tell(Event::Operate { request, origin: None, file, actor: Actor::Other, intent });
    let Action::SendLeaseBreak { id, conn, .. } = actions[0] else { panic!("{actions:?}") };
    let stats = story.server.stats();
    assert_eq!((stats.lease_breaks_sent, stats.waited, stats.breaking), (3, 2, 2));
    story.tell(Event::Undelivered { id, conn });
    let stats = story.server.stats();
    assert_eq!((stats.breaks_undeliverable, stats.breaking, stats.lease_breaks_sent), (1, 1, 3));
    assert_eq!((stats.refused, stats.sharing_violations, stats.anomalies), (0, 0, 0));
}
