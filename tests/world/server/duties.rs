//! What the server machine wants done, the file system and the store.

use leasehold::client::CreateReply;
use leasehold::persist::Change;
use leasehold::server::{Action, BreakId, ChannelSequence, Event, ObjectKind, Opened, ShareFlags, Ticket};
use leasehold::{ConnId, CreateAction, FileId, RequestId, Status};

use super::super::client::{GHOST, LeaseName};
use super::super::net::{Ask, Back, Tell};
use super::super::plan::{Fault, Scene};
use super::super::queue::What;
use super::super::{Weather, World};
use super::requests::refusal;
use super::{OpenInfo, Request, release};

impl World {
    pub(super) fn perform_server(&mut self, action: Action) {
        let life = self.server.life;
        if self.perform_beside(&action) {
            return;
        }
        match action {
            Action::Recall { .. }
            | Action::Revoked { .. }
            | Action::Repeated { .. }
            | Action::Tested { .. } => {
                self.violate("nobody else has, or asks for, anything", || format!("{action:?}"));
            }
            Action::OpenFile { request, file_id } => {
                self.note_open(request, file_id);
                let at = self.now + self.random.below(4);
                self.queue.push(at, What::Opened { life, request, file_id });
            }
            Action::Proceed { request, ticket } => {
                if let Some(pending) = self.server.asked.get_mut(&request) {
                    pending.running = true;
                }
                // A disk is faster than a round trip: a client that comes back finds no write of its own under way.
                let at = self.now + self.random.below(4);
                self.queue.push(at, What::Operated { life, request, ticket });
            }
            Action::Granted { request, grant } => {
                let mut contexts = grant.contexts();
                let of = self.server.asked.get(&request).map(|pending| (pending.client, pending.ask));
                if let Some((client, Ask::Create { wanted, .. } | Ask::Reconnect { wanted, .. })) = of {
                    if matches!(of, Some((_, Ask::Create { .. }))) {
                        self.leap(client, wanted.file);
                    }
                    contexts.lease = self.lease_down(client, wanted.file, contexts.lease);
                }
                let result = Ok(CreateReply::new(grant.file_id, grant.level, contexts));
                self.restart_sequence(request, grant.file_id);
                self.answer(request, |ask| match ask {
                    Ask::Create { open, .. } => Some(Tell::Created { open, result }),
                    Ask::Reconnect { open, .. } => Some(Tell::Reconnected { open, result }),
                    _ => None,
                });
            }
            Action::Refused { request, status } => self.answer(request, |ask| refusal(&ask, status)),
            Action::Closed { request } => {
                self.answer(request, |ask| match ask {
                    Ask::Close { open, .. } => Some(Tell::Closed { open }),
                    _ => None,
                });
            }
            Action::AnswerLeaseAck { request, result } => {
                self.answer(request, |ask| match ask {
                    Ask::LeaseAck { ack, .. } => Some(Tell::Acked { ack, result: result.map(drop) }),
                    _ => None,
                });
            }
            Action::AnswerOplockAck { request, result } => {
                self.answer(request, |ask| match ask {
                    Ask::OplockAck { ack, .. } => Some(Tell::Acked { ack, result: result.map(drop) }),
                    _ => None,
                });
            }
            Action::SendLeaseBreak { id, conn, mut body, .. } => {
                let mut name = LeaseName::of(body.key);
                if !self.means(body.key) {
                    name.incarnation = GHOST;
                }
                body.epoch = self.epoch_down(name.client, name.file, body.epoch);
                self.notify(id, conn, name, Tell::LeaseBreak { id, about: name, body });
            }
            Action::SendOplockBreak { id, conn, body, .. } => {
                let open = self.server.opens.get(&body.file_id.persistent);
                let Some(OpenInfo { client, incarnation, file, .. }) = open.copied() else {
                    return self.violate("a break is about an open", || format!("{body:?}"));
                };
                let about = LeaseName { client, incarnation, file };
                self.notify(id, conn, about, Tell::OplockBreak { id, about, body });
            }
            Action::Persist { seq, change } => {
                // Nothing fails to be removed: a driver tries that again.
                let fails = self.plan.full
                    && self.weather == Weather::Storm
                    && matches!(change, Change::Put(_))
                    && self.random.once_in(3);
                if fails {
                    *self.report.faults.entry(Fault::NotStored).or_default() += 1;
                }
                self.server.disk.append(seq, change, fails);
                let at = self.now + self.random.between(1, self.plan.storing);
                self.queue.push(at, What::Stored { life, up_to: seq });
                self.plan_power_cut();
            }
            Action::CloseFile { file_id, .. } => drop(self.server.opens.remove(&file_id.persistent)),
            Action::Interim { .. } => {}
            Action::Resolve { .. } | Action::Unlink { .. } | Action::Accepted { .. } => {
                self.violate("nobody deletes, and nobody locks", || format!("{action:?}"));
            }
        }
    }

