//! Plays the stories of `scenarios/`: event lines, and the actions that must follow. The format is in its README.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

mod script;

use leasehold::server::{
    Capabilities, Config, Create, DelegationKind, Event, Lock, LockElement, LockFlags, ObjectKind, Opened,
    Origin, OwnerLock, Profile, Reservation, RouteSeed, SessionEnd, Share, ShareFlags, ShareKind, Terms,
};
use leasehold::wire::{Lease, LeaseFlags, LeaseV1, LeaseV2, OplockBreak};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, Epoch, FileId,
    FileKey, HashKey, Intent, LeaseKey, LeaseState, Limits, OplockLevel, OwnerId, Protocol, RequestId,
    SessionId, ShareMode, Status, TreeId,
};
use script::names::Names;
use script::words::Words;
use script::{Failure, Kind, config, events, judge, play};

#[test]
fn every_story_goes_as_it_is_written() {
    let mut paths = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios"), &mut paths);
    paths.sort();
    let mut failed = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        let Err(Failure { line, kind }) = judge(&text) else { continue };
        if std::env::var_os("LEASEHOLD_REWRITE").is_some() {
            if let Ok(played) = play(&text) {
                std::fs::write(path, played).unwrap();
            }
        }
        failed.push(format!("{}:{line}:{kind}\n", path.display()));
    }
    println!("{} stories", paths.len());
    assert!(paths.len() >= 360, "stories are missing: {}", paths.len());
    assert!(failed.is_empty(), "{} of {} stories:\n\n{}", failed.len(), paths.len(), failed.join("\n"));
}

#[test]
fn every_story_that_the_readme_names_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for name in readme.split('`').filter(|name| name.ends_with(".txt")) {
        assert!(folder.join(name).exists(), "{name}");
    }
}

/// The rows of the README's table of bugs elsewhere: the reference, and where it is answered.
fn bugs(readme: &str) -> Vec<(&str, &str)> {
    let (_, table) = readme.split_once("## What went wrong elsewhere").unwrap();
    let (table, _) = table.split_once("## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [reference, what, answered] = cells.as_slice() else { panic!("{row}") };
        assert!(!reference.is_empty() && !what.is_empty() && !answered.is_empty(), "{row}");
        (*reference, *answered)
    })
    .collect()
}

/// What a cell names as code.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_bug_elsewhere_has_its_row_and_every_row_its_answer() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = |path: &str| std::fs::read_to_string(tests.join(path)).unwrap();
    let (readme, field, client) = (text("scenarios/README.md"), text("field.rs"), text("client.rs"));
    let rows = bugs(&readme);
    let of = |project: &str| rows.iter().filter(|(reference, _)| reference.starts_with(project)).count();
    let counts = ["Samba ", "ksmbd ", "Linux cifs", "DittoFS ", "Chimera "].map(of);
    assert_eq!((counts, rows.len()), ([29, 23, 9, 22, 16], 109));
    let project = |reference: &str| reference.split(' ').next().unwrap().to_lowercase();
    assert!(rows.is_sorted_by_key(|(reference, _)| project(reference)), "sorted by project");

    // Whatever a row names is there ...
    for name in rows.iter().flat_map(|(_, answered)| named(answered)) {
        let function = format!("\nfn {name}() {{");
        let there = if name.ends_with(".txt") {
            tests.join("scenarios").join(name).exists()
        } else {
            field.contains(&function) || client.contains(&function)
        };
        assert!(there, "{name}");
    }

    // ... and whatever is named after a bug is named in the row that has its number.
    let mut paths = Vec::new();
    collect(tests.join("scenarios"), &mut paths);
    let stories =
        paths.iter().map(|path| path.strip_prefix(tests.join("scenarios")).unwrap().to_str().unwrap());
    let functions = field.split("#[test]\nfn ").skip(1).map(|rest| rest.split('(').next().unwrap());
    let mut count = 0u32;
    for name in stories.filter(|name| name.contains('-')).chain(functions) {
        let words: Vec<&str> = name.trim_start_matches("cross/").split(['-', '_']).collect();
        let (project, number) = match words.as_slice() {
            [project, "cve", year, number, ..] => (*project, format!("cve-{year}-{number}")),
            [project, number, ..] => (*project, (*number).to_owned()),
            _ => panic!("{name}"),
        };
        let found = rows.iter().filter(|(_, answered)| named(answered).any(|other| other == name));
        let found = found.map(|(reference, _)| reference.to_lowercase());
        let has = |reference: &String| {
            reference.starts_with(project) && reference.split([' ', ',']).any(|part| part == number)
        };
        assert!(found.collect::<Vec<_>>().iter().any(has), "{name} has no row");
        count = count.checked_add(1).unwrap();
    }
    assert_eq!(count, 109, "stories and tests that are named after a bug");
}

