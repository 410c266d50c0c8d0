//! Epochs go round: between a client and its server lies a distance that grows where nothing is held, so that what the client sees
//! passes 65535 soon.

use leasehold::wire::{Lease, LeaseV2};
use leasehold::{Epoch, LeaseState};

use super::World;
use super::client::name_of;

/// As far ahead as an epoch can be.
const LEAP: u16 = 0x7fe0;

impl World {
    pub(super) fn epoch_down(&self, client: usize, file: usize, epoch: Epoch) -> Epoch {
        Epoch::new(epoch.get().wrapping_add(self.server.leaps[client][file]))
    }

    pub(super) fn lease_down(&self, client: usize, file: usize, lease: Option<Lease>) -> Option<Lease> {
        translated(lease, self.server.leaps[client][file])
    }

    pub(super) fn lease_up(&self, client: usize, file: usize, lease: Option<Lease>) -> Option<Lease> {
        translated(lease, 0u16.wrapping_sub(self.server.leaps[client][file]))
    }

    /// A CREATE is about to be answered: to whom has nothing, and has asked for nothing else, any epoch is new.
    pub(super) fn leap(&mut self, client: usize, file: usize) {
        let side = &self.clients[client];
        let asked = side.openings.values().filter(|wanted| wanted.file == file).count();
        let nothing = side.machine.state(name_of(file)) == LeaseState::NONE && side.files[file].idle();
        if self.plan.leaps && side.alive && asked == 1 && nothing && !self.checker.told(client, file) {
            let leaps = &mut self.server.leaps[client][file];
            *leaps = leaps.wrapping_add(LEAP);
        }
    }
}

fn translated(lease: Option<Lease>, by: u16) -> Option<Lease> {
    match lease {
        Some(Lease::V2(body)) => {
            let epoch = Epoch::new(body.epoch.get().wrapping_add(by));
            Some(Lease::V2(LeaseV2 { epoch, ..body }))
        }
        other => other,
    }
}
