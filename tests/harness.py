"""Real things for tests: a private Redis, hubs on free ports, clients that remember every frame."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgpack
import redis
import websockets

from hub import auth, keys
from hub.app import Hub, create_app, store_client
from hub.engine import Engine
from hub.frames import MSGPACK_PROTOCOL
from hub.keys import User
from hub.model import Project
from hub.profiles import encode, new_profile
from hub.projects import DEFAULT, Projects, add_origin, add_secret_key, add_signing_key
from hub.server import Server, listen
from hub.settings import Settings
from hub.store import Store

PATIENCE_S = 10.0
"""How long a test waits for what must happen. Long: a slow machine is no failure."""

SIGNING_KEY, PRIVATE_PEM = auth.new_signing_key("ES256")


class RedisServer:
    """A private redis-server on a unix socket. Without persistence unless `aof`."""

    def __init__(self, *, aof: bool = False, port: int = 0) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bh-"))
        self.socket = self.directory / "s"
        self.aof = aof
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)

    def start(self) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        assert binary, "redis-server is needed: apt-get install redis-server"
        argv = [binary, "--port", str(self.port), "--unixsocket", str(self.socket), "--dir", str(self.directory)]
        argv += ["--save", "", "--appendonly", "yes" if self.aof else "no", "--appendfsync", "always"]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self.client.ping() and not self.client.info("persistence")["loading"]:
                    return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT freeze and thaw it; after SIGKILL use `start` for it to come back."""
        assert self.process is not None
        self.process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait()

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


@asynccontextmanager
async def open_store(
    url: str, *, feed_entries: int = 1000, feed_days: int = 90, log_events: int = 500
) -> AsyncIterator[Store]:
    """The feed engine alone on a real Redis: no hub, no sockets."""
    engine = Engine()
    link = engine.link
    store = Store(engine, feed_entries=feed_entries, feed_days=feed_days, log_events=log_events)
    link.url = url
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await link.up.wait()
        yield store
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def set_up(redis_url: str, origins: tuple[str, ...] = ()) -> tuple[str, str]:
    """Makes the store's default project trust `SIGNING_KEY`; its api key, and a fresh owner's secret key."""
    client = store_client(redis_url)
    projects = Projects(client)
    project = await projects.ensure_default()
    if SIGNING_KEY.kid not in {key.kid for key in project.signing_keys}:
        project = await projects.change(project.id, lambda p: add_signing_key(p, SIGNING_KEY))
    key, secret = auth.new_secret_key("owner")
    project = await projects.change(project.id, lambda p: add_secret_key(p, key))
    for origin in origins:
        project = await projects.change(project.id, lambda p, o=origin: add_origin(p, o))
    await client.aclose()
    return project.api_key, secret


def subscribed(server: RedisServer, topic: str, count: int) -> list[User]:
    """Users of the default project's directory, subscribed to a topic: written as the hub would, all at once."""
    users = [User(DEFAULT, f"user-{number:06}") for number in range(count)]
    pipe = server.client.pipeline(transaction=False)
    for number, user in enumerate(users):
        us = 1_790_000_000_000_000 + number // 250  # those of one request share their time
        pipe.hset(keys.profiles(DEFAULT), user.name, encode(new_profile(DEFAULT, user.name, us)))
        pipe.zadd(keys.users(DEFAULT), {user.name: us})
        pipe.zadd(keys.topic(DEFAULT, topic), {user.name: us})
    pipe.execute()
    return users


