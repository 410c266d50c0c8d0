//! Random histories of a few clients on a few files.

use leasehold::server::{
    AppInstance, Durability, Event, Lock, LockElement, LockFlags, LockSequence, ObjectKind, Reconnect,
    SessionEnd,
};
use leasehold::wire::{AppInstanceId, DurableFlags, LeaseAck, OplockBreak};
use leasehold::{
    Access, Actor, ConnId, CreateGuid, CreateOptions, Disposition, Epoch, FileKey, Intent, LeaseKey,
    LeaseState, OplockLevel, SessionId, ShareMode, Status,
};

use crate::book::{
    AVAILABLE, Answer, Asked, Book, CLIENTS, DIRECTORY, ELSEWHERE, Going, NAMES, Notice, Settings, Standing,
    Verdict, Wish, lease_of, origin, user_of,
};
use crate::cut::{Cuts, seen};
use crate::life::Life;
use crate::rng::Rng;
use crate::store::{Image, Lie};

/// What a history is made of.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Opened,
    Lock,
    Unlock,
    Close,
    Operate,
    Done,
    Ack,
    Disconnect,
    EndTree,
    EndSession,
    Reconnect,
    Replay,
    Time,
    Cover,
    Fail,
}

const MIXED: [(usize, Step); 16] = [
    (26, Step::Create),
    (6, Step::Opened),
    (9, Step::Lock),
    (5, Step::Unlock),
    (8, Step::Close),
    (10, Step::Operate),
    (8, Step::Done),
    (12, Step::Ack),
    (5, Step::Disconnect),
    (1, Step::EndTree),
    (2, Step::EndSession),
    (9, Step::Reconnect),
    (3, Step::Replay),
    (4, Step::Time),
    (14, Step::Cover),
    (2, Step::Fail),
];
const LOCKS: [(usize, Step); 10] = [
    (10, Step::Create),
    (20, Step::Lock),
    (16, Step::Unlock),
    (4, Step::Close),
    (6, Step::Ack),
    (3, Step::Disconnect),
    (8, Step::Reconnect),
    (1, Step::Time),
    (10, Step::Cover),
    (4, Step::Fail),
];
const LEASES: [(usize, Step); 10] = [
    (20, Step::Create),
    (4, Step::Close),
    (6, Step::Operate),
    (4, Step::Done),
    (20, Step::Ack),
    (5, Step::Disconnect),
    (12, Step::Reconnect),
    (2, Step::Time),
    (10, Step::Cover),
    (1, Step::Fail),
];
const FATES: [(usize, Step); 10] = [
    (14, Step::Create),
    (10, Step::Close),
    (14, Step::Operate),
    (8, Step::Done),
    (6, Step::Ack),
    (5, Step::Disconnect),
    (8, Step::Reconnect),
    (4, Step::Time),
    (10, Step::Cover),
    (3, Step::Fail),
];
/// What histories are about: how often, by which steps, and whether on one file that everybody shares.
const KINDS: [(usize, Kind); 4] =
    [(4, (&MIXED, false)), (1, (&LOCKS, true)), (1, (&LEASES, true)), (1, (&FATES, true))];

