"""Redis loses connections, messages, scripts and itself: sockets stay, and everything comes out right."""

import asyncio
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hub import scripts
from tests.chaos.conftest import StartProxy
from tests.chaos.follower import Follower, Producer, everything, held, verdict
from tests.conftest import StartHub
from tests.harness import RedisServer, RunningHub, until
from tests.proxy import Cut, Proxy, pushed_on

pytestmark = pytest.mark.chaos

ANN = "{default/ann}:events"


async def step(producer: Producer, marker: Follower, number: int) -> None:
    """Sends one entry to ann and marks it read: both must succeed in the end, once, whatever happens."""
    entry_id = await producer.send("ann", f"number {number}")
    answer = await marker.mark("read", f"op {number}", ids=[entry_id])
    assert answer["type"] == "ack", answer
    assert answer["changed"] == [entry_id]


async def settles(hub: RunningHub, producer: Producer, *followers: Follower) -> None:
    """The end of each test: all equal, nothing lost or doubled, and nobody was ever disconnected."""
    await verdict(hub, "ann", producer, *followers)
    assert [follower.closed for follower in followers] == [[] for _ in followers], "the hub's trouble is not theirs"
    assert [follower.modes for follower in followers] == [["snapshot"] for _ in followers]


async def ready(hub: RunningHub) -> tuple[int, int]:
    """The statuses of `/readyz` and `/healthz`."""
    async with hub.http() as http:
        return (await http.get("/readyz")).status_code, (await http.get("/healthz")).status_code


async def readyz(hub: RunningHub, status: int) -> None:
    """Waits for this readiness; the hub is alive all the time."""
    async with asyncio.timeout(15):
        while (found := await ready(hub))[0] != status:
            assert found[1] == 200
            await asyncio.sleep(0.05)


# ---- the subscriber connection -----------------------------------------------------------------------


async def test_a_killed_subscriber_connection_disconnects_nobody_and_loses_nothing(
    hub: RunningHub, redis_server: RedisServer
) -> None:
    async with (
        Follower(hub, "ann") as phone,
        Follower(hub, "ann", protocol="bellhub.v1.msgpack") as laptop,
        Producer(hub) as producer,
    ):
        for number in range(60):
            if number % 10 == 5:
                await until(lambda: redis_server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1)
            await step(producer, phone, number)
        await settles(hub, producer, phone, laptop)
        assert len(laptop.events) == 120


async def test_what_was_said_while_nobody_listened_is_told_when_somebody_does_again(
    hub: RunningHub, redis_server: RedisServer
) -> None:
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        await producer.send("ann", "heard")
        redis_server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        began = time.monotonic()
        await producer.send("ann", "not heard")
        await laptop.until(lambda: len(laptop.events) == 2)  # and nothing comes that would show the gap
        assert time.monotonic() - began < 10
        await settles(hub, producer, phone, laptop)


async def test_a_connection_cut_inside_a_pushed_message_loses_nothing(redis_proxy: Proxy, start_hub: StartHub) -> None:
    hub = await start_hub(redis_url=redis_proxy.url)
    async with (
        Follower(hub, "ann") as phone,
        Follower(hub, "ann") as laptop,
        Producer(hub) as producer,
    ):
        first = redis_proxy.connections
        redis_proxy.cut = lambda number: Cut(3 + (number - first), more_bytes=17) if number < first + 24 else None
        redis_proxy.cut_now()
        number = 0
        while redis_proxy.cuts < 24:
            await step(producer, phone, number)
            number += 1
        await settles(hub, producer, phone, laptop)


async def test_a_deaf_subscriber_is_noticed_by_its_probe_and_repaired(redis_proxy: Proxy, start_hub: StartHub) -> None:
    hub = await start_hub(redis_url=redis_proxy.url, probe_s=0.5)
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        redis_proxy.lose = lambda message: pushed_on(message) is not None and redis_proxy.connections == before
        before = redis_proxy.connections
        began = time.monotonic()
        for number in range(5):
            await producer.send("ann", f"number {number}")
        assert laptop.events == []
        await laptop.until(lambda: len(laptop.events) == 5)
        assert time.monotonic() - began < 10
        await settles(hub, producer, phone, laptop)
        assert redis_proxy.connections == before + 1


