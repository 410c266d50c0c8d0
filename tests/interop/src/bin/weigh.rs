//! What a lease weighs: `weigh [N]` opens N files, without leases and with them, each time in a process of its own, and
//! compares the memory that the processes have.

use std::process::{Command, ExitCode};
use std::{env, fs};

use leasehold::server::{
    Action, Capabilities, Config, Create, Event, ObjectKind, Opened, Origin, RouteSeed, Server, Terms,
};
use leasehold::wire::{Lease, LeaseFlags, LeaseV2};
use leasehold::{
    ClientGuid, ConnId, CreateAction, Dialect, Epoch, FileKey, HashKey, Instant, LeaseKey, LeaseState,
    Machine, OplockLevel, RequestId, SessionId, TreeId,
};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["without", count] => count.parse().map_or(ExitCode::FAILURE, |count| weigh(count, false)),
        ["with", count] => count.parse().map_or(ExitCode::FAILURE, |count| weigh(count, true)),
        [count] => count.parse().map_or(ExitCode::FAILURE, compare),
        [] => compare(10_000_000),
        _ => {
            eprintln!("usage: weigh [N]");
            ExitCode::FAILURE
        }
    }
}

fn compare(count: u64) -> ExitCode {
    let octets = |how: &str| -> Option<f64> {
        let itself = env::current_exe().ok()?;
        let output = Command::new(itself).args([how, &count.to_string()]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let (Some(without), Some(with)) = (octets("without"), octets("with")) else { return ExitCode::FAILURE };
    println!("{count} files, each open once: {:.1} octets each", without / count as f64);
    println!("the same with a lease each:    {:.1} octets each", with / count as f64);
    println!("a lease, all in:               {:.1} octets", (with - without) / count as f64);
    ExitCode::SUCCESS
}

/// Prints by how many octets the process has grown.
fn weigh(count: u64, leases: bool) -> ExitCode {
    let before = resident();
    let mut config = Config::new(HashKey::new([7; 16]), RouteSeed::new([9; 16]), 1);
    let room = usize::try_from(count).unwrap_or(usize::MAX);
    config.expected_leases = room;
    let limits = &mut config.limits;
    (limits.opens, limits.leases, limits.files) = (room, room, room);
    (limits.leases_per_client, limits.opens_per_session) = (u32::MAX, u32::MAX);
    let mut server = Server::new(config);
    let origin = Origin::new(ConnId::new(1), SessionId::new(1), TreeId::new(1));
    let (conn, session) = (origin.conn, origin.session);
    let mut actions = Vec::new();
    let mut tell = |event| {
        actions.clear();
        server.handle(Instant::ZERO, event, &mut actions).ok()?;
        actions.last().cloned()
    };
    let terms = Terms::new(Dialect::Smb311, Capabilities::LEASING);
    tell(Event::Connected { conn, client: ClientGuid::from_wire([1; 16]), terms });
    tell(Event::SessionBound { conn, session });
    for number in 1..=count {
        let lease = leases.then(|| {
            let key = LeaseKey::new(u128::from(number).to_le_bytes());
            let (flags, parent, epoch) = (LeaseFlags::empty(), None, Epoch::ZERO);
            Lease::V2(LeaseV2 { key, state: LeaseState::RWH, flags, parent, epoch })
        });
        let create = Create::new(RequestId::new(number), origin, FileKey::new(number.into()));
        let opening = tell(Event::Create(create.caching(OplockLevel::Lease, lease)));
        let Some(Action::OpenFile { file_id, .. }) = opening else { return ExitCode::FAILURE };
        let result = Ok(Opened::new(CreateAction::Opened, ObjectKind::File, 0));
        tell(Event::Opened { file_id, result });
    }
    println!("{}", resident().saturating_sub(before));
    ExitCode::SUCCESS
}

/// Octets of memory that this process has (Linux).
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.parse::<u64>().ok());
    kibibytes.unwrap_or_default().saturating_mul(1024)
}
