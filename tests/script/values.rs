//! How single values are written, and read back.

use leasehold::server::{LockElement, LockFlags};
use leasehold::wire::LeaseFlags;
use leasehold::{
    Access, ClientGuid, ConnId, CreateAction, CreateGuid, Dialect, Disposition, FileKey, LeaseKey,
    LeaseState, OplockLevel, OwnerId, Protocol, RequestId, SessionId, ShareMode, Status, TreeId, UserId,
};

/// A number in decimal, or in hexadecimal behind `0x`.
pub(crate) fn integer(word: &str) -> Result<u64, String> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    number.map_err(|_| format!("a number is expected, not {word}"))
}

pub(crate) fn integer32(word: &str) -> Result<u32, String> {
    u32::try_from(integer(word)?).map_err(|_| format!("{word} has more than 32 bits"))
}

/// A letter and a number: `r1`, `c1`, `s1`, `t1`.
fn numbered(word: &str, letter: char, what: &str) -> Result<u64, String> {
    word.strip_prefix(letter)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("{what}, {letter}1, is expected, not {word}"))
}

pub(crate) fn request(word: &str) -> Result<RequestId, String> {
    numbered(word, 'r', "a request").map(RequestId::new)
}

pub(crate) fn conn(word: &str) -> Result<ConnId, String> {
    numbered(word, 'c', "a connection").map(ConnId::new)
}

pub(crate) fn session(word: &str) -> Result<SessionId, String> {
    numbered(word, 's', "a session").map(SessionId::new)
}

pub(crate) fn tree(word: &str) -> Result<TreeId, String> {
    let number = numbered(word, 't', "a tree connect")?;
    u32::try_from(number).map(TreeId::new).map_err(|_| format!("{word} has more than 32 bits"))
}

/// One letter, of which the GUID has sixteen.
/// One letter: a CreateGuid.
pub(crate) fn create_guid(word: &str) -> Result<CreateGuid, String> {
    match word.as_bytes() {
        b"zero" => Ok(CreateGuid::default()),
        [letter] if letter.is_ascii_alphanumeric() => Ok(CreateGuid::from_wire([*letter; 16])),
        _ => Err(format!("a CreateGuid is one letter, not {word}")),
    }
}

/// One letter: a user.
pub(crate) fn user(word: &str) -> Result<UserId, String> {
    match word.as_bytes() {
        [letter] if letter.is_ascii_alphanumeric() => Ok(UserId::new([*letter; 16])),
        _ => Err(format!("a user is one letter, not {word}")),
    }
}

pub(crate) fn guid(word: &str) -> Result<ClientGuid, String> {
    match word.as_bytes() {
        [letter] if letter.is_ascii_alphanumeric() => Ok(ClientGuid::from_wire([*letter; 16])),
        _ => Err(format!("a client is one letter, not {word}")),
    }
}

/// Up to sixteen letters and digits: the octets of the key, in order of reading.
pub(crate) fn file(word: &str) -> Result<FileKey, String> {
    if word.is_empty() || word.len() > 16 || !word.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
        return Err(format!("a file has one to sixteen letters, not {word}"));
    }
    Ok(FileKey::new(word.bytes().fold(0, |key, octet| (key << 8) | u128::from(octet))))
}

pub(crate) fn file_name(file: FileKey) -> String {
    let octets = file.get().to_le_bytes();
    let name: String =
        octets.iter().rev().filter(|octet| **octet != 0).map(|octet| char::from(*octet)).collect();
    if self::file(&name) == Ok(file) { name } else { format!("{:#x}", file.get()) }
}

/// `K1` is sixteen octets of 1; `zero` is the key that is none.
pub(crate) fn key(word: &str) -> Result<LeaseKey, String> {
    if word == "zero" {
        return Ok(LeaseKey::ZERO);
    }
    let octet = u8::try_from(numbered(word, 'K', "a lease key")?);
    octet
        .map(|octet| LeaseKey::new([octet; 16]))
        .map_err(|_| format!("the last lease key is K255, not {word}"))
}

pub(crate) fn key_name(key: LeaseKey) -> String {
    let [first, ..] = key.octets();
    match first {
        0 if key == LeaseKey::ZERO => "zero".to_owned(),
        octet if key == LeaseKey::new([octet; 16]) => format!("K{octet}"),
        _ => key.to_string(),
    }
}

/// Names and numbers that are joined by `+`.
fn bits(word: &str, what: &str, named: impl Fn(&str) -> Option<u32>) -> Result<u32, String> {
    word.split('+').try_fold(0, |bits, part| {
        let more = if part.starts_with("0x") { Some(integer32(part)?) } else { named(part) };
        more.map(|more| bits | more).ok_or_else(|| format!("{what} has nothing named {part}"))
    })
}

/// As the constant is called in the specification, with `-` for `_` and small letters.
pub(crate) fn small(constant: &str) -> String {
    constant.to_ascii_lowercase().replace('_', "-")
}

fn constant(word: &str) -> String {
    word.to_ascii_uppercase().replace('-', "_")
}

