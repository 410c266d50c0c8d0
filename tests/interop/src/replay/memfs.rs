//! A file system in memory: names, streams, directories, attributes and data. It knows nothing of leases.
//!
//! What a server machine decides is left to it: whether a file that is about to go may be opened, and when its name goes.
//! [`MemFs::close`] only holds the decision against what it knows itself.

mod naming;

use std::collections::{BTreeMap, BTreeSet};

use leasehold::server::{Link, ObjectKind};
use leasehold::{Access, CreateAction, CreateOptions, Disposition, FileKey, Status};

use super::content::Content;
use super::names::{Name, fold, matches};
use super::nt;
pub(super) use naming::{Naming, OldName};

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
/// Octets that a file with any data is given room for at a time.
const BLOCK: u64 = 4096;

/// A file system with any number of volumes.
#[derive(Debug, Default)]
pub(super) struct MemFs {
    volumes: BTreeMap<String, VolumeId>,
    nodes: Vec<Node>,
    links: Vec<NamedLink>,
    handles: BTreeMap<Handle, Open>,
    awaited: BTreeMap<(VolumeId, Name), Awaited>,
    keys: u128,
    opened: u64,
}

/// A share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VolumeId(LinkId);

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Handle(u64);

/// What a CREATE asks of the file system. Generic access is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) access: Access,
    pub(super) disposition: Disposition,
    pub(super) options: CreateOptions,
    pub(super) attributes: u32,
}

/// What a CREATE got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) handle: Handle,
    pub(super) action: CreateAction,
    pub(super) kind: ObjectKind,
    pub(super) allocation: u64,
}

/// What FileBasicInformation sets (MS-FSCC 2.4.7). 0 leaves a field alone, as do -1 and -2 a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Basic {
    /// CreationTime, LastAccessTime, LastWriteTime, ChangeTime
    pub(super) times: [u64; 4],
    pub(super) attributes: u32,
}

type NodeId = usize;
type LinkId = usize;

/// A file or directory, whatever it is called.
#[derive(Debug)]
struct Node {
    attributes: u32,
    /// As they were set; there is no clock here, so before that they are unknown.
    times: [Option<u64>; 4],
    /// The streams that are to be deleted, each with the name under which it was.
    goes: BTreeSet<(String, LinkId)>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The stream without a name is the data of the file itself.
    File { streams: BTreeMap<String, Stream> },
    /// Streams of directories are not modelled.
    Directory { key: FileKey, children: BTreeMap<String, LinkId> },
}

#[derive(Debug)]
struct Stream {
    key: FileKey,
    content: Content,
}

/// A name that leads to a node, from within a directory; the root of a volume has no parent.
#[derive(Debug)]
struct NamedLink {
    parent: Option<LinkId>,
    name: String,
    node: NodeId,
}

#[derive(Debug)]
struct Open {
    link: LinkId,
    stream: String,
    access: Access,
    delete_on_close: bool,
    /// What is left of a listing.
    listing: Option<Vec<String>>,
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
    /// The volume of a share, made when it is first asked for.
    pub(super) fn volume(&mut self, share: &str) -> VolumeId {
        let share = fold(share);
        if let Some(volume) = self.volumes.get(&share) {
            return *volume;
        }
        let key = self.fresh_key();
        let node = self.add_node(DIRECTORY, Kind::Directory { key, children: BTreeMap::new() });
        let volume = VolumeId(self.links.len());
        self.links.push(NamedLink { parent: None, name: String::new(), node });
        self.volumes.insert(share, volume);
        volume
    }

