//! What a CREATE asks for: lease or oplock, and in which version (MS-SMB2 3.2.4.3, 3.2.4.3.8).

use super::file::File;
use super::level::Level;
use super::open::Under;
use super::opening::{Object, Opening, Want};
use crate::server::{Capabilities, Terms};
use crate::state::{Dialect, LeaseState, OplockLevel};
use crate::types::LeaseKey;
use crate::wire::{Lease, LeaseFlags, LeaseV1, LeaseV2};

/// The vehicle of caching, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) under: Under,
    /// Of the lease, if it is one.
    pub(super) state: LeaseState,
}

/// SupportsFileLeasing (MS-SMB2 3.2.5.2): negotiated, and not by 2.0.2.
pub(super) fn file_leasing(terms: Terms) -> bool {
    terms.dialect >= Dialect::Smb210 && terms.capabilities.contains(Capabilities::LEASING)
}

/// SupportsDirectoryLeasing (MS-SMB2 3.2.5.2): 3.x only.
pub(super) fn directory_leasing(terms: Terms) -> bool {
    terms.dialect >= Dialect::Smb300 && terms.capabilities.contains(Capabilities::DIRECTORY_LEASING)
}

/// RequestedOplockLevel (MS-SMB2 3.2.4.3). `usual` is what the policy says, `held` what the lease of the name gives already.
pub(super) fn ask(terms: Terms, opening: &Opening, usual: LeaseState, held: LeaseState) -> Ask {
    let wanted = match opening.want {
        Want::Usual => usual,
        Want::State(state) => state.normalized(),
        Want::Level(level) => Level::granted(level).permits(),
    };
    let (leases, wanted) = if opening.names_directory() {
        // A directory is never cached for writing; without directory leases it is not cached at all.
        (directory_leasing(terms), wanted.intersection(LeaseState::RH))
    } else {
        match (opening.object, opening.want) {
            // A stream has a lease only if that was asked for, and then no H.
            (Object::NamedStream, Want::Usual | Want::Level(_)) => (file_leasing(terms), LeaseState::NONE),
            (Object::NamedStream, Want::State(_)) => {
                (file_leasing(terms), wanted.without(LeaseState::HANDLE))
            }
            (Object::File, Want::Usual | Want::State(_)) => (file_leasing(terms), wanted),
            (Object::File, Want::Level(_)) => (file_leasing(terms) && !held.is_empty(), wanted),
        }
    };
    // An open without the lease that is held would break it: it goes along even if the application wants nothing. A server gives
    // more only to who asks for all of what is held and more.
    let state = wanted.union(held).normalized();
    if leases && !state.is_empty() {
        return Ask { under: Under::Lease, state };
    }
    let plain = opening.object == Object::File && !opening.names_directory();
    let level = match opening.want {
        _ if !plain => Level::None,
        Want::Level(level) => Level::granted(level),
        // On 2.0.2 only BATCH is durable (MS-SMB2 3.2.4.3.5).
        Want::Usual | Want::State(_) if opening.durable.is_some() && wanted.contains(LeaseState::HANDLE) => {
            Level::Batch
        }
        Want::Usual | Want::State(_) => Level::wanted(wanted),
    };
    Ask { under: Under::Oplock(level), state: LeaseState::NONE }
}

impl Ask {
    pub(super) fn level(self) -> OplockLevel {
        match self.under {
            Under::Lease => OplockLevel::Lease,
            Under::Oplock(level) => level.to_wire(),
        }
    }

    /// RqLs (MS-SMB2 3.2.4.3.8): version 1 on 2.1, version 2 on 3.x, with the key of the directory there.
    pub(super) fn lease(self, terms: Terms, file: &File, parent: Option<LeaseKey>) -> Option<Lease> {
        if self.under != Under::Lease {
            return None;
        }
        let (key, state) = (file.key, self.state);
        match terms.dialect {
            Dialect::Smb202 => None,
            Dialect::Smb210 => Some(Lease::V1(LeaseV1 { key, state, flags: LeaseFlags::empty() })),
            Dialect::Smb300 | Dialect::Smb302 | Dialect::Smb311 => {
                let flags = LeaseFlags::empty();
                Some(Lease::V2(LeaseV2 { key, state, flags, parent, epoch: file.epoch }))
            }
        }
    }
}
