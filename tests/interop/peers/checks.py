"""What each client library is asked to see. A library is a class with the methods of `Client`."""

import abc
import sys
import time
import traceback
import uuid
from dataclasses import dataclass

R, H, W = 1, 2, 4
NONE, II, EXCLUSIVE, BATCH, LEASE = 0x00, 0x01, 0x08, 0x09, 0xFF
READ_WRITE = 0x0012019F  # FILE_GENERIC_READ | FILE_GENERIC_WRITE
SHARE_ALL = 7
OPEN, CREATE, OPEN_IF, OVERWRITE = 1, 2, 3, 4
DIRECTORY = 1

LOCK_NOT_GRANTED = 0xC0000055
FILE_LOCK_CONFLICT = 0xC0000054
RANGE_NOT_LOCKED = 0xC000007E
SHARING_VIOLATION = 0xC0000043
OBJECT_NAME_NOT_FOUND = 0xC0000034
REQUEST_NOT_ACCEPTED = 0xC00000D0

DIALECTS = {"2.0.2": 0x202, "2.1": 0x210, "3.0": 0x300, "3.0.2": 0x302, "3.1.1": 0x311}


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, status):
        super().__init__(f"status {status & 0xFFFFFFFF:#010x}")
        self.status = status & 0xFFFFFFFF


@dataclass
class Wish:
    """What goes into a CREATE."""

    access: int = READ_WRITE
    share: int = SHARE_ALL
    disposition: int = OPEN_IF
    options: int = 0
    oplock: int = NONE
    lease: tuple | None = None  # (key, state), version 2
    durable: str | bytes | None = None  # "v1", or the CreateGuid of version 2
    persistent: bool = False
    reconnect: bytes | None = None  # the FileId that is wanted back


@dataclass
class Opened:
    """What came back."""

    file_id: bytes
    oplock: int
    size: int
    lease_key: bytes | None = None
    lease_state: int | None = None
    lease_epoch: int | None = None
    durable: str | None = None  # "v1", "v2" or "persistent"
    timeout: int | None = None


@dataclass
class Break:
    """A notification."""

    kind: str  # "lease" or "oplock"
    name: bytes  # the lease key, or the FileId
    new: int
    old: int | None = None
    epoch: int | None = None
    acknowledge: bool | None = None


class Client(abc.ABC):
    """One connection with one session and one tree."""

    dialects = tuple(DIALECTS)

    @abc.abstractmethod
    def __init__(self, place, guid, dialect=None, share="share"): ...

    @abc.abstractmethod
    def begin_create(self, path, wish): ...

    @abc.abstractmethod
    def finish_create(self, pending): ...

    @abc.abstractmethod
    def read(self, opened, length): ...

    @abc.abstractmethod
    def write(self, opened, octets): ...

    @abc.abstractmethod
    def close(self, opened): ...

    @abc.abstractmethod
    def begin_lock(self, opened, offset, length, flags): ...

    @abc.abstractmethod
    def finish_lock(self, pending): ...

    @abc.abstractmethod
    def next_break(self, seconds): ...

    @abc.abstractmethod
    def acknowledge(self, told, state):
        """The status of the answer."""

    @abc.abstractmethod
    def cut(self):
        """Ends the connection without a word."""

    def create(self, path, wish):
        return self.finish_create(self.begin_create(path, wish))

    def lock(self, *what):
        return self.finish_lock(self.begin_lock(*what))


SHARED, EXCLUSIVELY, UNLOCK, AT_ONCE = 1, 2, 4, 0x10


class World:
    """The clients of one check, and a file of its own."""

    def __init__(self, client, place, name):
        self._client, self._place, self._all = client, place, []
        self.path = f"{name}-{uuid.uuid4().hex[:8]}.dat"

    def connect(self, guid=None, **more):
        client = self._client(self._place, guid or uuid.uuid4().bytes, **more)
        self._all.append(client)
        return client

    def end(self):
        for client in self._all:
            try:
                client.cut()
            except Exception:  # noqa: BLE001: it may be cut already
                pass


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, expected {wanted!r}")


