//! Every history of a small world: two or three clients, one file, a few opens. The machine itself is the state.
//!
//! `RUSTFLAGS="--cfg leasehold_exhaustive" cargo test --release --test exhaustive -- --nocapture`

#![cfg(leasehold_exhaustive)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test that goes wrong should stop"
)]

#[path = "cross/mod.rs"]
mod cross;
#[path = "exhaustive/lasting.rs"]
mod lasting;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use leasehold::server::{
    Action, Capabilities, Config, Create, Event, ObjectKind, Opened, Origin, RouteSeed, Server, Terms, Ticket,
};
use leasehold::wire::{Lease, LeaseAck, LeaseFlags, LeaseV2, OplockBreak};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, CreateOptions, Dialect, Disposition, Epoch, FileId, FileKey,
    HashKey, Instant, Intent, LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId, TreeId,
};
use stateright::{Checker, Expectation, Model, Property};

const FILE: FileKey = FileKey::new(1);

/// What a client may ask for: a lease state or an oplock level, and whether it overwrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Want {
    Lease(u32),
    Oplock(OplockLevel),
}

/// How large the world is.
#[derive(Clone, Debug)]
struct Bounds {
    /// What each client asks for.
    clients: Vec<Vec<Want>>,
    /// Opens of each client over the whole history.
    opens: usize,
    /// Whether opens may overwrite.
    overwriting: bool,
    /// Writes and reads by each client over the whole history.
    operations: usize,
    /// Deadlines that pass.
    timeouts: usize,
    /// Connections that get lost.
    losses: usize,
}

/// One open of a client. Its place in the list is the name of its CREATE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Open {
    want: Want,
    overwrites: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Parked,
    Opening(FileId),
    /// With the level that the client believes to have.
    Live(FileId, OplockLevel),
    Over,
}

/// What a client knows, and what it has not looked at yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    lost: bool,
    opens: Vec<Open>,
    operations: usize,
    /// What it believes its lease to be.
    belief: u32,
    /// A lease break to be acknowledged: what it is told.
    lease_break: Option<u32>,
    /// Oplock breaks to be acknowledged.
    oplock_breaks: Vec<(FileId, OplockLevel)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Operation {
    client: usize,
    /// Through which of its opens.
    open: usize,
    writes: bool,
    ticket: Option<Ticket1>,
}

/// A ticket, compared by how it prints.
#[derive(Clone, Copy, Debug)]
struct Ticket1(Ticket);

impl PartialEq for Ticket1 {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Ticket1 {}
impl Hash for Ticket1 {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// The machine and everybody around it.
#[derive(Clone, Debug)]
struct World {
    server: Arc<Server>,
    now: u64,
    clients: Vec<Client>,
    operations: Vec<Operation>,
    timeouts: usize,
    losses: usize,
    /// What went wrong in the last step.
    wrong: Option<String>,
}

impl World {
    /// What makes two worlds the same: time only as far as a deadline is from now, names only as far as they are in use.
    fn essence(&self) -> String {
        let due = self.server.poll_timeout().map(|due| due.as_millis() - self.now);
        format!(
            "{:?}{due:?}{:?}{:?}{}{}{:?}",
            self.server.snapshot(),
            self.clients,
            self.operations,
            self.timeouts,
            self.losses,
            self.wrong
        )
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.essence() == other.essence()
    }
}
impl Eq for World {}
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.essence().hash(state);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Create { client: usize, want: Want, overwrites: bool },
    Opened { client: usize, open: usize },
    Operate { client: usize, writes: bool },
    Done { nth: usize },
    LeaseAck { client: usize, state: u32 },
    OplockAck { client: usize, nth: usize, level: OplockLevel },
    Close { client: usize, open: usize },
    Lose { client: usize },
    Timeout,
}

fn client_of(index: usize) -> (ClientGuid, ConnId, Origin) {
    let number = index as u64 + 1;
    let (conn, session) = (ConnId::new(number), SessionId::new(number));
    (ClientGuid::from_wire([number as u8; 16]), conn, Origin::new(conn, session, TreeId::new(1)))
}

fn create_of(client: usize, open: usize) -> RequestId {
    RequestId::new((client as u64 + 1) * 100 + open as u64)
}

/// Anything that is answered at once.
const AT_ONCE: RequestId = RequestId::new(1);

impl Bounds {
    fn apply(&self, world: &mut World, event: Event) {
        let mut actions = Vec::new();
        let server = Arc::make_mut(&mut world.server);
        match server.handle(Instant::from_millis(world.now), event, &mut actions) {
            Ok(()) => self.perform(world, actions),
            Err(misuse) => world.wrong = Some(format!("misuse: {misuse}")),
        }
    }

