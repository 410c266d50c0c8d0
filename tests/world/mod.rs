//! A world in a box: clients with caches, one server with a store, a network, and others beside it that speak other protocols, all of them
//! simulated, and all from one seed.
//!
//! Time is virtual and messages take theirs; connections are lost, machines crash and start anew, clients fall silent, the clock
//! jumps. [`checker`] holds every read and write against linearizability of the file, and what either side believes against the
//! other.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a library to one program, a module of the other, and each uses a part"
)]

mod app;
mod beside;
mod cache;
mod checker;
mod client;
mod digest;
mod disk;
mod epochs;
mod faults;
mod memory;
mod net;
mod plan;
mod queue;
mod random;
mod report;
mod rest;
mod server;

use std::fmt::Write;

use leasehold::client::Want;
use leasehold::{Access, CreateGuid, Disposition, ShareMode};

use beside::Beside;
use checker::Checker;
use client::ClientSide;
pub use digest::Digest;
use net::Net;
pub use plan::{Fault, Options, Plan, Scene};
use queue::{Queue, What};
use random::Random;
pub use report::{Report, Violation};
use server::ServerSide;

/// What an application asks for when it opens a file.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub file: usize,
    pub access: Access,
    pub sharing: ShareMode,
    pub disposition: Disposition,
    pub want: Want,
    pub durable: Option<CreateGuid>,
}

impl Wanted {
    pub fn reads(&self) -> bool {
        self.access.contains(Access::READ_DATA)
    }

    pub fn writes(&self) -> bool {
        self.access.contains(Access::WRITE_DATA)
    }
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Everything may happen.
    Storm,
    /// Nothing goes wrong any more.
    Calm,
    /// Nor do applications do anything new.
    Quiet,
}

pub struct World {
    plan: Plan,
    random: Random,
    /// In milliseconds.
    now: u64,
    step: u64,
    weather: Weather,
    queue: Queue,
    net: Net,
    server: ServerSide,
    clients: Vec<ClientSide>,
    beside: Beside,
    checker: Checker,
    digest: Digest,
    /// The last value that was written.
    value: u64,
    report: Report,
    /// From which event on the history is kept, and what is kept of it.
    history: Option<(u64, Vec<String>)>,
}

impl World {
    pub fn run(options: &Options) -> Report {
        let mut random = Random::new(options.seed);
        let plan = Plan::draw(options, &mut random);
        let mut world = Self {
            server: ServerSide::new(&plan, options.hash_key),
            clients: (0..plan.clients).map(|_| ClientSide::new(&plan, options.hash_key)).collect(),
            beside: Beside::new(&plan),
            checker: Checker::new(&plan),
            plan,
            random,
            now: 0,
            step: 0,
            weather: Weather::Storm,
            queue: Queue::default(),
            net: Net::default(),
            digest: Digest::default(),
            value: 0,
            report: Report::new(options.seed),
            history: options.history.map(|from| (from, Vec::new())),
        };
        world.begin();
        while world.step < options.events && world.report.violation.is_none() && world.advance() {}
        world.end();
        world.report.finish(world.step, world.digest, world.server.stats());
        if let Some((_, lines)) = world.history {
            world.report.history = lines;
        }
        world.report
    }

    fn begin(&mut self) {
        let lines = format!("{:?}", self.plan);
        self.note(|| lines);
        self.start_server();
        for client in 0..self.plan.clients {
            self.start_client(client);
        }
        self.begin_beside();
        self.plan_fault();
        self.queue.push(60_000, What::Weather);
    }

