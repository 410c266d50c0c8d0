//! Clients of a server without sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leasehold::server::{Config, Event, PersistSeq, RouteSeed, Server, Share, ShareFlags, ShareKind};
use leasehold::wire::{self, CreateRequest, Fixed as _, Header, HeaderFlags, Route};
use leasehold::{
    Access, ClientGuid, ConnId, CreateOptions, Dialect, FileId, HashKey, OplockLevel, SessionId, ShareMode,
    Status, TreeId,
};

use crate::fs::MemFs;
use crate::host::Host;
use crate::serve::{Engine, Sent, Setup, Shared};
use crate::smb::negotiate::NegotiateRequest;
use crate::smb::ntlm::{Accounts, Credentials, Initiator};
use crate::smb::octets::to_utf16;
use crate::smb::request::{Command, Request, SessionSetup};
use crate::smb::response::Response;
use crate::smb::signing::{Preauth, SigningKey};

pub(super) const RELATED: HeaderFlags = HeaderFlags::RELATED_OPERATIONS;

/// A server with its clients.
pub(super) struct World {
    pub(super) engine: Engine,
    /// What has come on each connection and was not looked at.
    inbox: BTreeMap<u64, VecDeque<Answer>>,
    pub(super) closed: BTreeSet<u64>,
    /// How many messages were sent to clients, and the longest of them.
    pub(super) messages: usize,
    pub(super) longest: usize,
    /// Whether the store is slow: changes gather here.
    pub(super) slow: bool,
    unstored: Vec<PersistSeq>,
}

/// One connection of a client.
#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) conn: ConnId,
    pub(super) dialect: Dialect,
    pub(super) next: u64,
    pub(super) session: SessionId,
    pub(super) tree: TreeId,
    pub(super) key: Option<SigningKey>,
    pub(super) charge: u16,
    pub(super) preauth: Preauth,
}

/// A response, or a notification.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) header: Header,
    pub(super) octets: Vec<u8>,
}

impl Answer {
    pub(super) fn status(&self) -> Status {
        self.header.status
    }

    pub(super) fn signed(&self) -> bool {
        self.header.flags.contains(HeaderFlags::SIGNED)
    }

