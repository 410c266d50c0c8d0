//! What the file system does, call by call.

use super::*;

const ALL: Access = Access::from_bits_retain(0x001f_01ff);

struct Disk {
    fs: MemFs,
    volume: VolumeId,
}

impl Disk {
    fn new() -> Self {
        let mut fs = MemFs::default();
        let volume = fs.volume("\\\\server\\share");
        Self { fs, volume }
    }

    fn key(&mut self, name: &str) -> Result<FileKey, Status> {
        self.fs.resolve(self.volume, &Name::parse(name)?)
    }

    fn open(
        &mut self,
        name: &str,
        disposition: Disposition,
        options: CreateOptions,
    ) -> Result<Opened, Status> {
        self.open_with(name, ALL, disposition, options, 0)
    }

    fn open_with(
        &mut self,
        name: &str,
        access: Access,
        disposition: Disposition,
        options: CreateOptions,
        attributes: u32,
    ) -> Result<Opened, Status> {
        let wanted = Wanted { access, disposition, options, attributes };
        self.fs.open(self.volume, &Name::parse(name)?, &wanted)
    }
}

const PLAIN: CreateOptions = CreateOptions::empty();
const FOLDER: CreateOptions = CreateOptions::DIRECTORY_FILE;
const NO_FOLDER: CreateOptions = CreateOptions::NON_DIRECTORY_FILE;
const DELETES: CreateOptions = CreateOptions::DELETE_ON_CLOSE;

#[test]
fn a_name_that_does_not_exist_has_one_key_for_all_in_flight() {
    let mut disk = Disk::new();
    let first = disk.key("a").unwrap();
    assert_eq!(disk.key("A"), Ok(first));
    assert_ne!(disk.key("b"), Ok(first));
    let name = Name::parse("a").unwrap();
    disk.fs.settle(disk.volume, &name, first);
    assert_eq!(disk.key("a"), Ok(first));
    disk.fs.settle(disk.volume, &name, first);
    disk.fs.settle(disk.volume, &name, first);
    let second = disk.key("a").unwrap();
    assert_ne!(second, first);
    // What comes to be has the key under which it was announced, and keeps it.
    disk.open("a", Disposition::Create, PLAIN).unwrap();
    disk.fs.settle(disk.volume, &name, second);
    assert_eq!(disk.key("a"), Ok(second));
    // Streams are files of their own.
    disk.open("a:s", Disposition::Create, PLAIN).unwrap();
    assert_ne!(disk.key("a:s"), Ok(second));
    assert_eq!(disk.key("a:S:$DATA"), disk.key("a:s"));
    assert_eq!(disk.key("a::$DATA"), Ok(second));
}

#[test]
fn every_disposition_does_what_it_says() {
    use Disposition::{Create, Open, OpenIf, Overwrite, OverwriteIf, Supersede};
    let missing = Err(Status::OBJECT_NAME_NOT_FOUND);
    let created = Ok(CreateAction::Created);
    for (disposition, to_nothing, to_something) in [
        (Supersede, created, Ok(CreateAction::Superseded)),
        (Open, missing, Ok(CreateAction::Opened)),
        (Create, created, Err(nt::OBJECT_NAME_COLLISION)),
        (OpenIf, created, Ok(CreateAction::Opened)),
        (Overwrite, missing, Ok(CreateAction::Overwritten)),
        (OverwriteIf, created, Ok(CreateAction::Overwritten)),
    ] {
        let mut disk = Disk::new();
        let opened = disk.open("a", disposition, PLAIN);
        assert_eq!(opened.map(|opened| opened.action), to_nothing, "{disposition:?}");
        let there = disk.open("b", Create, PLAIN).unwrap().handle;
        disk.fs.write(there, 0, 5, None).unwrap();
        let opened = disk.open("b", disposition, PLAIN);
        assert_eq!(opened.map(|opened| opened.action), to_something, "{disposition:?}");
        let size = opened.map(|opened| opened.end_of_file);
        let kept = if disposition.overwrites() { 0 } else { 5 };
        assert_eq!(size, to_something.map(|_| kept), "{disposition:?}");
    }
}

#[test]
fn files_and_directories_are_told_apart() {
    let mut disk = Disk::new();
    assert_eq!(disk.open("d", Disposition::Create, FOLDER).unwrap().kind, ObjectKind::Directory);
    assert_eq!(disk.open("d\\f", Disposition::Create, NO_FOLDER).unwrap().kind, ObjectKind::File);
    let status = |opened: Result<Opened, Status>| opened.map(|_| ()).unwrap_err();
    assert_eq!(status(disk.open("d", Disposition::Open, NO_FOLDER)), nt::FILE_IS_A_DIRECTORY);
    assert_eq!(status(disk.open("d", Disposition::Create, NO_FOLDER)), nt::OBJECT_NAME_COLLISION);
    assert_eq!(status(disk.open("d\\f", Disposition::Open, FOLDER)), nt::NOT_A_DIRECTORY);
    assert_eq!(status(disk.open("x\\f", Disposition::OpenIf, PLAIN)), nt::OBJECT_PATH_NOT_FOUND);
    assert_eq!(status(disk.open("d\\f\\g", Disposition::OpenIf, PLAIN)), nt::OBJECT_PATH_NOT_FOUND);
    assert_eq!(status(disk.open("d", Disposition::Open, DELETES)), nt::DIRECTORY_NOT_EMPTY);
    assert_eq!(status(disk.open("d:s", Disposition::Create, PLAIN)), nt::OBJECT_NAME_INVALID);
}

