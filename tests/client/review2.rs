//! What a second look at the client found (MS-SMB2 3.2.4.4, 3.2.5.8, 3.2.5.14.9, 3.2.5.19.2, 3.2.7.1).

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::CreateGuid;
use leasehold::client::{Renewal, SessionLoss};
use leasehold::persist::{ClientChange, ClientRecord, Need};
use leasehold::server::ShareFlags;
use leasehold::wire::{DurableFlags, DurableHandleResponse};
use uuid::Uuid;

use super::coming_back::{GUID, all_terms, lost, reconnects, reply_to};
use super::kept::closed;
use super::review::durable;
use super::*;

const AGAIN: ConnId = ConnId::new(2);
const THIRD: ConnId = ConnId::new(3);
const OTHER: FileRef = FileRef::new(2);
const OTHER_KEY: LeaseKey = LeaseKey::new([0x22; 16]);
const AVAILABLE: ShareFlags = ShareFlags::CONTINUOUSLY_AVAILABLE;

fn config() -> ClientConfig {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    config.persistence = true;
    config
}

fn story() -> Story {
    Story::on(Dialect::Smb311, ClientConfig::new(HashKey::new([1; 16])))
}

fn acks(actions: &[Action]) -> Vec<LeaseState> {
    let acks = actions.iter().filter_map(|action| match action {
        Action::SendLeaseAck { body, .. } => Some(body.state),
        _ => None,
    });
    acks.collect()
}

/// Answers `Flush` and `Purge` until nothing is asked any more; all that was said.
fn settle(story: &mut Story, mut actions: Vec<Action>) -> Vec<Action> {
    let mut at = 0;
    while at < actions.len() {
        let answer = match actions[at] {
            Action::Flush { file } => Some(Event::Flushed { file }),
            Action::Purge { file } => Some(Event::Purged { file }),
            _ => None,
        };
        if let Some(answer) = answer {
            let more = story.tell(answer);
            actions.extend(more);
        }
        at += 1;
    }
    actions
}

fn back(story: &mut Story, open: OpenRef, granted: Lease) -> Vec<Action> {
    let reply = reply_to(story, OplockLevel::Lease, Some(granted), None, DurableFlags::empty());
    story.tell(Event::Reconnected { open, result: Ok(reply) })
}

fn breaking(state: LeaseState, epoch: u16) -> Lease {
    let (flags, epoch) = (LeaseFlags::BREAK_IN_PROGRESS, Epoch::new(epoch));
    Lease::V2(LeaseV2 { key: KEY, state, flags, parent: None, epoch })
}

/// What a store has after these actions.
fn keep(store: &mut BTreeMap<u64, ClientRecord>, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Persist { change: ClientChange::Put(record) } => {
                store.insert(record.id, *record);
            }
            Action::Persist { change: ClientChange::Delete { id } } => {
                store.remove(id);
            }
            _ => {}
        }
    }
}

/// The next life of a client with this store; its opens.
fn restart(store: &BTreeMap<u64, ClientRecord>) -> (Story, Vec<OpenRef>) {
    let mut story = Story { client: Client::new(config()), requests: 100, answers: 2000, now: 0 };
    let mut opens = Vec::new();
    for record in store.values() {
        let event = Event::Restore { record: *record, elapsed: Duration::ZERO };
        match story.tell(event)[..] {
            [Action::Restored { open, .. }] => opens.push(open),
            ref other => panic!("{other:?}"),
        }
    }
    (story, opens)
}

/// MS-SMB2 3.3.7.1 keeps a persistent open although its break is in flight, and 3.3.5.9.12 sends again only what was never sent. The
/// answer is still waited for; after 60 s nothing is left of the lease, and nobody says so.
#[test]
fn a_break_of_a_persistent_open_is_answered_after_the_reconnect() {
    let mut story = story();
    let (open, _) = story.persistent(RWH);
    assert_eq!(story.broken(RWH, RH, 2, ACK), [allow(RH), FLUSH]);
    story.lose_connection();
    story.tell(Event::Flushed { file: FILE });
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let actions = back(&mut story, open, breaking(RWH, 2));
    let actions = settle(&mut story, actions);
    assert_eq!(acks(&actions), [RH], "{actions:?}");
}

/// The same for an answer that went with the connection.
#[test]
fn an_acknowledgment_that_was_lost_with_the_last_connection_goes_out_again() {
    let mut story = story();
    let (open, _) = story.persistent(RH);
    assert_eq!(acks(&story.broken(RH, R, 2, ACK)), [R]);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let actions = back(&mut story, open, breaking(RH, 2));
    let actions = settle(&mut story, actions);
    assert_eq!(acks(&actions), [R], "{actions:?}");
}