    /// The key of what a name leads to. If that is nothing yet, the key is a fresh one, the same for all that ask until
    /// each of them has said [`settle`](Self::settle).
    pub(super) fn resolve(&mut self, volume: VolumeId, name: &Name) -> Result<FileKey, Status> {
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
    pub(super) fn lookup(&self, volume: VolumeId, name: &Name) -> Option<FileKey> {
        match self.find(volume, name) {
            Ok(Found::Object(link)) => self.key_of(link, &name.stream),
            Ok(Found::NoStream(_) | Found::Nothing(_)) | Err(_) => None,
        }
    }

    /// Whether a name still leads to where [`resolve`](Self::resolve) said.
    pub(super) fn leads_to(&self, volume: VolumeId, name: &Name, key: FileKey) -> bool {
        match self.find(volume, name) {
            Ok(Found::Object(link)) => self.key_of(link, &name.stream) == Some(key),
            Ok(Found::NoStream(_) | Found::Nothing(_)) => {
                self.awaited.get(&(volume, name.clone())).is_some_and(|awaited| awaited.key == key)
            }
            Err(_) => false,
        }
    }

    /// The directory that a name stands in. The root and streams are in none.
    pub(super) fn directory(&self, volume: VolumeId, name: &Name) -> Option<FileKey> {
        let directory = match self.find(volume, name).ok()? {
            Found::Object(link) => self.links.get(link)?.parent?,
            Found::Nothing(directory) => directory,
            Found::NoStream(_) => return None,
        };
        self.key_of(directory, "").filter(|_| name.stream.is_empty())
    }

    /// A CREATE that was told `key` has ended.
    pub(super) fn settle(&mut self, volume: VolumeId, name: &Name, key: FileKey) {
        let place = (volume, name.clone());
        let Some(awaited) = self.awaited.get_mut(&place).filter(|awaited| awaited.key == key) else { return };
        awaited.creates = awaited.creates.saturating_sub(1);
        if awaited.creates == 0 {
            self.awaited.remove(&place);
        }
    }

    /// Whether what is there already forbids the CREATE, whoever else has it open (MS-FSA 2.1.5.1, 2.1.5.1.2).
    pub(super) fn check(&self, volume: VolumeId, name: &Name, wanted: &Wanted) -> Result<(), Status> {
        let Found::Object(link) = self.find(volume, name)? else { return Ok(()) };
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
    pub(super) fn open(&mut self, volume: VolumeId, name: &Name, wanted: &Wanted) -> Result<Opened, Status> {
        self.check(volume, name, wanted)?;
        let found = self.find(volume, name)?;
        let must_exist = matches!(wanted.disposition, Disposition::Open | Disposition::Overwrite);
        let (link, action) = match found {
            Found::Object(link) => (link, self.reuse(link, &name.stream, wanted)),
            Found::NoStream(_) | Found::Nothing(_) if must_exist => {
                return Err(Status::OBJECT_NAME_NOT_FOUND);
            }
            Found::NoStream(link) => {
                self.add_stream(volume, link, name);
                (link, CreateAction::Created)
            }
            Found::Nothing(parent) => (self.create(volume, parent, name, wanted), CreateAction::Created),
        };
        let handle = Handle(self.opened);
        self.opened += 1;
        let access = granted(wanted.access);
        let delete_on_close = wanted.options.contains(CreateOptions::DELETE_ON_CLOSE);
        let stream = name.stream.clone();
        self.handles.insert(handle, Open { link, stream, access, delete_on_close, listing: None });
        let kind = match self.node_of(link).map(|node| &node.kind) {
            Some(Kind::Directory { .. }) => ObjectKind::Directory,
            Some(Kind::File { .. }) | None => ObjectKind::File,
        };
        let allocation = self.allocation(handle);
        Ok(Opened { handle, action, kind, allocation })
    }

    /// The end of an open file, and its attributes.
    pub(super) fn shown(&self, handle: Handle) -> (u64, u32) {
        let end_of_file = self.stream(handle).map_or(0, |stream| stream.content.size());
        let node = self.handles.get(&handle).and_then(|open| self.node_of(open.link));
        (end_of_file, node.map_or(0, |node| shown(node.attributes)))
    }

    /// Closes a handle, and with it the name, if that is what was decided. An error says how the decision cannot be right.
    pub(super) fn close(&mut self, handle: Handle, decided: Link) -> Result<(), String> {
        let Some(open) = self.handles.remove(&handle) else {
            return Err("a handle is closed twice".to_owned());
        };
        let node = self.links.get(open.link).map(|link| link.node);
        let same = |other: &Open| {
            self.links.get(other.link).map(|link| link.node) == node && other.stream == open.stream
        };
        let last = !self.handles.values().any(same);
        let Some(node) = node.and_then(|node| self.nodes.get_mut(node)) else {
            return Err("a handle without a file".to_owned());
        };
        if open.delete_on_close {
            node.goes.insert((open.stream.clone(), open.link));
        }
        let going: Vec<LinkId> =
            node.goes.iter().filter(|(stream, _)| *stream == open.stream).map(|(_, link)| *link).collect();
        match (decided, last && !going.is_empty()) {
            (Link::Keep, false) => {}
            (Link::Remove, true) => going.into_iter().for_each(|link| self.unlink(link, &open.stream)),
            (Link::Keep, true) => return Err("a file that was to be deleted is kept".to_owned()),
            (Link::Remove, false) if last => return Err("a file is deleted that nobody deleted".to_owned()),
            (Link::Remove, false) => return Err("a file is deleted under another handle".to_owned()),
        }
        Ok(())
    }

    /// Writes; without `data` it is only known how much. Returns how much.
    pub(super) fn write(
        &mut self,
        handle: Handle,
        offset: u64,
        length: u64,
        data: Option<Vec<u8>>,
    ) -> Result<u64, Status> {
        let writing = Access::WRITE_DATA.union(Access::APPEND_DATA);
        let content = self.content(handle, writing)?;
        // All ones: behind the last octet.
        let offset = if offset == u64::MAX { content.size() } else { offset };
        let end = offset.checked_add(length).ok_or(Status::INVALID_PARAMETER)?;
        content.write(offset, end, data);
        Ok(length)
    }

    /// Sets the end of the file.
    pub(super) fn resize(&mut self, handle: Handle, size: u64) -> Result<(), Status> {
        self.content(handle, Access::WRITE_DATA)?.resize(size);
        Ok(())
    }

    /// Sets the room that a file has: less than its data cuts them off, more is not seen.
    pub(super) fn allocate(&mut self, handle: Handle, size: u64) -> Result<(), Status> {
        let content = self.content(handle, Access::WRITE_DATA)?;
        content.resize(content.size().min(size));
        Ok(())
    }

    /// Has data reach stable storage.
    pub(super) fn flush(&mut self, handle: Handle) -> Result<(), Status> {
        self.accessible(handle, Access::WRITE_DATA.union(Access::APPEND_DATA))?;
        self.stream(handle).map(|_| ()).ok_or(nt::INVALID_DEVICE_REQUEST)
    }

    /// How much room there is for the data behind a handle: whole blocks, none for none.
    pub(super) fn allocation(&self, handle: Handle) -> u64 {
        let size = self.stream(handle).map_or(0, |stream| stream.content.size());
        size.div_ceil(BLOCK).saturating_mul(BLOCK)
    }

    /// Whether anything becomes another by this.
    pub(super) fn changes(&self, handle: Handle, basic: &Basic) -> Result<bool, Status> {
        let open = self.accessible(handle, Access::WRITE_ATTRIBUTES)?;
        let node = self.node_of(open.link).ok_or(Status::FILE_CLOSED)?;
        Ok(node.with(basic) != (node.attributes, node.times))
    }

    /// Sets times and attributes.
    pub(super) fn set_basic(&mut self, handle: Handle, basic: &Basic) -> Result<(), Status> {
        let link = self.accessible(handle, Access::WRITE_ATTRIBUTES)?.link;
        let node = self.node_mut(link).ok_or(Status::FILE_CLOSED)?;
        (node.attributes, node.times) = node.with(basic);
        Ok(())
    }

    /// Whether a file may be said to go with its last handle, or to stay after all (MS-FSA 2.1.5.15.3).
    pub(super) fn may_dispose(&self, handle: Handle, pending: bool) -> Result<(), Status> {
        let open = self.accessible(handle, Access::DELETE)?;
        let node = self.node_of(open.link).ok_or(Status::FILE_CLOSED)?;
        match &node.kind {
            Kind::Directory { .. } | Kind::File { .. } if !pending => Ok(()),
            Kind::Directory { .. } | Kind::File { .. } if node.attributes & READ_ONLY != 0 => {
                Err(nt::CANNOT_DELETE)
            }
            Kind::Directory { children, .. } if !children.is_empty() => Err(nt::DIRECTORY_NOT_EMPTY),
            Kind::Directory { .. } | Kind::File { .. } => Ok(()),
        }
    }

    /// Says that a file goes with its last handle, or that it stays after all.
    pub(super) fn dispose(&mut self, handle: Handle, pending: bool) -> Result<(), Status> {
        self.may_dispose(handle, pending)?;
        let open = self.accessible(handle, Access::DELETE)?;
        let (name, link) = ((open.stream.clone(), open.link), open.link);
        let node = self.node_mut(link).ok_or(Status::FILE_CLOSED)?;
        if pending {
            node.goes.insert(name)
        } else {
            node.goes.remove(&name)
        };
        Ok(())
    }

    /// Whether a handle is one of a directory that may be listed, so that changes in it can be waited for.
    pub(super) fn watchable(&self, handle: Handle) -> Result<(), Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        match self.node_of(open.link).map(|node| &node.kind) {
            Some(Kind::Directory { .. }) => self.accessible(handle, Access::READ_DATA).map(|_| ()),
            Some(Kind::File { .. }) | None => Err(Status::INVALID_PARAMETER),
        }
    }

    /// The names that come next in a listing of a directory: all that are left, or the next one.
    pub(super) fn list(
        &mut self,
        handle: Handle,
        pattern: &str,
        restart: bool,
        single: bool,
    ) -> Result<Vec<String>, Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        let Some(Kind::Directory { children, .. }) = self.node_of(open.link).map(|node| &node.kind) else {
            return Err(Status::INVALID_PARAMETER);
        };
        let (listing, first) = match &open.listing {
            Some(listing) if !restart => (listing.clone(), false),
            Some(_) | None => {
                let names = [".", ".."].into_iter().chain(children.keys().map(String::as_str));
                let pattern = fold(pattern);
                (names.filter(|name| matches(&pattern, name)).map(str::to_owned).collect(), true)
            }
        };
        let mut listing: Vec<String> = listing;
        let left = listing.split_off(if single { listing.len().min(1) } else { listing.len() });
        if let Some(open) = self.handles.get_mut(&handle) {
            open.listing = Some(left);
        }
        match (listing.is_empty(), first) {
            (false, _) => Ok(listing),
            (true, true) => Err(nt::NO_SUCH_FILE),
            (true, false) => Err(nt::NO_MORE_FILES),
        }
    }

