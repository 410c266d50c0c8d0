//! Connections of a client, and what comes on them.

use std::mem;

use leasehold::client::{Event, PreviousSession};
use leasehold::{ConnId, SessionId};

use super::super::World;
use super::super::net::{Ask, Tell};
use super::super::queue::What;

impl World {
    pub(in crate::world) fn connect(&mut self, client: usize) {
        let side = &self.clients[client];
        if side.retired
            || side.conns.len() + side.dialing.len() >= self.plan.channels.max(1)
            || (side.conns.is_empty() && !side.dialing.is_empty())
        {
            return;
        }
        let bind = side.session.filter(|_| !side.conns.is_empty());
        let names_previous = bind.is_some() || !self.random.once_in(8);
        let id = self.dial(client);
        let side = &mut self.clients[client];
        side.dialing.push(id);
        if bind.is_none() {
            side.names_previous = names_previous && (side.session.is_some() || side.memory.is_empty());
        }
        let previous = side.session.filter(|_| bind.is_none() && names_previous);
        self.send_up(id, Ask::Hello { previous, bind });
    }

    pub(in crate::world) fn connect_later(&mut self, client: usize) {
        let most = self.random.pick(&[20, 500, 3_000, 30_000]);
        let life = self.clients[client].life;
        let at = self.now + self.random.below(most);
        if !self.clients[client].retired {
            self.queue.push(at, What::Connect { client, life });
        }
    }

    pub(in crate::world) fn arrive_down(&mut self, id: ConnId) {
        let Some(client) = self.net.conns.get(&id).filter(|conn| conn.at_client).map(|conn| conn.client)
        else {
            return;
        };
        if !self.clients[client].speaks {
            // It lies there until somebody looks.
            let at = self.clients[client].silent_until.max(self.now + 1);
            return self.queue.push(at, What::Down(id));
        }
        let Some(tell) = self.net.conns.get_mut(&id).and_then(|conn| conn.down.pop_front()) else { return };
        self.note(|| format!("  {id:?} client {client} {tell:?}"));
        if let Some((_, about)) = tell.notifies() {
            self.lands(about);
            self.checker.delivered(client, about.file, self.now);
        }
        match tell {
            Tell::Welcome { session } => self.connected(client, id, session),
            Tell::End => self.hang_up_at_client(client, id),
            Tell::Created { open, result } => {
                if let (Some(handle), Ok(reply)) = (self.clients[client].opens.get_mut(&open), result) {
                    (handle.file_id, handle.level) = (Some(reply.file_id), reply.level);
                    let flags = reply.contexts.durable_v2.map(|granted| granted.flags);
                    let persistent = leasehold::wire::DurableFlags::PERSISTENT;
                    handle.persistent = flags.is_some_and(|flags| flags.contains(persistent));
                }
                self.tell_client(client, Event::Created { open, result });
            }
            Tell::Reconnected { open, result } => {
                if let (Some(handle), Ok(reply)) = (self.clients[client].opens.get_mut(&open), result) {
                    handle.file_id = Some(reply.file_id);
                }
                self.tell_client(client, Event::Reconnected { open, result });
            }
            Tell::Closed { open } => {
                self.clients[client].opens.remove(&open);
                self.tell_client(client, Event::Closed { open });
            }
            Tell::Acked { ack, result } => {
                let acks = &mut self.clients[client].acks;
                let about = acks.remove(&ack).map(|(_, file)| file);
                let assured =
                    about.filter(|file| result.is_ok() && acks.values().all(|(_, other)| other != file));
                if let Some(file) = assured {
                    self.checker.assured(client, file);
                }
                self.tell_client(client, Event::AckAnswered { ack, result });
            }
            Tell::LeaseBreak { body, .. } => self.tell_client(client, Event::LeaseBroken { body }),
            Tell::OplockBreak { body, .. } => {
                let session = SessionId::new(0);
                self.tell_client(client, Event::OplockBroken { conn: id, session, body });
            }
            Tell::Done { op, result } => self.done(client, op, result),
        }
    }

    pub(super) fn connected(&mut self, client: usize, conn: ConnId, session: SessionId) {
        let side = &mut self.clients[client];
        side.dialing.retain(|other| *other != conn);
        if !side.conns.is_empty() && side.session != Some(session) {
            return self.leave(conn);
        }
        side.conns.push(conn);
        side.session = Some(session);
        let previous = if side.names_previous { PreviousSession::Ended } else { PreviousSession::Unknown };
        let away = side.opens.values().any(|open| open.away);
        side.unnamed = away && (side.unnamed || previous == PreviousSession::Unknown);
        let terms = self.plan.terms;
        self.tell_client(client, Event::Connected { conn, session, previous, terms });
        if self.clients[client].conns.len() < self.plan.channels {
            self.connect_later(client);
        }
    }

    pub(super) fn hang_up_at_client(&mut self, client: usize, id: ConnId) {
        if let Some(conn) = self.net.conns.get_mut(&id) {
            conn.at_client = false;
        }
        self.tidy(id);
        self.checker.trouble(client, self.now);
        self.gone(client, id);
    }

    /// A client has a connection no more.
    pub(in crate::world) fn gone(&mut self, client: usize, id: ConnId) {
        let side = &mut self.clients[client];
        side.dialing.retain(|other| *other != id);
        if !side.conns.contains(&id) {
            return self.connect_later(client);
        }
        side.conns.retain(|other| *other != id);
        let dialing = if side.conns.is_empty() { mem::take(&mut side.dialing) } else { Vec::new() };
        for conn in dialing {
            // The session that it was to carry is given up.
            self.leave(conn);
        }
        let side = &mut self.clients[client];
        if side.conns.is_empty() {
            // A CLOSE without an answer: nobody asks again, unless the open outlives everything.
            side.opens.retain(|_, open| !open.closing || open.persistent);
        }
        let resent = self.withdraw(client, id);
        self.clients[client].acks.retain(|_, (conn, _)| *conn != id);
        self.tell_client(client, Event::Disconnected { conn: id });
        self.go_on_without(client, resent);
        self.connect_later(client);
    }
}
