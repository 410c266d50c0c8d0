//! Opens that outlive their client (MS-SMB2 3.2.1.4, 3.2.4.4).

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::client::SessionLoss;
use leasehold::persist::{ClientChange, ClientRecord, Need, Promise};
use leasehold::server::ShareFlags;
use leasehold::wire::DurableFlags;
use leasehold::{Access, ShareMode};

use super::coming_back::{GUID, lost, reconnects, reply_to};
use super::*;

/// A client with a store that is durable at once.
struct Lives {
    story: Story,
    store: BTreeMap<u64, ClientRecord>,
}

fn config() -> ClientConfig {
    let mut config = ClientConfig::new(HashKey::new([1; 16]));
    config.persistence = true;
    config
}

/// Carries out what a store has to, and says what came behind.
fn stored(store: &mut BTreeMap<u64, ClientRecord>, actions: &[Action]) -> Vec<Action> {
    let mut rest = Vec::new();
    for action in actions {
        match action {
            Action::Persist { change } => {
                assert!(rest.is_empty(), "it comes first: {actions:?}");
                match change {
                    ClientChange::Put(record) => drop(store.insert(record.id, *record)),
                    ClientChange::Delete { id } => assert!(store.remove(id).is_some(), "{actions:?}"),
                }
            }
            other => rest.push(*other),
        }
    }
    rest
}

impl Lives {
    fn new() -> Self {
        Self { story: Story::on(Dialect::Smb311, config()), store: BTreeMap::new() }
    }

    fn note(&mut self, actions: &[Action]) -> Vec<Action> {
        stored(&mut self.store, actions)
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let actions = self.story.tell(event);
        self.note(&actions)
    }

    fn open(&mut self, state: LeaseState, flags: DurableFlags) -> OpenRef {
        let share = if flags.is_empty() { ShareFlags::empty() } else { ShareFlags::CONTINUOUSLY_AVAILABLE };
        let opening = self.story.opening().want(Want::State(state)).durable(GUID).share(share);
        let open = self.story.create(opening).open;
        let reply =
            reply_to(&mut self.story, OplockLevel::Lease, Some(granted(state, 1)), Some(60_000), flags);
        self.tell(Event::Created { open, result: Ok(reply) });
        open
    }

    fn one(&self) -> ClientRecord {
        assert_eq!(self.store.len(), 1, "{:?}", self.store);
        *self.store.values().next().unwrap()
    }

    /// The client is gone; the next one has its store. Says what of it is away.
    fn restart(&mut self, elapsed: Duration) -> Vec<OpenRef> {
        let now = self.story.now;
        self.story = Story { client: Client::new(config()), requests: 100, answers: 2000, now };
        let mut away = Vec::new();
        for record in self.store.clone().into_values() {
            match self.tell(Event::Restore { record, elapsed })[..] {
                [Action::Restored { id, open }] if id == record.id => away.push(open),
                ref other => panic!("{other:?}"),
            }
        }
        away
    }

    /// The only open comes back; its lease as the server has it.
    fn regain(&mut self, open: OpenRef, lease: Lease) -> Vec<Action> {
        let sent = self.story.reconnect();
        assert_eq!(reconnects(&sent), [open]);
        let actions = self.story.regain(open, Some(lease));
        self.note(&actions)
    }
}

#[test]
fn a_durable_open_is_stored_before_the_application_has_it() {
    let mut lives = Lives::new();
    let opening = lives.story.opening().want(Want::State(RWH)).durable(GUID);
    let open = lives.story.create(opening).open;
    let reply = reply_to(
        &mut lives.story,
        OplockLevel::Lease,
        Some(granted(RWH, 7)),
        Some(60_000),
        DurableFlags::empty(),
    );
    let actions = lives.story.tell(Event::Created { open, result: Ok(reply) });
    assert!(matches!(actions[..2], [Action::Persist { .. }, Action::Ready { .. }]), "{actions:?}");
    lives.note(&actions);
    let record = lives.one();
    assert_eq!((record.file, record.key, record.file_id), (FILE, KEY, reply.file_id));
    assert_eq!((record.promise, record.timeout), (Promise::V2(GUID), 60_000));
    assert_eq!((record.level, record.state, record.epoch), (OplockLevel::Lease, RWH, Some(Epoch::new(7))));
    assert_eq!((record.need, record.flush, record.purge), (Need::Application, false, false));
}

