//! Everything about clients: their connections in order of arrival, their sessions, and which file each lease key names.

mod guids;

use core::num::NonZeroU16;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use slotmap::new_key_type;

use guids::{Guid, Promised};

use super::action::Action;
use super::event::{
    Capabilities, Create, Durability, Event, Origin, SessionEnd, Share, ShareFlags, ShareKind, Terms,
};
use super::lease::LeaseName;
use super::profile::{ChannelChoice, Profile, UnknownReplay};
use super::scale::{
    Admission, Arrival, BreakId, DirectoryLeasing, Outgoing, PersistSeq, RegistryAction, RegistryEvent,
    RegistryInput, Route, Scope, ShardInput, ToShard,
};
use super::{Config, Misuse};
use crate::locks::waits::Waits;
use crate::machine::Machine;
use crate::persist::Record;
use crate::state::{CreateOptions, Dialect, OplockLevel};
use crate::stats::{Stats, count};
use crate::status::Status;
use crate::store::table::{Keyed, Table};
use crate::time::Instant;
use crate::types::{ClientGuid, ConnId, FileKey, LeaseKey, RequestId, SessionId};
use crate::wire::{DurableFlags, Lease, OplockBreak};

new_key_type! {
    struct ClientSlot;
    struct ConnSlot;
    struct SessionSlot;
    struct BindingSlot;
    struct GuidSlot;
    struct PromiseSlot;
}

/// Clients, connections, sessions and lease keys: the machine in front of the shards.
#[derive(Clone, Debug)]
pub struct Registry {
    config: Config,
    shards: NonZeroU16,
    clients: Table<ClientSlot, Client>,
    conns: Table<ConnSlot, Conn>,
    sessions: Table<SessionSlot, Session>,
    bindings: Table<BindingSlot, Binding>,
    guids: Table<GuidSlot, Guid>,
    /// Persistent opens by their CreateGuid.
    promises: Table<PromiseSlot, Promised>,
    /// Whether records are being restored.
    recovering: bool,
    /// When the last record was written that was restored.
    restored: Option<u64>,
    /// TREE_DISCONNECTs that not every shard has carried out.
    sweeps: Vec<(RequestId, u16)>,
    arrivals: u64,
    /// Who waits for whom to unlock, over all shards.
    waits: Waits,
    stats: Stats,
}

/// A client machine (MS-SMB2 3.3.1.11). It lives while it has a connection or a lease key in use.
#[derive(Clone, Debug)]
struct Client {
    guid: ClientGuid,
    /// In order of arrival.
    conns: Vec<ConnSlot>,
    bindings: u32,
    /// CreateGuids in use.
    guids: u32,
}

#[derive(Clone, Debug)]
struct Conn {
    id: ConnId,
    client: ClientSlot,
    arrival: Arrival,
    terms: Terms,
    sessions: Vec<SessionSlot>,
}

#[derive(Clone, Debug)]
struct Session {
    id: SessionId,
    /// In order of binding.
    channels: Vec<ConnSlot>,
}

/// A lease key names one file for as long as a CREATE or an open uses it (MS-SMB2 3.3.5.9.8).
#[derive(Clone, Debug)]
struct Binding {
    /// Its client and key.
    name: BindingName,
    file: FileKey,
    refs: u32,
    /// Lease.FileDeleteOnClose: a CREATE may use the key for another file, without a lease.
    relaxed: bool,
}

/// A lease name with the client's slot for its GUID.
type BindingName = (ClientSlot, LeaseKey);

type Out<'a> = &'a mut Vec<RegistryAction>;

impl Registry {
    /// A registry in front of that many shards.
    pub fn new(config: Config, shards: NonZeroU16) -> Self {
        let Config { hash_key, limits, .. } = config;
        Self {
            shards,
            clients: Table::new(hash_key, limits.connections.saturating_add(limits.leases)),
            conns: Table::new(hash_key, limits.connections),
            sessions: Table::new(hash_key, limits.sessions),
            bindings: Table::with_room(hash_key, limits.leases, config.expected_leases),
            guids: Table::new(hash_key, limits.opens.saturating_add(limits.waiters)),
            promises: Table::new(hash_key, limits.opens),
            recovering: config.persistence,
            restored: None,
            sweeps: Vec::new(),
            arrivals: 0,
            waits: Waits::default(),
            stats: Stats::default(),
            config,
        }
    }

