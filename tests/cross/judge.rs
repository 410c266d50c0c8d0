//! Who is in whose way: the table of `src/protocols.rs`.

use std::collections::BTreeSet;

use leasehold::server::{DelegationKind, DenyModes};
use leasehold::{OwnerId, RequestId, Status};

use super::model::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    Refuse(Status),
    /// For these; for breaks and recalls, if there are none.
    Wait(BTreeSet<Who>),
}

#[derive(Clone, Copy, Debug)]
pub enum Take {
    Lease(Key, State),
    Delegation(OwnerId),
}

#[derive(Clone, Debug)]
pub struct Judgment {
    pub takes: Vec<Take>,
    pub verdict: Verdict,
}

impl Judgment {
    fn refuse(status: Status) -> Self {
        Self { takes: Vec::new(), verdict: Verdict::Refuse(status) }
    }
}

/// Which delegations of others are recalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recalls {
    None,
    Write,
    Both,
}

/// What is taken from leases, what of it is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub takes: State,
    pub awaits: State,
    /// Whether it waits for further stages of a break, whatever it needs itself.
    pub behind_stages: bool,
    pub recalls: Recalls,
}

const fn row(takes: State, awaits: State, recalls: Recalls) -> Row {
    Row { takes, awaits, behind_stages: false, recalls }
}

/// A conflict of share modes: a client that keeps handles back may close them.
const SHARING: Row = row(H, H, Recalls::Both);

pub fn of_claim(claim: &Claim) -> Row {
    if claim.looks() {
        return row(0, 0, Recalls::None);
    }
    let recalls = if claim.alters() || !claim.share_read { Recalls::Both } else { Recalls::Write };
    let takes = if claim.overwrites { R | W } else { W };
    Row { behind_stages: true, ..row(takes, W, recalls) }
}

impl Model {
    pub fn of_deed(&self, deed: Deed) -> Row {
        let handles = |yes: bool| if yes { H } else { 0 };
        match deed {
            Deed::Read(_) | Deed::Flush => row(W, W, Recalls::Write),
            Deed::Write(_) | Deed::SetSize => row(R | W, W, Recalls::Both),
            Deed::SetAttributes => row(0, 0, Recalls::Both),
            Deed::Rename | Deed::Unlink => row(H, H, Recalls::Both),
            Deed::Link => {
                let bits = handles(self.rules.profile.link_breaks_handles);
                row(bits, bits, Recalls::Both)
            }
            Deed::SetSecurity => {
                let bits = handles(self.rules.profile.security_breaks_handles);
                row(bits, bits, Recalls::Both)
            }
        }
    }

    pub fn judge(&self, waiter: &Waiter) -> Judgment {
        let file = waiter.file;
        match &waiter.job {
            Job::Create(open) if self.reclaiming && !open.claim.looks() => {
                Judgment::refuse(Status::FILE_NOT_AVAILABLE)
            }
            Job::Create(open) => self.enter(file, By { key: open.key, ..By::default() }, &open.claim),
            Job::Reserve(owner, claim) => {
                self.enter(file, By { owner: Some(*owner), ..By::default() }, claim)
            }
            Job::Operate(by, deed) => self.judge_deed(file, *by, *deed),
            Job::Lock { by, key, span, exclusive, waits } => {
                let actor = match by {
                    Who::Open(open) => By { open: Some(*open), key: *key, owner: None },
                    Who::Owner(owner) => By { owner: Some(*owner), ..By::default() },
                };
                // A byte-range lock: R and W go, W is waited for; so is a delegation to write.
                // SMB's exclusive ones are mandatory: nobody may read behind them.
                let mandatory = *exclusive && matches!(by, Who::Open(_));
                let recalls = if mandatory { Recalls::Both } else { Recalls::Write };
                let mut judgment = self.against(file, actor, row(R | W, W, recalls));
                let mut on = self.in_the_way(file, *by, *span, *exclusive);
                if *waits && !waiter.passes {
                    on.extend(self.in_line(waiter.request, file, *by, *span, *exclusive));
                } else if !*waits && judgment.verdict != Verdict::Go {
                    return judgment;
                } else if !*waits && !on.is_empty() {
                    return Judgment::refuse(Status::LOCK_NOT_GRANTED);
                }
                if !on.is_empty() {
                    judgment.verdict = Verdict::Wait(on);
                }
                judgment
            }
        }
    }

