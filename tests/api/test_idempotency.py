"""`Idempotency-Key` on what changes one feed (docs/api.md, Idempotency): PATCHes, mark-all, an action of Messaging."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.routing import Mount, Route

from hub.app import Hub, create_app
from hub.keys import User
from hub.settings import Settings
from tests.api.user_api import ENTRIES, FEED, NOWHERE, Http, Response, details, patch, shown
from tests.conftest import StartHub
from tests.harness import Client, HubProcess, RedisServer, RunningHub, set_up, until
from tests.proxy import Proxy, reply_end

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARKED = re.compile(rb"\*\d+\r\n\$2\r\nok\r\n\$\d+\r\n\d{16,}-\d+\r\n:\d+\r\n:\d+\r\n:\d+\r\n:[1-9]")
"""Redis says that a mark changed something."""


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


Ask = Callable[[Http, str, list[str]], Awaitable[Response]]


async def one(http: Http, key: str, ids: list[str]) -> Response:
    return await http.patch(f"{ENTRIES}/{ids[0]}", json={"read": True}, headers={"idempotency-key": key})


async def several(http: Http, key: str, ids: list[str]) -> Response:
    body = {"entry_ids": ids, "set": {"read": True}}
    return await http.patch(ENTRIES, json=body, headers={"idempotency-key": key})


async def all_of_them(http: Http, key: str, ids: list[str]) -> Response:
    return await http.post(f"{FEED}/mark-all", json={"verb": "read"}, headers={"idempotency-key": key})


async def action(http: Http, key: str, ids: list[str]) -> Response:
    """The Messaging API, as the same user."""
    headers = {"idempotency-key": key, "authorization": f"Bearer {http.headers['x-notiflows-user-key']}"}
    return await http.post(f"/v1/messaging/notifications/{ids[0]}/actions/read", headers=headers)


every = pytest.mark.parametrize("ask", [one, several, all_of_them, action], ids=lambda ask: ask.__name__)


def replayed(answer: Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


def same(answer: Response, first: Response) -> None:
    """It is the first answer once more, and says so."""
    assert replayed(answer)
    assert not replayed(first)
    assert (answer.status_code, answer.text) == (first.status_code, first.text)
    assert answer.headers.get("x-should-retry") == first.headers.get("x-should-retry")


async def states(session: Client, hub: RunningHub, user: str) -> int:
    """How many `state` events a session got, up to an entry that is sent now."""
    last = await hub.send(user, "last")
    await session.first(lambda frame: frame["type"] == "entry" and frame["entry"]["id"] == last)
    return [frame["type"] for frame in session.frames].count("state")


# ---- the same again ----------------------------------------------------------------------------------


@every
async def test_the_same_again_is_the_first_answer_and_changes_nothing(
    hub: RunningHub, http: Http, ask: Ask, ann: str
) -> None:
    ids = [await hub.send(ann) for _ in range(2)]
    session = await hub.connect(ann)
    first = await ask(http, "k", ids)
    assert first.status_code == 200
    # What happens since does not change the answer.
    await patch(http, ids[0], clicked=True, archived=True)
    same(await ask(http, "k", ids), first)
    assert (await shown(http, ids[0]))["status"] == "archived"
    assert await states(session, hub, ann) == 2


@every
async def test_another_key_and_none_are_other_requests(hub: RunningHub, http: Http, ask: Ask, ann: str) -> None:
    ids = [await hub.send(ann) for _ in range(2)]
    await ask(http, "k", ids)
    assert not replayed(await ask(http, "K", ids))
    assert not replayed(await http.post(f"{FEED}/mark-all", json={"verb": "read"}))


async def test_a_replay_after_the_entry_is_gone_still_shows_it(hub: RunningHub, http: Http, ann: str) -> None:
    ids = [await hub.send(ann)]
    first = await one(http, "k", ids)
    await http.delete(f"/v1/messaging/notifications/{ids[0]}", params={"user": ann}, headers=hub.producer)
    same(await one(http, "k", ids), first)


async def test_the_same_may_be_spelled_otherwise(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "the same JSON value, however it is spelled"."""
    entry_id = await hub.send(ann)
    headers = {"idempotency-key": "k"}
    first = await http.patch(f"{ENTRIES}/{entry_id}", content=b'{"seen":true,"read":true}', headers=headers)
    again = await http.patch(f"/api{ENTRIES}/{entry_id}", content=b'{ "read" : true, "seen": true }', headers=headers)
    same(again, first)


async def test_the_key_outlives_the_token(hub: RunningHub, http: Http, ann: str) -> None:
    ids = [await hub.send(ann)]
    first = await one(http, "k", ids)
    http.headers["x-notiflows-user-key"] = hub.token(ann, ttl_s=77)
    same(await one(http, "k", ids), first)


