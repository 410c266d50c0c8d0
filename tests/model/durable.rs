//! Opens that outlive their connections (MS-SMB2 3.3.5.9.6, .7, .10, .12, 3.3.5.15.9, 3.3.7.1).

use std::time::Duration;

use leasehold::server::{
    Capabilities, Durability, DurableGrant, ObjectKind, Opened, Origin, Reconnect, SessionEnd, ShareFlags,
    ShareKind,
};
use leasehold::wire::{
    AppInstanceId, AppInstanceVersion, DurableFlags, DurableHandleResponse, DurableHandleResponseV2,
    Lease as Context,
};
use leasehold::{
    Access, ClientGuid, CreateAction, CreateGuid, Dialect, FileId, LeaseState, OplockLevel, RequestId,
    SessionId, Status, UserId,
};

use super::store::Gated;
use super::{Ask, Breach, Key, Model, Open, Phase, Said, What, rules};

/// What an open has to have at least so that its CREATE can be replayed (MS-SMB2 3.3.5.9.10).
pub const DATA: Access = Access::READ_DATA
    .union(Access::EXECUTE)
    .union(Access::WRITE_DATA)
    .union(Access::APPEND_DATA)
    .union(Access::DELETE);

impl Ask {
    /// The ClientGuid and CreateGuid under which it can be replayed.
    pub fn guid(&self) -> Option<(ClientGuid, CreateGuid)> {
        match self.create.durability {
            Durability::V2 { create_guid, .. } => Some((self.client, create_guid)),
            _ => None,
        }
    }

    /// AppInstanceId and AppInstanceVersion, as far as the dialect knows them.
    pub fn instance(&self) -> Option<(AppInstanceId, Option<AppInstanceVersion>)> {
        let instance = self.create.instance.filter(|_| self.terms.dialect >= Dialect::Smb300)?;
        let version = instance.version.filter(|_| self.terms.dialect >= Dialect::Smb311);
        Some((instance.id, version))
    }
}

impl Open {
    /// What its CREATE is told.
    pub fn durable_grant(&self) -> Option<DurableGrant> {
        let timeout = self.resilient.filter(|_| self.persistent).or(self.durable)?;
        match self.ask.create.durability {
            Durability::V1 => Some(DurableGrant::V1(DurableHandleResponse)),
            Durability::V2 { .. } => Some(DurableGrant::V2(DurableHandleResponseV2 {
                timeout: timeout.as_millis() as u32,
                flags: Model::flags_of(self),
            })),
            _ => None,
        }
    }
}

impl Open {
    /// Whether its CREATE can be replayed at all (MS-SMB2 3.3.5.9.10).
    pub fn replayable(&self) -> bool {
        let data = self.kind == ObjectKind::File && self.ask.create.granted.intersects(DATA);
        self.ask.create.share.kind == ShareKind::Disk && (self.persistent || data)
    }
}

impl Model {
    /// The opens of a lease.
    pub fn members(&self, key: Key) -> impl Iterator<Item = &Open> {
        self.opens.iter().filter(move |open| open.leased && open.ask.key == Some(key))
    }

    /// Whether nobody is connected to any open of a lease.
    pub fn deserted(&self, key: Key) -> bool {
        self.members(key).next().is_some() && self.members(key).all(|open| open.orphan.is_some())
    }

    /// How long an open is to be kept that was granted this.
    pub fn made_durable(
        &self,
        open: &Open,
        opened: Opened,
        level: OplockLevel,
        lease: Option<Context>,
    ) -> Option<Duration> {
        let handle = lease.is_some_and(|lease| lease.state().contains(LeaseState::HANDLE));
        if opened.kind == ObjectKind::Directory
            || !self.store.reserved
            || !(handle || level == OplockLevel::Batch)
        {
            return None;
        }
        match open.ask.create.durability {
            Durability::V1 => Some(self.config.durable_timeout),
            Durability::V2 { timeout, .. } => Some(self.patience(timeout, open.ask.create.share)),
            _ => None,
        }
    }

