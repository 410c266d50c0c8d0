//! Two clients take a lease from each other, again and again.

use leasehold::wire::{BreakFlags, LeaseAck, Notification};
use leasehold::{ClientGuid, FileId, LeaseState};
use leasehold_interop::smb::client::Message;
use leasehold_interop::smb::request::{Command, Request};

use super::peer::{self, Durable, Failure, File, Peer, Target, wrong};
use super::ready::Sockets;
use super::{Report, Watch};

/// Two clients and a file.
struct Pair {
    sides: [Side; 2],
    /// Who holds RWH, or did when this round began: the other one is the comer.
    holder: usize,
    step: Step,
}

struct Side {
    peer: Peer,
    file: File,
    handle: FileId,
}

/// What is due.
enum Step {
    /// The comer's CREATE is in flight: the holder is to be told, to acknowledge, and to be answered.
    Coming { told: bool, answered: bool, granted: bool },
    /// The holder's CLOSE is in flight.
    Leaving,
    /// The comer's second CREATE is in flight.
    Rising,
    /// The CLOSE of the comer's first handle is in flight.
    Tidying,
}

pub(crate) fn run(target: &Target, connections: usize, seconds: f64) -> Result<Report, Failure> {
    let run = peer::run()?;
    let mut pairs = Vec::new();
    for index in 0..connections / 2 {
        pairs.push(Pair::new(target, run, index)?);
    }
    let clients = pairs.iter().flat_map(|pair| pair.sides.iter().map(|side| &side.peer.client));
    let sockets = Sockets::of(clients)?;
    let mut poll = sockets.poll();

    let watch = Watch::start();
    for pair in &mut pairs {
        pair.come()?;
    }
    let mut count = 0;
    let mut ready = Vec::new();
    while watch.seconds() < seconds {
        poll.wait(&mut ready)?;
        for index in &ready {
            let Some(pair) = pairs.get_mut(index / 2) else { continue };
            loop {
                let message = pair.side(index % 2)?.peer.client.next_message()?;
                if !message.is_interim()
                    && let Some(Taken) = pair.take(index % 2, &message)?
                {
                    count += 1;
                    pair.come()?;
                }
                if !pair.side(index % 2)?.peer.client.has_message() {
                    break;
                }
            }
        }
    }
    Ok(watch.stop("breaks", count))
}

/// The lease has changed hands.
struct Taken;

impl Pair {
    fn new(target: &Target, run: u64, index: usize) -> Result<Self, Failure> {
        let connect = || target.connect(ClientGuid::from_wire(peer::random()?), None);
        let mut first = connect()?;
        let file = File::new(run, index)?;
        first.open(&file, Durable::No)?;
        let handle = file.granted(&first.client.receive()?, LeaseState::RWH)?.file_id;
        let second = Side { peer: connect()?, file: file.of_another()?, handle: FileId::PREVIOUS };
        let sides = [Side { peer: first, file, handle }, second];
        Ok(Self { sides, holder: 0, step: Step::Tidying })
    }

    fn side(&mut self, which: usize) -> Result<&mut Side, Failure> {
        self.sides.get_mut(which).map_or_else(|| wrong("no such side"), Ok)
    }

    fn holder(&mut self) -> Result<&mut Side, Failure> {
        self.side(self.holder)
    }

    fn comer(&mut self) -> Result<&mut Side, Failure> {
        self.side(1 - self.holder)
    }

    /// Begins a round.
    fn come(&mut self) -> Result<(), Failure> {
        self.step = Step::Coming { told: false, answered: false, granted: false };
        self.comer()?.open()
    }

    /// Takes what one side was sent.
    fn take(&mut self, which: usize, message: &Message) -> Result<Option<Taken>, Failure> {
        let by_holder = which == self.holder;
        match self.step {
            Step::Coming { told, answered, granted } => {
                let (mut told, mut answered, mut granted) = (told, answered, granted);
                if by_holder && message.header.notifies_break() {
                    self.holder()?.acknowledge(message)?;
                    told = true;
                } else if by_holder && message.header.command.to_wire() == Command::OplockBreak.to_wire() {
                    peer::done(message)?;
                    answered = true;
                } else if !by_holder && told {
                    let comer = self.comer()?;
                    comer.handle = comer.file.granted(message, LeaseState::RH)?.file_id;
                    granted = true;
                } else if !by_holder {
                    message.success()?;
                    return wrong("granted although the other lease was not broken");
                } else {
                    return wrong("an answer to what was not asked");
                }
                self.step = Step::Coming { told, answered, granted };
                if answered && granted {
                    let holder = self.holder()?;
                    holder.peer.close(holder.handle)?;
                    self.step = Step::Leaving;
                }
                Ok(None)
            }
            Step::Leaving if by_holder => {
                peer::done(message)?;
                self.comer()?.open()?;
                self.step = Step::Rising;
                Ok(None)
            }
            Step::Rising if !by_holder => {
                let comer = self.comer()?;
                let risen = comer.file.granted(message, LeaseState::RWH)?;
                comer.peer.close(comer.handle)?;
                comer.handle = risen.file_id;
                self.step = Step::Tidying;
                Ok(None)
            }
            Step::Tidying if !by_holder => {
                peer::done(message)?;
                self.holder = which;
                Ok(Some(Taken))
            }
            Step::Leaving | Step::Rising | Step::Tidying => {
                wrong("a message to the side that waits for none")
            }
        }
    }
}

impl Side {
    fn open(&mut self) -> Result<(), Failure> {
        self.peer.open(&self.file, Durable::No).map(|_| ())
    }

    /// RWH comes down to RH, by acknowledgment.
    fn acknowledge(&mut self, message: &Message) -> Result<(), Failure> {
        let Some(Notification::Lease(notice)) = message.notification() else {
            return wrong("not the break of a lease");
        };
        let due = (self.file.key(), LeaseState::RWH, LeaseState::RH, BreakFlags::ACK_REQUIRED);
        if (notice.key, notice.current, notice.new, notice.flags) != due {
            return wrong(format_args!("not the break that is due: {notice:?}"));
        }
        let state = LeaseState::RH;
        self.peer.send(&Request::LeaseAck(LeaseAck { key: notice.key, state })).map(|_| ())
    }
}
