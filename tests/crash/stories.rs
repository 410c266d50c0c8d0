//! Crashes that once went wrong, step by step.

use leasehold::server::{Durability, Event, Lock, LockElement, LockFlags, ObjectKind, Opened, Reconnect};
use leasehold::wire::DurableFlags;
use leasehold::{
    Access, Actor, CreateAction, CreateGuid, CreateOptions, Disposition, Epoch, FileKey, Intent, LeaseKey,
    LeaseState, OplockLevel, RequestId, ShareMode,
};

use crate::book::{
    AVAILABLE, Answer, Asked, Book, CLIENTS, ELSEWHERE, Settings, Verdict, Wish, lease_of, origin, user_of,
};
use crate::cut::Cuts;
use crate::life::Life;
use crate::rng::Rng;
use crate::store::Image;

const FILE: FileKey = FileKey::new(1);
const DIRECTORY: FileKey = FileKey::new(3);

struct Story {
    life: Life,
}

/// Tells a story again and again, since what was stored is restored in any order.
fn tell(story: impl Fn(&mut Story) -> Verdict) -> Verdict {
    (1..20).try_for_each(|seed| story(&mut Story::new(seed)?))
}

impl Story {
    /// Three clients are connected, and whatever happens, it is followed by a crash.
    fn new(seed: u64) -> Verdict<Self> {
        let settings = Settings {
            gate_close: true,
            ca_timeout: 0,
            grace: 60_000,
            restored_min: 60_000,
            plain_client: CLIENTS,
        };
        let loud = std::env::var_os("CRASH_LOUD").is_some();
        let mut life = Life::start(Book::new(settings), Image::empty(), &mut Rng::new(1), None, loud)?;
        life.cover_all()?;
        life.cuts = Some(Cuts::everywhere(seed, 64));
        for client in 0..CLIENTS {
            life.connect(client)?;
        }
        Ok(Self { life })
    }

    fn conn(&self, client: usize) -> u64 {
        self.life.book.conns[client].expect("it is connected")
    }

    fn wish(&mut self, client: usize) -> Wish {
        let guid = u8::try_from(self.life.book.number()).unwrap();
        let create_guid = CreateGuid::from_wire([guid; 16]);
        Wish {
            client,
            tree: AVAILABLE,
            file: FILE,
            kind: ObjectKind::File,
            directory: Some(DIRECTORY),
            access: Access::READ_DATA | Access::WRITE_DATA | Access::DELETE,
            sharing: ShareMode::ALL,
            disposition: Disposition::OpenIf,
            options: CreateOptions::empty(),
            level: OplockLevel::None,
            lease: None,
            durability: Durability::V2 { timeout: 0, create_guid, persistent: true },
            instance: None,
            channel_sequence: 0,
        }
    }

    fn leased(&mut self, client: usize, state: LeaseState) -> Wish {
        let key = LeaseKey::new([u8::try_from(client + 1).unwrap(); 16]);
        Wish { lease: Some((key, state)), level: OplockLevel::Lease, ..self.wish(client) }
    }

    /// A CREATE, and the file is opened.
    fn ask(&mut self, wish: &Wish, conn: u64) -> Verdict<RequestId> {
        let request = self.life.ask(conn, Asked::Create { wish: wish.clone() });
        let create = wish.create(request, conn, &self.life.book.settings, Epoch::ZERO);
        self.life.tell(Event::Create(create))?;
        if let Some(file_id) = self.life.book.opening.pop() {
            let result = Ok(Opened::new(CreateAction::Opened, wish.kind, u64::MAX));
            self.life.tell(Event::Opened { file_id, result })?;
        }
        Ok(request)
    }

    /// A CREATE that is granted once all is stored.
    fn create(&mut self, wish: Wish) -> Verdict<u64> {
        let conn = self.conn(wish.client);
        let request = self.ask(&wish, conn)?;
        self.life.cover_all()?;
        match self.life.book.answers.remove(&request) {
            Some(Answer::Granted(grant)) => Ok(grant.file_id.persistent),
            other => Err(format!("the CREATE: {other:?}")),
        }
    }

    fn lock(&mut self, persistent: u64, offset: u64, flags: LockFlags) -> Verdict {
        let handle = self.life.book.handles.get_mut(&persistent).ok_or("no handle")?;
        let (least, most) = handle.locks.entry(offset).or_default();
        if flags.contains(LockFlags::UNLOCK) {
            *least -= 1;
        } else {
            *most += 1;
        }
        let ((conn, tree), file_id) = (handle.seat.ok_or("not connected")?, handle.file_id);
        let elements = vec![LockElement { offset, len: 1, flags }];
        let request =
            self.life.ask(conn, Asked::Lock { persistent, elements: elements.clone(), sequence: None });
        self.life.tell(Event::Lock(Lock::new(request, origin(conn, tree), file_id, u64::MAX, elements)))
    }

    fn operate(&mut self, persistent: u64, intent: Intent) -> Verdict {
        let handle = self.life.book.handles[&persistent].clone();
        let (conn, tree) = handle.seat.ok_or("not connected")?;
        if let Intent::Rename { to } = intent {
            self.life.book.handles.values_mut().for_each(|handle| handle.places.push(to));
        }
        let request = self.life.ask(conn, Asked::Operate { persistent, intent });
        let (origin, actor) = (Some(origin(conn, tree)), Actor::Open(handle.file_id));
        self.life.tell(Event::Operate { request, origin, file: FILE, actor, intent })?;
        self.life.cover_all()
    }

