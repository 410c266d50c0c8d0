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
fn a_root_stays_when_it_is_closed() {
    let mut disk = Disk::new();
    for _ in 0..2 {
        let root = disk.open("", Disposition::Open, FOLDER).unwrap();
        assert_eq!(disk.fs.close(root.handle, Link::Keep), Ok(()));
    }
    assert!(disk.open("d", Disposition::Create, FOLDER).is_ok());
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
        let size = opened.map(|opened| disk.fs.shown(opened.handle).0);
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
    assert_eq!(disk.fs.shown(opened.handle).1, READ_ONLY | ARCHIVE);
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
    disk.fs.set_basic(opened.handle, &Basic { attributes: NORMAL, ..Basic::default() }).unwrap();
    let plain = disk.open("r", open, PLAIN).unwrap().handle;
    assert_eq!(disk.fs.shown(plain).1, NORMAL);
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
    assert_eq!(disk.fs.read(reader, 1, 5, 0).map(|piece| piece.octets), Ok(vec![8]));
    assert_eq!(disk.fs.read(reader, 1, 5, 2), Err(nt::END_OF_FILE));
    assert_eq!(disk.fs.write(writer, u64::MAX - 1, 2, None), Err(Status::INVALID_PARAMETER));
    disk.fs.allocate(writer, 1).unwrap();
    let cut = disk.open("a", Disposition::Open, PLAIN).unwrap().handle;
    assert_eq!(disk.fs.shown(cut).0, 1);
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
    assert_eq!(disk.fs.list_names(root, "*", false, true), Ok(vec![".".to_owned()]));
    assert_eq!(disk.fs.list_names(root, "*", false, false), Ok(vec!["..".to_owned(), "B".to_owned()]));
    assert_eq!(disk.fs.list_names(root, "*", false, false), Err(nt::NO_MORE_FILES));
    assert_eq!(disk.fs.list_names(root, "c*", true, false), Err(nt::NO_SUCH_FILE));
    assert_eq!(disk.fs.list_names(root, "b*", true, false), Ok(vec!["B".to_owned()]));
}

fn naming(disk: &Disk, name: &str, replace: bool, old: OldName) -> Naming {
    Naming { volume: disk.volume, name: Name::parse(name).unwrap(), replace, old }
}

#[test]
fn a_file_is_the_same_under_another_name() {
    let mut disk = Disk::new();
    disk.open("d", Disposition::Create, FOLDER).unwrap();
    let moved = disk.open("a", Disposition::Create, PLAIN).unwrap().handle;
    disk.open("b", Disposition::Create, PLAIN).unwrap();
    let (a, b, d, root) = (disk.key("a"), disk.key("b"), disk.key("d"), disk.key(""));
    let onto = |disk: &Disk, name, replace| naming(disk, name, replace, OldName::Goes);
    let concerned = |disk: &Disk, name, replace| {
        disk.fs
            .concerned(moved, &onto(disk, name, replace))
            .map(|concerned| (concerned.replaced, concerned.directory))
    };
    assert_eq!(concerned(&disk, "b", false), Err(nt::OBJECT_NAME_COLLISION));
    assert_eq!(concerned(&disk, "d", true), Err(nt::ACCESS_DENIED));
    assert_eq!(concerned(&disk, "b", true), Ok((vec![b.unwrap()], root.unwrap())));
    assert_eq!(concerned(&disk, "d\\c", true), Ok((vec![], d.unwrap())));
    // What is open does not make room.
    assert_eq!(disk.fs.give_name(moved, &onto(&disk, "b", true)), Err(nt::ACCESS_DENIED));
    assert_eq!(disk.fs.give_name(moved, &onto(&disk, "d\\c", false)), Ok(()));
    assert_eq!(disk.key("d\\c"), a);
    assert_ne!(disk.key("a"), a);
    let name = Name::parse("d\\c").unwrap();
    assert_eq!(disk.fs.directory(disk.volume, &name), d.ok());
    assert!(disk.fs.leads_to(disk.volume, &name, a.unwrap()));
    assert!(!disk.fs.leads_to(disk.volume, &name, b.unwrap()));
    let reader = disk.open_with("b", Access::READ_DATA, Disposition::Open, PLAIN, 0).unwrap().handle;
    assert_eq!(disk.fs.give_name(reader, &onto(&disk, "e", false)), Err(nt::ACCESS_DENIED));
}

