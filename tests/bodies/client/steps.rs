//! One step: a request of the application, an answer or a break of the server, a connection, or time.

use std::time::Duration;

use leasehold::client::{
    CreateReply, Event, FileRef, Object, OpenRef, Opening, PreviousSession, SessionLoss, Want,
};
use leasehold::server::{Capabilities, ShareFlags, Terms};
use leasehold::wire::{
    BreakFlags, DurableFlags, DurableHandleResponse, DurableHandleResponseV2, Lease, LeaseBreak, LeaseFlags,
    LeaseV1, LeaseV2, OplockBreak, ResponseContexts,
};
use leasehold::{
    Access, ConnId, CreateGuid, CreateOptions, Dialect, Disposition, Epoch, FileId, LeaseKey, LeaseState,
    Machine, OplockLevel, RequestId, SessionId, ShareMode, Status,
};
use uuid::Uuid;

use super::{Chaos, Choices, Sent};

const FILES: u64 = 2;
const NONE: LeaseState = LeaseState::NONE;
const R: LeaseState = LeaseState::R;
const RH: LeaseState = LeaseState::RH;
const RW: LeaseState = LeaseState::RW;
const RWH: LeaseState = LeaseState::RWH;
const ACK: BreakFlags = BreakFlags::ACK_REQUIRED;

impl<C: Choices> Chaos<C> {
    pub fn step(&mut self) {
        self.now += self.chance(20);
        match self.chance(24) {
            0..=3 => self.open(),
            4..=9 => self.answer(),
            10 | 11 => drop(self.caches()),
            12..=14 => self.release(),
            15..=17 if self.conns.is_empty() => (),
            15 | 16 => self.break_lease(),
            17 => self.break_oplock(),
            18 | 19 => self.connect(),
            20 => self.go_away(),
            21 => self.pass(),
            22 => self.end_session(),
            _ if self.chance(4) == 0 => self.close_handle(),
            _ => self.resilient(),
        }
        self.assert_recorded();
    }

    /// An open that the application uses.
    fn in_use(&mut self) -> Option<OpenRef> {
        let used: Vec<_> = self.used.iter().copied().collect();
        (!used.is_empty()).then(|| self.pick(&used))
    }

    fn release(&mut self) {
        if let Some(open) = self.in_use() {
            self.used.remove(&open);
            self.tell(Event::Release { open });
        }
    }

    fn resilient(&mut self) {
        if let Some(open) = self.in_use() {
            self.tell(Event::Resilient { open, timeout: Duration::from_millis(200) });
        }
    }

    /// The server has closed an open by itself, which a request through it has shown.
    fn close_handle(&mut self) {
        if let Some(open) = self.in_use() {
            let status = self.pick(&[Status::FILE_CLOSED, Status::NETWORK_NAME_DELETED]);
            self.tell(Event::HandleLost { open, status });
        }
    }

    fn go_away(&mut self) {
        match self.chance(8) {
            0 => self.restart(),
            1 => self.dies = Some(self.chance(4)),
            _ => self.hang_up(),
        }
    }

    /// Time passes, perhaps until something is due.
    fn pass(&mut self) {
        if let Some(due) = self.client.poll_timeout() {
            if self.chance(3) == 0 {
                self.now = self.now.max(due.as_millis());
            }
        }
        self.tell_the_time();
        if self.chance(20) == 19 {
            self.misuse();
        }
    }

    fn open(&mut self) {
        if self.conns.is_empty() {
            return;
        }
        let request = RequestId::new(self.fresh());
        let n = self.chance(FILES);
        let (file, key) = (FileRef::new(n), LeaseKey::new([1 + n as u8; 16]));
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
        let n = self.chance(FILES) as u8;
        let key = LeaseKey::new([1 + n; 16]);
        let state = self.pick(&[NONE, R, RH, RW, RWH, RWH]);
        let flags = self.pick(&[LeaseFlags::empty(), LeaseFlags::empty(), LeaseFlags::BREAK_IN_PROGRESS]);
        if self.chance(5) == 0 {
            return Lease::V1(LeaseV1 { key, state, flags });
        }
        let epoch = Epoch::new((self.chance(6) as u16).wrapping_sub(1));
        Lease::V2(LeaseV2 { key, state, flags, parent: None, epoch })
    }

    pub(super) fn result(&mut self) -> Result<CreateReply, Status> {
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
        Ok(CreateReply::new(self.file_id(), level, contexts))
    }

    /// What was asked for.
    fn granted(&mut self, open: OpenRef) -> CreateReply {
        let (level, asked) = self.wishes[&open];
        let mut contexts = ResponseContexts::default();
        contexts.lease = asked.lease;
        contexts.durable = asked.durable.dhnq.map(|_| DurableHandleResponse);
        contexts.durable_v2 =
            asked.durable.dh2q.map(|asked| DurableHandleResponseV2 { timeout: 1_000, flags: asked.flags });
        CreateReply::new(self.file_id(), level, contexts)
    }

    /// A new one, or one that was given before.
    fn file_id(&mut self) -> FileId {
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
        file_id
    }

    fn answer(&mut self) {
        if self.sent.is_empty() || !self.valid && self.chance(2) == 0 {
            return;
        }
        let at = self.chance(self.sent.len() as u64) as usize;
        let (_, sent) = self.sent.remove(at);
        let result = match sent {
            Sent::Create(open) | Sent::Reconnect(open) if self.chance(2) == 0 => Ok(self.granted(open)),
            _ => self.result(),
        };
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
        let (conn, session, file_id) = (self.conns[0], SessionId::new(0), self.pick(&ids));
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
        let previous = self.pick(&[PreviousSession::Ended, PreviousSession::Unknown]);
        self.tell(Event::Connected { conn, session: self.session, previous, terms });
    }

    pub(super) fn hang_up(&mut self) {
        if !self.conns.is_empty() {
            let at = self.chance(self.conns.len() as u64) as usize;
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
}
