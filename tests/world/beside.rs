//! Those who speak other protocols on the same files: they read and write at the server, open and have files delegated, and lock.
//!
//! They stand beside the server: what it says reaches them at once, but for recalls. So nothing excuses a stale read of theirs.

mod errands;

use std::collections::BTreeMap;

use leasehold::server::{DelegationKind, Event, OwnerLock, Reservation};
use leasehold::{Access, FileKey, OwnerId, Protocol, RequestId, ShareMode};

use super::plan::{Fault, Plan};
use super::queue::What;
use super::server::key_of;
use super::{Weather, World};

const BOTH: Access = Access::READ_DATA.union(Access::WRITE_DATA);

#[derive(Debug)]
pub(super) struct Beside {
    pub neighbours: Vec<Neighbour>,
    errands: BTreeMap<RequestId, Errand>,
    /// Until when one of them does not answer recalls.
    pub troubled: u64,
    /// Who has not had again what it had before the restart.
    reclaiming: usize,
}

#[derive(Debug)]
pub(super) struct Neighbour {
    pub owner: OwnerId,
    pub files: Vec<Held>,
    silent_until: u64,
}

/// What one of them has on a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub reserved: Option<(Access, ShareMode)>,
    pub given: Option<DelegationKind>,
    recalled: bool,
    /// Whether it is exclusive.
    pub locked: Option<bool>,
    /// What it knows, under a delegation.
    pages: Vec<Option<Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    value: u64,
    dirty: bool,
}

/// What was asked for, and is not answered.
#[derive(Clone, Copy, Debug)]
struct Errand {
    neighbour: usize,
    file: usize,
    task: Task,
    /// The instant when it began.
    begun: u64,
    /// Whether it was had before a restart.
    reclaims: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Read { page: usize },
    Write { page: usize, value: u64 },
    WriteBack { page: usize, value: u64 },
    Reserve { access: Access, sharing: ShareMode },
    Delegate { kind: DelegationKind },
    Lock { exclusive: bool },
    Unlock,
}

impl Beside {
    pub(super) fn new(plan: &Plan) -> Self {
        let held = Held { pages: vec![None; plan.pages], ..Held::default() };
        let neighbour = |(host, protocol): (usize, &Protocol)| Neighbour {
            owner: OwnerId::new(*protocol, host as u64, 1),
            files: vec![held.clone(); plan.files],
            silent_until: 0,
        };
        Self {
            neighbours: plan.neighbours.iter().enumerate().map(neighbour).collect(),
            errands: BTreeMap::new(),
            troubled: 0,
            reclaiming: 0,
        }
    }

    /// What somebody has written who has the file to itself, and not written back.
    pub(super) fn unwritten(&self, file: usize, page: usize) -> Option<u64> {
        self.neighbours.iter().find_map(|neighbour| neighbour.files[file].dirty(page))
    }

    /// What is not at its end.
    pub(super) fn unrest(&self) -> Option<String> {
        let holds = self.neighbours.iter().find(|neighbour| neighbour.files.iter().any(Held::holds));
        let errand = self.errands.iter().next();
        errand.map(|errand| format!("{errand:?}")).or_else(|| holds.map(|holds| format!("{holds:?}")))
    }

    fn is_busy(&self, neighbour: usize) -> bool {
        self.errands.values().any(|errand| errand.neighbour == neighbour)
    }
}

impl Held {
    fn holds(&self) -> bool {
        self.reserved.is_some() || self.given.is_some() || self.locked.is_some()
    }

    fn dirty(&self, page: usize) -> Option<u64> {
        self.pages[page].filter(|known| known.dirty).map(|known| known.value)
    }

    /// Says how much was not written back.
    fn forget(&mut self) -> u64 {
        let dirty = self.pages.iter().flatten().filter(|known| known.dirty).count();
        self.pages.fill(None);
        (self.given, self.recalled) = (None, false);
        dirty as u64
    }
}

