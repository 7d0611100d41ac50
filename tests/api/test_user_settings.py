"""The User API beside the feed: preferences, channel settings, push subscriptions (`docs/api.md`)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hub.profiles import PUSHES, user_id
from hub.projects import add_channel
from tests.api.admin_api import Admin, error_of, fields_of
from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL_ON = dict.fromkeys(("chat", "email", "in_app", "mobile_push", "sms", "web_push"), True)
ENDPOINT = {"endpoint": "https://push.example/1", "p256dh": "key", "auth": "secret"}
SUBSCRIPTIONS = "/channels/browser/subscriptions"

Response = httpx2.Response


class Own:
    """A user's own requests."""

    def __init__(self, http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
        self.http = http
        self.headers = headers

    async def ask(self, method: str, path: str, body: Any = None, /, **headers: str) -> Response:
        options = {} if body is None else {"json": body}
        return await self.http.request(method, f"/user/v1{path}", headers=self.headers | headers, **options)

    async def good(self, method: str, path: str, body: Any = None, /) -> Any:
        answer = await self.ask(method, path, body)
        assert 200 <= answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(shared_hub: RunningHub) -> RunningHub:
    for handle, kind, provider in (("push", "mobile_push", "fcm"), ("browser", "web_push", None)):
        await shared_hub.change_project(lambda p, h=handle, k=kind, v=provider: add_channel(p, h, k, v))
    return shared_hub


@pytest_asyncio.fixture(loop_scope="module")
async def own(hub: RunningHub, ann: str) -> AsyncIterator[Own]:
    async with hub.http() as http:
        yield Own(http, hub.user_headers(ann))


@pytest_asyncio.fixture(loop_scope="module")
async def admin(hub: RunningHub) -> AsyncIterator[Admin]:
    async with hub.http() as http:
        yield Admin(hub, http)


def push(identifier: str = "https://push.example/1", **settings: str) -> dict[str, Any]:
    return {"identifier": identifier, "settings": ENDPOINT | settings}


# ---- preferences -------------------------------------------------------------------------------------


async def test_who_chose_nothing_gets_everything_and_is_not_in_the_directory(own: Own, admin: Admin, ann: str) -> None:
    assert (await own.good("GET", "/preferences"))["channel_types"] == ALL_ON
    error_of(await admin.ask("GET", f"/users/{ann}"), 404, "not_found")


async def test_a_choice_makes_the_user_known_and_is_the_same_for_the_back_end(own: Own, admin: Admin, ann: str) -> None:
    answer = await own.good("PUT", "/preferences", {"channel_types": {"in_app": False}})
    assert answer["channel_types"] == ALL_ON | {"in_app": False}
    assert await own.good("GET", "/preferences") == answer
    assert await admin.good("GET", f"/users/{ann}/preferences") == answer
    assert (await admin.good("GET", f"/users/{ann}"))["id"] == user_id("default", ann)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"channel_types": {"in_app": 1}}, "channel_types.in_app"),
        ({"notiflows": {"nothing": {"enabled": False}}}, "notiflows.nothing"),
        ({"notiflows": {"nothing": {"name": "x"}}}, "notiflows.nothing.name"),
        ({"quiet_hours": {}}, "quiet_hours"),
    ],
)
async def test_a_choice_that_cannot_be_is_422_and_changes_nothing(
    own: Own, admin: Admin, ann: str, body: Any, field: str
) -> None:
    assert fields_of(await own.ask("PUT", "/preferences", body)) == [field]
    error_of(await admin.ask("GET", f"/users/{ann}"), 404, "not_found")


async def test_choices_at_the_same_time_are_all_kept(own: Own) -> None:
    await asyncio.gather(*(own.good("PUT", "/preferences", {"channel_types": {kind: False}}) for kind in ALL_ON))
    assert (await own.good("GET", "/preferences"))["channel_types"] == dict.fromkeys(ALL_ON, False)


# ---- channel settings --------------------------------------------------------------------------------


async def test_settings_are_put_read_and_deleted(own: Own, admin: Admin, ann: str) -> None:
    path = "/channels/push/settings"
    error_of(await own.ask("GET", path), 404, "not_found")
    put = await own.good("PUT", path, {"settings": {"device_tokens": ["t1"]}})
    assert put["settings"] == {"device_tokens": ["t1"]}
    assert await own.good("GET", path) == put
    assert await admin.good("GET", f"/users/{ann}/channel-settings/push") == put
    assert (await own.ask("DELETE", path)).status_code == 204
    error = error_of(await own.ask("DELETE", path), 404, "not_found")
    assert error["details"]["resource"] == "channel_settings"


async def test_deleting_what_is_not_there_makes_nobody_known(own: Own, admin: Admin, ann: str) -> None:
    error_of(await own.ask("DELETE", "/channels/push/settings"), 404, "not_found")
    error_of(await own.ask("DELETE", SUBSCRIPTIONS, {"identifier": "x"}), 404, "not_found")
    error_of(await admin.ask("GET", f"/users/{ann}"), 404, "not_found")


async def test_an_in_app_channel_takes_no_settings(own: Own) -> None:
    assert fields_of(await own.ask("PUT", "/channels/inbox/settings", {"settings": {}})) == ["settings"]


# ---- push subscriptions ------------------------------------------------------------------------------


