//! One client: carries out what the machine says, and tells it what happens.
//!
//! Nothing here waits, but for signing in: requests go out, and [`Driver::receive`] takes in whatever has come. What the machine is to
//! be told is put in line, since the actions of one batch are carried out before anything else is.

mod actions;
mod events;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Arguments;
use std::time::Duration;

use leasehold::client::{
    Client, ClientConfig, Event, FileRef, LockBuckets, OpenRef, Opening, PreviousSession, Retry,
};
use leasehold::persist::ClientRecord;
use leasehold::server::{LockElement, LockFlags, ShareFlags, Terms};
use leasehold::{
    Access, ClientGuid, ConnId, CreateGuid, CreateOptions, Disposition, FileId, HashKey, Instant, LeaseKey,
    RequestId, SessionId, ShareMode, Status,
};

use super::cache::Cache;
use super::link::{Flight, Link, Ticket};
use super::seen::Trace;
use super::{Failure, Target, random};
use crate::smb::client::{Client as Transport, Error};
use crate::smb::request::Request;

/// What a CREATE says beside its contexts, whenever it is sent.
struct Asked {
    opening: Opening,
    name: String,
}

struct Handle {
    asked: Asked,
    /// `None` while there is none, or it means nothing.
    file_id: Option<FileId>,
    buckets: LockBuckets,
}

/// What is to be done when the batch at hand is.
enum Next {
    Tell(Event),
    /// The answer will not come.
    Unanswered(Flight),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Both sides learn of it.
    Reset,
    /// The server does not, before there is another session.
    Silence,
}

/// One client. It never forgets a name: it lives as long as one check.
pub(super) struct Driver {
    name: char,
    target: Target,
    guid: ClientGuid,
    /// Before each name: the files of this check.
    prefix: String,
    trace: Trace,
    started: std::time::Instant,
    machine: Client,
    links: BTreeMap<ConnId, Link>,
    /// Connections of which the server believes that they are there.
    ghosts: Vec<Transport>,
    session: Option<SessionId>,
    terms: Option<Terms>,
    share: ShareFlags,
    names: BTreeMap<String, FileRef>,
    caches: BTreeMap<FileRef, Cache>,
    /// Without a CREATE as yet.
    asked: BTreeMap<RequestId, Asked>,
    handles: BTreeMap<OpenRef, Handle>,
    opened: BTreeMap<RequestId, Result<OpenRef, Status>>,
    answers: BTreeMap<Ticket, Result<Vec<u8>, Status>>,
    next: VecDeque<Next>,
    last: u64,
    /// What a real client has on its disk.
    records: BTreeMap<u64, Vec<u8>>,
}

/// For the application.
impl Driver {
    /// A client without a connection.
    pub(super) fn new(name: char, target: Target, prefix: String, trace: Trace) -> Result<Self, Failure> {
        let mut config = ClientConfig::new(HashKey::new(random()?));
        // A former session is gone after a moment, and nobody shall wait long.
        config.retry = Retry::WINDOWS.growing(3, Duration::from_secs(1), 2, Duration::from_secs(4));
        config.persistence = true;
        Ok(Self {
            name,
            target,
            guid: ClientGuid::from_wire(random()?),
            prefix,
            trace,
            started: std::time::Instant::now(),
            machine: Client::new(config),
            links: BTreeMap::new(),
            ghosts: Vec::new(),
            session: None,
            terms: None,
            share: ShareFlags::empty(),
            names: BTreeMap::new(),
            caches: BTreeMap::new(),
            asked: BTreeMap::new(),
            handles: BTreeMap::new(),
            opened: BTreeMap::new(),
            answers: BTreeMap::new(),
            next: VecDeque::new(),
            last: 0,
            records: BTreeMap::new(),
        })
    }

    /// Connects with a new session, and ends the one before if that is to be `Ended`.
    pub(super) fn connect(&mut self, previous: PreviousSession) -> Result<(), Failure> {
        let former = self.session.filter(|_| previous == PreviousSession::Ended);
        let link = Link::sign_in(&self.target, self.guid, former)?;
        if former.is_some() {
            self.see(format_args!(": signed in with PreviousSessionId"));
        }
        self.ghosts.clear();
        self.connected(link, previous)
    }

