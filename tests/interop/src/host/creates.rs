//! CREATE: from the fields of the request to the event, and from what was granted to the answer.

use leasehold::server::{
    self, AppInstance, Asked, ChannelSequence, Durability, Event, Grant, LockSequences, Opened, Origin,
    Reconnect, Share,
};
use leasehold::wire::{
    DurableFlags, DurableHandleReconnectV2, DurableHandleRequestV2, Lease, RequestContexts,
};
use leasehold::{
    Access, ClientGuid, ConnId, CreateAction, CreateGuid, CreateOptions, Dialect, Disposition, FileId,
    FileKey, OplockLevel, RequestId, SessionId, ShareMode, Status, UserId,
};

use super::{Attempt, Body, Created, Host, Open, Whence};
use crate::fs::names::Name;
use crate::fs::{VolumeId, Wanted, granted, mapped, nt};

/// The fields of a CREATE (MS-SMB2 2.2.13).
#[derive(Clone, Debug)]
pub struct CreateFields<'a> {
    /// The name.
    pub name: &'a str,
    /// RequestedOplockLevel
    pub level: OplockLevel,
    /// ImpersonationLevel
    pub impersonation: u32,
    /// DesiredAccess
    pub access: Access,
    /// FileAttributes
    pub attributes: u32,
    /// ShareAccess
    pub sharing: ShareMode,
    /// CreateDisposition
    pub disposition: u32,
    /// CreateOptions
    pub options: CreateOptions,
    /// The contexts that concern caching and survival.
    pub contexts: RequestContexts,
    /// SMB2_CREATE_ALLOCATION_SIZE, in octets; 0 if nothing is asked.
    pub allocation: u64,
}

/// A CREATE that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    origin: Origin,
    volume: VolumeId,
    name: Name,
    /// What the name led to when it was last looked up.
    key: FileKey,
    wanted: Wanted,
    allocation: u64,
    sharing: ShareMode,
    level: OplockLevel,
    lease: Option<Lease>,
    user: UserId,
    client: ClientGuid,
    durability: Durability,
    share: Share,
    attempt: Attempt,
    instance: Option<AppInstance>,
}

/// A CREATE that wants an open back and is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returning {
    pub(super) conn: ConnId,
    session: SessionId,
    client: ClientGuid,
    attempt: Attempt,
}

impl Host {
    /// A CREATE has come in.
    pub fn create(
        &mut self,
        request: RequestId,
        whence: &Whence,
        attempt: Attempt,
        create: &CreateFields<'_>,
    ) {
        let durability = match Asked::of(&create.contexts.durable, whence.dialect) {
            Ok(Asked::Nothing) => Durability::None,
            Ok(Asked::Durable) => Durability::V1,
            Ok(Asked::DurableV2(DurableHandleRequestV2 { timeout, create_guid, flags })) => {
                let persistent = flags.contains(DurableFlags::PERSISTENT);
                Durability::V2 { timeout, create_guid, persistent }
            }
            Ok(Asked::Reconnect(asked)) => {
                let asked = Reconnect::new(request, whence.origin, whence.user, asked.file_id.persistent);
                return self.reconnect(whence, attempt, create, asked);
            }
            Ok(Asked::ReconnectV2(DurableHandleReconnectV2 { file_id, create_guid, flags })) => {
                let asked = Reconnect::new(request, whence.origin, whence.user, file_id.persistent);
                let asked = asked.with_guid(create_guid).flags(flags, whence.share);
                return self.reconnect(whence, attempt, create, asked);
            }
            Err(status) => return self.answer(request, status, Body::Nothing),
        };
        match Pending::new(whence, attempt, create, durability) {
            Ok(pending) => {
                if let Some(event) = self.admit(request, pending) {
                    self.ask(request, event);
                }
            }
            Err(status) => self.answer(request, status, Body::Nothing),
        }
    }

