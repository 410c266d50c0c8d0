//! What QUERY_INFO, QUERY_DIRECTORY and SET_INFO carry (MS-FSCC 2.4, 2.5), from and for the file system in memory.
//!
//! | InfoType | read | set |
//! |---|---|---|
//! | file | [`query_file`] | [`parse_set_file`] |
//! | directory | [`query_directory`] | |
//! | file system | [`query_fs`] | |
//! | security | [`query_security`] | not kept |

mod change;
mod listing;

use leasehold::{Access, Status};

pub use change::{Change, parse_set_file};
pub use listing::query_directory;

use crate::fs::{BLOCK, Handle, Info, MemFs, nt};

/// What a query is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// STATUS_SUCCESS; STATUS_BUFFER_OVERFLOW if `octets` are cut off; STATUS_BUFFER_TOO_SMALL if they are the ErrorData, which
    /// is how many octets there have to be room for (MS-SMB2 2.2.2).
    pub status: Status,
    pub octets: Vec<u8>,
}

/// Octets of a sector, and sectors of an allocation unit.
const SECTOR: u32 = 512;
const SECTORS: u32 = BLOCK as u32 / SECTOR;
/// Octets before FileName of FileAllInformation, and with room for a name (MS-FSA 2.1.5.12.3).
const ALL_AT_LEAST: usize = 104;

/// FileInformation of an open file (MS-FSCC 2.4, MS-FSA 2.1.5.12), at most `max` octets.
///
/// # Errors
///
/// STATUS_INFO_LENGTH_MISMATCH if `max` is less than what has a fixed length; STATUS_INVALID_INFO_CLASS for what is not known here.
pub fn query_file(fs: &MemFs, handle: Handle, class: u8, max: usize) -> Result<Reply, Status> {
    let info = fs.info(handle)?;
    let mut body = Writer::default();
    match class {
        // FileBasicInformation
        4 => basic(&mut body, attributes_of(fs, handle, &info)?),
        // FileStandardInformation
        5 => standard(&mut body, &info),
        // FileInternalInformation
        6 => body.u64(info.facts.index),
        // FileEaInformation
        7 => body.u32(0),
        // FileAccessInformation
        8 => body.u32(info.access.bits()),
        // FileNameInformation
        9 => return body.named(&info.name, 8, max),
        // FilePositionInformation
        14 => body.u64(info.position),
        // FileModeInformation
        16 => body.u32(fs.mode(handle)?),
        // FileAlignmentInformation: FILE_BYTE_ALIGNMENT
        17 => body.u32(0),
        // FileAllInformation
        18 => {
            basic(&mut body, attributes_of(fs, handle, &info)?);
            standard(&mut body, &info);
            body.u64(info.facts.index);
            body.u32(0);
            body.u32(info.access.bits());
            body.u64(info.position);
            body.u32(fs.mode(handle)?);
            body.u32(0);
            return body.named(&info.name, ALL_AT_LEAST, max);
        }
        // FileAlternateNameInformation: nothing has a short name.
        21 => return Err(Status::OBJECT_NAME_NOT_FOUND),
        // FileStreamInformation
        22 => return streams(fs, handle, max),
        // FileCompressionInformation: COMPRESSION_FORMAT_NONE
        28 => {
            body.u64(info.facts.end_of_file);
            body.zeros(8);
        }
        // FileNetworkOpenInformation
        34 => {
            let info = attributes_of(fs, handle, &info)?;
            info.facts.times.into_iter().for_each(|time| body.u64(time));
            body.u64(info.facts.allocation);
            body.u64(info.facts.end_of_file);
            body.u32(info.facts.attributes);
            body.u32(0);
        }
        // FileAttributeTagInformation
        35 => {
            body.u32(attributes_of(fs, handle, &info)?.facts.attributes);
            body.u32(0);
        }
        // FileNormalizedNameInformation: from the root of the share, without its backslash.
        48 => return body.named(info.name.trim_start_matches('\\'), 8, max),
        // FileIdInformation
        59 => {
            body.u64(u64::from(fs.volume_facts(handle)?.serial));
            body.u64(info.facts.index);
            body.u64(0);
        }
        _ => return Err(nt::INVALID_INFO_CLASS),
    }
    body.fixed(max)
}

