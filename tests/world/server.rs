//! The server machine with its driver: sessions, files, a store that is durable a little later.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use leasehold::client::{CreateReply, Replay};
use leasehold::server::{
    Action, Asked, BreakId, ChannelSequence, Config, Create, Durability, Effect, Event, ObjectKind, Opened,
    Origin, Outstanding, Reconnect, RouteSeed, Server, SessionEnd, Share, ShareFlags, ShareKind, Ticket,
};
use leasehold::wire::DurableHandleRequestV2;
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, CreateOptions, FileId, FileKey, HashKey, Instant,
    Intent, LeaseKey, LeaseState, Machine, RequestId, SessionId, Stats, Status, TreeId, UserId,
};

use super::World;
use super::client::{GHOST, LeaseName};
use super::disk::Disk;
use super::net::{Ask, Back, Tell};
use super::plan::{Plan, Scene};
use super::queue::What;

const USER: UserId = UserId::new([1; 16]);

pub(super) struct ServerSide {
    /// `None` while it is down.
    pub machine: Option<Server>,
    pub life: u32,
    pub due: Option<u64>,
    /// Something was said to it since it was looked at.
    pub touched: bool,
    pub sessions: BTreeMap<SessionId, usize>,
    /// Clients whose session has ended since the server was looked at.
    pub ended: Vec<usize>,
    asked: BTreeMap<RequestId, Request>,
    pub opens: BTreeMap<u64, OpenInfo>,
    pub disk: Disk,
    /// By client and file: how far the epochs that a client sees are ahead.
    pub leaps: Vec<Vec<u16>>,
    hash_key: u8,
    requests: u64,
    made: u64,
    spare: Vec<Action>,
}

/// A request without an answer. Where its connection is gone, it may still be carried out.
#[derive(Debug)]
struct Request {
    conn: ConnId,
    client: usize,
    incarnation: u8,
    ask: Ask,
    answerable: bool,
    /// Of a WRITE: its open, and what goes back to its ChannelSequence.
    outstanding: Option<(u64, Outstanding)>,
    running: bool,
}

/// What the driver knows of an open.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenInfo {
    pub client: usize,
    pub incarnation: u8,
    pub file: usize,
    pub access: Access,
    sequence: ChannelSequence,
}

pub(super) fn key_of(file: usize) -> FileKey {
    FileKey::new(file as u128 + 1)
}

pub(super) fn file_of(key: FileKey) -> usize {
    key.get() as usize - 1
}

pub(super) fn guid_of(client: usize) -> ClientGuid {
    ClientGuid::from_wire([client as u8 + 1; 16])
}

pub(super) fn client_of(guid: ClientGuid) -> usize {
    usize::from(guid.to_wire()[0]) - 1
}

impl ServerSide {
    pub(super) fn new(plan: &Plan, hash_key: u8) -> Self {
        Self {
            machine: None,
            life: 0,
            due: None,
            touched: false,
            sessions: BTreeMap::new(),
            ended: Vec::new(),
            asked: BTreeMap::new(),
            opens: BTreeMap::new(),
            disk: Disk::new(plan.files, plan.pages),
            leaps: vec![vec![0; plan.files]; plan.clients],
            hash_key,
            requests: 0,
            made: 0,
            spare: Vec::new(),
        }
    }

    pub(super) const fn hash_key(&self) -> u8 {
        self.hash_key
    }

    pub(super) fn stats(&self) -> Option<Stats> {
        self.machine.as_ref().map(Server::stats)
    }

    /// Requests whose senders wait for an answer.
    pub(super) fn unanswered(&self) -> usize {
        self.asked.values().filter(|request| request.answerable).count()
    }

    /// Forgets requests that nobody waits for.
    pub(super) fn sweep(&mut self) {
        self.asked.retain(|_, request| request.answerable);
    }
}

impl World {
    /// A life of the server begins, with what the store has.
    pub(super) fn start_server(&mut self) {
        let side = &mut self.server;
        side.life += 1;
        let hash_key = HashKey::new([side.hash_key; 16]);
        let persistence = self.plan.scene == Scene::Persistent;
        // Without a store: by the number of its life, above all that earlier ones gave out.
        let serial = if persistence { side.disk.serials } else { u64::from(side.life) << 20 };
        let mut config = Config::new(hash_key, RouteSeed::new([6; 16]), serial);
        config.persistence = persistence;
        side.machine = Some(Server::new(config));
        side.touched = true;
        let records = &side.disk.records;
        side.opens.retain(|persistent, _| records.contains_key(persistent));
        if config.persistence {
            let mut records: Vec<_> = side.disk.records.values().cloned().collect();
            records.sort_by_key(|record| Reverse(record.written));
            for record in records {
                let elapsed = Duration::from_millis(500);
                self.tell_server(Event::Restore { record: Box::new(record), elapsed });
            }
            self.tell_server(Event::Recovered);
        }
    }