#[test]
fn without_a_promise_or_a_store_there_is_no_record() {
    let mut lives = Lives::new();
    let open = lives.story.ask(RWH);
    let actions = lives.story.answer(open, Some(granted(RWH, 1)));
    assert!(!actions.iter().any(|action| matches!(action, Action::Persist { .. })), "{actions:?}");
    let mut story = Story::on(Dialect::Smb311, ClientConfig::new(HashKey::new([1; 16])));
    let opening = story.opening().want(Want::State(RWH)).durable(GUID);
    let open = story.create(opening).open;
    let reply =
        reply_to(&mut story, OplockLevel::Lease, Some(granted(RWH, 1)), Some(1), DurableFlags::empty());
    let actions = story.tell(Event::Created { open, result: Ok(reply) });
    assert!(!actions.iter().any(|action| matches!(action, Action::Persist { .. })), "{actions:?}");
}

/// MS-SMB2 3.2.4.4: the contexts of the former life.
#[test]
fn an_open_of_a_former_life_is_asked_for_as_it_was() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    let before = lives.one();
    let away = lives.restart(Duration::ZERO);
    let actions = lives.story.reconnect();
    let [Action::SendReconnect { open, level: OplockLevel::Lease, contexts, .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!([open], away[..]);
    let again = contexts.durable.dh2c.unwrap();
    assert_eq!((again.file_id, again.create_guid), (before.file_id, GUID));
    assert_eq!(contexts.lease, Some(granted(RWH, 1)));
    let actions = lives.story.regain(open, Some(granted(RWH, 1)));
    assert_eq!(lives.note(&actions), [Action::Regained { open }, allow(RWH)]);
    assert_ne!(lives.one().file_id, before.file_id, "the answer has another");
}

#[test]
fn names_of_records_go_on_where_the_former_life_ended() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    let away = lives.restart(Duration::ZERO);
    lives.regain(away[0], granted(RWH, 1));
    lives.open(RWH, DurableFlags::empty());
    assert_eq!(lives.store.len(), 2, "{:?}", lives.store);
}

/// A crash between a break and the answer to it: the cache still has to write back.
#[test]
fn a_flush_that_was_not_answered_is_asked_again() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    let actions = lives.story.broken(RWH, RH, 2, ACK);
    assert_eq!(lives.note(&actions), [allow(RH), FLUSH]);
    assert!(lives.one().flush);
    let away = lives.restart(Duration::ZERO);
    let actions = lives.regain(away[0], granted(RH, 2));
    assert_eq!(actions, [Action::Regained { open: away[0] }, FLUSH]);
    assert_eq!(lives.tell(Event::Flushed { file: FILE }), [allow(RH)]);
    assert!(!lives.one().flush);
}

/// The server has less than the record says: the notification came to nobody.
#[test]
fn a_lease_that_was_broken_meanwhile_is_flushed_and_purged() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    let away = lives.restart(Duration::ZERO);
    let actions = lives.regain(away[0], granted(NONE, 3));
    assert_eq!(actions, [Action::Regained { open: away[0] }, FLUSH]);
    assert_eq!(lives.tell(Event::Flushed { file: FILE }), [PURGE]);
    assert_eq!(lives.tell(Event::Purged { file: FILE }), []);
    assert_eq!(lives.store.len(), 0, "without H it is durable no more");
}

