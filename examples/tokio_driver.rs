//! A driver with tokio: each machine in a task of its own, behind bounded channels, in real time.
//!
//! [`Driver`] is what to copy, with [`serve`] and [`cache`] around it. What it drives is in `shared/`: a server of one file and clients
//! with a cache of one page. A channel stands for a connection; with sockets, a task for each reads messages and puts them into the inbox.
//!
//! Nobody waits in a circle: applications wait for their client, a client waits for the server, and the server waits for nobody. It
//! hangs up on a client that does not read.
//!
//! Run it with `cargo run --example tokio_driver`.

#[path = "shared/mod.rs"]
mod shared;

use std::collections::VecDeque;
use std::future;
use std::time::Duration;

use leasehold::client::{Client, ClientConfig, OpenRef};
use leasehold::server::{Config, RouteSeed, Server, ShareFlags};
use leasehold::{ConnId, Disposition, HashKey, Instant, LeaseKey, LeaseState, Machine, Status};
use shared::application::{Answer, Call, Promise, Source};
use shared::client::{self, CachingClient};
use shared::message::{Request, Response, ToClient};
use shared::server::{self, FileServer};
use shared::{Host, Outcome, Todo, act, check};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

/// A machine, what stands around it, and where its inputs come from.
struct Driver<H: Host> {
    machine: H::Machine,
    host: H,
    inbox: mpsc::Receiver<H::Input>,
    /// What could not be sent, before everything in the inbox.
    returned: VecDeque<H::Input>,
    todo: Todo<H>,
    actions: Vec<H::Action>,
    clock: Clock,
}

impl<H: Host> Driver<H> {
    fn new(machine: H::Machine, host: H, inbox: mpsc::Receiver<H::Input>, clock: Clock) -> Self {
        let (returned, todo, actions) = (VecDeque::new(), Todo::default(), Vec::new());
        Self { machine, host, inbox, returned, todo, actions, clock }
    }

    /// Waits for an input or a deadline, and says what is to be sent; `None` when nobody is left who could say anything. It can be
    /// cancelled: it waits in one place, and before that nothing has happened.
    async fn turn(&mut self) -> Outcome<Option<VecDeque<H::Output>>> {
        let input = match self.returned.pop_front() {
            Some(input) => Some(input),
            None => tokio::select! {
                // In this order: an inbox that is never empty must not keep a deadline waiting.
                biased;
                () = self.clock.reaches(self.machine.poll_timeout()) => None,
                input = self.inbox.recv() => match input {
                    Some(input) => Some(input),
                    None => return Ok(None),
                },
            },
        };
        match input {
            Some(input) => self.host.receive(input, &mut self.todo)?,
            None => self.machine.handle_timeout(self.clock.now(), &mut self.actions),
        }
        loop {
            // All of them, in order; only then what follows from them.
            for action in self.actions.drain(..) {
                self.host.perform(action, &mut self.todo)?;
            }
            let Some(event) = self.todo.events.pop_front() else { break };
            // Misuse is a mistake of the driver's. A server goes on after those that say "refuse the connection".
            self.machine.handle(self.clock.now(), event, &mut self.actions)?;
        }
        Ok(Some(std::mem::take(&mut self.todo.output)))
    }
}

/// The task of a server. It ends when nobody is left who could send anything.
async fn serve(mut driver: Driver<FileServer<Link>>) -> Outcome<Driver<FileServer<Link>>> {
    while let Some(output) = driver.turn().await? {
        for output in output {
            // Without waiting: one client that does not read must not hold up the others.
            let Ok(place) = output.link.down.try_reserve() else {
                driver.clock.say(&format!("server hangs up on {}", output.link.name));
                driver.returned.push_back(server::Input::Unsent(output));
                continue;
            };
            driver.clock.say(&format!("server -> {}: {}", output.link.name, output.message));
            place.send(output.message);
        }
    }
    Ok(driver)
}

/// The task of a client. It is cancelled by `stop`, between turns, and hangs up.
async fn cache(
    mut driver: Driver<CachingClient<Reply>>,
    conn: ConnId,
    name: &'static str,
    server: ToServer,
    mut stop: Stop,
) -> Outcome {
    while let Some(output) = tokio::select! { turn = driver.turn() => turn?, _ = &mut stop => None } {
        for output in output {
            match output {
                client::Output::Send { conn, message, request } => {
                    driver.clock.say(&format!("{name} -> server: {request}"));
                    let received = server::Input::Received { conn, message, request };
                    if server.send(received).await.is_err() {
                        driver.returned.push_back(client::Input::Disconnected { conn });
                    }
                }
                // An application that does not wait any more is none of the client's business.
                client::Output::Answer(reply, answer) => drop(reply.send(answer)),
                client::Output::Note(what) => driver.clock.say(&format!("{name} {what}")),
            }
        }
    }
    Ok(server.send(server::Input::Disconnected { conn }).await?)
}

/// Milliseconds since the start. A real clock goes on while the host sleeps, and wakes whoever waits: on Linux CLOCK_BOOTTIME and
/// a timerfd of it. That of tokio does neither.
#[derive(Clone, Copy)]
struct Clock(tokio::time::Instant);

