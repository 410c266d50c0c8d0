//! Opens that outlive their connection (MS-SMB2 3.2.4.3.5, 3.2.4.4, 3.2.5.8, 3.2.7.1).

use std::time::Duration;

use leasehold::client::{Renewal, Retry, SessionLoss};
use leasehold::server::ShareFlags;
use leasehold::wire::{
    DurableContexts, DurableFlags, DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest,
    DurableHandleRequestV2, DurableHandleResponse, DurableHandleResponseV2,
};
use leasehold::{CreateGuid, CreateOptions, Disposition};
use uuid::Uuid;

use super::*;

const AGAIN: ConnId = ConnId::new(2);
pub(super) const GUID: CreateGuid = CreateGuid::new(Uuid::from_u128(0xc0ffee));
const AVAILABLE: ShareFlags = ShareFlags::CONTINUOUSLY_AVAILABLE;

pub(super) fn all_terms(dialect: Dialect) -> Terms {
    Terms::new(
        dialect,
        Capabilities::LEASING | Capabilities::DIRECTORY_LEASING | Capabilities::PERSISTENT_HANDLES,
    )
}

fn config() -> ClientConfig {
    ClientConfig::new(HashKey::new([1; 16]))
}

pub(super) fn reply_to(
    story: &mut Story,
    level: OplockLevel,
    lease: Option<Lease>,
    timeout: Option<u32>,
    flags: DurableFlags,
) -> CreateReply {
    story.answers += 1;
    let mut contexts = ResponseContexts::default();
    contexts.lease = lease;
    contexts.durable_v2 = timeout.map(|timeout| DurableHandleResponseV2 { timeout, flags });
    CreateReply::new(FileId::new(story.answers, story.answers), level, contexts)
}

impl Story {
    pub(super) fn on(dialect: Dialect, config: ClientConfig) -> Self {
        let mut story = Self { client: Client::new(config), requests: 0, answers: 1000, now: 0 };
        story.connect_with(CONN, all_terms(dialect));
        story
    }

    /// A durable open of version 2 with a lease, kept by the server for 60 s.
    pub(super) fn durable(&mut self, state: LeaseState) -> (OpenRef, FileId) {
        self.promised(state, DurableFlags::empty(), ShareFlags::empty())
    }

    pub(super) fn persistent(&mut self, state: LeaseState) -> (OpenRef, FileId) {
        self.promised(state, DurableFlags::PERSISTENT, AVAILABLE)
    }

    fn promised(&mut self, state: LeaseState, flags: DurableFlags, share: ShareFlags) -> (OpenRef, FileId) {
        let opening = self.opening().want(Want::State(state)).durable(GUID).share(share);
        let open = self.create(opening).open;
        let reply = reply_to(self, OplockLevel::Lease, Some(granted(state, 1)), Some(60_000), flags);
        self.tell(Event::Created { open, result: Ok(reply) });
        (open, reply.file_id)
    }

    pub(super) fn lose_connection(&mut self) -> Vec<Action> {
        self.tell(Event::Disconnected { conn: CONN })
    }

    pub(super) fn return_with(&mut self, session: SessionId, previous: PreviousSession) -> Vec<Action> {
        let terms = all_terms(Dialect::Smb311);
        self.tell(Event::Connected { conn: AGAIN, session, previous, terms })
    }

    /// A connection with a new session, by which the former one has ended.
    pub(super) fn reconnect(&mut self) -> Vec<Action> {
        self.return_with(SessionId::new(0x1a), PreviousSession::Ended)
    }

    pub(super) fn regain(&mut self, open: OpenRef, lease: Option<Lease>) -> Vec<Action> {
        let level = if lease.is_some() { OplockLevel::Lease } else { OplockLevel::None };
        let reply = reply_to(self, level, lease, None, DurableFlags::empty());
        self.tell(Event::Reconnected { open, result: Ok(reply) })
    }

    pub(super) fn refuse(&mut self, open: OpenRef, status: Status) -> Vec<Action> {
        self.tell(Event::Reconnected { open, result: Err(status) })
    }

    pub(super) fn pass(&mut self, millis: u64) -> Vec<Action> {
        self.now += millis;
        let mut actions = Vec::new();
        self.client.handle_timeout(Instant::from_millis(self.now), &mut actions);
        actions
    }
}

