//! Histories of two clients, each with what they hear.

use leasehold::server::{LockElement, LockFlags};
use leasehold::wire::{ContextWriter, CreateRequest, Fixed as _, Header, LeaseAck, OplockBreak, name};
use leasehold::{Access, CreateOptions, FileId, LeaseKey, LeaseState, OplockLevel, ShareMode};
use leasehold_interop::smb::octets::to_utf16;
use leasehold_interop::smb::request::{Ioctl, QueryDirectory, QueryInfo, Request};

/// A name, the history, and what both clients hear.
pub(super) type Named = (&'static str, Vec<u8>, &'static str);

/// Bits of a step, see `leasehold_interop::serve::hostile`.
const OWN: u8 = 3 << 1;
const OTHERS: u8 = 5 << 1;
const NAMED: u8 = 0x10;
const REPLAY: u8 = 0x20;
const MORE: u8 = 0x40;
const RELATED: u8 = 0x80;
/// Dialects, by their place.
const SMB202: u8 = 0;
const SMB210: u8 = 1;
const SMB302: u8 = 3;
const SMB311: u8 = 4;
const USERS: u8 = 0x80;
const ONE_CLIENT: u8 = 0x40;

struct History(Vec<u8>);

impl History {
    fn new(first: u8) -> Self {
        Self(vec![first])
    }

    fn step(mut self, kind: u8, octets: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend(u16::try_from(octets.len()).unwrap().to_le_bytes());
        self.0.extend(octets);
        self
    }

    /// A request of the client `who`, about its last open where it names one.
    fn ask(self, who: u8, request: &Request<'_>) -> Self {
        let named = if request.file_id() == Some(FILE) { NAMED } else { 0 };
        self.ask_with(who | OWN | named, request)
    }

    fn ask_with(self, kind: u8, request: &Request<'_>) -> Self {
        let mut message = vec![0; Header::LEN];
        request.encode(&mut message).unwrap();
        let command = u8::try_from(request.command().to_wire()).unwrap();
        message[Header::LEN - 1] = command;
        self.step(kind, &message[Header::LEN - 1..])
    }

    fn create(self, who: u8, open: &Open) -> Self {
        self.create_with(who | OWN, open)
    }

    fn create_with(self, kind: u8, open: &Open) -> Self {
        let mut room = [0; 512];
        let mut writer = ContextWriter::new(&mut room);
        for (name, data) in &open.contexts {
            writer.push(name, data).unwrap();
        }
        let len = writer.finish();
        let name = to_utf16(open.name);
        self.ask_with(
            kind,
            &Request::Create(CreateRequest {
                level: open.level,
                impersonation: 2,
                desired: open.access,
                attributes: 0,
                sharing: open.sharing,
                disposition: 3,
                options: CreateOptions::from_bits_retain(open.options),
                name: &name,
                contexts: &room[..len],
            }),
        )
    }

    fn lose(self, who: u8) -> Self {
        self.step(who | 2 << 1, &[])
    }

    fn wait(self, millis: u16) -> Self {
        self.step(1 << 1, &millis.to_le_bytes())
    }

    fn sign_in_again(self, who: u8) -> Self {
        self.step(who | 6 << 1, &[0])
    }

    fn bind(self, who: u8) -> Self {
        self.step(who | 6 << 1, &[1])
    }

    fn sequence(self, who: u8, sequence: u8) -> Self {
        self.step(who | 7 << 1, &[sequence])
    }
}

/// What is opened.
#[derive(Clone)]
struct Open {
    name: &'static str,
    level: OplockLevel,
    access: Access,
    sharing: ShareMode,
    options: u32,
    contexts: Vec<(&'static [u8], Vec<u8>)>,
}

impl Open {
    fn file(name: &'static str) -> Self {
        let (level, access) = (OplockLevel::None, Access::from_bits_retain(0x001f_01ff));
        Self { name, level, access, sharing: ShareMode::ALL, options: 0x40, contexts: Vec::new() }
    }

