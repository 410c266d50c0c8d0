//! The machine and the model side by side.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use leasehold::persist::{Change, Record};
use leasehold::server::{Action, BreakId, Config, Event, Link, PersistSeq, Server, Ticket};
use leasehold::wire::BreakFlags;
use leasehold::{ConnId, FileId, Instant, LeaseKey, Machine, OplockLevel, RequestId, SessionId, Status};

use super::persistent::Restored;
use super::{Model, Open, Said, check};

/// A notification that the machine gave out.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    pub id: BreakId,
    pub conn: ConnId,
    /// Which lease, or which open in which session.
    pub about: About,
    pub ack: bool,
}

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Lease { key: LeaseKey, told: leasehold::LeaseState },
    Oplock { session: SessionId, file_id: FileId, told: OplockLevel },
}

/// A machine, a model, and what a driver has to remember.
#[derive(Clone, Debug)]
pub struct Harness {
    pub server: Server,
    pub model: Model,
    pub now: Instant,
    /// To be answered by `Opened`.
    pub opening: Vec<(RequestId, FileId)>,
    /// To be answered by `Done`.
    pub running: Vec<(RequestId, Ticket)>,
    /// Notifications, oldest first.
    pub notifications: Vec<Notification>,
    /// The FileId of every CREATE that got as far as `OpenFile`.
    pub ids: BTreeMap<RequestId, FileId>,
    pub image: Image,
    /// The CREATE of the open that last had a FileId.
    owners: BTreeMap<u64, RequestId>,
    chains: BTreeMap<super::Key, usize>,
    /// CLOSEs of persistent opens, and those that were answered.
    closes: BTreeMap<RequestId, u64>,
    closed: BTreeSet<u64>,
    /// When the last record was written.
    written: u64,
    config: Config,
    journal: Vec<Line>,
}

/// What is in the stable store, and what is on its way there.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub records: BTreeMap<u64, Vec<u8>>,
    pub serials: u64,
    pub queue: Vec<(PersistSeq, Change)>,
}

impl Image {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(record) => {
                self.records.insert(record.persistent, record.encode());
            }
            Change::Delete { persistent } => {
                self.records.remove(persistent);
            }
            Change::Serials { below } => self.serials = self.serials.max(*below),
        }
    }

    /// What is durable up to there.
    fn persisted(&mut self, up_to: PersistSeq) {
        let (durable, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|(seq, _)| seq.number() <= up_to.number());
        self.queue = on;
        durable.iter().for_each(|(_, change)| self.apply(change));
    }
}

/// A line of the journal.
#[derive(Clone, Debug)]
enum Line {
    Restart,
    Event(Instant, Event),
    Time(Instant),
    Said(Said),
    Change(PersistSeq, Change),
}

impl Harness {
    /// Both without clients.
    pub fn new(config: Config) -> Self {
        Self {
            server: Server::new(config),
            model: Model::new(config),
            now: Instant::ZERO,
            opening: Vec::new(),
            running: Vec::new(),
            notifications: Vec::new(),
            ids: BTreeMap::new(),
            image: Image { serials: config.first_serial, ..Image::default() },
            owners: BTreeMap::new(),
            chains: BTreeMap::new(),
            closes: BTreeMap::new(),
            closed: BTreeSet::new(),
            written: 0,
            config,
            journal: Vec::new(),
        }
    }

