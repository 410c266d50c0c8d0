//! The laws of the wire layer, as property tests; and every committed seed through its fuzz body.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong should stop"
)]

mod bodies;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arbitrary::Unstructured;
use bodies::sheet::{self, Body};
use bodies::wire;
use leasehold::wire::{
    AppInstanceId, AppInstanceVersion, ContextWriter, Contexts, DurableHandleReconnect,
    DurableHandleReconnectV2, DurableHandleRequest, DurableHandleRequestV2, DurableHandleResponse,
    DurableHandleResponseV2, EncodeError, Fixed, Header, HeaderFlags, LeaseAck, LeaseBreak, LeaseFlags,
    LeaseV1, LeaseV2, OplockBreak, ResiliencyRequest, Structure,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/laws.txt"))),
        ..ProptestConfig::default()
    }
}

/// Any value. It shrinks towards zero.
fn values<T: Body>() -> impl Strategy<Value = T> {
    vec(any::<u8>(), 0..96).prop_map(|octets| T::draw(&mut Unstructured::new(&octets)))
}

/// Octets of the right length that decode, whatever their reserved fields hold.
fn lawful<T: Body>() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), T::OCTETS).prop_map(|mut octets| {
        T::make_lawful(&mut octets);
        octets
    })
}

/// Octets of about the right length, of which many do not decode.
fn octets<T: Body>() -> impl Strategy<Value = Vec<u8>> {
    let near = T::OCTETS.saturating_sub(2)..T::OCTETS + 3;
    // One octet of a lawful body changed: a constant more often than not comes out wrong.
    let changed = (lawful::<T>(), 0..8usize, any::<u8>()).prop_map(|(mut octets, at, value)| {
        octets[at] = value;
        octets
    });
    prop_oneof![lawful::<T>(), changed, vec(any::<u8>(), near), vec(any::<u8>(), 0..128)]
}

macro_rules! laws {
    ($($module:ident: $body:ty { $octets:literal, $structure:ident })*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn has_the_size_and_the_name_that_are_specified() {
                assert_eq!(<$body as Fixed>::LEN, $octets);
                assert_eq!(<$body as Body>::OCTETS, $octets);
                assert_eq!(<$body as Fixed>::STRUCTURE, Structure::$structure);
            }

            proptest! {
                #![proptest_config(config())]

                #[test]
                fn value_comes_back(value in values::<$body>()) {
                    wire::value_comes_back(value);
                }

                #[test]
                fn canonical_octets_come_back(octets in lawful::<$body>()) {
                    wire::canonical_octets_come_back::<$body>(&octets);
                }

                #[test]
                fn coding_again_changes_nothing(octets in octets::<$body>()) {
                    wire::coding_again_changes_nothing::<$body>(&octets);
                }

                #[test]
                fn every_proper_prefix_is_refused(octets in lawful::<$body>()) {
                    wire::prefixes_are_refused::<$body>(&octets);
                }

                #[test]
                fn is_judged_as_specified(octets in octets::<$body>()) {
                    wire::judged_as_specified::<$body>(&octets);
                }

                #[cfg(feature = "arbitrary")]
                #[test]
                fn arbitrary_value_comes_back(octets in vec(any::<u8>(), 0..128)) {
                    if let Ok(value) = Unstructured::new(&octets).arbitrary::<$body>() {
                        wire::value_comes_back(value);
                    }
                }
            }
        }
    )*};
}

// MS-SMB2 2.2.13.2 and on: every structure of fixed size.
laws! {
    durable_handle_request: DurableHandleRequest { 16, DurableHandleRequest }
    durable_handle_response: DurableHandleResponse { 8, DurableHandleResponse }
    durable_handle_reconnect: DurableHandleReconnect { 16, DurableHandleReconnect }
    durable_handle_request_v2: DurableHandleRequestV2 { 32, DurableHandleRequestV2 }
    durable_handle_response_v2: DurableHandleResponseV2 { 8, DurableHandleResponseV2 }
    durable_handle_reconnect_v2: DurableHandleReconnectV2 { 36, DurableHandleReconnectV2 }
    resiliency_request: ResiliencyRequest { 8, ResiliencyRequest }
    lease_v1: LeaseV1 { 32, LeaseV1 }
    lease_v2: LeaseV2 { 52, LeaseV2 }
    app_instance_id: AppInstanceId { 20, AppInstanceId }
    app_instance_version: AppInstanceVersion { 24, AppInstanceVersion }
    oplock_break: OplockBreak { 24, OplockBreak }
    lease_break: LeaseBreak { 44, LeaseBreak }
    lease_ack: LeaseAck { 36, LeaseAck }
    header: Header { 64, Header }
}

