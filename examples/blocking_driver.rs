//! A driver with threads and channels: each machine on a thread of its own, in real time.
//!
//! [`drive`] is what to copy. What it is given is in `shared/`: a server of one file and clients with a cache of one page. A channel
//! stands for a connection; with sockets, a thread for each reads messages and puts them into the inbox.
//!
//! Run it with `cargo run --example blocking_driver`.

#[path = "shared/mod.rs"]
mod shared;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leasehold::client::{Client, ClientConfig, OpenRef};
use leasehold::server::{Config, RouteSeed, Server, ShareFlags};
use leasehold::{ConnId, Disposition, HashKey, Instant, LeaseKey, LeaseState, Machine, Status};
use shared::application::{Answer, Call, Promise, Source};
use shared::client::{self, CachingClient};
use shared::message::{Request, Response, ToClient};
use shared::server::{self, FileServer};
use shared::{Host, Outcome, Todo, act, check};

/// Waits for what arrives and for deadlines, until nobody is left who could say anything. What `send` cannot send comes back as
/// an input.
fn drive<H: Host>(
    mut machine: H::Machine,
    mut host: H,
    inbox: Receiver<H::Input>,
    clock: Clock,
    mut send: impl FnMut(H::Output) -> Option<H::Input>,
) -> Outcome<(H::Machine, H)> {
    let (mut todo, mut actions, mut returned) = (Todo::default(), Vec::new(), VecDeque::new());
    loop {
        let wait = machine.poll_timeout().map(|due| due.saturating_since(clock.now()));
        let received = match (returned.pop_front(), wait) {
            (Some(input), _) => Ok(input),
            // First of all: an inbox that is never empty must not keep a deadline waiting.
            (None, Some(Duration::ZERO)) => Err(RecvTimeoutError::Timeout),
            (None, Some(wait)) => inbox.recv_timeout(wait),
            (None, None) => inbox.recv().map_err(RecvTimeoutError::from),
        };
        match received {
            Ok(input) => host.receive(input, &mut todo)?,
            Err(RecvTimeoutError::Timeout) => machine.handle_timeout(clock.now(), &mut actions),
            Err(RecvTimeoutError::Disconnected) => return Ok((machine, host)),
        }
        loop {
            // All of them, in order; only then what follows from them.
            for action in actions.drain(..) {
                host.perform(action, &mut todo)?;
            }
            let Some(event) = todo.events.pop_front() else { break };
            // Misuse is a mistake of the driver's. A server goes on after those that say "refuse the connection".
            machine.handle(clock.now(), event, &mut actions)?;
        }
        returned.extend(todo.output.drain(..).filter_map(&mut send));
    }
}

/// Milliseconds since the start. A real clock goes on while the host sleeps, and wakes whoever waits: on Linux CLOCK_BOOTTIME and
/// a timerfd of it. This one may do neither.
#[derive(Clone, Copy)]
struct Clock(std::time::Instant);

impl Clock {
    fn now(self) -> Instant {
        Instant::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn say(self, what: &str) {
        println!("{:>6} ms  {what}", self.now().as_millis());
    }
}

type Reply = Sender<Result<Answer, Status>>;
type ToServer = Sender<server::Input<Link>>;

/// Leads to a client. A real one has a bound, and who does not read is disconnected: `tokio_driver` shows how.
#[derive(Clone)]
struct Link {
    name: &'static str,
    inbox: Sender<client::Input<Reply>>,
}

/// How long the server waits for an acknowledgment: 35 s in the protocol.
const PATIENCE: Duration = Duration::from_millis(300);

/// An application, with its client on a thread of its own.
struct App {
    link: Link,
    thread: JoinHandle<Outcome<(Client, CachingClient<Reply>)>>,
}

impl App {
    fn start(name: &'static str, number: u8, server: &ToServer, clock: Clock) -> Outcome<Self> {
        let (inbox, received) = channel();
        let link = Link { name, inbox };
        server.send(server::Input::connected(number, link.clone()))?;
        link.inbox.send(client::Input::connected(number))?;
        let server = server.clone();
        let send = move |output: client::Output<Reply>| {
            match output {
                client::Output::Send { conn, message, request } => {
                    clock.say(&format!("{name} -> server: {request}"));
                    let sent = server.send(server::Input::Received { conn, message, request });
                    return sent.err().map(|_| client::Input::Disconnected { conn });
                }
                // An application that does not wait any more is none of the client's business.
                client::Output::Answer(reply, answer) => drop(reply.send(answer)),
                client::Output::Note(what) => clock.say(&format!("{name} {what}")),
            }
            None
        };
        // Both from the generator of the system, in earnest.
        let (entropy, key) = (HashKey::new([number; 16]), LeaseKey::new([number; 16]));
        let machine = Client::new(ClientConfig::new(entropy));
        let host = CachingClient::new(key);
        let thread = thread::spawn(move || drive(machine, host, received, clock, send));
        Ok(Self { link, thread })
    }

