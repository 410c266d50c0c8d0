//! Records as octets.

use alloc::vec::Vec;

use bitflags::bitflags;
use bytes::BufMut;
use uuid::Uuid;

use super::error::{RecordError, RecordField, RecordForm};
use super::head::{Envelope, put_checksum};
use super::{LockRecord, Octets, Record};
use crate::server::{AppInstance, LockSequence, LockSequences, ObjectKind};
use crate::state::{Access, CreateAction, CreateOptions, Disposition, LeaseState, OplockLevel, ShareMode};
use crate::types::{ClientGuid, CreateGuid, Epoch, FileKey, LeaseKey, UserId};
use crate::wire::parse::{self, clamp32, octet, octets16, reserved, u16, u32, u64};
use crate::wire::{AppInstanceId, AppInstanceVersion, Lease, LeaseFlags, LeaseV1, LeaseV2};

/// # The octets of a record
///
/// Version 1.0. All integers are little-endian; identifiers and keys are as they are on the wire. There are no reserved octets.
///
/// | offset | size | field                                                                                              |
/// |-------:|-----:|----------------------------------------------------------------------------------------------------|
/// |      0 |    4 | Magic: F5 4C 48 50                                                                                 |
/// |      4 |    2 | Version: minor 0, major 1                                                                          |
/// |      6 |    2 | FixedLength, 236: where the locks begin                                                            |
/// |      8 |    4 | Length of all of it, the checksum included                                                         |
/// |     12 |    4 | LockCount                                                                                          |
/// |     16 |    8 | [`persistent`](Self::persistent)                                                                   |
/// |     24 |    8 | [`written`](Self::written)                                                                         |
/// |     32 |   16 | [`file`](Self::file)                                                                               |
/// |     48 |   16 | [`directory`](Self::directory), if it is present                                                   |
/// |     64 |   16 | [`parent`](Self::parent), if it is present                                                         |
/// |     80 |   16 | [`client`](Self::client)                                                                           |
/// |     96 |   16 | [`owner`](Self::owner)                                                                             |
/// |    112 |   16 | [`create_guid`](Self::create_guid)                                                                 |
/// |    128 |   16 | AppInstanceId of the [`instance`](Self::instance), if it is present                                |
/// |    144 |    8 | its AppInstanceVersionHigh, if it is present                                                       |
/// |    152 |    8 | its AppInstanceVersionLow, likewise                                                                |
/// |    160 |   16 | LeaseKey of the [`lease`](Self::lease), if there is one                                            |
/// |    176 |   16 | its ParentLeaseKey, if it is of version 2 and LeaseFlags has 0x4                                   |
/// |    192 |    4 | its LeaseState                                                                                     |
/// |    196 |    4 | its LeaseFlags, as they would be on the wire                                                       |
/// |    200 |    4 | [`told`](Self::told), if it is present                                                             |
/// |    204 |    4 | [`desired`](Self::desired)                                                                         |
/// |    208 |    4 | [`granted`](Self::granted)                                                                         |
/// |    212 |    4 | [`sharing`](Self::sharing)                                                                         |
/// |    216 |    4 | [`options`](Self::options)                                                                         |
/// |    220 |    4 | [`timeout`](Self::timeout)                                                                         |
/// |    224 |    2 | Epoch of the lease, if it is of version 2                                                          |
/// |    226 |    2 | [`channel_sequence`](Self::channel_sequence)                                                       |
/// |    228 |    1 | [`disposition`](Self::disposition), as on the wire                                                 |
/// |    229 |    1 | [`action`](Self::action), as on the wire                                                           |
/// |    230 |    1 | [`kind`](Self::kind): 0 file, 1 directory                                                          |
/// |    231 |    1 | [`level`](Self::level), as on the wire; 0xFF if and only if there is a lease                       |
/// |    232 |    1 | Version of the lease, 1 or 2; 0 if there is none                                                   |
/// |    233 |    1 | Present: 0x1 directory, 0x2 parent, 0x4 instance, 0x8 version of the instance, 0x10 told           |
/// |    234 |    1 | State: 0x1 [`connected`](Self::connected), 0x2 [`goes`](Self::goes), 0x4 [`relaxed`](Self::relaxed) |
/// |    235 |    1 | how many lock sequences there are                                                                  |
/// |        |      | what a later minor version adds; skipped                                                           |
/// |        |   17 | each of the [`locks`](Self::locks): Offset (8), Length (8), 1 if it is exclusive, else 0           |
/// |        |    4 | each of the [`sequences`](Self::sequences) that is in use, as on the wire, by index                |
/// |        |    4 | Checksum: CRC-32 (that of Ethernet, PNG and zlib) of everything before it                          |
///
/// Fields that are not present are zero. So there is one form for each record, and any octets that can be decoded and are of
/// version 1.0 are the ones that [`encode`](Self::encode) writes.
impl Record {
    /// As octets. They fit the allocation, which is the only one.
    ///
    /// Of a `lease` and a `level` that contradict each other the lease counts, and a level that cannot be held is NONE. More than
    /// 252 million locks make octets that cannot be decoded.
    pub fn encode(&self) -> Vec<u8> {
        self.octets()
    }

