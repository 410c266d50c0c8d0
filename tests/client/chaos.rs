//! A server that lies, connections that come and go, a driver that keeps its contract: nothing is left over, and every request of the
//! application has its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold::client::{Adaptive, Object, Policy, SessionLoss};
use leasehold::persist::{ClientChange, ClientRecord, Need};
use leasehold::server::ShareFlags;
use leasehold::wire::{DurableFlags, DurableHandleResponse, DurableHandleResponseV2};
use leasehold::{Access, CreateGuid, CreateOptions, Disposition, ShareMode};
use uuid::Uuid;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Create(OpenRef),
    Reconnect(OpenRef),
    Close(OpenRef),
    Ack(AckId),
}

struct Chaos {
    client: Client,
    random: u64,
    now: u64,
    conns: Vec<ConnId>,
    session: SessionId,
    valid: bool,
    next: u64,
    sent: Vec<(ConnId, Sent)>,
    flushes: Vec<FileRef>,
    purges: Vec<FileRef>,
    /// Requests of the application without an answer, opens that it uses, those without a connection.
    asked: BTreeSet<RequestId>,
    used: BTreeSet<OpenRef>,
    away: BTreeSet<OpenRef>,
    /// Of each open that the server has: a FileId that may be its.
    file_ids: Vec<FileId>,
    allowed: BTreeMap<FileRef, LeaseState>,
    ends: [u64; 5],
    store: BTreeMap<u64, ClientRecord>,
}

const FILES: u64 = 2;

fn config() -> ClientConfig {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    (config.kept, config.kept_per_file, config.reconnects) = (3, 2, 2);
    (config.opens, config.acknowledgments, config.early_breaks) = (12, 3, 2);
    config.policy = Policy::Adaptive(Adaptive::new(2, Duration::from_millis(50), 2));
    config.persistence = true;
    config
}

impl Chaos {
    fn new(seed: u64) -> Self {
        Self {
            client: Client::new(config()),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 0,
            conns: Vec::new(),
            session: SessionId::new(1),
            valid: false,
            next: 1,
            sent: Vec::new(),
            flushes: Vec::new(),
            purges: Vec::new(),
            asked: BTreeSet::new(),
            used: BTreeSet::new(),
            away: BTreeSet::new(),
            file_ids: Vec::new(),
            allowed: BTreeMap::new(),
            ends: [0; 5],
            store: BTreeMap::new(),
        }
    }