    /// Whether an open is kept when its session ends, and how.
    pub fn survives(&self, open: &Open, how: Option<SessionEnd>) -> bool {
        let (durable, resilient) = (open.durable.is_some(), open.resilient.is_some());
        let lease = open.ask.key.and_then(|key| self.lease(key));
        let holds = match lease {
            Some(lease) => lease.state.contains(LeaseState::HANDLE),
            None => open.oplock == OplockLevel::Batch && open.breaking.is_none(),
        };
        match how {
            None | Some(SessionEnd::Refused) => false,
            Some(_) if open.persistent => true,
            // Choice, where MS-SMB2 3.3.5.6 keeps all that is durable: nobody could have the others back.
            Some(SessionEnd::LoggedOff) => resilient || (durable && holds),
            Some(SessionEnd::Replaced) => {
                let still = lease.is_none_or(|lease| lease.breaking.is_none());
                let writes = lease.is_none_or(|lease| lease.state.contains(LeaseState::WRITE));
                let locks = self.locks.get(&open.file()).map_or(&[][..], Vec::as_slice);
                let locked = locks.iter().any(|lock| lock.owner == open.request());
                resilient || (durable && holds && still && (writes || !locked))
            }
        }
    }

    /// Nobody is connected to it any more.
    pub fn orphan(&mut self, request: RequestId) {
        let serial = self.next_serial();
        let now = self.now;
        let open = self.open_mut(request).unwrap();
        let timeout = open.resilient.or(open.durable).unwrap();
        open.orphan = Some((now.saturating_add(timeout), serial));
        // What it was told and nobody has to acknowledge was told to that session.
        open.announced = None;
        self.keep_lost(request);
        self.dismiss(request);
    }

    // ---- breaks

    /// Whether a break meets nobody.
    pub(super) fn purges(&self, breach: Breach) -> bool {
        match breach {
            Breach::Lease(key, takes) => {
                let brief = |open: &Open| open.durable.is_some() && !open.persistent;
                let meets_nobody = self.untold(key)
                    || self.deserted(key) && (!self.keeps(key) || self.members(key).any(brief));
                self.lease(key).is_some_and(|lease| lease.state.without(takes) != lease.state) && meets_nobody
            }
            Breach::Oplock(open, to) => self.open(open).is_some_and(|open| {
                let meets_nobody = open.untold() || open.orphan.is_some() && !self.keeps_oplock(open);
                meets_nobody && rules::rank(to) < rules::rank(open.oplock)
            }),
        }
    }

    /// Nobody is told: what is durable goes, what is resilient caches nothing.
    pub fn purge_lease(&mut self, key: Key) {
        let keeps = self.keeps(key);
        if let Some(lease) = self.lease_mut(key) {
            if !keeps {
                lease.state = LeaseState::NONE;
                lease.breaking = None;
            }
            let file = lease.file;
            self.purged.push(file);
        }
        let all: Vec<RequestId> = self
            .members(key)
            .filter(|open| open.durable.is_some() && !open.persistent)
            .map(Open::request)
            .collect();
        all.into_iter().for_each(|open| self.purge(open));
    }

    pub fn purge_oplock(&mut self, request: RequestId) {
        let Some(open) = self.open_mut(request) else { return };
        open.oplock = OplockLevel::None;
        open.breaking = None;
        let (file, goes) = (open.file(), open.durable.is_some() && !open.persistent);
        self.purged.push(file);
        if goes {
            self.purge(request);
        }
    }

    /// MS-SMB2 3.3.4.6: breaks under way that nobody is left to acknowledge are over, like those that meet nobody. That of a lease
    /// goes on: any connection of its client may acknowledge it.
    pub fn end_unheard(&mut self) {
        self.keep_unheard();
        let over = |open: &&Open| open.orphan.is_some() && open.breaking.is_some() && !open.persistent;
        let oplocks = self.opens.iter().filter(over);
        let oplocks: Vec<RequestId> = oplocks.map(Open::request).collect();
        oplocks.into_iter().for_each(|open| self.purge_oplock(open));
    }