impl World {
    pub(super) fn begin_beside(&mut self) {
        for neighbour in 0..self.beside.neighbours.len() {
            self.queue.push(self.now, What::Neighbour { neighbour });
        }
    }

    /// One step of one of them, and then the next.
    pub(super) fn neighbour(&mut self, neighbour: usize) {
        let think = if self.weather == Weather::Quiet { 10_000 } else { 2 * self.plan.think };
        let at = self.now + 1 + self.random.below(think);
        self.queue.push(at, What::Neighbour { neighbour });
        let side = &self.beside.neighbours[neighbour];
        if self.server.machine.is_none() || self.beside.reclaiming > 0 || side.silent_until > self.now {
            return;
        }
        let protocol = side.owner.protocol;
        let file = self.random.index(self.plan.files);
        if self.weather == Weather::Quiet || self.random.once_in(8) {
            return self.let_go(neighbour, file);
        }
        if self.strikes_beside(neighbour) || self.beside.is_busy(neighbour) {
            return;
        }
        match (protocol, self.random.below(10)) {
            (Protocol::Nlm, 0..=6) => self.lock_beside(neighbour, file),
            (Protocol::Nlm, _) => self.let_go(neighbour, file),
            (Protocol::Nfs4, 0..=1) => self.reserve(neighbour, file),
            (Protocol::Nfs4, 2..=3) => self.ask_for_delegation(neighbour, file),
            (Protocol::Nfs4, 4) => self.lock_beside(neighbour, file),
            (_, turn) => self.access_beside(neighbour, file, turn >= 8),
        }
    }

    /// It restarts, or hears nothing for a while.
    fn strikes_beside(&mut self, neighbour: usize) -> bool {
        if self.weather != Weather::Storm {
            return false;
        }
        if self.plan.faults.contains(&Fault::ClientCrash) && self.random.once_in(200) {
            let OwnerId { protocol, host, .. } = self.beside.neighbours[neighbour].owner;
            self.count("gone");
            for file in 0..self.plan.files {
                let held = &mut self.beside.neighbours[neighbour].files[file];
                (held.reserved, held.locked) = (None, None);
                self.report.dirty_lost += held.forget();
            }
            self.tell_server(Event::HostGone { protocol, host });
            return true;
        }
        if self.plan.faults.contains(&Fault::Silence) && self.random.once_in(200) {
            let until = self.now + self.random.below(200_000);
            self.beside.neighbours[neighbour].silent_until = until;
            self.beside.troubled = self.beside.troubled.max(until);
            return true;
        }
        false
    }

    /// Something of what it has on a file, it has no more.
    fn let_go(&mut self, neighbour: usize, file: usize) {
        let owner = self.beside.neighbours[neighbour].owner;
        if let Some(request) = self.waiting_lock(neighbour) {
            return self.tell_server(Event::Cancel { request });
        }
        if self.beside.is_busy(neighbour) {
            return;
        }
        let quiet = self.weather == Weather::Quiet;
        let held = &mut self.beside.neighbours[neighbour].files;
        let file = if quiet { held.iter().position(Held::holds).unwrap_or(file) } else { file };
        let held = &mut held[file];
        if held.locked.take().is_some() {
            let (offset, len) = LOCKED;
            self.errand(neighbour, file, Task::Unlock, |request| Event::OwnerUnlock {
                request,
                owner,
                file: key_of(file),
                offset,
                len,
            });
        } else if held.reserved.take().is_some() {
            self.tell_server(Event::Unreserve { owner, file: key_of(file) });
        } else if held.given.is_some() {
            self.give_back(neighbour, file);
        }
    }

    /// A lock that waits, and is not wanted any more.
    fn waiting_lock(&mut self, neighbour: usize) -> Option<RequestId> {
        let mut locks = self.beside.errands.iter().filter(|(_, errand)| {
            errand.neighbour == neighbour && matches!(errand.task, Task::Lock { .. }) && !errand.reclaims
        });
        locks.next().map(|(request, _)| *request)
    }

