//! leasehold beside the codecs of three other crates: how fast, how many allocations, and who is right.
//!
//! ```text
//! cargo run --release -p leasehold-interop --bin versus -- [--mutations N] [--seed S]
//! ```
//!
//! Times and allocations are taken in the build that this is. The mutations are fed in a second one, with overflow
//! checks, which would slow everybody down: it is built and run from here.
//!
//! The exit status is 1 if ours allocates, or differs from the judge.

mod alloc;
mod bench;
mod judge;
mod mutate;
mod octets;
mod random;
mod rows;
mod subjects;
mod trial;

use std::env;
use std::process::{Command, ExitCode};

struct Options {
    mutations: u64,
    seed: u64,
    mutate_only: bool,
}

fn main() -> ExitCode {
    let options = match options(env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: versus [--mutations N] [--seed S] [--mutate-only]");
            return ExitCode::from(2);
        }
    };
    if options.mutate_only {
        return if trial::run(options.mutations, options.seed) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }

    let samples = octets::samples();
    let floors = rows::floors(samples).map(|(what, contender)| (what, bench::time(contender)));
    let mut measured = Vec::new();
    for row in rows::rows(samples) {
        match bench::measure(row) {
            Ok(row) => measured.push(row),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    bench::print_times(&measured, &floors);
    let frugal = bench::print_allocations(&measured);
    let sound = options.mutations == 0
        || with_overflow_checks(&options).unwrap_or_else(|why| {
            println!("\nPart C follows without overflow checks, because {why}.");
            trial::run(options.mutations, options.seed)
        });

    println!("\nours allocates: {}", if frugal { "never" } else { "YES" });
    let differs = if sound { "never" } else { "YES" };
    println!("ours differs from the judge: {}", if options.mutations == 0 { "not asked" } else { differs });
    bench::print_goals(&measured);
    if frugal && sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { mutations: 10_000_000, seed: 1, mutate_only: false };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().unwrap_or_default();
            value.parse().map_err(|_| format!("{argument} needs a number"))
        };
        match argument.as_str() {
            "--mutations" => options.mutations = number()?,
            "--seed" => options.seed = number()?,
            "--mutate-only" => options.mutate_only = true,
            _ => return Err(format!("{argument} is not known")),
        }
    }
    Ok(options)
}

/// Builds this program with overflow checks and lets that one feed the mutations. Returns whether ours was sound, or
/// why there is no such build.
fn with_overflow_checks(options: &Options) -> Result<bool, String> {
    // Both are set by `cargo run`.
    let cargo = env::var_os("CARGO").ok_or("cargo did not start this")?;
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo did not start this")?;
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--profile", "checked", "-p", "leasehold-interop", "--bin", "versus", "--"])
        .args(["--mutate-only", "--mutations", &options.mutations.to_string()])
        .args(["--seed", &options.seed.to_string()])
        .current_dir(package)
        .status()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        Some(_) | None => Err(format!("the second build failed: {status}")),
    }
}