    pub(super) fn crash_server(&mut self) {
        let Some(machine) = self.server.machine.take() else { return };
        self.report.add_stats(&machine.stats());
        self.server.due = None;
        self.server.sessions.clear();
        self.server.asked.clear();
        self.server.disk.crash(&mut self.random);
        self.check_promises();
        let conns: Vec<_> = self.net.conns.keys().copied().collect();
        for id in conns {
            let Some(conn) = self.net.conns.get_mut(&id) else { continue };
            (conn.at_server, conn.known, conn.session) = (false, false, None);
            conn.up.clear();
            let down = conn.down.len();
            let down = self.random.index(down + 1);
            self.break_off(id, 0, down);
            self.never_delivered(id);
            self.tidy(id);
        }
        self.checker.server_gone();
        let pause = self.random.pick(&[10, 500, 5_000, 40_000]);
        let at = self.now + self.random.below(pause);
        self.queue.push(at, What::ServerStarts);
    }

    pub(super) fn tell_server(&mut self, event: Event) {
        let now = Instant::from_millis(self.now);
        let Some(machine) = self.server.machine.as_mut() else { return };
        let mut actions = mem::take(&mut self.server.spare);
        let told = self.history.is_some().then(|| format!("    > server {event:?}"));
        let result = machine.handle(now, event, &mut actions);
        if let Some(told) = told {
            self.note(|| told);
        }
        if let Err(misuse) = result {
            self.violate("a driver that keeps the contract misuses nothing", || format!("server: {misuse}"));
        }
        self.after_server(actions);
    }

    pub(super) fn server_time_passes(&mut self) {
        let now = Instant::from_millis(self.now);
        let Some(machine) = self.server.machine.as_mut() else { return };
        let mut actions = mem::take(&mut self.server.spare);
        machine.handle_timeout(now, &mut actions);
        let at = self.now;
        self.note(|| format!("@{at} time passes for the server"));
        self.after_server(actions);
    }

    fn after_server(&mut self, mut actions: Vec<Action>) {
        let due = self.server.machine.as_ref().and_then(Server::poll_timeout);
        self.server.due = due.map(Instant::as_millis);
        self.server.touched = true;
        for action in actions.drain(..) {
            self.witness("server", &action);
            self.perform_server(action);
        }
        self.server.spare = actions;
    }

    // ---- what comes from clients ---------------------------------------------------------------------------------------

