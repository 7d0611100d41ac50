import itertools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.harness import RedisServer, RunningHub

StartHub = Callable[..., Awaitable[RunningHub]]


def pytest_configure() -> None:
    """A run in the background of a shell ignores Ctrl-C, and so would the commands that the tests end by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_of_run() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.remove()


@pytest.fixture
def redis_server(redis_of_run: RedisServer) -> RedisServer:
    """A real Redis, empty."""
    redis_of_run.client.flushall()
    redis_of_run.client.script_flush()
    return redis_of_run


@pytest.fixture
async def start_hub(redis_server: RedisServer) -> AsyncIterator[StartHub]:
    """Starts hubs on one Redis; they are stopped after the test."""
    running: list[RunningHub] = []

    async def start(**options: Any) -> RunningHub:
        hub = await RunningHub(options.pop("redis_url", redis_server.url), **options).start()
        running.append(hub)
        return hub

    yield start
    for hub in running:
        await hub.stop()


@pytest.fixture
async def hub(start_hub: StartHub) -> RunningHub:
    """One hub in secure mode."""
    return await start_hub()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_hub() -> AsyncIterator[RunningHub]:
    """One hub in secure mode for the tests of a file that ask no more of it; they run in the module's loop.

    Each of them has users of its own (`ann`), so that they do not meet.
    """
    server = RedisServer()
    hub = await RunningHub(server.url).start()
    yield hub
    await hub.stop()
    server.remove()


_numbers = itertools.count(1)


@pytest.fixture
def ann() -> str:
    """A user whom no other test knows."""
    return f"ann-{next(_numbers)}"
