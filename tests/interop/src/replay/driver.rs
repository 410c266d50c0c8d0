//! Feeds a recording to a [`Host`] and writes down what comes of it.
//!
//! The recording is the network, and nothing takes time but what the recording says. Answers and notifications are written
//! down beside the event that brought them about.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{BreakId, Config, DurableGrant, Event, Misuse, RouteSeed, Server};
use leasehold::wire::{DurableHandleResponse, Lease, LeaseAck, LeaseBreak, OplockBreak};
use leasehold::{ClientGuid, ConnId, CreateAction, FileId, HashKey, Instant, OplockLevel, RequestId, Status};

use super::peers::Peers;
use super::profiles::Habits;
use super::requests::Chain;
use super::response::Response;
use super::trace::{self, Moment, Trace};
use crate::fs::MemFs;
use crate::host::{self, Created, Host};

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

#[derive(Debug)]
pub(super) struct Driver<'t> {
    pub(super) trace: &'t Trace,
    /// The recorded answer of each request.
    pub(super) recorded: BTreeMap<u64, &'t Response>,
    /// The CREATEs that each handle came from.
    creators: BTreeMap<&'t str, Vec<u64>>,
    pub(super) peers: Peers,
    pub(super) host: Host,
    /// CREATEs that go on although nobody hears of it: the connection on which they came is lost, the session has others.
    unheard: BTreeSet<u64>,
    /// CREATEs that want an open back, with a DHnQ that is ignored.
    pub(super) ignored: BTreeSet<u64>,
    /// What each CREATE got.
    pub(super) granted: BTreeMap<u64, FileId>,
    /// The compound that each connection is in.
    pub(super) chains: BTreeMap<String, Chain>,
    habits: Habits,
    cause: Cause,
    outputs: Vec<Output>,
}

