//! Requests: which of them the host hears of, and as what.

use leasehold::server::{Effect, SessionEnd};
use leasehold::wire::{Header, HeaderFlags, RequestContexts, ResiliencyRequest, Route};
use leasehold::{ConnId, Dialect, FileId, RequestId, SessionId, Status, TreeId};

use super::Engine;
use super::reply::{ALSI, MXAC, QFID, Want, ioctl};
use crate::fs::nt;
use crate::fs::operations::OperationKind;
use crate::host::{Attempt, CreateFields, Whence};
use crate::smb::info::{self, Change, Reply};
use crate::smb::octets::{Octets, utf16};
use crate::smb::request::{Command, Ioctl, QueryDirectory, QueryInfo, Request};
use crate::smb::response::Response;

/// FSCTL_VALIDATE_NEGOTIATE_INFO
const VALIDATE_NEGOTIATE_INFO: u32 = 0x0014_0204;
/// FSCTL_CREATE_OR_GET_OBJECT_ID
const CREATE_OR_GET_OBJECT_ID: u32 = 0x0009_00c0;
/// FSCTL_DFS_GET_REFERRALS
const DFS_GET_REFERRALS: u32 = 0x0006_0194;
/// A control for tests alone: nothing that is sent on this connection from now on is acknowledged by its peer.
const FORGET_PEER: u32 = 0x8384_8003;
/// STATUS_FS_DRIVER_REQUIRED: there is no DFS here.
const FS_DRIVER_REQUIRED: Status = Status::from_wire(0xc000_019c);
/// How long a pattern may be, in octets: longer than any name it costs only time.
const LONGEST_PATTERN: usize = 512;
/// Credits are counted in units of this many octets (MS-SMB2 3.3.5.2.5).
const CREDIT: u64 = 64 << 10;

/// Where a request stands: session, tree connect, and, if it is related to another request, the open of that.
pub(super) type Place = (SessionId, TreeId, Option<Result<FileId, Status>>);

impl Engine {
    /// Carries out a request. An error is its answer.
    pub(super) fn dispatch(
        &mut self,
        id: RequestId,
        command: Command,
        octets: &[u8],
        (session, tree, related): Place,
    ) -> Result<(), Status> {
        let (header, _) = Header::split(octets).map_err(|_| Status::INVALID_PARAMETER)?;
        let Some(asked) = self.asked.get(&id) else { return Ok(()) };
        let (conn, signed) = (asked.conn, asked.key.is_some());
        let request = Request::decode(command, octets)?;
        match request {
            Request::Negotiate(request) => {
                if let Some(conn) = self.conns.get_mut(&conn) {
                    conn.preauth = Default::default();
                    conn.preauth.update(octets);
                }
                let response = self.negotiate(conn, &request)?;
                self.answer(id, Status::SUCCESS, response);
                return Ok(());
            }
            Request::SessionSetup(setup) => {
                let (session, status, response) =
                    self.session_setup(conn, session, &setup, octets, signed)?;
                if let Some(asked) = self.asked.get_mut(&id) {
                    asked.session = session;
                }
                self.answer(id, status, response);
                return Ok(());
            }
            Request::Echo => {
                self.answer(id, Status::SUCCESS, Response::Empty);
                return Ok(());
            }
            // It comes without a session.
            Request::Ioctl(Ioctl { code: FORGET_PEER, file_id, .. }) if self.setup.test_controls => {
                if let Some(conn) = self.conns.get_mut(&conn) {
                    conn.out_of_reach = true;
                }
                self.answer(id, Status::SUCCESS, ioctl(FORGET_PEER, file_id, Vec::new()));
                return Ok(());
            }
            Request::Logoff => {
                self.session(conn, session)?;
                // Signed with the key of what ends by it.
                self.answer(id, Status::SUCCESS, Response::Empty);
                self.end_session(session, SessionEnd::LoggedOff);
                return Ok(());
            }
            Request::TreeConnect(path) => {
                let found = self.session(conn, session)?;
                // MS-SMB2 3.3.5.7: somebody may have turned signatures off.
                if self.agreed(conn)?.dialect == Dialect::Smb311 && found.key(conn).is_some() && !signed {
                    self.close_unanswered(id);
                    return Ok(());
                }
                let (tree, response) = self.tree_connect(session, path)?;
                if let Some(asked) = self.asked.get_mut(&id) {
                    asked.tree = tree;
                }
                self.answer(id, Status::SUCCESS, response);
                return Ok(());
            }
            _ => {}
        }
        let whence = self.whence(conn, session, tree)?;
        // MS-SMB2 3.3.5.2.7.2: what is related works on the same open, whatever it names.
        let file = match (request.file_id(), related) {
            (Some(_), Some(previous)) => previous?,
            (Some(file), None) => file,
            (None, _) => FileId::PREVIOUS,
        };
        if let (Some(_), Some(chain)) = (request.file_id(), &mut self.current) {
            chain.file = Ok(file);
        }
        let attempt = match whence.dialect {
            Dialect::Smb202 | Dialect::Smb210 => Attempt::default(),
            _ => Attempt {
                replay: header.flags.contains(HeaderFlags::REPLAY_OPERATION),
                sequence: header.channel_sequence(),
            },
        };
        if request.file_id().is_some() {
            let effect = match command {
                Command::Write | Command::SetInfo | Command::Ioctl => Effect::Changes,
                _ => Effect::Looks,
            };
            self.host.count(id, &whence, attempt, file, effect, command != Command::Close)?;
        }
        self.in_tree(id, &whence, attempt, &header, file, request)
    }

