//! Races: events that cross, answers that are lost, opens without a lease (MS-SMB2 3.2.5.7, 3.2.5.19, 3.2.7.1).

use super::*;

fn created(story: &mut Story, open: OpenRef, id: u64, lease: Option<Lease>) -> Vec<Action> {
    let level = if lease.is_some() { OplockLevel::Lease } else { OplockLevel::None };
    let mut contexts = ResponseContexts::default();
    contexts.lease = lease;
    story.tell(Event::Created { open, result: Ok(CreateReply::new(FileId::new(id, id), level, contexts)) })
}
fn breaking(state: LeaseState, epoch: u16) -> Lease {
    Lease::V2(LeaseV2 {
        key: KEY,
        state,
        flags: LeaseFlags::BREAK_IN_PROGRESS,
        parent: None,
        epoch: Epoch::new(epoch),
    })
}
fn position(actions: &[Action], what: impl Fn(&Action) -> bool) -> Option<usize> {
    actions.iter().position(what)
}

/// MS-SMB2 3.2.5.19.2 <202>: an open without our lease would break it, and wait for an answer that waits for it.
#[test]
fn an_open_that_wants_nothing_takes_the_lease_along() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    let request = RequestId::new(50);
    let actions = story.tell(Event::Open(Opening::new(request, FILE, KEY).want(Want::State(NONE))));
    let [Action::SendCreate { contexts, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(contexts.lease.map(|lease| lease.state()), Some(RWH));
}
/// a lease-less open does not keep the lease
#[test]
fn the_lease_ends_with_its_last_open() {
    let mut story = Story::new(Dialect::Smb311);
    let leased = story.open(R, 1);
    let bare = story.ask(NONE);
    created(&mut story, bare, 2, None);
    let actions = story.tell(Event::Release { open: leased });
    assert_eq!(actions[0], allow(NONE));
    assert_eq!(story.client.state(FILE), NONE);
}

#[test]
fn reply_without_lease_although_asked() {
    let mut story = Story::new(Dialect::Smb311);
    let leased = story.open(RW, 1);
    let bare = story.ask(RW);
    created(&mut story, bare, 2, None);
    let actions = story.tell(Event::Release { open: leased });
    assert_eq!(actions[0..2], [allow(NONE), FLUSH]);
}

#[test]
fn a_bare_handle_is_not_kept() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RH, 1);
    let bare = story.ask(NONE);
    created(&mut story, bare, 2, None);
    let actions = story.tell(Event::Release { open: bare });
    assert!(matches!(actions[..], [Action::SendClose { .. }]), "{actions:?}");
}
/// purge over dirty data
#[test]
fn response_overtakes_break_purge_before_flush() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    let second = story.ask(RWH);
    let actions = story.answer(second, Some(breaking(RWH, 2)));
    let purge = position(&actions, |a| *a == PURGE);
    let flush = position(&actions, |a| *a == FLUSH);
    assert!(
        purge.is_none() || flush.is_some_and(|f| f < purge.unwrap()),
        "purged over dirty data: {actions:?}"
    );
}

#[test]
fn stale_response_with_w() {
    let mut story = Story::new(Dialect::Smb311);
    let first = story.ask(RWH);
    let third = story.ask(RWH);
    story.answer(third, Some(granted(RWH, 3)));
    let actions = story.answer(first, Some(granted(RWH, 1)));
    assert!(!actions.contains(&PURGE), "{actions:?}");
}

#[test]
fn jump_with_w() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    let actions = story.broken(RWH, RWH, 3, BreakFlags::empty());
    assert!(!actions.contains(&PURGE), "{actions:?}");
}

#[test]
fn cache_not_allowed_while_void() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(R, 1);
    let actions = story.broken(R, R, 3, BreakFlags::empty());
    assert_eq!(actions, [allow(NONE), PURGE]);
}
/// close before write back
#[test]
fn release_while_a_create_is_on_its_way() {
    let mut story = Story::new(Dialect::Smb311);
    let first = story.open(RW, 1);
    let second = story.ask(RW);
    let actions = story.tell(Event::Release { open: first });
    let late = story.tell(Event::Created { open: second, result: Err(Status::UNSUCCESSFUL) });
    assert!(!late.contains(&FLUSH), "asked to write back, with no handle left: {actions:?} {late:?}");
}

#[test]
fn kept_handle_closed_while_a_create_is_on_its_way() {
    let mut story = Story::new(Dialect::Smb311);
    let first = story.open(RWH, 1);
    story.tell(Event::Release { open: first });
    let second = story.ask(RWH);
    let actions = story.broken(RWH, RW, 2, ACK);
    let late = story.tell(Event::Created { open: second, result: Err(Status::UNSUCCESSFUL) });
    assert!(!late.contains(&FLUSH), "{actions:?} {late:?}");
}
/// writer closes, reader stays: nothing to write through afterwards.
#[test]
fn writer_closes_before_reader() {
    let mut story = Story::new(Dialect::Smb311);
    let writer = story.open(RW, 1);
    let reader = story.ask(R);
    created(&mut story, reader, 2, Some(granted(RW, 1)));
    let actions = story.tell(Event::Release { open: writer });
    assert!(actions.contains(&FLUSH), "{actions:?}");
}

