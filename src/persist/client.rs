//! Records of a client's opens as octets.

use alloc::vec::Vec;

use bitflags::bitflags;
use bytes::BufMut;

use super::Octets;
use super::error::{RecordError, RecordField, RecordForm};
use super::head::{Envelope, put_checksum};
use crate::client::FileRef;
use crate::server::ShareFlags;
use crate::state::{Access, CreateOptions, Disposition, LeaseState, OplockLevel, ShareMode};
use crate::types::{CreateGuid, Epoch, FileId, LeaseKey};
use crate::wire::parse::{self, clamp32, octet, octets16, reserved, u16, u32, u64};

/// An open that its client can have back after its own restart: what MS-SMB2 3.2.1.4 and 3.2.1.6 remember of one whose server keeps
/// it for a while.
///
/// [`encode`](Self::encode) and [`decode`](Self::decode) turn it into octets and back. Every record that the client makes, and every
/// one that was decoded, has a `state` or an `epoch` only if `level` is [`Lease`](OplockLevel::Lease), and never an undefined level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientRecord {
    /// Names the record: one for each open, in the order in which they were made.
    pub id: u64,
    /// The name that was opened, as the driver counts names.
    pub file: FileRef,
    /// The lease key of the name.
    pub key: LeaseKey,
    /// The directory of the name, and its lease key.
    pub directory: Option<(FileRef, LeaseKey)>,
    /// FileId
    pub file_id: FileId,
    /// What the server has promised.
    pub promise: Promise,
    /// For how long, in milliseconds.
    pub timeout: u32,
    /// What is cached by: LEASE, or the oplock of this open.
    pub level: OplockLevel,
    /// LeaseState
    pub state: LeaseState,
    /// Epoch of the lease, if it is of version 2.
    pub epoch: Option<Epoch>,
    /// DesiredAccess
    pub access: Access,
    /// ShareAccess
    pub sharing: ShareMode,
    /// CreateDisposition
    pub disposition: Disposition,
    /// CreateOptions
    pub options: CreateOptions,
    /// What the share was.
    pub share: ShareFlags,
    /// Who needs the open.
    pub need: Need,
    /// Whether a `Flush` of the name was not answered.
    pub flush: bool,
    /// Whether a `Purge` of the name was not answered.
    pub purge: bool,
}

/// What the store of a client has to carry out, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores a new duty must not compile")]
pub enum ClientChange {
    /// Store this record in the place of the one with the same [`ClientRecord::id`], if there is one.
    Put(ClientRecord),
    /// Remove the record with this id. There may be none.
    Delete {
        /// [`ClientRecord::id`]
        id: u64,
    },
}

/// What a server has promised of an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 3.2.4.4")]
pub enum Promise {
    /// Durable, by DHnQ.
    V1,
    /// Durable, by DH2Q.
    V2(CreateGuid),
    /// Persistent.
    Persistent(CreateGuid),
    /// Resilient; with a CreateGuid if it was opened with DH2Q.
    Resilient(Option<CreateGuid>),
}

/// Who needs an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "a driver has to know what to expect")]
pub enum Need {
    /// The application uses it.
    Application,
    /// The application has released it: it is needed for what is dirty, and then closes.
    WriteBack,
    /// Nobody: it is to close.
    Nobody,
}

impl Promise {
    pub(crate) fn guid(self) -> Option<CreateGuid> {
        match self {
            Self::V1 => None,
            Self::V2(guid) | Self::Persistent(guid) => Some(guid),
            Self::Resilient(guid) => guid,
        }
    }

    fn from_octet(octet: u8, guid: Option<CreateGuid>) -> Option<Self> {
        match (octet, guid) {
            (1, None) => Some(Self::V1),
            (2, Some(guid)) => Some(Self::V2(guid)),
            (3, Some(guid)) => Some(Self::Persistent(guid)),
            (4, guid) => Some(Self::Resilient(guid)),
            _ => None,
        }
    }

    fn octet(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2(_) => 2,
            Self::Persistent(_) => 3,
            Self::Resilient(_) => 4,
        }
    }
}

impl Need {
    fn from_octet(octet: u8) -> Option<Self> {
        [Self::Application, Self::WriteBack, Self::Nobody].into_iter().find(|need| need.octet() == octet)
    }

