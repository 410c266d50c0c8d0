//! Sessions, signatures and what ends a connection.

use leasehold::wire::{HeaderFlags, Route};
use leasehold::{ConnId, Dialect, FileId, SessionId, Status};

use super::client::{Client, World, create};
use crate::fs::nt;
use crate::smb::octets::to_utf16;
use crate::smb::request::{Command, Ioctl, Request, SessionSetup};
use crate::smb::signing::SigningKey;

/// SMB2_NEGOTIATE_SIGNING_REQUIRED
const REQUIRED: u8 = 2;

/// Two clients with sessions of the same and of another user.
fn others_key() -> SigningKey {
    SigningKey::derive(Dialect::Smb302, [0x5a; 16], None)
}

fn watch(file_id: FileId) -> Request<'static> {
    Request::ChangeNotify { file_id, flags: 0, filter: 0x17, max_output: 100 }
}

#[test]
fn a_session_whose_client_wants_signatures_gets_nothing_done_without() {
    for dialect in [Dialect::Smb202, Dialect::Smb210, Dialect::Smb302, Dialect::Smb311] {
        let mut world = World::new();
        let mut client = world.connect(1, 1, dialect);
        assert_eq!(world.sign_in(&mut client, "ann", REQUIRED, 0).status(), Status::SUCCESS);
        world.tree(&mut client, "share");
        let name = to_utf16("f");
        let answer = world.call(&mut client, &create(&name));
        assert!(answer.status() == Status::SUCCESS && answer.signed());
        assert!(client.key.unwrap().verify(&answer.octets));
        let mut unsigned = client.unsigned();
        for request in [create(&name), Request::Close { file_id: answer.file(), query_attributes: false }] {
            assert_eq!(world.call(&mut unsigned, &request).status(), nt::ACCESS_DENIED);
        }
        client.next = unsigned.next;
        client.key = Some(others_key());
        assert_eq!(world.call(&mut client, &create(&name)).status(), nt::ACCESS_DENIED);
        world.end(&[&client]);
    }
}

#[test]
fn who_has_no_key_cannot_sign() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb311, "");
    client.key = Some(others_key());
    assert_eq!(world.call(&mut client, &Request::Echo).status(), Status::NOT_SUPPORTED);
    let mut client = world.connect_only(2, Dialect::Smb302);
    client.key = Some(others_key());
    assert_eq!(world.negotiate(&mut client, 1).status(), Status::INVALID_PARAMETER);
}

#[test]
fn a_tree_connect_of_3_1_1_that_is_not_signed_ends_the_connection() {
    let mut world = World::new();
    let mut client = world.connect(1, 1, Dialect::Smb311);
    world.sign_in(&mut client, "ann", 1, 0);
    let mut client = client.unsigned();
    let path = to_utf16("\\\\server\\share");
    world.send(&mut client, &Request::TreeConnect(&path));
    assert!(world.heard(&client).is_empty() && world.closed.contains(&1));
    // Nothing that comes behind it is looked at.
    world.send(&mut client, &Request::Echo);
    assert!(world.heard(&client).is_empty());
    world.end(&[&client]);
}

#[test]
fn a_session_is_only_good_on_its_connections() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    let mut other = world.connect(2, 1, Dialect::Smb302);
    (other.session, other.tree) = (client.session, client.tree);
    let name = to_utf16("f");
    assert_eq!(world.call(&mut other, &create(&name)).status(), Status::USER_SESSION_DELETED);
    other.key = client.key;
    assert_eq!(world.call(&mut other, &create(&name)).status(), Status::USER_SESSION_DELETED);
    let again = world.sign_in(&mut other, "ann", 1, 0);
    assert_eq!(again.status(), Status::USER_SESSION_DELETED);
    assert_eq!(world.call(&mut client, &create(&name)).status(), Status::SUCCESS);
    world.end(&[&client, &other]);
}

