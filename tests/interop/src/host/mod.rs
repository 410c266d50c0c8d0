//! A server machine with a file system behind it: requests with their fields go in, answers come out. It knows nothing of
//! messages, signatures, connections or users; whoever drives it does: [`serve`](crate::serve) for real clients,
//! [`replay`](crate::replay) for recorded ones.
//!
//! | file | what |
//! |---|---|
//! | `creates.rs` | CREATE: from its fields to the event, and back from the grant |
//! | `requests.rs` | requests about an open |
//! | `counting.rs` | ChannelSequence of an open |

mod counting;
mod creates;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use leasehold::persist::Change;
use leasehold::server::{
    Action, BreakId, ChannelSequence, DurableGrant, Event, LockSequences, Misuse, Origin, PersistSeq, Server,
    Share,
};
use leasehold::wire::{Lease, LeaseAck, LeaseBreak, OplockBreak};
use leasehold::{
    ClientGuid, ConnId, CreateAction, CreateGuid, Dialect, FileId, FileKey, Instant, LeaseKey, Machine as _,
    OplockLevel, RequestId, SessionId, Status, UserId,
};

use crate::fs::operations::{Operations, Outcome, Progress};
use crate::fs::{Handle, Info, MemFs, Piece, VolumeId};
pub use counting::Attempt;
use counting::Counted;
pub use creates::CreateFields;
use creates::{Pending, Returning};
use requests::Accepting;

/// A server machine, its file system, and what it has under way.
#[derive(Debug)]
pub struct Host {
    server: Server,
    fs: MemFs,
    operations: Operations,
    creates: HashMap<RequestId, Pending>,
    /// CREATEs that want an open back.
    returning: HashMap<RequestId, Returning>,
    /// By the persistent half of the FileId.
    opens: HashMap<u64, Open>,
    /// Requests that their open counts until they are answered.
    counted: HashMap<RequestId, Counted>,
    /// Requests that wait for a change in a directory: where they came from, and the directory.
    watches: HashMap<RequestId, (ConnId, FileId)>,
    /// LOCKs, and opens that are to be resilient.
    accepting: HashMap<RequestId, Accepting>,
    /// CLOSEs: what the file was like.
    closing: HashMap<RequestId, Info>,
    outputs: VecDeque<Output>,
    now: Instant,
}

/// Whence a request comes, and on what terms.
#[derive(Clone, Copy, Debug)]
pub struct Whence {
    /// Connection, session, tree connect.
    pub origin: Origin,
    /// Where the share leads.
    pub volume: VolumeId,
    /// What is special about it.
    pub share: Share,
    /// ClientGuid of the connection.
    pub client: ClientGuid,
    /// Whose session it is.
    pub user: UserId,
    /// Dialect of the connection.
    pub dialect: Dialect,
    /// SMB2_GLOBAL_CAP_MULTI_CHANNEL of the connection.
    pub multi_channel: bool,
}

/// What has to be done for the host.
#[derive(Debug)]
pub enum Output {
    /// Answer a request.
    Answer { request: RequestId, status: Status, body: Body },
    /// Say that a request waits.
    Interim(RequestId),
    /// Send a notification; say [`Host::undelivered`] if that cannot be done.
    LeaseBreak { id: BreakId, conn: ConnId, body: LeaseBreak },
    /// The same.
    OplockBreak { id: BreakId, conn: ConnId, session: SessionId, body: OplockBreak },
    /// Store a change; say [`Host::stored`].
    Persist { seq: PersistSeq, change: Change },
    /// Somebody has done what cannot be right: the machine, the file system or the host.
    Fault(String),
    /// The machine did not take an event. Where peers do as they like, what it was about may just have gone.
    NotTaken(Misuse),
}

/// What an answer has beside its status.
#[derive(Debug)]
pub enum Body {
    Nothing,
    Create(Box<Created>),
    /// What the file was like when it was closed.
    Closed(Option<Info>),
    Read(Piece),
    Written(u64),
    LeaseAck(LeaseAck),
    OplockAck(OplockBreak),
}

/// What a CREATE got.
#[derive(Debug)]
pub struct Created {
    pub file_id: FileId,
    pub action: CreateAction,
    pub level: OplockLevel,
    pub lease: Option<Lease>,
    pub durable: Option<DurableGrant>,
    pub info: Info,
}

/// An open, from the host's side.
#[derive(Debug)]
struct Open {
    /// As it was granted last: a durable open that is given back has another volatile half.
    file_id: FileId,
    handle: Handle,
    key: FileKey,
    session: SessionId,
    /// Once it is granted one.
    lease: Option<(ClientGuid, LeaseKey)>,
    /// What names its CREATE, until it is used.
    guid: Option<(ClientGuid, CreateGuid)>,
    sequence: ChannelSequence,
    /// Open.IsDurable, IsResilient or IsPersistent: lock sequences count.
    lasting: bool,
    locks: LockSequences,
}

