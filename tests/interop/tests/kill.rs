//! The serving process is killed in the middle of load, and a second one takes over its store: every persistent handle that a
//! client was told of can be reclaimed there, with its locks, and no other.
//!
//! LEASEHOLD_SEED repeats the choices of a run, though not its timing.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use leasehold_interop::store::{Batch, StoreUrl, Stored};
use serde_json::{Value, json};

use support::client::{Client, Held, Lost};
use support::{Chance, Etcd, Node, listens, redb_url, say};

const NOT_FOUND: &str = "STATUS_OBJECT_NAME_NOT_FOUND";
const NOT_LOCKED: &str = "STATUS_LOCK_NOT_GRANTED";
const CLIENTS: u64 = 8;
/// Files that everybody opens.
const SHARED: u64 = 4;
/// Files that one client opens again and again.
const OWN: u64 = 12;
/// Requests that one client sends at once.
const BURST: u64 = 8;
/// How many handles one client has, about.
const MOST: usize = 40;

#[test]
fn redb_every_handle_that_was_told_of_survives_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    kill_and_take_over(&redb_url(folder.path()), 8);
}

#[test]
fn etcd_every_handle_that_was_told_of_survives_and_no_other() {
    let Some(etcd) = Etcd::start() else { return };
    kill_and_take_over(&format!("etcd:{}/kill?ttl=3", etcd.base), 5);
}

fn kill_and_take_over(url: &str, rounds: u32) {
    let seed = Chance::seed();
    say(&format!("{url}: seed {seed}"));
    let mut chance = Chance::new(seed);
    let mut people: Vec<_> = (0..CLIENTS).map(|number| Person::new(number, chance.another())).collect();
    let mut node = Node::start(url);
    for round in 1..=rounds {
        together(&mut people, |person| person.connect(node.address).expect("a node that serves"));
        let until = Duration::from_millis(200 + chance.below(900));
        node = thread::scope(|scope| {
            for person in &mut people {
                scope.spawn(|| while person.step().is_ok() {});
            }
            thread::sleep(until);
            // While somebody waits for every kind of answer.
            node.kill();
            Node::start(url)
        });
        if chance.one_in(3) {
            // Once more, while handles are on their way back.
            let until = Duration::from_millis(chance.below(30));
            node = thread::scope(|scope| {
                let address = node.address;
                for person in &mut people {
                    scope
                        .spawn(move || person.connect(address).and_then(|()| person.reclaim_from_the_next()));
                }
                thread::sleep(until);
                node.kill();
                Node::start(url)
            });
        }
        let told: usize = people.iter().map(|person| person.told.len()).sum();
        let doubtful: usize = people.iter().map(|person| person.doubtful.len()).sum();
        let locks: usize = people.iter().map(Person::locks).sum();
        assert!(
            (told..=told + doubtful).contains(&node.restored),
            "round {round}: {} handles restored, {told} told of, {doubtful} on the way",
            node.restored
        );
        together(&mut people, |person| person.connect(node.address).expect("a node that serves"));
        together(&mut people, |person| person.claim_in_vain().expect("a node that serves"));
        together(&mut people, |person| person.reclaim_from_the_next().expect("a node that serves"));
        let until = Instant::now() + Duration::from_secs(5);
        // A break that was kept for its holder may be on the way.
        while let Some(two) = conflict(&people) {
            assert!(Instant::now() < until, "round {round}: {two}");
            thread::sleep(Duration::from_millis(20));
        }
        let reclaimed: usize = people.iter().map(|person| person.told.len()).sum();
        let count = people[0].ask(json!({ "do": "count" })).expect("a node that serves");
        assert_eq!((count["opens"].as_u64(), count["absent"].as_u64()), (Some(reclaimed as u64), Some(0)));
        together(&mut people, |person| person.probe().expect("a node that serves"));
        say(&format!(
            "round {round}: killed after {until:?}; {told} handles told of and {locks} locks, all there; \
             {} of {doubtful} in doubt there; {} gone, none there",
            reclaimed - told,
            people.iter().map(|person| person.gone.len()).sum::<usize>(),
        ));
    }
    let sum = people.iter().fold(Tally::default(), |sum, person| sum.plus(&person.tally));
    say(&format!("{rounds} rounds: {sum:?}"));
    assert!(sum.told > 0 && sum.reclaimed > 0 && sum.locked > 0 && sum.closed > 0, "there was no load");
}

