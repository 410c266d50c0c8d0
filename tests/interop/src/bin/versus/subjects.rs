//! Who is fed with damaged chains, by which call, and how far that call reaches.

use std::io::Cursor;

use binrw::BinRead;
use leasehold::wire::{Contexts, RequestContexts};
use smb_fscc::ChainedItemList;
use smb_msg::{CreateContextRequest, CreateContextRequestData, CreateContextType, RequestLease};
use smb_server::wire::messages as server;
use smb2::msg::create_context::parse_contexts;

use crate::judge::{Judgment, Reach};
use crate::octets::APP_INSTANCE_VERSION;

/// What a decoder made of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused,
    Accepted,
    /// Accepted, with other names or data than the judge sees.
    Misread,
}

pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) call: &'static str,
    pub(crate) ours: bool,
    pub(crate) reach: Reach,
    pub(crate) decode: fn(&[u8], &Judgment<'_>) -> Outcome,
    /// What it reads wrongly where it accepts.
    pub(crate) misreads: &'static str,
    /// What it may have stumbled over in a valid chain.
    pub(crate) stumbles: fn(&[u8], &Judgment<'_>) -> String,
}

pub(crate) const SUBJECTS: [Subject; 4] = [
    Subject {
        name: "leasehold",
        call: "RequestContexts::decode, and Contexts beside it",
        ours: true,
        reach: Reach::Full,
        decode: leasehold,
        misreads: "other names or data than are there",
        stumbles: unknown,
    },
    Subject {
        name: "smb-msg 0.12.1",
        call: "ChainedItemList<CreateContextRequest>::read_le; it has no untyped form, so accepting is Ok",
        ours: false,
        reach: Reach::Full,
        decode: smb_msg,
        misreads: "a RqLs of version 2 without flags, which it takes for version 1",
        stumbles: smb_msg_stumbles,
    },
    Subject {
        name: "smb2 0.39.0",
        call: "parse_contexts; framing alone, it reads none of the contexts of a request",
        ours: false,
        reach: Reach::Framing,
        decode: smb2,
        misreads: "other names or data than are there",
        stumbles: unknown,
    },
    Subject {
        name: "smb-server 0.8.0",
        call: "CreateContext::parse_chain, then the parse of each DHnQ, DHnC, DH2Q, DH2C and RqLs; it has none for \
               AppInstanceId and AppInstanceVersion",
        ours: false,
        reach: Reach::Durable,
        decode: smb_server,
        misreads: "other names or data than are there",
        stumbles: unknown,
    },
];

fn leasehold(chain: &[u8], judgment: &Judgment<'_>) -> Outcome {
    let decoded = RequestContexts::decode(chain, |_| ());
    if decoded.is_err() {
        return Outcome::Refused;
    }
    let mut seen = judgment.elements.iter();
    let faithful = Contexts::new(chain).all(|context| {
        context.is_ok_and(|context| {
            seen.next().is_some_and(|element| context.name == element.name && context.data == element.data)
        })
    });
    accepted(faithful && seen.next().is_none())
}

fn smb_msg(chain: &[u8], judgment: &Judgment<'_>) -> Outcome {
    let Ok(contexts) = ChainedItemList::<CreateContextRequest, 8>::read_le(&mut Cursor::new(chain)) else {
        return Outcome::Refused;
    };
    accepted(
        contexts.len() == judgment.elements.len()
            && contexts.iter().zip(&judgment.elements).all(|(context, element)| {
                let version = match context.data {
                    CreateContextRequestData::RqlsRequest(RequestLease::RqLsReqv1(_)) => 32,
                    CreateContextRequestData::RqlsRequest(RequestLease::RqLsReqv2(_)) => 52,
                    _ => element.data.len(),
                };
                context.name == element.name && version == element.data.len()
            }),
    )
}

fn smb_msg_stumbles(_: &[u8], judgment: &Judgment<'_>) -> String {
    let names = || judgment.elements.iter().map(|element| element.name);
    if names().any(|name| name == b"DHnC") {
        "a DHnC, which it spells DHNc".to_owned()
    } else if names().any(|name| CreateContextType::from_name(name).is_none()) {
        "a name that it does not know".to_owned()
    } else if judgment.elements.iter().any(|element| {
        let ignored = match (element.name, element.data.len()) {
            (b"RqLs", 32) => 20..32,
            (b"RqLs", 52) => 24..32,
            _ => 0..0,
        };
        element.data[ignored].iter().any(|octet| *octet != 0)
    }) {
        "LeaseFlags or LeaseDuration that are not zero".to_owned()
    } else if names().any(|name| name == APP_INSTANCE_VERSION) {
        "an AppInstanceVersion, of which it wants 26 octets".to_owned()
    } else if judgment.elements.iter().any(|element| element.data.is_empty()) {
        "a DataOffset of data that is not there".to_owned()
    } else {
        "something else".to_owned()
    }
}

fn smb2(chain: &[u8], judgment: &Judgment<'_>) -> Outcome {
    match parse_contexts(chain) {
        Ok(contexts) => accepted(
            contexts.len() == judgment.elements.len()
                && contexts
                    .iter()
                    .zip(&judgment.elements)
                    .all(|(context, element)| context.name == element.name && context.data == element.data),
        ),
        Err(_) => Outcome::Refused,
    }
}

fn smb_server(chain: &[u8], judgment: &Judgment<'_>) -> Outcome {
    let Ok(contexts) = server::CreateContext::parse_chain(chain) else { return Outcome::Refused };
    let readable = contexts.iter().all(|context| match context.name.as_slice() {
        b"DHnQ" => server::DurableRequest::parse(&context.data).is_ok(),
        b"DHnC" => server::DurableReconnect::parse(&context.data).is_ok(),
        b"DH2Q" => server::DurableRequestV2::parse(&context.data).is_ok(),
        b"DH2C" => server::DurableReconnectV2::parse(&context.data).is_ok(),
        b"RqLs" => server::LeaseContext::parse(&context.data).is_ok(),
        _ => true,
    });
    if !readable {
        return Outcome::Refused;
    }
    accepted(
        contexts.len() == judgment.elements.len()
            && contexts
                .iter()
                .zip(&judgment.elements)
                .all(|(context, element)| context.name == element.name && context.data == element.data),
    )
}

const fn accepted(faithful: bool) -> Outcome {
    if faithful { Outcome::Accepted } else { Outcome::Misread }
}

fn unknown(_: &[u8], _: &Judgment<'_>) -> String {
    "for whatever reason".to_owned()
}