    /// Whether records are being restored.
    pub(super) fn recovering(&self) -> bool {
        self.recovering
    }

    /// What this registry has refused by itself.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether nothing is left of any client.
    pub(super) fn idle(&self) -> bool {
        self.clients.len() == 0
            && self.conns.len() == 0
            && self.sessions.len() == 0
            && self.bindings.len() == 0
            && self.guids.len() == 0
            && self.promises.len() == 0
            && self.sweeps.is_empty()
            && self.waits.len() == 0
    }
}

impl Machine for Registry {
    type Event = RegistryEvent;
    type Action = RegistryAction;
    type Misuse = Misuse;

    fn handle(&mut self, _: Instant, event: RegistryEvent, out: Out<'_>) -> Result<(), Misuse> {
        match event {
            RegistryEvent::Driver(event) => self.driver(event, out),
            RegistryEvent::Shard(message) => {
                match message.0 {
                    RegistryInput::Break { id, after, what } => self.send(id, after, what, out),
                    RegistryInput::Relaxed { client, key, relaxed } => self.relax((client, key), relaxed),
                    RegistryInput::EntryChanged { directory, parent } => {
                        let route = Route::of_file(directory, self.config.route_seed);
                        self.forward(out, route, ShardInput::EntryChanged { directory, parent });
                    }
                    RegistryInput::Released { client, key } => self.unbind((client, key)),
                    RegistryInput::GuidReleased { client, guid } => self.free_guid((client, guid)),
                    RegistryInput::Promised { guid, client, persistent } => {
                        self.promise(guid, client, persistent);
                    }
                    RegistryInput::Forgotten { guid, persistent } => self.break_promise(guid, persistent),
                    RegistryInput::ByGuid { reconnect, client } => self.find_by_guid(*reconnect, client, out),
                    RegistryInput::Anew { admission } => self.anew(admission.create, out),
                    RegistryInput::TreeSwept { request } => self.swept(request, out),
                    // Checked and inserted in one step, for all shards.
                    RegistryInput::Waits { request, route, round, owner, on } => {
                        let result = self.waits.insert(request, owner, on);
                        self.forward(out, route, ShardInput::Waits { request, round, result });
                    }
                    RegistryInput::WaitOver { request } => self.waits.remove(request),
                }
                Ok(())
            }
        }
    }

