"""Clients are cut, slow, silent, mad or no longer welcome: nobody loses anything, nobody else notices."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import websockets

from hub.keys import User
from hub.sending import entry_body, new_entry_id, read_sending
from tests.chaos.conftest import StartProxy
from tests.chaos.follower import Follower, Mute, Producer, verdict
from tests.conftest import StartHub
from tests.harness import Client, RunningHub, until
from tests.judge import Connection
from tests.proxy import Cut, Proxy, pushed_on

pytestmark = pytest.mark.chaos

OUTBOX_BYTES = 1024 * 1024
"""What the hub may keep for one client that does not read (`docs/protocol.md`: closed with 4001 above it)."""
KERNEL_BYTES = 1024 * 1024
"""Room for what both kernels keep of one connection here."""


async def flood(hub: RunningHub, user: str, entries: int, size: int) -> list[str]:
    """Entries of so many bytes, past REST: as fast as the store takes them, 50 at a time; their ids."""
    feed = User("default", user).feed("inbox")
    body = {"category": "flood", "target": {"type": "user", "id": user}, "title": "flood", "body": "x" * size}
    sending = read_sending(body)
    ids = [new_entry_id() for _ in range(entries)]
    for first in range(0, entries, 50):
        await asyncio.gather(*(hub.hub.store.publish(feed, i, entry_body(i, sending)) for i in ids[first : first + 50]))
    return ids


# ---- cut ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["bellhub.v1.json", "bellhub.v1.msgpack"])
async def test_a_client_cut_after_any_frame_or_inside_one_ends_equal_to_one_that_never_was(
    start_proxy: StartProxy, hub: RunningHub, protocol: str
) -> None:
    proxy = await start_proxy(hub.port)
    proxy.cut = lambda number: Cut(number // 2, more_bytes=number % 2 * 5) if number < 40 else None
    async with (
        Follower(hub, "ann") as witness,
        Producer(hub) as producer,
        Follower(hub, "ann", port=lambda: proxy.port, protocol=protocol) as cut,
    ):
        sent, number = [await producer.send("ann", "first")], 0
        while proxy.cuts < 40:
            sent.append(await producer.send("ann", f"number {number}"))
            # Whatever a cut does to a mark or its answer: each of these changes something, exactly once.
            archived = await cut.mark("archive", f"a{number}", ids=[sent[0]])
            back = await cut.mark("unarchive", f"u{number}", ids=[sent[0]])
            read = await witness.mark("read", f"r{number}", ids=[sent[-1]])
            assert [answer["changed"] for answer in (archived, back, read)] == [[sent[0]], [sent[0]], [sent[-1]]]
            number += 1
        await verdict(hub, "ann", producer, witness, cut)
        assert len(witness.events) == 4 * number + 1
        assert len(cut.connections) > 30
        assert "replay" in cut.modes
        assert cut.modes.count("snapshot") <= 8, "within the log's reach there is no reason to start again"


async def test_who_comes_back_in_the_middle_of_a_flood_gets_everything_in_order(
    start_proxy: StartProxy, hub: RunningHub
) -> None:
    proxy = await start_proxy(hub.port)
    proxy.cut = lambda number: Cut(3 + number * 4) if number < 25 else None
    async with (
        Follower(hub, "ann") as witness,
        Producer(hub) as producer,
        Follower(hub, "ann", port=lambda: proxy.port) as cut,
    ):
        sent: list[str] = []
        while proxy.cuts < 25:
            sent += await flood(hub, "ann", 100, 100)
        await verdict(hub, "ann", producer, witness, cut, more=sent)


@pytest.mark.parametrize(("missed", "mode"), [(0, "live"), (20, "replay"), (21, "snapshot")])
async def test_who_comes_back_is_told_how_far_the_log_reaches(
    start_proxy: StartProxy, start_hub: StartHub, missed: int, mode: str
) -> None:
    hub = await start_hub(log_events=20)
    proxy = await start_proxy(hub.port)
    async with (
        Follower(hub, "ann") as witness,
        Producer(hub) as producer,
        Follower(hub, "ann", port=lambda: proxy.port) as away,
    ):
        await producer.send("ann", "before")
        await away.until(lambda: len(away.events) == 1)
        proxy.open = False
        proxy.cut_now()
        for number in range(missed):
            await producer.send("ann", f"missed {number}")
        proxy.open = True
        await away.until(lambda: len(away.modes) == 2)
        await verdict(hub, "ann", producer, witness, away)
        assert away.modes == ["snapshot", mode]


async def test_a_client_behind_a_dead_line_is_given_up_and_comes_back_whole(
    start_proxy: StartProxy, start_hub: StartHub
) -> None:
    hub = await start_hub(ping_s=0.5, pong_s=0.5)
    proxy = await start_proxy(hub.port)
    async with (
        Follower(hub, "ann") as witness,
        Producer(hub) as producer,
        Follower(hub, "ann", port=lambda: proxy.port) as away,
    ):
        proxy.stall()
        await producer.send("ann", "nobody hears this there")
        await until(lambda: len(hub.hub.registry.sessions) == 1)
        proxy.cut_now()
        proxy.flow()
        await away.until(lambda: len(away.connections) > 1)
        await verdict(hub, "ann", producer, witness, away)
        assert witness.closed == [], "one that answers pings is left alone"


async def test_small_frames_are_not_held_back(hub: RunningHub) -> None:
    client = await hub.connect("ann")
    rounds = []
    for _ in range(5):  # the machine may be busy in some of them
        began = time.monotonic()
        for _ in range(20):  # two frames each: Nagle's algorithm would add 40 ms to every other one
            await asyncio.gather(client.ask("ping"), client.ask("list", channel="inbox"))
        rounds.append(time.monotonic() - began)
    assert min(rounds) < 0.4
    await client.close()


# ---- slow and mad ------------------------------------------------------------------------------------


async def test_a_client_that_never_reads_is_closed_and_nobody_else_waits(hub: RunningHub) -> None:
    mute = await Mute.open(hub, "ann")
    await until(lambda: [session.follows for session in hub.hub.registry.sessions] == [("inbox",)])
    async with Follower(hub, "ann") as witness, Follower(hub, "bob") as bob, Producer(hub) as producer:
        flooding = asyncio.create_task(flood(hub, "ann", 2_000, 2_000))
        number = 0
        while not flooding.done() and len(hub.hub.registry.sessions) == 3:
            await producer.send("bob", f"number {number}")
            number += 1
            await bob.until(lambda n=number: len(bob.events) == n)
        assert number >= 5, "another user's notifications waited for a slow reader"
        await flooding
        await until(lambda: len(hub.hub.registry.sessions) == 2)
        frames, code, size = await mute.rest()
        assert code in (4001, None)
        assert size < KERNEL_BYTES, "what it did not read was kept for it after it was closed"
        await verdict(hub, "bob", producer, bob)
        cursor = next(frame["cursor"] for frame in reversed(frames) if frame["type"] == "entry")
        async with Follower(hub, "ann", cursor=cursor) as comes_back:
            comes_back.connections.insert(0, Connection(frames, open=False))
            await verdict(hub, "ann", producer, witness, comes_back, more=flooding.result())
        assert comes_back.modes == ["snapshot"]


@pytest.mark.parametrize(
    "frame",
    [{"type": "ping"}, {"type": "nonsense"}, {"type": "seen", "channel": "inbox", "ids": ["none"]}],
    ids=["pings", "unknown", "marks"],
)
async def test_a_client_that_only_speaks_is_closed_before_it_costs_much(hub: RunningHub, frame: dict[str, Any]) -> None:
    mute = await Mute.open(hub, "ann")
    async with Follower(hub, "bob") as bob, Producer(hub) as producer:
        with suppress(ConnectionError):
            for _ in range(20_000):
                await mute.say(frame)
        await producer.send("bob", "all is well")
        await verdict(hub, "bob", producer, bob)
        await until(lambda: len(hub.hub.registry.sessions) == 1)
        _, code, size = await mute.rest()
        assert code in (4001, 4007, None)
        assert size < OUTBOX_BYTES + KERNEL_BYTES


# ---- silent, old, no longer welcome ------------------------------------------------------------------


async def until_closed(socket: websockets.ClientConnection) -> AsyncIterator[str | bytes]:
    with suppress(websockets.ConnectionClosed):
        while True:
            yield await socket.recv()


async def test_a_socket_that_never_says_who_it_is_is_closed_with_4006(start_hub: StartHub) -> None:
    hub = await start_hub(auth_timeout_s=0.5)
    client = await hub.connect()
    assert await client.close_code() == 4006
    (bye,) = client.frames
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", 4006, True)


async def test_a_silent_client_is_pinged_and_then_closed_with_4002(start_hub: StartHub) -> None:
    hub = await start_hub(ping_s=0.5, pong_s=0.5)
    began = time.monotonic()
    async with (
        Follower(hub, "ann") as lively,
        websockets.connect(f"ws://127.0.0.1:{hub.port}/ws/v1", ping_interval=None) as silent,
    ):
        await silent.send(json.dumps({"type": "auth", "api_key": hub.api_key, "token": hub.token("ann")}))
        frames = [json.loads(message) async for message in until_closed(silent)]
        assert [frame["type"] for frame in frames] == ["welcome", "ping", "bye"]
        assert silent.close_code == frames[-1]["code"] == 4002
        assert 1.0 <= time.monotonic() - began < 3
        assert lively.closed == []


async def test_an_old_socket_is_asked_to_come_back_and_misses_nothing(start_hub: StartHub) -> None:
    hub = await start_hub(max_age_s=1)
    async with Follower(hub, "ann") as follower, Producer(hub) as producer:
        number = 0
        while len(follower.closed) < 2:
            await producer.send("ann", f"number {number}")
            number += 1
            await asyncio.sleep(0.02)
        await verdict(hub, "ann", producer, follower)
        assert set(follower.closed) == {4005}
        assert set(follower.modes[1:]) <= {"live", "replay"}


async def test_a_token_ends_on_the_open_socket_unless_it_is_refreshed_in_time(start_hub: StartHub) -> None:
    hub = await start_hub(token_leeway_s=1)
    short = hub.token("ann", ttl_s=2)
    forgetful, careful = await hub.connect("ann", token=short), await hub.connect("ann", token=short)
    ends = (await forgetful.next("expiring"))["expires_at"]
    assert ends == forgetful.frames[0]["expires_at"], "less than a minute is left: told right after `welcome`"
    refreshed = await careful.ask("refresh", token=hub.token("ann"))
    assert refreshed["type"] == "refreshed"
    assert refreshed["expires_at"] > ends
    assert await forgetful.close_code() == 4003
    bye = await forgetful.next("bye")
    assert (bye["code"], bye["reconnect"]) == (4003, True)
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 0.5))
    assert now >= ends[:19], "the leeway belongs to the client"
    await hub.send("ann", "still there")
    assert (await careful.next("entry"))["entry"]["data"]["title"] == "still there"
    assert not careful.closed.done()
    await careful.close()


async def test_a_revoked_user_is_closed_on_every_hub_even_where_the_message_was_lost(
    redis_proxy: Proxy, start_hub: StartHub
) -> None:
    east = await start_hub(check_s=30)
    redis_proxy.lose = lambda message: pushed_on(message) is not None and b"\r\n! revoked " in message
    west = await start_hub(redis_url=redis_proxy.url, check_s=0.5)
    here, there, other = await east.connect("ann"), await west.connect("ann"), await west.connect("bob")
    await east.hub.store.revoke(User("default", "ann"))
    for client in (here, there):
        assert await client.close_code() == 4503
        bye = await client.next("bye")
        assert (bye["code"], bye["reconnect"]) == (4503, False)
    assert redis_proxy.lost == 1
    refused = await Client.open(f"ws://127.0.0.1:{west.port}/ws/v1")
    await refused.send("auth", api_key=west.api_key, token=west.token("ann", now=time.time() - 5))
    assert await refused.close_code() == 4503
    again = await west.connect("ann", token=west.token("ann", now=time.time() + 2))
    await west.send("ann", "signed in again")
    await again.next("entry")
    assert not other.closed.done()
    await asyncio.gather(again.close(), other.close())
