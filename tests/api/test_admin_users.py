"""The Admin API's users, preferences and channel settings, over HTTP (`docs/api.md`, Users)."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from hub import auth
from hub.api.requests import ADMIN_BODY_BYTES
from hub.app import store_client
from hub.keys import User
from hub.profiles import CUSTOM_BYTES, DOCUMENT_BYTES, user_id
from hub.projects import Projects, add_channel, add_secret_key
from tests.api.admin_api import Admin, error_of, fields_of
from tests.harness import RedisServer, RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ALL_ON = dict.fromkeys(("chat", "email", "in_app", "mobile_push", "sms", "web_push"), True)
FULL = {
    "email": "ann@example.com",
    "first_name": "Ann",
    "last_name": "Ågren",
    "phone": "+4670123456",
    "avatar": "https://example.com/ann.png",
    "locale": "sv-SE",
    "timezone": "Europe/Stockholm",
    "custom_fields": {"plan": "pro"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(shared_hub: RunningHub) -> RunningHub:
    """With a channel of every kind that takes settings."""
    for handle, kind, provider in (("push", "mobile_push", "fcm"), ("slack", "chat", "slack"), ("mail", "email", None)):
        await shared_hub.change_project(lambda p, h=handle, k=kind, v=provider: add_channel(p, h, k, v))
    return shared_hub


@pytest_asyncio.fixture(loop_scope="module")
async def admin(hub: RunningHub) -> AsyncIterator[Admin]:
    async with hub.http() as http:
        yield Admin(hub, http)


async def tenant(hub: RunningHub, project_id: str) -> dict[str, str]:
    """The keys of another project's owner."""
    project = await hub.add_project(project_id)
    key, secret = auth.new_secret_key("owner")
    await hub.change_project(lambda p: add_secret_key(p, key), project_id)
    return {"x-notiflows-api-key": project.api_key, "x-notiflows-secret-key": secret}


def channel_id(hub: RunningHub, handle: str) -> str:
    project = hub.hub.directory.project("default")
    assert project is not None
    return project.by_name[handle].id


# ---- upsert, retrieve --------------------------------------------------------------------------------


async def test_an_upsert_creates_with_201_and_updates_with_200(admin: Admin, ann: str) -> None:
    first = await admin.ask("PUT", f"/users/{ann}", FULL)
    assert first.status_code == 201
    user = first.json()
    assert {key: user[key] for key in FULL} == FULL
    assert user.keys() == FULL.keys() | {"id", "external_id", "created_at", "updated_at"}
    assert (user["id"], user["external_id"]) == (user_id("default", ann), ann)
    assert RFC3339.fullmatch(user["created_at"])
    assert user["updated_at"] == user["created_at"]
    second = await admin.ask("PUT", f"/users/{ann}", {"first_name": "Anna"})
    assert second.status_code == 200
    assert second.json() == user | {"first_name": "Anna", "updated_at": second.json()["updated_at"]}
    assert await admin.good("GET", f"/users/{ann}") == second.json()


async def test_an_empty_upsert_makes_a_user_of_whom_nothing_is_known(admin: Admin, ann: str) -> None:
    user = await admin.good("PUT", f"/users/{ann}", {})
    assert user["custom_fields"] == {}
    assert all(user[key] is None for key in FULL if key != "custom_fields")


async def test_custom_fields_are_merged_and_null_removes(admin: Admin, ann: str) -> None:
    await admin.good("PUT", f"/users/{ann}", {"custom_fields": {"a": {"x": 1, "y": 2}, "b": 1}})
    user = await admin.good("PUT", f"/users/{ann}", {"custom_fields": {"a": {"y": 3, "x": None}}})
    assert user["custom_fields"] == {"a": {"y": 3}, "b": 1}


