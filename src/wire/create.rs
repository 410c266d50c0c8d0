//! CREATE around its contexts, as views into a message. A convenience: a server or client has its own.
//!
//! Offsets in a CREATE count from the start of the SMB2 header, so the decoders take the whole message.

use bytes::BufMut;

use super::context::EncodeError;
use super::error::{DecodeError, DecodeErrorKind, Field, Structure};
use super::parse::{self, clamp32, file_id, octet, reserved, u16, u32, u64};
use super::{Fixed, Header};
use crate::state::{Access, CreateOptions, OplockLevel, ShareMode};
use crate::types::FileId;

/// SMB2 CREATE Request (MS-SMB2 2.2.13), borrowed from its message. Offsets from the start of the body:
///
/// | offset | size | field                                              |
/// |-------:|-----:|----------------------------------------------------|
/// |      0 |    2 | StructureSize, always 57                           |
/// |      2 |    1 | SecurityFlags (ignored)                            |
/// |      3 |    1 | RequestedOplockLevel                               |
/// |      4 |    4 | ImpersonationLevel                                 |
/// |      8 |   16 | SmbCreateFlags, Reserved (ignored)                 |
/// |     24 |    4 | DesiredAccess                                      |
/// |     28 |    4 | FileAttributes                                     |
/// |     32 |    4 | ShareAccess                                        |
/// |     36 |    4 | CreateDisposition                                  |
/// |     40 |    4 | CreateOptions                                      |
/// |     44 |    4 | NameOffset, NameLength                             |
/// |     48 |    8 | CreateContextsOffset, CreateContextsLength         |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13")]
pub struct CreateRequest<'a> {
    /// RequestedOplockLevel
    pub level: OplockLevel,
    /// ImpersonationLevel
    pub impersonation: u32,
    /// DesiredAccess
    pub desired: Access,
    /// FileAttributes
    pub attributes: u32,
    /// ShareAccess
    pub sharing: ShareMode,
    /// CreateDisposition, any value: a reconnect's is not looked at. See [`Disposition`](crate::Disposition).
    pub disposition: u32,
    /// CreateOptions
    pub options: CreateOptions,
    /// The name: UTF-16, little-endian, without terminator.
    pub name: &'a [u8],
    /// The chain of create contexts.
    pub contexts: &'a [u8],
}

/// SMB2 CREATE Response (MS-SMB2 2.2.14), borrowed from its message. Offsets from the start of the body:
///
/// | offset | size | field                                              |
/// |-------:|-----:|----------------------------------------------------|
/// |      0 |    2 | StructureSize, always 89                           |
/// |      2 |    1 | OplockLevel                                        |
/// |      3 |    1 | Flags                                              |
/// |      4 |    4 | CreateAction                                       |
/// |      8 |   32 | CreationTime, LastAccessTime, LastWriteTime, ChangeTime |
/// |     40 |   16 | AllocationSize, EndOfFile                          |
/// |     56 |    8 | FileAttributes, Reserved2 (ignored)                |
/// |     64 |   16 | FileId                                             |
/// |     80 |    8 | CreateContextsOffset, CreateContextsLength         |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.14")]
pub struct CreateResponse<'a> {
    /// OplockLevel
    pub level: OplockLevel,
    /// Flags
    pub flags: u8,
    /// CreateAction, any value. See [`CreateAction`](crate::CreateAction).
    pub action: u32,
    /// CreationTime, LastAccessTime, LastWriteTime, ChangeTime: FILETIME.
    pub times: [u64; 4],
    /// AllocationSize, in octets.
    pub allocation_size: u64,
    /// EndOfFile, in octets.
    pub end_of_file: u64,
    /// FileAttributes
    pub attributes: u32,
    /// FileId
    pub file_id: FileId,
    /// The chain of create contexts.
    pub contexts: &'a [u8],
}

impl<'a> CreateRequest<'a> {
    const STRUCTURE: Structure = Structure::CreateRequest;
    /// Header and fixed part: where the name begins.
    const BUFFER: usize = 120;

