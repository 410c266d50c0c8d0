//! Owners over several shards, whose messages to and from the registry take their time: every order in which they can arrive that the
//! contract of `server::scale` allows. What one machine says is passed on in its order; the registry has one inbox.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::num::NonZeroU16;

use leasehold::server::{
    Action, Config, Event, Holder, OwnerLock, Registry, RegistryAction, RegistryEvent, RouteSeed, Shard,
    ShardAction, ToShard, What,
};
use leasehold::{FileKey, HashKey, Instant, Locker, Machine, OwnerId, Protocol, RequestId, Status};

/// What an owner does, one thing after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Do {
    /// Locks all of a file, and waits for it.
    Lock(usize, bool),
    /// Locks it, or fails.
    Try(usize, bool),
    Unlock(usize),
    /// Takes back what it waits for, if it does.
    Cancel,
    Die,
}

#[derive(Clone, Debug, Hash)]
struct Client {
    owner: OwnerId,
    program: Vec<Do>,
    at: usize,
    /// What is not answered yet, and whether it was said to wait.
    asked: Option<(RequestId, bool)>,
    /// The lock that was asked for last.
    last: Option<RequestId>,
}

#[derive(Clone, Debug)]
struct State {
    registry: Registry,
    shards: Vec<Shard>,
    to_registry: VecDeque<RegistryEvent>,
    /// Of everything that has come to the registry, in order.
    came: u64,
    to_shards: Vec<VecDeque<ToShard>>,
    /// What each shard has said, and nobody has passed on.
    said: Vec<VecDeque<ShardAction>>,
    clients: Vec<Client>,
    requests: u64,
    /// Whom each request waits for, until its answer is passed on: so long nobody can know better.
    waits: BTreeMap<RequestId, (OwnerId, BTreeSet<OwnerId>)>,
    /// Requests that were part of a circle at some time since they came.
    circled: BTreeSet<RequestId>,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Client(usize),
    Registry,
    Shard(usize),
    Said(usize),
}

/// What there was to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub programs: u64,
    pub worlds: u64,
    pub moves: u64,
    /// Worlds in which a circle was refused.
    pub refused: u64,
}

/// The owners, of one protocol each.
pub fn owner(nth: usize) -> OwnerId {
    let protocol = [Protocol::Nlm, Protocol::Nfs4, Protocol::Local][nth % 3];
    OwnerId::new(protocol, nth as u64, 1)
}

fn config() -> Config {
    Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1)
}

/// Files that lie on one shard after the other.
fn files(shards: usize) -> Vec<FileKey> {
    let mut registry = Registry::new(config(), NonZeroU16::new(shards as u16).unwrap());
    let mut files = Vec::new();
    for number in 1.. {
        let file = FileKey::new(number);
        let lock = OwnerLock::new(RequestId::new(1), owner(0), file, true);
        let mut out = Vec::new();
        registry.handle(Instant::ZERO, RegistryEvent::Driver(Event::TestLock(lock)), &mut out).unwrap();
        let [RegistryAction::Shard(shard, _)] = out[..] else { panic!("{out:?}") };
        if usize::from(shard.get()) == files.len() % shards {
            files.push(file);
        }
        if files.len() == 3 {
            break;
        }
    }
    files
}

/// Every order of what owners with these programs do and of the messages. `before`: what each has done when it begins.
pub fn search(shards: usize, before: &[Vec<Do>], programs: &[Vec<Do>], count: &mut Count) {
    count.programs += 1;
    let files = files(shards);
    let client = |(nth, program): (usize, &Vec<Do>)| Client {
        owner: owner(nth),
        program: program.clone(),
        at: 0,
        asked: None,
        last: None,
    };
    let mut first = State {
        registry: Registry::new(config(), NonZeroU16::new(shards as u16).unwrap()),
        shards: (0..shards).map(|_| Shard::new(config())).collect(),
        to_registry: VecDeque::new(),
        came: 0,
        to_shards: vec![VecDeque::new(); shards],
        said: vec![VecDeque::new(); shards],
        clients: before.iter().enumerate().map(client).collect(),
        requests: 0,
        waits: BTreeMap::new(),
        circled: BTreeSet::new(),
        refused: 0,
    };
    while let Some(next) = first.moves().pop() {
        first.carry_out(next, &files);
    }
    for (client, program) in first.clients.iter_mut().zip(programs) {
        (client.program, client.at) = (program.clone(), 0);
    }
    let mut seen = BTreeSet::new();
    let mut open = vec![first];
    while let Some(state) = open.pop() {
        let moves = state.moves();
        if state.quiet() {
            assert_eq!(state.circle_of_any(&files), None, "a circle that nobody sees: {:#?}", state.clients);
        }
        if moves.is_empty() {
            let waits: Vec<&Client> = state.clients.iter().filter(|client| client.asked.is_some()).collect();
            assert!(waits.is_empty(), "they wait for ever: {waits:?}");
            count.refused += u64::from(state.refused > 0);
        }
        count.moves += moves.len() as u64;
        for next in moves {
            let mut state = state.clone();
            state.carry_out(next, &files);
            if seen.insert(state.key()) {
                count.worlds += 1;
                open.push(state);
            }
        }
    }
}