pub(super) fn reconnects(actions: &[Action]) -> Vec<OpenRef> {
    let sent = |action: &Action| match action {
        Action::SendReconnect { open, .. } => Some(*open),
        _ => None,
    };
    actions.iter().filter_map(sent).collect()
}

pub(super) fn lost(actions: &[Action]) -> Option<(LossReason, Status, LeaseState)> {
    actions.iter().find_map(|action| match action {
        Action::Lost { reason, status, held, .. } => Some((*reason, *status, *held)),
        _ => None,
    })
}

#[test]
fn what_is_asked_for_follows_dialect_share_and_caching() {
    // MS-SMB2 3.2.4.3.5.
    let asked = |dialect, change: fn(Opening) -> Opening| {
        let mut story = Story::on(dialect, config());
        let opening = change(story.opening().want(Want::State(RWH)).durable(GUID));
        story.create(opening).contexts.durable
    };
    let none = DurableContexts::default();
    let mut v1 = none;
    v1.dhnq = Some(DurableHandleRequest);
    let v2 = |flags| {
        let mut contexts = DurableContexts::default();
        contexts.dh2q = Some(DurableHandleRequestV2 { timeout: 0, flags, create_guid: GUID });
        contexts
    };
    assert_eq!(asked(Dialect::Smb202, |opening| opening), v1);
    assert_eq!(asked(Dialect::Smb202, |opening| opening.want(Want::State(RH))), v1, "with BATCH");
    assert_eq!(asked(Dialect::Smb210, |opening| opening), v1);
    assert_eq!(asked(Dialect::Smb210, |opening| opening.share(AVAILABLE)), v1);
    assert_eq!(asked(Dialect::Smb311, |opening| opening), v2(DurableFlags::empty()));
    assert_eq!(asked(Dialect::Smb311, |opening| opening.want(Want::State(RW))), none, "no H");
    assert_eq!(
        asked(Dialect::Smb311, |opening| opening.want(Want::Level(OplockLevel::Batch))),
        v2(DurableFlags::empty())
    );
    assert_eq!(asked(Dialect::Smb311, |opening| opening.share(AVAILABLE)), v2(DurableFlags::PERSISTENT));
    assert_eq!(
        asked(Dialect::Smb311, |opening| opening.want(Want::State(NONE)).share(AVAILABLE)),
        v2(DurableFlags::PERSISTENT),
        "whatever is cached"
    );
    let directory = |opening: Opening| opening.disposition(Disposition::Open, CreateOptions::DIRECTORY_FILE);
    assert_eq!(asked(Dialect::Smb311, directory), none);
    assert_eq!(
        asked(Dialect::Smb311, |opening| {
            opening.disposition(Disposition::Open, CreateOptions::DIRECTORY_FILE).share(AVAILABLE)
        }),
        v2(DurableFlags::PERSISTENT)
    );
}

#[test]
fn a_durable_open_goes_away_and_comes_back() {
    // MS-SMB2 3.2.4.4, 3.2.5.8.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, file_id) = story.durable(RWH);
    assert_eq!(story.lose_connection(), [Action::Away { open }, allow(NONE)], "nothing is purged");
    let actions = story.reconnect();
    let [Action::SendReconnect { open: asked, conn: AGAIN, level: OplockLevel::Lease, contexts }] =
        actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(asked, open);
    assert_eq!(contexts.lease, Some(granted(RWH, 1)), "key, state and epoch as they were");
    let mut durable = DurableContexts::default();
    durable.dh2c =
        Some(DurableHandleReconnectV2 { file_id, create_guid: GUID, flags: DurableFlags::empty() });
    assert_eq!(contexts.durable, durable, "and nothing is asked for anew");
    assert_eq!(story.regain(open, Some(granted(RWH, 1))), [Action::Regained { open }, allow(RWH)]);
    assert_eq!(story.client.poll_timeout(), None);
}