    /// How much there is to read from `offset`, at most `length`, and what, if it is known and not much.
    pub(super) fn read(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
        minimum: u64,
    ) -> Result<(u64, Vec<Option<u8>>), Status> {
        /// Recordings hold no more.
        const KNOWN: u64 = 64;
        self.accessible(handle, Access::READ_DATA.union(Access::EXECUTE))?;
        let content = &self.stream(handle).ok_or(nt::INVALID_DEVICE_REQUEST)?.content;
        let end = offset.saturating_add(length).min(content.size());
        let there = end.saturating_sub(offset);
        if (there == 0 && length > 0) || there < minimum {
            return Err(nt::END_OF_FILE);
        }
        Ok((there, content.octets(offset, end.min(offset.saturating_add(KNOWN)))))
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
        match (self.key_of(link, &name.stream), self.node_of(link).map(|node| &node.kind)) {
            (Some(_), _) => Ok(Found::Object(link)),
            (None, Some(Kind::File { .. })) => Ok(Found::NoStream(link)),
            (None, Some(Kind::Directory { .. }) | None) => Err(nt::OBJECT_NAME_INVALID),
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
    fn accessible(&self, handle: Handle, access: Access) -> Result<&Open, Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        if open.access.intersects(access) { Ok(open) } else { Err(nt::ACCESS_DENIED) }
    }

    fn stream(&self, handle: Handle) -> Option<&Stream> {
        let open = self.handles.get(&handle)?;
        match &self.node_of(open.link)?.kind {
            Kind::File { streams } => streams.get(&open.stream),
            Kind::Directory { .. } => None,
        }
    }

    /// The data behind a handle with any of this access, to be changed.
    fn content(&mut self, handle: Handle, access: Access) -> Result<&mut Content, Status> {
        let open = self.accessible(handle, access)?;
        let (link, stream) = (open.link, open.stream.clone());
        let Some(Node { kind: Kind::File { streams }, times, .. }) = self.node_mut(link) else {
            return Err(nt::INVALID_DEVICE_REQUEST);
        };
        *times = changed(*times);
        streams.get_mut(&stream).map(|stream| &mut stream.content).ok_or(Status::FILE_CLOSED)
    }

    /// What becomes of something that is there already.
    fn reuse(&mut self, link: LinkId, stream: &str, wanted: &Wanted) -> CreateAction {
        let action = match wanted.disposition {
            Disposition::Supersede => CreateAction::Superseded,
            Disposition::Overwrite | Disposition::OverwriteIf => CreateAction::Overwritten,
            Disposition::Open | Disposition::Create | Disposition::OpenIf => return CreateAction::Opened,
        };
        let Some(node) = self.node_mut(link) else { return action };
        node.times = changed(node.times);
        let data = match &mut node.kind {
            Kind::File { streams } => streams.get_mut(stream),
            Kind::Directory { .. } => None,
        };
        if let Some(data) = data {
            data.content = Content::default();
        }
        node.attributes = (wanted.attributes & SETTABLE) | ARCHIVE;
        action
    }

    fn add_stream(&mut self, volume: VolumeId, link: LinkId, name: &Name) {
        let key = self.key_for(volume, name);
        if let Some(Kind::File { streams }) = self.node_mut(link).map(|node| &mut node.kind) {
            streams.insert(name.stream.clone(), Stream { key, content: Content::default() });
        }
    }

    /// A new file, stream or directory.
    fn create(&mut self, volume: VolumeId, parent: LinkId, name: &Name, wanted: &Wanted) -> LinkId {
        let key = self.key_for(volume, name);
        let (attributes, kind) = if wanted.options.contains(CreateOptions::DIRECTORY_FILE) {
            let settable = wanted.attributes & SETTABLE & !ARCHIVE;
            (DIRECTORY | settable, Kind::Directory { key, children: BTreeMap::new() })
        } else {
            let mut streams =
                BTreeMap::from([(name.stream.clone(), Stream { key, content: Content::default() })]);
            if !name.stream.is_empty() {
                let key = self.fresh_key();
                streams.insert(String::new(), Stream { key, content: Content::default() });
            }
            ((wanted.attributes & SETTABLE) | ARCHIVE, Kind::File { streams })
        };
        let node = self.add_node(attributes, kind);
        self.add_link(parent, name.parts.last().cloned().unwrap_or_default(), node)
    }

    /// A name goes; that of a stream alone, if it is one.
    fn unlink(&mut self, link: LinkId, stream: &str) {
        if let Some(node) = self.node_mut(link) {
            node.goes.remove(&(stream.to_owned(), link));
            if let (Kind::File { streams }, false) = (&mut node.kind, stream.is_empty()) {
                streams.remove(stream);
                return;
            }
        }
        self.detach(link);
    }

    fn add_node(&mut self, attributes: u32, kind: Kind) -> NodeId {
        self.nodes.push(Node { attributes, times: [None; 4], goes: BTreeSet::new(), kind });
        self.nodes.len() - 1
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
pub(super) fn mapped(access: Access) -> Access {
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
pub(super) fn granted(access: Access) -> Access {
    if access.contains(Access::MAXIMUM_ALLOWED) { mapped(Access::GENERIC_ALL) } else { access }
}

impl Node {
    /// Attributes and times with these set.
    fn with(&self, basic: &Basic) -> (u32, [Option<u64>; 4]) {
        let attributes = match basic.attributes {
            0 => self.attributes,
            attributes => (self.attributes & DIRECTORY) | (attributes & SETTABLE),
        };
        let mut times = self.times;
        for (time, new) in times.iter_mut().zip(basic.times) {
            if !matches!(new, 0 | u64::MAX | 0xffff_ffff_ffff_fffe) {
                *time = Some(new);
            }
        }
        (attributes, times)
    }
}

/// Times once data are changed: those of the last write and the last change are the clock's.
fn changed([create, access, ..]: [Option<u64>; 4]) -> [Option<u64>; 4] {
    [create, access, None, None]
}

/// Attributes as a client sees them.
fn shown(attributes: u32) -> u32 {
    if attributes == 0 { NORMAL } else { attributes }
}

#[cfg(test)]
mod tests;
