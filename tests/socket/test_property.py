"""Whatever happens, in whatever order, to however many sessions: the judge has no findings.

Hypothesis chooses what producers, users and networks do; a real hub does it; the sessions record what they receive.
`BELLHUB_PROPERTY_EXAMPLES=1000` makes it long.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.frames import PROTOCOLS
from tests.harness import PATIENCE_S, Client, RedisServer, RunningHub, until
from tests.judge import Frame, Recording, judge

EXAMPLES = int(os.environ.get("BELLHUB_PROPERTY_EXAMPLES", "150"))
CAP, LOG = 10, 8
"""Small, so that a few steps evict, and an absence outlasts the log."""
SOON_S = 0.1
SESSIONS = 3
REFUSALS = {"not_found", "conflict", "idempotency_key_reused"}
"""What a frame of these tests may be answered with other than what it asks for."""


# ---- what may happen ---------------------------------------------------------------------------------

pick = st.integers(0, 99)
"""One of those that there are then, modulo their number."""
session = st.integers(0, SESSIONS - 1)
topic = st.sampled_from([None, "a", "b"])
source = st.sampled_from([None, None, "s1", "s2"])
op = st.sampled_from([None, None, "o1", "o2", "o3"])
verb = st.sampled_from(["seen", "read", "click", "archive", "unarchive", "dismiss"])

soon = st.sampled_from([False, False, False, True])
send = st.tuples(st.just("send"), st.integers(1, 4), topic, source, soon)
mark = st.tuples(st.just("mark"), session, verb, st.lists(pick, min_size=1, max_size=4), op)
burst = st.tuples(st.just("burst"), session, st.lists(st.tuples(verb, pick), min_size=2, max_size=5))
undo = st.tuples(st.just("undo"), session, pick)
mark_all = st.tuples(st.just("mark_all"), session, st.sampled_from(["seen", "read", "archive", "dismiss"]), topic, op)
patch = st.tuples(st.just("patch"), st.sampled_from(["seen", "read", "clicked", "archived"]), pick)
withdraw = st.tuples(st.just("withdraw"), pick)
withdraw_source = st.tuples(st.just("withdraw_source"), st.sampled_from(["s1", "s2"]))
list_ = st.tuples(st.just("list"), session, st.booleans(), st.integers(1, 5))
subscribe = st.tuples(st.just("subscribe"), session, st.booleans())
unsubscribe = st.tuples(st.just("unsubscribe"), session)
resume = st.tuples(st.just("resume"), session, st.booleans(), st.integers(0, 1))
leave = st.tuples(st.just("leave"), session)
cut = st.just(("cut",))
deed = st.one_of(
    send, send, send, send, mark, mark, burst, undo, mark_all, patch, withdraw, withdraw_source, list_, subscribe,
    unsubscribe, resume, resume, leave, cut,
)  # fmt: skip
at_once = st.lists(deed, min_size=1, max_size=6)
"""Deeds that race."""
story = st.tuples(st.integers(0, CAP), st.lists(at_once, min_size=2, max_size=15))
"""How many entries there are in the beginning, and what happens then."""


@dataclass
class Life:
    """One user's sessions at one hub, and a witness at another who never leaves. What cannot be done is not done."""

    hub: RunningHub
    other: RunningHub
    recording: Recording
    clients: list[Client | None] = field(default_factory=list)
    busy: list[asyncio.Lock] = field(default_factory=lambda: [asyncio.Lock() for _ in range(SESSIONS)])
    """A session takes part in one deed at a time, so that what it sends is known."""
    expiring: list[float] = field(default_factory=list)

    async def begin(self, entries: int) -> None:
        for number in range(SESSIONS):
            protocol = PROTOCOLS[number % 2]
            self.clients.append(await self.recording.join(f"session {number}", protocol=protocol))
        await self.recording.join("witness", doors=self.other)
        for _ in range(entries):
            await self.recording.send()

    async def do(self, kind: str, *given: Any) -> None:
        await getattr(self, f"do_{kind}")(*given)

    # ---- producers -----------------------------------------------------------------------------------

    async def do_send(self, count: int, topic: str | None, source: str | None, soon: bool) -> None:
        await asyncio.gather(*(self.send(topic, source, soon) for _ in range(count)))

    async def send(self, topic: str | None, source: str | None, soon: bool) -> None:
        fields = {"topic": topic, "source_key": source}
        expires = time.time() + SOON_S
        if soon:
            self.expiring.append(expires)
            fields["expires_at"] = datetime.fromtimestamp(expires, UTC).isoformat()
        try:
            await self.recording.send(**{name: value for name, value in fields.items() if value})
        except AssertionError:  # on a slow machine it is refused: over before it was there
            if not soon or time.time() < expires:
                raise

    async def do_withdraw(self, place: int) -> None:
        await self.recording.withdraw(self.known(place))

    async def do_withdraw_source(self, source: str) -> None:
        await self.recording.withdraw_source(source)

    # ---- the user ------------------------------------------------------------------------------------

    async def do_mark(self, number: int, verb: str, places: list[int], op: str | None) -> None:
        ids = [self.known(place) for place in places]
        await self.ask(number, verb, ids=ids, **({"op": op} if op else {}))

    async def do_burst(self, number: int, frames: list[tuple[str, int]]) -> None:
        """Several frames without waiting for an answer; each has one, in the order sent."""
        async with self.busy[number]:
            client = self.clients[number]
            if client is None:
                return
            refs = [f"burst {len(client.frames)} {n}" for n in range(len(frames))]
            for ref, (verb, place) in zip(refs, frames, strict=True):
                await client.send(verb, ref=ref, channel="inbox", ids=[self.known(place)])
            await client.first(lambda frame: frame.get("ref") == refs[-1])
            assert [frame["ref"] for frame in client.frames if frame.get("ref") in refs] == refs

    async def do_undo(self, number: int, place: int) -> None:
        ids = [self.known(place)]
        await self.ask(number, "archive", ids=ids)
        await self.ask(number, "unarchive", ids=ids)

    async def do_mark_all(self, number: int, verb: str, topic: str | None, op: str | None) -> None:
        client = self.clients[number]
        if client is not None:
            fields = {"topic": topic, "op": op}
            given = {name: value for name, value in fields.items() if value}
            await self.ask(number, verb, upto=client.cursor, **given)

    async def do_patch(self, flag: str, place: int) -> None:
        path = f"/user/v1/channels/inbox/feed/entries/{self.known(place)}"
        headers = self.hub.user_headers(self.recording.user)
        answer = await self.recording.http.patch(path, json={flag: True}, headers=headers)
        assert answer.status_code in (200, 404), answer.text

    async def do_list(self, number: int, archived: bool, limit: int) -> None:
        await self.ask(number, "list", archived=archived, limit=limit)

    # ---- sessions and networks -----------------------------------------------------------------------

    async def do_subscribe(self, number: int, with_cursor: bool) -> None:
        async with self.busy[number]:
            client = self.clients[number]
            if client is not None:
                cursor = {"cursor": client.cursor} if with_cursor else {}
                await client.ask("subscribe", channel="inbox", limit=5, **cursor)

    async def do_unsubscribe(self, number: int) -> None:
        await self.ask(number, "unsubscribe")

    async def do_resume(self, number: int, with_cursor: bool, codec: int) -> None:
        async with self.busy[number]:
            name, protocol = f"session {number}", PROTOCOLS[codec]
            if with_cursor:
                self.clients[number] = await self.recording.resume(name, protocol=protocol)
            else:
                last = self.clients[number]
                if last is not None:
                    await last.close()
                self.clients[number] = await self.recording.join(name, protocol=protocol)

    async def do_leave(self, number: int) -> None:
        async with self.busy[number]:
            client, self.clients[number] = self.clients[number], None
            if client is not None:
                await client.close()

    async def do_cut(self) -> None:
        """The hub's subscriber connection breaks: what is pushed until it is back is not heard."""
        wire = self.hub.hub.bus._wire
        if wire is not None:
            wire.abort()

    async def ask(self, number: int, kind: str, **fields: Any) -> None:
        async with self.busy[number]:
            client = self.clients[number]
            if client is not None:
                answer: Frame = await client.ask(kind, channel="inbox", **fields)
                assert answer["type"] != "error" or answer["code"] in REFUSALS, answer

    def known(self, place: int) -> str:
        """One of the entries that were ever sent, or, before the first, none."""
        sent = self.recording.sent
        return sent[-1 - place % len(sent)] if sent else "nobody"

    async def end(self) -> list[str]:
        """Waits for the last expiry, then judges."""
        due = max(self.expiring, default=0)
        await until(lambda: time.time() > due)
        return judge(await self.recording.finish())


