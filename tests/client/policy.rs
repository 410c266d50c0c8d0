//! What is asked for when the application does not say (MS-SMB2 3.2.4.3.8 <153>).

use std::time::Duration;

use leasehold::client::{Adaptive, Policy};
use leasehold::{Access, ShareMode};

use super::*;

fn asks(story: &mut Story, access: Access) -> Option<LeaseState> {
    let opening = story.opening().access(access, ShareMode::ALL);
    let created = story.create(opening);
    story.tell(Event::Created { open: created.open, result: Err(Status::UNSUCCESSFUL) });
    created.contexts.lease.map(|lease| lease.state())
}

fn with(policy: Policy) -> Story {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    config.policy = policy;
    Story::with(config, Dialect::Smb311)
}

/// Opens with everything, and loses it to this.
fn loses(story: &mut Story, to: LeaseState) {
    let open = story.open(RWH, story.client.epoch(FILE).get().wrapping_add(1));
    let epoch = story.client.epoch(FILE).get().wrapping_add(1);
    let mut actions = story.broken(RWH, to, epoch, ACK);
    actions.extend(story.tell(Event::Release { open }));
    while let Some(action) = actions.pop() {
        match action {
            Action::Flush { file } => actions.extend(story.tell(Event::Flushed { file })),
            Action::Purge { file } => actions.extend(story.tell(Event::Purged { file })),
            Action::SendClose { open, .. } => actions.extend(story.tell(Event::Closed { open })),
            _ => {}
        }
    }
}

#[test]
fn windows_asks_for_w_only_with_write_access() {
    let mut story = with(Policy::Windows);
    assert_eq!(asks(&mut story, Access::READ_DATA), Some(RH));
    assert_eq!(asks(&mut story, Access::READ_DATA | Access::WRITE_DATA), Some(RWH));
    assert_eq!(asks(&mut story, Access::APPEND_DATA), Some(RWH));
    assert_eq!(asks(&mut story, Access::GENERIC_WRITE), Some(RWH));
}

#[test]
fn a_fixed_policy_asks_for_the_same_whatever_happens() {
    let mut story = with(Policy::Fixed(R));
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(R));
    let mut story = with(Policy::Fixed(NONE));
    assert_eq!(asks(&mut story, Access::WRITE_DATA), None);
}

#[test]
fn a_file_that_loses_w_again_and_again_is_asked_for_without_it_for_a_while() {
    let mut story = with(Policy::Adaptive(Adaptive::new(3, Duration::from_secs(60), 16)));
    for _ in 0..2 {
        loses(&mut story, RH);
    }
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(RWH));
    loses(&mut story, RH);
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(RH), "three times");
    story.now = 59_999;
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(RH));
    story.now = 60_000;
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(RWH), "half of it is forgotten");
}

#[test]
fn each_letter_is_counted_for_itself() {
    let mut story = with(Policy::Adaptive(Adaptive::new(1, Duration::from_secs(60), 16)));
    loses(&mut story, RW);
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(RW), "H was taken, W was not");
    loses(&mut story, NONE);
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(R));
}

#[test]
fn only_so_many_files_are_remembered() {
    let mut story = with(Policy::Adaptive(Adaptive::new(1, Duration::from_secs(60), 1)));
    loses(&mut story, RH);
    let (file, key) = (FileRef::new(2), LeaseKey::new([2; 16]));
    let request = story.next_request();
    let open = story.create(Opening::new(request, file, key).want(Want::State(RH))).open;
    let lease = LeaseV2 { key, state: RH, flags: LeaseFlags::empty(), parent: None, epoch: Epoch::new(1) };
    story.answer(open, Some(Lease::V2(lease)));
    let body = LeaseBreak { epoch: Epoch::new(2), flags: ACK, key, current: RH, new: R };
    story.tell(Event::LeaseBroken { body });
    assert_eq!(asks(&mut story, Access::WRITE_DATA), Some(RWH), "the first is forgotten for the second");
}