    /// Connects once more, as another channel of the session.
    pub(super) fn add_channel(&mut self) -> Result<(), Failure> {
        let Some(link) = self.links.values().next() else { return Err(Error::NoSession.into()) };
        let link = link.bind(&self.target, self.guid)?;
        self.see(format_args!(": bound a channel"));
        self.connected(link, PreviousSession::Ended)
    }

    /// Loses its oldest connection, and notices after a while. The machine is told then.
    pub(super) fn cut(&mut self, cut: Cut, noticed_after: Duration) -> Result<(), Failure> {
        let Some((conn, link)) = self.links.pop_first() else { return Ok(()) };
        match cut {
            Cut::Reset => link.client.reset()?,
            Cut::Silence => self.ghosts.push(link.client),
        }
        self.see(format_args!(": {}", if cut == Cut::Reset { "reset" } else { "silence" }));
        std::thread::sleep(noticed_after);
        self.gone(conn, link.flights);
        self.settle()
    }

    /// Ends without a word and begins anew, with what is on its disk: records, names, and what is cached of those that have a record.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.see(format_args!(": restart"));
        std::mem::take(&mut self.links).into_values().try_for_each(|link| link.client.reset())?;
        let new = Self::new(self.name, self.target.clone(), self.prefix.clone(), self.trace.clone())?;
        let old = std::mem::replace(self, new);
        (self.guid, self.session, self.names) = (old.guid, old.session, old.names);
        (self.caches, self.records) = (old.caches, old.records);
        let records = self.records.values().map(|octets| ClientRecord::decode(octets));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        self.caches.retain(|file, _| records.iter().any(|record| record.file == *file));
        self.caches.values_mut().for_each(Cache::restarted);
        records
            .into_iter()
            .try_for_each(|record| self.tell(Event::Restore { record, elapsed: Duration::ZERO }))
    }

    /// Closes whatever is open, and signs out.
    pub(super) fn leave(mut self) {
        let files = self.handles.values().filter_map(|handle| handle.file_id);
        if let Some((_, link)) = self.links.pop_first() {
            // A server that does not answer keeps what it likes.
            let _ = link.sign_out(files);
        }
    }

    /// Asks for a file, for reading and writing, made if it is not there, shared by all, durable; but for what `shape` changes.
    pub(super) fn open(
        &mut self,
        name: &str,
        shape: impl FnOnce(Opening) -> Opening,
    ) -> Result<RequestId, Failure> {
        let request = RequestId::new(self.number());
        let file = self.file(name);
        let mut opening = Opening::new(request, file, LeaseKey::new(random()?))
            .access(READ_WRITE, ShareMode::ALL)
            .disposition(Disposition::OpenIf, CreateOptions::NON_DIRECTORY_FILE)
            .share(self.share)
            .durable(CreateGuid::from_wire(random()?));
        if let Some((directory, _)) = name.rsplit_once('\\') {
            opening = opening.parent(self.file(directory), LeaseKey::new(random()?));
        }
        let opening = shape(opening);
        self.asked.insert(request, Asked { opening, name: name.to_owned() });
        self.tell(Event::Open(opening))?;
        Ok(request)
    }

    /// What became of it, if that is known.
    pub(super) fn opened(&mut self, request: RequestId) -> Option<Result<OpenRef, Status>> {
        self.opened.remove(&request)
    }

    /// The application is done with an open.
    pub(super) fn release(&mut self, open: OpenRef) -> Result<(), Failure> {
        self.see(format_args!(": release {}", self.name_of(open)));
        self.tell(Event::Release { open })
    }

    /// Reads all of a file, from the cache if it may.
    pub(super) fn read(&mut self, open: OpenRef) -> Result<Ticket, Failure> {
        let ticket = Ticket(self.number());
        let Some((file, file_id)) = self.usable(open, ticket) else { return Ok(ticket) };
        let cache = self.caches.entry(file).or_default();
        if let Some(page) = cache.read() {
            self.answers.insert(ticket, Ok(page.to_vec()));
            return Ok(ticket);
        }
        let flight = Flight::Read { ticket, open, purges: cache.purges() };
        self.see(format_args!("> READ"));
        self.request(flight, &Request::Read { file_id, offset: 0, length: PAGE, minimum: 0 })?;
        Ok(ticket)
    }

    /// Writes to the start of a file, into the cache if that may keep it.
    pub(super) fn write(&mut self, open: OpenRef, data: &[u8]) -> Result<Ticket, Failure> {
        let ticket = Ticket(self.number());
        let Some((file, file_id)) = self.usable(open, ticket) else { return Ok(ticket) };
        if self.caches.entry(file).or_default().write(data) {
            self.answers.insert(ticket, Ok(Vec::new()));
            return Ok(ticket);
        }
        self.see(format_args!("> WRITE {} through", data.len()));
        self.request(Flight::Write { ticket, open }, &Request::Write { file_id, offset: 0, data })?;
        Ok(ticket)
    }

    /// Locks the first octet of a file or frees it, at the server whatever the lease.
    pub(super) fn lock(&mut self, open: OpenRef, flags: LockFlags) -> Result<Ticket, Failure> {
        let ticket = Ticket(self.number());
        let Some((_, file_id)) = self.usable(open, ticket) else { return Ok(ticket) };
        let numbered = self.machine.sequences_locks(open);
        let handle = self.handles.get_mut(&open).filter(|_| numbered);
        let sequence = handle.and_then(|handle| handle.buckets.take());
        self.see(format_args!("> {}LOCK", if flags == LockFlags::UNLOCK { "UN" } else { "" }));
        let request = Request::Lock {
            file_id,
            sequence: sequence.map_or(0, |sequence| sequence.to_wire()),
            elements: vec![LockElement { offset: 0, len: 1, flags }],
        };
        self.request(Flight::Lock { ticket, open, sequence }, &request)?;
        Ok(ticket)
    }

    /// Has the server close a handle as an administrator would: nothing is said to the machine.
    pub(super) fn close_unseen(&mut self, open: OpenRef) -> Result<(), Failure> {
        let file_id = self.handles.get(&open).and_then(|handle| handle.file_id);
        let Some((link, file_id)) = self.links.values_mut().next().zip(file_id) else { return Ok(()) };
        self.trace.push(format!("{}: closed unseen", self.name));
        Ok(link.close(file_id)?)
    }

    /// The answer to a read, a write or a lock, if it is there.
    pub(super) fn answer(&mut self, ticket: Ticket) -> Option<Result<Vec<u8>, Status>> {
        self.answers.remove(&ticket)
    }

    /// The machine, to look at.
    pub(super) fn machine(&self) -> &Client {
        &self.machine
    }

    /// What the machine calls a name.
    pub(super) fn file(&mut self, name: &str) -> FileRef {
        let next = FileRef::new(self.names.len() as u64);
        *self.names.entry(name.to_owned()).or_insert(next)
    }

    /// What NEGOTIATE has agreed on, and what the share is.
    pub(super) fn terms(&self) -> Option<(Terms, ShareFlags)> {
        self.terms.map(|terms| (terms, self.share))
    }

    /// Its connections.
    pub(super) fn links(&self) -> impl Iterator<Item = &Transport> {
        self.links.values().map(|link| &link.client)
    }

    /// Whether something is under way.
    pub(super) fn busy(&self) -> bool {
        self.links.values().any(|link| !link.flights.is_empty())
    }

    /// The handle of an open; without one, what was asked is answered with an error.
    fn usable(&mut self, open: OpenRef, ticket: Ticket) -> Option<(FileRef, FileId)> {
        let handle = self.handles.get(&open);
        let found = handle.and_then(|handle| Some((handle.asked.opening.file, handle.file_id?)));
        if found.is_none() {
            self.answers.insert(ticket, Err(Status::FILE_CLOSED));
        }
        found
    }

    fn name_of(&self, open: OpenRef) -> String {
        self.handles.get(&open).map_or_else(String::new, |handle| handle.asked.name.clone())
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn see(&self, what: Arguments<'_>) {
        self.trace.push(format!("{}{what}", self.name));
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// What most opens ask for.
pub(super) const READ_WRITE: Access =
    Access::READ_DATA.union(Access::WRITE_DATA).union(Access::READ_ATTRIBUTES).union(Access::SYNCHRONIZE);
/// How much of a file is cached.
const PAGE: u32 = 1 << 16;
