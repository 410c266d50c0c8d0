//! The contract of every machine.

use alloc::vec::Vec;

use crate::time::Instant;

/// Events and time in, actions out; nothing else enters, nothing else leaves.
///
/// 1. `now` never goes back. If it does, the machine uses the latest time that it has seen.
/// 2. Actions are carried out in order. Those for different connections may overlap; two for the same connection may not
///    be reordered.
/// 3. Events from one connection arrive in the order in which the peer sent them.
/// 4. [`poll_timeout`](Self::poll_timeout) changes only through the other two calls.
/// 5. The same configuration and the same sequence of times and events give the same actions, on every platform.
/// 6. A call costs no more than the opens and the waiting requests of the file that it touches, or of all files of the session
///    that it ends, or the deadlines that it finds passed; each of these has a limit.
pub trait Machine {
    /// What the machine is told.
    type Event;
    /// What the driver must do.
    type Action;
    /// How a driver can break the contract.
    type Misuse: core::error::Error + Send + Sync + 'static;

    /// Takes one event at `now` and appends, in order, what the driver must do.
    ///
    /// # Errors
    ///
    /// A misuse leaves the machine unchanged and appends nothing. Nothing that a peer sends is one.
    fn handle(
        &mut self,
        now: Instant,
        event: Self::Event,
        actions: &mut Vec<Self::Action>,
    ) -> Result<(), Self::Misuse>;

    /// Lets time pass up to `now`. Harmless when nothing is due.
    fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Self::Action>);

    /// When [`handle_timeout`](Self::handle_timeout) is next due; `None` if nothing is.
    fn poll_timeout(&self) -> Option<Instant>;
}
