"""impacket as a client. It has the structures, and no calls that use them: contexts, breaks and locks are put together here."""

import struct

from impacket.nmb import NetBIOSTimeout
from impacket.smb3 import SMB3, SessionError
from impacket.smb3structs import (
    SMB2_CLOSE,
    SMB2_CREATE,
    SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2,
    SMB2_CREATE_DURABLE_HANDLE_RESPONSE_V2,
    SMB2_CREATE_REQUEST_LEASE_V2,
    SMB2_FILEID,
    SMB2_GLOBAL_CAP_DIRECTORY_LEASING,
    SMB2_GLOBAL_CAP_LEASING,
    SMB2_GLOBAL_CAP_PERSISTENT_HANDLES,
    SMB2_LOCK,
    SMB2_LOCK_ELEMENT,
    SMB2_NEGOTIATE,
    SMB2_OPLOCK_BREAK,
    SMB2Close,
    SMB2Create,
    SMB2Create_Response,
    SMB2LeaseBreakAcknowledgement,
    SMB2LeaseBreakNotification,
    SMB2Lock,
    SMB2OplockBreakAcknowledgment,
    SMB2OplockBreakNotification,
    SMB2Packet,
)

import checks
from checks import LEASE, Break, Opened, Refused

UNASKED = 0xFFFFFFFFFFFFFFFF
PERSISTENT = 2
CAPABILITIES = (
    SMB2_GLOBAL_CAP_LEASING | SMB2_GLOBAL_CAP_DIRECTORY_LEASING | SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
)


class Connection(SMB3):
    """A connection of a client that says who it is; the library makes one up."""

    def __init__(self, guid, *arguments, **more):
        self.guid = guid
        super().__init__(*arguments, **more)

    def negotiateSession(self, *arguments):
        self.ClientGuid = self.guid
        return super().negotiateSession(*arguments)

    def sendSMB(self, packet):
        if packet["Command"] == SMB2_NEGOTIATE:
            packet["Data"]["Capabilities"] |= CAPABILITIES
        return super().sendSMB(packet)


def told(act, *arguments, **more):
    try:
        return act(*arguments, **more)
    except SessionError as error:
        raise Refused(error.get_error_code()) from None


def pack(contexts):
    """MS-SMB2 2.2.13.2: a chain, each element at a multiple of eight."""
    chain = b""
    for place, (name, data) in enumerate(contexts):
        element = struct.pack("<IHHHHI", 0, 16, len(name), 0, 24 if data else 0, len(data)) + name + bytes(4) + data
        if place + 1 < len(contexts):
            element += bytes(-len(element) % 8)
            element = struct.pack("<I", len(element)) + element[4:]
        chain += element
    return chain


def unpack(chain):
    found = {}
    while len(chain) >= 16:
        step, name_at, name_size, _, data_at, data_size = struct.unpack_from("<IHHHHI", chain)
        found[chain[name_at : name_at + name_size]] = chain[data_at : data_at + data_size]
        if not step:
            break
        chain = chain[step:]
    return found


