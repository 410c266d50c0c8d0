//! What a client asks for, as recorded.

use leasehold::server::{LockElement, LockFlags};
use leasehold::{ClientGuid, CreateGuid, LeaseKey};

use super::fields::{Fields, need};
use crate::fs::{Basic, OldName};
use crate::host::Attempt;

/// A request with what its header says.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Label of the client.
    pub(super) client: Option<String>,
    /// Label of the session.
    pub(super) session: Option<String>,
    /// Label of the tree connect.
    pub(super) tree: Option<String>,
    /// Session, tree connect and file are those of the previous command.
    pub(super) related: bool,
    /// Which time it is sent.
    pub(super) attempt: Attempt,
    /// What is asked.
    pub(super) command: Command,
}

/// What is asked. A handle is a label, or `None` where the client never got one.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Agrees on dialect and capabilities.
    Negotiate {
        /// Names the client machine.
        guid: Option<ClientGuid>,
        /// Highest dialect that is offered.
        dialect: Option<u16>,
    },
    /// Authenticates.
    SessionSetup {
        /// A session that this one replaces.
        previous: Option<String>,
        /// Who, where this is the request that says so.
        user: Option<String>,
    },
    /// Connects to a share.
    TreeConnect {
        /// The share.
        path: String,
    },
    /// Ends a session.
    Logoff,
    /// Ends a tree connect.
    TreeDisconnect,
    /// Opens a file.
    Create(Create),
    /// Closes a file.
    Close {
        /// Which.
        handle: Option<String>,
    },
    /// Has data reach stable storage.
    Flush {
        /// Of which file.
        handle: Option<String>,
    },
    /// Reads.
    Read {
        /// From which file.
        handle: Option<String>,
        /// First octet.
        offset: u64,
        /// How many.
        length: u64,
        /// Fewer than these are an error.
        minimum: u64,
    },
    /// Writes.
    Write {
        /// To which file.
        handle: Option<String>,
        /// First octet.
        offset: u64,
        /// How many.
        length: u64,
        /// Which, if they were recorded.
        data: Option<Vec<u8>>,
    },
    /// Changes something about a file.
    SetInfo {
        /// Which.
        handle: Option<String>,
        /// What.
        change: Change,
    },
    /// Asks about a file.
    QueryInfo {
        /// Which.
        handle: Option<String>,
    },
    /// Lists a directory.
    QueryDirectory {
        /// Which.
        handle: Option<String>,
        /// SMB2_RESTART_SCANS and its like.
        flags: u8,
        /// Which names.
        pattern: String,
    },
    /// Asks for a file system control.
    Ioctl {
        /// Of which file, if of one.
        handle: Option<String>,
        /// Its code.
        control: u32,
        /// Its input, if it was recorded.
        input: Option<Vec<u8>>,
    },
    /// Acknowledges a lease break.
    LeaseAck {
        /// Of which lease.
        key: LeaseKey,
        /// What the client comes down to.
        state: u32,
    },
    /// Acknowledges an oplock break.
    OplockAck {
        /// Of which open.
        handle: Option<String>,
        /// What the client comes down to.
        level: u8,
    },
    /// Locks or unlocks ranges.
    Lock {
        /// Of which file.
        handle: Option<String>,
        /// LockSequenceNumber and LockSequenceIndex
        sequence: u32,
        /// Which, and how.
        elements: Vec<LockElement>,
    },
    /// Waits for a change.
    ChangeNotify {
        /// In which directory.
        handle: Option<String>,
    },
    /// Gives up waiting.
    Cancel {
        /// The `seq` of the request to cancel.
        request: Option<u64>,
    },
    /// Asks whether anybody is there.
    Echo,
    /// Something without a type here.
    Unknown(String),
}

/// A CREATE request.
#[derive(Clone, Debug)]
pub(super) struct Create {
    /// The name, from the root of the share.
    pub(super) name: String,
    /// RequestedOplockLevel
    pub(super) level: u8,
    /// ImpersonationLevel
    pub(super) impersonation: u32,
    /// DesiredAccess
    pub(super) access: u32,
    /// FileAttributes
    pub(super) attributes: u32,
    /// ShareAccess
    pub(super) sharing: u32,
    /// CreateDisposition
    pub(super) disposition: u32,
    /// CreateOptions
    pub(super) options: u32,
    /// Create contexts, in order.
    pub(super) contexts: Vec<Context>,
}

/// A create context of a request or of a response.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Its name.
    pub(super) tag: String,
    /// Octets of data.
    pub(super) len: Option<u64>,
    /// Its fields, where it is RqLs.
    pub(super) lease: LeaseFields,
    /// Its fields, where it is about a durable handle.
    pub(super) durable: DurableFields,
    /// AppInstanceId, where it is that.
    pub(super) instance: Option<[u8; 16]>,
}

/// Fields of RqLs.
#[derive(Clone, Debug, Default)]
pub(super) struct LeaseFields {
    /// 1 or 2
    pub(super) version: Option<u64>,
    /// LeaseKey
    pub(super) key: Option<LeaseKey>,
    /// LeaseState
    pub(super) state: Option<u32>,
    /// LeaseFlags
    pub(super) flags: Option<u32>,
    /// ParentLeaseKey
    pub(super) parent: Option<LeaseKey>,
    /// Epoch
    pub(super) epoch: Option<u16>,
}

