//! A file system in memory: names, streams, directories, attributes and data. It knows nothing of leases.
//!
//! What a server machine decides is left to it: whether a file that is about to go may be opened, and when its name goes.
//! [`MemFs::close`] only holds the decision against what it knows itself.

mod content;
mod data;
mod facts;
mod listing;
pub mod names;
mod naming;
pub mod nt;
pub mod operations;
mod room;

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{Link, ObjectKind};
use leasehold::{Access, CreateAction, CreateOptions, Disposition, FileKey, Status};

use content::Content;
pub use content::{BLOCK, Piece};
pub use facts::{Basic, Facts, Info, StreamFacts, VolumeFacts};
pub use listing::Entry;
use listing::Listing;
use names::{Name, fold};
pub use naming::{Concerned, Naming, OldName};
use room::{ENTRY, Room, Slots};

/// FILE_ATTRIBUTE_READONLY
const READ_ONLY: u32 = 0x1;
/// FILE_ATTRIBUTE_HIDDEN and FILE_ATTRIBUTE_SYSTEM
const HIDDEN_OR_SYSTEM: u32 = 0x2 | 0x4;
/// FILE_ATTRIBUTE_DIRECTORY
const DIRECTORY: u32 = 0x10;
/// FILE_ATTRIBUTE_ARCHIVE
const ARCHIVE: u32 = 0x20;
/// FILE_ATTRIBUTE_NORMAL: none of the others.
const NORMAL: u32 = 0x80;
/// The attributes that a client may choose.
const SETTABLE: u32 = READ_ONLY | HIDDEN_OR_SYSTEM | ARCHIVE;

/// A file system with any number of volumes.
#[derive(Debug, Default)]
pub struct MemFs {
    volumes: BTreeMap<String, VolumeId>,
    nodes: Slots<Node>,
    links: Slots<NamedLink>,
    handles: BTreeMap<Handle, Open>,
    awaited: BTreeMap<(VolumeId, Name), Awaited>,
    keys: u128,
    opened: u64,
    indices: u64,
    room: Room,
    /// The FILETIME, once somebody says it.
    now: Option<u64>,
}

/// A share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeId(LinkId);

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(u64);

/// What a CREATE asks of the file system. Generic access is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub access: Access,
    pub disposition: Disposition,
    pub options: CreateOptions,
    pub attributes: u32,
}

/// What a CREATE got.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    pub handle: Handle,
    pub action: CreateAction,
    pub kind: ObjectKind,
    pub allocation: u64,
}

type NodeId = usize;
type LinkId = usize;

/// A file or directory, whatever it is called.
#[derive(Debug)]
struct Node {
    attributes: u32,
    /// CreationTime, LastAccessTime, LastWriteTime, ChangeTime. Unknown without a clock, unless they were set.
    times: [Option<u64>; 4],
    /// The streams that are to be deleted, each with the name under which it was.
    goes: BTreeSet<(String, LinkId)>,
    kind: Kind,
    /// Names it. Never used again.
    index: u64,
    /// Its names.
    names: u32,
    /// Its handles, whatever the name and the stream.
    opens: u32,
}

#[derive(Debug)]
enum Kind {
    /// The stream without a name is the data of the file itself.
    File { streams: BTreeMap<String, Stream> },
    /// Streams of directories are not modelled.
    Directory { key: FileKey, children: BTreeMap<String, LinkId>, opens: u32 },
}

#[derive(Debug)]
struct Stream {
    key: FileKey,
    called: String,
    content: Content,
    opens: u32,
}

/// A name that leads to a node.
#[derive(Debug)]
struct NamedLink {
    place: Place,
    name: String,
    /// As it was written.
    called: String,
    node: NodeId,
    opens: u32,
}

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The root of a volume.
    Root,
    /// A directory.
    In(LinkId),
    /// Deleted, or about to be moved.
    Nowhere,
}

