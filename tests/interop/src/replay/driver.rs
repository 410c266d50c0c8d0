//! Feeds a recording to a server machine and writes down what comes of it.
//!
//! A driver as small as can be: the recording is the network, [`MemFs`] the disk, and nothing takes time but what the
//! recording says. Answers and notifications are written down beside the event that brought them about.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leasehold::server::{
    Action, BreakId, ChannelSequence, Config, DurableGrant, Event, Grant, Misuse, Opened, RouteSeed, Server,
};
use leasehold::wire::{DurableHandleResponse, Lease, LeaseAck, LeaseBreak, OplockBreak};
use leasehold::{
    ClientGuid, ConnId, CreateAction, CreateGuid, FileId, FileKey, HashKey, Instant, LeaseKey, Machine,
    OplockLevel, RequestId, SessionId, Status,
};

use super::channels::Counted;
use super::creates::{Pending, Returning};
use super::peers::Peers;
use super::profiles::Habits;
use super::requests::Chain;
use super::response::Response;
use super::trace::{self, Moment, Trace};
use crate::fs::operations::Operations;
use crate::fs::{Handle, MemFs};

/// What came of a recording.
#[derive(Debug)]
pub(super) struct Play {
    /// In the order in which it came.
    pub(super) outputs: Vec<Output>,
    /// Where it stopped, if not at the end.
    pub(super) stopped: Option<(u64, Stop)>,
}

/// Why a recording cannot be fed any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It has something for which there is no code yet.
    Unsupported(String),
    /// The machine was driven wrongly, so either side is at fault.
    Misuse(Misuse),
    /// The machine did something that cannot be right.
    Fault(String),
}

/// Something that the server says.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) cause: Cause,
    pub(super) what: Said,
}

/// What brought it about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cause {
    /// The `seq` of what the client did last.
    pub(super) after: u64,
    /// When it came.
    pub(super) at: Moment,
    /// Whether a deadline brought it about, not the client.
    pub(super) deadline: bool,
}

/// What the server says.
#[derive(Debug)]
pub(super) enum Said {
    /// The answer to the request of that `seq`.
    Answer { request: u64, status: Status, body: Body },
    /// A notification.
    Break { client: Option<ClientGuid>, notice: Notice },
}

/// What a notification says.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    Lease(LeaseBreak),
    Oplock(OplockNotice),
}

/// An oplock break, or the answer to its acknowledgment.
#[derive(Clone, Debug)]
pub(super) struct OplockNotice {
    pub(super) level: u8,
    /// The recorded label of the open; `None` if it was not answered so.
    pub(super) handle: Option<String>,
}

/// The body of an answer, as far as it is compared.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Nothing,
    Create(CreateBody),
    Ack(LeaseAck),
    OplockAck(OplockNotice),
    Read { length: u64, data: Vec<Option<u8>> },
    Write { count: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct CreateBody {
    pub(super) level: OplockLevel,
    pub(super) action: CreateAction,
    pub(super) end_of_file: u64,
    pub(super) attributes: u32,
    pub(super) lease: Option<Lease>,
    pub(super) durable: Option<DurableGrant>,
    /// The recorded label of the handle, and of the open, if it was granted before.
    pub(super) handle: Option<String>,
    pub(super) open: Option<String>,
}

/// An open, from the driver's side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// As it was granted last: a durable open that is given back has another volatile half.
    pub(super) file_id: FileId,
    pub(super) handle: Handle,
    pub(super) key: FileKey,
    pub(super) session: SessionId,
    /// Once it is granted one.
    pub(super) lease: Option<LeaseKey>,
    /// What names its CREATE, until it is used.
    pub(super) guid: Option<(ClientGuid, CreateGuid)>,
    pub(super) sequence: ChannelSequence,
}

