//! Opens that outlive the server (MS-SMB2 3.3.5.9.10, 3.3.5.9.12, 3.3.5.9 <301>), and the store that they rest on.

use std::time::Duration;

use leasehold::persist::{Change, Record};
use leasehold::server::{
    AbsentHolder, Capabilities, Create, Durability, LockElement, ObjectKind, Opened, Origin, Share,
    ShareFlags, ShareKind, Terms, UnknownReplay,
};
use leasehold::wire::{DurableFlags, Lease as Context};
use leasehold::{
    ClientGuid, ConnId, CreateAction, CreateGuid, Dialect, Epoch, FileId, LeaseState, OplockLevel, RequestId,
    SessionId, ShareMode, Status, TreeId,
};

use super::grants::Asked;
use super::grants::with_state;
use super::store::reads;
use super::{Ask, Breach, Breaking, Key, Lease, Model, Open, Phase, locks, rules};

impl Ask {
    /// Whether it may make an open persistent (MS-SMB2 3.3.5.9.10).
    pub fn promised(&self, model: &Model) -> bool {
        let asked = matches!(self.create.durability, Durability::V2 { persistent: true, .. });
        asked && model.promises(self.terms, self.create.share)
    }
}

impl Model {
    /// Whether opens may be persistent there.
    pub fn promises(&self, terms: Terms, share: Share) -> bool {
        self.config.persistence
            && terms.dialect >= Dialect::Smb300
            && terms.capabilities.contains(Capabilities::PERSISTENT_HANDLES)
            && share.kind == ShareKind::Disk
            && share.flags.contains(ShareFlags::CONTINUOUSLY_AVAILABLE)
    }

    /// How long a DH2Q keeps an open.
    pub fn patience(&self, timeout: u32, share: Share) -> Duration {
        match (timeout, share.ca_timeout) {
            (0, 0) => self.config.durable_v2_timeout,
            (0, timeout) => Duration::from_millis(timeout.into()),
            (timeout, _) => Duration::from_millis(timeout.into()).min(self.config.durable_v2_max),
        }
    }

    // ---- breaks

    /// How long a client has to acknowledge (MS-SMB2 3.3.2.5 <247>, 3.3.2.1 <246>).
    pub fn lease_patience(&self, key: Key) -> Duration {
        let promised = self.members(key).any(|open| open.persistent);
        if promised { self.config.persistent_lease_break_timeout } else { self.config.lease_break_timeout }
    }

    pub fn oplock_patience(&self, request: RequestId) -> Duration {
        let promised = self.open(request).is_some_and(|open| open.persistent);
        if promised { self.config.persistent_oplock_break_timeout } else { self.config.oplock_break_timeout }
    }

    /// Whether nobody has heard of a lease.
    pub fn untold(&self, key: Key) -> bool {
        self.members(key).next().is_some() && self.members(key).all(|open| open.persistent && !open.told)
    }

    /// Whether a break of a lease without a connection waits for its client.
    pub fn keeps(&self, key: Key) -> bool {
        let caches = |lease: &Lease| lease.state.intersects(LeaseState::WRITE | LeaseState::HANDLE);
        self.lease(key).is_some_and(caches) && self.members(key).any(|open| open.persistent)
    }

    /// As above, of an oplock.
    pub fn keeps_oplock(&self, open: &Open) -> bool {
        open.persistent && rules::rank(open.oplock) > 1
    }

    /// MS-SMB2 3.3.4.7: the notification is kept, and asks for all that was asked for meanwhile.
    pub fn keep_lease(&mut self, key: Key, left: LeaseState) {
        let serial = self.next_serial();
        let lease = self.lease_mut(key).unwrap();
        if !lease.state.intersects(LeaseState::WRITE | LeaseState::HANDLE) {
            lease.state = LeaseState::NONE;
            return;
        }
        let deadline = lease.breaking.and_then(|breaking| breaking.deadline);
        let lower = |state: LeaseState| (state & left).normalized();
        let (serial, sent) =
            lease.breaking.map_or((serial, (0, ConnId::new(0))), |breaking| (breaking.serial, breaking.sent));
        let (told, needed) =
            lease.breaking.map_or((left, left), |breaking| (lower(breaking.told), lower(breaking.needed)));
        lease.breaking = Some(Breaking { told, needed, deadline, serial, sent });
    }

