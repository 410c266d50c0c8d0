//! A client machine with its driver: connections, opens, and what a cache is told.

use std::collections::BTreeMap;
use std::mem;

use leasehold::client::{
    Action, Client, ClientConfig, Event, FileRef, OpenRef, Opening, PreviousSession, Served,
};
use leasehold::{
    ConnId, CreateOptions, FileId, HashKey, Instant, LeaseKey, LeaseState, Machine, OplockLevel, RequestId,
    SessionId,
};

use super::cache::CachedFile;
use super::memory::Memory;
use super::net::{Ask, Back, Tell};
use super::plan::Plan;
use super::queue::What;
use super::{Wanted, World};

pub(super) struct ClientSide {
    pub machine: Client,
    /// Another one after each crash that takes all it had.
    pub incarnation: u8,
    /// Another one after each crash, and each start.
    pub life: u32,
    pub alive: bool,
    /// Not silent.
    pub speaks: bool,
    pub silent_until: u64,
    pub rests_until: u64,
    pub due: Option<u64>,
    /// Those that carry the session, the oldest first.
    pub conns: Vec<ConnId>,
    dialing: Vec<ConnId>,
    pub session: Option<SessionId>,
    names_previous: bool,
    /// A session was not named by the next one, and some opens have not been back since.
    pub unnamed: bool,
    /// The lease key of each name: the last one that a CREATE had.
    pub keys: Vec<Option<LeaseKey>>,
    pub files: Vec<CachedFile>,
    pub opens: BTreeMap<OpenRef, Handle>,
    /// Requests of the application without an answer.
    pub openings: BTreeMap<RequestId, Wanted>,
    pub ops: BTreeMap<u64, Op>,
    pub serial: u64,
    pub memory: Memory,
    /// What the cache has answered while actions were carried out.
    inbox: Vec<Event>,
    /// It does not come back any more.
    pub retired: bool,
    spare: Vec<Action>,
}

/// An open, from its CREATE on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle {
    pub request: RequestId,
    pub wanted: Wanted,
    pub file_id: Option<FileId>,
    pub level: OplockLevel,
    /// The application uses it.
    pub used: bool,
    pub away: bool,
    pub closing: bool,
    pub persistent: bool,
}

impl Handle {
    /// Whether a request can go through it now.
    pub(super) fn usable(&self) -> Option<FileId> {
        self.file_id.filter(|_| !self.away && !self.closing)
    }
}

/// A request of the cache or of the application that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub conn: ConnId,
    pub open: OpenRef,
    pub file: usize,
    pub kind: OpKind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum OpKind {
    /// `fills`: the generation of the cache that the answer may fill.
    Read {
        page: usize,
        begun: u64,
        fills: Option<u64>,
    },
    Write {
        page: usize,
        value: u64,
    },
    WriteBack {
        page: usize,
        value: u64,
    },
    Sync,
}

/// The incarnation of what no client knows of any more.
pub(super) const GHOST: u8 = u8::MAX;

/// What a lease key of this world says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseName {
    pub client: usize,
    pub incarnation: u8,
    pub file: usize,
}

impl LeaseName {
    pub(super) fn key(self, serial: u64) -> LeaseKey {
        let mut octets = [0x4c; 16];
        octets[0] = self.client as u8;
        octets[1] = self.incarnation;
        octets[2] = self.file as u8;
        octets[8..].copy_from_slice(&serial.to_be_bytes());
        LeaseKey::new(octets)
    }

    pub(super) fn of(key: LeaseKey) -> Self {
        let [client, incarnation, file, ..] = key.octets();
        Self { client: client.into(), incarnation, file: file.into() }
    }
}

pub(super) fn name_of(file: usize) -> FileRef {
    FileRef::new(file as u64)
}

