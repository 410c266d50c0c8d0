//! What is judged beside leasehold by its own programs: captured octets and recorded conversations; and stable stores for the
//! records of its server.

pub mod fs;
pub mod host;
pub mod replay;
pub mod serve;
pub mod smb;
pub mod store;
pub mod vectors;
