//! `scenario FILE_OR_FOLDER...`: plays stories in the language of `tests/scenarios/` on the server machine.
//!
//! For each that goes otherwise the first difference is printed. Exit status: 0 if every story went as it is written, 1 if one
//! did not, or if there is none.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

#[path = "../../../script/mod.rs"]
mod script;

fn main() -> ExitCode {
    let mut files = Vec::new();
    for path in env::args_os().skip(1).map(PathBuf::from) {
        if let Err(error) = collect(path.clone(), &mut files) {
            println!("{}: {error}", path.display());
            return ExitCode::from(1);
        }
    }
    if files.is_empty() {
        eprintln!("usage: scenario FILE_OR_FOLDER...");
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

/// A file, or every story of a folder and the folders in it, in the order of their names.
fn collect(path: PathBuf, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path);
        return Ok(());
    }
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let is_story = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|name| name == "txt");
    let mut stories: Vec<PathBuf> = entries.into_iter().filter(is_story).collect();
    stories.sort();
    stories.into_iter().try_for_each(|path| collect(path, files))
}
