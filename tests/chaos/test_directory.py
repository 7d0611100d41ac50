"""A hub is killed while it changes many subscriptions: what it leaves is whole, and another hub finishes it."""

import asyncio
import signal
from typing import Any

import httpx2
import pytest

from hub import keys
from hub.profiles import UserFields
from tests.api.admin_api import Admin
from tests.conftest import StartHub
from tests.harness import HubProcess, RedisServer, RunningHub, until

NAMES = [f"user-{number}" for number in range(10_000)]
TOPIC = keys.topic("default", "news")


async def filled(start_hub: StartHub) -> RunningHub:
    """A hub, and a directory of many users."""
    hub = await start_hub()
    for first in range(0, len(NAMES), 1000):
        await hub.hub.users.ensure("default", [UserFields(external_id=name) for name in NAMES[first : first + 1000]])
    return hub


async def killed_at_it(redis: RedisServer, good: Any, method: str, path: str, body: Any = None) -> None:
    """Asks another hub for something that takes long, and kills it once it is on its way."""
    other = HubProcess(env={"REDIS_URL": redis.url})
    try:
        async with other.http() as http:
            asking = asyncio.create_task(http.request(method, path, json=body, headers=good))
            redis.client.config_resetstat()
            await until(lambda: redis.client.info("commandstats").get("cmdstat_zrem", {}).get("calls", 0) > 0)
            other.process.send_signal(signal.SIGKILL)
            with pytest.raises(httpx2.TransportError):
                await asking
    finally:
        other.stop(signal.SIGKILL)


def subscribed(redis: RedisServer) -> tuple[set[str], set[str]]:
    """Who is in the topic, by the topic and by the users."""
    pipe = redis.client.pipeline()
    for name in NAMES:
        pipe.zscore(keys.topics_of("default", name), "news")
    by_user = {name for name, score in zip(NAMES, pipe.execute(), strict=True) if score is not None}
    return set(redis.client.zrange(TOPIC, 0, -1)), by_user


async def test_a_topic_whose_deletion_was_cut_short_is_deleted_by_another_hub(
    start_hub: StartHub, redis_server: RedisServer
) -> None:
    hub = await filled(start_hub)
    await hub.hub.users.subscribe_many("default", "news", NAMES)
    headers = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
    await killed_at_it(redis_server, headers, "DELETE", "/admin/v1/topics/news")
    by_topic, by_user = subscribed(redis_server)
    assert by_topic == by_user
    assert 0 < len(by_topic) < len(NAMES)
    async with hub.http() as http:
        admin = Admin(hub, http)
        assert await admin.good("GET", "/topics/news")
        await admin.good("DELETE", "/topics/news")
        assert (await admin.ask("GET", "/topics/news")).status_code == 404
    assert subscribed(redis_server) == (set(), set())
