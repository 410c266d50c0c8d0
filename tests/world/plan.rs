//! What kind of world a seed makes: who takes part, what is negotiated, what goes wrong and how often.

use leasehold::server::{Capabilities, ShareFlags, Terms};
use leasehold::{Dialect, LeaseState, Protocol};

use super::random::Random;

/// What clients cache by, and what they have back after a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Leases, version 1 or 2; nothing outlives a connection.
    Leases,
    /// Oplocks; on some seeds BATCH is durable.
    Oplocks,
    /// Leases of durable opens.
    Durable,
    /// Leases of persistent opens on a continuously available share.
    Persistent,
}

impl Scene {
    pub const ALL: [Self; 4] = [Self::Leases, Self::Oplocks, Self::Durable, Self::Persistent];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scene| format!("{scene:?}").eq_ignore_ascii_case(name))
    }
}

/// What a run is to be; what is not said follows from the seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    pub events: u64,
    pub scene: Option<Scene>,
    pub clients: Option<usize>,
    pub files: Option<usize>,
    /// Of the hash tables of the machines: nothing depends on it.
    pub hash_key: u8,
    /// From which event on the history is kept, to be shown.
    pub history: Option<u64>,
}

impl Options {
    pub const fn new(seed: u64, events: u64) -> Self {
        Self { seed, events, scene: None, clients: None, files: None, hash_key: 5, history: None }
    }

    pub const fn scene(self, scene: Scene) -> Self {
        Self { scene: Some(scene), ..self }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A connection is lost, with what was under way on it.
    Cut,
    /// The server is gone, and starts anew with what its store has.
    ServerCrash,
    /// A client is gone, and starts anew without what it had.
    ClientCrash,
    /// A client does and hears nothing for a while.
    Silence,
    /// The clock jumps forward.
    Jump,
    /// A record cannot be stored.
    NotStored,
}

impl Fault {
    /// What comes by itself.
    pub const ALL: [Self; 5] = [Self::Cut, Self::ServerCrash, Self::ClientCrash, Self::Silence, Self::Jump];
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub scene: Scene,
    pub clients: usize,
    pub files: usize,
    pub pages: usize,
    pub terms: Terms,
    /// Connections of a client at most.
    pub channels: usize,
    /// Whether opens ask to outlive their connections.
    pub durable: bool,
    pub share: ShareFlags,
    /// How long a message takes, in milliseconds.
    pub delay: (u64, u64),
    /// How long an application thinks.
    pub think: u64,
    /// How long it takes, in the mean, until something goes wrong.
    pub pause: u64,
    pub faults: Vec<Fault>,
    pub wants: Vec<LeaseState>,
    pub overwrites: bool,
    pub denials: bool,
    /// Opens for attributes alone.
    pub looks: bool,
    /// Whether clients have records of their opens after a crash.
    pub records: bool,
    /// Whether epochs pass 65535.
    pub leaps: bool,
    /// How many files an application has open, or asks for, at once; and whether it rests at times, with none.
    pub opens: usize,
    pub rests: bool,
    /// Handles that H keeps open, of all files and of one.
    pub kept: (usize, u32),
    /// Who else uses the files, and whether they have again what they had when the server restarts.
    pub neighbours: Vec<Protocol>,
    pub reclaims: bool,
    /// How long it takes at most until something is stored, in milliseconds.
    pub storing: u64,
    /// Whether now and then a record cannot be stored.
    pub full: bool,
}

/// In half of all worlds there are none.
const NEIGHBOURS: [&[Protocol]; 10] = [
    &[],
    &[],
    &[],
    &[],
    &[],
    &[Protocol::Nfs3],
    &[Protocol::Nfs4],
    &[Protocol::Nfs4, Protocol::Nfs4],
    &[Protocol::Nlm, Protocol::Nlm, Protocol::Nfs3],
    &[Protocol::Nfs3, Protocol::Nfs4, Protocol::Nfs4, Protocol::Nlm],
];

impl Plan {
    pub(super) fn draw(options: &Options, random: &mut Random) -> Self {
        let scene = options.scene.unwrap_or_else(|| random.pick(&Scene::ALL));
        let (r, rh, rw, rwh) = (LeaseState::R, LeaseState::RH, LeaseState::RW, LeaseState::RWH);
        let leasing = Capabilities::LEASING;
        let channels = random.pick(&[1, 1, 2, 3]);
        let modern = |more| Terms::new(Dialect::Smb311, more | Capabilities::MULTI_CHANNEL);
        let (terms, channels) = match scene {
            // Without epochs nothing orders what comes on several connections.
            Scene::Leases if random.once_in(3) => (Terms::new(Dialect::Smb210, leasing), 1),
            Scene::Leases | Scene::Durable => (modern(leasing), channels),
            Scene::Oplocks if random.once_in(2) => (Terms::new(Dialect::Smb210, Capabilities::empty()), 1),
            Scene::Oplocks => (modern(Capabilities::empty()), channels),
            Scene::Persistent => (modern(leasing | Capabilities::PERSISTENT_HANDLES), channels),
        };
        let share = match scene {
            Scene::Persistent => ShareFlags::CONTINUOUSLY_AVAILABLE,
            Scene::Leases | Scene::Oplocks | Scene::Durable => ShareFlags::empty(),
        };
        let durable = match scene {
            Scene::Leases => false,
            Scene::Oplocks => random.once_in(2),
            Scene::Durable | Scene::Persistent => true,
        };
        // Not everything goes wrong in every world: one fault hides another.
        let mut faults: Vec<_> = Fault::ALL.into_iter().filter(|_| !random.once_in(3)).collect();
        if random.once_in(10) {
            faults.clear();
        }
        let neighbours = random.pick(&NEIGHBOURS).to_vec();
        Self {
            scene,
            clients: options.clients.unwrap_or_else(|| random.pick(&[2, 3, 3, 4])),
            files: options.files.unwrap_or_else(|| random.pick(&[1, 2, 3, 4])),
            pages: random.pick(&[1, 2, 3]),
            terms,
            channels,
            durable,
            share,
            delay: random.pick(&[(4, 6), (4, 40), (4, 200)]),
            think: random.pick(&[10, 40, 150]),
            pause: random.pick(&[200, 1_000, 5_000, 30_000]),
            faults,
            wants: random.pick(&[&[r, rh, rw, rwh] as &[_], &[rwh], &[r, rwh], &[rh, rwh]]).to_vec(),
            overwrites: random.once_in(2),
            denials: random.once_in(3),
            looks: random.once_in(2),
            leaps: random.once_in(2),
            records: durable && !random.once_in(3),
            opens: random.pick(&[1, 1, 2, 4]),
            rests: !random.once_in(4),
            kept: random.pick(&[(2, 1), (4, 2), (64, 8)]),
            reclaims: random.once_in(2) || scene == Scene::Persistent,
            storing: random.pick(&[6, 6, 60, 600]),
            // Neighbours are told what they have also where it could not be stored what gave way to it: a restart brings that back.
            full: scene == Scene::Persistent && neighbours.is_empty() && !random.once_in(3),
            neighbours,
        }
    }
}
