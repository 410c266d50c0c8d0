//! What a machine has done, in numbers.

use core::time::Duration;

use crate::types::Protocol;

/// How many protocols there are.
const PROTOCOLS: usize = 5;

/// How often a request of one protocol met what another holds: a cache that had to come down, a lock that it waits for, a share mode that
/// refused it. Each request counts once for each protocol that it met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conflicts([[u64; PROTOCOLS]; PROTOCOLS]);

impl Conflicts {
    /// Requests of `actor` that met what `holder` holds.
    pub fn of(&self, actor: Protocol, holder: Protocol) -> u64 {
        self.0.get(at(actor)).and_then(|row| row.get(at(holder))).copied().unwrap_or(0)
    }

    pub(crate) fn count(&mut self, actor: Protocol, holder: Protocol) {
        if let Some(counter) = self.0.get_mut(at(actor)).and_then(|row| row.get_mut(at(holder))) {
            count(counter);
        }
    }

    fn sum(mut self, other: &Self) -> Self {
        for (row, more) in self.0.iter_mut().zip(other.0) {
            for (counter, more) in row.iter_mut().zip(more) {
                *counter = counter.saturating_add(more);
            }
        }
        self
    }
}

const fn at(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Smb => 0,
        Protocol::Nfs3 => 1,
        Protocol::Nlm => 2,
        Protocol::Nfs4 => 3,
        Protocol::Local => 4,
    }
}

/// How many classes of latency are told apart: below 1 ms, 2 ms, 4 ms, and so on to 16 s, and the rest.
const LATENCIES: usize = 16;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters and gauges of a server. Those of several shards are added up with [`Stats::sum`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// How long clients took to acknowledge: below 1 ms, 2 ms, 4 ms and so on, and all others in the last.
            pub acknowledgment_latency: [u64; LATENCIES],
            /// Which protocol met what of which.
            pub conflicts: Conflicts,
        }

        impl Stats {
            /// Both together.
            #[must_use]
            pub fn sum(self, other: Self) -> Self {
                let mut acknowledgment_latency = self.acknowledgment_latency;
                for (bucket, more) in acknowledgment_latency.iter_mut().zip(other.acknowledgment_latency) {
                    *bucket = bucket.saturating_add(more);
                }
                let conflicts = self.conflicts.sum(&other.conflicts);
                Self { $($name: self.$name.saturating_add(other.$name),)* acknowledgment_latency, conflicts }
            }
        }
    };
}

counters! {
    /// CREATEs that were granted.
    granted,
    /// Opens that were given back to their clients.
    reconnected,
    /// CREATEs that were answered as before.
    replayed,
    /// Opens that were kept when they lost their session.
    orphaned,
    /// Opens without a session whose time passed.
    orphans_expired,
    /// Leases and oplocks that nobody could be told to break: their opens without a session were closed.
    orphans_purged,
    /// Persistent opens that were restored after a restart.
    restored,
    /// Locks of a record that another record contradicts, and that were left out.
    restored_in_part,
    /// Changes that could not be stored.
    persists_failed,
    /// Requests of any kind that were refused.
    refused,
    /// Leases that were granted anew, with any state but none.
    leases_granted,
    /// Leases that were raised by a further CREATE.
    leases_raised,
    /// Oplocks that were granted, of any level but NONE.
    oplocks_granted,
    /// Lease Break Notifications that were given out, follow-ups among them.
    lease_breaks_sent,
    /// Oplock Break Notifications that were given out, follow-ups among them.
    oplock_breaks_sent,
    /// Requests that were refused with STATUS_SHARING_VIOLATION.
    sharing_violations,
    /// Notifications that were acknowledged.
    breaks_acknowledged,
    /// Notifications whose deadline passed.
    breaks_timed_out,
    /// Notifications that no connection of the client could carry.
    breaks_undeliverable,
    /// Breaks of persistent opens without a connection, which are kept until their clients are back.
    breaks_kept,
    /// Acknowledgments that were answered with an error.
    acknowledgments_refused,
    /// Requests that had to wait.
    waited,
    /// Delegations that were given.
    delegations_granted,
    /// Delegations that were recalled.
    recalls_sent,
    /// Delegations that were not returned in time.
    delegations_revoked,
    /// Locks that were refused with STATUS_POSSIBLE_DEADLOCK.
    deadlocks,
    /// Broken invariants of this crate: each ended in the cautious outcome. Zero, or send us the journal.
    anomalies,
    /// Gauge: opens.
    opens,
    /// Gauge: leases.
    leases,
    /// Gauge: leases and oplocks that are breaking.
    breaking,
    /// Gauge: opens without a session.
    orphans,
    /// Gauge: requests that wait.
    waiters,
    /// Gauge: byte-range locks, of all protocols.
    locks,
    /// Gauge: owners of other protocols on files.
    owners,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Adds one to the class of a latency.
pub(crate) fn count_latency(classes: &mut [u64; LATENCIES], latency: Duration) {
    let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let class = usize::try_from(u64::BITS.saturating_sub(millis.leading_zeros())).unwrap_or(LATENCIES);
    if let Some(class) = classes.get_mut(class.min(LATENCIES.saturating_sub(1))) {
        count(class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_classes_that_double() {
        for (millis, class) in
            [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (16_383, 14), (16_384, 15), (35_000, 15)]
        {
            let mut classes = [0; LATENCIES];
            count_latency(&mut classes, Duration::from_millis(millis));
            let found: std::vec::Vec<_> = (0..LATENCIES).filter(|class| classes[*class] == 1).collect();
            assert_eq!(found, [class], "{millis} ms");
        }
    }

    #[test]
    fn shards_add_up() {
        let one = Stats { opens: 2, acknowledgment_latency: [1; LATENCIES], ..Stats::default() };
        let sum = one.sum(Stats { opens: 3, anomalies: 1, ..one });
        assert_eq!((sum.opens, sum.anomalies, sum.acknowledgment_latency), (5, 1, [2; LATENCIES]));
    }
}
