"""As `test_property`, in projects that announce and withdraw meanwhile: the judge has no findings here either."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.auth import new_secret_key
from hub.projects import add_secret_key, add_signing_key
from tests.harness import SIGNING_KEY, Doors, RedisServer, RunningHub, until
from tests.judge import Recording, judge
from tests.socket.test_property import CAP, EXAMPLES, LOG, SOON_S, Life, Run, deed, pick, running_hubs, topic

ANNOUNCEMENTS = "/v1/messaging/announcements"

announce = st.tuples(st.just("announce"), topic, st.sampled_from(["", "", "publish_at", "expires_at"]))
retract = st.tuples(st.just("retract"), pick)
more = st.one_of(announce, announce, retract, deed, deed, deed)
story = st.lists(st.lists(more, min_size=1, max_size=5), min_size=2, max_size=10)


class Tenant(Doors):
    """A project of its own, at one of the hubs."""

    def __init__(self, running: RunningHub, api_key: str, secret: str) -> None:
        super().__init__()
        self.hub, self.port, self.api_key, self.secret = running.hub, running.port, api_key, secret


class Announced(Life):
    """One user of a project that announces."""

    def __init__(self, here: Tenant, there: Tenant) -> None:
        super().__init__(here, there, Recording(here, "ann"))  # type: ignore[arg-type]  # as far as a life needs them
        self.announced: list[str] = []
        self.retracted: list[str] = []

    async def do_announce(self, about: str | None, time_of: str) -> None:
        at = time.time() + SOON_S
        body = {"category": "system.news", "title": "for all", "topic": about}
        if time_of:
            self.expiring.append(at)
            body[time_of] = datetime.fromtimestamp(at, UTC).isoformat()
        answer = await self.recording.http.post(ANNOUNCEMENTS, json=body, headers=self.hub.producer)
        if answer.status_code == 400:  # on a slow machine it is over before it was there
            assert time_of
            assert time.time() >= at
            return
        assert answer.status_code == (202 if time_of == "publish_at" else 201), answer.text
        self.announced.append(answer.json()["id"])
        self.recording.sent.append(self.announced[-1])

    async def do_retract(self, place: int) -> None:
        if self.announced:
            one = self.announced[-1 - place % len(self.announced)]
            answer = await self.recording.http.delete(f"{ANNOUNCEMENTS}/{one}", headers=self.hub.producer)
            assert answer.status_code == 200, answer.text
            if answer.json()["status"] == "withdrawn":
                self.retracted.append(one)

    async def end(self) -> list[str]:
        due = max(self.expiring, default=0)
        await until(lambda: time.time() > due)
        live = await self._live()
        record = await self.recording.finish()
        held = {item["id"] for item in (*record.items, *record.dismissed)}
        # What was withdrawn or over before this user could have it was never sent, here.
        record.sent = [one for one in record.sent if one not in self.announced or one in live or one in held]
        record.announced = frozenset(self.announced)
        record.withdrawn = [*record.withdrawn, *self.retracted]
        return judge(record)

    async def _live(self) -> set[str]:
        """Announcements that are published now; none is still to come."""
        while True:
            answer = await self.recording.http.get(f"{ANNOUNCEMENTS}?limit=100", headers=self.hub.producer)
            found = {one["id"]: one["status"] for one in answer.json()["data"]}
            if "scheduled" not in found.values():
                return {one for one, status in found.items() if status == "published"}
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[list[RunningHub], Run]]:
    """As that of `test_property`."""
    yield from running_hubs(RedisServer(), feed_entries=CAP, log_events=LOG)


NUMBERS = itertools.count(1)


async def live(hubs: list[RunningHub], chapters: list[list[Any]]) -> list[str]:
    project = await hubs[0].add_project(f"tenant-{next(NUMBERS)}")
    key, secret = new_secret_key("owner")
    project = await hubs[0].change_project(lambda p: add_secret_key(add_signing_key(p, SIGNING_KEY), key), project.id)
    await until(lambda: hubs[1].hub.directory.project(project.id) == project)
    here, there = (Tenant(hub, project.api_key, secret) for hub in hubs)
    life = Announced(here, there)
    try:
        await life.begin(0)
        for chapter in chapters:
            await asyncio.gather(*(life.do(*one) for one in chapter))
        return await life.end()
    finally:
        await life.recording.close()


@given(chapters=story)
@settings(max_examples=EXAMPLES // 5, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_the_judge_has_no_findings_where_everybody_is_told_as_well(
    world: tuple[list[RunningHub], Run], chapters: list[list[Any]]
) -> None:
    hubs, run = world
    assert run(live(hubs, chapters)) == []
