//! Operations on open files, between the machine and the file system.

use leasehold::RequestId;
use leasehold::server::{Event, Origin, Ticket};

use super::driver::{Body, Driver, Open, Stop};
use crate::fs::Piece;
use crate::fs::operations::{OperationKind, Outcome, Progress, Subject};

impl Driver<'_> {
    /// Begins with an operation.
    pub(super) fn operate(
        &mut self,
        request: RequestId,
        origin: Origin,
        open: Open,
        kind: OperationKind,
    ) -> Result<(), Stop> {
        let client = self.peers.conn_of(origin.conn).and_then(|conn| self.peers.client_of(conn));
        let Open { file_id, key, handle, .. } = open;
        let subject = Subject { origin, file_id, key, handle, lease: client.zip(open.lease) };
        let progress = self.operations.begin(&mut self.fs, request, subject, kind);
        let tells = progress.tells_of_use();
        let events = self.progress(request, progress);
        if !tells {
            self.feed(Event::Used { file_id })?;
        }
        for event in events {
            self.feed(event)?;
        }
        Ok(())
    }

    /// What was asked last may proceed.
    pub(super) fn proceed(&mut self, request: RequestId, ticket: Ticket) -> Result<Vec<Event>, Stop> {
        let Some(progress) = self.operations.proceed(&mut self.fs, request, ticket) else {
            let seq = request.get();
            return Err(Stop::Fault(format!("Proceed for seq {seq}, which is no operation in flight")));
        };
        Ok(self.progress(request, progress))
    }

    /// What was asked about last has gone: others may be concerned by now.
    pub(super) fn ask_again(&mut self, request: RequestId) -> Result<Vec<Event>, Stop> {
        let Some(progress) = self.operations.again(&mut self.fs, request) else {
            let seq = request.get();
            return Err(Stop::Fault(format!("Resolve for seq {seq}, which is nothing in flight")));
        };
        Ok(self.progress(request, progress))
    }

    /// Answers what is over. Returns what the machine has to hear.
    fn progress(&mut self, request: RequestId, progress: Progress) -> Vec<Event> {
        let (result, done) = match progress {
            Progress::Ask(event) => return vec![event],
            Progress::Ended { result, done } => (result, done),
        };
        self.answer_with(request, result.map(body));
        done
    }
}

fn body(outcome: Outcome) -> Body {
    match outcome {
        Outcome::Nothing => Body::Nothing,
        Outcome::Written(count) => Body::Write { count },
        Outcome::Read { length, data, unknown } => {
            let piece = Piece { octets: data, unknown };
            Body::Read { length, data: piece.known() }
        }
    }
}
