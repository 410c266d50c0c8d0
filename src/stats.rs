//! What a machine has done, in numbers.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters and gauges of a server. Those of several shards are added up with [`Stats::sum`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Both together.
            #[must_use]
            pub const fn sum(self, other: Self) -> Self {
                Self { $($name: self.$name.saturating_add(other.$name),)* }
            }
        }
    };
}

counters! {
    /// CREATEs that were granted.
    granted,
    /// Requests of any kind that were refused.
    refused,
    /// Leases that were granted anew, with any state but none.
    leases_granted,
    /// Leases that were raised by a further CREATE.
    leases_raised,
    /// Oplocks that were granted, of any level but NONE.
    oplocks_granted,
    /// Notifications that were given out, follow-ups among them.
    breaks_sent,
    /// Notifications that were acknowledged.
    breaks_acknowledged,
    /// Notifications whose deadline passed.
    breaks_timed_out,
    /// Notifications that no connection of the client could carry.
    breaks_undeliverable,
    /// Acknowledgments that were answered with an error.
    acknowledgments_refused,
    /// Requests that had to wait.
    waited,
    /// Broken invariants of this crate: each ended in the cautious outcome. Zero, or send us the journal.
    anomalies,
    /// Gauge: opens.
    opens,
    /// Gauge: leases.
    leases,
    /// Gauge: leases that are breaking.
    breaking,
    /// Gauge: requests that wait.
    waiters,
    /// Gauge: byte-range locks.
    locks,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
