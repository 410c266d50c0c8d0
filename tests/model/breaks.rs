//! Breaks, their acknowledgments and their ends (MS-SMB2 3.3.4.6, 3.3.4.7, 3.3.5.22, 3.3.6).

use super::*;

impl Model {
    pub(super) fn breach(&mut self, breach: Breach) {
        match breach {
            Breach::Lease(key, takes) => self.take(key, takes),
            Breach::Oplock(open, to) => self.lower(open, to),
        }
    }

    /// MS-SMB2 3.3.4.7.
    pub(super) fn take(&mut self, key: Key, takes: LeaseState) {
        let breach = Breach::Lease(key, takes);
        if self.purges(breach) {
            if self.unheard_breach(breach) {
                // What was told for an open that is closed by now is over.
                let lease = self.lease_mut(key).unwrap();
                let told = lease.breaking.take().map_or(lease.state, |breaking| breaking.told);
                lease.state = (told & lease.state.without(takes)).normalized();
                return;
            }
            self.purge_lease(key);
        }
        if self.deserted(key) && self.keeps(key) {
            let lease = self.lease(key).unwrap();
            let left = lease.state.without(takes);
            if left != lease.state {
                self.keep_lease(key, left);
            }
            return;
        }
        let Some(lease) = self.lease_mut(key) else { return };
        let left = lease.state.without(takes);
        if let Some(breaking) = &mut lease.breaking {
            // The holder is told when it has acknowledged what it was told.
            breaking.needed = (breaking.needed & left).normalized();
        } else if left != lease.state {
            self.tell_lease(key, left, left, true);
        }
    }

    /// A notification: the first of a break, or one that follows an acknowledgment.
    pub(super) fn tell_lease(&mut self, key: Key, told: LeaseState, needed: LeaseState, new_epoch: bool) {
        if self.deserted(key) {
            // As the machine has it: what follows an acknowledgment counts, also if nobody is told. No text says.
            let lease = self.lease_mut(key).unwrap();
            if new_epoch {
                lease.epoch = lease.epoch.next();
            }
            if self.keeps(key) {
                self.keep_lease(key, told);
            }
            return self.purge_lease(key);
        }
        let serial = self.next_serial();
        let channel = self.lease_channel(key.0, 0);
        if channel.is_none() && self.keeps(key) {
            // As below: it counts.
            if new_epoch {
                let lease = self.lease_mut(key).unwrap();
                lease.epoch = lease.epoch.next();
            }
            self.keep_lease(key, told);
            // Choice: its time runs as long as an open has a session.
            let deadline = self.now.saturating_add(self.lease_patience(key));
            if let Some(breaking) = &mut self.lease_mut(key).unwrap().breaking {
                breaking.deadline = Some(deadline);
            }
            return;
        }
        let Some(lease) = self.lease_mut(key) else { return };
        lease.serial = serial;
        // As the machine has it: it counts also if no connection is left to carry it, as long as an open has a session. No text says.
        if new_epoch {
            lease.epoch = lease.epoch.next();
        }
        let ack = lease.state.intersects(LeaseState::WRITE | LeaseState::HANDLE);
        let body = LeaseBreak {
            epoch: if lease.second { lease.epoch } else { Epoch::ZERO },
            flags: if ack { BreakFlags::ACK_REQUIRED } else { BreakFlags::empty() },
            key: key.1,
            current: lease.state,
            new: told,
        };
        lease.breaking = None;
        if !ack {
            lease.state = told;
        }
        let Some(sent) = channel else {
            self.lease_mut(key).unwrap().state = LeaseState::NONE;
            return;
        };
        self.say(Said::LeaseBreak { conn: sent.1, body });
        let lease = self.lease_mut(key).unwrap();
        (lease.announced, lease.late) = ((!ack).then_some((body, sent)), false);
        if ack {
            let deadline = Some(self.now.saturating_add(self.lease_patience(key)));
            self.lease_mut(key).unwrap().breaking = Some(Breaking { told, needed, deadline, serial, sent });
        }
    }

    /// The connection of a client that carries a notification: the first that came later than this one.
    pub(super) fn lease_channel(&self, client: ClientGuid, after: u64) -> Option<(u64, ConnId)> {
        let all = self.conns.iter().filter(|(_, conn)| conn.client == client);
        self.channel(all.map(|(id, conn)| (conn.arrived, *id)), after)
    }

