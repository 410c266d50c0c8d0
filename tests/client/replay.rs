//! CREATEs that are sent again with the REPLAY flag (MS-SMB2 3.2.7.1, <193>).

use leasehold::client::Replay;
use leasehold::server::ShareFlags;
use leasehold::wire::DurableFlags;

use super::coming_back::{GUID, all_terms, reply_to};
use super::*;

const OTHER: ConnId = ConnId::new(5);

fn story() -> Story {
    Story::on(Dialect::Smb311, ClientConfig::new(HashKey::new([1; 16])))
}

fn durable(story: &mut Story) -> Opening {
    story.opening().want(Want::State(RWH)).durable(GUID)
}

/// Connection, flag and CreateGuid of the one CREATE.
fn sent(actions: &[Action]) -> (OpenRef, ConnId, Replay, bool) {
    match actions {
        [Action::SendCreate { open, conn, replay, contexts, .. }] => {
            let same = contexts.durable.dh2q.is_some_and(|request| request.create_guid == GUID);
            (*open, *conn, *replay, same)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_create_goes_out_again_on_another_channel_with_the_same_guid() {
    let mut story = story();
    story.connect_with(OTHER, all_terms(Dialect::Smb311));
    let opening = durable(&mut story);
    let (open, conn, replay, _) = sent(&story.tell(Event::Open(opening)));
    assert_eq!((conn, replay), (CONN, Replay::First));
    let actions = story.lose_connection();
    assert_eq!(sent(&actions), (open, OTHER, Replay::Again, true));
    assert_eq!(story.client.channel_sequence(), 1);
}

#[test]
fn a_create_without_a_guid_fails_with_its_channel() {
    let mut story = story();
    story.connect_with(OTHER, all_terms(Dialect::Smb311));
    let opening = story.opening().want(Want::State(RWH));
    story.tell(Event::Open(opening));
    let actions = story.lose_connection();
    assert!(matches!(actions[..], [Action::Failed { .. }]), "{actions:?}");
}

#[test]
fn a_create_that_is_answered_not_available_is_tried_three_times() {
    let mut story = story();
    let opening = durable(&mut story);
    let (open, ..) = sent(&story.tell(Event::Open(opening)));
    for _ in 0..3 {
        let result = Err(Status::FILE_NOT_AVAILABLE);
        assert_eq!(story.tell(Event::Created { open, result }), []);
        assert_eq!(sent(&story.pass(5_000)), (open, CONN, Replay::Again, true));
    }
    let actions = story.tell(Event::Created { open, result: Err(Status::FILE_NOT_AVAILABLE) });
    assert!(
        matches!(actions[..], [Action::Failed { status: Status::FILE_NOT_AVAILABLE, .. }]),
        "{actions:?}"
    );
    assert_eq!(story.client.poll_timeout(), None);
}

#[test]
fn only_a_persistent_create_outlives_the_last_channel() {
    let mut story = story();
    let opening = durable(&mut story);
    story.tell(Event::Open(opening));
    let actions = story.lose_connection();
    assert!(matches!(actions[..], [Action::Failed { .. }]), "a new session does not find it: {actions:?}");

    let mut story = self::story();
    let opening = durable(&mut story).share(ShareFlags::CONTINUOUSLY_AVAILABLE);
    let (open, ..) = sent(&story.tell(Event::Open(opening)));
    assert_eq!(story.lose_connection(), []);
    let actions = story.reconnect();
    assert_eq!(sent(&actions), (open, ConnId::new(2), Replay::Again, true));
    let lease = Some(granted(RWH, 1));
    let reply = reply_to(&mut story, OplockLevel::Lease, lease, Some(60_000), DurableFlags::PERSISTENT);
    let actions = story.tell(Event::Created { open, result: Ok(reply) });
    assert!(matches!(actions[0], Action::Ready { served: Served::Server, .. }), "{actions:?}");
    assert_eq!(story.client.poll_timeout(), None);
}

#[test]
fn a_create_that_finds_no_connection_in_time_fails() {
    let mut story = story();
    let opening = durable(&mut story).share(ShareFlags::CONTINUOUSLY_AVAILABLE);
    story.tell(Event::Open(opening));
    story.lose_connection();
    assert_eq!(story.pass(59_999), []);
    let actions = story.pass(1);
    assert!(
        matches!(actions[..], [Action::Failed { status: Status::CONNECTION_DISCONNECTED, .. }]),
        "{actions:?}"
    );
}

#[test]
fn a_guid_that_another_session_owns_fails_the_create() {
    // MS-SMB2 3.3.5.9.10, DUPLICATE_OBJECTID.
    let mut story = story();
    let opening = durable(&mut story);
    let (open, ..) = sent(&story.tell(Event::Open(opening)));
    let actions = story.tell(Event::Created { open, result: Err(Status::DUPLICATE_OBJECTID) });
    assert!(matches!(actions[..], [Action::Failed { .. }]), "{actions:?}");
}
