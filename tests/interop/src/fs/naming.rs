//! Names of open files: further ones, and others.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::successors;

use leasehold::{Access, FileKey, Status};

use super::names::Name;
use super::room::ENTRY;
use super::{Found, Handle, Kind, LinkId, MemFs, NamedLink, NodeId, Place, READ_ONLY, VolumeId, facts, nt};

/// A name that an open file is to get. Streams are not renamed here.
#[derive(Clone, Debug)]
pub struct Naming {
    pub volume: VolumeId,
    pub name: Name,
    /// Whether a file of that name makes room.
    pub replace: bool,
    pub old: OldName,
}

/// What becomes of the name under which the file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldName {
    /// A rename.
    Goes,
    /// A hard link.
    Stays,
}

/// Whom a new name concerns beside the file itself.
#[derive(Clone, Debug)]
pub struct Concerned {
    /// What makes room: the file, and each of its streams.
    pub replaced: Vec<FileKey>,
    /// The directory in which the name will stand.
    pub directory: FileKey,
    /// What is open below a directory that is renamed.
    pub below: Vec<FileKey>,
}

impl MemFs {
    /// Whom a new name concerns, unless it is out of the question (MS-FSA 2.1.5.15.6, 2.1.5.15.12).
    pub fn concerned(&self, handle: Handle, naming: &Naming) -> Result<Concerned, Status> {
        let open = match naming.old {
            OldName::Goes => self.open_with(handle, Access::DELETE)?,
            OldName::Stays => self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?,
        };
        let named = self.links.get(open.link).ok_or(Status::FILE_CLOSED)?;
        if !open.stream.is_empty() || !naming.name.stream.is_empty() {
            return Err(Status::NOT_SUPPORTED);
        }
        let is_directory = self.is_directory(open.link);
        match naming.old {
            OldName::Goes if self.parent_of(open.link).is_none() => return Err(nt::ACCESS_DENIED),
            OldName::Stays if is_directory => return Err(nt::FILE_IS_A_DIRECTORY),
            OldName::Goes | OldName::Stays => {}
        }
        let (directory, replaced) = match self.find(naming.volume, &naming.name)? {
            Found::Nothing(directory) => (directory, Vec::new()),
            Found::Object(link) | Found::NoStream(link) => {
                let keys = self.make_room(link, open.link, naming)?;
                (self.parent_of(link).ok_or(nt::ACCESS_DENIED)?, keys)
            }
        };
        if self.node_of(directory).is_some_and(|node| !node.goes.is_empty()) {
            return Err(Status::DELETE_PENDING);
        }
        let below: BTreeSet<FileKey> = match naming.old {
            OldName::Goes if is_directory => {
                if self.within(directory, named.node) {
                    return Err(Status::INVALID_PARAMETER);
                }
                let handles = self.handles.values();
                let below = handles.filter(|other| self.below(other.link, named.node));
                below.filter_map(|other| self.key_of(other.link, &other.stream)).collect()
            }
            OldName::Goes | OldName::Stays => BTreeSet::new(),
        };
        let directory = self.key_of(directory, "").ok_or(nt::OBJECT_PATH_NOT_FOUND)?;
        Ok(Concerned { replaced, directory, below: below.into_iter().collect() })
    }

    /// Gives the name. By now whoever is concerned has to have closed.
    pub fn give_name(&mut self, handle: Handle, naming: &Naming) -> Result<(), Status> {
        let Concerned { replaced, below, .. } = self.concerned(handle, naming)?;
        let found = self.find(naming.volume, &naming.name)?;
        let busy = |link: LinkId| self.node_of(link).is_some_and(|node| node.opens > 0);
        let replaces = matches!(found, Found::Object(other) if !replaced.is_empty() && busy(other));
        if !below.is_empty() || replaces {
            return Err(nt::ACCESS_DENIED);
        }
        let link = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?.link;
        let node = self.links.get(link).ok_or(Status::FILE_CLOSED)?.node;
        if naming.old == OldName::Stays {
            self.room.take(ENTRY)?;
        }
        let parent = match found {
            Found::Nothing(directory) => directory,
            Found::Object(other) | Found::NoStream(other) => {
                let parent = self.parent_of(other).ok_or(nt::ACCESS_DENIED)?;
                if other != link {
                    self.detach(other);
                }
                parent
            }
        };
        match naming.old {
            OldName::Goes => {
                self.detach(link);
                self.attach(link, parent, &naming.name);
            }
            OldName::Stays => {
                self.add_link(parent, &naming.name, node);
            }
        }
        Ok(())
    }

