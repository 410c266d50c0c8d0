//! Event lines.

use leasehold::server::{
    AppInstance, Capabilities, Create, Durability, Event, Lock, LockSequence, ObjectKind, Opened, Origin,
    Reconnect, SessionEnd, Share, ShareFlags, ShareKind, Terms,
};
use leasehold::wire::{
    AppInstanceId, AppInstanceVersion, DurableFlags, Lease, LeaseAck, LeaseFlags, LeaseV1, LeaseV2,
    OplockBreak,
};
use leasehold::{
    Access, Actor, ConnId, CreateAction, CreateOptions, Dialect, Disposition, Epoch, Intent, OplockLevel,
    RequestId, SessionId, ShareMode, Status, TreeId,
};

use super::names::Names;
use super::owners;
use super::values::{
    access, conn, create_guid, dialect, disposition, file, guid, integer, integer32, key, lease_flags, level,
    lock_element, owner, range, request, session, sharing, small, state, status, tree, user,
};
use super::words::Words;

/// Reads the event that `verb` begins; the words of the line that are not of it stay.
pub(crate) fn read(verb: &str, words: &mut Words<'_>, names: &mut Names) -> Result<Vec<Event>, String> {
    Ok(match verb {
        "connect" => connect(words)?,
        "bind" => vec![Event::SessionBound {
            conn: conn(words.next("the connection")?)?,
            session: session(words.next("the session")?)?,
        }],
        "disconnect" => vec![Event::Disconnected { conn: conn(words.next("the connection")?)? }],
        "logoff" => vec![Event::SessionEnded {
            session: session(words.next("the session")?)?,
            end: if words.has("replaced") {
                SessionEnd::Replaced
            } else if words.has("refused") {
                SessionEnd::Refused
            } else {
                SessionEnd::LoggedOff
            },
        }],
        "tree-disconnect" => vec![Event::TreeDisconnected {
            request: fresh(words, names)?,
            session: session(words.next("the session")?)?,
            tree: words.read("tree", tree)?.unwrap_or(TreeId::new(1)),
        }],
        "create" => vec![Event::Create(create(words, names)?)],
        "reconnect" => vec![reconnect(words, names)?],
        "resilience" => {
            let (request, origin) = (fresh(words, names)?, origin(words)?);
            let file_id = names.open(words.next("the open")?)?;
            let timeout = words.read("timeout", integer32)?.unwrap_or(0);
            let user = words.read("user", user)?.unwrap_or_default();
            vec![Event::RequestResilience { request, origin, user, file_id, timeout }]
        }
        "recovered" => vec![Event::Recovered],
        "used" => vec![Event::Used { file_id: names.open(words.next("the open")?)? }],
        "opened" => vec![opened(words, names)?],
        "operate" => vec![operate(words, names)?],
        "done" => {
            vec![Event::Done { ticket: names.ticket(words.next("the request")?)?, result: outcome(words)? }]
        }
        "lock" if words.after_next(|word| word.contains(':')) => {
            vec![Event::OwnerLock(owners::lock(words, names)?)]
        }
        "lock" => vec![Event::Lock(lock(words, names)?)],
        "cancel" => vec![Event::Cancel { request: request(words.next("the request")?)? }],
        "close" => vec![Event::Close {
            request: fresh(words, names)?,
            session: origin(words)?.session,
            file_id: names.open(words.next("the open")?)?,
        }],
        "lease-ack" => {
            let (request, conn) = (fresh(words, names)?, conn(words.next("the connection")?)?);
            let key = key(words.next("the lease key")?)?;
            let state = state(words.next("the lease state")?)?;
            vec![Event::LeaseAck { request, conn, ack: LeaseAck { key, state } }]
        }
        "oplock-ack" => {
            let (request, session) = (fresh(words, names)?, origin(words)?.session);
            let file_id = names.open(words.next("the open")?)?;
            let level = level(words.next("the oplock level")?)?;
            vec![Event::OplockAck { request, session, ack: OplockBreak { level, file_id } }]
        }
        "undelivered" => {
            let conn = conn(words.next("the connection")?)?;
            let sent = words.read("sent", self::conn)?.unwrap_or(conn);
            vec![Event::Undelivered { id: names.notification(sent, words.next("the holder")?)?, conn }]
        }
        _ => match owners::read(verb, words, names)? {
            Some(event) => vec![event],
            None => return Err(format!("no such event: {verb}")),
        },
    })
}

