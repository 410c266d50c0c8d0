//! What comes from clients: connections, sessions and requests.

use std::mem;

use leasehold::client::Replay;
use leasehold::server::{
    Asked, BreakId, Create, Durability, Effect, Event, Origin, Reconnect, SessionEnd, Share, ShareKind,
};
use leasehold::wire::DurableHandleRequestV2;
use leasehold::{
    Actor, ConnId, CreateOptions, FileId, Intent, LeaseKey, RequestId, SessionId, Status, TreeId,
};

use super::super::World;
use super::super::client::LeaseName;
use super::super::net::{Ask, Back, Tell};
use super::super::queue::What;
use super::{Request, ServerSide, USER, guid_of, key_of, release};

impl World {
    pub(in crate::world) fn arrive_up(&mut self, id: ConnId) {
        let Some(ask) = self.net.conns.get_mut(&id).and_then(|conn| conn.up.pop_front()) else { return };
        self.note(|| format!("  {id:?} {ask:?}"));
        if self.server.machine.is_none() {
            // Nobody listens.
            return self.reset(id);
        }
        match ask {
            Ask::Hello { previous, bind } => self.welcome(id, previous, bind),
            Ask::End => self.hang_up_at_server(id, false),
            _ => self.request(id, ask),
        }
    }

    pub(super) fn reset(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.at_server = false;
        conn.up.clear();
        self.break_off(id, 0, 0);
        self.tidy(id);
    }

    pub(super) fn welcome(&mut self, id: ConnId, previous: Option<SessionId>, bind: Option<SessionId>) {
        let Some(client) = self.net.conns.get(&id).map(|conn| conn.client) else { return };
        let known = |world: &Self, session| world.server.sessions.get(&session) == Some(&client);
        if bind.is_some_and(|session| !known(self, session)) {
            return self.reset(id);
        }
        self.tell_server(Event::Connected { conn: id, client: guid_of(client), terms: self.plan.terms });
        if let Some(session) = previous.filter(|session| known(self, *session)) {
            self.server.sessions.remove(&session);
            self.server.ended.push(client);
            self.abandon(|conn| conn.session == Some(session));
            self.tell_server(Event::SessionEnded { session, end: SessionEnd::Replaced });
        }
        self.server.made += 1;
        let session = bind.unwrap_or(SessionId::new(self.server.made));
        self.server.sessions.insert(session, client);
        if let Some(conn) = self.net.conns.get_mut(&id) {
            (conn.session, conn.known) = (Some(session), true);
        }
        self.tell_server(Event::SessionBound { conn: id, session });
        self.send_down(id, Tell::Welcome { session });
    }

    /// The server hears at once of all connections that are broken.
    pub(in crate::world) fn notice(&mut self) {
        let broken = self.net.conns.iter().filter(|(_, conn)| conn.cut && conn.at_server);
        let broken: Vec<_> = broken.map(|(id, _)| *id).collect();
        for id in broken {
            if let Some(conn) = self.net.conns.get_mut(&id) {
                conn.up.clear();
            }
            self.hang_up_at_server(id, true);
        }
    }

