//! Random histories of a server and its clients: the machine and the model of `model/` must say the same, event by event.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that goes wrong should stop"
)]

mod model;

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{
    Action, Capabilities, ChannelChoice, Config, Create, Event, FollowUp, FollowUpEpoch, LeaseIdentity, Link,
    Lock, LockElement, LockFlags, LockReach, ObjectKind, Opened, Origin, OvertakenAck, Profile, Protection,
    RouteSeed, SessionEnd, Share, ShareFlags, ShareKind, Terms, UnexpectedAck,
};
use leasehold::wire::{Lease, LeaseAck, LeaseFlags, LeaseV1, LeaseV2, OplockBreak};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, Epoch, FileId,
    FileKey, HashKey, Instant, Intent, LeaseKey, LeaseState, OplockLevel, RequestId, SessionId, ShareMode,
    Status, TreeId,
};
use model::harness::{About, Harness};
use model::{Phase, Who};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Places at which a client can be connected: who, with which dialect. The first two are one client with one session.
const SLOTS: [(u8, Dialect); 5] = [
    (1, Dialect::Smb311),
    (1, Dialect::Smb311),
    (2, Dialect::Smb300),
    (3, Dialect::Smb210),
    (4, Dialect::Smb202),
];
/// Names 0 to 2 are files, 3 and 4 are directories: the one of the files, and another.
const FILES: usize = 3;
const NAMES: usize = 5;

const ACCESSES: [Access; 8] = [
    Access::READ_DATA,
    Access::WRITE_DATA,
    Access::READ_DATA.union(Access::WRITE_DATA),
    Access::READ_ATTRIBUTES,
    Access::READ_CONTROL,
    Access::DELETE,
    Access::READ_DATA.union(Access::DELETE),
    Access::MAXIMUM_ALLOWED,
];

/// One step. Numbers choose among what there is at the time, so that a history stays one when it is made shorter.
#[derive(Clone, Debug)]
enum Step {
    Connect {
        slot: usize,
    },
    Disconnect {
        slot: usize,
    },
    Logoff {
        slot: usize,
    },
    TreeDisconnect {
        slot: usize,
        tree: u32,
    },
    Create(Wish),
    Opened {
        nth: usize,
        fails: bool,
        empty: bool,
    },
    Operate {
        slot: usize,
        nth: usize,
        actor: u8,
        local: bool,
        name: usize,
        what: u8,
        offset: u64,
        len: u64,
    },
    Done {
        nth: usize,
        fails: bool,
    },
    Lock {
        slot: usize,
        nth: usize,
        empty: bool,
        elements: Vec<LockElement>,
    },
    Cancel {
        nth: usize,
    },
    Close {
        slot: usize,
        nth: usize,
        own: bool,
    },
    /// Answers a notification: as told, with less, or with anything.
    Ack {
        slot: usize,
        nth: usize,
        how: u8,
        level: u8,
    },
    Undelivered {
        nth: usize,
    },
    Time {
        millis: u64,
    },
}

/// A CREATE.
#[derive(Clone, Debug)]
struct Wish {
    slot: usize,
    name: usize,
    tree: u32,
    access: usize,
    sharing: u32,
    disposition: u32,
    delete: bool,
    opfilter: bool,
    level: u8,
    lease: Option<(u8, u32, bool, Option<u8>)>,
    share: u8,
}

fn wishes() -> impl Strategy<Value = Wish> {
    let sharing = prop_oneof![6 => Just(7), 1 => 0..8u32];
    let disposition = prop_oneof![6 => Just(3), 2 => Just(1), 1 => Just(5), 1 => 0..6u32];
    let key = prop_oneof![16 => 1..4u8, 1 => Just(0)];
    let lease = (key, prop_oneof![3 => Just(7), 2 => Just(3), 2 => 0..8u32], prop::bool::weighted(0.7));
    let parent = prop::option::weighted(0.5, 0..4u8);
    let lease = prop::option::weighted(0.8, (lease, parent))
        .prop_map(|lease| lease.map(|((key, state, second), parent)| (key, state, second, parent)));
    let level =
        prop_oneof![6 => Just(0xff), 1 => Just(0), 2 => Just(1), 1 => Just(8), 2 => Just(9), 1 => Just(0x33)];
    let what = (0..SLOTS.len(), prop_oneof![5 => 0..2usize, 2 => 0..NAMES], 0..2u32, 0..ACCESSES.len());
    let rare = prop::bool::weighted(0.02);
    let share = prop_oneof![12 => Just(0), 1 => 1..5u8];
    ((what, sharing, disposition, prop::bool::weighted(0.15)), (rare, level, lease, share)).prop_map(
        |(((slot, name, tree, access), sharing, disposition, delete), (opfilter, level, lease, share))| {
            Wish { slot, name, tree, access, sharing, disposition, delete, opfilter, level, lease, share }
        },
    )
}

