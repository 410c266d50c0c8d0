//! Two clients share a file through one server, and every message between them is real bytes.
//!
//! Three machines of this crate, a page cache of one page per client, and a disk that is a string. The glue below is what a
//! server or client has anyway: names, data, and the codecs of READ, WRITE and CLOSE.
//!
//! Run it with `cargo run --example two_clients`.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "two clients, a few messages: what goes wrong here should stop the story"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;

use leasehold::client::{self, Client, ClientConfig, CreateReply, FileRef, OpenRef};
use leasehold::server::{
    self, Capabilities, Config, Create, ObjectKind, Opened, Origin, RouteSeed, Server, Terms,
};
use leasehold::wire::{
    Acknowledgment, Command, ContextWriter, CreateRequest, CreateResponse, Fixed, Header, HeaderFlags, Lease,
    Notification, RequestContexts, ResponseContexts, Route,
};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, FileId, FileKey,
    HashKey, Instant, Intent, LeaseKey, LeaseState, Machine, RequestId, SessionId, ShareMode, Status, TreeId,
};
use uuid::Uuid;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const NAME: &str = "report.txt";
const FILE: FileKey = FileKey::new(0x5eed);
const PAGE: FileRef = FileRef::new(1);
const TREE: TreeId = TreeId::new(5);
const NAMES: [&str; 2] = ["alice", "bob"];

fn main() -> Outcome {
    let mut world = World::new()?;

    world.act("Alice opens the file. Nobody else has it: she may cache reads, writes and the handle.");
    let alice = world.open(0, LeaseState::RWH, Disposition::OpenIf)?;
    world.expect(0, LeaseState::RWH)?;
    world.clients[0].write("draft 2, alice's");
    world.say("alice writes into her cache; nothing goes over the wire");

    world.act("Bob opens it too. Alice has to write back and give up W before he sees anything.");
    let bob = world.open(1, LeaseState::RH, Disposition::Open)?;
    world.expect(0, LeaseState::RH)?;
    world.expect(1, LeaseState::RH)?;
    let seen = world.read(1, bob)?;
    check(seen == "draft 2, alice's", "bob reads what alice had written")?;

    world.act("Bob writes. He may not cache that, so it goes to the server; Alice's cache is void, but nobody waits for her.");
    world.write_through(1, bob, "final, bob's")?;
    world.expect(0, LeaseState::NONE)?;
    world.expect(1, LeaseState::RH)?;
    let seen = world.read(0, alice)?;
    check(seen == "final, bob's", "alice reads what bob has written")?;

    world.act("Both close. Bob's close is kept back, as his lease has H; Alice's is not.");
    world.release(0, alice)?;
    world.release(1, bob)?;
    check(world.server.snapshot().files.len() == 1, "bob's handle is still open at the server")?;

    world.act("Alice opens the file to overwrite it. Bob's kept handle goes when he hears of it.");
    let alice = world.open(0, LeaseState::RWH, Disposition::OverwriteIf)?;
    world.expect(1, LeaseState::NONE)?;

    world.act("Bob has gone, so Alice asks again and gets everything.");
    let again = world.open(0, LeaseState::RWH, Disposition::Open)?;
    world.expect(0, LeaseState::RWH)?;

    world.act("Alice falls silent. Bob waits for her for the 35 seconds of the protocol, and no longer.");
    world.clients[0].write("draft 3, late");
    world.clients[0].hears = false;
    let asked = world.now;
    let bob = world.open(1, LeaseState::R, Disposition::Open)?;
    check(world.now.saturating_since(asked).as_secs() == 35, "bob has waited for 35 seconds")?;
    world.expect(1, LeaseState::R)?;

    world.act(
        "Alice wakes up. Her late write takes Bob's cache; her late answer is refused: she holds nothing.",
    );
    world.clients[0].hears = true;
    world.run()?;
    world.expect(0, LeaseState::NONE)?;
    world.expect(1, LeaseState::NONE)?;
    let seen = world.read(1, bob)?;
    check(seen == "draft 3, late", "bob reads what alice has written")?;

    world.act("Both close.");
    world.release(0, alice)?;
    world.release(0, again)?;
    world.release(1, bob)?;
    world.hang_up()?;
    check(world.server.idle() && world.handles.is_empty(), "nothing is left at the server")?;
    println!("\n{:?}", world.server.stats());
    Ok(())
}

