//! Oplocks of single opens, where there are no leases (MS-SMB2 3.2.4.3, 3.2.5.19.1, 3.2.5.19.3).

use super::*;

/// An open under an oplock, on a dialect without leases.
fn oplock(level: OplockLevel) -> (Story, OpenRef, FileId) {
    let mut story = Story::new(Dialect::Smb202);
    let (open, file_id) = another(&mut story, level);
    (story, open, file_id)
}

fn another(story: &mut Story, level: OplockLevel) -> (OpenRef, FileId) {
    let opening = story.opening().want(Want::Level(level));
    let created = story.create(opening);
    assert_eq!((created.level, created.contexts.lease), (level, None));
    let (file_id, _) = story.grant(created.open, level);
    (created.open, file_id)
}

/// The oplock acknowledgment in a list of actions, which must be the last of them.
fn acknowledged_level(actions: &[Action]) -> (AckId, OpenRef, OplockBreak) {
    match actions.last() {
        Some(Action::SendOplockAck { ack, via, body, .. }) => (*ack, *via, *body),
        other => panic!("no acknowledgment: {other:?}"),
    }
}

fn answers(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::SendOplockAck { .. } | Action::SendLeaseAck { .. }))
}

/// Writes back and forgets as often as is asked; all actions that follow from it.
fn settle(story: &mut Story, mut actions: Vec<Action>) -> Vec<Action> {
    let mut at = 0;
    while at < actions.len() {
        match actions[at] {
            Action::Flush { file } => actions.extend(story.tell(Event::Flushed { file })),
            Action::Purge { file } => actions.extend(story.tell(Event::Purged { file })),
            _ => {}
        }
        at += 1;
    }
    actions
}

#[test]
fn each_level_permits_what_a_lease_of_its_letters_would() {
    for (level, state) in [
        (OplockLevel::None, NONE),
        (OplockLevel::II, R),
        (OplockLevel::Exclusive, RW),
        (OplockLevel::Batch, RWH),
    ] {
        let mut story = Story::new(Dialect::Smb202);
        let opening = story.opening().want(Want::Level(level));
        let open = story.create(opening).open;
        let (_, actions) = story.grant(open, level);
        let allowed = (state != NONE).then_some(allow(state));
        assert_eq!(actions[1..], allowed.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn without_leases_writing_asks_for_batch_and_reading_for_level_ii() {
    // MS-SMB2 3.2.4.3 <151>.
    for (dialect, capabilities) in
        [(Dialect::Smb202, Capabilities::empty()), (Dialect::Smb311, Capabilities::empty())]
    {
        for (want, level) in [
            (RWH, OplockLevel::Batch),
            (RW, OplockLevel::Batch),
            (RH, OplockLevel::II),
            (R, OplockLevel::II),
            (NONE, OplockLevel::None),
        ] {
            let mut story = Story::with(ClientConfig::new(HashKey::new([1; 16])), Dialect::Smb210);
            story.tell(Event::Disconnected { conn: CONN });
            story.connect_with(CONN, Terms::new(dialect, capabilities));
            let opening = story.opening().want(Want::State(want));
            let created = story.create(opening);
            assert_eq!((created.level, created.contexts.lease), (level, None), "{want}");
        }
    }
}

/// MS-SMB2 3.2.5.19.1, row by row: held, new, what the cache does, and whether it is answered.
#[test]
fn every_break_does_what_its_row_says() {
    use OplockLevel::{Batch, Exclusive, II, None};
    let rows: [(OplockLevel, OplockLevel, &[Action], bool); 6] = [
        (II, None, &[allow(NONE), PURGE], false),
        (Exclusive, II, &[allow(R), FLUSH], true),
        (Exclusive, None, &[allow(NONE), FLUSH, PURGE], true),
        (Batch, Exclusive, &[allow(RW)], true),
        (Batch, II, &[allow(R), FLUSH], true),
        (Batch, None, &[allow(NONE), FLUSH, PURGE], true),
    ];
    for (held, new, steps, answered) in rows {
        let (mut story, open, file_id) = oplock(held);
        let actions = story.oplock_broken(file_id, new);
        let actions = settle(&mut story, actions);
        assert_eq!(actions[..steps.len()], *steps, "{held:?} to {new:?}");
        if answered {
            let (_, via, body) = acknowledged_level(&actions);
            assert_eq!((via, body), (open, OplockBreak { level: new, file_id }));
        }
        assert_eq!(actions.len(), steps.len() + usize::from(answered), "{held:?} to {new:?}: {actions:?}");
    }
}

#[test]
fn a_break_that_makes_no_sense_is_ignored() {
    // MS-SMB2 3.2.5.19.1: anything else.
    use OplockLevel::{Batch, Exclusive, II, Lease, None};
    for (held, new) in [
        (None, None),
        (None, II),
        (II, II),
        (II, Batch),
        (Exclusive, Exclusive),
        (Exclusive, Batch),
        (Batch, Batch),
        (Batch, Lease),
    ] {
        let (mut story, _, file_id) = oplock(held);
        assert_eq!(story.oplock_broken(file_id, new), [], "{held:?} to {new:?}");
    }
}

#[test]
fn a_break_of_an_unknown_open_is_dropped() {
    let (mut story, _, _) = oplock(OplockLevel::Batch);
    assert_eq!(story.oplock_broken(FileId::new(77, 77), OplockLevel::None), []);
}

#[test]
fn under_batch_a_close_waits() {
    let (mut story, open, _) = oplock(OplockLevel::Batch);
    assert_eq!(story.tell(Event::Release { open }), []);
}

#[test]
fn under_less_than_batch_a_close_writes_back_first() {
    let (mut story, open, _) = oplock(OplockLevel::Exclusive);
    assert_eq!(story.tell(Event::Release { open }), [allow(NONE), FLUSH]);
    let actions = settle(&mut story, vec![FLUSH]);
    assert!(matches!(actions.last(), Some(Action::SendClose { .. })), "{actions:?}");
}

#[test]
fn the_close_of_a_kept_handle_is_the_answer() {
    // MS-SMB2 3.2.5.19.1: no open is left that an acknowledgment could name.
    for new in [OplockLevel::Exclusive, OplockLevel::II, OplockLevel::None] {
        let (mut story, open, file_id) = oplock(OplockLevel::Batch);
        story.tell(Event::Release { open });
        let actions = story.oplock_broken(file_id, new);
        assert_eq!(actions[..2], [allow(NONE), FLUSH], "{new:?}: what is dirty goes first");
        let actions = settle(&mut story, actions);
        assert!(matches!(actions.last(), Some(Action::SendClose { open: closed, .. }) if *closed == open));
        assert!(!answers(&actions), "{actions:?}");
    }
}

#[test]
fn a_break_that_crosses_with_the_close_is_answered_by_it() {
    let (mut story, open, file_id) = oplock(OplockLevel::Exclusive);
    let actions = story.tell(Event::Release { open });
    assert_eq!(story.oplock_broken(file_id, OplockLevel::None), [], "it is written back, and then closed");
    let actions = settle(&mut story, actions);
    assert!(matches!(actions.last(), Some(Action::SendClose { .. })), "{actions:?}");
    assert_eq!(story.oplock_broken(file_id, OplockLevel::None), [], "the CLOSE is on its way");
    assert_eq!(story.tell(Event::Closed { open }), []);
    assert_eq!(story.oplock_broken(file_id, OplockLevel::None), [], "and here it is closed");
}

#[test]
fn a_break_during_a_break_gives_one_answer_for_both() {
    let (mut story, _, file_id) = oplock(OplockLevel::Batch);
    assert_eq!(story.oplock_broken(file_id, OplockLevel::II), [allow(R), FLUSH]);
    assert_eq!(story.oplock_broken(file_id, OplockLevel::None), [allow(NONE)]);
    let actions = settle(&mut story, vec![FLUSH]);
    let (_, _, body) = acknowledged_level(&actions);
    assert_eq!(body.level, OplockLevel::None);
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::SendOplockAck { .. })).count(), 1);
}