fn collect(folder: PathBuf, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(path, paths);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
}

/// A story of which the last line cannot be read: where, and what is said of it.
#[track_caller]
fn unreadable(story: &str, line: usize, what: &str) {
    let story = format!("# MS-SMB2\n{story}");
    let kind = Kind::Unreadable(what.to_owned());
    assert_eq!(judge(&story), Err(Failure { line: line.checked_add(1).unwrap(), kind }), "{story}");
}

const OPENED: &str = "     connect c1 guid=A
     create r1 c1 file=F
     > open r1
     opened r1
     > granted r1 none
";

#[test]
fn a_word_that_nobody_reads_is_an_error() {
    unreadable("frobnicate c1\n", 1, "no such event: frobnicate");
    unreadable("connect c1 guid=A dialekt=2.1\n", 1, "unknown word: dialekt=2.1");
    unreadable("connect c1 guid=A\ncreate r1 c1 file=F overwrit\n", 2, "unknown word: overwrit");
    unreadable("disconnect c1 c2\n", 1, "unknown word: c2");
    // What belongs to a lease says nothing without one, nor an epoch in version 1.
    unreadable("create r1 c1 file=F epoch=1\n", 1, "unknown word: epoch=1");
    unreadable("create r1 c1 file=F lease=K1:R v1 epoch=1\n", 1, "unknown word: epoch=1");
    unreadable("connect c1 guid=A no-session session=s1\n", 1, "unknown word: session=s1");
    // One name, one value; one word, once.
    unreadable("create r1 c1 file=F file=G\n", 1, "file= is there twice");
    unreadable("create r1 c1 file=F delete-on-close delete-on-close\n", 1, "unknown word: delete-on-close");
    unreadable("create r1 c1 file=F overwrite supersede\n", 1, "the disposition is there twice");
    unreadable("create r1 c1 file=F oplock=II level=batch\n", 1, "the oplock level is there twice");
}

#[test]
fn a_value_that_means_nothing_is_an_error() {
    unreadable("connect c1 guid=AB\n", 1, "a client is one letter, not AB");
    unreadable("connect c1 guid=A dialect=3.2\n", 1, "no dialect: 3.2");
    unreadable("create r1 c1 file=F lease=K1\n", 1, "a lease is KEY:STATE, not K1");
    unreadable("create r1 c1 file=F lease=K1:RX\n", 1, "a lease state has nothing named RX");
    unreadable("create r1 c1 file=F lease=K256:R\n", 1, "the last lease key is K255, not K256");
    unreadable("create r1 c1 file=F lease=K1:R epoch=65536\n", 1, "an epoch has 16 bits, not 65536");
    unreadable("create r1 c1 file=F access=read+everything\n", 1, "access has nothing named everything");
    unreadable("create r1 c1 file=F share=rwx\n", 1, "a share mode has nothing named rwx");
    unreadable("create r1 c1 file=F oplock=III\n", 1, "no oplock level: III");
    unreadable("create r1 c1 file=a/b\n", 1, "a file has one to sixteen letters, not a/b");
    unreadable(&format!("{OPENED}lock r2 c1 r1 0+1:Q\n"), 6, "a lock has nothing named Q");
    unreadable(&format!("{OPENED}lock r2 c1 r1 7:X\n"), 6, "a range is OFFSET+LENGTH, not 7");
    unreadable("create r1 c1 file=F\nopened r1 fails=NONSENSE\n", 2, "r1 has opened nothing");
    unreadable(&format!("{OPENED}operate r2 c1 by=r1 stare\n"), 6, "no such operation: stare");
    unreadable("operate r1 local file=F rename to\n", 1, "unknown word: to");
}

