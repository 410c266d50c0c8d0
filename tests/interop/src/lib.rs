//! What is judged beside leasehold by its own programs: captured octets, recorded conversations, captures of packets; and
//! stable stores for the records of its server.

pub mod explain;
pub mod replay;
pub mod smb;
pub mod store;
pub mod vectors;
