//! One step, told to both.

use leasehold::server::{
    Create, Event, Lock, LockElement, LockFlags, ObjectKind, Opened, OwnerLock, Reservation, SessionEnd,
};
use leasehold::wire::{Lease as Context, LeaseAck, LeaseFlags, LeaseV1};
use leasehold::{
    Actor, ConnId, CreateAction, CreateOptions, Disposition, Intent, LeaseState, Machine, OplockLevel,
    RequestId, SessionId, Status,
};

use super::model::*;
use super::steps::Step;
use super::world::{World, access, key, kind, lease_key, origin, sharing};

/// Allocation size of every file: all locks begin below it.
const ALLOCATION: u64 = 64;

impl World {
    pub(super) fn play(&mut self, step: Step) {
        match step {
            Step::Create { client, file, claim, lease } => self.create(client, file, claim, lease),
            Step::Opened { nth, opens } => {
                let opening: Vec<RequestId> = self
                    .model
                    .opens
                    .iter()
                    .filter(|open| open.phase != Phase::Live)
                    .map(|open| open.name)
                    .collect();
                if let Some(name) = pick(&opening, nth) {
                    self.opened(name, opens);
                }
            }
            Step::Close { nth } => {
                let Some(open) = pick(&self.live(), nth) else { return };
                let request = self.request();
                self.model.close_by_client(request, open.name);
                let (session, file_id) = (SessionId::new(open.conn), self.ids[&open.name]);
                self.tell(Event::Close { request, session, file_id });
            }
            Step::Lock { nth, offset, len, exclusive, waits } => {
                let Some(open) = pick(&self.live(), nth) else { return };
                let request = self.request();
                self.model.lock(request, open.name, Span::new(offset, len), exclusive, waits);
                let mut flags = if exclusive { LockFlags::EXCLUSIVE } else { LockFlags::SHARED };
                flags.set(LockFlags::FAIL_IMMEDIATELY, !waits);
                self.smb_lock(request, &open, LockElement { offset, len, flags });
            }
            Step::Unlock { nth, lock, any } => {
                let locked: Vec<Open> =
                    self.live().into_iter().filter(|open| any.is_some() || !open.locks.is_empty()).collect();
                let Some(open) = pick(&locked, nth) else { return };
                let (offset, len) = match any {
                    Some(any) => any,
                    None => {
                        let (span, _) = pick(&open.locks, lock).unwrap();
                        (span.from as u64, (span.to - span.from) as u64)
                    }
                };
                let request = self.request();
                self.model.unlock(request, open.name, Span::new(offset, len));
                self.smb_lock(request, &open, LockElement { offset, len, flags: LockFlags::UNLOCK });
            }
            Step::OwnerLock { owner, file, offset, len, exclusive, waits, reclaims } => {
                let request = self.request();
                let span = Span::new(offset, len);
                self.model.owner_lock(request, owner, file, (span, exclusive), waits, reclaims);
                let mut lock = OwnerLock::new(request, owner, key(file), exclusive).range(offset, len);
                (lock.waits, lock.reclaims) = (waits, reclaims);
                self.tell(Event::OwnerLock(lock));
            }
            Step::OwnerUnlock { owner, file, offset, len } => {
                let request = self.request();
                self.model.owner_unlock(request, owner, file, Span::new(offset, len));
                self.tell(Event::OwnerUnlock { request, owner, file: key(file), offset, len });
            }
            Step::Test { owner, file, offset, len, exclusive } => {
                let request = self.request();
                self.model.test(request, owner, file, Span::new(offset, len), exclusive);
                let lock = OwnerLock::new(request, owner, key(file), exclusive).range(offset, len);
                self.tell(Event::TestLock(lock));
            }
            Step::Reserve { owner, file, claim, reclaims } => {
                let request = self.request();
                self.model.reserve(request, owner, file, claim, reclaims);
                let mut reserved =
                    Reservation::new(request, owner, key(file), access(&claim)).sharing(sharing(&claim));
                (reserved.overwrites, reserved.reclaims) = (claim.overwrites, reclaims);
                self.tell(Event::Reserve(reserved));
            }
            Step::Unreserve { owner, file } => {
                self.model.unreserve(owner, file);
                self.tell(Event::Unreserve { owner, file: key(file) });
            }
            Step::Delegate { owner, nth, write, reclaims } => {
                let open: Vec<_> =
                    self.model.reserved.iter().map(|(owner, file, _)| (*owner, *file)).collect();
                let (owner, file) = pick(&open, nth).unwrap_or((owner, 0));
                let request = self.request();
                self.model.delegate(request, owner, file, kind(write), reclaims);
                let (file, kind) = (key(file), kind(write));
                self.tell(Event::Delegate { request, owner, file, kind, reclaims });
            }
            Step::Returned { nth, any } => {
                let all: Vec<_> =
                    self.model.delegations.iter().map(|other| (other.owner, other.file)).collect();
                let Some((owner, file)) = any.or(pick(&all, nth)) else { return };
                self.model.returned(owner, file);
                self.tell(Event::Returned { owner, file: key(file) });
            }
            Step::OwnerOperates { owner, file, what, offset, len } => {
                let by = By { owner: Some(owner), ..By::default() };
                self.operate(None, file, by, Actor::Owner(owner), (what, offset, len));
            }
            Step::OpenOperates { nth, what, offset, len } => {
                let Some(open) = pick(&self.live(), nth) else { return };
                let by = By { open: Some(open.name), key: open.key, owner: None };
                let actor = Actor::Open(self.ids[&open.name]);
                self.operate(Some(open.conn), open.file, by, actor, (what, offset, len));
            }
            Step::Done { nth, fails } => {
                let running: Vec<RequestId> = self.model.running.iter().map(|run| run.request).collect();
                let Some(request) = pick(&running, nth) else { return };
                self.model.done(request, fails);
                let (ticket, failed) = (self.tickets[&request], Err(Status::ACCESS_DENIED));
                self.tell(Event::Done { ticket, result: if fails { failed } else { Ok(()) } });
            }
            Step::Acknowledge { nth, state } => {
                let told = |lease: &Lease| lease.breaking.as_ref().map_or(0, |breaking| breaking.told);
                let mut leases = self.model.leases.clone();
                leases.sort_by_key(|lease| lease.breaking.is_none());
                let breaking = leases.iter().filter(|lease| lease.breaking.is_some()).count();
                leases.truncate(if breaking == 0 { 1 } else { breaking });
                let Some(lease) = pick(&leases, nth) else { return };
                let Some(conn) = self.conns.get(&lease.key.0).copied() else { return };
                let (request, state) = (self.request(), state.unwrap_or(told(&lease)));
                self.model.acknowledge(request, lease.file, lease.key, state);
                let ack = LeaseAck { key: lease_key(lease.key), state: LeaseState::from_bits_retain(state) };
                self.tell(Event::LeaseAck { request, conn: ConnId::new(conn), ack });
            }
            Step::Cancel { nth } => {
                let waiting: Vec<_> = self.model.waiters.iter().map(|waiter| waiter.request).collect();
                let Some(request) = pick(&waiting, nth) else { return };
                self.model.cancel(request);
                self.tell(Event::Cancel { request });
            }
            Step::OwnerGone { owner } => {
                self.model.owners_gone(|other| other == owner);
                self.tell(Event::OwnerGone { owner });
            }
            Step::HostGone { owner } => {
                self.model.owners_gone(|other| same_host(other, owner));
                self.tell(Event::HostGone { protocol: owner.protocol, host: owner.host });
            }
            Step::Leave { client, answered } => {
                let conn = self.conns[&client];
                self.model.leave(conn, answered);
                if answered {
                    let (session, end) = (SessionId::new(conn), SessionEnd::LoggedOff);
                    self.tell(Event::SessionEnded { session, end });
                }
                self.tell(Event::Disconnected { conn: ConnId::new(conn) });
                self.connect(client);
            }
            Step::Time { due, millis } => {
                let until = match self.model.due() {
                    // At most half a second on either side.
                    Some(next) if due => (next + millis % 1000).saturating_sub(500).max(self.model.now),
                    _ => self.model.now + millis,
                };
                self.pass(until);
            }
            Step::GraceOver => {
                self.model.reclaiming = false;
                self.tell(Event::GraceOver);
            }
        }
    }

