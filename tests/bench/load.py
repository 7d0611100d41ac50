"""A light load client: raw protocols that speak WebSocket and JSON by hand, so that the client costs less than
what it loads.

It believes nothing: every session keeps the cursor of every event it was given, and `Load.tally` compares them
with what was asked for. Times are `time.perf_counter` seconds.
"""

import asyncio
import itertools
import json
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

Result = TypeVar("Result")

PATIENCE_S = 15.0
"""How long an answer may take before it counts as lost."""
QUIET_S = 0.05
"""After everything has arrived: time in which a second copy would."""

_UPGRADE = (
    b"GET /ws/v1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_TYPE = re.compile(rb'\{"type":"(\w+)"')
_CURSOR = re.compile(rb'"cursor":"([^"]+)"')
_ENTRY = re.compile(rb'"entry":\{"id":"([^"]+)"')
NUMBER = re.compile(rb'"n":(\d+)')
"""The number of a send, inside the entry's `data`."""


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs it on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def notification(user: str, number: int) -> dict[str, Any]:
    """What is sent: the second seed document's example entry, numbered."""
    return {
        "category": "order.updates",
        "target": {"type": "user", "id": user},
        "title": "Order Shipped",
        "body": "Your order #12345 has shipped!",
        "url": "https://example.com/orders/12345",
        "topic": "order-updates",
        "sender": {
            "id": "admin_001",
            "type": "user",
            "name": "Admin User",
            "handle": "admin@example.com",
            "avatar_url": "https://example.com/avatars/admin.jpg",
        },
        "data": {"n": number},
    }


def client_frame(kind: str, **fields: Any) -> bytes:
    return masked(json.dumps({"type": kind} | fields, separators=(",", ":")).encode())


def masked(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A client's frame (RFC 6455, section 5.2). The mask is zero: the server unmasks as ever, this side need not."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
    return head + bytes(4) + payload


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Opcode and payload of every complete frame of a server, none of them fragmented; and what is left."""
    found, at, end = [], 0, len(data)
    while end - at >= 2:
        size, head = data[at + 1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            size = int.from_bytes(data[at + 2 : at + head])
        if end - at < head + size:
            break
        found.append((data[at] & 0x0F, data[at + head : at + head + size]))
        at += head + size
    return found, data[at:]


class Session(asyncio.Protocol):
    """One socket that authenticates and, unless told otherwise, follows `inbox`.

    `cursors` and `entries` are those of its events in the order they came; `asked` counts its marks.
    """

    def __init__(self, load: "Load", user: str, opening: bytes, ready_at: bytes) -> None:
        self.user = user
        self.cursors: list[bytes] = []
        self.entries: list[bytes] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked_at = 0.0
        self.asked = 0
        self._load = load
        self._opening = opening
        self._ready_at = ready_at
        self._upgraded = False
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_UPGRADE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the socket ended: {exc or 'end of stream'}")

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self._upgraded:
            head, done, data = data.partition(b"\r\n\r\n")
            if not done:
                self._rest = head
                return
            self._accepted(head)
        found, self._rest = split_frames(data)
        for opcode, payload in found:
            if opcode == _TEXT:
                self._frame(payload)
            elif opcode == _PING:
                self._transport.write(masked(payload, _PONG))

    def _accepted(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101"):
            self._fail(f"no upgrade: {head[:80]!r}")
        self._upgraded = True
        self._transport.write(self._opening)

    def _frame(self, payload: bytes) -> None:
        kind = _group(_TYPE, payload)
        match kind:
            case b"entry" | b"state":
                self.cursors.append(_group(_CURSOR, payload))
                if kind == b"entry":
                    self.entries.append(_group(_ENTRY, payload))
                self._load.on_event(self, payload)
            case b"ack":
                self._load.on_ack(self, payload)
            case b"ping":
                self._transport.write(client_frame("pong"))
            case b"bye" | b"error":
                self._fail(f"was told {payload.decode()[:300]}")
        if kind == self._ready_at and not self.ready.done():
            self.ready.set_result(None)

    def mark(self, verb: str, entry: str) -> None:
        """One mark, with an `op` as a client that means to resend it would."""
        self.asked += 1
        op = f"{id(self):x}-{self.asked}"
        self.asked_at = time.perf_counter()
        self._transport.write(client_frame(verb, ref=self.asked, op=op, channel="inbox", ids=[entry]))

    def end(self) -> None:
        self._transport.abort()

    def _fail(self, why: str) -> None:
        self._load.fail(f"session of {self.user}: {why}")


def _group(pattern: re.Pattern[bytes], payload: bytes) -> bytes:
    found = pattern.search(payload)
    if found is None:
        raise ValueError(f"{pattern.pattern!r} is not in the frame {payload[:80]!r}")
    return cast("bytes", found[1])


@dataclass(frozen=True, slots=True)
class Tally:
    """Events that a session was not given, and events it was given twice."""

    lost: int
    doubled: int


class Load:
    """All sessions of one run. The first thing that breaks ends whatever is awaited here, as RuntimeError.

    `expected` counts, for each user, the changes that every session of that user must be told.
    """

    def __init__(self, port: int, api_key: str, token: Callable[[str], str]) -> None:
        self.sessions: dict[str, list[Session]] = {}
        self.expected: Counter[str] = Counter()
        self.on_event: Callable[[Session, bytes], None] = _nothing
        self.on_ack: Callable[[Session, bytes], None] = _nothing
        self._port = port
        self._api_key = api_key
        self._token = token
        self._ending = False
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def all_sessions(self) -> list[Session]:
        return list(itertools.chain.from_iterable(self.sessions.values()))

    def fail(self, why: str) -> None:
        if not self._ending and not self._broken.done():
            self._broken.set_exception(RuntimeError(why))

    async def connect(self, users: Iterable[str], *, follow: bool = True, at_once: int = 64) -> None:
        """One more session for each user named; all are authenticated, and subscribed, when this returns."""
        waiting = deque([(user, self._opening(user, follow)) for user in users])

        async def worker() -> None:
            while waiting:
                await self._connect_one(*waiting.popleft(), b"subscribed" if follow else b"welcome")

        await self.unless_broken(asyncio.gather(*(worker() for _ in range(at_once))))

    def _opening(self, user: str, follow: bool) -> bytes:
        auth = client_frame("auth", api_key=self._api_key, token=self._token(user))
        return auth + client_frame("subscribe", ref=0, channel="inbox") if follow else auth

    async def _connect_one(self, user: str, opening: bytes, ready_at: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, session = await loop.create_connection(
            lambda: Session(self, user, opening, ready_at), "127.0.0.1", self._port
        )
        await session.ready
        self.sessions.setdefault(user, []).append(session)

    async def unless_broken(self, done: asyncio.Future[Any], timeout: float = 120) -> None:
        """Waits for `done`. Raises what broke the run, or TimeoutError."""
        await asyncio.wait({done, self._broken}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            done.cancel()
            if not self._broken.done():
                raise TimeoutError(f"not done after {timeout:g} s")
        self.check()
        done.result()

    def check(self) -> None:
        """Raises what broke the run, if anything did."""
        if self._broken.done():
            self._broken.result()

    async def go_on(self, seconds: float) -> None:
        await asyncio.wait({self._broken}, timeout=seconds)
        self.check()

    async def settle(self, idle: Callable[[], bool]) -> Tally:
        """Waits until nothing is under way and every event has arrived, or for PATIENCE_S; what is wrong then."""
        deadline = time.perf_counter() + PATIENCE_S
        while not (idle() and self._complete()) and time.perf_counter() < deadline:
            await self.go_on(0.01)
        await self.go_on(QUIET_S)
        return self.tally()

    def _complete(self) -> bool:
        return all(len(session.cursors) >= self.expected[session.user] for session in self.all_sessions)

    def tally(self) -> Tally:
        lost = doubled = 0
        for session in self.all_sessions:
            distinct = len(set(session.cursors))
            lost += max(0, self.expected[session.user] - distinct)
            doubled += len(session.cursors) - distinct
        return Tally(lost, doubled)

    def end(self) -> None:
        self._ending = True
        for session in self.all_sessions:
            session.end()


def _nothing(session: Session, payload: bytes) -> None:
    pass


# ---- doors for sends ---------------------------------------------------------------------------------


class Door(Protocol):
    """Where a send goes in."""

    def send(self, user: str, number: int) -> None: ...


class RestDoor:
    """`POST /v1/messaging/notifications` over keep-alive connections, one request at a time on each.

    A send that finds none free waits in line. `on_stored` is called for each 202.
    """

    def __init__(self, load: Load, secret: str, on_stored: Callable[[], None]) -> None:
        self._load = load
        self._secret = secret
        self._on_stored = on_stored
        self._idle: deque[_Producer] = deque()  # in turn: a server ends one that says nothing for long
        self._waiting: deque[bytes] = deque()
        self._all: list[_Producer] = []

    async def open(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, producer = await loop.create_connection(
                lambda: _Producer(self._answered, self._load.fail), "127.0.0.1", port
            )
            self._all.append(producer)
        self._idle.extend(self._all)

    def send(self, user: str, number: int) -> None:
        request = rest_request(self._secret, user, number)
        if self._idle:
            self._idle.popleft().ask(request)
        else:
            self._waiting.append(request)

    def _answered(self, producer: "_Producer") -> None:
        if self._waiting:
            producer.ask(self._waiting.popleft())
        else:
            self._idle.append(producer)
        self._on_stored()

    def close(self) -> None:
        for producer in self._all:
            producer.end()


def rest_request(secret: str, user: str, number: int) -> bytes:
    body = json.dumps(notification(user, number), separators=(",", ":")).encode()
    head = (
        "POST /v1/messaging/notifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Producer(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, answered: "Callable[[_Producer], None]", fail: Callable[[str], None]) -> None:
        self._answered = answered
        self._fail = fail
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"a producer's connection ended: {exc or 'end of stream'}")

    def ask(self, request: bytes) -> None:
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, done, body = self._data.partition(b"\r\n\r\n")
        if not done or len(body) < _content_length(head):
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self._fail(f"a send was answered {self._data[:300]!r}")
            return
        self._data = b""
        self._answered(self)

    def end(self) -> None:
        self._fail = lambda why: None
        self._transport.abort()


def _content_length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


class PipeDoor:
    """One line of text per send to the standard input of a process that publishes by itself."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, user: str, number: int) -> None:
        os.write(self._fd, f"{user} {number}\n".encode())


def read_pipe_door(take: Callable[[str, int], None]) -> None:
    """The other end of a `PipeDoor`: calls `take` for each send that comes in by standard input."""
    rest = b""

    def readable() -> None:
        nonlocal rest
        data = os.read(0, 65536)
        if not data:
            loop.remove_reader(0)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            user, number = line.decode().split()
            take(user, int(number))

    loop = asyncio.get_running_loop()
    loop.add_reader(0, readable)
