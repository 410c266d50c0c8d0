//! A client with a cache of one page around the machine: what is cached, what is dirty, and who asked for what.

use std::collections::BTreeMap;

use leasehold::client::{
    AckId, Action, Client, CreateReply, Event, FileRef, Misuse, OpenRef, Opening, PreviousSession, Want,
};
use leasehold::server::ShareFlags;
use leasehold::wire::RequestContexts;
use leasehold::{
    Access, ConnId, CreateGuid, CreateOptions, FileId, LeaseKey, LeaseState, OplockLevel, RequestId,
    SessionId, ShareMode, Status,
};

use super::application::{Answer, Call, Promise, Source};
use super::message::{Create, Request, Response, ToClient};
use super::{Host, Outcome, Todo, terms};

/// The one name. A real client has one for each path.
pub(crate) const PAGE: FileRef = FileRef::new(1);

/// What arrives. `R` is whatever takes the answer to the application.
pub(crate) enum Input<R> {
    /// NEGOTIATE, SESSION_SETUP and TREE_CONNECT are done; the second named the session before as PreviousSessionId.
    Connected {
        conn: ConnId,
        session: SessionId,
        share: ShareFlags,
    },
    Disconnected {
        conn: ConnId,
    },
    Received(ToClient),
    /// The application wants something.
    Call(Call, R),
}

impl<R> Input<R> {
    /// The end of a client of [`server::Input::connected`](super::server::Input::connected).
    pub(crate) fn connected(number: u8) -> Self {
        let (conn, session) = (ConnId::new(number.into()), SessionId::new(number.into()));
        Self::Connected { conn, session, share: ShareFlags::empty() }
    }
}

/// What leaves.
pub(crate) enum Output<R> {
    Send {
        conn: ConnId,
        message: u64,
        request: Request,
    },
    Answer(R, Result<Answer, Status>),
    /// For the reader of the example.
    Note(String),
}

pub(crate) struct CachingClient<R> {
    key: LeaseKey,
    /// What is said of the page.
    allowed: LeaseState,
    page: Option<String>,
    dirty: bool,
    conn: Option<ConnId>,
    share: ShareFlags,
    opens: BTreeMap<OpenRef, Open>,
    /// Opens that the machine has not answered.
    opening: BTreeMap<RequestId, (Opening, R)>,
    /// Requests that the server has not answered, by MessageId.
    sent: BTreeMap<u64, Sent<R>>,
    serial: u64,
}

/// A reconnect says again what the CREATE said.
struct Open {
    asked: Opening,
    file_id: Option<FileId>,
}

impl Open {
    /// The connection was lost under its CLOSE: what outlives the server is asked for again, to be closed.
    fn may_be_back(&self) -> bool {
        self.asked.share.contains(ShareFlags::CONTINUOUSLY_AVAILABLE)
    }
}

enum Sent<R> {
    Create(OpenRef),
    Reconnect(OpenRef),
    Close(OpenRef),
    Ack(AckId),
    Flush,
    Write(R),
    Read { reply: R, fills: Fills },
}

/// What becomes of the answer to a READ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fills {
    Cache,
    /// It may be older than what was told since.
    Nothing,
}

