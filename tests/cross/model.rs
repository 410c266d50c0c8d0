//! What there is: plain lists.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold::server::{DelegationKind, DenyModes, Profile};
use leasehold::{OwnerId, RequestId, Status};

use super::choices::Choices;
use super::laws::Wish;

/// Lease states, in the bits of the wire.
pub type State = u32;
pub const R: State = 1;
pub const H: State = 2;
pub const W: State = 4;

/// A lease: its client, and its number there. A number belongs to one file.
pub type Key = (u8, u8);

/// Whoever holds locks. An open is named by its CREATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Open(RequestId),
    Owner(OwnerId),
}

/// Octets from, and up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub from: u128,
    pub to: u128,
}

/// Behind the last octet that there is.
pub const END: u128 = 1 << 64;

impl Span {
    pub fn new(offset: u64, len: u64) -> Self {
        let from = u128::from(offset);
        let to = if len == u64::MAX { END } else { from + u128::from(len) };
        Self { from, to }
    }

    /// Whether two have an octet in common, or one without octets lies inside the other.
    pub fn meets(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// How many octets are told apart, and one place for all behind them.
pub const OCTETS: usize = 17;

/// What an owner has locked: each octet by itself, exclusively or not.
pub type Map = [Option<bool>; OCTETS];

/// The runs of octets that are locked alike.
pub fn runs(map: &Map) -> Vec<(Span, bool)> {
    let mut runs: Vec<(Span, bool)> = Vec::new();
    for (at, kind) in map.iter().enumerate() {
        let Some(exclusive) = *kind else { continue };
        let to = if at + 1 == OCTETS { END } else { at as u128 + 1 };
        match runs.last_mut() {
            Some((span, before)) if *before == exclusive && span.to == at as u128 => span.to = to,
            _ => runs.push((Span { from: at as u128, to }, exclusive)),
        }
    }
    runs
}

/// Sets these octets.
pub fn paint(map: &mut Map, span: Span, kind: Option<bool>) {
    for (at, octet) in map.iter_mut().enumerate() {
        if (span.from..span.to).contains(&(at as u128)) {
            *octet = kind;
        }
    }
}

/// What somebody does to the data, and leaves to others: reading, writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub reads: bool,
    pub writes: bool,
    pub overwrites: bool,
    pub share_read: bool,
    pub share_write: bool,
}

impl Claim {
    /// Only attributes are looked at.
    pub fn looks(&self) -> bool {
        !self.reads && !self.alters()
    }

    pub fn alters(&self) -> bool {
        self.writes || self.overwrites
    }

    /// Whether who has this does and denies as much as the other.
    pub fn contains(&self, other: &Self) -> bool {
        let may = |had: bool, wanted: bool| had || !wanted;
        may(self.reads, other.reads)
            && may(self.alters(), other.alters())
            && may(!self.share_read, !other.share_read)
            && may(!self.share_write, !other.share_write)
    }

    /// What one does the other must leave, both ways; who only looks is in nobody's way (MS-FSA 2.1.5.1.2.2).
    pub fn excludes(&self, other: &Self) -> bool {
        let denies = |one: &Self, other: &Self| {
            (other.reads && !one.share_read) || (other.alters() && !one.share_write)
        };
        !self.looks() && !other.looks() && (denies(self, other) || denies(other, self))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Opening,
    /// Its client has gone meanwhile.
    Abandoned,
    Live,
}

#[derive(Clone, Debug)]
pub struct Open {
    pub name: RequestId,
    pub conn: u64,
    pub file: u8,
    pub claim: Claim,
    /// The lease that it is part of, or asks to be, and for what.
    pub key: Option<Key>,
    pub asked: State,
    pub phase: Phase,
    /// In order of arrival.
    pub locks: Vec<(Span, bool)>,
}

#[derive(Clone, Debug)]
pub struct Breaking {
    pub told: State,
    pub needed: State,
    pub due: u64,
    pub serial: u64,
}

#[derive(Clone, Debug)]
pub struct Lease {
    pub key: Key,
    pub file: u8,
    pub state: State,
    pub breaking: Option<Breaking>,
}

#[derive(Clone, Debug)]
pub struct Delegation {
    pub owner: OwnerId,
    pub file: u8,
    pub kind: DelegationKind,
    /// Until when, and in which order it was recalled.
    pub recalled: Option<(u64, u64)>,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Read(Span),
    Write(Span),
    Flush,
    SetSize,
    SetAttributes,
    SetSecurity,
    Rename,
    Link,
    Unlink,
}

/// Who does it: through an open, with its lease if it has one; or an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct By {
    pub open: Option<RequestId>,
    pub key: Option<Key>,
    pub owner: Option<OwnerId>,
}

#[derive(Clone, Debug)]
pub enum Job {
    Create(Box<Open>),
    Operate(By, Deed),
    Lock { by: Who, key: Option<Key>, span: Span, exclusive: bool, waits: bool },
    Reserve(OwnerId, Claim),
}

#[derive(Clone, Debug)]
pub struct Waiter {
    pub request: RequestId,
    pub conn: Option<u64>,
    pub file: u8,
    pub job: Job,
    /// For whose locks, or for whose place in the line. Empty: for breaks and recalls.
    pub on: BTreeSet<Who>,
    /// Whether it goes past those who came before it, since they wait for it.
    pub passes: bool,
}

impl Waiter {
    /// The lock that it waits for, if it is one.
    pub fn wish(&self) -> Option<Wish> {
        let Job::Lock { by, span, exclusive, .. } = self.job else { return None };
        Some(Wish { owner: by, file: self.file, span, exclusive })
    }
}

#[derive(Clone, Debug)]
pub struct Run {
    pub request: RequestId,
    pub file: u8,
    pub by: By,
    pub deed: Deed,
}

/// What the machine is to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    Break {
        key: Key,
        from: State,
        to: State,
        acknowledged: bool,
    },
    Recall {
        owner: OwnerId,
        write: bool,
    },
    Revoked {
        owner: OwnerId,
    },
    Interim(RequestId),
    OpenFile(RequestId),
    /// With a lease of this state, breaking or not.
    Granted(RequestId, Option<(State, bool)>),
    Proceed(RequestId),
    Resolve(RequestId),
    Accepted(RequestId),
    Refused(RequestId, u32),
    Repeated(RequestId, RequestId),
    /// Any of these is in the way.
    Tested(RequestId, Vec<(Who, Span, bool)>),
    Acked(RequestId, Result<State, u32>),
    Closed(RequestId),
    CloseFile(RequestId),
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub profile: Profile,
    pub grace: Duration,
}