#[derive(Debug)]
pub(super) struct Driver<'t> {
    pub(super) trace: &'t Trace,
    /// The recorded answer of each request.
    pub(super) recorded: BTreeMap<u64, &'t Response>,
    /// The CREATEs that each handle came from.
    pub(super) creators: BTreeMap<&'t str, Vec<u64>>,
    pub(super) peers: Peers,
    pub(super) fs: MemFs,
    pub(super) creates: BTreeMap<RequestId, Pending>,
    pub(super) operations: Operations,
    /// By the persistent half of the FileId.
    pub(super) opens: BTreeMap<u64, Open>,
    /// CREATEs that want an open back.
    pub(super) returning: BTreeMap<RequestId, Returning>,
    /// CREATEs that go on although nobody hears of it: the connection on which they came is lost, the session has others.
    pub(super) unheard: BTreeSet<u64>,
    /// Requests that their open counts until they are answered.
    pub(super) counted: BTreeMap<u64, Counted>,
    /// Requests that wait for a change: where they came from, and the directory.
    pub(super) watches: BTreeMap<RequestId, (ConnId, FileId)>,
    /// What each CREATE got.
    pub(super) granted: BTreeMap<u64, FileId>,
    /// The compound that each connection is in.
    pub(super) chains: BTreeMap<String, Chain>,
    habits: Habits,
    server: Server,
    now: Instant,
    cause: Cause,
    outputs: Vec<Output>,
}

/// Feeds a recording to a server.
pub(super) fn play(trace: &Trace, habits: Habits) -> Play {
    let mut driver = Driver::new(trace, habits);
    if let Err(stop) = driver.feed(Event::Recovered) {
        return Play { outputs: driver.outputs, stopped: Some((0, stop)) };
    }
    for line in &trace.lines {
        if let Err(stop) = driver.line(line) {
            return Play { outputs: driver.outputs, stopped: Some((line.seq, stop)) };
        }
    }
    let left = driver.left_over().and_then(|left| left.map_or(Ok(()), |what| Err(Stop::Fault(what))));
    let stopped = left.err().map(|stop| (driver.cause.after, stop));
    Play { outputs: driver.outputs, stopped }
}

impl<'t> Driver<'t> {
    fn new(trace: &'t Trace, habits: Habits) -> Self {
        let mut config = Config::new(HashKey::new([0x5a; 16]), RouteSeed::new([0xa5; 16]), 1);
        config.profile = habits.profile;
        config.persistence = true;
        Self {
            trace,
            creators: trace.creators(),
            recorded: trace.responses().map(|(_, response)| (response.request, response)).collect(),
            peers: Peers::default(),
            fs: MemFs::default(),
            creates: BTreeMap::new(),
            operations: Operations::default(),
            opens: BTreeMap::new(),
            returning: BTreeMap::new(),
            unheard: BTreeSet::new(),
            counted: BTreeMap::new(),
            watches: BTreeMap::new(),
            granted: BTreeMap::new(),
            chains: BTreeMap::new(),
            habits,
            server: Server::new(config),
            now: Instant::ZERO,
            cause: Cause::default(),
            outputs: Vec::new(),
        }
    }

    /// Lets time pass up to a line and, if the client did it, does it.
    fn line(&mut self, line: &trace::Line) -> Result<(), Stop> {
        self.pass_time(line.at)?;
        let conn = line.conn.as_deref().unwrap_or_default();
        match &line.event {
            trace::Event::Connect => {
                self.happens(line);
                self.peers.connect(conn);
                Ok(())
            }
            trace::Event::Disconnect => {
                self.happens(line);
                self.disconnect(conn)
            }
            trace::Event::Request(request) => {
                self.happens(line);
                self.request(line.seq, conn, request)
            }
            trace::Event::Interim(_) | trace::Event::Response(_) | trace::Event::Break(_) => Ok(()),
            trace::Event::Unknown(name) => Err(Stop::unsupported(format!("event {name}"))),
        }
    }

    fn happens(&mut self, line: &trace::Line) {
        self.cause = Cause { after: line.seq, at: line.at, deadline: false };
        self.now = self.now.max(Instant::from_millis(line.at.as_millis()));
    }

