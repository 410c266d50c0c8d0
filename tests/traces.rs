//! Recordings of another server, replayed; and recordings made up to be wrong, which must not pass.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that goes wrong should stop; the replay is a library elsewhere"
)]

use std::collections::BTreeSet;
use std::path::Path;

use replay::{Report, replay};
use serde_json::Value;

#[path = "interop/src/fs/mod.rs"]
mod fs;
#[path = "interop/src/host/mod.rs"]
mod host;
#[path = "interop/src/replay/mod.rs"]
mod replay;

/// How many recordings there are, so that none is lost unnoticed.
const TRACES: usize = 272;

/// Every recording: its name and its lines.
fn traces() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut traces = Vec::new();
    for suite in
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for test in std::fs::read_dir(&suite).unwrap().map(|entry| entry.unwrap().path()) {
            let part = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
            let suite = suite.file_name().unwrap().to_str().unwrap();
            traces.push((format!("{suite}/{}", part(&test)), std::fs::read_to_string(&test).unwrap()));
        }
    }
    traces.sort();
    traces
}

#[test]
fn every_recording_is_replayed_as_it_was() {
    let reports: Vec<Report> = traces().iter().map(|(name, lines)| replay(name, lines)).collect();
    for report in &reports {
        println!("{report}");
    }
    let failed: Vec<_> = reports.iter().filter(|report| !report.passed()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(reports.len(), TRACES);
}

/// Each field that is compared is changed once in each recording, and each notification left out and sent twice.
#[test]
fn every_field_that_is_compared_can_fail() {
    let mut seen = BTreeSet::new();
    for (name, text) in traces() {
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut done = BTreeSet::new();
        let mut known = BTreeSet::new();
        for (index, line) in lines.iter().enumerate() {
            let given = given(line, &known);
            for (what, changed) in changes(line).into_iter().chain(given) {
                if done.insert(what.clone()) {
                    must_fail(&name, &lines, index, &changed, &what);
                }
            }
            if line["ev"] == "rsp" && line["cmd"] == "CREATE" {
                known.extend(
                    ["h", "open"].iter().filter_map(|field| line[*field].as_str()).map(str::to_owned),
                );
            }
        }
        seen.extend(done);
    }
    let expected: BTreeSet<String> = COMPARED.iter().map(|what| (*what).to_owned()).collect();
    assert_eq!(seen, expected);
}

/// What there is to change in the recordings.
const COMPARED: &[&str] = &[
    "CHANGE_NOTIFY status",
    "CLOSE status",
    "CREATE DH2C too many",
    "CREATE DH2Q flags",
    "CREATE DH2Q gone",
    "CREATE DH2Q timeout",
    "CREATE DH2Q too many",
    "CREATE DHnC too many",
    "CREATE DHnQ gone",
    "CREATE DHnQ too many",
    "CREATE RqLs epoch",
    "CREATE RqLs flags",
    "CREATE RqLs gone",
    "CREATE RqLs key",
    "CREATE RqLs parent",
    "CREATE RqLs state",
    "CREATE RqLs v",
    "CREATE action",
    "CREATE attrs",
    "CREATE end_of_file",
    "CREATE h given anew",
    "CREATE h given before",
    "CREATE open given anew",
    "CREATE open given before",
    "CREATE oplock",
    "CREATE status",
    "ECHO status",
    "FLUSH status",
    "IOCTL status",
    "LOCK status",
    "LOGOFF status",
    "OPLOCK_BREAK h",
    "OPLOCK_BREAK key",
    "OPLOCK_BREAK oplock",
    "OPLOCK_BREAK state",
    "OPLOCK_BREAK status",
    "QUERY_DIRECTORY status",
    "QUERY_INFO status",
    "READ length",
    "READ status",
    "SET_INFO status",
    "TREE_DISCONNECT status",
    "WRITE count",
    "WRITE status",
    "break ack_required",
    "break client",
    "break current",
    "break epoch",
    "break flags",
    "break gone",
    "break h",
    "break key",
    "break new",
    "break oplock",
    "break twice",
];

/// A line with one thing changed, in every way that there is; no lines, or two, for one that is left out or doubled.
fn changes(line: &Value) -> Vec<(String, Vec<Value>)> {
    let mut changes = Vec::new();
    let (kind, fields): (&str, &[&str]) = match (line["ev"].as_str(), line["cmd"].as_str()) {
        (Some("break"), _) => {
            changes.push(("break gone".to_owned(), vec![]));
            let mut second = line.clone();
            second["seq"] = Value::from(0);
            changes.push(("break twice".to_owned(), vec![line.clone(), second]));
            ("break", &["key", "current", "new", "epoch", "flags", "ack_required", "client", "oplock", "h"])
        }
        (Some("rsp"), Some("NEGOTIATE" | "SESSION_SETUP" | "TREE_CONNECT")) => return changes,
        (Some("rsp"), Some("IOCTL")) if line["ctl"] == 0x8384_8003_u32 => return changes,
        (Some("rsp"), Some(command)) => (
            command,
            &["status", "oplock", "action", "end_of_file", "attrs", "key", "state", "length", "count", "h"],
        ),
        _ => return changes,
    };
    // Other fields of this name are not compared.
    let compared = |field: &&&str| match **field {
        "length" => kind == "READ",
        "h" => matches!(kind, "break" | "OPLOCK_BREAK"),
        _ => true,
    };
    for field in fields.iter().filter(compared).filter(|field| line.get(**field).is_some()) {
        let mut changed = line.clone();
        changed[*field] = other(&line[*field]);
        changes.push((format!("{kind} {field}"), vec![changed]));
    }
    let contexts: Vec<Value> = line["contexts"].as_array().cloned().unwrap_or_default();
    for (index, context) in contexts.iter().enumerate() {
        let tag = context["tag"].as_str().unwrap();
        let fields: &[&str] = match tag {
            "RqLs" => &["v", "key", "state", "flags", "epoch", "parent"],
            "DH2Q" => &["timeout", "flags"],
            "DHnQ" => &[],
            _ => continue,
        };
        for field in fields.iter().filter(|field| context.get(**field).is_some()) {
            let mut changed = line.clone();
            changed["contexts"][index][*field] = other(&context[*field]);
            changes.push((format!("{kind} {tag} {field}"), vec![changed]));
        }
        let mut changed = line.clone();
        changed["contexts"].as_array_mut().unwrap().remove(index);
        changes.push((format!("{kind} {tag} gone"), vec![changed]));
    }
    if line.get("contexts").is_some() && line["status"] == 0 {
        for tag in ["DHnQ", "DHnC", "DH2Q", "DH2C"] {
            if contexts.iter().all(|context| context["tag"] != tag) {
                let mut changed = line.clone();
                changed["contexts"].as_array_mut().unwrap().push(serde_json::json!({ "tag": tag }));
                changes.push((format!("{kind} {tag} too many"), vec![changed]));
            }
        }
    }
    changes
}

/// The answer to a CREATE with another handle or open than the one that was given: a new one instead of one that is known, or
/// the other way round.
fn given(line: &Value, known: &BTreeSet<String>) -> Vec<(String, Vec<Value>)> {
    if line["ev"] != "rsp" || line["cmd"] != "CREATE" {
        return Vec::new();
    }
    let change = |(field, letter): (&str, char)| {
        let label = line.get(field).and_then(Value::as_str)?;
        let (what, other) = match known.contains(label) {
            true => ("given before", "g9"),
            false => ("given anew", known.iter().find(|label| label.starts_with(letter))?.as_str()),
        };
        let mut changed = line.clone();
        changed[field] = Value::from(other);
        Some((format!("CREATE {field} {what}"), vec![changed]))
    };
    [("h", 'h'), ("open", 'o')].into_iter().filter_map(change).collect()
}

/// Another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(value) => Value::from(!value),
        Value::Number(number) => Value::from(number.as_u64().unwrap() ^ 1),
        Value::String(text) if text.len() == 32 => Value::from(text.replace(['0', '1', 'a'], "7")),
        Value::String(_) => Value::from("g9"),
        _ => panic!("{value}"),
    }
}

