"""The official SDK `notiflows` 0.0.2, with only its `base_url` changed, against a running hub.

All its methods, blocking and asynchronous, with its own strict validation of what comes back, and what they do.
"""

import asyncio
import inspect
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import notiflows
import pytest
import pytest_asyncio
from notiflows import AsyncNotiflows, DefaultAsyncHttpxClient, DefaultHttpxClient, Notiflows
from notiflows.types import Delivery, Notification, User

from hub import auth
from hub.model import Project
from hub.projects import add_channel, add_secret_key, add_signing_key
from tests.conftest import StartHub
from tests.harness import PATIENCE_S, SIGNING_KEY, Client, RunningHub

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

    async def feed(self, user: str, count: int = 0) -> list[dict[str, Any]]:
        """What the user's feed shows, once it holds so many entries."""
        async with asyncio.timeout(PATIENCE_S), self.hub.http() as http:
            while True:
                answer = await http.get("/user/v1/channels/inbox/feed/entries", headers=self.user_headers(user))
                items: list[dict[str, Any]] = answer.json()["items"]
                if len(items) >= count:
                    return items
                await asyncio.sleep(0.02)

    async def mark(self, user: str, entry: str, **flags: bool) -> None:
        async with self.hub.http() as http:
            path = f"/user/v1/channels/inbox/feed/entries/{entry}"
            answer = await http.patch(path, json=flags, headers=self.user_headers(user))
        assert answer.status_code == 200, answer.text

    async def session(self, user: str) -> Client:
        client = await Client.open(f"ws://127.0.0.1:{self.hub.port}/ws/v1")
        await client.send("auth", api_key=self.project.api_key, token=self.hub.token(user))
        await client.next("welcome")
        await client.ask("subscribe", channel="inbox")
        return client


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


async def logged(sdk: Sdk, count: int) -> list[Any]:
    """The project's notifications once there are so many: the log is written a moment after the feed."""
    async with asyncio.timeout(PATIENCE_S):
        while len(found := await sdk.every("notifications.list")) < count:  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.02)
    assert len(found) == count
    return found


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


async def test_a_deleted_user_is_gone_with_all_that_was_theirs(shop: Shop) -> None:
    await shop.define("order-shipped")
    async with shop.sdk() as sdk:
        await sdk("users.upsert", "ann", first_name="Ann")
        await sdk("users.subscriptions.subscribe", "ann", topic_name="orders")
        await sdk("notiflows.run", "order-shipped", recipients=[{"external_id": "ann"}], data={"number": 17})
        await logged(sdk, 1)
        assert len(await shop.feed("ann")) == 1
        session = await shop.session("ann")
        assert await sdk("users.delete", "ann") is None
        deletion = sdk.requests[-1]
        assert (deletion.method, deletion.content) == ("DELETE", b"")
        assert deletion.headers["content-type"] == "application/json"
        assert sdk.answers[-1].status_code == 204
        assert await session.close_code() == 4503
        for gone in ("users.retrieve", "users.delete", "users.preferences.retrieve", "users.subscriptions.list"):
            with pytest.raises(notiflows.NotFoundError) as caught:
                await sdk(gone, "ann")
            assert code(caught) == "not_found"
            assert details(caught) == {"resource": "user", "id": "ann"}
        assert (await sdk("topics.subscriptions.list", "orders")).items == []
        assert [user.external_id for user in await sdk.every("users.list")] == []
        assert await sdk.every("notifications.list") == []
        assert await sdk.every("deliveries.list") == []


async def test_names_of_users_may_be_anything_that_fits_into_a_path(shop: Shop) -> None:
    async with shop.sdk() as sdk:
        names = ["ann å 📦", "a:b@example.com", "x+y&z=1"]
        made = [await sdk("users.upsert", name) for name in names]
        assert [user.external_id for user in made] == names
        assert [await sdk("users.retrieve", name) for name in names] == made


# ---- preferences -----------------------------------------------------------------------------------------


