//! Races of loss, renewal and return with breaks and closes (MS-SMB2 3.2.4.4, 3.2.5.8, 3.2.5.19, 3.2.7.1).

use leasehold::client::{Renewal, SessionLoss};
use leasehold::server::ShareFlags;
use leasehold::wire::{DurableFlags, DurableHandleResponse};
use leasehold::{Access, CreateGuid, ShareMode};
use uuid::Uuid;

use super::coming_back::{GUID, all_terms, reconnects, reply_to};
use super::*;

const AGAIN: ConnId = ConnId::new(2);
const THIRD: ConnId = ConnId::new(3);
const OTHER: FileRef = FileRef::new(2);
const OTHER_KEY: LeaseKey = LeaseKey::new([0x22; 16]);

fn story() -> Story {
    with(ClientConfig::new(HashKey::new([1; 16])))
}

fn with(config: ClientConfig) -> Story {
    Story::on(Dialect::Smb311, config)
}

fn lease(key: LeaseKey, state: LeaseState, epoch: u16) -> Lease {
    let (flags, epoch) = (LeaseFlags::empty(), Epoch::new(epoch));
    Lease::V2(LeaseV2 { key, state, flags, parent: None, epoch })
}

/// A durable open of a name, with its lease.
pub(super) fn durable(story: &mut Story, name: FileRef, key: LeaseKey, share: ShareFlags) -> OpenRef {
    let guid = CreateGuid::new(Uuid::from_u128(story.answers.into()));
    let opening =
        Opening::new(story.next_request(), name, key).want(Want::State(RWH)).durable(guid).share(share);
    let open = story.create(opening).open;
    let flags = if share.is_empty() { DurableFlags::empty() } else { DurableFlags::PERSISTENT };
    let reply = reply_to(story, OplockLevel::Lease, Some(lease(key, RWH, 1)), Some(60_000), flags);
    story.tell(Event::Created { open, result: Ok(reply) });
    open
}

fn back(story: &mut Story, open: OpenRef, granted: Lease) -> Vec<Action> {
    let reply = reply_to(story, OplockLevel::Lease, Some(granted), None, DurableFlags::empty());
    story.tell(Event::Reconnected { open, result: Ok(reply) })
}

fn refused(story: &mut Story, open: OpenRef, status: Status) -> Vec<Action> {
    story.tell(Event::Reconnected { open, result: Err(status) })
}

fn says_lost(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Lost { .. }))
}

fn closes(actions: &[Action]) -> Vec<OpenRef> {
    let close = |action: &Action| match action {
        Action::SendClose { open, .. } => Some(*open),
        _ => None,
    };
    actions.iter().filter_map(close).collect()
}

/// USER_SESSION_DELETED: with the session all its opens have lost their connection (MS-SMB2 3.2.4.4).
#[test]
fn another_session_leaves_nothing_to_the_opens_of_the_one_before() {
    let mut story = story();
    let first = durable(&mut story, FILE, KEY, ShareFlags::empty());
    let second = durable(&mut story, OTHER, OTHER_KEY, ShareFlags::empty());
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [first, second]);
    back(&mut story, first, lease(KEY, RWH, 1));
    let renewal = Renewal::SetUp;
    let renew = Action::RenewSession { conn: AGAIN, renewal };
    let actions = refused(&mut story, second, Status::USER_SESSION_DELETED);
    assert_eq!(actions, [Action::Away { open: first }, allow(NONE), renew]);
    let (session, previous) = (SessionId::new(0x1b), PreviousSession::Ended);
    let actions = story.tell(Event::SessionReady { session, previous });
    assert_eq!(reconnects(&actions), [first, second]);
}

/// The same, by a connection with another session beside one that has expired.
#[test]
fn a_connection_with_another_session_leaves_nothing_to_the_opens_of_the_one_before() {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, ShareFlags::empty());
    story.tell(Event::SessionLost { session: SESSION, reason: SessionLoss::Expired });
    let actions = story.reconnect();
    assert_eq!(actions[..2], [Action::Away { open }, allow(NONE)], "{actions:?}");
    assert!(matches!(actions[2..], [Action::SendReconnect { open: back, conn: AGAIN, .. }] if back == open));
}

