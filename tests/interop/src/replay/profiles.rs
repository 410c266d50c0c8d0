//! What the recorded servers do otherwise than the machine does by default.

use leasehold::server::{FollowUpEpoch, Profile};

struct Row {
    /// How the names of the recordings begin: `suite/test`.
    recordings: &'static str,
    set: fn(&mut Profile),
}

/// What is otherwise, and for which recordings. Every row that fits counts.
const TABLE: &[Row] = &[
    // Samba sends the second notification of a chain with the epoch of the first (MS-SMB2 3.3.4.7 <248>).
    // No recording so far depends on it: their chains are of leases without an epoch.
    Row { recordings: "smb2.", set: |profile| profile.follow_up_epoch = FollowUpEpoch::Same },
];

/// The profile for the recording of that name.
pub(super) fn profile(name: &str) -> Profile {
    let mut profile = Profile::default();
    for row in TABLE.iter().filter(|row| name.starts_with(row.recordings)) {
        (row.set)(&mut profile);
    }
    profile
}
