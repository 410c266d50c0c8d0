//! A connection: what was agreed on it, and how many requests its client may send.

use std::collections::{BTreeSet, HashMap};

use leasehold::server::{Capabilities, Terms};
use leasehold::{ClientGuid, ConnId, Dialect, RequestId, SessionId, Status};

use super::session::SigningIn;
use super::{Engine, Setup};
use crate::smb::negotiate::{NegotiateRequest, NegotiateResponse, WILDCARD};
use crate::smb::response::Response;
use crate::smb::signing::Preauth;
use crate::smb::spnego;

/// How many credits a client may hold (MS-SMB2 3.3.1.2).
const MOST_CREDITS: u64 = 8192;
/// How many requests of a connection may wait, and how many octets the messages of those may have.
const MOST_PENDING: usize = 1024;
const MOST_WAITING: usize = 64 << 20;
/// MaxTransactSize, MaxReadSize and MaxWriteSize where SMB2_GLOBAL_CAP_LARGE_MTU is announced, and where not.
pub(super) const LARGE: u32 = 8 << 20;
const SMALL: u32 = 64 << 10;
/// SMB2_GLOBAL_CAP_LARGE_MTU
const LARGE_MTU: u32 = 0x04;
/// SMB2_NEGOTIATE_SIGNING_ENABLED
const SIGNING_ENABLED: u16 = 0x0001;

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Conn {
    /// Once NEGOTIATE is done.
    pub(super) agreed: Option<Agreed>,
    /// Connection.ClientDialects
    dialects: Vec<u16>,
    /// Connection.PreauthIntegrityHashValue
    pub(super) preauth: Preauth,
    pub(super) window: Window,
    /// Who is signing in.
    pub(super) signing_in: HashMap<SessionId, SigningIn>,
    /// Requests that are not answered yet, for CANCEL: by MessageId and by AsyncId.
    pub(super) by_message: HashMap<u64, RequestId>,
    pub(super) by_async: HashMap<u64, RequestId>,
    /// How long their messages are, in octets.
    pub(super) waiting: usize,
    /// Whether it is to be closed: nothing that comes counts any more.
    pub(super) closing: bool,
    /// Whether notifications do not arrive.
    pub(super) out_of_reach: bool,
}

/// What NEGOTIATE agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    pub(super) client: ClientGuid,
    pub(super) dialect: Dialect,
    /// What the server announced.
    pub(super) capabilities: u32,
    /// What the client did.
    pub(super) client_capabilities: u32,
    pub(super) client_mode: u16,
}

impl Conn {
    /// Takes a request in, with the length of its message. Whether there is room for it to wait.
    pub(super) fn begin(&mut self, message_id: u64, request: RequestId, len: usize) -> bool {
        self.by_message.insert(message_id, request);
        self.waiting += len;
        self.by_message.len() <= MOST_PENDING && self.waiting <= MOST_WAITING
    }

    /// Connection.SupportsMultiCredit: without it CreditCharge is reserved.
    pub(super) fn multi_credit(&self) -> bool {
        self.agreed.is_some_and(|agreed| agreed.max_size() == LARGE)
    }
}

impl Agreed {
    pub(super) fn terms(&self) -> Terms {
        Terms::new(self.dialect, Capabilities::from_bits_retain(self.capabilities))
    }

    pub(super) fn multi_channel(&self) -> bool {
        self.capabilities & Capabilities::MULTI_CHANNEL.bits() != 0
    }

    pub(super) fn max_size(&self) -> u32 {
        if self.capabilities & LARGE_MTU == 0 { SMALL } else { LARGE }
    }
}

/// Connection.CommandSequenceWindow: which MessageIds may come (MS-SMB2 3.3.1.7).
#[derive(Debug)]
pub(super) struct Window {
    /// Everything below has come.
    low: u64,
    /// Nothing from here on was granted.
    high: u64,
    /// What has come from between.
    taken: BTreeSet<u64>,
}

impl Default for Window {
    fn default() -> Self {
        Self { low: 0, high: 1, taken: BTreeSet::new() }
    }
}

