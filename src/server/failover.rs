//! AppInstanceId: an application that has moved to another client takes the place of its former self (MS-SMB2 3.3.5.9.13).

use super::event::AppInstance;
use super::records::{FileSlot, Instance};
use super::scale::Admission;
use super::shard::{Out, Shard};
use crate::state::{Access, Dialect};
use crate::status::Status;

/// What GENERIC_READ stands for (MS-SMB2 2.2.13.1.1), SYNCHRONIZE left aside.
const READS: Access =
    Access::READ_DATA.union(Access::READ_EA).union(Access::READ_ATTRIBUTES).union(Access::READ_CONTROL);

impl Shard {
    /// Closes the opens that the same application has on this file through another client. Neither a break nor a share mode is
    /// in the way of that. Returns whether there were any.
    pub(super) fn fail_over(
        &mut self,
        file: FileSlot,
        admission: &Admission,
        out: Out<'_>,
    ) -> Result<bool, Status> {
        let Some(new) = admission.instance() else { return Ok(false) };
        let former = |old: &Instance| old.app.id == new.app.id && old.client != new.client;
        let opens = self.files.get(file).map(|file| file.opens).unwrap_or_default();
        let mut found = false;
        for (_, open) in opens.iter(&self.opens, |open| &open.in_file) {
            let Some(old) = open.instance.as_deref().filter(|old| former(old)) else { continue };
            // What is being opened cannot be closed as yet.
            if open.opening() || open.unheard() || is_newer(old.app, new.app) {
                return Err(Status::FILE_FORCED_CLOSED);
            }
            found = true;
        }
        if !found || !reads(admission.create.maximal) {
            return Ok(false);
        }
        // From the start each time: what closes may purge others in its turn.
        let next = |shard: &Self| {
            let opens = &shard.files.get(file)?.opens;
            let mut opens = opens.iter(&shard.opens, |open| &open.in_file);
            opens.find(|(_, open)| open.instance.as_deref().is_some_and(former)).map(|(slot, _)| slot)
        };
        while let Some(slot) = next(self) {
            // Its client may be back after a restart, and has not heard of it.
            if let Some(change) = self.shut(slot, out) {
                self.bar_others(file, change);
            }
        }
        Ok(true)
    }
}

fn reads(maximal: Access) -> bool {
    maximal.contains(READS) || maximal.intersects(Access::GENERIC_READ.union(Access::GENERIC_ALL))
}

/// Whether an open is of an instance that the one of a request may not replace: of the same or a later version, or of a version
/// where the request has none.
fn is_newer(open: AppInstance, request: AppInstance) -> bool {
    match (open.version, request.version) {
        (Some(open), Some(request)) => (open.high, open.low) >= (request.high, request.low),
        (Some(_), None) => true,
        (None, _) => false,
    }
}

impl Admission {
    /// The instance, with its version where that counts.
    pub(super) fn instance(&self) -> Option<Instance> {
        // MS-SMB2 2.2.13.2.13: on 2.x the context is unknown.
        let instance = self.create.instance.filter(|_| self.dialect >= Dialect::Smb300);
        let AppInstance { id, version } = instance?;
        let version = version.filter(|_| self.dialect >= Dialect::Smb311);
        Some(Instance { app: AppInstance { id, version }, client: self.client })
    }
}