impl State {
    fn moves(&self) -> Vec<Move> {
        let ready = |client: &Client| match client.program.get(client.at) {
            None => false,
            Some(Do::Die) => true,
            // Only who hears that it waits takes it back.
            Some(Do::Cancel) => client.asked.is_none_or(|(_, waits)| waits),
            Some(Do::Lock(..) | Do::Try(..) | Do::Unlock(_)) => client.asked.is_none(),
        };
        let clients = (0..self.clients.len()).filter(|at| ready(&self.clients[*at])).map(Move::Client);
        let mut moves: Vec<Move> = clients.collect();
        if !self.to_registry.is_empty() {
            moves.push(Move::Registry);
        }
        let some = |queues: &[VecDeque<ToShard>]| {
            (0..queues.len()).filter(|at| !queues[*at].is_empty()).collect::<Vec<_>>()
        };
        moves.extend(some(&self.to_shards).into_iter().map(Move::Shard));
        moves.extend((0..self.said.len()).filter(|at| !self.said[*at].is_empty()).map(Move::Said));
        moves
    }

    /// Whether nothing is under way.
    fn quiet(&self) -> bool {
        self.to_registry.is_empty()
            && self.to_shards.iter().all(VecDeque::is_empty)
            && self.said.iter().all(VecDeque::is_empty)
    }

    /// What the registry was told in which order decides what it has said, and so what each shard was told: the rest is how far each
    /// of them has come with that.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.came, self.to_registry.len(), &self.clients, &self.waits, &self.circled, self.refused)
            .hash(&mut hasher);
        self.to_shards.iter().for_each(|queue| queue.len().hash(&mut hasher));
        self.said.iter().for_each(|queue| queue.len().hash(&mut hasher));
        hasher.finish()
    }

    fn send(&mut self, event: RegistryEvent) {
        let mut hasher = DefaultHasher::new();
        (self.came, format!("{event:?}")).hash(&mut hasher);
        self.came = hasher.finish();
        self.to_registry.push_back(event);
    }

    fn carry_out(&mut self, next: Move, files: &[FileKey]) {
        match next {
            Move::Client(at) => self.client(at, files),
            Move::Registry => {
                let event = self.to_registry.pop_front().unwrap();
                let mut out = Vec::new();
                self.registry.handle(Instant::ZERO, event, &mut out).unwrap();
                for action in out {
                    match action {
                        RegistryAction::Driver(action) => self.perform(action),
                        RegistryAction::Shard(shard, message) => {
                            self.to_shards[usize::from(shard.get())].push_back(message);
                        }
                        RegistryAction::Broadcast(message) => {
                            self.to_shards.iter_mut().for_each(|queue| queue.push_back(message.clone()));
                        }
                    }
                }
            }
            Move::Shard(at) => {
                let message = self.to_shards[at].pop_front().unwrap();
                let mut out = Vec::new();
                self.shards[at].handle(Instant::ZERO, message, &mut out).unwrap();
                self.look_for_circles(files);
                self.said[at].extend(out);
            }
            Move::Said(at) => match self.said[at].pop_front().unwrap() {
                ShardAction::Driver(action) => self.perform(action),
                ShardAction::Registry(message) => self.send(RegistryEvent::Shard(message)),
            },
        }
    }

    fn client(&mut self, at: usize, files: &[FileKey]) {
        self.requests += 1;
        let request = RequestId::new(self.requests);
        let client = &mut self.clients[at];
        let owner = client.owner;
        let next = client.program[client.at];
        client.at += 1;
        let event = match next {
            Do::Lock(file, exclusive) | Do::Try(file, exclusive) => {
                (client.asked, client.last) = (Some((request, false)), Some(request));
                let lock = OwnerLock::new(request, owner, files[file], exclusive);
                Event::OwnerLock(if matches!(next, Do::Lock(..)) { lock.waiting() } else { lock })
            }
            Do::Unlock(file) => {
                client.asked = Some((request, false));
                Event::OwnerUnlock { request, owner, file: files[file], offset: 0, len: u64::MAX }
            }
            Do::Cancel => match client.last {
                Some(request) => Event::Cancel { request },
                None => return,
            },
            Do::Die => {
                client.asked = None;
                client.at = client.program.len();
                Event::OwnerGone { owner }
            }
        };
        self.send(RegistryEvent::Driver(event));
    }

    /// An answer.
    fn perform(&mut self, action: Action) {
        let (request, status, waits) = match action {
            Action::Accepted { request } => (request, None, false),
            Action::Refused { request, status } => (request, Some(status), false),
            Action::Interim { request } => (request, None, true),
            other => panic!("{other:?}"),
        };
        if status == Some(Status::POSSIBLE_DEADLOCK) {
            assert!(self.circled.contains(&request), "no circle: {request:?} {:#?}", self.clients);
            self.refused += 1;
        }
        if !waits {
            self.waits.remove(&request);
        }
        // Who is gone hears nothing.
        let client =
            self.clients.iter_mut().find(|client| client.asked.is_some_and(|(asked, _)| asked == request));
        if let Some(client) = client {
            client.asked = waits.then_some((request, true));
        }
    }

    /// Who waits for whom, as the shards have it.
    fn edges(&self, files: &[FileKey]) -> Vec<(RequestId, OwnerId, BTreeSet<OwnerId>)> {
        let mut edges = Vec::new();
        for (file, shard) in files.iter().flat_map(|file| self.shards.iter().map(move |shard| (file, shard)))
        {
            for holding in shard.holders(*file) {
                let What::Waits { request, on } = holding.what else { continue };
                let Holder::Owner(owner) = holding.holder else { panic!("{request:?}") };
                let on = on.into_iter().map(|locker| match locker {
                    Locker::Owner(owner) => owner,
                    Locker::Open(_) => panic!("no opens"),
                });
                edges.push((request, owner, on.collect()));
            }
        }
        edges
    }

    fn in_a_circle(edges: &[(RequestId, OwnerId, BTreeSet<OwnerId>)]) -> Vec<RequestId> {
        let mut reach: BTreeMap<OwnerId, BTreeSet<OwnerId>> = BTreeMap::new();
        for (_, owner, on) in edges {
            reach.entry(*owner).or_default().extend(on);
        }
        for _ in 0..edges.len() {
            for (from, to) in reach.clone() {
                let more: Vec<OwnerId> =
                    to.iter().filter_map(|to| reach.get(to)).flatten().copied().collect();
                reach.entry(from).or_default().extend(more);
            }
        }
        let closes = |(_, owner, on): &&(RequestId, OwnerId, BTreeSet<OwnerId>)| {
            on.iter().any(|to| to == owner || reach.get(to).is_some_and(|reached| reached.contains(owner)))
        };
        edges.iter().filter(closes).map(|(request, ..)| *request).collect()
    }

    fn look_for_circles(&mut self, files: &[FileKey]) {
        for (request, owner, on) in self.edges(files) {
            self.waits.insert(request, (owner, on));
        }
        let waits = self.waits.iter().map(|(request, (owner, on))| (*request, *owner, on.clone()));
        self.circled.extend(Self::in_a_circle(&waits.collect::<Vec<_>>()));
    }

    fn circle_of_any(&self, files: &[FileKey]) -> Option<RequestId> {
        Self::in_a_circle(&self.edges(files)).first().copied()
    }
}

