//! Handles that H keeps open: taken up again, or closed when there are too many (MS-SMB2 3.2.4.5).

use leasehold::{Access, CreateOptions, Disposition, ShareMode};

use super::*;

const READ: Access = Access::READ_DATA;
const BOTH: Access = Access::READ_DATA.union(Access::WRITE_DATA);

impl Story {
    fn reader(&mut self) -> Opening {
        self.opening().want(Want::State(RH)).access(READ, ShareMode::ALL)
    }

    /// A handle that is kept, under a lease.
    fn kept(&mut self, opening: Opening, state: LeaseState) -> OpenRef {
        let open = self.create(opening).open;
        self.answer(open, Some(granted(state, 1)));
        self.tell(Event::Release { open });
        open
    }

    fn serves(&mut self, opening: Opening) -> bool {
        match self.tell(Event::Open(opening))[..] {
            [Action::Ready { served: Served::Kept, .. }] => true,
            [Action::SendCreate { .. }] => false,
            ref other => panic!("{other:?}"),
        }
    }
}

fn limited(kept: usize, kept_per_file: u32) -> ClientConfig {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    (config.kept, config.kept_per_file) = (kept, kept_per_file);
    config
}

pub(super) fn closed(actions: &[Action]) -> Vec<OpenRef> {
    let close = |action: &Action| match action {
        Action::SendClose { open, .. } => Some(*open),
        _ => None,
    };
    actions.iter().filter_map(close).collect()
}

#[test]
fn a_kept_handle_serves_the_next_open_that_fits() {
    let mut story = Story::new(Dialect::Smb311);
    let opening = story.reader();
    let open = story.kept(opening, RH);
    let opening = story.reader();
    let request = opening.request;
    assert_eq!(story.tell(Event::Open(opening)), [Action::Ready { request, open, served: Served::Kept }]);
    let opening = story.reader();
    assert!(!story.serves(opening), "it serves one at a time");
    assert_eq!(story.tell(Event::Release { open }), [], "and is kept once more");
    let opening = story.reader();
    assert!(story.serves(opening));
}

#[test]
fn a_kept_handle_serves_nobody_whom_the_server_would_treat_otherwise() {
    // MS-SMB2 3.2.4.5: access and share mode have to fit. What others meet at the server must be the same, too.
    let other = |change: fn(Opening) -> Opening| {
        let mut story = Story::new(Dialect::Smb311);
        let opening = story.reader();
        story.kept(opening, RH);
        let opening = change(story.reader());
        assert!(!story.serves(opening));
    };
    other(|opening| opening.access(BOTH, ShareMode::ALL));
    other(|opening| opening.access(Access::empty(), ShareMode::ALL));
    other(|opening| opening.access(Access::READ_ATTRIBUTES, ShareMode::ALL));
    other(|opening| opening.access(READ, ShareMode::READ));
    other(|opening| opening.disposition(Disposition::Overwrite, CreateOptions::empty()));
    other(|opening| opening.disposition(Disposition::Create, CreateOptions::empty()));
}

#[test]
fn nothing_is_served_from_a_handle_that_has_lost_h() {
    let mut story = Story::new(Dialect::Smb311);
    let opening = story.reader();
    story.kept(opening, RH);
    story.broken(RH, R, 2, ACK);
    let opening = story.reader();
    assert!(!story.serves(opening));
    assert_eq!(
        closed(&story.tell(Event::Purged { file: FILE })),
        [],
        "the CREATE that is on its way needs the lease"
    );
}

#[test]
fn a_handle_that_deletes_its_file_is_not_kept() {
    let mut story = Story::new(Dialect::Smb311);
    let opening = story.reader().disposition(Disposition::Open, CreateOptions::DELETE_ON_CLOSE);
    let open = story.create(opening).open;
    story.answer(open, Some(granted(RH, 1)));
    assert_eq!(story.tell(Event::Release { open }), [allow(NONE), PURGE]);
    assert_eq!(closed(&story.tell(Event::Purged { file: FILE })), [open]);
}

#[test]
fn the_handle_that_is_kept_longest_makes_room() {
    let mut story = Story::with(limited(2, 8), Dialect::Smb311);
    let mut opens = Vec::new();
    for n in 1..=3 {
        let request = story.next_request();
        let key = LeaseKey::new([n; 16]);
        let open =
            story.create(Opening::new(request, FileRef::new(n.into()), key).want(Want::State(RH))).open;
        let lease =
            LeaseV2 { key, state: RH, flags: LeaseFlags::empty(), parent: None, epoch: Epoch::new(1) };
        story.answer(open, Some(Lease::V2(lease)));
        opens.push(open);
    }
    assert_eq!(story.tell(Event::Release { open: opens[1] }), []);
    assert_eq!(story.tell(Event::Release { open: opens[0] }), []);
    let file = FileRef::new(2);
    let actions = story.tell(Event::Release { open: opens[2] });
    assert_eq!(actions, [Action::Allow { file, state: NONE }, Action::Purge { file }]);
    assert_eq!(closed(&story.tell(Event::Purged { file })), [opens[1]]);
}

#[test]
fn of_one_file_only_so_many_are_kept() {
    let mut story = Story::with(limited(100, 1), Dialect::Smb311);
    let opens: Vec<_> = (0..3)
        .map(|_| {
            let open = story.ask(RH);
            story.answer(open, Some(granted(RH, 1)));
            open
        })
        .collect();
    assert_eq!(story.tell(Event::Release { open: opens[2] }), []);
    assert_eq!(closed(&story.tell(Event::Release { open: opens[0] })), [opens[2]]);
    assert_eq!(closed(&story.tell(Event::Release { open: opens[1] })), [opens[0]]);
}

#[test]
fn what_makes_room_writes_back_before_it_closes() {
    let mut story = Story::with(limited(0, 8), Dialect::Smb311);
    let open = story.open(RWH, 1);
    assert_eq!(story.tell(Event::Release { open }), [allow(NONE), FLUSH]);
    assert_eq!(story.tell(Event::Flushed { file: FILE }), [PURGE]);
    assert_eq!(closed(&story.tell(Event::Purged { file: FILE })), [open]);
}

#[test]
fn a_batch_oplock_serves_opens_too() {
    let mut story = Story::new(Dialect::Smb202);
    let opening = story.opening().access(BOTH, ShareMode::READ);
    let open = story.create(opening).open;
    story.grant(open, OplockLevel::Batch);
    story.tell(Event::Release { open });
    let opening = story.opening().access(BOTH, ShareMode::READ);
    assert!(story.serves(opening));
}
