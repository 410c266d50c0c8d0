//! The fields of an event: what a message says, as `tests/traces/README.md` writes it.

use leasehold::FileId;
use leasehold::wire::{Contexts, CreateRequest, CreateResponse, Notification, name};
use serde_json::{Map, Value, json};

use super::labels::Labels;
use crate::smb::octets::{Octets, utf16};
use crate::smb::request::{Command, Request};
use crate::smb::response::Response;

/// The fields of a JSON object.
pub(super) type Fields = Map<String, Value>;

/// Data that is longer is left out.
const LONGEST_DATA: usize = 4096;

/// The name of a command.
pub(super) fn command(command: Command) -> &'static str {
    match command {
        Command::Negotiate => "NEGOTIATE",
        Command::SessionSetup => "SESSION_SETUP",
        Command::Logoff => "LOGOFF",
        Command::TreeConnect => "TREE_CONNECT",
        Command::TreeDisconnect => "TREE_DISCONNECT",
        Command::Create => "CREATE",
        Command::Close => "CLOSE",
        Command::Flush => "FLUSH",
        Command::Read => "READ",
        Command::Write => "WRITE",
        Command::Lock => "LOCK",
        Command::Ioctl => "IOCTL",
        Command::Cancel => "CANCEL",
        Command::Echo => "ECHO",
        Command::QueryDirectory => "QUERY_DIRECTORY",
        Command::ChangeNotify => "CHANGE_NOTIFY",
        Command::QueryInfo => "QUERY_INFO",
        Command::SetInfo => "SET_INFO",
        Command::OplockBreak => "OPLOCK_BREAK",
    }
}

/// What a request asks for. `within` is whether its names begin with server and share (SMB2_FLAGS_DFS_OPERATIONS).
pub(super) fn request(request: &Request<'_>, labels: &mut Labels, within_dfs: bool) -> Fields {
    let mut fields = match request {
        Request::Negotiate(offer) => object(json!({
            "client_guid": hex(&offer.client.to_wire()),
            "dialects": offer.dialects.iter().map(|dialect| format!("{dialect:04x}")).collect::<Vec<_>>(),
        })),
        Request::SessionSetup(setup) => {
            let mut fields = object(json!({ "binding": setup.binding }));
            put(&mut fields, "previous_session", labels.session(setup.previous));
            put(&mut fields, "user", user(setup.token));
            fields
        }
        Request::TreeConnect(path) => object(json!({ "path": text(path) })),
        Request::Create(create) => self::create(create, labels, within_dfs),
        Request::Read { offset, length, minimum, .. } => {
            object(json!({ "offset": offset, "length": length, "min_count": minimum }))
        }
        Request::Write { offset, data, .. } => {
            let mut fields = object(json!({ "offset": offset, "length": data.len() }));
            put(&mut fields, "data", short(data));
            fields
        }
        Request::Lock { elements, .. } => {
            let element = |element: &leasehold::server::LockElement| json!({ "offset": element.offset, "length": element.len, "flags": element.flags.bits() });
            object(json!({ "locks": elements.iter().map(element).collect::<Vec<_>>() }))
        }
        Request::Ioctl(control) => {
            let mut fields = object(json!({ "ctl": control.code }));
            put(&mut fields, "input", short(control.input));
            fields
        }
        Request::QueryDirectory(query) => object(json!({
            "info_class": query.class, "flags": query.flags, "pattern": text(query.pattern),
        })),
        Request::QueryInfo(query) => object(json!({ "info_type": query.kind, "info_class": query.class })),
        Request::SetInfo { kind, class, data, .. } => change(*kind, *class, data, within_dfs),
        Request::OplockAck(ack) => object(json!({ "kind": "oplock", "oplock": ack.level.to_wire() })),
        Request::LeaseAck(ack) => {
            object(json!({ "kind": "lease", "key": hex(&ack.key.octets()), "state": ack.state.bits() }))
        }
        Request::Logoff
        | Request::TreeDisconnect
        | Request::Close { .. }
        | Request::Flush(_)
        | Request::Cancel
        | Request::Echo
        | Request::ChangeNotify { .. } => Fields::new(),
    };
    put(&mut fields, "h", request.file_id().and_then(|file| labels.handle(file)));
    fields
}

