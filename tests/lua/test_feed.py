"""The feed engine, one behaviour a test, through `Store` on a real Redis: no hub, no sockets."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot

from hub.errors import Code, Refused
from hub.idempotency import Idempotency
from hub.keys import Feed, User, digest
from hub.model import START, STATUSES, VERBS, Answer, Claims, Counts, Entry, Event, Filters, Page, Published, micros_of
from hub.sending import new_entry_id
from hub.store import OPS, Memory, Store, op_memory, parse_event
from tests.harness import PATIENCE_S, RedisServer, open_store

ANN = User("default", "ann")
INBOX = ANN.feed("inbox")
ALERTS = ANN.feed("alerts")
LOST = "1111111111111111-1"
"""A cursor that no feed here ever had, older than all of them."""
HOUR_US = 3600 * 1_000_000


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Store]:
    async with open_store(redis_server.url) as opened:
        yield opened


async def publish(store: Store, feed: Feed = INBOX, **fields: Any) -> Published:
    entry_id = new_entry_id()
    return await store.publish(feed, entry_id, f'{{"id":"{entry_id}"', **fields)


async def publish_many(store: Store, count: int, feed: Feed = INBOX, **fields: Any) -> list[Published]:
    """In this order: commands of one connection run in the order they were written."""
    published: list[Published] = []
    while len(published) < count:  # no more at once than a slow machine answers in time
        some = min(500, count - len(published))
        published += await asyncio.gather(*(publish(store, feed, **fields) for _ in range(some)))
    return published


def ids_of(published: Iterable[Published | Entry]) -> list[str]:
    return [one.id for one in published]


async def everything(store: Store, feed: Feed = INBOX) -> dict[str, Entry]:
    """All entries of a feed by id, whatever their state."""
    found: dict[str, Entry] = {}
    for filters in (Filters(archived=True, limit=100), Filters(status="dismissed", limit=100)):
        for page in await walk(store, feed, filters):
            found |= {entry.id: entry for entry in page.entries}
    return found


async def walk(store: Store, feed: Feed, filters: Filters, **options: bool) -> list[Page]:
    """All pages from the newest to the oldest."""
    pages = [await store.page(feed, filters, **options)]
    while (after := pages[-1].after) is not None:
        pages.append(await store.page(feed, _at(filters, after=after), **options))
    return pages


def _at(filters: Filters, **position: int) -> Filters:
    fields = {name: getattr(filters, name) for name in Filters.__dataclass_fields__}
    return Filters(**fields | {"after": None, "before": None} | position)


async def log_of(redis: RedisServer, feed: Feed = INBOX) -> list[Event]:
    rows = redis.client.xrange(feed.key("log"))
    return [parse_event(feed.channel, cursor, row["prev"], row["data"]) for cursor, row in rows]


def recount(entries: Iterable[Entry]) -> Counts:
    active = [entry for entry in entries if not entry.archived and not entry.dismissed]
    return Counts(sum(not e.seen for e in active), sum(not e.read for e in active), len(active))


async def refusal(call: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


def store_time(redis: RedisServer) -> int:
    seconds, micros = redis.client.time()
    return int(seconds) * 1_000_000 + int(micros)


async def past(redis: RedisServer, micros: int) -> None:
    """Waits until the store's clock has passed a time."""
    async with asyncio.timeout(PATIENCE_S):
        while store_time(redis) <= micros:  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.001)


def claims(issued_at: int | None) -> Claims:
    return Claims("default", "ann", issued_at, None)


# ---- cursors and the log -----------------------------------------------------------------------------


async def test_every_event_links_to_the_one_before_and_the_first_to_the_start(
    store: Store, redis_server: RedisServer
) -> None:
    one, two = await publish_many(store, 2)
    await store.mark(INBOX, ["read"], [one.id])
    await store.withdraw(INBOX, two.id)
    events = await log_of(redis_server)
    assert [event.kind for event in events] == ["entry", "entry", "state", "gone"]
    assert [event.prev for event in events] == [START, *(event.cursor for event in events[:-1])]


async def test_a_cursor_tells_the_stores_time_and_is_the_place_of_the_entry(
    store: Store, redis_server: RedisServer
) -> None:
    before = store_time(redis_server)
    published = await publish(store)
    (entry,) = await store.entries(INBOX, [published.id])
    assert before <= micros_of(published.cursor) == entry.score <= store_time(redis_server)


async def test_cursors_rise_while_calls_race_on_two_connections(store: Store, redis_server: RedisServer) -> None:
    async with open_store(redis_server.url) as other:
        await asyncio.gather(*(publish(s) for _ in range(100) for s in (store, other)))
    events = await log_of(redis_server)
    times = [micros_of(event.cursor) for event in events]
    assert len(times) == 200
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert all(event.prev == before.cursor for before, event in itertools.pairwise(events))


async def test_cursors_rise_even_when_the_last_one_is_in_the_future(store: Store, redis_server: RedisServer) -> None:
    ahead = store_time(redis_server) + HOUR_US
    redis_server.client.hset(ANN.meta, "cursor:inbox", f"{ahead}-7")
    published = await publish(store)
    marked = await store.mark(INBOX, ["read"], [published.id])
    withdrawn = await store.withdraw(INBOX, published.id)
    cursors = [published.cursor, marked.cursor, withdrawn.cursor]
    assert [micros_of(cursor) for cursor in cursors] == [ahead + 1, ahead + 2, ahead + 3]
    assert (await log_of(redis_server))[0].prev == f"{ahead}-7"


async def test_times_are_those_of_the_cursor_even_in_the_future(store: Store, redis_server: RedisServer) -> None:
    redis_server.client.hset(ANN.meta, "cursor:inbox", f"{store_time(redis_server) + HOUR_US}-7")
    published = await publish(store)
    marked = await store.mark(INBOX, ["click"], [published.id])
    (entry,) = await store.entries(INBOX, [published.id])
    assert entry.score == micros_of(published.cursor)
    assert {entry.seen, entry.read, entry.clicked, entry.updated} == {micros_of(marked.cursor)}


async def test_the_chain_goes_on_from_the_log_when_the_remembered_cursor_is_lost(
    store: Store, redis_server: RedisServer
) -> None:
    first = await publish(store)
    redis_server.client.delete(ANN.meta)
    await publish(store)
    assert (await log_of(redis_server))[1].prev == first.cursor


async def test_the_chain_goes_on_from_the_remembered_cursor_when_the_log_is_lost(
    store: Store, redis_server: RedisServer
) -> None:
    first = await publish(store)
    redis_server.client.delete(INBOX.key("log"))
    await publish(store)
    assert [event.prev for event in await log_of(redis_server)] == [first.cursor]


async def test_two_feeds_of_a_user_have_their_own_cursors_entries_and_counts(store: Store) -> None:
    here, there = await publish(store, INBOX), await publish(store, ALERTS)
    _, tops = await store.check(ANN, ["inbox", "alerts", "never"])
    assert tops == {"inbox": here.cursor, "alerts": there.cursor, "never": START}
    marked = await store.mark(INBOX, ["read"], [here.id])
    assert marked.counts == Counts(0, 0, 1)
    assert (await store.page(ALERTS, Filters())).counts == Counts(1, 1, 1)


async def test_the_log_holds_exactly_as_many_events_as_it_may(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, log_events=7) as store:
        await publish_many(store, 20)
    assert redis_server.client.xlen(INBOX.key("log")) == 7


async def test_what_is_pushed_is_what_the_log_says(store: Store, redis_server: RedisServer) -> None:
    ears = redis_server.client.pubsub()
    ears.ssubscribe(ANN.events)
    assert ears.get_message(timeout=PATIENCE_S)["type"] == "ssubscribe"
    entry = await publish(store, topic="orders", expires=store_time(redis_server) + HOUR_US)
    await store.mark(INBOX, ["seen"], [entry.id], by="s1")
    await store.withdraw(INBOX, entry.id)
    heard = []
    for _ in range(3):
        handle, cursor, prev, data = ears.get_message(timeout=PATIENCE_S)["data"].split(" ", 3)
        heard.append(parse_event(handle, cursor, prev, data))
    ears.close()
    assert heard == await log_of(redis_server)


# ---- sending -----------------------------------------------------------------------------------------


