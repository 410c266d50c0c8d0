//! The cache of a client: what it was allowed, what it has, what it has not written back.

use leasehold::client::{Event, OpenRef};
use leasehold::{ConnId, LeaseState, Status};

use super::World;
use super::client::{Op, OpKind, name_of};
use super::net::{Ask, Back};
use super::queue::What;

#[derive(Clone, Debug)]
pub(super) struct CachedFile {
    pub allowed: LeaseState,
    pub pages: Vec<CachedPage>,
    /// Another one after everything that makes answers to READs too old to be kept.
    pub generation: u64,
    /// CREATEs of one's own under way that overwrite the file.
    pub overwriting: u32,
    flush: Flush,
    purging: bool,
    /// An open was lost, and with it the right to write back.
    pub bereft: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CachedPage {
    pub clean: Option<u64>,
    pub dirty: Option<u64>,
    /// What is being written back.
    pub flushing: Option<u64>,
    /// Writes that the application waits for.
    pub writing: u32,
}

/// Whether the machine waits for something to be written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Idle,
    /// So many pages are under way; then the file is flushed at the server.
    Writing(usize),
    Syncing,
    Answering,
}

impl CachedFile {
    /// Whether something is written back or dropped, behind which an acknowledgment may be due.
    pub(super) fn is_busy(&self) -> bool {
        self.flush != Flush::Idle || self.purging
    }

    pub(super) fn new(pages: usize) -> Self {
        Self {
            allowed: LeaseState::NONE,
            pages: vec![CachedPage::default(); pages],
            generation: 0,
            overwriting: 0,
            flush: Flush::Idle,
            purging: false,
            bereft: false,
        }
    }

    pub(super) fn unwritten(&self) -> bool {
        self.pages.iter().any(|page| page.unwritten().is_some())
    }

    pub(super) fn idle(&self) -> bool {
        self.flush == Flush::Idle && !self.purging
    }

    /// Answers that are under way are too old by now.
    pub(super) fn outdate(&mut self) {
        self.generation += 1;
    }
}

impl CachedPage {
    /// What the server has not got.
    pub(super) fn unwritten(&self) -> Option<u64> {
        self.dirty.or(self.flushing)
    }

    pub(super) fn newest(&self) -> Option<u64> {
        self.unwritten().or(self.clean)
    }
}

impl World {
    pub(super) fn allow(&mut self, client: usize, file: usize, state: LeaseState) {
        let cached = &mut self.clients[client].files[file];
        if !state.contains(LeaseState::READ) {
            cached.outdate();
        }
        cached.allowed = state;
    }

    /// Everything that is dirty is written, and made durable at the server.
    pub(super) fn flush(&mut self, client: usize, file: usize) {
        let side = &mut self.clients[client];
        let writer = side.writer(file);
        let Some(conn) = side.conns.first().copied() else {
            return self
                .violate("there is somebody to write back to", || format!("client {client}, file {file}"));
        };
        let mut due = Vec::new();
        for (at, page) in side.files[file].pages.iter_mut().enumerate() {
            if let Some(value) = page.dirty.take() {
                page.flushing = Some(value);
                due.push((at, value));
            }
        }
        side.files[file].flush = Flush::Writing(due.len());
        if due.is_empty() {
            return self.flush_done(client, file);
        }
        let Some((open, file_id)) = writer else {
            if !side.files[file].bereft {
                let what = || format!("client {client}, file {file}: {due:?}, no handle");
                self.violate("what is dirty can be written back", what);
            }
            self.forsake(client, file);
            return self.flush_done(client, file);
        };
        for (page, value) in due {
            let side = &mut self.clients[client];
            let op = side.fresh();
            side.ops.insert(op, Op { conn, open, file, kind: OpKind::WriteBack { page, value } });
            self.write_back(conn, op, file_id, (file, page, value), Back::First);
        }
    }

    /// What was being written back is given up; the application was told.
    fn forsake(&mut self, client: usize, file: usize) {
        for page in &mut self.clients[client].files[file].pages {
            if page.flushing.take().is_some() {
                self.report.dirty_lost += 1;
            }
        }
    }

    /// The machine is told at once, or a little later.
    fn flush_done(&mut self, client: usize, file: usize) {
        let side = &mut self.clients[client];
        side.files[file].flush = Flush::Answering;
        let life = side.life;
        let at = self.now + self.random.pick(&[0, 0, 1, 20]);
        self.queue.push(at, What::Flushed { client, life, file });
    }

    pub(super) fn flushed(&mut self, client: usize, file: usize) {
        self.clients[client].files[file].flush = Flush::Idle;
        self.tell_client(client, Event::Flushed { file: name_of(file) });
    }

