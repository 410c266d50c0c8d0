//! Handles that outlive their connection.

use std::time::Duration;

use leasehold::client::{OpenRef, PreviousSession};
use leasehold::server::{Capabilities, LockFlags, ShareFlags};
use leasehold::{Dialect, LeaseState, Status};

use super::super::driver::Cut;
use super::super::world::{A, B, Trouble, World, check};
use super::caching::{batch_oplock, holds, leases, read_only, same, usual};

/// At once.
const NOW: Duration = Duration::ZERO;

fn is_durable(world: &World) -> Result<(), Trouble> {
    check(world.has("A> CREATE x", " DH"), || "a durable handle was not asked for".into())?;
    let granted = world.has("A< CREATE x SUCCESS", " DH");
    if granted { Ok(()) } else { Err(Trouble::NotOffered("durable handles")) }
}

/// Loses the connection, makes a new one, and waits for the answer to the reconnect.
fn come_back(world: &mut World, cut: Cut, previous: PreviousSession) -> Result<(), Trouble> {
    world.client(A)?.cut(cut, NOW)?;
    world.expect(["A: away x"])?;
    world.client(A)?.connect(previous)?;
    world.await_line("A: regained x")?;
    world.settle()?;
    let version = if world.has("A< CREATE x SUCCESS", " DH2Q") { " DH2C" } else { " DHnC" };
    check(world.has("A> CREATE x", version), || format!("no{version} was sent"))
}

/// What A had not written back is there when B opens the file.
fn still_written_back(world: &mut World, text: &str) -> Result<(), Trouble> {
    world.never("A> WRITE")?;
    let b = world.open(B, "x", usual)?;
    world.settle()?;
    world.expect([
        "A: regained x",
        "A< BREAK",
        "A> WRITE",
        "A< WRITE SUCCESS",
        "A> ACK",
        "A< ACK SUCCESS",
    ])?;
    let read = world.read(B, b)?;
    same(&read, text)
}

pub(super) fn reclaimed(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "kept over the loss")?;
    come_back(world, Cut::Reset, PreviousSession::Unknown)?;
    holds(world, A, "x", LeaseState::RWH)?;
    still_written_back(world, "kept over the loss")
}

pub(super) fn silent(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "kept over the silence")?;
    come_back(world, Cut::Silence, PreviousSession::Ended)?;
    holds(world, A, "x", LeaseState::RWH)?;
    still_written_back(world, "kept over the silence")
}

pub(super) fn kept(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "closed by its application")?;
    world.client(A)?.release(a)?;
    come_back(world, Cut::Reset, PreviousSession::Unknown)?;
    world.never("A> CLOSE")?;
    still_written_back(world, "closed by its application")
}

pub(super) fn restarted(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "on the disk of the client")?;
    world.client(A)?.restart()?;
    world.client(A)?.connect(PreviousSession::Ended)?;
    world.await_line("A: regained x")?;
    world.settle()?;
    world.expect(["A: restart", "A: restored x", "A> CREATE x RWH", "A: regained x"])?;
    holds(world, A, "x", LeaseState::RWH)?;
    still_written_back(world, "on the disk of the client")
}

pub(super) fn locked(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "locked")?;
    let exclusive = LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY;
    let locked = world.lock(A, a, exclusive)?;
    check(locked.is_ok(), || format!("LOCK: {locked:?}"))?;
    come_back(world, Cut::Reset, PreviousSession::Unknown)?;
    let b = world.open(B, "x", usual)?;
    let locked = world.lock(B, b, exclusive)?;
    let freed = world.lock(A, a, LockFlags::UNLOCK)?;
    check(freed.is_ok(), || format!("UNLOCK: {freed:?}"))?;
    check(locked == Err(Status::LOCK_NOT_GRANTED), || format!("B locks what A has locked: {locked:?}"))
}

pub(super) fn oplock(world: &mut World) -> Result<(), Trouble> {
    let a = world.open(A, "x", batch_oplock)?;
    is_durable(world)?;
    world.write(A, a, "under an oplock")?;
    come_back(world, Cut::Reset, PreviousSession::Unknown)?;
    check(world.count("A< CREATE x SUCCESS BATCH") == 2, || "BATCH did not come back".into())?;
    still_written_back(world, "under an oplock")
}

pub(super) fn taken(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    if keeps_for_good(world)? {
        return Err(Trouble::NotOffered("handles that give way"));
    }
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "lost")?;
    world.client(A)?.cut(Cut::Reset, NOW)?;
    let b = world.open(B, "x", usual)?;
    world.write(B, b, "written by B")?;
    world.settle()?;
    world.client(A)?.connect(PreviousSession::Ended)?;
    world.await_line("A: lost x, Refused, OBJECT_NAME_NOT_FOUND, held RWH")?;
    world.settle()?;
    world.expect(["A: lost x", "A: 4 octets were never written back"])?;
    // A reads anew what B has written.
    let a = world.open(A, "x", read_only)?;
    let read = world.read(A, a)?;
    same(&read, "written by B")
}

/// What becomes of the handle is the server's choice: it comes back and is written back, or it does not.
pub(super) fn in_flush(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "in between")?;
    let request = world.begin_open(B, "x", usual)?;
    world.await_line("A> WRITE")?;
    world.client(A)?.cut(Cut::Reset, NOW)?;
    world.expect(["A< BREAK", "A> WRITE", "A: reset", "A: away x"])?;
    world.client(A)?.connect(PreviousSession::Ended)?;
    let b = world.await_open(B, "x", request)?;
    world.settle()?;
    if world.has("A: regained", "x") {
        let read = world.read(B, b)?;
        return same(&read, "in between");
    }
    world.expect(["A: lost x, Refused", "A: 10 octets were never written back"])
}