impl Window {
    /// Whether a request with this MessageId and CreditCharge may come; it is taken then.
    pub(super) fn take(&mut self, message_id: u64, charge: u16) -> bool {
        let Some(end) = message_id.checked_add(charge.max(1).into()) else { return false };
        let fits = message_id >= self.low && end <= self.high;
        if !fits || self.taken.range(message_id..end).next().is_some() {
            return false;
        }
        self.taken.extend(message_id..end);
        while self.taken.remove(&self.low) {
            self.low += 1;
        }
        true
    }

    /// How many credits to grant, of those that were asked for: one at least where the client has none left, so that it is
    /// never stuck. One that leaves out a MessageId does not get ever more behind it.
    pub(super) fn grant(&mut self, asked: u16) -> u16 {
        let range = self.high - self.low;
        let held = range - self.taken.len() as u64;
        let room = MOST_CREDITS.saturating_sub(held).min((2 * MOST_CREDITS).saturating_sub(range));
        let granted = u64::from(asked.max(1)).min(room);
        let granted = u16::try_from(granted).unwrap_or(u16::MAX);
        self.high += u64::from(granted);
        granted
    }
}

impl Engine {
    /// NEGOTIATE (MS-SMB2 3.3.5.4).
    pub(super) fn negotiate(
        &mut self,
        conn: ConnId,
        request: &NegotiateRequest,
    ) -> Result<Response<'static>, Status> {
        let dialect = request.dialect().ok_or(Status::NOT_SUPPORTED)?;
        let salt = match (dialect, request.sha512) {
            (Dialect::Smb311, Some(true)) => Some(random()),
            (Dialect::Smb311, Some(false)) => return Err(NO_PREAUTH_INTEGRITY_HASH_OVERLAP),
            (Dialect::Smb311, None) => return Err(Status::INVALID_PARAMETER),
            _ => None,
        };
        let agreed = Agreed {
            client: request.client,
            dialect,
            capabilities: self.setup.capabilities(dialect, request.capabilities),
            client_capabilities: request.capabilities,
            client_mode: request.security_mode,
        };
        let event =
            leasehold::server::Event::Connected { conn, client: agreed.client, terms: agreed.terms() };
        self.host.feed(event).map_err(|_| Status::INSUFFICIENT_RESOURCES)?;
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.agreed = Some(agreed);
            conn.dialects.clone_from(&request.dialects);
        }
        Ok(self.chosen(wire(dialect), agreed.capabilities, agreed.max_size(), salt))
    }

    /// NEGOTIATE of SMB1 that offers SMB2 as well (MS-SMB2 3.3.5.3): the client may come again with one of SMB2.
    pub(super) fn negotiate_smb1(&mut self, conn: ConnId, message: &[u8]) -> Option<Response<'static>> {
        let offers = |dialect: &[u8]| message.windows(dialect.len()).any(|window| window == dialect);
        if message.get(4) != Some(&0x72) {
            return None;
        }
        if offers(b"\x02SMB 2.???\0") {
            return Some(self.chosen(WILDCARD, 0, SMALL, None));
        }
        if !offers(b"\x02SMB 2.002\0") {
            return None;
        }
        let request = NegotiateRequest {
            security_mode: 0,
            capabilities: 0,
            client: ClientGuid::default(),
            dialects: vec![wire(Dialect::Smb202)],
            sha512: None,
        };
        self.negotiate(conn, &request).ok()
    }

    fn chosen(
        &self,
        revision: u16,
        capabilities: u32,
        max_size: u32,
        salt: Option<[u8; 32]>,
    ) -> Response<'static> {
        Response::Negotiate(NegotiateResponse {
            security_mode: SIGNING_ENABLED,
            revision,
            server: self.setup.guid,
            capabilities,
            max_size,
            time: self.time,
            token: spnego::negotiate_hint(),
            salt,
        })
    }

    /// FSCTL_VALIDATE_NEGOTIATE_INFO (MS-SMB2 3.3.5.15.12); `None` if somebody has tampered with the NEGOTIATE, and on dialect
    /// 3.1.1, which has the preauthentication integrity hash for that.
    pub(super) fn validate_negotiate(&self, conn: ConnId, input: &[u8], max_output: u32) -> Option<Vec<u8>> {
        use crate::smb::octets::Octets;
        let known = self.conns.get(&conn)?;
        let agreed = known.agreed.filter(|agreed| agreed.dialect != Dialect::Smb311)?;
        let octets = Octets(input);
        let count = usize::from(octets.u16(22).ok()?);
        let dialects: Vec<u16> =
            (0..count).map(|index| octets.u16(24 + 2 * index).ok()).collect::<Option<_>>()?;
        let same = octets.u32(0).ok()? == agreed.client_capabilities
            && octets.array(4).ok()? == agreed.client.to_wire()
            && octets.u16(20).ok()? == agreed.client_mode
            && dialects == known.dialects;
        let fields = [
            &agreed.capabilities.to_le_bytes()[..],
            &self.setup.guid,
            &SIGNING_ENABLED.to_le_bytes(),
            &wire(agreed.dialect).to_le_bytes(),
        ];
        let output = fields.concat();
        (same && output.len() as u64 <= u64::from(max_output)).then_some(output)
    }
}

