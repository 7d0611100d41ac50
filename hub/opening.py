"""The store, opened for one command: the one a hub would use, or lent by the hub that runs on the data directory."""

import asyncio
import functools
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

from hub.announcements import Announcements
from hub.app import store_client
from hub.bus import Bus
from hub.embedded import EmbeddedStore, Locked, NoStore, NotStarted, find_binary, lent
from hub.engine import Engine
from hub.errors import Code, Refused, unavailable
from hub.frames import dumps
from hub.logs import Logs
from hub.model import Project
from hub.projects import DEFAULT, NewerSchema, Projects, check_schema
from hub.redis import DEADLINE_S
from hub.rollcall import RollCall, question, reply
from hub.runs import Runs
from hub.settings import Settings, variables
from hub.store import Store

STARTING_S = 10.0
"""Patience with a hub that is starting or ending."""
Answer = tuple[Any, str]
"""What a command says: the value for `--json`, and the text for people."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a command works with."""

    url: str
    client: Redis
    store: Store
    projects: Projects
    announcements: Announcements
    logs: Logs
    runs: Runs

    async def project(self, project_id: str) -> Project:
        """The project; its feeds hold, from then on, what it has announced. Raises `Refused` not_found."""
        found = (await self.projects.load()).get(project_id)
        if found is None:
            raise Refused(Code.NOT_FOUND, f"no project {project_id[:64]!r}", resource="project", id=project_id[:64])
        await self.announcements.load(project_id)
        return found

    async def change(self, project_id: str, fn: Callable[[Project], Project]) -> Project:
        """`Projects.change` of a project that must be there."""
        return await self.projects.change((await self.project(project_id)).id, fn)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    """A store that is ready, its first project made. Raises what says why there is none, as `serve` does."""
    async with store_url(settings) as url, store_client(url) as client:
        await check_schema(client)
        projects = Projects(client)
        await projects.ensure_default()
        async with linked(settings, url) as (engine, store):
            announcements = Announcements(engine, store.live, feed_days=settings.feed_days)
            logs = Logs(engine, settings.log_days)
            yield Opened(url, client, store, projects, announcements, logs, Runs(engine, logs))


@asynccontextmanager
async def store_url(settings: Settings) -> AsyncIterator[str]:
    """Where the store is. An embedded one that no hub runs is started, and ended afterwards.

    Raises `NoStore`, `Locked`, `NotStarted`.
    """
    patience_ends = time.monotonic() + STARTING_S
    while (url := settings.redis_url or await asyncio.to_thread(lent, settings.data_dir)) is None:
        embedded = EmbeddedStore(settings.data_dir, find_binary(settings.redis_bin))
        try:
            url = await embedded.start()
        except Locked:
            # A hub that is starting will lend its store, one that is ending will leave it.
            if time.monotonic() > patience_ends:
                raise
            continue
        try:
            yield url
        finally:
            await embedded.stop()
        return
    yield url


@asynccontextmanager
async def linked(settings: Settings, url: str) -> AsyncIterator[tuple[Engine, Store]]:
    """The scripts, loaded, and the feeds. Raises `Refused` unavailable."""
    engine = Engine()
    link = engine.link
    store = Store(
        engine,
        feed_entries=settings.feed_entries,
        feed_days=settings.feed_days,
        log_events=settings.log_events,
    )
    link.url = url
    async with _running(link.run()):
        try:
            async with asyncio.timeout(DEADLINE_S):
                await link.up.wait()
        except TimeoutError:
            raise unavailable(f"the store does not load the scripts within {DEADLINE_S:.0f} s") from None
        yield engine, store


@asynccontextmanager
async def rung(opened_url: str, store: Store, channel: str) -> AsyncIterator[asyncio.Event]:
    """An event that is set after every message on a shard channel, and whenever one may have been lost."""
    bell = asyncio.Event()

    def ring(channel: str, payload: str) -> None:
        asked = question(channel, payload)
        if asked is not None:  # whoever asks has counted this process as well
            reply(store, asked, f"command-{os.getpid()}", [])
        bell.set()

    bus = Bus(
        say=store.say,
        on_message=ring,
        on_doubt=lambda channel: bell.set(),
        probe_s=DEADLINE_S,
    )
    bus.url = opened_url
    async with _running(bus.run()):
        await bus.join(channel)
        yield bell


