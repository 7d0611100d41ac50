"""Announcements, withdrawals, users and two processes that look when they like, in any order, on a real Redis.

Whatever the order: each live announcement is in each feed that was read, once, and none after its withdrawal, as far as
the process that was asked had looked. `BELLHUB_PROPERTY_EXAMPLES=2000` makes it long.
"""

import asyncio
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.announcements import Announcement
from hub.errors import Code, Refused
from hub.keys import Feed, User
from hub.lists import Window
from hub.model import START, Counts, Entry, Filters, timestamp
from hub.sending import new_entry_id
from hub.store import parse_event
from tests.harness import RedisServer
from tests.lua.test_announcements import Side, side, store_us

EXAMPLES = int(os.environ.get("BELLHUB_PROPERTY_EXAMPLES", "60"))
SOON_US = 8_000

process = st.integers(0, 1)
pick = st.integers(0, 99)
"""One of those that there are then, modulo their number."""
feed = st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from(["inbox", "alerts"]))
deed = st.one_of(
    st.tuples(st.just("announce"), process, st.sampled_from(["inbox", "inbox", "alerts"]), st.booleans()),
    st.tuples(st.just("plan"), process),
    st.tuples(st.just("withdraw"), process, pick),
    st.tuples(st.just("look"), process),
    st.tuples(st.just("read"), process, feed),
    st.tuples(st.just("read"), process, feed),
    st.tuples(st.just("race"), feed),
    st.tuples(st.just("bring"), process, feed),
    st.tuples(st.just("mark"), process, feed, pick, st.sampled_from(["read", "archive", "dismiss"])),
    st.tuples(st.just("send"), feed),
)


@contextmanager
def suppress_past() -> Iterator[None]:
    """The machine may be so slow that what was soon is over."""
    try:
        yield
    except Refused as refused:
        if refused.details["fields"][0]["reason"] != "past":
            raise


@dataclass
class World:
    """One project, all that was announced in it, and what each process knows: the numbers up to which it has looked."""

    sides: tuple[Side, Side]
    redis: RedisServer
    project: str
    made: list[Announcement] = field(default_factory=list)
    looked: list[int] = field(default_factory=lambda: [0, 0])
    dismissed: dict[Feed, set[str]] = field(default_factory=dict)
    sent: dict[Feed, set[str]] = field(default_factory=dict)

    def feed(self, named: tuple[str, str]) -> Feed:
        return User(self.project, named[0]).feed(named[1])

    async def announce(self, number: int, channel: str, soon: bool) -> None:
        ends = {"expires_at": self.soon()} if soon else {}
        with suppress_past():
            self.made.append(await self.sides[number].announce(channel=channel, project=self.project, **ends))
            self.looked[number] = self.made[-1].published or 0

    async def plan(self, number: int) -> None:
        now = store_us(self.redis)
        with suppress_past():
            self.made.append(await self.sides[number].announce(project=self.project, publish_at=self.soon()))
            self.looked[number] = now

    async def withdraw(self, number: int, index: int) -> None:
        if self.made:
            now = store_us(self.redis)
            one = await self.sides[number].announcements.withdraw(self.project, self.made[index % len(self.made)].id)
            self.looked[number] = max(now, one.withdrawn or 0)

    async def look(self, number: int) -> None:
        now = store_us(self.redis)
        await self.sides[number].announcements.load(self.project)
        self.looked[number] = now

    def soon(self) -> str:
        return timestamp(store_us(self.redis) + SOON_US)

    async def bring(self, number: int, named: tuple[str, str]) -> None:
        await self.sides[number].store.bring(self.feed(named))

    async def send(self, named: tuple[str, str]) -> None:
        entry_id = new_entry_id()
        await self.sides[0].store.publish(self.feed(named), entry_id, f'{{"id":"{entry_id}"')
        self.sent.setdefault(self.feed(named), set()).add(entry_id)

    async def mark(self, number: int, named: tuple[str, str], index: int, verb: str) -> None:
        feed = self.feed(named)
        held = [entry.id for entry in await self.entries(number, feed)]
        if held:
            entry_id = held[index % len(held)]
            try:
                await self.sides[number].store.mark(feed, [verb], [entry_id])
            except Refused as refused:
                if refused.code is not Code.NOT_FOUND:  # it has expired since
                    raise
                return
            if verb == "dismiss":
                self.dismissed.setdefault(feed, set()).add(entry_id)

    async def race(self, named: tuple[str, str]) -> None:
        feed = self.feed(named)
        await asyncio.gather(*(one.store.page(feed, Filters()) for _ in range(3) for one in self.sides))

    async def entries(self, number: int, feed: Feed) -> list[Entry]:
        """What is not dismissed, newest first."""
        return list((await self.sides[number].store.page(feed, Filters(archived=True, limit=100))).entries)

    async def read(self, number: int, named: tuple[str, str]) -> None:
        feed = self.feed(named)
        known = self.looked[number]
        before = store_us(self.redis)
        page = await self.sides[number].store.page(feed, Filters(archived=True, limit=100))
        after = store_us(self.redis)
        held = {entry.id for entry in page.entries}
        gone = self.dismissed.get(feed, set())
        for one in await self.now():
            if one.channel != feed.channel:
                continue
            over = one.ends <= before or (one.withdrawn is not None and one.withdrawn <= known)
            live = one.ends > after and one.withdrawn is None and one.published is not None and one.published <= known
            if over or one.id in gone:
                assert one.id not in held, one
            elif live:
                assert one.id in held, one
        assert held - {one.id for one in self.made} == self.sent.get(feed, set()) - gone
        active = [entry for entry in page.entries if not entry.archived]
        assert page.counts == Counts(sum(not e.seen for e in active), sum(not e.read for e in active), len(active))
        self.once(feed)

    async def now(self) -> tuple[Announcement, ...]:
        """All announcements, as they are now."""
        return (await self.sides[0].announcements.page(self.project, Window(limit=100))).items

    def once(self, feed: Feed) -> None:
        """By the log, which holds everything that ever happened here."""
        rows = self.redis.client.xrange(feed.key("log"))
        found = [parse_event(feed.channel, cursor, row["prev"], row["data"]) for cursor, row in rows]
        came = Counter(json.loads(event.body + "}")["id"] for event in found if event.kind == "entry")
        assert set(came.values()) <= {1}
        assert [event.prev for event in found] == [START, *(event.cursor for event in found)][: len(found)]


def test_whatever_the_order_each_feed_has_what_is_live_once(redis_server: RedisServer) -> None:
    numbers = itertools.count()

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        sides = [runner.run(stack.enter_async_context(side(redis_server.url))) for _ in range(2)]

        async def happen(deeds: list[tuple[Any, ...]]) -> None:
            world = World((sides[0], sides[1]), redis_server, f"p{next(numbers)}")
            for name, *what in deeds:
                await getattr(world, name)(*what)
            await asyncio.gather(world.look(0), world.look(1))
            for number, user, channel in itertools.product((0, 1), ("ann", "bob"), ("inbox", "alerts")):
                await world.read(number, (user, channel))

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(deed, min_size=5, max_size=40))
        def examples(deeds: list[tuple[Any, ...]]) -> None:
            runner.run(happen(deeds))

        try:
            examples()
        finally:
            runner.run(stack.aclose())