    pub(super) fn oplock_channel(&self, session: SessionId, after: u64) -> Option<(u64, ConnId)> {
        self.channel(self.sessions.get(&session)?.iter().copied(), after)
    }

    pub(super) fn channel(
        &self,
        all: impl Iterator<Item = (u64, ConnId)>,
        after: u64,
    ) -> Option<(u64, ConnId)> {
        match self.config.profile.channel_choice {
            ChannelChoice::FirstThenOthers => {
                all.filter(|(came, _)| *came > after).min_by_key(|(came, _)| *came)
            }
            ChannelChoice::LatestOnly if after == 0 => all.max_by_key(|(came, _)| *came),
            ChannelChoice::LatestOnly => None,
        }
    }

    /// MS-SMB2 3.3.4.6.
    pub(super) fn lower(&mut self, request: RequestId, to: OplockLevel) {
        let breach = Breach::Oplock(request, to);
        if self.purges(breach) {
            if self.unheard_breach(breach) {
                let open = self.open_mut(request).unwrap();
                let told = open.breaking.take().map_or(open.oplock, |breaking| breaking.told);
                open.oplock = rules::lower(told, to);
                return;
            }
            return self.purge_oplock(request);
        }
        if let Some(open) = self.open(request).filter(|open| open.orphan.is_some() && self.keeps_oplock(open))
        {
            if rules::rank(to) < rules::rank(open.oplock) {
                self.keep_oplock(request, to);
            }
            return;
        }
        let Some(open) = self.open_mut(request) else { return };
        if let Some(breaking) = &mut open.breaking {
            breaking.needed = rules::lower(breaking.needed, to);
        } else if rules::rank(to) < rules::rank(open.oplock) {
            self.tell_oplock(request, to);
        }
    }

    pub(super) fn tell_oplock(&mut self, request: RequestId, to: OplockLevel) {
        if self.open(request).is_some_and(|open| open.orphan.is_some()) {
            return self.purge_oplock(request);
        }
        let serial = self.next_serial();
        let deadline = Some(self.now.saturating_add(self.oplock_patience(request)));
        let open = self.open_mut(request).unwrap();
        open.serial = serial;
        let session = open.session();
        let ack = open.oplock != OplockLevel::II;
        if ack && open.persistent && self.oplock_channel(session, 0).is_none() {
            return self.keep_oplock(request, to);
        }
        let open = self.open_mut(request).unwrap();
        if !ack {
            open.oplock = to;
        }
        let sent = self.oplock_channel(session, 0);
        let open = self.open_mut(request).unwrap();
        let Some(sent) = sent else {
            open.oplock = OplockLevel::None;
            return;
        };
        open.announced = (!ack).then_some(sent);
        if ack {
            open.breaking = Some(Breaking { told: to, needed: to, deadline, serial, sent });
        }
        self.say(Said::OplockBreak { conn: sent.1, session, open: request, level: to });
    }

    /// MS-SMB2 3.3.5.22.2.
    pub(super) fn lease_ack(&mut self, request: RequestId, conn: ConnId, ack: LeaseAck) {
        let key = (self.conns[&conn].client, ack.key);
        let profile = self.config.profile;
        let heard = |open: &&Open| !open.unheard || open.orphan.is_some();
        let members: Vec<_> = self.members(key).filter(heard).map(Open::request).collect();
        members.into_iter().for_each(|open| self.used(open));
        let Some(lease) = self.lease_mut(key) else {
            let result = Err(Status::OBJECT_NAME_NOT_FOUND);
            return self.say(Said::LeaseAck { request, result });
        };
        let Some(breaking) = lease.breaking else {
            return self.say(Said::LeaseAck { request, result: Err(Status::UNSUCCESSFUL) });
        };
        // Choice: one that is kept may be acknowledged as well; the client may have been told before it went.
        // Bits without a meaning are dropped.
        let acked = ack.state & LeaseState::RWH;
        if !breaking.told.contains(acked) {
            return self.say(Said::LeaseAck { request, result: Err(Status::REQUEST_NOT_ACCEPTED) });
        }
        let state = acked.normalized();
        let file = lease.file;
        lease.state = state;
        lease.breaking = None;
        self.say(Said::LeaseAck { request, result: Ok(LeaseAck { key: key.1, state }) });
        if !breaking.needed.contains(state) {
            let through = state.intersects(LeaseState::WRITE | LeaseState::HANDLE)
                && profile.follow_up == FollowUp::ThroughRead;
            let told = if through { breaking.needed | LeaseState::R } else { breaking.needed };
            self.tell_lease(key, told, breaking.needed, profile.follow_up_epoch == FollowUpEpoch::Next);
        }
        self.judge_again(file);
    }

