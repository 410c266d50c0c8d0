//! SMB2 and SMB3 leases, oplocks and durable handles without I/O: who may cache what, and which handles survive a failure.
//!
//! Every octet of all of it, everything that a server decides, for other protocols on the same files too, and a client that comes back.
//!
//! Events and time go in, actions come out. There is no socket, thread, clock or random number in here, so any runtime can
//! drive it, every run can be replayed, and the same input gives the same output on every machine.
//!
//! * [`wire`]: byte-exact codecs of the create contexts and break messages of MS-SMB2. No allocation, no panic.
//! * [`server`]: leases, oplocks, share modes, byte-range locks and directories: who is granted what, what breaks, what waits.
//! * [`protocols`]: what NFS, NLM, NFSv4 and local processes meet at the same manager, and SMB of theirs; a table.
//! * [`persist`]: records of what must outlive the server or the client, and the changes that a store carries out.
//! * [`client`]: tells a cache what it may do, answers breaks when the cache is ready, keeps handles, and has them back after a loss.
//!
//! # A driver
//!
//! Every machine has three calls; [`Machine`] is their contract.
//!
//! ```
//! use std::collections::VecDeque;
//! use std::sync::mpsc::{Receiver, RecvTimeoutError};
//! use leasehold::{Instant, Machine};
//!
//! /// `perform` may answer at once: what it puts into the queue is told when the whole batch is carried out.
//! fn drive<M: Machine>(
//!     mut machine: M,
//!     inbox: Receiver<M::Event>,
//!     mut perform: impl FnMut(M::Action, &mut VecDeque<M::Event>),
//! ) -> Result<(), M::Misuse> {
//!     let epoch = std::time::Instant::now();
//!     let now = || Instant::from_millis(epoch.elapsed().as_millis() as u64);
//!     let (mut actions, mut answers) = (Vec::new(), VecDeque::new());
//!     loop {
//!         let wait = machine.poll_timeout().map(|due| due.saturating_since(now()));
//!         let received = match (answers.pop_front(), wait) {
//!             (Some(event), _) => Ok(event),
//!             // First of all: an inbox that is never empty must not keep a deadline waiting.
//!             (None, Some(wait)) if wait.is_zero() => Err(RecvTimeoutError::Timeout),
//!             (None, Some(wait)) => inbox.recv_timeout(wait),
//!             (None, None) => inbox.recv().map_err(RecvTimeoutError::from),
//!         };
//!         match received {
//!             Ok(event) => machine.handle(now(), event, &mut actions)?,
//!             Err(RecvTimeoutError::Timeout) => machine.handle_timeout(now(), &mut actions),
//!             Err(RecvTimeoutError::Disconnected) => return Ok(()),
//!         }
//!         actions.drain(..).for_each(|action| perform(action, &mut answers));
//!     }
//! }
//! ```
//!
//! A client's driver closes a connection that it has given up before it sets up the next session: a server may send its breaks there.
//!
//! A real clock has to go on while the host sleeps, which this one need not: a suspended laptop must find its leases expired.
//! On Linux that is CLOCK_BOOTTIME.
//!
//! # Where things are
//!
//! | file | what | MS-SMB2 |
//! |---|---|---|
//! | `wire/context.rs` | the chain of create contexts | 2.2.13.2, 2.2.14.2 |
//! | `wire/lease.rs` | RqLs, version 1 and 2 | 2.2.13.2.8, 2.2.13.2.10, 2.2.14.2.10, 2.2.14.2.11 |
//! | `wire/durable.rs` | DHnQ, DHnC, DH2Q, DH2C, resiliency | 2.2.13.2.3, .4, .11, .12, 2.2.31.3 |
//! | `wire/instance.rs` | AppInstanceId, AppInstanceVersion | 2.2.13.2.13, .15 |
//! | `wire/breaks.rs` | break notifications, acknowledgments, responses | 2.2.23, 2.2.24, 2.2.25 |
//! | `wire/header.rs`, `wire/create.rs` | a convenience: header, CREATE | 2.2.1, 2.2.13, 2.2.14 |
//! | `locks/rules.rs` | what breaks what, a row an operation | 3.3.1.4, MS-FSA 2.1.4.12 |
//! | `locks/share.rs` | which opens exclude each other | MS-FSA 2.1.5.1.2.2 |
//! | `locks/mod.rs` | the arbiter: an operation against all holders of a file | 3.3.1.4 |
//! | `locks/range.rs`, `locks/tree.rs` | byte-range locks of a file | 3.3.5.14, MS-FSA 2.1.4.10 |
//! | `locks/posix.rs` | the same as POSIX has them | RFC 8881 18.10 |
//! | `locks/waits.rs` | who waits for whom: deadlocks | RFC 8881 18.10.4 |
//! | `server/registry.rs` | clients, connections, lease keys; `registry/guids.rs`: CreateGuids | 3.3.1.11, 3.3.5.9.8, 3.3.7.1 |
//! | `server/shard.rs` | requests: judged, waiting, running | 3.3.4.2, 3.3.5.9, 3.3.5.16 |
//! | `server/judging.rs` | who acts, what stands in the way | 3.3.5.9, MS-FSA 2.1.5.1.2 |
//! | `server/operations.rs` | what runs between `Proceed` and `Done`, and what follows from it | MS-FSA 2.1.5.3 to 2.1.5.15 |
//! | `server/ranges.rs` | LOCK | 3.3.5.14 |
//! | `server/waiting.rs` | locks that wait, of all protocols; those of owners | 3.3.5.14.2, RFC 8881 18.10 |
//! | `server/line.rs` | who is in the way of a lock, behind whom it stands | RFC 8881 18.10.4 |
//! | `server/owners.rs`, `server/delegations.rs` | what others than SMB hold: reservations, delegations | RFC 8881 9.7, 10.4 |
//! | `server/holders.rs`, `server/conflicts.rs` | who holds what, who met what | |
//! | `server/opens.rs` | opens: reserved, closed, swept away | 3.3.1.10, 3.3.5.10, 3.3.4.17 |
//! | `server/granting.rs` | what an open may cache | 3.3.5.9.8, 3.3.5.9.11, MS-FSA 2.1.5.18 |
//! | `server/lease.rs`, `server/oplock.rs` | one lease, one oplock: acknowledgments, epochs | 3.3.1.12, 3.3.5.22 |
//! | `server/hold.rs` | what either holds, was told, and has to come down to | 3.3.4.6, 3.3.4.7 |
//! | `server/durable.rs`, `server/reconnect.rs` | handles that survive their connection | 3.3.5.9.6, .7, .10, .12, 3.3.7.1 |
//! | `server/journal.rs`, `server/restore.rs` | opens that outlive the server: what is stored, who waits for that, the restart | 3.3.1.10, 3.3.5.9 |
//! | `persist/` | records of such opens, and the changes of a store | 3.3.1.10 |
//! | `server/breaking.rs` | breaks in flight, deadlines | 3.3.4.6, 3.3.4.7, 3.3.2.1, 3.3.2.5, 3.3.6 |
//! | `server/profile.rs` | where deployed servers differ | |
//! | `persist/record.rs`, `persist/client.rs` | records of persistent opens, and of a client's, as octets | 3.3.1.10, 3.2.1.4 |
//! | `persist/seal.rs` | the same, encrypted and authenticated | |
//! | `client/creating.rs`, `client/opening.rs` | opens and closes at the client | 3.2.4.3, 3.2.5.7 |
//! | `client/asking.rs`, `client/policy.rs` | which lease or oplock to ask for | 3.2.4.3, 3.2.4.3.8 |
//! | `client/grant.rs` | what a response does to a lease that is held | 3.2.5.7.4, 3.2.5.7.5 |
//! | `client/file.rs`, `client/open.rs`, `client/level.rs` | a name with its lease, an open with its oplock | 3.2.1.5, 3.2.1.6 |
//! | `client/breaking.rs`, `client/descent.rs` | breaks, the way down from them, acknowledgments | 3.2.5.19 |
//! | `client/kept.rs` | handles that H keeps open, and who takes them up | 3.2.4.5 |
//! | `client/durability.rs` | what lets an open outlive its connection | 3.2.4.3.5, 3.2.5.7 |
//! | `client/losing.rs`, `client/away.rs` | connections and sessions that are lost | 3.2.7.1 |
//! | `client/returning.rs`, `client/retry.rs` | opens that are asked for again, and what follows from each answer | 3.2.4.4, 3.2.5.8 |
//! | `client/records.rs` | opens that outlive the client: what is stored, the restart | 3.2.1.4, 3.2.4.4 |
//! | `client/buckets.rs` | numbers for LOCK requests | 3.2.4.19 |
//! | `store/` | tables, lists and timers, which know nothing of SMB | |
//!
//! # Features
//!
//! * `alloc` (default): the machines. Without it: types and codecs, for targets without a heap.
//! * `arbitrary`: `arbitrary::Arbitrary` for events and wire values, for fuzzing. Needs `std`.
//! * `seal`: records sealed with AES-256-GCM, for stores that others can read or write.

