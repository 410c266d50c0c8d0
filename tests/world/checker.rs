//! What must hold.
//!
//! The checker knows everything: what the server grants, what each cache was allowed, what is under way. The value of a page is what
//! the one who may keep writes back has written last, or else what the server has. A READ that the server answered is right if the
//! value was that at some instant while it was under way; one from a cache, if it is that now. A cache may lag behind for exactly as
//! long as the news that it has lost R is on its way to it: a notification, or the end of a connection.

mod exclusion;
mod values;

use std::collections::VecDeque;

use leasehold::LeaseState;
use leasehold::OplockLevel;

use super::World;
use super::client::LeaseName;
use super::plan::{Plan, Scene};
use super::server::file_of;

/// How many former values of a page are remembered.
const HISTORY: usize = 4096;

#[derive(Debug)]
pub(super) struct Checker {
    /// Of each page of each file, since when it had which value.
    values: Vec<Vec<VecDeque<(u64, u64)>>>,
    /// Counts the instants that are told apart.
    instant: u64,
    /// By client and file.
    sides: Vec<Vec<Side>>,
    /// Until when a client had trouble of its own: whoever hears nothing cannot answer.
    troubled: Vec<u64>,
    /// Deadlines that have passed in this life of the server.
    timed_out: u64,
}

/// What is known of a client and a file.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// What the server lets it do.
    granted: LeaseState,
    /// Whether that is R, and the client was not told otherwise: nobody waits for R.
    reads: bool,
    /// Whether an open of it is connected, at the server.
    connected: bool,
    /// Break notifications on their way.
    flying: u32,
    /// When the last one arrived.
    delivered: Option<u64>,
    /// Since which instant it does not know yet that it has lost R.
    lags: Option<u64>,
    /// Its deadline has passed, and it does not know yet.
    timed_out: bool,
    /// It has heard of a break that has not come to its end at the server.
    breaking: bool,
    /// What it wrote up to here, and had not written back, it has lost the right to.
    doomed: Option<(u64, Cause)>,
}

/// How a client can lose W with something unwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It has not answered in time, and can still write.
    Deadline,
    /// It was not there.
    Absence,
}

impl Checker {
    pub(super) fn new(plan: &Plan) -> Self {
        let pages = || (0..plan.pages).map(|_| VecDeque::from([(0, 0)])).collect();
        Self {
            values: (0..plan.files).map(|_| pages()).collect(),
            instant: 1,
            sides: vec![vec![Side::default(); plan.files]; plan.clients],
            troubled: vec![0; plan.clients],
            timed_out: 0,
        }
    }

    /// An instant that is later than all before.
    pub(super) fn begin(&mut self) -> u64 {
        self.instant += 1;
        self.instant
    }

    /// What the server lets a client do, news on their way left aside.
    pub(super) fn cached(&self, client: usize, file: usize) -> LeaseState {
        let side = self.sides[client][file];
        let mut cached = side.granted.difference(LeaseState::HANDLE);
        cached.set(LeaseState::READ, side.reads);
        cached
    }

    /// A client is in trouble until then.
    pub(super) fn trouble(&mut self, client: usize, until: u64) {
        self.troubled[client] = self.troubled[client].max(until);
    }

    pub(super) fn sent(&mut self, client: usize, file: usize) {
        self.sides[client][file].flying += 1;
    }

    pub(super) fn landed(&mut self, client: usize, file: usize) {
        let side = &mut self.sides[client][file];
        side.flying = side.flying.saturating_sub(1);
    }

    /// Whether a break is on its way to a client.
    pub(super) fn told(&self, client: usize, file: usize) -> bool {
        self.sides[client][file].flying > 0
    }

    pub(super) fn delivered(&mut self, client: usize, file: usize, now: u64) {
        self.sides[client][file].delivered = Some(now);
    }