    pub(super) fn arrive_up(&mut self, id: ConnId) {
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

    fn reset(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.at_server = false;
        conn.up.clear();
        self.break_off(id, 0, 0);
        self.tidy(id);
    }

    fn welcome(&mut self, id: ConnId, previous: Option<SessionId>, bind: Option<SessionId>) {
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
    pub(super) fn notice(&mut self) {
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
    fn hang_up_at_server(&mut self, id: ConnId, promptly: bool) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.at_server = false;
        let (client, session, known) = (conn.client, conn.session.take(), conn.known);
        let undelivered = mem::take(&mut conn.undelivered);
        self.checker.trouble(client, self.now);
        if !known {
            return self.tidy(id);
        }
        if let Some(session) = session {
            if !self.net.conns.values().any(|conn| conn.at_server && conn.session == Some(session)) {
                self.server.sessions.remove(&session);
                self.server.ended.push(client);
            }
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
    pub(super) fn means(&self, key: LeaseKey) -> bool {
        let name = LeaseName::of(key);
        let side = &self.clients[name.client];
        side.incarnation == name.incarnation && side.keys[name.file] == Some(key)
    }

    /// A break notification is on its way no more.
    pub(super) fn lands(&mut self, about: LeaseName) {
        if self.clients[about.client].incarnation == about.incarnation {
            self.checker.landed(about.client, about.file);
        }
    }

    fn never_delivered(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        for (_, about) in mem::take(&mut conn.undelivered) {
            self.lands(about);
        }
    }

    pub(super) fn undelivered(&mut self, id: BreakId, conn: ConnId) {
        self.tell_server(Event::Undelivered { id, conn });
    }

    fn abandon(&mut self, which: impl Fn(&super::net::Conn) -> bool) {
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
    fn abandon_conn(&mut self, id: ConnId) {
        let ServerSide { asked, opens, .. } = &mut self.server;
        for request in asked.values_mut().filter(|request| request.conn == id) {
            request.answerable = false;
            if !request.running {
                release(opens, request.outstanding.take());
            }
        }
    }

    fn request(&mut self, id: ConnId, mut ask: Ask) {
        let Some(conn) = self.net.conns.get(&id) else { return };
        let (client, incarnation) = (conn.client, conn.incarnation);
        let Some(session) = conn.session else {
            let status = Status::USER_SESSION_DELETED;
            return self.decline(id, &ask, status);
        };
        self.server.requests += 1;
        let request = RequestId::new(self.server.requests);
        let origin = Origin::new(id, session, TreeId::new(1));
        if let Ask::Create { wanted, contexts, .. } | Ask::Reconnect { wanted, contexts, .. } = &mut ask {
            contexts.lease = self.lease_up(client, wanted.file, contexts.lease);
        }
        let mut outstanding = None;
        let event = match ask {
            Ask::Hello { .. } | Ask::End => return,
            Ask::Create { .. } => self.create(request, origin, &ask),
            Ask::Reconnect { wanted, contexts, .. } => {
                if contexts.lease.is_some_and(|lease| !lease.state().contains(LeaseState::WRITE)) {
                    self.checker.said_less(client, wanted.file);
                }
                self.reconnect(request, origin, &ask)
            }
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

    fn share(&self) -> Share {
        Share::new(ShareKind::Disk, self.plan.share)
    }

    fn create(&self, request: RequestId, origin: Origin, ask: &Ask) -> Event {
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

    fn reconnect(&self, request: RequestId, origin: Origin, ask: &Ask) -> Event {
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

    // ---- what the machine wants ----------------------------------------------------------------------------------------

    fn perform_server(&mut self, action: Action) {
        let life = self.server.life;
        match action {
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
                self.server.disk.append(seq, change);
                let at = self.now + self.random.between(1, 6);
                self.queue.push(at, What::Stored { life, up_to: seq });
            }
            Action::CloseFile { file_id, .. } => drop(self.server.opens.remove(&file_id.persistent)),
            Action::Interim { .. } => {}
            Action::Resolve { .. } | Action::Unlink { .. } | Action::Accepted { .. } => {
                self.violate("nobody deletes, and nobody locks", || format!("{action:?}"));
            }
        }
    }

    fn notify(&mut self, id: BreakId, conn: ConnId, about: LeaseName, tell: Tell) {
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

    fn note_open(&mut self, request: RequestId, file_id: FileId) {
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

    /// A CREATE that gives an open back has its number counted anew.
    fn restart_sequence(&mut self, request: RequestId, file_id: FileId) {
        let Some(Request { ask: Ask::Reconnect { sequence, .. }, .. }) = self.server.asked.get(&request)
        else {
            return;
        };
        let sequence = ChannelSequence::new(*sequence);
        if let Some(open) = self.server.opens.get_mut(&file_id.persistent) {
            open.sequence = sequence;
        }
    }

    fn answer(&mut self, request: RequestId, tell: impl FnOnce(Ask) -> Option<Tell>) {
        let Some(pending) = self.server.asked.remove(&request) else { return };
        release(&mut self.server.opens, pending.outstanding);
        match tell(pending.ask) {
            Some(tell) if pending.answerable => self.send_down(pending.conn, tell),
            Some(_) => {}
            None => self.violate("every request has its kind of answer", || format!("{:?}", pending.ask)),
        }
    }

    fn decline(&mut self, id: ConnId, ask: &Ask, status: Status) {
        if let Some(tell) = refusal(ask, status) {
            self.send_down(id, tell);
        }
    }

    // ---- the file system and the store ---------------------------------------------------------------------------------

    pub(super) fn opened(&mut self, request: RequestId, file_id: FileId) {
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

    pub(super) fn operated(&mut self, request: RequestId, ticket: Ticket) {
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

    pub(super) fn stored(&mut self, up_to: leasehold::server::PersistSeq) {
        self.server.disk.settle(up_to);
        self.tell_server(Event::Persisted { up_to });
    }
}

fn operate(request: RequestId, origin: Origin, file_id: FileId, file: usize, intent: Intent) -> Event {
    let (actor, file) = (Actor::Open(file_id), key_of(file));
    Event::Operate { request, origin: Some(origin), file, actor, intent }
}

fn release(opens: &mut BTreeMap<u64, OpenInfo>, outstanding: Option<(u64, Outstanding)>) {
    if let Some((open, outstanding)) = outstanding {
        if let Some(open) = opens.get_mut(&open) {
            open.sequence.answered(outstanding);
        }
    }
}

fn refusal(ask: &Ask, status: Status) -> Option<Tell> {
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
