//! The client: a cache that is told what it may do, and handles that close when they must.
//!
//! One [`Client`] stands for one ClientGuid at one server. It owns the lease keys, states and epochs of the names in use,
//! and the opens under them; it never touches data. The application's cache is asked to write back and to forget, and only
//! then is the server told.

mod action;
mod event;
mod file;
mod grant;

use alloc::vec::Vec;

use slotmap::{Key, KeyData, SlotMap, new_key_type};

pub use action::Action;
pub use event::{CreateReply, Event};

use crate::machine::Machine;
use crate::server::{Capabilities, Terms};
use crate::state::{Dialect, LeaseState, OplockLevel};
use crate::status::Status;
use crate::store::hash::HashKey;
use crate::store::list::Links;
use crate::store::table::{Keyed, Table};
use crate::time::Instant;
use crate::types::{ConnId, Epoch, LeaseKey, RequestId};
use crate::wire::{BreakFlags, Lease, LeaseAck, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2};
use file::{Answer, Cache, File, Open, Stage, Task, Turn, Under, Version};
use grant::{Outcome, outcome};

new_key_type! {
    struct FileSlot;
    struct OpenSlot;
    struct NameSlot;
}

/// A *name*, as the driver counts them: `server\share\path` (MS-SMB2 3.2.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct FileRef(u64);

impl FileRef {
    /// Wraps a number of the driver's choice.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// An open of the application's. Opaque, never reused while the machine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct OpenRef(u64);

/// An acknowledgment in flight. Opaque, never reused while the machine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct AckId(u64);

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// For hash tables; fresh at each start. No action depends on it.
    pub hash_key: HashKey,
    /// Opens, those that H keeps open among them. At the limit an open fails with STATUS_INSUFFICIENT_RESOURCES.
    pub opens: usize,
    /// Acknowledgments without an answer. At the limit the oldest is forgotten: its answer changes nothing.
    pub acknowledgments: usize,
}

impl ClientConfig {
    /// The defaults.
    pub const fn new(hash_key: HashKey) -> Self {
        Self { hash_key, opens: 1 << 16, acknowledgments: 1 << 10 }
    }
}

/// How a driver can break the contract. The machine is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// An event names a connection that is not there.
    #[error("no such connection")]
    UnknownConnection,
    /// A connection arrives twice.
    #[error("this connection is there already")]
    DuplicateConnection,
    /// A new name comes with a lease key that another name has, or with zeros.
    #[error("this lease key is no new one")]
    LeaseKey,
    /// An event names an open that is not there, or not in that stage.
    #[error("no such open")]
    UnknownOpen,
    /// An answer to nothing that was asked.
    #[error("nothing was asked of this file")]
    UnknownFile,
}

/// The name that a lease key belongs to.
#[derive(Clone, Copy, Debug)]
struct Named {
    key: LeaseKey,
    file: FileSlot,
}

/// An acknowledgment without an answer.
#[derive(Clone, Copy, Debug)]
struct Sent {
    ack: AckId,
    file: FileSlot,
    conn: ConnId,
    state: LeaseState,
    turn: Turn,
}

/// An SMB2 client's mind.
///
/// A call costs the opens of the file that it concerns; the loss of a connection, all opens; an acknowledgment, those under
/// way, of which [`ClientConfig::acknowledgments`] are remembered.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    conns: Vec<(ConnId, Terms)>,
    files: Table<FileSlot, File>,
    names: Table<NameSlot, Named>,
    opens: SlotMap<OpenSlot, Open>,
    /// Oldest first.
    acks: Vec<Sent>,
    next_ack: u64,
}

type Out<'a> = &'a mut Vec<Action>;

impl Client {
    /// A client without connections.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            conns: Vec::new(),
            files: Table::new(config.hash_key, config.opens),
            names: Table::new(config.hash_key, config.opens),
            opens: SlotMap::with_key(),
            acks: Vec::new(),
            next_ack: 0,
            config,
        }
    }

    /// What the lease of a name gives now.
    pub fn state(&self, file: FileRef) -> LeaseState {
        self.files
            .find(file)
            .and_then(|slot| self.files.get(slot))
            .map_or(LeaseState::NONE, |file| file.state)
    }

    /// The epoch of the lease of a name.
    pub fn epoch(&self, file: FileRef) -> Epoch {
        self.files.find(file).and_then(|slot| self.files.get(slot)).map_or(Epoch::ZERO, |file| file.epoch)
    }
}

impl Machine for Client {
    type Event = Event;
    type Action = Action;
    type Misuse = Misuse;

