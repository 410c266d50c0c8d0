//! How a node knows, by its own clock alone, that nobody else serves from its store yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The right to serve, until a moment that is put off again and again. Once it has passed it is gone for good.
///
/// It is asked before anything is granted, and again right before an answer is written: the thread may have been stopped between
/// the two for longer than it owned anything.
#[derive(Clone, Debug)]
pub struct Ownership(Arc<AtomicU64>);

impl Ownership {
    /// Of a store that is locked as long as the process lives.
    pub fn forever() -> Self {
        Self::until(Moment::MAX)
    }

    /// Until then.
    pub fn until(moment: u64) -> Self {
        Self(Arc::new(AtomicU64::new(moment)))
    }

    /// Puts the end off, if it has not come.
    pub fn extend(&self, moment: u64) {
        let now = now();
        let later = |end| (now < end).then_some(moment.max(end));
        // An end that has come stays.
        let _ = self.0.fetch_update(SeqCst, SeqCst, later);
    }

    /// Ends it.
    pub fn end(&self) {
        self.0.store(0, SeqCst);
    }

    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        now() < self.0.load(SeqCst)
    }

    /// How long it lasts, unless it is extended.
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.0.load(SeqCst).saturating_sub(now()))
    }
}

/// A point on the clock of [`now`].
type Moment = u64;

/// Milliseconds of a clock that goes on while the host sleeps, as a machine's has to.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    seconds.saturating_mul(1000).saturating_add(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_cannot_be_extended() {
        let ownership = Ownership::until(now() + 60_000);
        assert!(ownership.lasts());
        ownership.extend(now() + 90_000);
        assert!(ownership.left() > Duration::from_secs(60));
        ownership.end();
        ownership.extend(now() + 90_000);
        assert!(!ownership.lasts());
        assert_eq!(ownership.left(), Duration::ZERO);
    }
}
