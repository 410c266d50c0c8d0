//! The seeds of the fuzz targets around the server, and what becomes of them. The histories are written down here, and are files
//! under `fuzz/seeds/serve` for the fuzzer; `LEASEHOLD_REWRITE=1` writes those again.

#[path = "hostile/histories.rs"]
mod histories;

use std::fs;
use std::path::{Path, PathBuf};

use leasehold_interop::explain::hostile as captures;
use leasehold_interop::serve::hostile as serve;
use leasehold_interop::smb::hostile as requests;

use histories::histories;

/// What a fuzz target does with octets.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] =
    [("captures", captures::hostile), ("requests", requests::hostile), ("serve", serve::hostile)];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

#[test]
fn every_committed_seed_goes_through_its_body() {
    for (target, body) in TARGETS {
        let mut seeds = 0;
        for seed in fs::read_dir(folder(target)).unwrap() {
            let seed = seed.unwrap().path();
            // Shown if the body panics.
            println!("{}", seed.display());
            body(&fs::read(&seed).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "{target} has no seeds");
    }
}

#[test]
fn histories_do_what_their_names_say() {
    for (name, history, expected) in histories() {
        let heard: Vec<_> = serve::answers(&history)
            .into_iter()
            .map(|(command, status)| format!("{command:?} {status:?}").replace(" STATUS_SUCCESS", ""))
            .collect();
        assert_eq!(heard.join(", "), expected, "{name}");
    }
}

#[test]
fn histories_are_committed() {
    let write = std::env::var_os("LEASEHOLD_REWRITE").is_some();
    for (name, history, _) in histories() {
        let file = folder("serve").join(name);
        if write {
            fs::write(&file, &history).unwrap();
        }
        assert!(fs::read(&file).unwrap() == history, "{name} is another history");
    }
}