/// What the first owner does besides: before it asks, and behind.
pub type Besides = (&'static [Do], &'static [Do]);

/// Everything there is of that.
pub const BESIDES: [Besides; 6] = [
    (&[], &[]),
    (&[], &[Do::Cancel]),
    (&[], &[Do::Die]),
    (&[Do::Unlock(0)], &[]),
    (&[Do::Unlock(0), Do::Lock(0, false)], &[]),
    (&[Do::Try(1, false), Do::Try(2, true)], &[]),
];

/// Each of some owners has a file, wants one of the others', and unlocks both in the end. `wishes`: a bit for each of three owners, not
/// the next one's file but that behind it.
pub fn rings(
    shards: usize,
    owners: usize,
    (held, wanted): (bool, bool),
    wishes: &[usize],
    besides: &[Besides],
) -> Count {
    let mut count = Count::default();
    for bits in wishes {
        for (ahead, behind) in besides {
            let before: Vec<_> = (0..owners).map(|at| vec![Do::Lock(at, held)]).collect();
            let program = |at: usize| {
                let want = (at + 1 + (bits >> at & 1)) % owners;
                let (ahead, behind) = if at == 0 { (*ahead, *behind) } else { Default::default() };
                let wish = [Do::Lock(want, wanted)];
                let end = [Do::Unlock(at), Do::Unlock(want)];
                [ahead, &wish, behind, &end].concat()
            };
            let programs: Vec<_> = (0..owners).map(program).collect();
            search(shards, &before, &programs, &mut count);
        }
    }
    count
}

/// What `cargo worlds` has time for.
pub fn every() -> Count {
    let mut counts = Vec::new();
    for shards in 1..4 {
        for kinds in [(true, true), (true, false), (false, true)] {
            counts.push(rings(shards, 2, kinds, &[0], &BESIDES));
        }
    }
    for shards in 2..4 {
        counts.push(rings(shards, 3, (true, true), &[0b000, 0b100], &[(&[], &[])]));
    }
    counts.into_iter().fold(Count::default(), |sum, count| Count {
        programs: sum.programs + count.programs,
        worlds: sum.worlds + count.worlds,
        moves: sum.moves + count.moves,
        refused: sum.refused + count.refused,
    })
}
