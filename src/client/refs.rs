//! What a driver and a client machine call things.

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
        pub struct $name(pub(super) u64);
    };
}

opaque! {
    /// A *name*, as the driver counts them: `server\share\path` (MS-SMB2 3.2.1.5). Two names of one file have two keys.
    FileRef
}
opaque! {
    /// An open of the application's. Opaque, never reused while the machine lives. A handle that was kept and is taken up again
    /// is the same open as before.
    OpenRef
}
opaque! {
    /// An acknowledgment in flight. Opaque, never reused while the machine lives.
    AckId
}

impl FileRef {
    /// Wraps a number of the driver's choice.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}