async def test_messages_lost_on_a_live_connection_are_found_by_the_cursor_check(
    redis_proxy: Proxy, start_hub: StartHub
) -> None:
    hub = await start_hub(redis_url=redis_proxy.url, check_s=0.5)
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        before = redis_proxy.connections
        redis_proxy.lose = lambda message: pushed_on(message) == ANN
        began = time.monotonic()
        for number in range(5):
            await producer.send("ann", f"number {number}")
        await laptop.until(lambda: len(laptop.events) == 5)
        assert time.monotonic() - began < 10
        await settles(hub, producer, phone, laptop)
        assert redis_proxy.lost >= 5
        assert redis_proxy.connections == before


async def test_one_lost_message_is_noticed_by_the_next_one(redis_proxy: Proxy, start_hub: StartHub) -> None:
    hub = await start_hub(redis_url=redis_proxy.url)
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        redis_proxy.lose = lambda message: b"number 1" in message and pushed_on(message) == ANN
        began = time.monotonic()
        for number in range(6):
            await producer.send("ann", f"number {number}")
            await asyncio.sleep(0.1 if number == 0 else 0)
        await settles(hub, producer, phone, laptop)
        assert redis_proxy.lost == 1
        assert time.monotonic() - began < 10


async def test_a_subscription_that_redis_ended_is_taken_up_again_at_once(
    redis_proxy: Proxy, start_hub: StartHub
) -> None:
    hub = await start_hub(redis_url=redis_proxy.url)
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        await producer.send("ann", "heard")
        await laptop.until(lambda: len(laptop.events) == 1)
        began = time.monotonic()
        redis_proxy.inject(b"*2\r\n$12\r\nSUNSUBSCRIBE\r\n$%d\r\n%s\r\n" % (len(ANN), ANN.encode()))
        for number in range(20):
            await producer.send("ann", f"number {number}")
        await settles(hub, producer, phone, laptop)
        assert time.monotonic() - began < 10


async def test_a_repair_that_fails_is_tried_again_until_it_succeeds(
    aof_server: RedisServer, start_proxy: StartProxy, start_hub: StartHub
) -> None:
    proxy = await start_proxy(aof_server.socket)
    hub = await start_hub(redis_url=proxy.url)
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        proxy.lose = lambda message: pushed_on(message) == ANN
        await producer.send("ann", "not heard")
        aof_server.client.execute_command("ACL", "SETUSER", "default", "-evalsha")
        aof_server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(aof_server.client.acl_log)  # the repair after the reconnect was refused
        assert laptop.events == []
        aof_server.client.execute_command("ACL", "SETUSER", "default", "+evalsha")
        began = time.monotonic()
        await laptop.until(lambda: len(laptop.events) == 1)
        assert time.monotonic() - began < 10
        await settles(hub, producer, phone, laptop)


@pytest.mark.parametrize("resumes", [True, False])
async def test_what_happens_while_a_session_reads_follows_what_it_read(
    redis_proxy: Proxy, start_hub: StartHub, resumes: bool
) -> None:
    near, far = await start_hub(), await start_hub(redis_url=redis_proxy.url)
    async with Follower(far, "ann") as witness, Producer(near) as producer:
        await producer.send("ann", "before")
        await witness.until(lambda: len(witness.events) == 1)
        client = await far.connect("ann", subscribe=False)
        redis_proxy.stall_answers()
        cursor = {"cursor": witness.cursor} if resumes else {}
        await client.send("subscribe", ref="r", channel="inbox", **cursor)
        await until(lambda: redis_proxy.waiting == 1)
        await producer.send("ann", "meanwhile")
        await witness.until(lambda: len(witness.events) == 2)  # heard by all sessions of this hub
        redis_proxy.flow()
        event = await client.next("entry")
        assert [frame["type"] for frame in client.frames] == ["welcome", "subscribed", "entry"]
        subscribed = client.frames[1]
        assert subscribed["mode"] == ("live" if resumes else "snapshot")
        assert subscribed["counts"]["total"] == 1
        assert (event["prev"], event["cursor"]) == (subscribed["cursor"], witness.cursor)
        await client.close()


