//! Times contenders against each other and prints what came out.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::alloc::allocations;
use crate::octets::VARIANTS;

/// The peers, in the order of their columns.
pub(crate) const PEERS: [&str; 3] = ["smb-msg 0.12.1", "smb2 0.39.0", "smb-server 0.8.0"];

/// Ours may not be slower than this on a fixed body. On an idle core.
const BODY_GOAL: f64 = 5.0;

/// One implementation at one job.
pub(crate) struct Contender {
    /// Does the job so many times, over all variants in turn.
    run: Box<dyn FnMut(u32)>,
    /// Whether the outcome is right for a variant.
    right: Box<dyn FnMut(usize) -> bool>,
}

impl Contender {
    /// `job` is compiled into the loop that is timed, so that no call stands between.
    pub(crate) fn new(
        mut job: impl FnMut(usize) + 'static,
        right: impl FnMut(usize) -> bool + 'static,
    ) -> Self {
        let run = move |times| {
            for turn in 0..times {
                job(turn as usize % VARIANTS);
            }
        };
        Self { run: Box::new(run), right: Box::new(right) }
    }
}

/// What a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Contexts with everything around them, one or more.
    Chain,
    /// The body of a message, of fixed size.
    Message,
    /// The data of one context alone, of fixed size. To decode it is to copy it, here as elsewhere: it has its goal in
    /// nanoseconds and no part in the ratio.
    Data,
}

/// One job: ours first, then the peers, `None` where a public interface cannot do it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// What exactly is called, or why nothing is: ours, then the peers.
    pub(crate) calls: [&'static str; 4],
    pub(crate) ours: Contender,
    pub(crate) peers: [Option<Contender>; 3],
}

/// What one contender needs for one job.
#[derive(Clone, Copy, Debug)]
struct Cost {
    nanoseconds: f64,
    allocations: f64,
}

