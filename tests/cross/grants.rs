//! What is granted: leases, delegations; and what is told to come down.

use std::collections::BTreeSet;

use leasehold::server::DelegationKind;
use leasehold::{OwnerId, RequestId, Status};

use super::judge::*;
use super::model::*;

/// Who is judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Nobody,
    Line,
    Everybody,
}

impl Model {
    /// Judges a request and does what follows; gives it back if it waits, and for whom.
    fn look_at(&mut self, waiter: Waiter) -> Option<(Waiter, BTreeSet<Who>)> {
        let judgment = self.judge(&waiter);
        // What fails takes nothing from anybody, but for reads and writes: breaks come before ranges (MS-FSA 2.1.5.3, 2.1.5.4).
        let takes = |status| status == Status::FILE_LOCK_CONFLICT;
        if !matches!(judgment.verdict, Verdict::Refuse(status) if !takes(status)) {
            judgment.takes.into_iter().for_each(|take| self.take(waiter.file, take));
        }
        match judgment.verdict {
            Verdict::Go => self.go(waiter),
            Verdict::Refuse(status) => self.refuse(waiter.file, waiter.request, status),
            Verdict::Wait(mut on) => {
                if let Job::Lock { by, .. } = waiter.job {
                    // What an open has locked itself it can unlock meanwhile.
                    on.remove(&by);
                }
                return Some((waiter, on));
            }
        }
        None
    }

    /// A request that is new.
    pub fn arrive(&mut self, waiter: Waiter) {
        let (file, request) = (waiter.file, waiter.request);
        let again = self.leaves_more_to(&waiter);
        match self.look_at(waiter) {
            Some((waiter, on)) if self.closes_a_circle(&waiter, &on) && self.may_pass(&waiter, &on) => {
                self.waiters.push(Waiter { passes: true, on, ..waiter });
                self.judge_locks(file);
                if self.waiters.iter().any(|waiter| waiter.request == request) {
                    self.say(file, Said::Interim(request));
                }
            }
            Some((waiter, on)) if self.closes_a_circle(&waiter, &on) => {
                self.refuse(file, request, Status::POSSIBLE_DEADLOCK);
                self.judge_locks(file);
            }
            Some((waiter, on)) => {
                self.say(file, Said::Interim(request));
                self.waiters.push(Waiter { on, ..waiter });
            }
            None if self.said.last() == Some(&(file, Said::Accepted(request))) => {
                self.judge_those(file, again)
            }
            None => {}
        }
    }

    /// Who is to be judged again when this one is granted: those in line, if it passes them, or has less than before; all, if a
    /// reservation gives way to it.
    fn leaves_more_to(&self, waiter: &Waiter) -> Again {
        let lowers = |owner: OwnerId, span: Span| {
            let mut octets = [None; OCTETS];
            paint(&mut octets, span, Some(true));
            octets
                .iter()
                .zip(self.map(owner, waiter.file))
                .any(|(here, had)| here.is_some() && had == Some(true))
        };
        match waiter.job {
            Job::Lock { waits: false, .. } => Again::Line,
            Job::Lock { .. } if waiter.passes => Again::Line,
            Job::Lock { by: Who::Owner(owner), span, exclusive: false, .. } if lowers(owner, span) => {
                Again::Line
            }
            Job::Reserve(owner, _)
                if self.reserved.iter().any(|(other, on, _)| (*other, *on) == (owner, waiter.file)) =>
            {
                Again::Everybody
            }
            _ => Again::Nobody,
        }
    }

    /// Whether it would wait for less without those ahead in line: they wait for what its owner has, and it cannot be theirs before.
    fn may_pass(&self, waiter: &Waiter, on: &BTreeSet<Who>) -> bool {
        matches!(waiter.job, Job::Lock { .. }) && !waiter.passes && self.holders(waiter) != *on
    }

    /// Whom a lock has to wait for in any case: who holds what it wants.
    fn holders(&self, waiter: &Waiter) -> BTreeSet<Who> {
        let Job::Lock { by, span, exclusive, .. } = waiter.job else { return BTreeSet::new() };
        let mut holders = self.in_the_way(waiter.file, by, span, exclusive);
        holders.remove(&by);
        holders
    }

    fn closes_a_circle(&self, waiter: &Waiter, on: &BTreeSet<Who>) -> bool {
        matches!(waiter.job, Job::Lock { by, .. } if self.circle(waiter.request, by, on))
    }

    /// Everything that waits for a file, in order of arrival, until nothing changes; then who waits for others than before may have
    /// closed a circle.
    pub fn judge_again(&mut self, file: u8) {
        self.judge_those(file, Again::Everybody);
    }

    /// As above, of the locks that wait.
    pub fn judge_locks(&mut self, file: u8) {
        self.judge_those(file, Again::Line);
    }

