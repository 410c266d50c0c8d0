//! The three messages of NTLMSSP, MS-NLMP 2.2.1.

/// NegotiateFlags, MS-NLMP 2.2.2.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u32);

impl Flags {
    pub(super) const UNICODE: Self = Self(0x0000_0001);
    pub(super) const REQUEST_TARGET: Self = Self(0x0000_0004);
    pub(super) const SIGN: Self = Self(0x0000_0010);
    pub(super) const SEAL: Self = Self(0x0000_0020);
    pub(super) const NTLM: Self = Self(0x0000_0200);
    pub(super) const ANONYMOUS: Self = Self(0x0000_0800);
    pub(super) const ALWAYS_SIGN: Self = Self(0x0000_8000);
    pub(super) const TARGET_TYPE_SERVER: Self = Self(0x0002_0000);
    pub(super) const EXTENDED_SESSIONSECURITY: Self = Self(0x0008_0000);
    pub(super) const TARGET_INFO: Self = Self(0x0080_0000);
    pub(super) const VERSION: Self = Self(0x0200_0000);
    pub(super) const KEY_128: Self = Self(0x2000_0000);
    pub(super) const KEY_EXCH: Self = Self(0x4000_0000);
    pub(super) const KEY_56: Self = Self(0x8000_0000);

    /// Whether all flags of `other` are set.
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// NEGOTIATE_MESSAGE, MS-NLMP 2.2.1.1. What follows the flags is not needed, and old clients end there.
///
/// | offset | size | field          |
/// |-------:|-----:|----------------|
/// |      0 |    8 | Signature      |
/// |      8 |    4 | MessageType, 1 |
/// |     12 |    4 | NegotiateFlags |
/// |     16 |   16 | names, empty   |
#[derive(Clone, Copy, Debug)]
pub(super) struct Negotiate {
    pub(super) flags: Flags,
}

impl Negotiate {
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        header(message, 1)?;
        Some(Self { flags: Flags(u32_at(message, 12)?) })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut message = begin(1);
        message.extend(self.flags.0.to_le_bytes());
        message.extend([0; 16]);
        message
    }
}

/// CHALLENGE_MESSAGE, MS-NLMP 2.2.1.2.
///
/// | offset | size | field            |
/// |-------:|-----:|------------------|
/// |      0 |    8 | Signature        |
/// |      8 |    4 | MessageType, 2   |
/// |     12 |    8 | TargetNameFields |
/// |     20 |    4 | NegotiateFlags   |
/// |     24 |    8 | ServerChallenge  |
/// |     32 |    8 | Reserved         |
/// |     40 |    8 | TargetInfoFields |
/// |     48 |    8 | Version          |
/// |     56 |      | Payload          |
#[derive(Clone, Copy, Debug)]
pub(super) struct Challenge<'a> {
    pub(super) target_name: &'a [u8],
    pub(super) flags: Flags,
    pub(super) server_challenge: [u8; 8],
    pub(super) target_info: &'a [u8],
}

impl<'a> Challenge<'a> {
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        header(message, 2)?;
        let flags = Flags(u32_at(message, 20)?);
        Some(Self {
            target_name: payload(message, 12)?,
            flags,
            server_challenge: array_at(message, 24)?,
            target_info: if flags.has(Flags::TARGET_INFO) { payload(message, 40)? } else { &[] },
        })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut message = Writer::new(2, 56);
        message.field(self.target_name);
        message.fixed(&self.flags.0.to_le_bytes());
        message.fixed(&self.server_challenge);
        message.fixed(&[0; 8]);
        message.field(self.target_info);
        message.fixed(if self.flags.has(Flags::VERSION) { &VERSION } else { &[0; 8] });
        message.end()
    }
}

