//! A server that starts again, and clients that want back what they were promised.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use leasehold::persist::Record;
use leasehold::server::{Event, Lock, LockElement, LockFlags, ObjectKind, Reconnect};
use leasehold::wire::{DurableFlags, Lease, LeaseFlags};
use leasehold::{
    Access, CreateGuid, CreateOptions, Epoch, FileKey, LeaseKey, LeaseState, OplockLevel, ShareMode,
};
use leasehold::{Status, UserId};

use crate::book::{
    AVAILABLE, Answer, Asked, Book, CLIENTS, Standing, Verdict, Wish, hold, lease_of, origin, user_of,
};
use crate::cut::{Cuts, seen};
use crate::life::{Life, caches, state_of};
use crate::rng::Rng;
use crate::store::Image;

/// Starts a server with what is stored, and holds it to what the clients know.
pub fn trial(book: &Book, image: Image, seed: u64, outer: bool, loud: bool) -> Verdict {
    let mut rng = Rng::new(seed);
    let mut life = Life::start(book.clone(), image, &mut rng, None, loud)?;
    if outer && rng.chance(3) {
        life.cuts = Some(Cuts::within(rng.next()));
    }
    let records = life.image.records.clone();
    let left = records.keys().copied().collect();
    let started = life.now;
    let trial =
        Trial { life, rng, records, started, left, given: BTreeSet::new(), contended: BTreeSet::new() };
    trial.run()
}

struct Trial {
    life: Life,
    rng: Rng,
    /// What was restored.
    records: BTreeMap<u64, Rc<Record>>,
    started: u64,
    /// What nobody has claimed yet.
    left: BTreeSet<u64>,
    /// Leases of which an open was given back.
    given: BTreeSet<(usize, LeaseKey)>,
    /// Files that somebody wanted to open meanwhile.
    contended: BTreeSet<FileKey>,
}

/// What a request to get an open back says.
struct Claim {
    client: usize,
    user: UserId,
    guid: Option<CreateGuid>,
    flags: DurableFlags,
    lease: Option<Lease>,
}

impl Trial {
    fn run(mut self) -> Verdict {
        if self.rng.chance(75) {
            self.life.cover_all()?;
        }
        for client in 0..CLIENTS {
            self.life.connect(client)?;
        }
        if self.rng.chance(50) {
            self.contend()?;
        }
        let share = [100, 100, 100, 50, 0][self.rng.below(5)];
        let mut handles: Vec<u64> = self.life.book.handles.keys().copied().collect();
        self.rng.shuffle(&mut handles);
        for persistent in handles {
            if !self.records.contains_key(&persistent) {
                if self.rng.chance(40) {
                    self.is_gone(persistent)?;
                }
            } else if self.rng.chance(share) {
                self.claim(persistent)?;
            }
        }
        self.life.nothing_excluded()?;
        self.life.locks_fit()?;
        if self.rng.chance(30) {
            self.contend()?;
        }
        self.lock()?;
        self.close()?;
        self.expire()?;
        self.end()
    }

    /// While an open was not claimed, nobody else opens the file.
    fn contend(&mut self) -> Verdict {
        let left: Vec<u64> = self.left.iter().copied().collect();
        let Some(persistent) = self.rng.pick(&left) else { return Ok(()) };
        let record = Rc::clone(&self.records[&persistent]);
        let of_file = |other: &&Rc<Record>| other.file == record.file;
        let goes = self.records.values().filter(of_file).any(|other| other.goes);
        let late = self.life.now - self.started >= self.life.book.settings.grace;
        if goes || late {
            return Ok(());
        }
        let holder = self.life.book.handles[&persistent].wish.client;
        let client = (holder + 1 + self.rng.below(CLIENTS - 1)) % CLIENTS;
        let answer = self.open(client, record.file)?;
        let expected = Some(Answer::Refused(Status::FILE_NOT_AVAILABLE));
        hold!(
            answer == expected,
            "a CREATE of {:#x} before {persistent:#x} is back: {answer:?}",
            record.file.get()
        );
        seen("others refused");
        self.contended.insert(record.file);
        Ok(())
    }

