//! CreateGuids in use, and where the opens are that have them (MS-SMB2 3.3.5.9, 3.3.5.9.10, 3.3.5.9.12).

use alloc::vec::Vec;

use super::{ClientSlot, Out, Registry};
use crate::server::event::{Create, Reconnect};
use crate::server::scale::{Route, ShardInput};
use crate::status::Status;
use crate::store::table::Keyed;
use crate::types::{ClientGuid, CreateGuid};

/// A CreateGuid in use, and where the file is (MS-SMB2 3.3.5.9.10).
#[derive(Clone, Debug)]
pub(super) struct Guid {
    pub(super) name: (ClientSlot, CreateGuid),
    pub(super) route: Route,
}

/// The persistent opens that can be found by a CreateGuid alone, each with its client (MS-SMB2 3.3.5.9, 3.3.5.9.12).
#[derive(Clone, Debug)]
pub(super) struct Promised {
    guid: CreateGuid,
    /// One, but for clients that do not keep theirs apart.
    opens: Vec<(ClientGuid, u64)>,
}

impl Registry {
    /// A CREATE that came too late to be a replay: an ordinary one, if its session is there still.
    pub(super) fn anew(&mut self, create: Create, out: Out<'_>) {
        let (request, conn) = (create.request, create.origin.conn);
        let gone = self.create(create, out).is_err();
        if gone && self.conns.find(conn).is_some() {
            self.refuse(request, Status::USER_SESSION_DELETED, out);
        }
    }

    pub(super) fn free_guid(&mut self, (client, guid): (ClientGuid, CreateGuid)) {
        let Some(client) = self.clients.find(client) else { return };
        if self.guids.find((client, guid)).and_then(|slot| self.guids.remove(slot)).is_none() {
            return;
        }
        if let Some(record) = self.clients.get_mut(client) {
            record.guids = record.guids.saturating_sub(1);
        }
        self.reap(client);
    }

    /// FileId.Persistent of the open that is wanted: the client's own before that of another.
    pub(super) fn promised(&self, guid: CreateGuid, client: ClientGuid) -> Option<u64> {
        let opens = &self.promises.find(guid).and_then(|slot| self.promises.get(slot))?.opens;
        let own = opens.iter().find(|(of, _)| *of == client);
        own.or_else(|| opens.first()).map(|(_, persistent)| *persistent)
    }

    pub(super) fn promise(&mut self, guid: CreateGuid, client: ClientGuid, persistent: u64) {
        let known = self.promises.find(guid);
        let slot = known.or_else(|| self.promises.insert(Promised { guid, opens: Vec::new() }).ok());
        match slot.and_then(|slot| self.promises.get_mut(slot)) {
            Some(promised) => promised.opens.push((client, persistent)),
            None => self.anomaly("more promises than opens"),
        }
    }

    pub(super) fn break_promise(&mut self, guid: CreateGuid, persistent: u64) {
        let Some(slot) = self.promises.find(guid) else { return };
        let Some(promised) = self.promises.get_mut(slot) else { return };
        promised.opens.retain(|(_, other)| *other != persistent);
        if promised.opens.is_empty() {
            self.promises.remove(slot);
        }
    }

    /// MS-SMB2 3.3.5.9.12: a persistent open is found by its CreateGuid where its FileId leads nowhere.
    pub(super) fn find_by_guid(&mut self, reconnect: Reconnect, client: ClientGuid, out: Out<'_>) {
        let persistent = reconnect.create_guid.and_then(|guid| self.promised(guid, client));
        match persistent.filter(|persistent| *persistent != reconnect.persistent) {
            Some(persistent) => {
                let reconnect = Reconnect { persistent, ..reconnect };
                let route = Route::of_persistent(persistent);
                self.forward(out, route, ShardInput::Reconnect { reconnect, client, continuous: false });
            }
            None => self.refuse(reconnect.request, Status::OBJECT_NAME_NOT_FOUND, out),
        }
    }
}

impl Keyed for Guid {
    type Key = (ClientSlot, CreateGuid);

    fn key(&self) -> Self::Key {
        self.name
    }
}

impl Keyed for Promised {
    type Key = CreateGuid;

    fn key(&self) -> CreateGuid {
        self.guid
    }
}
