//! What the recorded servers do otherwise than the machine, or its driver, does by default.

use leasehold::server::{FollowUpEpoch, Profile};

/// How a server behaves where servers differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habits {
    /// What is decided in the machine.
    pub(super) profile: Profile,
    /// Whether a DHnQ that stands beside a DHnC, and is ignored, is answered all the same. That is for the driver: the machine
    /// does not hear of it.
    pub(super) answers_ignored_request: bool,
}

struct Row {
    /// How the names of the recordings begin: `suite/test`.
    recordings: &'static str,
    set: fn(&mut Habits),
}

/// What is otherwise, and for which recordings. Every row that fits counts. The times of `Config` need none: no recording
/// comes near the time that an open made durable by DHnQ is kept, and those of DH2Q are as recorded.
const TABLE: &[Row] = &[
    // Samba sends the second notification of a chain with the epoch of the first (MS-SMB2 3.3.4.7 <248>).
    // No recording so far depends on it: their chains are of leases without an epoch.
    Row { recordings: "smb2.", set: |habits| habits.profile.follow_up_epoch = FollowUpEpoch::Same },
    // Samba answers with a DHnQ where it was asked for one and gives an open back, as Windows did up to 2008 R2
    // (MS-SMB2 3.3.5.9.7 <339>). The suite does not look.
    Row { recordings: "smb2.durable-open", set: |habits| habits.answers_ignored_request = true },
];

/// The habits of the server in the recording of that name.
pub(super) fn habits(name: &str) -> Habits {
    let mut habits = Habits::default();
    for row in TABLE.iter().filter(|row| name.starts_with(row.recordings)) {
        (row.set)(&mut habits);
    }
    habits
}
