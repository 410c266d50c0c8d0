//! What a client may send, and more: octets make histories of messages, well-formed and not, for a server that must survive
//! them, answer in whole messages, and have nothing left when everybody has gone.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::server::{Config, Event, RouteSeed, Server, Share, ShareFlags, ShareKind};
use leasehold::wire::{Fixed as _, Header, HeaderFlags, Route};
use leasehold::{ConnId, FileId, HashKey, Instant, SessionId, Status, TreeId};

use super::{Engine, Sent, Setup, Shared};
use crate::fs::MemFs;
use crate::host::Host;
use crate::smb::ntlm::{Accounts, Credentials, Initiator};
use crate::smb::octets::{Octets, to_utf16};
use crate::smb::request::Command;

/// What all files of such a server may hold, in octets.
const ROOM: u64 = 1 << 20;
/// How many messages one history has at most.
const MOST: usize = 256;
const REVISIONS: [u16; 5] = [0x0202, 0x0210, 0x0300, 0x0302, 0x0311];

/// Feeds a server what the octets say.
///
/// # Panics
///
/// If it does what no server may.
pub fn hostile(input: &[u8]) {
    let Some((&first, mut rest)) = input.split_first() else { return };
    let revision = REVISIONS.get(usize::from(first) % REVISIONS.len()).copied().unwrap_or(0x0311);
    let mut trial = Trial::new(revision);
    for _ in 0..MOST {
        let Some((&[kind, low, high], behind)) = rest.split_first_chunk() else { break };
        let len = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (octets, behind) = behind.split_at(len);
        rest = behind;
        trial.step(kind, octets);
    }
    trial.end();
}

struct Trial {
    engine: Engine,
    revision: u16,
    clients: [Client; 2],
    conns: u64,
    now: Instant,
}

/// A client as far as it has come.
#[derive(Debug, Default)]
struct Client {
    conn: u64,
    message_id: u64,
    session: u64,
    tree: u32,
    /// What was opened last.
    file: Option<FileId>,
    /// The token of the last SESSION_SETUP.
    token: Vec<u8>,
    closed: bool,
}

impl Trial {
    fn new(revision: u16) -> Self {
        let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        config.persistence = true;
        let flags = ShareFlags::CONTINUOUSLY_AVAILABLE;
        let shared = Shared { share: Share::new(ShareKind::Disk, flags), cluster: false };
        let setup = Setup {
            guid: [3; 16],
            name: "server".to_owned(),
            accounts: Accounts::new(),
            shares: BTreeMap::from([("share".to_owned(), shared)]),
            persistent_handles: true,
            test_controls: true,
        };
        let mut host = Host::new(Server::new(config), MemFs::with_limit(ROOM));
        assert_eq!(host.stored(Event::Recovered), Ok(()));
        let engine = Engine::new(setup, host);
        let mut trial = Self { engine, revision, clients: Default::default(), conns: 0, now: Instant::ZERO };
        trial.work();
        trial.sign_in(0);
        trial.sign_in(1);
        trial
    }

    /// Does what one step says: a message as it is, one with a proper header, time, or the loss of a connection.
    fn step(&mut self, kind: u8, octets: &[u8]) {
        let who = usize::from(kind & 1);
        match kind >> 1 & 7 {
            0 => self.raw(who, octets),
            1 => {
                let millis = octets.first_chunk().map_or(1000, |pair| u64::from(u16::from_le_bytes(*pair)));
                self.pass(Duration::from_millis(millis));
            }
            2 => self.lose(who),
            _ => self.guided(who, kind >> 4, octets),
        }
    }

    fn raw(&mut self, who: usize, octets: &[u8]) {
        let conn = self.conn(who);
        self.engine.received(conn, octets);
        self.work();
    }

    /// A body behind a header that is as it should be; with bit 1 of `bits` it names the open that the client has.
    fn guided(&mut self, who: usize, bits: u8, octets: &[u8]) {
        let Some((&command, body)) = octets.split_first() else { return };
        let Some(command) = Command::from_wire(u16::from(command) % 19) else { return };
        let Some(client) = self.clients.get(who) else { return };
        let mut body = body.to_vec();
        if let (true, Some(file)) = (bits & 1 != 0, client.file) {
            let at = match command {
                Command::Read | Command::Write | Command::SetInfo => 16,
                Command::QueryInfo => 24,
                _ => 8,
            };
            let halves = [file.persistent, file.volatile].map(u64::to_le_bytes);
            if let Some(field) = body.get_mut(at..at + 16) {
                field.copy_from_slice(halves.as_flattened());
            }
        }
        let mut flags = HeaderFlags::empty();
        flags.set(HeaderFlags::REPLAY_OPERATION, bits & 2 != 0);
        self.send(who, command, flags, &body);
    }