    /// Whoever holds what keeps this lock from being had.
    pub fn in_the_way(&self, file: u8, by: Who, span: Span, exclusive: bool) -> BTreeSet<Who> {
        let conflicts = |(who, other, kind): &(Who, Span, bool)| {
            let own = *who == by;
            span.meets(*other)
                && match (own, by) {
                    (true, Who::Owner(_)) => false,
                    // MS-FSA 2.1.5.8: a shared lock goes on top of an exclusive one of the same open.
                    (true, Who::Open(_)) => exclusive,
                    (false, _) => exclusive || *kind,
                }
        };
        self.locks(file).iter().filter(|lock| conflicts(lock)).map(|lock| lock.0).collect()
    }

    /// Whoever came before, would rather wait as well, and conflicts.
    pub fn in_line(
        &self,
        request: RequestId,
        file: u8,
        by: Who,
        span: Span,
        exclusive: bool,
    ) -> BTreeSet<Who> {
        let before = self.waiters.iter().take_while(|waiter| waiter.request != request);
        let mut on = BTreeSet::new();
        for waiter in before.filter(|waiter| waiter.file == file) {
            let Job::Lock { by: other, span: range, exclusive: kind, waits: true, .. } = waiter.job else {
                continue;
            };
            if other != by && (exclusive || kind) && span.meets(range) {
                on.insert(other);
            }
        }
        on
    }

    /// An open, or a reservation.
    fn enter(&self, file: u8, by: By, claim: &Claim) -> Judgment {
        let opens: Vec<_> =
            self.opens.iter().filter(|open| open.file == file && open.claim.excludes(claim)).collect();
        let others = |owner: OwnerId| by.owner != Some(owner);
        let owners: Vec<_> = self
            .reserved
            .iter()
            .filter(|(owner, on, other)| *on == file && others(*owner) && other.excludes(claim))
            .map(|(owner, _, _)| *owner)
            .collect();
        if opens.is_empty() && owners.is_empty() {
            return self.against(file, by, of_claim(claim));
        }
        self.share_conflict(file, by, &opens, &owners)
    }

    /// A deferred close may cure it, if every one of them may be deferred.
    fn share_conflict(&self, file: u8, by: By, opens: &[&Open], owners: &[OwnerId]) -> Judgment {
        let deferred = |open: &&Open| {
            let keeps = |key| self.lease(key).is_some_and(|lease| lease.state & H != 0);
            open.phase == Phase::Live && open.key.is_some_and(keeps) && (open.key != by.key)
        };
        let delegated = |owner: &OwnerId| {
            let by_it = |other: &&Delegation| other.file == file && same_host(other.owner, *owner);
            self.delegations.iter().find(by_it).is_some()
        };
        if opens.iter().all(deferred) && owners.iter().all(delegated) {
            // RFC 8881 10.4.4: a client that has it delegated may have closed it long ago.
            let judgment = self.against(file, by, SHARING);
            // Nobody comes down for it, so nobody goes.
            if judgment.verdict != Verdict::Go {
                return judgment;
            }
        }
        Judgment::refuse(Status::SHARING_VIOLATION)
    }

