//! nom primitives: little-endian only, and every failure knows its offset.

use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::map;
use nom::error::{ErrorKind, ParseError};

use super::Fixed;
use super::error::{DecodeError, DecodeErrorKind, Field, Structure};
use crate::types::{FileId, LeaseKey};

/// A parser of a field.
pub(crate) trait Parse<'a, O>: Parser<&'a [u8], Output = O, Error = Short> {}

impl<'a, O, P: Parser<&'a [u8], Output = O, Error = Short>> Parse<'a, O> for P {}

/// The octets ran out. The length was checked before, so this is never seen.
#[derive(Debug)]
pub(crate) struct Short;

impl ParseError<&[u8]> for Short {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Decodes a body of fixed size: exactly its length, nothing less and nothing behind it.
#[inline]
pub(super) fn fixed<'a, T: Fixed, O>(octets: &'a [u8], fields: impl Parse<'a, O>) -> Result<O, DecodeError> {
    exactly(T::STRUCTURE, T::LEN, octets)?;
    prefix(T::STRUCTURE, T::LEN, octets, fields)
}

/// As [`fixed`], for a body that begins with its own size.
#[inline]
pub(super) fn sized<'a, T: Fixed, O>(octets: &'a [u8], fields: impl Parse<'a, O>) -> Result<O, DecodeError> {
    let (size, rest) = fixed::<T, _>(octets, (u16(), fields))?;
    structure_size(T::STRUCTURE, 0, size, T::LEN)?;
    Ok(rest)
}

/// Decodes the first `len` octets of something longer.
#[inline]
pub(super) fn prefix<'a, O>(
    structure: Structure,
    len: usize,
    octets: &'a [u8],
    fields: impl Parse<'a, O>,
) -> Result<O, DecodeError> {
    first(octets, fields).ok_or_else(|| length(structure, octets.len(), len))
}

/// The fields that octets begin with. `None` if the octets run out.
#[inline]
pub(crate) fn first<'a, O>(octets: &'a [u8], mut fields: impl Parse<'a, O>) -> Option<O> {
    fields.parse(octets).ok().map(|(_, fields)| fields)
}

#[inline]
pub(super) fn exactly(structure: Structure, len: usize, octets: &[u8]) -> Result<(), DecodeError> {
    if octets.len() == len { Ok(()) } else { Err(length(structure, octets.len(), len)) }
}

/// `at` is where the field lies.
#[inline]
pub(super) fn structure_size(
    structure: Structure,
    at: usize,
    found: u16,
    expected: usize,
) -> Result<(), DecodeError> {
    if usize::from(found) == expected {
        return Ok(());
    }
    let kind = DecodeErrorKind::Value { found: found.into(), expected: clamp16(expected) };
    Err(DecodeError::new(structure, Field::StructureSize, at, kind))
}

#[cold]
pub(super) fn length(structure: Structure, actual: usize, expected: usize) -> DecodeError {
    let kind = DecodeErrorKind::Length { actual: clamp32(actual), expected: clamp16(expected) };
    DecodeError::new(structure, Field::Whole, 0, kind)
}

pub(crate) fn clamp32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn clamp16(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

pub(crate) fn octet<'a>() -> impl Parse<'a, u8> {
    nom::number::complete::u8
}

pub(crate) fn u16<'a>() -> impl Parse<'a, u16> {
    map(octets(), u16::from_le_bytes)
}

pub(crate) fn u32<'a>() -> impl Parse<'a, u32> {
    map(octets(), u32::from_le_bytes)
}

pub(crate) fn u64<'a>() -> impl Parse<'a, u64> {
    map(octets(), u64::from_le_bytes)
}

/// Octets that are ignored on input.
pub(crate) fn reserved<'a>(count: usize) -> impl Parse<'a, ()> {
    map(take(count), |_| ())
}

pub(crate) fn octets16<'a>() -> impl Parse<'a, [u8; 16]> {
    octets()
}

/// One load of all octets: `nom::number` shifts them together one by one, and a mask behind that keeps them apart.
pub(crate) fn octets<'a, const N: usize>() -> impl Parse<'a, [u8; N]> {
    map(take(N), |octets: &[u8]| octets.first_chunk().copied().unwrap_or([0; N]))
}

/// The field at `at` of a header that is known to be there.
#[inline(always)]
pub(super) fn field<const N: usize>(header: &[u8; 16], at: usize) -> [u8; N] {
    header.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

pub(crate) fn lease_key<'a>() -> impl Parse<'a, LeaseKey> {
    map(octets16(), LeaseKey::new)
}

/// MS-SMB2 2.2.14.1.
pub(super) fn file_id<'a>() -> impl Parse<'a, FileId> {
    map((u64(), u64()), |(persistent, volatile)| FileId { persistent, volatile })
}