    fn judge_those(&mut self, mut file: u8, mut who: Again) {
        while who != Again::Nobody {
            for (request, on) in self.judge_line(file, who) {
                let waiter = self.waiters.iter_mut().find(|waiter| waiter.request == request);
                waiter.unwrap().on = on;
            }
            who = Again::Line;
            let Some(request) = self.chosen_in_a_circle() else { return };
            let at = self.waiters.iter().position(|waiter| waiter.request == request).unwrap();
            // Another file may be part of it.
            file = self.waiters[at].file;
            if self.may_pass(&self.waiters[at], &self.waiters[at].on) {
                self.waiters[at].passes = true;
            } else {
                self.waiters.remove(at);
                self.refuse(file, request, Status::POSSIBLE_DEADLOCK);
            }
        }
    }

    /// Of those in a circle it does not matter who gives way, in which order: any choice will do. Who can go past the line does, and
    /// is not refused.
    fn chosen_in_a_circle(&mut self) -> Option<RequestId> {
        let circles = |waiter: &&Waiter| self.closes_a_circle(waiter, &waiter.on);
        let mut circled: Vec<&Waiter> = self.waiters.iter().filter(circles).collect();
        // What the machine seems to do is tried first.
        circled.sort_by_key(|waiter| {
            let passes = self.may_pass(waiter, &waiter.on);
            let seen = if passes {
                self.choices.left.get(&waiter.request).is_none_or(|on| on.is_subset(&self.holders(waiter)))
            } else {
                self.choices.refused.contains(&waiter.request)
            };
            (!seen, passes)
        });
        let circled: Vec<RequestId> = circled.iter().map(|waiter| waiter.request).collect();
        (!circled.is_empty()).then(|| circled[self.choices.next(circled.len())])
    }

    /// Who goes on, and for whom the others wait.
    fn judge_line(&mut self, file: u8, mut who: Again) -> Vec<(RequestId, BTreeSet<Who>)> {
        loop {
            let here = |waiter: &&Waiter| {
                let lock = matches!(waiter.job, Job::Lock { waits: true, .. });
                waiter.file == file && (who == Again::Everybody || lock)
            };
            let all: Vec<RequestId> = self.waiters.iter().filter(here).map(|waiter| waiter.request).collect();
            let (mut again, mut waits) = (Again::Nobody, Vec::new());
            for request in all {
                let at = self.waiters.iter().position(|waiter| waiter.request == request).unwrap();
                let waiter = self.waiters[at].clone();
                let more = self.leaves_more_to(&waiter);
                match self.look_at(waiter) {
                    Some((_, on)) => waits.push((request, on)),
                    None => {
                        self.waiters.remove(at);
                        if self.said.last() == Some(&(file, Said::Accepted(request))) {
                            again = again.max(more);
                        }
                    }
                }
            }
            if again == Again::Nobody {
                return waits;
            }
            for (request, on) in waits {
                let waiter = self.waiters.iter_mut().find(|waiter| waiter.request == request);
                waiter.unwrap().on = on;
            }
            who = again;
        }
    }

    fn go(&mut self, waiter: Waiter) {
        let (file, request) = (waiter.file, waiter.request);
        match waiter.job {
            Job::Create(open) => {
                self.opens.push(*open);
                self.say(file, Said::OpenFile(request));
            }
            Job::Operate(by, deed) => {
                self.running.push(Run { request, file, by, deed });
                self.say(file, Said::Proceed(request));
            }
            Job::Lock { by: Who::Open(name), span, exclusive, .. } => {
                let open = self.opens.iter_mut().find(|open| open.name == name).unwrap();
                open.locks.push((span, exclusive));
                self.say(file, Said::Accepted(request));
            }
            Job::Lock { by: Who::Owner(owner), span, exclusive, .. } => {
                let mut map = self.map(owner, file);
                paint(&mut map, span, Some(exclusive));
                self.set_map(owner, file, map);
                self.say(file, Said::Accepted(request));
            }
            Job::Reserve(owner, claim) => {
                self.reserved.retain(|(other, on, _)| (*other, *on) != (owner, file));
                self.reserved.push((owner, file, claim));
                self.say(file, Said::Accepted(request));
            }
        }
    }

    // ---- what comes down

    fn take(&mut self, file: u8, take: Take) {
        match take {
            Take::Lease(key, takes) => {
                let lease = self.leases.iter_mut().find(|lease| lease.key == key).unwrap();
                let left = less(lease.state, takes);
                match &mut lease.breaking {
                    Some(breaking) => breaking.needed = less(breaking.needed & left, 0),
                    None => self.tell(key, left, left),
                }
            }
            Take::Delegation(owner) => {
                let (due, serial) = (self.now + RECALL, self.tick());
                let found =
                    self.delegations.iter_mut().find(|other| (other.owner, other.file) == (owner, file));
                let delegation = found.unwrap();
                if delegation.recalled.is_none() {
                    delegation.recalled = Some((due, serial));
                    let write = delegation.kind == DelegationKind::Write;
                    self.say(file, Said::Recall { owner, write });
                }
            }
        }
    }

