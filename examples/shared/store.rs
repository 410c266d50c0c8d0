//! Records of persistent opens, in a directory: one file each.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use leasehold::persist::{Change, Record, RecordError};

use super::Outcome;

/// A directory of records, and how far FileIds were given out.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    /// Carries a change out. When this returns, it is durable.
    pub(crate) fn apply(&self, change: &Change) -> io::Result<()> {
        match change {
            Change::Put(record) => self.put(&self.path(record.persistent), &record.encode()),
            Change::Delete { persistent } => match fs::remove_file(self.path(*persistent)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => self.sync(),
            },
            // Only ever higher: there is one shard. Of several, the highest is kept.
            Change::Serials { below } => self.put(&self.dir.join("serials"), below.to_string().as_bytes()),
        }
    }

    /// The first serial number that no former life of the server has given out.
    pub(crate) fn serials(&self) -> Outcome<u64> {
        match fs::read_to_string(self.dir.join("serials")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(1),
            found => Ok(found?.parse()?),
        }
    }

    /// All records, from the latest to the earliest: where two contradict each other, the later one is right. One that cannot be
    /// read is reported and set aside, and nothing else is lost by that.
    pub(crate) fn records(&self, mut report: impl FnMut(&str, RecordError)) -> Outcome<Vec<Record>> {
        let mut records = Vec::new();
        for path in self.files()? {
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            // Which record it is, its name says: a sound one in the wrong place is refused as well.
            match Record::decode_as(u64::from_str_radix(name, 16)?, &fs::read(&path)?) {
                Ok(record) => records.push(record),
                Err(error) => {
                    fs::rename(&path, path.with_extension("damaged"))?;
                    report(name, error);
                }
            }
        }
        records.sort_by_key(|record| Reverse(record.written));
        Ok(records)
    }

    /// The files of all records.
    pub(crate) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "record") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn path(&self, persistent: u64) -> PathBuf {
        self.dir.join(format!("{persistent:016x}.record"))
    }

    /// Never half of it: written beside, then put in its place.
    fn put(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        let beside = self.dir.join("being-written");
        let mut file = File::create(&beside)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        self.sync()
    }

    /// A name is durable when its directory is. Elsewhere than on Unix a directory is no file that can be synchronized.
    fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.dir)?.sync_all() } else { Ok(()) }
    }
}