    fn chance(&mut self, of: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % of
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.chance(of.len() as u64)).unwrap()]
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        let told = format!("{event:?}");
        if let Err(misuse) = self.client.handle(Instant::from_millis(self.now), event, &mut actions) {
            panic!("{misuse}: {told}");
        }
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::SendCreate { open, conn, .. } => self.send(conn, Sent::Create(open)),
                Action::SendReconnect { open, conn, .. } => self.send(conn, Sent::Reconnect(open)),
                Action::SendClose { open, conn, .. } => {
                    assert!(!self.used.contains(&open), "the application uses it");
                    self.send(conn, Sent::Close(open));
                }
                Action::SendLeaseAck { ack, conn, .. } | Action::SendOplockAck { ack, conn, .. } => {
                    self.send(conn, Sent::Ack(ack));
                }
                Action::RenewSession { conn, .. } => {
                    assert!(self.conns.contains(&conn));
                    self.valid = false;
                }
                Action::Allow { file, state } => {
                    assert_eq!(state, state.normalized());
                    assert_ne!(self.allowed.insert(file, state), Some(state), "said twice");
                }
                Action::Flush { file } => {
                    assert!(!self.flushes.contains(&file) && !self.purges.contains(&file));
                    assert!(!self.conns.is_empty(), "there is nobody to write back to");
                    self.flushes.push(file);
                }
                Action::Purge { file } => {
                    assert!(!self.flushes.contains(&file) && !self.purges.contains(&file));
                    self.purges.push(file);
                }
                Action::Ready { request, open, .. } => {
                    assert!(self.asked.remove(&request) && self.used.insert(open));
                    self.ends[0] += 1;
                }
                Action::Failed { request, .. } => {
                    assert!(self.asked.remove(&request));
                    self.ends[1] += 1;
                }
                Action::Persist { change: ClientChange::Put(record) } => {
                    self.store.insert(record.id, record);
                }
                Action::Persist { change: ClientChange::Delete { id } } => {
                    assert!(self.store.remove(&id).is_some(), "nothing to delete");
                }
                Action::Restored { id, open } => {
                    assert!(self.store[&id].need == Need::Nobody || self.away.insert(open));
                    assert!(self.store[&id].need != Need::Application || self.used.insert(open));
                }
                Action::Away { open } => assert!(self.away.insert(open)),
                Action::Regained { open } => {
                    assert!(self.away.remove(&open));
                    self.ends[2] += 1;
                }
                Action::Lost { open, .. } => {
                    self.away.remove(&open);
                    self.used.remove(&open);
                    self.ends[3] += 1;
                }
            }
        }
    }

    fn send(&mut self, conn: ConnId, sent: Sent) {
        assert!(self.conns.contains(&conn), "{sent:?} on a connection that is gone");
        assert!(!self.sent.iter().any(|(_, other)| *other == sent), "{sent:?} is under way");
        self.sent.push((conn, sent));
    }

    /// The driver breaks the contract: the machine is as it was before, and has nothing to do.
    fn misuse(&mut self) {
        let result = self.result();
        let (previous, terms) = (PreviousSession::Ended, Terms::new(Dialect::Smb311, Capabilities::LEASING));
        let mut events = vec![
            Event::Flushed { file: FileRef::new(999) },
            Event::Purged { file: FileRef::new(100) },
            Event::Disconnected { conn: ConnId::new(0) },
            Event::SessionLost { session: SessionId::new(0), reason: SessionLoss::Deleted },
            Event::Open(Opening::new(RequestId::new(0), FileRef::new(77), LeaseKey::ZERO)),
        ];
        if let Some(conn) = self.conns.last().copied() {
            events.push(Event::Connected { conn, session: self.session, previous, terms });
        }
        if let Some(open) = self.used.difference(&self.away).next().copied() {
            events.push(Event::Closed { open });
            events.push(Event::Created { open, result });
            events.push(Event::Reconnected { open, result });
        }
        for event in events {
            let before = format!("{:?}", self.client);
            let mut actions = Vec::new();
            let refused = self.client.handle(Instant::from_millis(self.now), event, &mut actions);
            assert!(refused.is_err() && actions.is_empty(), "{event:?}: {actions:?}");
            assert_eq!(format!("{:?}", self.client), before, "{event:?}");
        }
    }

    fn step(&mut self) {
        self.now += self.chance(20);
        if self.chance(500) == 0 {
            self.pass();
            self.misuse();
        }
        match self.chance(24) {
            0..=3 => self.open(),
            4..=9 => self.answer(),
            10 | 11 => {
                if let Some(file) = self.flushes.pop() {
                    self.tell(Event::Flushed { file });
                } else if let Some(file) = self.purges.pop() {
                    self.tell(Event::Purged { file });
                }
            }
            12..=14 => {
                let used: Vec<_> = self.used.iter().copied().collect();
                if !used.is_empty() {
                    let open = self.pick(&used);
                    self.used.remove(&open);
                    self.tell(Event::Release { open });
                }
            }
            15 | 16 => self.break_lease(),
            17 => self.break_oplock(),
            18 | 19 => self.connect(),
            20 if self.chance(8) == 0 => self.restart(),
            20 => self.hang_up(),
            21 => self.pass(),
            22 => self.end_session(),
            _ => {
                let used: Vec<_> = self.used.iter().copied().collect();
                if !used.is_empty() {
                    let open = self.pick(&used);
                    self.tell(Event::Resilient { open, timeout: Duration::from_millis(200) });
                }
            }
        }
    }

    fn open(&mut self) {
        if self.conns.is_empty() {
            return;
        }
        let request = RequestId::new(self.fresh());
        let n = self.chance(FILES);
        let (file, key) = (FileRef::new(n), LeaseKey::new([1 + u8::try_from(n).unwrap(); 16]));
        let wants = [
            Want::Usual,
            Want::State(R),
            Want::State(RWH),
            Want::State(NONE),
            Want::Level(OplockLevel::Batch),
            Want::Level(OplockLevel::II),
        ];
        let access = self.pick(&[Access::empty(), Access::READ_DATA, Access::READ_DATA | Access::WRITE_DATA]);
        let options = self.pick(&[
            CreateOptions::empty(),
            CreateOptions::empty(),
            CreateOptions::DIRECTORY_FILE,
            CreateOptions::DELETE_ON_CLOSE,
        ]);
        let share = self.pick(&[ShareFlags::empty(), ShareFlags::CONTINUOUSLY_AVAILABLE]);
        let mut opening = Opening::new(request, file, key)
            .want(self.pick(&wants))
            .access(access, ShareMode::ALL)
            .disposition(Disposition::OpenIf, options)
            .object(self.pick(&[Object::File, Object::File, Object::NamedStream]))
            .share(share);
        if self.chance(2) == 0 {
            opening = opening.parent(FileRef::new(100), LeaseKey::new([100; 16]));
        }
        if self.chance(3) != 0 {
            let guid = self.fresh();
            opening = opening.durable(CreateGuid::new(Uuid::from_u128(guid.into())));
        }
        self.asked.insert(request);
        self.tell(Event::Open(opening));
    }

    fn lease(&mut self) -> Lease {
        let n = u8::try_from(self.chance(FILES)).unwrap();
        let key = LeaseKey::new([1 + n; 16]);
        let state = self.pick(&[NONE, R, RH, RW, RWH, RWH]);
        let flags = self.pick(&[LeaseFlags::empty(), LeaseFlags::empty(), LeaseFlags::BREAK_IN_PROGRESS]);
        if self.chance(5) == 0 {
            return Lease::V1(LeaseV1 { key, state, flags });
        }
        let epoch = Epoch::new(u16::try_from(self.chance(6)).unwrap().wrapping_sub(1));
        Lease::V2(LeaseV2 { key, state, flags, parent: None, epoch })
    }

    fn result(&mut self) -> Result<CreateReply, Status> {
        if self.chance(3) == 0 {
            return Err(self.pick(&[
                Status::OBJECT_NAME_NOT_FOUND,
                Status::FILE_NOT_AVAILABLE,
                Status::FILE_NOT_AVAILABLE,
                Status::USER_SESSION_DELETED,
                Status::NETWORK_SESSION_EXPIRED,
                Status::ACCESS_DENIED,
            ]));
        }
        let file_id = match self.file_ids.len() {
            1.. if self.chance(12) == 0 => self.pick(&self.file_ids.clone()),
            _ => {
                let id = self.fresh();
                FileId::new(id, id)
            }
        };
        self.file_ids.push(file_id);
        if self.file_ids.len() > 6 {
            self.file_ids.remove(0);
        }
        let mut contexts = ResponseContexts::default();
        let levels = [
            OplockLevel::Lease,
            OplockLevel::Lease,
            OplockLevel::Batch,
            OplockLevel::Exclusive,
            OplockLevel::II,
        ];
        let level = self.pick(&levels);
        if level == OplockLevel::Lease {
            contexts.lease = Some(self.lease());
        }
        if self.chance(2) == 0 {
            contexts.durable = Some(DurableHandleResponse);
            let flags = self.pick(&[DurableFlags::empty(), DurableFlags::PERSISTENT]);
            let timeout = self.pick(&[0, 100, 1_000]);
            contexts.durable_v2 = Some(DurableHandleResponseV2 { timeout, flags });
        }
        Ok(CreateReply::new(file_id, level, contexts))
    }

    fn answer(&mut self) {
        if self.sent.is_empty() || !self.valid && self.chance(2) == 0 {
            return;
        }
        let at = usize::try_from(self.chance(self.sent.len() as u64)).unwrap();
        let (_, sent) = self.sent.remove(at);
        let result = self.result();
        self.tell(match sent {
            Sent::Create(open) => Event::Created { open, result },
            Sent::Reconnect(open) => Event::Reconnected { open, result },
            Sent::Close(open) => Event::Closed { open },
            Sent::Ack(ack) => Event::AckAnswered { ack, result: result.map(|_| ()) },
        });
    }

    fn break_lease(&mut self) {
        let lease = self.lease();
        let (flags, epoch) = (self.pick(&[ACK, BreakFlags::empty()]), lease.epoch().unwrap_or(Epoch::ZERO));
        let new = lease.state();
        self.tell(Event::LeaseBroken {
            body: LeaseBreak { epoch, flags, key: lease.key(), current: RWH, new },
        });
    }

    fn break_oplock(&mut self) {
        let id = self.next + 1;
        let mut ids = self.file_ids.clone();
        ids.push(FileId::new(id, id));
        let (conn, session, file_id) = (CONN, SessionId::new(0), self.pick(&ids));
        let level =
            self.pick(&[OplockLevel::None, OplockLevel::II, OplockLevel::Exclusive, OplockLevel::Batch]);
        self.tell(Event::OplockBroken { conn, session, body: OplockBreak { level, file_id } });
    }

    fn connect(&mut self) {
        if !self.valid && !self.conns.is_empty() {
            self.valid = true;
            // The same user again, or another session, which has nothing under way.
            if self.chance(2) == 0 {
                self.session = SessionId::new(self.fresh());
                self.sent.clear();
            }
            let previous = self.pick(&[PreviousSession::Ended, PreviousSession::Unknown]);
            return self.tell(Event::SessionReady { session: self.session, previous });
        }
        if self.conns.len() > 1 {
            return;
        }
        if self.conns.is_empty() {
            self.session = SessionId::new(self.fresh());
        }
        self.valid = true;
        let conn = ConnId::new(self.fresh());
        self.conns.push(conn);
        let capabilities =
            Capabilities::LEASING | Capabilities::DIRECTORY_LEASING | Capabilities::PERSISTENT_HANDLES;
        let terms = self.pick(&[
            Terms::new(Dialect::Smb311, capabilities),
            Terms::new(Dialect::Smb311, Capabilities::empty()),
            Terms::new(Dialect::Smb210, Capabilities::LEASING),
        ]);
        let previous = PreviousSession::Ended;
        self.tell(Event::Connected { conn, session: self.session, previous, terms });
    }

    fn hang_up(&mut self) {
        if !self.conns.is_empty() {
            let at = usize::try_from(self.chance(self.conns.len() as u64)).unwrap();
            let conn = self.conns.remove(at);
            self.sent.retain(|(of, _)| *of != conn);
            self.tell(Event::Disconnected { conn });
        }
    }

    fn end_session(&mut self) {
        if self.valid && self.chance(3) == 0 {
            let reason = self.pick(&[
                SessionLoss::Expired,
                SessionLoss::Deleted,
                SessionLoss::Deleted,
                SessionLoss::ServerRestart,
            ]);
            self.valid = false;
            if reason != SessionLoss::Expired {
                self.sent.clear();
            }
            self.tell(Event::SessionLost { session: self.session, reason });
        }
    }

    /// The client is gone, and with it whatever was under way; the next one has its records.
    fn restart(&mut self) {
        let records: Vec<_> = self.store.values().copied().collect();
        self.client = Client::new(config());
        self.conns.clear();
        self.sent.clear();
        self.flushes.clear();
        self.purges.clear();
        self.asked.clear();
        self.used.clear();
        self.away.clear();
        self.allowed.clear();
        self.valid = false;
        for record in records {
            let elapsed = Duration::from_millis(self.chance(50));
            self.tell(Event::Restore { record, elapsed });
            self.ends[4] += 1;
        }
    }

    fn pass(&mut self) {
        if let Some(due) = self.client.poll_timeout() {
            if self.chance(3) == 0 {
                self.now = self.now.max(due.as_millis());
            }
        }
        let mut actions = Vec::new();
        self.client.handle_timeout(Instant::from_millis(self.now), &mut actions);
        self.perform(actions);
        assert!(self.client.poll_timeout().is_none_or(|due| due.as_millis() > self.now), "due and not done");
    }

    /// Everybody lets go: what is left then would stay for ever.
    fn end(&mut self) {
        while let Some(open) = self.used.pop_first() {
            self.tell(Event::Release { open });
        }
        while !self.conns.is_empty() {
            self.hang_up();
        }
        for _ in 0..1_000 {
            if let Some(file) = self.flushes.pop() {
                self.tell(Event::Flushed { file });
            } else if let Some(file) = self.purges.pop() {
                self.tell(Event::Purged { file });
            } else if let Some(due) = self.client.poll_timeout() {
                self.now = self.now.max(due.as_millis());
                self.pass();
            } else {
                break;
            }
        }
        assert_eq!(self.client.poll_timeout(), None);
        assert_eq!((self.asked.len(), self.away.len(), self.sent.len()), (0, 0, 0));
        assert!(self.allowed.values().all(|state| state.is_empty()), "{:?}", self.allowed);
        assert_eq!(self.client.names(), 0, "a name is left");
        assert_eq!(self.store.len(), 0, "a record is left");
    }
}

#[test]
fn whatever_a_server_says_every_request_has_its_end() {
    let mut ends = [0; 5];
    for seed in 1..2_000 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..200 {
            chaos.step();
        }
        chaos.end();
        for (sum, more) in ends.iter_mut().zip(chaos.ends) {
            *sum += more;
        }
    }
    println!("ready, failed, regained, lost, restored: {ends:?}");
    assert!(ends.into_iter().all(|times| times > 500), "{ends:?}");
}
