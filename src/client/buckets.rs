//! Numbers for LOCK requests, by which a server knows one that it has carried out already (MS-SMB2 3.2.4.19, 3.2.5.13).

use crate::server::LockSequence;

/// How many buckets an open has.
const BUCKETS: usize = 64;

/// Open.OperationBuckets: at most 64 LOCK requests of an open are under way with a number each.
///
/// A driver has one of these for each open of which [`Client::sequences_locks`](super::Client::sequences_locks) says so. It stays
/// over a reconnect: a LOCK that is sent again has the number that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockBuckets {
    /// Of each bucket: the number of its next request, modulo 16, and [`TAKEN`] while one is under way.
    buckets: [u8; BUCKETS],
}

const TAKEN: u8 = 0x80;
const NUMBER: u8 = 0x0f;

impl Default for LockBuckets {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS] }
    }
}

impl LockBuckets {
    /// Takes a free bucket: index and number for the request. `None` if all 64 are under way: the request has to wait, or goes
    /// without a number.
    pub fn take(&mut self) -> Option<LockSequence> {
        let (index, bucket) = (1..).zip(&mut self.buckets).find(|(_, bucket)| **bucket & TAKEN == 0)?;
        let sequence = LockSequence::from_wire(index << 4 | u32::from(*bucket & NUMBER));
        *bucket |= TAKEN;
        sequence
    }

    /// The request was answered, whatever the answer: the bucket is free, and has the next number. Nothing happens if it is free.
    pub fn answered(&mut self, sequence: LockSequence) {
        let index = usize::try_from(sequence.to_wire() >> 4).unwrap_or(0);
        if let Some(bucket) = index.checked_sub(1).and_then(|at| self.buckets.get_mut(at)) {
            if *bucket & TAKEN != 0 {
                *bucket = bucket.wrapping_add(1) & NUMBER;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_requests_are_under_way_and_numbers_go_round() {
        // MS-SMB2 3.2.4.19, 3.2.5.13.
        let mut buckets = LockBuckets::default();
        let taken: std::vec::Vec<_> = core::iter::from_fn(|| buckets.take()).collect();
        assert_eq!(taken.len(), 64);
        assert_eq!(taken.iter().map(|one| one.to_wire()).max(), Some(64 << 4));
        for number in 0..40_u32 {
            let expected = (1 << 4) | ((number + 1) % 16);
            let last = LockSequence::from_wire((1 << 4) | (number % 16)).unwrap();
            buckets.answered(last);
            buckets.answered(last);
            assert_eq!(buckets.take().map(LockSequence::to_wire), Some(expected));
        }
    }
}