#[test]
fn a_field_that_is_not_there_is_an_error() {
    unreadable("connect\n", 1, "the connection is missing");
    unreadable("connect c1\n", 1, "guid= is missing");
    unreadable("create r1 file=F\n", 1, "a connection, c1, is expected, not file=F");
    unreadable("create r1 c1\n", 1, "file= is missing");
    unreadable("operate r1 local write\n", 1, "file= is missing");
    unreadable("operate r1 local file=F\n", 1, "what is about to happen is missing");
    unreadable("lease-ack r1 c1 K1\n", 1, "the lease state is missing");
    unreadable("@10\n", 1, "an event is missing");
    unreadable("config\n", 1, "a setting is missing");
}

#[test]
fn a_name_stands_for_one_thing_that_is_there() {
    unreadable(&format!("{OPENED}create r1 c1 file=G\n"), 6, "there is a request r1 already");
    unreadable(&format!("{OPENED}close r1 c1 r1\n"), 6, "there is a request r1 already");
    unreadable(&format!("{OPENED}close r2 c1 r7\n"), 6, "r7 has opened nothing");
    unreadable(&format!("{OPENED}done r1\n"), 6, "r1 was not told to proceed");
    unreadable(&format!("{OPENED}undelivered c1 K1\n"), 6, "no break of K1 was sent on c1");
    unreadable("operate r1 local file=F by=r7 as=A:K1 write\n", 1, "by= and as= name two actors");
}

#[test]
fn time_goes_forward() {
    unreadable("@10 connect c1 guid=A\n@9 time\n", 2, "time goes back: @9 after @10");
    unreadable("@ten time\n", 1, "a time is @ and milliseconds, not @ten");
    assert_eq!(judge("# MS-SMB2\n@10 connect c1 guid=A\n@10 time\n"), Ok(()));
}

#[test]
fn settings_come_first_and_have_names() {
    unreadable("connect c1 guid=A\nconfig opens=1\n", 2, "config stands before every event");
    unreadable("config patience=1\n", 1, "unknown setting: patience");
    unreadable("config follow-up=sideways\n", 1, "follow-up is through-read or straight, not sideways");
    unreadable("config opens\n", 1, "unknown word: opens");
    // The limit is in force: 0xc000009a.
    let story = "# MS-SMB2\nconfig opens=0\nconnect c1 guid=A\ncreate r1 c1 file=F\n";
    let refused = "     > refused r1 STATUS_INSUFFICIENT_RESOURCES\n";
    assert_eq!(play(story), Ok(format!("{story}{refused}")));
}

#[test]
fn every_limit_and_every_choice_can_be_set() {
    let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
    let defaults = format!("{:?} {:?}", Limits::default(), Profile::default());
    let fields = defaults.split_whitespace().filter_map(|word| word.strip_suffix(':'));
    let mut count = 0u32;
    for field in fields {
        let Err(error) = config::set(&mut config, &field.replace('_', "-"), "?") else {
            panic!("{field} is set to a question mark");
        };
        assert!(!error.starts_with("unknown setting"), "{field}: {error}");
        count = count.checked_add(1).unwrap();
    }
    assert_eq!(count, 38, "fields of Limits and Profile");
}

#[test]
fn the_first_difference_is_said() {
    let otherwise = |story: &str, line, expected: &str, got: &str| {
        let kind = Kind::Otherwise { expected: expected.to_owned(), got: got.to_owned() };
        assert_eq!(judge(story), Err(Failure { line, kind }), "{story}");
    };
    let story = format!("# MS-SMB2\n{OPENED}");
    assert_eq!(judge(&story), Ok(()));
    otherwise(&story.replace("     > open r1\n", ""), 4, "nothing more", "> open r1");
    otherwise(&story.replace("r1 none", "r1 oplock=II"), 6, "> granted r1 oplock=II", "> granted r1 none");
    otherwise(&story.replace("r1 none\n", "r1 none\n     > closed r1\n"), 7, "> closed r1", "nothing more");
    otherwise(&story.replace("     > open", "> open"), 4, "\"> open r1\"", "\"     > open r1\"");
}

#[test]
fn a_misuse_is_said_and_leads_to_nothing() {
    let story = "# MS-SMB2\nconnect c1 guid=A\nconnect c1 guid=B no-session\n";
    assert_eq!(play(story), Ok(format!("{story}     > misuse: this connection is there already\n")));
}