    /// MS-SMB2 3.3.5.22.1.
    pub(super) fn oplock_ack(
        &mut self,
        request: RequestId,
        session: SessionId,
        file_id: FileId,
        level: OplockLevel,
    ) {
        let profile = self.config.profile;
        let answer = |model: &mut Self, result| model.say(Said::OplockAck { request, result });
        let Some(open) = self.usable(file_id, Some(session)) else {
            return answer(self, Err(Status::FILE_CLOSED));
        };
        let named = open.request();
        self.used(named);
        let open = self.open(named).unwrap();
        if open.leased {
            return answer(self, Err(Status::INVALID_OPLOCK_PROTOCOL));
        }
        let Some(breaking) = open.breaking else {
            let status = match profile.unexpected_ack {
                UnexpectedAck::InvalidOplockProtocol => Status::INVALID_OPLOCK_PROTOCOL,
                UnexpectedAck::InvalidDeviceState => Status::INVALID_DEVICE_STATE,
            };
            return answer(self, Err(status));
        };
        let (held, file, open) = (open.oplock, open.file(), open.request());
        let (left, result) = match level {
            OplockLevel::Lease => (OplockLevel::None, Err(Status::INVALID_PARAMETER)),
            OplockLevel::II | OplockLevel::None => {
                let left = rules::lower(level, breaking.told);
                (left, Ok(left))
            }
            // From BATCH only.
            OplockLevel::Exclusive if held == OplockLevel::Batch => {
                (OplockLevel::None, Ok(OplockLevel::None))
            }
            _ => (OplockLevel::None, Err(Status::INVALID_OPLOCK_PROTOCOL)),
        };
        let overtaken = rules::rank(breaking.needed) < rules::rank(left);
        let state = self.open_mut(open).unwrap();
        state.breaking = None;
        state.oplock = left;
        if overtaken && profile.overtaken_ack == OvertakenAck::Refuse {
            state.oplock = OplockLevel::None;
            answer(self, Err(Status::REQUEST_NOT_ACCEPTED));
        } else {
            answer(self, result);
            if overtaken {
                self.tell_oplock(open, breaking.needed);
            }
        }
        self.judge_again(file);
    }

    /// MS-SMB2 3.3.4.6, 3.3.4.7: the next connection, or nothing is left.
    pub(super) fn undelivered(&mut self, id: BreakId, conn: ConnId) {
        let known = self.names.breaks.iter().find(|(known, _, _)| *known == id).copied();
        let Some((_, holder, serial)) = known else { return };
        let now = self.now;
        match holder {
            // It goes out when its client is back.
            Holder::Lease(key) if self.deserted(key) && self.members(key).any(|open| open.persistent) => {}
            Holder::Oplock(open)
                if self.open(open).is_some_and(|open| open.persistent && open.orphan.is_some()) => {}
            Holder::Lease(key) => {
                if let Some(lease) = self.lease(key).filter(|lease| lease.serial == serial) {
                    if let Some((body, sent)) = lease.announced.filter(|(_, sent)| sent.1 == conn) {
                        if let Some(next) = self.lease_channel(key.0, sent.0) {
                            self.lease_mut(key).unwrap().announced = Some((body, next));
                            self.say(Said::LeaseBreak { conn: next.1, body });
                        }
                        return;
                    }
                }
                let timeout = self.lease_patience(key);
                let Some((breaking, file)) =
                    self.lease(key).and_then(|lease| Some((lease.breaking?, lease.file)))
                else {
                    return;
                };
                if breaking.serial != serial || breaking.sent.1 != conn {
                    return;
                }
                let next = self.lease_channel(key.0, breaking.sent.0);
                let keeps = self.keeps(key);
                let lease = self.lease_mut(key).unwrap();
                // MS-SMB2 3.3.4.7: it is kept. Choice: its time begins anew as long as the connection is not known to be lost.
                if next.is_none() && keeps {
                    let deadline = Some(now.saturating_add(timeout));
                    lease.breaking = Some(Breaking { deadline, ..breaking });
                    return;
                }
                let Some(sent) = next else {
                    lease.state = LeaseState::NONE;
                    lease.breaking = None;
                    return self.judge_again(file);
                };
                let body = LeaseBreak {
                    epoch: if lease.second { lease.epoch } else { Epoch::ZERO },
                    flags: BreakFlags::ACK_REQUIRED,
                    key: key.1,
                    current: lease.state,
                    new: breaking.told,
                };
                lease.breaking =
                    Some(Breaking { sent, deadline: Some(now.saturating_add(timeout)), ..breaking });
                self.say(Said::LeaseBreak { conn: sent.1, body });
            }
            Holder::Orphan(_) => {}
            Holder::Oplock(request) => {
                if let Some(open) = self.open(request).filter(|open| open.serial == serial) {
                    if let Some(sent) = open.announced.filter(|sent| sent.1 == conn) {
                        let session = open.session();
                        if let Some(next) = self.oplock_channel(session, sent.0) {
                            self.open_mut(request).unwrap().announced = Some(next);
                            let level = OplockLevel::None;
                            self.say(Said::OplockBreak { conn: next.1, session, open: request, level });
                        }
                        return;
                    }
                }
                let timeout = self.oplock_patience(request);
                let Some((breaking, file, session)) =
                    self.open(request).and_then(|open| Some((open.breaking?, open.file(), open.session())))
                else {
                    return;
                };
                if breaking.serial != serial || breaking.sent.1 != conn {
                    return;
                }
                let next = self.oplock_channel(session, breaking.sent.0);
                let open = self.open_mut(request).unwrap();
                if next.is_none() && open.persistent {
                    let deadline = Some(now.saturating_add(timeout));
                    open.breaking = Some(Breaking { deadline, ..breaking });
                    return;
                }
                let Some(sent) = next else {
                    open.oplock = OplockLevel::None;
                    open.breaking = None;
                    return self.judge_again(file);
                };
                open.breaking =
                    Some(Breaking { sent, deadline: Some(now.saturating_add(timeout)), ..breaking });
                let level = breaking.told;
                self.say(Said::OplockBreak { conn: sent.1, session, open: request, level });
            }
        }
    }