class Client(checks.Client):
    def __init__(self, place, guid, dialect=None, share="share"):
        host, port, user, password = place
        self.smb = Connection(guid, host, host, sess_port=port, timeout=10, preferredDialect=dialect or 0x311)
        told(self.smb.login, user, password)
        self.tree = told(self.smb.connectTree, share)

    def _send(self, command, body):
        packet = self.smb.SMB_PACKET()
        packet["Command"], packet["TreeID"], packet["Data"] = command, self.tree, body
        return self.smb.sendSMB(packet)

    def _receive(self, number):
        answer = self.smb.recvSMB(number)
        told(answer.isValidAnswer, 0)
        return answer["Data"]

    def begin_create(self, path, wish):
        contexts = []
        flags = PERSISTENT if wish.persistent else 0
        if wish.durable == "v1":
            contexts.append((b"DHnC", wish.reconnect) if wish.reconnect else (b"DHnQ", bytes(16)))
        elif wish.durable and wish.reconnect:
            contexts.append((b"DH2C", wish.reconnect + wish.durable + struct.pack("<I", flags)))
        elif wish.durable:
            request = SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2()
            request["Flags"], request["Reserved"], request["CreateGuid"] = flags, bytes(8), wish.durable
            contexts.append((b"DH2Q", request.getData()))
        if wish.lease:
            lease = SMB2_CREATE_REQUEST_LEASE_V2()
            lease["LeaseKey"], lease["LeaseState"] = wish.lease
            lease["ParentLeaseKey"] = bytes(16)
            contexts.append((b"RqLs", lease.getData()))
        name = path.encode("utf-16le")
        body = SMB2Create()
        body["RequestedOplockLevel"] = LEASE if wish.lease else wish.oplock
        body["ImpersonationLevel"] = 2
        body["DesiredAccess"], body["ShareAccess"] = wish.access, wish.share
        body["CreateDisposition"], body["CreateOptions"] = wish.disposition, wish.options
        body["NameLength"], body["Buffer"] = len(name), name
        if contexts:
            at = len(SMB2Packet()) + SMB2Create.SIZE + len(name)
            chain = pack(contexts)
            body["Buffer"] = name + bytes(-at % 8) + chain
            body["CreateContextsOffset"], body["CreateContextsLength"] = at + -at % 8, len(chain)
        return self._send(SMB2_CREATE, body)

    def finish_create(self, pending):
        answer = SMB2Create_Response(self._receive(pending))
        file_id = answer["FileID"].getData()
        # So that the library's own calls know it.
        self.smb._Session["OpenTable"][file_id] = {"FileName": "", "TreeConnect": self.tree}
        opened = Opened(file_id, answer["OplockLevel"], answer["EndOfFile"])
        contexts = unpack(answer["Buffer"]) if answer["CreateContextsLength"] else {}
        if b"RqLs" in contexts:
            lease = SMB2_CREATE_REQUEST_LEASE_V2(contexts[b"RqLs"])
            opened.lease_key, opened.lease_state = lease["LeaseKey"], lease["LeaseState"]
            opened.lease_epoch = lease["Epoch"]
        if b"DHnQ" in contexts:
            opened.durable = "v1"
        if b"DH2Q" in contexts:
            durable = SMB2_CREATE_DURABLE_HANDLE_RESPONSE_V2(contexts[b"DH2Q"])
            opened.durable = "persistent" if durable["Flags"] & PERSISTENT else "v2"
            opened.timeout = durable["Timeout"]
        return opened

    def read(self, opened, length):
        return told(self.smb.read, self.tree, opened.file_id, 0, length)

    def write(self, opened, octets):
        return told(self.smb.write, self.tree, opened.file_id, octets, 0, len(octets))

    def close(self, opened):
        body = SMB2Close()
        body["FileID"] = opened.file_id
        self._receive(self._send(SMB2_CLOSE, body))

    def begin_lock(self, opened, offset, length, flags):
        element = SMB2_LOCK_ELEMENT()
        element["Offset"], element["Length"], element["Flags"] = offset, length, flags
        body = SMB2Lock()
        body["LockCount"], body["FileID"] = 1, SMB2_FILEID(opened.file_id)
        body["Locks"] = element.getData()
        return self._send(SMB2_LOCK, body)

    def finish_lock(self, pending):
        self._receive(pending)

    def next_break(self, seconds):
        self.smb.setTimeout(seconds)
        window = self.smb._Connection["SequenceWindow"]
        try:
            octets = self.smb.recvSMB(UNASKED)["Data"]
        except NetBIOSTimeout:
            raise AssertionError(f"no break in {seconds} s") from None
        # A notification charges no credit; the library takes one back, and would use a MessageId twice.
        self.smb._Connection["SequenceWindow"] = window
        if octets[0] == 44:
            lease = SMB2LeaseBreakNotification(octets)
            # The library calls the epoch of the second version reserved, by the text of the first.
            epoch = struct.unpack_from("<H", octets, 2)[0]
            old, new = lease["CurrentLeaseState"], lease["NewLeaseState"]
            return Break("lease", lease["LeaseKey"], new, old, epoch, lease["Flags"] & 1 == 1)
        oplock = SMB2OplockBreakNotification(octets)
        return Break("oplock", oplock["FileID"].getData(), oplock["OplockLevel"])

    def acknowledge(self, told_, state):
        if told_.kind == "lease":
            body = SMB2LeaseBreakAcknowledgement()
            body["LeaseKey"], body["LeaseState"] = told_.name, state
        else:
            body = SMB2OplockBreakAcknowledgment()
            body["FileID"], body["OplockLevel"] = SMB2_FILEID(told_.name), state
        return self.smb.recvSMB(self._send(SMB2_OPLOCK_BREAK, body))["Status"]

    def cut(self):
        self.smb.close_session()


if __name__ == "__main__":
    checks.main(Client)
