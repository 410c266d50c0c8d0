//! SMB2 messages in a stream of octets (MS-SMB2 2.1), as far as they are in clear text.

use crate::smb::frame::Frame;

/// The octets of one direction that are not a whole message yet.
#[derive(Debug)]
pub(super) struct Inbox {
    octets: Vec<u8>,
    /// Whether the octets are known to begin with a message.
    aligned: bool,
}

/// What a message is, by its ProtocolId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Smb2,
    /// SMB2 TRANSFORM_HEADER (MS-SMB2 2.2.41)
    Encrypted,
    /// SMB2 COMPRESSION_TRANSFORM_HEADER (MS-SMB2 2.2.42)
    Compressed,
    /// The first NEGOTIATE of a client that speaks SMB1, too.
    Smb1,
}

/// That the octets are no messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Strange;

impl Kind {
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        match message.first_chunk::<4>()? {
            b"\xfeSMB" => Some(Self::Smb2),
            b"\xfdSMB" => Some(Self::Encrypted),
            b"\xfcSMB" => Some(Self::Compressed),
            b"\xffSMB" => Some(Self::Smb1),
            _ => None,
        }
    }
}

impl Inbox {
    /// Of a connection that began within the capture, or not.
    pub(super) fn new(aligned: bool) -> Self {
        Self { octets: Vec::new(), aligned }
    }

    /// Octets are missing: the next message is one that begins with a segment.
    pub(super) fn lost(&mut self) {
        self.octets.clear();
        self.aligned = false;
    }

    /// Takes octets and hands on every message that is whole.
    pub(super) fn take(&mut self, octets: &[u8], mut each: impl FnMut(Kind, &[u8])) -> Result<(), Strange> {
        if !self.aligned {
            if octets.first() != Some(&0) || octets.get(4..).and_then(Kind::of).is_none() {
                return Ok(());
            }
            self.aligned = true;
        }
        self.octets.extend_from_slice(octets);
        let mut at = 0;
        loop {
            let rest = self.octets.get(at..).unwrap_or_default();
            let strange = rest.len() >= 8 && rest.get(4..).and_then(Kind::of).is_none();
            let message = match Frame::of(rest) {
                Frame::Message(len) => rest.get(4..).and_then(|rest| rest.get(..len)).unwrap_or_default(),
                Frame::Incomplete if !strange => break,
                Frame::Incomplete | Frame::Wrong => {
                    self.lost();
                    return Err(Strange);
                }
            };
            // A keep-alive of NetBIOS has no octets.
            match Kind::of(message) {
                Some(kind) => each(kind, message),
                None if message.is_empty() => {}
                None => {
                    self.lost();
                    return Err(Strange);
                }
            }
            at += 4 + message.len();
        }
        self.octets.drain(..at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, len: u8) -> Vec<u8> {
        let mut octets = vec![0, 0, 0, len, kind];
        octets.extend(b"SMB");
        octets.resize(4 + usize::from(len), 0);
        octets
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let stream = [message(0xff, 9), message(0xfe, 64), vec![0; 4], message(0xfd, 20)].concat();
        for piece in 1..stream.len() {
            let (mut inbox, mut found) = (Inbox::new(true), Vec::new());
            for octets in stream.chunks(piece) {
                inbox.take(octets, |kind, message| found.push((kind, message.len()))).unwrap();
            }
            assert_eq!(found, [(Kind::Smb1, 9), (Kind::Smb2, 64), (Kind::Encrypted, 20)], "{piece}");
        }
    }

    #[test]
    fn behind_what_is_lost_a_message_begins_with_a_segment() {
        let (mut inbox, mut found) = (Inbox::new(false), 0);
        inbox.take(b"the rest of one", |_, _| found += 1).unwrap();
        inbox.take(&message(0xfe, 70), |_, _| found += 1).unwrap();
        assert_eq!(found, 1);
        assert_eq!(Inbox::new(true).take(b"GET / HTTP/1.1", |_, _| {}), Err(Strange));
    }
}
