//! Octets that are wrong, and octets that only look so: what is refused, with which words, and what is accepted.
//!
//! Every literal and every expectation is written from MS-SMB2 and from what deployed implementations do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong should stop"
)]

#[path = "malformed/create.rs"]
mod create;
#[path = "malformed/cut_short.rs"]
mod cut_short;

use leasehold::wire::{
    Acknowledgment, AppInstanceId, AppInstanceVersion, Context, Contexts, DecodeError,
    DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest, DurableHandleRequestV2,
    DurableHandleResponse, Fixed, Header, Lease, LeaseAck, LeaseBreak, LeaseV1, MAX_CONTEXTS, Notification,
    OplockBreak, RequestContexts, ResponseContexts,
};
use leasehold::{Dialect, LeaseKey, LeaseState};

/// Octets written in hexadecimal; white space is for the eye.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert_eq!(digits.len(), text.chars().filter(|c| !c.is_whitespace()).count());
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn walk(chain: &[u8]) -> Result<Vec<Context<'_>>, DecodeError> {
    Contexts::new(chain).collect()
}

/// Names and data of a chain that is well-formed.
#[track_caller]
fn accepted(chain: &[u8]) -> Vec<(&[u8], &[u8])> {
    walk(chain).unwrap().into_iter().map(|context| (context.name, context.data)).collect()
}

/// What a request of this chain gives, and the names of what is not ours.
fn request(chain: &[u8]) -> (Result<RequestContexts, String>, Vec<Vec<u8>>) {
    let mut others = vec![];
    let contexts = RequestContexts::decode(chain, |other| others.push(other.name.to_vec()));
    (contexts.map_err(|error| error.to_string()), others)
}

fn response(chain: &[u8]) -> Result<ResponseContexts, String> {
    ResponseContexts::decode(chain, |_| ()).map_err(|error| error.to_string())
}

/// One element: data at the next multiple of eight behind the name, padding up to `next` if there is one.
fn element(name: &[u8], data: &[u8], next: usize) -> Vec<u8> {
    let data_at = (16 + name.len()).div_ceil(8) * 8;
    let mut element = vec![];
    element.extend((next as u32).to_le_bytes());
    element.extend([16, 0]);
    element.extend((name.len() as u16).to_le_bytes());
    element.extend([0, 0]);
    element.extend((data_at as u16).to_le_bytes());
    element.extend((data.len() as u32).to_le_bytes());
    element.extend(name);
    element.resize(data_at, 0);
    element.extend(data);
    element.resize(element.len().max(next), 0);
    element
}

/// Elements one behind the other.
fn chain(elements: &[(&[u8], &[u8])]) -> Vec<u8> {
    let (last, before) = elements.split_last().unwrap();
    let next = |(name, data): &(&[u8], &[u8])| element(name, data, 0).len().div_ceil(8) * 8;
    let mut chain: Vec<u8> = before.iter().flat_map(|e| element(e.0, e.1, next(e))).collect();
    chain.extend(element(last.0, last.1, 0));
    chain
}

// ---- The frame of an element: rows M1 to M21 ----

/// The walker, the request and the response all refuse it with these words.
#[track_caller]
fn refused_by_all(chain: &[u8], words: &str) {
    let mut contexts = Contexts::new(chain);
    let error = contexts.find_map(Result::err).expect("the walker accepts it");
    assert_eq!(error.to_string(), words);
    assert_eq!(contexts.next(), None, "it goes on behind an error");
    assert_eq!(request(chain).0, Err(words.to_owned()));
    assert_eq!(response(chain), Err(words.to_owned()));
}

macro_rules! refused {
    ($($name:ident: $octets:literal, $problem:literal, $at:literal;)*) => {$(
        #[test]
        fn $name() {
            let chain = hex($octets);
            refused_by_all(&chain, &format!("Create Context: {} (offset {})", $problem, $at));

            // The same as the second element: the offset counts from the start of the chain.
            let mut second = element(b"MxAc", b"", 24);
            second.extend(chain);
            refused_by_all(&second, &format!("Create Context: {} (offset {})", $problem, $at + 24));
        }
    )*};
}

#[test]
fn m01_fixed_part_cut_short_is_refused() {
    let chain = hex("000000001000040000001800000000");
    refused_by_all(&chain, "Create Context: length 15, expected 16 (offset 0)");

    // As the second element it makes the Next before it lead nowhere.
    let mut second = element(b"MxAc", b"", 24);
    second.extend(chain);
    refused_by_all(&second, "Create Context: Next 24 leads past the end (offset 0)");
}