    /// Lets time pass, then gives both an event; returns what the machine wants done.
    pub fn feed(&mut self, now: Instant, event: Event) -> Result<Vec<Action>, String> {
        self.now = self.now.max(now);
        self.journal.push(Line::Event(self.now, event.clone()));
        let before = self.model.clone();
        let mut actions = Vec::new();
        let done = catch_unwind(AssertUnwindSafe(|| self.server.handle(now, event.clone(), &mut actions)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(misuse)) => return Err(self.report(&format!("misuse: {misuse}"))),
            Err(_) => return Err(self.report("the machine panicked")),
        }
        match event {
            Event::Persisted { up_to } => self.image.persisted(up_to),
            Event::PersistFailed { seq } => self.image.queue.retain(|(other, _)| *other != seq),
            Event::Close { request, file_id, .. } => {
                if let Some(open) = self.model.open_named(file_id).filter(|open| self.model.gated(*open)) {
                    if self.config.gate_close && self.model.name_of(open) == Some(file_id) {
                        self.closes.insert(request, file_id.persistent);
                    }
                }
            }
            Event::Opened { file_id, .. } => self.opening.retain(|(_, id)| *id != file_id),
            Event::Done { ticket, .. } => self.running.retain(|(_, other)| *other != ticket),
            Event::Disconnected { conn } => self.notifications.retain(|sent| sent.conn != conn),
            Event::Undelivered { id, conn } => {
                self.notifications.retain(|sent| (sent.id, sent.conn) != (id, conn));
            }
            _ => {}
        }
        let expected = self.model.handle(now, &event);
        self.compare(&before, Some(&event), &actions, &expected)?;
        Ok(actions)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Instant) -> Result<Vec<Action>, String> {
        self.now = self.now.max(now);
        self.journal.push(Line::Time(self.now));
        let before = self.model.clone();
        let mut actions = Vec::new();
        if catch_unwind(AssertUnwindSafe(|| self.server.handle_timeout(now, &mut actions))).is_err() {
            return Err(self.report("the machine panicked"));
        }
        let expected = self.model.pass(now);
        self.compare(&before, None, &actions, &expected)?;
        Ok(actions)
    }

    /// What is to be stored of each open is what the model says, in the end.
    fn changes(&mut self, actions: &[Action]) -> Result<(), String> {
        let mut all = Vec::new();
        let mut last = BTreeMap::new();
        for action in actions {
            let Action::Persist { seq, change } = action else { continue };
            if let Change::Put(record) = change {
                if record.written <= self.written {
                    return Err(format!("written before: {record:?}"));
                }
                self.written = record.written;
            }
            let open = match change {
                Change::Put(record) => Some(record.persistent),
                Change::Delete { persistent } => Some(*persistent),
                Change::Serials { .. } => None,
            };
            let open = match open {
                Some(persistent) => {
                    let open = self.model.open_persistent(persistent).ok_or("a change of no open")?;
                    last.insert(open, change);
                    Some(open)
                }
                None => None,
            };
            all.push((*seq, open));
            self.image.queue.push((*seq, change.clone()));
        }
        self.model.learn_changes(&all);
        let due = self.model.store.due.clone();
        for (open, change) in &last {
            self.model.says(*open, change)?;
        }
        match due.iter().find(|(open, _)| !last.contains_key(open)) {
            Some(due) => Err(format!("not stored: {due:?}")),
            None => Ok(()),
        }
    }

    /// The server ends, and another begins with what is in the store, and with this many of the changes on their way there.
    pub fn restart(&mut self, extra: usize, elapsed: Duration) -> Result<Vec<Action>, String> {
        let promised = self.model.opens.iter().filter(|open| open.persistent && !open.unheard);
        let promised: BTreeSet<RequestId> = promised.map(Open::request).collect();
        for open in self.model.opens.iter().filter(|open| open.persistent && !open.unheard) {
            let persistent = self.model.name_of(open.request()).unwrap().persistent;
            let going = self.image.queue.iter().any(
                |(_, change)| matches!(change, Change::Delete { persistent: other } if *other == persistent),
            );
            if !self.image.records.contains_key(&persistent) || going {
                return Err(self.report(&format!("it was promised, and is not stored: {open:?}")));
            }
        }
        if let Some(ghost) = self.image.records.keys().find(|persistent| self.closed.contains(persistent)) {
            return Err(self.report(&format!("closed, and stored: {ghost:#x}")));
        }
        for (_, change) in std::mem::take(&mut self.image.queue).into_iter().take(extra) {
            self.image.apply(&change);
        }
        self.journal.push(Line::Restart);
        let mut config = self.config;
        config.first_serial = self.image.serials;
        self.server = Server::new(config);
        self.model = self.model.next_life();
        self.opening.clear();
        self.running.clear();
        self.notifications.clear();
        self.chains.clear();
        self.closes.clear();
        let records = self.image.records.values().map(|octets| Record::decode(octets).unwrap());
        let mut records: Vec<Record> = records.collect();
        // From the latest to the earliest.
        records.sort_by_key(|record| Reverse(record.written));
        self.written = records.first().map_or(0, |record| record.written);
        for record in records {
            let persistent = record.persistent;
            let event = Event::Restore { record: Box::new(record.clone()), elapsed };
            self.journal.push(Line::Event(self.now, event.clone()));
            let mut actions = Vec::new();
            let done = self.server.handle(self.now, event, &mut actions);
            let request = self.owners[&persistent];
            self.model.learn_former(persistent, request);
            let expected = self.model.restore(&record, request, elapsed);
            if done.is_err() {
                return Err(self.report(&format!("{done:?}, but {expected:?}; {actions:?}")));
            }
            if expected != Restored::Open && promised.contains(&request) {
                return Err(self.report(&format!("it was promised, and is not restored: {record:?}")));
            }
            let over = |action: &Action| match action {
                Action::Persist { change: Change::Delete { persistent: other }, .. } => *other == persistent,
                Action::CloseFile { file_id, link: Link::Keep } => file_id.persistent == persistent,
                _ => false,
            };
            let fits = match expected {
                Restored::Open => actions.iter().all(|action| matches!(action, Action::Persist { .. })),
                Restored::Over => actions.len() == 2 && actions.iter().all(over),
            };
            if expected == Restored::Over {
                self.model.store.due = vec![(request, None)];
            }
            let stored = self.changes(&actions);
            for action in &actions {
                if let Action::Persist { seq, change } = action {
                    self.journal.push(Line::Change(*seq, change.clone()));
                }
            }
            stored.map_err(|error| self.report(&error))?;
            if !fits {
                return Err(self.report(&format!("{expected:?}, but {actions:?}")));
            }
        }
        self.feed(self.now, Event::Recovered)
    }