    fn lock_beside(&mut self, neighbour: usize, file: usize) {
        let owner = self.beside.neighbours[neighbour].owner;
        let exclusive = self.random.once_in(2);
        let waits = !self.random.once_in(4);
        self.errand(neighbour, file, Task::Lock { exclusive }, |request| {
            let lock = lock(request, owner, key_of(file), exclusive);
            Event::OwnerLock(if waits { lock.waiting() } else { lock })
        });
    }

    fn reserve(&mut self, neighbour: usize, file: usize) {
        let owner = self.beside.neighbours[neighbour].owner;
        let access = self.random.pick(&[Access::READ_DATA, BOTH]);
        let denies = self.plan.denials && self.random.once_in(4);
        let denied = [ShareMode::READ.union(ShareMode::DELETE), ShareMode::DELETE];
        let sharing = if denies { self.random.pick(&denied) } else { ShareMode::ALL };
        self.errand(neighbour, file, Task::Reserve { access, sharing }, |request| {
            Event::Reserve(Reservation::new(request, owner, key_of(file), access).sharing(sharing))
        });
    }

    fn ask_for_delegation(&mut self, neighbour: usize, file: usize) {
        let held = &self.beside.neighbours[neighbour].files[file];
        let kind = match held.reserved {
            Some((access, _)) if access.contains(Access::WRITE_DATA) => DelegationKind::Write,
            _ => DelegationKind::Read,
        };
        let owner = self.beside.neighbours[neighbour].owner;
        self.errand(neighbour, file, Task::Delegate { kind }, |request| Event::Delegate {
            request,
            owner,
            file: key_of(file),
            kind,
            reclaims: false,
        });
    }

    /// Under a delegation in its cache, else at the server.
    fn access_beside(&mut self, neighbour: usize, file: usize, writes: bool) {
        let page = self.random.index(self.plan.pages);
        let held = &self.beside.neighbours[neighbour].files[file];
        let given = held.given.filter(|_| !held.recalled);
        match (given, held.pages[page], writes) {
            (Some(_), Some(known), false) => {
                self.count("cached");
                self.check_delegated(neighbour, file, page, known.value);
            }
            (Some(DelegationKind::Write), _, true) => {
                self.count("kept back");
                let value = self.fresh_value();
                self.beside.neighbours[neighbour].files[file].pages[page] =
                    Some(Known { value, dirty: true });
            }
            (_, _, false) => self.go(neighbour, file, Task::Read { page }),
            // By its own OPEN, not past it.
            (Some(DelegationKind::Read), _, true) => {}
            (None, _, true) => {
                let value = self.fresh_value();
                self.go(neighbour, file, Task::Write { page, value });
            }
        }
    }

    /// A recall has arrived.
    pub(super) fn recalled(&mut self, neighbour: usize, file: usize) {
        let side = &mut self.beside.neighbours[neighbour];
        let asked = self.beside.errands.values().any(|errand| {
            (errand.neighbour, errand.file) == (neighbour, file)
                && matches!(errand.task, Task::Delegate { .. })
        });
        if side.silent_until > self.now || asked {
            let (life, at) = (self.server.life, side.silent_until.max(self.now + 1));
            return self.queue.push(at, What::Recalled { life, neighbour, file });
        }
        if side.files[file].given.is_some() {
            self.give_back(neighbour, file);
        }
    }

    /// Writes back what is dirty, and returns the delegation behind that.
    fn give_back(&mut self, neighbour: usize, file: usize) {
        self.beside.neighbours[neighbour].files[file].recalled = true;
        for page in 0..self.plan.pages {
            if let Some(value) = self.beside.neighbours[neighbour].files[file].dirty(page) {
                let task = Task::WriteBack { page, value };
                let mut others = self.beside.errands.values();
                if !others.any(|other| (other.neighbour, other.file, other.task) == (neighbour, file, task)) {
                    self.go(neighbour, file, task);
                }
            }
        }
        self.return_clean(neighbour, file);
    }

