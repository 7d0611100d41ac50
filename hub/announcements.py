"""Announcements: stored once, for all users of a project, and brought into a feed when its user asks for it.

Publications and withdrawals have numbers, by the store's clock; each feed remembers the last one that it holds. A hub
keeps in memory what is live. That may be old by a moment, but never has a gap: it is everything up to a number.
No clock of a hub decides anything.
"""

import asyncio
import json
import logging
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from hub.engine import Engine, text
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.idempotency import Idempotency, operands, parse
from hub.indexes import index_page
from hub.keys import ANNOUNCED, CONTROL, Feed, announcements
from hub.lists import Listed, Window
from hub.model import JSON, Answer, timestamp
from hub.redis import Value

log = logging.getLogger("bellhub.announcements")

MOST = 100
"""Announcements of a project that are scheduled or published, and not over."""
KEPT = 1000
"""All that a project keeps; of those that are over, else withdrawn, the first ones are forgotten for new ones."""
GONE = 10_000
"""Withdrawn ones that are not over, beyond those: only their numbers are kept, for feeds that may hold them."""
AHEAD_DAYS = 366
"""How far ahead one may be scheduled."""
DAY_US = 24 * 3600 * 1_000_000
RETRY_S = 1.0
"""Before a store that did not tell what is live is asked again."""
_PARTS = ("docs", "index", "due", "published", "withdrawn", "ends", "gone", "top")


@dataclass(frozen=True, slots=True)
class Op:
    """What a feed is to do: take the entry in, or give it up where `body` is empty. `expires` in µs."""

    number: int
    id: str
    expires: int
    topic: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class _Board:
    """What is live in one project: by channel, in the order of their numbers. `version` tells boards apart.

    A project in which nothing was ever published has none, and no version.
    """

    version: str = ""
    ops: dict[str, list[Op]] = field(default_factory=dict)


class Live:
    """What is to be brought into feeds, as far as this process knows."""

    def __init__(self) -> None:
        self._boards: dict[str, _Board] = {}

    def newest(self, feed: Feed) -> int:
        """The number that the feed must have reached; 0 where nothing is live."""
        board = self._boards.get(feed.user.project)
        ops = board.ops.get(feed.channel) if board else None
        return ops[-1].number if ops else 0

    def after(self, feed: Feed, number: int) -> list[Op]:
        """What a feed that has reached a number still misses, in order."""
        board = self._boards.get(feed.user.project, _Board())
        ops = board.ops.get(feed.channel, [])
        return ops[bisect_right(ops, number, key=lambda op: op.number) :]

    @property
    def projects(self) -> Collection[str]:
        """Those of which anything is known; one that was deleted may be among them for a while."""
        return self._boards.keys()

    def version(self, project: str) -> str:
        return self._boards.get(project, _Board()).version

    def replace(self, project: str, version: str, ops: Iterable[tuple[str, Op]]) -> None:
        """Takes over what the store says is live now, each with the handle of its channel."""
        if not version:  # nothing was ever published, or the project is gone
            self.forget(project)
            return
        by_channel: dict[str, list[Op]] = {}
        for channel, op in sorted(ops, key=lambda pair: pair[1].number):
            by_channel.setdefault(channel, []).append(op)
        self._boards[project] = _Board(version, by_channel)

    def forget(self, project: str) -> None:
        """The project is gone."""
        self._boards.pop(project, None)


@dataclass(frozen=True, slots=True)
class Announcement:
    """One announcement and what became of it. Times in µs; None: not yet, or never.

    `content` is what was asked for, `entry` what feeds will hold. `status`: scheduled, published, expired, withdrawn.
    """

    id: str
    status: str
    channel: str
    content: JSON
    entry: JSON
    made: int
    due: int | None
    published: int | None
    withdrawn: int | None
    ends: int