async def test_a_new_entry_is_unseen_unread_and_counted(store: Store) -> None:
    published = await publish(store)
    page = await store.page(INBOX, Filters())
    (entry,) = page.entries
    assert (entry.id, entry.status, page.cursor) == (published.id, "unseen", published.cursor)
    assert (entry.seen, entry.read, entry.clicked, entry.archived, entry.dismissed) == (0, 0, 0, 0, 0)
    assert page.counts == Counts(1, 1, 1)


async def test_a_body_comes_back_byte_for_byte(store: Store) -> None:
    body = '{"data":{"title":"ünï\\u0000 | } \\" {\U0001f514"}'
    await store.publish(INBOX, "e1", body, topic="a|b c\n")
    (entry,) = await store.entries(INBOX, ["e1"])
    assert entry.body == body
    await store.mark(INBOX, ["read"], ["e1"])
    assert ids_of((await store.page(INBOX, Filters(topic="a|b c\n"))).entries) == ["e1"]


async def test_a_send_with_a_known_idempotency_key_happens_once(store: Store) -> None:
    key = Idempotency(ANN.idem("k"), "b" * 32, '202 {"id":"first\n"}')
    first = await publish(store, once=key)
    again = await publish(store, once=key)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.answer == Answer(202, '{"id":"first\n"}')
    assert (await store.page(INBOX, Filters())).counts.total == 1


async def test_one_of_many_equal_sends_at_once_makes_the_entry(store: Store, redis_server: RedisServer) -> None:
    def key(answer: int) -> Idempotency:
        return Idempotency(ANN.idem("k"), "b" * 32, f"202 {answer}")

    async with open_store(redis_server.url) as other:
        calls = [publish(s, once=key(i)) for i, s in enumerate([store, other] * 20)]
        results = await asyncio.gather(*calls)
    (winner,) = (i for i, result in enumerate(results) if not result.replayed)
    assert {result.answer for result in results if result.replayed} == {Answer(202, str(winner))}
    assert len(await log_of(redis_server)) == 1


async def test_an_id_is_put_into_a_feed_once(store: Store, redis_server: RedisServer) -> None:
    assert not (await store.publish(INBOX, "e1", '{"id":"e1"')).replayed
    assert (await store.publish(INBOX, "e1", '{"id":"e1"')).replayed
    assert len(await log_of(redis_server)) == 1


async def test_a_known_idempotency_key_with_another_body_is_refused(store: Store) -> None:
    await publish(store, once=Idempotency(ANN.idem("k"), "b" * 32))
    refused = await refusal(publish(store, once=Idempotency(ANN.idem("k"), "c" * 32)))
    assert refused.code is Code.IDEMPOTENCY_KEY_REUSED
    assert (await store.page(INBOX, Filters())).counts.total == 1


async def test_an_idempotency_key_is_remembered_a_day_and_works_after_the_entry_is_gone(
    store: Store, redis_server: RedisServer
) -> None:
    key = Idempotency(ANN.idem("k"), "b" * 32)
    first = await publish(store, once=key)
    await store.withdraw(INBOX, first.id)
    assert (await publish(store, once=key)).replayed
    assert 0 < redis_server.client.pttl(key.record) <= 24 * 3600 * 1000


@pytest.mark.parametrize("ago_us", [0, 1, HOUR_US])
async def test_an_entry_that_expires_in_the_past_is_refused_and_leaves_no_trace(
    store: Store, redis_server: RedisServer, ago_us: int
) -> None:
    refused = await refusal(publish(store, expires=store_time(redis_server) - ago_us, source_key="s"))
    assert refused.code is Code.INVALID_REQUEST
    assert refused.details["fields"][0]["field"] == "expires_at"
    assert redis_server.client.keys("*") == []


# ---- marks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "sets"),
    [
        ("seen", {"seen"}),
        ("read", {"seen", "read"}),
        ("click", {"seen", "read", "clicked"}),
        ("archive", {"archived"}),
        ("dismiss", {"dismissed"}),
    ],
)
async def test_a_verb_sets_its_times_to_that_of_its_event_and_nothing_else(
    store: Store, verb: str, sets: set[str]
) -> None:
    published = await publish(store)
    marked = await store.mark(INBOX, [verb], [published.id])
    (entry,) = await store.entries(INBOX, [published.id])
    times = {name: getattr(entry, name) for name in ("seen", "read", "clicked", "archived", "dismissed")}
    assert times == {name: micros_of(marked.cursor) if name in sets else 0 for name in times}
    assert marked.changed == (published.id,)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "unarchive"])
async def test_a_repeated_mark_changes_nothing_and_is_no_event(
    store: Store, redis_server: RedisServer, verb: str
) -> None:
    published = await publish(store)
    first = await store.mark(INBOX, [verb], [published.id])
    again = await store.mark(INBOX, [verb], [published.id])
    assert (again.cursor, again.changed, again.replayed) == (first.cursor, (), False)
    assert len(await log_of(redis_server)) == 2


async def test_a_later_verb_keeps_the_times_that_are_set(store: Store) -> None:
    published = await publish(store)
    seen = await store.mark(INBOX, ["seen"], [published.id])
    clicked = await store.mark(INBOX, ["click"], [published.id])
    (entry,) = await store.entries(INBOX, [published.id])
    assert (entry.seen, entry.read, entry.clicked) == (
        micros_of(seen.cursor),
        micros_of(clicked.cursor),
        micros_of(clicked.cursor),
    )
    assert entry.updated == micros_of(clicked.cursor)


async def test_every_order_of_three_verbs_leaves_counts_that_equal_a_recount(store: Store) -> None:
    for verbs in itertools.product(VERBS, repeat=3):
        published = await publish(store)
        for verb in verbs:
            marked = await store.mark(INBOX, [verb], [published.id])
        entries = await everything(store)
        assert marked.counts == recount(entries.values()), verbs
        if len(entries) > 20:
            for entry_id in entries:
                await store.withdraw(INBOX, entry_id)


async def test_archiving_leaves_all_counts_and_unarchiving_enters_them_where_the_time_is_null(store: Store) -> None:
    fresh, seen, read = await publish_many(store, 3)
    await store.mark(INBOX, ["seen"], [seen.id])
    before = await store.mark(INBOX, ["read"], [read.id])
    assert before.counts == Counts(1, 2, 3)
    ids = [fresh.id, seen.id, read.id]
    assert (await store.mark(INBOX, ["archive"], ids)).counts == Counts(0, 0, 0)
    assert (await store.mark(INBOX, ["unarchive"], ids)).counts == before.counts


async def test_marks_on_an_archived_entry_set_its_times_and_leave_the_counts(store: Store) -> None:
    published = await publish(store)
    await store.mark(INBOX, ["archive"], [published.id])
    marked = await store.mark(INBOX, ["read"], [published.id])
    assert marked.counts == Counts(0, 0, 0)
    back = await store.mark(INBOX, ["unarchive"], [published.id])
    assert back.counts == Counts(0, 0, 1)
    (entry,) = await store.entries(INBOX, [published.id])
    assert (entry.read, entry.archived, entry.updated) == (micros_of(marked.cursor), 0, micros_of(back.cursor))


@pytest.mark.parametrize("archived_before", [False, True])
async def test_archive_and_unarchive_of_a_dismissed_entry_change_nothing(store: Store, archived_before: bool) -> None:
    published = await publish(store)
    if archived_before:
        await store.mark(INBOX, ["archive"], [published.id])
    await store.mark(INBOX, ["dismiss"], [published.id])
    before = await store.entries(INBOX, [published.id])
    for verb in ("archive", "unarchive"):
        assert (await store.mark(INBOX, [verb], [published.id])).changed == ()
    assert await store.entries(INBOX, [published.id]) == before
    assert ids_of((await store.page(INBOX, Filters(status="dismissed"))).entries) == [published.id]
    assert (await store.page(INBOX, Filters(archived=True))).entries == ()


async def test_an_unarchived_entry_is_back_at_its_old_place(store: Store) -> None:
    oldest, middle, newest = await publish_many(store, 3)
    await store.mark(INBOX, ["archive"], [middle.id])
    assert ids_of((await store.page(INBOX, Filters())).entries) == [newest.id, oldest.id]
    await store.mark(INBOX, ["unarchive"], [middle.id])
    assert ids_of((await store.page(INBOX, Filters())).entries) == [newest.id, middle.id, oldest.id]


