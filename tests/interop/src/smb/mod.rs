//! SMB2 and SMB3 around the crate: framing, messages, sessions. What concerns leases, oplocks and durable handles is the
//! crate's own codec; what is here is the rest that a server and a client need to talk at all.
//!
//! | file | what | specification |
//! |---|---|---|
//! | `client.rs` | a blocking client | MS-SMB2 3.2 |
//! | `frame.rs` | messages in a stream of octets | MS-SMB2 2.1 |
//! | `request.rs` | the bodies of all requests | MS-SMB2 2.2 |
//! | `response.rs` | the bodies of all responses | MS-SMB2 2.2 |
//! | `negotiate.rs` | dialects, capabilities, negotiate contexts | MS-SMB2 2.2.3, 2.2.4 |
//! | `info.rs` | what QUERY_INFO, SET_INFO and QUERY_DIRECTORY carry | MS-FSCC 2.4, 2.5 |
//! | `signing.rs` | signatures, and the keys for them | MS-SMB2 3.1.4 |
//! | `spnego.rs`, `ntlm.rs` | who signs in | RFC 4178, MS-NLMP |
//! | `hostile.rs` | octets that are no messages, for fuzzing | |

pub mod client;
pub mod frame;
pub mod hostile;
pub mod info;
pub mod negotiate;
pub mod ntlm;
pub mod octets;
pub mod request;
pub mod response;
pub mod signing;
pub mod spnego;