/// A recording in which one line was replaced fails there, or where the request was that it has to do with.
fn must_fail(name: &str, lines: &[Value], index: usize, instead: &[Value], what: &str) {
    let seq = lines[index]["seq"].as_u64().unwrap();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let place = if at == index { instead } else { std::slice::from_ref(line) };
        for (offset, line) in (0u64..).zip(place) {
            // Room for a second line of the same seq.
            let mut line = line.clone();
            for field in ["seq", "req", "cancels"] {
                if let Some(number) = line.get(field).and_then(Value::as_u64) {
                    let number = if number == 0 { seq } else { number };
                    line[field] = Value::from(10 * number + if field == "seq" { offset } else { 0 });
                }
            }
            text.push_str(&line.to_string());
            text.push('\n');
        }
    }
    let report = replay(name, &text);
    let difference = report.difference.unwrap_or_else(|| panic!("{name}: seq {seq}: {what}: passes"));
    let asked = lines[index]["req"].as_u64().unwrap_or(0);
    let near = 10 * asked..=10 * seq + 1;
    assert!(near.contains(&difference.seq), "{name}: seq {seq}: {what}: {difference:?}");
}

/// A recording of two clients: one holds a lease, the other's open waits for it to come down.
const SOUND: &str = r#"
{"ev":"meta","client_guids":{"g1":"00112233445566778899aabbccddeeff","g2":"ff112233445566778899aabbccddeeff"},"extra":[1]}
{"seq":10,"t_ms":0,"ev":"connect","conn":"c1"}
{"seq":20,"t_ms":1,"ev":"req","conn":"c1","client":"g1","cmd":"NEGOTIATE","dialects":["0202","0311"]}
{"seq":30,"t_ms":2,"ev":"rsp","conn":"c1","cmd":"NEGOTIATE","req":20,"status":0,"dialect":"0311","capabilities":47}
{"seq":40,"t_ms":3,"ev":"req","conn":"c1","client":"g1","cmd":"SESSION_SETUP","ntlm":"authenticate"}
{"seq":50,"t_ms":4,"ev":"rsp","conn":"c1","cmd":"SESSION_SETUP","req":40,"status":0,"session":"s1"}
{"seq":60,"t_ms":5,"ev":"req","conn":"c1","client":"g1","session":"s1","cmd":"TREE_CONNECT","path":"\\\\server\\share"}
{"seq":70,"t_ms":6,"ev":"rsp","conn":"c1","cmd":"TREE_CONNECT","req":60,"status":0,"tree":"t1"}
{"seq":80,"t_ms":7,"ev":"connect","conn":"c2"}
{"seq":90,"t_ms":8,"ev":"req","conn":"c2","client":"g2","cmd":"NEGOTIATE","dialects":["0311"]}
{"seq":100,"t_ms":9,"ev":"rsp","conn":"c2","cmd":"NEGOTIATE","req":90,"status":0}
{"seq":110,"t_ms":10,"ev":"req","conn":"c2","client":"g2","cmd":"SESSION_SETUP","ntlm":"authenticate"}
{"seq":120,"t_ms":11,"ev":"rsp","conn":"c2","cmd":"SESSION_SETUP","req":110,"status":0,"session":"s2"}
{"seq":130,"t_ms":12,"ev":"req","conn":"c2","client":"g2","session":"s2","cmd":"TREE_CONNECT","path":"\\\\SERVER\\Share"}
{"seq":140,"t_ms":13,"ev":"rsp","conn":"c2","cmd":"TREE_CONNECT","req":130,"status":0,"tree":"t2"}
{"seq":150,"t_ms":100,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"CREATE","name":"A.dat","oplock":255,"access":2032127,"attrs":0,"share":7,"disposition":3,"options":64,"contexts":[{"tag":"RqLs","len":52,"v":2,"key":"000102030405060708090a0b0c0d0e0f","state":7,"flags":0,"epoch":7}]}
{"seq":160,"t_ms":101,"ev":"rsp","conn":"c1","cmd":"CREATE","req":150,"status":0,"h":"h1","oplock":255,"action":2,"end_of_file":0,"attrs":32,"contexts":[{"tag":"RqLs","len":52,"v":2,"key":"000102030405060708090a0b0c0d0e0f","state":7,"flags":0,"parent":"00000000000000000000000000000000","epoch":8}]}
{"seq":170,"t_ms":200,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"WRITE","h":"h1","offset":0,"length":4,"data":"01020304"}
{"seq":180,"t_ms":201,"ev":"rsp","conn":"c1","cmd":"WRITE","req":170,"status":0,"count":4}
{"seq":190,"t_ms":300,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"CREATE","name":"a.DAT","oplock":0,"access":2032127,"attrs":0,"share":7,"disposition":1,"options":64}
{"seq":200,"t_ms":301,"ev":"break","conn":"c1","client":"g1","kind":"lease","key":"000102030405060708090a0b0c0d0e0f","current":7,"new":3,"epoch":9,"flags":1,"ack_required":true}
{"seq":210,"t_ms":302,"ev":"interim","conn":"c2","cmd":"CREATE","req":190,"status":259}
{"seq":220,"t_ms":400,"ev":"req","conn":"c2","client":"g2","cmd":"ECHO"}
{"seq":230,"t_ms":401,"ev":"rsp","conn":"c2","cmd":"ECHO","req":220,"status":0}
{"seq":240,"t_ms":500,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"OPLOCK_BREAK","kind":"lease","key":"000102030405060708090a0b0c0d0e0f","state":3,"flags":0}
{"seq":250,"t_ms":501,"ev":"rsp","conn":"c1","cmd":"OPLOCK_BREAK","req":240,"status":0,"kind":"lease","key":"000102030405060708090a0b0c0d0e0f","state":3,"flags":0}
{"seq":260,"t_ms":502,"ev":"rsp","conn":"c2","cmd":"CREATE","req":190,"status":0,"h":"h2","oplock":0,"action":1,"end_of_file":4,"attrs":32,"contexts":[],"contexts_absent":["RqLs","DHnQ"]}
{"seq":270,"t_ms":600,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"READ","h":"h2","offset":1,"length":10,"min_count":0}
{"seq":280,"t_ms":601,"ev":"rsp","conn":"c2","cmd":"READ","req":270,"status":0,"length":3,"data":"020304"}
{"seq":290,"t_ms":700,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"WRITE","h":"h2","offset":0,"length":100}
{"seq":300,"t_ms":701,"ev":"break","conn":"c1","client":"g1","kind":"lease","key":"000102030405060708090a0b0c0d0e0f","current":3,"new":0,"epoch":10,"flags":1,"ack_required":true}
{"seq":310,"t_ms":702,"ev":"rsp","conn":"c2","cmd":"WRITE","req":290,"status":0,"count":100}
{"seq":320,"t_ms":800,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"CLOSE","h":"h2","flags":0}
{"seq":330,"t_ms":801,"ev":"rsp","conn":"c2","cmd":"CLOSE","req":320,"status":0}
{"seq":340,"t_ms":900,"ev":"disconnect","conn":"c1"}
{"seq":350,"t_ms":901,"ev":"disconnect","conn":"c2"}
"#;