    fn handle(&mut self, _: Instant, event: Event, out: Out<'_>) -> Result<(), Misuse> {
        match event {
            Event::Connected { conn, terms } => {
                if self.conns.iter().any(|(other, _)| *other == conn) {
                    return Err(Misuse::DuplicateConnection);
                }
                self.conns.push((conn, terms));
            }
            Event::Disconnected { conn } => return self.disconnected(conn, out),
            Event::Open { request, file, key, want } => return self.create(request, file, key, want, out),
            Event::Created { open, result } => return self.created(open, result, out),
            Event::Release { open } => return self.release(open, out),
            Event::Closed { open } => return self.closed(open, out),
            Event::Flushed { file } => {
                return self.finished(file, |file| &mut file.descent.flush, out);
            }
            Event::Purged { file } => {
                return self.finished(file, |file| &mut file.descent.purge, out);
            }
            Event::LeaseBroken { body } => self.broken(&body, out),
            Event::AckAnswered { ack, result } => self.answered(ack, result, out),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _: Instant, _: Out<'_>) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// Opening and closing.
impl Client {
    fn create(
        &mut self,
        request: RequestId,
        name: FileRef,
        key: LeaseKey,
        want: LeaseState,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        let Some((conn, terms)) = self.conns.first().copied() else { return Err(Misuse::UnknownConnection) };
        let known = self.files.find(name);
        if known.is_none() && (key == LeaseKey::ZERO || self.names.find(key).is_some()) {
            return Err(Misuse::LeaseKey);
        }
        let slot = if self.opens.len() < self.config.opens {
            known.or_else(|| self.remember(name, key))
        } else {
            None
        };
        let Some((slot, file)) = slot.and_then(|slot| Some((slot, self.files.get_mut(slot)?))) else {
            out.push(Action::Failed { request, status: Status::INSUFFICIENT_RESOURCES });
            return Ok(());
        };
        let lease = context(terms, file, want);
        let (under, level) = match lease {
            Some(_) => (Under::Lease, OplockLevel::Lease),
            None => (Under::Nothing, OplockLevel::None),
        };
        let stage = Stage::Creating { request, under };
        let open = self.opens.insert(Open { file: slot, conn, stage, in_file: Links::default() });
        file.opens.push_back(&mut self.opens, open, |open| &mut open.in_file);
        file.count_creating(under, u32::saturating_add);
        out.push(Action::SendCreate { request, open: open_ref(open), conn, level, lease });
        Ok(())
    }

    fn remember(&mut self, name: FileRef, key: LeaseKey) -> Option<FileSlot> {
        let file = self.files.insert(File::new(name, key)).ok()?;
        if self.names.insert(Named { key, file }).is_err() {
            self.files.remove(file);
            return None;
        }
        Some(file)
    }

    fn created(
        &mut self,
        open: OpenRef,
        result: Result<CreateReply, Status>,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        let slot = open_slot(open);
        let record = self.opens.get_mut(slot).ok_or(Misuse::UnknownOpen)?;
        let Stage::Creating { request, under } = record.stage else { return Err(Misuse::UnknownOpen) };
        let (file_slot, conn) = (record.file, record.conn);
        let Some(file) = self.files.get_mut(file_slot) else { return Err(Misuse::UnknownOpen) };
        file.count_creating(under, u32::saturating_sub);
        match result {
            Err(status) => {
                self.forget(slot);
                out.push(Action::Failed { request, status });
            }
            Ok(reply) => {
                let lease = reply.contexts.lease.filter(|_| reply.level == OplockLevel::Lease);
                if lease.is_some_and(|lease| lease.key() != file.key) {
                    // Somebody else's lease: nothing may be cached on it, and the handle is of no use.
                    record.stage = Stage::Closing { file_id: reply.file_id };
                    out.push(Action::SendClose { open, conn, file_id: reply.file_id });
                    out.push(Action::Failed { request, status: Status::INVALID_NETWORK_RESPONSE });
                } else {
                    // A server may answer without a lease: the open has none then, and the lease is as it was.
                    let under = if lease.is_some() { Under::Lease } else { Under::Nothing };
                    record.stage = Stage::Live { file_id: reply.file_id, under };
                    if let Some(lease) = lease {
                        apply(file, &lease);
                    }
                    out.push(Action::Ready { request, open });
                }
            }
        }
        self.descend(file_slot, out);
        Ok(())
    }

    /// The application is done with an open.
    fn release(&mut self, open: OpenRef, out: Out<'_>) -> Result<(), Misuse> {
        let record = self.opens.get_mut(open_slot(open)).ok_or(Misuse::UnknownOpen)?;
        let Stage::Live { file_id, under } = record.stage else { return Err(Misuse::UnknownOpen) };
        let slot = record.file;
        let Some(file) = self.files.get_mut(slot) else { return Err(Misuse::UnknownOpen) };
        record.stage = if under == Under::Lease && file.state.contains(LeaseState::HANDLE) {
            Stage::Kept { file_id }
        } else {
            file.flush_before_closing();
            Stage::Parting { file_id }
        };
        self.descend(slot, out);
        Ok(())
    }

    fn closed(&mut self, open: OpenRef, out: Out<'_>) -> Result<(), Misuse> {
        let slot = open_slot(open);
        let record = self.opens.get(slot).ok_or(Misuse::UnknownOpen)?;
        if !matches!(record.stage, Stage::Closing { .. }) {
            return Err(Misuse::UnknownOpen);
        }
        let file = record.file;
        self.forget(slot);
        self.descend(file, out);
        Ok(())
    }

    /// MS-SMB2 3.2.7.1: another connection carries on; with the last one every open is gone.
    fn disconnected(&mut self, conn: ConnId, out: Out<'_>) -> Result<(), Misuse> {
        let at = self.conns.iter().position(|(other, _)| *other == conn).ok_or(Misuse::UnknownConnection)?;
        self.conns.remove(at);
        let instead = self.conns.first().map(|(conn, _)| *conn);
        let opens: Vec<(OpenSlot, Open)> = self
            .opens
            .iter()
            .filter(|(_, open)| open.conn == conn)
            .map(|(slot, open)| (slot, open.clone()))
            .collect();
        let mut files: Vec<FileSlot> = opens.iter().map(|(_, open)| open.file).collect();
        files.sort_unstable();
        files.dedup();
        // What is at stake is said of every open before anything is given up.
        for (slot, Open { file, stage, .. }) in opens {
            match (stage, instead) {
                (Stage::Creating { request, under }, _) => {
                    if let Some(file) = self.files.get_mut(file) {
                        file.count_creating(under, u32::saturating_sub);
                    }
                    self.forget(slot);
                    out.push(Action::Failed { request, status: Status::CONNECTION_DISCONNECTED });
                }
                (Stage::Closing { file_id }, Some(other)) => {
                    // Its answer may be lost with the connection; a second CLOSE does no harm.
                    self.redirect(slot, other);
                    out.push(Action::SendClose { open: open_ref(slot), conn: other, file_id });
                }
                (Stage::Closing { .. }, None) => self.forget(slot),
                (Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. }, Some(other)) => {
                    self.redirect(slot, other);
                }
                (Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. }, None) => {
                    let held = self.files.get(file).map_or(LeaseState::NONE, File::at_stake);
                    self.forget(slot);
                    out.push(Action::Lost { open: open_ref(slot), held });
                }
            }
        }
        self.send_again(conn, instead);
        for slot in files {
            if let Some(file) = self.files.get_mut(slot).filter(|_| instead.is_none()) {
                file.lose();
            }
            self.descend(slot, out);
        }
        Ok(())
    }

    /// Acknowledgments that were under way on a lost connection are due again, if there is another (MS-SMB2 3.2.7.1).
    fn send_again(&mut self, conn: ConnId, instead: Option<ConnId>) {
        let Self { acks, files, .. } = self;
        acks.retain(|sent| {
            if sent.conn == conn && instead.is_some() {
                if let Some(file) = files.get_mut(sent.file) {
                    file.answer_due(sent.state);
                    file.turn = Turn::Again;
                }
            }
            sent.conn != conn
        });
    }

    fn redirect(&mut self, slot: OpenSlot, conn: ConnId) {
        if let Some(open) = self.opens.get_mut(slot) {
            open.conn = conn;
        }
    }

    fn forget(&mut self, slot: OpenSlot) {
        let Some(file) = self.opens.get(slot).map(|open| open.file) else { return };
        if let Some(file) = self.files.get_mut(file) {
            file.opens.remove(&mut self.opens, slot, |open| &mut open.in_file);
        }
        self.opens.remove(slot);
    }
}

/// Breaks.
impl Client {
    /// MS-SMB2 3.2.5.19.2. A key that nobody knows is ignored: there is nothing to come down from.
    fn broken(&mut self, body: &LeaseBreak, out: Out<'_>) {
        let named = self.names.find(body.key).and_then(|name| self.names.get(name)).copied();
        let Some((slot, file)) = named.and_then(|named| Some((named.file, self.files.get_mut(named.file)?)))
        else {
            return;
        };
        let answer = body.flags.contains(BreakFlags::ACK_REQUIRED);
        let steps = match file.version {
            Version::V1 => Some(0),
            Version::V2 => body.epoch.since(file.epoch),
        };
        match steps {
            Some(steps) => {
                let before = file.state;
                // Choice: the same epoch may lower too; a follow-up break of an older server has it (MS-SMB2 3.3.4.7 <248>).
                file.lower(body.new);
                if file.version == Version::V2 {
                    file.epoch = body.epoch;
                }
                // A change that was not seen lies between: what is cached may be stale.
                if file.state == before && steps > 1 {
                    file.void();
                }
            }
            // Overtaken by something newer: it changes nothing by itself, but what is acknowledged is held from then on.
            None if answer => file.lower(body.new),
            None => {}
        }
        if answer {
            file.answer_due(body.new);
        }
        self.descend(slot, out);
    }

