//! Whether two say and hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold::server::{Action, DelegationKind, FileSnapshot, Holder, Holding, Link, What};
use leasehold::wire::{BreakFlags, Lease as Context, LeaseFlags};
use leasehold::{FileId, FileKey, LeaseKey, LeaseState, Locker, Machine, OplockLevel, RequestId, Status};

use super::laws::Wait;
use super::model::*;
use super::steps::FILES;
use super::world::*;

type PerFile = BTreeMap<u8, Vec<Said>>;

/// In one order, whichever of several is told first.
fn canonical(said: &[(u8, Said)]) -> PerFile {
    let mut files = PerFile::new();
    for (file, said) in said {
        files.entry(*file).or_default().push(said.clone());
    }
    let told = |said: &Said| matches!(said, Said::Break { .. } | Said::Recall { .. } | Said::Revoked { .. });
    // Nor does it matter when a handle is closed, which of the requests of a session goes first, and in which order those learn of it
    // whom one lock that overtook has put into circles.
    let gone = [Status::USER_SESSION_DELETED, Status::POSSIBLE_DEADLOCK].map(Status::to_wire);
    let ends = |said: &Said| match said {
        Said::Refused(_, status) => gone.contains(status),
        Said::CloseFile(_) | Said::Closed(_) => true,
        _ => false,
    };
    for said in files.values_mut() {
        for run in said.chunk_by_mut(|one, other| told(one) && told(other)) {
            run.sort();
        }
        let (mut over, rest): (Vec<_>, Vec<_>) = said.drain(..).partition(ends);
        over.sort();
        said.extend(rest.into_iter().chain(over));
    }
    files
}

fn file_of(file: FileKey) -> u8 {
    u8::try_from(file.get() - 1).unwrap()
}

fn number(key: LeaseKey) -> u8 {
    key.octets()[0] - 1
}

impl World {
    fn name(&self, file_id: FileId) -> RequestId {
        self.name_of(file_id.persistent)
    }

    fn name_of(&self, persistent: u64) -> RequestId {
        *self.ids.iter().find(|(_, id)| id.persistent == persistent).unwrap().0
    }

    fn who(&self, locker: Locker) -> Who {
        match locker {
            Locker::Open(persistent) => Who::Open(self.name_of(persistent)),
            Locker::Owner(owner) => Who::Owner(owner),
        }
    }

    /// Compares what was said about each file.
    pub fn said(&self, expected: &[(u8, Said)], actions: &[Action]) {
        let (expected, heard) = self.both(expected, actions);
        assert_eq!(expected, heard, "the model (left), the machine (right): {actions:#?}");
    }

