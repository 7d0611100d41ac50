"""What goes wrong for one user, or in one message, stays there; and what is due soon happens soon."""

import asyncio
import functools
import time

import jwt

from hub.app import store_client
from hub.engine import Engine
from hub.keys import PROJECTS, User
from hub.projects import Projects
from hub.store import Store
from tests.conftest import StartHub
from tests.harness import PATIENCE_S, PRIVATE_PEM, SIGNING_KEY, RedisServer, RunningHub, until

ANN = User("default", "ann")


async def test_a_lost_message_right_after_subscribing_is_made_good_at_once(hub: RunningHub) -> None:
    session = await hub.connect("ann")
    deliver, lost = hub.hub.registry.message, []
    hub.hub.bus._on_message = lambda channel, payload: (
        None if not lost and not lost.append(payload) else deliver(channel, payload)
    )
    first = await hub.send("ann", "its message is lost")
    await hub.send("ann", "this one does not link")
    began = time.monotonic()
    assert (await session.next("entry"))["entry"]["id"] == first
    assert time.monotonic() - began < 3  # without its timer it would wait for the check after 30 s, or a ping after 25


async def test_a_repair_that_failed_is_tried_again_within_seconds(hub: RunningHub) -> None:
    session = await hub.connect("ann")
    catch_up, failed = hub.hub.store.catch_up, []

    async def once_broken(*args, **options):  # type: ignore[no-untyped-def]
        if not failed:
            failed.append(args)
            raise OSError("as if")
        return await catch_up(*args, **options)

    deliver = hub.hub.registry.message
    hub.hub.store.catch_up = once_broken  # type: ignore[method-assign]
    hub.hub.bus._on_message = lambda channel, payload: None
    entry_id = await hub.send("ann", "its message is lost")
    hub.hub.bus._on_message = deliver
    hub.hub.registry.doubt(ANN.events)
    assert (await session.next("entry"))["entry"]["id"] == entry_id
    assert failed


async def test_spoilt_keys_of_one_user_leave_the_others_alone(redis_server: RedisServer, start_hub: StartHub) -> None:
    hub = await start_hub(check_s=0.1)
    ann, ben = await hub.connect("ann"), await hub.connect("ben")
    redis_server.client.delete(ANN.meta)
    redis_server.client.set(ANN.meta, "not a hash")
    redis_server.client.config_resetstat()
    errors = functools.partial(redis_server.client.info, "errorstats")
    await until(lambda: errors().get("errorstat_WRONGTYPE", {"count": 0})["count"] >= 3)  # several checks
    await hub.send("ben", "still here")
    assert (await ben.next("entry"))["entry"]["data"]["title"] == "still here"
    assert (await ann.ask("list", channel="inbox"))["code"] == "internal"
    assert not hub.hub.failed.is_set()


async def test_an_unreadable_message_costs_a_look_at_the_log_and_nobody_the_connection(
    redis_server: RedisServer, hub: RunningHub
) -> None:
    session = await hub.connect("ann")
    connection = hub.hub.bus._wire
    for junk in ("junk", "inbox 1-1 0 what", "! revoked soon", "inbox 1 2 entry x y z 0 {"):
        redis_server.client.execute_command("SPUBLISH", ANN.events, junk)
    await hub.send("ann", "after the junk")
    assert (await session.next("entry"))["entry"]["data"]["title"] == "after the junk"
    assert hub.hub.bus._wire is connection


async def test_a_spoilt_project_document_ends_no_hub(redis_server: RedisServer, start_hub: StartHub) -> None:
    hub = await start_hub(check_s=0.1)
    redis_server.client.hset(PROJECTS, "broken", '{"id":"broken"}')
    other = await start_hub()
    await other.send("ann", "both are up")
    assert len((await hub.feed("ann"))["items"]) == 1
    assert not hub.hub.failed.is_set()


async def test_a_part_that_swallows_a_cancellation_keeps_no_hub_alive(start_hub: StartHub) -> None:
    """As `asyncio.wait_for` does before Python 3.12 when what it waits for ends in the same moment."""
    hub = await start_hub()
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    hub.hub._own(stubborn())
    await asyncio.sleep(0)  # it has begun
    async with asyncio.timeout(PATIENCE_S):
        await hub.hub.stop()
    assert swallowed.is_set()


async def test_commands_never_run_in_another_database_after_a_reconnect(redis_server: RedisServer) -> None:
    store: Store
    engine = Engine()
    link = engine.link
    store = Store(engine, feed_entries=10, feed_days=1, log_events=10)
    redis_server.client.execute_command("ACL", "SETUSER", "hub", "on", ">pw", "~*", "&*", "+@all")
    link.url = f"unix://hub:pw@{redis_server.socket}?db=3"
    running = asyncio.create_task(link.run())
    stop = asyncio.Event()
    stored = 0

    async def publish(number: int) -> None:
        nonlocal stored
        while not stop.is_set():
            try:
                await store.publish(User("default", f"u{number}").feed("inbox"), f"{time.monotonic_ns()}", '{"id":"x"')
                stored += 1
            except Exception:
                await asyncio.sleep(0)

    publishers = [asyncio.create_task(publish(n)) for n in range(4)]
    try:
        for _ in range(8):
            before = stored
            await until(lambda before=before: stored > before + 20)
            link._wire.abort()  # type: ignore[union-attr]
        stop.set()
        await asyncio.gather(*publishers)
        sizes = {name: info["keys"] for name, info in redis_server.client.info("keyspace").items()}
        assert list(sizes) == ["db3"]
    finally:
        stop.set()
        running.cancel()
        redis_server.client.execute_command("ACL", "DELUSER", "hub")


async def test_following_a_feed_again_and_again_plans_its_next_expiry_once(hub: RunningHub) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    await hub.send("ann", expires_at=soon)
    session = await hub.connect("ann")
    for _ in range(50):
        await session.ask("subscribe", channel="inbox")
    assert len(hub.hub.registry._expiries) == 1


async def test_a_socket_that_has_not_said_who_it_is_gets_its_bye_when_the_hub_ends(
    redis_server: RedisServer,
) -> None:
    hub = await RunningHub(redis_server.url).start()
    silent = await hub.connect()
    await until(lambda: not hub.hub.registry.empty)
    await hub.stop()
    assert (await silent.next("bye"))["code"] == 4000
    assert await silent.close_code() == 4000


async def test_a_reason_of_many_bytes_does_not_change_the_close_code(hub: RunningHub) -> None:
    client = await hub.connect()
    token = jwt.encode({"sub": "😀" * 300}, PRIVATE_PEM, "ES256", {"kid": SIGNING_KEY.kid})
    await client.send("auth", api_key=hub.api_key, token=token)
    assert await client.close_code() == 4501


async def test_a_deleted_project_leaves_nothing_to_a_later_one_of_its_name(hub: RunningHub) -> None:
    await hub.send("ann", "the former tenant's")
    client = store_client(hub.settings.redis_url or "")
    projects = Projects(client)
    await projects.delete("default")
    await projects.create("default", "Another")
    assert [key async for key in client.scan_iter(match="{default/*")] == []
    await client.aclose()
