//! The sockets: one thread, and one more for the store.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold::persist::Change;
use leasehold::server::{BreakId, Event, PersistSeq};
use leasehold::{ConnId, Instant};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::{Engine, Sent};
use crate::smb::frame::Frame;
use crate::store::ownership;

const LISTENER: Token = Token(0);
const STORE: Token = Token(1);
/// Connections get the tokens from here on.
const FIRST: u64 = 2;
/// What a client may leave unread, in octets, before it is cut off.
const MOST_UNREAD: usize = 64 << 20;
/// What all clients together may have sent of messages that are not whole, in octets.
const MOST_HELD: usize = 1 << 30;
/// How many connections there may be.
const MOST_CONNECTIONS: usize = 4096;
/// What is read at once, in octets.
const CHUNK: usize = 256 << 10;
/// FILETIME of 1970-01-01.
const EPOCH_1970: u64 = 116_444_736_000_000_000;

/// The way to the store and back.
#[derive(Debug)]
pub struct ToStore {
    /// Changes, in order.
    pub changes: Sender<(PersistSeq, Change)>,
    /// What came of them; [`Server::waker`] says that there is something. It ends with the store.
    pub events: Receiver<Event>,
}

/// A server on its socket.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    poll: Poll,
    listener: TcpListener,
    peers: HashMap<Token, Peer>,
    /// Of these there is more to read.
    ready: VecDeque<Token>,
    store: ToStore,
    last: u64,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    /// What has come and is no whole message yet.
    unread: Vec<u8>,
    /// What is to go out, and which notification it is; of the first, `written` octets have gone.
    unsent: VecDeque<(Vec<u8>, Option<BreakId>)>,
    written: usize,
    waiting: usize,
    /// Whether there is interest in writing.
    blocked: bool,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bind(engine: Engine, address: SocketAddr, store: ToStore) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (peers, ready) = (HashMap::new(), VecDeque::new());
        Ok(Self { engine, poll, listener, peers, ready, store, last: FIRST })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Wakes the server when the store has said something.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), STORE)
    }

    /// Serves until the store ends.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut chunk = vec![0; CHUNK];
        loop {
            let (now, filetime) = clock();
            let due = self.engine.poll_timeout();
            if due.is_some_and(|due| due <= now) {
                self.engine.set_time(now, filetime);
                self.engine.handle_timeout();
                if !self.carry_out() {
                    return Ok(());
                }
                continue;
            }
            // Rounded up: what is due in half a millisecond is not due now.
            let wait = due.map(|due| due.saturating_since(now) + Duration::from_millis(1));
            let wait = if self.ready.is_empty() { wait } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let (now, filetime) = clock();
            self.engine.set_time(now, filetime);
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    STORE => {
                        if !self.hear_store() {
                            return Ok(());
                        }
                    }
                    token => {
                        if event.is_readable() || event.is_read_closed() {
                            self.ready.push_back(token);
                        }
                        if event.is_writable() {
                            self.write(token);
                        }
                    }
                }
                if !self.carry_out() {
                    return Ok(());
                }
            }
            // A piece of each in turn: one who never stops sending does not keep the others waiting.
            for token in std::mem::take(&mut self.ready) {
                if !self.read(token, &mut chunk) {
                    return Ok(());
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            if self.peers.len() >= MOST_CONNECTIONS {
                continue;
            }
            let Ok(number) = usize::try_from(self.last) else { return };
            let token = Token(number);
            self.last += 1;
            let _ = stream.set_nodelay(true);
            if self.poll.registry().register(&mut stream, token, Interest::READABLE).is_err() {
                continue;
            }
            let (unread, unsent) = (Vec::new(), VecDeque::new());
            let peer = Peer { stream, unread, unsent, written: 0, waiting: 0, blocked: false };
            self.peers.insert(token, peer);
            self.engine.connected(conn_of(token));
        }
    }

    /// What the store has said. Whether it is still there.
    fn hear_store(&mut self) -> bool {
        loop {
            match self.store.events.try_recv() {
                Ok(event) => {
                    if let Err(misuse) = self.engine.stored(event) {
                        eprintln!("the store: {misuse}");
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Reads a piece of what has come. Whether the store is still there.
    fn read(&mut self, token: Token, chunk: &mut [u8]) -> bool {
        let Some(peer) = self.peers.get_mut(&token) else { return true };
        match peer.stream.read(chunk) {
            Ok(0) => self.drop_peer(token),
            Ok(count) => {
                peer.unread.extend_from_slice(chunk.get(..count).unwrap_or_default());
                if count == chunk.len() {
                    self.ready.push_back(token);
                }
                return self.hear(token);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.ready.push_back(token),
            Err(_) => self.drop_peer(token),
        }
        self.carry_out()
    }

    /// Hands whole messages on, each when all is done for the one before. Whether the store is still there.
    fn hear(&mut self, token: Token) -> bool {
        let mut at = 0;
        let Some(peer) = self.peers.get_mut(&token) else { return true };
        let stream = std::mem::take(&mut peer.unread);
        while self.peers.contains_key(&token) {
            let rest = stream.get(at..).unwrap_or_default();
            match Frame::of(rest) {
                Frame::Incomplete => {
                    if let Some(peer) = self.peers.get_mut(&token) {
                        peer.unread = if at == 0 { stream } else { rest.to_vec() };
                    }
                    self.bound(token);
                    break;
                }
                Frame::Wrong => self.drop_peer(token),
                Frame::Message(len) => {
                    self.engine.received(conn_of(token), rest.get(4..4 + len).unwrap_or_default());
                    at += 4 + len;
                }
            }
            if !self.carry_out() {
                return false;
            }
        }
        self.carry_out()
    }

    /// Does what the engine wants done. Whether the store is still there.
    fn carry_out(&mut self) -> bool {
        while let Some(sent) = self.engine.next() {
            match sent {
                Sent::Message(conn, octets) => self.send(conn, octets, None),
                Sent::Notification(conn, id, octets) => self.send(conn, octets, Some(id)),
                Sent::Close(conn) => {
                    // What could be sent is sent already.
                    if let Some(token) = token_of(conn) {
                        self.drop_peer(token);
                    }
                }
                Sent::Persist(seq, change) => {
                    if self.store.changes.send((seq, change)).is_err() {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn send(&mut self, conn: ConnId, octets: Vec<u8>, id: Option<BreakId>) {
        let found = token_of(conn).and_then(|token| Some((token, self.peers.get_mut(&token)?)));
        let Some((token, peer)) = found else {
            return id.into_iter().for_each(|id| self.engine.undelivered(conn, id));
        };
        peer.waiting += octets.len();
        peer.unsent.push_back((octets, id));
        if peer.waiting > MOST_UNREAD {
            self.drop_peer(token);
        } else if !peer.blocked {
            self.write(token);
        }
    }

    fn write(&mut self, token: Token) {
        let Some(peer) = self.peers.get_mut(&token) else { return };
        while let Some((first, _)) = peer.unsent.front() {
            match peer.stream.write(first.get(peer.written..).unwrap_or_default()) {
                Ok(count) => {
                    peer.written += count;
                    peer.waiting = peer.waiting.saturating_sub(count);
                    if peer.written >= first.len() {
                        peer.unsent.pop_front();
                        peer.written = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.drop_peer(token),
            }
        }
        let blocked = !peer.unsent.is_empty();
        if blocked != peer.blocked {
            peer.blocked = blocked;
            let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let _ = self.poll.registry().reregister(&mut peer.stream, token, interest);
        }
    }

    /// Drops one with a long message on its way if all of them together hold too much.
    fn bound(&mut self, token: Token) {
        let long = self.peers.get(&token).is_some_and(|peer| peer.unread.len() > CHUNK);
        if long && self.peers.values().map(|peer| peer.unread.len()).sum::<usize>() > MOST_HELD {
            self.drop_peer(token);
        }
    }

    fn drop_peer(&mut self, token: Token) {
        if let Some(mut peer) = self.peers.remove(&token) {
            let _ = self.poll.registry().deregister(&mut peer.stream);
            self.engine.disconnected(conn_of(token));
            for id in peer.unsent.into_iter().filter_map(|(_, id)| id) {
                self.engine.undelivered(conn_of(token), id);
            }
        }
    }
}

fn conn_of(token: Token) -> ConnId {
    ConnId::new(token.0 as u64)
}

fn token_of(conn: ConnId) -> Option<Token> {
    usize::try_from(conn.get()).ok().map(Token)
}

/// A clock that goes on while the host sleeps, and the wall clock as FILETIME.
fn clock() -> (Instant, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = u64::try_from(since.as_nanos() / 100).unwrap_or(0);
    (Instant::from_millis(ownership::now()), EPOCH_1970.saturating_add(ticks))
}
