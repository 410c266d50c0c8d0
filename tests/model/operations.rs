//! Operations, LOCK and the end of opens (MS-FSA 2.1.5).

use super::*;

impl Model {
    pub(super) fn operate(
        &mut self,
        request: RequestId,
        origin: Option<Origin>,
        file: FileKey,
        actor: Actor,
        intent: Intent,
    ) {
        let who = match actor {
            Actor::Open(file_id) => match self.usable(file_id, origin.map(|origin| origin.session)) {
                Some(open) if open.file() == file => {
                    let who = Who { lease: open.ask.key, open: Some(open.request()) };
                    self.used(who.open.unwrap());
                    who
                }
                _ => return self.refuse(request, Status::FILE_CLOSED),
            },
            Actor::Lease { client, key } => Who { lease: Some((client, key)), open: None },
            Actor::Other | Actor::Owner(_) => Who::default(),
        };
        let since = self.serial;
        self.arrive(Waiter { request, origin, file, what: What::Operation { who, intent, since } });
    }

    pub(super) fn judge_operation(&self, file: FileKey, who: Who, intent: Intent, since: u64) -> Judgment {
        let row = self.row(intent);
        match intent {
            // MS-FSA 2.1.5.15.12: no open may be left, and the caching ones may go.
            Intent::Replaced | Intent::AncestorMoved => {
                if self.on(file).any(|open| open.persistent && open.orphan.is_some()) {
                    return Judgment::refuse(Status::ACCESS_DENIED);
                }
                let curable = |open: &Open| open.oplock == OplockLevel::Batch || self.holds_handle(open);
                // One that came meanwhile is not waited for.
                if !self.on(file).all(|open| curable(open) && open.order <= since) {
                    return Judgment::refuse(Status::ACCESS_DENIED);
                }
                self.against(file, Who::default(), &row)
            }
            // A directory that somebody may delete is not renamed into (MS-FSA 2.1.5.15.12).
            Intent::RenameWithin => {
                let deletes = |open: &&Open| {
                    let create = &open.ask.create;
                    rules::uses(create.granted, create.disposition).contains(ShareMode::DELETE)
                        && self.foreign(open, who)
                };
                let in_the_way: Vec<&Open> = self.on(file).filter(deletes).collect();
                if in_the_way.is_empty() {
                    return Judgment { breaches: Vec::new(), outcome: Outcome::Go };
                }
                if in_the_way.iter().all(|open| self.holds_handle(open)) {
                    return self.against(file, who, &row);
                }
                Judgment::refuse(Status::SHARING_VIOLATION)
            }
            Intent::EntryChanged { parent } => {
                Judgment { breaches: self.entry_changed(file, parent), outcome: Outcome::Go }
            }
            _ => {
                let mut judgment = self.against(file, who, &row);
                let locks = self.locks.get(&file).map_or(&[][..], Vec::as_slice);
                if judgment.outcome == Outcome::Go && locks::refuses(locks, who.open, intent) {
                    judgment.outcome = Outcome::Refuse(Status::FILE_LOCK_CONFLICT);
                }
                judgment
            }
        }
    }

    pub(super) fn done(&mut self, request: RequestId, result: Result<(), Status>) {
        let at = self.running.iter().position(|running| running.request == request).unwrap();
        let running = self.running.remove(at);
        let file = running.file;
        if result.is_ok() {
            self.follow(&running);
        }
        // Who was kept from opening it meanwhile.
        if matches!(running.intent, Intent::Replaced | Intent::AncestorMoved | Intent::RenameWithin) {
            self.judge_again(file);
        }
    }