/// Fields of DHnC, DH2Q and DH2C. DHnQ has none.
#[derive(Clone, Debug, Default)]
pub(super) struct DurableFields {
    /// Timeout, in milliseconds.
    pub(super) timeout: Option<u32>,
    /// Flags
    pub(super) flags: Option<u32>,
    /// CreateGuid
    pub(super) create_guid: Option<CreateGuid>,
    /// Label of the handle that is wanted back.
    pub(super) handle: Option<String>,
}

/// What a SET_INFO changes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Where the file ends.
    EndOfFile(u64),
    /// How much room it has.
    Allocation(u64),
    /// Its times and attributes.
    Basic(Basic),
    /// Its name, or how many it has.
    Name {
        /// The new one, from the root of the share.
        target: String,
        /// ReplaceIfExists
        replace: bool,
        /// What becomes of the old one.
        old: OldName,
    },
    /// Whether it goes when it is closed.
    Delete {
        /// DeletePending
        pending: bool,
    },
    /// Where the client reads next.
    Position,
    /// Something without a type here: what, in a few words.
    Unknown(String),
}

impl Request {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, String> {
        // Where a number says "that of the previous command", the label is this word.
        let own = |label: &String| label != "related";
        Ok(Self {
            client: fields.label("client")?,
            session: fields.label("session")?.filter(own),
            tree: fields.label("tree")?.filter(own),
            related: fields.flag("related"),
            attempt: Attempt {
                replay: fields.flag("replay"),
                sequence: fields.number("channel_sequence")?.unwrap_or_default(),
            },
            command: Command::read(fields)?,
        })
    }
}

impl Command {
    /// The name of the command.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Negotiate { .. } => "NEGOTIATE",
            Self::SessionSetup { .. } => "SESSION_SETUP",
            Self::TreeConnect { .. } => "TREE_CONNECT",
            Self::Logoff => "LOGOFF",
            Self::TreeDisconnect => "TREE_DISCONNECT",
            Self::Create(_) => "CREATE",
            Self::Close { .. } => "CLOSE",
            Self::Flush { .. } => "FLUSH",
            Self::Read { .. } => "READ",
            Self::Write { .. } => "WRITE",
            Self::SetInfo { .. } => "SET_INFO",
            Self::QueryInfo { .. } => "QUERY_INFO",
            Self::QueryDirectory { .. } => "QUERY_DIRECTORY",
            Self::Ioctl { .. } => "IOCTL",
            Self::LeaseAck { .. } | Self::OplockAck { .. } => "OPLOCK_BREAK",
            Self::Lock { .. } => "LOCK",
            Self::ChangeNotify { .. } => "CHANGE_NOTIFY",
            Self::Cancel { .. } => "CANCEL",
            Self::Echo => "ECHO",
            Self::Unknown(name) => name,
        }
    }

    fn read(fields: Fields<'_>) -> Result<Self, String> {
        let handle = fields.label("h")?.filter(|label| label != "related");
        let number = |key| Ok::<u64, String>(fields.number(key)?.unwrap_or_default());
        Ok(match need("cmd", fields.text("cmd"))? {
            "NEGOTIATE" => Self::Negotiate {
                guid: fields.array("client_guid")?.map(ClientGuid::from_wire),
                dialect: fields.list("dialects", |word| dialect(word.as_str()?))?.into_iter().flatten().max(),
            },
            "SESSION_SETUP" => Self::SessionSetup {
                previous: fields.label("previous_session")?,
                user: fields.label("user")?,
            },
            "TREE_CONNECT" => Self::TreeConnect { path: need("path", fields.label("path"))? },
            "LOGOFF" => Self::Logoff,
            "TREE_DISCONNECT" => Self::TreeDisconnect,
            "CREATE" => Self::Create(Create::read(fields)?),
            "CLOSE" => Self::Close { handle },
            "FLUSH" => Self::Flush { handle },
            "READ" => Self::Read {
                handle,
                offset: number("offset")?,
                length: need("length", fields.number("length"))?,
                minimum: number("min_count")?,
            },
            "WRITE" => {
                let length = need("length", fields.number("length"))?;
                let data = fields.octets("data")?;
                if data.as_ref().is_some_and(|data| data.len() as u64 != length) {
                    return Err(format!("`data` is not of length {length}"));
                }
                Self::Write { handle, offset: number("offset")?, length, data }
            }
            "SET_INFO" => Self::SetInfo { handle, change: Change::read(fields)? },
            "QUERY_INFO" => Self::QueryInfo { handle },
            "QUERY_DIRECTORY" => Self::QueryDirectory {
                handle,
                flags: fields.number("flags")?.unwrap_or_default(),
                pattern: fields.label("pattern")?.unwrap_or_default(),
            },
            "IOCTL" => Self::Ioctl {
                handle,
                control: need("ctl", fields.number("ctl"))?,
                input: fields.octets("input")?,
            },
            "OPLOCK_BREAK" => match need("kind", fields.text("kind"))? {
                "lease" => Self::LeaseAck {
                    key: LeaseKey::new(need("key", fields.array("key"))?),
                    state: need("state", fields.number("state"))?,
                },
                "oplock" => Self::OplockAck { handle, level: need("oplock", fields.number("oplock"))? },
                other => return Err(format!("`kind` is {other}")),
            },
            "LOCK" => {
                let element = |fields: Fields<'_>| {
                    Ok(LockElement {
                        offset: need("offset", fields.number("offset"))?,
                        len: need("length", fields.number("length"))?,
                        flags: LockFlags::from_bits_retain(need("flags", fields.number("flags"))?),
                    })
                };
                let elements = need("locks", fields.objects("locks"))?;
                let elements = elements.into_iter().map(element).collect::<Result<_, String>>()?;
                let sequence = fields.number("lock_sequence")?.unwrap_or_default();
                Self::Lock { handle, sequence, elements }
            }
            "CHANGE_NOTIFY" => Self::ChangeNotify { handle },
            "CANCEL" => Self::Cancel { request: fields.number("cancels")? },
            "ECHO" => Self::Echo,
            other => Self::Unknown(other.to_owned()),
        })
    }
}

