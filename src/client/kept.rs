//! Handles that H keeps open: taken up again by the next open, closed when there are too many (MS-SMB2 3.2.4.5).

use super::action::Served;
use super::open::{Debt, Stage};
use super::open_ref;
use super::opening::Opening;
use super::{Action, Client, FileSlot, OpenSlot, Out};
use crate::types::FileId;

impl Client {
    /// Keeps a handle back instead of closing it. What is too much then closes: the oldest of the file, the oldest of all.
    pub(super) fn keep(&mut self, slot: OpenSlot, file_id: FileId, out: Out<'_>) {
        let Some(open) = self.opens.get_mut(slot) else { return };
        open.stage = Stage::Kept { file_id, turn: self.turn };
        self.turn = self.turn.saturating_add(1);
        let file = open.file;
        self.kept.push_back(&mut self.opens, slot, |open| &mut open.in_kept);
        let Some(record) = self.files.get_mut(file) else { return };
        record.kept = record.kept.saturating_add(1);
        if record.kept > self.config.kept_per_file {
            let turn = |stage| if let Stage::Kept { turn, .. } = stage { Some(turn) } else { None };
            let opens = record.opens.iter(&self.opens, |open| &open.in_file);
            let oldest = opens.filter_map(|(slot, open)| Some((turn(open.stage)?, slot))).min();
            if let Some((_, oldest)) = oldest {
                self.part_with(oldest);
            }
        }
        if usize::try_from(self.kept.len()).unwrap_or(usize::MAX) > self.config.kept {
            if let Some(oldest) = self.kept.head() {
                let other = self.opens.get(oldest).map(|open| open.file);
                self.part_with(oldest);
                if let Some(other) = other.filter(|other| *other != file) {
                    self.descend(other, out);
                }
            }
        }
    }

    /// A kept handle is to close; what is dirty is written back first.
    pub(super) fn part_with(&mut self, slot: OpenSlot) {
        let Some(file) = self.no_longer_kept(slot) else { return };
        if let Some(open) = self.opens.get_mut(slot) {
            if let Some(file_id) = open.stage.file_id() {
                open.stage = Stage::Parting { file_id };
            }
        }
        if let Some(file) = self.files.get_mut(file) {
            file.flush_before_closing();
        }
    }

    /// Parts with the handles that would be in the way of an open; says whether there were any.
    pub(super) fn clear_the_way(&mut self, file: FileSlot, opening: &Opening) -> bool {
        let mut next = self.files.get(file).and_then(|file| file.opens.head());
        let mut any = false;
        while let Some((slot, open)) = next.and_then(|slot| Some((slot, self.opens.get(slot)?))) {
            next = open.in_file.next();
            if matches!(open.stage, Stage::Kept { .. }) && opening.excludes(&open.asked) {
                self.part_with(slot);
                any = true;
            }
        }
        any
    }

    /// Takes a handle off the list of those that are kept, if it is there.
    pub(super) fn no_longer_kept(&mut self, slot: OpenSlot) -> Option<FileSlot> {
        let open = self.opens.get(slot)?;
        if !matches!(open.stage, Stage::Kept { .. }) {
            return None;
        }
        let file = open.file;
        self.kept.remove(&mut self.opens, slot, |open| &mut open.in_kept);
        if let Some(file) = self.files.get_mut(file) {
            file.kept = file.kept.saturating_sub(1);
        }
        Some(file)
    }

    /// Serves an open from a handle that is kept, where access and share mode fit: no CREATE. O(opens of the file).
    pub(super) fn take_up(&mut self, file: Option<FileSlot>, opening: &Opening, out: Out<'_>) -> bool {
        let Some(file) = file.and_then(|file| self.files.get(file)) else { return false };
        let state = file.state;
        let mut opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let found = opens.find_map(|(slot, open)| match open.stage {
            Stage::Kept { file_id, .. }
                if open.away.is_none() && open.may_stay(state) && opening.served_by(&open.asked) =>
            {
                Some((slot, file_id))
            }
            Stage::Kept { .. }
            | Stage::Creating
            | Stage::Live { .. }
            | Stage::Parting { .. }
            | Stage::Closing { .. } => None,
        });
        drop(opens);
        let Some((slot, file_id)) = found else { return false };
        if let Some(file) = self.no_longer_kept(slot) {
            self.touch(file);
        }
        if let Some(open) = self.opens.get_mut(slot) {
            open.stage = Stage::Live { file_id, oplock: Debt::None };
        }
        out.push(Action::Ready { request: opening.request, open: open_ref(slot), served: Served::Kept });
        true
    }
}
