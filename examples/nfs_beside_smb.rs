//! NFS and SMB on one file: what a server of both says to whom, and when.
//!
//! [`Gateway`] is what to copy: calls become events, and actions the replies of each protocol. Around it are a disk that is a string, a
//! client of SMB that writes back when its lease breaks, and one of NFSv4 that returns a delegation when it is recalled.
//!
//! Run it with `cargo run --example nfs_beside_smb`.

#[path = "shared/mod.rs"]
mod shared;

use std::collections::{BTreeMap, VecDeque};

use leasehold::server::{
    Action, Config, Create, DelegationKind, Event, ObjectKind, Opened, Origin, OwnerLock, Reservation,
    RouteSeed, Server, ShareFlags, Ticket,
};
use leasehold::wire::{Lease, LeaseAck, LeaseFlags, LeaseV2};
use leasehold::{
    Access, Actor, ClientGuid, ConnId, CreateAction, Epoch, FileId, FileKey, HashKey, Instant, Intent,
    LeaseKey, LeaseState, Machine, OplockLevel, OwnerId, Protocol, RequestId, SessionId, ShareMode, Status,
    TreeId,
};
use shared::{Outcome, act, check, terms};

const FILE: FileKey = FileKey::new(1);
const OTHER: FileKey = FileKey::new(2);
const CONN: ConnId = ConnId::new(1);
const SESSION: SessionId = SessionId::new(1);
const ORIGIN: Origin = Origin::new(CONN, SESSION, TreeId::new(1));

/// What was called, until it is answered for good.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// READ of NFSv3.
    Read,
    /// NLM_LOCK, or NLM_UNLOCK.
    Lock,
    /// OPEN of NFSv4, and what it may give away with it.
    Open,
    /// CREATE of SMB.
    Create,
    /// WRITE of SMB.
    WriteBack,
    /// Lease Break Acknowledgment of SMB.
    Acknowledge,
}

struct Gateway {
    machine: Server,
    /// What waits for an answer, and whether its client was told to wait.
    calls: BTreeMap<RequestId, (Call, bool)>,
    events: VecDeque<Event>,
    requests: u64,
    said: Vec<String>,
    disk: String,
    /// What the client of SMB has, and has not written back.
    dirty: Option<(FileId, String)>,
}

impl Gateway {
    /// Each call has a number of its own.
    fn call(&mut self, call: Call) -> RequestId {
        self.requests = self.requests.wrapping_add(1);
        let request = RequestId::new(self.requests);
        self.calls.insert(request, (call, false));
        request
    }

    /// Feeds an event and all that follows from it. Returns what was said meanwhile.
    fn tell(&mut self, event: Event) -> Outcome<Vec<String>> {
        self.events.push_back(event);
        let mut actions = Vec::new();
        while let Some(event) = self.events.pop_front() {
            self.machine.handle(Instant::ZERO, event, &mut actions)?;
            for action in actions.drain(..) {
                self.perform(action)?;
            }
        }
        Ok(std::mem::take(&mut self.said))
    }

    fn say(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("           {what}");
        self.said.push(what);
    }

