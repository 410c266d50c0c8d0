//! Recorded traces: JSON lines into typed events.
//!
//! A line that is not as the schema says is an error that names file and line. Unknown fields are ignored; an unknown
//! `ev` or `cmd` is kept under its name, so that it can be reported when it is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use leasehold::ClientGuid;
use serde_json::Value;

use super::fields::{Fields, from_hex, need};
use super::request::{Command, Request};
use super::response::{Break, Response};

/// A recording: what a client sent, and what the server answered.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    /// ClientGuid of each client label.
    clients: BTreeMap<String, ClientGuid>,
    /// The `seq` of responses whose status is not compared.
    pub(super) status_not_asserted: BTreeSet<u64>,
    /// In order of `seq`.
    pub(super) lines: Vec<Line>,
}

/// What happened at one moment.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Counts the lines.
    pub(super) seq: u64,
    /// When.
    pub(super) at: Moment,
    /// On which connection.
    pub(super) conn: Option<String>,
    /// What.
    pub(super) event: Event,
}

/// Microseconds since the recording began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The client opened a connection.
    Connect,
    /// A connection was closed, by whichever side.
    Disconnect,
    /// The client sent a request.
    Request(Box<Request>),
    /// The server said that the request of this `seq` waits.
    Interim(u64),
    /// The server answered.
    Response(Box<Response>),
    /// The server notified a client.
    Break(Break),
    /// Something without a type here.
    Unknown(String),
}

/// Why a file is no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The file.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) why: String,
}

impl Trace {
    /// Reads the lines of a file.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Malformed> {
        let mut trace: Option<Self> = None;
        let mut known = Known::default();
        let mut last = 0usize;
        for (number, line) in (1..).zip(text.lines()) {
            last = number;
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |why| Malformed { file: file.to_owned(), line: number, why };
            let value = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            match &mut trace {
                None => trace = Some(Self::begin(&value).map_err(wrong)?),
                Some(trace) => trace.lines.push(known.line(&value).map_err(wrong)?),
            }
        }
        trace.ok_or_else(|| Malformed { file: file.to_owned(), line: last, why: "no meta line".to_owned() })
    }

    /// The ClientGuid behind a label: as the first line or a NEGOTIATE has it, else one made of the label.
    pub(super) fn client(&self, label: &str) -> ClientGuid {
        let said = |(_, request): (&Line, &Request)| match request.command {
            Command::Negotiate { guid, .. } if request.client.as_deref() == Some(label) => guid,
            _ => None,
        };
        let known = self.clients.get(label).copied().or_else(|| self.requests().find_map(said));
        known.unwrap_or_else(|| {
            let mut octets = [0; 16];
            for (octet, letter) in octets.iter_mut().zip(label.bytes()) {
                *octet = letter;
            }
            ClientGuid::from_wire(octets)
        })
    }

    /// The label of the client behind a connection.
    pub(super) fn client_on(&self, conn: &str) -> Option<&str> {
        self.requests()
            .filter(|(line, _)| line.conn.as_deref() == Some(conn))
            .find_map(|(_, request)| request.client.as_deref())
    }

    /// Every answer, with its place and moment.
    pub(super) fn responses(&self) -> impl Iterator<Item = (&Line, &Response)> {
        self.lines.iter().filter_map(|line| match &line.event {
            Event::Response(response) => Some((line, &**response)),
            Event::Connect
            | Event::Disconnect
            | Event::Request(_)
            | Event::Interim(_)
            | Event::Break(_)
            | Event::Unknown(_) => None,
        })
    }

    /// Every request, with its place and moment.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&Line, &Request)> {
        self.lines.iter().filter_map(|line| match &line.event {
            Event::Request(request) => Some((line, &**request)),
            Event::Connect
            | Event::Disconnect
            | Event::Response(_)
            | Event::Interim(_)
            | Event::Break(_)
            | Event::Unknown(_) => None,
        })
    }

    /// The CREATEs that were answered with each handle, by their `seq`: the first, and those that asked for it again.
    pub(super) fn creators(&self) -> BTreeMap<&str, Vec<u64>> {
        let creates: BTreeSet<u64> = self
            .requests()
            .filter(|(_, request)| matches!(request.command, Command::Create(_)))
            .map(|(line, _)| line.seq)
            .collect();
        let answers = self.responses().map(|(_, response)| response);
        let mut creators: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for response in answers.filter(|response| creates.contains(&response.request)) {
            if let Some(handle) = response.handle.as_deref() {
                creators.entry(handle).or_default().push(response.request);
            }
        }
        creators
    }

    fn begin(value: &Value) -> Result<Self, String> {
        let fields = Fields::of(value)?;
        if fields.text("ev")? != Some("meta") {
            return Err("the first line is not meta".to_owned());
        }
        let clients = fields.pairs("client_guids", |guid| {
            from_hex(guid.as_str()?)?.try_into().ok().map(ClientGuid::from_wire)
        })?;
        let status_not_asserted = fields.list("status_not_asserted", Value::as_u64)?.unwrap_or_default();
        Ok(Self {
            clients: clients.into_iter().collect(),
            status_not_asserted: status_not_asserted.into_iter().collect(),
            lines: Vec::new(),
        })
    }
}

