//! Lock sequences: a LOCK that is sent again is answered again and not carried out again (MS-SMB2 3.3.5.14).

/// Open.LockSequenceArray (MS-SMB2 3.3.1.10): 64 entries, each a number of four bits or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockSequences {
    /// A number of four bits, or [`NOTHING`].
    entries: [u8; ENTRIES],
}

const ENTRIES: usize = 64;
const NOTHING: u8 = 0xff;

/// LockSequenceNumber and LockSequenceIndex of a LOCK, if they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockSequence {
    /// From 0.
    entry: usize,
    number: u8,
}

impl LockSequence {
    /// Reads the field of the request (MS-SMB2 2.2.26): the number in the four bits at the low end, the index above. `None` for an
    /// index that is not 1 to 64: such a request is carried out whenever it comes.
    pub fn from_wire(field: u32) -> Option<Self> {
        let entry = usize::try_from((field >> 4).checked_sub(1)?).ok().filter(|entry| *entry < ENTRIES)?;
        let number = u8::try_from(field & 0xf).ok()?;
        Some(Self { entry, number })
    }

    /// The field of a request.
    pub fn to_wire(self) -> u32 {
        let index = u32::try_from(self.entry).unwrap_or(u32::MAX).saturating_add(1);
        index << 4 | u32::from(self.number)
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for LockSequence {
    fn arbitrary(input: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        Self::from_wire(input.int_in_range(0x10..=0x40f)?).ok_or(arbitrary::Error::IncorrectFormat)
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for LockSequences {
    fn arbitrary(input: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut sequences = Self::default();
        for sequence in input.arbitrary_iter()? {
            sequences.done(sequence?);
        }
        Ok(sequences)
    }
}

impl Default for LockSequences {
    fn default() -> Self {
        Self { entries: [NOTHING; ENTRIES] }
    }
}

impl LockSequences {
    /// Whether this very request was carried out before. If not, nothing is known of its entry until it is
    /// [`done`](Self::done).
    pub fn seen(&mut self, sequence: LockSequence) -> bool {
        match self.entries.get_mut(sequence.entry) {
            Some(entry) if *entry == sequence.number => true,
            Some(entry) => {
                *entry = NOTHING;
                false
            }
            None => false,
        }
    }

    /// The entries that something is known of, by index.
    pub fn known(&self) -> impl Iterator<Item = LockSequence> + '_ {
        let entries = self.entries.iter().copied().enumerate().filter(|(_, number)| *number != NOTHING);
        entries.map(|(entry, number)| LockSequence { entry, number })
    }

    /// The request was not carried out after all: nothing is known of its entry.
    pub fn undone(&mut self, sequence: LockSequence) {
        if let Some(entry) = self.entries.get_mut(sequence.entry) {
            *entry = NOTHING;
        }
    }

    /// The request was carried out.
    pub fn done(&mut self, sequence: LockSequence) {
        if let Some(entry) = self.entries.get_mut(sequence.entry) {
            *entry = sequence.number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u32, number: u32) -> Option<LockSequence> {
        LockSequence::from_wire(index << 4 | number)
    }

    #[test]
    fn indexes_run_from_1_to_64() {
        // MS-SMB2 3.3.5.14
        assert_eq!(at(0, 5), None);
        assert_eq!(at(65, 5), None);
        for index in 1..=64 {
            let mut sequences = LockSequences::default();
            let sequence = at(index, 15).unwrap();
            assert!(!sequences.seen(sequence), "{index}");
            sequences.done(sequence);
            assert!(sequences.seen(sequence), "{index}");
        }
    }

    #[test]
    fn a_request_is_known_until_another_takes_its_entry() {
        let mut sequences = LockSequences::default();
        let (first, second) = (at(3, 0).unwrap(), at(3, 1).unwrap());
        assert!(!sequences.seen(first));
        sequences.done(first);
        assert!(sequences.seen(first), "it is answered again, and again");
        assert!(sequences.seen(first));
        assert!(!sequences.seen(second));
        // It failed: the entry is empty.
        assert!(!sequences.seen(first));
        assert!(!sequences.seen(at(4, 0).unwrap()), "another entry");
    }
}
