//! What is known of files beside their data: times, attributes, names, sizes, and that they are to be deleted.

use std::iter::successors;

use leasehold::{Access, CreateOptions, Status};

use super::content::{BLOCK, Content};
use super::{
    DIRECTORY, Handle, Kind, LinkId, MemFs, Node, Open, Place, READ_ONLY, SETTABLE, VolumeId, nt, shown,
};

/// What FileBasicInformation sets (MS-FSCC 2.4.7). 0 leaves a field alone, as does -1 a time, which does not follow what the
/// handle does any more; with -2 it does again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Basic {
    /// CreationTime, LastAccessTime, LastWriteTime, ChangeTime
    pub times: [u64; 4],
    pub attributes: u32,
}

/// What a listing says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// CreationTime, LastAccessTime, LastWriteTime, ChangeTime. 0 without a clock.
    pub times: [u64; 4],
    pub end_of_file: u64,
    pub allocation: u64,
    pub attributes: u32,
    /// FileId of MS-FSCC: of the volume, stable, never used again.
    pub index: u64,
}

/// What is known of an open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub facts: Facts,
    /// Names that are not about to be deleted.
    pub links: u32,
    pub delete_pending: bool,
    pub directory: bool,
    pub access: Access,
    pub options: CreateOptions,
    pub position: u64,
    /// From the root of the volume, with a leading backslash; that of a stream with it.
    pub name: String,
}

/// A stream of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// `:name:$DATA`
    pub name: String,
    pub end_of_file: u64,
    pub allocation: u64,
}

/// What is known of a volume. Sizes are in units of [`BLOCK`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    pub label: String,
    pub serial: u32,
    pub created: u64,
    pub total: u64,
    pub free: u64,
}

/// FileModeInformation that may be set (MS-FSCC 2.4.31): FILE_WRITE_THROUGH, FILE_SEQUENTIAL_ONLY and the synchronous ones.
const MODES: u32 = 0x2 | 0x4 | 0x10 | 0x20;
/// FILE_NO_INTERMEDIATE_BUFFERING and FILE_DELETE_ON_CLOSE: shown, and not set.
const SHOWN_MODES: u32 = MODES | 0x8 | 0x1000;
/// Units of a volume without a limit.
const ENDLESS: u64 = 1 << 28;

