//! Steps of a history: what happens to a server, in numbers that choose among what there is at the time; and the disk behind.

use std::collections::BTreeSet;

use leasehold::server::{
    AppInstance, Capabilities, ChannelChoice, Create, Durability, FollowUp, FollowUpEpoch, LeaseIdentity,
    LockElement, LockFlags, LockReach, ObjectKind, Origin, OvertakenAck, Profile, Protection, Share,
    ShareFlags, ShareKind, Terms, UnexpectedAck,
};
use leasehold::wire::{AppInstanceId, AppInstanceVersion, Lease, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Access, CreateAction, CreateGuid, CreateOptions, Dialect, Disposition, Epoch, FileKey, Intent, LeaseKey,
    LeaseState, OplockLevel, RequestId, ShareMode, Status, UserId,
};

/// Places at which a client can be connected: who, with which dialect. The first two are one client with one session.
pub const SLOTS: [(u8, Dialect); 5] = [
    (1, Dialect::Smb311),
    (1, Dialect::Smb311),
    (2, Dialect::Smb300),
    (3, Dialect::Smb210),
    (4, Dialect::Smb202),
];
/// Names 0 to 2 are files, 3 and 4 are directories: the one of the files, and another.
pub const FILES: usize = 3;
pub const NAMES: usize = 5;

pub const ACCESSES: [Access; 8] = [
    Access::READ_DATA,
    Access::WRITE_DATA,
    Access::READ_DATA.union(Access::WRITE_DATA),
    Access::READ_ATTRIBUTES,
    Access::READ_CONTROL,
    Access::DELETE,
    Access::READ_DATA.union(Access::DELETE),
    Access::MAXIMUM_ALLOWED,
];

/// One step. Numbers choose among what there is at the time, so that a history stays one when it is made shorter.
#[derive(Clone, Debug)]
pub enum Step {
    Connect {
        slot: usize,
    },
    Disconnect {
        slot: usize,
    },
    Logoff {
        slot: usize,
    },
    TreeDisconnect {
        slot: usize,
        tree: u32,
    },
    Create(Wish),
    Opened {
        nth: usize,
        fails: bool,
        empty: bool,
    },
    Operate {
        slot: usize,
        nth: usize,
        actor: u8,
        local: bool,
        name: usize,
        what: u8,
        offset: u64,
        len: u64,
    },
    Done {
        nth: usize,
        fails: bool,
    },
    Lock {
        slot: usize,
        nth: usize,
        empty: bool,
        elements: Vec<LockElement>,
    },
    Cancel {
        nth: usize,
    },
    Close {
        slot: usize,
        nth: usize,
        own: bool,
    },
    /// Answers a notification: as told, with less, or with anything.
    Ack {
        slot: usize,
        nth: usize,
        how: u8,
        level: u8,
    },
    Undelivered {
        nth: usize,
    },
    Time {
        millis: u64,
    },
    /// The session ends: 0 by a logoff, 1 by another in its place, 2 by force.
    End {
        slot: usize,
        how: u8,
    },
    Reconnect {
        how: Return,
    },
    Resilience {
        slot: usize,
        nth: usize,
        user: u8,
        timeout: u32,
    },
    Used {
        nth: usize,
    },
    /// The CREATE of a persistent open, sent again: as it was, or otherwise. With another state and epoch of the lease.
    Resend {
        slot: usize,
        nth: usize,
        replay: bool,
        what: u8,
        word: Option<(u32, u16)>,
    },
    /// The store has all up to one of the changes that are on their way.
    Stored {
        nth: usize,
    },
    /// The store does not take one of them.
    NotStored {
        nth: usize,
    },
    /// The server is started anew. So many of the changes on their way are in the store, without its knowing.
    Restart {
        extra: usize,
        away: u64,
    },
    /// The CREATE of an open with a CreateGuid, sent again.
    Again {
        slot: usize,
        nth: usize,
        replay: bool,
        level: Option<u8>,
    },
}

