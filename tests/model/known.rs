//! Where the machine is known to differ: the model follows it as long as these are true, or the histories go round it.

/// An open whose record could not be stored is durable also if the serial number of its FileId is not reserved for certain.
pub const DURABLE_BEFORE_SERIALS: bool = true;
/// One that is not even a file, or not open for data, can be replayed all the same (MS-SMB2 3.3.5.9.10).
pub const REPLAYABLE_WITHOUT_PROMISE: bool = true;
/// Of a CREATE that is sent again the flag is looked at before the session is (MS-SMB2 3.3.5.9 has it the other way round).
pub const FLAG_BEFORE_SESSION: bool = true;
/// R or RH comes back as nothing behind a lock of any open, though nobody was turned away, and RH turns others away behind a lock
/// of any open (the sheet: behind one of its own; and as nothing only if somebody was turned away).
pub const LOCKS_OF_ANYBODY: bool = true;
/// A lease that was restored keeps W when an open of another is restored behind it; the other way round it does not.
pub const GHOST_BESIDE_WRITE: bool = true;
/// What an open caches that nobody has heard of, and that was left before the store had it, is waited for like any other.
pub const WAITS_FOR_NOBODY: bool = true;
/// Where all that is left of a lease waits for the store, a break in flight, told for an open that is closed by now, goes on, and
/// who needs more than it asks for is let in at once. The store takes what such a lease waits for.
pub const BREAK_WITHOUT_END: bool = true;
/// Who asks more of a break that is kept waits for the client, also where what is asked more would delay nobody.
pub const WAITS_FOR_KEPT: bool = true;
/// What the first open that is claimed after a restart makes of its lease is not stored with the other opens of that lease.
pub const SIBLINGS_LET_BE: bool = true;
/// A break that is kept since its client logged off counts as told when it is reported that a connection did not carry it: its client
/// is not told when it is back. Such reports are not made.
pub const SENT_TO_NOBODY: bool = true;
/// A break in flight is not kept when the last open of its lease that has a connection is closed, and others are away.
pub const CLOSED_IS_NOT_LOST: bool = true;
/// A CREATE that waits for the store when its channel goes, and another is left, stays in the list of that other for ever:
/// [`idle`](leasehold::server::Server::idle) is never true again. Such channels go when the store is done.
pub const GRANT_OF_A_LOST_CHANNEL: bool = true;
/// A break that is kept over a restart, and of which the client's word leaves nothing that has to be acknowledged, is sent again each time
/// that the client comes back: from nothing to nothing. Clients say in this case that they have all that is recorded.
pub const KEPT_FOR_EVER: bool = true;
