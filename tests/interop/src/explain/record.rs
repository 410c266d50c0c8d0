//! From packets to the events of a trace, one trace for each server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use leasehold::Status;
use leasehold::wire::{Header, HeaderFlags, Notification, Route};
use serde_json::json;

use super::before::Before;
use super::capture::Packet;
use super::fields::{self, Fields, put};
use super::labels::{Labels, Tree};
use super::link::{self, Other};
use super::messages::{Inbox, Kind, Strange};
use super::stream::{ConnIndex, Step, Streams, Way};
use super::{Note, Recording};
use crate::smb::request::{Command, Request};
use crate::smb::response::Response;

/// What was read so far.
#[derive(Default)]
pub(super) struct Recorder {
    streams: Streams,
    steps: Vec<Step>,
    conns: Vec<Conn>,
    conns_named: usize,
    servers: Vec<Server>,
    /// By ClientGuid.
    clients: BTreeMap<[u8; 16], String>,
    events: Vec<Event>,
    notes: Vec<(Option<ConnIndex>, Note)>,
    /// Where: the packet that is being read.
    now: Place,
    /// What was said of packets that are not read.
    unread: BTreeSet<String>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    frame: u64,
    at: u64,
}

/// One event of a trace.
struct Event {
    conn: ConnIndex,
    place: Place,
    fields: Fields,
    /// The event that it is about, and the field that says so.
    about: Option<(&'static str, usize)>,
    /// Whether the status counts.
    asserted: bool,
}

struct Conn {
    /// Once it has said something of SMB2.
    label: Option<String>,
    from: SocketAddr,
    to: SocketAddr,
    whole: bool,
    /// Whether it is something other than SMB2.
    foreign: bool,
    /// Before which event there were octets that are no message. A server ends such a connection (MS-SMB2 3.3.5.2).
    strange: Option<usize>,
    closed: bool,
    /// Which way requests go, once that is known.
    requests: Option<Way>,
    out: Inbox,
    back: Inbox,
    /// How many events there were when octets last came, each way.
    seen_out: usize,
    seen_back: usize,
    server: Option<usize>,
    client: Option<String>,
    dialect: u16,
    /// By MessageId.
    asked: HashMap<u64, Asked>,
    /// Requests that wait, by AsyncId.
    waiting: HashMap<u64, usize>,
    /// What was said of it already.
    noted: BTreeSet<&'static str>,
}

/// A request that is not answered yet.
struct Asked {
    command: Command,
    /// Its event; `None` if it is left out.
    event: Option<usize>,
    /// The share, of a TREE_CONNECT that which is asked for.
    share: String,
    /// The name that is opened or given.
    name: Option<String>,
    closes: Option<leasehold::FileId>,
    /// The handle of another connection that is wanted back is not known.
    stranger: bool,
}

#[derive(Default)]
struct Server {
    /// ServerGuid
    guid: Option<[u8; 16]>,
    addresses: BTreeSet<SocketAddr>,
    labels: Labels,
    before: Before,
    /// Since which event something is missing.
    blind: Option<usize>,
}

/// FSCTLs that are told of: those that the player has code for, see `requests.rs` of the replay.
const CONTROLS: [u32; 4] = [0x0014_0204, 0x0009_00c0, 0x0014_01d4, 0x8384_8003];
/// FSCTL_SRV_COPYCHUNK: it writes, although its code does not say so.
const COPYCHUNK: u32 = 0x0014_40f2;
/// FILE_WRITE_ACCESS in the code of a control
const WRITES: u32 = 0x0000_8000;
/// STATUS_OBJECT_NAME_COLLISION
const COLLISION: Status = Status::from_wire(0xc000_0035);
/// SMB2_SHARE_TYPE_DISK
const DISK: u8 = 1;

impl Recorder {
    /// Reads the next packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) {
        self.now = Place { frame: packet.frame, at: packet.at };
        match link::segment(packet) {
            Ok(segment) => {
                let mut steps = std::mem::take(&mut self.steps);
                self.streams.segment(&segment, &mut steps);
                for step in steps.drain(..) {
                    self.step(step);
                }
                self.steps = steps;
            }
            Err(Other::Link(link)) => self.unread(format!("packets of link type {link} are not read")),
            Err(Other::Fragment) => self.unread("fragments of IP packets are not put together".to_owned()),
            Err(Other::Foreign) => {}
        }
    }

