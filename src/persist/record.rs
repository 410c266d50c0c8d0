//! Records as octets.

use super::Record;
use alloc::vec::Vec;

/// Why octets are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// They are too few.
    #[error("a record cut short")]
    CutShort,
}

impl Record {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    /// From octets.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn decode(_: &[u8]) -> Result<Self, RecordError> {
        Err(RecordError::CutShort)
    }
}