    /// How many octets [`encode`](Self::encode) makes.
    pub fn encoded_len(&self) -> usize {
        let locks = self.locks.len().saturating_mul(LOCK_LEN);
        let sequences = self.sequences.known().count().saturating_mul(SEQUENCE_LEN);
        let ends = RecordForm::Plain.fixed_len().saturating_add(RecordForm::Plain.tail_len());
        ends.saturating_add(locks).saturating_add(sequences)
    }

    /// From octets: exactly those of one record.
    ///
    /// What a later minor version added is not looked at, and lost when the record is encoded again.
    ///
    /// # Errors
    ///
    /// What is wrong with them. Octets of which some are missing, or of which one bit is another, are never a record.
    pub fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        let envelope = Envelope::open(RecordForm::Plain, octets)?;
        envelope.check()?;
        let (fixed, body) = envelope.parts()?;
        let Some(fields) = Fields::parse(fixed) else {
            let (wanted, had) = (clamp32(RecordForm::Plain.fixed_len()), clamp32(fixed.len()));
            return Err(RecordError::CutShort { form: RecordForm::Plain, wanted, had });
        };
        let (locks, sequences) = fields.body(body)?;
        let locks = decode_locks(locks, fixed.len())?;
        let sequences = decode_sequences(sequences, envelope.guarded.len())?;
        fields.record(locks, sequences)
    }

    /// As [`decode`](Self::decode), for the record that the store keeps for this FileId.Persistent.
    ///
    /// # Errors
    ///
    /// As those; and [`RecordError::Foreign`] for a sound record of another open: it was stored in the wrong place.
    pub fn decode_as(persistent: u64, octets: &[u8]) -> Result<Self, RecordError> {
        <Self as Octets>::decode_as(persistent, octets)
    }

    /// The level that goes with the lease.
    const fn held_level(&self) -> OplockLevel {
        match (&self.lease, self.level) {
            (Some(_), _) => OplockLevel::Lease,
            (None, OplockLevel::Lease | OplockLevel::Undefined(_)) => OplockLevel::None,
            (
                None,
                level @ (OplockLevel::None | OplockLevel::II | OplockLevel::Exclusive | OplockLevel::Batch),
            ) => level,
        }
    }
}

impl Octets for Record {
    const FORM: RecordForm = RecordForm::Plain;
    const NAME_AT: u32 = at::PERSISTENT;

    fn name(&self) -> u64 {
        self.persistent
    }

    fn len(&self) -> usize {
        self.encoded_len()
    }

    fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        Self::decode(octets)
    }

    fn append(&self, octets: &mut Vec<u8>) {
        let start = octets.len();
        octets.put_slice(&RecordForm::Plain.head(self.encoded_len()));
        octets.put_u32_le(clamp32(self.locks.len()));

        let mut present = Present::empty();
        present.set(Present::DIRECTORY, self.directory.is_some());
        present.set(Present::PARENT, self.parent.is_some());
        present.set(Present::INSTANCE, self.instance.is_some());
        let version = self.instance.and_then(|instance| instance.version);
        present.set(Present::INSTANCE_VERSION, version.is_some());
        present.set(Present::TOLD, self.told.is_some());
        let mut state = State::empty();
        state.set(State::CONNECTED, self.connected);
        state.set(State::GOES, self.goes);
        state.set(State::RELAXED, self.relaxed);

        octets.put_u64_le(self.persistent);
        octets.put_u64_le(self.written);
        octets.put_slice(&self.file.get().to_le_bytes());
        octets.put_slice(&self.directory.map_or(0, FileKey::get).to_le_bytes());
        octets.put_slice(&self.parent.unwrap_or(LeaseKey::ZERO).octets());
        octets.put_slice(&self.client.to_wire());
        octets.put_slice(&self.owner.octets());
        octets.put_slice(&self.create_guid.to_wire());
        octets.put_slice(&self.instance.map_or(Uuid::nil(), |instance| instance.id.id).to_bytes_le());
        octets.put_u64_le(version.map_or(0, |version| version.high));
        octets.put_u64_le(version.map_or(0, |version| version.low));
        let lease = LeaseFields::of(self.lease);
        octets.put_slice(&lease.key);
        octets.put_slice(&lease.parent);
        octets.put_u32_le(lease.state);
        octets.put_u32_le(lease.flags.bits());
        octets.put_u32_le(self.told.map_or(0, |told| told.bits()));
        octets.put_u32_le(self.desired.bits());
        octets.put_u32_le(self.granted.bits());
        octets.put_u32_le(self.sharing.bits());
        octets.put_u32_le(self.options.bits());
        octets.put_u32_le(self.timeout);
        octets.put_u16_le(lease.epoch);
        octets.put_u16_le(self.channel_sequence);
        octets.put_u8(narrow(self.disposition.to_wire()));
        octets.put_u8(narrow(self.action.to_wire()));
        octets.put_u8(match self.kind {
            ObjectKind::File => 0,
            ObjectKind::Directory => 1,
        });
        octets.put_u8(self.held_level().to_wire());
        octets.put_u8(lease.version);
        octets.put_u8(present.bits());
        octets.put_u8(state.bits());
        octets.put_u8(self.sequences.known().map(|_| 1).sum());

        for lock in &self.locks {
            octets.put_u64_le(lock.offset);
            octets.put_u64_le(lock.len);
            octets.put_u8(lock.exclusive.into());
        }
        for sequence in self.sequences.known() {
            octets.put_u32_le(sequence.to_wire());
        }
        put_checksum(octets, start);
    }
}

/// The fixed fields as they stand there.
struct Fields {
    lock_count: u32,
    persistent: u64,
    written: u64,
    file: [u8; 16],
    directory: [u8; 16],
    parent: [u8; 16],
    client: [u8; 16],
    owner: [u8; 16],
    create_guid: [u8; 16],
    instance: [u8; 16],
    instance_version: (u64, u64),
    lease: LeaseFields,
    told: u32,
    desired: u32,
    granted: u32,
    sharing: u32,
    options: u32,
    timeout: u32,
    channel_sequence: u16,
    disposition: u8,
    action: u8,
    kind: u8,
    level: u8,
    present: u8,
    state: u8,
    sequence_count: u8,
}

impl Fields {
    fn parse(octets: &[u8]) -> Option<Self> {
        let ids = (u64(), u64(), octets16(), octets16(), octets16(), octets16(), octets16(), octets16());
        let instance = (octets16(), u64(), u64());
        let lease = (octets16(), octets16(), u32(), u32(), u32());
        let open = (u32(), u32(), u32(), u32(), u32(), u16(), u16());
        let small = (octet(), octet(), octet(), octet(), octet(), octet(), octet(), octet());
        let fields = (reserved(12), u32(), ids, instance, lease, open, small);
        let ((), lock_count, ids, instance, lease, open, small) = parse::first(octets, fields)?;

        let (persistent, written, file, directory, parent, client, owner, create_guid) = ids;
        let (instance, high, low) = instance;
        let (key, lease_parent, lease_state, flags, told) = lease;
        let (desired, granted, sharing, options, timeout, epoch, channel_sequence) = open;
        let (disposition, action, kind, level, version, present, state, sequence_count) = small;
        let flags = LeaseFlags::from_bits_retain(flags);
        let lease = LeaseFields { version, key, parent: lease_parent, state: lease_state, flags, epoch };
        Some(Self {
            lock_count,
            persistent,
            written,
            file,
            directory,
            parent,
            client,
            owner,
            create_guid,
            instance,
            instance_version: (high, low),
            lease,
            told,
            desired,
            granted,
            sharing,
            options,
            timeout,
            channel_sequence,
            disposition,
            action,
            kind,
            level,
            present,
            state,
            sequence_count,
        })
    }

