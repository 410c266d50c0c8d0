//! Requests: which of them the host hears of, and as what.
//!
//! | command | what becomes of it |
//! |---|---|
//! | NEGOTIATE, SESSION_SETUP, TREE_CONNECT | done here on the recorded terms: nobody authenticates, and what was agreed is not judged |
//! | LOGOFF, TREE_DISCONNECT | done here, the machine is told |
//! | CREATE, CLOSE, LOCK, CHANGE_NOTIFY, acknowledgments, CANCEL | a call each |
//! | READ, WRITE, FLUSH, SET_INFO of times, attributes, sizes, of the disposition, of a name | an operation |
//! | SET_INFO of the position; QUERY_INFO, QUERY_DIRECTORY | a look at the file; of QUERY_DIRECTORY alone what it finds matters |
//! | ECHO | answered |
//! | IOCTL FSCTL_VALIDATE_NEGOTIATE_INFO | a matter of the session: answered with success, its output is not judged |
//! | IOCTL FSCTL_CREATE_OR_GET_OBJECT_ID | a look, too: its output is not judged |
//! | IOCTL FSCTL_LMR_REQUEST_RESILIENCY | a call |
//! | IOCTL 0x83848003 | left out: it has one server, for tests, take a connection for dead; when it does, that is recorded |
//! | all others | not supported yet |
//!
//! What names a handle is held against the ChannelSequence of the open first.

use leasehold::server::{Effect, Event, SessionEnd};
use leasehold::wire::{LeaseAck, OplockBreak, ResiliencyRequest};
use leasehold::{FileId, LeaseState, OplockLevel, RequestId, Status};

use super::driver::{Driver, Stop};
use super::peers;
use super::request::{Change, Command, Request};
use crate::fs::names::Name;
use crate::fs::operations::OperationKind;
use crate::fs::{Handle, MemFs, Naming};
use crate::host::{Attempt, Whence};

/// FSCTL_VALIDATE_NEGOTIATE_INFO
const VALIDATE_NEGOTIATE_INFO: u32 = 0x0014_0204;
/// FSCTL_CREATE_OR_GET_OBJECT_ID
const CREATE_OR_GET_OBJECT_ID: u32 = 0x0009_00c0;
/// A test-only control of one server: treat what is sent on this connection as never received.
pub(super) const FORGET_PEER: u32 = 0x8384_8003;
/// A handle that nobody was given is as good as one that is closed.
const NOBODY: FileId = FileId::new(0, 0);
/// SMB2_RESTART_SCANS and SMB2_REOPEN
const RESTART: u8 = 0x01 | 0x10;
/// SMB2_RETURN_SINGLE_ENTRY
const SINGLE: u8 = 0x02;

/// What the next related command of a compound works on (MS-SMB2 3.3.5.2.7.2).
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    last: u64,
    session: Option<String>,
    tree: Option<String>,
    file: Option<FileId>,
    creates: bool,
}

/// A request whose header was understood.
struct Incoming<'a> {
    id: RequestId,
    conn: &'a str,
    session: Option<&'a str>,
    tree: Option<&'a str>,
    attempt: Attempt,
    command: &'a Command,
}

