//! What the answer to a reconnect means, and when it is tried again (MS-SMB2 3.2.4.4, 3.2.5.8).

use core::time::Duration;

use crate::status::Status;

/// When an open that could not be re-established is tried again.
///
/// Persistent and resilient opens are tried until their time is over; the others, `attempts` times. The first `immediate` tries
/// after the first go out at once, as Windows has it (MS-SMB2 <180>); then `first` passes before the next, `factor` times
/// as much before the one after that, and so on up to `ceiling`. To each delay comes a part of up to `jitter` percent, which follows
/// from `seed` and the open: the same seed gives the same delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// How often an open that is merely durable is tried (<206>).
    pub attempts: u32,
    /// How many of the later tries do not wait.
    pub immediate: u32,
    /// The first delay.
    pub first: Duration,
    /// By how much a delay grows.
    pub factor: u32,
    /// The longest delay, jitter not counted.
    pub ceiling: Duration,
    /// Percent.
    pub jitter: u32,
    /// For the jitter.
    pub seed: u64,
}

impl Retry {
    /// As Windows: three tries at once, then one every five seconds. No jitter.
    pub const WINDOWS: Self = Self {
        attempts: 3,
        immediate: 3,
        first: Duration::from_secs(5),
        factor: 1,
        ceiling: Duration::from_secs(5),
        jitter: 0,
        seed: 0,
    };

    /// With another number of tries for what is merely durable.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// With other delays: so many at once, then from `first` on `factor` times as long each, up to `ceiling`.
    #[must_use]
    pub const fn growing(mut self, immediate: u32, first: Duration, factor: u32, ceiling: Duration) -> Self {
        (self.immediate, self.first, self.factor, self.ceiling) = (immediate, first, factor, ceiling);
        self
    }

    /// With a jitter of so many percent, which follows from `seed`: another one for each client, so that they do not come back all
    /// at once.
    #[must_use]
    pub const fn jitter(mut self, percent: u32, seed: u64) -> Self {
        (self.jitter, self.seed) = (percent, seed);
        self
    }

    /// The delay before the try with this number, the first being 0, of the open with this serial number.
    pub(super) fn delay(&self, number: u32, serial: u64) -> Duration {
        let Some(waits) = number.checked_sub(self.immediate.saturating_add(1)) else { return Duration::ZERO };
        self.wait(waits, number, serial)
    }

    /// The delay number `waits`, whatever goes out at once.
    pub(super) fn wait(&self, waits: u32, number: u32, serial: u64) -> Duration {
        let grown = self.first.saturating_mul(self.factor.max(1).saturating_pow(waits));
        let delay = grown.min(self.ceiling);
        let part = u32::try_from(mix(self.seed, serial, number) % 101).unwrap_or(0);
        let jitter = delay.saturating_mul(self.jitter.min(100)).saturating_mul(part);
        delay.saturating_add(jitter.checked_div(100 * 100).unwrap_or_default())
    }
}

/// Spreads three numbers over 64 bits (the finisher of SplitMix64).
fn mix(seed: u64, serial: u64, number: u32) -> u64 {
    let mut value = seed ^ serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number).rotate_left(32);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// What is to be made anew before an open can be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Renewal {
    /// The session stays; its user authenticates again (STATUS_NETWORK_SESSION_EXPIRED).
    Reauthenticate,
    /// Another session in place of this one, which SESSION_SETUP names as PreviousSessionId, and the tree connects: the server holds an
    /// open under this one that nobody knows any more.
    Replace,
    /// A session if the old one is gone, and the tree connects (STATUS_USER_SESSION_DELETED, STATUS_NETWORK_NAME_DELETED).
    SetUp,
}

/// What follows from a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The open is gone.
    Lost,
    /// The open is gone, unless its former session may still have it: then once more.
    LostUnlessHeld,
    /// Once more, by the rules of [`Retry`].
    Retry,
    /// Once more, when that is done.
    Renew(Renewal),
}

/// MS-SMB2 3.2.5.8, row by row. What is not here is no case of a reconnect: the open is lost.
const ANSWERS: [(Status, Outcome); 13] = [
    // 3.3.5.9.7, 3.3.5.9.12: purged, timed out, still connected, or another's.
    (Status::OBJECT_NAME_NOT_FOUND, Outcome::LostUnlessHeld),
    // 3.3.5.9.7: renamed; 3.3.5.9.12: not persistent.
    (Status::INVALID_PARAMETER, Outcome::Lost),
    // 3.3.5.9.7: another user.
    (Status::ACCESS_DENIED, Outcome::Lost),
    // <180>: on its way from one node to another.
    (Status::FILE_NOT_AVAILABLE, Outcome::Retry),
    (Status::SERVER_UNAVAILABLE, Outcome::Retry),
    (Status::SHARE_UNAVAILABLE, Outcome::Retry),
    // 3.2.7.1 <206>: the network.
    (Status::CONNECTION_DISCONNECTED, Outcome::Retry),
    // Choice: not in the text; a limit that is reached now may not be a little later.
    (Status::INSUFFICIENT_RESOURCES, Outcome::Retry),
    // The session is there, its user is not.
    (Status::NETWORK_SESSION_EXPIRED, Outcome::Renew(Renewal::Reauthenticate)),
    // 3.2.4.4, steps 1 and 2.
    (Status::USER_SESSION_DELETED, Outcome::Renew(Renewal::SetUp)),
    (Status::NETWORK_NAME_DELETED, Outcome::Renew(Renewal::SetUp)),
    // 3.3.5.9.10: an answer to DH2Q, which a reconnect has not.
    (Status::DUPLICATE_OBJECTID, Outcome::Lost),
    // 3.3.5.9: an answer to an ordinary CREATE.
    (Status::SHARING_VIOLATION, Outcome::Lost),
];

pub(super) fn outcome(status: Status) -> Outcome {
    ANSWERS.into_iter().find(|(known, _)| *known == status).map_or(Outcome::Lost, |(_, outcome)| outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_ceiling() {
        let retry = Retry {
            first: Duration::from_secs(1),
            factor: 2,
            ceiling: Duration::from_secs(5),
            ..Retry::WINDOWS
        };
        let delays: std::vec::Vec<_> = (0..9).map(|number| retry.delay(number, 7).as_secs()).collect();
        assert_eq!(delays, [0, 0, 0, 0, 1, 2, 4, 5, 5]);
    }

    #[test]
    fn jitter_follows_from_the_seed_and_stays_within_its_part() {
        let retry = |seed| Retry { jitter: 20, seed, ..Retry::WINDOWS };
        let all = |seed| (0..100).map(|serial| retry(seed).delay(4, serial)).collect::<std::vec::Vec<_>>();
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(1).into_iter().all(|delay| (5_000..=6_000).contains(&delay.as_millis())));
    }
}
