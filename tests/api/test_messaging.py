"""The Messaging API as far as it goes now: what a producer may send, once, and take back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hub.auth import new_secret_key
from hub.keys import User
from hub.model import SecretKey, timestamp
from hub.projects import add_channel, add_secret_key, retire_key
from tests.harness import RunningHub

SEND = "/v1/messaging/notifications"
UNKNOWN = "0198f000-0000-7000-8000-000000000000"

Response = httpx2.Response
Http = httpx2.AsyncClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


@pytest_asyncio.fixture(loop_scope="module")
async def http(hub: RunningHub) -> AsyncIterator[Http]:
    """An owner's requests."""
    async with hub.http() as client:
        client.headers.update(hub.producer)
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def billing(shared_hub: RunningHub) -> str:
    """A second in-app channel, younger than `inbox`, and `push`, which holds no feeds."""
    await shared_hub.change_project(lambda p: add_channel(p, "push", "mobile_push", "fcm"))
    await shared_hub.change_project(lambda p: add_channel(p, "billing", "in_app", None))
    return "billing"


def notification(user: str, **more: Any) -> dict[str, Any]:
    least = {"category": "order.updated", "target": {"type": "user", "id": user}, "title": "hello"}
    return {name: value for name, value in (least | more).items() if value is not ...}


async def send(http: Http, user: str, headers: dict[str, Any] | None = None, **more: Any) -> Response:
    return await http.post(SEND, content=json.dumps(notification(user, **more)), headers=headers)


async def sent(hub: RunningHub, http: Http, user: str, **more: Any) -> dict[str, Any]:
    """The entry that the user sees."""
    answer = await send(http, user, **more)
    assert answer.status_code == 202, answer.text
    (entry,) = (await hub.feed(user))["items"]
    assert entry["id"] == answer.json()["id"]
    return entry


async def titles(hub: RunningHub, user: str, channel: str = "inbox") -> list[str]:
    """What lies in one of the user's feeds, newest first."""
    async with hub.http() as client:
        path = f"/user/v1/channels/{channel}/feed/entries"
        answer = await client.get(path, headers=hub.user_headers(user))
    return [entry["data"]["title"] for entry in answer.json()["items"]]