async def test_preferences_change_by_what_is_said_and_a_run_honours_them(shop: Shop) -> None:
    await shop.define("order-shipped", name="An order has shipped")
    await shop.define("order-placed")
    everybody = [{"external_id": name} for name in ("ann", "bob", "cleo")]
    async with shop.sdk() as sdk:
        for user in everybody:
            await sdk("users.upsert", user["external_id"])
        changed = await sdk("users.preferences.update", "ann", channel_types={"in_app": False})
        assert changed.channel_types.in_app is False
        assert changed.notiflows["order-shipped"].name == "An order has shipped"
        changed = await sdk("users.preferences.update", "ann", channel_types={"email": False})
        assert (changed.channel_types.in_app, changed.channel_types.email) == (False, False)
        assert await sdk("users.preferences.retrieve", "ann") == changed
        changed = await sdk("users.preferences.update", "bob", notiflows={"order-shipped": {"enabled": False}})
        assert changed.notiflows["order-shipped"].enabled is False
        assert changed.channel_types.in_app is not False

        await sdk("notiflows.run", "order-shipped", recipients=everybody, data={"number": 1})
        await shop.feed("cleo", 1)
        await sdk("notiflows.run", "order-placed", recipients=everybody, data={"number": 2})
        await shop.feed("cleo", 2)
        assert [entry["data"]["title"] for entry in await shop.feed("bob", 1)] == ["Order 2"]
        assert await shop.feed("ann") == []

        await sdk("users.preferences.update", "ann", channel_types={"in_app": True})
        await sdk("notiflows.run", "order-shipped", recipients=everybody, data={"number": 3})
        assert [entry["data"]["title"] for entry in await shop.feed("ann", 1)] == ["Order 3"]


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


# ---- runs, and what became of them -----------------------------------------------------------------------


async def test_a_run_reaches_its_recipients_makes_the_unknown_known_and_is_on_record(shop: Shop) -> None:
    await shop.define("order-shipped", category="order.updated")
    async with shop.sdk() as sdk:
        await sdk("users.upsert", "ann", first_name="Ann")
        run = await sdk(
            "notiflows.run",
            "order-shipped",
            recipients=[{"external_id": "ann"}, {"external_id": "bob", "first_name": "Bob", "locale": "en-US"}],
            actor={"external_id": "cleo", "first_name": "Cleo", "email": "cleo@example.com"},
            data={"number": 17},
        )
        (entry,) = await shop.feed("bob", 1)
        assert entry["data"] == {
            "number": 17,
            "title": "Order 17",
            "body": "Cleo sent it to Bob",
            "action_url": "/orders/17",
        }
        assert entry["notiflow_handle"] == "order-shipped"
        assert entry["actor"]["external_id"] == "cleo"
        bob = await sdk("users.retrieve", "bob")
        assert (bob.first_name, bob.locale) == ("Bob", "en-US")
        assert (await sdk("users.retrieve", "cleo")).email == "cleo@example.com"
        assert (await shop.feed("ann", 1))[0]["data"]["body"] == "Cleo sent it to Ann"

        notifications = await logged(sdk, 2)
        assert {one.recipient.external_id for one in notifications} == {"ann", "bob"}
        (notification,) = await sdk.every("users.notifications.list", "bob")
        assert isinstance(notification, Notification)
        assert notification in notifications
        assert (notification.notiflow_run_id, notification.status) == (run.notiflow_run_id, "processed")
        assert (notification.notiflow_handle, notification.data) == ("order-shipped", {"number": 17})
        assert notification.actor.external_id == "cleo"
        assert notification.recipient.id == bob.id

        (delivery,) = await sdk.every("notifications.list_deliveries", notification.id)
        assert isinstance(delivery, Delivery)
        assert delivery.id == entry["id"]
        assert (delivery.notification_id, delivery.notiflow_id) == (notification.id, notification.notiflow_id)
        assert (delivery.channel_type, delivery.channel_id) == ("in_app", shop.channels["inbox"])
        assert (delivery.status, delivery.data) == ("sent", entry["data"])
        assert delivery.recipient.external_id == "bob"
        assert delivery.actor.external_id == "cleo"
        assert delivery.sent_at == datetime.fromisoformat(entry["sent_at"])
        for name, args, kwargs in (
            ("notifications.retrieve", (notification.id,), {}),
            ("users.notifications.retrieve", (notification.id,), {"user_external_id": "bob"}),
        ):
            found = await sdk(name, *args, **kwargs)
            assert (found.id, found.deliveries) == (notification.id, [delivery])
        assert await sdk("deliveries.retrieve", delivery.id) == delivery
        assert await sdk("users.deliveries.retrieve", delivery.id, user_external_id="bob") == delivery
        assert await sdk.every("users.deliveries.list", "bob") == [delivery]
        assert {one.recipient.external_id for one in await sdk.every("deliveries.list", limit=1)} == {"ann", "bob"}