async def test_upserts_at_the_same_time_lose_nothing(admin: Admin, ann: str) -> None:
    bodies = [{"custom_fields": {f"k{number}": number}} for number in range(10)]
    answers = await asyncio.gather(*(admin.ask("PUT", f"/users/{ann}", body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    user = await admin.good("GET", f"/users/{ann}")
    assert user["custom_fields"] == {f"k{number}": number for number in range(10)}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"email": "no address"}, ["email"]),
        ({"email": "a@b.c" * 100}, ["email"]),
        ({"phone": "070-123"}, ["phone"]),
        ({"avatar": "javascript:alert(1)"}, ["avatar"]),
        ({"locale": "sv_SE"}, ["locale"]),
        ({"timezone": "Europe Stockholm"}, ["timezone"]),
        ({"first_name": "x" * 257, "last_name": 7}, ["first_name", "last_name"]),
        ({"custom_fields": [1]}, ["custom_fields"]),
        ({"custom_fields": {"a": "x" * CUSTOM_BYTES}}, ["custom_fields"]),
        ({"name": "Ann"}, ["name"]),
        ({"external_id": "other"}, ["external_id"]),
        ([], ["body"]),
        ({"preferences": {"channel_types": {"pigeon": True}}}, ["preferences.channel_types.pigeon.[key]"]),
        ({"preferences": {"channel_types": {"in_app": "no"}}}, ["preferences.channel_types.in_app"]),
        ({"preferences": {"notiflows": {"unknown": {"enabled": False}}}}, ["preferences.notiflows.unknown"]),
        (
            {"channel_settings": [{"channel_id": "nowhere", "settings": {"device_tokens": ["t"]}}]},
            ["channel_settings.0.channel_id"],
        ),
        (
            {"channel_settings": [{"channel_id": "push", "settings": {"device_tokens": []}}]},
            ["channel_settings.0.settings.device_tokens"],
        ),
        ({"channel_settings": [{"channel_id": "inbox", "settings": {}}]}, ["channel_settings.0.settings"]),
    ],
)
async def test_a_bad_upsert_names_its_fields_and_creates_nobody(
    admin: Admin, ann: str, body: Any, fields: list[str]
) -> None:
    assert fields_of(await admin.ask("PUT", f"/users/{ann}", body)) == fields
    error_of(await admin.ask("GET", f"/users/{ann}"), 404, "not_found")


async def test_a_document_has_a_limit_of_its_own(admin: Admin, ann: str) -> None:
    """Twenty tokens of 4,000 characters are within every other limit."""
    body = {"settings": {"device_tokens": [f"{number:02}" + "x" * 3998 for number in range(20)]}}
    await admin.good("PUT", f"/users/{ann}", {})
    error = error_of(await admin.ask("PUT", f"/users/{ann}/channel-settings/push", body), 422, "validation_error")
    assert str(DOCUMENT_BYTES) in error["message"]


async def test_bodies_are_json_of_limited_size(admin: Admin, ann: str) -> None:
    path = f"/users/{ann}"
    assert (
        error_of(await admin.ask("PUT", path, content=b"{"), 400, "bad_request")["details"]["reason"] == "invalid_json"
    )
    large = b'{"first_name": "' + b"x" * ADMIN_BODY_BYTES + b'"}'
    error = error_of(await admin.ask("PUT", path, content=large), 400, "bad_request")
    assert error["details"]["reason"] == "body_too_large"
    assert str(ADMIN_BODY_BYTES) in error["message"]


@pytest.mark.parametrize("name", ["a b", "ann@example.com", "auth0|17", "ünï", "org/7", "50%25", "..."])
async def test_an_external_id_is_one_decoded_segment(admin: Admin, name: str) -> None:
    path = f"/users/{quote(name, safe='')}"
    user = await admin.good("PUT", path, {})
    assert user["external_id"] == name
    assert await admin.good("GET", path) == user
    assert (await admin.good("GET", f"{path}/preferences"))["channel_types"] == ALL_ON


@pytest.mark.parametrize("name", ["x" * 257, "a%00b", "a%7Fb"])
async def test_an_impossible_external_id_is_refused(admin: Admin, name: str) -> None:
    error = error_of(await admin.ask("PUT", f"/users/{name}", {}), 400, "bad_request")
    assert error["details"] == {"reason": "invalid_param", "param": "external_id"}


async def test_nobody_is_404_everywhere(admin: Admin, ann: str) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/preferences", None),
        ("PUT", "/preferences", {}),
        ("GET", "/channel-settings/push", None),
        ("PUT", "/channel-settings/push", {"settings": {"device_tokens": ["t"]}}),
        ("DELETE", "/channel-settings/push", None),
        ("GET", "/subscriptions", None),
        ("POST", "/subscriptions", {"topic_name": "news"}),
        ("GET", "/subscriptions/news", None),
        ("DELETE", "/subscriptions/news", None),
    ):
        error = error_of(await admin.ask(method, f"/users/{ann}{path}", body), 404, "not_found")
        assert error["details"] == {"resource": "user", "id": ann}, (method, path)


# ---- who may -----------------------------------------------------------------------------------------