/// The one that was asked cannot answer any more; nothing would go out until all is given up.
#[test]
fn a_renewal_whose_connection_is_lost_is_asked_of_another() {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, ShareFlags::empty());
    story.lose_connection();
    story.reconnect();
    let session = SessionId::new(0x1a);
    let (previous, terms) = (PreviousSession::Ended, all_terms(Dialect::Smb311));
    story.tell(Event::Connected { conn: THIRD, session, previous, terms });
    refused(&mut story, open, Status::NETWORK_SESSION_EXPIRED);
    let renewal = Renewal::Reauthenticate;
    assert_eq!(
        story.tell(Event::Disconnected { conn: AGAIN }),
        [Action::RenewSession { conn: THIRD, renewal }]
    );
    assert_eq!(reconnects(&story.tell(Event::SessionReady { session, previous })), [open]);
    assert_eq!(story.tell(Event::Disconnected { conn: THIRD }).len(), 0, "and then of none");
}

/// Another channel of the session says nothing of the session before.
#[test]
fn a_second_channel_does_not_end_the_former_session() {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, ShareFlags::empty());
    story.lose_connection();
    let session = SessionId::new(0x1a);
    story.return_with(session, PreviousSession::Unknown);
    let (previous, terms) = (PreviousSession::Ended, all_terms(Dialect::Smb311));
    story.tell(Event::Connected { conn: THIRD, session, previous, terms });
    let actions = refused(&mut story, open, Status::OBJECT_NAME_NOT_FOUND);
    assert!(!says_lost(&actions), "with what is dirty: {actions:?}");
}

/// MS-SMB2 3.3.5.9.12: the server keeps it, with its lease. What the client has given up by itself is no break.
#[test]
fn a_handle_that_is_written_back_before_it_closes_comes_back() {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    config.kept = 0;
    let mut story = with(config);
    let open = durable(&mut story, FILE, KEY, ShareFlags::empty());
    assert_eq!(story.tell(Event::Release { open }), [allow(NONE), FLUSH]);
    assert_eq!(story.lose_connection(), [Action::Away { open }], "it was being written back");
    assert_eq!(story.tell(Event::Flushed { file: FILE }), []);
    assert_eq!(reconnects(&story.reconnect()), [open]);
    assert_eq!(back(&mut story, open, lease(KEY, RWH, 1)), [Action::Regained { open }, FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    assert_eq!(closes(&story.tell(Event::Purged { file: FILE })), [open]);
}

/// A durable open of 2.1, under BATCH, that is asked for again.
fn batch_comes_back() -> (Story, OpenRef, FileId) {
    let mut story = Story::on(Dialect::Smb210, ClientConfig::new(HashKey::new([1; 16])));
    let opening = story.opening().want(Want::Level(OplockLevel::Batch)).durable(GUID);
    let open = story.create(opening).open;
    let mut reply = reply_to(&mut story, OplockLevel::Batch, None, None, DurableFlags::empty());
    reply.contexts.durable = Some(DurableHandleResponse);
    story.tell(Event::Created { open, result: Ok(reply) });
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [open]);
    (story, open, reply.file_id)
}

/// A server may leave the FileId as it was.
#[test]
fn a_break_that_overtakes_the_answer_to_a_reconnect_is_acknowledged() {
    let (mut story, open, file_id) = batch_comes_back();
    story.oplock_broken(file_id, OplockLevel::II);
    let reply = CreateReply::new(file_id, OplockLevel::Batch, ResponseContexts::default());
    let mut actions = story.tell(Event::Reconnected { open, result: Ok(reply) });
    assert!(actions.contains(&FLUSH), "{actions:?}");
    actions.extend(story.tell(Event::Flushed { file: FILE }));
    let answered = actions.iter().any(|action| {
        matches!(action, Action::SendOplockAck { body, .. }
            if *body == OplockBreak { level: OplockLevel::II, file_id })
    });
    assert!(answered, "{actions:?}");
    assert!(!actions.contains(&allow(RWH)), "{actions:?}");
}

/// The server has closed what is away, or has restarted: its FileIds mean something else now.
#[test]
fn a_file_id_of_an_open_that_is_away_may_be_anothers() {
    let (mut story, away, file_id) = batch_comes_back();
    let opening = Opening::new(story.next_request(), OTHER, OTHER_KEY).want(Want::Level(OplockLevel::Batch));
    let open = story.create(opening).open;
    let reply = CreateReply::new(file_id, OplockLevel::Batch, ResponseContexts::default());
    let actions = story.tell(Event::Created { open, result: Ok(reply) });
    assert!(matches!(actions[0], Action::Ready { .. }), "{actions:?}");
    refused(&mut story, away, Status::OBJECT_NAME_NOT_FOUND);
    let actions = story.oplock_broken(file_id, OplockLevel::II);
    assert!(actions.contains(&Action::Allow { file: OTHER, state: R }), "{actions:?}");
}

/// MS-SMB2 3.3.2.5: a server waits 35 s, then gives the file to others; what is dirty would go over what they write.
#[test]
fn a_break_is_answered_although_another_open_of_the_name_is_not_back() {
    let mut story = story();
    let available = ShareFlags::CONTINUOUSLY_AVAILABLE;
    let first = durable(&mut story, FILE, KEY, available);
    let second = durable(&mut story, FILE, KEY, available);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [first, second]);
    back(&mut story, first, lease(KEY, RWH, 1));
    let mut actions = story.broken(RWH, RH, 2, ACK);
    let mut passed = 0;
    while passed < 35_000 && !actions.contains(&FLUSH) {
        if !reconnects(&actions).is_empty() || passed == 0 {
            actions = refused(&mut story, second, Status::FILE_NOT_AVAILABLE);
        } else {
            actions = story.pass(5_000);
            passed += 5_000;
        }
        passed += 1;
    }
    assert!(actions.contains(&FLUSH), "it has waited {passed} ms: {actions:?}");
    assert_eq!(acknowledged(&story.tell(Event::Flushed { file: FILE })).1, RH);
}