/// A CREATE that wants an open back.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    pub slot: usize,
    /// From a connection of its own client, if there is one.
    pub home: bool,
    pub nth: usize,
    /// Among those without a connection, or among all.
    pub lost: bool,
    /// 0: right, 1: none, else one of the few.
    pub guid: u8,
    /// 0: right, 1: none, 2: of another key, 3: of the other version.
    pub lease: u8,
    /// 0: right, else one of the two.
    pub user: u8,
    /// 0: right, 1: none, 2: another.
    pub file: u8,
    /// 0: right, 1: the wrong flag, 2: the wrong share.
    pub flag: u8,
    /// By the CreateGuid alone.
    pub by_guid: bool,
    /// What the client says that the lease is.
    pub word: Option<(u32, u16)>,
}

/// How long a CREATE is to outlive its connection.
#[derive(Clone, Copy, Debug, Default)]
pub enum Lasting {
    #[default]
    Not,
    First,
    Second {
        timeout: u32,
        guid: u8,
        persistent: bool,
    },
}

/// A CREATE.
#[derive(Clone, Debug)]
pub struct Wish {
    pub slot: usize,
    pub name: usize,
    pub tree: u32,
    pub access: usize,
    pub sharing: u32,
    pub disposition: u32,
    pub delete: bool,
    pub opfilter: bool,
    pub level: u8,
    pub lease: Option<(u8, u32, bool, Option<u8>)>,
    pub share: u8,
    pub lasting: Lasting,
    pub user: u8,
    pub replay: bool,
    /// AppInstanceId, the version with it, and whether GENERIC_READ could be granted.
    pub instance: Option<(u8, Option<u8>, bool)>,
}

impl Wish {
    /// The request that it is.
    pub fn create(
        &self,
        request: RequestId,
        origin: Origin,
        (file, directory): (FileKey, Option<FileKey>),
    ) -> Create {
        let desired = ACCESSES[self.access];
        let granted = if desired == Access::MAXIMUM_ALLOWED { Access::READ_DATA } else { desired };
        // A handle is deleted through only with the right to.
        let (desired, granted) = if self.delete {
            (desired | Access::DELETE, granted | Access::DELETE)
        } else {
            (desired, granted)
        };
        let mut options = CreateOptions::empty();
        options.set(CreateOptions::DELETE_ON_CLOSE, self.delete && self.name < FILES);
        options.set(CreateOptions::RESERVE_OPFILTER, self.opfilter);
        let disposition = match Disposition::from_wire(self.disposition).unwrap() {
            Disposition::Overwrite | Disposition::OverwriteIf | Disposition::Supersede
                if self.name >= FILES =>
            {
                Disposition::OpenIf
            }
            disposition => disposition,
        };
        let lease = self.lease.map(|(key, state, second, parent)| {
            let (key, state) = (lease_key(key), LeaseState::from_bits_retain(state));
            let flags = LeaseFlags::empty();
            if second {
                let parent = parent.map(|parent| lease_key(parent + 1));
                Lease::V2(LeaseV2 { key, state, flags, parent, epoch: Epoch::new(0xffff) })
            } else {
                Lease::V1(LeaseV1 { key, state, flags })
            }
        });
        let share = match self.share {
            1 => Share::new(ShareKind::Disk, ShareFlags::FORCE_LEVEL_II),
            2 => Share::new(ShareKind::Disk, ShareFlags::SCALE_OUT),
            3 => Share::new(ShareKind::Pipe, ShareFlags::empty()),
            5 => Share::new(ShareKind::Disk, ShareFlags::CONTINUOUSLY_AVAILABLE),
            6 => Share::new(ShareKind::Disk, ShareFlags::CONTINUOUSLY_AVAILABLE | ShareFlags::SCALE_OUT),
            7 => Share::new(ShareKind::Disk, ShareFlags::CONTINUOUSLY_AVAILABLE).ca_timeout(90_000),
            _ => Share::DISK,
        };
        let durability = match self.lasting {
            Lasting::Not => Durability::None,
            Lasting::First => Durability::V1,
            Lasting::Second { timeout, guid, persistent } => {
                Durability::V2 { timeout, create_guid: create_guid(guid), persistent }
            }
        };
        let mut create = Create::new(request, origin, file)
            .access(desired, ShareMode::from_bits_retain(self.sharing))
            .granted(granted)
            .disposition(disposition, options)
            .caching(OplockLevel::from_wire(self.level), lease)
            .place(share, directory)
            .durable(user_of(self.user), durability);
        if self.replay {
            create = create.replayed();
        }
        if let Some((id, version, readable)) = self.instance {
            let id = AppInstanceId { id: CreateGuid::from_wire([id; 16]).uuid() };
            let version = version.map(|version| AppInstanceVersion { high: 1, low: u64::from(version) });
            let maximal = if readable { Access::GENERIC_READ } else { Access::empty() };
            create = create.instance(AppInstance { id, version }, maximal);
        }
        create
    }
}