    /// MS-SMB2 3.3.4.7: what is durable, without a connection, and loses H or BATCH could not be had back. It goes.
    ///
    /// As the machine has it also where other opens of the lease have a connection: of these no text speaks.
    pub fn shed(&mut self) {
        let lost = |open: &&Open| {
            let held = match open.ask.key.and_then(|key| self.lease(key)) {
                Some(lease) => lease.state.contains(LeaseState::HANDLE),
                None => open.oplock == OplockLevel::Batch,
            };
            open.orphan.is_some() && open.durable.is_some() && !open.persistent && !held
        };
        let lost: Vec<RequestId> = self.opens.iter().filter(lost).map(Open::request).collect();
        lost.into_iter().for_each(|open| self.purge(open));
    }

    fn purge(&mut self, request: RequestId) {
        // It may have gone for the sake of another.
        if self.open(request).is_some() {
            let file = self.close(request);
            self.purged.push(file);
        }
    }

    /// Who waits for a file of which opens were purged.
    pub fn settle(&mut self) {
        while let Some(file) = self.purged.pop() {
            self.purged.retain(|other| *other != file);
            self.judge_again(file);
        }
    }

    // ---- replay

    /// It was used: its CREATE cannot be replayed any more.
    pub fn used(&mut self, request: RequestId) {
        if let Some(open) = self.open_mut(request) {
            open.replay = None;
        }
    }

    /// Refuses a CREATE whose CreateGuid is that of another that waits or is being opened.
    pub fn replayed_early(&mut self, ask: &Ask) -> bool {
        let Some(guid) = ask.guid() else { return false };
        let waits = self
            .waiters
            .iter()
            .any(|waiter| matches!(&waiter.what, What::Create(other) if other.guid() == Some(guid)));
        // Choice: one that was left before the store had it is there, but not to be had back yet.
        let pending = |open: &Open| open.unheard && open.orphan.is_none();
        let opening = |open: &Open| open.replay == Some(guid) && (open.phase != Phase::Live || pending(open));
        if waits || self.opens.iter().any(opening) {
            self.refuse(ask.create.request, Status::FILE_NOT_AVAILABLE);
            return true;
        }
        false
    }

    /// Answers a CREATE whose CreateGuid is that of an open.
    pub fn replayed(&mut self, ask: &Ask) -> bool {
        let Some(guid) = ask.guid() else { return false };
        let create = &ask.create;
        let request = create.request;
        let Some(open) = self.opens.iter().find(|open| open.replay == Some(guid)) else { return false };
        // Also a key that joined no lease is that of the open.
        let key = open.ask.key.map(|key| key.1).or(open.bare.map(|context| context.key()));
        let elsewhere = open.orphan.is_none() && open.session() != create.origin.session;
        let again = open.orphan.is_some()
            && open.persistent
            && ask.terms.dialect >= Dialect::Smb300
            && create.share.flags.contains(ShareFlags::SCALE_OUT);
        // Choice: where it does not count, it is not there.
        let flag = ask.promised(self);
        let refused = if !create.replay && again {
            Some(Status::FILE_NOT_AVAILABLE)
        } else if !create.replay {
            Some(Status::DUPLICATE_OBJECTID)
        } else if open.owner != create.user || key != ask.context.map(|context| context.key()) {
            Some(Status::ACCESS_DENIED)
        } else if open.unheard {
            Some(Status::FILE_NOT_AVAILABLE)
        } else if elsewhere {
            Some(Status::DUPLICATE_OBJECTID)
        } else if open.persistent && !flag {
            Some(Status::INVALID_PARAMETER)
        } else {
            None
        };
        if let Some(status) = refused {
            self.refuse(request, status);
            return true;
        }
        self.answer_again(open.request(), ask, create.level);
        true
    }