#[test]
fn version_one_comes_back_by_its_file_id() {
    for dialect in [Dialect::Smb202, Dialect::Smb210] {
        let mut story = Story::on(dialect, config());
        let opening = story.opening().want(Want::Level(OplockLevel::Batch)).durable(GUID);
        let open = story.create(opening).open;
        let mut reply = reply_to(&mut story, OplockLevel::Batch, None, None, DurableFlags::empty());
        reply.contexts.durable = Some(DurableHandleResponse);
        story.tell(Event::Created { open, result: Ok(reply) });
        story.lose_connection();
        let actions = story.reconnect();
        let [Action::SendReconnect { level: OplockLevel::Batch, contexts, .. }] = actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(contexts.lease, None);
        assert_eq!(contexts.durable.dhnc, Some(DurableHandleReconnect { file_id: reply.file_id }));
        let reply = reply_to(&mut story, OplockLevel::Batch, None, None, DurableFlags::empty());
        let actions = story.tell(Event::Reconnected { open, result: Ok(reply) });
        assert_eq!(actions, [Action::Regained { open }, allow(RWH)]);
        let actions = story.oplock_broken(reply.file_id, OplockLevel::II);
        assert_eq!(actions, [allow(R), FLUSH], "breaks find it by its new FileId");
    }
}

#[test]
fn what_was_not_granted_is_lost_with_the_connection() {
    let mut story = Story::on(Dialect::Smb311, config());
    let opening = story.opening().want(Want::State(RWH)).durable(GUID);
    let open = story.create(opening).open;
    story.answer(open, Some(granted(RWH, 1)));
    assert_eq!(story.lose_connection(), [cut_off(open, RWH), allow(NONE), PURGE]);
}

#[test]
fn a_break_that_leaves_neither_batch_nor_h_ends_the_promise() {
    // MS-SMB2 3.3.5.9.10 <342>.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RH);
    story.broken(RH, R, 2, ACK);
    let actions = story.lose_connection();
    assert_eq!(lost(&actions), Some((LossReason::Network, Status::CONNECTION_DISCONNECTED, R)));
    let mut story = Story::on(Dialect::Smb311, config());
    let (kept, _) = story.persistent(RH);
    story.broken(RH, R, 2, ACK);
    assert_eq!(
        story.lose_connection(),
        [Action::Away { open: kept }, allow(NONE)],
        "but not of a persistent one"
    );
    let _ = open;
}

#[test]
fn a_persistent_open_asks_with_its_flag() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, file_id) = story.persistent(NONE);
    story.lose_connection();
    let actions = story.reconnect();
    let [Action::SendReconnect { contexts, .. }] = actions[..] else { panic!("{actions:?}") };
    let expected = DurableHandleReconnectV2 { file_id, create_guid: GUID, flags: DurableFlags::PERSISTENT };
    assert_eq!(contexts.durable.dh2c, Some(expected));
    let _ = open;
}

#[test]
fn less_than_before_is_a_break_of_what_is_lost() {
    // MS-SMB2 3.2.5.8: what is dirty was kept until now, and goes out first.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.reconnect();
    assert_eq!(story.regain(open, Some(granted(RH, 2))), [Action::Regained { open }, FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [allow(RH)]);
    assert_eq!((story.client.state(FILE), story.client.epoch(FILE)), (RH, Epoch::new(2)));
    // And with nothing left: written back, then forgotten.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.reconnect();
    assert_eq!(story.regain(open, Some(granted(NONE, 2))), [Action::Regained { open }, FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
}

#[test]
fn a_reconnect_never_raises() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.persistent(RWH);
    story.broken(RWH, RH, 2, ACK);
    story.lose_connection();
    story.reconnect();
    let actions = story.regain(open, Some(granted(RWH, 2)));
    assert!(!actions.contains(&allow(RWH)), "the break is told again: {actions:?}");
    assert_eq!(story.client.state(FILE), RH);
}

#[test]
fn an_epoch_that_jumped_while_nobody_listened_voids_the_cache() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RH);
    story.lose_connection();
    story.reconnect();
    assert_eq!(story.regain(open, Some(granted(RH, 3))), [Action::Regained { open }, PURGE]);
    assert_eq!(story.tell(Event::Purged { file: FILE }), [allow(RH)]);
}