    /// The first change that is not covered is stored, and no more.
    fn cover_one(&mut self) -> Verdict {
        let first = *self.life.journal.open().first().ok_or("nothing is open")?;
        self.life.cover(first)
    }

    fn reconnect(&mut self, persistent: u64) -> Verdict {
        let handle = self.life.book.handles[&persistent].clone();
        let client = handle.wish.client;
        let conn = match self.life.book.conns[client] {
            Some(conn) => conn,
            None => self.life.connect(client)?,
        };
        let flags = DurableFlags::PERSISTENT;
        let request = self.life.ask(conn, Asked::Reconnect { persistent, flags });
        let share = self.life.book.settings.share(AVAILABLE);
        let mut reconnect =
            Reconnect::new(request, origin(conn, AVAILABLE), user_of(client), persistent).flags(flags, share);
        reconnect.create_guid = handle.wish.guid();
        if let Some((key, _)) = handle.wish.lease {
            let told = self.life.book.told[&(client, key)];
            reconnect = reconnect.lease(lease_of(key, told.state, told.epoch), Some(handle.wish.file));
        }
        self.life.tell(Event::Reconnect(reconnect))?;
        match self.life.book.answers.remove(&request) {
            Some(Answer::Granted(_)) => Ok(()),
            other => Err(format!("the reconnect: {other:?}")),
        }
    }
}

#[test]
fn a_file_goes_though_the_server_went_when_its_doomed_handle_was_closed() -> Verdict {
    tell(|story| {
        let wish = Wish { options: CreateOptions::DELETE_ON_CLOSE, ..story.wish(0) };
        let doomed = story.create(wish)?;
        let wish = story.wish(1);
        story.create(wish)?;
        story.life.close(doomed)?;
        story.cover_one()
    })
}

#[test]
fn a_rename_that_runs_is_on_record_when_its_handle_comes_back() -> Verdict {
    tell(|story| {
        let wish = story.wish(0);
        let handle = story.create(wish)?;
        story.operate(handle, Intent::Rename { to: Some(ELSEWHERE) })?;
        let conn = story.conn(0);
        story.life.disconnect(conn)?;
        story.reconnect(handle)?;
        story.life.cover_all()
    })
}

#[test]
fn a_disposition_that_runs_is_on_record_when_its_handle_comes_back() -> Verdict {
    tell(|story| {
        let wish = story.wish(0);
        let handle = story.create(wish)?;
        story.operate(handle, Intent::Delete { pending: true })?;
        let conn = story.conn(0);
        story.life.disconnect(conn)?;
        story.reconnect(handle)?;
        story.life.cover_all()?;
        let whole = story.life.journal.whole();
        if whole.records[&handle].goes { Ok(()) } else { Err("it was to be deleted".into()) }
    })
}

/// A lock that was answered, and what is to end it and cannot be stored: another lock is refused as before.
fn outlives(end: impl Fn(&mut Story, u64) -> Verdict) -> Verdict {
    tell(|story| {
        let wish = story.wish(0);
        let first = story.create(wish)?;
        let wish = story.wish(1);
        let second = story.create(wish)?;
        let now = LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY;
        story.lock(first, 0, now)?;
        story.life.cover_all()?;
        end(story, first)?;
        while let Some(place) = story.life.journal.open().first() {
            story.life.fail(*place)?;
        }
        story.lock(second, 0, now)?;
        story.life.cover_all()
    })
}

#[test]
fn a_lock_that_was_answered_outlives_an_unlock_that_was_not_stored() -> Verdict {
    outlives(|story, first| story.lock(first, 0, LockFlags::UNLOCK))
}

#[test]
fn every_open_of_a_lease_is_on_record_with_what_one_of_them_came_back_with() -> Verdict {
    tell(|story| {
        let wish = story.leased(0, LeaseState::R);
        let first = story.create(wish)?;
        let wish = story.leased(0, LeaseState::R);
        let second = story.create(wish)?;
        story.lock(second, 0, LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY)?;
        story.life.cover_all()?;
        let conn = story.conn(0);
        story.life.disconnect(conn)?;
        // Somebody is refused meanwhile.
        let wish = story.wish(1);
        let refused = story.create(wish);
        assert!(refused.is_err(), "its holder has no handle caching: {refused:?}");
        story.reconnect(second)?;
        story.reconnect(first)
    })
}

#[test]
fn a_lease_that_nobody_has_heard_of_comes_down_silently() -> Verdict {
    tell(|story| {
        let (wish, conn) = (story.leased(0, LeaseState::RWH), story.conn(0));
        story.ask(&wish, conn)?;
        story.life.disconnect(conn)?;
        let conn = story.life.connect(0)?;
        let wish = story.leased(0, LeaseState::RWH);
        story.ask(&wish, conn)?;
        let (wish, conn) = (story.wish(1), story.conn(1));
        story.ask(&wish, conn).map(|_| ())
    })
}

#[test]
fn a_lock_that_was_answered_outlives_a_close_that_was_not_stored() -> Verdict {
    outlives(|story, first| story.life.close(first).map(|_| ()))
}

#[test]
fn a_tree_disconnect_waits_for_what_can_be_stored() -> Verdict {
    tell(|story| {
        for _ in 0..2 {
            let wish = story.wish(0);
            story.create(wish)?;
        }
        let conn = story.conn(0);
        story.life.tree_disconnect(conn, AVAILABLE)?;
        let last = *story.life.journal.open().last().ok_or("nothing is open")?;
        story.life.fail(last)?;
        story.life.cover_all()
    })
}
