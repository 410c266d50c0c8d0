//! SET_INFO of files (MS-SMB2 3.3.5.21.1, MS-FSCC 2.4).

use leasehold::Status;

use crate::fs::names::Name;
use crate::fs::operations::OperationKind;
use crate::fs::{Basic, Naming, OldName, VolumeId, nt};

/// What is to be set.
#[derive(Clone, Debug)]
pub enum Change {
    /// Something that others may have to make way for.
    Operation(OperationKind),
    /// FilePositionInformation: [`MemFs::set_position`](crate::fs::MemFs::set_position).
    Position(u64),
    /// FileModeInformation: [`MemFs::set_mode`](crate::fs::MemFs::set_mode).
    Mode(u32),
}

/// Reads the buffer of a SET_INFO for an open file of `volume`.
///
/// # Errors
///
/// STATUS_INFO_LENGTH_MISMATCH if it is too short, STATUS_INVALID_INFO_CLASS for what is not known here, else what the fields
/// deserve.
pub fn parse_set_file(volume: VolumeId, class: u8, buffer: &[u8]) -> Result<Change, Status> {
    let kind = match class {
        // FileBasicInformation
        4 => {
            let (times, rest) = buffer.split_at_checked(32).ok_or(nt::INFO_LENGTH_MISMATCH)?;
            let [create, access, write, change] = [0, 8, 16, 24].map(|at| u64_at(times, at));
            // Attributes, Reserved
            let attributes = rest.first_chunk::<8>().map(|_| u32_at(rest, 0));
            OperationKind::Basic(Basic {
                times: [create?, access?, write?, change?],
                attributes: attributes.ok_or(nt::INFO_LENGTH_MISMATCH)??,
            })
        }
        // FileRenameInformation
        10 => naming(volume, buffer, flag(buffer)?, OldName::Goes)?,
        // FileLinkInformation
        11 => naming(volume, buffer, flag(buffer)?, OldName::Stays)?,
        // FileDispositionInformation
        13 => OperationKind::Delete { pending: flag(buffer)? },
        // FilePositionInformation
        14 => return u64_at(buffer, 0).map(Change::Position),
        // FileFullEaInformation
        15 => return Err(nt::EAS_NOT_SUPPORTED),
        // FileModeInformation
        16 => return u32_at(buffer, 0).map(Change::Mode),
        // FileAllocationInformation
        19 => OperationKind::Allocation(size(buffer)?),
        // FileEndOfFileInformation
        20 => OperationKind::EndOfFile(size(buffer)?),
        // FileValidDataLengthInformation: for those who may manage the volume (MS-FSA 2.1.5.15.15), which is nobody.
        40 => return size(buffer).and(Err(nt::PRIVILEGE_NOT_HELD)),
        // FileDispositionInformationEx: FILE_DISPOSITION_DELETE alone; FILE_DISPOSITION_FORCE_IMAGE_SECTION_CHECK means nothing here.
        64 => match u32_at(buffer, 0)? & !0x4 {
            flags @ (0 | 1) => OperationKind::Delete { pending: flags == 1 },
            _ => return Err(Status::NOT_SUPPORTED),
        },
        // FileRenameInformationEx: FILE_RENAME_REPLACE_IF_EXISTS alone.
        65 => match u32_at(buffer, 0)? {
            flags @ (0 | 1) => naming(volume, buffer, flags == 1, OldName::Goes)?,
            _ => return Err(Status::NOT_SUPPORTED),
        },
        _ => return Err(nt::INVALID_INFO_CLASS),
    };
    Ok(Change::Operation(kind))
}

/// FILE_RENAME_INFORMATION_TYPE_2, FILE_LINK_INFORMATION_TYPE_2 (MS-FSCC 2.4.42.2, 2.4.28.2).
///
/// | offset | size | field                                        |
/// |-------:|-----:|----------------------------------------------|
/// |      0 |    1 | ReplaceIfExists; of the extended class Flags |
/// |      1 |    7 | Reserved                                     |
/// |      8 |    8 | RootDirectory, 0                             |
/// |     16 |    4 | FileNameLength                               |
/// |     20 |      | FileName, from the root of the share         |
fn naming(volume: VolumeId, buffer: &[u8], replace: bool, old: OldName) -> Result<OperationKind, Status> {
    let (root, length) = (u64_at(buffer, 8)?, u32_at(buffer, 16)?);
    let name = buffer.get(20..).unwrap_or_default();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let name = name.get(..length).ok_or(nt::INFO_LENGTH_MISMATCH)?;
    let (units, []) = name.as_chunks::<2>() else { return Err(Status::INVALID_PARAMETER) };
    if root != 0 || units.is_empty() {
        return Err(Status::INVALID_PARAMETER);
    }
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let text = String::from_utf16(&units).map_err(|_| nt::OBJECT_NAME_INVALID)?;
    // It is a full path from the root of the share, so the backslash of the root says nothing more.
    let text = text.strip_prefix('\\').unwrap_or(&text);
    let name = Name::parse(text)?;
    if name.parts.is_empty() {
        return Err(nt::OBJECT_NAME_INVALID);
    }
    Ok(OperationKind::Name(Naming { volume, name, replace, old }))
}

fn flag(buffer: &[u8]) -> Result<bool, Status> {
    buffer.first().map(|octet| *octet != 0).ok_or(nt::INFO_LENGTH_MISMATCH)
}

/// A size, which is signed.
fn size(buffer: &[u8]) -> Result<u64, Status> {
    let size = u64_at(buffer, 0)?;
    if i64::try_from(size).is_ok() { Ok(size) } else { Err(Status::INVALID_PARAMETER) }
}

fn u32_at(buffer: &[u8], at: usize) -> Result<u32, Status> {
    let octets = buffer.get(at..).and_then(<[u8]>::first_chunk);
    octets.map(|octets| u32::from_le_bytes(*octets)).ok_or(nt::INFO_LENGTH_MISMATCH)
}

fn u64_at(buffer: &[u8], at: usize) -> Result<u64, Status> {
    let octets = buffer.get(at..).and_then(<[u8]>::first_chunk);
    octets.map(|octets| u64::from_le_bytes(*octets)).ok_or(nt::INFO_LENGTH_MISMATCH)
}