#[test]
fn a_write_back_that_the_loss_interrupted_is_done_again() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.persistent(RWH);
    assert_eq!(story.broken(RWH, RH, 2, ACK), [allow(RH), FLUSH]);
    assert_eq!(story.lose_connection(), [Action::Away { open }, allow(NONE)]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [], "it has failed, and waits");
    story.reconnect();
    assert_eq!(story.regain(open, Some(granted(RWH, 2))), [Action::Regained { open }, FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [allow(RH)]);
    // The server tells the break once more, and this time it is answered.
    let actions = story.broken(RWH, RH, 3, ACK);
    assert_eq!(acknowledged(&actions).1, RH);
}

#[test]
fn a_release_while_away_closes_when_it_is_back_and_written() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.persistent(RW);
    story.lose_connection();
    assert_eq!(story.tell(Event::Release { open }), []);
    story.reconnect();
    assert_eq!(story.regain(open, Some(granted(RW, 1))), [Action::Regained { open }, FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    let actions = story.tell(Event::Purged { file: FILE });
    assert!(matches!(actions[..], [Action::SendClose { .. }]), "{actions:?}");
}

#[test]
fn the_lease_of_another_key_is_given_back() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.reconnect();
    let (flags, key) = (LeaseFlags::empty(), LeaseKey::new([9; 16]));
    let foreign = LeaseV2 { key, state: RWH, flags, parent: None, epoch: Epoch::new(1) };
    let actions = story.regain(open, Some(Lease::V2(foreign)));
    assert!(matches!(actions[1], Action::SendClose { conn: AGAIN, .. }), "{actions:?}");
    assert_eq!(lost(&actions), Some((LossReason::Refused, Status::INVALID_NETWORK_RESPONSE, RWH)));
    assert_eq!(actions[2..], [PURGE]);
}

/// MS-SMB2 3.2.5.8, row by row: the status, and what follows at the first try.
#[test]
fn every_status_has_its_outcome() {
    for status in [
        Status::OBJECT_NAME_NOT_FOUND,
        Status::INVALID_PARAMETER,
        Status::ACCESS_DENIED,
        Status::DUPLICATE_OBJECTID,
        Status::SHARING_VIOLATION,
        Status::NOT_SUPPORTED,
    ] {
        let mut story = Story::on(Dialect::Smb311, config());
        let (open, _) = story.durable(RWH);
        story.lose_connection();
        story.reconnect();
        let actions = story.refuse(open, status);
        assert_eq!(lost(&actions), Some((LossReason::Refused, status, RWH)));
        assert_eq!(actions[1..], [PURGE], "what is dirty is lost, and the application was told");
    }
    for status in [
        Status::FILE_NOT_AVAILABLE,
        Status::SERVER_UNAVAILABLE,
        Status::SHARE_UNAVAILABLE,
        Status::CONNECTION_DISCONNECTED,
        Status::INSUFFICIENT_RESOURCES,
    ] {
        let mut story = Story::on(Dialect::Smb311, config());
        let (open, _) = story.durable(RWH);
        story.lose_connection();
        story.reconnect();
        assert_eq!(reconnects(&story.refuse(open, status)), [open], "{status}: once more, at once");
    }
    for (status, renewal) in [
        (Status::NETWORK_SESSION_EXPIRED, Renewal::Reauthenticate),
        (Status::USER_SESSION_DELETED, Renewal::SetUp),
        (Status::NETWORK_NAME_DELETED, Renewal::SetUp),
    ] {
        let mut story = Story::on(Dialect::Smb311, config());
        let (open, _) = story.durable(RWH);
        story.lose_connection();
        story.reconnect();
        assert_eq!(story.refuse(open, status), [Action::RenewSession { conn: AGAIN, renewal }]);
        let (session, previous) = (SessionId::new(0x1b), PreviousSession::Ended);
        let actions = story.tell(Event::SessionReady { session, previous });
        assert_eq!(reconnects(&actions), [open]);
    }
}

#[test]
fn what_a_former_session_may_hold_is_asked_for_once_more_later() {
    // MS-SMB2 3.3.5.9.12, OBJECT_NAME_NOT_FOUND.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.return_with(SessionId::new(0x1a), PreviousSession::Unknown);
    assert_eq!(story.refuse(open, Status::OBJECT_NAME_NOT_FOUND), []);
    assert_eq!(story.client.poll_timeout(), Some(Instant::from_millis(5_000)));
    assert_eq!(reconnects(&story.pass(5_000)), [open]);
    assert!(lost(&story.refuse(open, Status::OBJECT_NAME_NOT_FOUND)).is_some());
}

