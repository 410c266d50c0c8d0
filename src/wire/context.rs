//! The chain of create contexts: walking it, writing it, and the contexts in it that are ours.
//!
//! One element (MS-SMB2 2.2.13.2, the same in responses):
//!
//! | offset | size | field                                                            |
//! |-------:|-----:|------------------------------------------------------------------|
//! |      0 |    4 | Next: to the start of the next element; 0 in the last            |
//! |      4 |    2 | NameOffset, always 16                                            |
//! |      6 |    2 | NameLength: 4, or 16 for a GUID                                  |
//! |      8 |    2 | Reserved (ignored)                                               |
//! |     10 |    2 | DataOffset, a multiple of 8 (ignored if there is no data)        |
//! |     12 |    4 | DataLength                                                       |
//! |     16 |    - | Name, padding to 8, data, padding to 8 unless it is the last     |

use core::iter::FusedIterator;

use super::Fixed;
use super::durable::{
    DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest, DurableHandleRequestV2,
    DurableHandleResponse, DurableHandleResponseV2,
};
use super::error::{DecodeError, DecodeErrorKind, Field, Structure};
use super::instance::{AppInstanceId, AppInstanceVersion};
use super::lease::{Lease, LeaseV1, LeaseV2};
use super::parse::{self, clamp32};

/// The most elements that are walked in one chain. Deployed clients send at most fourteen.
pub const MAX_CONTEXTS: u16 = 64;

/// Names of contexts, as octets: they are never byte-swapped (MS-SMB2 2.2.13.2).
pub mod name {
    /// SMB2_CREATE_DURABLE_HANDLE_REQUEST, "DHnQ"
    pub const DHNQ: &[u8] = b"DHnQ";
    /// SMB2_CREATE_DURABLE_HANDLE_RECONNECT, "DHnC"
    pub const DHNC: &[u8] = b"DHnC";
    /// SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, "DH2Q"
    pub const DH2Q: &[u8] = b"DH2Q";
    /// SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2, "DH2C"
    pub const DH2C: &[u8] = b"DH2C";
    /// SMB2_CREATE_REQUEST_LEASE and its version 2, "RqLs"
    pub const RQLS: &[u8] = b"RqLs";
    /// SMB2_CREATE_APP_INSTANCE_ID
    pub const APP_INSTANCE_ID: &[u8] = b"\x45\xbc\xa6\x6a\xef\xa7\xf7\x4a\x90\x08\xfa\x46\x2e\x14\x4d\x74";
    /// SMB2_CREATE_APP_INSTANCE_VERSION
    pub const APP_INSTANCE_VERSION: &[u8] =
        b"\xb9\x82\xd0\xb7\x3b\x56\x07\x4f\xa0\x7b\x52\x4a\x81\x16\xa0\x10";
}

/// A body that travels in a create context.
pub trait Named: Fixed {
    /// The name of that context.
    const NAME: &'static [u8];
}

/// One create context, borrowed from the chain it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context<'a> {
    /// Name, four octets or more.
    pub name: &'a [u8],
    /// Data, without padding.
    pub data: &'a [u8],
    /// Where the data lies in the chain, in octets.
    pub offset: usize,
}

impl Context<'_> {
    /// Decodes the data as a body of fixed size.
    ///
    /// # Errors
    ///
    /// As [`Fixed::decode`]; the offset counts from the start of the chain.
    #[inline]
    pub fn body<T: Fixed>(&self) -> Result<T, DecodeError> {
        T::decode(self.data).map_err(|error| error.shifted(self.offset))
    }

    /// Decodes the data as an RqLs of either version.
    ///
    /// # Errors
    ///
    /// As [`Lease::decode`]; the offset counts from the start of the chain.
    #[inline]
    pub fn lease(&self) -> Result<Lease, DecodeError> {
        Lease::decode(self.data).map_err(|error| error.shifted(self.offset))
    }
}

/// Walks a chain of create contexts without copying. Ends at the first error; what lies behind the element whose Next
/// is 0 is ignored, because senders differ there.
#[derive(Clone, Debug)]
pub struct Contexts<'a> {
    rest: &'a [u8],
    offset: usize,
    walked: u16,
}

impl<'a> Contexts<'a> {
    /// Starts at the first element. No octets are no contexts.
    #[inline]
    pub const fn new(chain: &'a [u8]) -> Self {
        Self { rest: chain, offset: 0, walked: 0 }
    }