fn elements() -> impl Strategy<Value = Vec<LockElement>> {
    let kinds = vec![
        LockFlags::SHARED,
        LockFlags::EXCLUSIVE,
        LockFlags::SHARED | LockFlags::FAIL_IMMEDIATELY,
        LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY,
        LockFlags::UNLOCK,
        LockFlags::UNLOCK,
        LockFlags::UNLOCK | LockFlags::FAIL_IMMEDIATELY,
        LockFlags::SHARED | LockFlags::EXCLUSIVE,
    ];
    let offset = prop_oneof![12 => 0..4u64, 1 => Just(u64::MAX)];
    let element = (offset, prop_oneof![8 => 1..4u64, 1 => Just(0)], select(kinds));
    let element = element.prop_map(|(offset, len, flags)| LockElement { offset, len, flags });
    prop_oneof![4 => prop::collection::vec(element.clone(), 1..2), 1 => prop::collection::vec(element, 0..4)]
}

fn steps() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS.len();
    let operate = (slot.clone(), 0..8usize, 0..6u8, any::<bool>(), 0..NAMES, 0..15u8, 0..4u64, 0..4u64);
    prop_oneof![
        3 => slot.clone().prop_map(|slot| Step::Connect { slot }),
        1 => slot.clone().prop_map(|slot| Step::Disconnect { slot }),
        1 => slot.clone().prop_map(|slot| Step::Logoff { slot }),
        1 => (slot.clone(), 0..2u32).prop_map(|(slot, tree)| Step::TreeDisconnect { slot, tree }),
        24 => wishes().prop_map(Step::Create),
        24 => (0..3usize, prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(nth, fails, empty)| Step::Opened { nth, fails, empty }),
        14 => operate.prop_map(|(slot, nth, actor, local, name, what, offset, len)| Step::Operate {
            slot, nth, actor, local, name, what, offset, len
        }),
        12 => (0..3usize, prop::bool::weighted(0.1)).prop_map(|(nth, fails)| Step::Done { nth, fails }),
        5 => (slot.clone(), 0..8usize, prop::bool::weighted(0.2), elements())
            .prop_map(|(slot, nth, empty, elements)| Step::Lock { slot, nth, empty, elements }),
        2 => (0..3usize).prop_map(|nth| Step::Cancel { nth }),
        10 => (slot.clone(), 0..8usize, prop::bool::weighted(0.95))
            .prop_map(|(slot, nth, own)| Step::Close { slot, nth, own }),
        16 => (slot, 0..6usize, 0..10u8, any::<u8>())
            .prop_map(|(slot, nth, how, level)| Step::Ack { slot, nth, how, level }),
        2 => (0..4usize).prop_map(|nth| Step::Undelivered { nth }),
        4 => prop_oneof![Just(1u64), Just(10_000), Just(35_000), 0..40_000u64].prop_map(|millis| Step::Time { millis }),
    ]
}

/// A place at which a client may be.
#[derive(Clone, Debug, Default)]
struct Slot {
    conn: Option<ConnId>,
    session: Option<SessionId>,
}

/// A driver with a file system of its own, and clients.
#[derive(Debug)]
struct World {
    harness: Harness,
    slots: Vec<Slot>,
    next: u64,
    /// What stands behind a name now, and the directory that it stands in.
    names: Vec<(FileKey, Option<FileKey>)>,
    exists: BTreeSet<FileKey>,
    creates: BTreeMap<RequestId, Create>,
    intents: BTreeMap<RequestId, (FileKey, Intent)>,
    /// Granted opens that were not closed as far as the driver knows.
    open: Vec<(RequestId, FileId)>,
}