/// The three machines, the link between them, and the disk.
struct World {
    now: Instant,
    server: Server,
    disk: String,
    handles: BTreeSet<FileId>,
    /// Requests that the server has not answered: their headers.
    pending: BTreeMap<RequestId, (usize, Header)>,
    /// What waits for its turn: data of a WRITE, length of a READ.
    work: BTreeMap<RequestId, Work>,
    next_request: u64,
    clients: [Peer; 2],
    link: VecDeque<(Direction, Vec<u8>)>,
}

enum Work {
    Read,
    Write(Vec<u8>),
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer(usize),
    ToClient(usize),
}

/// A client: its machine, its cache of one page, and what it has sent.
struct Peer {
    machine: Client,
    conn: ConnId,
    session: SessionId,
    next_message: u64,
    sent: BTreeMap<u64, Sent>,
    allowed: LeaseState,
    page: Option<String>,
    dirty: bool,
    handle: Option<FileId>,
    ready: Option<OpenRef>,
    read: Option<String>,
    hears: bool,
    unheard: Vec<Vec<u8>>,
}

enum Sent {
    Create(OpenRef),
    Close(OpenRef),
    Ack(client::AckId),
    Flush,
    Write,
    Read,
}

impl World {
    fn new() -> Outcome<Self> {
        let entropy = HashKey::new([0x42; 16]);
        let mut world = Self {
            now: Instant::ZERO,
            server: Server::new(Config::new(entropy, RouteSeed::new([7; 16]), 1)),
            disk: String::from("draft 1"),
            handles: BTreeSet::new(),
            pending: BTreeMap::new(),
            work: BTreeMap::new(),
            next_request: 1,
            clients: [Peer::new(0, entropy), Peer::new(1, entropy)],
            link: VecDeque::new(),
        };
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        for who in 0..2u64 {
            let (conn, session) = (ConnId::new(who), SessionId::new(0x4_0000_0019 + who));
            let client = ClientGuid::new(Uuid::from_u128(0xc11e + u128::from(who)));
            world.tell_server(server::Event::Connected { conn, client, terms })?;
            world.tell_server(server::Event::SessionBound { conn, session })?;
            let previous = client::PreviousSession::Ended;
            world.tell_client(who as usize, client::Event::Connected { conn, session, previous, terms })?;
        }
        Ok(world)
    }

    // ---- the story -----------------------------------------------------------------------------------------------

    fn act(&self, title: &str) {
        println!("\n== {title}\n   {}", self.states());
    }

    fn say(&self, what: &str) {
        println!("{:>6} ms  {what}", self.now.as_millis());
    }

    fn open(&mut self, who: usize, want: LeaseState, disposition: Disposition) -> Outcome<OpenRef> {
        let (request, key) =
            (RequestId::new(u64::from(disposition.to_wire())), LeaseKey::new([0xa0 + who as u8; 16]));
        self.clients[who].ready = None;
        self.tell_client(
            who,
            client::Event::Open(client::Opening::new(request, PAGE, key).want(client::Want::State(want))),
        )?;
        self.run()?;
        if self.clients[who].ready.is_none() {
            self.pass_time()?;
        }
        Ok(self.clients[who].ready.ok_or("the open was not answered")?)
    }

    fn read(&mut self, who: usize, _: OpenRef) -> Outcome<String> {
        let peer = &mut self.clients[who];
        if let Some(page) = peer.page.clone().filter(|_| peer.allowed.contains(LeaseState::READ)) {
            self.say(&format!("{} reads from the cache: {page:?}", NAMES[who]));
            return Ok(page);
        }
        let body = io_body(peer.handle.ok_or("no handle")?, &[]);
        self.send_request(who, Command::READ, &body, Sent::Read);
        self.run()?;
        Ok(self.clients[who].read.take().ok_or("the read was not answered")?)
    }

