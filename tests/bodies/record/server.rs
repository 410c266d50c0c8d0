//! The record of a server: MS-SMB2 3.3.1.10.

use arbitrary::Unstructured;
use leasehold::persist::{LockRecord, Record, RecordError, RecordField, RecordForm};
use leasehold::server::{AppInstance, LockSequence, ObjectKind};
use leasehold::wire::{AppInstanceId, AppInstanceVersion, Lease, LeaseFlags, LeaseV1, LeaseV2};
use leasehold::{
    Access, ClientGuid, CreateAction, CreateGuid, CreateOptions, Disposition, Epoch, FileKey, LeaseKey,
    LeaseState, OplockLevel, ShareMode, UserId,
};
use uuid::Uuid;

use super::{Fault, Faults, Form, any, le32, of_the_crate};

const LOCK: usize = 17;
const SEQUENCE: usize = 4;

impl Form for Record {
    const FORM: RecordForm = RecordForm::Plain;
    const FIXED: usize = 236;

    of_the_crate!(Record);

    fn name(&self) -> u64 {
        self.persistent
    }

    fn fault_of_length(octets: &[u8], behind: usize) -> Option<Fault> {
        let (locks, sequences) = (u64::from(le32(octets, 12)), u64::from(octets[235]));
        (locks * 17 + sequences * 4 != behind as u64).then_some((RecordField::LockCount, 12))
    }

    fn judge(octets: &[u8], fixed: usize, faults: &mut Faults<'_>) {
        let (locks, sequences) = octets[fixed..].split_at(le32(octets, 12) as usize * LOCK);
        for i in 0..locks.len() / LOCK {
            let at = fixed + i * LOCK + 16;
            faults.note(octets[at] > 1, RecordField::Exclusive, at);
        }
        let mut before = 0;
        for i in 0..sequences.len() / SEQUENCE {
            let index = le32(sequences, i * SEQUENCE) / 16;
            let at = fixed + locks.len() + i * SEQUENCE;
            faults.note(index > 64 || index <= before, RecordField::LockSequence, at);
            before = index;
        }

        let (level, version, present, state) = (octets[231], octets[232], octets[233], octets[234]);
        faults.note(octets[228] > 5, RecordField::CreateDisposition, 228);
        faults.note(octets[229] > 3, RecordField::CreateAction, 229);
        faults.note(octets[230] > 1, RecordField::Kind, 230);
        let levels: &[u8] = if version == 0 { &[0, 1, 8, 9] } else { &[0xff] };
        faults.note(!levels.contains(&level), RecordField::OplockLevel, 231);
        faults.note(version > 2, RecordField::LeaseVersion, 232);
        faults.note(present > 0x1f || present & 0xc == 8, RecordField::Present, 233);
        faults.note(state > 7, RecordField::State, 234);

        faults.note_absent(present & 1 != 0, RecordField::Directory, 48, 16);
        faults.note_absent(present & 2 != 0, RecordField::Parent, 64, 16);
        faults.note_absent(present & 4 != 0, RecordField::AppInstanceId, 128, 16);
        faults.note_absent(present & 8 != 0, RecordField::AppInstanceVersionHigh, 144, 8);
        faults.note_absent(present & 8 != 0, RecordField::AppInstanceVersionLow, 152, 8);
        let parent = version == 2 && le32(octets, 196) & 4 != 0;
        faults.note_absent(version != 0, RecordField::LeaseKey, 160, 16);
        faults.note_absent(parent, RecordField::ParentLeaseKey, 176, 16);
        faults.note_absent(version != 0, RecordField::LeaseState, 192, 4);
        faults.note_absent(version != 0, RecordField::LeaseFlags, 196, 4);
        faults.note_absent(present & 16 != 0, RecordField::Told, 200, 4);
        faults.note_absent(version == 2, RecordField::Epoch, 224, 2);
    }

    fn fit(octets: &mut [u8]) -> usize {
        let (locks, sequences) = (octets[12] % 4, octets[235] % 4);
        octets[12..16].copy_from_slice(&u32::from(locks).to_le_bytes());
        octets[235] = sequences;
        for (at, bound) in [(228, 6), (229, 4), (230, 2), (232, 3), (233, 32), (234, 8)] {
            octets[at] %= bound;
        }
        octets[231] = if octets[232] == 0 { [0, 1, 8, 9][usize::from(octets[231] % 4)] } else { 0xff };
        usize::from(locks) * LOCK + usize::from(sequences) * SEQUENCE
    }

    fn draw(input: &mut Unstructured<'_>) -> Self {
        let key = |input: &mut Unstructured<'_>| LeaseKey::new(any(input));
        let ids = (any(input), FileKey::new(any(input)), ClientGuid::from_wire(any(input)));
        let (owner, create_guid) = (UserId::new(any(input)), CreateGuid::from_wire(any(input)));
        let mut record = Record::new(ids.0, ids.1, ids.2, owner, create_guid);
        record.written = any(input);
        let (present, kinds, level) = (any::<u8>(input), any::<u8>(input), any::<u8>(input));
        record.told = (level & 16 != 0).then(|| LeaseState::from_bits_retain(any(input)));
        record.directory = (present & 1 != 0).then(|| FileKey::new(any(input)));
        record.parent = (present & 2 != 0).then(|| key(input));
        record.instance = (present & 4 != 0).then(|| AppInstance {
            id: AppInstanceId { id: Uuid::from_bytes(any(input)) },
            version: (present & 8 != 0).then(|| AppInstanceVersion { high: any(input), low: any(input) }),
        });
        record.connected = present & 16 != 0;
        record.goes = present & 32 != 0;
        record.relaxed = present & 64 != 0;
        record.kind = if present & 128 != 0 { ObjectKind::Directory } else { ObjectKind::File };
        record.desired = Access::from_bits_retain(any(input));
        record.granted = Access::from_bits_retain(any(input));
        record.sharing = ShareMode::from_bits_retain(any(input));
        record.options = CreateOptions::from_bits_retain(any(input));
        record.disposition = Disposition::from_wire(u32::from(kinds % 6)).unwrap();
        record.action = CreateAction::from_wire(u32::from(kinds / 6 % 4)).unwrap();
        record.timeout = any(input);
        record.channel_sequence = any(input);
        let state = LeaseState::from_bits_retain(any(input));
        let flags = LeaseFlags::from_bits_retain(any(input));
        record.level = OplockLevel::Lease;
        match level % 8 {
            6 => record.lease = Some(Lease::V1(LeaseV1 { key: key(input), state, flags })),
            7 => {
                let parent = (level & 8 != 0).then(|| key(input));
                let flags = flags.difference(LeaseFlags::PARENT_LEASE_KEY_SET);
                let epoch = Epoch::new(any(input));
                record.lease = Some(Lease::V2(LeaseV2 { key: key(input), state, flags, parent, epoch }));
            }
            other => record.level = OplockLevel::from_wire([0, 1, 8, 9][usize::from(other % 4)]),
        }
        for _ in 0..any::<u8>(input) % 8 {
            let field = u32::from(any::<u16>(input)) % 1024 + 16;
            record.sequences.done(LockSequence::from_wire(field).unwrap());
        }
        while !input.is_empty() {
            let (offset, len) = (any(input), any(input));
            record.locks.push(LockRecord { offset, len, exclusive: any(input) });
        }
        record
    }
}
