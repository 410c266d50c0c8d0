//! Messages, one after the other, and what the related ones of a compound share.

use leasehold::wire::{Fixed as _, Header, HeaderFlags, Route};
use leasehold::{ConnId, FileId, RequestId, SessionId, Status, TreeId};

use super::conn::LARGE;
use super::reply::{Answer, Asked, Want, error};
use super::{Engine, Sent};
use crate::fs::nt;
use crate::smb::request::Command;

/// The first octets of a message of SMB1.
const SMB1: &[u8] = b"\xffSMB";
/// How long all answers of a compound may be, in octets, before nothing more is looked up for it.
const MOST_ANSWERED: usize = 32 << 20;

/// A message, perhaps a compound, and how far it is.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) conn: ConnId,
    message: Vec<u8>,
    /// Where the next request begins, if there is one.
    at: Option<usize>,
    /// What is being worked on.
    pub(super) running: Option<RequestId>,
    /// Answers that are to go out together.
    answers: Vec<Answer>,
    /// How long they are, and all that there were, in octets.
    unsent: usize,
    answered: usize,
    /// Whether there was a request to which others can be related.
    begun: bool,
    /// What related requests work on (MS-SMB2 3.3.5.2.7.2).
    pub(super) session: SessionId,
    pub(super) tree: TreeId,
    pub(super) file: Result<FileId, Status>,
}

impl Chain {
    pub(super) fn new(conn: ConnId, message: Vec<u8>) -> Self {
        Self {
            conn,
            message,
            at: Some(0),
            running: None,
            answers: Vec::new(),
            unsent: 0,
            answered: 0,
            begun: false,
            session: SessionId::new(0),
            tree: TreeId::new(0),
            file: Err(nt::INVALID_HANDLE),
        }
    }

    /// An answer that is to go out with the others.
    pub(super) fn push(&mut self, answer: Answer) {
        self.unsent += answer.len();
        self.answered += answer.len();
        self.answers.push(answer);
    }

    /// The answers that are to go out now.
    fn flush(&mut self) -> Vec<Answer> {
        self.unsent = 0;
        std::mem::take(&mut self.answers)
    }

    /// Whether there is more to it.
    pub(super) fn goes_on(&self) -> bool {
        self.at.is_some()
    }

    /// The next request: its header and its octets, with padding.
    fn take(&mut self) -> Option<Result<(Header, Vec<u8>), ()>> {
        let at = self.at.take()?;
        let rest = self.message.get(at..).unwrap_or_default();
        let Ok((header, _)) = Header::split(rest) else { return Some(Err(())) };
        let next = usize::try_from(header.next_command).unwrap_or(usize::MAX);
        if next == 0 {
            return Some(Ok((header, rest.to_vec())));
        }
        // MS-SMB2 3.3.5.2.7: aligned, and inside.
        if next % 8 != 0 || next < Header::LEN || next >= rest.len() {
            return Some(Err(()));
        }
        self.at = Some(at + next);
        Some(Ok((header, rest.get(..next).unwrap_or_default().to_vec())))
    }
}

impl Engine {
    /// Works on a message until it waits, or has ended.
    pub(super) fn run(&mut self, mut chain: Chain) {
        let conn = chain.conn;
        if self.conns.get(&conn).is_none_or(|conn| conn.closing) {
            return;
        }
        if chain.message.starts_with(SMB1) {
            return self.smb1(conn, &chain.message);
        }
        while let Some(next) = chain.take() {
            let taken = next.and_then(
                |(header, octets)| {
                    if self.admit(conn, &header) { Ok((header, octets)) } else { Err(()) }
                },
            );
            let Ok((header, octets)) = taken else {
                self.flush(&mut chain);
                return self.close(conn);
            };
            let request = RequestId::new(self.number());
            chain.running = Some(request);
            self.current = Some(chain);
            self.begin(request, header, &octets);
            self.drain();
            let Some(left) = self.current.take() else { return };
            chain = left;
            chain.running = None;
            // With one more they would still fit into a message, with two perhaps not.
            if chain.unsent > LARGE as usize {
                self.flush(&mut chain);
            }
            if let Some(asked) = self.asked.get_mut(&request) {
                // It waits: what is answered already goes out, and what comes behind it waits as well.
                let answers = chain.flush();
                asked.chain = chain.goes_on().then(|| Box::new(chain));
                return self.send(conn, answers);
            }
        }
        self.flush(&mut chain);
    }