@every
async def test_a_key_is_remembered_for_a_day(hub: RunningHub, http: Http, ask: Ask, ann: str) -> None:
    ids = [await hub.send(ann)]
    await ask(http, "k", ids)
    engine = hub.hub.engine
    (record,) = await engine.call("KEYS", f"*{User('default', ann).tag[1:-1]}*:idem:*")  # type: ignore[misc]
    lives_ms = await engine.call("PTTL", record)
    assert 24 * 3600 * 1000 - 60_000 < int(lives_ms) <= 24 * 3600 * 1000  # type: ignore[arg-type]


@every
async def test_many_at_once_are_one_change_and_one_answer(hub: RunningHub, http: Http, ask: Ask, ann: str) -> None:
    ids = [await hub.send(ann) for _ in range(2)]
    session = await hub.connect(ann)
    answers = await asyncio.gather(*(ask(http, "k", ids) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert sum(not replayed(answer) for answer in answers) <= 1
    assert await states(session, hub, ann) == 1


async def test_a_key_and_a_clients_op_are_apart(hub: RunningHub, http: Http, ann: str) -> None:
    ids = [await hub.send(ann) for _ in range(2)]
    session = await hub.connect(ann)
    assert (await session.ask("read", channel="inbox", ids=[ids[0]], op="k"))["changed"] == [ids[0]]
    answer = await one(http, "k", [ids[1]])
    assert (answer.status_code, replayed(answer)) == (200, False)
    again = await session.ask("read", channel="inbox", ids=[ids[0]], op="k")
    assert (again["changed"], again["replayed"]) == ([ids[0]], True)


# ---- another request under the same key --------------------------------------------------------------


async def test_another_request_under_the_same_key_is_422_and_does_nothing(
    hub: RunningHub, http: Http, ann: str
) -> None:
    """Seed 2: "idempotency_key"."""
    ids = [await hub.send(ann) for _ in range(3)]
    headers = {"idempotency-key": "k"}
    await http.patch(f"{ENTRIES}/{ids[0]}", json={"seen": True}, headers=headers)
    await http.patch(ENTRIES, json={"entry_ids": [ids[0]], "set": {"seen": True}}, headers=headers)
    await http.post(f"{FEED}/mark-all", json={"verb": "seen", "topic": "none"}, headers=headers)
    others: list[tuple[str, str, Any]] = [
        ("PATCH", f"{ENTRIES}/{ids[0]}", {"read": True}),
        ("PATCH", f"{ENTRIES}/{ids[0]}", {"seen": True, "read": True}),
        ("PATCH", f"{ENTRIES}/{ids[1]}", {"seen": True}),
        ("PATCH", f"{ENTRIES}/{ids[0]}?x=1", {"seen": True}),
        ("PATCH", f"{ENTRIES}/{ids[0]}", {}),
        ("PATCH", f"{ENTRIES}/{NOWHERE}", {"seen": True}),
        ("PATCH", ENTRIES, {"entry_ids": [ids[1]], "set": {"seen": True}}),
        ("PATCH", ENTRIES, {"entry_ids": [ids[0], ids[1]], "set": {"seen": True}}),
        ("PATCH", ENTRIES, {"entry_ids": [ids[0]], "set": {"archived": True}}),
        ("POST", f"{FEED}/mark-all", {"verb": "seen"}),
        ("POST", f"{FEED}/mark-all", {"verb": "read", "topic": "none"}),
        ("POST", f"{FEED}/mark-all".replace("inbox", "nowhere"), {"verb": "seen", "topic": "none"}),
    ]
    for method, path, body in others:
        answer = await http.request(method, path, json=body, headers=headers)
        assert details(answer, 422, "idempotency_key_reused") == {"idempotency_key": "k"}
        assert not replayed(answer)
    assert [(await shown(http, entry_id))["status"] for entry_id in ids] == ["seen", "unseen", "unseen"]


async def test_the_key_belongs_to_the_user_the_method_and_the_route(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "elsewhere it is another key"."""
    bob = f"bob, {ann}"
    ids, bobs = [await hub.send(ann)], [await hub.send(bob)]
    answers = [await one(http, "k", ids), await several(http, "k", ids), await all_of_them(http, "k", ids)]
    async with hub.http() as other:
        other.headers.update(hub.user_headers(bob))
        answers += [await one(other, "k", bobs), await all_of_them(other, "k", bobs)]
    answers.append(
        await http.post(
            "/v1/messaging/notifications",
            json={"category": "a", "target": {"type": "user", "id": ann}, "title": "t"},
            headers=hub.producer | {"idempotency-key": "k"},
        )
    )
    assert [answer.status_code for answer in answers] == [200] * 5 + [202]
    assert not any(map(replayed, answers))


@pytest.mark.parametrize("length", [0, 256])
@every
async def test_a_key_has_1_to_255_characters(hub: RunningHub, http: Http, ask: Ask, length: int, ann: str) -> None:
    ids = [await hub.send(ann)]
    answer = await ask(http, "x" * length, ids)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == {"reason": "invalid_param", "param": "Idempotency-Key"}
    assert f"{length} characters, 1 to 255" in answer.json()["error"]["message"]
    assert (await shown(http, ids[0]))["status"] == "unseen"
    first = await ask(http, "x" * 255, ids)
    assert first.status_code == 200
    same(await ask(http, "x" * 255, ids), first)


# ---- refusals ----------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, str, bytes, int]] = {
    "channel": ("PATCH", f"{ENTRIES}/x".replace("inbox", "nowhere"), b'{"read":true}', 404),
    "entry": ("PATCH", f"{ENTRIES}/{NOWHERE}", b'{"read":true}', 404),
    "one of several": ("PATCH", ENTRIES, b'{"entry_ids":["x"],"set":{"read":true}}', 404),
    "taken back": ("PATCH", f"{ENTRIES}/ID", b'{"read":false}', 409),
    "several taken back": ("PATCH", ENTRIES, b'{"entry_ids":["ID"],"set":{"read":false}}', 409),
    "a cursor to come": ("POST", f"{FEED}/mark-all", b'{"verb":"read","upto":"9999999999999999-1"}', 409),
    "no flag": ("PATCH", f"{ENTRIES}/ID", b"{}", 422),
    "no verb": ("POST", f"{FEED}/mark-all", b"{}", 422),
    "no JSON": ("PATCH", f"{ENTRIES}/ID", b"{", 400),
    "no JSON for all": ("POST", f"{FEED}/mark-all", b"", 400),
}


@pytest.mark.parametrize(("method", "path", "body", "status"), WRONG.values(), ids=WRONG)
async def test_a_refusal_is_an_answer_too(
    hub: RunningHub, http: Http, method: str, path: str, body: bytes, status: int, ann: str
) -> None:
    """docs/api.md: "Refusals (4xx) are answers too"."""
    entry_id = await hub.send(ann)
    path, body = path.replace("ID", entry_id), body.replace(b"ID", entry_id.encode())
    headers = {"idempotency-key": "k"}
    first = await http.request(method, path, content=body, headers=headers)
    assert first.status_code == status
    assert first.headers.get("x-should-retry") == ("false" if status == 409 else None)
    same(await http.request(method, path, content=body, headers=headers), first)
    other = await http.request(method, path, content=b'{"seen":true}', headers=headers)
    assert details(other, 422, "idempotency_key_reused") == {"idempotency_key": "k"}
    assert (await shown(http, entry_id))["status"] == "unseen"


async def test_who_may_not_ask_is_not_remembered(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "401, 403, 429 and 5xx are not remembered"."""
    ids = [await hub.send(ann)]
    good = http.headers["x-notiflows-user-key"]
    http.headers["x-notiflows-user-key"] = "x.y.z"
    details(await one(http, "k", ids), 401, "unauthenticated")
    http.headers["x-notiflows-user-key"] = good
    before = await hub.hub.store.revoke(User("default", ann))
    details(await one(http, "k", ids), 403, "forbidden")
    http.headers["x-notiflows-user-key"] = hub.token(ann, now=before)
    answer = await one(http, "k", ids)
    assert (answer.status_code, replayed(answer)) == (200, False)


# ---- a change whose answer is lost -------------------------------------------------------------------


@asynccontextmanager
async def losing_marks(redis: RedisServer) -> AsyncIterator[Proxy]:
    """A way to Redis on which nothing comes back any more from the moment a mark was made."""
    proxy = await Proxy(redis.socket, reply_end).start()
    proxy.lose = lambda message: proxy.lost > 0 or MARKED.match(message) is not None
    try:
        yield proxy
    finally:
        await proxy.stop()


@asynccontextmanager
async def asking(hub: Any, ask: Ask, ids: list[str]) -> AsyncIterator["asyncio.Task[Response]"]:
    """Ann's request under way."""
    async with hub.http() as http:
        http.headers.update(hub.user_headers("ann"))
        task = asyncio.create_task(ask(http, "k", ids))
        try:
            yield task
        finally:
            await asyncio.gather(task, return_exceptions=True)


async def check_made_once(hub: RunningHub, ask: Ask, ids: list[str]) -> None:
    """The request again, on this hub: it is answered as it would have been, and nothing is changed once more."""
    session = await hub.connect("ann")
    async with hub.http() as http:
        http.headers.update(hub.user_headers("ann"))
        first, again = await ask(http, "k", ids), await ask(http, "k", ids)
        assert (first.status_code, again.status_code) == (200, 200)
        assert first.text == again.text
        assert replayed(first)
        assert replayed(again)
        entries = [await shown(http, entry_id) for entry_id in ids]
        assert {entry["status"] for entry in entries} == {"read"}
        match ask.__name__:
            case "one":
                assert first.json() == entries[0]
            case "action":
                assert (first.json()["id"], first.json()["read_at"]) == (ids[0], entries[0]["read_at"])
            case "several":
                assert first.json() == entries
            case _:
                assert first.json() == {
                    "cursor": session.cursor,
                    "changed": len(ids),
                    "counts": {"unseen": 0, "unread": 0, "total": len(ids)},
                }
    assert await states(session, hub, "ann") == 0


@every
@pytest.mark.asyncio(loop_scope="function")
async def test_a_hub_killed_between_the_change_and_the_answer(
    redis_server: RedisServer, start_hub: StartHub, ask: Ask
) -> None:
    other = await start_hub()
    ids = [await other.send("ann") for _ in range(1 if ask in (one, action) else 3)]
    async with losing_marks(redis_server) as proxy:
        victim = await asyncio.to_thread(HubProcess, env={"REDIS_URL": proxy.url})
        try:
            victim.api_key, victim.secret = await set_up(redis_server.url)
            async with asking(victim, ask, ids) as request:
                await until(lambda: proxy.lost)  # the change is made
                victim.process.kill()
                await asyncio.wait([request])
                assert request.exception() is not None
        finally:
            victim.stop()
    await check_made_once(other, ask, ids)


@every
@pytest.mark.asyncio(loop_scope="function")
async def test_503_is_not_remembered_and_what_it_did_not_say_was_done_is_not_done_again(
    redis_server: RedisServer, start_hub: StartHub, ask: Ask
) -> None:
    """docs/api.md: "After 500 or 503 nobody knows: send it again with the same key"."""
    other = await start_hub()
    ids = [await other.send("ann") for _ in range(1 if ask in (one, action) else 3)]
    async with losing_marks(redis_server) as proxy:
        unlucky = await start_hub(redis_url=proxy.url)
        async with asking(unlucky, ask, ids) as request:
            await until(lambda: proxy.lost)
            proxy.lose = lambda message: False
            proxy.cut_now()
            answer = await request
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    await check_made_once(other, ask, ids)


@pytest.mark.asyncio(loop_scope="function")
async def test_a_store_that_takes_nothing_leaves_the_key_unused(redis_server: RedisServer, start_hub: StartHub) -> None:
    hub = await start_hub()
    ids = [await hub.send("ann")]
    async with hub.http() as http:
        http.headers.update(hub.user_headers("ann"))
        redis_server.client.config_set("min-replicas-to-write", 1)
        try:
            details(await one(http, "k", ids), 503, "unavailable")
        finally:
            redis_server.client.config_set("min-replicas-to-write", 0)
        answer = await one(http, "k", ids)
        assert (answer.status_code, replayed(answer)) == (200, False)


# ---- no operation escapes ----------------------------------------------------------------------------


def operations() -> list[tuple[str, str]]:
    """Method and path of every POST and PATCH of the hub."""
    app = create_app(Hub(Settings(_env_file=None, redis_url="redis://nowhere")))
    below = [(mount.path, route) for mount in app.routes if isinstance(mount, Mount) for route in mount.routes]
    found = [
        (method, base + route.path) for base, route in below if isinstance(route, Route) for method in route.methods
    ]
    return sorted({(method, path) for method, path in found if method in ("POST", "PATCH") and "/api/" not in path})


@pytest.mark.parametrize(("method", "path"), operations(), ids=lambda part: part)
async def test_every_post_and_patch_takes_a_key(hub: RunningHub, http: Http, method: str, path: str, ann: str) -> None:
    """docs/api.md: "Every `POST` and `PATCH` of every API takes an `Idempotency-Key`"."""
    address = path.replace("{channel_id}", "inbox").replace("{external_id}", ann).replace("{", "").replace("}", "")
    if not path.startswith("/user/"):
        http.headers.update(hub.producer | {"x-notiflows-secret-key": hub.secret, "x-bellhub-user": ann})
    headers = {"idempotency-key": "k"}
    first = await http.request(method, address, json={"nonsense": 1}, headers=headers)
    assert first.status_code in (200, 400, 404, 422), first.text
    same(await http.request(method, address, json={"nonsense": 1}, headers=headers), first)
    other = await http.request(method, address, json={"nonsense": 2}, headers=headers)
    error = other.json()["error"]
    assert (other.status_code, error["code"]) == (422, "idempotency_key_reused")
    assert error["details"] == {"idempotency_key": "k"}
    without = await http.request(method, address, json={"nonsense": 1})
    assert (without.status_code, replayed(without)) == (first.status_code, False)
