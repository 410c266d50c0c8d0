//! QUERY_DIRECTORY (MS-SMB2 3.3.5.18, MS-FSCC 2.4, MS-FSA 2.1.5.6.3).

use leasehold::Status;

use super::{Chain, Writer, utf16};
use crate::fs::{Entry, Handle, MemFs, nt};

/// SMB2_RESTART_SCANS and SMB2_REOPEN
const RESTART: u8 = 0x01 | 0x10;
/// SMB2_RETURN_SINGLE_ENTRY
const SINGLE: u8 = 0x02;

/// How the entries of a class look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// FileDirectoryInformation, and what stands behind FileNameLength.
    Directory(Behind),
    /// FileNamesInformation
    Names,
}

/// What stands between FileNameLength and FileName.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    Full,
    Both,
    IdBoth,
    IdFull,
    IdExtd,
}

impl Layout {
    fn of(class: u8) -> Option<Self> {
        Some(match class {
            1 => Self::Directory(Behind::Nothing),
            2 => Self::Directory(Behind::Full),
            3 => Self::Directory(Behind::Both),
            12 => Self::Names,
            37 => Self::Directory(Behind::IdBoth),
            38 => Self::Directory(Behind::IdFull),
            60 => Self::Directory(Behind::IdExtd),
            _ => return None,
        })
    }

    /// One entry, alone.
    fn encode(self, entry: &Entry) -> Vec<u8> {
        let Entry { name, facts } = entry;
        let name = utf16(name);
        let mut body = Writer::default();
        // NextEntryOffset, FileIndex
        body.zeros(8);
        let Self::Directory(behind) = self else {
            body.length(&name);
            body.octets.extend(name);
            return body.octets;
        };
        facts.times.into_iter().for_each(|time| body.u64(time));
        body.u64(facts.end_of_file);
        body.u64(facts.allocation);
        body.u32(facts.attributes);
        body.length(&name);
        match behind {
            Behind::Nothing => {}
            Behind::Full => body.zeros(4),
            // EaSize, ShortNameLength, Reserved, ShortName
            Behind::Both => body.zeros(30),
            // The same, and Reserved2
            Behind::IdBoth => {
                body.zeros(32);
                body.u64(facts.index);
            }
            // EaSize, Reserved
            Behind::IdFull => {
                body.zeros(8);
                body.u64(facts.index);
            }
            // EaSize, ReparsePointTag
            Behind::IdExtd => {
                body.zeros(8);
                body.u64(facts.index);
                body.u64(0);
            }
        }
        body.octets.extend(name);
        body.octets
    }
}

/// The entries of a directory that come next, as many as go into `max` octets.
///
/// # Errors
///
/// STATUS_NO_SUCH_FILE and STATUS_NO_MORE_FILES as [`MemFs::list`]; STATUS_INFO_LENGTH_MISMATCH if no entry would fit,
/// STATUS_BUFFER_OVERFLOW if the next one does not; STATUS_INVALID_INFO_CLASS for what is not known here.
pub fn query_directory(
    fs: &mut MemFs,
    handle: Handle,
    class: u8,
    flags: u8,
    pattern: &str,
    max: usize,
) -> Result<Vec<u8>, Status> {
    let layout = Layout::of(class).ok_or(nt::INVALID_INFO_CLASS)?;
    if max < layout.encode(&Entry::default()).len() {
        return Err(nt::INFO_LENGTH_MISMATCH);
    }
    let (restart, single) = (flags & RESTART != 0, flags & SINGLE != 0);
    let mut chain = Chain::new(max);
    match fs.list(handle, pattern, restart, single, |entry| chain.push(&layout.encode(entry)))? {
        0 => Err(nt::BUFFER_OVERFLOW),
        _ => Ok(chain.octets),
    }
}
