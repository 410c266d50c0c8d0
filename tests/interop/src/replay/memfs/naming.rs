//! Names of open files: further ones, and others.

use std::collections::BTreeSet;

use leasehold::{Access, FileKey, Status};

use super::{Found, Handle, Kind, LinkId, MemFs, NamedLink, NodeId, READ_ONLY, VolumeId};
use crate::replay::names::Name;
use crate::replay::nt;

/// A name that an open file is to get. Streams are not renamed here.
#[derive(Clone, Debug)]
pub(in crate::replay) struct Naming {
    pub(in crate::replay) volume: VolumeId,
    pub(in crate::replay) name: Name,
    /// Whether a file of that name makes room.
    pub(in crate::replay) replace: bool,
    pub(in crate::replay) old: OldName,
}

/// What becomes of the name under which the file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replay) enum OldName {
    /// A rename.
    Goes,
    /// A hard link.
    Stays,
}

/// Whom a new name concerns beside the file itself.
#[derive(Clone, Debug)]
pub(in crate::replay) struct Concerned {
    /// What makes room: the file, and each of its streams.
    pub(in crate::replay) replaced: Vec<FileKey>,
    /// The directory in which the name will stand.
    pub(in crate::replay) directory: FileKey,
    /// What is open below a directory that is renamed.
    pub(in crate::replay) below: Vec<FileKey>,
}

impl MemFs {
    /// Whom a new name concerns, unless it is out of the question (MS-FSA 2.1.5.15.6, 2.1.5.15.12).
    pub(in crate::replay) fn concerned(&self, handle: Handle, naming: &Naming) -> Result<Concerned, Status> {
        let open = match naming.old {
            OldName::Goes => self.accessible(handle, Access::DELETE)?,
            OldName::Stays => self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?,
        };
        let named = self.links.get(open.link).ok_or(Status::FILE_CLOSED)?;
        if !open.stream.is_empty() || !naming.name.stream.is_empty() {
            return Err(Status::NOT_SUPPORTED);
        }
        let is_directory = self.is_directory(open.link);
        match naming.old {
            OldName::Goes if named.parent.is_none() => return Err(nt::ACCESS_DENIED),
            OldName::Stays if is_directory => return Err(nt::FILE_IS_A_DIRECTORY),
            OldName::Goes | OldName::Stays => {}
        }
        let (directory, replaced) = match self.find(naming.volume, &naming.name)? {
            Found::Nothing(directory) => (directory, Vec::new()),
            Found::Object(link) | Found::NoStream(link) => {
                let keys = self.make_room(link, open.link, naming)?;
                let parent = self.links.get(link).and_then(|link| link.parent);
                (parent.ok_or(nt::ACCESS_DENIED)?, keys)
            }
        };
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
    pub(in crate::replay) fn give_name(&mut self, handle: Handle, naming: &Naming) -> Result<(), Status> {
        let Concerned { replaced, below, .. } = self.concerned(handle, naming)?;
        let mut open = self.handles.values().filter_map(|open| self.key_of(open.link, &open.stream));
        if !below.is_empty() || open.any(|key| replaced.contains(&key)) {
            return Err(nt::ACCESS_DENIED);
        }
        let link = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?.link;
        let node = self.links.get(link).ok_or(Status::FILE_CLOSED)?.node;
        let parent = match self.find(naming.volume, &naming.name)? {
            Found::Nothing(directory) => directory,
            Found::Object(other) | Found::NoStream(other) if other == link => return Ok(()),
            Found::Object(other) | Found::NoStream(other) => {
                self.detach(other);
                self.links.get(other).and_then(|other| other.parent).ok_or(nt::ACCESS_DENIED)?
            }
        };
        let called = naming.name.parts.last().cloned().unwrap_or_default();
        match naming.old {
            OldName::Goes => {
                self.detach(link);
                self.attach(link, parent, called);
            }
            OldName::Stays => {
                self.add_link(parent, called, node);
            }
        }
        Ok(())
    }

    /// A further name.
    pub(super) fn add_link(&mut self, parent: LinkId, name: String, node: NodeId) -> LinkId {
        let link = self.links.len();
        self.links.push(NamedLink { parent: None, name: String::new(), node });
        self.attach(link, parent, name);
        link
    }

    /// Takes a name out of its directory.
    pub(super) fn detach(&mut self, link: LinkId) {
        let Some(NamedLink { parent: Some(parent), name, .. }) = self.links.get(link) else { return };
        let (parent, name) = (*parent, name.clone());
        if let Some(Kind::Directory { children, .. }) = self.node_mut(parent).map(|node| &mut node.kind) {
            children.remove(&name);
        }
    }

    fn attach(&mut self, link: LinkId, parent: LinkId, name: String) {
        if let Some(Kind::Directory { children, .. }) = self.node_mut(parent).map(|node| &mut node.kind) {
            children.insert(name.clone(), link);
        }
        if let Some(link) = self.links.get_mut(link) {
            (link.parent, link.name) = (Some(parent), name);
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

    fn is_directory(&self, link: LinkId) -> bool {
        matches!(self.node_of(link).map(|node| &node.kind), Some(Kind::Directory { .. }))
    }

    /// Whether a name is that of a directory, or below it.
    fn within(&self, link: LinkId, directory: NodeId) -> bool {
        self.links.get(link).is_some_and(|named| named.node == directory) || self.below(link, directory)
    }

    fn below(&self, link: LinkId, directory: NodeId) -> bool {
        let parent = self.links.get(link).and_then(|link| link.parent);
        parent.is_some_and(|parent| self.within(parent, directory))
    }
}
