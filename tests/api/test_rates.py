"""How often one may ask: per secret key and per user, all hubs together (`docs/api.md`, Rate limits)."""

import asyncio
import re

import httpx2
import pytest

from hub.opening import read_settings
from tests.conftest import StartHub
from tests.harness import PATIENCE_S, RedisServer, RunningHub

ENTRIES = "/user/v1/channels/inbox/feed/entries"
SEND = "/v1/messaging/notifications"
POLICY = re.compile(r'"(key|user)";q=(\d+);w=(\d+)')
STANDING = re.compile(r'"(key|user)";r=(\d+);t=(\d+)')


async def listing(hub: RunningHub, user: str) -> httpx2.Response:
    async with hub.http() as http:
        return await http.get(ENTRIES, headers=hub.user_headers(user))


async def sending(hub: RunningHub, headers: dict[str, str] | None = None) -> httpx2.Response:
    body = {"category": "order.updated", "target": {"type": "user", "id": "ann"}, "title": "hello"}
    async with hub.http() as http:
        return await http.post(SEND, json=body, headers=hub.producer | (headers or {}))


def left(answer: httpx2.Response) -> int:
    found = STANDING.fullmatch(answer.headers["ratelimit"])
    assert found
    return int(found[2])


async def test_an_answer_tells_the_limit_and_what_is_left_of_it(start_hub: StartHub) -> None:
    hub = await start_hub(user_rate="3 per 2 minutes", key_rate="5/hour")
    answer = await listing(hub, "ann")
    assert answer.headers["ratelimit-policy"] == '"user";q=3;w=120'
    assert [left(answer), left(await listing(hub, "ann"))] == [2, 1]
    policy = POLICY.fullmatch((await sending(hub)).headers["ratelimit-policy"])
    assert policy
    assert policy.groups() == ("key", "5", "3600")


async def test_what_is_over_the_limit_is_429_in_the_words_of_the_user_api(start_hub: StartHub) -> None:
    hub = await start_hub(user_rate="1/minute")
    assert (await listing(hub, "ann")).status_code == 200
    answer = await listing(hub, "ann")
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["code"] == "rate_limited"
    assert error["type"].endswith("#rate_limited-429")
    wait = error["details"].pop("retry_after")
    assert error["details"] == {"limit": 1, "window": "60s"}
    assert 1 <= wait <= 60
    assert answer.headers["retry-after"] == str(wait)
    assert left(answer) == 0


async def test_what_is_over_the_limit_is_429_in_the_words_of_the_messaging_api(start_hub: StartHub) -> None:
    hub = await start_hub(key_rate="1/day")
    assert (await sending(hub)).status_code == 202
    answer = await sending(hub)
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["is_transient"]) == ("invalid_request_error", "rate_limited", True)
    assert error["details"] == {"limit": 1, "window": "86400s", "retry_after": 60}, "no client waits a day"
    assert answer.headers["retry-after"] == "60"


async def test_users_and_keys_are_counted_apart(start_hub: StartHub) -> None:
    hub = await start_hub(user_rate="1/minute", key_rate="1/minute")
    answers = [await listing(hub, "ann"), await listing(hub, "bob"), await sending(hub)]
    assert [answer.status_code for answer in answers] == [200, 200, 202]


async def test_of_many_at_once_exactly_as_many_as_the_limit_allows_come_through(start_hub: StartHub) -> None:
    hubs = [await start_hub(user_rate="20/minute"), await start_hub(user_rate="20/minute")]
    answers = await asyncio.gather(*(listing(hubs[number % 2], "ann") for number in range(50)))
    assert [answer.status_code for answer in answers].count(200) == 20
    assert [answer.status_code for answer in answers].count(429) == 30


async def test_all_hubs_count_together(start_hub: StartHub) -> None:
    one, other = await start_hub(user_rate="2/minute"), await start_hub(user_rate="2/minute")
    answers = [await listing(one, "ann"), await listing(other, "ann"), await listing(one, "ann")]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_the_window_ends_by_itself_and_the_next_one_is_full(start_hub: StartHub) -> None:
    hub = await start_hub(user_rate="3/second")
    async with asyncio.timeout(PATIENCE_S):
        while (await listing(hub, "ann")).status_code == 200:
            pass
        while (answer := await listing(hub, "ann")).status_code == 429:
            pass
    assert (answer.status_code, left(answer)) == (200, 2)


async def test_a_refusal_for_the_limit_is_not_kept_under_the_idempotency_key(
    start_hub: StartHub, redis_server: RedisServer
) -> None:
    hub = await start_hub(key_rate="1/minute")
    key = {"idempotency-key": "one"}
    assert (await sending(hub)).status_code == 202
    assert (await sending(hub, key)).status_code == 429
    assert redis_server.client.delete(*redis_server.client.keys("*:rate*"))
    answer = await sending(hub, key)
    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers


async def test_a_refusal_and_a_replay_tell_what_is_left_too(start_hub: StartHub) -> None:
    hub = await start_hub(key_rate="9/minute")
    key = {"idempotency-key": "one"}
    assert left(await sending(hub, key)) == 8
    again = await sending(hub, key)
    assert again.headers["idempotent-replayed"] == "true"
    assert left(again) == 7
    assert again.headers.get_list("ratelimit") == [again.headers["ratelimit"]]
    async with hub.http() as http:
        bad = await http.post(SEND, json={}, headers=hub.producer)
    assert bad.status_code == 400
    assert left(bad) == 6


async def test_who_is_nobody_is_not_counted(start_hub: StartHub) -> None:
    hub = await start_hub(key_rate="1/minute", user_rate="1/minute")
    async with hub.http() as http:
        answers = [await http.get(ENTRIES), await http.delete(SEND)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert not any("ratelimit" in answer.headers for answer in answers)


async def test_the_socket_is_not_counted(start_hub: StartHub) -> None:
    hub = await start_hub(user_rate="1/minute")
    assert (await listing(hub, "ann")).status_code == 200
    client = await hub.connect("ann")
    frames = [await client.ask("list", channel="inbox") for _ in range(3)]
    assert {frame["type"] for frame in frames} == {"page"}
    await client.close()


async def test_an_empty_limit_is_none(start_hub: StartHub, redis_server: RedisServer) -> None:
    hub = await start_hub(key_rate="", user_rate="")
    answers = [await listing(hub, "ann"), await sending(hub)]
    assert [answer.status_code for answer in answers] == [200, 202]
    assert not any("ratelimit" in answer.headers for answer in answers)
    assert redis_server.client.keys("*:rate*") == []


async def test_counters_leave_the_store_with_their_window(start_hub: StartHub, redis_server: RedisServer) -> None:
    hub = await start_hub()
    await listing(hub, "ann")
    await sending(hub)
    counters = redis_server.client.keys("*:rate*")
    assert len(counters) == 2
    assert all(0 < redis_server.client.ttl(counter) <= 60 for counter in counters)


async def test_without_the_store_the_answer_is_503() -> None:
    server = RedisServer()
    hub = await RunningHub(server.url).start()
    server.remove()
    answer = await sending(hub)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    await hub.stop()


@pytest.mark.parametrize(
    "text", ["600", "600/fortnight", "0/minute", "-1/minute", "1/second; 5/minute", "1e3/minute", "1 per 9 years"]
)
@pytest.mark.parametrize("name", ["key_rate", "user_rate"])
def test_what_is_no_limit_is_refused_at_the_start(name: str, text: str) -> None:
    with pytest.raises(Exception, match=f"BELLHUB_{name.upper()}: '{text}': .*(600/minute|empty: no limit)"):
        read_settings(**{name: text})