    /// MS-SMB2 3.3.4.7: R alone goes without an acknowledgment.
    pub fn tell(&mut self, key: Key, told: State, needed: State) {
        let (due, serial) = (self.now + BREAK, self.tick());
        let lease = self.leases.iter_mut().find(|lease| lease.key == key).unwrap();
        let (file, from) = (lease.file, lease.state);
        let acknowledged = from & (W | H) != 0;
        if acknowledged {
            lease.breaking = Some(Breaking { told, needed, due, serial });
        } else {
            lease.state = told;
        }
        self.say(file, Said::Break { key, from, to: told, acknowledged });
    }

    // ---- leases

    /// The file is open. What the lease is then, if the open has one (MS-SMB2 3.3.5.9.8, MS-FSA 2.1.5.18).
    pub fn grant(&mut self, open: &Open) -> Option<(State, bool)> {
        let key = open.key?;
        let can = self.grantable(open);
        match self.leases.iter_mut().find(|lease| lease.key == key) {
            None => self.leases.push(Lease { key, file: open.file, state: can, breaking: None }),
            Some(lease) => {
                let more = open.asked & lease.state == lease.state && open.asked != lease.state;
                if more && can == open.asked && lease.breaking.is_none() {
                    lease.state = can;
                }
            }
        }
        let lease = self.lease(key).unwrap();
        Some((lease.state, lease.breaking.is_some()))
    }

    fn grantable(&self, open: &Open) -> State {
        // RFC 8881 8.4.2.1: others may have again what nobody could cache beside.
        if self.reclaiming {
            return 0;
        }
        let (file, mut state) = (open.file, less(open.asked, 0));
        let foreign = |other: &&Open| {
            other.file == file && other.name != open.name && (other.key.is_none() || other.key != open.key)
        };
        for other in self.opens.iter().filter(foreign) {
            if other.key.is_some() || !other.claim.looks() || !other.locks.is_empty() {
                state = less(state, W);
            }
            // What it takes once it is open, nobody gets meanwhile.
            if other.phase != Phase::Live {
                state = less(state, of_claim(&other.claim).takes);
            }
        }
        let beside =
            |lease: &Lease| lease.file == file && Some(lease.key) != open.key && lease.state & W != 0;
        if self.leases.iter().any(beside) {
            state = 0;
        }
        // An open beyond attributes, a lock: no W beside it.
        if self.reserved.iter().any(|(_, on, _)| *on == file)
            || self.held.iter().any(|(_, on, _)| *on == file)
        {
            state = less(state, W);
        }
        for delegation in self.delegations.iter().filter(|delegation| delegation.file == file) {
            let takes = if delegation.kind == DelegationKind::Write { R | W } else { W };
            state = less(state, takes);
        }
        for run in self.running.iter().filter(|run| run.file == file) {
            if run.by.key.is_none() || run.by.key != open.key {
                state = less(state, self.of_deed(run.deed).takes);
            }
        }
        // MS-FSA 2.1.5.18: behind a byte-range lock nobody caches but whoever is alone.
        if !self.locks(file).is_empty() && !open.claim.overwrites && state & W == 0 {
            state = 0;
        }
        state
    }

    // ---- delegations

    /// Whether it can be given.
    pub fn delegable(&self, owner: OwnerId, file: u8, kind: DelegationKind) -> bool {
        let writes = kind == DelegationKind::Write;
        let recalled_by = |recalls: Recalls| match recalls {
            Recalls::None => false,
            Recalls::Write => writes,
            Recalls::Both => true,
        };
        let foreign = |other: OwnerId| !same_host(other, owner);
        let opens =
            self.opens.iter().any(|open| open.file == file && recalled_by(of_claim(&open.claim).recalls));
        let reserved = self
            .reserved
            .iter()
            .any(|(other, on, claim)| *on == file && foreign(*other) && recalled_by(of_claim(claim).recalls));
        // MS-FSA 2.1.4.10: nobody's read meets a lock of no octets before the first.
        let locked = self.locks(file).iter().any(|(who, span, exclusive)| match who {
            Who::Open(_) => writes || (*exclusive && span.to > 0),
            Who::Owner(other) => writes && foreign(*other),
        });
        let cached = self
            .leases
            .iter()
            .any(|lease| lease.file == file && lease.state & if writes { R } else { W } != 0);
        let delegated = self.delegations.iter().any(|other| {
            let either = writes || other.kind == DelegationKind::Write;
            other.file == file && foreign(other.owner) && either
        });
        let runs = self.running.iter().any(|run| {
            let own = run.by.owner.is_some_and(|other| !foreign(other));
            run.file == file && !own && recalled_by(self.of_deed(run.deed).recalls)
        });
        let waits = self.waiters.iter().any(|waiter| waiter.file == file);
        // By its client, and once for it.
        let open = self.reserved.iter().any(|(other, on, _)| *on == file && !foreign(*other));
        let has = self.delegations.iter().any(|other| other.file == file && !foreign(other.owner));
        open && !(has || opens || reserved || locked || cached || delegated || runs || waits)
    }
}
