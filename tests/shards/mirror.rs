//! What `Server` was told, told to a registry and shards as well, with messages delivered at once.

use std::collections::BTreeMap;

use leasehold::server::{Action, BreakId, Config, Event, Protection, Server, Snapshot, Ticket};
use leasehold::{Actor, ClientGuid, ConnId, FileId, FileKey, Instant, LeaseKey, RequestId};

use crate::cluster::Cluster;
use crate::model::harness::translate;
use crate::model::steps::{FILES, NAMES, key_of};
use crate::model::{Key, Said};

/// An action without the names that the machine chose.
type Line = (Said, Option<Protection>);

/// A cluster, and how the names that it chooses correspond to those of a `Server`.
#[derive(Debug)]
pub(crate) struct Mirror {
    cluster: Cluster,
    /// The opens of the server, of the cluster.
    theirs: BTreeMap<FileId, RequestId>,
    ours: BTreeMap<FileId, RequestId>,
    /// What the cluster calls what the server calls so.
    names: BTreeMap<FileId, FileId>,
    tickets: Vec<(Ticket, RequestId)>,
    our_tickets: BTreeMap<RequestId, Ticket>,
    breaks: BTreeMap<BreakId, BreakId>,
    clients: BTreeMap<ConnId, ClientGuid>,
    /// The client of each CREATE.
    owners: BTreeMap<RequestId, ClientGuid>,
    /// The file of each request, and of each lease.
    files: BTreeMap<RequestId, FileKey>,
    leases: BTreeMap<Key, FileKey>,
}

