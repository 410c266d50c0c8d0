//! A registry and some shards.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use leasehold::server::{
    Action, Config, Event, Registry, RegistryAction, RegistryEvent, Shard, ShardAction, Snapshot, ToShard,
};
use leasehold::{Instant, Machine, Stats};

/// The machines of one server.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) registry: Registry,
    pub(crate) shards: Vec<Shard>,
}

impl Cluster {
    /// The first configuration is the registry's. Each shard counts its FileIds from elsewhere.
    pub(crate) fn new(registry: Config, shards: Config, count: u16) -> Self {
        let shard = |at| {
            let mut config = shards;
            config.first_serial = 1 + u64::from(at) * 1_000;
            Shard::new(config)
        };
        Self {
            registry: Registry::new(registry, NonZeroU16::new(count).unwrap()),
            shards: (0..count).map(shard).collect(),
        }
    }

    /// What all of them have done and hold.
    pub(crate) fn stats(&self) -> Stats {
        self.shards.iter().fold(self.registry.stats(), |sum, shard| sum.sum(shard.stats()))
    }

    /// What all of them hold.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::default();
        all.files.extend(self.shards.iter().flat_map(|shard| shard.snapshot().files));
        all.files.sort_by_key(|file| file.key);
        all
    }

    /// When time is next due for any of them.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.shards.iter().filter_map(Shard::poll_timeout).min()
    }

    /// Takes one event, or lets time pass, and carries messages until none is left.
    pub(crate) fn handle(&mut self, now: Instant, event: Option<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut messages = VecDeque::new();
        match event {
            Some(event) => self.tell_registry(now, RegistryEvent::Driver(event), &mut messages, &mut actions),
            None => {
                for at in 0..self.shards.len() {
                    let mut out = Vec::new();
                    self.shards[at].handle_timeout(now, &mut out);
                    self.sort(now, out, &mut messages, &mut actions);
                }
            }
        }
        while let Some((at, message)) = messages.pop_front() {
            let mut out = Vec::new();
            let done = self.shards[at].handle(now, message, &mut out);
            assert_eq!(done, Ok(()), "shard {at}");
            self.sort(now, out, &mut messages, &mut actions);
        }
        actions
    }

    fn sort(
        &mut self,
        now: Instant,
        out: Vec<ShardAction>,
        messages: &mut VecDeque<(usize, ToShard)>,
        actions: &mut Vec<Action>,
    ) {
        for action in out {
            match action {
                ShardAction::Driver(action) => actions.push(action),
                ShardAction::Registry(message) => {
                    self.tell_registry(now, RegistryEvent::Shard(message), messages, actions);
                }
            }
        }
    }

    fn tell_registry(
        &mut self,
        now: Instant,
        event: RegistryEvent,
        messages: &mut VecDeque<(usize, ToShard)>,
        actions: &mut Vec<Action>,
    ) {
        let mut out = Vec::new();
        let done = self.registry.handle(now, event, &mut out);
        assert_eq!(done, Ok(()), "the registry");
        for action in out {
            match action {
                RegistryAction::Driver(action) => actions.push(action),
                RegistryAction::Shard(shard, message) => {
                    messages.push_back((usize::from(shard.get()), message))
                }
                RegistryAction::Broadcast(message) => {
                    messages.extend((0..self.shards.len()).map(|at| (at, message.clone())));
                }
            }
        }
    }
}
