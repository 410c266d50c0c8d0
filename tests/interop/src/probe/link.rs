//! A connection with its session and its share, and what is under way on it.

use std::collections::BTreeMap;

use leasehold::client::{AckId, FileRef, OpenRef};
use leasehold::server::{Capabilities, LockSequence, ShareFlags, Terms};
use leasehold::wire::HeaderFlags;
use leasehold::{ClientGuid, FileId, SessionId, TreeId};

use super::Target;
use crate::smb::client::{Client, Envelope, Error, Offer, Session, Signing};
use crate::smb::request::Request;

/// Whose answer is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flight {
    /// `SendCreate`
    Create(OpenRef),
    /// `SendReconnect`
    Reconnect(OpenRef),
    /// `SendClose`
    Close(OpenRef),
    /// `SendLeaseAck`, `SendOplockAck`
    Ack(AckId),
    /// `Flush`
    Flush { file: FileRef, open: OpenRef },
    /// A READ of the application's, sent when the cache had been purged so often.
    Read { ticket: Ticket, open: OpenRef, purges: u64 },
    /// A WRITE of the application's.
    Write { ticket: Ticket, open: OpenRef },
    /// A LOCK of the application's.
    Lock { ticket: Ticket, open: OpenRef, sequence: Option<LockSequence> },
}

/// Names what the application waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(pub(super) u64);

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) session: SessionId,
    tree: TreeId,
    pub(super) terms: Terms,
    pub(super) share: ShareFlags,
    pub(super) flights: BTreeMap<u64, Flight>,
}

impl Link {
    /// Connects, and signs in.
    pub(super) fn sign_in(
        target: &Target,
        guid: ClientGuid,
        previous: Option<SessionId>,
    ) -> Result<Self, Error> {
        let mut client = connect(target, guid)?;
        let session = client.sign_in(target.credentials.clone(), previous)?;
        let (tree, capabilities) = client.connect_share(session, &path(target))?;
        let mut share = ShareFlags::empty();
        share.set(ShareFlags::CONTINUOUSLY_AVAILABLE, capabilities & CONTINUOUS_AVAILABILITY != 0);
        Ok(Self { terms: terms(&client), client, session, tree, share, flights: BTreeMap::new() })
    }

    /// Connects, and becomes another channel of a session: its tree connects are there already.
    pub(super) fn bind(&self, target: &Target, guid: ClientGuid) -> Result<Self, Error> {
        let mut client = connect(target, guid)?;
        let session: &Session = self.client.session(self.session).ok_or(Error::NoSession)?;
        client.bind(session, target.credentials.clone())?;
        let Self { session, tree, share, .. } = *self;
        Ok(Self { terms: terms(&client), client, session, tree, share, flights: BTreeMap::new() })
    }

    /// Sends a request whose answer is a flight's.
    pub(super) fn send(
        &mut self,
        flight: Flight,
        flags: HeaderFlags,
        channel_sequence: u16,
        request: &Request<'_>,
    ) -> Result<(), Error> {
        let envelope = Envelope { flags, channel_sequence, ..Envelope::new(self.session, self.tree) };
        let id = self.client.send(envelope, request)?;
        self.flights.insert(id, flight);
        Ok(())
    }

    /// Closes a file, and waits for it.
    pub(super) fn close(&mut self, file_id: FileId) -> Result<(), Error> {
        let request = Request::Close { file_id, query_attributes: false };
        self.client.wait_at_most(Some(PARTING))?;
        self.client.call(Envelope::new(self.session, self.tree), &request).map(|_| ())
    }

    /// Closes these files, and signs out. LOGOFF alone leaves durable handles behind (MS-SMB2 3.3.5.6).
    pub(super) fn sign_out(mut self, mut files: impl Iterator<Item = FileId>) -> Result<(), Error> {
        files.try_for_each(|file_id| self.close(file_id))?;
        self.client.wait_at_most(Some(PARTING))?;
        self.client.call(Envelope::new(self.session, self.tree), &Request::Logoff).map(|_| ())
    }
}

fn connect(target: &Target, guid: ClientGuid) -> Result<Client, Error> {
    let offer = Offer {
        client: guid,
        dialects: vec![target.dialect],
        signing: Signing::Required,
        ..Offer::default()
    };
    Client::connect(&target.server, &offer)
}

fn terms(client: &Client) -> Terms {
    Terms::new(client.dialect(), Capabilities::from_bits_retain(client.negotiated().capabilities))
}

fn path(target: &Target) -> String {
    let host = target.server.rsplit_once(':').map_or(target.server.as_str(), |(host, _)| host);
    format!(r"\\{host}\{}", target.share)
}

/// SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY (MS-SMB2 2.2.10)
const CONTINUOUS_AVAILABILITY: u32 = 0x10;
/// How long signing out may take.
const PARTING: std::time::Duration = std::time::Duration::from_secs(2);
