//! Events and actions in few words, for whoever reads what went wrong.

use leasehold::server::{Action, Durability, DurableGrant, Event, Origin};
use leasehold::wire::{DurableFlags, Lease};

use crate::store::{Stored, show};

fn from(origin: &Origin) -> String {
    format!("c{} t{}", origin.conn.get(), origin.tree.get())
}

fn lease(lease: Option<Lease>) -> String {
    lease.map_or(String::new(), |lease| {
        let [client, name, number, generation, ..] = lease.key().octets();
        let epoch = lease.epoch().unwrap_or_default().get();
        let flags = lease.flags().bits();
        format!(
            " lease={client}.{name}.{number}.{generation}:{} epoch={epoch} flags={flags:x}",
            lease.state()
        )
    })
}

pub fn event(event: &Event) -> String {
    match event {
        Event::Connected { conn, client, .. } => {
            format!("connect c{} client={}", conn.get(), client.to_wire()[0])
        }
        Event::SessionBound { session, .. } => format!("session s{}", session.get()),
        Event::Disconnected { conn } => format!("disconnect c{}", conn.get()),
        Event::SessionEnded { session, end } => format!("session s{} ends: {end:?}", session.get()),
        Event::TreeDisconnected { request, session, tree } => {
            format!("r{} tree disconnect s{} t{}", request.get(), session.get(), tree.get())
        }
        Event::Create(create) => {
            let durability = match create.durability {
                Durability::V2 { timeout, create_guid, persistent } => {
                    let guid = u32::from_le_bytes(create_guid.to_wire()[..4].try_into().unwrap());
                    format!("v2 guid={guid} timeout={timeout} persistent={persistent}")
                }
                other => format!("{other:?}"),
            };
            format!(
                "r{} create {} file={:#x} {:?} {:?} {:?} {:?} level={:?}{} durability={durability} replay={} instance={}",
                create.request.get(),
                from(&create.origin),
                create.file.get(),
                create.desired,
                create.sharing,
                create.disposition,
                create.options,
                create.level,
                lease(create.lease),
                create.replay,
                create.instance.is_some(),
            )
        }
        Event::Reconnect(reconnect) => {
            let guid =
                reconnect.create_guid.map(|guid| u32::from_le_bytes(guid.to_wire()[..4].try_into().unwrap()));
            format!(
                "r{} reconnect {} {:#x} user={} guid={guid:?} {:?}{}",
                reconnect.request.get(),
                from(&reconnect.origin),
                reconnect.persistent,
                reconnect.user.octets()[0],
                reconnect.flags,
                lease(reconnect.lease),
            )
        }
        Event::Opened { file_id, result } => {
            format!("opened {:#x}: {:?}", file_id.persistent, result.map(|opened| opened.action))
        }
        Event::Operate { request, file, actor, intent, .. } => {
            format!("r{} operate file={:#x} by {actor:x?}: {intent:?}", request.get(), file.get())
        }
        Event::Done { ticket, result } => format!("done {ticket:?}: {result:?}"),
        Event::Lock(lock) => {
            let elements: Vec<_> =
                lock.elements.iter().map(|element| (element.offset, element.flags)).collect();
            let sequence = lock.sequence.map(|sequence| sequence.to_wire());
            let (request, id) = (lock.request.get(), lock.file_id.persistent);
            format!("r{request} lock {id:#x} {elements:?} sequence={sequence:x?}")
        }
        Event::Close { request, file_id, .. } => {
            format!("r{} close {:#x}", request.get(), file_id.persistent)
        }
        Event::LeaseAck { request, conn, ack } => {
            format!("r{} lease ack c{} {:?} {}", request.get(), conn.get(), &ack.key.octets()[..4], ack.state)
        }
        Event::OplockAck { request, ack, .. } => {
            format!("r{} oplock ack {:#x} {:?}", request.get(), ack.file_id.persistent, ack.level)
        }
        Event::Restore { record, elapsed } => {
            format!("restore, {elapsed:?} away: {}", show(&Stored::Put(std::rc::Rc::new(*record.clone()))))
        }
        Event::Persisted { up_to } => format!("persisted up to {}", up_to.number()),
        Event::PersistFailed { seq } => format!("persist failed: {}", seq.number()),
        other => format!("{other:?}"),
    }
}

pub fn action(action: &Action) -> String {
    match action {
        Action::OpenFile { request, file_id } => {
            format!("r{} open file {:#x}", request.get(), file_id.persistent)
        }
        Action::Granted { request, grant } => {
            let durable = match grant.durable {
                Some(DurableGrant::V2(response)) if response.flags.contains(DurableFlags::PERSISTENT) => {
                    "persistent"
                }
                Some(_) => "durable",
                None => "-",
            };
            format!(
                "r{} granted {:#x} {:?} {:?}{} {durable}",
                request.get(),
                grant.file_id.persistent,
                grant.action,
                grant.level,
                lease(grant.lease),
            )
        }
        Action::Refused { request, status } => format!("r{} refused {status}", request.get()),
        Action::SendLeaseBreak { conn, body, .. } => {
            let (key, epoch) = (body.key.octets(), body.epoch.get());
            let (current, new, conn) = (body.current, body.new, conn.get());
            format!("lease break c{conn} {:?} {current} to {new} epoch={epoch} {:?}", &key[..4], body.flags)
        }
        Action::SendOplockBreak { conn, body, .. } => {
            format!("oplock break c{} {:#x} to {:?}", conn.get(), body.file_id.persistent, body.level)
        }
        Action::CloseFile { file_id, link } => format!("close file {:#x} {link:?}", file_id.persistent),
        other => format!("{other:?}"),
    }
}
