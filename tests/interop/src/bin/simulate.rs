//! The world in a box: clients, a server and a network that fails, all from one seed, and a checker beside them.
//!
//! ```text
//! simulate [--seed N] [--seeds N] [--events N] [--clients N] [--files N]
//!          [--scene leases|oplocks|durable|persistent] [--seconds N] [--last N]
//! ```
//!
//! Runs `--seeds` worlds from `--seed` on, of `--events` events each, and prints what they came to, with a digest of everything that
//! the machines wanted done: the same options print the same digest. What is not said follows from the seed. At the first rule that
//! is broken it prints the seed and the last events (`--last`), and the exit status is 1. With `--seconds` it starts no further world after
//! that time.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use leasehold_interop::world::{Options, Report, Scene, World};

/// How much of a line is shown.
const WIDTH: usize = 1200;

struct Arguments {
    first: u64,
    seeds: u64,
    seconds: Option<u64>,
    /// How many events are shown.
    last: u64,
    options: Options,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments(env::args().skip(1)) else {
        eprintln!("usage: simulate [--seed N] [--seeds N] [--events N] [--clients N] [--files N]");
        eprintln!("                [--scene leases|oplocks|durable|persistent] [--seconds N] [--last N]");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    let mut sum = Report::new(arguments.first);
    let mut seeds = 0;
    for seed in arguments.first..arguments.first.saturating_add(arguments.seeds) {
        if arguments.seconds.is_some_and(|seconds| start.elapsed() > Duration::from_secs(seconds)) {
            break;
        }
        let report = World::run(&Options { seed, ..arguments.options });
        seeds += 1;
        sum.add(&report);
        if let Some(violation) = &report.violation {
            println!("seed {seed}: {violation}");
            show(&Options { seed, ..arguments.options }, violation.step.saturating_sub(arguments.last));
            println!(
                "found after {:.1} s by seed {seed}: {}",
                start.elapsed().as_secs_f64(),
                violation.check
            );
            return ExitCode::FAILURE;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("seeds        {seeds} from {}", arguments.first);
    println!("{sum}");
    println!("events/s     {:.0}", sum.events as f64 / seconds);
    ExitCode::SUCCESS
}

/// The same once more, with its history.
fn show(options: &Options, from: u64) {
    let report = World::run(&Options { history: Some(from), ..*options });
    for line in &report.history {
        println!("{}", line.chars().take(WIDTH).collect::<String>());
    }
}

fn arguments(mut args: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments =
        Arguments { first: 1, seeds: 1, seconds: None, last: 40, options: Options::new(1, 100_000) };
    while let Some(option) = args.next() {
        let value = args.next()?;
        let number = || value.parse::<u64>().ok().filter(|number| *number > 0);
        let few =
            |most| number().filter(|number| *number <= most).and_then(|number| usize::try_from(number).ok());
        let options = &mut arguments.options;
        match option.as_str() {
            "--seed" => arguments.first = value.parse().ok()?,
            "--seeds" => arguments.seeds = number()?,
            "--last" => arguments.last = number()?,
            "--seconds" => arguments.seconds = Some(number()?),
            "--events" => options.events = number()?,
            "--clients" => options.clients = Some(few(16)?),
            "--files" => options.files = Some(few(64)?),
            "--scene" => options.scene = Some(Scene::named(&value)?),
            _ => return None,
        }
    }
    Some(arguments)
}