    /// Splits the first element off and returns it with the distance to the next one, 0 if there is none.
    // Inlined by force: returned through memory, the context is read back in wider pieces than it was written in,
    // which stalls the processor for longer than everything else takes.
    #[inline(always)]
    fn element(&self) -> Result<(Context<'a>, usize), DecodeError> {
        const HEADER: usize = 16;
        let offset = self.offset;
        let wrong = |field, at: usize, kind| wrong(offset, field, at, kind);
        let Some(header) = self.rest.first_chunk::<HEADER>() else {
            return Err(parse::length(Structure::CreateContext, self.rest.len(), HEADER).shifted(offset));
        };
        let next = u32::from_le_bytes(parse::field(header, 0));
        let name_offset = u16::from_le_bytes(parse::field(header, 4));
        let name_len = u16::from_le_bytes(parse::field(header, 6));
        let data_offset = u16::from_le_bytes(parse::field(header, 10));
        let data_len = u32::from_le_bytes(parse::field(header, 12));

        // The next header has to lie inside what is left; the element ends where it begins.
        let distance = next as usize;
        let element = if distance == 0 {
            self.rest
        } else if distance % 8 != 0 {
            return Err(wrong(Field::Next, 0, DecodeErrorKind::Misaligned { found: next }));
        } else if distance < HEADER {
            return Err(wrong(Field::Next, 0, DecodeErrorKind::TooSmall { found: next, least: 16 }));
        } else {
            match self.rest.split_at_checked(distance) {
                Some((element, behind)) if behind.len() >= HEADER => element,
                Some(_) | None => {
                    return Err(wrong(Field::Next, 0, DecodeErrorKind::PastEnd { found: next }));
                }
            }
        };

        if usize::from(name_offset) != HEADER {
            let kind = DecodeErrorKind::Value { found: name_offset.into(), expected: 16 };
            return Err(wrong(Field::NameOffset, 4, kind));
        }
        if name_len < 4 {
            let kind = DecodeErrorKind::TooSmall { found: name_len.into(), least: 4 };
            return Err(wrong(Field::NameLength, 6, kind));
        }
        let name_end = HEADER.saturating_add(name_len.into());
        let Some(name) = element.get(HEADER..name_end) else {
            return Err(wrong(Field::NameLength, 6, DecodeErrorKind::PastEnd { found: name_len.into() }));
        };

        // MS-SMB2 2.2.13.2 <54>: without data, DataOffset may hold anything.
        if data_len == 0 {
            return Ok((Context { name, data: &[], offset: self.offset.saturating_add(name_end) }, distance));
        }
        let start = usize::from(data_offset);
        if start % 8 != 0 {
            let kind = DecodeErrorKind::Misaligned { found: data_offset.into() };
            return Err(wrong(Field::DataOffset, 10, kind));
        }
        if start < name_end {
            let kind =
                DecodeErrorKind::TooSmall { found: data_offset.into(), least: name_len.saturating_add(16) };
            return Err(wrong(Field::DataOffset, 10, kind));
        }
        // The sum is what the rule bounds, so the length is to blame, wherever the offset leads.
        let Some(data) = element.get(start..).and_then(|behind| behind.get(..data_len as usize)) else {
            return Err(wrong(Field::DataLength, 12, DecodeErrorKind::PastEnd { found: data_len }));
        };
        Ok((Context { name, data, offset: self.offset.saturating_add(start) }, distance))
    }
}

/// By value, so that nobody's state has to lie in memory for the sake of an error.
#[cold]
fn wrong(offset: usize, field: Field, at: usize, kind: DecodeErrorKind) -> DecodeError {
    DecodeError::new(Structure::CreateContext, field, offset.saturating_add(at), kind)
}

