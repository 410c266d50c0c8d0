//! Everything around the story: three machines, the link between them, a clock that goes on by itself, and a directory of records.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use leasehold::client::{Client, ClientConfig, OpenRef};
use leasehold::persist::RecordError;
use leasehold::server::{Config, RouteSeed, Server, ShareFlags};
use leasehold::wire::{Fixed, Header, Route};
use leasehold::{
    ClientGuid, ConnId, Disposition, HashKey, Instant, LeaseKey, LeaseState, Machine, SessionId, Status,
};

use crate::bytes::{decode_request, decode_to_client, encode_answer, encode_request};
use crate::shared::application::{Answer, Call, Promise, Source};
use crate::shared::client::{self, CachingClient, PAGE};
use crate::shared::message::ToClient;
use crate::shared::server::{self, FileServer};
use crate::shared::store::Store;
use crate::shared::{Host, Outcome, Todo, act, check};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Alice,
    Bob,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Alice => 0xa0,
            Self::Bob => 0xb0,
        }
    }
}

pub(crate) struct World {
    now: Instant,
    pub(crate) server: Server,
    pub(crate) files: FileServer<Who>,
    pub(crate) store: Store,
    alice: Peer,
    bob: Peer,
    /// Messages under way, in the order in which they were sent.
    link: VecDeque<(Way, Who, Vec<u8>)>,
    conns: u64,
}

enum Way {
    Up,
    Down,
}

/// A client, and its end of the link.
struct Peer {
    machine: Client,
    host: CachingClient<()>,
    conn: ConnId,
    session: SessionId,
    /// The headers of what the server has not answered, by MessageId.
    asked: BTreeMap<u64, Header>,
    /// What it does not hear for now.
    unheard: Option<Vec<Vec<u8>>>,
    answer: Option<Result<Answer, Status>>,
}

impl World {
    pub(crate) fn new(store: Store) -> Outcome<Self> {
        let mut world = Self {
            now: Instant::ZERO,
            server: Server::new(config(&store)?),
            files: FileServer::new("draft 1", ShareFlags::empty(), Some(store.clone())),
            store,
            alice: Peer::new(Who::Alice),
            bob: Peer::new(Who::Bob),
            link: VecDeque::new(),
            conns: 0,
        };
        world.start_server(Duration::ZERO)?;
        world.connect(Who::Alice)?;
        world.connect(Who::Bob)?;
        Ok(world)
    }

    // ---- what happens in the story -------------------------------------------------------------------------------

    pub(crate) fn act(&self, title: &str) {
        act(title);
        println!("   {}", self.states());
    }

    pub(crate) fn open(&mut self, who: Who, want: LeaseState) -> Outcome<OpenRef> {
        self.open_as(who, want, Disposition::Open, Promise::Nothing)
    }

    pub(crate) fn open_as(
        &mut self,
        who: Who,
        want: LeaseState,
        disposition: Disposition,
        promise: Promise,
    ) -> Outcome<OpenRef> {
        self.call(who, Call::Open { want, disposition, promise })??.opened()
    }

    pub(crate) fn read(&mut self, who: Who, open: OpenRef, expected: (&str, Source)) -> Outcome {
        let answer = self.call(who, Call::Read(open))?;
        let (text, source) = expected;
        let right = answer == Ok(Answer::Text(text.into(), source));
        let whence = match source {
            Source::Cache => "from the cache",
            Source::Server => "from the server",
        };
        check(right, &format!("{} reads {text:?} {whence}", who.name()))
    }

    pub(crate) fn cannot_read(&mut self, who: Who, open: OpenRef, expected: Status) -> Outcome {
        let answer = self.call(who, Call::Read(open))?;
        check(answer == Err(expected), &format!("{} cannot read: {expected}", who.name()))
    }

    pub(crate) fn write(&mut self, who: Who, open: OpenRef, text: &str, expected: Source) -> Outcome {
        let answer = self.call(who, Call::Write(open, text.into()))?;
        let whither = match expected {
            Source::Cache => "into the cache, and nothing goes over the wire",
            Source::Server => "through to the server",
        };
        check(answer == Ok(Answer::Written(expected)), &format!("{} writes {text:?} {whither}", who.name()))
    }

    pub(crate) fn release(&mut self, who: Who, open: OpenRef) -> Outcome {
        self.call(who, Call::Release(open))?.map(|_| ()).map_err(Into::into)
    }

    /// From now on, this one hears nothing.
    pub(crate) fn falls_silent(&mut self, who: Who) {
        self.peer(who).unheard = Some(Vec::new());
    }

    pub(crate) fn wakes_up(&mut self, who: Who) -> Outcome {
        for octets in self.peer(who).unheard.take().unwrap_or_default() {
            self.link.push_back((Way::Down, who, octets));
        }
        self.run()
    }