async def test_a_push_subscription_is_201_then_updated_in_place(own: Own, hub: RunningHub) -> None:
    assert await own.good("GET", SUBSCRIPTIONS) == {"items": []}
    first = await own.ask("POST", SUBSCRIPTIONS, push())
    assert first.status_code == 201
    made = first.json()
    project = hub.hub.directory.project("default")
    assert project is not None
    assert made == {
        "id": made["id"],
        "channel_id": project.by_name["browser"].id,
        "identifier": "https://push.example/1",
        "settings": ENDPOINT,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    second = await own.ask("POST", SUBSCRIPTIONS, push(auth="another"))
    assert second.status_code == 200
    assert second.json()["id"] == made["id"]
    assert second.json()["settings"] == ENDPOINT | {"auth": "another"}
    assert await own.good("GET", SUBSCRIPTIONS) == {"items": [second.json()]}


async def test_a_push_subscription_is_deleted_by_its_identifier_in_the_body(own: Own) -> None:
    for identifier in ("one", "two"):
        await own.good("POST", SUBSCRIPTIONS, push(identifier))
    assert (await own.ask("DELETE", SUBSCRIPTIONS, {"identifier": "one"})).status_code == 204
    assert [item["identifier"] for item in (await own.good("GET", SUBSCRIPTIONS))["items"]] == ["two"]
    error = error_of(await own.ask("DELETE", SUBSCRIPTIONS, {"identifier": "one"}), 404, "not_found")
    assert error["details"] == {"resource": "channel_subscription", "id": "one"}


async def test_push_subscriptions_of_a_channel_have_a_limit(own: Own) -> None:
    await asyncio.gather(*(own.good("POST", SUBSCRIPTIONS, push(f"{number}")) for number in range(PUSHES)))
    answer = await own.ask("POST", SUBSCRIPTIONS, push("one more"))
    assert fields_of(answer) == ["identifier"]
    assert str(PUSHES) in answer.json()["error"]["message"]
    assert len((await own.good("GET", SUBSCRIPTIONS))["items"]) == PUSHES
    assert (await own.ask("POST", SUBSCRIPTIONS, push("0", auth="new"))).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"settings": ENDPOINT}, "identifier"),
        ({"identifier": "", "settings": ENDPOINT}, "identifier"),
        ({"identifier": "a"}, "settings"),
        ({"identifier": "a", "settings": ENDPOINT | {"endpoint": "http://push.example"}}, "settings.endpoint"),
        ({"identifier": "a", "settings": {"endpoint": "https://push.example", "auth": "a"}}, "settings.p256dh"),
        ({"identifier": "a", "settings": ENDPOINT | {"more": "x"}}, "settings.more"),
    ],
)
async def test_a_bad_push_subscription_is_422(own: Own, body: Any, field: str) -> None:
    assert fields_of(await own.ask("POST", SUBSCRIPTIONS, body)) == [field]
    assert await own.good("GET", SUBSCRIPTIONS) == {"items": []}


async def test_only_web_push_channels_have_push_subscriptions(own: Own) -> None:
    assert fields_of(await own.ask("POST", "/channels/inbox/subscriptions", push())) == ["settings"]
    assert await own.good("GET", "/channels/inbox/subscriptions") == {"items": []}


async def test_a_push_subscription_under_a_key_answers_the_same_again(own: Own, ann: str) -> None:
    first = await own.ask("POST", SUBSCRIPTIONS, push(), **{"idempotency-key": ann})
    await own.good("DELETE", SUBSCRIPTIONS, {"identifier": push()["identifier"]})
    again = await own.ask("POST", SUBSCRIPTIONS, push(), **{"idempotency-key": ann})
    assert (again.status_code, again.text) == (201, first.text)
    assert again.headers["idempotent-replayed"] == "true"
    assert await own.good("GET", SUBSCRIPTIONS) == {"items": []}


# ---- who, and where ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "settings"),
        ("PUT", "settings"),
        ("DELETE", "settings"),
        ("GET", "subscriptions"),
        ("POST", "subscriptions"),
        ("DELETE", "subscriptions"),
    ],
)
async def test_an_unknown_channel_is_404_before_the_body_is_looked_at(own: Own, method: str, path: str) -> None:
    error = error_of(await own.ask(method, f"/channels/nowhere/{path}"), 404, "not_found")
    assert error["details"] == {"resource": "channel", "id": "nowhere"}


async def test_what_is_ones_own_is_nobody_elses(own: Own, hub: RunningHub, ann: str) -> None:
    await own.good("PUT", "/preferences", {"channel_types": {"in_app": False}})
    await own.good("PUT", "/channels/push/settings", {"settings": {"device_tokens": ["t1"]}})
    await own.good("POST", SUBSCRIPTIONS, push())
    other = Own(own.http, hub.user_headers(f"not-{ann}"))
    assert (await other.good("GET", "/preferences"))["channel_types"] == ALL_ON
    error_of(await other.ask("GET", "/channels/push/settings"), 404, "not_found")
    assert await other.good("GET", SUBSCRIPTIONS) == {"items": []}


async def test_nobody_comes_in_without_a_token(own: Own, hub: RunningHub) -> None:
    nobody = Own(own.http, {"x-notiflows-api-key": hub.api_key})
    for path in ("/preferences", "/channels/push/settings", SUBSCRIPTIONS):
        assert error_of(await nobody.ask("GET", path), 401, "unauthenticated")["details"] == {"auth": "user_key"}


async def test_the_api_is_under_both_prefixes(own: Own) -> None:
    answer = await own.http.get("/api/user/v1/preferences", headers=own.headers)
    assert answer.json() == await own.good("GET", "/preferences")
