//! Identifiers. Every one is a type of its own, so that two of them cannot be swapped.

use core::fmt;

use uuid::Uuid;

macro_rules! guid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// On the wire the first three fields are little-endian (MS-DTYP 2.3.4.2). Comparison is that of the sixteen
        /// octets.
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps a UUID.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid.to_bytes_le())
            }

            /// Reads the sixteen octets of the wire.
            pub const fn from_wire(octets: [u8; 16]) -> Self {
                Self(octets)
            }

            /// The sixteen octets of the wire.
            pub const fn to_wire(self) -> [u8; 16] {
                self.0
            }

            /// The UUID.
            pub const fn uuid(self) -> Uuid {
                Uuid::from_bytes_le(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.uuid().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

guid! {
    /// Names a client machine: the ClientGuid of its NEGOTIATE request (MS-SMB2 2.2.3). Leases belong to it.
    ClientGuid
}
guid! {
    /// Names one application open for replay and reconnect: the CreateGuid of DH2Q (MS-SMB2 2.2.13.2.11).
    CreateGuid
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
        pub struct $name($inner);

        impl $name {
            /// Wraps the number.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }
    };
}

number! {
    /// One transport connection. Chosen by the driver, never reused while the machine lives.
    ConnId(u64)
}
number! {
    /// An SMB2 session, as in the header (MS-SMB2 2.2.1.2). Zero in every lease break notification.
    SessionId(u64)
}
number! {
    /// An SMB2 tree connect, as in the header (MS-SMB2 2.2.1.2). Unique within its session only.
    TreeId(u32)
}
number! {
    /// Names a request for as long as it is unanswered. Chosen by the driver, unique among the requests in flight.
    RequestId(u64)
}
/// Names a user: 128 bits that the driver makes of a security identifier, the same after a restart.
///
/// An open that survives its connection goes back to the user who made it, and to nobody else (MS-SMB2 3.3.5.9.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct UserId([u8; 16]);

impl UserId {
    /// Wraps the octets.
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }
}

/// Which protocol somebody speaks. It decides nothing but what the table of [`protocols`](crate::protocols) says, and counts in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Protocol {
    /// SMB2 and SMB3: leases, oplocks, share modes and mandatory byte-range locks.
    Smb,
    /// NFSv3, which has no state: reads, writes, names.
    Nfs3,
    /// NLM, the locks beside NFSv3.
    Nlm,
    /// NFSv4.x: share reservations, locks, delegations.
    Nfs4,
    /// A process on the server itself.
    Local,
}

/// Who acts or holds something by another protocol than SMB. The driver gives out the numbers: two owners are the same if all three
/// parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "what it takes to tell owners apart")]
pub struct OwnerId {
    /// What it speaks.
    pub protocol: Protocol,
    /// The client that it lives on: `caller_name` of NLM, `clientid` of NFSv4. What a client loses, all its owners lose.
    pub host: u64,
    /// The owner there: `svid` and `oh` of NLM, `lock_owner` or `open_owner` of NFSv4, a process.
    pub id: u64,
}

impl OwnerId {
    /// Names an owner.
    pub const fn new(protocol: Protocol, host: u64, id: u64) -> Self {
        Self { protocol, host, id }
    }

    /// Whether both live on one client: what that client was given is not taken from it by itself.
    #[cfg(feature = "alloc")]
    pub(crate) fn same_host(self, other: Self) -> bool {
        (self.protocol, self.host) == (other.protocol, other.host)
    }
}

/// A file as the driver knows it: volume, file and **stream** in 128 bits of its choice.
///
/// A named stream is a file of its own. A name that does not exist yet has a fresh key, one and the same for every
/// CREATE of that name in flight, so that a lease key known elsewhere is seen to mismatch (MS-SMB2 3.3.5.9.8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct FileKey {
    // Two halves, for tables in which a number of 128 bits would be aligned to sixteen octets.
    high: u64,
    low: u64,
}

impl FileKey {
    /// Wraps the number.
    pub const fn new(value: u128) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = value.to_le_bytes();
        let (low, high) = ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]);
        Self { high: u64::from_le_bytes(high), low: u64::from_le_bytes(low) }
    }

    /// The number.
    pub const fn get(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileKey").field(&self.get()).finish()
    }
}

/// Sixteen opaque octets that name a lease within a client (MS-SMB2 2.2.13.2.8). Never reinterpreted, never swapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct LeaseKey([u8; 16]);

impl LeaseKey {
    /// The key that is none: a lease context that carries it is ignored by deployed servers.
    pub const ZERO: Self = Self([0; 16]);

    /// Wraps the octets.
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseKey({self})")
    }
}

/// SMB2_FILEID (MS-SMB2 2.2.14.1): sixteen octets, both halves little-endian.
///
/// The persistent half (Open.DurableFileId) stays the same over every reconnect and is what DHnC and DH2C look up; the
/// volatile half (Open.FileId) is new after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.14.1")]
pub struct FileId {
    /// FileId.Persistent, the first eight octets.
    pub persistent: u64,
    /// FileId.Volatile, the last eight octets.
    pub volatile: u64,
}

impl FileId {
    /// "The FileId of the previous operation" in a related compound (MS-SMB2 3.3.5.2.7.2). Never given to an open.
    pub const PREVIOUS: Self = Self { persistent: u64::MAX, volatile: u64::MAX };

    /// Names an open by its two halves.
    pub const fn new(persistent: u64, volatile: u64) -> Self {
        Self { persistent, volatile }
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{:016x}", self.persistent, self.volatile)
    }
}

/// The change counter of a version 2 lease (MS-SMB2 2.2.13.2.10): sixteen bits that wrap.
///
/// There is no order among epochs, only a distance on the circle: compare with [`Epoch::since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Epoch(u16);

impl Epoch {
    /// The epoch of a lease that has seen no change; in a notification, "this lease has no epoch".
    pub const ZERO: Self = Self(0);

    /// Wraps the counter.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The counter.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The next epoch, modulo 2^16.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Steps from `earlier` to `self`: 1 to 32767 if `self` is newer, 0 if equal, `None` if it is older.
    pub const fn since(self, earlier: Self) -> Option<u16> {
        let distance = self.0.wrapping_sub(earlier.0);
        if distance <= 0x7fff { Some(distance) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_mixed_endian_on_the_wire() {
        // MS-SMB2 4.9 writes GUIDs so; the octets are those that clients send.
        let text = Uuid::from_u128(0xf1e2d3c4_b5a6_9788_0123_456789abcdef);
        let octets =
            [0xc4, 0xd3, 0xe2, 0xf1, 0xa6, 0xb5, 0x88, 0x97, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        assert_eq!(CreateGuid::new(text).to_wire(), octets);
        assert_eq!(CreateGuid::from_wire(octets).uuid(), text);
    }

    #[test]
    fn epochs_wrap_and_half_the_circle_is_newer() {
        assert_eq!(Epoch::new(0xffff).next(), Epoch::ZERO);
        assert_eq!(Epoch::new(1).since(Epoch::new(0xfffe)), Some(3));
        assert_eq!(Epoch::new(7).since(Epoch::new(7)), Some(0));
        assert_eq!(Epoch::new(0x7fff).since(Epoch::ZERO), Some(0x7fff));
        assert_eq!(Epoch::new(0x8000).since(Epoch::ZERO), None);
        assert_eq!(Epoch::new(0xfffe).since(Epoch::new(1)), None);
    }
}
