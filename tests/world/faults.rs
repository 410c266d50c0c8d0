//! What goes wrong, and when.

use super::plan::Fault;
use super::queue::What;
use super::{Weather, World};

impl World {
    pub(super) fn plan_fault(&mut self) {
        let at = self.now + 1 + self.random.below(2 * self.plan.pause);
        self.queue.push(at, What::Fault);
    }

    pub(super) fn fault(&mut self) {
        self.plan_fault();
        if self.weather != Weather::Storm || self.plan.faults.is_empty() {
            return;
        }
        let kind = self.random.pick(&self.plan.faults);
        // Machines crash less often than connections, and clocks jump seldom.
        let rare = match kind {
            Fault::Cut => 1,
            Fault::ClientCrash | Fault::Silence => 3,
            Fault::ServerCrash | Fault::Jump | Fault::NotStored => 4,
        };
        let client = self.random.index(self.plan.clients);
        if !self.random.once_in(rare) || !self.strike(kind, client) {
            return;
        }
        self.note(|| format!("    {kind:?} {client}"));
        *self.report.faults.entry(kind).or_default() += 1;
    }

    /// What is to be stored now and then meets the end of the server.
    pub(super) fn plan_power_cut(&mut self) {
        // Where the store is slow there is more to find.
        let rare = if self.plan.storing > 6 { 20 } else { 200 };
        if self.plan.faults.contains(&Fault::ServerCrash) && self.random.once_in(rare) {
            let (life, at) = (self.server.life, self.now + self.random.below(self.plan.storing));
            self.queue.push(at, What::PowerCut { life });
        }
    }

    pub(super) fn power_cut(&mut self, life: u32) {
        if self.weather == Weather::Storm && self.server.lives(life) && self.strike(Fault::ServerCrash, 0) {
            self.note(|| "    power cut".to_owned());
            *self.report.faults.entry(Fault::ServerCrash).or_default() += 1;
        }
    }

    fn strike(&mut self, kind: Fault, client: usize) -> bool {
        match kind {
            Fault::Cut => {
                let conns = self.clients[client].conns.clone();
                if conns.is_empty() {
                    return false;
                }
                let conn = self.random.pick(&conns);
                let all = self.random.once_in(2);
                conns.into_iter().filter(|other| all || *other == conn).for_each(|conn| self.cut(conn));
            }
            Fault::ServerCrash if self.server.machine.is_some() => {
                self.crash_server();
                (0..self.plan.clients).for_each(|client| self.checker.trouble(client, self.now));
            }
            Fault::ClientCrash if self.clients[client].alive => self.crash_client(client),
            Fault::Silence if self.clients[client].alive && self.clients[client].speaks => {
                let most = self.random.pick(&[1_000, 60_000, 200_000]);
                let until = self.now + self.random.below(most);
                self.clients[client].speaks = false;
                self.clients[client].silent_until = until;
                self.checker.trouble(client, until);
                self.queue.push(until, What::Speaks { client });
            }
            Fault::ServerCrash | Fault::ClientCrash | Fault::Silence | Fault::NotStored => return false,
            Fault::Jump => {
                // What is broken is noticed before a deadline passes: see `notice`.
                self.notice();
                let most = self.random.pick(&[1_000, 50_000, 400_000]);
                self.now += self.random.below(most);
                (0..self.plan.clients).for_each(|client| self.checker.trouble(client, self.now));
            }
        }
        true
    }

    pub(super) fn speaks(&mut self, client: usize) {
        self.clients[client].speaks = true;
        self.checker.trouble(client, self.now);
    }

    /// Storm, then calm, then a time in which everything comes to its end.
    pub(super) fn turn_of_weather(&mut self) {
        let (next, time) = match self.weather {
            Weather::Storm => (Weather::Calm, 60_000),
            Weather::Calm => {
                self.quiet();
                (Weather::Storm, self.random.pick(&[10_000, 100_000]))
            }
            Weather::Quiet => return,
        };
        self.weather = next;
        let at = self.now + time;
        self.queue.push(at, What::Weather);
    }
}