proptest! {
    #![proptest_config(config())]

    /// `parent` alone decides on the flag, whatever `flags` says.
    #[test]
    fn parent_flag_of_a_lease_is_implied(lease in values::<LeaseV2>()) {
        let (mut with, mut without) = (vec![], vec![]);
        LeaseV2 { flags: lease.flags | LeaseFlags::PARENT_LEASE_KEY_SET, ..lease }.encode(&mut with);
        lease.encode(&mut without);
        prop_assert_eq!(&with, &without);
        prop_assert_eq!(with[20] & 0x4 != 0, lease.parent.is_some());
    }

    /// `route` alone decides on the flag, whatever `flags` says.
    #[test]
    fn asynchronous_flag_of_a_header_is_implied(header in values::<Header>()) {
        let (mut with, mut without) = (vec![], vec![]);
        Header { flags: header.flags | HeaderFlags::ASYNC_COMMAND, ..header }.encode(&mut with);
        header.encode(&mut without);
        prop_assert_eq!(with, without);
    }
}

// ---- Chains ----

/// A context of ours with data of one of its sizes, one of the others of MS-SMB2 2.2.13.2, or anything at all.
fn element() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let ours = prop::sample::select(vec![
        (sheet::DHNQ, 8),
        (sheet::DHNQ, 16),
        (sheet::DHNC, 16),
        (sheet::DH2Q, 8),
        (sheet::DH2Q, 32),
        (sheet::DH2C, 36),
        (sheet::RQLS, 32),
        (sheet::RQLS, 52),
        (sheet::APP_INSTANCE_ID, 20),
        (sheet::APP_INSTANCE_VERSION, 24),
    ]);
    let ours = ours.prop_flat_map(|(name, size)| (Just(name.to_vec()), sized(size)));
    let others =
        prop::sample::select(vec![&b"ExtA"[..], b"SecD", b"MxAc", b"AlSi", b"TWrp", b"QFid", b"AAPL"]);
    let others = (others.prop_map(<[u8]>::to_vec), vec(any::<u8>(), 0..80));
    let anything = (vec(any::<u8>(), 4..40), vec(any::<u8>(), 0..80));
    prop_oneof![6 => ours, 2 => others, 1 => anything]
}

/// Data with a StructureSize that fits. The contexts that have none do not mind.
fn sized(size: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), size).prop_map(move |mut data| {
        data[..2].copy_from_slice(&(size as u16).to_le_bytes());
        data
    })
}

fn elements(count: Range<usize>) -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    vec(element(), count)
}

