//! Compounds: what related requests share, what waits, and how the answers come.

use leasehold::wire::{HeaderFlags, OplockBreak};
use leasehold::{Dialect, FileId, OplockLevel, Status};

use super::client::{RELATED, World, create, fields};
use crate::fs::nt;
use crate::smb::octets::to_utf16;
use crate::smb::request::{QueryInfo, Request};
use crate::smb::response::Response;

const FIRST: HeaderFlags = HeaderFlags::empty();
const PREVIOUS: FileId = FileId::PREVIOUS;

fn close(file_id: FileId) -> Request<'static> {
    Request::Close { file_id, query_attributes: false }
}

fn query(file_id: FileId) -> Request<'static> {
    let input = &[];
    Request::QueryInfo(QueryInfo { kind: 1, class: 5, max_output: 1024, input, additional: 0, file_id })
}

#[test]
fn related_requests_work_on_what_the_one_before_worked_on() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb311, "ann");
    let (name, other) = (to_utf16("f"), world.open(&mut client, "g"));
    let opened = create(&name);
    // MS-SMB2 3.3.5.2.7.2: whatever they name themselves.
    for named in [PREVIOUS, other, FileId::new(5, 6)] {
        world.compound(&mut client, &[(&opened, FIRST), (&query(named), RELATED), (&close(named), RELATED)]);
        let heard = world.heard(&client);
        assert!(heard.iter().all(|answer| answer.status() == Status::SUCCESS), "{named}: {heard:?}");
        assert!(heard.iter().all(|answer| client.key.unwrap().verify(&answer.octets)));
        assert_eq!(world.call(&mut client, &close(heard[0].file())).status(), Status::FILE_CLOSED);
    }
    let chain = [(&query(other), FIRST), (&close(PREVIOUS), RELATED), (&query(PREVIOUS), RELATED)];
    world.compound(&mut client, &chain);
    assert_eq!(world.statuses(&client), [Status::SUCCESS, Status::SUCCESS, Status::FILE_CLOSED]);
    world.end(&[&client]);
}

#[test]
fn what_is_related_to_nothing_is_refused() {
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "");
    let file = world.open(&mut client, "f");
    world.compound(&mut client, &[(&query(file), RELATED), (&query(PREVIOUS), RELATED)]);
    assert_eq!(world.statuses(&client), [Status::INVALID_PARAMETER; 2]);
    world.compound(&mut client, &[(&Request::Echo, FIRST), (&close(PREVIOUS), RELATED)]);
    assert_eq!(world.statuses(&client), [Status::SUCCESS, nt::INVALID_HANDLE]);
    let (missing, mut wanted) = (to_utf16("missing"), fields(&[]));
    (wanted.name, wanted.disposition) = (&missing, 1);
    let wanted = Request::Create(wanted);
    world
        .compound(&mut client, &[(&wanted, FIRST), (&query(PREVIOUS), RELATED), (&close(PREVIOUS), RELATED)]);
    assert_eq!(world.statuses(&client), [Status::OBJECT_NAME_NOT_FOUND; 3]);
    world.compound(&mut client, &[(&Request::Logoff, FIRST), (&create(&missing), RELATED)]);
    assert_eq!(world.statuses(&client), [Status::SUCCESS, Status::USER_SESSION_DELETED]);
    world.end(&[&client]);
}

#[test]
fn what_follows_one_that_waits_goes_on_with_its_open() {
    for lost in [false, true] {
        let mut world = World::new();
        let mut holder = world.enter(1, 1, Dialect::Smb302, "ann");
        let mut client = world.enter(2, 2, Dialect::Smb302, "ann");
        let name = to_utf16("f");
        let batch =
            Request::Create(leasehold::wire::CreateRequest { level: OplockLevel::Batch, ..fields(&name) });
        let held = world.call(&mut holder, &batch).file();
        let chain = [
            (&Request::Echo, FIRST),
            (&create(&name), FIRST),
            (&query(PREVIOUS), RELATED),
            (&close(PREVIOUS), RELATED),
        ];
        world.compound(&mut client, &chain);
        assert_eq!(world.statuses(&client), [Status::SUCCESS, Status::PENDING]);
        if lost {
            world.lose(&client);
        }
        assert_eq!(world.heard(&holder).len(), 1, "the break");
        let ack = Request::OplockAck(OplockBreak { level: OplockLevel::II, file_id: held });
        assert_eq!(world.call(&mut holder, &ack).status(), Status::SUCCESS);
        let expected = if lost { vec![] } else { vec![Status::SUCCESS; 3] };
        assert_eq!(world.statuses(&client), expected);
        world.end(&[&client, &holder]);
    }
}

#[test]
fn answers_fit_the_length_before_a_message_and_are_bounded() {
    const SIZE: u32 = 8 << 20;
    let mut world = World::new();
    let mut client = world.enter(1, 1, Dialect::Smb302, "");
    let file_id = world.open(&mut client, "f");
    let data = vec![7; SIZE as usize];
    let gather = |world: &mut World, client: &mut super::client::Client, most| {
        client.charge = 1;
        while client.next < most {
            assert_eq!(world.call(client, &Request::Echo).status(), Status::SUCCESS);
        }
        client.charge = 128;
    };
    gather(&mut world, &mut client, 300);
    let write = Request::Write { file_id, offset: 0, data: &data };
    assert_eq!(world.call(&mut client, &write).status(), Status::SUCCESS);
    gather(&mut world, &mut client, 700);
    let read = Request::Read { file_id, offset: 0, length: SIZE, minimum: 0 };
    let mut chain = vec![(&read, FIRST); 7];
    let close = close(file_id);
    chain.push((&close, FIRST));
    world.compound(&mut client, &chain);
    let heard = world.heard(&client);
    let reads = heard.iter().filter(|answer| matches!(answer.response(), Response::Read(_))).count();
    assert_eq!((heard.len(), reads), (8, 4));
    assert_eq!(heard[7].status(), Status::SUCCESS, "room is made whatever came before");
    assert!(world.longest < 1 << 24);
}