    /// Decodes a message that begins with its header. The header itself is not looked at.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if the fixed part is cut short, or the name or the contexts do not lie inside the message, behind
    /// what comes before them (STATUS_INVALID_PARAMETER, MS-SMB2 3.3.5.9).
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let fields = (
            (reserved(Header::LEN), u16(), reserved(1), octet(), u32(), reserved(16)),
            (u32(), u32(), u32(), u32(), u32(), u16(), u16(), u32(), u32()),
        );
        let (
            ((), size, (), level, impersonation, ()),
            (
                desired,
                attributes,
                sharing,
                disposition,
                options,
                name_at,
                name_len,
                contexts_at,
                contexts_len,
            ),
        ) = parse::prefix(Self::STRUCTURE, Self::BUFFER, message, fields)?;
        parse::structure_size(Self::STRUCTURE, Header::LEN, size, 57)?;
        let wrong = |field, at, kind| DecodeError::new(Self::STRUCTURE, field, at, kind);

        // Choice: without a name, the root of the share, NameOffset may hold anything.
        let name = if name_len == 0 {
            &[]
        } else if name_len % 2 != 0 {
            let kind = DecodeErrorKind::Odd { found: name_len.into() };
            return Err(wrong(Field::NameLength, 110, kind));
        } else if usize::from(name_at) < Self::BUFFER {
            let kind = DecodeErrorKind::TooSmall { found: name_at.into(), least: 120 };
            return Err(wrong(Field::NameOffset, 108, kind));
        } else {
            let behind = message.get(name_at.into()..).unwrap_or_default();
            let Some(name) = behind.get(..name_len.into()) else {
                return Err(wrong(
                    Field::NameLength,
                    110,
                    DecodeErrorKind::PastEnd { found: name_len.into() },
                ));
            };
            name
        };
        let least =
            if name.is_empty() { Self::BUFFER } else { usize::from(name_at).saturating_add(name.len()) };
        let contexts = contexts(Self::STRUCTURE, message, 112, (contexts_at, contexts_len), least)?;
        Ok(Self {
            level: OplockLevel::from_wire(level),
            impersonation,
            desired: Access::from_bits_retain(desired),
            attributes,
            sharing: ShareMode::from_bits_retain(sharing),
            disposition,
            options: CreateOptions::from_bits_retain(options),
            name,
            contexts,
        })
    }

    /// Appends the body that follows a header.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Odd`] if the name has an odd length, [`EncodeError::TooLong`] if name or contexts are longer than their
    /// length fields can say; nothing is appended then.
    pub fn encode<B: BufMut>(&self, buf: &mut B) -> Result<(), EncodeError> {
        if self.name.len() % 2 != 0 {
            return Err(EncodeError::Odd { len: self.name.len() });
        }
        let too_long = |octets: &[u8]| EncodeError::TooLong { len: octets.len() };
        let name_len = u16::try_from(self.name.len()).map_err(|_| too_long(self.name))?;
        let contexts_len = u32::try_from(self.contexts.len()).map_err(|_| too_long(self.contexts))?;
        let name_end = Self::BUFFER.saturating_add(self.name.len());
        let contexts_at = if contexts_len == 0 { 0 } else { name_end.next_multiple_of(8) };

        buf.put_u16_le(57);
        buf.put_u8(0);
        buf.put_u8(self.level.to_wire());
        buf.put_u32_le(self.impersonation);
        buf.put_bytes(0, 16);
        buf.put_u32_le(self.desired.bits());
        buf.put_u32_le(self.attributes);
        buf.put_u32_le(self.sharing.bits());
        buf.put_u32_le(self.disposition);
        buf.put_u32_le(self.options.bits());
        buf.put_u16_le(120);
        buf.put_u16_le(name_len);
        buf.put_u32_le(clamp32(contexts_at));
        buf.put_u32_le(contexts_len);
        buf.put_slice(self.name);
        if contexts_len != 0 {
            buf.put_bytes(0, contexts_at.saturating_sub(name_end));
            buf.put_slice(self.contexts);
        } else if self.name.is_empty() {
            // StructureSize 57 counts one octet of the buffer, which therefore is never empty.
            buf.put_u8(0);
        }
        Ok(())
    }
}

