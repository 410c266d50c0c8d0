//! What a CREATE is granted (MS-SMB2 3.3.5.9, MS-FSA 2.1.5.18).

use leasehold::server::Durability;

use super::*;

impl Model {
    /// The file is open, or could not be opened (MS-SMB2 3.3.5.9 "Oplock Acquisition").
    pub(super) fn opened(&mut self, request: RequestId, result: Result<Opened, Status>) {
        let open = self.open(request).unwrap().clone();
        let file = open.file();
        let opened = match result {
            Ok(opened) => opened,
            Err(status) => {
                if open.phase == Phase::Opening {
                    self.refuse(request, status);
                }
                self.opens.retain(|open| open.request() != request);
                if self.going.contains_key(&file) && self.on(file).next().is_none() {
                    self.say(Said::Unlink { file });
                    self.gone(file, open.directory, open.parent);
                }
                self.judge_again(file);
                return;
            }
        };
        if opened.action != CreateAction::Opened {
            self.directory_changed(open.directory, open.parent);
        }
        if open.phase == Phase::Abandoned {
            let file = self.close(request);
            self.judge_again(file);
            return;
        }
        let (level, lease) = self.grant(&open, opened);
        let promised = open.ask.promised(self);
        let made = match open.ask.create.durability {
            Durability::V2 { timeout, .. } if promised => Some(self.patience(timeout, open.ask.create.share)),
            _ => self.made_durable(&open, opened, level, lease),
        };
        let place = self.next_serial();
        if let Some(open) = self.open_mut(request) {
            open.promised_at = place;
            open.told = !promised;
            open.action = opened.action;
            open.kind = opened.kind;
            open.durable = made;
            open.persistent = promised;
            open.unheard = promised;
            if made.is_some() {
                open.guid = open.ask.guid().map_or(open.guid, |(_, guid)| guid);
            }
            if !open.replayable() {
                open.replay = None;
            }
            open.phase = Phase::Live;
            open.leased = level == OplockLevel::Lease;
            if open.leased && open.ask.key.is_none() {
                open.bare = lease;
            }
            if !open.leased {
                open.ask.key = None;
                open.oplock = level;
                open.ever_oplock = level != OplockLevel::None;
            }
        }
        if promised {
            let origin = Some(open.ask.create.origin);
            self.gate(Gated::Grant, request, origin, &[request]);
        } else {
            self.granted(request);
        }
    }

    pub(super) fn grant(&mut self, open: &Open, opened: Opened) -> (OplockLevel, Option<Context>) {
        let directory = opened.kind == ObjectKind::Directory;
        let (ask, share) = (&open.ask, open.ask.create.share);
        let terms = ask.terms;
        if share.kind != ShareKind::Disk {
            return (OplockLevel::None, None);
        }
        let scale_out = share.flags.contains(ShareFlags::SCALE_OUT) && terms.dialect >= Dialect::Smb300;
        let forced = share.flags.contains(ShareFlags::FORCE_LEVEL_II);
        let Some(context) = ask.context else {
            // MS-FSA 2.1.5.18: no oplock on a directory.
            let mut asked = if directory { LeaseState::NONE } else { rules::as_state(ask.create.level) };
            if scale_out && ask.create.level == OplockLevel::Batch {
                asked &= LeaseState::R;
            }
            if forced {
                asked = asked.without(LeaseState::WRITE);
            }
            let crowded = rules::attributes_only(ask.create.desired, ask.create.disposition)
                && self.on(open.file()).any(|other| other.request() != open.request());
            let handles = self.leases_on(open.file()).any(|lease| lease.state.contains(LeaseState::HANDLE));
            if crowded || handles {
                asked = LeaseState::NONE;
            }
            return (rules::as_level(self.grantable(open, opened, asked, Asked::Now)), None);
        };
        let leasing =
            terms.capabilities.contains(Capabilities::DIRECTORY_LEASING) && terms.dialect >= Dialect::Smb300;
        if directory && !leasing {
            return (OplockLevel::None, None);
        }
        let Some(key) = ask.key else {
            // MS-SMB2 3.3.5.9.8: the key leads to another file that is being deleted; a context without a lease.
            return (OplockLevel::Lease, Some(with_state(context, LeaseState::NONE)));
        };
        let mut asked = context.state().normalized();
        if directory || forced {
            asked = asked.without(LeaseState::WRITE);
        }
        if scale_out {
            asked &= if directory { LeaseState::NONE } else { LeaseState::R };
        }
        let can = self.grantable(open, opened, asked, Asked::Now);
        if self.lease(key).is_none() {
            // MS-SMB2 3.3.5.9.11, as deployed: the counter goes on from the request's.
            let epoch = context.epoch().unwrap_or_default();
            self.leases.push(Lease {
                key,
                file: open.file(),
                state: can,
                second: matches!(context, Context::V2(_)),
                epoch: if can.is_empty() { epoch } else { epoch.next() },
                parent: context.parent(),
                breaking: None,
                serial: 0,
                announced: None,
                late: false,
                restored: false,
            });
        } else {
            // W that is to come back from a restart comes by who waits until it is stored, and nobody else hears of it before.
            let mut sharers = self.opens.iter().filter(|other| other.leased && other.ask.key == Some(key));
            let promised = sharers.clone().any(|other| other.persistent);
            let stored = !promised || (ask.promised(self) && !sharers.any(|other| other.unheard));
            let stored = stored || !asked.contains(LeaseState::WRITE);
            let Some(lease) = self.lease_mut(key) else { return (OplockLevel::Lease, None) };
            // MS-SMB2 3.3.5.9.8: all of what is asked, if it is more, or nothing.
            let more = asked.contains(lease.state) && asked != lease.state;
            if more && can == asked && lease.breaking.is_none() && stored {
                // What is granted anew says that the former is over.
                lease.announced = lease.announced.filter(|_| !lease.late);
                lease.state = can;
                lease.epoch = lease.epoch.next();
            }
        }
        if ask.create.options.contains(CreateOptions::DELETE_ON_CLOSE) {
            self.deleting.insert(key);
        }
        (OplockLevel::Lease, self.lease_context(key))
    }

