//! Tells a trace: what became of every lease, oplock and durable handle, a line each event, and where the recorded server
//! departs from what the machine would have done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use leasehold::{LeaseKey, OplockLevel, Status};

use super::answers::state;
use super::compare::{self, Difference};
use super::driver::{self, Notice, Play, Said};
use super::profiles::{self, Habits};
use super::request::{Command, Context, Create, Request};
use super::response::{Break, BreakKind, Response};
use super::trace::{Event, Line, Moment, Trace};
use crate::fs::nt;

mod sections;

/// What is told of a trace.
#[derive(Clone, Debug)]
pub struct Story {
    /// In order.
    pub lines: Vec<StoryLine>,
    /// How the server was taken to behave where servers differ; nothing if as the machine does by default.
    pub habits: &'static str,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryLine {
    /// The event.
    pub seq: u64,
    /// When, in microseconds.
    pub at: u64,
    /// What is said.
    pub told: Told,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Something happened.
    Event(String),
    /// It should not have happened so.
    Departure {
        /// What was expected, as recorded, and what came of it here.
        what: String,
        /// The sections that decide.
        sections: &'static str,
    },
    /// The machine cannot be held against what follows.
    NotJudged(String),
}

impl Story {
    /// How often the server departs from what the machine would have done.
    pub fn departures(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line.told, Told::Departure { .. })).count()
    }
}

/// Recordings of this name are of a server with all the habits of Samba, see `profiles`.
const SAMBA: &str = "smb2.durable-open";

/// Tells the lines of a trace. From the event `until` on, if there is one, nothing is judged.
///
/// # Errors
///
/// That the lines are no trace.
pub fn story(lines: &str, until: Option<u64>) -> Result<Story, String> {
    let trace = Trace::parse("trace", lines).map_err(|malformed| malformed.to_string())?;
    let mut verdict = judge(&trace, Habits::default(), until);
    let mut habits = "";
    if !verdict.departures.is_empty() {
        let other = judge(&trace, profiles::habits(SAMBA), until);
        if other.departures.len() < verdict.departures.len() {
            (verdict, habits) = (other, " (the server taken for Samba)");
        }
    }
    let mut teller = Teller::new(&trace, &verdict.play);
    let mut story = Vec::new();
    let mut departures = verdict.departures.into_iter().peekable();
    let mut end = verdict.end;
    for line in &trace.lines {
        let mut tell =
            |told| story.push(StoryLine { seq: line.seq, at: line.at.micros_since(Moment::default()), told });
        for text in teller.line(line) {
            tell(Told::Event(text));
        }
        while let Some(Difference { what, .. }) = departures.next_if(|departure| departure.seq <= line.seq) {
            let sections = sections::of(teller.asked(line), line, &what);
            tell(Told::Departure { what, sections });
        }
        if let Some((_, why)) = end.take_if(|(seq, _)| *seq <= line.seq) {
            tell(Told::NotJudged(why));
        }
    }
    Ok(Story { lines: story, habits })
}

/// What came of a trace.
struct Verdict {
    play: Play,
    /// In order.
    departures: Vec<Difference>,
    /// Where judging ends, and why.
    end: Option<(u64, String)>,
}

fn judge(trace: &Trace, habits: Habits, until: Option<u64>) -> Verdict {
    let play = driver::play(trace, habits);
    let mut departures = compare::differences(trace, &play);
    let lacking = until.map(|seq| (seq, "the capture lacks something, see the notes".to_owned()));
    let stopped = play.stopped.as_ref().and_then(|(seq, _)| {
        let stop = departures.pop()?;
        Some((*seq, stop.what))
    });
    let end = [lacking, stopped].into_iter().flatten().min_by_key(|(seq, _)| *seq);
    let last = end.as_ref().map_or(u64::MAX, |(seq, _)| *seq);
    departures.retain(|departure| departure.seq < last && !doubtful(trace, departure));
    departures.sort_by_key(|departure| departure.seq);
    Verdict { play, departures, end }
}

/// Whether a departure is one of order alone, within [`CROSSING`], or of what nobody captured. A busy server answers later
/// than those whose recordings are replayed, and not always in order.
fn doubtful(trace: &Trace, departure: &Difference) -> bool {
    let line = |seq| trace.lines.iter().find(|line| line.seq == seq);
    let Some(answer) = line(departure.seq) else { return false };
    let Event::Response(response) = &answer.event else { return unseen(answer) };
    let asked = line(response.request);
    let soon = asked.is_some_and(|asked| answer.at.micros_since(asked.at) < CROSSING);
    asked.is_some_and(unseen) || soon && departure.what.contains(" came too early: after seq ")
}