    /// A step on the way down is done.
    fn finished(
        &mut self,
        name: FileRef,
        task: impl Fn(&mut File) -> &mut Task,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        let slot = self.files.find(name).ok_or(Misuse::UnknownFile)?;
        let task = self.files.get_mut(slot).map(task).ok_or(Misuse::UnknownFile)?;
        if !matches!(task, Task::Running | Task::Again) {
            return Err(Misuse::UnknownFile);
        }
        task.finish();
        self.descend(slot, out);
        Ok(())
    }

    /// Does the next thing that a file needs, as far as it can go: allow less, write back, drop, close, answer, allow more.
    fn descend(&mut self, slot: FileSlot, out: Out<'_>) {
        self.part(slot);
        let Some(file) = self.files.get_mut(slot) else { return };
        let name = file.name;
        let less = file.allowed.intersection(file.permitted());
        if less != file.allowed {
            file.allowed = less;
            out.push(Action::Allow { file: name, state: less });
        }
        if file.descent.flush == Task::Due {
            file.descent.flush = Task::Running;
            out.push(Action::Flush { file: name });
        }
        if file.descent.flush != Task::Idle {
            return;
        }
        if file.descent.purge == Task::Due {
            file.descent.purge = Task::Running;
            out.push(Action::Purge { file: name });
        }
        if file.descent.purge != Task::Idle {
            return;
        }
        file.descent.cache = Cache::Valid;
        self.close_what_is_done(slot, out);
        self.answer(slot, out);
        let Some(file) = self.files.get_mut(slot) else { return };
        if file.allowed != file.state {
            file.allowed = file.state;
            out.push(Action::Allow { file: name, state: file.state });
        }
        if file.opens.vacant() {
            let key = file.key;
            self.files.remove(slot);
            if let Some(name) = self.names.find(key) {
                self.names.remove(name);
            }
            self.acks.retain(|sent| sent.file != slot);
        }
    }

