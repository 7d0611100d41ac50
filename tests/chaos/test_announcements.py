"""Hubs die and connections break while an announcement is on its way: every user has it once, and counts agree."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from hub.keys import User
from tests.chaos.follower import Follower, Producer, everything, verdict
from tests.conftest import StartHub
from tests.harness import Doors, HubProcess, RedisServer, RunningHub, set_up, until
from tests.proxy import Proxy, pushed_on

pytestmark = pytest.mark.chaos

ANNOUNCEMENTS = "/v1/messaging/announcements"
USERS = [f"user{number}" for number in range(40)]


async def announce(doors: Doors, title: str = "News") -> str:
    async with doors.http() as http:
        body = {"category": "system.news", "title": title}
        answer = await http.post(ANNOUNCEMENTS, json=body, headers=doors.producer)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def have_it(redis: RedisServer, announcement_id: str) -> list[str]:
    """Users in whose feeds it is."""
    feeds = {user: User("default", user).feed("inbox").key("marks") for user in USERS}
    return [user for user, marks in feeds.items() if redis.client.hexists(marks, announcement_id)]


def at_first(words: bytes, pushed: bool, do: Callable[[], None]) -> Callable[[bytes], bool]:
    """For `Proxy.lose`: when Redis first says these words, to a subscriber or as an answer, do that; they are lost."""
    done = False

    def lose(message: bytes) -> bool:
        nonlocal done
        if done or words not in message or (pushed_on(message) is not None) != pushed:
            return False
        done = True
        do()
        return True

    return lose


async def test_a_hub_that_dies_while_it_brings_one_to_followed_feeds_leaves_nobody_out(
    redis_server: RedisServer, redis_proxy: Proxy, hub: RunningHub
) -> None:
    env = {"BELLHUB_REDIS_URL": redis_proxy.url, "BELLHUB_LOG_LEVEL": "error"}
    dies = await asyncio.to_thread(HubProcess, env=env)  # the proxy that it needs is run by this loop
    dies.api_key, dies.secret = await set_up(redis_server.url)
    hub.api_key, hub.secret = dies.api_key, dies.secret
    await until(lambda: hub.hub.directory.by_secret(hub.secret))
    port = dies.port
    try:
        async with AsyncExitStack() as stack:
            followers = [await stack.enter_async_context(Follower(dies, user, port=lambda: port)) for user in USERS]
            producer = await stack.enter_async_context(Producer(hub))
            redis_proxy.lose = at_first(b"system.news", True, redis_proxy.stall)
            made = await announce(hub)
            await until(lambda: redis_proxy.lost)
            assert dies.stop(signal.SIGKILL) == -signal.SIGKILL
            before = have_it(redis_server, made)
            assert 0 < len(before) < len(USERS)
            port = hub.port
            for user, follower in zip(USERS, followers, strict=True):
                await follower.until(lambda follower=follower: len(follower.modes) == 2)
                await verdict(hub, user, producer, follower, announced=[made])
                assert [event["entry"]["id"] for event in follower.events] == [made]
    finally:
        dies.stop(signal.SIGKILL)
        redis_proxy.flow()
    for user in ("never", "connected"):
        items, last = await everything(hub, user)
        assert ([item["id"] for item in items], last["total_unseen"]) == ([made], 1)


async def test_what_was_announced_while_a_hubs_connections_broke_comes_once(
    redis_proxy: Proxy, redis_server: RedisServer, start_hub: StartHub
) -> None:
    trouble, calm = await start_hub(redis_url=redis_proxy.url, check_s=0.5, probe_s=0.5), await start_hub()
    trouble.api_key, trouble.secret = calm.api_key, calm.secret
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(Follower(trouble, user)) for user in USERS[:10]]
        producer = await stack.enter_async_context(Producer(calm))
        made = []
        for number in range(6):
            made.append(await announce(calm, str(number)))
            redis_proxy.cut_now()
        for user, follower in zip(USERS, followers, strict=False):
            await follower.until(lambda follower=follower: len(follower.events) >= 6)
            await verdict(calm, user, producer, follower, announced=made)
            assert [event["entry"]["id"] for event in follower.events] == made


async def test_the_one_that_dies_before_it_tells_the_others_has_still_announced_it(
    redis_server: RedisServer, redis_proxy: Proxy, start_hub: StartHub
) -> None:
    hub = await start_hub(check_s=0.3)
    dies = await start_hub(redis_url=redis_proxy.url)
    hub.api_key, hub.secret = dies.api_key, dies.secret
    await until(lambda: hub.hub.directory.by_secret(hub.secret))
    async with Follower(hub, "ann") as follower, Producer(hub) as producer:
        redis_proxy.lose = at_first(b"system.news", False, redis_proxy.cut_now)
        async with dies.http() as http:
            key = {"idempotency-key": "k"}
            body = {"category": "system.news", "title": "News"}
            answer = await http.post(ANNOUNCEMENTS, json=body, headers=dies.producer | key)
            assert answer.status_code == 503
        assert redis_proxy.lost == 1
        await follower.until(lambda: len(follower.events) == 1)
        async with hub.http() as http:
            again = await http.post(ANNOUNCEMENTS, json=body, headers=dies.producer | key)
        made = follower.events[0]["entry"]["id"]
        assert (again.status_code, again.json()["id"]) == (201, made)
        await verdict(hub, "ann", producer, follower, announced=[made])
