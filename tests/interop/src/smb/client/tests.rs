//! Against a server that does what a script says.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use leasehold::wire::{BreakFlags, LeaseBreak};
use leasehold::{Epoch, LeaseKey, LeaseState};

use super::*;
use crate::smb::ntlm::{Acceptor, Accounts, Step, Target};

const SESSION: SessionId = SessionId::new(0x7700_0000_0001);
const TREE: TreeId = TreeId::new(5);
const HERE: Envelope = Envelope::new(SESSION, TREE);
const DIALECTS: [Dialect; 5] =
    [Dialect::Smb202, Dialect::Smb210, Dialect::Smb300, Dialect::Smb302, Dialect::Smb311];

struct Server {
    stream: TcpStream,
    dialect: Dialect,
    preauth: Preauth,
    key: Option<SigningKey>,
}

/// Runs a script for one connection and a client against it.
fn played<T>(script: impl FnOnce(Server) + Send, client: impl FnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            script(Server { stream, dialect: Dialect::Smb202, preauth: Preauth::new(), key: None });
        });
        client(address)
    })
}

impl Server {
    fn read(&mut self) -> (Header, Vec<u8>) {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).unwrap();
        let mut message = vec![0; u32::from_be_bytes(head) as usize];
        self.stream.read_exact(&mut message).unwrap();
        (Header::split(&message).unwrap().0, message)
    }

    fn write(&mut self, message: &[u8]) {
        self.stream.write_all(&[&frame::head(message.len())[..], message].concat()).unwrap();
    }

    /// The answer to a request, signed if there is a key.
    fn message(&self, request: &Header, status: Status, body: &Response<'_>) -> Vec<u8> {
        let mut message = Vec::new();
        let route = Route::Sync { reserved: 0, tree: TREE };
        let flags = HeaderFlags::SERVER_TO_REDIR;
        Header { status, flags, route, session: SESSION, credits: 1, ..*request }.encode(&mut message);
        body.encode(&mut message).unwrap();
        if let Some(key) = &self.key {
            key.sign(&mut message);
        }
        message
    }

    fn answer(&mut self, request: &Header, body: &Response<'_>) {
        let message = self.message(request, Status::SUCCESS, body);
        self.write(&message);
    }

    fn negotiate(&mut self, credits: u16) {
        let (request, message) = self.read();
        let Request::Negotiate(asked) = Request::decode(Command::Negotiate, &message).unwrap() else {
            panic!()
        };
        self.dialect = asked.dialect().unwrap();
        let is_311 = self.dialect == Dialect::Smb311;
        assert_eq!(asked.sha512, is_311.then_some(true));
        let chosen = Response::Negotiate(NegotiateResponse {
            security_mode: 1,
            revision: *asked.dialects.last().unwrap(),
            server: [7; 16],
            capabilities: LARGE_MTU,
            max_size: 1 << 20,
            time: 0,
            token: b"hint".to_vec(),
            salt: is_311.then_some([3; 32]),
        });
        let answer = self.message(&Header { credits, ..request }, Status::SUCCESS, &chosen);
        let answer = with_credits(answer, credits);
        self.preauth.update(&message);
        self.preauth.update(&answer);
        self.write(&answer);
    }

    fn sign_in(&mut self, flags: u16) {
        let mut acceptor = Acceptor::new([9; 8], Target::standalone("server", 0));
        let mut accounts = Accounts::new();
        accounts.add("user", "secret");
        loop {
            let (request, message) = self.read();
            let Request::SessionSetup(setup) = Request::decode(Command::SessionSetup, &message).unwrap()
            else {
                panic!()
            };
            self.preauth.update(&message);
            match acceptor.step(setup.token, &accounts).unwrap() {
                Step::Continue(token) => {
                    let body = Response::SessionSetup { flags: 0, token };
                    let answer = self.message(&request, MORE_PROCESSING_REQUIRED, &body);
                    self.preauth.update(&answer);
                    self.write(&answer);
                }
                Step::Done { token, session_key, .. } => {
                    let preauth = self.preauth.value();
                    self.key = session_key.map(|key| SigningKey::derive(self.dialect, key, Some(&preauth)));
                    self.answer(&request, &Response::SessionSetup { flags, token });
                    return;
                }
            }
        }
    }
}

