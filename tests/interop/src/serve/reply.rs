//! Answers, interim answers and notifications.

use leasehold::server::BreakId;
use leasehold::wire::{
    ContextWriter, CreateResponse, Fixed as _, Header, HeaderFlags, LeaseBreak, OplockBreak,
    ResponseContexts, Route,
};
use leasehold::{ConnId, FileId, RequestId, SessionId, Status, TreeId};

use super::compound::Chain;
use super::session::{ALL_ACCESS, MORE_PROCESSING_REQUIRED};
use super::{Engine, OUT_OF_REACH, Sent};
use crate::fs::Info;
use crate::host::{Body, Created};
use crate::smb::frame;
use crate::smb::request::Command;
use crate::smb::response::{Attributes, Response};
use crate::smb::signing::SigningKey;

/// SMB2_CREATE_ALLOCATION_SIZE (MS-SMB2 2.2.13.2.6)
pub(super) const ALSI: &[u8] = b"AlSi";
/// SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST and its response (MS-SMB2 2.2.13.2.5)
pub(super) const MXAC: &[u8] = b"MxAc";
/// SMB2_CREATE_QUERY_ON_DISK_ID (MS-SMB2 2.2.13.2.9)
pub(super) const QFID: &[u8] = b"QFid";
/// Room for the create contexts of an answer, in octets.
const CONTEXTS: usize = 512;
/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) conn: ConnId,
    /// Those of the header, or of the request to which it is related.
    pub(super) session: SessionId,
    pub(super) tree: TreeId,
    pub(super) header: Header,
    pub(super) command: Command,
    /// What it was signed with, and its answer has to be.
    pub(super) key: Option<SigningKey>,
    /// How long its message is, in octets.
    pub(super) len: usize,
    /// Once an interim answer has been sent.
    pub(super) async_id: Option<u64>,
    /// What comes behind it in its compound.
    pub(super) chain: Option<Box<Chain>>,
    pub(super) want: Want,
}

/// An answer that is about to go out.
#[derive(Debug)]
pub(super) struct Answer {
    octets: Vec<u8>,
    /// What it is signed with.
    key: Option<SigningKey>,
    hashed: Option<Hashed>,
}

/// Whose PreauthIntegrityHashValue an answer goes into.
#[derive(Clone, Copy, Debug)]
enum Hashed {
    ForConnection,
    ForSession(SessionId),
}

impl Answer {
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }
}

impl From<Vec<u8>> for Answer {
    /// One that is not signed.
    fn from(octets: Vec<u8>) -> Self {
        Self { octets, key: None, hashed: None }
    }
}

/// What the answer has to have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    /// What its command has.
    Plain,
    /// The create contexts that the client asked for.
    Contexts { maximal_access: bool, disk_id: bool },
    /// What names the control.
    Ioctl { code: u32, file_id: FileId },
}

impl Engine {
    /// The host has an answer.
    pub(super) fn answer_host(&mut self, request: RequestId, status: Status, body: Body) {
        let Some(asked) = self.asked.get(&request) else { return };
        let (command, want) = (asked.command, asked.want);
        let mut contexts = [0; CONTEXTS];
        let response = match body {
            Body::Create(created) => match answer_create(&created, want, &mut contexts) {
                Some(response) => response,
                None => return self.answer(request, Status::INSUFFICIENT_RESOURCES, error()),
            },
            Body::Closed(info) if command == Command::Close => {
                Response::Close(info.map(|info| attributes(&info)))
            }
            Body::Read(piece) => Response::Read(piece.octets),
            Body::Written(count) => Response::Write(u32::try_from(count).unwrap_or(u32::MAX)),
            Body::LeaseAck(ack) => Response::LeaseAck(ack),
            Body::OplockAck(ack) => Response::OplockBreak(ack),
            Body::Nothing | Body::Closed(_) => match (command, want) {
                _ if status.to_wire() >> 30 != 0 => error(),
                (Command::SetInfo, _) => Response::SetInfo,
                (Command::ChangeNotify, _) => Response::Output(Vec::new()),
                (_, Want::Ioctl { code, file_id }) => ioctl(code, file_id, Vec::new()),
                _ => Response::Empty,
            },
        };
        self.answer(request, status, response);
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, request: RequestId, status: Status, response: Response<'_>) {
        let Some(mut asked) = self.asked.remove(&request) else { return };
        self.host.answered(request);
        let answer = self.encode(&asked, status, &response);
        let file = match &response {
            Response::Create(created) => Some(Ok(created.file_id)),
            Response::Error { .. } if asked.command == Command::Create => Some(Err(status)),
            _ => None,
        };
        let running = self.current.as_mut().filter(|chain| chain.running == Some(request));
        if let Some(chain) = running {
            chain.file = file.unwrap_or(chain.file);
            chain.session = asked.session;
            chain.tree = asked.tree;
            chain.push(answer);
        } else if let Some(mut chain) = asked.chain.take() {
            chain.file = file.unwrap_or(chain.file);
            chain.push(answer);
            self.resumed.push_back(*chain);
        } else {
            self.send(asked.conn, vec![answer]);
        }
    }

