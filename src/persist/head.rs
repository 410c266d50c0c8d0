//! What a record begins and ends with, in every form.

use alloc::vec::Vec;

use bytes::BufMut;
use crc::{CRC_32_ISO_HDLC, Crc};

use super::error::{RecordError, RecordField, RecordForm};
use crate::wire::parse::{self, clamp32, octet, reserved, u16, u32};

/// The major version that is read and written.
pub(super) const MAJOR: u8 = 1;
/// The minor version that is written. Later ones are read: what they add lies behind the fixed fields that are known here.
pub(super) const MINOR: u8 = 0;

/// What all forms have in common: a head, fixed fields, a body of any length, and a tail that says whether all of it is sound.
///
/// | offset | size | field                                                               |
/// |-------:|-----:|---------------------------------------------------------------------|
/// |      0 |    4 | Magic                                                               |
/// |      4 |    2 | Version: the minor one, then the major one                          |
/// |      6 |    2 | FixedLength: where the body begins                                  |
/// |      8 |    4 | Length: how many octets there are, the tail included                |
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    form: RecordForm,
    minor: u8,
    fixed_len: u16,
    /// Everything before the tail.
    pub(super) guarded: &'a [u8],
    /// Checksum or tag.
    pub(super) tail: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Finds head and tail. Nothing but the head was looked at.
    pub(super) fn open(form: RecordForm, octets: &'a [u8]) -> Result<Self, RecordError> {
        let magic = octets.get(..4).unwrap_or(octets);
        if !form.magic().starts_with(magic) {
            let other = RecordForm::ALL.into_iter().find(|other| other.magic() == magic);
            return Err(
                other.map_or(RecordError::Magic { form }, |found| RecordError::OtherForm { form, found })
            );
        }
        let had = clamp32(octets.len());
        let least = form.fixed_len().saturating_add(form.tail_len());
        let head = (reserved(4), octet(), octet(), u16(), u32());
        let Some(((), minor, major, fixed_len, len)) = parse::first(octets, head) else {
            return Err(RecordError::CutShort { form, wanted: clamp32(least), had });
        };
        if major != MAJOR {
            return Err(RecordError::Version { form, major, minor });
        }
        let end = usize::try_from(len).unwrap_or(usize::MAX);
        if end < least {
            return Err(form.undefined(RecordField::Length, 8, len.into()));
        }
        if octets.len() > end {
            return Err(RecordError::Trailing { form, len, had });
        }
        let whole = octets.get(..end);
        let split = whole.and_then(|whole| whole.split_at_checked(end.saturating_sub(form.tail_len())));
        let Some((guarded, tail)) = split else {
            return Err(RecordError::CutShort { form, wanted: len, had });
        };
        Ok(Self { form, minor, fixed_len, guarded, tail })
    }

    /// Whether the octets are those that were written, of a form with a checksum.
    pub(super) fn check(&self) -> Result<(), RecordError> {
        let (form, offset) = (self.form, self.tail_at());
        let found = parse::first(self.tail, u32()).unwrap_or_default();
        let computed = CHECKSUM.checksum(self.guarded);
        if found == computed { Ok(()) } else { Err(RecordError::Checksum { form, offset, found, computed }) }
    }

    /// The fixed fields, head included, and the body.
    pub(super) fn parts(&self) -> Result<(&'a [u8], &'a [u8]), RecordError> {
        let (fixed_len, known) = (usize::from(self.fixed_len), self.form.fixed_len());
        let lawful = if self.minor == MINOR { fixed_len == known } else { fixed_len >= known };
        self.guarded
            .split_at_checked(fixed_len)
            .filter(|_| lawful)
            .ok_or_else(|| self.form.undefined(RecordField::FixedLength, 6, self.fixed_len.into()))
    }

    /// Where the tail lies.
    pub(super) fn tail_at(&self) -> u32 {
        clamp32(self.guarded.len())
    }
}

/// Puts the checksum behind what was written from `start` on.
pub(super) fn put_checksum(octets: &mut Vec<u8>, start: usize) {
    let checksum = CHECKSUM.checksum(octets.get(start..).unwrap_or_default());
    octets.put_u32_le(checksum);
}

static CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

impl RecordForm {
    const ALL: [Self; 3] = [Self::Plain, Self::Client, Self::Sealed];

    /// No text begins with it, and no single bit makes one of another.
    pub(super) const fn magic(self) -> [u8; 4] {
        match self {
            Self::Plain => *b"\xf5LHP",
            Self::Client => *b"\xf5LHE",
            Self::Sealed => *b"\xf5LHS",
        }
    }

    /// The size of all fixed fields, in octets.
    pub(super) const fn fixed_len(self) -> usize {
        match self {
            Self::Plain => 236,
            Self::Client => 132,
            Self::Sealed => 32,
        }
    }

    /// The size of checksum or tag, in octets.
    pub(super) const fn tail_len(self) -> usize {
        match self {
            Self::Plain | Self::Client => 4,
            Self::Sealed => 16,
        }
    }

    /// The head of `len` octets in all.
    pub(super) fn head(self, len: usize) -> [u8; 12] {
        let [a, b, c, d] = self.magic();
        let [e, f] = u16::try_from(self.fixed_len()).unwrap_or(u16::MAX).to_le_bytes();
        let [g, h, i, j] = clamp32(len).to_le_bytes();
        [a, b, c, d, MINOR, MAJOR, e, f, g, h, i, j]
    }

    pub(super) const fn undefined(self, field: RecordField, offset: u32, value: u64) -> RecordError {
        RecordError::Value { form: self, field, offset, value }
    }

    /// A field that is not there has to be zero.
    pub(super) fn absent<T: Default + PartialEq>(
        self,
        value: T,
        field: RecordField,
        offset: u32,
    ) -> Result<(), RecordError> {
        if value == T::default() { Ok(()) } else { Err(RecordError::NotZero { form: self, field, offset }) }
    }
}