impl Host {
    /// A server that serves this file system.
    pub fn new(server: Server, fs: MemFs) -> Self {
        Self {
            server,
            fs,
            operations: Operations::default(),
            creates: HashMap::new(),
            returning: HashMap::new(),
            opens: HashMap::new(),
            counted: HashMap::new(),
            watches: HashMap::new(),
            accepting: HashMap::new(),
            closing: HashMap::new(),
            outputs: VecDeque::new(),
            now: Instant::ZERO,
        }
    }

    /// The file system.
    pub fn fs(&mut self) -> &mut MemFs {
        &mut self.fs
    }

    /// The machine.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// How many opens and requests there are.
    pub fn left(&self) -> usize {
        let requests = [self.creates.len(), self.returning.len(), self.watches.len(), self.accepting.len()];
        self.opens.len() + self.counted.len() + self.closing.len() + requests.iter().sum::<usize>()
    }

    /// What time it is for the machine. The file system has a clock of its own.
    pub fn set_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.server.poll_timeout()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self) {
        let mut actions = Vec::new();
        self.server.handle_timeout(self.now, &mut actions);
        self.carry_out(actions);
    }

    /// What has to be done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells the machine of something and does what it wants done.
    ///
    /// # Errors
    ///
    /// [`Misuse`]: nothing was done.
    pub fn feed(&mut self, event: Event) -> Result<(), Misuse> {
        let mut actions = Vec::new();
        self.server.handle(self.now, event, &mut actions)?;
        self.carry_out(actions);
        Ok(())
    }

    /// As [`feed`](Self::feed), for what can only be wrong if the request is: it is answered so.
    fn ask(&mut self, request: RequestId, event: Event) {
        if let Err(misuse) = self.feed(event) {
            self.outputs.push_back(Output::NotTaken(misuse));
            self.forget(request);
            self.answer(request, refusal(misuse), Body::Nothing);
        }
    }

    /// As [`feed`](Self::feed), for what may have come to nothing meanwhile.
    fn tell(&mut self, event: Event) {
        if let Err(misuse) = self.feed(event) {
            self.outputs.push_back(Output::NotTaken(misuse));
        }
    }

    /// A notification could not be sent.
    pub fn undelivered(&mut self, id: BreakId, conn: ConnId) {
        self.tell(Event::Undelivered { id, conn });
    }

    /// A connection is lost. `channel` tells another one of the same session. Returns the CREATEs that go on for that one.
    pub fn disconnected(
        &mut self,
        conn: ConnId,
        channel: impl Fn(SessionId) -> Option<ConnId>,
    ) -> Vec<RequestId> {
        // Nobody waits for these any more; the machine drops them without a word.
        let (mut lost, mut moved) = (Vec::new(), Vec::new());
        for (request, create) in self.creates.iter_mut().filter(|(_, create)| create.origin().conn == conn) {
            // MS-SMB2 3.3.7.1: what can be replayed goes on as long as there is another channel to do so.
            match channel(create.origin().session).filter(|_| create.guid().is_some()) {
                Some(other) => {
                    create.move_to(other);
                    moved.push(*request);
                }
                None => lost.push(*request),
            }
        }
        lost.extend(self.returning.iter().filter(|(_, back)| back.conn == conn).map(|(request, _)| *request));
        self.watches.retain(|_, (whose, _)| *whose != conn);
        self.uncount(conn);
        let dropped = self.operations.of(conn);
        self.tell(Event::Disconnected { conn });
        for request in lost {
            self.forget(request);
        }
        for request in dropped {
            let done = self.operations.give_up(request, Status::CONNECTION_DISCONNECTED);
            self.feed_all(done);
        }
        self.accepting.retain(|_, accepting| accepting.conn != conn);
        moved
    }

    /// The store says something.
    ///
    /// # Errors
    ///
    /// [`Misuse`], if it cannot be.
    pub fn stored(&mut self, event: Event) -> Result<(), Misuse> {
        self.feed(event)
    }

    fn feed_all(&mut self, events: Vec<Event>) {
        for event in events {
            self.tell(event);
        }
    }

    /// Carries out actions in order. What follows from one is carried out behind those that are there already.
    fn carry_out(&mut self, actions: Vec<Action>) {
        let mut due = VecDeque::from(actions);
        let mut more = Vec::new();
        while let Some(action) = due.pop_front() {
            for event in self.perform(action) {
                // What the machine asked for may have come to nothing by an event before this one.
                if let Err(misuse) = self.server.handle(self.now, event, &mut more) {
                    self.outputs.push_back(Output::NotTaken(misuse));
                }
                due.extend(more.drain(..));
            }
        }
    }

    /// Carries out one action. Returns what the machine has to hear of it.
    fn perform(&mut self, action: Action) -> Vec<Event> {
        match action {
            Action::OpenFile { request, file_id } => return vec![self.open_file(request, file_id)],
            Action::Resolve { request } => return self.resolve(request),
            Action::Proceed { request, ticket } => {
                return match self.operations.proceed(&mut self.fs, request, ticket) {
                    Some(progress) => self.progress(request, progress),
                    None => {
                        self.fault(format!("Proceed for {request:?}, which is no operation in flight"));
                        vec![Event::Done { ticket, result: Err(Status::CANCELLED) }]
                    }
                };
            }
            Action::Granted { request, grant } => self.granted(request, grant),
            Action::Refused { request, status } => {
                self.forget(request);
                self.answer(request, status, Body::Nothing);
                return self.operations.give_up(request, status);
            }
            Action::Closed { request } => {
                let info = self.closing.remove(&request);
                self.answer(request, Status::SUCCESS, Body::Closed(info));
            }
            Action::Accepted { request } => {
                self.accepted(request);
                self.answer(request, Status::SUCCESS, Body::Nothing);
            }
            Action::AnswerLeaseAck { request, result } => {
                self.answer_with(request, result.map(Body::LeaseAck));
            }
            Action::AnswerOplockAck { request, result } => {
                self.answer_with(request, result.map(Body::OplockAck));
            }
            Action::Interim { request } => self.outputs.push_back(Output::Interim(request)),
            Action::SendLeaseBreak { id, conn, body, .. } => {
                self.outputs.push_back(Output::LeaseBreak { id, conn, body });
            }
            Action::SendOplockBreak { id, conn, session, body, .. } => {
                self.outputs.push_back(Output::OplockBreak { id, conn, session, body });
            }
            Action::Persist { seq, change } => self.outputs.push_back(Output::Persist { seq, change }),
            other @ (Action::Recall { .. }
            | Action::Revoked { .. }
            | Action::Repeated { .. }
            | Action::Tested { .. }) => {
                self.fault(format!("{other:?}, and nobody speaks anything but SMB"));
            }
            // Files are opened at once here, so no open can come to nothing behind the last close.
            Action::Unlink { file } => {
                self.fault(format!("Unlink of {file:?}, and no file was being opened"))
            }
            Action::CloseFile { file_id, link } => {
                let closed = match self.opens.remove(&file_id.persistent) {
                    Some(open) => self.fs.close(open.handle, link),
                    None => Err("it is not open".to_owned()),
                };
                if let Err(why) = closed {
                    self.fault(format!("CloseFile of {file_id}: {why}"));
                }
                self.end_watches(file_id);
            }
        }
        Vec::new()
    }

    /// An operation has come as far as it can: it asks something, or it has ended.
    fn progress(&mut self, request: RequestId, progress: Progress) -> Vec<Event> {
        match progress {
            Progress::Ask(event) => vec![event],
            Progress::Ended { result, done } => {
                let body = result.map(|outcome| match outcome {
                    Outcome::Nothing => Body::Nothing,
                    Outcome::Read { data, unknown, .. } => Body::Read(Piece { octets: data, unknown }),
                    Outcome::Written(count) => Body::Written(count),
                });
                self.answer_with(request, body);
                done
            }
        }
    }

    fn answer(&mut self, request: RequestId, status: Status, body: Body) {
        self.answered(request);
        self.outputs.push_back(Output::Answer { request, status, body });
    }

    fn answer_with(&mut self, request: RequestId, result: Result<Body, Status>) {
        match result {
            Ok(body) => self.answer(request, Status::SUCCESS, body),
            Err(status) => self.answer(request, status, Body::Nothing),
        }
    }

    fn fault(&mut self, what: String) {
        self.outputs.push_back(Output::Fault(what));
    }

    /// A request has come to nothing.
    fn forget(&mut self, request: RequestId) {
        self.forget_create(request);
        self.returning.remove(&request);
        self.closing.remove(&request);
        self.accepting.remove(&request);
    }

    /// The open that has that FileId now, on that session (MS-SMB2 3.3.5.10 and the section of each command).
    fn open(&self, session: SessionId, file_id: FileId) -> Result<&Open, Status> {
        let open = self.opens.get(&file_id.persistent);
        open.filter(|open| open.file_id == file_id && open.session == session).ok_or(Status::FILE_CLOSED)
    }
}

/// What a client hears of a request that the machine does not take.
fn refusal(misuse: Misuse) -> Status {
    match misuse {
        Misuse::UnknownSession => Status::USER_SESSION_DELETED,
        _ => Status::INSUFFICIENT_RESOURCES,
    }
}
