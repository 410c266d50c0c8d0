//! What they ask for, and what the server says to it.

use leasehold::server::{Action, DelegationKind, Event, Ticket};
use leasehold::{Actor, Intent, LeaseState, RequestId, Status};

use super::super::World;
use super::super::queue::What;
use super::super::server::{file_of, key_of};
use super::{Errand, Known, Task};

impl World {
    /// A read or write at the server.
    pub(super) fn go(&mut self, neighbour: usize, file: usize, task: Task) {
        let owner = self.beside.neighbours[neighbour].owner;
        let intent = match task {
            Task::Read { page } => Intent::Read { offset: page as u64 * 8, len: 8 },
            Task::Write { page, .. } | Task::WriteBack { page, .. } => {
                Intent::Write { offset: page as u64 * 8, len: 8 }
            }
            Task::Reserve { .. } | Task::Delegate { .. } | Task::Lock { .. } | Task::Unlock => return,
        };
        let (file_key, actor) = (key_of(file), Actor::Owner(owner));
        self.errand(neighbour, file, task, |request| Event::Operate {
            request,
            origin: None,
            file: file_key,
            actor,
            intent,
        });
    }

    pub(super) fn errand(
        &mut self,
        neighbour: usize,
        file: usize,
        task: Task,
        event: impl FnOnce(RequestId) -> Event,
    ) {
        self.set_out(Errand { neighbour, file, task, begun: 0, reclaims: false }, event);
    }

    pub(super) fn have_again(
        &mut self,
        neighbour: usize,
        file: usize,
        task: Task,
        event: impl FnOnce(RequestId) -> Event,
    ) {
        self.set_out(Errand { neighbour, file, task, begun: 0, reclaims: true }, event);
    }

    fn set_out(&mut self, errand: Errand, event: impl FnOnce(RequestId) -> Event) {
        let request = self.server.next_request();
        let begun = self.checker.begin();
        self.beside.errands.insert(request, Errand { begun, ..errand });
        self.tell_server(event(request));
    }

    /// Whether the action is about one of them; then it is carried out.
    pub(in crate::world) fn perform_beside(&mut self, action: &Action) -> bool {
        match *action {
            Action::Recall { owner, file, .. } => {
                self.count("recalls");
                let neighbour = self.beside.neighbours.iter().position(|one| one.owner == owner);
                let Some(neighbour) = neighbour else { return false };
                let (first, last) = self.plan.delay;
                let (life, at) = (self.server.life, self.now + self.random.between(first, last));
                self.queue.push(at, What::Recalled { life, neighbour, file: file_of(file) });
                true
            }
            Action::Revoked { owner, file } => {
                self.revoked(owner, file_of(file));
                true
            }
            Action::Accepted { request } => self.beside.errands.remove(&request).is_some_and(|errand| {
                self.had(errand);
                true
            }),
            Action::Refused { request, status } => {
                self.beside.errands.remove(&request).is_some_and(|errand| {
                    self.denied(errand, status);
                    true
                })
            }
            Action::Proceed { request, ticket } if self.beside.errands.contains_key(&request) => {
                let (life, at) = (self.server.life, self.now + self.random.below(4));
                self.queue.push(at, What::Operated { life, request, ticket });
                true
            }
            Action::Interim { request } if self.beside.errands.contains_key(&request) => {
                self.count("waited");
                true
            }
            _ => false,
        }
    }

    fn had(&mut self, errand: Errand) {
        let Errand { neighbour, file, task, reclaims, .. } = errand;
        let held = &mut self.beside.neighbours[neighbour].files[file];
        let what = match task {
            Task::Reserve { access, sharing } => {
                held.reserved = Some((access, sharing));
                "opens"
            }
            Task::Delegate { kind } => {
                held.given = Some(kind);
                "delegations"
            }
            Task::Lock { exclusive } => {
                held.locked = Some(exclusive);
                "locks"
            }
            Task::Unlock => "unlocks",
            Task::Read { .. } | Task::Write { .. } | Task::WriteBack { .. } => {
                return self.violate("every request has its kind of answer", || format!("{errand:?}"));
            }
        };
        self.count(if reclaims { "reclaimed" } else { what });
    }

    fn denied(&mut self, errand: Errand, status: Status) {
        let Errand { neighbour, file, task, reclaims, .. } = errand;
        if reclaims && self.now < self.server.grace_until {
            self.violate("what was had before a restart is had again", || format!("{errand:?}: {status}"));
        } else if reclaims {
            return self.came_too_late(neighbour, file);
        }
        // But for those of a host that is gone.
        let held = &self.beside.neighbours[neighbour].files[file];
        if matches!(task, Task::WriteBack { page, value } if held.dirty(page) == Some(value)) {
            self.violate("what is dirty can be written back", || format!("{errand:?}: {status}"));
        }
        self.count("refused");
    }

