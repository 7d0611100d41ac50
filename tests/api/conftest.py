"""What several of the APIs' test files begin with."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.api.user_api import Http
from tests.harness import RunningHub


@pytest_asyncio.fixture(loop_scope="module")
async def http(shared_hub: RunningHub, ann: str) -> AsyncIterator[Http]:
    """Ann's requests to the hub that a file's tests share."""
    async with shared_hub.http() as client:
        client.headers.update(shared_hub.user_headers(ann))
        yield client
