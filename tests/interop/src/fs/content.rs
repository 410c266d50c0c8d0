//! The data of a stream: blocks where something was written, zeros elsewhere. Of what recordings leave out only the range is
//! known.

use std::collections::BTreeMap;
use std::ops::Range;

use leasehold::Status;

use super::room::Room;

/// Octets that are held, and that a file with any data is given room for, at a time.
pub const BLOCK: u64 = 4096;
const BLOCK_LEN: usize = BLOCK as usize;

/// What was written. Octets outside of the blocks are zeros, as are those of a block that nobody wrote.
#[derive(Debug, Default)]
pub(super) struct Content {
    size: u64,
    /// AllocationSize that was asked for, if it is more than the data need.
    reserved: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK_LEN]>>,
    /// Where something was written, but nobody knows what; in order, apart from each other.
    unknown: Vec<Range<u64>>,
}

/// Some octets of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    pub octets: Vec<u8>,
    /// Within `octets`: where something else may have been written.
    pub unknown: Vec<Range<u64>>,
}

impl Content {
    /// The room that there is: whole blocks, none for none.
    pub(super) fn allocation(&self) -> u64 {
        self.size.max(self.reserved).div_ceil(BLOCK).saturating_mul(BLOCK)
    }

    /// Asks for room. None of it is taken from anybody.
    pub(super) fn reserve(&mut self, size: u64) {
        self.reserved = size;
    }

    /// Writes from `offset` to `end`. What `data` lacks is unknown.
    pub(super) fn write(
        &mut self,
        room: &mut Room,
        offset: u64,
        end: u64,
        data: Option<&[u8]>,
    ) -> Result<(), Status> {
        if offset >= end {
            return Ok(());
        }
        let mut data = data.unwrap_or_default();
        let known = offset.saturating_add(data.len() as u64).min(end);
        if known > offset {
            let (first, last) = (offset / BLOCK, known.saturating_sub(1) / BLOCK);
            let there = self.blocks.range(first..=last).count() as u64;
            room.take((last - first + 1).saturating_sub(there).saturating_mul(BLOCK))?;
            for index in first..=last {
                let block = self.blocks.entry(index).or_insert_with(|| Box::new([0; BLOCK_LEN]));
                let from = offset.max(index * BLOCK) % BLOCK;
                let target = block.get_mut(from as usize..).unwrap_or_default();
                let length = target.len().min(data.len());
                let (now, later) = data.split_at(length);
                if let Some(target) = target.get_mut(..length) {
                    target.copy_from_slice(now);
                }
                data = later;
            }
        }
        self.learn(offset..known);
        self.forget(known..end);
        self.size = self.size.max(end);
        Ok(())
    }

    /// Cuts off, or adds zeros.
    pub(super) fn resize(&mut self, room: &mut Room, size: u64) {
        if size < self.size {
            let gone = self.blocks.split_off(&size.div_ceil(BLOCK));
            room.give((gone.len() as u64).saturating_mul(BLOCK));
            if let Some(block) = self.blocks.get_mut(&(size / BLOCK)) {
                block.get_mut((size % BLOCK) as usize..).unwrap_or_default().fill(0);
            }
            self.learn(size..u64::MAX);
        }
        self.size = size;
    }

    /// The end of the data.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The octets from `offset` to `end`, as far as there are any.
    pub(super) fn piece(&self, offset: u64, end: u64) -> Piece {
        let end = end.min(self.size);
        let length = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        let mut octets = vec![0; length];
        for (index, block) in self.blocks.range(offset / BLOCK..end.div_ceil(BLOCK).max(offset / BLOCK)) {
            let begin = index * BLOCK;
            let (from, until) = (offset.max(begin), end.min(begin.saturating_add(BLOCK)));
            let source = block.get((from - begin) as usize..(until.max(from) - begin) as usize);
            let target = octets.get_mut((from - offset) as usize..(until.max(from) - offset) as usize);
            if let (Some(source), Some(target)) = (source, target) {
                target.copy_from_slice(source);
            }
        }
        let clip = |range: &Range<u64>| range.start.max(offset)..range.end.min(end);
        let unknown = self.unknown.iter().map(clip).filter(|range| !range.is_empty());
        Piece { octets, unknown: unknown.map(|range| range.start - offset..range.end - offset).collect() }
    }

    /// What is in a range is known again.
    fn learn(&mut self, range: Range<u64>) {
        if range.is_empty() || self.unknown.is_empty() {
            return;
        }
        let parts =
            |old: &Range<u64>| [old.start..old.end.min(range.start), old.start.max(range.end)..old.end];
        self.unknown = self.unknown.iter().flat_map(parts).filter(|part| !part.is_empty()).collect();
    }

