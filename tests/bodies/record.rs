//! Records as octets: what holds for any record and any octets. The layout is here a second time, written from its table.

use arbitrary::Unstructured;
use leasehold::persist::{LockRecord, Record, RecordError, RecordField, RecordForm};
use leasehold::server::{AppInstance, LockSequence, ObjectKind};
use leasehold::wire::{AppInstanceId, AppInstanceVersion, Lease, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Access, ClientGuid, CreateAction, CreateGuid, CreateOptions, Disposition, Epoch, FileKey, LeaseKey,
    LeaseState, OplockLevel, ShareMode, UserId,
};
use uuid::Uuid;

use super::sheet::{any, le16, le32, le64};

/// The size of a record without locks and lock sequences: the fixed fields, and the checksum behind them.
const FIXED: usize = 236;
const LEAST: usize = FIXED + 4;
const LOCK: usize = 17;

/// Any octets, as a record and as what a record is made of.
pub fn record(octets: &[u8]) {
    judged_as_specified(octets);
    judged_as_specified(&sound(octets));
    judged_as_specified(&fitting(octets));

    let mut input = Unstructured::new(octets);
    let (damage, bit, cut) = (any::<u16>(&mut input), any::<u8>(&mut input), any::<u16>(&mut input));
    let record = draw(&mut input);
    comes_back(&record);
    let octets = record.encode();
    let damage = usize::from(damage) % octets.len();
    assert!(Record::decode(&flipped(&octets, damage, bit % 8)).is_err());
    assert_cut_short(&octets, usize::from(cut) % octets.len());
    assert_of_this_open(&record);
    #[cfg(feature = "seal")]
    sealed::laws(&record, damage, bit, cut);
}

/// A record, encoded and decoded, is the same record, in as many octets as it says.
pub fn comes_back(record: &Record) {
    let octets = record.encode();
    assert_eq!(octets.len(), record.encoded_len());
    assert_eq!(octets.capacity(), octets.len(), "one allocation that fits");
    assert_eq!(Record::decode(&octets).as_ref(), Ok(record));
    judged_as_specified(&octets);
}

