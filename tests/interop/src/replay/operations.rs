//! Requests about an open file that the machine may hold up: what it has to be asked first, and what is done then.
//!
//! Most ask one thing about the file itself. A new name asks about everybody whom it concerns, one after the other, each
//! when the one before may proceed; only then is it given, and all are told that it is done. Whom it concerns is looked up
//! again each time, because others go on meanwhile.

use leasehold::server::{Event, Origin, Ticket};
use leasehold::{Actor, FileKey, Intent, RequestId, Status};

use super::driver::{Body, Driver, Open, Stop};
use super::memfs::{Basic, MemFs, Naming, OldName};

/// Something to be done to an open file when it may.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) origin: Origin,
    open: Open,
    kind: OperationKind,
    /// What is being asked.
    asked: Option<Step>,
    /// What may proceed, and is held back until everything may.
    held: Vec<(Step, Ticket)>,
}

#[derive(Debug)]
pub(super) enum OperationKind {
    Read { offset: u64, length: u64, minimum: u64 },
    Write { offset: u64, length: u64, data: Option<Vec<u8>> },
    Flush,
    EndOfFile(u64),
    Allocation(u64),
    Basic(Basic),
    Delete { pending: bool },
    Name(Naming),
}

/// One thing to ask: whether this may happen to that file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    file: FileKey,
    intent: Intent,
}

impl Operation {
    pub(super) fn new(origin: Origin, open: Open, kind: OperationKind) -> Self {
        Self { origin, open, kind, asked: None, held: Vec::new() }
    }

    /// Everything that has to be asked, in order. An error is what the request deserves whatever the machine thinks.
    fn steps(&self, fs: &MemFs) -> Result<Vec<Step>, Status> {
        let handle = self.open.handle;
        let mut steps = Vec::new();
        let intent = match &self.kind {
            OperationKind::Read { offset, length, .. } => Intent::Read { offset: *offset, len: *length },
            OperationKind::Write { offset, length, .. } => Intent::Write { offset: *offset, len: *length },
            OperationKind::Flush => Intent::Flush,
            OperationKind::EndOfFile(_) | OperationKind::Allocation(_) => Intent::SetSize,
            OperationKind::Basic(basic) => {
                if !fs.changes(handle, basic)? {
                    return Ok(steps);
                }
                Intent::SetAttributes
            }
            OperationKind::Delete { pending } => {
                fs.may_dispose(handle, *pending)?;
                Intent::Delete { pending: *pending }
            }
            OperationKind::Name(naming) => {
                let concerned = fs.concerned(handle, naming)?;
                let step = |intent| move |file| Step { file, intent };
                steps.extend(concerned.replaced.into_iter().map(step(Intent::Replaced)));
                let to = Some(concerned.directory);
                match naming.old {
                    OldName::Goes => {
                        steps.push(Step { file: concerned.directory, intent: Intent::RenameWithin });
                        steps.extend(concerned.below.into_iter().map(step(Intent::AncestorMoved)));
                        Intent::Rename { to }
                    }
                    OldName::Stays => Intent::Link { to },
                }
            }
        };
        steps.push(Step { file: self.open.key, intent });
        Ok(steps)
    }

    /// Does it.
    fn run(&self, fs: &mut MemFs) -> Result<Body, Status> {
        let handle = self.open.handle;
        match &self.kind {
            OperationKind::Read { offset, length, minimum } => {
                let (length, data) = fs.read(handle, *offset, *length, *minimum)?;
                return Ok(Body::Read { length, data });
            }
            OperationKind::Write { offset, length, data } => {
                return Ok(Body::Write { count: fs.write(handle, *offset, *length, data.clone())? });
            }
            OperationKind::Flush => fs.flush(handle)?,
            OperationKind::EndOfFile(size) => fs.resize(handle, *size)?,
            OperationKind::Allocation(size) => fs.allocate(handle, *size)?,
            OperationKind::Basic(basic) => fs.set_basic(handle, basic)?,
            OperationKind::Delete { pending } => fs.dispose(handle, *pending)?,
            OperationKind::Name(naming) => fs.give_name(handle, naming)?,
        }
        Ok(Body::Nothing)
    }
}

impl Driver<'_> {
    /// Begins with an operation.
    pub(super) fn operate(&mut self, request: RequestId, operation: Operation) -> Result<(), Stop> {
        let file_id = operation.open.file_id;
        let events = self.advance(request, operation);
        // Nobody is asked, or first somebody else: the machine does not see whose operation it is.
        if !matches!(events.as_slice(), [Event::Operate { actor: Actor::Open(_), .. }]) {
            self.feed(Event::Used { file_id })?;
        }
        for event in events {
            self.feed(event)?;
        }
        Ok(())
    }

    /// What was asked last may proceed.
    pub(super) fn proceed(&mut self, request: RequestId, ticket: Ticket) -> Result<Vec<Event>, Stop> {
        let operation = self.operations.remove(&request);
        let asked = operation.and_then(|mut operation| Some((operation.asked.take()?, operation)));
        let Some((step, mut operation)) = asked else {
            let seq = request.get();
            return Err(Stop::Fault(format!("Proceed for seq {seq}, which is no operation in flight")));
        };
        operation.held.push((step, ticket));
        Ok(self.advance(request, operation))
    }

    /// What was asked about last has gone: others may be concerned by now.
    pub(super) fn ask_again(&mut self, request: RequestId) -> Result<Vec<Event>, Stop> {
        let Some(mut operation) = self.operations.remove(&request) else {
            let seq = request.get();
            return Err(Stop::Fault(format!("Resolve for seq {seq}, which is nothing in flight")));
        };
        operation.asked = None;
        Ok(self.advance(request, operation))
    }

    /// An operation comes to nothing; whoever had to answer for it has.
    pub(super) fn give_up(&mut self, request: RequestId, status: Status) -> Vec<Event> {
        let operation = self.operations.remove(&request);
        operation.map_or_else(Vec::new, |operation| done(operation, Err(status)))
    }

    /// Asks the next thing or, when there is none, does what was to be done.
    fn advance(&mut self, request: RequestId, mut operation: Operation) -> Vec<Event> {
        let asked = |step: &Step| operation.held.iter().any(|(held, _)| held == step);
        let next = operation.steps(&self.fs).map(|steps| steps.into_iter().find(|step| !asked(step)));
        let outcome = match next {
            Ok(Some(step)) => {
                operation.asked = Some(step);
                let (origin, actor) = (Some(operation.origin), self.actor(&operation, step));
                self.operations.insert(request, operation);
                let Step { file, intent } = step;
                return vec![Event::Operate { request, origin, file, actor, intent }];
            }
            Ok(None) => operation.run(&mut self.fs),
            Err(status) => Err(status),
        };
        let result = outcome.as_ref().map(|_| ()).map_err(|status| *status);
        self.answer_with(request, outcome);
        done(operation, result)
    }

    /// Who acts: the open on its own file, elsewhere the holder of its lease, if it has one.
    fn actor(&self, operation: &Operation, step: Step) -> Actor {
        if step.file == operation.open.key {
            return Actor::Open(operation.open.file_id);
        }
        let client = self.peers.conn_of(operation.origin.conn).and_then(|conn| self.peers.client_of(conn));
        match (client, operation.open.lease) {
            (Some(client), Some(key)) => Actor::Lease { client, key },
            (None, _) | (_, None) => Actor::Other,
        }
    }
}

/// Tells all who were asked what came of it.
fn done(operation: Operation, result: Result<(), Status>) -> Vec<Event> {
    operation.held.into_iter().map(|(_, ticket)| Event::Done { ticket, result }).collect()
}