impl Driver<'_> {
    /// A request has come in.
    pub(super) fn request(&mut self, seq: u64, conn: &str, request: &Request) -> Result<(), Stop> {
        let id = RequestId::new(seq);
        let mut chain = match self.chains.remove(conn) {
            Some(chain) if request.related => chain,
            Some(_) | None => Chain::default(),
        };
        if request.related {
            let Some(status) = self.answered(chain.last) else {
                return Err(Stop::unsupported("a compound behind a request that waits"));
            };
            if chain.creates {
                chain.file = self.granted.get(&chain.last).copied();
            }
            // MS-SMB2 3.3.5.2.7.2: what works on a file that was not opened fails as the open did.
            if chain.creates && chain.file.is_none() {
                self.answer(id, status);
                chain.last = seq;
                self.chains.insert(conn.to_owned(), chain);
                return Ok(());
            }
        }
        chain.last = seq;
        chain.session = request.session.clone().or(chain.session);
        chain.tree = request.tree.clone().or(chain.tree);
        chain.creates = matches!(request.command, Command::Create(_));
        chain.file = concerns(&request.command)
            .and_then(|(label, _)| self.file(label?))
            .or(chain.file.filter(|_| request.related));
        let file = chain.file;
        let incoming = Incoming {
            id,
            conn,
            session: chain.session.as_deref(),
            tree: chain.tree.as_deref(),
            attempt: request.attempt,
            command: &request.command,
        };
        let done = self.dispatch(&incoming, file, request.client.as_deref());
        self.chains.insert(conn.to_owned(), chain);
        done
    }

    fn dispatch(
        &mut self,
        incoming: &Incoming<'_>,
        file: Option<FileId>,
        client: Option<&str>,
    ) -> Result<(), Stop> {
        let Incoming { id, conn, session, tree, command, .. } = *incoming;
        let recorded = self.recorded.get(&id.get()).copied();
        match command {
            Command::Negotiate { guid, dialect } => {
                let guid = guid.unwrap_or_else(|| self.trace.client(client.unwrap_or(conn)));
                let agreed = recorded.map(|response| (response.dialect, response.capabilities));
                let (chosen, capabilities) = agreed.unwrap_or_default();
                if let Some(terms) = peers::terms(*dialect, chosen, capabilities) {
                    self.peers.negotiate(conn, guid, terms);
                    let conn = self.peers.conn_id(conn);
                    self.feed(Event::Connected { conn, client: guid, terms })?;
                }
            }
            Command::SessionSetup { previous, user } => {
                let user = user.as_deref().unwrap_or_default();
                self.session_setup(id, conn, previous.as_deref(), user)?;
            }
            Command::TreeConnect { path } => {
                let recorded = recorded.filter(|response| response.status == Status::SUCCESS);
                let capabilities = recorded.and_then(|response| response.capabilities).unwrap_or_default();
                let tree = recorded.and_then(|response| response.tree.as_deref());
                if let (Ok(session), Some(tree)) = (self.peers.session(conn, session), tree) {
                    let volume = self.host.fs().volume(path);
                    self.peers.add_tree(session, tree, volume, capabilities);
                }
            }
            Command::Echo => self.answer(id, Status::SUCCESS),
            Command::Cancel { request: Some(request) } => self.host.cancel(RequestId::new(*request)),
            Command::Cancel { request: None } | Command::Ioctl { control: FORGET_PEER, .. } => {}
            Command::Logoff => {
                let valid = self.peers.session(conn, session);
                if let Ok(session) = valid {
                    self.end_session(session, SessionEnd::LoggedOff)?;
                }
                self.answer(id, valid.err().unwrap_or(Status::SUCCESS));
            }
            _ => match self.peers.origin(conn, session, tree) {
                Ok(whence) => self.in_tree(incoming, &whence, file)?,
                Err(status) => self.answer(id, status),
            },
        }
        Ok(())
    }

    /// Authentication is taken as recorded. A session of the same user that is replaced ends (MS-SMB2 3.3.5.5.3).
    fn session_setup(
        &mut self,
        id: RequestId,
        conn: &str,
        previous: Option<&str>,
        user: &str,
    ) -> Result<(), Stop> {
        let recorded = self.recorded.get(&id.get()).filter(|response| response.status == Status::SUCCESS);
        let Some(session) = recorded.and_then(|response| response.session.as_deref()) else { return Ok(()) };
        let other = previous.filter(|previous| *previous != session && self.peers.is_of(previous, user));
        if let Some(replaced) = other {
            self.end_session(replaced, SessionEnd::Replaced)?;
        }
        self.peers.bind(conn, session, user);
        let (conn, session) = (self.peers.conn_id(conn), self.peers.session_id(session));
        self.feed(Event::SessionBound { conn, session })
    }

    fn end_session(&mut self, session: &str, end: SessionEnd) -> Result<(), Stop> {
        if !self.peers.end_session(session) {
            return Ok(());
        }
        let session = self.peers.session_id(session);
        self.feed(Event::SessionEnded { session, end })
    }

    /// A request within a tree connect.
    fn in_tree(
        &mut self,
        incoming: &Incoming<'_>,
        whence: &Whence,
        file: Option<FileId>,
    ) -> Result<(), Stop> {
        let Incoming { id, tree, attempt, command, .. } = *incoming;
        if let (Some((_, effect)), Some(file)) = (concerns(command), file) {
            let uses = !matches!(command, Command::Close { .. });
            if let Err(status) = self.host.count(id, whence, attempt, file, effect, uses) {
                self.answer(id, status);
                return Ok(());
            }
        }
        let file = file.unwrap_or(NOBODY);
        match command {
            Command::TreeDisconnect => {
                self.peers.end_tree(tree.unwrap_or_default());
                self.host.tree_disconnect(id, whence);
            }
            Command::Create(create) => self.create(id, whence, attempt, create)?,
            Command::Close { .. } => self.host.close(id, whence, file, false),
            Command::LeaseAck { key, state } => {
                let ack = LeaseAck { key: *key, state: LeaseState::from_bits_retain(*state) };
                self.host.acknowledge_lease(id, whence, ack);
            }
            Command::OplockAck { level, .. } => {
                let ack = OplockBreak { level: OplockLevel::from_wire(*level), file_id: file };
                self.host.acknowledge_oplock(id, whence, ack);
            }
            Command::Lock { sequence, elements, .. } => {
                self.host.lock(id, whence, file, *sequence, elements.clone());
            }
            Command::ChangeNotify { .. } => self.host.watch(id, whence, file),
            Command::Flush { .. } => self.host.operate(id, whence, file, OperationKind::Flush),
            &Command::Read { offset, length, minimum, .. } => {
                self.host.operate(id, whence, file, OperationKind::Read { offset, length, minimum });
            }
            &Command::Write { offset, length, ref data, .. } => {
                let data = data.clone();
                self.host.operate(id, whence, file, OperationKind::Write { offset, length, data });
            }
            Command::SetInfo { change, .. } => self.set_info(id, whence, file, change)?,
            Command::QueryInfo { .. } | Command::Ioctl { control: CREATE_OR_GET_OBJECT_ID, .. } => {
                self.look(id, whence, file, |_, _| Ok(()));
            }
            Command::QueryDirectory { flags, pattern, .. } => {
                let (restart, single) = (flags & RESTART != 0, flags & SINGLE != 0);
                self.look(id, whence, file, |fs, handle| {
                    fs.list_names(handle, pattern, restart, single).map(|_| ())
                });
            }
            Command::Ioctl { control: VALIDATE_NEGOTIATE_INFO, .. } => self.answer(id, Status::SUCCESS),
            Command::Ioctl { control: ResiliencyRequest::CTL_CODE, input, .. } => {
                match ResiliencyRequest::decode_input(input.as_deref().unwrap_or_default()) {
                    Ok(asked) => self.host.request_resilience(id, whence, file, asked.timeout),
                    Err(_) => self.answer(id, Status::INVALID_PARAMETER),
                }
            }
            Command::Ioctl { control, .. } => return Err(Stop::unsupported(format!("IOCTL {control:#x}"))),
            Command::Negotiate { .. }
            | Command::SessionSetup { .. }
            | Command::TreeConnect { .. }
            | Command::Logoff
            | Command::Cancel { .. }
            | Command::Echo
            | Command::Unknown(_) => return Err(Stop::unsupported(command.name())),
        }
        Ok(())
    }

    fn set_info(
        &mut self,
        id: RequestId,
        whence: &Whence,
        file: FileId,
        change: &Change,
    ) -> Result<(), Stop> {
        let kind = match change {
            Change::EndOfFile(size) => OperationKind::EndOfFile(*size),
            Change::Allocation(size) => OperationKind::Allocation(*size),
            Change::Basic(basic) => OperationKind::Basic(*basic),
            Change::Delete { pending } => OperationKind::Delete { pending: *pending },
            &Change::Name { ref target, replace, old } => match Name::parse(target) {
                Ok(name) => OperationKind::Name(Naming { volume: whence.volume, name, replace, old }),
                Err(status) => {
                    self.look(id, whence, file, |_, _| Err(status));
                    return Ok(());
                }
            },
            Change::Position => {
                self.look(id, whence, file, |_, _| Ok(()));
                return Ok(());
            }
            Change::Unknown(what) => return Err(Stop::unsupported(format!("SET_INFO {what}"))),
        };
        self.host.operate(id, whence, file, kind);
        Ok(())
    }

    /// Answers what the machine does not see of an open.
    fn look(
        &mut self,
        id: RequestId,
        whence: &Whence,
        file: FileId,
        look: impl FnOnce(&mut MemFs, Handle) -> Result<(), Status>,
    ) {
        let looked = self.host.look(whence, file, look);
        self.answer(id, looked.err().unwrap_or(Status::SUCCESS));
    }
}

/// The handle that a command names, and what it does to that file.
fn concerns(command: &Command) -> Option<(Option<&str>, Effect)> {
    match command {
        Command::Write { handle, .. } | Command::SetInfo { handle, .. } | Command::Ioctl { handle, .. } => {
            Some((handle.as_deref(), Effect::Changes))
        }
        Command::Close { handle }
        | Command::Flush { handle }
        | Command::Read { handle, .. }
        | Command::QueryInfo { handle }
        | Command::QueryDirectory { handle, .. }
        | Command::OplockAck { handle, .. }
        | Command::Lock { handle, .. }
        | Command::ChangeNotify { handle } => Some((handle.as_deref(), Effect::Looks)),
        Command::Negotiate { .. }
        | Command::SessionSetup { .. }
        | Command::TreeConnect { .. }
        | Command::Logoff
        | Command::TreeDisconnect
        | Command::Create(_)
        | Command::LeaseAck { .. }
        | Command::Cancel { .. }
        | Command::Echo
        | Command::Unknown(_) => None,
    }
}
