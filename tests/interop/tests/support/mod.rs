//! Processes that a test starts, and chance that can be repeated.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) mod client;

/// An etcd of its own, on loopback, that ends with the test.
pub(crate) struct Etcd {
    child: Child,
    pub(crate) base: String,
    _data: TempDir,
}

impl Etcd {
    /// `None`, said plainly, where there is no etcd. With LEASEHOLD_ETCD=required that is a failure.
    pub(crate) fn start() -> Option<Self> {
        for _ in 0..5 {
            let data = tempfile::tempdir().expect("a place for etcd");
            let [client, peer] = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
            let started = Command::new("etcd")
                .args(["--name", "lone", "--data-dir"])
                .arg(data.path())
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &format!("lone={peer}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let child = match started {
                Ok(child) => child,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let required = std::env::var("LEASEHOLD_ETCD").is_ok_and(|value| value == "required");
                    assert!(!required, "etcd is required, and not installed");
                    say("left out: etcd is not installed here (Debian: apt-get install etcd-server)");
                    return None;
                }
                Err(error) => panic!("etcd: {error}"),
            };
            let mut etcd = Self { child, base: client, _data: data };
            // A port may be somebody else's by now: then it ends at once.
            while etcd.child.try_wait().expect("our child").is_none() {
                if etcd.ask("kv/range", &json!({ "key": "AA==" })).is_some() {
                    return Some(etcd);
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        panic!("etcd does not start");
    }

    pub(crate) fn ask(&self, call: &str, body: &Value) -> Option<Value> {
        let url = format!("{}/v3/{call}", self.base);
        let config =
            ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(2))).build();
        let mut answer = ureq::Agent::from(config).post(url).send(body.to_string()).ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A serving process.
pub(crate) struct Node {
    child: Child,
    said: Receiver<String>,
    pub(crate) address: SocketAddr,
    /// How many records it restored.
    pub(crate) restored: usize,
}

impl Node {
    /// Returns when it serves.
    pub(crate) fn start(store: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_node"))
            .args(["--store", store])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the node");
        let (to, said) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("its output"));
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        let until = Instant::now() + Duration::from_secs(30);
        let mut line = |what: &str| {
            let line = said.recv_timeout(until - Instant::now());
            let line = line.unwrap_or_else(|error| {
                end(&mut child);
                panic!("the node says nothing: {error}");
            });
            line.strip_prefix(what).unwrap_or_else(|| panic!("not {what}: {line}")).to_owned()
        };
        let restored = line("restored ").parse().expect("a number");
        let address = line("listening ").parse().expect("an address");
        Self { child, said, address, restored }
    }

    /// Without warning.
    pub(crate) fn kill(mut self) {
        end(&mut self.child);
    }

    /// From here on it does nothing and knows nothing of it.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// The last line that it says, and how it ends.
    pub(crate) fn ends(&mut self, patience: Duration) -> Option<(Option<String>, ExitStatus)> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("our child") {
                let mut last = None;
                while let Ok(line) = self.said.recv_timeout(Duration::from_secs(1)) {
                    last = Some(line);
                }
                return Some((last, status));
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("our child");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Where a redb store is.
pub(crate) fn redb_url(folder: &Path) -> String {
    format!("redb:{}", folder.join("handles.redb").display())
}

/// Numbers that look like chance.
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Numbers that have nothing to do with these.
    pub(crate) fn another(&mut self) -> Self {
        Self(self.next().wrapping_mul(self.next()))
    }

    /// Another seed each time, unless LEASEHOLD_SEED says which.
    pub(crate) fn seed() -> u64 {
        let said = std::env::var("LEASEHOLD_SEED").ok().and_then(|seed| seed.parse().ok());
        said.unwrap_or_else(|| leasehold_interop::store::wall_clock() % 1_000_000)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, end: u64) -> bool {
        self.below(end) == 0
    }

    pub(crate) fn guid(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Also where the output of a test that passes is not shown.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether somebody listens there.
pub(crate) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
