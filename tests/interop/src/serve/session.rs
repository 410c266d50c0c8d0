//! Sessions, their channels and their tree connects.

use std::collections::HashMap;

use leasehold::server::{Event, Origin, SessionEnd, Share, ShareFlags, ShareKind};
use leasehold::wire::{Header, HeaderFlags};
use leasehold::{ClientGuid, ConnId, Dialect, SessionId, Status, TreeId, UserId};
use sha2::{Digest as _, Sha256};

use super::conn::{Agreed, random};
use super::{Engine, Shared};
use crate::fs::{VolumeId, nt};
use crate::host::Whence;
use crate::smb::ntlm::{Acceptor, Identity, Step, Target};
use crate::smb::octets::utf16;
use crate::smb::request::{Command, SessionSetup};
use crate::smb::response::Response;
use crate::smb::signing::{Preauth, SigningKey};

/// STATUS_MORE_PROCESSING_REQUIRED
pub(super) const MORE_PROCESSING_REQUIRED: Status = Status::from_wire(0xc000_0016);
/// STATUS_BAD_NETWORK_NAME
const BAD_NETWORK_NAME: Status = Status::from_wire(0xc000_00cc);
/// SMB2_SESSION_FLAG_IS_NULL
const IS_NULL: u16 = 0x0002;
/// How many may sign in at once on a connection.
const MOST_SIGNING_IN: usize = 64;
/// How many sessions may be on a connection, and tree connects in a session.
const MOST_SESSIONS: usize = 1024;
const MOST_TREES: usize = 1024;
/// SMB2_NEGOTIATE_SIGNING_REQUIRED
const SIGNING_REQUIRED: u8 = 0x02;
/// FILE_ALL_ACCESS
pub(super) const ALL_ACCESS: u32 = 0x001f_01ff;

/// A session (MS-SMB2 3.3.1.8).
#[derive(Debug)]
pub(super) struct Session {
    user: UserId,
    client: ClientGuid,
    dialect: Dialect,
    /// Where it is valid, with Channel.SigningKey.
    channels: HashMap<ConnId, Option<SigningKey>>,
    /// Session.SigningKey
    key: Option<SigningKey>,
    /// Session.SigningRequired
    must_sign: bool,
    trees: HashMap<TreeId, Tree>,
    /// The last tree connect.
    last_tree: u32,
}

/// A tree connect.
#[derive(Clone, Copy, Debug)]
struct Tree {
    volume: VolumeId,
    share: Share,
}

/// Someone who signs in, or in again.
#[derive(Debug)]
pub(super) struct SigningIn {
    acceptor: Acceptor,
    /// PreauthSession.PreauthIntegrityHashValue
    pub(super) preauth: Preauth,
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Begin,
    /// A further channel.
    Bind,
    Again,
}

impl Session {
    /// The key of messages on this connection, or of those by which it is bound.
    pub(super) fn key(&self, conn: ConnId) -> Option<&SigningKey> {
        self.channels.get(&conn).map_or(self.key.as_ref(), Option::as_ref)
    }

    /// A connection on which it is valid.
    pub(super) fn any_channel(&self) -> Option<ConnId> {
        self.channels.keys().min().copied()
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        self.channels.remove(&conn);
    }
}

impl Engine {
    /// With which key a request is signed, if it is (MS-SMB2 3.3.5.2.4).
    pub(super) fn signed_by(
        &self,
        conn: ConnId,
        session: SessionId,
        header: &Header,
        message: &[u8],
    ) -> Result<Option<SigningKey>, Status> {
        let command = Command::from_wire(header.command.to_wire());
        let found = self.session(conn, session);
        if !header.flags.contains(HeaderFlags::SIGNED) {
            let must_sign = found.is_ok_and(|session| session.must_sign);
            return if must_sign { Err(nt::ACCESS_DENIED) } else { Ok(None) };
        }
        let found = match command {
            Some(Command::Negotiate) => return Err(Status::INVALID_PARAMETER),
            // It may be about to be bound.
            Some(Command::SessionSetup) => self.sessions.get(&session).ok_or(Status::USER_SESSION_DELETED),
            _ => found,
        };
        let key = found?.key(conn).ok_or(Status::NOT_SUPPORTED)?;
        if key.verify(message) { Ok(Some(*key)) } else { Err(nt::ACCESS_DENIED) }
    }

