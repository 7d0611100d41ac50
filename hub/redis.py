"""Connections to Redis that carry the traffic: one for commands, shared by everybody, and one for events.

redis-py costs 40-160 µs a command and takes a connection for each one in flight; here the calls of one loop
tick leave in one write on one connection. redis-py stays for administration (`projects.py`, `embedded.py`).
Nothing is ever sent twice: what may be repeated carries its own key in the script.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import hiredis
from redis.asyncio.connection import parse_url

from hub.errors import Refused, unavailable

log = logging.getLogger("bellhub.redis")

Value = str | bytes | int
Reply = Any
"""bytes, int, None, or a list of replies; `hiredis.ReplyError` where a command failed."""

DEADLINE_S = 5.0
"""A command without an answer for this long takes its connection down with it."""
_NOTHING = object()


class Wire(asyncio.Protocol):
    """One RESP2 connection. Commands of one loop tick leave in one write; replies arrive in order."""

    def __init__(self, on_reply: Callable[[Reply], None]) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_reply = on_reply
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                self._on_reply(reply)
        except hiredis.ProtocolError:
            log.exception("redis.protocol_error")
            self.abort()

    def send(self, *command: Value) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub knows one argument

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(unsent))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def connect(url: str, on_reply: Callable[[Reply], None]) -> Wire:
    """A fresh connection to `redis://`, `rediss://` or `unix://`; nothing has been said on it yet.

    Raises OSError or TimeoutError.
    """
    at = parse_url(url)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        if "path" in at:
            _, wire = await loop.create_unix_connection(lambda: Wire(on_reply), at["path"])
        else:
            context = ssl.create_default_context() if url.startswith("rediss") else None
            if context is not None and at.get("ssl_cert_reqs") == "none":
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            host, port = at.get("host", "localhost"), at.get("port", 6379)
            _, wire = await loop.create_connection(lambda: Wire(on_reply), host, port, ssl=context)
    return wire


def greetings(url: str) -> list[tuple[Value, ...]]:
    """The commands that a new connection starts with."""
    at = parse_url(url)
    commands: list[tuple[Value, ...]] = []
    if at.get("password"):
        user = (at["username"],) if at.get("username") else ()
        commands.append(("AUTH", *user, at["password"]))
    if at.get("db"):
        commands.append(("SELECT", at["db"]))
    return commands


async def keep_alive(live_once: Callable[[], Awaitable[None]], unreachable: str) -> None:
    """Lives on one connection after the other, for ever; `unreachable` is the event logged when there is none."""
    delay = 0.05
    while True:
        try:
            await live_once()
            delay = 0.05
        except (OSError, TimeoutError, hiredis.ReplyError) as error:
            log.warning(unreachable, extra={"error": str(error) or type(error).__name__})
        except Refused as refused:  # the store stopped answering while the connection was made ready
            if not refused.temporary:
                raise
        await asyncio.sleep(delay)
        delay = min(delay * 2, 1.0)


Ask = Callable[..., Awaitable[Reply]]
"""Sends one command on a connection that is not open to others yet."""


class Link:
    """The command connection. `run` keeps it alive; `call` fails at once while it is down."""

    def __init__(self, prepare: Callable[["Ask"], Awaitable[None]]) -> None:
        self.url: str  # set before `run`: an embedded store has none before it was started
        self.up = asyncio.Event()
        self._prepare = prepare
        self._wire: Wire | None = None
        self._waiting: deque[tuple[float, asyncio.Future[Reply]]] = deque()

    def call(self, *command: Value) -> asyncio.Future[Reply]:
        """Sends one command; the future brings its reply, or `hiredis.ReplyError`, or `Refused` (unavailable).

        Cancelling the future is safe: its reply is dropped in its turn.
        """
        if self._wire is None:
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            future.set_exception(unavailable("the store cannot be reached"))
            return future
        return self._ask(self._wire, *command)

    def _ask(self, wire: Wire, *command: Value) -> asyncio.Future[Reply]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        wire.send(*command)
        self._waiting.append((loop.time(), future))
        return future

    def _replied(self, reply: Reply) -> None:
        _, future = self._waiting.popleft()
        if future.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    async def run(self) -> None:
        """Connects, prepares, waits until the connection is lost, and again; for ever."""
        await keep_alive(self._live_once, "redis.unreachable")

    async def _live_once(self) -> None:
        wire = await connect(self.url, self._replied)
        guard = asyncio.create_task(self._guard(wire))
        try:
            # Nobody else may send yet: a command that overtakes SELECT is done in another database.
            for command in greetings(self.url):
                await self._ask(wire, *command)
            await self._prepare(partial(self._ask, wire))
            self._wire = wire
            self.up.set()
            await wire.lost
            log.warning("redis.connection_lost")
        finally:
            self.up.clear()
            self._wire = None
            guard.cancel()
            wire.abort()
            self._fail_waiting()

    async def _guard(self, wire: Wire) -> None:
        """Ends a connection that does not answer, and with any connection the wait for its answers."""
        loop = asyncio.get_running_loop()
        while not wire.lost.done():
            await asyncio.wait({wire.lost}, timeout=0.5)
            if self._waiting and loop.time() - self._waiting[0][0] > DEADLINE_S:
                wire.abort()
                break
        self._fail_waiting()  # also what `_prepare` waits for

    def _fail_waiting(self) -> None:
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(unavailable("the store did not answer"))
                future.exception()  # a caller that is gone is no reason for a warning