    /// Kept handles part when H is gone, and the lease ends with its last open. Before either, what is dirty is written
    /// back: by the handle that may write, and while there is a lease.
    fn part(&mut self, slot: FileSlot) {
        let Some(file) = self.files.get_mut(slot) else { return };
        let mut next = file.opens.head();
        let mut held = file.creating > 0;
        while let Some(open) = next.and_then(|slot| self.opens.get_mut(slot)) {
            next = open.in_file.next();
            let keeps = file.state.contains(LeaseState::HANDLE);
            if let (Stage::Kept { file_id }, false) = (open.stage, keeps) {
                open.stage = Stage::Parting { file_id };
                file.flush_before_closing();
            }
            held |= open.stage.holds_lease();
        }
        if !held {
            file.lower(LeaseState::NONE);
        }
    }

    /// Sends the CLOSE of every handle that nothing keeps open any more.
    fn close_what_is_done(&mut self, slot: FileSlot, out: Out<'_>) {
        let Some(file) = self.files.get(slot) else { return };
        let opens = || file.opens.iter(&self.opens, |open| &open.in_file);
        // The lease would end with this CLOSE and begin anew with the CREATE that is on its way: it waits for the answer.
        if file.creating > 0 && !opens().any(|(_, open)| open.stage.holds_lease()) {
            return;
        }
        let mut next = file.opens.head();
        while let Some((open_slot, open)) = next.and_then(|slot| Some((slot, self.opens.get_mut(slot)?))) {
            next = open.in_file.next();
            if let Stage::Parting { file_id } = open.stage {
                open.stage = Stage::Closing { file_id };
                out.push(Action::SendClose { open: open_ref(open_slot), conn: open.conn, file_id });
            }
        }
    }