refused! {
    m02_name_of_three_octets_is_refused:
        "000000001000030000001800000000004d78410000000000", "NameLength 3, at least 4", 6;
    m03_name_cut_short_is_refused:
        "000000001000040000000000000000004d78", "NameLength 4 leads past the end", 6;
    m04_name_anywhere_but_at_16_is_refused:
        "0000000018000400000000000000000000000000000000004d784163", "NameOffset 24, expected 16", 4;
    m05_data_offset_that_is_not_aligned_is_refused:
        "000000001000040000001400040000005146696400000000", "DataOffset 20 is not a multiple of 8", 10;
    m06_data_over_the_name_is_refused:
        "0000000010000400000010001000000044486e51000000000000000000000000", "DataOffset 16, at least 20", 10;
    m07_data_past_the_end_is_refused:
        "0000000010000400000018001100000044486e510000000000000000000000000000000000000000",
        "DataLength 17 leads past the end", 12;
    m08_next_that_is_not_aligned_is_refused:
        "1c0000001000040000001800000000004d784163000000000000000000000000
         1000040000001800000000005146696400000000",
        "Next 28 is not a multiple of 8", 0;
    m09_next_past_the_end_is_refused:
        "400000001000040000001800000000004d78416300000000", "Next 64 leads past the end", 0;
    m10_next_at_the_end_is_refused:
        "180000001000040000001800000000004d78416300000000", "Next 24 leads past the end", 0;
    m11_next_into_its_own_fixed_part_is_refused:
        "080000001000040000001800000000004d78416300000000", "Next 8, at least 16", 0;
    m13_data_at_zero_is_refused:
        "0000000010000400000000001000000044486e510000000000000000000000000000000000000000",
        "DataOffset 0, at least 20", 10;
    m14_data_that_runs_into_the_next_element_is_refused:
        "1800000010000400000018001000000044486e51000000000000000010000400
         00001800000000005146696400000000",
        "DataLength 16 leads past the end", 12;
    m21_data_length_that_would_wrap_is_refused:
        "000000001000040000001800f8ffffff4d78416300000000", "DataLength 4294967288 leads past the end", 12;

    next_that_leaves_one_octet_too_few_is_refused:
        "180000001000040000001800000000004d78416300000000 000000000000000000000000000000",
        "Next 24 leads past the end", 0;
    next_that_would_wrap_is_refused:
        "f8ffffff1000040000001800000000004d78416300000000", "Next 4294967288 leads past the end", 0;
    next_that_leaves_no_room_for_the_name_is_refused:
        "1000000010000400000000000000000000000000100004000000000000000000 4d784163",
        "NameLength 4 leads past the end", 6;
    name_of_no_octets_is_refused:
        "000000001000000000001800000000004d78410000000000", "NameLength 0, at least 4", 6;
    name_of_one_octet_is_refused:
        "000000001000010000001800000000004d78410000000000", "NameLength 1, at least 4", 6;
    name_of_two_octets_is_refused:
        "000000001000020000001800000000004d78410000000000", "NameLength 2, at least 4", 6;
    name_at_zero_is_refused:
        "000000000000040000001800000000004d78416300000000", "NameOffset 0, expected 16", 4;
    element_without_a_name_behind_its_fixed_part_is_refused:
        "00000000100004000000000000000000", "NameLength 4 leads past the end", 6;
}

#[test]
fn m12_context_without_data_may_end_behind_its_name() {
    let chain = hex("000000001000040000000000000000004d784163");
    assert_eq!(accepted(&chain), [(&b"MxAc"[..], &b""[..])]);
}

#[test]
fn m15_octets_behind_the_last_element_are_ignored() {
    let chain = hex("000000001000040000001800000000004d78416300000000ffffffffffff");
    assert_eq!(accepted(&chain), [(&b"MxAc"[..], &b""[..])]);
}

#[test]
fn m16_reserved_octets_are_ignored() {
    let chain = hex("0000000010000400ffff1800000000004d78416300000000");
    assert_eq!(accepted(&chain), [(&b"MxAc"[..], &b""[..])]);
}

