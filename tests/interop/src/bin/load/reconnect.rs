//! A connection is cut, and its durable handles are asked for again.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use leasehold::wire::{DurableFlags, DurableHandleReconnectV2, DurableHandleRequestV2};
use leasehold::{ClientGuid, CreateGuid, FileId, LeaseState};

use super::peer::{self, Durable, Failure, File, Peer, Target, wrong};
use super::{Report, Watch};

struct Handle {
    file: File,
    create_guid: CreateGuid,
    file_id: FileId,
}

pub(crate) fn run(target: &Target, handles: usize, pause: Duration, seconds: f64) -> Result<Report, Failure> {
    let run = peer::run()?;
    let mut peer = target.connect(ClientGuid::from_wire(peer::random()?), None)?;
    let mut opens = Vec::new();
    for index in 0..handles {
        let create_guid = CreateGuid::from_wire(peer::random()?);
        opens.push(Handle { file: File::new(run, index)?, create_guid, file_id: FileId::PREVIOUS });
    }
    open_all(&mut peer, &mut opens, |handle| {
        Durable::Request(DurableHandleRequestV2 {
            timeout: TIMEOUT,
            flags: DurableFlags::empty(),
            create_guid: handle.create_guid,
        })
    })?;

    let (mut count, mut asking, mut busy) = (0, 0.0, 0.0);
    let mut rounds = Vec::new();
    let watch = Watch::start();
    while rounds.is_empty() || watch.seconds() < seconds {
        let (guid, session) = (peer.guid, peer.session);
        peer.client.cut();
        thread::sleep(pause);
        let round = Watch::start();
        peer = target.connect(guid, Some(session))?;
        let reopening = Watch::start();
        open_all(&mut peer, &mut opens, |handle| {
            Durable::Reconnect(DurableHandleReconnectV2 {
                file_id: handle.file_id,
                create_guid: handle.create_guid,
                flags: DurableFlags::empty(),
            })
        })?;
        let report = reopening.stop("handles", 0);
        asking += report.seconds;
        busy += report.busy * report.seconds;
        count += opens.len() as u64;
        rounds.push(round.seconds());
    }
    close_all(&mut peer, &opens)?;
    let n = rounds.len();
    rounds.sort_by(f64::total_cmp);
    let total = rounds.get(n / 2).copied().unwrap_or_default();
    let remark = format!(" rounds={n} total={total:.3}s");
    Ok(Report { unit: "handles", count, seconds: asking, busy: busy / asking, remark })
}

/// CREATE of all, with as many in flight as there are credits. Each must be granted RWH and be durable.
fn open_all(
    peer: &mut Peer,
    opens: &mut [Handle],
    durable: impl Fn(&Handle) -> Durable,
) -> Result<(), Failure> {
    let mut in_flight = BTreeMap::new();
    let mut next = 0;
    while next < opens.len() || !in_flight.is_empty() {
        while let Some(handle) = opens.get(next)
            && peer.client.credits() > 0
        {
            in_flight.insert(peer.open(&handle.file, durable(handle))?, next);
            next += 1;
        }
        let answer = peer.client.receive()?;
        let index = in_flight.remove(&answer.header.message_id);
        let Some(handle) = index.and_then(|index| opens.get_mut(index)) else {
            return wrong("an answer to what was not asked");
        };
        let granted = handle.file.granted(&answer, LeaseState::RWH)?;
        match durable(handle) {
            Durable::Request(_) if !granted.durable => return wrong("the handle is not durable"),
            Durable::Reconnect(_) if granted.file_id.persistent != handle.file_id.persistent => {
                return wrong("not the handle that was asked for");
            }
            Durable::No | Durable::Request(_) | Durable::Reconnect(_) => {}
        }
        handle.file_id = granted.file_id;
    }
    Ok(())
}

/// Leaves no handles behind for the runs that follow.
fn close_all(peer: &mut Peer, opens: &[Handle]) -> Result<(), Failure> {
    for handle in opens {
        while peer.client.credits() == 0 {
            peer::done(&peer.client.receive()?)?;
        }
        peer.close(handle.file_id)?;
    }
    while peer.client.in_flight() > 0 {
        peer::done(&peer.client.receive()?)?;
    }
    Ok(())
}

/// How long handles shall survive, in milliseconds.
const TIMEOUT: u32 = 120_000;