/// Two clients who cache one file, one of them with W.
fn conflict(people: &[Person]) -> Option<String> {
    let mut caching = BTreeMap::<u64, BTreeMap<u64, String>>::new();
    for person in people {
        let held = person.held.lock().expect("a map");
        for handle in person.told.values() {
            if let Some(state) =
                handle.key.as_ref().and_then(|key| held.get(key)).filter(|state| *state != "-")
            {
                caching.entry(handle.file).or_default().insert(person.number, state.clone());
            }
        }
    }
    let two = caching
        .iter()
        .find(|(_, states)| states.len() > 1 && states.values().any(|state| state.contains('W')));
    two.map(|(file, states)| format!("file {file}: {states:?}"))
}

fn together(people: &mut [Person], act: impl Fn(&mut Person) + Copy + Send) {
    thread::scope(|scope| {
        for person in people {
            scope.spawn(move || act(person));
        }
    });
}

/// A client through all rounds: what it was told is what it will insist on.
struct Person {
    number: u64,
    guid: String,
    chance: Chance,
    /// What it may cache.
    held: Held,
    client: Option<Client>,
    previous: Option<u64>,
    /// By CreateGuid: handles that it was told of, and has not asked to close.
    told: BTreeMap<String, Handle>,
    /// The answer did not come: there or not.
    doubtful: BTreeMap<String, Handle>,
    /// Closed, refused, or never promised: CreateGuid and handle.
    gone: Vec<(String, String)>,
    last_offset: u64,
    tally: Tally,
}

/// A persistent open.
#[derive(Clone)]
struct Handle {
    /// As granted; anything if that is not known.
    id: String,
    file: u64,
    /// Of its lease.
    key: Option<String>,
    /// By offset: whether it is certain that it is locked.
    locks: BTreeMap<u64, bool>,
}

impl Handle {
    fn of(file: u64, key: Option<String>) -> Self {
        Self { id: UNKNOWN.into(), file, key, locks: BTreeMap::new() }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    told: u32,
    closed: u32,
    refused: u32,
    unpromised: u32,
    locked: u32,
    unlocked: u32,
    written: u32,
    reclaimed: u32,
    found_locked: u32,
    found_gone: u32,
}

impl Tally {
    fn plus(self, other: &Self) -> Self {
        Self {
            told: self.told + other.told,
            closed: self.closed + other.closed,
            refused: self.refused + other.refused,
            unpromised: self.unpromised + other.unpromised,
            locked: self.locked + other.locked,
            unlocked: self.unlocked + other.unlocked,
            written: self.written + other.written,
            reclaimed: self.reclaimed + other.reclaimed,
            found_locked: self.found_locked + other.found_locked,
            found_gone: self.found_gone + other.found_gone,
        }
    }
}

impl Person {
    fn new(number: u64, mut chance: Chance) -> Self {
        Self {
            number,
            guid: chance.guid(),
            chance,
            held: Held::default(),
            client: None,
            previous: None,
            told: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            gone: Vec::new(),
            last_offset: number << 32,
            tally: Tally::default(),
        }
    }

    fn locks(&self) -> usize {
        self.told.values().map(|handle| handle.locks.values().filter(|certain| **certain).count()).sum()
    }

    fn connect(&mut self, address: SocketAddr) -> Result<(), Lost> {
        if self.client.as_ref().is_some_and(|client| client.address == address) {
            return Ok(());
        }
        let client = Client::connect(address, &self.guid, self.previous, &self.held)?;
        self.previous = None;
        self.client = Some(client);
        Ok(())
    }

    fn ask(&mut self, request: Value) -> Result<Value, Lost> {
        self.client.as_mut().ok_or(Lost)?.ask(request)
    }

    /// Does one thing, whatever it is.
    fn step(&mut self) -> Result<(), Lost> {
        let full = self.told.len() >= MOST;
        match self.chance.below(34) {
            0..14 | 31.. if full => self.close(),
            0..10 => {
                let file = self.own(self.number, OWN);
                self.create_and_tell(file, "RWH")
            }
            10..14 => {
                let file = 1 + self.chance.below(SHARED);
                let state = if self.chance.one_in(2) { "RH" } else { "RWH" };
                self.create_and_tell(file, state)
            }
            14..20 => self.close(),
            20..25 => self.lock(),
            25..27 => self.unlock(),
            27..29 => self.write(),
            29 => self.create_in_vain(),
            30 => self.create_without_promise(),
            _ if self.chance.one_in(4) => self.lose_and_reclaim(),
            _ => self.burst(),
        }
    }