def error(answer: Response, status: int, kind: str, code: str) -> Any:
    """The error, after its envelope was checked."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    found = answer.json()["error"]
    assert set(found) == {
        *("type", "code", "message", "param", "doc_url", "is_transient", "quota", "request_log_url"),
        *("request_id", "details"),
    }
    assert (found["type"], found["code"]) == (kind, code)
    assert found["request_id"] == answer.headers["x-request-id"]
    assert found["doc_url"].endswith(f"/docs/errors#{code}-{status}")
    assert found["is_transient"] is False
    return found


def refused(answer: Response) -> dict[str, str]:
    """Fields of a refused request, and the message of each."""
    found = error(answer, 400, "invalid_request_error", "invalid_request")
    fields = found["details"]["fields"]
    assert found["param"] == fields[0]["field"]
    return {fault["field"]: fault["message"] for fault in fields}


# ---- what is sent is what is seen --------------------------------------------------------------------


async def test_a_send_is_accepted_and_named(hub: RunningHub, http: Http, ann: str) -> None:
    answer = await send(http, ann)
    assert answer.status_code == 202
    assert answer.json() == {"object": "notification_send_result", "id": answer.json()["id"], "enqueued": 1}
    assert "idempotent-replayed" not in answer.headers
    (entry,) = (await hub.feed(ann))["items"]
    assert entry["id"] == answer.json()["id"]


async def test_every_field_has_its_place_in_the_entry(hub: RunningHub, http: Http, ann: str) -> None:
    session = await hub.connect(ann)
    entry = await sent(
        hub,
        http,
        ann,
        category="chat.mention",
        title="Ann, look",
        body="at this",
        priority="low",
        topic="team a",
        url="/chats/7?m=1#x",
        data={"n": 1, "nested": {"é": ["😀", None, 0.5, True]}},
        resource={"id": "7", "type": "chat", "name": "General", "handle": "#general"},
        expires_at="2099-12-31T23:59:59.123456+02:00",
        source_key="chat/7",
        channel="inbox",
    )
    assert entry["category"] == entry["notiflow_handle"] == "chat.mention"
    assert entry["priority"] == "low"
    assert entry["topic"] == "team a"
    assert entry["resource"] == {"id": "7", "type": "chat", "name": "General", "handle": "#general"}
    assert entry["expires_at"] == "2099-12-31T21:59:59.123Z"
    assert entry["data"] == {
        "n": 1,
        "nested": {"é": ["😀", None, 0.5, True]},
        "title": "Ann, look",
        "body": "at this",
        "action_url": "/chats/7?m=1#x",
    }
    assert (await session.next("entry"))["entry"] == entry


async def test_title_body_and_url_lie_over_the_producers_data(hub: RunningHub, http: Http, ann: str) -> None:
    data = {"title": "a", "body": "b", "action_url": "https://a.example", "x": 1}
    entry = await sent(hub, http, ann, title="A", data=data)
    assert entry["data"] == data | {"title": "A"}


@pytest.mark.parametrize(
    ("asked", "stored"), [("low", "low"), ("normal", "normal"), ("high", "high"), ("urgent", "high"), (..., "normal")]
)
async def test_urgent_is_stored_as_high(hub: RunningHub, http: Http, ann: str, asked: Any, stored: str) -> None:
    assert (await sent(hub, http, ann, priority=asked))["priority"] == stored


NOBODY = {"id": None, "external_id": None, "first_name": None, "last_name": None, "email": None, "avatar": None}


@pytest.mark.parametrize(
    ("sender", "actor"),
    [
        (..., None),
        (None, None),
        (
            {"id": "u1", "type": "user", "name": "Ann Lee Moe", "handle": "a@x.example", "avatar_url": "https://x/a"},
            {
                "id": "u1",
                "external_id": "u1",
                "first_name": "Ann",
                "last_name": "Lee Moe",
                "email": "a@x.example",
                "avatar": "https://x/a",
            },
        ),
        ({"id": "u1", "type": "user", "name": "Ann"}, NOBODY | {"id": "u1", "external_id": "u1", "first_name": "Ann"}),
        ({"id": "u1", "type": "user"}, NOBODY | {"id": "u1", "external_id": "u1"}),
        (
            {"id": "g", "type": "group", "name": "Customer Service", "avatar_url": "https://x/a"},
            NOBODY | {"first_name": "Customer Service"},
        ),
        ({"id": "a", "type": "agent", "name": "Bot"}, NOBODY | {"first_name": "Bot"}),
        ({"id": "k", "type": "api_key", "name": "CI", "handle": "sk_…9f"}, NOBODY | {"first_name": "CI"}),
        ({"id": "k", "type": "api_key"}, NOBODY),
    ],
    ids=str,
)
async def test_a_sender_becomes_the_actor(hub: RunningHub, http: Http, ann: str, sender: Any, actor: Any) -> None:
    assert (await sent(hub, http, ann, sender=sender))["actor"] == actor


async def test_without_a_channel_the_oldest_in_app_one_is_taken(hub: RunningHub, http: Http, billing: str) -> None:
    project = hub.hub.directory.project("default")
    assert project is not None
    names = {"inbox": ..., "inbox by name": "inbox", billing: billing, "by id": project.by_name[billing].id}
    for title, channel in names.items():
        assert (await send(http, "of channels", title=title, channel=channel)).status_code == 202
    assert await titles(hub, "of channels") == ["inbox by name", "inbox"]
    assert await titles(hub, "of channels", billing) == ["by id", billing]


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize("channel", ["nowhere", "push", UNKNOWN, "Inbox", "inbox\x00"])
async def test_a_channel_without_feeds_is_404(http: Http, ann: str, channel: str) -> None:
    found = error(await send(http, ann, channel=channel), 404, "invalid_request_error", "not_found")
    assert found["details"] == {"resource": "channel", "id": channel}


@pytest.mark.parametrize("name", ["a" * 256, "{ann}", "%7Bann%7D", "a/b:c|d", "' OR 1", "😀" * 200, " ", "null", "*"])
async def test_any_printable_text_is_a_user(hub: RunningHub, http: Http, name: str) -> None:
    assert (await sent(hub, http, name))["data"] == {"title": "hello"}


async def test_text_passes_unchanged_whatever_is_in_it(hub: RunningHub, http: Http, ann: str) -> None:
    odd = 'NUL \x00, newline \n, quote ", \\, </script>, }} ]] , %s {0} | 1 2, \u2028 😀 \ufffe'
    session = await hub.connect(ann, protocol="bellhub.v1.msgpack")
    entry = await sent(hub, http, ann, title=odd, body=odd, topic=odd, data={odd: odd})
    assert entry["topic"] == odd
    assert entry["data"] == {odd: odd, "title": odd, "body": odd}
    assert (await session.next("entry"))["entry"] == entry
    page = await session.ask("list", channel="inbox", topic=odd)
    assert page["entries"] == [entry]


# ---- limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"title": "x" * 1000},
        {"title": "😀" * 1000},
        {"body": ""},
        {"body": "x" * 10_000},
        {"category": "a" * 64},
        {"category": "_.0"},
        {"topic": "x" * 255},
        {"source_key": "x" * 255},
        {"url": "https://x.example/" + "x" * 2030},
        {"sender": {"id": "x" * 256, "type": "user", "name": "x" * 256, "handle": "x" * 256}},
        {"resource": {"id": "x" * 256, "type": "x" * 256, "name": "x" * 256, "handle": "x" * 256}},
        {"data": {"n": 2**53 - 1, "m": -(2**53 - 1), "f": 1e-300}},
        {"body": None, "topic": None, "url": None, "channel": None, "expires_at": None, "resource": None},
    ],
    ids=lambda more: str(more)[:40],
)
async def test_what_is_just_within_the_limits_is_accepted(
    hub: RunningHub, http: Http, ann: str, more: dict[str, Any]
) -> None:
    assert await sent(hub, http, ann, **more)


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ({"title": ...}, "title", "required"),
        ({"title": ""}, "title", "0 characters, at least 1"),
        ({"title": "x" * 1001}, "title", "1001 characters, at most 1000"),
        ({"title": None}, "title", "string"),
        ({"title": 5}, "title", "string"),
        ({"body": "x" * 10_001}, "body", "at most 10000"),
        ({"body": ["x"]}, "body", "string"),
        ({"category": ...}, "category", "required"),
        ({"category": ""}, "category", "{1,64}"),
        ({"category": "a" * 65}, "category", "{1,64}"),
        ({"category": "Order"}, "category", "[a-z0-9_.]"),
        ({"category": "a\n"}, "category", "[a-z0-9_.]"),
        ({"category": "a-b"}, "category", "[a-z0-9_.]"),
        ({"priority": "asap"}, "priority", "'low', 'normal', 'high' or 'urgent'"),
        ({"priority": 1}, "priority", "'low', 'normal', 'high' or 'urgent'"),
        ({"target": ...}, "target", "required"),
        ({"target": "ann"}, "target", "valid"),
        ({"target": {"type": "user"}}, "target.id", "required"),
        ({"target": {"type": "group", "id": "x"}}, "target.type", "'user'"),
        ({"target": {"type": "user", "id": 7}}, "target.id", "string"),
        ({"target": {"type": "user", "id": ""}}, "target.id", "at least 1"),
        ({"target": {"type": "user", "id": "x" * 257}}, "target.id", "257 characters, at most 256"),
        ({"target": {"type": "user", "id": "a\x00b"}}, "target.id", "control character"),
        ({"target": {"type": "user", "id": "x", "name": "y"}}, "target.name", "not permitted"),
        ({"topic": ""}, "topic", "at least 1"),
        ({"topic": "x" * 256}, "topic", "at most 255"),
        ({"source_key": ""}, "source_key", "at least 1"),
        ({"source_key": "x" * 256}, "source_key", "at most 255"),
        ({"channel": ""}, "channel", "at least 1"),
        ({"channel": "x" * 65}, "channel", "at most 64"),
        ({"url": ""}, "url", "at least 1"),
        ({"url": "/" + "x" * 2048}, "url", "at most 2048"),
        ({"data": [1]}, "data", "dictionary"),
        ({"data": "x"}, "data", "dictionary"),
        ({"sender": {"type": "user"}}, "sender.id", "required"),
        ({"sender": {"id": "x", "type": "robot"}}, "sender.type", "'agent'"),
        ({"sender": {"id": "x", "type": "user", "name": "x" * 257}}, "sender.name", "at most 256"),
        ({"sender": {"id": "x", "type": "user", "mail": "x"}}, "sender.mail", "not permitted"),
        ({"resource": {"id": "x"}}, "resource.type", "required"),
        ({"resource": {"id": "", "type": "x"}}, "resource.id", "at least 1"),
        ({"expires_at": "tomorrow"}, "expires_at", "'tomorrow' is not an RFC 3339 time"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at", "with Z or an offset"),
        ({"expires_at": "2099-02-30T00:00:00Z"}, "expires_at", "calendar"),
        ({"expires_at": 4070908800}, "expires_at", "string"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "future"),
        ({"colour": "red"}, "colour", "not permitted"),
        ({"data": {"n": 10**30}}, "body.data.n", "beyond ±9007199254740991"),
        ({"data": {"a": [0, {"b": "\ud800"}]}}, "body.data.a[1].b", "lone surrogate"),
        ({"title": "x\udc00"}, "body.title", "lone surrogate"),
        ({"data": {"\udc00": 1}}, "body.data.'\\udc00'", "lone surrogate"),
    ],
    ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
)
async def test_what_is_beyond_a_limit_is_refused_by_name(
    hub: RunningHub, http: Http, ann: str, more: dict[str, Any], field: str, words: str
) -> None:
    found = refused(await send(http, ann, **more))
    assert list(found) == [field]
    assert words in found[field]
    assert (await hub.feed(ann))["items"] == []


async def test_all_that_is_wrong_is_named_at_once(http: Http, ann: str) -> None:
    answer = await send(http, ann, title=5, priority="x", sender={"id": "", "type": "user", "x": 1})
    assert set(refused(answer)) == {"title", "priority", "sender.id", "sender.x"}


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "javascript\t:alert(1)",
        "\x01javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://x",
        "mailto:a@b.example",
    ],
)
@pytest.mark.parametrize("way", ["url", "data.action_url"])
async def test_a_link_leads_nowhere_but_to_pages(hub: RunningHub, http: Http, ann: str, way: str, link: str) -> None:
    """Both ways into `action_url`, which users click."""
    more: dict[str, Any] = {"url": link} if way == "url" else {"data": {"action_url": link}}
    assert refused(await send(http, ann, **more)) == {way: "must be http, https or relative"}
    assert (await hub.feed(ann))["items"] == []


async def test_a_link_inside_data_is_text(http: Http, ann: str) -> None:
    answer = await send(http, ann, data={"action_url": ["javascript:alert(1)"]})
    assert list(refused(answer)) == ["data.action_url"]


@pytest.mark.parametrize("link", ["https://x.example/a", "HTTP://x.example", "/a?b=javascript:c", "a/b:c", "#x", "?q"])
async def test_links_to_pages_are_accepted(hub: RunningHub, http: Http, ann: str, link: str) -> None:
    assert (await sent(hub, http, ann, url=link))["data"]["action_url"] == link


def nested(levels: int) -> Any:
    return {"x": nested(levels - 1)} if levels > 1 else {}


async def test_data_may_be_13_levels_deep_because_frames_are_at_most_16(hub: RunningHub, http: Http, ann: str) -> None:
    found = refused(await send(http, ann, data=nested(14)))
    assert list(found.values()) == ["depth 17, at most 16"]
    assert (await sent(hub, http, ann, data=nested(13)))["data"] == nested(13) | {"title": "hello"}
    session = await hub.connect(ann)
    assert depth(await session.ask("list", channel="inbox")) == 16


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, parts), default=0)
    return 0


async def test_an_entry_is_at_most_16_kib_with_everything_that_can_happen_to_it(
    hub: RunningHub, http: Http, ann: str
) -> None:
    """docs/api.md: "An entry is at most 16 KiB, encoded as the User API shows it"."""
    first = refused(await send(http, ann, data={"x": "é" * 9000}))
    size = int(first["data"].split()[0])
    fits = 9000 - (size - 16_384 + 1) // 2
    over = await send(http, ann, data={"x": "é" * (fits + 1)})
    assert refused(over) == {"data": f"{size - 2 * (9000 - fits - 1)} bytes, at most 16384"}
    entry = await sent(hub, http, ann, data={"x": "é" * fits})
    session = await hub.connect(ann, subscribe=False)
    for verb in ("click", "archive", "dismiss"):
        await session.ask(verb, channel="inbox", ids=[entry["id"]])
    async with hub.http() as client:
        path = f"/user/v1/channels/inbox/feed/entries/{entry['id']}"
        shown = await client.get(path, headers=hub.user_headers(ann))
    assert 16_384 - 1 <= len(shown.content) <= 16_384


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"data":{"x":NaN}}', "invalid_json"),
        (b'{"data":{"x":-Infinity}}', "invalid_json"),
        (b"\xff\xff", "invalid_json"),
        (b"[" * 60_000, "invalid_json"),
        (b" " * 65_537, "body_too_large"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_body_that_cannot_be_read_is_refused(http: Http, body: bytes, reason: str) -> None:
    answer = await http.post(SEND, content=body)
    found = error(answer, 400, "invalid_request_error", "invalid_request")
    assert found["details"] == {"reason": reason}
    assert found["param"] is None


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"null"])
async def test_a_body_is_an_object(http: Http, body: bytes) -> None:
    assert list(refused(await http.post(SEND, content=body))) == ["body"]


async def test_infinity_by_another_name_is_refused(http: Http, ann: str) -> None:
    body = json.dumps(notification(ann, data={"x": 7})).replace("7", "1e999")
    assert list(refused(await http.post(SEND, content=body))) == ["body.data.x"]


async def test_an_expiry_in_the_far_future_keeps_no_other_from_its_time(hub: RunningHub, http: Http, ann: str) -> None:
    session = await hub.connect(ann)
    await send(http, ann, expires_at="9999-12-31T23:59:59.999Z")
    soon = timestamp(int((time.time() + 0.5) * 1_000_000))
    expiring = (await send(http, ann, expires_at=soon)).json()["id"]
    gone = await session.next("gone")
    assert (gone["ids"], gone["reason"]) == ([expiring], "expired")
    assert gone["counts"]["total"] == 1


# ---- keys and their roles ----------------------------------------------------------------------------


async def key_of(hub: RunningHub, role: str, project: str = "default") -> tuple[SecretKey, dict[str, str]]:
    key, secret = new_secret_key(role)
    await hub.change_project(lambda p: add_secret_key(p, key), project)
    return key, {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Basic {sk}", "{sk}", "Bearer sk_dev", "Bearer {sk}x", "Bearer {pk}", "Bearer é"],
)
async def test_without_a_live_secret_key_nothing_is_sent(hub: RunningHub, ann: str, header: str | None) -> None:
    filled = None if header is None else header.replace("{sk}", hub.secret).replace("{pk}", hub.api_key)
    headers = {} if filled is None else {"authorization": filled.encode()}
    async with hub.http() as anybody:
        answers = [
            await send(anybody, ann, headers=headers),
            await anybody.delete(f"{SEND}/{UNKNOWN}", params={"user": ann}, headers=headers),
            await anybody.delete(SEND, params={"user": ann, "source_key": "x"}, headers=headers),
        ]
    for answer in answers:
        found = error(answer, 401, "invalid_request_error", "invalid_token")
        assert hub.secret not in answer.text
        assert found["details"] == {}
    assert (await hub.feed(ann))["items"] == []


async def test_a_user_token_is_no_secret_key(hub: RunningHub, ann: str) -> None:
    async with hub.http() as client:
        answer = await send(client, ann, headers={"authorization": f"Bearer {hub.token(ann)}"})
    error(answer, 401, "invalid_request_error", "invalid_token")


@pytest.mark.parametrize("role", ["owner", "sender", "alerts:create", "messaging:read,alerts:create"])
async def test_a_role_with_alerts_create_sends_and_takes_back(hub: RunningHub, ann: str, role: str) -> None:
    _, headers = await key_of(hub, role)
    async with hub.http() as client:
        entry_id = (await send(client, ann, headers=headers)).json()["id"]
        answer = await client.delete(f"{SEND}/{entry_id}", params={"user": ann}, headers=headers)
    assert answer.json()["ids"] == [entry_id]


@pytest.mark.parametrize("role", ["reader", "support", "messaging:update", "admin"])
async def test_a_role_without_it_is_403_and_says_what_is_missing(
    hub: RunningHub, http: Http, ann: str, role: str
) -> None:
    _, headers = await key_of(hub, role)
    entry_id = (await send(http, ann)).json()["id"]
    answers = [
        await http.post(SEND, content=b"{", headers=headers),  # judged before the body is
        await http.delete(f"{SEND}/{entry_id}", params={"user": ann}, headers=headers),
        await http.delete(SEND, headers=headers),
    ]
    for answer in answers:
        found = error(answer, 403, "invalid_request_error", "forbidden")
        assert found["details"] == {"required_scope": "alerts:create"}
    assert len((await hub.feed(ann))["items"]) == 1


async def test_a_retired_key_is_401(hub: RunningHub, ann: str) -> None:
    key, headers = await key_of(hub, "sender")
    async with hub.http() as client:
        assert (await send(client, ann, headers=headers)).status_code == 202
        await hub.change_project(lambda p: retire_key(p, key.id, time.time()))
        error(await send(client, ann, headers=headers), 401, "invalid_request_error", "invalid_token")


# ---- once --------------------------------------------------------------------------------------------


async def once(http: Http, user: str, key: str, **more: Any) -> Response:
    return await send(http, user, headers={"idempotency-key": key.encode()}, **more)


async def test_the_same_request_under_the_same_key_happens_once(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1: "Idempotent with Idempotency-Key header"."""
    first = await once(http, ann, "k", data={"a": 1, "b": [1, 2]})
    again = await once(http, ann, "k", data={"b": [1, 2], "a": 1})  # the same, however it is spelled
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await hub.feed(ann))["items"]) == 1


