//! Signatures of messages (MS-SMB2 3.1.4.1), the keys they are made with (3.1.4.2) and the preauthentication integrity hash.

use std::fmt;

use aes::Aes128;
use cmac::Cmac;
use hmac::{Hmac, KeyInit, Mac};
use leasehold::Dialect;
use sha2::{Digest, Sha256, Sha512};

/// The preauthentication integrity hash of a connection or a session: SHA-512 over its NEGOTIATE and SESSION_SETUP messages,
/// MS-SMB2 3.3.5.4 and 3.3.5.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preauth {
    value: [u8; 64],
}

impl Preauth {
    /// The hash before the first message.
    pub const fn new() -> Self {
        Self { value: [0; 64] }
    }

    /// Takes in a message, from its header on.
    pub fn update(&mut self, message: &[u8]) {
        self.value = Sha512::new().chain_update(self.value).chain_update(message).finalize().into();
    }

    /// The hash of the messages so far.
    pub const fn value(&self) -> [u8; 64] {
        self.value
    }
}

impl Default for Preauth {
    fn default() -> Self {
        Self::new()
    }
}

/// What signs and verifies the messages of a session, or of one channel of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// SMB 2.0.2 and 2.1.
    HmacSha256,
    /// SMB 3.x: what is meant where nothing else is negotiated.
    AesCmac,
}

impl SigningKey {
    /// Makes the key that `dialect` signs with, MS-SMB2 3.3.5.5.3. SMB 3.1.1 needs `preauth`, the others ignore it.
    pub fn derive(dialect: Dialect, session_key: [u8; 16], preauth: Option<&[u8; 64]>) -> Self {
        let (label, context): (&[u8], &[u8]) = match dialect {
            Dialect::Smb202 | Dialect::Smb210 => {
                return Self { algorithm: Algorithm::HmacSha256, key: session_key };
            }
            Dialect::Smb300 | Dialect::Smb302 => (b"SMB2AESCMAC\0", b"SmbSign\0"),
            // SMB 3.1.1, the only other one.
            _ => (b"SMBSigningKey\0", preauth.unwrap_or(&[0; 64])),
        };
        Self { algorithm: Algorithm::AesCmac, key: derive_key(&session_key, label, context) }
    }

    /// Signs one message, or one element of a compound with its padding; leaves alone what is no message.
    pub fn sign(&self, message: &mut [u8]) {
        if message.len() < HEADER {
            return;
        }
        if let Some(flags) = message.get_mut(FLAGS) {
            *flags |= SIGNED;
        }
        let signature: Option<[u8; SIGNATURE]> = match self.algorithm {
            Algorithm::HmacSha256 => covered(hmac_sha256(&self.key), message).map(first_half),
            Algorithm::AesCmac => covered(self.cmac(), message).map(|mac| mac.finalize().into_bytes().into()),
        };
        if let (Some(signature), Some(field)) = (signature, message.get_mut(AT..AT + SIGNATURE)) {
            field.copy_from_slice(&signature);
        }
    }

    /// Whether a message, or one element of a compound with its padding, bears the signature of this key. Takes as long for a wrong
    /// signature as for the right one.
    #[must_use]
    pub fn verify(&self, message: &[u8]) -> bool {
        let Some(signature) = message.get(AT..AT + SIGNATURE) else { return false };
        match self.algorithm {
            Algorithm::HmacSha256 => covered(hmac_sha256(&self.key), message)
                .is_some_and(|mac| mac.verify_truncated_left(signature).is_ok()),
            Algorithm::AesCmac => {
                covered(self.cmac(), message).is_some_and(|mac| mac.verify_slice(signature).is_ok())
            }
        }
    }

    fn cmac(&self) -> Cmac<Aes128> {
        Cmac::new(&self.key.into())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithm)
    }
}

/// Takes in the message as it is signed: with zeros for the signature. `None` if it has no whole header.
fn covered<M: Mac>(mac: M, message: &[u8]) -> Option<M> {
    let (before, rest) = message.split_at_checked(AT)?;
    let (_signature, after) = rest.split_at_checked(SIGNATURE)?;
    Some(mac.chain_update(before).chain_update([0; SIGNATURE]).chain_update(after))
}

/// The KDF in counter mode of SP800-108 with HMAC-SHA256, for 128 bits: one round.
fn derive_key(key: &[u8; 16], label: &[u8], context: &[u8]) -> [u8; 16] {
    let round = hmac_sha256(key)
        .chain_update([0, 0, 0, 1])
        .chain_update(label)
        .chain_update([0])
        .chain_update(context)
        .chain_update([0, 0, 0, 128]);
    first_half(round)
}

fn first_half(mac: Hmac<Sha256>) -> [u8; 16] {
    let octets: [u8; 32] = mac.finalize().into_bytes().into();
    std::array::from_fn(|at| octets[at])
}

