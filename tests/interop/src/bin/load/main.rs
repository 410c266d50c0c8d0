//! A load for a server of SMB: how often a second it does what leases and durable handles are about. One thread, which sleeps in
//! `poll`; anything but the status and the lease that are due ends the run.
//!
//! ```text
//! load --server HOST:PORT --share NAME --work open-close|ping-pong|reconnect [--connections N] [--seconds S]
//!      [--user NAME --password PASSWORD] [--sign] [--handles N] [--pause MILLISECONDS]
//! ```
//!
//! The works, and what is counted:
//!
//! * `open-close`: each connection opens a file of its own with an RWH lease (version 2, OPEN_IF), is granted all of it, and closes
//!   it, one request at a time. Counted: pairs of CREATE and CLOSE.
//! * `ping-pong`: two connections for each file, of clients that differ. One holds RWH; the other opens the file and asks for RWH,
//!   which breaks the first one's lease to RH, who acknowledges; the second is granted RH. The first closes its handle, the second opens
//!   the file once more under its lease, which comes up to RWH, and closes the handle it had before. Then roles change. Counted:
//!   breaks; each takes five requests.
//! * `reconnect`: opens files with RWH leases and durable handles of version 2 on one connection. A round cuts it, waits for
//!   `--pause`, connects anew with PreviousSessionId, and asks for all handles back (DH2C), as many at a time as there are
//!   credits. Counted: handles, from the first CREATE sent to the last one answered. `total` is the median time of a round
//!   without its pause, `rounds` how many there were in the time that was given, with their pauses.
//!
//! The exit status is 1 if anything went wrong.

mod open_close;
mod peer;
mod ping_pong;
mod ready;
mod reconnect;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use leasehold_interop::smb::client::Signing;
use leasehold_interop::smb::ntlm::Credentials;
use rustix::time::{ClockId, clock_gettime};

use self::peer::Target;

/// What a work came to.
pub(crate) struct Report {
    /// What is counted.
    unit: &'static str,
    count: u64,
    seconds: f64,
    /// How much of the time this program was at work itself: near 100 % it is what was measured.
    busy: f64,
    /// What else there is to say.
    remark: String,
}

/// Time that passes, on the clock and in this process.
pub(crate) struct Watch {
    wall: Instant,
    process: Duration,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { wall: Instant::now(), process: of_process() }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.wall.elapsed().as_secs_f64()
    }

    pub(crate) fn stop(&self, unit: &'static str, count: u64) -> Report {
        let seconds = self.seconds();
        let busy = of_process().saturating_sub(self.process).as_secs_f64() / seconds;
        Report { unit, count, seconds, busy, remark: String::new() }
    }
}

fn of_process() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

struct Options {
    target: Target,
    work: String,
    connections: usize,
    seconds: f64,
    handles: usize,
    pause: Duration,
}

fn main() -> ExitCode {
    let options = match options(env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!(
                "{error}\nusage: load --server HOST:PORT --share NAME --work open-close|ping-pong|reconnect"
            );
            eprintln!(
                "            [--connections N] [--seconds S] [--user NAME --password PASSWORD] [--sign]"
            );
            eprintln!("            [--handles N] [--pause MILLISECONDS]");
            return ExitCode::from(2);
        }
    };
    let Options { target, work, connections, seconds, handles, pause } = &options;
    let report = match work.as_str() {
        "open-close" => open_close::run(target, *connections, *seconds),
        "ping-pong" => ping_pong::run(target, *connections, *seconds),
        _ => reconnect::run(target, *handles, *pause, *seconds),
    };
    match report {
        Ok(Report { unit, count, seconds, busy, remark }) => {
            let rate = count as f64 / seconds;
            println!(
                "{work} connections={connections} dialect={} {} {unit}={count} seconds={seconds:.3} rate={rate:.0} busy={:.0}%{remark}",
                peer::DIALECT,
                target.describe(),
                busy * 100.0,
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{work}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut server, mut share, mut user, mut password) = (None, None, None, None);
    let (mut work, mut signing) = (None, Signing::Enabled);
    let (mut connections, mut seconds, mut handles, mut pause) = (None, 3.0, 1000, 1000);
    while let Some(option) = args.next() {
        if option == "--sign" {
            signing = Signing::Required;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{option}: no value"))?;
        let number = || value.parse::<usize>().map_err(|_| format!("{option}: {value} is no number"));
        match option.as_str() {
            "--server" => server = Some(value),
            "--share" => share = Some(value),
            "--user" => user = Some(value),
            "--password" => password = Some(value),
            "--work" => work = Some(value),
            "--connections" => connections = Some(number()?),
            "--handles" => handles = number()?,
            "--pause" => pause = number()? as u64,
            "--seconds" => {
                seconds = value.parse().map_err(|_| format!("{option}: {value} is no number"))?;
            }
            _ => return Err(format!("{option}: unknown")),
        }
    }
    let work = work.ok_or("--work is missing")?;
    let least = match work.as_str() {
        "open-close" | "reconnect" => 1,
        "ping-pong" => 2,
        _ => return Err(format!("--work {work}: unknown")),
    };
    let connections = connections.unwrap_or(least);
    if connections == 0 || connections % least != 0 || (work == "reconnect" && connections != 1) {
        return Err(format!("--work {work} does not go with {connections} connections"));
    }
    let credentials = match (user, password) {
        (None, None) => Credentials::Anonymous,
        (Some(name), Some(password)) => Credentials::User { name, password, domain: String::new() },
        _ => return Err("--user and --password go together".into()),
    };
    let server = server.ok_or("--server is missing")?;
    let share = share.ok_or("--share is missing")?;
    let target = Target::new(server, &share, credentials, signing);
    Ok(Options { target, work, connections, seconds, handles, pause: Duration::from_millis(pause) })
}
