//! `vectors FILE...`: judges the lines of vector files.
//!
//! Exit status: 0 if every line passed, 1 if one failed or could not be read, 2 if there is no file to read.

use std::fs;
use std::process::ExitCode;

use leasehold_interop::vectors::Report;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: vectors FILE...");
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    let mut unreadable = 0usize;
    let mut told = 0usize;
    for file in &files {
        let name = file.to_string_lossy();
        match fs::read_to_string(file) {
            Ok(lines) => report.add(&lines),
            Err(error) => {
                println!("{name}: {error}");
                unreadable += 1;
            }
        }
        for failure in report.failures.iter().skip(told) {
            println!("{name}:{}: {}: {}", failure.line, failure.id, failure.reason);
        }
        told = report.failures.len();
    }
    print!("{report}");
    println!("{} passed, {} failed", report.passed(), report.failures.len());
    if report.failures.is_empty() && unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
