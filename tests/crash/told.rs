//! What the driver carries out, and what its clients are told by it.

use std::collections::BTreeMap;

use leasehold::server::{Action, DurableGrant, Grant, Link, LockFlags};
use leasehold::wire::{BreakFlags, DurableFlags, LeaseFlags};
use leasehold::{CreateAction, CreateOptions, FileKey, Intent, OplockLevel, RequestId, Status};

use crate::book::{AVAILABLE, Answer, Asked, Going, Handle, Notice, Running, Standing, Told, Verdict, hold};
use crate::brief;
use crate::cut::seen;
use crate::life::Life;
use crate::store::show;

impl Life {
    /// The driver carries out one action, and a client is told what it is told.
    pub fn apply(&mut self, action: Action) -> Verdict {
        if self.loud {
            match &action {
                Action::Persist { .. } => {}
                action => println!("      > {}", brief::action(action)),
            }
        }
        let book = &mut self.book;
        match action {
            Action::OpenFile { request, file_id } => {
                let persistent = file_id.persistent;
                hold!(!book.promised.contains(&persistent), "FileId {persistent:#x} is given a second time");
                hold!(
                    !self.image.records.contains_key(&persistent),
                    "FileId {persistent:#x} belongs to a record"
                );
                if let Some((conn, Asked::Create { wish })) = book.requests.get(&request) {
                    let handle = Handle {
                        file_id,
                        wish: wish.clone(),
                        standing: Standing::Asked,
                        promised: false,
                        told: false,
                        seat: Some((*conn, wish.tree)),
                        deadline: u64::MAX,
                        closed: false,
                        action: None,
                        locks: BTreeMap::new(),
                        sequences: BTreeMap::new(),
                        places: book.places(wish),
                        fate: None,
                        level: OplockLevel::None,
                        scarred: false,
                        unbound: false,
                        ghost: false,
                        lost: false,
                        revived: false,
                    };
                    book.handles.insert(persistent, handle);
                    seen("opens");
                }
                book.opening.push(file_id);
            }
            Action::Resolve { request } => {
                book.requests.remove(&request);
            }
            Action::Interim { .. } => {}
            action @ (Action::Recall { .. }
            | Action::Revoked { .. }
            | Action::Repeated { .. }
            | Action::Tested { .. }) => {
                hold!(false, "nobody speaks anything but SMB: {action:?}");
            }
            Action::Proceed { request, ticket } => {
                let Some((_, Asked::Operate { persistent, intent })) = book.requests.remove(&request) else {
                    return Err("an operation that nobody asked for".into());
                };
                let wishes = book.handles.get(&persistent).map(|handle| handle.wish.file);
                let alone = wishes.is_some_and(|file| !book.moves(file));
                let certain = wishes.is_some_and(|file| !book.disposes(file));
                book.running.push(Running { ticket, persistent, intent });
                if let (Intent::Delete { pending }, true) = (intent, certain) {
                    if let Some(handle) = book.handles.get_mut(&persistent) {
                        handle.fate = Some(pending).filter(|_| handle.standing == Standing::Firm);
                    }
                }
                if let (Intent::Rename { to }, Some(handle)) = (intent, book.handles.get_mut(&persistent)) {
                    // It may not run before the record says so.
                    if alone && handle.standing == Standing::Firm {
                        handle.places = vec![to];
                    }
                }
            }
            Action::Granted { request, grant } => self.granted(request, &grant)?,
            Action::Refused { request, status } => self.refused(request, status)?,
            Action::Closed { request } => {
                self.answered(request, Answer::Closed);
                let handles = match self.book.requests.remove(&request) {
                    Some((_, Asked::Close { persistent })) => vec![persistent],
                    Some((_, Asked::Tree { handles })) => handles,
                    _ => Vec::new(),
                };
                for persistent in handles {
                    self.closed(persistent);
                }
            }
            Action::Accepted { request } => {
                self.answered(request, Answer::Accepted);
                let asked = self.book.requests.remove(&request);
                if let Some((_, Asked::Lock { persistent, elements, sequence })) = asked {
                    let Some(handle) = self.book.handles.get_mut(&persistent) else { return Ok(()) };
                    for element in &elements {
                        let (least, most) = handle.locks.entry(element.offset).or_default();
                        match element.flags.contains(LockFlags::UNLOCK) {
                            true => *most -= 1,
                            false => *least += 1,
                        }
                    }
                    if let Some((index, number)) = sequence {
                        handle.sequences.insert(index, Some(number));
                    }
                }
            }
            Action::SendLeaseBreak { conn, body, .. } => {
                let Some(client) = book.client_on(conn.get()) else { return Ok(()) };
                let name = (client, body.key);
                let of_lease = |handle: &&Handle| {
                    handle.wish.lease.is_some_and(|(key, _)| name == (handle.wish.client, key))
                };
                let mut handles = book.handles.values().filter(of_lease).filter(|handle| !handle.closed);
                // Nobody can have heard of what is not stored.
                let heard =
                    handles.any(|handle| handle.told || self.journal.covers(handle.file_id.persistent));
                hold!(heard, "a break of a lease that nobody has heard of: {body:?}");
                let file = book.told.get(&name).map_or(FileKey::new(0), |told| told.file);
                book.told.insert(name, Told { file, state: body.new, epoch: body.epoch, exact: false });
                if body.flags.contains(BreakFlags::ACK_REQUIRED) {
                    let (conn, key, new) = (conn.get(), body.key, body.new);
                    book.notices.push(Notice::Lease { client, conn, key, new });
                }
            }
            Action::SendOplockBreak { conn, body, .. } => {
                if let Some(handle) = book.handles.get_mut(&body.file_id.persistent) {
                    if handle.level == OplockLevel::Batch || handle.level == OplockLevel::Exclusive {
                        let (conn, file_id, level) = (conn.get(), body.file_id, body.level);
                        book.notices.push(Notice::Oplock { conn, file_id, level });
                    }
                    handle.level = body.level;
                }
            }
            Action::AnswerLeaseAck { request, result } => {
                let asked = book.requests.remove(&request);
                if let (Some((_, Asked::Ack { client })), Ok(ack)) = (asked, result) {
                    if let Some(told) = book.told.get_mut(&(client, ack.key)) {
                        // A further notification may be on its way.
                        let further = told.state != ack.state && told.state.difference(ack.state).is_empty();
                        told.state &= ack.state;
                        told.exact = !further;
                    }
                }
            }
            Action::AnswerOplockAck { request, .. } => {
                book.requests.remove(&request);
            }
            Action::Persist { seq, change } => {
                hold!(seq.number() > self.last_seq, "{} after {}", seq.number(), self.last_seq);
                self.last_seq = seq.number();
                self.journal.push(seq, &change);
                if self.loud {
                    let (seq, change) = self.journal.changes.last().expect("it was just pushed");
                    println!("      > persist {}: {}", seq.number(), show(change));
                }
            }
            Action::Unlink { file } => book.remove(file),
            Action::CloseFile { file_id, link } => {
                let persistent = file_id.persistent;
                let Some(handle) = book.handles.get_mut(&persistent) else { return Ok(()) };
                let firm = handle.standing == Standing::Firm;
                hold!(
                    !firm,
                    "{persistent:#x} is closed out of nothing: {:?}, {}",
                    handle.seat,
                    handle.deadline
                );
                handle.closed = true;
                handle.seat = None;
                let file = handle.wish.file;
                if link == Link::Remove {
                    book.remove(file);
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, request: RequestId, answer: Answer) {
        if self.book.requests.get(&request).is_some_and(|(conn, _)| self.book.current(*conn)) {
            self.book.answers.insert(request, answer);
        }
    }

    fn granted(&mut self, request: RequestId, grant: &Grant) -> Verdict {
        self.answered(request, Answer::Granted(*grant));
        let Some((conn, asked)) = self.book.requests.remove(&request) else { return Ok(()) };
        let persistent = grant.file_id.persistent;
        let promise = match grant.durable {
            Some(DurableGrant::V2(response)) => {
                self.book.promised.insert(persistent);
                Some(response)
            }
            Some(DurableGrant::V1(_)) => {
                self.book.promised.insert(persistent);
                None
            }
            None => None,
        };
        let promise = promise.filter(|response| response.flags.contains(DurableFlags::PERSISTENT));
        let put = self.journal.was_put(persistent);
        let settings = self.book.settings.clone();
        let guid = match &asked {
            Asked::Reconnect { persistent, .. } => {
                self.book.handles.get(persistent).and_then(|other| other.wish.guid())
            }
            _ => None,
        };
        let Some(handle) = self.book.handles.get_mut(&persistent) else {
            return Err(format!("{persistent:#x} was never opened"));
        };
        let tree = match &asked {
            Asked::Create { wish } => wish.tree,
            _ => AVAILABLE,
        };
        let client = handle.wish.client;
        match asked {
            Asked::Create { .. } => {
                if handle.told {
                    // A replay.
                } else if let Some(promise) = promise {
                    hold!(handle.wish.persistent(&settings), "{persistent:#x} became persistent by itself");
                    let timeout = handle.wish.timeout(&settings);
                    hold!(u64::from(promise.timeout) == timeout, "for {} ms, not {timeout}", promise.timeout);
                } else {
                    let lost = handle.wish.persistent(&settings) && put && !handle.scarred;
                    hold!(!lost, "{persistent:#x} was stored, and is not persistent");
                }
                handle.revived |= handle.standing == Standing::Doubtful;
                handle.promised |= promise.is_some();
                handle.standing = match (promise, handle.standing) {
                    (Some(_), _) => Standing::Firm,
                    // What its record held is deleted again.
                    (None, Standing::Asked) if put => Standing::Doubtful,
                    (None, Standing::Asked) => Standing::Never,
                    (None, as_before) => as_before,
                };
                if let Some(action) = handle.action {
                    hold!(action == grant.action, "a replay answers {:?}, not {action:?}", grant.action);
                }
                handle.action = Some(grant.action);
            }
            Asked::Reconnect { persistent: wanted, flags } => {
                let found = wanted == persistent || guid.is_some() && handle.wish.guid() == guid;
                hold!(found, "{persistent:#x} instead of {wanted:#x}");
                hold!(grant.durable.is_none(), "a durable context where an open is given back");
                hold!(grant.action == CreateAction::Opened, "{:?} where an open is given back", grant.action);
                let survives = flags.contains(DurableFlags::PERSISTENT);
                handle.revived |= handle.standing == Standing::Doubtful;
                if handle.standing == Standing::Doubtful && !handle.closed && survives {
                    handle.standing = Standing::Firm;
                }
            }
            asked => return Err(format!("{asked:?} is granted")),
        }
        handle.told = true;
        handle.file_id = grant.file_id;
        handle.seat = Some((conn, tree));
        handle.level = grant.level;
        if let Some(lease) = &grant.lease {
            let breaking = lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS);
            let key = (client, lease.key());
            let epoch = lease.epoch().unwrap_or_default();
            let file = handle.wish.file;
            let told = Told { file, state: lease.state(), epoch, exact: !breaking };
            let elsewhere = self.book.handles.values().any(|other| {
                let same =
                    other.wish.client == client && other.wish.lease.is_some_and(|(other, _)| other == key.1);
                same && other.wish.file != file && !other.closed
            });
            let other = self.book.told.get(&key).is_some_and(|known| known.file != file);
            let unbound = other && elsewhere && told.state.is_empty();
            if let Some(handle) = self.book.handles.get_mut(&persistent) {
                handle.unbound |= unbound;
            }
            match (breaking, self.book.told.get_mut(&key)) {
                // The key names another file as yet: this one joined no lease.
                _ if unbound => {}
                (true, Some(known)) => known.exact = false,
                (true, None) | (false, _) => {
                    self.book.told.insert(key, told);
                }
            }
        }
        Ok(())
    }

    fn refused(&mut self, request: RequestId, status: Status) -> Verdict {
        self.answered(request, Answer::Refused(status));
        let book = &mut self.book;
        let Some((_, asked)) = book.requests.remove(&request) else { return Ok(()) };
        match asked {
            Asked::Create { .. } => {}
            Asked::Lock { persistent, elements, .. } => {
                let Some(handle) = book.handles.get_mut(&persistent) else { return Ok(()) };
                for element in &elements {
                    let unlock = element.flags.contains(LockFlags::UNLOCK);
                    let (least, most) = handle.locks.entry(element.offset).or_default();
                    // Nothing was stored of it; else it may be there or not.
                    match unlock {
                        _ if status == Status::INSUFFICIENT_RESOURCES => {}
                        // What comes before the one that is not locked is unlocked (MS-SMB2 3.3.5.14.1).
                        true if elements.len() > 1 => {}
                        true => *least += 1,
                        false => *most -= 1,
                    }
                }
            }
            Asked::Reconnect { .. }
            | Asked::Close { .. }
            | Asked::Tree { .. }
            | Asked::Operate { .. }
            | Asked::Ack { .. } => {}
        }
        Ok(())
    }

    /// A client was told that it is closed.
    fn closed(&mut self, persistent: u64) {
        let gate_close = self.book.settings.gate_close;
        let Some(handle) = self.book.handles.get_mut(&persistent) else { return };
        // Where the promise was taken back, the record goes behind the answer.
        let downgraded = handle.told && !handle.promised;
        if handle.standing == Standing::Doubtful && gate_close && !handle.ghost && !downgraded {
            handle.standing = Standing::Gone;
            // A CREATE that was refused wanted it as well, and nobody was told.
            let goes = handle.told && handle.wish.options.contains(CreateOptions::DELETE_ON_CLOSE);
            let file = handle.wish.file;
            if goes && !self.book.undoes() {
                self.book.going.insert(file, Going::Closed);
            }
        }
    }
}