/// What came out of one row.
pub(crate) struct Measured {
    name: &'static str,
    shape: Shape,
    calls: [&'static str; 4],
    ours: Cost,
    peers: [Option<Cost>; 3],
}

impl Measured {
    /// The time of the fastest peer over ours.
    fn worst(&self) -> f64 {
        let fastest = self.peers.iter().flatten().map(|cost| cost.nanoseconds).fold(f64::INFINITY, f64::min);
        fastest / self.ours.nanoseconds
    }
}

/// Times every contender of a row in turn, round after round, so that what disturbs one disturbs all.
///
/// # Errors
///
/// If a contender does something else than the others.
pub(crate) fn measure(row: Row) -> Result<Measured, String> {
    let mut contenders = vec![row.ours];
    let mut column = Vec::new();
    for (index, peer) in row.peers.into_iter().enumerate() {
        if let Some(peer) = peer {
            contenders.push(peer);
            column.push(index);
        }
    }
    for (index, contender) in contenders.iter_mut().enumerate() {
        if !(0..VARIANTS).all(|variant| (contender.right)(variant)) {
            let who = if index == 0 { "leasehold" } else { PEERS[column[index - 1]] };
            return Err(format!("{}: {who} does something else", row.name));
        }
    }

    let costs = rounds(&mut contenders);
    let mut peers = [None; 3];
    for (index, cost) in column.into_iter().zip(&costs[1..]) {
        peers[index] = Some(*cost);
    }
    Ok(Measured { name: row.name, shape: row.shape, calls: row.calls, ours: costs[0], peers })
}

/// The nanoseconds that one contender alone takes.
pub(crate) fn time(contender: Contender) -> f64 {
    rounds(&mut [contender])[0].nanoseconds
}

fn rounds(contenders: &mut [Contender]) -> Vec<Cost> {
    /// Long enough that the clock does not matter, short enough that most are not interrupted.
    const SLICE: Duration = Duration::from_micros(200);
    const ROUNDS: usize = 401;

    let times: Vec<u32> = contenders.iter_mut().map(|contender| warm_up(contender, SLICE)).collect();
    let mut spent = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for round in 0..ROUNDS {
        for turn in 0..contenders.len() {
            let who = (round + turn) % contenders.len();
            spent[who].push(elapsed(&mut contenders[who], times[who]).as_secs_f64() / f64::from(times[who]));
        }
    }
    let mut costs = Vec::with_capacity(contenders.len());
    for (contender, spent) in contenders.iter_mut().zip(&mut spent) {
        const COUNTED: u32 = 64 * VARIANTS as u32;
        let before = allocations();
        (contender.run)(COUNTED);
        let counted = (allocations() - before) as f64 / f64::from(COUNTED);
        costs.push(Cost { nanoseconds: median(spent) * 1e9, allocations: counted });
    }
    costs
}

/// Runs until caches and predictors know the job, and says how often it fits into `slice`.
fn warm_up(contender: &mut Contender, slice: Duration) -> u32 {
    let mut times = VARIANTS as u32;
    let started = Instant::now();
    loop {
        let spent = elapsed(contender, times);
        if spent < slice {
            times *= 2;
        } else if started.elapsed() > 20 * slice {
            return times;
        }
    }
}

fn elapsed(contender: &mut Contender, times: u32) -> Duration {
    let started = Instant::now();
    (contender.run)(times);
    started.elapsed()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Part A.
pub(crate) fn print_times(measured: &[Measured], floors: &[(&str, f64)]) {
    println!("A. Nanoseconds per operation (median of interleaved rounds), and the peer's time over ours.\n");
    heading();
    for row in measured {
        let ours = format!("{:.2}", row.ours.nanoseconds);
        line(row, &ours, |cost| {
            format!(
                "{:.2} {:>7}",
                cost.nanoseconds,
                format!("{:.2}x", cost.nanoseconds / row.ours.nanoseconds)
            )
        });
    }
    let floors: Vec<String> = floors.iter().map(|(what, spent)| format!("{what}: {spent:.2}")).collect();
    println!("\n   For comparison: {}.", floors.join(", "));
    println!("   -  the public interface cannot do it. What was called, in the order of the columns:\n");
    for same in measured.chunk_by(|one, other| one.calls == other.calls) {
        let names: Vec<&str> = same.iter().map(|row| row.name).collect();
        println!("   {}\n      {}", names.join("; "), same[0].calls.join(" | "));
    }
}

/// Part B. Returns whether ours never allocated.
pub(crate) fn print_allocations(measured: &[Measured]) -> bool {
    println!("\nB. Allocations per operation.\n");
    heading();
    for row in measured {
        line(row, &rounded(row.ours.allocations), |cost| rounded(cost.allocations));
    }
    measured.iter().all(|row| row.ours.allocations == 0.0)
}

/// The slowest fixed body, and the rows on which a peer comes nearest.
pub(crate) fn print_goals(measured: &[Measured]) {
    let slowest =
        |one: &&Measured, other: &&Measured| one.ours.nanoseconds.total_cmp(&other.ours.nanoseconds);
    if let Some(row) = measured.iter().filter(|row| row.shape != Shape::Chain).max_by(slowest) {
        let spent = row.ours.nanoseconds;
        println!("slowest fixed body: {spent:.2} ns ({}), at most {BODY_GOAL} wanted", row.name);
    }
    let nearest = |one: &&Measured, other: &&Measured| one.worst().total_cmp(&other.worst());
    if let Some(row) = measured.iter().filter(|row| row.shape == Shape::Data).min_by(nearest) {
        println!("the data of a context alone, no more than a copy: {:.2} ({})", row.worst(), row.name);
    }
    if let Some(row) = measured.iter().filter(|row| row.shape != Shape::Data).min_by(nearest) {
        println!("nearest peer otherwise: {}", row.name);
        println!("worst ratio to the fastest peer: {:.2}", row.worst());
    }
}

fn heading() {
    let mut text = format!("   {:<40} {:>9}", "", "leasehold");
    for peer in PEERS {
        let _ = write!(text, " {peer:>18}");
    }
    println!("{text}");
}

fn line(row: &Measured, ours: &str, peer: impl Fn(&Cost) -> String) {
    let mut text = format!("   {:<40} {ours:>9}", row.name);
    for cost in &row.peers {
        let _ = write!(text, " {:>18}", cost.as_ref().map_or_else(|| "-".to_owned(), &peer));
    }
    println!("{text}");
}

fn rounded(count: f64) -> String {
    if count.fract() == 0.0 { format!("{count}") } else { format!("{count:.2}") }
}
