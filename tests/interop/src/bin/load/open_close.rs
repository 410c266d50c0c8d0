//! Each connection opens and closes a file of its own.

use leasehold::{ClientGuid, LeaseState};

use super::peer::{self, Durable, Failure, File, Peer, Target};
use super::ready::Sockets;
use super::{Report, Watch};

struct Lane {
    peer: Peer,
    file: File,
    step: Step,
}

/// Which answer is due.
enum Step {
    Opening,
    Closing,
}

pub(crate) fn run(target: &Target, connections: usize, seconds: f64) -> Result<Report, Failure> {
    let run = peer::run()?;
    let mut lanes = Vec::new();
    for index in 0..connections {
        let peer = target.connect(ClientGuid::from_wire(peer::random()?), None)?;
        lanes.push(Lane { peer, file: File::new(run, index)?, step: Step::Opening });
    }
    let sockets = Sockets::of(lanes.iter().map(|lane| &lane.peer.client))?;
    let mut poll = sockets.poll();

    // Files are made and caches filled before the clock starts.
    for lane in &mut lanes {
        for _ in 0..WARM_UP {
            lane.open()?;
            while lane.step()?.is_none() {}
        }
        lane.open()?;
    }
    let watch = Watch::start();
    let mut count = 0;
    let mut ready = Vec::new();
    while watch.seconds() < seconds {
        poll.wait(&mut ready)?;
        for index in &ready {
            let Some(lane) = lanes.get_mut(*index) else { continue };
            loop {
                if let Some(Closed) = lane.step()? {
                    count += 1;
                    lane.open()?;
                }
                if !lane.peer.client.has_message() {
                    break;
                }
            }
        }
    }
    Ok(watch.stop("operations", count))
}

struct Closed;

impl Lane {
    fn open(&mut self) -> Result<(), Failure> {
        self.peer.open(&self.file, Durable::No)?;
        self.step = Step::Opening;
        Ok(())
    }

    /// Takes the answer that is due.
    fn step(&mut self) -> Result<Option<Closed>, Failure> {
        let answer = self.peer.client.receive()?;
        match self.step {
            Step::Opening => {
                let granted = self.file.granted(&answer, LeaseState::RWH)?;
                self.peer.close(granted.file_id)?;
                self.step = Step::Closing;
                Ok(None)
            }
            Step::Closing => peer::done(&answer).map(|()| Some(Closed)),
        }
    }
}

const WARM_UP: usize = 10;
