//! What was wrong with the octets of a record.

use core::fmt;

/// Why octets are no record: what was wrong, with which field, at which offset.
///
/// Every one of them means that the store did not give back what it was given; or that a later version wrote it
/// ([`Version`](Self::Version)). None of these octets is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// They do not begin as a record does.
    #[error("{form}: Magic is another one (offset 0)")]
    Magic {
        /// The form that was to be read.
        form: RecordForm,
    },
    /// They begin as another form does: sealed where a plain record was to be read, or plain where a sealed one was, or the record of
    /// a client where that of a server was.
    #[error("{form}: Magic is that of a {found} (offset 0)")]
    OtherForm {
        /// The form that was to be read.
        form: RecordForm,
        /// The form that is there.
        found: RecordForm,
    },
    /// There are fewer than there have to be.
    #[error("{form}: Length {wanted}, only {had} are there (offset 8)")]
    CutShort {
        /// The form that was to be read.
        form: RecordForm,
        /// How many there have to be; the least that there ever are, if not even that can be read.
        wanted: u32,
        /// How many there are.
        had: u32,
    },
    /// There are more than there have to be.
    #[error("{form}: Length {len}, {had} are there (offset 8)")]
    Trailing {
        /// The form that was to be read.
        form: RecordForm,
        /// How many there have to be.
        len: u32,
        /// How many there are.
        had: u32,
    },
    /// A version that this crate cannot read.
    #[error("{form}: Version {major}.{minor}, only 1.x can be read (offset 4)")]
    Version {
        /// The form that was to be read.
        form: RecordForm,
        /// What says that nothing can be read by those who know another.
        major: u8,
        /// What says that something was added.
        minor: u8,
    },
    /// They are not those that were written: a torn write, or another damage.
    #[error("{form}: Checksum {found:#010x}, computed {computed:#010x} (offset {offset})")]
    Checksum {
        /// The form that was to be read.
        form: RecordForm,
        /// Where the checksum lies.
        offset: u32,
        /// What was found there.
        found: u32,
        /// What it should have been.
        computed: u32,
    },
    /// They were altered, or sealed with another key.
    #[error("{}: Tag is not that of these octets and this key (offset {offset})", RecordForm::Sealed)]
    Seal {
        /// Where the tag lies.
        offset: u32,
    },
    /// A sound record, but that of another open.
    #[error("{form}: {} {found:#x}, expected {expected:#x} (offset {offset})", RecordField::Persistent)]
    Foreign {
        /// The form that was to be read.
        form: RecordForm,
        /// Where the name of the record lies: FileId.Persistent, or the number of a client's.
        offset: u32,
        /// What was found there.
        found: u64,
        /// The name of the record that was to be read.
        expected: u64,
    },
    /// A field has a value that has no meaning, or none beside the values of other fields.
    #[error("{form}: {field} {value:#x} is undefined (offset {offset})")]
    Value {
        /// The form that was to be read.
        form: RecordForm,
        /// The field.
        field: RecordField,
        /// Where it lies.
        offset: u32,
        /// What was found there.
        value: u64,
    },
    /// A field that other fields say is not there is not zero either.
    #[error("{form}: {field} is absent and not zero (offset {offset})")]
    NotZero {
        /// The form that was to be read.
        form: RecordForm,
        /// The field.
        field: RecordField,
        /// Where it lies.
        offset: u32,
    },
}

impl RecordError {
    /// The field that was wrong.
    pub const fn field(&self) -> RecordField {
        match self {
            Self::Magic { .. } | Self::OtherForm { .. } => RecordField::Magic,
            Self::CutShort { .. } | Self::Trailing { .. } => RecordField::Length,
            Self::Version { .. } => RecordField::Version,
            Self::Checksum { .. } => RecordField::Checksum,
            Self::Seal { .. } => RecordField::Tag,
            Self::Foreign { .. } => RecordField::Persistent,
            Self::Value { field, .. } | Self::NotZero { field, .. } => *field,
        }
    }

