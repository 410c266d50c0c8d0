//! A server of one file around the machine: its data, its handles, and who asked for what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold::client::CreateReply;
use leasehold::persist::Record;
use leasehold::server::{
    self, Action, Asked, BreakId, Durability, Event, Misuse, ObjectKind, Opened, Origin, Reconnect, Server,
    Share, ShareFlags, ShareKind,
};
use leasehold::wire::DurableFlags;
use leasehold::{
    Actor, ClientGuid, ConnId, CreateAction, FileId, FileKey, Intent, RequestId, SessionId, Status, TreeId,
    UserId,
};

use super::message::{Create, Request, Response, ToClient};
use super::store::Store;
use super::{DIALECT, Host, Outcome, Todo, terms};

/// The one file. A real server looks names up, and checks access, before it asks the machine.
const FILE: FileKey = FileKey::new(0x5eed);
const TREE: TreeId = TreeId::new(5);

/// What arrives. `L` is whatever leads to a client.
pub(crate) enum Input<L> {
    /// NEGOTIATE and SESSION_SETUP are done.
    Connected {
        conn: ConnId,
        client: ClientGuid,
        session: SessionId,
        link: L,
    },
    Received {
        conn: ConnId,
        message: u64,
        request: Request,
    },
    Disconnected {
        conn: ConnId,
    },
    /// This could not be sent: its connection is of no use any more.
    Unsent(Output<L>),
    /// What a former life of the server has left, and how long ago that ended. Before everything else.
    Restart {
        records: Vec<Record>,
        elapsed: Duration,
    },
}

impl<L> Input<L> {
    /// Of a client that a small number says everything about; a real driver has all that from NEGOTIATE, SESSION_SETUP, and a counter
    /// of its connections.
    pub(crate) fn connected(number: u8, link: L) -> Self {
        let (conn, session) = (ConnId::new(number.into()), SessionId::new(number.into()));
        Self::Connected { conn, client: ClientGuid::from_wire([number; 16]), session, link }
    }
}

/// What leaves.
pub(crate) struct Output<L> {
    pub(crate) link: L,
    pub(crate) conn: ConnId,
    pub(crate) message: ToClient,
    /// Of a notification: the machine hears of it if it cannot be sent.
    break_id: Option<BreakId>,
}

pub(crate) struct FileServer<L> {
    pub(crate) data: String,
    pub(crate) share: Share,
    /// Handles of the file system, by FileId.Persistent: that half stays when an open is given back.
    pub(crate) handles: BTreeSet<u64>,
    conns: BTreeMap<ConnId, Peer<L>>,
    /// Requests that are not answered.
    asked: BTreeMap<RequestId, Pending>,
    next_request: u64,
    store: Option<Store>,
}

struct Peer<L> {
    session: SessionId,
    user: UserId,
    link: L,
}

struct Pending {
    conn: ConnId,
    message: u64,
    request: Request,
}

impl<L: Clone> FileServer<L> {
    pub(crate) fn new(data: &str, share: ShareFlags, store: Option<Store>) -> Self {
        Self {
            share: Share::new(ShareKind::Disk, share),
            data: data.into(),
            handles: BTreeSet::new(),
            conns: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_request: 0,
            store,
        }
    }

    /// The event that a request is. An error is the answer.
    fn event(&self, request: RequestId, conn: ConnId, asked: &Request) -> Result<Event, Status> {
        let peer = self.conns.get(&conn).ok_or(Status::USER_SESSION_DELETED)?;
        let origin = Origin::new(conn, peer.session, TREE);
        let operate = |file_id, intent| {
            let actor = Actor::Open(file_id);
            Event::Operate { request, origin: Some(origin), file: FILE, actor, intent }
        };
        Ok(match asked {
            Request::Create(create) => self.create(request, origin, peer.user, create)?,
            Request::Read { file_id } => operate(*file_id, Intent::Read { offset: 0, len: 1 << 16 }),
            Request::Write { file_id, text } => operate(
                *file_id,
                Intent::Write { offset: 0, len: u64::try_from(text.len()).unwrap_or(u64::MAX) },
            ),
            Request::Close { file_id } => Event::Close { request, session: peer.session, file_id: *file_id },
            Request::LeaseAck(ack) => Event::LeaseAck { request, conn, ack: *ack },
        })
    }