/// What an answer says.
pub(super) fn response(response: &Response<'_>, labels: &mut Labels) -> Fields {
    match response {
        Response::Negotiate(terms) => object(
            json!({ "dialect": format!("{:04x}", terms.revision), "capabilities": terms.capabilities }),
        ),
        Response::TreeConnect { share_type, capabilities, .. } => {
            object(json!({ "share_type": share_type, "capabilities": capabilities }))
        }
        Response::Create(CreateResponse {
            level,
            action,
            end_of_file,
            attributes,
            file_id,
            contexts,
            ..
        }) => {
            let (handle, open) = labels.granted(*file_id);
            object(json!({
                "h": handle, "open": open, "oplock": level.to_wire(), "action": action,
                "end_of_file": end_of_file, "attrs": attributes, "contexts": self::contexts(contexts, labels),
            }))
        }
        Response::Read(data) => {
            let mut fields = object(json!({ "length": data.len() }));
            put(&mut fields, "data", short(data));
            fields
        }
        Response::Write(count) => object(json!({ "count": count })),
        Response::OplockBreak(answer) => {
            let mut fields = object(json!({ "oplock": answer.level.to_wire() }));
            put(&mut fields, "h", labels.handle(answer.file_id));
            fields
        }
        Response::LeaseAck(answer) => {
            object(json!({ "key": hex(&answer.key.octets()), "state": answer.state.bits() }))
        }
        Response::Error { .. }
        | Response::SessionSetup { .. }
        | Response::Empty
        | Response::Close(_)
        | Response::Ioctl { .. }
        | Response::Output(_)
        | Response::SetInfo => Fields::new(),
    }
}

/// What a notification says.
pub(super) fn notification(notification: &Notification, labels: &Labels) -> Fields {
    match notification {
        Notification::Lease(body) => object(json!({
            "kind": "lease", "key": hex(&body.key.octets()), "current": body.current.bits(),
            "new": body.new.bits(), "epoch": body.epoch.get(), "flags": body.flags.bits(),
        })),
        Notification::Oplock(body) => {
            let mut fields = object(json!({ "kind": "oplock", "oplock": body.level.to_wire() }));
            put(&mut fields, "h", labels.handle(body.file_id));
            fields
        }
    }
}

fn create(create: &CreateRequest<'_>, labels: &Labels, within_dfs: bool) -> Fields {
    object(json!({
        "name": in_share(&text(create.name), within_dfs),
        "oplock": create.level.to_wire(),
        "impersonation": create.impersonation,
        "access": create.desired.bits(),
        "attrs": create.attributes,
        "share": create.sharing.bits(),
        "disposition": create.disposition,
        "options": create.options.bits(),
        "contexts": contexts(create.contexts, labels),
    }))
}

/// The create contexts of a request or an answer. What cannot be read has no fields.
fn contexts(chain: &[u8], labels: &Labels) -> Vec<Value> {
    let contexts = Contexts::new(chain).map_while(Result::ok);
    let read = |context: leasehold::wire::Context<'_>| {
        let data = Octets(context.data);
        let mut fields = object(json!({ "tag": tag(context.name), "len": context.data.len() }));
        match context.name {
            name::RQLS => lease(&mut fields, data, context.data.len()),
            name::DHNC => {
                put(&mut fields, "h", data.file_id(0).ok().and_then(|file| labels.handle(file)));
            }
            name::DH2Q => {
                put(&mut fields, "timeout", data.u32(0).ok());
                put(&mut fields, "flags", data.u32(4).ok());
                put(&mut fields, "create_guid", data.array::<16>(16).ok().map(|guid| hex(&guid)));
            }
            name::DH2C => {
                put(&mut fields, "h", data.file_id(0).ok().and_then(|file| labels.handle(file)));
                put(&mut fields, "create_guid", data.array::<16>(16).ok().map(|guid| hex(&guid)));
                put(&mut fields, "flags", data.u32(32).ok());
            }
            name::APP_INSTANCE_ID => {
                put(&mut fields, "app_instance_id", data.array::<16>(4).ok().map(|id| hex(&id)));
            }
            _ => {}
        }
        Value::Object(fields)
    };
    contexts.map(read).collect()
}

/// RqLs: its length tells the versions apart (MS-SMB2 2.2.13.2.8, 2.2.13.2.10).
fn lease(fields: &mut Fields, data: Octets<'_>, len: usize) {
    let version = match len {
        32 => 1,
        52 => 2,
        _ => return,
    };
    put(fields, "v", Some(version));
    put(fields, "key", data.array::<16>(0).ok().map(|key| hex(&key)));
    put(fields, "state", data.u32(16).ok());
    put(fields, "flags", data.u32(20).ok());
    if version == 2 {
        put(fields, "parent", data.array::<16>(32).ok().map(|key| hex(&key)));
        put(fields, "epoch", data.u16(48).ok());
    }
}

