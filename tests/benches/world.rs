//! A server with one client on one connection, and a driver that does nothing but answer.

use std::time::Duration;

use leasehold::server::{
    Action, Capabilities, Config, Create, Event, Lock, LockElement, LockFlags, ObjectKind, Opened, Origin,
    RouteSeed, Server, Terms,
};
use leasehold::wire::{BreakFlags, Lease, LeaseAck, LeaseFlags, LeaseV2};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, Dialect, Epoch, FileId, FileKey, HashKey, Instant, Intent,
    LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId, TreeId,
};

pub(crate) const READ: Intent = Intent::Read { offset: 0, len: 4096 };
pub(crate) const WRITE: Intent = Intent::Write { offset: 0, len: 4096 };
const ORIGIN: Origin = Origin::new(ConnId::new(1), SessionId::new(1), TreeId::new(1));

pub(crate) struct World {
    server: Server,
    actions: Vec<Action>,
    now: Instant,
    requests: u64,
    seed: u64,
    /// Opens of the mixed load: file, key, open.
    pool: Vec<(u64, u64, FileId)>,
}

impl World {
    /// A server with room for that many leases.
    pub(crate) fn new(leases: usize) -> Self {
        let mut config = Config::new(HashKey::new([7; 16]), RouteSeed::new([9; 16]), 1);
        let room = 2 * leases + 1_000_000;
        config.expected_leases = leases + 1_000;
        let limits = &mut config.limits;
        (limits.opens, limits.leases, limits.files, limits.waiters) = (room, room, room, room);
        (limits.leases_per_client, limits.opens_per_session, limits.opens_per_file) =
            (u32::MAX, u32::MAX, u32::MAX);
        (limits.waiters_per_connection, limits.waiters_per_file) = (u32::MAX, u32::MAX);
        (limits.locks, limits.locks_per_open) = (room, u32::MAX);
        let server = Server::new(config);
        let now = Instant::from_millis(1);
        let mut world = Self { server, actions: Vec::new(), now, requests: 0, seed: 1, pool: Vec::new() };
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        let client = ClientGuid::from_wire([1; 16]);
        world.tell(Event::Connected { conn: ORIGIN.conn, client, terms });
        world.tell(Event::SessionBound { conn: ORIGIN.conn, session: ORIGIN.session });
        world
    }

    /// A server with that many files, each open once with RH.
    pub(crate) fn with_live_leases(live: u64) -> Self {
        let mut world = Self::new(live as usize);
        for file in 0..live {
            world.open(u128::from(file), Some((file, LeaseState::RH)));
        }
        world
    }

