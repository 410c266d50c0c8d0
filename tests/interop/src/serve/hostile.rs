//! What a client may send, and more: octets make histories of messages, well-formed and not, for a server that must survive
//! them, answer in whole messages, and have nothing left when everybody has gone.

mod drawn;

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::server::{Config, Event, RouteSeed, Server, Share, ShareFlags, ShareKind};
use leasehold::wire::{Fixed as _, Header, HeaderFlags, Route};
use leasehold::{ConnId, Dialect, FileId, HashKey, Instant, SessionId, Status, TreeId};

use self::drawn::CHOICES;
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
/// How many connections there are at most beside the two.
const MOST_CHANNELS: usize = 8;
/// In the first octet: the clients sign in as a user, and sign; both have the same ClientGuid.
const USERS: u8 = 0x80;
const ONE_CLIENT: u8 = 0x40;
/// In the first octet: steps are of one length.
const DRAWN: u8 = 0x20;
const USER: &str = "user";
const PASSWORD: &str = "password";
const REVISIONS: [u16; 5] = [0x0202, 0x0210, 0x0300, 0x0302, 0x0311];

/// Feeds a server what the octets say: first the dialect, with [`USERS`], [`ONE_CLIENT`] and [`DRAWN`]; then steps, each its kind, the length
/// of what belongs to it in sixteen bits, and that. The lowest bit of a kind is which client; then
///
/// | bits 1 to 3 | what |
/// |---|---|
/// | 0 | a message as it is |
/// | 1 | time passes: milliseconds in two octets |
/// | 2 | the connection is lost |
/// | 3, 4, 5 | a command and the body of its request; the open is the last one of the client, the one before, the last of the other |
/// | 6 | 0: another connection signs in, in place of the session; 1: the connection is bound to the session of the other; 2: another connection is bound to its own |
/// | 7 | ChannelSequence, in one octet |
///
/// and for requests
///
/// | bit | what |
/// |---|---|
/// | 4 | the request names that open; of CREATE, a context that wants one back; CANCEL names what waits |
/// | 5 | SMB2_FLAGS_REPLAY_OPERATION |
/// | 6 | more follows in the compound |
/// | 7 | SMB2_FLAGS_RELATED_OPERATIONS |
///
/// With [`DRAWN`] each step has its kind and four octets; instead of a message as it is, and of a body, they choose a request.
///
/// # Panics
///
/// If it does what no server may.
pub fn hostile(input: &[u8]) {
    answers(input);
}

/// As [`hostile`]. Returns what both clients heard once they had signed in: which command, and the status.
///
/// # Panics
///
/// If the server does what no server may.
pub fn answers(input: &[u8]) -> Vec<(Command, Status)> {
    let Some((&first, mut rest)) = input.split_first() else { return Vec::new() };
    let mut trial = Trial::new(first);
    trial.heard.clear();
    for _ in 0..MOST {
        if first & DRAWN != 0 {
            let Some((&[kind, choices @ ..], behind)) = rest.split_first_chunk::<{ 1 + CHOICES }>() else {
                break;
            };
            rest = behind;
            trial.drawn(kind, choices);
            continue;
        }
        let Some((&[kind, low, high], behind)) = rest.split_first_chunk() else { break };
        let len = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (octets, behind) = behind.split_at(len);
        rest = behind;
        trial.step(kind, octets);
    }
    trial.end();
    trial.heard
}

struct Trial {
    engine: Engine,
    revision: u16,
    /// Whether the clients have a name and a password.
    users: bool,
    /// Whether both have the same ClientGuid.
    one_client: bool,
    clients: [Client; 2],
    conns: u64,
    /// Channels that a client has left behind for a newer one.
    others: Vec<u64>,
    heard: Vec<(Command, Status)>,
    /// Whether a message was sent as it is, so that nobody knows what is to be answered.
    raw: bool,
    now: Instant,
}

