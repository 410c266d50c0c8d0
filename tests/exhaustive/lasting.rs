//! Worlds in which connections are lost and opens come back: kept, purged, given back, closed at their deadline, asked for
//! again by their CREATE.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use leasehold::server::{
    Action, Capabilities, Config, Create, Durability, Event, ObjectKind, Opened, Origin, Reconnect,
    RouteSeed, Server, Terms, Ticket,
};
use leasehold::wire::{Lease, LeaseAck, LeaseFlags, LeaseV2, OplockBreak};
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, CreateGuid, Dialect, Epoch, FileId, HashKey, Instant, Intent,
    LeaseKey, LeaseState, Machine, OplockLevel, RequestId, SessionId, Status, TreeId, UserId,
};
use stateright::{Checker, Expectation, Model, Property};

use super::{AT_ONCE, FILE, Want};

/// How large the world is.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// What each client asks for; everything is asked to be durable.
    pub(crate) clients: Vec<Vec<Want>>,
    /// Opens of each client over the whole history.
    pub(crate) opens: usize,
    /// Writes by each client over the whole history.
    pub(crate) writes: usize,
    /// Deadlines that pass.
    pub(crate) timeouts: usize,
    /// Connections that get lost.
    pub(crate) losses: usize,
    /// How long an open is to be kept, in milliseconds: less than a break lasts, or more.
    pub(crate) kept: u32,
}

/// How far an open has come. Its place in the list is the name of its CREATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Parked,
    Opening(FileId),
    /// Its client is gone, and the driver still opens it.
    Abandoned(FileId),
    /// With the level that the client believes to have.
    Live(FileId, OplockLevel),
    /// Its client is gone, and can have it back.
    Kept(FileId, OplockLevel),
    /// It was kept, and is no more.
    Gone(FileId, Cause),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cause {
    Purged,
    Late,
}

/// How an open came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Reconnect,
    Replay,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Open {
    want: Want,
    phase: Phase,
    /// Whether it was made durable.
    durable: bool,
    /// Whether its CREATE can be sent again.
    replayable: bool,
    /// Others have written while it was kept.
    stale: bool,
    back: Option<Way>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    /// How often it has come back.
    times: u64,
    lost: bool,
    opens: Vec<Open>,
    writes: usize,
    /// Through which open a write waits.
    writing: Option<usize>,
    /// What it believes its lease to be.
    belief: u32,
    /// A lease break to be acknowledged: what it is told.
    lease_break: Option<u32>,
    /// Oplock breaks to be acknowledged.
    oplock_breaks: Vec<(FileId, OplockLevel)>,
}

/// The machine and everybody around it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    server: Arc<Server>,
    now: u64,
    clients: Vec<Client>,
    timeouts: usize,
    losses: usize,
    /// What went wrong in the last step.
    wrong: Option<String>,
}

impl World {
    fn essence(&self) -> String {
        let due = self.server.poll_timeout().map(|due| due.as_millis() - self.now);
        let bounds = (self.timeouts, self.losses, &self.wrong);
        format!("{:?}{due:?}{:?}{bounds:?}", self.server.snapshot(), self.clients)
    }

    fn origin(&self, client: usize) -> Origin {
        let number = client as u64 + 1 + 10 * self.clients[client].times;
        Origin::new(ConnId::new(number), SessionId::new(number), TreeId::new(1))
    }

    fn fail(&mut self, what: impl Into<String>) {
        self.wrong.get_or_insert(what.into());
    }