fn fresh(words: &mut Words<'_>, names: &mut Names) -> Result<RequestId, String> {
    names.fresh(words.next("the request")?)
}

/// The session of a connection has its number, unless it is said.
fn session_of(words: &mut Words<'_>, conn: ConnId) -> Result<SessionId, String> {
    Ok(words.read("session", session)?.unwrap_or(SessionId::new(conn.get())))
}

fn origin(words: &mut Words<'_>) -> Result<Origin, String> {
    let conn = conn(words.next("the connection")?)?;
    origin_on(words, conn)
}

fn origin_on(words: &mut Words<'_>, conn: ConnId) -> Result<Origin, String> {
    let session = session_of(words, conn)?;
    Ok(Origin::new(conn, session, words.read("tree", tree)?.unwrap_or(TreeId::new(1))))
}

/// `fails=STATUS`, or it went well.
fn outcome(words: &mut Words<'_>) -> Result<Result<(), Status>, String> {
    Ok(words.read("fails", status)?.map_or(Ok(()), Err))
}

fn connect(words: &mut Words<'_>) -> Result<Vec<Event>, String> {
    let conn = conn(words.next("the connection")?)?;
    let client = guid(words.required("guid")?)?;
    let dialect = words.read("dialect", dialect)?.unwrap_or(Dialect::Smb311);
    let mut capabilities = match words.read("capabilities", integer32)? {
        Some(bits) => Capabilities::from_bits_retain(bits),
        None => Capabilities::LEASING | Capabilities::DIRECTORY_LEASING,
    };
    for (constant, bit) in Capabilities::all().iter_names() {
        let name = small(constant);
        if words.has(&name) {
            capabilities.insert(bit);
        }
        if words.has(&format!("no-{name}")) {
            capabilities.remove(bit);
        }
    }
    let connected = Event::Connected { conn, client, terms: Terms::new(dialect, capabilities) };
    if words.has("no-session") {
        return Ok(vec![connected]);
    }
    Ok(vec![connected, Event::SessionBound { conn, session: session_of(words, conn)? }])
}

fn create(words: &mut Words<'_>, names: &mut Names) -> Result<Create, String> {
    let request = fresh(words, names)?;
    let origin = origin(words)?;
    let file = file(words.required("file")?)?;
    let desired = words.read("access", access)?.unwrap_or(Access::READ_DATA | Access::WRITE_DATA);
    let granted = words.read("granted", access)?.unwrap_or(desired);
    let sharing = words.read("share", sharing)?.unwrap_or(ShareMode::ALL);
    let mut options = CreateOptions::from_bits_retain(words.read("options", integer32)?.unwrap_or(0));
    for (constant, bit) in CreateOptions::all().iter_names() {
        if words.has(&small(constant)) {
            options.insert(bit);
        }
    }
    let disposition = disposition_of(words)?;
    let lease = lease(words)?;
    let level = level_of(words, lease.is_some())?;
    let share = share(words)?;
    let directory = words.read("in", self::file)?;
    let durability = match words.read("guid", create_guid)? {
        Some(create_guid) => {
            let timeout = words.read("timeout", integer32)?.unwrap_or(0);
            Durability::V2 { timeout, create_guid, persistent: words.has("persistent") }
        }
        None if words.has("durable") => Durability::V1,
        None => Durability::None,
    };
    let user = words.read("user", user)?.unwrap_or_default();
    let replay = words.has("replay");
    let instance = instance(words)?;
    let maximal = words.read("maximal", access)?.unwrap_or(Access::GENERIC_ALL);
    names.asked(request, file);
    let create = Create::new(request, origin, file)
        .access(desired, sharing)
        .granted(granted)
        .disposition(disposition, options)
        .caching(level, lease)
        .durable(user, durability)
        .place(share, directory);
    let create = match instance {
        Some(instance) => create.instance(instance, maximal),
        None => create,
    };
    Ok(if replay { create.replayed() } else { create })
}

