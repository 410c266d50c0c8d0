//! What clients know: what each asked for, and what it was told before the crash.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::persist::Record;
use leasehold::server::{
    AppInstance, Create, Durability, Grant, LockElement, ObjectKind, Origin, Share, ShareFlags, ShareKind,
    Ticket,
};
use leasehold::wire::{DurableFlags, Lease, LeaseFlags, LeaseV2};
use leasehold::{
    Access, ClientGuid, ConnId, CreateAction, CreateGuid, CreateOptions, Disposition, Epoch, FileId, FileKey,
    Intent, LeaseKey, LeaseState, OplockLevel, RequestId, SessionId, ShareMode, Status, TreeId, UserId,
};

pub type Verdict<T = ()> = Result<T, String>;

/// Says what is wrong unless it holds.
macro_rules! hold {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use hold;

pub const CLIENTS: usize = 3;
/// Two files and a directory in which they stand.
pub const NAMES: usize = 3;
pub const DIRECTORY: usize = 2;
/// Where a file may be renamed to.
pub const ELSEWHERE: FileKey = FileKey::new(0x1000);
/// The tree connect of the share that is continuously available.
pub const AVAILABLE: u32 = 1;

pub fn guid_of(client: usize) -> ClientGuid {
    ClientGuid::from_wire([u8::try_from(client + 1).unwrap(); 16])
}

pub fn user_of(client: usize) -> UserId {
    UserId::new([u8::try_from(client + 0x11).unwrap(); 16])
}

pub fn origin(conn: u64, tree: u32) -> Origin {
    Origin::new(ConnId::new(conn), SessionId::new(conn), TreeId::new(tree))
}

pub fn lease_of(key: LeaseKey, state: LeaseState, epoch: Epoch) -> Lease {
    Lease::V2(LeaseV2 { key, state, flags: LeaseFlags::empty(), parent: None, epoch })
}

/// What does not change in a world.
#[derive(Clone, Debug)]
pub struct Settings {
    pub gate_close: bool,
    pub ca_timeout: u32,
    pub grace: u64,
    pub restored_min: u64,
    /// The client that has not negotiated persistent handles, if there is one.
    pub plain_client: usize,
}

impl Settings {
    pub fn share(&self, tree: u32) -> Share {
        let flags = if tree == AVAILABLE { ShareFlags::CONTINUOUSLY_AVAILABLE } else { ShareFlags::empty() };
        Share::new(ShareKind::Disk, flags).ca_timeout(self.ca_timeout)
    }
}

/// What a CREATE asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub client: usize,
    pub tree: u32,
    pub file: FileKey,
    pub kind: ObjectKind,
    pub directory: Option<FileKey>,
    pub access: Access,
    pub sharing: ShareMode,
    pub disposition: Disposition,
    pub options: CreateOptions,
    pub level: OplockLevel,
    pub lease: Option<(LeaseKey, LeaseState)>,
    pub durability: Durability,
    pub instance: Option<AppInstance>,
    pub channel_sequence: u16,
}

impl Wish {
    pub fn guid(&self) -> Option<CreateGuid> {
        match self.durability {
            Durability::V2 { create_guid, .. } => Some(create_guid),
            _ => None,
        }
    }

    /// What it may be made, if there is no trouble.
    pub fn persistent(&self, settings: &Settings) -> bool {
        let asked = matches!(self.durability, Durability::V2 { persistent: true, .. });
        asked && self.tree == AVAILABLE && self.client != settings.plain_client
    }

    /// How long it is kept, once it is persistent.
    pub fn timeout(&self, settings: &Settings) -> u64 {
        match (&self.durability, settings.ca_timeout) {
            (Durability::V2 { timeout: 0, .. }, 0) => 60_000,
            (Durability::V2 { timeout: 0, .. }, ca) => u64::from(ca),
            (Durability::V2 { timeout, .. }, _) => u64::from((*timeout).min(300_000)),
            _ => 0,
        }
    }