/// The sound recording with some text replaced, which has to be there.
fn changed(replacements: &[(&str, &str)]) -> String {
    let mut text = SOUND.trim_start().to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

/// The line of the sound recording with that seq.
fn line(seq: u64) -> &'static str {
    let start = format!("{{\"seq\":{seq},");
    SOUND.lines().find(|line| line.starts_with(&start)).unwrap()
}

/// The sound recording with a line moved behind another one, at a new place and time.
fn moved(seq: u64, behind: u64, place: u64, millis: u64) -> String {
    let old = line(seq);
    let time = old.find(",\"ev\"").unwrap();
    let new = format!("{{\"seq\":{place},\"t_ms\":{millis}{}", &old[time..]);
    let after = line(behind);
    changed(&[(&format!("{old}\n"), ""), (after, &format!("{after}\n{new}"))])
}

/// The sound recording with a line put behind another one.
fn with(behind: u64, new: &str) -> String {
    let after = line(behind);
    changed(&[(after, &format!("{after}\n{new}"))])
}

/// Fails first at `seq`, for this reason.
fn fails(text: &str, seq: u64, what: &str) {
    let report = replay("made/up", text);
    let difference = report.difference.clone().unwrap_or_else(|| panic!("passes, expected {what}"));
    assert!(difference.what.contains(what), "{report}\nexpected {what}");
    assert_eq!(difference.seq, seq, "{report}");
    assert!(report.to_string().starts_with("FAIL made/up"), "{report}");
}