    /// `promptly`: whether all that did not arrive is reported at once.
    pub(super) fn hang_up_at_server(&mut self, id: ConnId, promptly: bool) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.at_server = false;
        let (client, session, known) = (conn.client, conn.session.take(), conn.known);
        let undelivered = mem::take(&mut conn.undelivered);
        self.checker.trouble(client, self.now);
        if !known {
            return self.tidy(id);
        }
        let left = self.net.conns.values().any(|conn| conn.at_server && conn.session == session);
        if let Some(session) = session.filter(|_| !left) {
            self.server.sessions.remove(&session);
            self.server.ended.push(client);
        }
        // What did not arrive is reported before the end of the connection, or behind it.
        let life = self.server.life;
        let (before, behind): (Vec<_>, Vec<_>) =
            undelivered.into_iter().partition(|_| promptly || self.random.once_in(2));
        for (break_id, about) in before {
            self.undelivered(break_id, id);
            self.lands(about);
        }
        self.abandon_conn(id);
        self.tell_server(Event::Disconnected { conn: id });
        for (break_id, about) in behind {
            let (at, conn) = (self.now, id);
            self.queue.push(at, What::Undelivered { life, id: break_id, conn, about });
        }
        self.tidy(id);
    }

    /// Whether a lease key means something to its client.
    pub(in crate::world) fn means(&self, key: LeaseKey) -> bool {
        let name = LeaseName::of(key);
        let side = &self.clients[name.client];
        side.incarnation == name.incarnation && side.keys[name.file] == Some(key)
    }

    /// A break notification is on its way no more.
    pub(in crate::world) fn lands(&mut self, about: LeaseName) {
        if self.clients[about.client].incarnation == about.incarnation {
            self.checker.landed(about.client, about.file);
        }
    }

    pub(super) fn never_delivered(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        for (_, about) in mem::take(&mut conn.undelivered) {
            self.lands(about);
        }
    }

    pub(in crate::world) fn undelivered(&mut self, id: BreakId, conn: ConnId) {
        self.tell_server(Event::Undelivered { id, conn });
    }

    pub(super) fn abandon(&mut self, which: impl Fn(&super::super::net::Conn) -> bool) {
        let conns: Vec<_> =
            self.net.conns.iter().filter(|(_, conn)| which(conn)).map(|(id, _)| *id).collect();
        for id in conns {
            self.abandon_conn(id);
            if let Some(conn) = self.net.conns.get_mut(&id) {
                conn.session = None;
            }
        }
    }

    /// Nobody waits for the answers of a connection. Requests that have not begun count as answered (MS-SMB2 3.3.5.2.10).
    pub(super) fn abandon_conn(&mut self, id: ConnId) {
        let ServerSide { asked, opens, .. } = &mut self.server;
        for request in asked.values_mut().filter(|request| request.conn == id) {
            request.answerable = false;
            if !request.running {
                release(opens, request.outstanding.take());
            }
        }
    }

    pub(super) fn request(&mut self, id: ConnId, mut ask: Ask) {
        let Some(conn) = self.net.conns.get(&id) else { return };
        let (client, incarnation) = (conn.client, conn.incarnation);
        let Some(session) = conn.session else {
            let status = Status::USER_SESSION_DELETED;
            return self.decline(id, &ask, status);
        };
        let request = self.server.next_request();
        let origin = Origin::new(id, session, TreeId::new(1));
        if let Ask::Create { wanted, contexts, .. } | Ask::Reconnect { wanted, contexts, .. } = &mut ask {
            contexts.lease = self.lease_up(client, wanted.file, contexts.lease);
        }
        let mut outstanding = None;
        let event = match ask {
            Ask::Hello { .. } | Ask::End => return,
            Ask::Create { .. } => self.create(request, origin, &ask),
            Ask::Reconnect { .. } => self.reconnect(request, origin, &ask),
            Ask::Close { file_id, .. } => Event::Close { request, session, file_id },
            Ask::LeaseAck { body, .. } => Event::LeaseAck { request, conn: id, ack: body },
            Ask::OplockAck { body, .. } => Event::OplockAck { request, session, ack: body },
            Ask::Read { file_id, file, page, sequence, .. } => {
                if let Some(open) = self.server.opens.get_mut(&file_id.persistent) {
                    let admitted = open.sequence.admit(sequence, false, Effect::Looks);
                    outstanding = admitted.ok().map(|admitted| (file_id.persistent, admitted));
                }
                operate(request, origin, file_id, file, Intent::Read { offset: page as u64 * 8, len: 8 })
            }
            Ask::Sync { file_id, file, .. } => operate(request, origin, file_id, file, Intent::Flush),
            Ask::Write { file_id, file, page, back, sequence, .. } => {
                if let Some(open) = self.server.opens.get_mut(&file_id.persistent) {
                    let replay = back == Back::Again;
                    match open.sequence.admit(sequence, replay, Effect::Changes) {
                        Ok(admitted) => outstanding = Some((file_id.persistent, admitted)),
                        Err(status) => return self.decline(id, &ask, status),
                    }
                }
                operate(request, origin, file_id, file, Intent::Write { offset: page as u64 * 8, len: 8 })
            }
        };
        let pending =
            Request { conn: id, client, incarnation, ask, answerable: true, outstanding, running: false };
        self.server.asked.insert(request, pending);
        self.tell_server(event);
    }

    pub(super) fn share(&self) -> Share {
        Share::new(ShareKind::Disk, self.plan.share)
    }

    pub(super) fn create(&self, request: RequestId, origin: Origin, ask: &Ask) -> Event {
        let Ask::Create { wanted, level, contexts, replay, sequence, .. } = ask else { unreachable!() };
        let durability = match Asked::of(&contexts.durable, self.plan.terms.dialect) {
            Ok(Asked::Durable) => Durability::V1,
            Ok(Asked::DurableV2(DurableHandleRequestV2 { timeout, flags, create_guid })) => {
                let persistent = flags.contains(leasehold::wire::DurableFlags::PERSISTENT);
                Durability::V2 { timeout, create_guid, persistent }
            }
            _ => Durability::None,
        };
        let mut create = Create::new(request, origin, key_of(wanted.file))
            .access(wanted.access, wanted.sharing)
            .disposition(wanted.disposition, CreateOptions::empty())
            .caching(*level, contexts.lease)
            .durable(USER, durability)
            .place(self.share(), None);
        create.channel_sequence = *sequence;
        Event::Create(if *replay == Replay::Again { create.replayed() } else { create })
    }

    pub(super) fn reconnect(&self, request: RequestId, origin: Origin, ask: &Ask) -> Event {
        let Ask::Reconnect { wanted, contexts, .. } = ask else { unreachable!() };
        let durable = &contexts.durable;
        let v1 = durable.dhnc.map(|dhnc| Reconnect::new(request, origin, USER, dhnc.file_id.persistent));
        let v2 = durable.dh2c.map(|dh2c| {
            Reconnect::new(request, origin, USER, dh2c.file_id.persistent)
                .with_guid(dh2c.create_guid)
                .flags(dh2c.flags, self.share())
        });
        let reconnect = v2.or(v1).unwrap_or(Reconnect::new(request, origin, USER, 0));
        Event::Reconnect(match contexts.lease {
            Some(lease) => reconnect.lease(lease, Some(key_of(wanted.file))),
            None => reconnect,
        })
    }
}

fn operate(request: RequestId, origin: Origin, file_id: FileId, file: usize, intent: Intent) -> Event {
    let (actor, file) = (Actor::Open(file_id), key_of(file));
    Event::Operate { request, origin: Some(origin), file, actor, intent }
}

pub(super) fn refusal(ask: &Ask, status: Status) -> Option<Tell> {
    match *ask {
        Ask::Create { open, .. } => Some(Tell::Created { open, result: Err(status) }),
        Ask::Reconnect { open, .. } => Some(Tell::Reconnected { open, result: Err(status) }),
        Ask::Close { open, .. } => Some(Tell::Closed { open }),
        Ask::LeaseAck { ack, .. } | Ask::OplockAck { ack, .. } => {
            Some(Tell::Acked { ack, result: Err(status) })
        }
        Ask::Read { op, .. } | Ask::Write { op, .. } | Ask::Sync { op, .. } => {
            Some(Tell::Done { op, result: Err(status) })
        }
        Ask::Hello { .. } | Ask::End => None,
    }
}