/// `app=X [version=1.5]`
fn instance(words: &mut Words<'_>) -> Result<Option<AppInstance>, String> {
    let Some(id) = words.read("app", create_guid)? else { return Ok(None) };
    let version = match words.value("version")? {
        None => None,
        Some(version) => {
            let (high, low) =
                version.split_once('.').ok_or_else(|| format!("a version is HIGH.LOW, not {version}"))?;
            Some(AppInstanceVersion { high: integer(high)?, low: integer(low)? })
        }
    };
    Ok(Some(AppInstance { id: AppInstanceId { id: id.uuid() }, version }))
}

/// `reconnect r5 c2 r1 [guid=G] [user=U] [lease=K1:R ...] [file=F]`
fn reconnect(words: &mut Words<'_>, names: &mut Names) -> Result<Event, String> {
    let (request, origin) = (fresh(words, names)?, origin(words)?);
    let persistent = names.open(words.next("the open")?)?.persistent;
    let user = words.read("user", user)?.unwrap_or_default();
    let mut reconnect = Reconnect::new(request, origin, user, persistent);
    if let Some(guid) = words.read("guid", create_guid)? {
        reconnect = reconnect.with_guid(guid);
    }
    let file = words.read("file", file)?;
    if let Some(lease) = lease(words)? {
        reconnect = reconnect.lease(lease, file);
    }
    let flags = if words.has("persistent") { DurableFlags::PERSISTENT } else { DurableFlags::empty() };
    reconnect = reconnect.flags(flags, share(words)?);
    Ok(Event::Reconnect(reconnect))
}

fn disposition_of(words: &mut Words<'_>) -> Result<Disposition, String> {
    let said = words.read("disposition", disposition)?;
    let words = [words.has("overwrite"), words.has("supersede")];
    match (said, words) {
        (None, [false, false]) => Ok(Disposition::OpenIf),
        (None, [true, false]) => Ok(Disposition::OverwriteIf),
        (None, [false, true]) => Ok(Disposition::Supersede),
        (Some(disposition), [false, false]) => Ok(disposition),
        _ => Err("the disposition is there twice".to_owned()),
    }
}

/// `lease=K1:RWH` and what belongs to it.
fn lease(words: &mut Words<'_>) -> Result<Option<Lease>, String> {
    let Some(asked) = words.value("lease")? else { return Ok(None) };
    let (key_name, asked) =
        asked.split_once(':').ok_or_else(|| format!("a lease is KEY:STATE, not {asked}"))?;
    let (key, state) = (key(key_name)?, state(asked)?);
    let flags = words.read("lease-flags", lease_flags)?.unwrap_or(LeaseFlags::empty());
    if words.has("v1") {
        return Ok(Some(Lease::V1(LeaseV1 { key, state, flags })));
    }
    let epoch = words.read("epoch", integer)?.unwrap_or(0);
    let epoch = Epoch::new(u16::try_from(epoch).map_err(|_| format!("an epoch has 16 bits, not {epoch}"))?);
    let parent = words.read("parent", self::key)?;
    Ok(Some(Lease::V2(LeaseV2 { key, state, flags, parent, epoch })))
}

/// `oplock=` or, as it was called first, `level=`; a lease context alone asks for LEASE.
fn level_of(words: &mut Words<'_>, leased: bool) -> Result<OplockLevel, String> {
    match (words.read("oplock", level)?, words.read("level", level)?) {
        (Some(_), Some(_)) => Err("the oplock level is there twice".to_owned()),
        (Some(level), None) | (None, Some(level)) => Ok(level),
        (None, None) => Ok(if leased { OplockLevel::Lease } else { OplockLevel::None }),
    }
}

fn share(words: &mut Words<'_>) -> Result<Share, String> {
    let kind = words.read("kind", |word| match word {
        "disk" => Ok(ShareKind::Disk),
        "pipe" => Ok(ShareKind::Pipe),
        "print" => Ok(ShareKind::Print),
        _ => Err(format!("a share is disk, pipe or print, not {word}")),
    })?;
    let mut flags = ShareFlags::from_bits_retain(words.read("share-flags", integer32)?.unwrap_or(0));
    for (constant, bit) in ShareFlags::all().iter_names() {
        if words.has(&small(constant)) {
            flags.insert(bit);
        }
    }
    let ca_timeout = words.read("ca-timeout", integer32)?.unwrap_or(0);
    Ok(Share::new(kind.unwrap_or(ShareKind::Disk), flags).ca_timeout(ca_timeout))
}

