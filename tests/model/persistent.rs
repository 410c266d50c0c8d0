//! Opens that outlive the server (MS-SMB2 3.3.5.9.10, 3.3.5.9.12, 3.3.5.9 <301>), and the store that they rest on.

use std::time::Duration;

use leasehold::persist::{Change, Record};
use leasehold::server::{
    AbsentHolder, Capabilities, Create, Durability, LockElement, Opened, Origin, Share, ShareFlags,
    ShareKind, Terms, UnknownReplay,
};
use leasehold::wire::{DurableFlags, Lease as Context};
use leasehold::{
    ConnId, CreateAction, CreateGuid, Dialect, Epoch, FileId, FileKey, LeaseState, OplockLevel, RequestId,
    SessionId, ShareMode, Status, TreeId,
};

use super::{Ask, Breach, Breaking, Key, Lease, Model, Open, Phase, known, locks, rules};

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
        self.members(key).next().is_some() && self.members(key).all(Open::untold)
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
        if known::CLOSED_IS_NOT_LOST || !self.deserted(key) || !self.keeps(key) {
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
        self.judge_again(file);
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
        let locks = self.locks.get(&ask.create.file);
        let anybody = known::LOCKS_OF_ANYBODY && locks.is_some_and(|locks| !locks.is_empty());
        self.on(ask.create.file).filter(|open| open.persistent && open.orphan.is_some()).any(|open| {
            let unclaimed = open.restored && grace;
            let refuses = self.config.profile.absent_holder == AbsentHolder::Refuse;
            unclaimed
                || modern
                    && (refuses || lacks_handle(open) || (self.locked(open) || anybody) && !writes(open))
        })
    }

    pub fn locked(&self, open: &Open) -> bool {
        let locks = self.locks.get(&open.file()).map_or(&[][..], Vec::as_slice);
        locks.iter().any(|lock| lock.owner == open.request())
    }

    /// Somebody was refused for the sake of those that nobody is connected to.
    pub fn turned_away(&mut self, file: FileKey) {
        for open in self.opens.iter_mut().filter(|open| open.file() == file) {
            open.refused |= open.persistent && open.orphan.is_some();
        }
    }

    // ---- coming back

    /// What an open that is given back has by now.
    pub fn given_back(&mut self, request: RequestId, context: Option<Context>) {
        let open = self.open(request).unwrap();
        let (refused, locked) = (open.refused, self.locked(open));
        let anybody = self.locks.get(&open.file()).is_some_and(|locks| !locks.is_empty());
        let persistent = open.persistent;
        let key = open.ask.key;
        let alone = key.is_some_and(|key| {
            self.members(key).all(|open| open.request() == request || open.orphan.is_some())
        });
        let open = self.open_mut(request).unwrap();
        open.refused = false;
        open.restored = false;
        let Some(lease) = key.and_then(|key| self.lease_mut(key)) else { return };
        let mut cut = false;
        let bare = if known::LOCKS_OF_ANYBODY { anybody } else { refused && locked };
        if persistent
            && bare
            && lease.breaking.is_none()
            && !lease.restored
            && !lease.state.contains(LeaseState::WRITE)
        {
            cut = !lease.state.is_empty();
            lease.state = LeaseState::NONE;
            lease.breaking = None;
        }
        let Some(context) = context.filter(|_| persistent) else { return };
        // <353>: both must know of it, and the newer of two counters counts.
        let first = std::mem::take(&mut lease.restored);
        if alone && !first && !lease.state.contains(LeaseState::HANDLE) && (cut || !lease.state.is_empty()) {
            // As recorded (reconnect-contended): whoever did not wait for it is told by the counter, which goes on from the client's.
            let word = Some(context.epoch().unwrap_or_default());
            let word = if lease.state == LeaseState::R { word.map(Epoch::next) } else { word };
            if let Some(epoch) = word.filter(|epoch| newer(*epoch, lease.epoch)) {
                lease.epoch = epoch;
            }
        }
        if first {
            let asked = context.state().normalized();
            lease.state = (lease.state & asked).normalized();
            let state = lease.state;
            lease.breaking = lease.breaking.and_then(|breaking| {
                let (told, needed) = (breaking.told & state, breaking.needed & state);
                (told != state).then_some(Breaking { told, needed, ..breaking })
            });
            // Choice: a context of version 1 has the epoch 0.
            if let Some(epoch) = context.epoch().or(Some(Epoch::ZERO)) {
                if newer(epoch, lease.epoch) {
                    lease.epoch = epoch;
                }
            }
            if lease.state != asked {
                lease.epoch = lease.epoch.next();
            }
            if known::SIBLINGS_LET_BE {
                let key = lease.key;
                let others = self.members(key).map(Open::request).filter(|other| *other != request);
                self.store.siblings = others.collect();
            }
        }
    }

    /// The persistent open of this CreateGuid, of whatever client.
    pub fn open_of_guid(&self, guid: CreateGuid) -> Option<&Open> {
        self.opens.iter().find(|open| {
            open.persistent
                && open.phase == Phase::Live
                && open.ask.guid().is_some_and(|(_, other)| other == guid)
        })
    }

    /// Lookup B of a CREATE that is sent again (MS-SMB2 3.3.5.9). True if that is its end.
    pub fn replayed_promise(&mut self, ask: &Ask) -> bool {
        let create = &ask.create;
        let Some((_, guid)) = ask.guid().filter(|_| create.replay && ask.promised(self)) else {
            return false;
        };
        let request = create.request;
        let refused = match self.open_of_guid(guid) {
            None if self.config.profile.unknown_replay == UnknownReplay::Refuse => {
                Some(Status::FILE_NOT_AVAILABLE)
            }
            None => return false,
            Some(open) => {
                let held = &open.ask.create;
                let differs = (held.options, held.desired, held.sharing)
                    != (create.options, create.desired, create.sharing);
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
        let open = self.open_of_guid(guid).unwrap();
        // Choice: the level is that of the open, as nothing else is of this CREATE.
        let (open, level) = (open.request(), open.oplock);
        self.answer_again(open, ask, level);
        true
    }

    // ---- another life

    /// An open that a former life left. False if it does not fit.
    pub fn restore(&mut self, record: &Record, request: RequestId, elapsed: Duration) -> bool {
        let key = record.lease.map(|lease| (record.client, lease.key()));
        if key.and_then(|key| self.lease(key)).is_some_and(|lease| lease.file != record.file) {
            return false;
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
            match locks::lock(&all, request, &[element]) {
                Ok(next) => all = next,
                Err(_) => return false,
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
        let oplock = if key.is_some() { OplockLevel::None } else { record.level };
        self.opens.push(Open {
            phase: Phase::Live,
            order,
            leased: key.is_some(),
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
            restored: true,
            refused: false,
            kind: record.kind,
            bare: None,
            sequences: record.sequences,
            ask,
        });
        self.locks.insert(record.file, all);
        if record.goes {
            self.goes(record.file, None);
        }
        if oplock != OplockLevel::None {
            let handle = |lease: &Lease| lease.state.contains(LeaseState::HANDLE);
            let crowded = rules::attributes_only(record.desired, record.disposition)
                && self.on(record.file).any(|other| other.request() != request);
            let bare = crowded || self.leases_on(record.file).any(handle);
            let asked = if bare { OplockLevel::None } else { oplock };
            let level = rules::as_level(self.fits(request, rules::as_state(asked)));
            let open = self.open_mut(request).unwrap();
            open.oplock = level;
            open.ever_oplock = level != OplockLevel::None;
        }
        if let (Some(key), Some(context)) = (key, record.lease) {
            if record.relaxed {
                self.deleting.insert(key);
            }
            let state = self.fits(request, context.state());
            match self.lease_mut(key) {
                // Two opens of one lease, recorded at different times.
                Some(lease) => {
                    let epoch = context.epoch().unwrap_or_default();
                    lease.state = (lease.state & state).normalized();
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
                    restored: true,
                }),
            }
        }
        true
    }

    /// What a restored open can have beside what was restored before it, behind its own locks as well: what a CREATE could get.
    fn fits(&self, request: RequestId, asked: LeaseState) -> LeaseState {
        let open = self.open(request).unwrap();
        self.grantable(open, Opened::new(CreateAction::Opened, open.kind, u64::MAX), asked)
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

/// With its locks in one order.
fn sorted(record: &Record) -> Record {
    let mut record = record.clone();
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
        self.unheard && !(known::WAITS_FOR_NOBODY && self.orphan.is_some())
    }

    pub fn opened(&self) -> Opened {
        Opened::new(self.action, self.kind, 0)
    }
}