/// The same for a notification that never came: what it left is not known.
#[test]
fn a_break_that_was_lost_with_the_last_connection_is_answered_with_nothing() {
    let mut story = story();
    let (open, _) = story.persistent(RWH);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let actions = back(&mut story, open, breaking(RWH, 2));
    assert!(!actions.contains(&allow(RWH)), "9.4: no more than what survives the break: {actions:?}");
}

/// The same after a restart of the client.
#[test]
fn a_break_of_a_former_life_is_answered() {
    let mut story = Story::on(Dialect::Smb311, config());
    let mut store = BTreeMap::new();
    let opening = story.opening().want(Want::State(RWH)).durable(GUID).share(AVAILABLE);
    let open = story.create(opening).open;
    let (lease, flags) = (Some(granted(RWH, 1)), DurableFlags::PERSISTENT);
    let reply = reply_to(&mut story, OplockLevel::Lease, lease, Some(60_000), flags);
    keep(&mut store, &story.tell(Event::Created { open, result: Ok(reply) }));
    keep(&mut store, &story.broken(RWH, RH, 2, ACK));
    let (mut story, opens) = restart(&store);
    assert_eq!(reconnects(&story.reconnect()), opens);
    let actions = back(&mut story, opens[0], breaking(RWH, 2));
    let actions = settle(&mut story, actions);
    assert_eq!(acks(&actions), [RH], "{actions:?}");
}

/// Two persistent opens of a lease; one is back, and the break closes it.
fn parted_beside_one_that_is_away() -> (Story, OpenRef) {
    let mut story = story();
    let first = durable(&mut story, FILE, KEY, AVAILABLE);
    let second = durable(&mut story, FILE, KEY, AVAILABLE);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [first, second]);
    back(&mut story, first, granted(RWH, 1));
    story.refuse(second, Status::FILE_NOT_AVAILABLE);
    story.tell(Event::Release { open: first });
    let actions = story.broken(RWH, R, 2, ACK);
    let actions = settle(&mut story, actions);
    assert_eq!(closed(&actions), [first], "{actions:?}");
    (story, second)
}

/// MS-SMB2 3.2.5.19.2: the CLOSE is the answer only if no open of the lease is left, and one is: it is away.
#[test]
fn a_close_does_not_answer_for_an_open_that_is_away() {
    let (mut story, second) = parted_beside_one_that_is_away();
    let actions = back(&mut story, second, breaking(RWH, 2));
    let actions = settle(&mut story, actions);
    assert_eq!(acks(&actions), [R], "{actions:?}");
}

/// The same with a server that tells it again: it was not answered, so it is no second one.
#[test]
fn a_notification_that_was_not_answered_is_no_second_one() {
    let (mut story, second) = parted_beside_one_that_is_away();
    let mut actions = back(&mut story, second, granted(RWH, 2));
    actions.extend(story.broken(RWH, R, 2, ACK));
    let actions = settle(&mut story, actions);
    assert_eq!(acks(&actions), [R], "{actions:?}");
}

/// A durable open of 2.1 under BATCH, and its store.
fn batch(resilient: bool) -> (Story, Vec<OpenRef>) {
    let mut story = Story::on(Dialect::Smb210, config());
    let mut store = BTreeMap::new();
    let opening = story.opening().want(Want::Level(OplockLevel::Batch)).durable(GUID);
    let open = story.create(opening).open;
    let mut reply = reply_to(&mut story, OplockLevel::Batch, None, None, DurableFlags::empty());
    reply.contexts.durable = Some(DurableHandleResponse);
    keep(&mut store, &story.tell(Event::Created { open, result: Ok(reply) }));
    if resilient {
        keep(&mut store, &story.tell(Event::Resilient { open, timeout: Duration::from_secs(60) }));
    }
    let (mut story, opens) = restart(&store);
    let terms = all_terms(Dialect::Smb210);
    let (session, previous) = (SESSION, PreviousSession::Ended);
    let actions = story.tell(Event::Connected { conn: AGAIN, session, previous, terms });
    assert_eq!(reconnects(&actions), opens);
    (story, opens)
}

/// MS-SMB2 3.2.5.8: it comes back with less than the record says.
#[test]
fn what_was_cached_under_batch_is_written_back_in_the_next_life() {
    let (mut story, opens) = batch(true);
    let reply = reply_to(&mut story, OplockLevel::II, None, None, DurableFlags::empty());
    let actions = story.tell(Event::Reconnected { open: opens[0], result: Ok(reply) });
    assert!(actions.contains(&FLUSH), "{actions:?}");
}

/// And what is lost is purged: the next open of the name would find it.
#[test]
fn what_was_cached_under_batch_is_dropped_with_it_in_the_next_life() {
    let (mut story, opens) = batch(false);
    let actions = story.refuse(opens[0], Status::OBJECT_NAME_NOT_FOUND);
    assert_eq!(lost(&actions).map(|(.., held)| held), Some(RWH));
    assert!(actions.contains(&PURGE), "{actions:?}");
}