impl Setup {
    /// Capabilities of the response (MS-SMB2 3.3.5.4): some are only for a client that has them, too.
    fn capabilities(&self, dialect: Dialect, client: u32) -> u32 {
        if dialect == Dialect::Smb202 {
            return 0;
        }
        let mut both = Capabilities::empty();
        if dialect >= Dialect::Smb300 {
            both |= Capabilities::MULTI_CHANNEL | Capabilities::DIRECTORY_LEASING;
            both.set(Capabilities::PERSISTENT_HANDLES, self.persistent_handles);
        }
        LARGE_MTU | Capabilities::LEASING.bits() | both.bits() & client
    }
}

/// STATUS_SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP
const NO_PREAUTH_INTEGRITY_HASH_OVERLAP: Status = Status::from_wire(0xc05d_0000);

/// DialectRevision
pub(super) fn wire(dialect: Dialect) -> u16 {
    match dialect {
        Dialect::Smb202 => 0x0202,
        Dialect::Smb210 => 0x0210,
        Dialect::Smb300 => 0x0300,
        Dialect::Smb302 => 0x0302,
        _ => 0x0311,
    }
}

/// Random octets.
///
/// # Panics
///
/// If the system has none: nothing here is safe then.
#[expect(clippy::expect_used, reason = "nothing can be done without")]
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).expect("the system has random octets");
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_id_that_was_granted_comes_once() {
        let mut window = Window::default();
        assert!(!window.take(1, 1), "not granted yet");
        assert!(window.take(0, 1));
        assert!(!window.take(0, 1), "taken");
        assert_eq!(window.grant(3), 3);
        assert!(window.take(2, 2), "out of order, two at once");
        assert!(!window.take(3, 1));
        assert!(!window.take(1, 2), "reaches into what was taken");
        assert!(window.take(1, 0), "a charge of 0 counts as 1");
        assert_eq!((window.low, window.high, window.taken.len()), (4, 4, 0));
        assert_eq!(window.grant(0), 1, "never stuck");
        assert_eq!(window.grant(u16::MAX), 8191, "no more than 8192");
        assert_eq!(window.grant(1), 0);
        assert!(!window.take(u64::MAX, 2));
    }

    #[test]
    fn who_leaves_a_message_id_out_gets_no_more_behind_it_for_ever() {
        let mut window = Window::default();
        assert!(window.take(0, 1));
        window.grant(2);
        let mut next = 2;
        while window.take(next, 1) {
            next += 1;
            window.grant(1);
        }
        assert_eq!((window.low, window.high, window.taken.len()), (1, 1 + 2 * 8192, 2 * 8192 - 1));
        assert!(window.take(1, 1));
        assert_eq!(window.grant(5), 5);
    }
}
