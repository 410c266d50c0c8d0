//! Tells from a capture of packets what became of every lease, oplock and durable handle.
//!
//! | file | what |
//! |---|---|
//! | `capture.rs` | packets out of pcap and pcapng |
//! | `link.rs` | the TCP segment in a packet |
//! | `stream.rs` | segments into streams of octets |
//! | `messages.rs` | SMB2 messages in a stream |
//! | `record.rs` | messages into the events of a trace, see `tests/traces/README.md`; `labels.rs`, `fields.rs`: the names and values in them |
//! | `before.rs` | files that were there before the capture |
//! | `hostile.rs` | captures that nobody made, for fuzzing |
//!
//! The trace is then played and compared like any other, and told: see [`story`](crate::replay::story).

mod before;
mod capture;
mod fields;
pub mod hostile;
mod labels;
mod link;
mod messages;
mod record;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;

use crate::replay::story::{Story, Told, story};

/// What a capture holds of the conversations with one server.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The trace, JSON lines.
    pub lines: String,
    /// The number of the packet in which each event of the trace ended, by its `seq`.
    pub frames: BTreeMap<u64, u64>,
    /// The addresses of client and server of each connection.
    pub conns: BTreeMap<String, (SocketAddr, SocketAddr)>,
    /// What was not captured, or is left out.
    pub notes: Vec<Note>,
    /// Since which event, by its `seq`, the capture lacks something, so that what a server should do is not known any more.
    pub judged_until: Option<u64>,
}

/// Something that was not captured, or is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Microseconds since the first packet.
    pub at: u64,
    /// The packet.
    pub frame: u64,
    /// What.
    pub what: String,
}

/// The story of one server.
#[derive(Clone, Debug)]
pub struct Explained {
    recording: Recording,
    story: Story,
}

/// Reads a capture: for each server the trace of what was said.
///
/// # Errors
///
/// That the file is no capture.
pub fn record(input: impl Read + Send) -> Result<Vec<Recording>, String> {
    let mut recorder = record::Recorder::default();
    let broken_off = capture::read(input, |packet| recorder.packet(&packet))?;
    Ok(recorder.finish(broken_off))
}

/// Reads a capture and tells what is in it, for each server.
///
/// # Errors
///
/// That the file is no capture.
pub fn explain(input: impl Read + Send) -> Result<Vec<Explained>, String> {
    let recordings = record(input)?;
    recordings
        .into_iter()
        .map(|recording| {
            let story = story(&recording.lines, recording.judged_until)?;
            Ok(Explained { recording, story })
        })
        .collect()
}

impl Explained {
    /// Events of the trace by the packets in which they ended: that is how others know them.
    fn with_frames(&self, what: &str) -> String {
        let mut parts = what.split("seq ");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            let (seq, rest) = part.split_at(digits);
            match seq.parse().ok().and_then(|seq: u64| self.recording.frames.get(&seq)) {
                Some(frame) => text.push_str(&format!("frame {frame}{rest}")),
                None => text.push_str(&format!("seq {part}")),
            }
        }
        text
    }

    /// Where the server departs from what leasehold would have done.
    pub fn departures(&self) -> usize {
        self.story.departures()
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (conn, (client, server)) in &self.recording.conns {
            writeln!(f, "{conn}: {client} to {server}")?;
        }
        let mut notes = self.recording.notes.iter().peekable();
        for line in &self.story.lines {
            let frame = self.recording.frames.get(&line.seq).copied().unwrap_or_default();
            while let Some(note) = notes.next_if(|note| (note.at, note.frame) < (line.at, frame)) {
                write_line(f, note.at, note.frame, &format!("note: {}", note.what))?;
            }
            let text = match &line.told {
                Told::Event(text) => text.clone(),
                Told::Departure { what, sections } => {
                    format!("  DEPARTS {} [{sections}]", self.with_frames(what))
                }
                Told::NotJudged(why) => format!("  not judged from here on: {why}"),
            };
            write_line(f, line.at, frame, &text)?;
        }
        for note in notes {
            write_line(f, note.at, note.frame, &format!("note: {}", note.what))?;
        }
        match self.departures() {
            0 => writeln!(f, "no departures{}", self.story.habits),
            1 => writeln!(f, "1 departure{}", self.story.habits),
            more => {
                writeln!(f, "{more} departures{}; later ones may follow from the first", self.story.habits)
            }
        }
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, at: u64, frame: u64, text: &str) -> fmt::Result {
    writeln!(f, "{:>7}.{:03} ms  {frame:>5}  {text}", at / 1000, at % 1000)
}
