//! `explain [--trace] FILE...`: tells from captures of packets (pcap, pcapng) what became of every lease, oplock and durable
//! handle, and where the server departs from what leasehold would have done.
//!
//! With `--trace` it prints the trace instead, as `replay` reads it. Exit status: 0 if there was no departure, 1 if there was
//! one, 2 if a file could not be read.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::{env, iter};

use leasehold_interop::explain::{explain, record};

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let traces = arguments.first().is_some_and(|argument| argument == "--trace");
    if traces {
        arguments.remove(0);
    }
    if arguments.is_empty() {
        eprintln!("usage: explain [--trace] FILE...");
        return ExitCode::from(2);
    }
    let headed = arguments.len() > 1 && !traces;
    let mut worst = 0;
    for file in &arguments {
        if headed {
            println!("{}", iter::once("==").chain(file.to_str()).collect::<Vec<_>>().join(" "));
        }
        let departures = if traces { print_traces(Path::new(file)) } else { tell(Path::new(file)) };
        match departures {
            Ok(departures) => worst = worst.max(u8::from(departures > 0)),
            Err(why) => {
                eprintln!("{}: {why}", Path::new(file).display());
                worst = 2;
            }
        }
    }
    ExitCode::from(worst)
}

/// Tells a capture. Returns how many departures there are.
fn tell(file: &Path) -> Result<usize, String> {
    let stories = explain(open(file)?)?;
    if stories.is_empty() {
        println!("no SMB2 in clear text");
    }
    for story in &stories {
        print!("{story}");
    }
    Ok(stories.iter().map(|story| story.departures()).sum())
}

fn print_traces(file: &Path) -> Result<usize, String> {
    for recording in record(open(file)?)? {
        print!("{}", recording.lines);
    }
    Ok(0)
}

fn open(file: &Path) -> Result<File, String> {
    File::open(file).map_err(|error| error.to_string())
}
