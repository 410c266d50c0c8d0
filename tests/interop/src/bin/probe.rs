//! `probe --server HOST:PORT --share NAME --user NAME --password PASSWORD [OPTION]...`: tries `leasehold::client::Client` with a
//! server of SMB that is not ours: leases, breaks, handles that come back.
//!
//! | option | what |
//! |---|---|
//! | `--continuous NAME` | a share that is continuously available, if `--share` is not |
//! | `--dialect DIALECT` | `2.0.2`, `2.1`, `3.0`, `3.0.2` or `3.1.1`; all but 3.0.2 if it is left out |
//! | `--wait SECONDS` | also lets a durable handle time out, in the last dialect: longer than the server keeps it |
//! | `--only TEXT` | the checks whose name contains this |
//! | `--without CHECK` | not the check of this name |
//!
//! A row says how a check went, and below is what was seen: `A> ` was sent by the first client, `A< ` received, `A: ` is what its
//! application did or was told; a lease with its epoch is `RWH/2`, one of version 1 `RWH`. The files that it makes are deleted again.
//! Exit status: 0 if no check failed, 1 if one did, 2 if there was nothing to check.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use leasehold::Dialect;
use leasehold_interop::probe::{Choice, Counts, Target, run};
use leasehold_interop::smb::ntlm::Credentials;

fn main() -> ExitCode {
    let Some(Options { target, dialects, choice }) = Options::parse(env::args().skip(1)) else {
        eprintln!(
            "usage: probe --server HOST:PORT --share NAME --user NAME --password PASSWORD [--continuous NAME]\n\
             \x20            [--dialect 2.0.2|2.1|3.0|3.0.2|3.1.1]... [--wait SECONDS] [--only TEXT]\n\
             \x20            [--without CHECK]"
        );
        return ExitCode::from(2);
    };
    let mut counts = Counts::default();
    for dialect in &dialects {
        let target = Target { dialect: *dialect, ..target.clone() };
        let wait = choice.wait.filter(|_| Some(dialect) == dialects.last());
        run(&target, &Choice { wait, ..choice.clone() }, &mut counts);
    }
    if choice.wait.is_none() {
        println!("left out: a durable handle that times out, which takes --wait SECONDS");
    }
    let Counts { ok, failed, not_offered } = counts;
    println!("{ok} ok, {failed} failed, {not_offered} not offered");
    match (ok, failed) {
        (0, 0) => ExitCode::from(2),
        (_, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

struct Options {
    target: Target,
    dialects: Vec<Dialect>,
    choice: Choice,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (mut server, mut share, mut name, mut password) = (None, None, None, None);
        let (mut continuous, mut dialects, mut choice) = (None, Vec::new(), Choice::default());
        while let Some(option) = arguments.next() {
            let value = arguments.next()?;
            match option.as_str() {
                "--server" => server = Some(value),
                "--share" => share = Some(value),
                "--continuous" => continuous = Some(value),
                "--user" => name = Some(value),
                "--password" => password = Some(value),
                "--dialect" => dialects.push(dialect(&value)?),
                "--wait" => choice.wait = Some(Duration::from_secs(value.parse().ok()?)),
                "--only" => choice.only = value,
                "--without" => choice.without = Some(value),
                _ => return None,
            }
        }
        if dialects.is_empty() {
            dialects = vec![Dialect::Smb202, Dialect::Smb210, Dialect::Smb300, Dialect::Smb311];
        }
        let credentials = Credentials::User { name: name?, password: password?, domain: String::new() };
        let (server, share, dialect) = (server?, share?, Dialect::Smb311);
        let target = Target { server, share, continuous, credentials, dialect };
        Some(Self { target, dialects, choice })
    }
}

fn dialect(name: &str) -> Option<Dialect> {
    Some(match name {
        "2.0.2" => Dialect::Smb202,
        "2.1" => Dialect::Smb210,
        "3.0" => Dialect::Smb300,
        "3.0.2" => Dialect::Smb302,
        "3.1.1" => Dialect::Smb311,
        _ => return None,
    })
}
