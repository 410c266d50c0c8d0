//! Chains of create contexts: walked, told apart, and written again.

use leasehold::wire::{
    Context, ContextWriter, Contexts, DecodeError, Lease, RequestContexts, ResponseContexts,
};

use super::bodies::{Body, Direction};
use super::octets::{Reasons, all_zero, count, equal, part, place, same};

/// One element: what its 16 octets say, read here, and what leasehold found by them.
#[derive(Debug)]
pub(super) struct Element<'a> {
    pub(super) at: usize,
    pub(super) next: usize,
    pub(super) name_offset: usize,
    pub(super) data_offset: usize,
    pub(super) context: Context<'a>,
    pub(super) body: Body,
}

/// Walks a chain with leasehold and decodes every context. The elements are where their own fields say.
pub(super) fn walk(direction: Direction, chain: &[u8]) -> Result<Vec<Element<'_>>, String> {
    let contexts: Result<Vec<Context<'_>>, DecodeError> = Contexts::new(chain).collect();
    let contexts = contexts.map_err(|error| error.to_string())?;
    let mut elements = Vec::with_capacity(contexts.len());
    let mut at = 0usize;
    let mut open = !chain.is_empty();
    for context in contexts {
        if !open {
            return Err("a context behind the last one".to_owned());
        }
        let next = count(chain, at, 4)?;
        let name_offset = count(chain, at + 4, 2)?;
        let data_offset = count(chain, at + 10, 2)?;
        let data_len = count(chain, at + 12, 4)?;
        equal("place of a name", &place(chain, context.name)?, &(at + name_offset))?;
        equal("length of a name", &context.name.len(), &count(chain, at + 6, 2)?)?;
        equal("length of data", &context.data.len(), &data_len)?;
        if data_len == 0 {
            equal("offset of no data", &context.offset, &(at + name_offset + context.name.len()))?;
        } else {
            equal("place of data", &place(chain, context.data)?, &(at + data_offset))?;
            equal("offset of data", &context.offset, &(at + data_offset))?;
        }
        let body = Body::decode(direction, context.name, context.data)?;
        elements.push(Element { at, next, name_offset, data_offset, context, body });
        at += next;
        open = next != 0;
    }
    if open {
        return Err("the chain goes on behind what was walked".to_owned());
    }
    told_apart(direction, chain, &elements)?;
    Ok(elements)
}

/// Writes a chain again, once from names and data and once from what was decoded, and compares with the canonical form
/// of the captured octets. What had to be changed in those is named in `reasons`.
pub(super) fn rewrite(
    direction: Direction,
    chain: &[u8],
    elements: &[Element<'_>],
    reasons: &mut Reasons,
) -> Result<(), String> {
    let pushed = write(chain, |writer| {
        elements.iter().try_for_each(|element| writer.push(element.context.name, element.context.data))
    })?;
    let framing = canonical(chain, elements, reasons, |element, _| Ok(element.context.data.to_vec()))?;
    same("the chain pushed", &pushed, &framing)?;

    let put = write(chain, |writer| {
        elements.iter().try_for_each(|element| element.body.put(&element.context, writer))
    })?;
    let bodies = canonical(chain, elements, reasons, |element, reasons| {
        element.body.canonical(element.context.data, reasons)
    })?;
    same("the chain put", &put, &bodies)?;

    let again = walk(direction, &put)?;
    let meaning = |elements: &[Element<'_>]| -> Vec<(Vec<u8>, Body, Option<Vec<u8>>)> {
        let untouched = |element: &Element<'_>| match element.body {
            Body::Other => Some(element.context.data.to_vec()),
            _ => None,
        };
        elements
            .iter()
            .map(|element| (element.context.name.to_vec(), element.body, untouched(element)))
            .collect()
    };
    equal("the chain written and decoded again", &meaning(&again), &meaning(elements))
}