impl ClientSide {
    pub(super) fn new(plan: &Plan, hash_key: u8) -> Self {
        let mut config = ClientConfig::new(HashKey::new([hash_key.wrapping_add(1); 16]));
        (config.kept, config.kept_per_file) = plan.kept;
        config.persistence = plan.records;
        Self {
            machine: Client::new(config),
            incarnation: 0,
            life: 0,
            alive: false,
            speaks: true,
            silent_until: 0,
            rests_until: 0,
            due: None,
            conns: Vec::new(),
            dialing: Vec::new(),
            session: None,
            names_previous: true,
            unnamed: false,
            keys: vec![None; plan.files],
            files: (0..plan.files).map(|_| CachedFile::new(plan.pages)).collect(),
            opens: BTreeMap::new(),
            openings: BTreeMap::new(),
            ops: BTreeMap::new(),
            serial: 0,
            memory: Memory::default(),
            inbox: Vec::new(),
            retired: false,
            spare: Vec::new(),
        }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Through what a page can be written: best by the handle that may hold the write oplock.
    pub(super) fn writer(&self, file: usize) -> Option<(OpenRef, FileId)> {
        let opens = self.opens.iter().filter(|(_, open)| open.wanted.file == file && open.wanted.writes());
        let usable = opens.filter_map(|(id, open)| Some((open, (*id, open.usable()?))));
        let holds = |open: &Handle| matches!(open.level, OplockLevel::Batch | OplockLevel::Exclusive);
        usable.max_by_key(|(open, _)| holds(open)).map(|(_, found)| found)
    }
}

impl World {
    pub(super) fn start_client(&mut self, client: usize) {
        let hash_key = self.server.hash_key();
        let side = &mut self.clients[client];
        let (incarnation, serial) = (side.incarnation, side.serial);
        let (life, memory) = (side.life + 1, mem::take(&mut side.memory));
        let (files, session) = (mem::take(&mut side.files), side.session);
        *side = ClientSide::new(&self.plan, hash_key);
        (side.incarnation, side.serial, side.alive) = (incarnation, serial, true);
        (side.life, side.memory) = (life, memory);
        if self.plan.records {
            // It may have noted its session as well.
            side.session = session.filter(|_| life % 2 == 0);
            side.files = files;
            self.restore_client(client);
        }
        self.queue.push(self.now, What::Connect { client, life });
        self.queue.push(self.now + 1, What::App { client, life });
    }

    pub(super) fn crash_client(&mut self, client: usize) {
        let side = &mut self.clients[client];
        (side.alive, side.speaks, side.due) = (false, true, None);
        let conns: Vec<_> = side.conns.drain(..).chain(side.dialing.drain(..)).collect();
        side.life += 1;
        for conn in conns {
            self.leave(conn);
        }
        self.checker.trouble(client, self.now);
        if self.plan.records {
            self.remember(client);
        } else {
            let side = &mut self.clients[client];
            side.incarnation = (side.incarnation + 1) % GHOST;
            side.files.fill(CachedFile::new(self.plan.pages));
            self.checker.client_gone(client);
        }
        let pause = self.random.pick(&[10, 1_000, 50_000]);
        let at = self.now + self.random.below(pause);
        self.queue.push(at, What::ClientStarts { client });
    }

    pub(super) fn tell_client(&mut self, client: usize, event: Event) {
        let now = Instant::from_millis(self.now);
        let mut next = Some(event);
        while let Some(event) = next {
            let side = &mut self.clients[client];
            let mut actions = mem::take(&mut side.spare);
            let result = side.machine.handle(now, event, &mut actions);
            self.note(|| format!("    > client {client} {event:?}"));
            if let Err(misuse) = result {
                let what = || format!("client {client}: {misuse}: {event:?}");
                self.violate("a driver that keeps the contract misuses nothing", what);
            }
            self.after_client(client, actions);
            let side = &mut self.clients[client];
            next = if side.inbox.is_empty() { None } else { Some(side.inbox.remove(0)) };
        }
    }

