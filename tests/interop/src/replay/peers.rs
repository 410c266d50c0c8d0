//! Who is there: connections, sessions and tree connects by their labels, and the numbers that the machine knows them by.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{Capabilities, Origin, Terms};
use leasehold::{ClientGuid, ConnId, Dialect, SessionId, Status, TreeId};

use super::memfs::VolumeId;

/// Everybody who is connected.
#[derive(Debug, Default)]
pub(super) struct Peers {
    conns: BTreeMap<String, Conn>,
    /// The connections on which each session is valid.
    sessions: BTreeMap<String, BTreeSet<String>>,
    trees: BTreeMap<String, Tree>,
    numbers: BTreeMap<(Kind, String), u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Conn,
    Session,
    Tree,
}

#[derive(Debug)]
struct Conn {
    /// Once NEGOTIATE is done.
    client: Option<ClientGuid>,
}

#[derive(Debug)]
struct Tree {
    session: String,
    volume: VolumeId,
}

impl Peers {
    pub(super) fn connect(&mut self, conn: &str) {
        self.conns.insert(conn.to_owned(), Conn { client: None });
    }

    pub(super) fn negotiate(&mut self, conn: &str, client: ClientGuid) {
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.client = Some(client);
        }
    }

    /// A connection is gone. Whether the machine has heard of it.
    pub(super) fn disconnect(&mut self, conn: &str) -> bool {
        let known = self.conns.remove(conn).is_some_and(|conn| conn.client.is_some());
        for channels in self.sessions.values_mut() {
            channels.remove(conn);
        }
        let gone: Vec<_> = self.sessions.iter().filter(|(_, channels)| channels.is_empty()).collect();
        for session in gone.into_iter().map(|(session, _)| session.clone()).collect::<Vec<_>>() {
            self.end_session(&session);
        }
        known
    }

    pub(super) fn bind(&mut self, conn: &str, session: &str) {
        self.sessions.entry(session.to_owned()).or_default().insert(conn.to_owned());
    }

    /// A session ends. Whether there was one.
    pub(super) fn end_session(&mut self, session: &str) -> bool {
        self.trees.retain(|_, tree| tree.session != session);
        self.sessions.remove(session).is_some()
    }

    pub(super) fn add_tree(&mut self, session: &str, tree: &str, volume: VolumeId) {
        self.trees.insert(tree.to_owned(), Tree { session: session.to_owned(), volume });
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

    /// Whence a request comes, and the volume of its tree connect (MS-SMB2 3.3.5.2.9, 3.3.5.2.11).
    pub(super) fn origin(
        &mut self,
        conn: &str,
        session: Option<&str>,
        tree: Option<&str>,
    ) -> Result<(Origin, VolumeId), Status> {
        let session = self.session(conn, session)?;
        let connected = tree.and_then(|tree| Some((tree, self.trees.get(tree)?)));
        let (tree, volume) = match connected.filter(|(_, connected)| connected.session == session) {
            Some((tree, connected)) => (tree, connected.volume),
            None => return Err(Status::NETWORK_NAME_DELETED),
        };
        let (conn, session) = (self.conn_id(conn), self.session_id(session));
        let tree = u32::try_from(self.number(Kind::Tree, tree)).unwrap_or(u32::MAX);
        Ok((Origin::new(conn, session, TreeId::new(tree)), volume))
    }

    /// The session of a request, if it is valid on its connection (MS-SMB2 3.3.5.2.9).
    pub(super) fn session<'a>(&self, conn: &str, session: Option<&'a str>) -> Result<&'a str, Status> {
        let valid =
            |session: &&str| self.sessions.get(*session).is_some_and(|channels| channels.contains(conn));
        session.filter(valid).ok_or(Status::USER_SESSION_DELETED)
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
        self.conns.get(conn)?.client
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