#[test]
fn every_message_that_binds_is_signed_by_the_session() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    let key = client.key;
    let mut number = 2;
    let mut channel = |world: &mut World| {
        number += 1;
        world.connect(number, 1, Dialect::Smb302)
    };
    for (keys, status) in [
        ([None, None], Status::INVALID_PARAMETER),
        ([Some(others_key()), key], nt::ACCESS_DENIED),
        ([key, Some(others_key())], nt::ACCESS_DENIED),
        ([key, None], Status::INVALID_PARAMETER),
    ] {
        let mut other = channel(&mut world);
        assert_eq!(world.bind(&mut other, &client, "ann", keys).status(), status, "{keys:?}");
        let name = to_utf16("f");
        other.key = key;
        assert_eq!(world.call(&mut other, &create(&name)).status(), Status::USER_SESSION_DELETED);
    }
    let mut other = channel(&mut world);
    assert_ne!(world.bind(&mut other, &client, "bob", [key, key]).status(), Status::SUCCESS);
    let mut other = channel(&mut world);
    let bound = world.bind(&mut other, &client, "ann", [key, key]);
    assert!(bound.status() == Status::SUCCESS && bound.signed());
    assert!(other.key.unwrap().verify(&bound.octets), "signed by the channel's own key");
    let file_id = world.open(&mut client, "f");
    let close = Request::Close { file_id, query_attributes: false };
    let mut wrong = Client { key, ..other };
    assert_eq!(world.call(&mut wrong, &close).status(), nt::ACCESS_DENIED, "each channel has its own");
    other.next = wrong.next;
    assert_eq!(world.call(&mut other, &close).status(), Status::SUCCESS);
}

#[test]
fn signing_in_again_is_signed_where_signatures_are_wanted() {
    let mut world = World::new();
    let mut client = world.connect(1, 1, Dialect::Smb302);
    world.sign_in(&mut client, "ann", REQUIRED, 0);
    let key = client.key;
    world.tree(&mut client, "share");
    for wrong in [None, Some(others_key())] {
        client.key = wrong;
        assert_eq!(world.sign_in(&mut client, "ann", REQUIRED, 0).status(), nt::ACCESS_DENIED);
    }
    client.key = key;
    world.open(&mut client, "f");
    assert_eq!(world.sign_in(&mut client, "ann", REQUIRED, 0).status(), Status::SUCCESS);
    client.key = key;
    world.open(&mut client, "f");
    assert_eq!(world.sign_in(&mut client, "bob", REQUIRED, 0).status(), nt::ACCESS_DENIED);
    client.key = key;
    let name = to_utf16("f");
    assert_eq!(world.call(&mut client, &create(&name)).status(), Status::USER_SESSION_DELETED);
    world.end(&[&client]);
}

#[test]
fn a_former_session_ends_for_its_own_user_alone() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    for name in ["bob", ""] {
        let mut other = world.connect(if name.is_empty() { 2 } else { 3 }, 1, Dialect::Smb302);
        let answer = world.sign_in(&mut other, name, 1, client.session.get());
        assert_eq!(answer.status(), Status::SUCCESS);
        world.open(&mut client, "f");
    }
    let mut other = world.connect(4, 1, Dialect::Smb302);
    world.sign_in(&mut other, "ann", 1, client.session.get());
    let name = to_utf16("f");
    assert_eq!(world.call(&mut client, &create(&name)).status(), Status::USER_SESSION_DELETED);
}

#[test]
fn what_a_session_leaves_open_is_answered_and_signed_when_it_ends() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    let root = world.open(&mut client, "");
    assert_eq!(world.call(&mut client, &watch(root)).status(), Status::PENDING);
    world.send(&mut client, &Request::Logoff);
    let heard = world.heard(&client);
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|answer| client.key.unwrap().verify(&answer.octets)));
    world.end(&[&client]);
}

#[test]
fn a_cancel_has_to_be_signed_like_anything_else() {
    let mut world = World::new();
    let mut client = world.connect(1, 1, Dialect::Smb302);
    world.sign_in(&mut client, "ann", REQUIRED, 0);
    world.tree(&mut client, "share");
    let root = world.open(&mut client, "");
    for by_async in [false, true] {
        let pending = world.call(&mut client, &watch(root));
        let key = client.key;
        for (with, answers) in [(None, 0), (Some(others_key()), 0), (key, 1)] {
            client.key = None;
            let mut cancel = client.message(&Request::Cancel, HeaderFlags::empty());
            cancel[24..32].copy_from_slice(&pending.header.message_id.to_le_bytes());
            if let (true, Route::Async { id }) = (by_async, pending.header.route) {
                cancel[16] |= 0x02;
                cancel[24..32].fill(0);
                cancel[32..40].copy_from_slice(&id.to_le_bytes());
            }
            if let Some(with) = with {
                with.sign(&mut cancel);
            }
            world.raw(&client, &cancel);
            assert_eq!(world.statuses(&client), vec![Status::CANCELLED; answers]);
        }
        client.key = key;
    }
    world.end(&[&client]);
}

