"""Things that happen at the same time, on a real hub and a real Redis. Where sessions record, the judge decides."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.bus import Bus
from hub.frames import PROTOCOLS
from hub.keys import User
from hub.model import micros_of
from tests.conftest import StartHub
from tests.harness import PATIENCE_S, Client, RedisServer, RunningHub, open_store, until
from tests.judge import Frame, Recording, judge, shown

CONNECT_AT_ONCE = 10


@pytest.fixture
async def recording(hub: RunningHub) -> AsyncIterator[Recording]:
    """Of ann at `hub`."""
    ann = Recording(hub, "ann")
    yield ann
    await ann.close()


async def verdict(recording: Recording) -> list[str]:
    return judge(await recording.finish())


async def join_many(recording: Recording, count: int) -> list[Client]:
    """Sessions in both codecs."""
    room = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def join(number: int) -> Client:
        async with room:
            return await recording.join(f"session {number}", protocol=PROTOCOLS[number % 2])

    return list(await asyncio.gather(*(join(number) for number in range(count))))


async def send_many(recording: Recording, count: int, lanes: int = 4) -> list[str]:
    """Sends over so many connections at once."""
    shares = [range(lane, count, lanes) for lane in range(lanes)]

    async def lane(share: range) -> list[str]:
        return [await recording.send(f"n {number}") for number in share]

    return list(itertools.chain(*await asyncio.gather(*(lane(share) for share in shares))))


def events(client: Client, kind: str) -> list[Frame]:
    return [frame for frame in client.frames if frame["type"] == kind]


# ---- marks against arrivals and against each other ---------------------------------------------------


async def test_mark_all_swallows_no_entry_that_arrives_meanwhile(recording: Recording) -> None:
    laptop, phone = await recording.join("laptop"), await recording.join("phone")
    sending = asyncio.create_task(send_many(recording, 80))
    acks = []
    while not sending.done():
        upto = laptop.cursor
        known = {event["entry"]["id"] for event in events(laptop, "entry")}
        ack = await laptop.ask("read", channel="inbox", upto=upto)
        assert set(ack["changed"]) <= known
        acks.append((upto, ack))
    await sending
    await recording.settled()
    arrived = {event["entry"]["id"]: event["cursor"] for event in events(phone, "entry")}
    marked = {entry_id for _, ack in acks for entry_id in ack["changed"]}
    last = micros_of(acks[-1][0])
    assert marked == {entry_id for entry_id, cursor in arrived.items() if micros_of(cursor) <= last}
    assert len(arrived) == 80
    record = await recording.finish()
    assert judge(record) == []
    assert {item["id"] for item in record.items if item["read_at"]} == marked


async def test_mark_all_on_every_session_at_once_marks_each_entry_once(recording: Recording) -> None:
    sessions = await join_many(recording, 8)
    sent = await send_many(recording, 40)
    top = await recording.settled()
    acks = await asyncio.gather(*(session.ask("archive", channel="inbox", upto=top) for session in sessions))
    assert sorted(entry_id for ack in acks for entry_id in ack["changed"]) == sorted(sent)
    await recording.settled()
    assert [len(events(session, "state")) for session in sessions] == [1] * 8
    assert await verdict(recording) == []


async def test_50_sessions_that_mark_the_same_entries_are_one_change_that_all_see_once(recording: Recording) -> None:
    sessions = await join_many(recording, 50)
    ids = await send_many(recording, 5)
    await recording.settled()
    acks = await asyncio.gather(*(session.ask("read", channel="inbox", ids=ids) for session in sessions))
    await recording.settled()
    assert sorted(len(ack["changed"]) for ack in acks) == [0] * 49 + [5]
    assert {(ack["cursor"], ack["counts"]["unread"]) for ack in acks} == {(acks[0]["cursor"], 0)}
    seen = [events(session, "state") for session in sessions]
    assert [len(states) for states in seen] == [1] * 50
    assert {states[0]["cursor"] for states in seen} == {acks[0]["cursor"]}
    assert await verdict(recording) == []


async def test_archive_and_its_undo_pipelined_by_many_sessions_end_as_the_last_of_them_said(
    recording: Recording,
) -> None:
    sessions = await join_many(recording, 8)
    ids = await send_many(recording, 3)

    async def flip(session: Client, times: int) -> None:
        for n in range(times):
            await session.send("archive", channel="inbox", ids=ids, ref=f"a{n}")
            await session.send("unarchive", channel="inbox", ids=ids, ref=f"u{n}")
        await session.first(lambda frame: frame.get("ref") == f"u{times - 1}")

    await asyncio.gather(*(flip(session, 10) for session in sessions))
    for session in sessions:
        answers = [frame["ref"] for frame in session.frames if frame["type"] == "ack"]
        assert answers == [f"{kind}{n}" for n in range(10) for kind in "au"]
    record = await recording.finish()
    assert judge(record) == []
    assert [item["status"] for item in record.items] == ["unseen"] * 3  # every session's last word is unarchive


async def test_the_same_op_at_once_on_two_sessions_is_one_change_and_one_replay(recording: Recording) -> None:
    laptop, phone = await join_many(recording, 2)
    ids = await send_many(recording, 3)
    for round_, verb in enumerate(["archive", "unarchive"] * 10):
        first, second = await asyncio.gather(
            *(session.ask(verb, op=f"o{round_}", channel="inbox", ids=ids) for session in (laptop, phone))
        )
        assert sorted([first.get("replayed", False), second.get("replayed", False)]) == [False, True]
        assert first["cursor"] == second["cursor"]
        assert first["changed"] == second["changed"] == ids
    await recording.settled()
    assert [len(events(session, "state")) for session in (laptop, phone)] == [20, 20]
    assert await verdict(recording) == []


async def test_withdrawals_against_marks_leave_no_ghosts(recording: Recording) -> None:
    sessions = await join_many(recording, 4)
    ids = await send_many(recording, 40)

    async def mark(session: Client) -> list[Frame]:
        return [await session.ask("read", channel="inbox", ids=[entry_id]) for entry_id in ids]

    async def withdraw() -> None:
        for entry_id in ids:
            assert await recording.withdraw(entry_id)

    *answers, _ = await asyncio.gather(*(mark(session) for session in sessions), withdraw())
    refused = {answer["code"] for answer in itertools.chain(*answers) if answer["type"] == "error"}
    assert refused <= {"not_found"}
    record = await recording.finish()
    assert judge(record) == []
    assert record.items == []


# ---- catching up against what happens ----------------------------------------------------------------


@pytest.mark.parametrize("log_events", [500, 10])
async def test_sessions_that_come_and_go_while_much_happens_see_it_in_order_and_once(
    start_hub: StartHub, log_events: int
) -> None:
    """With the short log a comeback is now a replay, now a snapshot."""
    recording = Recording(await start_hub(log_events=log_events), "ann")
    witness = await recording.join("witness")
    sending = asyncio.create_task(send_many(recording, 120))

    async def come_and_go(name: str) -> None:
        session = await recording.join(name)
        while not sending.done():
            await session.first(lambda frame: frame["type"] in ("entry", "subscribed"))
            session = await recording.resume(name, protocol=random.choice(PROTOCOLS))

    await asyncio.gather(*(come_and_go(f"session {n}") for n in range(4)))
    await sending
    await recording.settled()
    assert len(events(witness, "entry")) == 120
    record = await recording.finish()
    modes = {f["mode"] for s in record.sessions for c in s for f in c.frames if f["type"] == "subscribed"}
    assert modes >= ({"replay"} if log_events == 500 else {"snapshot"})
    assert judge(record) == []


async def test_lists_while_much_happens_are_never_older_than_what_was_told(recording: Recording) -> None:
    sessions = await join_many(recording, 4)
    sending = asyncio.create_task(send_many(recording, 100))

    async def look(session: Client) -> None:
        while not sending.done():
            await session.ask("list", channel="inbox", limit=7)

    await asyncio.gather(*(look(session) for session in sessions))
    await sending
    assert await verdict(recording) == []
    assert len(events(sessions[0], "entry")) == 100


async def test_a_storm_of_pipelined_frames_is_answered_in_order_without_a_gap(recording: Recording) -> None:
    await recording.join("witness")
    sessions = await join_many(recording, 3)
    ids = await send_many(recording, 3)
    sending = asyncio.create_task(send_many(recording, 100))

    async def storm(session: Client, name: str) -> None:
        chance = random.Random(name)
        for wave in itertools.count():
            refs = [f"{wave}.{n}" for n in range(30)]
            for ref in refs:
                await session.send(ref=ref, channel="inbox", **gust(session, chance))
            await session.first(lambda frame, last=refs[-1]: frame.get("ref") == last)
            assert [frame["ref"] for frame in session.frames if frame.get("ref") in refs] == refs
            if sending.done():
                return

    def gust(session: Client, chance: random.Random) -> dict[str, Any]:
        return chance.choice(
            [
                {"kind": "subscribe", "cursor": session.cursor},
                {"kind": "subscribe"},
                {"kind": "subscribe", "cursor": session.cursor, "limit": 1},
                {"kind": "unsubscribe"},
                {"kind": "list", "limit": 3},
                {"kind": chance.choice(["archive", "unarchive"]), "ids": ids},
            ]
        )

    await asyncio.gather(*(storm(session, f"storm {n}") for n, session in enumerate(sessions)))
    await sending
    for session in sessions:
        await session.ask("subscribe", channel="inbox", cursor=session.cursor)
    assert await verdict(recording) == []


async def test_expiry_against_marks_and_lists_is_told_once(hub: RunningHub, redis_server: RedisServer) -> None:
    recording = Recording(hub, "ann")
    sessions = await join_many(recording, 4)
    seconds, micros = redis_server.client.time()
    due = seconds * 1_000_000 + micros + 2_000_000
    body = f'"notiflow_handle":"n","data":{{}},"expires_at":"{shown(due)}"'
    feed = User("default", "ann").feed("inbox")
    recording.sent += [f"e{n}" for n in range(60)]
    await asyncio.gather(
        *(
            hub.hub.store.publish(feed, name, f'{{"id":"{name}",{body}', expires=due + n * 1000)
            for n, name in enumerate(recording.sent)
        )
    )

    async def bother(session: Client) -> None:
        while sum(len(event["ids"]) for event in events(session, "gone")) < 60:
            await session.ask("list", channel="inbox", limit=1)
            await session.ask("read", channel="inbox", upto=session.cursor)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(bother(session) for session in sessions))
    record = await recording.finish()
    assert judge(record) == []
    assert record.items == []


# ---- coming and leaving ------------------------------------------------------------------------------


async def test_40_joins_against_a_leave_leave_nobody_deaf(hub: RunningHub) -> None:
    for round_ in range(3):
        recording = Recording(hub, f"user {round_}")
        leaver = await recording.join("leaver")
        *_, sessions = await asyncio.gather(leaver.close(), join_many(recording, 40))
        await recording.send()
        for session in sessions:
            await session.next("entry")
        assert await verdict(recording) == []


@pytest.fixture
async def bus(redis_server: RedisServer) -> AsyncIterator[tuple[Bus, list[str], list[str]]]:
    """A bus that probes often, what it heard and what it doubted. It learns late that a probe was published.

    A probe has a quarter of a second to come back: what a busy machine takes away must not look like a deaf bus.
    """
    heard: list[str] = []
    doubted: list[str] = []
    async with open_store(redis_server.url) as store:

        async def say(channel: str, message: str) -> None:
            await store.say(channel, message)
            if message == "?":
                await asyncio.sleep(0.05)

        made = Bus(
            say=say,
            on_message=lambda channel, payload: heard.append(payload),
            on_doubt=doubted.append,
            probe_s=0.25,
        )
        made.url = redis_server.url
        running = asyncio.create_task(made.run())
        yield made, heard, doubted
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_whoever_joins_while_others_leave_or_give_up_hears_what_comes(
    bus: tuple[Bus, list[str], list[str]], redis_server: RedisServer
) -> None:
    made, heard, _ = bus
    for round_ in range(150):
        await made.join("{a}")
        joins = [asyncio.create_task(made.join("{a}")) for _ in range(40)]
        if round_ % 3:
            await asyncio.sleep(0)
        made.leave("{a}")
        for join in joins[: round_ % 30]:
            join.cancel()
        done = await asyncio.gather(*joins, return_exceptions=True)
        redis_server.client.spublish("{a}", f"round {round_}")
        await until(lambda n=round_: heard[-1:] == [f"round {n}"])
        for result in done:
            if result is None:
                made.leave("{a}")
    await made.join("{b}")
    assert redis_server.client.spublish("{a}", "too late") == 0
    assert heard == [f"round {n}" for n in range(150)]


async def test_a_probe_that_is_heard_before_its_publication_is_acknowledged_raises_no_doubt(
    bus: tuple[Bus, list[str], list[str]], redis_server: RedisServer
) -> None:
    made, heard, doubted = bus
    await made.join("{a}")
    wire = made._wire
    before = probes(redis_server)
    await until(lambda: probes(redis_server) >= before + 4)
    assert (doubted, made._wire is wire) == ([], True)
    assert heard == []


def probes(redis: RedisServer) -> int:
    return int(redis.client.info("commandstats").get("cmdstat_spublish", {"calls": 0})["calls"])


# ---- revocation --------------------------------------------------------------------------------------


async def test_no_session_survives_a_revocation_of_its_token_however_close_they_are(hub: RunningHub) -> None:
    chance = random.Random(1)
    for round_ in range(12):
        user, token = f"user {round_}", hub.token(f"user {round_}")
        url = f"ws://127.0.0.1:{hub.port}/ws/v1"

        async def come(delay_s: float, token: str = token, url: str = url) -> Client:
            client = await Client.open(url)
            await asyncio.sleep(delay_s)
            await client.send("auth", api_key=hub.api_key, token=token)
            return client

        async def revoke(user: str = user) -> None:
            await asyncio.sleep(0.03)
            await hub.hub.store.revoke(User("default", user))

        *clients, _ = await asyncio.gather(*(come(chance.uniform(0, 0.04)) for _ in range(8)), revoke())
        assert [await client.close_code() for client in clients] == [4503] * 8
        await asyncio.gather(*(client.close() for client in clients))


async def test_a_mark_that_was_acknowledged_before_a_revocation_is_stored(hub: RunningHub) -> None:
    acknowledged = 0
    for round_ in range(10):
        recording = Recording(hub, f"user {round_}")
        user = User("default", recording.user)
        session = await recording.join("session")
        entry_id = await recording.send()
        await session.next("entry")
        await session.send("read", ref="mark", channel="inbox", ids=[entry_id])
        if round_ % 2:
            await session.first(lambda frame: frame.get("ref") == "mark")
        await hub.hub.store.revoke(user)
        assert await session.close_code() == 4503
        (entry,) = await hub.hub.store.entries(user.feed("inbox"), [entry_id])
        acks = len(events(session, "ack"))
        assert acks <= bool(entry.read)
        acknowledged += acks
        await recording.close()
    assert acknowledged >= 5