/// Within so many microseconds the order of two answers proves nothing.
const CROSSING: u64 = 10_000;

/// Whether a line is one of the client that makes what was there before the capture.
fn unseen(line: &Line) -> bool {
    line.conn.as_deref() == Some(NOBODY)
}

/// The connection of that client.
pub(crate) const NOBODY: &str = "c0";

/// What was said so far.
struct Teller<'t> {
    requests: BTreeMap<u64, (&'t Line, &'t Request)>,
    /// The request that brought each break about, by the `seq` of the break, as far as the machine knows.
    causes: BTreeMap<u64, u64>,
    waited: BTreeSet<u64>,
    /// The user of each session.
    users: BTreeMap<&'t str, &'t str>,
    handles: BTreeMap<&'t str, Held<'t>>,
    /// Files of leases, by client and key.
    leases: BTreeMap<(&'t str, LeaseKey), &'t str>,
    /// Breaks that await an acknowledgment.
    awaited: Vec<Awaited<'t>>,
}

/// A handle that somebody has.
struct Held<'t> {
    name: &'t str,
    conn: &'t str,
    tree: Option<&'t str>,
    /// How it was made durable.
    durable: Option<String>,
    /// Whether it caches anything, or has ever cached.
    caches: bool,
    /// Its oplock.
    level: OplockLevel,
}

/// A break that awaits an acknowledgment.
struct Awaited<'t> {
    client: &'t str,
    holder: Holder<'t>,
    since: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder<'t> {
    Lease(LeaseKey),
    Oplock(&'t str),
}

/// After so many microseconds a server takes a break for acknowledged (MS-SMB2 3.3.2.1 <214>, 3.3.2.5).
const BREAK_TIME: u64 = 35_000_000;

impl<'t> Teller<'t> {
    fn new(trace: &'t Trace, play: &Play) -> Self {
        Self {
            requests: trace.requests().map(|(line, request)| (line.seq, (line, request))).collect(),
            causes: causes(trace, play),
            waited: BTreeSet::new(),
            users: BTreeMap::new(),
            handles: BTreeMap::new(),
            leases: BTreeMap::new(),
            awaited: Vec::new(),
        }
    }

