//! What is beside leasehold: what is judged by its own programs, captured octets, recorded conversations and captures of packets;
//! stable stores for the records of its server; and a server and a client of SMB around it.

pub mod explain;
pub mod fs;
pub mod host;
pub mod probe;
pub mod replay;
pub mod serve;
pub mod smb;
pub mod store;
pub mod vectors;
#[path = "../../world/mod.rs"]
pub mod world;