/// FileFsInformation of the volume of an open file (MS-FSCC 2.5, MS-FSA 2.1.5.13), at most `max` octets.
///
/// # Errors
///
/// As [`query_file`].
pub fn query_fs(fs: &MemFs, handle: Handle, class: u8, max: usize) -> Result<Reply, Status> {
    /// FILE_CASE_PRESERVED_NAMES, FILE_UNICODE_ON_DISK, FILE_NAMED_STREAMS, FILE_SUPPORTS_HARD_LINKS
    const ABILITIES: u32 = 0x2 | 0x4 | 0x4_0000 | 0x40_0000;
    let volume = fs.volume_facts(handle)?;
    let mut body = Writer::default();
    match class {
        // FileFsVolumeInformation: its length of the label is not just before it.
        1 => {
            let label = utf16(&volume.label);
            body.u64(volume.created);
            body.u32(volume.serial);
            body.length(&label);
            body.zeros(2);
            return body.variable(&label, 24, max);
        }
        // FileFsSizeInformation
        3 => {
            body.u64(volume.total);
            body.u64(volume.free);
            body.u32(SECTORS);
            body.u32(SECTOR);
        }
        // FileFsDeviceInformation: FILE_DEVICE_DISK, FILE_DEVICE_IS_MOUNTED
        4 => {
            body.u32(0x7);
            body.u32(0x20);
        }
        // FileFsAttributeInformation. Clients expect of NTFS what is there.
        5 => {
            body.u32(ABILITIES);
            body.u32(255);
            return body.named("NTFS", 12, max);
        }
        // FileFsControlInformation: no quotas.
        6 => {
            body.zeros(24);
            body.u64(u64::MAX);
            body.u64(u64::MAX);
            body.zeros(8);
        }
        // FileFsFullSizeInformation
        7 => {
            body.u64(volume.total);
            body.u64(volume.free);
            body.u64(volume.free);
            body.u32(SECTORS);
            body.u32(SECTOR);
        }
        // FileFsSectorSizeInformation: aligned, without a seek penalty.
        11 => {
            for size in [SECTOR, SECTOR, SECTOR, SECTOR, 0x1 | 0x2 | 0x4, 0, 0] {
                body.u32(size);
            }
        }
        _ => return Err(nt::INVALID_INFO_CLASS),
    }
    body.fixed(max)
}

/// The parts asked for (AdditionalInformation of MS-SMB2 2.2.37) of the security descriptor that everything has: of SYSTEM,
/// and Everyone may do everything (MS-DTYP 2.4.6).
///
/// # Errors
///
/// STATUS_ACCESS_DENIED if the handle may not read them.
pub fn query_security(fs: &MemFs, handle: Handle, parts: u32, max: usize) -> Result<Reply, Status> {
    const OWNER: u32 = 0x1;
    const GROUP: u32 = 0x2;
    const DACL: u32 = 0x4;
    const SACL: u32 = 0x8;
    /// S-1-5-18
    const SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    /// An ACL of one ACCESS_ALLOWED_ACE: 0x001f01ff for S-1-1-0.
    const EVERYONE: [u8; 28] =
        [2, 0, 28, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0xff, 1, 0x1f, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    /// Octets before the parts.
    const HEADER: u32 = 20;
    if parts & (OWNER | GROUP | DACL) != 0 {
        fs.accessible(handle, Access::READ_CONTROL)?;
    }
    if parts & SACL != 0 {
        fs.accessible(handle, Access::ACCESS_SYSTEM_SECURITY)?;
    }
    let mut behind = Vec::new();
    let mut part = |bit: u32, octets: &[u8]| {
        let at = HEADER + behind.len() as u32;
        behind.extend_from_slice(if parts & bit != 0 { octets } else { &[] });
        if parts & bit != 0 { at } else { 0 }
    };
    let (owner, group, dacl) = (part(OWNER, &SYSTEM), part(GROUP, &SYSTEM), part(DACL, &EVERYONE));
    // SE_SELF_RELATIVE, SE_DACL_PRESENT
    let control: u16 = if dacl == 0 { 0x8000 } else { 0x8004 };
    let mut body = Writer::default();
    body.octets.extend([1, 0]);
    body.octets.extend(control.to_le_bytes());
    [owner, group, 0, dacl].into_iter().for_each(|offset| body.u32(offset));
    body.octets.extend(behind);
    if body.octets.len() <= max {
        return Ok(Reply { status: Status::SUCCESS, octets: body.octets });
    }
    let needed = body.octets.len() as u32;
    Ok(Reply { status: nt::BUFFER_TOO_SMALL, octets: needed.to_le_bytes().to_vec() })
}

/// Times and attributes are for those who may read them (MS-FSA 2.1.5.12.6).
fn attributes_of<'a>(fs: &MemFs, handle: Handle, info: &'a Info) -> Result<&'a Info, Status> {
    fs.accessible(handle, Access::READ_ATTRIBUTES).map(|()| info)
}

