//! What a server and a client of SMB2/3 need around leasehold.

pub mod ntlm;
pub mod signing;
pub mod spnego;