    /// The answer to the CREATE of an open, once more.
    pub fn answer_again(&mut self, open: RequestId, ask: &Ask, asked: OplockLevel) {
        let (create, request) = (&ask.create, ask.create.request);
        let fresh = self.open(open).unwrap().orphan.is_some();
        if fresh {
            self.give_back(open, create.origin);
            self.given_back(open, ask.context);
        }
        let open = self.open(open).unwrap();
        let lease = open.ask.key.and_then(|key| self.lease_context(key)).or(open.bare);
        // The answer is that of the open, with the level that is asked this time; but nobody is promised more than is held.
        let both = rules::as_state(asked) & rules::as_state(open.oplock);
        let level = if lease.is_some() { OplockLevel::Lease } else { rules::as_level(both) };
        let handle = lease.is_some_and(|lease| lease.state().contains(LeaseState::HANDLE));
        let shown = open.persistent || handle || level == OplockLevel::Batch;
        let open = open.request();
        self.say(Said::Granted {
            request,
            open,
            fresh,
            action: self.open(open).unwrap().action,
            level,
            lease,
            durable: self.open(open).unwrap().durable_grant().filter(|_| shown),
            replayable: self.open(open).unwrap().replay.is_some(),
        });
        if fresh {
            self.send_kept(open);
        }
    }

    // ---- application instances

    /// MS-SMB2 3.3.5.9.13: former instances of the application go. False if one of them forbids it.
    pub fn take_over(&mut self, ask: &Ask) -> bool {
        let Some((id, version)) = ask.instance() else { return true };
        let create = &ask.create;
        let former: Vec<&Open> = self
            .on(create.file)
            .filter(|open| open.ask.client != ask.client)
            .filter(|open| open.ask.instance().is_some_and(|(other, _)| other == id))
            .collect();
        let forbids = |open: &&Open| {
            let (_, held) = open.ask.instance().unwrap();
            let newer = match (held, version) {
                (Some(held), Some(version)) => (held.high, held.low) >= (version.high, version.low),
                (Some(_), None) => true,
                (None, _) => false,
            };
            // Choice: one whose client waits for the store is as one that is being opened; one that was left by then goes.
            newer || open.phase != Phase::Live || (open.unheard && open.orphan.is_none())
        };
        if former.iter().any(forbids) {
            self.refuse(create.request, Status::FILE_FORCED_CLOSED);
            return false;
        }
        if !create.maximal.contains(Access::GENERIC_READ) {
            return true;
        }
        let former: Vec<RequestId> = former.iter().map(|open| open.request()).collect();
        for open in former {
            if let Some(promised) = self.open(open).map(|open| open.persistent) {
                // Who waits is looked at behind the CREATE.
                let file = self.close(open);
                self.purged.push(file);
                // Its client has not heard of it.
                if promised {
                    self.bar_others(file, &[open]);
                }
            }
        }
        true
    }

    // ---- coming back

    fn give_back(&mut self, request: RequestId, origin: Origin) {
        let order = self.next_serial();
        let at = self.opens.iter().position(|open| open.request() == request).unwrap();
        let mut open = self.opens.remove(at);
        open.orphan = None;
        open.order = order;
        open.ask.create.origin = origin;
        self.opens.push(open);
    }

    /// MS-SMB2 3.3.5.9.7, 3.3.5.9.12.
    pub fn reconnect(&mut self, wanted: &Reconnect) {
        let request = wanted.request;
        let open = match self.returning(wanted) {
            Ok(open) => open,
            Err(status) => return self.refuse(request, status),
        };
        self.give_back(open, wanted.origin);
        self.given_back(open, wanted.lease);
        let given = open;
        let open = self.open(open).unwrap();
        let lease = open.ask.key.and_then(|key| self.lease_context(key)).or(open.bare);
        let level = if lease.is_some() { OplockLevel::Lease } else { open.oplock };
        self.say(Said::Granted {
            request,
            open: open.request(),
            fresh: true,
            action: CreateAction::Opened,
            level,
            lease,
            durable: None,
            replayable: open.replay.is_some(),
        });
        self.send_kept(given);
    }

