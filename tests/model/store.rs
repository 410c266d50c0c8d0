//! The store that persistent opens rest on: what must be in it, and what waits for it (MS-SMB2 3.3.5.9.10, 3.3.5.14, 3.3.5.10).

use std::collections::BTreeMap;

use leasehold::persist::{LockRecord, Record};
use leasehold::server::{AppInstance, LockElement, LockFlags, LockSequence, ObjectKind, Origin, PersistSeq};
use leasehold::wire::{Lease as Context, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    CreateGuid, Disposition, FileKey, Instant, Intent, LeaseState, OplockLevel, RequestId, SessionId, Status,
    TreeId,
};

use super::{Blocker, Model, Open, Outcome, Running, Said, Waiter, What, locks, rules};

/// What waits for the store.
#[derive(Clone, Debug)]
pub enum Gated {
    /// The answer to the CREATE.
    Grant,
    Lock(Vec<LockElement>, Option<LockSequence>),
    Unlock(Vec<LockElement>),
    /// The answer to a request for resilience.
    Accept,
    /// The answer to the CREATE of what could not be stored, until nothing of it is left in the store.
    Withdrawn,
    /// Everybody on this file: somebody has lost what it had there.
    Others(FileKey),
    /// As above, who change data: somebody may not read them from its cache any more.
    Changes(FileKey),
    Operation,
    Close,
    Tree,
}

/// An answer that is held back.
#[derive(Clone, Debug)]
pub struct Gate {
    pub what: Gated,
    pub request: RequestId,
    pub origin: Option<Origin>,
    /// Through which open it came, if through one.
    pub open: Option<RequestId>,
    /// The opens whose changes it waits for.
    pub on: Vec<RequestId>,
    /// The last of these changes.
    pub at: Option<u64>,
    /// Whether the CREATE is to be answered. Choice: all others are, also if their connection has gone by then.
    pub heard: bool,
}

/// The store, as far as the server knows it.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Changes that nothing was heard of yet, in order; of which open.
    pub outstanding: Vec<(PersistSeq, Option<RequestId>)>,
    /// The last record of each open.
    pub last: BTreeMap<RequestId, Record>,
    /// What must be said of each open: its record, or that it has none any more.
    pub due: Vec<(RequestId, Option<Record>)>,
    pub gates: Vec<Gate>,
    /// Opens that, by what has to be stored now, may not read from their caches any more.
    pub losing: Vec<(RequestId, FileKey)>,
    /// The last change of that kind on each file, and those that nothing was heard of yet.
    pub taken: BTreeMap<FileKey, u64>,
    pub taking: Vec<(u64, RequestId)>,
    /// Opens of which that could not be stored.
    pub untaken: Vec<RequestId>,
    /// Those who wait for this file hear that what they wait for could not be stored.
    pub unstorable: Option<FileKey>,
    /// Opens whose records are written whatever they say.
    pub must: Vec<RequestId>,
    /// Opens that were withdrawn and closed.
    pub gone: Vec<RequestId>,
    /// Whether serial numbers of FileIds are reserved.
    pub reserved: bool,
    pub recovering: bool,
    /// When requests came for the first time, if that was after a restart.
    pub recovered: Option<Instant>,
}

impl Store {
    /// The last of these changes that nothing was heard of yet.
    fn unknown(&self, which: impl Fn(u64) -> bool) -> Option<u64> {
        self.outstanding.iter().map(|(seq, _)| seq.number()).filter(|number| which(*number)).max()
    }

    /// Nobody waits for the answer to this CREATE any more. Whether somebody did.
    pub fn unhear(&mut self, request: RequestId) -> bool {
        let gate = self.gates.iter_mut().find(|gate| gate.request == request);
        gate.is_some_and(|gate| std::mem::take(&mut gate.heard))
    }
}

impl Model {
    // ---- records

