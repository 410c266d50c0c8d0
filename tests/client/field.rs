//! Defects of other clients, each as a story that is named after the report: none of them is ours.

use leasehold::CreateOptions;
use leasehold::Disposition;
use leasehold::client::Replay;
use leasehold::server::ShareFlags;

use super::coming_back::{GUID, all_terms, reconnects};
use super::kept::closed;
use super::*;

const ROOT: FileRef = FileRef::new(100);
const ROOT_KEY: LeaseKey = LeaseKey::new([0xdd; 16]);

fn story() -> Story {
    Story::on(Dialect::Smb311, ClientConfig::new(HashKey::new([1; 16])))
}

fn kept(story: &mut Story, opens: usize) -> Vec<OpenRef> {
    let opens: Vec<_> = (0..opens).map(|_| story.open(RH, 1)).collect();
    for open in &opens {
        assert_eq!(story.tell(Event::Release { open: *open }), []);
    }
    opens
}

/// A notification and a CLOSE cross: the CLOSE is the answer (MS-SMB2 3.2.5.19.2).
#[test]
fn samba_12139_a_close_crosses_its_break() {
    let mut story = story();
    let open = story.open(RW, 1);
    assert_eq!(story.tell(Event::Release { open }), [allow(NONE), FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    assert_eq!(closed(&story.tell(Event::Purged { file: FILE })), [open]);
    assert_eq!(story.broken(RW, R, 2, ACK), []);
    assert_eq!(story.tell(Event::Closed { open }), []);
    assert_eq!(story.client.names(), 0);
}

/// The flags of a lease were read twice in one write. Here they change by one action, which comes before anything else does.
#[test]
fn cifs_4c91b67f87ac_the_cache_is_told_first_and_at_once() {
    let mut story = story();
    story.open(RWH, 1);
    assert_eq!(story.broken(RWH, R, 2, ACK)[0], allow(R));
    let mut story = self::story();
    let (id, _) = {
        let opening = story.opening().want(Want::Level(OplockLevel::Batch));
        let open = story.create(opening).open;
        story.grant(open, OplockLevel::Batch)
    };
    assert_eq!(story.oplock_broken(id, OplockLevel::II)[0], allow(R));
}

/// A break came after the last close and found what was freed.
#[test]
fn cifs_cve_2025_38527_a_break_after_the_last_close_means_nothing() {
    let mut story = story();
    let open = story.open(R, 1);
    story.tell(Event::Release { open });
    story.tell(Event::Purged { file: FILE });
    story.tell(Event::Closed { open });
    assert_eq!(story.client.names(), 0);
    assert_eq!(story.broken(R, NONE, 2, ACK), []);
    assert_eq!(story.client.names(), 0);
}

/// The one who was to close the kept handle kept it open.
#[test]
fn cifs_b98749cac4a6_the_only_kept_handle_closes() {
    let mut story = story();
    let opens = kept(&mut story, 1);
    story.broken(RH, R, 2, ACK);
    assert_eq!(closed(&story.tell(Event::Purged { file: FILE })), opens);
}

/// Only one of several kept handles was closed: the other side waited for 35 s.
#[test]
fn cifs_multiple_deferred_close_handles_all_close() {
    let mut story = story();
    let opens = kept(&mut story, 5);
    story.broken(RH, R, 2, ACK);
    assert_eq!(closed(&story.tell(Event::Purged { file: FILE })), opens);
}

/// Epochs have 16 bits.
#[test]
fn cifs_57e4a9bd61c3_an_epoch_goes_on_behind_its_end() {
    let mut story = story();
    story.open(RWH, 0x7000);
    story.broken(RWH, RWH, 0xe000, BreakFlags::empty());
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    story.tell(Event::Purged { file: FILE });
    assert_eq!(story.broken(RWH, RH, 0xffff, ACK), [allow(RH), FLUSH]);
    story.tell(Event::Flushed { file: FILE });
    let open = story.ask(RWH);
    story.answer(open, Some(granted(RWH, 0)));
    assert_eq!((story.client.state(FILE), story.client.epoch(FILE)), (RWH, Epoch::new(0)));
    story.broken(RWH, RH, 0xffff, BreakFlags::empty());
    assert_eq!(story.client.state(FILE), RWH, "that one is older");
    story.broken(RWH, RH, 1, ACK);
    assert_eq!((story.client.state(FILE), story.client.epoch(FILE)), (RH, Epoch::new(1)));
}

/// Without the key of its directory an open breaks its own client's lease there (MS-SMB2 3.2.4.3.8).
#[test]
fn cifs_51b78ffb8036_a_child_names_the_key_of_its_parent() {
    let mut story = story();
    let opening = story.opening().want(Want::State(RWH)).parent(ROOT, ROOT_KEY);
    let lease = story.create(opening).contexts.lease;
    assert_eq!(lease.and_then(|lease| lease.parent()), Some(ROOT_KEY));
}

/// The key of a share's root was never set.
#[test]
fn cifs_0fe0781f29dd_the_root_of_a_share_has_its_own_key() {
    let mut story = story();
    let request = story.next_request();
    let root = |key| {
        Opening::new(request, ROOT, key)
            .want(Want::State(RH))
            .disposition(Disposition::Open, CreateOptions::DIRECTORY_FILE)
    };
    let refused = story.client.handle(Instant::ZERO, Event::Open(root(LeaseKey::ZERO)), &mut Vec::new());
    assert_eq!(refused, Err(Misuse::LeaseKey));
    let lease = story.create(root(ROOT_KEY)).contexts.lease.unwrap();
    assert_eq!((lease.key(), lease.parent()), (ROOT_KEY, None));
}

/// A handle that was about to close was used once more.
#[test]
fn cifs_e79b0332ae06_a_handle_that_closes_serves_nobody() {
    let mut story = story();
    let opening = |story: &mut Story| {
        let access = leasehold::Access::READ_DATA;
        story.opening().want(Want::State(RH)).access(access, leasehold::ShareMode::ALL)
    };
    let first = opening(&mut story);
    let open = story.create(first).open;
    story.answer(open, Some(granted(RH, 1)));
    story.tell(Event::Release { open });
    story.broken(RH, R, 2, ACK);
    let second = opening(&mut story);
    let create = story.tell(Event::Open(second));
    assert!(matches!(create[..], [Action::SendCreate { .. }]), "{create:?}");
}

/// A CREATE that is sent again with another CreateGuid makes a second handle (MS-SMB2 3.2.7.1).
#[test]
fn cifs_create_durable_v2_buf_a_replay_has_the_same_guid() {
    let mut story = story();
    let guid_of = |actions: &[Action]| match actions[..] {
        [Action::SendCreate { replay, contexts, .. }] => (replay, contexts.durable.dh2q.unwrap().create_guid),
        ref other => panic!("{other:?}"),
    };
    let opening = story.opening().want(Want::State(RWH)).durable(GUID);
    assert_eq!(guid_of(&story.tell(Event::Open(opening))), (Replay::First, GUID));
    for again in 2..5 {
        story.connect_with(ConnId::new(again), all_terms(Dialect::Smb311));
        let actions = story.tell(Event::Disconnected { conn: ConnId::new(again - 1) });
        assert_eq!(guid_of(&actions), (Replay::Again, GUID));
    }
}

/// A break of which nobody knows the lease is no error.
#[test]
fn smbprotocol_209_a_break_of_an_unknown_key_is_no_error() {
    let mut story = story();
    story.open(RWH, 1);
    let (epoch, key) = (Epoch::new(7), LeaseKey::new([0x99; 16]));
    let body = LeaseBreak { epoch, flags: ACK, key, current: RWH, new: NONE };
    assert_eq!(story.tell(Event::LeaseBroken { body }), []);
    assert_eq!(story.client.state(FILE), RWH);
    assert_eq!(story.oplock_broken(FileId::new(77, 77), OplockLevel::None), []);
}

/// Nothing came back.
#[test]
fn jcifs_48_104_a_durable_open_comes_back() {
    let mut story = story();
    let share = ShareFlags::empty();
    let open = review::durable(&mut story, FILE, KEY, share);
    story.lose_connection();
    assert_eq!(reconnects(&story.reconnect()), [open]);
    let actions = story.regain(open, Some(granted(RWH, 1)));
    assert_eq!(actions, [Action::Regained { open }, allow(RWH)]);
}

/// A break whose epoch did not rise was swallowed, and the server waited.
#[test]
fn smbj_352_a_second_step_of_the_same_epoch_is_acknowledged() {
    let mut story = story();
    story.open(RWH, 1);
    story.broken(RWH, RH, 2, ACK);
    let actions = story.tell(Event::Flushed { file: FILE });
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!(acknowledged(&actions).1, RH);
    let actions = story.broken(RH, R, 2, ACK);
    assert_eq!((actions[0], acknowledged(&actions).1), (allow(R), R));
}

/// A limit was met, and what did not fit was left out without a word.
#[test]
fn timecapsulesmb_297_a_limit_answers_and_drops_nothing() {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    (config.opens, config.kept) = (3, 2);
    let mut story = Story::on(Dialect::Smb311, config);
    let opens = kept(&mut story, 2);
    let third = story.open(RH, 1);
    assert_eq!(closed(&story.tell(Event::Release { open: third })), opens[..1], "the oldest");
    story.tell(Event::Closed { open: opens[0] });
    story.open(RH, 1);
    let opening = story.opening().want(Want::State(RH));
    let (request, status) = (opening.request, Status::INSUFFICIENT_RESOURCES);
    assert_eq!(story.tell(Event::Open(opening)), [Action::Failed { request, status }]);
}