#[test]
fn m17_durable_request_of_eight_octets_is_refused_in_a_request_only() {
    let chain = hex("0000000010000400000018000800000044486e51000000000000000000000000");
    assert_eq!(accepted(&chain), [(&b"DHnQ"[..], &[0; 8][..])]);
    let words = "Durable Handle Request: length 8, expected 16 (offset 24)";
    assert_eq!(request(&chain).0, Err(words.to_owned()));
    // MS-SMB2 2.2.14.2.3: that is the size of the response.
    assert_eq!(response(&chain).unwrap().durable, Some(DurableHandleResponse));
}

#[test]
fn m18_lease_of_36_octets_is_refused() {
    let mut chain = hex("0000000010000400000018002400000052714c7300000000");
    chain.extend([0; 36]);
    assert_eq!(accepted(&chain), [(&b"RqLs"[..], &[0; 36][..])]);
    let words = "Lease Context: length 36, expected 32 or 52 (offset 24)";
    assert_eq!(request(&chain).0, Err(words.to_owned()));
    assert_eq!(response(&chain), Err(words.to_owned()));
}

#[test]
fn m19_reconnect_of_32_octets_is_refused() {
    let mut chain = hex("000000001000040000001800200000004448324300000000");
    chain.extend([0; 32]);
    assert_eq!(accepted(&chain), [(&b"DH2C"[..], &[0; 32][..])]);
    let words = "Durable Handle Reconnect V2: length 32, expected 36 (offset 24)";
    assert_eq!(request(&chain).0, Err(words.to_owned()));
    // MS-SMB2 2.2.14.2.13: there is no such response, so there it is somebody else's.
    assert_eq!(response(&chain), Ok(ResponseContexts::default()));
}

#[test]
fn m20_unknown_name_of_five_octets_is_left_to_others() {
    let chain = hex("00000000100005000000000000000000466f6f4f78000000");
    assert_eq!(accepted(&chain), [(&b"FooOx"[..], &b""[..])]);
    assert_eq!(request(&chain), (Ok(RequestContexts::default()), vec![b"FooOx".to_vec()]));
}

// ---- The chain ----

#[test]
fn no_octets_are_no_contexts() {
    assert_eq!(walk(&[]), Ok(vec![]));
    assert_eq!(request(&[]), (Ok(RequestContexts::default()), vec![]));
    assert_eq!(response(&[]), Ok(ResponseContexts::default()));
}

#[test]
fn names_of_four_octets_and_more_are_accepted() {
    // The lengths that smb2.create.blob tries.
    for len in [4, 5, 6, 7, 8, 16, 17, 34] {
        let name = vec![b'n'; len];
        let chain = chain(&[(&name, b"data"), (b"MxAc", b"")]);
        assert_eq!(accepted(&chain), [(name.as_slice(), &b"data"[..]), (b"MxAc", b"")]);
        assert_eq!(request(&chain).1, [name, b"MxAc".to_vec()]);
    }
}

#[test]
fn names_are_compared_to_the_last_octet() {
    for name in [&b"DHnQ\0"[..], b"dhnq", b"DHNc", b"DHn\0", b"QnHD", b"DHnQDHnQ"] {
        let chain = element(name, &[0xee; 3], 0);
        assert_eq!(request(&chain), (Ok(RequestContexts::default()), vec![name.to_vec()]));
    }
}

#[test]
fn unknown_contexts_are_passed_untouched_and_in_order() {
    let lease = [7; 32];
    let chain = chain(&[
        (b"ExtA", &[1; 48]),
        (b"RqLs", &lease),
        (b"AAPL", &[2; 24]),
        (b"DHnQ", &[0; 16]),
        (b"AAPL", &[3; 5]),
        (b"QFid", b""),
    ]);
    let mut others = vec![];
    let contexts = RequestContexts::decode(&chain, |other| others.push((other.name, other.data))).unwrap();
    let expected: [(&[u8], &[u8]); 4] =
        [(b"ExtA", &[1; 48]), (b"AAPL", &[2; 24]), (b"AAPL", &[3; 5]), (b"QFid", b"")];
    assert_eq!(others, expected);
    assert_eq!(contexts.lease.unwrap().key(), LeaseKey::new([7; 16]));
    assert_eq!(contexts.durable.dhnq, Some(DurableHandleRequest));
}

