//! What an application says to its client, and hears from it.

use leasehold::client::OpenRef;
use leasehold::{Disposition, LeaseState};

use super::Outcome;

/// What an application can ask for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Answered by `Opened`.
    Open { want: LeaseState, disposition: Disposition, promise: Promise },
    /// Answered by `Text`.
    Read(OpenRef),
    /// Answered by `Written`.
    Write(OpenRef, String),
    /// Answered by `Released`, at once.
    Release(OpenRef),
}

/// What an open is to outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    Nothing,
    /// Its connection, and the server too if the share is continuously available.
    Durable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Opened(OpenRef),
    Text(String, Source),
    Written(Source),
    Released,
}

impl Answer {
    pub(crate) fn opened(self) -> Outcome<OpenRef> {
        if let Self::Opened(open) = self { Ok(open) } else { Err(format!("no open, but {self:?}").into()) }
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Cache,
    Server,
}