    /// Where locks and lock sequences lie. The octets that are there bound them.
    fn body<'a>(&self, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), RecordError> {
        let locks = usize::try_from(self.lock_count).ok().and_then(|count| count.checked_mul(LOCK_LEN));
        let sequences = usize::from(self.sequence_count).saturating_mul(SEQUENCE_LEN);
        locks
            .and_then(|locks| body.split_at_checked(locks))
            .filter(|(_, rest)| rest.len() == sequences)
            .ok_or_else(|| undefined(RecordField::LockCount, at::LOCK_COUNT, self.lock_count.into()))
    }

    fn record(&self, locks: Vec<LockRecord>, sequences: LockSequences) -> Result<Record, RecordError> {
        let disposition = Disposition::from_wire(self.disposition.into()).ok_or_else(|| {
            undefined(RecordField::CreateDisposition, at::DISPOSITION, self.disposition.into())
        })?;
        let action = CreateAction::from_wire(self.action.into())
            .ok_or_else(|| undefined(RecordField::CreateAction, at::ACTION, self.action.into()))?;
        let kind = match self.kind {
            0 => ObjectKind::File,
            1 => ObjectKind::Directory,
            other => return Err(undefined(RecordField::Kind, at::KIND, other.into())),
        };
        let lease = self.lease.lease()?;
        let level = OplockLevel::from_wire(self.level);
        let lawful = match level {
            OplockLevel::None | OplockLevel::II | OplockLevel::Exclusive | OplockLevel::Batch => {
                lease.is_none()
            }
            OplockLevel::Lease => lease.is_some(),
            OplockLevel::Undefined(_) => false,
        };
        if !lawful {
            return Err(undefined(RecordField::OplockLevel, at::LEVEL, self.level.into()));
        }
        let present = Present::from_bits(self.present)
            .filter(|present| {
                present.contains(Present::INSTANCE) || !present.contains(Present::INSTANCE_VERSION)
            })
            .ok_or_else(|| undefined(RecordField::Present, at::PRESENT, self.present.into()))?;
        let state = State::from_bits(self.state)
            .ok_or_else(|| undefined(RecordField::State, at::STATE, self.state.into()))?;

        let has = |which, value, field, offset| {
            if present.contains(which) {
                return Ok(Some(value));
            }
            absent(value, field, offset).map(|()| None)
        };
        let directory = has(Present::DIRECTORY, self.directory, RecordField::Directory, at::DIRECTORY)?;
        let parent = has(Present::PARENT, self.parent, RecordField::Parent, at::PARENT)?;
        let instance = has(Present::INSTANCE, self.instance, RecordField::AppInstanceId, at::INSTANCE)?;
        let (high, low) = self.instance_version;
        let version = if present.contains(Present::INSTANCE_VERSION) {
            Some(AppInstanceVersion { high, low })
        } else {
            absent(high, RecordField::AppInstanceVersionHigh, at::INSTANCE_HIGH)?;
            absent(low, RecordField::AppInstanceVersionLow, at::INSTANCE_LOW)?;
            None
        };
        let instance =
            instance.map(|id| AppInstance { id: AppInstanceId { id: Uuid::from_bytes_le(id) }, version });
        let told = if present.contains(Present::TOLD) {
            Some(LeaseState::from_bits_retain(self.told))
        } else {
            absent(self.told, RecordField::Told, at::TOLD)?;
            None
        };

        let file_key = |octets| FileKey::new(u128::from_le_bytes(octets));
        Ok(Record {
            persistent: self.persistent,
            written: self.written,
            file: file_key(self.file),
            directory: directory.map(file_key),
            parent: parent.map(LeaseKey::new),
            client: ClientGuid::from_wire(self.client),
            owner: UserId::new(self.owner),
            create_guid: CreateGuid::from_wire(self.create_guid),
            instance,
            desired: Access::from_bits_retain(self.desired),
            granted: Access::from_bits_retain(self.granted),
            sharing: ShareMode::from_bits_retain(self.sharing),
            disposition,
            options: CreateOptions::from_bits_retain(self.options),
            action,
            kind,
            timeout: self.timeout,
            channel_sequence: self.channel_sequence,
            connected: state.contains(State::CONNECTED),
            goes: state.contains(State::GOES),
            level,
            lease,
            told,
            relaxed: state.contains(State::RELAXED),
            locks,
            sequences,
        })
    }
}