    /// Nobody knows any more what is in a range.
    fn forget(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.learn(range.clone());
        let at = self.unknown.partition_point(|old| old.start < range.start);
        self.unknown.insert(at, range);
        self.unknown.dedup_by(|next, before| {
            let touches = before.end == next.start;
            if touches {
                before.end = next.end;
            }
            touches
        });
    }
}

impl Piece {
    /// Octet by octet; `None` where nobody knows.
    pub fn known(&self) -> Vec<Option<u8>> {
        let unknown = |at: &u64| self.unknown.iter().any(|range| range.contains(at));
        (0..).zip(&self.octets).map(|(at, octet)| (!unknown(&at)).then_some(*octet)).collect()
    }
}

const _: () = assert!(BLOCK_LEN as u64 == BLOCK);

/// Where a write would end, if that is where a file may (MS-FSA 2.1.5.4).
pub(super) fn end_of(offset: u64, length: u64) -> Result<u64, Status> {
    /// Sizes are signed on the wire (MS-FSCC 2.4.41).
    const MOST: u64 = i64::MAX as u64;
    let end = offset.checked_add(length).filter(|end| *end <= MOST);
    end.ok_or(Status::INVALID_PARAMETER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::nt;

    fn octets(content: &Content, offset: u64, end: u64) -> Vec<Option<u8>> {
        content.piece(offset, end).known()
    }

    #[test]
    fn what_is_cut_off_comes_back_as_zeros() {
        let (mut content, mut room) = (Content::default(), Room::default());
        content.write(&mut room, 2, 5, Some(&[1, 2, 3])).unwrap();
        assert_eq!(octets(&content, 0, 9), [Some(0), Some(0), Some(1), Some(2), Some(3)]);
        content.resize(&mut room, 3);
        content.resize(&mut room, 5);
        assert_eq!(octets(&content, 0, 9), [Some(0), Some(0), Some(1), Some(0), Some(0)]);
        content.write(&mut room, 4, 6, None).unwrap();
        assert_eq!(octets(&content, 3, 9), [Some(0), None, None]);
        assert_eq!(content.size(), 6);
        content.write(&mut room, 7, 7, Some(&[])).unwrap();
        assert_eq!(content.size(), 6);
    }

    #[test]
    fn what_is_unknown_is_known_once_it_is_written() {
        let (mut content, mut room) = (Content::default(), Room::default());
        content.write(&mut room, 0, 4, None).unwrap();
        content.write(&mut room, 4, 6, None).unwrap();
        assert_eq!((content.unknown.len(), content.unknown.first()), (1, Some(&(0..6))));
        content.write(&mut room, 1, 3, Some(&[7, 8])).unwrap();
        assert_eq!(content.unknown, [0..1, 3..6]);
        assert_eq!(octets(&content, 0, 9), [None, Some(7), Some(8), None, None, None]);
        content.resize(&mut room, 4);
        assert_eq!(content.unknown, [0..1, 3..4]);
        // As much as was said of it.
        content.write(&mut room, 0, 4, Some(&[9])).unwrap();
        assert_eq!(octets(&content, 0, 9), [Some(9), None, None, None]);
    }

    #[test]
    fn data_cross_blocks_and_leave_holes() {
        let (mut content, mut room) = (Content::default(), Room::default());
        let long: Vec<u8> = (0..3 * BLOCK).map(|at| (at % 251) as u8 + 1).collect();
        content.write(&mut room, 100, 100 + 3 * BLOCK, Some(&long)).unwrap();
        assert_eq!(content.blocks.len(), 4);
        assert_eq!(content.piece(100, u64::MAX).octets, long);
        assert_eq!(content.piece(5000, 5003).octets, long[4900..4903]);
        assert_eq!(content.piece(98, 101).octets, [0, 0, 1]);
        let far = 1 << 40;
        content.write(&mut room, far, far + 1, Some(&[9])).unwrap();
        assert_eq!((content.size(), content.blocks.len()), (far + 1, 5));
        assert_eq!(content.piece(far - 2, far + 5).octets, [0, 0, 9]);
        assert_eq!(room.used(), 5 * BLOCK);
        content.resize(&mut room, 1);
        assert_eq!(room.used(), BLOCK);
        content.resize(&mut room, 0);
        assert_eq!(room.used(), 0);
        assert_eq!(content.piece(5, 9), Piece::default());
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let (mut content, mut room) = (Content::default(), Room::with_limit(2 * BLOCK));
        assert_eq!(content.write(&mut room, 0, 3, Some(&[1, 2, 3])), Ok(()));
        let long = vec![9; 2 * BLOCK as usize];
        assert_eq!(content.write(&mut room, 1, 1 + 2 * BLOCK, Some(&long)), Err(nt::DISK_FULL));
        assert_eq!(content.piece(0, 9).octets, [1, 2, 3]);
        assert_eq!(content.write(&mut room, 0, 2 * BLOCK, Some(&long)), Ok(()));
    }
}