    fn octet(self) -> u8 {
        match self {
            Self::Application => 0,
            Self::WriteBack => 1,
            Self::Nobody => 2,
        }
    }
}

/// # The octets of a client's record
///
/// Version 1.0. All integers are little-endian; identifiers and keys are as they are on the wire. There are no reserved octets.
///
/// | offset | size | field                                                                          |
/// |-------:|-----:|--------------------------------------------------------------------------------|
/// |      0 |    4 | Magic: F5 4C 48 45                                                             |
/// |      4 |    2 | Version: minor 0, major 1                                                      |
/// |      6 |    2 | FixedLength, 132: where the checksum lies                                      |
/// |      8 |    4 | Length of all of it, the checksum included                                     |
/// |     12 |    4 | [`timeout`](Self::timeout)                                                     |
/// |     16 |    8 | [`id`](Self::id)                                                               |
/// |     24 |    8 | [`file`](Self::file)                                                           |
/// |     32 |    8 | the name of the [`directory`](Self::directory), if it is present               |
/// |     40 |   16 | its lease key, likewise                                                        |
/// |     56 |   16 | [`key`](Self::key)                                                             |
/// |     72 |   16 | [`file_id`](Self::file_id)                                                     |
/// |     88 |   16 | CreateGuid of the [`promise`](Self::promise), if it is present                 |
/// |    104 |    4 | [`state`](Self::state)                                                         |
/// |    108 |    4 | [`access`](Self::access)                                                       |
/// |    112 |    4 | [`sharing`](Self::sharing)                                                     |
/// |    116 |    4 | [`options`](Self::options)                                                     |
/// |    120 |    4 | [`share`](Self::share)                                                         |
/// |    124 |    2 | [`epoch`](Self::epoch), if it is present                                       |
/// |    126 |    1 | [`disposition`](Self::disposition), as on the wire                             |
/// |    127 |    1 | [`level`](Self::level), as on the wire                                         |
/// |    128 |    1 | [`promise`](Self::promise): 1 DHnQ, 2 DH2Q, 3 persistent, 4 resilient          |
/// |    129 |    1 | [`need`](Self::need): 0 application, 1 write-back, 2 nobody                    |
/// |    130 |    1 | Present: 0x1 directory, 0x2 CreateGuid, 0x4 epoch                              |
/// |    131 |    1 | Due: 0x1 [`flush`](Self::flush), 0x2 [`purge`](Self::purge)                    |
/// |        |      | what a later minor version adds; skipped                                       |
/// |        |    4 | Checksum: CRC-32 (that of Ethernet, PNG and zlib) of everything before it      |
///
/// Fields that are not present are zero. So there is one form for each record, and any octets that can be decoded and are of
/// version 1.0 are the ones that [`encode`](Self::encode) writes.
impl ClientRecord {
    /// A record of an open for reading, shared with all, with nothing cached, that the application uses.
    pub const fn new(id: u64, file: FileRef, key: LeaseKey, file_id: FileId, promise: Promise) -> Self {
        Self {
            id,
            file,
            key,
            directory: None,
            file_id,
            promise,
            timeout: 0,
            level: OplockLevel::None,
            state: LeaseState::NONE,
            epoch: None,
            access: Access::READ_DATA,
            sharing: ShareMode::ALL,
            disposition: Disposition::Open,
            options: CreateOptions::empty(),
            share: ShareFlags::empty(),
            need: Need::Application,
            flush: false,
            purge: false,
        }
    }

    /// As octets. They fit the allocation, which is the only one.
    ///
    /// Of a `state` and a `level` that contradict each other the level counts, and one that cannot be held is NONE.
    pub fn encode(&self) -> Vec<u8> {
        self.octets()
    }

    /// How many octets [`encode`](Self::encode) makes.
    pub const fn encoded_len(&self) -> usize {
        RecordForm::Client.fixed_len().saturating_add(RecordForm::Client.tail_len())
    }

