//! Leases and oplocks of clients that are connected.

use leasehold::client::{Opening, Want};
use leasehold::server::Capabilities;
use leasehold::{Access, CreateOptions, Dialect, Disposition, LeaseState, OplockLevel, ShareMode};

use super::super::driver::READ_WRITE;
use super::super::world::{A, B, Trouble, World, check};

pub(super) fn usual(opening: Opening) -> Opening {
    opening
}

pub(super) fn read_only(opening: Opening) -> Opening {
    opening.access(Access::READ_DATA | Access::READ_ATTRIBUTES | Access::SYNCHRONIZE, ShareMode::ALL)
}

pub(super) fn batch_oplock(opening: Opening) -> Opening {
    opening.want(Want::Level(OplockLevel::Batch))
}

pub(super) fn leases(world: &mut World) -> Result<(), Trouble> {
    world.needs(Dialect::Smb210, Capabilities::LEASING, "leases")
}

/// Whether leases have epochs.
fn modern(world: &mut World) -> Result<bool, Trouble> {
    Ok(world.terms()?.0.dialect >= Dialect::Smb300)
}

pub(super) fn same(found: &str, expected: &str) -> Result<(), Trouble> {
    check(found == expected, || format!("read {found:?}, not {expected:?}"))
}

/// What a client holds on a name.
pub(super) fn holds(world: &mut World, who: usize, name: &str, state: LeaseState) -> Result<(), Trouble> {
    let (held, _) = world.lease(who, name)?;
    check(held == state, || format!("{name} is held with {held}, not {state}"))
}

pub(super) fn granted(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    world.open(A, "x", usual)?;
    holds(world, A, "x", LeaseState::RWH)?;
    if modern(world)? {
        // MS-SMB2 3.3.5.9.11: one more than the request has.
        world.expect(["A> CREATE x RWH/0", "A< CREATE x SUCCESS RWH/1"])?;
    } else {
        world.expect(["A> CREATE x RWH DHnQ", "A< CREATE x SUCCESS RWH"])?;
        check(!world.has("A< CREATE", "RWH/"), || "version 2 of a lease on 2.1".into())?;
    }
    Ok(())
}

pub(super) fn broken(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    world.write(A, a, "written by A")?;
    world.never("A> WRITE")?;
    let b = world.open(B, "x", usual)?;
    world.settle()?;
    let back = ["A< BREAK RWH-RH", "A> WRITE 12", "A< WRITE SUCCESS", "A> ACK RH", "A< ACK SUCCESS"];
    world.expect(back)?;
    world.expect(["A> ACK RH", "B< CREATE x SUCCESS RH"])?;
    let (read, again) = (world.read(B, b)?, world.read(A, a)?);
    same(&read, "written by A")?;
    same(&again, "written by A")?;
    // B writes: what A has cached is old now.
    world.write(B, b, "written by B")?;
    world.await_line("A< BREAK RH--")?;
    world.settle()?;
    let read = world.read(A, a)?;
    same(&read, "written by B")?;
    holds(world, A, "x", LeaseState::NONE)
}

pub(super) fn shared(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    world.write(A, a, "text")?;
    let b = world.open(B, "x", read_only)?;
    world.settle()?;
    holds(world, A, "x", LeaseState::RH)?;
    holds(world, B, "x", LeaseState::RH)?;
    let first = world.read(B, b)?;
    let second = world.read(B, b)?;
    let own = world.read(A, a)?;
    [first, second, own].iter().try_for_each(|read| same(read, "text"))?;
    world.never("A> READ")?;
    check(world.count("B> READ") == 1, || "B does not read from its cache".into())
}

pub(super) fn kept(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    world.client(A)?.release(a)?;
    world.open(A, "x", usual)?;
    world.settle()?;
    world.never("A> CLOSE")?;
    check(world.count("A> CREATE") == 1, || "a second CREATE was sent".into())
}

pub(super) fn sharing(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let readers = |opening: Opening| opening.access(Access::READ_DATA, ShareMode::READ);
    let a = world.open(A, "x", readers)?;
    world.client(A)?.release(a)?;
    world.settle()?;
    world.never("A> CLOSE")?;
    world.open(B, "x", usual)?;
    world.settle()?;
    world.expect(["A< BREAK RH-R", "A> CLOSE x", "A< CLOSE SUCCESS"])?;
    world.expect(["A> CLOSE x", "B< CREATE x SUCCESS"])?;
    // MS-SMB2 3.2.5.19.2: the CLOSE of the last handle is the answer.
    world.never("A> ACK")
}