    fn perform(&mut self, action: Action) -> Outcome {
        match action {
            Action::Interim { request } => {
                let Some((call, told)) = self.calls.get_mut(&request) else { return Ok(()) };
                *told = true;
                let reply = match call {
                    Call::Read => "NFS3ERR_JUKEBOX",
                    Call::Lock => "NLM4_BLOCKED",
                    Call::Open => "NFS4ERR_DELAY",
                    Call::Create | Call::WriteBack | Call::Acknowledge => "STATUS_PENDING",
                };
                self.say(reply);
            }
            Action::Repeated { .. } => self.say("NLM4_BLOCKED, still"),
            Action::Accepted { request } => match self.calls.remove(&request) {
                Some((Call::Lock, true)) => self.say("NLM_GRANTED, called back"),
                Some((Call::Lock, false)) => self.say("NLM4_GRANTED"),
                _ => self.say("NFS4_OK"),
            },
            Action::Refused { request, status } => {
                let reply = match (self.calls.remove(&request), status) {
                    (Some((Call::Lock, _)), Status::LOCK_NOT_GRANTED) => "NLM4_DENIED",
                    (Some((Call::Lock, _)), Status::POSSIBLE_DEADLOCK) => "NLM4_DEADLCK",
                    (Some((Call::Open, _)), Status::SHARING_VIOLATION) => "NFS4ERR_SHARE_DENIED",
                    (Some((Call::Open, _)), Status::OPLOCK_NOT_GRANTED) => "OPEN_DELEGATE_NONE",
                    (call, status) => return Err(format!("{call:?}: {status}").into()),
                };
                self.say(reply);
            }
            Action::Proceed { request, ticket } => self.proceed(request, ticket),
            Action::Recall { owner, file, .. } => {
                self.say("CB_RECALL");
                self.events.push_back(Event::Returned { owner, file });
            }
            // SMB, as ever.
            Action::OpenFile { file_id, .. } => {
                let opened = Opened::new(CreateAction::Opened, ObjectKind::File, self.disk.len() as u64);
                self.events.push_back(Event::Opened { file_id, result: Ok(opened) });
            }
            Action::Granted { grant, .. } => {
                let state = match grant.lease {
                    Some(Lease::V2(lease)) => lease.state,
                    _ => LeaseState::NONE,
                };
                self.say(format!("STATUS_SUCCESS, lease {state}"));
                let dirty = String::from("written under W");
                self.dirty = state.contains(LeaseState::WRITE).then_some((grant.file_id, dirty));
            }
            Action::SendLeaseBreak { body, .. } => {
                self.say(format!("Lease Break Notification to {}", body.new));
                if let Some((file_id, _)) = self.dirty {
                    let request = self.call(Call::WriteBack);
                    let intent = Intent::Write { offset: 0, len: 15 };
                    let (origin, actor) = (Some(ORIGIN), Actor::Open(file_id));
                    self.events.push_back(Event::Operate { request, origin, file: FILE, actor, intent });
                }
                let request = self.call(Call::Acknowledge);
                let ack = LeaseAck { key: body.key, state: body.new };
                self.events.push_back(Event::LeaseAck { request, conn: CONN, ack });
            }
            Action::AnswerLeaseAck { result, .. } => {
                result?;
            }
            Action::Resolve { .. }
            | Action::Closed { .. }
            | Action::SendOplockBreak { .. }
            | Action::Revoked { .. }
            | Action::Tested { .. }
            | Action::AnswerOplockAck { .. }
            | Action::Persist { .. }
            | Action::Unlink { .. }
            | Action::CloseFile { .. } => return Err(format!("not in this story: {action:?}").into()),
        }
        Ok(())
    }

    /// The operation itself: nobody caches by now what it reads or writes.
    fn proceed(&mut self, request: RequestId, ticket: Ticket) {
        match self.calls.remove(&request) {
            Some((Call::WriteBack, _)) => {
                if let Some((_, data)) = self.dirty.take() {
                    self.disk = data;
                    self.say("WRITE of what was dirty");
                }
            }
            _ => self.say(format!("NFS3_OK: {:?}", self.disk)),
        }
        self.events.push_back(Event::Done { ticket, result: Ok(()) });
    }

    /// SMB: an open to write, with a lease.
    fn create(&mut self, file: FileKey, key: u8) -> Outcome<Vec<String>> {
        let request = self.call(Call::Create);
        let key = LeaseKey::new([key; 16]);
        let (state, flags, parent, epoch) = (LeaseState::RWH, LeaseFlags::empty(), None, Epoch::ZERO);
        let lease = Lease::V2(LeaseV2 { key, state, flags, parent, epoch });
        let create = Create::new(request, ORIGIN, file)
            .access(Access::READ_DATA | Access::WRITE_DATA, ShareMode::ALL)
            .caching(OplockLevel::Lease, Some(lease));
        self.tell(Event::Create(create))
    }