/// A client as far as it has come.
#[derive(Default)]
struct Client {
    conn: u64,
    message_id: u64,
    session: u64,
    tree: u32,
    /// What was opened last, and before.
    files: [Option<FileId>; 2],
    /// AsyncId of what waits.
    waits: Option<u64>,
    /// The token of the last SESSION_SETUP.
    token: Vec<u8>,
    /// PreauthIntegrityHashValue of the connection, and of who signs in on it.
    negotiated: Preauth,
    preauth: Preauth,
    /// Channel.SigningKey and Session.SigningKey
    key: Option<SigningKey>,
    first_key: Option<SigningKey>,
    sequence: u16,
    /// The beginning of a compound.
    held: Vec<u8>,
    /// What was asked and is not answered, by its MessageId.
    asked: BTreeMap<u64, Command>,
    closed: bool,
}

/// What a message has beside its command and body.
#[derive(Clone, Copy, Default)]
struct Extras {
    flags: HeaderFlags,
    /// Whether more follows in the compound.
    more: bool,
    /// AsyncId, for CANCEL.
    async_id: Option<u64>,
}

impl Trial {
    fn new(first: u8) -> Self {
        let dialect = usize::from(first & !(USERS | ONE_CLIENT | DRAWN)) % REVISIONS.len();
        let revision = REVISIONS.get(dialect).copied().unwrap_or(0x0311);
        let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        config.persistence = true;
        let flags = ShareFlags::CONTINUOUSLY_AVAILABLE;
        let shared = Shared { share: Share::new(ShareKind::Disk, flags), cluster: false };
        let mut accounts = Accounts::new();
        accounts.add(USER, PASSWORD);
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
        let (users, one_client) = (first & USERS != 0, first & ONE_CLIENT != 0);
        let clients = Default::default();
        let mut trial = Self {
            engine,
            revision,
            users,
            one_client,
            clients,
            conns: 0,
            others: Vec::new(),
            heard: Vec::new(),
            raw: false,
            now: Instant::ZERO,
        };
        trial.work();
        trial.sign_in(0, 0);
        trial.sign_in(1, 0);
        trial
    }

    /// Does what one step says.
    fn step(&mut self, kind: u8, octets: &[u8]) {
        let who = usize::from(kind & 1);
        let bits = kind >> 4;
        match kind >> 1 & 7 {
            0 => self.raw(who, octets),
            1 => {
                let millis = octets.first_chunk().map_or(1000, |pair| u64::from(u16::from_le_bytes(*pair)));
                self.pass(Duration::from_millis(millis));
            }
            2 => self.lose(who),
            3 => self.guided(who, bits, self.file(who, 0), octets),
            4 => self.guided(who, bits, self.file(who, 1), octets),
            5 => self.guided(who, bits, self.file(1 - who, 0), octets),
            6 => match octets.first().map_or(0, |octet| octet % 3) {
                0 => self.sign_in_again(who),
                1 => self.bind(who),
                _ => self.another_channel(who),
            },
            _ => {
                let client = self.clients.get_mut(who);
                if let (Some(client), Some(&sequence)) = (client, octets.first()) {
                    client.sequence = sequence.into();
                }
            }
        }
    }

    /// As [`step`](Self::step), with a request that is drawn.
    fn drawn(&mut self, kind: u8, choices: [u8; CHOICES]) {
        let [first, ..] = choices;
        // Connections come and go, but seldom.
        let kind = match kind >> 1 & 7 {
            2 | 6 if first & 3 != 0 => kind & !0xe | 3 << 1,
            0 => kind | 3 << 1,
            _ => kind,
        };
        // Related requests have the open of the one before.
        let kind = if kind & 0x80 == 0 { kind | 0x10 } else { kind };
        match kind >> 1 & 7 {
            3..=5 => self.step(kind, &drawn::request(choices)),
            6 => self.step(kind, &[first >> 2]),
            _ => self.step(kind, &choices),
        }
    }

    fn raw(&mut self, who: usize, octets: &[u8]) {
        let conn = self.conn(who);
        self.raw = true;
        self.engine.received(conn, octets);
        self.work();
    }