    pub(super) fn follow(&mut self, running: &Running) {
        let file = running.file;
        let nameless = running.who.open.is_none() && running.place.is_none();
        if let (Intent::Rename { to }, true) = (running.intent, nameless) {
            self.opens.iter_mut().filter(|other| other.file() == file).for_each(|open| open.directory = to);
        }
        let renamed = nameless && matches!(running.intent, Intent::Rename { .. });
        if renamed || matches!(running.intent, Intent::Replaced | Intent::AncestorMoved | Intent::Unlink) {
            self.look_again(|waiter| waiter.file == file && matches!(waiter.what, What::Create(_)));
        }
        let open = running.who.open.and_then(|open| self.open(open)).cloned();
        // Where it stands now, or stood when its open was still there.
        let place = open.as_ref().map(|open| (open.directory, open.parent)).or(running.place);
        let of_lease = running
            .place
            .and(running.who.lease)
            .filter(|key| self.lease(*key).is_some_and(|lease| lease.file == file));
        if let Intent::Delete { pending } = running.intent {
            let anybody = self.on(file).next().is_some();
            if !pending {
                // Its close came behind it.
                if open.is_some() || !running.doomed {
                    self.going.remove(&file);
                }
            } else if anybody || place.is_some() {
                self.goes(file, place.and_then(|(_, parent)| parent));
            }
            // MS-SMB2 3.3.5.21.1, whatever the value.
            self.deleting.extend(of_lease);
            if let (true, false, Some((directory, parent))) = (self.going.contains_key(&file), anybody, place)
            {
                self.say(Said::Unlink { file });
                self.gone(file, directory, parent);
            }
            self.judge_again(file);
        }
        let Some((directory, parent)) = place else { return };
        match running.intent {
            Intent::Write { .. } => match open {
                Some(open) => self.open_mut(open.request()).unwrap().modified = true,
                None => self.directory_changed(directory, parent),
            },
            Intent::SetSize | Intent::SetAttributes => self.directory_changed(directory, parent),
            Intent::Rename { to } => {
                self.directory_changed(directory, parent);
                if to != directory {
                    self.directory_changed(to, parent);
                }
                for other in self.opens.iter_mut().filter(|other| other.file() == file) {
                    if other.directory == directory {
                        other.directory = to;
                    }
                }
                if let Some(key) = of_lease {
                    self.deleting.remove(&key);
                }
                self.look_again(|waiter| {
                    let old = |ask: &Ask| ask.create.directory == directory;
                    waiter.file == file && matches!(&waiter.what, What::Create(ask) if old(ask))
                });
            }
            Intent::Link { to } => self.directory_changed(to, parent),
            _ => {}
        }
    }

    /// What breaks in a directory when an entry of it changes (MS-FSA 2.1.4.12). The exemption is by key alone.
    pub(super) fn entry_changed(&self, directory: FileKey, spared: Option<LeaseKey>) -> Vec<Breach> {
        self.leases_on(directory)
            .filter(|lease| Some(lease.key.1) != spared && !lease.state.is_empty())
            .map(|lease| Breach::Lease(lease.key, rules::ENTRY_CHANGED.takes))
            .collect()
    }

    pub(super) fn directory_changed(&mut self, directory: Option<FileKey>, spared: Option<LeaseKey>) {
        let Some(directory) = directory else { return };
        if let Some(changes) = &mut self.changes {
            changes.push((directory, spared));
            return;
        }
        for breach in self.entry_changed(directory, spared) {
            self.breach(breach);
        }
    }

    // ---- LOCK

    pub(super) fn lock(&mut self, lock: &Lock) {
        let request = lock.request;
        let Some(open) = self.usable(lock.file_id, Some(lock.origin.session)) else {
            return self.refuse(request, Status::FILE_CLOSED);
        };
        let (file, who) = (open.file(), Who { lease: open.ask.key, open: Some(open.request()) });
        let owner = open.request();
        self.used(owner);
        // MS-SMB2 3.3.5.14: nothing is known of the entry until this one is carried out.
        if let Some(sequence) = lock.sequence {
            self.open_mut(owner).unwrap().sequences.undone(sequence);
        }
        let Some(first) = lock.elements.first() else {
            return self.refuse(request, Status::INVALID_PARAMETER);
        };
        if lock.elements.len() > self.config.limits.locks_per_request {
            return self.refuse(request, Status::INSUFFICIENT_RESOURCES);
        }
        if first.flags == LockFlags::UNLOCK {
            let held = self.locks.entry(file).or_default();
            let before = held.len();
            let result = locks::unlock(held, owner, &lock.elements);
            let changed = held.len() != before;
            match result {
                Ok(()) => {
                    if let Some(sequence) = lock.sequence {
                        self.open_mut(owner).unwrap().sequences.done(sequence);
                    }
                    if self.gated(owner) {
                        self.gate(Gated::Unlock(lock.elements.clone()), request, Some(lock.origin), &[owner]);
                    } else {
                        self.say(Said::Accepted { request });
                    }
                }
                Err(status) => {
                    if changed {
                        self.store.must.push(owner);
                    }
                    self.refuse(request, status);
                }
            }
            if changed {
                self.judge_again(file);
            }
            return;
        }
        if let Err(status) = locks::well_formed(&lock.elements) {
            return self.refuse(request, status);
        }
        let (origin, lock) = (Some(lock.origin), lock.clone());
        self.arrive(Waiter { request, origin, file, what: What::Lock { who, lock } });
    }