impl World {
    fn new(profile: Profile) -> Self {
        let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        config.profile = profile;
        let names: Vec<_> =
            (0..NAMES).map(|name| (key_of(name), (name < FILES).then(|| key_of(FILES)))).collect();
        let mut world = Self {
            harness: Harness::new(config),
            slots: vec![Slot::default(); SLOTS.len()],
            next: 100,
            exists: names.iter().map(|(file, _)| *file).collect(),
            names,
            creates: BTreeMap::new(),
            intents: BTreeMap::new(),
            open: Vec::new(),
        };
        for slot in 0..SLOTS.len() {
            world.step(Step::Connect { slot });
        }
        world
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn request(&mut self) -> RequestId {
        RequestId::new(self.number())
    }

    fn origin(&self, slot: usize, tree: u32) -> Option<Origin> {
        let Slot { conn, session } = self.slots[slot];
        Some(Origin::new(conn?, session?, TreeId::new(tree)))
    }

    /// One event for both, and what the driver does about it.
    fn feed(&mut self, event: Event) {
        let now = self.harness.now;
        let actions = self.harness.feed(now, event).unwrap_or_else(|error| panic!("{error}"));
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Granted { request, grant } => self.open.push((request, grant.file_id)),
                Action::CloseFile { file_id, link } => {
                    let file =
                        self.harness.model.open_named(file_id).map(|request| self.creates[&request].file);
                    self.open.retain(|(_, open)| *open != file_id);
                    if link == Link::Remove {
                        self.removed(file.unwrap());
                    }
                }
                Action::Unlink { file } => self.removed(file),
                Action::Proceed { request, .. } => self.check_read(request),
                _ => {}
            }
        }
        let live = self.harness.model.opens.iter().filter(|open| open.phase == Phase::Live).count();
        assert_eq!(live, self.open.len(), "opens that the driver knows");
    }

    /// A name that is free again leads to another file.
    fn removed(&mut self, file: FileKey) {
        self.exists.remove(&file);
        let fresh = FileKey::new(u128::from(self.number()));
        for (known, _) in &mut self.names {
            if *known == file {
                *known = fresh;
            }
        }
    }

    /// No dirty data of another may be left when data are read.
    fn check_read(&self, request: RequestId) {
        let Some((file, Intent::Read { .. })) = self.intents.get(&request) else { return };
        let model = &self.harness.model;
        let who = model.who(request);
        let write = |lease: &model::Lease| {
            lease.file == *file
                && lease.state.contains(LeaseState::WRITE)
                && !model.same(Some(lease.key), who.lease)
        };
        assert!(!model.leases.iter().any(write), "a read beside dirty data");
        let exclusive = |open: &model::Open| {
            open.file() == *file && who.open != Some(open.request()) && model::rules::rank(open.oplock) > 1
        };
        assert!(!model.opens.iter().any(exclusive), "a read beside dirty data");
    }

    /// Nobody else may have kept, or begun, to serve reads from a cache when data have changed: what a client was told to give
    /// up it has given up.
    fn check_changed(&self, file: FileKey, who: Who) {
        let model = &self.harness.model;
        for lease in model.leases.iter().filter(|lease| lease.file == file) {
            let left = lease.breaking.map_or(lease.state, |breaking| breaking.told & lease.state);
            let old = left.contains(LeaseState::READ) && !model.same(Some(lease.key), who.lease);
            // What was told less than is needed is waited for.
            assert!(!old, "old data in the cache of {lease:?}");
        }
        for open in model.opens.iter().filter(|open| open.file() == file) {
            let own = who.open == Some(open.request());
            let told = open.breaking.map_or(open.oplock, |breaking| breaking.told);
            assert!(own || told == OplockLevel::None, "old data in the cache of {open:?}");
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect { slot } => self.connect(slot),
            Step::Disconnect { slot } => {
                if let Some(conn) = self.slots[slot].conn.take() {
                    self.slots[slot].session = None;
                    self.feed(Event::Disconnected { conn });
                }
            }
            Step::Logoff { slot } => {
                if let Some(session) = self.slots[slot].session {
                    for slot in &mut self.slots {
                        if slot.session == Some(session) {
                            slot.session = None;
                        }
                    }
                    self.feed(Event::SessionEnded { session, end: SessionEnd::LoggedOff });
                }
            }
            Step::TreeDisconnect { slot, tree } => {
                if let Some(session) = self.slots[slot].session {
                    let (request, tree) = (self.request(), TreeId::new(tree));
                    self.feed(Event::TreeDisconnected { request, session, tree });
                }
            }
            Step::Create(wish) => self.create(&wish),
            Step::Opened { nth, fails, empty } => self.opened(nth, fails, empty),
            Step::Operate { slot, nth, actor, local, name, what, offset, len } => {
                self.operate(slot, nth, actor, local, name, what, (offset, len));
            }
            Step::Done { nth, fails } => self.done(nth, fails),
            Step::Lock { slot, nth, empty, elements } => {
                let Some((open, file_id)) = nth_of(&self.open, nth).copied() else { return };
                let origin = if slot == 0 {
                    self.origin(slot, 0)
                } else {
                    self.home(open).map(|slot| self.origin(slot, 0).unwrap())
                };
                let Some(origin) = origin else { return };
                let request = self.request();
                let allocation = if empty { 0 } else { 2 };
                self.feed(Event::Lock(Lock::new(request, origin, file_id, allocation, elements)));
            }
            Step::Cancel { nth } => {
                let request = nth_of(&self.harness.model.waiters, nth).map(|waiter| waiter.request);
                let request = request.unwrap_or(RequestId::new(1));
                self.feed(Event::Cancel { request });
            }
            Step::Close { slot, nth, own } => {
                let Some((open, file_id)) = nth_of(&self.open, nth).copied() else { return };
                let session =
                    if own { Some(self.creates[&open].origin.session) } else { self.slots[slot].session };
                let Some(session) = session else { return };
                let request = self.request();
                self.feed(Event::Close { request, session, file_id });
            }
            Step::Ack { slot, nth, how, level } => self.ack(slot, nth, how, level),
            Step::Undelivered { nth } => {
                if let Some(sent) = nth_of(&self.harness.notifications, nth).copied() {
                    self.feed(Event::Undelivered { id: sent.id, conn: sent.conn });
                }
            }
            Step::Time { millis } => {
                let now = Instant::from_millis(self.harness.now.as_millis() + millis);
                let actions = self.harness.tick(now).unwrap_or_else(|error| panic!("{error}"));
                self.perform(actions);
            }
        }
    }

    fn connect(&mut self, slot: usize) {
        let (client, dialect) = SLOTS[slot];
        let conn = match self.slots[slot].conn {
            Some(conn) => conn,
            None => {
                let conn = ConnId::new(self.number());
                let mut capabilities = Capabilities::empty();
                if dialect >= Dialect::Smb210 {
                    capabilities |= Capabilities::LEASING;
                }
                if dialect >= Dialect::Smb311 {
                    capabilities |= Capabilities::DIRECTORY_LEASING | Capabilities::MULTI_CHANNEL;
                }
                let client = ClientGuid::from_wire([client; 16]);
                self.feed(Event::Connected { conn, client, terms: Terms::new(dialect, capabilities) });
                self.slots[slot].conn = Some(conn);
                conn
            }
        };
        if self.slots[slot].session.is_none() {
            let twin = [1, 0].get(slot).and_then(|twin| self.slots[*twin].session);
            let session = twin.unwrap_or_else(|| SessionId::new(self.number()));
            self.slots[slot].session = Some(session);
            self.feed(Event::SessionBound { conn, session });
        }
    }

    /// A slot from which an open can be used.
    fn home(&self, open: RequestId) -> Option<usize> {
        let session = self.creates[&open].origin.session;
        self.slots.iter().position(|slot| slot.session == Some(session))
    }

    fn create(&mut self, wish: &Wish) {
        let Some(origin) = self.origin(wish.slot, wish.tree) else { return };
        let request = self.request();
        let (file, directory) = self.names[wish.name];
        let desired = ACCESSES[wish.access];
        let granted = if desired == Access::MAXIMUM_ALLOWED { Access::READ_DATA } else { desired };
        // A handle is deleted through only with the right to.
        let (desired, granted) = if wish.delete {
            (desired | Access::DELETE, granted | Access::DELETE)
        } else {
            (desired, granted)
        };
        let mut options = CreateOptions::empty();
        options.set(CreateOptions::DELETE_ON_CLOSE, wish.delete && wish.name < FILES);
        options.set(CreateOptions::RESERVE_OPFILTER, wish.opfilter);
        let disposition = match Disposition::from_wire(wish.disposition).unwrap() {
            Disposition::Overwrite | Disposition::OverwriteIf | Disposition::Supersede
                if wish.name >= FILES =>
            {
                Disposition::OpenIf
            }
            disposition => disposition,
        };
        let lease = wish.lease.map(|(key, state, second, parent)| {
            let (key, state) = (lease_key(key), LeaseState::from_bits_retain(state));
            let flags = LeaseFlags::empty();
            if second {
                let parent = parent.map(|parent| lease_key(parent + 1));
                Lease::V2(LeaseV2 { key, state, flags, parent, epoch: Epoch::new(0xffff) })
            } else {
                Lease::V1(LeaseV1 { key, state, flags })
            }
        });
        let share = match wish.share {
            1 => Share::new(ShareKind::Disk, ShareFlags::FORCE_LEVEL_II),
            2 => Share::new(ShareKind::Disk, ShareFlags::SCALE_OUT),
            3 => Share::new(ShareKind::Pipe, ShareFlags::empty()),
            _ => Share::DISK,
        };
        let create = Create::new(request, origin, file)
            .access(desired, ShareMode::from_bits_retain(wish.sharing))
            .granted(granted)
            .disposition(disposition, options)
            .caching(OplockLevel::from_wire(wish.level), lease)
            .place(share, directory);
        self.creates.insert(request, create.clone());
        self.feed(Event::Create(create));
    }

    fn opened(&mut self, nth: usize, fails: bool, empty: bool) {
        let Some((request, file_id)) = nth_of(&self.harness.opening, nth).copied() else { return };
        let create = self.creates[&request].clone();
        let file = create.file;
        let there = self.exists.contains(&file);
        let action = match create.disposition {
            _ if fails => Err(Status::ACCESS_DENIED),
            Disposition::Open | Disposition::Overwrite if !there => Err(Status::OBJECT_NAME_NOT_FOUND),
            Disposition::Create if there => Err(Status::from_wire(0xc000_0035)),
            _ if !there => Ok(CreateAction::Created),
            Disposition::Supersede => Ok(CreateAction::Superseded),
            Disposition::Overwrite | Disposition::OverwriteIf => Ok(CreateAction::Overwritten),
            _ => Ok(CreateAction::Opened),
        };
        if action.is_ok() {
            self.exists.insert(file);
        }
        let directory = self.names[FILES..].iter().any(|(known, _)| *known == file);
        let kind = if directory { ObjectKind::Directory } else { ObjectKind::File };
        let allocation = if empty { 0 } else { 2 };
        let overwritten = matches!(action, Ok(CreateAction::Superseded | CreateAction::Overwritten));
        if overwritten {
            let lease = self.harness.model.open(request).and_then(|open| open.ask.key);
            self.check_changed(file, Who { lease, open: Some(request) });
        }
        let result = action.map(|action| Opened::new(action, kind, allocation));
        self.feed(Event::Opened { file_id, result });
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a step")]
    fn operate(
        &mut self,
        slot: usize,
        nth: usize,
        actor: u8,
        local: bool,
        name: usize,
        what: u8,
        (offset, len): (u64, u64),
    ) {
        let open = nth_of(&self.open, nth).copied();
        let (client, _) = SLOTS[slot];
        let (mut actor, mut file, mut origin) = match (actor, open) {
            (0..=3, Some((open, file_id))) => {
                let origin = self.home(open).and_then(|slot| self.origin(slot, 0));
                (Actor::Open(file_id), self.creates[&open].file, origin)
            }
            (4, _) => {
                let (client, key) = (ClientGuid::from_wire([client; 16]), lease_key(name as u8));
                (Actor::Lease { client, key }, self.names[name].0, self.origin(slot, 0))
            }
            _ => (Actor::Other, self.names[name].0, self.origin(slot, 0)),
        };
        if local {
            origin = None;
        }
        let directory = self.names[FILES].0;
        let to = if name == 1 { Some(self.names[FILES + 1].0) } else { Some(directory) };
        let intent = match what {
            0 => Intent::Read { offset, len },
            1 | 2 => Intent::Write { offset, len },
            3 => Intent::Flush,
            4 => Intent::SetSize,
            5 => Intent::SetAttributes,
            6 => Intent::SetSecurity,
            7 => Intent::Rename { to },
            8 => Intent::Link { to },
            9 => Intent::Delete { pending: true },
            10 => Intent::Delete { pending: false },
            11 => Intent::Replaced,
            12 => Intent::RenameWithin,
            13 => Intent::AncestorMoved,
            _ => Intent::EntryChanged { parent: (len > 1).then(|| lease_key(offset as u8)) },
        };
        if matches!(intent, Intent::RenameWithin | Intent::EntryChanged { .. }) {
            file = directory;
            let lease = matches!(intent, Intent::RenameWithin) && matches!(actor, Actor::Lease { .. });
            if !lease {
                actor = Actor::Other;
            }
        }
        if matches!(intent, Intent::Delete { .. } | Intent::Rename { .. } | Intent::Link { .. })
            && self.names[FILES..].iter().any(|(known, _)| *known == file)
        {
            return;
        }
        let request = self.request();
        self.intents.insert(request, (file, intent));
        self.feed(Event::Operate { request, origin, file, actor, intent });
    }

    fn done(&mut self, nth: usize, fails: bool) {
        let Some((request, ticket)) = nth_of(&self.harness.running, nth).copied() else { return };
        let (file, intent) = self.intents[&request];
        let who = self.harness.model.who(request);
        // It may succeed behind the close of its handle.
        let result = if fails { Err(Status::FILE_CLOSED) } else { Ok(()) };
        if result.is_ok() {
            if let (Intent::Write { .. } | Intent::SetSize, Some(_)) = (intent, who.open) {
                self.check_changed(file, who);
            }
            if let (Intent::Rename { to }, Some(_)) = (intent, who.open) {
                for (known, directory) in &mut self.names {
                    if *known == file {
                        *directory = to;
                    }
                }
            }
        }
        self.feed(Event::Done { ticket, result });
    }

    fn ack(&mut self, slot: usize, nth: usize, how: u8, level: u8) {
        let request = self.request();
        // The newest first: what is old was often answered already.
        let sent =
            self.harness.notifications.iter().rev().filter(|sent| sent.ack || how > 7).nth(nth).copied();
        let Some(sent) = sent else {
            let Some(conn) = self.slots[slot].conn.filter(|_| how > 7) else { return };
            let ack = LeaseAck {
                key: lease_key(level % 4),
                state: LeaseState::from_bits_retain(u32::from(how) & 7),
            };
            return self.feed(Event::LeaseAck { request, conn, ack });
        };
        match sent.about {
            About::Lease { key, told } => {
                let state = match how {
                    0..=5 => told,
                    6 => told & LeaseState::from_bits_retain(u32::from(level)),
                    _ => LeaseState::from_bits_retain(u32::from(level) & 7),
                };
                // Any connection of the client will do, and a wrong one now and then.
                let conn = if how == 9 { self.slots[slot].conn } else { Some(sent.conn) };
                let Some(conn) = conn else { return };
                self.feed(Event::LeaseAck { request, conn, ack: LeaseAck { key, state } });
            }
            About::Oplock { session, file_id, told } => {
                let level = match how {
                    0..=5 => told,
                    6 => OplockLevel::None,
                    _ => OplockLevel::from_wire([0, 1, 8, 9, 0xff, 0x33][usize::from(level) % 6]),
                };
                let session = if how == 9 { self.slots[slot].session } else { Some(session) };
                let Some(session) = session.filter(|session| self.harness.model.has_session(*session)) else {
                    return;
                };
                self.feed(Event::OplockAck { request, session, ack: OplockBreak { level, file_id } });
            }
        }
    }

    /// Everybody goes home: nothing may be left.
    fn end(&mut self) {
        while !self.harness.opening.is_empty() {
            self.opened(0, false, false);
        }
        for _ in 0..8 {
            self.step(Step::Time { millis: 35_000 });
            while !self.harness.running.is_empty() {
                self.done(0, false);
            }
            while !self.harness.opening.is_empty() {
                self.opened(0, false, false);
            }
        }
        let half = self.open.len() / 2;
        for _ in 0..half {
            self.step(Step::Close { slot: 0, nth: 0, own: true });
        }
        for slot in 0..SLOTS.len() {
            self.step(Step::Disconnect { slot });
        }
        for _ in 0..4 {
            let waiters: Vec<_> = self.harness.model.waiters.iter().map(|waiter| waiter.request).collect();
            waiters.into_iter().for_each(|request| self.feed(Event::Cancel { request }));
            while !self.harness.opening.is_empty() {
                self.opened(0, false, false);
            }
            while !self.harness.running.is_empty() {
                self.done(0, false);
            }
        }
        self.step(Step::Time { millis: 100_000 });
        assert!(self.harness.server.idle(), "something is left: {:?}", self.harness.server.snapshot());
    }
}