#[derive(Debug)]
struct Open {
    volume: VolumeId,
    link: LinkId,
    stream: String,
    access: Access,
    options: CreateOptions,
    listing: Option<Listing>,
    position: u64,
    /// Which times do not follow what this handle does any more (MS-FSA 2.1.5.15.2).
    fixed: [bool; 4],
}

/// A name that leads nowhere yet, and how many CREATEs are on their way to it.
#[derive(Debug)]
struct Awaited {
    key: FileKey,
    creates: u32,
}

/// Where a name leads.
enum Found {
    Object(LinkId),
    /// A file, but no such stream of it.
    NoStream(LinkId),
    /// A directory, but no such file in it.
    Nothing(LinkId),
}

impl MemFs {
    /// A file system that holds so many octets and no more. Names and streams count, too.
    pub fn with_limit(octets: u64) -> Self {
        Self { room: Room::with_limit(octets), ..Self::default() }
    }

    /// Says what time it is, as a FILETIME. Times are unknown before it is said.
    pub fn set_time(&mut self, filetime: u64) {
        self.now = Some(filetime);
    }

    /// The volume of a share, made when it is first asked for.
    pub fn volume(&mut self, share: &str) -> VolumeId {
        let folded = fold(share);
        if let Some(volume) = self.volumes.get(&folded) {
            return *volume;
        }
        let key = self.fresh_key();
        let node = self.add_node(DIRECTORY, Kind::Directory { key, children: BTreeMap::new(), opens: 0 });
        let called = share.rsplit('\\').next().unwrap_or_default().to_owned();
        // The share itself is a name of it, which nobody takes away.
        if let Some(node) = self.nodes.get_mut(node) {
            node.names = 1;
        }
        let root = NamedLink { place: Place::Root, name: String::new(), called, node, opens: 0 };
        let volume = VolumeId(self.links.insert(root));
        self.volumes.insert(folded, volume);
        volume
    }

    /// The key of what a name leads to. If that is nothing yet, the key is a fresh one, the same for all that ask until
    /// each of them has said [`settle`](Self::settle).
    pub fn resolve(&mut self, volume: VolumeId, name: &Name) -> Result<FileKey, Status> {
        if let Found::Object(link) = self.find(volume, name)? {
            return self.key_of(link, &name.stream).ok_or(Status::OBJECT_NAME_NOT_FOUND);
        }
        let fresh = self.fresh_key();
        let awaited =
            self.awaited.entry((volume, name.clone())).or_insert(Awaited { key: fresh, creates: 0 });
        awaited.creates += 1;
        Ok(awaited.key)
    }

    /// The key of what a name leads to, if that is there already.
    pub fn lookup(&self, volume: VolumeId, name: &Name) -> Option<FileKey> {
        match self.find(volume, name) {
            Ok(Found::Object(link)) => self.key_of(link, &name.stream),
            Ok(Found::NoStream(_) | Found::Nothing(_)) | Err(_) => None,
        }
    }

    /// Whether a name still leads to where [`resolve`](Self::resolve) said.
    pub fn leads_to(&self, volume: VolumeId, name: &Name, key: FileKey) -> bool {
        match self.find(volume, name) {
            Ok(Found::Object(link)) => self.key_of(link, &name.stream) == Some(key),
            Ok(Found::NoStream(_) | Found::Nothing(_)) => {
                self.awaited.get(&(volume, name.clone())).is_some_and(|awaited| awaited.key == key)
            }
            Err(_) => false,
        }
    }

    /// The directory that a name stands in. The root and streams are in none.
    pub fn directory(&self, volume: VolumeId, name: &Name) -> Option<FileKey> {
        let directory = match self.find(volume, name).ok()? {
            Found::Object(link) => self.parent_of(link)?,
            Found::Nothing(directory) => directory,
            Found::NoStream(_) => return None,
        };
        self.key_of(directory, "").filter(|_| name.stream.is_empty())
    }

