//! Octets that went over the wire, beside another decoder's reading of them, and the worked examples.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that goes wrong should stop; the judge is a library elsewhere"
)]

use std::collections::BTreeMap;

use leasehold::wire::{
    AppInstanceId, Contexts, DurableHandleReconnect, DurableHandleReconnectV2, Fixed, Header, LeaseBreak,
    LeaseV1, LeaseV2, Notification, OplockBreak,
};
use leasehold::{FileId, LeaseState, SessionId, Status};
use serde_json::Value;
use vectors::{Counts, Failure, Outcome, Report, judge};

#[path = "vectors/examples.rs"]
mod examples;
#[path = "interop/src/vectors.rs"]
mod vectors;

const VECTORS: &str = include_str!("vectors/wire-vectors.jsonl");

const MALFORMED: &str = include_str!("vectors/malformed.jsonl");

#[test]
fn every_malformed_line_is_judged_as_it_says() {
    let lines: Vec<Value> = MALFORMED.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 33);
    for line in &lines {
        let judgment = judge(line);
        let expected = if line["expect"] == "semantic" { Outcome::Unjudged } else { Outcome::AsExpected };
        assert_eq!(judgment.verdict, Ok(expected), "{}: {}", judgment.id, line["rule"]);
    }
}

/// Kind, lines, and how many of them came back as the captured octets. The others came back in the canonical form, for
/// one of the reasons below.
const KINDS: &[(&str, usize, usize)] = &[
    ("AlSi", 5, 5),
    ("AppInstanceId", 8, 5),
    ("AppInstanceVersion", 4, 4),
    ("DH2C", 12, 9),
    ("DH2Q", 37, 37),
    ("DHnC", 9, 9),
    ("DHnQ", 9, 9),
    ("ExtA", 1, 1),
    ("MxAc", 6, 6),
    ("QFid", 2, 2),
    ("RqLs.v1", 74, 74),
    ("RqLs.v2", 91, 73),
    ("SecD", 4, 4),
    ("TWrp", 1, 1),
    ("break_error_response", 10, 10),
    ("chain", 148, 127),
    ("create_request", 139, 116),
    ("create_response", 31, 31),
    ("lease_break_ack", 34, 34),
    ("lease_break_notification", 42, 42),
    ("lease_break_response", 16, 16),
    ("oplock_break_ack", 12, 12),
    ("oplock_break_notification", 8, 8),
    ("oplock_break_response", 8, 8),
];

/// Kind, reason, lines. A CREATE whose unused fields hold 0x12345678 has three.
const REASONS: &[(&str, &str, usize)] = &[
    ("AppInstanceId", "padded tail", 3),
    ("DH2C", "padded tail", 3),
    ("RqLs.v2", "ParentLeaseKey without its flag", 2),
    ("RqLs.v2", "padded tail", 16),
    ("chain", "padded tail", 21),
    ("create_request", "Reserved of a CREATE not zero", 7),
    ("create_request", "SecurityFlags not zero", 7),
    ("create_request", "SmbCreateFlags not zero", 7),
    ("create_request", "padded tail", 16),
];

#[test]
fn every_captured_line_decodes_as_elsewhere_and_comes_back() {
    let mut report = Report::default();
    report.add(VECTORS);
    println!("{report}");
    println!("{} passed, {} failed", report.passed(), report.failures.len());

    assert_eq!(report.failures, Vec::<Failure>::new());
    assert_eq!(report.passed(), 711);
    let expected: BTreeMap<String, Counts> = KINDS
        .iter()
        .map(|(kind, lines, exact)| {
            let reasons = REASONS.iter().filter(|(of, ..)| of == kind);
            let counts = Counts {
                lines: *lines,
                exact: *exact,
                by_meaning: lines - exact,
                reasons: reasons.map(|(_, reason, lines)| (*reason, *lines)).collect(),
                ..Counts::default()
            };
            ((*kind).to_owned(), counts)
        })
        .collect();
    assert_eq!(report.kinds, expected);
}