# ---- the hub that it happens to ----------------------------------------------------------------------

Run = Callable[[Awaitable[Any]], Any]


def running_hubs(redis: RedisServer, **options: Any) -> Iterator[tuple[list[RunningHub], Run]]:
    """Two hubs on one store, and how to run something in their loop. Both and the store are gone afterwards."""
    try:
        with asyncio.Runner() as runner:

            async def awaited(call: Awaitable[Any]) -> Any:
                async with asyncio.timeout(PATIENCE_S * 3):
                    return await call

            def run(call: Awaitable[Any]) -> Any:
                return runner.run(awaited(call))

            hubs = [run(RunningHub(redis.url, **options).start()) for _ in range(2)]
            yield hubs, run
            for hub in hubs:
                run(hub.stop())
    finally:
        redis.remove()


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[list[RunningHub], Run]]:
    """The same two hubs for all examples."""
    yield from running_hubs(RedisServer(), feed_entries=CAP, log_events=LOG)


USERS = itertools.count(1)


async def live(hubs: list[RunningHub], stories: list[tuple[int, list[list[Any]]]]) -> list[str]:
    lives = [Life(*hubs, Recording(hubs[0], f"user {next(USERS)}")) for _ in stories]
    try:
        for life, (entries, _) in zip(lives, stories, strict=True):
            await life.begin(entries)
        for chapters in itertools.zip_longest(*(chapters for _, chapters in stories), fillvalue=()):
            deeds = [life.do(*deed) for life, chapter in zip(lives, chapters, strict=True) for deed in chapter]
            await asyncio.gather(*deeds)
        return [finding for life in lives for finding in await life.end()]
    finally:
        for life in lives:
            await life.recording.close()


@given(stories=st.lists(story, min_size=1, max_size=2))
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_the_judge_has_no_findings(
    world: tuple[list[RunningHub], Run], stories: list[tuple[int, list[list[Any]]]]
) -> None:
    hubs, run = world
    assert run(live(hubs, stories)) == []