    /// The open behind the persistent half of a FileId.
    fn named(&self, file_id: FileId) -> Option<(usize, usize)> {
        let of = |phase: Phase| match phase {
            Phase::Opening(id) | Phase::Abandoned(id) | Phase::Live(id, _) | Phase::Kept(id, _) => Some(id),
            Phase::Gone(..) | Phase::Parked | Phase::Over => None,
        };
        self.clients.iter().enumerate().find_map(|(client, state)| {
            let mut opens = state.opens.iter();
            let same = |open: &Open| of(open.phase).is_some_and(|id| id.persistent == file_id.persistent);
            Some((client, opens.position(same)?))
        })
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Create {
        client: usize,
        want: Want,
    },
    Opened {
        client: usize,
        open: usize,
    },
    Write {
        client: usize,
        open: usize,
    },
    LeaseAck {
        client: usize,
        state: u32,
    },
    OplockAck {
        client: usize,
        nth: usize,
        level: OplockLevel,
    },
    Close {
        client: usize,
        open: usize,
    },
    Lose {
        client: usize,
    },
    /// A new connection and a new session.
    Come {
        client: usize,
    },
    Return {
        client: usize,
        open: usize,
    },
    /// Somebody wants the open of another.
    Steal {
        thief: usize,
        client: usize,
        open: usize,
    },
    /// The CREATE is sent again, as such or without a word.
    Again {
        client: usize,
        open: usize,
        replay: bool,
    },
    Timeout,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Create,
    Replay,
    Repeat,
    Return,
    Steal,
    Write,
}

const KINDS: [Kind; 6] = [Kind::Create, Kind::Replay, Kind::Repeat, Kind::Return, Kind::Steal, Kind::Write];

fn request_of(kind: Kind, client: usize, open: usize) -> RequestId {
    let kind = KINDS.iter().position(|other| *other == kind).unwrap();
    RequestId::new((client as u64 + 1) * 100 + kind as u64 * 10 + open as u64)
}

fn split(request: RequestId) -> (Kind, usize, usize) {
    let number = request.get() as usize;
    (KINDS[number / 10 % 10], number / 100 - 1, number % 10)
}

fn guid_of(client: usize) -> ClientGuid {
    ClientGuid::from_wire([client as u8 + 1; 16])
}

fn create_guid(client: usize, open: usize) -> CreateGuid {
    CreateGuid::from_wire([(client * 16 + open) as u8 + 1; 16])
}

fn user_of(client: usize) -> UserId {
    UserId::new([client as u8 + 1; 16])
}

fn context(state: u32) -> Lease {
    let (key, state) = (LeaseKey::new([7; 16]), LeaseState::from_bits_retain(state));
    Lease::V2(LeaseV2 { key, state, flags: LeaseFlags::empty(), parent: None, epoch: Epoch::ZERO })
}

impl Bounds {
    fn create(&self, world: &World, kind: Kind, client: usize, open: usize) -> Create {
        let (level, lease) = match world.clients[client].opens[open].want {
            Want::Oplock(level) => (level, None),
            Want::Lease(state) => (OplockLevel::Lease, Some(context(state))),
        };
        let create_guid = create_guid(client, open);
        let durability = Durability::V2 { timeout: self.kept, create_guid, persistent: false };
        Create::new(request_of(kind, client, open), world.origin(client), FILE)
            .caching(level, lease)
            .durable(user_of(client), durability)
    }

    fn apply(&self, world: &mut World, event: Event) {
        let mut actions = Vec::new();
        let server = Arc::make_mut(&mut world.server);
        match server.handle(Instant::from_millis(world.now), event, &mut actions) {
            Ok(()) => self.perform(world, actions, Cause::Purged),
            Err(misuse) => world.fail(format!("misuse: {misuse}")),
        }
    }