    /// The end: what was said of each server.
    pub(super) fn finish(mut self, broken_off: Option<String>) -> Vec<Recording> {
        let mut steps = Vec::new();
        self.streams.end(&mut steps);
        for step in steps {
            self.step(step);
        }
        if let Some(why) = broken_off {
            self.note(None, &why);
        }
        (0..self.servers.len()).map(|server| self.recording(server)).collect()
    }

    fn unread(&mut self, what: String) {
        if self.unread.insert(what.clone()) {
            self.note(None, &what);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Opened { conn, from, to, whole } => {
                self.conns.push(Conn::new(from, to, whole));
                self.event(conn, object("connect"), None);
            }
            Step::Data { conn, way, octets } => self.data(conn, way, &octets),
            Step::Gap { conn, way, octets } => {
                let Some(state) = self.conns.get_mut(conn) else { return };
                state.inbox(way).lost();
                if state.label.is_some() {
                    let side = if state.requests == Some(way) { "client" } else { "server" };
                    let since = *state.seen(way);
                    self.blind_since(
                        conn,
                        since,
                        &format!("{octets} octets of the {side} were not captured"),
                    );
                }
            }
            Step::Closed { conn } => {
                if let Some(state) = self.conns.get_mut(conn) {
                    state.closed = true;
                }
                self.event(conn, object("disconnect"), None);
            }
        }
    }

    fn data(&mut self, conn: ConnIndex, way: Way, octets: &[u8]) {
        let Some(state) = self.conns.get_mut(conn).filter(|state| !state.foreign) else { return };
        let mut messages = Vec::new();
        let taken = state.inbox(way).take(octets, |kind, message| messages.push((kind, message.to_vec())));
        for (kind, message) in messages {
            self.message(conn, way, kind, &message);
        }
        let events = self.events.len();
        let Some(state) = self.conns.get_mut(conn) else { return };
        *state.seen(way) = events;
        match taken {
            Ok(()) => {}
            Err(Strange) if state.label.is_none() => state.foreign = true,
            Err(Strange) => {
                state.strange = Some(events);
                self.note(Some(conn), "octets that are no message");
            }
        }
    }

    fn message(&mut self, conn: ConnIndex, way: Way, kind: Kind, message: &[u8]) {
        self.name_conn(conn);
        if let Some(since) = self.conns.get_mut(conn).and_then(|state| state.strange.take()) {
            self.blind_since(conn, since, "this connection goes on behind octets that are no message");
        }
        match kind {
            Kind::Smb2 => {}
            Kind::Encrypted => return self.left_out(conn, "encrypted messages, left out"),
            Kind::Compressed => return self.left_out(conn, "compressed messages, left out"),
            Kind::Smb1 => return,
        }
        let mut rest = message;
        loop {
            let Ok((header, _)) = Header::split(rest) else {
                return self.blind(conn, "a header that cannot be read");
            };
            let next = usize::try_from(header.next_command).unwrap_or(usize::MAX);
            let (element, behind) = match rest.split_at_checked(next) {
                _ if next == 0 => (rest, None),
                Some((element, behind)) if next >= 64 => (element, Some(behind)),
                Some(_) | None => return self.blind(conn, "a compound that cannot be read"),
            };
            self.element(conn, way, &header, element);
            match behind {
                Some(behind) => rest = behind,
                None => return,
            }
        }
    }

    /// One message of a compound.
    fn element(&mut self, conn: ConnIndex, way: Way, header: &Header, element: &[u8]) {
        let answers = header.flags.contains(HeaderFlags::SERVER_TO_REDIR);
        let Some(state) = self.conns.get_mut(conn) else { return };
        let other = if way == Way::Out { Way::Back } else { Way::Out };
        let requests = *state.requests.get_or_insert(if answers { other } else { way });
        if !state.whole && state.noted.insert("began") {
            // What it holds from then matters from the first event on.
            self.blind_since(conn, 0, "this connection began before the capture");
        }
        if answers == (way == requests) {
            return self.blind(conn, "a message that goes the wrong way");
        }
        if header.notifies_break() {
            return self.notification(conn, element);
        }
        match Command::from_wire(header.command.to_wire()) {
            Some(command) if answers => self.response(conn, command, header, element),
            Some(command) => self.request(conn, command, header, element),
            None => self.blind(conn, "a command that is not known"),
        }
    }