    fn directory(name: &'static str) -> Self {
        Self { options: 0x1, ..Self::file(name) }
    }

    fn level(self, level: OplockLevel) -> Self {
        Self { level, ..self }
    }

    /// RqLs of version 2.
    fn lease(mut self, key: u8, state: LeaseState) -> Self {
        let mut data = vec![key; 16];
        data.extend(state.bits().to_le_bytes());
        data.resize(52, 0);
        self.contexts.push((name::RQLS, data));
        self.level(OplockLevel::Lease)
    }

    fn context(mut self, name: &'static [u8], data: &[u8]) -> Self {
        self.contexts.push((name, data.to_vec()));
        self
    }

    /// DH2Q
    fn durable(self, flags: u32) -> Self {
        let data = [&[0; 4][..], &flags.to_le_bytes(), &[0; 8], &GUID].concat();
        self.context(name::DH2Q, &data)
    }

    /// DH2C; the FileId is put in by whoever plays it.
    fn durable_again(self, flags: u32) -> Self {
        let data = [&[0; 16][..], &GUID, &flags.to_le_bytes()].concat();
        self.context(name::DH2C, &data)
    }
}

/// Stands for an open that whoever plays it knows.
const FILE: FileId = FileId::new(0, 0);
const GUID: [u8; 16] = [5; 16];
const CLOSE: Request<'_> = Request::Close { file_id: FILE, query_attributes: true };

fn acknowledge(key: u8, state: LeaseState) -> Request<'static> {
    Request::LeaseAck(LeaseAck { key: LeaseKey::new([key; 16]), state })
}

fn lock(offset: u64, len: u64, flags: LockFlags) -> Request<'static> {
    lock_numbered(0, offset, len, flags)
}

fn lock_numbered(sequence: u32, offset: u64, len: u64, flags: LockFlags) -> Request<'static> {
    let elements = vec![LockElement { offset, len, flags }];
    Request::Lock { file_id: FILE, sequence, elements }
}

fn write(data: &[u8]) -> Request<'_> {
    Request::Write { file_id: FILE, offset: 0, data }
}

fn read(length: u32) -> Request<'static> {
    Request::Read { file_id: FILE, offset: 0, length, minimum: 0 }
}

fn set_file(class: u8, data: &[u8]) -> Request<'_> {
    Request::SetInfo { file_id: FILE, kind: 1, class, additional: 0, data }
}

fn query(kind: u8, class: u8, file_id: FileId) -> Request<'static> {
    Request::QueryInfo(QueryInfo { kind, class, max_output: 512, input: &[], additional: 7, file_id })
}

fn list(pattern: &[u8]) -> Request<'_> {
    Request::QueryDirectory(QueryDirectory { class: 37, flags: 0, file_id: FILE, pattern, max_output: 4096 })
}

fn control(code: u32, input: &[u8]) -> Request<'_> {
    Request::Ioctl(Ioctl { code, file_id: FILE, input, max_output: 64, is_fsctl: true })
}

fn rename(name: &str, replace: bool) -> Vec<u8> {
    let name = to_utf16(name);
    let mut data = vec![u8::from(replace)];
    data.resize(16, 0);
    data.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    data.extend(name);
    data
}

const LISTEN: Request<'_> = Request::ChangeNotify { file_id: FILE, flags: 0, filter: 0xfff, max_output: 512 };
/// DELETE
const DELETE: Access = Access::from_bits_retain(0x0001_0000);
const BATCH: OplockLevel = OplockLevel::Batch;

pub(super) fn histories() -> Vec<Named> {
    [breaks(), ranges(), names(), durable(), sessions(), compounds(), data()].concat()
}

