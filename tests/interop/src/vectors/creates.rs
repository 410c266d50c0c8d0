//! CREATE requests and responses, from the header on.

use leasehold::wire::{CreateRequest, CreateResponse};

use super::bodies::{Direction, say_file_id};
use super::chains::{Element, rewrite, walk};
use super::octets::{Reasons, Reserved, all_zero, count, equal, part, place, same};
use super::said::Said;

pub(super) fn request(message: &[u8], said: &mut Said, reasons: &mut Reasons) -> Result<(), String> {
    let create = CreateRequest::decode(message).map_err(|error| error.to_string())?;
    let elements = walk(Direction::Request, create.contexts)?;
    let CreateRequest {
        level,
        impersonation,
        desired,
        attributes,
        sharing,
        disposition,
        options,
        name,
        contexts,
    } = create;

    said.structure_size(57);
    said.level(level);
    said.number("smb2.impersonation.level", impersonation);
    said.access(desired);
    said.attributes(attributes);
    said.sharing(sharing);
    said.disposition(disposition);
    said.options(options);
    Reserved::say(REQUEST, message, said)?;
    say_contexts(Direction::Request, message, (112, contexts), &elements, said)?;

    // The other decode has no name: the octets are where the message says.
    let name_at = count(message, 108, 2)?;
    let name_len = count(message, 110, 2)?;
    if name_len == 0 {
        equal("no name", &name.len(), &0)?;
    } else {
        same("the name", name, part(message, name_at, name_len)?)?;
    }
    let units: Vec<u16> = name
        .chunks_exact(2)
        .map(|unit| unit.first_chunk().map_or(0, |unit| u16::from_le_bytes(*unit)))
        .collect();
    let text = String::from_utf16(&units).map_err(|error| error.to_string())?;
    said.optional_text("smb2.filename", text);

    rewrite(Direction::Request, contexts, &elements, reasons)?;
    let mut ours = message.get(..64).unwrap_or_default().to_vec();
    create.encode(&mut ours).map_err(|error| error.to_string())?;
    same("the message", &ours, &canonical_request(message, &create, reasons)?)?;
    let again = CreateRequest::decode(&ours).map_err(|error| error.to_string())?;
    equal("the message written and decoded again", &again, &create)
}

pub(super) fn response(message: &[u8], said: &mut Said, reasons: &mut Reasons) -> Result<(), String> {
    let create = CreateResponse::decode(message).map_err(|error| error.to_string())?;
    let elements = walk(Direction::Response, create.contexts)?;
    let CreateResponse {
        level,
        flags,
        action,
        times,
        allocation_size,
        end_of_file,
        attributes,
        file_id,
        contexts,
    } = create;

    said.structure_size(89);
    said.level(level);
    said.number("smb2.create.rep_flags", flags);
    said.number("smb2.create.rep_flags.reparse_point", flags & 1);
    said.action(action);
    let [creation, access, write, change] = times;
    said.time("smb2.create.time", creation);
    said.time("smb2.last_access.time", access);
    said.time("smb2.last_write.time", write);
    said.time("smb2.last_change.time", change);
    said.number("smb2.allocation_size", allocation_size);
    said.number("smb2.eof", end_of_file);
    said.attributes(attributes);
    say_file_id(file_id, said);
    Reserved::say(RESPONSE, message, said)?;
    say_contexts(Direction::Response, message, (144, contexts), &elements, said)?;

    rewrite(Direction::Response, contexts, &elements, reasons)?;
    let mut ours = message.get(..64).unwrap_or_default().to_vec();
    create.encode(&mut ours).map_err(|error| error.to_string())?;
    same("the message", &ours, &canonical_response(message, &create, reasons)?)?;
    let again = CreateResponse::decode(&ours).map_err(|error| error.to_string())?;
    equal("the message written and decoded again", &again, &create)
}

