//! The header, and OPLOCK_BREAK in all its forms.

use leasehold::wire::{
    Acknowledgment, BreakFlags, Command, Fixed, Header, LeaseAck, LeaseBreak, LeaseFlags, Notification,
    OplockBreak, Route,
};
use leasehold::{Dialect, Status};

use super::bodies::{encode, say_file_id};
use super::octets::{Reasons, Reserved, equal, number, part, same};
use super::said::Said;

/// Who sent a message, and why: that decides what two fields of its header are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Request,
    Response,
    Notification,
}

/// Which structure follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Oplock,
    Lease,
}

/// Decodes the header, says its fields, and writes it again: it comes back whole, always.
pub(super) fn header<'a>(
    message: &'a [u8],
    sent: Sent,
    command: Command,
    said: &mut Said,
) -> Result<(Header, &'a [u8]), String> {
    let (header, body) = Header::split(message).map_err(|error| error.to_string())?;
    equal("Command", &header.command, &command)?;
    let unsolicited = sent == Sent::Notification;
    equal("whether it is a notification", &header.notifies_break(), &unsolicited)?;

    // FE 53 4D 42, read in the order of the octets.
    said.number("smb2.protocol_id", 0xfe53_4d42_u64);
    said.number("smb2.header_len", 64u64);
    said.number("smb2.credit.charge", header.credit_charge);
    match sent {
        Sent::Request => {
            said.number("smb2.channel_sequence", header.channel_sequence());
            said.raw("smb2.reserved", &(header.status.to_wire() >> 16).to_le_bytes()[..2]);
            said.number("smb2.credits.requested", header.credits);
        }
        Sent::Response | Sent::Notification => {
            said.number("smb2.nt_status", header.status.to_wire());
            said.number("smb2.credits.granted", header.credits);
        }
    }
    said.number("smb2.cmd", header.command.to_wire());
    said.number("smb2.chain_offset", header.next_command);
    said.number("smb2.msg_id", header.message_id);
    match header.route {
        Route::Sync { reserved, tree } => {
            said.header_flags(header.flags, false);
            said.number("smb2.header_reserved", reserved);
            said.number("smb2.tid", tree.get());
        }
        Route::Async { id } => {
            said.header_flags(header.flags, true);
            said.number("smb2.aid", id);
        }
    }
    said.number("smb2.sesid", header.session.get());
    said.octets("smb2.signature", &header.signature);

    same("the header", &encode(&header), part(message, 0, Header::LEN)?)?;
    Ok((header, body))
}

pub(super) fn notification(
    body: &[u8],
    form: Form,
    said: &mut Said,
    reasons: &mut Reasons,
) -> Result<(), String> {
    let decoded = Notification::decode(body).map_err(|error| error.to_string())?;
    match (decoded, form) {
        (Notification::Oplock(decoded), Form::Oplock) => oplock(body, &decoded, said, reasons),
        (Notification::Lease(decoded), Form::Lease) => lease(body, &decoded, said, reasons),
        (Notification::Oplock(_) | Notification::Lease(_), Form::Oplock | Form::Lease) => {
            Err(format!("found {decoded:?}, which is of the other form"))
        }
    }
}

/// An acknowledgment, and the answer to one.
pub(super) fn acknowledgment(
    body: &[u8],
    form: Form,
    dialect: Dialect,
    said: &mut Said,
    reasons: &mut Reasons,
) -> Result<(), String> {
    let decoded = Acknowledgment::decode(dialect, body).map_err(|error| error.to_string())?;
    match (decoded, form) {
        (Acknowledgment::Oplock(decoded), Form::Oplock) => oplock(body, &decoded, said, reasons),
        (Acknowledgment::Lease(decoded), Form::Lease) => lease_ack(body, &decoded, said, reasons),
        (Acknowledgment::Oplock(_) | Acknowledgment::Lease(_), Form::Oplock | Form::Lease) => {
            Err(format!("found {decoded:?}, which is of the other form"))
        }
    }
}