fn with_credits(mut message: Vec<u8>, credits: u16) -> Vec<u8> {
    message[14..16].copy_from_slice(&credits.to_le_bytes());
    message
}

fn user() -> Credentials {
    Credentials::User { name: "user".into(), password: "secret".into(), domain: String::new() }
}

fn offer(dialect: Dialect, signing: Signing) -> Offer {
    Offer { dialects: vec![dialect], signing, ..Offer::default() }
}

/// A client that is signed in anonymously, with some credits.
fn signed_in(address: SocketAddr) -> Client {
    let mut client = Client::connect(address, &offer(Dialect::Smb311, Signing::Enabled)).unwrap();
    assert_eq!(client.sign_in(Credentials::Anonymous, None).unwrap(), SESSION);
    client
}

fn pending(request: &Header, id: u64) -> Vec<u8> {
    let mut message = Vec::new();
    let flags = HeaderFlags::SERVER_TO_REDIR;
    let status = Status::PENDING;
    Header { status, flags, route: Route::Async { id }, ..*request }.encode(&mut message);
    Response::Error { data: vec![] }.encode(&mut message).unwrap();
    message
}

fn lease_break() -> Vec<u8> {
    let mut message = Vec::new();
    Header::notification(SessionId::new(0), Status::SUCCESS).encode(&mut message);
    let (current, new) = (LeaseState::RWH, LeaseState::RH);
    let (epoch, flags, key) = (Epoch::new(2), BreakFlags::ACK_REQUIRED, LeaseKey::new([1; 16]));
    LeaseBreak { epoch, flags, key, current, new }.encode(&mut message);
    message
}

#[test]
fn a_user_signs_in_on_every_dialect() {
    for dialect in DIALECTS {
        for signing in [Signing::Enabled, Signing::Required] {
            let script = |mut server: Server| {
                server.negotiate(8);
                server.sign_in(0);
                for command in [Command::TreeConnect, Command::Echo] {
                    let (request, message) = server.read();
                    let must = signing == Signing::Required
                        || (dialect == Dialect::Smb311 && command == Command::TreeConnect);
                    assert_eq!(request.flags.contains(HeaderFlags::SIGNED), must, "{dialect:?} {command:?}");
                    assert!(!must || server.key.as_ref().unwrap().verify(&message));
                    assert_eq!(request.credit_charge, u16::from(dialect != Dialect::Smb202));
                    let (share_type, flags, capabilities, maximal_access) = (1, 0, 0, 0);
                    let body = match command {
                        Command::Echo => Response::Empty,
                        _ => Response::TreeConnect { share_type, flags, capabilities, maximal_access },
                    };
                    server.answer(&request, &body);
                }
            };
            played(script, |address| {
                let mut client = Client::connect(address, &offer(dialect, signing)).unwrap();
                assert_eq!(client.dialect(), dialect);
                let session = client.sign_in(user(), None).unwrap();
                assert_eq!(client.connect_tree(session, r"\\server\share").unwrap(), TREE);
                client.call(Envelope::new(session, TREE), &Request::Echo).unwrap().success().unwrap();
            });
        }
    }
}

#[test]
fn one_who_wants_signatures_is_no_guest() {
    let script = |mut server: Server| {
        server.negotiate(8);
        server.sign_in(1);
    };
    played(script, |address| {
        let mut client = Client::connect(address, &offer(Dialect::Smb302, Signing::Required)).unwrap();
        assert!(matches!(client.sign_in(user(), None), Err(Error::Signature(_))));
    });
}

#[test]
fn a_signature_that_is_wrong_or_missing_is_not_taken() {
    let script = |mut server: Server| {
        server.negotiate(8);
        server.sign_in(0);
        let (request, _) = server.read();
        let mut answer = server.message(&request, Status::SUCCESS, &Response::Empty);
        *answer.last_mut().unwrap() ^= 1;
        server.write(&answer);
        let (request, _) = server.read();
        server.key = None;
        server.answer(&request, &Response::Empty);
    };
    played(script, |address| {
        let mut client = Client::connect(address, &offer(Dialect::Smb311, Signing::Required)).unwrap();
        client.sign_in(user(), None).unwrap();
        for _ in 0..2 {
            assert!(matches!(client.call(HERE, &Request::Echo), Err(Error::Signature(_))));
        }
    });
}

