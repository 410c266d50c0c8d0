//! Upper bounds of everything that can grow.

/// How much a machine is willing to hold. What happens at each bound is said beside it; nothing is ever dropped silently.
///
/// A server that is split into shards gives each shard its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Opens, granted or being opened. At the limit a CREATE is refused with STATUS_INSUFFICIENT_RESOURCES.
    pub opens: usize,
    /// Opens of one file: they bound what one event can bring about there. As above.
    pub opens_per_file: u32,
    /// Opens of one session. As above.
    pub opens_per_session: u32,
    /// Leases, and lease keys in use. At the limit a CREATE that names a new key is refused with
    /// STATUS_INSUFFICIENT_RESOURCES (MS-SMB2 3.3.5.9.8).
    pub leases: usize,
    /// Lease keys in use by one client. As above.
    pub leases_per_client: u32,
    /// Files with an open or a request. At the limit requests for others are refused with STATUS_INSUFFICIENT_RESOURCES.
    pub files: usize,
    /// Requests that wait, in all. At the limit one that would have to wait is refused with
    /// STATUS_INSUFFICIENT_RESOURCES and breaks nothing.
    pub waiters: usize,
    /// Requests that wait for one file. As above.
    pub waiters_per_file: u32,
    /// Requests of one connection, or of one client of another protocol, that wait. As above.
    pub waiters_per_connection: u32,
    /// Operations between `Proceed` and `Done`. At the limit one is refused with STATUS_INSUFFICIENT_RESOURCES.
    pub running: usize,
    /// Deadlines that one call carries out. What is left is due at once: `poll_timeout` says so.
    pub deadlines_per_call: u32,
    /// What waits for the store. At the limit a request that would have to wait as well is refused with
    /// STATUS_INSUFFICIENT_RESOURCES when it comes, but for what unlocks or closes.
    pub unstored: usize,
    /// Byte-range locks. At the limit a LOCK is refused with STATUS_INSUFFICIENT_RESOURCES and locks nothing.
    pub locks: usize,
    /// Byte-range locks of one open. As above.
    pub locks_per_open: u32,
    /// Elements of one LOCK. Above it the request is refused with STATUS_INSUFFICIENT_RESOURCES and does nothing.
    pub locks_per_request: usize,
    /// Owners of other protocols on files, each file counted. At the limit a lock or a reservation of another is refused with
    /// STATUS_INSUFFICIENT_RESOURCES, and a delegation with STATUS_OPLOCK_NOT_GRANTED.
    pub owners: usize,
    /// Byte-range locks of owners of other protocols. As for those of opens.
    pub owner_locks: usize,
    /// How many owners one lock may wait for. Above it the request is refused with STATUS_INSUFFICIENT_RESOURCES.
    pub waited_for: usize,
    /// Connections. At the limit a new one is a misuse: the driver refuses it before NEGOTIATE.
    pub connections: usize,
    /// Connections of one client; those of dialect 2.0.2, who all have the same ClientGuid, are not counted. As above.
    pub connections_per_client: usize,
    /// Sessions. At the limit a new one is a misuse: the driver refuses it in SESSION_SETUP.
    pub sessions: usize,
}

impl Default for Limits {
    /// Bounds for a server of ten thousand users.
    fn default() -> Self {
        Self {
            opens: 1 << 20,
            opens_per_file: 1 << 16,
            opens_per_session: 1 << 16,
            leases: 1 << 20,
            leases_per_client: 1 << 17,
            files: 1 << 20,
            waiters: 1 << 16,
            waiters_per_file: 1 << 12,
            waiters_per_connection: 1 << 9,
            running: 1 << 16,
            deadlines_per_call: 1 << 12,
            unstored: 1 << 16,
            locks: 1 << 20,
            locks_per_open: 1 << 16,
            locks_per_request: 64,
            owners: 1 << 20,
            owner_locks: 1 << 20,
            waited_for: 1 << 12,
            connections: 1 << 16,
            connections_per_client: 32,
            sessions: 1 << 17,
        }
    }
}
