//! What one client may cost.

use leasehold::server::{LockElement, LockFlags};
use leasehold::wire::{ContextWriter, CreateRequest, HeaderFlags, Route};
use leasehold::{Access, Dialect, FileId, OplockLevel, Status};

use super::client::{Client, World, create, fields};
use crate::fs::nt;
use crate::smb::octets::to_utf16;
use crate::smb::request::{Ioctl, Request};

fn batch(name: &[u8]) -> Request<'_> {
    Request::Create(CreateRequest { level: OplockLevel::Batch, ..fields(name) })
}

/// How many requests are taken before one is refused.
fn taken(world: &mut World, client: &mut Client, request: &Request<'_>, most: usize) -> Option<usize> {
    (0..=most).find(|_| {
        let answer = world.call(client, request);
        assert!(
            [Status::SUCCESS, Status::PENDING, Status::INSUFFICIENT_RESOURCES].contains(&answer.status())
        );
        answer.status() == Status::INSUFFICIENT_RESOURCES
    })
}

#[test]
fn one_connection_waits_for_so_many_things_and_no_more() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    let file_id = world.open(&mut client, "");
    let watch = Request::ChangeNotify { file_id, flags: 0, filter: 0x17, max_output: 100 };
    assert!(taken(&mut world, &mut client, &watch, 5000).is_some());
    // What is answered makes room.
    world.send(&mut client, &Request::Close { file_id, query_attributes: false });
    let statuses = world.statuses(&client);
    assert!(statuses.contains(&nt::NOTIFY_CLEANUP) && statuses.contains(&Status::SUCCESS));
    world.open(&mut client, "");
    world.end(&[&client]);
}

#[test]
fn what_waits_holds_so_many_octets_and_no_more() {
    let mut world = World::new();
    let mut holder = world.enter(1, 1, Dialect::Smb302, "");
    let mut client = world.enter(2, 2, Dialect::Smb302, "");
    let name = to_utf16("f");
    world.call(&mut holder, &batch(&name));
    // Behind a CREATE that waits for a break lies a WRITE of a megabyte.
    client.charge = 16;
    let data = vec![0; 1 << 20];
    let write = Request::Write { file_id: FileId::PREVIOUS, offset: 0, data: &data };
    let mut refused = false;
    for _ in 0..200 {
        let (create, flags) = (create(&name), HeaderFlags::RELATED_OPERATIONS);
        world.compound(&mut client, &[(&create, HeaderFlags::empty()), (&write, flags)]);
        refused |= world.statuses(&client).contains(&Status::INSUFFICIENT_RESOURCES);
    }
    assert!(refused);
    world.end(&[&holder, &client]);
}

#[test]
fn sessions_of_a_connection_and_tree_connects_of_a_session_are_bounded() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "");
    let path = to_utf16("\\\\server\\share");
    let trees = taken(&mut world, &mut client, &Request::TreeConnect(&path), 5000);
    assert!(trees.is_some());
    let sessions = (0..5000).find(|_| {
        client.session = leasehold::SessionId::new(0);
        world.sign_in(&mut client, "", 1, 0).status() == Status::INSUFFICIENT_RESOURCES
    });
    assert!(sessions.is_some());
    world.end(&[&client]);
}

#[test]
fn tree_connects_do_not_run_out_with_time() {
    let mut world = World::new();
    world.engine.last = u64::from(u32::MAX);
    let client = world.enter(1, 1, Dialect::Smb302, "");
    assert_ne!(client.tree.get(), 0);
}

#[test]
fn a_dialect_without_multi_credit_ignores_the_charge() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb202, "");
    let mut echo = client.message(&Request::Echo, HeaderFlags::empty());
    echo[6..8].copy_from_slice(&0xffff_u16.to_le_bytes());
    world.raw(&client, &echo);
    assert_eq!(world.statuses(&client), [Status::SUCCESS]);
    assert_eq!(world.call(&mut client, &Request::Echo).status(), Status::SUCCESS);
}

#[test]
fn a_watch_asks_for_no_more_than_a_message_can_hold() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "");
    let file_id = world.open(&mut client, "");
    let watch = Request::ChangeNotify { file_id, flags: 0, filter: 0x17, max_output: u32::MAX };
    assert_eq!(world.call(&mut client, &watch).status(), Status::INVALID_PARAMETER);
}

/// DH2Q that asks for a persistent handle.
fn persistent(room: &mut [u8; 64], guid: u8) -> &[u8] {
    let mut body = [0; 32];
    body[4] = 2;
    body[16..].fill(guid);
    let mut writer = ContextWriter::new(room);
    writer.push(b"DH2Q", &body).unwrap();
    let len = writer.finish();
    &room[..len]
}

