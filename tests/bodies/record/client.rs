//! The record of a client.

use arbitrary::Unstructured;
use leasehold::client::FileRef;
use leasehold::persist::{ClientRecord, Need, Promise, RecordError, RecordField, RecordForm};
use leasehold::server::ShareFlags;
use leasehold::{
    Access, CreateGuid, CreateOptions, Disposition, Epoch, FileId, LeaseKey, LeaseState, OplockLevel,
    ShareMode,
};

use super::{Fault, Faults, Form, any, of_the_crate};

const LEVELS: [u8; 5] = [0, 1, 8, 9, LEASE];
const LEASE: u8 = 0xff;

impl Form for ClientRecord {
    const FORM: RecordForm = RecordForm::Client;
    const FIXED: usize = 132;

    of_the_crate!(ClientRecord);

    fn name(&self) -> u64 {
        self.id
    }

    /// The checksum lies where the fixed fields end.
    fn fault_of_length(_: &[u8], behind: usize) -> Option<Fault> {
        (behind != 0).then_some((RecordField::FixedLength, 6))
    }

    fn judge(octets: &[u8], _: usize, faults: &mut Faults<'_>) {
        let (level, promise, present) = (octets[127], octets[128], octets[130]);
        let (directory, guid, epoch) = (present & 1 != 0, present & 2 != 0, present & 4 != 0);
        faults.note(octets[126] > 5, RecordField::CreateDisposition, 126);
        faults.note(!LEVELS.contains(&level), RecordField::OplockLevel, 127);
        // DHnQ has no CreateGuid, DH2Q has one, and resiliency may.
        let promised = match promise {
            1 => !guid,
            2 | 3 => guid,
            4 => true,
            _ => false,
        };
        faults.note(!promised, RecordField::Promise, 128);
        faults.note(octets[129] > 2, RecordField::Need, 129);
        faults.note(present > 7 || epoch && level != LEASE, RecordField::Present, 130);
        faults.note(octets[131] > 3, RecordField::Due, 131);

        faults.note_absent(directory, RecordField::Directory, 32, 8);
        faults.note_absent(directory, RecordField::ParentLeaseKey, 40, 16);
        faults.note_absent(guid, RecordField::CreateGuid, 88, 16);
        faults.note_absent(level == LEASE, RecordField::LeaseState, 104, 4);
        faults.note_absent(epoch, RecordField::Epoch, 124, 2);
    }

    fn fit(octets: &mut [u8]) -> usize {
        for (at, bound) in [(126, 6), (128, 5), (129, 3), (130, 8), (131, 4)] {
            octets[at] %= bound;
        }
        octets[127] = LEVELS[usize::from(octets[127]) % LEVELS.len()];
        0
    }

    fn draw(input: &mut Unstructured<'_>) -> Self {
        let (present, kinds, level) = (any::<u8>(input), any::<u8>(input), any::<u8>(input));
        let guid = CreateGuid::from_wire(any(input));
        let promise = match kinds % 5 {
            0 => Promise::V1,
            1 => Promise::V2(guid),
            2 => Promise::Persistent(guid),
            3 => Promise::Resilient(None),
            _ => Promise::Resilient(Some(guid)),
        };
        let (key, file_id) = (LeaseKey::new(any(input)), FileId::new(any(input), any(input)));
        let mut record = Self::new(any(input), FileRef::new(any(input)), key, file_id, promise);
        record.directory = (present & 1 != 0).then(|| (FileRef::new(any(input)), LeaseKey::new(any(input))));
        record.flush = present & 2 != 0;
        record.purge = present & 4 != 0;
        record.need = [Need::Application, Need::WriteBack, Need::Nobody][usize::from(kinds / 5 % 3)];
        record.disposition = Disposition::from_wire(u32::from(kinds / 15 % 6)).unwrap();
        record.level = OplockLevel::from_wire(LEVELS[usize::from(level) % LEVELS.len()]);
        if record.level == OplockLevel::Lease {
            record.state = LeaseState::from_bits_retain(any(input));
            record.epoch = (present & 8 != 0).then(|| Epoch::new(any(input)));
        }
        record.timeout = any(input);
        record.access = Access::from_bits_retain(any(input));
        record.sharing = ShareMode::from_bits_retain(any(input));
        record.options = CreateOptions::from_bits_retain(any(input));
        record.share = ShareFlags::from_bits_retain(any(input));
        record
    }
}
