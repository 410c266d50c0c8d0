//! The formats of MS-SMB2 a second time, written from the specification and without a look at the decoders.
//!
//! What the bodies compare with. Plain and slow: offsets are literals, lengths are added in 64 bits.

use std::fmt::Debug;
use std::ops::Range;

use arbitrary::{Arbitrary, Unstructured};
use leasehold::wire::{
    AppInstanceId, AppInstanceVersion, BreakFlags, Command, DecodeError, DecodeErrorKind, DurableFlags,
    DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequest, DurableHandleRequestV2,
    DurableHandleResponse, DurableHandleResponseV2, Field, Fixed, Header, HeaderFlags, LeaseAck, LeaseBreak,
    LeaseFlags, LeaseV1, LeaseV2, OplockBreak, ResiliencyRequest, Route, Structure,
};
use leasehold::{CreateGuid, Epoch, FileId, LeaseKey, LeaseState, OplockLevel, SessionId, Status, TreeId};
use uuid::Uuid;

/// The names of our contexts, as octets (MS-SMB2 2.2.13.2).
pub const DHNQ: &[u8] = &[0x44, 0x48, 0x6e, 0x51];
pub const DHNC: &[u8] = &[0x44, 0x48, 0x6e, 0x43];
pub const DH2Q: &[u8] = &[0x44, 0x48, 0x32, 0x51];
pub const DH2C: &[u8] = &[0x44, 0x48, 0x32, 0x43];
pub const RQLS: &[u8] = &[0x52, 0x71, 0x4c, 0x73];
pub const APP_INSTANCE_ID: &[u8] =
    &[0x45, 0xbc, 0xa6, 0x6a, 0xef, 0xa7, 0xf7, 0x4a, 0x90, 0x08, 0xfa, 0x46, 0x2e, 0x14, 0x4d, 0x74];
pub const APP_INSTANCE_VERSION: &[u8] =
    &[0xb9, 0x82, 0xd0, 0xb7, 0x3b, 0x56, 0x07, 0x4f, 0xa0, 0x7b, 0x52, 0x4a, 0x81, 0x16, 0xa0, 0x10];

/// What a decoder said about octets: structure, field, offset, kind.
pub type Refusal = (Structure, Field, usize, DecodeErrorKind);

/// An error as a value that can be compared with one written down here.
pub fn refusal(error: DecodeError) -> Refusal {
    (error.structure(), error.field(), error.offset(), error.kind())
}

/// A value of a type that any octets make; zero when they run out. Integers are little-endian.
pub fn any<T: for<'a> Arbitrary<'a> + Default>(input: &mut Unstructured<'_>) -> T {
    input.arbitrary().unwrap_or_default()
}

pub fn le16(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(octets[at..at + 2].try_into().unwrap())
}

pub fn le32(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(octets[at..at + 4].try_into().unwrap())
}

pub fn le64(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(octets[at..at + 8].try_into().unwrap())
}

/// What MS-SMB2 says about a structure of fixed size.
pub trait Body: Fixed + Copy + Debug + PartialEq {
    /// Its size.
    const OCTETS: usize;
    /// The fields that have one lawful content, in the order of their offsets.
    const CONSTANTS: &'static [(Field, usize, &'static [u8])];
    /// The octets that are ignored on input and zero on output.
    const RESERVED: &'static [Range<usize>];

    /// A value made of octets, which are taken in the order of the fields.
    fn draw(input: &mut Unstructured<'_>) -> Self;

    /// Writes the constants into [`OCTETS`](Self::OCTETS) octets.
    fn make_lawful(octets: &mut [u8]) {
        for (_, at, content) in Self::CONSTANTS {
            octets[*at..*at + content.len()].copy_from_slice(content);
        }
    }

    /// What an encoder would have sent in place of these octets, which are lawful.
    fn make_canonical(octets: &mut [u8]) {
        Self::make_lawful(octets);
        for reserved in Self::RESERVED {
            octets[reserved.clone()].fill(0);
        }
    }

    /// Why these octets are not lawful, if they are not.
    fn fault(octets: &[u8]) -> Option<Refusal> {
        let wrong = |field, at, kind| Some((Self::STRUCTURE, field, at, kind));
        if octets.len() != Self::OCTETS {
            return wrong(Field::Whole, 0, wrong_length(octets.len(), Self::OCTETS));
        }
        let (field, at, content) =
            Self::CONSTANTS.iter().find(|(_, at, content)| octets[*at..*at + content.len()] != **content)?;
        if *field == Field::StructureSize {
            let found = u32::from(le16(octets, *at));
            wrong(*field, *at, DecodeErrorKind::Value { found, expected: le16(content, 0) })
        } else {
            wrong(*field, *at, DecodeErrorKind::Mismatch)
        }
    }
}