    pub(super) fn client_time_passes(&mut self, client: usize) {
        let at = self.now;
        self.note(|| format!("@{at} time passes for client {client}"));
        let side = &mut self.clients[client];
        let mut actions = mem::take(&mut side.spare);
        side.machine.handle_timeout(Instant::from_millis(at), &mut actions);
        self.after_client(client, actions);
        let side = &mut self.clients[client];
        for event in mem::take(&mut side.inbox) {
            self.tell_client(client, event);
        }
    }

    fn after_client(&mut self, client: usize, mut actions: Vec<Action>) {
        let side = &mut self.clients[client];
        side.due = side.machine.poll_timeout().map(Instant::as_millis);
        for action in actions.drain(..) {
            self.witness(["client 0", "client 1", "client 2", "client 3"][client.min(3)], &action);
            self.perform_client(client, action);
        }
        self.clients[client].spare = actions;
    }

    /// Answers the machine when the actions of this call are carried out.
    pub(super) fn later(&mut self, client: usize, event: Event) {
        self.clients[client].inbox.push(event);
    }

    // ---- connections -----------------------------------------------------------------------------------------------------

    pub(super) fn connect(&mut self, client: usize) {
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

    pub(super) fn connect_later(&mut self, client: usize) {
        let most = self.random.pick(&[20, 500, 3_000, 30_000]);
        let life = self.clients[client].life;
        let at = self.now + self.random.below(most);
        if !self.clients[client].retired {
            self.queue.push(at, What::Connect { client, life });
        }
    }

    pub(super) fn arrive_down(&mut self, id: ConnId) {
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
                if let Some(handle) = self.clients[client].opens.get_mut(&open) {
                    if let Ok(reply) = result {
                        (handle.file_id, handle.level) = (Some(reply.file_id), reply.level);
                        let flags = reply.contexts.durable_v2.map(|granted| granted.flags);
                        let persistent = leasehold::wire::DurableFlags::PERSISTENT;
                        handle.persistent = flags.is_some_and(|flags| flags.contains(persistent));
                    }
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
            Tell::Acked { ack, result } => self.tell_client(client, Event::AckAnswered { ack, result }),
            Tell::LeaseBreak { body, .. } => self.tell_client(client, Event::LeaseBroken { body }),
            Tell::OplockBreak { body, .. } => {
                let session = SessionId::new(0);
                self.tell_client(client, Event::OplockBroken { conn: id, session, body });
            }
            Tell::Done { op, result } => self.done(client, op, result),
        }
    }

    fn connected(&mut self, client: usize, conn: ConnId, session: SessionId) {
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

    fn hang_up_at_client(&mut self, client: usize, id: ConnId) {
        if let Some(conn) = self.net.conns.get_mut(&id) {
            conn.at_client = false;
        }
        self.tidy(id);
        self.checker.trouble(client, self.now);
        self.gone(client, id);
    }

    /// A client has a connection no more.
    pub(super) fn gone(&mut self, client: usize, id: ConnId) {
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
        self.tell_client(client, Event::Disconnected { conn: id });
        self.go_on_without(client, resent);
        self.connect_later(client);
    }

    // ---- what the machine wants ------------------------------------------------------------------------------------------

    fn perform_client(&mut self, client: usize, action: Action) {
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
            Action::SendLeaseAck { ack, conn, body, .. } => self.send_up(conn, Ask::LeaseAck { ack, body }),
            Action::SendOplockAck { ack, conn, body, .. } => {
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

    fn answer_to_open(&mut self, client: usize, request: RequestId) {
        match self.clients[client].openings.remove(&request) {
            Some(wanted) if wanted.disposition.overwrites() => self.overwritten(client, wanted.file),
            Some(_) => {}
            None => self.violate("a request is answered once", || format!("{request:?}")),
        }
    }

    /// The application opens a file.
    pub(super) fn open(&mut self, client: usize, wanted: Wanted) {
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

    pub(super) fn write_back(
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
