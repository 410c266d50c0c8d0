//! A client of a node: one connection, one session, one request at a time; breaks are acknowledged behind its back.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// The server is gone, or will not talk.
#[derive(Debug)]
pub(crate) struct Lost;

/// By lease key: what this client may cache, by its own account.
pub(crate) type Held = Arc<Mutex<BTreeMap<String, String>>>;

pub(crate) struct Client {
    stream: Arc<Mutex<TcpStream>>,
    answers: Receiver<Value>,
    last: u64,
    pub(crate) address: SocketAddr,
    pub(crate) session: u64,
}

impl Client {
    /// As this client, a user of its own, with a session that takes the place of a former one.
    pub(crate) fn connect(
        address: SocketAddr,
        client: &str,
        previous: Option<u64>,
        held: &Held,
    ) -> Result<Self, Lost> {
        let mut this = Self::new(TcpStream::connect_timeout(&address, PATIENCE), address, held)?;
        this.ask(json!({ "do": "connect", "client": client }))?;
        let user = u64::from_str_radix(client.get(..8).unwrap_or_default(), 16).unwrap_or_default();
        let answer = this.ask(json!({ "do": "session", "user": user, "previous": previous }))?;
        this.session = answer["session"].as_u64().ok_or(Lost)?;
        Ok(this)
    }

    /// As nobody in particular.
    pub(crate) fn knock(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        Self::new(stream, address, &Held::default()).expect("somebody who listens")
    }

    fn new(stream: io::Result<TcpStream>, address: SocketAddr, held: &Held) -> Result<Self, Lost> {
        let stream = stream.map_err(|_| Lost)?;
        stream.set_nodelay(true).map_err(|_| Lost)?;
        let from = stream.try_clone().map_err(|_| Lost)?;
        let stream = Arc::new(Mutex::new(stream));
        let (to, answers) = mpsc::channel();
        let (acks, held) = (stream.clone(), held.clone());
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(Ok(line)) = line.map(|line| serde_json::from_str::<Value>(&line)) else { return };
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                if line["break"].is_object() {
                    let (key, to) = (text(&line["break"]["key"]), text(&line["break"]["to"]));
                    held.lock().expect("a map").insert(key.clone(), to.clone());
                    if line["break"]["ack"] == json!(true) {
                        // Nobody waits for the answer: no request has this number.
                        let ack = json!({ "id": 0, "do": "ack", "key": key, "state": to });
                        let _ = writeln!(acks.lock().expect("a stream"), "{ack}");
                    }
                    continue;
                }
                if line["lease"].is_object() {
                    let (key, state) = (text(&line["lease"]["key"]), text(&line["lease"]["state"]));
                    held.lock().expect("a map").insert(key, state);
                }
                if line["pending"].is_null() && line["id"] != json!(0) && to.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { stream, answers, last: 0, address, session: 0 })
    }

    pub(crate) fn ask(&mut self, request: Value) -> Result<Value, Lost> {
        self.send(request)?;
        self.answer()
    }

    /// The answer will have this id.
    pub(crate) fn send(&mut self, mut request: Value) -> Result<u64, Lost> {
        self.last += 1;
        request["id"] = json!(self.last);
        self.send_line(&request.to_string())?;
        Ok(self.last)
    }

    pub(crate) fn send_line(&mut self, line: &str) -> Result<(), Lost> {
        writeln!(self.stream.lock().expect("a stream"), "{line}").map_err(|_| Lost)
    }

    /// Every answer until the connection ends.
    pub(crate) fn rest(self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Ok(answer) = self.answer() {
            rest.push(answer);
        }
        rest
    }

    /// The next answer.
    pub(crate) fn answer(&self) -> Result<Value, Lost> {
        self.answers.recv_timeout(PATIENCE).map_err(|error| {
            assert_ne!(error, mpsc::RecvTimeoutError::Timeout, "neither an answer nor an end");
            Lost
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(stream) = self.stream.lock() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