class Doors:
    """How tests speak to a hub that listens on `port` here, whoever runs it. `secret` is an owner's key."""

    def __init__(self) -> None:
        self.api_key = self.secret = ""
        self.port = 0

    def token(self, user: str, *, ttl_s: int = 3600, now: float | None = None) -> str:
        return auth.sign(user, PRIVATE_PEM, SIGNING_KEY.kid, "ES256", ttl_s, now or time.time())

    def http(self) -> httpx2.AsyncClient:
        # No TLS here: loading the system's certificates would cost 26 ms a client.
        return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_S, verify=False)

    async def send(self, user: str, title: str = "hello", **fields: Any) -> str:
        """Sends one notification over REST; its id."""
        body = {"category": "order.updated", "target": {"type": "user", "id": user}, "title": title} | fields
        async with self.http() as http:
            answer = await http.post("/v1/messaging/notifications", json=body, headers=self.producer)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    @property
    def producer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}

    def user_headers(self, user: str) -> dict[str, str]:
        return {"x-notiflows-api-key": self.api_key, "x-notiflows-user-key": self.token(user)}

    async def feed(self, user: str, **query: Any) -> dict[str, Any]:
        """The user's feed over REST."""
        async with self.http() as http:
            answer = await http.get(
                "/user/v1/channels/inbox/feed/entries", params=query, headers=self.user_headers(user)
            )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def counts(self, user: str) -> dict[str, Any]:
        """The counts of the user's feed over REST, and its last `cursor`."""
        async with self.http() as http:
            answer = await http.get("/user/v1/channels/inbox/feed/counts", headers=self.user_headers(user))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def connect(self, user: str | None = None, *, subscribe: bool = True, **options: Any) -> "Client":
        """An authenticated client, following `inbox` from nothing (or from `cursor`), or a bare socket.

        `port` is that of a proxy in between.
        """
        cursor = options.pop("cursor", None)
        token = options.pop("token", None)
        client = await Client.open(f"ws://127.0.0.1:{options.pop('port', self.port)}/ws/v1", **options)
        if user is not None:
            await client.send("auth", api_key=self.api_key, token=token or self.token(user))
            await client.next("welcome")
            if subscribe:
                await client.ask("subscribe", channel="inbox", **({"cursor": cursor} if cursor else {}))
        return client


class RunningHub(Doors):
    """A hub process' parts in this loop, behind a real uvicorn on a free port.

    Secure mode: project `default`, whose users `token` signs for; `secret` is an owner's key.
    """

    def __init__(self, redis_url: str, *, development: bool = False, origins: tuple[str, ...] = (), **settings: Any):
        values = {"redis_url": redis_url, "check_s": 30, "log_level": "warning"} | settings
        self.settings = Settings(_env_file=None, **values)
        self.hub = Hub(self.settings, development=development)
        super().__init__()
        self.origins = origins
        self._serving: asyncio.Task[None] | None = None
        self._server: Server | None = None

    async def start(self, port: int = 0) -> "RunningHub":
        import uvicorn

        listener = listen("127.0.0.1", port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            create_app(self.hub),
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            access_log=False,
            log_config=None,
            lifespan="off",
        )
        self.api_key, self.secret = await set_up(self.settings.redis_url or "", self.origins)
        up = asyncio.Event()
        self._server = Server(config, self.hub, lambda port: up.set())
        self._serving = asyncio.create_task(self._server._serve([listener]))
        started = asyncio.create_task(up.wait())
        await asyncio.wait({self._serving, started}, return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            started.cancel()
            self._serving.result()
        return self

    async def stop(self) -> None:
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = True
        await self._serving

    async def change_project(self, fn: Callable[[Project], Project], project_id: str = "default") -> Project:
        """Changes a stored project; this hub knows when it returns."""
        client = store_client(self.settings.redis_url or "")
        project = await Projects(client).change(project_id, fn)
        await client.aclose()
        await until(lambda: self.hub.directory.project(project_id) == project)
        return project

    async def add_project(self, project_id: str) -> Project:
        """A second project, with its own keys to come; this hub knows when it returns."""
        client = store_client(self.settings.redis_url or "")
        project = await Projects(client).create(project_id, project_id)
        await client.aclose()
        await until(lambda: self.hub.directory.project(project_id) == project)
        return project


class HubProcess(Doors):
    """`bellhub serve` as a process of its own, on a free port, once it has said all up to a line that starts so."""

    def __init__(self, *options: str, said: str = "{", env: dict[str, str] | None = None) -> None:
        super().__init__()
        argv = [sys.executable, "-m", "hub", "serve", "--port", "0", *(["--json"] if said == "{" else []), *options]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed by `stop`)
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=clean_env() | (env or {})
        )
        self.said: list[str] = []
        while not (self.said and self.said[-1].startswith(said)):
            line = self.process.stdout.readline()  # type: ignore[union-attr]
            if not line:
                raise AssertionError(f"{argv} ended with {self.stop()} after {self.said}: {self.errors}")
            self.said.append(line.rstrip("\n"))
        if said == "{":
            self.greeting: dict[str, Any] = json.loads(self.said[-1])
            self.port = urlsplit(self.greeting["address"]).port or 0

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Its exit code, once it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        if not self._errors.closed:
            self._errors.seek(0)
            self.errors = self._errors.read()
            self._errors.close()
        self.process.stdout.close()  # type: ignore[union-attr]
        return code