impl<'a> Iterator for Contexts<'a> {
    type Item = Result<Context<'a>, DecodeError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        if self.walked == MAX_CONTEXTS {
            self.rest = &[];
            let kind = DecodeErrorKind::TooMany { most: MAX_CONTEXTS };
            return Some(Err(DecodeError::new(Structure::CreateContext, Field::Next, self.offset, kind)));
        }
        self.walked = self.walked.saturating_add(1);
        match self.element() {
            Ok((context, distance)) => {
                self.rest = if distance == 0 { &[] } else { self.rest.get(distance..).unwrap_or_default() };
                self.offset = self.offset.saturating_add(distance);
                Some(Ok(context))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for Contexts<'_> {}

/// The four durable contexts of a request, as found: which combinations are errors depends on the dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct DurableContexts {
    /// DHnQ
    pub dhnq: Option<DurableHandleRequest>,
    /// DHnC
    pub dhnc: Option<DurableHandleReconnect>,
    /// DH2Q
    pub dh2q: Option<DurableHandleRequestV2>,
    /// DH2C
    pub dh2c: Option<DurableHandleReconnectV2>,
}

/// The contexts of a CREATE request that concern caching and survival. Everything else stays with the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct RequestContexts {
    /// RqLs
    pub lease: Option<Lease>,
    /// DHnQ, DHnC, DH2Q, DH2C
    pub durable: DurableContexts,
    /// AppInstanceId
    pub app_instance: Option<AppInstanceId>,
    /// AppInstanceVersion
    pub app_instance_version: Option<AppInstanceVersion>,
}

impl RequestContexts {
    /// Walks the chain once and hands every context that is not ours to `other`, untouched and in order.
    ///
    /// Of two contexts with one name the first counts; the second has to be well-formed all the same.
    ///
    /// # Errors
    ///
    /// The first [`DecodeError`] of the chain or of a context of ours (STATUS_INVALID_PARAMETER, MS-SMB2 3.3.5.9).
    #[inline]
    pub fn decode<'a>(chain: &'a [u8], mut other: impl FnMut(Context<'a>)) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        for context in Contexts::new(chain) {
            let context = context?;
            match context.name {
                name::RQLS => first(&mut found.lease, context.lease()?),
                name::DH2Q => first(&mut found.durable.dh2q, context.body()?),
                name::DH2C => first(&mut found.durable.dh2c, context.body()?),
                name::DHNQ => first(&mut found.durable.dhnq, context.body()?),
                name::DHNC => first(&mut found.durable.dhnc, context.body()?),
                name::APP_INSTANCE_ID => first(&mut found.app_instance, context.body()?),
                name::APP_INSTANCE_VERSION => first(&mut found.app_instance_version, context.body()?),
                _ => other(context),
            }
        }
        Ok(found)
    }

    /// Appends what is there, durable contexts first, as deployed clients order them. All of it or nothing: a durable
    /// request must not go out without its lease.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the writer has no room for all of it; it is as it was before then.
    #[inline]
    pub fn write(&self, writer: &mut ContextWriter<'_>) -> Result<(), EncodeError> {
        let DurableContexts { dhnq, dhnc, dh2q, dh2c } = &self.durable;
        writer.together(|writer| {
            optional(writer, dhnq)?;
            optional(writer, dh2q)?;
            optional(writer, dhnc)?;
            optional(writer, dh2c)?;
            write_lease(writer, self.lease.as_ref())?;
            optional(writer, &self.app_instance)?;
            optional(writer, &self.app_instance_version)
        })
    }
}

/// The contexts of a CREATE response that concern caching and survival. Everything else stays with the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct ResponseContexts {
    /// RqLs
    pub lease: Option<Lease>,
    /// DHnQ: the handle is durable.
    pub durable: Option<DurableHandleResponse>,
    /// DH2Q: the handle is durable or persistent.
    pub durable_v2: Option<DurableHandleResponseV2>,
}

impl ResponseContexts {
    /// Walks the chain once and hands every context that is not ours to `other`, untouched and in order.
    ///
    /// # Errors
    ///
    /// The first [`DecodeError`] of the chain or of a context of ours.
    #[inline]
    pub fn decode<'a>(chain: &'a [u8], mut other: impl FnMut(Context<'a>)) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        for context in Contexts::new(chain) {
            let context = context?;
            match context.name {
                name::RQLS => first(&mut found.lease, context.lease()?),
                name::DH2Q => first(&mut found.durable_v2, context.body()?),
                name::DHNQ => first(&mut found.durable, context.body()?),
                _ => other(context),
            }
        }
        Ok(found)
    }

    /// Appends what is there, durable contexts first, as deployed servers order them. All of it or nothing.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the writer has no room for all of it; it is as it was before then.
    #[inline]
    pub fn write(&self, writer: &mut ContextWriter<'_>) -> Result<(), EncodeError> {
        writer.together(|writer| {
            optional(writer, &self.durable)?;
            optional(writer, &self.durable_v2)?;
            write_lease(writer, self.lease.as_ref())
        })
    }
}