    fn request(&mut self, conn: ConnIndex, command: Command, header: &Header, element: &[u8]) {
        let Ok(request) = Request::decode(command, element) else {
            return self.blind(conn, &format!("a {} that cannot be read", fields::command(command)));
        };
        let Some(state) = self.conns.get(conn) else { return };
        let related = header.flags.contains(HeaderFlags::RELATED_OPERATIONS);
        let about = match (&request, header.route) {
            (Request::Cancel, Route::Async { id }) => state.waiting.get(&id).copied(),
            (Request::Cancel, Route::Sync { .. }) => {
                state.asked.get(&header.message_id).and_then(|asked| asked.event)
            }
            _ => None,
        };
        let session = header.session.get();
        let tree = match header.route {
            Route::Sync { tree, .. } => tree.get(),
            Route::Async { .. } => 0,
        };
        let dialect = state.dialect;
        if let Request::Negotiate(offer) = &request {
            let next = self.clients.len() + 1;
            let label =
                self.clients.entry(offer.client.to_wire()).or_insert_with(|| format!("g{next}")).clone();
            if let Some(state) = self.conns.get_mut(conn) {
                state.client = Some(label);
            }
        }
        let server = self.server(conn);
        let within_dfs = header.flags.contains(HeaderFlags::DFS_OPERATIONS);
        let mut said = fields::request(&request, &mut server.labels, within_dfs);
        if request.file_id().is_some_and(fields::is_previous) {
            said.remove("h");
        }
        let tree = if related { None } else { server.labels.tree(session, tree) };
        let mut event = object("req");
        event.extend(said);
        put(&mut event, "session", server.labels.session(session).filter(|_| !related));
        put(&mut event, "tree", tree.as_ref().map(|tree| tree.label.clone()));
        put(&mut event, "related", related.then_some(true));
        let again = header.flags.contains(HeaderFlags::REPLAY_OPERATION);
        put(&mut event, "replay", again.then_some(true));
        // In 2.x the field means nothing.
        let sequence = header.channel_sequence();
        put(&mut event, "channel_sequence", (dialect >= 0x0300 && sequence != 0).then_some(sequence));
        let mut asked = Asked::new(command, &request, &event, tree.as_ref());
        let asserted = match treatment(&request) {
            Treatment::Told => true,
            // The open is used by it, and nothing else is known.
            Treatment::Looks if request.file_id().is_some() => false,
            Treatment::Looks => return self.remember(conn, header.message_id, asked),
        };
        if tree.is_some_and(|tree| tree.no_files) {
            return self.remember(conn, header.message_id, asked);
        }
        put(&mut event, "cmd", Some(fields::command(if asserted { command } else { Command::QueryInfo })));
        let client = self.conns.get(conn).and_then(|state| state.client.clone());
        put(&mut event, "client", client);
        let index = self.event(conn, event, about.map(|about| ("cancels", about)));
        asked.event = asserted.then_some(index);
        if command != Command::Cancel {
            self.remember(conn, header.message_id, asked);
        }
    }

    /// Expects the answer of a request, told of or not.
    fn remember(&mut self, conn: ConnIndex, message: u64, asked: Asked) {
        if let Some(state) = self.conns.get_mut(conn) {
            state.asked.insert(message, asked);
        }
    }