/// `RWH` and less, `-` for nothing; other bits as `R+0x10`.
pub(crate) fn state(word: &str) -> Result<LeaseState, String> {
    let letter = |letter: char| match letter {
        'R' => Some(LeaseState::READ.bits()),
        'W' => Some(LeaseState::WRITE.bits()),
        'H' => Some(LeaseState::HANDLE.bits()),
        _ => None,
    };
    let letters = |part: &str| match part {
        "" => None,
        "-" => Some(0),
        part => part.chars().try_fold(0, |bits, next| letter(next).map(|more| bits | more)),
    };
    bits(word, "a lease state", letters).map(LeaseState::from_bits_retain)
}

/// In capital letters or in small ones; any other octet as `0x42`.
pub(crate) fn level(word: &str) -> Result<OplockLevel, String> {
    match word.to_ascii_uppercase().as_str() {
        "NONE" => Ok(OplockLevel::None),
        "II" => Ok(OplockLevel::II),
        "EXCLUSIVE" => Ok(OplockLevel::Exclusive),
        "BATCH" => Ok(OplockLevel::Batch),
        "LEASE" => Ok(OplockLevel::Lease),
        _ if word.starts_with("0x") => u8::try_from(integer(word)?)
            .map(OplockLevel::from_wire)
            .map_err(|_| format!("an oplock level is one octet, not {word}")),
        _ => Err(format!("no oplock level: {word}")),
    }
}

pub(crate) fn level_name(level: OplockLevel) -> String {
    match level {
        OplockLevel::None => "NONE".to_owned(),
        OplockLevel::II => "II".to_owned(),
        OplockLevel::Exclusive => "EXCLUSIVE".to_owned(),
        OplockLevel::Batch => "BATCH".to_owned(),
        OplockLevel::Lease => "LEASE".to_owned(),
        OplockLevel::Undefined(octet) => format!("{:#04x}", octet.get()),
    }
}

pub(crate) fn access(word: &str) -> Result<Access, String> {
    let named = |name: &str| match name {
        "read" => Some(Access::READ_DATA),
        "write" => Some(Access::WRITE_DATA),
        "append" => Some(Access::APPEND_DATA),
        "control" => Some(Access::READ_CONTROL),
        "attributes" => Some(Access::READ_ATTRIBUTES | Access::SYNCHRONIZE),
        name => Access::from_name(&constant(name)),
    };
    bits(word, "access", |name| named(name).map(|access| access.bits())).map(Access::from_bits_retain)
}

/// `rwd` and less, `none`, other bits as `rw+0x10`.
pub(crate) fn sharing(word: &str) -> Result<ShareMode, String> {
    let letter = |letter: char| match letter {
        'r' => Some(ShareMode::READ.bits()),
        'w' => Some(ShareMode::WRITE.bits()),
        'd' => Some(ShareMode::DELETE.bits()),
        _ => None,
    };
    let letters = |part: &str| match part {
        "" => None,
        "none" => Some(0),
        part => part.chars().try_fold(0, |bits, next| letter(next).map(|more| bits | more)),
    };
    bits(word, "a share mode", letters).map(ShareMode::from_bits_retain)
}

pub(crate) fn disposition(word: &str) -> Result<Disposition, String> {
    match word {
        "supersede" => Ok(Disposition::Supersede),
        "open" => Ok(Disposition::Open),
        "create" => Ok(Disposition::Create),
        "open-if" => Ok(Disposition::OpenIf),
        "overwrite" => Ok(Disposition::Overwrite),
        "overwrite-if" => Ok(Disposition::OverwriteIf),
        _ => Err(format!("no disposition: {word}")),
    }
}

pub(crate) fn action_name(action: CreateAction) -> &'static str {
    match action {
        CreateAction::Superseded => "superseded",
        CreateAction::Opened => "opened",
        CreateAction::Created => "created",
        CreateAction::Overwritten => "overwritten",
    }
}

pub(crate) fn lease_flags(word: &str) -> Result<LeaseFlags, String> {
    let named = |name: &str| match name {
        "breaking" => Some(LeaseFlags::BREAK_IN_PROGRESS.bits()),
        _ => None,
    };
    bits(word, "a lease", named).map(LeaseFlags::from_bits_retain)
}

pub(crate) fn dialect(word: &str) -> Result<Dialect, String> {
    match word {
        "2.0.2" => Ok(Dialect::Smb202),
        "2.1" => Ok(Dialect::Smb210),
        "3.0" => Ok(Dialect::Smb300),
        "3.0.2" => Ok(Dialect::Smb302),
        "3.1.1" => Ok(Dialect::Smb311),
        _ => Err(format!("no dialect: {word}")),
    }
}

/// First octet and length: `0+10`.
pub(crate) fn range(word: &str) -> Result<(u64, u64), String> {
    let (offset, len) =
        word.split_once('+').ok_or_else(|| format!("a range is OFFSET+LENGTH, not {word}"))?;
    Ok((integer(offset)?, integer(len)?))
}