    pub(super) fn purge(&mut self, client: usize, file: usize) {
        self.check_purge(client, file);
        let side = &mut self.clients[client];
        let cached = &mut side.files[file];
        (cached.purging, cached.bereft) = (true, false);
        cached.outdate();
        for page in &mut cached.pages {
            if page.unwritten().is_some() {
                self.report.dirty_lost += 1;
            }
            (page.clean, page.dirty, page.flushing) = (None, None, None);
        }
        let life = side.life;
        if self.random.once_in(2) {
            side.files[file].purging = false;
            self.later(client, Event::Purged { file: name_of(file) });
        } else {
            let at = self.now + self.random.below(10);
            self.queue.push(at, What::Purged { client, life, file });
        }
    }

    pub(super) fn purged(&mut self, client: usize, file: usize) {
        self.clients[client].files[file].purging = false;
        self.tell_client(client, Event::Purged { file: name_of(file) });
    }

    /// A READ, WRITE or FLUSH was answered.
    pub(super) fn done(&mut self, client: usize, op: u64, result: Result<u64, Status>) {
        let Some(Op { conn, file, kind, .. }) = self.clients[client].ops.get(&op).copied() else { return };
        match (kind, result) {
            (OpKind::WriteBack { .. }, Err(Status::FILE_NOT_AVAILABLE | Status::INSUFFICIENT_RESOURCES)) => {
                // An earlier one may still be carried out (MS-SMB2 3.3.5.2.10), or the store has failed.
                let (life, at) = (self.clients[client].life, self.now + 20);
                return self.queue.push(at, What::WriteAgain { client, life, op });
            }
            (OpKind::Read { page, begun, fills }, Ok(value)) => {
                self.report.reads += 1;
                self.check_read(client, file, page, value, begun);
                let cached = &mut self.clients[client].files[file];
                let here =
                    cached.pages[page].unwritten().is_none() && cached.allowed.contains(LeaseState::READ);
                if fills == Some(cached.generation) && here {
                    cached.pages[page].clean.get_or_insert(value);
                }
            }
            (OpKind::Read { .. }, Err(_)) => {}
            (OpKind::Write { page, .. }, _) => {
                // One's own write breaks no lease of one's own: what was read while it was under way is void.
                let cached = &mut self.clients[client].files[file];
                cached.outdate();
                cached.pages[page].writing -= 1;
                cached.pages[page].clean = None;
            }
            (OpKind::WriteBack { page, value }, _) => {
                let cached = &mut self.clients[client].files[file];
                if let Err(status) = result {
                    self.check_refused_write_back(client, file, page, value, status);
                    self.report.dirty_lost += 1;
                } else {
                    self.report.written_back += 1;
                    // If R is lost it is dropped next.
                    let page = &mut cached.pages[page];
                    page.clean = Some(value).filter(|_| page.dirty.is_none());
                }
                let cached = &mut self.clients[client].files[file];
                cached.pages[page].flushing = None;
                if let Flush::Writing(left) = &mut cached.flush {
                    *left -= 1;
                    if *left == 0 {
                        self.sync(client, conn, file);
                    }
                }
            }
            (OpKind::Sync, _) => self.flush_done(client, file),
        }
        self.clients[client].ops.remove(&op);
    }

    /// All pages are at the server: they are to reach its disk.
    fn sync(&mut self, client: usize, conn: ConnId, file: usize) {
        let side = &mut self.clients[client];
        let conn = if side.conns.contains(&conn) { Some(conn) } else { side.conns.first().copied() };
        let (Some(conn), Some((open, file_id))) = (conn, side.writer(file)) else {
            return self.flush_done(client, file);
        };
        side.files[file].flush = Flush::Syncing;
        let op = side.fresh();
        side.ops.insert(op, Op { conn, open, file, kind: OpKind::Sync });
        self.send_up(conn, Ask::Sync { op, file_id, file });
    }

    pub(super) fn write_again(&mut self, client: usize, op: u64) {
        let side = &self.clients[client];
        let Some(Op { open, file, kind: OpKind::WriteBack { page, value }, .. }) = side.ops.get(&op).copied()
        else {
            return;
        };
        let file_id = side.opens.get(&open).and_then(|handle| handle.file_id);
        if let (Some(conn), Some(file_id)) = (side.conns.first().copied(), file_id) {
            if let Some(op) = self.clients[client].ops.get_mut(&op) {
                op.conn = conn;
            }
            self.write_back(conn, op, file_id, (file, page, value), Back::Again);
        }
    }

    /// A connection is lost: what the application waited for has failed. Returns what is to go out on another.
    pub(super) fn withdraw(&mut self, client: usize, conn: ConnId) -> Vec<u64> {
        let side = &mut self.clients[client];
        let lost: Vec<_> =
            side.ops.iter().filter(|(_, op)| op.conn == conn).map(|(id, op)| (*id, *op)).collect();
        let mut again = Vec::new();
        for (id, op) in lost {
            match op.kind {
                OpKind::Read { .. } => drop(side.ops.remove(&id)),
                OpKind::Write { page, .. } => {
                    side.ops.remove(&id);
                    let cached = &mut side.files[op.file];
                    cached.outdate();
                    cached.pages[page].writing -= 1;
                    cached.pages[page].clean = None;
                }
                OpKind::WriteBack { .. } | OpKind::Sync => again.push(id),
            }
        }
        again
    }