    /// What was to be said about each file, and what was.
    fn both(&self, expected: &[(u8, Said)], actions: &[Action]) -> (PerFile, PerFile) {
        // Where each answer belongs: to the file of the expectation, or to none.
        let about = |request: RequestId| {
            let of = |said: &Said| match said {
                Said::Interim(other)
                | Said::OpenFile(other)
                | Said::Granted(other, _)
                | Said::Proceed(other)
                | Said::Resolve(other)
                | Said::Accepted(other)
                | Said::Refused(other, _)
                | Said::Repeated(other, _)
                | Said::Tested(other, _)
                | Said::Acked(other, _)
                | Said::Closed(other)
                | Said::CloseFile(other) => *other == request,
                Said::Break { .. } | Said::Recall { .. } | Said::Revoked { .. } => false,
            };
            expected.iter().find(|(_, said)| of(said)).map_or(u8::MAX, |(file, _)| *file)
        };
        let code = |status: Status| status.to_wire();
        let mut heard = Vec::new();
        for action in actions {
            let (file, said) = match action {
                Action::OpenFile { request, .. } => (about(*request), Said::OpenFile(*request)),
                Action::Interim { request } => (about(*request), Said::Interim(*request)),
                Action::Proceed { request, .. } => (about(*request), Said::Proceed(*request)),
                Action::Resolve { request } => (about(*request), Said::Resolve(*request)),
                Action::Granted { request, grant } => {
                    let lease = grant.lease.map(|lease| {
                        let Context::V1(lease) = lease else { panic!("{lease:?}") };
                        (lease.state.bits(), lease.flags.contains(LeaseFlags::BREAK_IN_PROGRESS))
                    });
                    let level = if lease.is_some() { OplockLevel::Lease } else { OplockLevel::None };
                    assert_eq!(grant.level, level);
                    (about(*request), Said::Granted(*request, lease))
                }
                Action::Refused { request, status } => {
                    (about(*request), Said::Refused(*request, code(*status)))
                }
                Action::Closed { request } => (about(*request), Said::Closed(*request)),
                Action::Accepted { request } => (about(*request), Said::Accepted(*request)),
                Action::SendLeaseBreak { conn, body, .. } => {
                    let key = (self.client(conn.get()), number(body.key));
                    let acknowledged = body.flags.contains(BreakFlags::ACK_REQUIRED);
                    let (from, to) = (body.current.bits(), body.new.bits());
                    (key.1 / 2, Said::Break { key, from, to, acknowledged })
                }
                Action::Recall { owner, file, kind, .. } => {
                    let write = *kind == DelegationKind::Write;
                    (file_of(*file), Said::Recall { owner: *owner, write })
                }
                Action::Revoked { owner, file } => (file_of(*file), Said::Revoked { owner: *owner }),
                Action::Repeated { request, first } => (about(*request), Said::Repeated(*request, *first)),
                Action::Tested { request, conflict } => {
                    let found = expected.iter().find_map(|(_, said)| match said {
                        Said::Tested(other, found) if other == request => Some(found.clone()),
                        _ => None,
                    });
                    let seen = conflict.map(|lock| {
                        let (who, span) = (self.who(lock.locker), spread(lock.offset, lock.len));
                        (who, span, lock.exclusive)
                    });
                    let fits = match (&found, seen) {
                        (Some(found), Some(seen)) => found.contains(&seen),
                        (Some(found), None) => found.is_empty(),
                        (None, _) => false,
                    };
                    let said = if fits { found.unwrap() } else { seen.into_iter().collect() };
                    (about(*request), Said::Tested(*request, said))
                }
                Action::AnswerLeaseAck { request, result } => {
                    let result = result.map(|ack| ack.state.bits()).map_err(code);
                    (about(*request), Said::Acked(*request, result))
                }
                Action::CloseFile { file_id, link } => {
                    assert_eq!(*link, Link::Keep);
                    let name = self.name(*file_id);
                    (about(name), Said::CloseFile(name))
                }
                other => panic!("{other:?}"),
            };
            heard.push((file, said));
        }
        (canonical(expected), canonical(&heard))
    }

    /// Whether both say the same, and let the same requests wait for the same.
    pub fn agrees(&self, expected: &[(u8, Said)], actions: &[Action]) -> bool {
        let (expected, heard) = self.both(expected, actions);
        expected == heard && (0..FILES).all(|file| self.waits_differ(file).is_none())
    }

    /// In which way others wait for a file than should, or for others.
    fn waits_differ(&self, file: u8) -> Option<String> {
        let expected: Vec<_> = self.model.waiters.iter().filter(|waiter| waiter.file == file).collect();
        let waits = self.waits(file);
        let requests: Vec<_> = expected.iter().map(|waiter| waiter.request).collect();
        if requests != waits.iter().map(|wait| wait.request).collect::<Vec<_>>() {
            return Some(format!("{requests:?} wait, and not {waits:?}"));
        }
        let mut both = expected.into_iter().zip(&waits);
        let (waiter, wait) = both.find(|(waiter, wait)| !wait.amounts_to(&waiter.on, &waits))?;
        Some(format!("{:?} waits for {:?}, and not as in {wait:?}: {waits:?}", waiter.request, waiter.on))
    }

    /// Who waits for a file, as the machine shows it.
    pub fn waits(&self, file: u8) -> Vec<Wait> {
        let wait = |holding: Holding| {
            let What::Waits { request, on } = holding.what else { return None };
            let who = match holding.holder {
                Holder::Open { file_id, .. } => Some(Who::Open(self.name(file_id))),
                Holder::Owner(owner) => Some(Who::Owner(owner)),
                _ => None,
            };
            Some(Wait { request, who, on: on.into_iter().map(|locker| self.who(locker)).collect() })
        };
        self.server.holders(key(file)).into_iter().filter_map(wait).collect()
    }

