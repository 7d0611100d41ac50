"""Who is here: the sessions of this process by user, and what reaches them.

An event is parsed and encoded once, however many sessions it goes to. Every followed feed is compared with the
store's cursor every `check_s`, and told to evict when its next entry expires. What is announced is brought into
followed feeds at once, a few at a time.
"""

import asyncio
import heapq
import logging
import random
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import Protocol

from hub import frames
from hub.bus import Bus
from hub.errors import Broken, CloseCode, Code, Refused
from hub.frames import Encoded
from hub.keys import Feed, User
from hub.model import JSON, Event
from hub.rollcall import ALL, Question, question, reply
from hub.store import Store, parse_event

log = logging.getLogger("bellhub.registry")

LEAVING = "this hub is going away"
ENDED = "this session was ended by an administrator"
_NEVER = 2**63
LANE = 8
"""Users whose feeds are brought what was announced at the same time: the others' requests go on meanwhile."""


class Listener(Protocol):
    """What the registry needs of a session."""

    user: User

    @property
    def follows(self) -> tuple[str, ...]: ...
    @property
    def shown(self) -> JSON | None: ...
    def event(self, event: Event, frame: Encoded) -> None: ...
    def doubt(self) -> None: ...
    def checked(self, tops: dict[str, str], revoked_before: int | None) -> None: ...
    def close(self, code: CloseCode, reason: str) -> None: ...


@dataclass(eq=False, slots=True)
class _Present:
    """A user with sessions in this process."""

    user: User
    check_at: float
    sessions: set[Listener] = field(default_factory=set)
    expires: dict[str, int] = field(default_factory=dict)
    """When the next entry of a followed feed expires, µs, by channel."""