#[test]
fn a_purge_that_was_not_answered_is_asked_again() {
    let mut lives = Lives::new();
    lives.open(RH, DurableFlags::PERSISTENT);
    let actions = lives.story.broken(RH, NONE, 2, BreakFlags::empty());
    assert!(lives.note(&actions).contains(&PURGE), "{actions:?}");
    let away = lives.restart(Duration::ZERO);
    let actions = lives.regain(away[0], granted(NONE, 2));
    assert_eq!(actions, [Action::Regained { open: away[0] }, PURGE]);
}

/// What the application has released is needed for what is dirty, and then closes.
#[test]
fn a_kept_handle_is_written_back_and_closed() {
    let mut lives = Lives::new();
    let open = lives.open(RWH, DurableFlags::empty());
    assert_eq!(lives.tell(Event::Release { open }), []);
    assert_eq!(lives.one().need, Need::WriteBack);
    let away = lives.restart(Duration::ZERO);
    let actions = lives.regain(away[0], granted(RWH, 1));
    assert_eq!(actions, [Action::Regained { open: away[0] }, FLUSH]);
    assert_eq!(lives.tell(Event::Flushed { file: FILE }), [PURGE]);
    let actions = lives.tell(Event::Purged { file: FILE });
    assert!(matches!(actions[..], [Action::SendClose { open, .. }] if open == away[0]), "{actions:?}");
    assert_eq!(lives.store.len(), 0);
}

/// A persistent open that nobody closes keeps others out for long.
#[test]
fn a_persistent_open_is_closed_after_all() {
    let mut lives = Lives::new();
    let open = lives.open(R, DurableFlags::PERSISTENT);
    let actions = lives.tell(Event::Release { open });
    assert_eq!(actions, [allow(NONE), PURGE]);
    lives.tell(Event::Purged { file: FILE });
    assert_eq!(lives.one().need, Need::Nobody);
    let away = lives.restart(Duration::ZERO);
    let actions = lives.regain(away[0], granted(R, 1));
    assert!(matches!(actions[..], [Action::SendClose { .. }, ..]), "{actions:?}");
    lives.tell(Event::Closed { open: away[0] });
    assert_eq!(lives.store.len(), 0);
}

#[test]
fn a_promise_whose_time_is_over_is_lost_and_its_record_goes() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    let away = lives.restart(Duration::from_secs(59));
    assert_eq!(lives.story.pass(999), []);
    let actions = lives.story.pass(1);
    let actions = lives.note(&actions);
    assert_eq!(
        lost(&actions),
        Some((LossReason::Expired, Status::CONNECTION_DISCONNECTED, RWH)),
        "{away:?}: {actions:?}"
    );
    assert!(actions.contains(&PURGE), "{actions:?}");
    assert_eq!(lives.store.len(), 0);
}

#[test]
fn what_the_server_refuses_is_lost_and_its_record_goes() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    let away = lives.restart(Duration::ZERO);
    lives.story.reconnect();
    let actions = lives.story.refuse(away[0], Status::OBJECT_NAME_NOT_FOUND);
    assert_eq!(lost(&actions), Some((LossReason::Refused, Status::OBJECT_NAME_NOT_FOUND, RWH)));
    lives.note(&actions);
    assert_eq!(lives.store.len(), 0);
}

/// The crash came between two records of a name: what both hold, of the later epoch, and nothing that is cached.
#[test]
fn two_records_that_differ_leave_what_both_hold() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    lives.open(RWH, DurableFlags::empty());
    let old = lives.store.clone();
    let actions = lives.story.broken(RWH, RH, 2, ACK);
    lives.note(&actions);
    let first = *old.keys().next().unwrap();
    lives.store.insert(first, old[&first]);
    let away = lives.restart(Duration::ZERO);
    lives.story.reconnect();
    assert_eq!(lives.story.client.epoch(FILE), Epoch::new(2));
    assert_eq!(lives.story.client.state(FILE), RH);
    for open in &away {
        let actions = lives.story.regain(*open, Some(granted(RH, 2)));
        lives.note(&actions);
    }
    assert_eq!(lives.tell(Event::Flushed { file: FILE }), [PURGE]);
    assert_eq!(lives.tell(Event::Purged { file: FILE }), [allow(RH)]);
}