    /// A CREATE that was told `key` has ended.
    pub fn settle(&mut self, volume: VolumeId, name: &Name, key: FileKey) {
        let place = (volume, name.clone());
        let Some(awaited) = self.awaited.get_mut(&place).filter(|awaited| awaited.key == key) else { return };
        awaited.creates = awaited.creates.saturating_sub(1);
        if awaited.creates == 0 {
            self.awaited.remove(&place);
        }
    }

    /// Whether what is there already forbids the CREATE, whoever else has it open (MS-FSA 2.1.5.1, 2.1.5.1.2).
    pub fn check(&self, volume: VolumeId, name: &Name, wanted: &Wanted) -> Result<(), Status> {
        let link = match self.find(volume, name)? {
            Found::Object(link) => link,
            Found::NoStream(link) => return self.may_add_stream(link, wanted),
            Found::Nothing(directory) => return self.may_create(directory, name, wanted),
        };
        let Some(node) = self.node_of(link) else { return Err(nt::OBJECT_PATH_NOT_FOUND) };
        let Wanted { access, disposition, options, attributes } = *wanted;
        if disposition == Disposition::Create {
            return Err(nt::OBJECT_NAME_COLLISION);
        }
        let deletes = options.contains(CreateOptions::DELETE_ON_CLOSE);
        match &node.kind {
            Kind::Directory { .. } if options.contains(CreateOptions::NON_DIRECTORY_FILE) => {
                Err(nt::FILE_IS_A_DIRECTORY)
            }
            Kind::Directory { .. } if disposition.overwrites() => Err(Status::INVALID_PARAMETER),
            Kind::Directory { children, .. } if deletes && !children.is_empty() => {
                Err(nt::DIRECTORY_NOT_EMPTY)
            }
            Kind::Directory { .. } if deletes && self.parent_of(link).is_none() => Err(nt::CANNOT_DELETE),
            Kind::Directory { .. } => Ok(()),
            Kind::File { .. } if options.contains(CreateOptions::DIRECTORY_FILE) => Err(nt::NOT_A_DIRECTORY),
            Kind::File { .. } if node.attributes & READ_ONLY != 0 && deletes => Err(nt::CANNOT_DELETE),
            Kind::File { .. } if node.attributes & READ_ONLY != 0 => {
                let writes = access.intersects(Access::WRITE_DATA.union(Access::APPEND_DATA));
                if writes || disposition.overwrites() { Err(nt::ACCESS_DENIED) } else { Ok(()) }
            }
            // MS-FSA 2.1.5.1.2: hidden and system files are not overwritten by accident.
            Kind::File { .. } if disposition.overwrites() => {
                let kept = node.attributes & HIDDEN_OR_SYSTEM & !attributes == 0;
                if kept { Ok(()) } else { Err(nt::ACCESS_DENIED) }
            }
            Kind::File { .. } => Ok(()),
        }
    }

    /// Opens, creates or overwrites.
    pub fn open(&mut self, volume: VolumeId, name: &Name, wanted: &Wanted) -> Result<Opened, Status> {
        self.check(volume, name, wanted)?;
        let found = self.find(volume, name)?;
        let must_exist = matches!(wanted.disposition, Disposition::Open | Disposition::Overwrite);
        let (link, action) = match found {
            Found::Object(link) => (link, self.reuse(link, &name.stream, wanted)),
            Found::NoStream(_) | Found::Nothing(_) if must_exist => {
                return Err(Status::OBJECT_NAME_NOT_FOUND);
            }
            Found::NoStream(link) => {
                self.add_stream(volume, link, name)?;
                (link, CreateAction::Created)
            }
            Found::Nothing(parent) => (self.create(volume, parent, name, wanted)?, CreateAction::Created),
        };
        let handle = Handle(self.opened);
        self.opened += 1;
        let open = Open {
            volume,
            link,
            stream: name.stream.clone(),
            access: granted(wanted.access),
            options: wanted.options,
            listing: None,
            position: 0,
            fixed: [false; 4],
        };
        self.count(&open, |opens| opens.saturating_add(1));
        self.handles.insert(handle, open);
        let kind = if self.is_directory(link) { ObjectKind::Directory } else { ObjectKind::File };
        let allocation = self.allocation(handle);
        Ok(Opened { handle, action, kind, allocation })
    }