    fn response(&mut self, conn: ConnIndex, command: Command, header: &Header, element: &[u8]) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        let waits = match header.route {
            Route::Async { id } if header.status == Status::PENDING => Some(id),
            Route::Async { .. } | Route::Sync { .. } => None,
        };
        let asked = match waits {
            Some(id) => {
                let asked = state.asked.get(&header.message_id).and_then(|asked| asked.event);
                if let Some(asked) = asked {
                    state.waiting.insert(id, asked);
                    self.event(conn, object("interim"), Some(("req", asked)));
                }
                return;
            }
            None => state.asked.remove(&header.message_id),
        };
        if let Route::Async { id } = header.route {
            state.waiting.remove(&id);
        }
        let Some(asked) = asked.filter(|asked| asked.command == command) else {
            // Of a NEGOTIATE in SMB1, or from before the capture.
            if command != Command::Negotiate && state.whole {
                self.blind(conn, "an answer to nothing");
            }
            return;
        };
        let Ok(response) = Response::decode(command, element, header.status) else {
            return self
                .blind(conn, &format!("an answer to {} that cannot be read", fields::command(command)));
        };
        if let Response::Negotiate(terms) = &response {
            state.dialect = terms.revision;
            self.meet(conn, terms.server);
        }
        let done = header.status.to_wire() >> 30 == 0;
        let session = header.session.get();
        let server = self.server(conn);
        let mut event = object("rsp");
        event.extend(fields::response(&response, &mut server.labels));
        match &response {
            Response::SessionSetup { .. } => put(&mut event, "session", server.labels.session(session)),
            Response::TreeConnect { share_type, .. } => {
                if let Route::Sync { tree, .. } = header.route {
                    let no_files = *share_type != DISK;
                    let tree = server.labels.connected(session, tree.get(), asked.share.clone(), no_files);
                    put(&mut event, "tree", Some(tree.label));
                }
            }
            Response::Create(body) => {
                let name = asked.name.as_deref().filter(|_| !asked.share.is_empty());
                if let Some(name) = name {
                    let (attributes, size) = (body.attributes, body.end_of_file);
                    server.before.opened(&asked.share, name, body.action, attributes, size);
                }
            }
            _ => {}
        }
        match (command, header.status) {
            (Command::Create, COLLISION) => {
                asked.name.iter().for_each(|name| server.before.collided(&asked.share, name));
            }
            (Command::Create, Status::OBJECT_NAME_NOT_FOUND) => {
                asked.name.iter().for_each(|name| server.before.missing(&asked.share, name));
            }
            (Command::SetInfo, Status::SUCCESS) => {
                asked.name.iter().for_each(|name| server.before.renamed(&asked.share, name));
            }
            (Command::Close, Status::SUCCESS) => {
                asked.closes.iter().for_each(|file| server.labels.closed(*file));
            }
            _ => {}
        }
        let Some(about) = asked.event else { return };
        put(&mut event, "status", Some(header.status.to_wire()));
        // What is in a directory, and what is known of a file, was not captured.
        let looks = matches!(command, Command::QueryInfo | Command::QueryDirectory);
        let gone = matches!(
            header.status,
            Status::FILE_CLOSED | Status::USER_SESSION_DELETED | Status::NETWORK_NAME_DELETED
        );
        let index = self.event(conn, event, Some(("req", about)));
        if let Some(event) = self.events.get_mut(index) {
            event.asserted = !looks || gone;
        }
        if asked.stranger && done {
            self.blind(conn, "a handle from before the capture is given back");
        }
    }

    fn notification(&mut self, conn: ConnIndex, element: &[u8]) {
        let Some(Ok(notification)) = element.get(64..).map(Notification::decode) else {
            return self.blind(conn, "a notification that cannot be read");
        };
        // Sent to a client that has gone: it is as good as not sent.
        if self.conns.get(conn).is_some_and(|state| state.closed) {
            return self.note(Some(conn), "a notification on a connection that is closed, left out");
        }
        let mut event = object("break");
        event.extend(fields::notification(&notification, &self.server(conn).labels));
        let client = self.conns.get(conn).and_then(|state| state.client.clone());
        put(&mut event, "client", client);
        self.event(conn, event, None);
    }

    fn event(&mut self, conn: ConnIndex, fields: Fields, about: Option<(&'static str, usize)>) -> usize {
        self.events.push(Event { conn, place: self.now, fields, about, asserted: true });
        self.events.len() - 1
    }

    /// Says what is missing. What the server should do is not known from here on.
    fn blind(&mut self, conn: ConnIndex, what: &str) {
        self.blind_since(conn, self.events.len(), what);
    }

    /// Says what is missing, somewhere behind an event that is not the last.
    fn blind_since(&mut self, conn: ConnIndex, since: usize, what: &str) {
        self.name_conn(conn);
        self.note(Some(conn), what);
        let blind = &mut self.server(conn).blind;
        *blind = Some(blind.map_or(since, |before| before.min(since)));
    }

    /// As [`blind`](Self::blind), but said once a connection.
    fn left_out(&mut self, conn: ConnIndex, what: &'static str) {
        if self.conns.get_mut(conn).is_some_and(|state| state.noted.insert(what)) {
            self.blind(conn, what);
        }
    }

    fn note(&mut self, conn: Option<ConnIndex>, what: &str) {
        let label = conn.and_then(|conn| self.conns.get(conn)?.label.clone());
        let what = label.map_or_else(|| what.to_owned(), |label| format!("{label}: {what}"));
        self.notes.push((conn, Note { at: self.now.at, frame: self.now.frame, what }));
    }

    /// A connection has said something of SMB2.
    fn name_conn(&mut self, conn: ConnIndex) {
        if let Some(state) = self.conns.get_mut(conn).filter(|state| state.label.is_none()) {
            self.conns_named += 1;
            state.label = Some(format!("c{}", self.conns_named));
        }
    }

    /// A NEGOTIATE says which server it is: one may have more than one address.
    fn meet(&mut self, conn: ConnIndex, guid: [u8; 16]) {
        let Some(state) = self.conns.get(conn) else { return };
        let address = state.server_address();
        let known = self.servers.iter().position(|server| server.guid == Some(guid));
        let unnamed =
            || state.server.filter(|server| self.servers.get(*server).is_some_and(|it| it.guid.is_none()));
        let index = known.or_else(unnamed).unwrap_or(self.servers.len());
        if index == self.servers.len() {
            self.servers.push(Server::default());
        }
        if let Some(server) = self.servers.get_mut(index) {
            server.guid = Some(guid);
            server.addresses.insert(address);
        }
        if let Some(state) = self.conns.get_mut(conn) {
            state.server = Some(index);
        }
    }

    /// The server of a connection: where it is not known by its GUID, by its address.
    fn server(&mut self, conn: ConnIndex) -> &mut Server {
        let state = self.conns.get(conn);
        let address = state.map(Conn::server_address);
        let of_address = |server: &Server| address.is_some_and(|address| server.addresses.contains(&address));
        let known = state.and_then(|state| state.server);
        let index = known.or_else(|| self.servers.iter().rposition(of_address)).unwrap_or(self.servers.len());
        if index == self.servers.len() {
            self.servers.push(Server { addresses: address.into_iter().collect(), ..Server::default() });
        }
        if let Some(state) = self.conns.get_mut(conn) {
            state.server = Some(index);
        }
        &mut self.servers[index]
    }

    /// The trace of one server.
    fn recording(&self, index: usize) -> Recording {
        let mut recording = Recording::default();
        let of_it = |conn: ConnIndex| {
            self.conns.get(conn).is_some_and(|conn| conn.server == Some(index) && conn.label.is_some())
        };
        let Some(server) = self.servers.get(index) else { return recording };
        let mut seq = 0_u64;
        let mut lines = Vec::new();
        for line in server.before.lines() {
            let mut line = fields::object(line);
            if line.contains_key("req") {
                put(&mut line, "req", Some(seq));
            }
            seq += 1;
            put(&mut line, "seq", Some(seq));
            put(&mut line, "t_ms", Some(0));
            lines.push(line);
        }
        let mut numbers: HashMap<usize, u64> = HashMap::new();
        let mut not_asserted = Vec::new();
        for (at, event) in self.events.iter().enumerate().filter(|(_, event)| of_it(event.conn)) {
            seq += 1;
            numbers.insert(at, seq);
            recording.frames.insert(seq, event.place.frame);
            if server.blind.is_some_and(|blind| blind <= at) {
                recording.judged_until.get_or_insert(seq);
            }
            let mut line = event.fields.clone();
            put(&mut line, "seq", Some(seq));
            put(&mut line, "conn", self.conns.get(event.conn).and_then(|conn| conn.label.clone()));
            let millis = format!("{}.{:03}", event.place.at / 1000, event.place.at % 1000);
            put(&mut line, "t_ms", millis.parse::<f64>().ok());
            if let Some((field, about)) = event.about {
                put(&mut line, field, numbers.get(&about).copied());
            }
            if !event.asserted {
                not_asserted.push(seq);
            }
            lines.push(line);
        }
        let meta = json!({ "ev": "meta", "status_not_asserted": not_asserted });
        recording.lines = format!("{meta}\n");
        for line in lines {
            recording.lines.push_str(&serde_json::Value::Object(line).to_string());
            recording.lines.push('\n');
        }
        for conn in self.conns.iter().filter(|conn| conn.server == Some(index)) {
            if let Some(label) = &conn.label {
                let (client, server) = match conn.requests {
                    Some(Way::Back) => (conn.to, conn.from),
                    Some(Way::Out) | None => (conn.from, conn.to),
                };
                recording.conns.insert(label.clone(), (client, server));
            }
        }
        let notes = self.notes.iter().filter(|(conn, _)| conn.is_none_or(of_it));
        recording.notes = notes.map(|(_, note)| note.clone()).collect();
        recording
    }
}

