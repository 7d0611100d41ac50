"""What is announced and how it comes into feeds, one behaviour a test, on a real Redis: no hub."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.crc import key_slot

from hub import announcements as module
from hub import keys
from hub.announcements import AHEAD_DAYS, DAY_US, KEPT, MOST, Announcement, Announcements
from hub.api.announcements import announce as announce_here
from hub.engine import Engine
from hub.errors import Code, Refused
from hub.idempotency import Idempotency
from hub.keys import Feed, User
from hub.lists import Window
from hub.model import START, Answer, Channel, Counts, Filters, Project, timestamp
from hub.sending import read_announcing
from hub.store import BROUGHT, Store, parse_event
from tests.harness import PATIENCE_S, RedisServer, until

PROJECT = Project("default", "Default", "pk_test", (Channel("c1", "inbox"), Channel("c2", "alerts")))
ANN, BOB = User("default", "ann"), User("default", "bob")
INBOX = ANN.feed("inbox")
SOON_US = 600_000


class Side:
    """One process: its feeds, and what it knows of announcements."""

    def __init__(self, url: str, **limits: int) -> None:
        self.engine = Engine()
        self.engine.link.url = url
        sizes = {"feed_entries": 1000, "feed_days": 90, "log_events": 500} | limits
        self.store = Store(self.engine, **sizes)
        self.changed: list[str] = []
        self.announcements = Announcements(
            self.engine, self.store.live, feed_days=sizes["feed_days"], changed=self.changed.append
        )

    async def announce(self, title: str = "hello", once: Idempotency | None = None, **fields: Any) -> Announcement:
        made = await self.try_announce(title, once, **fields)
        assert isinstance(made, Announcement)
        return made

    async def try_announce(
        self, title: str, once: Idempotency | None = None, project: str = "default", **fields: Any
    ) -> Announcement | Answer:
        announcing = read_announcing({"category": "system.news", "title": title} | fields)
        return await announce_here(self.announcements, dataclasses.replace(PROJECT, id=project), announcing, once)

    async def withdraw(self, announcement: Announcement) -> Announcement:
        return await self.announcements.withdraw("default", announcement.id)

    async def look(self) -> None:
        await self.announcements.load("default")

    async def ids(self, feed: Feed = INBOX, **filters: Any) -> list[str]:
        """Of the feed's entries, newest first."""
        return [entry.id for entry in (await self.store.page(feed, Filters(**filters))).entries]

    async def counts(self, feed: Feed = INBOX) -> Counts:
        return (await self.store.page(feed, Filters(limit=1))).counts


