//! The serving process is killed in the middle of load, and a second one takes over its store: every persistent handle that a
//! client was told of can be reclaimed there, with its locks, and no other.
//!
//! LEASEHOLD_SEED repeats the choices of a run, though not its timing.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::client::{Client, Held, Lost};
use support::{Chance, Etcd, Node, redb_url, say};

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