async def test_a_delivery_shows_what_its_user_did_with_it(shop: Shop) -> None:
    await shop.define("order-shipped")
    async with shop.sdk() as sdk:
        await sdk("notiflows.run", "order-shipped", recipients=[{"external_id": "ann"}], data={"number": 17})
        (entry,) = await shop.feed("ann", 1)
        await logged(sdk, 1)
        delivery = await sdk("deliveries.retrieve", entry["id"])
        assert [delivery.seen_at, delivery.read_at, delivery.clicked_at, delivery.archived_at] == [None] * 4
        await shop.mark("ann", entry["id"], seen=True)
        delivery = await sdk("deliveries.retrieve", entry["id"])
        assert delivery.seen_at
        assert [delivery.read_at, delivery.clicked_at, delivery.archived_at] == [None] * 3
        await shop.mark("ann", entry["id"], clicked=True, archived=True)
        (shown,) = await sdk.every("users.deliveries.list", "ann")
        assert shown.seen_at == delivery.seen_at
        assert shown.read_at is not None
        assert shown.read_at == shown.clicked_at == shown.archived_at
        assert shown.updated_at > delivery.created_at
        (notification,) = await sdk.every("users.notifications.list", "ann")
        assert (await sdk("notifications.retrieve", notification.id)).deliveries == [shown]


async def test_a_run_for_a_topic_reaches_each_subscriber_once_and_can_be_found_by_it(shop: Shop) -> None:
    await shop.define("order-shipped")
    names = [f"user-{number}" for number in range(5)]
    async with shop.sdk() as sdk:
        for name in (*names, "zoe"):
            await sdk("users.upsert", name)
        await sdk("topics.subscriptions.subscribe_bulk", "orders", user_external_ids=names)
        await sdk("notiflows.run", "order-shipped", topic="orders", data={"number": 17})
        for name in names:
            (entry,) = await shop.feed(name, 1)
            assert entry["topic"] == "orders"
        await sdk("notiflows.run", "order-shipped", recipients=[{"external_id": "zoe"}], data={"number": 18})
        assert len(await shop.feed("zoe", 1)) == 1
        await logged(sdk, 6)
        before = len(sdk.requests)
        found = await sdk.every("deliveries.list", topic="orders", status="sent", limit=5)
        assert sorted(one.recipient.external_id for one in found) == names
        assert {one.topic for one in found} == {"orders"}
        assert len(sdk.requests) - before == 1
        notifications = await sdk.every("notifications.list", topic="orders", status="processed", limit=2)
        assert sorted(one.recipient.external_id for one in notifications) == names
        inbox, push = shop.channels["inbox"], shop.channels["push"]
        assert len(await sdk.every("deliveries.list", channel_id=inbox)) == 6
        for nothing in ({"channel_id": push}, {"status": "failed"}, {"topic": "x"}, {"created_after": now(60)}):
            assert await sdk.every("deliveries.list", **nothing) == []
            assert await sdk.every("users.deliveries.list", "zoe", **nothing) == []
        assert await sdk.every("users.notifications.list", "zoe", topic="orders") == []
        assert len(await sdk.every("users.notifications.list", "zoe", created_after=now(-60))) == 1


