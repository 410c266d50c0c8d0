//! The cache of one file: a single page, written from its start. How much it may do, the machine says.

use leasehold::LeaseState;

/// What is cached of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    allowed: LeaseState,
    page: Option<Vec<u8>>,
    /// How many octets of the page the server does not have.
    dirty: usize,
    /// How many are on their way there.
    flushing: usize,
    /// CREATE has said that the file is empty, and it was not purged since.
    empty: bool,
    /// How often it was purged: what a READ brings that was sent before is old.
    purges: u64,
}

impl Cache {
    /// `Allow`
    pub(super) fn allow(&mut self, state: LeaseState) {
        self.allowed = state;
    }

    /// `Purge`. Returns how many octets are lost that were never written back.
    pub(super) fn purge(&mut self) -> usize {
        let lost = self.dirty;
        *self = Self { allowed: self.allowed, purges: self.purges + 1, ..Self::default() };
        lost
    }

    /// What CREATE says of the file.
    pub(super) fn opened(&mut self, end_of_file: u64) {
        self.empty = end_of_file == 0;
    }

    /// Serves a read.
    pub(super) fn read(&self) -> Option<&[u8]> {
        self.page.as_deref().filter(|_| self.allowed.contains(LeaseState::READ))
    }

    /// What a READ that is sent now has to bring back with it.
    pub(super) fn purges(&self) -> u64 {
        self.purges
    }

    /// Takes in what a READ has brought.
    pub(super) fn fill(&mut self, purges: u64, data: &[u8]) {
        if purges == self.purges && self.allowed.contains(LeaseState::READ) && self.dirty == 0 {
            self.page = Some(data.to_vec());
        }
    }

    /// Takes in a write. Returns whether that is all: if not, it has to go to the server too.
    pub(super) fn write(&mut self, data: &[u8]) -> bool {
        let keeps = self.allowed.contains(LeaseState::WRITE);
        if keeps && self.empty {
            self.page.get_or_insert_default();
        }
        let Some(page) = &mut self.page else { return false };
        page.splice(..page.len().min(data.len()), data.iter().copied());
        if keeps {
            self.dirty = self.dirty.max(data.len());
        }
        keeps
    }

    /// What is to be written back. Nothing, if nothing is dirty.
    pub(super) fn flush(&mut self) -> Option<Vec<u8>> {
        self.flushing = std::mem::take(&mut self.dirty);
        self.page.as_ref()?.get(..self.flushing).filter(|data| !data.is_empty()).map(<[u8]>::to_vec)
    }

    /// It was not written back: it is dirty still.
    pub(super) fn unflushed(&mut self) {
        self.dirty = self.dirty.max(self.flushing);
    }

    /// The client has restarted, and has this from its disk. Of what was on its way nobody knows whether it came there.
    pub(super) fn restarted(&mut self) {
        self.allow(LeaseState::NONE);
        self.unflushed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing() -> Cache {
        let mut cache = Cache::default();
        cache.opened(0);
        cache.allow(LeaseState::RWH);
        assert!(cache.write(b"dirty"));
        cache
    }

    #[test]
    fn what_a_read_brings_that_is_older_than_a_purge_is_not_kept() {
        let mut cache = Cache::default();
        cache.allow(LeaseState::READ);
        let before = cache.purges();
        cache.purge();
        cache.fill(before, b"old");
        assert_eq!(cache.read(), None);
        cache.fill(cache.purges(), b"new");
        assert_eq!(cache.read(), Some(b"new".as_slice()));
    }

    #[test]
    fn what_was_not_written_back_is_dirty_still() {
        let mut cache = writing();
        assert_eq!(cache.flush(), Some(b"dirty".to_vec()));
        assert_eq!(cache.flush(), None);
        let mut cache = writing();
        cache.flush();
        cache.unflushed();
        assert_eq!(cache.flush(), Some(b"dirty".to_vec()));
    }

    #[test]
    fn a_write_stays_only_with_w_and_over_what_is_known() {
        let mut cache = Cache::default();
        cache.allow(LeaseState::RWH);
        assert!(!cache.write(b"over unknown octets"));
        let mut cache = writing();
        cache.allow(LeaseState::RH);
        assert!(!cache.write(b"through"));
        assert_eq!(cache.read(), Some(b"through".as_slice()));
        assert_eq!(cache.purge(), 5);
    }
}