fn key_of(name: usize) -> FileKey {
    FileKey::new(name as u128 + 1)
}

/// Keys 1 and 2 are for files as a rule, 3 and 4 for directories; 0 is none.
fn lease_key(number: u8) -> LeaseKey {
    LeaseKey::new([number; 16])
}

fn nth_of<T>(all: &[T], nth: usize) -> Option<&T> {
    all.get(nth.checked_rem(all.len())?)
}

/// Half of the time what servers do by default, else any combination of choices.
fn profiles() -> impl Strategy<Value = Profile> {
    let any = any::<[bool; 12]>().prop_map(|choices| {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = choices;
        let mut profile = Profile::default();
        profile.follow_up_epoch = if a { FollowUpEpoch::Next } else { FollowUpEpoch::Same };
        profile.follow_up = if b { FollowUp::ThroughRead } else { FollowUp::Straight };
        profile.lease_identity = if c { LeaseIdentity::ClientAndKey } else { LeaseIdentity::KeyAlone };
        profile.channel_choice = if d { ChannelChoice::FirstThenOthers } else { ChannelChoice::LatestOnly };
        profile.unexpected_ack =
            if e { UnexpectedAck::InvalidOplockProtocol } else { UnexpectedAck::InvalidDeviceState };
        profile.overtaken_ack = if f { OvertakenAck::Accept } else { OvertakenAck::Refuse };
        profile.lock_reach = if g { LockReach::Everywhere } else { LockReach::Allocation };
        profile.oplock_break_protection = if h { Protection::Plain } else { Protection::OfSession };
        profile.lease_break_protection = if i { Protection::Plain } else { Protection::OfSession };
        profile.link_breaks_handles = j;
        profile.security_breaks_handles = k;
        profile.lease_v2_on_smb210 = l;
        profile
    });
    prop_oneof![Just(Profile::default()), any]
}

struct Histories;

impl ReferenceStateMachine for Histories {
    type State = Profile;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Profile> {
        profiles().boxed()
    }

    fn transitions(_: &Profile) -> BoxedStrategy<Step> {
        steps().boxed()
    }

    fn apply(profile: Profile, _: &Step) -> Profile {
        profile
    }
}

impl StateMachineTest for Histories {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(profile: &Profile) -> World {
        World::new(*profile)
    }

    fn apply(mut world: World, _: &Profile, step: Step) -> World {
        world.step(step);
        world
    }

    fn teardown(mut world: World) {
        world.end();
    }
}

/// How many histories: PROPTEST_CASES, or as many as a minute has room for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/prop.txt"))),
        cases: cases(),
        max_shrink_iters: 40_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_says_what_the_rules_say(sequential 1..400 => Histories);
}