    fn send(&mut self, who: usize, command: Command, flags: HeaderFlags, body: &[u8]) {
        let conn = self.conn(who);
        let Some(client) = self.clients.get_mut(who) else { return };
        let header = Header {
            credit_charge: 1,
            status: Status::SUCCESS,
            command: leasehold::wire::Command::from_wire(command.to_wire()),
            credits: 8,
            flags,
            next_command: 0,
            message_id: client.message_id,
            route: Route::Sync { reserved: 0, tree: TreeId::new(client.tree) },
            session: SessionId::new(client.session),
            signature: [0; 16],
        };
        if command != Command::Cancel {
            client.message_id += 1;
        }
        let mut message = Vec::new();
        header.encode(&mut message);
        message.extend_from_slice(body);
        self.engine.received(conn, &message);
        self.work();
    }

    /// NEGOTIATE, SESSION_SETUP without a name, TREE_CONNECT.
    fn sign_in(&mut self, who: usize) {
        self.conns += 1;
        let conn = self.conns;
        if let Some(client) = self.clients.get_mut(who) {
            *client = Client { conn, ..Client::default() };
        }
        self.engine.connected(ConnId::new(conn));
        let guid = [u8::try_from(who).unwrap_or(0) + 1; 16];
        let mut negotiate = [36, 0, 1, 0, 1, 0, 0, 0].to_vec();
        negotiate.extend(0x7f_u32.to_le_bytes());
        // Those of 2.0.2 have no name.
        negotiate.extend(if self.revision == 0x0202 { [0; 16] } else { guid });
        if self.revision == 0x0311 {
            // The contexts begin at a multiple of eight behind the header of 64 octets.
            negotiate.extend([104, 0, 0, 0, 1, 0, 0, 0]);
        } else {
            negotiate.extend([0; 8]);
        }
        negotiate.extend(self.revision.to_le_bytes());
        if self.revision == 0x0311 {
            negotiate.extend([0, 0, 1, 0, 38, 0, 0, 0, 0, 0, 1, 0, 32, 0, 1, 0]);
            negotiate.extend([7; 32]);
        }
        self.send(who, Command::Negotiate, HeaderFlags::empty(), &negotiate);
        let mut initiator = Initiator::new(Credentials::Anonymous);
        let token = initiator.start();
        self.session_setup(who, &token);
        let token = self.clients.get(who).map(|client| client.token.clone()).unwrap_or_default();
        let token = initiator.step(&token, [8; 8], [9; 16]).unwrap_or_default();
        self.session_setup(who, &token);
        let path = to_utf16("\\\\server\\share");
        let len = u16::try_from(path.len()).unwrap_or(0);
        let mut body = [9, 0, 0, 0, 72, 0].to_vec();
        body.extend(len.to_le_bytes());
        body.extend(path);
        self.send(who, Command::TreeConnect, HeaderFlags::empty(), &body);
        let client = self.clients.get(who);
        assert!(
            client.is_some_and(|client| client.tree != 0),
            "signed in by {:#06x}: {client:?}",
            self.revision
        );
    }

    fn session_setup(&mut self, who: usize, token: &[u8]) {
        let mut body = [25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0].to_vec();
        body.extend(u16::try_from(token.len()).unwrap_or(0).to_le_bytes());
        body.extend([0; 8]);
        body.extend(token);
        self.send(who, Command::SessionSetup, HeaderFlags::empty(), &body);
    }

    /// The connection of a client, which comes again if it was lost.
    fn conn(&mut self, who: usize) -> ConnId {
        if self.clients.get(who).is_some_and(|client| client.closed) {
            self.sign_in(who);
        }
        ConnId::new(self.clients.get(who).map_or(0, |client| client.conn))
    }

    fn lose(&mut self, who: usize) {
        if let Some(client) = self.clients.get_mut(who)
            && !client.closed
        {
            client.closed = true;
            self.engine.disconnected(ConnId::new(client.conn));
            self.work();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.engine.set_time(self.now, self.now.as_millis());
            self.engine.handle_timeout();
            self.work();
        }
        self.now = end;
        self.engine.set_time(end, end.as_millis());
    }