    fn write_through(&mut self, who: usize, _: OpenRef, text: &str) -> Outcome {
        let peer = &mut self.clients[who];
        peer.page = Some(text.into());
        let body = io_body(peer.handle.ok_or("no handle")?, text.as_bytes());
        self.send_request(who, Command::WRITE, &body, Sent::Write);
        self.run()
    }

    fn release(&mut self, who: usize, open: OpenRef) -> Outcome {
        self.tell_client(who, client::Event::Release { open })?;
        self.run()
    }

    fn hang_up(&mut self) -> Outcome {
        for who in 0..2 {
            let conn = self.clients[who].conn;
            self.tell_client(who, client::Event::Disconnected { conn })?;
            self.tell_server(server::Event::Disconnected { conn })?;
        }
        Ok(())
    }

    /// Lets the server's next deadline come.
    fn pass_time(&mut self) -> Outcome {
        if let Some(due) = self.server.poll_timeout() {
            self.now = due;
            self.say("the deadline passes");
            let mut actions = Vec::new();
            self.server.handle_timeout(self.now, &mut actions);
            self.perform_server(actions)?;
        }
        self.run()
    }

    fn expect(&self, who: usize, state: LeaseState) -> Outcome {
        println!("   {}", self.states());
        check(self.clients[who].machine.state(PAGE) == state, &format!("{} holds {state}", NAMES[who]))
    }

    fn states(&self) -> String {
        let snapshot = self.server.snapshot();
        let leases = snapshot.files.iter().flat_map(|file| &file.leases);
        let at_server: Vec<_> = leases
            .map(|lease| {
                let breaking =
                    lease.breaking.map(|(told, _)| format!(" (breaking to {told})")).unwrap_or_default();
                let owner = usize::from(lease.key.octets()[0] == 0xa1);
                format!("{} {}{breaking}, epoch {}", NAMES[owner], lease.state, lease.epoch.get())
            })
            .collect();
        let believes = |who: usize| self.clients[who].machine.state(PAGE).to_string();
        format!(
            "[server: {}] [alice: {}] [bob: {}]",
            if at_server.is_empty() { String::from("no lease") } else { at_server.join("; ") },
            believes(0),
            believes(1),
        )
    }

    // ---- the link --------------------------------------------------------------------------------------------------

    /// Delivers messages until none is left.
    fn run(&mut self) -> Outcome {
        for who in 0..2 {
            if self.clients[who].hears {
                let unheard = std::mem::take(&mut self.clients[who].unheard);
                self.link.extend(unheard.into_iter().map(|message| (Direction::ToClient(who), message)));
            }
        }
        while let Some((direction, message)) = self.link.pop_front() {
            self.now = self.now.saturating_add(std::time::Duration::from_millis(1));
            let (from, to) = match direction {
                Direction::ToServer(who) => (NAMES[who], "server"),
                Direction::ToClient(who) => ("server", NAMES[who]),
            };
            if let Direction::ToClient(who) = direction {
                if !self.clients[who].hears {
                    self.say(&format!("{from} -> {to}: not heard"));
                    self.clients[who].unheard.push(message);
                    continue;
                }
            }
            println!("{:>6} ms  {from} -> {to}: {}", self.now.as_millis(), meaning(&message)?);
            for line in message.chunks(32) {
                let hex: Vec<String> = line.iter().map(|octet| format!("{octet:02x}")).collect();
                println!("            {}", hex.concat());
            }
            match direction {
                Direction::ToServer(who) => self.server_receives(who, &message)?,
                Direction::ToClient(who) => self.client_receives(who, &message)?,
            }
        }
        Ok(())
    }

    // ---- the server's glue -----------------------------------------------------------------------------------------

