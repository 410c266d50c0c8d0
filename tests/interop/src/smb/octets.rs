//! Fields of a message at fixed places, each checked.

use leasehold::{FileId, Status};

/// A message, or a part of one, out of which fields are read.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a>(pub &'a [u8]);

impl<'a> Octets<'a> {
    /// `N` octets.
    ///
    /// # Errors
    ///
    /// STATUS_INVALID_PARAMETER if they do not lie inside. So do all others.
    pub fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Status> {
        let field = self.0.get(at..).and_then(|rest| rest.first_chunk::<N>());
        field.copied().ok_or(Status::INVALID_PARAMETER)
    }

    /// One octet.
    pub fn u8(self, at: usize) -> Result<u8, Status> {
        self.array::<1>(at).map(|[octet]| octet)
    }

    /// Two octets, little-endian.
    pub fn u16(self, at: usize) -> Result<u16, Status> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// Four octets, little-endian.
    pub fn u32(self, at: usize) -> Result<u32, Status> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Eight octets, little-endian.
    pub fn u64(self, at: usize) -> Result<u64, Status> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// SMB2_FILEID (MS-SMB2 2.2.14.1).
    pub fn file_id(self, at: usize) -> Result<FileId, Status> {
        Ok(FileId::new(self.u64(at)?, self.u64(at + 8)?))
    }

    /// What a pair of offset and length points to. Without length it is nothing, wherever the offset points.
    pub fn slice(self, offset: usize, len: usize) -> Result<&'a [u8], Status> {
        if len == 0 {
            return Ok(&[]);
        }
        let slice = self.0.get(offset..).and_then(|rest| rest.get(..len));
        slice.ok_or(Status::INVALID_PARAMETER)
    }
}

/// UTF-16, little-endian, as a string.
///
/// # Errors
///
/// STATUS_INVALID_PARAMETER for an odd number of octets or a lone surrogate.
pub fn utf16(octets: &[u8]) -> Result<String, Status> {
    if !octets.len().is_multiple_of(2) {
        return Err(Status::INVALID_PARAMETER);
    }
    let units = octets.chunks_exact(2).map(|pair| match pair {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    });
    char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| Status::INVALID_PARAMETER)
}

/// A string as UTF-16, little-endian.
pub fn to_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Appends fields, one behind the other.
pub(super) fn put(out: &mut Vec<u8>, fields: &[&[u8]]) {
    fields.iter().for_each(|field| out.extend_from_slice(field));
}

/// An odd StructureSize counts one octet of the buffer, which some peers wait for.
pub(super) fn buffer_of_one(out: &mut Vec<u8>, buffer: &[u8]) {
    if buffer.is_empty() {
        out.push(0);
    }
}