    pub fn create(&self, request: RequestId, conn: u64, settings: &Settings, epoch: Epoch) -> Create {
        let lease = self.lease.map(|(key, state)| lease_of(key, state, epoch));
        let mut create = Create::new(request, origin(conn, self.tree), self.file)
            .access(self.access, self.sharing)
            .disposition(self.disposition, self.options)
            .caching(self.level, lease)
            .durable(user_of(self.client), self.durability)
            .place(settings.share(self.tree), self.directory);
        if let Some(instance) = self.instance {
            create = create.instance(instance, Access::GENERIC_READ);
        }
        create.channel_sequence = self.channel_sequence;
        create
    }
}

/// What is certain of a handle, as far as a crash goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// Its CREATE is not answered.
    Asked,
    /// Its client was told that it is persistent.
    Firm,
    /// It is about to go, or gone without an answer, or never told: it may come back or not.
    Doubtful,
    /// Its client was told that it is closed; or it did not survive.
    Gone,
    /// It was never promised.
    Never,
}

#[derive(Clone, Debug)]
pub struct Handle {
    pub file_id: FileId,
    pub wish: Wish,
    pub standing: Standing,
    /// Its client was told that it is persistent.
    pub promised: bool,
    /// Whether its client knows its FileId.
    pub told: bool,
    /// The connection and the tree connect it is on.
    pub seat: Option<(u64, u32)>,
    /// When its client has to be back.
    pub deadline: u64,
    /// The server has closed it.
    pub closed: bool,
    pub action: Option<CreateAction>,
    /// Locks by offset: how many there are at least, and at most.
    pub locks: BTreeMap<u64, (i32, i32)>,
    /// Lock sequences by index: the number that must be known, if one must.
    pub sequences: BTreeMap<u32, Option<u32>>,
    /// The directories in which the name may stand.
    pub places: Vec<Option<FileKey>>,
    /// What a disposition through it has made of the file, if that is certain.
    pub fate: Option<bool>,
    /// Its oplock, as its client was told.
    pub level: OplockLevel,
    /// A change of its record could not be stored.
    pub scarred: bool,
    /// That its record is to be deleted could not be stored.
    pub ghost: bool,
    /// Its lease key names another file, and it joined no lease.
    pub unbound: bool,
    /// It was given back though it may have been gone for others.
    pub revived: bool,
    /// It has lost a connection since the server started.
    pub lost: bool,
}

/// What a client was told of a lease.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub file: FileKey,
    pub state: LeaseState,
    pub epoch: Epoch,
    /// Nothing has happened to it since that its client does not know.
    pub exact: bool,
}

/// A break that wants an answer.
#[derive(Clone, Copy, Debug)]
pub enum Notice {
    Lease { client: usize, conn: u64, key: LeaseKey, new: LeaseState },
    Oplock { conn: u64, file_id: FileId, level: OplockLevel },
}

impl Notice {
    pub const fn conn(&self) -> u64 {
        match self {
            Self::Lease { conn, .. } | Self::Oplock { conn, .. } => *conn,
        }
    }
}

/// What a request was.
#[derive(Clone, Debug)]
pub enum Asked {
    Create { wish: Wish },
    Reconnect { persistent: u64, flags: DurableFlags },
    Lock { persistent: u64, elements: Vec<LockElement>, sequence: Option<(u32, u32)> },
    Close { persistent: u64 },
    Tree { handles: Vec<u64> },
    Operate { persistent: u64, intent: Intent },
    Ack { client: usize },
}

/// How a request was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Granted(Grant),
    Refused(Status),
    Closed,
    Accepted,
}

/// How it is known that a file will go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Going {
    /// A disposition has run: the record through which it ran says so, and others will.
    Disposed,
    /// The CLOSE of an open that was to delete it was answered: whatever is stored says so.
    Closed,
}

/// An operation between `Proceed` and `Done`.
#[derive(Clone, Debug)]
pub struct Running {
    pub ticket: Ticket,
    pub persistent: u64,
    pub intent: Intent,
}

#[derive(Clone, Debug)]
pub struct Book {
    pub settings: Settings,
    /// The connection of each client; its session has the same number.
    pub conns: [Option<u64>; CLIENTS],
    pub next: u64,
    pub handles: BTreeMap<u64, Handle>,
    pub told: BTreeMap<(usize, LeaseKey), Told>,
    /// What is not answered, and on which connection it came.
    pub requests: BTreeMap<RequestId, (u64, Asked)>,
    pub answers: BTreeMap<RequestId, Answer>,
    pub notices: Vec<Notice>,
    pub opening: Vec<FileId>,
    pub running: Vec<Running>,
    /// Files whose name is gone.
    pub removed: BTreeSet<FileKey>,
    /// Files that will go, as somebody was told.
    pub going: BTreeMap<FileKey, Going>,
    /// Files that somebody wanted to rename.
    pub moved: BTreeSet<FileKey>,
    /// How often each name was removed.
    pub generations: [u32; NAMES],
    /// FileIds that were promised to survive something.
    pub promised: BTreeSet<u64>,
}