#[test]
fn attributes_guard_a_file() {
    let mut disk = Disk::new();
    let create = Disposition::Create;
    let opened = disk.open_with("r", ALL, create, PLAIN, READ_ONLY).unwrap();
    assert_eq!(opened.attributes, READ_ONLY | ARCHIVE);
    assert_eq!(disk.fs.write(opened.handle, 0, 1, None), Ok(1));
    let status = |opened: Result<Opened, Status>| opened.err();
    let read = Access::READ_DATA;
    let open = Disposition::Open;
    assert_eq!(status(disk.open_with("r", read, open, PLAIN, 0)), None);
    assert_eq!(status(disk.open_with("r", Access::WRITE_DATA, open, PLAIN, 0)), Some(nt::ACCESS_DENIED));
    assert_eq!(status(disk.open_with("r", read, Disposition::Overwrite, PLAIN, 0)), Some(nt::ACCESS_DENIED));
    assert_eq!(status(disk.open_with("r", read, open, DELETES, 0)), Some(nt::CANNOT_DELETE));
    disk.open_with("h", ALL, create, PLAIN, 0x2).unwrap();
    assert_eq!(status(disk.open_with("h", read, Disposition::Overwrite, PLAIN, 0)), Some(nt::ACCESS_DENIED));
    assert_eq!(status(disk.open_with("h", read, Disposition::Overwrite, PLAIN, 0x2)), None);
    disk.fs.set_attributes(opened.handle, NORMAL).unwrap();
    assert_eq!(disk.open("r", open, PLAIN).unwrap().attributes, NORMAL);
}

#[test]
fn access_guards_a_handle() {
    let mut disk = Disk::new();
    let reader = disk.open_with("a", Access::READ_DATA, Disposition::OpenIf, PLAIN, 0).unwrap().handle;
    let writer = disk.open_with("a", Access::WRITE_DATA, Disposition::OpenIf, PLAIN, 0).unwrap().handle;
    assert_eq!(disk.fs.write(reader, 0, 1, None), Err(nt::ACCESS_DENIED));
    assert_eq!(disk.fs.resize(reader, 0), Err(nt::ACCESS_DENIED));
    assert_eq!(disk.fs.read(writer, 0, 1, 0), Err(nt::ACCESS_DENIED));
    assert_eq!(disk.fs.read(reader, 0, 1, 0), Err(nt::END_OF_FILE));
    assert_eq!(disk.fs.write(writer, u64::MAX, 2, Some(vec![7, 8])), Ok(2));
    assert_eq!(disk.fs.read(reader, 1, 5, 0), Ok((1, vec![Some(8)])));
    assert_eq!(disk.fs.read(reader, 1, 5, 2), Err(nt::END_OF_FILE));
    assert_eq!(disk.fs.write(writer, u64::MAX - 1, 2, None), Err(Status::INVALID_PARAMETER));
    disk.fs.allocate(writer, 1).unwrap();
    assert_eq!(disk.open("a", Disposition::Open, PLAIN).unwrap().end_of_file, 1);
}

#[test]
fn a_name_goes_when_it_was_decided_and_never_otherwise() {
    let mut disk = Disk::new();
    let keeps = disk.open("a", Disposition::Create, PLAIN).unwrap().handle;
    let deletes = disk.open("a", Disposition::Open, DELETES).unwrap().handle;
    let key = disk.key("a");
    assert_eq!(disk.fs.close(deletes, Link::Keep), Ok(()));
    assert_eq!(disk.fs.close(keeps, Link::Remove), Ok(()));
    assert_eq!(disk.open("a", Disposition::Open, PLAIN).err(), Some(Status::OBJECT_NAME_NOT_FOUND));
    assert_ne!(disk.key("a"), key);
    let first = disk.open("b", Disposition::Create, DELETES).unwrap().handle;
    let second = disk.open("b", Disposition::Open, PLAIN).unwrap().handle;
    assert!(disk.fs.close(first, Link::Remove).is_err());
    assert!(disk.fs.close(second, Link::Keep).is_err());
    let third = disk.open("c", Disposition::Create, PLAIN).unwrap().handle;
    assert!(disk.fs.close(third, Link::Remove).is_err());
    assert!(disk.fs.close(third, Link::Keep).is_err());
}

#[test]
fn a_deleted_stream_leaves_its_file() {
    let mut disk = Disk::new();
    let stream = disk.open("a:s", Disposition::Create, DELETES).unwrap().handle;
    assert_eq!(disk.fs.close(stream, Link::Remove), Ok(()));
    assert_eq!(disk.open("a:s", Disposition::Open, PLAIN).err(), Some(Status::OBJECT_NAME_NOT_FOUND));
    let file = disk.open("a", Disposition::Open, DELETES).unwrap().handle;
    assert_eq!(disk.fs.close(file, Link::Remove), Ok(()));
    assert_eq!(disk.open("a", Disposition::Open, PLAIN).err(), Some(Status::OBJECT_NAME_NOT_FOUND));
}

#[test]
fn a_listing_goes_on_where_it_stopped() {
    let mut disk = Disk::new();
    let root = disk.open("", Disposition::Open, FOLDER).unwrap().handle;
    disk.open("B", Disposition::Create, PLAIN).unwrap();
    assert_eq!(disk.fs.list(root, "*", false, true), Ok(vec![".".to_owned()]));
    assert_eq!(disk.fs.list(root, "*", false, false), Ok(vec!["..".to_owned(), "b".to_owned()]));
    assert_eq!(disk.fs.list(root, "*", false, false), Err(nt::NO_MORE_FILES));
    assert_eq!(disk.fs.list(root, "c*", true, false), Err(nt::NO_SUCH_FILE));
    assert_eq!(disk.fs.list(root, "b*", true, false), Ok(vec!["b".to_owned()]));
}