    pub fn keep_oplock(&mut self, request: RequestId, to: OplockLevel) {
        let serial = self.next_serial();
        let open = self.open_mut(request).unwrap();
        if rules::rank(open.oplock) <= 1 {
            open.oplock = OplockLevel::None;
            return;
        }
        let lower = |level| rules::lower(level, to);
        let (serial, sent) =
            open.breaking.map_or((serial, (0, ConnId::new(0))), |breaking| (breaking.serial, breaking.sent));
        let (told, needed) =
            open.breaking.map_or((to, to), |breaking| (lower(breaking.told), lower(breaking.needed)));
        open.breaking = Some(Breaking { told, needed, deadline: None, serial, sent });
    }

    /// What was in flight when the last connection went is kept as well.
    pub fn keep_unheard(&mut self) {
        for open in &mut self.opens {
            if let (true, true, Some(breaking)) = (open.persistent, open.orphan.is_some(), &mut open.breaking)
            {
                breaking.deadline = None;
            }
        }
    }

    /// As above, of a lease whose last open with a connection has lost it.
    pub fn keep_lost(&mut self, request: RequestId) {
        let key = self
            .open(request)
            .and_then(|open| open.ask.key)
            .filter(|key| self.deserted(*key) && self.keeps(*key));
        if let Some(breaking) =
            key.and_then(|key| self.lease_mut(key)).and_then(|lease| lease.breaking.as_mut())
        {
            breaking.deadline = None;
        }
    }

    /// Whether the last open of a lease that has a connection is closed while others are away.
    pub fn keep_closed(&mut self, key: Key) {
        if !self.deserted(key) || !self.keeps(key) {
            return;
        }
        if let Some(breaking) = self.lease_mut(key).and_then(|lease| lease.breaking.as_mut()) {
            breaking.deadline = None;
        }
    }

    /// Behind the answer that gives an open back: what was kept.
    pub fn send_kept(&mut self, request: RequestId) {
        let open = self.open(request).unwrap();
        let file = open.file();
        if let Some(breaking) = open.breaking.filter(|breaking| breaking.deadline.is_none()) {
            self.open_mut(request).unwrap().breaking = None;
            self.tell_oplock(request, breaking.told);
            if let Some(sent) = &mut self.open_mut(request).unwrap().breaking {
                sent.needed = breaking.needed;
            }
        }
        let lease = self.open(request).and_then(|open| open.ask.key).and_then(|key| self.lease(key));
        if let Some((key, breaking)) = lease.and_then(|lease| Some((lease.key, lease.breaking?))) {
            if breaking.deadline.is_none() {
                self.lease_mut(key).unwrap().breaking = None;
                self.tell_lease(key, breaking.told, breaking.needed, true);
            }
        }
        // What it holds may be less than it was; where nothing is promised nobody waits for that.
        if self.on(file).any(|open| open.persistent) {
            self.judge_again(file);
        }
    }

    // ---- an open that meets one that nobody is connected to

    /// MS-SMB2 3.3.5.9 <301>.
    pub fn meets_absent(&self, ask: &Ask) -> bool {
        let lacks_handle = |open: &Open| match open.ask.key.and_then(|key| self.lease(key)) {
            Some(lease) => !lease.state.contains(LeaseState::HANDLE),
            None => open.oplock != OplockLevel::Batch,
        };
        let writes = |open: &Open| match open.ask.key.and_then(|key| self.lease(key)) {
            Some(lease) => lease.state.contains(LeaseState::WRITE),
            None => true,
        };
        let grace = self.store.recovered.is_some_and(|at| self.now < at.saturating_add(self.config.grace));
        let modern = ask.terms.dialect >= Dialect::Smb300;
        self.on(ask.create.file).filter(|open| open.persistent && open.orphan.is_some()).any(|open| {
            let unclaimed = open.restored && grace;
            let refuses = self.config.profile.absent_holder == AbsentHolder::Refuse;
            unclaimed || modern && (refuses || lacks_handle(open) || self.locked(open) && !writes(open))
        })
    }

    /// Whether an open has locks, or another of its lease.
    pub fn locked(&self, open: &Open) -> bool {
        let locks = self.locks.get(&open.file()).map_or(&[][..], Vec::as_slice);
        let key = open.ask.key.filter(|_| open.leased);
        locks.iter().any(|lock| {
            let of_lease = |key| self.members(key).any(|other| other.request() == lock.owner);
            lock.owner == open.request() || key.is_some_and(of_lease)
        })
    }