#[test]
fn an_action_belongs_to_an_event_and_a_story_to_a_specification() {
    unreadable("> open r1\n", 1, "an action without an event");
    let what = "the first line is a comment that names the specification".to_owned();
    assert_eq!(judge("time\n"), Err(Failure { line: 1, kind: Kind::Unreadable(what) }));
}

/// Reads one event line, beside an open `r1` of the file F.
fn read(line: &str) -> String {
    let mut names = Names::default();
    names.asked(RequestId::new(1), FileKey::new(0x46));
    names.opening(RequestId::new(1), FileId::new(5, 6));
    let mut words = Words::new(line);
    let verb = words.next("a verb").unwrap();
    let events = events::read(verb, &mut words, &mut names).unwrap();
    words.end().unwrap();
    format!("{events:?}")
}

#[track_caller]
fn means(line: &str, event: Event) {
    assert_eq!(read(line), format!("{:?}", [event]), "{line}");
}

const ORIGIN: Origin = Origin::new(ConnId::new(3), SessionId::new(3), TreeId::new(1));
const ELSEWHERE: Origin = Origin::new(ConnId::new(3), SessionId::new(8), TreeId::new(9));
const R2: RequestId = RequestId::new(2);
const OPEN: FileId = FileId::new(5, 6);
const K1: LeaseKey = LeaseKey::new([1; 16]);

#[test]
fn every_field_of_a_connection_can_be_written() {
    let (conn, session, client) = (ConnId::new(3), SessionId::new(8), ClientGuid::from_wire([b'Q'; 16]));
    let connected = |dialect, bits| {
        let terms = Terms::new(dialect, Capabilities::from_bits_retain(bits));
        Event::Connected { conn, client, terms }
    };
    means("connect c3 guid=Q dialect=3.0.2 no-session", connected(Dialect::Smb302, 0x22));
    means("connect c3 guid=Q no-leasing multi-channel no-session", connected(Dialect::Smb311, 0x28));
    means(
        "connect c3 guid=Q capabilities=0x1 persistent-handles no-session",
        connected(Dialect::Smb311, 0x11),
    );
    means("bind c3 s8", Event::SessionBound { conn, session });
    let both = [connected(Dialect::Smb202, 2), Event::SessionBound { conn, session }];
    let line = "connect c3 guid=Q dialect=2.0.2 no-directory-leasing session=s8";
    assert_eq!(read(line), format!("{both:?}"));
    means("logoff s8", Event::SessionEnded { session, end: SessionEnd::LoggedOff });
    let gone = |tree| Event::TreeDisconnected { request: R2, session, tree };
    means("tree-disconnect r2 s8", gone(TreeId::new(1)));
    means("tree-disconnect r2 s8 tree=t9", gone(TreeId::new(9)));
}