@asynccontextmanager
async def roll_call(store: Opened) -> AsyncIterator[RollCall]:
    """To ask the hubs of this store who is here."""
    roll = RollCall(store.store)
    roll.bus = Bus(say=store.store.say, on_message=roll.message, on_doubt=lambda channel: None, probe_s=DEADLINE_S)
    roll.bus.url = store.url
    async with _running(roll.bus.run()):
        yield roll


@asynccontextmanager
async def _running(part: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(part)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ---- in a command ------------------------------------------------------------------------------------


def read_settings(**options: Any) -> Settings:
    """The settings, options first. Raises UsageError naming the variable and its value."""
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
    except RuntimeError as error:  # no home directory
        raise click.UsageError(f"{error} Set BELLHUB_DATA_DIR.") from None
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        name = name if name.isupper() else variables(name)[0]
        # A secret is not repeated.
        shown = "" if name == variables("console_key")[0] else f"{str(fault['input'])[:64]!r}: "
        raise click.UsageError(f"{name}: {shown}{fault['msg']}") from None
    if settings.redis_url:
        try:
            settings.redis_url.encode()
            parse_url(settings.redis_url)
        except ValueError:
            # Not repeated: there may be a password in it.
            raise click.UsageError("the Redis URL is none: redis://host:port, rediss://… or unix:///path") from None
    return settings


def store_options(command: Callable[..., None]) -> Callable[..., None]:
    """Says where the store is, and how to answer."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
        click.option("--data-dir", type=click.Path(path_type=Path), help="Directory of the embedded store."),
        click.option("--redis-url", help="An outside store instead of the embedded one."),
    ):
        command = option(command)
    return command


of_project = click.option("--project", "project_id", default=DEFAULT, show_default=True, help="Id of the project.")


def with_store(command: Callable[..., Awaitable[Answer]]) -> Callable[..., None]:
    """Runs the command with the store opened, as its first argument, and shows its answer."""

    @functools.wraps(command)
    def run(redis_url: str | None, data_dir: Path | None, as_json: bool, **arguments: Any) -> None:
        settings = read_settings(redis_url=redis_url, data_dir=data_dir)
        value, text = on_store(settings, lambda store: command(store, **arguments))
        click.echo(dumps(value) if as_json else text)

    return store_options(run)


def on_store(settings: Settings, work: Callable[[Opened], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with opened(settings) as store:
            return await work(store)

    with hindrances(settings, "it is starting or ending, or another command works there: try again in a moment"):
        return asyncio.run(run())


@contextmanager
def hindrances(settings: Settings, when_locked: str) -> Iterator[None]:
    """Tells what stands between a command and its store, and what to do about it; exit code 3."""
    try:
        yield
    except Locked as error:
        end(f"{error}; {when_locked}", 3)
    except NotStarted as error:
        end(f"{error}\nTry another --data-dir, or an outside store with --redis-url.", 3)
    except (NoStore, NewerSchema) as error:
        end(str(error), 3)
    except RedisError as error:
        end(_unanswered(settings, f"the store does not answer ({type(error).__name__})"), 3)
    except Refused as refused:
        if refused.code is not Code.UNAVAILABLE:
            raise
        end(_unanswered(settings, refused.message), 3)


def _unanswered(settings: Settings, message: str) -> str:
    """Names the place, without its password."""
    if not settings.redis_url:
        return f"{message}; it is the embedded one of {settings.data_dir}: see what its hub says"
    at = urlsplit(settings.redis_url)
    return f"{message}; looked for at {at.netloc.rpartition('@')[2] or at.path}: start it, or correct the Redis URL"


def end(message: str, code: int) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
