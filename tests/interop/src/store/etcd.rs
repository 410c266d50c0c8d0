//! A store in etcd: the nodes of a cluster take turns at it, and the one whose turn is over grants nothing any more.
//!
//! Under the prefix there are:
//!
//! | key | value |
//! |---|---|
//! | `owner` | the epoch of the node that serves; bound to a lease of etcd's own, so it goes when that node is not heard of |
//! | `epoch` | `EPOCH BATCH`: how many nodes have owned the store so far, and how many batches the present one has written |
//! | `record/ID` | eight octets of wall clock, little-endian, and the record |
//! | `aside/ID` | the same, of what nobody could read |
//! | `below` | the bound of `Serials` |
//!
//! Two fences, because each leaves something open:
//!
//! * **Time.** A node that starts waits until there is no `owner`. The owner keeps its lease alive, and counts by its own clock
//!   from *before* it asked: it stops a quarter of the TTL before etcd can let the lease go. That covers what no store hears
//!   of, leases and opens that are not persistent. It rests on clocks that run at about the same rate.
//! * **Epoch.** A node that starts raises the epoch in the transaction that makes it the owner, and every batch is carried out
//!   only if `epoch` is still what this node wrote there last. That rests on no clock: whatever a node believes, it stores
//!   nothing after its successor has begun to read, so it promises nothing that its successor does not know of.
//!
//! The number of the batch is part of that comparison, so a batch whose answer was lost can be sent again and is carried out
//! once; and what a network kept back for a while comes too late, instead of undoing what was written since.
//!
//! What neither closes: a thread that is stopped between its last look at the clock and the system call that sends an answer. What
//! it says of a persistent open is stored, so the successor stands by it; what it says of any other may be said too late, on a
//! connection that ends as soon as the thread goes on. Only the network can do better, by cutting the former node off.
//!
//! etcd keeps every older value until it is told otherwise: run it with `--auto-compaction-retention`.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use ureq::Agent;

use super::ownership::{self, Ownership};
use super::{Batch, Image, Store, StoreError, Stored};

/// etcd carries out 128 operations in a transaction unless it was told otherwise; one is the epoch, one the bound.
const ROOM: usize = 120;
/// Records in one answer.
const PAGE: usize = 500;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// The owner of a prefix.
#[derive(Debug)]
pub struct EtcdStore {
    gateway: Gateway,
    prefix: String,
    epoch: u64,
    /// How many batches were written in this epoch.
    number: u64,
    below: u64,
    lease: Lease,
}

impl EtcdStore {
    /// Waits until nobody owns the prefix, and owns it.
    ///
    /// # Errors
    ///
    /// If etcd answers something else than expected. As long as it does not answer, this waits.
    pub fn open(base: &str, prefix: &str, ttl: Duration) -> Result<Self, StoreError> {
        let gateway = Gateway::new(base, ttl / 3);
        let (owner, epoch_key) = (format!("{prefix}/owner"), format!("{prefix}/epoch"));
        let mut said = false;
        loop {
            if gateway.patiently(|| gateway.value(&owner))?.is_some() {
                if !said {
                    eprintln!("{prefix}: another node owns this, waiting");
                }
                said = true;
                thread::sleep(BETWEEN_ATTEMPTS);
                continue;
            }
            let former = gateway.patiently(|| gateway.value(&epoch_key))?;
            let epoch = match &former {
                None => 1,
                Some(value) => parse_epoch(value).ok_or_else(|| strange("epoch", value))?.0.saturating_add(1),
            };
            let lease = gateway.patiently(|| Lease::grant(&gateway, ttl))?;
            let unchanged = match &former {
                None => absent(&epoch_key),
                Some(value) => equal(&epoch_key, value),
            };
            let mut own = put(&owner, epoch.to_string().as_bytes());
            own["request_put"]["lease"] = json!(lease.id);
            let won = gateway.transact(
                &[absent(&owner), unchanged],
                vec![put(&epoch_key, epoch_value(epoch, 0).as_bytes()), own],
                &epoch_key,
            );
            // Whoever lost the race, or does not know whether it won, lets go of its lease and looks again.
            let Ok(Outcome::Done) = won else {
                drop(lease);
                thread::sleep(BETWEEN_ATTEMPTS);
                continue;
            };
            return Ok(Self { gateway, prefix: prefix.into(), epoch, number: 0, below: 0, lease });
        }
    }