    /// The client of a lease has no more than this.
    fn cut(lease: &mut Lease, state: LeaseState) {
        lease.state = (lease.state & state).normalized();
        let state = lease.state;
        lease.breaking = lease.breaking.and_then(|breaking| {
            let lower = |other: LeaseState| (other & state).normalized();
            let (told, needed) = (lower(breaking.told), lower(breaking.needed));
            (needed != state).then_some(Breaking { told, needed, ..breaking })
        });
    }

    // ---- coming back

    /// What an open that is given back has by now.
    pub fn given_back(&mut self, request: RequestId, context: Option<Context>) {
        let open = self.open(request).unwrap();
        let locked = self.locked(open);
        let (persistent, key) = (open.persistent, open.ask.key.filter(|_| open.leased));
        let open = self.open_mut(request).unwrap();
        open.restored = false;
        open.told = true;
        let alone = |model: &Self, key: Key| {
            model.members(key).all(|open| open.request() == request || open.orphan.is_some())
        };
        let Some(key) = key.filter(|key| persistent && alone(self, *key)) else { return };
        let (Some(lease), Some(context)) = (self.lease_mut(key), context) else { return };
        // Choice: a context of version 1 has the epoch 0.
        let epoch = context.epoch().unwrap_or_default();
        if std::mem::take(&mut lease.restored) {
            // <353>: both must know of it, and the newer of two counters counts.
            let asked = context.state().normalized();
            Self::cut(lease, context.state());
            if newer(epoch, lease.epoch) {
                lease.epoch = epoch;
            }
            if lease.state != asked {
                lease.epoch = lease.epoch.next();
            }
            return;
        }
        let (writes, handle) =
            (lease.state.contains(LeaseState::WRITE), lease.state.contains(LeaseState::HANDLE));
        if lease.state.is_empty() || (handle && (writes || !locked)) {
            return;
        }
        if locked && !writes {
            Self::cut(lease, LeaseState::NONE);
        }
        // As recorded (reconnect-contended): whoever did not wait for it is told by the counter, which goes on from the client's.
        let epoch = if lease.state == LeaseState::R { epoch.next() } else { epoch };
        if newer(epoch, lease.epoch) {
            lease.epoch = epoch;
        }
    }

    /// The persistent open of this CreateGuid: the client's own before that of another.
    pub fn open_of_guid(&self, guid: CreateGuid, client: ClientGuid) -> Option<&Open> {
        let named = |open: &&Open| {
            open.persistent
                && open.phase == Phase::Live
                && open.ask.guid().is_some_and(|(_, other)| other == guid)
        };
        let first = self.opens.iter().filter(named).min_by_key(|open| open.promised_at);
        let own = self.opens.iter().filter(named).filter(|open| open.ask.client == client);
        own.min_by_key(|open| open.promised_at).or(first)
    }

    /// Lookup B of a CREATE that is sent again (MS-SMB2 3.3.5.9). True if that is its end.
    pub fn replayed_promise(&mut self, ask: &Ask) -> bool {
        let create = &ask.create;
        let Some((_, guid)) = ask.guid().filter(|_| create.replay && ask.promised(self)) else {
            return false;
        };
        let request = create.request;
        let refused = match self.open_of_guid(guid, ask.client) {
            None if self.config.profile.unknown_replay == UnknownReplay::Refuse => {
                Some(Status::FILE_NOT_AVAILABLE)
            }
            None => return false,
            Some(open) => {
                let held = &open.ask.create;
                let differs = (held.file, held.options, held.desired, held.sharing)
                    != (create.file, create.options, create.desired, create.sharing);
                if open.orphan.is_none() || open.unheard {
                    Some(Status::FILE_NOT_AVAILABLE)
                } else if open.owner != create.user {
                    Some(Status::ACCESS_DENIED)
                } else if differs {
                    Some(Status::CONTEXT_MISMATCH)
                // Choice: a lease is a client's own, as in the first lookup.
                } else if open.ask.key.filter(|_| open.leased).is_some_and(|(client, _)| client != ask.client)
                {
                    Some(Status::ACCESS_DENIED)
                } else {
                    None
                }
            }
        };
        if let Some(status) = refused {
            self.refuse(request, status);
            return true;
        }
        let open = self.open_of_guid(guid, ask.client).unwrap();
        // Choice: the level is that of the open, as nothing else is of this CREATE.
        let (open, level) = (open.request(), open.oplock);
        self.answer_again(open, ask, level);
        true
    }

