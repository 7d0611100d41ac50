"""The Python client, in threads and in tasks, against a running hub (`docs/api.md`, From Python)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from hub import client
from hub.client import AsyncBellhub, Bellhub, BellhubError, Recipient
from tests.conftest import StartHub
from tests.harness import PATIENCE_S, RunningHub, free_port, until
from tests.proxy import Cut, Proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[..., Coroutine[Any, Any, Any]]


class Both:
    """A client of either kind, asked alike: the sync one works in a thread."""

    def __init__(self, kind: str, address: str, **options: Any) -> None:
        self.client = (Bellhub if kind == "sync" else AsyncBellhub)(address, **options)

    def __getattr__(self, name: str) -> Ask:
        method = getattr(self.client, name)
        if isinstance(self.client, AsyncBellhub):
            return method

        async def in_thread(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return in_thread


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def client_of(kind: str, port: int, secret: str, path: str = "", **options: Any) -> AsyncIterator[Both]:
    both = Both(kind, f"http://127.0.0.1:{port}{path}", secret=secret, **options)
    try:
        yield both
    finally:
        await both.close()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """Cuts between a hub and its clients; what the hub says is one message a read."""
    proxy = await Proxy(port, lambda data, at: len(data) if len(data) > at else None).start()
    try:
        yield proxy
    finally:
        await proxy.stop()


@asynccontextmanager
async def saying(*answers: str) -> AsyncIterator[tuple[int, list[str]]]:
    """A port where one answer after the other is given, whatever is asked, and the heads of what was asked."""
    asked: list[str] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        status, _, body = answers[len(asked) - 1].partition("\n\n")
        head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


SENT = '202 Accepted\n\n{"object": "notification_send_result", "id": "e1", "enqueued": 1}'


def keys(asked: list[str]) -> list[str]:
    return [line.partition(": ")[2] for head in asked for line in head.split("\r\n") if "idempotency-key" in line]


async def titles(hub: RunningHub, user: str) -> list[str]:
    return [entry["data"]["title"] for entry in (await hub.feed(user))["items"]]


# ---- what can be asked -----------------------------------------------------------------------------------


async def test_what_is_sent_is_in_the_feed_with_all_its_parts(shared_hub: RunningHub, ann: str, kind: str) -> None:
    expires = datetime.now(UTC) + timedelta(hours=1)
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        sent = await bell.send(
            ann,
            "Order 17 has shipped – 📦",
            category="order.updated",
            body="It is on its way",
            priority="high",
            url="/orders/17",
            topic="orders",
            data={"order": 17},
            sender={"id": "bob", "type": "user", "name": "Bob Ågren", "handle": "bob@example.com"},
            resource={"id": "17", "type": "order"},
            channel="inbox",
            expires_at=expires,
            source_key="order-17",
        )
    (entry,) = (await shared_hub.feed(ann))["items"]
    assert entry["id"] == sent
    assert entry["category"] == "order.updated"
    assert entry["data"] == {
        "order": 17,
        "title": "Order 17 has shipped – 📦",
        "body": "It is on its way",
        "action_url": "/orders/17",
    }
    assert (entry["priority"], entry["topic"], entry["resource"]["id"]) == ("high", "orders", "17")
    assert entry["actor"]["first_name"] == "Bob"
    assert abs(datetime.fromisoformat(entry["expires_at"]) - expires) < timedelta(milliseconds=1)


async def test_a_withdrawn_notification_is_gone_and_a_second_time_was_not_there(
    shared_hub: RunningHub, ann: str, kind: str
) -> None:
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        sent = await bell.send(ann, "hello", category="a")
        assert await bell.withdraw(ann, sent) is True
        assert await titles(shared_hub, ann) == []
        assert await bell.withdraw(ann, sent) is False
        for odd in ("../odd id?#", "..", ".", "%2e"):
            assert await bell.withdraw(ann, odd) is False


async def test_all_of_a_source_key_are_withdrawn_together(shared_hub: RunningHub, ann: str, kind: str) -> None:
    ann = f"{ann} & co/ä"
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        sent = [await bell.send(ann, title, category="a", source_key="order 17 & more") for title in ("one", "two")]
        await bell.send(ann, "three", category="a")
        assert sorted(await bell.withdraw_source(ann, "order 17 & more")) == sorted(sent)
        assert await titles(shared_hub, ann) == ["three"]
        assert await bell.withdraw_source(ann, "order 17 & more") == []


async def test_one_call_sends_to_many_and_tells_each_ones_id(shared_hub: RunningHub, ann: str, kind: str) -> None:
    users = [f"{ann}-{number}" for number in range(99)]
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        sent = await bell.send_many([*users, users[0]], "hello", category="a", source_key="s")
        assert list(sent) == users
        for user in (users[0], users[98]):
            assert [entry["id"] for entry in (await shared_hub.feed(user))["items"]] == [sent[user]]
        with pytest.raises(BellhubError, match="target"):
            await bell.send_many([*users, "one", "more"], "hello", category="a")
        with pytest.raises(BellhubError, match="target"):
            await bell.send_many("ann", "hello", category="a")


async def test_an_announcement_reaches_everybody_until_it_is_taken_back(
    shared_hub: RunningHub, ann: str, kind: str
) -> None:
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        made = await bell.announce("We are down on Sunday", category="system.news", url="/news")
        assert [entry["id"] for entry in (await shared_hub.feed(ann))["items"]] == [made]
        assert await bell.unread_count(ann) == 1
        assert await bell.withdraw_announcement(made) is True
        assert await titles(shared_hub, ann) == []
        later = datetime.now(UTC) + timedelta(hours=1)
        planned = await bell.announce("Not yet", category="system.news", publish_at=later)
        assert await titles(shared_hub, ann) == []
        assert await bell.withdraw_announcement(planned) is True
        assert await bell.withdraw_announcement("another") is False


# ---- what a user has --------------------------------------------------------------------------------------


async def test_a_back_end_sees_and_marks_what_a_user_has(shared_hub: RunningHub, ann: str, kind: str) -> None:
    ann = f"{ann} ä"
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        bob = {"id": "bob", "type": "user", "name": "Bob"}
        sent = [await bell.send(ann, title, category="a", sender=bob) for title in ("one", "two", "three")]
        assert await bell.unread_count(ann) == 3
        shown = await bell.notification(ann, sent[0])
        assert (shown["title"], shown["status"], shown["sender"]["name"]) == ("one", "unseen", "Bob")
        phone = await shared_hub.connect(ann)
        marked = await bell.mark(ann, sent[0], "read")
        assert (marked["status"], marked["sender"]["id"]) == ("read", "bob")
        assert (await phone.next("state"))["verbs"] == ["read"]
        assert await bell.mark(ann, sent[0], "read") == marked
        await bell.mark(ann, sent[1], "dismiss")
        assert await bell.unread_count(ann) == 1
        assert await bell.mark_all_seen(ann) is None
        assert await bell.unread_count(ann) == 0
        with pytest.raises(BellhubError) as caught:
            await bell.notification("somebody else", sent[0])
        assert (caught.value.status, caught.value.details["resource"]) == (404, "notification")
        await phone.close()


async def test_lists_of_a_user_come_page_by_page_and_filtered(shared_hub: RunningHub, ann: str, kind: str) -> None:
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        sent = [await bell.send(ann, "x", category=category) for category in ("a", "b", "a", "a", "a")][::-1]
        first = await bell.notifications(ann, limit=2, category="a")
        second = await bell.notifications(ann, limit=2, category="a", cursor=first.next)
        found = [[one["id"] for one in page.items] for page in (first, second)]
        assert found == [[sent[0], sent[1]], [sent[2], sent[4]]]
        assert (first.previous, second.next) == (None, None)
        back = await bell.notifications(ann, limit=2, category="a", cursor=second.previous)
        assert back.items == first.items
        await bell.mark(ann, sent[3], "dismiss")
        assert [one["id"] for one in (await bell.notifications(ann, status="dismissed")).items] == [sent[3]]
        assert len((await bell.notifications(ann)).items) == 4


# ---- users and topics -------------------------------------------------------------------------------------


async def test_users_are_made_changed_shown_and_deleted(shared_hub: RunningHub, ann: str, kind: str) -> None:
    ann = f"{ann}/ä.."
    async with client_of(kind, shared_hub.port, shared_hub.secret, api_key=shared_hub.api_key) as bell:
        made = await bell.upsert_user(ann, first_name="Ann", email="ann@example.com", custom_fields={"plan": {"a": 1}})
        assert (made["external_id"], made["first_name"], made["locale"]) == (ann, "Ann", None)
        changed = await bell.upsert_user(ann, email=None, custom_fields={"plan": {"b": 2}})
        assert (changed["email"], changed["custom_fields"]) == (None, {"plan": {"a": 1, "b": 2}})
        assert await bell.user(ann) == changed
        assert await bell.delete_user(ann) is True
        assert await bell.delete_user(ann) is False
        with pytest.raises(BellhubError) as caught:
            await bell.user(ann)
    assert (caught.value.code, caught.value.details["resource"]) == ("not_found", "user")


async def test_users_join_and_leave_topics_and_who_cannot_is_told(shared_hub: RunningHub, ann: str, kind: str) -> None:
    topic, bob = f"orders/{ann}", f"bob of {ann}"
    async with client_of(kind, shared_hub.port, shared_hub.secret, api_key=shared_hub.api_key) as bell:
        for user in (ann, bob):
            await bell.upsert_user(user)
        assert await bell.subscribe(topic, ann, bob, "ghost") == {"ghost": "User not found"}
        assert await bell.subscribe(topic, ann) == {}
        assert await bell.unsubscribe(topic, bob) == {}
        assert list(await bell.unsubscribe(topic, bob, ann)) == [bob]


async def test_without_the_api_key_users_are_not_to_be_had(shared_hub: RunningHub, ann: str, kind: str) -> None:
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        with pytest.raises(BellhubError, match="x-notiflows-api-key is missing") as caught:
            await bell.user(ann)
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")


# ---- runs ------------------------------------------------------------------------------------------------


CLEO: Recipient = {"external_id": "cleo", "first_name": "Cleo"}


async def define(hub: RunningHub, handle: str) -> None:
    template = {"title": "Order {{ data.number }} of {{ actor.first_name }}"}
    headers = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
    async with hub.http() as http:
        answer = await http.put(f"/admin/v1/notiflows/{handle}", json={"template": template}, headers=headers)
    assert answer.status_code in (200, 201), answer.text


async def soon(hub: RunningHub, user: str, *wanted: str) -> None:
    """A run has said what is wanted to its recipient, and nothing else."""
    async with asyncio.timeout(PATIENCE_S):
        while len(found := await titles(hub, user)) < len(wanted):  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.02)
    assert found == list(wanted)


async def test_a_notiflow_runs_for_whom_it_is_told_or_for_a_topic(shared_hub: RunningHub, ann: str, kind: str) -> None:
    bob, topic = f"bob of {ann}", f"orders-{ann}"
    await define(shared_hub, "order-shipped")
    async with client_of(kind, shared_hub.port, shared_hub.secret, api_key=shared_hub.api_key) as bell:
        run = await bell.run("order-shipped", ann, {"external_id": bob, "locale": "sv"}, data={"number": 1}, actor=CLEO)
        assert len(run) == 36
        await soon(shared_hub, ann, "Order 1 of Cleo")
        await soon(shared_hub, bob, "Order 1 of Cleo")
        assert (await bell.user(bob))["locale"] == "sv"
        await bell.subscribe(topic, bob)
        await bell.run("order-shipped", topic=topic, data={"number": 2}, actor="cleo")
        await soon(shared_hub, bob, "Order 2 of Cleo", "Order 1 of Cleo")
        assert await titles(shared_hub, ann) == ["Order 1 of Cleo"]
        for nobody in ({}, {"topic": topic}):
            with pytest.raises(BellhubError) as caught:
                await bell.run("order-shipped", *([ann] if nobody else []), **nobody)
            assert (caught.value.status, caught.value.code) == (422, "validation_error")


async def test_a_run_whose_answer_was_lost_is_one_run(shared_hub: RunningHub, ann: str, kind: str) -> None:
    await define(shared_hub, "order-shipped")
    options = {"api_key": shared_hub.api_key}
    async with (
        proxy_to(shared_hub.port) as proxy,
        client_of(kind, proxy.port, shared_hub.secret, **options) as bell,
    ):
        proxy.cut = lambda number: Cut(0) if number == 0 else None
        await bell.run("order-shipped", ann, data={"number": 1}, actor=CLEO)
        assert proxy.cuts == 1
        await bell.run("order-shipped", ann, data={"number": 2}, actor=CLEO)
    await soon(shared_hub, ann, "Order 2 of Cleo", "Order 1 of Cleo")


# ---- once ------------------------------------------------------------------------------------------------


async def test_a_send_whose_answer_was_lost_is_tried_again_and_happens_once(
    shared_hub: RunningHub, ann: str, kind: str
) -> None:
    async with proxy_to(shared_hub.port) as proxy, client_of(kind, proxy.port, shared_hub.secret) as bell:
        # Both times the hub has answered when the connection ends: without a byte, and inside the answer.
        proxy.cut = lambda number: [Cut(0), Cut(0, 100), None][number]
        sent = await bell.send(ann, "hello", category="a")
        assert proxy.cuts == 2
    assert [entry["id"] for entry in (await shared_hub.feed(ann))["items"]] == [sent]


async def test_two_calls_are_two_sends_and_one_key_of_ones_own_is_one(
    shared_hub: RunningHub, ann: str, kind: str
) -> None:
    async with client_of(kind, shared_hub.port, shared_hub.secret) as bell:
        assert await bell.send(ann, "twice", category="a") != await bell.send(ann, "twice", category="a")
        key = {"idempotency_key": f"job-{ann}-{kind}"}
        first = await bell.send(ann, "once", category="a", **key)
        assert await bell.send(ann, "once", category="a", **key) == first
        with pytest.raises(BellhubError) as caught:
            await bell.send(ann, "another", category="a", **key)
    assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")
    assert await titles(shared_hub, ann) == ["once", "twice", "twice"]


async def test_all_tries_of_a_call_carry_one_key_and_another_call_another(kind: str) -> None:
    answers = ("500 Oops\n\n", "502 Bad\n\n<html>", SENT, SENT)
    async with saying(*answers) as (port, asked), client_of(kind, port, "sk_x") as bell:
        await bell.send("ann", "hello", category="a")
        await bell.send("ann", "hello", category="a")
    first, second, third, other = keys(asked)
    assert first == second == third != other
    assert len(first) == 36


async def test_a_pause_that_was_asked_for_is_kept(kind: str) -> None:
    slowly = "429 Slow down\r\nretry-after: 1\n\n"
    async with saying(slowly, SENT) as (port, asked), client_of(kind, port, "sk_x") as bell:
        start = time.monotonic()
        assert await bell.send("ann", "hello", category="a") == "e1"
    assert 1.0 <= time.monotonic() - start < 1 + client.BACKOFF_S + 1
    assert len(asked) == 2


@pytest.mark.asyncio(loop_scope="function")
async def test_what_the_rate_limit_refuses_is_sent_when_its_window_ends(start_hub: StartHub, kind: str) -> None:
    hub = await start_hub(key_rate="3/second")
    async with client_of(kind, hub.port, hub.secret) as bell:
        start = time.monotonic()
        for title in "abcde":
            await bell.send("ann", title, category="a")
    assert time.monotonic() - start >= 1
    assert await titles(hub, "ann") == ["e", "d", "c", "b", "a"]


# ---- what goes wrong -------------------------------------------------------------------------------------


async def test_a_refusal_is_told_with_all_its_parts_after_one_request(
    shared_hub: RunningHub, ann: str, kind: str
) -> None:
    async with proxy_to(shared_hub.port) as proxy, client_of(kind, proxy.port, shared_hub.secret) as bell:
        with pytest.raises(BellhubError, match=r"^invalid_request: title: ") as caught:
            await bell.send(ann, "", category="a")
        assert proxy.connections == 1
    error = caught.value
    assert (error.status, error.code) == (400, "invalid_request")
    assert error.message.startswith("title: ")
    assert error.details["fields"][0]["field"] == "title"
    assert (error.request_id or "").startswith("req_")


async def test_a_wrong_key_is_401(shared_hub: RunningHub, ann: str, kind: str) -> None:
    async with client_of(kind, shared_hub.port, "sk_wrong") as bell:
        with pytest.raises(BellhubError) as caught:
            await bell.withdraw(ann, "x")
    assert (caught.value.status, caught.value.code) == (401, "invalid_token")


async def test_where_no_hub_is_the_call_says_so_after_its_last_try(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BACKOFF_S", 0.01)
    async with client_of(kind, free_port(), "sk_x") as bell:
        with pytest.raises(BellhubError, match="ConnectError") as caught:
            await bell.send("ann", "hello", category="a")
    assert (caught.value.status, caught.value.code) == (None, "unreachable")
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)


async def test_a_hub_that_stays_silent_is_tried_again(shared_hub: RunningHub, ann: str, kind: str) -> None:
    async with proxy_to(shared_hub.port) as proxy:
        proxy.stall()
        async with client_of(kind, proxy.port, shared_hub.secret, timeout=0.2) as bell:
            sending = asyncio.create_task(bell.send(ann, "hello", category="a"))
            await until(lambda: proxy.connections == 2)
            proxy.flow()
            sent = await sending
    assert [entry["id"] for entry in (await shared_hub.feed(ann))["items"]] == [sent]


@pytest.mark.parametrize("answer", ["200 OK\n\n<html>a page</html>", '202 Accepted\n\n{"id": 1', "202 Accepted\n\n[]"])
async def test_an_answer_that_is_no_hubs_is_an_error(answer: str) -> None:
    async with saying(answer) as (port, _), client_of("async", port, "sk_x") as bell:
        with pytest.raises(BellhubError) as caught:
            await bell.send("ann", "hello", category="a")
    assert caught.value.code == "unexpected_answer"


async def test_an_error_of_a_proxy_keeps_its_status() -> None:
    async with saying("404 Not Found\n\n<html>nothing here") as (port, _), client_of("async", port, "sk_x") as bell:
        with pytest.raises(BellhubError) as caught:
            await bell.withdraw("ann", "x")
    assert (caught.value.status, caught.value.code, caught.value.message) == (404, "http_404", "<html>nothing here")


async def test_a_base_url_that_leads_nowhere_is_no_missing_notification(
    shared_hub: RunningHub, ann: str, kind: str
) -> None:
    for path in ("/wrong", "/v1/messaging"):
        async with client_of(kind, shared_hub.port, shared_hub.secret, path) as bell:
            with pytest.raises(BellhubError) as caught:
                await bell.withdraw(ann, "x")
        assert caught.value.status == 404


async def test_the_base_url_may_end_in_a_slash(shared_hub: RunningHub, ann: str, kind: str) -> None:
    async with client_of(kind, shared_hub.port, shared_hub.secret, "/") as bell:
        assert await bell.unread_count(ann) == 0


async def test_a_time_without_an_offset_is_refused_by_the_hub_and_nothing_else_is_json(
    shared_hub: RunningHub, ann: str
) -> None:
    async with client_of("async", shared_hub.port, shared_hub.secret) as bell:
        with pytest.raises(BellhubError, match="expires_at"):
            await bell.send(ann, "hello", category="a", expires_at=datetime.now() + timedelta(hours=1))
        with pytest.raises(TypeError, match="set is not JSON"):
            await bell.send(ann, "hello", category="a", data={"a": {1}})
