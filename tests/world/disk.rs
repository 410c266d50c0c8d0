//! What the server stores: pages of files, and records of opens.

use std::collections::{BTreeMap, VecDeque};

use leasehold::persist::{Change, Record};
use leasehold::server::PersistSeq;

use super::random::Random;

/// One page: what a READ finds, and what a crash leaves at least.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Page {
    pub now: u64,
    pub stable: u64,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub files: Vec<Vec<Page>>,
    pub records: BTreeMap<u64, Record>,
    pub serials: u64,
    /// Changes that a crash may still undo, the oldest first.
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    seq: PersistSeq,
    change: Change,
    /// It will not be durable, as far as is known.
    fails: bool,
}

impl Disk {
    pub(super) fn new(files: usize, pages: usize) -> Self {
        let files = vec![vec![Page::default(); pages]; files];
        Self { files, records: BTreeMap::new(), serials: 1, pending: VecDeque::new() }
    }

    pub(super) fn append(&mut self, seq: PersistSeq, change: Change, fails: bool) {
        self.pending.push_back(Pending { seq, change, fails });
    }

    /// Everything up to this one is durable, but for what has failed, which is returned.
    pub(super) fn settle(&mut self, up_to: PersistSeq) -> Vec<PersistSeq> {
        let mut failed = Vec::new();
        while self.pending.front().is_some_and(|pending| pending.seq.number() <= up_to.number()) {
            match self.pending.pop_front() {
                Some(Pending { seq, fails: true, .. }) => failed.push(seq),
                Some(Pending { change, .. }) => self.apply(change),
                None => {}
            }
        }
        failed
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(record) => drop(self.records.insert(record.persistent, *record)),
            Change::Delete { persistent } => drop(self.records.remove(&persistent)),
            Change::Serials { below } => self.serials = self.serials.max(below),
        }
    }

    /// Power is lost: of what was not said to be durable, some is.
    pub(super) fn crash(&mut self, random: &mut Random) {
        for page in self.files.iter_mut().flatten() {
            if random.once_in(2) {
                page.now = page.stable;
            }
            page.stable = page.now;
        }
        for _ in 0..random.index(self.pending.len() + 1) {
            if let Some(Pending { change, .. }) = self.pending.pop_front() {
                self.apply(change);
            }
        }
        self.pending.clear();
    }
}