    fn perform(&self, world: &mut World, actions: Vec<Action>, cause: Cause) {
        let mut done: Vec<(usize, Ticket)> = Vec::new();
        for action in actions {
            match action {
                Action::OpenFile { request, file_id } => match split(request) {
                    (Kind::Create, client, open) => {
                        world.clients[client].opens[open].phase = Phase::Opening(file_id);
                    }
                    other => world.fail(format!("executed anew: {other:?}")),
                },
                Action::Proceed { request, ticket } => {
                    let (_, client, _) = split(request);
                    world.clients[client].writing = None;
                    done.push((client, ticket));
                }
                Action::Granted { request, grant } => self.granted(world, request, grant),
                Action::Refused { request, status } if request != AT_ONCE => {
                    refused(world, request, status);
                }
                Action::CloseFile { file_id, .. } => match world.named(file_id) {
                    Some((client, open)) => {
                        let open = &mut world.clients[client].opens[open];
                        match open.phase {
                            Phase::Kept(file_id, _) => open.phase = Phase::Gone(file_id, cause),
                            Phase::Abandoned(_) => open.phase = Phase::Over,
                            other => world.fail(format!("closed by nobody: {other:?}")),
                        }
                    }
                    None => {}
                },
                Action::SendLeaseBreak { conn, body, .. } => {
                    let client = (conn.get() as usize - 1) % 10;
                    if world.clients[client].lost || world.origin(client).conn != conn {
                        world.fail("a notification to nobody");
                    }
                    let client = &mut world.clients[client];
                    if body.flags.bits() & 1 == 0 {
                        client.belief = body.new.bits();
                    } else if client.lease_break.replace(body.new.bits()).is_some() {
                        world.fail("two lease breaks at a time");
                    }
                }
                Action::SendOplockBreak { conn, body, .. } => {
                    let client = (conn.get() as usize - 1) % 10;
                    if world.clients[client].lost || world.origin(client).conn != conn {
                        world.fail("a notification to nobody");
                    }
                    let client = &mut world.clients[client];
                    for open in &mut client.opens {
                        let Phase::Live(file_id, level) = open.phase else { continue };
                        if file_id != body.file_id {
                            continue;
                        }
                        if level == OplockLevel::II {
                            open.phase = Phase::Live(file_id, body.level);
                        } else {
                            client.oplock_breaks.push((file_id, body.level));
                        }
                    }
                }
                _ => {}
            }
        }
        let stats = world.server.stats();
        if stats.anomalies != 0 {
            world.fail(format!("anomalies: {stats:?}"));
        }
        for client in &mut world.clients {
            let live = |open: &Open| matches!(open.phase, Phase::Live(_, OplockLevel::Lease));
            if !client.opens.iter().any(live) {
                client.belief = 0;
                client.lease_break = None;
            }
        }
        for (client, ticket) in done {
            written(world, client);
            self.apply(world, Event::Done { ticket, result: Ok(()) });
        }
    }