#[test]
fn records_come_before_the_first_connection_and_once() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::empty());
    let record = lives.one();
    let elapsed = Duration::ZERO;
    let refuse = |client: &mut Client, record, misuse| {
        let mut actions = Vec::new();
        let event = Event::Restore { record, elapsed };
        assert_eq!(client.handle(Instant::ZERO, event, &mut actions), Err(misuse));
        assert_eq!(actions, []);
    };
    refuse(&mut lives.story.client, record, Misuse::Restore);
    lives.restart(elapsed);
    refuse(&mut lives.story.client, record, Misuse::Restore);
    let mut other = record;
    (other.id, other.key) = (record.id + 1, LeaseKey::new([0x33; 16]));
    refuse(&mut lives.story.client, other, Misuse::LeaseKey);
    (other.file, other.key) = (FileRef::new(9), KEY);
    refuse(&mut lives.story.client, other, Misuse::LeaseKey);
    let mut small = config();
    small.opens = 0;
    refuse(&mut Client::new(small), record, Misuse::Full);
}

/// FSCTL_LMR_REQUEST_RESILIENCY and LOGOFF change what a record says.
#[test]
fn a_record_follows_its_open() {
    let mut lives = Lives::new();
    let open = lives.open(RWH, DurableFlags::empty());
    lives.tell(Event::Resilient { open, timeout: Duration::from_secs(3) });
    assert_eq!((lives.one().promise, lives.one().timeout), (Promise::Resilient(Some(GUID)), 3_000));
    lives.tell(Event::SessionLost { session: SESSION, reason: SessionLoss::ServerRestart });
    assert_eq!(lives.store.len(), 0, "the server has it no more");
}

/// What a CREATE without a promise has written is gone with the client; its lease is recorded with an open that only closes.
#[test]
fn nobody_writes_back_through_an_open_that_only_closes() {
    let mut lives = Lives::new();
    let kept = lives.open(RWH, DurableFlags::PERSISTENT);
    // Another open of the name, without a promise: it keeps the name's W, and has no record.
    let opening = lives.story.opening().want(Want::State(RWH)).access(Access::WRITE_DATA, ShareMode::ALL);
    let writer = lives.story.create(opening).open;
    let reply =
        reply_to(&mut lives.story, OplockLevel::Lease, Some(granted(RWH, 1)), None, DurableFlags::empty());
    lives.tell(Event::Created { open: writer, result: Ok(reply) });
    // H goes: the handle that is kept closes, W stays.
    lives.tell(Event::Release { open: kept });
    let actions = lives.story.broken(RWH, RW, 2, ACK);
    lives.note(&actions);
    lives.tell(Event::Flushed { file: FILE });
    assert_eq!((lives.one().need, lives.one().state), (Need::Nobody, RW));

    let away = lives.restart(Duration::ZERO);
    assert_eq!(reconnects(&lives.story.reconnect()), away);
    let actions = lives.story.broken(RW, R, 3, ACK);
    assert!(!actions.contains(&FLUSH), "there is no open to write through: {actions:?}");
}

/// One open of a name only closes, another has W: what is dirty under that is not dropped for the sake of the first.
#[test]
fn what_is_dirty_is_written_back_though_another_open_only_closes() {
    let mut lives = Lives::new();
    lives.open(RWH, DurableFlags::PERSISTENT);
    lives.open(RWH, DurableFlags::PERSISTENT);
    let first = *lives.store.keys().next().unwrap();
    lives.store.get_mut(&first).unwrap().need = Need::Nobody;
    let away = lives.restart(Duration::ZERO);
    lives.story.reconnect();
    let mut said = Vec::new();
    for open in &away {
        let actions = lives.story.regain(*open, Some(granted(RWH, 1)));
        said.extend(lives.note(&actions));
    }
    assert!(said.contains(&FLUSH) && !said.contains(&PURGE), "{said:?}");
    assert_eq!(lives.tell(Event::Flushed { file: FILE }), [PURGE]);
}
