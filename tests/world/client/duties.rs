//! What a client machine wants done.

use leasehold::client::{Action, Event, Opening, Served};
use leasehold::{ConnId, CreateOptions, FileId, LeaseState, OplockLevel, RequestId};

use super::super::net::{Ask, Back};
use super::super::{Wanted, World};
use super::{Handle, LeaseName, name_of};

impl World {
    pub(super) fn perform_client(&mut self, client: usize, action: Action) {
        let sequence = self.clients[client].machine.channel_sequence();
        match action {
            Action::SendCreate { request, open, conn, level, contexts, replay } => {
                let side = &mut self.clients[client];
                let Some(wanted) = side.openings.get(&request).copied() else {
                    return self.violate("a CREATE is for a request", || format!("{action:?}"));
                };
                if let Some(lease) = contexts.lease {
                    side.keys[wanted.file] = Some(lease.key());
                }
                side.opens.entry(open).or_insert(Handle {
                    request,
                    wanted,
                    file_id: None,
                    level: OplockLevel::None,
                    used: false,
                    away: false,
                    closing: false,
                    persistent: false,
                });
                self.send_up(conn, Ask::Create { open, wanted, level, contexts, replay, sequence });
            }
            Action::SendReconnect { open, conn, contexts, .. } => {
                let Some(handle) = self.clients[client].opens.get(&open) else { return };
                let wanted = handle.wanted;
                self.send_up(conn, Ask::Reconnect { open, wanted, contexts, sequence });
            }
            Action::RenewSession { conn, .. } => {
                // Everything anew: the contract allows it.
                let others = self.clients[client].conns.clone();
                others.into_iter().chain([conn]).for_each(|conn| self.cut(conn));
            }
            Action::SendClose { open, conn, file_id } => {
                if let Some(handle) = self.clients[client].opens.get_mut(&open) {
                    handle.closing = true;
                    if handle.used {
                        self.violate("what the application uses stays open", || format!("{action:?}"));
                    }
                }
                self.send_up(conn, Ask::Close { open, file_id });
            }
            Action::SendLeaseAck { ack, conn, body, .. } => {
                self.clients[client].acks.insert(ack, (conn, LeaseName::of(body.key).file));
                self.send_up(conn, Ask::LeaseAck { ack, body });
            }
            Action::SendOplockAck { ack, conn, via, body } => {
                let side = &mut self.clients[client];
                if let Some(handle) = side.opens.get(&via) {
                    side.acks.insert(ack, (conn, handle.wanted.file));
                }
                self.send_up(conn, Ask::OplockAck { ack, body });
            }
            Action::Persist { change } => self.clients[client].memory.apply(change),
            Action::Restored { id, open } => self.restored(client, id, open),
            Action::Allow { file, state } => self.allow(client, file.get() as usize, state),
            Action::Flush { file } => self.flush(client, file.get() as usize),
            Action::Purge { file } => self.purge(client, file.get() as usize),
            Action::Ready { request, open, served } => {
                self.answer_to_open(client, request);
                if let Some(handle) = self.clients[client].opens.get_mut(&open) {
                    handle.used = true;
                }
                if served == Served::Kept {
                    self.report.taken_up += 1;
                }
            }
            Action::Failed { request, .. } => {
                self.answer_to_open(client, request);
                self.clients[client].opens.retain(|_, open| open.request != request || open.used);
            }
            Action::Away { open } => {
                if let Some(handle) = self.clients[client].opens.get_mut(&open) {
                    handle.away = true;
                }
            }
            Action::Regained { open } => {
                self.report.reclaimed += 1;
                if let Some(handle) = self.clients[client].opens.get_mut(&open) {
                    handle.away = false;
                }
            }
            Action::Lost { open, reason, status, held } => {
                *self.report.lost.entry(format!("{reason:?}")).or_default() += 1;
                let Some(handle) = self.clients[client].opens.remove(&open) else { return };
                if held.contains(LeaseState::WRITE) {
                    self.clients[client].files[handle.wanted.file].bereft = true;
                }
                self.check_loss(client, &handle, reason, status);
            }
        }
    }

    pub(super) fn answer_to_open(&mut self, client: usize, request: RequestId) {
        match self.clients[client].openings.remove(&request) {
            Some(wanted) if wanted.disposition.overwrites() => self.overwritten(client, wanted.file),
            Some(_) => {}
            None => self.violate("a request is answered once", || format!("{request:?}")),
        }
    }

    /// The application opens a file.
    pub(in crate::world) fn open(&mut self, client: usize, wanted: Wanted) {
        let side = &mut self.clients[client];
        let (request, serial) = (RequestId::new(side.fresh()), side.fresh());
        let name = LeaseName { client, incarnation: side.incarnation, file: wanted.file };
        side.openings.insert(request, wanted);
        let mut opening = Opening::new(request, name_of(wanted.file), name.key(serial))
            .want(wanted.want)
            .access(wanted.access, wanted.sharing)
            .disposition(wanted.disposition, CreateOptions::empty())
            .share(self.plan.share);
        if let Some(guid) = wanted.durable {
            opening = opening.durable(guid);
        }
        self.tell_client(client, Event::Open(opening));
    }

    pub(in crate::world) fn write_back(
        &mut self,
        conn: ConnId,
        op: u64,
        file_id: FileId,
        at: (usize, usize, u64),
        back: Back,
    ) {
        let (file, page, value) = at;
        let client = self.net.conns.get(&conn).map_or(0, |conn| conn.client);
        let sequence = self.clients[client].machine.channel_sequence();
        self.send_up(conn, Ask::Write { op, file_id, file, page, value, back, sequence });
    }
}