/// One of few users.
pub fn user_of(number: u8) -> UserId {
    UserId::new([number; 16])
}

/// One of few CreateGuids; 0 is that of an open without.
pub fn create_guid(number: u8) -> CreateGuid {
    CreateGuid::from_wire([number; 16])
}

/// What stands behind the names.
#[derive(Clone, Debug)]
pub struct Disk {
    /// What stands behind a name now, and the directory that it stands in.
    pub names: Vec<(FileKey, Option<FileKey>)>,
    exists: BTreeSet<FileKey>,
}

impl Disk {
    /// Everything is there.
    pub fn new() -> Self {
        let names: Vec<_> =
            (0..NAMES).map(|name| (key_of(name), (name < FILES).then(|| key_of(FILES)))).collect();
        Self { exists: names.iter().map(|(file, _)| *file).collect(), names }
    }

    /// Whether it is one of the directories.
    pub fn directory(&self, file: FileKey) -> bool {
        self.names[FILES..].iter().any(|(known, _)| *known == file)
    }

    pub fn kind(&self, file: FileKey) -> ObjectKind {
        if self.directory(file) { ObjectKind::Directory } else { ObjectKind::File }
    }

    /// A name that is free again leads to another file.
    pub fn removed(&mut self, file: FileKey, fresh: FileKey) {
        self.exists.remove(&file);
        for (known, _) in &mut self.names {
            if *known == file {
                *known = fresh;
            }
        }
    }

    /// A name stands elsewhere.
    pub fn renamed(&mut self, file: FileKey, to: Option<FileKey>) {
        for (known, directory) in &mut self.names {
            if *known == file {
                *directory = to;
            }
        }
    }

    /// Opens a file.
    pub fn open(&mut self, create: &Create, fails: bool) -> Result<CreateAction, Status> {
        let there = self.exists.contains(&create.file);
        let action = match create.disposition {
            _ if fails => Err(Status::ACCESS_DENIED),
            Disposition::Open | Disposition::Overwrite if !there => Err(Status::OBJECT_NAME_NOT_FOUND),
            Disposition::Create if there => Err(Status::from_wire(0xc000_0035)),
            _ if !there => Ok(CreateAction::Created),
            Disposition::Supersede => Ok(CreateAction::Superseded),
            Disposition::Overwrite | Disposition::OverwriteIf => Ok(CreateAction::Overwritten),
            _ => Ok(CreateAction::Opened),
        };
        if action.is_ok() {
            self.exists.insert(create.file);
        }
        action
    }

    /// The operation of that number, on a file under that name.
    pub fn intent(&self, what: u8, name: usize, offset: u64, len: u64) -> Intent {
        let to = if name == 1 { Some(self.names[FILES + 1].0) } else { Some(self.names[FILES].0) };
        match what {
            0 => Intent::Read { offset, len },
            1 | 2 => Intent::Write { offset, len },
            3 => Intent::Flush,
            4 => Intent::SetSize,
            5 => Intent::SetAttributes,
            6 => Intent::SetSecurity,
            7 => Intent::Rename { to },
            8 => Intent::Link { to },
            9 => Intent::Delete { pending: true },
            10 => Intent::Delete { pending: false },
            11 => Intent::Replaced,
            12 => Intent::RenameWithin,
            13 => Intent::AncestorMoved,
            _ => Intent::EntryChanged { parent: (len > 1).then(|| lease_key(offset as u8)) },
        }
    }
}

