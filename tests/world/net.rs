//! The network: messages of one connection keep their order, connections overtake each other and are lost.

use std::collections::{BTreeMap, VecDeque};

use leasehold::client::{AckId, CreateReply, OpenRef, Replay};
use leasehold::server::BreakId;
use leasehold::wire::{LeaseAck, LeaseBreak, OplockBreak, RequestContexts};
use leasehold::{ConnId, FileId, OplockLevel, SessionId, Status};

use super::client::LeaseName;
use super::queue::What;
use super::{Wanted, World};

/// To the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Hello {
        previous: Option<SessionId>,
        bind: Option<SessionId>,
    },
    Create {
        open: OpenRef,
        wanted: Wanted,
        level: OplockLevel,
        contexts: RequestContexts,
        replay: Replay,
        sequence: u16,
    },
    Reconnect {
        open: OpenRef,
        wanted: Wanted,
        contexts: RequestContexts,
        sequence: u16,
    },
    Close {
        open: OpenRef,
        file_id: FileId,
    },
    LeaseAck {
        ack: AckId,
        body: LeaseAck,
    },
    OplockAck {
        ack: AckId,
        body: OplockBreak,
    },
    Read {
        op: u64,
        file_id: FileId,
        file: usize,
        page: usize,
        sequence: u16,
    },
    Write {
        op: u64,
        file_id: FileId,
        file: usize,
        page: usize,
        value: u64,
        back: Back,
        sequence: u16,
    },
    Sync {
        op: u64,
        file_id: FileId,
        file: usize,
    },
    /// The connection is gone.
    End,
}

/// Where a WRITE comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    /// The application waits for it.
    Through,
    /// It was kept back in the cache.
    First,
    /// As above, sent again because its channel was lost.
    Again,
}

/// To a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tell {
    Welcome { session: SessionId },
    Created { open: OpenRef, result: Result<CreateReply, Status> },
    Reconnected { open: OpenRef, result: Result<CreateReply, Status> },
    Closed { open: OpenRef },
    Acked { ack: AckId, result: Result<(), Status> },
    LeaseBreak { id: BreakId, about: LeaseName, body: LeaseBreak },
    OplockBreak { id: BreakId, about: LeaseName, body: OplockBreak },
    Done { op: u64, result: Result<u64, Status> },
    End,
}

impl Tell {
    /// Of a break: its name, and whom it is about.
    pub(super) fn notifies(&self) -> Option<(BreakId, LeaseName)> {
        match self {
            Self::LeaseBreak { id, about, .. } | Self::OplockBreak { id, about, .. } => Some((*id, *about)),
            _ => None,
        }
    }
}

/// One connection, from both ends.
#[derive(Debug)]
pub(super) struct Conn {
    pub client: usize,
    pub incarnation: u8,
    /// Of the server.
    life: u32,
    pub up: VecDeque<Ask>,
    pub down: VecDeque<Tell>,
    up_at: u64,
    down_at: u64,
    /// Nothing that is sent arrives any more.
    pub cut: bool,
    /// Whether the server machine was told of it.
    pub known: bool,
    /// The session that it carries, as far as the server knows.
    pub session: Option<SessionId>,
    /// Whether either end still has it.
    pub at_server: bool,
    pub at_client: bool,
    /// Notifications that were sent and have not arrived, and whom they were about.
    pub undelivered: Vec<(BreakId, LeaseName)>,
}

#[derive(Debug, Default)]
pub(super) struct Net {
    pub conns: BTreeMap<ConnId, Conn>,
    made: u64,
}

impl World {
    pub(super) fn dial(&mut self, client: usize) -> ConnId {
        self.net.made += 1;
        let id = ConnId::new(self.net.made);
        let conn = Conn {
            client,
            incarnation: self.clients[client].incarnation,
            life: self.server.life,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_at: 0,
            down_at: 0,
            cut: false,
            known: false,
            session: None,
            at_server: true,
            at_client: true,
            undelivered: Vec::new(),
        };
        self.net.conns.insert(id, conn);
        id
    }

    fn delay(&mut self) -> u64 {
        let (least, most) = self.plan.delay;
        let most = if self.random.once_in(200) { most * 10 } else { most };
        self.random.between(least, most)
    }

    pub(super) fn send_up(&mut self, id: ConnId, ask: Ask) {
        let at = self.now + self.delay();
        let Some(conn) = self.net.conns.get_mut(&id).filter(|conn| !conn.cut) else { return };
        conn.up_at = conn.up_at.max(at);
        conn.up.push_back(ask);
        let at = conn.up_at;
        self.queue.push(at, What::Up(id));
    }

    pub(super) fn send_down(&mut self, id: ConnId, tell: Tell) {
        let at = self.now + self.delay();
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        if conn.cut {
            conn.undelivered.extend(tell.notifies());
            return;
        }
        conn.down_at = conn.down_at.max(at);
        conn.down.push_back(tell);
        let at = conn.down_at;
        self.queue.push(at, What::Down(id));
    }

    /// The connection breaks: some of what is under way still arrives, the rest does not; each end notices in its time.
    pub(super) fn cut(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get(&id).filter(|conn| !conn.cut) else { return };
        let (up, down) = (conn.up.len(), conn.down.len());
        let (up, down) = (self.random.index(up + 1), self.random.index(down + 1));
        self.break_off(id, up, down);
    }

    /// As [`cut`](Self::cut): so many messages arrive.
    pub(super) fn break_off(&mut self, id: ConnId, up: usize, down: usize) {
        let late = |world: &mut Self| {
            let most = world.random.pick(&[5, 50, 500, 8_000]);
            world.now + world.random.below(most)
        };
        let (up_end, down_end) = (late(self), late(self));
        let Some(conn) = self.net.conns.get_mut(&id).filter(|conn| !conn.cut) else { return };
        conn.cut = true;
        let client = conn.client;
        conn.up.truncate(up);
        conn.undelivered.extend(conn.down.drain(down..).filter_map(|tell| tell.notifies()));
        conn.up.push_back(Ask::End);
        conn.down.push_back(Tell::End);
        let (up_at, down_at) = (conn.up_at.max(up_end), conn.down_at.max(down_end));
        self.checker.trouble(client, self.now);
        self.queue.push(up_at, What::Up(id));
        self.queue.push(down_at, What::Down(id));
    }

    /// The client closes a connection, or is gone: all that it sent may still arrive.
    pub(super) fn leave(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.at_client = false;
        let up = conn.up.len();
        self.break_off(id, up, 0);
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.undelivered.extend(conn.down.drain(..).filter_map(|tell| tell.notifies()));
        if !conn.at_server {
            // The server has noticed before, and learns only now that they did not arrive.
            let (life, at) = (conn.life, self.now);
            for (break_id, about) in std::mem::take(&mut conn.undelivered) {
                self.queue.push(at, What::Undelivered { life, id: break_id, conn: id, about });
            }
        }
        self.tidy(id);
    }

    /// Forgets a connection that neither end has.
    pub(super) fn tidy(&mut self, id: ConnId) {
        if self.net.conns.get(&id).is_some_and(|conn| !conn.at_client && !conn.at_server) {
            self.net.conns.remove(&id);
        }
    }
}