    /// Closes a handle, and with it the name, if that is what was decided. An error says how the decision cannot be right.
    pub fn close(&mut self, handle: Handle, decided: Link) -> Result<(), String> {
        let Some(open) = self.handles.remove(&handle) else {
            return Err("a handle is closed twice".to_owned());
        };
        let left = self.count(&open, |opens| opens.saturating_sub(1));
        let Some(node) = self.node_mut(open.link) else {
            return Err("a handle without a file".to_owned());
        };
        if open.options.contains(CreateOptions::DELETE_ON_CLOSE) {
            node.goes.insert((open.stream.clone(), open.link));
        }
        let going: Vec<LinkId> =
            node.goes.iter().filter(|(stream, _)| *stream == open.stream).map(|(_, link)| *link).collect();
        let filled = matches!(&node.kind, Kind::Directory { children, .. } if !children.is_empty());
        let last = left == 0;
        match (decided, last && !going.is_empty()) {
            (Link::Keep, false) => {}
            // MS-FSA 2.1.5.5: FILE_DELETE_ON_CLOSE of a directory into which something was put meanwhile.
            (Link::Remove, true) if filled => node.goes.clear(),
            (Link::Remove, true) => going.into_iter().for_each(|link| self.unlink(link, &open.stream)),
            (Link::Keep, true) => return Err("a file that was to be deleted is kept".to_owned()),
            (Link::Remove, false) if last => return Err("a file is deleted that nobody deleted".to_owned()),
            (Link::Remove, false) => return Err("a file is deleted under another handle".to_owned()),
        }
        self.sweep(open.link);
        Ok(())
    }

    /// Whether a handle is one of a directory that may be listed, so that changes in it can be waited for.
    pub fn watchable(&self, handle: Handle) -> Result<(), Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        match self.is_directory(open.link) {
            true => self.accessible(handle, Access::READ_DATA),
            false => Err(Status::INVALID_PARAMETER),
        }
    }

    /// Whether a handle has any of this access.
    pub fn accessible(&self, handle: Handle, access: Access) -> Result<(), Status> {
        self.open_with(handle, access).map(|_| ())
    }

    /// Names and streams that are to be created (MS-FSA 2.1.5.1.1). That something has to be there already is for
    /// [`open`](Self::open) to say.
    fn may_create(&self, directory: LinkId, name: &Name, wanted: &Wanted) -> Result<(), Status> {
        if matches!(wanted.disposition, Disposition::Open | Disposition::Overwrite) {
            return Ok(());
        }
        if self.node_of(directory).is_some_and(|node| !node.goes.is_empty()) {
            return Err(Status::DELETE_PENDING);
        }
        if wanted.options.contains(CreateOptions::DIRECTORY_FILE) && !name.stream.is_empty() {
            return Err(nt::NOT_A_DIRECTORY);
        }
        let deletes = wanted.options.contains(CreateOptions::DELETE_ON_CLOSE);
        if deletes && wanted.attributes & READ_ONLY != 0 { Err(nt::CANNOT_DELETE) } else { Ok(()) }
    }

    fn may_add_stream(&self, link: LinkId, wanted: &Wanted) -> Result<(), Status> {
        if matches!(wanted.disposition, Disposition::Open | Disposition::Overwrite) {
            return Ok(());
        }
        if wanted.options.contains(CreateOptions::DIRECTORY_FILE) {
            return Err(nt::NOT_A_DIRECTORY);
        }
        if self.is_directory(link) { Err(nt::OBJECT_NAME_INVALID) } else { Ok(()) }
    }
}