impl Book {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            conns: [None; CLIENTS],
            next: 1,
            handles: BTreeMap::new(),
            told: BTreeMap::new(),
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            notices: Vec::new(),
            opening: Vec::new(),
            running: Vec::new(),
            removed: BTreeSet::new(),
            going: BTreeMap::new(),
            moved: BTreeSet::new(),
            generations: [0; NAMES],
            promised: BTreeSet::new(),
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn file(&self, name: usize) -> FileKey {
        FileKey::new(u128::from(self.generations[name]) * 16 + u128::try_from(name).unwrap() + 1)
    }

    /// Where the name may stand when it is opened.
    pub fn places(&self, wish: &Wish) -> Vec<Option<FileKey>> {
        let mut places = vec![wish.directory];
        if self.moved.contains(&wish.file) {
            places.extend([Some(ELSEWHERE), Some(self.file(DIRECTORY))]);
        }
        places
    }

    pub fn current(&self, conn: u64) -> bool {
        self.conns.contains(&Some(conn))
    }

    pub fn client_on(&self, conn: u64) -> Option<usize> {
        self.conns.iter().position(|other| *other == Some(conn))
    }

    /// Whether a disposition that takes another back is on its way.
    pub fn undoes(&self) -> bool {
        let back = |intent: &Intent| matches!(intent, Intent::Delete { pending: false });
        self.requests
            .values()
            .any(|(_, asked)| matches!(asked, Asked::Operate { intent, .. } if back(intent)))
            || self.running.iter().any(|running| back(&running.intent))
    }

    /// What becomes of the file is uncertain from now on.
    pub fn doubt_fate(&mut self, file: FileKey) {
        let of_file = self.handles.values_mut().filter(|handle| handle.wish.file == file);
        of_file.for_each(|handle| handle.fate = None);
    }

    /// Whether a rename of the file has not ended.
    pub fn moves(&self, file: FileKey) -> bool {
        let moves = |persistent: &u64, intent: &Intent| {
            let of_file = self.handles.get(persistent).is_some_and(|handle| handle.wish.file == file);
            of_file && matches!(intent, Intent::Rename { .. })
        };
        let asked = |(_, asked): &(u64, Asked)| match asked {
            Asked::Operate { persistent, intent } => moves(persistent, intent),
            _ => false,
        };
        self.requests.values().any(asked)
            || self.running.iter().any(|other| moves(&other.persistent, &other.intent))
    }

    /// Whether something that was not answered as yet may change what becomes of the file.
    pub fn disposes(&self, file: FileKey) -> bool {
        let of_file =
            |persistent: &u64| self.handles.get(persistent).is_some_and(|handle| handle.wish.file == file);
        let asked = |(_, asked): &(u64, Asked)| match asked {
            Asked::Operate { persistent, intent: Intent::Delete { .. } } => of_file(persistent),
            Asked::Create { wish } => {
                wish.file == file && wish.options.contains(CreateOptions::DELETE_ON_CLOSE)
            }
            _ => false,
        };
        let runs =
            |other: &Running| matches!(other.intent, Intent::Delete { .. }) && of_file(&other.persistent);
        let doomed = |handle: &Handle| {
            let doomed = handle.wish.options.contains(CreateOptions::DELETE_ON_CLOSE);
            doomed && handle.wish.file == file && !handle.closed
        };
        self.requests.values().any(asked)
            || self.running.iter().any(runs)
            || self.handles.values().any(doomed)
    }

    /// Whether the file has a handle the record of which may have been damaged.
    pub fn scarred(&self, file: FileKey) -> bool {
        self.handles.values().any(|handle| handle.wish.file == file && handle.scarred)
    }

    /// What the file is removed by.
    pub fn remove(&mut self, file: FileKey) {
        for name in 0..NAMES {
            if self.file(name) == file {
                self.generations[name] += 1;
            }
        }
        self.removed.insert(file);
    }