fn opened(words: &mut Words<'_>, names: &Names) -> Result<Event, String> {
    let file_id = names.open(words.next("the request")?)?;
    if let Err(status) = outcome(words)? {
        return Ok(Event::Opened { file_id, result: Err(status) });
    }
    let kind = if words.has("directory") { ObjectKind::Directory } else { ObjectKind::File };
    let action = if words.has("created") {
        CreateAction::Created
    } else if words.has("overwritten") {
        CreateAction::Overwritten
    } else if words.has("superseded") {
        CreateAction::Superseded
    } else {
        CreateAction::Opened
    };
    let allocation = words.read("allocation", integer)?.unwrap_or(u64::MAX);
    Ok(Event::Opened { file_id, result: Ok(Opened::new(action, kind, allocation)) })
}

fn operate(words: &mut Words<'_>, names: &mut Names) -> Result<Event, String> {
    let request = fresh(words, names)?;
    let (origin, owner) = match words.next("the connection, an owner or local")? {
        "local" => (None, None),
        word if word.contains(':') => (None, Some(owner(word)?)),
        word => (Some(origin_on(words, conn(word)?)?), None),
    };
    let (by, lease) = (words.value("by")?, words.value("as")?);
    let file = match words.read("file", file)? {
        Some(file) => file,
        None => by.and_then(|open| names.file(open)).ok_or("file= is missing")?,
    };
    let actor = match (by, lease, owner) {
        (None, None, Some(owner)) => Actor::Owner(owner),
        (Some(open), None, None) => Actor::Open(names.open(open)?),
        (None, Some(lease), None) => {
            let (client, name) =
                lease.split_once(':').ok_or_else(|| format!("a lease is CLIENT:KEY here, not {lease}"))?;
            Actor::Lease { client: guid(client)?, key: key(name)? }
        }
        (None, None, None) => Actor::Other,
        (Some(_), Some(_), None) => return Err("by= and as= name two actors".to_owned()),
        (_, _, Some(_)) => return Err("an owner acts for itself, without by= and as=".to_owned()),
    };
    Ok(Event::Operate { request, origin, file, actor, intent: intent(words)? })
}

fn intent(words: &mut Words<'_>) -> Result<Intent, String> {
    let verb = words.next("what is about to happen")?;
    Ok(match verb {
        "read" | "write" => {
            let (offset, len) = words.read("range", range)?.unwrap_or((0, 1));
            if verb == "read" { Intent::Read { offset, len } } else { Intent::Write { offset, len } }
        }
        "flush" => Intent::Flush,
        "set-size" | "size" => Intent::SetSize,
        "set-attributes" => Intent::SetAttributes,
        "set-security" => Intent::SetSecurity,
        "rename" => Intent::Rename { to: words.read("to", file)? },
        "link" => Intent::Link { to: words.read("to", file)? },
        "delete" => Intent::Delete { pending: true },
        "undelete" => Intent::Delete { pending: false },
        "unlink" => Intent::Unlink,
        "replaced" => Intent::Replaced,
        "ancestor-moved" => Intent::AncestorMoved,
        "rename-within" => Intent::RenameWithin,
        "entry-changed" => Intent::EntryChanged { parent: words.read("parent", key)? },
        _ => return Err(format!("no such operation: {verb}")),
    })
}

fn lock(words: &mut Words<'_>, names: &mut Names) -> Result<Lock, String> {
    let (request, origin) = (fresh(words, names)?, origin(words)?);
    let file_id = names.open(words.next("the open")?)?;
    let allocation = words.read("allocation", integer)?.unwrap_or(u64::MAX);
    let sequence = words.read("sequence", integer32)?.and_then(LockSequence::from_wire);
    let elements = words.rest().map(lock_element).collect::<Result<_, _>>()?;
    Ok(Lock::new(request, origin, file_id, allocation, elements).sequence(sequence))
}