    /// What the record of an open has to say.
    pub fn record(&self, open: &Open) -> Record {
        let create = &open.ask.create;
        let (_, guid) = open.ask.guid().unwrap();
        let persistent = self.name_of(open.request()).unwrap().persistent;
        let mut record = Record::new(persistent, open.file(), open.ask.client, open.owner, guid);
        // What it has begun counts as done.
        let begun = self
            .running
            .iter()
            .filter(|running| running.file == open.file() && running.who.open == Some(open.request()));
        record.directory = open.directory;
        record.goes = self.going.contains_key(&open.file());
        for running in begun {
            match running.intent {
                Intent::Rename { to } => record.directory = to,
                Intent::Delete { pending } => record.goes = pending,
                _ => {}
            }
        }
        record.parent = open.parent;
        record.instance = open.ask.instance().map(|(id, version)| AppInstance { id, version });
        record.desired = create.desired;
        record.granted = create.granted;
        record.sharing = create.sharing;
        record.disposition = create.disposition;
        record.options = create.options;
        record.action = open.action;
        record.kind = open.kind;
        // Choice: a persistent open that is made resilient remains what it is, and is kept as long as it is resilient.
        record.timeout = open.resilient.or(open.durable).unwrap_or_default().as_millis() as u32;
        record.channel_sequence = create.channel_sequence;
        record.connected = open.orphan.is_none();
        record.level = open.oplock;
        record.told = open.breaking.map(|breaking| rules::as_state(breaking.told));
        if let Some(bare) = open.bare.filter(|_| open.leased) {
            (record.level, record.lease) = (OplockLevel::Lease, Some(bare));
            record.told = Some(LeaseState::NONE);
        }
        if let Some(lease) = open.ask.key.filter(|_| open.leased).and_then(|key| self.lease(key)) {
            let state = lease.state;
            record.told = lease.breaking.map(|breaking| breaking.told);
            let (key, flags) = (lease.key.1, LeaseFlags::empty());
            record.level = OplockLevel::Lease;
            record.lease = Some(if lease.second {
                Context::V2(LeaseV2 { key, state, flags, parent: lease.parent, epoch: lease.epoch })
            } else {
                Context::V1(LeaseV1 { key, state, flags })
            });
            record.relaxed = self.deleting.contains(&lease.key);
        }
        let held = self.locks.get(&open.file()).map_or(&[][..], Vec::as_slice);
        record.locks = held
            .iter()
            .filter(|lock| lock.owner == open.request())
            .map(|lock| LockRecord { offset: lock.offset, len: lock.len, exclusive: lock.exclusive })
            .collect();
        record.locks.sort_by_key(|lock| (lock.offset, lock.len, lock.exclusive));
        record.sequences = open.sequences;
        record
    }

    /// What has to be stored by now.
    pub fn write_down(&mut self) {
        let mut due = Vec::new();
        let must = std::mem::take(&mut self.store.must);
        let mut last = BTreeMap::new();
        for open in self.opens.iter().filter(|open| open.stored()) {
            let record = self.record(open);
            let request = open.request();
            let former = self.store.last.get(&request);
            if must.contains(&request) || !former.is_some_and(|former| same(former, &record)) {
                let untaken = self.store.untaken.contains(&request);
                self.store.untaken.retain(|other| *other != request);
                if (untaken || former.is_some_and(reads)) && !reads(&record) {
                    self.store.losing.push((request, open.file()));
                }
                due.push((request, Some(record.clone())));
            }
            last.insert(request, record);
        }
        for request in self.store.last.keys().filter(|request| !last.contains_key(request)) {
            due.push((*request, None));
        }
        due.extend(std::mem::take(&mut self.store.gone).into_iter().map(|request| (request, None)));
        (self.store.last, self.store.due) = (last, due);
    }

    /// The machine calls these changes so, in order.
    pub fn learn_changes(&mut self, changes: &[(PersistSeq, Option<RequestId>)]) {
        self.store.outstanding.extend_from_slice(changes);
        for (request, file) in std::mem::take(&mut self.store.losing) {
            let Some((seq, _)) = changes.iter().find(|(_, open)| *open == Some(request)) else { continue };
            let last = self.store.taken.entry(file).or_default();
            *last = seq.number().max(*last);
            self.store.taking.push((seq.number(), request));
        }
        // Of several about one open the first is stored first.
        let mut later: BTreeMap<RequestId, usize> = BTreeMap::new();
        for gate in self.store.gates.iter_mut().rev().filter(|gate| gate.at.is_none()) {
            let of = |open: &Option<RequestId>| open.is_some_and(|open| gate.on.contains(&open));
            let mut numbers = changes.iter().rev().filter(|(_, open)| of(open)).map(|(seq, _)| seq.number());
            let own =
                matches!(gate.what, Gated::Operation | Gated::Lock(..) | Gated::Unlock(_) | Gated::Accept);
            let alone = gate.open.filter(|_| own);
            let skipped = alone.map_or(0, |open| {
                let count = later.entry(open).or_default();
                *count += 1;
                *count - 1
            });
            gate.at = numbers.nth(skipped);
        }
    }

