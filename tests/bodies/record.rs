//! Records as octets: what holds for any record and any octets. The layouts are here a second time, written from their tables.

mod client;
#[cfg(feature = "seal")]
mod sealed;
mod server;

use std::fmt::Debug;

use arbitrary::Unstructured;
#[cfg(feature = "seal")]
use leasehold::persist::{Nonce, SealKey};
use leasehold::persist::{RecordError, RecordField, RecordForm};

use super::sheet::{any, le16, le32, le64};

#[cfg(feature = "seal")]
pub use sealed::{laws as sealed_laws, unsealed};

/// The checksum behind everything else.
const CHECKSUM: usize = 4;
/// Where the name lies under which the store keeps it.
const NAME: u32 = 16;

/// A form of records, and what only its own table says.
pub trait Form: Clone + Debug + PartialEq {
    const FORM: RecordForm;
    /// The size of the fixed fields of version 1.0.
    const FIXED: usize;
    /// That of a record without anything else.
    const LEAST: usize = Self::FIXED + CHECKSUM;

    /// A record that any octets make; it shrinks towards one that has nothing.
    fn draw(input: &mut Unstructured<'_>) -> Self;
    fn name(&self) -> u64;
    /// What is wrong if so many octets are between the fixed fields and the checksum.
    fn fault_of_length(octets: &[u8], behind: usize) -> Option<Fault>;
    /// What is wrong with the fields, those behind the first `fixed` octets among them.
    fn judge(octets: &[u8], fixed: usize, faults: &mut Faults<'_>);
    /// Makes fewer values of fixed fields impossible; and what is behind them is as long as is returned.
    fn fit(octets: &mut [u8]) -> usize;

    fn encode(&self) -> Vec<u8>;
    fn encoded_len(&self) -> usize;
    fn decode(octets: &[u8]) -> Result<Self, RecordError>;
    fn decode_as(name: u64, octets: &[u8]) -> Result<Self, RecordError>;
    #[cfg(feature = "seal")]
    fn seal(&self, key: &SealKey, nonce: Nonce) -> Vec<u8>;
    #[cfg(feature = "seal")]
    fn unseal(octets: &[u8], name: u64, key: &SealKey) -> Result<Self, RecordError>;
}

/// What the crate has for every form.
macro_rules! of_the_crate {
    ($record:ty) => {
        fn encode(&self) -> Vec<u8> {
            <$record>::encode(self)
        }

        fn encoded_len(&self) -> usize {
            <$record>::encoded_len(self)
        }

        fn decode(octets: &[u8]) -> Result<Self, RecordError> {
            <$record>::decode(octets)
        }

        fn decode_as(name: u64, octets: &[u8]) -> Result<Self, RecordError> {
            <$record>::decode_as(name, octets)
        }

        #[cfg(feature = "seal")]
        fn seal(&self, key: &leasehold::persist::SealKey, nonce: leasehold::persist::Nonce) -> Vec<u8> {
            <$record>::seal(self, key, nonce)
        }

        #[cfg(feature = "seal")]
        fn unseal(octets: &[u8], name: u64, key: &leasehold::persist::SealKey) -> Result<Self, RecordError> {
            <$record>::unseal(octets, name, key)
        }
    };
}
use of_the_crate;

/// A field that is wrong, and where it lies.
pub type Fault = (RecordField, usize);

/// The faults of octets, as they are found.
pub struct Faults<'a> {
    octets: &'a [u8],
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn note(&mut self, wrong: bool, field: RecordField, at: usize) {
        if wrong {
            self.found.push((field, at));
        }
    }

    /// The field has so many octets, and is zero if it is not present.
    fn note_absent(&mut self, present: bool, field: RecordField, at: usize, len: usize) {
        let zero = self.octets[at..at + len].iter().all(|octet| *octet == 0);
        self.note(!present && !zero, field, at);
    }
}

/// Any octets, as a record and as what a record is made of.
pub fn record<R: Form>(octets: &[u8]) {
    judged_as_specified::<R>(octets);
    judged_as_specified::<R>(&sound::<R>(octets));
    judged_as_specified::<R>(&fitting::<R>(octets));

    let mut input = Unstructured::new(octets);
    let (damage, bit, cut) = (any::<u16>(&mut input), any::<u8>(&mut input), any::<u16>(&mut input));
    let record = R::draw(&mut input);
    comes_back(&record);
    let octets = record.encode();
    let damage = usize::from(damage) % octets.len();
    assert!(R::decode(&flipped(&octets, damage, bit % 8)).is_err());
    judged_as_specified::<R>(&mended(flipped(&octets, damage, bit % 8)));
    assert_cut_short::<R>(&octets, usize::from(cut) % octets.len());
    assert_of_this_open(&record);
    #[cfg(feature = "seal")]
    sealed::laws(&record, damage, bit, cut);
}

/// A record, encoded and decoded, is the same record, in as many octets as it says.
pub fn comes_back<R: Form>(record: &R) {
    let octets = record.encode();
    assert_eq!(octets.len(), record.encoded_len());
    assert_eq!(octets.capacity(), octets.len(), "one allocation that fits");
    assert_eq!(R::decode(&octets).as_ref(), Ok(record));
    judged_as_specified::<R>(&octets);
}

/// The decoder takes what the table allows and nothing else, and finds fault with a field that is at fault. What it takes of
/// version 1.0 is what the encoder makes.
pub fn judged_as_specified<R: Form>(octets: &[u8]) {
    match (R::decode(octets), faults::<R>(octets)) {
        (Ok(record), Ok(faults)) => {
            assert_eq!(faults, [], "{record:?}");
            let again = record.encode();
            assert_eq!(R::decode(&again), Ok(record));
            if octets[4] == 0 {
                assert_eq!(again, octets);
            }
        }
        (Err(error), Ok(faults)) => {
            assert!(faults.contains(&(error.field(), error.offset())), "{error}: {faults:?}");
        }
        (Err(error), Err(expected)) => assert_eq!(error, expected),
        (Ok(record), Err(expected)) => panic!("{expected}: {record:?}"),
    }
}

/// The first `len` octets of a record are none.
pub fn assert_cut_short<R: Form>(octets: &[u8], len: usize) {
    let wanted = if len < 12 { R::LEAST } else { octets.len() };
    let expected = RecordError::CutShort { form: R::FORM, wanted: wanted as u32, had: len as u32 };
    assert_eq!(R::decode(&octets[..len]), Err(expected));
}

/// The octets with one bit changed.
pub fn flipped(octets: &[u8], at: usize, bit: u8) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets[at] ^= 1 << bit;
    octets
}