    pub fn report(&self, what: &str) -> String {
        let mut text = String::from("history:\n");
        for line in &self.journal {
            let _ = match line {
                Line::Event(now, event) => writeln!(text, "  @{} {event:?}", now.as_millis()),
                Line::Restart => writeln!(text, "  restart"),
                Line::Time(now) => writeln!(text, "  @{} time", now.as_millis()),
                Line::Change(seq, change) => writeln!(text, "      > #{} {change:?}", seq.number()),
                Line::Said(said) => writeln!(text, "      > {said:?}"),
            };
        }
        let _ = write!(text, "{what}");
        text
    }

    fn compare(
        &mut self,
        before: &Model,
        event: Option<&Event>,
        actions: &[Action],
        expected: &[Said],
    ) -> Result<(), String> {
        for action in actions {
            match action {
                Action::OpenFile { request, file_id } => {
                    if self.model.open_named(*file_id).is_some() {
                        return Err(self.report(&format!("{file_id} was given out before")));
                    }
                    if self.model.open_persistent(file_id.persistent).is_some() {
                        return Err(self.report(&format!("{file_id}: its persistent half is not its own")));
                    }
                    self.model.learn_open(*file_id, *request);
                    self.ids.insert(*request, *file_id);
                    self.owners.insert(file_id.persistent, *request);
                    self.opening.push((*request, *file_id));
                }
                Action::Proceed { request, ticket } => {
                    self.model.learn_ticket(*ticket, *request);
                    self.running.push((*request, *ticket));
                }
                _ => {}
            }
        }
        let stored = self.changes(actions);
        let mut said = Vec::new();
        for action in actions {
            if let Action::Persist { seq, change } = action {
                self.journal.push(Line::Change(*seq, change.clone()));
                continue;
            }
            if let Action::Closed { request } = action {
                self.closed.extend(self.closes.remove(request));
            }
            let translated = self.translate(action).map_err(|error| self.report(&error))?;
            self.journal.push(Line::Said(translated));
            said.push(translated);
            // A notification behind it has the new name.
            if let (Action::Granted { grant, .. }, Said::Granted { open, .. }) = (action, translated) {
                self.model.learn_open(grant.file_id, open);
                self.ids.insert(open, grant.file_id);
            }
        }
        stored.map_err(|error| self.report(&error))?;
        // Of several opens that go at once any may be the last.
        let mut left = last_closed(before, &said).map_err(|error| self.report(&error))?;
        for line in &last_closed(before, expected).map_err(|error| self.report(&error))? {
            match left.iter().position(|other| other == line) {
                Some(at) => {
                    left.remove(at);
                }
                None => return Err(self.report(&format!("not said: {line:?}\nsaid instead: {left:?}"))),
            }
        }
        if !left.is_empty() {
            return Err(self.report(&format!("said too much: {left:?}")));
        }
        self.order(event, &said, expected).map_err(|error| self.report(&error))?;
        for action in actions {
            match *action {
                Action::SendLeaseBreak { id, conn, body, .. } => {
                    self.model.learn_lease_break(id, conn, body.key);
                    let about = About::Lease { key: body.key, told: body.new };
                    let ack = body.flags.contains(BreakFlags::ACK_REQUIRED);
                    self.notifications.push(Notification { id, conn, about, ack });
                    if !matches!(event, Some(Event::Undelivered { .. })) {
                        self.count(before, conn, body.key).map_err(|error| self.report(&error))?;
                    }
                }
                Action::SendOplockBreak { id, conn, session, body, .. } => {
                    let open = self.model.open_named(body.file_id).unwrap();
                    self.model.learn_oplock_break(id, open);
                    let about = About::Oplock { session, file_id: body.file_id, told: body.level };
                    let ack = self.model.open(open).is_some_and(|open| open.breaking.is_some());
                    self.notifications.push(Notification { id, conn, about, ack });
                }
                _ => {}
            }
        }
        check::step(before, &self.model, event, expected)
            .and_then(|()| check::state(&self.model))
            .and_then(|()| self.agree())
            .map_err(|error| self.report(&error))
    }