fn breaks() -> Vec<Named> {
    let leased = |key| Open::file("f").lease(key, LeaseState::RWH);
    let both = || History::new(SMB311).create(0, &leased(1)).create(1, &leased(2));
    let batch = Open::file("f").level(BATCH);
    let oplock_ack = |level| Request::OplockAck(OplockBreak { level, file_id: FILE });
    vec![
        (
            "lease-break-acknowledged",
            both().ask(0, &acknowledge(1, LeaseState::RH)).ask(1, &CLOSE).ask(0, &CLOSE).0,
            "Create, OplockBreak, Create STATUS_PENDING, Create, OplockBreak, Close, Close",
        ),
        (
            "lease-break-times-out",
            both().wait(40_000).ask(0, &acknowledge(1, LeaseState::RH)).0,
            "Create, OplockBreak, Create STATUS_PENDING, Create, OplockBreak STATUS_UNSUCCESSFUL",
        ),
        (
            "lease-break-client-is-lost",
            both().lose(0).0,
            "Create, OplockBreak, Create STATUS_PENDING, Create",
        ),
        (
            "lease-of-two-opens-written-by-another",
            History::new(SMB302)
                .create(0, &Open::file("f").lease(1, LeaseState::RH))
                .create(0, &Open::file("f").lease(1, LeaseState::RWH))
                .create(1, &Open::file("f"))
                .ask(0, &acknowledge(1, LeaseState::READ))
                .ask(1, &write(b"abc"))
                .0,
            "Create, Create, OplockBreak, Create STATUS_PENDING, Create, OplockBreak, OplockBreak, Write",
        ),
        (
            "lease-of-directory",
            History::new(SMB311)
                .create(0, &Open::directory("d").lease(1, LeaseState::RH))
                .create(1, &Open::file("d\\f"))
                .ask(0, &acknowledge(1, LeaseState::NONE))
                .0,
            "Create, OplockBreak, Create, OplockBreak",
        ),
        (
            "oplock-break-acknowledged",
            History::new(SMB202)
                .create(0, &batch)
                .create(1, &batch)
                .ask(0, &oplock_ack(OplockLevel::II))
                .ask(1, &write(b"a"))
                .0,
            "Create, OplockBreak, Create STATUS_PENDING, Create, OplockBreak, OplockBreak, OplockBreak, Write",
        ),
        (
            "oplock-break-answered-by-close",
            History::new(SMB210)
                .create(0, &Open { sharing: ShareMode::empty(), ..batch.clone() })
                .create(1, &batch)
                .ask(0, &CLOSE)
                .0,
            "Create, OplockBreak, Create STATUS_PENDING, Create, Close",
        ),
        (
            "oplock-break-waits-cancelled",
            History::new(SMB311)
                .create(0, &batch)
                .create(1, &batch)
                .ask_with(1 | OWN | NAMED, &Request::Cancel)
                .0,
            "Create, OplockBreak, Create STATUS_PENDING, Create STATUS_CANCELLED",
        ),
    ]
}

fn ranges() -> Vec<Named> {
    let opens = || History::new(SMB311).create(0, &Open::file("f")).create(1, &Open::file("f"));
    let now = LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY;
    vec![
        (
            "lock-waits-for-unlock",
            opens()
                .ask(0, &lock(0, 10, now))
                .ask(1, &lock(5, 10, now))
                .ask(1, &lock(5, 10, LockFlags::EXCLUSIVE))
                .ask(0, &lock(0, 10, LockFlags::UNLOCK))
                .ask(0, &read(20))
                .ask(1, &CLOSE)
                .0,
            "Create, Create, Lock, Lock STATUS_LOCK_NOT_GRANTED, Lock STATUS_PENDING, Lock, Lock, Read STATUS_FILE_LOCK_CONFLICT, Close",
        ),
        (
            "lock-waits-and-is-cancelled",
            opens()
                .ask(0, &lock(0, 10, now))
                .ask(1, &lock(5, 10, LockFlags::SHARED))
                .ask_with(1 | OWN | NAMED, &Request::Cancel)
                .ask(1, &lock(5, 10, LockFlags::SHARED))
                .lose(0)
                .0,
            "Create, Create, Lock, Lock STATUS_PENDING, Lock STATUS_CANCELLED, Lock STATUS_PENDING, Lock",
        ),
        (
            "lock-replayed-by-its-sequence",
            History::new(SMB311)
                .create(0, &Open::file("f").level(BATCH).durable(2))
                .ask(0, &lock_numbered(0x13, 0, 10, now))
                .ask_with(OWN | NAMED | REPLAY, &lock_numbered(0x13, 0, 10, now))
                .ask(0, &lock_numbered(0x14, 0, 10, LockFlags::UNLOCK))
                .0,
            "Create, Lock, Lock, Lock",
        ),
    ]
}