/// A body is there whole or not at all.
pub fn wrong_length(actual: usize, expected: usize) -> DecodeErrorKind {
    DecodeErrorKind::Length { actual: actual as u32, expected: expected as u16 }
}

macro_rules! bodies {
    ($($body:ident { $octets:literal, [$($constant:expr),*], [$($reserved:expr),*], $draw:expr })*) => {$(
        impl Body for $body {
            const OCTETS: usize = $octets;
            const CONSTANTS: &'static [(Field, usize, &'static [u8])] = &[$($constant),*];
            #[allow(clippy::single_range_in_vec_init, reason = "a list of ranges, some of one")]
            const RESERVED: &'static [Range<usize>] = &[$($reserved),*];

            fn draw(input: &mut Unstructured<'_>) -> Self {
                let draw: fn(&mut Unstructured<'_>) -> Self = $draw;
                draw(input)
            }
        }
    )*};
}

// MS-SMB2 2.2.13.2.3 and on, in the order of the sections; size, constants, reserved octets, value.
bodies! {
    DurableHandleRequest { 16, [], [0..16], |_| DurableHandleRequest }
    DurableHandleResponse { 8, [], [0..8], |_| DurableHandleResponse }
    DurableHandleReconnect { 16, [], [], |input| DurableHandleReconnect { file_id: file_id(input) } }
    DurableHandleRequestV2 { 32, [], [8..16], |input| DurableHandleRequestV2 {
        timeout: any(input),
        flags: DurableFlags::from_bits_retain(any(input)),
        create_guid: CreateGuid::from_wire(any(input)),
    } }
    DurableHandleResponseV2 { 8, [], [], |input| DurableHandleResponseV2 {
        timeout: any(input),
        flags: DurableFlags::from_bits_retain(any(input)),
    } }
    DurableHandleReconnectV2 { 36, [], [], |input| DurableHandleReconnectV2 {
        file_id: file_id(input),
        create_guid: CreateGuid::from_wire(any(input)),
        flags: DurableFlags::from_bits_retain(any(input)),
    } }
    ResiliencyRequest { 8, [], [4..8], |input| ResiliencyRequest { timeout: any(input) } }
    LeaseV1 { 32, [], [24..32], |input| LeaseV1 {
        key: LeaseKey::new(any(input)),
        state: LeaseState::from_bits_retain(any(input)),
        flags: LeaseFlags::from_bits_retain(any(input)),
    } }
    AppInstanceId { 20, [(Field::StructureSize, 0, &[20, 0])], [2..4], |input| AppInstanceId {
        id: Uuid::from_bytes_le(any(input)),
    } }
    AppInstanceVersion { 24, [(Field::StructureSize, 0, &[24, 0])], [2..8], |input| AppInstanceVersion {
        high: any(input),
        low: any(input),
    } }
    OplockBreak { 24, [(Field::StructureSize, 0, &[24, 0])], [3..8], |input| OplockBreak {
        level: OplockLevel::from_wire(any(input)),
        file_id: file_id(input),
    } }
    LeaseBreak { 44, [(Field::StructureSize, 0, &[44, 0])], [32..44], |input| LeaseBreak {
        epoch: Epoch::new(any(input)),
        flags: BreakFlags::from_bits_retain(any(input)),
        key: LeaseKey::new(any(input)),
        current: LeaseState::from_bits_retain(any(input)),
        new: LeaseState::from_bits_retain(any(input)),
    } }
    LeaseAck { 36, [(Field::StructureSize, 0, &[36, 0])], [2..8, 28..36], |input| LeaseAck {
        key: LeaseKey::new(any(input)),
        state: LeaseState::from_bits_retain(any(input)),
    } }
    Header {
        64,
        [(Field::ProtocolId, 0, &[0xfe, 0x53, 0x4d, 0x42]), (Field::StructureSize, 4, &[64, 0])],
        [],
        |input| Header {
            credit_charge: any(input),
            status: Status::from_wire(any(input)),
            command: Command::from_wire(any(input)),
            credits: any(input),
            flags: HeaderFlags::from_bits_retain(any::<u32>(input) & !0x2),
            next_command: any(input),
            message_id: any(input),
            route: if any(input) {
                Route::Async { id: any(input) }
            } else {
                Route::Sync { reserved: any(input), tree: TreeId::new(any(input)) }
            },
            session: SessionId::new(any(input)),
            signature: any(input),
        }
    }
}

