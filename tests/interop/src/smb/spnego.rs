//! SPNEGO (RFC 4178, MS-SPNG) as far as a server that speaks only NTLMSSP, and its clients, need it: which tokens there are.
//! What they lead to is in [`ntlm`](super::ntlm).

/// A token of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// The first one of a client, and the hint that a server puts into its NEGOTIATE response.
    Init(NegTokenInit<'a>),
    /// All others.
    Resp(NegTokenResp<'a>),
    /// An NTLMSSP message without SPNEGO, which some clients send.
    Raw(&'a [u8]),
}

/// NegTokenInit, RFC 4178 4.2.1, and NegTokenInit2, MS-SPNG 2.2.1. What else is in them is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegTokenInit<'a> {
    /// The whole MechTypeList: what mechListMIC covers.
    pub mech_types: &'a [u8],
    /// The first token of the first mechanism, if the client is optimistic.
    pub mech_token: Option<&'a [u8]>,
}

/// NegTokenResp, RFC 4178 4.2.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NegTokenResp<'a> {
    pub state: Option<NegState>,
    /// The contents of the object identifier.
    pub supported_mech: Option<&'a [u8]>,
    pub response_token: Option<&'a [u8]>,
    pub mech_list_mic: Option<&'a [u8]>,
}

/// Where the exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegState {
    AcceptCompleted,
    AcceptIncomplete,
    Reject,
    RequestMic,
}

/// 1.3.6.1.4.1.311.2.2.10, the contents of the object identifier.
pub const NTLMSSP: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a];

impl<'a> Token<'a> {
    /// Reads a token. `None` if it is malformed; what follows its outermost element is ignored.
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        if octets.starts_with(b"NTLMSSP\0") {
            return Some(Self::Raw(octets));
        }
        match Elements(octets).next()? {
            // RFC 2743 3.1: the first token names its mechanism.
            (APPLICATION, contents) => {
                let mut elements = Elements(contents);
                if elements.expect(OBJECT_IDENTIFIER)? != SPNEGO {
                    return None;
                }
                NegTokenInit::read(elements.expect(context(0))?).map(Self::Init)
            }
            (CHOICE_RESP, contents) => NegTokenResp::read(contents).map(Self::Resp),
            _ => None,
        }
    }
}

impl<'a> NegTokenInit<'a> {
    /// The mechanisms that are offered, the preferred one first.
    pub fn mechanisms(&self) -> impl Iterator<Item = &'a [u8]> {
        let list = Elements(self.mech_types).expect(SEQUENCE).unwrap_or_default();
        Elements(list).filter(|&(tag, _)| tag == OBJECT_IDENTIFIER).map(|(_, oid)| oid)
    }

    /// A client's first token.
    pub fn write(&self) -> Vec<u8> {
        let mut fields = element(context(0), &[self.mech_types]);
        if let Some(token) = self.mech_token {
            fields.extend(element(context(2), &[&element(OCTET_STRING, &[token])]));
        }
        first_token(&fields)
    }

    fn read(octets: &'a [u8]) -> Option<Self> {
        let (mut mech_types, mut mech_token) = (None, None);
        let mut fields = Elements(Elements(octets).expect(SEQUENCE)?);
        while !fields.0.is_empty() {
            match fields.next()? {
                (tag, contents) if tag == context(0) => {
                    Elements(contents).expect(SEQUENCE)?;
                    mech_types = Some(contents);
                }
                (tag, contents) if tag == context(2) => {
                    mech_token = Some(Elements(contents).expect(OCTET_STRING)?);
                }
                _ => {}
            }
        }
        Some(Self { mech_types: mech_types?, mech_token })
    }
}

impl<'a> NegTokenResp<'a> {
    /// The token as it is sent.
    pub fn write(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        if let Some(state) = self.state {
            fields.extend(element(context(0), &[&element(ENUMERATED, &[&[state.to_wire()]])]));
        }
        for (number, tag, field) in [
            (1, OBJECT_IDENTIFIER, self.supported_mech),
            (2, OCTET_STRING, self.response_token),
            (3, OCTET_STRING, self.mech_list_mic),
        ] {
            if let Some(field) = field {
                fields.extend(element(context(number), &[&element(tag, &[field])]));
            }
        }
        element(CHOICE_RESP, &[&element(SEQUENCE, &[&fields])])
    }

    fn read(octets: &'a [u8]) -> Option<Self> {
        let mut read = Self::default();
        let mut fields = Elements(Elements(octets).expect(SEQUENCE)?);
        while !fields.0.is_empty() {
            let (tag, contents) = fields.next()?;
            let mut inner = Elements(contents);
            if tag == context(0) {
                read.state = Some(NegState::from_wire(inner.expect(ENUMERATED)?)?);
            } else if tag == context(1) {
                read.supported_mech = Some(inner.expect(OBJECT_IDENTIFIER)?);
            } else if tag == context(2) {
                read.response_token = Some(inner.expect(OCTET_STRING)?);
            } else if tag == context(3) {
                read.mech_list_mic = Some(inner.expect(OCTET_STRING)?);
            }
        }
        Some(read)
    }
}

impl NegState {
    fn from_wire(octets: &[u8]) -> Option<Self> {
        match octets {
            [0] => Some(Self::AcceptCompleted),
            [1] => Some(Self::AcceptIncomplete),
            [2] => Some(Self::Reject),
            [3] => Some(Self::RequestMic),
            _ => None,
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::AcceptCompleted => 0,
            Self::AcceptIncomplete => 1,
            Self::Reject => 2,
            Self::RequestMic => 3,
        }
    }
}

