//! What the drivers in these examples have in common: a server of one file and a client with a cache of one page, each around its
//! machine. No thread, no task, no socket, no clock: those are the driver's.

#![allow(dead_code, reason = "each example uses its part")]

pub(crate) mod application;
pub(crate) mod client;
pub(crate) mod message;
pub(crate) mod server;
pub(crate) mod store;

use std::collections::VecDeque;
use std::error::Error;

use leasehold::server::{Capabilities, ShareFlags, Terms};
use leasehold::{Dialect, Machine};

/// What goes wrong in an example ends it.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) const DIALECT: Dialect = Dialect::Smb311;

/// What NEGOTIATE would agree on, with a server of such a share.
pub(crate) const fn terms(share: ShareFlags) -> Terms {
    let persistent = share.contains(ShareFlags::CONTINUOUSLY_AVAILABLE);
    let more = if persistent { Capabilities::PERSISTENT_HANDLES } else { Capabilities::empty() };
    Terms::new(DIALECT, Capabilities::LEASING.union(more))
}

/// What stands around a machine: data, and who asked for what.
pub(crate) trait Host: Sized {
    type Machine: Machine<Event = Self::Event, Action = Self::Action, Misuse = Self::Misuse>;
    type Event;
    type Action;
    type Misuse: Error + Send + Sync + 'static;
    /// What arrives from outside: connections, messages, what an application asks for.
    type Input;
    /// What leaves: messages, answers to an application.
    type Output;

    /// Makes events of what has arrived.
    fn receive(&mut self, input: Self::Input, todo: &mut Todo<Self>) -> Outcome;

    /// Carries an action out.
    fn perform(&mut self, action: Self::Action, todo: &mut Todo<Self>) -> Outcome;
}

/// What follows from an input or an action.
pub(crate) struct Todo<H: Host> {
    /// For the machine, behind the actions that are being carried out.
    pub(crate) events: VecDeque<H::Event>,
    /// For the driver, in this order.
    pub(crate) output: VecDeque<H::Output>,
}

impl<H: Host> Default for Todo<H> {
    fn default() -> Self {
        Self { events: VecDeque::new(), output: VecDeque::new() }
    }
}

/// The title of an act.
pub(crate) fn act(title: &str) {
    println!("\n== {title}");
}

/// A line of the story: it holds, or the example fails.
pub(crate) fn check(holds: bool, what: &str) -> Outcome {
    if holds {
        println!("           ok: {what}");
        Ok(())
    } else {
        Err(format!("does not hold: {what}").into())
    }
}