    /// Expires every deadline up to a moment, each at its own time.
    fn pass_time(&mut self, until: Moment) -> Result<(), Stop> {
        let mut before = None;
        while let Some(due) = self.server.poll_timeout().filter(|due| due.as_millis() <= until.as_millis()) {
            if before == Some(due) {
                return Err(Stop::Fault(format!(
                    "a deadline at {} ms that does not go away",
                    due.as_millis()
                )));
            }
            before = Some(due);
            self.now = self.now.max(due);
            let at = self.cause.at.max(Moment::from_millis(due.as_millis()));
            self.cause = Cause { at, deadline: true, ..self.cause };
            let mut actions = Vec::new();
            self.server.handle_timeout(self.now, &mut actions);
            self.carry_out(actions)?;
        }
        Ok(())
    }

    /// What is wrong with what is left at the end: when everybody has gone, nothing may be, but for what is durable, and
    /// that only for its time.
    fn left_over(&mut self) -> Result<Option<String>, Stop> {
        let deserted = self.peers.deserted();
        if deserted {
            self.pass_time(Moment::END)?;
        }
        let anomalies = self.server.stats().anomalies;
        if anomalies > 0 {
            return Ok(Some(format!("{anomalies} anomalies counted")));
        }
        if deserted && !self.opens.is_empty() {
            return Ok(Some(format!("{} files left open", self.opens.len())));
        }
        Ok((deserted && !self.server.idle()).then(|| "not idle after everybody has gone".to_owned()))
    }

    fn disconnect(&mut self, conn: &str) -> Result<(), Stop> {
        let id = self.peers.conn_id(conn);
        let known = self.peers.disconnect(conn);
        self.chains.remove(conn);
        // Nobody waits for these any more; the machine drops them without a word.
        let mut lost = Vec::new();
        for (request, create) in self.creates.iter_mut().filter(|(_, create)| create.origin.conn == id) {
            // MS-SMB2 3.3.7.1: what can be replayed goes on as long as there is another channel to do so.
            match self.peers.channel(create.origin.session).filter(|_| create.guid.is_some()) {
                Some(other) => {
                    create.origin.conn = other;
                    self.unheard.insert(request.get());
                }
                None => lost.push(*request),
            }
        }
        self.watches.retain(|_, (conn, _)| *conn != id);
        self.uncount(id);
        let dropped = self.operations.of(id);
        if known {
            self.feed(Event::Disconnected { conn: id })?;
        }
        for request in lost {
            self.forget_create(request);
        }
        for request in dropped {
            for event in self.operations.give_up(request, Status::CONNECTION_DISCONNECTED) {
                self.feed(event)?;
            }
        }
        Ok(())
    }

    /// Tells the machine of an event and does what it wants done.
    pub(super) fn feed(&mut self, event: Event) -> Result<(), Stop> {
        let mut actions = Vec::new();
        self.server.handle(self.now, event, &mut actions).map_err(Stop::Misuse)?;
        self.carry_out(actions)
    }

