//! The data of open files.

use leasehold::{Access, Status};

use super::content::{Content, Piece, end_of};
use super::room::Room;
use super::{Handle, Kind, MemFs, Open, Stream, facts, nt};

/// FILE_WRITE_DATA or FILE_APPEND_DATA
const WRITING: Access = Access::WRITE_DATA.union(Access::APPEND_DATA);
/// FILE_READ_DATA, or FILE_EXECUTE, which is as good for READ (MS-SMB2 3.3.5.12).
const READING: Access = Access::READ_DATA.union(Access::EXECUTE);
/// Octets of one read: more than any client may ask for.
const LONGEST_READ: u64 = 1 << 24;

impl MemFs {
    /// Whether a handle may read data.
    pub fn may_read(&self, handle: Handle) -> Result<(), Status> {
        self.open_with(handle, READING)?;
        self.stream(handle).map(|_| ()).ok_or(nt::INVALID_DEVICE_REQUEST)
    }

    /// Whether a handle may write data.
    pub fn may_write(&self, handle: Handle) -> Result<(), Status> {
        self.open_with(handle, WRITING)?;
        self.stream(handle).map(|_| ()).ok_or(nt::INVALID_DEVICE_REQUEST)
    }

    /// Whether a handle may lock ranges (MS-FSA 2.1.5.7).
    pub fn lockable(&self, handle: Handle) -> Result<(), Status> {
        self.accessible(handle, Access::READ_DATA.union(Access::WRITE_DATA))?;
        self.stream(handle).map(|_| ()).ok_or(Status::INVALID_PARAMETER)
    }

    /// Whether a handle may set sizes.
    pub fn may_resize(&self, handle: Handle) -> Result<(), Status> {
        self.open_with(handle, Access::WRITE_DATA)?;
        self.stream(handle).map(|_| ()).ok_or(nt::INVALID_DEVICE_REQUEST)
    }

    /// Reads from `offset` at most `length` octets, and no less than `minimum`.
    pub fn read(&self, handle: Handle, offset: u64, length: u64, minimum: u64) -> Result<Piece, Status> {
        self.may_read(handle)?;
        let content = &self.stream(handle).ok_or(nt::INVALID_DEVICE_REQUEST)?.content;
        let end = offset.saturating_add(length).min(content.size());
        let there = end.saturating_sub(offset);
        if there > LONGEST_READ {
            return Err(Status::INVALID_PARAMETER);
        }
        if (there == 0 && length > 0) || there < minimum {
            return Err(nt::END_OF_FILE);
        }
        Ok(content.piece(offset, end))
    }

    /// Writes; without `data` it is only known how much. Returns how much.
    pub fn write(
        &mut self,
        handle: Handle,
        offset: u64,
        length: u64,
        data: Option<Vec<u8>>,
    ) -> Result<u64, Status> {
        self.change(handle, WRITING, |content, room| {
            // All ones: behind the last octet.
            let offset = if offset == u64::MAX { content.size() } else { offset };
            content.write(room, offset, end_of(offset, length)?, data.as_deref())
        })?;
        Ok(length)
    }

    /// Sets the end of the file.
    pub fn resize(&mut self, handle: Handle, size: u64) -> Result<(), Status> {
        let size = end_of(size, 0)?;
        self.change(handle, Access::WRITE_DATA, |content, room| {
            content.resize(room, size);
            Ok(())
        })
    }

    /// Sets the room that a file has: less than its data cuts them off.
    pub fn allocate(&mut self, handle: Handle, size: u64) -> Result<(), Status> {
        let size = end_of(size, 0)?;
        self.change(handle, Access::WRITE_DATA, |content, room| {
            content.resize(room, content.size().min(size));
            content.reserve(size);
            Ok(())
        })
    }

    /// Asks for room for a file that was just created, overwritten or superseded (MS-SMB2 2.2.13.2.6).
    pub fn reserve(&mut self, handle: Handle, size: u64) {
        if let Some(stream) = self.stream_mut(handle) {
            stream.content.reserve(size);
        }
    }

    /// Has data reach stable storage.
    pub fn flush(&mut self, handle: Handle) -> Result<(), Status> {
        self.may_write(handle)
    }

    /// How much room there is for the data behind a handle: whole blocks, none for none.
    pub fn allocation(&self, handle: Handle) -> u64 {
        self.stream(handle).map_or(0, |stream| stream.content.allocation())
    }

    pub(super) fn stream(&self, handle: Handle) -> Option<&Stream> {
        let open = self.handles.get(&handle)?;
        match &self.node_of(open.link)?.kind {
            Kind::File { streams } => streams.get(&open.stream),
            Kind::Directory { .. } => None,
        }
    }

    fn stream_mut(&mut self, handle: Handle) -> Option<&mut Stream> {
        let Open { link, stream, .. } = self.handles.get(&handle)?;
        let node = self.links.get(*link)?.node;
        match &mut self.nodes.get_mut(node)?.kind {
            Kind::File { streams } => streams.get_mut(stream),
            Kind::Directory { .. } => None,
        }
    }

    /// Changes the data behind a handle with any of this access, and with them the times.
    fn change(
        &mut self,
        handle: Handle,
        access: Access,
        change: impl FnOnce(&mut Content, &mut Room) -> Result<(), Status>,
    ) -> Result<(), Status> {
        self.open_with(handle, access)?;
        let open = self.handles.get(&handle).ok_or(Status::FILE_CLOSED)?;
        let node = self.links.get(open.link).and_then(|link| self.nodes.get_mut(link.node));
        let node = node.ok_or(Status::FILE_CLOSED)?;
        let Kind::File { streams } = &mut node.kind else { return Err(nt::INVALID_DEVICE_REQUEST) };
        let stream = streams.get_mut(&open.stream).ok_or(Status::FILE_CLOSED)?;
        change(&mut stream.content, &mut self.room)?;
        node.times = facts::written(node.times, self.now, open.fixed);
        Ok(())
    }
}
