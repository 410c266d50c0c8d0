//! What happens where a limit is reached.

use super::*;

fn config() -> ClientConfig {
    ClientConfig::new(HashKey::new([1; 16]))
}

fn named(story: &mut Story, n: u8) -> Opening {
    Opening::new(story.next_request(), FileRef::new(n.into()), LeaseKey::new([n; 16])).want(Want::State(RH))
}

#[test]
fn an_open_too_many_fails_and_a_later_one_does_not() {
    let mut config = config();
    config.opens = 1;
    let mut story = Story::with(config, Dialect::Smb311);
    let open = story.ask(R);
    let opening = named(&mut story, 2);
    let refused = Action::Failed { request: opening.request, status: Status::INSUFFICIENT_RESOURCES };
    assert_eq!(story.tell(Event::Open(opening)), [refused]);
    assert_eq!(story.client.names(), 1, "nothing is left of it");
    story.tell(Event::Created { open, result: Err(Status::UNSUCCESSFUL) });
    let opening = named(&mut story, 2);
    story.create(opening);
}

#[test]
fn a_name_too_many_fails() {
    let mut config = config();
    config.files = 1;
    let mut story = Story::with(config, Dialect::Smb311);
    story.ask(R);
    let opening = named(&mut story, 2);
    let actions = story.tell(Event::Open(opening));
    assert!(
        matches!(actions[..], [Action::Failed { status: Status::INSUFFICIENT_RESOURCES, .. }]),
        "{actions:?}"
    );
    story.ask(R);
}

#[test]
fn a_directory_for_which_there_is_no_room_is_not_named() {
    let mut config = config();
    config.files = 1;
    let mut story = Story::with(config, Dialect::Smb311);
    story.tell(Event::Disconnected { conn: CONN });
    story.connect_with(
        CONN,
        Terms::new(Dialect::Smb311, Capabilities::LEASING | Capabilities::DIRECTORY_LEASING),
    );
    let opening = named(&mut story, 2).parent(FileRef::new(3), LeaseKey::new([3; 16]));
    let created = story.create(opening);
    assert_eq!(created.contexts.lease.and_then(|lease| lease.parent()), None);
}

#[test]
fn of_early_breaks_the_oldest_is_dropped() {
    let mut config = config();
    config.early_breaks = 1;
    let mut story = Story::with(config, Dialect::Smb202);
    let opening = story.opening().want(Want::Level(OplockLevel::Batch));
    let open = story.create(opening).open;
    story.oplock_broken(FileId::new(1001, 1001), OplockLevel::None);
    story.oplock_broken(FileId::new(9, 9), OplockLevel::None);
    let (file_id, actions) = story.grant(open, OplockLevel::Batch);
    assert_eq!(file_id, FileId::new(1001, 1001));
    assert_eq!(actions[1..], [allow(RWH)]);
}
