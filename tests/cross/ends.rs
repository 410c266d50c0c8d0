//! What ends, and time.

use std::collections::BTreeSet;

use leasehold::{OwnerId, RequestId, Status};

use super::model::*;

impl Model {
    /// An open ends, with its locks, its requests, and its lease if it was the last.
    pub fn close(&mut self, name: RequestId) {
        let at = self.opens.iter().position(|open| open.name == name).unwrap();
        let open = self.opens.remove(at);
        let of_it = |waiter: &Waiter| match waiter.job {
            Job::Lock { by, .. } => by == Who::Open(name),
            Job::Operate(by, _) => by.open == Some(name),
            _ => false,
        };
        let (over, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| of_it(waiter));
        self.waiters = on;
        for waiter in over {
            let lock = matches!(waiter.job, Job::Lock { .. });
            let status = if lock { Status::RANGE_NOT_LOCKED } else { Status::FILE_CLOSED };
            self.refuse(open.file, waiter.request, status);
        }
        let member = |other: &Open| other.key == open.key && other.phase == Phase::Live;
        if let Some(key) = open.key.filter(|_| !self.opens.iter().any(member)) {
            self.leases.retain(|lease| lease.key != key);
        }
        self.say(open.file, Said::CloseFile(name));
    }

    pub fn close_by_client(&mut self, request: RequestId, name: RequestId) {
        let file = self.open(name).unwrap().file;
        self.close(name);
        self.judge_again(file);
        self.say(file, Said::Closed(request));
    }

    /// A connection is gone with its session, or only the session: then somebody is left to be answered.
    pub fn leave(&mut self, conn: u64, answered: bool) {
        let (over, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.conn == Some(conn));
        self.waiters = on;
        let in_line = |waiter: &&Waiter| matches!(waiter.job, Job::Lock { waits: true, .. });
        let files = over.iter().filter(in_line).map(|waiter| waiter.file);
        let mut files: BTreeSet<u8> = files.filter(|file| self.is_line(*file)).collect();
        for waiter in over.iter().filter(|_| answered) {
            let lock = matches!(waiter.job, Job::Lock { .. });
            let status = if lock { Status::RANGE_NOT_LOCKED } else { Status::USER_SESSION_DELETED };
            self.refuse(waiter.file, waiter.request, status);
        }
        let here: Vec<Open> = self.opens.iter().filter(|open| open.conn == conn).cloned().collect();
        for open in here.iter().filter(|open| open.phase == Phase::Opening) {
            if answered {
                self.refuse(open.file, open.name, Status::USER_SESSION_DELETED);
            }
            let found = self.opens.iter_mut().find(|other| other.name == open.name);
            found.unwrap().phase = Phase::Abandoned;
        }
        for open in here.iter().filter(|open| open.phase == Phase::Live) {
            self.close(open.name);
            files.insert(open.file);
        }
        files.into_iter().for_each(|file| self.judge_again(file));
    }

    /// Owners are gone, with all that they have and wait for.
    pub fn owners_gone(&mut self, gone: impl Fn(OwnerId) -> bool) {
        let of_it = |waiter: &Waiter| match waiter.job {
            Job::Lock { by: Who::Owner(owner), .. } | Job::Reserve(owner, ..) => gone(owner),
            Job::Operate(by, _) => by.owner.is_some_and(&gone),
            _ => false,
        };
        let (over, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| of_it(waiter));
        self.waiters = on;
        let mut lines: BTreeSet<u8> = over.iter().map(|waiter| waiter.file).collect();
        let mut files = BTreeSet::new();
        for waiter in over {
            self.refuse(waiter.file, waiter.request, Status::CANCELLED);
        }
        files.extend(self.held.iter().filter(|(owner, ..)| gone(*owner)).map(|(_, file, _)| *file));
        files.extend(self.reserved.iter().filter(|(owner, ..)| gone(*owner)).map(|(_, file, _)| *file));
        files.extend(self.delegations.iter().filter(|other| gone(other.owner)).map(|other| other.file));
        self.held.retain(|(owner, ..)| !gone(*owner));
        self.reserved.retain(|(owner, ..)| !gone(*owner));
        self.delegations.retain(|delegation| !gone(delegation.owner));
        lines.retain(|file| !files.contains(file));
        files.into_iter().for_each(|file| self.judge_again(file));
        lines.into_iter().for_each(|file| self.judge_locks(file));
    }

    /// Everything that is due, in the order in which it fell due.
    pub fn expire(&mut self, now: u64) {
        self.now = now;
        if self.grace_ends().is_some_and(|ends| ends <= now) {
            self.reclaiming = false;
        }
        loop {
            let lease = |lease: &Lease| {
                let breaking = lease.breaking.as_ref()?;
                Some((breaking.due, breaking.serial, lease.file))
            };
            let recall = |delegation: &Delegation| {
                let (due, serial) = delegation.recalled?;
                Some((due, serial, delegation.file))
            };
            let leases = self.leases.iter().filter_map(lease);
            let all = leases.chain(self.delegations.iter().filter_map(recall));
            // Of what is due at one time, nobody says which is first.
            let mut due: Vec<_> = all.filter(|(at, ..)| *at <= now && Some(*at) == self.due()).collect();
            if due.is_empty() {
                return;
            }
            due.sort_unstable();
            let (_, serial, file) = due[self.choices.next(due.len())];
            for lease in &mut self.leases {
                if lease.breaking.as_ref().is_some_and(|breaking| breaking.serial == serial) {
                    (lease.state, lease.breaking) = (0, None);
                }
            }
            let revoked: Vec<_> = self
                .delegations
                .iter()
                .filter(|delegation| delegation.recalled.is_some_and(|recalled| recalled.1 == serial))
                .map(|delegation| (delegation.owner, delegation.file))
                .collect();
            for (owner, file) in revoked {
                self.delegations.retain(|other| (other.owner, other.file) != (owner, file));
                self.say(file, Said::Revoked { owner });
            }
            self.judge_again(file);
        }
    }

    /// When owners get nothing back any more.
    pub fn grace_ends(&self) -> Option<u64> {
        self.reclaiming.then_some(self.rules.grace.as_millis() as u64)
    }
}