fn basic(body: &mut Writer, info: &Info) {
    info.facts.times.into_iter().for_each(|time| body.u64(time));
    body.u32(info.facts.attributes);
    body.u32(0);
}

fn standard(body: &mut Writer, info: &Info) {
    body.u64(info.facts.allocation);
    body.u64(info.facts.end_of_file);
    body.u32(info.links);
    body.octets.extend([u8::from(info.delete_pending), u8::from(info.directory), 0, 0]);
}

/// FileStreamInformation (MS-FSCC 2.4.49): those that fit.
fn streams(fs: &MemFs, handle: Handle, max: usize) -> Result<Reply, Status> {
    /// Octets before StreamName.
    const FIXED: usize = 24;
    if max < FIXED {
        return Err(nt::INFO_LENGTH_MISMATCH);
    }
    let mut chain = Chain::new(max);
    let mut status = Status::SUCCESS;
    for stream in fs.streams(handle)? {
        let mut entry = Writer::default();
        let name = utf16(&stream.name);
        entry.u32(0);
        entry.length(&name);
        entry.u64(stream.end_of_file);
        entry.u64(stream.allocation);
        entry.octets.extend(name);
        if !chain.push(&entry.octets) {
            status = nt::BUFFER_OVERFLOW;
            break;
        }
    }
    Ok(Reply { status, octets: chain.octets })
}

/// Entries that point to each other, each at a multiple of 8 (MS-FSCC 2.4). The first four octets of each are
/// NextEntryOffset.
#[derive(Debug)]
struct Chain {
    octets: Vec<u8>,
    last: usize,
    max: usize,
}

impl Chain {
    fn new(max: usize) -> Self {
        Self { octets: Vec::new(), last: 0, max }
    }

    /// Appends an entry if there is room for it.
    fn push(&mut self, entry: &[u8]) -> bool {
        let at = self.octets.len().next_multiple_of(8);
        if at.saturating_add(entry.len()) > self.max {
            return false;
        }
        let offset = (at - self.last) as u32;
        if let Some(next) = self.octets.get_mut(self.last..).and_then(<[u8]>::first_chunk_mut) {
            *next = offset.to_le_bytes();
        }
        self.octets.resize(at, 0);
        self.octets.extend_from_slice(entry);
        self.last = at;
        true
    }
}

#[derive(Debug, Default)]
struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    fn u32(&mut self, value: u32) {
        self.octets.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.octets.extend(value.to_le_bytes());
    }

    fn zeros(&mut self, count: usize) {
        self.octets.extend(std::iter::repeat_n(0, count));
    }

    fn length(&mut self, octets: &[u8]) {
        self.u32(u32::try_from(octets.len()).unwrap_or(u32::MAX));
    }

    /// All of it.
    fn fixed(self, max: usize) -> Result<Reply, Status> {
        match self.octets.len() <= max {
            true => Ok(Reply { status: Status::SUCCESS, octets: self.octets }),
            false => Err(nt::INFO_LENGTH_MISMATCH),
        }
    }

    /// With a name at the end, behind its length.
    fn named(mut self, name: &str, at_least: usize, max: usize) -> Result<Reply, Status> {
        let name = utf16(name);
        self.length(&name);
        self.variable(&name, at_least, max)
    }

    /// With a name at the end, as much of it as there is room for.
    fn variable(mut self, name: &[u8], at_least: usize, max: usize) -> Result<Reply, Status> {
        if max < at_least.max(self.octets.len()) {
            return Err(nt::INFO_LENGTH_MISMATCH);
        }
        let room = (max - self.octets.len()) & !1;
        let fits = name.len() <= room;
        self.octets.extend_from_slice(name.get(..room).unwrap_or(name));
        let status = if fits { Status::SUCCESS } else { nt::BUFFER_OVERFLOW };
        Ok(Reply { status, octets: self.octets })
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests;