    /// The request that a line is, or answers.
    fn asked(&self, line: &Line) -> Option<&'t Request> {
        let seq = match &line.event {
            Event::Response(response) => response.request,
            Event::Connect
            | Event::Disconnect
            | Event::Request(_)
            | Event::Interim(_)
            | Event::Break(_)
            | Event::Unknown(_) => line.seq,
        };
        self.requests.get(&seq).map(|(_, request)| *request)
    }

    /// What is said of a line.
    fn line(&mut self, line: &'t Line) -> Vec<String> {
        let mut said = Vec::new();
        if unseen(line) {
            return said;
        }
        self.time_out(line.at, &mut said);
        let conn = line.conn.as_deref().unwrap_or_default();
        match &line.event {
            Event::Connect => said.push(format!("{conn}: connected")),
            Event::Disconnect => said.push(self.disconnected(conn)),
            Event::Request(request) => said.extend(self.request(conn, request)),
            Event::Interim(seq) => {
                self.waited.insert(*seq);
                if let Some((_, Request { command: Command::Create(create), .. })) = self.requests.get(seq) {
                    said.push(format!("{conn}: CREATE {} waits", quoted(&create.name)));
                }
            }
            Event::Response(response) => {
                let asked = self.requests.get(&response.request).copied();
                if let Some((asked, request)) = asked.filter(|(asked, _)| !unseen(asked)) {
                    said.extend(self.response(line, asked, request, response));
                }
            }
            Event::Break(told) => said.push(self.broken(line, conn, told)),
            Event::Unknown(_) => {}
        }
        said
    }

    /// Says which breaks nobody acknowledged in time.
    fn time_out(&mut self, now: Moment, said: &mut Vec<String>) {
        let (late, awaited) = std::mem::take(&mut self.awaited)
            .into_iter()
            .partition(|one| now.micros_since(one.since) > BREAK_TIME);
        self.awaited = awaited;
        for Awaited { client, holder, .. } in late {
            let holder = self.holder(client, holder);
            said.push(format!("{client}: the break of {holder} was not acknowledged in time"));
        }
    }

    fn disconnected(&mut self, conn: &str) -> String {
        let of_it = self.handles.iter().filter(|(_, held)| held.conn == conn);
        let durable = of_it.filter_map(|(handle, held)| {
            let durable = held.durable.as_ref()?;
            Some(format!("{handle} {} ({durable})", quoted(held.name)))
        });
        let durable: Vec<String> = durable.collect();
        if durable.is_empty() {
            return format!("{conn}: disconnected");
        }
        format!("{conn}: disconnected, leaving {}", durable.join(", "))
    }

    fn request(&mut self, conn: &str, request: &'t Request) -> Option<String> {
        match &request.command {
            Command::SessionSetup { user: Some(user), .. } => {
                if let Some(session) = &request.session {
                    self.users.insert(session, user);
                }
                None
            }
            Command::Create(create) => {
                let back = wanted_back(create)?;
                let handle = back.durable.handle.as_deref().unwrap_or("a handle that is not known");
                let name = self.handles.get(handle).map(|held| format!(" {}", quoted(held.name)));
                Some(format!(
                    "{}: asks for {handle}{} back by {}",
                    self.who(conn, request),
                    name.unwrap_or_default(),
                    back.tag
                ))
            }
            Command::Cancel { request: Some(seq) } => {
                let (_, asked) = self.requests.get(seq)?;
                Some(format!("{}: cancels its {}", self.who(conn, request), asked.command.name()))
            }
            _ => None,
        }
    }

    fn response(
        &mut self,
        line: &'t Line,
        asked: &'t Line,
        request: &'t Request,
        response: &'t Response,
    ) -> Option<String> {
        let conn = asked.conn.as_deref().unwrap_or_default();
        let who = self.who(conn, request);
        let succeeded = response.status == Status::SUCCESS;
        match &request.command {
            Command::SessionSetup { previous, .. } if succeeded => {
                let session = response.session.as_deref()?;
                let replaced = previous.as_ref().map(|previous| format!(", in place of {previous}"));
                Some(format!("{who}: logged in, session {session}{}", replaced.unwrap_or_default()))
            }
            Command::Logoff if succeeded => Some(format!("{who}: logged off")),
            Command::TreeDisconnect if succeeded => {
                let tree = request.tree.as_deref();
                self.handles.retain(|_, held| held.tree != tree || held.durable.is_some());
                None
            }
            Command::Create(create) => self.created(line, asked, request, create, response),
            Command::Close { handle: Some(handle) } if succeeded => {
                let held = self.handles.remove(handle.as_str())?;
                self.awaited.retain(|one| one.holder != Holder::Oplock(handle));
                let tells = held.caches || held.durable.is_some();
                tells.then(|| format!("{who}: closed {handle} {}", quoted(held.name)))
            }
            Command::LeaseAck { key, state: to } => {
                let client = request.client.as_deref().unwrap_or_default();
                let holder = self.holder(client, Holder::Lease(*key));
                if succeeded {
                    self.awaited.retain(|one| one.client != client || one.holder != Holder::Lease(*key));
                }
                Some(format!(
                    "{who}: acknowledged {holder} down to {}{}",
                    state(*to),
                    outcome(response.status)
                ))
            }
            Command::OplockAck { handle, level: to } => {
                let handle = handle.as_deref().unwrap_or_default();
                let client = request.client.as_deref().unwrap_or_default();
                let holder = self.holder(client, Holder::Oplock(handle));
                if succeeded {
                    self.awaited.retain(|one| one.holder != Holder::Oplock(handle));
                }
                Some(format!(
                    "{who}: acknowledged {holder} down to {}{}",
                    level(*to),
                    outcome(response.status)
                ))
            }
            _ => None,
        }
    }

    fn created(
        &mut self,
        line: &'t Line,
        asked: &'t Line,
        request: &'t Request,
        create: &'t Create,
        response: &'t Response,
    ) -> Option<String> {
        let conn = asked.conn.as_deref().unwrap_or_default();
        let back = wanted_back(create);
        let lease = create.contexts.iter().find(|context| context.tag == "RqLs");
        let durable = create.contexts.iter().find(|context| context.tag == "DHnQ" || context.tag == "DH2Q");
        let waited = self.waited.contains(&asked.seq);
        let mut text = format!("{}: CREATE {}", self.who(conn, request), quoted(&create.name));
        if let Some(context) = lease {
            let key = context.lease.key.map(|key| key.to_string()).unwrap_or_default();
            let _ = write!(text, ", lease {key} {}", state(context.lease.state.unwrap_or_default()));
        } else if create.level != 0 {
            let _ = write!(text, ", oplock {}", level(create.level));
        }
        for context in durable.into_iter().chain(back) {
            let _ = write!(text, ", {}", context.tag);
        }
        if request.attempt.replay {
            text.push_str(", sent again");
        }
        if waited {
            let took = line.at.micros_since(asked.at);
            let _ = write!(text, ", after {}.{:03} ms", took / 1000, took % 1000);
        }
        if response.status != Status::SUCCESS {
            let _ = write!(text, ": {}", nt::name(response.status));
            let told = lease.is_some() || durable.is_some() || back.is_some() || waited || create.level != 0;
            return (told || response.status == Status::SHARING_VIOLATION).then_some(text);
        }
        let handle = response.handle.as_deref()?;
        let _ = write!(text, ": granted {handle}");
        if let (Some(context), Some(name)) = (back, back.and_then(|back| self.name_of(back))) {
            let _ = write!(
                text,
                " in place of {} {}",
                context.durable.handle.as_deref().unwrap_or_default(),
                quoted(name)
            );
        }
        let contexts = response.contexts.as_deref().unwrap_or_default();
        let given = contexts.iter().find(|context| context.tag == "RqLs");
        let kept = contexts.iter().find_map(durability);
        match given {
            Some(given) => {
                let fields = &given.lease;
                let _ = write!(text, ", lease {}", state(fields.state.unwrap_or_default()));
                if let Some(epoch) = fields.epoch {
                    let _ = write!(text, " epoch {epoch}");
                }
                if fields.flags.is_some_and(|flags| flags & BREAK_IN_PROGRESS != 0) {
                    text.push_str(", which is being broken");
                }
            }
            None => {
                let _ = write!(text, ", {}", level(response.level.unwrap_or_default()));
            }
        }
        if let Some(kept) = &kept {
            let _ = write!(text, ", durable ({kept})");
        } else if let Some(context) = durable {
            let _ = write!(text, ", not durable in spite of {}", context.tag);
        }
        let caches = given.is_some() || response.level.unwrap_or_default() != 0;
        let name = back.and_then(|back| self.name_of(back)).unwrap_or(&create.name);
        // What was given back is durable as it was.
        let before = back.and_then(|back| self.handles.remove(back.durable.handle.as_deref()?));
        let durable_now = kept.or_else(|| before?.durable);
        if let Some(key) = given.and_then(|given| given.lease.key) {
            self.leases.insert((request.client.as_deref().unwrap_or_default(), key), name);
        }
        let level = OplockLevel::from_wire(response.level.unwrap_or_default());
        let tree = request.tree.as_deref();
        let held = Held { name, conn, tree, durable: durable_now, caches, level };
        self.handles.insert(handle, held);
        (caches || lease.is_some() || create.level != 0 || durable.is_some() || back.is_some() || waited)
            .then_some(text)
    }

    fn broken(&mut self, line: &'t Line, conn: &str, told: &'t Break) -> String {
        let client = told.client.as_deref().unwrap_or_default();
        let (holder, what, awaits) = match &told.kind {
            BreakKind::Lease { key, current, new, epoch, flags, .. } => {
                let holder = Holder::Lease(key.unwrap_or(LeaseKey::new([0; 16])));
                let states =
                    format!("{} to {}", state(current.unwrap_or_default()), state(new.unwrap_or_default()));
                let awaits = flags.is_some_and(|flags| flags & ACK_REQUIRED != 0);
                let epoch = epoch.filter(|epoch| *epoch != 0).map(|epoch| format!(", epoch {epoch}"));
                (holder, format!("{states}{}", epoch.unwrap_or_default()), awaits)
            }
            BreakKind::Oplock { level: to, handle } => {
                let handle = handle.as_deref().unwrap_or_default();
                let to = to.unwrap_or_default();
                // One of level II is not acknowledged (MS-SMB2 3.3.4.6).
                let mut awaits = false;
                if let Some(held) = self.handles.get_mut(handle) {
                    awaits = matches!(held.level, OplockLevel::Exclusive | OplockLevel::Batch);
                    held.level = OplockLevel::from_wire(to);
                }
                (Holder::Oplock(handle), format!("to {}", level(to)), awaits)
            }
        };
        let asks = if awaits { ", to be acknowledged" } else { "" };
        let text = format!("{conn} {client}: break of {} {what}{asks}", self.holder(client, holder));
        if awaits {
            self.awaited.push(Awaited { client, holder, since: line.at });
        }
        let cause = self.causes.get(&line.seq).and_then(|seq| self.requests.get(seq));
        match cause {
            Some((asked, request)) => {
                let name = match &request.command {
                    Command::Create(create) => format!(" {}", quoted(&create.name)),
                    _ => String::new(),
                };
                let conn = asked.conn.as_deref().unwrap_or_default();
                format!("{text}, by the {}{name} of {conn}", request.command.name())
            }
            None => text,
        }
    }

    /// Connection, client, and user if there is one.
    fn who(&self, conn: &str, request: &Request) -> String {
        let client = request.client.as_deref().map(|client| format!(" {client}")).unwrap_or_default();
        let user = request.session.as_deref().and_then(|session| self.users.get(session));
        let user = user.filter(|user| !user.is_empty()).map(|user| format!(" {user}")).unwrap_or_default();
        format!("{conn}{client}{user}")
    }

    /// A lease or an oplock with its file.
    fn holder(&self, client: &str, holder: Holder<'_>) -> String {
        let (what, name) = match holder {
            Holder::Lease(key) => {
                let name = self.leases.iter().find(|((of, other), _)| *of == client && *other == key);
                (format!("lease {key}"), name.map(|(_, name)| *name))
            }
            Holder::Oplock("") => ("an oplock".to_owned(), None),
            Holder::Oplock(handle) => {
                (format!("the oplock of {handle}"), self.handles.get(handle).map(|held| held.name))
            }
        };
        name.map_or(what.clone(), |name| format!("{what} {}", quoted(name)))
    }

    /// The file of a handle that is wanted back.
    fn name_of(&self, back: &Context) -> Option<&'t str> {
        self.handles.get(back.durable.handle.as_deref()?).map(|held| held.name)
    }
}

