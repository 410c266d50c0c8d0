//! The checks, a row each.

mod caching;
mod durable;

use leasehold::Dialect;
use leasehold::server::{Capabilities, ShareFlags};

use super::seen;
use super::world::{Trouble, World, check};

/// A check, by its name.
pub(super) type Row = (&'static str, fn(&mut World) -> Result<(), Trouble>);

/// Of every dialect.
pub(super) const ROWS: &[Row] = &[
    ("negotiated", negotiated),
    ("lease granted", caching::granted),
    ("lease broken by an open: written back, then acknowledged", caching::broken),
    ("read-only second open leaves RH to both", caching::shared),
    ("close held back, next open served without CREATE", caching::kept),
    ("sharing conflict closes the kept handle", caching::sharing),
    ("sharing conflict with a file in use: H goes, W stays", caching::excluded),
    ("overwriting open: written back, then dropped", caching::overwritten),
    ("lease raised by a further open", caching::raised),
    ("two names, two leases", caching::two_names),
    ("oplock broken to II, and to none without acknowledgment", caching::oplock),
    ("break while the file is being closed", caching::closing),
    ("lease of a directory", caching::directory),
    ("connection reset: reclaimed, then written back", durable::reclaimed),
    ("connection silent: reclaimed with PreviousSessionId", durable::silent),
    ("kept handle reclaimed after a reset", durable::kept),
    ("reclaimed from its record after a restart of the client", durable::restarted),
    ("byte-range lock held after reclaim", durable::locked),
    ("oplock instead of a lease reclaimed", durable::oplock),
    ("reclaim refused after another client opened the file", durable::taken),
    ("connection reset while dirty data is written back", durable::in_flush),
    ("handle that the server has closed", durable::closed_unseen),
    ("one of two channels reset", durable::channel),
    ("channel reset while dirty data is written back", durable::channel_in_flush),
    ("channel reset while the acknowledgment is under way", durable::channel_in_ack),
];

/// Of a share that is continuously available.
pub(super) const PERSISTENT: &[Row] = &[
    ("persistent handle reclaimed, others wait for it", durable::persistent),
    ("persistent handle reclaimed with PreviousSessionId", durable::persistent_silent),
];

/// Takes as long as a server keeps a handle.
pub(super) const TIMED: Row = ("reclaim refused after the handle timed out", durable::timed_out);

fn negotiated(world: &mut World) -> Result<(), Trouble> {
    let (terms, share) = world.terms()?;
    let can = |what| terms.capabilities.contains(what);
    let modern = terms.dialect >= Dialect::Smb300;
    let says = [
        (can(Capabilities::LEASING), if modern { "leases v2" } else { "leases v1" }),
        (can(Capabilities::DIRECTORY_LEASING), "directory leases"),
        (can(Capabilities::MULTI_CHANNEL), "multichannel"),
        (can(Capabilities::PERSISTENT_HANDLES), "persistent handles"),
        (share.contains(ShareFlags::CONTINUOUSLY_AVAILABLE), "share continuously available"),
    ];
    let says: Vec<_> = says.into_iter().filter_map(|(yes, name)| yes.then_some(name)).collect();
    let says = if says.is_empty() { "oplocks only".into() } else { says.join(", ") };
    world.note(format!("{}: {says}", seen::dialect(terms.dialect)));
    // MS-SMB2 2.2.4: 2.0.2 knows none of these, 2.1 leases only.
    let known = match terms.dialect {
        Dialect::Smb202 => Capabilities::empty(),
        Dialect::Smb210 => Capabilities::LEASING,
        _ => return Ok(()),
    };
    let all = Capabilities::LEASING | Capabilities::DIRECTORY_LEASING | Capabilities::PERSISTENT_HANDLES;
    check(terms.capabilities.intersection(all).difference(known).is_empty(), || {
        format!("{:?} in {:?}", terms.capabilities, terms.dialect)
    })
}