    /// CREATE: anew, or for an open that is there already (MS-SMB2 3.3.5.9).
    fn create(
        &self,
        request: RequestId,
        origin: Origin,
        user: UserId,
        asked: &Create,
    ) -> Result<Event, Status> {
        let lease = asked.contexts.lease;
        let again = |file_id: FileId| {
            let event = Reconnect::new(request, origin, user, file_id.persistent);
            lease.map_or(event.clone(), |lease| event.lease(lease, Some(FILE)))
        };
        let durability = match Asked::of(&asked.contexts.durable, DIALECT)? {
            Asked::Nothing => Durability::None,
            Asked::Durable => Durability::V1,
            Asked::DurableV2(dh2q) => Durability::V2 {
                timeout: dh2q.timeout,
                create_guid: dh2q.create_guid,
                persistent: dh2q.flags.contains(DurableFlags::PERSISTENT),
            },
            Asked::Reconnect(dhnc) => return Ok(Event::Reconnect(again(dhnc.file_id))),
            Asked::ReconnectV2(dh2c) => {
                let event = again(dh2c.file_id).with_guid(dh2c.create_guid).flags(dh2c.flags, self.share);
                return Ok(Event::Reconnect(event));
            }
        };
        let event = server::Create::new(request, origin, FILE)
            .access(asked.access, asked.sharing)
            .disposition(asked.disposition, asked.options)
            .caching(asked.level, lease)
            .durable(user, durability)
            .place(self.share, None);
        Ok(Event::Create(event))
    }

    /// Opens the file, overwriting it as the CREATE says. A real server does this on another thread, and says `Opened` when it is done.
    fn open(&mut self, request: RequestId, file_id: FileId) -> Result<Opened, Status> {
        let Some(Pending { request: Request::Create(create), .. }) = self.asked.get(&request) else {
            // Its client has gone.
            return Err(Status::CONNECTION_DISCONNECTED);
        };
        let overwrites = create.disposition.overwrites();
        if overwrites {
            self.data.clear();
        }
        self.handles.insert(file_id.persistent);
        let action = if overwrites { CreateAction::Overwritten } else { CreateAction::Opened };
        Ok(Opened::new(action, ObjectKind::File, 4096))
    }

    /// Reads or writes.
    fn operate(&mut self, request: RequestId) -> Result<Response, Status> {
        match self.asked.get(&request).map(|pending| &pending.request) {
            Some(Request::Read { .. }) => Ok(Response::Read { text: self.data.clone() }),
            Some(Request::Write { text, .. }) => {
                self.data.clone_from(text);
                Ok(Response::Write)
            }
            Some(Request::Create(_) | Request::Close { .. } | Request::LeaseAck(_)) => {
                Err(Status::INVALID_PARAMETER)
            }
            // Its client has gone.
            None => Err(Status::CONNECTION_DISCONNECTED),
        }
    }

    /// The last answer to a request, if whoever asked is there yet.
    fn answer(&mut self, request: RequestId, result: Result<Response, Status>, todo: &mut Todo<Self>) {
        if let Some(Pending { conn, message, .. }) = self.asked.remove(&request) {
            self.send(conn, ToClient::Answer { message, result }, None, todo);
        }
    }

    fn send(&self, conn: ConnId, message: ToClient, break_id: Option<BreakId>, todo: &mut Todo<Self>) {
        match (self.conns.get(&conn), break_id) {
            (Some(peer), _) => {
                todo.output.push_back(Output { link: peer.link.clone(), conn, message, break_id });
            }
            (None, Some(id)) => todo.events.push_back(Event::Undelivered { id, conn }),
            (None, None) => {}
        }
    }

    fn hang_up(&mut self, conn: ConnId, todo: &mut Todo<Self>) {
        if self.conns.remove(&conn).is_some() {
            self.asked.retain(|_, pending| pending.conn != conn);
            todo.events.push_back(Event::Disconnected { conn });
        }
    }
}

impl<L: Clone> Host for FileServer<L> {
    type Machine = Server;
    type Event = Event;
    type Action = Action;
    type Misuse = Misuse;
    type Input = Input<L>;
    type Output = Output<L>;