async def test_both_keys_of_one_project_are_needed(admin: Admin, hub: RunningHub) -> None:
    other = await hub.add_project("who-may")
    api_key = other.api_key
    for headers, scheme in (
        ({"x-notiflows-api-key": ""}, "api_key"),
        ({"x-notiflows-api-key": "pk_unknown"}, "api_key"),
        ({"x-notiflows-secret-key": ""}, "secret_key"),
        ({"x-notiflows-secret-key": "sk_unknown"}, "secret_key"),
        ({"x-notiflows-api-key": api_key}, "secret_key"),
    ):
        error = error_of(await admin.ask("GET", "/users", headers=headers), 401, "unauthenticated")
        assert error["details"] == {"auth": scheme}


async def test_a_key_without_admin_is_403_and_changes_nothing(admin: Admin, hub: RunningHub, ann: str) -> None:
    key, secret = auth.new_secret_key("sender")
    await hub.change_project(lambda p: add_secret_key(p, key))
    answer = await admin.ask("PUT", f"/users/{ann}", {}, headers={"x-notiflows-secret-key": secret})
    assert error_of(answer, 403, "forbidden")["details"] == {"required_scope": "admin"}
    error_of(await admin.ask("GET", f"/users/{ann}"), 404, "not_found")


async def test_another_projects_users_are_unknown(admin: Admin, hub: RunningHub, ann: str) -> None:
    """The same names, other people."""
    theirs = await tenant(hub, "other-tenant")
    user = await admin.good("PUT", f"/users/{ann}", FULL)
    await admin.good("POST", f"/users/{ann}/subscriptions", {"topic_name": f"t-{ann}"})
    for method, path in (
        ("GET", f"/users/{ann}"),
        ("DELETE", f"/users/{ann}"),
        ("GET", f"/topics/t-{ann}"),
        ("DELETE", f"/topics/t-{ann}"),
        ("GET", f"/topics/t-{ann}/subscriptions"),
        ("GET", f"/users/{ann}/subscriptions/t-{ann}"),
        ("DELETE", f"/users/{ann}/subscriptions/t-{ann}"),
    ):
        error_of(await admin.ask(method, path, headers=theirs), 404, "not_found")
    assert (await admin.good("GET", "/users", headers=theirs))["items"] == []
    assert (await admin.good("GET", "/topics", headers=theirs))["items"] == []
    assert await admin.good("GET", f"/users/{ann}") == user
    assert await admin.good("GET", f"/users/{ann}/subscriptions/t-{ann}")


async def test_the_api_is_under_both_prefixes(admin: Admin, ann: str) -> None:
    user = await admin.good("PUT", f"/users/{ann}", {})
    assert (await admin.http.get(f"/api/admin/v1/users/{ann}")).json() == user


# ---- list --------------------------------------------------------------------------------------------


async def test_users_are_listed_newest_first_in_pages_both_ways(hub: RunningHub, admin: Admin) -> None:
    keys = await tenant(hub, "lists")

    async def page(**query: Any) -> tuple[list[str], dict[str, Any]]:
        listed = await admin.good("GET", "/users", params=query, headers=keys)
        return [user["external_id"] for user in listed["items"]], listed["page"]

    made = [await admin.good("PUT", f"/users/u{number}", {}, headers=keys) for number in range(7)]
    first, info = await page(limit=3)
    assert first == ["u6", "u5", "u4"]
    assert info == {
        "after": info["after"],
        "before": None,
        "has_more_after": True,
        "has_more_before": False,
        "limit": 3,
    }
    second, info = await page(limit=3, after=info["after"])
    last, info = await page(limit=3, after=info["after"])
    assert (second, last) == (["u3", "u2", "u1"], ["u0"])
    assert (info["after"], info["has_more_after"]) == (None, False)
    assert (await page(limit=3, before=info["before"]))[0] == second
    times = [user["created_at"] for user in made]
    everybody, info = await page()
    assert (everybody, info["limit"]) == ([f"u{number}" for number in range(6, -1, -1)], 25)
    # As they are shown, in whole milliseconds; the bounds themselves are excluded.
    for bound in set(times):
        newer, older = (await page(created_after=bound))[0], (await page(created_before=bound))[0]
        assert newer == [name for name in everybody if times[int(name[1:])] > bound]
        assert older == [name for name in everybody if times[int(name[1:])] < bound]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"after": "x"}, "after"),
        ({"before": "p123"}, "before"),
        ({"after": "MSBh", "before": "MSBh"}, "after"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_before": "2026-01-01"}, "created_before"),
    ],
)
@pytest.mark.parametrize("path", ["/users", "/topics"])
async def test_a_wrong_parameter_of_a_list_is_400_naming_it(
    admin: Admin, path: str, query: dict[str, str], param: str
) -> None:
    error = error_of(await admin.ask("GET", path, params=query), 400, "bad_request")
    assert error["details"] == {"reason": "invalid_param", "param": param}


