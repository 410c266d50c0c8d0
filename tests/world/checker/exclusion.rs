//! What the server may hold at once.

use leasehold::server::{FileSnapshot, LeaseSnapshot};
use leasehold::{Access, FileId, LeaseState, OplockLevel};

use super::super::World;
use super::super::client::{GHOST, LeaseName};
use super::super::server::guid_of;
use super::caches;

/// An open, as far as others mind it.
#[derive(Debug)]
struct Open {
    id: FileId,
    client: usize,
    incarnation: u8,
    leased: bool,
    /// What its oplock lets it do.
    held: LeaseState,
    looks: bool,
}

impl Open {
    fn minds(&self) -> bool {
        !self.held.is_empty() || !self.looks
    }

    fn is_of(&self, lease: &LeaseSnapshot) -> bool {
        let name = LeaseName::of(lease.key);
        let mine = self.incarnation == name.incarnation || self.incarnation == GHOST;
        self.leased && mine && self.client == name.client
    }
}

impl World {
    /// Who has W is alone: no foreign lease, no foreign oplock, no foreign open but for attributes.
    pub(super) fn check_exclusion(&mut self, file: &FileSnapshot) {
        let opens: Vec<_> = file.opens.iter().filter_map(|open| self.open_of(open)).collect();
        for lease in &file.leases {
            let mut others =
                file.leases.iter().filter(|other| (other.client, other.key) != (lease.client, lease.key));
            let other = others.find(|other| !other.state.is_empty());
            let open = opens.iter().find(|open| !open.is_of(lease) && open.minds());
            if lease.state.contains(LeaseState::WRITE) && (other.is_some() || open.is_some()) {
                self.violate("who has W is alone", || format!("{lease:?} beside {other:?}, {open:?}"));
            }
        }
        for open in opens.iter().filter(|open| open.held.contains(LeaseState::WRITE)) {
            let other = opens.iter().find(|other| other.id != open.id && other.minds());
            let lease = file
                .leases
                .iter()
                .find(|lease| !lease.state.is_empty() && lease.client == guid_of(open.client));
            if other.is_some() || lease.is_some() {
                self.violate("who has W is alone", || format!("{open:?} beside {other:?}, {lease:?}"));
            }
        }
    }

    fn open_of(&self, open: &leasehold::server::OpenSnapshot) -> Option<Open> {
        let info = self.server.opens.get(&open.file_id.persistent)?;
        Some(Open {
            id: open.file_id,
            client: info.client,
            incarnation: info.incarnation,
            leased: open.oplock == OplockLevel::Lease,
            held: caches(open.oplock),
            looks: Access::READ_ATTRIBUTES.contains(info.access),
        })
    }
}