    /// Carries out actions in order. What follows from one is carried out behind those that are there already.
    fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), Stop> {
        let mut due = VecDeque::from(actions);
        let mut more = Vec::new();
        while let Some(action) = due.pop_front() {
            for event in self.perform(action)? {
                self.server.handle(self.now, event, &mut more).map_err(Stop::Misuse)?;
                due.extend(more.drain(..));
            }
        }
        Ok(())
    }

    /// Carries out one action. Returns what the machine has to hear of it.
    fn perform(&mut self, action: Action) -> Result<Vec<Event>, Stop> {
        match action {
            // The store of a recording is as fast as its disk.
            Action::Persist { seq, .. } => return Ok(vec![Event::Persisted { up_to: seq }]),
            Action::OpenFile { request, file_id } => {
                return self.open_file(request, file_id).map(|event| vec![event]);
            }
            Action::Resolve { request } => {
                return self.resolve(request);
            }
            // Files are opened at once here, so no open can come to nothing behind the last close.
            Action::Unlink { .. } => {
                return Err(Stop::Fault("Unlink, and no file was being opened".to_owned()));
            }
            // Whether and when it was sent depends on time: not judged.
            Action::Interim { .. } => {}
            Action::Proceed { request, ticket } => return self.proceed(request, ticket),
            Action::Granted { request, grant } => self.grant(request, grant)?,
            Action::Refused { request, status } => {
                self.forget_create(request);
                self.returning.remove(&request);
                self.answer(request.get(), status, Body::Nothing);
                return Ok(self.operations.give_up(request, status));
            }
            Action::Closed { request } | Action::Accepted { request } => {
                self.answer(request.get(), Status::SUCCESS, Body::Nothing);
            }
            Action::SendLeaseBreak { id, conn, body, .. } => {
                return Ok(self.notify(id, conn, Notice::Lease(body)));
            }
            Action::SendOplockBreak { id, conn, body, .. } => {
                let notice = Notice::Oplock(self.oplock_notice(body));
                return Ok(self.notify(id, conn, notice));
            }
            Action::AnswerLeaseAck { request, result } => {
                self.answer_with(request, result.map(Body::Ack));
            }
            Action::AnswerOplockAck { request, result } => {
                let result = result.map(|ack| Body::OplockAck(self.oplock_notice(ack)));
                self.answer_with(request, result);
            }
            Action::CloseFile { file_id, link } => {
                let open = self.opens.remove(&file_id.persistent);
                let open =
                    open.ok_or_else(|| Stop::Fault(format!("CloseFile of {file_id}, which is not open")))?;
                self.fs.close(open.handle, link).map_err(Stop::Fault)?;
                self.end_watches(file_id);
            }
        }
        Ok(Vec::new())
    }

    /// Sends a notification, or says that it cannot be sent.
    fn notify(&mut self, id: BreakId, conn: ConnId, notice: Notice) -> Vec<Event> {
        let Some(label) = self.peers.conn_of(conn) else {
            return vec![Event::Undelivered { id, conn }];
        };
        let client = self.peers.client_of(label);
        self.say(Said::Break { client, notice });
        Vec::new()
    }

    fn oplock_notice(&self, body: OplockBreak) -> OplockNotice {
        let create = self.granted.iter().find(|(_, file)| **file == body.file_id).map(|(create, _)| create);
        let recorded = create.and_then(|create| self.recorded.get(create));
        let handle = recorded.and_then(|response| response.handle.clone());
        OplockNotice { level: body.level.to_wire(), handle }
    }

    fn open_file(&mut self, request: RequestId, file_id: FileId) -> Result<Event, Stop> {
        let Some(create) = self.creates.get(&request) else {
            return Err(Stop::Fault(format!(
                "OpenFile for seq {}, which is no CREATE in flight",
                request.get()
            )));
        };
        if !self.fs.leads_to(create.volume, &create.name, create.key) {
            return Err(Stop::unsupported("a CREATE whose name leads elsewhere since it came"));
        }
        let result = self.fs.open(create.volume, &create.name, &create.wanted).map(|opened| {
            let (key, session, guid) = (create.key, create.origin.session, create.guid);
            let sequence = ChannelSequence::new(create.attempt.sequence);
            let handle = opened.handle;
            let open = Open { file_id, handle, key, session, lease: None, guid, sequence };
            self.opens.insert(file_id.persistent, open);
            Opened::new(opened.action, opened.kind, opened.allocation)
        });
        Ok(Event::Opened { file_id, result })
    }

    /// The name of a CREATE leads somewhere else by now, or an operation concerns somebody else.
    fn resolve(&mut self, request: RequestId) -> Result<Vec<Event>, Stop> {
        let Some(create) = self.creates.remove(&request) else {
            return self.ask_again(request);
        };
        self.fs.settle(create.volume, &create.name, create.key);
        self.admit(request, create).map(|event| event.into_iter().collect())
    }

    fn grant(&mut self, request: RequestId, grant: Grant) -> Result<(), Stop> {
        let Grant { file_id, level, action, lease, mut durable, replayable, .. } = grant;
        let (session, attempt) = match (self.returning.remove(&request), self.creates.get(&request)) {
            (Some(Returning { session, requests, attempt }), _) => {
                if requests && self.habits.answers_ignored_request {
                    durable = Some(DurableGrant::V1(DurableHandleResponse));
                }
                (session, attempt)
            }
            (None, Some(create)) => (create.origin.session, create.attempt),
            (None, None) => {
                let seq = request.get();
                return Err(Stop::Fault(format!("Granted for seq {seq}, which is no CREATE in flight")));
            }
        };
        let Some(open) = self.opens.get_mut(&file_id.persistent) else {
            return Err(Stop::Fault(format!("Granted {file_id}, which is not open")));
        };
        // Given back: the new session counts its channels anew.
        if open.file_id != file_id {
            (open.file_id, open.session) = (file_id, session);
            open.sequence = ChannelSequence::new(attempt.sequence);
        }
        open.lease = lease.map(|lease| lease.key());
        open.guid = open.guid.filter(|_| replayable);
        let (end_of_file, attributes) = self.fs.shown(open.handle);
        self.forget_create(request);
        let handle = self.known_as(request, |response| response.handle.as_ref(), |other| other == file_id);
        let same = |other: FileId| other.persistent == file_id.persistent;
        let open = self.known_as(request, |response| response.open.as_ref(), same);
        self.granted.insert(request.get(), file_id);
        let body = CreateBody { level, action, end_of_file, attributes, lease, durable, handle, open };
        let body = Body::Create(body);
        self.answer(request.get(), Status::SUCCESS, body);
        Ok(())
    }

    /// The recorded label of what a CREATE got, if it was granted before; another, if it was not, and that label was.
    fn known_as(
        &self,
        request: RequestId,
        label: impl Fn(&'t Response) -> Option<&'t String>,
        same: impl Fn(FileId) -> bool,
    ) -> Option<String> {
        let label_of = |create: &u64| self.recorded.get(create).and_then(|response| label(response));
        let known = |(create, file): (&u64, &FileId)| Some((label_of(create)?, same(*file)));
        let known: Vec<_> = self.granted.iter().filter_map(known).collect();
        let before = known.iter().find(|(_, same)| *same).map(|(label, _)| (*label).clone());
        let recorded = label_of(&request.get())?;
        before.or_else(|| {
            known.iter().any(|(label, _)| *label == recorded).then(|| "one that is new".to_owned())
        })
    }

    fn forget_create(&mut self, request: RequestId) {
        if let Some(create) = self.creates.remove(&request) {
            self.fs.settle(create.volume, &create.name, create.key);
        }
    }

    /// What a recorded handle is here.
    pub(super) fn file(&self, label: &str) -> Option<FileId> {
        let creates = self.creators.get(label)?;
        creates.iter().rev().find_map(|create| self.granted.get(create).copied())
    }

    /// The open that has that FileId now.
    pub(super) fn open(&self, file: FileId) -> Option<Open> {
        self.opens.get(&file.persistent).filter(|open| open.file_id == file).copied()
    }

    pub(super) fn answer(&mut self, request: u64, status: Status, body: Body) {
        self.uncount_request(request);
        if !self.unheard.remove(&request) {
            self.say(Said::Answer { request, status, body });
        }
    }

    pub(super) fn answer_with(&mut self, request: RequestId, result: Result<Body, Status>) {
        match result {
            Ok(body) => self.answer(request.get(), Status::SUCCESS, body),
            Err(status) => self.answer(request.get(), status, Body::Nothing),
        }
    }

    /// The status of an answer that was given.
    pub(super) fn answered(&self, seq: u64) -> Option<Status> {
        self.outputs.iter().rev().find_map(|output| match output.what {
            Said::Answer { request, status, .. } if request == seq => Some(status),
            Said::Answer { .. } | Said::Break { .. } => None,
        })
    }

    fn say(&mut self, what: Said) {
        self.outputs.push(Output { cause: self.cause, what });
    }
}

impl Stop {
    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }
}
