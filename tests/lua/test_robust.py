"""Keys that have come apart, clocks that step: a script changes all of it or nothing, and nothing runs backwards."""

import time

import pytest

from hub.keys import User
from hub.store import Store
from tests.harness import RedisServer
from tests.lua.test_feed import ANN, INBOX, publish, store  # noqa: F401  (a fixture)


async def test_the_next_cursor_follows_the_larger_of_meta_and_log(store: Store, redis_server: RedisServer) -> None:  # noqa: F811
    top = (await publish(store)).cursor
    redis_server.client.hset(ANN.meta, "cursor:inbox", "1600000000000000-1")  # an older `meta` than the log
    again = (await publish(store)).cursor
    found = await store.catch_up(INBOX, top, 20)
    assert [(event.prev, event.cursor) for event in found.events] == [(top, again)]


@pytest.mark.parametrize("lost", ["active", "unseen", "unread", "items", "expires", "log"])
async def test_a_mark_is_whole_although_the_store_has_lost_an_index(
    store: Store,  # noqa: F811
    redis_server: RedisServer,
    lost: str,
) -> None:
    entry = await publish(store)
    redis_server.client.delete(INBOX.key(lost))
    marked = await store.mark(INBOX, ["archive"], [entry.id])
    assert marked.changed == (entry.id,)
    assert (await store.catch_up(INBOX, entry.cursor, 20)).mode in ("replay", "snapshot")
    assert redis_server.client.zcard(INBOX.key("archived")) == 1


async def test_a_list_skips_what_the_store_has_lost(store: Store, redis_server: RedisServer) -> None:  # noqa: F811
    await publish(store)
    redis_server.client.delete(INBOX.key("items"))
    assert (await store.catch_up(INBOX, None, 20)).mode == "snapshot"


async def test_a_revocation_never_moves_backwards(store: Store, redis_server: RedisServer) -> None:  # noqa: F811
    ahead = int(time.time()) + 3600
    redis_server.client.hset(User("default", "ann").meta, "revoked", ahead)
    assert await store.revoke(User("default", "ann")) == ahead


async def test_a_feed_shrinks_to_a_cap_that_was_lowered(store: Store, redis_server: RedisServer) -> None:  # noqa: F811
    for _ in range(12):
        await publish(store)
    store._cap = 5
    await publish(store)
    assert redis_server.client.hlen(INBOX.key("items")) == 5