impl Mirror {
    pub(crate) fn new(config: Config, count: u16) -> Self {
        Self {
            cluster: Cluster::new(config, config, count),
            theirs: BTreeMap::new(),
            ours: BTreeMap::new(),
            names: BTreeMap::new(),
            tickets: Vec::new(),
            our_tickets: BTreeMap::new(),
            breaks: BTreeMap::new(),
            clients: BTreeMap::new(),
            owners: BTreeMap::new(),
            files: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }

    /// Takes the same event and must say the same; `None` stands for time that passes.
    pub(crate) fn handle(&mut self, now: Instant, event: Option<&Event>, expected: &[Action]) {
        self.look_at(event);
        let event = event.map(|event| self.translated(event.clone()));
        let said = self.cluster.handle(now, event.clone());
        self.learn(expected, &said);
        let mut left: Vec<(Line, &Action)> =
            said.iter().map(|action| (line(action, &self.ours), action)).collect();
        for action in expected {
            let wanted = line(action, &self.theirs);
            let Some(at) = left.iter().position(|(other, _)| *other == wanted) else {
                panic!("{event:?}: not said: {wanted:?}\nsaid instead: {left:?}");
            };
            let (_, same) = left.remove(at);
            if let (Some(theirs), Some(ours)) = (break_of(action), break_of(same)) {
                self.breaks.insert(theirs, ours);
            }
        }
        assert!(left.is_empty(), "{event:?}: said too much: {left:?}");
        let order = |actions: &[Action], named| {
            let mut order: BTreeMap<FileKey, Vec<Line>> = BTreeMap::new();
            for line in actions.iter().map(|action| line(action, named)) {
                if let Some(file) = self.file_of(&line.0) {
                    order.entry(file).or_default().push(line);
                }
            }
            order
        };
        assert_eq!(
            order(&said, &self.ours),
            order(expected, &self.theirs),
            "{event:?}: the order for a file"
        );
    }

    /// Both hold the same, and have done the same.
    pub(crate) fn agree(&self, server: &Server) {
        assert_eq!(self.cluster.stats(), server.stats());
        assert_eq!(self.cluster.poll_timeout(), leasehold::Machine::poll_timeout(server));
        assert_eq!(named(self.cluster.snapshot(), &self.ours), named(server.snapshot(), &self.theirs));
    }

    /// To which file the requests belong.
    fn look_at(&mut self, event: Option<&Event>) {
        let of_open = |file_id: &FileId| self.theirs.get(file_id).map(|open| self.files[open]);
        let (request, file) = match event {
            Some(Event::Connected { conn, client, .. }) => {
                self.clients.insert(*conn, *client);
                return;
            }
            Some(Event::Create(create)) => {
                self.owners.insert(create.request, self.clients[&create.origin.conn]);
                (create.request, Some(create.file))
            }
            Some(Event::Operate { request, file, .. }) => (*request, Some(*file)),
            Some(Event::Reconnect(wanted)) => {
                (wanted.request, open_of(&self.theirs, wanted.persistent).map(|open| self.files[&open]))
            }
            Some(Event::RequestResilience { request, file_id, .. }) => (*request, of_open(file_id)),
            Some(Event::Lock(lock)) => (lock.request, of_open(&lock.file_id)),
            Some(Event::Close { request, file_id, .. }) => (*request, of_open(file_id)),
            Some(Event::OplockAck { request, ack, .. }) => (*request, of_open(&ack.file_id)),
            Some(Event::LeaseAck { request, conn, ack }) => (*request, self.of_lease(*conn, ack.key)),
            _ => return,
        };
        if let Some(file) = file {
            self.files.insert(request, file);
        }
    }

    fn of_lease(&self, conn: ConnId, key: LeaseKey) -> Option<FileKey> {
        self.leases.get(&(self.clients[&conn], key)).copied()
    }

    /// The file within which an order is kept. Entries of a directory change in any order when their files do.
    fn file_of(&self, said: &Said) -> Option<FileKey> {
        match said {
            Said::OpenFile { request }
            | Said::Proceed { request }
            | Said::Granted { request, .. }
            | Said::Refused { request, .. }
            | Said::Resolve { request }
            | Said::Interim { request }
            | Said::Closed { request }
            | Said::Accepted { request }
            | Said::LeaseAck { request, .. }
            | Said::OplockAck { request, .. }
            | Said::CloseFile { open: request, .. }
            | Said::OplockBreak { open: request, .. } => self.files.get(request).copied(),
            Said::LeaseBreak { conn, body } => {
                let directory = |file: &FileKey| (FILES..NAMES).any(|name| key_of(name) == *file);
                self.of_lease(*conn, body.key).filter(|file| !directory(file))
            }
            Said::Unlink { file } => Some(*file),
        }
    }

    /// The event with the names that the cluster has chosen.
    fn translated(&mut self, mut event: Event) -> Event {
        let names = &self.names;
        let ours = |file_id: FileId| names.get(&file_id).copied().unwrap_or(file_id);
        match &mut event {
            Event::Opened { file_id, .. }
            | Event::Close { file_id, .. }
            | Event::Used { file_id }
            | Event::RequestResilience { file_id, .. } => *file_id = ours(*file_id),
            Event::Reconnect(wanted) => {
                let named = names.iter().find(|(theirs, _)| theirs.persistent == wanted.persistent);
                wanted.persistent = named.map_or(wanted.persistent, |(_, ours)| ours.persistent);
            }
            Event::Operate { actor: Actor::Open(file_id), .. } => *file_id = ours(*file_id),
            Event::Lock(lock) => lock.file_id = ours(lock.file_id),
            Event::OplockAck { ack, .. } => ack.file_id = ours(ack.file_id),
            Event::Done { ticket, .. } => {
                let at = self.tickets.iter().position(|(known, _)| known == ticket).unwrap();
                let (_, request) = self.tickets.remove(at);
                *ticket = self.our_tickets.remove(&request).unwrap();
            }
            Event::Undelivered { id, .. } => *id = self.breaks[id],
            _ => {}
        }
        event
    }

    fn learn(&mut self, theirs: &[Action], ours: &[Action]) {
        for action in theirs {
            match *action {
                Action::OpenFile { request, file_id } => {
                    self.theirs.insert(file_id, request);
                    let same = ours.iter().find_map(|action| match *action {
                        Action::OpenFile { request: other, file_id } if other == request => Some(file_id),
                        _ => None,
                    });
                    self.names.extend(same.map(|ours| (file_id, ours)));
                }
                Action::Proceed { request, ticket } => self.tickets.push((ticket, request)),
                Action::Granted { request, grant } => {
                    let file_id = grant.file_id;
                    let open = open_of(&self.theirs, file_id.persistent).unwrap();
                    // It may have another name from here on.
                    self.theirs.insert(file_id, open);
                    let same = ours.iter().find_map(|action| match *action {
                        Action::Granted { request: other, grant } if other == request => Some(grant.file_id),
                        _ => None,
                    });
                    self.names.extend(same.map(|ours| (file_id, ours)));
                    // One without a state may be of a key that leads elsewhere.
                    if let Some(lease) = grant.lease.filter(|lease| !lease.state().is_empty()) {
                        self.leases.insert((self.owners[&open], lease.key()), self.files[&open]);
                    }
                }
                _ => {}
            }
        }
        for action in ours {
            match *action {
                Action::OpenFile { request, file_id } => {
                    assert_eq!(self.ours.insert(file_id, request), None, "{file_id} was given out before");
                }
                Action::Granted { grant, .. } => {
                    let open = open_of(&self.ours, grant.file_id.persistent).unwrap();
                    let other = self.ours.insert(grant.file_id, open);
                    assert!(
                        other.is_none_or(|other| other == open),
                        "{} was given out before",
                        grant.file_id
                    );
                }
                Action::Proceed { request, ticket } => {
                    self.our_tickets.insert(request, ticket);
                }
                _ => {}
            }
        }
    }
}

/// The CREATE of the open with this persistent half.
fn open_of(names: &BTreeMap<FileId, RequestId>, persistent: u64) -> Option<RequestId> {
    names.iter().find(|(file_id, _)| file_id.persistent == persistent).map(|(_, open)| *open)
}

fn line(action: &Action, named: &BTreeMap<FileId, RequestId>) -> Line {
    let protection = match action {
        Action::SendLeaseBreak { protection, .. } | Action::SendOplockBreak { protection, .. } => {
            Some(*protection)
        }
        _ => None,
    };
    (translate(action, |file_id| named.get(&file_id).copied()).unwrap(), protection)
}

fn break_of(action: &Action) -> Option<BreakId> {
    match action {
        Action::SendLeaseBreak { id, .. } | Action::SendOplockBreak { id, .. } => Some(*id),
        _ => None,
    }
}

/// A snapshot with requests in place of FileIds.
fn named(mut snapshot: Snapshot, names: &BTreeMap<FileId, RequestId>) -> Snapshot {
    let name = |file_id: &mut FileId| *file_id = FileId { persistent: names[file_id].get(), volatile: 0 };
    for file in &mut snapshot.files {
        file.opens.iter_mut().for_each(|open| name(&mut open.file_id));
        file.opening.iter_mut().for_each(&name);
        file.locks.iter_mut().for_each(|lock| name(&mut lock.file_id));
        // The last resort of their order is the name.
        file.locks.sort_by_key(|lock| (lock.offset, lock.len, lock.file_id, lock.exclusive));
    }
    snapshot
}