    fn return_clean(&mut self, neighbour: usize, file: usize) {
        let side = &mut self.beside.neighbours[neighbour];
        let held = &mut side.files[file];
        let clean = (0..self.plan.pages).all(|page| held.dirty(page).is_none());
        if held.given.is_some() && held.recalled && clean {
            held.forget();
            let owner = side.owner;
            self.tell_server(Event::Returned { owner, file: key_of(file) });
        }
    }

    pub(super) fn revoked(&mut self, owner: OwnerId, file: usize) {
        self.count("revoked");
        let silent = self.beside.neighbours.iter_mut().find(|neighbour| neighbour.owner == owner);
        let Some(held) = silent.map(|neighbour| &mut neighbour.files[file]) else { return };
        self.report.dirty_lost += held.forget();
    }

    /// Nobody waits for an answer of a server that is gone; what was had is remembered, where it can be had again.
    pub(super) fn server_gone_beside(&mut self) {
        self.beside.errands.clear();
        self.beside.reclaiming = 0;
        let reclaims = self.plan.reclaims;
        for held in self.beside.neighbours.iter_mut().flat_map(|neighbour| &mut neighbour.files) {
            held.recalled = false;
            if !reclaims {
                (held.reserved, held.locked) = (None, None);
                self.report.dirty_lost += held.forget();
            }
            // What was not on the disk may be lost.
            for known in &mut held.pages {
                *known = known.filter(|known| known.dirty);
            }
        }
    }

    /// The server has started: what was had before is had again first.
    pub(super) fn reclaim_beside(&mut self) {
        if !self.plan.reclaims {
            return;
        }
        self.beside.reclaiming = self.beside.neighbours.len();
        let life = self.server.life;
        for neighbour in 0..self.beside.neighbours.len() {
            let at = self.now + self.random.below(2_000);
            self.queue.push(at, What::Reclaim { life, neighbour });
        }
        self.grace_over();
    }

    pub(super) fn reclaim(&mut self, neighbour: usize) {
        let owner = self.beside.neighbours[neighbour].owner;
        for file in 0..self.plan.files {
            let key = key_of(file);
            let Held { reserved, given, locked, .. } = self.beside.neighbours[neighbour].files[file].clone();
            // CLAIM_PREVIOUS of a delegation is an OPEN.
            let access = if given == Some(DelegationKind::Write) { BOTH } else { Access::READ_DATA };
            let closed = given.is_some() && reserved.is_none();
            if let Some((access, sharing)) = reserved.or(closed.then_some((access, ShareMode::ALL))) {
                self.have_again(neighbour, file, Task::Reserve { access, sharing }, |request| {
                    Event::Reserve(
                        Reservation::new(request, owner, key, access).sharing(sharing).reclaiming(),
                    )
                });
            }
            if let Some(kind) = given {
                let reclaims = true;
                self.have_again(neighbour, file, Task::Delegate { kind }, |request| Event::Delegate {
                    request,
                    owner,
                    file: key,
                    kind,
                    reclaims,
                });
            }
            if closed {
                self.beside.neighbours[neighbour].files[file].reserved = None;
                self.tell_server(Event::Unreserve { owner, file: key });
            }
            if let Some(exclusive) = locked {
                self.have_again(neighbour, file, Task::Lock { exclusive }, |request| {
                    Event::OwnerLock(lock(request, owner, key, exclusive).reclaiming())
                });
            }
        }
        self.beside.reclaiming = self.beside.reclaiming.saturating_sub(1);
        self.grace_over();
    }

    /// RECLAIM_COMPLETE of all of them.
    fn grace_over(&mut self) {
        if self.beside.reclaiming == 0 {
            self.tell_server(Event::GraceOver);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.report.beside.entry(what).or_default() += 1;
    }
}

/// Behind all pages: those of SMB read and write everywhere else.
const LOCKED: (u64, u64) = (1 << 20, 10);

fn lock(request: RequestId, owner: OwnerId, file: FileKey, exclusive: bool) -> OwnerLock {
    let (offset, len) = LOCKED;
    OwnerLock::new(request, owner, file, exclusive).range(offset, len)
}