    /// A CREATE wants an open back. What it says of the file itself is ignored (MS-SMB2 3.3.5.9.7, 3.3.5.9.12), so its name
    /// need not be one.
    fn reconnect(&mut self, whence: &Whence, attempt: Attempt, create: &CreateFields<'_>, asked: Reconnect) {
        let Whence { origin, volume, client, .. } = *whence;
        let request = asked.request;
        let asked = match create.contexts.lease {
            Some(lease) => {
                let name = Name::parse(create.name).ok();
                asked.lease(lease, name.and_then(|name| self.fs.lookup(volume, &name)))
            }
            None => asked,
        };
        let (conn, session) = (origin.conn, origin.session);
        self.returning.insert(request, Returning { conn, session, client, attempt });
        self.ask(request, Event::Reconnect(asked));
    }

    /// Looks the name up and hands the CREATE on, unless what is there forbids it already: then nobody is disturbed. Where
    /// the same was asked before it may have done that itself, so the machine is asked first (MS-SMB2 3.3.5.9).
    fn admit(&mut self, request: RequestId, mut create: Pending) -> Option<Event> {
        let Pending { origin, volume, ref name, wanted, sharing, level, lease, user, durability, .. } =
            create;
        let allowed = self
            .fs
            .check(volume, name, &wanted)
            .or_else(|status| if self.asked_before(&create) { Ok(()) } else { Err(status) });
        match allowed.and_then(|()| self.fs.resolve(volume, name)) {
            Ok(key) => create.key = key,
            Err(status) => {
                self.answer(request, status, Body::Nothing);
                return None;
            }
        }
        let mut event = server::Create::new(request, origin, create.key)
            .access(wanted.access, sharing)
            .granted(granted(wanted.access))
            .disposition(wanted.disposition, wanted.options)
            .caching(level, lease)
            .durable(user, durability)
            .place(create.share, self.fs.directory(volume, name));
        event.channel_sequence = create.attempt.sequence;
        if create.attempt.replay {
            event = event.replayed();
        }
        if let Some(instance) = create.instance {
            event = event.instance(instance, mapped(Access::GENERIC_ALL));
        }
        self.creates.insert(request, create);
        Some(Event::Create(event))
    }

    /// Whether a CREATE of the same CreateGuid is on its way, or what it opened is there and not used yet.
    fn asked_before(&self, create: &Pending) -> bool {
        let Some(guid) = create.guid() else { return false };
        self.creates.values().any(|other| other.guid() == Some(guid))
            || self.opens.values().any(|open| open.guid == Some(guid))
    }

    pub(super) fn open_file(&mut self, request: RequestId, file_id: FileId) -> Event {
        let Some(create) = self.creates.get(&request) else {
            self.fault(format!("OpenFile for {request:?}, which is no CREATE in flight"));
            return Event::Opened { file_id, result: Err(Status::CANCELLED) };
        };
        // Whoever took the name away while this waited has left nothing to open.
        if !self.fs.leads_to(create.volume, &create.name, create.key) {
            return Event::Opened { file_id, result: Err(Status::OBJECT_NAME_NOT_FOUND) };
        }
        let result = self.fs.open(create.volume, &create.name, &create.wanted).map(|opened| {
            let open = Open {
                file_id,
                handle: opened.handle,
                key: create.key,
                session: create.origin.session,
                lease: None,
                guid: create.guid(),
                sequence: ChannelSequence::new(create.attempt.sequence),
                lasting: false,
                locks: LockSequences::default(),
            };
            self.opens.insert(file_id.persistent, open);
            if opened.action != CreateAction::Opened && create.allocation > 0 {
                self.fs.reserve(opened.handle, create.allocation);
            }
            Opened::new(opened.action, opened.kind, self.fs.allocation(opened.handle))
        });
        Event::Opened { file_id, result }
    }

    /// The name of a CREATE leads somewhere else by now, or an operation concerns somebody else.
    pub(super) fn resolve(&mut self, request: RequestId) -> Vec<Event> {
        match self.creates.remove(&request) {
            Some(create) => {
                self.fs.settle(create.volume, &create.name, create.key);
                self.admit(request, create).into_iter().collect()
            }
            None => match self.operations.again(&mut self.fs, request) {
                Some(progress) => self.progress(request, progress),
                None => {
                    self.fault(format!("Resolve for {request:?}, which is nothing in flight"));
                    Vec::new()
                }
            },
        }
    }