#[test]
fn a_directory_is_not_renamed_while_something_below_is_open() {
    let mut disk = Disk::new();
    let outer = disk.open("d", Disposition::Create, FOLDER).unwrap().handle;
    let inner = disk.open("d\\e", Disposition::Create, FOLDER).unwrap().handle;
    let to = naming(&disk, "f", false, OldName::Goes);
    assert_eq!(disk.fs.concerned(outer, &to).unwrap().below, [disk.key("d\\e").unwrap()]);
    assert_eq!(disk.fs.give_name(outer, &to), Err(nt::ACCESS_DENIED));
    let into_itself = naming(&disk, "d\\e\\f", false, OldName::Goes);
    assert_eq!(disk.fs.give_name(outer, &into_itself), Err(Status::INVALID_PARAMETER));
    disk.fs.close(inner, Link::Keep).unwrap();
    assert_eq!(disk.fs.give_name(outer, &to), Ok(()));
    assert!(disk.open("f\\e", Disposition::Open, FOLDER).is_ok());
}

#[test]
fn a_further_name_leads_to_the_same_file_and_outlives_the_first() {
    let mut disk = Disk::new();
    let first = disk.open("a", Disposition::Create, PLAIN).unwrap().handle;
    let linked = |disk: &Disk, name, replace| naming(disk, name, replace, OldName::Stays);
    assert_eq!(disk.fs.give_name(first, &linked(&disk, "b", false)), Ok(()));
    assert_eq!(disk.fs.give_name(first, &linked(&disk, "b", false)), Err(nt::OBJECT_NAME_COLLISION));
    assert_eq!(disk.key("a"), disk.key("b"));
    let second = disk.open("b", Disposition::Open, PLAIN).unwrap().handle;
    disk.fs.dispose(first, true).unwrap();
    // The file goes with its last handle, whatever that is called; the name that goes is the one that was deleted.
    assert_eq!(disk.fs.close(first, Link::Keep), Ok(()));
    assert_eq!(disk.fs.close(second, Link::Remove), Ok(()));
    assert_eq!(disk.open("a", Disposition::Open, PLAIN).err(), Some(Status::OBJECT_NAME_NOT_FOUND));
    let second = disk.open("b", Disposition::Open, PLAIN).unwrap().handle;
    assert_eq!(disk.fs.close(second, Link::Keep), Ok(()));
    let folder = disk.open("d", Disposition::Create, FOLDER).unwrap().handle;
    assert_eq!(disk.fs.give_name(folder, &linked(&disk, "e", false)), Err(nt::FILE_IS_A_DIRECTORY));
}

#[test]
fn a_disposition_can_be_taken_back() {
    let mut disk = Disk::new();
    let file = disk.open("a", Disposition::Create, PLAIN).unwrap().handle;
    disk.fs.dispose(file, true).unwrap();
    disk.fs.dispose(file, false).unwrap();
    assert_eq!(disk.fs.close(file, Link::Keep), Ok(()));
    let file = disk.open_with("r", ALL, Disposition::Create, PLAIN, READ_ONLY).unwrap().handle;
    assert_eq!(disk.fs.dispose(file, true), Err(nt::CANNOT_DELETE));
    assert_eq!(disk.fs.dispose(file, false), Ok(()));
    let folder = disk.open("d", Disposition::Create, FOLDER).unwrap().handle;
    disk.open("d\\f", Disposition::Create, PLAIN).unwrap();
    assert_eq!(disk.fs.dispose(folder, true), Err(nt::DIRECTORY_NOT_EMPTY));
}

#[test]
fn only_what_is_another_is_a_change() {
    let mut disk = Disk::new();
    let file = disk.open("a", Disposition::Create, PLAIN).unwrap().handle;
    let basic = |write, attributes| Basic { times: [0, u64::MAX, write, 0], attributes };
    let set = basic(7, 0);
    assert_eq!(disk.fs.changes(file, &basic(0, ARCHIVE)), Ok(false));
    assert_eq!(disk.fs.changes(file, &basic(0, NORMAL)), Ok(true));
    assert_eq!(disk.fs.changes(file, &set), Ok(true));
    disk.fs.set_basic(file, &set).unwrap();
    assert_eq!(disk.fs.changes(file, &set), Ok(false));
    disk.fs.write(file, 0, 1, None).unwrap();
    assert_eq!(disk.fs.changes(file, &set), Ok(true));
}

