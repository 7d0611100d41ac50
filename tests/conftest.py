from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.harness import RedisServer, RunningHub

StartHub = Callable[..., Awaitable[RunningHub]]


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
