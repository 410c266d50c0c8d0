//! What a server owes to clients of every kind.

mod client;
mod compounds;
mod limits;
mod sessions;