    /// One of several files that nobody else opens.
    fn own(&mut self, place: u64, several: u64) -> u64 {
        (1 + place) * 1_000_000 + self.chance.below(several)
    }

    fn create_and_tell(&mut self, file: u64, state: &str) -> Result<(), Lost> {
        // One key a client and file: further opens join the lease.
        let key = format!("{:016x}{file:016x}", 1 + self.number);
        let leased = !self.chance.one_in(5);
        let lease = leased.then(|| json!({ "key": key, "state": state }));
        self.create(json!({ "file": file, "lease": lease, "persistent": true }), file, leased.then_some(key))
    }

    /// Several at once, as a client does that has credits for them.
    fn burst(&mut self) -> Result<(), Lost> {
        let mut sent = BTreeMap::new();
        for _ in 0..BURST {
            let file = self.own(self.number, OWN);
            let (guid, handle) = (self.chance.guid(), Handle::of(file, None));
            let create = json!({ "do": "create", "file": file, "guid": guid, "persistent": true });
            match self.client.as_mut().ok_or(Lost)?.send(create) {
                Ok(id) => drop(sent.insert(id, (guid, handle))),
                // Who knows how much of it went out.
                Err(Lost) => drop(self.doubtful.insert(guid, handle)),
            }
        }
        while !sent.is_empty() {
            let Some(answer) = self.client.as_ref().and_then(|client| client.answer().ok()) else {
                self.doubtful.extend(sent.into_values());
                return Err(Lost);
            };
            let (guid, handle) = answer["id"].as_u64().and_then(|id| sent.remove(&id)).expect("one of ours");
            self.note(guid, handle, &answer);
        }
        Ok(())
    }

    /// Sends a CREATE, and takes note of what comes of it.
    fn create(&mut self, mut create: Value, file: u64, key: Option<String>) -> Result<(), Lost> {
        let guid = self.chance.guid();
        create["do"] = json!("create");
        create["guid"] = json!(guid);
        let handle = Handle::of(file, key);
        match self.ask(create) {
            Ok(answer) => self.note(guid, handle, &answer),
            Err(Lost) => {
                self.doubtful.insert(guid, handle);
                return Err(Lost);
            }
        }
        Ok(())
    }

    fn note(&mut self, guid: String, handle: Handle, answer: &Value) {
        match answer["granted"].as_str() {
            Some(id) if answer["durable"]["persistent"] == json!(true) => {
                self.told.insert(guid, Handle { id: id.into(), ..handle });
                self.tally.told += 1;
            }
            Some(id) => {
                self.gone.push((guid, id.into()));
                self.tally.unpromised += 1;
            }
            None => {
                assert!(answer["refused"].is_string(), "{answer}");
                self.gone.push((guid, UNKNOWN.into()));
                self.tally.refused += 1;
            }
        }
    }

    /// Opens a file so that nobody else can, and tries all the same.
    fn create_in_vain(&mut self) -> Result<(), Lost> {
        let file = self.own(100 + self.number, 1 << 20);
        let key = format!("{:016x}{file:016x}", 1 + self.number);
        let lease = json!({ "key": key, "state": "RWH" });
        self.create(
            json!({ "file": file, "share": "", "lease": lease, "persistent": true }),
            file,
            Some(key),
        )?;
        let refused = self.tally.refused;
        self.create(json!({ "file": file, "persistent": true }), file, None)?;
        assert_eq!(self.tally.refused, refused + 1, "a file that was not shared");
        Ok(())
    }

    /// Durable at most: it goes with its server.
    fn create_without_promise(&mut self) -> Result<(), Lost> {
        let file = self.own(200 + self.number, 1 << 20);
        let lease = json!({ "key": self.chance.guid(), "state": "RWH" });
        let unpromised = self.tally.unpromised;
        let done = self.create(json!({ "file": file, "lease": lease }), file, None);
        // Nothing was asked for that could be there.
        for (guid, handle) in self.doubtful.extract_if(.., |_, handle| handle.file == file) {
            self.gone.push((guid, handle.id));
        }
        done?;
        assert_eq!(self.tally.unpromised, unpromised + 1);
        Ok(())
    }