#[test]
fn every_field_of_a_create_can_be_written() {
    let file = FileKey::new(0x46);
    let data = Access::READ_DATA | Access::WRITE_DATA;
    let plain = |origin| {
        let create = Create::new(R2, origin, file).access(data, ShareMode::ALL);
        create.disposition(Disposition::OpenIf, CreateOptions::empty())
    };
    means("create r2 c3 file=F", Event::Create(plain(ORIGIN)));
    means("create r2 c3 file=F tree=t9 session=s8", Event::Create(plain(ELSEWHERE)));

    let asked = Access::MAXIMUM_ALLOWED | Access::WRITE_EA | Access::READ_CONTROL;
    let create = plain(ORIGIN).access(asked, ShareMode::READ | ShareMode::DELETE);
    let create = create.granted(Access::from_bits_retain(0x12_0089));
    let line = "create r2 c3 file=F access=maximum-allowed+write-ea+control granted=0x120088+read share=rd";
    means(line, Event::Create(create));

    let options =
        CreateOptions::DELETE_ON_CLOSE | CreateOptions::DIRECTORY_FILE | CreateOptions::RESERVE_OPFILTER;
    let options = options | CreateOptions::from_bits_retain(0x20);
    let line =
        "create r2 c3 file=F disposition=create delete-on-close directory-file reserve-opfilter options=0x20";
    means(line, Event::Create(plain(ORIGIN).disposition(Disposition::Create, options)));
    for (word, disposition) in [
        ("overwrite", Disposition::OverwriteIf),
        ("disposition=overwrite-if", Disposition::OverwriteIf),
        ("disposition=overwrite", Disposition::Overwrite),
        ("disposition=open", Disposition::Open),
        ("supersede", Disposition::Supersede),
    ] {
        let create = plain(ORIGIN).disposition(disposition, CreateOptions::empty());
        means(&format!("create r2 c3 file=F {word}"), Event::Create(create));
    }

    let (state, flags) = (LeaseState::RH | LeaseState::from_bits_retain(0x10), LeaseFlags::BREAK_IN_PROGRESS);
    let v1 = Lease::V1(LeaseV1 { key: K1, state, flags });
    let line = "create r2 c3 file=F lease=K1:RH+0x10 v1 lease-flags=breaking";
    means(line, Event::Create(plain(ORIGIN).caching(OplockLevel::Lease, Some(v1))));
    let (parent, epoch) = (Some(LeaseKey::new([9; 16])), Epoch::new(0xffff));
    let v2 = Lease::V2(LeaseV2 { key: K1, state, flags: LeaseFlags::empty(), parent, epoch });
    let line = "create r2 c3 file=F lease=K1:RH+0x10 parent=K9 epoch=65535 oplock=BATCH";
    means(line, Event::Create(plain(ORIGIN).caching(OplockLevel::Batch, Some(v2))));
    for (word, level) in [("II", 0x01), ("EXCLUSIVE", 0x08), ("batch", 0x09), ("LEASE", 0xff), ("0x42", 0x42)]
    {
        let create = plain(ORIGIN).caching(OplockLevel::from_wire(level), None);
        means(&format!("create r2 c3 file=F oplock={word}"), Event::Create(create));
    }

    let share = Share::new(ShareKind::Pipe, ShareFlags::FORCE_LEVEL_II | ShareFlags::SCALE_OUT);
    let line = "create r2 c3 file=F kind=pipe force-level-ii scale-out in=dir1";
    means(line, Event::Create(plain(ORIGIN).place(share, Some(FileKey::new(0x6469_7231)))));
}

#[test]
fn every_answer_of_the_file_system_can_be_written() {
    let opened = |action, kind, allocation| Event::Opened {
        file_id: OPEN,
        result: Ok(Opened::new(action, kind, allocation)),
    };
    means("opened r1", opened(CreateAction::Opened, ObjectKind::File, u64::MAX));
    means("opened r1 directory created", opened(CreateAction::Created, ObjectKind::Directory, u64::MAX));
    means("opened r1 overwritten allocation=0", opened(CreateAction::Overwritten, ObjectKind::File, 0));
    means("opened r1 superseded allocation=0x10", opened(CreateAction::Superseded, ObjectKind::File, 16));
    let result = Err(Status::from_wire(0xc000_0035));
    means("opened r1 fails=0xc0000035", Event::Opened { file_id: OPEN, result });
    let result = Err(Status::ACCESS_DENIED);
    means("opened r1 fails=STATUS_ACCESS_DENIED", Event::Opened { file_id: OPEN, result });
}

#[test]
fn every_operation_and_every_actor_can_be_written() {
    let (file, client) = (FileKey::new(0x47), ClientGuid::from_wire([b'A'; 16]));
    let operate = |origin, actor, intent| Event::Operate { request: R2, origin, file, actor, intent };
    let to = Some(FileKey::new(0x44));
    for (words, intent) in [
        ("read", Intent::Read { offset: 0, len: 1 }),
        ("read range=7+0x10", Intent::Read { offset: 7, len: 16 }),
        ("write range=7+2", Intent::Write { offset: 7, len: 2 }),
        ("flush", Intent::Flush),
        ("size", Intent::SetSize),
        ("set-size", Intent::SetSize),
        ("set-attributes", Intent::SetAttributes),
        ("set-security", Intent::SetSecurity),
        ("rename", Intent::Rename { to: None }),
        ("rename to=D", Intent::Rename { to }),
        ("link to=D", Intent::Link { to }),
        ("delete", Intent::Delete { pending: true }),
        ("undelete", Intent::Delete { pending: false }),
        ("replaced", Intent::Replaced),
        ("ancestor-moved", Intent::AncestorMoved),
        ("rename-within", Intent::RenameWithin),
        ("entry-changed", Intent::EntryChanged { parent: None }),
        ("entry-changed parent=K1", Intent::EntryChanged { parent: Some(K1) }),
    ] {
        means(&format!("operate r2 local file=G {words}"), operate(None, Actor::Other, intent));
    }
    let lease = Actor::Lease { client, key: K1 };
    means("operate r2 c3 as=A:K1 file=G flush", operate(Some(ORIGIN), lease, Intent::Flush));
    let open = Actor::Open(FileId::new(7, 8));
    means(
        "operate r2 c3 session=s8 tree=t9 by=0x7:0x8 file=G flush",
        operate(Some(ELSEWHERE), open, Intent::Flush),
    );
    let by = Event::Operate {
        request: R2,
        origin: None,
        file: FileKey::new(0x46),
        actor: Actor::Open(OPEN),
        intent: Intent::Flush,
    };
    means("operate r2 local by=r1 flush", by);
    means("operate r2 local file=G unlink", operate(None, Actor::Other, Intent::Unlink));
    for (name, protocol) in PROTOCOLS {
        let actor = Actor::Owner(OwnerId::new(protocol, 7, 8));
        let line = format!("operate r2 {name}:h7.p8 file=G write range=3+4");
        means(&line, operate(None, actor, Intent::Write { offset: 3, len: 4 }));
    }
}