    /// Header and body of an answer.
    fn encode(&mut self, asked: &Asked, status: Status, response: &Response<'_>) -> Answer {
        let Asked { conn, session, tree, header, key, len, async_id, command, .. } = *asked;
        let key = match command {
            // The answer that makes a session is signed, whatever its request was (MS-SMB2 3.3.4.1.1).
            Command::SessionSetup if status == Status::SUCCESS => {
                self.sessions.get(&session).and_then(|session| session.key(conn)).copied()
            }
            _ => key,
        };
        let hashed = match command {
            Command::Negotiate => Some(Hashed::ForConnection),
            Command::SessionSetup if status == MORE_PROCESSING_REQUIRED => Some(Hashed::ForSession(session)),
            _ => None,
        };
        let mut octets = Vec::with_capacity(256);
        let Some(known) = self.conns.get_mut(&conn) else { return Answer { octets, key, hashed } };
        known.by_message.remove(&header.message_id);
        known.waiting = known.waiting.saturating_sub(len);
        async_id.map(|id| known.by_async.remove(&id));
        // What an interim answer has granted is granted.
        let credits = if async_id.is_some() { 0 } else { known.window.grant(header.credits) };
        let mut head = answer_header(&header, status, credits, session);
        head.route = match async_id {
            Some(id) => Route::Async { id },
            None => Route::Sync { reserved: reserved(&header), tree },
        };
        head.encode(&mut octets);
        if response.encode(&mut octets).is_err() {
            octets.truncate(Header::LEN);
            let _ = error().encode(&mut octets);
        }
        Answer { octets, key, hashed }
    }

    /// Sends answers in one message: chained, signed and hashed.
    pub(super) fn send(&mut self, conn: ConnId, mut answers: Vec<Answer>) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let Some(last) = answers.len().checked_sub(1) else { return };
        for (index, Answer { octets, key, hashed }) in answers.iter_mut().enumerate() {
            // Another one follows, at a multiple of eight (MS-SMB2 3.3.4.1.3).
            if index < last {
                octets.resize(octets.len().next_multiple_of(8), 0);
                let next = u32::try_from(octets.len()).unwrap_or(0).to_le_bytes();
                if let Some(field) = octets.get_mut(20..24) {
                    field.copy_from_slice(&next);
                }
            }
            if let Some(key) = key {
                key.sign(octets);
            }
            // PreauthIntegrityHashValue: all that goes out until a session is there (MS-SMB2 3.3.5.4, 3.3.5.5).
            match hashed {
                Some(Hashed::ForConnection) => known.preauth.update(octets),
                Some(Hashed::ForSession(session)) => {
                    if let Some(signing_in) = known.signing_in.get_mut(session) {
                        signing_in.preauth.update(octets);
                    }
                }
                None => {}
            }
        }
        let len = answers.iter().map(|answer| answer.octets.len()).sum();
        let mut message = Vec::with_capacity(4 + len);
        message.extend(frame::head(len));
        answers.iter().for_each(|answer| message.extend_from_slice(&answer.octets));
        self.sent.push_back(Sent::Message(conn, message));
    }

    /// Says that a request waits (MS-SMB2 3.3.4.2).
    pub(super) fn interim(&mut self, request: RequestId) {
        let id = self.number();
        let Some(asked) = self.asked.get_mut(&request).filter(|asked| asked.async_id.is_none()) else {
            return;
        };
        let Some(conn) = self.conns.get_mut(&asked.conn) else { return };
        asked.async_id = Some(id);
        conn.by_async.insert(id, request);
        let credits = conn.window.grant(asked.header.credits);
        let mut octets = Vec::with_capacity(80);
        let mut header = answer_header(&asked.header, Status::PENDING, credits, asked.session);
        header.route = Route::Async { id };
        header.encode(&mut octets);
        let conn = asked.conn;
        if error().encode(&mut octets).is_ok() {
            self.flush_before(conn);
            self.send(conn, vec![octets.into()]);
        }
    }

    /// Sends a Lease Break Notification (MS-SMB2 3.3.4.7).
    pub(super) fn notify_lease(&mut self, id: BreakId, conn: ConnId, body: &LeaseBreak) {
        let mut octets = Vec::with_capacity(108);
        Header::notification(SessionId::new(0), Status::SUCCESS).encode(&mut octets);
        body.encode(&mut octets);
        self.notify(id, conn, octets);
    }

    /// Sends an Oplock Break Notification (MS-SMB2 3.3.4.6).
    pub(super) fn notify_oplock(&mut self, id: BreakId, conn: ConnId, session: SessionId, body: OplockBreak) {
        let mut octets = Vec::with_capacity(88);
        Header::notification(session, Status::SUCCESS).encode(&mut octets);
        body.encode(&mut octets);
        self.notify(id, conn, octets);
    }

    fn notify(&mut self, id: BreakId, conn: ConnId, octets: Vec<u8>) {
        match self.conns.get(&conn) {
            Some(known) => {
                let out_of_reach = known.out_of_reach;
                self.flush_before(conn);
                if out_of_reach {
                    self.stuck.push_back((self.now.saturating_add(OUT_OF_REACH), conn, id));
                    return self.send(conn, vec![octets.into()]);
                }
                let octets = [&frame::head(octets.len())[..], &octets].concat();
                self.sent.push_back(Sent::Notification(conn, id, octets));
            }
            None => self.host.undelivered(id, conn),
        }
    }
}