impl MemFs {
    fn find(&self, volume: VolumeId, name: &Name) -> Result<Found, Status> {
        let mut link = volume.0;
        let mut parts = name.parts.iter().peekable();
        while let Some(part) = parts.next() {
            let Some(Kind::Directory { children, .. }) = self.node_of(link).map(|node| &node.kind) else {
                return Err(nt::OBJECT_PATH_NOT_FOUND);
            };
            link = match children.get(part) {
                Some(link) => *link,
                None if parts.peek().is_none() => return Ok(Found::Nothing(link)),
                None => return Err(nt::OBJECT_PATH_NOT_FOUND),
            };
        }
        match self.key_of(link, &name.stream) {
            Some(_) => Ok(Found::Object(link)),
            None => Ok(Found::NoStream(link)),
        }
    }

    fn key_of(&self, link: LinkId, stream: &str) -> Option<FileKey> {
        match &self.node_of(link)?.kind {
            Kind::File { streams } => streams.get(stream).map(|stream| stream.key),
            Kind::Directory { key, .. } => stream.is_empty().then_some(*key),
        }
    }

    fn node_of(&self, link: LinkId) -> Option<&Node> {
        self.links.get(link).and_then(|link| self.nodes.get(link.node))
    }

    fn node_mut(&mut self, link: LinkId) -> Option<&mut Node> {
        self.links.get(link).and_then(|link| self.nodes.get_mut(link.node))
    }

    /// A handle with any of this access.
    fn open_with(&self, handle: Handle, access: Access) -> Result<&Open, Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        if open.access.intersects(access) { Ok(open) } else { Err(nt::ACCESS_DENIED) }
    }

    /// Counts a handle where it is one. Returns how many there are of the same stream.
    fn count(&mut self, open: &Open, count: fn(u32) -> u32) -> u32 {
        let Some(link) = self.links.get_mut(open.link) else { return 0 };
        link.opens = count(link.opens);
        let Some(node) = self.nodes.get_mut(link.node) else { return 0 };
        node.opens = count(node.opens);
        let of_stream = match &mut node.kind {
            Kind::File { streams } => streams.get_mut(&open.stream).map(|stream| &mut stream.opens),
            Kind::Directory { opens, .. } => Some(opens),
        };
        of_stream.map_or(0, |opens| {
            *opens = count(*opens);
            *opens
        })
    }

    /// What becomes of something that is there already.
    fn reuse(&mut self, link: LinkId, stream: &str, wanted: &Wanted) -> CreateAction {
        let action = match wanted.disposition {
            Disposition::Supersede => CreateAction::Superseded,
            Disposition::Overwrite | Disposition::OverwriteIf => CreateAction::Overwritten,
            Disposition::Open | Disposition::Create | Disposition::OpenIf => return CreateAction::Opened,
        };
        let (now, room) = (self.now, &mut self.room);
        let Some(node) = self.links.get(link).and_then(|link| self.nodes.get_mut(link.node)) else {
            return action;
        };
        node.times = facts::written(node.times, now, [false; 4]);
        if let (CreateAction::Superseded, Some(_), [created, ..]) = (action, now, &mut node.times) {
            *created = now;
        }
        if let Kind::File { streams } = &mut node.kind
            && let Some(stream) = streams.get_mut(stream)
        {
            stream.content.resize(room, 0);
        }
        node.attributes = (wanted.attributes & SETTABLE) | ARCHIVE;
        action
    }

    fn add_stream(&mut self, volume: VolumeId, link: LinkId, name: &Name) -> Result<(), Status> {
        self.room.take(ENTRY)?;
        let stream = Stream::new(self.key_for(volume, name), &name.stream_called);
        if let Some(Kind::File { streams }) = self.node_mut(link).map(|node| &mut node.kind) {
            streams.insert(name.stream.clone(), stream);
        }
        Ok(())
    }

    /// A new file, stream or directory.
    fn create(
        &mut self,
        volume: VolumeId,
        parent: LinkId,
        name: &Name,
        wanted: &Wanted,
    ) -> Result<LinkId, Status> {
        let directory = wanted.options.contains(CreateOptions::DIRECTORY_FILE);
        let streams = 1 + u64::from(!name.stream.is_empty());
        self.room.take(ENTRY * if directory { 1 } else { 1 + streams })?;
        let key = self.key_for(volume, name);
        let (attributes, kind) = if directory {
            let settable = wanted.attributes & SETTABLE & !ARCHIVE;
            (DIRECTORY | settable, Kind::Directory { key, children: BTreeMap::new(), opens: 0 })
        } else {
            let mut streams = BTreeMap::from([(name.stream.clone(), Stream::new(key, &name.stream_called))]);
            if !name.stream.is_empty() {
                streams.insert(String::new(), Stream::new(self.fresh_key(), ""));
            }
            ((wanted.attributes & SETTABLE) | ARCHIVE, Kind::File { streams })
        };
        let node = self.add_node(attributes, kind);
        Ok(self.add_link(parent, name, node))
    }

    /// A name goes; that of a stream alone, if it is one.
    fn unlink(&mut self, link: LinkId, stream: &str) {
        let room = &mut self.room;
        if let Some(node) = self.links.get(link).and_then(|link| self.nodes.get_mut(link.node)) {
            node.goes.remove(&(stream.to_owned(), link));
            if let (Kind::File { streams }, false) = (&mut node.kind, stream.is_empty()) {
                if let Some(gone) = streams.remove(stream) {
                    gone.give_back(room);
                }
                return;
            }
        }
        self.detach(link);
    }

    fn add_node(&mut self, attributes: u32, kind: Kind) -> NodeId {
        self.indices += 1;
        let (times, index) = ([self.now; 4], self.indices);
        self.nodes.insert(Node { attributes, times, goes: BTreeSet::new(), kind, index, names: 0, opens: 0 })
    }

    /// Forgets a name that leads nowhere and that nobody has open, and with the last one its file.
    fn sweep(&mut self, link: LinkId) {
        let Some(named) = self.links.get(link) else { return };
        let id = named.node;
        if named.place == Place::Nowhere && named.opens == 0 && self.links.remove(link).is_some() {
            self.room.give(ENTRY);
        }
        if self.nodes.get(id).is_none_or(|node| node.names > 0 || node.opens > 0) {
            return;
        }
        if let Some(Node { kind: Kind::File { streams }, .. }) = self.nodes.remove(id) {
            streams.into_values().for_each(|stream| stream.give_back(&mut self.room));
        }
    }

    /// The key under which a name was announced, or a fresh one.
    fn key_for(&mut self, volume: VolumeId, name: &Name) -> FileKey {
        let announced = self.awaited.get(&(volume, name.clone())).map(|awaited| awaited.key);
        announced.unwrap_or_else(|| self.fresh_key())
    }

    fn fresh_key(&mut self) -> FileKey {
        self.keys += 1;
        FileKey::new(self.keys)
    }
}

