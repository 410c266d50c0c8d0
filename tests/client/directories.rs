//! Directories, the keys of parents, named streams (MS-SMB2 3.2.4.3, 3.2.4.3.8, 3.2.5.19.2).

use leasehold::CreateOptions;
use leasehold::Disposition;
use leasehold::client::Object;

use super::*;

const FOLDER: FileRef = FileRef::new(100);
const FOLDER_KEY: LeaseKey = LeaseKey::new([0xdd; 16]);

fn story() -> Story {
    let mut story = Story::new(Dialect::Smb311);
    story.tell(Event::Disconnected { conn: CONN });
    story.connect_with(
        CONN,
        Terms::new(Dialect::Smb311, Capabilities::LEASING | Capabilities::DIRECTORY_LEASING),
    );
    story
}

fn folder(story: &mut Story) -> Opening {
    let request = story.next_request();
    Opening::new(request, FOLDER, FOLDER_KEY).disposition(Disposition::Open, CreateOptions::DIRECTORY_FILE)
}

fn lease_of(story: &mut Story, opening: Opening) -> (OpenRef, Option<Lease>) {
    let created = story.create(opening);
    (created.open, created.contexts.lease)
}

#[test]
fn the_key_of_the_directory_goes_along() {
    // MS-SMB2 3.2.4.3.8 <149>: also of a directory that is only named.
    let mut story = story();
    let opening = story.opening().want(Want::State(RH)).parent(FOLDER, FOLDER_KEY);
    let (_, lease) = lease_of(&mut story, opening);
    assert_eq!(lease.and_then(|lease| lease.parent()), Some(FOLDER_KEY));
}

#[test]
fn the_root_of_a_share_names_no_parent() {
    let mut story = story();
    let opening = story.opening().want(Want::State(RH));
    let (_, lease) = lease_of(&mut story, opening);
    assert_eq!(lease.and_then(|lease| lease.parent()), None);
}

#[test]
fn where_directories_have_no_leases_no_parent_is_named() {
    let mut story = Story::new(Dialect::Smb311);
    let opening = story.opening().want(Want::State(RH)).parent(FOLDER, FOLDER_KEY);
    let (_, lease) = lease_of(&mut story, opening);
    assert_eq!(lease.and_then(|lease| lease.parent()), None);
}

#[test]
fn a_directory_keeps_its_key_while_a_name_in_it_is_open() {
    let mut story = story();
    let opening = story.opening().want(Want::State(R)).parent(FOLDER, FOLDER_KEY);
    let (child, _) = lease_of(&mut story, opening);
    story.answer(child, Some(granted(R, 1)));
    let other_key = LeaseKey::new([0xee; 16]);
    let mut opening = folder(&mut story).want(Want::State(RH));
    opening.key = other_key;
    let (directory, lease) = lease_of(&mut story, opening);
    assert_eq!(lease.map(|lease| lease.key()), Some(FOLDER_KEY), "the key that the child has named");
    story.tell(Event::Created { open: directory, result: Err(Status::UNSUCCESSFUL) });
    // With the child the entry goes.
    story.tell(Event::Release { open: child });
    story.tell(Event::Purged { file: FILE });
    story.tell(Event::Closed { open: child });
    let mut opening = folder(&mut story).want(Want::State(RH));
    opening.key = other_key;
    let (_, lease) = lease_of(&mut story, opening);
    assert_eq!(lease.map(|lease| lease.key()), Some(other_key));
}

#[test]
fn a_directory_is_never_asked_for_with_w() {
    let mut story = story();
    let opening = folder(&mut story).want(Want::State(RWH));
    let (_, lease) = lease_of(&mut story, opening);
    assert_eq!(lease.map(|lease| lease.state()), Some(RH));
}

#[test]
fn a_directory_on_2_1_is_opened_without_a_lease() {
    // MS-SMB2 3.2.4.3: SupportsDirectoryLeasing is a matter of 3.x.
    for dialect in [Dialect::Smb202, Dialect::Smb210] {
        let mut story = Story::new(dialect);
        let opening = folder(&mut story).want(Want::State(RH));
        let created = story.create(opening);
        assert_eq!((created.level, created.contexts.lease), (OplockLevel::None, None));
    }
}

#[test]
fn losing_a_directory_lease_forgets_the_listing_and_closes_the_handle() {
    // MS-SMB2 3.2.5.19.2.
    let mut story = story();
    let opening = folder(&mut story).want(Want::State(RH));
    let (open, _) = lease_of(&mut story, opening);
    let lease = LeaseV2 {
        key: FOLDER_KEY,
        state: RH,
        flags: LeaseFlags::empty(),
        parent: None,
        epoch: Epoch::new(1),
    };
    story.answer(open, Some(Lease::V2(lease)));
    assert_eq!(story.tell(Event::Release { open }), []);
    let body = LeaseBreak { epoch: Epoch::new(2), flags: ACK, key: FOLDER_KEY, current: RH, new: NONE };
    let actions = story.tell(Event::LeaseBroken { body });
    assert_eq!(actions, [Action::Allow { file: FOLDER, state: NONE }, Action::Purge { file: FOLDER }]);
    let actions = story.tell(Event::Purged { file: FOLDER });
    assert!(matches!(actions[..], [Action::SendClose { .. }]), "{actions:?}");
}

#[test]
fn a_named_stream_has_no_oplock_and_no_h() {
    // MS-SMB2 3.2.4.3, 3.2.4.3.8.
    let mut story = story();
    let opening = story.opening().object(Object::NamedStream);
    let created = story.create(opening);
    assert_eq!((created.level, created.contexts.lease), (OplockLevel::None, None));
    let opening = story.opening().object(Object::NamedStream).want(Want::State(RWH));
    let created = story.create(opening);
    assert_eq!(created.contexts.lease.map(|lease| lease.state()), Some(RW));
    let mut old = Story::new(Dialect::Smb202);
    let opening = old.opening().object(Object::NamedStream).want(Want::State(RWH));
    assert_eq!(old.create(opening).level, OplockLevel::None);
}

#[test]
fn no_directory_is_inside_itself() {
    let mut story = story();
    let opening = story.opening().parent(FILE, KEY);
    let mut actions = Vec::new();
    let refused = story.client.handle(Instant::ZERO, Event::Open(opening), &mut actions);
    assert_eq!(refused, Err(Misuse::Parent));
    let opening = story.opening().parent(FOLDER, FOLDER_KEY);
    story.create(opening);
    let opening = folder(&mut story).parent(FILE, KEY);
    let refused = story.client.handle(Instant::ZERO, Event::Open(opening), &mut actions);
    assert_eq!(refused, Err(Misuse::Parent));
    assert_eq!(actions, []);
}