#[test]
fn file_has_as_many_lines_of_each_kind_as_were_checked() {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids: Vec<String> = Vec::new();
    for line in lines() {
        *kinds.entry(string(&line, "kind").to_owned()).or_default() += 1;
        ids.push(string(&line, "id").to_owned());
    }
    let checked: BTreeMap<String, usize> =
        KINDS.iter().map(|(kind, lines, _)| ((*kind).to_owned(), *lines)).collect();
    assert_eq!(kinds, checked);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 711);
}

#[test]
fn handle_caching_is_0x2_and_write_caching_is_0x4() {
    // R and H, asked for of a directory by a client, and granted by a server.
    let line = line("RqLs.v2-req-016");
    let octets = unhex(
        "0df0dde0fe0fdcbaf20f221f01f02345\
         03000000000000000000000000000000\
         00000000000000000000000000000000\
         11000000",
    );
    caching(&line, &octets, 3, [1, 1, 0]);
    let lease = LeaseV2::decode(&octets).unwrap();
    assert_eq!(lease.state, LeaseState::READ | LeaseState::HANDLE);
    assert!(!lease.state.contains(LeaseState::WRITE));

    // R and W.
    let line = self::line("RqLs.v1-res-005");
    let octets = unhex("07d11c1400000000f82ee3ebffffffff05000000000000000000000000000000");
    caching(&line, &octets, 5, [1, 0, 1]);
    let lease = LeaseV1::decode(&octets).unwrap();
    assert_eq!(lease.state, LeaseState::READ | LeaseState::WRITE);
    assert!(!lease.state.contains(LeaseState::HANDLE));

    // R alone.
    let line = self::line("RqLs.v2-req-057");
    let octets = unhex(
        "777e858c939aa1a8afb6bdc4cbd2d9e0\
         01000000000000000000000000000000\
         00000000000000000000000000000000\
         03000000",
    );
    caching(&line, &octets, 1, [1, 0, 0]);
    assert_eq!(LeaseV2::decode(&octets).unwrap().state, LeaseState::READ);

    // A break from RWH to RW takes H away and leaves W.
    let line = self::line("lease_break_notification-not-012");
    assert_eq!(line["decoded"]["smb2.lease.lease_state"], serde_json::json!([7, 5]));
    assert_eq!(line["decoded"]["smb2.lease.lease_state.handle_caching"], serde_json::json!([1, 0]));
    assert_eq!(line["decoded"]["smb2.lease.lease_state.write_caching"], serde_json::json!([1, 1]));
    let message = unhex(string(&line, "hex"));
    assert_eq!(message[88..96], [7, 0, 0, 0, 5, 0, 0, 0]);
    let lease = LeaseBreak::decode(&message[64..]).unwrap();
    assert_eq!(lease.current.difference(lease.new), LeaseState::HANDLE);
    assert!(lease.new.contains(LeaseState::WRITE));
}

#[test]
fn guids_are_mixed_endian() {
    // Random UUIDs say so themselves: only then is their version, in the third field, 4.
    let line = line("DH2C-req-005");
    let octets = unhex(
        "ab72da7b00000000caea296700000000\
         5945c933f7bf8548b7de2e1322659e41\
         00000000",
    );
    assert_eq!(unhex(string(&line, "hex")), octets);
    let guid = DurableHandleReconnectV2::decode(&octets).unwrap().create_guid;
    assert_eq!(guid.to_string(), "33c94559-bff7-4885-b7de-2e1322659e41");
    assert_eq!(guid.uuid().get_version_num(), 4);

    let octets = unhex("e68db6df000000009259674500000000efd44452f5345d418f192f250644463900000000");
    let line = self::line("DH2C-req-006");
    let mut captured = unhex(string(&line, "hex"));
    captured.truncate(32);
    assert_eq!(captured, octets[..32]);
    let guid = DurableHandleReconnectV2::decode(&octets).unwrap().create_guid;
    assert_eq!(guid.to_string(), "5244d4ef-34f5-415d-8f19-2f2506444639");
    assert_eq!(guid.uuid().get_version_num(), 4);

    let line = self::line("AppInstanceId-req-004");
    let octets = unhex("14000000888f969da4abb2b9c0c7ced5dce3eaf1");
    assert_eq!(unhex(string(&line, "hex")), octets);
    let app = AppInstanceId::decode(&octets).unwrap();
    assert_eq!(app.id.to_string(), "9d968f88-aba4-b9b2-c0c7-ced5dce3eaf1");
}

