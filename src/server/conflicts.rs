//! Which protocol met what of which: counted once for each request, when it comes.

use alloc::vec::Vec;

use super::judging::{Own, Party};
use super::records::{FileSlot, Job};
use super::scale::HolderId;
use super::shard::Shard;
use crate::locks::{Actor, Locker, Verdict};
use crate::status::Status;
use crate::types::Protocol;

impl Job {
    /// What speaks whoever sent it.
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Operate { actor: Actor::Other, origin: None, .. } => Protocol::Local,
            Self::Create(_)
            | Self::Operate { .. }
            | Self::Lock(_)
            | Self::OwnerLock(_)
            | Self::Reserve(_) => self.owner().map_or(Protocol::Smb, |owner| owner.protocol),
        }
    }
}

impl Locker {
    fn protocol(self) -> Protocol {
        match self {
            Self::Open(_) => Protocol::Smb,
            Self::Owner(owner) => owner.protocol,
        }
    }
}

impl Shard {
    /// Counts what a new request has met: caches that must come down for it, locks that it waits for, share modes that refuse it. Each
    /// protocol once.
    pub(super) fn count_conflicts(
        &mut self,
        file: FileSlot,
        job: &Job,
        heard: &Result<(Verdict, Party), Status>,
    ) {
        let cached = self.breaks.iter().map(|wanted| match wanted.id {
            HolderId::Lease(_) | HolderId::Oplock(_) => Protocol::Smb,
            HolderId::Delegation(_) => Protocol::Nfs4,
        });
        let mut met: Vec<Protocol> = cached.collect();
        match heard {
            Ok((Verdict::Wait, _)) => {
                met.extend(self.waits_on(file, job, false).into_iter().map(Locker::protocol));
            }
            Err(Status::SHARING_VIOLATION) => met.extend(self.denying(file, job)),
            Ok((Verdict::Go, _)) | Err(_) => {}
        }
        self.count_met(job, met);
    }

    /// Counts what has refused a lock that would rather fail than wait.
    pub(super) fn count_refused(&mut self, file: FileSlot, job: &Job) {
        let met = self.refused_by(file, job).into_iter().map(Locker::protocol).collect();
        self.count_met(job, met);
    }

    fn count_met(&mut self, job: &Job, mut met: Vec<Protocol>) {
        met.sort_unstable();
        met.dedup();
        for holder in met {
            self.stats.conflicts.count(job.protocol(), holder);
        }
    }

    /// Whose share modes or reservations are in the way.
    fn denying(&self, slot: FileSlot, job: &Job) -> Option<Protocol> {
        let file = self.files.get(slot)?;
        let claim = match job {
            Job::Create(admission) => admission.claim(),
            Job::Reserve(reservation) => reservation.claim(),
            Job::Operate { actor: Actor::Owner(owner), intent, since, .. } => {
                let own = Own { owner: Some(*owner), ..Own::default() };
                Party::of_intent(own, *intent, *since, &self.config.profile).claim()?
            }
            // Those look at opens alone.
            Job::Operate { .. } | Job::Lock(_) | Job::OwnerLock(_) => return Some(Protocol::Smb),
        };
        let opens = file.opens.iter(&self.opens, |open| &open.in_file);
        if opens.map(|(_, open)| open).any(|open| !claim.fits(open.claim)) {
            return Some(Protocol::Smb);
        }
        let mut reserved = self.reservations(file).filter(|(owner, _)| Some(*owner) != job.owner());
        reserved.find(|(_, other)| !claim.fits(*other)).map(|(owner, _)| owner.protocol)
    }
}