async def test_several_verbs_are_one_event_in_the_protocols_order(store: Store, redis_server: RedisServer) -> None:
    published = await publish(store)
    marked = await store.mark(INBOX, ["archive", "click"], [published.id], by="s1")
    event = (await log_of(redis_server))[-1]
    assert (event.cursor, event.verbs, event.ids, event.by) == (
        marked.cursor,
        ("click", "archive"),
        (published.id,),
        "s1",
    )
    (entry,) = await store.entries(INBOX, [published.id])
    assert entry.clicked == entry.read == entry.seen == entry.archived == micros_of(marked.cursor)


async def test_changed_has_the_ids_that_changed_in_the_order_asked_once(
    store: Store, redis_server: RedisServer
) -> None:
    published = ids_of(await publish_many(store, 5))
    await store.mark(INBOX, ["read"], [published[1]])
    asked = [published[3], published[0], published[1], published[3], published[4]]
    marked = await store.mark(INBOX, ["read"], asked)
    assert marked.changed == (published[3], published[0], published[4])
    assert (await log_of(redis_server))[-1].ids == marked.changed


async def test_500_ids_are_one_event(store: Store, redis_server: RedisServer) -> None:
    published = ids_of(await publish_many(store, 500))
    marked = await store.mark(INBOX, ["read"], published)
    assert marked.changed == tuple(published)
    assert marked.counts == Counts(0, 0, 500)
    assert (await log_of(redis_server))[-1].ids == marked.changed


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_unknown_id_and_nothing_of_the_mark_is_applied(
    store: Store, redis_server: RedisServer, place: int
) -> None:
    ids = ids_of(await publish_many(store, 2))
    before = await everything(store)
    ids.insert(place, "nobody")
    refused = await refusal(store.mark(INBOX, ["read", "archive"], ids))
    assert refused.code is Code.NOT_FOUND
    assert refused.details == {"resource": "entry", "id": "nobody", "ids": ["nobody"]}
    assert await everything(store) == before
    assert len(await log_of(redis_server)) == 2


async def test_ids_of_another_user_or_channel_are_not_found_and_all_of_them_named(store: Store) -> None:
    mine = await publish(store)
    other_channel = await publish(store, ALERTS)
    other_user = await publish(store, User("default", "bob").feed("inbox"))
    foreign = [other_user.id, other_channel.id]
    refused = await refusal(store.mark(INBOX, ["read"], [foreign[0], mine.id, foreign[1]]))
    assert (refused.code, refused.details["ids"]) == (Code.NOT_FOUND, foreign)
    assert (await refusal(store.entries(INBOX, [mine.id, *foreign]))).details["ids"] == foreign
    assert (await store.page(INBOX, Filters())).counts == Counts(1, 1, 1)


@pytest.mark.parametrize("odd", ["", " ", "a,b", "a b", "|", "\0", "*", "inbox:log", "ü" * 64, "-", "%"])
async def test_an_ill_formed_id_is_not_found_and_named(store: Store, odd: str) -> None:
    refused = await refusal(store.mark(INBOX, ["read"], [odd]))
    assert (refused.code, refused.details["ids"]) == (Code.NOT_FOUND, [odd])


async def test_entries_come_in_the_order_asked_in_whatever_state(store: Store) -> None:
    active, archived, dismissed = published = await publish_many(store, 3)
    await store.mark(INBOX, ["archive"], [archived.id])
    await store.mark(INBOX, ["dismiss"], [dismissed.id])
    asked = [dismissed.id, active.id, archived.id]
    entries = await store.entries(INBOX, asked)
    assert ids_of(entries) == asked
    scores = {one.id: micros_of(one.cursor) for one in published}
    assert {entry.id: entry.score for entry in entries} == scores


# ---- the memory of an `op` ----------------------------------------------------------------------------


def memory(op: str = "o1", frame: str = "f" * 32, feed: Feed = INBOX) -> Memory:
    return op_memory(feed, op, frame)


async def test_the_same_op_again_is_replayed_with_its_cursor_and_the_current_counts(
    store: Store, redis_server: RedisServer
) -> None:
    one, two = await publish_many(store, 2)
    first = await store.mark(INBOX, ["read"], [two.id, one.id], memory=memory())
    await publish(store)
    again = await store.mark(INBOX, ["read"], [two.id, one.id], memory=memory())
    assert (again.replayed, again.cursor, again.changed) == (True, first.cursor, (two.id, one.id))
    assert again.counts == Counts(1, 1, 3)
    assert len(await log_of(redis_server)) == 4


async def test_an_op_is_replayed_even_when_its_change_was_undone_or_its_entries_are_gone(store: Store) -> None:
    published = await publish(store)
    first = await store.mark(INBOX, ["archive"], [published.id], memory=memory())
    await store.mark(INBOX, ["unarchive"], [published.id])
    again = await store.mark(INBOX, ["archive"], [published.id], memory=memory())
    assert (again.replayed, again.cursor, again.counts) == (True, first.cursor, Counts(1, 1, 1))
    assert (await store.entries(INBOX, [published.id]))[0].archived == 0
    await store.withdraw(INBOX, published.id)
    assert (await store.mark(INBOX, ["archive"], [published.id], memory=memory())).changed == (published.id,)


async def test_an_op_that_changed_nothing_is_replayed_as_that(store: Store) -> None:
    published = await publish(store)
    read = await store.mark(INBOX, ["read"], [published.id])
    first = await store.mark(INBOX, ["read"], [published.id], memory=memory())
    assert (first.changed, first.cursor) == ((), read.cursor)
    again = await store.mark(INBOX, ["read"], [published.id], memory=memory())
    assert (again.changed, again.cursor, again.replayed) == ((), read.cursor, True)


async def test_the_same_op_with_another_frame_is_refused(store: Store) -> None:
    one, two = await publish_many(store, 2)
    await store.mark(INBOX, ["read"], [one.id], memory=memory())
    refused = await refusal(store.mark(INBOX, ["read"], [two.id], memory=memory(frame="g" * 32)))
    assert refused.code is Code.IDEMPOTENCY_KEY_REUSED
    assert (await store.page(INBOX, Filters())).counts.unread == 1


async def test_a_replayed_op_older_than_the_log_no_longer_tells_what_changed(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, log_events=3) as store:
        published = await publish(store)
        first = await store.mark(INBOX, ["read"], [published.id], memory=memory())
        await publish_many(store, 3)
        again = await store.mark(INBOX, ["read"], [published.id], memory=memory())
    assert (again.changed, again.cursor, again.replayed) == (None, first.cursor, True)
    assert again.counts == Counts(3, 3, 4)


async def test_a_request_that_is_replayed_tells_how_many_it_changed_also_without_the_log(
    redis_server: RedisServer,
) -> None:
    async with open_store(redis_server.url, log_events=3) as store:
        await publish_many(store, 2)
        once = Idempotency(ANN.idem("k"), "d" * 32)
        first = await store.mark_upto(INBOX, ["read"], None, once=once)
        assert (first.number, first.replayed) == (2, False)
        await publish(store)
        with_log = await store.mark_upto(INBOX, ["read"], None, once=once)
        assert (len(with_log.changed or ()), with_log.number, with_log.replayed) == (2, 2, True)
        await publish_many(store, 3)
        without = await store.mark_upto(INBOX, ["read"], None, once=once)
        assert (without.changed, without.number, without.cursor) == (None, 2, first.cursor)
        assert without.counts == Counts(4, 4, 6)


async def test_an_op_counts_in_its_feed_only(store: Store) -> None:
    here, there = await publish(store, INBOX), await publish(store, ALERTS)
    await store.mark(INBOX, ["read"], [here.id], memory=memory())
    marked = await store.mark(ALERTS, ["read"], [there.id], memory=memory(feed=ALERTS, frame="g" * 32))
    assert (marked.replayed, marked.changed) == (False, (there.id,))


async def test_an_op_that_failed_is_not_remembered(store: Store) -> None:
    published = await publish(store)
    assert (await refusal(store.mark(INBOX, ["read"], ["nobody"], memory=memory()))).code is Code.NOT_FOUND
    assert (await refusal(store.mark_upto(INBOX, ["read"], f"9{published.cursor}", memory=memory()))).code is (
        Code.CONFLICT
    )
    marked = await store.mark(INBOX, ["read"], [published.id], memory=memory(frame="g" * 32))
    assert (marked.replayed, marked.changed) == (False, (published.id,))


