//! What comes from outside.

use std::collections::BTreeSet;

use leasehold::server::DelegationKind;
use leasehold::{OwnerId, RequestId, Status};

use super::model::*;

impl Model {
    pub fn create(&mut self, open: Open) {
        let (request, conn, file) = (open.name, Some(open.conn), open.file);
        self.arrive(Waiter {
            request,
            conn,
            file,
            job: Job::Create(Box::new(open)),
            on: BTreeSet::new(),
            passes: false,
        });
    }

    /// The driver has opened the file, or could not.
    pub fn opened(&mut self, name: RequestId, opens: bool) {
        let at = self.opens.iter().position(|open| open.name == name).unwrap();
        let open = self.opens[at].clone();
        match (opens, open.phase) {
            (true, Phase::Opening) => {
                let lease = self.grant(&open);
                self.opens[at].phase = Phase::Live;
                self.say(open.file, Said::Granted(name, lease));
            }
            (true, _) => {
                self.close(name);
                self.judge_again(open.file);
            }
            (false, phase) => {
                if phase == Phase::Opening {
                    self.refuse(open.file, name, Status::ACCESS_DENIED);
                }
                self.opens.remove(at);
                self.judge_again(open.file);
            }
        }
    }

    pub fn operate(&mut self, request: RequestId, conn: Option<u64>, file: u8, by: By, deed: Deed) {
        self.arrive(Waiter {
            request,
            conn,
            file,
            job: Job::Operate(by, deed),
            on: BTreeSet::new(),
            passes: false,
        });
    }