    /// Where that field lies, in octets from the start.
    pub const fn offset(&self) -> usize {
        match self {
            Self::Magic { .. } | Self::OtherForm { .. } => 0,
            Self::CutShort { .. } | Self::Trailing { .. } => 8,
            Self::Version { .. } => 4,
            Self::Checksum { offset, .. }
            | Self::Seal { offset }
            | Self::Foreign { offset, .. }
            | Self::Value { offset, .. }
            | Self::NotZero { offset, .. } => *offset as usize,
        }
    }
}

/// The forms in which a record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordForm {
    /// As [`Record::encode`](super::Record::encode) writes it.
    Plain,
    /// As [`ClientRecord::encode`](super::ClientRecord::encode) writes it.
    Client,
    /// As `Record::seal` and `ClientRecord::seal` write it, which are there with the feature `seal`.
    Sealed,
}

impl fmt::Display for RecordForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Record",
            Self::Client => "Client Record",
            Self::Sealed => "Sealed Record",
        })
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// The fields that a decoder of records can find fault with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RecordField {
            $($(#[$doc])* $field,)*
        }

        impl fmt::Display for RecordField {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$field => stringify!($field),)*
                })
            }
        }
    };
}

fields! {
    /// What says that it is a record, and in which form.
    Magic,
    /// The version of the form.
    Version,
    /// Where the fields end whose number does not depend on the record.
    FixedLength,
    /// How many octets there are.
    Length,
    /// How many byte-range locks there are; with the number of lock sequences it says how many octets there have to be.
    LockCount,
    /// [`Record::persistent`](super::Record::persistent)
    Persistent,
    /// [`Record::directory`](super::Record::directory)
    Directory,
    /// [`Record::parent`](super::Record::parent)
    Parent,
    /// AppInstanceId of [`Record::instance`](super::Record::instance)
    AppInstanceId,
    /// AppInstanceVersionHigh of [`Record::instance`](super::Record::instance)
    AppInstanceVersionHigh,
    /// AppInstanceVersionLow of [`Record::instance`](super::Record::instance)
    AppInstanceVersionLow,
    /// LeaseKey of [`Record::lease`](super::Record::lease)
    LeaseKey,
    /// ParentLeaseKey of [`Record::lease`](super::Record::lease)
    ParentLeaseKey,
    /// LeaseState of [`Record::lease`](super::Record::lease)
    LeaseState,
    /// LeaseFlags of [`Record::lease`](super::Record::lease)
    LeaseFlags,
    /// [`Record::told`](super::Record::told)
    Told,
    /// Epoch of [`Record::lease`](super::Record::lease)
    Epoch,
    /// [`Record::disposition`](super::Record::disposition)
    CreateDisposition,
    /// [`Record::action`](super::Record::action)
    CreateAction,
    /// [`Record::kind`](super::Record::kind)
    Kind,
    /// [`Record::level`](super::Record::level)
    OplockLevel,
    /// Version of [`Record::lease`](super::Record::lease)
    LeaseVersion,
    /// Which of the fields that need not be there are.
    Present,
    /// [`Record::connected`](super::Record::connected), [`Record::goes`](super::Record::goes) and
    /// [`Record::relaxed`](super::Record::relaxed)
    State,
    /// Whether a lock of [`Record::locks`](super::Record::locks) is exclusive.
    Exclusive,
    /// A lock sequence of [`Record::sequences`](super::Record::sequences)
    LockSequence,
    /// CreateGuid of [`ClientRecord::promise`](super::ClientRecord::promise)
    CreateGuid,
    /// [`ClientRecord::promise`](super::ClientRecord::promise)
    Promise,
    /// [`ClientRecord::need`](super::ClientRecord::need)
    Need,
    /// [`ClientRecord::flush`](super::ClientRecord::flush) and [`ClientRecord::purge`](super::ClientRecord::purge)
    Due,
    /// What says that a record that is not sealed is sound.
    Checksum,
    /// What says that a sealed record is sound.
    Tag,
}