    fn read(&mut self, owner: OwnerId) -> Outcome<Vec<String>> {
        let (request, actor) = (self.call(Call::Read), Actor::Owner(owner));
        let intent = Intent::Read { offset: 0, len: 4096 };
        self.tell(Event::Operate { request, origin: None, file: FILE, actor, intent })
    }

    fn lock(&mut self, owner: OwnerId) -> Outcome<Vec<String>> {
        let request = self.call(Call::Lock);
        self.tell(Event::OwnerLock(OwnerLock::new(request, owner, FILE, true).range(0, 10).waiting()))
    }

    fn delegate(&mut self, owner: OwnerId) -> Outcome<Vec<String>> {
        let (request, kind, reclaims) = (self.call(Call::Open), DelegationKind::Read, false);
        self.tell(Event::Delegate { request, owner, file: OTHER, kind, reclaims })
    }
}

fn main() -> Outcome {
    let config = Config::new(HashKey::new([1; 16]), RouteSeed::new([2; 16]), 1);
    let mut gateway = Gateway {
        machine: Server::new(config),
        calls: BTreeMap::new(),
        events: VecDeque::new(),
        requests: 0,
        said: Vec::new(),
        disk: String::from("what was there"),
        dirty: None,
    };
    let terms = terms(ShareFlags::empty());
    gateway.tell(Event::Connected { conn: CONN, client: ClientGuid::from_wire([1; 16]), terms })?;
    gateway.tell(Event::SessionBound { conn: CONN, session: SESSION })?;

    act("A client of SMB writes into its cache; one of NFSv3 reads.");
    gateway.create(FILE, 1)?;
    let said = gateway.read(OwnerId::new(Protocol::Nfs3, 1, 0))?;
    let fresh = "NFS3_OK: \"written under W\"";
    check(said.last().is_some_and(|last| last == fresh), "the reader sees what was dirty when it asked")?;

    act("Two processes lock by NLM.");
    let [one, other] = [1, 2].map(|process| OwnerId::new(Protocol::Nlm, 1, process));
    gateway.lock(one)?;
    let said = gateway.lock(other)?;
    check(said == ["NLM4_BLOCKED"], "the second waits")?;
    let said = gateway.lock(other)?;
    check(said == ["NLM4_BLOCKED, still"], "a call that comes again is the one that came before")?;
    let request = gateway.call(Call::Lock);
    let unlock = Event::OwnerUnlock { request, owner: one, file: FILE, offset: 0, len: 10 };
    let said = gateway.tell(unlock)?;
    check(said == ["NLM4_GRANTED", "NLM_GRANTED, called back"], "nobody has to ask again")?;
    gateway.tell(Event::HostGone { protocol: Protocol::Nlm, host: 1 })?;

    act("A client of NFSv4 opens another file, and gets it delegated; one of SMB opens that to write.");
    let owner = OwnerId::new(Protocol::Nfs4, 1, 0);
    let said = gateway.delegate(owner)?;
    check(said == ["OPEN_DELEGATE_NONE"], "nothing is delegated to who has not opened it")?;
    let request = gateway.call(Call::Open);
    gateway.tell(Event::Reserve(Reservation::new(request, owner, OTHER, Access::READ_DATA)))?;
    let said = gateway.delegate(owner)?;
    check(said == ["NFS4_OK"], "it may read from its cache, and open without asking")?;
    let said = gateway.create(OTHER, 2)?;
    let expected = ["CB_RECALL", "STATUS_PENDING", "STATUS_SUCCESS, lease RH"];
    check(said == expected, "nobody writes behind its back; beside its open there is no W")?;

    act("An administrator asks who has what.");
    for holding in gateway.machine.holders(OTHER) {
        println!("           {:?}: {:?}", holding.holder, holding.what);
    }
    check(gateway.machine.holders(OTHER).len() == 3, "an open, a lease, a reservation")
}
