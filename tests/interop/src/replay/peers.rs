//! Who is there: connections, sessions and tree connects by their labels, and the numbers that the machine knows them by.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{Capabilities, Origin, Share, ShareFlags, Terms};
use leasehold::{ClientGuid, ConnId, Dialect, SessionId, Status, TreeId, UserId};

use crate::fs::VolumeId;
use crate::host::Whence;

/// SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY
const CONTINUOUS_AVAILABILITY: u32 = 0x10;
/// SMB2_SHARE_CAP_SCALEOUT
const SCALE_OUT: u32 = 0x20;

/// Everybody who is connected.
#[derive(Debug, Default)]
pub(super) struct Peers {
    conns: BTreeMap<String, Conn>,
    sessions: BTreeMap<String, Session>,
    trees: BTreeMap<String, Tree>,
    numbers: BTreeMap<(Kind, String), u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Conn,
    Session,
    Tree,
    User,
}

#[derive(Debug)]
struct Conn {
    /// Once NEGOTIATE is done.
    agreed: Option<(ClientGuid, Terms)>,
}

#[derive(Debug)]
struct Session {
    user: UserId,
    /// The connections on which it is valid.
    channels: BTreeSet<String>,
}

#[derive(Debug)]
struct Tree {
    session: String,
    volume: VolumeId,
    share: Share,
}

impl Peers {
    pub(super) fn connect(&mut self, conn: &str) {
        self.conns.insert(conn.to_owned(), Conn { agreed: None });
    }