    /// MS-SMB2 3.3.6.1, 3.3.6.5: nothing is left of what was not acknowledged in time.
    pub(super) fn expire(&mut self, now: Instant) {
        self.now = self.now.max(now);
        loop {
            let leases = self.leases.iter().filter_map(|lease| {
                lease.breaking.and_then(|breaking| {
                    Some((breaking.deadline?, breaking.serial, Holder::Lease(lease.key)))
                })
            });
            let oplocks = self.opens.iter().filter_map(|open| {
                open.breaking.and_then(|breaking| {
                    Some((breaking.deadline?, breaking.serial, Holder::Oplock(open.request())))
                })
            });
            let orphans = self.opens.iter().filter_map(|open| {
                open.orphan.map(|(deadline, serial)| (deadline, serial, Holder::Orphan(open.request())))
            });
            let first =
                leases.chain(oplocks).chain(orphans).min_by_key(|(deadline, serial, _)| (*deadline, *serial));
            let Some((deadline, _, holder)) = first else { return };
            if deadline > self.now {
                return;
            }
            let file = match holder {
                Holder::Lease(key) => {
                    let lease = self.lease_mut(key).unwrap();
                    // Who has not heard of it may hear of it yet: that nothing is left.
                    if let Some(breaking) = lease.breaking.take() {
                        let epoch = if lease.second { lease.epoch } else { Epoch::ZERO };
                        let flags = BreakFlags::empty();
                        let (current, new) = (LeaseState::R, LeaseState::NONE);
                        let body = LeaseBreak { epoch, flags, key: key.1, current, new };
                        (lease.announced, lease.late) = (Some((body, breaking.sent)), true);
                    }
                    lease.state = LeaseState::NONE;
                    let file = lease.file;
                    let promised: Vec<_> =
                        self.members(key).filter(|open| open.stored()).map(Open::request).collect();
                    self.bar_others(file, &promised);
                    file
                }
                Holder::Oplock(request) => {
                    let open = self.open_mut(request).unwrap();
                    open.announced = open.breaking.take().map(|breaking| breaking.sent);
                    open.oplock = OplockLevel::None;
                    let (file, promised) = (open.file(), open.stored());
                    if promised {
                        self.bar_others(file, &[request]);
                    }
                    file
                }
                Holder::Orphan(request) => {
                    let promised = self.open(request).unwrap().persistent;
                    let file = self.close(request);
                    if promised {
                        self.bar_others(file, &[request]);
                    }
                    file
                }
            };
            self.judge_again(file);
            self.settle();
        }
    }
}