/// The first context of every name is what the whole decode of a request or response has, and what is not leasehold's is
/// handed on in order.
fn told_apart(direction: Direction, chain: &[u8], elements: &[Element<'_>]) -> Result<(), String> {
    let mut handed_on = Vec::new();
    let mut found = Vec::new();
    match direction {
        Direction::Request => {
            let decoded = RequestContexts::decode(chain, |context| handed_on.push(context))
                .map_err(|error| error.to_string())?;
            let written = write(chain, |writer| decoded.write(writer))?;
            equal("the contexts of a request", &RequestContexts::decode(&written, |_| ()), &Ok(decoded))?;
            let RequestContexts { lease, durable, app_instance, app_instance_version, .. } = decoded;
            found.extend(durable.dhnq.map(Body::DurableRequest));
            found.extend(durable.dhnc.map(Body::Reconnect));
            found.extend(durable.dh2q.map(Body::RequestV2));
            found.extend(durable.dh2c.map(Body::ReconnectV2));
            found.extend(lease.map(Body::Lease));
            found.extend(app_instance.map(Body::AppInstanceId));
            found.extend(app_instance_version.map(Body::AppInstanceVersion));
        }
        Direction::Response => {
            let decoded = ResponseContexts::decode(chain, |context| handed_on.push(context))
                .map_err(|error| error.to_string())?;
            let written = write(chain, |writer| decoded.write(writer))?;
            equal("the contexts of a response", &ResponseContexts::decode(&written, |_| ()), &Ok(decoded))?;
            let ResponseContexts { lease, durable, durable_v2, .. } = decoded;
            found.extend(durable.map(Body::DurableResponse));
            found.extend(durable_v2.map(Body::ResponseV2));
            found.extend(lease.map(Body::Lease));
        }
    }
    let others = elements.iter().filter(|element| element.body == Body::Other);
    let others: Vec<Context<'_>> = others.map(|element| element.context).collect();
    equal("the contexts handed on", &handed_on, &others)?;

    let mut names = Vec::new();
    let mut firsts: Vec<Body> = Vec::new();
    for element in elements.iter().filter(|element| element.body != Body::Other) {
        if !names.contains(&element.context.name) {
            names.push(element.context.name);
            firsts.push(element.body);
        }
    }
    firsts.sort_by_key(rank);
    equal("the contexts told apart", &found, &firsts)
}

/// The order in which the contexts of a whole decode are listed above.
fn rank(body: &Body) -> u8 {
    match body {
        Body::DurableRequest(_) | Body::DurableResponse(_) => 0,
        Body::Reconnect(_) => 1,
        Body::RequestV2(_) | Body::ResponseV2(_) => 2,
        Body::ReconnectV2(_) => 3,
        Body::Lease(Lease::V1(_) | Lease::V2(_)) => 4,
        Body::AppInstanceId(_) => 5,
        Body::AppInstanceVersion(_) => 6,
        Body::Other => 7,
    }
}

fn write(
    chain: &[u8],
    elements: impl FnOnce(&mut ContextWriter<'_>) -> Result<(), leasehold::wire::EncodeError>,
) -> Result<Vec<u8>, String> {
    // Not zero, so that padding which is not written shows.
    let mut buffer = vec![0xa5; chain.len() + 64];
    let mut writer = ContextWriter::new(&mut buffer);
    elements(&mut writer).map_err(|error| error.to_string())?;
    let len = writer.finish();
    buffer.truncate(len);
    Ok(buffer)
}

/// The captured chain in the canonical form, put together here: no gaps, all padding zero, none behind the last element,
/// and a context without data as Windows and Samba write it.
fn canonical(
    chain: &[u8],
    elements: &[Element<'_>],
    reasons: &mut Reasons,
    data: impl Fn(&Element<'_>, &mut Reasons) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, String> {
    let mut canonical: Vec<u8> = Vec::new();
    for element in elements {
        deviations(chain, element, reasons)?;
        let Element { context, .. } = element;
        let data = data(element, reasons)?;
        let data_offset = (16 + context.name.len()).next_multiple_of(8);
        let size = data_offset + data.len();
        let next = if element.next == 0 { 0 } else { size.next_multiple_of(8) };

        let start = canonical.len();
        canonical.extend(low(next, 4));
        canonical.extend([16, 0]);
        canonical.extend(low(context.name.len(), 2));
        canonical.extend([0, 0]);
        canonical.extend(low(data_offset, 2));
        canonical.extend(low(data.len(), 4));
        canonical.extend(context.name);
        canonical.resize(start + data_offset, 0);
        canonical.extend(data);
        if next != 0 {
            canonical.resize(start + next, 0);
        }
    }
    Ok(canonical)
}

/// Names what is not canonical in one captured element, its data left aside.
fn deviations(chain: &[u8], element: &Element<'_>, reasons: &mut Reasons) -> Result<(), String> {
    let Element { at, next, data_offset, context, .. } = element;
    if count(chain, at + 8, 2)? != 0 {
        reasons.insert("Reserved of a context not zero");
    }
    let name_end = 16 + context.name.len();
    let place = name_end.next_multiple_of(8);
    let end = if *next == 0 { chain.len() - at } else { *next };
    if context.data.is_empty() {
        if *data_offset == 0 {
            reasons.insert("empty context with DataOffset 0");
        } else if *data_offset != place {
            reasons.insert("empty context with another DataOffset");
        }
        let padding = part(chain, at + name_end, end - name_end)?;
        if !all_zero(padding) {
            reasons.insert(if *next == 0 { "octets behind the last context" } else { "padding not zero" });
        } else if end < place {
            reasons.insert("empty context without padding");
        } else if end > place {
            reasons.insert(if *next == 0 { "padded tail" } else { "gap behind a context" });
        }
        return Ok(());
    }

    if *data_offset != place {
        reasons.insert("gap before data");
    }
    if !all_zero(part(chain, at + name_end, data_offset - name_end)?) {
        reasons.insert("padding not zero");
    }
    let data_end = data_offset + context.data.len();
    let padding = part(chain, at + data_end, end - data_end)?;
    if *next != 0 {
        if !all_zero(padding) {
            reasons.insert("padding not zero");
        }
        if end != data_end.next_multiple_of(8) {
            reasons.insert("gap behind a context");
        }
    } else if !padding.is_empty() {
        let padded = all_zero(padding) && end == data_end.next_multiple_of(8);
        reasons.insert(if padded { "padded tail" } else { "octets behind the last context" });
    }
    Ok(())
}

fn low(value: usize, octets: usize) -> Vec<u8> {
    (value as u64).to_le_bytes().into_iter().take(octets).collect()
}
