//! Random steps for histories, weighted so that they get somewhere.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "shared by tests that each use a part")]

use leasehold::server::{LockElement, LockFlags, Profile};
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::steps::{ACCESSES, NAMES, SLOTS, Step, Wish, profile_of};

pub fn wishes() -> impl Strategy<Value = Wish> {
    let sharing = prop_oneof![6 => Just(7), 1 => 0..8u32];
    let disposition = prop_oneof![6 => Just(3), 2 => Just(1), 1 => Just(5), 1 => 0..6u32];
    let key = prop_oneof![16 => 1..4u8, 1 => Just(0)];
    let lease = (key, prop_oneof![3 => Just(7), 2 => Just(3), 2 => 0..8u32], prop::bool::weighted(0.7));
    let parent = prop::option::weighted(0.5, 0..4u8);
    let lease = prop::option::weighted(0.8, (lease, parent))
        .prop_map(|lease| lease.map(|((key, state, second), parent)| (key, state, second, parent)));
    let level =
        prop_oneof![6 => Just(0xff), 1 => Just(0), 2 => Just(1), 1 => Just(8), 2 => Just(9), 1 => Just(0x33)];
    let what = (0..SLOTS.len(), prop_oneof![5 => 0..2usize, 2 => 0..NAMES], 0..2u32, 0..ACCESSES.len());
    let rare = prop::bool::weighted(0.02);
    let share = prop_oneof![12 => Just(0), 1 => 1..5u8];
    ((what, sharing, disposition, prop::bool::weighted(0.15)), (rare, level, lease, share)).prop_map(
        |(((slot, name, tree, access), sharing, disposition, delete), (opfilter, level, lease, share))| {
            Wish { slot, name, tree, access, sharing, disposition, delete, opfilter, level, lease, share }
        },
    )
}

fn elements() -> impl Strategy<Value = Vec<LockElement>> {
    let kinds = vec![
        LockFlags::SHARED,
        LockFlags::EXCLUSIVE,
        LockFlags::SHARED | LockFlags::FAIL_IMMEDIATELY,
        LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY,
        LockFlags::UNLOCK,
        LockFlags::UNLOCK,
        LockFlags::UNLOCK | LockFlags::FAIL_IMMEDIATELY,
        LockFlags::SHARED | LockFlags::EXCLUSIVE,
    ];
    let offset = prop_oneof![12 => 0..4u64, 1 => Just(u64::MAX)];
    let element = (offset, prop_oneof![8 => 1..4u64, 1 => Just(0)], select(kinds));
    let element = element.prop_map(|(offset, len, flags)| LockElement { offset, len, flags });
    prop_oneof![4 => prop::collection::vec(element.clone(), 1..2), 1 => prop::collection::vec(element, 0..4)]
}

pub fn steps() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS.len();
    let operate = (slot.clone(), 0..8usize, 0..6u8, any::<bool>(), 0..NAMES, 0..15u8, 0..4u64, 0..4u64);
    prop_oneof![
        3 => slot.clone().prop_map(|slot| Step::Connect { slot }),
        1 => slot.clone().prop_map(|slot| Step::Disconnect { slot }),
        1 => slot.clone().prop_map(|slot| Step::Logoff { slot }),
        1 => (slot.clone(), 0..2u32).prop_map(|(slot, tree)| Step::TreeDisconnect { slot, tree }),
        24 => wishes().prop_map(Step::Create),
        24 => (0..3usize, prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(nth, fails, empty)| Step::Opened { nth, fails, empty }),
        14 => operate.prop_map(|(slot, nth, actor, local, name, what, offset, len)| Step::Operate {
            slot, nth, actor, local, name, what, offset, len
        }),
        12 => (0..3usize, prop::bool::weighted(0.1)).prop_map(|(nth, fails)| Step::Done { nth, fails }),
        5 => (slot.clone(), 0..8usize, prop::bool::weighted(0.2), elements())
            .prop_map(|(slot, nth, empty, elements)| Step::Lock { slot, nth, empty, elements }),
        2 => (0..3usize).prop_map(|nth| Step::Cancel { nth }),
        10 => (slot.clone(), 0..8usize, prop::bool::weighted(0.95))
            .prop_map(|(slot, nth, own)| Step::Close { slot, nth, own }),
        16 => (slot, 0..6usize, 0..10u8, any::<u8>())
            .prop_map(|(slot, nth, how, level)| Step::Ack { slot, nth, how, level }),
        2 => (0..4usize).prop_map(|nth| Step::Undelivered { nth }),
        4 => prop_oneof![Just(1u64), Just(10_000), Just(35_000), 0..40_000u64].prop_map(|millis| Step::Time { millis }),
    ]
}

/// Half of the time what servers do by default, else any combination of choices.
pub fn profiles() -> impl Strategy<Value = Profile> {
    let any = any::<[bool; 12]>().prop_map(profile_of);
    prop_oneof![Just(Profile::default()), any]
}