def refused(status, act, *arguments):
    try:
        act(*arguments)
    except Refused as answer:
        same(hex(answer.status), hex(status), "status")
    else:
        raise AssertionError(f"succeeded, expected {status:#010x}")


def key():
    return uuid.uuid4().bytes


def settled():
    """A connection that was cut is seen to be so by the server a little later."""
    time.sleep(0.5)


# The checks. Each takes a World.


def dialect(label):
    def check(world):
        one = world.connect(dialect=DIALECTS[label])
        file = one.create(world.path, Wish())
        one.write(file, b"in each dialect")
        same(one.read(file, 15), b"in each dialect", "what was written")
        one.close(file)
        file = one.create(world.path, Wish(disposition=OPEN))
        same(file.size, 15, "size")
        same(one.read(file, 15), b"in each dialect", "what was written before")

    check.__name__ = f"read_and_write_in_{label}"
    return check


def lease_is_granted(world):
    one, name = world.connect(), key()
    file = one.create(world.path, Wish(lease=(name, R | W | H)))
    same((file.oplock, file.lease_key, file.lease_state), (LEASE, name, R | W | H), "lease")
    # MS-SMB2 3.3.5.9.11: one more than what was asked with, which is 0.
    same(file.lease_epoch, 1, "epoch")


def lease_is_broken_and_acknowledged(world):
    one, two, name = world.connect(), world.connect(), key()
    one.create(world.path, Wish(lease=(name, R | W | H)))
    pending = two.begin_create(world.path, Wish(disposition=OPEN))
    told = one.next_break(10)
    same((told.kind, told.name, told.old, told.new), ("lease", name, R | W | H, R | H), "first break")
    same((told.epoch, told.acknowledge), (2, True), "epoch, and whether to acknowledge")
    same(one.acknowledge(told, R | H), 0, "acknowledgment")
    other = two.finish_create(pending)
    two.write(other, b"two")
    told = one.next_break(10)
    same((told.name, told.old, told.new), (name, R | H, 0), "second break")
    same(one.acknowledge(told, 0), 0, "acknowledgment")


def more_than_told_is_not_acknowledged(world):
    one, two, name = world.connect(), world.connect(), key()
    one.create(world.path, Wish(lease=(name, R | W | H)))
    pending = two.begin_create(world.path, Wish(disposition=OPEN))
    told = one.next_break(10)
    same(hex(one.acknowledge(told, R | W | H)), hex(REQUEST_NOT_ACCEPTED), "acknowledgment of more")
    same(one.acknowledge(told, R | H), 0, "acknowledgment")
    two.finish_create(pending)


def directory_lease_is_broken(world):
    one, two, name = world.connect(), world.connect(), key()
    folder = world.path + ".dir"
    file = one.create(folder, Wish(access=0x00120089, options=DIRECTORY, lease=(name, R | H)))
    same((file.oplock, file.lease_state), (LEASE, R | H), "lease")
    two.create(f"{folder}\\new.dat", Wish(disposition=CREATE))
    told = one.next_break(10)
    same((told.kind, told.name, told.old, told.new), ("lease", name, R | H, 0), "break")
    same(one.acknowledge(told, 0), 0, "acknowledgment")


def durable_v2_comes_back(world):
    guid, name, create_guid = key(), key(), key()
    one = world.connect(guid)
    file = one.create(world.path, Wish(lease=(name, R | W | H), durable=create_guid))
    same(file.durable, "v2", "durable")
    one.write(file, b"kept")
    one.cut()
    settled()
    again = world.connect(guid)
    wish = Wish(lease=(name, R | W | H), durable=create_guid, reconnect=file.file_id)
    back = again.create(world.path, wish)
    same(back.file_id[:8], file.file_id[:8], "the persistent half of the FileId")
    same((back.lease_key, back.lease_state), (name, R | W | H), "lease")
    same(again.read(back, 4), b"kept", "what was written")
    again.write(back, b"KEPT")
    again.close(back)