async def test_an_upto_is_replayed_after_its_cursor_left_the_log_and_was_forgotten(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, log_events=3) as store:
        one, two = await publish_many(store, 2)
        first = await store.mark_upto(INBOX, ["read"], two.cursor, memory=memory())
        later = await publish(store)
        again = await store.mark_upto(INBOX, ["read"], two.cursor, memory=memory())
        assert (again.replayed, again.cursor, again.changed) == (True, first.cursor, (one.id, two.id))
        assert (await store.entries(INBOX, [later.id]))[0].read == 0


async def test_the_same_op_at_once_on_two_connections_changes_once(store: Store, redis_server: RedisServer) -> None:
    published = await publish(store)
    async with open_store(redis_server.url) as other:
        results = await asyncio.gather(
            *(s.mark(INBOX, ["read"], [published.id], memory=memory()) for _ in range(10) for s in (store, other))
        )
    assert sum(not result.replayed for result in results) == 1
    assert {(result.cursor, result.changed) for result in results} == {(results[0].cursor, (published.id,))}
    assert len(await log_of(redis_server)) == 2


async def test_1000_ops_are_remembered_and_one_more_is_refused_until_one_is_a_day_old(
    store: Store, redis_server: RedisServer
) -> None:
    published = await publish(store)
    await asyncio.gather(
        *(store.mark(INBOX, ["read"], [published.id], memory=memory(f"o{n}")) for n in range(OPS)),
    )
    refused = await refusal(store.mark(INBOX, ["archive"], [published.id], memory=memory("more")))
    assert (refused.code, refused.temporary) == (Code.RATE_LIMITED, True)
    assert (await store.entries(INBOX, [published.id]))[0].archived == 0
    assert (await store.mark(INBOX, ["read"], [published.id], memory=memory("o0"))).replayed
    assert (await store.mark(INBOX, ["archive"], [published.id])).changed == (published.id,)

    day_ago = store_time(redis_server) - 24 * HOUR_US - 1
    redis_server.client.zadd(ANN.ops, {memory("o0").op: day_ago}, xx=True)
    assert (await store.mark(INBOX, ["unarchive"], [published.id], memory=memory("more"))).changed == (published.id,)
    refused = await refusal(store.mark(INBOX, ["read"], [published.id], memory=memory("o0")))
    assert refused.code is Code.RATE_LIMITED
    assert redis_server.client.hlen(ANN.memo) == redis_server.client.zcard(ANN.ops) == OPS


async def test_ops_of_one_user_leave_room_for_those_of_another(redis_server: RedisServer, store: Store) -> None:
    published = await publish(store)
    bob = User("default", "bob").feed("inbox")
    his = await publish(store, bob)
    await asyncio.gather(*(store.mark(INBOX, ["read"], [published.id], memory=memory(f"o{n}")) for n in range(OPS)))
    marked = await store.mark(bob, ["read"], [his.id], memory=memory("o0", feed=bob))
    assert marked.changed == (his.id,)


# ---- mark all, up to a cursor ------------------------------------------------------------------------


async def test_upto_marks_what_had_arrived_and_spares_what_came_later(store: Store) -> None:
    one, two, three = await publish_many(store, 3)
    marked = await store.mark_upto(INBOX, ["read"], two.cursor)
    assert marked.changed == (one.id, two.id)
    assert marked.counts == Counts(1, 1, 3)
    assert (await store.entries(INBOX, [three.id]))[0].read == 0


async def test_a_later_state_change_does_not_move_an_entry_past_the_cut(store: Store) -> None:
    one, two = await publish_many(store, 2)
    seen = await store.mark(INBOX, ["seen"], [two.id])
    marked = await store.mark_upto(INBOX, ["read"], one.cursor)
    assert marked.changed == (one.id,)
    assert (await store.mark_upto(INBOX, ["read"], seen.cursor)).changed == (two.id,)


async def test_upto_leaves_archived_and_dismissed_entries_alone(store: Store) -> None:
    archived, dismissed, active = await publish_many(store, 3)
    await store.mark(INBOX, ["archive"], [archived.id])
    top = (await store.mark(INBOX, ["dismiss"], [dismissed.id])).cursor
    assert (await store.mark_upto(INBOX, ["read"], top)).changed == (active.id,)
    assert [entry.read for entry in await store.entries(INBOX, [archived.id, dismissed.id])] == [0, 0]


async def test_upto_the_start_marks_nothing(store: Store, redis_server: RedisServer) -> None:
    assert (await store.mark_upto(INBOX, ["read"], START)).changed == ()
    published = await publish(store)
    marked = await store.mark_upto(INBOX, ["read"], START)
    assert (marked.changed, marked.cursor, marked.counts) == ((), published.cursor, Counts(1, 1, 1))
    assert len(await log_of(redis_server)) == 1


async def test_upto_a_cursor_older_than_the_log_is_fine(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, log_events=3) as store:
        published = await publish_many(store, 10)
        marked = await store.mark_upto(INBOX, ["read"], published[4].cursor)
        assert marked.changed == tuple(ids_of(published[:5]))
        assert (await store.mark_upto(INBOX, ["read"], LOST)).changed == ()


@pytest.mark.parametrize("lost", ["above", "the top's time, another history", "inside", "the oldest's time"])
async def test_upto_a_cursor_that_this_history_does_not_hold_is_a_conflict(
    store: Store, redis_server: RedisServer, lost: str
) -> None:
    published = await publish_many(store, 3)
    times = [micros_of(one.cursor) for one in published]
    cursor = {
        "above": f"{times[2] + 1}-1",
        "the top's time, another history": f"{times[2]}-{_another_nonce(published[2].cursor)}",
        "inside": f"{times[1]}-{_another_nonce(published[1].cursor)}",
        "the oldest's time": f"{times[0]}-{_another_nonce(published[0].cursor)}",
    }[lost]
    refused = await refusal(store.mark_upto(INBOX, ["read"], cursor))
    assert (refused.code, refused.details) == (Code.CONFLICT, {"reason": "unknown_cursor"})
    assert len(await log_of(redis_server)) == 3


async def test_upto_any_cursor_is_a_conflict_where_nothing_ever_happened(store: Store) -> None:
    assert (await refusal(store.mark_upto(INBOX, ["read"], LOST))).code is Code.CONFLICT


def _another_nonce(cursor: str) -> int:
    return (int(cursor.partition("-")[2]) + 1) % 2**32


async def test_upto_with_a_topic_marks_that_topic_only(store: Store) -> None:
    plain = await publish(store)
    orders = await publish(store, topic="orders")
    other = await publish(store, topic="orders2")
    last = await publish(store, topic="orders")
    marked = await store.mark_upto(INBOX, ["archive"], last.cursor, topic="orders")
    assert marked.changed == (orders.id, last.id)
    assert ids_of((await store.page(INBOX, Filters())).entries) == [other.id, plain.id]


async def test_mark_all_seen_reaches_what_is_archived_and_leaves_what_is_dismissed(
    store: Store, redis_server: RedisServer
) -> None:
    active, seen, archived, dismissed = published = await publish_many(store, 4)
    await store.mark(INBOX, ["seen"], [seen.id])
    await store.mark(INBOX, ["archive"], [archived.id])
    await store.mark(INBOX, ["dismiss"], [dismissed.id])
    before = {entry.id: entry.seen for entry in await store.entries(INBOX, ids_of(published))}
    marked = await store.mark_all_seen(INBOX)
    assert set(marked.changed or ()) == {active.id, archived.id}
    assert marked.counts == Counts(0, 2, 2)
    at = micros_of(marked.cursor)
    after = {entry.id: entry.seen for entry in await store.entries(INBOX, ids_of(published))}
    assert after == before | {active.id: at, archived.id: at}
    event = (await log_of(redis_server))[-1]
    assert (event.kind, event.verbs, set(event.ids)) == ("state", ("seen",), {active.id, archived.id})
    again = await store.mark_all_seen(INBOX)
    assert (again.changed, again.cursor) == ((), marked.cursor)


async def test_mark_all_seen_under_a_key_spares_what_came_later(store: Store) -> None:
    once = Idempotency(ANN.idem("k"), "d" * 32)
    published = await publish_many(store, 2)
    first = await store.mark_all_seen(INBOX, once=once)
    later = await publish(store)
    again = await store.mark_all_seen(INBOX, once=once)
    assert (again.replayed, again.cursor) == (True, first.cursor)
    assert set(again.changed or ()) == set(ids_of(published))
    assert ids_of((await store.page(INBOX, Filters(status="unseen"))).entries) == [later.id]


