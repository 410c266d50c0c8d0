//! SMB2 over TCP: what a server needs beside leasehold and a file system.

pub mod info;