async def test_nobody_is_welcomed_before_redis_confirmed_the_subscription(
    redis_proxy: Proxy, start_hub: StartHub
) -> None:
    hub = await start_hub(redis_url=redis_proxy.url)
    redis_proxy.lose = lambda message: message.startswith(b"*3\r\n$10\r\nssubscribe\r\n") and ANN.encode() in message
    client = await hub.connect()
    await client.send("auth", api_key=hub.api_key, token=hub.token("ann"))
    await client.send("subscribe", channel="inbox")
    assert await client.close_code() == 4004
    assert [frame["type"] for frame in client.frames] == ["bye"]


# ---- scripts -----------------------------------------------------------------------------------------


async def test_scripts_flushed_all_the_time_neither_lose_nor_double_a_mark(
    hub: RunningHub, redis_server: RedisServer
) -> None:
    async with (
        Follower(hub, "ann") as phone,
        Follower(hub, "ann") as laptop,
        Follower(hub, "bob") as bob,
        Producer(hub) as producer,
    ):
        with flushing(redis_server):
            # Bob's marks bring the script back between two of ann's.
            others = asyncio.create_task(toggle(bob, await producer.send("bob", "bob's"), 320, at_once=2))
            await toggle(phone, await producer.send("ann", "ann's"), 640, at_once=32)
            await others
        await settles(hub, producer, phone, laptop)
        await verdict(hub, "bob", producer, bob)
        states = [frame for frame in laptop.frames if frame["type"] == "state"]
        assert [frame["verbs"] for frame in states] == [["archive"], ["unarchive"]] * 320


async def test_a_mark_whose_script_is_gone_is_not_overtaken_by_the_next_one(
    hub: RunningHub, redis_server: RedisServer
) -> None:
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        for number in range(5):
            entry_id = await producer.send("ann", f"number {number}")
            await phone.until(lambda n=number: len(phone.events) == 2 * n + 1)
            redis_server.client.script_flush()
            redis_server.client.script_load(scripts.load()["mark_upto"].source)
            archive = phone.mark("archive", f"a{number}", ids=[entry_id])
            dismiss = phone.mark("dismiss", f"d{number}", upto=phone.cursor)
            archived, dismissed = await asyncio.gather(archive, dismiss)
            assert archived["changed"] == [entry_id]
            assert dismissed["changed"] == [], "what is archived already is spared"
        await settles(hub, producer, phone, laptop)


async def toggle(marker: Follower, entry_id: str, times: int, *, at_once: int) -> None:
    """Archives and unarchives in turn: applied in the order sent, each changes the entry."""
    for first in range(0, times, at_once):
        verbs = [("archive", "unarchive")[at % 2] for at in range(at_once)]
        answers = await asyncio.gather(
            *(marker.mark(verb, f"{first + at}", ids=[entry_id]) for at, verb in enumerate(verbs))
        )
        assert [answer["changed"] for answer in answers] == [[entry_id]] * at_once


@contextmanager
def flushing(redis_server: RedisServer) -> Iterator[None]:
    """SCRIPT FLUSH about every millisecond: about half of the calls then find their script, half do not."""
    done = threading.Event()

    def flush() -> None:
        with redis_server.client as client:
            while not done.wait(0.001):
                client.script_flush()

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# ---- the whole server --------------------------------------------------------------------------------


async def test_a_frozen_store_is_an_error_to_try_again_and_nothing_more(
    redis_server: RedisServer, start_hub: StartHub
) -> None:
    hub = await start_hub(probe_s=1)
    async with Follower(hub, "ann") as phone, Follower(hub, "ann") as laptop, Producer(hub) as producer:
        entry_id = await producer.send("ann", "before")
        assert await ready(hub) == (200, 200)
        redis_server.signal(signal.SIGSTOP)
        try:
            marking = asyncio.create_task(phone.mark("read", "op", ids=[entry_id]))
            sending = asyncio.create_task(producer.send("ann", "meanwhile"))
            await phone.until(lambda: len(phone.errors) > 0)
            await readyz(hub, 503)
            pong = await phone.ask("ping")
            assert pong["type"] == "pong"
        finally:
            redis_server.signal(signal.SIGCONT)
        assert {(error["code"], error["temporary"]) for error in phone.errors} == {("unavailable", True)}
        assert (await marking)["changed"] == [entry_id]
        await sending
        await readyz(hub, 200)
        await producer.send("ann", "after")
        await settles(hub, producer, phone, laptop)
        assert [frame["ids"] for frame in laptop.frames if frame["type"] == "state"] == [[entry_id]]