    /// The server has taken all that a client has acknowledged: it was in time.
    pub(super) fn assured(&mut self, client: usize, file: usize) {
        let side = &mut self.sides[client][file];
        side.timed_out &= side.flying > 0;
    }

    pub(super) fn client_gone(&mut self, client: usize) {
        self.sides[client].fill(Side::default());
    }

    /// What was not on the disk may be lost; those who have it in their caches will hear that their connections are.
    pub(super) fn server_gone(&mut self) {
        let instant = self.begin();
        self.timed_out = 0;
        for side in self.sides.iter_mut().flatten() {
            side.lags.get_or_insert(instant);
        }
    }

    /// A client keeps a write back: in vain, if it does not know that W is gone.
    pub(super) fn kept_back(&mut self, client: usize, file: usize, value: u64) {
        let side = &mut self.sides[client][file];
        if !side.granted.contains(LeaseState::WRITE) {
            let cause = if side.timed_out { Cause::Deadline } else { Cause::Absence };
            side.doomed = Some((value, cause));
        }
    }

    /// Whether a break is on its way, or not at its end.
    pub(super) fn expects(&self) -> Option<String> {
        let side = self.sides.iter().flatten().find(|side| side.flying > 0 || side.breaking);
        side.map(|side| format!("{side:?}"))
    }

    pub(super) fn value(&self, file: usize, page: usize) -> u64 {
        self.values[file][page].back().map_or(0, |(_, value)| *value)
    }

    /// Whether the page had this value at some instant from then on.
    pub(super) fn had(&self, file: usize, page: usize, value: u64, since: u64) -> bool {
        for (from, had) in self.values[file][page].iter().rev() {
            if *had == value {
                return true;
            }
            if *from <= since {
                return false;
            }
        }
        false
    }
}

impl World {
    /// After every event.
    pub(super) fn check(&mut self) {
        if self.server.touched {
            self.server.touched = false;
            self.observe();
        }
        self.check_beliefs();
        self.settle_values();
    }

    /// Takes in what the server grants now, and what became of what it granted before.
    fn observe(&mut self) {
        let Some(machine) = self.server.machine.as_ref() else { return };
        let stats = machine.stats();
        if stats.anomalies > 0 {
            return self.violate("no invariant of the server is broken", || "an anomaly".to_owned());
        }
        let timed_out = stats.breaks_timed_out;
        let before = self.checker.sides.clone();
        for side in self.checker.sides.iter_mut().flatten() {
            (side.granted, side.reads, side.connected, side.breaking) =
                (LeaseState::NONE, false, false, false);
        }
        let snapshot = machine.snapshot();
        for file in &snapshot.files {
            let at = file_of(file.key);
            for lease in &file.leases {
                let name = LeaseName::of(lease.key);
                if self.means(lease.key) {
                    let side = &mut self.checker.sides[name.client][at];
                    side.granted |= lease.state;
                    let told = lease.breaking.map_or(LeaseState::RWH, |(told, _)| told);
                    side.reads |= lease.state.intersection(told).contains(LeaseState::READ);
                    side.breaking |= lease.breaking.is_some();
                }
            }
            for open in &file.opens {
                let Some(info) = self.server.opens.get(&open.file_id.persistent) else { continue };
                if self.clients[info.client].incarnation == info.incarnation {
                    let side = &mut self.checker.sides[info.client][at];
                    side.granted |= caches(open.oplock);
                    let told = open.breaking.map_or(LeaseState::RWH, |(told, _)| caches(told));
                    side.reads |= caches(open.oplock).intersection(told).contains(LeaseState::READ);
                    side.connected |= open.connected;
                    side.breaking |= open.breaking.is_some();
                }
            }
        }
        for file in &snapshot.files {
            self.check_exclusion(file);
        }
        if timed_out > self.checker.timed_out {
            self.check_deadlines(&before);
        }
        self.checker.timed_out = timed_out;
        for (client, files) in before.iter().enumerate() {
            for (file, before) in files.iter().enumerate() {
                self.check_taken(client, file, *before);
            }
        }
        self.server.ended.clear();
        self.check_beside();
    }

