//! One life of the server, and its driver.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use leasehold::server::{
    Action, Capabilities, Config, Event, Misuse, ObjectKind, Opened, RouteSeed, Server, SessionEnd, Terms,
};
use leasehold::wire::Lease;
use leasehold::{
    ConnId, CreateAction, Dialect, FileId, HashKey, Instant, LeaseState, Machine, OplockLevel, RequestId,
    SessionId, Status, TreeId,
};

use crate::book::{Asked, Book, Going, Standing, Verdict, guid_of, hold};
use crate::brief;
use crate::cut::{Cuts, seen};
use crate::rng::Rng;
use crate::store::{Image, Journal, Lie, Stored};

const SEED: RouteSeed = RouteSeed::new([5; 16]);

pub struct Life {
    pub now: u64,
    pub server: Server,
    pub journal: Journal,
    pub book: Book,
    /// What the server was started with.
    pub image: Image,
    /// Whether each step is shown.
    pub loud: bool,
    pub cuts: Option<Cuts>,
    pub last_seq: u64,
}

pub fn caches(level: OplockLevel) -> LeaseState {
    match level {
        OplockLevel::Batch => LeaseState::RWH,
        OplockLevel::Exclusive => LeaseState::RW,
        OplockLevel::II => LeaseState::R,
        _ => LeaseState::NONE,
    }
}

impl Life {
    /// A server that starts with what a store holds, once the clients of a former one have lost it.
    pub fn start(mut book: Book, image: Image, rng: &mut Rng, lie: Option<Lie>, loud: bool) -> Verdict<Self> {
        let hash_key = HashKey::new([u8::try_from(rng.below(200)).unwrap(); 16]);
        let mut config = Config::new(hash_key, SEED, image.serials);
        config.persistence = true;
        config.gate_close = book.settings.gate_close;
        config.grace = Duration::from_millis(book.settings.grace);
        config.restored_min = Duration::from_millis(book.settings.restored_min);
        let now = rng.next() % 100_000;
        book.crash();
        let mut life = Self {
            now,
            server: Server::new(config),
            journal: Journal::new(Image::empty(), lie),
            book,
            image,
            loud,
            cuts: None,
            last_seq: 0,
        };
        life.refuses(rng)?;
        let rewritten = life.restore(rng)?;
        life.refuses(rng)?;
        life.journal = Journal::new(life.image.clone(), lie);
        for action in rewritten {
            life.apply(action)?;
        }
        let before = life.journal.changes.len();
        life.tell(Event::Recovered)?;
        let more = life.journal.changes.len() - before;
        hold!(more == 1, "Recovered says below which serial numbers FileIds will be");
        hold!(life.misuse(Event::Recovered) == Some(Misuse::NotRecovering), "Recovered a second time");
        Ok(life)
    }

    /// Nothing but records is taken before all are restored.
    fn refuses(&mut self, rng: &mut Rng) -> Verdict {
        let (conn, session) = (ConnId::new(1), SessionId::new(1));
        let terms = Terms::new(Dialect::Smb311, Capabilities::empty());
        let request = RequestId::new(1);
        let event = match rng.below(4) {
            0 => Event::Connected { conn, client: guid_of(0), terms },
            1 => Event::SessionBound { conn, session },
            2 => Event::Close { request, session, file_id: FileId::new(1, 1) },
            _ => Event::Cancel { request },
        };
        let before = rng.chance(10).then(|| self.server.snapshot());
        let misuse = self.misuse(event.clone());
        hold!(misuse == Some(Misuse::Recovering), "{event:?} before Recovered: {misuse:?}");
        hold!(before.is_none_or(|before| before == self.server.snapshot()), "{event:?} changed something");
        Ok(())
    }

    /// What a driver is told that it did wrong; nothing else may come of it.
    fn misuse(&mut self, event: Event) -> Option<Misuse> {
        self.tried(event).err()
    }

    fn tried(&mut self, event: Event) -> Result<Vec<Action>, Misuse> {
        let mut actions = Vec::new();
        let result = self.server.handle(Instant::from_millis(self.now), event, &mut actions);
        assert!(result.is_ok() || actions.is_empty(), "a misuse has no actions");
        result.map(|()| actions)
    }