fn names() -> Vec<Named> {
    let all = to_utf16("*");
    let leased = Open::file("a").lease(1, LeaseState::RH);
    vec![
        (
            "rename-breaks-handle-lease",
            History::new(SMB311)
                .create(0, &leased)
                .create(1, &Open::file("a"))
                .ask(1, &set_file(10, &rename("b", false)))
                .ask(0, &acknowledge(1, LeaseState::READ))
                .create(0, &Open::file("b"))
                .0,
            "Create, Create, OplockBreak, SetInfo STATUS_PENDING, SetInfo, OplockBreak, Create",
        ),
        (
            "rename-replaces-and-link",
            History::new(SMB311)
                .create(0, &leased)
                .create(1, &Open::file("b"))
                .ask(1, &set_file(10, &rename("a", true)))
                .ask(1, &set_file(11, &rename("c", false)))
                .ask(0, &CLOSE)
                .ask(1, &set_file(65, &rename("\\a", true)))
                .0,
            "Create, Create, OplockBreak, SetInfo STATUS_PENDING, SetInfo, SetInfo, Close, SetInfo",
        ),
        (
            "directory-listed-and-watched",
            History::new(SMB311)
                .create(0, &Open::directory("d"))
                .create(1, &Open::file("d\\one"))
                .create(1, &Open::file("d\\two:stream"))
                .ask(0, &list(&all))
                .ask(0, &list(&all))
                .ask(0, &LISTEN)
                .ask_with(OWN | NAMED, &Request::Cancel)
                .ask(0, &LISTEN)
                .ask(0, &CLOSE)
                .0,
            "Create, Create, Create, QueryDirectory, QueryDirectory NTSTATUS 0x80000006, ChangeNotify STATUS_PENDING, ChangeNotify STATUS_CANCELLED, ChangeNotify STATUS_PENDING, ChangeNotify NTSTATUS 0x0000010c, Close",
        ),
        (
            "delete-on-close-with-others",
            History::new(SMB311)
                .create(0, &Open { options: 0x1040, ..Open::file("f") })
                .create(1, &Open { access: DELETE, ..Open::file("f") })
                .ask(0, &CLOSE)
                .create(0, &Open::file("f"))
                .ask(1, &CLOSE)
                .create(0, &Open::file("f"))
                .ask(0, &set_file(13, &[1]))
                .0,
            "Create, Create, Close, Create STATUS_DELETE_PENDING, Close, Create, SetInfo",
        ),
    ]
}