    fn server_receives(&mut self, who: usize, message: &[u8]) -> Outcome {
        let (header, body) = Header::split(message)?;
        let request = RequestId::new(self.next_request);
        self.next_request += 1;
        self.pending.insert(request, (who, header));
        let Route::Sync { tree, .. } = header.route else { return Err("an asynchronous request".into()) };
        let (conn, session) = (self.clients[who].conn, header.session);
        let origin = Origin::new(conn, session, tree);
        let event = match header.command {
            Command::CREATE => {
                let create = CreateRequest::decode(message)?;
                let contexts = RequestContexts::decode(create.contexts, |_| ())?;
                let disposition = Disposition::from_wire(create.disposition).ok_or("no such disposition")?;
                server::Event::Create(
                    Create::new(request, origin, FILE)
                        .access(create.desired, create.sharing)
                        .disposition(disposition, create.options)
                        .caching(create.level, contexts.lease),
                )
            }
            Command::OPLOCK_BREAK => match Acknowledgment::decode(Dialect::Smb311, body)? {
                Acknowledgment::Lease(ack) => server::Event::LeaseAck { request, conn, ack },
                Acknowledgment::Oplock(_) => return Err("nobody holds an oplock here".into()),
            },
            Command::CLOSE => server::Event::Close { request, session, file_id: close_file_id(body)? },
            Command::READ | Command::WRITE => {
                let (file_id, data) = parse_io(body)?;
                let len = data.len() as u64;
                let (intent, work) = if header.command == Command::READ {
                    (Intent::Read { offset: 0, len: 1 << 16 }, Work::Read)
                } else {
                    (Intent::Write { offset: 0, len }, Work::Write(data))
                };
                self.work.insert(request, work);
                let actor = Actor::Open(file_id);
                server::Event::Operate { request, origin: Some(origin), file: FILE, actor, intent }
            }
            _ => return Err("a command that nobody sends".into()),
        };
        self.tell_server(event)
    }

    fn tell_server(&mut self, event: server::Event) -> Outcome {
        let mut actions = Vec::new();
        self.server.handle(self.now, event, &mut actions)?;
        self.perform_server(actions)
    }

