//! What clients of a node say and hear: one JSON object a line. Every request has an `id`, which its answer repeats.
//!
//! | `do` | with | answer |
//! |---|---|---|
//! | `connect` | `client` | `connected` |
//! | `session` | `user` (0), `previous` | `session` |
//! | `create` | `file`, `access` (rw), `share` (rwd), `guid`, `persistent`, `timeout` (0), `lease`, `replay` | `granted` |
//! | `reconnect` | `handle`, `guid`, `persistent`, `file`, `lease` | `granted` |
//! | `close` | `handle` | `closed` |
//! | `lock` | `handle`, `offset`, `len`, `shared`, `unlock`, `wait` | `accepted` |
//! | `write` | `handle`, `file`, `offset`, `len` | `done` |
//! | `ack` | `key`, `state` | `acknowledged` |
//! | `count` | | `opens`, `absent` |
//!
//! Instead of its answer any of them may get `refused` with a status, `error` if it makes no sense, or `again` if it should be
//! sent once more; and `pending` first. Files and users are numbers; a `client`, a `guid` and a lease's `key` are 32 digits; a
//! `handle` is what was `granted`: 16 digits, a colon, 16 digits. `lease` is an object of `key`, `state` (letters of RWH) and
//! `epoch`. With a `guid` a CREATE has DH2Q. Unasked comes `break` with `key`, `from`, `to`, `epoch` and `ack`.

use leasehold::server::{
    Create, Durability, DurableGrant, Event, Grant, Lock, LockElement, LockFlags, Origin, Reconnect, Share,
    ShareFlags, ShareKind,
};
use leasehold::wire::{BreakFlags, DurableFlags, Lease, LeaseAck, LeaseBreak, LeaseFlags, LeaseV2};
use leasehold::{
    Access, Actor, ClientGuid, CreateGuid, CreateOptions, Disposition, Epoch, FileId, FileKey, Intent,
    LeaseKey, LeaseState, OplockLevel, RequestId, SessionId, ShareMode, Status, UserId,
};
use serde_json::{Value, json};

/// How large every file is.
pub(crate) const ALLOCATION: u64 = 1 << 40;
/// How long a handle is kept for a client that does not say, in milliseconds.
const CA_TIMEOUT: u32 = 120_000;

pub(crate) fn client(value: &Value) -> Result<ClientGuid, String> {
    Ok(ClientGuid::from_wire(digits(value, "client")?))
}

pub(crate) fn session(value: &Value) -> Result<(UserId, Option<SessionId>), String> {
    let user = u128::from(number(value, "user", 0)?);
    Ok((UserId::new(user.to_le_bytes()), value["previous"].as_u64().map(SessionId::new)))
}

pub(crate) fn event(
    what: &str,
    value: &Value,
    request: RequestId,
    origin: Origin,
    user: UserId,
) -> Result<Event, String> {
    let file = || match value["file"].as_u64() {
        Some(file) => Ok(FileKey::new(file.into())),
        None => Err("no file".to_owned()),
    };
    let share = Share::new(ShareKind::Disk, ShareFlags::CONTINUOUSLY_AVAILABLE).ca_timeout(CA_TIMEOUT);
    let lease = || if value["lease"].is_null() { Ok(None) } else { lease(&value["lease"]).map(Some) };
    let persistent = value["persistent"] == json!(true);
    Ok(match what {
        "create" => {
            let durability = if value["guid"].is_null() {
                Durability::None
            } else {
                let create_guid = CreateGuid::from_wire(digits(value, "guid")?);
                durability(number(value, "timeout", 0)?, create_guid, persistent)?
            };
            let sharing = letters(value, "share", "rwd", |letter| match letter {
                'r' => Some(ShareMode::READ),
                'w' => Some(ShareMode::WRITE),
                'd' => Some(ShareMode::DELETE),
                _ => None,
            })?;
            let access = letters(value, "access", "rw", |letter| match letter {
                'r' => Some(Access::READ_DATA),
                'w' => Some(Access::WRITE_DATA),
                'd' => Some(Access::DELETE),
                _ => None,
            })?;
            let lease = lease()?;
            let level = if lease.is_some() { OplockLevel::Lease } else { OplockLevel::None };
            let create = Create::new(request, origin, file()?)
                .access(access.into_iter().collect(), sharing.into_iter().collect())
                .disposition(Disposition::Open, CreateOptions::empty())
                .caching(level, lease)
                .place(share, None)
                .durable(user, durability);
            Event::Create(if value["replay"] == json!(true) { create.replayed() } else { create })
        }
        "reconnect" => {
            let create_guid = CreateGuid::from_wire(digits(value, "guid")?);
            let flags = if persistent { DurableFlags::PERSISTENT } else { DurableFlags::empty() };
            let reconnect = Reconnect::new(request, origin, user, handle(value)?.persistent)
                .with_guid(create_guid)
                .flags(flags, share);
            Event::Reconnect(match lease()? {
                Some(lease) => reconnect.lease(lease, Some(file()?)),
                None => reconnect,
            })
        }
        "close" => Event::Close { request, session: origin.session, file_id: handle(value)? },
        "lock" => {
            let mut flags = if value["unlock"] == json!(true) {
                LockFlags::UNLOCK
            } else if value["shared"] == json!(true) {
                LockFlags::SHARED
            } else {
                LockFlags::EXCLUSIVE
            };
            if value["wait"] != json!(true) && flags != LockFlags::UNLOCK {
                flags |= LockFlags::FAIL_IMMEDIATELY;
            }
            let (offset, len) = (number(value, "offset", 0)?, number(value, "len", 1)?);
            let element = LockElement { offset, len, flags };
            Event::Lock(Lock::new(request, origin, handle(value)?, ALLOCATION, vec![element]))
        }
        "write" => Event::Operate {
            request,
            origin: Some(origin),
            file: file()?,
            actor: Actor::Open(handle(value)?),
            intent: Intent::Write { offset: number(value, "offset", 0)?, len: number(value, "len", 1)? },
        },
        "ack" => {
            let ack = LeaseAck { key: LeaseKey::new(digits(value, "key")?), state: state(value)? };
            Event::LeaseAck { request, conn: origin.conn, ack }
        }
        _ => return Err("what?".into()),
    })
}