    pub(crate) fn connect(&mut self, who: Who) -> Outcome {
        self.conns = self.conns.saturating_add(1);
        let (conn, session) = (ConnId::new(self.conns), SessionId::new(0x4_0000_0000 | self.conns));
        let client = ClientGuid::from_wire([who.number(); 16]);
        let share = self.files.share.flags;
        let peer = self.peer(who);
        (peer.conn, peer.session) = (conn, session);
        self.tell_server(Some(server::Input::Connected { conn, client, session, link: who }))?;
        self.tell_client(who, Some(client::Input::Connected { conn, session, share }))?;
        self.run()
    }

    /// Both ends notice; what is under way arrives nowhere.
    pub(crate) fn disconnect(&mut self, who: Who) -> Outcome {
        let conn = self.hang_up(who);
        self.say(&format!("{} and the server lose their connection", who.name()));
        self.tell_client(who, Some(client::Input::Disconnected { conn }))?;
        self.tell_server(Some(server::Input::Disconnected { conn }))?;
        self.run()
    }

    /// The server goes down, and begins anew with what is in its store: leases, opens and requests are gone. The disk is another
    /// matter. Says what was wrong with records that it has set aside.
    pub(crate) fn restart_server(&mut self, share: ShareFlags, away: Duration) -> Outcome<Vec<RecordError>> {
        self.say("the server goes down");
        for who in [Who::Alice, Who::Bob] {
            let conn = self.hang_up(who);
            self.tell_client(who, Some(client::Input::Disconnected { conn }))?;
        }
        self.now = self.now.saturating_add(away);
        self.say("the server starts");
        self.server = Server::new(config(&self.store)?);
        self.files = FileServer::new(&self.files.data, share, Some(self.store.clone()));
        let damaged = self.start_server(away)?;
        println!("           restored: {}", self.server.stats().restored);
        Ok(damaged)
    }

    fn start_server(&mut self, elapsed: Duration) -> Outcome<Vec<RecordError>> {
        let mut damaged = Vec::new();
        let records = self.store.records(|name, error| {
            println!("           set aside: {name}.record: {error}");
            damaged.push(error);
        })?;
        self.tell_server(Some(server::Input::Restart { records, elapsed }))?;
        Ok(damaged)
    }

    /// Lets the next deadline come.
    fn pass_time(&mut self) -> Outcome {
        let dues =
            [self.server.poll_timeout(), self.alice.machine.poll_timeout(), self.bob.machine.poll_timeout()];
        self.now =
            self.now.max(dues.into_iter().flatten().min().ok_or("nothing is going to happen any more")?);
        self.say("the deadline passes");
        self.tell_server(None)?;
        self.tell_client(Who::Alice, None)?;
        self.tell_client(Who::Bob, None)?;
        self.run()
    }

    // ---- what is true --------------------------------------------------------------------------------------------

    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn expect(&self, who: Who, state: LeaseState) -> Outcome {
        println!("   {}", self.states());
        check(self.state(who) == state, &format!("{} holds {state}", who.name()))
    }

    /// How many opens the server keeps for clients that are gone.
    pub(crate) fn orphans(&self) -> usize {
        let snapshot = self.server.snapshot();
        snapshot.files.iter().flat_map(|file| &file.opens).filter(|open| !open.connected).count()
    }

    fn state(&self, who: Who) -> LeaseState {
        match who {
            Who::Alice => self.alice.machine.state(PAGE),
            Who::Bob => self.bob.machine.state(PAGE),
        }
    }

    fn states(&self) -> String {
        let snapshot = self.server.snapshot();
        let leases = snapshot.files.iter().flat_map(|file| &file.leases).map(|lease| {
            let breaking =
                lease.breaking.map(|(told, _)| format!(" (breaking to {told})")).unwrap_or_default();
            let whose = if lease.key == key(Who::Alice) { Who::Alice } else { Who::Bob };
            format!("{} {}{breaking}, epoch {}", whose.name(), lease.state, lease.epoch.get())
        });
        let at_server: Vec<String> = leases.collect();
        let at_server = if at_server.is_empty() { "no lease".into() } else { at_server.join("; ") };
        let (alice, bob) = (self.state(Who::Alice), self.state(Who::Bob));
        format!("[server: {at_server}] [alice: {alice}] [bob: {bob}]")
    }

    // ---- machines ------------------------------------------------------------------------------------------------

    /// The answer is there when everything has arrived, or when a deadline has passed.
    fn call(&mut self, who: Who, call: Call) -> Outcome<Result<Answer, Status>> {
        self.peer(who).answer = None;
        self.tell_client(who, Some(client::Input::Call(call, ())))?;
        self.run()?;
        loop {
            if let Some(answer) = self.peer(who).answer.take() {
                return Ok(answer);
            }
            self.pass_time()?;
        }
    }