    pub(super) fn notify(&mut self, id: BreakId, conn: ConnId, about: LeaseName, tell: Tell) {
        if self.clients[about.client].incarnation == about.incarnation {
            self.checker.sent(about.client, about.file);
        }
        if self.net.conns.get(&conn).is_some_and(|end| end.at_server) {
            return self.send_down(conn, tell);
        }
        // It is known to be gone.
        let (life, at) = (self.server.life, self.now);
        self.queue.push(at, What::Undelivered { life, id, conn, about });
    }

    pub(super) fn note_open(&mut self, request: RequestId, file_id: FileId) {
        let Some(Request { client, incarnation, ask: Ask::Create { wanted, sequence, .. }, .. }) =
            self.server.asked.get(&request)
        else {
            return;
        };
        let (client, incarnation) = (*client, *incarnation);
        let (file, access, sequence) = (wanted.file, wanted.access, ChannelSequence::new(*sequence));
        let info = OpenInfo { client, incarnation, file, access, sequence };
        self.server.opens.insert(file_id.persistent, info);
    }

    /// A CREATE that gives an open back has its number counted anew: a reconnect, or one that is sent again under another session.
    pub(super) fn restart_sequence(&mut self, request: RequestId, file_id: FileId) {
        let sequence = match self.server.asked.get(&request).map(|request| &request.ask) {
            Some(Ask::Reconnect { sequence, .. } | Ask::Create { sequence, .. }) => sequence,
            _ => return,
        };
        let sequence = ChannelSequence::new(*sequence);
        if let Some(open) = self.server.opens.get_mut(&file_id.persistent) {
            open.sequence = sequence;
        }
    }

    pub(super) fn answer(&mut self, request: RequestId, tell: impl FnOnce(Ask) -> Option<Tell>) {
        let Some(pending) = self.server.asked.remove(&request) else { return };
        release(&mut self.server.opens, pending.outstanding);
        match tell(pending.ask) {
            Some(tell) if pending.answerable => self.send_down(pending.conn, tell),
            Some(_) => {}
            None => self.violate("every request has its kind of answer", || format!("{:?}", pending.ask)),
        }
    }

    pub(super) fn decline(&mut self, id: ConnId, ask: &Ask, status: Status) {
        if let Some(tell) = refusal(ask, status) {
            self.send_down(id, tell);
        }
    }

    pub(in crate::world) fn opened(&mut self, request: RequestId, file_id: FileId) {
        if self.random.once_in(100) {
            self.server.opens.remove(&file_id.persistent);
            return self.tell_server(Event::Opened { file_id, result: Err(Status::ACCESS_DENIED) });
        }
        let mut action = CreateAction::Opened;
        let ask = self.server.asked.get(&request).map(|pending| pending.ask);
        if let Some(Ask::Create { wanted, .. }) =
            ask.filter(|ask| matches!(ask, Ask::Create { wanted, .. } if wanted.disposition.overwrites()))
        {
            action = CreateAction::Overwritten;
            let value = self.fresh_value();
            for page in &mut self.server.disk.files[wanted.file] {
                page.now = value;
                if self.plan.scene == Scene::Persistent {
                    page.stable = value;
                }
            }
        }
        let result = Ok(Opened::new(action, ObjectKind::File, u64::MAX));
        self.tell_server(Event::Opened { file_id, result });
    }

    pub(in crate::world) fn operated(&mut self, request: RequestId, ticket: Ticket) {
        if self.operated_beside(request, ticket) {
            return;
        }
        let mut read = 0;
        // One whose client is gone runs all the same.
        let pending = self.server.asked.get(&request).map(|pending| (pending.conn, pending.ask));
        let through = self.plan.share.contains(ShareFlags::CONTINUOUSLY_AVAILABLE);
        match pending {
            Some((_, Ask::Read { file, page, .. })) => read = self.server.disk.files[file][page].now,
            Some((_, Ask::Write { file, page, value, back, file_id, .. })) => {
                if back != Back::Through {
                    self.check_write_back(file_id, file, page, value);
                }
                let page = &mut self.server.disk.files[file][page];
                page.now = value;
                if through {
                    page.stable = value;
                }
            }
            Some((_, Ask::Sync { file, .. })) => {
                for page in &mut self.server.disk.files[file] {
                    page.stable = page.now;
                }
            }
            _ => {}
        }
        self.tell_server(Event::Done { ticket, result: Ok(()) });
        self.answer(request, |ask| match ask {
            Ask::Read { op, .. } | Ask::Write { op, .. } | Ask::Sync { op, .. } => {
                Some(Tell::Done { op, result: Ok(read) })
            }
            _ => None,
        });
    }

    pub(in crate::world) fn stored(&mut self, up_to: leasehold::server::PersistSeq) {
        for seq in self.server.disk.settle(up_to) {
            self.tell_server(Event::PersistFailed { seq });
        }
        self.tell_server(Event::Persisted { up_to });
    }
}