#[test]
fn contexts_before_an_error_are_passed_and_none_behind_it() {
    let chain = chain(&[(b"AAPL", b""), (b"RqLs", &[0; 31]), (b"QFid", b"")]);
    let words = "Lease Context: length 31, expected 32 or 52 (offset 48)";
    assert_eq!(request(&chain), (Err(words.to_owned()), vec![b"AAPL".to_vec()]));
}

#[test]
fn first_of_two_contexts_with_one_name_counts() {
    let (first, mut second) = ([1; 32], [2; 52]);
    second[20] = 4;
    let chain = chain(&[
        (b"RqLs", &first),
        (b"RqLs", &second),
        (b"DHnC", &[3; 16]),
        (b"DHnC", &[4; 16]),
        (b"DH2Q", &[5; 32]),
        (b"DH2Q", &[6; 32]),
        (b"DH2C", &[7; 36]),
        (b"DH2C", &[8; 36]),
    ]);
    let (contexts, others) = request(&chain);
    let contexts = contexts.unwrap();
    assert_eq!(others, Vec::<Vec<u8>>::new());
    assert_eq!(contexts.lease, Some(Lease::V1(LeaseV1::decode(&first).unwrap())));
    assert_eq!(contexts.durable.dhnc, Some(DurableHandleReconnect::decode(&[3; 16]).unwrap()));
    assert_eq!(contexts.durable.dh2q, Some(DurableHandleRequestV2::decode(&[5; 32]).unwrap()));
    assert_eq!(contexts.durable.dh2c, Some(DurableHandleReconnectV2::decode(&[7; 36]).unwrap()));
}

#[test]
fn second_of_two_contexts_with_one_name_has_to_be_well_formed() {
    // 56 octets of the first, then 24 up to the data of the second.
    let leases = chain(&[(b"RqLs", &[1; 32]), (b"RqLs", &[2; 33])]);
    let words = "Lease Context: length 33, expected 32 or 52 (offset 80)";
    assert_eq!(request(&leases).0, Err(words.to_owned()));
    assert_eq!(response(&leases), Err(words.to_owned()));

    // 40 octets of the first, then 24.
    let durable = chain(&[(b"DHnQ", &[0; 16]), (b"DHnQ", &[0; 17])]);
    let words = "Durable Handle Request: length 17, expected 16 (offset 64)";
    assert_eq!(request(&durable).0, Err(words.to_owned()));
}

#[test]
fn lease_versions_are_told_apart_by_length_alone() {
    // Every bit set, PARENT_LEASE_KEY_SET too, and still of version 1.
    let chain = element(b"RqLs", &[0xff; 32], 0);
    let Ok(RequestContexts { lease: Some(Lease::V1(lease)), .. }) = request(&chain).0 else {
        panic!("32 octets are version 1");
    };
    assert_eq!((lease.key, lease.state.bits()), (LeaseKey::new([0xff; 16]), u32::MAX));

    // No bit set, and still of version 2.
    let chain = element(b"RqLs", &[0; 52], 0);
    let Ok(RequestContexts { lease: Some(Lease::V2(lease)), .. }) = request(&chain).0 else {
        panic!("52 octets are version 2");
    };
    assert_eq!((lease.key, lease.state, lease.parent), (LeaseKey::ZERO, LeaseState::NONE, None));
}

#[test]
fn padding_behind_the_last_element_is_ignored() {
    // A reconnect of 60 octets; some implementations pad it to 64 and count that.
    let mut chain = element(b"DH2C", &[9; 36], 0);
    assert_eq!(chain.len(), 60);
    let bare = request(&chain).0;
    for padding in 0..8u8 {
        assert_eq!(request(&chain).0, bare);
        assert_eq!(accepted(&chain), [(&b"DH2C"[..], &[9; 36][..])]);
        chain.push(padding);
    }
}