    /// A request within a tree connect.
    fn in_tree(
        &mut self,
        id: RequestId,
        whence: &Whence,
        attempt: Attempt,
        header: &Header,
        file: FileId,
        request: Request<'_>,
    ) -> Result<(), Status> {
        let agreed = self.agreed(whence.origin.conn)?;
        // MS-SMB2 3.3.5.2.5: sizes are bounded, and paid for.
        let paid = |size: u32| {
            let charge = u64::from(size).div_ceil(CREDIT);
            let owed = agreed.max_size() > 64 << 10 && charge > u64::from(header.credit_charge.max(1));
            if size > agreed.max_size() || owed { Err(Status::INVALID_PARAMETER) } else { Ok(()) }
        };
        match request {
            Request::TreeDisconnect => {
                self.forget_tree(whence.origin.session, whence.origin.tree);
                self.host.tree_disconnect(id, whence);
            }
            Request::Create(create) => self.create(id, whence, attempt, &create)?,
            Request::Close { query_attributes, .. } => self.host.close(id, whence, file, query_attributes),
            Request::Flush(_) => self.host.operate(id, whence, file, OperationKind::Flush),
            Request::Read { offset, length, minimum, .. } => {
                paid(length)?;
                let (length, minimum) = (length.into(), minimum.into());
                self.host.operate(id, whence, file, OperationKind::Read { offset, length, minimum });
            }
            Request::Write { offset, data, .. } => {
                let length = data.len() as u64;
                paid(u32::try_from(data.len()).unwrap_or(u32::MAX))?;
                let data = Some(data.to_vec());
                self.host.operate(id, whence, file, OperationKind::Write { offset, length, data });
            }
            Request::Lock { sequence, elements, .. } => self.host.lock(id, whence, file, sequence, elements),
            Request::Ioctl(ioctl) => {
                paid(ioctl.max_output.max(u32::try_from(ioctl.input.len()).unwrap_or(u32::MAX)))?;
                self.control(id, whence, file, &ioctl)?;
            }
            Request::QueryDirectory(query) => {
                paid(query.max_output)?;
                let output = self.query_directory(whence, file, &query)?;
                self.answer(id, Status::SUCCESS, Response::Output(output));
            }
            Request::ChangeNotify { max_output, .. } => {
                paid(max_output)?;
                self.host.watch(id, whence, file);
            }
            Request::QueryInfo(query) => {
                paid(query.max_output.max(u32::try_from(query.input.len()).unwrap_or(u32::MAX)))?;
                let Reply { status, octets } = self.query_info(whence, file, &query)?;
                let response = if status == nt::BUFFER_TOO_SMALL {
                    Response::Error { data: octets }
                } else {
                    Response::Output(octets)
                };
                self.answer(id, status, response);
            }
            Request::SetInfo { kind, class, data, .. } => {
                paid(u32::try_from(data.len()).unwrap_or(u32::MAX))?;
                self.set_info(id, whence, file, kind, class, data)?;
            }
            Request::OplockAck(mut ack) => {
                ack.file_id = file;
                self.host.acknowledge_oplock(id, whence, ack);
            }
            Request::LeaseAck(ack) => self.host.acknowledge_lease(id, whence, ack),
            Request::Negotiate(_)
            | Request::SessionSetup(_)
            | Request::Logoff
            | Request::TreeConnect(_)
            | Request::Echo
            | Request::Cancel => return Err(Status::INVALID_PARAMETER),
        }
        Ok(())
    }