#[test]
fn answer_of_an_old_connection() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    story.broken(RWH, RH, 2, ACK);
    story.tell(Event::Disconnected { conn: CONN });
    story.connect(ConnId::new(2), Dialect::Smb311);
    let again = story.ask(RWH);
    story.answer(again, Some(granted(RWH, 3)));
    let mut all = story.tell(Event::Flushed { file: FILE });
    all.extend(story.tell(Event::Purged { file: FILE }));
    assert!(!all.iter().any(|a| matches!(a, Action::SendLeaseAck { .. })), "{all:?}");
}

#[test]
fn refused_ack_of_an_old_connection() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RH, 1);
    let (ack, _) = acknowledged(&story.broken(RH, R, 2, ACK));
    story.tell(Event::Disconnected { conn: CONN }); // purge running: the file stays
    story.connect(ConnId::new(2), Dialect::Smb311);
    let again = story.ask(RWH);
    story.answer(again, Some(granted(RWH, 3)));
    story.tell(Event::Purged { file: FILE });
    story.tell(Event::AckAnswered { ack, result: Err(Status::CONNECTION_DISCONNECTED) });
    assert_eq!(story.client.state(FILE), RWH);
}

#[test]
fn lost_says_what_was_held_for_each_open() {
    let mut story = Story::new(Dialect::Smb311);
    let a = story.open(RWH, 1);
    let b = story.ask(RWH);
    story.answer(b, Some(granted(RWH, 1)));
    let actions = story.tell(Event::Disconnected { conn: CONN });
    assert!(actions.contains(&cut_off(a, RWH)));
    assert!(actions.contains(&cut_off(b, RWH)));
}

#[test]
fn lost_during_flush() {
    let mut story = Story::new(Dialect::Smb311);
    let a = story.open(RWH, 1);
    story.broken(RWH, RH, 2, ACK);
    let actions = story.tell(Event::Disconnected { conn: CONN });
    assert!(
        matches!(actions[0], Action::Lost { open, held, .. } if open == a && held.contains(LeaseState::WRITE)),
        "{actions:?}"
    );
}
/// acknowledgment through the connection that is gone
#[test]
fn the_answer_goes_to_a_connection_that_is_there() {
    let mut story = Story::new(Dialect::Smb311);
    story.connect(ConnId::new(2), Dialect::Smb311);
    let other = FileRef::new(2);
    let request = RequestId::new(70);
    let x = match story
        .tell(Event::Open(Opening::new(request, other, LeaseKey::new([7; 16])).want(Want::State(NONE))))[..]
    {
        [Action::SendCreate { open, .. }] => open,
        ref o => panic!("{o:?}"),
    };
    story.open(RH, 1);
    story.tell(Event::Created { open: x, result: Err(Status::UNSUCCESSFUL) });
    story.ask(RH); // takes the slot before
    assert_eq!(story.broken(RH, R, 2, ACK), [allow(R)]);
    let actions = story.tell(Event::Disconnected { conn: CONN });
    assert!(
        matches!(actions.last(), Some(Action::SendLeaseAck { conn, .. }) if *conn == ConnId::new(2)),
        "{actions:?}"
    );
}
/// A server that does not know whether the first arrived sends it again, on another channel.
#[test]
fn a_notification_that_comes_twice_is_answered_once() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    story.broken(RWH, RH, 2, ACK);
    assert_eq!(story.broken(RWH, RH, 2, ACK), [], "while it is written back");
    let (ack, _) = acknowledged(&story.tell(Event::Flushed { file: FILE }));
    assert_eq!(story.broken(RWH, RH, 2, ACK), [], "while the answer is on its way");
    story.tell(Event::AckAnswered { ack, result: Ok(()) });
    assert_eq!(story.broken(RWH, RH, 2, ACK), [], "and afterwards");
    assert_eq!(
        acknowledged(&story.broken(RH, R, 2, ACK)).1,
        R,
        "but a follow-up of the same epoch is another"
    );
}
/// ack / close in flight on a channel that dies
#[test]
fn ack_in_flight_is_sent_again() {
    let mut story = Story::new(Dialect::Smb311);
    story.connect(ConnId::new(2), Dialect::Smb311);
    story.open(RH, 1);
    acknowledged(&story.broken(RH, R, 2, ACK));
    let actions = story.tell(Event::Disconnected { conn: CONN });
    assert!(
        matches!(actions.last(), Some(Action::SendLeaseAck { conn, .. }) if *conn == ConnId::new(2)),
        "{actions:?}"
    );
}