// MS-SMB2 2.2.13.2.10: without the flag, ParentLeaseKey is as good as reserved.
impl Body for LeaseV2 {
    const OCTETS: usize = 52;
    const CONSTANTS: &'static [(Field, usize, &'static [u8])] = &[];
    const RESERVED: &'static [Range<usize>] = &[24..32, 50..52];

    fn draw(input: &mut Unstructured<'_>) -> Self {
        Self {
            key: LeaseKey::new(any(input)),
            state: LeaseState::from_bits_retain(any(input)),
            flags: LeaseFlags::from_bits_retain(any::<u32>(input) & !0x4),
            parent: any::<bool>(input).then(|| LeaseKey::new(any(input))),
            epoch: Epoch::new(any(input)),
        }
    }

    fn make_canonical(octets: &mut [u8]) {
        octets[24..32].fill(0);
        octets[50..52].fill(0);
        if octets[20] & 0x4 == 0 {
            octets[32..48].fill(0);
        }
    }
}

fn file_id(input: &mut Unstructured<'_>) -> FileId {
    FileId::new(any(input), any(input))
}

/// One element of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    pub name: &'a [u8],
    pub data: &'a [u8],
    /// Where it begins.
    pub start: usize,
    /// Where its data begins, if it has some.
    pub data_at: Option<usize>,
}

/// A chain as the specification has it walked: what comes before the first fault, and all the faults of the element
/// that has one. Whichever of them a decoder names, it is right.
pub fn walk(chain: &[u8]) -> (Vec<Element<'_>>, Option<Vec<Refusal>>) {
    let mut elements = Vec::new();
    if chain.is_empty() {
        return (elements, None);
    }
    let mut start = 0;
    loop {
        if elements.len() == 64 {
            let many = DecodeErrorKind::TooMany { most: 64 };
            return (elements, Some(vec![(Structure::CreateContext, Field::Next, start, many)]));
        }
        let faults = element_faults(&chain[start..], start);
        if !faults.is_empty() {
            return (elements, Some(faults));
        }
        let name_end = start + 16 + usize::from(le16(chain, start + 6));
        let data_len = le32(chain, start + 12) as usize;
        let data_at = (data_len > 0).then(|| start + usize::from(le16(chain, start + 10)));
        let data = data_at.map_or(&[][..], |at| &chain[at..at + data_len]);
        elements.push(Element { name: &chain[start + 16..name_end], data, start, data_at });
        match le32(chain, start) as usize {
            0 => return (elements, None),
            next => start += next,
        }
    }
}

// MS-SMB2 2.2.13.2, 3.3.5.9 "Create Context Validation", in the strict reading.
fn element_faults(rest: &[u8], start: usize) -> Vec<Refusal> {
    let wrong = |field, at, kind| (Structure::CreateContext, field, start + at, kind);
    let remaining = rest.len() as u64;
    if remaining < 16 {
        return vec![wrong(Field::Whole, 0, wrong_length(rest.len(), 16))];
    }
    let (next, name_at, name_len) = (le32(rest, 0), le16(rest, 4), le16(rest, 6));
    let (data_at, data_len) = (le16(rest, 10), le32(rest, 12));
    let mut faults = Vec::new();

    if next % 8 != 0 {
        faults.push(wrong(Field::Next, 0, DecodeErrorKind::Misaligned { found: next }));
    }
    if next != 0 && next < 16 {
        faults.push(wrong(Field::Next, 0, DecodeErrorKind::TooSmall { found: next, least: 16 }));
    }
    if u64::from(next) > remaining - 16 {
        faults.push(wrong(Field::Next, 0, DecodeErrorKind::PastEnd { found: next }));
    }
    let bound = if next == 0 { remaining } else { remaining.min(next.into()) };

    if name_at != 16 {
        let kind = DecodeErrorKind::Value { found: name_at.into(), expected: 16 };
        faults.push(wrong(Field::NameOffset, 4, kind));
    }
    if name_len < 4 {
        let kind = DecodeErrorKind::TooSmall { found: name_len.into(), least: 4 };
        faults.push(wrong(Field::NameLength, 6, kind));
    }
    let name_end = 16 + u64::from(name_len);
    if name_end > bound {
        faults.push(wrong(Field::NameLength, 6, DecodeErrorKind::PastEnd { found: name_len.into() }));
    }

    if data_len != 0 {
        if data_at % 8 != 0 {
            faults.push(wrong(Field::DataOffset, 10, DecodeErrorKind::Misaligned { found: data_at.into() }));
        }
        if u64::from(data_at) < name_end {
            let least = u16::try_from(name_end).unwrap_or(u16::MAX);
            let kind = DecodeErrorKind::TooSmall { found: data_at.into(), least };
            faults.push(wrong(Field::DataOffset, 10, kind));
        }
        if u64::from(data_at) + u64::from(data_len) > bound {
            faults.push(wrong(Field::DataLength, 12, DecodeErrorKind::PastEnd { found: data_len }));
        }
    }
    faults
}

