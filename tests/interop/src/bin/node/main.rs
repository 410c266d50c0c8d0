//! `node --store STORE [--listen ADDRESS]`: a server of handles without SMB around it, whose persistent handles outlive it.
//!
//! It drives `leasehold::server::Server` for any number of TCP clients, and every decision is the machine's. Clients speak lines
//! of JSON: see `line.rs`. There are no files behind it: every number names one, and opening it always succeeds.
//!
//! STORE is `memory`, `redb:PATH` or `etcd:http://HOST:PORT[/PREFIX][?ttl=SECONDS]`. On standard output there are, in this
//! order, `restored N` and `listening ADDRESS`, and in the end perhaps `fenced`: another node may own the store, so this one
//! breaks off, with exit status 3 and without another word to anybody.
//!
//! ```text
//! reader ─┐                                              ┌─► writer (asks again whether the store is owned)
//! reader ─┼─► inbox ─► the machine: one thread, this one ─┼─► writer
//! accept ─┘     ▲                                        └─► store ─┐ many changes, one flush
//!               └────────────────── Persisted ────────────────────┘
//! ```

mod line;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::Duration;
use std::{env, thread};

use leasehold::persist::Change;
use leasehold::server::{
    Action, Capabilities, Config, Event, Misuse, ObjectKind, Opened, Origin, PersistSeq, RouteSeed, Server,
    SessionEnd, Terms,
};
use leasehold::{
    ConnId, CreateAction, Dialect, HashKey, Instant, Machine as _, RequestId, SessionId, TreeId, UserId,
};
use leasehold_interop::store::keeping::{self, Fenced, RestoreError};
use leasehold_interop::store::ownership::{self, Ownership};
use leasehold_interop::store::{StoreError, StoreUrl};
use serde_json::{Value, json};

/// The same for every node that may ever read the records. A real server draws it once, when it is set up.
const ROUTE_SEED: [u8; 16] = *b"route of a node.";
/// The longest line that a client may send, in octets.
const LONGEST_LINE: u64 = 1 << 14;
/// How many answers a client may leave unread.
const UNREAD: usize = 4096;
/// How many events may be on their way to the machine.
const UNHEARD: usize = 4096;
/// Exit status of a node that is fenced.
const FENCED: u8 = 3;

/// What the thread of the machine is told by the others.
enum Inbox {
    Arrived(TcpStream),
    Line(ConnId, Vec<u8>),
    Gone(ConnId),
    /// From the store.
    Stored(Box<Event>),
    /// From the store: it belongs to somebody else.
    Fenced,
}

fn main() -> ExitCode {
    let (mut url, mut listen) = (None, "127.0.0.1:0".to_owned());
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--store", Some(value)) => url = Some(value),
            ("--listen", Some(value)) => listen = value,
            _ => url = None,
        }
    }
    let Some(url) = url else {
        eprintln!("usage: node --store memory|redb:PATH|etcd:URL [--listen ADDRESS]");
        return ExitCode::from(2);
    };
    match serve(&url, &listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Store(StoreError::Fenced)) => {
            println!("fenced");
            ExitCode::from(FENCED)
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("{0}")]
    Misuse(#[from] Misuse),
}

fn serve(url: &str, listen: &str) -> Result<(), Failure> {
    let mut store = StoreUrl::parse(url)?.open()?;
    let image = store.load()?;
    let ownership = store.ownership();
    let (to_store, changes) = mpsc::channel();
    let (to_machine, inbox) = mpsc::sync_channel(UNHEARD);

    let mut node = Node::new(image.below, to_machine.clone(), to_store, ownership);
    println!("restored {}", keeping::restore(store.as_mut(), image, |event| node.handle(event))?);
    node.handle(Event::Recovered)?;
    // What it reserves at the start is stored before anybody comes, so that the first can be promised something.
    let stored = keeping::flush(store.as_mut(), changes.try_iter()).map_err(|Fenced| StoreError::Fenced)?;
    stored.into_iter().try_for_each(|event| node.handle(event))?;
    let to_loop = to_machine.clone();
    thread::spawn(move || {
        keeping::keep(store, &changes, |told| {
            let told = told.map_or(Inbox::Fenced, |event| Inbox::Stored(Box::new(event)));
            to_loop.send(told).is_ok()
        });
    });

    // Not before all is restored: until then there is nobody to talk to.
    let listener = TcpListener::bind(listen)?;
    println!("listening {}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if to_machine.send(Inbox::Arrived(stream)).is_err() {
                return;
            }
        }
    });
    node.run(&inbox)
}

/// The machine, and those who talk to it.
struct Node {
    server: Server,
    ownership: Ownership,
    to_machine: SyncSender<Inbox>,
    to_store: Sender<(PersistSeq, Change)>,
    peers: BTreeMap<ConnId, Peer>,
    sessions: BTreeMap<SessionId, UserId>,
    /// Whose request it was, and what they call it.
    requests: BTreeMap<RequestId, (ConnId, u64)>,
    /// For connections, sessions and requests: numbers that were not used before, nor by another node, which clients may name as
    /// their former session.
    last: u64,
}

