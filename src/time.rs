//! The driver's clock, as the machines see it.

use core::time::Duration;

/// A point on the driver's monotonic clock: milliseconds since an epoch of the driver's choice.
///
/// The clock must keep counting while the host sleeps (`CLOCK_BOOTTIME` or its like): a suspended laptop has to find
/// its leases expired. Additions saturate; MS-SMB2 knows no unit finer than the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Instant(u64);

impl Instant {
    /// The driver's epoch.
    pub const ZERO: Self = Self(0);

    /// The instant `millis` milliseconds after the driver's epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the driver's epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`, zero if `earlier` is the later one.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `self + duration`, rounded up to a whole millisecond: a deadline may be late, never early (MS-SMB2 3.3.6.2).
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let whole = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up_and_never_wrap() {
        let start = Instant::from_millis(5);
        assert_eq!(start.saturating_add(Duration::from_nanos(1)), Instant::from_millis(6));
        assert_eq!(start.saturating_add(Duration::from_millis(35_000)), Instant::from_millis(35_005));
        assert_eq!(start.saturating_add(Duration::MAX), Instant::from_millis(u64::MAX));
    }

    #[test]
    fn time_that_goes_back_is_no_time() {
        assert_eq!(Instant::from_millis(3).saturating_since(Instant::from_millis(8)), Duration::ZERO);
        assert_eq!(
            Instant::from_millis(8).saturating_since(Instant::from_millis(3)),
            Duration::from_millis(5)
        );
    }
}