pub(super) fn excluded(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let alone = |opening: Opening| opening.access(READ_WRITE, ShareMode::empty());
    let a = world.open(A, "x", alone)?;
    world.write(A, a, "still mine")?;
    let request = world.begin_open(B, "x", usual)?;
    let refused = world.await_open(B, "x", request).is_err();
    world.settle()?;
    world.expect(["A< BREAK RWH-RW", "A> ACK RW", "A< ACK SUCCESS"])?;
    world.expect(["A> ACK RW", "B< CREATE x SHARING_VIOLATION"])?;
    check(refused, || "B has the file all the same".into())?;
    world.never("A> WRITE")?;
    holds(world, A, "x", LeaseState::RW)
}

pub(super) fn overwritten(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let a = world.open(A, "x", usual)?;
    world.write(A, a, "overwritten")?;
    let anew = CreateOptions::NON_DIRECTORY_FILE;
    world.open(B, "x", |opening| opening.disposition(Disposition::OverwriteIf, anew))?;
    world.settle()?;
    world.expect(["A< BREAK RWH--", "A> WRITE 11", "A< WRITE SUCCESS", "A> ACK -", "A< ACK SUCCESS"])?;
    world.expect(["A> ACK -", "B< CREATE x SUCCESS"])?;
    let read = world.read(A, a)?;
    same(&read, "")
}

pub(super) fn raised(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    world.open(A, "x", read_only)?;
    holds(world, A, "x", LeaseState::RH)?;
    let (_, before) = world.lease(A, "x")?;
    world.open(A, "x", usual)?;
    holds(world, A, "x", LeaseState::RWH)?;
    let (_, after) = world.lease(A, "x")?;
    world.never("A< BREAK")?;
    let steps = u16::from(modern(world)?);
    check(after.since(before) == Some(steps), || format!("{before:?} became {after:?}"))
}

pub(super) fn two_names(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    world.open(A, "x", usual)?;
    world.open(A, "y", usual)?;
    world.open(B, "x", usual)?;
    world.settle()?;
    holds(world, A, "x", LeaseState::RH)?;
    holds(world, A, "y", LeaseState::RWH)?;
    check(world.count("A< BREAK") == 1, || "more than one break".into())
}

pub(super) fn oplock(world: &mut World) -> Result<(), Trouble> {
    let a = world.open(A, "x", batch_oplock)?;
    world.write(A, a, "old")?;
    world.expect(["A> CREATE x BATCH", "A< CREATE x SUCCESS BATCH"])?;
    world.never("A> WRITE")?;
    let b = world.open(B, "x", batch_oplock)?;
    world.settle()?;
    let back = ["A< BREAK II", "A> WRITE 3", "A< WRITE SUCCESS", "A> ACK II", "A< ACK SUCCESS"];
    world.expect(back)?;
    world.expect(["A> ACK II", "B< CREATE x SUCCESS II"])?;
    let read = world.read(B, b)?;
    same(&read, "old")?;
    world.write(B, b, "new")?;
    world.await_line("A< BREAK NONE")?;
    world.settle()?;
    check(world.count("A> ACK") == 1, || "a break of II was acknowledged".into())?;
    let read = world.read(A, a)?;
    same(&read, "new")
}

/// RW keeps no handle: the file closes, and the break meets what is written back before.
pub(super) fn closing(world: &mut World) -> Result<(), Trouble> {
    leases(world)?;
    let no_h = |opening: Opening| opening.want(Want::State(LeaseState::RW));
    let a = world.open(A, "x", no_h)?;
    holds(world, A, "x", LeaseState::RW)?;
    world.write(A, a, "last words")?;
    let request = world.begin_open(B, "x", usual)?;
    world.await_message(A)?;
    world.client(A)?.release(a)?;
    let b = world.await_open(B, "x", request)?;
    world.settle()?;
    world.expect(["A: release x", "A> WRITE 10", "A< BREAK RW-", "A> CLOSE x", "A< CLOSE SUCCESS"])?;
    world.expect(["A> CLOSE x", "B< CREATE x SUCCESS"])?;
    world.never("A> ACK")?;
    let read = world.read(B, b)?;
    same(&read, "last words")
}

pub(super) fn directory(world: &mut World) -> Result<(), Trouble> {
    world.needs(Dialect::Smb300, Capabilities::DIRECTORY_LEASING, "directory leases")?;
    let directory = |opening: Opening| {
        let options = CreateOptions::DIRECTORY_FILE;
        read_only(opening).disposition(Disposition::OpenIf, options)
    };
    world.open(A, "d", directory)?;
    holds(world, A, "d", LeaseState::RH)?;
    // A's own file carries the key of the directory (ParentLeaseKey), B's another one.
    world.open(A, "d\\own", usual)?;
    world.settle()?;
    world.never("A< BREAK")?;
    world.open(B, "d\\other", usual)?;
    world.await_line("A< BREAK RH-")?;
    world.settle()?;
    world.expect(["B> CREATE d\\other", "A< BREAK RH-"])
}
