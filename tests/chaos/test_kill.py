"""Processes are killed, ended and started again: what was acknowledged is there, once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from hub.embedded import lent
from tests.chaos.follower import Follower, Mute, Producer, verdict
from tests.harness import Doors, free_port, set_up

pytestmark = pytest.mark.chaos

USERS = [f"user{number}" for number in range(20)]
ROUNDS = 50
"""Of one send and one mark, for each user."""


class HubProcess(Doors):
    """`bellhub serve` with its embedded store, on the same port and directory at each start."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__()
        self.port = free_port()
        self._data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it listens."""
        self._process = self._spawn()
        assert self._process.stdout is not None
        said = await asyncio.to_thread(self._process.stdout.readline)
        assert json.loads(said)["address"] == f"http://127.0.0.1:{self.port}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "hub", "serve", "--json", "--port", str(self.port)]
        env = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "BELLHUB_REDIS_URL")}
        return subprocess.Popen(
            [*argv, "--data-dir", str(self._data_dir)], stdout=subprocess.PIPE, env=env | {"BELLHUB_LOG_LEVEL": "error"}
        )

    async def trust(self) -> None:
        """Waits until it takes the tokens and the key of these tests."""
        url = lent(self._data_dir)
        assert url is not None
        self.api_key, self.secret = await set_up(url)
        async with Producer(self) as producer, asyncio.timeout(10):
            while True:
                try:
                    await producer.send("nobody", "nothing")
                    return
                except AssertionError:  # 401: it has not heard yet
                    await asyncio.sleep(0.02)

    @property
    def store_pid(self) -> int:
        return int(json.loads((self._data_dir / "run.json").read_text())["store_pid"])

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        assert self._process is not None
        assert self._process.stdout is not None
        code = await asyncio.to_thread(self._process.wait, 20)
        self._process.stdout.close()
        return code

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGTERM)
            await self.ended()


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[HubProcess]:
    hub = HubProcess(tmp_path / "data")
    await hub.start()
    await hub.trust()
    yield hub
    await hub.stop()


class Work:
    """What 20 users do at once: each is sent an entry, every second time without a key, and marks it read."""

    def __init__(self, hub: HubProcess, producer: Producer, followers: list[Follower]) -> None:
        self.done = 0
        """Acknowledged sends and marks."""
        self._producer = producer
        self._tasks = [
            asyncio.create_task(self._user(user, follower)) for user, follower in zip(USERS, followers, strict=True)
        ]

    async def _user(self, user: str, follower: Follower) -> None:
        for number in range(ROUNDS):
            title = f"{user} {number}"
            send = self._producer.send_once if number % 2 else self._producer.send
            entry_id = await send(user, title)
            if entry_id is None:
                continue
            self.done += 1
            answer = await follower.mark("read", title, ids=[entry_id])
            assert answer["type"] == "ack", answer
            assert answer["changed"] == [entry_id], "an acknowledged entry was lost, or marked by somebody else"
            self.done += 1

    async def reach(self, done: int) -> None:
        async with asyncio.timeout(30):
            while self.done < done:  # noqa: ASYNC110  (as often as anything is done)
                await asyncio.sleep(0.001)

    async def finish(self) -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)


async def follow_all(stack: AsyncExitStack, hub: HubProcess) -> tuple[Producer, list[Follower]]:
    producer = await stack.enter_async_context(Producer(hub))
    followers = [await stack.enter_async_context(Follower(hub, user)) for user in USERS]
    return producer, followers


@pytest.mark.parametrize("victim", ["hub", "store"])
async def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_it(process: HubProcess, victim: str) -> None:
    async with AsyncExitStack() as stack:
        producer, followers = await follow_all(stack, process)
        work = Work(process, producer, followers)
        for done in (500, 1_300):
            await work.reach(done)
            if victim == "hub":
                process.signal(signal.SIGKILL)
                assert await process.ended() == -signal.SIGKILL
                await process.start()
            else:
                os.kill(process.store_pid, signal.SIGKILL)
        await work.finish()
        assert work.done + 2 * len(producer.unanswered) == 2_000
        assert work.done > 1_700
        for user, follower in zip(USERS, followers, strict=True):
            await verdict(process, user, producer, follower)
            assert set(follower.modes[1:]) <= {"live", "replay"}
            assert len(follower.closed) == (2 if victim == "hub" else 0)


async def test_a_hub_that_is_restarted_sends_everybody_away_and_takes_them_up_where_they_were(
    process: HubProcess,
) -> None:
    async with AsyncExitStack() as stack:
        producer, followers = await follow_all(stack, process)
        work = Work(process, producer, followers)
        await work.reach(600)
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        await process.start()
        await work.finish()
        for user, follower in zip(USERS, followers, strict=True):
            await verdict(process, user, producer, follower)
            assert follower.closed == [4000]
            assert follower.modes[1] in ("live", "replay")
            byes: list[dict[str, Any]] = [frame for frame in follower.frames if frame["type"] == "bye"]
            assert [(bye["code"], bye["reconnect"]) for bye in byes] == [(4000, True)]
            low, high = byes[0]["delay_ms"]
            assert 0 <= low < high


async def test_a_drain_says_goodbye_to_every_socket_and_ends_with_code_0(process: HubProcess) -> None:
    clients = [await process.connect(user) for user in USERS[:10] for _ in range(4)]
    clients += [await process.connect(user, subscribe=False) for user in USERS[:10]]
    stranger = await process.connect()
    began = time.monotonic()
    process.signal(signal.SIGTERM)
    assert [await client.close_code() for client in clients] == [4000] * 50
    assert await process.ended() == 0
    assert time.monotonic() - began < 5
    for client in clients:
        assert (client.frames[-1]["type"], client.frames[-1]["code"]) == ("bye", 4000)
    assert await stranger.close_code() == 4000


async def test_a_client_that_never_reads_does_not_hold_up_the_end(process: HubProcess) -> None:
    mute = await Mute.open(process, "ann")
    async with Producer(process) as producer, Follower(process, "ann") as witness:
        for number in range(200):  # more than the kernel takes, less than the hub would close it for
            await producer.send_once("ann", f"{number} {'…' * 990}")
        await witness.until(lambda: len(witness.events) == 200)
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert time.monotonic() - began < 10, "container runtimes kill after 10 s"
        _, code, _ = await mute.rest()
        assert code in (4000, None)