#[test]
fn persistent_half_of_a_file_id_comes_first() {
    // Two reconnects of one handle: the persistent half stays, the volatile half is that of the open before.
    let first = unhex("9e22960c00000000decd327700000000");
    let second = unhex("9e22960c00000000678a4d4c00000000");
    assert_eq!(unhex(string(&line("DHnC-req-003"), "hex")), first);
    assert_eq!(unhex(string(&line("DHnC-req-004"), "hex")), second);
    let first = DurableHandleReconnect::decode(&first).unwrap().file_id;
    let second = DurableHandleReconnect::decode(&second).unwrap().file_id;
    assert_eq!(first, FileId { persistent: 0x0c96_229e, volatile: 0x7732_cdde });
    assert_eq!(second, FileId { persistent: 0x0c96_229e, volatile: 0x4c4d_8a67 });

    // In a break it lies at 8.
    let body = unhex("18000100000000000103833100000000063dbc5600000000");
    assert_eq!(unhex(string(&line("oplock_break_notification-not-001"), "hex"))[64..], body);
    let file_id = OplockBreak::decode(&body).unwrap().file_id;
    assert_eq!(file_id, FileId { persistent: 0x3183_0301, volatile: 0x56bc_3d06 });
}

#[test]
fn header_of_a_notification_is_the_captured_one() {
    // MS-SMB2 3.3.4.6, 3.3.4.7: the session of the open for an oplock, none for a lease.
    let mut seen = [0, 0];
    for line in lines().into_iter().filter(|line| string(line, "direction") == "notification") {
        let message = unhex(string(&line, "hex"));
        let (header, body) = Header::split(&message).unwrap();
        match Notification::decode(body).unwrap() {
            Notification::Oplock(_) => seen[0] += 1,
            Notification::Lease(_) => {
                seen[1] += 1;
                assert_eq!(header.session, SessionId::new(0));
            }
        }
        let mut written = Vec::new();
        Header::notification(header.session, Status::SUCCESS).encode(&mut written);
        assert_eq!(written, message[..64], "{}", string(&line, "id"));
    }
    assert_eq!(seen, [8, 42]);
}

#[test]
fn judge_notices_every_other_value() {
    for line in one_of_each() {
        assert!(judge(&line).verdict.is_ok());
        for pointer in leaves(&line["decoded"], "/decoded".to_owned()) {
            let mut other = line.clone();
            let value = other.pointer_mut(&pointer).unwrap();
            *value = match &*value {
                Value::Number(number) => Value::from(number.as_u64().unwrap() ^ 1),
                Value::String(text) if text.starts_with('0') => Value::from(format!("1{}", &text[1..])),
                Value::String(text) if text.is_empty() => Value::from("00"),
                Value::String(text) => Value::from(format!("0{}", &text[1..])),
                value => panic!("{pointer}: {value}"),
            };
            noticed(&other, &pointer);
        }
    }
}

#[test]
fn judge_notices_every_missing_and_every_foreign_field() {
    for line in one_of_each() {
        let mut objects = vec!["/decoded".to_owned()];
        let elements = line["decoded"]["elements"].as_array().map_or(0, Vec::len);
        objects.extend((0..elements).map(|element| format!("/decoded/elements/{element}")));
        for object in objects {
            let mut other = line.clone();
            let fields = other.pointer_mut(&object).unwrap().as_object_mut().unwrap();
            fields.insert("smb2.unheard_of".to_owned(), Value::from(0));
            noticed(&other, &object);
            let keys: Vec<String> =
                line.pointer(&object).unwrap().as_object().unwrap().keys().cloned().collect();
            for key in keys {
                let mut other = line.clone();
                other.pointer_mut(&object).unwrap().as_object_mut().unwrap().remove(&key);
                noticed(&other, &format!("{object}/{key}"));
            }
        }
    }
}