#[test]
fn room_is_given_in_blocks() {
    let mut disk = Disk::new();
    let opened = disk.open("a", Disposition::Create, PLAIN).unwrap();
    assert_eq!(opened.allocation, 0);
    disk.fs.write(opened.handle, 0, 1, None).unwrap();
    assert_eq!(disk.fs.allocation(opened.handle), 4096);
    disk.fs.resize(opened.handle, 4097).unwrap();
    assert_eq!(disk.open("a", Disposition::Open, PLAIN).unwrap().allocation, 8192);
}

fn basic(times: [u64; 4], attributes: u32) -> Basic {
    Basic { times, attributes }
}

#[test]
fn times_follow_what_is_done_until_they_are_set() {
    let mut disk = Disk::new();
    disk.fs.set_time(10);
    let file = disk.open("a", Disposition::Create, PLAIN).unwrap().handle;
    let times = |disk: &Disk, file| disk.fs.info(file).unwrap().facts.times;
    assert_eq!(times(&disk, file), [10; 4]);
    disk.fs.set_time(20);
    disk.fs.write(file, 0, 1, None).unwrap();
    assert_eq!(times(&disk, file), [10, 20, 20, 20]);
    disk.fs.set_time(30);
    disk.fs.set_basic(file, &basic([5, 0, 7, 0], 0)).unwrap();
    assert_eq!(times(&disk, file), [5, 20, 7, 30]);
    // What this handle set stays, whatever it does; others do as they like.
    disk.fs.set_time(40);
    disk.fs.resize(file, 0).unwrap();
    assert_eq!(times(&disk, file), [5, 40, 7, 40]);
    let other = disk.open("a", Disposition::Open, PLAIN).unwrap().handle;
    disk.fs.set_basic(other, &basic([0, 0, 0, u64::MAX], 0)).unwrap();
    disk.fs.set_time(50);
    disk.fs.write(other, 0, 1, None).unwrap();
    assert_eq!(times(&disk, file), [5, 50, 50, 40]);
    disk.fs.set_basic(file, &basic([0, 0, u64::MAX - 1, 0], 0)).unwrap();
    disk.fs.set_time(60);
    disk.fs.write(file, 0, 1, None).unwrap();
    assert_eq!(times(&disk, file), [5, 60, 60, 60]);
    // No time, and a file is no directory.
    let wrong = Err(Status::INVALID_PARAMETER);
    assert_eq!(disk.fs.set_basic(file, &basic([u64::MAX - 2, 0, 0, 0], 0)), wrong);
    assert_eq!(disk.fs.set_basic(file, &basic([0; 4], DIRECTORY)), wrong);
}

#[test]
fn a_directory_is_changed_with_its_entries() {
    let mut disk = Disk::new();
    disk.fs.set_time(10);
    let root = disk.open("", Disposition::Open, FOLDER).unwrap().handle;
    let written = |disk: &Disk| disk.fs.info(root).unwrap().facts.times[2];
    disk.fs.set_time(20);
    let file = disk.open("a", Disposition::Create, DELETES).unwrap().handle;
    assert_eq!(written(&disk), 20);
    disk.fs.set_time(30);
    disk.fs.close(file, Link::Remove).unwrap();
    assert_eq!(written(&disk), 30);
    disk.fs.set_time(40);
    disk.open("b", Disposition::Open, PLAIN).unwrap_err();
    assert_eq!(written(&disk), 30);
}

#[test]
fn names_are_shown_as_they_were_written() {
    let mut disk = Disk::new();
    disk.open("Dir", Disposition::Create, FOLDER).unwrap();
    let stream = disk.open("dIR\\File:Stream", Disposition::Create, PLAIN).unwrap().handle;
    let file = disk.open("DIR\\FILE", Disposition::Open, PLAIN).unwrap().handle;
    let name = |disk: &Disk, handle| disk.fs.info(handle).unwrap().name;
    assert_eq!(name(&disk, stream), "\\Dir\\File:Stream");
    assert_eq!(name(&disk, file), "\\Dir\\File");
    let streams = disk.fs.streams(file).unwrap();
    let names: Vec<_> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["::$DATA", ":Stream:$DATA"]);
    disk.fs.close(stream, Link::Keep).unwrap();
    // Another case is another way to write it.
    let cased = naming(&disk, "dir\\fILE", false, OldName::Goes);
    assert_eq!(disk.fs.give_name(file, &cased), Ok(()));
    assert_eq!(name(&disk, file), "\\Dir\\fILE");
    let root = disk.open("", Disposition::Open, FOLDER).unwrap().handle;
    assert_eq!(name(&disk, root), "\\");
    assert_eq!(disk.fs.list_names(root, "D*", false, false), Ok(vec!["Dir".to_owned()]));
}

