//! A blocking client over one TCP connection: requests go out and messages come in, separately, so that many requests can be in
//! flight. What is sent when, and what follows from a break, is its user's business; what a message must be like to be sent and
//! received at all is decided here: MessageIds, credits, signatures, sessions.
//!
//! ```no_run
//! use leasehold_interop::smb::client::{Client, Envelope, Offer};
//! use leasehold_interop::smb::ntlm::Credentials;
//! use leasehold_interop::smb::request::Request;
//!
//! # fn main() -> Result<(), leasehold_interop::smb::client::Error> {
//! let mut client = Client::connect("127.0.0.1:445", &Offer::default())?;
//! let session = client.sign_in(Credentials::Anonymous, None)?;
//! let tree = client.connect_tree(session, r"\\server\share")?;
//! let echo = client.send(Envelope::new(session, tree), &Request::Echo)?;
//! let answer = client.receive()?;
//! assert_eq!(answer.header.message_id, echo);
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use leasehold::wire::{Command as WireCommand, Fixed as _, Header, HeaderFlags, Notification, Route};
use leasehold::{ClientGuid, Dialect, SessionId, Status, TreeId};
use rustix::net::sockopt::set_socket_linger;

use super::frame::{self, Frame};
use super::negotiate::{NegotiateRequest, NegotiateResponse};
use super::ntlm::{Credentials, Initiator, InitiatorError};
use super::octets::to_utf16;
use super::request::{Command, Ioctl, QueryDirectory, QueryInfo, Request, SessionSetup};
use super::response::Response;
use super::signing::{Preauth, SigningKey};

/// What a client offers in NEGOTIATE.
#[derive(Clone, Debug)]
pub struct Offer {
    /// ClientGuid
    pub client: ClientGuid,
    /// The dialects.
    pub dialects: Vec<Dialect>,
    /// Whether all of an authenticated session is signed, even if the server does not ask for it.
    pub signing: Signing,
    /// How many credits to come to: so many requests can be in flight.
    pub credits: u16,
}

/// When messages of an authenticated session are signed. Those that dialect 3.1.1 wants signed are, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// If the server requires it.
    Enabled,
    /// Always.
    Required,
}

impl Default for Offer {
    /// All dialects, for a client that is nobody in particular.
    fn default() -> Self {
        let dialects = [Dialect::Smb202, Dialect::Smb210, Dialect::Smb300, Dialect::Smb302, Dialect::Smb311];
        Self {
            client: ClientGuid::from_wire([0; 16]),
            dialects: dialects.to_vec(),
            signing: Signing::Enabled,
            credits: 512,
        }
    }
}

/// Why there is no answer, or none that is of use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The server has closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// Nothing came in the time of [`Client::wait_at_most`].
    #[error("nothing received in time")]
    TimedOut,
    /// A message that no client can read.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// An answer to what was never asked, or was answered already.
    #[error("answer to message {0}, which is not in flight")]
    Unexpected(u64),
    /// More messages that nobody asked for than are kept.
    #[error("too many notifications")]
    TooMany,
    /// No message can be sent before credits come in.
    #[error("{needed} credits needed, {left} left")]
    NoCredits { needed: u16, left: u32 },
    /// A request that cannot be written.
    #[error("{0:?} cannot be encoded")]
    Encode(Command),
    /// A signature is wrong, or not there where it must be.
    #[error("message {0} is not signed as it must be")]
    Signature(u64),
    /// The server chose what was not on offer.
    #[error("dialect {0:#06x} was not offered")]
    Dialect(u16),
    /// No session of this client has that SessionId.
    #[error("no such session")]
    NoSession,
    /// The token of the server does not lead on.
    #[error("authentication: {0}")]
    Authentication(#[from] InitiatorError),
    /// The answer is an error.
    #[error("{command:?}: {status}")]
    Refused { command: Command, status: Status },
}

