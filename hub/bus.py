"""The doorbell: one subscriber connection, on which the users of this process are followed.

Pub/sub is at most once, on a good day; the log is the truth. So the bus never hides a loss: a connection that
was replaced, a confirmation that nobody asked for, a probe that did not come back put the channels in doubt,
and whoever follows them reads the log again.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import hiredis

from hub.errors import Refused, unavailable
from hub.keys import probe_channel
from hub.redis import DEADLINE_S, Reply, Wire, connect, greetings, keep_alive

log = logging.getLogger("bellhub.bus")

_BATCH = 512
"""Channels in one SSUBSCRIBE."""


def _promise() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class _Join:
    """Interest in one channel: how many want it, and whether Redis confirmed it on this connection."""

    count: int = 0
    confirmed: asyncio.Future[None] = field(default_factory=_promise)
    heard: bool = False
    """Confirmed once, on whatever connection: a new confirmation means that messages may be missing."""


class Bus:
    """Joins and leaves shard channels; calls `on_message` for each message and `on_doubt` after each gap.

    `say` publishes through the ordinary command path; the bus probes itself with it every `probe_s`.
    """

    def __init__(
        self,
        *,
        say: Callable[[str, str], Awaitable[object]],
        on_message: Callable[[str, str], None],
        on_doubt: Callable[[str], None],
        probe_s: float,
    ) -> None:
        self.url: str  # set before `run`, as that of `Link`
        self._say = say
        self._on_message = on_message
        self._on_doubt = on_doubt
        self._probe_s = probe_s
        self._probe = probe_channel(secrets.token_hex(8))
        self._probe_open = False
        self._wire: Wire | None = None
        self._joins: dict[str, _Join] = {}
        self._expected: deque[tuple[bytes, str, _Join | None]] = deque()
        self._greeting = 0

    @property
    def up(self) -> bool:
        """Connected; an overdue probe ends the connection."""
        return self._wire is not None and self._greeting == 0

    async def join(self, channel: str) -> None:
        """Returns once Redis confirmed: what is published from then on is heard.

        Each join needs its own `leave`, unless it raised. Raises `Refused` (unavailable).
        """
        # Counting and writing happen without an await in between: a newcomer who meets a leaver is never deaf.
        join = self._joins.get(channel)
        if join is None:
            join = self._joins[channel] = _Join()
            self._subscribe([channel])
        join.count += 1
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not join.confirmed.done():
                    await asyncio.wait({join.confirmed})
        except TimeoutError:
            self.leave(channel)
            raise unavailable("the store does not confirm subscriptions") from None
        except asyncio.CancelledError:
            self.leave(channel)
            raise

    def leave(self, channel: str) -> None:
        join = self._joins[channel]
        join.count -= 1
        if join.count == 0:
            del self._joins[channel]
            if self._wire is not None:
                self._wire.send("SUNSUBSCRIBE", channel)
                self._expected.append((b"sunsubscribe", channel, None))

    async def run(self) -> None:
        """Keeps the connection alive and probed; for ever."""
        await keep_alive(self._live_once, "bus.unreachable")

    async def _live_once(self) -> None:
        wire = await connect(self.url, self._replied)
        try:
            commands = greetings(self.url)
            self._greeting = len(commands)
            self._expected.clear()
            self._probe_open = False
            for command in commands:
                wire.send(*command)
            self._wire = wire
            for join in self._joins.values():
                if join.confirmed.done():
                    join.confirmed = _promise()
            self._subscribe([self._probe, *self._joins])
            await self._probe_until_lost(wire)
        finally:
            self._wire = None
            wire.abort()

    async def _probe_until_lost(self, wire: Wire) -> None:
        while True:
            await asyncio.wait({wire.lost}, timeout=self._probe_s)
            if wire.lost.done():
                log.warning("bus.connection_lost")
                return
            if self._probe_open:
                log.warning("bus.deaf", extra={"after_s": self._probe_s})
                return
            self._probe_open = True  # beforehand: the probe may be heard before `say` returns
            try:
                await self._say(self._probe, "?")
            except (Refused, hiredis.ReplyError):
                self._probe_open = False  # a probe that could not be published proves nothing

    def _subscribe(self, channels: list[str]) -> None:
        if self._wire is None:
            return
        for first in range(0, len(channels), _BATCH):
            batch = channels[first : first + _BATCH]
            self._wire.send("SSUBSCRIBE", *batch)
            self._expected.extend((b"ssubscribe", channel, self._joins.get(channel)) for channel in batch)

    def _replied(self, reply: Reply) -> None:
        if self._greeting:
            self._greeting -= 1
            if isinstance(reply, hiredis.ReplyError):
                log.error("bus.greeting_refused", extra={"error": str(reply)})
            return
        if isinstance(reply, hiredis.ReplyError):
            log.error("bus.refused", extra={"error": str(reply)})
            if self._wire is not None:
                self._wire.abort()
            return
        kind, channel, payload = reply
        if kind == b"smessage":
            name = channel.decode()
            if name == self._probe:
                self._probe_open = False
            else:
                self._on_message(name, payload.decode(errors="replace"))  # what is not ours is nobody else's trouble
        else:
            self._confirmed(kind, channel.decode())

    def _confirmed(self, kind: bytes, channel: str) -> None:
        if not self._expected or self._expected[0][:2] != (kind, channel):
            # Redis moved the slot away, or lost us: nothing was asked, so something may be missing.
            log.warning("bus.unasked", extra={"kind": kind.decode(), "channel": channel})
            if kind == b"sunsubscribe" and channel in (self._probe, *self._joins):
                self._subscribe([channel])
            return
        _, _, join = self._expected.popleft()
        if kind == b"sunsubscribe" or join is None:
            return
        if not join.confirmed.done():
            join.confirmed.set_result(None)
        if join.heard:
            self._on_doubt(channel)
        join.heard = True