    fn any(&mut self) -> Option<String> {
        let index = self.chance.below(self.told.len().max(1) as u64);
        self.told.keys().nth(index as usize).cloned()
    }

    fn close(&mut self) -> Result<(), Lost> {
        let Some((guid, handle)) = self.any().and_then(|guid| self.told.remove_entry(&guid)) else {
            return Ok(());
        };
        match self.ask(json!({ "do": "close", "handle": handle.id })) {
            Ok(answer) => {
                assert_eq!(answer["closed"], json!(true), "{answer}");
                self.gone.push((guid, handle.id));
                self.tally.closed += 1;
                Ok(())
            }
            Err(Lost) => {
                self.doubtful.insert(guid, handle);
                Err(Lost)
            }
        }
    }

    fn lock(&mut self) -> Result<(), Lost> {
        let Some(guid) = self.any() else { return Ok(()) };
        self.last_offset += 16;
        let offset = self.last_offset;
        let Some(handle) = self.told.get_mut(&guid) else { return Ok(()) };
        handle.locks.insert(offset, false);
        let request = json!({ "do": "lock", "handle": handle.id, "offset": offset, "len": 8 });
        let answer = self.ask(request)?;
        assert_eq!(answer["accepted"], json!(true), "{answer}");
        let Some(handle) = self.told.get_mut(&guid) else { return Ok(()) };
        handle.locks.insert(offset, true);
        self.tally.locked += 1;
        Ok(())
    }

    fn unlock(&mut self) -> Result<(), Lost> {
        let locked = self.told.iter_mut().filter_map(|(guid, handle)| {
            let offset = *handle.locks.iter().find(|(_, certain)| **certain)?.0;
            // From here on it may be there or not.
            handle.locks.insert(offset, false);
            Some((guid.clone(), handle.id.clone(), offset))
        });
        let Some((guid, id, offset)) = locked.into_iter().next() else { return Ok(()) };
        let request = json!({ "do": "lock", "handle": id, "offset": offset, "len": 8, "unlock": true });
        let answer = self.ask(request)?;
        assert_eq!(answer["accepted"], json!(true), "{answer}");
        self.told.get_mut(&guid).and_then(|handle| handle.locks.remove(&offset));
        self.tally.unlocked += 1;
        Ok(())
    }

    fn write(&mut self) -> Result<(), Lost> {
        let Some(handle) = self.any().and_then(|guid| self.told.get(&guid)) else { return Ok(()) };
        let request = json!({ "do": "write", "handle": handle.id, "file": handle.file, "len": 1 });
        let answer = self.ask(request)?;
        assert_eq!(answer["done"], json!(true), "{answer}");
        self.tally.written += 1;
        Ok(())
    }

    /// The connection breaks and the server does not notice at once: a new session replaces the former.
    fn lose_and_reclaim(&mut self) -> Result<(), Lost> {
        let Some(client) = self.client.take() else { return Err(Lost) };
        self.previous = Some(client.session);
        let address = client.address;
        drop(client);
        self.connect(address)?;
        // Of a lease that is breaking it is told once more, as it was before.
        self.reclaim().map(drop)
    }

    /// As above, of a server that has just taken over: no lease is more than it was.
    fn reclaim_from_the_next(&mut self) -> Result<(), Lost> {
        for (before, after) in self.reclaim()? {
            assert!(
                after == "-" || after.chars().all(|letter| before.contains(letter)),
                "{before} then {after}"
            );
        }
        Ok(())
    }

    /// Everything that it was told of is there; what is doubtful is or is not. Says what leases were and what they are.
    fn reclaim(&mut self) -> Result<Vec<(String, String)>, Lost> {
        let mut leases = Vec::new();
        let held = self.held.lock().expect("a map").clone();
        let certain = self.told.iter().map(|(guid, handle)| (guid.clone(), handle.clone(), true));
        let doubtful = self.doubtful.iter().map(|(guid, handle)| (guid.clone(), handle.clone(), false));
        let all: Vec<_> = certain.chain(doubtful).collect();
        for (guid, handle, certain) in all {
            // As much as it knew that it had; an open nobody told it of had nothing yet.
            let lease = handle.key.as_ref().map(|key| {
                let state = held.get(key).map_or("RWH", String::as_str);
                json!({ "key": key, "state": state })
            });
            let answer = self.ask(json!({
                "do": "reconnect", "handle": handle.id, "guid": guid, "persistent": true,
                "file": handle.file, "lease": lease,
            }))?;
            self.doubtful.remove(&guid);
            let Some(id) = answer["granted"].as_str() else {
                assert!(!certain, "client {} was told of {guid}, {}: {answer}", self.number, handle.id);
                assert_eq!(answer["refused"], NOT_FOUND, "{guid}");
                self.gone.push((guid, handle.id));
                continue;
            };
            if certain {
                assert_eq!(id.split(':').next(), handle.id.split(':').next(), "the same open");
                self.tally.reclaimed += 1;
            }
            if let Some(before) = handle.key.as_ref().and_then(|key| held.get(key)) {
                leases
                    .push((before.clone(), answer["lease"]["state"].as_str().unwrap_or_default().to_owned()));
            }
            self.told.insert(guid, Handle { id: id.into(), ..handle });
        }
        Ok(leases)
    }

