//! Feeds damaged chains to every decoder and compares what they say with what the judge says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::judge::{Judgment, Reach, SHEET, Verdict, judge};
use crate::mutate::mutate;
use crate::octets::{digits, hex, seeds};
use crate::random::Random;
use crate::subjects::{Outcome, SUBJECTS, Subject};

/// The work is cut into this many pieces, each with a seed of its own, so that what comes out does not depend on how
/// many threads there are.
const PIECES: u64 = 256;
/// How many examples are shown.
const SHOWN: usize = 3;

/// How somebody can differ from the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    AcceptsInvalid,
    RefusesValid,
    Misreads,
    Panics,
}

/// One reason for one class of deviation.
#[derive(Clone, Debug, Default)]
struct Deviation {
    count: u64,
    /// The shortest ones.
    examples: Vec<Vec<u8>>,
}

impl Deviation {
    fn example(&mut self, chain: &[u8]) {
        let place =
            self.examples.partition_point(|known| (known.len(), known.as_slice()) < (chain.len(), chain));
        if place < SHOWN && self.examples.get(place).is_none_or(|known| known != chain) {
            self.examples.insert(place, chain.to_vec());
            self.examples.truncate(SHOWN);
        }
    }
}

type Deviations = BTreeMap<(Class, String), Deviation>;

/// What was seen.
#[derive(Debug, Default)]
struct Tally {
    valid: u64,
    invalid: u64,
    either: u64,
    deviations: [Deviations; SUBJECTS.len()],
}

thread_local! {
    /// Where the last panic of this thread came from.
    static SITE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Part C. Returns whether ours never differs from the judge.
pub(crate) fn run(mutations: u64, seed: u64) -> bool {
    panic::set_hook(Box::new(|info| {
        let site = info.location().map_or_else(String::new, |location| {
            // From the directory of the package on: where that lies is different everywhere.
            let path: Vec<&str> = location.file().split(['/', '\\']).collect();
            let package = path.iter().rposition(|part| *part == "src").map_or(0, |src| src.saturating_sub(1));
            format!("{}:{}", path[package..].join("/"), location.line())
        });
        SITE.with_borrow_mut(|last| *last = site);
    }));
    let checked = panic::catch_unwind(|| black_box(u8::MAX) + black_box(1)).is_err();
    let tally = feed(mutations, seed);
    let sheet = sheet();
    let _ = panic::take_hook();

    println!(
        "\nC. {mutations} mutated chains, seed {seed}, overflow checks {}.\n",
        if checked { "on" } else { "off" }
    );
    println!(
        "   The judge: {} valid, {} invalid, {} left open by the text.",
        tally.valid, tally.invalid, tally.either
    );
    let mut sound = true;
    for (subject, deviations) in SUBJECTS.iter().zip(&tally.deviations) {
        print(subject, deviations);
        sound &= !subject.ours || deviations.is_empty();
    }
    println!("{}", sheet.text);
    sound && sheet.sound
}

fn feed(mutations: u64, seed: u64) -> Tally {
    let seeds = seeds();
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut pieces: Vec<(u64, Tally)> = thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= PIECES {
                    return done;
                }
                let share = mutations / PIECES + u64::from(piece < mutations % PIECES);
                done.push((piece, feed_piece(share, seed.wrapping_mul(PIECES).wrapping_add(piece), &seeds)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|why| panic::resume_unwind(why)))
            .collect()
    });
    pieces.sort_by_key(|(piece, _)| *piece);

    let mut whole = Tally::default();
    for (_, piece) in pieces {
        whole.valid += piece.valid;
        whole.invalid += piece.invalid;
        whole.either += piece.either;
        for (whole, piece) in whole.deviations.iter_mut().zip(piece.deviations) {
            for (key, deviation) in piece {
                let merged = whole.entry(key).or_default();
                merged.count += deviation.count;
                deviation.examples.iter().for_each(|chain| merged.example(chain));
            }
        }
    }
    whole
}

fn feed_piece(share: u64, seed: u64, seeds: &[Vec<u8>]) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    let mut chain = Vec::new();
    for _ in 0..share {
        mutate(&mut random, seeds, &mut chain);
        let judgment = judge(&chain);
        match judgment.verdict(Reach::Full) {
            Verdict::Valid => tally.valid += 1,
            Verdict::Invalid(_) => tally.invalid += 1,
            Verdict::Either => tally.either += 1,
        }
        for (subject, deviations) in SUBJECTS.iter().zip(&mut tally.deviations) {
            if let Some(key) = deviation(subject, &chain, &judgment) {
                let deviation = deviations.entry(key).or_default();
                deviation.count += 1;
                deviation.example(&chain);
            }
        }
    }
    tally
}