#[test]
fn a_durable_open_is_tried_so_often_and_a_persistent_one_until_its_time_is_over() {
    // <206>, <180>.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.reconnect();
    for _ in 0..2 {
        assert_eq!(reconnects(&story.refuse(open, Status::FILE_NOT_AVAILABLE)), [open]);
    }
    let actions = story.refuse(open, Status::FILE_NOT_AVAILABLE);
    assert_eq!(lost(&actions), Some((LossReason::GivenUp, Status::FILE_NOT_AVAILABLE, RWH)));

    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.persistent(RWH);
    story.lose_connection();
    story.reconnect();
    for _ in 0..3 {
        assert_eq!(reconnects(&story.refuse(open, Status::FILE_NOT_AVAILABLE)), [open]);
    }
    for tries in 1..12 {
        assert_eq!(story.refuse(open, Status::FILE_NOT_AVAILABLE), []);
        assert_eq!(reconnects(&story.pass(5_000)), [open], "try {tries}");
    }
    assert_eq!(story.refuse(open, Status::FILE_NOT_AVAILABLE), []);
    assert_eq!(lost(&story.pass(5_000)).map(|(reason, ..)| reason), Some(LossReason::Expired));
}

#[test]
fn without_a_connection_the_time_passes() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    assert_eq!(story.pass(59_999), []);
    let actions = story.pass(1);
    let status = Status::CONNECTION_DISCONNECTED;
    assert_eq!(actions, [Action::Lost { open, reason: LossReason::Expired, status, held: RWH }, PURGE]);
    assert_eq!(story.reconnect(), []);
}

#[test]
fn a_deadline_that_passes_before_the_answer_leaves_it_to_the_answer() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.reconnect();
    assert_eq!(story.pass(70_000), []);
    assert_eq!(story.regain(open, Some(granted(RWH, 1)))[0], Action::Regained { open });
    story.tell(Event::Disconnected { conn: AGAIN });
    story.reconnect();
    assert_eq!(story.pass(70_000), []);
    let actions = story.refuse(open, Status::FILE_NOT_AVAILABLE);
    assert_eq!(lost(&actions).map(|(reason, ..)| reason), Some(LossReason::Expired));
}

/// Names that differ, each with durable opens; in the order in which they were opened.
fn many(story: &mut Story, files: u8, opens: u8) -> Vec<OpenRef> {
    let mut all = vec![Vec::new(); files.into()];
    for _ in 0..opens {
        for file in 0..files {
            let (request, key) = (story.next_request(), LeaseKey::new([1 + file; 16]));
            let name = FileRef::new(file.into());
            let opening = Opening::new(request, name, key).want(Want::State(RH)).durable(GUID);
            let open = story.create(opening).open;
            let lease =
                LeaseV2 { key, state: RH, flags: LeaseFlags::empty(), parent: None, epoch: Epoch::new(1) };
            let reply = reply_to(
                story,
                OplockLevel::Lease,
                Some(Lease::V2(lease)),
                Some(60_000),
                DurableFlags::empty(),
            );
            story.tell(Event::Created { open, result: Ok(reply) });
            all[usize::from(file)].push(open);
        }
    }
    all.concat()
}

#[test]
fn opens_come_back_file_by_file_and_a_few_at_a_time() {
    let mut config = config();
    config.reconnects = 3;
    let mut story = Story::on(Dialect::Smb311, config);
    let opens = many(&mut story, 4, 3);
    story.lose_connection();
    let mut sent = reconnects(&story.reconnect());
    assert_eq!(sent, opens[..3]);
    let mut answered = 0;
    while answered < sent.len() {
        let more = story.refuse(sent[answered], Status::ACCESS_DENIED);
        answered += 1;
        sent.extend(reconnects(&more));
        assert!(sent.len() - answered <= 3);
    }
    assert_eq!(sent, opens);
}

#[test]
fn a_connection_that_is_lost_again_begins_anew_in_the_same_order() {
    let mut config = config();
    config.reconnects = 2;
    let mut story = Story::on(Dialect::Smb311, config);
    let opens = many(&mut story, 2, 2);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), opens[..2]);
    assert_eq!(story.tell(Event::Disconnected { conn: AGAIN }), []);
    assert_eq!(reconnects(&story.reconnect()), opens[..2]);
}