class Announcements:
    """All announcements of all projects; keeps `live` up to date and calls `changed` with a project after each change.

    Every method raises `Refused` unavailable when the store cannot answer; a change may have happened then.
    """

    def __init__(
        self, engine: Engine, live: Live, *, feed_days: int, changed: Callable[[str], None] = lambda project: None
    ) -> None:
        self._engine = engine
        self._live = live
        self._days = feed_days
        self._changed = changed
        self._look_at: dict[str, float] = {}
        """When (loop's time) a project has something due, or is to be asked again."""
        self._all = False
        self._rung = asyncio.Event()

    async def create(
        self,
        project: str,
        channel: str,
        announcement_id: str,
        content: JSON,
        entry: JSON,
        *,
        publish: int = 0,
        expires: int = 0,
        once: Idempotency | None = None,
    ) -> Announcement | Answer:
        """Stores one, published at once or at `publish`. Times in µs, 0 where nothing was said.

        `content` is what was asked for, `entry` what feeds are to hold. An `Answer`: all that was done before. Raises
        `Refused`: limit; invalid_request for a `publish` that is not in the future, and for an `expires` that is before
        it, or later than a feed remembers; idempotency_key_reused.
        """
        keys, args = operands(once, announcements(project, "top"))
        document = f"{channel} {dumps({'content': content, 'entry': entry})}"
        args |= {"id": announcement_id, "doc": document, "publish_us": publish, "expires_us": expires}
        args |= {"days": self._days, "ahead_days": AHEAD_DAYS, "most": MOST, "kept": KEPT, "gone_most": GONE}
        reply = await self._run("announcement_create", project, keys, args)
        if reply[0] == b"ok":
            await self._spread(project)
            return _announcement(reply[1:])
        answer = parse(reply)
        return answer if answer is not None else await self.get(project, text(reply[1]).removeprefix("0 "))

    async def withdraw(self, project: str, announcement_id: str) -> Announcement:
        """Takes one back, out of all feeds; one that is over stays as it is. Raises `Refused` not_found."""
        reply = await self._run("announcement_withdraw", project, args={"id": announcement_id})
        if len(reply) == 1:
            raise no_such(announcement_id)
        await self._spread(project)
        return _announcement(reply[1:])

    async def get(self, project: str, announcement_id: str) -> Announcement:
        """Raises `Refused` not_found."""
        found = await self._some(project, [announcement_id])
        if not found:
            raise no_such(announcement_id)
        return found[0]

    async def page(self, project: str, window: Window) -> Listed[Announcement]:
        """One page, the last one made first."""
        found = await index_page(self._engine, announcements(project, "index"), window)
        items = await self._some(project, [name for _, name in found.items]) if found.items else ()
        return Listed(items, found.limit, found.after, found.before)

    async def _some(self, project: str, ids: Iterable[str]) -> tuple[Announcement, ...]:
        """Those that there are, in the order asked."""
        reply = await self._run("announcement_show", project, rest=tuple(ids))
        return tuple(_announcement(reply[at : at + 8]) for at in range(1, len(reply), 8))

    # ---- what is live --------------------------------------------------------------------------------

    async def load(self, project: str) -> None:
        """Publishes what is due, and brings `live` up to date."""
        self._look_at.pop(project, None)  # before asking: a ring that comes meanwhile is one more reason
        reply = await self._run("announcement_live", project, args={"knows": self._live.version(project)})
        released, now, due, version = int(reply[1]), int(reply[2]), reply[3], text(reply[4])
        if due:
            self._look_in(project, max(0.001, (int(due) - now) / 1_000_000))
        if reply[0] == b"ok":
            rows = zip(*(reply[at::5] for at in range(5, 10)), strict=True)
            self._live.replace(project, version, [self._op(*(text(part) for part in row)) for row in rows])
            self._changed(project)
        if released:
            await self._tell(project)

    def ring(self, project: str | None = None) -> None:
        """Something may have changed, in one project or in whichever."""
        if project is None:
            self._all = True
        else:
            self._look_in(project, 0)
        self._rung.set()

    def _look_in(self, project: str, seconds: float) -> None:
        at = asyncio.get_running_loop().time() + seconds
        self._look_at[project] = min(at, self._look_at.get(project, at))

    async def keep(self, projects: Callable[[], Iterable[str]], check_s: float) -> NoReturn:
        """Looks again after each ring, when something is due, and every `check_s` for rings that were lost."""
        loop = asyncio.get_running_loop()
        check_at = loop.time() + check_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min((check_at, *self._look_at.values()))):
                    await self._rung.wait()
            self._rung.clear()
            now = loop.time()
            stale = {project for project, at in self._look_at.items() if at <= now}
            if self._all or now >= check_at:
                self._all, check_at = False, now + check_s
                stale |= {*projects(), *self._live.projects}
            await self.load_all(stale)

    async def load_all(self, projects: Iterable[str]) -> None:
        """As `load`; a project that cannot be read now is tried again by `keep`."""
        await asyncio.gather(*(self._look(project) for project in projects))

    async def _look(self, project: str) -> None:
        try:
            await self.load(project)
        except Refused:  # what was known stays valid
            self._look_in(project, RETRY_S)
        except Exception:  # one project's broken keys are no reason to end the others' hub
            log.exception("announcements.not_loaded", extra={"project": project})

    async def _spread(self, project: str) -> None:
        """A change is made: this process knows at once, the others when they hear of it, or look."""
        await self._look(project)
        self._rung.set()  # something may be due sooner than what `keep` waits for
        with suppress(Refused):
            await self._tell(project)

    async def _tell(self, project: str) -> None:
        await self._engine.call("SPUBLISH", CONTROL, f"{ANNOUNCED}{project}")

    async def _run(
        self,
        script: str,
        project: str,
        keys: Mapping[str, str] = MappingProxyType({}),
        args: Mapping[str, Value] = MappingProxyType({}),
        rest: Sequence[Value] = (),
    ) -> list[Any]:
        own = {part: announcements(project, part) for part in _PARTS}
        return await self._engine.run(script, own | dict(keys), args, rest)

    def _op(self, number: str, announcement_id: str, ends: str, channel: str, document: str) -> tuple[str, Op]:
        """The channel, and what is to be done there. The entry says when it was published, and when it leaves."""
        at = int(number)
        if not document:
            return channel, Op(at, announcement_id, 0)
        entry = json.loads(document)["entry"]
        body = {"created_at": timestamp(at)} | entry | {"expires_at": timestamp(int(ends))}
        # Not beyond what a feed remembers, should that be less by now: a feed that has forgotten would take it twice.
        expires = min(int(ends), at + self._days * DAY_US)
        return channel, Op(at, announcement_id, expires, entry["topic"] or "", dumps(body)[:-1])


def no_such(announcement_id: str) -> Refused:
    shown = announcement_id[:64]
    return Refused(Code.NOT_FOUND, f"no such announcement: {shown!r}", resource="announcement", id=shown)


def _announcement(row: list[bytes]) -> Announcement:
    channel, _, document = text(row[1]).partition(" ")
    value = json.loads(document)
    made, due, published, withdrawn, ends = (int(at) if at else None for at in row[3:8])
    assert made is not None
    assert ends is not None
    return Announcement(
        text(row[0]),
        text(row[2]),
        channel,
        value["content"],
        value["entry"],
        made,
        due,
        published,
        withdrawn,
        ends,
    )
