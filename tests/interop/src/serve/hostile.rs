//! What a client may send, and more: octets make histories of messages, well-formed and not, for a server that must survive
//! them, answer in whole messages, and have nothing left when everybody has gone.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::server::{Config, Event, RouteSeed, Server, Share, ShareFlags, ShareKind};
use leasehold::wire::{Fixed as _, Header, HeaderFlags, Route};
use leasehold::{ConnId, Dialect, FileId, HashKey, Instant, SessionId, Status, TreeId};

use super::session::MORE_PROCESSING_REQUIRED;
use super::{Engine, Sent, Setup, Shared};
use crate::fs::MemFs;
use crate::host::Host;
use crate::smb::ntlm::{Accounts, Credentials, Initiator};
use crate::smb::octets::{Octets, to_utf16};
use crate::smb::request::Command;
use crate::smb::signing::{Preauth, SigningKey};

/// What all files of such a server may hold, in octets.
const ROOM: u64 = 1 << 20;
/// How many messages one history has at most.
const MOST: usize = 256;
/// Who the second client is; the first one stays anonymous.
const NAME: &str = "ann";
const PASSWORD: &str = "secret";
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
    /// Channels that a client has left behind for a newer one.
    others: Vec<u64>,
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
    /// Channel.SigningKey and Session.SigningKey
    key: Option<SigningKey>,
    first_key: Option<SigningKey>,
    preauth: Preauth,
    /// What was heard last, and its status.
    last: (Vec<u8>, Option<Status>),
    /// Requests that go out with the next one, in a compound.
    gathered: Vec<Vec<u8>>,
    closed: bool,
}

impl Trial {
    fn new(revision: u16) -> Self {
        let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        config.persistence = true;
        let flags = ShareFlags::CONTINUOUSLY_AVAILABLE;
        let shared = Shared { share: Share::new(ShareKind::Disk, flags), cluster: false };
        let mut accounts = Accounts::new();
        accounts.add(NAME, PASSWORD);
        let setup = Setup {
            guid: [3; 16],
            name: "server".to_owned(),
            accounts,
            shares: BTreeMap::from([("share".to_owned(), shared)]),
            persistent_handles: true,
            test_controls: true,
        };
        let mut host = Host::new(Server::new(config), MemFs::with_limit(ROOM));
        assert_eq!(host.stored(Event::Recovered), Ok(()));
        let engine = Engine::new(setup, host);
        let (clients, others) = (Default::default(), Vec::new());
        let mut trial = Self { engine, revision, clients, conns: 0, others, now: Instant::ZERO };
        trial.work();
        trial.sign_in(0);
        trial.sign_in(1);
        trial
    }

    /// Does what one step says: a message as it is, one with a proper header, time, the loss of a connection, or a further
    /// channel.
    fn step(&mut self, kind: u8, octets: &[u8]) {
        let who = usize::from(kind & 1);
        match kind >> 1 & 7 {
            0 => self.raw(who, octets),
            1 => {
                let millis = octets.first_chunk().map_or(1000, |pair| u64::from(u16::from_le_bytes(*pair)));
                self.pass(Duration::from_millis(millis));
            }
            2 => self.lose(who),
            3 => self.bind(who),
            _ => self.guided(who, kind >> 4, octets),
        }
    }

    fn raw(&mut self, who: usize, octets: &[u8]) {
        let conn = self.conn(who);
        self.engine.received(conn, octets);
        self.work();
    }