class Registry:
    """`enter` and `leave` keep the user's shard channel joined exactly while somebody is here."""

    def __init__(self, store: Store, *, check_s: float, sessions_per_user: int) -> None:
        self.bus: Bus  # set by whoever wires the two together: each calls the other
        self._store = store
        self._check_s = check_s
        self._most = sessions_per_user
        self._present: dict[str, _Present] = {}
        self._arriving: set[Listener] = set()
        self.draining = False
        self.name = f"{socket.gethostname()[:64]}-{secrets.token_hex(4)}"
        """What other processes know this one by."""
        self._expiries: list[tuple[int, str, str]] = []
        self._expiry_added = asyncio.Event()
        self._behind: dict[str, None] = {}
        """Users, by the names of their shard channels, whose followed feeds may lack what was announced."""
        self._announced = asyncio.Event()

    @property
    def empty(self) -> bool:
        return not self._present and not self._arriving

    @property
    def sessions(self) -> list[Listener]:
        return [session for present in self._present.values() for session in present.sessions]

    async def enter(self, session: Listener) -> None:
        """The session hears its user's events from when this returns.

        Raises `Refused`: unavailable; limit when the user has too many sessions here. `Broken` when draining.
        """
        name = session.user.events
        await self.bus.join(name)
        if self.draining:
            self.bus.leave(name)
            raise Broken(CloseCode.DRAINING, LEAVING)
        present = self._present.get(name)
        if present is None:
            at = time.monotonic() + self._check_s * random.uniform(0.5, 1)
            present = self._present[name] = _Present(session.user, at)
        if len(present.sessions) >= self._most:
            self.bus.leave(name)
            raise Refused(Code.LIMIT, f"{self._most + 1} sessions of one user, at most {self._most}")
        present.sessions.add(session)
        self._arriving.discard(session)

    def arrive(self, session: Listener) -> None:
        """A socket has opened and nobody knows whose it is yet; `leave` undoes this too."""
        self._arriving.add(session)

    def leave(self, session: Listener) -> None:
        """Undoes `enter`; harmless if it did not succeed."""
        self._arriving.discard(session)
        name = session.user.events
        present = self._present.get(name)
        if present is None or session not in present.sessions:
            return
        present.sessions.discard(session)
        if not present.sessions:
            del self._present[name]
        self.bus.leave(name)

    def drain(self) -> None:
        """Asks every session to come back elsewhere, and takes no further ones."""
        self.draining = True
        for session in (*self._arriving, *self.sessions):
            session.close(CloseCode.DRAINING, LEAVING)

    # ---- what the bus says ---------------------------------------------------------------------------

    def message(self, channel: str, payload: str) -> None:
        """One message on a user's shard channel: an event, or a control message."""
        asked = question(channel, payload)
        if asked is not None:
            self._tell(asked, self._present.get(channel))
            return
        present = self._present.get(channel)
        if present is None:
            return
        try:
            self._deliver(present, payload)
        except ValueError:
            # Nothing of ours: whatever it was meant to be, the log knows. The others' connection goes on.
            log.exception("registry.unreadable", extra={"channel": channel})
            self.doubt(channel)

    def _deliver(self, present: _Present, payload: str) -> None:
        handle, rest = payload.split(" ", 1)
        if handle == "!":
            self._revoked(present, int(rest.removeprefix("revoked ")))
            return
        cursor, prev, data = rest.split(" ", 2)
        event = parse_event(handle, cursor, prev, data)
        frame = frames.event(event)
        if event.expires:
            self.expect(present.user.feed(handle), event.expires)
        for session in tuple(present.sessions):
            session.event(event, frame)

    def _tell(self, asked: Question, present: _Present | None) -> None:
        """Says who is here, or who was until now. Nobody is an answer too: the asker has counted this process."""
        concerned = []
        for session in tuple(present.sessions) if present else ():
            shown = session.shown
            if shown is None or asked.end not in ("-", ALL, shown["id"]):
                continue
            concerned.append(shown)
            if asked.end != "-":
                session.close(CloseCode.FORBIDDEN, ENDED)
        reply(self._store, asked, self.name, concerned)

    def doubt(self, channel: str) -> None:
        """Messages of this channel may have been lost."""
        present = self._present.get(channel)
        if present is not None:
            for session in tuple(present.sessions):
                session.doubt()

    def _revoked(self, present: _Present, revoked_before: int) -> None:
        for session in tuple(present.sessions):
            session.checked({}, revoked_before)

    # ---- what is due ---------------------------------------------------------------------------------

    def expect(self, feed: Feed, expires: int) -> None:
        """An entry of a followed feed expires then (µs); 0 is never. Of several times the soonest counts."""
        present = self._present.get(feed.user.events)
        if present is None or not expires or expires >= present.expires.get(feed.channel, _NEVER):
            return
        present.expires[feed.channel] = expires
        heapq.heappush(self._expiries, (expires, feed.user.events, feed.channel))
        if len(self._expiries) > 1000 + 2 * sum(len(there.expires) for there in self._present.values()):
            self._forget_expiries()
        self._expiry_added.set()

    def _forget_expiries(self) -> None:
        """Drops what is left of users who went and of times that are not the soonest any more."""
        self._expiries = [
            (expires, name, channel)
            for name, present in self._present.items()
            for channel, expires in present.expires.items()
        ]
        heapq.heapify(self._expiries)

    def announced(self, project: str) -> None:
        """Something was announced in a project, or withdrawn: its followed feeds get it."""
        behind = (name for name, present in self._present.items() if present.user.project == project)
        self._behind.update(dict.fromkeys(behind))
        self._announced.set()

    async def bring_forever(self) -> None:
        """Brings announcements into followed feeds. What fails is left to the check of `check_forever`."""
        while True:
            await self._announced.wait()
            self._announced.clear()
            while self._behind:
                names = tuple(self._behind)[:LANE]
                for name in names:
                    del self._behind[name]
                present = [self._present[name] for name in names if name in self._present]
                await asyncio.gather(*(self._bring(there) for there in present))

    async def _bring(self, present: _Present) -> None:
        for handle in _followed(present):
            try:
                await self._store.bring(present.user.feed(handle))
            except Refused:
                return
            except Exception:  # one user's broken keys are no reason to end the others' hub
                log.exception("registry.bring_failed", extra={"channel": present.user.events})

    async def check_forever(self) -> None:
        """Compares every followed feed's cursor with the store's, once in `check_s`, spread in time."""
        while True:
            await asyncio.sleep(min(1.0, self._check_s / 4))
            now = time.monotonic()
            due = [present for present in self._present.values() if present.check_at <= now]
            for present in due:
                present.check_at = now + self._check_s
            await asyncio.gather(*(self._check(present) for present in due))

    async def _check(self, present: _Present) -> None:
        await self._bring(present)
        channels = _followed(present)
        try:
            revoked_before, tops = await self._store.check(present.user, channels)
        except Refused:
            return
        except Exception:  # one user's broken keys are no reason to end the others' hub
            log.exception("registry.check_failed", extra={"channel": present.user.events})
            return
        for session in tuple(present.sessions):
            session.checked(tops, revoked_before)

    async def evict_forever(self) -> None:
        """Takes expired entries out of followed feeds when their time comes, so that nobody need ask."""
        while True:
            self._expiry_added.clear()
            now = time.time() * 1_000_000
            while self._expiries and self._expiries[0][0] <= now:
                expires, name, channel = heapq.heappop(self._expiries)
                present = self._present.get(name)
                if present is not None and present.expires.get(channel) == expires:
                    del present.expires[channel]
                    await self._evict(present.user.feed(channel))
            wait = (self._expiries[0][0] - now) / 1_000_000 if self._expiries else None
            try:
                async with asyncio.timeout(wait):
                    await self._expiry_added.wait()
            except TimeoutError:
                pass

    async def _evict(self, feed: Feed) -> None:
        # Where the store's clock is behind ours, ask again soon, not at once.
        soon = int(time.time() * 1_000_000) + 250_000
        try:
            next_expiry = (await self._store.evict(feed)).expires
        except Refused:
            next_expiry = soon
        except Exception:  # as in `_check`
            log.exception("registry.evict_failed", extra={"channel": feed.user.events})
            return
        self.expect(feed, next_expiry and max(next_expiry, soon))


def _followed(present: _Present) -> tuple[str, ...]:
    """Handles of the channels that somebody follows."""
    return tuple({handle for session in present.sessions for handle in session.follows})