/// The decoder takes what the table allows and nothing else, and finds fault with a field that is at fault. What it takes of
/// version 1.0 is what the encoder makes.
pub fn judged_as_specified(octets: &[u8]) {
    match (Record::decode(octets), faults(octets)) {
        (Ok(record), Ok(faults)) => {
            assert_eq!(faults, [], "{record:?}");
            let again = record.encode();
            assert_eq!(Record::decode(&again), Ok(record));
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
pub fn assert_cut_short(octets: &[u8], len: usize) {
    let wanted = if len < 12 { LEAST } else { octets.len() };
    let expected = RecordError::CutShort { form: RecordForm::Plain, wanted: wanted as u32, had: len as u32 };
    assert_eq!(Record::decode(&octets[..len]), Err(expected));
}

/// The octets with one bit changed.
pub fn flipped(octets: &[u8], at: usize, bit: u8) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets[at] ^= 1 << bit;
    octets
}

fn assert_of_this_open(record: &Record) {
    let (octets, found) = (record.encode(), record.persistent);
    assert_eq!(Record::decode_as(found, &octets).as_ref(), Ok(record));
    let expected = found.wrapping_add(1);
    let error = RecordError::Foreign { form: RecordForm::Plain, offset: 16, found, expected };
    assert_eq!(Record::decode_as(expected, &octets), Err(error));
}

/// What is wrong with octets: as a whole, or field by field.
fn faults(octets: &[u8]) -> Result<Vec<(RecordField, usize)>, RecordError> {
    let form = RecordForm::Plain;
    let had = octets.len() as u32;
    let magic = &octets[..octets.len().min(4)];
    for (other, found) in [(0x53, RecordForm::Sealed), (0x45, RecordForm::Client)] {
        if magic == [0xf5, 0x4c, 0x48, other] {
            return Err(RecordError::OtherForm { form, found });
        }
    }
    if magic != &[0xf5, 0x4c, 0x48, 0x50][..magic.len()] {
        return Err(RecordError::Magic { form });
    }
    if octets.len() < 12 {
        return Err(RecordError::CutShort { form, wanted: LEAST as u32, had });
    }
    if octets[5] != 1 {
        return Err(RecordError::Version { form, major: octets[5], minor: octets[4] });
    }
    let len = le32(octets, 8);
    if len < LEAST as u32 {
        return Ok(vec![(RecordField::Length, 8)]);
    }
    if had > len {
        return Err(RecordError::Trailing { form, len, had });
    }
    if had < len {
        return Err(RecordError::CutShort { form, wanted: len, had });
    }
    let end = octets.len() - 4;
    let (found, computed) = (le32(octets, end), crc32(&octets[..end]));
    if found != computed {
        return Err(RecordError::Checksum { form, offset: end as u32, found, computed });
    }
    Ok(faults_of_fields(&octets[..end]))
}

fn faults_of_fields(octets: &[u8]) -> Vec<(RecordField, usize)> {
    let fixed = usize::from(le16(octets, 6));
    let lawful = if octets[4] == 0 { fixed == FIXED } else { fixed >= FIXED };
    if !lawful || fixed > octets.len() {
        return vec![(RecordField::FixedLength, 6)];
    }
    let (locks, sequences) = (u64::from(le32(octets, 12)), u64::from(octets[235]));
    if locks * 17 + sequences * 4 != (octets.len() - fixed) as u64 {
        return vec![(RecordField::LockCount, 12)];
    }

    let mut faults = vec![];
    let mut fault = |wrong: bool, field, at| {
        if wrong {
            faults.push((field, at));
        }
    };
    let zero = |at: usize, len: usize| octets[at..at + len].iter().all(|octet| *octet == 0);
    let mut at = fixed;
    for _ in 0..locks {
        fault(octets[at + 16] > 1, RecordField::Exclusive, at + 16);
        at += LOCK;
    }
    let mut before = 0;
    for _ in 0..sequences {
        let index = le32(octets, at) / 16;
        fault(index > 64 || index <= before, RecordField::LockSequence, at);
        before = index;
        at += 4;
    }

    let (level, version, present, state) = (octets[231], octets[232], octets[233], octets[234]);
    fault(octets[228] > 5, RecordField::CreateDisposition, 228);
    fault(octets[229] > 3, RecordField::CreateAction, 229);
    fault(octets[230] > 1, RecordField::Kind, 230);
    let levels: &[u8] = if version == 0 { &[0, 1, 8, 9] } else { &[0xff] };
    fault(!levels.contains(&level), RecordField::OplockLevel, 231);
    fault(version > 2, RecordField::LeaseVersion, 232);
    fault(present > 0x1f || present & 0xc == 8, RecordField::Present, 233);
    fault(state > 7, RecordField::State, 234);

    fault(present & 1 == 0 && !zero(48, 16), RecordField::Directory, 48);
    fault(present & 2 == 0 && !zero(64, 16), RecordField::Parent, 64);
    fault(present & 4 == 0 && !zero(128, 16), RecordField::AppInstanceId, 128);
    fault(present & 8 == 0 && !zero(144, 8), RecordField::AppInstanceVersionHigh, 144);
    fault(present & 8 == 0 && !zero(152, 8), RecordField::AppInstanceVersionLow, 152);
    let parent = version == 2 && le32(octets, 196) & 4 != 0;
    fault(version == 0 && !zero(160, 16), RecordField::LeaseKey, 160);
    fault(!parent && !zero(176, 16), RecordField::ParentLeaseKey, 176);
    fault(version == 0 && !zero(192, 4), RecordField::LeaseState, 192);
    fault(version == 0 && !zero(196, 4), RecordField::LeaseFlags, 196);
    fault(present & 16 == 0 && !zero(200, 4), RecordField::Told, 200);
    fault(version != 2 && !zero(224, 2), RecordField::Epoch, 224);
    faults
}

/// The octets with the head and the checksum of a record: what is between them is looked at.
fn sound(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets.resize(octets.len().max(LEAST), 0);
    octets[..4].copy_from_slice(&[0xf5, 0x4c, 0x48, 0x50]);
    octets[5] = 1;
    let len = octets.len() as u32;
    octets[8..12].copy_from_slice(&len.to_le_bytes());
    let end = octets.len() - 4;
    let checksum = crc32(&octets[..end]);
    octets[end..].copy_from_slice(&checksum.to_le_bytes());
    octets
}

/// Likewise, and as long as locks and lock sequences say, of which there are few; and with fewer impossible values.
fn fitting(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets.resize(octets.len().max(FIXED), 0);
    let later = if octets[4] == 0 { 0 } else { usize::from(octets[6] % 16) };
    octets[6..8].copy_from_slice(&((FIXED + later) as u16).to_le_bytes());
    let (locks, sequences) = (octets[12] % 4, octets[235] % 4);
    octets[12..16].copy_from_slice(&u32::from(locks).to_le_bytes());
    octets[235] = sequences;
    octets.resize(LEAST + later + usize::from(locks) * LOCK + usize::from(sequences) * 4, 0);
    for (at, bound) in [(228, 6), (229, 4), (230, 2), (232, 3), (233, 32), (234, 8)] {
        octets[at] %= bound;
    }
    octets[231] = if octets[232] == 0 { [0, 1, 8, 9][usize::from(octets[231] % 4)] } else { 0xff };
    sound(&octets)
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

/// A record that any octets make; it shrinks towards one that has nothing.
pub fn draw(input: &mut Unstructured<'_>) -> Record {
    let key = |input: &mut Unstructured<'_>| LeaseKey::new(any(input));
    let ids = (any(input), FileKey::new(any(input)), ClientGuid::from_wire(any(input)));
    let (owner, create_guid) = (UserId::new(any(input)), CreateGuid::from_wire(any(input)));
    let mut record = Record::new(ids.0, ids.1, ids.2, owner, create_guid);
    record.written = any(input);
    let (present, kinds, level) = (any::<u8>(input), any::<u8>(input), any::<u8>(input));
    record.told = (level & 16 != 0).then(|| LeaseState::from_bits_retain(any(input)));
    record.directory = (present & 1 != 0).then(|| FileKey::new(any(input)));
    record.parent = (present & 2 != 0).then(|| key(input));
    record.instance = (present & 4 != 0).then(|| AppInstance {
        id: AppInstanceId { id: Uuid::from_bytes(any(input)) },
        version: (present & 8 != 0).then(|| AppInstanceVersion { high: any(input), low: any(input) }),
    });
    record.connected = present & 16 != 0;
    record.goes = present & 32 != 0;
    record.relaxed = present & 64 != 0;
    record.kind = if present & 128 != 0 { ObjectKind::Directory } else { ObjectKind::File };
    record.desired = Access::from_bits_retain(any(input));
    record.granted = Access::from_bits_retain(any(input));
    record.sharing = ShareMode::from_bits_retain(any(input));
    record.options = CreateOptions::from_bits_retain(any(input));
    record.disposition = Disposition::from_wire(u32::from(kinds % 6)).unwrap();
    record.action = CreateAction::from_wire(u32::from(kinds / 6 % 4)).unwrap();
    record.timeout = any(input);
    record.channel_sequence = any(input);
    let state = LeaseState::from_bits_retain(any(input));
    let flags = LeaseFlags::from_bits_retain(any(input));
    record.level = OplockLevel::Lease;
    match level % 8 {
        6 => record.lease = Some(Lease::V1(LeaseV1 { key: key(input), state, flags })),
        7 => {
            let parent = (level & 8 != 0).then(|| key(input));
            let flags = flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET);
            let epoch = Epoch::new(any(input));
            record.lease = Some(Lease::V2(LeaseV2 { key: key(input), state, flags, parent, epoch }));
        }
        other => record.level = OplockLevel::from_wire([0, 1, 8, 9][usize::from(other % 4)]),
    }
    for _ in 0..any::<u8>(input) % 8 {
        let field = u32::from(any::<u16>(input)) % 1024 + 16;
        record.sequences.done(LockSequence::from_wire(field).unwrap());
    }
    while !input.is_empty() {
        let (offset, len) = (any(input), any(input));
        record.locks.push(LockRecord { offset, len, exclusive: any(input) });
    }
    record
}

#[cfg(feature = "seal")]
pub use sealed::{laws as sealed_laws, unsealed};

#[cfg(feature = "seal")]
mod sealed {
    use leasehold::persist::{Nonce, SealKey};

    use super::*;

    const KEY: [u8; 32] = [0x5e; 32];

    /// Octets that were not sealed are no record, whatever is put before them.
    pub fn unsealed(octets: &[u8]) {
        let key = SealKey::new(KEY);
        let (form, plain) = (RecordForm::Sealed, RecordForm::Plain);
        let mut headed = octets.to_vec();
        headed.resize(octets.len().max(48), 0);
        headed[..6].copy_from_slice(&[0xf5, 0x4c, 0x48, 0x53, 0, 1]);
        headed[6..8].copy_from_slice(&32u16.to_le_bytes());
        let len = headed.len() as u32;
        headed[8..12].copy_from_slice(&len.to_le_bytes());
        let persistent = le64(&headed, 24);
        let tampered = RecordError::Seal { offset: len - 16 };
        assert_eq!(Record::unseal(&headed, persistent, &key), Err(tampered));
        assert!(Record::unseal(octets, persistent, &key).is_err());
        let error = RecordError::OtherForm { form, found: plain };
        assert_eq!(Record::unseal(&sound(octets), persistent, &key), Err(error));
    }

    /// A sealed record comes back with its key, for its open, as it was; and in no other way.
    pub fn laws(record: &Record, damage: usize, bit: u8, cut: u16) {
        let (key, form) = (SealKey::new(KEY), RecordForm::Sealed);
        let nonce = [bit; 12];
        let octets = record.seal(&key, Nonce::new(nonce));
        let persistent = record.persistent;
        assert_eq!(octets.len(), record.encoded_len() + 48);
        assert_eq!(octets.capacity(), octets.len(), "one allocation that fits");
        assert_eq!(Record::unseal(&octets, persistent, &key).as_ref(), Ok(record));
        let error = RecordError::OtherForm { form: RecordForm::Plain, found: form };
        assert_eq!(Record::decode(&octets), Err(error));
        let plain = Record::unseal(&record.encode(), persistent, &key);
        assert_eq!(plain, Err(RecordError::OtherForm { form, found: RecordForm::Plain }));

        let damage = damage % octets.len();
        assert!(Record::unseal(&flipped(&octets, damage, bit % 8), persistent, &key).is_err());
        let cut = usize::from(cut) % octets.len();
        assert!(matches!(
            Record::unseal(&octets[..cut], persistent, &key),
            Err(RecordError::CutShort { .. })
        ));
        let mut longer = octets.clone();
        longer.push(bit);
        assert!(matches!(Record::unseal(&longer, persistent, &key), Err(RecordError::Trailing { .. })));

        let expected = persistent.wrapping_add(1);
        let foreign = RecordError::Foreign { form, offset: 24, found: persistent, expected };
        assert_eq!(Record::unseal(&octets, expected, &key), Err(foreign));
        // Stored in the wrong place by someone who made it look right.
        let mut renamed = octets.clone();
        renamed[24..32].copy_from_slice(&expected.to_le_bytes());
        let tampered = RecordError::Seal { offset: octets.len() as u32 - 16 };
        assert_eq!(Record::unseal(&renamed, expected, &key), Err(tampered));
        let mut other = KEY;
        other[usize::from(bit) % 32] ^= 0x80;
        assert_eq!(Record::unseal(&octets, persistent, &SealKey::new(other)), Err(tampered));
    }
}