    /// Which handles a client could name: those that it was told of.
    pub fn known(&self, client: usize, which: impl Fn(&Handle) -> bool) -> Vec<u64> {
        let known = self.handles.iter().filter(|(_, handle)| handle.wish.client == client && handle.told);
        known.filter(|(_, handle)| which(handle)).map(|(persistent, _)| *persistent).collect()
    }
}

impl Handle {
    /// Whether the record is that of this handle.
    pub fn fits(&self, record: &Record, book: &Book) -> Verdict {
        let wish = &self.wish;
        hold!(record.file == wish.file, "another file");
        hold!(record.client == guid_of(wish.client), "another client");
        hold!(record.owner == user_of(wish.client), "another owner");
        hold!(Some(record.create_guid) == wish.guid(), "another CreateGuid");
        hold!(record.desired == wish.access && record.granted == wish.access, "another access");
        hold!(record.sharing == wish.sharing, "another share mode");
        hold!(record.disposition == wish.disposition, "another disposition");
        hold!(record.options == wish.options, "other options");
        hold!(record.kind == wish.kind, "another kind");
        hold!(record.channel_sequence == wish.channel_sequence, "another ChannelSequence");
        hold!(record.instance == wish.instance, "another instance");
        hold!(
            u64::from(record.timeout) == wish.timeout(&book.settings),
            "another timeout: {}",
            record.timeout
        );
        if let Some(action) = self.action {
            hold!(record.action == action, "another CreateAction");
        }
        let fate = self.fate.filter(|_| self.standing == Standing::Firm);
        hold!(fate.is_none_or(|goes| goes == record.goes), "goes is {}", record.goes);
        hold!(self.places.contains(&record.directory), "in {:?}, not {:?}", record.directory, self.places);
        if let Some(lease) = record.lease {
            hold!(wish.lease.is_some_and(|(key, _)| key == lease.key()), "another lease key");
            hold!(matches!(lease, Lease::V2(_)), "another version of its lease");
        }
        let mut locks: BTreeMap<u64, i32> = BTreeMap::new();
        for lock in &record.locks {
            hold!(lock.len == 1 && lock.exclusive == (lock.offset < 2), "another lock: {lock:?}");
            *locks.entry(lock.offset).or_default() += 1;
        }
        self.locks_fit(&locks)?;
        let known: Vec<u32> = record.sequences.known().map(|sequence| sequence.to_wire()).collect();
        for (index, number) in &self.sequences {
            if let (Some(number), Standing::Firm) = (number, self.standing) {
                let field = index << 4 | number;
                hold!(known.contains(&field), "lock sequence {index}/{number} is not known: {known:?}");
            }
        }
        for field in known {
            hold!(
                self.sequences.contains_key(&(field >> 4)),
                "a lock sequence {field:#x} that was never sent"
            );
        }
        Ok(())
    }

    /// What is so from now on, because the record says so.
    pub fn recall(&mut self, record: &Record) {
        self.level = record.level;
        self.action = Some(record.action);
        self.places = vec![record.directory];
        self.fate = None;
        for (offset, (least, most)) in &mut self.locks {
            let stored = record.locks.iter().filter(|lock| lock.offset == *offset).count();
            *most = i32::try_from(stored).unwrap();
            *least = if self.standing == Standing::Firm { (*least).clamp(0, *most) } else { 0 };
        }
        let fields = record.sequences.known().map(|sequence| sequence.to_wire());
        self.sequences = fields.map(|field| (field >> 4, Some(field & 0xf))).collect();
    }

    pub fn locks_fit(&self, locks: &BTreeMap<u64, i32>) -> Verdict {
        for (offset, (least, most)) in &self.locks {
            let held = locks.get(offset).copied().unwrap_or(0);
            // Whoever is about to go may have left them to others.
            let least = if self.standing == Standing::Doubtful { &0 } else { least };
            hold!(
                (*least..=*most).contains(&held),
                "locks at {offset}: {held}, which should be {least} to {most}"
            );
        }
        hold!(
            locks.keys().all(|offset| self.locks.contains_key(offset)),
            "a lock that was never asked for: {locks:?}"
        );
        Ok(())
    }
}
