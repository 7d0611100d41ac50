"""`Idempotency-Key` on a request of several steps: a door with one operation, on a real store."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from hub.api.callers import Caller
from hub.api.dialects import answer, feed_dialect
from hub.api.doors import Door, Once
from hub.api.middleware import RequestIds
from hub.engine import Engine
from hub.errors import Code, Refused, unavailable
from hub.idempotency import ANSWER_BYTES, RUNNING_MS, Answers
from hub.model import Project
from hub.rates import Rates
from tests.api.user_api import Http, details
from tests.harness import PATIENCE_S, RedisServer

PROJECT = Project("default", "Default", "pk_x", ())
KEY = {"idempotency-key": "k"}


class Work:
    """What is behind the door. `go` lets it go on; it ends as `outcomes` say, one after the other, then as the last."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.go.set()
        self.times = 0
        self.outcomes: list[str | Exception] = ['{"done":true}']

    async def __call__(self, request: Request, caller: Caller) -> Response:
        self.times += 1
        self.begun.release()
        await self.go.wait()
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return answer(outcome, 201)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def http(work: Work, redis_server: RedisServer) -> AsyncIterator[Http]:
    async def identify(request: Request) -> Caller:
        return Caller(PROJECT, "key x", frozenset(), None)

    engine = Engine()
    engine.link.url = redis_server.url
    running = asyncio.create_task(engine.link.run())
    door = Door("/x/v1", feed_dialect(None), identify, Answers(engine), Rates(engine, key_rate="", user_rate=""))
    app = Starlette(
        routes=[door.route("POST", "/things/{name}", work, once=Once.STEPS)], middleware=[Middleware(RequestIds)]
    )
    async with asyncio.timeout(PATIENCE_S):
        await engine.link.up.wait()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://hub", headers=KEY) as client:
        yield client
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_while_it_runs_the_same_again_is_409_and_worth_another_try(http: Http, work: Work) -> None:
    """docs/api.md: "still running: 409, `reason` `idempotency_in_progress`, transient"."""
    work.go.clear()
    running = asyncio.create_task(http.post("/things/a", json={}))
    await work.begun.acquire()
    refused = await http.post("/things/a", json={})
    assert details(refused, 409, "conflict") == {"reason": "idempotency_in_progress"}
    assert refused.headers["retry-after"] == "1"
    assert "x-should-retry" not in refused.headers
    other = await http.post("/things/b", json={})
    assert details(other, 422, "idempotency_key_reused") == {"idempotency_key": "k"}
    work.go.set()
    first, again = await running, await http.post("/things/a", json={})
    assert (again.status_code, again.text) == (first.status_code, first.text) == (201, '{"done":true}')
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert work.times == 1


async def test_what_a_dead_hub_had_begun_may_be_begun_again_after_10_seconds(
    http: Http, work: Work, redis_server: RedisServer
) -> None:
    """docs/api.md: "One whose hub died gives its key free after 10 s"."""
    work.go.clear()
    dead = asyncio.create_task(http.post("/things/a", json={}))
    await work.begun.acquire()
    (record,) = redis_server.client.keys("{default}:idem:*")
    digest, _, until_ms = str(redis_server.client.get(record)).split(" ")
    store_ms = redis_server.client.time()[0] * 1000
    assert RUNNING_MS - 5_000 < int(until_ms) - store_ms <= RUNNING_MS + 1_000
    redis_server.client.set(record, f"{digest} running {store_ms - 1}", keepttl=True)
    work.outcomes = ['{"n":1}', '{"n":2}']
    other = asyncio.create_task(http.post("/things/a", json={}))
    await work.begun.acquire()
    work.go.set()
    answers = await asyncio.gather(dead, other)
    assert work.times == 2
    # It was not dead, only slow: still there is one answer.
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (unavailable("away"), 503),
        (Refused(Code.RATE_LIMITED, "too many"), 429),
        (Refused(Code.FORBIDDEN, "no"), 403),
        (ZeroDivisionError(), 500),
    ],
    ids=["503", "429", "403", "500"],
)
async def test_what_came_to_nothing_gives_its_key_free_at_once(
    http: Http, work: Work, trouble: Exception, status: int
) -> None:
    work.outcomes = [trouble, "{}"]
    assert (await http.post("/things/a", json={})).status_code == status
    again = await http.post("/things/a", json={})
    assert (again.status_code, "idempotent-replayed" in again.headers) == (201, False)
    assert (await http.post("/things/a", json={})).headers["idempotent-replayed"] == "true"


async def test_a_refusal_of_the_request_is_kept(http: Http, work: Work) -> None:
    work.outcomes = [Refused(Code.CONFLICT, "so it is", reason="x"), "{}"]
    first, again = await http.post("/things/a", json={}), await http.post("/things/a", json={})
    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert again.headers["x-should-retry"] == first.headers["x-should-retry"] == "false"
    assert work.times == 1


async def test_an_answer_beyond_64_kib_is_made_anew_each_time(http: Http, work: Work) -> None:
    """docs/api.md: "answers of more than 64 KiB"."""
    kept = '"' + "x" * (ANSWER_BYTES - 2) + '"'
    work.outcomes = [kept + " ", kept, "{}"]
    sizes = [len((await http.post("/things/a", json={})).content) for _ in range(3)]
    assert sizes == [ANSWER_BYTES + 1, ANSWER_BYTES, ANSWER_BYTES]
    assert work.times == 2
