//! Where the rules leave several ways, and the machine goes one of them.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::RequestId;

use super::model::Who;

/// Which of several ways is taken each time, and how many there were.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    taken: Vec<usize>,
    of: Vec<usize>,
    /// Whom the machine refuses because of circles, and for whom those wait who are left.
    pub refused: BTreeSet<RequestId>,
    pub left: BTreeMap<RequestId, BTreeSet<Who>>,
}

impl Choices {
    pub fn like(refused: BTreeSet<RequestId>, left: BTreeMap<RequestId, BTreeSet<Who>>) -> Self {
        Self { refused, left, ..Self::default() }
    }

    /// One of so many: the first, unless another was to be taken here.
    pub fn next(&mut self, of: usize) -> usize {
        let at = self.of.len();
        self.of.push(of);
        self.taken.resize(self.of.len().max(self.taken.len()), 0);
        self.taken[at]
    }

    /// The next way through all choices, from their beginning; or there was none left.
    pub fn another(mut self) -> Option<Self> {
        while let (Some(taken), Some(of)) = (self.taken.pop(), self.of.pop()) {
            if taken + 1 < of {
                self.taken.push(taken + 1);
                return Some(self.again());
            }
        }
        None
    }

    /// The same way, from its beginning.
    pub fn again(self) -> Self {
        Self { of: Vec::new(), ..self }
    }
}