    // ---- what waits for the store

    pub fn gate(&mut self, what: Gated, request: RequestId, origin: Option<Origin>, opens: &[RequestId]) {
        self.store.must.extend(opens);
        let (on, open) = (opens.to_vec(), opens.first().copied());
        self.store.gates.push(Gate { what, request, origin, open, on, at: None, heard: true });
    }

    /// Others go on when it is durable that these have lost what they had.
    pub fn bar_others(&mut self, file: FileKey, opens: &[RequestId]) {
        if !opens.is_empty() {
            self.gate(Gated::Others(file), RequestId::new(0), None, opens);
        }
    }

    /// Nobody changes data while the store does not know of somebody that it may not read them from its cache any more, who was not
    /// waited for (MS-SMB2 3.3.4.7): it would have that back after a restart, without having heard of it.
    pub fn overtakes_the_store(&mut self, waiter: &Waiter) -> Option<Outcome> {
        let waits = Outcome::Wait(vec![Blocker::Store]);
        let changes = match &waiter.what {
            What::Create(ask) => {
                let overwrites = [Disposition::Supersede, Disposition::Overwrite, Disposition::OverwriteIf];
                overwrites.contains(&ask.create.disposition)
            }
            What::Operation { intent, .. } => matches!(intent, Intent::Write { .. } | Intent::SetSize),
            What::Lock { .. } => false,
        };
        let file = waiter.file;
        let here: Vec<&Open> =
            self.opens.iter().filter(|open| open.file() == file && open.persistent).collect();
        if !changes || here.is_empty() {
            return None;
        }
        // What is another by now is stored anyway.
        let untaken = |open: &Open| self.store.untaken.contains(&open.request());
        let known = |open: &Open, record: &Record| {
            self.store.last.get(&open.request()).is_some_and(|former| same(former, record))
        };
        let tried = |open: &&Open| open.stored() && untaken(open) && known(open, &self.record(open));
        if self.store.unstorable == Some(file) && here.iter().copied().any(|open| tried(&open)) {
            return Some(Outcome::Refuse(Status::INSUFFICIENT_RESOURCES));
        }
        let loses = |open: &&&Open| {
            let read = untaken(open) || self.store.last.get(&open.request()).is_some_and(reads);
            open.stored() && read && !reads(&self.record(open))
        };
        let losing: Vec<RequestId> = here.iter().filter(loses).map(|open| open.request()).collect();
        if !losing.is_empty() {
            self.gate(Gated::Changes(file), RequestId::new(0), None, &losing);
            return Some(waits);
        }
        let taken = self.store.taken.get(&file).copied();
        let at = taken.and_then(|taken| self.store.unknown(|at| at <= taken))?;
        let (what, request) = (Gated::Changes(file), RequestId::new(0));
        let on = Vec::new();
        self.store.gates.push(Gate {
            what,
            request,
            origin: None,
            open: None,
            on,
            at: Some(at),
            heard: true,
        });
        Some(waits)
    }

    /// Whether everybody on a file waits for the store.
    pub fn barred(&self, file: FileKey) -> bool {
        let bars =
            |what: &Gated| matches!(what, Gated::Others(other) | Gated::Changes(other) if *other == file);
        self.store.gates.iter().any(|gate| bars(&gate.what))
    }

    /// What an open asked for, and the store does not know of yet, is answered before it goes.
    pub fn answer_held(&mut self, open: RequestId) {
        let held = |gate: &Gate| matches!(gate.what, Gated::Operation) && gate.open == Some(open);
        let (over, on): (Vec<_>, Vec<_>) = std::mem::take(&mut self.store.gates).into_iter().partition(held);
        self.store.gates = on;
        for gate in over {
            self.running.retain(|running| running.request != gate.request);
            self.refuse(gate.request, Status::FILE_CLOSED);
        }
    }