#[test]
fn judge_notices_every_other_octet() {
    // These may hold anything, and if they do that has a name.
    let ignored = [
        "SecurityFlags not zero",
        "Reserved of a context not zero",
        "padding not zero",
        "octets behind the last context",
        "empty context with another DataOffset",
    ];
    for line in one_of_each() {
        let message = unhex(string(&line, "hex"));
        // The name of a CREATE and the insides of SecD and ExtA are in no other decode.
        let unread: Vec<(usize, usize)> = match (string(&line, "kind"), &line["tags"]) {
            ("create_request", _) => {
                let [offset, len] =
                    [108, 110].map(|at| u16::from_le_bytes([message[at], message[at + 1]]).into());
                let contexts = u32::from_le_bytes(message[112..116].try_into().unwrap()) as usize;
                let mut unread = if contexts == 0 { Vec::new() } else { opaque(&message, contexts) };
                unread.push((offset, offset + len));
                unread
            }
            ("chain", Value::Array(_)) => opaque(&message, 0),
            _ => Vec::new(),
        };
        for at in (0..message.len()).filter(|at| !unread.iter().any(|(from, to)| (*from..*to).contains(at))) {
            let mut other = message.clone();
            other[at] ^= 1 << (at % 8);
            let mut changed = line.clone();
            changed["hex"] = Value::from(hex(&other));
            let verdict = judge(&changed).verdict;
            let named = match &verdict {
                Ok(Outcome::ByMeaning(reasons)) => ignored.iter().any(|reason| reasons.contains(reason)),
                _ => false,
            };
            assert!(verdict.is_err() || named, "{} at {at}: {verdict:?}", string(&line, "id"));
        }
    }
}

#[test]
fn judge_skips_no_kind_and_no_schema() {
    let mut unknown = line("DHnQ-req-001");
    unknown["kind"] = Value::from("DHnX");
    assert_eq!(judge(&unknown).verdict, Err("unknown kind DHnX of a Request".to_owned()));
    let neither = serde_json::json!({"id": "x", "hex": "", "expect": "accept"});
    assert_eq!(judge(&neither).verdict, Err("neither a kind nor a target".to_owned()));
    let expect = serde_json::json!({"id": "x", "target": "chain", "hex": "", "expect": "perhaps"});
    assert_eq!(judge(&expect).verdict, Err("expect perhaps".to_owned()));

    let mut report = Report::default();
    report.add("\n  \n{\"id\": 1\n");
    assert_eq!((report.passed(), report.failures.len()), (0, 1));
    assert_eq!((report.failures[0].line, report.failures[0].id.as_str()), (3, "line 3"));
    assert!(report.failures[0].reason.starts_with("no JSON: "));
}

#[test]
fn malformed_octets_are_judged_by_what_is_expected_of_them() {
    const LONE: &str = "000000001000040000001800000000004d78416300000000";
    // MS-SMB2 2.2.13.2: Next 28; DHnQ with 8 octets of data; trailing octets, which are ignored.
    const NEXT: &str = "1c0000001000040000001800000000004d784163000000000000000000000000\
                        1000040000001800000000005146696400000000";
    const SHORT: &str = "0000000010000400000018000800000044486e51000000000000000000000000";
    const TRAILING: &str = "000000001000040000001800000000004d78416300000000ffffffffffff";
    const OPLOCK: &str = "18000100000000001100000005000000a900000004000000";
    let cases = [
        ("chain", LONE, ["ok", "no", "no"]),
        ("chain", "", ["ok", "no", "no"]),
        ("chain", TRAILING, ["ok", "no", "no"]),
        ("chain", NEXT, ["no", "ok", "no"]),
        ("chain", SHORT, ["no", "ok", "ok"]),
        ("break", OPLOCK, ["ok", "no", "no"]),
        ("break", &OPLOCK[2..], ["no", "ok", "ok"]),
        ("break", "", ["no", "ok", "ok"]),
    ];
    let case = |target: &str, hex: &str, expect: &str| {
        judge(&serde_json::json!({"id": "x", "target": target, "rule": "", "hex": hex, "expect": expect}))
    };
    for (target, hex, verdicts) in cases {
        for (expect, verdict) in ["accept", "reject", "codec-reject"].into_iter().zip(verdicts) {
            let judgment = case(target, hex, expect);
            assert_eq!(judgment.kind, format!("malformed {target}"));
            match verdict {
                "ok" => assert_eq!(judgment.verdict, Ok(Outcome::AsExpected), "{target} {expect} {hex}"),
                _ => assert!(judgment.verdict.is_err(), "{target} {expect} {hex}"),
            }
        }
        for expect in ["either", "semantic"] {
            assert_eq!(case(target, hex, expect).verdict, Ok(Outcome::Unjudged));
        }
        assert_eq!(case("create", hex, "reject").verdict, Ok(Outcome::Unjudged));
    }
}