/// What goes into the header of a request beside its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// SessionId
    pub session: SessionId,
    /// TreeId
    pub tree: TreeId,
    /// SMB2_FLAGS_REPLAY_OPERATION and the like; what the client itself decides is added.
    pub flags: HeaderFlags,
    /// ChannelSequence (MS-SMB2 2.2.1.2)
    pub channel_sequence: u16,
}

impl Envelope {
    /// A request that is not replayed, on the first channel sequence.
    pub const fn new(session: SessionId, tree: TreeId) -> Self {
        Self { session, tree, flags: HeaderFlags::empty(), channel_sequence: 0 }
    }
}

/// A message of the server, alone: what came in a compound is taken apart.
#[derive(Clone, Debug)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// All of it, from the header on.
    pub octets: Vec<u8>,
}

impl Message {
    /// Whether it is an interim response: the answer proper is still to come (MS-SMB2 3.3.4.2).
    pub fn is_interim(&self) -> bool {
        self.header.status == Status::PENDING && matches!(self.header.route, Route::Async { .. })
    }

    /// The notification of a break, if it is one.
    pub fn notification(&self) -> Option<Notification> {
        let body = self.octets.get(Header::LEN..)?;
        if self.header.notifies_break() { Notification::decode(body).ok() } else { None }
    }

    /// The body of a response.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]
    pub fn response(&self) -> Result<Response<'_>, Error> {
        let command = Command::from_wire(self.header.command.to_wire()).ok_or(Error::Malformed("command"))?;
        Response::decode(command, &self.octets, self.header.status).map_err(|_| Error::Malformed("body"))
    }

    /// The body of a response that must be STATUS_SUCCESS.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it is not, [`Error::Malformed`]
    pub fn success(&self) -> Result<Response<'_>, Error> {
        let status = self.header.status;
        if status == Status::SUCCESS {
            return self.response();
        }
        let command = Command::from_wire(self.header.command.to_wire()).ok_or(Error::Malformed("command"))?;
        Err(Error::Refused { command, status })
    }
}

/// A session, or one channel of it. Another connection of the same client can be bound to it.
#[derive(Clone, Debug)]
pub struct Session {
    /// SessionId
    pub id: SessionId,
    /// SessionFlags of the answer.
    pub flags: u16,
    /// `None` for one who is anonymous or a guest.
    key: Option<SigningKey>,
    signing: Signing,
}

/// The connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    dialect: Dialect,
    negotiated: NegotiateResponse,
    signing: Signing,
    preauth: Preauth,
    sessions: Vec<Session>,
    /// The next MessageId.
    next: u64,
    credits: u32,
    /// How many credits to come to.
    wanted: u16,
    /// The requests that are not answered, by MessageId; with the AsyncId of an interim response.
    flights: BTreeMap<u64, Option<u64>>,
    /// What was received and is not read yet: `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    /// What came while something else was waited for.
    backlog: VecDeque<Message>,
}

