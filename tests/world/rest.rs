//! Quiet times, in which everything comes to its end, and the end of the world, after which nothing is left.

use leasehold::{LeaseState, Machine};

use super::client::Handle;
use super::{Weather, World};

/// How long everything may take to come to its end: opens that are away are given up by then.
const PATIENCE: u64 = 40 * 60_000;

impl World {
    /// Nothing new begins and nothing goes wrong: every request is answered, and nobody waits for anybody.
    pub(super) fn quiet(&mut self) {
        self.weather = Weather::Quiet;
        let until = self.now + PATIENCE;
        while self.report.violation.is_none() && self.unrest().is_some() {
            if self.now > until || !self.advance() {
                let what = self.unrest().unwrap_or_default();
                return self
                    .violate("every request is answered, and nobody waits, when all is quiet", || what);
            }
        }
        self.report.quiets += 1;
        self.server.sweep();
    }

    /// What is not at its end.
    fn unrest(&self) -> Option<String> {
        let client = (0..self.plan.clients)
            .find_map(|client| Some(format!("client {client}: {}", self.unrest_of(client)?)));
        let conn = self.net.conns.iter().find(|(_, conn)| {
            !conn.at_client || !conn.at_server || !conn.up.is_empty() || !conn.down.is_empty()
        });
        client
            .or_else(|| conn.map(|(id, conn)| format!("{id:?}: {conn:?}")))
            .or_else(|| self.beside.unrest())
            .or_else(|| self.checker.expects().map(|side| format!("a break: {side}")))
            .or_else(|| self.unrest_of_server())
    }

    fn unrest_of(&self, client: usize) -> Option<String> {
        let side = &self.clients[client];
        let opens =
            || side.opens.values().filter(|open| !open.closing && (open.away || open.file_id.is_none()));
        let kept = |open: &Handle| !open.used && !open.closing;
        let holds = |file: usize| side.files[file].allowed.contains(LeaseState::HANDLE);
        if !side.alive || !side.speaks || side.conns.is_empty() {
            Some("not there".to_owned())
        } else if !side.openings.is_empty() || !side.ops.is_empty() {
            Some(format!("{:?}, {:?}", side.openings, side.ops))
        } else if side.files.iter().any(|file| !file.idle()) {
            Some(format!("{:?}", side.files))
        } else if opens().next().is_some() {
            Some(format!("{:?}", opens().collect::<Vec<_>>()))
        } else if let Some(open) = side.opens.values().find(|open| kept(open) && !holds(open.wanted.file)) {
            Some(format!("kept open without H: {open:?}"))
        } else if side.machine.names() > self.plan.files {
            Some(format!("{} names", side.machine.names()))
        } else {
            None
        }
    }

    fn unrest_of_server(&self) -> Option<String> {
        let Some(machine) = self.server.machine.as_ref() else { return Some("no server".to_owned()) };
        if self.server.unanswered() > 0 {
            return Some("requests at the server".to_owned());
        }
        if machine.stats().waiters == 0 {
            return None;
        }
        Some(format!("{:?}", machine.snapshot()))
    }

    /// Everybody lets go: nothing is left, in any table.
    pub(super) fn end(&mut self) {
        if self.report.violation.is_some() {
            return;
        }
        self.quiet();
        for _ in 0..3 {
            for client in 0..self.plan.clients {
                for open in self.used(client) {
                    self.release(client, open);
                }
            }
            self.weather = Weather::Storm;
            self.quiet();
        }
        if self.report.violation.is_some() {
            return;
        }
        // Kept handles close with their connections.
        for client in 0..self.plan.clients {
            self.clients[client].retired = true;
            for conn in self.clients[client].conns.clone() {
                self.cut(conn);
            }
        }
        let until = self.now + PATIENCE;
        while self.report.violation.is_none() && self.now < until && !self.empty() {
            if !self.advance() {
                break;
            }
        }
        if self.report.violation.is_none() && !self.empty() {
            let names: Vec<_> = self.clients.iter().map(|side| side.machine.names()).collect();
            let snapshot = self.server.machine.as_ref().map(leasehold::server::Server::snapshot);
            self.violate("nothing is left at the end", || {
                format!("names of clients: {names:?}, {snapshot:?}")
            });
        }
    }

    fn empty(&self) -> bool {
        let clients = self.clients.iter().all(|side| {
            side.machine.names() == 0 && side.machine.poll_timeout().is_none() && side.conns.is_empty()
        });
        clients && self.server.machine.as_ref().is_some_and(leasehold::server::Server::idle)
    }
}
