//! Sealed records: AES-256-GCM around the octets of any form.

use leasehold::persist::{Nonce, RecordError, RecordForm, SealKey};

use super::{Form, flipped, le64, magic, sound};

const KEY: [u8; 32] = [0x5e; 32];

/// Octets that were not sealed are no record, whatever is put before them.
pub fn unsealed<R: Form>(octets: &[u8]) {
    let key = SealKey::new(KEY);
    let (form, found) = (RecordForm::Sealed, R::FORM);
    let mut headed = octets.to_vec();
    headed.resize(octets.len().max(48), 0);
    headed[..4].copy_from_slice(&magic(form));
    headed[4..6].copy_from_slice(&[0, 1]);
    headed[6..8].copy_from_slice(&32u16.to_le_bytes());
    let len = headed.len() as u32;
    headed[8..12].copy_from_slice(&len.to_le_bytes());
    let name = le64(&headed, 24);
    let tampered = RecordError::Seal { offset: len - 16 };
    assert_eq!(R::unseal(&headed, name, &key), Err(tampered));
    assert!(R::unseal(octets, name, &key).is_err());
    let error = RecordError::OtherForm { form, found };
    assert_eq!(R::unseal(&sound::<R>(octets), name, &key), Err(error));
}

/// A sealed record comes back with its key, for its open, as it was; and in no other way.
pub fn laws<R: Form>(record: &R, damage: usize, bit: u8, cut: u16) {
    let (key, form) = (SealKey::new(KEY), RecordForm::Sealed);
    let nonce = [bit; 12];
    let octets = record.seal(&key, Nonce::new(nonce));
    let name = record.name();
    assert_eq!(octets.len(), record.encoded_len() + 48);
    assert_eq!(octets.capacity(), octets.len(), "one allocation that fits");
    assert_eq!(R::unseal(&octets, name, &key).as_ref(), Ok(record));
    let error = RecordError::OtherForm { form: R::FORM, found: form };
    assert_eq!(R::decode(&octets), Err(error));
    let plain = R::unseal(&record.encode(), name, &key);
    assert_eq!(plain, Err(RecordError::OtherForm { form, found: R::FORM }));

    let damage = damage % octets.len();
    assert!(R::unseal(&flipped(&octets, damage, bit % 8), name, &key).is_err());
    let cut = usize::from(cut) % octets.len();
    assert!(matches!(R::unseal(&octets[..cut], name, &key), Err(RecordError::CutShort { .. })));
    let mut longer = octets.clone();
    longer.push(bit);
    assert!(matches!(R::unseal(&longer, name, &key), Err(RecordError::Trailing { .. })));

    let expected = name.wrapping_add(1);
    let foreign = RecordError::Foreign { form, offset: 24, found: name, expected };
    assert_eq!(R::unseal(&octets, expected, &key), Err(foreign));
    // Stored in the wrong place by someone who made it look right.
    let mut renamed = octets.clone();
    renamed[24..32].copy_from_slice(&expected.to_le_bytes());
    let tampered = RecordError::Seal { offset: octets.len() as u32 - 16 };
    assert_eq!(R::unseal(&renamed, expected, &key), Err(tampered));
    let mut other = KEY;
    other[usize::from(bit) % 32] ^= 0x80;
    assert_eq!(R::unseal(&octets, name, &SealKey::new(other)), Err(tampered));
}
