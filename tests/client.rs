//! Stories of the client: one behaviour of MS-SMB2 3.2.5.7, 3.2.5.19 or 3.2.7.1 each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

use leasehold::client::{
    AckId, Action, Client, ClientConfig, CreateReply, Event, FileRef, LossReason, Misuse, OpenRef, Opening,
    PreviousSession, Served, Want,
};
use leasehold::server::{Capabilities, Terms};
use leasehold::wire::{
    BreakFlags, Lease, LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2, OplockBreak, RequestContexts,
    ResponseContexts,
};
use leasehold::{
    ConnId, Dialect, Epoch, FileId, HashKey, Instant, LeaseKey, LeaseState, Machine, OplockLevel, RequestId,
    SessionId, Status,
};

#[path = "client/chaos.rs"]
mod chaos;
#[path = "client/coming_back.rs"]
mod coming_back;
#[path = "client/directories.rs"]
mod directories;
#[path = "client/field.rs"]
mod field;
#[path = "client/kept.rs"]
mod kept;
#[path = "client/limits.rs"]
mod limits;
#[path = "client/oplocks.rs"]
mod oplocks;
#[path = "client/policy.rs"]
mod policy;
#[path = "client/races.rs"]
mod races;
#[path = "client/records.rs"]
mod records;
#[path = "client/replay.rs"]
mod replay;
#[path = "client/review.rs"]
mod review;
#[path = "client/review2.rs"]
mod review2;

const FILE: FileRef = FileRef::new(1);
const KEY: LeaseKey = LeaseKey::new([0x11; 16]);
const CONN: ConnId = ConnId::new(1);
const SESSION: SessionId = SessionId::new(0x19);
const NONE: LeaseState = LeaseState::NONE;
const R: LeaseState = LeaseState::R;
const RH: LeaseState = LeaseState::RH;
const RW: LeaseState = LeaseState::RW;
const RWH: LeaseState = LeaseState::RWH;

struct Story {
    client: Client,
    requests: u64,
    answers: u64,
    now: u64,
}

impl Story {
    fn new(dialect: Dialect) -> Self {
        Self::with(ClientConfig::new(HashKey::new([1; 16])), dialect)
    }

    fn with(config: ClientConfig, dialect: Dialect) -> Self {
        let mut story = Self { client: Client::new(config), requests: 0, answers: 1000, now: 0 };
        story.connect(CONN, dialect);
        story
    }

    fn connect(&mut self, conn: ConnId, dialect: Dialect) {
        let leases = if dialect == Dialect::Smb202 { Capabilities::empty() } else { Capabilities::LEASING };
        self.connect_with(conn, Terms::new(dialect, leases));
    }

    fn connect_with(&mut self, conn: ConnId, terms: Terms) {
        assert_eq!(
            self.tell(Event::Connected { conn, session: SESSION, previous: PreviousSession::Ended, terms }),
            []
        );
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.client.handle(Instant::from_millis(self.now), event, &mut actions).unwrap();
        actions
    }

    /// Asks for the file; the CREATE is on its way.
    fn ask(&mut self, want: LeaseState) -> OpenRef {
        self.requests += 1;
        let request = RequestId::new(self.requests);
        match self.tell(Event::Open(Opening::new(request, FILE, KEY).want(Want::State(want))))[..] {
            [Action::SendCreate { open, .. }] => open,
            ref other => panic!("{other:?}"),
        }
    }

