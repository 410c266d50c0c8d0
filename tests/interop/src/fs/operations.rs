//! Operations on an open file that the machine may hold up: what it has to be asked first, and what is done then.
//!
//! Most ask one thing about the file itself. A new name asks about everybody whom it concerns, one after the other, each
//! when the one before may proceed; only then is it given, and all are told that it is done. Whom it concerns is looked up
//! again each time, because others go on meanwhile.

use std::collections::BTreeMap;
use std::ops::Range;

use leasehold::server::{Event, Origin, Ticket};
use leasehold::{Access, Actor, ClientGuid, ConnId, FileId, FileKey, Intent, LeaseKey, RequestId, Status};

use super::{Basic, Handle, MemFs, Naming, OldName, Piece};

/// Whose operation it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Whence the request came.
    pub origin: Origin,
    /// The open.
    pub file_id: FileId,
    /// Its file.
    pub key: FileKey,
    /// Its handle.
    pub handle: Handle,
    /// The lease of the open, if it has one.
    pub lease: Option<(ClientGuid, LeaseKey)>,
}

/// What is to be done to an open file.
#[derive(Clone, Debug)]
pub enum OperationKind {
    /// READ (MS-SMB2 3.3.5.12).
    Read { offset: u64, length: u64, minimum: u64 },
    /// WRITE (MS-SMB2 3.3.5.13); without `data` it is only known how much.
    Write { offset: u64, length: u64, data: Option<Vec<u8>> },
    /// FLUSH (MS-SMB2 3.3.5.11).
    Flush,
    /// FileEndOfFileInformation.
    EndOfFile(u64),
    /// FileAllocationInformation.
    Allocation(u64),
    /// FileBasicInformation.
    Basic(Basic),
    /// FileDispositionInformation.
    Delete { pending: bool },
    /// FileRenameInformation, FileLinkInformation.
    Name(Naming),
    /// A security descriptor, which is not kept: the one that there is stays.
    Security,
}

/// What an operation gives back.
#[derive(Clone, Debug)]
pub enum Outcome {
    Nothing,
    /// How much was read, and what. Within the ranges `unknown` nobody knows what was written.
    Read {
        length: u64,
        data: Vec<u8>,
        unknown: Vec<Range<u64>>,
    },
    /// How much was written.
    Written(u64),
}

/// How far an operation is.
#[derive(Debug)]
pub enum Progress {
    /// The machine has to be asked this next.
    Ask(Event),
    /// It is over. The machine has to hear `done`.
    Ended { result: Result<Outcome, Status>, done: Vec<Event> },
}

/// The operations in flight.
#[derive(Debug, Default)]
pub struct Operations {
    running: BTreeMap<RequestId, Operation>,
}

#[derive(Debug)]
struct Operation {
    subject: Subject,
    kind: OperationKind,
    /// What is being asked.
    asked: Option<Step>,
    /// What may proceed, and is held back until everything may.
    held: Vec<(Step, Ticket)>,
}

/// One thing to ask: whether this may happen to that file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    file: FileKey,
    intent: Intent,
}

impl Operations {
    /// Begins with an operation.
    pub fn begin(
        &mut self,
        fs: &mut MemFs,
        request: RequestId,
        subject: Subject,
        kind: OperationKind,
    ) -> Progress {
        self.advance(fs, request, Operation { subject, kind, asked: None, held: Vec::new() })
    }

    /// What was asked last may proceed. `None` if nothing was asked.
    pub fn proceed(&mut self, fs: &mut MemFs, request: RequestId, ticket: Ticket) -> Option<Progress> {
        let mut operation = self.running.remove(&request)?;
        let step = operation.asked.take()?;
        operation.held.push((step, ticket));
        Some(self.advance(fs, request, operation))
    }

    /// What was asked about last has gone: others may be concerned by now. `None` if nothing is in flight.
    pub fn again(&mut self, fs: &mut MemFs, request: RequestId) -> Option<Progress> {
        let mut operation = self.running.remove(&request)?;
        operation.asked = None;
        Some(self.advance(fs, request, operation))
    }

    /// An operation comes to nothing. Returns what the machine has to hear of what it had let proceed.
    pub fn give_up(&mut self, request: RequestId, status: Status) -> Vec<Event> {
        let operation = self.running.remove(&request);
        operation.map_or_else(Vec::new, |operation| operation.done(Err(status)))
    }

    /// Whether an operation is in flight.
    pub fn contains(&self, request: RequestId) -> bool {
        self.running.contains_key(&request)
    }

    /// The operations that came on a connection.
    pub fn of(&self, conn: ConnId) -> Vec<RequestId> {
        let operations = self.running.iter().filter(|(_, operation)| operation.subject.origin.conn == conn);
        operations.map(|(request, _)| *request).collect()
    }

    /// Asks the next thing or, when there is none, does what was to be done.
    fn advance(&mut self, fs: &mut MemFs, request: RequestId, mut operation: Operation) -> Progress {
        let asked = |step: &Step| operation.held.iter().any(|(held, _)| held == step);
        let next = operation.steps(fs).map(|steps| steps.into_iter().find(|step| !asked(step)));
        let result = match next {
            Ok(Some(step)) => {
                operation.asked = Some(step);
                let (origin, actor) = (Some(operation.subject.origin), operation.subject.actor(step));
                self.running.insert(request, operation);
                let Step { file, intent } = step;
                return Progress::Ask(Event::Operate { request, origin, file, actor, intent });
            }
            Ok(None) => operation.run(fs),
            Err(status) => Err(status),
        };
        let done = operation.done(result.as_ref().map(|_| ()).map_err(|status| *status));
        Progress::Ended { result, done }
    }
}