/// An ERROR response (MS-SMB2 2.2.2) to an acknowledgment. It is not leasehold's, which must not take it for its own.
pub(super) fn error(header: &Header, body: &[u8], dialect: Dialect, said: &mut Said) -> Result<(), String> {
    if header.status == Status::SUCCESS {
        return Err("an error with STATUS_SUCCESS".to_owned());
    }
    if let Ok(decoded) = Acknowledgment::decode(dialect, body) {
        return Err(format!("an ERROR body was taken for {decoded:?}"));
    }
    said.structure_size(9);
    equal("StructureSize", &number(body, 0, 2)?, &9)?;
    said.raw("smb2.error.context_count", part(body, 2, 1)?);
    said.raw("smb2.error.reserved", part(body, 3, 1)?);
    said.raw("smb2.error.byte_count", part(body, 4, 4)?);
    said.raw("smb2.error.data", part(body, 8, body.len().saturating_sub(8))?);
    Ok(())
}

fn oplock(body: &[u8], decoded: &OplockBreak, said: &mut Said, reasons: &mut Reasons) -> Result<(), String> {
    said.structure_size(24);
    said.level(decoded.level);
    say_file_id(decoded.file_id, said);
    written(body, decoded, OPLOCK, said, reasons)
}

fn lease(body: &[u8], decoded: &LeaseBreak, said: &mut Said, reasons: &mut Reasons) -> Result<(), String> {
    let LeaseBreak { epoch, flags, key, current, new } = decoded;
    said.structure_size(44);
    said.number("smb2.lease.lease_oplock", epoch.get());
    said.number("smb2.lease.lease_flags", flags.bits());
    let bits = LeaseFlags::from_bits_retain(flags.bits());
    said.lease_flag_bits(bits, flags.contains(BreakFlags::ACK_REQUIRED));
    said.octets("smb2.lease.lease_key", &key.octets());
    said.lease_state(*current);
    said.lease_state(*new);
    written(body, decoded, LEASE, said, reasons)
}

fn lease_ack(body: &[u8], decoded: &LeaseAck, said: &mut Said, reasons: &mut Reasons) -> Result<(), String> {
    let LeaseAck { key, state } = decoded;
    said.structure_size(36);
    said.octets("smb2.lease.lease_key", &key.octets());
    said.lease_state(*state);
    // Ignored by leasehold, but the other decoder splits it up.
    let flags = u32::try_from(number(body, 4, 4)?).map_err(|error| error.to_string())?;
    said.lease_flag_bits(LeaseFlags::from_bits_retain(flags), flags & 1 != 0);
    written(body, decoded, LEASE_ACK, said, reasons)
}

/// Says what is reserved, and compares what leasehold writes with the canonical form of the captured octets.
fn written<T: Fixed + PartialEq + std::fmt::Debug>(
    body: &[u8],
    decoded: &T,
    reserved: &[Reserved],
    said: &mut Said,
    reasons: &mut Reasons,
) -> Result<(), String> {
    Reserved::say(reserved, body, said)?;
    let mut canonical = body.to_vec();
    Reserved::clear(reserved, &mut canonical, reasons)?;
    let ours = encode(decoded);
    same("the body", &ours, &canonical)?;
    let again = T::decode(&ours).map_err(|error| error.to_string())?;
    equal("the body written and decoded again", &again, decoded)
}

const OPLOCK: &[Reserved] = &[
    Reserved::new("smb2.reserved", 3, 1, "Reserved of a break not zero"),
    Reserved::new("smb2.reserved", 4, 4, "Reserved2 of a break not zero"),
];
const LEASE: &[Reserved] = &[
    Reserved::new("smb2.lease.lease_break_reason", 32, 4, "BreakReason not zero"),
    Reserved::new("smb2.lease.access_mask_hint", 36, 4, "AccessMaskHint not zero"),
    Reserved::new("smb2.lease.share_mask_hint", 40, 4, "ShareMaskHint not zero"),
];
const LEASE_ACK: &[Reserved] = &[
    Reserved::new("smb2.reserved", 2, 2, "Reserved of a break not zero"),
    Reserved::new("smb2.lease.lease_flags", 4, 4, "Flags of an acknowledgment not zero"),
    Reserved::new("smb2.lease.lease_duration", 28, 8, "LeaseDuration of a break not zero"),
];