/// The MechTypeList of one that speaks only NTLMSSP.
pub fn ntlmssp_only() -> Vec<u8> {
    element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[NTLMSSP])])
}

/// What a server that speaks only NTLMSSP puts into its NEGOTIATE response: NegTokenInit2, MS-SPNG 3.2.5.2.
pub fn negotiate_hint() -> Vec<u8> {
    let name = element(GENERAL_STRING, &[b"not_defined_in_RFC4178@please_ignore"]);
    let hints = element(SEQUENCE, &[&element(context(0), &[&name])]);
    let mut fields = element(context(0), &[&ntlmssp_only()]);
    fields.extend(element(context(3), &[&hints]));
    first_token(&fields)
}

fn first_token(fields: &[u8]) -> Vec<u8> {
    let init = element(context(0), &[&element(SEQUENCE, &[fields])]);
    element(APPLICATION, &[&element(OBJECT_IDENTIFIER, &[SPNEGO]), &init])
}

/// The elements of a constructed one, in order. Ends at the first that is malformed; nothing here recurses.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The contents of the next element, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|&(found, _)| found == tag).map(|(_, contents)| contents)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let len = match first {
            0..=0x7f => usize::from(first),
            // X.690 8.1.3.5: that many octets of length. Two are enough for a SecurityBuffer, some send three.
            0x81..=0x83 => {
                let (octets, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                octets.iter().fold(0, |len, &octet| len << 8 | usize::from(octet))
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, contents))
    }
}

/// Writes an element; its contents are far below 16 MiB, being made of messages of NTLMSSP.
fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let len: usize = contents.iter().map(|part| part.len()).sum();
    let mut octets = vec![tag];
    match len {
        0..=0x7f => octets.push(len as u8),
        0x80..=0xff => octets.extend([0x81, len as u8]),
        0x100..=0xffff => octets.extend([0x82, (len >> 8) as u8, len as u8]),
        _ => octets.extend([0x83, (len >> 16) as u8, (len >> 8) as u8, len as u8]),
    }
    contents.iter().for_each(|part| octets.extend_from_slice(part));
    octets
}

const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// 1.3.6.1.5.5.2
const SPNEGO: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const GENERAL_STRING: u8 = 0x1b;
const SEQUENCE: u8 = 0x30;
const APPLICATION: u8 = 0x60;
const CHOICE_RESP: u8 = context(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smb::ntlm::sample::{self, octets};

    #[test]
    fn the_hint_is_the_one_that_smbd_sends() {
        assert_eq!(
            negotiate_hint(),
            octets(
                "604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa32a3028a0261b24
                 6e6f745f646566696e65645f696e5f5246433431373840706c656173655f69676e6f7265"
            ),
        );
        let hint = negotiate_hint();
        let Some(Token::Init(init)) = Token::read(&hint) else { panic!() };
        assert_eq!(init.mechanisms().collect::<Vec<_>>(), [NTLMSSP]);
        assert_eq!(init.mech_token, None);
    }

    #[test]
    fn tokens_of_windows_are_read_and_written_as_they_were() {
        // SecurityBufferOffset 88 in requests, 72 in responses.
        let setup = octets(sample::SETUP_REQUEST_1);
        let Some(Token::Init(init)) = Token::read(&setup[88..]) else { panic!() };
        assert!(init.mech_token.unwrap().starts_with(b"NTLMSSP\0\x01"));
        assert_eq!(init.write(), setup[88..]);

        for (message, at) in
            [(sample::SETUP_RESPONSE_1, 72), (sample::SETUP_REQUEST_2, 88), (sample::SETUP_RESPONSE_2, 72)]
        {
            let message = octets(message);
            let Some(Token::Resp(resp)) = Token::read(&message[at..]) else { panic!() };
            assert_eq!(resp.write(), message[at..]);
        }

        // Two mechanisms, NEGOEX first, and a token of that.
        let negotiate = octets(sample::NEGOTIATE_RESPONSE);
        let Some(Token::Init(init)) = Token::read(&negotiate[128..]) else { panic!() };
        assert_eq!(init.mechanisms().nth(1), Some(NTLMSSP));
        assert!(init.mech_token.unwrap().starts_with(b"NEGOEXTS"));
    }

    #[test]
    fn no_truncation_is_read_and_no_damage_panics() {
        let setup = octets(sample::SETUP_REQUEST_2);
        for token in [negotiate_hint(), setup[88..].to_vec()] {
            for len in 0..token.len() {
                assert_eq!(Token::read(&token[..len]), None, "{len} octets");
            }
            for at in 0..token.len() {
                for value in 0..=u8::MAX {
                    let mut damaged = token.clone();
                    damaged[at] = value;
                    if let Some(Token::Init(init)) = Token::read(&damaged) {
                        let _ = init.mechanisms().count();
                    }
                }
            }
        }
    }

    #[test]
    fn every_form_of_length_is_written_and_read() {
        for len in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let token = vec![7; len];
            let resp = NegTokenResp { response_token: Some(&token), ..NegTokenResp::default() };
            assert_eq!(Token::read(&resp.write()), Some(Token::Resp(resp)));
        }
        assert_eq!(Token::read(&[CHOICE_RESP, 0x80, 0x30, 0, 0, 0]), None);
        assert_eq!(Token::read(&[CHOICE_RESP, 0x84, 0, 0, 0, 2, 0x30, 0]), None);
    }
}
