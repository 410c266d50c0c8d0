//! Where deployed servers differ from the text or from each other: one field each.

use super::action::Protection;

/// The choices that a server has. The defaults are those of current Windows, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// What epoch a follow-up notification has.
    pub follow_up_epoch: FollowUpEpoch,
    /// How a lease comes down that has to go further than it was told.
    pub follow_up: FollowUp,
    /// What makes two opens hold one lease.
    pub lease_identity: LeaseIdentity,
    /// Which connection carries a notification.
    pub channel_choice: ChannelChoice,
    /// The answer to an oplock acknowledgment that nothing asked for.
    pub unexpected_ack: UnexpectedAck,
    /// The answer to an oplock acknowledgment of what is not enough any more.
    pub overtaken_ack: OvertakenAck,
    /// Which byte-range locks disturb the caches of others.
    pub lock_reach: LockReach,
    /// How oplock break notifications travel. In clear text by default: clients were seen to drop the connection on an
    /// encrypted one.
    pub oplock_break_protection: Protection,
    /// How lease break notifications travel.
    pub lease_break_protection: Protection,
    /// Whether a hard link takes H from the leases of others: MS-FSA 2.1.5.15.6 says so, Samba does not.
    pub link_breaks_handles: bool,
    /// Whether setting the security descriptor takes H from the leases of others: MS-FSA 2.1.5.17 says so, Samba does not.
    pub security_breaks_handles: bool,
    /// Whether a lease context of version 2 counts on dialect 2.1: not by the text, but on Windows 8 to 2012 R2 <345>
    /// (MS-SMB2 3.3.5.9.11).
    pub lease_v2_on_smb210: bool,
    /// The answer to a CREATE that is sent again for a persistent open, and that nothing is known of.
    pub unknown_replay: UnknownReplay,
    /// What becomes of an open that meets a persistent one without a connection.
    pub absent_holder: AbsentHolder,
    /// The answer to a CREATE that is sent again while the first still waits.
    pub pending_replay: PendingReplay,
    /// See [`DenyModes`].
    pub deny_modes: DenyModes,
    /// See [`OpensInGrace`].
    pub opens_in_grace: OpensInGrace,
}

/// Whether SMB opens files while other protocols reclaim what they had ([`Config::reclaim_grace`](super::Config::reclaim_grace)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "it does or it does not")]
pub enum OpensInGrace {
    /// Attributes alone; all else is STATUS_FILE_NOT_AVAILABLE, as for a file that a persistent handle will come back to (MS-SMB2
    /// 3.3.5.9): else an open that denies something would take from a client of NFSv4 what it had (RFC 8881 8.4.2.1).
    #[default]
    Refuse,
    /// As ever: for servers whose clients of NFSv4 deny nothing, or whose clients of SMB must not wait for that long.
    LetIn,
}

/// The answer to a CREATE with a CreateGuid that another one has which is not answered yet (MS-SMB2 3.3.5.9, 3.3.5.9.10). The text
/// has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "two are known")]
pub enum PendingReplay {
    /// STATUS_FILE_NOT_AVAILABLE, so that the client tries once more: Samba.
    #[default]
    TryAgain,
    /// While share modes hold the first up, the second is carried out beside it, without a lease and not durable; behind them it is
    /// STATUS_ACCESS_DENIED: Windows, as observed.
    Unnoticed,
}

/// Whether those who open nothing, NFSv3 and processes, meet the share modes of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "three are known")]
pub enum DenyModes {
    /// Their reads and writes do; names go and change whoever denies it, as POSIX has it: ONTAP on volumes of the UNIX style.
    #[default]
    Data,
    /// Removing and renaming meet the lack of FILE_SHARE_DELETE too: ONTAP on volumes of the NTFS style.
    DataAndNames,
    /// They do not: Samba, ksmbd.
    Nothing,
}

/// The answer to a CREATE with SMB2_FLAGS_REPLAY_OPERATION and SMB2_DHANDLE_FLAG_PERSISTENT whose CreateGuid is unknown
/// (MS-SMB2 3.3.5.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "two are known")]
pub enum UnknownReplay {
    /// It is carried out, for the first time: the text.
    #[default]
    CreateAnew,
    /// STATUS_FILE_NOT_AVAILABLE: Samba.
    Refuse,
}

/// What becomes of an open that meets a persistent one without a connection (MS-SMB2 3.3.5.9 <301>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "two are known")]
pub enum AbsentHolder {
    /// Whoever has H or BATCH is waited for where that is needed, all others are not: current Windows.
    #[default]
    WaitForHandles,
    /// STATUS_FILE_NOT_AVAILABLE, whatever is held: the text.
    Refuse,
}

/// Whether a follow-up notification counts as a change of its own (MS-SMB2 3.3.4.7 <248>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "it does or it does not")]
pub enum FollowUpEpoch {
    /// Its epoch is the next: Windows with the updates of 2024, and the text. A client that follows the text acknowledges
    /// the old state otherwise.
    #[default]
    Next,
    /// Its epoch is that of the first notification: older Windows, Samba.
    Same,
}

/// How a lease that has acknowledged one step comes down to NONE, if that is needed by now (MS-SMB2 3.3.4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "in steps or not")]
pub enum FollowUp {
    /// First to R, with an acknowledgment, then without one: Windows, Samba.
    #[default]
    ThroughRead,
    /// At once.
    Straight,
}

/// What makes two opens of a file hold one lease (MS-SMB2 3.3.1.12 <211>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "with the client or without it")]
pub enum LeaseIdentity {
    /// The client and the key: the text, Samba. Two clients never meet in a key.
    #[default]
    ClientAndKey,
    /// The key alone decides who breaks whom: the object store of Windows 8 and later. Each client keeps a lease of its own,
    /// which is not broken by the other's.
    KeyAlone,
}

/// Which connection carries a notification (MS-SMB2 3.3.4.6, 3.3.4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "one or all")]
pub enum ChannelChoice {
    /// The first that arrived, then the next, until one carries it: the text.
    #[default]
    FirstThenOthers,
    /// The one that arrived last, and no other: Windows, as observed.
    LatestOnly,
}

/// The answer to an oplock acknowledgment while no break is in flight (MS-SMB2 3.3.5.22.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "two are known")]
pub enum UnexpectedAck {
    /// STATUS_INVALID_OPLOCK_PROTOCOL: Windows, Samba, older texts.
    #[default]
    InvalidOplockProtocol,
    /// STATUS_INVALID_DEVICE_STATE: the text.
    InvalidDeviceState,
}

/// The answer to an oplock acknowledgment of II when NONE is needed by now (MS-SMB2 3.3.5.22.1 <441>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "it is accepted or not")]
pub enum OvertakenAck {
    /// Success, and a notification to NONE behind it: MS-FSA 2.1.5.19, Samba.
    #[default]
    Accept,
    /// STATUS_REQUEST_NOT_ACCEPTED, and the level is NONE: Windows.
    Refuse,
}

/// Which byte-range locks take R and W from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "all or some")]
pub enum LockReach {
    /// All of them: Samba, and the older texts. A lock in an empty file is one of octets that may be written yet.
    #[default]
    Everywhere,
    /// Those that begin below the allocation size (MS-FSA 2.1.5.8).
    Allocation,
}