    /// From octets: exactly those of one record.
    ///
    /// What a later minor version added is not looked at, and lost when the record is encoded again.
    ///
    /// # Errors
    ///
    /// What is wrong with them. Octets of which some are missing, or of which one bit is another, are never a record.
    pub fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        let envelope = Envelope::open(FORM, octets)?;
        envelope.check()?;
        let (fixed, body) = envelope.parts()?;
        if !body.is_empty() {
            return Err(FORM.undefined(RecordField::FixedLength, 6, clamp32(fixed.len()).into()));
        }
        let ids = (u64(), u64(), (u64(), octets16()), octets16(), (u64(), u64()), octets16());
        let open = (u32(), u32(), u32(), u32(), u32(), u16());
        let small = (octet(), octet(), octet(), octet(), octet(), octet());
        let fields = parse::first(fixed, (reserved(12), u32(), ids, open, small));
        let Some(((), timeout, ids, open, small)) = fields else {
            let (wanted, had) = (clamp32(FORM.fixed_len()), clamp32(fixed.len()));
            return Err(RecordError::CutShort { form: FORM, wanted, had });
        };
        let (id, file, (directory, directory_key), key, (persistent, volatile), guid) = ids;
        let (state, access, sharing, options, share, epoch) = open;
        let (disposition, level, promise, need, present, due) = small;

        let undefined = |field, offset, value: u8| FORM.undefined(field, offset, value.into());
        let has = Present::from_bits(present)
            .ok_or_else(|| undefined(RecordField::Present, at::PRESENT, present))?;
        let due = Due::from_bits(due).ok_or_else(|| undefined(RecordField::Due, at::DUE, due))?;
        let level = match OplockLevel::from_wire(level) {
            OplockLevel::Undefined(_) => {
                return Err(undefined(RecordField::OplockLevel, at::LEVEL, level));
            }
            defined @ (OplockLevel::None
            | OplockLevel::II
            | OplockLevel::Exclusive
            | OplockLevel::Batch
            | OplockLevel::Lease) => defined,
        };
        let directory = if has.contains(Present::DIRECTORY) {
            Some((FileRef::new(directory), LeaseKey::new(directory_key)))
        } else {
            FORM.absent(directory, RecordField::Directory, at::DIRECTORY)?;
            FORM.absent(directory_key, RecordField::ParentLeaseKey, at::DIRECTORY_KEY)?;
            None
        };
        let guid = if has.contains(Present::GUID) {
            Some(CreateGuid::from_wire(guid))
        } else {
            FORM.absent(guid, RecordField::CreateGuid, at::GUID)?;
            None
        };
        if level != OplockLevel::Lease {
            FORM.absent(state, RecordField::LeaseState, at::LEASE_STATE)?;
        }
        let epoch = match (has.contains(Present::EPOCH), level) {
            (true, OplockLevel::Lease) => Some(Epoch::new(epoch)),
            (true, _) => return Err(undefined(RecordField::Present, at::PRESENT, present)),
            (false, _) => {
                FORM.absent(epoch, RecordField::Epoch, at::EPOCH)?;
                None
            }
        };
        Ok(Self {
            id,
            file: FileRef::new(file),
            key: LeaseKey::new(key),
            directory,
            file_id: FileId { persistent, volatile },
            promise: Promise::from_octet(promise, guid)
                .ok_or_else(|| undefined(RecordField::Promise, at::PROMISE, promise))?,
            timeout,
            level,
            state: LeaseState::from_bits_retain(state),
            epoch,
            access: Access::from_bits_retain(access),
            sharing: ShareMode::from_bits_retain(sharing),
            disposition: Disposition::from_wire(disposition.into())
                .ok_or_else(|| undefined(RecordField::CreateDisposition, at::DISPOSITION, disposition))?,
            options: CreateOptions::from_bits_retain(options),
            share: ShareFlags::from_bits_retain(share),
            need: Need::from_octet(need).ok_or_else(|| undefined(RecordField::Need, at::NEED, need))?,
            flush: due.contains(Due::FLUSH),
            purge: due.contains(Due::PURGE),
        })
    }

    /// As [`decode`](Self::decode), for the record that the store keeps under this `id`.
    ///
    /// # Errors
    ///
    /// As those; and [`RecordError::Foreign`] for a sound record of another open: it was stored in the wrong place.
    pub fn decode_as(id: u64, octets: &[u8]) -> Result<Self, RecordError> {
        <Self as Octets>::decode_as(id, octets)
    }

    /// The level, and the lease that goes with it.
    const fn held(&self) -> (OplockLevel, LeaseState, Option<Epoch>) {
        match self.level {
            OplockLevel::Lease => (OplockLevel::Lease, self.state, self.epoch),
            OplockLevel::Undefined(_) => (OplockLevel::None, LeaseState::NONE, None),
            level @ (OplockLevel::None | OplockLevel::II | OplockLevel::Exclusive | OplockLevel::Batch) => {
                (level, LeaseState::NONE, None)
            }
        }
    }
}