/// What only the other may write waits for it, as long as the server waits for the answer.
#[test]
fn a_break_waits_for_the_one_that_can_write() {
    let mut story = story();
    let mut opens = Vec::new();
    for access in [Access::READ_DATA, Access::READ_DATA.union(Access::WRITE_DATA)] {
        let guid = CreateGuid::new(Uuid::from_u128(story.answers.into()));
        let opening = story.opening().want(Want::State(RWH)).access(access, ShareMode::ALL).durable(guid);
        let open = story.create(opening).open;
        let reply = reply_to(
            &mut story,
            OplockLevel::Lease,
            Some(lease(KEY, RWH, 1)),
            Some(60_000),
            DurableFlags::empty(),
        );
        story.tell(Event::Created { open, result: Ok(reply) });
        opens.push(open);
    }
    story.lose_connection();
    story.reconnect();
    back(&mut story, opens[0], lease(KEY, RWH, 1));
    assert_eq!(story.broken(RWH, RH, 2, ACK), []);
    let actions = back(&mut story, opens[1], lease(KEY, RWH, 2));
    assert!(actions.contains(&FLUSH), "{actions:?}");
    let actions = story.tell(Event::Flushed { file: FILE });
    assert_eq!(acknowledged(&actions[..1]).1, RH);
    assert_eq!(actions[1..], [allow(RH)]);
}

