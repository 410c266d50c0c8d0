//! A client of SMB whose every decision about opens, leases, oplocks and durable handles is `leasehold::client::Client`'s, and what
//! it tries with a server that is not ours.
//!
//! | file | what |
//! |---|---|
//! | `driver.rs` | carries the machine's actions out and tells it what happens: the shape of any client |
//! | `link.rs` | a connection with its session and share, and what is under way on it |
//! | `cache.rs` | the cache that the machine governs |
//! | `world.rs` | two clients, real time, and what a check may ask of them |
//! | `rows/` | the checks |
//! | `seen.rs` | what was on the wire, as text |
//!
//! Sockets are the standard library's and `rustix`'s; sessions and signatures are [`smb::client`](crate::smb::client)'s, which needs
//! nothing but the primitives of RustCrypto. The crates that are whole clients of SMB hide what has to be seen here: when a break
//! comes, what a CREATE asks for, how a connection is lost.

mod cache;
mod driver;
mod link;
mod rows;
mod seen;
mod world;

use std::time::Duration;

use leasehold::Dialect;

use crate::smb::client::Error;
use crate::smb::ntlm::Credentials;
use crate::smb::request::Command;
use rows::{PERSISTENT, ROWS, Row, TIMED};
use world::{Trouble, World};

/// A share of a server, and who goes there.
#[derive(Clone)]
pub struct Target {
    /// HOST:PORT
    pub server: String,
    /// The name of the share.
    pub share: String,
    /// The name of one that is continuously available, if there is another.
    pub continuous: Option<String>,
    /// Who.
    pub credentials: Credentials,
    /// The only one that is offered.
    pub dialect: Dialect,
}

/// How many checks went how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u32,
    pub failed: u32,
    pub not_offered: u32,
}

/// Which checks there are to be.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Those whose name contains this.
    pub only: String,
    /// But not this one.
    pub without: Option<String>,
    /// Also how a durable handle is given up, after so long a time.
    pub wait: Option<Duration>,
}

/// Tries everything in one dialect, and prints a row for each check.
pub fn run(target: &Target, choice: &Choice, counts: &mut Counts) {
    let share = target.continuous.as_ref().unwrap_or(&target.share).clone();
    let continuous = Target { share, ..target.clone() };
    let timed = choice.wait.map(|_| TIMED);
    let usual = ROWS.iter().copied().chain(timed).map(|row| (target, row));
    let rows = usual.chain(PERSISTENT.iter().map(|row| (&continuous, *row)));
    for (target, row) in rows.filter(|(_, (name, _))| name.contains(&choice.only)) {
        if choice.without.as_deref() == Some(row.0) {
            println!("{:5} {}: left out", seen::dialect(target.dialect), row.0);
        } else {
            check(target, row, choice.wait, counts);
        }
    }
}

fn check(target: &Target, (name, check): Row, wait: Option<Duration>, counts: &mut Counts) {
    let (seen, outcome) = match World::new(target, wait) {
        Err(Failure::Client(Error::Refused { command: Command::Negotiate, .. })) => {
            (Vec::new(), Err(Trouble::NotOffered("this dialect")))
        }
        Err(error) => (Vec::new(), Err(error.into())),
        Ok(mut world) => {
            let outcome = check(&mut world);
            let (seen, deleted) = world.finish();
            (seen, outcome.and(deleted))
        }
    };
    let (count, verdict) = match outcome {
        Ok(()) => (&mut counts.ok, "ok".to_owned()),
        Err(Trouble::NotOffered(what)) => {
            (&mut counts.not_offered, format!("not offered by this server: {what}"))
        }
        Err(error) => (&mut counts.failed, format!("FAILED: {error}")),
    };
    *count += 1;
    println!("{:5} {name}: {verdict}", seen::dialect(target.dialect));
    if !seen.is_empty() {
        println!("      {}", seen.join(" | "));
    }
}

/// Why a client cannot go on. What a server refuses is no reason.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("misuse: {0}")]
    Misuse(#[from] leasehold::client::Misuse),
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("poll: {0}")]
    Poll(#[from] rustix::io::Errno),
    #[error("record: {0}")]
    Record(#[from] leasehold::persist::RecordError),
    #[error("create contexts: {0}")]
    Contexts(#[from] leasehold::wire::EncodeError),
}

/// `N` random octets.
fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)?;
    Ok(octets)
}