/// AUTHENTICATE_MESSAGE, MS-NLMP 2.2.1.3.
///
/// | offset | size | field                           |
/// |-------:|-----:|---------------------------------|
/// |      0 |    8 | Signature                       |
/// |      8 |    4 | MessageType, 3                  |
/// |     12 |    8 | LmChallengeResponseFields       |
/// |     20 |    8 | NtChallengeResponseFields       |
/// |     28 |    8 | DomainNameFields                |
/// |     36 |    8 | UserNameFields                  |
/// |     44 |    8 | WorkstationFields               |
/// |     52 |    8 | EncryptedRandomSessionKeyFields |
/// |     60 |    4 | NegotiateFlags                  |
/// |     64 |    8 | Version                         |
/// |     72 |   16 | MIC                             |
/// |     88 |      | Payload                         |
///
/// Older clients leave out what is from Version on; only a client that says so in its response has sent a MIC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authenticate<'a> {
    pub(super) lm_response: &'a [u8],
    pub(super) nt_response: &'a [u8],
    /// In UTF-16, as the user name.
    pub(super) domain: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) encrypted_key: &'a [u8],
    pub(super) flags: Flags,
}

impl<'a> Authenticate<'a> {
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        header(message, 3)?;
        Some(Self {
            lm_response: payload(message, 12)?,
            nt_response: payload(message, 20)?,
            domain: payload(message, 28)?,
            user: payload(message, 36)?,
            encrypted_key: payload(message, 52)?,
            flags: Flags(u32_at(message, 60)?),
        })
    }

    /// The message with zeros for the MIC.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut message = Writer::new(3, 88);
        message.field(self.lm_response);
        message.field(self.nt_response);
        message.field(self.domain);
        message.field(self.user);
        message.field(&[]);
        message.field(self.encrypted_key);
        message.fixed(&self.flags.0.to_le_bytes());
        message.fixed(&[0; 8]);
        message.fixed(&[0; 16]);
        message.end()
    }
}

/// The MIC of an AUTHENTICATE message, and the message as the MIC covers it.
pub(super) fn split_mic(message: &[u8]) -> Option<([u8; 16], Vec<u8>)> {
    let mic = array_at(message, MIC)?;
    let mut covered = message.to_vec();
    put_mic(&mut covered, [0; 16]);
    Some((mic, covered))
}

/// Puts the MIC into an AUTHENTICATE message.
pub(super) fn put_mic(message: &mut [u8], mic: [u8; 16]) {
    if let Some(field) = message.get_mut(MIC..MIC + 16) {
        field.copy_from_slice(&mic);
    }
}

/// NTLMv2_CLIENT_CHALLENGE, MS-NLMP 2.2.2.7: `temp` of 3.3.2.
///
/// | offset | size | field                  |
/// |-------:|-----:|------------------------|
/// |      0 |    2 | RespType, HiRespType 1 |
/// |      2 |    6 | Reserved               |
/// |      8 |    8 | TimeStamp              |
/// |     16 |    8 | ChallengeFromClient    |
/// |     24 |    4 | Reserved               |
/// |     28 |      | AvPairs                |
pub(super) fn client_challenge(time: [u8; 8], challenge: [u8; 8], pairs: &[(AvId, &[u8])]) -> Vec<u8> {
    let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
    blob.extend(time);
    blob.extend(challenge);
    blob.extend([0; 4]);
    blob.extend(av_list(pairs));
    blob.extend([0; 4]);
    blob
}

/// The AV_PAIRs of a client challenge.
pub(super) fn client_pairs(blob: &[u8]) -> Option<Vec<(AvId, &[u8])>> {
    av_pairs(blob.get(28..)?)
}

/// AvId of an AV_PAIR, MS-NLMP 2.2.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AvId(u16);

impl AvId {
    const EOL: Self = Self(0);
    pub(super) const NB_COMPUTER_NAME: Self = Self(1);
    pub(super) const NB_DOMAIN_NAME: Self = Self(2);
    pub(super) const DNS_COMPUTER_NAME: Self = Self(3);
    pub(super) const DNS_DOMAIN_NAME: Self = Self(4);
    pub(super) const FLAGS: Self = Self(6);
    pub(super) const TIMESTAMP: Self = Self(7);
}