def clean_env() -> dict[str, str]:
    """The environment without settings of a hub."""
    ours = ("BELLHUB_", "REDIS_URL", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


class Client:
    """One socket. Every frame that arrives is in `frames`, in order; `bye` and the close code at the end."""

    def __init__(self, socket: websockets.ClientConnection, packed: bool) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self.closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._packed = packed
        self._refs = itertools.count(1)
        self._taken: dict[str, int] = {}
        self._arrived = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, *, protocol: str | None = None, origin: str | None = None) -> "Client":
        socket = await websockets.connect(
            url,
            subprotocols=[protocol] if protocol else None,
            origin=origin,
            compression=None,
            max_size=None,
            ping_interval=None,
        )
        return cls(socket, protocol == MSGPACK_PROTOCOL)

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                frame = msgpack.unpackb(message) if self._packed else json.loads(message)
                if frame["type"] == "ping":
                    await self.send("pong")
                async with self._arrived:
                    self.frames.append(frame)
                    self._arrived.notify_all()
        except websockets.ConnectionClosed:
            pass
        async with self._arrived:
            if not self.closed.done():
                self.closed.set_result(self.socket.close_code)
            self._arrived.notify_all()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Every frame from the first on, until the socket has ended."""
        for at in itertools.count():
            async with self._arrived:
                await self._arrived.wait_for(lambda at=at: len(self.frames) > at or self.closed.done())
            if len(self.frames) == at:
                return
            yield self.frames[at]

    async def send(self, kind: str, **fields: Any) -> None:
        frame = {"type": kind} | fields
        await self.socket.send(msgpack.packb(frame) if self._packed else json.dumps(frame))

    async def raw(self, message: str | bytes) -> None:
        await self.socket.send(message)

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Sends a frame with a fresh `ref` and returns its one answer, which may be an `error`."""
        ref = f"r{next(self._refs)}"
        await self.send(kind, ref=ref, **fields)
        return await self.first(lambda frame: frame.get("ref") == ref)

    async def next(self, kind: str) -> dict[str, Any]:
        """The next frame of a type that was not taken by `next` before."""
        wanted = self._taken[kind] = self._taken.get(kind, 0) + 1
        seen = await self._wait(lambda: [frame for frame in self.frames if frame["type"] == kind], wanted)
        return seen[wanted - 1]

    async def first(self, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first frame, ever, for which `good`."""
        return (await self._wait(lambda: [frame for frame in self.frames if good(frame)], 1))[0]

    async def _wait(self, found: Callable[[], list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_S), self._arrived:
            while len(frames := found()) < count:
                if self.closed.done():
                    raise AssertionError(f"closed with {self.closed.result()} after {self.frames[-3:]}")
                await self._arrived.wait()
            return frames

    async def close_code(self) -> int | None:
        """Waits for the other side to end it."""
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.shield(self.closed)

    async def close(self) -> None:
        await self.socket.close()
        await self._reader

    @property
    def cursor(self) -> str:
        """That of the last event or `subscribed` (live, snapshot) that arrived."""
        moving = [
            f for f in self.frames if f["type"] in ("entry", "state", "gone") or f.get("mode") in ("live", "snapshot")
        ]
        return str(moving[-1]["cursor"])


async def until(condition: Callable[[], Any], what: str = "") -> None:
    """Waits for a condition that nothing announces."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.005)


def free_port() -> int:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    return int(port)


IN_CI = bool(os.environ.get("CI"))