fn hmac_sha256(key: &[u8; 16]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// The size of an SMB2 header, its Flags and its Signature: MS-SMB2 2.2.1.
const HEADER: usize = 64;
const FLAGS: usize = 16;
const AT: usize = 48;
const SIGNATURE: usize = 16;
/// SMB2_FLAGS_SIGNED, in the lowest octet of Flags.
const SIGNED: u8 = 0x08;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smb::ntlm::sample::{self, octets};

    const DIALECTS: [Dialect; 5] =
        [Dialect::Smb202, Dialect::Smb210, Dialect::Smb300, Dialect::Smb302, Dialect::Smb311];

    fn session_key() -> [u8; 16] {
        std::array::from_fn(|at| at as u8)
    }

    fn preauth() -> [u8; 64] {
        std::array::from_fn(|at| at as u8)
    }

    fn message() -> Vec<u8> {
        let mut message = vec![0; 64];
        message[..6].copy_from_slice(b"\xfeSMB\x40\0");
        message.extend(0..24);
        message
    }

    #[test]
    fn cmac_gives_the_answers_of_rfc_4493() {
        let key: [u8; 16] = octets("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
        let text = octets(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        for (len, tag) in [
            (0, "bb1d6929e95937287fa37d129b756746"),
            (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"),
            (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ] {
            let mac = Cmac::<Aes128>::new(&key.into()).chain_update(&text[..len]);
            assert_eq!(mac.finalize().into_bytes()[..], octets(tag), "{len} octets");
        }
    }

    #[test]
    fn keys_are_those_that_microsoft_published() {
        // The same article as the sample sign-in: both channels of SMB 3.0.
        for (session_key, signing_key) in [
            ("7cd451825d0450d235424e44ba6e78cc", "0b7e9c5cac36c0f6ea9ab275298cedce"),
            ("4e01a2b313bcf660cc250bef021aede6", "ba1a17dbbfec349bca105563d598952f"),
        ] {
            let session_key = octets(session_key).try_into().unwrap();
            assert_eq!(SigningKey::derive(Dialect::Smb300, session_key, None).key[..], octets(signing_key));
        }
        let session_key = octets(sample::SESSION_KEY).try_into().unwrap();
        let preauth = octets(sample::PREAUTH).try_into().unwrap();
        let key = SigningKey::derive(Dialect::Smb311, session_key, Some(&preauth));
        assert_eq!(key.key[..], octets("73fe7a9a77bef0bde49c650d8ccb5f76"));
    }

    #[test]
    fn a_sign_in_over_smb_3_1_1_ends_with_the_published_signature() {
        let mut preauth = Preauth::new();
        for (message, begins) in [
            (sample::NEGOTIATE_REQUEST, "dd94efc5321bb618"),
            (sample::NEGOTIATE_RESPONSE, "324bfa92a4f3a190"),
            (sample::SETUP_REQUEST_1, "ac0b0f2b99862577"),
            (sample::SETUP_RESPONSE_1, "2729e3440dfddd83"),
            (sample::SETUP_REQUEST_2, "0dd13628cc3ed218"),
        ] {
            preauth.update(&octets(message));
            assert_eq!(preauth.value()[..8], octets(begins));
        }
        assert_eq!(preauth.value()[..], octets(sample::PREAUTH));

        let session_key = octets(sample::SESSION_KEY).try_into().unwrap();
        let key = SigningKey::derive(Dialect::Smb311, session_key, Some(&preauth.value()));
        let response = octets(sample::SETUP_RESPONSE_2);
        assert!(key.verify(&response));

        let mut unsigned = response.clone();
        unsigned[16] &= !0x08;
        unsigned[48..64].fill(0);
        key.sign(&mut unsigned);
        assert_eq!(unsigned, response);
    }

    #[test]
    fn every_dialect_signs_as_computed_elsewhere() {
        // With HMAC and CMAC of Python's cryptography.
        for (dialect, signature) in DIALECTS.into_iter().zip([
            "d18ec6316e923d5eadaf1e85755cb0c8",
            "d18ec6316e923d5eadaf1e85755cb0c8",
            "0afd8838e571cf1f3d89ad44c4702ffe",
            "0afd8838e571cf1f3d89ad44c4702ffe",
            "0ae517f5485418cba380cae87ee659b7",
        ]) {
            let mut signed = message();
            SigningKey::derive(dialect, session_key(), Some(&preauth())).sign(&mut signed);
            assert_eq!(signed[48..64], octets(signature), "{dialect:?}");
            assert_eq!(signed[16], 0x08);
        }
    }

    #[test]
    fn a_changed_message_is_not_verified() {
        for dialect in DIALECTS {
            let key = SigningKey::derive(dialect, session_key(), Some(&preauth()));
            let mut signed = message();
            key.sign(&mut signed);
            assert!(key.verify(&signed));
            for at in 0..signed.len() {
                let mut changed = signed.clone();
                changed[at] ^= 1;
                assert!(!key.verify(&changed), "{dialect:?}, octet {at}");
            }
            for len in 0..signed.len() {
                assert!(!key.verify(&signed[..len]), "{dialect:?}, {len} octets");
            }
        }
    }

    #[test]
    fn what_is_shorter_than_a_header_is_left_alone() {
        for dialect in DIALECTS {
            let key = SigningKey::derive(dialect, session_key(), None);
            for len in 0..64 {
                let mut short = vec![0; len];
                key.sign(&mut short);
                assert_eq!(short, vec![0; len]);
            }
        }
    }
}