/// A changed line fails, unless what was changed is nothing that leasehold reads.
fn noticed(line: &Value, pointer: &str) {
    let key = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap();
    // The number of a frame, headings without a value, and the insides of SecD and ExtA.
    let headings =
        ["smb2.create.extrainfo", "smb2.create.chain_data", "smb2.sec_info_00", "smb2.file_full_ea_info"];
    let missing = line.pointer(pointer).is_none();
    let unread = key == "dcerpc.nt.open_frame"
        || key == "smb2.next_offset"
        || key.starts_with("nt.")
        || key.starts_with("smb2.ea.")
        || (missing && headings.contains(&key));
    let verdict = judge(line).verdict;
    assert_eq!(verdict.is_ok(), unread, "{} {pointer}: {verdict:?}", string(line, "id"));
}

/// The first line of every kind, direction and set of fields.
fn one_of_each() -> Vec<Value> {
    let mut firsts: BTreeMap<String, Value> = BTreeMap::new();
    for line in lines() {
        let keys: Vec<&String> = line["decoded"].as_object().unwrap().keys().collect();
        let id = format!("{} {} {} {keys:?}", line["kind"], line["direction"], line["tags"]);
        firsts.entry(id).or_insert(line);
    }
    firsts.into_values().collect()
}

fn leaves(value: &Value, pointer: String) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| leaves(value, format!("{pointer}/{key}"))).collect()
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .flat_map(|(index, value)| leaves(value, format!("{pointer}/{index}")))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![pointer],
    }
}

/// Where the data of SecD and ExtA lies in a chain that begins at `chain`.
fn opaque(octets: &[u8], chain: usize) -> Vec<(usize, usize)> {
    let contexts = Contexts::new(&octets[chain..]).map(Result::unwrap);
    let unread = contexts.filter(|context| [b"SecD".as_slice(), b"ExtA"].contains(&context.name));
    unread.map(|context| (chain + context.offset, chain + context.offset + context.data.len())).collect()
}

/// The line holds these octets, and elsewhere they were read as this state.
fn caching(line: &Value, octets: &[u8], state: u64, [read, handle, write]: [u64; 3]) {
    assert_eq!(unhex(string(line, "hex")), octets);
    let decoded = &line["decoded"];
    assert_eq!(decoded["smb2.lease.lease_state"], state);
    assert_eq!(decoded["smb2.lease.lease_state.read_caching"], read);
    assert_eq!(decoded["smb2.lease.lease_state.handle_caching"], handle);
    assert_eq!(decoded["smb2.lease.lease_state.write_caching"], write);
    assert_eq!(octets[16..20], (state as u32).to_le_bytes());
}

fn lines() -> Vec<Value> {
    VECTORS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn line(id: &str) -> Value {
    lines().into_iter().find(|line| line["id"] == id).unwrap_or_else(|| panic!("no line {id}"))
}

fn string<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap()
}

/// Octets written as hexadecimal.
fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