/// What the lines so far have said.
#[derive(Default)]
struct Known {
    seq: u64,
    requests: BTreeSet<u64>,
    answered: BTreeSet<u64>,
}

impl Known {
    fn line(&mut self, value: &Value) -> Result<Line, String> {
        let fields = Fields::of(value)?;
        let seq = need("seq", fields.number("seq"))?;
        if seq <= self.seq {
            return Err(format!("seq {seq} after {}", self.seq));
        }
        self.seq = seq;
        let at = need("t_ms", Moment::read(fields))?;
        let conn = fields.label("conn")?;
        let event = self.event(seq, fields)?;
        let of_conn = matches!(event, Event::Connect | Event::Disconnect | Event::Request(_));
        if of_conn && conn.is_none() {
            return Err("no `conn`".to_owned());
        }
        Ok(Line { seq, at, conn, event })
    }

    fn event(&mut self, seq: u64, fields: Fields<'_>) -> Result<Event, String> {
        Ok(match need("ev", fields.text("ev"))? {
            "connect" => Event::Connect,
            "disconnect" => Event::Disconnect,
            "req" => {
                self.requests.insert(seq);
                Event::Request(Box::new(Request::read(fields)?))
            }
            "interim" => Event::Interim(self.request(fields)?),
            "rsp" => {
                let request = self.request(fields)?;
                if !self.answered.insert(request) {
                    return Err(format!("a second answer to seq {request}"));
                }
                Event::Response(Box::new(Response::read(request, fields)?))
            }
            "break" => Event::Break(Break::read(fields)?),
            other => Event::Unknown(other.to_owned()),
        })
    }

    /// The request that a line answers.
    fn request(&self, fields: Fields<'_>) -> Result<u64, String> {
        let request = need("req", fields.number("req"))?;
        let known = self.requests.contains(&request);
        known.then_some(request).ok_or_else(|| format!("`req` {request} is no request"))
    }
}

impl Moment {
    /// No recording lasts so long.
    pub(super) const END: Self = Self(u64::MAX);

    /// That many milliseconds after the recording began.
    pub(super) const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Whole milliseconds.
    pub(super) const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Microseconds from `earlier` to this moment; 0 if it is the later one.
    pub(super) const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `t_ms`: milliseconds with a fraction down to the microsecond.
    fn read(fields: Fields<'_>) -> Result<Option<Self>, String> {
        let Some(value) = fields.value("t_ms") else { return Ok(None) };
        let text = value.as_number().map(ToString::to_string).unwrap_or_default();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let micros: String = fraction.chars().chain("000".chars()).take(3).collect();
        let moment = match (whole.parse::<u64>(), micros.parse::<u64>()) {
            (Ok(whole), Ok(micros)) => whole.checked_mul(1000).and_then(|whole| whole.checked_add(micros)),
            (Err(_), _) | (_, Err(_)) => None,
        };
        moment.map(|moment| Some(Self(moment))).ok_or_else(|| format!("`t_ms` is {value}"))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, why } = self;
        write!(f, "{file}:{line}: {why}")
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1000, self.0 % 1000)
    }
}