    /// SESSION_SETUP (MS-SMB2 3.3.5.5). `message` is that of the request, `signed` whether it bears a signature, a good one.
    pub(super) fn session_setup(
        &mut self,
        conn: ConnId,
        session: SessionId,
        setup: &SessionSetup<'_>,
        message: &[u8],
        signed: bool,
    ) -> Result<(SessionId, Status, Response<'static>), Status> {
        let agreed = self.agreed(conn)?;
        let session = self.begin_signing_in(conn, agreed, session, setup, signed)?;
        let Self { conns, setup: own, .. } = self;
        let signing_in = conns.get_mut(&conn).and_then(|conn| conn.signing_in.get_mut(&session));
        let signing_in = signing_in.ok_or(Status::USER_SESSION_DELETED)?;
        // MS-SMB2 3.3.5.5: every request of a binding.
        if signing_in.purpose == Purpose::Bind && !signed {
            return Err(Status::INVALID_PARAMETER);
        }
        signing_in.preauth.update(message);
        match signing_in.acceptor.step(setup.token, &own.accounts) {
            Ok(Step::Continue(token)) => {
                Ok((session, MORE_PROCESSING_REQUIRED, Response::SessionSetup { flags: 0, token }))
            }
            Ok(Step::Done { token, identity, session_key }) => {
                let Some(done) = self.conns.get_mut(&conn).and_then(|conn| conn.signing_in.remove(&session))
                else {
                    return Err(Status::USER_SESSION_DELETED);
                };
                let flags = if identity == Identity::Anonymous { IS_NULL } else { 0 };
                self.signed_in(conn, agreed, session, setup, done, identity, session_key)?;
                Ok((session, Status::SUCCESS, Response::SessionSetup { flags, token }))
            }
            Err(status) => {
                let failed = self.conns.get_mut(&conn).and_then(|conn| conn.signing_in.remove(&session));
                if failed.is_some_and(|failed| failed.purpose == Purpose::Again) {
                    self.end_session(session, SessionEnd::Refused);
                }
                Err(status)
            }
        }
    }