    pub(super) fn judge_lock(&self, file: FileKey, who: Who, lock: &Lock) -> Judgment {
        let mut judgment = Judgment { breaches: Vec::new(), outcome: Outcome::Go };
        // MS-FSA 2.1.5.8: beyond the allocation there is nothing that anybody could have cached.
        let everywhere = self.config.profile.lock_reach == LockReach::Everywhere;
        if everywhere || lock.elements.iter().any(|element| element.offset < lock.allocation) {
            judgment = self.against(file, who, &rules::DATA_CHANGE);
        }
        if judgment.outcome == Outcome::Go {
            let held = self.locks.get(&file).map_or(&[][..], Vec::as_slice);
            if let Err(owners) = locks::lock(held, who.open.unwrap(), &lock.elements) {
                let waits =
                    lock.elements.iter().all(|element| !element.flags.contains(LockFlags::FAIL_IMMEDIATELY));
                judgment.outcome = if waits {
                    Outcome::Wait(owners.into_iter().map(Blocker::Range).collect())
                } else {
                    // Choice, as recorded: what fails takes nothing from anybody; but who cannot be told goes first, with its locks.
                    judgment.breaches.retain(|breach| self.purges(*breach));
                    Outcome::Refuse(Status::LOCK_NOT_GRANTED)
                };
            }
        }
        judgment
    }

    // ---- close

    /// MS-SMB2 3.3.4.17, MS-FSA 2.1.5.5. Who waits for the file is judged by the caller.
    pub(super) fn close(&mut self, request: RequestId) -> FileKey {
        let open = self.open(request).unwrap().clone();
        let file = open.file();
        self.opens.retain(|open| open.request() != request);
        self.dismiss(request);
        self.answer_held(request);
        if open.withdrawn {
            self.store.gone.push(request);
        }
        if let Some(locks) = self.locks.get_mut(&file) {
            locks.retain(|lock| lock.owner != request);
        }
        if let Some(key) = open.ask.key {
            let member = |other: &Open| other.ask.key == Some(key) && other.leased;
            if !self.opens.iter().any(member) {
                self.leases.retain(|lease| lease.key != key);
            }
            self.keep_closed(key);
        }
        let deletes = open.ask.create.options.contains(CreateOptions::DELETE_ON_CLOSE);
        if deletes {
            self.goes(file, open.parent);
        }
        let last = self.on(file).next().is_none();
        if last && self.going.contains_key(&file) {
            self.say(Said::CloseFile { open: request, link: Link::Remove });
            self.gone(file, open.directory, open.parent);
        } else {
            if open.modified {
                self.directory_changed(open.directory, open.parent);
            }
            self.say(Said::CloseFile { open: request, link: Link::Keep });
        }
        // Behind its own end: opens that nobody is connected to may go for this.
        if deletes {
            let who = Who { lease: open.ask.key, open: Some(request) };
            for breach in self.against(file, who, &rules::DELETING_CLOSE).breaches {
                self.breach(breach);
            }
        }
        file
    }

    /// What waits on behalf of an open that is not there any more.
    pub(super) fn dismiss(&mut self, request: RequestId) {
        let all = std::mem::take(&mut self.waiters);
        let (over, on): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|waiter| waiter.who().open == Some(request));
        self.waiters = on;
        for waiter in over {
            let lock = matches!(waiter.what, What::Lock { .. });
            self.refuse(waiter.request, if lock { Status::RANGE_NOT_LOCKED } else { Status::FILE_CLOSED });
        }
    }

    pub(super) fn goes(&mut self, file: FileKey, deleter: Option<LeaseKey>) {
        self.going.entry(file).or_insert(deleter);
    }

    /// The name is gone: who waited must resolve it again, and the directory has changed.
    pub(super) fn gone(&mut self, file: FileKey, directory: Option<FileKey>, parent: Option<LeaseKey>) {
        let deleter = self.going.remove(&file).unwrap();
        self.went.push(file);
        self.look_again(|waiter| waiter.file == file);
        let spared = parent.filter(|parent| deleter == Some(*parent));
        self.directory_changed(directory, spared);
    }

    /// Requests whose names lead elsewhere now.
    pub(super) fn look_again(&mut self, which: impl Fn(&Waiter) -> bool) {
        let all = std::mem::take(&mut self.waiters);
        let (over, on): (Vec<_>, Vec<_>) = all.into_iter().partition(which);
        self.waiters = on;
        for waiter in over {
            self.say(Said::Resolve { request: waiter.request });
        }
    }
}