    /// A plain CREATE.
    fn open(&mut self, client: usize, file: FileKey) -> Verdict<Option<Answer>> {
        let conn = self.life.book.conns[client].expect("all are connected");
        let kind = ObjectKind::File;
        let key = LeaseKey::new((file.get() << 8 | 0x77).to_le_bytes());
        let lease = self.rng.chance(30).then_some((key, LeaseState::RWH));
        let wish = Wish {
            client,
            tree: AVAILABLE,
            file,
            kind,
            directory: None,
            access: Access::READ_DATA,
            sharing: self.rng.pick(&[ShareMode::ALL, ShareMode::READ]).unwrap_or_default(),
            disposition: leasehold::Disposition::OpenIf,
            options: CreateOptions::empty(),
            level: if lease.is_some() { OplockLevel::Lease } else { OplockLevel::None },
            lease,
            durability: leasehold::server::Durability::None,
            instance: None,
            channel_sequence: 0,
        };
        let request = self.life.ask(conn, Asked::Create { wish: wish.clone() });
        let create = wish.create(request, conn, &self.life.book.settings, Epoch::ZERO);
        self.life.tell(Event::Create(create))?;
        Ok(self.life.book.answers.remove(&request))
    }

    /// What is not stored is not given back.
    fn is_gone(&mut self, persistent: u64) -> Verdict {
        let handle = self.life.book.handles[&persistent].clone();
        let guid = handle.wish.guid();
        let again = self.records.values().any(|record| Some(record.create_guid) == guid);
        if !handle.told || again {
            return Ok(());
        }
        let client = handle.wish.client;
        let claim = Claim {
            client,
            user: user_of(client),
            guid,
            flags: if handle.promised { DurableFlags::PERSISTENT } else { DurableFlags::empty() },
            lease: handle.wish.lease.map(|(key, state)| lease_of(key, state, Epoch::ZERO)),
        };
        let answer = self.reconnect(persistent, &claim)?;
        let expected = Some(Answer::Refused(Status::OBJECT_NAME_NOT_FOUND));
        hold!(answer == expected, "{persistent:#x} ({:?}) is not stored: {answer:?}", handle.standing);
        seen("claims of what is gone");
        Ok(())
    }

    fn reconnect(&mut self, persistent: u64, claim: &Claim) -> Verdict<Option<Answer>> {
        let conn = self.life.book.conns[claim.client].expect("all are connected");
        let file = self.life.book.handles[&persistent].wish.file;
        let request = self.life.ask(conn, Asked::Reconnect { persistent, flags: claim.flags });
        let share = self.life.book.settings.share(AVAILABLE);
        let origin = origin(conn, AVAILABLE);
        let mut reconnect = Reconnect::new(request, origin, claim.user, persistent).flags(claim.flags, share);
        reconnect.create_guid = claim.guid;
        if let Some(lease) = claim.lease {
            reconnect = reconnect.lease(lease, Some(file));
        }
        self.life.tell(Event::Reconnect(reconnect))?;
        Ok(self.life.book.answers.remove(&request))
    }

