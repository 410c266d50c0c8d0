//! Messages as the octets of MS-SMB2. READ, WRITE and CLOSE are only as complete as the story needs them.

use leasehold::client::CreateReply;
use leasehold::wire::{
    Acknowledgment, Command, ContextWriter, CreateRequest, CreateResponse, Fixed, Header, HeaderFlags,
    Notification, RequestContexts, ResponseContexts, Route,
};
use leasehold::{CreateAction, Dialect, Disposition, FileId, SessionId, Status, TreeId};

use crate::shared::Outcome;
use crate::shared::message::{Create, Request, Response, ToClient};

const NAME: &str = "report.txt";
/// The body of every error and of STATUS_PENDING (MS-SMB2 2.2.2).
const ERROR_BODY: [u8; 9] = [9, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a client sends.
pub(crate) fn encode_request(message_id: u64, session: SessionId, request: &Request) -> Outcome<Vec<u8>> {
    let command = match request {
        Request::Create(_) => Command::CREATE,
        Request::Read { .. } => Command::READ,
        Request::Write { .. } => Command::WRITE,
        Request::Close { .. } => Command::CLOSE,
        Request::LeaseAck(_) => Command::OPLOCK_BREAK,
    };
    let header = Header {
        credit_charge: 1,
        status: Status::SUCCESS,
        command,
        credits: 1,
        flags: HeaderFlags::empty(),
        next_command: 0,
        message_id,
        route: Route::Sync { reserved: 0xfeff, tree: TreeId::new(5) },
        session,
        signature: [0; 16],
    };
    let mut octets = Vec::new();
    header.encode(&mut octets);
    match request {
        Request::Create(create) => encode_create(create, &mut octets)?,
        Request::Read { file_id } => encode_io(*file_id, &[], &mut octets)?,
        Request::Write { file_id, text } => encode_io(*file_id, text.as_bytes(), &mut octets)?,
        Request::Close { file_id } => {
            octets.extend([24, 0, 0, 0, 0, 0, 0, 0]);
            encode_file_id(*file_id, &mut octets);
        }
        Request::LeaseAck(ack) => ack.encode(&mut octets),
    }
    Ok(octets)
}

/// What the server reads, with the header that its answer needs.
pub(crate) fn decode_request(octets: &[u8]) -> Outcome<(Header, Request)> {
    let (header, body) = Header::split(octets)?;
    let request = match header.command {
        Command::CREATE => {
            let create = CreateRequest::decode(octets)?;
            Request::Create(Create {
                access: create.desired,
                sharing: create.sharing,
                disposition: Disposition::from_wire(create.disposition).ok_or("no such disposition")?,
                options: create.options,
                level: create.level,
                contexts: RequestContexts::decode(create.contexts, |_| ())?,
            })
        }
        Command::READ => Request::Read { file_id: decode_file_id(body, 16)? },
        Command::WRITE => {
            let text = String::from_utf8(body.get(48..).ok_or("a short WRITE")?.to_vec())?;
            Request::Write { file_id: decode_file_id(body, 16)?, text }
        }
        Command::CLOSE => Request::Close { file_id: decode_file_id(body, 8)? },
        Command::OPLOCK_BREAK => match Acknowledgment::decode(Dialect::Smb311, body)? {
            Acknowledgment::Lease(ack) => Request::LeaseAck(ack),
            Acknowledgment::Oplock(_) => return Err("nobody holds an oplock here".into()),
        },
        _ => return Err("a command that nobody sends".into()),
    };
    Ok((header, request))
}

/// The answer to the request with this header.
pub(crate) fn encode_answer(asked: Header, result: &Result<Response, Status>) -> Outcome<Vec<u8>> {
    let status = result.as_ref().err().copied().unwrap_or(Status::SUCCESS);
    let mut octets = Vec::new();
    Header { status, flags: HeaderFlags::SERVER_TO_REDIR, ..asked }.encode(&mut octets);
    match result {
        Ok(Response::Create { action, reply }) => encode_created(*action, reply, &mut octets)?,
        Ok(Response::Read { text }) => {
            octets.extend([17, 0, 80, 0]);
            octets.extend(u32::try_from(text.len())?.to_le_bytes());
            octets.extend([0; 8]);
            octets.extend(text.as_bytes());
        }
        Ok(Response::Write) => octets.extend([17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Ok(Response::Close) => {
            octets.extend([60, 0]);
            octets.extend([0; 58]);
        }
        Ok(Response::LeaseAck(ack)) => ack.encode(&mut octets),
        Err(_) => octets.extend(ERROR_BODY),
    }
    Ok(octets)
}

/// Everything that the server sends, as its client reads it.
pub(crate) fn decode_to_client(octets: &[u8]) -> Outcome<ToClient> {
    let (header, body) = Header::split(octets)?;
    if header.notifies_break() {
        return match Notification::decode(body)? {
            Notification::Lease(body) => Ok(ToClient::Break(body)),
            Notification::Oplock(_) => Err("nobody holds an oplock here".into()),
        };
    }
    let result = match header.command {
        _ if header.status != Status::SUCCESS => Err(header.status),
        Command::CREATE => {
            let response = CreateResponse::decode(octets)?;
            let contexts = ResponseContexts::decode(response.contexts, |_| ())?;
            let action = CreateAction::from_wire(response.action).ok_or("no such action")?;
            let reply = CreateReply::new(response.file_id, response.level, contexts);
            Ok(Response::Create { action, reply })
        }
        Command::READ => {
            let text = body.get(16..).ok_or("a short READ response")?;
            Ok(Response::Read { text: String::from_utf8(text.to_vec())? })
        }
        Command::WRITE => Ok(Response::Write),
        Command::CLOSE => Ok(Response::Close),
        Command::OPLOCK_BREAK => match Acknowledgment::decode(Dialect::Smb311, body)? {
            Acknowledgment::Lease(ack) => Ok(Response::LeaseAck(ack)),
            Acknowledgment::Oplock(_) => return Err("nobody holds an oplock here".into()),
        },
        _ => return Err("an answer to nothing".into()),
    };
    Ok(ToClient::Answer { message: header.message_id, result })
}

fn encode_create(create: &Create, octets: &mut Vec<u8>) -> Outcome {
    let mut chain = [0; 256];
    let mut writer = ContextWriter::new(&mut chain);
    create.contexts.write(&mut writer)?;
    let len = writer.finish();
    let name: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let request = CreateRequest {
        level: create.level,
        impersonation: 2,
        desired: create.access,
        attributes: 0x80,
        sharing: create.sharing,
        disposition: create.disposition.to_wire(),
        options: create.options,
        name: &name,
        contexts: chain.get(..len).ok_or("a chain longer than its buffer")?,
    };
    Ok(request.encode(octets)?)
}

fn encode_created(action: CreateAction, reply: &CreateReply, octets: &mut Vec<u8>) -> Outcome {
    let mut chain = [0; 256];
    let mut writer = ContextWriter::new(&mut chain);
    reply.contexts.write(&mut writer)?;
    let len = writer.finish();
    let response = CreateResponse {
        level: reply.level,
        flags: 0,
        action: action.to_wire(),
        times: [0; 4],
        allocation_size: 4096,
        end_of_file: 0,
        attributes: 0x20,
        file_id: reply.file_id,
        contexts: chain.get(..len).ok_or("a chain longer than its buffer")?,
    };
    Ok(response.encode(octets)?)
}

/// READ and WRITE requests are alike where this example looks (MS-SMB2 2.2.19, 2.2.21).
fn encode_io(file_id: FileId, data: &[u8], octets: &mut Vec<u8>) -> Outcome {
    octets.extend([49, 0, 112, 0]);
    octets.extend(u32::try_from(data.len())?.to_le_bytes());
    octets.extend([0; 8]);
    encode_file_id(file_id, octets);
    octets.extend([0; 16]);
    octets.extend(data);
    Ok(())
}

fn encode_file_id(file_id: FileId, octets: &mut Vec<u8>) {
    octets.extend(file_id.persistent.to_le_bytes());
    octets.extend(file_id.volatile.to_le_bytes());
}

fn decode_file_id(body: &[u8], at: usize) -> Outcome<FileId> {
    let (persistent, rest) =
        body.get(at..).and_then(|rest| rest.split_first_chunk()).ok_or("a short body")?;
    let volatile = rest.first_chunk().ok_or("a short body")?;
    Ok(FileId::new(u64::from_le_bytes(*persistent), u64::from_le_bytes(*volatile)))
}
