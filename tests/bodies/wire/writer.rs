//! The laws of the writer of a chain.

use arbitrary::Unstructured;
use leasehold::wire::{
    AppInstanceId, AppInstanceVersion, ContextWriter, Contexts, DurableHandleReconnect,
    DurableHandleReconnectV2, DurableHandleRequest, DurableHandleRequestV2, DurableHandleResponse,
    DurableHandleResponseV2, EncodeError, LeaseV1, LeaseV2, Named, RequestContexts, ResponseContexts,
};

use super::super::sheet::{self, Body, any, le16};
use super::{OLD, encoded};

/// Contexts written one after the other into a buffer that may be too small: two octets of size, then an octet that
/// says what is written and what it needs.
pub fn writer(octets: &[u8]) {
    let mut input = Unstructured::new(octets);
    let room = usize::from(any::<u16>(&mut input)) & 0x0fff;
    let mut writes = vec![];
    while !input.is_empty() && writes.len() < 80 {
        writes.push(Write::draw(&mut input));
    }

    let mut written: Vec<(Vec<u8>, Vec<u8>)> = vec![];
    let mut fitting = vec![];
    for write in &writes {
        let (name, data) = write.context();
        let expected = room_for(&written, (&name, &data), room);
        let (before, _, _) = write_all(&fitting, room, End::Dropped);
        let mut attempt = fitting.clone();
        attempt.push(write);
        let (after, last, _) = write_all(&attempt, room, End::Dropped);
        assert_eq!(last, Some(expected));
        if expected.is_ok() {
            fitting.push(write);
            written.push((name, data));
            assert_unfinished(&after, &written);
        } else {
            assert_eq!(after, before, "what could not be written changed something");
        }
    }

    // With the failed attempts among them and without, the chain is the same.
    let all: Vec<_> = writes.iter().collect();
    let (buf, _, len) = write_all(&all, room, End::Finished);
    let chain = sheet::chain(&written);
    assert_eq!(len, chain.len());
    assert_eq!(buf[..len], chain);
    assert!(buf[len..].iter().all(|octet| *octet == OLD), "written behind the end");

    let mut contexts = Contexts::new(&buf[..len]);
    // What the walker does not walk is not written.
    assert!(written.len() <= 64);
    for (name, data) in &written {
        let context = contexts.next().unwrap().unwrap();
        assert_eq!((context.name, context.data), (name.as_slice(), data.as_slice()));
    }
    assert_eq!(contexts.next(), None);
}

/// Something that goes into a chain.
#[derive(Clone, Debug)]
enum Write {
    /// A context of any name.
    Push(Vec<u8>, Vec<u8>),
    /// A context of ours, made of these octets.
    Put(usize, Vec<u8>),
}

/// A context of ours: its name, the octets of the one that is made of a seed, and the writing of it.
struct Ours {
    name: &'static [u8],
    encoded: fn(&[u8]) -> Vec<u8>,
    put: fn(&mut ContextWriter<'_>, &[u8]) -> Result<(), EncodeError>,
}

impl Ours {
    const fn new<T: Body + Named>(name: &'static [u8]) -> Self {
        Self {
            name,
            encoded: |seed| encoded(&T::draw(&mut Unstructured::new(seed))),
            put: |writer, seed| writer.put(&T::draw(&mut Unstructured::new(seed))),
        }
    }
}

const OURS: [Ours; 10] = [
    Ours::new::<DurableHandleRequest>(sheet::DHNQ),
    Ours::new::<DurableHandleResponse>(sheet::DHNQ),
    Ours::new::<DurableHandleReconnect>(sheet::DHNC),
    Ours::new::<DurableHandleRequestV2>(sheet::DH2Q),
    Ours::new::<DurableHandleResponseV2>(sheet::DH2Q),
    Ours::new::<DurableHandleReconnectV2>(sheet::DH2C),
    Ours::new::<LeaseV1>(sheet::RQLS),
    Ours::new::<LeaseV2>(sheet::RQLS),
    Ours::new::<AppInstanceId>(sheet::APP_INSTANCE_ID),
    Ours::new::<AppInstanceVersion>(sheet::APP_INSTANCE_VERSION),
];

impl Write {
    /// Octet 0 to 9: one of ours, of as many octets as it has. Any other: a length of a name (one octet) and of data
    /// (two), then both.
    fn draw(input: &mut Unstructured<'_>) -> Self {
        let mut take = |len: usize| input.bytes(len.min(input.len())).unwrap_or_default().to_vec();
        let which = usize::from(take(1)[0]);
        match OURS.get(which) {
            Some(ours) => Self::Put(which, take((ours.encoded)(&[]).len())),
            None => {
                let mut lengths = take(3);
                lengths.resize(3, 0);
                Self::Push(take(lengths[0].into()), take(usize::from(le16(&lengths, 1)) & 0x03ff))
            }
        }
    }

    fn context(&self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Push(name, data) => (name.clone(), data.clone()),
            Self::Put(which, seed) => (OURS[*which].name.to_vec(), (OURS[*which].encoded)(seed)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Finished,
    Dropped,
}

/// The buffer afterwards, what became of the last attempt, and the length.
fn write_all(writes: &[&Write], room: usize, end: End) -> (Vec<u8>, Option<Result<(), EncodeError>>, usize) {
    let mut buf = vec![OLD; room];
    let mut writer = ContextWriter::new(&mut buf);
    let mut last = None;
    for write in writes {
        last = Some(match write {
            Write::Push(name, data) => writer.push(name, data),
            Write::Put(which, seed) => (OURS[*which].put)(&mut writer, seed),
        });
    }
    let len = if end == End::Finished { writer.finish() } else { 0 };
    (buf, last, len)
}

/// What has to become of one more context behind those that are written.
fn room_for(
    written: &[(Vec<u8>, Vec<u8>)],
    (name, data): (&[u8], &[u8]),
    room: usize,
) -> Result<(), EncodeError> {
    // The walker's limit.
    if written.len() == 64 {
        return Err(EncodeError::TooMany);
    }
    // MS-SMB2 3.3.5.9; longer names than the fields hold are not drawn here.
    if name.len() < 4 {
        return Err(EncodeError::Name { len: name.len() });
    }
    let start = sheet::chain(written).len().next_multiple_of(8);
    let needed = start + (16 + name.len()).next_multiple_of(8) + data.len();
    if needed > room { Err(EncodeError::Full { needed, room }) } else { Ok(()) }
}

/// However much of a chain that was not finished is looked at, nobody accepts it.
fn assert_unfinished(buf: &[u8], written: &[(Vec<u8>, Vec<u8>)]) {
    let end = sheet::chain(written).len();
    let start = sheet::chain(&written[..written.len() - 1]).len().next_multiple_of(8);
    let cuts = [1, 15, 16, 20, 24, start, start + 1, start + 15, start + 16, start + 20, end - 1, end];
    for cut in cuts.into_iter().chain([buf.len()]).filter(|cut| (1..=buf.len()).contains(cut)) {
        let chain = &buf[..cut];
        assert!(Contexts::new(chain).any(|context| context.is_err()), "accepted when cut to {cut}");
        assert!(RequestContexts::decode(chain, |_| ()).is_err());
        assert!(ResponseContexts::decode(chain, |_| ()).is_err());
    }
}
