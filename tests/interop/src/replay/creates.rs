//! CREATE: from the recorded fields to the event, and what of it has no code yet.

use leasehold::server::{self, AppInstance, Asked, Durability, Event, Origin, Reconnect, Share};
use leasehold::wire::{
    AppInstanceId, DurableContexts, DurableFlags, DurableHandleReconnect, DurableHandleReconnectV2,
    DurableHandleRequest, DurableHandleRequestV2, Fixed, Lease, LeaseFlags, LeaseV1, LeaseV2,
};
use leasehold::{
    Access, ClientGuid, CreateGuid, CreateOptions, Dialect, Disposition, Epoch, FileId, FileKey, LeaseState,
    OplockLevel, RequestId, SessionId, ShareMode, Status, UserId,
};

use super::driver::{Body, Driver, Stop};
use super::peers::Whence;
use super::request::{Attempt, Context, Create};
use crate::fs::names::Name;
use crate::fs::{VolumeId, Wanted, granted, mapped, nt};

/// A handle that the recorded server never gave, so it is none here either.
const STRANGE: FileId = FileId::PREVIOUS;

/// A CREATE that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) origin: Origin,
    pub(super) volume: VolumeId,
    pub(super) name: Name,
    /// What the name led to when it was last looked up.
    pub(super) key: FileKey,
    pub(super) wanted: Wanted,
    sharing: ShareMode,
    level: OplockLevel,
    lease: Option<Lease>,
    user: UserId,
    durability: Durability,
    share: Share,
    /// What names it, if it can be replayed.
    pub(super) guid: Option<(ClientGuid, CreateGuid)>,
    pub(super) attempt: Attempt,
    instance: Option<AppInstance>,
}

/// A CREATE that wants an open back and is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returning {
    pub(super) session: SessionId,
    /// Whether there is a DHnQ, too.
    pub(super) requests: bool,
    pub(super) attempt: Attempt,
}