/// SMB2_LEASE_FLAG_BREAK_IN_PROGRESS
const BREAK_IN_PROGRESS: u32 = 0x02;
/// SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED
const ACK_REQUIRED: u32 = 0x01;

/// The request that brought each recorded break about: that of the same break in the machine.
fn causes(trace: &Trace, play: &Play) -> BTreeMap<u64, u64> {
    let mut came: Vec<_> = play
        .outputs
        .iter()
        .filter_map(|output| match &output.what {
            Said::Break { notice, .. } if !output.cause.deadline => Some((output.cause.after, notice)),
            Said::Break { .. } | Said::Answer { .. } => None,
        })
        .collect();
    let mut causes = BTreeMap::new();
    for line in &trace.lines {
        let Event::Break(told) = &line.event else { continue };
        let same = |(after, notice): &(u64, &Notice)| {
            *after < line.seq
                && match (&told.kind, notice) {
                    (BreakKind::Lease { key, new, .. }, Notice::Lease(body)) => {
                        *key == Some(body.key) && new.map(state) == Some(body.new)
                    }
                    (BreakKind::Oplock { handle, level }, Notice::Oplock(body)) => {
                        *handle == body.handle && *level == Some(body.level)
                    }
                    (BreakKind::Lease { .. }, Notice::Oplock(_))
                    | (BreakKind::Oplock { .. }, Notice::Lease(_)) => false,
                }
        };
        if let Some(at) = came.iter().position(same) {
            causes.insert(line.seq, came.remove(at).0);
        }
    }
    causes
}

