//! What becomes of a CREATE, of whatever waits, and who is in whose way (MS-FSA 2.1.5.1.2, 2.1.4.12).

use super::known;
use super::*;

impl Model {
    /// MS-SMB2 3.3.5.9, 3.3.5.9.8, 3.3.5.9.11: which context counts, and whether its key is free.
    pub(super) fn create(&mut self, create: &Create) {
        let request = create.request;
        if create.options.contains(CreateOptions::RESERVE_OPFILTER) {
            return self.refuse(request, Status::NOT_SUPPORTED);
        }
        let conn = &self.conns[&create.origin.conn];
        let (client, terms) = (conn.client, conn.terms);
        let v2_from = if self.config.profile.lease_v2_on_smb210 { Dialect::Smb210 } else { Dialect::Smb300 };
        let context = create.lease.filter(|context| {
            let from = if matches!(context, Context::V1(_)) { Dialect::Smb210 } else { v2_from };
            create.level == OplockLevel::Lease
                && terms.capabilities.contains(Capabilities::LEASING)
                && context.key() != LeaseKey::ZERO
                && create.share.kind == ShareKind::Disk
                && terms.dialect >= from
        });
        let mut key = context.map(|context| (client, context.key()));
        let ask = Ask { create: create.clone(), client, terms, context, key };
        // In doubt what refuses comes before what closes: no text says when a CREATE under way is noticed. Choice: a CreateGuid that
        // is in use refuses as well, where MS-SMB2 3.3.5.9.10 closes the former instance first.
        if self.replayed_early(&ask) || self.replayed(&ask) || self.replayed_promise(&ask) {
            return;
        }
        if let Some(wanted) = key {
            if self.bound_elsewhere(wanted, create.file) {
                if self.deleting.contains(&wanted) {
                    key = None;
                } else {
                    return self.refuse(request, Status::INVALID_PARAMETER);
                }
            }
        }
        let ask = Ask { create: create.clone(), client, terms, context, key };
        let before = self.went.len();
        if !self.take_over(&ask) {
            return;
        }
        if self.went[before..].contains(&create.file) {
            return self.say(Said::Resolve { request });
        }
        let waiter = Waiter {
            request,
            origin: Some(create.origin),
            file: create.file,
            what: What::Create(Box::new(ask)),
        };
        self.arrive(waiter);
    }

    /// A key is bound by the opens of its lease and by every CREATE in flight.
    pub(super) fn bound_elsewhere(&self, key: Key, file: FileKey) -> bool {
        let opens = self.opens.iter().any(|open| open.ask.key == Some(key) && open.file() != file);
        let waiting = |waiter: &Waiter| {
            matches!(&waiter.what, What::Create(ask) if ask.key == Some(key)) && waiter.file != file
        };
        opens || self.waiters.iter().any(waiting)
    }

    /// MS-FSA 2.1.5.1.2, 2.1.5.1.2.2, in the order of the text.
    pub(super) fn judge_create(&self, ask: &Ask) -> Judgment {
        let create = &ask.create;
        let file = create.file;
        if self.meets_absent(ask) {
            return Judgment::refuse(Status::FILE_NOT_AVAILABLE);
        }
        if self.barred(file) {
            return Judgment::of_the_store();
        }
        if self.going.contains_key(&file) {
            return Judgment::refuse(Status::DELETE_PENDING);
        }
        // Whoever renames over the file, above it or into it has it to itself.
        let uses = rules::uses(create.granted, create.disposition);
        let bars = |running: &&Running| {
            running.file == file
                && match running.intent {
                    Intent::Replaced | Intent::AncestorMoved => true,
                    Intent::RenameWithin => uses.contains(ShareMode::DELETE),
                    _ => false,
                }
        };
        if let Some(running) = self.running.iter().find(bars) {
            let outcome = Outcome::Wait(vec![Blocker::Operation(running.request)]);
            return Judgment { breaches: Vec::new(), outcome };
        }
        let overwrites = create.disposition.overwrites();
        // BATCH goes before sharing is looked at.
        if !rules::attributes_only(create.desired, create.disposition) {
            let to = if overwrites { OplockLevel::None } else { OplockLevel::II };
            let holders: Vec<_> =
                self.on(file).filter(|open| open.oplock == OplockLevel::Batch).map(Open::request).collect();
            if !holders.is_empty() {
                return Judgment {
                    breaches: holders.iter().map(|holder| Breach::Oplock(*holder, to)).collect(),
                    outcome: Outcome::Wait(holders.into_iter().map(Blocker::Oplock).collect()),
                };
            }
        }
        let who = Who { lease: ask.key, open: None };
        let mine = (rules::uses(create.granted, create.disposition), create.sharing);
        let in_the_way: Vec<&Open> =
            self.on(file).filter(|open| rules::exclude(mine, open.sharing())).collect();
        if !in_the_way.is_empty() {
            // A deferred close may cure it, if every one of them may be deferred.
            if in_the_way.iter().all(|open| self.foreign(open, who) && self.holds_handle(open)) {
                return self.against(file, who, &rules::SHARE_CONFLICT);
            }
            return Judgment::refuse(Status::SHARING_VIOLATION);
        }
        self.against(file, who, &rules::of_open(create.desired, create.disposition))
    }

