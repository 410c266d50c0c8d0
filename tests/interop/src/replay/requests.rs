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
        chain.file = handle_of(&request.command)
            .and_then(|label| self.file(label))
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
        let seq = id.get();
        match command {
            Command::Negotiate { guid, dialect } => {
                let guid = guid.unwrap_or_else(|| self.trace.client(client.unwrap_or(conn)));
                let recorded =
                    self.recorded.get(&seq).map(|response| (response.dialect, response.capabilities));
                let (chosen, capabilities) = recorded.unwrap_or_default();
                if let Some(terms) = peers::terms(*dialect, chosen, capabilities) {
                    let number = self.peers.conn_id(conn);
                    self.peers.negotiate(conn, guid, terms);
                    self.feed(Event::Connected { conn: number, client: guid, terms })?;
                }
                Ok(())
            }
            Command::SessionSetup { previous, user } => {
                self.session_setup(seq, conn, previous.as_deref(), user.as_deref().unwrap_or_default())
            }
            Command::TreeConnect { path } => {
                let recorded = self.recorded.get(&seq).copied();
                let recorded = recorded.filter(|response| response.status == Status::SUCCESS);
                let capabilities = recorded.and_then(|response| response.capabilities).unwrap_or_default();
                let tree = recorded.and_then(|response| response.tree.as_deref());
                if let (Ok(session), Some(tree)) = (self.peers.session(conn, session), tree) {
                    let volume = self.host.fs().volume(path);
                    self.peers.add_tree(session, tree, volume, capabilities);
                }
                Ok(())
            }
            Command::Echo => {
                self.answer(id, Status::SUCCESS);
                Ok(())
            }
            Command::Cancel { request } => {
                if let Some(request) = request {
                    self.host.cancel(RequestId::new(*request));
                }
                Ok(())
            }
            Command::Logoff => {
                let ended = self.peers.session(conn, session);
                if let Ok(session) = ended {
                    let number = self.peers.session_id(session);
                    self.peers.end_session(session);
                    self.feed(Event::SessionEnded { session: number, end: SessionEnd::LoggedOff })?;
                }
                self.answer(id, ended.err().unwrap_or(Status::SUCCESS));
                Ok(())
            }
            Command::Ioctl { control: FORGET_PEER, .. } => Ok(()),
            _ => match self.peers.origin(conn, session, tree) {
                Ok(whence) => self.in_tree(incoming, &whence, file),
                Err(status) => {
                    self.answer(id, status);
                    Ok(())
                }
            },
        }
    }

    /// Authentication is taken as recorded. A session of the same user that is replaced ends (MS-SMB2 3.3.5.5.3).
    fn session_setup(
        &mut self,
        seq: u64,
        conn: &str,
        previous: Option<&str>,
        user: &str,
    ) -> Result<(), Stop> {
        let recorded = self.recorded.get(&seq).filter(|response| response.status == Status::SUCCESS);
        let Some(session) = recorded.and_then(|response| response.session.as_deref()) else { return Ok(()) };
        let other = previous.filter(|previous| *previous != session && self.peers.is_of(previous, user));
        let replaced = other.filter(|previous| self.peers.end_session(previous));
        if let Some(replaced) = replaced {
            let id = self.peers.session_id(replaced);
            self.feed(Event::SessionEnded { session: id, end: SessionEnd::Replaced })?;
        }
        self.peers.bind(conn, session, user);
        let (conn, session) = (self.peers.conn_id(conn), self.peers.session_id(session));
        self.feed(Event::SessionBound { conn, session })
    }

    /// A request within a tree connect.
    fn in_tree(
        &mut self,
        incoming: &Incoming<'_>,
        whence: &Whence,
        file: Option<FileId>,
    ) -> Result<(), Stop> {
        let Incoming { id, tree, attempt, command, .. } = *incoming;
        if let (Some(effect), Some(file)) = (effect(command), file) {
            let uses = !matches!(command, Command::Close { .. });
            if let Err(status) = self.host.count(id, whence, attempt, file, effect, uses) {
                self.answer(id, status);
                return Ok(());
            }
        }
        let file = file.unwrap_or(NOBODY);
        let kind = match command {
            Command::TreeDisconnect => {
                self.peers.end_tree(tree.unwrap_or_default());
                self.host.tree_disconnect(id, whence);
                return Ok(());
            }
            Command::Create(create) => return self.create(id, whence, attempt, create),
            Command::Close { .. } => {
                self.host.close(id, whence, file, false);
                return Ok(());
            }
            Command::LeaseAck { key, state } => {
                let ack = LeaseAck { key: *key, state: LeaseState::from_bits_retain(*state) };
                self.host.acknowledge_lease(id, whence, ack);
                return Ok(());
            }
            Command::OplockAck { level, .. } => {
                let ack = OplockBreak { level: OplockLevel::from_wire(*level), file_id: file };
                self.host.acknowledge_oplock(id, whence, ack);
                return Ok(());
            }
            Command::Lock { sequence, elements, .. } => {
                self.host.lock(id, whence, file, *sequence, elements.clone());
                return Ok(());
            }
            Command::ChangeNotify { .. } => {
                self.host.watch(id, whence, file);
                return Ok(());
            }
            Command::Ioctl { control, input, .. } => {
                match *control {
                    VALIDATE_NEGOTIATE_INFO => self.answer(id, Status::SUCCESS),
                    ResiliencyRequest::CTL_CODE => {
                        match ResiliencyRequest::decode_input(input.as_deref().unwrap_or_default()) {
                            Ok(asked) => self.host.request_resilience(id, whence, file, asked.timeout),
                            Err(_) => self.answer(id, Status::INVALID_PARAMETER),
                        }
                    }
                    CREATE_OR_GET_OBJECT_ID => self.look(id, whence, file, |_, _| Ok(())),
                    _ => return Err(Stop::unsupported(format!("IOCTL {control:#x}"))),
                }
                return Ok(());
            }
            Command::QueryInfo { .. } => {
                self.look(id, whence, file, |_, _| Ok(()));
                return Ok(());
            }
            Command::QueryDirectory { flags, pattern, .. } => {
                let (restart, single) = (flags & RESTART != 0, flags & SINGLE != 0);
                self.look(id, whence, file, |fs, handle| {
                    fs.list_names(handle, pattern, restart, single).map(|_| ())
                });
                return Ok(());
            }
            Command::Flush { .. } => OperationKind::Flush,
            Command::Read { offset, length, minimum, .. } => {
                OperationKind::Read { offset: *offset, length: *length, minimum: *minimum }
            }
            Command::Write { offset, length, data, .. } => {
                OperationKind::Write { offset: *offset, length: *length, data: data.clone() }
            }
            Command::SetInfo { change, .. } => match change {
                Change::EndOfFile(size) => OperationKind::EndOfFile(*size),
                Change::Allocation(size) => OperationKind::Allocation(*size),
                Change::Basic(basic) => OperationKind::Basic(*basic),
                Change::Delete { pending } => OperationKind::Delete { pending: *pending },
                Change::Name { target, replace, old } => match Name::parse(target) {
                    Ok(name) => {
                        let (volume, replace, old) = (whence.volume, *replace, *old);
                        OperationKind::Name(Naming { volume, name, replace, old })
                    }
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
            },
            Command::Negotiate { .. }
            | Command::SessionSetup { .. }
            | Command::TreeConnect { .. }
            | Command::Logoff
            | Command::Cancel { .. }
            | Command::Echo
            | Command::Unknown(_) => return Err(Stop::unsupported(command.name())),
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

/// What a command does to the file that it names; `None` for one that names none.
fn effect(command: &Command) -> Option<Effect> {
    match command {
        Command::Write { .. } | Command::SetInfo { .. } | Command::Ioctl { .. } => Some(Effect::Changes),
        Command::Close { .. }
        | Command::Flush { .. }
        | Command::Read { .. }
        | Command::QueryInfo { .. }
        | Command::QueryDirectory { .. }
        | Command::OplockAck { .. }
        | Command::Lock { .. }
        | Command::ChangeNotify { .. } => Some(Effect::Looks),
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

/// The handle that a command names.
fn handle_of(command: &Command) -> Option<&str> {
    match command {
        Command::Close { handle }
        | Command::Flush { handle }
        | Command::Read { handle, .. }
        | Command::Write { handle, .. }
        | Command::SetInfo { handle, .. }
        | Command::QueryInfo { handle }
        | Command::OplockAck { handle, .. }
        | Command::Lock { handle, .. }
        | Command::Ioctl { handle, .. }
        | Command::ChangeNotify { handle }
        | Command::QueryDirectory { handle, .. } => handle.as_deref(),
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
