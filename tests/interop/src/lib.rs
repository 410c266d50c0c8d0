//! What is judged beside leasehold by its own programs: captured octets and recorded conversations.

pub mod replay;
pub mod vectors;