    /// Answers a CREATE, and keeps in mind what later requests on the open depend on.
    pub(super) fn granted(&mut self, request: RequestId, grant: Grant) {
        let Grant { file_id, level, action, lease, durable, replayable, .. } = grant;
        let (session, client, attempt, back) =
            match (self.returning.remove(&request), self.creates.get(&request)) {
                (Some(Returning { session, client, attempt, .. }), _) => (session, client, attempt, true),
                (None, Some(create)) => (create.origin.session, create.client, create.attempt, false),
                (None, None) => {
                    return self.fault(format!("Granted for {request:?}, which is no CREATE in flight"));
                }
            };
        self.forget_create(request);
        let Some(open) = self.opens.get_mut(&file_id.persistent) else {
            return self.fault(format!("Granted {file_id}, which is not open"));
        };
        // Given back: the new session counts its channels anew.
        if open.file_id != file_id {
            (open.file_id, open.session) = (file_id, session);
            open.sequence = ChannelSequence::new(attempt.sequence);
        }
        open.lease = lease.map(|lease| (client, lease.key()));
        open.guid = open.guid.filter(|_| replayable);
        open.lasting |= back || durable.is_some();
        match self.fs.info(open.handle) {
            Ok(info) => {
                let created = Created { file_id, action, level, lease, durable, info };
                self.answer(request, Status::SUCCESS, Body::Create(Box::new(created)));
            }
            Err(status) => self.answer(request, status, Body::Nothing),
        }
    }

    pub(super) fn forget_create(&mut self, request: RequestId) {
        if let Some(create) = self.creates.remove(&request) {
            self.fs.settle(create.volume, &create.name, create.key);
        }
    }
}

impl Pending {
    /// Reads the fields. An error is what the request deserves by itself (MS-SMB2 3.3.5.9, MS-FSA 2.1.5.1).
    fn new(
        whence: &Whence,
        attempt: Attempt,
        create: &CreateFields<'_>,
        durability: Durability,
    ) -> Result<Self, Status> {
        let Whence { origin, volume, client, user, share, .. } = *whence;
        let CreateFields { options, attributes, sharing, level, .. } = *create;
        if create.impersonation > 3 {
            return Err(nt::BAD_IMPERSONATION_LEVEL);
        }
        let disposition = Disposition::from_wire(create.disposition).ok_or(Status::INVALID_PARAMETER)?;
        let access = mapped(create.access);
        let directory = options.contains(CreateOptions::DIRECTORY_FILE);
        let keeps = matches!(disposition, Disposition::Open | Disposition::Create | Disposition::OpenIf);
        let deletes = access.intersects(Access::DELETE.union(Access::MAXIMUM_ALLOWED));
        if directory && (options.contains(CreateOptions::NON_DIRECTORY_FILE) || !keeps)
            || options.contains(CreateOptions::DELETE_ON_CLOSE) && !deletes
        {
            return Err(Status::INVALID_PARAMETER);
        }
        // On dialects 2.x the context means nothing (MS-SMB2 3.3.5.9.13).
        let id = create.contexts.app_instance.filter(|_| whence.dialect >= Dialect::Smb300);
        let version = create.contexts.app_instance_version;
        Ok(Self {
            origin,
            volume,
            name: Name::parse(create.name)?,
            key: FileKey::new(0),
            wanted: Wanted { access, disposition, options, attributes },
            allocation: create.allocation,
            sharing,
            level,
            lease: create.contexts.lease,
            user,
            client,
            durability,
            share,
            attempt,
            instance: id.map(|id| AppInstance { id, version }),
        })
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// The connection on which it came is lost, but not its session.
    pub(super) fn move_to(&mut self, conn: ConnId) {
        self.origin.conn = conn;
    }

    /// What names it, if it can be replayed.
    pub(super) fn guid(&self) -> Option<(ClientGuid, CreateGuid)> {
        match self.durability {
            Durability::V2 { create_guid, .. } => Some((self.client, create_guid)),
            _ => None,
        }
    }
}