    pub fn done(&mut self, request: RequestId, fails: bool) {
        let at = self.running.iter().position(|run| run.request == request).unwrap();
        let run = self.running.remove(at);
        if fails || !matches!(run.deed, Deed::Rename | Deed::Unlink) {
            return;
        }
        // RFC 1813 3.3.12, 3.3.14: the name by which they came leads elsewhere, or nowhere.
        let by_name = |waiter: &Waiter| waiter.file == run.file && matches!(waiter.job, Job::Create(_));
        let (back, on): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiters).into_iter().partition(by_name);
        self.waiters = on;
        back.into_iter().for_each(|waiter| self.say(run.file, Said::Resolve(waiter.request)));
    }

    pub fn lock(&mut self, request: RequestId, name: RequestId, span: Span, exclusive: bool, waits: bool) {
        let open = self.open(name).unwrap();
        let (file, conn, key) = (open.file, Some(open.conn), open.key);
        if let Err(status) = self.in_grace(false) {
            return self.refuse(file, request, status);
        }
        // Who was asked to come down stands behind nobody in line: they may wait for it.
        let asked = |lease: &Lease| Some(lease.key) == key && lease.breaking.is_some();
        let passes = waits && self.leases.iter().any(asked);
        let job = Job::Lock { by: Who::Open(name), key, span, exclusive, waits };
        self.arrive(Waiter { request, conn, file, job, on: BTreeSet::new(), passes });
    }

    pub fn unlock(&mut self, request: RequestId, name: RequestId, span: Span) {
        let open = self.opens.iter_mut().find(|open| open.name == name).unwrap();
        let file = open.file;
        // Of a stack the exclusive one comes off first.
        let same = |kind: bool| move |lock: &(Span, bool)| *lock == (span, kind);
        let at = open.locks.iter().position(same(true)).or(open.locks.iter().position(same(false)));
        let Some(at) = at else { return self.refuse(file, request, Status::RANGE_NOT_LOCKED) };
        open.locks.remove(at);
        self.say(file, Said::Accepted(request));
        self.judge_again(file);
    }

    /// Whether an owner may ask now, for something anew or for what it had.
    fn in_grace(&self, reclaims: bool) -> Result<(), Status> {
        match (self.reclaiming, reclaims) {
            (true, false) => Err(Status::FILE_NOT_AVAILABLE),
            (false, true) => Err(Status::REQUEST_NOT_ACCEPTED),
            _ => Ok(()),
        }
    }

    pub fn owner_lock(
        &mut self,
        request: RequestId,
        owner: OwnerId,
        file: u8,
        (span, exclusive): (Span, bool),
        waits: bool,
        reclaims: bool,
    ) {
        if span.from == span.to {
            return self.refuse(file, request, Status::INVALID_PARAMETER);
        }
        let by = Who::Owner(owner);
        let again = |waiter: &&Waiter| match waiter.job {
            Job::Lock { by: other, span: range, exclusive: kind, waits: also, .. } => {
                waiter.file == file && (other, range, kind, also) == (by, span, exclusive, waits)
            }
            _ => false,
        };
        if let Some(first) = self.waiters.iter().find(again) {
            let first = first.request;
            return self.say(file, Said::Repeated(request, first));
        }
        // Who came in time may wait for longer.
        if let Err(status) = self.in_grace(reclaims) {
            return self.refuse(file, request, status);
        }
        let asked = |other: &Delegation| {
            other.file == file && same_host(other.owner, owner) && other.recalled.is_some()
        };
        let passes = waits && self.delegations.iter().any(asked);
        let job = Job::Lock { by, key: None, span, exclusive, waits };
        self.arrive(Waiter { request, conn: None, file, job, on: BTreeSet::new(), passes });
    }

    pub fn owner_unlock(&mut self, request: RequestId, owner: OwnerId, file: u8, span: Span) {
        let known = self.known(owner, file);
        let mut map = self.map(owner, file);
        paint(&mut map, span, None);
        self.set_map(owner, file, map);
        self.say(file, Said::Accepted(request));
        if known {
            self.judge_again(file);
        }
    }

    pub fn test(&mut self, request: RequestId, owner: OwnerId, file: u8, span: Span, exclusive: bool) {
        if let Err(status) = self.in_grace(false) {
            return self.refuse(file, request, status);
        }
        let by = Who::Owner(owner);
        let conflicts =
            |(who, other, kind): &(Who, Span, bool)| *who != by && span.meets(*other) && (exclusive || *kind);
        let found = self.locks(file).into_iter().filter(conflicts).collect();
        self.say(file, Said::Tested(request, found));
    }

    pub fn reserve(&mut self, request: RequestId, owner: OwnerId, file: u8, claim: Claim, reclaims: bool) {
        // OPEN_DOWNGRADE is nothing new (RFC 8881 18.18).
        let lowers =
            |(other, on, had): &(OwnerId, u8, Claim)| (*other, *on) == (owner, file) && had.contains(&claim);
        let goes_on = self.reclaiming && self.reserved.iter().any(lowers);
        if let Err(status) = self.in_grace(reclaims || goes_on) {
            return self.refuse(file, request, status);
        }
        let job = Job::Reserve(owner, claim);
        self.arrive(Waiter { request, conn: None, file, job, on: BTreeSet::new(), passes: false });
    }

    pub fn unreserve(&mut self, owner: OwnerId, file: u8) {
        let known = self.known(owner, file);
        self.reserved.retain(|(other, on, _)| (*other, *on) != (owner, file));
        if known {
            self.judge_again(file);
        }
    }

    /// Whether an owner has anything there. Who has nothing changes nothing by giving it up.
    fn known(&self, owner: OwnerId, file: u8) -> bool {
        self.held.iter().any(|(other, on, _)| (*other, *on) == (owner, file))
            || self.reserved.iter().any(|(other, on, _)| (*other, *on) == (owner, file))
            || self.delegations.iter().any(|other| (other.owner, other.file) == (owner, file))
    }

    pub fn delegate(
        &mut self,
        request: RequestId,
        owner: OwnerId,
        file: u8,
        kind: DelegationKind,
        reclaims: bool,
    ) {
        if let Err(status) = self.in_grace(reclaims) {
            return self.refuse(file, request, status);
        }
        if !self.delegable(owner, file, kind) {
            return self.refuse(file, request, Status::OPLOCK_NOT_GRANTED);
        }
        self.delegations.retain(|other| (other.owner, other.file) != (owner, file));
        self.delegations.push(Delegation { owner, file, kind, recalled: None });
        self.say(file, Said::Accepted(request));
    }

    pub fn returned(&mut self, owner: OwnerId, file: u8) {
        let known = self.known(owner, file);
        self.delegations.retain(|other| (other.owner, other.file) != (owner, file));
        if known {
            self.judge_again(file);
        }
    }

    /// Whether others may have stood behind one that is gone.
    pub fn is_line(&self, file: u8) -> bool {
        let in_line = |waiter: &&Waiter| matches!(waiter.job, Job::Lock { waits: true, .. });
        self.waiters.iter().filter(in_line).any(|waiter| waiter.file == file)
    }

    pub fn cancel(&mut self, request: RequestId) {
        let Some(at) = self.waiters.iter().position(|waiter| waiter.request == request) else { return };
        let waiter = self.waiters.remove(at);
        self.refuse(waiter.file, request, Status::CANCELLED);
        self.judge_locks(waiter.file);
    }

    /// MS-SMB2 3.3.5.22.2.
    pub fn acknowledge(&mut self, request: RequestId, file: u8, key: Key, state: State) {
        let answer = |model: &mut Self, result: Result<State, Status>| {
            model.say(file, Said::Acked(request, result.map_err(Status::to_wire)));
        };
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.key == key) else {
            return answer(self, Err(Status::OBJECT_NAME_NOT_FOUND));
        };
        let Some(breaking) = lease.breaking.clone() else {
            return answer(self, Err(Status::UNSUCCESSFUL));
        };
        if state & !breaking.told != 0 {
            return answer(self, Err(Status::REQUEST_NOT_ACCEPTED));
        }
        let state = less(state, 0);
        (lease.state, lease.breaking) = (state, None);
        answer(self, Ok(state));
        if state & !breaking.needed != 0 {
            // One step through R.
            let told = if state & (W | H) != 0 { breaking.needed | R } else { breaking.needed };
            self.tell(key, told, breaking.needed);
        }
        self.judge_again(file);
    }
}