/// MS-SMB2 3.3.4.7: no break comes for one's own key, so a handle that is kept would be in the way for ever.
#[test]
fn a_kept_handle_is_not_in_the_way_of_an_open_of_the_same_client() {
    for (access, sharing) in [(Access::WRITE_DATA, ShareMode::ALL), (Access::DELETE, ShareMode::ALL)] {
        let mut story = story();
        let opening = story.opening().want(Want::State(RH)).access(Access::READ_DATA, ShareMode::READ);
        let kept = story.create(opening).open;
        story.answer(kept, Some(granted(RH, 1)));
        assert_eq!(story.tell(Event::Release { open: kept }), []);
        let opening = story.opening().want(Want::State(RH)).access(access, sharing);
        let mut actions = story.tell(Event::Open(opening));
        let sent = actions.iter().find_map(|action| match action {
            Action::SendCreate { open, .. } => Some(*open),
            _ => None,
        });
        if let Some(open) = sent {
            actions.extend(story.tell(Event::Created { open, result: Err(Status::SHARING_VIOLATION) }));
        }
        if actions.contains(&PURGE) {
            actions.extend(story.tell(Event::Purged { file: FILE }));
        }
        assert_eq!(closes(&actions), [kept], "{actions:?}");
    }
}

/// An open that shall outlive its connection is not served by one that will not.
#[test]
fn a_kept_handle_that_is_not_durable_serves_no_durable_open() {
    let mut story = story();
    let opening = story.opening().want(Want::State(RH)).access(Access::READ_DATA, ShareMode::ALL);
    let kept = story.create(opening).open;
    story.answer(kept, Some(granted(RH, 1)));
    story.tell(Event::Release { open: kept });
    let opening = story.opening().want(Want::State(RH)).access(Access::READ_DATA, ShareMode::ALL);
    let actions = story.tell(Event::Open(opening.durable(GUID)));
    assert!(matches!(actions[..], [Action::SendCreate { .. }]), "{actions:?}");
}

/// What was to be sent again is gone with the lease; the first answer to a later one is a first one.
#[test]
fn an_acknowledgment_that_was_given_up_does_not_excuse_the_next() {
    let mut story = story();
    let (conn, previous, terms) = (THIRD, PreviousSession::Ended, all_terms(Dialect::Smb311));
    story.tell(Event::Connected { conn, session: SESSION, previous, terms });
    story.open(RH, 1);
    acknowledged(&story.broken(RH, R, 2, ACK));
    // A CREATE that outlives both connections holds the second answer back.
    let opening =
        story.opening().want(Want::State(RH)).durable(GUID).share(ShareFlags::CONTINUOUSLY_AVAILABLE);
    let open = story.create(opening).open;
    story.lose_connection();
    story.tell(Event::Disconnected { conn: THIRD });
    story.tell(Event::Purged { file: FILE });
    story.reconnect();
    let reply = reply_to(&mut story, OplockLevel::Lease, Some(granted(RH, 3)), None, DurableFlags::empty());
    story.tell(Event::Created { open, result: Ok(reply) });
    let (ack, state) = acknowledged(&story.broken(RH, R, 4, ACK));
    assert_eq!(state, R);
    story.tell(Event::AckAnswered { ack, result: Err(Status::UNSUCCESSFUL) });
    assert_eq!(story.client.state(FILE), NONE, "the server has nothing left for it");
}

/// A renewal that succeeds and helps nothing is no reason to ask as fast as one can.
#[test]
fn renewals_in_vain_wait_like_other_tries() {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, ShareFlags::CONTINUOUSLY_AVAILABLE);
    story.lose_connection();
    let mut actions = story.reconnect();
    let (session, previous) = (SessionId::new(0x1a), PreviousSession::Ended);
    let mut tries = 0;
    while tries < 20 && reconnects(&actions) == [open] {
        tries += 1;
        refused(&mut story, open, Status::NETWORK_NAME_DELETED);
        actions = story.tell(Event::SessionReady { session, previous });
    }
    assert_eq!(tries, 4, "as of FILE_NOT_AVAILABLE");
    assert_eq!(reconnects(&story.pass(5_000)), [open]);
}

/// Breaks that waited for the answer to a reconnect went with the connection.
#[test]
fn a_break_of_a_connection_that_is_gone_means_nothing_on_the_next() {
    let (mut story, open, file_id) = batch_comes_back();
    let early = FileId::new(77, 77);
    assert_ne!(early, file_id);
    story.oplock_broken(early, OplockLevel::II);
    story.tell(Event::Disconnected { conn: AGAIN });
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let reply = CreateReply::new(early, OplockLevel::Batch, ResponseContexts::default());
    let actions = story.tell(Event::Reconnected { open, result: Ok(reply) });
    assert_eq!(actions, [Action::Regained { open }, allow(RWH)]);
}

