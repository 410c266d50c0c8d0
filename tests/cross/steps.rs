//! Steps, as six octets each: numbers that choose among what there is at the time, so that a history stays one when it is made shorter.

use std::time::Duration;

use leasehold::server::{DenyModes, FollowUp, Profile};
use leasehold::{OwnerId, Protocol};

use super::model::{Claim, Rules, Span, State};

/// How many octets a step has.
pub const LONG: usize = 6;

pub const FILES: u8 = 3;
pub const CLIENTS: u8 = 3;

/// Who speaks what: three hosts of two owners each and of one, two of them of one number.
pub const OWNERS: [OwnerId; 6] = [
    OwnerId::new(Protocol::Nlm, 1, 1),
    OwnerId::new(Protocol::Nlm, 1, 2),
    OwnerId::new(Protocol::Nfs4, 1, 1),
    OwnerId::new(Protocol::Nfs4, 1, 2),
    OwnerId::new(Protocol::Nfs4, 2, 1),
    OwnerId::new(Protocol::Local, 0, 1),
];

/// What a CREATE asks a lease for: without one more often than not.
const ASKED: [Option<State>; 8] = [None, None, None, Some(1), Some(3), Some(5), Some(7), Some(7)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Create {
        client: u8,
        file: u8,
        claim: Claim,
        lease: Option<(u8, State)>,
    },
    Opened {
        nth: u8,
        opens: bool,
    },
    Close {
        nth: u8,
    },
    Lock {
        nth: u8,
        offset: u64,
        len: u64,
        exclusive: bool,
        waits: bool,
    },
    Unlock {
        nth: u8,
        lock: u8,
        any: Option<(u64, u64)>,
    },
    OwnerLock {
        owner: OwnerId,
        file: u8,
        offset: u64,
        len: u64,
        exclusive: bool,
        waits: bool,
        reclaims: bool,
    },
    OwnerUnlock {
        owner: OwnerId,
        file: u8,
        offset: u64,
        len: u64,
    },
    Test {
        owner: OwnerId,
        file: u8,
        offset: u64,
        len: u64,
        exclusive: bool,
    },
    Reserve {
        owner: OwnerId,
        file: u8,
        claim: Claim,
        reclaims: bool,
    },
    Unreserve {
        owner: OwnerId,
        file: u8,
    },
    Delegate {
        owner: OwnerId,
        nth: u8,
        write: bool,
        reclaims: bool,
    },
    Returned {
        nth: u8,
        any: Option<(OwnerId, u8)>,
    },
    OwnerOperates {
        owner: OwnerId,
        file: u8,
        what: u8,
        offset: u64,
        len: u64,
    },
    OpenOperates {
        nth: u8,
        what: u8,
        offset: u64,
        len: u64,
    },
    Done {
        nth: u8,
        fails: bool,
    },
    Acknowledge {
        nth: u8,
        state: Option<State>,
    },
    Cancel {
        nth: u8,
    },
    OwnerGone {
        owner: OwnerId,
    },
    HostGone {
        owner: OwnerId,
    },
    Leave {
        client: u8,
        answered: bool,
    },
    /// Up to the next deadline, and a little before or behind; or so many milliseconds.
    Time {
        due: bool,
        millis: u64,
    },
    GraceOver,
}

/// How often each kind of step comes.
const KINDS: [u8; 64] = {
    let weights: [(u8, usize); 22] = [
        (0, 6),
        (1, 6),
        (2, 3),
        (3, 6),
        (4, 3),
        (5, 11),
        (6, 4),
        (7, 1),
        (8, 4),
        (9, 1),
        (10, 3),
        (11, 1),
        (12, 3),
        (13, 1),
        (14, 2),
        (15, 2),
        (16, 2),
        (17, 1),
        (18, 1),
        (19, 1),
        (20, 1),
        (21, 1),
    ];
    let (mut kinds, mut at, mut of) = ([0; 64], 0, 0);
    while of < weights.len() {
        let mut left = weights[of].1;
        while left > 0 {
            kinds[at] = weights[of].0;
            at += 1;
            left -= 1;
        }
        of += 1;
    }
    assert!(at == 64, "the weights add up");
    kinds
};