    fn call(&self, call: Call) -> Outcome<Answer> {
        let (reply, answer) = channel();
        self.link.inbox.send(client::Input::Call(call, reply))?;
        Ok(answer.recv_timeout(Duration::from_secs(10))??)
    }

    fn open(&self, want: LeaseState) -> Outcome<OpenRef> {
        let (disposition, promise) = (Disposition::Open, Promise::Nothing);
        self.call(Call::Open { want, disposition, promise })?.opened()
    }
}

fn main() -> Outcome {
    let clock = Clock(std::time::Instant::now());
    let mut config = Config::new(HashKey::new([0x42; 16]), RouteSeed::new([7; 16]), 1);
    config.lease_break_timeout = PATIENCE;
    let (server, received) = channel();
    let serving = thread::spawn(move || {
        let host = FileServer::new("draft 1", ShareFlags::empty(), None);
        drive(Server::new(config), host, received, clock, |output: server::Output<Link>| {
            clock.say(&format!("server -> {}: {}", output.link.name, output.message));
            let sent = output.link.inbox.send(client::Input::Received(output.message.clone()));
            sent.err().map(|_| server::Input::Unsent(output))
        })
    });

    act(
        "Carol has the file to herself, and hears nothing from then on. Alice waits until Carol's time is over.",
    );
    let (inbox, heard) = channel();
    server.send(server::Input::connected(3, Link { name: "carol", inbox }))?;
    let conn = ConnId::new(3);
    let request = Request::open(LeaseKey::new([3; 16]), LeaseState::RWH);
    server.send(server::Input::Received { conn, message: 1, request })?;
    let granted = matches!(
        heard.recv_timeout(Duration::from_secs(10))?,
        client::Input::Received(ToClient::Answer { result: Ok(Response::Create { .. }), .. })
    );
    check(granted, "carol has the file")?;
    let alice = App::start("alice", 1, &server, clock)?;
    let asked = clock.now();
    let hers = alice.open(LeaseState::RWH)?;
    let waited = clock.now().saturating_since(asked);
    check(waited >= PATIENCE, &format!("alice has waited for {waited:?}"))?;

    act("Carol hangs up. Alice is alone now: she asks again, and may cache everything.");
    server.send(server::Input::Disconnected { conn })?;
    let again = alice.open(LeaseState::RWH)?;
    let written = alice.call(Call::Write(again, "draft 2".into()))?;
    check(written == Answer::Written(Source::Cache), "what alice writes stays in her cache")?;

    act("Bob opens the file. Alice writes back and acknowledges; then he is served, and she may still read.");
    let bob = App::start("bob", 2, &server, clock)?;
    let his = bob.open(LeaseState::RH)?;
    let read = bob.call(Call::Read(his))?;
    check(read == Answer::Text("draft 2".into(), Source::Server), "bob reads what alice had written")?;
    let read = alice.call(Call::Read(hers))?;
    check(read == Answer::Text("draft 2".into(), Source::Cache), "alice reads from her cache")?;

    act("Everybody goes. A thread ends when nobody is left who could tell it anything.");
    for (app, opens) in [(&alice, vec![hers, again]), (&bob, vec![his])] {
        for open in opens {
            app.call(Call::Release(open))?;
        }
    }
    for number in 1..=2 {
        server.send(server::Input::Disconnected { conn: ConnId::new(number) })?;
    }
    drop(server);
    for App { link, thread } in [alice, bob] {
        drop(link.inbox);
        thread.join().map_err(|_| format!("{} has panicked", link.name))??;
    }
    let (machine, files) = serving.join().map_err(|_| "the server has panicked")??;
    check(machine.idle() && files.handles.is_empty(), "nothing is left at the server")?;
    check(files.data == "draft 2", "the file has what alice has written")
}
