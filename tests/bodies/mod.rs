//! Fuzz bodies: ordinary functions over octets that panic when a law is broken.
//!
//! A test file includes them with `mod bodies;`, a fuzz target with
//! `#[path = "../../tests/bodies/mod.rs"] mod bodies;`, so both run the same code. One file per subject.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "shared by many crates that each use a part; a law that is broken should stop"
)]

pub mod client;
pub mod record;
pub mod server;
pub mod sheet;
pub mod wire;
