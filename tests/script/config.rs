//! The `config` lines at the head of a story.

use std::time::Duration;

use leasehold::server::{
    AbsentHolder, ChannelChoice, Config, DenyModes, FollowUp, FollowUpEpoch, LeaseIdentity, LockReach,
    OpensInGrace, OvertakenAck, PendingReplay, Protection, UnexpectedAck, UnknownReplay,
};

use super::values::{integer, integer32};
use super::words::Words;

/// Reads what stands behind `config`.
pub(crate) fn read(config: &mut Config, words: &mut Words<'_>) -> Result<(), String> {
    let mut said = 0u32;
    for word in words.rest() {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("unknown word: {word}"))?;
        set(config, name, value)?;
        said = said.saturating_add(1);
    }
    if said == 0 { Err("a setting is missing".to_owned()) } else { Ok(()) }
}

/// One setting.
pub(crate) fn set(config: &mut Config, name: &str, value: &str) -> Result<(), String> {
    let limits = &mut config.limits;
    let profile = &mut config.profile;
    match name {
        "resilient-default" => config.resilient_default = Duration::from_millis(integer(value)?),
        "resilient-max" => config.resilient_max = Duration::from_millis(integer(value)?),
        "durable-timeout" => config.durable_timeout = Duration::from_millis(integer(value)?),
        "durable-v2-timeout" => config.durable_v2_timeout = Duration::from_millis(integer(value)?),
        "durable-v2-max" => config.durable_v2_max = Duration::from_millis(integer(value)?),
        "persistence" => config.persistence = yes_or_no(name, value)?,
        "gate-close" => config.gate_close = yes_or_no(name, value)?,
        "grace" => config.grace = Duration::from_millis(integer(value)?),
        "restored-min" => config.restored_min = Duration::from_millis(integer(value)?),
        "persistent-lease-break-timeout" => {
            config.persistent_lease_break_timeout = Duration::from_millis(integer(value)?);
        }
        "persistent-oplock-break-timeout" => {
            config.persistent_oplock_break_timeout = Duration::from_millis(integer(value)?);
        }
        "first-serial" => config.first_serial = integer(value)?,
        "lease-break-timeout" => config.lease_break_timeout = Duration::from_millis(integer(value)?),
        "oplock-break-timeout" => config.oplock_break_timeout = Duration::from_millis(integer(value)?),

        "recall-timeout" => config.recall_timeout = Duration::from_millis(integer(value)?),
        "reclaim-grace" => config.reclaim_grace = Duration::from_millis(integer(value)?),

        "opens" => limits.opens = size(value)?,
        "opens-per-file" => limits.opens_per_file = integer32(value)?,
        "opens-per-session" => limits.opens_per_session = integer32(value)?,
        "deadlines-per-call" => limits.deadlines_per_call = integer32(value)?,
        "leases" => limits.leases = size(value)?,
        "leases-per-client" => limits.leases_per_client = integer32(value)?,
        "files" => limits.files = size(value)?,
        "waiters" => limits.waiters = size(value)?,
        "waiters-per-file" => limits.waiters_per_file = integer32(value)?,
        "waiters-per-connection" => limits.waiters_per_connection = integer32(value)?,
        "running" => limits.running = size(value)?,
        "unstored" => limits.unstored = size(value)?,
        "locks" => limits.locks = size(value)?,
        "locks-per-open" => limits.locks_per_open = integer32(value)?,
        "locks-per-request" => limits.locks_per_request = size(value)?,
        "owners" => limits.owners = size(value)?,
        "owner-locks" => limits.owner_locks = size(value)?,
        "waited-for" => limits.waited_for = size(value)?,
        "connections" => limits.connections = size(value)?,
        "connections-per-client" => limits.connections_per_client = size(value)?,
        "sessions" => limits.sessions = size(value)?,

        "follow-up-epoch" => {
            profile.follow_up_epoch =
                one_of(name, value, &[("next", FollowUpEpoch::Next), ("same", FollowUpEpoch::Same)])?;
        }
        "follow-up" => {
            let choices = [("through-read", FollowUp::ThroughRead), ("straight", FollowUp::Straight)];
            profile.follow_up = one_of(name, value, &choices)?;
        }
        "lease-identity" => {
            let choices =
                [("client-and-key", LeaseIdentity::ClientAndKey), ("key-alone", LeaseIdentity::KeyAlone)];
            profile.lease_identity = one_of(name, value, &choices)?;
        }
        "channel-choice" => {
            let choices = [
                ("first-then-others", ChannelChoice::FirstThenOthers),
                ("latest-only", ChannelChoice::LatestOnly),
            ];
            profile.channel_choice = one_of(name, value, &choices)?;
        }
        "unexpected-ack" => {
            let choices = [
                ("invalid-oplock-protocol", UnexpectedAck::InvalidOplockProtocol),
                ("invalid-device-state", UnexpectedAck::InvalidDeviceState),
            ];
            profile.unexpected_ack = one_of(name, value, &choices)?;
        }
        "overtaken-ack" => {
            let choices = [("accept", OvertakenAck::Accept), ("refuse", OvertakenAck::Refuse)];
            profile.overtaken_ack = one_of(name, value, &choices)?;
        }
        "lock-reach" => {
            let choices = [("everywhere", LockReach::Everywhere), ("allocation", LockReach::Allocation)];
            profile.lock_reach = one_of(name, value, &choices)?;
        }
        "unknown-replay" => {
            let choices = [("create-anew", UnknownReplay::CreateAnew), ("refuse", UnknownReplay::Refuse)];
            profile.unknown_replay = one_of(name, value, &choices)?;
        }
        "pending-replay" => {
            let choices = [("try-again", PendingReplay::TryAgain), ("unnoticed", PendingReplay::Unnoticed)];
            profile.pending_replay = one_of(name, value, &choices)?;
        }
        "absent-holder" => {
            let choices =
                [("wait-for-handles", AbsentHolder::WaitForHandles), ("refuse", AbsentHolder::Refuse)];
            profile.absent_holder = one_of(name, value, &choices)?;
        }
        "deny-modes" => {
            let choices = [
                ("data", DenyModes::Data),
                ("data-and-names", DenyModes::DataAndNames),
                ("nothing", DenyModes::Nothing),
            ];
            profile.deny_modes = one_of(name, value, &choices)?;
        }
        "opens-in-grace" => {
            let choices = [("refuse", OpensInGrace::Refuse), ("let-in", OpensInGrace::LetIn)];
            profile.opens_in_grace = one_of(name, value, &choices)?;
        }
        "oplock-break-protection" => profile.oplock_break_protection = protection(name, value)?,
        "lease-break-protection" => profile.lease_break_protection = protection(name, value)?,
        "link-breaks-handles" => profile.link_breaks_handles = yes_or_no(name, value)?,
        "security-breaks-handles" => profile.security_breaks_handles = yes_or_no(name, value)?,
        "lease-v2-on-smb210" => profile.lease_v2_on_smb210 = yes_or_no(name, value)?,
        _ => return Err(format!("unknown setting: {name}")),
    }
    Ok(())
}

fn size(value: &str) -> Result<usize, String> {
    usize::try_from(integer(value)?).map_err(|_| format!("{value} is too much"))
}

fn protection(name: &str, value: &str) -> Result<Protection, String> {
    one_of(name, value, &[("plain", Protection::Plain), ("of-session", Protection::OfSession)])
}

fn yes_or_no(name: &str, value: &str) -> Result<bool, String> {
    one_of(name, value, &[("yes", true), ("no", false)])
}

fn one_of<T: Copy>(name: &str, value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(choice, _)| *choice == value);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let choices: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        format!("{name} is {}, not {value}", choices.join(" or "))
    })
}