    fn file(&self, who: usize, before: usize) -> Option<FileId> {
        self.clients.get(who).and_then(|client| client.files.get(before).copied().flatten())
    }

    /// A body behind a header that is as it should be.
    fn guided(&mut self, who: usize, bits: u8, file: Option<FileId>, octets: &[u8]) {
        let Some((&command, body)) = octets.split_first() else { return };
        let Some(command) = Command::from_wire(u16::from(command) % 19) else { return };
        let mut body = body.to_vec();
        if let (true, Some(file)) = (bits & 1 != 0, file) {
            let at = match command {
                Command::Read | Command::Write | Command::SetInfo => 16,
                Command::QueryInfo => 24,
                // Behind the name of the context and its padding.
                Command::Create => {
                    let name = body.windows(4).position(|name| matches!(name, b"DHnC" | b"DH2C"));
                    name.map_or(body.len(), |at| at + 8)
                }
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
        let waits = self.clients.get(who).and_then(|client| client.waits);
        let async_id = waits.filter(|_| command == Command::Cancel && bits & 1 != 0);
        flags.set(HeaderFlags::ASYNC_COMMAND, async_id.is_some());
        self.send(who, command, Extras { flags, more: bits & 4 != 0, async_id }, &body);
    }

    fn send(&mut self, who: usize, command: Command, extras: Extras, body: &[u8]) {
        let conn = self.conn(who);
        let Some(client) = self.clients.get_mut(who) else { return };
        let len = (Header::LEN + body.len()).next_multiple_of(8);
        let header = Header {
            credit_charge: 1,
            status: Status::from_wire(client.sequence.into()),
            command: leasehold::wire::Command::from_wire(command.to_wire()),
            credits: 8,
            flags: extras.flags,
            next_command: if extras.more { u32::try_from(len).unwrap_or(0) } else { 0 },
            // CANCEL names the request before.
            message_id: client.message_id.saturating_sub((command == Command::Cancel).into()),
            route: match extras.async_id {
                Some(id) => Route::Async { id },
                None => Route::Sync { reserved: 0, tree: TreeId::new(client.tree) },
            },
            session: SessionId::new(client.session),
            signature: [0; 16],
        };
        if command != Command::Cancel {
            client.asked.insert(client.message_id, command);
            client.message_id += 1;
        }
        let mut message = Vec::new();
        header.encode(&mut message);
        message.extend_from_slice(body);
        if extras.more {
            message.resize(len, 0);
        }
        if let Some(key) = client.key {
            key.sign(&mut message);
        }
        match command {
            Command::Negotiate => client.negotiated.update(&message),
            Command::SessionSetup => client.preauth.update(&message),
            _ => {}
        }
        client.held.append(&mut message);
        if !extras.more {
            let message = std::mem::take(&mut client.held);
            self.engine.received(conn, &message);
            self.work();
        }
    }

    /// NEGOTIATE, SESSION_SETUP, TREE_CONNECT; `previous` is the session to be replaced.
    fn sign_in(&mut self, who: usize, previous: u64) {
        let files = self.clients.get(who).map(|client| client.files).unwrap_or_default();
        self.negotiate(who, Client { files, ..Client::default() });
        self.authenticate(who, 0, previous);
        let path = to_utf16("\\\\server\\share");
        let len = u16::try_from(path.len()).unwrap_or(0);
        let mut body = [9, 0, 0, 0, 72, 0].to_vec();
        body.extend(len.to_le_bytes());
        body.extend(path);
        self.send(who, Command::TreeConnect, Extras::default(), &body);
        let tree = self.clients.get(who).map_or(0, |client| client.tree);
        assert!(tree != 0, "signed in by {:#06x}", self.revision);
    }

    /// A new connection.
    fn negotiate(&mut self, who: usize, client: Client) {
        self.conns += 1;
        let conn = self.conns;
        if let Some(known) = self.clients.get_mut(who) {
            *known = Client { conn, ..client };
        }
        self.engine.connected(ConnId::new(conn));
        let guid = if self.one_client { [1; 16] } else { [u8::try_from(who).unwrap_or(0) + 1; 16] };
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
        self.send(who, Command::Negotiate, Extras::default(), &negotiate);
    }

    /// A further channel of the session, which the client uses from now on.
    fn another_channel(&mut self, who: usize) {
        let conn = self.conn(who).get();
        let Some(client) = self.clients.get(who).filter(|client| client.key.is_some()) else { return };
        if self.revision < 0x0300 || self.others.len() >= MOST_CHANNELS {
            return;
        }
        let Client { session, tree, files, first_key, .. } = *client;
        self.negotiate(who, Client { session, tree, files, first_key, ..Client::default() });
        self.others.push(conn);
        if let Some(client) = self.clients.get_mut(who) {
            client.key = first_key;
        }
        if !self.authenticate(who, 1, 0) {
            self.lose(who);
        }
    }

    /// A client connects again without having lost its connection.
    fn sign_in_again(&mut self, who: usize) {
        let Some(Client { conn, session, closed, .. }) = self.clients.get(who) else { return };
        let (conn, session, closed) = (*conn, *session, *closed);
        self.sign_in(who, session);
        if !closed {
            self.engine.disconnected(ConnId::new(conn));
            self.work();
        }
    }

    /// The connection of a client is bound to the session of the other, if that may be.
    fn bind(&mut self, who: usize) {
        self.conn(who);
        self.conn(1 - who);
        let other = self.clients.get(1 - who).map(|other| (other.session, other.tree, other.first_key));
        let (Some(client), Some((session, tree, key))) = (self.clients.get_mut(who), other) else { return };
        let own = (client.session, client.key, client.first_key);
        (client.session, client.key, client.first_key) = (session, key, key);
        let done = self.authenticate(who, 1, 0);
        if let Some(client) = self.clients.get_mut(who) {
            if done {
                client.tree = tree;
            } else {
                (client.session, client.key, client.first_key) = own;
            }
        }
    }

    /// SESSION_SETUP, twice. Whether both were answered.
    fn authenticate(&mut self, who: usize, flags: u8, previous: u64) -> bool {
        let credentials = if self.users {
            let (name, password) = (USER.to_owned(), PASSWORD.to_owned());
            Credentials::User { name, password, domain: String::new() }
        } else {
            Credentials::Anonymous
        };
        if let Some(client) = self.clients.get_mut(who) {
            client.preauth = client.negotiated;
        }
        let mut initiator = Initiator::new(credentials);
        let token = initiator.start();
        self.session_setup(who, flags, previous, &token);
        let token = self.clients.get(who).map(|client| client.token.clone()).unwrap_or_default();
        let Ok(token) = initiator.step(&token, [8; 8], [9; 16]) else { return false };
        self.session_setup(who, flags, previous, &token);
        let Some(client) = self.clients.get_mut(who) else { return false };
        if client.closed || initiator.finish(&client.token).is_err() {
            return false;
        }
        let dialect = Dialect::from_wire(self.revision);
        if let (Some(key), Some(dialect)) = (initiator.session_key(), dialect) {
            client.key = Some(SigningKey::derive(dialect, key, Some(&client.preauth.value())));
            client.first_key = client.first_key.or(client.key);
        }
        true
    }

    fn session_setup(&mut self, who: usize, flags: u8, previous: u64, token: &[u8]) {
        let mut body = [25, 0, flags, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0].to_vec();
        body.extend(u16::try_from(token.len()).unwrap_or(0).to_le_bytes());
        body.extend(previous.to_le_bytes());
        body.extend(token);
        self.send(who, Command::SessionSetup, Extras::default(), &body);
    }

    /// The connection of a client, which comes again if it was lost.
    fn conn(&mut self, who: usize) -> ConnId {
        if self.clients.get(who).is_some_and(|client| client.closed) {
            self.sign_in(who, 0);
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
                    self.hear(conn, octets.get(4..).unwrap_or_default());
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
                let ends = header.status != Status::PENDING && header.message_id != u64::MAX;
                let known = !ends || client.asked.remove(&header.message_id).is_some();
                assert!(known || self.raw, "answered twice: {header:?}");
                client.learn(&header, Octets(message));
            }
            let command = Command::from_wire(header.command.to_wire());
            self.heard.extend(command.map(|command| (command, header.status)));
            let next = usize::try_from(header.next_command).unwrap_or(0);
            if next == 0 {
                return;
            }
            assert!(next % 8 == 0 && next < message.len(), "the next one lies inside");
            message = message.get(next..).unwrap_or_default();
        }
    }

    /// Time passes: what is not answered then waits for others, or behind something that does. Everybody goes, and time passes
    /// again: nothing may be left.
    fn end(&mut self) {
        for who in 0..self.clients.len() {
            if self.clients.get(who).is_some_and(|client| !client.closed && !client.held.is_empty()) {
                self.send(who, Command::Echo, Extras::default(), &[4, 0, 0, 0]);
            }
        }
        self.pass(Duration::from_secs(3600));
        for client in self.clients.iter().filter(|client| !client.closed && !self.raw) {
            let mut asked = client.asked.values();
            let waits = asked.any(|command| matches!(command, Command::Lock | Command::ChangeNotify));
            assert!(waits || client.asked.is_empty(), "not answered: {:?}", client.asked);
        }
        self.lose(0);
        self.lose(1);
        std::mem::take(&mut self.others).into_iter().for_each(|conn| self.lose_other(conn));
        self.pass(Duration::from_secs(3600));
        assert!(self.engine.host().server().idle(), "nothing is left in the machine");
        assert_eq!(self.engine.left(), 0, "nothing is left around it");
    }
}

impl Client {
    fn learn(&mut self, header: &Header, octets: Octets<'_>) {
        let done = header.status == Status::SUCCESS;
        if let (Status::PENDING, Route::Async { id }) = (header.status, header.route) {
            self.waits = Some(id);
        }
        match Command::from_wire(header.command.to_wire()) {
            Some(Command::SessionSetup) => {
                self.session = header.session.get();
                if !done {
                    self.preauth.update(octets.0);
                }
                let at = octets.u16(68).unwrap_or(0).into();
                let len = octets.u16(70).unwrap_or(0).into();
                self.token = octets.slice(at, len).unwrap_or_default().to_vec();
            }
            Some(Command::Negotiate) => self.negotiated.update(octets.0),
            Some(Command::TreeConnect) if done => {
                if let Route::Sync { tree, .. } = header.route {
                    self.tree = tree.get();
                }
            }
            Some(Command::Create) if done => {
                let [last, _] = self.files;
                self.files = [octets.file_id(128).ok(), last];
            }
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
    fn compounds_of_who_signs_on_one_channel_after_another() {
        let named = |command: Command, size: u8| {
            let mut body = vec![command as u8, size];
            body.resize(65, 0);
            body
        };
        let (close, query) = (named(Command::Close, 24), named(Command::QueryInfo, 41));
        let watch = named(Command::ChangeNotify, 32);
        for dialect in 0..5 {
            let mut history = vec![dialect | USERS];
            for _ in 0..3 {
                // A batch oplock of one stands in the way of a CREATE with three more behind it.
                history.extend(step(0x06, &create()));
                history.extend(step(0x46 | 1, &create()));
                history.extend(step(0xc6 | 1, &query));
                history.extend(step(0xc6 | 1, &watch));
                history.extend(step(0x86 | 1, &close));
                history.extend(step(0x0d, &[2]));
                history.extend(step(0x07, &create()));
                history.extend(step(0x16, &close));
            }
            hostile(&history);
        }
    }

    #[test]
    fn whoever_has_a_name_can_have_channels() {
        for dialect in 2..5 {
            let mut trial = Trial::new(dialect | USERS);
            for channels in 1..4 {
                trial.another_channel(1);
                assert!(!trial.clients[1].closed && trial.others.len() == channels, "{dialect}");
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