/// A lease of either version, or none: the fields that are not there are zero.
struct LeaseFields {
    version: u8,
    key: [u8; 16],
    parent: [u8; 16],
    state: u32,
    flags: LeaseFlags,
    epoch: u16,
}

impl LeaseFields {
    fn of(lease: Option<Lease>) -> Self {
        let Some(lease) = lease else {
            let none = LeaseKey::ZERO.octets();
            return Self {
                version: 0,
                key: none,
                parent: none,
                state: 0,
                flags: LeaseFlags::empty(),
                epoch: 0,
            };
        };
        // MS-SMB2 2.2.14.2.11: ParentLeaseKey is valid if the flag is there; version 1 has neither.
        let (version, flags) = match lease {
            Lease::V1(lease) => (1, lease.flags),
            Lease::V2(LeaseV2 { flags, parent: Some(_), .. }) => {
                (2, flags.union(LeaseFlags::PARENT_LEASE_KEY_SET))
            }
            Lease::V2(LeaseV2 { flags, parent: None, .. }) => {
                (2, flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET))
            }
        };
        Self {
            version,
            key: lease.key().octets(),
            parent: lease.parent().unwrap_or(LeaseKey::ZERO).octets(),
            state: lease.state().bits(),
            flags,
            epoch: lease.epoch().unwrap_or(Epoch::ZERO).get(),
        }
    }

    fn lease(&self) -> Result<Option<Lease>, RecordError> {
        let (key, state) = (LeaseKey::new(self.key), LeaseState::from_bits_retain(self.state));
        let no_parent = || absent(self.parent, RecordField::ParentLeaseKey, at::LEASE_PARENT);
        let no_epoch = || absent(self.epoch, RecordField::Epoch, at::EPOCH);
        match self.version {
            0 => {
                absent(self.key, RecordField::LeaseKey, at::LEASE_KEY)?;
                no_parent()?;
                absent(self.state, RecordField::LeaseState, at::LEASE_STATE)?;
                absent(self.flags.bits(), RecordField::LeaseFlags, at::LEASE_FLAGS)?;
                no_epoch()?;
                Ok(None)
            }
            1 => {
                no_parent()?;
                no_epoch()?;
                Ok(Some(Lease::V1(LeaseV1 { key, state, flags: self.flags })))
            }
            2 => {
                let parent = if self.flags.contains(LeaseFlags::PARENT_LEASE_KEY_SET) {
                    Some(LeaseKey::new(self.parent))
                } else {
                    no_parent()?;
                    None
                };
                let flags = self.flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET);
                Ok(Some(Lease::V2(LeaseV2 { key, state, flags, parent, epoch: Epoch::new(self.epoch) })))
            }
            other => Err(undefined(RecordField::LeaseVersion, at::LEASE_VERSION, other.into())),
        }
    }
}

/// `start` is where they lie.
fn decode_locks(octets: &[u8], start: usize) -> Result<Vec<LockRecord>, RecordError> {
    let offsets = (clamp32(start)..).step_by(LOCK_LEN);
    let lock = |(octets, start): (&[u8], u32)| {
        let (offset, len, exclusive) = parse::first(octets, (u64(), u64(), octet()))?;
        Some(match exclusive {
            0 => Ok(LockRecord { offset, len, exclusive: false }),
            1 => Ok(LockRecord { offset, len, exclusive: true }),
            other => Err(undefined(RecordField::Exclusive, start.saturating_add(16), other.into())),
        })
    };
    octets.chunks_exact(LOCK_LEN).zip(offsets).filter_map(lock).collect()
}