    /// An input, or the time.
    fn tell_server(&mut self, input: Option<server::Input<Who>>) -> Outcome {
        for output in turn(&mut self.server, &mut self.files, self.now, input)? {
            let (who, peer) = (output.link, self.peer(output.link));
            let octets = match output.message {
                ToClient::Break(body) => {
                    let mut octets = Vec::new();
                    Header::notification(SessionId::new(0), Status::SUCCESS).encode(&mut octets);
                    body.encode(&mut octets);
                    octets
                }
                ToClient::Answer { message, result } => {
                    let mut asked = peer.asked.remove(&message).ok_or("an answer to nothing")?;
                    if result.as_ref().err() == Some(&Status::PENDING) {
                        // MS-SMB2 3.3.4.2: what follows has this AsyncId too.
                        asked.route = Route::Async { id: message };
                        peer.asked.insert(message, asked);
                    }
                    encode_answer(asked, &result)?
                }
            };
            self.link.push_back((Way::Down, who, octets));
        }
        Ok(())
    }

    /// An input, or the time.
    fn tell_client(&mut self, who: Who, input: Option<client::Input<()>>) -> Outcome {
        let now = self.now;
        let Peer { machine, host, .. } = self.peer(who);
        for output in turn(machine, host, now, input)? {
            match output {
                client::Output::Send { message, request, .. } => {
                    let octets = encode_request(message, self.peer(who).session, &request)?;
                    self.link.push_back((Way::Up, who, octets));
                }
                client::Output::Answer((), answer) => self.peer(who).answer = Some(answer),
                client::Output::Note(what) => self.say(&format!("{} {what}", who.name())),
            }
        }
        Ok(())
    }

    fn peer(&mut self, who: Who) -> &mut Peer {
        match who {
            Who::Alice => &mut self.alice,
            Who::Bob => &mut self.bob,
        }
    }

    // ---- the link ------------------------------------------------------------------------------------------------

    /// Delivers messages until none is left. Each takes a millisecond.
    fn run(&mut self) -> Outcome {
        while let Some((way, who, octets)) = self.link.pop_front() {
            self.now = self.now.saturating_add(Duration::from_millis(1));
            match way {
                Way::Up => {
                    let (header, request) = decode_request(&octets)?;
                    self.show(&format!("{} -> server: {request}", who.name()), &octets);
                    let (conn, message) = (self.peer(who).conn, header.message_id);
                    self.peer(who).asked.insert(message, header);
                    self.tell_server(Some(server::Input::Received { conn, message, request }))?;
                }
                Way::Down => {
                    if let Some(unheard) = &mut self.peer(who).unheard {
                        unheard.push(octets);
                        self.say(&format!("server -> {}: not heard", who.name()));
                        continue;
                    }
                    let message = decode_to_client(&octets)?;
                    self.show(&format!("server -> {}: {message}", who.name()), &octets);
                    self.tell_client(who, Some(client::Input::Received(message)))?;
                }
            }
        }
        Ok(())
    }

    fn hang_up(&mut self, who: Who) -> ConnId {
        self.link.retain(|(_, whose, _)| *whose != who);
        let peer = self.peer(who);
        peer.asked.clear();
        peer.conn
    }

    fn say(&self, what: &str) {
        println!("{:>6} ms  {what}", self.now.as_millis());
    }

    fn show(&self, what: &str, octets: &[u8]) {
        self.say(what);
        for line in octets.chunks(32) {
            let hex: String = line.iter().map(|octet| format!("{octet:02x}")).collect();
            println!("            {hex}");
        }
    }
}

impl Peer {
    fn new(who: Who) -> Self {
        Self {
            machine: Client::new(ClientConfig::new(HashKey::new([who.number(); 16]))),
            host: CachingClient::new(key(who)),
            conn: ConnId::new(0),
            session: SessionId::new(0),
            asked: BTreeMap::new(),
            unheard: None,
            answer: None,
        }
    }
}

fn key(who: Who) -> LeaseKey {
    LeaseKey::new([who.number(); 16])
}

/// The first of the seeds is another at each start. The second stays for as long as handles are to outlive the server.
fn config(store: &Store) -> Outcome<Config> {
    let mut config = Config::new(HashKey::new([0x42; 16]), RouteSeed::new([7; 16]), store.serials()?);
    config.persistence = true;
    Ok(config)
}

/// One input, or the time; and everything that follows from it.
fn turn<H: Host>(
    machine: &mut H::Machine,
    host: &mut H,
    now: Instant,
    input: Option<H::Input>,
) -> Outcome<VecDeque<H::Output>> {
    let (mut todo, mut actions) = (Todo::default(), Vec::new());
    match input {
        Some(input) => host.receive(input, &mut todo)?,
        None => machine.handle_timeout(now, &mut actions),
    }
    loop {
        for action in actions.drain(..) {
            host.perform(action, &mut todo)?;
        }
        let Some(event) = todo.events.pop_front() else { return Ok(todo.output) };
        machine.handle(now, event, &mut actions)?;
    }
}