fn passes(text: &str) {
    let report = replay("made/up", text);
    assert_eq!(report.to_string(), "PASS made/up");
}

#[test]
fn the_sound_recording_passes() {
    passes(&changed(&[]));
}

#[test]
fn a_wrong_field_of_a_create_fails() {
    let lease = |from: &str, to: &str, what: &str| {
        let old = line(160);
        fails(&changed(&[(old, &old.replace(from, to))]), 160, what);
    };
    lease("\"state\":7", "\"state\":3", "lease state: expected RH, came RWH");
    lease("\"epoch\":8", "\"epoch\":9", "lease epoch: expected 9, came 8");
    lease("\"state\":7,\"flags\":0", "\"state\":7,\"flags\":2", "lease flags: expected 2, came 0");
    lease("\"v\":2", "\"v\":1", "lease version: expected 1, came 2");
    lease("\"len\":52,\"v\":2", "\"len\":32", "lease version: expected 1, came 2");
}

#[test]
fn a_missing_lease_and_one_too_many_fail() {
    let old = line(160);
    let start = old.find("\"contexts\"").unwrap();
    let none = format!("{}\"contexts\":[]}}", &old[..start]);
    fails(&changed(&[(old, &none)]), 160, "RqLs: expected none, one with state RWH came");
    let absent = format!("{}\"contexts_absent\":[\"RqLs\"]}}", &old[..start]);
    fails(&changed(&[(old, &absent)]), 160, "contexts_absent: RqLs came");
    let one = &old[start..];
    let old = line(260);
    let some = old.replace("\"contexts\":[],\"contexts_absent\":[\"RqLs\",\"DHnQ\"]}", one);
    fails(&changed(&[(old, &some)]), 260, "RqLs: expected one, none came");
}

#[test]
fn a_wrong_body_fails() {
    let wrong = |seq: u64, from: &str, to: &str, what: &str| {
        let old = line(seq);
        assert!(old.contains(from), "{old}");
        fails(&changed(&[(old, &old.replace(from, to))]), seq, what);
    };
    wrong(160, "\"oplock\":255", "\"oplock\":0", "oplock level: expected 0, came 255");
    wrong(160, "\"action\":2", "\"action\":1", "action: expected 1, came 2");
    wrong(160, "\"attrs\":32", "\"attrs\":33", "attributes: expected 33, came 32");
    wrong(180, "\"count\":4", "\"count\":5", "count: expected 5, came 4");
    wrong(250, "\"state\":3", "\"state\":1", "state: expected R, came RH");
    wrong(250, "0c0d0e0f", "0c0d0e00", "key: expected 000102030405060708090a0b0c0d0e00");
    wrong(260, "\"end_of_file\":4", "\"end_of_file\":0", "end of file: expected 0, came 4");
    wrong(280, "\"length\":3", "\"length\":4", "length: expected 4, came 3");
    wrong(280, "020304", "020305", "data: octet 2 is another");
}