/// Feeds a recording to a server.
pub(super) fn play(trace: &Trace, habits: Habits) -> Play {
    let mut driver = Driver::new(trace, habits);
    let begun = driver.host.stored(Event::Recovered).map_err(Stop::Misuse).and_then(|()| driver.drain());
    if let Err(stop) = begun {
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
            host: Host::new(Server::new(config), MemFs::default()),
            unheard: BTreeSet::new(),
            ignored: BTreeSet::new(),
            granted: BTreeMap::new(),
            chains: BTreeMap::new(),
            habits,
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
                let done = self.request(line.seq, conn, request);
                self.drain().and(done)
            }
            trace::Event::Interim(_) | trace::Event::Response(_) | trace::Event::Break(_) => Ok(()),
            trace::Event::Unknown(name) => Err(Stop::unsupported(format!("event {name}"))),
        }
    }

    fn happens(&mut self, line: &trace::Line) {
        self.cause = Cause { after: line.seq, at: line.at, deadline: false };
        self.host.set_time(Instant::from_millis(line.at.as_millis()));
    }

    /// Expires every deadline up to a moment, each at its own time.
    fn pass_time(&mut self, until: Moment) -> Result<(), Stop> {
        let mut before = None;
        while let Some(due) = self.host.poll_timeout().filter(|due| due.as_millis() <= until.as_millis()) {
            if before == Some(due) {
                return Err(Stop::Fault(format!(
                    "a deadline at {} ms that does not go away",
                    due.as_millis()
                )));
            }
            before = Some(due);
            self.host.set_time(due);
            let at = self.cause.at.max(Moment::from_millis(due.as_millis()));
            self.cause = Cause { at, deadline: true, ..self.cause };
            self.host.handle_timeout();
            self.drain()?;
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
        let anomalies = self.host.server().stats().anomalies;
        if anomalies > 0 {
            return Ok(Some(format!("{anomalies} anomalies counted")));
        }
        let left = self.host.left();
        if deserted && left > 0 {
            return Ok(Some(format!("{left} opens and requests left")));
        }
        Ok((deserted && !self.host.server().idle()).then(|| "not idle after everybody has gone".to_owned()))
    }

    fn disconnect(&mut self, conn: &str) -> Result<(), Stop> {
        let id = self.peers.conn_id(conn);
        let known = self.peers.disconnect(conn);
        self.chains.remove(conn);
        if known {
            let moved = self.host.disconnected(id, |session| self.peers.channel(session));
            self.unheard.extend(moved.into_iter().map(RequestId::get));
        }
        self.drain()
    }

    /// Tells the machine of an event.
    pub(super) fn feed(&mut self, event: Event) -> Result<(), Stop> {
        self.host.feed(event).map_err(Stop::Misuse)
    }

    /// Writes down what the server says, and does what else it wants done.
    fn drain(&mut self) -> Result<(), Stop> {
        while let Some(output) = self.host.next_output() {
            match output {
                host::Output::Answer { request, status, body } => {
                    let body = self.body(request, body);
                    self.say_answer(request, status, body);
                }
                // Whether and when it was sent depends on time: not judged.
                host::Output::Interim(_) => {}
                host::Output::LeaseBreak { id, conn, body } => self.notify(id, conn, Notice::Lease(body)),
                host::Output::OplockBreak { id, conn, body, .. } => {
                    let notice = Notice::Oplock(self.oplock_notice(body));
                    self.notify(id, conn, notice);
                }
                // The store of a recording is as fast as its disk.
                host::Output::Persist { seq, .. } => {
                    self.host.stored(Event::Persisted { up_to: seq }).map_err(Stop::Misuse)?;
                }
                host::Output::Fault(what) => return Err(Stop::Fault(what)),
                host::Output::NotTaken(misuse) => return Err(Stop::Misuse(misuse)),
            }
        }
        Ok(())
    }

    /// What is compared of the body of an answer.
    fn body(&mut self, request: RequestId, body: host::Body) -> Body {
        match body {
            host::Body::Nothing | host::Body::Closed(_) => Body::Nothing,
            host::Body::Create(created) => Body::Create(self.created(request, *created)),
            host::Body::Read(piece) => Body::Read { length: piece.octets.len() as u64, data: piece.known() },
            host::Body::Written(count) => Body::Write { count },
            host::Body::LeaseAck(ack) => Body::Ack(ack),
            host::Body::OplockAck(ack) => Body::OplockAck(self.oplock_notice(ack)),
        }
    }

    /// Sends a notification, or says that it cannot be sent.
    fn notify(&mut self, id: BreakId, conn: ConnId, notice: Notice) {
        let Some(label) = self.peers.conn_of(conn) else {
            return self.host.undelivered(id, conn);
        };
        let client = self.peers.client_of(label);
        self.say(Said::Break { client, notice });
    }

    fn oplock_notice(&self, body: OplockBreak) -> OplockNotice {
        let create = self.granted.iter().find(|(_, file)| **file == body.file_id).map(|(create, _)| create);
        let recorded = create.and_then(|create| self.recorded.get(create));
        let handle = recorded.and_then(|response| response.handle.clone());
        OplockNotice { level: body.level.to_wire(), handle }
    }

    fn created(&mut self, request: RequestId, created: Created) -> CreateBody {
        let Created { file_id, action, level, lease, mut durable, info } = created;
        if self.habits.answers_ignored_request && self.ignored.contains(&request.get()) {
            durable = Some(DurableGrant::V1(DurableHandleResponse));
        }
        let (end_of_file, attributes) = (info.facts.end_of_file, info.facts.attributes);
        let handle = self.known_as(request, |response| response.handle.as_ref(), |other| other == file_id);
        let same = |other: FileId| other.persistent == file_id.persistent;
        let open = self.known_as(request, |response| response.open.as_ref(), same);
        self.granted.insert(request.get(), file_id);
        CreateBody { level, action, end_of_file, attributes, lease, durable, handle, open }
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

    /// What a recorded handle is here.
    pub(super) fn file(&self, label: &str) -> Option<FileId> {
        let creates = self.creators.get(label)?;
        creates.iter().rev().find_map(|create| self.granted.get(create).copied())
    }

    /// Answers a request that the host has nothing to do with, or no more.
    pub(super) fn answer(&mut self, request: RequestId, status: Status) {
        self.host.answered(request);
        self.say_answer(request, status, Body::Nothing);
    }

    fn say_answer(&mut self, request: RequestId, status: Status, body: Body) {
        let request = request.get();
        if !self.unheard.remove(&request) {
            self.say(Said::Answer { request, status, body });
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
