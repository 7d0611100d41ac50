"""What a hub depends on, examined one by one: for `bellhub doctor`, and for the console of a hub that runs."""

import asyncio
import platform
import resource
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from hub import __version__
from hub.auth import permissions
from hub.embedded import durability, too_old
from hub.keys import SCHEMA
from hub.model import Project
from hub.projects import SCHEMA_VERSION, NewerSchema

LIBRARIES = ("starlette", "uvicorn", "websockets", "redis", "hiredis", "msgpack", "pyjwt", "cryptography", "click")
CLOCK_S = 1.0
"""Difference of two clocks worth a warning; above the leeway of tokens it is a failure."""
OPEN_FILES = 4096
"""Below this many descriptors a hub holds few sockets: each takes one."""
ANSWER_S = 5.0
"""Time that whatever is asked has to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found out."""

    state: Literal["ok", "warn", "fail"]
    check: str
    message: str


async def of_hub(client: Redis, projects: Iterable[Project], leeway_s: int) -> list[Finding]:
    """What can be found out from inside of a running hub. A store that is away is a finding, and does not raise."""
    found = [versions(), open_files()]
    try:
        async with asyncio.timeout(ANSWER_S):
            found += [finding async for finding in of_store(client, leeway_s)]
    except (RedisError, OSError, TimeoutError) as error:
        found.append(Finding("fail", "store", str(error) or "no answer in time"))
    return [*found, *map(of_project, projects)]


def versions() -> Finding:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return Finding("ok", "versions", f"bellhub {__version__}, Python {platform.python_version()}, {libraries}")


def open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return Finding("ok", "open files", f"at most {soft}")
    return Finding("warn", "open files", f"at most {soft}: each session takes one. Raise it: ulimit -n 65536")


async def of_store(client: Redis, leeway_s: int) -> AsyncIterator[Finding]:
    """Its version, what it may lose, its schema and its clock. Raises what the client does."""
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
    return Finding(state, "clock", f"the store's is {ms(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}")


def of_project(project: Project) -> Finding:
    live = [key.role for key in project.secret_keys if key.retired_at is None]
    there = {
        "no in-app channel, so nobody has a feed": any(channel.type == "in_app" for channel in project.channels),
        "no signing key, so no user can sign in": any(key.retired_at is None for key in project.signing_keys),
        "no secret key that may send": any("alerts:create" in permissions(role) for role in live),
    }
    lacks = "; ".join(lack for lack, found in there.items() if not found)
    return Finding("warn" if lacks else "ok", f"project {project.id}", lacks or "has channels and keys")


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
