//! Recordings made up of a client with two channels, and of another one: replayed, they judge a host.

use crate::replay::{Report, replay};

/// `c1` and `c2` are channels of `s1`, the client of `c3` is another.
const ARRIVAL: &[&str] = &[
    r#""ev":"connect","conn":"c1""#,
    r#""ev":"req","conn":"c1","client":"g1","cmd":"NEGOTIATE","dialects":["0311"]"#,
    r#""ev":"req","conn":"c1","client":"g1","cmd":"SESSION_SETUP","user":"ann""#,
    r#""ev":"rsp","conn":"c1","cmd":"SESSION_SETUP","req":3,"status":0,"session":"s1""#,
    r#""ev":"req","conn":"c1","client":"g1","session":"s1","cmd":"TREE_CONNECT","path":"share""#,
    r#""ev":"rsp","conn":"c1","cmd":"TREE_CONNECT","req":5,"status":0,"tree":"t1""#,
    r#""ev":"connect","conn":"c2""#,
    r#""ev":"req","conn":"c2","client":"g1","cmd":"NEGOTIATE","dialects":["0311"]"#,
    r#""ev":"req","conn":"c2","client":"g1","session":"s1","cmd":"SESSION_SETUP","user":"ann""#,
    r#""ev":"rsp","conn":"c2","cmd":"SESSION_SETUP","req":9,"status":0,"session":"s1""#,
    r#""ev":"connect","conn":"c3""#,
    r#""ev":"req","conn":"c3","client":"g2","cmd":"NEGOTIATE","dialects":["0311"]"#,
    r#""ev":"req","conn":"c3","client":"g2","cmd":"SESSION_SETUP","user":"ann""#,
    r#""ev":"rsp","conn":"c3","cmd":"SESSION_SETUP","req":13,"status":0,"session":"s2""#,
    r#""ev":"req","conn":"c3","client":"g2","session":"s2","cmd":"TREE_CONNECT","path":"share""#,
    r#""ev":"rsp","conn":"c3","cmd":"TREE_CONNECT","req":15,"status":0,"tree":"t2""#,
];

const NO_LATER: u32 = 0xc000_0467;
const CLOSED: u32 = 0xc000_0128;
const CANCELLED: u32 = 0xc000_0120;
const CLEANUP: u32 = 0x0000_010c;
const COLLISION: u32 = 0xc000_0035;
const DUPLICATE: u32 = 0xc000_022a;
const SHARING: u32 = 0xc000_0043;
const WRONG: u32 = 0xc000_000d;
const NOT_GRANTED: u32 = 0xc000_0055;

/// A recording, line by line.
struct Story {
    lines: Vec<String>,
}

impl Story {
    fn new() -> Self {
        Self { lines: ARRIVAL.iter().map(|line| (*line).to_owned()).collect() }
    }