    fn perform_server(&mut self, actions: Vec<server::Action>) -> Outcome {
        for action in actions {
            match action {
                server::Action::OpenFile { file_id, .. } => {
                    if !self.handles.insert(file_id) {
                        return Err("a FileId is given twice".into());
                    }
                    let opened = Opened::new(CreateAction::Opened, ObjectKind::File, u64::MAX);
                    self.tell_server(server::Event::Opened { file_id, result: Ok(opened) })?;
                }
                server::Action::Granted { request, grant } => {
                    let mut buf = [0; 256];
                    let mut writer = ContextWriter::new(&mut buf);
                    grant.contexts().write(&mut writer)?;
                    let len = writer.finish();
                    let response = CreateResponse {
                        level: grant.level,
                        flags: 0,
                        action: grant.action.to_wire(),
                        times: [0; 4],
                        allocation_size: 4096,
                        end_of_file: self.disk.len() as u64,
                        attributes: 0x20,
                        file_id: grant.file_id,
                        contexts: &buf[..len],
                    };
                    let mut body = Vec::new();
                    response.encode(&mut body)?;
                    self.respond(request, Status::SUCCESS, &body);
                }
                server::Action::Proceed { request, ticket } => {
                    match self.work.remove(&request) {
                        Some(Work::Write(data)) => {
                            self.disk = String::from_utf8(data)?;
                            self.respond(
                                request,
                                Status::SUCCESS,
                                &[17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                            );
                        }
                        Some(Work::Read) => {
                            let mut body = vec![17, 0, 80, 0];
                            body.extend((self.disk.len() as u32).to_le_bytes());
                            body.extend([0; 8]);
                            body.extend(self.disk.as_bytes());
                            self.respond(request, Status::SUCCESS, &body);
                        }
                        None => return Err("nothing to proceed with".into()),
                    }
                    self.tell_server(server::Event::Done { ticket, result: Ok(()) })?;
                }
                server::Action::Interim { request } => self.respond(request, Status::PENDING, &ERROR_BODY),
                server::Action::Refused { request, status } => self.respond(request, status, &ERROR_BODY),
                server::Action::Closed { request } => {
                    let mut body = vec![60, 0];
                    body.resize(60, 0);
                    self.respond(request, Status::SUCCESS, &body);
                }
                server::Action::SendLeaseBreak { conn, body, .. } => {
                    let mut message = Vec::new();
                    Header::notification(SessionId::new(0), Status::SUCCESS).encode(&mut message);
                    body.encode(&mut message);
                    self.link.push_back((Direction::ToClient(conn.get() as usize), message));
                }
                server::Action::AnswerLeaseAck { request, result } => match result {
                    Ok(ack) => {
                        let mut body = Vec::new();
                        ack.encode(&mut body);
                        self.respond(request, Status::SUCCESS, &body);
                    }
                    Err(status) => self.respond(request, status, &ERROR_BODY),
                },
                server::Action::CloseFile { file_id, .. } => {
                    if !self.handles.remove(&file_id) {
                        return Err("a handle is closed twice".into());
                    }
                }
                server::Action::Accepted { .. }
                | server::Action::SendOplockBreak { .. }
                | server::Action::AnswerOplockAck { .. } => {
                    return Err("nobody locks or has an oplock here".into());
                }
                server::Action::Persist { .. } => return Err("there is no store here".into()),
                server::Action::Resolve { .. } | server::Action::Unlink { .. } => {
                    return Err("nobody deletes here".into());
                }
            }
        }
        Ok(())
    }

    fn respond(&mut self, request: RequestId, status: Status, body: &[u8]) {
        let interim = status == Status::PENDING;
        let found = if interim { self.pending.get(&request).copied() } else { self.pending.remove(&request) };
        let Some((who, asked)) = found else { return };
        let route = if interim { Route::Async { id: request.get() } } else { asked.route };
        let header = Header { status, flags: HeaderFlags::SERVER_TO_REDIR, route, ..asked };
        let mut message = Vec::new();
        header.encode(&mut message);
        message.extend_from_slice(body);
        self.link.push_back((Direction::ToClient(who), message));
    }

    // ---- the clients' glue -----------------------------------------------------------------------------------------

    fn client_receives(&mut self, who: usize, message: &[u8]) -> Outcome {
        let (header, body) = Header::split(message)?;
        if header.notifies_break() {
            let Notification::Lease(body) = Notification::decode(body)? else { return Ok(()) };
            return self.tell_client(who, client::Event::LeaseBroken { body });
        }
        if header.status == Status::PENDING {
            return Ok(());
        }
        let result = if header.status == Status::SUCCESS { Ok(()) } else { Err(header.status) };
        let peer = &mut self.clients[who];
        let event = match peer.sent.remove(&header.message_id).ok_or("an answer to nothing")? {
            Sent::Create(open) => {
                let result = match result {
                    Ok(()) => {
                        let response = CreateResponse::decode(message)?;
                        let contexts = ResponseContexts::decode(response.contexts, |_| ())?;
                        peer.handle = Some(response.file_id);
                        Ok(CreateReply::new(response.file_id, response.level, contexts))
                    }
                    Err(status) => Err(status),
                };
                client::Event::Created { open, result }
            }
            Sent::Close(open) => client::Event::Closed { open },
            Sent::Ack(ack) => client::Event::AckAnswered { ack, result },
            Sent::Flush => client::Event::Flushed { file: PAGE },
            Sent::Write => return Ok(result?),
            Sent::Read => {
                let text = String::from_utf8(body.get(16..).ok_or("a short READ response")?.to_vec())?;
                if peer.allowed.contains(LeaseState::READ) {
                    peer.page = Some(text.clone());
                }
                peer.read = Some(text);
                return Ok(result?);
            }
        };
        self.tell_client(who, event)
    }

    fn tell_client(&mut self, who: usize, event: client::Event) -> Outcome {
        let mut actions = Vec::new();
        self.clients[who].machine.handle(self.now, event, &mut actions)?;
        for action in actions {
            self.perform_client(who, action)?;
        }
        Ok(())
    }

    fn perform_client(&mut self, who: usize, action: client::Action) -> Outcome {
        match action {
            client::Action::SendCreate { request, open, level, contexts, .. } => {
                let mut buf = [0; 256];
                let mut writer = ContextWriter::new(&mut buf);
                contexts.write(&mut writer)?;
                let len = writer.finish();
                let name: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let create = CreateRequest {
                    level,
                    impersonation: 2,
                    desired: Access::READ_DATA | Access::WRITE_DATA,
                    attributes: 0x80,
                    sharing: ShareMode::ALL,
                    disposition: request.get() as u32,
                    options: CreateOptions::NON_DIRECTORY_FILE,
                    name: &name,
                    contexts: &buf[..len],
                };
                let mut body = Vec::new();
                create.encode(&mut body)?;
                self.send_request(who, Command::CREATE, &body, Sent::Create(open));
            }
            client::Action::SendClose { open, file_id, .. } => {
                let mut body = vec![24, 0, 0, 0, 0, 0, 0, 0];
                body.extend(file_id.persistent.to_le_bytes());
                body.extend(file_id.volatile.to_le_bytes());
                self.send_request(who, Command::CLOSE, &body, Sent::Close(open));
            }
            client::Action::SendLeaseAck { ack, body: answer, .. } => {
                let mut body = Vec::new();
                answer.encode(&mut body);
                self.send_request(who, Command::OPLOCK_BREAK, &body, Sent::Ack(ack));
            }
            client::Action::Allow { state, .. } => {
                self.say(&format!("{}'s cache may: {state}", NAMES[who]));
                self.clients[who].allowed = state;
            }
            client::Action::Flush { file } => {
                let peer = &mut self.clients[who];
                match (std::mem::take(&mut peer.dirty), peer.page.clone(), peer.handle) {
                    (true, Some(page), Some(handle)) => {
                        self.say(&format!("{} writes back {page:?}", NAMES[who]));
                        let body = io_body(handle, page.as_bytes());
                        self.send_request(who, Command::WRITE, &body, Sent::Flush);
                    }
                    _ => self.tell_client(who, client::Event::Flushed { file })?,
                }
            }
            client::Action::Purge { file } => {
                self.say(&format!("{} forgets what was cached", NAMES[who]));
                self.clients[who].page = None;
                self.tell_client(who, client::Event::Purged { file })?;
            }
            client::Action::Ready { open, .. } => self.clients[who].ready = Some(open),
            client::Action::Failed { status, .. } => return Err(status.to_string().into()),
            client::Action::SendOplockAck { .. } => return Err("nobody has an oplock here".into()),
            client::Action::Persist { .. }
            | client::Action::Restored { .. }
            | client::Action::SendReconnect { .. }
            | client::Action::RenewSession { .. }
            | client::Action::Away { .. }
            | client::Action::Regained { .. } => return Err("nothing comes back here".into()),
            client::Action::Lost { .. } => return Err("no connection is lost here".into()),
        }
        Ok(())
    }

    fn send_request(&mut self, who: usize, command: Command, body: &[u8], sent: Sent) {
        let peer = &mut self.clients[who];
        let header = Header {
            credit_charge: 1,
            status: Status::SUCCESS,
            command,
            credits: 1,
            flags: HeaderFlags::empty(),
            next_command: 0,
            message_id: peer.next_message,
            route: Route::Sync { reserved: 0xfeff, tree: TREE },
            session: peer.session,
            signature: [0; 16],
        };
        peer.sent.insert(peer.next_message, sent);
        peer.next_message += 1;
        let mut message = Vec::new();
        header.encode(&mut message);
        message.extend_from_slice(body);
        self.link.push_back((Direction::ToServer(who), message));
    }
}

impl Peer {
    fn new(who: u64, entropy: HashKey) -> Self {
        Self {
            machine: Client::new(ClientConfig::new(entropy)),
            conn: ConnId::new(who),
            session: SessionId::new(0x4_0000_0019 + who),
            next_message: 8,
            sent: BTreeMap::new(),
            allowed: LeaseState::NONE,
            page: None,
            dirty: false,
            handle: None,
            ready: None,
            read: None,
            hears: true,
            unheard: Vec::new(),
        }
    }

