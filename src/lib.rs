//! placeholder
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
mod limits;
#[cfg(feature = "alloc")]
mod locks;
#[cfg(feature = "alloc")]
mod machine;
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
pub use locks::{Actor, Intent};
#[cfg(feature = "alloc")]
pub use machine::Machine;
pub use state::*;
#[cfg(feature = "alloc")]
pub use stats::Stats;
pub use status::*;
pub use time::*;
pub use types::*;