    /// Returns what is to be stored of it: records that were not restored whole.
    fn restore(&mut self, rng: &mut Rng) -> Verdict<Vec<Action>> {
        let mut rewritten = Vec::new();
        let mut order: Vec<u64> = self.image.records.keys().copied().collect();
        rng.shuffle(&mut order);
        order.sort_by_key(|persistent| std::cmp::Reverse(self.image.records[persistent].written));
        let mut expected = BTreeMap::new();
        for persistent in order {
            let record = Rc::clone(&self.image.records[&persistent]);
            let handle = self.book.handles.get(&persistent);
            let Some(handle) = handle else { return Err(format!("a record of nothing: {persistent:#x}")) };
            handle
                .fits(&record, &self.book)
                .map_err(|what| format!("the record of {persistent:#x}: {what}"))?;
            let standing = handle.standing;
            let firm = standing == Standing::Firm;
            if self.book.removed.contains(&record.file) {
                hold!(!firm, "the file of {persistent:#x} was removed");
                self.image.records.remove(&persistent);
                continue;
            }
            let elapsed = [0, 1, 20_000, 100_000, u64::MAX][rng.below(5)];
            let timeout = u64::from(record.timeout);
            let left = timeout.saturating_sub(elapsed).max(self.book.settings.restored_min);
            let event = |record| Event::Restore { record, elapsed: Duration::from_millis(elapsed) };
            let restore = event(Box::new(leasehold::persist::Record::clone(&record)));
            if self.loud {
                println!("@{} {}", self.now, brief::event(&restore));
            }
            let over = |action: &Action| matches!(action, Action::CloseFile { .. });
            match self.tried(restore.clone()) {
                // A later record shows that it was closed.
                Ok(actions) if actions.iter().any(over) => {
                    hold!(!firm, "{persistent:#x} was granted, and is taken for closed");
                    seen("records that contradict later ones");
                    self.image.records.remove(&persistent);
                }
                Ok(actions) => {
                    if !actions.is_empty() {
                        seen("records that were not restored whole");
                    }
                    rewritten.extend(actions);
                    seen("records");
                    if !record.locks.is_empty() {
                        seen("records with locks");
                    }
                    expected.insert(persistent, left);
                    if rng.chance(5) {
                        let again = self.misuse(restore);
                        hold!(again == Some(Misuse::ForeignRecord), "a record restored twice: {again:?}");
                    }
                }
                Err(misuse) => return Err(format!("{persistent:#x} ({standing:?}): {misuse}")),
            }
        }
        let firm = |file| {
            let mut handles = self.book.handles.values();
            handles.any(|handle| handle.standing == Standing::Firm && handle.wish.file == file)
        };
        for (file, going) in &self.book.going {
            let mut records = self.image.records.values().filter(|record| record.file == *file);
            let known = *going == Going::Closed || self.image.in_order;
            let sure = known && firm(*file) && !self.book.scarred(*file);
            hold!(
                !sure || records.any(|record| record.goes),
                "nothing says any more that {:#x} will be deleted",
                file.get()
            );
        }
        let records = &self.image.records;
        self.book.going.retain(|file, _| records.values().any(|record| record.file == *file && record.goes));
        for (persistent, handle) in &mut self.book.handles {
            handle.scarred = false;
            handle.ghost = false;
            let left = expected.get(persistent);
            handle.standing = match (handle.standing, left) {
                (Standing::Firm, None) => return Err(format!("{persistent:#x} was granted, and is lost")),
                (Standing::Gone, Some(_)) => return Err(format!("{persistent:#x} was closed, and is back")),
                (Standing::Never, Some(_)) => {
                    return Err(format!("{persistent:#x} was never granted, and is there"));
                }
                (Standing::Asked | Standing::Doubtful, Some(_)) => Standing::Doubtful,
                (Standing::Asked | Standing::Doubtful, None) => Standing::Gone,
                (as_before, _) => as_before,
            };
            if let Some(left) = left {
                handle.deadline = self.now + left;
                handle.closed = false;
            }
        }
        let snapshot = self.server.snapshot();
        hold!(
            snapshot.files.iter().all(|file| file.waiting.is_empty() && file.opening.is_empty()),
            "requests"
        );
        let mut restored = BTreeMap::new();
        for open in snapshot.files.iter().flat_map(|file| &file.opens) {
            let told =
                self.image.records.get(&open.file_id.persistent).is_some_and(|record| record.told.is_some());
            hold!(!open.connected && (told || open.breaking.is_none()), "{open:?} is not absent");
            let Some(remaining) = open.remaining else { return Err(format!("no deadline: {open:?}")) };
            restored.insert(open.file_id.persistent, u64::try_from(remaining.as_millis()).unwrap());
        }
        hold!(restored == expected, "restored with deadlines {restored:?}, which should be {expected:?}");
        // A lock that contradicts one of another record is left out, which must not be one that was answered.
        self.locks_fit()?;
        self.shared()?;
        for (persistent, record) in &self.image.records {
            let handle = self.book.handles.get_mut(persistent).expect("it was found above");
            handle.recall(record);
        }
        self.nothing_excluded()?;
        Ok(rewritten)
    }