def durable_v2_is_broken_after_it_came_back(world):
    guid, name, create_guid = key(), key(), key()
    one, two = world.connect(guid), world.connect()
    file = one.create(world.path, Wish(lease=(name, R | W | H), durable=create_guid))
    one.cut()
    settled()
    again = world.connect(guid)
    again.create(world.path, Wish(lease=(name, R | W | H), durable=create_guid, reconnect=file.file_id))
    pending = two.begin_create(world.path, Wish(disposition=OPEN))
    told = again.next_break(10)
    same((told.name, told.old, told.new), (name, R | W | H, R | H), "break")
    same(again.acknowledge(told, R | H), 0, "acknowledgment")
    two.finish_create(pending)


def durable_v2_of_another_guid_is_refused(world):
    guid, name = key(), key()
    one = world.connect(guid)
    file = one.create(world.path, Wish(lease=(name, R | W | H), durable=key()))
    same(file.durable, "v2", "durable")
    one.cut()
    settled()
    again = world.connect(guid)
    wrong = Wish(lease=(name, R | W | H), durable=key(), reconnect=file.file_id)
    refused(OBJECT_NAME_NOT_FOUND, again.create, world.path, wrong)


def durable_v2_gives_way(world):
    guid, name, create_guid = key(), key(), key()
    one = world.connect(guid)
    file = one.create(world.path, Wish(lease=(name, R | W | H), durable=create_guid))
    one.cut()
    settled()
    two = world.connect()
    other = two.create(world.path, Wish(disposition=OPEN, lease=(key(), R | W | H)))
    same(other.lease_state, R | W | H, "lease of who came after")
    again = world.connect(guid)
    wish = Wish(lease=(name, R | W | H), durable=create_guid, reconnect=file.file_id)
    refused(OBJECT_NAME_NOT_FOUND, again.create, world.path, wish)


def durable_v1_comes_back(world):
    guid = key()
    one = world.connect(guid)
    file = one.create(world.path, Wish(oplock=BATCH, durable="v1"))
    same((file.oplock, file.durable), (BATCH, "v1"), "oplock, durable")
    one.write(file, b"kept")
    one.cut()
    settled()
    again = world.connect(guid)
    back = again.create(world.path, Wish(oplock=BATCH, durable="v1", reconnect=file.file_id))
    same(back.oplock, BATCH, "oplock")
    same(again.read(back, 4), b"kept", "what was written")


def durable_needs_a_handle_lease(world):
    one = world.connect()
    file = one.create(world.path, Wish(lease=(key(), R), durable=key()))
    same((file.lease_state, file.durable), (R, None), "lease, durable")


def persistent_comes_back(world):
    guid, name, create_guid = key(), key(), key()
    one = world.connect(guid, share="share_ca")
    file = one.create(world.path, Wish(lease=(name, R | H), durable=create_guid, persistent=True))
    same(file.durable, "persistent", "durable")
    one.write(file, b"kept")
    one.cut()
    settled()
    again = world.connect(guid, share="share_ca")
    wish = Wish(lease=(name, R | H), durable=create_guid, persistent=True, reconnect=file.file_id)
    back = again.create(world.path, wish)
    same(again.read(back, 4), b"kept", "what was written")


def oplock_is_broken_and_acknowledged(world):
    one, two = world.connect(), world.connect()
    file = one.create(world.path, Wish(oplock=BATCH))
    same(file.oplock, BATCH, "oplock")
    pending = two.begin_create(world.path, Wish(disposition=OPEN, oplock=BATCH))
    told = one.next_break(10)
    same((told.kind, told.name, told.new), ("oplock", file.file_id, II), "break")
    same(one.acknowledge(told, II), 0, "acknowledgment")
    other = two.finish_create(pending)
    same(other.oplock, II, "oplock of the second")
    # A level II goes without an acknowledgment.
    two.write(other, b"two")
    told = one.next_break(10)
    same((told.name, told.new), (file.file_id, NONE), "break")


