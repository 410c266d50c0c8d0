//! Where what happens is taken from.

use arbitrary::Unstructured;

/// What decides whatever is left open.
pub trait Choices {
    /// A number below `of`, which is not 0.
    fn chance(&mut self, of: u64) -> u64;
}

/// The same numbers for the same seed: xorshift.
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

impl Choices for Seeded {
    fn chance(&mut self, of: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % of
    }
}

/// An octet for each choice of up to 256; behind the last octet there are zeros.
impl Choices for Unstructured<'_> {
    fn chance(&mut self, of: u64) -> u64 {
        self.int_in_range(0..=of - 1).unwrap_or(0)
    }
}