#[test]
fn the_cache_is_allowed_nothing_before_all_opens_of_the_name_are_settled() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (first, _) = story.durable(RWH);
    let (second, _) = story.durable(RWH);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [first, second]);
    assert_eq!(story.regain(first, Some(granted(RWH, 1))), [Action::Regained { open: first }]);
    let actions = story.refuse(second, Status::OBJECT_NAME_NOT_FOUND);
    assert_eq!(lost(&actions).map(|(reason, ..)| reason), Some(LossReason::Refused));
    assert_eq!(actions[1..], [allow(RWH)], "nothing is purged: the first has the lease");
}

#[test]
fn an_open_that_is_away_is_asked_for_by_its_guid_whatever_others_of_its_name_have_lost() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (first, _) = story.durable(RH);
    let (second, _) = story.durable(RH);
    story.lose_connection();
    story.reconnect();
    story.regain(first, Some(granted(R, 2)));
    let actions = story.tell(Event::Disconnected { conn: AGAIN });
    assert_eq!(lost(&actions).map(|(reason, ..)| reason), Some(LossReason::Network), "the first has no H");
    let actions = story.reconnect();
    let [Action::SendReconnect { open, contexts, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(open, second);
    assert_eq!(contexts.durable.dh2c.map(|dh2c| dh2c.create_guid), Some(GUID));
}

#[test]
fn an_open_of_a_name_that_is_away_waits_for_it() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.reconnect();
    let opening = story.opening().want(Want::State(RWH));
    assert_eq!(story.tell(Event::Open(opening)), []);
    let actions = story.regain(open, Some(granted(RWH, 1)));
    assert!(matches!(actions.last(), Some(Action::SendCreate { .. })), "{actions:?}");
}

#[test]
fn a_lost_session_keeps_what_is_durable() {
    // MS-SMB2 3.3.5.6: after LOGOFF a batch handle comes back.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    let lost = Event::SessionLost { session: SESSION, reason: SessionLoss::Deleted };
    assert_eq!(story.tell(lost), [Action::Away { open }, allow(NONE)]);
    let (session, previous) = (SessionId::new(0x1a), PreviousSession::Ended);
    assert_eq!(reconnects(&story.tell(Event::SessionReady { session, previous })), [open]);
}

#[test]
fn an_expired_session_loses_nothing_and_holds_creates_back() {
    let mut story = Story::on(Dialect::Smb311, config());
    story.durable(RWH);
    let expired = Event::SessionLost { session: SESSION, reason: SessionLoss::Expired };
    assert_eq!(story.tell(expired), []);
    let opening = story.opening();
    assert_eq!(story.tell(Event::Open(opening)), []);
    let previous = PreviousSession::Ended;
    let actions = story.tell(Event::SessionReady { session: SESSION, previous });
    assert!(matches!(actions[..], [Action::SendCreate { .. }]), "{actions:?}");
}

#[test]
fn a_server_that_has_restarted_has_only_what_is_persistent() {
    let restart = Event::SessionLost { session: SESSION, reason: SessionLoss::ServerRestart };
    let mut story = Story::on(Dialect::Smb311, config());
    story.durable(RWH);
    story.lose_connection();
    assert_eq!(lost(&story.tell(restart)).map(|(reason, ..)| reason), Some(LossReason::ServerRestart));
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.persistent(RWH);
    story.lose_connection();
    assert_eq!(story.tell(restart), []);
    assert_eq!(reconnects(&story.reconnect()), [open]);
}