    /// How many nodes have owned the prefix, with this one.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    fn records(&self, folder: &str) -> Result<impl Iterator<Item = (u64, Stored)>, Trouble> {
        let prefix = self.key(folder);
        let entries = self.gateway.below(&format!("{prefix}/"))?.into_iter();
        Ok(entries.filter_map(move |(key, value)| {
            let id = key.strip_prefix(prefix.as_bytes())?.strip_prefix(b"/")?;
            let id = u64::from_str_radix(str::from_utf8(id).ok()?, 16).ok()?;
            // What is too short for a stamp is too short for a record: that shows when it is decoded.
            let (since, octets) = value.split_first_chunk().unwrap_or((&[0; 8], &[]));
            Some((id, Stored { since: u64::from_le_bytes(*since), octets: octets.to_vec() }))
        }))
    }

    fn read(&self) -> Result<Image, Trouble> {
        let below = match self.gateway.value(&self.key("below"))? {
            None => 0,
            Some(value) => number(&value).ok_or_else(|| Trouble::Refused("below is no number".into()))?,
        };
        Ok(Image {
            records: self.records("record")?.collect(),
            aside: self.records("aside")?.collect(),
            below,
        })
    }

    /// What a batch is in etcd's words; the first is what makes it happen only once.
    fn operations(&self, batch: &Batch) -> Vec<Value> {
        let mut operations =
            vec![put(&self.key("epoch"), epoch_value(self.epoch, self.number.saturating_add(1)).as_bytes())];
        let mut store = |folder: &str, id: &u64, stored: &Stored| {
            let value = [&stored.since.to_le_bytes(), stored.octets.as_slice()].concat();
            operations.push(put(&self.key(&format!("{folder}/{id:016x}")), &value));
        };
        for (id, stored) in &batch.aside {
            store("aside", id, stored);
        }
        for (id, stored) in &batch.records {
            if let Some(stored) = stored {
                store("record", id, stored);
            }
        }
        for id in batch.records.iter().filter_map(|(id, stored)| stored.is_none().then_some(id)) {
            let key = encode(self.key(&format!("record/{id:016x}")).as_bytes());
            operations.push(json!({ "request_delete_range": { "key": key } }));
        }
        if batch.below > self.below {
            operations.push(put(&self.key("below"), batch.below.to_string().as_bytes()));
        }
        operations
    }

    fn fenced(&self) -> StoreError {
        self.lease.ownership.end();
        StoreError::Fenced
    }
}

impl Store for EtcdStore {
    fn load(&mut self) -> Result<Image, StoreError> {
        let image = self.gateway.patiently(|| self.read())?;
        self.below = image.below;
        // Read as the owner: nobody else has written meanwhile.
        if self.lease.ownership.lasts() { Ok(image) } else { Err(self.fenced()) }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let epoch_key = self.key("epoch");
        let next = epoch_value(self.epoch, self.number.saturating_add(1));
        let unchanged = [equal(&epoch_key, epoch_value(self.epoch, self.number).as_bytes())];
        let operations = self.operations(batch);
        // Whether an earlier attempt may have been carried out, or may yet be.
        let mut doubtful = false;
        loop {
            if !self.lease.ownership.lasts() {
                return Err(self.fenced());
            }
            match self.gateway.transact(&unchanged, operations.clone(), &epoch_key) {
                Ok(Outcome::Done) => break,
                Ok(Outcome::Changed(Some(value))) if doubtful && value == next.as_bytes() => break,
                Ok(Outcome::Changed(_)) => return Err(self.fenced()),
                Err(Trouble::Refused(why)) if !doubtful => return Err(StoreError::Refused(why)),
                Err(Trouble::Refused(_)) => thread::sleep(BETWEEN_ATTEMPTS),
                Err(Trouble::Unanswered(_)) => {
                    doubtful = true;
                    thread::sleep(BETWEEN_ATTEMPTS);
                }
            }
        }
        self.number = self.number.saturating_add(1);
        self.below = self.below.max(batch.below);
        Ok(())
    }

