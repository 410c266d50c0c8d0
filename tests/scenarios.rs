//! Runs the stories of `scenarios/`: event lines, and the actions that must follow. The format is in its README.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use leasehold::server::{
    Action, BreakId, Capabilities, Config, Create, Event, Grant, Link, ObjectKind, Opened, Origin, RouteSeed,
    Server, Terms, Ticket,
};
use leasehold::wire::{BreakFlags, Lease, LeaseAck, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, Epoch, FileId,
    FileKey, HashKey, Instant, Intent, LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId,
    ShareMode, Status, TreeId,
};

#[test]
fn every_story_goes_as_it_is_written() {
    let mut paths = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios"), &mut paths);
    paths.sort();
    let mut failed = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("# "), "{}: the first line names the specification", path.display());
        let played = play(&text);
        if played == text {
            continue;
        }
        if std::env::var_os("LEASEHOLD_REWRITE").is_some() {
            std::fs::write(path, &played).unwrap();
        }
        failed.push(format!("{}\n{}", path.display(), difference(&text, &played)));
    }
    println!("{} stories", paths.len());
    assert!(paths.len() >= 20, "stories are missing: {}", paths.len());
    assert!(failed.is_empty(), "{} of {} stories:\n\n{}", failed.len(), paths.len(), failed.join("\n"));
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

fn difference(written: &str, played: &str) -> String {
    let mut lines = written.lines().zip(played.lines()).enumerate();
    match lines.find(|(_, (written, played))| written != played) {
        Some((at, (written, played))) => {
            format!("  line {}:\n    written: {written}\n    came:    {played}\n", at + 1)
        }
        None => format!("  {} lines are written, {} came\n", written.lines().count(), played.lines().count()),
    }
}

/// Plays the events of a story and writes down what came.
fn play(text: &str) -> String {
    let mut stage = Stage::new();
    let mut played = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(played, "{line}").unwrap();
        let mut words = line.split_whitespace().peekable();
        if words.peek().is_none_or(|word| word.starts_with('#')) {
            continue;
        }
        if let Some(time) = words.peek().and_then(|word| word.strip_prefix('@')) {
            stage.now = Instant::from_millis(time.parse().unwrap());
            words.next();
        }
        let words: Vec<&str> = words.collect();
        assert!(words.first() != Some(&">"), "an action without an event: {line}");
        for action in stage.event(&words) {
            writeln!(played, "     > {action}").unwrap();
        }
        while lines.peek().is_some_and(|line| line.trim_start().starts_with('>')) {
            lines.next();
        }
    }
    played
}

struct Stage {
    now: Instant,
    server: Server,
    /// Opens by the request that made them, running operations, notifications.
    opens: BTreeMap<RequestId, FileId>,
    running: BTreeMap<RequestId, Ticket>,
    sent: BTreeMap<(ConnId, LeaseKey), BreakId>,
}