def close_stands_for_an_acknowledgment(world):
    one, two = world.connect(), world.connect()
    file = one.create(world.path, Wish(oplock=EXCLUSIVE))
    same(file.oplock, EXCLUSIVE, "oplock")
    pending = two.begin_create(world.path, Wish(disposition=OPEN, oplock=BATCH))
    one.next_break(10)
    one.close(file)
    same(two.finish_create(pending).oplock, BATCH, "oplock of the second")


def share_modes_are_kept(world):
    one, two = world.connect(), world.connect()
    one.create(world.path, Wish(share=0))
    refused(SHARING_VIOLATION, two.create, world.path, Wish(disposition=OPEN))


def locks_exclude(world):
    one, two = world.connect(), world.connect()
    mine, theirs = one.create(world.path, Wish()), two.create(world.path, Wish())
    one.write(mine, b"0123456789")
    one.lock(mine, 0, 5, EXCLUSIVELY | AT_ONCE)
    refused(LOCK_NOT_GRANTED, two.lock, theirs, 4, 2, SHARED | AT_ONCE)
    refused(FILE_LOCK_CONFLICT, two.read, theirs, 5)
    two.lock(theirs, 5, 5, EXCLUSIVELY | AT_ONCE)
    one.lock(mine, 0, 5, UNLOCK)
    same(two.read(theirs, 5), b"01234", "what can be read again")


def lock_is_waited_for(world):
    one, two = world.connect(), world.connect()
    mine, theirs = one.create(world.path, Wish()), two.create(world.path, Wish())
    one.lock(mine, 0, 5, EXCLUSIVELY | AT_ONCE)
    pending = two.begin_lock(theirs, 0, 5, EXCLUSIVELY)
    time.sleep(0.3)
    one.lock(mine, 0, 5, UNLOCK)
    two.finish_lock(pending)
    refused(LOCK_NOT_GRANTED, one.lock, mine, 0, 5, SHARED | AT_ONCE)


def lock_comes_back_with_its_handle(world):
    guid, name, create_guid = key(), key(), key()
    one = world.connect(guid)
    wish = Wish(lease=(name, R | W | H), durable=create_guid)
    file = one.create(world.path, wish)
    one.lock(file, 0, 5, EXCLUSIVELY | AT_ONCE)
    one.cut()
    settled()
    again = world.connect(guid)
    wish.reconnect = file.file_id
    back = again.create(world.path, wish)
    # It is there to be given up, once.
    again.lock(back, 0, 5, UNLOCK)
    refused(RANGE_NOT_LOCKED, again.lock, back, 0, 5, UNLOCK)


CHECKS = (
    lease_is_granted,
    lease_is_broken_and_acknowledged,
    more_than_told_is_not_acknowledged,
    directory_lease_is_broken,
    durable_v2_comes_back,
    durable_v2_is_broken_after_it_came_back,
    durable_v2_of_another_guid_is_refused,
    durable_v2_gives_way,
    durable_v1_comes_back,
    durable_needs_a_handle_lease,
    persistent_comes_back,
    oplock_is_broken_and_acknowledged,
    close_stands_for_an_acknowledgment,
    share_modes_are_kept,
    locks_exclude,
    lock_is_waited_for,
    lock_comes_back_with_its_handle,
)


def main(client):
    """`PEER HOST PORT USER PASSWORD [CHECK]...`: prints `ok` or `FAILED` for each."""
    host, port, user, password, *only = sys.argv[1:]
    failed = 0
    checks = [dialect(label) for label in client.dialects] + list(CHECKS)
    chosen = [check for check in checks if not only or check.__name__ in only]
    if not chosen:
        sys.exit(f"no check is called {only}")
    for check in chosen:
        name = check.__name__
        world = World(client, (host, int(port), user, password), name)
        try:
            check(world)
            print(f"ok {name}", flush=True)
        except Exception as error:  # noqa: BLE001: whatever it is, this check failed
            failed += 1
            where = traceback.extract_tb(error.__traceback__)
            line = next((frame.lineno for frame in where if frame.filename == __file__ and frame.name == check.__code__.co_name), "?")
            print(f"FAILED {name}: {type(error).__name__}, line {line}: {error}", flush=True)
        finally:
            world.end()
    print(f"{len(chosen) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