impl MemFs {
    /// What is known of an open file.
    pub fn info(&self, handle: Handle) -> Result<Info, Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        let node = self.node_of(open.link).ok_or(Status::FILE_CLOSED)?;
        let going = node.goes.iter().filter(|(stream, _)| stream.is_empty()).count();
        Ok(Info {
            facts: node.facts(&open.stream),
            links: node.names.max(1).saturating_sub(u32::try_from(going).unwrap_or(u32::MAX)),
            delete_pending: node.goes.iter().any(|(stream, _)| *stream == open.stream || stream.is_empty()),
            directory: node.attributes & DIRECTORY != 0,
            access: open.access,
            options: open.options,
            position: open.position,
            name: self.full_name(open),
        })
    }

    /// The end of an open file, and its attributes.
    pub fn shown(&self, handle: Handle) -> (u64, u32) {
        let open = self.handles.get(&handle);
        let node = open.and_then(|open| Some((open, self.node_of(open.link)?)));
        let facts = node.map(|(open, node)| node.facts(&open.stream)).unwrap_or_default();
        (facts.end_of_file, facts.attributes)
    }

    /// The streams with data, that without a name first. Directories have none.
    pub fn streams(&self, handle: Handle) -> Result<Vec<StreamFacts>, Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        let node = self.node_of(open.link).ok_or(Status::FILE_CLOSED)?;
        let Kind::File { streams } = &node.kind else { return Ok(Vec::new()) };
        let facts = streams.values().map(|stream| StreamFacts {
            name: format!(":{}:$DATA", stream.called),
            end_of_file: stream.content.size(),
            allocation: stream.content.allocation(),
        });
        Ok(facts.collect())
    }

    /// The volume of an open file.
    pub fn volume_of(&self, handle: Handle) -> Result<VolumeId, Status> {
        self.handles.get(&handle).map(|open| open.volume).ok_or(Status::FILE_CLOSED)
    }

    /// What is known of the volume of an open file.
    pub fn volume_facts(&self, handle: Handle) -> Result<VolumeFacts, Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        let VolumeId(root) = open.volume;
        let (link, node) = (self.links.get(root), self.node_of(root));
        let (link, node) = link.zip(node).ok_or(Status::FILE_CLOSED)?;
        let total = self.room.limit().map_or(ENDLESS, |limit| limit / BLOCK);
        Ok(VolumeFacts {
            label: link.called.clone(),
            // Anything that tells the volumes apart.
            serial: 0x1ea5_e000 | u32::try_from(node.index & 0xfff).unwrap_or_default(),
            created: node.facts("").times.first().copied().unwrap_or_default(),
            total,
            free: total.saturating_sub(self.room.used().div_ceil(BLOCK)),
        })
    }

    /// FilePositionInformation
    pub fn set_position(&mut self, handle: Handle, position: u64) -> Result<(), Status> {
        let open = self.handles.get_mut(&handle).ok_or(Status::FILE_CLOSED)?;
        if position > i64::MAX.unsigned_abs() {
            return Err(Status::INVALID_PARAMETER);
        }
        open.position = position;
        Ok(())
    }

    /// FileModeInformation: how it was opened, as far as that is a mode.
    pub fn mode(&self, handle: Handle) -> Result<u32, Status> {
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        Ok(open.options.bits() & SHOWN_MODES)
    }

    /// Sets FileModeInformation.
    pub fn set_mode(&mut self, handle: Handle, mode: u32) -> Result<(), Status> {
        let open = self.handles.get_mut(&handle).ok_or(Status::FILE_CLOSED)?;
        if mode & !MODES != 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        open.options = CreateOptions::from_bits_retain(open.options.bits() & !MODES | mode);
        Ok(())
    }

    /// Whether anything becomes another by this (MS-FSA 2.1.5.15.2).
    pub fn changes(&self, handle: Handle, basic: &Basic) -> Result<bool, Status> {
        let open = self.open_with(handle, Access::WRITE_ATTRIBUTES)?;
        let node = self.node_of(open.link).ok_or(Status::FILE_CLOSED)?;
        let negative = |time: &u64| *time > i64::MAX.unsigned_abs() && !matches!(*time, FIX | FOLLOW);
        let no_directory = basic.attributes & DIRECTORY != 0 && node.attributes & DIRECTORY == 0;
        if no_directory || basic.times.iter().any(negative) {
            return Err(Status::INVALID_PARAMETER);
        }
        Ok(node.with(basic) != (node.attributes, node.times))
    }

    /// Sets times and attributes.
    pub fn set_basic(&mut self, handle: Handle, basic: &Basic) -> Result<(), Status> {
        let changes = self.changes(handle, basic)?;
        let now = self.now;
        let open = self.handles.get_mut(&handle).ok_or(Status::FILE_CLOSED)?;
        for (fixed, time) in open.fixed.iter_mut().zip(basic.times) {
            *fixed = match time {
                0 => *fixed,
                FOLLOW => false,
                _ => true,
            };
        }
        let (link, [.., fixed]) = (open.link, open.fixed);
        let node = self.node_mut(link).ok_or(Status::FILE_CLOSED)?;
        (node.attributes, node.times) = node.with(basic);
        if let (Some(_), true, false, [.., change]) = (now, changes, fixed, &mut node.times) {
            *change = now;
        }
        Ok(())
    }

    /// Whether a file may be said to go with its last handle, or to stay after all (MS-FSA 2.1.5.15.3).
    pub fn may_dispose(&self, handle: Handle, pending: bool) -> Result<(), Status> {
        let open = self.open_with(handle, Access::DELETE)?;
        let node = self.node_of(open.link).ok_or(Status::FILE_CLOSED)?;
        let root = self.links.get(open.link).is_some_and(|link| link.place == Place::Root);
        match &node.kind {
            Kind::Directory { .. } | Kind::File { .. } if !pending => Ok(()),
            Kind::Directory { .. } | Kind::File { .. } if root || node.attributes & READ_ONLY != 0 => {
                Err(nt::CANNOT_DELETE)
            }
            Kind::Directory { children, .. } if !children.is_empty() => Err(nt::DIRECTORY_NOT_EMPTY),
            Kind::Directory { .. } | Kind::File { .. } => Ok(()),
        }
    }

    /// Says that a file goes with its last handle, or that it stays after all.
    pub fn dispose(&mut self, handle: Handle, pending: bool) -> Result<(), Status> {
        self.may_dispose(handle, pending)?;
        let open = self.open_with(handle, Access::DELETE)?;
        let (name, link) = ((open.stream.clone(), open.link), open.link);
        let node = self.node_mut(link).ok_or(Status::FILE_CLOSED)?;
        if pending {
            node.goes.insert(name)
        } else {
            node.goes.remove(&name)
        };
        Ok(())
    }

    fn full_name(&self, open: &Open) -> String {
        let links = successors(Some(open.link), |link| self.parent_of(*link));
        let named = links.filter_map(|link: LinkId| self.links.get(link));
        let mut parts: Vec<&str> =
            named.filter(|link| link.place != Place::Root).map(|link| link.called.as_str()).collect();
        parts.reverse();
        let mut name = format!("\\{}", parts.join("\\"));
        let stream = match self.node_of(open.link).map(|node| &node.kind) {
            Some(Kind::File { streams }) => streams.get(&open.stream),
            Some(Kind::Directory { .. }) | None => None,
        };
        if let Some(stream) = stream.filter(|stream| !stream.called.is_empty()) {
            name.extend([":", stream.called.as_str()]);
        }
        name
    }
}

