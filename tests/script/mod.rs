//! The language of the stories in `scenarios/`: event lines, and the actions that must follow. The grammar is in their README.

mod actions;
pub(crate) mod config;
pub(crate) mod events;
pub(crate) mod names;
mod owners;
mod store;
mod values;
pub(crate) mod words;

use std::fmt;

use leasehold::server::{Action, Config, RouteSeed, Server};
use leasehold::{HashKey, Instant, Machine};
use names::Names;
use store::Store;
use words::Words;

/// Where a story and the machine part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The line of the story, from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The line is not of the language.
    Unreadable(String),
    /// The story says something else than came.
    Otherwise { expected: String, got: String },
    /// What came depends on the hash key.
    Unstable { first: String, second: String },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(what) => write!(f, " {what}"),
            Self::Otherwise { expected, got } => write!(f, "\n    expected: {expected}\n    got:      {got}"),
            Self::Unstable { first, second } => {
                write!(f, "\n    with one hash key:     {first}\n    with another hash key: {second}")
            }
        }
    }
}

/// Whether everything comes as it is written, to the letter and whatever the hash key.
pub(crate) fn judge(text: &str) -> Result<(), Failure> {
    if !text.starts_with("# ") {
        let what = "the first line is a comment that names the specification".to_owned();
        return Err(Failure { line: 1, kind: Kind::Unreadable(what) });
    }
    let played = play(text)?;
    if let Some((line, expected, got)) = difference(text, &played) {
        return Err(Failure { line, kind: Kind::Otherwise { expected, got } });
    }
    match difference(&played, &play_with(text, HashKey::new([0xc3; 16]))?) {
        None => Ok(()),
        Some((line, first, second)) => Err(Failure { line, kind: Kind::Unstable { first, second } }),
    }
}

/// Plays the events of a story and writes down what came behind each.
pub(crate) fn play(text: &str) -> Result<String, Failure> {
    play_with(text, HashKey::new([1; 16]))
}

fn play_with(text: &str, hash_key: HashKey) -> Result<String, Failure> {
    let mut stage = Stage::new(hash_key);
    let mut played = String::new();
    let mut came = Vec::new();
    let mut lines = text.lines().zip(1..).peekable();
    while let Some((text, line)) = lines.next() {
        played += text;
        played.push('\n');
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let done = stage.carry_out(text, &mut came);
        done.map_err(|what| Failure { line, kind: Kind::Unreadable(what) })?;
        for action in came.drain(..) {
            played += &format!("     > {action}\n");
        }
        while lines.next_if(|(text, _)| is_action(text)).is_some() {}
    }
    Ok(played)
}

fn is_action(line: &str) -> bool {
    line.trim_start().starts_with('>')
}

/// The first line in which two stories differ, counted in the first.
fn difference(written: &str, played: &str) -> Option<(usize, String, String)> {
    if written == played {
        return None;
    }
    let (mut ours, mut theirs, mut line) = (written.lines(), played.lines(), 1usize);
    let said = |line: Option<&str>| match line {
        Some(action) if is_action(action) => action.trim().to_owned(),
        Some(_) | None => "nothing more".to_owned(),
    };
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => {
                return Some((
                    line,
                    "every line as it is printed".to_owned(),
                    "other ends of lines".to_owned(),
                ));
            }
            (ours, theirs) if ours == theirs => line = line.saturating_add(1),
            (Some(ours), Some(theirs)) if said(Some(ours)) == said(Some(theirs)) => {
                return Some((line, format!("{ours:?}"), format!("{theirs:?}")));
            }
            (ours, theirs) => return Some((line, said(ours), said(theirs))),
        }
    }
}

/// The machine and what was said of it.
struct Stage {
    now: u64,
    config: Config,
    /// There is one from the first event on.
    server: Option<Server>,
    names: Names,
    store: Store,
}

impl Stage {
    fn new(hash_key: HashKey) -> Self {
        let config = Config::new(hash_key, RouteSeed::new([2; 16]), 1);
        Self { now: 0, config, server: None, names: Names::default(), store: Store::default() }
    }

    /// Carries one line out and appends the actions that it led to.
    fn carry_out(&mut self, line: &str, came: &mut Vec<String>) -> Result<(), String> {
        let mut words = Words::new(line);
        if let Some(time) = words.time()? {
            if time < self.now {
                return Err(format!("time goes back: @{time} after @{}", self.now));
            }
            self.now = time;
        }
        match words.next("an event")? {
            "config" if self.server.is_some() => return Err("config stands before every event".to_owned()),
            "config" => config::read(&mut self.config, &mut words)?,
            ">" => return Err("an action without an event".to_owned()),
            "time" => {
                words.end()?;
                let server = self.server.get_or_insert_with(|| Server::new(self.config));
                let mut actions = Vec::new();
                server.handle_timeout(Instant::from_millis(self.now), &mut actions);
                self.write_down(actions, came);
            }
            verb => {
                let events = match verb {
                    "stored" => vec![self.store.stored(&mut words)?],
                    "not-stored" => vec![self.store.not_stored(&mut words)?],
                    "restart" => {
                        self.server = None;
                        self.store.restart(&mut words, &mut self.config)?
                    }
                    _ => events::read(verb, &mut words, &mut self.names)?,
                };
                words.end()?;
                for event in events {
                    let server = self.server.get_or_insert_with(|| Server::new(self.config));
                    let mut actions = Vec::new();
                    let handled = server.handle(Instant::from_millis(self.now), event, &mut actions);
                    came.extend(handled.err().map(actions::misuse));
                    self.write_down(actions, came);
                }
            }
        }
        Ok(())
    }

    fn write_down(&mut self, actions: Vec<Action>, came: &mut Vec<String>) {
        for action in actions {
            if let Action::Persist { seq, change } = &action {
                self.store.asks(*seq, change);
            }
            came.push(actions::line(&mut self.names, action));
        }
    }
}