/// Where a field of an element's header lies, and a value for it.
fn damage() -> impl Strategy<Value = (usize, u8)> {
    (0..400usize, prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 4, 8, 16, 24, 0xff])])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn chains_yield_what_they_were_made_of(elements in elements(0..12), behind in vec(any::<u8>(), 0..24)) {
        let mut chain = sheet::chain(&elements);
        // What lies behind the last element is ignored; but where there is none, there is no chain to lie behind.
        if !elements.is_empty() {
            chain.extend(behind);
        }
        let walked: Result<Vec<_>, _> = Contexts::new(&chain).collect();
        let walked: Vec<_> = walked.unwrap().iter().map(|c| (c.name.to_vec(), c.data.to_vec())).collect();
        prop_assert_eq!(walked, elements);
        wire::chain(&chain);
    }

    #[test]
    fn writer_writes_the_octets_of_the_chain(elements in elements(0..12)) {
        let chain = sheet::chain(&elements);
        let mut buf = vec![0xa5; chain.len()];
        let mut writer = ContextWriter::new(&mut buf);
        for (name, data) in &elements {
            prop_assert_eq!(writer.push(name, data), Ok(()));
        }
        prop_assert_eq!(writer.finish(), chain.len());
        prop_assert_eq!(buf, chain);
    }

    #[test]
    fn damaged_chains_are_judged_as_specified(
        elements in elements(1..6),
        damage in vec(damage(), 1..4),
        cut in prop::option::of(0..400usize),
    ) {
        let mut chain = sheet::chain(&elements);
        for (at, value) in damage {
            let len = chain.len();
            chain[at % len] = value;
        }
        chain.truncate(cut.unwrap_or(usize::MAX));
        wire::chain(&chain);
    }

    #[test]
    fn any_octets_keep_the_laws(octets in vec(any::<u8>(), 0..256)) {
        wire::chain(&octets);
        wire::lease(&octets);
        wire::durable(&octets);
        wire::instance(&octets);
        wire::breaks(&octets);
        wire::header(&octets);
        wire::create(&octets);
        wire::roundtrip(&octets);
    }

    #[test]
    fn any_sequence_of_writes_keeps_the_laws(
        room in 0..2048u16,
        which in vec((0..12u8, vec(any::<u8>(), 0..64)), 0..12),
    ) {
        let mut octets = room.to_le_bytes().to_vec();
        for (which, rest) in which {
            octets.push(which);
            octets.extend(rest);
        }
        wire::writer(&octets);
    }
}

#[test]
fn writer_refuses_a_name_whose_data_would_lie_behind_what_data_offset_can_say() {
    // MS-SMB2 2.2.13.2: DataOffset has 16 bits and is a multiple of 8, so it is at most 65,528.
    let mut buf = vec![0; 70_000];
    let mut writer = ContextWriter::new(&mut buf);
    assert_eq!(writer.push(&[b'n'; 65_513], b"d"), Err(EncodeError::Name { len: 65_513 }));
    assert_eq!(writer.push(&[b'n'; 65_536], b""), Err(EncodeError::Name { len: 65_536 }));
    assert_eq!(writer.push(&[b'n'; 65_512], b"d"), Ok(()));
    let len = writer.finish();
    assert_eq!(len, 65_529);
    let context = Contexts::new(&buf[..len]).next().unwrap().unwrap();
    assert_eq!((context.name.len(), context.data), (65_512, &b"d"[..]));
}

#[test]
fn writer_that_wrote_nothing_leaves_an_empty_chain() {
    let mut buf = [0xa5; 16];
    assert_eq!(ContextWriter::new(&mut buf).finish(), 0);
    assert_eq!(buf, [0xa5; 16]);
    assert_eq!(ContextWriter::new(&mut []).finish(), 0);
}

// ---- Seeds ----

/// What a fuzz target does with octets.
type Target = fn(&[u8]);

/// Every fuzz target of the wire layer.
const TARGETS: [(&str, Target); 7] = [
    ("wire_breaks", wire::breaks),
    ("wire_chain", wire::chain),
    ("wire_create", |octets| {
        wire::header(octets);
        wire::create(octets);
    }),
    ("wire_durable", |octets| {
        wire::durable(octets);
        wire::instance(octets);
    }),
    ("wire_lease", wire::lease),
    ("wire_roundtrip", wire::roundtrip),
    ("wire_writer", wire::writer),
];

#[test]
fn every_committed_seed_goes_through_its_body() {
    for (target, body) in TARGETS {
        let seeds = listed(&format!("fuzz/seeds/{target}"));
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            // Shown if the body panics.
            println!("{}", seed.display());
            body(&fs::read(&seed).unwrap());
        }
    }
}

#[test]
fn every_wire_target_has_a_body_here() {
    let wire = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        stem.starts_with("wire_").then(|| stem.to_owned())
    };
    let expected: Vec<_> = TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    let targets: Vec<_> = listed("fuzz/fuzz_targets").iter().filter_map(wire).collect();
    assert_eq!(targets, expected);
    let seeds: Vec<_> = listed("fuzz/seeds").iter().filter_map(wire).collect();
    assert_eq!(seeds, expected);
}

fn listed(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
