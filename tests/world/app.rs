//! What applications do.

use leasehold::client::{Event, OpenRef, Want};
use leasehold::{Access, CreateGuid, Disposition, ShareMode};

use super::queue::What;
use super::{Wanted, Weather, World};

impl World {
    /// One step of one client's application, and then the next.
    pub(super) fn app(&mut self, client: usize) {
        let life = self.clients[client].life;
        let think = if self.weather == Weather::Quiet { 10_000 } else { self.plan.think };
        let at = self.now + 1 + self.random.below(think);
        self.queue.push(at, What::App { client, life });
        if !self.clients[client].speaks || self.weather == Weather::Quiet || self.rests(client) {
            return;
        }
        let used = self.used(client);
        match self.random.below(20) {
            0..=3 => self.open_something(client, used.len()),
            _ if used.is_empty() => self.open_something(client, 0),
            4..=11 => self.access(client, &used, false),
            12..=17 => self.access(client, &used, true),
            _ => {
                let open = self.random.pick(&used);
                self.release(client, open);
            }
        }
    }

    /// Others have the files for a while.
    fn rests(&mut self, client: usize) -> bool {
        if self.clients[client].rests_until > self.now {
            return true;
        }
        if !self.plan.rests || !self.random.once_in(20) {
            return false;
        }
        self.clients[client].rests_until = self.now + self.random.below(100 * self.plan.think);
        for open in self.used(client) {
            self.release(client, open);
        }
        true
    }

    pub(super) fn used(&self, client: usize) -> Vec<OpenRef> {
        let opens = self.clients[client].opens.iter().filter(|(_, open)| open.used);
        opens.map(|(open, _)| *open).collect()
    }

    fn access(&mut self, client: usize, used: &[OpenRef], writes: bool) {
        let open = self.random.pick(used);
        let page = self.random.index(self.plan.pages);
        let Some(wanted) = self.clients[client].opens.get(&open).map(|handle| handle.wanted) else { return };
        if self.clients[client].ops.len() >= 8 {
            return;
        }
        if writes && wanted.writes() {
            self.write(client, open, wanted.file, page);
        } else if !writes && wanted.reads() {
            self.read(client, open, wanted.file, page);
        }
    }

    pub(super) fn release(&mut self, client: usize, open: OpenRef) {
        let side = &mut self.clients[client];
        // Its requests are answered before it closes, and what is away is waited for.
        if side.ops.values().any(|op| op.open == open) {
            return;
        }
        let Some(handle) = side.opens.get_mut(&open).filter(|handle| !handle.away) else { return };
        handle.used = false;
        self.tell_client(client, Event::Release { open });
    }

    fn open_something(&mut self, client: usize, used: usize) {
        let side = &self.clients[client];
        if side.conns.is_empty() || used + side.openings.len() >= self.plan.opens {
            return;
        }
        let file = self.random.index(self.plan.files);
        let both = Access::READ_DATA.union(Access::WRITE_DATA);
        let look = if self.plan.looks { Access::READ_ATTRIBUTES } else { Access::READ_DATA };
        let access = self.random.pick(&[both, both, both, Access::READ_DATA, look]);
        let denied = [ShareMode::READ, ShareMode::READ.union(ShareMode::WRITE), ShareMode::empty()];
        let denies = self.plan.denials && self.random.once_in(4);
        let sharing = if denies { self.random.pick(&denied) } else { ShareMode::ALL };
        let cached = &self.clients[client].files[file];
        let overwrites = self.plan.overwrites && !cached.unwritten() && self.random.once_in(8);
        let disposition = if overwrites {
            let cached = &mut self.clients[client].files[file];
            cached.overwriting += 1;
            cached.outdate();
            Disposition::Overwrite
        } else {
            Disposition::OpenIf
        };
        let want = Want::State(self.random.pick(&self.plan.wants));
        let durable = self.plan.durable.then(|| {
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(&self.random.draw().to_le_bytes());
            octets[8..].copy_from_slice(&self.random.draw().to_le_bytes());
            CreateGuid::from_wire(octets)
        });
        let access = if overwrites { both } else { access };
        self.open(client, Wanted { file, access, sharing, disposition, want, durable });
    }
}