pub(super) fn closed_unseen(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    world.write(A, a, "lost")?;
    world.client(A)?.close_unseen(a)?;
    let locked = world.lock(A, a, LockFlags::EXCLUSIVE)?;
    check(locked == Err(Status::FILE_CLOSED), || format!("LOCK: {locked:?}"))?;
    world.settle()?;
    world.expect(["A: lost x", "A: 4 octets were never written back"])?;
    holds(world, A, "x", LeaseState::NONE)
}

pub(super) fn channel(world: &mut World) -> Result<(), Trouble> {
    let a = two_channels(world)?;
    world.write(A, a, "by another way")?;
    world.client(A)?.cut(Cut::Reset, NOW)?;
    let b = world.open(B, "x", usual)?;
    world.settle()?;
    world.never("A: away")?;
    world.expect(["A: reset", "A< BREAK RWH-RH", "A> WRITE", "A> ACK RH", "A< ACK SUCCESS"])?;
    let read = world.read(B, b)?;
    same(&read, "by another way")
}

pub(super) fn channel_in_flush(world: &mut World) -> Result<(), Trouble> {
    two_channels_cut_at(world, "A> WRITE")?;
    world.expect(["A> WRITE", "A: reset", "A> WRITE", "A< WRITE SUCCESS", "A> ACK RH", "A< ACK SUCCESS"])
}

/// The answer may say that there is nothing to acknowledge any more: the lease is what it was acknowledged as.
pub(super) fn channel_in_ack(world: &mut World) -> Result<(), Trouble> {
    two_channels_cut_at(world, "A> ACK")?;
    world.expect(["A> WRITE", "A< WRITE SUCCESS", "A> ACK RH", "A: reset", "A> ACK RH", "A< ACK"])
}

fn two_channels_cut_at(world: &mut World, line: &str) -> Result<(), Trouble> {
    let a = two_channels(world)?;
    world.write(A, a, "by another way")?;
    let request = world.begin_open(B, "x", usual)?;
    world.await_line(line)?;
    world.client(A)?.cut(Cut::Reset, NOW)?;
    let b = world.await_open(B, "x", request)?;
    world.settle()?;
    world.never("A: away")?;
    holds(world, A, "x", LeaseState::RH)?;
    let read = world.read(B, b)?;
    same(&read, "by another way")
}

fn two_channels(world: &mut World) -> Result<OpenRef, Trouble> {
    world.needs(Dialect::Smb300, Capabilities::MULTI_CHANNEL, "multichannel")?;
    leases(world)?;
    world.client(A)?.add_channel()?;
    world.open(A, "x", usual)
}

pub(super) fn persistent(world: &mut World) -> Result<(), Trouble> {
    is_persistent(world, "kept for good")?;
    world.client(A)?.cut(Cut::Reset, NOW)?;
    let request = world.begin_open(B, "x", usual)?;
    std::thread::sleep(Duration::from_millis(100));
    world.client(A)?.connect(PreviousSession::Unknown)?;
    let b = world.await_open(B, "x", request)?;
    world.settle()?;
    world.expect(["A: away x", "A: regained x"])?;
    check(world.has("A> CREATE x", "DH2C persistent"), || "asked for as merely durable".into())?;
    let read = world.read(B, b)?;
    same(&read, "kept for good")
}

pub(super) fn persistent_silent(world: &mut World) -> Result<(), Trouble> {
    is_persistent(world, "kept for good")?;
    come_back(world, Cut::Silence, PreviousSession::Ended)?;
    let b = world.open(B, "x", usual)?;
    let read = world.read(B, b)?;
    same(&read, "kept for good")
}

fn is_persistent(world: &mut World, text: &str) -> Result<(), Trouble> {
    if !keeps_for_good(world)? {
        return Err(Trouble::NotOffered("persistent handles"));
    }
    let a = world.open(A, "x", usual)?;
    check(world.has("A< CREATE x SUCCESS", "DH2Q persistent"), || "not granted".into())?;
    world.write(A, a, text)
}

fn keeps_for_good(world: &mut World) -> Result<bool, Trouble> {
    let (terms, share) = world.terms()?;
    let available = share.contains(ShareFlags::CONTINUOUSLY_AVAILABLE);
    Ok(available && terms.capabilities.contains(Capabilities::PERSISTENT_HANDLES))
}

/// A does not notice that the connection is lost, as a host that sleeps: it still asks when the server has the handle no more. B
/// notices at once, and gives up when the time is over.
pub(super) fn timed_out(world: &mut World) -> Result<(), Trouble> {
    world.needs(Dialect::Smb300, Capabilities::LEASING, "the time of a durable handle")?;
    let a = world.open(A, "x", usual)?;
    is_durable(world)?;
    world.write(A, a, "too late")?;
    world.open(B, "y", usual)?;
    let wait = world.wait.unwrap_or_default();
    world.client(B)?.cut(Cut::Reset, NOW)?;
    world.client(A)?.cut(Cut::Reset, wait)?;
    world.note(format!("{wait:?} later"));
    world.client(A)?.connect(PreviousSession::Ended)?;
    world.await_line("A: lost x, Refused, OBJECT_NAME_NOT_FOUND, held RWH")?;
    world.expect(["B: away y", "B: lost y, Expired"])
}