    /// A client wants back what it had.
    fn claim(&mut self, persistent: u64) -> Verdict {
        let record = Rc::clone(&self.records[&persistent]);
        let handle = self.life.book.handles[&persistent].clone();
        let key = |record: &Record| record.lease.map(|lease| (record.client, lease.key()));
        let mut others = self.records.values().filter(|other| other.file != record.file);
        if handle.standing != Standing::Firm
            && others.any(|other| key(other).is_some() && key(other) == key(&record))
        {
            // Of two files that one key names, one was closed before the other was opened.
            return Ok(());
        }
        if !handle.told {
            return self.replay(persistent, &record);
        }
        let client = handle.wish.client;
        let told = record.lease.map(|lease| {
            let told = self.life.book.told.get(&(client, lease.key()));
            told.map_or((LeaseState::RWH, Epoch::ZERO), |told| (told.state, told.epoch))
        });
        let (believed, epoch) = told.unwrap_or_default();
        let again = record.lease.is_some_and(|lease| self.given.contains(&(client, lease.key())));
        let wanted = if again || self.rng.chance(90) { believed } else { believed & LeaseState::R };
        let right = || Claim {
            client,
            user: user_of(client),
            guid: handle.wish.guid(),
            flags: DurableFlags::PERSISTENT,
            lease: record.lease.map(|lease| lease_of(lease.key(), wanted, epoch)),
        };
        if self.rng.chance(50) {
            self.claim_wrongly(persistent, right())?;
        }
        let answer = self.reconnect(persistent, &right())?;
        let Some(Answer::Granted(grant)) = answer else {
            let standing = handle.standing;
            return Err(format!("{persistent:#x} ({standing:?}) is stored, and not given back: {answer:?}"));
        };
        hold!(grant.file_id.persistent == persistent, "another FileId: {:?}", grant.file_id);
        seen("handles given back");
        self.left.remove(&persistent);
        let back = state_of(grant.lease);
        if let Some(lease) = record.lease {
            let key = lease.key();
            hold!(grant.lease.is_some_and(|lease| lease.key() == key), "without its lease: {grant:?}");
            let first = self.given.insert((client, key));
            let of_file: Vec<_> = self.records.values().filter(|other| other.file == record.file).collect();
            let of_lease = |other: &Rc<Record>| {
                other.client == record.client && other.lease.is_some_and(|lease| lease.key() == key)
            };
            let stored = of_file.iter().filter(|other| of_lease(other));
            let stored = stored.fold(LeaseState::NONE, |all, other| all | state_of(other.lease));
            // While it breaks the answer has what it was (MS-SMB2 3.3.5.9.12).
            let breaking =
                grant.lease.is_some_and(|lease| lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS));
            hold!(
                breaking || wanted.contains(back),
                "{persistent:#x} comes back with {back}, and its client had {wanted}"
            );
            hold!(
                stored.contains(back) || !first,
                "{persistent:#x} comes back with {back}, and {stored} was stored"
            );
            let alone = of_file.iter().all(|other| of_lease(other) && state_of(other.lease) == lease.state());
            let free = of_file.iter().all(|other| other.locks.is_empty() && !other.goes)
                && !self.contended.contains(&record.file);
            let expected = (lease.state() & wanted).normalized();
            // A listing may be another by now: it comes back to be given up.
            let listing = record.kind == ObjectKind::Directory;
            let whole = !first || !alone || !free || listing || back == expected;
            if first && alone && free && !back.is_empty() {
                seen("leases that come back whole");
            }
            hold!(whole, "{persistent:#x} comes back with {back}, and nothing is in the way of {expected}");
        } else {
            hold!(grant.lease.is_none(), "a lease from nowhere: {grant:?}");
            let level = caches(record.level);
            hold!(
                level.contains(caches(grant.level)),
                "{:?} comes back, {:?} was stored",
                grant.level,
                record.level
            );
        }
        Ok(())
    }

    /// What does not fit is refused, and harms nothing.
    fn claim_wrongly(&mut self, persistent: u64, mut claim: Claim) -> Verdict {
        let mut status = Status::OBJECT_NAME_NOT_FOUND;
        let what = ["owner", "CreateGuid", "flag", "lease key", "lease", "client"][self.rng.below(6)];
        match what {
            "owner" => {
                claim.user = user_of(CLIENTS);
                status = Status::ACCESS_DENIED;
            }
            "CreateGuid" => claim.guid = Some(CreateGuid::from_wire([0xee; 16])),
            "flag" => claim.flags = DurableFlags::empty(),
            "lease key" => {
                claim.lease = Some(lease_of(LeaseKey::new([0xdd; 16]), LeaseState::RWH, Epoch::ZERO))
            }
            "lease" if claim.lease.is_some() => claim.lease = None,
            "client" if claim.lease.is_some() => claim.client = (claim.client + 1) % CLIENTS,
            _ => return Ok(()),
        }
        let answer = self.reconnect(persistent, &claim)?;
        hold!(answer == Some(Answer::Refused(status)), "{persistent:#x} by a wrong {what}: {answer:?}");
        seen("wrong claims");
        Ok(())
    }

    /// A client that was never answered sends its CREATE again.
    fn replay(&mut self, persistent: u64, record: &Record) -> Verdict {
        let wish = self.life.book.handles[&persistent].wish.clone();
        let twice = self.records.values().filter(|other| other.create_guid == record.create_guid).count() > 1;
        let conn = self.life.book.conns[wish.client].expect("all are connected");
        if twice {
            return Ok(());
        }
        if self.rng.chance(30) {
            let mut other = wish.clone();
            other.sharing ^= ShareMode::WRITE;
            let request = self.life.ask(conn, Asked::Create { wish: other.clone() });
            let create = other.create(request, conn, &self.life.book.settings, Epoch::ZERO).replayed();
            self.life.tell(Event::Create(create))?;
            let answer = self.life.book.answers.remove(&request);
            let expected = Some(Answer::Refused(Status::CONTEXT_MISMATCH));
            hold!(answer == expected, "a replay of {persistent:#x} with another share mode: {answer:?}");
        }
        let request = self.life.ask(conn, Asked::Create { wish: wish.clone() });
        let create = wish.create(request, conn, &self.life.book.settings, Epoch::ZERO).replayed();
        self.life.tell(Event::Create(create))?;
        let answer = self.life.book.answers.remove(&request);
        let Some(Answer::Granted(grant)) = answer else {
            return Err(format!("the CREATE of {persistent:#x} sent again: {answer:?}"));
        };
        hold!(grant.file_id.persistent == persistent, "another open: {grant:?}");
        hold!(grant.action == record.action, "{:?} instead of {:?}", grant.action, record.action);
        let firm = self.life.book.handles[&persistent].standing == Standing::Firm;
        hold!(firm, "given back without a promise: {grant:?}");
        seen("handles given back by a replay");
        self.left.remove(&persistent);
        if let Some(lease) = record.lease {
            self.given.insert((wish.client, lease.key()));
        }
        Ok(())
    }

    /// What is locked is locked to others.
    fn lock(&mut self) -> Verdict {
        let back: Vec<u64> = self.records.keys().copied().filter(|id| !self.left.contains(id)).collect();
        let (Some(holder), Some(other)) = (self.rng.pick(&back), self.rng.pick(&back)) else { return Ok(()) };
        let (holder, other) = (&self.life.book.handles[&holder], &self.life.book.handles[&other]);
        let locked = (0..2).find(|offset| holder.locks.get(offset).is_some_and(|(least, _)| *least > 0));
        let same = holder.file_id == other.file_id || holder.wish.file != other.wish.file;
        let (Some(offset), false, Some((conn, tree))) = (locked, same, other.seat) else { return Ok(()) };
        let (persistent, file_id) = (other.file_id.persistent, other.file_id);
        let elements =
            vec![LockElement { offset, len: 1, flags: LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY }];
        let handle = self.life.book.handles.get_mut(&persistent).expect("it is seated");
        handle.locks.entry(offset).or_default().1 += 1;
        let request =
            self.life.ask(conn, Asked::Lock { persistent, elements: elements.clone(), sequence: None });
        let lock = Lock::new(request, origin(conn, tree), file_id, u64::MAX, elements);
        self.life.tell(Event::Lock(lock))?;
        let answer = self.life.book.answers.remove(&request);
        let refused = Some(Answer::Refused(Status::LOCK_NOT_GRANTED));
        // Or it waits for a break first.
        hold!(
            answer.is_none() || answer == refused,
            "a lock of {offset} through {persistent:#x}: {answer:?}"
        );
        seen("locks refused");
        Ok(())
    }

    /// Whatever was given back is closed.
    fn close(&mut self) -> Verdict {
        let mut back: Vec<u64> = self.records.keys().copied().filter(|id| !self.left.contains(id)).collect();
        self.rng.shuffle(&mut back);
        self.life.cover_all()?;
        let mut requests = Vec::new();
        for persistent in back {
            let Some(request) = self.life.close(persistent)? else { continue };
            let early = self.life.book.answers.contains_key(&request);
            let gated = self.life.book.settings.gate_close;
            hold!(early != gated, "CLOSE of {persistent:#x}: answered is {early} before it is stored");
            requests.push(request);
        }
        self.life.cover_all()?;
        for request in requests {
            let answer = self.life.book.answers.remove(&request);
            hold!(answer == Some(Answer::Closed), "a CLOSE: {answer:?}");
        }
        Ok(())
    }

    /// What nobody wants any more expires when it has to.
    fn expire(&mut self) -> Verdict {
        if self.rng.chance(30) {
            self.life.pass(self.life.book.settings.grace)?;
            self.on_time()?;
            self.contend_late()?;
        }
        while self.life.pass_until_due(400_000)? {
            self.on_time()?;
        }
        for record in self.records.values() {
            let handle = &self.life.book.handles[&record.persistent];
            if self.left.contains(&record.persistent) {
                seen("handles expired");
            }
            hold!(handle.closed, "{:#x} is still there", record.persistent);
            let mut of_file = self.records.values().filter(|other| other.file == record.file);
            let goes =
                of_file.any(|other| other.goes || other.options.contains(CreateOptions::DELETE_ON_CLOSE));
            let removed = self.life.book.removed.contains(&record.file);
            hold!(removed == goes, "{:#x}: removed is {removed}, and should be {goes}", record.file.get());
        }
        let files = self.life.server.snapshot().files;
        hold!(files.is_empty(), "what is left: {files:?}");
        Ok(())
    }

    /// What is not wanted back expires when it has to, and not before.
    fn on_time(&self) -> Verdict {
        for persistent in &self.left {
            let handle = &self.life.book.handles[persistent];
            let over = handle.deadline <= self.life.now;
            let (closed, deadline) = (handle.closed, handle.deadline);
            hold!(closed == over, "{persistent:#x}: closed is {closed}, and the deadline {deadline}");
        }
        Ok(())
    }

    /// Behind the time of grace, who has no handle caching to give up keeps others away all the same.
    fn contend_late(&mut self) -> Verdict {
        let there = |id: &u64| !self.life.book.handles[id].closed;
        let left: Vec<u64> = self.left.iter().copied().filter(there).collect();
        let Some(persistent) = self.rng.pick(&left) else { return Ok(()) };
        let record = Rc::clone(&self.records[&persistent]);
        let alone = self.records.values().filter(|other| other.file == record.file).count() == 1;
        let caches = state_of(record.lease) | caches(record.level);
        if !alone || record.goes || caches.contains(LeaseState::HANDLE) {
            return Ok(());
        }
        let client = (self.life.book.handles[&persistent].wish.client + 1) % CLIENTS;
        let answer = self.open(client, record.file)?;
        let expected = Some(Answer::Refused(Status::FILE_NOT_AVAILABLE));
        hold!(answer == expected, "a CREATE that meets {persistent:#x} after the time of grace: {answer:?}");
        seen("others refused after the time of grace");
        Ok(())
    }

    /// Whoever was refused may open the file now; and when all have gone, nothing is left.
    fn end(mut self) -> Verdict {
        // What expired is over for others when that is durable.
        self.life.cover_all()?;
        let files: BTreeSet<FileKey> = self.records.values().map(|record| record.file).collect();
        for file in files {
            if self.life.book.removed.contains(&file) {
                continue;
            }
            let client = self.rng.below(CLIENTS);
            let answer = self.open(client, file)?;
            hold!(answer.is_none(), "a CREATE of {:#x}: {answer:?}", file.get());
            let opening = self.life.book.opening.clone();
            hold!(opening.len() == 1, "a CREATE of {:#x} is not carried out", file.get());
            for file_id in opening {
                self.life.opened(file_id, &mut self.rng)?;
            }
        }
        for client in 0..CLIENTS {
            let conn = self.life.book.conns[client].expect("all are connected");
            self.life.disconnect(conn)?;
        }
        self.life.cover_all()?;
        hold!(self.life.server.idle(), "what is left: {:?}", self.life.server.snapshot());
        let whole = self.life.journal.whole();
        hold!(whole.records.is_empty(), "what is left in the store:\n{}", whole.show());
        Ok(())
    }
}
