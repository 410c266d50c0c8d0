//! What is judged beside leasehold by its own programs: captured octets and recorded conversations; and stable stores for the
//! records of its server; and what a server of files is made of.

pub mod fs;
pub mod replay;
pub mod smb;
pub mod store;
pub mod vectors;