    fn judge_deed(&self, file: u8, by: By, deed: Deed) -> Judgment {
        // Who has it open again may go on; whoever opens nothing may have been denied it.
        if let (Some(owner), true) = (by.owner, self.reclaiming) {
            let open = self.reserved.iter().find(|(other, on, _)| (*other, *on) == (owner, file));
            let allowed = |(_, _, claim): &(OwnerId, u8, Claim)| match deed {
                Deed::Read(_) => claim.reads,
                Deed::Write(_) | Deed::SetSize => claim.alters(),
                _ => true,
            };
            let asks = matches!(deed, Deed::Read(_) | Deed::Write(_) | Deed::SetSize);
            let ignored = self.rules.denies() == DenyModes::Nothing;
            // Nor was its client denied what it has delegated (RFC 8881 10.4).
            let delegated = self.delegations.iter().any(|other| {
                let may = other.kind == DelegationKind::Write || matches!(deed, Deed::Read(_));
                other.file == file && same_host(other.owner, owner) && may
            });
            if asks && !ignored && !delegated && !open.is_some_and(allowed) {
                return Judgment::refuse(Status::FILE_NOT_AVAILABLE);
            }
        }
        if let Some(owner) = by.owner {
            let wants = |reads, writes| Claim {
                reads,
                writes,
                share_read: true,
                share_write: true,
                ..Claim::default()
            };
            let names = self.rules.denies() == DenyModes::DataAndNames;
            let claim = match deed {
                Deed::Read(_) => Some(wants(true, false)),
                Deed::Write(_) | Deed::SetSize => Some(wants(false, true)),
                _ => None,
            };
            assert!(!names || claim.is_some() || deed != Deed::Unlink, "not modelled");
            if let Some(claim) = claim.filter(|_| self.rules.denies() != DenyModes::Nothing) {
                // What another leaves counts here, not what the other does.
                let denies = |other: &Claim| other.excludes(&claim);
                let opens: Vec<_> =
                    self.opens.iter().filter(|open| open.file == file && denies(&open.claim)).collect();
                let owners: Vec<_> = self
                    .reserved
                    .iter()
                    .filter(|(other, on, theirs)| *on == file && *other != owner && denies(theirs))
                    .map(|(owner, _, _)| *owner)
                    .collect();
                if !opens.is_empty() || !owners.is_empty() {
                    return self.share_conflict(file, by, &opens, &owners);
                }
            }
        }
        let mut judgment = self.against(file, by, self.of_deed(deed));
        if judgment.verdict == Verdict::Go && self.locked(file, by, deed) {
            judgment.verdict = Verdict::Refuse(Status::FILE_LOCK_CONFLICT);
        }
        judgment
    }

    /// SMB's locks are mandatory for all, those of others for SMB.
    fn locked(&self, file: u8, by: By, deed: Deed) -> bool {
        let (span, writes) = match deed {
            Deed::Read(span) => (span, false),
            Deed::Write(span) => (span, true),
            _ => return false,
        };
        if span.from == span.to {
            return false;
        }
        self.locks(file).iter().any(|(who, other, exclusive)| {
            let concerns = match who {
                Who::Open(open) if by.open == Some(*open) => writes && !*exclusive,
                Who::Open(_) => writes || *exclusive,
                Who::Owner(_) => by.owner.is_none() && (writes || *exclusive),
            };
            concerns && span.meets(*other)
        })
    }

    /// What is taken from everybody but the actor, and whether it waits.
    pub fn against(&self, file: u8, by: By, row: Row) -> Judgment {
        let (mut takes, mut waits) = (Vec::new(), false);
        for lease in self.leases.iter().filter(|lease| lease.file == file && Some(lease.key) != by.key) {
            if less(lease.state, row.takes) != lease.state {
                takes.push(Take::Lease(lease.key, row.takes));
            }
            waits |= lease.state & row.awaits != 0;
            if let Some(breaking) = &lease.breaking {
                let untold = less(breaking.told, row.takes) != breaking.told;
                let needed = less(breaking.needed & less(lease.state, row.takes), 0);
                waits |= untold && row.awaits != 0;
                waits |= row.behind_stages && needed != breaking.told;
            }
        }
        for delegation in self.delegations.iter().filter(|delegation| delegation.file == file) {
            let own = by.owner.is_some_and(|owner| same_host(owner, delegation.owner));
            let goes = match row.recalls {
                Recalls::None => false,
                Recalls::Write => delegation.kind == DelegationKind::Write,
                Recalls::Both => true,
            };
            if goes && !own {
                takes.push(Take::Delegation(delegation.owner));
                waits = true;
            }
        }
        let verdict = if waits { Verdict::Wait(BTreeSet::new()) } else { Verdict::Go };
        Judgment { takes, verdict }
    }

    /// Whether a wait would close a circle of waits for locks.
    pub fn circle(&self, request: RequestId, who: Who, on: &BTreeSet<Who>) -> bool {
        let edges: Vec<(Who, Who)> = self
            .waiters
            .iter()
            .filter(|waiter| waiter.request != request)
            .filter_map(|waiter| match waiter.job {
                Job::Lock { by, .. } => Some(waiter.on.iter().map(move |on| (by, *on))),
                _ => None,
            })
            .flatten()
            .collect();
        let mut reached = on.clone();
        loop {
            let next: Vec<Who> = edges
                .iter()
                .filter(|(from, to)| reached.contains(from) && !reached.contains(to))
                .map(|(_, to)| *to)
                .collect();
            if reached.contains(&who) {
                return true;
            }
            if next.is_empty() {
                return false;
            }
            reached.extend(next);
        }
    }
}
