"""`bellhub doctor`: one line for everything that a hub on this machine and this store depends on."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from http.client import HTTPConnection, HTTPException

from redis.exceptions import RedisError

from hub.app import store_client
from hub.embedded import Locked, NoStore, NotStarted, lent
from hub.errors import Refused
from hub.findings import ANSWER_S, Finding, ms, of_project, of_store, open_files, versions
from hub.keys import probe_channel
from hub.opening import linked, rung, store_url
from hub.projects import Projects
from hub.scripts import load
from hub.settings import Settings
from hub.store import Store


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, as it is made. Nothing is stored; one message passes through pub/sub."""
    yield versions()
    yield open_files()
    running = None if settings.redis_url else await asyncio.to_thread(lent, settings.data_dir)  # before we run one
    try:
        async with store_url(settings) as url, store_client(url) as client:
            async for finding in of_store(client, settings.token_leeway_s):
                yield finding
            async with linked(settings, url) as (_, store):
                yield Finding("ok", "scripts", f"{len(load())} loaded")
                yield await _round_trip(url, store)
            for project in (await Projects(client).load()).values():
                yield of_project(project)
            if running is not None:
                yield await asyncio.to_thread(_hub, settings.host, settings.port)
    except (Refused, RedisError, NoStore, Locked, NotStarted, TimeoutError) as error:
        yield Finding("fail", "store", str(error) or "no answer in time")


async def _round_trip(url: str, store: Store) -> Finding:
    channel = probe_channel(secrets.token_hex(8))
    async with asyncio.timeout(ANSWER_S), rung(url, store, channel) as bell:
        began = time.monotonic()
        await store.say(channel, "?")
        await bell.wait()
    return Finding("ok", "pub/sub", f"sharded, there and back in {ms(time.monotonic() - began)}")


def _hub(host: str, port: int) -> Finding:
    """The readiness of the hub that runs on the data directory, asked where the settings say."""
    where = f"{host}:{port}"
    connection = HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return Finding("warn", "hub", f"one runs on the data directory, but not at {where}; BELLHUB_PORT tells where")
    finally:
        connection.close()
    return Finding("ok" if status == 200 else "fail", "hub", f"/readyz at {where} answers {status}")
