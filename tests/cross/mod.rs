//! One lock manager for every protocol, once more: a small world of files, SMB opens with leases, owners of other protocols with locks,
//! reservations and delegations, in the simplest terms, held against the machine event by event. It was written from the table of
//! `src/protocols.rs` and the texts that it names, and shares no code with the machine.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "shared by several crates that each use a part; a law that is broken should stop"
)]

mod choices;
mod compare;
mod ends;
mod grants;
pub mod interleave;
mod judge;
mod laws;
pub mod messages;
mod model;
mod play;
mod requests;
pub mod steps;
pub mod world;
