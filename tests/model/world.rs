//! A driver with clients and a disk, in front of the machine and the model: it does what the steps say, and what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold::persist::{Change, Record};

use leasehold::server::{
    Action, Capabilities, Config, Create, Durability, Event, Link, Lock, LockFlags, LockSequence, Opened,
    Origin, Profile, Reconnect, RouteSeed, SessionEnd, Share, ShareFlags, ShareKind,
};
use leasehold::wire::{DurableFlags, Lease as Context, LeaseAck, LeaseFlags, LeaseV1, LeaseV2, OplockBreak};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, Epoch, FileId, FileKey,
    HashKey, Instant, Intent, LeaseState, OplockLevel, RequestId, SessionId, ShareMode, Status, TreeId,
};

use super::harness::{About, Harness};
use super::steps::{
    Disk, FILES, Octets, Return, SLOTS, Step, Wish, create_guid, lease_key, nth_of, terms_of, user_of,
};
use super::store::reads;
use super::{Lease, Open, Phase, Waiter, What, Who, rules};

/// A place at which a client may be.
#[derive(Clone, Debug, Default)]
struct Slot {
    conn: Option<ConnId>,
    session: Option<SessionId>,
}

/// A driver with a file system of its own, and clients.
#[derive(Clone, Debug)]
pub struct World {
    pub harness: Harness,
    /// What happened, and what the machine wanted done; `None` stands for time that passes.
    pub log: Vec<(Instant, Option<Event>, Vec<Action>)>,
    slots: Vec<Slot>,
    next: u64,
    disk: Disk,
    creates: BTreeMap<RequestId, Create>,
    intents: BTreeMap<RequestId, (FileKey, Intent)>,
    /// Granted opens that were not closed as far as the driver knows.
    open: Vec<(RequestId, FileId)>,
    promises: bool,
    /// Opens, by the persistent half of the FileId, that their clients were told of, and those that they have closed.
    told: BTreeSet<u64>,
    left: BTreeSet<u64>,
}

impl World {
    pub fn new(profile: Profile) -> Self {
        Self::with(config_of(profile))
    }