async def test_mark_all_seen_passes_over_entries_whose_marks_were_lost(store: Store, redis_server: RedisServer) -> None:
    first, second = await publish_many(store, 2)
    redis_server.client.hdel(INBOX.key("marks"), first.id)
    assert (await store.mark_all_seen(INBOX)).changed == (second.id,)


async def test_mark_all_seen_of_a_full_feed_is_one_event(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, feed_entries=5000) as store:
        published = await publish_many(store, 5000)
        marked = await store.mark_all_seen(INBOX)
        assert set(marked.changed or ()) == set(ids_of(published))
        assert marked.counts == Counts(0, 5000, 5000)


async def test_upto_marks_thousands_in_one_event_oldest_first(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, feed_entries=5000) as store:
        published = await publish_many(store, 2500)
        marked = await store.mark_upto(INBOX, ["read"], published[-1].cursor)
        assert marked.changed == tuple(ids_of(published))
        assert marked.counts == Counts(0, 0, 2500)
        archived = await store.mark_upto(INBOX, ["archive"], published[-1].cursor)
        assert archived.counts == Counts(0, 0, 0)
    assert (await log_of(redis_server))[-1].ids == marked.changed


# ---- withdrawing -------------------------------------------------------------------------------------


async def test_a_withdrawn_entry_is_gone_from_everything(store: Store, redis_server: RedisServer) -> None:
    one, two = await publish_many(store, 2)
    withdrawn = await store.withdraw(INBOX, one.id)
    assert (withdrawn.ids, withdrawn.counts) == ((one.id,), Counts(1, 1, 1))
    event = (await log_of(redis_server))[-1]
    assert (event.kind, event.reason, event.ids, event.cursor) == ("gone", "withdrawn", (one.id,), withdrawn.cursor)
    assert list(await everything(store)) == [two.id]
    assert (await refusal(store.withdraw(INBOX, one.id))).code is Code.NOT_FOUND
    assert_indexes_agree(redis_server)


async def test_a_source_key_takes_back_all_that_it_sent_whatever_its_state(
    store: Store, redis_server: RedisServer
) -> None:
    sent = ids_of(await publish_many(store, 3, source_key="order-1"))
    other = await publish(store, source_key="order-2")
    await store.mark(INBOX, ["archive"], [sent[0]])
    await store.mark(INBOX, ["dismiss"], [sent[1]])
    withdrawn = await store.withdraw_source(INBOX, "order-1")
    assert sorted(withdrawn.ids) == sorted(sent)
    assert list(await everything(store)) == [other.id]
    assert_indexes_agree(redis_server)
    top = withdrawn.cursor
    again = await store.withdraw_source(INBOX, "order-1")
    assert (again.ids, again.cursor) == ((), top)


async def test_a_source_key_forgets_entries_that_left_by_themselves(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, feed_entries=5) as store:
        published = await publish_many(store, 40, source_key="s")
        assert redis_server.client.scard(INBOX.source("s")) <= 6
        withdrawn = await store.withdraw_source(INBOX, "s")
    assert sorted(withdrawn.ids) == sorted(ids_of(published[-5:]))


# ---- expiry ------------------------------------------------------------------------------------------


async def expired_and_fresh(store: Store, redis: RedisServer, feed: Feed = INBOX) -> tuple[str, str]:
    """An entry that is due and was not noticed yet, and one that stays."""
    at = store_time(redis) + 100_000
    due = await publish(store, feed, expires=at)
    stays = await publish(store, feed)
    await past(redis, at)
    return due.id, stays.id


async def test_a_page_counts_and_lists_no_expired_entry(store: Store, redis_server: RedisServer) -> None:
    due, stays = await expired_and_fresh(store, redis_server)
    page = await store.page(INBOX, Filters())
    assert (ids_of(page.entries), page.counts) == ([stays], Counts(1, 1, 1))
    gone = (await log_of(redis_server))[-1]
    assert (gone.kind, gone.reason, gone.ids, gone.cursor) == ("gone", "expired", (due,), page.cursor)
    assert_indexes_agree(redis_server)


async def test_a_mark_of_an_expired_entry_is_not_found_and_the_entry_is_gone_first(
    store: Store, redis_server: RedisServer
) -> None:
    due, stays = await expired_and_fresh(store, redis_server)
    assert (await refusal(store.mark(INBOX, ["read"], [stays, due]))).details["ids"] == [due]
    assert [event.kind for event in await log_of(redis_server)] == ["entry", "entry", "gone"]


async def test_a_mark_all_does_not_touch_an_expired_entry(store: Store, redis_server: RedisServer) -> None:
    _, stays = await expired_and_fresh(store, redis_server)
    top = (await store.check(ANN, ["inbox"]))[1]["inbox"]
    marked = await store.mark_upto(INBOX, ["read"], top)
    assert (marked.changed, marked.counts) == ((stays,), Counts(0, 0, 1))


async def test_catching_up_tells_of_the_expiry_and_of_the_next_one(store: Store, redis_server: RedisServer) -> None:
    later = store_time(redis_server) + HOUR_US
    await publish(store, expires=later)
    await expired_and_fresh(store, redis_server)
    top = (await store.check(ANN, ["inbox"]))[1]["inbox"]
    found = await store.catch_up(INBOX, top, 20)
    assert (found.mode, [event.reason for event in found.events]) == ("replay", ["expired"])
    assert (found.counts, found.expires) == (Counts(2, 2, 2), later)


async def test_a_send_a_withdrawal_and_a_look_find_the_expired_entry_gone(
    store: Store, redis_server: RedisServer
) -> None:
    due, _ = await expired_and_fresh(store, redis_server)
    await publish(store)
    assert [event.kind for event in await log_of(redis_server)] == ["entry", "entry", "gone", "entry"]
    assert (await refusal(store.entries(INBOX, [due]))).code is Code.NOT_FOUND
    due, _ = await expired_and_fresh(store, redis_server)
    assert (await refusal(store.withdraw(INBOX, due))).code is Code.NOT_FOUND


async def test_many_expired_entries_leave_in_events_of_at_most_100(store: Store, redis_server: RedisServer) -> None:
    at = store_time(redis_server) + 600_000
    published = ids_of(await publish_many(store, 250, expires=at))
    await past(redis_server, at)
    check = await store.evict(INBOX)
    gone = [event for event in await log_of(redis_server) if event.kind == "gone"]
    assert [len(event.ids) for event in gone] == [100, 100, 50]
    assert sorted(itertools.chain(*(event.ids for event in gone))) == sorted(published)
    assert (check.cursor, check.expires) == (gone[-1].cursor, 0)


async def test_evict_tells_when_the_next_entry_is_due(store: Store, redis_server: RedisServer) -> None:
    soon, later = (store_time(redis_server) + hours * HOUR_US for hours in (1, 2))
    await publish(store, expires=later)
    published = await publish(store, expires=soon)
    assert (await store.evict(INBOX)).expires == soon
    await store.withdraw(INBOX, published.id)
    assert (await store.evict(INBOX)).expires == later


# ---- eviction ----------------------------------------------------------------------------------------


async def test_a_send_into_a_full_feed_removes_the_oldest_tenth_in_one_event_after_its_own(
    redis_server: RedisServer,
) -> None:
    async with open_store(redis_server.url, feed_entries=20) as store:
        published = await publish_many(store, 21)
        kept = await everything(store)
    events = await log_of(redis_server)
    assert [event.kind for event in events[-3:]] == ["entry", "entry", "gone"]
    assert (events[-1].reason, sorted(events[-1].ids)) == ("evicted", sorted(ids_of(published[:2])))
    assert published[-1].cursor == events[-2].cursor == events[-1].prev
    assert sorted(kept) == sorted(ids_of(published[2:]))
    assert events[-1].counts == recount(kept.values()) == Counts(19, 19, 19)


async def test_the_cap_of_1000_is_met_50_at_a_time(store: Store, redis_server: RedisServer) -> None:
    published = await publish_many(store, 1001)
    gone = (await log_of(redis_server))[-1]
    assert (gone.kind, len(gone.ids), gone.counts.total) == ("gone", 50, 951)
    assert sorted(gone.ids) == sorted(ids_of(published[:50]))