    /// A further name. It is counted already.
    pub(super) fn add_link(&mut self, parent: LinkId, name: &Name, node: NodeId) -> LinkId {
        let (called, place) = (String::new(), Place::Nowhere);
        let link = self.links.insert(NamedLink { place, name: String::new(), called, node, opens: 0 });
        self.attach(link, parent, name);
        link
    }

    /// The directory that a name stands in. The root, and what is deleted, stand in none.
    pub(super) fn parent_of(&self, link: LinkId) -> Option<LinkId> {
        match self.links.get(link)?.place {
            Place::In(directory) => Some(directory),
            Place::Root | Place::Nowhere => None,
        }
    }

    /// Takes a name out of its directory.
    pub(super) fn detach(&mut self, link: LinkId) {
        let Some(NamedLink { place, name, node, .. }) = self.links.get_mut(link) else { return };
        let Place::In(parent) = *place else { return };
        *place = Place::Nowhere;
        let (name, id) = (name.clone(), *node);
        self.entry_changed(parent, |children| children.remove(&name));
        if let Some(node) = self.nodes.get_mut(id) {
            node.names = node.names.saturating_sub(1);
            node.goes.retain(|(_, going)| *going != link);
        }
        self.sweep(link);
    }

    fn attach(&mut self, link: LinkId, parent: LinkId, name: &Name) {
        let last = name.parts.last().cloned().unwrap_or_default();
        self.entry_changed(parent, |children| children.insert(last.clone(), link));
        let Some(named) = self.links.get_mut(link) else { return };
        (named.place, named.name, named.called) = (Place::In(parent), last, name.called.clone());
        if let Some(node) = self.nodes.get_mut(named.node) {
            node.names = node.names.saturating_add(1);
        }
    }

    /// Changes the entries of a directory, and with them its times.
    fn entry_changed(
        &mut self,
        directory: LinkId,
        change: impl FnOnce(&mut BTreeMap<String, LinkId>) -> Option<LinkId>,
    ) {
        let now = self.now;
        let Some(node) = self.node_mut(directory) else { return };
        if let Kind::Directory { children, .. } = &mut node.kind {
            change(children);
        }
        if now.is_some() {
            node.times = facts::written(node.times, now, [false; 4]);
        }
    }

    /// The keys of what has the name now, if it may lose it.
    fn make_room(&self, link: LinkId, own: LinkId, naming: &Naming) -> Result<Vec<FileKey>, Status> {
        if link == own && naming.old == OldName::Goes {
            return Ok(Vec::new());
        }
        if !naming.replace {
            return Err(nt::OBJECT_NAME_COLLISION);
        }
        match self.node_of(link) {
            Some(node) if node.attributes & READ_ONLY != 0 => Err(nt::ACCESS_DENIED),
            Some(node) => match &node.kind {
                Kind::File { streams } => Ok(streams.values().map(|stream| stream.key).collect()),
                Kind::Directory { .. } => Err(nt::ACCESS_DENIED),
            },
            None => Err(nt::OBJECT_PATH_NOT_FOUND),
        }
    }

    pub(super) fn is_directory(&self, link: LinkId) -> bool {
        matches!(self.node_of(link).map(|node| &node.kind), Some(Kind::Directory { .. }))
    }

    /// Whether a name is that of a directory, or below it.
    fn within(&self, link: LinkId, directory: NodeId) -> bool {
        self.links.get(link).is_some_and(|named| named.node == directory) || self.below(link, directory)
    }

    fn below(&self, link: LinkId, directory: NodeId) -> bool {
        let parents = successors(self.parent_of(link), |link| self.parent_of(*link));
        parents.into_iter().any(|link| self.links.get(link).is_some_and(|named| named.node == directory))
    }
}