    /// The next thing that is due, and then everything is held against the rules. Says whether there was one.
    fn advance(&mut self) -> bool {
        enum Next {
            Queue,
            Server,
            Client(usize),
        }
        let mut candidates = Vec::with_capacity(2 + self.clients.len());
        candidates.extend(self.queue.next_at().map(|at| (at, Next::Queue)));
        candidates.extend(self.server.due.map(|at| (at, Next::Server)));
        for (client, side) in self.clients.iter().enumerate().filter(|(_, side)| side.speaks) {
            candidates.extend(side.due.map(|at| (at, Next::Client(client))));
        }
        let Some(first) = candidates.iter().map(|(at, _)| *at).min() else { return false };
        self.now = self.now.max(first);
        // After a jump of the clock many are due: any of them may be first.
        candidates.retain(|(at, _)| *at <= self.now);
        let at = if candidates.len() > 1 { self.random.index(candidates.len()) } else { 0 };
        let Some((_, next)) = candidates.into_iter().nth(at) else { return false };
        self.step += 1;
        match next {
            Next::Queue => {
                if let Some(what) = self.queue.pop() {
                    self.happen(what);
                }
            }
            Next::Server => self.server_time_passes(),
            Next::Client(client) => self.client_time_passes(client),
        }
        self.check();
        true
    }

    fn happen(&mut self, what: What) {
        let (step, now) = (self.step, self.now);
        self.note(|| format!("#{step} @{now} {what:?}"));
        let current = |world: &Self, client: usize, life| {
            let side = &world.clients[client];
            side.alive && side.life == life
        };
        match what {
            What::Up(conn) => self.arrive_up(conn),
            What::Down(conn) => self.arrive_down(conn),
            What::App { client, life } if current(self, client, life) => self.app(client),
            What::Connect { client, life } if current(self, client, life) => {
                self.connect(client);
            }
            What::Opened { life, request, file_id } if life == self.server.life => {
                self.opened(request, file_id);
            }
            What::Operated { life, request, ticket } if life == self.server.life => {
                self.operated(request, ticket);
            }
            What::Stored { life, up_to } if life == self.server.life => self.stored(up_to),
            What::Undelivered { life, id, conn, about } => {
                if life == self.server.life {
                    self.undelivered(id, conn);
                }
                self.lands(about);
            }
            What::Flushed { client, life, file } if current(self, client, life) => {
                self.flushed(client, file);
            }
            What::Purged { client, life, file } if current(self, client, life) => {
                self.purged(client, file);
            }
            What::WriteAgain { client, life, op } if current(self, client, life) => {
                self.write_again(client, op);
            }
            What::Reclaim { life, neighbour } if self.server.lives(life) => self.reclaim(neighbour),
            What::Recalled { life, neighbour, file } if self.server.lives(life) => {
                self.recalled(neighbour, file);
            }
            What::App { .. }
            | What::Reclaim { .. }
            | What::Recalled { .. }
            | What::Connect { .. }
            | What::Opened { .. }
            | What::Operated { .. }
            | What::Stored { .. }
            | What::Flushed { .. }
            | What::Purged { .. }
            | What::WriteAgain { .. } => {}
            What::Neighbour { neighbour } => self.neighbour(neighbour),
            What::Fault => self.fault(),
            What::PowerCut { life } => self.power_cut(life),
            What::ServerStarts => self.start_server(),
            What::ClientStarts { client } => self.start_client(client),
            What::Speaks { client } => self.speaks(client),
            What::Weather => self.turn_of_weather(),
        }
    }

    fn fresh_value(&mut self) -> u64 {
        self.value += 1;
        self.value
    }

    /// For whoever has to find out what went wrong.
    fn note(&mut self, text: impl FnOnce() -> String) {
        let step = self.step;
        if let Some((_, lines)) = self.history.as_mut().filter(|(from, _)| step >= *from) {
            lines.push(text());
        }
    }

    fn violate(&mut self, check: &'static str, detail: impl FnOnce() -> String) {
        if self.report.violation.is_none() {
            let detail = detail();
            self.report.violation = Some(Violation { check, detail, step: self.step, at: self.now });
        }
    }

    /// What a machine wants done goes into the digest.
    fn witness(&mut self, who: &str, action: &impl std::fmt::Debug) {
        let _ = write!(self.digest, "{who}{action:?}");
        self.note(|| format!("    {who} {action:?}"));
    }
}