async def test_archived_and_dismissed_entries_count_and_leave_in_the_order_of_age(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, feed_entries=30) as store:
        published = ids_of(await publish_many(store, 30))
        await store.mark(INBOX, ["archive"], published[0:30:3])
        await store.mark(INBOX, ["dismiss"], published[1:30:3])
        await publish(store)
        kept = await everything(store)
    assert sorted((await log_of(redis_server))[-1].ids) == sorted(published[:3])
    assert len(kept) == 28
    assert_indexes_agree(redis_server)


@pytest.mark.parametrize("cap", [1, 2, 9, 10, 11])
async def test_a_small_cap_is_never_exceeded_and_the_newest_stays(redis_server: RedisServer, cap: int) -> None:
    async with open_store(redis_server.url, feed_entries=cap) as store:
        for _ in range(cap * 2 + 1):
            published = await publish(store)
            page = await store.page(INBOX, Filters(limit=100))
            assert page.counts.total == len(page.entries) <= cap
            assert page.entries[0].id == published.id


async def test_a_cap_that_was_lowered_is_met_at_the_next_send(store: Store, redis_server: RedisServer) -> None:
    published = ids_of(await publish_many(store, 40))
    async with open_store(redis_server.url, feed_entries=20) as smaller:
        newest = await publish(smaller)
        assert sorted(await everything(smaller)) == sorted([*published[21:], newest.id])


async def test_entries_over_the_age_leave_oldest_first_50_at_a_time(redis_server: RedisServer) -> None:
    async with open_store(redis_server.url, feed_days=1) as store:
        old = ids_of(await publish_many(store, 60))
        young = await publish(store)
        await store.mark(INBOX, ["archive"], old[:10])
        await store.mark(INBOX, ["dismiss"], old[10:20])
        age(redis_server, old, 25 * HOUR_US)
        await store.evict(INBOX)
        gone = (await log_of(redis_server))[-1]
        assert (gone.reason, sorted(gone.ids)) == ("evicted", sorted(old[:50]))
        await publish(store)
        assert sorted((await log_of(redis_server))[-1].ids) == sorted(old[50:])
        assert young.id in await everything(store)
    assert_indexes_agree(redis_server)


def age(redis: RedisServer, ids: Sequence[str], by_us: int, feed: Feed = INBOX) -> None:
    """Moves entries into the past, as if time had gone by."""
    for index in ("active", "unseen", "unread", "archived", "dismissed"):
        for entry_id in ids:
            if redis.client.zscore(feed.key(index), entry_id) is not None:
                redis.client.zincrby(feed.key(index), -by_us, entry_id)


def assert_indexes_agree(redis: RedisServer, feed: Feed = INBOX) -> None:
    """Every entry is in exactly one of active, archived, dismissed, and in no index after it left."""
    r = redis.client
    home = [dict(r.zrange(feed.key(index), 0, -1, withscores=True)) for index in ("active", "archived", "dismissed")]
    known = set(r.hkeys(feed.key("items")))
    assert known == set(r.hkeys(feed.key("marks")))
    assert sorted(known) == sorted(itertools.chain(*home))
    for index in ("unseen", "unread"):
        rows = dict(r.zrange(feed.key(index), 0, -1, withscores=True))
        assert rows.items() <= home[0].items()
    assert set(r.zrange(feed.key("expires"), 0, -1)) <= known


# ---- pages -------------------------------------------------------------------------------------------