    fn granted(&self, world: &mut World, request: RequestId, grant: leasehold::server::Grant) {
        let (kind, client, nth) = split(request);
        let was = world.clients[client].opens[nth].phase;
        let way = match (kind, was) {
            (Kind::Create, Phase::Opening(_)) => None,
            (Kind::Replay, Phase::Live(file_id, level)) => {
                if file_id != grant.file_id || level != grant.level && level == OplockLevel::Lease {
                    world.fail("another open is given to who asks again");
                }
                return;
            }
            (Kind::Replay | Kind::Return, Phase::Kept(file_id, level)) => {
                if file_id.persistent != grant.file_id.persistent
                    || file_id.volatile == grant.file_id.volatile
                {
                    world.fail("the wrong name for an open that comes back");
                }
                if level != grant.level {
                    world.fail("another level for an open that comes back");
                }
                Some(if kind == Kind::Return { Way::Reconnect } else { Way::Replay })
            }
            other => return world.fail(format!("granted: {other:?}")),
        };
        let client = &mut world.clients[client];
        let open = &mut client.opens[nth];
        open.phase = Phase::Live(grant.file_id, grant.level);
        open.back = way;
        open.durable |= grant.durable.is_some();
        open.replayable = grant.replayable;
        let state = grant.lease.map_or(LeaseState::NONE, |lease| lease.state());
        let caches = state.contains(LeaseState::READ) || grant.level == OplockLevel::Batch;
        let stale = std::mem::take(&mut open.stale) && caches;
        if grant.lease.is_some() {
            let old = client.belief;
            if client.lease_break.is_none() {
                client.belief = state.bits();
                if state.bits() & old != old {
                    world.fail("lowered by a grant");
                }
            }
        }
        if way.is_some() && !(state.contains(LeaseState::HANDLE) || grant.level == OplockLevel::Batch) {
            world.fail("back without what made it durable");
        }
        if stale {
            world.fail("old data behind a return");
        }
    }
}

fn refused(world: &mut World, request: RequestId, status: Status) {
    let (kind, client, nth) = split(request);
    let open = &mut world.clients[client].opens[nth];
    let right = match (kind, open.phase) {
        (Kind::Create, _) => {
            open.phase = Phase::Over;
            true
        }
        (Kind::Write, _) => {
            world.clients[client].writing = None;
            true
        }
        (Kind::Repeat, _) => status == Status::DUPLICATE_OBJECTID,
        (Kind::Return, Phase::Gone(..)) => {
            open.phase = Phase::Over;
            status == Status::OBJECT_NAME_NOT_FOUND
        }
        (Kind::Steal, Phase::Kept(..)) => {
            // The client is looked at only where there is a lease.
            let lease = matches!(open.want, Want::Lease(_));
            status == if lease { Status::OBJECT_NAME_NOT_FOUND } else { Status::ACCESS_DENIED }
        }
        _ => false,
    };
    if !right {
        world.fail(format!("refused with {status:?}: {kind:?}"));
    }
}

/// When a write is acknowledged, nobody else serves the old data from a cache, unless it was told to stop; and nobody comes back
/// to them.
fn written(world: &mut World, writer: usize) {
    let mut old = false;
    for (_, client) in world.clients.iter_mut().enumerate().filter(|(index, _)| *index != writer) {
        let told = client.lease_break.map_or(client.belief, |told| told & client.belief);
        old |= !client.lost && told & LeaseState::READ.bits() != 0;
        let kept = client.opens.iter_mut().filter(|open| matches!(open.phase, Phase::Kept(..)));
        kept.for_each(|open| open.stale = true);
    }
    if old {
        world.fail("a write behind which old data are served");
    }
}

impl Model for Bounds {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let server = Server::new(Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1));
        let mut world = World {
            server: Arc::new(server),
            now: 0,
            clients: vec![Client::default(); self.clients.len()],
            timeouts: 0,
            losses: 0,
            wrong: None,
        };
        (0..self.clients.len()).for_each(|client| self.connect(&mut world, client));
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.wrong.is_some() {
            return;
        }
        for (index, client) in world.clients.iter().enumerate() {
            for (open, state) in client.opens.iter().enumerate() {
                if let Phase::Opening(_) | Phase::Abandoned(_) = state.phase {
                    steps.push(Step::Opened { client: index, open });
                }
            }
            if client.lost {
                if client.opens.iter().any(|open| matches!(open.phase, Phase::Kept(..) | Phase::Gone(..))) {
                    steps.push(Step::Come { client: index });
                }
                continue;
            }
            self.actions_of(world, index, steps);
        }
        if world.timeouts < self.timeouts && world.server.poll_timeout().is_some() {
            steps.push(Step::Timeout);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Create { client, want } => {
                let open = world.clients[client].opens.len();
                let (phase, back) = (Phase::Parked, None);
                world.clients[client].opens.push(Open {
                    want,
                    phase,
                    durable: false,
                    replayable: false,
                    stale: false,
                    back,
                });
                let create = self.create(&world, Kind::Create, client, open);
                self.apply(&mut world, Event::Create(create));
            }
            Step::Opened { client, open } => {
                let (Phase::Opening(file_id) | Phase::Abandoned(file_id)) =
                    world.clients[client].opens[open].phase
                else {
                    return None;
                };
                let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, 1));
                self.apply(&mut world, Event::Opened { file_id, result });
            }
            Step::Write { client, open } => {
                let Phase::Live(file_id, _) = world.clients[client].opens[open].phase else { return None };
                world.clients[client].writes += 1;
                world.clients[client].writing = Some(open);
                world.clients[client].opens[open].replayable = false;
                let request = request_of(Kind::Write, client, open);
                let (origin, actor) = (Some(world.origin(client)), Actor::Open(file_id));
                let intent = Intent::Write { offset: 0, len: 1 };
                self.apply(&mut world, Event::Operate { request, origin, file: FILE, actor, intent });
            }
            Step::LeaseAck { client, state } => {
                let conn = world.origin(client).conn;
                let holder = &mut world.clients[client];
                holder.lease_break = None;
                holder.belief = state;
                let leased = |open: &&mut Open| matches!(open.phase, Phase::Live(_, OplockLevel::Lease));
                let kept = |open: &&mut Open| matches!(open.phase, Phase::Kept(_, OplockLevel::Lease));
                let members = holder.opens.iter_mut().filter(|open| leased(open) || kept(open));
                members.for_each(|open| open.replayable = false);
                let ack =
                    LeaseAck { key: LeaseKey::new([7; 16]), state: LeaseState::from_bits_retain(state) };
                self.apply(&mut world, Event::LeaseAck { request: AT_ONCE, conn, ack });
            }
            Step::OplockAck { client, nth, level } => {
                let session = world.origin(client).session;
                let holder = &mut world.clients[client];
                let (file_id, _) = holder.oplock_breaks.remove(nth);
                for open in &mut holder.opens {
                    if matches!(open.phase, Phase::Live(other, _) if other == file_id) {
                        open.phase = Phase::Live(file_id, level);
                        open.replayable = false;
                    }
                }
                let ack = OplockBreak { level, file_id };
                self.apply(&mut world, Event::OplockAck { request: AT_ONCE, session, ack });
            }
            Step::Close { client, open } => {
                let Phase::Live(file_id, _) = world.clients[client].opens[open].phase else { return None };
                world.clients[client].opens[open].phase = Phase::Over;
                world.clients[client].oplock_breaks.retain(|(other, _)| *other != file_id);
                let session = world.origin(client).session;
                self.apply(&mut world, Event::Close { request: AT_ONCE, session, file_id });
            }
            Step::Lose { client } => self.lose(&mut world, client),
            Step::Come { client } => {
                world.clients[client].times += 1;
                world.clients[client].lost = false;
                self.connect(&mut world, client);
            }
            Step::Return { client, open } => {
                let wanted = returning(&world, Kind::Return, client, client, open)?;
                self.apply(&mut world, Event::Reconnect(wanted));
            }
            Step::Steal { thief, client, open } => {
                let wanted = returning(&world, Kind::Steal, thief, client, open)?;
                self.apply(&mut world, Event::Reconnect(wanted));
            }
            Step::Again { client, open, replay } => {
                let kind = if replay { Kind::Replay } else { Kind::Repeat };
                let create = self.create(&world, kind, client, open);
                let create = if replay { create.replayed() } else { create };
                self.apply(&mut world, Event::Create(create));
            }
            Step::Timeout => self.timeout(&mut world)?,
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing goes wrong in a step", |_, world: &World| world.wrong.is_none()),
            Property::always(
                "what is kept is there, and nothing else is without a client",
                |_, world: &World| {
                    let snapshot = world.server.snapshot();
                    let orphans =
                        snapshot.files.iter().flat_map(|file| &file.opens).filter(|open| !open.connected);
                    let there: BTreeSet<u64> = orphans.map(|open| open.file_id.persistent).collect();
                    let kept = opens(world).filter_map(|open| match open.phase {
                        Phase::Kept(file_id, _) => Some(file_id.persistent),
                        _ => None,
                    });
                    there == kept.collect()
                },
            ),
            Property::always("what is kept has a deadline", |_, world: &World| {
                let kept = opens(world).any(|open| matches!(open.phase, Phase::Kept(..)));
                !kept || world.server.poll_timeout().is_some()
            }),
            Property::always("who waits, waits for a deadline", |_, world: &World| {
                let waits = world.server.snapshot().files.iter().any(|file| !file.waiting.is_empty());
                !waits || world.server.poll_timeout().is_some()
            }),
            Property::always("beside W nobody caches", |_, world: &World| {
                let snapshot = world.server.snapshot();
                let leases = || snapshot.files.iter().flat_map(|file| &file.leases);
                let caching = leases().filter(|lease| !lease.state.is_empty()).count();
                let write = leases().any(|lease| lease.state.contains(LeaseState::WRITE));
                let held = snapshot
                    .files
                    .iter()
                    .flat_map(|file| &file.opens)
                    .filter(|open| !matches!(open.oplock, OplockLevel::None | OplockLevel::Lease));
                !write || (caching == 1 && held.count() == 0)
            }),
            Property::sometimes("an open comes back", |_, world: &World| {
                opens(world).any(|open| open.back == Some(Way::Reconnect))
            }),
            Property::sometimes("an open comes back by its CREATE", |_, world: &World| {
                opens(world).any(|open| open.back == Some(Way::Replay))
            }),
            Property::sometimes("an open makes way while nobody is there", |_, world: &World| {
                opens(world).any(|open| matches!(open.phase, Phase::Gone(_, Cause::Purged)))
            }),
            Property::sometimes("an open is too late", |_, world: &World| {
                opens(world).any(|open| matches!(open.phase, Phase::Gone(_, Cause::Late)))
            }),
            Property::sometimes("two are kept", |_, world: &World| {
                opens(world).filter(|open| matches!(open.phase, Phase::Kept(..))).count() > 1
            }),
            Property::sometimes("an open beside one that is kept", |_, world: &World| {
                opens(world).any(|open| matches!(open.phase, Phase::Kept(..)))
                    && opens(world).any(|open| matches!(open.phase, Phase::Live(..)))
            }),
        ]
    }
}