#[test]
fn what_is_about_to_be_deleted_is_said_so() {
    let mut disk = Disk::new();
    let file = disk.open("a", Disposition::Create, PLAIN).unwrap().handle;
    let said = |disk: &Disk| disk.fs.info(file).map(|info| (info.links, info.delete_pending));
    assert_eq!(said(&disk), Ok((1, false)));
    disk.fs.give_name(file, &naming(&disk, "b", false, OldName::Stays)).unwrap();
    assert_eq!(said(&disk), Ok((2, false)));
    disk.fs.dispose(file, true).unwrap();
    assert_eq!(said(&disk), Ok((1, true)));
    // Nothing comes to be in a directory that goes.
    let folder = disk.open("d", Disposition::Create, FOLDER).unwrap().handle;
    disk.fs.dispose(folder, true).unwrap();
    assert_eq!(disk.open("d\\e", Disposition::Create, PLAIN).err(), Some(Status::DELETE_PENDING));
    let into = naming(&disk, "d\\b", false, OldName::Stays);
    assert_eq!(disk.fs.give_name(file, &into), Err(Status::DELETE_PENDING));
    disk.fs.close(folder, Link::Remove).unwrap();
    // What was put into a directory keeps it.
    let folder = disk.open("d", Disposition::Create, FOLDER.union(DELETES)).unwrap().handle;
    disk.open("d\\e", Disposition::Create, PLAIN).unwrap();
    disk.fs.close(folder, Link::Remove).unwrap();
    assert!(disk.open("d\\e", Disposition::Open, PLAIN).is_ok());
}

#[test]
fn what_cannot_be_is_refused() {
    let mut disk = Disk::new();
    let create = Disposition::Create;
    let status = |opened: Result<Opened, Status>| opened.err();
    disk.open("d", create, FOLDER).unwrap();
    disk.open("f", create, PLAIN).unwrap();
    assert_eq!(status(disk.open("d:s", Disposition::Open, PLAIN)), Some(Status::OBJECT_NAME_NOT_FOUND));
    assert_eq!(status(disk.open("f:s", create, FOLDER)), Some(nt::NOT_A_DIRECTORY));
    assert_eq!(status(disk.open("g:s", create, FOLDER)), Some(nt::NOT_A_DIRECTORY));
    assert_eq!(status(disk.open("x\\y", Disposition::Open, PLAIN)), Some(nt::OBJECT_PATH_NOT_FOUND));
    assert_eq!(status(disk.open_with("r", ALL, create, DELETES, READ_ONLY)), Some(nt::CANNOT_DELETE));
    let mut empty = Disk::new();
    assert_eq!(status(empty.open("", Disposition::Open, DELETES)), Some(nt::CANNOT_DELETE));
    let root = empty.open("", Disposition::Open, FOLDER).unwrap().handle;
    assert_eq!(empty.fs.dispose(root, true), Err(nt::CANNOT_DELETE));
    let file = disk.open("f", Disposition::Open, PLAIN).unwrap().handle;
    let away = naming(&disk, "x\\f", false, OldName::Goes);
    assert_eq!(disk.fs.give_name(file, &away), Err(nt::OBJECT_PATH_NOT_FOUND));
    assert_eq!(disk.fs.resize(file, u64::MAX), Err(Status::INVALID_PARAMETER));
}