    /// P14: RWH to RH to R to NONE, and no more.
    fn count(&mut self, before: &Model, conn: ConnId, key: LeaseKey) -> Result<(), String> {
        let Some(client) = self.model.conns.get(&conn).map(|conn| conn.client) else { return Ok(()) };
        let key = (client, key);
        // What is sent again begins anew.
        let told = |lease: &super::Lease| lease.breaking.is_some_and(|breaking| breaking.deadline.is_some());
        let goes_on = before.lease(key).is_some_and(told);
        let chain = self.chains.entry(key).or_default();
        *chain = if goes_on { *chain + 1 } else { 1 };
        if *chain > 3 { Err(format!("{chain} notifications for {key:?}")) } else { Ok(()) }
    }

    /// What both must say of themselves.
    fn agree(&self) -> Result<(), String> {
        let stats = self.server.stats();
        if stats.anomalies != 0 {
            return Err(format!("anomalies: {stats:?}"));
        }
        // What is on its way to the store may or may not be something that is left.
        let settled = self.model.store.outstanding.is_empty();
        if settled && self.server.idle() != self.model.idle() {
            return Err(format!("idle: {}, and not so: {}", self.server.idle(), self.model.idle()));
        }
        let (due, expected) = (self.server.poll_timeout(), self.model.next_due());
        if due != expected {
            return Err(format!("due at {due:?}, not at {expected:?}"));
        }
        let (waiters, expected) = (stats.waiters, self.model.waiters.len());
        if usize::try_from(waiters) != Ok(expected) {
            return Err(format!("{waiters} waiters, not {expected}"));
        }
        Ok(())
    }

    fn order(&self, event: Option<&Event>, said: &[Said], expected: &[Said]) -> Result<(), String> {
        let at = |wanted: &Said| said.iter().position(|other| other == wanted).unwrap();
        for (line, cause) in expected.iter().zip(self.model.causes()) {
            let (Said::LeaseBreak { .. } | Said::OplockBreak { .. }, Some(cause)) = (line, cause) else {
                continue;
            };
            let answer = said.iter().position(|other| match other {
                Said::Interim { request }
                | Said::OpenFile { request }
                | Said::Proceed { request }
                | Said::Accepted { request } => request == cause,
                Said::Refused { request, status } => request == cause && *status == Status::LOCK_NOT_GRANTED,
                _ => false,
            });
            if answer.is_some_and(|answer| answer < at(line)) {
                return Err(format!("{line:?} comes behind the answer to {cause:?}"));
            }
        }
        if let Some(Event::LeaseAck { conn, ack, .. }) = event {
            let client = |conn: &ConnId| self.model.conns.get(conn).map(|conn| conn.client);
            let answer = said.iter().position(|other| matches!(other, Said::LeaseAck { .. }));
            let follow_up = said.iter().position(|other| {
                matches!(other, Said::LeaseBreak { conn: other, body } if body.key == ack.key && client(other) == client(conn))
            });
            if follow_up.is_some_and(|follow_up| answer.is_some_and(|answer| follow_up < answer)) {
                return Err("the follow-up comes before the answer".into());
            }
        }
        Ok(())
    }

