//! Messages, one after the other, and what the related ones of a compound share.

use leasehold::wire::{Fixed as _, Header, HeaderFlags, Route};
use leasehold::{ConnId, FileId, RequestId, SessionId, Status, TreeId};

use super::reply::{Answer, Asked, Want};
use super::{Engine, Sent};
use crate::smb::request::Command;
use crate::smb::response::Response;

/// The first octets of a message of SMB1.
const SMB1: &[u8] = b"\xffSMB";

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
    pub(super) answers: Vec<Answer>,
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
            session: SessionId::new(0),
            tree: TreeId::new(0),
            file: Err(Status::INVALID_PARAMETER),
        }
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
            if let Some(asked) = self.asked.get_mut(&request) {
                // It waits: what is answered already goes out, and what comes behind it waits as well.
                let mut chain = chain;
                if !chain.goes_on() {
                    return self.flush(&mut chain);
                }
                let answers = std::mem::take(&mut chain.answers);
                asked.chain = Some(Box::new(chain));
                return self.send(conn, answers);
            }
        }
        self.flush(&mut chain);
    }

    /// Whether a request may come at all (MS-SMB2 3.3.5.2.1 to 3.3.5.2.3): if not, the connection is of no use any more.
    fn admit(&mut self, conn: ConnId, header: &Header) -> bool {
        let Some(conn) = self.conns.get_mut(&conn) else { return false };
        let first = conn.agreed.is_none();
        let negotiates = header.command.to_wire() == Command::Negotiate.to_wire();
        if header.flags.contains(HeaderFlags::SERVER_TO_REDIR) || first != negotiates {
            return false;
        }
        // CANCEL names a MessageId that was taken by another (MS-SMB2 3.3.5.2.3).
        header.command.to_wire() == Command::Cancel.to_wire()
            || conn.window.take(header.message_id, header.credit_charge)
    }

    /// Begins with a request, and answers it if that can be done at once.
    fn begin(&mut self, request: RequestId, header: Header, octets: &[u8]) {
        let Some(chain) = &mut self.current else { return };
        let conn = chain.conn;
        let related = header.flags.contains(HeaderFlags::RELATED_OPERATIONS);
        if !related {
            chain.session = header.session;
            if let Route::Sync { tree, .. } = header.route {
                chain.tree = tree;
            }
            chain.file = Err(Status::INVALID_PARAMETER);
        }
        let (session, tree, file) = (chain.session, chain.tree, chain.file);
        let signed = header.flags.contains(HeaderFlags::SIGNED);
        let command = Command::from_wire(header.command.to_wire());
        if command == Some(Command::Cancel) {
            return self.cancel(conn, &header);
        }
        let asked = Asked {
            conn,
            session,
            tree,
            header,
            command,
            signed,
            async_id: None,
            chain: None,
            want: Want::Plain,
        };
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.by_message.insert(header.message_id, request);
        }
        self.asked.insert(request, asked);
        let Some(command) = command else {
            return self.answer(request, Status::INVALID_PARAMETER, Response::Error { data: Vec::new() });
        };
        if let Err(status) =
            self.dispatch(request, command, octets, (session, tree, file.map(|file| (file, related))))
        {
            self.answer(request, status, Response::Error { data: Vec::new() });
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
        let answers = std::mem::take(&mut chain.answers);
        self.send(chain.conn, answers);
    }

    /// Ends a connection.
    pub(super) fn close(&mut self, conn: ConnId) {
        self.sent.push_back(Sent::Close(conn));
    }
}