    /// Whether a request may come at all (MS-SMB2 3.3.5.2.1 to 3.3.5.2.3): if not, the connection is of no use any more.
    fn admit(&mut self, conn: ConnId, header: &Header) -> bool {
        let Some(conn) = self.conns.get_mut(&conn).filter(|conn| !conn.closing) else { return false };
        // MS-SMB2 3.3.5.2.6
        let Some(command) = Command::from_wire(header.command.to_wire()) else { return false };
        let first = conn.agreed.is_none();
        if header.flags.contains(HeaderFlags::SERVER_TO_REDIR) || first != (command == Command::Negotiate) {
            return false;
        }
        // CANCEL names a MessageId that was taken by another (MS-SMB2 3.3.5.2.3).
        let charge = if conn.multi_credit() { header.credit_charge } else { 1 };
        command == Command::Cancel || conn.window.take(header.message_id, charge)
    }

    /// Begins with a request, and answers it if that can be done at once.
    fn begin(&mut self, request: RequestId, header: Header, octets: &[u8]) {
        let Some(chain) = &mut self.current else { return };
        let (conn, len) = (chain.conn, chain.message.len());
        let Some(command) = Command::from_wire(header.command.to_wire()) else { return };
        let related = header.flags.contains(HeaderFlags::RELATED_OPERATIONS);
        if !related {
            chain.session = header.session;
            if let Route::Sync { tree, .. } = header.route {
                chain.tree = tree;
            }
            chain.file = Err(nt::INVALID_HANDLE);
            chain.begun = true;
        }
        let (session, tree, file) = (chain.session, chain.tree, chain.file);
        let (begun, full) = (chain.begun, chain.answered > MOST_ANSWERED);
        let key = self.signed_by(conn, session, &header, octets);
        if command == Command::Cancel {
            if key.is_ok() {
                self.cancel(conn, &header);
            }
            return;
        }
        let asked = Asked {
            conn,
            session,
            tree,
            header,
            command,
            key: key.unwrap_or_default(),
            len,
            async_id: None,
            chain: None,
            want: Want::Plain,
        };
        let known = self.conns.get_mut(&conn);
        let room = known.is_some_and(|conn| conn.begin(header.message_id, request, len)) && !full;
        self.asked.insert(request, asked);
        let place = (session, tree, related.then_some(file));
        let result = match key {
            Err(status) => Err(status),
            // MS-SMB2 3.3.5.2.7.2
            Ok(_) if !begun => Err(Status::INVALID_PARAMETER),
            Ok(_) if !room && !makes_room(command) => Err(Status::INSUFFICIENT_RESOURCES),
            Ok(_) => self.dispatch(request, command, octets, place),
        };
        if let Err(status) = result {
            self.answer(request, status, error());
        }
    }

    /// A message of SMB1: only a NEGOTIATE that offers SMB2 as well is answered (MS-SMB2 3.3.5.3).
    fn smb1(&mut self, conn: ConnId, message: &[u8]) {
        let fresh = self.conns.get(&conn).is_some_and(|conn| conn.agreed.is_none());
        let answer = if fresh { self.negotiate_smb1(conn, message) } else { None };
        let Some(response) = answer else { return self.close(conn) };
        let mut octets = Vec::new();
        let Some(known) = self.conns.get_mut(&conn) else { return };
        if !known.window.take(0, 1) {
            return self.close(conn);
        }
        Header {
            credit_charge: 0,
            status: Status::SUCCESS,
            command: leasehold::wire::Command::from_wire(Command::Negotiate.to_wire()),
            credits: known.window.grant(1),
            flags: HeaderFlags::SERVER_TO_REDIR,
            next_command: 0,
            message_id: 0,
            route: Route::Sync { reserved: 0, tree: TreeId::new(0) },
            session: SessionId::new(0),
            signature: [0; 16],
        }
        .encode(&mut octets);
        if response.encode(&mut octets).is_ok() {
            self.send(conn, vec![octets.into()]);
        }
    }

    /// Sends the answers of a compound that are there.
    pub(super) fn flush(&mut self, chain: &mut Chain) {
        let answers = chain.flush();
        self.send(chain.conn, answers);
    }

    /// Ends a connection: nothing that comes on it counts any more.
    pub(super) fn close(&mut self, conn: ConnId) {
        if let Some(known) = self.conns.get_mut(&conn).filter(|known| !known.closing) {
            known.closing = true;
            self.sent.push_back(Sent::Close(conn));
        }
    }

    /// Ends the connection of a request, which is not answered.
    pub(super) fn close_unanswered(&mut self, request: RequestId) {
        if let Some(asked) = self.asked.remove(&request) {
            self.host.answered(request);
            self.close(asked.conn);
        }
    }

    /// What was answered on a connection goes out before anything else does.
    pub(super) fn flush_before(&mut self, conn: ConnId) {
        if let Some(chain) = self.current.as_mut().filter(|chain| chain.conn == conn) {
            let answers = chain.flush();
            self.send(conn, answers);
        }
    }
}

/// Whether a request ends what others wait for: there has to be room for it.
fn makes_room(command: Command) -> bool {
    matches!(command, Command::Close | Command::OplockBreak | Command::TreeDisconnect | Command::Logoff)
}