/// A connection.
struct Peer {
    stream: TcpStream,
    to_writer: SyncSender<String>,
    session: Option<(SessionId, UserId)>,
}

impl Node {
    fn new(
        first_serial: u64,
        to_machine: SyncSender<Inbox>,
        to_store: Sender<(PersistSeq, Change)>,
        ownership: Ownership,
    ) -> Self {
        let random = || RandomState::new().hash_one(0);
        let hash_key = HashKey::new(((u128::from(random()) << 64) | u128::from(random())).to_le_bytes());
        let mut config = Config::new(hash_key, RouteSeed::new(ROUTE_SEED), first_serial.max(1));
        config.persistence = true;
        Self {
            server: Server::new(config),
            ownership,
            to_machine,
            to_store,
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            requests: BTreeMap::new(),
            last: random() >> 32 << 31,
        }
    }

    /// Serves until the store belongs to somebody else.
    fn run(&mut self, inbox: &Receiver<Inbox>) -> Result<(), Failure> {
        loop {
            let due = self.server.poll_timeout().map_or(Duration::MAX, |due| due.saturating_since(now()));
            let received = inbox.recv_timeout(due.min(self.ownership.left()));
            if !self.ownership.lasts() {
                return Err(StoreError::Fenced.into());
            }
            match received {
                Ok(Inbox::Arrived(stream)) => self.arrived(stream),
                Ok(Inbox::Line(conn, line)) => self.line(conn, &line),
                Ok(Inbox::Gone(conn)) => self.gone(conn),
                Ok(Inbox::Stored(event)) => self.handle(*event)?,
                Ok(Inbox::Fenced) => return Err(StoreError::Fenced.into()),
                Err(RecvTimeoutError::Timeout) => {
                    let mut actions = Vec::new();
                    self.server.handle_timeout(now(), &mut actions);
                    self.perform(actions)?;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn arrived(&mut self, stream: TcpStream) {
        let conn = ConnId::new(self.number());
        let (to_writer, lines) = mpsc::sync_channel(UNREAD);
        let (Ok(from), Ok(to)) = (stream.try_clone(), stream.try_clone()) else { return };
        let (to_machine, ownership) = (self.to_machine.clone(), self.ownership.clone());
        thread::spawn(move || read(conn, from, &to_machine));
        thread::spawn(move || write(to, &lines, &ownership));
        self.peers.insert(conn, Peer { stream, to_writer, session: None });
    }

    fn gone(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.remove(&conn) else { return };
        let _ = peer.stream.shutdown(Shutdown::Both);
        self.requests.retain(|_, (whose, _)| *whose != conn);
        if let Some((session, _)) = peer.session {
            self.sessions.remove(&session);
        }
        // One that never said who it is is not known to the machine.
        let _ = self.handle(Event::Disconnected { conn });
    }

    fn line(&mut self, conn: ConnId, line: &[u8]) {
        let request = RequestId::new(self.number());
        let Ok(value) = serde_json::from_slice::<Value>(line) else {
            return self.say(conn, &json!({ "error": "not JSON" }));
        };
        let Some(id) = value["id"].as_u64() else {
            return self.say(conn, &json!({ "error": "no id" }));
        };
        if let Err(error) = self.request(conn, request, id, &value) {
            self.requests.remove(&request);
            self.say(conn, &json!({ "id": id, "error": error }));
        }
    }

    fn request(&mut self, conn: ConnId, request: RequestId, id: u64, value: &Value) -> Result<(), String> {
        let misuse = |misuse: Misuse| misuse.to_string();
        match value["do"].as_str() {
            Some("connect") => {
                let client = line::client(value)?;
                let capabilities = Capabilities::LEASING | Capabilities::PERSISTENT_HANDLES;
                let terms = Terms::new(Dialect::Smb311, capabilities);
                self.handle(Event::Connected { conn, client, terms }).map_err(misuse)?;
                self.say(conn, &json!({ "id": id, "connected": true }));
                Ok(())
            }
            Some("session") => {
                let (user, previous) = line::session(value)?;
                let session = SessionId::new(self.number());
                if self.peers.get(&conn).is_none_or(|peer| peer.session.is_some()) {
                    return Err("one session for a connection".into());
                }
                self.handle(Event::SessionBound { conn, session }).map_err(misuse)?;
                self.sessions.insert(session, user);
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.session = Some((session, user));
                }
                // MS-SMB2 3.3.5.5.3: another one, and only of the same user. One that has ended meanwhile is no mistake.
                if let Some(previous) = previous.filter(|previous| self.sessions.get(previous) == Some(&user))
                {
                    let _ = self.handle(Event::SessionEnded { session: previous, end: SessionEnd::Replaced });
                }
                self.say(conn, &json!({ "id": id, "session": session.get() }));
                Ok(())
            }
            Some("count") => {
                let snapshot = self.server.snapshot();
                let opens = snapshot.files.iter().flat_map(|file| &file.opens);
                let absent = opens.clone().filter(|open| !open.connected).count();
                self.say(conn, &json!({ "id": id, "opens": opens.count(), "absent": absent }));
                Ok(())
            }
            Some(what) => {
                let session = self.peers.get(&conn).and_then(|peer| peer.session);
                let (session, user) = session.ok_or("no session")?;
                let origin = Origin::new(conn, session, TreeId::new(1));
                let event = line::event(what, value, request, origin, user)?;
                self.requests.insert(request, (conn, id));
                self.handle(event).map_err(misuse)
            }
            None => Err("nothing to do".into()),
        }
    }

    /// Tells the machine, and does what it says.
    fn handle(&mut self, event: Event) -> Result<(), Misuse> {
        let mut actions = Vec::new();
        self.server.handle(now(), event, &mut actions)?;
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), Misuse> {
        let mut due = VecDeque::from(actions);
        let mut more = Vec::new();
        while let Some(action) = due.pop_front() {
            if let Some(event) = self.carry_out(action) {
                self.server.handle(now(), event, &mut more)?;
                due.extend(more.drain(..));
            }
        }
        Ok(())
    }

    /// Does one thing; what came of it, if the machine wants to know.
    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::OpenFile { file_id, request: _ } => {
                let opened = Opened::new(CreateAction::Opened, ObjectKind::File, line::ALLOCATION);
                return Some(Event::Opened { file_id, result: Ok(opened) });
            }
            Action::Proceed { request, ticket } => {
                self.answer(request, json!({ "done": true }));
                return Some(Event::Done { ticket, result: Ok(()) });
            }
            Action::Resolve { request } => self.answer(request, json!({ "again": true })),
            Action::Interim { request } => {
                if let Some(&(conn, id)) = self.requests.get(&request) {
                    self.say(conn, &json!({ "id": id, "pending": true }));
                }
            }
            Action::Granted { request, grant } => self.answer(request, line::granted(&grant)),
            Action::Refused { request, status } => self.answer(request, line::refused(status)),
            Action::Closed { request } => self.answer(request, json!({ "closed": true })),
            Action::Accepted { request } => self.answer(request, json!({ "accepted": true })),
            Action::SendLeaseBreak { id, conn, protection: _, body } => {
                if !self.peers.contains_key(&conn) {
                    return Some(Event::Undelivered { id, conn });
                }
                self.say(conn, &line::lease_break(&body));
            }
            Action::SendOplockBreak { id, conn, .. } => return Some(Event::Undelivered { id, conn }),
            Action::AnswerLeaseAck { request, result } => match result {
                Ok(ack) => self.answer(request, json!({ "acknowledged": ack.state.to_string() })),
                Err(status) => self.answer(request, line::refused(status)),
            },
            // Nobody asks for an oplock here.
            Action::AnswerOplockAck { request, result: _ } => {
                self.answer(request, json!({ "error": "no oplocks" }))
            }
            // The store outlives this thread, unless it is fenced: then its last word is on the way.
            Action::Persist { seq, change } => drop(self.to_store.send((seq, change))),
            // Nobody speaks anything but SMB.
            Action::Recall { .. }
            | Action::Revoked { .. }
            | Action::Repeated { .. }
            | Action::Tested { .. } => {}
            // There are no files.
            Action::Unlink { .. } | Action::CloseFile { .. } => {}
        }
        None
    }

    fn answer(&mut self, request: RequestId, mut answer: Value) {
        // The connection may be gone.
        let Some((conn, id)) = self.requests.remove(&request) else { return };
        answer["id"] = json!(id);
        self.say(conn, &answer);
    }

    fn say(&mut self, conn: ConnId, line: &Value) {
        let Some(peer) = self.peers.get(&conn) else { return };
        // Whoever does not listen is cut off; the reader reports it.
        if peer.to_writer.try_send(format!("{line}\n")).is_err() {
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

fn read(conn: ConnId, stream: TcpStream, to_machine: &SyncSender<Inbox>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(1..) if line.last() == Some(&b'\n') => {
                if to_machine.send(Inbox::Line(conn, line)).is_err() {
                    return;
                }
            }
            // The end, perhaps in the middle of a line, or one that is too long.
            Ok(_) | Err(_) => {
                let _ = to_machine.send(Inbox::Gone(conn));
                return;
            }
        }
    }
}

fn write(mut stream: TcpStream, lines: &Receiver<String>, ownership: &Ownership) {
    let _ = stream.set_nodelay(true);
    while let Ok(line) = lines.recv() {
        // What was true when it was said may be another node's to say by now.
        if !ownership.lasts() || stream.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn now() -> Instant {
    Instant::from_millis(ownership::now())
}
