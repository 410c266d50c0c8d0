"""smbprotocol as a client: its own create contexts, and the messages of breaks that it lacks."""

import logging
import queue
import uuid
from collections import OrderedDict
from threading import Lock

from smbprotocol.connection import Capabilities, Connection
from smbprotocol.create_contexts import (
    SMB2CreateDurableHandleReconnect,
    SMB2CreateDurableHandleReconnectV2,
    SMB2CreateDurableHandleRequest,
    SMB2CreateDurableHandleRequestV2,
    SMB2CreateDurableHandleResponse,
    SMB2CreateDurableHandleResponseV2,
    SMB2CreateRequestLeaseV2,
    SMB2CreateResponseLeaseV2,
)
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.header import Commands
from smbprotocol.open import Open, SMB2LockElement
from smbprotocol.session import Session
from smbprotocol.structure import BytesField, IntField, Structure
from smbprotocol.tree import TreeConnect

import checks
from checks import LEASE, Break, Opened, Refused

UNASKED = 0xFFFFFFFFFFFFFFFF
PERSISTENT = 2


class OplockAck(Structure):
    """MS-SMB2 2.2.24.1."""

    COMMAND = Commands.SMB2_OPLOCK_BREAK

    def __init__(self):
        self.fields = OrderedDict(
            structure_size=IntField(size=2, default=24),
            level=IntField(size=1),
            reserved=IntField(size=1),
            reserved2=IntField(size=4),
            file_id=BytesField(size=16),
        )
        super().__init__()


class LeaseAck(Structure):
    """MS-SMB2 2.2.24.2."""

    COMMAND = Commands.SMB2_OPLOCK_BREAK

    def __init__(self):
        self.fields = OrderedDict(
            structure_size=IntField(size=2, default=36),
            reserved=IntField(size=2),
            flags=IntField(size=4),
            key=BytesField(size=16),
            state=IntField(size=4),
            duration=IntField(size=8),
        )
        super().__init__()


class Unasked:
    """Stands in the table of requests for what the server sends unasked; the library takes any answer to belong to one."""

    def __init__(self):
        self.session_id, self.async_id, self.response_event_lock = None, None, Lock()
        self.message = {"reserved": IntField(size=1, default=0), "command": IntField(size=2, default=0)}
        self.response_event, self.breaks = self, queue.Queue()

    def set(self):
        pass

    @property
    def response(self):
        return None

    @response.setter
    def response(self, header):
        self.breaks.put(header["data"].get_value())


def told(act, *arguments, **more):
    try:
        return act(*arguments, **more)
    except SMBResponseException as error:
        raise Refused(error.status) from None


class Client(checks.Client):
    def __init__(self, place, guid, dialect=None, share="share"):
        host, port, user, password = place
        self.connection = Connection(uuid.UUID(bytes_le=guid), host, port)
        self.connection.client_capabilities |= Capabilities.SMB2_GLOBAL_CAP_LEASING
        self.connection.client_capabilities |= Capabilities.SMB2_GLOBAL_CAP_DIRECTORY_LEASING
        self.connection.client_capabilities |= Capabilities.SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
        self.connection.connect(dialect, timeout=10)
        self.unasked = Unasked()
        self.connection.outstanding_requests[UNASKED] = self.unasked
        self.session = Session(self.connection, user, password, require_encryption=False)
        self.session.connect()
        self.tree = TreeConnect(self.session, rf"\\{host}\{share}")
        self.tree.connect()

    def _send(self, message):
        return self.connection.send(message, self.session.session_id, self.tree.tree_connect_id)

    def begin_create(self, path, wish):
        contexts = []
        flags = PERSISTENT if wish.persistent else 0
        if wish.durable == "v1" and wish.reconnect:
            contexts.append(SMB2CreateDurableHandleReconnect())
            contexts[-1]["data"] = wish.reconnect
        elif wish.durable == "v1":
            contexts.append(SMB2CreateDurableHandleRequest())
        elif wish.durable and wish.reconnect:
            contexts.append(SMB2CreateDurableHandleReconnectV2())
            contexts[-1]["file_id"] = wish.reconnect
            contexts[-1]["create_guid"] = uuid.UUID(bytes_le=wish.durable)
            contexts[-1]["flags"] = flags
        elif wish.durable:
            contexts.append(SMB2CreateDurableHandleRequestV2())
            contexts[-1]["create_guid"] = uuid.UUID(bytes_le=wish.durable)
            contexts[-1]["flags"] = flags
        if wish.lease:
            contexts.append(SMB2CreateRequestLeaseV2())
            contexts[-1]["lease_key"], contexts[-1]["lease_state"] = wish.lease
            contexts[-1]["parent_lease_key"], contexts[-1]["epoch"] = bytes(16), bytes(2)
        file = Open(self.tree, path)
        message, receive = file.create(
            2,  # impersonation
            wish.access,
            0,
            wish.share,
            wish.disposition,
            wish.options,
            create_contexts=contexts or None,
            oplock_level=LEASE if wish.lease else wish.oplock,
            send=False,
        )
        return file, receive, self._send(message)

    def finish_create(self, pending):
        file, receive, request = pending
        contexts = told(receive, request) or []
        opened = Opened(file.file_id, file.oplock_level, file.end_of_file)
        opened.file = file
        for context in contexts:
            if isinstance(context, SMB2CreateResponseLeaseV2):
                opened.lease_key = context["lease_key"].get_value()
                opened.lease_state = context["lease_state"].get_value()
                opened.lease_epoch = context["epoch"].get_value()
            elif isinstance(context, SMB2CreateDurableHandleResponse):
                opened.durable = "v1"
            elif isinstance(context, SMB2CreateDurableHandleResponseV2):
                opened.durable = "persistent" if context["flags"].get_value() & PERSISTENT else "v2"
                opened.timeout = context["timeout"].get_value()
        return opened

    def read(self, opened, length):
        return told(opened.file.read, 0, length)

    def write(self, opened, octets):
        return told(opened.file.write, octets, 0)

    def close(self, opened):
        told(opened.file.close)

    def begin_lock(self, opened, offset, length, flags):
        element = SMB2LockElement()
        element["offset"], element["length"], element["flags"] = offset, length, flags
        message, receive = opened.file.lock([element], send=False)
        return receive, self._send(message)

    def finish_lock(self, pending):
        receive, request = pending
        told(receive, request)

    def next_break(self, seconds):
        octets = self.unasked.breaks.get(timeout=seconds)
        number = lambda start, size: int.from_bytes(octets[start : start + size], "little")  # noqa: E731
        if number(0, 2) == 44:  # MS-SMB2 2.2.23.2
            return Break("lease", octets[8:24], number(28, 4), number(24, 4), number(2, 2), number(4, 4) & 1 == 1)
        return Break("oplock", octets[8:24], number(2, 1))  # MS-SMB2 2.2.23.1

    def acknowledge(self, told_, state):
        if told_.kind == "lease":
            message = LeaseAck()
            message["key"], message["state"] = told_.name, state
        else:
            message = OplockAck()
            message["file_id"], message["level"] = told_.name, state
        try:
            self.connection.receive(self._send(message), timeout=10)
        except SMBResponseException as error:
            return error.status & 0xFFFFFFFF
        return 0

    def cut(self):
        self.connection.disconnect(close=False)


if __name__ == "__main__":
    # A connection that is cut is not an error here.
    logging.disable(logging.CRITICAL)
    checks.main(Client)