#[test]
fn the_same_break_twice_is_answered_once() {
    let (mut story, _, file_id) = oplock(OplockLevel::Exclusive);
    let actions = story.oplock_broken(file_id, OplockLevel::II);
    assert!(answers(&settle(&mut story, actions)));
    assert_eq!(story.oplock_broken(file_id, OplockLevel::II), []);
}

#[test]
fn a_refused_acknowledgment_of_an_oplock_leaves_nothing() {
    // MS-SMB2 3.2.5.19.3.
    let (mut story, _, file_id) = oplock(OplockLevel::Batch);
    let (ack, ..) = acknowledged_level(&story.oplock_broken(file_id, OplockLevel::Exclusive));
    let actions = story.tell(Event::AckAnswered { ack, result: Err(Status::INVALID_OPLOCK_PROTOCOL) });
    assert_eq!(actions, [allow(NONE), FLUSH]);
    assert_eq!(settle(&mut story, actions)[2..], [PURGE]);
    assert_eq!(story.oplock_broken(file_id, OplockLevel::None), []);
}

#[test]
fn an_accepted_acknowledgment_changes_nothing() {
    let (mut story, _, file_id) = oplock(OplockLevel::Batch);
    let (ack, ..) = acknowledged_level(&story.oplock_broken(file_id, OplockLevel::Exclusive));
    assert_eq!(story.tell(Event::AckAnswered { ack, result: Ok(()) }), []);
}

#[test]
fn a_break_that_overtakes_the_answer_to_its_create_is_kept_for_it() {
    // By the text of MS-SMB2 3.2.5.19.1 it would be dropped, and the cache would never hear of it.
    let mut story = Story::new(Dialect::Smb202);
    let opening = story.opening().want(Want::Level(OplockLevel::Batch));
    let open = story.create(opening).open;
    let file_id = FileId::new(1001, 1001);
    assert_eq!(story.oplock_broken(file_id, OplockLevel::II), []);
    let (granted, actions) = story.grant(open, OplockLevel::Batch);
    assert_eq!(granted, file_id);
    assert!(!actions.contains(&allow(RWH)), "{actions:?}");
    let [Action::Ready { .. }, Action::SendOplockAck { body, .. }, last] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(body, OplockBreak { level: OplockLevel::II, file_id });
    assert_eq!(last, allow(R));
}