    /// Whether the handle may be there only because its client caches it.
    pub(super) fn holds_handle(&self, open: &Open) -> bool {
        open.phase == Phase::Live
            && open.ask.key.is_some_and(|key| {
                self.lease(key).is_some_and(|lease| lease.state.contains(LeaseState::HANDLE))
            })
    }

    /// What an operation takes from everyone but itself, and for whom it waits (MS-FSA 2.1.4.12; MS-SMB2 3.3.4.6, 3.3.4.7).
    pub(super) fn against(&self, file: FileKey, who: Who, row: &Row) -> Judgment {
        let mut breaches = Vec::new();
        let mut blockers = Vec::new();
        for lease in self.leases_on(file).filter(|lease| !self.same(Some(lease.key), who.lease)) {
            if !row.takes.is_empty() && !lease.state.is_empty() {
                breaches.push(Breach::Lease(lease.key, row.takes));
            }
            let waits = match &lease.breaking {
                _ if lease.state.intersects(row.awaits) => true,
                // What is kept asks for all that is asked for.
                Some(breaking) if breaking.deadline.is_none() && !known::WAITS_FOR_KEPT => false,
                Some(breaking) => {
                    let untold = breaking.told.without(row.takes) != breaking.told;
                    // Its need is part of what is needed from now on.
                    let needed = (breaking.needed & lease.state.without(row.takes)).normalized();
                    (untold && !row.awaits.is_empty()) || (row.behind_stages && needed != breaking.told)
                }
                None => false,
            };
            if waits {
                blockers.push(Blocker::Lease(lease.key));
            }
        }
        for open in self.on(file) {
            let own = who.open == Some(open.request());
            let (to, waits) = match open.oplock {
                OplockLevel::II if if own { row.own_level_ii } else { row.level_ii } => {
                    (Some(OplockLevel::None), false)
                }
                OplockLevel::Exclusive if !own => (row.exclusive, true),
                OplockLevel::Batch if !own => (row.batch, true),
                _ => (None, false),
            };
            if let Some(to) = to {
                breaches.push(Breach::Oplock(open.request(), to));
                if waits {
                    blockers.push(Blocker::Oplock(open.request()));
                }
            }
        }
        let outcome = if blockers.is_empty() { Outcome::Go } else { Outcome::Wait(blockers) };
        Judgment { breaches, outcome }
    }

    /// What becomes of a request that waits, if it is looked at now.
    pub fn outcome(&self, waiter: &Waiter) -> Outcome {
        self.judge(waiter).outcome
    }

    pub(super) fn judge(&self, waiter: &Waiter) -> Judgment {
        match &waiter.what {
            What::Create(ask) => self.judge_create(ask),
            _ if self.barred(waiter.file) => Judgment::of_the_store(),
            What::Operation { who, intent, since } => {
                self.judge_operation(waiter.file, *who, *intent, *since)
            }
            What::Lock { who, lock } => self.judge_lock(waiter.file, *who, lock),
        }
    }

    /// A request that is new.
    pub(super) fn arrive(&mut self, waiter: Waiter) {
        self.cause = Some(waiter.request);
        if let Some(waiter) = self.look_at(waiter, false) {
            if waiter.origin.is_some() {
                self.say(Said::Interim { request: waiter.request });
            }
            self.waiters.push(waiter);
        }
    }