    /// Whether a change of this open has to be stored before anybody hears of it.
    pub fn gated(&self, open: RequestId) -> bool {
        self.open(open).is_some_and(|open| open.persistent)
    }

    pub fn persisted(&mut self, up_to: PersistSeq) {
        let number = up_to.number();
        let (stored, on): (Vec<_>, Vec<_>) = std::mem::take(&mut self.store.outstanding)
            .into_iter()
            .partition(|(seq, _)| seq.number() <= number);
        self.store.outstanding = on;
        self.store.taking.retain(|(other, _)| *other > number);
        self.store.reserved |= stored.iter().any(|(_, of)| of.is_none());
        // One after the other: what is answered may answer others.
        while let Some(gate) = self.ready(|at| at <= number) {
            self.release(gate);
        }
    }

    /// The first that waits for such a change.
    fn ready(&mut self, which: impl Fn(u64) -> bool) -> Option<Gate> {
        let ready = |gate: &Gate| gate.at.filter(|at| which(*at));
        let all = self.store.gates.iter().enumerate();
        let (_, at) = all.filter_map(|(at, gate)| Some((ready(gate)?, at))).min()?;
        Some(self.store.gates.remove(at))
    }

    fn release(&mut self, gate: Gate) {
        let request = gate.request;
        let said = match gate.what {
            Gated::Grant => {
                if let Some(open) = self.open_mut(request) {
                    open.unheard = false;
                    if gate.heard {
                        open.told = true;
                        self.granted(request);
                    }
                }
                return;
            }
            Gated::Withdrawn => return self.not_promised(request, gate.heard),
            Gated::Others(file) | Gated::Changes(file) => return self.judge_again(file),
            Gated::Lock(..) | Gated::Unlock(_) | Gated::Accept => Said::Accepted { request },
            Gated::Operation => Said::Proceed { request },
            Gated::Close | Gated::Tree => Said::Closed { request },
        };
        if gate.heard {
            self.say(said);
        }
    }

    pub fn persist_failed(&mut self, seq: PersistSeq) {
        self.store.outstanding.retain(|(other, _)| *other != seq);
        let all = std::mem::take(&mut self.store.taking);
        let (untaken, on): (Vec<_>, Vec<_>) = all.into_iter().partition(|(other, _)| *other == seq.number());
        self.store.taking = on;
        self.store.untaken.extend(untaken.into_iter().map(|(_, request)| request));
        while let Some(gate) = self.ready(|at| at == seq.number()) {
            self.fail(gate);
        }
    }

    fn fail(&mut self, mut gate: Gate) {
        let request = gate.request;
        let earlier = gate.at.and_then(|at| self.store.unknown(|number| number < at));
        match &gate.what {
            // The other records that went with it may be on their way still.
            Gated::Tree | Gated::Others(_) | Gated::Changes(_) if earlier.is_some() => {
                gate.at = earlier;
                self.store.gates.push(gate);
                return;
            }
            Gated::Changes(file) => {
                self.store.unstorable = Some(*file);
                self.release(gate);
                self.store.unstorable = None;
                return;
            }
            Gated::Tree | Gated::Withdrawn | Gated::Others(_) => return self.release(gate),
            Gated::Grant => {
                if let Some(open) = self.open_mut(request) {
                    open.withdrawn = true;
                    gate.what = Gated::Withdrawn;
                    gate.at = None;
                    self.store.gates.push(gate);
                }
                return;
            }
            Gated::Lock(elements, sequence) => {
                let open = gate.open;
                if let (Some(sequence), Some(open)) = (sequence, open.and_then(|open| self.open_mut(open))) {
                    open.sequences.undone(*sequence);
                    let open = open.request();
                    self.store.must.push(open);
                }
                // What another that is on its way names stays as it is.
                let others = self.store.gates.iter().filter(|other| other.open == open);
                let named: Vec<_> = others
                    .filter_map(|other| match &other.what {
                        Gated::Lock(elements, _) | Gated::Unlock(elements) => Some(elements),
                        _ => None,
                    })
                    .flatten()
                    .map(|element| (element.offset, element.len))
                    .collect();
                if gate.heard {
                    self.refuse(request, Status::INSUFFICIENT_RESOURCES);
                }
                if let Some(file) = open.and_then(|open| self.open(open)).map(Open::file) {
                    let held = self.locks.entry(file).or_default();
                    let spared = |element: &&LockElement| !named.contains(&(element.offset, element.len));
                    for element in elements.iter().filter(spared) {
                        let exclusive = element.flags.contains(LockFlags::EXCLUSIVE);
                        let same = |lock: &locks::Held| {
                            (Some(lock.owner), lock.offset, lock.len) == (open, element.offset, element.len)
                                && lock.exclusive == exclusive
                        };
                        if let Some(at) = held.iter().rposition(same) {
                            held.remove(at);
                        }
                    }
                    self.judge_again(file);
                }
                return;
            }
            Gated::Operation => {
                if let Some(at) = self.running.iter().position(|running| running.request == request) {
                    let Running { file, .. } = self.running.remove(at);
                    if gate.heard {
                        self.refuse(request, Status::INSUFFICIENT_RESOURCES);
                    }
                    self.judge_again(file);
                }
                return;
            }
            Gated::Unlock(_) | Gated::Accept | Gated::Close => {}
        }
        if gate.heard {
            self.refuse(request, Status::INSUFFICIENT_RESOURCES);
        }
    }