/// A handle that is taken up again is the application's (MS-SMB2 3.2.4.3): the next life must not close it.
#[test]
fn a_handle_that_was_taken_up_is_stored_as_the_applications() {
    let mut story = Story::on(Dialect::Smb311, config());
    let mut store = BTreeMap::new();
    let opening = |story: &mut Story, guid| {
        let access = leasehold::Access::READ_DATA;
        let opening = story.opening().want(Want::State(RH)).access(access, leasehold::ShareMode::ALL);
        opening.durable(CreateGuid::new(Uuid::from_u128(guid)))
    };
    let first = opening(&mut story, 1);
    let open = story.create(first).open;
    let lease = Some(granted(RH, 1));
    let reply = reply_to(&mut story, OplockLevel::Lease, lease, Some(60_000), DurableFlags::empty());
    keep(&mut store, &story.tell(Event::Created { open, result: Ok(reply) }));
    keep(&mut store, &story.tell(Event::Release { open }));
    let second = opening(&mut story, 2);
    let actions = story.tell(Event::Open(second));
    assert!(matches!(actions.last(), Some(Action::Ready { served: Served::Kept, .. })), "{actions:?}");
    keep(&mut store, &actions);
    assert_eq!(store.values().next().unwrap().need, Need::Application);
}

/// The record says that a `Flush` was not answered: what is dirty is lost with the open.
#[test]
fn what_was_being_written_back_before_a_restart_is_said_to_be_lost() {
    let mut story = Story::on(Dialect::Smb311, config());
    let mut store = BTreeMap::new();
    let opening = story.opening().want(Want::State(RWH)).durable(GUID);
    let open = story.create(opening).open;
    let lease = Some(granted(RWH, 1));
    let reply = reply_to(&mut story, OplockLevel::Lease, lease, Some(60_000), DurableFlags::empty());
    keep(&mut store, &story.tell(Event::Created { open, result: Ok(reply) }));
    keep(&mut store, &story.broken(RWH, RH, 2, ACK));
    assert!(store.values().all(|record| record.flush));
    let (mut story, opens) = restart(&store);
    story.reconnect();
    let actions = story.refuse(opens[0], Status::OBJECT_NAME_NOT_FOUND);
    let held = lost(&actions).map(|(.., held)| held).unwrap();
    assert!(held.contains(LeaseState::WRITE), "{actions:?}");
}

/// MS-SMB2 3.2.7.1: while one of the name was away the cache was allowed nothing, but kept what is dirty.
#[test]
fn a_second_loss_says_what_was_at_stake_at_the_first() {
    let mut story = story();
    let first = durable(&mut story, FILE, KEY, ShareFlags::empty());
    let second = durable(&mut story, FILE, KEY, ShareFlags::empty());
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [first, second]);
    back(&mut story, first, granted(RWH, 1));
    story.tell(Event::Disconnected { conn: AGAIN });
    let (session, previous) = (SessionId::new(0x1b), PreviousSession::Ended);
    let terms = all_terms(Dialect::Smb311);
    story.tell(Event::Connected { conn: THIRD, session, previous, terms });
    story.refuse(second, Status::OBJECT_NAME_NOT_FOUND);
    let actions = story.refuse(first, Status::OBJECT_NAME_NOT_FOUND);
    assert!(actions.contains(&PURGE), "{actions:?}");
    assert_eq!(lost(&actions).map(|(.., held)| held), Some(RWH), "the last of the name: {actions:?}");
}

/// The first connection does not carry the session of the second: no channel is left (MS-SMB2 3.2.7.1).
#[test]
fn a_connection_of_a_former_session_carries_nothing_on() {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, ShareFlags::empty());
    story.tell(Event::SessionLost { session: SESSION, reason: SessionLoss::Expired });
    assert_eq!(reconnects(&story.reconnect()), [open]);
    assert_eq!(back(&mut story, open, granted(RWH, 1)), [Action::Regained { open }, allow(RWH)]);
    let actions = story.tell(Event::Disconnected { conn: AGAIN });
    assert_eq!(actions, [Action::Away { open }, allow(NONE)]);
}

/// The name of a reconnect that is lost with its channel; another file's data is being written back.
fn replaced_while_writing_back() -> (Story, Vec<Action>, OpenRef) {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, AVAILABLE);
    let other = durable(&mut story, OTHER, OTHER_KEY, AVAILABLE);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [open, other]);
    back(&mut story, open, granted(RWH, 1));
    let session = SessionId::new(0x1a);
    let (previous, terms) = (PreviousSession::Ended, all_terms(Dialect::Smb311));
    story.tell(Event::Connected { conn: THIRD, session, previous, terms });
    assert_eq!(reconnects(&story.tell(Event::Disconnected { conn: AGAIN })), [other]);
    assert_eq!(story.broken(RWH, NONE, 2, ACK), [allow(NONE), FLUSH]);
    let actions = story.refuse(other, Status::OBJECT_NAME_NOT_FOUND);
    (story, actions, open)
}