    /// The CREATE that an opening brings about.
    fn create(&mut self, opening: Opening) -> Created {
        match self.tell(Event::Open(opening))[..] {
            [Action::SendCreate { open, level, contexts, .. }] => Created { open, level, contexts },
            ref other => panic!("{other:?}"),
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    /// An opening of the file under test.
    fn opening(&mut self) -> Opening {
        Opening::new(self.next_request(), FILE, KEY)
    }

    /// Answers a CREATE with an oplock; the FileId too.
    fn grant(&mut self, open: OpenRef, level: OplockLevel) -> (FileId, Vec<Action>) {
        self.answers += 1;
        let file_id = FileId::new(self.answers, self.answers);
        let reply = CreateReply::new(file_id, level, ResponseContexts::default());
        (file_id, self.tell(Event::Created { open, result: Ok(reply) }))
    }

    fn oplock_broken(&mut self, file_id: FileId, level: OplockLevel) -> Vec<Action> {
        let (conn, session) = (CONN, SessionId::new(0));
        self.tell(Event::OplockBroken { conn, session, body: OplockBreak { level, file_id } })
    }

    fn answer(&mut self, open: OpenRef, lease: Option<Lease>) -> Vec<Action> {
        let level = if lease.is_some() { OplockLevel::Lease } else { OplockLevel::None };
        let mut contexts = ResponseContexts::default();
        contexts.lease = lease;
        self.answers += 1;
        let file_id = FileId::new(self.answers, self.answers);
        self.tell(Event::Created { open, result: Ok(CreateReply::new(file_id, level, contexts)) })
    }

    /// An open with this lease.
    fn open(&mut self, state: LeaseState, epoch: u16) -> OpenRef {
        let open = self.ask(state);
        self.answer(open, Some(granted(state, epoch)));
        assert_eq!(self.client.state(FILE), state);
        open
    }

    fn broken(&mut self, current: LeaseState, new: LeaseState, epoch: u16, flags: BreakFlags) -> Vec<Action> {
        let epoch = Epoch::new(epoch);
        self.tell(Event::LeaseBroken { body: LeaseBreak { epoch, flags, key: KEY, current, new } })
    }
}

/// What a CREATE asked for.
struct Created {
    open: OpenRef,
    level: OplockLevel,
    contexts: RequestContexts,
}

fn granted(state: LeaseState, epoch: u16) -> Lease {
    let (flags, epoch) = (LeaseFlags::empty(), Epoch::new(epoch));
    Lease::V2(LeaseV2 { key: KEY, state, flags, parent: None, epoch })
}

fn allow(state: LeaseState) -> Action {
    Action::Allow { file: FILE, state }
}

/// An open that was not promised to outlive its connection.
fn cut_off(open: OpenRef, held: LeaseState) -> Action {
    let status = Status::CONNECTION_DISCONNECTED;
    Action::Lost { open, reason: LossReason::Network, status, held }
}

const FLUSH: Action = Action::Flush { file: FILE };
const PURGE: Action = Action::Purge { file: FILE };
const ACK: BreakFlags = BreakFlags::ACK_REQUIRED;

/// The acknowledgment in a list of actions, which must be the last of them.
fn acknowledged(actions: &[Action]) -> (AckId, LeaseState) {
    match actions.last() {
        Some(Action::SendLeaseAck { ack, body: LeaseAck { key: KEY, state }, .. }) => (*ack, *state),
        other => panic!("no acknowledgment: {other:?}"),
    }
}

#[test]
fn a_grant_is_allowed_before_the_application_has_its_file() {
    let mut story = Story::new(Dialect::Smb311);
    let open = story.ask(RWH);
    let actions = story.answer(open, Some(granted(RWH, 1)));
    assert_eq!(
        actions,
        [Action::Ready { request: RequestId::new(1), open, served: Served::Server }, allow(RWH)]
    );
    assert_eq!(story.client.epoch(FILE), Epoch::new(1));
}

#[test]
fn the_context_follows_the_dialect() {
    // MS-SMB2 3.2.4.3.8: version 2 on 3.x, version 1 on 2.1, none on 2.0.2.
    for (dialect, version) in
        [(Dialect::Smb202, None), (Dialect::Smb210, Some(1)), (Dialect::Smb300, Some(2))]
    {
        let mut story = Story::new(dialect);
        let request = RequestId::new(1);
        let actions = story.tell(Event::Open(Opening::new(request, FILE, KEY).want(Want::State(RWH))));
        let [Action::SendCreate { level, contexts, .. }] = actions[..] else { panic!("{actions:?}") };
        let lease = contexts.lease;
        assert_eq!(level == OplockLevel::Lease, version.is_some());
        assert_eq!(lease.map(|lease| if matches!(lease, Lease::V1(_)) { 1 } else { 2 }), version);
    }
}

#[test]
fn losing_write_caching_writes_back_before_the_acknowledgment() {
    // MS-SMB2 3.2.5.19.2: nothing new is dirtied, then what is dirty is written, then the server hears of it.
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    assert_eq!(story.broken(RWH, RH, 2, ACK), [allow(RH), FLUSH]);
    let actions = story.tell(Event::Flushed { file: FILE });
    assert_eq!(acknowledged(&actions).1, RH);
    assert_eq!(actions.len(), 1);
}

#[test]
fn losing_everything_writes_back_then_forgets_then_closes_then_answers() {
    let mut story = Story::new(Dialect::Smb311);
    let kept = story.open(RWH, 1);
    let used = story.ask(RWH);
    story.answer(used, Some(granted(RWH, 1)));
    assert_eq!(story.tell(Event::Release { open: kept }), [], "H keeps the handle");
    assert_eq!(story.broken(RWH, NONE, 2, ACK), [allow(NONE), FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    let actions = story.tell(Event::Purged { file: FILE });
    assert!(matches!(actions[0], Action::SendClose { open, .. } if open == kept));
    assert_eq!(acknowledged(&actions).1, NONE);
    assert_eq!(actions.len(), 2);
}

#[test]
fn losing_handle_caching_closes_every_kept_handle() {
    let mut story = Story::new(Dialect::Smb311);
    let opens = [story.open(RH, 1), story.ask(RH), story.ask(RH)];
    story.answer(opens[1], Some(granted(RH, 1)));
    story.answer(opens[2], Some(granted(RH, 1)));
    story.tell(Event::Release { open: opens[0] });
    story.tell(Event::Release { open: opens[2] });
    let actions = story.broken(RH, R, 2, ACK);
    let closed: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::SendClose { open, .. } => Some(*open),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [opens[0], opens[2]]);
    assert_eq!(acknowledged(&actions).1, R);
}

#[test]
fn closing_the_last_handle_is_the_answer() {
    // MS-SMB2 3.2.5.19.2: no open is left, so there is nothing to acknowledge with.
    let mut story = Story::new(Dialect::Smb311);
    let open = story.open(RH, 1);
    story.tell(Event::Release { open });
    assert_eq!(story.broken(RH, R, 2, ACK), [allow(NONE), PURGE]);
    let actions = story.tell(Event::Purged { file: FILE });
    assert!(matches!(actions[..], [Action::SendClose { .. }]), "{actions:?}");
    assert_eq!(story.tell(Event::Closed { open }), []);
    assert_eq!(story.client.epoch(FILE), Epoch::ZERO, "the name is forgotten");
}

#[test]
fn a_kept_handle_that_is_the_last_writes_back_before_it_closes() {
    // H is taken, W is not; but with the handle goes the lease, so what is dirty has to be written first.
    let mut story = Story::new(Dialect::Smb311);
    let open = story.open(RWH, 1);
    story.tell(Event::Release { open });
    assert_eq!(story.broken(RWH, RW, 2, ACK), [allow(NONE), FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    let actions = story.tell(Event::Purged { file: FILE });
    assert!(matches!(actions[..], [Action::SendClose { .. }]), "{actions:?}");
}

#[test]
fn the_last_handle_does_not_close_over_dirty_data() {
    let mut story = Story::new(Dialect::Smb311);
    let open = story.open(RW, 1);
    assert_eq!(story.tell(Event::Release { open }), [allow(NONE), FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    let actions = story.tell(Event::Purged { file: FILE });
    assert!(matches!(actions[..], [Action::SendClose { .. }]), "{actions:?}");
}

#[test]
fn a_lease_of_read_alone_goes_without_an_answer() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(R, 1);
    assert_eq!(story.broken(R, NONE, 2, BreakFlags::empty()), [allow(NONE), PURGE]);
    assert_eq!(story.tell(Event::Purged { file: FILE }), []);
}

#[test]
fn a_second_break_only_lowers_the_target() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    assert_eq!(story.broken(RWH, RH, 2, ACK), [allow(RH), FLUSH]);
    assert_eq!(story.broken(RH, NONE, 3, ACK), [allow(NONE)]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    let actions = story.tell(Event::Purged { file: FILE });
    assert_eq!(acknowledged(&actions).1, NONE, "one answer, for the last that was told");
    assert_eq!(actions.len(), 1);
}

#[test]
fn a_follow_up_with_the_same_epoch_lowers_too() {
    // MS-SMB2 3.3.4.7 <248>: older Windows and Samba send it so; ignoring it would stall them for 35 seconds.
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    story.broken(RWH, RH, 2, ACK);
    story.tell(Event::Flushed { file: FILE });
    let actions = story.broken(RH, R, 2, ACK);
    assert_eq!(actions[0], allow(R));
    assert_eq!(acknowledged(&actions).1, R);
}

#[test]
fn an_overtaken_break_is_answered_and_changes_no_epoch() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 9);
    let actions = story.broken(RWH, RH, 8, ACK);
    assert_eq!(actions, [allow(RH), FLUSH]);
    assert_eq!(
        acknowledged(&story.tell(Event::Flushed { file: FILE })).1,
        RH,
        "what is held, as far as it was told"
    );
    assert_eq!(story.client.epoch(FILE), Epoch::new(9));
}

#[test]
fn an_overtaken_break_that_asks_for_nothing_is_ignored() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(R, 9);
    assert_eq!(story.broken(R, NONE, 8, BreakFlags::empty()), []);
    assert_eq!(story.client.state(FILE), R);
}

#[test]
fn epochs_are_compared_on_the_circle() {
    let mut story = Story::new(Dialect::Smb311);
    let open = story.ask(R);
    // The first grant may have any epoch that is newer than none.
    story.answer(open, Some(granted(R, 0x7fff)));
    story.broken(R, R, 0xfffe, BreakFlags::empty());
    story.tell(Event::Purged { file: FILE });
    assert_eq!(story.client.epoch(FILE), Epoch::new(0xfffe));
    assert_eq!(story.broken(R, NONE, 1, BreakFlags::empty()), [allow(NONE), PURGE]);
    assert_eq!(story.client.epoch(FILE), Epoch::new(1));
}

#[test]
fn a_jump_of_the_epoch_voids_the_cache() {
    // MS-SMB2 3.2.5.19.2: the same state two steps on means that it was taken and given back unseen.
    let mut story = Story::new(Dialect::Smb311);
    story.open(R, 1);
    assert_eq!(story.broken(R, R, 3, BreakFlags::empty()), [allow(NONE), PURGE]);
    assert_eq!(story.tell(Event::Purged { file: FILE }), [allow(R)]);
}

#[test]
fn a_grant_two_steps_on_voids_the_cache() {
    // MS-SMB2 3.2.5.7.5.
    let mut story = Story::new(Dialect::Smb311);
    story.open(R, 1);
    let open = story.ask(RH);
    let actions = story.answer(open, Some(granted(RH, 3)));
    assert_eq!(actions[1..], [allow(NONE), PURGE], "nothing is served from it meanwhile");
    assert_eq!(story.tell(Event::Purged { file: FILE }), [allow(RH)]);
}

#[test]
fn nothing_is_answered_while_a_create_is_on_its_way() {
    // MS-SMB2 3.2.5.19.2 <202>.
    let mut story = Story::new(Dialect::Smb311);
    story.open(RH, 1);
    let open = story.ask(RH);
    assert_eq!(story.broken(RH, R, 2, ACK), [allow(R)]);
    let flags = LeaseFlags::BREAK_IN_PROGRESS;
    let breaking = LeaseV2 { key: KEY, state: RH, flags, parent: None, epoch: Epoch::new(2) };
    let actions = story.answer(open, Some(Lease::V2(breaking)));
    assert_eq!(acknowledged(&actions).1, R, "the state in the answer is the one before the break");
}

#[test]
fn a_refused_acknowledgment_leaves_nothing() {
    // MS-SMB2 3.2.5.19.4.
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    story.broken(RWH, RH, 2, ACK);
    let (ack, _) = acknowledged(&story.tell(Event::Flushed { file: FILE }));
    let actions = story.tell(Event::AckAnswered { ack, result: Err(Status::UNSUCCESSFUL) });
    assert_eq!(actions, [allow(NONE), PURGE]);
    assert_eq!(story.client.state(FILE), NONE);
}

#[test]
fn a_break_of_an_unknown_key_is_no_error() {
    let mut story = Story::new(Dialect::Smb311);
    story.open(RWH, 1);
    let body =
        LeaseBreak { epoch: Epoch::new(2), flags: ACK, key: LeaseKey::new([9; 16]), current: RWH, new: NONE };
    assert_eq!(story.tell(Event::LeaseBroken { body }), []);
    assert_eq!(story.client.state(FILE), RWH);
}

#[test]
fn version_one_goes_by_arrival() {
    // MS-SMB2 3.2.5.7.4, 3.2.5.19.2: epochs say nothing.
    let mut story = Story::new(Dialect::Smb210);
    let open = story.ask(RWH);
    let lease = Lease::V1(LeaseV1 { key: KEY, state: RWH, flags: LeaseFlags::empty() });
    story.answer(open, Some(lease));
    assert_eq!(story.broken(RWH, RH, 0, ACK), [allow(RH), FLUSH]);
    assert_eq!(acknowledged(&story.tell(Event::Flushed { file: FILE })).1, RH);
    let actions = story.broken(RH, R, 0, ACK);
    assert_eq!(acknowledged(&actions).1, R);
}

#[test]
fn the_lease_of_another_key_is_no_lease_of_ours() {
    let mut story = Story::new(Dialect::Smb311);
    let open = story.ask(RWH);
    let (flags, key) = (LeaseFlags::empty(), LeaseKey::new([9; 16]));
    let foreign = LeaseV2 { key, state: RWH, flags, parent: None, epoch: Epoch::new(1) };
    let actions = story.answer(open, Some(Lease::V2(foreign)));
    assert!(matches!(actions[..], [Action::SendClose { .. }, Action::Failed { .. }]), "{actions:?}");
    assert_eq!(story.client.state(FILE), NONE);
}

#[test]
fn with_the_last_connection_everything_is_lost() {
    // MS-SMB2 3.2.7.1. There is nobody to write back to; the application hears what it loses.
    let mut story = Story::new(Dialect::Smb311);
    let open = story.open(RWH, 1);
    let actions = story.tell(Event::Disconnected { conn: CONN });
    assert_eq!(actions, [cut_off(open, RWH), allow(NONE), PURGE]);
    assert_eq!(story.tell(Event::Purged { file: FILE }), []);
}

#[test]
fn another_connection_carries_on() {
    let mut story = Story::new(Dialect::Smb311);
    story.connect(ConnId::new(2), Dialect::Smb311);
    story.open(RH, 1);
    assert_eq!(story.tell(Event::Disconnected { conn: CONN }), []);
    let actions = story.broken(RH, R, 2, ACK);
    assert!(matches!(actions.last(), Some(Action::SendLeaseAck { conn, .. }) if *conn == ConnId::new(2)));
}

#[test]
fn a_misuse_changes_nothing() {
    let mut story = Story::new(Dialect::Smb311);
    let open = story.open(RWH, 1);
    let mut actions = Vec::new();
    let mut misuse = |event| story.client.handle(Instant::ZERO, event, &mut actions).unwrap_err();
    let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
    assert_eq!(
        misuse(Event::Connected { conn: CONN, session: SESSION, previous: PreviousSession::Ended, terms }),
        Misuse::DuplicateConnection
    );
    assert_eq!(misuse(Event::Disconnected { conn: ConnId::new(7) }), Misuse::UnknownConnection);
    assert_eq!(misuse(Event::Flushed { file: FILE }), Misuse::UnknownFile);
    assert_eq!(misuse(Event::Closed { open }), Misuse::UnknownOpen);
    let (request, want) = (RequestId::new(9), R);
    let other = FileRef::new(2);
    assert_eq!(
        misuse(Event::Open(Opening::new(request, other, KEY).want(Want::State(want)))),
        Misuse::LeaseKey
    );
    assert_eq!(
        misuse(Event::Open(Opening::new(request, other, LeaseKey::ZERO).want(Want::State(want)))),
        Misuse::LeaseKey
    );
    assert_eq!(actions, []);
    assert_eq!(story.client.state(FILE), RWH);
}