impl Clock {
    fn now(self) -> Instant {
        Instant::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn reaches(self, due: Option<Instant>) {
        match due.and_then(|due| self.0.checked_add(Duration::from_millis(due.as_millis()))) {
            Some(due) => sleep_until(due).await,
            None => future::pending().await,
        }
    }

    fn say(self, what: &str) {
        println!("{:>6} ms  {what}", self.now().as_millis());
    }
}

type Reply = oneshot::Sender<Result<Answer, Status>>;
type ToServer = mpsc::Sender<server::Input<Link>>;
type Stop = oneshot::Receiver<()>;

/// Leads to a client.
#[derive(Clone)]
struct Link {
    name: &'static str,
    down: mpsc::Sender<ToClient>,
}

/// How long the server waits for an acknowledgment: 35 s in the protocol.
const PATIENCE: Duration = Duration::from_millis(300);
/// Places in a channel, but for Carol's.
const ROOM: usize = 16;

/// An application, with its client in a task of its own.
struct App {
    inbox: mpsc::Sender<client::Input<Reply>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Outcome>,
}

impl App {
    async fn start(name: &'static str, number: u8, server: &ToServer, clock: Clock) -> Outcome<Self> {
        let ((inbox, received), (down, mut answers)) = (mpsc::channel(ROOM), mpsc::channel(ROOM));
        server.send(server::Input::connected(number, Link { name, down })).await?;
        inbox.send(client::Input::connected(number)).await?;
        let conn = ConnId::new(number.into());
        let reads = inbox.clone();
        tokio::spawn(async move {
            while let Some(message) = answers.recv().await {
                reads.send(client::Input::Received(message)).await?;
            }
            reads.send(client::Input::Disconnected { conn }).await
        });
        // Both from the generator of the system, in earnest.
        let (entropy, key) = (HashKey::new([number; 16]), LeaseKey::new([number; 16]));
        let machine = Client::new(ClientConfig::new(entropy));
        let driver = Driver::new(machine, CachingClient::new(key), received, clock);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(cache(driver, conn, name, server.clone(), stopped));
        Ok(Self { inbox, stop, task })
    }

    async fn call(&self, call: Call) -> Outcome<Answer> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(client::Input::Call(call, reply)).await?;
        Ok(timeout(Duration::from_secs(10), answer).await???)
    }

    async fn open(&self, want: LeaseState) -> Outcome<OpenRef> {
        let (disposition, promise) = (Disposition::Open, Promise::Nothing);
        self.call(Call::Open { want, disposition, promise }).await?.opened()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let clock = Clock(tokio::time::Instant::now());
    let mut config = Config::new(HashKey::new([0x42; 16]), RouteSeed::new([7; 16]), 1);
    config.lease_break_timeout = PATIENCE;
    let (server, received) = mpsc::channel(ROOM);
    let driver = Driver::new(
        Server::new(config),
        FileServer::new("draft 1", ShareFlags::empty(), None),
        received,
        clock,
    );
    let serving = tokio::spawn(serve(driver));

    act(
        "Carol has the file to herself, and reads nothing from then on. Alice waits until Carol's time is over.",
    );
    let (down, mut answers) = mpsc::channel(1);
    server.send(server::Input::connected(3, Link { name: "carol", down })).await?;
    let conn = ConnId::new(3);
    let request = Request::open(LeaseKey::new([3; 16]), LeaseState::RWH);
    server.send(server::Input::Received { conn, message: 1, request }).await?;
    let Some(ToClient::Answer { result: Ok(Response::Create { reply, .. }), .. }) = answers.recv().await
    else {
        return Err("carol does not get the file".into());
    };
    let alice = App::start("alice", 1, &server, clock).await?;
    let asked = clock.now();
    let hers = alice.open(LeaseState::RWH).await?;
    let waited = clock.now().saturating_since(asked);
    check(waited >= PATIENCE, &format!("alice has waited for {waited:?}"))?;

    act(
        "The break fills Carol's channel. She asks for more and reads nothing: the server hangs up, and Alice is alone.",
    );
    let request = Request::Read { file_id: reply.file_id };
    server.send(server::Input::Received { conn, message: 2, request }).await?;
    let again = alice.open(LeaseState::RWH).await?;
    let written = alice.call(Call::Write(again, "draft 2".into())).await?;
    check(written == Answer::Written(Source::Cache), "what alice writes stays in her cache")?;
    check(matches!(answers.recv().await, Some(ToClient::Break(_))), "carol was told of the break")?;
    check(answers.recv().await.is_none(), "and of nothing else")?;

    act("Bob opens the file. Alice writes back and acknowledges; then he is served, and she may still read.");
    let bob = App::start("bob", 2, &server, clock).await?;
    let his = bob.open(LeaseState::RH).await?;
    let read = bob.call(Call::Read(his)).await?;
    check(read == Answer::Text("draft 2".into(), Source::Server), "bob reads what alice had written")?;
    let read = alice.call(Call::Read(hers)).await?;
    check(read == Answer::Text("draft 2".into(), Source::Cache), "alice reads from her cache")?;

    act("The clients are stopped, whatever they have open. Then nobody is left, and the server ends.");
    for App { stop, task, .. } in [alice, bob] {
        drop(stop);
        task.await??;
    }
    drop(server);
    let Driver { machine, host, .. } = serving.await??;
    check(machine.idle() && host.handles.is_empty(), "nothing is left at the server")?;
    check(host.data == "draft 2", "the file has what alice has written")
}