    /// The open behind a FileId, whose volatile half may be new.
    pub fn named(&self, file_id: FileId) -> Option<RequestId> {
        self.model.open_named(file_id).or_else(|| self.model.open_persistent(file_id.persistent))
    }

    fn translate(&self, action: &Action) -> Result<Said, String> {
        let mut said = translate(action, |file_id| self.named(file_id))?;
        match (&mut said, action) {
            (Said::Granted { open, fresh, .. }, Action::Granted { grant, .. }) => {
                *fresh = self.model.name_of(*open) != Some(grant.file_id);
                if *fresh && self.model.open_named(grant.file_id).is_some() {
                    return Err(format!("{} was given out before", grant.file_id));
                }
            }
            (Said::OplockBreak { open, .. }, Action::SendOplockBreak { body, .. })
                if self.model.name_of(*open) != Some(body.file_id) =>
            {
                return Err(format!("{} is called otherwise by now", body.file_id));
            }
            _ => {}
        }
        Ok(said)
    }
}

/// With the name of a file going with the newest of the opens that are closed, whichever of them was the last.
fn last_closed(before: &Model, said: &[Said]) -> Result<Vec<Said>, String> {
    let file = |open| before.open(open).map(Open::file);
    let mut same = said.to_vec();
    for (last, line) in said.iter().enumerate() {
        let Said::CloseFile { open, link: Link::Remove } = *line else { continue };
        let closed = said.iter().enumerate().filter_map(|(at, line)| match line {
            Said::CloseFile { open: other, .. } if file(*other) == file(open) => Some((*other, at)),
            _ => None,
        });
        let closed: Vec<(RequestId, usize)> = closed.collect();
        if closed.iter().any(|(_, at)| *at > last) {
            return Err(format!("an open is closed behind the last of its file, {open:?}"));
        }
        let (newest, at) = closed.into_iter().max().unwrap();
        same[last] = Said::CloseFile { open, link: Link::Keep };
        same[at] = Said::CloseFile { open: newest, link: Link::Remove };
    }
    Ok(same)
}

/// An action with requests in place of FileIds.
pub fn translate(action: &Action, named: impl Fn(FileId) -> Option<RequestId>) -> Result<Said, String> {
    let open = |file_id: FileId| named(file_id).ok_or_else(|| format!("{file_id} was never given out"));
    Ok(match *action {
        Action::OpenFile { request, .. } => Said::OpenFile { request },
        Action::Resolve { request } => Said::Resolve { request },
        Action::Interim { request } => Said::Interim { request },
        Action::Proceed { request, .. } => Said::Proceed { request },
        Action::Granted { request, grant } => {
            let (open, fresh) = (open(grant.file_id)?, false);
            let (action, level, lease) = (grant.action, grant.level, grant.lease);
            let (durable, replayable) = (grant.durable, grant.replayable);
            Said::Granted { request, open, fresh, action, level, lease, durable, replayable }
        }
        Action::Refused { request, status } => Said::Refused { request, status },
        Action::Closed { request } => Said::Closed { request },
        Action::Persist { .. } => return Err("a change for no store".into()),
        Action::Recall { .. } | Action::Revoked { .. } | Action::Repeated { .. } | Action::Tested { .. } => {
            return Err("nobody speaks anything but SMB".into());
        }
        Action::Accepted { request } => Said::Accepted { request },
        Action::SendLeaseBreak { conn, body, .. } => Said::LeaseBreak { conn, body },
        Action::SendOplockBreak { conn, session, body, .. } => {
            Said::OplockBreak { conn, session, open: open(body.file_id)?, level: body.level }
        }
        Action::AnswerLeaseAck { request, result } => Said::LeaseAck { request, result },
        Action::AnswerOplockAck { request, result } => {
            Said::OplockAck { request, result: result.map(|body| body.level) }
        }
        Action::Unlink { file } => Said::Unlink { file },
        Action::CloseFile { file_id, link } => Said::CloseFile { open: open(file_id)?, link },
    })
}