async def test_another_request_under_the_same_key_is_422(hub: RunningHub, http: Http, ann: str, billing: str) -> None:
    await once(http, ann, "k")
    others: list[dict[str, Any]] = [{"title": "other"}, {"channel": billing}, {"data": {"x": 1}}, {"priority": "high"}]
    for more in others:
        answer = await once(http, ann, "k", **more)
        found = error(answer, 422, "idempotency_error", "idempotency_key_reused")
        assert found["details"] == {"idempotency_key": "k"}
    assert await titles(hub, ann) == ["hello"]
    assert await titles(hub, ann, billing) == []


async def test_the_key_belongs_to_one_user_and_one_producer(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "The key belongs to one secret key and one target"."""
    _, other_producer = await key_of(hub, "sender")
    answers = [
        await once(http, ann, "k"),
        await once(http, f"bob, {ann}", "k", title="for bob"),
        await send(http, ann, headers=other_producer | {"idempotency-key": "k"}),
        await once(http, ann, "K"),
        await send(http, ann),
    ]
    assert len({answer.json()["id"] for answer in answers}) == 5
    assert not any("idempotent-replayed" in answer.headers for answer in answers)


@pytest.mark.parametrize(
    "wrong", [{"title": ""}, {"channel": "nowhere"}, {"expires_at": "2001-01-01T00:00:00Z"}, {"target": 1}]
)
async def test_a_refusal_is_remembered_with_its_key(http: Http, ann: str, wrong: Any) -> None:
    first, again = await once(http, ann, "k", **wrong), await once(http, ann, "k", **wrong)
    assert first.status_code in (400, 404)
    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


@pytest.mark.parametrize("other", [{}, {"title": "other"}, {"title": ""}, {"channel": "nowhere"}])
async def test_after_a_refusal_another_request_is_another_one(http: Http, ann: str, other: Any) -> None:
    await once(http, ann, "k", priority="x")
    answer = await once(http, ann, "k", **other)
    assert error(answer, 422, "idempotency_error", "idempotency_key_reused")["details"] == {"idempotency_key": "k"}


async def test_a_replay_after_the_entry_was_taken_back_sends_nothing(hub: RunningHub, http: Http, ann: str) -> None:
    first = (await once(http, ann, "k")).json()
    await http.delete(f"{SEND}/{first['id']}", params={"user": ann})
    assert (await once(http, ann, "k")).json() == first
    assert (await hub.feed(ann))["items"] == []


@pytest.mark.parametrize("key", ["", "x" * 256], ids=["empty", "256"])
async def test_a_key_has_1_to_255_characters(http: Http, ann: str, key: str) -> None:
    found = error(await once(http, ann, key), 400, "invalid_request_error", "invalid_request")
    assert (found["param"], found["details"]["reason"]) == ("Idempotency-Key", "invalid_param")
    assert f"{len(key)} characters, 1 to 255" in found["message"]
    assert (await once(http, ann, "x" * 255)).status_code == 202


async def test_twenty_at_once_under_one_key_are_one_entry(hub: RunningHub, http: Http, ann: str) -> None:
    session = await hub.connect(ann)
    answers = await asyncio.gather(*(once(http, ann, "k") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 19
    assert (await hub.feed(ann))["total_unseen"] == 1
    await send(http, ann, title="last")
    await session.first(lambda frame: frame["type"] == "entry" and frame["entry"]["data"]["title"] == "last")
    assert [f["type"] for f in session.frames].count("entry") == 2


async def test_without_a_key_every_send_is_another_entry(hub: RunningHub, http: Http, ann: str) -> None:
    for _ in range(3):
        await send(http, ann, source_key="same")
    assert len((await hub.feed(ann))["items"]) == 3


# ---- to several --------------------------------------------------------------------------------------


async def send_to(http: Http, users: list[Any], headers: dict[str, Any] | None = None, **more: Any) -> Response:
    return await send(http, "", headers, target={"type": "users", "ids": users}, **more)


async def test_a_send_to_several_is_one_entry_for_each(hub: RunningHub, http: Http, ann: str) -> None:
    users = [f"{ann}, {n}" for n in range(100)]
    session = await hub.connect(users[0])
    answer = await send_to(http, users, title="all of you")
    assert answer.status_code == 202
    found = answer.json()
    assert found == {"object": "notification_send_result", "ids": found["ids"], "enqueued": 100}
    assert len(set(found["ids"])) == 100
    assert (await session.next("entry"))["entry"]["id"] == found["ids"][0]
    for at in (0, 50, 99):
        (entry,) = (await hub.feed(users[at]))["items"]
        assert (entry["id"], entry["data"]) == (found["ids"][at], {"title": "all of you"})


async def test_who_is_named_twice_is_sent_to_once(hub: RunningHub, http: Http, ann: str) -> None:
    bob = f"bob, {ann}"
    answer = await send_to(http, [ann, bob, ann])
    assert (answer.json()["enqueued"], len(answer.json()["ids"])) == (2, 2)
    assert [len((await hub.feed(user))["items"]) for user in (ann, bob)] == [1, 1]


async def test_a_list_of_one_is_a_list(http: Http, ann: str) -> None:
    answer = (await send_to(http, [ann])).json()
    assert (answer["enqueued"], len(answer["ids"])) == (1, 1)


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ({"target": {"type": "users", "ids": []}}, "target.ids", "at least 1"),
        ({"target": {"type": "users", "ids": [str(n) for n in range(101)]}}, "target.ids", "at most 100 items"),
        ({"target": {"type": "users", "ids": ["{ann}", ""]}}, "target.ids.1", "at least 1"),
        ({"target": {"type": "users", "ids": ["{ann}", "x" * 257]}}, "target.ids.1", "257 characters"),
        ({"target": {"type": "users", "ids": ["{ann}", "a\x00"]}}, "target.ids.1", "control character"),
        ({"target": {"type": "users", "ids": ["{ann}", 7]}}, "target.ids.1", "string"),
        ({"target": {"type": "users", "ids": "{ann}"}}, "target.ids", "list"),
        ({"target": {"type": "users", "id": "{ann}"}}, "target.ids", "required"),
        ({"target": {"type": "users", "ids": ["{ann}"], "id": "{ann}"}}, "target.id", "not permitted"),
        ({"target": {"type": "user", "id": "{ann}", "ids": ["{ann}"]}}, "target.ids", "not permitted"),
        ({"target": {"type": "user", "ids": ["{ann}"]}}, "target.id", "required"),
        ({"title": ""}, "title", "at least 1"),
        ({"data": {"x": "x" * 16_384}}, "data", "at most 16384"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "future"),
    ],
    ids=lambda value: str(value)[:50].encode("unicode_escape").decode(),
)
async def test_a_list_with_anything_wrong_in_it_reaches_nobody(
    hub: RunningHub, http: Http, ann: str, more: dict[str, Any], field: str, words: str
) -> None:
    asked = {"target": {"type": "users", "ids": ["{ann}", "x"]}} | more
    found = refused(await send(http, ann, **json.loads(json.dumps(asked).replace("{ann}", ann))))
    assert list(found) == [field]
    assert words.lower() in found[field].lower()
    assert (await hub.feed(ann))["items"] == []


async def test_a_list_in_a_channel_that_is_not_there_is_404(hub: RunningHub, http: Http, ann: str) -> None:
    error(await send_to(http, [ann], channel="nowhere"), 404, "invalid_request_error", "not_found")


async def test_a_list_under_one_key_reaches_everybody_once(hub: RunningHub, http: Http, ann: str) -> None:
    users, key = [f"{ann}, {n}" for n in range(30)], {"idempotency-key": f"k {ann}"}
    answers = await asyncio.gather(*(send_to(http, users, key) for _ in range(5)))
    done = [answer for answer in answers if answer.status_code == 202]
    busy = [answer for answer in answers if answer.status_code == 409]
    assert done
    assert len(done) + len(busy) == 5
    assert len({answer.text for answer in done}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in done) == 1
    again = await send_to(http, users, key)
    assert (again.text, again.headers["idempotent-replayed"]) == (done[0].text, "true")
    for user, entry_id in zip(users, done[0].json()["ids"], strict=True):
        assert [item["id"] for item in (await hub.feed(user))["items"]] == [entry_id]


async def test_while_a_list_is_being_sent_its_key_is_taken(hub: RunningHub, http: Http, ann: str) -> None:
    redis, key = hub.hub.client, {"idempotency-key": f"k {ann}"}
    before = {name async for name in redis.scan_iter(match="{default}:idem:*")}
    first = await send_to(http, [ann], key)
    (record,) = {name async for name in redis.scan_iter(match="{default}:idem:*")} - before
    digest = (await redis.get(record)).split()[0].decode()
    await redis.set(record, f"{digest} running 9999999999999")
    busy = await send_to(http, [ann], key)
    assert busy.status_code == 409
    found = busy.json()["error"]
    assert (found["code"], found["is_transient"]) == ("conflict", True)
    assert found["details"] == {"reason": "idempotency_in_progress"}
    assert busy.headers["retry-after"] == "1"
    other = await send_to(http, [ann], key, title="other")
    error(other, 422, "idempotency_error", "idempotency_key_reused")
    # Its hub was killed: the key lapses, and each user still has what was sent, under the same id.
    await redis.set(record, f"{digest} running 1")
    again = await send_to(http, [ann], key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert len((await hub.feed(ann))["items"]) == 1


async def test_a_list_that_was_cut_short_reaches_those_it_did_not(hub: RunningHub, http: Http, ann: str) -> None:
    """A hub that died half way: what is left of the request is the records of the users that it reached."""
    redis, key = hub.hub.client, {"idempotency-key": f"k {ann}"}
    users = [f"{ann}, {n}" for n in range(6)]
    before = {name async for name in redis.scan_iter(match="{default}:idem:*")}
    first = (await send_to(http, users, key)).json()
    (record,) = {name async for name in redis.scan_iter(match="{default}:idem:*")} - before
    digest = (await redis.get(record)).split()[0].decode()
    await redis.set(record, f"{digest} running 1")
    for user in users[3:]:  # as if these had not been sent to
        tag = User("default", user).tag
        await redis.delete(*[name async for name in redis.scan_iter(match=f"{tag}:*")])
    again = await send_to(http, users, key)
    assert again.status_code == 202
    assert again.json()["ids"][:3] == first["ids"][:3]
    for user, entry_id in zip(users, again.json()["ids"], strict=True):
        assert [item["id"] for item in (await hub.feed(user))["items"]] == [entry_id]


async def test_one_key_is_another_for_one_and_for_several(hub: RunningHub, http: Http, ann: str) -> None:
    key = {"idempotency-key": f"k {ann}"}
    answers = [await send(http, ann, key), await send_to(http, [ann], key), await send(http, ann, key)]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert ["idempotent-replayed" in answer.headers for answer in answers] == [False, False, True]
    assert len((await hub.feed(ann))["items"]) == 2


async def test_a_list_that_was_refused_is_refused_again(http: Http, ann: str) -> None:
    key = {"idempotency-key": f"k {ann}"}
    first, again = await send_to(http, [ann, ""], key), await send_to(http, [ann, ""], key)
    assert (first.status_code, again.status_code) == (400, 400)
    assert (again.text, again.headers["idempotent-replayed"]) == (first.text, "true")
    error(await send_to(http, [ann], key), 422, "idempotency_error", "idempotency_key_reused")


# ---- senders that the project knows ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "given", "shown"),
    [
        ("agent", {}, ("Bot", None)),
        ("agent", {"name": "Botty", "handle": "x"}, ("Botty", "x")),
        ("api_key", {}, ("Bot", "{redacted}")),
        ("api_key", {"name": "CI", "handle": "{secret}"}, ("CI", "{redacted}")),
    ],
    ids=str,
)
async def test_a_key_or_agent_of_the_project_is_known_by_its_id(
    hub: RunningHub, http: Http, ann: str, kind: str, given: dict[str, str], shown: tuple[str, str | None]
) -> None:
    """Seed 1, handle: "For api_key actors: the redacted key value"."""
    key, secret = new_secret_key("sender", kind=kind, name="Bot")
    await hub.change_project(lambda p: add_secret_key(p, key))
    said = {name: value.format(secret=secret, redacted="") for name, value in given.items()}
    entry = await sent(hub, http, ann, sender={"id": key.id, "type": kind} | said)
    name, handle = shown
    handle = handle.format(redacted=key.redacted) if handle else None
    assert (entry["sender"]["name"], entry["sender"]["handle"]) == (name, handle)
    assert entry["actor"]["first_name"] == name
    assert secret not in str(entry)


@pytest.mark.parametrize("kind", ["user", "group", "agent"])
async def test_an_id_of_another_kind_is_not_that_key(hub: RunningHub, http: Http, ann: str, kind: str) -> None:
    key, _ = new_secret_key("sender", name="Bot")
    await hub.change_project(lambda p: add_secret_key(p, key))
    entry = await sent(hub, http, ann, sender={"id": key.id, "type": kind})
    assert (entry["sender"]["name"], entry["sender"]["handle"]) == (None, None)


# ---- taking back -------------------------------------------------------------------------------------


async def withdraw(http: Http, user: str, entry_id: str) -> Response:
    return await http.delete(f"{SEND}/{entry_id}", params={"user": user})


async def withdraw_source(http: Http, user: str, source_key: str) -> Response:
    return await http.delete(SEND, params={"user": user, "source_key": source_key})


async def test_an_entry_that_was_taken_back_leaves_every_session(hub: RunningHub, http: Http, ann: str) -> None:
    sessions = [await hub.connect(ann), await hub.connect(ann, protocol="bellhub.v1.msgpack")]
    keep, back = (await send(http, ann)).json()["id"], (await send(http, ann)).json()["id"]
    answer = await withdraw(http, ann, back)
    assert answer.status_code == 200
    assert answer.json() == {"object": "notification_withdraw_result", "ids": [back], "withdrawn": 1}
    for session in sessions:
        gone = await session.next("gone")
        assert (gone["ids"], gone["reason"]) == ([back], "withdrawn")
        assert gone["counts"] == {"unseen": 1, "unread": 1, "total": 1}
    assert [item["id"] for item in (await hub.feed(ann))["items"]] == [keep]


async def test_nothing_that_is_not_there_can_be_taken_back(hub: RunningHub, http: Http, ann: str) -> None:
    entry_id, bobs = (await send(http, ann)).json()["id"], (await send(http, f"bob, {ann}")).json()["id"]
    await withdraw(http, ann, entry_id)
    for unknown in (entry_id, bobs, UNKNOWN, "x", "%00", "x" * 100):
        found = error(await withdraw(http, ann, unknown), 404, "invalid_request_error", "not_found")
        assert found["details"]["resource"] == "notification"
    assert len((await hub.feed(f"bob, {ann}"))["items"]) == 1


async def test_an_entry_is_found_in_whatever_channel_and_state_it_is(
    hub: RunningHub, http: Http, ann: str, billing: str
) -> None:
    session = await hub.connect(ann, subscribe=False)
    await session.ask("subscribe", channel=billing)
    for verb in ("read", "archive", "dismiss"):
        entry_id = (await send(http, ann, channel=billing)).json()["id"]
        await session.ask(verb, channel=billing, ids=[entry_id])
        assert (await withdraw(http, ann, entry_id)).json()["withdrawn"] == 1
        assert (await session.next("gone"))["channel"] == billing


async def test_one_source_key_takes_back_all_that_was_sent_with_it(
    hub: RunningHub, http: Http, ann: str, billing: str
) -> None:
    """docs/api.md: "takes all that the user was sent with this source key, in all channels"."""
    bob = f"bob, {ann}"
    session = await hub.connect(ann)
    await session.ask("subscribe", channel=billing)
    ids = [
        (await send(http, ann, source_key="order/7", channel=channel)).json()["id"]
        for channel in ("inbox", "inbox", billing)
    ]
    other = (await send(http, ann, source_key="order/8")).json()["id"]
    await send(http, bob, source_key="order/7")
    await session.ask("dismiss", channel="inbox", ids=ids[:1])
    answer = await withdraw_source(http, ann, "order/7")
    assert answer.json() == {"object": "notification_withdraw_result", "ids": ids, "withdrawn": 3}
    first, second = await session.next("gone"), await session.next("gone")
    assert [(gone["channel"], gone["ids"]) for gone in (first, second)] == [("inbox", ids[:2]), (billing, ids[2:])]
    assert [item["id"] for item in (await hub.feed(ann))["items"]] == [other]
    assert len((await hub.feed(bob))["items"]) == 1


async def test_a_source_key_with_nothing_under_it_takes_back_nothing(http: Http, ann: str) -> None:
    await send(http, ann, source_key="k")
    assert (await withdraw_source(http, ann, "K")).json()["withdrawn"] == 0
    assert (await withdraw_source(http, ann, "k")).json()["withdrawn"] == 1
    assert (await withdraw_source(http, ann, "k")).json() == {
        "object": "notification_withdraw_result",
        "ids": [],
        "withdrawn": 0,
    }
    again = (await send(http, ann, source_key="k")).json()["id"]
    assert (await withdraw_source(http, ann, "k")).json()["ids"] == [again]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "user"),
        ({"source_key": "k"}, "user"),
        ({"user": "", "source_key": "k"}, "user"),
        ({"user": "x" * 257, "source_key": "k"}, "user"),
        ({"user": "a\x00", "source_key": "k"}, "user"),
        ({"user": "ann"}, "source_key"),
        ({"user": "ann", "source_key": ""}, "source_key"),
        ({"user": "ann", "source_key": "x" * 256}, "source_key"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_withdrawal_names_its_user_and_source_key(http: Http, params: dict[str, str], param: str) -> None:
    found = error(await http.delete(SEND, params=params), 400, "invalid_request_error", "invalid_request")
    assert (found["param"], found["details"]) == (param, {"reason": "invalid_param", "param": param})


async def test_a_withdrawal_by_id_needs_a_user(http: Http) -> None:
    found = error(await http.delete(f"{SEND}/{UNKNOWN}"), 400, "invalid_request_error", "invalid_request")
    assert found["param"] == "user"


# ---- two projects ------------------------------------------------------------------------------------


async def test_two_projects_share_nothing(hub: RunningHub, http: Http, ann: str) -> None:
    await hub.add_project("other")
    _, theirs = await key_of(hub, "owner", "other")
    session = await hub.connect(ann)
    shared = {"idempotency-key": "k"}
    ours = (await send(http, ann, headers=shared, source_key="s")).json()["id"]
    answer = await send(http, ann, headers=shared | theirs, source_key="s", title="theirs")
    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers
    assert await titles(hub, ann) == ["hello"]
    error(
        await http.delete(f"{SEND}/{ours}", params={"user": ann}, headers=theirs),
        404,
        "invalid_request_error",
        "not_found",
    )
    withdrawn = await http.delete(SEND, params={"user": ann, "source_key": "s"}, headers=theirs)
    assert withdrawn.json()["ids"] == [answer.json()["id"]]
    assert await titles(hub, ann) == ["hello"]
    last = (await send(http, ann, title="last")).json()["id"]
    await session.first(lambda frame: frame.get("entry", {}).get("id") == last)
    assert [frame["type"] for frame in session.frames] == ["welcome", "subscribed", "entry", "entry"]