#[test]
fn padding_inside_the_chain_is_ignored() {
    // Behind the name, behind the data (with more distance than needed) and behind the last element: never zero.
    let chain = hex("48000000 1000 0500 ffff 2000 14000000  466f6f4f78 ffffffffffffffffffffff
         0101010101010101010101010101010101010101 ffffffffffffffffffffffffffffffffffffffff
         00000000 1000 0400 ffff 1800 01000000  4d784163 ffffffff 02 ffffffffffff");
    assert_eq!(accepted(&chain), [(&b"FooOx"[..], &[1; 20][..]), (b"MxAc", &[2])]);
}

#[test]
fn data_offset_means_nothing_without_data() {
    // MS-SMB2 2.2.13.2 <54>.
    for data_at in [0u16, 1, 16, 20, 24, 28, 0x7fff, 0xffff] {
        let mut chain = element(b"MxAc", b"", 0);
        chain[10..12].copy_from_slice(&data_at.to_le_bytes());
        assert_eq!(accepted(&chain), [(&b"MxAc"[..], &b""[..])]);
    }
}

#[test]
fn body_of_ours_without_data_is_refused_wherever_data_offset_points() {
    let mut refusals = vec![];
    for data_at in [0u16, 16, 24, 0xffff] {
        let mut chain = element(b"DH2Q", b"", 0);
        chain[10..12].copy_from_slice(&data_at.to_le_bytes());
        let error = RequestContexts::decode(&chain, |_| ()).unwrap_err();
        assert!(error.to_string().starts_with("Durable Handle Request V2: length 0, expected 32"), "{error}");
        assert!(error.offset() <= chain.len());
        refusals.push(error);
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1);
}

#[test]
fn sixty_four_elements_are_walked_and_no_more() {
    assert_eq!(MAX_CONTEXTS, 64);
    let most = chain(&[(&b"MxAc"[..], &b""[..]); 64]);
    assert_eq!(accepted(&most).len(), 64);
    assert_eq!(request(&most).1.len(), 64);

    let more = chain(&[(&b"MxAc"[..], &b""[..]); 65]);
    // Sixty-four elements of 24 octets lie before the one that is too many.
    let words = "Create Context: more than 64 elements (offset 1536)";
    refused_by_all(&more, words);
    assert_eq!(Contexts::new(&more).filter(Result::is_ok).count(), 64);
    assert_eq!(Contexts::new(&more).count(), 65);

    // What lies behind the last element is no element.
    let mut trailed = most;
    trailed.extend([0xff; 24]);
    assert_eq!(accepted(&trailed).len(), 64);
}

#[test]
fn walker_stays_at_its_end() {
    for chain in [element(b"MxAc", b"", 0), hex("ffff"), chain(&[(&b"MxAc"[..], &b""[..]); 65]), vec![]] {
        let mut contexts = Contexts::new(&chain);
        let items = contexts.by_ref().count();
        assert!(items <= 65);
        assert_eq!([contexts.next(), contexts.next(), contexts.next()], [None; 3]);
    }
}

// ---- Sizes of the contexts that are ours ----

const APP_INSTANCE_ID: &[u8] = b"\x45\xbc\xa6\x6a\xef\xa7\xf7\x4a\x90\x08\xfa\x46\x2e\x14\x4d\x74";
const APP_INSTANCE_VERSION: &[u8] = b"\xb9\x82\xd0\xb7\x3b\x56\x07\x4f\xa0\x7b\x52\x4a\x81\x16\xa0\x10";

#[test]
fn request_contexts_of_another_size_are_refused() {
    let ours: [(&[u8], &str, usize, usize); 6] = [
        (b"DHnQ", "Durable Handle Request", 16, 24),
        (b"DHnC", "Durable Handle Reconnect", 16, 24),
        (b"DH2Q", "Durable Handle Request V2", 32, 24),
        (b"DH2C", "Durable Handle Reconnect V2", 36, 24),
        (APP_INSTANCE_ID, "App Instance Id", 20, 32),
        (APP_INSTANCE_VERSION, "App Instance Version", 24, 32),
    ];
    for (name, structure, size, at) in ours {
        for len in (1..80).filter(|len| *len != size) {
            let mut data = vec![0; len];
            // A StructureSize that is right does not make the length right.
            data[0] = size as u8;
            let words = format!("{structure}: length {len}, expected {size} (offset {at})");
            assert_eq!(request(&element(name, &data, 0)).0, Err(words));
        }
    }
    for len in (1..80).filter(|len| *len != 32 && *len != 52) {
        let words = format!("Lease Context: length {len}, expected 32 or 52 (offset 24)");
        assert_eq!(request(&element(b"RqLs", &vec![0; len], 0)).0, Err(words));
    }
}

#[test]
fn response_contexts_of_another_size_are_refused() {
    let ours: [(&[u8], &str); 2] =
        [(b"DHnQ", "Durable Handle Response"), (b"DH2Q", "Durable Handle Response V2")];
    for (name, structure) in ours {
        for len in (1..40).filter(|len| *len != 8) {
            let words = format!("{structure}: length {len}, expected 8 (offset 24)");
            assert_eq!(response(&element(name, &vec![0; len], 0)), Err(words));
        }
    }
    for len in (1..80).filter(|len| *len != 32 && *len != 52) {
        let words = format!("Lease Context: length {len}, expected 32 or 52 (offset 24)");
        assert_eq!(response(&element(b"RqLs", &vec![0; len], 0)), Err(words));
    }
}

#[test]
fn structure_size_inside_a_context_has_to_be_right() {
    // Both lie at 32 in their element, behind 24 octets of another one.
    for (name, len, words) in [
        (APP_INSTANCE_ID, 20, "App Instance Id: StructureSize 21, expected 20 (offset 56)"),
        (APP_INSTANCE_VERSION, 24, "App Instance Version: StructureSize 21, expected 24 (offset 56)"),
    ] {
        let mut data = vec![0; len];
        data[0] = 21;
        assert_eq!(request(&chain(&[(b"MxAc", b""), (name, &data)])).0, Err(words.to_owned()));
    }
}

// ---- StructureSize and ProtocolId ----

#[test]
fn another_structure_size_is_refused() {
    #[track_caller]
    fn refused<T: Fixed + std::fmt::Debug>(size: u16, words: &str) {
        let mut octets = vec![0; T::LEN];
        octets[..2].copy_from_slice(&size.to_le_bytes());
        assert_eq!(T::decode(&octets).unwrap_err().to_string(), words);
    }
    refused::<AppInstanceId>(24, "App Instance Id: StructureSize 24, expected 20 (offset 0)");
    refused::<AppInstanceVersion>(20, "App Instance Version: StructureSize 20, expected 24 (offset 0)");
    refused::<OplockBreak>(0x1800, "Oplock Break: StructureSize 6144, expected 24 (offset 0)");
    refused::<LeaseBreak>(36, "Lease Break Notification: StructureSize 36, expected 44 (offset 0)");
    refused::<LeaseAck>(44, "Lease Break Acknowledgment: StructureSize 44, expected 36 (offset 0)");
}

#[test]
fn header_of_another_protocol_is_refused() {
    let mut header = hex("fe534d4240000000");
    header.resize(64, 0);
    assert!(Header::decode(&header).is_ok());
    let words = |octets: &[u8]| Header::decode(octets).unwrap_err().to_string();

    let mut size = header.clone();
    size[4] = 63;
    assert_eq!(words(&size), "SMB2 Header: StructureSize 63, expected 64 (offset 4)");
    // MS-SMB2 2.2.41, 2.2.42: encrypted, compressed; and SMB1.
    for first in [0xfd, 0xfc, 0xff] {
        header[0] = first;
        assert_eq!(words(&header), "SMB2 Header: ProtocolId is another one (offset 0)");
    }
}

#[test]
fn message_shorter_than_a_header_is_refused() {
    let message = hex("fe534d4240000000");
    let words = "SMB2 Header: length 8, expected 64 (offset 0)";
    assert_eq!(Header::split(&message).unwrap_err().to_string(), words);
}

#[test]
fn break_that_announces_another_size_is_judged_as_that_of_an_oplock() {
    // MS-SMB2 3.2.5.19: a notification says 24 or 44; 3.3.5.22: whatever does not say 36 is of an oplock.
    let mut ack = hex("24000000000000003c2d1e0f5a4b78698796a5b4c3d2e1f0030000000000000000000000");
    let words = "Oplock Break: length 36, expected 24 (offset 0)";
    assert_eq!(Notification::decode(&ack).unwrap_err().to_string(), words);
    assert_eq!(Acknowledgment::decode(Dialect::Smb202, &ack).unwrap_err().to_string(), words);
    ack.truncate(24);
    let words = "Lease Break Acknowledgment: length 24, expected 36 (offset 0)";
    assert_eq!(Acknowledgment::decode(Dialect::Smb210, &ack).unwrap_err().to_string(), words);
    let words = "Oplock Break: StructureSize 36, expected 24 (offset 0)";
    assert_eq!(Notification::decode(&ack).unwrap_err().to_string(), words);
    let words = "Oplock Break: length 1, expected 24 (offset 0)";
    assert_eq!(Notification::decode(&[44]).unwrap_err().to_string(), words);
}
