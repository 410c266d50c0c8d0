//! Two clients share a file through one server, and every message between them is real bytes.
//!
//! Three machines of this crate, a page cache of one page per client, and a disk that is a string. Around them is what a server or
//! client has anyway: names, data, and the codecs of READ, WRITE and CLOSE. The clock is part of the story: nobody really waits.
//!
//! Run it with `cargo run --example two_clients`.

#[path = "../shared/mod.rs"]
mod shared;

mod bytes;
mod world;

use std::fs;
use std::time::Duration;

use leasehold::persist::{Record, RecordError};
use leasehold::server::ShareFlags;
use leasehold::{Disposition, LeaseState, Status};
use shared::application::{Promise, Source};
use shared::store::Store;
use shared::{Outcome, check};
use world::Who::{Alice, Bob};
use world::World;

const CONTINUOUSLY_AVAILABLE: ShareFlags = ShareFlags::CONTINUOUSLY_AVAILABLE;
const NONE: LeaseState = LeaseState::NONE;
const R: LeaseState = LeaseState::R;
const RH: LeaseState = LeaseState::RH;
const RWH: LeaseState = LeaseState::RWH;

fn main() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut world = World::new(Store::new(dir.path()))?;
    sharing(&mut world)?;
    silence(&mut world)?;
    lost_connection(&mut world)?;
    server_restart(&mut world)?;
    damaged_record(&mut world)?;
    world.act("Both go.");
    world.disconnect(Alice)?;
    world.disconnect(Bob)?;
    let nothing = world.server.idle() && world.files.handles.is_empty() && world.store.files()?.is_empty();
    check(nothing, "nothing is left at the server, nor in its store")
}

fn sharing(world: &mut World) -> Outcome {
    world.act("Alice opens the file. Nobody else has it: she may cache reads, writes and the handle.");
    let alice = world.open(Alice, RWH)?;
    world.expect(Alice, RWH)?;
    world.write(Alice, alice, "draft 2, alice's", Source::Cache)?;

    world.act("Bob opens it too. Alice has to write back and give up W before he sees anything.");
    let bob = world.open(Bob, RH)?;
    world.expect(Alice, RH)?;
    world.expect(Bob, RH)?;
    world.read(Bob, bob, ("draft 2, alice's", Source::Server))?;

    world.act("Bob writes. He may not cache that, so it goes to the server; Alice's cache is void, but nobody waits for her.");
    world.write(Bob, bob, "final, bob's", Source::Server)?;
    world.expect(Alice, NONE)?;
    world.expect(Bob, RH)?;
    world.read(Alice, alice, ("final, bob's", Source::Server))?;

    world.act("Both close. Bob's close is kept back, as his lease has H; Alice's is not.");
    world.release(Alice, alice)?;
    world.release(Bob, bob)?;
    check(world.files.handles.len() == 1, "bob's handle is still open at the server")
}

fn silence(world: &mut World) -> Outcome {
    world.act("Alice opens the file to overwrite it. Bob's kept handle goes when he hears of it.");
    let alice = world.open_as(Alice, RWH, Disposition::OverwriteIf, Promise::Nothing)?;
    world.expect(Bob, NONE)?;

    world.act("Bob has gone, so Alice asks again and gets everything.");
    let again = world.open(Alice, RWH)?;
    world.expect(Alice, RWH)?;

    world.act("Alice falls silent. Bob waits for her for the 35 seconds of the protocol, and no longer.");
    world.write(Alice, again, "draft 3, late", Source::Cache)?;
    world.falls_silent(Alice);
    let asked = world.now();
    let bob = world.open(Bob, R)?;
    check(world.now().saturating_since(asked).as_secs() == 35, "bob has waited for 35 seconds")?;
    world.expect(Bob, R)?;

    world.act(
        "Alice wakes up. Her late write takes Bob's cache; her late answer is refused: she holds nothing.",
    );
    world.wakes_up(Alice)?;
    world.expect(Alice, NONE)?;
    world.expect(Bob, NONE)?;
    world.read(Bob, bob, ("draft 3, late", Source::Server))?;

    world.act("All is closed.");
    world.release(Alice, alice)?;
    world.release(Alice, again)?;
    world.release(Bob, bob)?;
    check(world.files.handles.is_empty(), "no handle is open at the server")
}