fn first<T>(slot: &mut Option<T>, value: T) {
    if slot.is_none() {
        *slot = Some(value);
    }
}

fn optional<T: Named>(writer: &mut ContextWriter<'_>, body: &Option<T>) -> Result<(), EncodeError> {
    body.as_ref().map_or(Ok(()), |body| writer.put(body))
}

fn write_lease(writer: &mut ContextWriter<'_>, lease: Option<&Lease>) -> Result<(), EncodeError> {
    match lease {
        Some(Lease::V1(lease)) => writer.put::<LeaseV1>(lease),
        Some(Lease::V2(lease)) => writer.put::<LeaseV2>(lease),
        None => Ok(()),
    }
}

/// Why something could not be written. The writer is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The buffer is too small.
    #[error("{needed} octets are needed, {room} are there")]
    Full {
        /// The octets that would have been needed in all.
        needed: usize,
        /// The octets that there are.
        room: usize,
    },
    /// The name of a context is shorter than four octets (MS-SMB2 3.3.5.9), or so long that DataOffset, of sixteen bits,
    /// cannot point behind it: longer than 65,512.
    #[error("a context name of {len} octets")]
    Name {
        /// Its length, in octets.
        len: usize,
    },
    /// A chain of [`MAX_CONTEXTS`] elements gets no further one: nobody would read it.
    #[error("more than {} contexts", MAX_CONTEXTS)]
    TooMany,
    /// The name of a file is no UTF-16: its length is odd.
    #[error("a file name of {len} octets")]
    Odd {
        /// Its length, in octets.
        len: usize,
    },
    /// Something is longer than its length field can say.
    #[error("{len} octets do not fit into their length field")]
    TooLong {
        /// Its length, in octets.
        len: usize,
    },
}

/// Writes a chain of create contexts into a buffer of the caller's.
///
/// [`finish`](Self::finish) completes the chain. Until then the last element carries a Next that no decoder accepts, so
/// that half a chain is never taken for a whole one. Nothing is padded behind the last element; an element without data
/// has the DataOffset that Windows and Samba give it, that of the data that is not there.
#[derive(Debug)]
pub struct ContextWriter<'a> {
    buf: &'a mut [u8],
    /// Where the last element starts and ends.
    last: Option<(usize, usize)>,
    written: u16,
}

impl<'a> ContextWriter<'a> {
    /// Writes from the start of `buf`, whatever is in it now.
    #[inline]
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, last: None, written: 0 }
    }

    /// Appends a context of any name, for those that this crate does not know.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]; nothing is written then.
    #[inline]
    pub fn push(&mut self, name: &[u8], data: &[u8]) -> Result<(), EncodeError> {
        let place = self.element(name, data.len())?;
        place.copy_from_slice(data);
        Ok(())
    }

    /// Appends a context of ours.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Full`]; nothing is written then.
    #[inline]
    pub fn put<T: Named>(&mut self, body: &T) -> Result<(), EncodeError> {
        let mut place = self.element(T::NAME, T::LEN)?;
        body.encode(&mut place);
        Ok(())
    }

    /// Writes several contexts, all of them or none.
    fn together(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let (last, written) = (self.last, self.written);
        write(self).inspect_err(|_| {
            (self.last, self.written) = (last, written);
            if let Some((start, _)) = last {
                patch_next(self.buf, start, UNFINISHED);
            }
        })
    }

    /// Completes the chain and returns its length in octets: CreateContextsLength.
    #[inline]
    #[must_use = "the length is what CreateContextsLength has to say"]
    pub fn finish(self) -> usize {
        let Some((start, end)) = self.last else { return 0 };
        patch_next(self.buf, start, 0);
        end
    }

    /// Writes everything of an element but its data, and returns the place for that.
    #[inline]
    fn element(&mut self, name: &[u8], data_len: usize) -> Result<&mut [u8], EncodeError> {
        if self.written == MAX_CONTEXTS {
            return Err(EncodeError::TooMany);
        }
        let name_len = match u16::try_from(name.len()) {
            Ok(len) if len >= 4 => len,
            Ok(_) | Err(_) => return Err(EncodeError::Name { len: name.len() }),
        };
        let too_long = EncodeError::TooLong { len: data_len };
        let data_length = u32::try_from(data_len).map_err(|_| too_long)?;
        let name_end = 16usize.saturating_add(name.len());
        let data_offset = name_end.next_multiple_of(8);
        let data_offset_field =
            u16::try_from(data_offset).map_err(|_| EncodeError::Name { len: name.len() })?;

        let start = self.last.map_or(0, |(_, end)| end.next_multiple_of(8));
        let data_start = start.saturating_add(data_offset);
        let end = data_start.saturating_add(data_len);
        let full = EncodeError::Full { needed: end, room: self.buf.len() };
        if end > self.buf.len() || clamp32(end) == UNFINISHED {
            return Err(full);
        }

        if let Some((before, before_end)) = self.last {
            if let Some(padding) = self.buf.get_mut(before_end..start) {
                padding.fill(0);
            }
            patch_next(self.buf, before, clamp32(start.saturating_sub(before)));
        }
        self.last = Some((start, end));
        self.written = self.written.saturating_add(1);
        let element = self.buf.get_mut(start..end).ok_or(full)?;
        let (header, data) = element.split_at_mut_checked(data_offset).ok_or(full)?;
        {
            use bytes::BufMut;
            let mut header = header;
            header.put_u32_le(UNFINISHED);
            header.put_u16_le(16);
            header.put_u16_le(name_len);
            header.put_u16_le(0);
            header.put_u16_le(data_offset_field);
            header.put_u32_le(data_length);
            header.put_slice(name);
            header.fill(0);
        }
        Ok(data)
    }
}

