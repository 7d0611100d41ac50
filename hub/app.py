"""Wiring: the only place that knows everything. `create_app` makes the ASGI application of one hub process."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute, Mount

from hub import __version__, keys
from hub.announcements import Announcements
from hub.api.admin import AdminApi
from hub.api.announcements import AnnouncementsApi
from hub.api.callers import Callers
from hub.api.console import Console
from hub.api.cors import Cors
from hub.api.demo import Demo, SignToken
from hub.api.dialects import Dialect, feed_dialect, messaging_dialect, no_such_operation
from hub.api.docs import Docs
from hub.api.doors import Door, Operations
from hub.api.feed import FeedApi
from hub.api.inbox import InboxApi
from hub.api.logs import LogsApi
from hub.api.messaging import MessagingApi
from hub.api.middleware import LocalPages, RequestIds, Segments
from hub.api.notiflows import NotiflowsApi
from hub.api.requests import ADMIN_BODY_BYTES
from hub.api.sessions import SessionsApi
from hub.api.static import Static
from hub.api.user_settings import UserSettingsApi
from hub.bus import Bus
from hub.embedded import EmbeddedStore, durability, find_binary
from hub.engine import Engine
from hub.errors import CloseCode, Refused, unavailable
from hub.fanout import FanOut
from hub.findings import of_hub
from hub.health import health_routes
from hub.idempotency import Answers
from hub.identity import Identity
from hub.logs import Logs
from hub.model import JSON, Project, SigningKey
from hub.projects import Directory, Projects, check_schema, development_project
from hub.protocol import Timing
from hub.rates import Rates
from hub.registry import Registry
from hub.rollcall import RollCall
from hub.runs import Runs
from hub.session import Surroundings
from hub.settings import Settings
from hub.store import Store
from hub.users import Users
from hub.wheel import SLOT_S, Wheel
from hub.ws import socket_route

log = logging.getLogger("bellhub")

START_S = 30.0
"""How long a start waits for a store that cannot be reached."""
LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]


def store_client(url: str) -> redis.asyncio.Redis:
    """redis-py, for administration and rare calls. It retries nothing: what ran twice would be silent."""
    return redis.asyncio.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=5)


class Hub:
    """The parts of one hub process. `start` and `stop` once; `failed` is set when a part has died."""

    def __init__(
        self,
        settings: Settings,
        *,
        development: bool = False,
        signing_key: SigningKey | None = None,
        demo_tokens: SignToken | None = None,
    ) -> None:
        """`signing_key`, `demo_tokens`: whose tokens a hub in development mode takes, and signs for its own page."""
        self.settings = settings
        self.demo_tokens = demo_tokens
        self.failed = asyncio.Event()
        self.directory = Directory(development_project(signing_key) if development else None)
        self.engine = Engine()
        self.link = self.engine.link
        self.store = Store(
            self.engine,
            feed_entries=settings.feed_entries,
            feed_days=settings.feed_days,
            log_events=settings.log_events,
        )
        self.users = Users(self.engine)
        self.registry = Registry(self.store, check_s=settings.check_s, sessions_per_user=settings.sessions_per_user)
        self.bus = Bus(
            say=self.store.say,
            on_message=self._message,
            on_doubt=self._doubt,
            probe_s=settings.probe_s,
        )
        self.rollcall = RollCall(self.store)
        self.registry.bus = self.rollcall.bus = self.bus
        self.announcements = Announcements(
            self.engine, self.store.live, feed_days=settings.feed_days, changed=self.registry.announced
        )
        self.identity = Identity(self.directory, self.store, settings, development=development)
        self.embedded = (
            None if settings.redis_url else EmbeddedStore(settings.data_dir, find_binary(settings.redis_bin))
        )
        self.around: Surroundings  # from `start` on: its wheel turns with the loop's clock
        self._tasks: list[asyncio.Task[None]] = []
        self._client: redis.asyncio.Redis | None = None
        self.logs = Logs(self.engine, settings.log_days)
        self.runs = Runs(self.engine, self.logs)
        self.fanout = FanOut(self.store, self.users, self.runs, self.directory)
        self._projects: Projects  # from `start` on
        self._projects_changed = asyncio.Event()
        self._changing, self._loading = asyncio.Lock(), asyncio.Lock()

    async def start(self) -> None:
        """Everything is up when this returns. Raises what says why it cannot be; nothing is left behind then."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self.around = Surroundings(
            store=self.store,
            directory=self.directory,
            identity=self.identity,
            registry=self.registry,
            wheel=Wheel(loop.time()),
            timing=_timing(self.settings),
            clock=loop.time,
        )
        url = await self.embedded.start() if self.embedded else self.settings.redis_url
        assert url is not None
        self._client = store_client(url)
        await self._greet_store()
        self.link.url = self.bus.url = url
        for part in (
            self.link.run(),
            self.bus.run(),
            self.registry.check_forever(),
            self.registry.evict_forever(),
            self.registry.bring_forever(),
            self._turn_wheel(),
            self._reload_projects(),
        ):
            self._own(part)
        if self.embedded:
            self._own(self._watch_store(self.embedded))
        try:
            async with asyncio.timeout(START_S):
                await self.link.up.wait()
        except TimeoutError:
            raise unavailable("the store answers, but takes no scripts; its log or `redis-cli` tells why") from None
        await self.bus.join(keys.CONTROL)
        self._own(self.fanout.run())
        # Joined before: what is announced from now on is either read, or heard.
        await self.announcements.load_all(self.directory.ids)
        self._own(self.announcements.keep(lambda: self.directory.ids, self.settings.check_s))

    async def stop(self) -> None:
        """Ends the sessions that are left, then every part, the store last."""
        self.registry.drain()
        # Asked until they end: before Python 3.12 `asyncio.wait_for`, in redis-py, may swallow what it is asked once.
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.1)
        if self._client is not None:
            await self._client.aclose()
        if self.embedded:
            await self.embedded.stop()

    def checks(self) -> dict[str, bool]:
        """What `/readyz` depends on."""
        return {
            "store": self.link.up.is_set(),
            "subscriber": self.bus.up,
            "serving": not self.registry.draining,
            # `bellhub serve` ends then; an application in which the hub is mounted goes on without it.
            "parts": not self.failed.is_set(),
        }

    async def health(self) -> JSON:
        """What the console tells of this hub and its store, as `bellhub doctor` would find it."""
        checks = self.checks()
        found = await of_hub(self.client, self.directory.projects(), self.settings.token_leeway_s)
        return {
            "hub": self.registry.name,
            "version": __version__,
            "status": "ready" if all(checks.values()) else "unready",
            "checks": checks,
            "sessions": len(self.registry.sessions),
            "findings": [asdict(finding) for finding in found],
        }

    # ---- parts ---------------------------------------------------------------------------------------

    def _own(self, part: Coroutine[Any, Any, None]) -> None:
        """Runs a part; one that ends by itself, or fails, ends the process: visibly, not silently."""
        task = asyncio.create_task(part)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.critical("hub.part_died", exc_info=task.exception())
            self.failed.set()

    async def _watch_store(self, store: EmbeddedStore) -> None:
        await store.failed.wait()
        raise RuntimeError("the embedded store keeps crashing")

    @property
    def client(self) -> redis.asyncio.Redis:
        assert self._client is not None, "not started"
        return self._client

    async def _greet_store(self) -> None:
        """Waits for the store, refuses one of a newer layout, makes the first project, reads all of them."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                await check_schema(self.client)
                break
            except Refused as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("store.unreachable", extra={"error": str(error)})
                await asyncio.sleep(0.5)
        if self.embedded is None:
            for warning in await durability(self.client):
                log.warning("store.durability", extra={"warning": warning})
        self._projects = Projects(self.client)
        await self._projects.ensure_default()
        await self._load_projects()

    async def change_project(self, project_id: str, change: Callable[[Project], Project]) -> Project:
        """`Projects.change`; when it returns, every door of this hub sees the project as it is now."""
        async with self._changing:  # one after the other: all projects are one key, so each would upset the others
            project = await self._projects.change(project_id, change)
            await self._load_projects()
        return project

    async def _load_projects(self) -> None:
        async with self._loading:  # or what was read earlier could be taken over later
            gone = self.directory.replace((await self._projects.load()).values())
        for session in self.registry.sessions:
            if session.user.project in gone:
                session.close(CloseCode.FORBIDDEN, "the project is gone")
        for project_id in gone:
            self.store.live.forget(project_id)
            if self.directory.project(project_id) is not None:  # another one of that id
                self.announcements.ring(project_id)

    async def _reload_projects(self) -> None:
        """After each control message, and every `check_s` for the ones that were lost."""
        while True:
            try:
                async with asyncio.timeout(self.settings.check_s):
                    await self._projects_changed.wait()
            except TimeoutError:
                pass
            self._projects_changed.clear()
            try:
                await self._load_projects()
            except (RedisError, OSError, Refused) as error:  # what was known stays valid
                log.warning("projects.not_reloaded", extra={"error": str(error)})
                await asyncio.sleep(1)
                self._projects_changed.set()

    async def _turn_wheel(self) -> None:
        while True:
            await asyncio.sleep(SLOT_S)
            self.around.wheel.turn(self.around.clock())

    def _message(self, channel: str, payload: str) -> None:
        if channel == keys.CONTROL:
            self._controlled(payload)
        elif self.rollcall.asks(channel):
            self.rollcall.message(channel, payload)
        else:
            self.registry.message(channel, payload)

    def _controlled(self, payload: str) -> None:
        if payload.startswith(keys.RUN_NEWS):
            self.fanout.nudge(payload.removeprefix(keys.RUN_NEWS))
        elif payload.startswith(keys.ANNOUNCED):
            self.announcements.ring(payload.removeprefix(keys.ANNOUNCED))
        else:
            self._projects_changed.set()

    def _doubt(self, channel: str) -> None:
        if channel == keys.CONTROL:
            self._projects_changed.set()
            self.announcements.ring()
        else:
            self.registry.doubt(channel)


def create_app(hub: Hub | None = None) -> Starlette:
    """The hub as an ASGI application; its lifespan starts and stops the hub.

    None: a hub with the settings of the environment, to be mounted in another application (`docs/api.md`, Under a
    prefix).
    """
    hub = hub or Hub(Settings())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await hub.start()
        try:
            yield
        finally:
            await hub.stop()

    docs_url = hub.settings.docs_url
    callers = Callers(hub.identity, hub.directory, hub.settings.console_key)
    envelope, messaging_envelope = feed_dialect(docs_url), messaging_dialect(docs_url)
    static = shipped("static")
    routes: list[BaseRoute] = [
        socket_route(lambda: hub.around),
        *_apis(hub, callers, envelope, messaging_envelope),
        *health_routes(hub.checks),
        *Docs(shipped("docs")).routes(),
        *Static(static, changing=hub.identity.development).routes(),
    ]
    if hub.settings.console_key is not None:
        routes += Console(static / "console.html", callers.is_operator, hub.directory, hub.health, envelope).routes()
    middleware = [Middleware(RequestIds), Middleware(Segments)]
    if hub.identity.development:
        routes += Demo(static / "demo.html", hub.demo_tokens, hub.settings.token_leeway_s).routes()
        # A page elsewhere that a resolver points at this machine has another Host.
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK, www_redirect=False))
        middleware.append(Middleware(LocalPages))
    user_apis, admin_apis = ("/user/v1", "/api/user/v1"), ("/admin/v1", "/api/admin/v1")
    browsers = (*user_apis, "/v1/messaging")
    middleware.append(Middleware(Cors, allowed=hub.identity.page_allowed, prefixes=browsers))
    apis = dict.fromkeys(user_apis + admin_apis, envelope) | {"/v1/messaging": messaging_envelope}
    unknown = no_such_operation(apis)
    app = Starlette(
        routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers={HTTPException: unknown}
    )
    app.router.redirect_slashes = False  # as in `Operations`
    return app


def _apis(hub: Hub, callers: Callers, envelope: Dialect, messaging_envelope: Dialect) -> list[Mount]:
    """The three APIs, each behind a door of its own, and the older addresses of two of them."""
    answers = Answers(hub.engine)
    rates = Rates(hub.engine, key_rate=hub.settings.key_rate, user_rate=hub.settings.user_rate)
    user_door = Door("/user/v1", envelope, callers.of_user_api, answers, rates)
    messaging_door = Door("/v1/messaging", messaging_envelope, callers.of_messaging_api, answers, rates)
    admin_door = Door("/admin/v1", envelope, callers.of_admin_api, answers, rates, ADMIN_BODY_BYTES)
    user = [*FeedApi(hub.store, user_door).routes(), *UserSettingsApi(hub.users, user_door).routes()]
    messaging = [
        # First, for its `…/unread-count` and the like: else they would be taken for ids.
        *InboxApi(hub.store, messaging_door).routes(),
        *MessagingApi(hub.store, hub.logs, messaging_door).routes(),
        *AnnouncementsApi(hub.announcements, messaging_door).routes(),
    ]
    admin = [
        *AdminApi(hub.users, hub.store, hub.logs, admin_door).routes(),
        *SessionsApi(hub.store, hub.rollcall, admin_door).routes(),
        *NotiflowsApi(hub.change_project, hub.runs, admin_door).routes(),
        *LogsApi(hub.logs, hub.runs, hub.users, hub.store, admin_door).routes(),
    ]
    return [
        Mount("/v1/messaging", Operations(messaging)),
        Mount("/user/v1", Operations(user)),
        Mount("/api/user/v1", Operations(user)),
        Mount("/admin/v1", Operations(admin)),
        Mount("/api/admin/v1", Operations(admin)),
    ]


def shipped(name: str) -> Path:
    """A directory of files that come along: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def _timing(settings: Settings) -> Timing:
    return Timing(
        auth_s=settings.auth_timeout_s,
        ping_s=settings.ping_s,
        pong_s=settings.pong_s,
        max_age_s=settings.max_age_s,
        leeway_s=settings.token_leeway_s,
    )