fn opens(world: &World) -> impl Iterator<Item = &Open> {
    world.clients.iter().flat_map(|client| &client.opens)
}

fn returning(world: &World, kind: Kind, who: usize, client: usize, open: usize) -> Option<Reconnect> {
    let state = &world.clients[client].opens[open];
    let (Phase::Kept(file_id, _) | Phase::Gone(file_id, _)) = state.phase else { return None };
    let request = request_of(kind, client, open);
    let wanted = Reconnect::new(request, world.origin(who), user_of(who), file_id.persistent);
    let wanted = wanted.with_guid(create_guid(client, open));
    Some(match state.want {
        Want::Lease(state) => wanted.lease(context(state), Some(FILE)),
        Want::Oplock(_) => wanted,
    })
}

impl Bounds {
    fn connect(&self, world: &mut World, client: usize) {
        let Origin { conn, session, .. } = world.origin(client);
        let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
        self.apply(world, Event::Connected { conn, client: guid_of(client), terms });
        self.apply(world, Event::SessionBound { conn, session });
    }

    /// What a client that is connected may do.
    fn actions_of(&self, world: &World, index: usize, steps: &mut Vec<Step>) {
        let client = &world.clients[index];
        if client.opens.len() < self.opens {
            steps.extend(self.clients[index].iter().map(|want| Step::Create { client: index, want: *want }));
        }
        for (open, state) in client.opens.iter().enumerate() {
            match state.phase {
                Phase::Live(..) => {
                    steps.push(Step::Close { client: index, open });
                    if client.writing.is_none() && client.writes < self.writes {
                        steps.push(Step::Write { client: index, open });
                    }
                }
                Phase::Kept(..) | Phase::Gone(..) => steps.push(Step::Return { client: index, open }),
                _ => {}
            }
            if state.replayable && matches!(state.phase, Phase::Live(..) | Phase::Kept(..)) {
                steps.push(Step::Again { client: index, open, replay: true });
                steps.push(Step::Again { client: index, open, replay: false });
            }
        }
        for (other, owner) in world.clients.iter().enumerate().filter(|(other, _)| *other != index) {
            for (open, state) in owner.opens.iter().enumerate() {
                if let Phase::Kept(..) = state.phase {
                    steps.push(Step::Steal { thief: index, client: other, open });
                }
            }
        }
        if let Some(told) = client.lease_break {
            for state in [0, 1, 3, 5].into_iter().filter(|state| state & told == *state) {
                steps.push(Step::LeaseAck { client: index, state });
            }
        }
        for (nth, (_, told)) in client.oplock_breaks.iter().enumerate() {
            steps.push(Step::OplockAck { client: index, nth, level: *told });
        }
        if world.losses < self.losses {
            steps.push(Step::Lose { client: index });
        }
    }