    /// Everything that waits for a file is judged again, in order of arrival.
    pub(super) fn judge_again(&mut self, file: FileKey) {
        self.shed();
        let cause = self.cause;
        let here = |waiter: &&Waiter| waiter.file == file;
        let all: Vec<RequestId> = self.waiters.iter().filter(here).map(|waiter| waiter.request).collect();
        for request in all {
            let Some(at) = self.waiters.iter().position(|waiter| waiter.request == request) else { continue };
            let waiter = self.waiters.remove(at);
            self.cause = Some(request);
            if let Some(waiter) = self.look_at(waiter, true) {
                self.waiters.insert(at.min(self.waiters.len()), waiter);
            }
            if std::mem::take(&mut self.again) {
                self.cause = cause;
                return self.judge_again(file);
            }
        }
        self.cause = cause;
    }

    /// Judges a request and does what follows; gives it back if it waits.
    pub(super) fn look_at(&mut self, waiter: Waiter, queued: bool) -> Option<Waiter> {
        let judgment = loop {
            let judgment = self.judge(&waiter);
            let purges: Vec<_> =
                judgment.breaches.iter().filter(|breach| self.purges(**breach)).copied().collect();
            if purges.is_empty() {
                break judgment;
            }
            let before = self.went.len();
            purges.into_iter().for_each(|breach| self.breach(breach));
            if self.went[before..].contains(&waiter.file) {
                self.say(Said::Resolve { request: waiter.request });
                return None;
            }
            // In a queue those before it are looked at first.
            if queued {
                self.again = true;
                return Some(waiter);
            }
        };
        for breach in judgment.breaches {
            self.breach(breach);
        }
        let outcome = match judgment.outcome {
            // Ranges are looked at when it may go on.
            outcome @ (Outcome::Go | Outcome::Refuse(Status::FILE_LOCK_CONFLICT)) => {
                self.overtakes_the_store(&waiter).unwrap_or(outcome)
            }
            outcome => outcome,
        };
        match outcome {
            Outcome::Wait(_) => return Some(waiter),
            Outcome::Refuse(status) => {
                self.refuse(waiter.request, status);
            }
            Outcome::Go => self.go(waiter),
        }
        None
    }

    pub(super) fn go(&mut self, waiter: Waiter) {
        let request = waiter.request;
        match waiter.what {
            What::Create(ask) => {
                let order = self.next_serial();
                let parent = ask.context.and_then(|context| context.parent());
                let directory = ask.create.directory;
                let (owner, replay) = (ask.create.user, ask.guid());
                self.opens.push(Open {
                    ask: *ask,
                    phase: Phase::Opening,
                    order,
                    leased: false,
                    oplock: OplockLevel::None,
                    ever_oplock: false,
                    breaking: None,
                    serial: 0,
                    announced: None,
                    parent,
                    directory,
                    modified: false,
                    owner,
                    durable: None,
                    resilient: None,
                    guid: CreateGuid::from_wire([0; 16]),
                    replay,
                    action: CreateAction::Opened,
                    orphan: None,
                    persistent: false,
                    unheard: false,
                    told: true,
                    withdrawn: false,
                    promised_at: 0,
                    restored: false,
                    kind: ObjectKind::File,
                    bare: None,
                    sequences: LockSequences::default(),
                });
                self.say(Said::OpenFile { request });
            }
            What::Operation { who, intent, .. } => {
                let open = who.open.and_then(|open| self.open(open));
                let place = open.map(|open| (open.directory, open.parent));
                let doomed =
                    open.is_some_and(|open| open.ask.create.options.contains(CreateOptions::DELETE_ON_CLOSE));
                self.running.push(Running { request, file: waiter.file, who, intent, place, doomed });
                let ahead = matches!(intent, Intent::Rename { .. } | Intent::Delete { .. });
                match who.open.filter(|open| ahead && self.gated(*open)) {
                    Some(open) => self.gate(Gated::Operation, request, waiter.origin, &[open]),
                    None => self.say(Said::Proceed { request }),
                }
            }
            What::Lock { who, lock } => {
                let owner = who.open.unwrap();
                let held = self.locks.entry(waiter.file).or_default();
                *held = locks::lock(held, owner, &lock.elements).unwrap();
                if let Some(sequence) = lock.sequence {
                    self.open_mut(owner).unwrap().sequences.done(sequence);
                }
                if self.gated(owner) {
                    let what = Gated::Lock(lock.elements.clone(), lock.sequence);
                    self.gate(what, request, waiter.origin, &[owner]);
                } else {
                    self.say(Said::Accepted { request });
                }
            }
        }
    }
}