    /// A request. Its `seq` is returned.
    fn asks(&mut self, conn: &str, fields: &str) -> usize {
        let whence = match conn {
            "c3" => r#""client":"g2","session":"s2","tree":"t2""#,
            _ => r#""client":"g1","session":"s1","tree":"t1""#,
        };
        self.lines.push(format!(r#""ev":"req","conn":"{conn}",{whence},{fields}"#));
        self.lines.len()
    }

    fn answers(&mut self, request: usize, status: u32, fields: &str) {
        self.lines.push(format!(r#""ev":"rsp","conn":"c1","req":{request},"status":{status}{fields}"#));
    }

    /// A request, answered at once.
    fn step(&mut self, conn: &str, fields: &str, status: u32) {
        let request = self.asks(conn, fields);
        self.answers(request, status, "");
    }

    /// A CREATE that is answered with this handle.
    fn opens(&mut self, conn: &str, fields: &str, handle: &str) {
        let request = self.asks(conn, fields);
        self.answers(request, 0, &format!(r#","h":"{handle}""#));
    }

    fn loses(&mut self, conn: &str) {
        self.lines.push(format!(r#""ev":"disconnect","conn":"{conn}""#));
    }

    fn report(&self) -> Report {
        let numbered =
            |(line, number): (&String, usize)| format!("{{\"seq\":{number},\"t_ms\":{number},{line}}}\n");
        let lines: String = self.lines.iter().zip(1..).map(numbered).collect();
        replay("made/up", &format!("{{\"ev\":\"meta\"}}\n{lines}"))
    }

    fn passes(&self) {
        let report = self.report();
        assert!(report.passed(), "{report}");
    }

    /// Fails at the last line.
    fn fails(&self, what: &str) {
        let report = self.report();
        let difference = report.difference.clone().unwrap_or_else(|| panic!("passes, expected {what}"));
        assert!(difference.what.contains(what), "{report}\nexpected {what}");
        assert_eq!(difference.seq, self.lines.len() as u64, "{report}");
    }
}

/// A CREATE of a file, with BATCH and a CreateGuid.
fn create(name: &str, disposition: u32, header: &str, context: &str) -> String {
    let guid = "00112233445566778899aabbccddeeff";
    format!(
        r#""cmd":"CREATE",{header}"name":"{name}","oplock":9,"access":2032127,"share":0,"disposition":{disposition},"options":64,"contexts":[{{"tag":"DH2Q","timeout":0,"flags":0,"create_guid":"{guid}"}}{context}]"#
    )
}

const AGAIN: &str = r#""replay":true,"#;
const LOOK: &str = r#""cmd":"QUERY_INFO","h":"h1""#;
const DIRECTORY: &str =
    r#""cmd":"CREATE","name":"d","oplock":0,"access":1,"share":7,"disposition":3,"options":1"#;

#[test]
fn a_create_that_is_sent_again_gets_the_same_handle() {
    let begin = || {
        let mut story = Story::new();
        story.opens("c1", &create("a", 2, "", ""), "h1");
        story
    };
    // The name has come to be by the first: that is not in the way.
    let mut story = begin();
    story.opens("c2", &create("a", 2, AGAIN, ""), "h1");
    story.step("c2", LOOK, 0);
    story.step("c2", &create("a", 2, AGAIN, ""), COLLISION);
    story.passes();
    let mut story = begin();
    story.opens("c2", &create("a", 2, AGAIN, ""), "h2");
    story.fails("handle: expected h2, came h1");
    let mut story = begin();
    story.step("c2", &create("a", 2, "", ""), DUPLICATE);
    story.passes();
    // Another file is another handle.
    let mut story = begin();
    story.opens("c2", DIRECTORY, "h1");
    story.fails("handle: expected h1, came one that is new");
}

#[test]
fn what_the_machine_does_not_see_of_an_open_uses_it() {
    let position = r#""cmd":"SET_INFO","h":"h1","position":1"#;
    let nothing =
        r#""cmd":"SET_INFO","h":"h1","basic":{"create":0,"access":0,"write":0,"change":0,"attrs":0}"#;
    let object = r#""cmd":"IOCTL","h":"h1","ctl":590016"#;
    let notify = (r#""cmd":"CHANGE_NOTIFY","h":"h1""#, WRONG);
    for (uses, status) in [(LOOK, 0), (position, 0), (nothing, 0), (object, 0), notify] {
        let mut story = Story::new();
        story.opens("c1", &create("a", 2, "", ""), "h1");
        story.step("c1", uses, status);
        story.step("c1", &create("a", 2, AGAIN, ""), COLLISION);
        story.passes();
    }
}

#[test]
fn what_comes_late_changes_nothing() {
    let write =
        |header: &str| format!(r#""cmd":"WRITE",{header}"h":"h1","offset":0,"length":2,"data":"0102""#);
    let mut story = Story::new();
    story.opens("c1", &create("a", 2, r#""channel_sequence":7,"#, ""), "h1");
    story.step("c1", &write(r#""channel_sequence":6,"#), NO_LATER);
    story.step("c1", &write(r#""channel_sequence":8,"#), 0);
    story.step("c1", &write(r#""channel_sequence":7,"#), NO_LATER);
    story.step("c1", &format!(r#"{LOOK},"channel_sequence":7"#), 0);
    story.step("c2", &write(r#""channel_sequence":8,"replay":true,"#), 0);
    story.passes();
    story.step("c2", &write(r#""channel_sequence":7,"#), 0);
    story.fails("status: expected SUCCESS, came FILE_NOT_AVAILABLE");
}

#[test]
fn what_waits_counts_until_its_connection_is_lost() {
    let set = r#""cmd":"SET_INFO","h":"h1","position":1,"replay":true,"channel_sequence":1"#;
    let mut story = Story::new();
    story.opens("c1", DIRECTORY, "h1");
    story.asks("c1", r#""cmd":"CHANGE_NOTIFY","h":"h1""#);
    story.step("c2", set, NO_LATER);
    story.loses("c1");
    story.step("c2", set, 0);
    story.passes();
}

#[test]
fn an_acknowledgment_uses_the_opens_of_its_lease() {
    let key = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";
    let lease = format!(r#",{{"tag":"RqLs","v":2,"key":"{key}","state":7,"flags":0,"epoch":0}}"#);
    let create = |header: &str| create("a", 2, header, &lease).replace(r#""oplock":9"#, r#""oplock":255"#);
    let mut story = Story::new();
    story.opens("c1", &create(""), "h1");
    let other = r#""cmd":"CREATE","name":"a","oplock":0,"access":1,"share":7,"disposition":1,"options":64"#;
    let other = story.asks("c3", other);
    story
        .lines
        .push(format!(r#""ev":"break","conn":"c1","client":"g1","kind":"lease","key":"{key}","new":5"#));
    story.step("c1", &format!(r#""cmd":"OPLOCK_BREAK","kind":"lease","key":"{key}","state":5"#), 0);
    story.answers(other, SHARING, "");
    story.step("c1", &create(AGAIN), COLLISION);
    story.passes();
}

#[test]
fn a_lock_that_is_sent_again_was_carried_out() {
    let lock = |sequence: u32| {
        let locks = r#""locks":[{"offset":0,"length":1,"flags":18}]"#;
        format!(r#""cmd":"LOCK","h":"h1","lock_sequence":{sequence},{locks}"#)
    };
    let mut story = Story::new();
    story.opens("c1", &create("a", 2, "", ""), "h1");
    story.step("c1", &lock(0x11), 0);
    story.step("c1", &lock(0x11), 0);
    story.step("c1", &lock(0x12), NOT_GRANTED);
    story.passes();
}

#[test]
fn a_watch_ends_with_a_word() {
    let begin = || {
        let mut story = Story::new();
        story.opens("c1", DIRECTORY, "h1");
        let watch = story.asks("c1", r#""cmd":"CHANGE_NOTIFY","h":"h1""#);
        (story, watch)
    };
    let (mut story, watch) = begin();
    story.asks("c1", &format!(r#""cmd":"CANCEL","cancels":{watch}"#));
    story.answers(watch, CANCELLED, "");
    story.passes();
    let (mut story, watch) = begin();
    story.step("c1", r#""cmd":"CLOSE","h":"h1""#, 0);
    story.answers(watch, CLEANUP, "");
    story.passes();
    let (mut story, watch) = begin();
    story.answers(watch, 0, "");
    story.fails("expected SUCCESS, nothing came");
}

#[test]
fn a_resilient_handle_comes_back() {
    let plain =
        r#""cmd":"CREATE","name":"a","oplock":0,"access":2032127,"share":0,"disposition":3,"options":64"#;
    let ask = |input: &str| format!(r#""cmd":"IOCTL","h":"h1","ctl":1311188,"input":"{input}""#);
    let back = plain.replace(r#""options":64"#, r#""options":64,"contexts":[{"tag":"DHnC","h":"h1"}]"#);
    let begin = || {
        let mut story = Story::new();
        let request = story.asks("c1", plain);
        story.answers(request, 0, r#","h":"h1","open":"o1""#);
        story
    };
    let lost = |mut story: Story, open: &str| {
        story.loses("c1");
        story.loses("c2");
        let request = story.asks("c3", &back);
        story.answers(request, 0, &format!(r#","h":"h2","open":"{open}""#));
        story
    };
    let mut story = begin();
    story.step("c1", &ask("10270000 00000000".replace(' ', "").as_str()), 0);
    lost(story, "o1").passes();
    let mut story = begin();
    story.step("c1", &ask("1027000000000000"), 0);
    lost(story, "o2").fails("open: expected o2, came o1");
    lost(begin(), "o1").fails("status: expected SUCCESS, came OBJECT_NAME_NOT_FOUND");
    let mut story = begin();
    story.step("c1", &ask("102700"), WRONG);
    story.step("c1", &ask("ffffffff00000000"), WRONG);
    story.passes();
}

#[test]
fn an_application_takes_its_file_along() {
    let instance = r#",{"tag":"AppInstanceId","app_instance_id":"0102030405060708090a0b0c0d0e0f10"}"#;
    let begin = || {
        let mut story = Story::new();
        story.opens("c1", &create("a", 3, "", instance), "h1");
        story
    };
    let mut story = begin();
    story.opens("c3", &create("a", 3, "", instance), "h2");
    story.step("c1", LOOK, CLOSED);
    story.passes();
    // Who is another is in the way, once the break has been seen to.
    let mut story = begin();
    let request = story.asks("c3", &create("a", 3, "", &instance.replace("0102", "ff02")));
    story
        .lines
        .push(r#""ev":"break","conn":"c1","client":"g1","kind":"oplock","oplock":1,"h":"h1""#.to_owned());
    story.step("c1", r#""cmd":"OPLOCK_BREAK","kind":"oplock","oplock":1,"h":"h1""#, 0);
    story.answers(request, SHARING, "");
    story.passes();
    let mut story = Story::new();
    story.step("c1", &create("a", 3, "", r#",{"tag":"AppInstanceId"}"#), WRONG);
    story.passes();
}