/// Next of an element that may not be the last one yet: no multiple of eight, and far behind any end.
const UNFINISHED: u32 = u32::MAX;

#[inline]
fn patch_next(buf: &mut [u8], element: usize, next: u32) {
    if let Some(field) = buf.get_mut(element..).and_then(<[u8]>::first_chunk_mut) {
        *field = next.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::LeaseState;
    use crate::types::LeaseKey;
    use crate::wire::LeaseFlags;

    fn durable_with_lease() -> RequestContexts {
        let lease =
            LeaseV1 { key: LeaseKey::new([1; 16]), state: LeaseState::RH, flags: LeaseFlags::empty() };
        let durable = DurableContexts { dhnq: Some(DurableHandleRequest), ..DurableContexts::default() };
        RequestContexts { lease: Some(Lease::V1(lease)), durable, ..RequestContexts::default() }
    }

    #[test]
    fn contexts_that_belong_together_are_written_together() {
        // DHnQ has 40 octets, RqLs of version 1 has 56 behind them.
        for (room, fits) in [(40, false), (95, false), (96, true)] {
            let mut buf = [0xee; 96];
            let mut writer = ContextWriter::new(&mut buf[..room]);
            let result = durable_with_lease().write(&mut writer);
            assert_eq!(result.is_ok(), fits, "{room} octets");
            let len = writer.finish();
            assert_eq!(len, if fits { 96 } else { 0 });
            let found = RequestContexts::decode(&buf[..len], |_| ()).unwrap();
            assert_eq!(found, if fits { durable_with_lease() } else { RequestContexts::default() });
        }
    }

    #[test]
    fn what_was_written_before_stays_when_the_rest_does_not_fit() {
        let mut buf = [0xee; 64];
        let mut writer = ContextWriter::new(&mut buf);
        writer.push(b"MxAc", &[]).unwrap();
        assert_eq!(durable_with_lease().write(&mut writer), Err(EncodeError::Full { needed: 120, room: 64 }));
        let len = writer.finish();
        let mut others = 0;
        assert_eq!(RequestContexts::decode(&buf[..len], |_| others += 1), Ok(RequestContexts::default()));
        assert_eq!((len, others), (24, 1));
    }

    #[test]
    fn more_contexts_than_are_walked_are_not_written() {
        let mut buf = [0; 2048];
        let mut writer = ContextWriter::new(&mut buf);
        for _ in 0..MAX_CONTEXTS {
            writer.push(b"MxAc", &[]).unwrap();
        }
        assert_eq!(writer.push(b"MxAc", &[]), Err(EncodeError::TooMany));
        let len = writer.finish();
        assert_eq!(Contexts::new(&buf[..len]).filter(Result::is_ok).count(), usize::from(MAX_CONTEXTS));
    }
}
