//! One oplock of the server: the caching of a single open, without a key.

use super::hold::{Hold, Notice};
use super::profile::{OvertakenAck, Profile, UnexpectedAck};
use crate::locks::Level;
use crate::state::OplockLevel;
use crate::status::Status;
use crate::types::Epoch;

/// Open.OplockLevel and Open.OplockState (MS-SMB2 3.3.1.10). It lives as long as the open, with level NONE too.
#[derive(Clone, Debug)]
pub(super) struct Oplock {
    pub(super) hold: Hold,
}

impl Oplock {
    pub(super) fn new(level: Level) -> Self {
        Self { hold: Hold::new(level.caches()) }
    }

    pub(super) fn level(&self) -> Level {
        Level::within(self.hold.state())
    }

    /// Has the oplock come down. Returns the notification, if one has to go out.
    pub(super) fn lower(&mut self, to: Level) -> Option<Notice> {
        self.hold.lower(to.caches(), || Epoch::ZERO)
    }

    /// Takes an acknowledgment (MS-SMB2 3.3.5.22.1). Returns the answer, and the next notification if one has to go out.
    /// Only where no break was in flight is everything as before.
    pub(super) fn acknowledge(
        &mut self,
        acknowledged: OplockLevel,
        profile: &Profile,
    ) -> (Result<OplockLevel, Status>, Option<Notice>) {
        let Some((told, needed)) = self.hold.breaking() else {
            return (Err(profile.unexpected_ack.status()), None);
        };
        let level = match (self.level(), acknowledged) {
            (_, OplockLevel::II) => Ok(Level::II),
            // EXCLUSIVE is never told, so a client that comes down to it is down to NONE.
            (_, OplockLevel::None) | (Level::Batch, OplockLevel::Exclusive) => Ok(Level::None),
            (_, OplockLevel::Lease) => Err(Status::INVALID_PARAMETER),
            (_, OplockLevel::Exclusive | OplockLevel::Batch | OplockLevel::Undefined(_)) => {
                Err(Status::INVALID_OPLOCK_PROTOCOL)
            }
        };
        let level = match level {
            // Choice: whoever acknowledges more than it was told has what it was told, as Samba has it.
            Ok(level) => level.min(Level::within(told)),
            Err(status) => {
                self.hold.give_up();
                return (Err(status), None);
            }
        };
        if profile.overtaken_ack == OvertakenAck::Refuse && !needed.contains(level.caches()) {
            self.hold.give_up();
            return (Err(Status::REQUEST_NOT_ACCEPTED), None);
        }
        let notice = self.hold.accept(level.caches(), profile.follow_up, || Epoch::ZERO);
        (Ok(level.on_wire()), notice)
    }
}

impl UnexpectedAck {
    pub(super) const fn status(self) -> Status {
        match self {
            Self::InvalidOplockProtocol => Status::INVALID_OPLOCK_PROTOCOL,
            Self::InvalidDeviceState => Status::INVALID_DEVICE_STATE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [OplockLevel; 5] =
        [OplockLevel::None, OplockLevel::II, OplockLevel::Exclusive, OplockLevel::Batch, OplockLevel::Lease];

    #[test]
    fn every_acknowledgment_of_every_break_has_its_answer() {
        // MS-SMB2 3.3.5.22.1: what was held, what was told, and the answers to NONE, II, EXCLUSIVE, BATCH and LEASE.
        const NONE: Result<OplockLevel, Status> = Ok(OplockLevel::None);
        const II: Result<OplockLevel, Status> = Ok(OplockLevel::II);
        const PROTOCOL: Result<OplockLevel, Status> = Err(Status::INVALID_OPLOCK_PROTOCOL);
        const PARAMETER: Result<OplockLevel, Status> = Err(Status::INVALID_PARAMETER);
        let table = [
            (Level::Exclusive, Level::II, [NONE, II, PROTOCOL, PROTOCOL, PARAMETER]),
            (Level::Exclusive, Level::None, [NONE, NONE, PROTOCOL, PROTOCOL, PARAMETER]),
            (Level::Batch, Level::II, [NONE, II, NONE, PROTOCOL, PARAMETER]),
            (Level::Batch, Level::None, [NONE, NONE, NONE, PROTOCOL, PARAMETER]),
        ];
        for (held, told, answers) in table {
            for (acknowledged, answer) in ALL.into_iter().zip(answers) {
                let mut oplock = Oplock::new(held);
                assert!(oplock.lower(told).unwrap().needs_acknowledgment());
                let (got, notice) = oplock.acknowledge(acknowledged, &Profile::default());
                assert_eq!((got, notice), (answer, None), "{held:?} told {told:?}: {acknowledged:?}");
                assert_eq!(oplock.level().on_wire(), answer.unwrap_or(OplockLevel::None));
                assert_eq!(oplock.hold.breaking(), None);
                assert_eq!(
                    oplock.acknowledge(acknowledged, &Profile::default()).0,
                    PROTOCOL,
                    "once is enough"
                );
            }
        }
    }

    #[test]
    fn level_ii_goes_without_an_acknowledgment() {
        // MS-SMB2 3.2.5.19.1
        let mut oplock = Oplock::new(Level::II);
        assert!(!oplock.lower(Level::None).unwrap().needs_acknowledgment());
        assert_eq!((oplock.level(), oplock.hold.breaking()), (Level::None, None));
        let text = Profile { unexpected_ack: UnexpectedAck::InvalidDeviceState, ..Profile::default() };
        assert_eq!(oplock.acknowledge(OplockLevel::None, &text).0, Err(Status::INVALID_DEVICE_STATE));
    }

    #[test]
    fn an_acknowledgment_of_ii_that_was_overtaken_is_followed_by_none_or_refused() {
        // MS-FSA 2.1.5.19; MS-SMB2 3.3.5.22.1 <441>.
        let mut oplock = Oplock::new(Level::Batch);
        oplock.lower(Level::II);
        assert_eq!(oplock.lower(Level::None), None);
        let mut strict = oplock.clone();
        let (answer, notice) = oplock.acknowledge(OplockLevel::II, &Profile::default());
        assert_eq!(answer, Ok(OplockLevel::II));
        assert!(!notice.unwrap().needs_acknowledgment());
        assert_eq!(oplock.level(), Level::None);
        let refuse = Profile { overtaken_ack: OvertakenAck::Refuse, ..Profile::default() };
        let answer = strict.acknowledge(OplockLevel::II, &refuse);
        assert_eq!(answer, (Err(Status::REQUEST_NOT_ACCEPTED), None));
        assert_eq!(strict.level(), Level::None);
    }
}