/// What a connection of this dialect negotiates.
pub fn terms_of(dialect: Dialect) -> Terms {
    let mut capabilities = Capabilities::empty();
    if dialect >= Dialect::Smb210 {
        capabilities |= Capabilities::LEASING;
    }
    if dialect >= Dialect::Smb311 {
        capabilities |= Capabilities::DIRECTORY_LEASING | Capabilities::MULTI_CHANNEL;
    }
    Terms::new(dialect, capabilities)
}

pub fn key_of(name: usize) -> FileKey {
    FileKey::new(name as u128 + 1)
}

/// Keys 1 and 2 are for files as a rule, 3 and 4 for directories; 0 is none.
pub fn lease_key(number: u8) -> LeaseKey {
    LeaseKey::new([number; 16])
}

pub fn nth_of<T>(all: &[T], nth: usize) -> Option<&T> {
    all.get(nth.checked_rem(all.len())?)
}

/// Any combination of choices.
pub fn profile_of(choices: [bool; 12]) -> Profile {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = choices;
    let mut profile = Profile::default();
    profile.follow_up_epoch = if a { FollowUpEpoch::Next } else { FollowUpEpoch::Same };
    profile.follow_up = if b { FollowUp::ThroughRead } else { FollowUp::Straight };
    profile.lease_identity = if c { LeaseIdentity::ClientAndKey } else { LeaseIdentity::KeyAlone };
    profile.channel_choice = if d { ChannelChoice::FirstThenOthers } else { ChannelChoice::LatestOnly };
    profile.unexpected_ack =
        if e { UnexpectedAck::InvalidOplockProtocol } else { UnexpectedAck::InvalidDeviceState };
    profile.overtaken_ack = if f { OvertakenAck::Accept } else { OvertakenAck::Refuse };
    profile.lock_reach = if g { LockReach::Everywhere } else { LockReach::Allocation };
    profile.oplock_break_protection = if h { Protection::Plain } else { Protection::OfSession };
    profile.lease_break_protection = if i { Protection::Plain } else { Protection::OfSession };
    profile.link_breaks_handles = j;
    profile.security_breaks_handles = k;
    profile.lease_v2_on_smb210 = l;
    profile
}

/// Octets that spell steps. Behind the end there are zeros.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a> {
    rest: &'a [u8],
    /// Whether opens may outlive their connections. The profile says so.
    pub lasting: bool,
}