impl Stage {
    fn new() -> Self {
        let config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        Self {
            now: Instant::ZERO,
            server: Server::new(config),
            opens: BTreeMap::new(),
            running: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Carries one event line out and returns the action lines.
    fn event(&mut self, words: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        for event in self.events(words) {
            let mut actions = Vec::new();
            if let Err(misuse) = self.server.handle(self.now, event, &mut actions) {
                lines.push(format!("misuse {misuse:?}"));
            }
            lines.extend(actions.into_iter().map(|action| self.line(action)));
        }
        if words == ["time"] {
            let mut actions = Vec::new();
            self.server.handle_timeout(self.now, &mut actions);
            lines.extend(actions.into_iter().map(|action| self.line(action)));
        }
        lines
    }

    fn events(&self, words: &[&str]) -> Vec<Event> {
        let args = Args(words);
        match words[0] {
            "connect" => {
                let conn = args.conn(1);
                let dialect = match args.value("dialect").unwrap_or("3.1.1") {
                    "2.0.2" => Dialect::Smb202,
                    "2.1" => Dialect::Smb210,
                    "3.0" => Dialect::Smb300,
                    "3.1.1" => Dialect::Smb311,
                    other => panic!("dialect {other}"),
                };
                let mut capabilities = Capabilities::LEASING | Capabilities::DIRECTORY_LEASING;
                capabilities.set(Capabilities::LEASING, !args.has("no-leasing"));
                capabilities.set(Capabilities::DIRECTORY_LEASING, !args.has("no-directory-leasing"));
                let client = ClientGuid::from_wire([args.value("guid").unwrap().as_bytes()[0]; 16]);
                let session = args.session().unwrap_or(SessionId::new(conn.get()));
                vec![
                    Event::Connected { conn, client, terms: Terms::new(dialect, capabilities) },
                    Event::SessionBound { conn, session },
                ]
            }
            "disconnect" => vec![Event::Disconnected { conn: args.conn(1) }],
            "logoff" => vec![Event::SessionEnded { session: SessionId::new(number(words[1], 's')) }],
            "tree-disconnect" => {
                let session = SessionId::new(number(words[2], 's'));
                vec![Event::TreeDisconnected { request: args.request(1), session, tree: TreeId::new(1) }]
            }
            "create" => vec![Event::Create(args.create())],
            "opened" => {
                let file_id = self.opens[&args.request(1)];
                let kind = if args.has("directory") { ObjectKind::Directory } else { ObjectKind::File };
                let result = match args.value("fails") {
                    Some(status) => Err(status_of(status)),
                    None => Ok(Opened::new(CreateAction::Opened, kind, u64::MAX)),
                };
                vec![Event::Opened { file_id, result }]
            }
            "operate" => {
                let intent = match words {
                    words if words.contains(&"read") => Intent::Read { offset: 0, len: 1 },
                    words if words.contains(&"write") => Intent::Write { offset: 0, len: 1 },
                    words if words.contains(&"flush") => Intent::Flush,
                    words if words.contains(&"size") => Intent::SetSize,
                    _ => panic!("operate {words:?}"),
                };
                let file = args.file().unwrap_or(FileKey::new(u128::from(b'F')));
                let (origin, actor) = match args.value("by") {
                    Some(open) => {
                        let by = RequestId::new(number(open, 'r'));
                        (Some(args.origin()), Actor::Open(self.opens[&by]))
                    }
                    None => (None, Actor::Other),
                };
                vec![Event::Operate { request: args.request(1), origin, file, actor, intent }]
            }
            "done" => vec![Event::Done { ticket: self.running[&args.request(1)], result: Ok(()) }],
            "cancel" => vec![Event::Cancel { request: args.request(1) }],
            "close" => {
                let origin = args.origin();
                let file_id = self.opens[&RequestId::new(number(words[3], 'r'))];
                vec![Event::Close { request: args.request(1), session: origin.session, file_id }]
            }
            "lease-ack" => {
                let ack = LeaseAck { key: key(words[3]), state: state(words[4]) };
                vec![Event::LeaseAck { request: args.request(1), conn: args.conn(2), ack }]
            }
            "undelivered" => {
                let conn = args.conn(1);
                vec![Event::Undelivered { id: self.sent[&(conn, key(words[2]))], conn }]
            }
            "time" => vec![],
            other => panic!("no such event: {other}"),
        }
    }

    fn line(&mut self, action: Action) -> String {
        match action {
            Action::OpenFile { request, file_id } => {
                self.opens.insert(request, file_id);
                format!("open r{}", request.get())
            }
            Action::Resolve { request } => format!("resolve r{}", request.get()),
            Action::Unlink { file } => {
                let name = u8::try_from(file.get()).map_or('?', char::from);
                format!("unlink {name}")
            }
            Action::Interim { request } => format!("interim r{}", request.get()),
            Action::Proceed { request, ticket } => {
                self.running.insert(request, ticket);
                format!("proceed r{}", request.get())
            }
            Action::Granted { request, grant } => format!("granted r{} {}", request.get(), granted(&grant)),
            Action::Refused { request, status } => format!("refused r{} {status}", request.get()),
            Action::Closed { request } => format!("closed r{}", request.get()),
            Action::SendLeaseBreak { id, conn, body, .. } => {
                self.sent.insert((conn, body.key), id);
                let ack = if body.flags.contains(BreakFlags::ACK_REQUIRED) { "ack" } else { "no-ack" };
                let states = format!("{}->{}", body.current, body.new);
                format!(
                    "lease-break c{} {} {states} epoch={} {ack}",
                    conn.get(),
                    name(body.key),
                    body.epoch.get()
                )
            }
            Action::AnswerLeaseAck { request, result } => match result {
                Ok(ack) => format!("answer r{} {} {}", request.get(), name(ack.key), ack.state),
                Err(status) => format!("answer r{} {status}", request.get()),
            },
            other @ (Action::Accepted { .. }
            | Action::SendOplockBreak { .. }
            | Action::AnswerOplockAck { .. }) => format!("{other:?}"),
            Action::CloseFile { file_id, link } => {
                let (request, _) = self.opens.iter().find(|(_, open)| **open == file_id).expect("an open");
                let link = match link {
                    Link::Keep => "keep",
                    Link::Remove => "remove",
                };
                format!("close-file r{} {link}", request.get())
            }
        }
    }
}

fn granted(grant: &Grant) -> String {
    let Some(lease) = grant.lease else { return format!("{:?}", grant.level).to_lowercase() };
    assert_eq!(grant.level, OplockLevel::Lease);
    let mut line = format!("lease={}:{}", name(lease.key()), lease.state());
    match lease.epoch() {
        Some(epoch) => write!(line, " epoch={}", epoch.get()).unwrap(),
        None => line.push_str(" v1"),
    }
    if let Some(parent) = lease.parent() {
        write!(line, " parent={}", name(parent)).unwrap();
    }
    if lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS) {
        line.push_str(" breaking");
    }
    line
}

/// The words of an event line.
struct Args<'a>(&'a [&'a str]);

impl Args<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn request(&self, at: usize) -> RequestId {
        RequestId::new(number(self.0[at], 'r'))
    }

    fn conn(&self, at: usize) -> ConnId {
        ConnId::new(number(self.0[at], 'c'))
    }

    fn session(&self) -> Option<SessionId> {
        self.value("session").map(|session| SessionId::new(number(session, 's')))
    }

    fn origin(&self) -> Origin {
        let conn = self.conn(2);
        Origin::new(conn, self.session().unwrap_or(SessionId::new(conn.get())), TreeId::new(1))
    }

    fn file(&self) -> Option<FileKey> {
        self.value("file").map(|file| FileKey::new(u128::from(file.as_bytes()[0])))
    }

    /// `share=rwd` and less; everything if it is not said.
    fn sharing(&self) -> ShareMode {
        let Some(letters) = self.value("share") else { return ShareMode::ALL };
        let mut sharing = ShareMode::empty();
        sharing.set(ShareMode::READ, letters.contains('r'));
        sharing.set(ShareMode::WRITE, letters.contains('w'));
        sharing.set(ShareMode::DELETE, letters.contains('d'));
        sharing
    }

    fn create(&self) -> Create {
        let desired = match self.value("access") {
            None => Access::READ_DATA | Access::WRITE_DATA,
            Some("attributes") => Access::READ_ATTRIBUTES | Access::SYNCHRONIZE,
            Some("control") => Access::READ_CONTROL,
            Some("delete") => Access::DELETE,
            Some("read") => Access::READ_DATA,
            Some(other) => panic!("access {other}"),
        };
        let disposition = match self.0 {
            words if words.contains(&"overwrite") => Disposition::OverwriteIf,
            words if words.contains(&"supersede") => Disposition::Supersede,
            _ => Disposition::OpenIf,
        };
        let mut options = CreateOptions::empty();
        options.set(CreateOptions::DELETE_ON_CLOSE, self.has("delete-on-close"));
        let lease = self.value("lease").map(|lease| {
            let (key_name, asked) = lease.split_once(':').unwrap();
            let (key, state, flags) = (key(key_name), state(asked), LeaseFlags::empty());
            if self.has("v1") {
                Lease::V1(LeaseV1 { key, state, flags })
            } else {
                let epoch = Epoch::new(self.value("epoch").map_or(0, |epoch| epoch.parse().unwrap()));
                let parent = self.value("parent").map(crate::key);
                Lease::V2(LeaseV2 { key, state, flags, parent, epoch })
            }
        });
        let level = match (self.value("level"), lease) {
            (Some("none"), _) | (None, None) => OplockLevel::None,
            (Some("batch"), _) => OplockLevel::Batch,
            (Some("lease"), _) | (None, Some(_)) => OplockLevel::Lease,
            (Some(other), _) => panic!("level {other}"),
        };
        Create::new(self.request(1), self.origin(), self.file().unwrap())
            .access(desired, self.sharing())
            .disposition(disposition, options)
            .caching(level, lease)
    }
}

fn number(word: &str, prefix: char) -> u64 {
    word.strip_prefix(prefix)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{prefix}?: {word}"))
}

/// `K1` is sixteen octets of 1; `zero` is the key that is none.
fn key(word: &str) -> LeaseKey {
    if word == "zero" {
        LeaseKey::ZERO
    } else {
        LeaseKey::new([u8::try_from(number(word, 'K')).unwrap(); 16])
    }
}

fn name(key: LeaseKey) -> String {
    format!("K{}", key.octets()[0])
}

fn state(word: &str) -> LeaseState {
    word.chars().filter(|letter| *letter != '-').fold(LeaseState::NONE, |state, letter| {
        state
            | match letter {
                'R' => LeaseState::READ,
                'W' => LeaseState::WRITE,
                'H' => LeaseState::HANDLE,
                other => panic!("state {other}"),
            }
    })
}

fn status_of(word: &str) -> Status {
    match word {
        "OBJECT_NAME_NOT_FOUND" => Status::OBJECT_NAME_NOT_FOUND,
        "ACCESS_DENIED" => Status::from_wire(0xc000_0022),
        other => panic!("status {other}"),
    }
}