#[test]
fn close_in_flight_is_sent_again() {
    let mut story = Story::new(Dialect::Smb311);
    story.connect(ConnId::new(2), Dialect::Smb311);
    let open = story.open(R, 1);
    story.tell(Event::Release { open });
    story.tell(Event::Purged { file: FILE });
    let actions = story.tell(Event::Disconnected { conn: CONN });
    assert!(
        matches!(actions.last(), Some(Action::SendClose { conn, .. }) if *conn == ConnId::new(2)),
        "{actions:?}"
    );
}
/// more than told
#[test]
fn ack_never_above_what_was_told() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RH, 1);
    let second = story.ask(RH);
    story.broken(RH, R, 2, ACK);
    let mut actions = story.answer(second, Some(granted(RH, 3)));
    if actions.contains(&PURGE) {
        actions = story.tell(Event::Purged { file: FILE });
    }
    let told = actions.iter().find_map(|a| match a {
        Action::SendLeaseAck { body, .. } => Some(body.state),
        _ => None,
    });
    assert_eq!(told, Some(R));
}

#[test]
fn v1_break_before_the_answer_to_the_first_create() {
    let mut story = Story::new(Dialect::Smb311);
    let open = story.ask(RWH);
    story.broken(RWH, RH, 0, ACK);
    let lease = Lease::V1(LeaseV1 { key: KEY, state: RWH, flags: LeaseFlags::empty() });
    let actions = story.answer(open, Some(lease));
    let told = actions.iter().find_map(|a| match a {
        Action::SendLeaseAck { body, .. } => Some(body.state),
        _ => None,
    });
    assert!(told.is_some_and(|t| !t.contains(LeaseState::WRITE)), "{actions:?}");
}

#[test]
fn no_acknowledgments_no_panic() {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    config.acknowledgments = 0;
    let mut story = Story::with(config, Dialect::Smb311);
    story.open(RH, 1);
    story.broken(RH, R, 2, ACK);
}
/// with the crate's own server: how long does the second open of one and the same client take?
#[test]
fn the_second_open_of_a_client_does_not_wait_for_itself() {
    use leasehold::server::{self, Config, Create, ObjectKind, Opened, Origin, RouteSeed, Server};
    use leasehold::*;
    let mut s = Server::new(Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1));
    let mut c = Story::new(Dialect::Smb311);
    let (conn, session) = (CONN, SessionId::new(1));
    let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
    let mut out = vec![];
    s.handle(
        Instant::ZERO,
        server::Event::Connected { conn, client: ClientGuid::from_wire([7; 16]), terms },
        &mut out,
    )
    .unwrap();
    s.handle(Instant::ZERO, server::Event::SessionBound { conn, session }, &mut out).unwrap();
    let mut todo: Vec<Action> = vec![];
    let mut opens = std::collections::BTreeMap::new();
    let mut now = Instant::ZERO;
    let mut ready = 0;
    for (n, want) in [(1, RWH), (2, NONE)] {
        todo.extend(c.tell(Event::Open(Opening::new(RequestId::new(n), FILE, KEY).want(Want::State(want)))));
        loop {
            while !todo.is_empty() {
                let a = todo.remove(0);
                let mut queue = vec![];
                match a {
                    Action::SendCreate { request, open, level, contexts, .. } => {
                        opens.insert(request, open);
                        let origin = Origin::new(conn, session, TreeId::new(1));
                        let e = Create::new(request, origin, FileKey::new(5))
                            .access(Access::READ_DATA | Access::WRITE_DATA, ShareMode::ALL)
                            .disposition(Disposition::OpenIf, CreateOptions::empty())
                            .caching(level, contexts.lease);
                        s.handle(now, server::Event::Create(e), &mut queue).unwrap();
                    }
                    Action::SendLeaseAck { body, .. } => s
                        .handle(
                            now,
                            server::Event::LeaseAck { request: RequestId::new(90), conn, ack: body },
                            &mut queue,
                        )
                        .unwrap(),
                    Action::Flush { file } => todo.extend(c.tell(Event::Flushed { file })),
                    Action::Purge { file } => todo.extend(c.tell(Event::Purged { file })),
                    Action::Ready { .. } => ready += 1,
                    _ => {}
                }
                pump(&mut s, now, queue, &mut c, &opens, &mut todo);
            }
            if ready == n {
                break;
            }
            now = s.poll_timeout().expect("stuck for good");
            let mut queue = vec![];
            s.handle_timeout(now, &mut queue);
            pump(&mut s, now, queue, &mut c, &opens, &mut todo);
        }
    }
    assert_eq!(now, Instant::ZERO, "the second open has waited");
    fn pump(
        s: &mut Server,
        now: Instant,
        mut queue: Vec<server::Action>,
        c: &mut Story,
        opens: &std::collections::BTreeMap<RequestId, OpenRef>,
        todo: &mut Vec<Action>,
    ) {
        while !queue.is_empty() {
            let a = queue.remove(0);
            match a {
                server::Action::OpenFile { file_id, .. } => s
                    .handle(
                        now,
                        server::Event::Opened {
                            file_id,
                            result: Ok(Opened::new(CreateAction::Opened, ObjectKind::File, u64::MAX)),
                        },
                        &mut queue,
                    )
                    .unwrap(),
                server::Action::Granted { request, grant } => todo.extend(c.tell(Event::Created {
                    open: opens[&request],
                    result: Ok(CreateReply::new(grant.file_id, grant.level, grant.contexts())),
                })),
                server::Action::SendLeaseBreak { body, .. } => {
                    todo.extend(c.tell(Event::LeaseBroken { body }))
                }
                _ => {}
            }
        }
    }
}
