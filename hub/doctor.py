"""`bellhub doctor`: one line for everything that a hub on this machine and this store depends on."""

import asyncio
import platform
import resource
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.metadata import version
from typing import Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from hub import __version__
from hub.app import store_client
from hub.auth import permissions
from hub.embedded import Locked, NoStore, NotStarted, durability, lent, too_old
from hub.errors import Refused
from hub.keys import SCHEMA, probe_channel
from hub.model import Project
from hub.opening import linked, rung, store_url
from hub.projects import SCHEMA_VERSION, NewerSchema, Projects
from hub.scripts import load
from hub.settings import Settings
from hub.store import Store

LIBRARIES = ("starlette", "uvicorn", "websockets", "redis", "hiredis", "msgpack", "pyjwt", "cryptography", "click")
CLOCK_S = 1.0
"""Difference of two clocks worth a warning; above the leeway of tokens it is a failure."""
OPEN_FILES = 4096
"""Below this many descriptors a hub holds few sockets: each takes one."""
ROUND_TRIP_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found out."""

    state: Literal["ok", "warn", "fail"]
    check: str
    message: str


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, as it is made. Nothing is stored; one message passes through pub/sub."""
    yield _versions()
    yield _open_files()
    running = None if settings.redis_url else await asyncio.to_thread(lent, settings.data_dir)  # before we run one
    try:
        async with store_url(settings) as url, store_client(url) as client:
            async for finding in _store(client, settings.token_leeway_s):
                yield finding
            async with linked(settings, url) as (_, store):
                yield Finding("ok", "scripts", f"{len(load())} loaded")
                yield await _round_trip(url, store)
            for project in (await Projects(client).load()).values():
                yield _project(project)
            if running is not None:
                yield await asyncio.to_thread(_hub, settings.host, settings.port)
    except (Refused, RedisError, NoStore, Locked, NotStarted, TimeoutError) as error:
        yield Finding("fail", "store", str(error) or "no answer in time")


def _versions() -> Finding:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return Finding("ok", "versions", f"bellhub {__version__}, Python {platform.python_version()}, {libraries}")


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return Finding("ok", "open files", f"at most {soft}")
    return Finding("warn", "open files", f"at most {soft}: each session takes one. Raise it: ulimit -n 65536")


async def _store(client: Redis, leeway_s: int) -> AsyncIterator[Finding]:
    yield await _reachable(client)
    warnings = await durability(client)
    for warning in warnings:
        yield Finding("warn", "durability", warning)
    if not warnings:
        yield Finding("ok", "durability", "every acknowledged change is on disk")
    yield await _schema(client)
    yield await _clock(client, leeway_s)


async def _reachable(client: Redis) -> Finding:
    try:
        info = await client.info("server")
    except ResponseError:
        return Finding("warn", "store", "answers, but INFO is forbidden: its version cannot be told")
    name = "Valkey" if "valkey_version" in info else "Redis"
    found = str(info.get("valkey_version") or info.get("redis_version"))
    old = too_old(name, found)
    return Finding("fail" if old else "ok", "store", old or f"{name} {found} answers")


async def _schema(client: Redis) -> Finding:
    found = await client.get(SCHEMA)
    if found is None:
        return Finding("ok", "schema", "none: no hub has used this store yet")
    if int(found) > SCHEMA_VERSION:
        return Finding("fail", "schema", str(NewerSchema(int(found))))
    return Finding("ok", "schema", f"{int(found)}")


async def _clock(client: Redis, leeway_s: int) -> Finding:
    before = time.time()
    seconds, micros = await client.time()
    # Half of the way back and forth is the best guess of when the store looked at its clock.
    ahead = seconds + micros / 1e6 - (before + time.time()) / 2
    state: Literal["ok", "warn", "fail"] = "ok" if abs(ahead) <= CLOCK_S else "warn"
    if abs(ahead) > leeway_s:
        state = "fail"
    return Finding(state, "clock", f"the store's is {_ms(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}")


async def _round_trip(url: str, store: Store) -> Finding:
    channel = probe_channel(secrets.token_hex(8))
    async with asyncio.timeout(ROUND_TRIP_S), rung(url, store, channel) as bell:
        began = time.monotonic()
        await store.say(channel, "?")
        await bell.wait()
    return Finding("ok", "pub/sub", f"sharded, there and back in {_ms(time.monotonic() - began)}")


def _project(project: Project) -> Finding:
    live = [key.role for key in project.secret_keys if key.retired_at is None]
    there = {
        "no in-app channel, so nobody has a feed": any(channel.type == "in_app" for channel in project.channels),
        "no signing key, so no user can sign in": any(key.retired_at is None for key in project.signing_keys),
        "no secret key that may send": any("alerts:create" in permissions(role) for role in live),
    }
    lacks = "; ".join(lack for lack, found in there.items() if not found)
    return Finding("warn" if lacks else "ok", f"project {project.id}", lacks or "has channels and keys")


def _hub(host: str, port: int) -> Finding:
    """The readiness of the hub that runs on the data directory, asked where the settings say."""
    where = f"{host}:{port}"
    connection = HTTPConnection(host, port, timeout=ROUND_TRIP_S)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return Finding("warn", "hub", f"one runs on the data directory, but not at {where}; BELLHUB_PORT tells where")
    finally:
        connection.close()
    return Finding("ok" if status == 200 else "fail", "hub", f"/readyz at {where} answers {status}")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
