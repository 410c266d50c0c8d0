//! Random steps for histories, weighted so that they get somewhere.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "shared by tests that each use a part")]

use leasehold::server::{AbsentHolder, Config, LockElement, LockFlags, Profile, UnknownReplay};
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::steps::{ACCESSES, Lasting, NAMES, Return, SLOTS, Step, Wish, profile_of};

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
            let (lasting, user, replay, instance) = (Lasting::Not, 0, false, None);
            Wish {
                slot,
                name,
                tree,
                access,
                sharing,
                disposition,
                delete,
                opfilter,
                level,
                lease,
                share,
                lasting,
                user,
                replay,
                instance,
            }
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

/// CREATEs that ask for more than a connection lasts.
fn lasting_wishes() -> impl Strategy<Value = Wish> {
    let timeout = prop_oneof![4 => Just(0u32), 2 => Just(1), 2 => Just(10_000), 1 => Just(35_000), 1 => Just(u32::MAX), 2 => 0..70_000u32];
    let second = (timeout, prop_oneof![8 => 1..4u8, 1 => Just(0)])
        .prop_map(|(timeout, guid)| Lasting::Second { timeout, guid, persistent: false });
    let lasting = prop_oneof![1 => Just(Lasting::Not), 2 => Just(Lasting::First), 5 => second];
    let level = prop_oneof![4 => Just(None), 2 => Just(Some(9u8))];
    let user = prop::bool::weighted(0.1).prop_map(u8::from);
    let access = prop_oneof![2 => Just(None), 1 => Just(Some(2usize))];
    let version = prop::option::weighted(0.4, 0..3u8);
    let instance = (0..2u8, version, prop::bool::weighted(0.9));
    let instance = prop::option::weighted(0.25, instance);
    (wishes(), lasting, level, user, prop::bool::weighted(0.3), access, instance).prop_map(
        |(wish, lasting, level, user, replay, access, instance)| Wish {
            instance,
            lasting,
            user,
            replay,
            level: level.unwrap_or(wish.level),
            access: access.unwrap_or(wish.access),
            ..wish
        },
    )
}

fn returns() -> impl Strategy<Value = Step> {
    let right = |wrong: u8| prop_oneof![9 => Just(0u8), 1 => 0..wrong];
    let guid = prop_oneof![5 => Just(0u8), 4 => Just(1), 1 => 2..6u8];
    let which = (0..SLOTS.len(), prop::bool::weighted(0.9), 0..8usize, prop::bool::weighted(0.95));
    (which, guid, right(4), right(3), right(3)).prop_map(
        |((slot, home, nth, lost), guid, lease, user, file)| Step::Reconnect {
            how: Return {
                slot,
                home,
                nth,
                lost,
                guid,
                lease,
                user,
                file,
                flag: 0,
                by_guid: false,
                word: None,
            },
        },
    )
}

/// Steps of histories in which connections are lost, and opens come back.
pub fn durable_steps() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS.len();
    let timeout = prop_oneof![Just(0u32), Just(1), Just(10_000), Just(300_000), Just(300_001)];
    prop_oneof![
        100 => steps(),
        24 => lasting_wishes().prop_map(Step::Create),
        12 => (0..3usize).prop_map(|nth| Step::Opened { nth, fails: false, empty: false }),
        6 => slot.clone().prop_map(|slot| Step::Disconnect { slot }),
        10 => slot.clone().prop_map(|slot| Step::Connect { slot }),
        4 => (slot.clone(), 0..3u8).prop_map(|(slot, how)| Step::End { slot, how }),
        14 => returns(),
        4 => (slot, 0..8usize, prop::bool::weighted(0.1).prop_map(u8::from), timeout)
            .prop_map(|(slot, nth, user, timeout)| Step::Resilience { slot, nth, user, timeout }),
        2 => (0..8usize).prop_map(|nth| Step::Used { nth }),
        10 => (0..SLOTS.len(), 0..8usize, prop::bool::weighted(0.95), prop::option::weighted(0.1, select(vec![0u8, 9])))
            .prop_map(|(slot, nth, replay, level)| Step::Again { slot, nth, replay, level }),
    ]
}

/// CREATEs that ask to outlive the server.
fn promised_wishes() -> impl Strategy<Value = Wish> {
    let timeout = prop_oneof![4 => Just(0u32), 1 => Just(1), 2 => Just(10_000), 1 => Just(u32::MAX)];
    let second = (timeout, 1..6u8, prop::bool::weighted(0.9))
        .prop_map(|(timeout, guid, persistent)| Lasting::Second { timeout, guid, persistent });
    let share = prop_oneof![8 => Just(5u8), 1 => Just(6), 1 => Just(7), 1 => Just(0)];
    (lasting_wishes(), second, share, prop_oneof![6 => 0..3usize, 1 => 3..SLOTS.len()])
        .prop_map(|(wish, lasting, share, slot)| Wish { lasting, share, slot, ..wish })
}

/// What a client says of its lease.
fn words() -> impl Strategy<Value = Option<(u32, u16)>> {
    prop::option::weighted(0.4, (0..8u32, prop_oneof![0..6u16, Just(0xffff), Just(128)]))
}

/// Steps of histories with a store, in which the server itself is started anew.
pub fn promised_steps() -> impl Strategy<Value = Step> {
    let how = (returns(), prop_oneof![9 => Just(0u8), 1 => 1..3u8], prop::bool::weighted(0.1), words());
    let how = how.prop_map(|(step, flag, by_guid, word)| match step {
        Step::Reconnect { how } => {
            // By DH2C as a rule.
            let guid = if how.guid == 1 && how.nth % 4 > 0 { 0 } else { how.guid };
            Step::Reconnect { how: Return { flag, by_guid, word, guid, ..how } }
        }
        other => other,
    });
    let what = prop_oneof![5 => Just(0u8), 3 => 1..8u8];
    prop_oneof![
        60 => durable_steps(),
        24 => promised_wishes().prop_map(Step::Create),
        16 => (0..3usize).prop_map(|nth| Step::Opened { nth, fails: false, empty: false }),
        24 => (0..6usize).prop_map(|nth| Step::Stored { nth }),
        3 => (0..6usize).prop_map(|nth| Step::NotStored { nth }),
        4 => (0..SLOTS.len()).prop_map(|slot| Step::Disconnect { slot }),
        8 => (0..SLOTS.len()).prop_map(|slot| Step::Connect { slot }),
        16 => how,
        8 => (0..SLOTS.len(), 0..8usize, prop::bool::weighted(0.9), what, words())
            .prop_map(|(slot, nth, replay, what, word)| Step::Resend { slot, nth, replay, what, word }),
        2 => (0..4usize, prop_oneof![Just(0u64), 0..100_000u64])
            .prop_map(|(extra, away)| Step::Restart { extra, away }),
    ]
}

/// How a server with a store behaves.
pub fn promising() -> impl Strategy<Value = Config> {
    (profiles(), any::<[bool; 2]>(), prop::bool::weighted(0.2)).prop_map(
        |(mut profile, [gate, unknown], absent)| {
            if unknown {
                profile.unknown_replay = UnknownReplay::Refuse;
            }
            if absent {
                profile.absent_holder = AbsentHolder::Refuse;
            }
            crate::model::world::promising(profile, gate)
        },
    )
}

/// Half of the time what servers do by default, else any combination of choices.
pub fn profiles() -> impl Strategy<Value = Profile> {
    let any = any::<[bool; 12]>().prop_map(profile_of);
    prop_oneof![Just(Profile::default()), any]
}
