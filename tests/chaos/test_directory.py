"""A hub is killed while it changes many subscriptions: what it leaves is whole, and another hub finishes it."""

import asyncio
import re
import signal

import httpx2
import pytest

from hub import keys
from hub.profiles import UserFields
from hub.users import CHUNK
from tests.api.admin_api import Admin
from tests.conftest import StartHub
from tests.harness import HubProcess, RedisServer, RunningHub, until
from tests.proxy import Proxy, reply_end

NAMES = [f"user-{number}" for number in range(3 * CHUNK)]
TOPIC = keys.topic("default", "news")
ENDED = re.compile(rb"\*\d+\r\n\$2\r\nok\r\n\$4\r\ngone\r\n")
"""Redis says that it has ended subscriptions."""


async def filled(start_hub: StartHub) -> RunningHub:
    """A hub, and a directory of many users."""
    hub = await start_hub()
    await hub.hub.users.ensure("default", [UserFields(external_id=name) for name in NAMES])
    return hub


async def killed_at_it(redis: RedisServer, headers: dict[str, str], method: str, path: str) -> None:
    """Asks another hub to end many subscriptions, and kills it when it has ended the second part of them: from then on
    it hears nothing of Redis, so that it does not matter how fast it is.
    """
    proxy, ended = await Proxy(redis.socket, reply_end).start(), 0

    def lose(message: bytes) -> bool:
        nonlocal ended
        ended += ENDED.match(message) is not None
        return ended >= 2

    proxy.lose = lose
    other = await asyncio.to_thread(HubProcess, env={"REDIS_URL": proxy.url})
    try:
        async with other.http() as http:
            asking = asyncio.create_task(http.request(method, path, headers=headers))
            await until(lambda: proxy.lost)
            other.process.send_signal(signal.SIGKILL)
            with pytest.raises(httpx2.TransportError):
                await asking
    finally:
        other.stop(signal.SIGKILL)
        await proxy.stop()


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
    assert len(by_topic) == CHUNK
    async with hub.http() as http:
        admin = Admin(hub, http)
        assert await admin.good("GET", "/topics/news")
        await admin.good("DELETE", "/topics/news")
        assert (await admin.ask("GET", "/topics/news")).status_code == 404
    assert subscribed(redis_server) == (set(), set())