    /// Compares what is held, and who waits for whom.
    pub fn held(&self) {
        let snapshot = self.server.snapshot();
        for file in 0..FILES {
            match snapshot.files.iter().find(|found| found.key == key(file)) {
                Some(found) => self.file(file, found),
                None => self.nothing(file),
            }
            self.holders(file);
        }
        let due = self.model.due();
        let polled = self.server.poll_timeout().map(|due| due.as_millis());
        match (due, polled, self.model.grace_ends()) {
            (Some(due), Some(polled), None) => assert_eq!(due, polled, "the next deadline"),
            (Some(due), polled, _) => assert!(polled.is_some_and(|polled| polled <= due), "{due} {polled:?}"),
            (None, _, _) => {}
        }
    }

    fn nothing(&self, file: u8) {
        let model = &self.model;
        let held = model.held.iter().any(|(_, on, _)| *on == file);
        let reserved = model.reserved.iter().any(|(_, on, _)| *on == file);
        let delegated = model.delegations.iter().any(|delegation| delegation.file == file);
        let open = model.opens.iter().any(|open| open.file == file);
        let waits = model.waiters.iter().any(|waiter| waiter.file == file);
        let runs = model.running.iter().any(|run| run.file == file);
        assert!(!(held || reserved || delegated || open || waits || runs), "nothing on {file}: {model:#?}");
    }

    fn file(&self, file: u8, found: &FileSnapshot) {
        let model = &self.model;
        let left = |due: u64| Some(Duration::from_millis(due - model.now));
        let here = |open: &&Open| open.file == file;
        let of_phase = |live: bool| {
            let opens =
                model.opens.iter().filter(here).filter(move |open| (open.phase == Phase::Live) == live);
            opens.map(|open| open.name).collect::<Vec<_>>()
        };
        let opens: Vec<_> = found.opens.iter().map(|open| self.name(open.file_id)).collect();
        assert_eq!(of_phase(true), sorted(&opens, &of_phase(true)), "opens of {file}");
        let opening: Vec<_> = found.opening.iter().map(|id| self.name(*id)).collect();
        assert_eq!(of_phase(false), opening, "opening of {file}");
        let mut leases: Vec<_> = model
            .leases
            .iter()
            .filter(|lease| lease.file == file)
            .map(|lease| {
                let breaking = lease.breaking.as_ref();
                let remaining = breaking.and_then(|breaking| left(breaking.due));
                (lease.key, lease.state, breaking.map(|breaking| (breaking.told, breaking.needed)), remaining)
            })
            .collect();
        leases.sort();
        let states = |(told, needed): (LeaseState, LeaseState)| (told.bits(), needed.bits());
        let mut seen: Vec<_> = found
            .leases
            .iter()
            .map(|lease| {
                let key = (lease.client.to_wire()[0] - 1, number(lease.key));
                (key, lease.state.bits(), lease.breaking.map(states), lease.remaining)
            })
            .collect();
        seen.sort();
        assert_eq!(leases, seen, "leases on {file}");
        let smb = |lock: &&(Who, Span, bool)| matches!(lock.0, Who::Open(_));
        let mut locks: Vec<_> = model.locks(file).iter().filter(smb).copied().collect();
        locks.sort();
        let mut seen: Vec<_> = found
            .locks
            .iter()
            .map(|lock| {
                (Who::Open(self.name(lock.file_id)), Span::new(lock.offset, lock.len), lock.exclusive)
            })
            .collect();
        seen.sort();
        assert_eq!(locks, seen, "locks of opens on {file}");
        self.owners(file, found);
        let waiting: Vec<_> =
            model.waiters.iter().filter(|waiter| waiter.file == file).map(|waiter| waiter.request).collect();
        assert_eq!(waiting, found.waiting, "who waits for {file}");
        let running = model.running.iter().filter(|run| run.file == file).count();
        assert_eq!(running as u32, found.running, "what runs on {file}");
        assert!(!found.goes);
    }

