//! What must hold of every server at any time, looked up in the model that agrees with it.

use leasehold::server::Event;
use leasehold::{FileKey, Intent, LeaseState, OplockLevel};

use super::known;
use super::{Blocker, Model, Outcome, Phase, Said, What, Who, rules};

/// Everything that can be seen at one moment.
pub fn state(model: &Model) -> Result<(), String> {
    for lease in &model.leases {
        // P1: five states, and never one without an open.
        if lease.state != lease.state.normalized() {
            return Err(format!("a state that does not exist: {lease:?}"));
        }
        let members =
            model.opens.iter().filter(|open| open.leased && open.ask.key == Some(lease.key)).count();
        if members == 0 {
            return Err(format!("a lease without an open: {lease:?}"));
        }
        // P12, P5: what is told is less than what is held, what is needed is no more than what is told.
        if let Some(breaking) = &lease.breaking {
            if breaking.told == lease.state
                || !lease.state.contains(breaking.told)
                || !breaking.told.contains(breaking.needed)
                || !lease.state.intersects(LeaseState::WRITE | LeaseState::HANDLE)
            {
                return Err(format!("a break that makes no sense: {lease:?}"));
            }
            if breaking.deadline.is_some_and(|deadline| deadline <= model.now) {
                return Err(format!("a break whose deadline has passed: {lease:?}"));
            }
        }
        // P2: beside W nobody caches, and nobody has it open for data.
        if lease.state.contains(LeaseState::WRITE) {
            let who = Who { lease: Some(lease.key), open: None };
            for open in
                model.opens.iter().filter(|open| open.file() == lease.file && model.foreign(open, who))
            {
                let create = &open.ask.create;
                let harmless = rules::harmless_to_leases(create.desired, create.disposition);
                let ghost = known::GHOST_BESIDE_WRITE && open.persistent && model.restarted();
                if open.oplock != OplockLevel::None || !(harmless || ghost) {
                    return Err(format!("beside W: {lease:?} and {open:?}"));
                }
            }
            let beside = |other: &&super::Lease| {
                other.file == lease.file
                    && !model.same(Some(other.key), Some(lease.key))
                    && !other.state.is_empty()
            };
            if let Some(other) = model.leases.iter().find(beside) {
                return Err(format!("beside W: {lease:?} and {other:?}"));
            }
        }
        // P3
        if lease.state.contains(LeaseState::HANDLE) {
            let oplock = |open: &&super::Open| open.file() == lease.file && open.oplock != OplockLevel::None;
            if let Some(open) = model.opens.iter().find(oplock) {
                return Err(format!("H beside an oplock: {lease:?} and {open:?}"));
            }
        }
    }
    for open in &model.opens {
        if let Some(breaking) = &open.breaking {
            if rules::rank(breaking.told) >= rules::rank(open.oplock)
                || rules::rank(breaking.needed) > rules::rank(breaking.told)
                || breaking.deadline.is_some_and(|deadline| deadline <= model.now)
            {
                return Err(format!("a break that makes no sense: {open:?}"));
            }
        }
        let exclusive = rules::rank(open.oplock) > rules::rank(OplockLevel::II);
        let beside = |other: &&super::Open| {
            other.file() == open.file()
                && other.request() != open.request()
                && other.oplock != OplockLevel::None
        };
        if exclusive && model.opens.iter().any(|other| beside(&other)) {
            return Err(format!("an oplock beside {open:?}"));
        }
        if open.phase != Phase::Live && (open.leased || open.oplock != OplockLevel::None) {
            return Err(format!("granted before it is open: {open:?}"));
        }
    }
    // P9, P10: who waits, waits for another, and that one has a deadline, or a range locked.
    for waiter in &model.waiters {
        match model.outcome(waiter) {
            Outcome::Go if known::WAITS_FOR_KEPT && kept_on(model, waiter.file) => {}
            Outcome::Go => return Err(format!("waits for nothing: {waiter:?}")),
            // Others may have come between, who are not told before something wakes it.
            Outcome::Refuse(_) => {
                let range = matches!(waiter.what, What::Lock { .. });
                if !range && !ends(model, waiter.file) {
                    return Err(format!("nothing will wake {waiter:?}"));
                }
            }
            Outcome::Wait(blockers) => {
                let nobody_spared = matches!(
                    waiter.what,
                    What::Operation { intent: Intent::Replaced | Intent::AncestorMoved, .. }
                );
                let own = waiter.who().lease.map(Blocker::Lease);
                if !nobody_spared && own.is_some_and(|own| blockers.contains(&own)) {
                    return Err(format!("waits for itself: {waiter:?}"));
                }
                let range = blockers.iter().any(|blocker| match blocker {
                    Blocker::Range(owner) => model.open(*owner).is_some_and(|open| open.phase == Phase::Live),
                    Blocker::Operation(_) | Blocker::Store => true,
                    _ => false,
                });
                if !range && !ends(model, waiter.file) {
                    return Err(format!("nothing will wake {waiter:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Whether a break of the file is kept for a client that is away.
fn kept_on(model: &Model, file: FileKey) -> bool {
    let kept = |lease: &super::Lease| lease.breaking.is_some_and(|breaking| breaking.deadline.is_none());
    model.leases.iter().any(|lease| lease.file == file && kept(lease))
}

/// Whether a break of the file has a deadline, behind which everything that waits is looked at again.
fn ends(model: &Model, file: FileKey) -> bool {
    let leases = model.leases.iter().any(|lease| lease.file == file && lease.breaking.is_some());
    leases || model.opens.iter().any(|open| open.file() == file && open.breaking.is_some())
}

/// Everything that can be seen of one step.
pub fn step(before: &Model, after: &Model, event: Option<&Event>, said: &[Said]) -> Result<(), String> {
    for lease in &after.leases {
        let Some(old) = before.lease(lease.key) else { continue };
        // P4: only a grant raises, and it never lowers.
        let raised = !old.state.contains(lease.state);
        let lowered = !lease.state.contains(old.state);
        let grant = matches!(event, Some(Event::Opened { .. }));
        if raised && !grant {
            return Err(format!("raised without a grant: {old:?} to {lease:?}"));
        }
        // P7: one for each notification and each raise; the same notification on another connection does not count.
        let told = said
            .iter()
            .filter(|said| {
                matches!(said, Said::LeaseBreak { conn, body } if body.key == lease.key.1
                && after.conns.get(conn).is_some_and(|conn| conn.client == lease.key.0))
            })
            .count();
        let late =
            old.breaking.and_then(|breaking| breaking.deadline).is_some_and(|deadline| deadline <= after.now);
        // An orphan that is resilient loses what it caches in silence, and so does one that nobody has heard of.
        let silent = after.deserted(lease.key) || before.untold(lease.key);
        if lowered && grant && told == 0 && !late && !silent {
            return Err(format!("lowered by a grant: {old:?} to {lease:?}"));
        }
        let again = usize::from(
            matches!(event, Some(Event::Undelivered { .. })) && told > 0 && old.serial == lease.serial,
        );
        // What follows an acknowledgment that is not enough by now; what breaks behind one that is, breaks anew.
        let followed = match event {
            Some(Event::LeaseAck { ack, .. }) => old.breaking.is_some_and(|breaking| {
                !breaking.needed.contains((ack.state & LeaseState::RWH).normalized())
            }),
            _ => false,
        };
        let same_epoch = usize::from(
            followed
                && told > 0
                && after.config.profile.follow_up_epoch == leasehold::server::FollowUpEpoch::Same,
        );
        let expected = (told - again - same_epoch) + usize::from(raised);
        // The first to come back after a restart has a say in it.
        let back = before.deserted(lease.key) && !after.deserted(lease.key);
        if (old.restored && !lease.restored) || (back && !lease.state.contains(LeaseState::HANDLE)) {
            continue;
        }
        // What counts where nobody is left to be told the model alone says.
        let kept = lease.breaking.is_some_and(|breaking| breaking.deadline.is_none() || breaking.sent.0 == 0);
        if silent && (lowered || kept) && told == 0 {
            continue;
        }
        if usize::from(lease.epoch.get().wrapping_sub(old.epoch.get())) != expected {
            return Err(format!("epoch: {old:?} to {lease:?}, {told} notifications"));
        }
    }
    for said in said {
        if let Said::LeaseBreak { conn, body } = said {
            // P6
            let ack = body.flags.contains(leasehold::wire::BreakFlags::ACK_REQUIRED);
            if ack != body.current.intersects(LeaseState::WRITE | LeaseState::HANDLE) {
                return Err(format!("wrong flags: {body:?}"));
            }
            // P8
            let client = after.conns.get(conn).map(|conn| conn.client);
            let lease = client.and_then(|client| after.lease((client, body.key)));
            if lease.is_some_and(|lease| !lease.second && body.epoch.get() != 0) {
                return Err(format!("an epoch in a notification of version 1: {body:?}"));
            }
        }
    }
    Ok(())
}
