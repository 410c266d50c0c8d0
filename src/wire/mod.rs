//! The octets of MS-SMB2 that concern caching and the survival of handles.
//!
//! | structure | type | octets | MS-SMB2 |
//! |---|---|---:|---|
//! | SMB2_CREATE_CONTEXT chain | [`Contexts`], [`ContextWriter`] | any | 2.2.13.2 |
//! | DHnQ request | [`DurableHandleRequest`] | 16 | 2.2.13.2.3 |
//! | DHnQ response | [`DurableHandleResponse`] | 8 | 2.2.14.2.3 |
//! | DHnC | [`DurableHandleReconnect`] | 16 | 2.2.13.2.4 |
//! | DH2Q request | [`DurableHandleRequestV2`] | 32 | 2.2.13.2.11 |
//! | DH2Q response | [`DurableHandleResponseV2`] | 8 | 2.2.14.2.12 |
//! | DH2C | [`DurableHandleReconnectV2`] | 36 | 2.2.13.2.12 |
//! | RqLs version 1, both directions | [`LeaseV1`] | 32 | 2.2.13.2.8, 2.2.14.2.10 |
//! | RqLs version 2, both directions | [`LeaseV2`] | 52 | 2.2.13.2.10, 2.2.14.2.11 |
//! | AppInstanceId | [`AppInstanceId`] | 20 | 2.2.13.2.13 |
//! | AppInstanceVersion | [`AppInstanceVersion`] | 24 | 2.2.13.2.15 |
//! | Oplock Break Notification, Acknowledgment, Response | [`OplockBreak`] | 24 | 2.2.23.1, 2.2.24.1, 2.2.25.1 |
//! | Lease Break Notification | [`LeaseBreak`] | 44 | 2.2.23.2 |
//! | Lease Break Acknowledgment, Response | [`LeaseAck`] | 36 | 2.2.24.2, 2.2.25.2 |
//! | NETWORK_RESILIENCY_REQUEST | [`ResiliencyRequest`] | 8 | 2.2.31.3 |
//! | header, synchronous and asynchronous | [`Header`] | 64 | 2.2.1 |
//! | CREATE, around the contexts | [`CreateRequest`], [`CreateResponse`] | any | 2.2.13, 2.2.14 |
//!
//! All integers are little-endian. Reserved fields are ignored on input and zero on output; unknown flag bits are kept.
//! Nothing here allocates or panics on input, and every error names structure, field and offset.

mod breaks;
mod context;
mod create;
mod durable;
mod error;
mod header;
mod instance;
mod lease;
pub(crate) mod parse;

pub use breaks::{Acknowledgment, BreakFlags, LeaseAck, LeaseBreak, Notification, OplockBreak};
pub use context::{
    Context, ContextWriter, Contexts, DurableContexts, EncodeError, MAX_CONTEXTS, Named, RequestContexts,
    ResponseContexts, name,
};
pub use create::{CreateRequest, CreateResponse};
pub use durable::{
    DurableFlags, DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest,
    DurableHandleRequestV2, DurableHandleResponse, DurableHandleResponseV2, ResiliencyRequest,
};
pub use error::{DecodeError, DecodeErrorKind, Field, Structure};
pub use header::{Command, Header, HeaderFlags, Route};
pub use instance::{AppInstanceId, AppInstanceVersion};
pub use lease::{Lease, LeaseFlags, LeaseV1, LeaseV2};

/// A structure of MS-SMB2 with a fixed size.
///
/// Four laws hold for every implementation and are property-tested:
/// `decode(encode(v)) == v`; `encode(decode(b)) == b` for octets whose reserved fields are zero; encoding what was
/// decoded and decoding it again changes nothing; every proper prefix of a body is refused.
pub trait Fixed: Sized {
    /// The size, in octets.
    const LEN: usize;
    /// How errors name it.
    const STRUCTURE: Structure;

    /// Decodes exactly [`LEN`](Self::LEN) octets.
    ///
    /// Padding that a compound puts behind a body is not part of it: the caller cuts it off.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if there are more octets or fewer, or if a StructureSize is not the one of the structure.
    fn decode(octets: &[u8]) -> Result<Self, DecodeError>;

    /// Appends exactly [`LEN`](Self::LEN) octets.
    ///
    /// # Panics
    ///
    /// As [`bytes::BufMut::put_slice`] does: if a buffer that cannot grow has less room than that.
    fn encode<B: bytes::BufMut>(&self, buf: &mut B);
}