    /// Acknowledges with what is held now and was told, through an open that is left; without one the CLOSE was the answer
    /// (MS-SMB2 3.2.5.19.2).
    fn answer(&mut self, slot: FileSlot, out: Out<'_>) {
        let Some(file) = self.files.get_mut(slot) else { return };
        let Answer::Due { told } = file.descent.answer else { return };
        // <202>: not while a CREATE of this lease is on its way, whose answer may still change what is held.
        if file.creating > 0 {
            return;
        }
        file.descent.answer = Answer::None;
        let mut opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let left = opens.find(|(_, open)| open.stage.holds_lease()).map(|(via, open)| (via, open.conn));
        let turn = core::mem::replace(&mut file.turn, Turn::First);
        let Some((via, conn)) = left else { return };
        let ack = AckId(self.next_ack);
        self.next_ack = self.next_ack.saturating_add(1);
        if self.acks.len() >= self.config.acknowledgments.max(1) {
            self.acks.remove(0);
        }
        let state = file.state.intersection(told).normalized();
        self.acks.push(Sent { ack, file: slot, conn, state, turn });
        let body = LeaseAck { key: file.key, state };
        out.push(Action::SendLeaseAck { ack, conn, via: open_ref(via), body });
    }

    /// MS-SMB2 3.2.5.19.4: whatever the error, nothing is held any more. But one that was sent again may find that the first
    /// did arrive, and then what it said is held.
    fn answered(&mut self, ack: AckId, result: Result<(), Status>, out: Out<'_>) {
        let Some(at) = self.acks.iter().position(|sent| sent.ack == ack) else { return };
        let Sent { file: slot, state, turn, .. } = self.acks.remove(at);
        let Some(file) = self.files.get_mut(slot) else { return };
        let arrived = turn == Turn::Again && result == Err(Status::UNSUCCESSFUL) && file.state == state;
        if result.is_err() && !arrived {
            file.lower(LeaseState::NONE);
            self.descend(slot, out);
        }
    }
}

/// The lease context of a CREATE (MS-SMB2 3.2.4.3.8).
fn context(terms: Terms, file: &File, want: LeaseState) -> Option<Lease> {
    // An open without the lease that is held would break it: it goes along even if the application wants nothing.
    if !terms.capabilities.contains(Capabilities::LEASING) || want.union(file.state).is_empty() {
        return None;
    }
    // A server gives more only to who asks for all of what is held and more.
    let (key, state, flags) = (file.key, want.union(file.state).normalized(), LeaseFlags::empty());
    match terms.dialect {
        Dialect::Smb202 => None,
        Dialect::Smb210 => Some(Lease::V1(LeaseV1 { key, state, flags })),
        Dialect::Smb300 | Dialect::Smb302 | Dialect::Smb311 => {
            Some(Lease::V2(LeaseV2 { key, state, flags, parent: None, epoch: file.epoch }))
        }
    }
}

/// Takes in what a CREATE response says about the lease (MS-SMB2 3.2.5.7.4, 3.2.5.7.5).
fn apply(file: &mut File, lease: &Lease) {
    // What was told and is not answered is not held, whatever a response says.
    let ceiling = match file.descent.answer {
        Answer::None => LeaseState::RWH,
        Answer::Due { told } => told,
    };
    let returned = lease.state().intersection(ceiling).normalized();
    let breaking = lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS);
    match *lease {
        Lease::V1(_) => {
            file.version = Version::V1;
            // The state of a breaking lease is what it was: the notification says what survives.
            if breaking {
                return;
            }
            file.lower(returned);
            file.state = returned;
        }
        Lease::V2(LeaseV2 { epoch, .. }) => {
            file.version = Version::V2;
            let steps = epoch.since(file.epoch);
            let returned = if breaking { returned.intersection(file.state) } else { returned };
            match outcome(file.state, returned, steps) {
                Outcome::Nothing => {}
                Outcome::Upgrade => file.state = returned,
                Outcome::UpgradeAndPurge => {
                    file.void();
                    file.state = returned;
                }
                Outcome::Purge | Outcome::Invalid => {
                    file.void();
                    file.lower(returned);
                }
            }
            if steps.is_some() {
                file.epoch = epoch;
            }
        }
    }
}

fn open_ref(slot: OpenSlot) -> OpenRef {
    OpenRef(slot.data().as_ffi())
}

fn open_slot(open: OpenRef) -> OpenSlot {
    KeyData::from_ffi(open.0).into()
}

impl Keyed for Named {
    type Key = LeaseKey;

    fn key(&self) -> LeaseKey {
        self.key
    }
}
