//! The hashes and keys of NTLMv2, MS-NLMP 3.3.2 and 3.4.

use hmac::{Hmac, KeyInit, Mac};
use md4::Md4;
use md5::{Digest, Md5};
use rc4::{Rc4, StreamCipher};

use super::message::{Flags, utf16};

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// NTOWFv1: what a server keeps of a password.
pub(super) fn nt_hash(password: &str) -> [u8; 16] {
    Md4::digest(utf16(password)).into()
}

/// NTOWFv2, the ResponseKeyNT.
pub(super) fn response_key(nt_hash: &[u8; 16], user: &str, domain: &str) -> [u8; 16] {
    finish(hmac_md5(nt_hash).chain_update(utf16(&upper(user))).chain_update(utf16(domain)))
}

/// NTProofStr, to be finished or verified.
pub(super) fn proof(response_key: &[u8; 16], server_challenge: &[u8; 8], blob: &[u8]) -> Hmac<Md5> {
    hmac_md5(response_key).chain_update(server_challenge).chain_update(blob)
}

/// SessionBaseKey, which is the KeyExchangeKey too.
pub(super) fn base_key(response_key: &[u8; 16], proof: &[u8]) -> [u8; 16] {
    finish(hmac_md5(response_key).chain_update(proof))
}

/// The MIC of the three messages, of which AUTHENTICATE has zeros for it; to be finished or verified.
pub(super) fn message_mic(session_key: &[u8; 16], messages: [&[u8]; 3]) -> Hmac<Md5> {
    messages.iter().fold(hmac_md5(session_key), |mac, message| mac.chain_update(message))
}

/// RC4K: encrypts the ExportedSessionKey with the KeyExchangeKey, and decrypts it.
pub(super) fn rc4k(key: &[u8; 16], mut data: [u8; 16]) -> [u8; 16] {
    rc4(key).apply_keystream(&mut data);
    data
}

/// The signature of the first message that `sender` signs, MS-NLMP 3.4.4.2: all that SPNEGO asks for. `None` if the older kind of
/// session security was agreed on.
pub(super) fn signature(flags: Flags, key: &[u8; 16], sender: Sender, message: &[u8]) -> Option<[u8; 16]> {
    let mut signature = UNSIGNED;
    // ALWAYS_SIGN alone stands for a signature that says nothing, as Windows has it.
    if !flags.has(Flags::SIGN) {
        return Some(signature);
    }
    let checksum = finish(checksum(flags, key, sender, message)?);
    let (checksum, _) = checksum.split_first_chunk::<8>()?;
    signature.get_mut(4..12)?.copy_from_slice(&sealed(flags, key, sender, *checksum));
    Some(signature)
}

/// Whether `signature` is that of the first message from `sender`. Takes as long for a wrong one as for the right one.
pub(super) fn verify(flags: Flags, key: &[u8; 16], sender: Sender, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = <[u8; 16]>::try_from(signature) else { return false };
    if !flags.has(Flags::SIGN) {
        return signature == UNSIGNED;
    }
    let ([1, 0, 0, 0, received @ .., 0, 0, 0, 0], Some(mac)) =
        (signature, checksum(flags, key, sender, message))
    else {
        return false;
    };
    mac.verify_truncated_left(&sealed(flags, key, sender, received)).is_ok()
}

/// HMAC over SeqNum, which is 0, and the message, by SIGNKEY of MS-NLMP 3.4.5.2.
fn checksum(flags: Flags, key: &[u8; 16], sender: Sender, message: &[u8]) -> Option<Hmac<Md5>> {
    if !flags.has(Flags::EXTENDED_SESSIONSECURITY) {
        return None;
    }
    let signing: [u8; 16] = Md5::new().chain_update(key).chain_update(sender.sign_magic()).finalize().into();
    Some(hmac_md5(&signing).chain_update([0; 4]).chain_update(message))
}

/// With KEY_EXCH a checksum is encrypted by SEALKEY of MS-NLMP 3.4.5.3. Its own inverse.
fn sealed(flags: Flags, key: &[u8; 16], sender: Sender, mut checksum: [u8; 8]) -> [u8; 8] {
    if flags.has(Flags::KEY_EXCH) {
        let (weakest, rest) = key.split_at(5);
        let (weak, _) = rest.split_at(2);
        let mut sealing = Md5::new().chain_update(weakest);
        if flags.has(Flags::KEY_128) {
            sealing.update(rest);
        } else if flags.has(Flags::KEY_56) {
            sealing.update(weak);
        }
        let sealing: [u8; 16] = sealing.chain_update(sender.seal_magic()).finalize().into();
        rc4(&sealing).apply_keystream(&mut checksum);
    }
    checksum
}

impl Sender {
    const fn sign_magic(self) -> &'static [u8] {
        match self {
            Self::Client => b"session key to client-to-server signing key magic constant\0",
            Self::Server => b"session key to server-to-client signing key magic constant\0",
        }
    }

    const fn seal_magic(self) -> &'static [u8] {
        match self {
            Self::Client => b"session key to client-to-server sealing key magic constant\0",
            Self::Server => b"session key to server-to-client sealing key magic constant\0",
        }
    }
}

/// Upper case as Windows has it: a character stays one character.
pub(super) fn upper(name: &str) -> String {
    name.chars()
        .map(|character| {
            let mut upper = character.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(only), None) => only,
                _ => character,
            }
        })
        .collect()
}

pub(super) fn finish(mac: Hmac<Md5>) -> [u8; 16] {
    mac.finalize().into_bytes().into()
}

fn hmac_md5(key: &[u8; 16]) -> Hmac<Md5> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn rc4(key: &[u8; 16]) -> Rc4 {
    Rc4::new_from_slice(key).expect("RC4 takes a key of 16 octets")
}

/// A signature with Version 1, an empty checksum and SeqNum 0.
const UNSIGNED: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