impl Driver<'_> {
    /// A CREATE has come in.
    pub(super) fn create(
        &mut self,
        seq: u64,
        whence: Whence,
        attempt: Attempt,
        create: &Create,
    ) -> Result<(), Stop> {
        let strange = |context: &&Context| matches!(&*context.tag, "AppInstanceVersion" | "TWrp");
        let other = create.contexts.iter().find(strange);
        if let Some(context) = other {
            return Err(Stop::unsupported(format!("CREATE with {}", context.tag)));
        }
        let durability = match Asked::of(&self.durable_contexts(create), whence.dialect) {
            Ok(Asked::Nothing) => Durability::None,
            Ok(Asked::Durable) => Durability::V1,
            Ok(Asked::DurableV2(DurableHandleRequestV2 { timeout, create_guid, flags })) => {
                let persistent = flags.contains(DurableFlags::PERSISTENT);
                Durability::V2 { timeout, create_guid, persistent }
            }
            Ok(Asked::Reconnect(DurableHandleReconnect { file_id })) => {
                let asked =
                    Reconnect::new(RequestId::new(seq), whence.origin, whence.user, file_id.persistent);
                return self.reconnect(whence, attempt, create, asked);
            }
            Ok(Asked::ReconnectV2(DurableHandleReconnectV2 { file_id, create_guid, flags })) => {
                let asked =
                    Reconnect::new(RequestId::new(seq), whence.origin, whence.user, file_id.persistent);
                let asked = asked.with_guid(create_guid).flags(flags, whence.share);
                return self.reconnect(whence, attempt, create, asked);
            }
            Err(status) => {
                self.answer(seq, status, Body::Nothing);
                return Ok(());
            }
        };
        match Pending::new(whence, attempt, create, durability) {
            Ok(pending) => {
                if let Some(event) = self.admit(RequestId::new(seq), pending)? {
                    self.feed(event)?;
                }
            }
            Err(status) => self.answer(seq, status, Body::Nothing),
        }
        Ok(())
    }

    /// The durable contexts of a CREATE. Handles in them are those that were granted here.
    fn durable_contexts(&self, create: &Create) -> DurableContexts {
        let mut found = DurableContexts::default();
        for Context { tag, durable, .. } in &create.contexts {
            let file_id = durable.handle.as_deref().and_then(|label| self.file(label)).unwrap_or(STRANGE);
            let create_guid = durable.create_guid.unwrap_or_default();
            let flags = DurableFlags::from_bits_retain(durable.flags.unwrap_or_default());
            let timeout = durable.timeout.unwrap_or_default();
            match tag.as_str() {
                "DHnQ" => found.dhnq = Some(DurableHandleRequest),
                "DHnC" => found.dhnc = Some(DurableHandleReconnect { file_id }),
                "DH2Q" => found.dh2q = Some(DurableHandleRequestV2 { timeout, flags, create_guid }),
                "DH2C" => found.dh2c = Some(DurableHandleReconnectV2 { file_id, create_guid, flags }),
                _ => {}
            }
        }
        found
    }

    /// A CREATE wants an open back. What it says of the file itself is ignored (MS-SMB2 3.3.5.9.7, 3.3.5.9.12), so its name
    /// need not be one.
    fn reconnect(
        &mut self,
        whence: Whence,
        attempt: Attempt,
        create: &Create,
        mut reconnect: Reconnect,
    ) -> Result<(), Stop> {
        let Whence { origin, volume, .. } = whence;
        let request = reconnect.request;
        match lease_of(create) {
            Ok(None) => {}
            Ok(Some(lease)) => {
                let name = Name::parse(&create.name).ok();
                reconnect = reconnect.lease(lease, name.and_then(|name| self.fs.lookup(volume, &name)));
            }
            Err(status) => {
                self.answer(request.get(), status, Body::Nothing);
                return Ok(());
            }
        }
        let requests = create.contexts.iter().any(|context| context.tag == "DHnQ");
        self.returning.insert(request, Returning { session: origin.session, requests, attempt });
        self.feed(Event::Reconnect(reconnect))
    }

    /// Looks the name up and hands the CREATE on, unless what is there forbids it already: then nobody is disturbed. Where
    /// the same was asked before it may have done that itself, so the machine is asked first (MS-SMB2 3.3.5.9).
    pub(super) fn admit(&mut self, request: RequestId, mut create: Pending) -> Result<Option<Event>, Stop> {
        let Pending { origin, volume, ref name, wanted, sharing, level, lease, user, durability, .. } =
            create;
        let allowed = if self.asked_before(&create) { Ok(()) } else { self.fs.check(volume, name, &wanted) };
        match allowed.and_then(|()| self.fs.resolve(volume, name)) {
            Ok(key) => create.key = key,
            Err(status) => {
                self.answer(request.get(), status, Body::Nothing);
                return Ok(None);
            }
        }
        let mut event = server::Create::new(request, origin, create.key)
            .access(wanted.access, sharing)
            .granted(granted(wanted.access))
            .disposition(wanted.disposition, wanted.options)
            .caching(level, lease)
            .durable(user, durability)
            .place(create.share, self.fs.directory(volume, name));
        if create.attempt.replay {
            event = event.replayed();
        }
        if let Some(instance) = create.instance {
            event = event.instance(instance, mapped(Access::GENERIC_ALL));
        }
        self.creates.insert(request, create);
        Ok(Some(Event::Create(event)))
    }

    /// Whether a CREATE of the same CreateGuid is on its way, or what it opened is there and not used yet.
    fn asked_before(&self, create: &Pending) -> bool {
        let same = |guid: Option<(ClientGuid, CreateGuid)>| guid.is_some() && guid == create.guid;
        self.creates.values().any(|other| same(other.guid)) || self.opens.values().any(|open| same(open.guid))
    }
}