    fn create(&mut self, client: u8, file: u8, claim: Claim, lease: Option<(u8, State)>) {
        if self.live().len() >= 8 {
            return;
        }
        let (request, conn) = (self.request(), self.conns[&client]);
        // A key names one file.
        let named = lease.map(|(number, asked)| ((client, file * 2 + number), asked));
        self.model.create(Open {
            name: request,
            conn,
            file,
            claim,
            key: named.map(|(key, _)| key),
            asked: named.map_or(0, |(_, asked)| asked),
            phase: Phase::Opening,
            locks: Vec::new(),
        });
        let disposition = if claim.overwrites { Disposition::Overwrite } else { Disposition::Open };
        let mut create = Create::new(request, origin(conn), key(file))
            .access(access(&claim), sharing(&claim))
            .disposition(disposition, CreateOptions::empty());
        if let Some((key, asked)) = named {
            let (state, flags) = (LeaseState::from_bits_retain(asked), LeaseFlags::empty());
            let lease = Context::V1(LeaseV1 { key: lease_key(key), state, flags });
            create = create.caching(OplockLevel::Lease, Some(lease));
        }
        self.tell(Event::Create(create));
    }

    pub(super) fn opened(&mut self, name: RequestId, opens: bool) {
        let overwrites = self.model.open(name).unwrap().claim.overwrites;
        self.model.opened(name, opens);
        let action = if overwrites { CreateAction::Overwritten } else { CreateAction::Opened };
        let opened = Opened::new(action, ObjectKind::File, ALLOCATION);
        let result = if opens { Ok(opened) } else { Err(Status::ACCESS_DENIED) };
        self.tell(Event::Opened { file_id: self.ids[&name], result });
    }

