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

    /// Whether it may delete the file.
    pub(crate) fn deletes(self) -> bool {
        self.wants.contains(ShareMode::DELETE)
    }

    /// Whether the two may be open at once. An open that neither reads, writes nor deletes takes no part: it is not
    /// excluded and excludes nobody, whatever its share mode.
    pub(crate) fn fits(self, other: Self) -> bool {
        self.wants.is_empty()
            || other.wants.is_empty()
            || (other.leaves.contains(self.wants) && self.leaves.contains(other.wants))
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
    fn opens_for_attributes_exclude_nobody() {
        let attributes = Claim::new(Access::READ_ATTRIBUTES, ShareMode::empty(), Disposition::Open);
        let selfish = Claim::new(Access::READ_DATA, ShareMode::empty(), Disposition::Open);
        assert!(attributes.fits(selfish) && selfish.fits(attributes));
        let overwrites = Claim::new(Access::READ_ATTRIBUTES, ShareMode::ALL, Disposition::OverwriteIf);
        assert!(!overwrites.fits(selfish), "but overwriting writes");
    }
}
