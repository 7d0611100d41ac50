"""`Idempotency-Key` on each POST of the Messaging API where something goes wrong: killed hubs, lost answers, limits."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from hub.keys import User
from tests.conftest import StartHub
from tests.harness import HubProcess, RedisServer, RunningHub, until
from tests.proxy import Proxy, reply_end

NOTIFICATIONS = "/v1/messaging/notifications"
USERS = [f"user-{n}" for n in range(8)]
SENT = re.compile(rb"\*3\r\n\$2\r\nok\r\n\$36\r\n")
"""Redis says that an entry was put into a feed."""
MARKED = re.compile(rb"\*\d+\r\n\$2\r\nok\r\n\$\d+\r\n\d{16,}-\d+\r\n:\d+\r\n:\d+\r\n:\d+\r\n:[1-9]")
"""Redis says that a mark changed something."""

Response = httpx2.Response
Http = httpx2.AsyncClient
Ask = Callable[[Http, str], Awaitable[Response]]


def action(path: str) -> Ask:
    async def ask(http: Http, entry_id: str) -> Response:
        headers = {"idempotency-key": "k", "x-bellhub-user": "ann"}
        return await http.post(NOTIFICATIONS + path.replace("{id}", entry_id), headers=headers)

    return ask


def send(target: dict[str, Any]) -> Ask:
    async def ask(http: Http, entry_id: str) -> Response:
        body = {"category": "order.updated", "target": target, "title": "hello"}
        return await http.post(NOTIFICATIONS, json=body, headers={"idempotency-key": "k"})

    return ask


to_several = send({"type": "users", "ids": USERS})
MARKS = {verb: action(f"/{{id}}/actions/{verb}") for verb in ("seen", "read", "dismiss")}
POSTS = MARKS | {
    "mark-all-seen": action("/actions/mark-all-seen"),
    "send": send({"type": "user", "id": "bob"}),
    "send to several": to_several,
}


def replayed(answer: Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


@asynccontextmanager
async def owner(hub: Any) -> AsyncIterator[Http]:
    async with hub.http() as http:
        http.headers.update(hub.producer)
        yield http


async def lapsed(redis: RedisServer) -> None:
    """Every key that is taken by a request of several steps is free again, as it is 10 s after its hub died."""
    for name in redis.client.scan_iter(match="*:idem:*"):
        digest, _, rest = redis.client.get(name).partition(" ")
        if rest.startswith("running"):
            redis.client.set(name, f"{digest} running 1")


@asynccontextmanager
async def losing(redis: RedisServer, what: re.Pattern[bytes], number: int) -> AsyncIterator[Proxy]:
    """A way to Redis on which nothing comes back any more from the `number`th such reply on."""
    proxy, seen = await Proxy(redis.socket, reply_end).start(), 0

    def lose(message: bytes) -> bool:
        nonlocal seen
        seen += what.match(message) is not None
        return seen >= number

    proxy.lose = lose
    try:
        yield proxy
    finally:
        await proxy.stop()


async def killed_on_the_way(
    redis: RedisServer, other: RunningHub, what: re.Pattern[bytes], number: int, ask: Ask, entry_id: str = ""
) -> None:
    """Asks a hub that is killed when Redis has made the `number`th change of the request."""
    async with losing(redis, what, number) as proxy:
        victim = await asyncio.to_thread(HubProcess, env={"REDIS_URL": proxy.url})
        victim.secret = other.secret
        try:
            async with owner(victim) as http:
                request = asyncio.create_task(ask(http, entry_id))
                await until(lambda: proxy.lost)
                victim.process.kill()
                await asyncio.wait([request])
                assert request.exception() is not None
        finally:
            victim.stop()
    await lapsed(redis)


@pytest.mark.parametrize("number", [1, 5])
async def test_a_hub_killed_among_several_targets_leaves_none_out_and_none_twice(
    redis_server: RedisServer, start_hub: StartHub, number: int
) -> None:
    other = await start_hub()
    await killed_on_the_way(redis_server, other, SENT, number, to_several)
    async with owner(other) as http:
        assert len((await other.feed(USERS[number - 1]))["items"]) == 1
        answer = await to_several(http, "")
        assert (answer.status_code, answer.json()["enqueued"]) == (202, len(USERS))
        for user, entry_id in zip(USERS, answer.json()["ids"], strict=True):
            assert [item["id"] for item in (await other.feed(user))["items"]] == [entry_id]
        again = await to_several(http, "")
        assert (again.text, replayed(again)) == (answer.text, True)


async def test_a_hub_killed_between_a_mark_and_its_answer_has_marked_once(
    redis_server: RedisServer, start_hub: StartHub
) -> None:
    other = await start_hub()
    entry_id = await other.send("ann")
    await killed_on_the_way(redis_server, other, MARKED, 1, MARKS["read"], entry_id)
    async with owner(other) as http:
        top, _ = await other.hub.store.counts(User("default", "ann").feed("inbox"))
        answer = await MARKS["read"](http, entry_id)
        assert (answer.status_code, replayed(answer)) == (200, True)
        assert answer.json()["status"] == "read"
        assert (await other.hub.store.counts(User("default", "ann").feed("inbox")))[0] == top


async def test_a_hub_killed_while_it_marks_all_spares_what_came_later(
    redis_server: RedisServer, start_hub: StartHub
) -> None:
    other, ask = await start_hub(), POSTS["mark-all-seen"]
    await other.send("ann")
    await killed_on_the_way(redis_server, other, MARKED, 1, ask)
    async with owner(other) as http:
        later = await other.send("ann")
        assert (await ask(http, "")).json() == {}
        assert replayed(await ask(http, ""))
        items = (await other.feed("ann", status="unseen"))["items"]
        assert [item["id"] for item in items] == [later]


async def tops(hub: RunningHub) -> list[str]:
    """The last cursors of all that are asked about here: they move with every change."""
    feeds = [User("default", user).feed("inbox") for user in ("ann", "bob", *USERS)]
    return [(await hub.hub.store.counts(feed))[0] for feed in feeds]


async def check_not_remembered(hub: RunningHub, refuse: Callable[[bool], None], status: int, code: str) -> None:
    """While `refuse`, each POST of the API is refused and changes nothing; then the same under its key is done."""
    entry_ids = {name: await hub.send("ann") for name in POSTS}
    async with owner(hub) as http:
        for name, ask in POSTS.items():
            before = await tops(hub)
            refuse(True)
            refused = await ask(http, entry_ids[name])
            refuse(False)
            assert refused.status_code == status, name
            error = refused.json()["error"]
            assert (error["code"], error["is_transient"]) == (code, True)
            assert await tops(hub) == before
            answer = await ask(http, entry_ids[name])
            assert (answer.status_code // 100, replayed(answer)) == (2, False), name
            assert await tops(hub) != before


async def test_503_is_not_remembered(redis_server: RedisServer, start_hub: StartHub) -> None:
    def refuse(now: bool) -> None:
        redis_server.client.config_set("min-replicas-to-write", int(now))

    await check_not_remembered(await start_hub(), refuse, 503, "unavailable")


async def test_429_is_not_remembered(redis_server: RedisServer, start_hub: StartHub) -> None:
    hub = await start_hub(key_rate="1000/hour")

    def refuse(now: bool) -> None:
        """The hour is used up, or has passed."""
        for counter in redis_server.client.scan_iter(match="*:rate:*"):
            if now:
                redis_server.client.set(counter, 1000, keepttl=True)
            else:
                redis_server.client.delete(counter)

    await check_not_remembered(hub, refuse, 429, "rate_limited")
