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

mod state;
mod status;
mod time;
mod types;
pub mod wire;

pub use state::*;
pub use status::*;
pub use time::*;
pub use types::*;