type Kind = (&'static [(usize, Step)], bool);

pub struct History {
    pub life: Life,
    rng: Rng,
    steps: &'static [(usize, Step)],
    /// Whether all is about one file, which everybody shares.
    narrow: bool,
    /// How promptly the store answers.
    prompt: usize,
    /// Whether it may fail.
    fails: bool,
}

/// One world: a few lives of a server with a number of steps each.
pub fn history(seed: u64, steps: usize, most: usize, lie: Option<Lie>, loud: bool) -> Verdict {
    let mut rng = Rng::new(seed);
    let settings = Settings {
        gate_close: rng.chance(90),
        ca_timeout: rng.weigh(&[(1, 0), (1, 20_000)]),
        grace: 60_000,
        restored_min: rng.weigh(&[(2, 60_000), (1, 30_000), (1, 90_000)]),
        plain_client: rng.weigh(&[(3, CLIENTS), (1, 2)]),
    };
    let mut book = Book::new(settings);
    let mut image = Image::empty();
    for _ in 0..rng.weigh(&[(1, 1), (2, 2)]) {
        let mut life = Life::start(book, image, &mut rng, lie, loud)?;
        if rng.chance(90) {
            life.cover_all()?;
        }
        life.cuts = Some(Cuts::everywhere(rng.next(), most));
        let prompt = rng.weigh(&[(1, 20), (2, 50), (1, 90)]);
        let fails = rng.chance(40);
        let (steps_of, narrow) = rng.weigh(&KINDS);
        let mut history = History { life, rng: rng.clone(), steps: steps_of, narrow, prompt, fails };
        rng.next();
        for _ in 0..steps {
            history.step()?;
        }
        let images = history.life.journal.images(&mut rng, most);
        image = rng.pick(&images).expect("there is always one");
        book = history.life.book;
        if loud {
            println!("--- the server goes down, and starts again\n{}", image.show());
        }
    }
    Ok(())
}

impl History {
    fn step(&mut self) -> Verdict {
        let step = self.rng.weigh(self.steps);
        match step {
            Step::Create => self.create(),
            Step::Opened => {
                let opening = self.life.book.opening.clone();
                let Some(file_id) = self.rng.pick(&opening) else { return Ok(()) };
                self.life.opened(file_id, &mut self.rng)
            }
            Step::Lock => self.lock(false),
            Step::Unlock => self.lock(true),
            Step::Close => {
                let Some(persistent) = self.seated() else { return Ok(()) };
                self.life.close(persistent).map(|_| ())
            }
            Step::Operate => self.operate(),
            Step::Done => self.done(),
            Step::Ack => self.ack(),
            Step::Disconnect => match self.conn() {
                Some((_, conn)) => self.life.disconnect(conn),
                None => Ok(()),
            },
            Step::EndTree => match self.conn() {
                Some((_, conn)) => self.life.tree_disconnect(conn, AVAILABLE),
                None => Ok(()),
            },
            Step::EndSession => self.end_session(),
            Step::Reconnect => self.reconnect(),
            Step::Replay => self.replay(),
            Step::Time => self.time(),
            Step::Cover => self.cover(),
            Step::Fail => {
                let open = self.life.journal.open();
                match self.rng.pick(&open) {
                    Some(place) if self.fails => self.life.fail(place),
                    _ => Ok(()),
                }
            }
        }?;
        seen("events");
        if self.rng.chance(self.prompt) { self.cover() } else { Ok(()) }
    }

    fn cover(&mut self) -> Verdict {
        let open = self.life.journal.open();
        match (self.rng.pick(&open), open.last()) {
            (Some(_), Some(last)) if self.rng.chance(60) => self.life.cover(*last),
            (Some(place), _) => self.life.cover(place),
            (None, _) => Ok(()),
        }
    }

    /// A client that is connected, if there is one.
    fn conn(&mut self) -> Option<(usize, u64)> {
        let client = self.rng.below(CLIENTS);
        self.life.book.conns[client].map(|conn| (client, conn))
    }

    /// A client and its connection; it connects if it has to.
    fn connected(&mut self) -> Verdict<(usize, u64)> {
        let client = self.rng.below(CLIENTS);
        let conn = match self.life.book.conns[client] {
            Some(conn) => conn,
            None => self.life.connect(client)?,
        };
        Ok((client, conn))
    }

    /// An open that is connected.
    fn seated(&mut self) -> Option<u64> {
        let (client, _) = self.conn()?;
        let known = self.life.book.known(client, |handle| handle.seat.is_some() && !handle.closed);
        self.rng.pick(&known)
    }

    fn wish(&mut self, client: usize) -> Wish {
        let rng = &mut self.rng;
        let name = if self.narrow { 0 } else { rng.weigh(&[(5, 0), (3, 1), (2, DIRECTORY)]) };
        debug_assert!(name < NAMES, "a name");
        let file = self.life.book.file(name);
        let directory = (name != DIRECTORY).then(|| self.life.book.file(DIRECTORY));
        let kind = if name == DIRECTORY { ObjectKind::Directory } else { ObjectKind::File };
        let read = Access::READ_DATA;
        let all = read | Access::WRITE_DATA | Access::DELETE;
        let access =
            rng.weigh(&[(5, all), (2, read | Access::WRITE_DATA), (3, read), (1, Access::READ_ATTRIBUTES)]);
        let reads = ShareMode::READ;
        let sharing = rng.weigh(&[
            (12, ShareMode::ALL),
            (2, reads),
            (1, reads | ShareMode::WRITE),
            (1, ShareMode::empty()),
        ]);
        let sharing = if self.narrow { ShareMode::ALL } else { sharing };
        let disposition = if rng.chance(5) && kind == ObjectKind::File {
            Disposition::OverwriteIf
        } else {
            Disposition::OpenIf
        };
        let doomed = kind == ObjectKind::File && access.contains(Access::DELETE) && rng.chance(12);
        let options = if doomed { CreateOptions::DELETE_ON_CLOSE } else { CreateOptions::empty() };
        let key = rng.weigh(&[(10, 0), (3, 1)]);
        let other = if rng.chance(3) { 0x40 } else { 0 };
        let name = if other == 0 { u8::try_from(name).unwrap() } else { 0 };
        let generation = u8::try_from(self.life.book.generations[usize::from(name)] % 250).unwrap();
        let mut octets = [u8::try_from(client + 1).unwrap(); 16];
        octets[1] = name;
        octets[2] = key;
        octets[3] = generation;
        let state = rng.weigh(&[
            (5, LeaseState::RWH),
            (3, LeaseState::RH),
            (2, LeaseState::RW),
            (1, LeaseState::R),
            (1, LeaseState::NONE),
        ]);
        let lease = rng.chance(60).then_some((LeaseKey::new(octets), state));
        let oplock = rng.weigh(&[
            (3, OplockLevel::None),
            (1, OplockLevel::II),
            (1, OplockLevel::Exclusive),
            (3, OplockLevel::Batch),
        ]);
        let level = if lease.is_some() { OplockLevel::Lease } else { oplock };
        let guid = self.life.book.number().to_le_bytes();
        let mut create_guid = [0xc0; 16];
        create_guid[..8].copy_from_slice(&guid);
        let create_guid = CreateGuid::from_wire(create_guid);
        let timeout = rng.weigh(&[(3, 0), (1, 5_000), (1, 30_000), (1, u32::MAX)]);
        let v2 = |persistent| Durability::V2 { timeout, create_guid, persistent };
        let durability =
            rng.weigh(&[(8, v2(true)), (2, v2(false)), (1, Durability::V1), (2, Durability::None)]);
        let id = AppInstanceId { id: *CreateGuid::from_wire([0xa0; 16]).uuid().as_ref() };
        let instance = rng.chance(4).then_some(AppInstance { id, version: None });
        let channel_sequence = u16::try_from(rng.below(3)).unwrap();
        let tree = if rng.chance(92) { AVAILABLE } else { AVAILABLE + 1 };
        Wish {
            client,
            tree,
            file,
            kind,
            directory,
            access,
            sharing,
            disposition,
            options,
            level,
            lease,
            durability,
            instance,
            channel_sequence,
        }
    }

    fn create(&mut self) -> Verdict {
        let (client, conn) = self.connected()?;
        let wish = self.wish(client);
        self.send(wish, conn, false)
    }

    fn send(&mut self, wish: Wish, conn: u64, replayed: bool) -> Verdict {
        let request = self.life.ask(conn, Asked::Create { wish: wish.clone() });
        let create = wish.create(request, conn, &self.life.book.settings, Epoch::ZERO);
        let create = if replayed { create.replayed() } else { create };
        if wish.options.contains(CreateOptions::DELETE_ON_CLOSE) {
            self.life.book.doubt_fate(wish.file);
        }
        if wish.instance.is_some() {
            // It takes the place of one on another client.
            for other in self.life.book.handles.values_mut() {
                let same = other.wish.instance == wish.instance && other.wish.file == wish.file;
                if same && other.wish.client != wish.client && other.standing == Standing::Firm {
                    other.standing = Standing::Doubtful;
                }
            }
        }
        let before = self.life.book.opening.len();
        self.life.tell(Event::Create(create))?;
        while self.life.book.opening.len() > before && self.rng.chance(70) {
            let file_id = *self.life.book.opening.last().expect("there is one");
            self.life.opened(file_id, &mut self.rng)?;
        }
        Ok(())
    }

    /// A CREATE is sent again, by a client that was answered or not.
    fn replay(&mut self) -> Verdict {
        let (client, conn) = self.connected()?;
        let handles = self.life.book.handles.values();
        let mine = handles.filter(|handle| handle.wish.client == client && handle.wish.guid().is_some());
        let wishes: Vec<Wish> =
            mine.filter(|handle| !handle.closed).map(|handle| handle.wish.clone()).collect();
        match self.rng.pick(&wishes) {
            Some(mut wish) => {
                if self.life.book.removed.contains(&wish.file) {
                    // The name leads to another by now.
                    wish.file = self.life.book.file(usize::try_from((wish.file.get() - 1) % 16).unwrap());
                }
                let replayed = self.rng.chance(85);
                self.send(wish, conn, replayed)
            }
            None => Ok(()),
        }
    }

    fn lock(&mut self, unlock: bool) -> Verdict {
        let Some(persistent) = self.seated() else { return Ok(()) };
        let rng = &mut self.rng;
        let handle = &self.life.book.handles[&persistent];
        let Some((conn, tree)) = handle.seat else { return Ok(()) };
        let mut offsets: Vec<u64> = vec![0, 1, 2, 3];
        if unlock {
            offsets =
                handle.locks.iter().filter(|(_, (_, most))| *most > 0).map(|(offset, _)| *offset).collect();
        }
        rng.shuffle(&mut offsets);
        offsets.truncate(rng.weigh(&[(4, 1), (1, 2)]));
        let wait = offsets.len() == 1 && rng.chance(30);
        let sequence =
            rng.chance(50).then(|| (rng.weigh(&[(1, 1), (1, 2), (1, 64)]), rng.weigh(&[(1, 0), (1, 7)])));
        // A client does not use a bucket again before the answer is there.
        let busy = |index: u32| {
            let mut requests = self.life.book.requests.values();
            requests.any(|(_, asked)| match asked {
                Asked::Lock { persistent: other, sequence: Some((used, _)), .. } => {
                    *other == persistent && *used == index
                }
                _ => false,
            })
        };
        let sequence = sequence.filter(|(index, _)| !busy(*index));
        let element = |offset: &u64| {
            let kind = if *offset < 2 { LockFlags::EXCLUSIVE } else { LockFlags::SHARED };
            let now = if wait { kind } else { kind | LockFlags::FAIL_IMMEDIATELY };
            let flags = if unlock { LockFlags::UNLOCK } else { now };
            LockElement { offset: *offset, len: 1, flags }
        };
        let elements: Vec<_> = offsets.iter().map(element).collect();
        if elements.is_empty() {
            return Ok(());
        }
        let handle = self.life.book.handles.get_mut(&persistent).expect("it is seated");
        for element in &elements {
            let (least, most) = handle.locks.entry(element.offset).or_default();
            if unlock {
                *least -= 1;
            } else {
                *most += 1;
            }
        }
        if let Some((index, _)) = sequence {
            handle.sequences.insert(index, None);
        }
        let file_id = handle.file_id;
        let request = self.life.ask(conn, Asked::Lock { persistent, elements: elements.clone(), sequence });
        let sequence = sequence.and_then(|(index, number)| LockSequence::from_wire(index << 4 | number));
        let lock = Lock::new(request, origin(conn, tree), file_id, u64::MAX, elements).sequence(sequence);
        self.life.tell(Event::Lock(lock))?;
        if wait && self.rng.chance(30) && self.life.book.requests.contains_key(&request) {
            self.life.tell(Event::Cancel { request })?;
        }
        Ok(())
    }

    fn operate(&mut self) -> Verdict {
        let Some(persistent) = self.seated() else { return Ok(()) };
        let handle = self.life.book.handles[&persistent].clone();
        let Some((conn, tree)) = handle.seat else { return Ok(()) };
        let (file, file_id) = (handle.wish.file, handle.file_id);
        let to = self.rng.pick(&[self.life.book.file(DIRECTORY), ELSEWHERE]);
        let of_file = handle.wish.kind == ObjectKind::File;
        let pending = self.rng.chance(50);
        let intent = self.rng.weigh(&[
            (2, Intent::Read { offset: 4, len: 1 }),
            (4, Intent::Write { offset: 4, len: 1 }),
            (1, Intent::SetSize),
            (4, Intent::Rename { to }),
            (4, Intent::Delete { pending }),
        ]);
        let alters = matches!(intent, Intent::Rename { .. } | Intent::Delete { .. });
        if alters && !(of_file && handle.wish.access.contains(Access::DELETE)) {
            return Ok(());
        }
        match intent {
            Intent::Rename { to } => {
                self.life.book.moved.insert(file);
                let handles = self.life.book.handles.values_mut();
                handles.filter(|other| other.wish.file == file).for_each(|other| other.places.push(to));
            }
            Intent::Delete { pending } => {
                self.life.book.doubt_fate(file);
                if !pending {
                    self.life.book.going.remove(&file);
                }
            }
            _ => {}
        }
        let request = self.life.ask(conn, Asked::Operate { persistent, intent });
        let (origin, actor) = (Some(origin(conn, tree)), Actor::Open(file_id));
        self.life.tell(Event::Operate { request, origin, file, actor, intent })?;
        if self.rng.chance(60) { self.done() } else { Ok(()) }
    }

    fn done(&mut self) -> Verdict {
        if self.life.book.running.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.life.book.running.len());
        let running = self.life.book.running.remove(at);
        let fails = self.rng.chance(10);
        let result = if fails { Err(Status::ACCESS_DENIED) } else { Ok(()) };
        let handle = self.life.book.handles.get(&running.persistent);
        let told = handle.map(|handle| (handle.standing == Standing::Firm, handle.wish.file));
        if let (Intent::Rename { .. }, true, Some((_, file))) = (running.intent, fails, told) {
            // Where it was before, or where another led it meanwhile.
            for other in self.life.book.handles.values_mut().filter(|other| other.wish.file == file) {
                other.places.extend([other.wish.directory, Some(ELSEWHERE)]);
            }
        }
        if let (Intent::Delete { .. }, true, Some((_, file))) = (running.intent, fails, told) {
            self.life.book.doubt_fate(file);
        }
        if let (Intent::Delete { pending: false }, Some((_, file))) = (running.intent, told) {
            self.life.book.going.remove(&file);
        }
        self.life.tell(Event::Done { ticket: running.ticket, result })?;
        if let (Intent::Delete { pending: true }, false, Some((true, file))) = (running.intent, fails, told) {
            let mut others = self.life.book.running.iter();
            if !others.any(|other| matches!(other.intent, Intent::Delete { .. })) {
                self.going(file);
            }
        }
        Ok(())
    }

    fn going(&mut self, file: FileKey) {
        if !self.life.book.undoes() {
            self.life.book.going.entry(file).or_insert(Going::Disposed);
        }
    }

    fn ack(&mut self) -> Verdict {
        if self.life.book.notices.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.life.book.notices.len());
        match self.life.book.notices.remove(at) {
            Notice::Lease { client, conn, key, new } => {
                let request = self.life.ask(conn, Asked::Ack { client });
                let state = if self.rng.chance(85) { new } else { (new & LeaseState::R).normalized() };
                let ack = LeaseAck { key, state };
                self.life.tell(Event::LeaseAck { request, conn: ConnId::new(conn), ack })
            }
            Notice::Oplock { conn, file_id, level } => {
                let request = self.life.ask(conn, Asked::Ack { client: CLIENTS });
                let ack = OplockBreak { level, file_id };
                self.life.tell(Event::OplockAck { request, session: SessionId::new(conn), ack })
            }
        }
    }

    fn end_session(&mut self) -> Verdict {
        let Some((client, conn)) = self.conn() else { return Ok(()) };
        match self.rng.weigh(&[
            (2, SessionEnd::LoggedOff),
            (2, SessionEnd::Replaced),
            (1, SessionEnd::Refused),
        ]) {
            SessionEnd::Replaced => {
                let new = self.life.connect(client)?;
                self.life.end_session(conn, SessionEnd::Replaced)?;
                debug_assert_eq!(self.life.book.conns[client], Some(new), "the new one stays");
                Ok(())
            }
            end => self.life.end_session(conn, end),
        }
    }

    fn reconnect(&mut self) -> Verdict {
        let (client, conn) = self.connected()?;
        let known = self.life.book.known(client, |handle| handle.seat.is_none());
        let Some(persistent) = self.rng.pick(&known) else { return Ok(()) };
        let handle = self.life.book.handles[&persistent].clone();
        let share = self.life.book.settings.share(AVAILABLE);
        let mut right = true;
        let mut user = user_of(client);
        let mut flags = if handle.promised { DurableFlags::PERSISTENT } else { DurableFlags::empty() };
        let mut guid = handle.wish.guid();
        match self.rng.below(12) {
            0 => {
                right = false;
                user = user_of(CLIENTS);
            }
            // DHnC has no flags: what the driver says there is nobody's word.
            1 => {
                right = guid.is_none();
                flags.toggle(DurableFlags::PERSISTENT);
            }
            2 => {
                right = false;
                guid = Some(CreateGuid::from_wire([0xee; 16]));
            }
            _ => {}
        }
        let request = self.life.ask(conn, Asked::Reconnect { persistent, flags });
        let mut reconnect =
            Reconnect::new(request, origin(conn, AVAILABLE), user, persistent).flags(flags, share);
        reconnect.create_guid = guid;
        if let Some((key, state)) = handle.wish.lease {
            // A key that joined no lease has nothing, whatever it has elsewhere.
            let state = if handle.unbound { LeaseState::NONE } else { state };
            let told = self.life.book.told.get(&(client, key)).filter(|_| !handle.unbound);
            let (state, epoch) = told.map_or((state, Epoch::ZERO), |told| (told.state, told.epoch));
            reconnect = reconnect.lease(lease_of(key, state, epoch), Some(handle.wish.file));
        }
        self.life.tell(Event::Reconnect(reconnect))?;
        let answer = self.life.book.answers.remove(&request);
        let standing = self.life.book.handles[&persistent].standing;
        let given = matches!(answer, Some(Answer::Granted(_)));
        if handle.standing == Standing::Firm && right && standing == Standing::Firm && !given {
            return Err(format!("{persistent:#x} is wanted back: {answer:?}"));
        }
        if !right && given {
            return Err(format!("{persistent:#x} is given to who must not have it"));
        }
        // Its CreateGuid may lead to another.
        let itself = matches!(answer, Some(Answer::Granted(grant)) if grant.file_id.persistent == persistent);
        if handle.standing == Standing::Gone && itself {
            return Err(format!("{persistent:#x} was closed, and is given back"));
        }
        Ok(())
    }

    fn time(&mut self) -> Verdict {
        match self.rng.below(4) {
            0 => self.life.pass(1),
            1 => self.life.pass(4_000),
            2 => self.life.pass(36_000),
            _ => self.life.pass_until_due(u64::MAX).map(|_| ()),
        }
    }
}