    /// Finds out who signs in, for which session.
    fn begin_signing_in(
        &mut self,
        conn: ConnId,
        agreed: Agreed,
        session: SessionId,
        setup: &SessionSetup<'_>,
        signed: bool,
    ) -> Result<SessionId, Status> {
        let known = self.conns.get(&conn).ok_or(Status::USER_SESSION_DELETED)?;
        if known.signing_in.contains_key(&session) {
            return Ok(session);
        }
        let here = self.sessions.values().filter(|session| session.channels.contains_key(&conn)).count();
        if known.signing_in.len() >= MOST_SIGNING_IN || here >= MOST_SESSIONS {
            return Err(Status::INSUFFICIENT_RESOURCES);
        }
        let preauth = known.preauth;
        let (session, purpose) = if session.get() == 0 {
            let fresh = u64::from_le_bytes(random()).max(1);
            (SessionId::new(fresh), Purpose::Begin)
        } else {
            let found = self.sessions.get(&session).ok_or(Status::USER_SESSION_DELETED)?;
            if setup.binding && agreed.dialect >= Dialect::Smb300 {
                found.may_bind(conn, agreed, signed)?;
                (session, Purpose::Bind)
            } else if found.channels.contains_key(&conn) {
                (session, Purpose::Again)
            } else {
                return Err(Status::USER_SESSION_DELETED);
            }
        };
        let target = Target::standalone(&self.setup.name, self.time);
        let acceptor = Acceptor::new(random(), target);
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.signing_in.insert(session, SigningIn { acceptor, preauth, purpose });
        }
        Ok(session)
    }

    /// Somebody has proved who they are (MS-SMB2 3.3.5.5.3).
    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    fn signed_in(
        &mut self,
        conn: ConnId,
        agreed: Agreed,
        session: SessionId,
        setup: &SessionSetup<'_>,
        done: SigningIn,
        identity: Identity,
        session_key: Option<[u8; 16]>,
    ) -> Result<(), Status> {
        let (preauth, previous) = (done.preauth.value(), SessionId::new(setup.previous));
        let key = session_key.map(|key| SigningKey::derive(agreed.dialect, key, Some(&preauth)));
        match done.purpose {
            Purpose::Begin => {
                self.replace(previous, session, &identity);
                self.host
                    .feed(Event::SessionBound { conn, session })
                    .map_err(|_| Status::INSUFFICIENT_RESOURCES)?;
                let user = user_id(&identity);
                let channels = HashMap::from([(conn, key)]);
                let must_sign = key.is_some() && setup.security_mode & SIGNING_REQUIRED != 0;
                let Agreed { client, dialect, .. } = agreed;
                let (trees, last_tree) = (HashMap::new(), 0);
                let fresh = Session { user, client, dialect, channels, key, must_sign, trees, last_tree };
                self.sessions.insert(session, fresh);
            }
            Purpose::Bind => {
                let found = self.sessions.get_mut(&session).ok_or(Status::USER_SESSION_DELETED)?;
                if user_id(&identity) != found.user {
                    return Err(Status::NOT_SUPPORTED);
                }
                self.host
                    .feed(Event::SessionBound { conn, session })
                    .map_err(|_| Status::INSUFFICIENT_RESOURCES)?;
                found.channels.insert(conn, key);
            }
            Purpose::Again => {
                let found = self.sessions.get(&session).ok_or(Status::USER_SESSION_DELETED)?;
                if user_id(&identity) != found.user {
                    self.end_session(session, SessionEnd::Refused);
                    return Err(Status::ACCESS_DENIED);
                }
                // The keys stay as they were.
                self.replace(previous, session, &identity);
            }
        }
        Ok(())
    }

    /// A session of the same user that is named as the former one ends (MS-SMB2 3.3.5.5.3).
    fn replace(&mut self, previous: SessionId, own: SessionId, identity: &Identity) {
        let user = user_id(identity);
        if previous != own && self.sessions.get(&previous).is_some_and(|other| other.user == user) {
            self.end_session(previous, SessionEnd::Replaced);
        }
    }

    /// A session ends.
    pub(super) fn end_session(&mut self, session: SessionId, end: SessionEnd) {
        if self.sessions.remove(&session).is_some() {
            // The machine knew of it as long as it was here.
            let _ = self.host.feed(Event::SessionEnded { session, end });
        }
    }

    /// TREE_CONNECT (MS-SMB2 3.3.5.7).
    pub(super) fn tree_connect(
        &mut self,
        session: SessionId,
        path: &[u8],
    ) -> Result<(TreeId, Response<'static>), Status> {
        let path = utf16(path)?;
        let name = path.rsplit('\\').next().unwrap_or_default().to_lowercase();
        let shared = if name == "ipc$" {
            Shared { share: Share::new(ShareKind::Pipe, ShareFlags::empty()), cluster: false }
        } else {
            *self.setup.shares.get(&name).ok_or(BAD_NETWORK_NAME)?
        };
        // All shares lead to the same files; pipes are elsewhere.
        let volume = self.host.fs().volume(if shared.share.kind == ShareKind::Pipe { "ipc$" } else { "" });
        let found = self.sessions.get_mut(&session).ok_or(Status::USER_SESSION_DELETED)?;
        let Shared { share, cluster } = shared;
        let last = found.last_tree.checked_add(1).filter(|_| found.trees.len() < MOST_TREES);
        found.last_tree = last.ok_or(Status::INSUFFICIENT_RESOURCES)?;
        let tree = TreeId::new(found.last_tree);
        found.trees.insert(tree, Tree { volume, share });
        let capabilities = [
            (share.flags.contains(ShareFlags::CONTINUOUSLY_AVAILABLE), 0x10),
            (share.flags.contains(ShareFlags::SCALE_OUT), 0x20),
            (cluster, 0x40),
        ];
        let capabilities = capabilities.into_iter().filter(|(has, _)| *has).map(|(_, bit)| bit).sum();
        let share_type = if share.kind == ShareKind::Pipe { 2 } else { 1 };
        Ok((tree, Response::TreeConnect { share_type, flags: 0, capabilities, maximal_access: ALL_ACCESS }))
    }

    /// Ends a tree connect as far as the session goes.
    pub(super) fn forget_tree(&mut self, session: SessionId, tree: TreeId) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.trees.remove(&tree);
        }
    }

    pub(super) fn agreed(&self, conn: ConnId) -> Result<Agreed, Status> {
        self.conns.get(&conn).and_then(|conn| conn.agreed).ok_or(Status::INVALID_PARAMETER)
    }

    /// The session of a request, if it is valid on its connection (MS-SMB2 3.3.5.2.9).
    pub(super) fn session(&self, conn: ConnId, session: SessionId) -> Result<&Session, Status> {
        let found = self.sessions.get(&session).filter(|session| session.channels.contains_key(&conn));
        found.ok_or(Status::USER_SESSION_DELETED)
    }

    /// Whence a request comes, if from a tree connect (MS-SMB2 3.3.5.2.11).
    pub(super) fn whence(&self, conn: ConnId, session: SessionId, tree: TreeId) -> Result<Whence, Status> {
        let agreed = self.agreed(conn)?;
        let found = self.session(conn, session)?;
        let Tree { volume, share } = *found.trees.get(&tree).ok_or(Status::NETWORK_NAME_DELETED)?;
        Ok(Whence {
            origin: Origin::new(conn, session, tree),
            volume,
            share,
            client: agreed.client,
            user: found.user,
            dialect: agreed.dialect,
            multi_channel: agreed.multi_channel(),
        })
    }
}

impl Session {
    /// Whether a connection may become a further channel (MS-SMB2 3.3.5.5).
    fn may_bind(&self, conn: ConnId, agreed: Agreed, signed: bool) -> Result<(), Status> {
        if self.channels.contains_key(&conn) {
            return Err(Status::REQUEST_NOT_ACCEPTED);
        }
        if !agreed.multi_channel() {
            return Err(Status::REQUEST_NOT_ACCEPTED);
        }
        if self.client != agreed.client {
            return Err(Status::USER_SESSION_DELETED);
        }
        if self.dialect != agreed.dialect || !signed {
            return Err(Status::INVALID_PARAMETER);
        }
        self.key.map(|_| ()).ok_or(Status::NOT_SUPPORTED)
    }
}

/// A user by a number that is the same after a restart. The domain is the client's fancy.
fn user_id(identity: &Identity) -> UserId {
    let name = match identity {
        Identity::Anonymous => String::new(),
        Identity::User { name, .. } => name.to_lowercase(),
    };
    let digest = Sha256::digest(name.as_bytes());
    UserId::new(digest.first_chunk().copied().unwrap_or_default())
}
