//! What the names of a story stand for: the ids that the machine gave out, under the requests that led to them.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{BreakId, Ticket};
use leasehold::{ConnId, FileId, FileKey, LeaseKey, RequestId};

use super::values::{integer, key, request};

/// Whose notification.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    Lease(LeaseKey),
    Oplock(FileId),
}

/// An open, by the request that made it.
struct Open {
    /// The file that the CREATE named.
    file: FileKey,
    /// From `open`, until when there is none.
    id: Option<FileId>,
}

#[derive(Default)]
pub(crate) struct Names {
    requests: BTreeSet<RequestId>,
    opens: BTreeMap<RequestId, Open>,
    running: BTreeMap<RequestId, Ticket>,
    /// The last notification of each holder on each connection.
    sent: BTreeMap<(ConnId, Holder), BreakId>,
}

impl Names {
    /// A request that is new to the story, or one that was told to look its name up again.
    pub(crate) fn fresh(&mut self, word: &str) -> Result<RequestId, String> {
        let name = request(word)?;
        if self.requests.insert(name) { Ok(name) } else { Err(format!("there is a request {word} already")) }
    }

    /// The request will come again.
    pub(crate) fn again(&mut self, request: RequestId) {
        self.requests.remove(&request);
    }

    pub(crate) fn asked(&mut self, request: RequestId, file: FileKey) {
        self.opens.insert(request, Open { file, id: None });
    }

    pub(crate) fn opening(&mut self, request: RequestId, id: FileId) {
        if let Some(open) = self.opens.get_mut(&request) {
            open.id = Some(id);
        }
    }

    /// The open was given back to its client: the same one, by another volatile half.
    pub(crate) fn given_back(&mut self, id: FileId) {
        for open in self.opens.values_mut() {
            if open.id.is_some_and(|known| known.persistent == id.persistent) {
                open.id = Some(id);
            }
        }
    }

    pub(crate) fn proceeds(&mut self, request: RequestId, ticket: Ticket) {
        self.running.insert(request, ticket);
    }

    pub(crate) fn sends(&mut self, conn: ConnId, holder: Holder, id: BreakId) {
        self.sent.insert((conn, holder), id);
    }

    /// `r1` is the open that this CREATE made; `0x1:0x2` are the two halves of a FileId, whether it is one or not.
    pub(crate) fn open(&self, word: &str) -> Result<FileId, String> {
        if let Some((persistent, volatile)) = word.split_once(':') {
            return Ok(FileId::new(integer(persistent)?, integer(volatile)?));
        }
        let open = self.opens.get(&request(word)?).and_then(|open| open.id);
        open.ok_or_else(|| format!("{word} has opened nothing"))
    }

    pub(crate) fn file(&self, open: &str) -> Option<FileKey> {
        Some(self.opens.get(&request(open).ok()?)?.file)
    }

    pub(crate) fn ticket(&self, word: &str) -> Result<Ticket, String> {
        let ticket = self.running.get(&request(word)?).copied();
        ticket.ok_or_else(|| format!("{word} was not told to proceed"))
    }

    /// `K1` or `r1`, as the notification had it.
    pub(crate) fn notification(&self, conn: ConnId, word: &str) -> Result<BreakId, String> {
        let holder =
            if word.starts_with('r') { Holder::Oplock(self.open(word)?) } else { Holder::Lease(key(word)?) };
        let id = self.sent.get(&(conn, holder)).copied();
        id.ok_or_else(|| format!("no break of {word} was sent on c{}", conn.get()))
    }

    /// The open with that FileId.Persistent.
    pub(crate) fn lasting(&self, persistent: u64) -> String {
        let known = |open: &Open| open.id.is_some_and(|id| id.persistent == persistent);
        match self.opens.iter().find(|(_, open)| known(open)) {
            Some((request, _)) => format!("r{}", request.get()),
            None => format!("{persistent:#x}"),
        }
    }

    pub(crate) fn open_name(&self, id: FileId) -> String {
        let found = self.opens.iter().find(|(_, open)| open.id == Some(id));
        match found {
            Some((request, _)) => format!("r{}", request.get()),
            None => format!("{:#x}:{:#x}", id.persistent, id.volatile),
        }
    }
}
