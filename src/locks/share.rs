//! Share modes: which opens of a file exclude each other (MS-SMB2 2.2.13, MS-FSA 2.1.5.1.2.2).

use crate::state::{Access, Disposition, ShareMode};

/// What an open wants to do, and what it lets others do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    wants: ShareMode,
    leaves: ShareMode,
}

impl Claim {
    /// The disposition adds to the access: overwriting writes, superseding deletes (MS-FSA 2.1.5.1.2).
    pub(crate) fn new(granted: Access, sharing: ShareMode, disposition: Disposition) -> Self {
        let implied = match disposition {
            Disposition::Supersede => Access::DELETE,
            Disposition::Overwrite | Disposition::OverwriteIf => Access::WRITE_DATA,
            Disposition::Open | Disposition::Create | Disposition::OpenIf => Access::empty(),
        };
        let access = granted.union(implied);
        let mut wants = ShareMode::empty();
        wants.set(ShareMode::READ, access.intersects(Access::READ_DATA.union(Access::EXECUTE)));
        wants.set(ShareMode::WRITE, access.intersects(Access::WRITE_DATA.union(Access::APPEND_DATA)));
        wants.set(ShareMode::DELETE, access.contains(Access::DELETE));
        Self { wants, leaves: sharing }
    }

    /// What it leaves to others.
    pub(crate) fn leaves(self) -> ShareMode {
        self.leaves
    }

    /// What somebody does who opens nothing: it leaves everything to others.
    pub(crate) fn of_access(wants: ShareMode) -> Self {
        Self { wants, leaves: ShareMode::ALL }
    }

    /// Whether somebody who reads from a delegation would miss something: data may be written, or reading is denied.
    pub(crate) fn disturbs_readers(self) -> bool {
        self.writes() || !self.leaves.contains(ShareMode::READ)
    }

    /// Whether a share reservation could be in its way, or it in that of one: those know of reading and writing alone (RFC 8881 9.7).
    pub(crate) fn meets_reservations(self) -> bool {
        let all = Self { wants: ShareMode::READ.union(ShareMode::WRITE), leaves: ShareMode::DELETE };
        !self.fits(all)
    }

    /// Whether who has this may do what the other wants.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.wants.contains(other.wants)
    }

    /// Whether who has this has the other as well: it may do as much, and denies as much.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.covers(other) && other.leaves.contains(self.leaves)
    }

    /// Whether it may delete the file.
    pub(crate) fn deletes(self) -> bool {
        self.wants.contains(ShareMode::DELETE)
    }

    /// Whether it may write to the file.
    pub(crate) fn writes(self) -> bool {
        self.wants.contains(ShareMode::WRITE)
    }

    /// Whether the two may be open at once. An open that neither reads, writes nor deletes takes no part: it is not
    /// excluded and excludes nobody, whatever its share mode.
    pub(crate) fn fits(self, other: Self) -> bool {
        self.wants.is_empty()
            || other.wants.is_empty()
            || (other.leaves.contains(self.wants) && self.leaves.contains(other.wants))
    }
}

/// The claims of all opens of a file, counted: enough to see at once that a further one fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// How many want to read, write, delete.
    wanted: [u32; 3],
    /// How many of those who want anything do not leave that to others.
    refused: [u32; 3],
}

const RIGHTS: [ShareMode; 3] = [ShareMode::READ, ShareMode::WRITE, ShareMode::DELETE];

impl Shares {
    pub(crate) fn add(&mut self, claim: Claim) {
        self.change(claim, |count| count.saturating_add(1));
    }

    pub(crate) fn remove(&mut self, claim: Claim) {
        self.change(claim, |count| count.saturating_sub(1));
    }

    /// Whether the claim fits all of them. O(1).
    pub(crate) fn fit(&self, claim: Claim) -> bool {
        let rights = RIGHTS.into_iter().zip(self.wanted).zip(self.refused);
        claim.wants.is_empty()
            || rights.into_iter().all(|((right, wanted), refused)| {
                (refused == 0 || !claim.wants.contains(right))
                    && (wanted == 0 || claim.leaves.contains(right))
            })
    }

    fn change(&mut self, claim: Claim, next: impl Fn(u32) -> u32) {
        if claim.wants.is_empty() {
            return;
        }
        for ((right, wanted), refused) in RIGHTS.into_iter().zip(&mut self.wanted).zip(&mut self.refused) {
            if claim.wants.contains(right) {
                *wanted = next(*wanted);
            }
            if !claim.leaves.contains(right) {
                *refused = next(*refused);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_needs_its_share_in_both_directions() {
        // MS-FSA 2.1.5.1.2.2, for every right and every share mode of the other.
        let rights = [
            (Access::READ_DATA, ShareMode::READ),
            (Access::EXECUTE, ShareMode::READ),
            (Access::WRITE_DATA, ShareMode::WRITE),
            (Access::APPEND_DATA, ShareMode::WRITE),
            (Access::DELETE, ShareMode::DELETE),
        ];
        for (access, needed) in rights {
            for bits in 0..8 {
                let sharing = ShareMode::from_bits_retain(bits);
                for (other, needs) in rights {
                    let one = Claim::new(access, ShareMode::ALL, Disposition::Open);
                    let two = Claim::new(other, sharing, Disposition::Open);
                    assert_eq!(one.fits(two), sharing.contains(needed), "{access:?} beside {sharing:?}");
                    assert_eq!(two.fits(one), one.fits(two));
                    let selfish = Claim::new(access, ShareMode::empty(), Disposition::Open);
                    assert!(!selfish.fits(two), "{needs:?} is not left");
                }
            }
        }
    }

    #[test]
    fn counted_claims_say_what_each_says() {
        // MS-FSA 2.1.5.1.2.2: every pair beside a claim, and again when one of the two is gone.
        let claims: std::vec::Vec<Claim> = (0..64)
            .map(|bits| {
                let wants = ShareMode::from_bits_retain(bits & 7);
                Claim { wants, leaves: ShareMode::from_bits_retain(bits >> 3) }
            })
            .collect();
        for one in &claims {
            for other in &claims {
                let mut shares = Shares::default();
                shares.add(*one);
                shares.add(*other);
                for claim in &claims {
                    assert_eq!(shares.fit(*claim), claim.fits(*one) && claim.fits(*other), "{claim:?}");
                }
                shares.remove(*one);
                for claim in &claims {
                    assert_eq!(shares.fit(*claim), claim.fits(*other), "{claim:?}");
                }
                shares.remove(*other);
                assert_eq!(shares, Shares::default());
            }
        }
    }

    #[test]
    fn opens_for_attributes_exclude_nobody() {
        let attributes = Claim::new(Access::READ_ATTRIBUTES, ShareMode::empty(), Disposition::Open);
        let selfish = Claim::new(Access::READ_DATA, ShareMode::empty(), Disposition::Open);
        assert!(attributes.fits(selfish) && selfish.fits(attributes));
        let overwrites = Claim::new(Access::READ_ATTRIBUTES, ShareMode::ALL, Disposition::OverwriteIf);
        assert!(!overwrites.fits(selfish), "but overwriting writes");
    }
}