/// `nlm:h1`: a protocol, and a client that speaks it.
pub(crate) fn host(word: &str) -> Result<(Protocol, u64), String> {
    let (protocol, host) =
        word.split_once(':').ok_or_else(|| format!("a host is PROTOCOL:h1, not {word}"))?;
    let found = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
    let (_, protocol) = found.ok_or_else(|| format!("no such protocol: {protocol}"))?;
    Ok((*protocol, numbered(host, 'h', "a host")?))
}

/// `nlm:h1.p3`: the third owner on that host.
pub(crate) fn owner(word: &str) -> Result<OwnerId, String> {
    let (of_host, id) =
        word.split_once('.').ok_or_else(|| format!("an owner is PROTOCOL:h1.p1, not {word}"))?;
    let (protocol, host) = host(of_host)?;
    Ok(OwnerId::new(protocol, host, numbered(id, 'p', "an owner")?))
}

pub(crate) fn owner_name(owner: OwnerId) -> String {
    let found = PROTOCOLS.iter().find(|(_, protocol)| *protocol == owner.protocol);
    format!("{}:h{}.p{}", found.map_or("?", |(name, _)| name), owner.host, owner.id)
}

const PROTOCOLS: [(&str, Protocol); 4] =
    [("nfs3", Protocol::Nfs3), ("nlm", Protocol::Nlm), ("nfs4", Protocol::Nfs4), ("local", Protocol::Local)];

/// As `range`; `0+end` leads to the end of the file, wherever that will be.
pub(crate) fn owner_range(word: &str) -> Result<(u64, u64), String> {
    match word.split_once('+') {
        Some((offset, "end")) => Ok((integer(offset)?, u64::MAX)),
        _ => range(word),
    }
}

/// The inverse of the above, as far as nothing is known of the end of the file.
pub(crate) fn owner_range_name(offset: u64, len: u64) -> String {
    let last = offset.saturating_add(len.saturating_sub(1));
    if last >= u64::MAX.saturating_sub(1) { format!("{offset}+end") } else { format!("{offset}+{len}") }
}

/// What NFSv4 and NLM reserve, and deny: `read`, `write`, `read+write`.
pub(crate) fn data_access(word: &str) -> Result<Access, String> {
    let named = |name: &str| match name {
        "read" => Some(Access::READ_DATA.bits()),
        "write" => Some(Access::WRITE_DATA.bits()),
        _ => None,
    };
    bits(word, "a reservation", named).map(Access::from_bits_retain)
}

/// A range and what to do with it: `X` exclusive, `S` shared, `U` unlock, `!` fail immediately, `-` no flag at all.
pub(crate) fn lock_element(word: &str) -> Result<LockElement, String> {
    let (place, letters) =
        word.split_once(':').ok_or_else(|| format!("a lock is RANGE:FLAGS, not {word}"))?;
    let (offset, len) = range(place)?;
    let flag = |letter: char| match letter {
        'S' => Some(LockFlags::SHARED),
        'X' => Some(LockFlags::EXCLUSIVE),
        'U' => Some(LockFlags::UNLOCK),
        '!' => Some(LockFlags::FAIL_IMMEDIATELY),
        _ => None,
    };
    let named = |part: &str| match part {
        "" => None,
        "-" => Some(0),
        part => part.chars().try_fold(0, |bits, next| flag(next).map(|more| bits | more.bits())),
    };
    let flags = bits(letters, "a lock", named).map(LockFlags::from_bits_retain)?;
    Ok(LockElement { offset, len, flags })
}

/// Every name that the crate has for a status, with `STATUS_` or without it; others as a number.
pub(crate) fn status(word: &str) -> Result<Status, String> {
    const NAMED: [Status; 23] = [
        Status::SUCCESS,
        Status::PENDING,
        Status::UNSUCCESSFUL,
        Status::INVALID_PARAMETER,
        Status::OBJECT_NAME_NOT_FOUND,
        Status::SHARING_VIOLATION,
        Status::INSUFFICIENT_RESOURCES,
        Status::FILE_LOCK_CONFLICT,
        Status::LOCK_NOT_GRANTED,
        Status::RANGE_NOT_LOCKED,
        Status::INVALID_LOCK_RANGE,
        Status::ACCESS_DENIED,
        Status::INVALID_DEVICE_STATE,
        Status::DELETE_PENDING,
        Status::NOT_SUPPORTED,
        Status::REQUEST_NOT_ACCEPTED,
        Status::INVALID_OPLOCK_PROTOCOL,
        Status::CANCELLED,
        Status::FILE_CLOSED,
        Status::INVALID_NETWORK_RESPONSE,
        Status::CONNECTION_DISCONNECTED,
        Status::USER_SESSION_DELETED,
        Status::NETWORK_NAME_DELETED,
    ];
    if word.starts_with("0x") {
        return integer32(word).map(Status::from_wire);
    }
    let name = word.strip_prefix("STATUS_").unwrap_or(word);
    let found = NAMED.into_iter().find(|status| status.name() == Some(name));
    found.ok_or_else(|| format!("no status: {word}; a number will do"))
}
