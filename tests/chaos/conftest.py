from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import RedisServer
from tests.proxy import Proxy, Split, frame_end, reply_end

StartProxy = Callable[[int | Path], Awaitable[Proxy]]


@pytest.fixture
async def start_proxy() -> AsyncIterator[StartProxy]:
    """Starts proxies in front of a hub's port or a Redis' socket; they are stopped after the test.

    Ask for it before `start_hub`, so that hubs end while their Redis can still be reached.
    """
    running: list[Proxy] = []

    async def start(server: int | Path) -> Proxy:
        split: Split = frame_end if isinstance(server, int) else reply_end
        running.append(await Proxy(server, split).start())
        return running[-1]

    yield start
    for proxy in running:
        await proxy.stop()


@pytest.fixture
async def redis_proxy(redis_server: RedisServer, start_proxy: StartProxy) -> Proxy:
    """A proxy in front of `redis_server`."""
    return await start_proxy(redis_server.socket)


@pytest.fixture
def aof_server() -> Iterator[RedisServer]:
    """A Redis of its own that keeps every acknowledged change, to be killed."""
    server = RedisServer(aof=True)
    yield server
    server.remove()