impl<'a> Octets<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, lasting: false }
    }

    pub fn exhausted(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn octet(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u8) -> u8 {
        self.octet() % bound
    }

    pub fn index(&mut self, bound: usize) -> usize {
        usize::from(self.octet()) % bound
    }

    /// True once in so many times.
    pub fn rarely(&mut self, times: u8) -> bool {
        self.below(times) == times - 1
    }

    /// 0 stands for the default. The highest bit: opens may outlive their connections.
    pub fn profile(&mut self) -> Profile {
        let choices = u16::from_le_bytes([self.octet(), self.octet()]);
        self.lasting = choices >> 15 == 1;
        if choices & 0x7fff == 0 {
            return Profile::default();
        }
        profile_of(core::array::from_fn(|at| choices >> at & 1 == 1))
    }

    /// A CREATE of this name, or of any.
    pub fn wish(&mut self, name: Option<usize>) -> Wish {
        let wish = self.short_wish(name);
        if !self.lasting {
            return wish;
        }
        let lasting = match self.below(4) {
            0 => Lasting::Not,
            1 => Lasting::First,
            _ => {
                let timeout = [0, 1, 10_000, 35_000, 70_000, u32::MAX][self.index(6)];
                Lasting::Second { timeout, guid: [1, 2, 3, 0][self.index(4)], persistent: false }
            }
        };
        let (user, replay) = (u8::from(self.rarely(8)), self.rarely(3));
        let instance = (self.below(4) == 3).then(|| {
            let (id, version) = (self.below(2), self.below(5));
            (id, (version < 3).then_some(version), !self.rarely(8))
        });
        Wish { lasting, user, replay, instance, ..wish }
    }

    fn short_wish(&mut self, name: Option<usize>) -> Wish {
        Wish {
            slot: self.index(SLOTS.len()),
            name: name.unwrap_or_else(|| self.index(NAMES)),
            tree: u32::from(self.below(2)),
            access: self.index(ACCESSES.len()),
            // 0 is the most frequent choice.
            sharing: u32::from(7 - self.below(8)),
            disposition: [3, 1, 5, 0, 2, 4][self.index(6)],
            delete: self.rarely(8),
            opfilter: self.rarely(64),
            level: [0xff, 0xff, 0xff, 0, 1, 8, 9, 0x33][self.index(8)],
            lease: {
                let (key, state, parent) = (self.below(8), self.octet(), self.below(8));
                let second = state & 8 == 0;
                (key < 6).then(|| {
                    let key = [1, 2, 3, 1, 2, 0][usize::from(key)];
                    (key, u32::from(7 - state % 8), second, (parent < 4).then_some(parent))
                })
            },
            share: [0, 0, 0, 0, 1, 2, 3, 4][self.index(8)],
            lasting: Lasting::Not,
            user: 0,
            replay: false,
            instance: None,
        }
    }

    pub fn elements(&mut self) -> Vec<LockElement> {
        const KINDS: [LockFlags; 8] = [
            LockFlags::EXCLUSIVE,
            LockFlags::SHARED,
            LockFlags::SHARED.union(LockFlags::FAIL_IMMEDIATELY),
            LockFlags::EXCLUSIVE.union(LockFlags::FAIL_IMMEDIATELY),
            LockFlags::UNLOCK,
            LockFlags::UNLOCK.union(LockFlags::FAIL_IMMEDIATELY),
            LockFlags::SHARED.union(LockFlags::EXCLUSIVE),
            LockFlags::empty(),
        ];
        let many = [1, 1, 1, 1, 2, 3, 0, 1][self.index(8)];
        let element = |_| {
            let offset = match self.below(16) {
                15 => u64::MAX,
                offset => u64::from(offset % 4),
            };
            LockElement { offset, len: u64::from(self.below(4)), flags: KINDS[self.index(8)] }
        };
        (0..many).map(element).collect()
    }

    pub fn operate(&mut self, name: Option<usize>) -> Step {
        Step::Operate {
            slot: self.index(SLOTS.len()),
            nth: self.index(8),
            actor: self.below(6),
            local: self.below(4) == 3,
            name: name.unwrap_or_else(|| self.index(NAMES)),
            what: self.below(15),
            offset: u64::from(self.below(4)),
            len: u64::from(self.below(4)),
        }
    }

    pub fn lock(&mut self) -> Step {
        Step::Lock {
            slot: self.index(SLOTS.len()),
            nth: self.index(8),
            empty: self.rarely(5),
            elements: self.elements(),
        }
    }

    /// Any step, as often as `tests/steps` has it; with this name, or any.
    pub fn step(&mut self, name: Option<usize>) -> Step {
        if self.lasting && self.below(4) == 3 { self.lasting_step() } else { self.short_step(name) }
    }

    /// What concerns opens that outlive their connections.
    pub fn lasting_step(&mut self) -> Step {
        let slot = self.index(SLOTS.len());
        match self.below(16) {
            0..5 => Step::Reconnect {
                how: Return {
                    slot,
                    home: !self.rarely(8),
                    nth: self.index(8),
                    lost: !self.rarely(16),
                    guid: [0, 0, 0, 0, 1, 1, 2, 3][self.index(8)],
                    lease: [0, 0, 0, 0, 0, 1, 2, 3][self.index(8)],
                    user: [0, 0, 0, 0, 0, 0, 1, 2][self.index(8)],
                    file: [0, 0, 0, 0, 0, 0, 1, 2][self.index(8)],
                    flag: 0,
                    by_guid: false,
                    word: None,
                },
            },
            5..9 => {
                let (nth, replay) = (self.index(8), !self.rarely(8));
                Step::Again { slot, nth, replay, level: [None, None, Some(0), Some(9)][self.index(4)] }
            }
            9 | 10 => {
                let (nth, user) = (self.index(8), u8::from(self.rarely(8)));
                let timeout = [0, 1, 10_000, 300_000, 300_001][self.index(5)];
                Step::Resilience { slot, nth, user, timeout }
            }
            11 => Step::End { slot, how: self.below(3) },
            12 => Step::Used { nth: self.index(8) },
            13 => Step::Disconnect { slot },
            _ => Step::Connect { slot },
        }
    }

    /// What concerns opens that outlive the server, or any step.
    pub fn promised_step(&mut self) -> Step {
        let word = |octets: &mut Self| {
            (octets.below(3) == 2).then(|| (u32::from(octets.below(8)), u16::from(octets.below(8))))
        };
        match self.below(32) {
            0..6 => {
                let wish = self.wish(None);
                let (slot, share) = ([0, 1, 2][self.index(3)], [5, 5, 5, 6, 7, 0][self.index(6)]);
                let (timeout, guid) = ([0, 1, 10_000, u32::MAX][self.index(4)], 1 + self.below(5));
                let lasting = Lasting::Second { timeout, guid, persistent: !self.rarely(8) };
                Step::Create(Wish { slot, share, lasting, ..wish })
            }
            6..10 => Step::Opened { nth: self.index(3), fails: false, empty: false },
            10..15 => Step::Stored { nth: self.index(6) },
            15 => Step::NotStored { nth: self.index(6) },
            16 => Step::Restart { extra: self.index(4), away: u64::from(self.octet()) * 400 },
            17..20 => match self.lasting_step() {
                Step::Reconnect { how } => {
                    let (flag, by_guid) = ([0, 0, 0, 0, 0, 0, 1, 2][self.index(8)], self.rarely(8));
                    let guid = if how.guid == 1 && how.nth % 4 > 0 { 0 } else { how.guid };
                    Step::Reconnect { how: Return { flag, by_guid, guid, word: word(self), ..how } }
                }
                other => other,
            },
            20 | 21 => Step::Resend {
                slot: self.index(SLOTS.len()),
                nth: self.index(8),
                replay: !self.rarely(8),
                what: [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7][self.index(11)],
                word: word(self),
            },
            _ => self.step(None),
        }
    }

    fn short_step(&mut self, name: Option<usize>) -> Step {
        match self.below(64) {
            0..16 => Step::Create(self.wish(name)),
            16..24 => Step::Opened { nth: self.index(3), fails: self.rarely(10), empty: self.rarely(2) },
            24..34 => self.operate(name),
            34..39 => Step::Done { nth: self.index(3), fails: self.rarely(10) },
            39..42 => self.lock(),
            42 => Step::Cancel { nth: self.index(3) },
            43..48 => {
                Step::Close { slot: self.index(SLOTS.len()), nth: self.index(8), own: !self.rarely(20) }
            }
            48..56 => Step::Ack {
                slot: self.index(SLOTS.len()),
                nth: self.index(6),
                how: self.below(10),
                level: self.octet(),
            },
            56 => Step::Undelivered { nth: self.index(4) },
            57 => Step::Disconnect { slot: self.index(SLOTS.len()) },
            58 => Step::Logoff { slot: self.index(SLOTS.len()) },
            59 => Step::TreeDisconnect { slot: self.index(SLOTS.len()), tree: u32::from(self.below(2)) },
            60 | 61 => Step::Connect { slot: self.index(SLOTS.len()) },
            _ => {
                let millis = match self.octet() {
                    millis @ 0..128 => u64::from(millis) * 300,
                    millis => [1, 10_000, 35_000][usize::from(millis % 3)],
                };
                Step::Time { millis }
            }
        }
    }
}