    /// What a lease is, as an answer.
    pub(super) fn lease_context(&self, key: Key) -> Option<Context> {
        let lease = self.lease(key)?;
        let flags = if lease.breaking.is_some_and(|breaking| breaking.deadline.is_some()) {
            LeaseFlags::BREAK_IN_PROGRESS
        } else {
            LeaseFlags::empty()
        };
        let (key, state) = (key.1, lease.state);
        Some(if lease.second {
            Context::V2(LeaseV2 { key, state, flags, parent: lease.parent, epoch: lease.epoch })
        } else {
            Context::V1(LeaseV1 { key, state, flags })
        })
    }

    /// The part of what is asked that nobody stands in the way of (MS-FSA 2.1.5.18, as deployed).
    pub(super) fn grantable(
        &self,
        open: &Open,
        opened: Opened,
        asked: LeaseState,
        when: Asked,
    ) -> LeaseState {
        let file = open.file();
        let who = Who { lease: open.ask.key, open: Some(open.request()) };
        let others: Vec<&Open> = self.on(file).filter(|other| self.foreign(other, who)).collect();
        let mut state = asked.normalized();
        if self.going.contains_key(&file) {
            state = state.without(LeaseState::HANDLE);
        }
        for other in &others {
            let create = &other.ask.create;
            let keyed = other.ask.context.is_some() && (other.phase != Phase::Live || other.leased);
            // Who asks now has no W beside another who asked for caching; who had it before such a look keeps it.
            let asks = (keyed || other.ever_oplock) && when == Asked::Now;
            if asks || !rules::attributes_only(create.desired, create.disposition) {
                state = state.without(LeaseState::WRITE);
            }
            if other.oplock != OplockLevel::None {
                state = state.without(LeaseState::HANDLE);
            }
            if rules::rank(other.oplock) > rules::rank(OplockLevel::II) {
                state = LeaseState::NONE;
            }
            // What it takes once it is open, nobody gets meanwhile.
            if other.phase != Phase::Live {
                state = rules::of_open(create.desired, create.disposition).leaves(state, who.lease.is_none());
            }
            // Whoever caches writes would write below its locks.
            let locks = self.locks.get(&file).map_or(&[][..], Vec::as_slice);
            if locks.iter().any(|lock| lock.owner == other.request()) {
                state = state.without(LeaseState::WRITE);
            }
        }
        let foreign_write = |lease: &Lease| {
            lease.state.contains(LeaseState::WRITE) && !self.same(Some(lease.key), open.ask.key)
        };
        if self.leases_on(file).any(foreign_write) {
            state = LeaseState::NONE;
        }
        // Nobody writes behind what another reads from, after a restart either.
        let reads = |lease: &Lease| {
            lease.state.contains(LeaseState::READ) && !self.same(Some(lease.key), open.ask.key)
        };
        let reads_two =
            self.on(file).any(|other| other.request() != open.request() && other.oplock == OplockLevel::II);
        if reads_two || self.leases_on(file).any(reads) {
            state = state.without(LeaseState::WRITE);
        }
        for running in self.running.iter().filter(|running| running.file == file) {
            let spared = match running.intent {
                Intent::EntryChanged { parent } => {
                    let key = open.ask.key.map(|key| key.1);
                    parent.is_some() && parent == key
                }
                Intent::Replaced | Intent::AncestorMoved => false,
                _ => self.same(running.who.lease, open.ask.key),
            };
            if !spared {
                state = self.row(running.intent).leaves(state, who.lease.is_none());
            }
        }
        // MS-FSA 2.1.5.18: behind a byte-range lock nobody caches but whoever is alone.
        let overwritten = matches!(opened.action, CreateAction::Overwritten | CreateAction::Superseded);
        let locked = self
            .locks
            .get(&file)
            .is_some_and(|locks| locks.iter().any(|lock| lock.offset < opened.allocation));
        if locked && !overwritten && !state.contains(LeaseState::WRITE) {
            state = LeaseState::NONE;
        }
        state
    }

    pub(super) fn row(&self, intent: Intent) -> Row {
        let profile = &self.config.profile;
        rules::of_intent(intent, profile.link_breaks_handles, profile.security_breaks_handles)
    }
}

/// Whether something is asked for, or was had in a former life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Now,
    Before,
}

/// A context with another state, as an answer.
pub(super) fn with_state(context: Context, state: LeaseState) -> Context {
    match context {
        Context::V1(lease) => Context::V1(LeaseV1 { state, flags: LeaseFlags::empty(), ..lease }),
        Context::V2(lease) => Context::V2(LeaseV2 { state, flags: LeaseFlags::empty(), ..lease }),
    }
}
