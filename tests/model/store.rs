//! The store that persistent opens rest on: what must be in it, and what waits for it (MS-SMB2 3.3.5.9.10, 3.3.5.14, 3.3.5.10).

use std::collections::BTreeMap;

use leasehold::persist::{LockRecord, Record};
use leasehold::server::{AppInstance, LockElement, LockSequence, Origin, PersistSeq};
use leasehold::wire::{Lease as Context, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{CreateGuid, Instant, Intent, OplockLevel, RequestId, SessionId, Status, TreeId};

use super::{Model, Open, Running, Said, known, locks, rules};

/// What waits for the store.
#[derive(Clone, Debug)]
pub enum Gated {
    /// The answer to the CREATE.
    Grant,
    Lock(Vec<LockElement>, Option<LockSequence>),
    Unlock,
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
    /// The changes that it waits for: of which opens, and how the machine calls them.
    pub on: Vec<(RequestId, Option<PersistSeq>)>,
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
    /// Opens whose records are let be for once.
    pub siblings: Vec<RequestId>,
    /// Whether serial numbers of FileIds are reserved.
    pub reserved: bool,
    pub recovering: bool,
    /// When requests came for the first time, if that was after a restart.
    pub recovered: Option<Instant>,
}

impl Store {
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
        record.level = open.breaking.map_or(open.oplock, |breaking| rules::lower(open.oplock, breaking.told));
        if let Some(lease) = open.ask.key.filter(|_| open.leased).and_then(|key| self.lease(key)) {
            let state = lease.breaking.map_or(lease.state, |breaking| lease.state & breaking.told);
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
        for open in self.opens.iter().filter(|open| open.persistent) {
            let record = self.record(open);
            if self.store.last.get(&open.request()) != Some(&record) {
                due.push((open.request(), Some(record)));
            }
        }
        for request in self.store.last.keys() {
            if !self.open(*request).is_some_and(|open| open.persistent) {
                due.push((*request, None));
            }
        }
        let silent = std::mem::take(&mut self.store.siblings);
        for (open, record) in &due {
            match record {
                Some(record) => self.store.last.insert(*open, record.clone()),
                None => self.store.last.remove(open),
            };
        }
        due.retain(|(open, record)| record.is_none() || !silent.contains(open));
        self.store.due = due;
    }

    /// The machine calls these changes so, in order.
    pub fn learn_changes(&mut self, changes: &[(PersistSeq, Option<RequestId>)]) {
        self.store.outstanding.extend_from_slice(changes);
        for gate in &mut self.store.gates {
            for (open, seq) in gate.on.iter_mut().filter(|(_, seq)| seq.is_none()) {
                *seq = changes.iter().rev().find(|(_, of)| *of == Some(*open)).map(|(seq, _)| *seq);
            }
        }
    }

    // ---- what waits for the store

    pub fn gate(&mut self, what: Gated, request: RequestId, origin: Option<Origin>, opens: &[RequestId]) {
        let on = opens.iter().map(|open| (*open, None)).collect();
        self.store.gates.push(Gate { what, request, origin, open: opens.first().copied(), on, heard: true });
    }

    /// Whether a change of this open has to be stored before anybody hears of it.
    pub fn gated(&self, open: RequestId) -> bool {
        self.open(open).is_some_and(|open| open.persistent)
    }

    pub fn persisted(&mut self, up_to: PersistSeq) {
        let (stored, on): (Vec<_>, Vec<_>) = std::mem::take(&mut self.store.outstanding)
            .into_iter()
            .partition(|(seq, _)| seq.number() <= up_to.number());
        self.store.outstanding = on;
        for (seq, of) in stored {
            self.store.reserved |= of.is_none();
            for gate in self.ready(seq) {
                self.release(gate);
            }
        }
    }

    /// What waited for this change last.
    fn ready(&mut self, seq: PersistSeq) -> Vec<Gate> {
        let (mut ready, mut on) = (Vec::new(), Vec::new());
        for mut gate in std::mem::take(&mut self.store.gates) {
            let before = gate.on.len();
            gate.on.retain(|(_, other)| *other != Some(seq));
            if gate.on.is_empty() && before > 0 {
                ready.push(gate);
            } else {
                on.push(gate);
            }
        }
        self.store.gates = on;
        ready
    }

    fn release(&mut self, gate: Gate) {
        let request = gate.request;
        let said = match gate.what {
            Gated::Grant => {
                if let Some(open) = self.open_mut(request) {
                    open.unheard = false;
                    if gate.heard {
                        self.granted(request);
                    }
                }
                return;
            }
            Gated::Lock(..) | Gated::Unlock => Said::Accepted { request },
            Gated::Operation => Said::Proceed { request },
            Gated::Close | Gated::Tree => Said::Closed { request },
        };
        if gate.heard {
            self.say(said);
        }
    }

    pub fn persist_failed(&mut self, seq: PersistSeq) {
        self.store.outstanding.retain(|(other, _)| *other != seq);
        for gate in self.ready(seq) {
            self.fail(gate);
        }
    }

    fn fail(&mut self, gate: Gate) {
        let request = gate.request;
        match &gate.what {
            Gated::Tree => return self.release(gate),
            Gated::Grant => {
                self.not_promised(request, gate.heard);
                return;
            }
            Gated::Lock(elements, _) => {
                let open = gate.open;
                if gate.heard {
                    self.refuse(request, Status::INSUFFICIENT_RESOURCES);
                }
                if let Some(file) = open.and_then(|open| self.open(open)).map(Open::file) {
                    let held = self.locks.entry(file).or_default();
                    for element in elements {
                        let same = |lock: &locks::Held| {
                            (Some(lock.owner), lock.offset, lock.len) == (open, element.offset, element.len)
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
            Gated::Unlock | Gated::Close => {}
        }
        if gate.heard {
            self.refuse(request, Status::INSUFFICIENT_RESOURCES);
        }
    }

    /// MS-SMB2 3.3.5.9.10: the store did not take it; it is what it would be on any other share.
    fn not_promised(&mut self, request: RequestId, heard: bool) {
        let Some(open) = self.open_mut(request) else { return };
        open.persistent = false;
        open.unheard = false;
        let lease = self.open(request).and_then(|open| open.ask.key).and_then(|key| self.lease_context(key));
        let open = self.open(request).unwrap().clone();
        let reserved = std::mem::replace(&mut self.store.reserved, true);
        let kept = self.made_durable(&open, open.opened(), open.oplock, lease);
        self.store.reserved = reserved;
        let kept = kept.filter(|_| reserved || known::DURABLE_BEFORE_SERIALS);
        let absent = open.orphan.is_some();
        let state = self.open_mut(request).unwrap();
        state.durable = kept;
        if kept.is_none() {
            state.guid = CreateGuid::from_wire([0; 16]);
        }
        // What the CREATE of any open must be to be replayed.
        if !state.replayable() && !known::REPLAYABLE_WITHOUT_PROMISE {
            state.replay = None;
        }
        if absent && kept.is_none() {
            let file = self.close(request);
            return self.judge_again(file);
        }
        if heard {
            self.granted(request);
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
    }
}