const PROTOCOLS: [(&str, Protocol); 4] =
    [("nfs3", Protocol::Nfs3), ("nlm", Protocol::Nlm), ("nfs4", Protocol::Nfs4), ("local", Protocol::Local)];

#[test]
fn every_event_of_another_protocol_can_be_written() {
    let (owner, file) = (OwnerId::new(Protocol::Nlm, 1, 3), FileKey::new(0x47));
    let lock = |exclusive| OwnerLock::new(R2, owner, file, exclusive);
    for (line, lock) in [
        ("0+10 exclusive", lock(true).range(0, 10)),
        ("7+0x10 shared", lock(false).range(7, 16)),
        ("5+end exclusive wait", lock(true).range(5, u64::MAX).waiting()),
        ("0+0 shared reclaim wait", lock(false).range(0, 0).waiting().reclaiming()),
    ] {
        means(&format!("lock r2 nlm:h1.p3 file=G {line}"), Event::OwnerLock(lock));
        means(&format!("test-lock r2 nlm:h1.p3 file=G {line}"), Event::TestLock(lock));
    }
    let unlock = |offset, len| Event::OwnerUnlock { request: R2, owner, file, offset, len };
    means("unlock r2 nlm:h1.p3 file=G 1+2", unlock(1, 2));
    means("unlock r2 nlm:h1.p3 file=G 0+end", unlock(0, u64::MAX));

    let owner = OwnerId::new(Protocol::Nfs4, 2, 1);
    let reserve = |access| Reservation::new(R2, owner, file, access);
    let both = Access::READ_DATA | Access::WRITE_DATA;
    let delete = ShareMode::DELETE;
    for (line, reservation) in [
        ("access=read", reserve(Access::READ_DATA)),
        ("access=write deny=write", reserve(Access::WRITE_DATA).sharing(delete | ShareMode::READ)),
        ("access=read+write deny=read", reserve(both).sharing(delete | ShareMode::WRITE)),
        ("access=write deny=read+write truncate", reserve(Access::WRITE_DATA).sharing(delete).overwriting()),
        ("access=read reclaim", reserve(Access::READ_DATA).reclaiming()),
    ] {
        means(&format!("reserve r2 nfs4:h2.p1 file=G {line}"), Event::Reserve(reservation));
    }
    means("unreserve nfs4:h2.p1 file=G", Event::Unreserve { owner, file });
    let delegate = |kind, reclaims| Event::Delegate { request: R2, owner, file, kind, reclaims };
    means("delegate r2 nfs4:h2.p1 file=G read", delegate(DelegationKind::Read, false));
    means("delegate r2 nfs4:h2.p1 file=G write reclaim", delegate(DelegationKind::Write, true));
    means("return nfs4:h2.p1 file=G", Event::Returned { owner, file });
    means("owner-gone nfs4:h2.p1", Event::OwnerGone { owner });
    means("host-gone local:h0", Event::HostGone { protocol: Protocol::Local, host: 0 });
    means("grace-over", Event::GraceOver);
}