#[test]
fn a_connection_that_is_lost_while_the_store_is_slow_leaves_nothing() {
    for step in 0..4 {
        let mut world = World::new();
        let mut client = world.connect(1, 1, Dialect::Smb302);
        world.sign_in(&mut client, "ann", 1, 0);
        world.tree(&mut client, "ca");
        let (name, mut room) = (to_utf16("f"), [0; 64]);
        let contexts = persistent(&mut room, 7);
        let wanted = Request::Create(CreateRequest { level: OplockLevel::Batch, contexts, ..fields(&name) });
        world.slow = step == 0;
        world.send(&mut client, &wanted);
        let heard = world.heard(&client);
        assert_eq!(heard.is_empty(), step == 0, "the grant waits for the store");
        world.slow = true;
        if let Some(file_id) = heard.first().map(super::client::Answer::file) {
            let request = match step {
                1 => Request::Close { file_id, query_attributes: true },
                2 => Request::TreeDisconnect,
                _ => Request::Logoff,
            };
            world.send(&mut client, &request);
        }
        world.lose(&client);
        world.store();
        world.engine.set_time(leasehold::Instant::from_millis(10_000_000), 0);
        world.engine.handle_timeout();
        world.end(&[]);
    }
}

#[test]
fn a_break_that_cannot_be_sent_goes_by_another_channel() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    let mut channel = world.connect(2, 1, Dialect::Smb302);
    let key = client.key;
    assert_eq!(world.bind(&mut channel, &client, "ann", [key, key]).status(), Status::SUCCESS);
    let mut other = world.enter(3, 2, Dialect::Smb302, "ann");
    let name = to_utf16("f");
    let held = world.call(&mut client, &batch(&name)).file();
    let forget = Ioctl { code: 0x8384_8003, file_id: held, input: &[], max_output: 0, is_fsctl: true };
    assert_eq!(world.call(&mut client, &Request::Ioctl(forget)).status(), Status::SUCCESS);
    world.send(&mut other, &create(&name));
    assert_eq!(world.statuses(&other), [Status::PENDING]);
    world.engine.set_time(leasehold::Instant::from_millis(2000), 0);
    world.engine.handle_timeout();
    world.work();
    assert!(world.closed.contains(&1));
    let heard = world.heard(&channel);
    assert_eq!(heard.len(), 1, "the break, again: {heard:?}");
    let ack = leasehold::wire::OplockBreak { level: OplockLevel::II, file_id: held };
    assert_eq!(world.call(&mut channel, &Request::OplockAck(ack)).status(), Status::SUCCESS);
    assert_eq!(world.statuses(&other), [Status::SUCCESS]);
    world.end(&[&channel, &other]);
}

#[test]
fn a_lock_needs_a_handle_that_reads_or_writes() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    let file = world.open(&mut client, "f");
    let name = to_utf16("f");
    let desired = Access::from_bits_retain(0x0010_0080);
    let answer = world.call(&mut client, &Request::Create(CreateRequest { desired, ..fields(&name) }));
    let flags = LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY;
    let elements = vec![LockElement { offset: 0, len: 1, flags }];
    let lock = |file_id| Request::Lock { file_id, sequence: 0, elements: elements.clone() };
    assert_eq!(world.call(&mut client, &lock(answer.file())).status(), nt::ACCESS_DENIED);
    assert_eq!(world.call(&mut client, &lock(file)).status(), Status::SUCCESS);
    assert!(matches!(answer.header.route, Route::Sync { .. }));
}

#[test]
fn a_create_cannot_be_replayed_once_its_open_was_used_in_any_way() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    for (guid, code) in [(1, None), (2, Some(0x0009_00a8)), (3, Some(0x0009_00c0))] {
        let (name, mut room) = (to_utf16(&format!("f{guid}")), [0; 64]);
        let contexts = persistent(&mut room, guid);
        let wanted = CreateRequest { level: OplockLevel::Batch, contexts, ..fields(&name) };
        let file_id = world.call(&mut client, &Request::Create(wanted)).file();
        if let Some(code) = code {
            let ioctl = Ioctl { code, file_id, input: &[], max_output: 64, is_fsctl: true };
            world.call(&mut client, &Request::Ioctl(ioctl));
        }
        let again = client.message(&Request::Create(wanted), HeaderFlags::REPLAY_OPERATION);
        world.raw(&client, &again);
        // If not, it is another CREATE, which breaks the oplock of the first.
        let heard = world.heard(&client);
        let same = heard
            .iter()
            .any(|answer| answer.status() == Status::SUCCESS && answer.created() == Some(file_id));
        assert_eq!(same, code.is_none(), "{code:x?}: {heard:?}");
    }
}
