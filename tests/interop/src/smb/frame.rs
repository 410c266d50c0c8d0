//! Direct TCP transport: four octets of length before each message (MS-SMB2 2.1).

/// The longest message that is accepted, in octets: 8 MiB of data and what is around it.
pub const LONGEST: usize = (8 << 20) + (64 << 10);

/// What the first octets of a stream hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not all of a message yet.
    Incomplete,
    /// A message of this many octets, behind the four of its length.
    Message(usize),
    /// No message of SMB2: the connection is of no use any more.
    Wrong,
}

impl Frame {
    /// Looks at the first octets of a stream.
    pub fn of(stream: &[u8]) -> Self {
        let Some(&[zero, a, b, c]) = stream.first_chunk::<4>() else { return Self::Incomplete };
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if zero != 0 || len > LONGEST {
            return Self::Wrong;
        }
        if stream.len() < 4 + len { Self::Incomplete } else { Self::Message(len) }
    }
}

/// The four octets before a message of this length.
pub fn head(len: usize) -> [u8; 4] {
    let [_, a, b, c] = u32::try_from(len).unwrap_or(0).to_be_bytes();
    [0, a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_24_bits_of_network_order() {
        assert_eq!(Frame::of(&[0, 0, 1]), Frame::Incomplete);
        assert_eq!(Frame::of(&[0, 0, 0, 2, 7]), Frame::Incomplete);
        assert_eq!(Frame::of(&[0, 0, 0, 2, 7, 7, 7]), Frame::Message(2));
        assert_eq!(Frame::of(&[0x85, 0, 0, 0]), Frame::Wrong);
        assert_eq!(Frame::of(&[0, 0xff, 0xff, 0xff]), Frame::Wrong);
        assert_eq!(head(0x0001_0203), [0, 1, 2, 3]);
    }
}