fn lost_connection(world: &mut World) -> Outcome {
    world.act("Alice opens the file, and asks for a handle that outlives its connection: DH2Q beside RqLs.");
    let alice = world.open_as(Alice, RWH, Disposition::Open, Promise::Durable)?;
    world.expect(Alice, RWH)?;
    world.write(Alice, alice, "draft 4, alice's", Source::Cache)?;

    world
        .act("Her connection is lost. The server keeps her open and her lease, and she keeps what is dirty.");
    world.disconnect(Alice)?;
    check(world.orphans() == 1, "the server keeps an open for a client that is gone")?;
    world.cannot_read(Alice, alice, Status::CONNECTION_DISCONNECTED)?;

    world.act("She comes back, and asks for her open by DH2C, with her lease. She has it, and her cache is as good as before.");
    world.connect(Alice)?;
    check(world.orphans() == 0, "the open has its client back")?;
    world.expect(Alice, RWH)?;
    world.read(Alice, alice, ("draft 4, alice's", Source::Cache))?;

    world
        .act("Bob opens the file: only now is written back what Alice wrote before her connection was lost.");
    let bob = world.open(Bob, R)?;
    world.expect(Alice, RH)?;
    world.read(Bob, bob, ("draft 4, alice's", Source::Server))?;

    world.act("Bob writes. Alice has to give up what she has; then both close.");
    world.write(Bob, bob, "final, bob's", Source::Server)?;
    world.expect(Alice, NONE)?;
    world.release(Alice, alice)?;
    world.release(Bob, bob)?;
    check(world.files.handles.is_empty(), "no handle is open at the server")
}

fn server_restart(world: &mut World) -> Outcome {
    world.act("The share becomes continuously available, for which the server begins anew: handles can outlive it now.");
    world.restart_server(CONTINUOUSLY_AVAILABLE, Duration::from_secs(1))?;
    world.connect(Alice)?;
    world.connect(Bob)?;

    world.act(
        "Alice opens the file as before. This handle outlives the server: there is a record of it in a file.",
    );
    let alice = world.open_as(Alice, RWH, Disposition::Open, Promise::Durable)?;
    world.expect(Alice, RWH)?;
    let files = world.store.files()?;
    let [path] = files.as_slice() else { return Err("one open has one record".into()) };
    let record = Record::decode(&fs::read(path)?)?;
    println!("           {:016x}.record: {} octets", record.persistent, record.encoded_len());
    check(record.lease.is_some_and(|lease| lease.state() == RWH), "the record has her lease")?;
    world.write(Alice, alice, "draft 5, alice's", Source::Cache)?;

    world.act("The server goes down for ten seconds, and reads its records. Alice's open is there, and waits for her.");
    world.restart_server(CONTINUOUSLY_AVAILABLE, Duration::from_secs(10))?;
    let kept = (world.orphans(), world.files.handles.len());
    check(kept == (1, 1), "the server has an open and its file, for a client that is gone")?;

    world.act("Both come back. Alice asks for her open by DH2C, and has it: her cache is as good as before.");
    world.connect(Bob)?;
    world.connect(Alice)?;
    world.expect(Alice, RWH)?;
    world.read(Alice, alice, ("draft 5, alice's", Source::Cache))?;

    world.act("Bob opens the file: what Alice wrote before the server went down is not lost.");
    let bob = world.open(Bob, R)?;
    world.expect(Alice, RH)?;
    world.read(Bob, bob, ("draft 5, alice's", Source::Server))?;
    world.release(Bob, bob)?;
    world.release(Alice, alice)?;
    check(world.store.files()?.len() == 1, "alice's close is kept back, and her record with it")
}

fn damaged_record(world: &mut World) -> Outcome {
    world.act("Bob has gone, so Alice opens the file again by the handle that was kept back.");
    let alice = world.open_as(Alice, RWH, Disposition::Open, Promise::Durable)?;
    world.read(Alice, alice, ("draft 5, alice's", Source::Cache))?;

    world
        .act("The server goes down again, and meanwhile one bit of the record flips. Such a record is none.");
    let files = world.store.files()?;
    let [path] = files.as_slice() else { return Err("one open has one record".into()) };
    let mut octets = fs::read(path)?;
    *octets.get_mut(100).ok_or("a short record")? ^= 0x10;
    fs::write(path, &octets)?;
    let damaged = world.restart_server(CONTINUOUSLY_AVAILABLE, Duration::from_secs(10))?;
    let told = matches!(damaged.as_slice(), [RecordError::Checksum { .. }]);
    let kept = (world.orphans(), world.files.handles.len());
    check(told && kept == (0, 0), "the server says what is wrong with the record, and has no such open")?;

    world.act("Alice asks for her open, and hears that there is none. What she had cached is void, and she is told so.");
    world.connect(Bob)?;
    world.connect(Alice)?;
    world.expect(Alice, NONE)?;
    world.cannot_read(Alice, alice, Status::FILE_CLOSED)?;
    world.release(Alice, alice)?;
    let again = world.open(Alice, R)?;
    world.read(Alice, again, ("draft 5, alice's", Source::Server))?;
    world.release(Alice, again)
}