impl Create {
    fn read(fields: Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            name: need("name", fields.label("name"))?,
            level: need("oplock", fields.number("oplock"))?,
            impersonation: fields.number("impersonation")?.unwrap_or(2),
            access: need("access", fields.number("access"))?,
            attributes: fields.number("attrs")?.unwrap_or_default(),
            sharing: need("share", fields.number("share"))?,
            disposition: need("disposition", fields.number("disposition"))?,
            options: need("options", fields.number("options"))?,
            contexts: contexts(fields)?.unwrap_or_default(),
        })
    }
}

/// The create contexts of a CREATE or of its answer.
pub(super) fn contexts(fields: Fields<'_>) -> Result<Option<Vec<Context>>, String> {
    let Some(contexts) = fields.objects("contexts")? else { return Ok(None) };
    let read = |fields: Fields<'_>| {
        let tag = need("tag", fields.label("tag"))?;
        let lease = match tag.as_str() {
            "RqLs" => LeaseFields {
                version: fields.number("v")?,
                key: fields.array("key")?.map(LeaseKey::new),
                state: fields.number("state")?,
                flags: fields.number("flags")?,
                parent: fields.array("parent")?.map(LeaseKey::new),
                epoch: fields.number("epoch")?,
            },
            _ => LeaseFields::default(),
        };
        let durable = match tag.as_str() {
            "DHnC" | "DH2Q" | "DH2C" => DurableFields {
                timeout: fields.number("timeout")?,
                flags: fields.number("flags")?,
                create_guid: fields.array("create_guid")?.map(CreateGuid::from_wire),
                handle: fields.label("h")?,
            },
            _ => DurableFields::default(),
        };
        let instance = match tag.as_str() {
            "AppInstanceId" => fields.array("app_instance_id")?,
            _ => None,
        };
        Ok(Context { tag, len: fields.number("len")?, lease, durable, instance })
    };
    contexts.into_iter().map(read).collect::<Result<_, String>>().map(Some)
}

impl Change {
    fn read(fields: Fields<'_>) -> Result<Self, String> {
        if let Some(end) = fields.number("end_of_file")? {
            return Ok(Self::EndOfFile(end));
        }
        if let Some(size) = fields.number("allocation_size")? {
            return Ok(Self::Allocation(size));
        }
        if let Some(basic) = fields.object("basic")? {
            let time = |key| Ok::<u64, String>(basic.number(key)?.unwrap_or_default());
            let times = [time("create")?, time("access")?, time("write")?, time("change")?];
            return Ok(Self::Basic(Basic { times, attributes: basic.number("attrs")?.unwrap_or_default() }));
        }
        if fields.value("position").is_some() {
            return Ok(Self::Position);
        }
        for (what, old) in [("rename", OldName::Goes), ("link", OldName::Stays)] {
            if let Some(new) = fields.object(what)? {
                let target = need("target", new.label("target"))?;
                return Ok(Self::Name { target, replace: need("replace", new.truth("replace"))?, old });
            }
        }
        if let Some(pending) = fields.truth("delete_on_close")? {
            return Ok(Self::Delete { pending });
        }
        match fields.number("disposition_flags")? {
            None => {}
            // FILE_DISPOSITION_DELETE, and not how.
            Some(flags @ (0u32 | 1)) => return Ok(Self::Delete { pending: flags == 1 }),
            Some(flags) => return Ok(Self::Unknown(format!("disposition flags {flags:#x}"))),
        }
        let text = |key| fields.value(key).map_or_else(|| "none".to_owned(), ToString::to_string);
        Ok(Self::Unknown(format!("info type {}, class {}", text("info_type"), text("info_class"))))
    }
}

/// A dialect as four hexadecimal digits.
pub(super) fn dialect(text: &str) -> Option<u16> {
    u16::from_str_radix(text, 16).ok()
}