/// `Replace` ends the session at the server (MS-SMB2 3.3.5.5.3): what was being written back through it fails, and is dirty still.
#[test]
fn what_is_written_back_while_the_session_is_replaced_is_not_forgotten() {
    let (mut story, actions, _) = replaced_while_writing_back();
    let (conn, renewal) = (THIRD, Renewal::Replace);
    assert_eq!(actions.last(), Some(&Action::RenewSession { conn, renewal }), "{actions:?}");
    let actions = story.tell(Event::Flushed { file: FILE });
    assert!(!actions.contains(&PURGE), "the WRITEs were refused: {actions:?}");
}

/// The cache is told before: the server keeps the opens untold, and gives them up to who comes first (MS-SMB2 3.3.4.7).
#[test]
fn opens_go_away_before_their_session_is_replaced() {
    let (_, actions, open) = replaced_while_writing_back();
    assert_eq!(actions[0], Action::Away { open }, "{actions:?}");
}

/// USER_SESSION_DELETED says it of all opens: they have no session any more, and no break comes (MS-SMB2 3.3.5.2.9).
#[test]
fn a_session_that_is_gone_is_gone_for_every_open() {
    let mut story = story();
    let first = durable(&mut story, FILE, KEY, ShareFlags::empty());
    let second = durable(&mut story, OTHER, OTHER_KEY, ShareFlags::empty());
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [first, second]);
    assert!(back(&mut story, first, granted(RWH, 1)).contains(&allow(RWH)));
    let actions = story.refuse(second, Status::USER_SESSION_DELETED);
    assert!(actions.contains(&allow(NONE)), "{actions:?}");
}

/// The lease of an open that is not durable ended with the former life. The next open of the name would find what was cached under it.
#[test]
fn what_was_cached_under_an_open_without_a_record_is_dropped() {
    let mut story = Story::on(Dialect::Smb311, config());
    let mut store = BTreeMap::new();
    let opening = story.opening().want(Want::State(NONE)).durable(GUID).share(AVAILABLE);
    let open = story.create(opening).open;
    let flags = DurableFlags::PERSISTENT;
    let reply = reply_to(&mut story, OplockLevel::None, None, Some(60_000), flags);
    keep(&mut store, &story.tell(Event::Created { open, result: Ok(reply) }));
    let opening = story.opening().want(Want::State(R));
    let open = story.create(opening).open;
    let actions = story.answer(open, Some(granted(R, 1)));
    assert!(actions.contains(&allow(R)), "{actions:?}");
    keep(&mut store, &actions);
    let (mut story, opens) = restart(&store);
    assert_eq!(reconnects(&story.reconnect()), opens);
    let mut said = story.regain(opens[0], None);
    let opening = story.opening().want(Want::State(R));
    let open = story.create(opening).open;
    said.extend(story.answer(open, Some(granted(R, 1))));
    let purge = said.iter().position(|action| *action == PURGE);
    let allows = said.iter().position(|action| *action == allow(R));
    assert!(allows.is_none() || purge < allows && purge.is_some(), "{said:?}");
}

/// The CREATE has joined the lease: its open is left to answer with (MS-SMB2 3.2.5.19.2 <202>).
#[test]
fn a_break_is_answered_by_a_create_although_the_other_open_was_closed_by_the_server() {
    let mut story = story();
    let first = story.open(RWH, 1);
    let second = story.ask(RWH);
    let mut actions = story.broken(RWH, RH, 2, ACK);
    actions.extend(story.tell(Event::HandleLost { open: first, status: Status::FILE_CLOSED }));
    settle(&mut story, actions);
    let actions = story.answer(second, Some(breaking(RWH, 2)));
    let actions = settle(&mut story, actions);
    assert_eq!(acks(&actions).len(), 1, "{actions:?}");
}

/// MS-SMB2 3.3.5.15.9 <401>: without a time the server has its own.
#[test]
fn a_resilient_open_without_a_time_has_the_time_of_the_server() {
    let mut story = story();
    let open = story.open(RWH, 1);
    story.tell(Event::Resilient { open, timeout: Duration::ZERO });
    assert_eq!(story.lose_connection(), [Action::Away { open }, allow(NONE)]);
    assert_eq!(story.pass(1), [], "with what is dirty");
    assert_eq!(reconnects(&story.reconnect()), [open]);
}
