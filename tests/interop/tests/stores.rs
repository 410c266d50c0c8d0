//! What every store owes, and what keeps two nodes from writing to one.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use leasehold_interop::store::{Batch, Image, Store, StoreError, StoreUrl, Stored, memory::MemoryStore};
use serde_json::json;

use support::{Etcd, redb_url};

fn stored(since: u64, octets: &[u8]) -> Stored {
    Stored { since, octets: octets.into() }
}

fn open(url: &str) -> Box<dyn Store> {
    StoreUrl::parse(url).and_then(|url| url.open()).expect(url)
}

/// Each store that `open` returns is the only one of its time.
fn keeps_what_was_committed(mut open: impl FnMut() -> Box<dyn Store>) {
    let mut store = open();
    assert_eq!(store.load(), Ok(Image::default()));
    let mut batch = Batch::default();
    batch.put(1, stored(10, b"one"));
    batch.put(u64::MAX, stored(u64::MAX, &[0; 400]));
    batch.put(3, stored(0, b""));
    batch.below = 70;
    store.commit(&batch).unwrap();
    let mut batch = Batch::default();
    batch.put(1, stored(11, b"one again"));
    batch.delete(3);
    batch.delete(4);
    batch.below = 60;
    store.commit(&batch).unwrap();
    let mut expected = Image {
        records: [(1, stored(11, b"one again")), (u64::MAX, stored(u64::MAX, &[0; 400]))].into(),
        aside: [].into(),
        below: 70,
    };
    assert_eq!(store.load(), Ok(expected.clone()), "seen by who wrote it");
    drop(store);

    let mut store = open();
    assert_eq!(store.load(), Ok(expected.clone()), "seen by the next");
    let mut batch = Batch::default();
    batch.set_aside(1, stored(11, b"one again"));
    store.commit(&batch).unwrap();
    expected.aside.extend(expected.records.remove_entry(&1));
    drop(store);

    let mut store = open();
    assert_eq!(store.load(), Ok(expected.clone()), "set aside, not lost");
    // More than any one transaction takes.
    let many: Vec<u64> = (1000..2234).collect();
    for part in many.chunks(store.room()) {
        let mut batch = Batch::default();
        part.iter().for_each(|&id| batch.put(id, stored(id, &id.to_le_bytes())));
        store.commit(&batch).unwrap();
    }
    expected.records.extend(many.iter().map(|&id| (id, stored(id, &id.to_le_bytes()))));
    drop(store);
    assert_eq!(open().load(), Ok(expected), "many");
}

#[test]
fn memory_keeps_what_was_committed() {
    let store = MemoryStore::default();
    keeps_what_was_committed(|| Box::new(store.clone()));
}

#[test]
fn redb_keeps_what_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    keeps_what_was_committed(|| open(&redb_url(folder.path())));
}

#[test]
fn redb_is_open_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let url = redb_url(folder.path());
    let _first = open(&url);
    let second = StoreUrl::parse(&url).unwrap().open();
    assert!(matches!(second, Err(StoreError::Unusable(_))), "{:?}", second.err());
}

#[test]
fn etcd_keeps_what_was_committed() {
    let Some(etcd) = Etcd::start() else { return };
    keeps_what_was_committed(|| open(&format!("etcd:{}", etcd.base)));
    // A neighbour whose prefix begins alike.
    keeps_what_was_committed(|| open(&format!("etcd:{}/lease", etcd.base)));
}

#[test]
fn etcd_has_one_owner_and_the_next_one_waits() {
    let Some(etcd) = Etcd::start() else { return };
    let url = format!("etcd:{}/x?ttl=3", etcd.base);
    let first = open(&url);
    let next = thread::spawn({
        let url = url.clone();
        move || open(&url)
    });
    // Far beyond its TTL: it is kept alive.
    thread::sleep(Duration::from_secs(5));
    assert!(!next.is_finished() && first.ownership().lasts());
    let ownership = first.ownership();
    drop(first);
    assert!(!ownership.lasts());
    let given_back = Instant::now();
    let second = next.join().unwrap();
    assert!(given_back.elapsed() < Duration::from_secs(3), "a lease given back need not run out");
    assert!(second.ownership().lasts());
}

#[test]
fn etcd_carries_nothing_out_for_a_former_owner_whatever_its_clock_says() {
    let Some(etcd) = Etcd::start() else { return };
    let url = format!("etcd:{}/x?ttl=60", etcd.base);
    let mut batch = Batch::default();
    batch.put(1, stored(1, b"before"));
    let mut first = open(&url);
    first.commit(&batch).unwrap();
    // Somebody removes the owner by hand: the first node has most of a minute left by its own account.
    etcd.ask("kv/deleterange", &json!({ "key": "eC9vd25lcg==" })).expect("x/owner");
    let mut second = open(&url);
    assert!(first.ownership().lasts());
    let before = second.load().unwrap();

    let mut late = Batch::default();
    late.put(2, stored(2, b"late"));
    late.delete(1);
    late.below = 99;
    assert_eq!(first.commit(&late), Err(StoreError::Fenced));
    assert!(!first.ownership().lasts(), "and it knows");
    assert_eq!(first.commit(&Batch::default()), Err(StoreError::Fenced), "for good");
    assert_eq!(second.load().unwrap(), before);
    second.commit(&late).unwrap();
    assert_eq!(second.load().unwrap().below, 99);
}

#[test]
fn etcd_carries_out_once_what_was_sent_again() {
    let Some(etcd) = Etcd::start() else { return };
    let proxy = Proxy::start(etcd.base.trim_start_matches("http://").parse().unwrap());
    let mut store = open(&format!("etcd:http://{}/x?ttl=60", proxy.address));
    let mut expected = Image::default();
    for id in 2..20 {
        let mut batch = Batch::default();
        batch.put(id, stored(id, b"x"));
        batch.delete(id - 2);
        // Carried out, but nobody hears of it.
        proxy.swallow.store((id % 3) as usize, SeqCst);
        store.commit(&batch).unwrap();
        expected.records.insert(id, stored(id, b"x"));
        expected.records.remove(&(id - 2));
        assert_eq!(store.load().unwrap(), expected);
    }
}

#[test]
fn etcd_that_cannot_be_reached_ends_ownership_in_time() {
    let Some(etcd) = Etcd::start() else { return };
    let proxy = Proxy::start(etcd.base.trim_start_matches("http://").parse().unwrap());
    let ttl = Duration::from_secs(6);
    let mut store = open(&format!("etcd:http://{}/x?ttl=6", proxy.address));
    proxy.swallow.store(usize::MAX, SeqCst);
    let cut = Instant::now();
    let mut batch = Batch::default();
    batch.put(1, stored(1, b"x"));
    assert_eq!(store.commit(&batch), Err(StoreError::Fenced));
    assert!(!store.ownership().lasts());
    assert!(cut.elapsed() < ttl, "before etcd gives it to another: {:?}", cut.elapsed());
}

/// Passes octets on; of answers it can swallow some, and hangs up instead.
struct Proxy {
    address: SocketAddr,
    swallow: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let swallow = Arc::new(AtomicUsize::new(0));
        let counter = swallow.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(behind).unwrap();
                let (from, to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || pass(from, to, || false));
                let counter = counter.clone();
                let swallowed =
                    move || counter.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
                thread::spawn(move || pass(far, near, swallowed));
            }
        });
        Self { address, swallow }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, swallowed: impl Fn() -> bool) {
    let mut octets = [0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut octets) {
        if swallowed() || to.write_all(&octets[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