impl Pending {
    /// Reads the fields. An error is what the request deserves by itself (MS-SMB2 3.3.5.9, MS-FSA 2.1.5.1).
    fn new(
        whence: Whence,
        attempt: Attempt,
        create: &Create,
        durability: Durability,
    ) -> Result<Self, Status> {
        let Whence { origin, volume, client, user, share, .. } = whence;
        let wrong = Status::INVALID_PARAMETER;
        if create.impersonation > 3 {
            return Err(nt::BAD_IMPERSONATION_LEVEL);
        }
        let disposition = Disposition::from_wire(create.disposition).ok_or(wrong)?;
        let options = CreateOptions::from_bits_retain(create.options);
        let access = mapped(Access::from_bits_retain(create.access));
        let directory = options.contains(CreateOptions::DIRECTORY_FILE);
        let keeps = matches!(disposition, Disposition::Open | Disposition::Create | Disposition::OpenIf);
        let deletes = access.intersects(Access::DELETE.union(Access::MAXIMUM_ALLOWED));
        if directory && (options.contains(CreateOptions::NON_DIRECTORY_FILE) || !keeps)
            || options.contains(CreateOptions::DELETE_ON_CLOSE) && !deletes
        {
            return Err(wrong);
        }
        Ok(Self {
            origin,
            volume,
            name: Name::parse(&create.name)?,
            key: FileKey::new(0),
            wanted: Wanted { access, disposition, options, attributes: create.attributes },
            sharing: ShareMode::from_bits_retain(create.sharing),
            level: OplockLevel::from_wire(create.level),
            lease: lease_of(create)?,
            user,
            durability,
            share,
            guid: match durability {
                Durability::V2 { create_guid, .. } => Some((client, create_guid)),
                _ => None,
            },
            attempt,
            instance: instance_of(create, whence.dialect)?,
        })
    }
}

/// The application for which a CREATE is. On dialects 2.x the context means nothing (MS-SMB2 3.3.5.9.13).
fn instance_of(create: &Create, dialect: Dialect) -> Result<Option<AppInstance>, Status> {
    let context = create.contexts.iter().find(|context| context.tag == "AppInstanceId");
    let Some(context) = context.filter(|_| dialect >= Dialect::Smb300) else { return Ok(None) };
    let octets = context.instance.ok_or(Status::INVALID_PARAMETER)?;
    let id = AppInstanceId::decode(&[&[20, 0, 0, 0][..], &octets].concat());
    Ok(Some(AppInstance { id: id.map_err(|_| Status::INVALID_PARAMETER)?, version: None }))
}

/// RqLs of a request, if there is one.
fn lease_of(create: &Create) -> Result<Option<Lease>, Status> {
    create.contexts.iter().find(|context| context.tag == "RqLs").map(wire_lease).transpose()
}

/// RqLs of a request. Its length tells the versions apart.
fn wire_lease(context: &Context) -> Result<Lease, Status> {
    let fields = &context.lease;
    let key = fields.key.ok_or(Status::INVALID_PARAMETER)?;
    let state = LeaseState::from_bits_retain(fields.state.unwrap_or_default());
    let flags = LeaseFlags::from_bits_retain(fields.flags.unwrap_or_default());
    let version = fields.version.or(match context.len {
        Some(32) => Some(1),
        Some(52) => Some(2),
        Some(_) | None => None,
    });
    match version {
        Some(1) => Ok(Lease::V1(LeaseV1 { key, state, flags })),
        Some(2) => {
            let parent = fields.parent.filter(|_| flags.contains(LeaseFlags::PARENT_LEASE_KEY_SET));
            let flags = flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET);
            let epoch = Epoch::new(fields.epoch.unwrap_or_default());
            Ok(Lease::V2(LeaseV2 { key, state, flags, parent, epoch }))
        }
        Some(_) | None => Err(Status::INVALID_PARAMETER),
    }
}
