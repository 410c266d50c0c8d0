//! NEGOTIATE: what a client offers, what a server chooses (MS-SMB2 2.2.3, 2.2.4, 3.3.5.4).

use leasehold::{ClientGuid, Dialect, Status};

use super::octets::Octets;
use super::request::BODY;

/// SMB2_PREAUTH_INTEGRITY_CAPABILITIES
const PREAUTH_INTEGRITY: u16 = 1;
/// SHA-512
const SHA512: u16 = 1;
/// How many dialects and contexts are looked at.
const MOST: u16 = 64;
/// The DialectRevision "2.???": the client asks again (MS-SMB2 3.3.5.3.1).
pub const WILDCARD: u16 = 0x02ff;

/// What a client offers (MS-SMB2 2.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiateRequest {
    /// SecurityMode
    pub security_mode: u16,
    /// Capabilities
    pub capabilities: u32,
    /// ClientGuid
    pub client: ClientGuid,
    /// Dialects
    pub dialects: Vec<u16>,
    /// Whether SHA-512 is among what SMB2_PREAUTH_INTEGRITY_CAPABILITIES offers; `None` without that context.
    pub sha512: Option<bool>,
}

impl NegotiateRequest {
    pub(super) fn decode(message: &[u8]) -> Result<Self, Status> {
        let octets = Octets(message);
        let count = octets.u16(BODY + 2)?;
        if octets.u16(BODY)? != 36 || count == 0 || count > MOST {
            return Err(Status::INVALID_PARAMETER);
        }
        let dialects: Vec<u16> = (0..usize::from(count))
            .map(|index| octets.u16(BODY + 36 + 2 * index))
            .collect::<Result<_, _>>()?;
        let sha512 = if dialects.contains(&0x0311) { preauth(octets)? } else { None };
        Ok(Self {
            security_mode: octets.u16(BODY + 4)?,
            capabilities: octets.u32(BODY + 8)?,
            client: ClientGuid::from_wire(octets.array(BODY + 12)?),
            dialects,
            sha512,
        })
    }

    /// Appends the body; the header stands before it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let dialects = 100 + 2 * self.dialects.len();
        let contexts = dialects.next_multiple_of(8);
        // Without dialect 3.1.1 the field is ClientStartTime, which is zero.
        let sha512 = self.sha512.filter(|_| self.dialects.contains(&0x0311));
        out.extend(36_u16.to_le_bytes());
        out.extend(u16::try_from(self.dialects.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend(self.security_mode.to_le_bytes());
        out.extend([0; 2]);
        out.extend(self.capabilities.to_le_bytes());
        out.extend(self.client.to_wire());
        out.extend(if sha512.is_some() { len32(contexts) } else { 0 }.to_le_bytes());
        out.extend(u16::from(sha512.is_some()).to_le_bytes());
        out.extend([0; 2]);
        out.extend(self.dialects.iter().flat_map(|revision| revision.to_le_bytes()));
        let Some(sha512) = sha512 else { return };
        out.resize(out.len() + (contexts - dialects), 0);
        let algorithms: &[u16] = if sha512 { &[SHA512] } else { &[] };
        // The salt: 32 octets. *Choice:* the ClientGuid twice, which is random enough for a test.
        let len = 4 + 2 * algorithms.len() + 32;
        for half in [PREAUTH_INTEGRITY, u16::try_from(len).unwrap_or(u16::MAX), 0, 0] {
            out.extend(half.to_le_bytes());
        }
        for half in [u16::from(sha512), 32].iter().chain(algorithms) {
            out.extend(half.to_le_bytes());
        }
        out.extend(self.client.to_wire());
        out.extend(self.client.to_wire());
    }

    /// The highest dialect that both know (MS-SMB2 3.3.5.4).
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialects.iter().filter_map(|revision| Dialect::from_wire(*revision)).max()
    }
}

/// Looks for SHA-512 in the negotiate contexts (MS-SMB2 2.2.3.1).
fn preauth(octets: Octets<'_>) -> Result<Option<bool>, Status> {
    let mut at = usize::try_from(octets.u32(BODY + 28)?).map_err(|_| Status::INVALID_PARAMETER)?;
    let count = octets.u16(BODY + 32)?;
    if count > MOST {
        return Err(Status::INVALID_PARAMETER);
    }
    let mut found = None;
    for _ in 0..count {
        let len = octets.u16(at + 2)?;
        let data = Octets(octets.slice(at + 8, len.into())?);
        if octets.u16(at)? == PREAUTH_INTEGRITY {
            // One of each kind at most (MS-SMB2 3.3.5.4).
            if found.is_some() {
                return Err(Status::INVALID_PARAMETER);
            }
            let algorithms = usize::from(data.u16(0)?);
            let ids: Vec<u16> =
                (0..algorithms).map(|index| data.u16(4 + 2 * index)).collect::<Result<_, _>>()?;
            found = Some(ids.contains(&SHA512));
        }
        at = (at + 8 + usize::from(len)).next_multiple_of(8);
    }
    Ok(found)
}

/// What a server chose (MS-SMB2 2.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiateResponse {
    /// SecurityMode
    pub security_mode: u16,
    /// DialectRevision
    pub revision: u16,
    /// ServerGuid
    pub server: [u8; 16],
    /// Capabilities
    pub capabilities: u32,
    /// MaxTransactSize, MaxReadSize and MaxWriteSize
    pub max_size: u32,
    /// SystemTime: FILETIME.
    pub time: u64,
    /// The security token.
    pub token: Vec<u8>,
    /// The salt of SMB2_PREAUTH_INTEGRITY_CAPABILITIES, on dialect 3.1.1.
    pub salt: Option<[u8; 32]>,
}

impl NegotiateResponse {
    /// Appends the body; the header stands before it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let contexts = (128 + self.token.len()).next_multiple_of(8);
        out.extend(65_u16.to_le_bytes());
        out.extend(self.security_mode.to_le_bytes());
        out.extend(self.revision.to_le_bytes());
        out.extend(u16::from(self.salt.is_some()).to_le_bytes());
        out.extend(self.server);
        out.extend(self.capabilities.to_le_bytes());
        for _ in 0..3 {
            out.extend(self.max_size.to_le_bytes());
        }
        out.extend(self.time.to_le_bytes());
        out.extend(0_u64.to_le_bytes());
        out.extend(128_u16.to_le_bytes());
        out.extend(len16(&self.token).to_le_bytes());
        out.extend(if self.salt.is_some() { len32(contexts).to_le_bytes() } else { [0; 4] });
        out.extend(&self.token);
        let Some(salt) = self.salt else { return };
        out.resize(out.len() + (contexts - 128 - self.token.len()), 0);
        for half in [PREAUTH_INTEGRITY, 38] {
            out.extend(half.to_le_bytes());
        }
        out.extend(0_u32.to_le_bytes());
        for half in [1, 32, SHA512] {
            out.extend(half.to_le_bytes());
        }
        out.extend(salt);
    }
}

/// A length in a field of sixteen bits. What is longer is not sent.
pub(super) fn len16(octets: &[u8]) -> u16 {
    u16::try_from(octets.len()).unwrap_or(u16::MAX)
}

/// A length in a field of 32 bits. What is longer is not sent.
pub(super) fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
