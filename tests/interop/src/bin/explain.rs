//! `explain [--trace] FILE...`: tells from captures of packets (pcap, pcapng) what became of every lease, oplock and durable
//! handle, and where the server departs from what leasehold would have done.
//!
//! With `--trace` it prints the trace instead, as `replay` reads it. Exit status: 0 if there was no departure, 1 if there was
//! one, 2 if a file could not be read.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use leasehold_interop::explain::{Explained, explain, record};

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
    for file in arguments.iter().map(Path::new) {
        let told = if traces { traces_of(file) } else { tell(file) };
        match told {
            Ok((text, departures)) => {
                let head = if headed { format!("== {}\n", file.display()) } else { String::new() };
                // Whoever reads it may have seen enough.
                if io::stdout().write_all(format!("{head}{text}").as_bytes()).is_err() {
                    break;
                }
                worst = worst.max(u8::from(departures > 0));
            }
            Err(why) => {
                eprintln!("{}: {why}", file.display());
                worst = 2;
            }
        }
    }
    ExitCode::from(worst)
}

/// What is told of a capture, and how many departures there are.
fn tell(file: &Path) -> Result<(String, usize), String> {
    let stories = explain(open(file)?)?;
    if stories.is_empty() {
        return Ok(("no SMB2 in clear text\n".to_owned(), 0));
    }
    let text = stories.iter().map(ToString::to_string).collect();
    Ok((text, stories.iter().map(Explained::departures).sum()))
}

fn traces_of(file: &Path) -> Result<(String, usize), String> {
    Ok((record(open(file)?)?.into_iter().map(|recording| recording.lines).collect(), 0))
}

fn open(file: &Path) -> Result<File, String> {
    File::open(file).map_err(|error| error.to_string())
}
