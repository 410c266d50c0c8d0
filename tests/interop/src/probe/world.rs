//! Two clients of one server in real time, and what a check may ask of them.

use std::time::{Duration, Instant};

use leasehold::client::{OpenRef, Opening, PreviousSession, Want};
use leasehold::server::{Capabilities, LockFlags, ShareFlags, Terms};
use leasehold::{Access, CreateOptions, Dialect, Epoch, LeaseState, RequestId, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::driver::Driver;
use super::link::Ticket;
use super::seen::{self, Trace};
use super::{Failure, Target, random};
use crate::smb::client::Client as Transport;

/// Why a check does not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The server does not do that at all.
    #[error("{0}")]
    NotOffered(&'static str),
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// The first client.
pub(super) const A: usize = 0;
/// The second.
pub(super) const B: usize = 1;

/// Two clients, each with a ClientGuid of its own.
pub(super) struct World {
    target: Target,
    prefix: String,
    trace: Trace,
    clients: Vec<Driver>,
    /// Names that were opened, and how: they are deleted in the end.
    names: Vec<(String, CreateOptions)>,
    /// How long a handle is left alone to time out.
    pub(super) wait: Option<Duration>,
}

impl World {
    /// Both clients sign in.
    pub(super) fn new(target: &Target, wait: Option<Duration>) -> Result<Self, Failure> {
        let prefix = format!("probe-{:016x}-", u64::from_le_bytes(random()?));
        let trace = Trace::default();
        let mut clients = Vec::new();
        for name in ['A', 'B'] {
            let mut client = Driver::new(name, target.clone(), prefix.clone(), trace.clone())?;
            client.connect(PreviousSession::Ended)?;
            clients.push(client);
        }
        Ok(Self { target: target.clone(), prefix, trace, clients, names: Vec::new(), wait })
    }

    /// Signs both out and deletes their files. Returns what was seen before.
    pub(super) fn finish(mut self) -> (Vec<String>, Result<(), Trouble>) {
        let seen = self.trace.lines();
        self.clients.drain(..).for_each(Driver::leave);
        let deleted = self.delete();
        (seen, deleted)
    }

    fn delete(&mut self) -> Result<(), Trouble> {
        let trace = Trace::default();
        let mut client = Driver::new('C', self.target.clone(), self.prefix.clone(), trace)?;
        client.connect(PreviousSession::Ended)?;
        self.clients.push(client);
        let names = std::mem::take(&mut self.names);
        // What is in a directory was opened after it.
        for (name, options) in names.into_iter().rev() {
            let open = self.open(0, &name, |mut opening| {
                opening.durable = None;
                opening.access = Access::DELETE;
                opening.options = options | CreateOptions::DELETE_ON_CLOSE;
                opening.want(Want::State(LeaseState::NONE))
            })?;
            self.client(0)?.release(open)?;
        }
        self.settle()
    }

    /// One of the clients.
    pub(super) fn client(&mut self, who: usize) -> Result<&mut Driver, Trouble> {
        self.clients.get_mut(who).ok_or_else(|| Trouble::Wrong("no such client".into()))
    }

    /// Opens a file as [`Driver::open`] does, and waits for it.
    pub(super) fn open(
        &mut self,
        who: usize,
        name: &str,
        shape: impl FnOnce(Opening) -> Opening,
    ) -> Result<OpenRef, Trouble> {
        let request = self.begin_open(who, name, shape)?;
        self.await_open(who, name, request)
    }

    /// The same, without waiting.
    pub(super) fn begin_open(
        &mut self,
        who: usize,
        name: &str,
        shape: impl FnOnce(Opening) -> Opening,
    ) -> Result<RequestId, Trouble> {
        let mut options = CreateOptions::empty();
        let request = self.client(who)?.open(name, |opening| {
            let opening = shape(opening);
            options = opening.options;
            opening
        })?;
        if !self.names.iter().any(|(known, _)| known == name) {
            self.names.push((name.to_owned(), options));
        }
        Ok(request)
    }

    /// Waits for an open.
    pub(super) fn await_open(
        &mut self,
        who: usize,
        name: &str,
        request: RequestId,
    ) -> Result<OpenRef, Trouble> {
        self.until(name, |world| Ok(world.client(who)?.opened(request)))?
            .map_err(|status| Trouble::Wrong(format!("open of {name}: {}", seen::status(status))))
    }

    /// Reads all of a file.
    pub(super) fn read(&mut self, who: usize, open: OpenRef) -> Result<String, Trouble> {
        let ticket = self.client(who)?.read(open)?;
        let data = self.answer(who, ticket)?.map_err(|status| Trouble::Wrong(format!("READ: {status}")))?;
        Ok(String::from_utf8_lossy(&data).into_owned())
    }

    /// Writes to the start of a file.
    pub(super) fn write(&mut self, who: usize, open: OpenRef, text: &str) -> Result<(), Trouble> {
        let ticket = self.client(who)?.write(open, text.as_bytes())?;
        self.answer(who, ticket)?.map(|_| ()).map_err(|status| Trouble::Wrong(format!("WRITE: {status}")))
    }

    /// Locks the first octet of a file or frees it, or says why not.
    pub(super) fn lock(
        &mut self,
        who: usize,
        open: OpenRef,
        flags: LockFlags,
    ) -> Result<Result<(), Status>, Trouble> {
        let ticket = self.client(who)?.lock(open, flags)?;
        Ok(self.answer(who, ticket)?.map(|_| ()))
    }

    fn answer(&mut self, who: usize, ticket: Ticket) -> Result<Result<Vec<u8>, Status>, Trouble> {
        self.until("an answer", |world| Ok(world.client(who)?.answer(ticket)))
    }

    /// Waits until nothing is under way any more, and nothing more comes for a moment.
    pub(super) fn settle(&mut self) -> Result<(), Trouble> {
        let mut quiet = None;
        self.until("quiet", |world| {
            if world.clients.iter().any(Driver::busy) {
                quiet = None;
            }
            let since = *quiet.get_or_insert_with(Instant::now);
            Ok(Some(()).filter(|()| since.elapsed() >= QUIET))
        })
    }

    /// Waits until somebody has seen this.
    pub(super) fn await_line(&mut self, line: &str) -> Result<(), Trouble> {
        self.until(line, |world| Ok(world.position(0, line).map(|_| ())))
    }

    /// Lets messages come and time pass, for all, until there is an answer.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        mut answer: impl FnMut(&mut Self) -> Result<Option<T>, Trouble>,
    ) -> Result<T, Trouble> {
        let began = Instant::now();
        loop {
            for client in &mut self.clients {
                client.receive()?;
                client.pass()?;
            }
            if let Some(answer) = answer(self)? {
                return Ok(answer);
            }
            if began.elapsed() > PATIENCE {
                return Err(Trouble::Wrong(format!("waited in vain for {what}")));
            }
            self.wait_for_messages()?;
        }
    }

    /// Waits until something has come for a client, who does not read it as yet.
    pub(super) fn await_message(&self, who: usize) -> Result<(), Failure> {
        let began = Instant::now();
        while Self::poll(self.clients.iter().skip(who).take(1), TURN)? == 0 && began.elapsed() < PATIENCE {}
        Ok(())
    }

    fn wait_for_messages(&self) -> Result<(), Failure> {
        // What is in the buffer of a connection no socket tells of.
        if self.clients.iter().flat_map(Driver::links).any(Transport::has_message) {
            return Ok(());
        }
        let due = self.clients.iter().filter_map(Driver::due).min().unwrap_or(TURN);
        Self::poll(self.clients.iter(), due.min(TURN)).map(|_| ())
    }

    fn poll<'a>(who: impl Iterator<Item = &'a Driver>, time: Duration) -> Result<usize, Failure> {
        let mut sockets: Vec<_> =
            who.flat_map(Driver::links).map(|link| PollFd::new(link, PollFlags::IN)).collect();
        Ok(poll(&mut sockets, Some(&Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() }))?)
    }

    /// What the lease of a name gives a client, and its epoch.
    pub(super) fn lease(&mut self, who: usize, name: &str) -> Result<(LeaseState, Epoch), Trouble> {
        let client = self.client(who)?;
        let file = client.file(name);
        Ok((client.machine().state(file), client.machine().epoch(file)))
    }

    /// Where a line that begins so is found.
    fn position(&self, from: usize, line: &str) -> Option<usize> {
        let at = self.trace.lines().iter().skip(from).position(|seen| seen.starts_with(line))?;
        Some(from + at)
    }

    /// Lines that begin so were seen in this order, whatever was between them.
    pub(super) fn expect<const N: usize>(&self, lines: [&str; N]) -> Result<(), Trouble> {
        let mut from = 0;
        for line in lines {
            let at = self.position(from, line);
            from = at.ok_or_else(|| Trouble::Wrong(format!("`{line}` is missing, or not in its place")))? + 1;
        }
        Ok(())
    }

    /// No line begins so.
    pub(super) fn never(&self, line: &str) -> Result<(), Trouble> {
        check(self.position(0, line).is_none(), || format!("`{line}` should not have been"))
    }

    /// How many lines begin so.
    pub(super) fn count(&self, line: &str) -> usize {
        self.trace.lines().iter().filter(|seen| seen.starts_with(line)).count()
    }

    /// Whether a line begins so and contains that.
    pub(super) fn has(&self, line: &str, part: &str) -> bool {
        self.trace.lines().iter().any(|seen| seen.starts_with(line) && seen.contains(part))
    }

    /// Shows something that is no message.
    pub(super) fn note(&self, line: String) {
        self.trace.push(line);
    }

    /// What NEGOTIATE has agreed on, and what the share is.
    pub(super) fn terms(&mut self) -> Result<(Terms, ShareFlags), Trouble> {
        self.client(A)?.terms().ok_or_else(|| Trouble::Wrong("not connected".into()))
    }

    /// Ends the check where the server cannot do this.
    pub(super) fn needs(
        &mut self,
        from: Dialect,
        what: Capabilities,
        name: &'static str,
    ) -> Result<(), Trouble> {
        let (terms, _) = self.terms()?;
        let offered = terms.dialect >= from && terms.capabilities.contains(what);
        if offered { Ok(()) } else { Err(Trouble::NotOffered(name)) }
    }
}

pub(super) fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), Trouble> {
    if holds { Ok(()) } else { Err(Trouble::Wrong(why())) }
}

/// How long anything may take: less than servers wait for an acknowledgment.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long nothing may come when all is done.
const QUIET: Duration = Duration::from_millis(100);
/// How long to wait for messages before looking at the clock again.
const TURN: Duration = Duration::from_millis(20);