    /// MS-SMB2 3.3.7.1: what caches handles, and is not breaking, is kept; nothing else is.
    fn lose(&self, world: &mut World, client: usize) {
        let snapshot = world.server.snapshot();
        let lease = snapshot.files.iter().flat_map(|file| &file.leases);
        let handle = lease
            .filter(|lease| lease.client == guid_of(client))
            .any(|lease| lease.state.contains(LeaseState::HANDLE) && lease.breaking.is_none());
        let held: BTreeSet<u64> = snapshot
            .files
            .iter()
            .flat_map(|file| &file.opens)
            .filter(|open| match open.oplock {
                OplockLevel::Lease => handle,
                OplockLevel::Batch => open.breaking.is_none(),
                _ => false,
            })
            .map(|open| open.file_id.persistent)
            .collect();
        let conn = world.origin(client).conn;
        world.losses += 1;
        let state = &mut world.clients[client];
        state.lost = true;
        state.lease_break = None;
        state.oplock_breaks.clear();
        state.writing = None;
        let mut expected = Vec::new();
        for (nth, open) in state.opens.iter_mut().enumerate() {
            open.phase = match open.phase {
                Phase::Parked => Phase::Over,
                Phase::Opening(file_id) => Phase::Abandoned(file_id),
                Phase::Live(file_id, level) => {
                    expected.push((nth, open.durable && held.contains(&file_id.persistent)));
                    Phase::Kept(file_id, level)
                }
                other => other,
            };
        }
        self.apply(world, Event::Disconnected { conn });
        for (nth, kept) in expected {
            let open = &mut world.clients[client].opens[nth];
            if matches!(open.phase, Phase::Kept(..)) != kept {
                let what = format!("kept: {kept}, and it is not so: {open:?}");
                world.fail(what);
            } else if !kept {
                open.phase = Phase::Over;
            }
        }
    }

