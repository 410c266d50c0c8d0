//! A stable store, as far as a crash can tell: what was to be stored, what is covered, and what may be there after all.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use leasehold::persist::{Change, Record};
use leasehold::server::PersistSeq;

use crate::rng::Rng;

/// What a store holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub records: BTreeMap<u64, Rc<Record>>,
    pub serials: u64,
    /// Whether it is what all changes up to some one make, in their order.
    pub in_order: bool,
    /// Whether every change that did not fail is in it.
    pub whole: bool,
}

/// A change as it is stored.
#[derive(Clone, Debug)]
pub enum Stored {
    Put(Rc<Record>),
    Delete(u64),
    Serials(u64),
}

impl Stored {
    /// Which record it concerns; `None` for the serial numbers.
    pub fn subject(&self) -> Option<u64> {
        match self {
            Self::Put(record) => Some(record.persistent),
            Self::Delete(persistent) => Some(*persistent),
            Self::Serials(_) => None,
        }
    }
}

impl Image {
    pub const fn empty() -> Self {
        Self { records: BTreeMap::new(), serials: 1, in_order: true, whole: true }
    }

    fn apply(&mut self, change: &Stored) {
        match change {
            Stored::Put(record) => {
                self.records.insert(record.persistent, Rc::clone(record));
            }
            Stored::Delete(persistent) => {
                self.records.remove(persistent);
            }
            Stored::Serials(below) => self.serials = self.serials.max(*below),
        }
    }
}

/// How a store lies about what it covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lie {
    /// A change that it covers is not there.
    Loses,
    /// A record that was deleted is there.
    Revives,
    /// A record is there as it was before its last change.
    Reorders,
}

/// The changes of one life of the server.
#[derive(Clone, Debug)]
pub struct Journal {
    pub changes: Vec<(PersistSeq, Stored)>,
    pub covered: usize,
    failed: BTreeSet<usize>,
    /// What the covered ones made of what was there.
    durable: Image,
    lie: Option<Lie>,
}

impl Journal {
    pub fn new(base: Image, lie: Option<Lie>) -> Self {
        let base = Image { in_order: true, whole: true, ..base };
        Self { changes: Vec::new(), covered: 0, failed: BTreeSet::new(), durable: base, lie }
    }

    /// Notes a change, in the shape that octets give it.
    pub fn push(&mut self, seq: PersistSeq, change: &Change) {
        let change = match change {
            Change::Put(record) => Stored::Put(Rc::new(through_octets(record))),
            Change::Delete { persistent } => Stored::Delete(*persistent),
            Change::Serials { below } => Stored::Serials(*below),
        };
        self.changes.push((seq, change));
    }

    /// What is neither covered nor has failed, by place.
    pub fn open(&self) -> Vec<usize> {
        (self.covered..self.changes.len()).filter(|place| !self.failed.contains(place)).collect()
    }

    /// Covers everything up to that place: what is to be reported.
    pub fn cover(&mut self, place: usize) -> PersistSeq {
        for place in self.open().into_iter().take_while(|other| *other <= place) {
            let change = &self.changes[place].1;
            let lost = match (self.lie, change) {
                (Some(Lie::Loses), Stored::Put(_)) => place % 3 == 0,
                (Some(Lie::Revives), Stored::Delete(_)) => true,
                (Some(Lie::Reorders), Stored::Put(record)) => {
                    self.durable.records.contains_key(&record.persistent)
                }
                _ => false,
            };
            if !lost {
                self.durable.apply(change);
            }
        }
        self.covered = self.covered.max(place + 1);
        self.changes[place].0
    }

    /// That one cannot be stored: what is to be reported, and what it was.
    pub fn fail(&mut self, place: usize) -> (PersistSeq, Stored) {
        self.failed.insert(place);
        self.changes[place].clone()
    }

    /// What is there once everything is.
    pub fn whole(&self) -> Image {
        let mut whole = self.durable.clone();
        self.open().into_iter().for_each(|place| whole.apply(&self.changes[place].1));
        whole
    }

    pub fn was_put(&self, persistent: u64) -> bool {
        let put = |change: &Stored| matches!(change, Stored::Put(record) if record.persistent == persistent);
        self.durable.records.contains_key(&persistent) || self.changes.iter().any(|(_, change)| put(change))
    }

    /// Whether a record is there for certain.
    pub fn covers(&self, persistent: u64) -> bool {
        self.durable.records.contains_key(&persistent)
    }

