"""The official SDK `notiflows` 0.0.2, with only its `base_url` changed, against a running hub.

All its methods, blocking and asynchronous, with its own strict validation of what comes back, and what they do.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import notiflows
import pytest
import pytest_asyncio
from notiflows import AsyncNotiflows, DefaultAsyncHttpxClient, DefaultHttpxClient, Notiflows
from notiflows.types import User

from hub import auth
from hub.model import Project
from hub.projects import add_channel, add_secret_key, add_signing_key
from tests.conftest import StartHub
from tests.harness import SIGNING_KEY, RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEMPLATE = {
    "title": "Order {{ data.number }}",
    "body": "{{ actor.first_name }} sent it to {{ recipient.first_name }}",
    "action_url": "/orders/{{ data.number }}",
}
_numbers = itertools.count(1)


class Shop:
    """A project of its own, with a channel of every kind that has settings, and how the SDK and its users reach it."""

    def __init__(self, hub: RunningHub, project: Project, secret: str, kind: str) -> None:
        self.hub, self.project, self.secret, self.kind = hub, project, secret, kind
        self.channels = {channel.handle: channel.id for channel in project.channels}

    def sdk(self, path: str = "/admin/v1", **options: Any) -> "Sdk":
        given = {"api_key": self.project.api_key, "secret": self.secret} | options
        return Sdk(self.kind, f"http://127.0.0.1:{self.hub.port}{path}", **given)

    async def define(self, handle: str, **fields: Any) -> None:
        """A notiflow, which the SDK can only run."""
        headers = {"x-notiflows-api-key": self.project.api_key, "x-notiflows-secret-key": self.secret}
        async with self.hub.http() as http:
            body = {"template": TEMPLATE} | fields
            answer = await http.put(f"/admin/v1/notiflows/{handle}", json=body, headers=headers)
        assert answer.status_code == 201, answer.text

    def user_headers(self, user: str) -> dict[str, str]:
        return {"x-notiflows-api-key": self.project.api_key, "x-notiflows-user-key": self.hub.token(user)}


class Sdk:
    """The SDK's client of either kind, asked alike: the blocking one works in a thread. It counts what it sends."""

    def __init__(self, kind: str, base_url: str, **options: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[httpx.Response] = []
        options |= {"base_url": base_url, "_strict_response_validation": True}
        if kind == "sync":
            hooks: Any = {"request": [self.requests.append], "response": [self.answers.append]}
            self.client: Any = Notiflows(http_client=DefaultHttpxClient(event_hooks=hooks, verify=False), **options)
        else:
            hooks = {"request": [_async(self.requests.append)], "response": [_async(self.answers.append)]}
            http = DefaultAsyncHttpxClient(event_hooks=hooks, verify=False)
            self.client = AsyncNotiflows(http_client=http, **options)
        self.blocking = kind == "sync"

    def _method(self, name: str, *, raw: bool = False) -> Callable[..., Any]:
        *path, last = name.split(".")
        found = self.client
        for part in path:
            found = getattr(found, part)
        method: Callable[..., Any] = getattr(found.with_raw_response if raw else found, last)
        return method

    async def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method by its dotted name."""
        return await self._call(self._method(name), *args, **kwargs)

    async def raw(self, name: str, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        """The status, and what the answer says to the SDK."""
        answer = await self._call(self._method(name, raw=True), *args, **kwargs)
        return answer.status_code, await self._call(answer.parse)

    async def every(self, name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """All items of all pages, as the SDK goes through them by itself."""
        method = self._method(name)
        if self.blocking:
            return await asyncio.to_thread(lambda: list(method(*args, **kwargs)))
        return [item async for item in method(*args, **kwargs)]

    async def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.blocking:
            return await asyncio.to_thread(method, *args, **kwargs)
        return await method(*args, **kwargs)

    async def __aenter__(self) -> "Sdk":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._call(self.client.close)


def _async(hook: Callable[[Any], None]) -> Callable[[Any], Any]:
    async def called(value: Any) -> None:
        hook(value)

    return called


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def open_shop(hub: RunningHub, kind: str) -> Shop:
    key, secret = auth.new_secret_key("owner")
    project = await hub.add_project(f"shop-{next(_numbers)}")

    def furnished(project: Project) -> Project:
        project = add_secret_key(add_signing_key(project, SIGNING_KEY), key)
        project = add_channel(project, "push", "mobile_push", "fcm")
        return add_channel(project, "slack", "chat", "slack")

    return Shop(hub, await hub.change_project(furnished, project.id), secret, kind)


@pytest_asyncio.fixture(loop_scope="module")
async def shop(shared_hub: RunningHub, kind: str) -> Shop:
    return await open_shop(shared_hub, kind)


def code(caught: pytest.ExceptionInfo[Any]) -> str:
    """Where a user of the SDK finds what went wrong."""
    return str(caught.value.body["error"]["code"])


def details(caught: pytest.ExceptionInfo[Any]) -> dict[str, Any]:
    found: dict[str, Any] = caught.value.body["error"]["details"]
    return found


@asynccontextmanager
async def one_request(sdk: Sdk) -> AsyncIterator[None]:
    """Holds that what is done within cost one request: nothing was tried again in vain."""
    before = len(sdk.requests)
    yield
    assert len(sdk.requests) == before + 1


def now(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


# ---- users -----------------------------------------------------------------------------------------------


async def test_upsert_makes_a_user_and_then_changes_what_is_said(shop: Shop) -> None:
    async with shop.sdk() as sdk:
        fields = {
            "email": "ann@example.com",
            "first_name": "Ann",
            "last_name": "Ågren",
            "phone": "+4612345678",
            "avatar": "https://example.com/ann.png",
            "locale": "sv-SE",
            "timezone": "Europe/Stockholm",
        }
        custom = {"plan": {"name": "free", "seats": 1}, "beta": True}
        status, ann = await sdk.raw("users.upsert", "ann", **fields, custom_fields=custom)
        assert status == 201
        assert isinstance(ann, User)
        assert {name: getattr(ann, name) for name in fields} == fields
        assert (ann.external_id, ann.custom_fields) == ("ann", custom)
        status, again = await sdk.raw(
            "users.upsert", "ann", first_name="Anna", custom_fields={"plan": {"seats": 5}, "team": ["a"]}
        )
        assert status == 200
        assert again.custom_fields == {"plan": {"name": "free", "seats": 5}, "beta": True, "team": ["a"]}
        assert (again.first_name, again.last_name) == ("Anna", "Ågren")
        assert (again.id, again.created_at) == (ann.id, ann.created_at)
        assert again.updated_at >= ann.updated_at
        assert await sdk("users.retrieve", "ann") == again


async def test_upsert_takes_channel_settings_and_preferences_along(shop: Shop) -> None:
    await shop.define("order-shipped")
    push = shop.channels["push"]
    async with shop.sdk() as sdk:
        await sdk(
            "users.upsert",
            "ann",
            channel_settings=[{"channel_id": push, "settings": {"device_tokens": ["t1"]}}],
            preferences={"channel_types": {"sms": False}, "notiflows": {"order-shipped": {"enabled": False}}},
        )
        settings = await sdk("users.channel_settings.retrieve", push, user_external_id="ann")
        assert settings.settings.device_tokens == ["t1"]
        preferences = await sdk("users.preferences.retrieve", "ann")
        assert preferences.channel_types.sms is False
        assert preferences.notiflows["order-shipped"].enabled is False


async def test_users_are_listed_newest_first_page_by_page_to_the_last(shop: Shop) -> None:
    names = [f"user {number}" for number in range(5)]
    async with shop.sdk() as sdk:
        made = [await sdk("users.upsert", name) for name in names]
        before = len(sdk.requests)
        users = await sdk.every("users.list", limit=2)
        assert [user.external_id for user in users] == names[::-1]
        assert len(sdk.requests) - before == 3, "`after` is null on the last page"
        page = await sdk("users.list", limit=5)
        assert page.items == made[::-1]
        assert page.page.after is None
        assert page.page.model_extra == {
            "before": page.page.model_extra["before"],
            "has_more_after": False,
            "has_more_before": False,
            "limit": 5,
        }
        first = await sdk("users.list", limit=2)
        second = await sdk("users.list", limit=2, after=first.page.after)
        back = await sdk("users.list", limit=2, before=second.page.model_extra["before"])
        assert back.items == first.items
        assert await sdk.every("users.list", created_after=now(60)) == []
        assert len(await sdk.every("users.list", created_after=now(-60), created_before=now(60))) == 5
        with pytest.raises(notiflows.BadRequestError) as caught:
            await sdk("users.list", limit=1001)
        assert details(caught) == {"reason": "invalid_param", "param": "limit"}


async def test_names_of_users_may_be_anything_that_fits_into_a_path(shop: Shop) -> None:
    async with shop.sdk() as sdk:
        for name in ("ann å 📦", "a:b@example.com", "x+y&z=1", "%41"):
            assert (await sdk("users.upsert", name)).external_id in (name, "A")
        assert (await sdk("users.retrieve", "ann å 📦")).external_id == "ann å 📦"


# ---- channel settings ------------------------------------------------------------------------------------


async def test_channel_settings_are_replaced_as_a_whole_and_deleted(shop: Shop) -> None:
    push, slack = shop.channels["push"], shop.channels["slack"]
    async with shop.sdk() as sdk:
        ann = await sdk("users.upsert", "ann")
        made = await sdk(
            "users.channel_settings.update", push, user_external_id="ann", settings={"device_tokens": ["t1", "t2"]}
        )
        assert (made.channel_id, made.user_id, made.provider) == (push, ann.id, "fcm")
        assert made.settings.device_tokens == ["t1", "t2"]
        put = await sdk(
            "users.channel_settings.update", push, user_external_id="ann", settings={"device_tokens": ["t3"]}
        )
        assert put.settings.device_tokens == ["t3"]
        assert put.created_at == made.created_at
        assert await sdk("users.channel_settings.retrieve", push, user_external_id="ann") == put
        other = await sdk(
            "users.channel_settings.update", slack, user_external_id="ann", settings={"slack_user_id": "U1"}
        )
        assert (other.provider, other.settings.slack_user_id) == ("slack", "U1")
        assert await sdk("users.channel_settings.delete", push, user_external_id="ann") is None
        with pytest.raises(notiflows.NotFoundError):
            await sdk("users.channel_settings.retrieve", push, user_external_id="ann")
        assert await sdk("users.channel_settings.retrieve", slack, user_external_id="ann") == other


async def test_channels_that_have_no_such_settings_refuse_them(shop: Shop) -> None:
    async with shop.sdk() as sdk:
        await sdk("users.upsert", "ann")
        tokens = {"device_tokens": ["t1"]}
        nowhere = "0198f000-0000-7000-8000-000000000000"
        with pytest.raises(notiflows.NotFoundError) as missing:
            await sdk("users.channel_settings.update", nowhere, user_external_id="ann", settings=tokens)
        assert details(missing) == {"resource": "channel", "id": nowhere}
        for channel, settings in (("inbox", tokens), ("slack", tokens), ("push", {"device_tokens": []})):
            with pytest.raises(notiflows.UnprocessableEntityError) as caught:
                await sdk(
                    "users.channel_settings.update",
                    shop.channels[channel],
                    user_external_id="ann",
                    settings=settings,
                )
            assert code(caught) == "validation_error"


# ---- topics ----------------------------------------------------------------------------------------------


async def test_a_user_subscribes_to_a_topic_and_leaves_it(shop: Shop) -> None:
    async with shop.sdk() as sdk:
        ann = await sdk("users.upsert", "ann")
        status, made = await sdk.raw("users.subscriptions.subscribe", "ann", topic_name="orders/se 17")
        assert status == 201
        assert (made.topic_name, made.user_id) == ("orders/se 17", ann.id)
        status, again = await sdk.raw("users.subscriptions.subscribe", "ann", topic_name="orders/se 17")
        assert (status, again) == (200, made)
        for name in ("news", "sport"):
            await sdk("users.subscriptions.subscribe", "ann", topic_name=name)
        assert (await sdk("users.subscriptions.retrieve", "news", user_external_id="ann")).topic_name == "news"
        before = len(sdk.requests)
        found = await sdk.every("users.subscriptions.list", "ann", limit=2)
        assert [one.topic_name for one in found] == ["sport", "news", "orders/se 17"]
        assert len(sdk.requests) - before == 2
        assert await sdk("users.subscriptions.unsubscribe", "news", user_external_id="ann") is None
        with pytest.raises(notiflows.NotFoundError):
            await sdk("users.subscriptions.retrieve", "news", user_external_id="ann")
        assert [one.topic_name for one in await sdk.every("users.subscriptions.list", "ann")] == [
            "sport",
            "orders/se 17",
        ]


async def test_topics_come_into_being_by_subscribing_and_are_deleted_with_their_subscriptions(shop: Shop) -> None:
    async with shop.sdk() as sdk:
        await sdk("users.upsert", "ann")
        for name in ("a", "b", "c"):
            await sdk("users.subscriptions.subscribe", "ann", topic_name=name)
        before = len(sdk.requests)
        assert [topic.name for topic in await sdk.every("topics.list", limit=1)] == ["c", "b", "a"]
        assert len(sdk.requests) - before == 3
        topic = await sdk("topics.retrieve", "b")
        assert topic.name == "b"
        assert abs(topic.created_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert await sdk("topics.delete", "b") is None
        for gone in ("topics.retrieve", "topics.delete"):
            with pytest.raises(notiflows.NotFoundError) as caught:
                await sdk(gone, "b")
            assert details(caught) == {"resource": "topic", "id": "b"}
        assert [one.topic_name for one in await sdk.every("users.subscriptions.list", "ann")] == ["c", "a"]


async def test_many_subscribe_at_once_and_who_cannot_is_told_apart(shop: Shop) -> None:
    async with shop.sdk() as sdk:
        users = {name: (await sdk("users.upsert", name)).id for name in ("ann", "bob", "cleo")}
        subscribe, unsubscribe = "topics.subscriptions.subscribe_bulk", "topics.subscriptions.unsubscribe_bulk"
        status, done = await sdk.raw(subscribe, "orders", user_external_ids=["ann", "bob"])
        assert (status, done.failed) == (200, [])
        assert {one.user_id for one in done.successful} == {users["ann"], users["bob"]}
        status, done = await sdk.raw(subscribe, "orders", user_external_ids=["bob", "ghost", "cleo"])
        assert status == 207
        assert {one.user_id for one in done.successful} == {users["bob"], users["cleo"]}
        assert [(one.external_id, one.reason) for one in done.failed] == [("ghost", "User not found")]
        listed = await sdk.every("topics.subscriptions.list", "orders", limit=2)
        assert {one.user_id for one in listed} == set(users.values())
        assert {one.topic_name for one in listed} == {"orders"}

        status, done = await sdk.raw(unsubscribe, "orders", user_external_ids=["ann", "ghost"])
        assert (sdk.requests[-1].method, bool(sdk.requests[-1].content)) == ("DELETE", True)
        assert status == 207
        assert [one.user_id for one in done.successful] == [users["ann"]]
        assert [one.external_id for one in done.failed] == ["ghost"]
        status, done = await sdk.raw(unsubscribe, "orders", user_external_ids=["ann", "bob"])
        assert (status, [one.external_id for one in done.failed]) == (207, ["ann"])
        status, done = await sdk.raw(unsubscribe, "orders", user_external_ids=["cleo"])
        assert (status, done.failed) == (200, [])
        assert await sdk.every("topics.subscriptions.list", "orders") == []


# ---- around them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin/v1", "/admin/v1/", "/api/admin/v1", "/api/admin/v1/"])
async def test_the_base_url_may_have_either_path_and_a_slash(shop: Shop, path: str) -> None:
    async with shop.sdk(path) as sdk:
        made = await sdk("users.upsert", "ann")
        assert await sdk.every("users.list") == [made]
        assert await sdk("users.delete", "ann") is None


async def test_keys_that_do_not_open_are_told_as_the_sdk_knows_it(shop: Shop) -> None:
    reader, secret = auth.new_secret_key("reader")
    await shop.hub.change_project(lambda project: add_secret_key(project, reader), shop.project.id)
    for options, error, said in (
        ({"secret": "sk_wrong"}, notiflows.AuthenticationError, {"auth": "secret_key"}),
        ({"api_key": "pk_wrong"}, notiflows.AuthenticationError, {"auth": "api_key"}),
        ({"secret": secret}, notiflows.PermissionDeniedError, {"required_scope": "admin"}),
    ):
        async with shop.sdk(**options) as sdk:
            async with one_request(sdk):
                with pytest.raises(error) as caught:
                    await sdk("users.list")
            assert details(caught) == said
            assert caught.value.body["error"]["request_id"] == caught.value.response.headers["x-request-id"]


@pytest.mark.asyncio(loop_scope="function")
async def test_a_rate_limit_is_waited_for_as_long_as_it_says(start_hub: StartHub, kind: str) -> None:
    hub = await start_hub(key_rate="2/second")
    async with (await open_shop(hub, kind)).sdk() as sdk:
        start = time.monotonic()
        for name in ("ann", "bob", "cleo"):
            await sdk("users.upsert", name)
        assert time.monotonic() - start >= 1
        assert [answer.status_code for answer in sdk.answers] == [201, 201, 429, 201]
        assert sdk.answers[2].headers["retry-after"] == "1"
