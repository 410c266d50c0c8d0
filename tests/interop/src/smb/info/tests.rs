//! Octet by octet, as MS-FSCC lays them out.

use leasehold::server::Link;
use leasehold::{CreateOptions, Disposition};

use super::*;
use crate::fs::names::Name;
use crate::fs::operations::OperationKind;
use crate::fs::{Basic, Naming, OldName, VolumeId, Wanted};

/// 0x0102030405060708
const NOW: [u8; 8] = [8, 7, 6, 5, 4, 3, 2, 1];

struct Disk {
    fs: MemFs,
    volume: VolumeId,
}

impl Disk {
    fn new() -> Self {
        let mut fs = MemFs::with_limit(1 << 20);
        fs.set_time(u64::from_le_bytes(NOW));
        let volume = fs.volume("\\\\server\\Share");
        Self { fs, volume }
    }

    fn open(&mut self, name: &str, access: u32, options: CreateOptions) -> Handle {
        let access = Access::from_bits_retain(access);
        let wanted = Wanted { access, disposition: Disposition::OpenIf, options, attributes: 0 };
        self.fs.open(self.volume, &Name::parse(name).unwrap(), &wanted).unwrap().handle
    }

    /// A file of 5 octets with a stream of 2.
    fn file(&mut self) -> Handle {
        self.open("", ALL, CreateOptions::DIRECTORY_FILE);
        let file = self.open("Dir", ALL, CreateOptions::DIRECTORY_FILE);
        self.fs.close(file, Link::Keep).unwrap();
        let stream = self.open("dir\\Ab:Cd", ALL, CreateOptions::empty());
        self.fs.write(stream, 0, 2, Some(vec![1, 2])).unwrap();
        let file = self.open("dir\\ab", ALL, CreateOptions::empty());
        self.fs.write(file, 0, 5, Some(vec![9; 5])).unwrap();
        self.fs.set_position(file, 3).unwrap();
        self.fs.set_mode(file, 0x2).unwrap();
        file
    }
}

const ALL: u32 = 0x001f_01ff;