pub(crate) fn granted(grant: &Grant) -> Value {
    let mut answer = json!({ "granted": grant.file_id.to_string() });
    if let Some(lease) = &grant.lease {
        answer["lease"] = json!({
            "key": lease.key().to_string(),
            "state": lease.state().to_string(),
            "epoch": lease.epoch().map(Epoch::get),
        });
    }
    if let Some(DurableGrant::V2(durable)) = &grant.durable {
        let persistent = durable.flags.contains(DurableFlags::PERSISTENT);
        answer["durable"] = json!({ "persistent": persistent, "timeout": durable.timeout });
    }
    answer
}

pub(crate) fn refused(status: Status) -> Value {
    json!({ "refused": status.to_string() })
}

pub(crate) fn lease_break(body: &LeaseBreak) -> Value {
    json!({ "break": {
        "key": body.key.to_string(),
        "from": body.current.to_string(),
        "to": body.new.to_string(),
        "epoch": body.epoch.get(),
        "ack": body.flags.contains(BreakFlags::ACK_REQUIRED),
    } })
}

fn durability(timeout: u64, create_guid: CreateGuid, persistent: bool) -> Result<Durability, String> {
    let timeout = u32::try_from(timeout).map_err(|_| "timeout")?;
    Ok(Durability::V2 { timeout, create_guid, persistent })
}

fn lease(value: &Value) -> Result<Lease, String> {
    let epoch = u16::try_from(number(value, "epoch", 0)?).map_err(|_| "epoch")?;
    Ok(Lease::V2(LeaseV2 {
        key: LeaseKey::new(digits(value, "key")?),
        state: state(value)?,
        flags: LeaseFlags::empty(),
        parent: None,
        epoch: Epoch::new(epoch),
    }))
}

fn state(value: &Value) -> Result<LeaseState, String> {
    let states = letters(value, "state", "", |letter| match letter {
        'R' => Some(LeaseState::READ),
        'W' => Some(LeaseState::WRITE),
        'H' => Some(LeaseState::HANDLE),
        '-' => Some(LeaseState::NONE),
        _ => None,
    })?;
    Ok(states.into_iter().collect())
}

fn handle(value: &Value) -> Result<FileId, String> {
    let halves = value["handle"].as_str().and_then(|text| text.split_once(':'));
    let half = |text: &str| u64::from_str_radix(text, 16).ok();
    let handle = halves.and_then(|(first, second)| Some(FileId::new(half(first)?, half(second)?)));
    handle.ok_or_else(|| "no handle".into())
}

fn letters<T>(
    value: &Value,
    name: &str,
    default: &str,
    meaning: impl FnMut(char) -> Option<T>,
) -> Result<Vec<T>, String> {
    let text = if value[name].is_null() { Some(default) } else { value[name].as_str() };
    text.and_then(|text| text.chars().map(meaning).collect()).ok_or_else(|| format!("wrong {name}"))
}

fn number(value: &Value, name: &str, default: u64) -> Result<u64, String> {
    if value[name].is_null() {
        Ok(default)
    } else {
        value[name].as_u64().ok_or_else(|| format!("wrong {name}"))
    }
}

/// Sixteen octets as 32 digits, in their order.
fn digits(value: &Value, name: &str) -> Result<[u8; 16], String> {
    let digits = value[name].as_str().filter(|text| text.len() == 32 && !text.starts_with('+'));
    let number = digits.and_then(|text| u128::from_str_radix(text, 16).ok());
    // The first two digits are the first octet.
    number.map(u128::swap_bytes).map(u128::to_le_bytes).ok_or_else(|| format!("wrong {name}"))
}