    fn room(&self) -> usize {
        ROOM
    }

    fn ownership(&self) -> Ownership {
        self.lease.ownership.clone()
    }
}

/// A lease of etcd's, kept alive until it is dropped; then it is given back, so that a successor need not wait.
#[derive(Debug)]
struct Lease {
    id: String,
    ownership: Ownership,
    gateway: Gateway,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Lease {
    fn grant(gateway: &Gateway, ttl: Duration) -> Result<Self, Trouble> {
        let asked = ownership::now();
        let answer = gateway.post("lease/grant", &json!({ "TTL": ttl.as_secs() }))?;
        let (Some(id), Some(ttl)) = (answer["ID"].as_str(), int(&answer["TTL"])) else {
            return Err(Trouble::Refused(format!("no lease: {answer}")));
        };
        let ownership = Ownership::until(end(asked, ttl));
        let (stop, stopped) = mpsc::channel();
        let keeper = {
            let (gateway, id, ownership) = (gateway.clone(), id.to_owned(), ownership.clone());
            let mut pause = Duration::from_millis(ttl.saturating_mul(1000)) / 4;
            thread::spawn(move || {
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) && ownership.lasts() {
                    let asked = ownership::now();
                    match gateway.post("lease/keepalive", &json!({ "ID": id })) {
                        // A lease that is gone has no TTL.
                        Ok(answer) => match int(&answer["result"]["TTL"]) {
                            Some(ttl) if ttl > 0 => {
                                ownership.extend(end(asked, ttl));
                                pause = Duration::from_millis(ttl.saturating_mul(1000)) / 4;
                            }
                            _ => ownership.end(),
                        },
                        Err(_) => pause = BETWEEN_ATTEMPTS,
                    }
                }
            })
        };
        Ok(Self {
            id: id.into(),
            ownership,
            gateway: gateway.clone(),
            stop: Some(stop),
            keeper: Some(keeper),
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // In this order: nobody may be told that it is free while this one still serves.
        self.ownership.end();
        self.stop = None;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        // If that fails, etcd lets it go in time.
        let _ = self.gateway.post("lease/revoke", &json!({ "ID": self.id }));
    }
}

/// Until when a lease that was asked for then is certain to last: a quarter is left for clocks that differ.
fn end(asked: u64, ttl: u64) -> u64 {
    asked.saturating_add(ttl.saturating_mul(750))
}

/// etcd's JSON gateway.
#[derive(Clone, Debug)]
struct Gateway {
    agent: Agent,
    base: String,
}

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// Why there is no answer to go by.
#[derive(Debug)]
enum Trouble {
    /// Perhaps it was done, perhaps not, perhaps it will be.
    Unanswered(String),
    /// It was not done.
    Refused(String),
}

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// It was not carried out: this is what the key has that was compared.
    Changed(Option<Vec<u8>>),
}

impl Gateway {
    fn new(base: &str, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { agent: config.into(), base: base.into() }
    }

    fn post(&self, call: &str, body: &Value) -> Result<Value, Trouble> {
        let unanswered = |error: ureq::Error| Trouble::Unanswered(error.to_string());
        let request =
            self.agent.post(format!("{}/v3/{call}", self.base)).header("Content-Type", "application/json");
        let mut answer = request.send(body.to_string()).map_err(unanswered)?;
        let octets = answer.body_mut().with_config().limit(1 << 28).read_to_vec().map_err(unanswered)?;
        match answer.status().as_u16() {
            200 => serde_json::from_slice(&octets).map_err(|error| Trouble::Unanswered(error.to_string())),
            // Invalid, not found, exhausted: said before anything is proposed to the cluster.
            400 | 404 | 429 => Err(Trouble::Refused(String::from_utf8_lossy(&octets).into_owned())),
            other => Err(Trouble::Unanswered(format!("HTTP {other}"))),
        }
    }