    /// A request: its number, noted as what it is.
    pub fn ask(&mut self, conn: u64, asked: Asked) -> RequestId {
        let request = RequestId::new(self.book.number());
        self.book.requests.insert(request, (conn, asked));
        request
    }

    pub fn tell(&mut self, event: Event) -> Verdict {
        if self.loud {
            println!("@{} {}", self.now, brief::event(&event));
        }
        let mut actions = Vec::new();
        let result = self.server.handle(Instant::from_millis(self.now), event.clone(), &mut actions);
        hold!(result.is_ok(), "{event:?}: {result:?}");
        self.carry_out(actions)
    }

    /// Time passes.
    pub fn pass(&mut self, millis: u64) -> Verdict {
        self.now += millis;
        if self.loud {
            println!("@{}", self.now);
        }
        for handle in self.book.handles.values_mut() {
            // Nobody can count on it any more.
            if handle.standing == Standing::Firm && handle.seat.is_none() && handle.deadline <= self.now {
                handle.standing = Standing::Doubtful;
            }
        }
        let mut actions = Vec::new();
        self.server.handle_timeout(Instant::from_millis(self.now), &mut actions);
        self.carry_out(actions)
    }

    /// Up to the next deadline, if it comes within that time.
    pub fn pass_until_due(&mut self, most: u64) -> Verdict<bool> {
        let Some(due) = self.server.poll_timeout() else { return Ok(false) };
        let millis = due.as_millis().saturating_sub(self.now);
        hold!(millis <= most, "nothing is due for {millis} ms");
        self.pass(millis)?;
        Ok(true)
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Verdict {
        // What was asked may have changed what is certain, before anything was answered.
        self.cut()?;
        for action in actions {
            let tells = !matches!(action, Action::Interim { .. } | Action::Resolve { .. });
            self.apply(action)?;
            if tells {
                self.cut()?;
            }
        }
        hold!(self.server.stats().anomalies == 0, "anomalies");
        if self.cuts.as_ref().is_some_and(Cuts::outer) { self.settled() } else { Ok(()) }
    }

    fn cut(&mut self) -> Verdict {
        let Some(mut cuts) = self.cuts.take() else { return Ok(()) };
        let verdict = cuts.here(self);
        self.cuts = Some(cuts);
        verdict
    }

    /// The file system has opened a file, or not.
    pub fn opened(&mut self, file_id: FileId, rng: &mut Rng) -> Verdict {
        let Some(at) = self.book.opening.iter().position(|other| *other == file_id) else { return Ok(()) };
        self.book.opening.remove(at);
        let kind = self.book.handles.get(&file_id.persistent).map(|handle| handle.wish.kind);
        let action = rng.weigh(&[(3, CreateAction::Opened), (1, CreateAction::Created)]);
        let kind = kind.unwrap_or(ObjectKind::File);
        let result = match rng.chance(4) {
            true => Err(Status::from_wire(0xc000_0035)),
            false => Ok(Opened::new(action, kind, u64::MAX)),
        };
        self.tell(Event::Opened { file_id, result })
    }

    /// The store covers everything up to that place.
    pub fn cover(&mut self, place: usize) -> Verdict {
        let up_to = self.journal.cover(place);
        self.tell(Event::Persisted { up_to })
    }

    pub fn cover_all(&mut self) -> Verdict {
        while let Some(last) = self.journal.changes.len().checked_sub(1) {
            if self.journal.covered > last {
                break;
            }
            self.cover(last)?;
        }
        Ok(())
    }

    pub fn fail(&mut self, place: usize) -> Verdict {
        let (seq, change) = self.journal.fail(place);
        if let Some(handle) = change.subject().and_then(|persistent| self.book.handles.get_mut(&persistent)) {
            handle.scarred = true;
            handle.ghost |= matches!(change, Stored::Delete(_));
        }
        self.tell(Event::PersistFailed { seq })
    }

    pub fn connect(&mut self, client: usize) -> Verdict<u64> {
        let number = self.book.number();
        let (conn, session) = (ConnId::new(number), SessionId::new(number));
        let mut capabilities = Capabilities::LEASING | Capabilities::DIRECTORY_LEASING;
        if client != self.book.settings.plain_client {
            capabilities |= Capabilities::PERSISTENT_HANDLES;
        }
        let terms = Terms::new(Dialect::Smb311, capabilities);
        self.tell(Event::Connected { conn, client: guid_of(client), terms })?;
        self.book.conns[client] = Some(number);
        self.tell(Event::SessionBound { conn, session })?;
        Ok(number)
    }

    /// The opens of a connection have lost it, at once with the event.
    fn unseat(&mut self, conn: u64, refused: bool) {
        let settings = self.book.settings.clone();
        let now = self.now;
        for handle in
            self.book.handles.values_mut().filter(|handle| handle.seat.is_some_and(|(on, _)| on == conn))
        {
            handle.seat = None;
            handle.lost = true;
            handle.deadline = now + handle.wish.timeout(&settings);
            if refused && matches!(handle.standing, Standing::Firm | Standing::Asked) {
                handle.standing = Standing::Doubtful;
            }
            if let Some((key, _)) = handle.wish.lease {
                if let Some(told) = self.book.told.get_mut(&(handle.wish.client, key)) {
                    told.exact = false;
                }
            }
        }
        self.book.notices.retain(|notice| notice.conn() != conn);
        self.book.requests.retain(|_, (on, asked)| *on != conn || matches!(asked, Asked::Operate { .. }));
    }

    pub fn disconnect(&mut self, conn: u64) -> Verdict {
        self.unseat(conn, false);
        for on in self.book.conns.iter_mut().filter(|on| **on == Some(conn)) {
            *on = None;
        }
        self.tell(Event::Disconnected { conn: ConnId::new(conn) })
    }

    pub fn end_session(&mut self, conn: u64, end: SessionEnd) -> Verdict {
        self.unseat(conn, end == SessionEnd::Refused);
        self.tell(Event::SessionEnded { session: SessionId::new(conn), end })?;
        self.disconnect(conn)
    }

    pub fn tree_disconnect(&mut self, conn: u64, tree: u32) -> Verdict {
        let mut handles = Vec::new();
        for (persistent, handle) in &mut self.book.handles {
            if handle.seat == Some((conn, tree)) {
                if matches!(handle.standing, Standing::Firm | Standing::Asked) {
                    handle.standing = Standing::Doubtful;
                }
                handles.push(*persistent);
            }
        }
        let request = self.ask(conn, Asked::Tree { handles });
        let (session, tree) = (SessionId::new(conn), TreeId::new(tree));
        self.tell(Event::TreeDisconnected { request, session, tree })
    }

    pub fn close(&mut self, persistent: u64) -> Verdict<Option<RequestId>> {
        let Some(handle) = self.book.handles.get_mut(&persistent) else { return Ok(None) };
        let Some((conn, _)) = handle.seat else { return Ok(None) };
        if handle.standing == Standing::Firm {
            handle.standing = Standing::Doubtful;
        }
        let file_id = handle.file_id;
        let request = self.ask(conn, Asked::Close { persistent });
        self.tell(Event::Close { request, session: SessionId::new(conn), file_id })?;
        Ok(Some(request))
    }
}

impl Book {
    /// The server is gone, and with it whatever is not stored.
    fn crash(&mut self) {
        self.conns = Default::default();
        self.requests.clear();
        self.answers.clear();
        self.notices.clear();
        self.opening.clear();
        self.running.clear();
        for handle in self.handles.values_mut() {
            handle.seat = None;
            handle.lost = false;
        }
        for told in self.told.values_mut() {
            told.exact = false;
        }
    }
}

/// The lease of an answer, by its state.
pub fn state_of(lease: Option<Lease>) -> LeaseState {
    lease.map_or(LeaseState::NONE, |lease| lease.state())
}
