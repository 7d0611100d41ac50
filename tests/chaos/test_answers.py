"""A hub is killed between a change and its answer: asked again under its key, the request is not done a second time.

The POSTs that are about no feed of their caller; the others are in `tests/api/test_idempotency.py` and
`tests/api/test_messaging_once.py`. docs/api.md, Idempotency.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from hub import keys
from hub.keys import User
from hub.projects import add_channel
from tests.conftest import StartHub
from tests.harness import HubProcess, RedisServer, RunningHub, until
from tests.proxy import Proxy, reply_end

pytestmark = pytest.mark.chaos
ANN = User("default", "ann")
BOB = User("default", "bob")
Redis = Any


def feed(redis: Redis, user: User) -> int:
    """How many events there were ever in the user's feed."""
    return int(redis.xlen(user.feed("inbox").key("log")))


@dataclass(frozen=True)
class Case:
    """A POST, and what of it the store shows: false before the change, and of one value once it was made once."""

    path: str
    body: dict[str, Any]
    status: int
    made: Callable[[Redis], Any]
    steps: bool = False
    """Of several steps: the answer is made anew, and the key is taken until the hub is taken for dead."""


CASES = {
    "send": Case(
        "/v1/messaging/notifications",
        {"category": "order.updated", "target": {"type": "user", "id": "ann"}, "title": "hello"},
        202,
        lambda redis: feed(redis, ANN),
    ),
    "announce": Case(
        "/v1/messaging/announcements",
        {"category": "news", "title": "hello"},
        201,
        lambda redis: redis.hlen(keys.announcements("default", "docs")),
    ),
    "run": Case(
        "/admin/v1/notiflows/hello/run",
        {"recipients": [{"external_id": "ann"}, {"external_id": "bob"}]},
        202,
        lambda redis: redis.zcard(keys.runs("default")) or feed(redis, ANN),
    ),
    "subscribe": Case(
        "/admin/v1/users/ann/subscriptions",
        {"topic_name": "news"},
        201,
        lambda redis: redis.zscore(keys.topic("default", "news"), "ann"),
    ),
    "subscribe many": Case(
        "/admin/v1/topics/news/subscriptions",
        {"user_external_ids": ["ann", "bob"]},
        200,
        lambda redis: redis.zrange(keys.topic("default", "news"), 0, -1, withscores=True),
        steps=True,
    ),
    "revoke": Case("/admin/v1/users/ann/revoke", {}, 200, lambda redis: redis.hget(ANN.meta, "revoked")),
    "push subscription": Case(
        "/user/v1/channels/browser/subscriptions",
        {"identifier": "x", "settings": {"endpoint": "https://push.example/x", "p256dh": "p", "auth": "a"}},
        201,
        lambda redis: "push.example" in (redis.hget(keys.profiles("default"), "ann") or ""),
        steps=True,
    ),
}


async def furnished(start_hub: StartHub) -> RunningHub:
    """A hub with what the cases are about."""
    hub = await start_hub()
    await hub.change_project(lambda project: add_channel(project, "browser", "web_push", None))
    async with asking(hub, CASES["run"]) as ask:
        for path, body in (
            ("users/ann", {}),
            ("users/bob", {}),
            ("notiflows/hello", {"template": {"title": "hello"}}),
        ):
            answer = await ask("PUT", f"/admin/v1/{path}", body)
            assert answer.status_code == 201, answer.text
    return hub


@asynccontextmanager
async def asking(hub: Any, case: Case) -> AsyncIterator[Callable[..., Any]]:
    """Whoever may make the case's request."""
    async with hub.http() as http:
        http.headers.update(hub.producer | {"x-notiflows-secret-key": hub.secret, "x-notiflows-api-key": hub.api_key})
        if case.path.startswith("/user/"):
            http.headers.update(hub.user_headers("ann"))
        elif case.path.startswith("/v1/"):
            del http.headers["x-notiflows-api-key"]

        async def ask(method: str, path: str, body: Any, **headers: str) -> Any:
            return await http.request(method, path, json=body, headers=headers)

        yield ask


async def killed_before_it_answers(redis: RedisServer, hub: RunningHub, case: Case) -> None:
    """Asks another hub, to which nothing comes back from Redis from the change on; then it is killed."""
    proxy = await Proxy(redis.socket, reply_end).start()
    victim = await asyncio.to_thread(HubProcess, env={"REDIS_URL": proxy.url})
    victim.api_key, victim.secret = hub.api_key, hub.secret
    proxy.lose = lambda message: proxy.lost > 0 or bool(case.made(redis.client))
    try:
        async with asking(victim, case) as ask:
            request = asyncio.create_task(ask("POST", case.path, case.body, **{"idempotency-key": "k"}))
            await until(lambda: proxy.lost or request.done())
            assert not request.done(), request.result().text
            victim.process.kill()
            await asyncio.wait([request])
            assert request.exception() is not None
    finally:
        victim.stop()
        await proxy.stop()


def key_is_free(redis: RedisServer) -> None:
    """As it is 10 s after the death of a hub that was at a request of several steps."""
    (record,) = (name for name in redis.client.scan_iter(match="*:idem:*"))
    digest, word, _ = str(redis.client.get(record)).split(" ")
    assert word == "running"
    redis.client.set(record, f"{digest} running 1", keepttl=True)


@pytest.mark.parametrize("name", CASES)
async def test_a_request_whose_hub_died_before_it_answered_happens_once(
    redis_server: RedisServer, start_hub: StartHub, name: str
) -> None:
    case, redis = CASES[name], redis_server.client
    hub = await furnished(start_hub)
    assert not case.made(redis)
    await killed_before_it_answers(redis_server, hub, case)
    made = case.made(redis)
    assert made
    if name == "revoke":
        await until(lambda: time.time() > int(made) + 0.1)  # done again it would say a later second
    other = await start_hub()  # it looks for waiting runs when it starts
    other.secret = hub.secret  # the key belongs to its caller
    async with asking(other, case) as ask:
        if case.steps:
            taken = await ask("POST", case.path, case.body, **{"idempotency-key": "k"})
            assert taken.status_code == 409
            key_is_free(redis_server)
        first, again = [await ask("POST", case.path, case.body, **{"idempotency-key": "k"}) for _ in range(2)]
    assert (first.status_code, again.status_code) == (case.status, case.status)
    assert first.text == again.text
    assert first.headers.get("idempotent-replayed") == (None if case.steps else "true")
    assert again.headers["idempotent-replayed"] == "true"
    for record in redis.scan_iter(match="*:idem:*"):
        assert 23 * 3600 < redis.ttl(record) <= 24 * 3600
    if name == "send":
        assert redis.hlen(keys.log_rows("default")) == 1, "the log, which comes behind the entry, has it too, once"
    if name == "run":
        await until(lambda: redis.zcard(keys.runs("default")) == 0)
        assert (feed(redis, ANN), feed(redis, BOB)) == (1, 1)
    assert case.made(redis) == made
