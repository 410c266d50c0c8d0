//! Operations between `Proceed` and `Done`, and what follows from them.

use super::action::Action;
use super::journal::{HeldBack, is_recorded};
use super::judging::{Own, Party};
use super::lease::LeaseName;
use super::records::{File, FileSlot, Job, Place, Run};
use super::scale::{HolderId, RegistryInput, Route, Ticket};
use super::shard::{Out, Shard, perform, tell};
use crate::locks::range::Range;
use crate::locks::{Intent, Operation};
use crate::state::CreateOptions;
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
        if self.locked(slot, own, intent) {
            return self.decline(request, Status::FILE_LOCK_CONFLICT, out);
        }
        let open = own.open.and_then(|slot| Some((slot, self.opens.get(slot)?)));
        let by = open.map(|(slot, open)| (slot, open.place));
        let deletes = open.is_some_and(|(_, open)| open.options.contains(CreateOptions::DELETE_ON_CLOSE));
        let run = Run { file: slot, operation, intent, own, by, deletes, in_file: Links::default() };
        let run = self.running.insert(run);
        let Some(file) = self.files.get_mut(slot) else { return };
        file.running.push_back(&mut self.running, run, |run| &mut run.in_file);
        file.bar(intent, |count| count.saturating_add(1));
        let ticket = Ticket::new(Route::of_file(file.key, self.config.route_seed), run);
        match own.open.filter(|_| is_recorded(intent)) {
            // What it does to the record is written ahead.
            Some(open) => self.when_durable(open, HeldBack::Proceed(request, ticket), out),
            None => perform(out, Action::Proceed { request, ticket }),
        }
    }

    /// Whether a lock of another forbids to read or write there: looked at when every break is through (MS-FSA 2.1.5.3,
    /// 2.1.5.4).
    ///
    /// The locks of SMB are mandatory, to everybody; those of other protocols to SMB alone, and advisory among each other.
    fn locked(&self, file: FileSlot, own: Own, intent: Intent) -> bool {
        let unlocked = |file: &&File| file.locks.vacant() && file.posix.vacant();
        let Some(file) = self.files.get(file).filter(|file| !unlocked(file)) else { return false };
        let (offset, len, writes) = match intent {
            Intent::Read { offset, len } => (offset, len, false),
            Intent::Write { offset, len } => (offset, len, true),
            Intent::Flush
            | Intent::SetSize
            | Intent::SetAttributes
            | Intent::SetSecurity
            | Intent::Rename { .. }
            | Intent::Link { .. }
            | Intent::Delete { .. }
            | Intent::Unlink
            | Intent::Replaced
            | Intent::AncestorMoved
            | Intent::RenameWithin
            | Intent::EntryChanged { .. } => return false,
        };
        // Nothing is stored beyond 2^64 - 1.
        let range = Range::new(offset, len)
            .or_else(|| Range::new(offset, u64::MAX.saturating_sub(offset).saturating_add(1)));
        let Some(range) = range else { return false };
        let who = own.open.and_then(|open| self.opens.get(open)).map(|open| open.file_id.persistent);
        let (ranges, posix, smb) = (&self.ranges, &self.posix, own.owner.is_none());
        if writes {
            file.locks.conflict_with_write(ranges, range, who).is_some()
                || (smb && file.posix.conflict_with_write(posix, range, None).is_some())
        } else {
            file.locks.conflict_with_read(ranges, range, who).is_some()
                || (smb && file.posix.conflict_with_read(posix, range, None).is_some())
        }
    }

    /// An operation has ended.
    pub(super) fn done(&mut self, ticket: Ticket, result: Result<(), Status>, out: Out<'_>) {
        let slot = ticket.slot();
        let Some(file) = self.running.get(slot).map(|run| run.file) else { return };
        if let Some(record) = self.files.get_mut(file) {
            record.running.remove(&mut self.running, slot, |run| &mut run.in_file);
        }
        let Some(run) = self.running.remove(slot) else { return };
        let barred = match self.files.get_mut(file) {
            Some(record) => record.bar(run.intent, |count| count.saturating_sub(1)),
            None => false,
        };
        if result.is_ok() {
            self.follow(&run, out);
        }
        if is_recorded(run.intent) {
            self.touch_opens(file, |_| true);
        }
        if barred {
            self.resume(file, out);
        }
        self.reap(file);
    }

    /// What follows from an operation that has succeeded: for the file's fate, and for the leases of directories.
    fn follow(&mut self, run: &Run, out: Out<'_>) {
        let Some((slot, then)) = run.by else { return self.follow_anybody(run, out) };
        // Where the name stands by now; where it stood, if the open is closed.
        let now = self.opens.get_mut(slot).map(|open| {
            open.modified |= matches!(run.intent, Intent::Write { .. });
            open.place
        });
        let place = now.unwrap_or(then);
        match run.intent {
            // MS-FSA 2.1.5.5: the directory hears of a write when the handle is closed.
            Intent::Write { .. } if now.is_some() => {}
            Intent::Write { .. } | Intent::SetSize | Intent::SetAttributes => {
                tell_directory(out, place.directory, place.parent);
            }
            Intent::Link { to } => tell_directory(out, to, place.parent),
            Intent::Rename { to } => self.moved(run, place, to, out),
            Intent::Delete { pending } => {
                // MS-FSA 2.1.5.5: its close came behind it.
                let last_word = run.deletes && now.is_none();
                if let Some(file) = self.files.get_mut(run.file).filter(|_| pending || !last_word) {
                    file.dispose(pending, place.parent);
                }
                // MS-SMB2 3.3.5.21.1: whatever the value is.
                self.relax(run.file, run.own.lease, true, out);
                // The close did not wait: nothing is left to take the name along.
                self.unlink_if_last(run.file, place, out);
                self.settle(run.file, out);
            }
            Intent::Read { .. }
            | Intent::Flush
            | Intent::SetSecurity
            | Intent::Unlink
            | Intent::Replaced
            | Intent::AncestorMoved
            | Intent::RenameWithin
            | Intent::EntryChanged { .. } => self.follow_anybody(run, out),
        }
    }

    /// What follows whoever did it.
    fn follow_anybody(&mut self, run: &Run, out: Out<'_>) {
        match run.intent {
            Intent::Delete { pending } => {
                if let Some(file) = self.files.get_mut(run.file).filter(|file| !file.opens.vacant()) {
                    file.dispose(pending, None);
                }
                self.settle(run.file, out);
            }
            // The names that led here lead elsewhere, or nowhere: which, nobody has said.
            Intent::Replaced | Intent::AncestorMoved | Intent::Unlink => {
                self.send_back(run.file, |job| matches!(job, Job::Create(_)), out);
            }
            Intent::Rename { to } => self.stands_elsewhere(run.file, |_| true, to, out),
            Intent::Read { .. }
            | Intent::Write { .. }
            | Intent::Flush
            | Intent::SetSize
            | Intent::SetAttributes
            | Intent::SetSecurity
            | Intent::Link { .. }
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
        // MS-SMB2 3.3.5.21.1: the lease has the new name.
        self.relax(run.file, run.own.lease, false, out);
        self.stands_elsewhere(run.file, |directory| directory == from.directory, to, out);
    }

    /// A name of a file stands in another directory, for the opens that came by it. Who waits to open it came by the old one.
    fn stands_elsewhere(
        &mut self,
        file: FileSlot,
        stood: impl Fn(Option<FileKey>) -> bool,
        to: Option<FileKey>,
        out: Out<'_>,
    ) {
        let mut next = self.files.get(file).and_then(|file| file.opens.head());
        while let Some(open) = next.and_then(|slot| self.opens.get_mut(slot)) {
            next = open.in_file.next();
            if stood(open.place.directory) {
                open.place.directory = to;
            }
        }
        let by_the_old_name =
            |job: &Job| matches!(job, Job::Create(admission) if stood(admission.create.directory));
        self.send_back(file, by_the_old_name, out);
    }

    /// Lease.FileDeleteOnClose of a lease on that file.
    pub(super) fn relax(&mut self, file: FileSlot, name: Option<LeaseName>, relaxed: bool, out: Out<'_>) {
        let Some((client, key)) = name else { return };
        let Some(slot) = self.leases.find((client, key)) else { return };
        let lease = self.leases.get_mut(slot);
        if let Some(lease) = lease.filter(|lease| lease.file == file && lease.relaxed != relaxed) {
            lease.relaxed = relaxed;
            self.touch_holder(HolderId::Lease(slot));
            tell(out, RegistryInput::Relaxed { client, key, relaxed });
        }
    }

    /// An entry of a directory of this shard is another (MS-FSA 2.1.4.12.2).
    pub(super) fn entry_changed(&mut self, directory: FileKey, spared: Option<LeaseKey>, out: Out<'_>) {
        let Some(file) = self.files.find(directory) else { return };
        self.judge_operation(file, Own { spared, ..Own::default() }, Operation::EntryChanged);
        if self.tell_holders(out) {
            self.settle(file, out);
        }
    }
}

/// Has the leases of a directory broken, but one.
pub(super) fn tell_directory(out: Out<'_>, directory: Option<FileKey>, spared: Option<LeaseKey>) {
    if let Some(directory) = directory {
        tell(out, RegistryInput::EntryChanged { directory, parent: spared });
    }
}
