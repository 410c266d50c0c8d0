//! Opens that outlive their connection, or their server: what comes after an outage.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use leasehold::persist::{Change, Record};
use leasehold::server::{
    Action, Capabilities, Config, Create, Durability, Event, ObjectKind, Opened, Origin, Reconnect,
    RouteSeed, Server, Share, ShareFlags, ShareKind, Terms,
};
use leasehold::wire::{DurableFlags, Lease, LeaseFlags, LeaseV2};
use leasehold::{
    ClientGuid, ConnId, CreateAction, CreateGuid, Dialect, Epoch, FileKey, HashKey, Instant, LeaseKey,
    LeaseState, Machine, OplockLevel, RequestId, SessionId, TreeId, UserId,
};

const CLIENT: ClientGuid = ClientGuid::from_wire([1; 16]);
const SHARE: Share = Share::new(ShareKind::Disk, ShareFlags::CONTINUOUSLY_AVAILABLE);

/// A server with a store that is done at once, and what it stored.
struct World {
    server: Server,
    actions: Vec<Action>,
    records: Vec<Record>,
    /// FileId.Persistent of each open.
    opens: Vec<u64>,
}

impl World {
    fn new(room: u64) -> Self {
        let mut config = Config::new(HashKey::new([7; 16]), RouteSeed::new([9; 16]), 1);
        let room = room as usize + 1;
        config.persistence = true;
        config.expected_leases = room;
        let limits = &mut config.limits;
        (limits.opens, limits.leases, limits.files) = (room, room, room);
        (limits.leases_per_client, limits.opens_per_session) = (u32::MAX, u32::MAX);
        Self { server: Server::new(config), actions: Vec::new(), records: Vec::new(), opens: Vec::new() }
    }

    fn tell(&mut self, event: Event) {
        self.actions.clear();
        self.server.handle(Instant::from_millis(1), event, &mut self.actions).unwrap();
        let mut stored = None;
        for action in self.actions.drain(..) {
            match action {
                Action::Persist { seq, change: Change::Put(record) } => {
                    stored = Some(seq);
                    self.records.push(*record);
                }
                Action::Persist { seq, .. } => stored = Some(seq),
                Action::Granted { grant, .. } => self.opens.push(grant.file_id.persistent),
                Action::OpenFile { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        if let Some(up_to) = stored {
            self.tell(Event::Persisted { up_to });
        }
    }

    fn connect(&mut self, conn: ConnId) -> Origin {
        let capabilities = Capabilities::LEASING | Capabilities::PERSISTENT_HANDLES;
        let terms = Terms::new(Dialect::Smb311, capabilities);
        let session = SessionId::new(conn.get());
        self.tell(Event::Connected { conn, client: CLIENT, terms });
        self.tell(Event::SessionBound { conn, session });
        Origin::new(conn, session, TreeId::new(1))
    }

    /// A server whose one client had that many files open, each with RWH, when its connection was lost.
    fn after_an_outage(opens: u64, persistent: bool) -> Self {
        let mut world = Self::new(opens);
        world.tell(Event::Recovered);
        let origin = world.connect(ConnId::new(1));
        for number in 0..opens {
            let durability = Durability::V2 { timeout: 0, create_guid: guid(number), persistent };
            let create = Create::new(RequestId::new(number), origin, FileKey::new(number.into()))
                .caching(OplockLevel::Lease, Some(lease(number)))
                .durable(UserId::default(), durability)
                .place(SHARE, None);
            world.actions.clear();
            world.server.handle(Instant::from_millis(1), Event::Create(create), &mut world.actions).unwrap();
            let Some(Action::OpenFile { file_id, .. }) = world.actions.last() else { panic!("in the way") };
            let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, 0));
            world.tell(Event::Opened { file_id: *file_id, result });
        }
        world.records.clear();
        world.tell(Event::Disconnected { conn: origin.conn });
        world
    }

    fn take_back(&mut self, persistent: bool) {
        let origin = self.connect(ConnId::new(2));
        let flags = if persistent { DurableFlags::PERSISTENT } else { DurableFlags::empty() };
        for (number, open) in (0..).zip(std::mem::take(&mut self.opens)) {
            let request = RequestId::new(number);
            let reconnect = Reconnect::new(request, origin, UserId::default(), open)
                .with_guid(guid(number))
                .flags(flags, SHARE)
                .lease(lease(number), Some(FileKey::new(number.into())));
            self.tell(Event::Reconnect(reconnect));
        }
    }
}

fn guid(number: u64) -> CreateGuid {
    CreateGuid::from_wire((u128::from(number) | 1 << 127).to_le_bytes())
}

fn lease(number: u64) -> Lease {
    let key = LeaseKey::new((u128::from(number) | 1 << 127).to_le_bytes());
    let (flags, parent, epoch) = (LeaseFlags::empty(), None, Epoch::ZERO);
    Lease::V2(LeaseV2 { key, state: LeaseState::RWH, flags, parent, epoch })
}

/// That many durable opens, given back one after the other.
#[divan::bench(args = [100_000], sample_count = 5, sample_size = 1)]
fn reconnect_durable(bencher: Bencher<'_, '_>, opens: u64) {
    reconnect(bencher, opens, false);
}

/// As above, persistent ones, each of which is stored again.
#[divan::bench(args = [100_000], sample_count = 5, sample_size = 1)]
fn reconnect_persistent(bencher: Bencher<'_, '_>, opens: u64) {
    reconnect(bencher, opens, true);
}

fn reconnect(bencher: Bencher<'_, '_>, opens: u64, persistent: bool) {
    bencher
        .counter(ItemsCount::new(opens))
        .with_inputs(|| World::after_an_outage(opens, persistent))
        .bench_local_refs(|world| {
            world.take_back(persistent);
            assert_eq!(world.opens.len() as u64, opens, "all are given back");
        });
}

/// A server that is started anew with that many records, from their octets on.
fn restart(bencher: Bencher<'_, '_>, records: u64) {
    let mut before = World::after_an_outage(records, true);
    // From the latest to the earliest.
    let latest_first = before.records.drain(..).rev();
    let octets: Vec<(u64, Vec<u8>)> =
        latest_first.map(|record| (record.persistent, record.encode())).collect();
    drop(before);
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let mut world = World::new(records);
        for (persistent, octets) in &octets {
            let record = Box::new(Record::decode_as(*persistent, octets).unwrap());
            world.tell(Event::Restore { record, elapsed: std::time::Duration::ZERO });
        }
        world.tell(Event::Recovered);
        assert_eq!(world.server.stats().orphans, records, "all wait for their clients");
        black_box(world)
    });
}

#[divan::bench(name = "restart", args = [100_000], sample_count = 3, sample_size = 1)]
fn restart_warm(bencher: Bencher<'_, '_>, records: u64) {
    restart(bencher, records);
}

#[divan::bench(name = "restart_large", args = [1_000_000], sample_count = 3, sample_size = 1, ignore)]
fn restart_cold(bencher: Bencher<'_, '_>, records: u64) {
    restart(bencher, records);
}