async def test_a_killed_store_comes_back_with_everything_that_was_acknowledged(
    aof_server: RedisServer, start_hub: StartHub
) -> None:
    hub = await start_hub(redis_url=aof_server.url, probe_s=1)
    async with (
        Follower(hub, "ann") as phone,
        Follower(hub, "ann") as laptop,
        Producer(hub) as producer,
    ):
        stepping = asyncio.create_task(steps(producer, phone, 150))
        await laptop.until(lambda: len(laptop.events) > 30)
        aof_server.signal(signal.SIGKILL)
        await readyz(hub, 503)
        await asyncio.to_thread(aof_server.start)
        await readyz(hub, 200)
        await stepping
        await settles(hub, producer, phone, laptop)


async def steps(producer: Producer, marker: Follower, count: int) -> None:
    for number in range(count):
        await step(producer, marker, number)


async def test_a_hub_started_before_its_store_waits_for_it(aof_server: RedisServer) -> None:
    hub = await RunningHub(aof_server.url).start()
    await hub.stop()
    aof_server.signal(signal.SIGKILL)
    late = RunningHub(aof_server.url)
    starting = asyncio.create_task(late.hub.start())
    done, _ = await asyncio.wait({starting}, timeout=1)
    assert not done, starting.exception()
    await asyncio.to_thread(aof_server.start)
    await starting
    assert late.hub.link.up.is_set()
    await late.hub.stop()


async def test_after_a_restored_backup_those_who_saw_the_lost_part_start_again(
    aof_server: RedisServer, start_hub: StartHub, start_proxy: StartProxy
) -> None:
    hub = await start_hub(redis_url=aof_server.url)
    door = await start_proxy(hub.port)
    producer = Producer(hub)
    async with (
        producer,
        Follower(hub, "ann") as stayed,
        Follower(hub, "ann", port=lambda: door.port) as left,
        Follower(hub, "bob") as bob,
    ):
        kept = [await producer.send("ann", f"kept {number}") for number in range(3)]
        await producer.send("bob", "kept too")
        await bob.until(lambda: len(bob.events) == 1)
        await left.until(lambda: len(left.events) == 3)
        door.open = False
        door.cut_now()  # it has seen what was kept, and nothing of what will be lost
        backup = aof_server.directory.with_name(aof_server.directory.name + "-backup")
        shutil.copytree(aof_server.directory / "appendonlydir", backup)
        for number in range(3):
            await producer.send("ann", f"lost {number}")
        lost = await stayed.mark("read", "lost", ids=kept)
        await stayed.reach(lost["cursor"])
        aof_server.signal(signal.SIGKILL)
        shutil.rmtree(aof_server.directory / "appendonlydir")
        shutil.move(backup, aof_server.directory / "appendonlydir")
        await asyncio.to_thread(aof_server.start)
        await readyz(hub, 200)
        await stayed.until(lambda: stayed.modes == ["snapshot", "snapshot"])
        conflict = await stayed.mark("seen", "above", upto=lost["cursor"])
        for number in range(3):
            await producer.send("ann", f"later {number}")
        within = await stayed.mark("seen", "within", upto=lost["cursor"])
        for answer in (conflict, within):
            assert (answer["code"], answer["details"]["reason"]) == ("conflict", "unknown_cursor")
        again = await stayed.mark("read", "lost", ids=kept)
        assert (again["changed"], again.get("replayed")) == (kept, None), "its memory was lost with its change"
        door.open = True
        await left.until(lambda: len(left.modes) == 2)
        async with Follower(hub, "ann") as fresh:
            assert fresh.cursor is not None
            for follower in (stayed, left):
                await follower.reach(fresh.cursor)
                assert held(follower) == held(fresh)
            items, _ = await everything(hub, "ann")
            assert items == list(reversed(held(fresh).values()))
        assert [item["data"]["title"] for item in items] == [f"{t} {n}" for t in ("later", "kept") for n in (2, 1, 0)]
        assert stayed.modes == ["snapshot", "snapshot"]
        assert left.modes == ["snapshot", "replay"]
        await verdict(hub, "bob", producer, bob)
        assert bob.modes == ["snapshot"], "nothing of bob's was lost"
        assert (stayed.closed, bob.closed) == ([], [])