fn durable() -> Vec<Named> {
    let open = Open::file("f").level(BATCH);
    let leased = Open::file("f").lease(1, LeaseState::RWH);
    let again = OWN | NAMED;
    vec![
        (
            "durable-v1-comes-back",
            History::new(SMB210)
                .create(0, &open.clone().context(name::DHNQ, &[0; 16]))
                .lose(0)
                .create_with(again, &open.clone().context(name::DHNC, &[0; 16]))
                .ask(0, &CLOSE)
                .0,
            "Create, Negotiate, SessionSetup NTSTATUS 0xc0000016, SessionSetup, TreeConnect, Create, Close",
        ),
        (
            "durable-v2-comes-back-with-lease",
            History::new(SMB311)
                .create(0, &leased.clone().durable(0))
                .lose(0)
                .wait(1000)
                .create_with(again, &leased.clone().durable_again(0))
                .ask(0, &write(b"still here"))
                .0,
            "Create, Negotiate, SessionSetup NTSTATUS 0xc0000016, SessionSetup, TreeConnect, Create, Write",
        ),
        (
            "durable-v2-is-broken-while-away",
            History::new(SMB311)
                .create(0, &leased.clone().durable(0))
                .lose(0)
                .create(1, &Open::file("f"))
                .create_with(again, &leased.clone().durable_again(0))
                .0,
            "Create, Create, Negotiate, SessionSetup NTSTATUS 0xc0000016, SessionSetup, TreeConnect, Create STATUS_OBJECT_NAME_NOT_FOUND",
        ),
        (
            "persistent-with-lock-comes-back",
            History::new(SMB311)
                .create(0, &leased.clone().durable(2))
                .ask(0, &lock_numbered(0x15, 0, 1, LockFlags::EXCLUSIVE))
                .lose(0)
                .create(1, &Open::file("f"))
                .create_with(again, &leased.clone().durable_again(2))
                .ask(0, &lock_numbered(0x15, 0, 1, LockFlags::EXCLUSIVE))
                .wait(60_000)
                .0,
            "Create, Lock, Create STATUS_PENDING, Negotiate, SessionSetup NTSTATUS 0xc0000016, SessionSetup, TreeConnect, Create, OplockBreak, Lock",
        ),
        (
            "create-replayed",
            History::new(SMB311)
                .create(0, &open.clone().durable(2))
                .create_with(OWN | REPLAY, &open.clone().durable(2))
                .sequence(0, 1)
                .ask(0, &write(b"a"))
                .sequence(0, 0)
                .ask(0, &write(b"b"))
                .0,
            "Create, Create, Write, Write STATUS_FILE_NOT_AVAILABLE",
        ),
        (
            "resilient-comes-back",
            History::new(SMB210)
                .create(0, &Open::file("f"))
                .ask(0, &control(0x0014_01d4, &[0x10, 0x27, 0, 0, 0, 0, 0, 0]))
                .lose(0)
                .create_with(again, &Open::file("f").context(name::DHNC, &[0; 16]))
                .0,
            "Create, Ioctl, Negotiate, SessionSetup NTSTATUS 0xc0000016, SessionSetup, TreeConnect, Create",
        ),
    ]
}

fn sessions() -> Vec<Named> {
    let channels = || History::new(SMB311 | USERS | ONE_CLIENT);
    let leased = Open::file("f").lease(1, LeaseState::RWH);
    vec![
        (
            "channel-is-bound-and-lost",
            channels().bind(1).create(0, &leased).lose(0).ask_with(1 | OTHERS | NAMED, &CLOSE).0,
            "SessionSetup NTSTATUS 0xc0000016, SessionSetup, Create, Close",
        ),
        (
            "create-waits-while-its-channel-is-lost",
            channels()
                .create(1, &leased)
                .create(0, &Open::file("f").level(BATCH).durable(0))
                .bind(1)
                .lose(0)
                .create_with(1 | OWN | REPLAY, &Open::file("f").level(BATCH).durable(0))
                .ask(1, &acknowledge(1, LeaseState::RH))
                .0,
            "Create, OplockBreak, Create STATUS_PENDING, SessionSetup NTSTATUS 0xc0000016, SessionSetup, Create STATUS_FILE_NOT_AVAILABLE, OplockBreak",
        ),
        (
            "session-is-replaced",
            History::new(SMB302 | USERS).create(0, &leased).sign_in_again(0).create(1, &Open::file("f")).0,
            "Create, Negotiate, SessionSetup NTSTATUS 0xc0000016, SessionSetup, TreeConnect, Create",
        ),
        (
            "logoff-with-all-kinds-of-waiting",
            History::new(SMB311)
                .create(0, &leased)
                .create(1, &Open::file("f"))
                .create(1, &Open::directory("d"))
                .ask(1, &LISTEN)
                .ask(1, &Request::TreeDisconnect)
                .ask(1, &Request::Logoff)
                .ask(0, &acknowledge(1, LeaseState::NONE))
                .ask(0, &Request::Logoff)
                .sign_in_again(0)
                .0,
            "Create, OplockBreak, Create STATUS_PENDING, Create, ChangeNotify STATUS_PENDING, Create STATUS_NETWORK_NAME_DELETED, ChangeNotify NTSTATUS 0x0000010c, TreeDisconnect, Logoff, OplockBreak, Logoff, Negotiate, SessionSetup NTSTATUS 0xc0000016, SessionSetup, TreeConnect",
        ),
        (
            "connection-is-out-of-reach",
            History::new(SMB311)
                .create(0, &leased)
                .ask(0, &control(0x8384_8003, &[]))
                .create(1, &Open::file("f"))
                .wait(2000)
                .0,
            "Create, Ioctl, OplockBreak, Create STATUS_PENDING, Create",
        ),
    ]
}