    /// Looks at what the server does.
    fn work(&mut self) {
        while let Some(sent) = self.engine.next() {
            match sent {
                Sent::Message(conn, octets) => self.hear(conn, octets.get(4..).unwrap_or_default()),
                Sent::Close(conn) => {
                    let who = self.clients.iter().position(|client| client.conn == conn.get());
                    if let Some(who) = who {
                        self.lose(who);
                    }
                }
                Sent::Persist(seq, _) => {
                    // A number that is older than another which is durable by now is no mistake.
                    let _ = self.engine.stored(Event::Persisted { up_to: seq });
                }
            }
        }
    }

    fn hear(&mut self, conn: ConnId, mut message: &[u8]) {
        let client = self.clients.iter_mut().find(|client| client.conn == conn.get());
        let Some(client) = client else { return };
        loop {
            let header = Header::split(message).map(|(header, _)| header);
            assert!(header.is_ok(), "a whole message: {header:?}");
            let Ok(header) = header else { return };
            assert!(header.flags.contains(HeaderFlags::SERVER_TO_REDIR), "from a server");
            client.learn(&header, Octets(message));
            let next = usize::try_from(header.next_command).unwrap_or(0);
            if next == 0 {
                return;
            }
            assert!(next % 8 == 0 && next < message.len(), "the next one lies inside");
            message = message.get(next..).unwrap_or_default();
        }
    }

    /// Everybody goes, and time passes: nothing may be left.
    fn end(&mut self) {
        self.lose(0);
        self.lose(1);
        self.pass(Duration::from_secs(3600));
        assert!(self.engine.host().server().idle(), "nothing is left in the machine");
        assert_eq!(self.engine.left(), 0, "nothing is left around it");
    }
}

impl Client {
    fn learn(&mut self, header: &Header, octets: Octets<'_>) {
        let done = header.status == Status::SUCCESS;
        match Command::from_wire(header.command.to_wire()) {
            Some(Command::SessionSetup) => {
                self.session = header.session.get();
                let at = octets.u16(68).unwrap_or(0).into();
                let len = octets.u16(70).unwrap_or(0).into();
                self.token = octets.slice(at, len).unwrap_or_default().to_vec();
            }
            Some(Command::TreeConnect) if done => {
                if let Route::Sync { tree, .. } = header.route {
                    self.tree = tree.get();
                }
            }
            Some(Command::Create) if done => self.file = octets.file_id(128).ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of a history.
    fn step(kind: u8, octets: &[u8]) -> Vec<u8> {
        let len = u16::try_from(octets.len()).unwrap().to_le_bytes();
        [&[kind][..], &len, octets].concat()
    }

    /// CREATE of `f`, with a batch oplock.
    fn create() -> Vec<u8> {
        let mut body = vec![Command::Create as u8, 57, 0, 0, 9];
        body.extend(2_u32.to_le_bytes());
        body.extend([0; 16]);
        for field in [0x0012_019f_u32, 0x80, 7, 3, 0] {
            body.extend(field.to_le_bytes());
        }
        body.extend([120, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'f', 0]);
        body
    }

    #[test]
    fn two_clients_and_every_dialect() {
        for dialect in 0..5 {
            let mut history = vec![dialect];
            history.extend(step(0x06, &create()));
            history.extend(step(0x07, &create()));
            history.extend(step(0x02, &[0xff, 0xff]));
            history.extend(step(0x17, &[Command::Close as u8, 24, 0, 0, 0, 0, 0, 0, 0].map(|octet| octet)));
            history.extend(step(0x04, &[]));
            hostile(&history);
        }
    }

    #[test]
    fn every_command_cut_short_anywhere_and_each_octet_damaged() {
        let body = create();
        for command in 0..19 {
            for len in 0..body.len() {
                let mut octets = body[..=len].to_vec();
                octets[0] = command;
                hostile(&[vec![4], step(0x06, &create()), step(0x16, &octets)].concat());
            }
        }
        for at in 1..body.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut octets = body.clone();
                octets[at] = value;
                hostile(&[vec![4], step(0x06, &octets), step(0x07, &create())].concat());
            }
        }
    }

    #[test]
    fn compounds_that_lead_nowhere() {
        for next in [1_u32, 8, 64, 72, 80, 0xffff_fff8, u32::MAX] {
            let mut message = Vec::new();
            Header::notification(SessionId::new(0), Status::SUCCESS).encode(&mut message);
            message[12] = Command::Echo as u8;
            message[16] = 0;
            message[20..24].copy_from_slice(&next.to_le_bytes());
            message[24..32].copy_from_slice(&3_u64.to_le_bytes());
            message.extend([4, 0, 0, 0, 0, 0, 0, 0]);
            hostile(&[vec![4], step(0x00, &message)].concat());
        }
    }
}