    fn owners(&self, file: u8, found: &FileSnapshot) {
        let model = &self.model;
        let all = model
            .held
            .iter()
            .filter(|(_, on, _)| *on == file)
            .map(|(owner, ..)| *owner)
            .chain(model.reserved.iter().filter(|(_, on, _)| *on == file).map(|(owner, ..)| *owner))
            .chain(model.delegations.iter().filter(|other| other.file == file).map(|other| other.owner));
        for owner in all.clone().collect::<BTreeSet<_>>() {
            let seen = found.owners.iter().find(|other| other.owner == owner);
            let seen = seen.unwrap_or_else(|| panic!("{owner:?} on {file}"));
            let locks: Vec<_> =
                seen.locks.iter().map(|(offset, len, kind)| (spread(*offset, *len), *kind)).collect();
            assert_eq!(runs(&model.map(owner, file)), locks, "locks of {owner:?} on {file}");
            let reserved = model.reserved.iter().find(|(other, on, _)| (*other, *on) == (owner, file));
            let reserved = reserved.map(|(_, _, claim)| (access(claim), sharing(claim)));
            assert_eq!(reserved, seen.reserved, "reservation of {owner:?} on {file}");
            let delegated = model.delegations.iter().find(|other| (other.owner, other.file) == (owner, file));
            assert_eq!(
                delegated.map(|other| other.kind),
                seen.delegated,
                "delegation of {owner:?} on {file}"
            );
            let remaining = delegated.and_then(|other| other.recalled).map(|(due, _)| due - model.now);
            assert_eq!(remaining.map(Duration::from_millis), seen.remaining, "recall of {owner:?}");
        }
        let all: BTreeSet<_> = all.collect();
        for seen in &found.owners {
            let nothing = seen.locks.is_empty() && seen.reserved.is_none() && seen.delegated.is_none();
            assert!(nothing || all.contains(&seen.owner), "on {file}: {seen:?}");
        }
    }

    /// The same by the other door, and who waits for whom.
    fn holders(&self, file: u8) {
        let model = &self.model;
        let (mut locks, mut others) = (Vec::new(), [0; 4]);
        for holding in self.server.holders(key(file)) {
            match (holding.what, holding.holder) {
                (What::Lock { offset, len, exclusive }, Holder::Open { file_id, .. }) => {
                    locks.push((Who::Open(self.name(file_id)), Span::new(offset, len), exclusive));
                }
                (What::Lock { offset, len, exclusive }, Holder::Owner(owner)) => {
                    locks.push((Who::Owner(owner), spread(offset, len), exclusive));
                }
                (What::Waits { .. }, _) => {}
                (What::Open { .. }, _) => others[0] += 1,
                (What::Lease { .. }, _) => others[1] += 1,
                (What::Reservation { .. }, _) => others[2] += 1,
                (What::Delegation { .. }, _) => others[3] += 1,
                other => panic!("{other:?}"),
            }
        }
        let mut expected = model.locks(file);
        expected.sort();
        locks.sort();
        assert_eq!(expected, locks, "locks on {file}");
        assert_eq!(self.waits_differ(file), None, "who waits for whom on {file}");
        let expected = [
            model.opens.iter().filter(|open| open.file == file).count(),
            model.leases.iter().filter(|lease| lease.file == file).count(),
            model.reserved.iter().filter(|(_, on, _)| *on == file).count(),
            model.delegations.iter().filter(|other| other.file == file).count(),
        ];
        assert_eq!(expected, others, "opens, leases, reservations, delegations on {file}");
    }
}

/// Names in the order of `like`, if they are the same.
fn sorted(names: &[RequestId], like: &[RequestId]) -> Vec<RequestId> {
    let (mut one, mut other) = (names.to_vec(), like.to_vec());
    one.sort();
    other.sort();
    if one == other { like.to_vec() } else { names.to_vec() }
}

/// A lock that ends behind what is told apart ends where everything ends.
fn spread(offset: u64, len: u64) -> Span {
    let span = Span::new(offset, len);
    let to = if span.to + 1 >= END { END } else { span.to };
    Span { to, ..span }
}