    /// Asks until there is an answer: for what can be asked twice.
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<T, Trouble>) -> Result<T, StoreError> {
        let mut said = false;
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Refused(why)) => return Err(StoreError::Unusable(why)),
                Err(Trouble::Unanswered(why)) => {
                    if !said {
                        eprintln!("{}: {why}, trying again", self.base);
                    }
                    said = true;
                    thread::sleep(BETWEEN_ATTEMPTS);
                }
            }
        }
    }

    fn value(&self, key: &str) -> Result<Option<Vec<u8>>, Trouble> {
        let answer = self.post("kv/range", &json!({ "key": encode(key.as_bytes()) }))?;
        Ok(entries(&answer)?.pop().map(|(_, value)| value))
    }

    /// Every key that begins so, and its value.
    fn below(&self, prefix: &str) -> Result<Vec<Entry>, Trouble> {
        // Prefixes end in a slash: what follows them is below the next octet.
        let end = encode(format!("{}0", prefix.trim_end_matches('/')).as_bytes());
        let mut all = Vec::new();
        let mut from = prefix.as_bytes().to_vec();
        loop {
            let page = json!({ "key": encode(&from), "range_end": end, "limit": PAGE });
            let mut page = entries(&self.post("kv/range", &page)?)?;
            let last = page.len() < PAGE;
            if let Some((key, _)) = page.last() {
                from = [key.as_slice(), &[0]].concat();
            }
            all.append(&mut page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Carries `operations` out if `conditions` hold; else says what `looked_at` has instead.
    fn transact(
        &self,
        conditions: &[Value],
        operations: Vec<Value>,
        looked_at: &str,
    ) -> Result<Outcome, Trouble> {
        let look = json!([{ "request_range": { "key": encode(looked_at.as_bytes()) } }]);
        let transaction = json!({ "compare": conditions, "success": operations, "failure": look });
        let answer = self.post("kv/txn", &transaction)?;
        if answer["succeeded"] == json!(true) {
            return Ok(Outcome::Done);
        }
        Ok(Outcome::Changed(
            entries(&answer["responses"][0]["response_range"])?.pop().map(|(_, value)| value),
        ))
    }
}

fn absent(key: &str) -> Value {
    json!({ "key": encode(key.as_bytes()), "target": "CREATE", "result": "EQUAL", "create_revision": "0" })
}

fn equal(key: &str, value: &[u8]) -> Value {
    json!({ "key": encode(key.as_bytes()), "target": "VALUE", "result": "EQUAL", "value": encode(value) })
}

fn put(key: &str, value: &[u8]) -> Value {
    json!({ "request_put": { "key": encode(key.as_bytes()), "value": encode(value) } })
}

/// The keys and values of an answer to a range.
fn entries(answer: &Value) -> Result<Vec<Entry>, Trouble> {
    let decode = |octets: &Value| match octets.as_str().map(|text| BASE64.decode(text)) {
        // An empty value is left out.
        None => Ok(Vec::new()),
        Some(decoded) => decoded.map_err(|error| Trouble::Refused(error.to_string())),
    };
    let entries = answer["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| Ok((decode(&entry["key"])?, decode(&entry["value"])?))).collect()
}

fn encode(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

fn epoch_value(epoch: u64, number: u64) -> String {
    format!("{epoch} {number}")
}

fn parse_epoch(value: &[u8]) -> Option<(u64, u64)> {
    let (epoch, number) = str::from_utf8(value).ok()?.split_once(' ')?;
    Some((epoch.parse().ok()?, number.parse().ok()?))
}

fn number(value: &[u8]) -> Option<u64> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// 64-bit numbers are strings in the gateway's JSON.
fn int(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

fn strange(key: &str, value: &[u8]) -> StoreError {
    StoreError::Unusable(format!("{key} is {:?}", String::from_utf8_lossy(value)))
}
