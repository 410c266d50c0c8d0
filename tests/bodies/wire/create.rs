//! The laws of the views of a CREATE.

use arbitrary::Unstructured;
use leasehold::wire::{CreateRequest, CreateResponse, DecodeError, DecodeErrorKind};
use leasehold::{Access, CreateOptions, FileId, OplockLevel, ShareMode};

use super::super::sheet::{self, any, le16, le32, le64, wrong_length};
use super::{assert_among, assert_inside, chain};

/// A message that may be a CREATE request or response.
pub fn create(octets: &[u8]) {
    create_request(octets);
    create_response(octets);
}

fn create_request(message: &[u8]) {
    let faults = sheet::create_request_faults(message);
    let view = match CreateRequest::decode(message) {
        Ok(view) => view,
        Err(error) => return assert_among(error, &faults, message),
    };
    assert_eq!(faults, []);
    let name = match usize::from(le16(message, 110)) {
        0 => &[][..],
        len => &message[usize::from(le16(message, 108))..][..len],
    };
    let expected = CreateRequest {
        level: OplockLevel::from_wire(message[67]),
        impersonation: le32(message, 68),
        desired: Access::from_bits_retain(le32(message, 88)),
        attributes: le32(message, 92),
        sharing: ShareMode::from_bits_retain(le32(message, 96)),
        disposition: le32(message, 100),
        options: CreateOptions::from_bits_retain(le32(message, 104)),
        name,
        contexts: create_contexts(message, 112),
    };
    assert_eq!(view, expected);
    assert_inside(view.name, message);
    assert_inside(view.contexts, message);

    // MS-SMB2 2.2.13: the same fixed part with its reserved fields zero, the name behind it, the contexts aligned.
    let mut canonical = message[..120].to_vec();
    canonical[..64].fill(0);
    canonical[66] = 0;
    canonical[72..88].fill(0);
    canonical[108..110].copy_from_slice(&[120, 0]);
    canonical.extend(name);
    if expected.contexts.is_empty() {
        canonical[112..116].fill(0);
        // StructureSize counts one octet that is always there.
        canonical.resize(canonical.len().max(121), 0);
    } else {
        canonical.resize(canonical.len().next_multiple_of(8), 0);
        let contexts_at = canonical.len() as u32;
        canonical[112..116].copy_from_slice(&contexts_at.to_le_bytes());
        canonical.extend(expected.contexts);
    }
    assert_eq!(request_comes_back(&view), canonical);
    chain(view.contexts);
}

fn create_response(message: &[u8]) {
    let faults = sheet::create_response_faults(message);
    let view = match CreateResponse::decode(message) {
        Ok(view) => view,
        Err(error) => return assert_among(error, &faults, message),
    };
    assert_eq!(faults, []);
    let expected = CreateResponse {
        level: OplockLevel::from_wire(message[66]),
        flags: message[67],
        action: le32(message, 68),
        times: [le64(message, 72), le64(message, 80), le64(message, 88), le64(message, 96)],
        allocation_size: le64(message, 104),
        end_of_file: le64(message, 112),
        attributes: le32(message, 120),
        file_id: FileId::new(le64(message, 128), le64(message, 136)),
        contexts: create_contexts(message, 144),
    };
    assert_eq!(view, expected);
    assert_inside(view.contexts, message);

    // MS-SMB2 2.2.14: the same fixed part with Reserved2 zero, the contexts behind it.
    let mut canonical = message[..152].to_vec();
    canonical[..64].fill(0);
    canonical[124..128].fill(0);
    canonical[144..148].copy_from_slice(&if expected.contexts.is_empty() { [0; 4] } else { [152, 0, 0, 0] });
    canonical.extend(expected.contexts);
    assert_eq!(response_comes_back(&view), canonical);
    chain(view.contexts);
}

fn create_contexts(message: &[u8], at: usize) -> &[u8] {
    match le32(message, at + 4) as usize {
        0 => &[],
        len => &message[le32(message, at) as usize..][..len],
    }
}

/// The message that it is encoded to, behind a header of zeros.
fn request_comes_back(view: &CreateRequest<'_>) -> Vec<u8> {
    let mut message = vec![0; 64];
    view.encode(&mut message).unwrap();
    assert_eq!(CreateRequest::decode(&message), Ok(*view));
    // The fixed part, the name, padding if contexts follow; and one octet where nothing follows at all.
    let name_end = 120 + view.name.len();
    let end = match view.contexts.len() {
        0 => name_end.max(121),
        len => name_end.next_multiple_of(8) + len,
    };
    assert_eq!(message.len(), end);
    let needed = if end == 121 { 120 } else { end };
    cuts_are_refused(&message, needed, 120, |cut| CreateRequest::decode(cut).err());

    let mut again = vec![0; 64];
    CreateRequest::decode(&message).unwrap().encode(&mut again).unwrap();
    assert_eq!(again, message);
    message
}

/// The message that it is encoded to, behind a header of zeros.
fn response_comes_back(view: &CreateResponse<'_>) -> Vec<u8> {
    let mut message = vec![0; 64];
    view.encode(&mut message).unwrap();
    assert_eq!(CreateResponse::decode(&message), Ok(*view));
    assert_eq!(message.len(), 152 + view.contexts.len());
    cuts_are_refused(&message, message.len(), 152, |cut| CreateResponse::decode(cut).err());

    let mut again = vec![0; 64];
    CreateResponse::decode(&message).unwrap().encode(&mut again).unwrap();
    assert_eq!(again, message);
    message
}

/// Whatever is cut off a message that needs `needed` octets, of which `fixed` are its fixed part, it is missed.
fn cuts_are_refused(
    message: &[u8],
    needed: usize,
    fixed: usize,
    decode: impl Fn(&[u8]) -> Option<DecodeError>,
) {
    for len in (0..needed).rev().take(32).chain(0..needed.min(fixed + 8)) {
        let kind = decode(&message[..len]).unwrap().kind();
        if len < fixed {
            assert_eq!(kind, wrong_length(len, fixed));
        } else {
            assert!(matches!(kind, DecodeErrorKind::PastEnd { .. }), "{kind:?} of a message cut to {len}");
        }
    }
}

/// Any request and any response.
pub(super) fn drawn(input: &mut Unstructured<'_>) {
    let level = OplockLevel::from_wire(any(input));
    let (attributes, file_id) = (any(input), FileId::new(any(input), any(input)));
    let (impersonation, disposition) = (any(input), any(input));
    let desired = Access::from_bits_retain(any(input));
    let sharing = ShareMode::from_bits_retain(any(input));
    let options = CreateOptions::from_bits_retain(any(input));
    let (flags, action, times) = (any(input), any(input), [any(input), any(input), any(input), any(input)]);
    let (allocation_size, end_of_file) = (any(input), any(input));
    // MS-SMB2 2.2.13: a name of UTF-16 has an even length.
    let name_len = 2 * usize::from(any::<u8>(input) % 64);
    let rest = input.peek_bytes(input.len()).unwrap_or_default();
    let (name, contexts) = rest.split_at_checked(name_len).unwrap_or((&[], rest));
    request_comes_back(&CreateRequest {
        level,
        impersonation,
        desired,
        attributes,
        sharing,
        disposition,
        options,
        name,
        contexts,
    });
    response_comes_back(&CreateResponse {
        level,
        flags,
        action,
        times,
        allocation_size,
        end_of_file,
        attributes,
        file_id,
        contexts,
    });
}