    fn smb_lock(&mut self, request: RequestId, open: &Open, element: LockElement) {
        let file_id = self.ids[&open.name];
        self.tell(Event::Lock(Lock::new(request, origin(open.conn), file_id, ALLOCATION, vec![element])));
    }

    fn operate(
        &mut self,
        conn: Option<u64>,
        file: u8,
        by: By,
        actor: Actor,
        (what, offset, len): (u8, u64, u64),
    ) {
        let span = Span::new(offset, len);
        let (deed, intent) = match what % 12 {
            0..3 => (Deed::Read(span), Intent::Read { offset, len }),
            3..6 => (Deed::Write(span), Intent::Write { offset, len }),
            6 => (Deed::Flush, Intent::Flush),
            7 => (Deed::SetSize, Intent::SetSize),
            8 => (Deed::SetAttributes, Intent::SetAttributes),
            // That of an open sends others to look where their names lead now, which is another story.
            9 if conn.is_none() => (Deed::Rename, Intent::Rename { to: None }),
            9 => (Deed::Flush, Intent::Flush),
            10 => (Deed::Link, Intent::Link { to: None }),
            _ if conn.is_none() => (Deed::Unlink, Intent::Unlink),
            _ => (Deed::SetSecurity, Intent::SetSecurity),
        };
        let request = self.request();
        self.model.operate(request, conn, file, by, deed);
        self.tell(Event::Operate { request, origin: conn.map(origin), file: key(file), actor, intent });
    }

    pub(super) fn pass(&mut self, until: u64) {
        self.model.expire(until);
        let (now, mut actions) = (self.now(), Vec::new());
        // Once at least: it may be early.
        self.server.handle_timeout(now, &mut actions);
        while self.server.poll_timeout().is_some_and(|due| due <= now) {
            self.server.handle_timeout(now, &mut actions);
        }
        self.compare(&actions);
    }
}

fn pick<T: Clone>(all: &[T], nth: u8) -> Option<T> {
    if all.is_empty() { None } else { Some(all[usize::from(nth) % all.len()].clone()) }
}
