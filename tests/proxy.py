"""A proxy between a client and its server that cuts, stalls, loses and counts.

It reads what the server says message by message, so that a cut can fall between two of them, or inside one:
`reply_end` for Redis, `frame_end` for sockets. What the client says passes as it comes.
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Split = Callable[[bytes, int], int | None]
"""Where the message that begins at an offset ends, or None while it is not all there."""


def reply_end(data: bytes, at: int = 0) -> int | None:
    """One RESP2 reply."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    end = line + 2
    match data[at : at + 1]:
        case b"$":
            size = int(data[at + 1 : line])
            end += size + 2 if size >= 0 else 0
            return end if end <= len(data) else None
        case b"*":
            for _ in range(int(data[at + 1 : line])):
                part = reply_end(data, end)
                if part is None:
                    return None
                end = part
    return end


def frame_end(data: bytes, at: int = 0) -> int | None:
    """One WebSocket frame of a server (RFC 6455, section 5.2: not masked), or the HTTP answer before the first."""
    if data[at : at + 5] == b"HTTP/":
        head = data.find(b"\r\n\r\n", at)
        return None if head < 0 else head + 4
    if len(data) < at + 2:
        return None
    size, start = data[at + 1] & 0x7F, at + 2
    if size >= 126:
        more = 2 if size == 126 else 8
        if len(data) < start + more:
            return None
        size, start = int.from_bytes(data[start : start + more]), start + more
    return start + size if start + size <= len(data) else None


def pushed_on(message: bytes) -> str | None:
    """The shard channel of a message that Redis pushed; None for any other reply."""
    if not message.startswith(b"*3\r\n$8\r\nsmessage\r\n"):
        return None
    return message.split(b"\r\n", 5)[4].decode()


@dataclass(frozen=True)
class Cut:
    """After so many messages of the server on one connection, and so many bytes of the next."""

    messages: int
    more_bytes: int = 0


@dataclass(eq=False)
class _Pair:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    subscriber: bool = False

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Listens in front of a server: a port here, or a unix socket, and listens on the same kind.

    `lose` picks messages of the server that vanish. `cut` gives each new connection, by its number from 0,
    its end, or None. With `open` False new connections are dropped at once.
    """

    def __init__(self, server: int | Path, split: Split) -> None:
        self.lose: Callable[[bytes], bool] = lambda message: False
        self.cut: Callable[[int], Cut | None] = lambda number: None
        self.open = True
        self.connections = 0
        self.cuts = 0
        self.lost = 0
        self.waiting = 0
        """Directions of connections in which something is stalled."""
        self.port = 0
        self._server = server
        self._split = split
        self._flows = asyncio.Event()
        self._flows.set()
        self._stalls: Callable[[_Pair, bool], bool]
        self._pairs: set[_Pair] = set()
        self._directory = tempfile.TemporaryDirectory(prefix="bh-")
        self._path = Path(self._directory.name) / "s"
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Of a Redis behind the proxy."""
        return f"unix://{self._path}"

    async def start(self) -> "Proxy":
        if isinstance(self._server, Path):
            self._listener = await asyncio.start_unix_server(self._connected, self._path)
        else:
            self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        self.open = False
        self.flow()
        self.cut_now()
        await self._listener.wait_closed()
        self._directory.cleanup()

    def stall(self) -> None:
        """Nothing passes in either direction, and nothing is lost, until `flow`."""
        self._stalls = lambda pair, upwards: True
        self._flows.clear()

    def stall_answers(self) -> None:
        """Only what Redis answers does not pass until `flow`; commands do, and what is pushed to subscribers."""
        self._stalls = lambda pair, upwards: not upwards and not pair.subscriber
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def cut_now(self) -> None:
        """Drops every connection that is open."""
        for pair in self._pairs:
            pair.abort()

    def inject(self, command: bytes) -> None:
        """Says something to Redis in the name of whoever subscribes through the proxy."""
        for pair in self._pairs:
            if pair.subscriber:
                pair.server.write(command)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self.open:
                return
            number, self.connections = self.connections, self.connections + 1
            server_reader, server_writer = await self._dial()
            await self._pass(_Pair(writer, server_writer), reader, server_reader, self.cut(number))
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._server, Path):
            return await asyncio.open_unix_connection(self._server)
        return await asyncio.open_connection("127.0.0.1", self._server)

    async def _pass(
        self, pair: _Pair, client: asyncio.StreamReader, server: asyncio.StreamReader, cut: Cut | None
    ) -> None:
        """Both directions; the end of one is the end of both."""
        self._pairs.add(pair)
        directions = [asyncio.create_task(self._up(pair, client)), asyncio.create_task(self._down(pair, server, cut))]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            pair.abort()
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _turn(self, pair: _Pair, *, upwards: bool) -> None:
        """Waits while this direction of a connection is stalled."""
        if not self._flows.is_set() and self._stalls(pair, upwards):
            self.waiting += 1
            await self._flows.wait()
            self.waiting -= 1

    async def _up(self, pair: _Pair, client: asyncio.StreamReader) -> None:
        while data := await client.read(64 * 1024):
            await self._turn(pair, upwards=True)
            pair.subscriber |= b"SSUBSCRIBE" in data
            pair.server.write(data)
            await pair.server.drain()

    async def _down(self, pair: _Pair, server: asyncio.StreamReader, cut: Cut | None) -> None:
        rest, messages = b"", 0
        while data := await server.read(64 * 1024):
            await self._turn(pair, upwards=False)
            rest += data
            at = 0
            while True:
                if cut is not None and messages == cut.messages and len(rest) >= at + cut.more_bytes:
                    pair.client.write(rest[at : at + cut.more_bytes])
                    await pair.client.drain()
                    self.cuts += 1
                    return
                end = self._split(rest, at)
                if end is None:
                    break
                messages += 1
                if self.lose(rest[at:end]):
                    self.lost += 1
                else:
                    pair.client.write(rest[at:end])
                at = end
            rest = rest[at:]
            await pair.client.drain()
