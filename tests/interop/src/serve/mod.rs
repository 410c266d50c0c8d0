//! A server of SMB2 and SMB3 without sockets: messages go in, messages come out. Everything about opens, leases, oplocks, locks
//! and durable handles is decided by `leasehold::server::Server`, behind [`Host`]; what is here is what stands around it.
//!
//! | file | what | MS-SMB2 |
//! |---|---|---|
//! | `conn.rs` | a connection: what was agreed, credits | 3.3.1.1, 3.3.1.7, 3.3.5.4 |
//! | `session.rs` | sessions, channels, tree connects | 3.3.5.5, 3.3.5.6, 3.3.5.7 |
//! | `compound.rs` | messages one after the other, and what related ones share | 3.3.5.2, 3.3.5.2.7 |
//! | `dispatch.rs` | requests: which of them the host hears of, and as what | 3.3.5.8 to 3.3.5.22 |
//! | `reply.rs` | answers, interim answers, notifications; signatures | 3.3.4.1 to 3.3.4.7 |
//! | `net.rs` | the sockets | 2.1 |
//! | `hostile.rs` | histories made of octets, for fuzzing | |

mod compound;
mod conn;
mod dispatch;
pub mod hostile;
pub mod net;
mod reply;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use leasehold::persist::Change;
use leasehold::server::{BreakId, Event, Misuse, PersistSeq, Share};
use leasehold::{ConnId, Instant, RequestId, SessionId};

use crate::host::{Host, Output};
use crate::smb::ntlm::Accounts;
use compound::Chain;
use conn::Conn;
use reply::Asked;
use session::Session;

/// How long a notification stays on its way to a peer that is said to be out of reach, before the connection counts as lost.
const OUT_OF_REACH: Duration = Duration::from_secs(1);

/// What a server is like.
#[derive(Clone, Debug)]
pub struct Setup {
    /// ServerGuid
    pub guid: [u8; 16],
    /// Its name.
    pub name: String,
    /// Who may sign in; anybody may stay anonymous.
    pub accounts: Accounts,
    /// What is shared, by the name in small letters.
    pub shares: BTreeMap<String, Shared>,
    /// SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
    pub persistent_handles: bool,
    /// FSCTL 0x83848003, by which a test has the server take a connection for dead.
    pub test_controls: bool,
}

/// A share.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// What the machine has to know of it.
    pub share: Share,
    /// SMB2_SHARE_CAP_CLUSTER
    pub cluster: bool,
}

/// A server.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    host: Host,
    conns: HashMap<ConnId, Conn>,
    sessions: HashMap<SessionId, Session>,
    /// Requests that are not answered yet.
    asked: HashMap<RequestId, Asked>,
    /// The compound that is being worked on.
    current: Option<Chain>,
    /// Compounds that can go on.
    resumed: VecDeque<Chain>,
    /// Notifications that will turn out not to have arrived, and so the loss of their connections.
    stuck: VecDeque<(Instant, ConnId, BreakId)>,
    sent: VecDeque<Sent>,
    /// For requests, asynchronous answers and tree connects.
    last: u64,
    now: Instant,
    /// FILETIME
    time: u64,
}

/// What a server has done to the world.
#[derive(Debug)]
pub enum Sent {
    /// Send this message on that connection.
    Message(ConnId, Vec<u8>),
    /// The same; say [`Engine::undelivered`] if it cannot be sent.
    Notification(ConnId, BreakId, Vec<u8>),
    /// Send what was sent, and close the connection; say [`Engine::disconnected`] then.
    Close(ConnId),
    /// Store this; say [`Engine::stored`] then.
    Persist(PersistSeq, Change),
}

impl Engine {
    /// A server without clients.
    pub fn new(setup: Setup, host: Host) -> Self {
        Self {
            setup,
            host,
            conns: HashMap::new(),
            sessions: HashMap::new(),
            asked: HashMap::new(),
            current: None,
            resumed: VecDeque::new(),
            stuck: VecDeque::new(),
            sent: VecDeque::new(),
            last: 0,
            now: Instant::ZERO,
            time: 0,
        }
    }

    /// What time it is; `filetime` is that of the wall clock.
    pub fn set_time(&mut self, now: Instant, filetime: u64) {
        (self.now, self.time) = (self.now.max(now), filetime);
        self.host.set_time(now);
        self.host.fs().set_time(filetime);
    }

    /// Someone has connected.
    pub fn connected(&mut self, conn: ConnId) {
        self.conns.insert(conn, Conn::default());
    }

    /// A message has come. What follows from it is in [`Engine::next`].
    pub fn received(&mut self, conn: ConnId, message: &[u8]) {
        if self.conns.contains_key(&conn) {
            self.resumed.push_back(Chain::new(conn, message.to_vec()));
            self.work();
        }
    }

    /// A notification could not be sent. If the connection is lost, say that first: what goes with it need not be told to
    /// another one.
    pub fn undelivered(&mut self, conn: ConnId, id: BreakId) {
        self.host.undelivered(id, conn);
        self.work();
    }

    /// A connection is lost.
    pub fn disconnected(&mut self, conn: ConnId) {
        let Some(lost) = self.conns.remove(&conn) else { return };
        self.asked.retain(|_, asked| asked.conn != conn);
        self.sessions.values_mut().for_each(|session| session.forget(conn));
        if lost.agreed.is_some() {
            let Self { sessions, host, .. } = self;
            host.disconnected(conn, |session| sessions.get(&session).and_then(Session::any_channel));
        }
        self.sessions.retain(|_, session| session.any_channel().is_some());
        self.work();
    }

    /// The store says something.
    ///
    /// # Errors
    ///
    /// [`Misuse`], if it cannot be.
    pub fn stored(&mut self, event: Event) -> Result<(), Misuse> {
        self.host.stored(event)?;
        self.work();
        Ok(())
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stuck = self.stuck.front().map(|(due, ..)| *due);
        self.host.poll_timeout().into_iter().chain(stuck).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self) {
        while let Some((_, conn, id)) = self.stuck.pop_front_if(|(due, ..)| *due <= self.now) {
            self.close(conn);
            self.disconnected(conn);
            self.undelivered(conn, id);
        }
        self.host.handle_timeout();
        self.work();
    }

    /// What was done, one after the other.
    #[expect(clippy::should_implement_trait, reason = "it ends, and goes on again")]
    pub fn next(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    /// The host, to restore what a former life left.
    pub fn host(&mut self) -> &mut Host {
        &mut self.host
    }

    /// How many connections, sessions and requests there are.
    pub fn left(&self) -> usize {
        self.conns.len() + self.sessions.len() + self.asked.len() + self.stuck.len() + self.host.left()
    }

    /// Works until nothing is left to be done.
    fn work(&mut self) {
        self.drain();
        while let Some(chain) = self.resumed.pop_front() {
            self.run(chain);
            self.drain();
        }
    }

    /// Sends whatever the host wants sent.
    fn drain(&mut self) {
        while let Some(output) = self.host.next_output() {
            match output {
                Output::Answer { request, status, body } => self.answer_host(request, status, body),
                Output::Interim(request) => self.interim(request),
                Output::LeaseBreak { id, conn, body } => self.notify_lease(id, conn, &body),
                Output::OplockBreak { id, conn, session, body } => {
                    self.notify_oplock(id, conn, session, body)
                }
                Output::Persist { seq, change } => self.sent.push_back(Sent::Persist(seq, change)),
                Output::Fault(what) => eprintln!("{what}"),
                Output::NotTaken(_) => {}
            }
        }
    }

    /// A number that was not given before.
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}