impl Client {
    /// Connects and negotiates.
    ///
    /// # Errors
    ///
    /// As of [`call`](Self::call); [`Error::Dialect`]
    pub fn connect(server: impl ToSocketAddrs, offer: &Offer) -> Result<Self, Error> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            dialect: Dialect::Smb202,
            negotiated: NegotiateResponse {
                security_mode: 0,
                revision: 0,
                server: [0; 16],
                capabilities: 0,
                max_size: 0,
                time: 0,
                token: Vec::new(),
                salt: None,
            },
            signing: offer.signing,
            preauth: Preauth::new(),
            sessions: Vec::new(),
            next: 0,
            credits: 1,
            wanted: offer.credits,
            flights: BTreeMap::new(),
            input: vec![0; 1 << 16],
            start: 0,
            end: 0,
            output: Vec::new(),
            backlog: VecDeque::new(),
        };
        client.negotiate(offer)?;
        Ok(client)
    }

    /// Signs in, and ends a session that the client had before (MS-SMB2 3.2.4.2.3, PreviousSessionId).
    ///
    /// # Errors
    ///
    /// As of [`call`](Self::call); [`Error::Refused`] if the server does not know the user; [`Error::Authentication`]
    pub fn sign_in(
        &mut self,
        credentials: Credentials,
        previous: Option<SessionId>,
    ) -> Result<SessionId, Error> {
        self.set_up(credentials, previous, None)
    }

    /// Makes this connection another channel of a session (MS-SMB2 3.2.4.2.3.2): `session` is what [`session`](Self::session) of a
    /// connection with the same ClientGuid and dialect says.
    ///
    /// # Errors
    ///
    /// As of [`sign_in`](Self::sign_in)
    pub fn bind(&mut self, session: &Session, credentials: Credentials) -> Result<(), Error> {
        self.set_up(credentials, None, Some(session)).map(|_| ())
    }

    /// Connects to a share, by its path: two backslashes, a server, a backslash, a share.
    ///
    /// # Errors
    ///
    /// As of [`call`](Self::call); [`Error::Refused`]
    pub fn connect_tree(&mut self, session: SessionId, path: &str) -> Result<TreeId, Error> {
        self.connect_share(session, path).map(|(tree, _)| tree)
    }

    /// As [`connect_tree`](Self::connect_tree), with the Capabilities of the share (MS-SMB2 2.2.10).
    ///
    /// # Errors
    ///
    /// As of [`connect_tree`](Self::connect_tree)
    pub fn connect_share(&mut self, session: SessionId, path: &str) -> Result<(TreeId, u32), Error> {
        let path = to_utf16(path);
        let envelope = Envelope::new(session, TreeId::new(0));
        let answer = self.call(envelope, &Request::TreeConnect(&path))?;
        match (answer.success()?, answer.header.route) {
            (Response::TreeConnect { capabilities, .. }, Route::Sync { tree, .. }) => {
                Ok((tree, capabilities))
            }
            _ => Err(Error::Malformed("TREE_CONNECT")),
        }
    }

    /// Sends a request and returns its MessageId. Does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::NoCredits`] if something must be received first; [`Error::Encode`], [`Error::NoSession`], [`Error::Io`]
    pub fn send(&mut self, envelope: Envelope, request: &Request<'_>) -> Result<u64, Error> {
        let key = self.key_for(envelope.session, request)?;
        self.send_with(envelope, request, key.as_ref())
    }

    /// Asks the server to give up a request (MS-SMB2 3.2.4.24). It is answered in any case, and this is not.
    ///
    /// # Errors
    ///
    /// [`Error::Unexpected`] if the request is not in flight; [`Error::Io`]
    pub fn cancel(&mut self, envelope: Envelope, message_id: u64) -> Result<(), Error> {
        let interim = *self.flights.get(&message_id).ok_or(Error::Unexpected(message_id))?;
        let mut header = self.header(envelope, Command::Cancel, message_id);
        header.credit_charge = 0;
        header.credits = 0;
        if let Some(id) = interim {
            header.route = Route::Async { id };
        }
        let key = self.key_for(envelope.session, &Request::Cancel)?;
        self.write(&header, &Request::Cancel, key.as_ref())
    }

    /// The next message, whatever it is: interim responses, responses, notifications, in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Io`], [`Error::TimedOut`], after which it can be called again; [`Error::Malformed`],
    /// [`Error::Unexpected`], [`Error::Signature`]
    pub fn next_message(&mut self) -> Result<Message, Error> {
        match self.backlog.pop_front() {
            Some(message) => Ok(message),
            None => self.read(),
        }
    }

    /// The next message that is no interim response.
    ///
    /// # Errors
    ///
    /// As of [`next_message`](Self::next_message)
    pub fn receive(&mut self) -> Result<Message, Error> {
        loop {
            let message = self.next_message()?;
            if !message.is_interim() {
                return Ok(message);
            }
        }
    }

    /// Sends a request and waits for its answer, of whatever status. What else comes is kept for [`receive`](Self::receive).
    ///
    /// # Errors
    ///
    /// As of [`send`](Self::send) and [`next_message`](Self::next_message); [`Error::TooMany`]
    pub fn call(&mut self, envelope: Envelope, request: &Request<'_>) -> Result<Message, Error> {
        let id = self.send(envelope, request)?;
        self.wait_for(id)
    }

    /// Waits for the answer to a request that was sent. What else comes is kept for [`receive`](Self::receive).
    ///
    /// # Errors
    ///
    /// As of [`next_message`](Self::next_message); [`Error::TooMany`]
    pub fn wait_for(&mut self, id: u64) -> Result<Message, Error> {
        let is_answer = |message: &Message| message.header.message_id == id && !message.is_interim();
        if let Some(at) = self.backlog.iter().position(is_answer) {
            return self.backlog.remove(at).ok_or(Error::Unexpected(id));
        }
        loop {
            let message = self.read()?;
            if is_answer(&message) {
                return Ok(message);
            }
            if self.backlog.len() >= MOST_KEPT {
                return Err(Error::TooMany);
            }
            self.backlog.push_back(message);
        }
    }

    /// How long [`next_message`](Self::next_message) waits; without end at first.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for no time at all.
    pub fn wait_at_most(&mut self, time: Option<Duration>) -> Result<(), Error> {
        Ok(self.stream.set_read_timeout(time)?)
    }

    /// Cuts the connection, as a failing network does: nothing is closed before.
    pub fn cut(self) {
        // It is cut as well when it is dropped; what fails here is cut already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Resets the connection: the server gets an error where [`cut`](Self::cut) ends what can be read.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be reset; it is cut then.
    pub fn reset(self) -> Result<(), Error> {
        Ok(set_socket_linger(&self.stream, Some(Duration::ZERO)).map_err(io::Error::from)?)
    }

    /// Whether a message can be had without waiting for the network.
    pub fn has_message(&self) -> bool {
        let input = self.input.get(self.start..self.end).unwrap_or_default();
        !self.backlog.is_empty() || Frame::of(input) != Frame::Incomplete
    }

    /// The AsyncId of a request that had an interim response and is not answered.
    pub fn interim(&self, message_id: u64) -> Option<u64> {
        self.flights.get(&message_id).copied().flatten()
    }

    /// How many requests are not answered.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How many credits are left.
    pub const fn credits(&self) -> u32 {
        self.credits
    }

    /// The dialect.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What the server said in NEGOTIATE.
    pub const fn negotiated(&self) -> &NegotiateResponse {
        &self.negotiated
    }

    /// A session that was set up on this connection or bound to it.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    fn negotiate(&mut self, offer: &Offer) -> Result<(), Error> {
        let offered = |revision: &u16| {
            Dialect::from_wire(*revision).is_some_and(|dialect| offer.dialects.contains(&dialect))
        };
        let dialects = REVISIONS.into_iter().filter(offered).collect();
        let request = Request::Negotiate(NegotiateRequest {
            security_mode: offer.signing.to_wire().into(),
            capabilities: CAPABILITIES,
            client: offer.client,
            dialects,
            sha512: offer.dialects.contains(&Dialect::Smb311).then_some(true),
        });
        let id = self.send_with(NOBODY, &request, None)?;
        self.preauth.update(self.output.get(4..).unwrap_or_default());
        let answer = self.wait_for(id)?;
        self.preauth.update(&answer.octets);
        let Response::Negotiate(negotiated) = answer.success()? else {
            return Err(Error::Malformed("NEGOTIATE"));
        };
        let chosen = Dialect::from_wire(negotiated.revision).filter(|_| offered(&negotiated.revision));
        self.dialect = chosen.ok_or(Error::Dialect(negotiated.revision))?;
        if negotiated.security_mode & u16::from(Signing::Required.to_wire()) != 0 {
            self.signing = Signing::Required;
        }
        self.negotiated = negotiated;
        Ok(())
    }

    fn set_up(
        &mut self,
        credentials: Credentials,
        previous: Option<SessionId>,
        bound: Option<&Session>,
    ) -> Result<SessionId, Error> {
        let mut initiator = Initiator::new(credentials);
        let mut preauth = self.preauth;
        let mut envelope =
            Envelope::new(bound.map_or(SessionId::new(0), |session| session.id), TreeId::new(0));
        let mut token = initiator.start();
        for _ in 0..MOST_TURNS {
            let request = Request::SessionSetup(SessionSetup {
                binding: bound.is_some(),
                security_mode: self.signing.to_wire(),
                previous: previous.map_or(0, SessionId::get),
                token: &token,
            });
            // MS-SMB2 3.2.4.2.3.2: what binds is signed with the key of the session.
            let key = bound.and_then(|session| session.key.as_ref());
            let id = self.send_with(envelope, &request, key)?;
            preauth.update(self.output.get(4..).unwrap_or_default());
            let answer = self.wait_for(id)?;
            let status = answer.header.status;
            if status != MORE_PROCESSING_REQUIRED && status != Status::SUCCESS {
                return Err(Error::Refused { command: Command::SessionSetup, status });
            }
            let Response::SessionSetup { flags, token: received } = answer.response()? else {
                return Err(Error::Malformed("SESSION_SETUP"));
            };
            envelope.session = answer.header.session;
            if status == MORE_PROCESSING_REQUIRED {
                preauth.update(&answer.octets);
                let (challenge, exported_key) = (random()?, random()?);
                token = initiator.step(&received, challenge, exported_key)?;
                continue;
            }
            initiator.finish(&received)?;
            // MS-SMB2 3.2.5.3.1: nobody who is a guest or anonymous signs.
            let session_key = initiator.session_key().filter(|_| flags & UNAUTHENTICATED == 0);
            // Nor is a user made a guest who asked for signatures.
            if self.signing == Signing::Required && session_key.is_none() && initiator.session_key().is_some()
            {
                return Err(Error::Signature(id));
            }
            let key = session_key.map(|key| SigningKey::derive(self.dialect, key, Some(&preauth.value())));
            // MS-SMB2 3.2.5.3.1, 3.2.5.3.3: the last answer of 3.1.1, and any that binds, vouches for what was said before.
            let vouched = answer.header.flags.contains(HeaderFlags::SIGNED);
            let must = self.dialect == Dialect::Smb311 || bound.is_some();
            if key.as_ref().is_some_and(|key| (must || vouched) && !(vouched && key.verify(&answer.octets))) {
                return Err(Error::Signature(id));
            }
            self.sessions.retain(|session| session.id != envelope.session);
            self.sessions.push(Session { id: envelope.session, flags, key, signing: self.signing });
            return Ok(envelope.session);
        }
        Err(Error::Malformed("SESSION_SETUP without end"))
    }

    /// What a request is signed with, if it is (MS-SMB2 3.2.4.1.1).
    fn key_for(&self, session: SessionId, request: &Request<'_>) -> Result<Option<SigningKey>, Error> {
        if session == NOBODY.session {
            return Ok(None);
        }
        let session = self.session(session).ok_or(Error::NoSession)?;
        // TREE_CONNECT of 3.1.1 is signed whatever was agreed upon.
        let of_311 = self.dialect == Dialect::Smb311 && request.command() == Command::TreeConnect;
        let signed = session.signing == Signing::Required || of_311;
        Ok(session.key.filter(|_| signed))
    }

    fn header(&self, envelope: Envelope, command: Command, message_id: u64) -> Header {
        Header {
            credit_charge: 0,
            // ChannelSequence lies where responses have their status.
            status: Status::from_wire(envelope.channel_sequence.into()),
            command: WireCommand::from_wire(command.to_wire()),
            credits: 0,
            flags: envelope.flags,
            next_command: 0,
            message_id,
            route: Route::Sync { reserved: 0, tree: envelope.tree },
            session: envelope.session,
            signature: [0; 16],
        }
    }

    fn send_with(
        &mut self,
        envelope: Envelope,
        request: &Request<'_>,
        key: Option<&SigningKey>,
    ) -> Result<u64, Error> {
        let charge = self.charge(request);
        let credits = self.credits.checked_sub(charge.into());
        let credits = credits.ok_or(Error::NoCredits { needed: charge, left: self.credits })?;
        let id = self.next;
        let mut header = self.header(envelope, request.command(), id);
        // MS-SMB2 3.2.4.1.5: 2.0.2 knows no charge.
        header.credit_charge = if self.dialect == Dialect::Smb202 { 0 } else { charge };
        let missing = u32::from(self.wanted).saturating_sub(credits);
        header.credits = u16::try_from(missing).unwrap_or(u16::MAX).max(charge);
        self.write(&header, request, key)?;
        self.credits = credits;
        self.next += u64::from(charge);
        self.flights.insert(id, None);
        Ok(id)
    }

    fn write(
        &mut self,
        header: &Header,
        request: &Request<'_>,
        key: Option<&SigningKey>,
    ) -> Result<(), Error> {
        let output = &mut self.output;
        output.clear();
        output.extend([0; 4]);
        header.encode(output);
        request.encode(output).map_err(|_| Error::Encode(request.command()))?;
        let head = frame::head(output.len() - 4);
        if let Some((place, message)) = output.split_first_chunk_mut() {
            *place = head;
            if let Some(key) = key {
                key.sign(message);
            }
        }
        Ok(self.stream.write_all(&self.output)?)
    }

    /// CreditCharge: one for each 64 KiB of data that go either way (MS-SMB2 3.2.4.1.5).
    fn charge(&self, request: &Request<'_>) -> u16 {
        let most = |a: u32, b: &[u8]| u32::try_from(b.len()).unwrap_or(u32::MAX).max(a);
        let len = match request {
            Request::Read { length, .. } => *length,
            Request::Write { data, .. } | Request::SetInfo { data, .. } => most(0, data),
            Request::Ioctl(Ioctl { input, max_output, .. })
            | Request::QueryInfo(QueryInfo { input, max_output, .. }) => most(*max_output, input),
            Request::QueryDirectory(QueryDirectory { max_output, .. })
            | Request::ChangeNotify { max_output, .. } => *max_output,
            Request::Negotiate(_)
            | Request::SessionSetup(_)
            | Request::Logoff
            | Request::TreeConnect(_)
            | Request::TreeDisconnect
            | Request::Create(_)
            | Request::Close { .. }
            | Request::Flush(_)
            | Request::Lock { .. }
            | Request::Cancel
            | Request::Echo
            | Request::OplockAck(_)
            | Request::LeaseAck(_) => 0,
        };
        if self.negotiated.capabilities & LARGE_MTU == 0 {
            return 1;
        }
        u16::try_from(len.saturating_sub(1) / 65_536 + 1).unwrap_or(u16::MAX)
    }

    /// Reads a message from the stream, after what is kept.
    fn read(&mut self) -> Result<Message, Error> {
        loop {
            let input = self.input.get(self.start..self.end).unwrap_or_default();
            match Frame::of(input) {
                Frame::Message(len) => {
                    let message = input.get(4..4 + len).unwrap_or_default().to_vec();
                    self.start += 4 + len;
                    return self.take(message);
                }
                Frame::Wrong => return Err(Error::Malformed("length")),
                Frame::Incomplete => self.fill()?,
            }
        }
    }

    /// Waits for more octets.
    fn fill(&mut self) -> Result<(), Error> {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.input.len() {
            // `Frame` bounds what is asked for.
            self.input.resize(2 * self.input.len(), 0);
        }
        let room = self.input.get_mut(self.end..).unwrap_or_default();
        match self.stream.read(room) {
            Ok(0) => Err(Error::Closed),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(Error::TimedOut),
                _ => Err(error.into()),
            },
        }
    }

    /// Takes in what came in one frame. The messages of a compound but the first are kept.
    fn take(&mut self, mut octets: Vec<u8>) -> Result<Message, Error> {
        let mut first = None;
        loop {
            let (header, _) = Header::split(&octets).map_err(|_| Error::Malformed("header"))?;
            let rest = match header.next_command as usize {
                0 => Vec::new(),
                next if next < Header::LEN || next > octets.len() => {
                    return Err(Error::Malformed("NextCommand"));
                }
                next => octets.split_off(next),
            };
            let message = Message { header, octets };
            self.account(&message)?;
            match first {
                None => first = Some(message),
                Some(_) if self.backlog.len() >= MOST_KEPT => return Err(Error::TooMany),
                Some(_) => self.backlog.push_back(message),
            }
            if rest.is_empty() {
                return first.ok_or(Error::Malformed("frame"));
            }
            octets = rest;
        }
    }

    /// Credits, flights, signatures (MS-SMB2 3.2.5.1).
    fn account(&mut self, message: &Message) -> Result<(), Error> {
        let Message { header, octets } = message;
        if !header.flags.contains(HeaderFlags::SERVER_TO_REDIR) {
            return Err(Error::Malformed("request of a server"));
        }
        self.credits = self.credits.saturating_add(header.credits.into());
        // MS-SMB2 3.2.5.1.3: notifications and interim responses need no signature.
        if header.notifies_break() {
            return Ok(());
        }
        if message.is_interim() {
            let flight = self.flights.get_mut(&header.message_id);
            let flight = flight.ok_or(Error::Unexpected(header.message_id))?;
            if let Route::Async { id } = header.route {
                *flight = Some(id);
            }
            return Ok(());
        }
        self.flights.remove(&header.message_id).ok_or(Error::Unexpected(header.message_id))?;
        let session = self.session(header.session);
        // The answers of a SESSION_SETUP are verified where the keys are made.
        if header.command.to_wire() != Command::SessionSetup.to_wire()
            && let Some(Session { key: Some(key), signing, .. }) = session
        {
            let signed = header.flags.contains(HeaderFlags::SIGNED);
            // A session that the server does not know any more has no key there.
            let unknown = header.status == Status::USER_SESSION_DELETED;
            if (signed && !key.verify(octets)) || (!signed && *signing == Signing::Required && !unknown) {
                return Err(Error::Signature(header.message_id));
            }
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Signing {
    /// SecurityMode (MS-SMB2 2.2.3)
    const fn to_wire(self) -> u8 {
        match self {
            Self::Enabled => 1,
            Self::Required => 2,
        }
    }
}

/// `N` random octets.
fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(octets)
}

/// Before there is a session.
const NOBODY: Envelope = Envelope::new(SessionId::new(0), TreeId::new(0));
/// DialectRevision of all dialects.
const REVISIONS: [u16; 5] = [0x0202, 0x0210, 0x0300, 0x0302, 0x0311];
/// STATUS_MORE_PROCESSING_REQUIRED
const MORE_PROCESSING_REQUIRED: Status = Status::from_wire(0xc000_0016);
/// SMB2_GLOBAL_CAP_LARGE_MTU
const LARGE_MTU: u32 = 0x04;
/// What the client can do: DFS, LEASING, LARGE_MTU, MULTI_CHANNEL, PERSISTENT_HANDLES, DIRECTORY_LEASING.
const CAPABILITIES: u32 = 0x3f;
/// SMB2_SESSION_FLAG_IS_GUEST, SMB2_SESSION_FLAG_IS_NULL
const UNAUTHENTICATED: u16 = 0x0003;
/// How many messages are kept while something else is waited for.
const MOST_KEPT: usize = 1 << 16;
/// How many SESSION_SETUP requests a sign-in may take.
const MOST_TURNS: usize = 8;

#[cfg(test)]
mod tests;
