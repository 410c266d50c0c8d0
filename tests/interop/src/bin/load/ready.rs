//! Which connections have something to say.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::peer::{Failure, wrong};

/// Handles of the sockets, beside those of their owners.
pub(crate) struct Sockets(Vec<OwnedFd>);

impl Sockets {
    pub(crate) fn of<'a>(sources: impl Iterator<Item = &'a (impl AsFd + 'a)>) -> Result<Self, Failure> {
        sources
            .map(|source| source.as_fd().try_clone_to_owned())
            .collect::<Result<_, _>>()
            .map(Self)
            .or_else(wrong)
    }

    /// What is asked again and again.
    pub(crate) fn poll(&self) -> Ready<'_> {
        Ready(self.0.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect())
    }
}

pub(crate) struct Ready<'a>(Vec<PollFd<'a>>);

impl Ready<'_> {
    /// Waits, and lists the indices of those that can be read.
    pub(crate) fn wait(&mut self, ready: &mut Vec<usize>) -> Result<(), Failure> {
        ready.clear();
        // One alone is read without asking: that call waits as well.
        if self.0.len() == 1 {
            ready.push(0);
            return Ok(());
        }
        if poll(&mut self.0, Some(&PATIENCE))? == 0 {
            return wrong("the server says nothing any more");
        }
        let readable =
            |(index, socket): (usize, &PollFd<'_>)| (!socket.revents().is_empty()).then_some(index);
        ready.extend(self.0.iter().enumerate().filter_map(readable));
        Ok(())
    }
}

/// Longer than a server waits for an acknowledgment.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
