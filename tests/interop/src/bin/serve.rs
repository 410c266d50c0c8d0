//! `serve [--listen ADDRESS] [--store STORE] [--user NAME:PASSWORD]... [--continuous] [--share NAME[:OPTION]...]...
//! [--profile NAME] [--test-controls]`: a server of SMB 2.0.2 to 3.1.1 whose files are in memory and whose every decision about
//! opens, leases, oplocks, locks and durable handles is `leasehold::server::Server`'s.
//!
//! | option | what |
//! |---|---|
//! | `--listen ADDRESS` | 127.0.0.1:4450 if it is left out; port 0 takes a free one |
//! | `--store STORE` | where persistent handles are kept: `memory`, `redb:PATH` or `etcd:URL`. They outlive connections, not the process, since their files do not; `node` is the program whose handles do |
//! | `--user NAME:PASSWORD` | who may sign in; anybody may stay anonymous |
//! | `--continuous` | persistent handles, and a share `share_ca` that is continuously available |
//! | `--share NAME[:ca][:cluster][:scale-out][:force-level2]` | a further share; `share` is always there |
//! | `--profile NAME` | `windows` or `samba`: what is otherwise there than by default, as far as clients can tell |
//! | `--test-controls` | FSCTL 0x83848003, by which a test has the server take a connection for dead |
//!
//! On standard output it says `listening ADDRESS` when it does.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;
use std::{env, thread};

use leasehold::server::{
    Config, Event, FollowUpEpoch, PendingReplay, Profile, RouteSeed, Server, Share, ShareFlags, ShareKind,
    UnknownReplay,
};
use leasehold::{HashKey, Instant};
use leasehold_interop::fs::MemFs;
use leasehold_interop::host::{Host, Output};
use leasehold_interop::serve::net::{self, ToStore};
use leasehold_interop::serve::{Engine, Setup, Shared};
use leasehold_interop::smb::ntlm::Accounts;
use leasehold_interop::store::keeping::{self, Fenced};
use leasehold_interop::store::{Image, Store, StoreError, StoreUrl, ownership};

/// The same for every server that may ever read the records. A real one draws it once, when it is set up.
const ROUTE_SEED: [u8; 16] = *b"route of a serve";
/// What all files may hold, in octets.
const ROOM: u64 = 4 << 30;

fn main() -> ExitCode {
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!(
            "usage: serve [--listen ADDRESS] [--store memory|redb:PATH|etcd:URL] [--user NAME:PASSWORD]... [--continuous]\n\
             \x20      [--share NAME[:ca][:cluster][:scale-out][:force-level2]]... [--profile windows|samba] [--test-controls]"
        );
        return ExitCode::from(2);
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    listen: SocketAddr,
    store: String,
    profile: Profile,
    setup: Setup,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut listen = "127.0.0.1:4450".parse().ok()?;
        let mut store = "memory".to_owned();
        let mut profile = Profile::default();
        let mut accounts = Accounts::new();
        let mut shares = BTreeMap::new();
        let (mut continuous, mut test_controls) = (false, false);
        shares.extend(share("share"));
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--listen" => listen = arguments.next()?.parse().ok()?,
                "--store" => store = arguments.next()?,
                "--user" => {
                    let user = arguments.next()?;
                    let (name, password) = user.split_once(':')?;
                    accounts.add(name, password);
                }
                "--continuous" => {
                    continuous = true;
                    shares.extend(share("share_ca:ca"));
                }
                "--share" => shares.extend([share(&arguments.next()?)?]),
                "--profile" => match arguments.next()?.as_str() {
                    "windows" => profile.pending_replay = PendingReplay::Unnoticed,
                    "samba" => {
                        profile.follow_up_epoch = FollowUpEpoch::Same;
                        profile.unknown_replay = UnknownReplay::Refuse;
                    }
                    _ => return None,
                },
                "--test-controls" => test_controls = true,
                _ => return None,
            }
        }
        let available = |shared: &Shared| shared.share.flags.contains(ShareFlags::CONTINUOUSLY_AVAILABLE);
        let persistent_handles = continuous || shares.values().any(available);
        let mut guid = [0; 16];
        getrandom::fill(&mut guid).ok()?;
        let name = "leasehold".to_owned();
        let setup = Setup { guid, name, accounts, shares, persistent_handles, test_controls };
        Some(Self { listen, store, profile, setup })
    }
}

/// `NAME[:OPTION]...`
fn share(text: &str) -> Option<(String, Shared)> {
    let mut parts = text.split(':');
    let name = parts.next().filter(|name| !name.is_empty())?.to_lowercase();
    let (mut flags, mut cluster) = (ShareFlags::empty(), false);
    for part in parts {
        match part {
            "ca" => flags |= ShareFlags::CONTINUOUSLY_AVAILABLE,
            "cluster" => cluster = true,
            "scale-out" => flags |= ShareFlags::SCALE_OUT,
            "force-level2" => flags |= ShareFlags::FORCE_LEVEL_II,
            _ => return None,
        }
    }
    Some((name, Shared { share: Share::new(ShareKind::Disk, flags), cluster }))
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Misuse(#[from] leasehold::server::Misuse),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

fn serve(options: Options) -> Result<(), Failure> {
    let Options { listen, store, profile, setup } = options;
    let mut store = StoreUrl::parse(&store)?.open()?;
    let image = store.load()?;
    let random = || RandomState::new().hash_one(0);
    let hash_key = HashKey::new(((u128::from(random()) << 64) | u128::from(random())).to_le_bytes());
    let mut config = Config::new(hash_key, RouteSeed::new(ROUTE_SEED), image.below.max(1));
    config.persistence = setup.persistent_handles;
    config.profile = profile;
    let persistence = config.persistence;

    let mut host = Host::new(Server::new(config), MemFs::with_limit(ROOM));
    host.set_time(Instant::from_millis(ownership::now()));
    let (to_store, changes) = mpsc::channel();
    if persistence {
        forget(store.as_mut(), image)?;
        host.stored(Event::Recovered)?;
        // What it reserves at the start is stored before anybody comes, so that the first can be promised something.
        while let Some(output) = host.next_output() {
            if let Output::Persist { seq, change } = output {
                let _ = to_store.send((seq, change));
            }
        }
        let stored =
            keeping::flush(store.as_mut(), changes.try_iter()).map_err(|Fenced| StoreError::Fenced)?;
        stored.into_iter().try_for_each(|event| host.stored(event))?;
    }

    let (to_server, events) = mpsc::channel();
    let to_store = ToStore { changes: to_store, events };
    let mut server = net::Server::bind(Engine::new(setup, host), listen, to_store)?;
    let waker = server.waker()?;
    thread::spawn(move || {
        keeping::keep(store, &changes, |told| match told {
            Ok(event) => to_server.send(event).is_ok() && waker.wake().is_ok(),
            Err(Fenced) => {
                eprintln!("the store belongs to somebody else");
                false
            }
        });
        // The server ends when it sees that nobody keeps anything any more.
        drop(to_server);
        let _ = waker.wake();
    });
    println!("listening {}", server.address()?);
    Ok(server.run()?)
}

/// The files of a former life went with it, so its handles lead nowhere: somebody may want to look at their records.
fn forget(store: &mut dyn Store, image: Image) -> Result<(), StoreError> {
    for persistent in image.records.keys() {
        eprintln!("record {persistent:016x} is set aside: its file was in the memory of another process");
    }
    keeping::set_aside(store, image.records)
}