#[test]
fn a_wrong_status_fails() {
    let old = line(330);
    let wrong = old.replace("\"status\":0", "\"status\":3221225768");
    fails(&changed(&[(old, &wrong)]), 330, "status: expected FILE_CLOSED, came SUCCESS");
    let silent = changed(&[(line(250), "")]);
    assert!(replay("made/up", &silent).passed(), "no answer recorded, none judged");
    let never =
        with(220, r#"{"seq":225,"t_ms":400,"ev":"rsp","conn":"c2","cmd":"CREATE","req":190,"status":0}"#);
    let never = never.replacen(&format!("{}\n", line(260)), "", 1);
    fails(&never, 225, "came too late: not before seq 240");
}

#[test]
fn a_status_that_is_not_asserted_is_not_compared() {
    let old = line(330);
    let wrong = old.replace("\"status\":0", "\"status\":3221225768");
    passes(&changed(&[(old, &wrong), ("\"extra\":[1]", "\"status_not_asserted\":[330]")]));
    fails(&changed(&[(old, &wrong), ("\"extra\":[1]", "\"status_not_asserted\":[310]")]), 330, "status");
}

#[test]
fn what_a_line_lacks_is_not_compared() {
    for (seq, keep) in [(160, "h1"), (180, ""), (250, ""), (260, "h2"), (280, ""), (310, "")] {
        let old = line(seq);
        let status = old.find("\"status\":0").unwrap();
        let handle = if keep.is_empty() { String::new() } else { format!(",\"h\":\"{keep}\"") };
        passes(&changed(&[(old, &format!("{}\"status\":0{handle}}}", &old[..status]))]));
    }
    passes(&changed(&[(line(200), r#"{"seq":200,"t_ms":301,"ev":"break","kind":"lease"}"#)]));
    let old = line(160);
    passes(&changed(&[(old, &old.replace("\"len\":52,\"v\":2,", "").replace(",\"epoch\":8", ""))]));
}

#[test]
fn a_request_without_an_answer_is_fed_and_not_judged() {
    let report = replay("made/up", &changed(&[(line(180), "")]));
    assert_eq!(report.to_string(), "PASS made/up (1 request without an answer, not judged)");
    let report = replay("made/up", &changed(&[(line(180), ""), (line(330), "")]));
    assert_eq!(report.to_string(), "PASS made/up (2 requests without an answer, not judged)");
    // It was fed: its break is still expected.
    let text = changed(&[(line(310), ""), (line(300), "")]);
    fails(&text, 290, "expected no break, came one of lease 000102030405060708090a0b0c0d0e0f RH to -");
}

#[test]
fn breaks_are_a_set_and_each_must_be_right() {
    fails(&changed(&[(line(200), "")]), 190, "expected no break, came one of lease 00010203");
    let more = line(300).replace("\"seq\":300", "\"seq\":305");
    fails(
        &with(300, &more),
        305,
        "break of lease 000102030405060708090a0b0c0d0e0f RH to -: expected, none came",
    );
    let wrong = |from: &str, to: &str, what: &str| {
        let old = line(200);
        fails(&changed(&[(old, &old.replace(from, to))]), 200, what);
    };
    wrong("\"new\":3", "\"new\":1", "new state: expected R, came RH");
    wrong("\"current\":7", "\"current\":3", "current state: expected RH, came RWH");
    wrong("\"epoch\":9", "\"epoch\":8", "epoch: expected 8, came 9");
    wrong("\"flags\":1", "\"flags\":0", "flags: expected 0, came 1");
    wrong("true", "false", "ack_required: expected false, came true");
    wrong("\"client\":\"g1\"", "\"client\":\"g2\"", "client: expected");
    wrong("0c0d0e0f", "0c0d0e00", "key: expected 000102030405060708090a0b0c0d0e00, came 0001");
    let oplock = r#"{"seq":305,"t_ms":701,"ev":"break","conn":"c1","client":"g1","kind":"oplock","oplock":1,"h":"h1"}"#;
    fails(&with(300, oplock), 305, "break of the oplock of h1 to 1: expected, none came");
}

#[test]
fn breaks_have_their_time() {
    fails(&moved(300, 280, 285, 650), 285, "came too late: not before seq 290");
    fails(&moved(300, 330, 335, 850), 290, "came too early: after seq 290, expected after seq 320");
    // Overtaken by an acknowledgment that was on its way: no promise.
    passes(&moved(300, 310, 315, 703));
}

#[test]
fn an_answer_before_what_released_it_is_too_early() {
    // Recorded behind the answer to a later request of the connection: the write waited for something.
    fails(&moved(310, 330, 335, 802), 335, "came too early: after seq 290, expected not before seq 320");
    // Behind the interim answer: the create waited, whatever the order.
    let interim =
        r#"{"seq":155,"t_ms":101,"ev":"interim","conn":"c1","cmd":"CREATE","req":150,"status":259}"#;
    fails(&with(150, interim), 160, "came at once, expected to wait for something");
    // Behind the answer to a later request of another connection.
    fails(&moved(180, 230, 235, 402), 235, "expected not before seq 220");
    // Long after anything that could have held it up.
    let late = changed(&[("\"seq\":330,\"t_ms\":801", "\"seq\":330,\"t_ms\":1802")]);
    let late = late.replacen("\"t_ms\":900", "\"t_ms\":1900", 1).replacen("\"t_ms\":901", "\"t_ms\":1901", 1);
    fails(&late, 330, "came too early: at 800.000 ms, expected at 1802.000 ms");
}

#[test]
fn an_answer_after_what_the_client_did_next_is_too_late() {
    fails(&moved(260, 230, 235, 450), 235, "came too late: not before seq 240");
}

#[test]
fn deadlines_pass_at_their_own_time() {
    // No acknowledgment: the open is answered 35 s after the break.
    let text =
        changed(&[(&format!("{}\n", line(240)), ""), (&format!("{}\n", line(250)), ""), (line(300), "")]);
    let at = |millis: u64| {
        let mut text =
            text.replacen("\"seq\":260,\"t_ms\":502", &format!("\"seq\":260,\"t_ms\":{millis}"), 1);
        for (seq, step) in (270..=350).step_by(10).zip(0..) {
            let old = line(seq);
            let time = &old[..old.find(",\"ev\"").unwrap()];
            text = text.replacen(time, &format!("{{\"seq\":{seq},\"t_ms\":{}", 40_000 + step), 1);
        }
        text
    };
    passes(&at(35_310));
    fails(&at(34_000), 260, "came by a deadline at 35300.000 ms, expected at 34000.000 ms");
    fails(&at(39_000), 260, "came by a deadline at 35300.000 ms, expected at 39000.000 ms");
}

#[test]
fn what_there_is_no_code_for_fails_when_it_is_reached() {
    let control = r#"{"seq":315,"t_ms":703,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"IOCTL","ctl":590015,"h":"h2"}"#;
    fails(&with(310, control), 315, "not supported yet: IOCTL 0x900bf");
    let unknown = r#"{"seq":315,"t_ms":703,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"TELEPORT"}"#;
    fails(&with(310, unknown), 315, "not supported yet: TELEPORT");
    fails(&with(310, r#"{"seq":315,"t_ms":703,"ev":"smb1"}"#), 315, "not supported yet: event smb1");
    let asks = |tag: &str| {
        let asks = line(150).replace("\"contexts\":[", &format!("\"contexts\":[{tag},"));
        changed(&[
            (line(150), &asks),
            ("\"capabilities\":47", "\"capabilities\":63"),
            ("\"tree\":\"t1\"", "\"tree\":\"t1\",\"capabilities\":16"),
        ])
    };
    fails(&asks(r#"{"tag":"TWrp"}"#), 150, "not supported yet: CREATE with TWrp");
    fails(&asks(r#"{"tag":"AppInstanceVersion"}"#), 150, "not supported yet: CREATE with AppInstanceVersion");
    // Where there are none it is a durable one.
    let plain = asks(r#"{"tag":"DH2Q","flags":2}"#).replace("\"capabilities\":63", "\"capabilities\":47");
    fails(&plain, 160, "DH2Q: expected none, one came");
    // What differs before is reported first.
    let text = with(310, control).replacen("\"count\":4", "\"count\":5", 1);
    fails(&text, 180, "count");
}

#[test]
fn behind_a_lost_connection_a_word_of_waiting_proves_nothing() {
    let lost = |millis: u64| {
        let lines = format!(
            r#"{{"seq":145,"t_ms":{millis},"ev":"connect","conn":"c3"}}
{{"seq":146,"t_ms":{millis},"ev":"disconnect","conn":"c3"}}"#
        );
        let interim =
            r#"{"seq":155,"t_ms":101,"ev":"interim","conn":"c1","cmd":"CREATE","req":150,"status":259}"#;
        with(140, &lines).replacen(line(150), &format!("{}\n{interim}", line(150)), 1)
    };
    passes(&lost(95));
    fails(&lost(85), 160, "came at once, expected to wait for something");
}

#[test]
fn a_durable_grant_is_compared() {
    let (asked, granted) = (line(150), line(160));
    let with_context =
        |old: &str, context: &str| old.replace("\"contexts\":[", &format!("\"contexts\":[{context},"));
    let asks = |context: &str| with_context(asked, context);
    let gets = |context: &str| with_context(granted, context);
    let (v1, v2) = (r#"{"tag":"DHnQ"}"#, r#"{"tag":"DH2Q","timeout":0,"flags":0}"#);
    let given = r#"{"tag":"DH2Q","timeout":60000,"flags":0}"#;
    passes(&changed(&[(asked, &asks(v1)), (granted, &gets(v1))]));
    passes(&changed(&[(asked, &asks(v2)), (granted, &gets(given))]));
    passes(&changed(&[(asked, &asks(v2)), (granted, &gets(r#"{"tag":"DH2Q"}"#))]));
    let wrong = |asks: &str, gets: &str, what: &str| {
        fails(&changed(&[(asked, asks), (granted, gets)]), 160, what);
    };
    wrong(asked, &gets(v1), "DHnQ: expected one, none came");
    wrong(asked, &gets(given), "DH2Q: expected one, none came");
    wrong(&asks(v1), granted, "DHnQ: expected none, one came");
    wrong(&asks(v2), granted, "DH2Q: expected none, one came");
    wrong(&asks(v1), &gets(given), "DHnQ: expected none, one came");
    wrong(&asks(v2), &gets(&given.replace("60000", "60001")), "DH2Q timeout: expected 60001, came 60000");
    wrong(&asks(v2), &gets(&given.replace("\"flags\":0", "\"flags\":2")), "DH2Q flags: expected 2, came 0");
    wrong(&asks(v1), &gets(&format!("{v1},{{\"tag\":\"DHnC\"}}")), "DHnC: expected one, none came");
    let start = granted.find("\"contexts\"").unwrap();
    let absent = format!("{}\"contexts_absent\":[\"DHnQ\"]}}", &granted[..start]);
    wrong(&asks(v1), &absent, "contexts_absent: DHnQ came");
    wrong(&asks(&format!("{v1},{v2}")), granted, "status: expected SUCCESS, came INVALID_PARAMETER");
}

/// A recording of a client that loses its connection and comes back to what it had open.
const RETURN: &str = r#"
{"ev":"meta","client_guids":{"g1":"00112233445566778899aabbccddeeff","g2":"ff112233445566778899aabbccddeeff"}}
{"seq":10,"t_ms":0,"ev":"connect","conn":"c1"}
{"seq":20,"t_ms":1,"ev":"req","conn":"c1","client":"g1","cmd":"NEGOTIATE","dialects":["0311"]}
{"seq":30,"t_ms":2,"ev":"req","conn":"c1","client":"g1","cmd":"SESSION_SETUP","ntlm":"authenticate","user":"ann"}
{"seq":40,"t_ms":3,"ev":"rsp","conn":"c1","cmd":"SESSION_SETUP","req":30,"status":0,"session":"s1"}
{"seq":50,"t_ms":4,"ev":"req","conn":"c1","client":"g1","session":"s1","cmd":"TREE_CONNECT","path":"\\\\server\\share"}
{"seq":60,"t_ms":5,"ev":"rsp","conn":"c1","cmd":"TREE_CONNECT","req":50,"status":0,"tree":"t1"}
{"seq":70,"t_ms":10,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"CREATE","name":"a.dat","oplock":9,"access":2032127,"attrs":0,"share":0,"disposition":3,"options":64,"contexts":[{"tag":"DHnQ"}]}
{"seq":80,"t_ms":11,"ev":"rsp","conn":"c1","cmd":"CREATE","req":70,"status":0,"h":"h1","oplock":9,"action":2,"end_of_file":0,"attrs":32,"contexts":[{"tag":"DHnQ"}]}
{"seq":90,"t_ms":12,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"WRITE","h":"h1","offset":0,"length":2,"data":"0506"}
{"seq":100,"t_ms":13,"ev":"rsp","conn":"c1","cmd":"WRITE","req":90,"status":0,"count":2}
{"seq":110,"t_ms":20,"ev":"disconnect","conn":"c1"}
{"seq":120,"t_ms":100,"ev":"connect","conn":"c2"}
{"seq":130,"t_ms":101,"ev":"req","conn":"c2","client":"g2","cmd":"NEGOTIATE","dialects":["0311"]}
{"seq":140,"t_ms":102,"ev":"req","conn":"c2","client":"g2","cmd":"SESSION_SETUP","ntlm":"authenticate","user":"ann"}
{"seq":150,"t_ms":103,"ev":"rsp","conn":"c2","cmd":"SESSION_SETUP","req":140,"status":0,"session":"s2"}
{"seq":160,"t_ms":104,"ev":"req","conn":"c2","client":"g2","session":"s2","cmd":"TREE_CONNECT","path":"\\\\server\\share"}
{"seq":170,"t_ms":105,"ev":"rsp","conn":"c2","cmd":"TREE_CONNECT","req":160,"status":0,"tree":"t2"}
{"seq":180,"t_ms":110,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"READ","h":"h1","offset":0,"length":2}
{"seq":190,"t_ms":111,"ev":"rsp","conn":"c2","cmd":"READ","req":180,"status":3221225768}
{"seq":200,"t_ms":112,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"CREATE","name":"\\no*name","oplock":120,"impersonation":305419896,"access":305419896,"attrs":305419896,"share":305419896,"disposition":305419896,"options":305419896,"contexts":[{"tag":"DHnC","h":"h1"}]}
{"seq":210,"t_ms":113,"ev":"rsp","conn":"c2","cmd":"CREATE","req":200,"status":0,"h":"h2","oplock":9,"action":1,"end_of_file":2,"attrs":32,"contexts":[]}
{"seq":220,"t_ms":114,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"READ","h":"h2","offset":0,"length":2}
{"seq":230,"t_ms":115,"ev":"rsp","conn":"c2","cmd":"READ","req":220,"status":0,"length":2,"data":"0506"}
{"seq":240,"t_ms":116,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"READ","h":"h1","offset":0,"length":2}
{"seq":250,"t_ms":117,"ev":"rsp","conn":"c2","cmd":"READ","req":240,"status":3221225768}
{"seq":260,"t_ms":200,"ev":"disconnect","conn":"c2"}
"#;

#[test]
fn an_open_is_given_back() {
    let text = |replacements: &[(&str, &str)]| {
        let mut text = RETURN.trim_start().to_owned();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        text
    };
    // In the end it is left alone again: it is gone when its time has passed.
    passes(&text(&[]));
    let context = r#"{"tag":"DHnC","h":"h1"}"#;
    let refused = |from: &str, to: &str, status: &str| {
        let what = format!("status: expected SUCCESS, came {status}");
        fails(&text(&[(from, to)]), 210, &what);
    };
    refused(context, r#"{"tag":"DHnC","h":null}"#, "OBJECT_NAME_NOT_FOUND");
    refused(context, r#"{"tag":"DHnC","h":"h7"}"#, "OBJECT_NAME_NOT_FOUND");
    refused(
        context,
        r#"{"tag":"DH2C","h":"h1","create_guid":"00112233445566778899aabbccddeeff"}"#,
        "OBJECT_NAME_NOT_FOUND",
    );
    passes(&text(&[(context, r#"{"tag":"DH2C","h":"h1"}"#)]));
    let lease = r#"{"tag":"RqLs","v":1,"key":"000102030405060708090a0b0c0d0e0f","state":7}"#;
    refused(context, &format!("{context},{lease}"), "OBJECT_NAME_NOT_FOUND");
    refused(context, &format!("{context},{}", r#"{"tag":"DH2Q"}"#), "INVALID_PARAMETER");
    refused("\"user\":\"ann\"}\n{\"seq\":150", "\"user\":\"bob\"}\n{\"seq\":150", "ACCESS_DENIED");
    fails(
        &text(&[("\"action\":1,\"end_of_file\":2", "\"action\":1,\"end_of_file\":0")]),
        210,
        "end of file: expected 0, came 2",
    );
    fails(
        &text(&[("\"end_of_file\":2,\"attrs\":32,\"contexts\":[]", "\"contexts\":[{\"tag\":\"DHnQ\"}]")]),
        210,
        "DHnQ: expected one, none came",
    );
    // After its time: 120 s.
    let mut late = text(&[]);
    for seq in (120..=260).step_by(10) {
        late =
            late.replacen(&format!("{{\"seq\":{seq},\"t_ms\":"), &format!("{{\"seq\":{seq},\"t_ms\":121"), 1);
    }
    fails(&late, 210, "status: expected SUCCESS, came OBJECT_NAME_NOT_FOUND");
    passes(&late.replace("\"t_ms\":121", "\"t_ms\":119"));
}

#[test]
fn a_session_of_the_same_user_can_be_replaced() {
    // The connection stays, and with it the session that has the file open.
    let stays = |user: &str, previous: &str| {
        let text = RETURN.trim_start().replacen("\"seq\":110,\"t_ms\":20,", "\"seq\":270,\"t_ms\":300,", 1);
        let (before, lost) = text.split_once("{\"seq\":270").unwrap();
        let (lost, after) = lost.split_once('\n').unwrap();
        let after = after.replacen("\"user\":\"ann\"", &format!("\"user\":\"{user}\"{previous}"), 1);
        format!("{before}{after}{{\"seq\":270{lost}\n")
    };
    let kept = "status: expected SUCCESS, came OBJECT_NAME_NOT_FOUND";
    passes(&stays("ann", ",\"previous_session\":\"s1\""));
    fails(&stays("ann", ""), 210, kept);
    fails(&stays("bob", ",\"previous_session\":\"s1\""), 210, kept);
}

#[test]
fn a_renamed_file_is_found_under_its_new_name_alone() {
    let rename = |new: &str, status: u32| {
        format!(
            r#"{{"seq":311,"t_ms":703,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"SET_INFO","h":"h1","rename":{{"replace":0,"target":"{new}"}}}}
{{"seq":312,"t_ms":703,"ev":"rsp","conn":"c1","cmd":"SET_INFO","req":311,"status":0}}
{{"seq":313,"t_ms":704,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"CREATE","name":"a.dat","oplock":0,"access":128,"share":7,"disposition":1,"options":0}}
{{"seq":314,"t_ms":704,"ev":"rsp","conn":"c1","cmd":"CREATE","req":313,"status":{status}}}
{{"seq":315,"t_ms":705,"ev":"req","conn":"c1","client":"g1","session":"s1","tree":"t1","cmd":"CREATE","name":"B.DAT","oplock":0,"access":128,"share":7,"disposition":1,"options":0}}
{{"seq":316,"t_ms":705,"ev":"rsp","conn":"c1","cmd":"CREATE","req":315,"status":0,"action":1,"end_of_file":100}}"#
        )
    };
    passes(&with(310, &rename("b.dat", 0xc000_0034)));
    fails(&with(310, &rename("b.dat", 0)), 314, "status: expected SUCCESS, came OBJECT_NAME_NOT_FOUND");
    fails(
        &with(310, &rename("c.dat", 0xc000_0034)),
        316,
        "status: expected SUCCESS, came OBJECT_NAME_NOT_FOUND",
    );
    fails(&with(310, &rename("d\\\\b.dat", 0)), 312, "status: expected SUCCESS, came OBJECT_PATH_NOT_FOUND");
}

#[test]
fn the_test_control_of_the_other_server_is_left_out() {
    let control = r#"{"seq":315,"t_ms":703,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"IOCTL","ctl":2206498819,"h":"h2"}
{"seq":316,"t_ms":704,"ev":"rsp","conn":"c2","cmd":"IOCTL","req":315,"status":0}"#;
    passes(&with(310, control));
    let other = control.replace("2206498819", "590015");
    fails(&with(310, &other), 315, "not supported yet: IOCTL 0x900bf");
}

#[test]
fn a_compound_works_on_what_came_before() {
    let compound = r#"{"seq":331,"t_ms":802,"ev":"req","conn":"c2","client":"g2","session":"s2","tree":"t2","cmd":"CREATE","compound":0,"name":"b.dat","oplock":0,"access":2032127,"share":7,"disposition":2,"options":64}
{"seq":332,"t_ms":802,"ev":"req","conn":"c2","client":"g2","session":"related","tree":"related","cmd":"WRITE","compound":1,"related":true,"h":"related","offset":0,"length":2,"data":"0505"}
{"seq":333,"t_ms":802,"ev":"req","conn":"c2","client":"g2","session":"related","tree":"related","cmd":"CLOSE","compound":2,"related":true,"h":null,"flags":0}
{"seq":334,"t_ms":803,"ev":"rsp","conn":"c2","cmd":"CREATE","req":331,"status":0,"h":"h3","action":2}
{"seq":335,"t_ms":803,"ev":"rsp","conn":"c2","cmd":"WRITE","req":332,"status":0,"count":2}
{"seq":336,"t_ms":803,"ev":"rsp","conn":"c2","cmd":"CLOSE","req":333,"status":0}"#;
    passes(&with(330, compound));
    // MS-SMB2 3.3.5.2.7.2: all fail as the first one did.
    let refused = compound.replace("b.dat", "a.dat").replace(",\"h\":\"h3\",\"action\":2", "");
    let refused = refused.replace(",\"count\":2", "").replace("\"status\":0", "\"status\":3221225525");
    passes(&with(330, &refused));
    fails(
        &with(
            330,
            &refused.replacen("3221225525", "0", 3).replacen("\"status\":0", "\"status\":3221225525", 2),
        ),
        336,
        "status",
    );
}

#[test]
fn a_malformed_line_is_named() {
    let wrong = |text: &str, what: &str| {
        let report = replay("made/up", text);
        assert!(report.to_string().contains(what), "{report}\nexpected {what}");
        assert!(!report.passed());
    };
    wrong("", "made/up:0: no meta line");
    wrong("{\"seq\":1}", "made/up:1: the first line is not meta");
    wrong(&changed(&[("\"ev\":\"connect\",", "")]), "made/up:2: no `ev`");
    wrong(&changed(&[("\"ev\":\"connect\"", "\"ev\":")]), "made/up:2: expected value");
    wrong(&changed(&[("\"seq\":20,", "\"seq\":10,")]), "made/up:3: seq 10 after 10");
    wrong(&changed(&[("\"oplock\":255", "\"oplock\":256")]), "made/up:16: `oplock` is 256");
    wrong(&changed(&[("\"name\":\"A.dat\",", "")]), "made/up:16: no `name`");
    wrong(&changed(&[("\"req\":150", "\"req\":151")]), "made/up:17: `req` 151 is no request");
    wrong(&changed(&[("\"t_ms\":100,", "\"t_ms\":-1,")]), "made/up:16: `t_ms` is -1");
    wrong(
        &changed(&[("\"data\":\"01020304\"", "\"data\":\"010203\"")]),
        "made/up:18: `data` is not of length 4",
    );
}

/// Whatever is cut out of a line, it is reported, not fallen over.
#[test]
fn no_line_makes_the_replay_panic() {
    let lines: Vec<&str> = SOUND.trim_start().lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        for key in value.as_object().unwrap().keys() {
            for instead in [None, Some(Value::Null), Some(Value::from(u64::MAX)), Some(Value::from("\u{e9}"))]
            {
                let mut changed = value.clone();
                match instead {
                    Some(instead) => changed[key] = instead,
                    None => drop(changed.as_object_mut().unwrap().remove(key)),
                }
                let mut text = lines[..index].join("\n");
                text.push_str(&format!("\n{changed}\n"));
                text.push_str(&lines[index + 1..].join("\n"));
                let _ = replay("made/up", &text).to_string();
            }
        }
    }
}