/// An error without more to say.
pub(super) fn error() -> Response<'static> {
    Response::Error { data: Vec::new() }
}

/// The answer to an IOCTL.
pub(super) fn ioctl(code: u32, file_id: FileId, output: Vec<u8>) -> Response<'static> {
    let halves = [file_id.persistent, file_id.volatile].map(u64::to_le_bytes);
    let file_id = halves.as_flattened().try_into().unwrap_or_default();
    Response::Ioctl { code, file_id, output }
}

fn answer_header(request: &Header, status: Status, credits: u16, session: SessionId) -> Header {
    let kept = HeaderFlags::RELATED_OPERATIONS | HeaderFlags::PRIORITY_MASK | HeaderFlags::REPLAY_OPERATION;
    Header {
        status,
        credits,
        flags: request.flags & kept | HeaderFlags::SERVER_TO_REDIR,
        next_command: 0,
        session,
        signature: [0; 16],
        ..*request
    }
}

fn reserved(request: &Header) -> u32 {
    match request.route {
        Route::Sync { reserved, .. } => reserved,
        Route::Async { .. } => 0,
    }
}

fn attributes(info: &Info) -> Attributes {
    Attributes {
        times: info.facts.times,
        allocation_size: info.facts.allocation,
        end_of_file: info.facts.end_of_file,
        attributes: info.facts.attributes,
    }
}

/// The answer to a CREATE; `None` if there is no room for its contexts.
fn answer_create<'a>(created: &Created, want: Want, room: &'a mut [u8; CONTEXTS]) -> Option<Response<'a>> {
    use leasehold::server::DurableGrant;
    let mut contexts = ResponseContexts::default();
    contexts.lease = created.lease;
    match created.durable {
        Some(DurableGrant::V1(response)) => contexts.durable = Some(response),
        Some(DurableGrant::V2(response)) => contexts.durable_v2 = Some(response),
        None => {}
    }
    let mut writer = ContextWriter::new(room);
    contexts.write(&mut writer).ok()?;
    if let Want::Contexts { maximal_access, disk_id } = want {
        if maximal_access {
            let body = [0_u32.to_le_bytes(), ALL_ACCESS.to_le_bytes()];
            writer.push(MXAC, body.as_flattened()).ok()?;
        }
        if disk_id {
            let body = [created.info.facts.index, 1, 0, 0].map(u64::to_le_bytes);
            writer.push(QFID, body.as_flattened()).ok()?;
        }
    }
    let len = writer.finish();
    let info = attributes(&created.info);
    Some(Response::Create(CreateResponse {
        level: created.level,
        flags: 0,
        action: created.action.to_wire(),
        times: info.times,
        allocation_size: info.allocation_size,
        end_of_file: info.end_of_file,
        attributes: info.attributes,
        file_id: created.file_id,
        contexts: room.get(..len)?,
    }))
}