    fn handle_timeout(&mut self, _: Instant, _: Out<'_>) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Registry {
    fn driver(&mut self, event: Event, out: Out<'_>) -> Result<(), Misuse> {
        match (self.recovering, matches!(event, Event::Restore { .. } | Event::Recovered)) {
            (true, false) => return Err(Misuse::Recovering),
            (false, true) => return Err(Misuse::NotRecovering),
            (true, true) | (false, false) => {}
        }
        match event {
            Event::Connected { conn, client, terms } => return self.connect(conn, client, terms),
            Event::SessionBound { conn, session } => return self.bind_session(conn, session),
            Event::Disconnected { conn } => return self.disconnect(conn, out),
            Event::SessionEnded { session, end } => return self.end_session(session, end, out),
            Event::TreeDisconnected { request, session, tree } => {
                let channels = self.channels(session).ok_or(Misuse::UnknownSession)?;
                for conn in channels.iter().filter_map(|conn| self.conns.get(*conn)) {
                    broadcast(out, ShardInput::Abandon { conn: conn.id, scope: Scope::Tree(session, tree) });
                }
                broadcast(out, ShardInput::TreeGone { request, session, tree });
                self.sweeps.push((request, self.shards.get()));
            }
            Event::Create(create) => return self.create(create, out),
            Event::RequestResilience { request, origin, user, file_id, timeout } => {
                let (_, client) = self.known(origin)?;
                let session = origin.session;
                let input = ShardInput::Resilience { request, session, file_id, client, user, timeout };
                self.forward(out, Route::of_id(file_id), input);
            }
            Event::Used { file_id } => {
                self.forward(out, Route::of_id(file_id), ShardInput::Used { file_id });
            }
            Event::Reconnect(mut reconnect) => {
                let (terms, client) = self.known(reconnect.origin)?;
                let profile = &self.config.profile;
                reconnect.lease = reconnect.lease.filter(|lease| understands(terms, lease, profile));
                let asked =
                    reconnect.flags.contains(DurableFlags::PERSISTENT) && reconnect.create_guid.is_some();
                let continuous = asked && is_continuous(terms, reconnect.share);
                let route = Route::of_persistent(reconnect.persistent);
                self.forward(out, route, ShardInput::Reconnect { reconnect, client, continuous });
            }
            Event::Opened { file_id, result } => {
                self.forward(out, Route::of_id(file_id), ShardInput::Opened { file_id, result });
            }
            Event::Operate { request, origin, file, actor, intent } => {
                if let Some(origin) = origin {
                    self.known(origin)?;
                }
                let input = ShardInput::Operate { request, origin, file, actor, intent };
                self.forward(out, Route::of_file(file, self.config.route_seed), input);
            }
            Event::Done { ticket, result } => {
                self.forward(out, ticket.route, ShardInput::Done { ticket, result });
            }
            Event::Lock(lock) => {
                self.known(lock.origin)?;
                self.forward(out, Route::of_id(lock.file_id), ShardInput::Lock(lock));
            }
            Event::OwnerLock(lock) => self.to_file(out, lock.file, ShardInput::OwnerLock(lock)),
            Event::OwnerUnlock { request, owner, file, offset, len } => {
                self.to_file(out, file, ShardInput::OwnerUnlock { request, owner, file, offset, len });
            }
            Event::TestLock(lock) => self.to_file(out, lock.file, ShardInput::TestLock(lock)),
            Event::Reserve(reservation) => {
                self.to_file(out, reservation.file, ShardInput::Reserve(reservation));
            }
            Event::Unreserve { owner, file } => {
                self.to_file(out, file, ShardInput::Unreserve { owner, file })
            }
            Event::Delegate { request, owner, file, kind, reclaims } => {
                self.to_file(out, file, ShardInput::Delegate { request, owner, file, kind, reclaims });
            }
            Event::Returned { owner, file } => self.to_file(out, file, ShardInput::Returned { owner, file }),
            Event::OwnerGone { owner } => broadcast(out, ShardInput::OwnerGone { owner }),
            Event::HostGone { protocol, host } => broadcast(out, ShardInput::HostGone { protocol, host }),
            Event::GraceOver => broadcast(out, ShardInput::GraceOver),
            Event::OplockAck { request, session, ack: OplockBreak { level, file_id } } => {
                self.channels(session).ok_or(Misuse::UnknownSession)?;
                let input = ShardInput::OplockAck { request, session, file_id, level };
                self.forward(out, Route::of_id(file_id), input);
            }
            Event::Cancel { request } => broadcast(out, ShardInput::Cancel { request }),
            Event::Close { request, session, file_id } => {
                self.forward(out, Route::of_id(file_id), ShardInput::Close { request, session, file_id });
            }
            Event::LeaseAck { request, conn, ack } => {
                let (_, client) = self.conn(conn)?;
                self.acknowledge(request, (client, ack.key), ack.state, out);
            }
            Event::Restore { record, elapsed } => return self.restore(record, elapsed, out),
            Event::Recovered => {
                self.recovering = false;
                for shard in 0..self.shards.get() {
                    let home = Route::of_shard(shard);
                    self.forward(out, home, ShardInput::Recovered { home });
                }
            }
            Event::Persisted { up_to: PersistSeq { route, number } } => {
                self.forward(out, route, ShardInput::Persisted { up_to: number });
            }
            Event::PersistFailed { seq: PersistSeq { route, number } } => {
                self.forward(out, route, ShardInput::PersistFailed { number });
            }
            Event::Undelivered { id, conn } => {
                // Gone in the meantime: the search begins anew, with those that are left.
                let tried =
                    self.conns.find(conn).and_then(|conn| self.conns.get(conn)).map(|conn| conn.arrival);
                self.forward(out, id.route, ShardInput::Undelivered { id, tried });
            }
        }
        Ok(())
    }

    /// Hands something to the shard of a file.
    fn to_file(&self, out: Out<'_>, file: FileKey, input: ShardInput) {
        self.forward(out, Route::of_file(file, self.config.route_seed), input);
    }

    fn connect(&mut self, id: ConnId, guid: ClientGuid, terms: Terms) -> Result<(), Misuse> {
        let limits = &self.config.limits;
        if self.conns.find(id).is_some() {
            return Err(Misuse::DuplicateConnection);
        }
        let known = self.clients.find(guid);
        let others = known.and_then(|client| self.clients.get(client)).map_or(0, |client| client.conns.len());
        // MS-SMB2 2.2.3: on 2.0.2 the ClientGuid is zero, so all such clients look like one.
        let crowded = terms.dialect > Dialect::Smb202 && others >= limits.connections_per_client;
        if self.conns.len() >= limits.connections || crowded {
            return Err(Misuse::TooManyConnections);
        }
        let fresh = Client { guid, conns: Vec::new(), bindings: 0, guids: 0 };
        let client = known.or_else(|| self.clients.insert(fresh).ok()).ok_or(Misuse::TooManyConnections)?;
        let conn = Conn { id, client, arrival: Arrival(self.arrivals), terms, sessions: Vec::new() };
        let slot = self.conns.insert(conn).map_err(|_| Misuse::TooManyConnections)?;
        self.arrivals = self.arrivals.saturating_add(1);
        if let Some(client) = self.clients.get_mut(client) {
            client.conns.push(slot);
        }
        Ok(())
    }

    fn bind_session(&mut self, conn: ConnId, id: SessionId) -> Result<(), Misuse> {
        let conn = self.conns.find(conn).ok_or(Misuse::UnknownConnection)?;
        let known = self.sessions.find(id);
        let fresh = Session { id, channels: Vec::new() };
        let session = known.or_else(|| self.sessions.insert(fresh).ok()).ok_or(Misuse::TooManySessions)?;
        let (Some(record), Some(channel)) = (self.sessions.get_mut(session), self.conns.get_mut(conn)) else {
            return Ok(());
        };
        if !record.channels.contains(&conn) {
            record.channels.push(conn);
            channel.sessions.push(session);
        }
        Ok(())
    }

    /// MS-SMB2 3.3.7.1: what belongs to the connection goes; a session goes with its last channel.
    fn disconnect(&mut self, id: ConnId, out: Out<'_>) -> Result<(), Misuse> {
        let slot = self.conns.find(id).ok_or(Misuse::UnknownConnection)?;
        let Some(conn) = self.conns.remove(slot) else { return Err(Misuse::UnknownConnection) };
        let mut scope = Scope::Connection;
        for session in &conn.sessions {
            let Some(record) = self.sessions.get(*session) else { continue };
            let heir = record.channels.iter().find(|channel| **channel != slot);
            if let Some(heir) = heir.and_then(|heir| self.conns.get(*heir)) {
                broadcast(out, ShardInput::Inherit { session: record.id, from: id, to: heir.id });
                scope = Scope::Channel;
            }
        }
        broadcast(out, ShardInput::Abandon { conn: id, scope });
        for session in conn.sessions {
            let Some(record) = self.sessions.get_mut(session) else { continue };
            record.channels.retain(|channel| *channel != slot);
            if record.channels.is_empty() {
                // As if it were replaced: what is durable stays.
                broadcast(out, ShardInput::SessionGone { session: record.id, end: SessionEnd::Replaced });
                self.sessions.remove(session);
            }
        }
        if let Some(client) = self.clients.get_mut(conn.client) {
            client.conns.retain(|other| *other != slot);
        }
        self.reap(conn.client);
        Ok(())
    }

    fn end_session(&mut self, id: SessionId, end: SessionEnd, out: Out<'_>) -> Result<(), Misuse> {
        let slot = self.sessions.find(id).ok_or(Misuse::UnknownSession)?;
        let Some(session) = self.sessions.remove(slot) else { return Err(Misuse::UnknownSession) };
        for channel in session.channels {
            let Some(conn) = self.conns.get_mut(channel) else { continue };
            conn.sessions.retain(|other| *other != slot);
            broadcast(out, ShardInput::Abandon { conn: conn.id, scope: Scope::Session(id) });
        }
        broadcast(out, ShardInput::SessionGone { session: id, end });
        Ok(())
    }

    fn swept(&mut self, request: RequestId, out: Out<'_>) {
        let Some(sweep) = self.sweeps.iter_mut().find(|(waiting, _)| *waiting == request) else { return };
        sweep.1 = sweep.1.saturating_sub(1);
        if sweep.1 == 0 {
            self.sweeps.retain(|(waiting, _)| *waiting != request);
            perform(out, Action::Closed { request });
        }
    }

    /// MS-SMB2 3.3.5.9.8, 3.3.5.9.11, path validation: a lease key names one file.
    fn create(&mut self, create: Create, out: Out<'_>) -> Result<(), Misuse> {
        let (terms, client) = self.known(create.origin)?;
        let request = create.request;
        if create.options.contains(CreateOptions::RESERVE_OPFILTER) {
            self.refuse(request, Status::NOT_SUPPORTED, out);
            return Ok(());
        }
        let lease = effective_lease(terms, &create, &self.config.profile);
        let (guid, continuous) = match create.durability {
            Durability::V2 { create_guid, persistent, .. } => {
                let continuous = self.config.persistence && persistent && is_continuous(terms, create.share);
                (self.clients.find(client).map(|slot| (slot, create_guid)), continuous)
            }
            Durability::None | Durability::V1 => (None, false),
        };
        let negotiated = terms.capabilities.contains(Capabilities::DIRECTORY_LEASING);
        let directory_leasing = if negotiated && terms.dialect >= Dialect::Smb300 {
            DirectoryLeasing::Negotiated
        } else {
            DirectoryLeasing::Absent
        };
        let dialect = terms.dialect;
        let admission = |create, joins| Admission {
            create,
            client,
            lease,
            joins,
            dialect,
            continuous,
            directory_leasing,
        };
        // MS-SMB2 3.3.5.9: whoever has the CreateGuid decides.
        if let Some(known) = guid.and_then(|name| self.guids.find(name)).and_then(|slot| self.guids.get(slot))
        {
            let route = known.route;
            self.forward(out, route, ShardInput::Again(admission(create, false)));
            return Ok(());
        }
        if let Some((_, create_guid)) = guid.filter(|_| continuous && create.replay) {
            if let Some(persistent) = self.promised(create_guid, client) {
                let (route, admission) = (Route::of_persistent(persistent), admission(create, false));
                self.forward(out, route, ShardInput::Return { admission, persistent });
                return Ok(());
            }
            if self.config.profile.unknown_replay == UnknownReplay::Refuse {
                self.refuse(request, Status::FILE_NOT_AVAILABLE, out);
                return Ok(());
            }
        }
        let bound = lease.map_or(Ok(false), |lease| self.bind((client, lease.key()), create.file));
        let joins = match bound {
            Ok(joins) => joins,
            Err(status) => {
                self.refuse(request, status, out);
                return Ok(());
            }
        };
        let route = Route::of_file(create.file, self.config.route_seed);
        // A table that is full forgets: the CREATE cannot be replayed, and is carried out all the same.
        if guid.is_some_and(|name| self.guids.insert(Guid { name, route }).is_ok()) {
            if let Some(client) = self.clients.find(client).and_then(|slot| self.clients.get_mut(slot)) {
                client.guids = client.guids.saturating_add(1);
            }
        }
        self.forward(out, route, ShardInput::Create(admission(create, joins)));
        Ok(())
    }

    /// Counts one more CREATE that uses the key for this file. `false` if it may be used, but not for a lease: it names
    /// another file still, which is about to go.
    fn bind(&mut self, name: LeaseName, file: FileKey) -> Result<bool, Status> {
        if let Some(binding) = self.binding(name).and_then(|slot| self.bindings.get_mut(slot)) {
            if binding.file != file {
                return if binding.relaxed { Ok(false) } else { Err(Status::INVALID_PARAMETER) };
            }
            binding.refs = binding.refs.saturating_add(1);
            return Ok(true);
        }
        let Some(slot) = self.clients.find(name.0) else { return Err(Status::INSUFFICIENT_RESOURCES) };
        let client = self.clients.get_mut(slot);
        let client = client.filter(|client| client.bindings < self.config.limits.leases_per_client);
        let Some(client) = client else { return Err(Status::INSUFFICIENT_RESOURCES) };
        let binding = Binding { name: (slot, name.1), file, refs: 1, relaxed: false };
        if self.bindings.insert(binding).is_err() {
            return Err(Status::INSUFFICIENT_RESOURCES);
        }
        client.bindings = client.bindings.saturating_add(1);
        Ok(true)
    }

    /// A record becomes an open: its route and its lease key first.
    fn restore(&mut self, record: Box<Record>, elapsed: Duration, out: Out<'_>) -> Result<(), Misuse> {
        let route = Route::of_file(record.file, self.config.route_seed);
        if route != Route::of_persistent(record.persistent) {
            return Err(Misuse::ForeignRecord);
        }
        if self.restored.is_some_and(|last| record.written > last) {
            return Err(Misuse::OutOfOrder);
        }
        let joins = |lease: &Lease| lease.key() != LeaseKey::ZERO && !record.joins_no_lease();
        let lease = record.lease.filter(joins);
        let joins = match lease {
            Some(lease) => {
                let fresh = || Client { guid: record.client, conns: Vec::new(), bindings: 0, guids: 0 };
                if self.clients.find(record.client).is_none() && self.clients.insert(fresh()).is_err() {
                    return Err(Misuse::NoRoom);
                }
                match self.bind((record.client, lease.key()), record.file) {
                    Ok(joins) => joins,
                    Err(Status::INSUFFICIENT_RESOURCES) => {
                        if let Some(client) = self.clients.find(record.client) {
                            self.reap(client);
                        }
                        return Err(Misuse::NoRoom);
                    }
                    // Of two that claim a key for different files one was never told to its client.
                    Err(_) => false,
                }
            }
            None => false,
        };
        self.restored = Some(record.written);
        self.forward(out, route, ShardInput::Restore { record, elapsed, joins });
        Ok(())
    }

    fn binding(&self, name: LeaseName) -> Option<BindingSlot> {
        self.bindings.find((self.clients.find(name.0)?, name.1))
    }

    fn relax(&mut self, name: LeaseName, relaxed: bool) {
        if let Some(binding) = self.binding(name).and_then(|slot| self.bindings.get_mut(slot)) {
            binding.relaxed = relaxed;
        }
    }

    fn unbind(&mut self, name: LeaseName) {
        let Some(slot) = self.binding(name) else { return self.anomaly("a release of no binding") };
        let Some(binding) = self.bindings.get_mut(slot) else { return };
        binding.refs = binding.refs.saturating_sub(1);
        if binding.refs > 0 {
            return;
        }
        let client = binding.name.0;
        self.bindings.remove(slot);
        if let Some(record) = self.clients.get_mut(client) {
            record.bindings = record.bindings.saturating_sub(1);
        }
        self.reap(client);
    }

    /// MS-SMB2 3.3.5.22.2: the key is looked up by the ClientGuid of the connection, whatever its session.
    fn acknowledge(
        &mut self,
        request: RequestId,
        name: LeaseName,
        state: crate::state::LeaseState,
        out: Out<'_>,
    ) {
        match self.binding(name).and_then(|slot| self.bindings.get(slot)) {
            Some(binding) => {
                let route = Route::of_file(binding.file, self.config.route_seed);
                self.forward(out, route, ShardInput::LeaseAck { request, name, state });
            }
            None => {
                count(&mut self.stats.acknowledgments_refused);
                let result = Err(Status::OBJECT_NAME_NOT_FOUND);
                perform(out, Action::AnswerLeaseAck { request, result });
            }
        }
    }

    /// MS-SMB2 3.3.4.7: any connection of the client, the first that arrived first. MS-SMB2 3.3.4.6: any channel of the
    /// session, the first that was bound first.
    fn send(&self, id: BreakId, after: Option<Arrival>, what: Outgoing, out: Out<'_>) {
        let channels = match what {
            Outgoing::Lease(client, _) => self
                .clients
                .find(client)
                .and_then(|client| self.clients.get(client))
                .map(|client| &*client.conns),
            Outgoing::Oplock(session, _) => self.channels(session),
        };
        let conns = channels.unwrap_or_default();
        let tried = |conn: &ConnSlot| {
            self.conns.get(*conn).is_some_and(|conn| after.is_some_and(|after| conn.arrival == after))
        };
        let next = match self.config.profile.channel_choice {
            ChannelChoice::LatestOnly => conns.last().filter(|_| after.is_none()),
            // One that was tried and has gone since: the search begins anew, with those that are left.
            ChannelChoice::FirstThenOthers => match conns.iter().position(tried) {
                Some(at) => conns.get(at.saturating_add(1)),
                None => conns.first(),
            },
        };
        let Some(conn) = next.and_then(|conn| self.conns.get(*conn)).map(|conn| conn.id) else {
            return self.forward(out, id.route, ShardInput::Undeliverable { id });
        };
        let profile = &self.config.profile;
        let action = match what {
            Outgoing::Lease(_, body) => {
                Action::SendLeaseBreak { id, conn, protection: profile.lease_break_protection, body }
            }
            Outgoing::Oplock(session, body) => {
                let protection = profile.oplock_break_protection;
                Action::SendOplockBreak { id, conn, session, protection, body }
            }
        };
        perform(out, action);
    }

    fn conn(&self, conn: ConnId) -> Result<(Terms, ClientGuid), Misuse> {
        let conn =
            self.conns.find(conn).and_then(|conn| self.conns.get(conn)).ok_or(Misuse::UnknownConnection)?;
        let client = self.clients.get(conn.client).ok_or(Misuse::UnknownConnection)?;
        Ok((conn.terms, client.guid))
    }

    /// The terms and the client of a request whose session is valid on its connection.
    fn known(&self, origin: Origin) -> Result<(Terms, ClientGuid), Misuse> {
        let found = self.conn(origin.conn)?;
        let conn = self.conns.find(origin.conn).ok_or(Misuse::UnknownConnection)?;
        let bound = self.channels(origin.session).is_some_and(|channels| channels.contains(&conn));
        if bound { Ok(found) } else { Err(Misuse::UnknownSession) }
    }

    fn channels(&self, session: SessionId) -> Option<&[ConnSlot]> {
        self.sessions
            .find(session)
            .and_then(|session| self.sessions.get(session))
            .map(|session| &*session.channels)
    }

    fn forward(&self, out: Out<'_>, route: Route, input: ShardInput) {
        out.push(RegistryAction::Shard(route.shard(self.shards), ToShard(input)));
    }

    fn refuse(&mut self, request: RequestId, status: Status, out: Out<'_>) {
        count(&mut self.stats.refused);
        perform(out, Action::Refused { request, status });
    }

    /// Forgets a client of whom nothing is left.
    fn reap(&mut self, client: ClientSlot) {
        if self
            .clients
            .get(client)
            .is_some_and(|client| client.conns.is_empty() && client.bindings == 0 && client.guids == 0)
        {
            self.clients.remove(client);
        }
    }

    fn anomaly(&mut self, what: &'static str) {
        debug_assert!(false, "{what}");
        count(&mut self.stats.anomalies);
    }
}

/// The lease context of a CREATE, if it counts (MS-SMB2 3.3.5.9.8, 3.3.5.9.11).
fn effective_lease(terms: Terms, create: &Create, profile: &Profile) -> Option<Lease> {
    let lease = create.lease?;
    let asked = create.level == OplockLevel::Lease
        // Choice: a key of zeros names nothing, as Samba has it.
        && lease.key() != LeaseKey::ZERO
        && create.share.kind == ShareKind::Disk;
    (asked && understands(terms, &lease, profile)).then_some(lease)
}

/// Whether a lease context of that version is more than an unknown one on a connection.
fn understands(terms: Terms, lease: &Lease, profile: &Profile) -> bool {
    let dialect = match lease {
        Lease::V1(_) => Dialect::Smb210,
        Lease::V2(_) if profile.lease_v2_on_smb210 => Dialect::Smb210,
        Lease::V2(_) => Dialect::Smb300,
    };
    terms.dialect >= dialect && terms.capabilities.contains(Capabilities::LEASING)
}

/// Whether opens of a share can be persistent, on a connection (MS-SMB2 3.3.5.9.10).
fn is_continuous(terms: Terms, share: Share) -> bool {
    terms.dialect >= Dialect::Smb300
        && terms.capabilities.contains(Capabilities::PERSISTENT_HANDLES)
        && share.kind == ShareKind::Disk
        && share.flags.contains(ShareFlags::CONTINUOUSLY_AVAILABLE)
}

fn broadcast(out: Out<'_>, input: ShardInput) {
    out.push(RegistryAction::Broadcast(ToShard(input)));
}

fn perform(out: Out<'_>, action: Action) {
    out.push(RegistryAction::Driver(action));
}

impl Keyed for Client {
    type Key = ClientGuid;

    fn key(&self) -> ClientGuid {
        self.guid
    }
}

impl Keyed for Conn {
    type Key = ConnId;

    fn key(&self) -> ConnId {
        self.id
    }
}

impl Keyed for Session {
    type Key = SessionId;

    fn key(&self) -> SessionId {
        self.id
    }
}

impl Keyed for Binding {
    type Key = BindingName;

    fn key(&self) -> BindingName {
        self.name
    }
}