impl<R> CachingClient<R> {
    /// `key` is random, as every lease key.
    pub(crate) fn new(key: LeaseKey) -> Self {
        Self {
            key,
            allowed: LeaseState::NONE,
            page: None,
            dirty: false,
            conn: None,
            share: ShareFlags::empty(),
            opens: BTreeMap::new(),
            opening: BTreeMap::new(),
            sent: BTreeMap::new(),
            serial: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.serial = self.serial.saturating_add(1);
        self.serial
    }

    // ---- what the application wants ------------------------------------------------------------------------------

    fn call(&mut self, call: Call, reply: R, todo: &mut Todo<Self>) {
        match call {
            Call::Open { want, disposition, promise } => {
                let request = RequestId::new(self.next());
                let opening = Opening::new(request, PAGE, self.key)
                    .want(Want::State(want))
                    .access(Access::READ_DATA | Access::WRITE_DATA, ShareMode::ALL)
                    .disposition(disposition, CreateOptions::NON_DIRECTORY_FILE)
                    .share(self.share);
                let opening = match promise {
                    Promise::Nothing => opening,
                    Promise::Durable => opening.durable(self.create_guid(request)),
                };
                self.opening.insert(request, (opening, reply));
                todo.events.push_back(Event::Open(opening));
            }
            Call::Read(open) => self.read(open, reply, todo),
            Call::Write(open, text) => self.write(open, text, reply, todo),
            Call::Release(open) => {
                // Of one that was lost, nothing is left to release.
                if self.opens.contains_key(&open) {
                    todo.events.push_back(Event::Release { open });
                }
                todo.output.push_back(Output::Answer(reply, Ok(Answer::Released)));
            }
        }
    }

    /// Stands for sixteen random octets.
    fn create_guid(&self, request: RequestId) -> CreateGuid {
        let number = u128::from_le_bytes(self.key.octets()) ^ u128::from(request.get());
        CreateGuid::from_wire(number.to_le_bytes())
    }

    fn read(&mut self, open: OpenRef, reply: R, todo: &mut Todo<Self>) {
        match self.page.clone().filter(|_| self.allowed.contains(LeaseState::READ)) {
            Some(text) => {
                todo.output.push_back(Output::Answer(reply, Ok(Answer::Text(text, Source::Cache))));
            }
            None => match self.handle(open) {
                Ok((conn, file_id)) => {
                    let sent = Sent::Read { reply, fills: Fills::Cache };
                    self.send(conn, Request::Read { file_id }, sent, todo);
                }
                Err(status) => todo.output.push_back(Output::Answer(reply, Err(status))),
            },
        }
    }

    fn write(&mut self, open: OpenRef, text: String, reply: R, todo: &mut Todo<Self>) {
        if self.allowed.contains(LeaseState::WRITE) {
            (self.page, self.dirty) = (Some(text), true);
            return todo.output.push_back(Output::Answer(reply, Ok(Answer::Written(Source::Cache))));
        }
        match self.handle(open) {
            Ok((conn, file_id)) => {
                self.outdate();
                self.page = Some(text.clone()).filter(|_| self.allowed.contains(LeaseState::READ));
                self.send(conn, Request::Write { file_id, text }, Sent::Write(reply), todo);
            }
            Err(status) => todo.output.push_back(Output::Answer(reply, Err(status))),
        }
    }

    fn handle(&self, open: OpenRef) -> Result<(ConnId, FileId), Status> {
        let conn = self.conn.ok_or(Status::CONNECTION_DISCONNECTED)?;
        let file_id = self.opens.get(&open).and_then(|open| open.file_id).ok_or(Status::FILE_CLOSED)?;
        Ok((conn, file_id))
    }

    // ---- what the server says ------------------------------------------------------------------------------------

    fn answered(&mut self, message: u64, result: Result<Response, Status>, todo: &mut Todo<Self>) -> Outcome {
        match self.sent.remove(&message).ok_or("an answer to nothing")? {
            Sent::Create(open) => {
                let result = self.created(open, result);
                if result.is_err() {
                    self.opens.remove(&open);
                }
                todo.events.push_back(Event::Created { open, result });
            }
            Sent::Reconnect(open) => {
                let result = self.created(open, result);
                todo.events.push_back(Event::Reconnected { open, result });
            }
            Sent::Close(open) => {
                self.opens.remove(&open);
                todo.events.push_back(Event::Closed { open });
            }
            Sent::Ack(ack) => todo.events.push_back(Event::AckAnswered { ack, result: result.map(|_| ()) }),
            Sent::Flush => {
                // A real client tells the application of a write that has failed: nobody tries it again.
                self.dirty = false;
                todo.events.push_back(Event::Flushed { file: PAGE });
            }
            Sent::Write(reply) => {
                if result.is_err() {
                    self.page = None;
                }
                let result = result.map(|_| Answer::Written(Source::Server));
                todo.output.push_back(Output::Answer(reply, result));
            }
            Sent::Read { reply, fills } => {
                let result = match result {
                    Ok(Response::Read { text }) => Ok(Answer::Text(self.fill(text, fills), Source::Server)),
                    Ok(_) => Err(Status::INVALID_NETWORK_RESPONSE),
                    Err(status) => Err(status),
                };
                todo.output.push_back(Output::Answer(reply, result));
            }
        }
        Ok(())
    }

    fn created(&mut self, open: OpenRef, result: Result<Response, Status>) -> Result<CreateReply, Status> {
        let Ok(Response::Create { reply, .. }) = result else {
            return Err(result.err().unwrap_or(Status::INVALID_NETWORK_RESPONSE));
        };
        if let Some(open) = self.opens.get_mut(&open) {
            open.file_id = Some(reply.file_id);
        }
        Ok(reply)
    }

    fn fill(&mut self, text: String, fills: Fills) -> String {
        if fills == Fills::Cache && self.allowed.contains(LeaseState::READ) {
            self.page = Some(text.clone());
        }
        text
    }

    /// What READs under way bring may be older than what is known now.
    fn outdate(&mut self) {
        for sent in self.sent.values_mut() {
            if let Sent::Read { fills, .. } = sent {
                *fills = Fills::Nothing;
            }
        }
    }

    /// Nobody answers any more. The machine knows what that means for its own requests; what could not be written back is dirty still.
    fn hung_up(&mut self, todo: &mut Todo<Self>) {
        self.conn = None;
        for sent in std::mem::take(&mut self.sent).into_values() {
            match sent {
                Sent::Create(_) | Sent::Reconnect(_) | Sent::Ack(_) => {}
                Sent::Close(open) => self.opens.retain(|other, about| *other != open || about.may_be_back()),
                Sent::Flush => todo.events.push_back(Event::Flushed { file: PAGE }),
                Sent::Write(reply) | Sent::Read { reply, .. } => {
                    todo.output.push_back(Output::Answer(reply, Err(Status::CONNECTION_DISCONNECTED)));
                }
            }
        }
    }

    // ---- what the machine wants ----------------------------------------------------------------------------------

    fn create(
        &mut self,
        conn: ConnId,
        asked: Opening,
        level: OplockLevel,
        contexts: RequestContexts,
        sent: Sent<R>,
        todo: &mut Todo<Self>,
    ) {
        let Opening { access, sharing, disposition, options, .. } = asked;
        let create = Create { access, sharing, disposition, options, level, contexts };
        self.send(conn, Request::Create(create), sent, todo);
    }

    fn flush(&mut self, todo: &mut Todo<Self>) {
        let handle = self.opens.values().find_map(|open| open.file_id);
        match (self.page.clone().filter(|_| self.dirty), handle, self.conn) {
            (Some(text), Some(file_id), Some(conn)) => {
                todo.output.push_back(Output::Note(format!("writes back {text:?}")));
                self.send(conn, Request::Write { file_id, text }, Sent::Flush, todo);
            }
            (None, ..) | (_, None, _) | (.., None) => {
                todo.events.push_back(Event::Flushed { file: PAGE });
            }
        }
    }

    fn send(&mut self, conn: ConnId, request: Request, sent: Sent<R>, todo: &mut Todo<Self>) {
        let message = self.next();
        self.sent.insert(message, sent);
        todo.output.push_back(Output::Send { conn, message, request });
    }
}

impl<R> Host for CachingClient<R> {
    type Machine = Client;
    type Event = Event;
    type Action = Action;
    type Misuse = Misuse;
    type Input = Input<R>;
    type Output = Output<R>;

