//! What the answer to a CREATE does to a lease that is held already (MS-SMB2 3.2.5.7.5).

use super::file::{Answer, File, Version};
use crate::state::LeaseState;
use crate::wire::{Lease, LeaseFlags, LeaseV2};

/// Takes in what a CREATE response says about the lease (MS-SMB2 3.2.5.7.4, 3.2.5.7.5).
pub(super) fn apply(file: &mut File, lease: &Lease) {
    // What was told and is not answered is not held, whatever a response says.
    let ceiling = match file.descent.answer {
        Answer::None => LeaseState::RWH,
        Answer::Due { told } => told,
    };
    let returned = lease.state().intersection(ceiling).normalized();
    let breaking = lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS);
    match *lease {
        Lease::V1(_) => {
            file.version = Version::V1;
            // The state of a breaking lease is what it was: the notification says what survives.
            if !breaking {
                file.lower(returned);
                file.state = returned;
            }
        }
        Lease::V2(LeaseV2 { epoch, .. }) => {
            file.version = Version::V2;
            let steps = epoch.since(file.epoch);
            let returned = if breaking { returned.intersection(file.state) } else { returned };
            match outcome(file.state, returned, steps) {
                Outcome::Nothing => {}
                Outcome::Upgrade => file.state = returned,
                Outcome::UpgradeAndPurge => {
                    file.void();
                    file.state = returned;
                }
                Outcome::Purge | Outcome::Invalid => {
                    file.void();
                    file.lower(returned);
                }
            }
            if steps.is_some() {
                file.epoch = epoch;
            }
        }
    }
    // The CREATE has overtaken the CLOSE that was the answer, and is the lease's last open now: the break waits for another answer.
    if breaking && file.state.is_empty() && file.descent.answer == Answer::None {
        file.answer_due(LeaseState::NONE);
    }
}

/// What to make of the state in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Nothing,
    /// Take the state; the cache is good.
    Upgrade,
    /// Drop the cache, then take the state: a break and a new grant went by unseen.
    UpgradeAndPurge,
    /// Drop the cache; the state is the lower one.
    Purge,
    /// The response is out of date or makes no sense: never raise, drop the cache.
    Invalid,
}

/// `steps` says by how much the response's epoch is newer; `None` if it is older.
///
/// One promotion costs one step. A larger distance means that the lease was broken and granted again, so cached data may be
/// stale.
pub(super) fn outcome(held: LeaseState, returned: LeaseState, steps: Option<u16>) -> Outcome {
    use Outcome::{Invalid, Nothing, Purge, Upgrade, UpgradeAndPurge};
    let Some(steps) = steps else { return Invalid };
    let raised = returned.contains(held) && returned != held;
    if held == returned {
        return match (steps, held.contains(LeaseState::WRITE), held.is_empty()) {
            (0, ..) | (.., true) => Nothing,
            // W was taken and nobody has said so as yet: the notification is overtaken, or the peer is confused.
            (_, true, _) => Invalid,
            (_, false, _) => Purge,
        };
    }
    if held == LeaseState::R && returned.is_empty() {
        return if steps > 0 { Purge } else { Invalid };
    }
    match (raised, steps) {
        (false, _) | (_, 0) => Invalid,
        (true, _) if held.is_empty() => Upgrade,
        (true, 1) => Upgrade,
        (true, _) if held.contains(LeaseState::WRITE) => Invalid,
        (true, _) => UpgradeAndPurge,
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{self, Invalid, Nothing, Purge, Upgrade, UpgradeAndPurge};
    use super::*;

    const NONE: LeaseState = LeaseState::NONE;
    const R: LeaseState = LeaseState::R;
    const RH: LeaseState = LeaseState::RH;
    const RW: LeaseState = LeaseState::RW;
    const RWH: LeaseState = LeaseState::RWH;

    /// MS-SMB2 3.2.5.7.5, row by row: held, returned, and what follows for a distance of 0, 1 and more. The rows and the
    /// column of RW are not in the text; they follow from those beside them.
    const TABLE: [(LeaseState, LeaseState, [Outcome; 3]); 24] = [
        (NONE, R, [Invalid, Upgrade, Upgrade]),
        (NONE, RH, [Invalid, Upgrade, Upgrade]),
        (NONE, RW, [Invalid, Upgrade, Upgrade]),
        (NONE, RWH, [Invalid, Upgrade, Upgrade]),
        (R, R, [Nothing, Purge, Purge]),
        (R, RH, [Invalid, Upgrade, UpgradeAndPurge]),
        (R, RW, [Invalid, Upgrade, UpgradeAndPurge]),
        (R, RWH, [Invalid, Upgrade, UpgradeAndPurge]),
        (R, NONE, [Invalid, Purge, Purge]),
        (RH, R, [Invalid, Invalid, Invalid]),
        (RH, RH, [Nothing, Purge, Purge]),
        (RH, RW, [Invalid, Invalid, Invalid]),
        (RH, RWH, [Invalid, Upgrade, UpgradeAndPurge]),
        (RH, NONE, [Invalid, Invalid, Invalid]),
        (RW, R, [Invalid, Invalid, Invalid]),
        (RW, RH, [Invalid, Invalid, Invalid]),
        (RW, RW, [Nothing, Invalid, Invalid]),
        (RW, RWH, [Invalid, Upgrade, Invalid]),
        (RWH, R, [Invalid, Invalid, Invalid]),
        (RWH, RH, [Invalid, Invalid, Invalid]),
        (RWH, RW, [Invalid, Invalid, Invalid]),
        (RWH, RWH, [Nothing, Invalid, Invalid]),
        (RWH, NONE, [Invalid, Invalid, Invalid]),
        (NONE, NONE, [Nothing, Nothing, Nothing]),
    ];

    #[test]
    fn every_pair_of_states_has_its_outcome() {
        for (held, returned, by_steps) in TABLE {
            for (steps, expected) in [0, 1, 2].into_iter().zip(by_steps) {
                assert_eq!(
                    outcome(held, returned, Some(steps)),
                    expected,
                    "MS-SMB2 3.2.5.7.5: {held} held, {returned} returned, {steps} steps"
                );
            }
            assert_eq!(
                outcome(held, returned, None),
                Invalid,
                "an older epoch, {held} held, {returned} returned"
            );
        }
    }
}