#[test]
fn a_break_is_not_kept_for_creates_that_are_yet_to_come() {
    let mut story = Story::new(Dialect::Smb202);
    let opening = story.opening().want(Want::Level(OplockLevel::Batch));
    let open = story.create(opening).open;
    story.oplock_broken(FileId::new(1001, 1001), OplockLevel::II);
    story.tell(Event::Created { open, result: Err(Status::UNSUCCESSFUL) });
    let (open, file_id) = another(&mut story, OplockLevel::Batch);
    assert_eq!(file_id, FileId::new(1001, 1001));
    assert_eq!(story.tell(Event::Release { open }), [], "it has its batch oplock still");
}

#[test]
fn a_server_may_answer_a_lease_request_with_an_oplock() {
    // MS-SMB2 3.2.5.7: the open has that oplock, the lease is as it was.
    let mut story = Story::new(Dialect::Smb311);
    let open = story.ask(RWH);
    let (file_id, actions) = story.grant(open, OplockLevel::Batch);
    assert_eq!(actions[1..], [allow(RWH)]);
    assert_eq!(story.client.state(FILE), NONE);
    assert_eq!(story.tell(Event::Release { open }), [], "BATCH keeps the handle");
    let actions = story.oplock_broken(file_id, OplockLevel::II);
    assert_eq!(actions, [allow(NONE), FLUSH]);
}

#[test]
fn a_lease_that_nobody_asked_for_is_refused() {
    // MS-SMB2 3.2.5.7.4: without SupportsFileLeasing the open fails.
    let mut story = Story::new(Dialect::Smb202);
    let opening = story.opening().want(Want::Level(OplockLevel::Batch));
    let open = story.create(opening).open;
    let actions = story.answer(open, Some(granted(RWH, 1)));
    assert!(matches!(actions[..], [Action::SendClose { .. }, Action::Failed { .. }]), "{actions:?}");
}

#[test]
fn level_ff_without_a_context_is_no_oplock() {
    let mut story = Story::new(Dialect::Smb311);
    let open = story.ask(RWH);
    let (_, actions) = story.grant(open, OplockLevel::Lease);
    assert!(matches!(actions[..], [Action::Ready { .. }]), "{actions:?}");
}

#[test]
fn a_file_id_that_is_open_already_makes_no_second_open() {
    let (mut story, open, file_id) = oplock(OplockLevel::Batch);
    let opening = story.opening().want(Want::Level(OplockLevel::II));
    let second = story.create(opening).open;
    let reply = CreateReply::new(file_id, OplockLevel::II, ResponseContexts::default());
    let actions = story.tell(Event::Created { open: second, result: Ok(reply) });
    assert!(
        matches!(actions[..], [Action::Failed { status: Status::INVALID_NETWORK_RESPONSE, .. }]),
        "a CLOSE would hit the first: {actions:?}"
    );
    assert_eq!(story.tell(Event::Release { open }), [], "the first is as it was");
}

#[test]
fn a_lease_that_is_held_goes_along_with_an_open_that_asks_for_an_oplock() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RH, 1);
    let opening = story.opening().want(Want::Level(OplockLevel::II));
    let created = story.create(opening);
    assert_eq!(created.level, OplockLevel::Lease);
    assert_eq!(created.contexts.lease.map(|lease| lease.state()), Some(RH));
}

#[test]
fn an_acknowledgment_on_a_lost_channel_goes_out_again() {
    let mut story = Story::with(ClientConfig::new(HashKey::new([1; 16])), Dialect::Smb311);
    story.connect(ConnId::new(2), Dialect::Smb311);
    let (open, file_id) = another(&mut story, OplockLevel::Batch);
    acknowledged_level(&story.oplock_broken(file_id, OplockLevel::Exclusive));
    let actions = story.tell(Event::Disconnected { conn: CONN });
    let (_, via, body) = acknowledged_level(&actions);
    assert_eq!((via, body.level), (open, OplockLevel::Exclusive));
}

/// MS-SMB2 3.2.5.19.1: what was cached under it goes, also where another open of the name has been given one since: by then others may
/// have written.
#[test]
fn a_break_of_one_oplock_purges_beside_another() {
    let mut story = Story::new(Dialect::Smb202);
    let open = |story: &mut Story| {
        let opening = story.opening().want(Want::Level(OplockLevel::II));
        let open = story.create(opening).open;
        story.grant(open, OplockLevel::II).0
    };
    let first = open(&mut story);
    open(&mut story);
    assert_eq!(story.oplock_broken(first, OplockLevel::None), [allow(NONE), PURGE]);
    assert_eq!(story.tell(Event::Purged { file: FILE }), [allow(R)]);
}
