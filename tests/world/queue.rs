//! What happens next, and when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use leasehold::server::{BreakId, PersistSeq, Ticket};
use leasehold::{ConnId, FileId, RequestId};

use super::client::LeaseName;

/// Something that is due. Of a machine that has started anew in between, it is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The next message of a connection arrives at the server, or at its client.
    Up(ConnId),
    Down(ConnId),
    /// An application does something.
    App {
        client: usize,
        life: u32,
    },
    Connect {
        client: usize,
        life: u32,
    },
    /// The file system of the server has opened a file, or carried out an operation.
    Opened {
        life: u32,
        request: RequestId,
        file_id: FileId,
    },
    Operated {
        life: u32,
        request: RequestId,
        ticket: Ticket,
    },
    /// The store has made everything durable up to here.
    Stored {
        life: u32,
        up_to: PersistSeq,
    },
    /// The server goes, while something is not stored yet.
    PowerCut {
        life: u32,
    },
    Undelivered {
        life: u32,
        id: BreakId,
        conn: ConnId,
        about: LeaseName,
    },
    /// The cache of a client has written back, or dropped, a file.
    Flushed {
        client: usize,
        life: u32,
        file: usize,
    },
    Purged {
        client: usize,
        life: u32,
        file: usize,
    },
    /// What was kept from the server by an operation of an earlier number is sent again.
    WriteAgain {
        client: usize,
        life: u32,
        op: u64,
    },
    /// Somebody who speaks another protocol does something, has again what it had, hears of a recall.
    Neighbour {
        neighbour: usize,
    },
    Reclaim {
        life: u32,
        neighbour: usize,
    },
    Recalled {
        life: u32,
        neighbour: usize,
        file: usize,
    },
    Fault,
    ServerStarts,
    ClientStarts {
        client: usize,
    },
    Speaks {
        client: usize,
    },
    /// The weather changes.
    Weather,
}

#[derive(Debug)]
struct Due {
    at: u64,
    turn: u64,
    what: What,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Due>>,
    turn: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, what: What) {
        self.turn += 1;
        self.heap.push(Reverse(Due { at, turn: self.turn, what }));
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    pub(super) fn pop(&mut self) -> Option<What> {
        self.heap.pop().map(|Reverse(due)| due.what)
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}