    fn write(&mut self, text: &str) {
        self.page = Some(text.into());
        self.dirty = true;
    }
}

/// What a message says, read from its octets.
fn meaning(message: &[u8]) -> Outcome<String> {
    let (header, body) = Header::split(message)?;
    let answer = header.flags.contains(HeaderFlags::SERVER_TO_REDIR);
    if header.notifies_break() {
        return Ok(match Notification::decode(body)? {
            Notification::Lease(lease) => format!(
                "lease break {} -> {}, epoch {}, {:?}",
                lease.current,
                lease.new,
                lease.epoch.get(),
                lease.flags
            ),
            Notification::Oplock(oplock) => format!("oplock break to {:?}", oplock.level),
        });
    }
    if header.status != Status::SUCCESS {
        return Ok(format!("{} of message {}", header.status, header.message_id));
    }
    let lease = |lease: Option<Lease>| match lease {
        Some(lease) => format!("lease {}, epoch {}", lease.state(), lease.epoch().unwrap_or_default().get()),
        None => String::from("no lease"),
    };
    Ok(match (header.command, answer) {
        (Command::CREATE, false) => {
            let create = CreateRequest::decode(message)?;
            let wants = lease(RequestContexts::decode(create.contexts, |_| ())?.lease);
            let disposition = Disposition::from_wire(create.disposition).ok_or("no such disposition")?;
            format!("CREATE {NAME}, {disposition:?}, asks for {wants}")
        }
        (Command::CREATE, true) => {
            let response = CreateResponse::decode(message)?;
            let got = lease(ResponseContexts::decode(response.contexts, |_| ())?.lease);
            format!("CREATE done: {}, {got}", response.file_id)
        }
        (Command::OPLOCK_BREAK, _) => match Acknowledgment::decode(Dialect::Smb311, body)? {
            Acknowledgment::Lease(ack) if answer => format!("acknowledgment accepted, {} is held", ack.state),
            Acknowledgment::Lease(ack) => format!("acknowledges {}", ack.state),
            Acknowledgment::Oplock(ack) => format!("acknowledges oplock {:?}", ack.level),
        },
        (Command::WRITE, false) => format!("WRITE {:?}", String::from_utf8(parse_io(body)?.1)?),
        (Command::READ, true) => {
            format!("READ done: {:?}", String::from_utf8_lossy(body.get(16..).unwrap_or(&[])))
        }
        (Command::READ, false) => String::from("READ"),
        (Command::CLOSE, false) => String::from("CLOSE"),
        (Command::WRITE | Command::CLOSE, true) => String::from("done"),
        _ => String::from("something else"),
    })
}

/// The body of every error and of STATUS_PENDING (MS-SMB2 2.2.2).
const ERROR_BODY: [u8; 9] = [9, 0, 0, 0, 0, 0, 0, 0, 0];

/// READ and WRITE requests are alike where this example looks (MS-SMB2 2.2.19, 2.2.21).
fn io_body(file_id: FileId, data: &[u8]) -> Vec<u8> {
    let mut body = vec![49, 0, 112, 0];
    body.extend((data.len() as u32).to_le_bytes());
    body.extend(0u64.to_le_bytes());
    body.extend(file_id.persistent.to_le_bytes());
    body.extend(file_id.volatile.to_le_bytes());
    body.extend([0; 16]);
    body.extend(data);
    body
}

fn parse_io(body: &[u8]) -> Outcome<(FileId, Vec<u8>)> {
    let data = body.get(48..).ok_or("a short READ or WRITE")?;
    Ok((file_id(body, 16)?, data.to_vec()))
}

fn close_file_id(body: &[u8]) -> Outcome<FileId> {
    file_id(body, 8)
}

fn file_id(body: &[u8], at: usize) -> Outcome<FileId> {
    let half = |at: usize| -> Outcome<u64> {
        Ok(u64::from_le_bytes(body.get(at..at + 8).ok_or("a short body")?.try_into()?))
    };
    Ok(FileId::new(half(at)?, half(at + 8)?))
}

fn check(holds: bool, what: &str) -> Outcome {
    if holds {
        println!("   ok: {what}");
        Ok(())
    } else {
        Err(format!("does not hold: {what}").into())
    }
}