    /// MS-SMB2 3.3.5.9.10: the store did not take it; it is what it would be on any other share.
    fn not_promised(&mut self, request: RequestId, heard: bool) {
        let Some(open) = self.open_mut(request) else { return };
        (open.persistent, open.unheard, open.withdrawn, open.told) = (false, false, false, true);
        let open = self.open(request).unwrap().clone();
        let key = open.ask.key.filter(|_| open.leased);
        let lease = key.and_then(|key| self.lease_context(key));
        let kept = self.made_durable(&open, open.opened(), open.oplock, lease);
        let breaking = match key.and_then(|key| self.lease(key)) {
            Some(lease) => lease.breaking.is_some(),
            None => open.breaking.is_some(),
        };
        let state = self.open_mut(request).unwrap();
        state.durable = kept;
        if kept.is_none() {
            state.guid = CreateGuid::from_wire([0; 16]);
        }
        // What the CREATE of any open must be to be replayed.
        let state = self.open_mut(request).unwrap();
        if state.kind == ObjectKind::Directory || !state.replayable() {
            state.replay = None;
        }
        if heard {
            self.granted(request);
        }
        if open.orphan.is_some() && (kept.is_none() || breaking) {
            let file = self.close(request);
            self.judge_again(file);
        }
    }

    pub fn origin_of(&self, session: SessionId, tree: TreeId) -> Option<Origin> {
        let (_, conn) = self.sessions.get(&session)?.first()?;
        Some(Origin::new(*conn, session, tree))
    }

    /// Answers the CREATE of an open.
    pub fn granted(&mut self, request: RequestId) {
        let open = self.open(request).unwrap();
        let lease = match open.ask.key.filter(|_| open.leased) {
            Some(key) => self.lease_context(key),
            None => open.bare,
        };
        let level = if open.leased { OplockLevel::Lease } else { open.oplock };
        let (durable, replayable, action) = (open.durable_grant(), open.replay.is_some(), open.action);
        self.say(Said::Granted {
            request,
            open: request,
            fresh: false,
            action,
            level,
            lease,
            durable,
            replayable,
        });
        // The client is back, with another open than the one that it left behind.
        let lease = self.open(request).and_then(|open| open.ask.key).and_then(|key| self.lease(key));
        let breaking = lease.and_then(|lease| lease.breaking);
        if breaking.is_some_and(|breaking| breaking.deadline.is_none()) {
            self.send_kept(request);
        }
    }
}

impl Open {
    /// Whether the store has to know of it.
    pub fn stored(&self) -> bool {
        self.persistent && !self.withdrawn
    }
}

/// Whether a record says what another said. What a LOCK forgets of a former one is not worth a record.
fn same(former: &Record, record: &Record) -> bool {
    let mut former = former.clone();
    former.sequences = record.sequences;
    former == *record
}

/// Whether an open may read from its cache, and was not told to stop.
pub fn reads(record: &Record) -> bool {
    let state = match record.lease {
        Some(Context::V1(lease)) => lease.state,
        Some(Context::V2(lease)) => lease.state,
        None => rules::as_state(record.level),
    };
    record.told.unwrap_or(state).contains(LeaseState::READ)
}
