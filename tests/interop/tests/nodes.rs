//! Nodes whose time is over, records that are none, clients that talk nonsense.

mod support;

use std::time::{Duration, Instant};

use leasehold_interop::store::{Batch, StoreUrl, Stored};
use serde_json::{Value, json};

use support::client::{Client, Held};
use support::{Etcd, Node, listens, redb_url, say};

const CLIENT: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER: &str = "f0e0d0c0b0a090807060504030201000";
const FIRST: &str = "11111111111111111111111111111111";
const SECOND: &str = "22222222222222222222222222222222";
const THIRD: &str = "33333333333333333333333333333333";
/// The FileId of a handle that nobody was told of.
const UNKNOWN: &str = "00000000000f0000:0000000000000000";
const NOT_FOUND: &str = "STATUS_OBJECT_NAME_NOT_FOUND";

#[test]
fn etcd_a_node_that_slept_through_its_time_grants_nothing() {
    let Some(etcd) = Etcd::start() else { return };
    let url = format!("etcd:{}/pause?ttl=3", etcd.base);
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