# ---- delete ------------------------------------------------------------------------------------------


async def test_a_deleted_user_leaves_directory_topics_and_feeds_and_is_signed_out(
    admin: Admin, hub: RunningHub, ann: str
) -> None:
    await admin.good("PUT", f"/users/{ann}", FULL)
    await admin.good("PUT", f"/users/{ann}/preferences", {"channel_types": {"in_app": False}})
    await admin.good("POST", f"/users/{ann}/subscriptions", {"topic_name": f"t-{ann}"})
    await hub.send(ann)
    token = hub.token(ann)
    client = await hub.connect(ann, token=token)
    answer = await admin.ask("DELETE", f"/users/{ann}", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert await client.close_code() == 4503
    error_of(await admin.ask("GET", f"/users/{ann}"), 404, "not_found")
    error_of(await admin.ask("DELETE", f"/users/{ann}"), 404, "not_found")
    assert (await admin.good("GET", f"/topics/t-{ann}/subscriptions"))["items"] == []
    old = {"x-notiflows-api-key": hub.api_key, "x-notiflows-user-key": token}
    error_of(await admin.http.get("/user/v1/preferences", headers=old), 403, "forbidden")
    assert await hub.hub.store.has_feeds(User("default", ann)) is False
    again = await admin.ask("PUT", f"/users/{ann}", {})
    assert again.status_code == 201
    assert (await admin.good("GET", f"/users/{ann}/preferences"))["channel_types"] == ALL_ON


async def test_a_user_known_only_by_a_feed_can_be_deleted(admin: Admin, hub: RunningHub, ann: str) -> None:
    await hub.send(ann)
    assert (await admin.ask("DELETE", f"/users/{ann}")).status_code == 204
    assert await hub.hub.store.has_feeds(User("default", ann)) is False


async def test_a_deleted_project_leaves_no_directory(redis_server: RedisServer) -> None:
    projects = Projects(store_client(redis_server.url))
    await projects.create("acme", "Acme")
    redis_server.client.hset("{acme}:profiles", "ann", "{}")
    redis_server.client.hset("{acme-2}:profiles", "ann", "{}")
    await projects.delete("acme")
    assert redis_server.client.keys("{acme}*") == []
    assert redis_server.client.exists("{acme-2}:profiles")


# ---- preferences -------------------------------------------------------------------------------------


async def test_preferences_are_all_on_and_a_put_changes_what_it_names(admin: Admin, ann: str) -> None:
    await admin.good("PUT", f"/users/{ann}", {})
    path = f"/users/{ann}/preferences"
    assert (await admin.good("GET", path))["channel_types"] == ALL_ON
    await admin.good("PUT", path, {"channel_types": {"email": False}})
    answer = await admin.good("PUT", path, {"channel_types": {"in_app": False}})
    assert answer["channel_types"] == ALL_ON | {"email": False, "in_app": False}
    assert await admin.good("GET", path) == answer
    assert (await admin.good("PUT", path, {}))["channel_types"] == answer["channel_types"]
    reset = await admin.good("PUT", path, {"channel_types": {"email": None}})
    assert reset["channel_types"] == ALL_ON | {"in_app": False}


async def test_a_notiflow_can_be_switched_off_where_it_is_open_to_preferences(admin: Admin, ann: str) -> None:
    template = {"title": "Hello"}
    await admin.good("PUT", "/notiflows/digest", {"name": "Daily digest", "template": template})
    await admin.good("PUT", "/notiflows/security", {"template": template, "include_in_preferences": False})
    await admin.good("PUT", f"/users/{ann}", {})
    path = f"/users/{ann}/preferences"
    on = {"name": "Daily digest", "enabled": True, "channel_types": {}}
    assert (await admin.good("GET", path))["notiflows"] == {"digest": on}
    off = await admin.good("PUT", path, {"notiflows": {"digest": {"enabled": False}}})
    assert off["notiflows"] == {"digest": on | {"enabled": False}}
    more = await admin.good("PUT", path, {"notiflows": {"digest": {"channel_types": {"email": False}}}})
    assert more["notiflows"] == {"digest": on | {"enabled": False, "channel_types": {"email": False}}}
    body = {"notiflows": {"digest": {"enabled": True}, "security": {"enabled": False}}}
    assert fields_of(await admin.ask("PUT", path, body)) == ["notiflows.security"]
    assert await admin.good("GET", path) == more
    reset = await admin.good("PUT", path, {"notiflows": {"digest": None}})
    assert reset["notiflows"] == {"digest": on}
    for handle in ("digest", "security"):
        await admin.good("DELETE", f"/notiflows/{handle}")
    assert (await admin.good("GET", path))["notiflows"] == {}


async def test_an_upsert_may_carry_preferences_and_settings(admin: Admin, hub: RunningHub, ann: str) -> None:
    body = {
        "preferences": {"channel_types": {"sms": False}},
        "channel_settings": [{"channel_id": "push", "settings": {"device_tokens": ["t1"]}}],
    }
    user = await admin.good("PUT", f"/users/{ann}", body)
    assert "preferences" not in user
    assert (await admin.good("GET", f"/users/{ann}/preferences"))["channel_types"] == ALL_ON | {"sms": False}
    settings = await admin.good("GET", f"/users/{ann}/channel-settings/{channel_id(hub, 'push')}")
    assert settings["settings"] == {"device_tokens": ["t1"]}


# ---- channel settings --------------------------------------------------------------------------------


async def test_channel_settings_are_put_read_and_deleted(admin: Admin, hub: RunningHub, ann: str) -> None:
    await admin.good("PUT", f"/users/{ann}", {})
    by_handle, by_id = (f"/users/{ann}/channel-settings/{name}" for name in ("push", channel_id(hub, "push")))
    first = await admin.good("PUT", by_handle, {"settings": {"device_tokens": ["t1", "t2"]}})
    assert first == {
        "channel_id": channel_id(hub, "push"),
        "user_id": user_id("default", ann),
        "provider": "fcm",
        "settings": {"device_tokens": ["t1", "t2"]},
        "created_at": first["created_at"],
        "updated_at": first["created_at"],
    }
    second = await admin.good("PUT", by_id, {"settings": {"device_tokens": ["t3"]}})
    assert second["settings"] == {"device_tokens": ["t3"]}
    assert second["created_at"] == first["created_at"]
    assert await admin.good("GET", by_handle) == second
    answer = await admin.ask("DELETE", by_id, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.content) == (204, b"")
    error = error_of(await admin.ask("GET", by_id), 404, "not_found")
    assert error["details"] == {"resource": "channel_settings", "id": channel_id(hub, "push")}
    error_of(await admin.ask("DELETE", by_id), 404, "not_found")


async def test_chat_takes_one_or_both_slack_ids(admin: Admin, ann: str) -> None:
    await admin.good("PUT", f"/users/{ann}", {})
    path = f"/users/{ann}/channel-settings/slack"
    answer = await admin.good("PUT", path, {"settings": {"slack_user_id": "U1"}})
    assert (answer["provider"], answer["settings"]) == ("slack", {"slack_user_id": "U1"})
    assert fields_of(await admin.ask("PUT", path, {"settings": {}})) == ["settings"]


@pytest.mark.parametrize(
    ("channel", "body", "field"),
    [
        ("inbox", {"settings": {"device_tokens": ["t"]}}, "settings"),
        ("mail", {"settings": {"device_tokens": ["t"]}}, "settings"),
        ("push", {"settings": {"slack_user_id": "U1"}}, "settings.device_tokens"),
        ("push", {"settings": {"device_tokens": []}}, "settings.device_tokens"),
        ("push", {"settings": {"device_tokens": [""]}}, "settings.device_tokens.0"),
        ("push", {"settings": {"device_tokens": [str(number) for number in range(101)]}}, "settings.device_tokens"),
        ("push", {}, "settings"),
    ],
)
async def test_settings_that_a_channel_does_not_take_are_422(
    admin: Admin, ann: str, channel: str, body: Any, field: str
) -> None:
    await admin.good("PUT", f"/users/{ann}", {})
    assert field in fields_of(await admin.ask("PUT", f"/users/{ann}/channel-settings/{channel}", body))
    error_of(await admin.ask("GET", f"/users/{ann}/channel-settings/{channel}"), 404, "not_found")


async def test_an_unknown_channel_is_404_before_the_body_is_looked_at(admin: Admin, ann: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        error = error_of(await admin.ask(method, f"/users/{ann}/channel-settings/nowhere"), 404, "not_found")
        assert error["details"] == {"resource": "channel", "id": "nowhere"}