@asynccontextmanager
async def side(url: str, **limits: int) -> AsyncIterator[Side]:
    one = Side(url, **limits)
    running = asyncio.create_task(one.engine.link.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await one.engine.link.up.wait()
        yield one
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def here(redis_server: RedisServer) -> AsyncIterator[Side]:
    async with side(redis_server.url) as one:
        yield one


@pytest.fixture
async def there(redis_server: RedisServer) -> AsyncIterator[Side]:
    """Another process, which hears nothing: it knows what it has looked at."""
    async with side(redis_server.url) as one:
        yield one


async def refusal(call: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


def fields_of(refused: Refused) -> list[tuple[str, str]]:
    return [(field["field"], field["reason"]) for field in refused.details["fields"]]


def store_us(redis: RedisServer) -> int:
    seconds, micros = redis.client.time()
    return int(seconds) * 1_000_000 + int(micros)


async def past(redis: RedisServer, micros: int) -> None:
    """Waits until the store's clock has passed a time."""
    await until(lambda: store_us(redis) > micros)


def events_of(redis: RedisServer, feed: Feed = INBOX) -> list[str]:
    rows = redis.client.xrange(feed.key("log"))
    return [parse_event(feed.channel, cursor, row["prev"], row["data"]).kind for cursor, row in rows]


# ---- into the feed -----------------------------------------------------------------------------------


async def test_nothing_is_written_for_users_until_they_ask(here: Side, redis_server: RedisServer) -> None:
    await here.announce()
    assert [key for key in redis_server.client.scan_iter() if "/" in key] == []


async def test_all_keys_of_a_projects_announcements_share_its_slot(here: Side, redis_server: RedisServer) -> None:
    once = Idempotency(keys.project_idem("default", "k"), "d")
    await here.announce(once=once)
    await here.withdraw(await here.announce(publish_at=timestamp(store_us(redis_server) + DAY_US)))
    found = redis_server.client.keys()
    assert len(found) >= 7
    assert {key_slot(key.encode()) for key in found} == {key_slot(b"{default}")}


ASKS: dict[str, Callable[[Store, str], Awaitable[Any]]] = {
    "page": lambda store, _: store.page(INBOX, Filters()),
    "catch_up": lambda store, _: store.catch_up(INBOX, START, 20),
    "counts": lambda store, _: store.counts(INBOX),
    "entries": lambda store, announced: store.entries(INBOX, [announced]),
    "explain": lambda store, _: store.explain(INBOX, 5),
    "mark": lambda store, announced: store.mark(INBOX, ["seen"], [announced]),
    "mark_upto": lambda store, _: store.mark_upto(INBOX, ["seen"], START),
    "mark_all_seen": lambda store, _: store.mark_all_seen(INBOX),
}


@pytest.mark.parametrize("ask", ASKS)
async def test_whatever_a_user_asks_the_feed_holds_what_was_announced(
    here: Side, redis_server: RedisServer, ask: str
) -> None:
    made = await here.announce()
    await ASKS[ask](here.store, made.id)
    assert events_of(redis_server)[0] == "entry"
    assert redis_server.client.zrange(INBOX.key("active"), 0, -1) == [made.id]


async def test_it_comes_as_an_event_like_any_other(here: Side, redis_server: RedisServer) -> None:
    sent = await here.store.publish(INBOX, "e1", '{"id":"e1"')
    made = await here.announce()
    caught_up = await here.store.catch_up(INBOX, sent.cursor, 20)
    (event,) = caught_up.events
    assert (caught_up.mode, event.kind, event.prev) == ("replay", "entry", sent.cursor)
    assert json.loads(event.body + "}")["id"] == made.id
    assert event.counts == Counts(2, 2, 2)


async def test_created_at_is_when_it_was_published_and_sent_at_when_it_came(here: Side) -> None:
    made = await here.announce()
    await asyncio.sleep(0.002)  # the two times must differ
    (entry,) = (await here.store.page(INBOX, Filters())).entries
    shown = json.loads(entry.json())
    assert shown["created_at"] == timestamp(made.published or 0)
    assert shown["sent_at"] == timestamp(entry.score) > shown["created_at"]
    assert list(shown).count("created_at") == entry.json().count('"created_at"') == 1
    assert shown["expires_at"] == timestamp(made.ends) == timestamp((made.published or 0) + 90 * DAY_US)


async def test_it_says_what_was_asked_for(here: Side) -> None:
    asked = {"body": "b", "url": "/news", "topic": "news", "priority": "urgent", "data": {"n": 1}}
    sender = {"id": "bob", "type": "user", "name": "Bob Ågren", "handle": None, "avatar_url": None}
    await here.announce("News", sender=sender, **asked)
    (entry,) = (await here.store.page(INBOX, Filters(topic="news"))).entries
    shown = json.loads(entry.json())
    assert shown["data"] == {"n": 1, "title": "News", "body": "b", "action_url": "/news"}
    assert (shown["priority"], shown["topic"], shown["category"]) == ("high", "news", "system.news")
    assert shown["actor"]["first_name"] == "Bob"


async def test_it_comes_once_however_many_ask_at_the_same_time(
    here: Side, there: Side, redis_server: RedisServer
) -> None:
    made = [await here.announce(str(n)) for n in range(5)]
    await there.look()
    pages = await asyncio.gather(*(one.ids() for _ in range(10) for one in (here, there)))
    assert all(page == [one.id for one in reversed(made)] for page in pages)
    assert events_of(redis_server) == ["entry"] * 5


async def test_every_user_has_it_and_it_is_another_entry_for_each(here: Side) -> None:
    made = await here.announce()
    await here.store.mark(INBOX, ["dismiss"], [made.id])
    assert await here.ids() == []
    assert await here.ids(BOB.feed("inbox")) == [made.id]


async def test_it_is_for_one_channel_the_oldest_if_none_is_named(here: Side) -> None:
    first, second = await here.announce(), await here.announce(channel="alerts")
    assert (first.channel, second.channel) == ("inbox", "alerts")
    assert await here.ids(INBOX) == [first.id]
    assert await here.ids(ANN.feed("alerts")) == [second.id]


async def test_another_project_hears_nothing_of_it(here: Side) -> None:
    made = await here.announce()
    await here.announcements.load("other")
    assert await here.ids(User("other", "ann").feed("inbox")) == []
    assert (await refusal(here.announcements.get("other", made.id))).code is Code.NOT_FOUND
    assert (await refusal(here.announcements.withdraw("other", made.id))).code is Code.NOT_FOUND
    assert (await here.announcements.get("default", made.id)).status == "published"


async def test_sends_and_withdrawals_of_producers_leave_it_to_the_user(here: Side, redis_server: RedisServer) -> None:
    await here.announce()
    await here.store.publish(INBOX, "e1", '{"id":"e1"')
    await here.store.withdraw(INBOX, "e1")
    assert events_of(redis_server) == ["entry", "gone"]
    assert redis_server.client.hget(ANN.meta, "announced:inbox") is None


async def test_mark_all_up_to_a_cursor_spares_what_was_announced_since(here: Side) -> None:
    early = await here.announce("early")
    cursor = (await here.store.page(INBOX, Filters())).cursor
    late = await here.announce("late")
    marked = await here.store.mark_upto(INBOX, ["read"], cursor)
    assert marked.changed == (early.id,)
    assert marked.counts == Counts(1, 1, 2)
    assert await here.ids(status="unseen") == [late.id]
    assert (await here.store.mark_upto(INBOX, ["read"], marked.cursor)).counts == Counts(0, 0, 2)


async def test_more_than_one_script_brings_come_all_and_in_order(here: Side) -> None:
    made = [await here.announce(str(n)) for n in range(2 * BROUGHT + 1)]
    assert await here.ids(limit=100) == [one.id for one in reversed(made)]
    assert await here.counts() == Counts(41, 41, 41)


async def test_what_starts_in_the_middle_is_not_brought(here: Side, redis_server: RedisServer) -> None:
    first, second = await here.announce(), await here.announce()
    (_, last) = here.store.live.after(INBOX, 0)
    rest = [last.number, last.id, last.expires, last.topic, last.body]
    args = {"since": last.number - 1, "sourced": ""}
    reply = await here.store._feed_script("bring", INBOX, keys={"source": ANN.meta}, args=args, rest=rest)
    assert reply == [b"ok", b"0"]
    assert await here.ids() == [second.id, first.id]


async def test_a_feed_over_its_cap_loses_its_oldest_entries_to_it(redis_server: RedisServer) -> None:
    async with side(redis_server.url, feed_entries=10) as here:
        for number in range(10):
            await here.store.publish(INBOX, f"e{number}", f'{{"id":"e{number}"')
        made = await here.announce()
        found = await here.ids(limit=100)
        assert found[0] == made.id
        assert len(found) == 10


# ---- remembered, and forgotten -----------------------------------------------------------------------


async def test_what_the_user_dismissed_or_lost_does_not_come_back(here: Side, there: Side) -> None:
    made = await here.announce()
    await here.store.mark(INBOX, ["dismiss"], [made.id])
    await there.look()
    assert await there.ids() == []
    await here.store.withdraw(INBOX, made.id)
    assert await here.ids(status="dismissed") == await there.ids(status="dismissed") == []


async def test_the_feed_remembers_longer_than_any_announcement_lives(here: Side, redis_server: RedisServer) -> None:
    made = await here.announce()
    await here.store.mark(INBOX, ["dismiss"], [made.id])
    assert redis_server.client.pexpiretime(ANN.meta) * 1000 >= made.ends + DAY_US - 1000


async def test_a_feed_that_reads_nothing_new_remembers_too_and_vanishes_too(
    here: Side, redis_server: RedisServer
) -> None:
    made = await here.announce()
    await here.withdraw(made)
    assert await here.ids() == []
    assert redis_server.client.hget(ANN.meta, "announced:inbox") == str(
        (await here.announcements.get("default", made.id)).withdrawn
    )
    assert 0 < redis_server.client.pttl(ANN.meta) <= 91 * 24 * 3600 * 1000


async def test_one_that_is_over_is_passed_over_and_what_follows_comes(here: Side, redis_server: RedisServer) -> None:
    short = await here.announce("short", expires_at=timestamp(store_us(redis_server) + SOON_US))
    long = await here.announce("long")
    await past(redis_server, short.ends)
    assert await here.ids() == [long.id]  # though this process has not looked since
    assert redis_server.client.hget(ANN.meta, "announced:inbox") == str(long.published)
    assert (await here.announcements.get("default", short.id)).status == "expired"


async def test_it_leaves_the_feed_when_it_expires(here: Side, redis_server: RedisServer) -> None:
    made = await here.announce(expires_at=timestamp(store_us(redis_server) + SOON_US))
    assert await here.ids() == [made.id]
    await past(redis_server, made.ends)
    assert await here.counts() == Counts(0, 0, 0)
    assert events_of(redis_server) == ["entry", "gone"]


async def test_after_all_are_over_nothing_is_looked_up_any_more(here: Side, redis_server: RedisServer) -> None:
    made = await here.announce(expires_at=timestamp(store_us(redis_server) + SOON_US))
    assert here.store.live.newest(INBOX)
    await past(redis_server, made.ends)
    await here.look()
    assert here.store.live.newest(INBOX) == 0


async def test_with_fewer_days_than_before_it_does_not_outlive_what_feeds_remember(
    here: Side, redis_server: RedisServer
) -> None:
    made = await here.announce()
    async with side(redis_server.url, feed_days=7) as there:
        await there.look()
        (op,) = there.store.live.after(INBOX, 0)
        assert op.expires == (made.published or 0) + 7 * DAY_US


# ---- withdrawal --------------------------------------------------------------------------------------


async def test_a_withdrawal_takes_it_out_of_the_feeds_that_have_it_and_of_those_to_come(
    here: Side, redis_server: RedisServer
) -> None:
    made = await here.announce()
    assert await here.ids() == [made.id]
    withdrawn = await here.withdraw(made)
    assert (withdrawn.status, withdrawn.withdrawn is not None) == ("withdrawn", True)
    assert await here.ids() == await here.ids(BOB.feed("inbox")) == []
    assert events_of(redis_server) == ["entry", "gone"]
    assert events_of(redis_server, BOB.feed("inbox")) == []


async def test_whoever_has_not_heard_of_the_withdrawal_cannot_bring_it_back(here: Side, there: Side) -> None:
    made = await here.announce()
    await there.look()
    await here.withdraw(made)
    assert await here.ids() == []
    assert await there.ids() == []


async def test_one_that_is_brought_late_finds_that_the_feed_has_gone_on(
    here: Side, there: Side, redis_server: RedisServer
) -> None:
    made = await here.announce()
    await there.look()
    assert await here.ids() == [made.id]
    await here.withdraw(made)
    assert await here.ids() == []
    await there.store.bring(INBOX, 0)  # as when its script was on its way all the time
    assert events_of(redis_server) == ["entry", "gone"]


async def test_a_feed_that_has_lost_its_number_has_no_entry_twice(here: Side, redis_server: RedisServer) -> None:
    made = await here.announce()
    await here.store.mark(INBOX, ["read"], [made.id])
    redis_server.client.delete(ANN.meta)
    assert await here.ids(status="read") == [made.id]
    assert events_of(redis_server) == ["entry", "state"]


async def test_whoever_brought_it_without_having_heard_of_the_withdrawal_is_corrected(here: Side, there: Side) -> None:
    made = await here.announce()
    await there.look()
    await here.withdraw(made)
    assert await there.ids() == [made.id]
    assert await here.ids() == []
    assert await there.ids() == []


async def test_withdrawing_again_and_what_is_over_changes_nothing(here: Side, redis_server: RedisServer) -> None:
    first = await here.withdraw(await here.announce())
    assert await here.withdraw(first) == first
    short = await here.announce(expires_at=timestamp(store_us(redis_server) + SOON_US))
    await past(redis_server, short.ends)
    assert (await here.withdraw(short)).status == "expired"
    unknown = await refusal(here.announcements.withdraw("default", "nope"))
    assert (unknown.code, unknown.details["resource"]) == (Code.NOT_FOUND, "announcement")


# ---- publication by the store's clock ----------------------------------------------------------------


async def test_a_scheduled_one_is_published_by_whoever_looks_first_when_it_is_due(
    here: Side, there: Side, redis_server: RedisServer
) -> None:
    at = (store_us(redis_server) + SOON_US) // 1000 * 1000
    made = await here.announce(publish_at=timestamp(at))
    assert (made.status, made.published, made.due) == ("scheduled", None, at)
    await there.look()
    assert await here.ids() == await there.ids() == []
    await past(redis_server, at)
    await asyncio.gather(here.look(), there.look())
    found = await here.announcements.get("default", made.id)
    assert found.status == "published"
    assert (found.published or 0) >= at
    assert await here.ids() == await there.ids() == [made.id]


async def test_numbers_rise_in_the_order_of_publication_even_if_the_clock_has_stepped_back(
    here: Side, redis_server: RedisServer
) -> None:
    ahead = store_us(redis_server) + DAY_US
    redis_server.client.set(keys.announcements("default", "top"), ahead)
    first, second = await here.announce(), await here.announce()
    assert [first.published, second.published] == [ahead + 1, ahead + 2]
    withdrawn = await here.withdraw(first)
    assert withdrawn.withdrawn == ahead + 3


async def test_several_that_are_due_are_published_in_the_order_of_their_times(
    here: Side, redis_server: RedisServer
) -> None:
    at = store_us(redis_server) + SOON_US
    late = await here.announce("late", publish_at=timestamp(at + 2000))
    early = await here.announce("early", publish_at=timestamp(at))
    await past(redis_server, at + 2000)
    await here.look()
    assert await here.ids() == [late.id, early.id]


async def test_a_lost_sequence_goes_on_above_what_feeds_have_seen(here: Side, redis_server: RedisServer) -> None:
    await here.announce("lost with its store")
    assert len(await here.ids()) == 1
    for key in redis_server.client.keys("{default}:*"):
        redis_server.client.delete(key)
    made = await here.announce("after")
    assert (await here.ids())[0] == made.id


async def test_a_withdrawn_schedule_is_never_published(here: Side, redis_server: RedisServer) -> None:
    at = store_us(redis_server) + SOON_US
    made = await here.withdraw(await here.announce(publish_at=timestamp(at)))
    await past(redis_server, at)
    await here.look()
    assert await here.ids() == []
    assert (await here.announcements.get("default", made.id)).status == "withdrawn"


async def test_a_change_is_told_once_and_what_has_not_changed_is_not(here: Side) -> None:
    await here.announce()
    await here.look()
    assert here.changed == ["default"]


def elsewhere(url: str) -> Announcement:
    """Announces from another process, while nothing else happens in this one."""

    async def announce() -> Announcement:
        async with side(url) as other:
            return await other.announce()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, announce()).result()


async def test_a_ring_while_an_older_answer_is_on_its_way_is_heard(here: Side, redis_server: RedisServer) -> None:
    keeping = asyncio.create_task(here.announcements.keep(lambda: ["default"], 1000))
    try:
        for _ in range(5):
            here.announcements.ring("default")
            for _ in range(4):  # until the question is on its way
                await asyncio.sleep(0)
            made = elsewhere(redis_server.url)
            here.announcements.ring("default")
            await until(lambda made=made: here.store.live.newest(INBOX) == made.published)
    finally:
        keeping.cancel()


async def test_what_is_planned_here_is_published_in_time_though_nobody_rings(
    here: Side, redis_server: RedisServer
) -> None:
    keeping = asyncio.create_task(here.announcements.keep(lambda: ["default"], 1000))
    try:
        await asyncio.sleep(0)  # it waits for its check
        await here.announce(publish_at=timestamp(store_us(redis_server) + SOON_US))
        await until(lambda: here.store.live.newest(INBOX))
    finally:
        keeping.cancel()


# ---- what is refused ---------------------------------------------------------------------------------


async def test_times_are_judged_by_the_stores_clock(here: Side, redis_server: RedisServer) -> None:
    now = store_us(redis_server)

    async def faults(**fields: int) -> list[tuple[str, str]]:
        refused = await refusal(here.try_announce("t", **{name: timestamp(at) for name, at in fields.items()}))
        assert refused.code is Code.INVALID_REQUEST
        return fields_of(refused)

    assert await faults(publish_at=now) == [("publish_at", "past")]
    assert await faults(expires_at=now) == [("expires_at", "past")]
    assert await faults(publish_at=now + DAY_US, expires_at=now + DAY_US) == [("expires_at", "past")]
    assert await faults(expires_at=now + 91 * DAY_US) == [("expires_at", "too_far")]
    assert await faults(publish_at=now + (AHEAD_DAYS + 1) * DAY_US) == [("publish_at", "too_far")]
    assert await faults(publish_at=now + DAY_US, expires_at=now + 92 * DAY_US) == [("expires_at", "too_far")]
    assert redis_server.client.keys() == []


async def test_of_too_many_that_are_not_over_the_next_one_is_refused(here: Side, redis_server: RedisServer) -> None:
    made = [await here.announce(str(n)) for n in range(MOST - 1)]
    made.append(await here.announce(publish_at=timestamp(store_us(redis_server) + DAY_US)))
    refused = await refusal(here.announce())
    assert (refused.code, str(MOST) in refused.message) == (Code.LIMIT, True)
    await here.withdraw(made[0])
    await here.announce()
    assert len(await here.ids(limit=100)) == MOST - 1


async def test_of_those_that_are_over_the_first_are_forgotten(
    here: Side, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEPT > MOST
    monkeypatch.setattr(module, "KEPT", 3)
    ends = timestamp(store_us(redis_server) + SOON_US)
    first, second = [await here.announce(expires_at=ends) for _ in range(2)]
    third = await here.announce()
    assert (await refusal(here.announce())).code is Code.LIMIT
    await past(redis_server, second.ends)
    fourth = await here.announce()
    left = {one.id for one in (await here.announcements.page("default", Window())).items}
    assert left in ({second.id, third.id, fourth.id}, {first.id, third.id, fourth.id})
    assert redis_server.client.zcard(keys.announcements("default", "ends")) == 3


async def test_withdrawn_ones_are_forgotten_too_and_yet_leave_the_feeds_that_hold_them(
    here: Side, there: Side, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("KEPT", 3), ("GONE", 2)):
        monkeypatch.setattr(module, name, number)
    monkeypatch.setattr("hub.store.WITHDRAWN", 2)
    first = await here.announce()
    assert await here.ids() == [first.id]
    planned = await here.announce(publish_at=timestamp(store_us(redis_server) + DAY_US))
    await here.withdraw(planned)
    made = []
    for n in range(4):  # forgotten, in this order: what was only planned, of which nothing stays; the first; the second
        made.append(await here.announce(str(n)))
        await here.withdraw(made[-1] if n else first)
    left = [one.id for one in (await here.announcements.page("default", Window())).items]
    assert left == [made[3].id, made[2].id, made[0].id]
    assert (await refusal(here.announcements.get("default", first.id))).code is Code.NOT_FOUND
    await there.look()
    assert await there.ids() == [made[0].id], "the first one left the feed"
    assert await there.ids(BOB.feed("inbox")) == [made[0].id]
    assert (await refusal(here.announce())).code is Code.LIMIT
    gone = keys.announcements("default", "gone")
    redis_server.client.zadd(gone, dict.fromkeys(redis_server.client.zrange(gone, 0, 0), 1))  # its end has come
    await here.announce()
    assert redis_server.client.zcard(gone) == 2


# ---- once --------------------------------------------------------------------------------------------


async def test_under_one_key_there_is_one_however_many_ask_at_once(here: Side, there: Side) -> None:
    once = Idempotency(keys.project_idem("default", "k"), "digest")
    made = await asyncio.gather(*(one.announce(once=once) for _ in range(5) for one in (here, there)))
    assert len({one.id for one in made}) == 1
    assert len(await here.ids()) == 1
    other = Idempotency(once.record, "other")
    assert (await refusal(here.announce(once=other))).code is Code.IDEMPOTENCY_KEY_REUSED


# ---- pages -------------------------------------------------------------------------------------------


async def test_pages_show_all_the_last_one_made_first(here: Side, redis_server: RedisServer) -> None:
    made = [await here.announce(str(n)) for n in range(5)]
    page = await here.announcements.page("default", Window(limit=2))
    assert [one.id for one in page.items] == [made[4].id, made[3].id]
    page = await here.announcements.page("default", Window(limit=2, after=page.after))
    assert [one.id for one in page.items] == [made[2].id, made[1].id]
    assert (page.after is not None, page.before is not None) == (True, True)
    assert made[0].made < made[1].made
    assert (await here.announcements.page("other", Window())).items == ()