/// `end` is where they end.
fn decode_sequences(octets: &[u8], end: usize) -> Result<LockSequences, RecordError> {
    let start = clamp32(end.saturating_sub(octets.len()));
    let mut sequences = LockSequences::default();
    let mut above = 0;
    for (octets, offset) in octets.chunks_exact(SEQUENCE_LEN).zip((start..).step_by(SEQUENCE_LEN)) {
        let field = parse::first(octets, u32()).unwrap_or_default();
        let sequence = LockSequence::from_wire(field).filter(|_| field >> 4 > above);
        let Some(sequence) = sequence else {
            return Err(undefined(RecordField::LockSequence, offset, field.into()));
        };
        above = field >> 4;
        sequences.done(sequence);
    }
    Ok(sequences)
}

/// A field that is not there has to be zero.
fn absent<T: Default + PartialEq>(value: T, field: RecordField, offset: u32) -> Result<(), RecordError> {
    RecordForm::Plain.absent(value, field, offset)
}

const fn undefined(field: RecordField, offset: u32, value: u64) -> RecordError {
    RecordForm::Plain.undefined(field, offset, value)
}

/// A value of the wire that is known to be small.
pub(super) fn narrow(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

bitflags! {
    #[derive(Clone, Copy)]
    struct Present: u8 {
        const DIRECTORY = 0x1;
        const PARENT = 0x2;
        const INSTANCE = 0x4;
        const INSTANCE_VERSION = 0x8;
        const TOLD = 0x10;
    }

    #[derive(Clone, Copy)]
    struct State: u8 {
        const CONNECTED = 0x1;
        const GOES = 0x2;
        const RELAXED = 0x4;
    }
}

/// Where the fields lie that can be wrong.
mod at {
    pub(super) const LOCK_COUNT: u32 = 12;
    pub(super) const PERSISTENT: u32 = 16;
    pub(super) const DIRECTORY: u32 = 48;
    pub(super) const PARENT: u32 = 64;
    pub(super) const INSTANCE: u32 = 128;
    pub(super) const INSTANCE_HIGH: u32 = 144;
    pub(super) const INSTANCE_LOW: u32 = 152;
    pub(super) const LEASE_KEY: u32 = 160;
    pub(super) const LEASE_PARENT: u32 = 176;
    pub(super) const LEASE_STATE: u32 = 192;
    pub(super) const LEASE_FLAGS: u32 = 196;
    pub(super) const TOLD: u32 = 200;
    pub(super) const EPOCH: u32 = 224;
    pub(super) const DISPOSITION: u32 = 228;
    pub(super) const ACTION: u32 = 229;
    pub(super) const KIND: u32 = 230;
    pub(super) const LEVEL: u32 = 231;
    pub(super) const LEASE_VERSION: u32 = 232;
    pub(super) const PRESENT: u32 = 233;
    pub(super) const STATE: u32 = 234;
}

const LOCK_LEN: usize = 17;
const SEQUENCE_LEN: usize = 4;

/// Level and lease fit each other, as in every record that can be stored.
#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Record {
    fn arbitrary(input: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut record = Self {
            persistent: input.arbitrary()?,
            written: input.arbitrary()?,
            file: input.arbitrary()?,
            directory: input.arbitrary()?,
            parent: input.arbitrary()?,
            client: input.arbitrary()?,
            owner: input.arbitrary()?,
            create_guid: input.arbitrary()?,
            instance: input.arbitrary()?,
            desired: input.arbitrary()?,
            granted: input.arbitrary()?,
            sharing: input.arbitrary()?,
            disposition: input.arbitrary()?,
            options: input.arbitrary()?,
            action: input.arbitrary()?,
            kind: input.arbitrary()?,
            timeout: input.arbitrary()?,
            channel_sequence: input.arbitrary()?,
            connected: input.arbitrary()?,
            goes: input.arbitrary()?,
            level: input.arbitrary()?,
            lease: input.arbitrary()?,
            told: input.arbitrary()?,
            relaxed: input.arbitrary()?,
            locks: input.arbitrary()?,
            sequences: input.arbitrary()?,
        };
        record.level = record.held_level();
        Ok(record)
    }
}