/// One reconnect was under way on a channel that is gone, the next does not find the open.
fn found_under_nobody(story: &mut Story, open: OpenRef) -> Vec<Action> {
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let session = SessionId::new(0x1a);
    let (previous, terms) = (PreviousSession::Ended, all_terms(Dialect::Smb311));
    story.tell(Event::Connected { conn: THIRD, session, previous, terms });
    assert_eq!(reconnects(&story.tell(Event::Disconnected { conn: AGAIN })), [open]);
    refused(story, open, Status::OBJECT_NAME_NOT_FOUND)
}

/// OBJECT_NAME_NOT_FOUND (MS-SMB2 3.3.5.9.12): the first may have arrived, so that the open is connected, to nobody's use. Only the end
/// of the session gives it free.
#[test]
fn a_reconnect_that_was_lost_with_its_channel_is_not_given_up_at_once() {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, ShareFlags::empty());
    let renewal = Renewal::Replace;
    let actions = found_under_nobody(&mut story, open);
    assert_eq!(actions, [Action::RenewSession { conn: THIRD, renewal }], "with what is dirty");
    let (session, previous) = (SessionId::new(0x1b), PreviousSession::Ended);
    assert_eq!(reconnects(&story.tell(Event::SessionReady { session, previous })), [open]);
    assert!(says_lost(&refused(&mut story, open, Status::OBJECT_NAME_NOT_FOUND)), "nobody has it");
}

/// What is not durable would be lost with the session: its data is worth as much as the other's.
#[test]
fn a_session_is_not_replaced_over_opens_that_would_not_come_back() {
    let mut story = story();
    let open = durable(&mut story, FILE, KEY, ShareFlags::empty());
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let other = Opening::new(story.next_request(), OTHER, OTHER_KEY).want(Want::State(RW));
    let other = story.create(other).open;
    let reply =
        reply_to(&mut story, OplockLevel::Lease, Some(lease(OTHER_KEY, RW, 1)), None, DurableFlags::empty());
    story.tell(Event::Created { open: other, result: Ok(reply) });
    let session = SessionId::new(0x1a);
    let (previous, terms) = (PreviousSession::Ended, all_terms(Dialect::Smb311));
    story.tell(Event::Connected { conn: THIRD, session, previous, terms });
    story.tell(Event::Disconnected { conn: AGAIN });
    for _ in 0..2 {
        assert_eq!(refused(&mut story, open, Status::OBJECT_NAME_NOT_FOUND), []);
        assert_eq!(reconnects(&story.pass(5_000)), [open], "again, as often as the retries allow");
    }
    assert!(says_lost(&refused(&mut story, open, Status::OBJECT_NAME_NOT_FOUND)));
}

/// MS-SMB2 3.2.4.5: the CLOSE goes before the CREATE also if another CREATE of the name is on its way.
#[test]
fn what_is_in_the_way_closes_first_whatever_else_is_on_its_way() {
    let mut story = story();
    let opening = story.opening().want(Want::State(RH)).access(Access::READ_DATA, ShareMode::READ);
    let kept = story.create(opening).open;
    story.answer(kept, Some(granted(RH, 1)));
    story.tell(Event::Release { open: kept });
    let opening = story.opening().want(Want::State(RH)).access(Access::READ_DATA, ShareMode::ALL);
    let other = story.create(opening).open;
    let opening = story.opening().want(Want::State(RH)).access(Access::DELETE, ShareMode::ALL);
    let mut actions = story.tell(Event::Open(opening));
    actions.extend(story.answer(other, Some(granted(RH, 1))));
    let close = actions.iter().position(|action| matches!(action, Action::SendClose { .. }));
    let create = actions.iter().position(|action| matches!(action, Action::SendCreate { .. }));
    assert!(close.is_some() && create.is_some() && close < create, "{actions:?}");
}
