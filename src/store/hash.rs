//! Keyed hashing: lease keys and GUIDs are chosen by peers, so no hash that they could predict will do.

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

/// Sixteen octets of entropy for hash tables, fresh at each start. No action depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// Wraps the octets.
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// SipHash-1-3 of a value under this key.
    pub(crate) fn hash(&self, value: &impl Hash) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        value.hash(&mut hasher);
        hasher.finish()
    }
}