/// Access with the generic bits mapped for files (MS-SMB2 2.2.13.1.1).
pub fn mapped(access: Access) -> Access {
    let mut all = access;
    for (generic, specific) in [
        (Access::GENERIC_READ, 0x0012_0089),
        (Access::GENERIC_WRITE, 0x0012_0116),
        (Access::GENERIC_EXECUTE, 0x0012_00a0),
        (Access::GENERIC_ALL, 0x001f_01ff),
    ] {
        if all.contains(generic) {
            all = all.difference(generic).union(Access::from_bits_retain(specific));
        }
    }
    all
}

/// The access that is granted: there are no access rights here but that of a file to be read only.
pub fn granted(access: Access) -> Access {
    if access.contains(Access::MAXIMUM_ALLOWED) { mapped(Access::GENERIC_ALL) } else { access }
}

impl Stream {
    fn new(key: FileKey, called: &str) -> Self {
        Self { key, called: called.to_owned(), content: Content::default(), opens: 0 }
    }

    fn give_back(mut self, room: &mut Room) {
        self.content.resize(room, 0);
        room.give(ENTRY);
    }
}

/// Attributes as a client sees them.
fn shown(attributes: u32) -> u32 {
    if attributes == 0 { NORMAL } else { attributes }
}

#[cfg(test)]
mod tests;
