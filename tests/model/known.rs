//! Where the machine is known to differ: the model follows it as long as these are true.

/// Who asks more of a break that is kept waits for the client, also where what is asked more would delay nobody.
pub const WAITS_FOR_KEPT: bool = true;
/// An open without a cache whose record could not be removed is restored beside a lease with W that was granted, and written, behind
/// its end: the share modes fit, so it is not told apart from one that is left.
pub const GHOST_BESIDE_WRITE: bool = true;