    // ---- another life

    /// An open that a former life left.
    pub fn restore(&mut self, record: &Record, request: RequestId, elapsed: Duration) -> Restored {
        self.store.due.clear();
        let key = record.lease.map(|lease| (record.client, lease.key()));
        // A key that names another file by now joins no lease.
        let elsewhere = key.is_some_and(|key| self.bound_elsewhere(key, record.file));
        let guest = record.lease.filter(|_| record.joins_no_lease() || elsewhere);
        let guest = guest.map(|context| with_state(context, LeaseState::NONE));
        let key = key.filter(|_| guest.is_none());
        let uses = rules::uses(record.granted, record.disposition);
        if self.on(record.file).any(|open| rules::exclude((uses, record.sharing), open.sharing())) {
            return Restored::Over;
        }
        let held = self.locks.get(&record.file).cloned().unwrap_or_default();
        let mut all = held;
        let mut wanted = record.locks.clone();
        // Whatever was locked once can be locked again: shared locks go on top of an exclusive one.
        wanted.sort_by_key(|lock| !lock.exclusive);
        for lock in &wanted {
            let flags = if lock.exclusive {
                leasehold::server::LockFlags::EXCLUSIVE
            } else {
                leasehold::server::LockFlags::SHARED
            };
            let element = LockElement { offset: lock.offset, len: lock.len, flags };
            // What others have by now stays theirs.
            if let Ok(next) = locks::lock(&all, request, &[element]) {
                all = next;
            }
        }
        let origin = Origin::new(ConnId::new(0), SessionId::new(0), TreeId::new(0));
        let share = Share::new(ShareKind::Disk, ShareFlags::CONTINUOUSLY_AVAILABLE);
        let (timeout, create_guid) = (record.timeout, record.create_guid);
        let mut create = Create::new(request, origin, record.file)
            .access(record.desired, record.sharing)
            .granted(record.granted)
            .disposition(record.disposition, record.options)
            .caching(record.level, record.lease)
            .place(share, record.directory)
            .durable(record.owner, Durability::V2 { timeout, create_guid, persistent: true });
        create.channel_sequence = record.channel_sequence;
        create.instance = record.instance;
        let terms = Terms::new(Dialect::Smb311, Capabilities::all());
        let ask = Ask { create, client: record.client, terms, context: record.lease, key };
        let order = self.next_serial();
        let patience = record.patience().saturating_sub(elapsed).max(self.config.restored_min);
        let deadline = self.now.saturating_add(patience);
        let oplock = if record.lease.is_some() { OplockLevel::None } else { record.level };
        self.opens.push(Open {
            phase: Phase::Live,
            order,
            leased: record.lease.is_some(),
            oplock,
            ever_oplock: oplock != OplockLevel::None,
            breaking: None,
            serial: 0,
            announced: None,
            parent: record.parent,
            directory: record.directory,
            // Choice: whoever may write has written.
            modified: rules::uses(record.granted, record.disposition).contains(ShareMode::WRITE),
            owner: record.owner,
            durable: Some(record.patience()),
            resilient: None,
            guid: create_guid,
            replay: None,
            action: record.action,
            orphan: Some((deadline, order)),
            persistent: true,
            unheard: false,
            told: true,
            withdrawn: false,
            promised_at: order,
            restored: true,
            kind: record.kind,
            bare: guest,
            sequences: record.sequences,
            ask,
        });
        self.locks.insert(record.file, all);
        if record.goes {
            self.goes(record.file, None);
        }
        if oplock != OplockLevel::None {
            let handle = |lease: &Lease| lease.state.contains(LeaseState::HANDLE);
            let bare = self.leases_on(record.file).any(handle);
            let asked = if bare { OplockLevel::None } else { oplock };
            let level = rules::as_level(self.fits(request, rules::as_state(asked)));
            let open = self.open_mut(request).unwrap();
            open.oplock = level;
            open.ever_oplock = level != OplockLevel::None;
            if let Some(told) = record.told.filter(|told| !told.contains(rules::as_state(level))) {
                self.keep_oplock(request, rules::as_level(told & rules::as_state(level)));
            }
        }
        if let (Some(key), Some(context)) = (key, record.lease) {
            if record.relaxed {
                self.deleting.insert(key);
            }
            let state = self.fits(request, context.state());
            let first = self.lease(key).is_none();
            match self.lease_mut(key) {
                // Two opens of one lease, recorded at different times: the later one knows.
                Some(lease) => {
                    let epoch = context.epoch().unwrap_or_default();
                    if newer(epoch, lease.epoch) {
                        lease.epoch = epoch;
                    }
                }
                None => self.leases.push(Lease {
                    key,
                    file: record.file,
                    state,
                    second: matches!(context, Context::V2(_)),
                    epoch: context.epoch().unwrap_or_default(),
                    parent: context.parent(),
                    breaking: None,
                    serial: 0,
                    announced: None,
                    late: false,
                    restored: true,
                }),
            }
            let state = self.lease(key).unwrap().state;
            // A listing may be another by now, and the break that nobody waits for not in the store.
            let directory = record.kind == ObjectKind::Directory;
            let told = if directory { Some(LeaseState::NONE) } else { record.told };
            if let Some(told) = told.filter(|told| first && !told.contains(state)) {
                self.keep_lease(key, (told & state).normalized());
            }
        }
        // What is not whole is written again.
        let (mut before, after) = (sorted(record), self.record(self.open(request).unwrap()));
        before.connected = false;
        if before != after {
            if reads(&before) && !reads(&after) {
                self.store.losing.push((request, record.file));
            }
            self.store.due.push((request, Some(after)));
        }
        Restored::Open
    }

