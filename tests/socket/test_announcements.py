"""Announcements on open sockets: ordinary `entry` and `gone` events, once for each session, whichever hub it is on."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from hub.frames import MSGPACK_PROTOCOL
from hub.keys import CONTROL, User
from hub.model import timestamp
from tests.conftest import StartHub
from tests.harness import Client, RedisServer, RunningHub, until

ANNOUNCEMENTS = "/v1/messaging/announcements"
SOON_US = 1_000_000


async def announce(hub: RunningHub, title: str = "News", **fields: Any) -> dict[str, Any]:
    async with hub.http() as http:
        body = {"category": "system.news", "title": title} | fields
        answer = await http.post(ANNOUNCEMENTS, json=body, headers=hub.producer)
    assert answer.status_code in (201, 202), answer.text
    return answer.json()


async def withdraw(hub: RunningHub, announcement_id: str) -> None:
    async with hub.http() as http:
        answer = await http.delete(f"{ANNOUNCEMENTS}/{announcement_id}", headers=hub.producer)
    assert answer.status_code == 200, answer.text


def soon(redis: RedisServer) -> str:
    seconds, micros = redis.client.time()
    return timestamp(int(seconds) * 1_000_000 + int(micros) + SOON_US)


def events(client: Client) -> list[dict[str, Any]]:
    return [frame for frame in client.frames if frame["type"] in ("entry", "state", "gone")]


@pytest.fixture
async def hubs(start_hub: StartHub) -> tuple[RunningHub, RunningHub]:
    """Two hubs on one store."""
    return await start_hub(), await start_hub()


async def test_every_session_on_every_hub_gets_one_entry(hubs: tuple[RunningHub, RunningHub]) -> None:
    here, there = hubs
    clients = [await hub.connect(user) for user in ("ann", "ann", "bob") for hub in hubs]
    clients.append(await there.connect("cay", protocol=MSGPACK_PROTOCOL))
    made = await announce(here)
    for client in clients:
        frame = await client.next("entry")
        assert (frame["entry"]["id"], frame["prev"]) == (made["id"], "0")
        assert frame["counts"] == {"unseen": 1, "unread": 1, "total": 1}
    last = await announce(here, "last")
    for client in clients:
        assert (await client.next("entry"))["entry"]["id"] == last["id"]
        assert [frame["type"] for frame in events(client)] == ["entry", "entry"]


async def test_who_was_away_finds_it_when_subscribing(hub: RunningHub) -> None:
    phone = await hub.connect("ann")
    sent = await hub.send("ann")
    await phone.next("entry")
    await phone.close()
    made = await announce(hub)
    again = await hub.connect("ann", cursor=phone.cursor)
    assert (await again.next("subscribed"))["mode"] == "replay"
    assert (await again.next("entry"))["entry"]["id"] == made["id"]
    fresh = await hub.connect("ann")
    snapshot = await fresh.next("subscribed")
    assert [entry["id"] for entry in snapshot["entries"]] == [made["id"], sent]
    assert snapshot["counts"] == {"unseen": 2, "unread": 2, "total": 2}
    assert events(fresh) == []


async def test_who_does_not_follow_is_left_alone_until_a_list(hub: RunningHub, redis_server: RedisServer) -> None:
    made = await announce(hub)
    client = await hub.connect("ann", subscribe=False)
    other = await hub.connect("bob")
    await other.ask("list", channel="inbox")
    assert redis_server.client.exists(User("default", "ann").feed("inbox").key("log")) == 0
    page = await client.ask("list", channel="inbox")
    assert [entry["id"] for entry in page["entries"]] == [made["id"]]
    assert page["counts"]["unseen"] == 1


async def test_a_mark_is_told_to_the_users_other_sessions_and_to_nobody_else(hub: RunningHub) -> None:
    phone, laptop, other = await hub.connect("ann"), await hub.connect("ann"), await hub.connect("bob")
    made = await announce(hub)
    for client in (phone, laptop, other):
        await client.next("entry")
    ack = await phone.ask("read", channel="inbox", ids=[made["id"]])
    assert ack["changed"] == [made["id"]]
    assert (await laptop.next("state"))["counts"] == {"unseen": 0, "unread": 0, "total": 1}
    assert (await other.ask("list", channel="inbox"))["counts"]["unread"] == 1
    assert [frame["type"] for frame in events(other)] == ["entry"]


async def test_a_mark_of_one_that_was_not_brought_yet_brings_it_first(hub: RunningHub) -> None:
    client = await hub.connect("ann", subscribe=False)
    made = await announce(hub)
    ack = await client.ask("dismiss", channel="inbox", ids=[made["id"]], op="o1")
    assert (ack["changed"], ack["counts"]["total"]) == ([made["id"]], 0)
    assert (await client.ask("dismiss", channel="inbox", ids=[made["id"]], op="o1"))["replayed"] is True


async def test_mark_all_spares_what_was_announced_after_its_cut_off(hub: RunningHub) -> None:
    client = await hub.connect("ann")
    early = await announce(hub, "early")
    cursor = (await client.next("entry"))["cursor"]
    late = await announce(hub, "late")
    await client.next("entry")
    ack = await client.ask("read", channel="inbox", upto=cursor)
    assert (ack["changed"], ack["counts"]["unread"]) == ([early["id"]], 1)
    ack = await client.ask("read", channel="inbox", upto=client.cursor)
    assert (ack["changed"], ack["counts"]["unread"]) == ([late["id"]], 0)


async def test_a_scheduled_one_comes_when_it_is_due_on_every_hub(
    hubs: tuple[RunningHub, RunningHub], redis_server: RedisServer
) -> None:
    here, there = hubs
    phone, laptop = await here.connect("ann"), await there.connect("ann")
    at = soon(redis_server)
    made = await announce(here, publish_at=at)
    for client in (phone, laptop):
        entry = (await client.next("entry"))["entry"]
        assert entry["id"] == made["id"]
        assert at <= entry["created_at"] <= entry["sent_at"]


async def test_one_that_was_planned_while_no_hub_ran_comes_when_one_does(
    start_hub: StartHub, redis_server: RedisServer
) -> None:
    first = await start_hub()
    made = await announce(first, publish_at=soon(redis_server))
    await first.stop()
    second = await start_hub()
    client = await second.connect("ann")
    if not (await client.next("subscribed"))["entries"]:
        assert (await client.next("entry"))["entry"]["id"] == made["id"]
    assert [entry["id"] for entry in (await second.feed("ann"))["items"]] == [made["id"]]


async def test_a_withdrawn_one_leaves_followed_feeds_at_once(hubs: tuple[RunningHub, RunningHub]) -> None:
    here, there = hubs
    clients = [await hub.connect("ann") for hub in hubs]
    made = await announce(here)
    for client in clients:
        await client.next("entry")
    await withdraw(there, made["id"])
    for client in clients:
        gone = await client.next("gone")
        assert (gone["ids"], gone["reason"], gone["counts"]["total"]) == ([made["id"]], "withdrawn", 0)
    assert (await here.feed("bob"))["items"] == []


async def test_an_expired_one_leaves_followed_feeds_by_itself(hub: RunningHub, redis_server: RedisServer) -> None:
    client = await hub.connect("ann")
    made = await announce(hub, expires_at=soon(redis_server))
    await client.next("entry")
    gone = await client.next("gone")
    assert (gone["ids"], gone["reason"]) == ([made["id"]], "expired")


async def test_a_hub_that_was_not_told_finds_out_within_a_check(start_hub: StartHub) -> None:
    here, deaf = await start_hub(), await start_hub(check_s=0.2)
    client = await deaf.connect("ann")
    deliver = deaf.hub._message
    deaf.hub.bus._on_message = lambda channel, payload: None if channel == CONTROL else deliver(channel, payload)
    made = await announce(here)
    assert (await client.next("entry"))["entry"]["id"] == made["id"]
    await withdraw(here, made["id"])
    assert (await client.next("gone"))["ids"] == [made["id"]]


async def test_a_lost_event_is_made_good_like_any_other(start_hub: StartHub) -> None:
    hub = await start_hub(check_s=0.2)
    client = await hub.connect("ann")
    deliver = hub.hub.registry.message
    hub.hub.bus._on_message = lambda channel, payload: (
        None if channel == User("default", "ann").events else deliver(channel, payload)
    )
    made = await announce(hub)
    assert (await client.next("entry"))["entry"]["id"] == made["id"]


async def test_who_subscribes_while_it_is_announced_gets_it_once(hubs: tuple[RunningHub, RunningHub]) -> None:
    users = [f"user-{number}" for number in range(20)]

    async def arrive(number: int) -> Client:
        return await hubs[number % 2].connect(users[number])

    clients, *made = await asyncio.gather(
        asyncio.gather(*(arrive(number) for number in range(20))), *(announce(hubs[0], str(n)) for n in range(3))
    )
    expected = {one["id"] for one in made}

    def seen(client: Client) -> Counter[str]:
        shown = [entry["id"] for frame in client.frames for entry in frame.get("entries", ())]
        return Counter(shown + [frame["entry"]["id"] for frame in events(client)])

    for user, client in zip(users, clients, strict=True):
        await until(lambda client=client: set(seen(client)) == expected)
        assert set(seen(client).values()) == {1}
        feed = await hubs[1].feed(user)
        assert {entry["id"] for entry in feed["items"]} == expected
        assert (feed["total_unseen"], len(feed["items"])) == (3, 3)


async def test_spoilt_keys_of_one_user_leave_the_others_theirs(hub: RunningHub, redis_server: RedisServer) -> None:
    ann, bob = await hub.connect("ann"), await hub.connect("bob")
    redis_server.client.set(User("default", "ann").feed("inbox").key("items"), "not a hash")
    made = await announce(hub)
    assert (await bob.next("entry"))["entry"]["id"] == made["id"]
    assert events(ann) == []


async def test_spoilt_announcements_of_one_project_leave_the_hub_alive(
    start_hub: StartHub, redis_server: RedisServer
) -> None:
    redis_server.client.set("{default}:announcements:due", "not a sorted set")
    hub = await start_hub(check_s=0.1)
    client = await hub.connect("ann")
    sent = await hub.send("ann")
    assert (await client.next("entry"))["entry"]["id"] == sent
    redis_server.client.delete("{default}:announcements:due")
    made = await announce(hub)
    assert (await client.next("entry"))["entry"]["id"] == made["id"]
