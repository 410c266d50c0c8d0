//! Records that nobody can read or alter who does not have the key: AES-256-GCM.

use alloc::vec::Vec;
use core::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Tag};
use bytes::BufMut;
use zeroize::Zeroize;

use super::error::{RecordError, RecordForm};
use super::head::Envelope;
use super::{ClientRecord, Octets, Record};
use crate::wire::parse::{self, reserved, u64};

/// What records are sealed with: 32 secret octets. They are wiped when it is dropped, and `Debug` does not show them.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// Wraps the octets.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&self.0).into())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl Drop for SealKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Twelve octets that were never used with the same key before and never will be: a counter that is stored ahead of its use, or
/// random ones if a key seals fewer than 2^32 records.
///
/// Two records sealed with one key and one nonce give away both, and let others seal records of their own. So it cannot be copied.
#[derive(Debug)]
pub struct Nonce([u8; 12]);

impl Nonce {
    /// Wraps the octets.
    pub const fn new(octets: [u8; 12]) -> Self {
        Self(octets)
    }
}

/// # The octets of a sealed record
///
/// Version 1.0. What [`encode`](Self::encode) writes, encrypted with AES-256-GCM (NIST SP 800-38D); everything else in it is
/// authenticated.
///
/// | offset | size | field                                                    |
/// |-------:|-----:|----------------------------------------------------------|
/// |      0 |    4 | Magic: F5 4C 48 53                                       |
/// |      4 |    2 | Version: minor 0, major 1                                |
/// |      6 |    2 | FixedLength, 32: where the ciphertext begins             |
/// |      8 |    4 | Length of all of it, the tag included                    |
/// |     12 |   12 | Nonce                                                    |
/// |     24 |    8 | [`persistent`](Self::persistent)                         |
/// |        |      | what a later minor version adds; authenticated, skipped  |
/// |        |      | the ciphertext, as long as the record                    |
/// |        |   16 | Tag; the fixed fields are the additional data            |
impl Record {
    /// As octets that only the key can open, and only as the record of this [`persistent`](Self::persistent).
    ///
    /// Who has no key learns of which open it is, and about how many locks it has. An older record of the same open that is put back
    /// in place of the newer one is not noticed: it was sealed, too.
    pub fn seal(&self, key: &SealKey, nonce: Nonce) -> Vec<u8> {
        seal(self, key, nonce)
    }

    /// From octets: exactly those of one sealed record, that which the store keeps for this FileId.Persistent.
    ///
    /// # Errors
    ///
    /// What is wrong with them: a plain record is [`RecordError::OtherForm`], that of another open is [`RecordError::Foreign`], one
    /// that was altered or sealed with another key is [`RecordError::Seal`]. Octets that `seal` did not make are never a record.
    pub fn unseal(octets: &[u8], persistent: u64, key: &SealKey) -> Result<Self, RecordError> {
        unseal(octets, persistent, key)
    }
}

/// # The octets of a client's sealed record
///
/// As those of a sealed [`Record`], with [`id`](Self::id) at offset 24.
impl ClientRecord {
    /// As octets that only the key can open, and only as the record with this [`id`](Self::id). See [`Record::seal`].
    pub fn seal(&self, key: &SealKey, nonce: Nonce) -> Vec<u8> {
        seal(self, key, nonce)
    }

    /// From octets: exactly those of one sealed record, that which the store keeps under this `id`.
    ///
    /// # Errors
    ///
    /// As those of [`Record::unseal`]; the sealed record of a server is [`RecordError::OtherForm`].
    pub fn unseal(octets: &[u8], id: u64, key: &SealKey) -> Result<Self, RecordError> {
        unseal(octets, id, key)
    }
}

fn seal(record: &impl Octets, key: &SealKey, nonce: Nonce) -> Vec<u8> {
    let form = RecordForm::Sealed;
    let ends = form.fixed_len().saturating_add(form.tail_len());
    let len = record.len().saturating_add(ends);
    let mut octets = Vec::with_capacity(len);
    octets.put_slice(&form.head(len));
    octets.put_slice(&nonce.0);
    octets.put_u64_le(record.name());
    record.append(&mut octets);
    let tag = octets.split_at_mut_checked(form.fixed_len()).and_then(|(fixed, record)| {
        key.cipher().encrypt_inout_detached((&nonce.0).into(), fixed, record.into()).ok()
    });
    match tag {
        Some(tag) => octets.put_slice(&tag),
        // More than 64 GiB: nothing rather than something that is not sealed.
        None => octets.clear(),
    }
    octets
}

fn unseal<R: Octets>(octets: &[u8], name: u64, key: &SealKey) -> Result<R, RecordError> {
    let form = RecordForm::Sealed;
    let envelope = Envelope::open(form, octets)?;
    let (fixed, sealed) = envelope.parts()?;
    let tampered = RecordError::Seal { offset: envelope.tail_at() };
    let fields = parse::first(fixed, (reserved(12), parse::octets::<12>(), u64()));
    let tag = parse::first(envelope.tail, parse::octets::<16>());
    let (Some(((), nonce, found)), Some(tag)) = (fields, tag) else { return Err(tampered) };
    if found != name {
        return Err(RecordError::Foreign { form, offset: NAME_AT, found, expected: name });
    }
    let mut record = Vec::from(sealed);
    key.cipher()
        .decrypt_inout_detached((&nonce).into(), fixed, record.as_mut_slice().into(), &Tag::from(tag))
        .map_err(|_| tampered)?;
    R::decode_as(name, &record)
}

const NAME_AT: u32 = 24;
