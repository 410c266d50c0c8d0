//! Requests: which of them the machine hears of, and as what.
//!
//! | command | what becomes of it |
//! |---|---|
//! | NEGOTIATE, SESSION_SETUP, TREE_CONNECT | done here on the recorded terms: nobody authenticates, and what was agreed is not judged |
//! | LOGOFF, TREE_DISCONNECT | done here, the machine is told |
//! | CREATE, CLOSE, LOCK, acknowledgments, CANCEL | an event each |
//! | CREATE with DHnC or DH2C | `Reconnect`, if that context counts |
//! | READ, WRITE, FLUSH, SET_INFO of sizes, of the disposition | `Operate`; the file system acts when it may |
//! | SET_INFO of times and attributes | as above if it changes anything |
//! | SET_INFO of a name | `Operate` for each that the name concerns, see `fs::operations` |
//! | SET_INFO of the position; QUERY_INFO, QUERY_DIRECTORY | the file system alone; the machine hears that the open is used |
//! | CHANGE_NOTIFY | as above; waits until it is cancelled or its directory is closed: changes are not looked for |
//! | ECHO | answered |
//! | IOCTL FSCTL_VALIDATE_NEGOTIATE_INFO | a matter of the session: answered with success, its output is not judged |
//! | IOCTL FSCTL_CREATE_OR_GET_OBJECT_ID | answered with success, its output is not judged; the machine hears that the open is used |
//! | IOCTL FSCTL_LMR_REQUEST_RESILIENCY | `RequestResilience` |
//! | IOCTL 0x83848003 | left out: it has one server, for tests, take a connection for dead; when it does, that is recorded |
//! | all others | not supported yet |
//!
//! What names a handle is held against the ChannelSequence of the open first, see `channels`.

use leasehold::server::{Event, Lock, LockElement, Origin, SessionEnd};
use leasehold::wire::{LeaseAck, OplockBreak, ResiliencyRequest};
use leasehold::{ConnId, FileId, LeaseKey, LeaseState, OplockLevel, RequestId, Status};

use super::driver::{Body, Driver, Open, Stop};
use super::peers::{self, Whence};
use super::request::{Attempt, Change, Command, Request};
use crate::fs::names::Name;
use crate::fs::operations::OperationKind;
use crate::fs::{Naming, nt};

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
    seq: u64,
    conn: &'a str,
    session: Option<&'a str>,
    tree: Option<&'a str>,
    attempt: Attempt,
    command: &'a Command,
}