/// The context that wants a handle back, if there is one.
fn wanted_back(create: &Create) -> Option<&Context> {
    create.contexts.iter().find(|context| context.tag == "DHnC" || context.tag == "DH2C")
}

/// How an answer makes its handle durable, if this context does.
fn durability(context: &Context) -> Option<String> {
    match context.tag.as_str() {
        "DHnQ" => Some("DHnQ".to_owned()),
        "DH2Q" => {
            let timeout = context.durable.timeout.unwrap_or_default();
            let persistent = context.durable.flags.is_some_and(|flags| flags & PERSISTENT != 0);
            Some(format!("DH2Q {timeout} ms{}", if persistent { ", persistent" } else { "" }))
        }
        _ => None,
    }
}

/// SMB2_DHANDLE_FLAG_PERSISTENT
const PERSISTENT: u32 = 0x02;

fn outcome(status: Status) -> String {
    if status == Status::SUCCESS { String::new() } else { format!(": {}", nt::name(status)) }
}

fn level(octet: u8) -> String {
    match OplockLevel::from_wire(octet) {
        OplockLevel::None => "NONE".to_owned(),
        OplockLevel::II => "II".to_owned(),
        OplockLevel::Exclusive => "EXCLUSIVE".to_owned(),
        OplockLevel::Batch => "BATCH".to_owned(),
        OplockLevel::Lease => "LEASE".to_owned(),
        OplockLevel::Undefined(_) => format!("{octet:#04x}"),
    }
}

/// A name as a peer wrote it: what is no letter on a terminal is escaped.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.escape_debug())
}