fn octets(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn whole(octets: Vec<u8>) -> Result<Reply, Status> {
    Ok(Reply { status: Status::SUCCESS, octets })
}

const BASIC: [&[u8]; 3] = [&NOW, &[0x20, 0, 0, 0], &[0; 4]];
const STANDARD: &[u8] = &[0, 0x10, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
/// The root is 1, `Dir` is 2.
const INDEX: &[u8] = &[3, 0, 0, 0, 0, 0, 0, 0];
/// `\Dir\Ab`
const NAME: &[u8] = &[b'\\', 0, b'D', 0, b'i', 0, b'r', 0, b'\\', 0, b'A', 0, b'b', 0];

#[test]
fn what_is_known_of_a_file_is_written_as_its_class_says() {
    let mut disk = Disk::new();
    let file = disk.file();
    let basic = octets(&[&NOW, &NOW, &NOW, BASIC[0], BASIC[1], BASIC[2]]);
    let granted: &[u8] = &[0xff, 0x01, 0x1f, 0];
    let position: &[u8] = &[3, 0, 0, 0, 0, 0, 0, 0];
    let mode: &[u8] = &[2, 0, 0, 0];
    let zero: &[u8] = &[0; 4];
    let length: &[u8] = &[14, 0, 0, 0];
    let all = [&basic, STANDARD, INDEX, zero, granted, position, mode, zero, length, NAME].concat();
    let streams: &[u8] = &[
        40, 0, 0, 0, 14, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, // fixed
        b':', 0, b':', 0, b'$', 0, b'D', 0, b'A', 0, b'T', 0, b'A', 0, 0, 0, // ::$DATA, padding
        0, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, // fixed
        b':', 0, b'C', 0, b'd', 0, b':', 0, b'$', 0, b'D', 0, b'A', 0, b'T', 0, b'A', 0, // :Cd:$DATA
    ];
    let size: &[u8] = &[5, 0, 0, 0, 0, 0, 0, 0];
    let allocation: &[u8] = &[0, 0x10, 0, 0, 0, 0, 0, 0];
    let archive: &[u8] = &[0x20, 0, 0, 0];
    // (class, what is written, the fixed part)
    let rows: [(u8, Vec<u8>, usize); 15] = [
        (4, basic.clone(), 40),
        (5, STANDARD.to_vec(), 24),
        (6, INDEX.to_vec(), 8),
        (7, zero.to_vec(), 4),
        (8, granted.to_vec(), 4),
        (9, octets(&[length, NAME]), 8),
        (14, position.to_vec(), 8),
        (16, mode.to_vec(), 4),
        (17, zero.to_vec(), 4),
        (18, all, 104),
        (22, streams.to_vec(), 24),
        (28, octets(&[size, &[0; 8]]), 16),
        (34, octets(&[&NOW, &NOW, &NOW, &NOW, allocation, size, archive, zero]), 56),
        (35, octets(&[archive, zero]), 8),
        (48, octets(&[&[12, 0, 0, 0], &NAME[2..]]), 8),
    ];
    for (class, expected, fixed) in rows {
        assert_eq!(query_file(&disk.fs, file, class, 4096), whole(expected.clone()), "{class}");
        assert_eq!(query_file(&disk.fs, file, class, expected.len()), whole(expected.clone()), "{class}");
        for max in 0..fixed {
            assert_eq!(query_file(&disk.fs, file, class, max), Err(nt::INFO_LENGTH_MISMATCH), "{class}");
        }
        for max in fixed..expected.len() {
            let cut = query_file(&disk.fs, file, class, max).unwrap();
            assert_eq!(cut.status, nt::BUFFER_OVERFLOW, "{class}");
            assert!(cut.octets.len() <= max, "{class}");
            if class != 22 {
                assert_eq!(cut.octets, expected[..max & !1], "{class}");
            }
        }
    }
    let id = query_file(&disk.fs, file, 59, 24).unwrap().octets;
    assert_eq!(id[4..], octets(&[&[0; 4], INDEX, &[0; 8]]));
    assert_eq!(query_file(&disk.fs, file, 21, 4096), Err(Status::OBJECT_NAME_NOT_FOUND));
    assert_eq!(query_file(&disk.fs, file, 99, 4096), Err(nt::INVALID_INFO_CLASS));
    // The chain ends with what fits.
    let first = query_file(&disk.fs, file, 22, 40).unwrap();
    assert_eq!(first.octets, octets(&[&[0; 4], &streams[4..38]]));
}

#[test]
fn what_is_not_for_everybody_is_not_shown() {
    let mut disk = Disk::new();
    let blind = disk.open("a", 0x1, CreateOptions::empty());
    for class in [4, 18, 34, 35] {
        assert_eq!(query_file(&disk.fs, blind, class, 4096), Err(nt::ACCESS_DENIED), "{class}");
    }
    assert!(query_file(&disk.fs, blind, 5, 24).is_ok());
    assert_eq!(query_security(&disk.fs, blind, 0x4, 4096), Err(nt::ACCESS_DENIED));
    disk.fs.close(blind, Link::Keep).unwrap();
    assert_eq!(query_file(&disk.fs, blind, 5, 24), Err(Status::FILE_CLOSED));
    assert_eq!(query_fs(&disk.fs, blind, 3, 24), Err(Status::FILE_CLOSED));
}

#[test]
fn a_volume_is_described() {
    let mut disk = Disk::new();
    let root = disk.open("", ALL, CreateOptions::DIRECTORY_FILE);
    let label: &[u8] = &[10, 0, 0, 0, 0, 0, b'S', 0, b'h', 0, b'a', 0, b'r', 0, b'e', 0];
    let volume = query_fs(&disk.fs, root, 1, 4096).unwrap();
    assert_eq!(volume.octets[..8], NOW);
    assert_eq!(volume.octets[12..], *label);
    assert_eq!(query_fs(&disk.fs, root, 1, 24).map(|cut| cut.status), Ok(nt::BUFFER_OVERFLOW));
    // 256 units of 8 sectors of 512 octets.
    let units: &[u8] = &[0, 1, 0, 0, 0, 0, 0, 0];
    let sizes: &[u8] = &[8, 0, 0, 0, 0, 2, 0, 0];
    assert_eq!(query_fs(&disk.fs, root, 3, 24), whole(octets(&[units, units, sizes])));
    assert_eq!(query_fs(&disk.fs, root, 7, 32), whole(octets(&[units, units, units, sizes])));
    assert_eq!(query_fs(&disk.fs, root, 4, 8), whole(vec![7, 0, 0, 0, 0x20, 0, 0, 0]));
    let ntfs: &[u8] = &[6, 0, 0x44, 0, 255, 0, 0, 0, 8, 0, 0, 0, b'N', 0, b'T', 0, b'F', 0, b'S', 0];
    assert_eq!(query_fs(&disk.fs, root, 5, 20), whole(ntfs.to_vec()));
    assert_eq!(query_fs(&disk.fs, root, 5, 15).map(|cut| cut.octets), Ok(ntfs[..14].to_vec()));
    assert_eq!(query_fs(&disk.fs, root, 6, 48).map(|body| body.octets.len()), Ok(48));
    assert_eq!(query_fs(&disk.fs, root, 11, 28).map(|body| body.octets.len()), Ok(28));
    assert_eq!(query_fs(&disk.fs, root, 11, 27), Err(nt::INFO_LENGTH_MISMATCH));
    assert_eq!(query_fs(&disk.fs, root, 2, 4096), Err(nt::INVALID_INFO_CLASS));
}

#[test]
fn a_security_descriptor_has_the_parts_that_were_asked_for() {
    let mut disk = Disk::new();
    let file = disk.open("a", ALL, CreateOptions::empty());
    let system: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    let owner: &[u8] = &[1, 0, 0, 0x80, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(query_security(&disk.fs, file, 0x1, 32), whole(octets(&[owner, system])));
    let header: &[u8] = &[1, 0, 4, 0x80, 20, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0];
    let acl: &[u8] = &[2, 0, 28, 0, 1, 0, 0, 0];
    let ace: &[u8] = &[0, 0, 20, 0, 0xff, 1, 0x1f, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let all = octets(&[header, system, system, acl, ace]);
    assert_eq!(query_security(&disk.fs, file, 0x7, 72), whole(all));
    let needed = Reply { status: nt::BUFFER_TOO_SMALL, octets: vec![72, 0, 0, 0] };
    assert_eq!(query_security(&disk.fs, file, 0x7, 71), Ok(needed));
    // Who audits is a matter of a privilege.
    assert_eq!(query_security(&disk.fs, file, 0x8, 72), Err(nt::ACCESS_DENIED));
}

#[test]
fn a_directory_is_listed_in_every_layout() {
    let mut disk = Disk::new();
    disk.file();
    let directory = disk.open("dir", ALL, CreateOptions::DIRECTORY_FILE);
    let common = octets(&[
        &[0; 8],
        &[NOW; 4].concat(),
        &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 4, 0, 0, 0],
    ]);
    let name: &[u8] = &[b'A', 0, b'b', 0];
    let rows: [(u8, Vec<u8>); 7] = [
        (1, octets(&[&common, name])),
        (2, octets(&[&common, &[0; 4], name])),
        (3, octets(&[&common, &[0; 30], name])),
        (12, octets(&[&[0; 8], &[4, 0, 0, 0], name])),
        (37, octets(&[&common, &[0; 32], INDEX, name])),
        (38, octets(&[&common, &[0; 8], INDEX, name])),
        (60, octets(&[&common, &[0; 8], INDEX, &[0; 8], name])),
    ];
    for (class, expected) in rows {
        let mut query = |flags, max| query_directory(&mut disk.fs, directory, class, flags, "a*", max);
        assert_eq!(query(0x1, 4096), Ok(expected.clone()), "{class}");
        assert_eq!(query(0, 4096), Err(nt::NO_MORE_FILES), "{class}");
        for max in 0..expected.len() - 4 {
            assert_eq!(query(0x1, max), Err(nt::INFO_LENGTH_MISMATCH), "{class}");
        }
        for max in expected.len() - 4..expected.len() {
            assert_eq!(query(0x1, max), Err(nt::BUFFER_OVERFLOW), "{class}");
        }
        // What did not fit comes first the next time.
        assert_eq!(query(0, expected.len()), Ok(expected.clone()), "{class}");
    }
    let query = query_directory(&mut disk.fs, directory, 99, 0, "*", 4096);
    assert_eq!(query, Err(nt::INVALID_INFO_CLASS));
}

#[test]
fn entries_point_to_the_next_one_as_long_as_there_is_room() {
    let mut disk = Disk::new();
    disk.file();
    let directory = disk.open("dir", ALL, CreateOptions::DIRECTORY_FILE);
    let dot: &[u8] = &[0, 0, 0, 0, 2, 0, 0, 0, b'.', 0];
    let dots: &[u8] = &[0, 0, 0, 0, 4, 0, 0, 0, b'.', 0, b'.', 0];
    let name: &[u8] = &[0, 0, 0, 0, 4, 0, 0, 0, b'A', 0, b'b', 0];
    let (last, next): (&[u8], &[u8]) = (&[0; 4], &[16, 0, 0, 0]);
    let mut query = |flags, max| query_directory(&mut disk.fs, directory, 12, flags, "*", max);
    assert_eq!(query(0, 4096), Ok(octets(&[next, dot, &[0; 2], next, dots, last, name])));
    assert_eq!(query(0x1, 47), Ok(octets(&[next, dot, &[0; 2], last, dots])));
    assert_eq!(query(0, 47), Ok(octets(&[last, name])));
    assert_eq!(query(0, 47), Err(nt::NO_MORE_FILES));
    assert_eq!(query(0x10 | 0x2, 47), Ok(octets(&[last, dot])));
}

/// A rename. Reserved is ignored.
fn rename(flags: u8, root: u8, length: u8, name: &[u8]) -> Vec<u8> {
    let head = [flags, 0xaa, 0xbb, 0, 0, 0, 0, 0, root, 0, 0, 0, 0, 0, 0, 0, length, 0, 0, 0];
    octets(&[&head, name])
}

/// The same, where Flags have four octets.
fn rename_ex(flags: u8, name: &[u8]) -> Vec<u8> {
    let head = [flags, 0, 0, 0, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, name.len() as u8, 0, 0, 0];
    octets(&[&head, name])
}

#[test]
fn what_is_set_is_read() {
    let volume = Disk::new().volume;
    let parse = |class, buffer: &[u8]| parse_set_file(volume, class, buffer);
    let mut basic = octets(&[&NOW, &[0xff; 8], &[0; 8], &NOW]);
    basic.extend([0x21, 0, 0, 0, 7, 7, 7, 7]);
    let now = u64::from_le_bytes(NOW);
    let set = parse(4, &basic);
    let Ok(Change::Operation(OperationKind::Basic(Basic { times, attributes }))) = set else {
        panic!("{set:?}");
    };
    assert_eq!((times, attributes), ([now, u64::MAX, 0, now], 0x21));
    let long = [5, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(parse(14, &long), Ok(Change::Position(5))));
    assert!(matches!(parse(16, &long), Ok(Change::Mode(5))));
    assert!(matches!(parse(19, &long), Ok(Change::Operation(OperationKind::Allocation(5)))));
    assert!(matches!(parse(20, &long), Ok(Change::Operation(OperationKind::EndOfFile(5)))));
    assert!(matches!(parse(13, &[1]), Ok(Change::Operation(OperationKind::Delete { pending: true }))));
    assert!(matches!(parse(13, &[0]), Ok(Change::Operation(OperationKind::Delete { pending: false }))));
    let deletes = [1, 0, 0, 0];
    assert!(matches!(parse(64, &deletes), Ok(Change::Operation(OperationKind::Delete { pending: true }))));
    for (class, buffer, status) in [
        (20, &[0xff; 8][..], Status::INVALID_PARAMETER),
        (64, &[3, 0, 0, 0], Status::NOT_SUPPORTED),
        (65, &rename_ex(2, b"b\0"), Status::NOT_SUPPORTED),
        (40, &long, nt::PRIVILEGE_NOT_HELD),
        (15, &long, nt::EAS_NOT_SUPPORTED),
        (39, &long, nt::INVALID_INFO_CLASS),
    ] {
        assert_eq!(parse(class, buffer).map(|_| ()), Err(status), "{class}");
    }
    for (class, buffer) in [
        (4, &basic[..]),
        (10, &rename(0, 0, 4, b"a\0b\0")),
        (11, &rename(0, 0, 4, b"a\0b\0")),
        (13, &[1]),
        (14, &long),
        (16, &long[..4]),
        (19, &long),
        (20, &long),
        (64, &deletes),
        (65, &rename_ex(1, b"a\0b\0")),
    ] {
        assert!(parse(class, buffer).is_ok(), "{class}");
        for end in 0..buffer.len() {
            let cut = parse(class, &buffer[..end]).map(|_| ());
            assert_eq!(cut, Err(nt::INFO_LENGTH_MISMATCH), "{class} {end}");
        }
    }
}

#[test]
fn a_new_name_is_read() {
    let volume = Disk::new().volume;
    let parse = |class, buffer: &[u8]| match parse_set_file(volume, class, buffer)? {
        Change::Operation(OperationKind::Name(Naming { name, replace, old, .. })) => {
            Ok((name.parts.join("/"), name.called, replace, old))
        }
        other => panic!("{other:?}"),
    };
    let named =
        |name: &str, called: &str, replace, old| Ok((name.to_owned(), called.to_owned(), replace, old));
    assert_eq!(parse(10, &rename(1, 0, 6, b"D\0\\\0B\0")), named("d/b", "B", true, OldName::Goes));
    assert_eq!(parse(10, &rename(0, 0, 4, b"\\\0b\0")), named("b", "b", false, OldName::Goes));
    assert_eq!(parse(11, &rename(0, 0, 2, b"b\0\0\0")), named("b", "b", false, OldName::Stays));
    assert_eq!(parse(65, &rename_ex(1, b"b\0")), named("b", "b", true, OldName::Goes));
    for (buffer, status) in [
        (rename(0, 1, 2, b"b\0"), Status::INVALID_PARAMETER),
        (rename(0, 0, 0, b""), Status::INVALID_PARAMETER),
        (rename(0, 0, 1, b"b\0"), Status::INVALID_PARAMETER),
        (rename(0, 0, 2, b"\\\0"), nt::OBJECT_NAME_INVALID),
        (rename(0, 0, 2, b"*\0"), nt::OBJECT_NAME_INVALID),
        (rename(0, 0, 2, &[0, 0xd8]), nt::OBJECT_NAME_INVALID),
        (rename(0, 0, 4, b"b\0"), nt::INFO_LENGTH_MISMATCH),
    ] {
        assert_eq!(parse(10, &buffer), Err(status), "{buffer:?}");
    }
}