    pub(super) fn response(&self) -> Response<'_> {
        let command = Command::from_wire(self.header.command.to_wire()).unwrap();
        Response::decode(command, &self.octets, self.header.status).unwrap()
    }

    /// What a CREATE has opened.
    pub(super) fn created(&self) -> Option<FileId> {
        let create = self.header.command.to_wire() == Command::Create.to_wire();
        match self.response() {
            Response::Create(created) if create => Some(created.file_id),
            _ => None,
        }
    }

    pub(super) fn file(&self) -> FileId {
        self.created().unwrap_or_else(|| panic!("{:?}", self.response()))
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
        config.persistence = true;
        let mut accounts = Accounts::new();
        accounts.add("ann", "secret");
        accounts.add("bob", "secret");
        let share = |flags| Shared { share: Share::new(ShareKind::Disk, flags), cluster: false };
        let setup = Setup {
            guid: [3; 16],
            name: "server".to_owned(),
            accounts,
            shares: BTreeMap::from([
                ("share".to_owned(), share(ShareFlags::empty())),
                ("ca".to_owned(), share(ShareFlags::CONTINUOUSLY_AVAILABLE)),
            ]),
            persistent_handles: true,
            test_controls: true,
        };
        let mut host = Host::new(Server::new(config), MemFs::with_limit(64 << 20));
        host.stored(Event::Recovered).unwrap();
        let mut world = Self {
            engine: Engine::new(setup, host),
            inbox: BTreeMap::new(),
            closed: BTreeSet::new(),
            messages: 0,
            longest: 0,
            slow: false,
            unstored: Vec::new(),
        };
        world.engine.work();
        world.work();
        world
    }

    /// A connection with NEGOTIATE done.
    pub(super) fn connect(&mut self, number: u64, guid: u8, dialect: Dialect) -> Client {
        let mut client = self.connect_only(number, dialect);
        let answer = self.negotiate(&mut client, guid);
        assert_eq!(answer.status(), Status::SUCCESS);
        client
    }

    pub(super) fn connect_only(&mut self, number: u64, dialect: Dialect) -> Client {
        self.engine.connected(ConnId::new(number));
        Client {
            conn: ConnId::new(number),
            dialect,
            next: 0,
            session: SessionId::new(0),
            tree: TreeId::new(0),
            key: None,
            charge: 1,
            preauth: Preauth::new(),
        }
    }

    pub(super) fn negotiate(&mut self, client: &mut Client, guid: u8) -> Answer {
        let request = Request::Negotiate(NegotiateRequest {
            security_mode: 1,
            capabilities: 0x7f,
            client: ClientGuid::from_wire([if client.dialect == Dialect::Smb202 { 0 } else { guid }; 16]),
            dialects: vec![crate::serve::conn::wire(client.dialect)],
            sha512: Some(true),
        });
        let octets = client.message(&request, HeaderFlags::empty());
        client.preauth.update(&octets);
        self.engine.received(client.conn, &octets);
        let answer = self.one(client);
        client.preauth.update(&answer.octets);
        answer
    }

    /// A connection with a session of `name` and a tree connect to `share`.
    pub(super) fn enter(&mut self, number: u64, guid: u8, dialect: Dialect, name: &str) -> Client {
        let mut client = self.connect(number, guid, dialect);
        assert_eq!(self.sign_in(&mut client, name, 1, 0).status(), Status::SUCCESS);
        self.tree(&mut client, "share");
        client
    }

    pub(super) fn tree(&mut self, client: &mut Client, share: &str) {
        let path = to_utf16(&format!("\\\\server\\{share}"));
        let answer = self.call(client, &Request::TreeConnect(&path));
        assert_eq!(answer.status(), Status::SUCCESS);
        let Route::Sync { tree, .. } = answer.header.route else { panic!() };
        client.tree = tree;
    }

    /// SESSION_SETUP; without a name, anonymous. With a session it is signed in again.
    pub(super) fn sign_in(&mut self, client: &mut Client, name: &str, mode: u8, previous: u64) -> Answer {
        let signing = client.key;
        self.authenticate(client, name, mode, previous, false, [signing, signing])
    }

    /// Binds a connection to the session of another. `keys` sign the two requests.
    pub(super) fn bind(
        &mut self,
        client: &mut Client,
        other: &Client,
        name: &str,
        keys: [Option<SigningKey>; 2],
    ) -> Answer {
        (client.session, client.tree) = (other.session, other.tree);
        self.authenticate(client, name, 1, 0, true, keys)
    }

    fn authenticate(
        &mut self,
        client: &mut Client,
        name: &str,
        security_mode: u8,
        previous: u64,
        binding: bool,
        keys: [Option<SigningKey>; 2],
    ) -> Answer {
        let credentials = if name.is_empty() {
            Credentials::Anonymous
        } else {
            let (name, password) = (name.to_owned(), "secret".to_owned());
            Credentials::User { name, password, domain: String::new() }
        };
        let mut initiator = Initiator::new(credentials);
        let mut token = initiator.start();
        let mut preauth = client.preauth;
        for key in keys {
            client.key = key;
            let setup = SessionSetup { binding, security_mode, previous, token: &token };
            let octets = client.message(&Request::SessionSetup(setup), HeaderFlags::empty());
            preauth.update(&octets);
            self.engine.received(client.conn, &octets);
            let answer = self.one(client);
            if answer.status() != crate::serve::session::MORE_PROCESSING_REQUIRED {
                let fresh = initiator.session_key();
                client.key = fresh.map(|key| SigningKey::derive(client.dialect, key, Some(&preauth.value())));
                return answer;
            }
            client.session = answer.header.session;
            preauth.update(&answer.octets);
            let Response::SessionSetup { token: said, .. } = answer.response() else { panic!() };
            let own = [client.conn.get() as u8; 16];
            token = initiator.step(&said, [8; 8], own).unwrap();
        }
        panic!("two messages are enough");
    }

    /// Sends a request and returns the one answer.
    pub(super) fn call(&mut self, client: &mut Client, request: &Request<'_>) -> Answer {
        self.send(client, request);
        self.one(client)
    }

    pub(super) fn send(&mut self, client: &mut Client, request: &Request<'_>) {
        let octets = client.message(request, HeaderFlags::empty());
        self.engine.received(client.conn, &octets);
        self.work();
    }

    /// Sends a compound.
    pub(super) fn compound(&mut self, client: &mut Client, requests: &[(&Request<'_>, HeaderFlags)]) {
        let mut message = Vec::new();
        for (index, (request, flags)) in requests.iter().enumerate() {
            let key = client.key.take();
            let mut octets = client.message(request, *flags);
            client.key = key;
            if index + 1 < requests.len() {
                octets.resize(octets.len().next_multiple_of(8), 0);
                let len = u32::try_from(octets.len()).unwrap();
                octets[20..24].copy_from_slice(&len.to_le_bytes());
            }
            if let Some(key) = key {
                key.sign(&mut octets);
            }
            message.extend(octets);
        }
        self.engine.received(client.conn, &message);
        self.work();
    }

    pub(super) fn raw(&mut self, client: &Client, octets: &[u8]) {
        self.engine.received(client.conn, octets);
        self.work();
    }

    pub(super) fn open(&mut self, client: &mut Client, name: &str) -> FileId {
        let name = to_utf16(name);
        let answer = self.call(client, &create(&name));
        assert_eq!(answer.status(), Status::SUCCESS);
        answer.file()
    }

    /// What has come on a connection.
    pub(super) fn heard(&mut self, client: &Client) -> Vec<Answer> {
        self.work();
        self.inbox.remove(&client.conn.get()).unwrap_or_default().into()
    }

    pub(super) fn statuses(&mut self, client: &Client) -> Vec<Status> {
        self.heard(client).iter().map(Answer::status).collect()
    }

    pub(super) fn one(&mut self, client: &Client) -> Answer {
        let mut heard = self.heard(client);
        assert_eq!(heard.len(), 1, "one answer: {heard:?}, closed: {:?}", self.closed);
        heard.remove(0)
    }

    pub(super) fn lose(&mut self, client: &Client) {
        self.engine.disconnected(client.conn);
        self.work();
    }

    pub(super) fn store(&mut self) {
        for seq in std::mem::take(&mut self.unstored) {
            let _ = self.engine.stored(Event::Persisted { up_to: seq });
        }
        self.work();
    }

    pub(super) fn work(&mut self) {
        while let Some(sent) = self.engine.next() {
            match sent {
                Sent::Message(conn, octets) | Sent::Notification(conn, _, octets) => {
                    let len =
                        usize::from(octets[1]) << 16 | usize::from(octets[2]) << 8 | usize::from(octets[3]);
                    assert_eq!(len, octets.len() - 4, "the length before a message is that of it");
                    self.messages += 1;
                    self.longest = self.longest.max(len);
                    self.hear(conn, &octets[4..]);
                }
                Sent::Close(conn) => {
                    self.closed.insert(conn.get());
                }
                Sent::Persist(seq, _) if self.slow => self.unstored.push(seq),
                Sent::Persist(seq, _) => {
                    let _ = self.engine.stored(Event::Persisted { up_to: seq });
                }
            }
        }
    }

    fn hear(&mut self, conn: ConnId, mut message: &[u8]) {
        loop {
            let (header, _) = Header::split(message).unwrap();
            let next = usize::try_from(header.next_command).unwrap();
            let octets = if next == 0 { message } else { &message[..next] }.to_vec();
            self.inbox.entry(conn.get()).or_default().push_back(Answer { header, octets });
            if next == 0 {
                return;
            }
            message = &message[next..];
        }
    }

    /// Everybody goes: nothing may be left.
    pub(super) fn end(mut self, clients: &[&Client]) {
        clients.iter().for_each(|client| self.lose(client));
        self.store();
        assert_eq!(self.engine.left(), 0, "nothing is left");
    }
}

impl Client {
    /// A request, signed if there is a key.
    pub(super) fn message(&mut self, request: &Request<'_>, flags: HeaderFlags) -> Vec<u8> {
        let mut octets = Vec::new();
        Header {
            credit_charge: if self.dialect == Dialect::Smb202 { 0 } else { self.charge },
            status: Status::SUCCESS,
            command: wire::Command::from_wire(request.command().to_wire()),
            credits: 64,
            flags,
            next_command: 0,
            message_id: self.next,
            route: Route::Sync { reserved: 0, tree: self.tree },
            session: self.session,
            signature: [0; 16],
        }
        .encode(&mut octets);
        if request.command() != Command::Cancel {
            self.next += u64::from(self.charge.max(1));
        }
        request.encode(&mut octets).unwrap();
        if let Some(key) = &self.key {
            key.sign(&mut octets);
        }
        octets
    }

    /// Without a signature from now on.
    pub(super) fn unsigned(self) -> Self {
        Self { key: None, ..self }
    }
}

/// CREATE that opens or makes a file for anything.
pub(super) fn create(name: &[u8]) -> Request<'_> {
    Request::Create(fields(name))
}

pub(super) fn fields(name: &[u8]) -> CreateRequest<'_> {
    CreateRequest {
        level: OplockLevel::None,
        impersonation: 2,
        desired: Access::from_bits_retain(0x0012_019f),
        attributes: 0x80,
        sharing: ShareMode::ALL,
        disposition: 3,
        options: CreateOptions::empty(),
        name,
        contexts: &[],
    }
}
