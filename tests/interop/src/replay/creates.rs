//! CREATE: its recorded fields, as a client sends them.

use leasehold::server::Asked;
use leasehold::wire::{
    AppInstanceId, DurableContexts, DurableFlags, DurableHandleReconnect, DurableHandleReconnectV2,
    DurableHandleRequest, DurableHandleRequestV2, Fixed, Lease, LeaseFlags, LeaseV1, LeaseV2,
    RequestContexts,
};
use leasehold::{
    Access, CreateOptions, Epoch, FileId, LeaseState, OplockLevel, RequestId, ShareMode, Status,
};

use super::driver::{Driver, Stop};
use super::request::{Context, Create};
use crate::host::{Attempt, CreateFields, Whence};

/// A handle that the recorded server never gave, so it is none here either.
const STRANGE: FileId = FileId::PREVIOUS;

impl Driver<'_> {
    /// A CREATE has come in.
    pub(super) fn create(
        &mut self,
        request: RequestId,
        whence: &Whence,
        attempt: Attempt,
        create: &Create,
    ) -> Result<(), Stop> {
        let strange = |context: &&Context| matches!(&*context.tag, "AppInstanceVersion" | "TWrp");
        if let Some(context) = create.contexts.iter().find(strange) {
            return Err(Stop::unsupported(format!("CREATE with {}", context.tag)));
        }
        let contexts = match self.contexts(create) {
            Ok(contexts) => contexts,
            Err(status) => {
                self.answer(request, status);
                return Ok(());
            }
        };
        let back = Asked::of(&contexts.durable, whence.dialect);
        if matches!(back, Ok(Asked::Reconnect(_) | Asked::ReconnectV2(_))) && contexts.durable.dhnq.is_some()
        {
            self.ignored.insert(request.get());
        }
        let fields = CreateFields {
            name: &create.name,
            level: OplockLevel::from_wire(create.level),
            impersonation: create.impersonation,
            access: Access::from_bits_retain(create.access),
            attributes: create.attributes,
            sharing: ShareMode::from_bits_retain(create.sharing),
            disposition: create.disposition,
            options: CreateOptions::from_bits_retain(create.options),
            contexts,
            allocation: 0,
        };
        self.host.create(request, whence, attempt, &fields);
        Ok(())
    }

    /// The contexts of a CREATE. Handles in them are those that were granted here.
    fn contexts(&self, create: &Create) -> Result<RequestContexts, Status> {
        let mut found = RequestContexts::default();
        for context in &create.contexts {
            match context.tag.as_str() {
                "RqLs" => found.lease = found.lease.or(Some(wire_lease(context)?)),
                "AppInstanceId" => found.app_instance = Some(instance(context)?),
                _ => self.durable_context(context, &mut found.durable),
            }
        }
        Ok(found)
    }

    fn durable_context(&self, Context { tag, durable, .. }: &Context, found: &mut DurableContexts) {
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
}

/// The application for which a CREATE is.
fn instance(context: &Context) -> Result<AppInstanceId, Status> {
    let octets = context.instance.ok_or(Status::INVALID_PARAMETER)?;
    AppInstanceId::decode(&[&[20, 0, 0, 0][..], &octets].concat()).map_err(|_| Status::INVALID_PARAMETER)
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
