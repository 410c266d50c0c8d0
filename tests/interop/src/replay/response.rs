//! What a server says, as recorded: answers and notifications.

use leasehold::{LeaseKey, Status};
use serde_json::Value;

use super::fields::{Fields, need};
use super::request::{Context, contexts, dialect};

/// The final answer of a request. `None` is not compared.
#[derive(Clone, Debug)]
pub(super) struct Response {
    /// The `seq` of the request.
    pub(super) request: u64,
    /// Status
    pub(super) status: Status,
    /// Label of the session.
    pub(super) session: Option<String>,
    /// Label of the tree connect.
    pub(super) tree: Option<String>,
    /// DialectRevision of NEGOTIATE
    pub(super) dialect: Option<u16>,
    /// Capabilities of NEGOTIATE
    pub(super) capabilities: Option<u32>,
    /// Label of the handle.
    pub(super) handle: Option<String>,
    /// Label of the open, whatever its handle.
    pub(super) open: Option<String>,
    /// OplockLevel
    pub(super) level: Option<u8>,
    /// CreateAction
    pub(super) action: Option<u32>,
    /// EndOfFile
    pub(super) end_of_file: Option<u64>,
    /// FileAttributes
    pub(super) attributes: Option<u32>,
    /// Create contexts.
    pub(super) contexts: Option<Vec<Context>>,
    /// Names of create contexts that must not be there.
    pub(super) contexts_absent: Vec<String>,
    /// LeaseKey of the answer to an acknowledgment.
    pub(super) key: Option<LeaseKey>,
    /// LeaseState of the answer to an acknowledgment.
    pub(super) state: Option<u32>,
    /// How much was read.
    pub(super) length: Option<u64>,
    /// What was read.
    pub(super) data: Option<Vec<u8>>,
    /// How much was written.
    pub(super) count: Option<u64>,
}

/// A notification. `None` is not compared.
#[derive(Clone, Debug)]
pub(super) struct Break {
    /// Label of the client.
    pub(super) client: Option<String>,
    /// What it says.
    pub(super) kind: BreakKind,
}

/// What a notification says.
#[derive(Clone, Debug)]
pub(super) enum BreakKind {
    /// Lease Break Notification
    Lease {
        /// LeaseKey
        key: Option<LeaseKey>,
        /// CurrentLeaseState
        current: Option<u32>,
        /// NewLeaseState
        new: Option<u32>,
        /// NewEpoch
        epoch: Option<u16>,
        /// Flags
        flags: Option<u32>,
        /// Whether the flags ask for an acknowledgment.
        ack_required: Option<bool>,
    },
    /// Oplock Break Notification
    Oplock {
        /// OplockLevel
        level: Option<u8>,
        /// Label of the handle.
        handle: Option<String>,
    },
}

impl Response {
    pub(super) fn read(request: u64, fields: Fields<'_>) -> Result<Self, String> {
        let tags = fields.list("contexts_absent", |tag| tag.as_str().map(str::to_owned))?;
        let dialects = fields.text("dialect")?;
        let dialect = match dialects {
            Some(text) => Some(dialect(text).ok_or_else(|| format!("`dialect` is {text}"))?),
            None => None,
        };
        Ok(Self {
            request,
            status: Status::from_wire(need("status", fields.number("status"))?),
            session: fields.label("session")?,
            tree: fields.label("tree")?,
            dialect,
            capabilities: fields.number("capabilities")?,
            handle: fields.label("h")?,
            open: fields.label("open")?,
            level: fields.number("oplock")?,
            action: fields.number("action")?,
            end_of_file: fields.number("end_of_file")?,
            attributes: fields.number("attrs")?,
            contexts: contexts(fields)?,
            contexts_absent: tags.unwrap_or_default(),
            key: fields.array("key")?.map(LeaseKey::new),
            state: fields.number("state")?,
            length: fields.number("length")?,
            data: fields.octets("data")?,
            count: fields.number("count")?,
        })
    }
}

impl Break {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, String> {
        let kind = match need("kind", fields.text("kind"))? {
            "lease" => BreakKind::Lease {
                key: fields.array("key")?.map(LeaseKey::new),
                current: fields.number("current")?,
                new: fields.number("new")?,
                epoch: fields.number("epoch")?,
                flags: fields.number("flags")?,
                ack_required: fields.value("ack_required").and_then(Value::as_bool),
            },
            "oplock" => BreakKind::Oplock { level: fields.number("oplock")?, handle: fields.label("h")? },
            other => return Err(format!("`kind` is {other}")),
        };
        Ok(Self { client: fields.label("client")?, kind })
    }
}
