//! What lets an open outlive its connection (MS-SMB2 3.2.4.3.5, 3.2.5.7).

use core::time::Duration;

use super::asking::Ask;
use super::level::Level;
use super::open::Under;
use super::opening::Opening;
use crate::persist::Promise;
use crate::server::{Capabilities, ShareFlags, Terms};
use crate::state::{Dialect, LeaseState};
use crate::types::{CreateGuid, FileId};
use crate::wire::{
    DurableContexts, DurableFlags, DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest,
    DurableHandleRequestV2, ResponseContexts,
};

/// The promise that an open has; of one that is being made, the promise that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    None,
    /// DHnQ. Its time is not on the wire.
    V1 {
        timeout: Duration,
    },
    /// DH2Q.
    V2 {
        guid: CreateGuid,
        timeout: Duration,
    },
    /// DH2Q with SMB2_DHANDLE_FLAG_PERSISTENT.
    Persistent {
        guid: CreateGuid,
        timeout: Duration,
    },
    /// FSCTL_LMR_REQUEST_RESILIENCY.
    Resilient {
        guid: Option<CreateGuid>,
        timeout: Duration,
    },
}

/// What to ask for, by dialect, capability and share (MS-SMB2 3.2.4.3.5).
///
/// | | |
/// |---|---|
/// | 2.0.2 | DHnQ with BATCH |
/// | 2.1 | DHnQ with a lease that has H, or BATCH |
/// | 3.x | DH2Q with the same |
/// | 3.x, a CA share, PERSISTENT_HANDLES | DH2Q with the flag, whatever is cached; directories too |
pub(super) fn wish(terms: Terms, opening: &Opening, ask: Ask) -> Durability {
    let Some(guid) = opening.durable else { return Durability::None };
    let timeout = Duration::ZERO;
    let modern = terms.dialect >= Dialect::Smb300;
    let available = opening.share.contains(ShareFlags::CONTINUOUSLY_AVAILABLE);
    if modern && available && terms.capabilities.contains(Capabilities::PERSISTENT_HANDLES) {
        return Durability::Persistent { guid, timeout };
    }
    let keeps = match ask.under {
        Under::Lease => ask.state.contains(LeaseState::HANDLE),
        Under::Oplock(level) => level == Level::Batch,
    };
    match (opening.names_directory() || !keeps, modern) {
        (true, _) => Durability::None,
        (false, true) => Durability::V2 { guid, timeout },
        (false, false) => Durability::V1 { timeout },
    }
}

impl Durability {
    /// What a record says of it, and the time in which the server keeps the open; `None` if it does not.
    pub(super) fn to_record(self) -> Option<(Promise, Duration)> {
        match self {
            Self::None => None,
            Self::V1 { timeout } => Some((Promise::V1, timeout)),
            Self::V2 { guid, timeout } => Some((Promise::V2(guid), timeout)),
            Self::Persistent { guid, timeout } => Some((Promise::Persistent(guid), timeout)),
            Self::Resilient { guid, timeout } => Some((Promise::Resilient(guid), timeout)),
        }
    }

    pub(super) fn from_record(promise: Promise, timeout: Duration) -> Self {
        match promise {
            Promise::V1 => Self::V1 { timeout },
            Promise::V2(guid) => Self::V2 { guid, timeout },
            Promise::Persistent(guid) => Self::Persistent { guid, timeout },
            Promise::Resilient(guid) => Self::Resilient { guid, timeout },
        }
    }

    /// What a CREATE response grants of what was asked for. `unsaid` is the time of a promise that has none on the wire.
    pub(super) fn granted(self, contexts: &ResponseContexts, unsaid: Duration) -> Self {
        let time = |timeout| if timeout == 0 { unsaid } else { Duration::from_millis(u64::from(timeout)) };
        match (self, contexts.durable, contexts.durable_v2) {
            (Self::V1 { .. }, Some(_), _) => Self::V1 { timeout: unsaid },
            (Self::Persistent { guid, .. }, _, Some(granted))
                if granted.flags.contains(DurableFlags::PERSISTENT) =>
            {
                Self::Persistent { guid, timeout: time(granted.timeout) }
            }
            (Self::V2 { guid, .. } | Self::Persistent { guid, .. }, _, Some(granted)) => {
                Self::V2 { guid, timeout: time(granted.timeout) }
            }
            (
                Self::None
                | Self::V1 { .. }
                | Self::V2 { .. }
                | Self::Persistent { .. }
                | Self::Resilient { .. },
                ..,
            ) => Self::None,
        }
    }

