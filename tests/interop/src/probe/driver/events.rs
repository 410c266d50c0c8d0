//! What the machine is told.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::client::{CreateReply, Event, OpenRef, PreviousSession};
use leasehold::wire::{Notification, ResponseContexts};
use leasehold::{ConnId, Machine as _, Status};

use super::super::link::{Flight, Link};
use super::super::{Failure, seen};
use super::{Driver, Next};
use crate::smb::client::{Error, Message};
use crate::smb::response::Response;

impl Driver {
    /// When [`pass`](Self::pass) has something to do.
    pub(in crate::probe) fn due(&self) -> Option<Duration> {
        Some(self.machine.poll_timeout()?.saturating_since(self.now()))
    }

    /// Lets time pass.
    pub(in crate::probe) fn pass(&mut self) -> Result<(), Failure> {
        if self.due().is_some_and(|due| due.is_zero()) {
            let mut actions = Vec::new();
            self.machine.handle_timeout(self.now(), &mut actions);
            actions.into_iter().try_for_each(|action| self.carry_out(action))?;
        }
        self.settle()
    }

    /// Takes in a message of each connection that has one.
    pub(in crate::probe) fn receive(&mut self) -> Result<(), Failure> {
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            link.client.wait_at_most(Some(GLANCE))?;
            match link.client.next_message() {
                Ok(message) => self.take(conn, &message)?,
                Err(Error::TimedOut) => {}
                Err(error) => self.failed(conn, error)?,
            }
            self.settle()?;
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, event: Event) -> Result<(), Failure> {
        self.next.push_back(Next::Tell(event));
        self.settle()
    }

