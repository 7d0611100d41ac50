"""Announcements over HTTP: one request, every user of the project. Each test has a project of its own."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hub.announcements import MOST
from hub.auth import new_secret_key
from hub.model import timestamp
from hub.projects import add_channel, add_secret_key, add_signing_key
from tests.harness import SIGNING_KEY, RunningHub, until

ANNOUNCEMENTS = "/v1/messaging/announcements"
FEED = "/user/v1/channels/inbox/feed"
UNKNOWN = "0198f000-0000-7000-8000-000000000000"
DAY_US = 24 * 3600 * 1_000_000
SOON_US = 1_500_000

Response = httpx2.Response

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1)


@dataclass
class Tenant:
    """A project, as its producers and users reach it through a hub."""

    hub: RunningHub
    id: str
    api_key: str
    http: httpx2.AsyncClient
    secret: str

    @classmethod
    async def open(cls, hub: RunningHub, http: httpx2.AsyncClient) -> "Tenant":
        project = await hub.add_project(f"tenant-{next(_numbers)}")
        key, secret = new_secret_key("owner")
        await hub.change_project(lambda p: add_secret_key(add_signing_key(p, SIGNING_KEY), key), project.id)
        return cls(hub, project.id, project.api_key, http, secret)

    async def key(self, role: str) -> dict[str, str]:
        """Headers of a new secret key."""
        key, secret = new_secret_key(role)
        await self.hub.change_project(lambda p: add_secret_key(p, key), self.id)
        return {"authorization": f"Bearer {secret}"}

    @property
    def producer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}

    def as_user(self, name: str) -> dict[str, str]:
        """Of the Messaging API."""
        return {"x-notiflows-api-key": self.api_key, "authorization": f"Bearer {self.hub.token(name)}"}

    async def ask(self, method: str, path: str = "", headers: dict[str, str] | None = None, **more: Any) -> Response:
        return await self.http.request(method, ANNOUNCEMENTS + path, headers=headers or self.producer, **more)

    async def post(self, headers: dict[str, str] | None = None, **fields: Any) -> Response:
        least = {"category": "system.news", "title": "News"}
        body = {name: value for name, value in (least | fields).items() if value is not ...}
        return await self.ask("POST", headers=self.producer | (headers or {}), json=body)

    async def announce(self, **fields: Any) -> dict[str, Any]:
        answer = await self.post(**fields)
        assert answer.status_code in (201, 202), answer.text
        return answer.json()

    async def user(self, method: str, path: str, name: str, **more: Any) -> Response:
        headers = {"x-notiflows-api-key": self.api_key, "x-notiflows-user-key": self.hub.token(name)}
        return await self.http.request(method, FEED + path, headers=headers, **more)

    async def entries(self, name: str, **query: Any) -> list[dict[str, Any]]:
        answer = await self.user("GET", "/entries", name, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]


@pytest_asyncio.fixture(loop_scope="module")
async def http(shared_hub: RunningHub) -> AsyncIterator[httpx2.AsyncClient]:
    async with shared_hub.http() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def tenant(shared_hub: RunningHub, http: httpx2.AsyncClient) -> Tenant:
    return await Tenant.open(shared_hub, http)


def ids(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["id"] for entry in entries]


def in_us(micros: int) -> str:
    """A time that lies so far ahead."""
    return timestamp(int(time.time() * 1_000_000) + micros)


def error(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    return answer.json()["error"]


# ---- announcing --------------------------------------------------------------------------------------


async def test_an_announcement_is_201_and_shows_everything_it_was_given(tenant: Tenant) -> None:
    sender = {"id": "bob", "type": "user", "name": "Bob", "handle": "bob@example.com", "avatar_url": None}
    resource = {"id": "7", "type": "release", "name": "Seven", "handle": None}
    said = {"body": "b", "url": "/7", "topic": "t", "data": {"n": 1}, "sender": sender, "resource": resource}
    answer = await tenant.post(priority="urgent", **said)
    assert answer.status_code == 201
    made = answer.json()
    published = made["published_at"]
    assert made == said | {
        "object": "announcement",
        "id": made["id"],
        "status": "published",
        "channel": "inbox",
        "category": "system.news",
        "title": "News",
        "priority": "high",
        "publish_at": published,
        "published_at": published,
        "expires_at": made["expires_at"],
        "withdrawn_at": None,
        "created_at": published,
    }
    assert (await tenant.ask("GET", f"/{made['id']}")).json() == made


async def test_every_user_finds_it_in_the_feed_like_any_entry(tenant: Tenant) -> None:
    made = await tenant.announce(body="All of you")
    for name in ("ann", "bob"):
        (entry,) = await tenant.entries(name)
        assert (entry["id"], entry["status"], entry["created_at"]) == (made["id"], "unseen", made["published_at"])
        assert entry["data"] == {"title": "News", "body": "All of you"}
        assert (await tenant.user("GET", "/counts", name)).json()["unseen"] == 1


async def test_users_mark_it_through_every_door_and_others_keep_theirs(tenant: Tenant) -> None:
    made = await tenant.announce()
    patched = await tenant.user("PATCH", f"/entries/{made['id']}", "ann", json={"read": True})
    assert (patched.status_code, patched.json()["status"]) == (200, "read")
    seen = await tenant.http.post(
        f"/v1/messaging/notifications/{made['id']}/actions/seen", headers=tenant.as_user("bob")
    )
    assert (seen.status_code, seen.json()["status"], seen.json()["created_at"]) == (200, "seen", made["published_at"])
    all_read = await tenant.user("POST", "/mark-all", "cay", json={"verb": "read"})
    assert all_read.status_code == 200, all_read.text
    statuses = [(await tenant.entries(name))[0]["status"] for name in ("ann", "bob", "cay", "dan")]
    assert statuses == ["read", "seen", "read", "unseen"]


async def test_a_key_that_acts_for_a_user_sees_it_too(tenant: Tenant) -> None:
    made = await tenant.announce()
    headers = tenant.producer | {"x-bellhub-user": "ann"}
    listed = await tenant.http.get("/v1/messaging/notifications", headers=headers)
    assert ids(listed.json()["data"]) == [made["id"]]
    counted = await tenant.http.get("/v1/messaging/notifications/unread-count", headers=headers)
    assert counted.json()["notifications"] == 1


async def test_it_goes_to_the_channel_it_names(tenant: Tenant) -> None:
    project = await tenant.hub.change_project(lambda p: add_channel(p, "billing", "in_app", None), tenant.id)
    made = await tenant.announce(channel=project.by_name["billing"].id)
    assert made["channel"] == "billing"
    assert await tenant.entries("ann") == []
    error(await tenant.post(channel="nowhere"), 404, "not_found")


async def test_a_scheduled_one_is_202_and_appears_by_itself(tenant: Tenant) -> None:
    at = in_us(SOON_US)
    answer = await tenant.post(publish_at=at)
    made = answer.json()
    assert (answer.status_code, made["status"], made["publish_at"], made["published_at"]) == (
        202,
        "scheduled",
        at,
        None,
    )
    assert await tenant.entries("ann") == []
    phone = await tenant.hub.connect()
    await phone.send("auth", api_key=tenant.api_key, token=tenant.hub.token("ann"))
    await phone.ask("subscribe", channel="inbox")
    entry = (await phone.next("entry"))["entry"]
    assert entry["id"] == made["id"]
    found = (await tenant.ask("GET", f"/{made['id']}")).json()
    assert (found["status"], found["publish_at"]) == ("published", at)
    assert entry["created_at"] == found["published_at"] >= at
    await phone.close()


async def test_it_is_over_when_it_expires(tenant: Tenant) -> None:
    made = await tenant.announce(expires_at=in_us(SOON_US))
    assert ids(await tenant.entries("ann")) == [made["id"]]
    async with asyncio.timeout(10):
        while (await tenant.ask("GET", f"/{made['id']}")).json()["status"] != "expired":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await tenant.entries("ann") == await tenant.entries("bob") == []


# ---- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"title": ...}, "title", "missing"),
        ({"category": "No"}, "category", "string_pattern_mismatch"),
        ({"target": {"type": "user", "id": "ann"}}, "target", "extra_forbidden"),
        ({"source_key": "k"}, "source_key", "extra_forbidden"),
        ({"url": "javascript:alert(1)"}, "url", "scheme"),
        ({"publish_at": "soon"}, "publish_at", "timestamp"),
        ({"publish_at": "2020-01-01T00:00:00Z"}, "publish_at", "past"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "past"),
        ({"publish_at": "1969-01-01T00:00:00Z"}, "publish_at", "past"),
        ({"expires_at": "9999-01-01T00:00:00Z"}, "expires_at", "too_far"),
        ({"publish_at": "9999-01-01T00:00:00Z"}, "publish_at", "too_far"),
        ({"data": {"x": "y" * 17_000}}, "data", "too_large"),
    ],
)
async def test_what_cannot_be_announced_is_400_and_names_the_field(
    tenant: Tenant, fields: dict[str, Any], param: str, reason: str
) -> None:
    refused = error(await tenant.post(**fields), 400, "invalid_request")
    assert (refused["param"], refused["details"]["fields"][0]["reason"]) == (param, reason)
    assert (await tenant.ask("GET")).json()["data"] == []


async def test_the_largest_entry_counts_the_time_that_it_will_be_given(tenant: Tenant) -> None:
    refused = error(await tenant.post(data={"x": "y" * 16_384}), 400, "invalid_request")
    excess = int(refused["details"]["fields"][0]["message"].split()[0]) - 16_384
    assert (await tenant.post(data={"x": "y" * (16_384 - excess)})).status_code == 201
    error(await tenant.post(data={"x": "y" * (16_385 - excess)}), 400, "invalid_request")
    entry = (await tenant.user("GET", "/entries", "ann")).text.removeprefix('{"items":[').partition('],"page"')[0]
    assert len(entry) <= 16_384


async def test_too_many_at_a_time_are_429(tenant: Tenant) -> None:
    await asyncio.gather(*(tenant.announce() for _ in range(MOST)))
    refused = await tenant.post()
    error(refused, 429, "limit")
    assert str(MOST) in refused.json()["error"]["message"]


async def test_a_user_may_not_announce_or_withdraw(tenant: Tenant) -> None:
    made = await tenant.announce()
    body = {"category": "system.news", "title": "News"}
    for answer in (
        await tenant.ask("POST", headers=tenant.as_user("ann"), json=body),
        await tenant.ask("DELETE", f"/{made['id']}", headers=tenant.as_user("ann")),
    ):
        assert error(answer, 403, "forbidden")["details"]["required_scope"] == "alerts:create"
    assert len((await tenant.ask("GET")).json()["data"]) == 1


async def test_each_operation_needs_its_permission(tenant: Tenant) -> None:
    made = await tenant.announce()
    reader, sender = await tenant.key("reader"), await tenant.key("sender")
    body = {"category": "system.news", "title": "News"}
    one = f"/{made['id']}"
    assert (await tenant.ask("GET", headers=reader)).status_code == 200
    assert (await tenant.ask("GET", one, headers=reader)).status_code == 200
    for method, path, headers in (
        ("POST", "", reader),
        ("DELETE", one, reader),
        ("GET", "", sender),
        ("GET", one, sender),
    ):
        answer = await tenant.ask(method, path, headers=headers, json=body if method == "POST" else None)
        error(answer, 403, "forbidden")
    assert (await tenant.ask("DELETE", one, headers=sender)).status_code == 200


async def test_users_see_only_what_is_published(tenant: Tenant) -> None:
    shown = await tenant.announce()
    planned = await tenant.announce(publish_at=in_us(DAY_US))
    gone = await tenant.announce()
    await tenant.ask("DELETE", f"/{gone['id']}")
    listed = await tenant.ask("GET", headers=tenant.as_user("ann"))
    assert ids(listed.json()["data"]) == [shown["id"]]
    assert (await tenant.ask("GET", f"/{shown['id']}", headers=tenant.as_user("ann"))).status_code == 200
    for hidden in (planned, gone):
        refused = await tenant.ask("GET", f"/{hidden['id']}", headers=tenant.as_user("ann"))
        assert error(refused, 404, "not_found")["details"] == {"resource": "announcement", "id": hidden["id"]}


async def test_another_projects_announcement_is_not_there(
    tenant: Tenant, shared_hub: RunningHub, http: httpx2.AsyncClient
) -> None:
    other = await Tenant.open(shared_hub, http)
    made = await tenant.announce()
    for method in ("GET", "DELETE"):
        error(await other.ask(method, f"/{made['id']}"), 404, "not_found")
        error(await tenant.ask(method, f"/{UNKNOWN}"), 404, "not_found")
    assert (await other.ask("GET")).json()["data"] == await other.entries("ann") == []
    assert (await tenant.ask("GET", f"/{made['id']}")).json()["status"] == "published"


# ---- taking back -------------------------------------------------------------------------------------


async def test_a_withdrawn_one_leaves_the_feeds_that_have_it_and_no_other_gets_it(tenant: Tenant) -> None:
    made = await tenant.announce()
    assert len(await tenant.entries("ann")) == 1
    first = await tenant.ask("DELETE", f"/{made['id']}")
    assert (first.status_code, first.json()["status"]) == (200, "withdrawn")
    assert first.json()["withdrawn_at"] >= made["published_at"]
    assert await tenant.entries("ann") == await tenant.entries("bob") == []
    again = await tenant.ask("DELETE", f"/{made['id']}")
    assert (again.status_code, again.json()) == (200, first.json())


async def test_one_that_was_only_planned_never_comes(tenant: Tenant) -> None:
    made = await tenant.announce(publish_at=in_us(SOON_US))
    await tenant.ask("DELETE", f"/{made['id']}")
    marker = await tenant.announce(publish_at=in_us(SOON_US))
    async with asyncio.timeout(10):
        while not (found := await tenant.entries("ann")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert ids(found) == [marker["id"]]
    assert (await tenant.ask("GET", f"/{made['id']}")).json()["published_at"] is None


async def test_one_user_can_be_spared_it(tenant: Tenant) -> None:
    made = await tenant.announce()
    await tenant.entries("ann")
    one = f"/v1/messaging/notifications/{made['id']}"
    taken = await tenant.http.delete(one, params={"user": "ann"}, headers=tenant.producer)
    assert taken.json()["withdrawn"] == 1
    assert await tenant.entries("ann") == []
    assert ids(await tenant.entries("bob")) == [made["id"]]


# ---- lists -------------------------------------------------------------------------------------------


async def test_the_list_is_in_pages_the_last_one_made_first(tenant: Tenant) -> None:
    made = [await tenant.announce(title=str(number)) for number in range(5)]
    page = (await tenant.ask("GET", "?limit=2")).json()
    assert page["object"] == "list"
    assert page["page_info"]["has_prev_page"] is False
    found, urls = ids(page["data"]), []
    while page["page_info"]["has_next_page"]:
        urls.append(page["page_info"]["next_page_url"])
        page = (await tenant.http.get(urls[-1], headers=tenant.producer)).json()
        found += ids(page["data"])
    assert found == [one["id"] for one in reversed(made)]
    assert page["page_info"]["next_page_url"] is None
    back = (await tenant.http.get(page["page_info"]["previous_page_url"], headers=tenant.producer)).json()
    assert ids(back["data"]) == [made[2]["id"], made[1]["id"]]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=", "cursor=zz", "cursor=aMSBi%00"])
async def test_a_wrong_parameter_is_400_and_named(tenant: Tenant, query: str) -> None:
    refused = error(await tenant.ask("GET", f"?{query}"), 400, "invalid_request")
    assert refused["param"] == query.partition("=")[0]


# ---- once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"x-bellhub-user": "ann"}])
async def test_under_one_key_it_is_announced_once(tenant: Tenant, more: dict[str, str]) -> None:
    key = {"idempotency-key": "k1"} | more
    first = await tenant.post(key, body="b")
    await tenant.ask("DELETE", f"/{first.json()['id']}")
    again = await tenant.post(key, body="b")
    assert (again.status_code, again.text) == (201, first.text)
    assert (again.headers["idempotent-replayed"], "idempotent-replayed" in first.headers) == ("true", False)
    reused = error(await tenant.post(key, body="another"), 422, "idempotency_key_reused")
    assert reused["details"]["idempotency_key"] == "k1"
    assert len((await tenant.ask("GET")).json()["data"]) == 1


async def test_many_at_once_under_one_key_are_one(tenant: Tenant) -> None:
    answers = await asyncio.gather(*(tenant.post({"idempotency-key": "k2"}) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await tenant.entries("ann")) == 1


async def test_a_refusal_is_remembered_and_a_limit_is_not(tenant: Tenant) -> None:
    key = {"idempotency-key": "k3"}
    first = await tenant.post(key, title="")
    again = await tenant.post(key, title="")
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.headers["idempotent-replayed"] == "true"


# ---- memory ------------------------------------------------------------------------------------------


async def test_a_deleted_projects_announcements_are_forgotten(tenant: Tenant, shared_hub: RunningHub) -> None:
    from hub.app import store_client
    from hub.projects import Projects

    await tenant.announce()
    live = shared_hub.hub.store.live
    assert live.version(tenant.id)
    client = store_client(shared_hub.settings.redis_url or "")
    await Projects(client).delete(tenant.id)
    assert [key async for key in client.scan_iter(match=f"{{{tenant.id}}}*")] == []
    await client.aclose()
    await until(lambda: shared_hub.hub.directory.project(tenant.id) is None)
    await until(lambda: not live.version(tenant.id))
    live.replace(tenant.id, "1-5", ())  # what an answer does that was under way when the project went
    shared_hub.hub.announcements.ring()
    await until(lambda: not live.version(tenant.id))


# ---- as notifications --------------------------------------------------------------------------------


async def test_the_messaging_api_lists_counts_and_marks_what_was_announced(tenant: Tenant) -> None:
    """Also for a user who was never heard of: whoever asks first has it."""
    made = await tenant.announce(body="for all", sender={"id": "a", "type": "agent", "name": "Bot"})

    async def ask(method: str, path: str = "", name: str = "ann") -> dict[str, Any]:
        address = f"/v1/messaging/notifications{path}"
        answer = await tenant.http.request(method, address, headers=tenant.as_user(name))
        assert answer.status_code == 200, answer.text
        return answer.json()

    one = {"notifications": 1, "conversations": 0, "total": 1}
    assert await ask("GET", "/unread-count", "bob") == one
    assert (await ask("GET", "/unread-summary", "eve"))["total"] == 1
    (found,) = (await ask("GET", "?include=sender"))["data"]
    assert {name: found[name] for name in ("id", "title", "body", "category", "status", "created_at")} == {
        "id": made["id"],
        "title": "News",
        "body": "for all",
        "category": "system.news",
        "status": "unseen",
        "created_at": made["published_at"],
    }
    assert (found["sender"]["type"], found["sender"]["name"]) == ("agent", "Bot")
    assert (await ask("POST", f"/{made['id']}/actions/dismiss", "zoe"))["status"] == "dismissed"
    await ask("POST", "/actions/mark-all-seen", "tim")
    assert (await ask("GET", f"/{made['id']}", "tim"))["status"] == "seen"
    assert (await ask("GET", "/unread-count"))["total"] == 1


async def test_an_announcing_key_of_the_project_is_shown_redacted(tenant: Tenant) -> None:
    """Seed 1, handle: "For api_key actors: the redacted key value"."""
    key, secret = new_secret_key("sender", name="CI")
    await tenant.hub.change_project(lambda p: add_secret_key(p, key), tenant.id)
    made = await tenant.announce(sender={"id": key.id, "type": "api_key", "handle": secret})
    (entry,) = await tenant.entries("ann")
    assert (entry["sender"]["name"], entry["sender"]["handle"]) == ("CI", key.redacted)
    assert (made["sender"]["name"], made["sender"]["handle"]) == ("CI", key.redacted)