/// The octets with the checksum of what is before it.
pub fn mended(mut octets: Vec<u8>) -> Vec<u8> {
    let end = octets.len() - CHECKSUM;
    let checksum = crc32(&octets[..end]);
    octets[end..].copy_from_slice(&checksum.to_le_bytes());
    octets
}

fn assert_of_this_open<R: Form>(record: &R) {
    let (octets, found) = (record.encode(), record.name());
    assert_eq!(R::decode_as(found, &octets).as_ref(), Ok(record));
    let expected = found.wrapping_add(1);
    let error = RecordError::Foreign { form: R::FORM, offset: NAME, found, expected };
    assert_eq!(R::decode_as(expected, &octets), Err(error));
}

fn magic(form: RecordForm) -> [u8; 4] {
    let last = match form {
        RecordForm::Plain => 0x50,
        RecordForm::Client => 0x45,
        RecordForm::Sealed => 0x53,
        other => panic!("{other} has no table"),
    };
    [0xf5, 0x4c, 0x48, last]
}

/// What is wrong with octets: as a whole, or field by field.
fn faults<R: Form>(octets: &[u8]) -> Result<Vec<Fault>, RecordError> {
    let (form, had) = (R::FORM, octets.len() as u32);
    let begin = &octets[..octets.len().min(4)];
    for found in [RecordForm::Plain, RecordForm::Client, RecordForm::Sealed] {
        if found != form && begin == magic(found) {
            return Err(RecordError::OtherForm { form, found });
        }
    }
    if begin != &magic(form)[..begin.len()] {
        return Err(RecordError::Magic { form });
    }
    if octets.len() < 12 {
        return Err(RecordError::CutShort { form, wanted: R::LEAST as u32, had });
    }
    if octets[5] != 1 {
        return Err(RecordError::Version { form, major: octets[5], minor: octets[4] });
    }
    let len = le32(octets, 8);
    if len < R::LEAST as u32 {
        return Ok(vec![(RecordField::Length, 8)]);
    }
    if had > len {
        return Err(RecordError::Trailing { form, len, had });
    }
    if had < len {
        return Err(RecordError::CutShort { form, wanted: len, had });
    }
    let end = octets.len() - CHECKSUM;
    let (found, computed) = (le32(octets, end), crc32(&octets[..end]));
    if found != computed {
        return Err(RecordError::Checksum { form, offset: end as u32, found, computed });
    }
    Ok(faults_of_fields::<R>(&octets[..end]))
}

fn faults_of_fields<R: Form>(octets: &[u8]) -> Vec<Fault> {
    let fixed = usize::from(le16(octets, 6));
    let lawful = if octets[4] == 0 { fixed == R::FIXED } else { fixed >= R::FIXED };
    if !lawful || fixed > octets.len() {
        return vec![(RecordField::FixedLength, 6)];
    }
    if let Some(fault) = R::fault_of_length(octets, octets.len() - fixed) {
        return vec![fault];
    }
    let mut faults = Faults { octets, found: vec![] };
    R::judge(octets, fixed, &mut faults);
    faults.found
}

/// The octets with the head and the checksum of a record: what is between them is looked at.
fn sound<R: Form>(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets.resize(octets.len().max(R::LEAST), 0);
    octets[..4].copy_from_slice(&magic(R::FORM));
    octets[5] = 1;
    let len = octets.len() as u32;
    octets[8..12].copy_from_slice(&len.to_le_bytes());
    mended(octets)
}

/// Likewise, and as long as its fields say; and with fewer impossible values.
fn fitting<R: Form>(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets.resize(octets.len().max(R::FIXED), 0);
    let later = if octets[4] == 0 { 0 } else { usize::from(octets[6] % 16) };
    octets[6..8].copy_from_slice(&((R::FIXED + later) as u16).to_le_bytes());
    let behind = R::fit(&mut octets);
    octets.resize(R::LEAST + later + behind, 0);
    sound::<R>(&octets)
}

/// CRC-32 bit by bit: the polynomial 0x04C11DB7 reversed, ones before and complemented behind.
pub fn crc32(octets: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for octet in octets {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