    fn perform(&self, world: &mut World, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::OpenFile { request, file_id } => {
                    let (client, open) = split(request);
                    world.clients[client].opens[open].phase = Phase::Opening(file_id);
                }
                Action::Proceed { request, ticket } => {
                    let client = split(request).0;
                    let waiting =
                        |operation: &&mut Operation| operation.client == client && operation.ticket.is_none();
                    if let Some(operation) = world.operations.iter_mut().find(waiting) {
                        operation.ticket = Some(Ticket1(ticket));
                    }
                }
                Action::Granted { request, grant } => {
                    let (client, open) = split(request);
                    let client = &mut world.clients[client];
                    client.opens[open].phase = Phase::Live(grant.file_id, grant.level);
                    if let Some(lease) = grant.lease {
                        let old = client.belief;
                        // P4: a lease is never lowered by a CREATE. What is breaking shows the old state.
                        if client.lease_break.is_none() {
                            if lease.state().bits() & old != old {
                                world.wrong =
                                    Some(format!("lowered by a grant from {old} to {:?}", lease.state()));
                            }
                            client.belief = lease.state().bits();
                        }
                    }
                }
                Action::Refused { request, .. } | Action::Resolve { request } if request != AT_ONCE => {
                    let (client, open) = split(request);
                    if open >= 50 {
                        world.operations.retain(|other| other.client != client || other.ticket.is_some());
                    } else {
                        world.clients[client].opens[open].phase = Phase::Over;
                    }
                }
                Action::SendLeaseBreak { conn, body, .. } => {
                    let client = &mut world.clients[conn.get() as usize - 1];
                    // P5: one at a time.
                    if client.lease_break.is_some() {
                        world.wrong = Some("two lease breaks at a time".into());
                    }
                    let holds = LeaseState::WRITE | LeaseState::HANDLE;
                    let ack = body.flags.bits() & 1 == 1;
                    // P6, P12
                    if ack != body.current.intersects(holds)
                        || !body.current.contains(body.new)
                        || body.current == body.new
                    {
                        world.wrong = Some(format!("a notification that makes no sense: {body:?}"));
                    }
                    if ack {
                        client.lease_break = Some(body.new.bits());
                    } else {
                        client.belief = body.new.bits();
                    }
                }
                Action::SendOplockBreak { conn, body, .. } => {
                    let client = &mut world.clients[conn.get() as usize - 1];
                    for open in &mut client.opens {
                        let Phase::Live(file_id, level) = open.phase else { continue };
                        if file_id == body.file_id {
                            if level == OplockLevel::II {
                                open.phase = Phase::Live(file_id, body.level);
                            } else {
                                client.oplock_breaks.push((file_id, body.level));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        let stats = world.server.stats();
        if stats.anomalies != 0 {
            world.wrong = Some(format!("anomalies: {stats:?}"));
        }
        for client in &mut world.clients {
            client.oplock_breaks.sort_by_key(|(file_id, _)| *file_id);
            let live = |open: &Open| matches!(open.phase, Phase::Live(_, OplockLevel::Lease));
            if !client.opens.iter().any(live) {
                client.belief = 0;
                client.lease_break = None;
            }
        }
    }
}

fn split(request: RequestId) -> (usize, usize) {
    ((request.get() / 100) as usize - 1, (request.get() % 100) as usize)
}

impl Model for Bounds {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut server = Server::new(Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1));
        let mut actions = Vec::new();
        for index in 0..self.clients.len() {
            let (client, conn, origin) = client_of(index);
            let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
            server.handle(Instant::ZERO, Event::Connected { conn, client, terms }, &mut actions).unwrap();
            let session = origin.session;
            server.handle(Instant::ZERO, Event::SessionBound { conn, session }, &mut actions).unwrap();
        }
        vec![World {
            server: Arc::new(server),
            now: 0,
            clients: vec![Client::default(); self.clients.len()],
            operations: Vec::new(),
            timeouts: 0,
            losses: 0,
            wrong: None,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.wrong.is_some() {
            return;
        }
        for (index, client) in world.clients.iter().enumerate() {
            for (open, state) in client.opens.iter().enumerate() {
                match state.phase {
                    Phase::Opening(_) => steps.push(Step::Opened { client: index, open }),
                    Phase::Live(..) if !client.lost => steps.push(Step::Close { client: index, open }),
                    _ => {}
                }
            }
            if client.lost {
                continue;
            }
            if client.opens.len() < self.opens {
                for want in &self.clients[index] {
                    steps.push(Step::Create { client: index, want: *want, overwrites: false });
                    if self.overwriting {
                        steps.push(Step::Create { client: index, want: *want, overwrites: true });
                    }
                }
            }
            let live = client.opens.iter().any(|open| matches!(open.phase, Phase::Live(..)));
            let waits = world.operations.iter().any(|operation| operation.client == index);
            if live && !waits && client.operations < self.operations {
                steps.push(Step::Operate { client: index, writes: true });
                steps.push(Step::Operate { client: index, writes: false });
            }
            if let Some(told) = client.lease_break {
                for state in [0, 1, 3, 5].into_iter().filter(|state| state & told == *state) {
                    steps.push(Step::LeaseAck { client: index, state });
                }
            }
            for (nth, (_, told)) in client.oplock_breaks.iter().enumerate() {
                steps.push(Step::OplockAck { client: index, nth, level: *told });
                if *told != OplockLevel::None {
                    steps.push(Step::OplockAck { client: index, nth, level: OplockLevel::None });
                }
            }
            if world.losses < self.losses {
                steps.push(Step::Lose { client: index });
            }
        }
        for (nth, operation) in world.operations.iter().enumerate() {
            if operation.ticket.is_some() {
                steps.push(Step::Done { nth });
            }
        }
        if world.timeouts < self.timeouts && world.server.poll_timeout().is_some() {
            steps.push(Step::Timeout);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Create { client, want, overwrites } => {
                let open = world.clients[client].opens.len();
                world.clients[client].opens.push(Open { want, overwrites, phase: Phase::Parked });
                let (level, lease) = match want {
                    Want::Oplock(level) => (level, None),
                    Want::Lease(state) => {
                        let key = LeaseKey::new([7; 16]);
                        let (state, flags) = (LeaseState::from_bits_retain(state), LeaseFlags::empty());
                        let lease = LeaseV2 { key, state, flags, parent: None, epoch: Epoch::ZERO };
                        (OplockLevel::Lease, Some(Lease::V2(lease)))
                    }
                };
                let disposition = if overwrites { Disposition::OverwriteIf } else { Disposition::OpenIf };
                let create = Create::new(create_of(client, open), client_of(client).2, FILE)
                    .disposition(disposition, CreateOptions::empty())
                    .caching(level, lease);
                self.apply(&mut world, Event::Create(create));
            }
            Step::Opened { client, open } => {
                let state = &world.clients[client].opens[open];
                let Phase::Opening(file_id) = state.phase else { return None };
                let action = if state.overwrites { CreateAction::Overwritten } else { CreateAction::Opened };
                if world.clients[client].lost {
                    world.clients[client].opens[open].phase = Phase::Over;
                }
                let result = Ok(Opened::new(action, ObjectKind::File, 1));
                self.apply(&mut world, Event::Opened { file_id, result });
            }
            Step::Operate { client, writes } => {
                let number = world.clients[client].operations;
                world.clients[client].operations += 1;
                let opens = world.clients[client].opens.iter().enumerate();
                let (open, live) = opens.into_iter().find_map(|(open, state)| match state.phase {
                    Phase::Live(file_id, _) => Some((open, file_id)),
                    _ => None,
                })?;
                world.operations.push(Operation { client, open, writes, ticket: None });
                let intent = if writes {
                    Intent::Write { offset: 0, len: 1 }
                } else {
                    Intent::Read { offset: 0, len: 1 }
                };
                let request = create_of(client, 50 + number);
                let (origin, actor) = (Some(client_of(client).2), Actor::Open(live));
                self.apply(&mut world, Event::Operate { request, origin, file: FILE, actor, intent });
            }
            Step::Done { nth } => {
                let operation = world.operations.remove(nth);
                if operation.writes {
                    check_write(&mut world, operation.client);
                }
                let ticket = operation.ticket?.0;
                self.apply(&mut world, Event::Done { ticket, result: Ok(()) });
            }
            Step::LeaseAck { client, state } => {
                world.clients[client].lease_break = None;
                world.clients[client].belief = state;
                let ack =
                    LeaseAck { key: LeaseKey::new([7; 16]), state: LeaseState::from_bits_retain(state) };
                let conn = client_of(client).1;
                self.apply(&mut world, Event::LeaseAck { request: AT_ONCE, conn, ack });
            }
            Step::OplockAck { client, nth, level } => {
                let (file_id, _) = world.clients[client].oplock_breaks.remove(nth);
                for open in &mut world.clients[client].opens {
                    if matches!(open.phase, Phase::Live(other, _) if other == file_id) {
                        open.phase = Phase::Live(file_id, level);
                    }
                }
                let session = client_of(client).2.session;
                let ack = OplockBreak { level, file_id };
                self.apply(&mut world, Event::OplockAck { request: AT_ONCE, session, ack });
            }
            Step::Close { client, open } => {
                let Phase::Live(file_id, _) = world.clients[client].opens[open].phase else { return None };
                world.clients[client].opens[open].phase = Phase::Over;
                world.clients[client].oplock_breaks.retain(|(other, _)| *other != file_id);
                let session = client_of(client).2.session;
                self.apply(&mut world, Event::Close { request: AT_ONCE, session, file_id });
            }
            Step::Lose { client } => {
                world.losses += 1;
                let state = &mut world.clients[client];
                state.lost = true;
                state.lease_break = None;
                state.oplock_breaks.clear();
                for open in &mut state.opens {
                    if !matches!(open.phase, Phase::Opening(_)) {
                        open.phase = Phase::Over;
                    }
                }
                // An operation that runs is still answered; one that waits is forgotten.
                world.operations.retain(|operation| operation.client != client || operation.ticket.is_some());
                self.apply(&mut world, Event::Disconnected { conn: client_of(client).1 });
            }
            Step::Timeout => {
                world.timeouts += 1;
                let due = world.server.poll_timeout()?;
                world.now = due.as_millis();
                // Whoever did not answer in time has nothing left, and finds out with its next answer.
                for client in &mut world.clients {
                    if client.lease_break.take().is_some() {
                        client.belief = 0;
                    }
                    for (file_id, _) in std::mem::take(&mut client.oplock_breaks) {
                        for open in &mut client.opens {
                            if matches!(open.phase, Phase::Live(other, _) if other == file_id) {
                                open.phase = Phase::Live(file_id, OplockLevel::None);
                            }
                        }
                    }
                }
                let mut actions = Vec::new();
                Arc::make_mut(&mut world.server).handle_timeout(due, &mut actions);
                self.perform(&mut world, actions);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing goes wrong in a step", |_, world: &World| world.wrong.is_none()),
            Property::always("P1: states that exist", |_, world: &World| {
                leases(world).iter().all(|(_, state, _)| *state == state.normalized())
            }),
            Property::always("P2: beside W nobody caches", |_, world: &World| {
                let leases = leases(world);
                let caching = leases.iter().filter(|(_, state, _)| !state.is_empty()).count();
                let write = leases.iter().any(|(_, state, _)| state.contains(LeaseState::WRITE));
                !write || (caching == 1 && oplocks(world).is_empty())
            }),
            Property::always("P3: H beside no oplock", |_, world: &World| {
                let handle = leases(world).iter().any(|(_, state, _)| state.contains(LeaseState::HANDLE));
                !handle || oplocks(world).is_empty()
            }),
            Property::always("P2: an exclusive oplock is alone", |_, world: &World| {
                let levels = oplocks(world);
                let exclusive = levels.iter().any(|level| *level != OplockLevel::II);
                let caching = leases(world).iter().any(|(_, state, _)| !state.is_empty());
                !exclusive || (levels.len() == 1 && !caching)
            }),
            Property::always("P12: needed within told within held", |_, world: &World| {
                leases(world).iter().all(|(_, state, breaking)| {
                    breaking.is_none_or(|(told, needed)| {
                        state.contains(told) && *state != told && told.contains(needed)
                    })
                })
            }),
            Property::always("who waits, waits for a deadline", |_, world: &World| {
                let waits = world.server.snapshot().files.iter().any(|file| !file.waiting.is_empty());
                !waits || world.server.poll_timeout().is_some()
            }),
            Property::always("a client believes no more than is granted", |_, world: &World| {
                world.clients.iter().enumerate().all(|(index, client)| {
                    let held = leases(world).into_iter().find(|(guid, _, _)| *guid == client_of(index).0);
                    let held = held.map_or(0, |(_, state, _)| state.bits());
                    client.lost || client.belief & held == client.belief
                })
            }),
            Property::sometimes("two read caches", |_, world: &World| {
                leases(world).iter().filter(|(_, state, _)| state.contains(LeaseState::READ)).count() > 1
            }),
            Property::sometimes("a lease with all there is", |_, world: &World| {
                leases(world).iter().any(|(_, state, _)| *state == LeaseState::RWH)
            }),
            Property::sometimes("a break with a further stage", |_, world: &World| {
                leases(world)
                    .iter()
                    .any(|(_, _, breaking)| breaking.is_some_and(|(told, needed)| told != needed))
            }),
            Property::sometimes("two wait", |_, world: &World| {
                world.server.snapshot().files.iter().map(|file| file.waiting.len()).sum::<usize>() > 1
            }),
            Property::sometimes("a lease beside level II", |_, world: &World| {
                oplocks(world).contains(&OplockLevel::II)
                    && leases(world).iter().any(|(_, state, _)| !state.is_empty())
            }),
            Property::sometimes("everything is closed again", |_, world: &World| {
                world.server.snapshot().files.is_empty()
                    && world.clients.iter().all(|client| !client.opens.is_empty())
            }),
        ]
    }
}

/// When a write is acknowledged, nobody else serves the old data from a cache, unless it was told to stop.
fn check_write(world: &mut World, writer: usize) {
    let stale = world.clients.iter().enumerate().any(|(index, client)| {
        let told = client.lease_break.map_or(client.belief, |told| told & client.belief);
        index != writer && !client.lost && told & LeaseState::READ.bits() != 0
    });
    if stale {
        world.wrong = Some("a write behind which old data are served".into());
    }
}

type Told = Option<(LeaseState, LeaseState)>;

fn leases(world: &World) -> Vec<(ClientGuid, LeaseState, Told)> {
    let snapshot = world.server.snapshot();
    let leases = snapshot.files.iter().flat_map(|file| &file.leases);
    leases.map(|lease| (lease.client, lease.state, lease.breaking)).collect()
}

/// The oplocks that are held.
fn oplocks(world: &World) -> Vec<OplockLevel> {
    let snapshot = world.server.snapshot();
    let opens = snapshot.files.iter().flat_map(|file| &file.opens);
    let held = opens.map(|open| open.oplock);
    held.filter(|level| !matches!(level, OplockLevel::None | OplockLevel::Lease)).collect()
}

/// Explores one world to its end; returns the number of its states and what was seen of what has to be seen somewhere.
fn explore(name: &str, bounds: Bounds) -> (usize, BTreeSet<&'static str>) {
    let properties = bounds.properties();
    let checker = bounds.checker().threads(2).spawn_dfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, depth {}", checker.max_depth());
    let mut seen = BTreeSet::new();
    for property in properties {
        let discovery = checker.discovery(property.name);
        match (property.expectation, discovery) {
            (Expectation::Sometimes, Some(_)) => {
                seen.insert(property.name);
            }
            (Expectation::Sometimes, None) | (_, None) => {}
            (_, Some(path)) => {
                let wrong = path.last_state().wrong.clone();
                let steps = path.into_actions();
                panic!("{name}: not so: {}\n{wrong:?}\n{steps:#?}", property.name);
            }
        }
    }
    (states, seen)
}

const BATCH: Want = Want::Oplock(OplockLevel::Batch);
const LEVEL_II: Want = Want::Oplock(OplockLevel::II);

#[test]
fn every_order_of_a_small_world() {
    let small =
        Bounds { clients: Vec::new(), opens: 1, overwriting: true, operations: 1, timeouts: 1, losses: 1 };
    // One open each of three, with leases; then with oplocks among them; then two opens each of two.
    let leases = vec![vec![Want::Lease(7)], vec![Want::Lease(3)], vec![Want::Lease(7)]];
    let mixed = vec![vec![BATCH, Want::Lease(7)], vec![LEVEL_II], vec![Want::Lease(7)]];
    let data = vec![vec![Want::Lease(7), BATCH], vec![Want::Lease(7), LEVEL_II]];
    let twice = vec![vec![Want::Lease(7)], vec![Want::Lease(3), LEVEL_II]];
    let worlds = [
        ("three leases", Bounds { clients: leases, operations: 0, ..small.clone() }),
        ("leases and oplocks", Bounds { clients: mixed, operations: 0, ..small.clone() }),
        ("reads and writes", Bounds { clients: data, operations: 2, ..small.clone() }),
        ("two opens each", Bounds { clients: twice, opens: 2, operations: 0, losses: 0, ..small }),
    ];
    let wanted: Vec<&str> = worlds[0]
        .1
        .properties()
        .iter()
        .filter(|property| property.expectation == Expectation::Sometimes)
        .map(|property| property.name)
        .collect();
    let (mut states, mut seen) = (0, BTreeSet::new());
    for (name, bounds) in worlds {
        let (more, also) = explore(name, bounds);
        states += more;
        seen.extend(also);
    }
    println!("{states} states in all");
    for name in wanted {
        assert!(seen.contains(name), "never seen: {name}");
    }
    assert!(states >= 500_000, "the worlds have become small: {states}");
}

#[test]
fn every_order_of_losses_and_returns() {
    let small =
        lasting::Bounds { clients: Vec::new(), opens: 1, writes: 1, timeouts: 1, losses: 2, kept: 60_000 };
    let mixed = vec![vec![BATCH, Want::Lease(7)], vec![LEVEL_II, Want::Lease(3)]];
    let three = vec![vec![Want::Lease(7)], vec![BATCH], vec![Want::Lease(3)]];
    let twice = vec![vec![Want::Lease(7)], vec![LEVEL_II]];
    let worlds = [
        ("losses", lasting::Bounds { clients: mixed.clone(), ..small.clone() }),
        ("short losses", lasting::Bounds { clients: mixed, timeouts: 2, kept: 10_000, ..small.clone() }),
        ("losses among three", lasting::Bounds { clients: three, writes: 0, losses: 2, ..small.clone() }),
        ("losses of two opens", lasting::Bounds { clients: twice, opens: 2, writes: 0, losses: 1, ..small }),
    ];
    let wanted = lasting::wanted(&worlds[0].1);
    let (mut states, mut seen) = (0, BTreeSet::new());
    for (name, bounds) in worlds {
        let (more, also) = lasting::explore(name, bounds);
        states += more;
        seen.extend(also);
    }
    println!("{states} states in all");
    let unseen: Vec<_> = wanted.difference(&seen).collect();
    assert!(unseen.is_empty(), "never seen: {unseen:?}");
}

/// Locks of all protocols: three owners with three ranges each, and owners over several shards whose messages are late.
#[test]
fn every_order_of_locks() {
    use cross::interleave::{Layout, all};
    for (layout, likenesses) in
        [(Layout::Beside, false), (Layout::ThreeFiles, false), (Layout::Overlapping, true)]
    {
        let count = all(layout, true, likenesses);
        println!("{layout:?}: {count:?}");
        assert!(count.states >= 50_000 && count.circles > 0, "the worlds have become small: {count:?}");
    }
    let count = cross::messages::every();
    println!("late: {count:?}");
    assert!(count.worlds >= 1_000_000 && count.refused > 0, "the worlds have become small: {count:?}");
}

/// Takes minutes: `cargo large-worlds`.
#[cfg(leasehold_large_worlds)]
#[test]
fn every_order_of_a_larger_world() {
    let two = vec![vec![Want::Lease(7)], vec![Want::Lease(3), LEVEL_II]];
    let bounds = Bounds { clients: two, opens: 2, overwriting: false, operations: 1, timeouts: 1, losses: 0 };
    let (states, _) = explore("two opens each, reads and writes", bounds);
    assert!(states >= 1_000_000, "the world has become small: {states}");
}