/// Where the contexts lie, what frames each of them, and what is in them. `at` is where CreateContextsOffset is.
fn say_contexts(
    direction: Direction,
    message: &[u8],
    (at, contexts): (usize, &[u8]),
    elements: &[Element<'_>],
    said: &mut Said,
) -> Result<(), String> {
    let offset = if contexts.is_empty() { count(message, at, 4)? } else { place(message, contexts)? };
    said.count("smb2.olb.offset", offset);
    said.count("smb2.olb.length", contexts.len());
    for element in elements {
        let Element { next, name_offset, data_offset, context, body, .. } = element;
        said.count("smb2.create.chain_offset", *next);
        said.count("smb2.olb.offset", *name_offset);
        said.count("smb2.olb.length", context.name.len());
        said.count("smb2.olb.offset", *data_offset);
        said.count("smb2.olb.length", context.data.len());
        said.name("smb2.tag", context.name);
        body.say(direction, context.name, context.data, said)?;
    }
    Ok(())
}

/// The captured request in the canonical form: the name at 120, the contexts behind it, nothing else.
fn canonical_request(
    message: &[u8],
    create: &CreateRequest<'_>,
    reasons: &mut Reasons,
) -> Result<Vec<u8>, String> {
    let name_at = count(message, 108, 2)?;
    if name_at != 120 {
        reasons.insert("NameOffset not 120");
    }
    let name_end = if create.name.is_empty() { 120 } else { name_at + create.name.len() };
    let canonical_name_end = 120 + create.name.len();

    let mut canonical = part(message, 0, 108)?.to_vec();
    Reserved::clear(REQUEST, &mut canonical, reasons)?;
    canonical.extend([120, 0]);
    canonical.extend(part(message, 110, 2)?);
    let end = if create.contexts.is_empty() {
        if count(message, 112, 4)? != 0 {
            reasons.insert("CreateContextsOffset without contexts");
        }
        canonical.extend([0; 8]);
        canonical.extend(create.name);
        // StructureSize 57 counts one octet of the buffer, which therefore is never empty.
        if create.name.is_empty() {
            canonical.push(0);
            match message.get(120) {
                Some(0) => {}
                Some(_) => _ = reasons.insert("padding not zero"),
                None => _ = reasons.insert("empty buffer"),
            }
        }
        if create.name.is_empty() { 121 } else { name_end }
    } else {
        let contexts_at = place(message, create.contexts)?;
        let canonical_at = canonical_name_end.next_multiple_of(8);
        if contexts_at != name_end.next_multiple_of(8) {
            reasons.insert("gap before the contexts");
        }
        if !all_zero(part(message, name_end, contexts_at - name_end)?) {
            reasons.insert("padding not zero");
        }
        canonical.extend((canonical_at as u64).to_le_bytes().into_iter().take(4));
        canonical.extend(part(message, 116, 4)?);
        canonical.extend(create.name);
        canonical.resize(canonical_at, 0);
        canonical.extend(create.contexts);
        contexts_at + create.contexts.len()
    };
    if message.len() > end {
        reasons.insert("octets behind the message");
    }
    Ok(canonical)
}

/// The captured response in the canonical form: the contexts at 152, nothing else.
fn canonical_response(
    message: &[u8],
    create: &CreateResponse<'_>,
    reasons: &mut Reasons,
) -> Result<Vec<u8>, String> {
    let mut canonical = part(message, 0, 144)?.to_vec();
    Reserved::clear(RESPONSE, &mut canonical, reasons)?;
    let end = if create.contexts.is_empty() {
        if count(message, 144, 4)? != 0 {
            reasons.insert("CreateContextsOffset without contexts");
        }
        canonical.extend([0; 8]);
        152
    } else {
        let contexts_at = place(message, create.contexts)?;
        if contexts_at != 152 {
            reasons.insert("gap before the contexts");
        }
        canonical.extend([152, 0, 0, 0]);
        canonical.extend(part(message, 148, 4)?);
        canonical.extend(create.contexts);
        contexts_at + create.contexts.len()
    };
    if message.len() > end {
        // StructureSize 89 counts one octet of the buffer, and some senders write it.
        reasons.insert("octets behind the message");
    }
    Ok(canonical)
}

/// Offsets from the start of the message.
const REQUEST: &[Reserved] = &[
    Reserved { key: None, at: 66, len: 1, reason: "SecurityFlags not zero" },
    Reserved::new("smb2.create_flags", 72, 8, "SmbCreateFlags not zero"),
    Reserved::new("smb2.reserved", 80, 8, "Reserved of a CREATE not zero"),
];
const RESPONSE: &[Reserved] = &[Reserved::new("smb2.reserved", 124, 4, "Reserved2 of a CREATE not zero")];