/// A time that is left alone and does not follow any more; one that follows again.
const FIX: u64 = u64::MAX;
const FOLLOW: u64 = u64::MAX - 1;

impl Node {
    /// What a listing says of it, with the sizes of one stream.
    pub(super) fn facts(&self, stream: &str) -> Facts {
        let content = match &self.kind {
            Kind::File { streams } => streams.get(stream).map(|stream| &stream.content),
            Kind::Directory { .. } => None,
        };
        Facts {
            times: self.times.map(Option::unwrap_or_default),
            end_of_file: content.map_or(0, Content::size),
            allocation: content.map_or(0, Content::allocation),
            attributes: shown(self.attributes),
            index: self.index,
        }
    }

    /// Attributes and times with these set.
    fn with(&self, basic: &Basic) -> (u32, [Option<u64>; 4]) {
        let attributes = match basic.attributes {
            0 => self.attributes,
            attributes => (self.attributes & DIRECTORY) | (attributes & SETTABLE),
        };
        let mut times = self.times;
        for (time, new) in times.iter_mut().zip(basic.times) {
            if !matches!(new, 0 | FIX | FOLLOW) {
                *time = Some(new);
            }
        }
        (attributes, times)
    }
}

/// Times once data are changed by a handle for which some are fixed (MS-FSA 2.1.4.17). Without a clock those of the last
/// write and the last change are unknown.
pub(super) fn written(times: [Option<u64>; 4], now: Option<u64>, fixed: [bool; 4]) -> [Option<u64>; 4] {
    let [create, access, write, change] = times;
    if now.is_none() {
        return [create, access, None, None];
    }
    let [_, keep_access, keep_write, keep_change] = fixed;
    let next = |keep: bool, old: Option<u64>| if keep { old } else { now };
    [create, next(keep_access, access), next(keep_write, write), next(keep_change, change)]
}