fn validate(world: &mut World, client: &mut Client, mut change: impl FnMut(&mut Vec<u8>, &mut u32)) -> bool {
    let guid = if client.dialect == Dialect::Smb202 { [0; 16] } else { [1; 16] };
    let mut input = 0x7f_u32.to_le_bytes().to_vec();
    input.extend(guid);
    input.extend([1, 0, 1, 0]);
    input.extend(crate::serve::conn::wire(client.dialect).to_le_bytes());
    let mut max_output = 24;
    change(&mut input, &mut max_output);
    let (code, file_id) = (0x0014_0204, FileId::PREVIOUS);
    world.send(client, &Request::Ioctl(Ioctl { code, file_id, input: &input, max_output, is_fsctl: true }));
    let answered = world.statuses(client) == [Status::SUCCESS];
    assert_ne!(answered, world.closed.contains(&client.conn.get()));
    answered
}

#[test]
fn a_negotiation_that_was_tampered_with_ends_the_connection() {
    let mut world = World::new();
    let mut number = 0;
    let mut check = |dialect, change: fn(&mut Vec<u8>, &mut u32)| {
        number += 1;
        let mut client = world.enter(number, 1, dialect, "ann");
        validate(&mut world, &mut client, change)
    };
    for dialect in [Dialect::Smb202, Dialect::Smb210, Dialect::Smb300, Dialect::Smb302] {
        assert!(check(dialect, |_, _| ()));
        // Capabilities, Guid, SecurityMode
        assert!(!check(dialect, |input, _| input[0] ^= 1));
        assert!(!check(dialect, |input, _| input[4] ^= 1));
        assert!(!check(dialect, |input, _| input[20] ^= 1));
        // MS-SMB2 3.3.5.15.12: all dialects that were offered, and no others.
        assert!(!check(dialect, |input, _| {
            input[22] = 2;
            input.extend([0xff, 0x7f]);
        }));
        assert!(!check(dialect, |_, max| *max = 23));
        assert!(!check(dialect, |input, _| input.truncate(20)));
    }
    assert!(!check(Dialect::Smb311, |_, _| ()), "3.1.1 has the preauthentication hash instead");
}

#[test]
fn nothing_is_carried_out_on_a_connection_that_is_to_be_closed() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "ann");
    let root = world.open(&mut client, "");
    let (code, max_output) = (0x0014_0204, 24);
    let name = to_utf16("f");
    let ioctl = Ioctl { code, file_id: root, input: &[], max_output, is_fsctl: true };
    let none = HeaderFlags::empty();
    world.compound(&mut client, &[(&Request::Ioctl(ioctl), none), (&create(&name), none)]);
    assert!(world.heard(&client).is_empty() && world.closed.contains(&1));
    world.lose(&client);
    let mut client = world.enter(2, 1, Dialect::Smb302, "ann");
    let mut fields = super::client::fields(&name);
    fields.disposition = 1;
    assert_eq!(world.call(&mut client, &Request::Create(fields)).status(), Status::OBJECT_NAME_NOT_FOUND);
}

#[test]
fn a_command_that_is_none_ends_the_connection() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "");
    let mut message = client.message(&Request::Echo, HeaderFlags::empty());
    message[12] = Command::OplockBreak as u8 + 1;
    world.raw(&client, &message);
    assert!(world.heard(&client).is_empty() && world.closed.contains(&1));
}

#[test]
fn signing_in_for_nothing_leaves_nothing() {
    let mut world = World::new();
    let mut client = world.connect(1, 1, Dialect::Smb302);
    client.session = SessionId::new(77);
    let setup = SessionSetup { binding: false, security_mode: 1, previous: 0, token: b"NTLMSSP" };
    for session in [0, 77] {
        client.session = SessionId::new(session);
        assert_ne!(world.call(&mut client, &Request::SessionSetup(setup)).status(), Status::SUCCESS);
    }
    assert_eq!(client.conn, ConnId::new(1));
    world.end(&[&client]);
}