impl Rules {
    pub fn denies(&self) -> DenyModes {
        self.profile.deny_modes
    }
}

#[derive(Clone, Debug)]
pub struct Model {
    pub rules: Rules,
    pub now: u64,
    pub serial: u64,
    /// Whether owners have again what they had before.
    pub reclaiming: bool,
    pub opens: Vec<Open>,
    pub leases: Vec<Lease>,
    /// Owner, file, octets.
    pub held: Vec<(OwnerId, u8, Map)>,
    pub reserved: Vec<(OwnerId, u8, Claim)>,
    pub delegations: Vec<Delegation>,
    /// In order of arrival.
    pub waiters: Vec<Waiter>,
    pub running: Vec<Run>,
    pub choices: Choices,
    /// On which file, and what.
    pub said: Vec<(u8, Said)>,
}

pub const BREAK: u64 = 35_000;
pub const RECALL: u64 = 90_000;

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: 0,
            serial: 0,
            reclaiming: !rules.grace.is_zero(),
            opens: Vec::new(),
            leases: Vec::new(),
            held: Vec::new(),
            reserved: Vec::new(),
            delegations: Vec::new(),
            waiters: Vec::new(),
            running: Vec::new(),
            choices: Choices::default(),
            said: Vec::new(),
        }
    }

    pub fn say(&mut self, file: u8, said: Said) {
        self.said.push((file, said));
    }

    pub fn refuse(&mut self, file: u8, request: RequestId, status: Status) {
        self.say(file, Said::Refused(request, status.to_wire()));
    }

    pub fn tick(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn open(&self, name: RequestId) -> Option<&Open> {
        self.opens.iter().find(|open| open.name == name)
    }

    pub fn lease(&self, key: Key) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.key == key)
    }

    pub fn map(&self, owner: OwnerId, file: u8) -> Map {
        let found = self.held.iter().find(|(other, on, _)| (*other, *on) == (owner, file));
        found.map_or([None; OCTETS], |(_, _, map)| *map)
    }

    pub fn set_map(&mut self, owner: OwnerId, file: u8, map: Map) {
        self.held.retain(|(other, on, _)| (*other, *on) != (owner, file));
        if map.iter().any(Option::is_some) {
            self.held.push((owner, file, map));
        }
    }

    /// Every lock on a file.
    pub fn locks(&self, file: u8) -> Vec<(Who, Span, bool)> {
        let mut locks = Vec::new();
        for open in self.opens.iter().filter(|open| open.file == file) {
            locks
                .extend(open.locks.iter().map(|(span, exclusive)| (Who::Open(open.name), *span, *exclusive)));
        }
        for (owner, _, map) in self.held.iter().filter(|(_, on, _)| *on == file) {
            locks
                .extend(runs(map).into_iter().map(|(span, exclusive)| (Who::Owner(*owner), span, exclusive)));
        }
        locks
    }

    /// Every lock of owners, in words.
    pub fn locks_of_all(&self) -> Vec<String> {
        let mut all: Vec<String> = self.held.iter().map(|held| format!("{held:?}")).collect();
        all.sort();
        all
    }

    /// When time is next due, of breaks and recalls.
    pub fn due(&self) -> Option<u64> {
        let leases = self.leases.iter().filter_map(|lease| Some(lease.breaking.as_ref()?.due));
        let recalls = self.delegations.iter().filter_map(|delegation| Some(delegation.recalled?.0));
        leases.chain(recalls).min()
    }
}

/// Without these bits; without R nothing is left.
pub fn less(state: State, takes: State) -> State {
    let left = state & !takes;
    if left & R == 0 { 0 } else { left }
}

pub fn same_host(one: OwnerId, other: OwnerId) -> bool {
    (one.protocol, one.host) == (other.protocol, other.host)
}