fn tag(name: &[u8]) -> String {
    match name {
        name::APP_INSTANCE_ID => "AppInstanceId".to_owned(),
        name::APP_INSTANCE_VERSION => "AppInstanceVersion".to_owned(),
        letters if letters.iter().all(u8::is_ascii_alphanumeric) => {
            String::from_utf8_lossy(letters).into_owned()
        }
        other => hex(other),
    }
}

/// What a SET_INFO changes: file information of MS-FSCC 2.4. What has no fields is known by its class alone.
fn change(kind: u8, class: u8, data: &[u8], within_dfs: bool) -> Fields {
    let octets = Octets(data);
    let number = |key: &str, value: Option<u64>| value.map(|value| object(json!({ key: value })));
    let known = match (kind, class) {
        // FileBasicInformation
        (1, 4) => octets.u32(32).ok().map(|attributes| {
            let time = |at| octets.u64(at).unwrap_or_default();
            object(json!({ "basic": {
                "create": time(0), "access": time(8), "write": time(16), "change": time(24), "attrs": attributes,
            }}))
        }),
        // FileRenameInformation, FileLinkInformation
        (1, 10) => new_name(octets, within_dfs).map(|name| object(json!({ "rename": name }))),
        (1, 11) => new_name(octets, within_dfs).map(|name| object(json!({ "link": name }))),
        // FileDispositionInformation
        (1, 13) => octets.u8(0).ok().map(|pending| object(json!({ "delete_on_close": pending }))),
        // FilePositionInformation, FileAllocationInformation, FileEndOfFileInformation
        (1, 14) => number("position", octets.u64(0).ok()),
        (1, 19) => number("allocation_size", octets.u64(0).ok()),
        (1, 20) => number("end_of_file", octets.u64(0).ok()),
        // FileDispositionInformationEx
        (1, 64) => number("disposition_flags", octets.u32(0).ok().map(u64::from)),
        _ => None,
    };
    let mut fields = known.unwrap_or_default();
    put(&mut fields, "info_type", Some(kind));
    put(&mut fields, "info_class", Some(class));
    fields
}

/// MS-FSCC 2.4.28.2, 2.4.42.2
fn new_name(octets: Octets<'_>, within_dfs: bool) -> Option<Value> {
    let len = usize::try_from(octets.u32(16).ok()?).ok()?;
    let target = in_share(&text(octets.slice(20, len).ok()?), within_dfs);
    Some(json!({ "replace": octets.u8(0).ok()?, "target": target }))
}

/// The user in an AUTHENTICATE_MESSAGE, wherever in the token it is (MS-NLMP 2.2.1.3).
fn user(token: &[u8]) -> Option<String> {
    let at = token.windows(8).position(|octets| octets == b"NTLMSSP\0")?;
    let message = Octets(token.get(at..)?);
    if message.u32(8).ok()? != 3 {
        return None;
    }
    let name =
        message.slice(usize::try_from(message.u32(40).ok()?).ok()?, message.u16(36).ok()?.into()).ok()?;
    // NTLMSSP_NEGOTIATE_UNICODE
    let unicode = message.u32(60).is_ok_and(|flags| flags & 1 != 0);
    Some(if unicode { text(name) } else { String::from_utf8_lossy(name).into_owned() })
}

/// A name from the root of its share.
fn in_share(name: &str, within_dfs: bool) -> String {
    if within_dfs { name.splitn(3, '\\').nth(2).unwrap_or_default().to_owned() } else { name.to_owned() }
}

/// UTF-16 that is to be shown: what is none has a replacement character.
pub(super) fn text(octets: &[u8]) -> String {
    utf16(octets).unwrap_or_else(|_| {
        let units = octets.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
        char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    })
}

/// Whether a FileId is the one that stands for that of the previous command (MS-SMB2 3.3.5.2.7.2).
pub(super) fn is_previous(file: FileId) -> bool {
    file == FileId::PREVIOUS
}

fn short(data: &[u8]) -> Option<String> {
    (data.len() <= LONGEST_DATA).then(|| hex(data))
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Sets a field, if there is anything to say.
pub(super) fn put(fields: &mut Fields, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields.insert(key.to_owned(), value.into());
    }
}

pub(super) fn object(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}
