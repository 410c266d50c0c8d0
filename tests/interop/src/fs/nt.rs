//! The NTSTATUS values that a file system and a session layer need beside those of leasehold.

use leasehold::Status;

macro_rules! statuses {
    ($($name:ident = $value:literal,)*) => {
        $(pub const $name: Status = Status::from_wire($value);)*

        /// The name of a status without `STATUS_`, else its number.
        pub fn name(status: Status) -> String {
            let known = [$(($name, stringify!($name)),)*];
            let here = known.into_iter().find_map(|(known, name)| (known == status).then_some(name));
            here.or(status.name()).map_or_else(|| format!("{:#010x}", status.to_wire()), str::to_owned)
        }
    };
}

statuses! {
    NOTIFY_CLEANUP = 0x0000_010c,
    BUFFER_OVERFLOW = 0x8000_0005,
    NO_MORE_FILES = 0x8000_0006,
    INVALID_INFO_CLASS = 0xc000_0003,
    INFO_LENGTH_MISMATCH = 0xc000_0004,
    INVALID_HANDLE = 0xc000_0008,
    NO_SUCH_FILE = 0xc000_000f,
    INVALID_DEVICE_REQUEST = 0xc000_0010,
    END_OF_FILE = 0xc000_0011,
    ACCESS_DENIED = 0xc000_0022,
    BUFFER_TOO_SMALL = 0xc000_0023,
    OBJECT_NAME_INVALID = 0xc000_0033,
    OBJECT_NAME_COLLISION = 0xc000_0035,
    OBJECT_PATH_NOT_FOUND = 0xc000_003a,
    SHARING_VIOLATION = 0xc000_0043,
    EAS_NOT_SUPPORTED = 0xc000_004f,
    PRIVILEGE_NOT_HELD = 0xc000_0061,
    DISK_FULL = 0xc000_007f,
    BAD_IMPERSONATION_LEVEL = 0xc000_00a5,
    FILE_IS_A_DIRECTORY = 0xc000_00ba,
    DIRECTORY_NOT_EMPTY = 0xc000_0101,
    NOT_A_DIRECTORY = 0xc000_0103,
    CANNOT_DELETE = 0xc000_0121,
    FILE_NOT_AVAILABLE = 0xc000_0467,
}