    /// The contexts that ask for it.
    pub(super) fn request(self) -> DurableContexts {
        let mut contexts = DurableContexts::default();
        let v2 = |create_guid, flags| Some(DurableHandleRequestV2 { timeout: 0, flags, create_guid });
        match self {
            Self::None | Self::Resilient { .. } => {}
            Self::V1 { .. } => contexts.dhnq = Some(DurableHandleRequest),
            Self::V2 { guid, .. } => contexts.dh2q = v2(guid, DurableFlags::empty()),
            Self::Persistent { guid, .. } => contexts.dh2q = v2(guid, DurableFlags::PERSISTENT),
        }
        contexts
    }

    /// The contexts with which the open is asked for again (MS-SMB2 3.2.4.4): DH2C where there is a CreateGuid, else DHnC.
    pub(super) fn reconnect(self, file_id: FileId) -> DurableContexts {
        let mut contexts = DurableContexts::default();
        let v2 = |create_guid, flags| Some(DurableHandleReconnectV2 { file_id, create_guid, flags });
        match self {
            Self::None => {}
            Self::V1 { .. } | Self::Resilient { guid: None, .. } => {
                contexts.dhnc = Some(DurableHandleReconnect { file_id });
            }
            Self::V2 { guid, .. } | Self::Resilient { guid: Some(guid), .. } => {
                contexts.dh2c = v2(guid, DurableFlags::empty());
            }
            Self::Persistent { guid, .. } => contexts.dh2c = v2(guid, DurableFlags::PERSISTENT),
        }
        contexts
    }

    /// After FSCTL_LMR_REQUEST_RESILIENCY. A persistent open stays one.
    pub(super) fn resilient(self, timeout: Duration) -> Self {
        match self {
            Self::None | Self::V1 { .. } => Self::Resilient { guid: None, timeout },
            Self::V2 { guid, .. } => Self::Resilient { guid: Some(guid), timeout },
            Self::Resilient { guid, .. } => Self::Resilient { guid, timeout },
            Self::Persistent { .. } => self,
        }
    }

    /// After a break that has left this (MS-SMB2 3.3.5.9.6, 3.3.5.9.10 <342>): a server keeps a durable open only with BATCH or H.
    pub(super) fn beside(self, state: LeaseState) -> Self {
        match self {
            Self::V1 { .. } | Self::V2 { .. } if !state.contains(LeaseState::HANDLE) => Self::None,
            Self::None
            | Self::V1 { .. }
            | Self::V2 { .. }
            | Self::Persistent { .. }
            | Self::Resilient { .. } => self,
        }
    }

    /// Whether a server that has restarted still has the open.
    pub(super) fn outlives_the_server(self) -> bool {
        matches!(self, Self::Persistent { .. })
    }

    /// Whether it is tried until its time is over, however often that is (MS-SMB2 <180>).
    pub(super) fn insists(self) -> bool {
        matches!(self, Self::Persistent { .. } | Self::Resilient { .. })
    }

    /// Whether a CREATE that asks for this may be sent again with the REPLAY flag (MS-SMB2 <193>): it has a CreateGuid.
    pub(super) fn replayable(self) -> bool {
        matches!(self, Self::V2 { .. } | Self::Persistent { .. })
    }

    /// How long the server keeps the open without a connection; `None` if it does not.
    pub(super) fn timeout(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::V1 { timeout }
            | Self::V2 { timeout, .. }
            | Self::Persistent { timeout, .. }
            | Self::Resilient { timeout, .. } => Some(timeout),
        }
    }
}