    /// Nothing that is gone comes back, and nothing can be had by guessing.
    fn claim_in_vain(&mut self) -> Result<(), Lost> {
        let recent = self.gone.len().saturating_sub(150);
        for (guid, id) in self.gone.split_off(recent) {
            let answer =
                self.ask(json!({ "do": "reconnect", "handle": id, "guid": guid, "persistent": true }))?;
            assert_eq!(answer["refused"], NOT_FOUND, "{guid} {id} was closed, or never promised: {answer}");
            self.tally.found_gone += 1;
            self.gone.push((guid, id));
        }
        let mut guesses = vec![(self.chance.guid(), UNKNOWN.to_owned())];
        if let Some(handle) = self.any().and_then(|guid| self.told.get(&guid).cloned()) {
            guesses.push((self.chance.guid(), handle.id));
        }
        for (guid, id) in guesses {
            let answer =
                self.ask(json!({ "do": "reconnect", "handle": id, "guid": guid, "persistent": true }))?;
            assert_eq!(answer["refused"], NOT_FOUND, "made up: {answer}");
        }
        Ok(())
    }

    /// What it locked is locked, for a further open of its own too.
    fn probe(&mut self) -> Result<(), Lost> {
        let all: Vec<_> = self.told.iter().map(|(guid, handle)| (guid.clone(), handle.clone())).collect();
        for (guid, handle) in all.into_iter().filter(|(_, handle)| !handle.locks.is_empty()) {
            let lease = handle.key.as_ref().map(|key| json!({ "key": key, "state": "R" }));
            let answer = self.ask(json!({ "do": "create", "file": handle.file, "lease": lease }))?;
            let Some(id) = answer["granted"].as_str() else {
                assert_eq!(answer["refused"], "STATUS_SHARING_VIOLATION", "{answer}");
                continue;
            };
            for (offset, certain) in handle.locks {
                let answer = self.ask(json!({ "do": "lock", "handle": id, "offset": offset, "len": 1 }))?;
                let locked = answer["refused"] == NOT_LOCKED;
                assert!(
                    locked || !certain && answer["accepted"] == json!(true),
                    "{guid} at {offset}: {answer}"
                );
                let Some(handle) = self.told.get_mut(&guid) else { continue };
                if locked {
                    handle.locks.insert(offset, true);
                    self.tally.found_locked += 1;
                } else {
                    handle.locks.remove(&offset);
                }
            }
            let answer = self.ask(json!({ "do": "close", "handle": id }))?;
            assert_eq!(answer["closed"], json!(true), "{answer}");
        }
        Ok(())
    }
}

/// The FileId of a handle that nobody was told of.
const UNKNOWN: &str = "00000000000f0000:0000000000000000";

/// Every answer that gives somebody something.
fn gives(answer: &Value) -> bool {
    ["granted", "accepted", "closed", "done", "acknowledged"].iter().any(|word| !answer[*word].is_null())
}

fn connect(node: &Node, guid: &str) -> Client {
    Client::connect(node.address, guid, None, &Held::default()).expect("a node that serves")
}

fn create(file: u64, guid: &str, persistent: bool) -> Value {
    let lease = json!({ "key": guid, "state": "RWH" });
    json!({ "do": "create", "file": file, "guid": guid, "persistent": persistent, "lease": lease })
}

fn reconnect(file: u64, guid: &str, handle: &Value) -> Value {
    let lease = json!({ "key": guid, "state": "RWH" });
    json!({
        "do": "reconnect", "file": file, "guid": guid, "handle": handle, "persistent": true, "lease": lease,
    })
}

const CLIENT: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER: &str = "f0e0d0c0b0a090807060504030201000";
const FIRST: &str = "11111111111111111111111111111111";
const SECOND: &str = "22222222222222222222222222222222";
const THIRD: &str = "33333333333333333333333333333333";

#[test]
fn etcd_a_node_that_slept_through_its_time_grants_nothing() {
    let Some(etcd) = Etcd::start() else { return };
    let url = format!("etcd:{}/pause?ttl=2", etcd.base);
    let mut first = Node::start(&url);
    let mut client = connect(&first, CLIENT);
    let granted = client.ask(create(1, FIRST, true)).unwrap();
    assert_eq!(granted["durable"]["persistent"], json!(true), "{granted}");
    let locked = client.ask(json!({ "do": "lock", "handle": granted["granted"], "offset": 5 })).unwrap();
    assert_eq!(locked["accepted"], json!(true));

    first.pause();
    // All of this is the first thing that it sees when it wakes up.
    client.send(create(2, SECOND, false)).unwrap();
    client.send(create(3, THIRD, true)).unwrap();
    client.send(json!({ "do": "lock", "handle": granted["granted"], "offset": 9 })).unwrap();
    client.send(json!({ "do": "write", "handle": granted["granted"], "file": 1 })).unwrap();
    client.send(json!({ "do": "close", "handle": granted["granted"] })).unwrap();
    let mut newcomer = Client::knock(first.address);
    newcomer.send(json!({ "do": "connect", "client": OTHER })).unwrap();
    newcomer.send(json!({ "do": "session" })).unwrap();
    newcomer.send(create(2, SECOND, false)).unwrap();
    newcomer.send(reconnect(1, FIRST, &granted["granted"])).unwrap();

    let paused = Instant::now();
    let second = Node::start(&url);
    say(&format!("the second node serves {:?} after the first fell asleep", paused.elapsed()));
    assert_eq!(second.restored, 1);
    let mut moved = connect(&second, CLIENT);
    let back = moved.ask(reconnect(1, FIRST, &granted["granted"])).unwrap();
    assert!(back["granted"].is_string(), "{back}");

    first.go_on();
    for answer in client.rest().into_iter().chain(newcomer.rest()) {
        assert!(!gives(&answer), "a node whose time is over: {answer}");
    }
    let (last, status) = first.ends(Duration::from_secs(10)).expect("it knows that its time is over");
    assert_eq!((last.as_deref(), status.code()), (Some("fenced"), Some(3)));
    assert!(!listens(first.address));

    // The second has not noticed.
    let fresh = moved.ask(create(3, THIRD, true)).unwrap();
    assert_eq!(fresh["durable"]["persistent"], json!(true), "{fresh}");
    let locked =
        moved.ask(json!({ "do": "lock", "handle": back["granted"], "offset": 5, "unlock": true })).unwrap();
    assert_eq!(locked["accepted"], json!(true), "its lock came along");
    let closed = moved.ask(json!({ "do": "close", "handle": back["granted"] })).unwrap();
    assert_eq!(closed["closed"], json!(true));
    assert_eq!(moved.ask(json!({ "do": "count" })).unwrap()["opens"], json!(1));
}

#[test]
fn etcd_a_node_that_believes_in_its_time_promises_nothing_after_the_next_has_begun() {
    let Some(etcd) = Etcd::start() else { return };
    let url = format!("etcd:{}/x?ttl=60", etcd.base);
    let mut first = Node::start(&url);
    let mut client = connect(&first, CLIENT);
    let granted = client.ask(create(1, FIRST, true)).unwrap();
    assert_eq!(granted["durable"]["persistent"], json!(true), "{granted}");
    // Somebody removes the owner by hand: as if the clock of the first were far too slow.
    etcd.ask("kv/deleterange", &json!({ "key": "eC9vd25lcg==" })).expect("x/owner");
    let second = Node::start(&url);
    assert_eq!(second.restored, 1);

    client.send(create(3, THIRD, true)).unwrap();
    client.send(json!({ "do": "lock", "handle": granted["granted"], "offset": 9 })).unwrap();
    client.send(json!({ "do": "close", "handle": granted["granted"] })).unwrap();
    for answer in client.rest() {
        assert!(!gives(&answer), "{answer}");
    }
    let (last, status) = first.ends(Duration::from_secs(10)).expect("etcd told it");
    assert_eq!((last.as_deref(), status.code()), (Some("fenced"), Some(3)));

    let mut moved = connect(&second, CLIENT);
    let back = moved.ask(reconnect(1, FIRST, &granted["granted"])).unwrap();
    assert!(back["granted"].is_string(), "not closed: {back}");
    let lost = moved.ask(reconnect(3, THIRD, &json!(UNKNOWN))).unwrap();
    assert_eq!(lost["refused"], NOT_FOUND, "never promised");
    let free =
        moved.ask(json!({ "do": "create", "file": 1, "lease": { "key": FIRST, "state": "R" } })).unwrap();
    let locked = moved.ask(json!({ "do": "lock", "handle": free["granted"], "offset": 9 })).unwrap();
    assert_eq!(locked["accepted"], json!(true), "never locked");
}

#[test]
fn what_is_no_record_is_set_aside_and_nothing_else_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let url = redb_url(folder.path());
    let node = Node::start(&url);
    let granted = connect(&node, CLIENT).ask(create(1, FIRST, true)).unwrap();
    assert_eq!(granted["durable"]["persistent"], json!(true), "{granted}");
    node.kill();