#![no_std]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that goes wrong should stop"
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "arbitrary"))]
extern crate std;

#[cfg(feature = "alloc")]
pub mod client;
#[cfg(feature = "alloc")]
mod limits;
#[cfg(feature = "alloc")]
mod locks;
#[cfg(feature = "alloc")]
mod machine;
#[cfg(feature = "alloc")]
pub mod persist;
#[cfg(feature = "alloc")]
pub mod protocols;
#[cfg(feature = "alloc")]
pub mod server;
mod state;
#[cfg(feature = "alloc")]
mod stats;
mod status;
#[cfg(feature = "alloc")]
mod store;
mod time;
mod types;
pub mod wire;

#[cfg(feature = "alloc")]
pub use limits::Limits;
#[cfg(feature = "alloc")]
pub use locks::{Actor, Intent, Locker};
#[cfg(feature = "alloc")]
pub use machine::Machine;
pub use state::{
    Access, CreateAction, CreateOptions, Dialect, Disposition, LeaseState, OplockLevel, ShareMode,
    UndefinedLevel,
};
#[cfg(feature = "alloc")]
pub use stats::{Conflicts, Stats};
pub use status::Status;
#[cfg(feature = "alloc")]
pub use store::hash::HashKey;
pub use time::Instant;
pub use types::{
    ClientGuid, ConnId, CreateGuid, Epoch, FileId, FileKey, LeaseKey, OwnerId, Protocol, RequestId,
    SessionId, TreeId, UserId,
};

/// The README is code too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
