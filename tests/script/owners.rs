//! Event lines of other protocols: what owners lock, reserve and have delegated.

use leasehold::server::{DelegationKind, Event, OwnerLock, Reservation};
use leasehold::{Access, FileKey, OwnerId, RequestId, ShareMode};

use super::names::Names;
use super::values::{data_access, file, host, owner, owner_range};
use super::words::Words;

/// Reads such an event; `None` if `verb` is none of them. `lock` is one only where an owner stands.
pub(crate) fn read(verb: &str, words: &mut Words<'_>, names: &mut Names) -> Result<Option<Event>, String> {
    Ok(Some(match verb {
        "unlock" => {
            let (request, owner, file) = asked(words, names)?;
            let (offset, len) = owner_range(words.next("the range")?)?;
            Event::OwnerUnlock { request, owner, file, offset, len }
        }
        "test-lock" => Event::TestLock(lock(words, names)?),
        "reserve" => Event::Reserve(reservation(words, names)?),
        "unreserve" => {
            let (owner, file) = whose(words)?;
            Event::Unreserve { owner, file }
        }
        "delegate" => {
            let (request, owner, file) = asked(words, names)?;
            let kind = delegation(words.next("read or write")?)?;
            Event::Delegate { request, owner, file, kind, reclaims: words.has("reclaim") }
        }
        "return" => {
            let (owner, file) = whose(words)?;
            Event::Returned { owner, file }
        }
        "owner-gone" => Event::OwnerGone { owner: owner(words.next("the owner")?)? },
        "host-gone" => {
            let (protocol, host) = host(words.next("the host")?)?;
            Event::HostGone { protocol, host }
        }
        "grace-over" => Event::GraceOver,
        _ => return Ok(None),
    }))
}

/// `r2 nlm:h1.p3 file=F 0+10 exclusive [wait] [reclaim]`
pub(crate) fn lock(words: &mut Words<'_>, names: &mut Names) -> Result<OwnerLock, String> {
    let (request, owner, file) = asked(words, names)?;
    let (offset, len) = owner_range(words.next("the range")?)?;
    let exclusive = match words.next("shared or exclusive")? {
        "exclusive" => true,
        "shared" => false,
        word => return Err(format!("a lock is shared or exclusive, not {word}")),
    };
    let mut lock = OwnerLock::new(request, owner, file, exclusive).range(offset, len);
    if words.has("wait") {
        lock = lock.waiting();
    }
    Ok(if words.has("reclaim") { lock.reclaiming() } else { lock })
}

/// `r2 nfs4:h1.p1 file=F access=read+write [deny=write] [truncate] [reclaim]`
fn reservation(words: &mut Words<'_>, names: &mut Names) -> Result<Reservation, String> {
    let (request, owner, file) = asked(words, names)?;
    let access = data_access(words.required("access")?)?;
    let denied = words.read("deny", data_access)?.unwrap_or(Access::empty());
    let mut sharing = ShareMode::ALL;
    sharing.set(ShareMode::READ, !denied.contains(Access::READ_DATA));
    sharing.set(ShareMode::WRITE, !denied.contains(Access::WRITE_DATA));
    let mut reservation = Reservation::new(request, owner, file, access).sharing(sharing);
    if words.has("truncate") {
        reservation = reservation.overwriting();
    }
    Ok(if words.has("reclaim") { reservation.reclaiming() } else { reservation })
}

fn delegation(word: &str) -> Result<DelegationKind, String> {
    match word {
        "read" => Ok(DelegationKind::Read),
        "write" => Ok(DelegationKind::Write),
        _ => Err(format!("a delegation is to read or write, not {word}")),
    }
}

/// A request, whose it is, and which file it is about.
fn asked(words: &mut Words<'_>, names: &mut Names) -> Result<(RequestId, OwnerId, FileKey), String> {
    let request = names.fresh(words.next("the request")?)?;
    let (owner, file) = whose(words)?;
    Ok((request, owner, file))
}

fn whose(words: &mut Words<'_>) -> Result<(OwnerId, FileKey), String> {
    Ok((owner(words.next("the owner")?)?, file(words.required("file")?)?))
}