    /// Everything that may be there after a crash now: for each record any of its open changes may be the last one. All of
    /// them if they are few; else prefixes, and some others.
    pub fn images(&self, rng: &mut Rng, most: usize) -> Vec<Image> {
        let open = self.open();
        let mut prefixes = vec![self.durable.clone()];
        for place in &open {
            let mut next = prefixes.last().expect("the covered ones").clone();
            next.apply(&self.changes[*place].1);
            prefixes.push(next);
        }
        let mut subjects: BTreeMap<Option<u64>, Vec<usize>> = BTreeMap::new();
        for place in &open {
            subjects.entry(self.changes[*place].1.subject()).or_default().push(*place);
        }
        let all = subjects.values().try_fold(1usize, |all, places| all.checked_mul(places.len() + 1));
        let mut images = Vec::new();
        if let Some(all) = all.filter(|all| *all <= most) {
            for mut number in 0..all {
                let mut last = Vec::new();
                for places in subjects.values() {
                    let choice = number % (places.len() + 1);
                    number /= places.len() + 1;
                    last.extend(choice.checked_sub(1).map(|choice| places[choice]));
                }
                images.push(self.image(&prefixes, &open, &last));
            }
            return images;
        }
        images.extend(prefixes.iter().map(|prefix| Image { whole: false, ..prefix.clone() }));
        images.last_mut().expect("the covered ones").whole = true;
        let most = most.max(4);
        while images.len() > most / 2 {
            // The first and the last are the most telling.
            images.remove(1 + rng.below(images.len() - 2));
        }
        while images.len() < most {
            let some: Vec<_> = open.iter().copied().filter(|_| rng.chance(50)).collect();
            images.push(self.image(&prefixes, &open, &some));
        }
        images
    }

    /// What is there if, of all open changes, these are.
    fn image(&self, prefixes: &[Image], open: &[usize], durable: &[usize]) -> Image {
        let mut image = self.durable.clone();
        for place in durable {
            image.apply(&self.changes[*place].1);
        }
        image.in_order = prefixes.iter().any(|prefix| prefix.records == image.records);
        image.whole = prefixes.last().is_some_and(|whole| whole.records == image.records);
        if let Some(torn) = open.iter().rfind(|place| !durable.contains(place)) {
            torn_is_nothing(&self.changes[*torn].1);
        }
        image
    }

    /// For a reader.
    pub fn show(&self) -> String {
        let mut text = String::new();
        for (place, (seq, change)) in self.changes.iter().enumerate() {
            let fate = match (place < self.covered, self.failed.contains(&place)) {
                (_, true) => "failed",
                (true, _) => "covered",
                (false, _) => "open",
            };
            text += &format!("  {} {fate}: {}\n", seq.number(), show(change));
        }
        text
    }
}

pub fn show(change: &Stored) -> String {
    match change {
        Stored::Put(record) => {
            let lease = record.lease.map(|lease| format!("{}", lease.state()));
            format!(
                "put {:#x} file={} {:?} lease={} locks={:?} connected={} goes={} directory={:?} options={:?} share={:?}",
                record.persistent,
                record.file.get(),
                record.level,
                lease.as_deref().unwrap_or("none"),
                record.locks.iter().map(|lock| lock.offset).collect::<Vec<_>>(),
                record.connected,
                record.goes,
                record.directory.map(leasehold::FileKey::get),
                record.options,
                record.sharing,
            )
        }
        Stored::Delete(persistent) => format!("delete {persistent:#x}"),
        Stored::Serials(below) => format!("serials below {below}"),
    }
}

/// A record as the store gives it back.
fn through_octets(record: &Record) -> Record {
    let octets = record.encode();
    if octets.is_empty() {
        // Records have no octets as yet.
        return record.clone();
    }
    let back = Record::decode(&octets).expect("what was encoded");
    assert_eq!(back, *record, "a record comes back as it was");
    back
}

/// A record of which only a part was written is none.
fn torn_is_nothing(change: &Stored) {
    let Stored::Put(record) = change else { return };
    let octets = record.encode();
    for len in [0, octets.len() / 2, octets.len().saturating_sub(1)] {
        assert!(octets.is_empty() || Record::decode(&octets[..len]).is_err(), "half a record is none");
    }
}

impl Image {
    /// For a reader.
    pub fn show(&self) -> String {
        let records =
            self.records.values().map(|record| format!("  {}\n", show(&Stored::Put(Rc::clone(record)))));
        records.chain([format!("  serials below {}\n", self.serials)]).collect()
    }
}