#[test]
fn what_is_gone_leaves_room() {
    let mut fs = MemFs::with_limit(4 * BLOCK);
    let volume = fs.volume("s");
    let wanted = Wanted { access: ALL, disposition: Disposition::OpenIf, options: DELETES, attributes: 0 };
    for turn in 0..100 {
        let name = Name::parse(&format!("f{turn}:s")).unwrap();
        let whole = Name::parse(&format!("f{turn}")).unwrap();
        let file = fs.open(volume, &whole, &wanted).unwrap().handle;
        let stream = fs.open(volume, &name, &wanted).unwrap().handle;
        assert_eq!(fs.write(file, 0, 1, Some(vec![1])), Ok(1));
        assert_eq!(fs.write(stream, 1 << 40, 1, Some(vec![1])), Ok(1));
        assert_eq!(fs.write(stream, 0, 2 * BLOCK, Some(vec![1; 2 * BLOCK as usize])), Err(nt::DISK_FULL));
        // The name may go before a stream is closed.
        fs.close(file, Link::Remove).unwrap();
        assert_eq!((fs.links.len(), fs.nodes.len()), (2, 2));
        fs.close(stream, Link::Remove).unwrap();
        assert_eq!((fs.links.len(), fs.nodes.len(), fs.room.used()), (1, 1, 0));
    }
    let mut made = 0;
    let kept = Wanted { options: PLAIN, ..wanted };
    let full = loop {
        match fs.open(volume, &Name::parse(&format!("f{made}")).unwrap(), &kept) {
            Ok(opened) => fs.close(opened.handle, Link::Keep).unwrap(),
            Err(status) => break status,
        }
        made += 1;
    };
    assert_eq!((full, made), (nt::DISK_FULL, 8));
}

#[test]
fn a_name_that_makes_room_gives_its_data_back() {
    let mut disk = Disk::new();
    let old = disk.open("old", Disposition::Create, PLAIN).unwrap().handle;
    disk.fs.write(old, 0, 1, Some(vec![1])).unwrap();
    disk.fs.close(old, Link::Keep).unwrap();
    let new = disk.open("new", Disposition::Create, PLAIN).unwrap().handle;
    let used = disk.fs.room.used();
    disk.fs.give_name(new, &naming(&disk, "old", true, OldName::Goes)).unwrap();
    assert_eq!(disk.fs.room.used(), used - BLOCK - 2 * ENTRY);
    assert_eq!((disk.fs.links.len(), disk.fs.nodes.len()), (2, 2));
    disk.fs.close(new, Link::Keep).unwrap();
    assert_eq!(disk.open("new", Disposition::Open, PLAIN).err(), Some(Status::OBJECT_NAME_NOT_FOUND));
}

#[test]
fn many_files_are_as_fast_as_few() {
    let mut disk = Disk::new();
    let handles: Vec<_> = (0..100_000)
        .map(|file| disk.open(&format!("f{file}"), Disposition::Create, PLAIN).unwrap().handle)
        .collect();
    let root = disk.open("", Disposition::Open, FOLDER).unwrap().handle;
    assert_eq!(disk.fs.list_names(root, "f99999", false, false), Ok(vec!["f99999".to_owned()]));
    assert_eq!(disk.fs.list_names(root, "*", true, false).map(|names| names.len()), Ok(100_002));
    for handle in handles {
        disk.fs.close(handle, Link::Keep).unwrap();
    }
}

#[test]
fn a_listing_gives_again_what_did_not_fit() {
    let mut disk = Disk::new();
    let root = disk.open("", Disposition::Open, FOLDER).unwrap().handle;
    for name in ["C", "a", "B"] {
        disk.open(name, Disposition::Create, PLAIN).unwrap();
    }
    let some = |disk: &mut Disk, most: usize| {
        let mut names = Vec::new();
        let taken = disk.fs.list(root, "?", false, false, |entry| {
            let fits = names.len() < most;
            names.extend(fits.then(|| entry.name.clone()));
            fits
        });
        taken.map(|_| names.join(" "))
    };
    assert_eq!(some(&mut disk, 2), Ok(". a".to_owned()));
    assert_eq!(some(&mut disk, 0), Ok(String::new()));
    // What comes and goes meanwhile does so behind the place where it stands.
    disk.open("b2", Disposition::Create, PLAIN).unwrap();
    assert_eq!(some(&mut disk, 9), Ok("B C".to_owned()));
    assert_eq!(some(&mut disk, 9), Err(nt::NO_MORE_FILES));
    let blind = disk.open_with("", Access::READ_ATTRIBUTES, Disposition::Open, FOLDER, 0).unwrap().handle;
    assert_eq!(disk.fs.list_names(blind, "*", false, false), Err(nt::ACCESS_DENIED));
}