    /// Does what is in line, and what that brings.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        while let Some(next) = self.next.pop_front() {
            match next {
                Next::Tell(event) => {
                    let mut actions = Vec::new();
                    self.machine.handle(self.now(), event, &mut actions)?;
                    actions.into_iter().try_for_each(|action| self.carry_out(action))?;
                }
                Next::Unanswered(flight) => self.unanswered(flight)?,
            }
        }
        Ok(())
    }

    pub(super) fn connected(&mut self, link: Link, previous: PreviousSession) -> Result<(), Failure> {
        let conn = ConnId::new(self.number());
        let Link { session, terms, share, .. } = link;
        (self.session, self.terms, self.share) = (Some(session), Some(terms), share);
        self.links.insert(conn, link);
        self.tell(Event::Connected { conn, session, previous, terms })
    }

    /// A connection does not work any more. What else fails is our fault, or the server's.
    pub(super) fn failed(&mut self, conn: ConnId, error: Error) -> Result<(), Failure> {
        match error {
            Error::Closed | Error::Io(_) => {
                self.see(format_args!(": disconnected"));
                self.hang_up(conn);
                Ok(())
            }
            other => Err(other.into()),
        }
    }

    pub(super) fn hang_up(&mut self, conn: ConnId) {
        if let Some(link) = self.links.remove(&conn) {
            self.gone(conn, link.flights);
        }
    }

    /// The machine is told first: then it knows that what follows was in vain.
    pub(super) fn gone(&mut self, conn: ConnId, flights: BTreeMap<u64, Flight>) {
        self.next.push_back(Next::Tell(Event::Disconnected { conn }));
        self.next.extend(flights.into_values().map(Next::Unanswered));
    }

    fn unanswered(&mut self, flight: Flight) -> Result<(), Failure> {
        match flight {
            // The machine looks after these.
            Flight::Create(_) | Flight::Reconnect(_) | Flight::Close(_) | Flight::Ack(_) => {}
            Flight::Flush { file, .. } => {
                self.caches.entry(file).or_default().unflushed();
                // By another channel, if there is one; else it is dirty still when the handle is back.
                if !self.links.is_empty() {
                    return self.flush(file);
                }
                self.next.push_back(Next::Tell(Event::Flushed { file }));
            }
            Flight::Read { ticket, .. } | Flight::Write { ticket, .. } | Flight::Lock { ticket, .. } => {
                self.answers.insert(ticket, Err(Status::CONNECTION_DISCONNECTED));
            }
        }
        Ok(())
    }

    fn take(&mut self, conn: ConnId, message: &Message) -> Result<(), Failure> {
        if let Some(notification) = message.notification() {
            self.see(format_args!("< BREAK {}", seen::broken(&notification)));
            return self.tell(match notification {
                Notification::Lease(body) => Event::LeaseBroken { body },
                Notification::Oplock(body) => {
                    Event::OplockBroken { conn, session: message.header.session, body }
                }
            });
        }
        if message.is_interim() {
            return Ok(());
        }
        let link = self.links.get_mut(&conn);
        let flight = link.and_then(|link| link.flights.remove(&message.header.message_id));
        flight.map_or(Ok(()), |flight| self.answered(flight, message))
    }

    fn answered(&mut self, flight: Flight, message: &Message) -> Result<(), Failure> {
        let status = message.header.status;
        let result = if status == Status::SUCCESS { Ok(()) } else { Err(status) };
        let said = seen::status(status);
        match flight {
            Flight::Create(open) => {
                let result = self.created(open, message);
                self.tell(Event::Created { open, result })?;
            }
            Flight::Reconnect(open) => {
                let result = self.created(open, message);
                self.tell(Event::Reconnected { open, result })?;
            }
            Flight::Close(open) => {
                self.see(format_args!("< CLOSE {said}"));
                self.handles.remove(&open);
                self.tell(Event::Closed { open })?;
            }
            Flight::Ack(ack) => {
                self.see(format_args!("< ACK {said}"));
                self.tell(Event::AckAnswered { ack, result })?;
            }
            Flight::Flush { file, open } => {
                // One that failed is not tried again: a real client tells the application.
                self.see(format_args!("< WRITE {said}"));
                self.doubt(open, status)?;
                self.tell(Event::Flushed { file })?;
            }
            Flight::Read { ticket, open, purges } => {
                let data = match message.response()? {
                    Response::Read(data) => Ok(data),
                    _ if status == END_OF_FILE => Ok(Vec::new()),
                    _ => Err(status),
                };
                if let (Ok(data), Some(handle)) = (&data, self.handles.get(&open)) {
                    self.caches.entry(handle.asked.opening.file).or_default().fill(purges, data);
                }
                self.answers.insert(ticket, data);
                self.doubt(open, status)?;
            }
            Flight::Write { ticket, open } => {
                self.answers.insert(ticket, result.map(|()| Vec::new()));
                self.doubt(open, status)?;
            }
            Flight::Lock { ticket, open, sequence } => {
                if let Some((handle, sequence)) = self.handles.get_mut(&open).zip(sequence) {
                    handle.buckets.answered(sequence);
                }
                self.see(format_args!("< LOCK {said}"));
                self.answers.insert(ticket, result.map(|()| Vec::new()));
                self.doubt(open, status)?;
            }
        }
        Ok(())
    }

    /// Whether an answer shows that the server has an open no more.
    fn doubt(&mut self, open: OpenRef, status: Status) -> Result<(), Failure> {
        let gone = matches!(status, Status::FILE_CLOSED | Status::NETWORK_NAME_DELETED);
        let known = self.handles.get(&open).is_some_and(|handle| handle.file_id.is_some());
        if gone && known { self.tell(Event::HandleLost { open, status }) } else { Ok(()) }
    }

    /// What the answer to a CREATE says.
    fn created(&mut self, open: OpenRef, message: &Message) -> Result<CreateReply, Status> {
        let name = self.name_of(open);
        let status = message.header.status;
        if status != Status::SUCCESS {
            self.see(format_args!("< CREATE {name} {}", seen::status(status)));
            return Err(status);
        }
        let wrong = Status::INVALID_NETWORK_RESPONSE;
        let Ok(Response::Create(response)) = message.response() else { return Err(wrong) };
        let contexts = ResponseContexts::decode(response.contexts, |_| {}).map_err(|_| wrong)?;
        self.see(format_args!("< CREATE {name} SUCCESS {}", seen::granted(response.level, &contexts)));
        if let Some(handle) = self.handles.get_mut(&open) {
            handle.file_id = Some(response.file_id);
            let file = handle.asked.opening.file;
            self.caches.entry(file).or_default().opened(response.end_of_file);
        }
        Ok(CreateReply::new(response.file_id, response.level, contexts))
    }
}

/// How long a look at a connection takes when there is nothing.
const GLANCE: Duration = Duration::from_millis(1);
/// STATUS_END_OF_FILE
const END_OF_FILE: Status = Status::from_wire(0xc000_0011);