fn compounds() -> Vec<Named> {
    let close = Request::Close { file_id: FileId::PREVIOUS, query_attributes: false };
    let more = OWN | MORE;
    vec![
        (
            "compound-create-query-close",
            History::new(SMB311)
                .create_with(more, &Open::file("f"))
                .ask_with(more | RELATED, &query(1, 18, FileId::PREVIOUS))
                .ask_with(OWN | RELATED, &close)
                .0,
            "Create, QueryInfo, Close",
        ),
        (
            "compound-waits-in-the-middle",
            History::new(SMB311)
                .create(1, &Open::file("f").lease(1, LeaseState::RWH))
                .ask_with(more, &Request::Echo)
                .create_with(more, &Open::file("f"))
                .ask_with(more | RELATED, &query(2, 3, FileId::PREVIOUS))
                .ask_with(OWN | RELATED, &close)
                .ask(1, &acknowledge(1, LeaseState::RH))
                .0,
            "Create, OplockBreak, Echo, Create STATUS_PENDING, OplockBreak, Create, QueryInfo, Close",
        ),
        (
            "compound-fails-at-its-beginning",
            History::new(SMB302)
                .create_with(more, &Open::file("no\\such"))
                .ask_with(more | RELATED, &query(3, 0, FileId::PREVIOUS))
                .ask_with(OWN | RELATED, &close)
                .0,
            "Create NTSTATUS 0xc000003a, QueryInfo NTSTATUS 0xc000003a, Close NTSTATUS 0xc000003a",
        ),
    ]
}

fn data() -> Vec<Named> {
    let open = || History::new(SMB311).create(0, &Open::file("f"));
    let sizes = |history: History| {
        [1_u64, 1 << 40].into_iter().fold(history, |history, size| {
            let data = size.to_le_bytes();
            history.ask(0, &set_file(20, &data)).ask(0, &set_file(19, &data))
        })
    };
    vec![
        (
            "data-written-read-and-cut",
            sizes(open().ask(0, &write(b"some octets")).ask(0, &Request::Flush(FILE)))
                .ask(0, &read(4))
                .ask(0, &CLOSE)
                .ask(0, &read(4))
                .0,
            "Create, Write, Flush, SetInfo, SetInfo, SetInfo, SetInfo, Read, Close, Read STATUS_FILE_CLOSED",
        ),
        (
            "every-query-and-control",
            [4, 5, 6, 7, 8, 9, 14, 16, 17, 18, 21, 22, 28, 34, 35, 48, 59]
                .into_iter()
                .map(|class| query(1, class, FILE))
                .chain([1, 3, 4, 5, 6, 7, 11].map(|class| query(2, class, FILE)))
                .chain([query(3, 0, FILE)])
                .chain([0x0009_00c0, 0x0006_0194, 0x0014_0078, 0x0014_0204].map(|code| control(code, &[])))
                .fold(open(), |history, request| history.ask(0, &request))
                .0,
            "Create, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo STATUS_OBJECT_NAME_NOT_FOUND, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, QueryInfo, Ioctl, Ioctl NTSTATUS 0xc000019c, Ioctl NTSTATUS 0xc0000010",
        ),
    ]
}