#[test]
fn all_comes_in_its_order() {
    let script = |mut server: Server| {
        server.negotiate(8);
        server.sign_in(2);
        let (request, _) = server.read();
        server.write(&lease_break());
        server.write(&pending(&request, 42));
        server.answer(&request, &Response::Empty);
        let (request, _) = server.read();
        server.write(&pending(&request, 43));
        server.write(&lease_break());
        server.answer(&request, &Response::Empty);
        // The client goes first.
        let _ = server.stream.read(&mut [0]);
    };
    played(script, |address| {
        let mut client = signed_in(address);
        let first = client.send(HERE, &Request::Echo).unwrap();
        assert_eq!(client.in_flight(), 1);
        let notice = client.next_message().unwrap();
        assert!(
            matches!(notice.notification(), Some(Notification::Lease(notice)) if notice.new == LeaseState::RH)
        );
        let interim = client.next_message().unwrap();
        assert!(interim.is_interim());
        assert_eq!(client.interim(first), Some(42));
        assert_eq!(client.next_message().unwrap().header.message_id, first);
        assert_eq!((client.interim(first), client.in_flight()), (None, 0));

        client.call(HERE, &Request::Echo).unwrap();
        assert!(client.has_message());
        assert!(client.receive().unwrap().notification().is_some());
        assert!(!client.has_message());
        client.wait_at_most(Some(Duration::from_millis(1))).unwrap();
        assert!(matches!(client.receive(), Err(Error::TimedOut)));
    });
}

#[test]
fn no_request_goes_out_without_credits() {
    let script = |mut server: Server| {
        server.negotiate(3);
        server.sign_in(2);
        let (request, _) = server.read();
        assert_eq!((request.message_id, request.credit_charge), (3, 2));
        let answer = server.message(&request, Status::SUCCESS, &Response::Read(vec![]));
        server.write(&with_credits(answer, 0));
        let (request, _) = server.read();
        assert_eq!((request.message_id, request.credit_charge), (5, 1));
        server.answer(&request, &Response::Empty);
    };
    played(script, |address| {
        let mut client = signed_in(address);
        assert_eq!(client.credits(), 3);
        let read =
            |length| Request::Read { file_id: leasehold::FileId::new(1, 1), offset: 0, length, minimum: 0 };
        assert!(matches!(client.send(HERE, &read(4 << 16)), Err(Error::NoCredits { needed: 4, left: 3 })));
        client.send(HERE, &read(2 << 16)).unwrap();
        assert_eq!(client.credits(), 1);
        client.receive().unwrap();
        client.send(HERE, &Request::Echo).unwrap();
        assert!(matches!(client.send(HERE, &Request::Echo), Err(Error::NoCredits { needed: 1, left: 0 })));
        client.receive().unwrap();
        assert_eq!(client.credits(), 1);
    });
}

#[test]
fn compounds_are_taken_apart_and_what_nobody_asked_is_refused() {
    let script = |mut server: Server| {
        server.negotiate(8);
        server.sign_in(2);
        let requests = [server.read().0, server.read().0];
        let mut both = server.message(&requests[0], Status::SUCCESS, &Response::Empty);
        both.resize(both.len().next_multiple_of(8), 0);
        let next = u32::try_from(both.len()).unwrap();
        both[20..24].copy_from_slice(&next.to_le_bytes());
        both.extend(server.message(&requests[1], Status::FILE_CLOSED, &Response::Error { data: vec![] }));
        server.write(&both);
        server.answer(&requests[0], &Response::Empty);
        server.write(b"\xfdSMB");
        drop(server);
    };
    played(script, |address| {
        let mut client = signed_in(address);
        let ids = [(); 2].map(|()| client.send(HERE, &Request::Echo).unwrap());
        client.receive().unwrap().success().unwrap();
        let second = client.receive().unwrap();
        assert_eq!(second.header.message_id, ids[1]);
        let refused = second.success().unwrap_err();
        assert_eq!(refused.to_string(), "Echo: STATUS_FILE_CLOSED");
        assert!(matches!(client.receive(), Err(Error::Unexpected(id)) if id == ids[0]));
        assert!(matches!(client.receive(), Err(Error::Malformed("header"))));
        assert!(matches!(client.receive(), Err(Error::Closed)));
        assert!(matches!(
            client.send(Envelope::new(SessionId::new(1), TREE), &Request::Echo),
            Err(Error::NoSession)
        ));
    });
}