/// Why a subject differs from the judge, if it does.
fn deviation(subject: &Subject, chain: &[u8], judgment: &Judgment<'_>) -> Option<(Class, String)> {
    match (outcome(subject, chain, judgment), judgment.verdict(subject.reach)) {
        (Answer::Panicked(site), verdict) => {
            let what = match verdict {
                Verdict::Valid => "valid",
                Verdict::Invalid(_) => "invalid",
                Verdict::Either => "left open",
            };
            Some((Class::Panics, format!("on what is {what}, at {site}")))
        }
        (Answer::Came(Outcome::Accepted | Outcome::Misread), Verdict::Invalid(rule)) => {
            Some((Class::AcceptsInvalid, rule.to_string()))
        }
        (Answer::Came(Outcome::Refused), Verdict::Valid) => {
            Some((Class::RefusesValid, (subject.stumbles)(chain, judgment)))
        }
        (Answer::Came(Outcome::Misread), Verdict::Valid | Verdict::Either) => {
            Some((Class::Misreads, subject.misreads.to_owned()))
        }
        (Answer::Came(Outcome::Accepted), Verdict::Valid | Verdict::Either)
        | (Answer::Came(Outcome::Refused), Verdict::Invalid(_) | Verdict::Either) => None,
    }
}

enum Answer {
    Came(Outcome),
    Panicked(String),
}

fn outcome(subject: &Subject, chain: &[u8], judgment: &Judgment<'_>) -> Answer {
    match panic::catch_unwind(AssertUnwindSafe(|| (subject.decode)(chain, judgment))) {
        Ok(outcome) => Answer::Came(outcome),
        Err(_) => Answer::Panicked(SITE.with_borrow(Clone::clone)),
    }
}

struct Sheet {
    text: String,
    sound: bool,
}

/// The malformed chains of MS-SMB2 2.2.13.2: what it recommends, and what everybody does.
fn sheet() -> Sheet {
    let mut text = format!("\n   {:<6} {:<8}", "row", "rule");
    for subject in &SUBJECTS {
        text.push_str(&format!(" {:<17}", subject.name));
    }
    let mut sound = true;
    for (row, octets, accept) in SHEET {
        let chain = hex(octets);
        let judgment = judge(&chain);
        text.push_str(&format!("\n   {row:<6} {:<8}", if accept { "accept" } else { "refuse" }));
        for subject in &SUBJECTS {
            let (said, accepts) = match outcome(subject, &chain, &judgment) {
                Answer::Came(Outcome::Accepted | Outcome::Misread) => ("accept", Some(true)),
                Answer::Came(Outcome::Refused) => ("refuse", Some(false)),
                Answer::Panicked(_) => ("panic", None),
            };
            let asked = match judgment.verdict(subject.reach) {
                Verdict::Valid => Some(true),
                Verdict::Invalid(_) => Some(false),
                Verdict::Either => accepts,
            };
            let mark = if accepts == asked { "" } else { " !" };
            text.push_str(&format!(" {:<17}", format!("{said}{mark}")));
            sound &= !subject.ours || accepts == Some(accept);
        }
    }
    text.push_str("\n   !  not what is recommended, as far as the call reaches");
    Sheet { text, sound }
}

fn print(subject: &Subject, deviations: &Deviations) {
    println!("\n   {}: {}", subject.name, subject.call);
    for class in [Class::AcceptsInvalid, Class::RefusesValid, Class::Misreads, Class::Panics] {
        let mut reasons: Vec<(&str, &Deviation)> = deviations
            .iter()
            .filter(|((found, _), _)| *found == class)
            .map(|((_, reason), deviation)| (reason.as_str(), deviation))
            .collect();
        reasons.sort_by_key(|(reason, deviation)| (u64::MAX - deviation.count, *reason));
        let total: u64 = reasons.iter().map(|(_, deviation)| deviation.count).sum();
        println!("   {total:>9} {class}");
        for (reason, deviation) in &reasons {
            println!("             {:>9} {reason}", deviation.count);
        }
        // One of each reason first, the frequent ones before the rare.
        let rank =
            |rank: usize| reasons.iter().filter_map(move |(_, deviation)| deviation.examples.get(rank));
        for example in (0..SHOWN).flat_map(rank).take(SHOWN) {
            println!("             {}", digits(example));
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AcceptsInvalid => "accepts what is invalid",
            Self::RefusesValid => "refuses what is valid",
            Self::Misreads => "accepts, and reads something else",
            Self::Panics => "panics",
        })
    }
}
