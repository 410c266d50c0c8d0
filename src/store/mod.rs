//! Tables, lists and timers. They know nothing of SMB.

pub(crate) mod hash;
pub(crate) mod list;
pub(crate) mod pool;
pub(crate) mod table;
pub(crate) mod timer;