    fn receive(&mut self, input: Input<L>, todo: &mut Todo<Self>) -> Outcome {
        match input {
            Input::Connected { conn, client, session, link } => {
                // Stands for the security identifier of who has authenticated.
                let user = UserId::new(client.to_wire());
                self.conns.insert(conn, Peer { session, user, link });
                todo.events.push_back(Event::Connected { conn, client, terms: terms(self.share.flags) });
                todo.events.push_back(Event::SessionBound { conn, session });
            }
            // From before its end was noticed.
            Input::Received { conn, .. } if !self.conns.contains_key(&conn) => {}
            Input::Received { conn, message, request: asked } => {
                self.next_request = self.next_request.saturating_add(1);
                let request = RequestId::new(self.next_request);
                let event = self.event(request, conn, &asked);
                self.asked.insert(request, Pending { conn, message, request: asked });
                match event {
                    Ok(event) => todo.events.push_back(event),
                    Err(status) => self.answer(request, Err(status), todo),
                }
            }
            Input::Disconnected { conn } => self.hang_up(conn, todo),
            Input::Unsent(Output { conn, break_id, .. }) => {
                if let Some(id) = break_id {
                    todo.events.push_back(Event::Undelivered { id, conn });
                }
                self.hang_up(conn, todo);
            }
            Input::Restart { records, elapsed } => {
                for record in records {
                    // A real server opens its file, and leaves out a record whose file is gone.
                    self.handles.insert(record.persistent);
                    todo.events.push_back(Event::Restore { record: Box::new(record), elapsed });
                }
                todo.events.push_back(Event::Recovered);
            }
        }
        Ok(())
    }

    fn perform(&mut self, action: Action, todo: &mut Todo<Self>) -> Outcome {
        match action {
            // They answer events of other protocols.
            Action::Recall { .. }
            | Action::Revoked { .. }
            | Action::Repeated { .. }
            | Action::Tested { .. } => {
                return Err("nobody speaks anything but SMB here".into());
            }
            Action::OpenFile { request, file_id } => {
                let result = self.open(request, file_id);
                todo.events.push_back(Event::Opened { file_id, result });
            }
            Action::Proceed { request, ticket } => {
                let result = self.operate(request);
                let done = result.as_ref().map(|_| ()).map_err(|status| *status);
                self.answer(request, result, todo);
                todo.events.push_back(Event::Done { ticket, result: done });
            }
            Action::CloseFile { file_id, .. } => {
                if !self.handles.remove(&file_id.persistent) {
                    return Err("a handle is closed twice".into());
                }
            }
            Action::Granted { request, grant } => {
                let reply = CreateReply::new(grant.file_id, grant.level, grant.contexts());
                self.answer(request, Ok(Response::Create { action: grant.action, reply }), todo);
            }
            Action::Refused { request, status } => self.answer(request, Err(status), todo),
            Action::Closed { request } => self.answer(request, Ok(Response::Close), todo),
            Action::AnswerLeaseAck { request, result } => {
                self.answer(request, result.map(Response::LeaseAck), todo);
            }
            Action::Interim { request } => {
                if let Some(Pending { conn, message, .. }) = self.asked.get(&request) {
                    let (message, result) = (*message, Err(Status::PENDING));
                    self.send(*conn, ToClient::Answer { message, result }, None, todo);
                }
            }
            Action::SendLeaseBreak { id, conn, body, .. } => {
                self.send(conn, ToClient::Break(body), Some(id), todo);
            }
            Action::Persist { seq, change } => {
                // What rests on it is held back until `Persisted`, so a real store may work on another thread, and make many
                // changes durable at once.
                let event = match self.store.as_ref().ok_or("there is no store")?.apply(&change) {
                    Ok(()) => Event::Persisted { up_to: seq },
                    Err(_) => Event::PersistFailed { seq },
                };
                todo.events.push_back(event);
            }
            Action::SendOplockBreak { .. } | Action::AnswerOplockAck { .. } => {
                return Err("nobody has an oplock here".into());
            }
            Action::Accepted { .. } => return Err("nobody locks here".into()),
            Action::Resolve { .. } | Action::Unlink { .. } => return Err("nobody deletes here".into()),
        }
        Ok(())
    }
}
