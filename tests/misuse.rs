//! How a driver can break the contract of a server, and that nothing changes when it does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use leasehold::persist::{Change, Record};
use leasehold::server::{
    Action, Capabilities, Config, Create, Durability, Event, Misuse, ObjectKind, Opened, Origin, RouteSeed,
    Server, SessionEnd, Share, ShareFlags, ShareKind, Terms,
};
use leasehold::wire::LeaseAck;
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, CreateGuid, Dialect, FileId, FileKey, HashKey, Instant, Intent,
    LeaseKey, LeaseState, Machine, RequestId, SessionId, TreeId, UserId,
};

#[test]
fn a_misuse_is_named_and_changes_nothing() {
    let mut server = Server::new(Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1));
    let mut actions = Vec::new();
    let client = ClientGuid::from_wire([1; 16]);
    let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
    let origin = |conn, session| Origin::new(ConnId::new(conn), SessionId::new(session), TreeId::new(1));
    let create =
        |conn, session| Event::Create(Create::new(RequestId::new(1), origin(conn, session), FileKey::new(1)));
    for (conn, session) in [(1, 1), (2, 2)] {
        let (conn, session) = (ConnId::new(conn), SessionId::new(session));
        server.handle(Instant::ZERO, Event::Connected { conn, client, terms }, &mut actions).unwrap();
        server.handle(Instant::ZERO, Event::SessionBound { conn, session }, &mut actions).unwrap();
    }
    server.handle(Instant::ZERO, create(1, 1), &mut actions).unwrap();
    let [Action::OpenFile { file_id, .. }] = actions[..] else { panic!("{actions:?}") };
    let opened = || Ok(Opened::new(CreateAction::Opened, ObjectKind::File, u64::MAX));
    server.handle(Instant::ZERO, Event::Opened { file_id, result: opened() }, &mut actions).unwrap();

    let unknown = ConnId::new(9);
    let (request, file) = (RequestId::new(2), FileKey::new(1));
    let ack = LeaseAck { key: LeaseKey::new([1; 16]), state: LeaseState::NONE };
    let operate = |conn, session| {
        let (actor, intent) = (Actor::Other, Intent::Flush);
        Event::Operate { request, origin: Some(origin(conn, session)), file, actor, intent }
    };
    let cases = [
        (Event::Connected { conn: ConnId::new(1), client, terms }, Misuse::DuplicateConnection),
        (Event::SessionBound { conn: unknown, session: SessionId::new(1) }, Misuse::UnknownConnection),
        (Event::Disconnected { conn: unknown }, Misuse::UnknownConnection),
        (
            Event::SessionEnded { session: SessionId::new(9), end: SessionEnd::LoggedOff },
            Misuse::UnknownSession,
        ),
        (
            Event::TreeDisconnected { request, session: SessionId::new(9), tree: TreeId::new(1) },
            Misuse::UnknownSession,
        ),
        (create(9, 1), Misuse::UnknownConnection),
        (create(1, 9), Misuse::UnknownSession),
        // The session is there, but not on that connection.
        (create(2, 1), Misuse::UnknownSession),
        (operate(9, 1), Misuse::UnknownConnection),
        (operate(1, 2), Misuse::UnknownSession),
        (Event::LeaseAck { request, conn: unknown, ack }, Misuse::UnknownConnection),
        // Opened already, and never asked for.
        (Event::Opened { file_id, result: opened() }, Misuse::UnknownTicket),
        (Event::Opened { file_id: FileId::new(7, 7), result: opened() }, Misuse::UnknownTicket),
    ];
    let before = server.snapshot();
    actions.clear();
    for (event, misuse) in cases {
        assert_eq!(server.handle(Instant::ZERO, event.clone(), &mut actions), Err(misuse), "{event:?}");
        assert_eq!(actions, [], "{event:?}");
        assert_eq!(server.snapshot(), before, "{event:?}");
    }
}

/// A record of a server with this configuration.
fn record(config: Config, file: u128, written: u64) -> Box<Record> {
    let mut server = Server::new(config);
    let (conn, session) = (ConnId::new(1), SessionId::new(1));
    let capabilities = Capabilities::LEASING | Capabilities::PERSISTENT_HANDLES;
    let client = ClientGuid::from_wire([1; 16]);
    let terms = Terms::new(Dialect::Smb311, capabilities);
    let durability = Durability::V2 { timeout: 0, create_guid: CreateGuid::default(), persistent: true };
    let share = Share::new(ShareKind::Disk, ShareFlags::CONTINUOUSLY_AVAILABLE);
    let create =
        Create::new(RequestId::new(1), Origin::new(conn, session, TreeId::new(1)), FileKey::new(file))
            .durable(UserId::default(), durability)
            .place(share, None);
    let mut actions = Vec::new();
    for event in [
        Event::Recovered,
        Event::Connected { conn, client, terms },
        Event::SessionBound { conn, session },
        Event::Create(create),
    ] {
        server.handle(Instant::ZERO, event, &mut actions).unwrap();
    }
    let Some(Action::OpenFile { file_id, .. }) = actions.pop() else { panic!("{actions:?}") };
    let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, 0));
    server.handle(Instant::ZERO, Event::Opened { file_id, result }, &mut actions).unwrap();
    let Some(Action::Persist { change: Change::Put(mut record), .. }) = actions.pop() else {
        panic!("{actions:?}")
    };
    record.written = written;
    record
}

#[test]
fn what_is_restored_wrongly_is_named_and_changes_nothing() {
    let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
    config.persistence = true;
    config.limits.files = 2;
    let mut foreign = config;
    foreign.route_seed = RouteSeed::new([3; 16]);
    let mut server = Server::new(config);
    let mut actions = Vec::new();
    let mut restore = |server: &mut Server, record: Box<Record>| {
        let event = Event::Restore { record, elapsed: Duration::ZERO };
        server.handle(Instant::ZERO, event, &mut actions)
    };
    assert_eq!(restore(&mut server, record(config, 1, 9)), Ok(()));
    let before = server.snapshot();
    assert_eq!(restore(&mut server, record(config, 2, 10)), Err(Misuse::OutOfOrder));
    assert_eq!(restore(&mut server, record(config, 1, 8)), Err(Misuse::ForeignRecord));
    assert_eq!(restore(&mut server, record(foreign, 2, 8)), Err(Misuse::ForeignRecord));
    assert_eq!(server.snapshot(), before);
    assert_eq!(restore(&mut server, record(config, 2, 8)), Ok(()));
    assert_eq!(restore(&mut server, record(config, 3, 7)), Err(Misuse::NoRoom));
    let tell = |server: &mut Server, event| server.handle(Instant::ZERO, event, &mut Vec::new());
    assert_eq!(tell(&mut server, Event::Cancel { request: RequestId::new(1) }), Err(Misuse::Recovering));
    assert_eq!(tell(&mut server, Event::Recovered), Ok(()));
    assert_eq!(tell(&mut server, Event::Recovered), Err(Misuse::NotRecovering));
    let restore = Event::Restore { record: record(config, 2, 8), elapsed: Duration::ZERO };
    assert_eq!(tell(&mut server, restore), Err(Misuse::NotRecovering));
    let stats = server.stats();
    assert_eq!((stats.restored, stats.orphans, stats.anomalies), (2, 2, 0));
}