impl Driver<'_> {
    /// A request has come in.
    pub(super) fn request(&mut self, seq: u64, conn: &str, request: &Request) -> Result<(), Stop> {
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
                self.answer(seq, status, Body::Nothing);
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
            seq,
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
        let Incoming { seq, conn, session, tree, command, .. } = *incoming;
        match command {
            Command::Negotiate { guid, dialect } => {
                let guid = guid.unwrap_or_else(|| self.trace.client(client.unwrap_or(conn)));
                let recorded =
                    self.recorded.get(&seq).map(|response| (response.dialect, response.capabilities));
                let (chosen, capabilities) = recorded.unwrap_or_default();
                if let Some(terms) = peers::terms(*dialect, chosen, capabilities) {
                    let id = self.peers.conn_id(conn);
                    self.peers.negotiate(conn, guid, terms);
                    self.feed(Event::Connected { conn: id, client: guid, terms })?;
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
                    let volume = self.fs.volume(path);
                    self.peers.add_tree(session, tree, volume, capabilities);
                }
                Ok(())
            }
            Command::Echo => {
                self.answer(seq, Status::SUCCESS, Body::Nothing);
                Ok(())
            }
            Command::Cancel { request } => match request {
                Some(request) => self.cancel(RequestId::new(*request)),
                None => Ok(()),
            },
            Command::Logoff => match self.peers.session(conn, session) {
                Ok(session) => {
                    let id = self.peers.session_id(session);
                    self.peers.end_session(session);
                    self.feed(Event::SessionEnded { session: id, end: SessionEnd::LoggedOff })?;
                    self.answer(seq, Status::SUCCESS, Body::Nothing);
                    Ok(())
                }
                Err(status) => {
                    self.answer(seq, status, Body::Nothing);
                    Ok(())
                }
            },
            Command::Ioctl { control: FORGET_PEER, .. } => Ok(()),
            _ => match self.peers.origin(conn, session, tree) {
                Ok(whence) => self.in_tree(incoming, whence, file),
                Err(status) => {
                    self.answer(seq, status, Body::Nothing);
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
    fn in_tree(&mut self, incoming: &Incoming<'_>, whence: Whence, file: Option<FileId>) -> Result<(), Stop> {
        let Incoming { seq, tree, attempt, command, .. } = *incoming;
        let Whence { origin, .. } = whence;
        let request = RequestId::new(seq);
        if let Err(status) = self.count(seq, whence, attempt, command, file) {
            self.answer(seq, status, Body::Nothing);
            return Ok(());
        }
        match command {
            Command::TreeDisconnect => {
                self.peers.end_tree(tree.unwrap_or_default());
                let (session, tree) = (origin.session, origin.tree);
                self.feed(Event::TreeDisconnected { request, session, tree })
            }
            Command::Create(create) => self.create(seq, whence, attempt, create),
            Command::Close { .. } => {
                let file_id = file.unwrap_or(NOBODY);
                self.feed(Event::Close { request, session: origin.session, file_id })
            }
            Command::LeaseAck { key, state } => self.acknowledge(request, origin, *key, *state),
            Command::OplockAck { level, .. } => {
                let file_id = file.unwrap_or(NOBODY);
                let ack = OplockBreak { level: OplockLevel::from_wire(*level), file_id };
                self.feed(Event::OplockAck { request, session: origin.session, ack })
            }
            Command::Lock { elements, .. } => {
                self.lock(request, origin, file.unwrap_or(NOBODY), elements.clone())
            }
            Command::Ioctl { control: VALIDATE_NEGOTIATE_INFO, .. } => {
                self.answer(seq, Status::SUCCESS, Body::Nothing);
                Ok(())
            }
            Command::Ioctl { control: ResiliencyRequest::CTL_CODE, input, .. } => {
                let input = input.as_deref().unwrap_or_default();
                let Ok(ResiliencyRequest { timeout }) = ResiliencyRequest::decode_input(input) else {
                    self.answer(seq, Status::INVALID_PARAMETER, Body::Nothing);
                    return Ok(());
                };
                let (file_id, user) = (file.unwrap_or(NOBODY), whence.user);
                self.feed(Event::RequestResilience { request, origin, user, file_id, timeout })
            }
            Command::Ioctl { control, .. } if *control != CREATE_OR_GET_OBJECT_ID => {
                Err(Stop::unsupported(format!("IOCTL {control:#x}")))
            }
            Command::SetInfo { change: Change::Unknown(what), .. } => {
                Err(Stop::unsupported(format!("SET_INFO {what}")))
            }
            Command::Unknown(_) => Err(Stop::unsupported(command.name())),
            _ => {
                let open = file.and_then(|file| self.open(file));
                match open.filter(|open| open.session == origin.session) {
                    Some(open) => self.in_file(incoming, whence, open),
                    None => {
                        self.answer(seq, Status::FILE_CLOSED, Body::Nothing);
                        Ok(())
                    }
                }
            }
        }
    }

    /// A request about an open file.
    fn in_file(&mut self, incoming: &Incoming<'_>, whence: Whence, open: Open) -> Result<(), Stop> {
        let Whence { origin, volume, .. } = whence;
        let seq = incoming.seq;
        let kind = match incoming.command {
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
                    Ok(name) => OperationKind::Name(Naming { volume, name, replace: *replace, old: *old }),
                    Err(status) => return self.look(seq, open, status),
                },
                Change::Position => return self.look(seq, open, Status::SUCCESS),
                Change::Unknown(what) => return Err(Stop::unsupported(format!("SET_INFO {what}"))),
            },
            Command::QueryInfo { .. } | Command::Ioctl { .. } => {
                return self.look(seq, open, Status::SUCCESS);
            }
            Command::ChangeNotify { .. } => return self.watch(RequestId::new(seq), origin, open),
            Command::QueryDirectory { flags, pattern, .. } => {
                let (restart, single) = (flags & RESTART != 0, flags & SINGLE != 0);
                let listed = self.fs.list_names(open.handle, pattern, restart, single);
                return self.look(seq, open, listed.err().unwrap_or(Status::SUCCESS));
            }
            _ => return Err(Stop::unsupported(incoming.command.name())),
        };
        self.operate(RequestId::new(seq), origin, open, kind)
    }

    /// Answers what the machine does not see of an open: that is used by it.
    fn look(&mut self, seq: u64, open: Open, status: Status) -> Result<(), Stop> {
        self.feed(Event::Used { file_id: open.file_id })?;
        self.answer(seq, status, Body::Nothing);
        Ok(())
    }

    /// Begins to wait for a change in a directory (MS-SMB2 3.3.5.19).
    fn watch(&mut self, request: RequestId, origin: Origin, open: Open) -> Result<(), Stop> {
        if let Err(status) = self.fs.watchable(open.handle) {
            return self.look(request.get(), open, status);
        }
        self.watches.insert(request, (origin.conn, open.file_id));
        self.feed(Event::Used { file_id: open.file_id })
    }

    /// A directory is closed: nobody waits for changes in it any more (MS-SMB2 3.3.5.10).
    pub(super) fn end_watches(&mut self, file_id: FileId) {
        let of_it = |(_, watched): &(ConnId, FileId)| watched.persistent == file_id.persistent;
        let ended: Vec<_> =
            self.watches.iter().filter(|(_, watch)| of_it(watch)).map(|(request, _)| *request).collect();
        for request in ended {
            self.watches.remove(&request);
            self.answer(request.get(), nt::NOTIFY_CLEANUP, Body::Nothing);
        }
    }

    fn cancel(&mut self, request: RequestId) -> Result<(), Stop> {
        if self.watches.remove(&request).is_some() {
            self.answer(request.get(), Status::CANCELLED, Body::Nothing);
            return Ok(());
        }
        self.feed(Event::Cancel { request })
    }

    fn lock(
        &mut self,
        request: RequestId,
        origin: Origin,
        file: FileId,
        elements: Vec<LockElement>,
    ) -> Result<(), Stop> {
        let allocation = self.open(file).map_or(0, |open| self.fs.allocation(open.handle));
        self.feed(Event::Lock(Lock::new(request, origin, file, allocation, elements)))
    }

    fn acknowledge(
        &mut self,
        request: RequestId,
        origin: Origin,
        key: LeaseKey,
        state: u32,
    ) -> Result<(), Stop> {
        let client = self.peers.conn_of(origin.conn).and_then(|conn| self.peers.client_of(conn));
        let of_client = |open: &&mut Open| open.guid.is_some_and(|(holder, _)| Some(holder) == client);
        for open in self.opens.values_mut().filter(of_client).filter(|open| open.lease == Some(key)) {
            open.guid = None;
        }
        let ack = LeaseAck { key, state: LeaseState::from_bits_retain(state) };
        self.feed(Event::LeaseAck { request, conn: origin.conn, ack })
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
