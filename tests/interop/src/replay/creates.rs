//! CREATE: from the recorded fields to the event, and what of it has no code yet.

use leasehold::server::{self, Event, Origin, Share};
use leasehold::wire::{Lease, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Access, CreateOptions, Disposition, Epoch, FileKey, LeaseState, OplockLevel, RequestId, ShareMode, Status,
};

use super::driver::{Body, Driver, Stop};
use super::memfs::{VolumeId, Wanted, granted, mapped};
use super::names::Name;
use super::nt;
use super::request::{Command, Context, Create};

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
}

impl Driver<'_> {
    /// A CREATE has come in.
    pub(super) fn create(
        &mut self,
        seq: u64,
        origin: Origin,
        volume: VolumeId,
        create: &Create,
    ) -> Result<(), Stop> {
        self.supported(seq, create)?;
        match Pending::new(origin, volume, create) {
            Ok(pending) => {
                if let Some(event) = self.admit(RequestId::new(seq), pending)? {
                    self.feed(event)?;
                }
            }
            Err(status) => self.answer(seq, status, Body::Nothing),
        }
        Ok(())
    }

    /// Looks the name up and hands the CREATE on, unless what is there forbids it already: then nobody is disturbed.
    pub(super) fn admit(&mut self, request: RequestId, mut create: Pending) -> Result<Option<Event>, Stop> {
        let Pending { origin, volume, ref name, wanted, sharing, level, lease, .. } = create;
        let allowed = self.fs.check(volume, name, &wanted);
        match allowed.and_then(|()| self.fs.resolve(volume, name)) {
            Ok(key) => create.key = key,
            Err(status) => {
                self.answer(request.get(), status, Body::Nothing);
                return Ok(None);
            }
        }
        let event = server::Create::new(request, origin, create.key)
            .access(wanted.access, sharing)
            .granted(granted(wanted.access))
            .disposition(wanted.disposition, wanted.options)
            .caching(level, lease)
            .place(Share::DISK, self.fs.directory(volume, name));
        self.creates.insert(request, create);
        Ok(Some(Event::Create(event)))
    }

    /// What a CREATE asks for and there is no code for. What it asks for in vain needs none, unless the file system has
    /// to be asked something else than the fields say.
    fn supported(&self, seq: u64, create: &Create) -> Result<(), Stop> {
        for context in &create.contexts {
            if reconnects(context) || matches!(context.tag.as_str(), "AppInstanceId" | "TWrp") {
                return Err(Stop::unsupported(format!("CREATE with {}", context.tag)));
            }
        }
        let Some(recorded) = self.recorded.get(&seq) else { return Ok(()) };
        let mut given = recorded.contexts.iter().flatten().map(|context| context.tag.as_str());
        match given.find(|tag| matches!(*tag, "DHnQ" | "DH2Q")) {
            Some(tag) if self.reconnects() => Err(Stop::unsupported(format!("{tag} granted"))),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a durable handle is ever come back to. If not, it may as well be none.
    fn reconnects(&self) -> bool {
        self.trace.requests().any(|(_, request)| match &request.command {
            Command::Create(create) => create.contexts.iter().any(reconnects),
            _ => false,
        })
    }
}

/// Whether a create context asks for a durable handle to come back to.
fn reconnects(context: &Context) -> bool {
    matches!(context.tag.as_str(), "DHnC" | "DH2C")
}

impl Pending {
    /// Reads the fields. An error is what the request deserves by itself (MS-SMB2 3.3.5.9, MS-FSA 2.1.5.1).
    fn new(origin: Origin, volume: VolumeId, create: &Create) -> Result<Self, Status> {
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
        let lease = create.contexts.iter().find(|context| context.tag == "RqLs");
        Ok(Self {
            origin,
            volume,
            name: Name::parse(&create.name)?,
            key: FileKey::new(0),
            wanted: Wanted { access, disposition, options, attributes: create.attributes },
            sharing: ShareMode::from_bits_retain(create.sharing),
            level: OplockLevel::from_wire(create.level),
            lease: lease.map(wire_lease).transpose()?,
        })
    }
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