impl<'a> CreateResponse<'a> {
    const STRUCTURE: Structure = Structure::CreateResponse;
    /// Header and fixed part: where the contexts begin.
    const BUFFER: usize = 152;

    /// Decodes a message that begins with its header. The header itself is not looked at.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if the fixed part is cut short or the contexts do not lie inside the message.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let fields = (
            (reserved(Header::LEN), u16(), octet(), octet(), u32()),
            ((u64(), u64(), u64(), u64()), u64(), u64(), u32(), reserved(4), file_id(), u32(), u32()),
        );
        let (
            ((), size, level, flags, action),
            (times, allocation_size, end_of_file, attributes, (), file_id, contexts_at, contexts_len),
        ) = parse::prefix(Self::STRUCTURE, Self::BUFFER, message, fields)?;
        parse::structure_size(Self::STRUCTURE, Header::LEN, size, 89)?;
        let contexts = contexts(Self::STRUCTURE, message, 144, (contexts_at, contexts_len), Self::BUFFER)?;
        Ok(Self {
            level: OplockLevel::from_wire(level),
            flags,
            action,
            times: times.into(),
            allocation_size,
            end_of_file,
            attributes,
            file_id,
            contexts,
        })
    }

    /// Appends the body that follows a header.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] if the contexts are longer than their length field can say; nothing is appended then.
    pub fn encode<B: BufMut>(&self, buf: &mut B) -> Result<(), EncodeError> {
        let too_long = EncodeError::TooLong { len: self.contexts.len() };
        let contexts_len = u32::try_from(self.contexts.len()).map_err(|_| too_long)?;
        buf.put_u16_le(89);
        buf.put_u8(self.level.to_wire());
        buf.put_u8(self.flags);
        buf.put_u32_le(self.action);
        for time in self.times {
            buf.put_u64_le(time);
        }
        buf.put_u64_le(self.allocation_size);
        buf.put_u64_le(self.end_of_file);
        buf.put_u32_le(self.attributes);
        buf.put_u32_le(0);
        buf.put_u64_le(self.file_id.persistent);
        buf.put_u64_le(self.file_id.volatile);
        buf.put_u32_le(if contexts_len == 0 { 0 } else { 152 });
        buf.put_u32_le(contexts_len);
        buf.put_slice(self.contexts);
        Ok(())
    }
}

/// Cuts the contexts out of a message. `at` is where CreateContextsOffset lies, `least` its lower bound.
fn contexts(
    structure: Structure,
    message: &[u8],
    at: usize,
    (offset, len): (u32, u32),
    least: usize,
) -> Result<&[u8], DecodeError> {
    // MS-SMB2 2.2.13, 2.2.14: without contexts there is nothing to point at.
    if len == 0 {
        return Ok(&[]);
    }
    let wrong = |field, at, kind| Err(DecodeError::new(structure, field, at, kind));
    if offset % 8 != 0 {
        return wrong(Field::CreateContextsOffset, at, DecodeErrorKind::Misaligned { found: offset });
    }
    if (offset as usize) < least {
        let kind =
            DecodeErrorKind::TooSmall { found: offset, least: u16::try_from(least).unwrap_or(u16::MAX) };
        return wrong(Field::CreateContextsOffset, at, kind);
    }
    let behind = message.get(offset as usize..).unwrap_or_default();
    match behind.get(..len as usize) {
        Some(contexts) => Ok(contexts),
        None => {
            wrong(Field::CreateContextsLength, at.saturating_add(4), DecodeErrorKind::PastEnd { found: len })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_decoder_accepts_is_not_written() {
        let request = CreateRequest {
            level: OplockLevel::None,
            impersonation: 2,
            desired: Access::READ_DATA,
            attributes: 0,
            sharing: ShareMode::ALL,
            disposition: 1,
            options: CreateOptions::empty(),
            name: b"abc",
            contexts: &[],
        };
        let mut body = std::vec::Vec::new();
        assert_eq!(request.encode(&mut body), Err(EncodeError::Odd { len: 3 }));
        assert!(body.is_empty());
    }
}