    fn receive(&mut self, input: Input<R>, todo: &mut Todo<Self>) -> Outcome {
        match input {
            Input::Connected { conn, session, share } => {
                (self.conn, self.share) = (Some(conn), share);
                let (previous, terms) = (PreviousSession::Ended, terms(share));
                todo.events.push_back(Event::Connected { conn, session, previous, terms });
            }
            // Noticed before: sending and receiving find out one by one.
            Input::Disconnected { conn } if self.conn != Some(conn) => {}
            Input::Disconnected { conn } => {
                todo.events.push_back(Event::Disconnected { conn });
                self.hung_up(todo);
            }
            // From before its end was noticed.
            Input::Received(_) if self.conn.is_none() => {}
            Input::Received(ToClient::Break(body)) => todo.events.push_back(Event::LeaseBroken { body }),
            Input::Received(ToClient::Answer { result: Err(Status::PENDING), .. }) => {}
            Input::Received(ToClient::Answer { message, result }) => self.answered(message, result, todo)?,
            Input::Call(call, reply) => self.call(call, reply, todo),
        }
        Ok(())
    }

    fn perform(&mut self, action: Action, todo: &mut Todo<Self>) -> Outcome {
        let mut note = |text: String| todo.output.push_back(Output::Note(text));
        match action {
            Action::SendCreate { request, open, conn, level, contexts, .. } => {
                let (asked, _) = self.opening.get(&request).ok_or("a CREATE for nobody")?;
                let asked = *asked;
                self.opens.insert(open, Open { asked, file_id: None });
                self.create(conn, asked, level, contexts, Sent::Create(open), todo);
            }
            Action::SendReconnect { open, conn, level, contexts } => {
                let asked = self.opens.get(&open).ok_or("a reconnect of nothing")?.asked;
                self.create(conn, asked, level, contexts, Sent::Reconnect(open), todo);
            }
            Action::SendClose { open, conn, file_id } => {
                if let Some(closing) = self.opens.get_mut(&open) {
                    closing.file_id = None;
                }
                self.send(conn, Request::Close { file_id }, Sent::Close(open), todo);
            }
            Action::SendLeaseAck { ack, conn, body, .. } => {
                self.send(conn, Request::LeaseAck(body), Sent::Ack(ack), todo);
            }
            Action::Allow { state, .. } => {
                self.allowed = state;
                note(format!("may cache {state}"));
            }
            Action::Flush { .. } => self.flush(todo),
            Action::Purge { file } => {
                if std::mem::take(&mut self.dirty) {
                    note(format!("loses what was not written back: {:?}", self.page));
                }
                self.page = None;
                self.outdate();
                todo.events.push_back(Event::Purged { file });
            }
            Action::Ready { request, open, .. } => {
                let (_, reply) = self.opening.remove(&request).ok_or("an open for nobody")?;
                todo.output.push_back(Output::Answer(reply, Ok(Answer::Opened(open))));
            }
            Action::Failed { request, status } => {
                let (_, reply) = self.opening.remove(&request).ok_or("a failure for nobody")?;
                todo.output.push_back(Output::Answer(reply, Err(status)));
            }
            Action::Away { .. } => {
                let kept = if self.dirty { "an open, and what is dirty" } else { "an open" };
                note(format!("waits for a connection, and keeps {kept}"));
            }
            Action::Regained { .. } => note("has the open back".into()),
            Action::Lost { open, reason, status, held } => {
                self.opens.remove(&open);
                note(format!("has lost an open: {reason:?}, {status}; it could cache {held}"));
            }
            Action::Persist { .. } | Action::Restored { .. } => return Err("this client has no store".into()),
            Action::RenewSession { .. } => return Err("no session ends before its connection here".into()),
            Action::SendOplockAck { .. } => return Err("nobody has an oplock here".into()),
        }
        Ok(())
    }
}