    /// With a store, if the configuration says so.
    pub fn with(config: Config) -> Self {
        let mut world = Self {
            promises: config.persistence,
            told: BTreeSet::new(),
            left: BTreeSet::new(),
            harness: Harness::new(config),
            log: Vec::new(),
            slots: vec![Slot::default(); SLOTS.len()],
            next: 100,
            disk: Disk::new(),
            creates: BTreeMap::new(),
            intents: BTreeMap::new(),
            open: Vec::new(),
        };
        if world.promises {
            world.feed(Event::Recovered);
        }
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
        match &event {
            Event::Close { file_id, .. } => {
                self.left.insert(file_id.persistent);
            }
            Event::TreeDisconnected { session, tree, .. } => {
                let model = &self.harness.model;
                let of = |open: &&Open| {
                    let origin = open.ask.create.origin;
                    (origin.session, origin.tree) == (*session, *tree)
                };
                let gone = model.opens.iter().filter(of).filter_map(|open| model.name_of(open.request()));
                self.left.extend(gone.map(|file_id| file_id.persistent));
            }
            _ => {}
        }
        let actions = self.harness.feed(now, event.clone()).unwrap_or_else(|error| panic!("{error}"));
        self.log.push((now, Some(event), actions.clone()));
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Granted { grant, .. } => {
                    self.told.insert(grant.file_id.persistent);
                    let open = self.harness.named(grant.file_id).unwrap();
                    match self.open.iter_mut().find(|(known, _)| *known == open) {
                        Some((_, file_id)) => *file_id = grant.file_id,
                        None => self.open.push((open, grant.file_id)),
                    }
                }
                Action::CloseFile { file_id, link } => {
                    let file = self.harness.named(file_id).map(|request| self.creates[&request].file);
                    self.open.retain(|(_, open)| open.persistent != file_id.persistent);
                    if link == Link::Remove {
                        self.removed(file.unwrap());
                    }
                }
                Action::Unlink { file } => self.removed(file),
                Action::Proceed { request, .. } => {
                    self.check_read(request);
                    if let Some((file, Intent::Write { .. } | Intent::SetSize)) = self.intents.get(&request) {
                        let who = self.harness.model.who(request);
                        self.check_stored(*file, who);
                    }
                }
                Action::OpenFile { request, .. } => {
                    let create = &self.creates[&request];
                    let overwrites =
                        [Disposition::Supersede, Disposition::Overwrite, Disposition::OverwriteIf];
                    if overwrites.contains(&create.disposition) {
                        let lease = self.harness.model.open(request).and_then(|open| open.ask.key);
                        self.check_stored(create.file, Who { lease, open: Some(request) });
                    }
                }
                _ => {}
            }
        }
        // Whose client went before the answer is known to nobody.
        let live = self.harness.model.opens.iter().filter(|open| open.phase == Phase::Live);
        let known = |open: &Open| self.open.iter().any(|(known, _)| *known == open.request());
        let (known, others): (Vec<&Open>, Vec<&Open>) = live.partition(|open| known(open));
        let unheard = |open: &&Open| open.unheard || open.orphan.is_some();
        assert!(others.iter().all(unheard) && known.len() == self.open.len(), "opens that the driver knows");
    }

    fn removed(&mut self, file: FileKey) {
        let fresh = FileKey::new(u128::from(self.number()));
        self.disk.removed(file, fresh);
    }

    /// No dirty data of another may be left when data are read.
    fn check_read(&self, request: RequestId) {
        let Some((file, Intent::Read { .. })) = self.intents.get(&request) else { return };
        let model = &self.harness.model;
        let who = model.who(request);
        let write = |lease: &Lease| {
            lease.file == *file
                && lease.state.contains(LeaseState::WRITE)
                && !model.same(Some(lease.key), who.lease)
        };
        assert!(!model.leases.iter().any(write), "a read beside dirty data");
        let exclusive = |open: &Open| {
            open.file() == *file && who.open != Some(open.request()) && rules::rank(open.oplock) > 1
        };
        assert!(!model.opens.iter().any(exclusive), "a read beside dirty data");
    }

    /// Nobody is given a cache by a restart of what is changed now: whatever of what is on its way is in the store by then, but for what
    /// could not be removed.
    fn check_stored(&self, file: FileKey, who: Who) {
        let model = &self.harness.model;
        let image = &self.harness.image;
        let durable = image.records.values().map(|octets| Record::decode(octets).unwrap());
        let coming = image.queue.iter().filter_map(|(_, change)| match change {
            Change::Put(record) => Some((**record).clone()),
            Change::Delete { .. } | Change::Serials { .. } => None,
        });
        for record in durable.chain(coming).filter(|record| record.file == file && reads(record)) {
            if !self.told.contains(&record.persistent) {
                continue;
            }
            let request = model.open_persistent(record.persistent);
            let may = match request.and_then(|request| model.open(request)) {
                Some(open) => {
                    let same = open.leased && model.same(open.ask.key, who.lease);
                    same || who.open == request || !open.stored()
                }
                None => {
                    let gone = |change: &Change| matches!(change, Change::Delete { persistent } if *persistent == record.persistent);
                    let going = image.queue.iter().any(|(_, change)| gone(change));
                    !going || self.left.contains(&record.persistent)
                }
            };
            assert!(may, "{}", self.harness.report(&format!("a restart would give back {record:?}")));
        }
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

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Connect { slot } => self.connect(slot),
            Step::Disconnect { slot } => {
                if let Some(conn) = self.slots[slot].conn.take() {
                    self.slots[slot].session = None;
                    self.feed(Event::Disconnected { conn });
                }
            }
            Step::Logoff { slot } => self.session_ends(slot, SessionEnd::LoggedOff),
            Step::End { slot, how } => {
                let ends = [SessionEnd::LoggedOff, SessionEnd::Replaced, SessionEnd::Refused];
                self.session_ends(slot, ends[usize::from(how) % 3]);
            }
            Step::Reconnect { how } => self.reconnect(how),
            Step::Resend { slot, nth, replay, what, word } => self.resend(slot, nth, replay, what, word),
            Step::Stored { nth } => {
                if let Some((up_to, _)) = nth_of(&self.harness.image.queue, nth).cloned() {
                    self.feed(Event::Persisted { up_to });
                }
            }
            Step::NotStored { nth } => {
                let records = |change: &Change| !matches!(change, Change::Serials { .. });
                let all: Vec<_> =
                    self.harness.image.queue.iter().filter(|(_, change)| records(change)).collect();
                if let Some(seq) = nth_of(&all, nth).map(|(seq, _)| *seq) {
                    self.feed(Event::PersistFailed { seq });
                }
            }
            Step::Restart { extra, away } => self.restart(extra, away),
            Step::Resilience { slot, nth, user, timeout } => self.resilience(slot, nth, user, timeout),
            Step::Again { slot, nth, replay, level } => self.again(slot, nth, replay, level),
            Step::Used { nth } => {
                if let Some((_, file_id)) = nth_of(&self.open, nth).copied() {
                    self.feed(Event::Used { file_id });
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
            Step::Lock { slot, nth, empty, mut elements } => {
                // One waits at a time: the line and its circles are the matter of the model of all protocols.
                let waits = |waiter: &Waiter| matches!(waiter.what, What::Lock { .. });
                if self.harness.model.waiters.iter().any(waits) {
                    let locks = elements.iter_mut().filter(|element| element.flags != LockFlags::UNLOCK);
                    locks.for_each(|element| element.flags |= LockFlags::FAIL_IMMEDIATELY);
                }
                let Some((open, file_id)) = nth_of(&self.open, nth).copied() else { return };
                let origin = if slot == 0 {
                    self.origin(slot, 0)
                } else {
                    self.home(open).map(|slot| self.origin(slot, 0).unwrap())
                };
                let Some(origin) = origin else { return };
                let request = self.request();
                let allocation = if empty { 0 } else { 2 };
                let mut lock = Lock::new(request, origin, file_id, allocation, elements);
                if self.promises {
                    let number = request.get() as u32;
                    lock = lock.sequence(LockSequence::from_wire(((number % 3) << 4) | (number % 16)));
                }
                self.feed(Event::Lock(lock));
            }
            Step::Cancel { nth } => {
                let request = nth_of(&self.harness.model.waiters, nth).map(|waiter| waiter.request);
                let request = request.unwrap_or(RequestId::new(1));
                self.feed(Event::Cancel { request });
            }
            Step::Close { slot, nth, own } => {
                let Some((open, file_id)) = nth_of(&self.open, nth).copied() else { return };
                let session = if own { self.session_of(open) } else { self.slots[slot].session };
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
                self.log.push((now, None, actions.clone()));
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
                let client = ClientGuid::from_wire([client; 16]);
                let mut terms = terms_of(dialect);
                if self.promises && dialect >= Dialect::Smb300 {
                    terms.capabilities |= Capabilities::PERSISTENT_HANDLES;
                }
                self.feed(Event::Connected { conn, client, terms });
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

    /// The session of an open, if it is there.
    fn session_of(&self, open: RequestId) -> Option<SessionId> {
        let model = &self.harness.model;
        let session = model.open(open)?.ask.create.origin.session;
        model.has_session(session).then_some(session)
    }

    /// The session of a slot ends, on every channel.
    fn session_ends(&mut self, slot: usize, end: SessionEnd) {
        let Some(session) = self.slots[slot].session else { return };
        for slot in &mut self.slots {
            if slot.session == Some(session) {
                slot.session = None;
            }
        }
        self.feed(Event::SessionEnded { session, end });
    }

    fn reconnect(&mut self, how: Return) {
        let model = &self.harness.model;
        let all: Vec<&Open> = model.opens.iter().filter(|open| !how.lost || open.orphan.is_some()).collect();
        let Some(open) = nth_of(&all, how.nth) else { return };
        let client = open.ask.client;
        let promised = open.persistent;
        let home = |at: &usize| ClientGuid::from_wire([SLOTS[*at].0; 16]) == client;
        let connected = |at: &usize| self.slots[*at].session.is_some();
        let slot = (0..SLOTS.len()).find(|at| how.home && home(at) && connected(at)).unwrap_or(how.slot);
        let Some(origin) = self.origin(slot, 0) else { return };
        let user = if how.user == 0 { open.ask.create.user } else { user_of(how.user - 1) };
        let persistent = self.harness.ids[&open.request()].persistent;
        let file = match how.file {
            0 => Some(open.file()),
            1 => None,
            _ => Some(self.disk.names[0].0),
        };
        let context = open.ask.context.filter(|_| open.leased);
        let lease = match (how.lease, context) {
            (0, context) => context,
            (1, _) => None,
            (2, _) | (_, None) => Some(Context::V1(LeaseV1 {
                key: lease_key(2),
                state: LeaseState::NONE,
                flags: LeaseFlags::empty(),
            })),
            (_, Some(Context::V1(lease))) => Some(Context::V2(LeaseV2 {
                key: lease.key,
                state: lease.state,
                flags: lease.flags,
                parent: None,
                epoch: Epoch::ZERO,
            })),
            (_, Some(Context::V2(lease))) => {
                Some(Context::V1(LeaseV1 { key: lease.key, state: lease.state, flags: lease.flags }))
            }
        };
        let guid = match how.guid {
            0 => Some(match open.ask.create.durability {
                Durability::V2 { create_guid, .. } => create_guid,
                _ => create_guid(0),
            }),
            1 => None,
            other => Some(create_guid(other - 2)),
        };
        let mut wanted = Reconnect::new(self.request(), origin, user, persistent);
        wanted.create_guid = guid;
        wanted.lease = lease;
        wanted.file = file;
        if self.promises {
            // DHnC has no flags.
            let flags = if guid.is_some() && promised != (how.flag == 1) {
                DurableFlags::PERSISTENT
            } else {
                DurableFlags::empty()
            };
            let share = if how.flag == 2 { ShareFlags::empty() } else { ShareFlags::CONTINUOUSLY_AVAILABLE };
            wanted = wanted.flags(flags, Share::new(ShareKind::Disk, share));
            if how.by_guid {
                wanted.persistent = 0x77;
            }
            wanted.lease = wanted.lease.map(|lease| with_word(lease, how.word));
        }
        self.feed(Event::Reconnect(wanted));
    }

    fn again(&mut self, slot: usize, nth: usize, replay: bool, level: Option<u8>) {
        let all: Vec<&Open> = self.harness.model.opens.iter().filter(|open| open.replay.is_some()).collect();
        let Some(open) = nth_of(&all, nth) else { return };
        let (mut create, client) = (open.ask.create.clone(), open.ask.client);
        let home = |at: &usize| ClientGuid::from_wire([SLOTS[*at].0; 16]) == client;
        let connected = |at: &usize| self.slots[*at].session.is_some();
        // Any of its connections, or in one case of many that of another.
        let mut homes = (0..SLOTS.len()).filter(|at| home(at) && connected(at));
        let first = homes.next();
        let slot = if slot % 2 == 0 { first } else { homes.next().or(first) }.unwrap_or(slot);
        let Some(origin) = self.origin(slot, 0) else { return };
        create.request = self.request();
        create.origin = origin;
        create.replay = replay;
        if let Some(level) = level {
            create.level = OplockLevel::from_wire(level);
        }
        self.creates.insert(create.request, create.clone());
        self.feed(Event::Create(create));
    }

    fn resend(&mut self, slot: usize, nth: usize, replay: bool, what: u8, word: Option<(u32, u16)>) {
        let model = &self.harness.model;
        let all: Vec<&Open> = model.opens.iter().filter(|open| open.persistent).collect();
        let Some(open) = nth_of(&all, nth) else { return };
        let (mut create, client) = (open.ask.create.clone(), open.ask.client);
        let home = |at: &usize| ClientGuid::from_wire([SLOTS[*at].0; 16]) == client;
        let connected = |at: &usize| self.slots[*at].session.is_some();
        let at_home = (0..SLOTS.len()).find(|at| home(at) && connected(at));
        let slot = at_home.filter(|_| what != 1).unwrap_or(slot);
        let Some(origin) = self.origin(slot, 0) else { return };
        create.request = self.request();
        create.origin = origin;
        create.replay = replay;
        create.lease = create.lease.map(|lease| with_word(lease, word));
        match what {
            2 => create.sharing = ShareMode::from_bits_retain(create.sharing.bits() ^ 1),
            3 => create.user = user_of(9),
            4 => {
                if let Durability::V2 { persistent, .. } = &mut create.durability {
                    *persistent = false;
                }
            }
            5 => create.share = Share::DISK,
            6 => create.share.flags |= ShareFlags::SCALE_OUT,
            7 => create.options |= CreateOptions::DIRECTORY_FILE,
            _ => {}
        }
        self.creates.insert(create.request, create.clone());
        self.feed(Event::Create(create));
    }

    /// The server ends, and with it all that is not stored; the files stay.
    fn restart(&mut self, extra: usize, away: u64) {
        let actions = self.harness.restart(extra, Duration::from_millis(away));
        let actions = actions.unwrap_or_else(|error| panic!("{error}"));
        self.slots.fill(Slot::default());
        let model = &self.harness.model;
        let known = model.opens.iter().map(|open| (open.request(), model.name_of(open.request()).unwrap()));
        self.open = known.collect();
        self.perform(actions);
    }

    fn store_all(&mut self) {
        while let Some((up_to, _)) = self.harness.image.queue.last().cloned() {
            self.feed(Event::Persisted { up_to });
        }
    }

    fn resilience(&mut self, slot: usize, nth: usize, user: u8, timeout: u32) {
        let Some((open, file_id)) = nth_of(&self.open, nth).copied() else { return };
        let slot = self.home(open).unwrap_or(slot);
        let Some(origin) = self.origin(slot, 0) else { return };
        let (request, user) = (self.request(), user_of(user));
        self.feed(Event::RequestResilience { request, origin, user, file_id, timeout });
    }

    /// A slot from which an open can be used.
    fn home(&self, open: RequestId) -> Option<usize> {
        let session = self.session_of(open)?;
        self.slots.iter().position(|slot| slot.session == Some(session))
    }

    fn create(&mut self, wish: &Wish) {
        let Some(origin) = self.origin(wish.slot, wish.tree) else { return };
        let request = self.request();
        let mut create = wish.create(request, origin, self.disk.names[wish.name]);
        if self.promises {
            create.channel_sequence = request.get() as u16;
        }
        self.creates.insert(request, create.clone());
        self.feed(Event::Create(create));
    }

    fn opened(&mut self, nth: usize, fails: bool, empty: bool) {
        let Some((request, file_id)) = nth_of(&self.harness.opening, nth).copied() else { return };
        let create = self.creates[&request].clone();
        let file = create.file;
        let action = self.disk.open(&create, fails);
        let kind = self.disk.kind(file);
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
                (Actor::Lease { client, key }, self.disk.names[name].0, self.origin(slot, 0))
            }
            _ => (Actor::Other, self.disk.names[name].0, self.origin(slot, 0)),
        };
        if local {
            origin = None;
        }
        let directory = self.disk.names[FILES].0;
        let intent = self.disk.intent(what, name, offset, len);
        if matches!(intent, Intent::RenameWithin | Intent::EntryChanged { .. }) {
            file = directory;
            let lease = matches!(intent, Intent::RenameWithin) && matches!(actor, Actor::Lease { .. });
            if !lease {
                actor = Actor::Other;
            }
        }
        if matches!(intent, Intent::Delete { .. } | Intent::Rename { .. } | Intent::Link { .. })
            && self.disk.directory(file)
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
                self.disk.renamed(file, to);
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
    pub fn end(&mut self) {
        self.store_all();
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
        self.store_all();
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
        self.store_all();
        // Who is not connected is kept for 300 s at most.
        for _ in 0..2 {
            self.step(Step::Time { millis: 310_000 });
            while !self.harness.opening.is_empty() {
                self.opened(0, false, false);
            }
            while !self.harness.running.is_empty() {
                self.done(0, false);
            }
        }
        self.step(Step::Time { millis: 100_000 });
        self.store_all();
        assert!(self.harness.server.idle(), "something is left: {:?}", self.harness.server.snapshot());
    }
}

/// With this state and this epoch.
fn with_word(lease: Context, word: Option<(u32, u16)>) -> Context {
    let Some((state, epoch)) = word else { return lease };
    let (state, epoch) = (LeaseState::from_bits_retain(state), Epoch::new(epoch));
    match lease {
        Context::V1(lease) => Context::V1(LeaseV1 { state, ..lease }),
        Context::V2(lease) => Context::V2(LeaseV2 { state, epoch, ..lease }),
    }
}

/// A server with a store.
pub fn promising(profile: Profile, gate_close: bool) -> Config {
    let mut config = config_of(profile);
    config.persistence = true;
    config.gate_close = gate_close;
    config
}

/// A server of this profile.
pub fn config_of(profile: Profile) -> Config {
    let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
    config.profile = profile;
    config
}

/// Runs the history with a store that the octets spell: the machine and the model must say the same.
pub fn promises(octets: &[u8]) {
    let mut octets = Octets::new(octets);
    let profile = octets.profile();
    octets.lasting = true;
    let mut world = World::with(promising(profile, octets.below(2) == 0));
    while !octets.exhausted() {
        world.step(octets.promised_step());
    }
    world.end();
}

/// Runs the history that the octets spell: the machine and the model must say the same.
pub fn history(octets: &[u8]) {
    let mut octets = Octets::new(octets);
    let mut world = World::new(octets.profile());
    while !octets.exhausted() {
        world.step(octets.step(None));
    }
    world.end();
}