/// In MsvAvFlags: AUTHENTICATE has a MIC.
pub(super) const AV_FLAG_MIC: u32 = 0x2;

/// Reads AV_PAIRs up to MsvAvEOL, or to the end: there are clients that send none.
pub(super) fn av_pairs(mut list: &[u8]) -> Option<Vec<(AvId, &[u8])>> {
    let mut pairs = Vec::new();
    while !list.is_empty() {
        let (id, rest) = list.split_first_chunk::<2>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
        let id = AvId(u16::from_le_bytes(*id));
        if id == AvId::EOL {
            break;
        }
        pairs.push((id, value));
        list = rest;
    }
    Some(pairs)
}

/// Writes AV_PAIRs and MsvAvEOL.
pub(super) fn av_list(pairs: &[(AvId, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for &(AvId(id), value) in pairs {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        list.extend(id.to_le_bytes());
        list.extend(len.to_le_bytes());
        list.extend(value.iter().take(len.into()));
    }
    list.extend([0; 4]);
    list
}

pub(super) fn av_find<'a>(pairs: &[(AvId, &'a [u8])], id: AvId) -> Option<&'a [u8]> {
    pairs.iter().find(|&&(found, _)| found == id).map(|&(_, value)| value)
}

pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub(super) fn from_utf16(octets: &[u8]) -> Option<String> {
    let (units, rest) = octets.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|&unit| u16::from_le_bytes(unit)).collect();
    rest.is_empty().then_some(())?;
    String::from_utf16(&units).ok()
}

/// A message whose fields are in front and their contents behind.
struct Writer {
    message: Vec<u8>,
    payload: Vec<u8>,
    /// Where the payload begins.
    at: usize,
}

impl Writer {
    fn new(message_type: u32, at: usize) -> Self {
        Self { message: begin(message_type), payload: Vec::new(), at }
    }

    fn fixed(&mut self, octets: &[u8]) {
        self.message.extend_from_slice(octets);
    }

    /// Len, MaxLen, BufferOffset. All that we send is far below 64 KiB; more would be cut.
    fn field(&mut self, contents: &[u8]) {
        let len = u16::try_from(contents.len()).unwrap_or(u16::MAX);
        let offset = u32::try_from(self.at + self.payload.len()).unwrap_or(u32::MAX);
        self.fixed(&len.to_le_bytes());
        self.fixed(&len.to_le_bytes());
        self.fixed(&offset.to_le_bytes());
        self.payload.extend(contents.iter().take(len.into()));
    }

    fn end(mut self) -> Vec<u8> {
        debug_assert_eq!(self.message.len(), self.at);
        self.message.append(&mut self.payload);
        self.message
    }
}

fn begin(message_type: u32) -> Vec<u8> {
    let mut message = SIGNATURE.to_vec();
    message.extend(message_type.to_le_bytes());
    message
}

fn header(message: &[u8], message_type: u32) -> Option<()> {
    (message.starts_with(SIGNATURE) && u32_at(message, 8)? == message_type).then_some(())
}

/// The contents of the field at `at`; an empty one may point anywhere.
fn payload(message: &[u8], at: usize) -> Option<&[u8]> {
    let len = usize::from(u16::from_le_bytes(array_at(message, at)?));
    let offset = usize::try_from(u32_at(message, at.checked_add(4)?)?).ok()?;
    if len == 0 { Some(&[]) } else { message.get(offset..)?.get(..len) }
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array_at(message, at)?))
}

fn array_at<const N: usize>(message: &[u8], at: usize) -> Option<[u8; N]> {
    message.get(at..)?.first_chunk().copied()
}

const SIGNATURE: &[u8] = b"NTLMSSP\0";
const MIC: usize = 72;
/// 6.1, NTLMSSP_REVISION_W2K3: MS-NLMP 2.2.2.10.
const VERSION: [u8; 8] = [6, 1, 0, 0, 0, 0, 0, 15];