impl Operation {
    /// Everything that has to be asked, in order. An error is what the request deserves whatever the machine thinks.
    fn steps(&self, fs: &MemFs) -> Result<Vec<Step>, Status> {
        let Subject { handle, key, .. } = self.subject;
        let mut steps = Vec::new();
        let intent = match &self.kind {
            OperationKind::Read { offset, length, .. } => {
                fs.may_read(handle)?;
                Intent::Read { offset: *offset, len: *length }
            }
            OperationKind::Write { offset, length, .. } => {
                fs.may_write(handle)?;
                Intent::Write { offset: *offset, len: *length }
            }
            OperationKind::Flush => Intent::Flush,
            OperationKind::EndOfFile(_) | OperationKind::Allocation(_) => {
                fs.may_resize(handle)?;
                Intent::SetSize
            }
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
            OperationKind::Security => {
                let any = Access::WRITE_DAC.union(Access::WRITE_OWNER).union(Access::ACCESS_SYSTEM_SECURITY);
                fs.accessible(handle, any)?;
                Intent::SetSecurity
            }
        };
        steps.push(Step { file: key, intent });
        Ok(steps)
    }

    /// Does it.
    fn run(&mut self, fs: &mut MemFs) -> Result<Outcome, Status> {
        let handle = self.subject.handle;
        match &mut self.kind {
            OperationKind::Read { offset, length, minimum } => {
                let Piece { octets: data, unknown } = fs.read(handle, *offset, *length, *minimum)?;
                return Ok(Outcome::Read { length: data.len() as u64, data, unknown });
            }
            OperationKind::Write { offset, length, data } => {
                return fs.write(handle, *offset, *length, data.take()).map(Outcome::Written);
            }
            OperationKind::Flush => fs.flush(handle)?,
            OperationKind::EndOfFile(size) => fs.resize(handle, *size)?,
            OperationKind::Allocation(size) => fs.allocate(handle, *size)?,
            OperationKind::Basic(basic) => fs.set_basic(handle, basic)?,
            OperationKind::Delete { pending } => fs.dispose(handle, *pending)?,
            OperationKind::Name(naming) => fs.give_name(handle, naming)?,
            OperationKind::Security => {}
        }
        Ok(Outcome::Nothing)
    }

    /// Tells all who were asked what came of it.
    fn done(self, result: Result<(), Status>) -> Vec<Event> {
        self.held.into_iter().map(|(_, ticket)| Event::Done { ticket, result }).collect()
    }
}

impl Subject {
    /// Who acts: the open on its own file, elsewhere the holder of its lease, if it has one.
    fn actor(&self, step: Step) -> Actor {
        if step.file == self.key {
            return Actor::Open(self.file_id);
        }
        self.lease.map_or(Actor::Other, |(client, key)| Actor::Lease { client, key })
    }
}

#[cfg(test)]
mod tests {
    use leasehold::{CreateOptions, Disposition, SessionId, TreeId};

    use super::*;
    use crate::fs::names::Name;
    use crate::fs::{Wanted, nt};

    const REQUEST: RequestId = RequestId::new(7);

    fn subject(fs: &mut MemFs, access: Access) -> Subject {
        let (volume, name) = (fs.volume("s"), Name::parse("a").unwrap());
        let (disposition, options) = (Disposition::OpenIf, CreateOptions::empty());
        let handle =
            fs.open(volume, &name, &Wanted { access, disposition, options, attributes: 0 }).unwrap().handle;
        let key = fs.lookup(volume, &name).unwrap();
        let origin = Origin::new(ConnId::new(1), SessionId::new(2), TreeId::new(3));
        Subject { origin, file_id: FileId::new(4, 5), key, handle, lease: None }
    }

    #[test]
    fn what_the_handle_may_not_do_is_not_asked() {
        let (mut fs, mut operations) = (MemFs::default(), Operations::default());
        let subject = subject(&mut fs, Access::READ_DATA);
        for kind in [
            OperationKind::Write { offset: 0, length: 1, data: Some(vec![1]) },
            OperationKind::EndOfFile(0),
            OperationKind::Basic(Basic::default()),
            OperationKind::Delete { pending: true },
            OperationKind::Security,
        ] {
            let progress = operations.begin(&mut fs, REQUEST, subject, kind);
            let Progress::Ended { result: Err(status), done } = progress else { panic!("{progress:?}") };
            assert_eq!((status, done.len()), (nt::ACCESS_DENIED, 0));
        }
        assert!(!operations.contains(REQUEST));
    }

    #[test]
    fn what_concerns_the_file_itself_is_asked_as_the_open() {
        let (mut fs, mut operations) = (MemFs::default(), Operations::default());
        let subject = subject(&mut fs, Access::READ_DATA);
        let kind = OperationKind::Read { offset: 1, length: 2, minimum: 0 };
        let progress = operations.begin(&mut fs, REQUEST, subject, kind);
        let Progress::Ask(Event::Operate { request, file, actor, intent, .. }) = progress else {
            panic!("{progress:?}");
        };
        assert_eq!((request, file, actor), (REQUEST, subject.key, Actor::Open(subject.file_id)));
        assert_eq!(intent, Intent::Read { offset: 1, len: 2 });
        assert_eq!(operations.of(ConnId::new(1)), [REQUEST]);
        assert_eq!(operations.of(ConnId::new(2)), []);
        assert!(operations.give_up(REQUEST, Status::CANCELLED).is_empty());
        assert!(operations.again(&mut fs, REQUEST).is_none());
    }
}