#[test]
fn a_resilient_open_comes_back_without_any_oplock() {
    let mut story = Story::on(Dialect::Smb311, config());
    let opening = story.opening().want(Want::State(NONE));
    let open = story.create(opening).open;
    let (file_id, _) = story.grant(open, OplockLevel::None);
    story.tell(Event::Resilient { open, timeout: Duration::from_secs(10) });
    assert!(story.client.sequences_locks(open));
    assert_eq!(story.lose_connection(), [Action::Away { open }]);
    assert_eq!(story.client.poll_timeout(), Some(Instant::from_millis(10_000)));
    let actions = story.reconnect();
    let [Action::SendReconnect { contexts, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(contexts.durable.dhnc, Some(DurableHandleReconnect { file_id }));
}

#[test]
fn a_close_that_was_under_way_is_finished_only_where_it_matters() {
    // A persistent open would keep others out until its time is over.
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.persistent(R);
    story.tell(Event::Release { open });
    story.tell(Event::Purged { file: FILE });
    assert_eq!(story.lose_connection(), []);
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let actions = story.regain(open, None);
    assert!(matches!(actions[..], [Action::SendClose { conn: AGAIN, .. }]), "{actions:?}");
    story.tell(Event::Closed { open });
    assert_eq!(story.client.epoch(FILE), Epoch::ZERO);
}

#[test]
fn every_lost_channel_beside_others_counts() {
    // MS-SMB2 3.2.7.1.
    let mut story = Story::on(Dialect::Smb311, config());
    story.connect_with(ConnId::new(3), all_terms(Dialect::Smb311));
    assert_eq!(story.client.channel_sequence(), 0);
    story.tell(Event::Disconnected { conn: ConnId::new(3) });
    assert_eq!(story.client.channel_sequence(), 1);
    story.lose_connection();
    assert_eq!(story.client.channel_sequence(), 1);
    story.reconnect();
    assert_eq!(story.client.channel_sequence(), 0, "another session");
}

#[test]
fn delays_follow_the_policy() {
    let mut config = config();
    config.retry = Retry::WINDOWS.attempts(9).growing(0, Duration::from_secs(1), 3, Duration::from_secs(8));
    let mut story = Story::on(Dialect::Smb311, config);
    let (open, _) = story.durable(RWH);
    story.lose_connection();
    story.reconnect();
    for delay in [1_000, 3_000, 8_000, 8_000] {
        assert_eq!(story.refuse(open, Status::FILE_NOT_AVAILABLE), []);
        assert_eq!(story.client.poll_timeout(), Some(Instant::from_millis(story.now + delay)));
        assert_eq!(reconnects(&story.pass(delay)), [open]);
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_a_misuse() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    let mut refused = |event| story.client.handle(Instant::ZERO, event, &mut Vec::new()).unwrap_err();
    let result = Err(Status::ACCESS_DENIED);
    assert_eq!(refused(Event::Reconnected { open, result }), Misuse::UnknownOpen);
    let session = SessionId::new(0x77);
    let reason = SessionLoss::Deleted;
    assert_eq!(refused(Event::SessionLost { session, reason }), Misuse::OtherSession);
    let previous = PreviousSession::Ended;
    assert_eq!(refused(Event::SessionReady { session, previous }), Misuse::OtherSession);
    let (conn, terms) = (AGAIN, all_terms(Dialect::Smb311));
    assert_eq!(refused(Event::Connected { conn, session, previous, terms }), Misuse::OtherSession);
}

/// STATUS_FILE_CLOSED: no break says that the lease went with the handle (MS-SMB2 3.3.5.9.13, 3.3.4.17).
#[test]
fn a_handle_that_the_server_has_closed_takes_its_cache_along() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (open, _) = story.durable(RWH);
    let status = Status::FILE_CLOSED;
    let actions = story.tell(Event::HandleLost { open, status });
    let reason = LossReason::Closed;
    assert_eq!(actions, [Action::Lost { open, reason, status, held: RWH }, allow(NONE), PURGE]);
    assert_eq!(
        story.client.handle(Instant::ZERO, Event::HandleLost { open, status }, &mut Vec::new()),
        Err(Misuse::UnknownOpen)
    );
}

#[test]
fn a_handle_that_is_closed_beside_another_leaves_the_lease_to_it() {
    let mut story = Story::on(Dialect::Smb311, config());
    let (first, _) = story.durable(RWH);
    let (second, _) = story.durable(RWH);
    let status = Status::NETWORK_NAME_DELETED;
    let actions = story.tell(Event::HandleLost { open: first, status });
    assert_eq!(actions, [Action::Lost { open: first, reason: LossReason::Closed, status, held: RWH }]);
    assert_eq!(story.client.state(FILE), RWH);
    story.lose_connection();
    assert_eq!(
        story.tell(Event::HandleLost { open: second, status }),
        [],
        "its fate is decided on its return"
    );
}