    /// What a client had and has no more: with something unwritten, only for a reason.
    fn check_taken(&mut self, client: usize, file: usize, before: Side) {
        let instant = self.checker.begin();
        let value = self.value;
        let absent = !before.connected
            || self.server.ended.contains(&client)
            || !self.server.sessions.values().any(|other| *other == client);
        let cached = &self.clients[client].files[file];
        let stored = &self.server.disk.files[file];
        let pages = cached.pages.iter().zip(stored);
        let unwritten =
            pages.filter_map(|(page, stored)| page.unwritten().filter(|value| *value != stored.now));
        let unwritten = unwritten.max();
        let side = &mut self.checker.sides[client][file];
        let taken = before.granted.difference(side.granted);
        if before.reads && !side.reads {
            side.lags.get_or_insert(instant);
        }
        let known = side.doomed.map_or(0, |(below, _)| below);
        if taken.contains(LeaseState::WRITE) && unwritten.is_some_and(|value| value > known) {
            let cause = match (side.timed_out, absent) {
                (true, _) => Cause::Deadline,
                (false, true) => Cause::Absence,
                (false, false) => {
                    let what = format!("client {client}, file {file}: {unwritten:?} was not written back");
                    return self.violate("W goes when what is dirty is written back", || what);
                }
            };
            side.doomed = Some((value, cause));
        }
    }

    /// Deadlines have passed: whose were they?
    fn check_deadlines(&mut self, before: &[Vec<Side>]) {
        for (client, files) in before.iter().enumerate() {
            for (file, before) in files.iter().enumerate() {
                let side = self.checker.sides[client][file];
                let lost = before.granted.difference(side.granted);
                if before.breaking && !side.breaking && !lost.is_empty() {
                    self.check_excuse(client, file);
                    self.checker.sides[client][file].timed_out = true;
                }
            }
        }
    }

    /// A client that hears and speaks answers in time, unless a CREATE of its own waits for somebody else (MS-SMB2 <202>).
    fn check_excuse(&mut self, client: usize, file: usize) {
        let side = self.checker.sides[client][file];
        let trouble = self.checker.troubled[client];
        let opening = self.clients[client].openings.values().any(|wanted| wanted.file == file);
        let longest = match self.plan.scene {
            Scene::Persistent => 180_000,
            Scene::Leases | Scene::Oplocks | Scene::Durable => 35_000,
        };
        let known = |id: u64| {
            let mut handles = self.clients[client].opens.values();
            handles.any(|handle| handle.file_id.is_some_and(|known| known.persistent == id))
        };
        // The answer to its CREATE was lost, and nobody asks again.
        let mut opens =
            self.server.opens.iter().filter(|(_, open)| open.client == client && open.file == file);
        let ghost = opens.any(|(id, _)| !known(*id));
        let lately = |until: u64| until + 2 * longest > self.now;
        let others = self.checker.troubled.iter().any(|until| lately(*until)) || lately(self.beside.troubled);
        let since = match (side.flying, side.delivered) {
            // It lies in a connection that is there.
            (1.., _) | (0, None) => self.now.saturating_sub(longest),
            (0, Some(delivered)) => delivered.max(self.now.saturating_sub(longest)),
        };
        if trouble < since && !(opening && others) && !ghost {
            let what = format!(
                "client {client}, file {file}: told at {:?}, in trouble until {trouble}",
                side.delivered
            );
            self.violate("who hears and speaks answers in time", || what);
        }
    }
}

fn caches(level: OplockLevel) -> LeaseState {
    match level {
        OplockLevel::Batch => LeaseState::RWH,
        OplockLevel::Exclusive => LeaseState::RW,
        OplockLevel::II => LeaseState::R,
        OplockLevel::None | OplockLevel::Lease | OplockLevel::Undefined(_) => LeaseState::NONE,
    }
}