async def test_a_run_under_one_key_happens_once(shop: Shop) -> None:
    await shop.define("order-shipped")
    async with shop.sdk() as sdk:
        once = {"extra_headers": {"Idempotency-Key": "order-17"}, "data": {"number": 17}}
        runs = [await sdk("notiflows.run", "order-shipped", recipients=[{"external_id": "ann"}], **once) for _ in "ab"]
        assert runs[0] == runs[1]
        assert sdk.answers[-1].headers["idempotent-replayed"] == "true"
        await sdk("notiflows.run", "order-shipped", recipients=[{"external_id": "ann"}], data={"number": 18})
        assert [entry["data"]["title"] for entry in await shop.feed("ann", 2)] == ["Order 18", "Order 17"]


async def test_a_run_that_cannot_be_is_refused_with_one_request(shop: Shop) -> None:
    await shop.define("order-shipped")
    await shop.define("asleep", active=False)
    ann = [{"external_id": "ann"}]
    async with shop.sdk() as sdk:
        async with one_request(sdk):
            with pytest.raises(notiflows.ConflictError) as asleep:
                await sdk("notiflows.run", "asleep", recipients=ann)
        assert code(asleep) == "conflict"
        async with one_request(sdk):
            with pytest.raises(notiflows.NotFoundError) as unknown:
                await sdk("notiflows.run", "unknown", recipients=ann)
        assert details(unknown) == {"resource": "notiflow", "id": "unknown"}
        for wrong in ({"recipients": ann, "topic": "orders"}, {}, {"recipients": []}, {"recipients": [{}]}):
            async with one_request(sdk):
                with pytest.raises(notiflows.UnprocessableEntityError) as caught:
                    await sdk("notiflows.run", "order-shipped", **wrong)
            assert code(caught) == "validation_error"
            assert details(caught)["fields"]
        assert await sdk.every("notifications.list") == []


async def test_what_is_not_on_record_is_404(shop: Shop) -> None:
    nowhere = "0198f000-0000-7000-8000-000000000000"
    async with shop.sdk() as sdk:
        await sdk("users.upsert", "ann")
        for resource in ("notification", "delivery"):
            plural = {"notification": "notifications", "delivery": "deliveries"}[resource]
            for name, kwargs in ((plural, {}), (f"users.{plural}", {"user_external_id": "ann"})):
                with pytest.raises(notiflows.NotFoundError) as caught:
                    await sdk(f"{name}.retrieve", nowhere, **kwargs)
                assert details(caught) == {"resource": resource, "id": nowhere}
        with pytest.raises(notiflows.NotFoundError):
            await sdk.every("notifications.list_deliveries", nowhere)


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
    hub = await start_hub(key_rate="2 per 3 seconds")
    async with (await open_shop(hub, kind)).sdk() as sdk:
        start = time.monotonic()
        for name in ("ann", "bob", "cleo"):
            await sdk("users.upsert", name)
        assert [answer.status_code for answer in sdk.answers] == [201, 201, 429, 201]
        asked = int(sdk.answers[2].headers["retry-after"])
        assert 1 <= asked <= 3
        assert time.monotonic() - start >= asked


def methods_of(resource: Any, path: str = "") -> list[str]:
    """The dotted names of all methods of the SDK that make a request."""
    found = []
    for name in dir(type(resource)):
        if name.startswith(("_", "with_")):
            continue
        value = getattr(resource, name)
        if hasattr(value, "_client"):
            found += methods_of(value, f"{path}{name}.")
        elif path and inspect.ismethod(value):
            found.append(path + name)
    return found


async def test_every_method_of_the_sdk_is_called_above() -> None:
    with Notiflows(api_key="pk", secret="sk", base_url="http://localhost") as client:
        known = methods_of(client)
    called = set(re.findall(r'"((?:\w+\.)+\w+)"', Path(__file__).read_text()))
    assert len(known) == 29
    assert set(known) <= called