    /// The next deadline passes: of a break, of an open that is kept, or of several.
    fn timeout(&self, world: &mut World) -> Option<()> {
        world.timeouts += 1;
        let due = world.server.poll_timeout()?;
        let left = due.as_millis() - world.now;
        world.now = due.as_millis();
        let snapshot = world.server.snapshot();
        let late = |remaining: Option<std::time::Duration>| {
            remaining.is_some_and(|remaining| remaining.as_millis() == u128::from(left))
        };
        // Whoever did not answer in time has nothing left, and finds out with its next answer.
        for lease in snapshot.files.iter().flat_map(|file| &file.leases).filter(|lease| late(lease.remaining))
        {
            let client = (0..world.clients.len()).find(|client| guid_of(*client) == lease.client)?;
            world.clients[client].lease_break = None;
            world.clients[client].belief = 0;
        }
        for open in snapshot.files.iter().flat_map(|file| &file.opens) {
            if !(open.connected && late(open.remaining)) {
                continue;
            }
            for client in &mut world.clients {
                client.oplock_breaks.retain(|(file_id, _)| *file_id != open.file_id);
                for own in &mut client.opens {
                    if matches!(own.phase, Phase::Live(file_id, _) if file_id == open.file_id) {
                        own.phase = Phase::Live(open.file_id, OplockLevel::None);
                    }
                }
            }
        }
        let mut actions = Vec::new();
        Arc::make_mut(&mut world.server).handle_timeout(due, &mut actions);
        // What goes for the sake of others at that time is late for its client all the same.
        self.perform(world, actions, Cause::Late);
        Some(())
    }
}

/// Explores one world to its end; returns the number of its states and what was seen of what has to be seen somewhere.
pub(crate) fn explore(name: &str, bounds: Bounds) -> (usize, BTreeSet<&'static str>) {
    let properties = bounds.properties();
    let checker = bounds.checker().threads(2).spawn_dfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, depth {}", checker.max_depth());
    let mut seen = BTreeSet::new();
    for property in properties {
        match (property.expectation, checker.discovery(property.name)) {
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

/// What has to be seen in some world.
pub(crate) fn wanted(bounds: &Bounds) -> BTreeSet<&'static str> {
    let properties = bounds.properties().into_iter();
    let sometimes = properties.filter(|property| property.expectation == Expectation::Sometimes);
    sometimes.map(|property| property.name).collect()
}
