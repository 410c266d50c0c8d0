//! What the machine has its driver do.

use leasehold::client::{Action, Event, FileRef, LockBuckets, OpenRef, Opening, Replay, Served};
use leasehold::persist::{ClientChange, ClientRecord};
use leasehold::wire::{ContextWriter, CreateRequest, HeaderFlags, RequestContexts};
use leasehold::{Access, ConnId, OplockLevel, RequestId};

use super::super::link::Flight;
use super::super::{Failure, seen};
use super::{Asked, Driver, Handle, Next};
use crate::smb::octets::to_utf16;
use crate::smb::request::Request;

impl Driver {
    pub(super) fn carry_out(&mut self, action: Action) -> Result<(), Failure> {
        match action {
            // On its disk before anything else is carried out.
            Action::Persist { change: ClientChange::Put(record) } => {
                self.records.insert(record.id, record.encode());
            }
            Action::Persist { change: ClientChange::Delete { id } } => {
                self.records.remove(&id);
            }
            Action::Restored { id, open } => self.restored(id, open)?,
            Action::SendCreate { request, open, conn, level, replay, contexts } => {
                if let Some(asked) = self.asked.remove(&request) {
                    self.handles
                        .insert(open, Handle { asked, file_id: None, buckets: LockBuckets::default() });
                }
                let flags = match replay {
                    Replay::First => HeaderFlags::empty(),
                    Replay::Again => HeaderFlags::REPLAY_OPERATION,
                };
                self.create(conn, Flight::Create(open), (flags, IMPERSONATION, level), open, &contexts)?;
            }
            Action::SendReconnect { open, conn, level, contexts } => {
                let header = (HeaderFlags::empty(), 0, level);
                self.create(conn, Flight::Reconnect(open), header, open, &contexts)?;
            }
            // Choice: a new connection does as well as the old one with another session.
            Action::RenewSession { conn, .. } => self.hang_up(conn),
            Action::SendClose { open, conn, file_id } => {
                self.see(format_args!("> CLOSE {}", self.name_of(open)));
                self.send(conn, Flight::Close(open), &Request::Close { file_id, query_attributes: false })?;
            }
            // All opens of this client have the session and the tree connect of the connection.
            Action::SendLeaseAck { ack, conn, body, .. } => {
                self.see(format_args!("> ACK {}", body.state));
                self.send(conn, Flight::Ack(ack), &Request::LeaseAck(body))?;
            }
            Action::SendOplockAck { ack, conn, body, .. } => {
                self.see(format_args!("> ACK {}", seen::level(body.level)));
                self.send(conn, Flight::Ack(ack), &Request::OplockAck(body))?;
            }
            Action::Allow { file, state } => self.caches.entry(file).or_default().allow(state),
            Action::Flush { file } => self.flush(file)?,
            Action::Purge { file } => {
                let lost = self.caches.entry(file).or_default().purge();
                if lost > 0 {
                    self.see(format_args!(": {lost} octets were never written back"));
                }
                self.next.push_back(Next::Tell(Event::Purged { file }));
            }
            Action::Ready { request, open, served } => {
                if served == Served::Kept {
                    self.see(format_args!(": served from the handle that was kept"));
                    self.asked.remove(&request);
                }
                self.opened.insert(request, Ok(open));
            }
            Action::Failed { request, status } => {
                self.asked.remove(&request);
                self.handles.retain(|_, handle| handle.asked.opening.request != request);
                self.opened.insert(request, Err(status));
            }
            Action::Away { open } => {
                self.see(format_args!(": away {}", self.name_of(open)));
                if let Some(handle) = self.handles.get_mut(&open) {
                    handle.file_id = None;
                }
            }
            Action::Regained { open } => self.see(format_args!(": regained {}", self.name_of(open))),
            Action::Lost { open, reason, status, held } => {
                let (name, status) = (self.name_of(open), seen::status(status));
                self.see(format_args!(": lost {name}, {reason:?}, {status}, held {held}"));
                self.handles.remove(&open);
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        conn: ConnId,
        flight: Flight,
        (flags, impersonation, level): (HeaderFlags, u32, OplockLevel),
        open: OpenRef,
        contexts: &RequestContexts,
    ) -> Result<(), Failure> {
        let Some(handle) = self.handles.get(&open) else { return Ok(()) };
        let Asked { opening, name } = &handle.asked;
        let mut room = [0; 512];
        let mut writer = ContextWriter::new(&mut room);
        contexts.write(&mut writer)?;
        let len = writer.finish();
        let path = to_utf16(&format!("{}{name}", self.prefix));
        let request = Request::Create(CreateRequest {
            level,
            impersonation,
            desired: opening.access,
            attributes: 0,
            sharing: opening.sharing,
            disposition: opening.disposition.to_wire(),
            options: opening.options,
            name: &path,
            contexts: room.get(..len).unwrap_or_default(),
        });
        self.see(format_args!("> CREATE {name} {}", seen::asked(level, contexts)));
        self.send_with(conn, flight, flags, &request)
    }

    /// Writes back what is dirty, through any handle that may.
    pub(super) fn flush(&mut self, file: FileRef) -> Result<(), Failure> {
        let cache = self.caches.entry(file).or_default();
        let may_write = |handle: &Handle| {
            let opening = &handle.asked.opening;
            opening.file == file && opening.access.contains(Access::WRITE_DATA)
        };
        let mut writers = self.handles.iter().filter(|(_, handle)| may_write(handle));
        let writer = writers.find_map(|(open, handle)| Some((*open, handle.file_id?)));
        match writer.and_then(|writer| Some((writer, cache.flush()?))) {
            Some(((open, file_id), data)) => {
                self.see(format_args!("> WRITE {}", data.len()));
                let request = Request::Write { file_id, offset: 0, data: &data };
                self.send_first(Flight::Flush { file, open }, &request)?;
            }
            None => self.next.push_back(Next::Tell(Event::Flushed { file })),
        }
        Ok(())
    }

    /// A handle of a former life: what it was opened as is in its record.
    fn restored(&mut self, id: u64, open: OpenRef) -> Result<(), Failure> {
        let Some(octets) = self.records.get(&id) else { return Ok(()) };
        let record = ClientRecord::decode(octets)?;
        let named = self.names.iter().find(|(_, file)| **file == record.file);
        let name = named.map_or_else(String::new, |(name, _)| name.clone());
        let opening = Opening::new(NOBODY, record.file, record.key)
            .access(record.access, record.sharing)
            .disposition(record.disposition, record.options)
            .share(record.share);
        self.see(format_args!(": restored {name}"));
        let buckets = LockBuckets::default();
        self.handles.insert(open, Handle { asked: Asked { opening, name }, file_id: None, buckets });
        Ok(())
    }

    /// Sends what the application asks for.
    pub(super) fn request(&mut self, flight: Flight, request: &Request<'_>) -> Result<(), Failure> {
        self.send_first(flight, request)?;
        self.settle()
    }

    fn send_first(&mut self, flight: Flight, request: &Request<'_>) -> Result<(), Failure> {
        match self.links.keys().next().copied() {
            Some(conn) => self.send(conn, flight, request)?,
            None => self.next.push_back(Next::Unanswered(flight)),
        }
        Ok(())
    }

    fn send(&mut self, conn: ConnId, flight: Flight, request: &Request<'_>) -> Result<(), Failure> {
        self.send_with(conn, flight, HeaderFlags::empty(), request)
    }

    /// What cannot be sent because the connection is lost has been under way on it.
    fn send_with(
        &mut self,
        conn: ConnId,
        flight: Flight,
        flags: HeaderFlags,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let sequence = self.machine.channel_sequence();
        match self.links.get_mut(&conn).map(|link| link.send(flight, flags, sequence, request)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => self.failed(conn, error)?,
            None => {}
        }
        self.next.push_back(Next::Unanswered(flight));
        Ok(())
    }
}

/// ImpersonationLevel: Impersonation (MS-SMB2 2.2.13).
const IMPERSONATION: u32 = 2;
/// No request of this life: they count from 1.
const NOBODY: RequestId = RequestId::new(0);