    pub(super) fn negotiate(&mut self, conn: &str, client: ClientGuid, terms: Terms) {
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.agreed = Some((client, terms));
        }
    }

    /// A connection is gone. Whether the machine has heard of it.
    pub(super) fn disconnect(&mut self, conn: &str) -> bool {
        let known = self.conns.remove(conn).is_some_and(|conn| conn.agreed.is_some());
        for session in self.sessions.values_mut() {
            session.channels.remove(conn);
        }
        let gone: Vec<_> = self.sessions.iter().filter(|(_, session)| session.channels.is_empty()).collect();
        for session in gone.into_iter().map(|(session, _)| session.clone()).collect::<Vec<_>>() {
            self.end_session(&session);
        }
        known
    }

    /// A session is valid on a connection. Its user is the one who began it; nobody in particular has a name without letters.
    pub(super) fn bind(&mut self, conn: &str, session: &str, user: &str) {
        let user = self.user(user);
        let fresh = Session { user, channels: BTreeSet::new() };
        self.sessions.entry(session.to_owned()).or_insert(fresh).channels.insert(conn.to_owned());
    }

    /// Whether a session is of that user.
    pub(super) fn is_of(&mut self, session: &str, user: &str) -> bool {
        let user = self.user(user);
        self.sessions.get(session).is_some_and(|session| session.user == user)
    }

    /// A session ends. Whether there was one.
    pub(super) fn end_session(&mut self, session: &str) -> bool {
        self.trees.retain(|_, tree| tree.session != session);
        self.sessions.remove(session).is_some()
    }

    pub(super) fn add_tree(&mut self, session: &str, tree: &str, volume: VolumeId, capabilities: u32) {
        let mut share = Share::DISK;
        share.flags.set(ShareFlags::CONTINUOUSLY_AVAILABLE, capabilities & CONTINUOUS_AVAILABILITY != 0);
        share.flags.set(ShareFlags::SCALE_OUT, capabilities & SCALE_OUT != 0);
        self.trees.insert(tree.to_owned(), Tree { session: session.to_owned(), volume, share });
    }

    pub(super) fn end_tree(&mut self, tree: &str) {
        self.trees.remove(tree);
    }

    pub(super) fn conn_id(&mut self, conn: &str) -> ConnId {
        ConnId::new(self.number(Kind::Conn, conn))
    }

    pub(super) fn session_id(&mut self, session: &str) -> SessionId {
        SessionId::new(self.number(Kind::Session, session))
    }

    /// Whence a request comes, if from a tree connect (MS-SMB2 3.3.5.2.9, 3.3.5.2.11).
    pub(super) fn origin(
        &mut self,
        conn: &str,
        session: Option<&str>,
        tree: Option<&str>,
    ) -> Result<Whence, Status> {
        let session = self.session(conn, session)?;
        let agreed = self.conns.get(conn).and_then(|conn| conn.agreed);
        let user = self.sessions.get(session).map(|session| session.user);
        let (Some((client, terms)), Some(user)) = (agreed, user) else {
            return Err(Status::USER_SESSION_DELETED);
        };
        let connected = tree.and_then(|tree| Some((tree, self.trees.get(tree)?)));
        let (tree, volume, share) = match connected.filter(|(_, connected)| connected.session == session) {
            Some((tree, connected)) => (tree, connected.volume, connected.share),
            None => return Err(Status::NETWORK_NAME_DELETED),
        };
        let (conn, session) = (self.conn_id(conn), self.session_id(session));
        let tree = u32::try_from(self.number(Kind::Tree, tree)).unwrap_or(u32::MAX);
        let origin = Origin::new(conn, session, TreeId::new(tree));
        let multi_channel = terms.capabilities.contains(Capabilities::MULTI_CHANNEL);
        Ok(Whence { origin, volume, share, client, user, dialect: terms.dialect, multi_channel })
    }

    /// The session of a request, if it is valid on its connection (MS-SMB2 3.3.5.2.9).
    pub(super) fn session<'a>(&self, conn: &str, session: Option<&'a str>) -> Result<&'a str, Status> {
        let valid =
            |label: &&str| self.sessions.get(*label).is_some_and(|session| session.channels.contains(conn));
        session.filter(valid).ok_or(Status::USER_SESSION_DELETED)
    }

    /// A connection on which a session is valid.
    pub(super) fn channel(&self, session: SessionId) -> Option<ConnId> {
        let number = |label: &String| self.numbers.get(&(Kind::Session, label.clone())).copied();
        let found = self.sessions.iter().find(|(label, _)| number(label) == Some(session.get()));
        let conn = found?.1.channels.first()?.clone();
        self.numbers.get(&(Kind::Conn, conn)).copied().map(ConnId::new)
    }

    /// Whether nobody is connected.
    pub(super) fn deserted(&self) -> bool {
        self.conns.is_empty()
    }

    /// The connection with that number.
    pub(super) fn conn_of(&self, id: ConnId) -> Option<&str> {
        self.conns
            .keys()
            .find(|conn| {
                self.numbers.get(&(Kind::Conn, (*conn).clone())).is_some_and(|number| *number == id.get())
            })
            .map(String::as_str)
    }

    /// The client behind a connection.
    pub(super) fn client_of(&self, conn: &str) -> Option<ClientGuid> {
        self.conns.get(conn)?.agreed.map(|(client, _)| client)
    }

    fn user(&mut self, name: &str) -> UserId {
        let mut octets = [0; 16];
        for (octet, digit) in octets.iter_mut().zip(self.number(Kind::User, name).to_le_bytes()) {
            *octet = digit;
        }
        UserId::new(octets)
    }

    /// Counts the labels of a kind, from 1.
    fn number(&mut self, kind: Kind, label: &str) -> u64 {
        let next = self.numbers.len() as u64 + 1;
        *self.numbers.entry((kind, label.to_owned())).or_insert(next)
    }
}

/// What NEGOTIATE agrees on: what was recorded, else the highest dialect offered and what a server has to offer with it.
/// `None` if that is no SMB2 dialect.
pub(super) fn terms(offered: Option<u16>, chosen: Option<u16>, capabilities: Option<u32>) -> Option<Terms> {
    let dialect = Dialect::from_wire(chosen.or(offered)?)?;
    let usual = match dialect {
        Dialect::Smb202 => Capabilities::empty(),
        Dialect::Smb210 => Capabilities::LEASING,
        _ => Capabilities::LEASING.union(Capabilities::MULTI_CHANNEL).union(Capabilities::DIRECTORY_LEASING),
    };
    Some(Terms::new(dialect, capabilities.map_or(usual, Capabilities::from_bits_retain)))
}
