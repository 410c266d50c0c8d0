//! `replay FILE_OR_FOLDER...`: feeds recorded traces to the server machine and compares what comes of them.
//!
//! Folders are walked for `*.jsonl`, in order of names. Exit status: 0 if every trace passed, 1 if one failed or could not
//! be read, 2 if there is nothing to replay.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use leasehold_interop::replay::replay;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let mut files = Vec::new();
    for argument in &arguments {
        if let Err(error) = collect(argument, &mut files) {
            eprintln!("{}: {error}", argument.display());
            return ExitCode::from(2);
        }
    }
    if files.is_empty() {
        eprintln!("usage: replay FILE_OR_FOLDER...");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed) = (0u32, 0u32);
    for file in files {
        let good = match fs::read_to_string(&file) {
            Ok(lines) => {
                let report = replay(&name(&file), &lines);
                println!("{report}");
                report.passed()
            }
            Err(error) => {
                println!("FAIL {}: {error}", name(&file));
                false
            }
        };
        *(if good { &mut passed } else { &mut failed }) += 1;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// A file as it is, of a folder every trace below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        fs::metadata(path)?;
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            collect(&entry, files)?;
        } else if entry.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(entry);
        }
    }
    Ok(())
}

/// Folder and test: `suite/test`.
fn name(file: &Path) -> String {
    let test = file.file_stem().unwrap_or_default().to_string_lossy();
    match file.parent().and_then(Path::file_name) {
        Some(suite) => format!("{}/{test}", suite.to_string_lossy()),
        None => test.into_owned(),
    }
}