/// What a history is about: its first octets.
pub fn rules(octets: [u8; LONG]) -> Rules {
    let mut profile = Profile::default();
    profile.deny_modes = if octets[0] % 4 == 3 { DenyModes::Nothing } else { DenyModes::Data };
    profile.follow_up = FollowUp::ThroughRead;
    profile.link_breaks_handles = octets[1] % 2 == 1;
    profile.security_breaks_handles = octets[2] % 2 == 1;
    let grace = if octets[3] % 8 == 7 { Duration::from_secs(50) } else { Duration::ZERO };
    Rules { profile, grace }
}

/// Octets within what is told apart; the upper bits of `len` ask for all up to the end.
fn range(offset: u8, len: u8) -> (u64, u64) {
    let offset = u64::from(offset % 16);
    let len = if len >= 224 { u64::MAX } else { (u64::from(len % 16) + 1).min(16 - offset) };
    (offset, len)
}

/// As above, of SMB: now and then without octets, and never up to a moving end.
fn smb_range(offset: u8, len: u8) -> (u64, u64) {
    let (offset, len) = range(offset, len);
    (offset, if len == u64::MAX { 0 } else { len })
}

fn claim(bits: u8, looks: bool) -> Claim {
    let bit = |at: u8| bits >> at & 1 == 1;
    let none = !bit(0) && !bit(1);
    Claim {
        reads: bit(0) || (none && !looks),
        writes: bit(1),
        overwrites: bits & 0x30 == 0x30,
        share_read: bits & 0xc != 0xc,
        share_write: bits & 0xc0 != 0xc0,
    }
}

impl Step {
    pub fn new(octets: [u8; LONG]) -> Self {
        let [kind, a, b, c, d, e] = octets;
        let owner = OWNERS[usize::from(a) % OWNERS.len()];
        let file = b % FILES;
        let (offset, len) = range(c, d);
        match KINDS[usize::from(kind) % KINDS.len()] {
            0 => {
                let lease = ASKED[usize::from(c) % ASKED.len()].map(|asked| (d % 2, asked));
                Self::Create { client: a % CLIENTS, file, claim: claim(e, true), lease }
            }
            1 => Self::Opened { nth: a, opens: b % 16 != 15 },
            2 => Self::Close { nth: a },
            3 => {
                let (offset, len) = smb_range(c, d);
                Self::Lock { nth: a, offset, len, exclusive: e % 2 == 0, waits: e / 2 % 4 != 0 }
            }
            4 => Self::Unlock { nth: a, lock: b, any: (e % 8 == 7).then(|| smb_range(c, d)) },
            5 => {
                let (exclusive, waits, reclaims) = (e % 2 == 0, e / 2 % 4 != 0, e / 8 % 4 == 3);
                let len = if e == 255 { 0 } else { len };
                Self::OwnerLock { owner, file, offset, len, exclusive, waits, reclaims }
            }
            6 => Self::OwnerUnlock { owner, file, offset, len },
            7 => Self::Test { owner, file, offset, len, exclusive: e % 2 == 0 },
            8 => Self::Reserve { owner, file, claim: claim(c, false), reclaims: e % 4 == 3 },
            9 => Self::Unreserve { owner, file },
            10 => Self::Delegate { owner, nth: b, write: c % 2 == 1, reclaims: e % 4 == 3 },
            11 => Self::Returned { nth: a, any: (e % 8 == 7).then_some((owner, file)) },
            12 => Self::OwnerOperates { owner, file, what: e, offset, len: len.min(16 - offset) },
            13 => Self::OpenOperates { nth: a, what: e, offset, len: len.min(16 - offset) },
            14 => Self::Done { nth: a, fails: b % 4 == 3 },
            15 => Self::Acknowledge { nth: a, state: (b % 2 == 1).then_some(State::from(c % 8)) },
            16 => Self::Cancel { nth: a },
            17 => Self::OwnerGone { owner },
            18 => Self::HostGone { owner },
            19 => Self::Leave { client: a % CLIENTS, answered: b % 2 == 1 },
            20 => Self::Time { due: a % 4 != 0, millis: u64::from(b) * 137 },
            _ => Self::GraceOver,
        }
    }

    pub fn span(offset: u64, len: u64) -> Span {
        Span::new(offset, len)
    }
}