    fn returning(&self, wanted: &Reconnect) -> Result<RequestId, Status> {
        let missing = Status::OBJECT_NAME_NOT_FOUND;
        let conn = &self.conns[&wanted.origin.conn];
        let v2_from = if self.config.profile.lease_v2_on_smb210 { Dialect::Smb210 } else { Dialect::Smb300 };
        let context = wanted.lease.filter(|context| {
            let from = if matches!(context, Context::V1(_)) { Dialect::Smb210 } else { v2_from };
            conn.terms.capabilities.contains(Capabilities::LEASING) && conn.terms.dialect >= from
        });
        let flag = wanted.flags.contains(DurableFlags::PERSISTENT);
        let open = self.open_persistent(wanted.persistent).and_then(|open| self.open(open));
        let open = open.or_else(|| {
            let guid = wanted.create_guid.filter(|_| flag && self.promises(conn.terms, wanted.share))?;
            self.open_of_guid(guid, conn.client)
        });
        let open = open.filter(|open| open.orphan.is_some()).ok_or(missing)?;
        if wanted.create_guid.is_some_and(|guid| guid != open.guid) {
            return Err(missing);
        }
        let lease = open.ask.key.and_then(|key| self.lease(key));
        let held = match (lease, context) {
            (Some(lease), Some(context)) => {
                let second = matches!(context, Context::V2(_));
                if lease.key != (conn.client, context.key()) || lease.second != second {
                    return Err(missing);
                }
                lease.state.contains(LeaseState::HANDLE)
            }
            (None, None) if open.bare.is_none() => open.oplock == OplockLevel::Batch,
            (None, Some(context))
                if open.ask.client == conn.client
                    && open.bare.is_some_and(|bare| bare.key() == context.key()) =>
            {
                false
            }
            _ => return Err(missing),
        };
        if open.durable.is_some() && !held && !open.persistent {
            return Err(missing);
        }
        // Choice: its record is on the way.
        if open.unheard {
            return Err(Status::FILE_NOT_AVAILABLE);
        }
        if open.persistent && !flag {
            return Err(missing);
        }
        if !open.persistent && flag && wanted.create_guid.is_some() {
            return Err(Status::INVALID_PARAMETER);
        }
        if wanted.user != open.owner {
            return Err(Status::ACCESS_DENIED);
        }
        let named = lease.is_none_or(|lease| self.deleting.contains(&lease.key));
        if !named && wanted.file != Some(open.file()) {
            return Err(Status::INVALID_PARAMETER);
        }
        Ok(open.request())
    }

    /// MS-SMB2 3.3.5.15.9.
    pub fn request_resilience(
        &mut self,
        request: RequestId,
        session: SessionId,
        user: UserId,
        file_id: FileId,
        timeout: u32,
    ) {
        let Some(open) = self.usable(file_id, Some(session)).map(Open::request) else {
            return self.refuse(request, Status::FILE_CLOSED);
        };
        let asked = Duration::from_millis(timeout.into());
        self.used(open);
        if asked > self.config.resilient_max {
            return self.refuse(request, Status::INVALID_PARAMETER);
        }
        // Choice: nothing is promised under a FileId that may be given out once more.
        if !self.store.reserved {
            return self.refuse(request, Status::INSUFFICIENT_RESOURCES);
        }
        let timeout = if timeout == 0 { self.config.resilient_default } else { asked };
        let open = self.open_mut(open).unwrap();
        open.durable = None;
        open.resilient = Some(timeout);
        open.owner = user;
        let (open, persistent) = (open.request(), open.persistent);
        if persistent {
            self.gate(Gated::Accept, request, None, &[open]);
        } else {
            self.say(Said::Accepted { request });
        }
    }
}