class Model:
    """A feed as a list in memory: what each page must hold."""

    def __init__(self, entries: Iterable[Entry], topics: dict[str, str]) -> None:
        self.newest_first = sorted(entries, key=lambda entry: -entry.score)
        self.topics = topics

    def matching(self, f: Filters) -> list[Entry]:
        return [entry for entry in self.newest_first if self._matches(entry, f)]

    def _matches(self, e: Entry, f: Filters) -> bool:
        listed = {
            None: e.status != "dismissed" and (f.archived or e.status != "archived"),
            "unread": e.status in ("unseen", "seen"),
        }.get(f.status, e.status == f.status)
        return (
            listed
            and f.topic in (None, self.topics[e.id])
            and (f.created_after is None or e.score // 1000 * 1000 > f.created_after)
            and (f.created_before is None or e.score // 1000 * 1000 < f.created_before)
        )

    def page(self, f: Filters) -> tuple[list[str], bool, bool]:
        """Ids, whether there are older ones, whether there are newer ones (only asked with a position)."""
        entries = self.matching(f)
        if f.before is not None:
            newer = [entry for entry in entries if entry.score > f.before]
            shown = newer[-f.limit :]
            has_newer = len(newer) > f.limit
        else:
            shown = [entry for entry in entries if f.after is None or entry.score < f.after][: f.limit]
            has_newer = f.after is not None and any(
                e.score > shown[0].score if shown else e.score >= f.after for e in entries
            )
        if shown:
            has_older = any(entry.score < shown[-1].score for entry in entries)
        else:
            has_older = f.before is not None and any(entry.score <= f.before for entry in entries)
        return ids_of(shown), has_older, has_newer


async def mixed_feed(store: Store, count: int) -> Model:
    """Entries of every status and three topics, the states in no order."""
    topics = ["", "a", "rare"]
    chosen = [topics[2 if n % 97 == 5 else n % 2] for n in range(count)]
    published = await asyncio.gather(*(publish(store, topic=topic) for topic in chosen))
    ids = ids_of(published)
    for step, verb in ((2, "seen"), (3, "read"), (5, "archive"), (7, "dismiss"), (11, "unarchive"), (13, "click")):
        await store.mark(INBOX, [verb], ids[step - 1 :: step])
    return Model((await everything(store)).values(), dict(zip(ids, chosen, strict=True)))


def filter_combinations(model: Model, limit: int) -> list[Filters]:
    scores = [entry.score for entry in model.newest_first]
    low, high = scores[int(len(scores) * 0.8)], scores[int(len(scores) * 0.2)]
    windows = [(None, None), (low, None), (None, high), (low, high), (high, low)]
    return [
        Filters(status, archived, topic, created_after, created_before, limit=limit)
        for status in (None, *STATUSES)
        for archived in (False, True)
        for topic in (None, "a", "rare", "none")
        for created_after, created_before in windows
    ]


@pytest.mark.parametrize(("count", "limit"), [(60, 3), (260, 41), (260, 100)])
async def test_walking_the_pages_there_and_back_shows_every_entry_once_with_any_filter(
    store: Store, count: int, limit: int
) -> None:
    model = await mixed_feed(store, count)
    for filters in filter_combinations(model, limit):
        pages = await walk(store, INBOX, filters)
        expected = ids_of(model.matching(filters))
        assert [entry.id for page in pages for entry in page.entries] == expected, filters
        assert all(page.entries for page in pages[1:]), filters
        assert [page.before is None for page in pages] == [True] + [False] * (len(pages) - 1), filters
        way_back = [pages[-1]]
        while (before := way_back[-1].before) is not None:
            way_back.append(await store.page(INBOX, _at(filters, before=before)))
        assert [entry.id for page in reversed(way_back) for entry in page.entries] == expected, filters
        assert [page.after is None for page in way_back] == [True] + [False] * (len(way_back) - 1), filters
        assert all(page.counts == pages[0].counts and page.cursor == pages[0].cursor for page in pages + way_back)


async def test_a_page_from_any_position_is_what_a_list_in_memory_gives(store: Store) -> None:
    model = await mixed_feed(store, 40)
    scores = [entry.score for entry in model.newest_first]
    positions = [scores[0] + 1, scores[-1] - 1, 0, *scores[::5], *(score + 1 for score in scores[::6])]
    for filters in filter_combinations(model, 4)[::3]:
        for where, position in itertools.product(("after", "before"), positions):
            asked = _at(filters, **{where: position})
            page = await store.page(INBOX, asked)
            shown = (ids_of(page.entries), page.after is not None, page.before is not None)
            assert shown == model.page(asked), asked


@pytest.mark.parametrize("limit", [7, 100])
async def test_seen_through_an_archive_every_entry_has_the_status_below(store: Store, limit: int) -> None:
    """Seed 1 knows no archive."""
    model = await mixed_feed(store, 260)
    below = {entry.id: replace(entry, archived=0).status for entry in model.newest_first}
    assert any(entry.status == "archived" for entry in model.newest_first)
    for status in (None, "unseen", "seen", "read", "dismissed"):
        expected = [
            i for i in ids_of(model.newest_first) if (below[i] == status if status else below[i] != "dismissed")
        ]
        filters = Filters(status, limit=limit)
        pages = await walk(store, INBOX, filters, see_through=True)
        assert [entry.id for page in pages for entry in page.entries] == expected
        way_back = [pages[-1]]
        while (before := way_back[-1].before) is not None:
            way_back.append(await store.page(INBOX, _at(filters, before=before), see_through=True))
        assert [entry.id for page in reversed(way_back) for entry in page.entries] == expected


async def test_a_page_token_stays_good_when_the_entry_it_came_from_is_gone(store: Store) -> None:
    published = await publish_many(store, 6)
    first = await store.page(INBOX, Filters(limit=2))
    await store.withdraw(INBOX, first.entries[-1].id)
    assert first.after is not None
    second = await store.page(INBOX, Filters(limit=2, after=first.after))
    assert ids_of(second.entries) == [published[3].id, published[2].id]
    assert second.before is not None
    back = await store.page(INBOX, Filters(limit=2, before=second.before))
    assert ids_of(back.entries) == [published[5].id]


async def test_an_empty_page_at_an_end_leads_back_to_the_entry_at_its_position(store: Store) -> None:
    at = micros_of((await publish(store)).cursor)
    above = await store.page(INBOX, Filters(before=at))
    assert (above.entries, above.before) == ((), None)
    assert above.after is not None
    below = await store.page(INBOX, Filters(after=at))
    assert (below.entries, below.after) == ((), None)
    assert below.before is not None
    for back in (Filters(after=above.after), Filters(before=below.before)):
        assert [entry.score for entry in (await store.page(INBOX, back)).entries] == [at]


async def test_a_page_of_a_feed_that_never_was_is_empty_at_the_start(store: Store) -> None:
    page = await store.page(INBOX, Filters())
    assert (page.entries, page.cursor, page.counts) == ((), START, Counts(0, 0, 0))
    assert (page.after, page.before) == (None, None)


# ---- catching up -------------------------------------------------------------------------------------


async def test_catching_up_from_the_top_is_live(store: Store) -> None:
    top = (await publish_many(store, 2))[-1].cursor
    found = await store.catch_up(INBOX, top, 20)
    assert (found.mode, found.cursor, found.events, found.page) == ("live", top, (), None)
    assert found.counts == Counts(2, 2, 2)


async def test_catching_up_on_a_feed_that_never_was_is_live_from_the_start(store: Store) -> None:
    assert (await store.catch_up(INBOX, START, 20)).mode == "live"
    found = await store.catch_up(INBOX, None, 20)
    assert (found.mode, found.cursor, found.page.entries if found.page else None) == ("snapshot", START, ())


async def test_catching_up_from_any_cursor_in_the_log_replays_exactly_what_followed(
    store: Store, redis_server: RedisServer
) -> None:
    published = await publish_many(store, 4)
    await store.mark(INBOX, ["read"], [published[0].id])
    await store.withdraw(INBOX, published[1].id)
    events = await log_of(redis_server)
    cursors = [START, *(event.cursor for event in events)]
    for place, cursor in enumerate(cursors[:-1]):
        found = await store.catch_up(INBOX, cursor, 20)
        assert (found.mode, list(found.events)) == ("replay", events[place:])
        assert (found.cursor, found.counts) == (events[-1].cursor, events[-1].counts)


async def test_the_cursor_before_the_oldest_event_is_replayed_and_the_one_before_that_is_not(
    redis_server: RedisServer,
) -> None:
    async with open_store(redis_server.url, log_events=5) as store:
        published = await publish_many(store, 9)
        found = await store.catch_up(INBOX, published[3].cursor, 20)
        assert (found.mode, len(found.events), found.events[0].prev) == ("replay", 5, published[3].cursor)
        assert (await store.catch_up(INBOX, published[2].cursor, 20)).mode == "snapshot"
        assert (await store.catch_up(INBOX, START, 20)).mode == "snapshot"


async def test_500_events_are_replayed_and_501_are_not(store: Store) -> None:
    published = await publish_many(store, 502)
    found = await store.catch_up(INBOX, published[1].cursor, 20)
    assert (found.mode, len(found.events), found.events[-1].cursor) == ("replay", 500, published[-1].cursor)
    assert (await store.catch_up(INBOX, published[0].cursor, 20)).mode == "snapshot"


async def test_more_than_a_mebibyte_of_events_is_not_replayed(store: Store) -> None:
    start = await publish(store)
    body = json.dumps({"data": "x" * 16_000})[:-1]
    sent = await asyncio.gather(*(store.publish(INBOX, new_entry_id(), body) for _ in range(66)))
    assert (await store.catch_up(INBOX, start.cursor, 20)).mode == "snapshot"
    found = await store.catch_up(INBOX, sent[0].cursor, 20)
    assert (found.mode, len(found.events)) == ("replay", 65)


@pytest.mark.parametrize("cursor", [None, LOST, "9999999999999999-1", "another nonce"])
async def test_a_missing_lost_or_foreign_cursor_gets_a_snapshot(store: Store, cursor: str | None) -> None:
    published = await publish_many(store, 3)
    if cursor == "another nonce":
        cursor = f"{micros_of(published[1].cursor)}-{_another_nonce(published[1].cursor)}"
    found = await store.catch_up(INBOX, cursor, 2)
    assert (found.mode, found.cursor, found.counts) == ("snapshot", published[-1].cursor, Counts(3, 3, 3))
    assert found.page is not None
    assert ids_of(found.page.entries) == [published[2].id, published[1].id]
    assert (found.page.after, found.page.before) == (micros_of(published[1].cursor), None)


async def test_a_snapshot_holds_active_entries_only(store: Store) -> None:
    active, archived, dismissed = await publish_many(store, 3)
    await store.mark(INBOX, ["archive"], [archived.id])
    await store.mark(INBOX, ["dismiss"], [dismissed.id])
    found = await store.catch_up(INBOX, None, 20)
    assert found.page is not None
    assert (ids_of(found.page.entries), found.page.after) == ([active.id], None)


async def test_cursor_counts_and_entries_of_a_snapshot_are_of_one_moment(
    store: Store, redis_server: RedisServer
) -> None:
    async with open_store(redis_server.url) as other:
        sends = asyncio.gather(*(publish(other) for _ in range(90)))
        snapshots = [await store.catch_up(INBOX, None, 100) for _ in range(30)]
        await sends
    for found in snapshots:
        assert found.page is not None
        entries = found.page.entries
        assert found.counts == recount(entries)
        assert micros_of(found.cursor) == (entries[0].score if entries else 0)


async def test_a_cursor_outlives_its_feed_but_is_not_live_once_the_feed_has_vanished(
    store: Store, redis_server: RedisServer
) -> None:
    top = (await publish(store)).cursor
    await publish(store, ALERTS)
    redis_server.client.delete(*redis_server.client.keys(INBOX.key("*")))  # as when nothing happened in it for long
    found = await store.catch_up(INBOX, top, 20)
    assert (found.mode, found.counts, found.page.entries if found.page else None) == ("snapshot", Counts(0, 0, 0), ())


# ---- lifetimes ---------------------------------------------------------------------------------------


async def busy_feed(store: Store, redis: RedisServer, user: User = ANN, key: str = "k") -> list[Published]:
    """Something in every kind of key that a feed has."""
    feed = user.feed("inbox")
    later = store_time(redis) + HOUR_US
    first = await publish(
        store, feed, source_key=key, expires=later, once=Idempotency(feed.user.idem(digest(key)), "b" * 32)
    )
    published = [first, *await publish_many(store, 3, feed, topic=key)]
    await store.mark(feed, ["archive"], [published[1].id], memory=op_memory(feed, key, "f" * 32))
    await store.mark(feed, ["dismiss"], [published[2].id])
    return published


PARTS = {"log", "items", "marks", "active", "unseen", "unread", "archived", "dismissed", "expires"}


async def test_every_key_of_a_user_has_an_end_and_a_feed_ends_as_one(store: Store, redis_server: RedisServer) -> None:
    await busy_feed(store, redis_server)
    ends = {key: redis_server.client.pexpiretime(key) for key in redis_server.client.keys("*")}
    assert {INBOX.key(part) for part in PARTS} | {ANN.meta, ANN.ops, ANN.memo, INBOX.source("k")} <= set(ends)
    assert min(ends.values()) > 0
    assert len({ends[INBOX.key(part)] for part in PARTS}) == 1
    days = (ends[INBOX.key("log")] / 1000 - time.time()) / 86400
    assert days == pytest.approx(91, abs=0.01)
    assert ends[ANN.meta] >= ends[INBOX.key("log")]


@pytest.mark.parametrize("change", ["publish", "mark"])
async def test_a_change_prolongs_the_whole_feed(store: Store, redis_server: RedisServer, change: str) -> None:
    published = await busy_feed(store, redis_server)
    for part in PARTS:
        redis_server.client.pexpire(INBOX.key(part), 60_000)
    if change == "publish":
        await publish(store)
    else:
        await store.mark(INBOX, ["read"], [published[3].id])
    assert min(redis_server.client.pttl(INBOX.key(part)) for part in PARTS) > 60_000


async def test_a_key_that_comes_back_after_it_was_empty_has_an_end_too(store: Store, redis_server: RedisServer) -> None:
    published = await publish(store)
    for verb in ("archive", "unarchive", "archive"):
        await store.mark(INBOX, [verb], [published.id])
        assert min(redis_server.client.pttl(key) for key in redis_server.client.keys("*")) > 0


# ---- revocation --------------------------------------------------------------------------------------


async def user_requests(store: Store, who: Claims) -> list[str]:
    """Everything that a user may ask, in turn: the code of each refusal, or "ok"."""
    published = await publish(store)
    found = []
    for call in (
        store.mark(INBOX, ["read"], [published.id], claims=who),
        store.mark_upto(INBOX, ["archive"], published.cursor, claims=who),
        store.page(INBOX, Filters(), who),
        store.entries(INBOX, [published.id], who),
        store.catch_up(INBOX, None, 20, who),
    ):
        try:
            await call
            found.append("ok")
        except Refused as refused:
            found.append(refused.code.value)
    return found


@pytest.mark.parametrize(("age_s", "answer"), [(None, "revoked"), (3600, "revoked"), (1, "revoked"), (0, "ok")])
async def test_tokens_from_before_a_revocation_may_do_nothing_and_later_ones_everything(
    store: Store, redis_server: RedisServer, age_s: int | None, answer: str
) -> None:
    before = await store.revoke(ANN)
    who = claims(None if age_s is None else before - age_s)
    assert await user_requests(store, who) == [answer] * 5
    kinds = [event.kind for event in await log_of(redis_server)]
    assert kinds == (["entry"] if answer == "revoked" else ["entry", "state", "state"])


async def test_without_a_revocation_a_token_needs_no_time(store: Store) -> None:
    assert await user_requests(store, claims(None)) == ["ok"] * 5


async def test_a_revocation_is_rounded_up_announced_and_outlives_the_feed(
    store: Store, redis_server: RedisServer
) -> None:
    await publish(store)
    ears = redis_server.client.pubsub()
    ears.ssubscribe(ANN.events)
    assert ears.get_message(timeout=PATIENCE_S)["type"] == "ssubscribe"
    now = store_time(redis_server) / 1_000_000
    before = await store.revoke(ANN)
    assert now < before <= now + 2
    assert ears.get_message(timeout=PATIENCE_S)["data"] == f"! revoked {before}"
    ears.close()
    await publish(store)
    assert redis_server.client.ttl(ANN.meta) == -1
    assert await store.check(ANN, []) == (before, {})


async def test_producers_are_not_bound_by_a_revocation(store: Store) -> None:
    await store.revoke(ANN)
    published = await publish(store)
    assert (await store.withdraw(INBOX, published.id)).ids == (published.id,)


async def test_a_revocation_of_one_user_is_no_other_users(store: Store) -> None:
    await store.revoke(User("default", "bob"))
    assert (await store.check(ANN, []))[0] is None
    assert await user_requests(store, claims(0)) == ["ok"] * 5


# ---- the script cache --------------------------------------------------------------------------------


async def test_every_script_survives_a_flush_of_the_script_cache(store: Store, redis_server: RedisServer) -> None:
    published = await publish(store, source_key="s")
    for call in (
        lambda: publish(store),
        lambda: store.mark(INBOX, ["read"], [published.id]),
        lambda: store.mark_upto(INBOX, ["archive"], published.cursor),
        lambda: store.page(INBOX, Filters()),
        lambda: store.entries(INBOX, [published.id]),
        lambda: store.catch_up(INBOX, None, 20),
        lambda: store.evict(INBOX),
        lambda: store.withdraw(INBOX, published.id),
        lambda: store.withdraw_source(INBOX, "s"),
        lambda: store.revoke(ANN),
    ):
        redis_server.client.script_flush()
        assert await call()
    kinds = [event.kind for event in await log_of(redis_server)]
    assert kinds == ["entry", "entry", "state", "state", "gone"]


async def test_a_flush_in_the_middle_of_many_calls_loses_and_doubles_none(
    store: Store, redis_server: RedisServer
) -> None:
    async with open_store(redis_server.url) as other:
        sends = asyncio.gather(*(publish(store) for _ in range(200)))
        for _ in range(5):
            await other._engine.call("SCRIPT", "FLUSH")
        published = await sends
    assert sorted(ids_of(published)) == sorted(event_ids(await log_of(redis_server)))


def event_ids(events: Iterable[Event]) -> list[str]:
    return [json.loads(event.body + "}")["id"] for event in events if event.kind == "entry"]


# ---- names -------------------------------------------------------------------------------------------

HOSTILE = [
    "a",
    "A",
    "a}",
    "{a}",
    "a}:inbox",
    "a:inbox",
    "a:inbox:log",
    "default/a",
    "../a",
    "a/b",
    "a%2Fb",
    "a%",
    "a%00",
    "a\0",
    "a\0b",
    "a ",
    " a",
    "a\n",
    "a*",
    "a?",
    "ä",
    "a\u0308",
    "{default",
    "}",
    "{}",
    "\U0001f514",
    "a@b.c",
    "~",
]


async def test_hostile_user_names_never_share_a_key_or_leave_their_slot(
    store: Store, redis_server: RedisServer
) -> None:
    keys_of: dict[str, set[str]] = {}
    r = redis_server.client
    for name in HOSTILE:
        before = set(r.keys("*"))
        user = User("default", name)
        await busy_feed(store, redis_server, user)
        keys_of[name] = set(r.keys("*")) - before
        assert len(keys_of[name]) == 14, name
        assert all(key.startswith(f"{user.tag}:") for key in keys_of[name])
        assert len({key_slot(key.encode()) for key in {*keys_of[name], user.events}}) == 1
    for name in HOSTILE:
        assert (await store.page(User("default", name).feed("inbox"), Filters())).counts == Counts(2, 2, 2), name


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
def test_two_names_have_one_tag_only_if_they_are_one_name(one: str, other: str) -> None:
    tags = [User("default", name).tag for name in (one, other)]
    assert (tags[0] == tags[1]) == (one == other)
    for tag in tags:
        assert tag.isascii()
        assert tag.isprintable()
        assert (tag.count("{"), tag.count("}"), tag.count("/"), tag.count(":")) == (1, 1, 1, 0)


BOB = User("default", "bob")
SPELLED = [
    *(BOB.feed("inbox").key(part) for part in sorted(PARTS)),
    BOB.meta,
    BOB.ops,
    BOB.memo,
    BOB.events,
    f"}}:{BOB.feed('inbox').key('log')}",
    "inbox:log",
    "*",
    "\0",
    " ",
    "o1 f 1",
    "x" * 255,
]


async def test_no_op_source_key_idempotency_key_or_topic_spells_another_users_key(
    store: Store, redis_server: RedisServer
) -> None:
    await busy_feed(store, redis_server, BOB)
    his = contents(redis_server)
    for text in SPELLED:
        await busy_feed(store, redis_server, ANN, text)
        await store.withdraw_source(INBOX, text)
    now = contents(redis_server)
    assert {key: now[key] for key in his} == his
    assert all(key.startswith(f"{ANN.tag}:") for key in now.keys() - his.keys())


def contents(redis: RedisServer) -> dict[str, bytes]:
    """Every key with its value, serialized."""
    raw = Redis(unix_socket_path=str(redis.socket))
    return {key.decode(): raw.dump(key) for key in raw.keys("*")}


async def test_different_texts_are_different_ops_and_source_keys(store: Store) -> None:
    published = await publish(store)
    for text in SPELLED:
        marked = await store.mark(INBOX, ["read"], [published.id], memory=memory(text, frame=digest(text)))
        assert not marked.replayed, text
        sent = await publish(store, source_key=text)
        assert (await store.withdraw_source(INBOX, text)).ids == (sent.id,), text