#[test]
fn what_another_protocol_does_not_have_is_an_error() {
    unreadable("lock r1 nlm:h1.p3 0+10 exclusive\n", 1, "file= is missing");
    unreadable("lock r1 nlm:h1.p3 file=F 0+10\n", 1, "shared or exclusive is missing");
    unreadable("lock r1 nlm:h1.p3 file=F exclusive\n", 1, "a range is OFFSET+LENGTH, not exclusive");
    unreadable("lock r1 nlm:h1.p3 file=F 0+10 X\n", 1, "a lock is shared or exclusive, not X");
    unreadable("lock r1 nlm:h1.p3 file=F 0+10 shared waits\n", 1, "unknown word: waits");
    unreadable("lock r1 smb:h1.p3 file=F 0+10 shared\n", 1, "no such protocol: smb");
    unreadable("lock r1 nlm:h1 file=F 0+10 shared\n", 1, "an owner is PROTOCOL:h1.p1, not nlm:h1");
    unreadable("lock r1 nlm:1.p1 file=F 0+10 shared\n", 1, "a host, h1, is expected, not 1");
    unreadable("lock r1 nlm:h1.3 file=F 0+10 shared\n", 1, "an owner, p1, is expected, not 3");
    unreadable("unlock r1 nlm:h1.p3 file=F 0+10 exclusive\n", 1, "unknown word: exclusive");
    unreadable("reserve r1 nfs4:h1.p1 file=F\n", 1, "access= is missing");
    let what = "a reservation has nothing named delete";
    unreadable("reserve r1 nfs4:h1.p1 file=F access=delete\n", 1, what);
    unreadable("reserve r1 nfs4:h1.p1 file=F access=read deny=delete\n", 1, what);
    unreadable("delegate r1 nfs4:h1.p1 file=F\n", 1, "read or write is missing");
    unreadable("delegate r1 nfs4:h1.p1 file=F both\n", 1, "a delegation is to read or write, not both");
    unreadable("host-gone nlm\n", 1, "a host is PROTOCOL:h1, not nlm");
    unreadable("host-gone nlm:h1.p1\n", 1, "a host, h1, is expected, not h1.p1");
    unreadable("grace-over now\n", 1, "unknown word: now");
    let what = "an owner acts for itself, without by= and as=";
    unreadable("operate r1 nlm:h1.p1 as=A:K1 file=F write\n", 1, what);
    unreadable("operate r1 nlm:h1.p1 write\n", 1, "file= is missing");
}

#[test]
fn a_range_is_said_as_it_was_asked_for() {
    for range in ["0+10", "0+end", "5+end", "0+1"] {
        let story = format!(
            "# RFC 8881 18.10\nlock r1 nfs4:h1.p1 file=F {range} exclusive\n     > accepted r1\n\
             test-lock r2 nlm:h2.p1 file=F 0+20 shared\n     > tested r2 nfs4:h1.p1 {range} exclusive\n"
        );
        assert_eq!(play(&story), Ok(story));
    }
}

#[test]
fn every_lock_and_every_acknowledgment_can_be_written() {
    let element = |offset, len, flags| LockElement { offset, len, flags: LockFlags::from_bits_retain(flags) };
    let lock = |origin, allocation, elements| Event::Lock(Lock::new(R2, origin, OPEN, allocation, elements));
    let elements = vec![element(0, 10, 0x12), element(u64::MAX, 0, 0x01), element(3, 4, 0x0f)];
    means("lock r2 c3 r1 0+10:X! 0xffffffffffffffff+0:S 3+4:XSU+0x8", lock(ORIGIN, u64::MAX, elements));
    let line = "lock r2 c3 session=s8 tree=t9 r1 allocation=4096 0+1:U 2+3:-";
    means(line, lock(ELSEWHERE, 4096, vec![element(0, 1, 4), element(2, 3, 0)]));
    means("lock r2 c3 r1", lock(ORIGIN, u64::MAX, Vec::new()));

    let ack = OplockBreak { level: OplockLevel::II, file_id: OPEN };
    let session = SessionId::new(8);
    means("oplock-ack r2 c3 r1 II session=s8", Event::OplockAck { request: R2, session, ack });
    means("close r2 c3 r1 session=s8", Event::Close { request: R2, session, file_id: OPEN });
    means("cancel r1", Event::Cancel { request: RequestId::new(1) });
}
