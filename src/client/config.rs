//! How a client behaves.

use core::time::Duration;

use super::{Policy, Retry};
use crate::store::hash::HashKey;

/// How a client behaves, and how much it is willing to hold.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// For hash tables; fresh at each start. No action depends on it.
    pub hash_key: HashKey,
    /// Opens, those that H keeps open among them. At the limit an open fails with STATUS_INSUFFICIENT_RESOURCES.
    pub opens: usize,
    /// Names, directories that are only named among them. At the limit an open fails with STATUS_INSUFFICIENT_RESOURCES; one whose
    /// directory has no room does not name it.
    pub files: usize,
    /// Handles that H keeps open. At the limit the one that is kept longest is closed, when what is dirty is written back.
    pub kept: usize,
    /// Those of one file. As above.
    pub kept_per_file: u32,
    /// Acknowledgments without an answer. At the limit the oldest is forgotten: its answer changes nothing.
    pub acknowledgments: usize,
    /// Breaks of oplocks that came before the answer which makes their open known. At the limit the oldest is dropped.
    pub early_breaks: usize,
    /// Reconnects that are under way at once. The others wait in line.
    pub reconnects: usize,
    /// When a reconnect is tried again.
    pub retry: Retry,
    /// How often a CREATE is sent again with the REPLAY flag (MS-SMB2 <193>).
    pub replays: u32,
    /// How long a CREATE waits for a connection, a session, or the opens of its name that are away (<203>).
    pub create_timeout: Duration,
    /// How long a server keeps a durable open that has no time on the wire: the longest that is known (<335>).
    pub durable_timeout: Duration,
    /// Whether opens that a server keeps are to be found again after a restart of the client itself: by records, see
    /// [`ClientRecord`](crate::persist::ClientRecord). Without, nothing is stored.
    pub persistence: bool,
    /// What to ask for.
    pub policy: Policy,
}

impl ClientConfig {
    /// The defaults.
    pub const fn new(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            opens: 1 << 16,
            files: 1 << 17,
            kept: 1 << 10,
            kept_per_file: 8,
            acknowledgments: 1 << 10,
            early_breaks: 1 << 6,
            reconnects: 16,
            retry: Retry::WINDOWS,
            replays: 3,
            create_timeout: Duration::from_secs(60),
            durable_timeout: Duration::from_secs(16 * 60),
            persistence: false,
            policy: Policy::Windows,
        }
    }
}
