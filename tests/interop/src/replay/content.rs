//! The data of a file as the history of what was done to it: recordings do not hold long data, but their length.

/// What was written and cut off, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    size: u64,
    history: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    /// `data` is not there if the recording left it out.
    Written { offset: u64, end: u64, data: Option<Vec<u8>> },
    /// Whatever lies behind is gone.
    Cut { at: u64 },
}

impl Content {
    pub(super) fn write(&mut self, offset: u64, end: u64, data: Option<Vec<u8>>) {
        if offset < end {
            self.size = self.size.max(end);
            self.history.push(Change::Written { offset, end, data });
        }
    }

    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.history.push(Change::Cut { at: size });
        }
        self.size = size;
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The octets from `offset` to `end`; `None` where nobody knows.
    pub(super) fn octets(&self, offset: u64, end: u64) -> Vec<Option<u8>> {
        (offset..end.min(self.size)).map(|at| self.octet(at)).collect()
    }

    fn octet(&self, at: u64) -> Option<u8> {
        for change in self.history.iter().rev() {
            match change {
                Change::Written { offset, end, data } if (*offset..*end).contains(&at) => {
                    let index = usize::try_from(at.checked_sub(*offset)?).ok()?;
                    return data.as_ref()?.get(index).copied();
                }
                Change::Cut { at: cut } if *cut <= at => return Some(0),
                Change::Written { .. } | Change::Cut { .. } => {}
            }
        }
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_comes_back_as_zeros() {
        let mut content = Content::default();
        content.write(2, 5, Some(vec![1, 2, 3]));
        assert_eq!(content.octets(0, 9), [Some(0), Some(0), Some(1), Some(2), Some(3)]);
        content.resize(3);
        content.resize(5);
        assert_eq!(content.octets(0, 9), [Some(0), Some(0), Some(1), Some(0), Some(0)]);
        content.write(4, 6, None);
        assert_eq!(content.octets(3, 9), [Some(0), None, None]);
        assert_eq!(content.size(), 6);
        content.write(7, 7, Some(Vec::new()));
        assert_eq!(content.size(), 6);
    }
}
