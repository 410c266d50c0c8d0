//! `scenario FILE...`: plays stories in the language of `tests/scenarios/` on the server machine.
//!
//! For each that goes otherwise the first difference is printed. Exit status: 0 if every story went as it is written, 1 if one
//! did not, or if there is none.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

#[path = "../../../script/mod.rs"]
mod script;

fn main() -> ExitCode {
    let files: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        eprintln!("usage: scenario FILE...");
        return ExitCode::from(1);
    }
    let (mut passed, mut failed) = (0u32, 0u32);
    for file in files {
        let name = file.display();
        let good = match fs::read_to_string(&file).map(|text| script::judge(&text)) {
            Ok(Ok(())) => true,
            Ok(Err(failure)) => {
                println!("{name}:{}:{}", failure.line, failure.kind);
                false
            }
            Err(error) => {
                println!("{name}: {error}");
                false
            }
        };
        *(if good { &mut passed } else { &mut failed }) += 1;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
