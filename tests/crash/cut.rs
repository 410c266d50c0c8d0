//! Where the server is cut down, and everything that may be stored then.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::book::Verdict;
use crate::life::Life;
use crate::rng::Rng;
use crate::trial::trial;

thread_local! {
    /// How many crashes there were.
    pub static CRASHES: Cell<u64> = const { Cell::new(0) };
    /// The crash that is examined, and the one within its recovery.
    pub static PATH: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// How often what was seen.
    pub static SEEN: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    /// The crashes that are shown.
    pub static SHOWN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Counts what the run comes by.
pub fn seen(what: &'static str) {
    SEEN.with_borrow_mut(|seen| *seen.entry(what).or_default() += 1);
}

/// Crashes of one life.
pub struct Cuts {
    rng: Rng,
    /// How many sets of durable changes are tried at most.
    most: usize,
    /// How often there is a cut where there may be one.
    percent: usize,
    depth: u8,
}

impl Cuts {
    pub fn everywhere(seed: u64, most: usize) -> Self {
        Self { rng: Rng::new(seed), most, percent: 100, depth: 0 }
    }

    /// A few, while the server recovers from another crash.
    pub fn within(seed: u64) -> Self {
        Self { rng: Rng::new(seed), most: 4, percent: 12, depth: 1 }
    }

    pub fn outer(&self) -> bool {
        self.depth == 0
    }

    pub fn here(&mut self, life: &Life) -> Verdict {
        if !self.rng.chance(self.percent) {
            return Ok(());
        }
        // Now and then all sets of half a dozen changes.
        let most = if self.outer() && self.rng.chance(6) { self.most.max(64) } else { self.most };
        for image in life.journal.images(&mut self.rng, most) {
            let crash = CRASHES.get() + 1;
            if !self.outer() {
                seen("crashes during recovery");
            }
            CRASHES.set(crash);
            PATH.with_borrow_mut(|path| path.push(crash));
            let loud = SHOWN.with_borrow(|shown| shown.contains(&crash));
            if loud {
                println!("--- crash {crash}\njournal:\n{}image:\n{}", life.journal.show(), image.show());
            }
            trial(&life.book, image, self.rng.next(), self.outer(), loud)
                .map_err(|what| format!("crash {crash}: {what}"))?;
            PATH.with_borrow_mut(Vec::pop);
        }
        Ok(())
    }
}