    fn tell(&mut self, event: Event) {
        self.actions.clear();
        self.server.handle(self.now, event, &mut self.actions).unwrap();
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    /// Sends a CREATE. Returns the open, if the file is to be opened at once.
    fn create(&mut self, file: u128, level: OplockLevel, lease: Option<(u64, LeaseState)>) -> Option<FileId> {
        let request = self.request();
        let lease = lease.map(|(key, state)| {
            let (flags, parent, epoch) = (LeaseFlags::empty(), None, Epoch::ZERO);
            Lease::V2(LeaseV2 { key: key_of(key), state, flags, parent, epoch })
        });
        let level = if lease.is_some() { OplockLevel::Lease } else { level };
        self.tell(Event::Create(Create::new(request, ORIGIN, FileKey::new(file)).caching(level, lease)));
        match self.actions.last() {
            Some(Action::OpenFile { file_id, .. }) => Some(*file_id),
            _ => None,
        }
    }

    fn opened(&mut self, file_id: FileId) {
        let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, 1 << 20));
        self.tell(Event::Opened { file_id, result });
    }

    /// Opens a file, with a lease of that key and state.
    pub(crate) fn open(&mut self, file: u128, lease: Option<(u64, LeaseState)>) -> FileId {
        let file_id = self.create(file, OplockLevel::None, lease).expect("nobody is in the way");
        self.opened(file_id);
        file_id
    }

    /// Asks to open a file whose holder has to come down first.
    pub(crate) fn ask(&mut self, file: u128, level: OplockLevel) {
        assert_eq!(self.create(file, level, None), None, "it waits");
    }

    pub(crate) fn close(&mut self, file_id: FileId) {
        let request = self.request();
        self.tell(Event::Close { request, session: ORIGIN.session, file_id });
    }

    /// An operation through an open, from `Operate` to `Done`.
    pub(crate) fn operate(&mut self, file: u128, open: FileId, intent: Intent) {
        let request = self.request();
        let (origin, actor) = (Some(ORIGIN), Actor::Open(open));
        self.tell(Event::Operate { request, origin, file: FileKey::new(file), actor, intent });
        let Some(Action::Proceed { ticket, .. }) = self.actions.last().cloned() else { return };
        self.tell(Event::Done { ticket, result: Ok(()) });
    }

    pub(crate) fn acknowledge(&mut self, key: u64, state: LeaseState) {
        let request = self.request();
        let ack = LeaseAck { key: key_of(key), state };
        self.tell(Event::LeaseAck { request, conn: ORIGIN.conn, ack });
    }

    pub(crate) fn lock(&mut self, open: FileId, offset: u64, flags: LockFlags) {
        let request = self.request();
        let flags = if flags == LockFlags::UNLOCK { flags } else { flags | LockFlags::FAIL_IMMEDIATELY };
        let elements = vec![LockElement { offset, len: 1, flags }];
        self.tell(Event::Lock(Lock::new(request, ORIGIN, open, 1 << 40, elements)));
        assert!(matches!(self.actions.last(), Some(Action::Accepted { .. })), "{:?}", self.actions);
    }

    /// Lets time pass. Returns how much was said.
    pub(crate) fn pass(&mut self, time: Duration) -> usize {
        self.now = self.now.saturating_add(time);
        let mut said = 0;
        while self.server.poll_timeout().is_some_and(|due| due <= self.now) {
            self.actions.clear();
            self.server.handle_timeout(self.now, &mut self.actions);
            said += self.actions.len();
        }
        said
    }

    /// A number below `bound`, of a sequence without an end.
    pub(crate) fn any(&mut self, bound: u64) -> u64 {
        // splitmix64, Steele, Lea and Flood 2014.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// About that many events: of ten, four open or close, four read or write, and the rest follow from breaks.
    pub(crate) fn mix(&mut self, events: u64) {
        let mut told = 0;
        while told < events {
            match self.any(8) {
                0 | 1 if self.pool.len() < 50_000 => told += self.mixed_open(),
                0 | 1 => {
                    let at = self.any(self.pool.len() as u64) as usize;
                    let (_, _, open) = self.pool.swap_remove(at);
                    self.close(open);
                    told += 1;
                }
                2..=6 if !self.pool.is_empty() => {
                    let at = self.any(self.pool.len() as u64) as usize;
                    let (file, _, open) = self.pool[at];
                    let intent = if self.any(4) == 0 { WRITE } else { READ };
                    told += self.mixed_operation(file, open, intent);
                }
                _ => {
                    let Some((_, _, open)) = self.pool.last().copied() else { continue };
                    self.lock(open, 1, LockFlags::SHARED);
                    told += 1 + self.answer_breaks();
                    self.lock(open, 1, LockFlags::UNLOCK);
                    told += 1;
                }
            }
        }
    }

    fn mixed_open(&mut self) -> u64 {
        const FILES: u64 = 40_000;
        let (file, key) = (self.any(FILES), self.requests + (1 << 40));
        let states = [LeaseState::R, LeaseState::RH, LeaseState::RWH, LeaseState::RWH];
        let state = states[self.any(4) as usize];
        let mut told = 1;
        // In front of files of the live leases.
        let file = file + (1 << 32);
        let mut open = self.create(u128::from(file), OplockLevel::None, Some((key, state)));
        if open.is_none() {
            told += self.answer_breaks();
            open = self.actions.iter().find_map(|action| match action {
                Action::OpenFile { file_id, .. } => Some(*file_id),
                _ => None,
            });
        }
        let open = open.expect("everybody has come down");
        self.opened(open);
        self.pool.push((file, key, open));
        told + 1
    }

    fn mixed_operation(&mut self, file: u64, open: FileId, intent: Intent) -> u64 {
        let request = self.request();
        let (origin, actor) = (Some(ORIGIN), Actor::Open(open));
        self.tell(Event::Operate { request, origin, file: FileKey::new(file.into()), actor, intent });
        let proceed = |actions: &[Action]| {
            actions.iter().find_map(|action| match action {
                Action::Proceed { ticket, .. } => Some(*ticket),
                _ => None,
            })
        };
        let mut ticket = proceed(&self.actions);
        let told = self.answer_breaks();
        ticket = ticket.or_else(|| proceed(&self.actions));
        self.tell(Event::Done { ticket: ticket.expect("everybody has come down"), result: Ok(()) });
        told + 2
    }

    /// Acknowledges what the last event has broken. The actions of the last acknowledgment are left.
    fn answer_breaks(&mut self) -> u64 {
        let mut told = 0;
        let mut due: Vec<LeaseAck> = Vec::new();
        let owed = |actions: &[Action], due: &mut Vec<LeaseAck>| {
            for action in actions {
                if let Action::SendLeaseBreak { body, .. } = action {
                    if body.flags.contains(BreakFlags::ACK_REQUIRED) {
                        due.push(LeaseAck { key: body.key, state: body.new });
                    }
                }
            }
        };
        owed(&self.actions, &mut due);
        while let Some(ack) = due.pop() {
            let request = self.request();
            self.tell(Event::LeaseAck { request, conn: ORIGIN.conn, ack });
            owed(&self.actions, &mut due);
            told += 1;
        }
        told
    }
}

fn key_of(number: u64) -> LeaseKey {
    let mut octets = [0x5a; 16];
    octets[..8].copy_from_slice(&number.to_le_bytes());
    LeaseKey::new(octets)
}