impl Conn {
    fn new(from: SocketAddr, to: SocketAddr, whole: bool) -> Self {
        Self {
            label: None,
            from,
            to,
            whole,
            foreign: false,
            strange: None,
            closed: false,
            requests: whole.then_some(Way::Out),
            out: Inbox::new(whole),
            back: Inbox::new(whole),
            seen_out: 0,
            seen_back: 0,
            server: None,
            client: None,
            dialect: 0,
            asked: HashMap::new(),
            waiting: HashMap::new(),
            noted: BTreeSet::new(),
        }
    }

    fn inbox(&mut self, way: Way) -> &mut Inbox {
        match way {
            Way::Out => &mut self.out,
            Way::Back => &mut self.back,
        }
    }

    fn seen(&mut self, way: Way) -> &mut usize {
        match way {
            Way::Out => &mut self.seen_out,
            Way::Back => &mut self.seen_back,
        }
    }

    fn server_address(&self) -> SocketAddr {
        if self.requests == Some(Way::Back) { self.from } else { self.to }
    }
}

impl Asked {
    fn new(command: Command, request: &Request<'_>, event: &Fields, tree: Option<&Tree>) -> Self {
        let word = |value: Option<&serde_json::Value>| Some(value?.as_str()?.to_owned());
        let contexts = event.get("contexts").and_then(|contexts| contexts.as_array());
        let back = |context: &&serde_json::Value| {
            context.get("tag").is_some_and(|tag| tag == "DHnC" || tag == "DH2C")
        };
        let back = contexts.and_then(|contexts| contexts.iter().find(back));
        let share = match request {
            Request::TreeConnect(_) => word(event.get("path")),
            _ => tree.map(|tree| tree.path.clone()),
        };
        let given = |field| word(event.get(field)?.get("target"));
        // The name of one that is wanted back means nothing (MS-SMB2 3.3.5.9.7).
        let opened = || word(event.get("name")).filter(|_| back.is_none());
        Self {
            command,
            event: None,
            share: share.unwrap_or_default(),
            name: given("rename").or_else(|| given("link")).or_else(opened),
            closes: if let Request::Close { file_id, .. } = request { Some(*file_id) } else { None },
            stranger: back.is_some_and(|context| context.get("h").is_none()),
        }
    }
}

/// What becomes of a request.
enum Treatment {
    Told,
    /// It changes nothing, and how it is answered does not depend on anything here.
    Looks,
}

fn treatment(request: &Request<'_>) -> Treatment {
    let told = match request {
        Request::Ioctl(control) => {
            CONTROLS.contains(&control.code) || control.code & WRITES != 0 || control.code == COPYCHUNK
        }
        // SMB2_0_INFO_FILE; others are of the file system, of security, of quotas.
        Request::SetInfo { kind, .. } => *kind == 1,
        _ => true,
    };
    if told { Treatment::Told } else { Treatment::Looks }
}

fn object(event: &str) -> Fields {
    fields::object(json!({ "ev": event }))
}