    /// What a restored open can have beside what was restored before it, behind its own locks as well: what it had.
    fn fits(&self, request: RequestId, asked: LeaseState) -> LeaseState {
        let open = self.open(request).unwrap();
        self.grantable(open, Opened::new(CreateAction::Opened, open.kind, u64::MAX), asked, Asked::Before)
    }

    pub fn restarted(&self) -> bool {
        self.store.recovered.is_some()
    }

    /// Requests may come.
    pub fn recover(&mut self) {
        self.store.recovering = false;
        self.store.recovered = Some(self.now);
        let records: Vec<_> = self.opens.iter().map(|open| (open.request(), self.record(open))).collect();
        self.store.last = records.into_iter().collect();
    }

    /// The next life of the server.
    pub fn next_life(&self) -> Self {
        let mut next = Self::new(self.config);
        next.now = self.now;
        next.serial = self.serial;
        next
    }

    /// A former life called the open so.
    pub fn learn_former(&mut self, persistent: u64, request: RequestId) {
        self.learn_open(FileId { persistent, volatile: u64::MAX }, request);
    }

    /// Whether a change is the one that must be said of an open.
    pub fn says(&self, open: RequestId, change: &Change) -> Result<(), String> {
        let due = self.store.due.iter().find(|(other, _)| *other == open);
        match (due, change) {
            (Some((_, Some(record))), Change::Put(put)) if sorted(put) == *record => Ok(()),
            (Some((_, None)), Change::Delete { .. }) => Ok(()),
            (None, Change::Put(put)) if self.store.last.get(&open) == Some(&sorted(put)) => Ok(()),
            (due, change) => Err(format!("of {open:?} must be stored: {due:?}\nnot {change:?}")),
        }
    }

    /// What is said of a persistent open.
    pub fn flags_of(open: &Open) -> DurableFlags {
        if open.persistent { DurableFlags::PERSISTENT } else { DurableFlags::empty() }
    }

    /// Whether a breach changes anything that somebody would have to be told of.
    pub(super) fn unheard_breach(&self, breach: Breach) -> bool {
        match breach {
            Breach::Lease(key, _) => self.untold(key),
            Breach::Oplock(open, _) => self.open(open).is_some_and(Open::untold),
        }
    }
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    Open,
    /// A later one says otherwise: it was over.
    Over,
}

/// With its locks in one order, whenever it was written.
fn sorted(record: &Record) -> Record {
    let mut record = record.clone();
    record.written = 0;
    record.locks.sort_by_key(|lock| (lock.offset, lock.len, lock.exclusive));
    record
}

/// Whether a counter is ahead of another, half of its range at most.
fn newer(one: Epoch, other: Epoch) -> bool {
    (1..0x8000).contains(&one.get().wrapping_sub(other.get()))
}

impl Open {
    /// Whether nobody has heard of what it caches.
    pub fn untold(&self) -> bool {
        self.persistent && !self.told
    }

    pub fn opened(&self) -> Opened {
        Opened::new(self.action, self.kind, 0)
    }
}
