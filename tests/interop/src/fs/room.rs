//! What is held in all, and slots that are used again.

use leasehold::Status;

use super::nt;

/// What a name or a stream is counted as, in octets, beside its data.
pub(super) const ENTRY: u64 = 1024;

/// How much is held, and how much may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    used: u64,
    limit: Option<u64>,
}

impl Room {
    /// Room for so many octets.
    pub(super) fn with_limit(octets: u64) -> Self {
        Self { used: 0, limit: Some(octets) }
    }

    /// Octets that are held.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Octets that may be held; `None` without a limit.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(super) fn take(&mut self, octets: u64) -> Result<(), Status> {
        let used = self.used.checked_add(octets).ok_or(nt::DISK_FULL)?;
        if octets > 0 && self.limit.is_some_and(|limit| used > limit) {
            return Err(nt::DISK_FULL);
        }
        self.used = used;
        Ok(())
    }

    pub(super) fn give(&mut self, octets: u64) {
        self.used = self.used.saturating_sub(octets);
    }
}

/// Values by number; a number is given again once its value has gone.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> usize {
        if let Some((id, slot)) = self.free.pop().and_then(|id| Some((id, self.slots.get_mut(id)?))) {
            *slot = Some(value);
            return id;
        }
        self.slots.push(Some(value));
        self.slots.len() - 1
    }

    pub(super) fn get(&self, id: usize) -> Option<&T> {
        self.slots.get(id).and_then(Option::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: usize) -> Option<&mut T> {
        self.slots.get_mut(id).and_then(Option::as_mut)
    }

    pub(super) fn remove(&mut self, id: usize) -> Option<T> {
        let value = self.slots.get_mut(id).and_then(Option::take)?;
        self.free.push(id);
        Some(value)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