    fn create(
        &mut self,
        id: RequestId,
        whence: &Whence,
        attempt: Attempt,
        create: &leasehold::wire::CreateRequest<'_>,
    ) -> Result<(), Status> {
        let (mut maximal_access, mut disk_id, mut allocation) = (false, false, Ok(0));
        let contexts = RequestContexts::decode(create.contexts, |other| match other.name {
            MXAC => maximal_access = true,
            QFID => disk_id = true,
            ALSI => allocation = Octets(other.data).u64(0),
            // ExtA, SecD and TWrp ask for what this file system does not have; a server may leave them alone.
            _ => {}
        });
        let contexts = contexts.map_err(|_| Status::INVALID_PARAMETER)?;
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.want = Want::Contexts { maximal_access, disk_id };
        }
        let name = utf16(create.name).map_err(|_| nt::OBJECT_NAME_INVALID)?;
        if whence.share.kind != leasehold::server::ShareKind::Disk {
            return Err(Status::OBJECT_NAME_NOT_FOUND);
        }
        let fields = CreateFields {
            name: &name,
            level: create.level,
            impersonation: create.impersonation,
            access: create.desired,
            attributes: create.attributes,
            sharing: create.sharing,
            disposition: create.disposition,
            options: create.options,
            contexts,
            allocation: allocation?,
        };
        self.host.create(id, whence, attempt, &fields);
        Ok(())
    }

    fn control(
        &mut self,
        id: RequestId,
        whence: &Whence,
        file: FileId,
        asked: &Ioctl<'_>,
    ) -> Result<(), Status> {
        let (code, conn) = (asked.code, whence.origin.conn);
        if let Some(request) = self.asked.get_mut(&id) {
            request.want = Want::Ioctl { code, file_id: file };
        }
        let output = match code {
            _ if !asked.is_fsctl => return Err(Status::NOT_SUPPORTED),
            VALIDATE_NEGOTIATE_INFO => match self.validate_negotiate(conn, asked.input, asked.max_output) {
                Some(output) => output,
                // Somebody sits between the two: no answer (MS-SMB2 3.3.5.15.12).
                None => {
                    self.close_unanswered(id);
                    return Ok(());
                }
            },
            ResiliencyRequest::CTL_CODE => {
                let input = ResiliencyRequest::decode_input(asked.input);
                let timeout = input.map_err(|_| Status::INVALID_PARAMETER)?.timeout;
                self.host.request_resilience(id, whence, file, timeout);
                return Ok(());
            }
            CREATE_OR_GET_OBJECT_ID => {
                let index = self.host.look(whence, file, |fs, handle| Ok(fs.info(handle)?.facts.index))?;
                let mut output = vec![0; 64];
                if let Some(field) = output.get_mut(..8) {
                    field.copy_from_slice(&index.to_le_bytes());
                }
                output
            }
            DFS_GET_REFERRALS => return Err(FS_DRIVER_REQUIRED),
            _ => return Err(nt::INVALID_DEVICE_REQUEST),
        };
        if output.len() as u64 > u64::from(asked.max_output) {
            return Err(nt::BUFFER_TOO_SMALL);
        }
        self.answer(id, Status::SUCCESS, ioctl(code, file, output));
        Ok(())
    }

    fn query_directory(
        &mut self,
        whence: &Whence,
        file: FileId,
        query: &QueryDirectory<'_>,
    ) -> Result<Vec<u8>, Status> {
        if query.pattern.len() > LONGEST_PATTERN {
            return Err(nt::OBJECT_NAME_INVALID);
        }
        let pattern = utf16(query.pattern)?;
        let (class, flags) = (query.class, query.flags);
        let max = usize::try_from(query.max_output).unwrap_or(usize::MAX);
        self.host
            .look(whence, file, |fs, handle| info::query_directory(fs, handle, class, flags, &pattern, max))
    }

    fn query_info(&mut self, whence: &Whence, file: FileId, query: &QueryInfo<'_>) -> Result<Reply, Status> {
        let max = usize::try_from(query.max_output).unwrap_or(usize::MAX);
        let (class, additional) = (query.class, query.additional);
        self.host.look(whence, file, |fs, handle| match query.kind {
            1 => info::query_file(fs, handle, class, max),
            2 => info::query_fs(fs, handle, class, max),
            3 => info::query_security(fs, handle, additional, max),
            _ => Err(Status::NOT_SUPPORTED),
        })
    }

    fn set_info(
        &mut self,
        id: RequestId,
        whence: &Whence,
        file: FileId,
        kind: u8,
        class: u8,
        data: &[u8],
    ) -> Result<(), Status> {
        match kind {
            1 => {}
            3 => {
                self.host.operate(id, whence, file, OperationKind::Security);
                return Ok(());
            }
            _ => return Err(Status::NOT_SUPPORTED),
        }
        match info::parse_set_file(whence.volume, class, data)? {
            Change::Operation(kind) => {
                self.host.operate(id, whence, file, kind);
                return Ok(());
            }
            Change::Position(position) => {
                self.host.look(whence, file, |fs, handle| fs.set_position(handle, position))?;
            }
            Change::Mode(mode) => self.host.look(whence, file, |fs, handle| fs.set_mode(handle, mode))?,
        }
        self.answer(id, Status::SUCCESS, Response::SetInfo);
        Ok(())
    }

    /// CANCEL (MS-SMB2 3.3.5.16): it has no answer.
    pub(super) fn cancel(&mut self, conn: ConnId, header: &Header) {
        let Some(known) = self.conns.get(&conn) else { return };
        let request = match header.route {
            Route::Async { id } => known.by_async.get(&id),
            Route::Sync { .. } => known.by_message.get(&header.message_id),
        };
        if let Some(request) = request {
            self.host.cancel(*request);
        }
    }
}
