//! What travels on a connection, as far as it decides who may cache what.

use std::fmt;

use leasehold::client::CreateReply;
use leasehold::wire::{
    BreakFlags, DurableFlags, Lease, LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, RequestContexts,
};
use leasehold::{
    Access, CreateAction, CreateOptions, Disposition, FileId, LeaseKey, LeaseState, OplockLevel, ShareMode,
    Status,
};

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Create(Create),
    Read { file_id: FileId },
    Write { file_id: FileId, text: String },
    Close { file_id: FileId },
    LeaseAck(LeaseAck),
}

/// A CREATE request (MS-SMB2 2.2.13).
#[derive(Clone, Debug)]
pub(crate) struct Create {
    pub(crate) access: Access,
    pub(crate) sharing: ShareMode,
    pub(crate) disposition: Disposition,
    pub(crate) options: CreateOptions,
    pub(crate) level: OplockLevel,
    pub(crate) contexts: RequestContexts,
}

impl Request {
    /// What a client sends that opens the file for reading.
    pub(crate) fn open(key: LeaseKey, state: LeaseState) -> Self {
        let lease = Lease::V1(LeaseV1 { key, state, flags: LeaseFlags::empty() });
        let mut contexts = RequestContexts::default();
        contexts.lease = Some(lease);
        Self::Create(Create {
            access: Access::READ_DATA,
            sharing: ShareMode::ALL,
            disposition: Disposition::Open,
            options: CreateOptions::NON_DIRECTORY_FILE,
            level: OplockLevel::Lease,
            contexts,
        })
    }
}

/// A response of the server.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    Create { action: CreateAction, reply: CreateReply },
    Read { text: String },
    Write,
    Close,
    LeaseAck(LeaseAck),
}

/// Everything that a server sends.
#[derive(Clone, Debug)]
pub(crate) enum ToClient {
    /// Answers the request with this MessageId. STATUS_PENDING is followed by another answer.
    Answer {
        message: u64,
        result: Result<Response, Status>,
    },
    Break(LeaseBreak),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(create) => {
                let durable = &create.contexts.durable;
                let state = create.contexts.lease.as_ref().map_or(LeaseState::NONE, Lease::state);
                match (durable.dh2q, durable.dh2c) {
                    (None, None) => write!(f, "CREATE {:?}, RqLs {state}", create.disposition),
                    (Some(dh2q), _) => {
                        write!(f, "CREATE {:?}, DH2Q{}, RqLs {state}", create.disposition, flags(dh2q.flags))
                    }
                    (None, Some(dh2c)) => {
                        write!(f, "CREATE, DH2C{} of {}, RqLs {state}", flags(dh2c.flags), dh2c.file_id)
                    }
                }
            }
            Self::Read { .. } => f.write_str("READ"),
            Self::Write { text, .. } => write!(f, "WRITE {text:?}"),
            Self::Close { .. } => f.write_str("CLOSE"),
            Self::LeaseAck(ack) => write!(f, "acknowledges {}", ack.state),
        }
    }
}

impl fmt::Display for ToClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Break(LeaseBreak { current, new, epoch, flags, .. }) => {
                let ack = if flags.contains(BreakFlags::ACK_REQUIRED) { ", to be acknowledged" } else { "" };
                write!(f, "lease break {current} -> {new}, epoch {}{ack}", epoch.get())
            }
            Self::Answer { result: Err(status), .. } => status.fmt(f),
            Self::Answer { result: Ok(Response::Create { reply, .. }), .. } => {
                let promise = match reply.contexts.durable_v2 {
                    Some(kept) => format!(", DH2Q{} {} s", flags(kept.flags), kept.timeout / 1000),
                    None => String::new(),
                };
                let lease = match reply.contexts.lease {
                    Some(lease) => match lease.epoch() {
                        Some(epoch) => format!(", RqLs {}, epoch {}", lease.state(), epoch.get()),
                        None => format!(", RqLs {}", lease.state()),
                    },
                    None => String::new(),
                };
                write!(f, "CREATE done: {}{promise}{lease}", reply.file_id)
            }
            Self::Answer { result: Ok(Response::Read { text }), .. } => write!(f, "READ done: {text:?}"),
            Self::Answer { result: Ok(Response::Write), .. } => f.write_str("WRITE done"),
            Self::Answer { result: Ok(Response::Close), .. } => f.write_str("CLOSE done"),
            Self::Answer { result: Ok(Response::LeaseAck(ack)), .. } => {
                write!(f, "acknowledgment accepted, {} is held", ack.state)
            }
        }
    }
}

fn flags(flags: DurableFlags) -> &'static str {
    if flags.contains(DurableFlags::PERSISTENT) { " persistent" } else { "" }
}
