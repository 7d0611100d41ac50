"""A run for a topic of 10,000, and hubs that die in the middle of it: every subscriber has exactly one entry."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import fanout, keys
from hub.keys import User
from hub.store import Store
from tests.conftest import StartHub
from tests.harness import Doors, HubProcess, RedisServer, set_up, subscribed
from tests.proxy import Proxy, reply_end

RECIPIENTS = 10_000
PATIENCE_S = 90.0
TOPIC = "everybody"
PUT = re.compile(rb"\*3\r\n\$2\r\nok\r\n\$36\r\n")
"""Redis says that an entry was put into a feed."""
pytestmark = pytest.mark.chaos


def ask(redis: RedisServer, commands: Iterator[tuple[str, ...]]) -> list[Any]:
    pipe = redis.client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return list(pipe.execute())


async def deaf(proxy: Proxy, entries: int) -> None:
    """Returns when a hub behind the proxy has put so many entries more: from then on it hears nothing of Redis, so
    that it does not matter how fast it is.
    """
    before, put = proxy.lost, 0

    def lose(message: bytes) -> bool:
        nonlocal put
        put += PUT.match(message) is not None
        return put >= entries

    proxy.lose = lose
    await becomes(lambda: proxy.lost > before)


async def becomes(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.01)


async def start(hub: Doors, redis: RedisServer) -> str:
    """Runs a notiflow for the topic; the id of the run."""
    hub.api_key, hub.secret = await set_up(redis.url)
    headers = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
    async with hub.http() as http:
        definition = {"template": {"title": "Hello {{ recipient.external_id }}"}}
        async with asyncio.timeout(10):
            while True:
                answer = await http.put("/admin/v1/notiflows/hello", json=definition, headers=headers)
                if answer.status_code != 401:
                    break
                await asyncio.sleep(0.02)  # it has not heard of the key yet
        assert answer.status_code == 201, answer.text
        answer = await http.post("/admin/v1/notiflows/hello/run", json={"topic": TOPIC}, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["notiflow_run_id"])


async def test_every_subscriber_has_exactly_one_entry_though_hubs_are_killed_in_the_middle(
    redis_server: RedisServer,
) -> None:
    users = await asyncio.to_thread(subscribed, redis_server, TOPIC, RECIPIENTS)
    client = redis_server.client
    run_id = ""
    for entries in (2_530, 1_001):  # in the middle of a chunk; after the first one of a chunk
        proxy = await Proxy(redis_server.socket, reply_end).start()
        hub = await asyncio.to_thread(HubProcess, "--redis-url", proxy.url)
        try:
            run_id = run_id or await start(hub, redis_server)
            await deaf(proxy, entries)
        finally:
            hub.stop(signal.SIGKILL)
            await proxy.stop()
        assert client.zscore(keys.runs("default"), run_id) is not None, "the run is not done"
    assert 2_000 < client.hlen(keys.log_rows("default")) < RECIPIENTS
    hub = await asyncio.to_thread(HubProcess, "--redis-url", redis_server.url)
    try:
        await becomes(lambda: client.zcard(keys.runs("default")) == 0)
    finally:
        hub.stop()

    each_has_one(redis_server, users, run_id)


async def test_a_store_that_is_killed_in_the_middle_of_a_run_changes_nothing_of_that(aof_server: RedisServer) -> None:
    users = await asyncio.to_thread(subscribed, aof_server, TOPIC, 800)
    proxy = await Proxy(aof_server.socket, reply_end).start()
    hub = await asyncio.to_thread(HubProcess, "--redis-url", proxy.url)
    try:
        run_id = await start(hub, aof_server)
        for entries in (230, 201):
            await deaf(proxy, entries)
            aof_server.signal(signal.SIGKILL)
            await asyncio.to_thread(aof_server.start)
            proxy.lose = lambda message: False
            proxy.cut_now()
        assert aof_server.client.zscore(keys.runs("default"), run_id) is not None, "the run is not done"
        await becomes(lambda: aof_server.client.zcard(keys.runs("default")) == 0)
    finally:
        hub.stop()
        await proxy.stop()
    each_has_one(aof_server, users, run_id)


async def test_hubs_that_are_at_the_same_chunk_at_the_same_time_double_nothing(
    start_hub: StartHub, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "LEASE_S", 0.0)  # whoever looks takes it, whoever else is at it
    users = subscribed(redis_server, TOPIC, 600)
    hubs = [await start_hub() for _ in range(3)]
    at_once = most = 0
    publish = Store.publish

    async def counted(self: Store, *args: Any, **options: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await publish(self, *args, **options)
        finally:
            at_once -= 1

    monkeypatch.setattr(Store, "publish", counted)
    run_id = await start(hubs[0], redis_server)
    for hub in hubs:
        hub.hub.fanout.nudge("default")
    await becomes(lambda: redis_server.client.zcard(keys.runs("default")) == 0)
    assert most > fanout.AT_ONCE, "no two hubs were at it together"
    for hub in hubs:
        await hub.stop()
    each_has_one(redis_server, users, run_id)


def each_has_one(redis: RedisServer, users: list[User], run_id: str) -> None:
    """Exactly one entry, from one event, and exactly one row of the log."""
    client, count = redis.client, len(users)
    feeds = [user.feed("inbox") for user in users]
    events = ask(redis, (("XLEN", feed.key("log")) for feed in feeds))
    assert events == [1] * count, "one event, so one entry, ever"
    bodies = ask(redis, (("HVALS", feed.key("items")) for feed in feeds))
    entries = [json.loads(body + "}") for (body,) in bodies]
    assert [entry["data"]["title"] for entry in entries] == [f"Hello {user.name}" for user in users]
    logged = {entry_id: json.loads(row) for entry_id, row in client.hgetall(keys.log_rows("default")).items()}
    assert {entry_id: row[0] for entry_id, row in logged.items()} == {
        entry["id"]: user.name for entry, user in zip(entries, users, strict=True)
    }, "the log has each exactly once"
    assert {(row[1], row[3], row[5], row[6]) for row in logged.values()} == {("inbox", TOPIC, run_id, None)}
    assert client.zcard(keys.log_index("default")) == client.zcard(keys.log_topic("default", TOPIC)) == count


def most_memory(hub: HubProcess) -> int:
    """The most that a hub ever held in memory, in bytes."""
    (line,) = (
        line for line in Path(f"/proc/{hub.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process held in memory")
async def test_a_large_topic_is_never_in_memory_as_a_whole(redis_server: RedisServer) -> None:
    users, client = subscribed(redis_server, TOPIC, 2_000), redis_server.client
    profiles = client.hgetall(keys.profiles("default"))
    heavy = {f"field-{number}": [number] * 8 for number in range(400)}
    filled = {
        name: json.dumps(json.loads(profile) | {"custom_fields": heavy}, separators=(",", ":"))
        for name, profile in profiles.items()
    }
    client.hset(keys.profiles("default"), mapping=filled)
    whole = sum(map(len, filled.values()))
    assert whole > 20_000_000
    hub = await asyncio.to_thread(HubProcess, "--redis-url", redis_server.url)
    try:
        begins = most_memory(hub)
        await start(hub, redis_server)
        await becomes(lambda: client.zcard(keys.runs("default")) == 0)
        grown = most_memory(hub) - begins
    finally:
        hub.stop()
    assert client.hlen(keys.log_rows("default")) == len(users)
    assert grown < whole / 2, f"{grown:,} bytes more for {whole:,} bytes of profiles"
