//! Operations between `Proceed` and `Done`, and what follows from them.

use super::action::Action;
use super::judging::{Own, Party};
use super::lease::LeaseName;
use super::records::{FileSlot, Place, Run};
use super::scale::{OpenSlot, RegistryInput, Route, Ticket};
use super::shard::{Out, Shard, perform, tell};
use crate::locks::range::Range;
use crate::locks::{Intent, Operation};
use crate::stats::count;
use crate::status::Status;
use crate::store::list::Links;
use crate::types::{FileKey, LeaseKey, RequestId};

impl Shard {
    /// Lets an operation run that was judged so, unless a lock forbids it.
    pub(super) fn start(
        &mut self,
        slot: FileSlot,
        request: RequestId,
        intent: Intent,
        party: Party,
        out: Out<'_>,
    ) {
        let Party { own, operation, .. } = party;
        if self.locked(slot, own.open, intent) {
            count(&mut self.stats.refused);
            return perform(out, Action::Refused { request, status: Status::FILE_LOCK_CONFLICT });
        }
        let by = own.open.and_then(|slot| Some((slot, self.opens.get(slot)?.place)));
        let run = Run { file: slot, operation, intent, own, by, in_file: Links::default() };
        let run = self.running.insert(run);
        let Some(file) = self.files.get_mut(slot) else { return };
        file.running.push_back(&mut self.running, run, |run| &mut run.in_file);
        let route = Route::of_file(file.key, self.config.route_seed);
        perform(out, Action::Proceed { request, ticket: Ticket::new(route, run) });
    }

    /// Whether a lock of another forbids to read or write there: looked at when every break is through (MS-FSA 2.1.5.3,
    /// 2.1.5.4).
    fn locked(&self, file: FileSlot, who: Option<OpenSlot>, intent: Intent) -> bool {
        let Some(file) = self.files.get(file).filter(|file| !file.locks.vacant()) else { return false };
        // Nothing is stored beyond 2^64 - 1.
        let range = |offset: u64, len: u64| {
            Range::new(offset, len)
                .or_else(|| Range::new(offset, u64::MAX.saturating_sub(offset).saturating_add(1)))
        };
        match intent {
            Intent::Read { offset, len } => range(offset, len)
                .is_some_and(|range| file.locks.conflict_with_read(&self.ranges, range, who).is_some()),
            Intent::Write { offset, len } => range(offset, len)
                .is_some_and(|range| file.locks.conflict_with_write(&self.ranges, range, who).is_some()),
            Intent::Flush
            | Intent::SetSize
            | Intent::SetAttributes
            | Intent::SetSecurity
            | Intent::Rename { .. }
            | Intent::Link { .. }
            | Intent::Delete { .. }
            | Intent::Replaced
            | Intent::AncestorMoved
            | Intent::RenameWithin
            | Intent::EntryChanged { .. } => false,
        }
    }

    /// An operation has ended.
    pub(super) fn done(&mut self, ticket: Ticket, result: Result<(), Status>, out: Out<'_>) {
        let slot = ticket.slot();
        let Some(file) = self.running.get(slot).map(|run| run.file) else { return };
        if let Some(record) = self.files.get_mut(file) {
            record.running.remove(&mut self.running, slot, |run| &mut run.in_file);
        }
        if let Some(run) = self.running.remove(slot).filter(|_| result.is_ok()) {
            self.follow(&run, out);
        }
        self.reap(file);
    }

    /// What follows from an operation that has succeeded: for the file's fate, and for the leases of directories.
    fn follow(&mut self, run: &Run, out: Out<'_>) {
        let place = run.by.map(|(_, place)| place);
        let by = run.by.and_then(|(slot, _)| Some((slot, self.opens.get_mut(slot)?)));
        match run.intent {
            Intent::Write { .. } => match (by, place) {
                // MS-FSA 2.1.5.5: the directory hears of it when the handle is closed.
                (Some((_, open)), _) => open.modified = true,
                (None, Some(place)) => tell_directory(out, place.directory, place.parent),
                (None, None) => {}
            },
            Intent::SetSize | Intent::SetAttributes => {
                if let Some(place) = place {
                    tell_directory(out, place.directory, place.parent);
                }
            }
            Intent::Link { to } => {
                if let Some(place) = place {
                    tell_directory(out, to, place.parent);
                }
            }
            Intent::Rename { to } => {
                if let Some(from) = place {
                    self.moved(run, from, to, out);
                }
            }
            Intent::Delete { pending } => self.dispose(run, pending, out),
            Intent::Read { .. }
            | Intent::Flush
            | Intent::SetSecurity
            | Intent::Replaced
            | Intent::AncestorMoved
            | Intent::RenameWithin
            | Intent::EntryChanged { .. } => {}
        }
    }

    /// A file has a new name: the other opens of it stand there as well (MS-FSA 2.1.5.15.12).
    fn moved(&mut self, run: &Run, from: Place, to: Option<FileKey>, out: Out<'_>) {
        tell_directory(out, from.directory, from.parent);
        if to != from.directory {
            tell_directory(out, to, from.parent);
        }
        let mut next = self.files.get(run.file).and_then(|file| file.opens.head());
        while let Some(open) = next.and_then(|slot| self.opens.get_mut(slot)) {
            next = open.in_file.next();
            if open.place.directory == from.directory {
                open.place.directory = to;
            }
        }
        // MS-SMB2 3.3.5.21.1: the lease has the new name.
        self.relax(run.by.and(run.own.lease), false, out);
    }

    /// FileDispositionInformation has been set (MS-FSA 2.1.5.15.3).
    fn dispose(&mut self, run: &Run, pending: bool, out: Out<'_>) {
        let place = run.by.map_or(Place { directory: None, parent: None }, |(_, place)| place);
        if let Some(file) = self.files.get_mut(run.file) {
            file.dispose(pending, place);
        }
        // MS-SMB2 3.3.5.21.1: whatever the value is.
        self.relax(run.by.and(run.own.lease), true, out);
        if self.files.get(run.file).is_some_and(|file| file.goes() && file.opens.vacant()) {
            self.settle(run.file, out);
        }
    }

    /// Lease.FileDeleteOnClose.
    pub(super) fn relax(&mut self, name: Option<LeaseName>, relaxed: bool, out: Out<'_>) {
        let Some((client, key)) = name else { return };
        let lease = self.leases.find((client, key)).and_then(|slot| self.leases.get_mut(slot));
        if let Some(lease) = lease.filter(|lease| lease.relaxed != relaxed) {
            lease.relaxed = relaxed;
            tell(out, RegistryInput::Relaxed { client, key, relaxed });
        }
    }

    /// An entry of a directory of this shard is another (MS-FSA 2.1.4.12.2).
    pub(super) fn entry_changed(&mut self, directory: FileKey, spared: Option<LeaseKey>, out: Out<'_>) {
        let Some(file) = self.files.find(directory) else { return };
        self.judge_operation(file, Own { spared, ..Own::default() }, Operation::EntryChanged);
        self.tell_holders(out);
    }
}

/// Has the leases of a directory broken, but one.
pub(super) fn tell_directory(out: Out<'_>, directory: Option<FileKey>, spared: Option<LeaseKey>) {
    if let Some(directory) = directory {
        tell(out, RegistryInput::EntryChanged { directory, parent: spared });
    }
}