    /// The clock has jumped over the time of grace.
    fn came_too_late(&mut self, neighbour: usize, file: usize) {
        self.count("too late");
        let held = &mut self.beside.neighbours[neighbour].files[file];
        (held.reserved, held.locked) = (None, None);
        self.report.dirty_lost += held.forget();
    }

    /// The operation is carried out. Says whether it was one of theirs.
    pub(in crate::world) fn operated_beside(&mut self, request: RequestId, ticket: Ticket) -> bool {
        let Some(errand) = self.beside.errands.remove(&request) else { return false };
        let Errand { neighbour, file, task, begun, .. } = errand;
        match task {
            Task::Read { page } => {
                self.count("reads");
                self.check_alone(neighbour, file, LeaseState::WRITE);
                let value = self.server.disk.files[file][page].now;
                if !self.checker.had(file, page, value, begun) {
                    let what = format!("{errand:?}: {value}, which is {}", self.checker.value(file, page));
                    self.violate("a read returns what was there while it was under way", || what);
                }
                let held = &mut self.beside.neighbours[neighbour].files[file];
                if held.given.is_some() && held.pages[page].is_none() {
                    held.pages[page] = Some(Known { value, dirty: false });
                }
            }
            Task::Write { page, value } | Task::WriteBack { page, value } => {
                self.count(if matches!(task, Task::Write { .. }) { "writes" } else { "written back" });
                self.check_alone(neighbour, file, LeaseState::RW);
                let stored = &mut self.server.disk.files[file][page];
                (stored.now, stored.stable) = (value, value);
                let known = &mut self.beside.neighbours[neighbour].files[file].pages[page];
                if let Some(known) = known.as_mut().filter(|known| known.value == value) {
                    known.dirty = false;
                }
            }
            Task::Reserve { .. } | Task::Delegate { .. } | Task::Lock { .. } | Task::Unlock => {
                self.violate("every request has its kind of answer", || format!("{errand:?}"));
            }
        }
        self.tell_server(Event::Done { ticket, result: Ok(()) });
        self.return_clean(neighbour, file);
        true
    }

    /// While one of them reads nobody else has what is newer, and while it writes nobody what is older.
    fn check_alone(&mut self, neighbour: usize, file: usize, takes: LeaseState) {
        let cached = self.caches_on(file).intersection(takes);
        let given = self.beside.neighbours.iter().enumerate().find(|(other, side)| {
            *other != neighbour
                && match side.files[file].given {
                    Some(DelegationKind::Write) => true,
                    Some(DelegationKind::Read) => takes.contains(LeaseState::READ),
                    None => false,
                }
        });
        if !cached.is_empty() || given.is_some() {
            let what = format!("{neighbour}, file {file}: beside {cached} of a client, {given:?}");
            self.violate("nobody caches what another protocol is about to read or write", || what);
        }
    }

    /// What somebody reads that has it delegated: no news is on its way that could excuse it.
    pub(super) fn check_delegated(&mut self, neighbour: usize, file: usize, page: usize, value: u64) {
        let now = self.checker.value(file, page);
        if value != now {
            let what = || format!("{neighbour}, file {file}, page {page}: {value}, which is {now}");
            self.violate("who has a file delegated reads what is there", what);
        }
    }

    /// What they have, and clients cache beside it.
    pub(in crate::world) fn check_beside(&mut self) {
        for file in 0..self.plan.files {
            let cached = self.caches_on(file);
            let held = || self.beside.neighbours.iter().map(|neighbour| &neighbour.files[file]);
            let locks = held().filter_map(|held| held.locked);
            let (shared, exclusive) = locks.fold((0, 0), |(shared, exclusive), lock| match lock {
                true => (shared, exclusive + 1),
                false => (shared + 1, exclusive),
            });
            let given = |kind| held().filter(|held| held.given == Some(kind)).count();
            let (readers, writers) = (given(DelegationKind::Read), given(DelegationKind::Write));
            let locked = shared + exclusive > 0;
            let any = locked || readers + writers > 0 || held().any(|held| held.reserved.is_some());
            // Whoever has overwritten the file may have R beside a lock (MS-FSA 2.1.5.18).
            let right = !(any && cached.contains(LeaseState::WRITE))
                && (writers == 0 || cached.is_empty())
                && (exclusive == 0 || exclusive + shared == 1)
                && (writers == 0 || writers + readers == 1);
            if !right {
                let held: Vec<_> = held().collect();
                let what = format!("file {file}: {cached} beside {held:?}");
                return self.violate("what is held by several protocols goes together", || what);
            }
        }
    }

    /// What clients may do by their leases and oplocks.
    fn caches_on(&self, file: usize) -> LeaseState {
        (0..self.plan.clients).fold(LeaseState::NONE, |sum, client| sum | self.checker.cached(client, file))
    }
}