    /// A body behind a header that is as it should be. With bit 0 of `bits` it names the open that the client has, with bit 1 it
    /// is a replay, with bit 2 it waits for others to go out in a compound, and with bit 3 it is related to the one before.
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
        flags.set(HeaderFlags::RELATED_OPERATIONS, bits & 8 != 0);
        self.conn(who);
        let request = self.request(who, command, flags, &body);
        let Some(client) = self.clients.get_mut(who) else { return };
        client.gathered.push(request);
        if bits & 4 == 0 {
            let message = client.compound();
            self.raw(who, &message);
        }
    }

    /// A request, not signed yet.
    fn request(&mut self, who: usize, command: Command, flags: HeaderFlags, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let Some(client) = self.clients.get_mut(who) else { return message };
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
        header.encode(&mut message);
        message.extend_from_slice(body);
        message
    }

    /// Sends a request, signed if there is a key. Returns its octets, and those of what was heard last.
    fn send(&mut self, who: usize, command: Command, body: &[u8]) -> [Vec<u8>; 2] {
        let mut message = self.request(who, command, HeaderFlags::empty(), body);
        let Some(client) = self.clients.get(who) else { return Default::default() };
        if let Some(key) = client.key {
            key.sign(&mut message);
        }
        self.engine.received(ConnId::new(client.conn), &message);
        self.work();
        let heard = self.clients.get(who).map(|client| client.last.0.clone());
        [message, heard.unwrap_or_default()]
    }

    /// NEGOTIATE, SESSION_SETUP, TREE_CONNECT.
    fn sign_in(&mut self, who: usize) {
        self.negotiate(who, Client::default());
        assert!(self.authenticate(who, false), "signed in by {:#06x}", self.revision);
        let path = to_utf16("\\\\server\\share");
        let len = u16::try_from(path.len()).unwrap_or(0);
        let mut body = [9, 0, 0, 0, 72, 0].to_vec();
        body.extend(len.to_le_bytes());
        body.extend(path);
        self.send(who, Command::TreeConnect, &body);
        let client = self.clients.get(who);
        assert!(
            client.is_some_and(|client| client.tree != 0),
            "signed in by {:#06x}: {client:?}",
            self.revision
        );
    }

    /// A further channel of the session, which the client uses from now on.
    fn bind(&mut self, who: usize) {
        let conn = self.conn(who).get();
        let Some(client) = self.clients.get(who).filter(|client| client.key.is_some()) else { return };
        if self.revision < 0x0300 || self.others.len() >= 8 {
            return;
        }
        let Client { session, tree, file, first_key, .. } = *client;
        self.negotiate(who, Client { session, tree, file, first_key, ..Client::default() });
        self.others.push(conn);
        if let Some(client) = self.clients.get_mut(who) {
            client.key = first_key;
        }
        if !self.authenticate(who, true) {
            self.lose(who);
        }
    }

    /// A new connection.
    fn negotiate(&mut self, who: usize, client: Client) {
        self.conns += 1;
        let conn = self.conns;
        if let Some(known) = self.clients.get_mut(who) {
            *known = Client { conn, ..client };
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
        let messages = self.send(who, Command::Negotiate, &negotiate);
        if let Some(client) = self.clients.get_mut(who) {
            messages.iter().for_each(|message| client.preauth.update(message));
        }
    }

    /// SESSION_SETUP, twice. Whether it came to a good end.
    fn authenticate(&mut self, who: usize, binding: bool) -> bool {
        let (name, password, domain) = (NAME.to_owned(), PASSWORD.to_owned(), String::new());
        let credentials =
            if who == 0 { Credentials::Anonymous } else { Credentials::User { name, password, domain } };
        let mut initiator = Initiator::new(credentials);
        let mut preauth = self.clients.get(who).map(|client| client.preauth).unwrap_or_default();
        let mut token = initiator.start();
        loop {
            let mut body = [25, 0, u8::from(binding), 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0].to_vec();
            body.extend(u16::try_from(token.len()).unwrap_or(0).to_le_bytes());
            body.extend([0; 8]);
            body.extend(&token);
            let [request, answer] = self.send(who, Command::SessionSetup, &body);
            preauth.update(&request);
            let status = self.clients.get(who).and_then(|client| client.last.1);
            if status != Some(MORE_PROCESSING_REQUIRED) {
                let dialect = Dialect::from_wire(self.revision).unwrap_or(Dialect::Smb202);
                let key = initiator.session_key();
                if let Some(client) = self.clients.get_mut(who) {
                    client.key = key.map(|key| SigningKey::derive(dialect, key, Some(&preauth.value())));
                    client.first_key = client.first_key.or(client.key);
                }
                return status == Some(Status::SUCCESS);
            }
            preauth.update(&answer);
            let octets = Octets(&answer);
            let (at, len) = (octets.u16(68).unwrap_or(0), octets.u16(70).unwrap_or(0));
            let said = octets.slice(at.into(), len.into()).unwrap_or_default();
            let Ok(next) = initiator.step(said, [8; 8], [9; 16]) else { return false };
            token = next;
        }
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

    fn lose_other(&mut self, conn: u64) {
        self.others.retain(|other| *other != conn);
        self.engine.disconnected(ConnId::new(conn));
        self.work();
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
                Sent::Message(conn, octets) | Sent::Notification(conn, _, octets) => {
                    self.hear(conn, octets.get(4..).unwrap_or_default())
                }
                Sent::Close(conn) => {
                    let who = self.clients.iter().position(|client| client.conn == conn.get());
                    match who {
                        Some(who) => self.lose(who),
                        None => self.lose_other(conn.get()),
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
        let mut client = self.clients.iter_mut().find(|client| client.conn == conn.get());
        loop {
            let header = Header::split(message).map(|(header, _)| header);
            assert!(header.is_ok(), "a whole message: {header:?}");
            let Ok(header) = header else { return };
            assert!(header.flags.contains(HeaderFlags::SERVER_TO_REDIR), "from a server");
            if let Some(client) = &mut client {
                client.learn(&header, message);
            }
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
        std::mem::take(&mut self.others).into_iter().for_each(|conn| self.lose_other(conn));
        self.pass(Duration::from_secs(3600));
        assert!(self.engine.host().server().idle(), "nothing is left in the machine");
        assert_eq!(self.engine.left(), 0, "nothing is left around it");
    }
}

impl Client {
    fn learn(&mut self, header: &Header, message: &[u8]) {
        let done = header.status == Status::SUCCESS;
        self.last = (message.to_vec(), Some(header.status));
        match Command::from_wire(header.command.to_wire()) {
            Some(Command::SessionSetup) => self.session = header.session.get(),
            Some(Command::TreeConnect) if done => {
                if let Route::Sync { tree, .. } = header.route {
                    self.tree = tree.get();
                }
            }
            Some(Command::Create) if done => self.file = Octets(message).file_id(128).ok(),
            _ => {}
        }
    }

    /// What was gathered, in one message.
    fn compound(&mut self) -> Vec<u8> {
        let mut requests = std::mem::take(&mut self.gathered);
        let last = requests.len().saturating_sub(1);
        for (index, request) in requests.iter_mut().enumerate() {
            if index < last {
                request.resize(request.len().next_multiple_of(8), 0);
                let next = u32::try_from(request.len()).unwrap_or(0).to_le_bytes();
                if let Some(field) = request.get_mut(20..24) {
                    field.copy_from_slice(&next);
                }
            }
            if let Some(key) = self.key {
                key.sign(request);
            }
        }
        requests.concat()
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
            history.extend(step(0x08, &create()));
            history.extend(step(0x09, &create()));
            history.extend(step(0x02, &[0xff, 0xff]));
            history.extend(step(0x19, &[Command::Close as u8, 24, 0, 0, 0, 0, 0, 0, 0].map(|octet| octet)));
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
                hostile(&[vec![4], step(0x08, &create()), step(0x18, &octets)].concat());
            }
        }
        for at in 1..body.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut octets = body.clone();
                octets[at] = value;
                hostile(&[vec![4], step(0x08, &octets), step(0x09, &create())].concat());
            }
        }
    }

    #[test]
    fn compounds_of_who_signs_on_one_channel_after_another() {
        let named = |command: Command, size: u8| {
            let mut body = vec![command as u8, size];
            body.resize(65, 0);
            body
        };
        let (close, query) = (named(Command::Close, 24), named(Command::QueryInfo, 41));
        let watch = named(Command::ChangeNotify, 32);
        for dialect in 0..5 {
            let mut history = vec![dialect];
            for _ in 0..3 {
                // A batch oplock of one stands in the way of a CREATE with three more behind it.
                history.extend(step(0x08, &create()));
                history.extend(step(0x48 | 1, &create()));
                history.extend(step(0xc8 | 1, &query));
                history.extend(step(0xc8 | 1, &watch));
                history.extend(step(0x88 | 1, &close));
                history.extend(step(0x06 | 1, &[]));
                history.extend(step(0x09, &create()));
                history.extend(step(0x18, &close));
            }
            hostile(&history);
        }
    }

    #[test]
    fn whoever_has_a_name_can_have_channels() {
        for revision in [0x0300, 0x0302, 0x0311] {
            let mut trial = Trial::new(revision);
            for channels in 1..4 {
                trial.bind(1);
                assert!(!trial.clients[1].closed && trial.others.len() == channels, "{revision:#06x}");
            }
            trial.end();
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