    /// Sends what was being written back on another connection; without one it is dirty still.
    pub(super) fn go_on_without(&mut self, client: usize, again: Vec<u64>) {
        let instead = self.clients[client].conns.first().copied();
        for id in again {
            let side = &mut self.clients[client];
            let Some(op) = side.ops.get_mut(&id) else { continue };
            let (open, file) = (op.open, op.file);
            match (instead, op.kind) {
                (Some(_), OpKind::WriteBack { .. }) => self.write_again(client, id),
                (Some(conn), OpKind::Sync) => {
                    op.conn = conn;
                    let Some(file_id) = side.opens.get(&open).and_then(|handle| handle.file_id) else {
                        continue;
                    };
                    self.send_up(conn, Ask::Sync { op: id, file_id, file });
                }
                (None, OpKind::WriteBack { page, value }) => {
                    side.ops.remove(&id);
                    let page = &mut side.files[file].pages[page];
                    if page.flushing.take().is_some() {
                        page.dirty.get_or_insert(value);
                    }
                }
                (None, _) => drop(side.ops.remove(&id)),
                (Some(_), OpKind::Read { .. } | OpKind::Write { .. }) => {}
            }
        }
        if instead.is_some() {
            return;
        }
        self.clients[client].ops.clear();
        for file in 0..self.plan.files {
            let flush = self.clients[client].files[file].flush;
            if matches!(flush, Flush::Writing(_) | Flush::Syncing) {
                // Every `Flush` is answered, also one that failed.
                self.flush_done(client, file);
            }
        }
    }

    /// A CREATE that overwrites the file was answered, or was not carried out.
    pub(super) fn overwritten(&mut self, client: usize, file: usize) {
        let cached = &mut self.clients[client].files[file];
        cached.overwriting -= 1;
        cached.outdate();
        for page in &mut cached.pages {
            page.clean = None;
        }
    }

    pub(super) fn read(&mut self, client: usize, open: OpenRef, file: usize, page: usize) {
        let side = &mut self.clients[client];
        let Some(file_id) = side.opens.get(&open).and_then(|handle| handle.usable()) else { return };
        let Some(conn) = self.random_conn(client) else { return };
        let side = &mut self.clients[client];
        let cached = &side.files[file];
        let allowed = cached.allowed.contains(LeaseState::READ) && cached.overwriting == 0;
        let here = cached.pages[page];
        match here.newest().filter(|_| allowed && here.writing == 0) {
            Some(value) => {
                self.report.reads += 1;
                self.report.cached += 1;
                self.check_cached_read(client, file, page, value);
            }
            None if here.unwritten().is_some() => {}
            None => {
                let fills = Some(cached.generation).filter(|_| allowed && here.writing == 0);
                let begun = self.checker.begin();
                let op = side.fresh();
                side.ops.insert(op, Op { conn, open, file, kind: OpKind::Read { page, begun, fills } });
                let sequence = side.machine.channel_sequence();
                self.send_up(conn, Ask::Read { op, file_id, file, page, sequence });
            }
        }
    }

    pub(super) fn write(&mut self, client: usize, open: OpenRef, file: usize, page: usize) {
        let side = &self.clients[client];
        let Some(file_id) = side.opens.get(&open).and_then(|handle| handle.usable()) else { return };
        let Some(conn) = self.random_conn(client) else { return };
        let value = self.fresh_value();
        let side = &mut self.clients[client];
        let cached = &mut side.files[file];
        let here = &mut cached.pages[page];
        if cached.allowed.contains(LeaseState::WRITE) && cached.overwriting == 0 && here.writing == 0 {
            (here.clean, here.dirty) = (None, Some(value));
            self.report.writes += 1;
            self.report.kept_back += 1;
            self.checker.kept_back(client, file, value);
            return self.note(|| {
                format!("    client {client} writes {value} to page {page} of its cached file {file}")
            });
        }
        if here.unwritten().is_some() {
            return;
        }
        here.clean = None;
        here.writing += 1;
        cached.outdate();
        let op = side.fresh();
        side.ops.insert(op, Op { conn, open, file, kind: OpKind::Write { page, value } });
        self.report.writes += 1;
        let sequence = side.machine.channel_sequence();
        self.send_up(conn, Ask::Write { op, file_id, file, page, value, back: Back::Through, sequence });
    }

    fn random_conn(&mut self, client: usize) -> Option<ConnId> {
        let conns = &self.clients[client].conns;
        if conns.is_empty() { None } else { Some(conns[self.random.index(conns.len())]) }
    }
}
