//! ChannelSequence: requests of an open that were overtaken by the loss of a channel (MS-SMB2 3.3.5.2.10).

use crate::status::Status;

/// Open.ChannelSequence with its two counts. A value of the driver's, one for each open on dialects 3.x: it starts with the
/// ChannelSequence of the CREATE, whose header has it in the place of Status, and anew with that of a CREATE that gives the open
/// back. Requests that waited on a channel that is lost count as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelSequence {
    /// Open.ChannelSequence
    current: u16,
    /// Open.OutstandingRequestCount: those of the current number.
    outstanding: u32,
    /// Open.OutstandingPreRequestCount: those of earlier numbers, which may still do something.
    earlier: u32,
}

/// Which requests may change something: a late one would undo what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 3.3.5.2.10")]
pub enum Effect {
    /// WRITE, SET_INFO, IOCTL
    Changes,
    /// Every other command with a FileId.
    Looks,
}

/// A request that was let through; goes back with its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Outstanding(u16);

impl ChannelSequence {
    /// Of an open whose CREATE had this number.
    pub const fn new(current: u16) -> Self {
        Self { current, outstanding: 0, earlier: 0 }
    }

    /// The number that counts: that of the newest request.
    pub const fn current(&self) -> u16 {
        self.current
    }

    /// A request with this number in its header has come. `replay` is SMB2_FLAGS_REPLAY_OPERATION.
    ///
    /// # Errors
    ///
    /// STATUS_FILE_NOT_AVAILABLE: one that changes something, and is older than another or may be carried out already.
    pub fn admit(&mut self, number: u16, replay: bool, effect: Effect) -> Result<Outstanding, Status> {
        let ahead = number.wrapping_sub(self.current);
        let older = ahead > 0x7fff;
        if !older && ahead > 0 {
            self.earlier = self.earlier.saturating_add(self.outstanding);
            self.outstanding = 0;
            self.current = number;
        }
        if older || (replay && self.earlier > 0) {
            if effect == Effect::Changes {
                return Err(Status::FILE_NOT_AVAILABLE);
            }
            if older {
                self.earlier = self.earlier.saturating_add(1);
                return Ok(Outstanding(number));
            }
        }
        self.outstanding = self.outstanding.saturating_add(1);
        Ok(Outstanding(number))
    }

    /// The response of a request is sent.
    pub fn answered(&mut self, request: Outstanding) {
        if request.0 == self.current {
            self.outstanding = self.outstanding.saturating_sub(1);
        } else {
            self.earlier = self.earlier.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_forward_by_less_than_half_the_circle() {
        // MS-SMB2 3.3.5.2.10: each answered before the next comes; WRITE, IOCTL and SET_INFO, plain and replayed.
        let steps = [
            (0, true),
            (0x8000, false),
            (0x8001, false),
            (0xffff, false),
            (0x7fff, true),
            (0x7ffe, false),
            (0, false),
            (0x8000, true),
            (0xffff, true),
            (0, true),
            (1, true),
            (0, false),
            (1, true),
            (0xffff, false),
        ];
        for replay in [false, true] {
            let mut sequence = ChannelSequence::new(0);
            for (number, admitted) in steps {
                let result = sequence.admit(number, replay, Effect::Changes);
                assert_eq!(result.is_ok(), admitted, "{number:#x}, replay: {replay}");
                match result {
                    Ok(request) => sequence.answered(request),
                    Err(status) => assert_eq!(status, Status::FILE_NOT_AVAILABLE),
                }
                assert_eq!((sequence.outstanding, sequence.earlier), (0, 0));
            }
        }
    }

    #[test]
    fn a_replay_waits_for_what_may_still_be_carried_out() {
        // MS-SMB2 3.3.5.2.10: a write is on its way when its channel is lost; its replay comes on another.
        let mut sequence = ChannelSequence::new(7);
        let lost = sequence.admit(7, false, Effect::Changes).unwrap();
        assert_eq!(sequence.admit(8, true, Effect::Changes), Err(Status::FILE_NOT_AVAILABLE));
        assert_eq!(sequence.current(), 8);
        let read = sequence.admit(8, true, Effect::Looks).unwrap();
        assert_eq!(sequence.admit(8, true, Effect::Changes), Err(Status::FILE_NOT_AVAILABLE));
        sequence.answered(lost);
        let again = sequence.admit(8, true, Effect::Changes).unwrap();
        sequence.answered(again);
        sequence.answered(read);
        assert_eq!((sequence.outstanding, sequence.earlier), (0, 0));
    }

    #[test]
    fn a_late_look_is_answered_and_counts_among_the_earlier() {
        let mut sequence = ChannelSequence::new(0);
        let pending = sequence.admit(0, false, Effect::Looks).unwrap();
        let newer = sequence.admit(30_000, false, Effect::Looks).unwrap();
        sequence.answered(newer);
        let late = sequence.admit(0, false, Effect::Looks).unwrap();
        sequence.answered(late);
        sequence.answered(pending);
        assert_eq!((sequence.outstanding, sequence.earlier), (0, 0));
    }
}