impl Octets for ClientRecord {
    const FORM: RecordForm = FORM;
    const NAME_AT: u32 = at::ID;

    fn name(&self) -> u64 {
        self.id
    }

    fn len(&self) -> usize {
        self.encoded_len()
    }

    fn append(&self, octets: &mut Vec<u8>) {
        let start = octets.len();
        let (level, state, epoch) = self.held();
        let guid = self.promise.guid();
        let mut present = Present::empty();
        present.set(Present::DIRECTORY, self.directory.is_some());
        present.set(Present::GUID, guid.is_some());
        present.set(Present::EPOCH, epoch.is_some());
        let mut due = Due::empty();
        due.set(Due::FLUSH, self.flush);
        due.set(Due::PURGE, self.purge);
        let (directory, directory_key) = self.directory.unwrap_or((FileRef::new(0), LeaseKey::ZERO));

        octets.put_slice(&FORM.head(self.encoded_len()));
        octets.put_u32_le(self.timeout);
        octets.put_u64_le(self.id);
        octets.put_u64_le(self.file.get());
        octets.put_u64_le(directory.get());
        octets.put_slice(&directory_key.octets());
        octets.put_slice(&self.key.octets());
        octets.put_u64_le(self.file_id.persistent);
        octets.put_u64_le(self.file_id.volatile);
        octets.put_slice(&guid.map_or([0; 16], CreateGuid::to_wire));
        octets.put_u32_le(state.bits());
        octets.put_u32_le(self.access.bits());
        octets.put_u32_le(self.sharing.bits());
        octets.put_u32_le(self.options.bits());
        octets.put_u32_le(self.share.bits());
        octets.put_u16_le(epoch.unwrap_or(Epoch::ZERO).get());
        octets.put_u8(super::record::narrow(self.disposition.to_wire()));
        octets.put_u8(level.to_wire());
        octets.put_u8(self.promise.octet());
        octets.put_u8(self.need.octet());
        octets.put_u8(present.bits());
        octets.put_u8(due.bits());
        put_checksum(octets, start);
    }

    fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        Self::decode(octets)
    }
}

bitflags! {
    #[derive(Clone, Copy)]
    struct Present: u8 {
        const DIRECTORY = 0x1;
        const GUID = 0x2;
        const EPOCH = 0x4;
    }

    #[derive(Clone, Copy)]
    struct Due: u8 {
        const FLUSH = 0x1;
        const PURGE = 0x2;
    }
}

const FORM: RecordForm = RecordForm::Client;

/// Where the fields lie that can be wrong.
mod at {
    pub(super) const ID: u32 = 16;
    pub(super) const DIRECTORY: u32 = 32;
    pub(super) const DIRECTORY_KEY: u32 = 40;
    pub(super) const GUID: u32 = 88;
    pub(super) const LEASE_STATE: u32 = 104;
    pub(super) const EPOCH: u32 = 124;
    pub(super) const DISPOSITION: u32 = 126;
    pub(super) const LEVEL: u32 = 127;
    pub(super) const PROMISE: u32 = 128;
    pub(super) const NEED: u32 = 129;
    pub(super) const PRESENT: u32 = 130;
    pub(super) const DUE: u32 = 131;
}

/// Level, state and epoch fit each other, as in every record that can be stored.
#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for ClientRecord {
    fn arbitrary(input: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut record = Self {
            id: input.arbitrary()?,
            file: input.arbitrary()?,
            key: input.arbitrary()?,
            directory: input.arbitrary()?,
            file_id: input.arbitrary()?,
            promise: input.arbitrary()?,
            timeout: input.arbitrary()?,
            level: input.arbitrary()?,
            state: input.arbitrary()?,
            epoch: input.arbitrary()?,
            access: input.arbitrary()?,
            sharing: input.arbitrary()?,
            disposition: input.arbitrary()?,
            options: input.arbitrary()?,
            share: input.arbitrary()?,
            need: input.arbitrary()?,
            flush: input.arbitrary()?,
            purge: input.arbitrary()?,
        };
        (record.level, record.state, record.epoch) = record.held();
        Ok(record)
    }
}
