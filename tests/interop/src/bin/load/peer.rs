//! One connection of a client, and the opens that it asks for.

use std::fmt::Display;

use leasehold::wire::{
    ContextWriter, CreateRequest, DurableHandleReconnectV2, DurableHandleRequestV2, Lease, LeaseFlags,
    LeaseV2, RequestContexts, ResponseContexts,
};
use leasehold::{
    Access, ClientGuid, CreateOptions, Dialect, Disposition, Epoch, FileId, LeaseKey, LeaseState,
    OplockLevel, SessionId, ShareMode, Status, TreeId,
};
use leasehold_interop::smb::client::{Client, Envelope, Error, Message, Offer, Signing};
use leasehold_interop::smb::ntlm::Credentials;
use leasehold_interop::smb::octets::to_utf16;
use leasehold_interop::smb::request::Request;
use leasehold_interop::smb::response::Response;

/// What every connection speaks.
pub(crate) const DIALECT: &str = "3.1.1";

/// Why a run is worth nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("poll: {0}")]
    Poll(#[from] rustix::io::Errno),
    #[error("{0}")]
    Wrong(String),
}

/// Complains about what a server did.
pub(crate) fn wrong<T>(what: impl Display) -> Result<T, Failure> {
    Err(Failure::Wrong(what.to_string()))
}

/// The server and who goes there.
pub(crate) struct Target {
    server: String,
    path: String,
    credentials: Credentials,
    signing: Signing,
}

impl Target {
    pub(crate) fn new(server: String, share: &str, credentials: Credentials, signing: Signing) -> Self {
        let host = server.rsplit_once(':').map_or(server.as_str(), |(host, _)| host);
        Self { path: format!(r"\\{host}\{share}"), server, credentials, signing }
    }

    pub(crate) fn connect(&self, guid: ClientGuid, previous: Option<SessionId>) -> Result<Peer, Failure> {
        let offer = Offer {
            client: guid,
            dialects: vec![Dialect::Smb311],
            signing: self.signing,
            ..Offer::default()
        };
        let mut client = Client::connect(&self.server, &offer)?;
        let session = client.sign_in(self.credentials.clone(), previous)?;
        let tree = client.connect_tree(session, &self.path)?;
        Ok(Peer { client, session, tree, guid })
    }

    /// Who, and whether messages are signed.
    pub(crate) fn describe(&self) -> String {
        match (&self.credentials, self.signing) {
            (Credentials::Anonymous, _) => "user=anonymous signing=off".into(),
            (Credentials::User { name, .. }, Signing::Enabled) => {
                format!("user={name} signing=if-required")
            }
            (Credentials::User { name, .. }, Signing::Required) => format!("user={name} signing=on"),
        }
    }
}

/// A connection with a session and a tree connect.
pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) session: SessionId,
    tree: TreeId,
    pub(crate) guid: ClientGuid,
}

impl Peer {
    pub(crate) fn send(&mut self, request: &Request<'_>) -> Result<u64, Failure> {
        Ok(self.client.send(Envelope::new(self.session, self.tree), request)?)
    }

    /// CREATE of a file for reading and writing, shared by all, with an RWH lease.
    pub(crate) fn open(&mut self, file: &File, durable: Durable) -> Result<u64, Failure> {
        let lease = Lease::V2(LeaseV2 {
            key: file.key,
            state: LeaseState::RWH,
            flags: LeaseFlags::empty(),
            parent: None,
            epoch: Epoch::ZERO,
        });
        let mut room = [0; 256];
        let mut writer = ContextWriter::new(&mut room);
        let mut contexts = RequestContexts::default();
        contexts.lease = Some(lease);
        match durable {
            Durable::No => {}
            Durable::Request(request) => contexts.durable.dh2q = Some(request),
            Durable::Reconnect(reconnect) => contexts.durable.dh2c = Some(reconnect),
        }
        contexts.write(&mut writer).or_else(wrong)?;
        let len = writer.finish();
        self.send(&Request::Create(CreateRequest {
            level: OplockLevel::Lease,
            impersonation: 2,
            desired: Access::READ_DATA | Access::WRITE_DATA,
            attributes: 0x80,
            sharing: ShareMode::ALL,
            disposition: Disposition::OpenIf.to_wire(),
            options: CreateOptions::NON_DIRECTORY_FILE,
            name: &file.name,
            contexts: room.get(..len).unwrap_or_default(),
        }))
    }

    pub(crate) fn close(&mut self, file_id: FileId) -> Result<u64, Failure> {
        self.send(&Request::Close { file_id, query_attributes: false })
    }
}

/// Whether a handle shall survive its connection, or has.
#[derive(Clone, Copy)]
pub(crate) enum Durable {
    No,
    Request(DurableHandleRequestV2),
    Reconnect(DurableHandleReconnectV2),
}

/// A file of this run, and the lease under which one client opens it.
#[derive(Clone)]
pub(crate) struct File {
    name: Vec<u8>,
    key: LeaseKey,
}

impl File {
    /// `run` keeps the files of a run apart from those of others.
    pub(crate) fn new(run: u64, index: usize) -> Result<Self, Failure> {
        Ok(Self { name: to_utf16(&format!("load-{run:016x}-{index}")), key: LeaseKey::new(random()?) })
    }

    /// The same file, under another lease.
    pub(crate) fn of_another(&self) -> Result<Self, Failure> {
        Ok(Self { name: self.name.clone(), key: LeaseKey::new(random()?) })
    }

    pub(crate) fn key(&self) -> LeaseKey {
        self.key
    }

    /// The answer to a CREATE: a handle with exactly this lease.
    pub(crate) fn granted(&self, answer: &Message, state: LeaseState) -> Result<Granted, Failure> {
        let Response::Create(response) = answer.success()? else {
            return wrong("not the answer to a CREATE");
        };
        let contexts = ResponseContexts::decode(response.contexts, |_| {}).or_else(wrong)?;
        let Some(lease) = contexts.lease else { return wrong("granted without a lease") };
        if lease.key() != self.key || lease.state() != state {
            return wrong(format_args!("granted {:?}, not {state:?}", lease.state()));
        }
        Ok(Granted { file_id: response.file_id, durable: contexts.durable_v2.is_some() })
    }
}

/// A handle.
pub(crate) struct Granted {
    pub(crate) file_id: FileId,
    /// Whether it survives its connection.
    pub(crate) durable: bool,
}

/// An answer that only has to be STATUS_SUCCESS.
pub(crate) fn done(answer: &Message) -> Result<(), Failure> {
    if answer.header.status == Status::SUCCESS { Ok(()) } else { Ok(answer.success().map(|_| ())?) }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)?;
    Ok(octets)
}

/// A number that no other run has.
pub(crate) fn run() -> Result<u64, Failure> {
    random().map(u64::from_le_bytes)
}