    let open = || StoreUrl::parse(&url).and_then(|url| url.open()).unwrap();
    let mut store = open();
    let mut batch = Batch::default();
    let copy = store.load().unwrap().records.into_values().next().expect("the record");
    batch.put(77, Stored { since: 1, octets: b"not a record".into() });
    batch.put(78, Stored { since: 1, octets: Vec::new() });
    // A record, but not of this number.
    batch.put(79, copy);
    store.commit(&batch).unwrap();
    drop(store);

    let node = Node::start(&url);
    assert_eq!(node.restored, 1);
    let back = connect(&node, CLIENT).ask(reconnect(1, FIRST, &granted["granted"])).unwrap();
    assert!(back["granted"].is_string(), "{back}");
    node.kill();
    let image = open().load().unwrap();
    assert_eq!(image.aside.into_keys().collect::<Vec<_>>(), [77, 78, 79]);
    assert_eq!(image.records.len(), 1);
}

#[test]
fn whatever_one_client_sends_the_others_are_served() {
    let mut node = Node::start("memory");
    let mut served = connect(&node, CLIENT);
    let deep = "[".repeat(10_000);
    let long = "x".repeat(1 << 20);
    let lines = [
        "",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        "\u{0}",
        &deep,
        &long,
        r#"{"id":-1}"#,
        r#"{"id":1}"#,
        r#"{"id":1,"do":7}"#,
        r#"{"id":1,"do":"create"}"#,
        r#"{"id":1,"do":"ack"}"#,
        r#"{"id":1,"do":"connect","client":"+0000000000000000000000000000001"}"#,
        r#"{"id":1,"do":"connect","client":"éééééééééééééééé"}"#,
    ];
    for line in lines {
        let mut client = Client::knock(node.address);
        let _ = client.send_line(line);
        // Some are cut off before they have said it all.
        if client.send_line(r#"{"id":1,"do":"connect","client":"000102030405060708090a0b0c0d0e0f"}"#).is_ok()
        {
            let _ =
                client.send_line(r#"{"id":2,"do":"connect","client":"000102030405060708090a0b0c0d0e0f"}"#);
            let _ = client.send_line(r#"{"id":3,"do":"close","handle":"0:0"}"#);
            let _ = client.send_line(r#"{"id":4,"do":"session"}"#);
            let _ = client.send_line(r#"{"id":5,"do":"session"}"#);
            let _ = client.send_line(r#"{"id":6,"do":"close","handle":"0:0"}"#);
            let _ = client
                .send_line(r#"{"id":7,"do":"lock","handle":"0:0","offset":18446744073709551615,"len":9}"#);
            let _ = client.send_line(r#"{"id":8,"do":"write","handle":"0:0","file":1}"#);
            let _ = client.send_line(r#"{"id":9,"do":"create","file":1,"lease":{"key":"0"}}"#);
            let _ = client
                .send_line(r#"{"id":10,"do":"ack","key":"000102030405060708090a0b0c0d0e0f","state":"RX"}"#);
        }
        let served = served.ask(json!({ "do": "create", "file": 1 })).unwrap();
        assert!(served["granted"].is_string(), "{line:.20}: {served}");
    }
    assert_eq!(node.ends(Duration::ZERO).map(|(last, _)| last), None, "it goes on");
}