/// A chain as it has to be written: zero padding between elements and none behind the last, data at the next multiple
/// of eight behind the name.
pub fn chain(elements: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut chain: Vec<u8> = Vec::new();
    let mut last = None;
    for (name, data) in elements {
        let start = chain.len().next_multiple_of(8);
        chain.resize(start, 0);
        if let Some(last) = last.replace(start) {
            let distance = (start - last) as u32;
            chain[last..last + 4].copy_from_slice(&distance.to_le_bytes());
        }
        let data_at = (16 + name.len()).next_multiple_of(8);
        chain.extend([0; 4]);
        chain.extend(16u16.to_le_bytes());
        chain.extend((name.len() as u16).to_le_bytes());
        chain.extend([0; 2]);
        chain.extend((data_at as u16).to_le_bytes());
        chain.extend((data.len() as u32).to_le_bytes());
        chain.extend(name);
        chain.resize(start + data_at, 0);
        chain.extend(data);
    }
    chain
}

/// All the faults of a message that should be a CREATE request (MS-SMB2 2.2.13, 3.3.5.9).
pub fn create_request_faults(message: &[u8]) -> Vec<Refusal> {
    let wrong = |field, at, kind| (Structure::CreateRequest, field, at, kind);
    if message.len() < 120 {
        return vec![wrong(Field::Whole, 0, wrong_length(message.len(), 120))];
    }
    let size = le16(message, 64);
    let (name_at, name_len) = (le16(message, 108), le16(message, 110));
    let mut faults = Vec::new();
    if size != 57 {
        let kind = DecodeErrorKind::Value { found: size.into(), expected: 57 };
        faults.push(wrong(Field::StructureSize, 64, kind));
    }
    let mut name_end = 120;
    if name_len != 0 {
        name_end = u64::from(name_at) + u64::from(name_len);
        if name_len % 2 != 0 {
            faults.push(wrong(Field::NameLength, 110, DecodeErrorKind::Odd { found: name_len.into() }));
        }
        if name_at < 120 {
            let kind = DecodeErrorKind::TooSmall { found: name_at.into(), least: 120 };
            faults.push(wrong(Field::NameOffset, 108, kind));
        }
        if name_end > message.len() as u64 {
            faults.push(wrong(Field::NameLength, 110, DecodeErrorKind::PastEnd { found: name_len.into() }));
        }
    }
    faults.extend(create_contexts_faults(Structure::CreateRequest, message, 112, name_end));
    faults
}

/// All the faults of a message that should be a CREATE response (MS-SMB2 2.2.14).
pub fn create_response_faults(message: &[u8]) -> Vec<Refusal> {
    let wrong = |field, at, kind| (Structure::CreateResponse, field, at, kind);
    if message.len() < 152 {
        return vec![wrong(Field::Whole, 0, wrong_length(message.len(), 152))];
    }
    let mut faults = create_contexts_faults(Structure::CreateResponse, message, 144, 152);
    let size = le16(message, 64);
    if size != 89 {
        let kind = DecodeErrorKind::Value { found: size.into(), expected: 89 };
        faults.push(wrong(Field::StructureSize, 64, kind));
    }
    faults
}

fn create_contexts_faults(structure: Structure, message: &[u8], at: usize, least: u64) -> Vec<Refusal> {
    let (offset, len) = (le32(message, at), le32(message, at + 4));
    let mut faults = Vec::new();
    if len == 0 {
        return faults;
    }
    if offset % 8 != 0 {
        let kind = DecodeErrorKind::Misaligned { found: offset };
        faults.push((structure, Field::CreateContextsOffset, at, kind));
    }
    if u64::from(offset) < least {
        let kind =
            DecodeErrorKind::TooSmall { found: offset, least: u16::try_from(least).unwrap_or(u16::MAX) };
        faults.push((structure, Field::CreateContextsOffset, at, kind));
    }
    if u64::from(offset) + u64::from(len) > message.len() as u64 {
        faults.push((
            structure,
            Field::CreateContextsLength,
            at + 4,
            DecodeErrorKind::PastEnd { found: len },
        ));
    }
    faults
}
