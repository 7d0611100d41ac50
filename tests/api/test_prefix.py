"""The hub under a prefix: mounted in another application, or behind a proxy that takes the prefix off."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.app import Hub, create_app
from hub.settings import Settings
from tests.harness import PATIENCE_S, Client, RedisServer, free_port, until

MODULE = re.compile(r'^(?:import|export) [^;]*?from "(\./[^"]+)"', re.MULTILINE)
LINKED = re.compile(r'(?:src|href)="([^"#][^"]*)"')


def hub_app(redis_url: str) -> Starlette:
    """In development mode, which has a page."""
    settings = Settings(_env_file=None, redis_url=redis_url, log_level="warning")
    return create_app(Hub(settings, development=True))


def mounted(redis_url: str) -> Starlette:
    """The shop, with the hub under `/bell`, as `docs/api.md` says: the hub starts and ends with the shop."""
    bell = hub_app(redis_url)

    async def shop(request: Any) -> PlainTextResponse:
        return PlainTextResponse("the shop")

    return Starlette(
        routes=[Mount("/bell", app=bell), Route("/", shop)],
        lifespan=bell.router.lifespan_context,
    )


@asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """The port on which a plain uvicorn serves an application, its lifespan included."""
    port = free_port()
    config = uvicorn.Config(app, port=port, log_config=None, lifespan="on", ws="websockets-sansio", **options)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started or serving.done())
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def stripping(port: int) -> AsyncIterator[int]:
    """A proxy that takes `/bell` off the path of a connection's first request and passes everything else on."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", port)
        upstream.write((await reader.readline()).replace(b" /bell/", b" /", 1))
        await asyncio.gather(_pump(reader, upstream), _pump(upstream_reader, writer))

    proxy = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    writer.close()


Setting = Callable[[str], Any]


@asynccontextmanager
async def under_mount(redis_url: str) -> AsyncIterator[str]:
    async with serving(mounted(redis_url)) as port:
        yield f"http://127.0.0.1:{port}/bell/"


@asynccontextmanager
async def behind_proxy(redis_url: str) -> AsyncIterator[str]:
    """The hub knows nothing of the prefix."""
    async with serving(hub_app(redis_url)) as port, stripping(port) as proxy:
        yield f"http://127.0.0.1:{proxy}/bell/"


@asynccontextmanager
async def behind_proxy_with_root_path(redis_url: str) -> AsyncIterator[str]:
    """The hub is told the prefix by the server that runs it."""
    async with serving(hub_app(redis_url), root_path="/bell") as port, stripping(port) as proxy:
        yield f"http://127.0.0.1:{proxy}/bell/"


everywhere = pytest.mark.parametrize("setting", [under_mount, behind_proxy, behind_proxy_with_root_path])


def client() -> httpx2.AsyncClient:
    # One request a connection: the proxy rewrites only the first.
    return httpx2.AsyncClient(timeout=PATIENCE_S, verify=False, headers={"connection": "close"})


async def modules(http: httpx2.AsyncClient, address: str, seen: dict[str, str]) -> dict[str, str]:
    """The text of a module and of everything it imports, by address, as a browser would load them."""
    answer = await http.get(address)
    assert answer.status_code == 200, address
    assert answer.headers["content-type"].startswith("text/javascript"), address
    seen[address] = answer.text
    for found in MODULE.findall(answer.text):
        if (imported := urljoin(address, found)) not in seen:
            await modules(http, imported, seen)
    return seen


@everywhere
async def test_the_demo_page_finds_everything_it_needs_beside_itself(
    redis_server: RedisServer, setting: Setting
) -> None:
    async with setting(redis_server.url) as page, client() as http:
        html = (await http.get(page)).text
        linked = [urljoin(page, found) for found in LINKED.findall(html) if not found.startswith("data:")]
        assert len(linked) >= 2
        for address in linked:
            assert address.startswith(page)
            assert (await http.get(address)).status_code == 200, address
        script = next(address for address in linked if address.endswith(".js"))
        loaded = await modules(http, script, {})
        assert {address.rpartition("/")[2] for address in loaded} >= {"demo.js", "client.js", "protocol.js"}
        text = "".join(loaded.values())
        send, socket = '"v1/messaging/notifications"', '"ws/v1"'
        assert send in text
        assert socket in text
        await talks(http, page)


async def talks(http: httpx2.AsyncClient, page: str) -> None:
    """What the page does then: a socket and a send, both relative to its own address."""
    session = await Client.open(urljoin(page, "ws/v1").replace("http", "ws", 1), origin=page.removesuffix("/bell/"))
    await session.send("auth", api_key="pk_dev", user="ann")
    await session.next("welcome")
    await session.ask("subscribe", channel="inbox")
    body = {"category": "a", "target": {"type": "user", "id": "ann"}, "title": "hello"}
    sent = await http.post(
        urljoin(page, "v1/messaging/notifications"), json=body, headers={"authorization": "Bearer sk_dev"}
    )
    assert sent.status_code == 202
    assert (await session.next("entry"))["entry"]["id"] == sent.json()["id"]
    await session.close()


@everywhere
async def test_both_http_dialects_work_under_the_prefix(redis_server: RedisServer, setting: Setting) -> None:
    async with setting(redis_server.url) as page, client() as http:
        http.headers.update({"x-notiflows-api-key": "pk_dev", "x-notiflows-user-id": "ann"})
        for base in ("user/v1", "api/user/v1"):
            entries = urljoin(page, f"{base}/channels/inbox/feed/entries")
            assert (await http.get(entries)).json()["items"] == []
            assert (await http.patch(f"{entries}/x", json={"read": True})).status_code == 404
            asks = {"origin": "http://localhost:3000", "access-control-request-method": "PATCH"}
            asked = await http.request("OPTIONS", entries, headers=asks)
            assert asked.headers["access-control-allow-origin"] == "http://localhost:3000"
        for path in ("healthz", "readyz"):
            assert (await http.get(urljoin(page, path))).status_code == 200


@pytest.mark.parametrize("setting", [under_mount, behind_proxy_with_root_path])
async def test_urls_of_pages_contain_the_prefix_where_the_hub_knows_it(
    redis_server: RedisServer, setting: Setting
) -> None:
    async with setting(redis_server.url) as page, client() as http:
        http.headers.update({"authorization": "Bearer sk_dev", "x-bellhub-user": "ann"})
        notifications = urljoin(page, "v1/messaging/notifications")
        body = {"category": "a", "target": {"type": "user", "id": "ann"}, "title": "hello"}
        sent = [(await http.post(notifications, json=body)).json()["id"] for _ in range(2)]
        first = (await http.get(notifications, params={"limit": 1})).json()
        url = first["page_info"]["next_page_url"]
        assert url.startswith("/bell/v1/messaging/notifications?")
        second = (await http.get(urljoin(page, url))).json()
        assert [n["id"] for n in (*first["data"], *second["data"])] == sent[::-1]


@everywhere
async def test_the_documents_find_each_other_and_the_hub_under_the_prefix(
    redis_server: RedisServer, setting: Setting
) -> None:
    async with setting(redis_server.url) as page, client() as http:
        for address in (urljoin(page, "docs"), urljoin(page, "docs/errors")):
            linked = re.findall(r'(?:href|src)="([^"#:]+)', (await http.get(address)).text)
            assert len(linked) > 5
            for found in set(linked):
                assert (await http.get(urljoin(address, found))).status_code == 200, found
        document = urljoin(page, "openapi.json")
        (server,) = (await http.get(document)).json()["servers"]
        assert urljoin(document, server["url"]) == page


async def links_of_errors(http: httpx2.AsyncClient, page: str) -> set[str]:
    """Where the errors of both dialects say that they are explained, without what names the error."""
    entries = await http.get(urljoin(page, "user/v1/channels/inbox/feed/entries"), headers={"host": "localhost"})
    notifications = await http.post(urljoin(page, "v1/messaging/notifications"), headers={"host": "localhost"})
    links = {entries.json()["error"]["type"], notifications.json()["error"]["doc_url"]}
    return {link.partition("#")[0] for link in links}


@pytest.mark.parametrize(
    ("setting", "link"),
    [
        (under_mount, "http://localhost/bell/docs/errors"),
        (behind_proxy_with_root_path, "http://localhost/bell/docs/errors"),
        (behind_proxy, "http://localhost/docs/errors"),
    ],
)
async def test_links_of_errors_contain_the_prefix_where_the_hub_knows_it(
    redis_server: RedisServer, setting: Setting, link: str
) -> None:
    """Where it cannot know, `BELLHUB_DOCS_URL` says it (docs/api.md)."""
    async with setting(redis_server.url) as page, client() as http:
        assert await links_of_errors(http, page) == {link}


async def test_a_mounted_hub_starts_and_ends_with_the_application_around_it(redis_server: RedisServer) -> None:
    app = mounted(redis_server.url)
    async with serving(app) as port, client() as http:
        assert (await http.get(f"http://127.0.0.1:{port}/")).text == "the shop"
        assert (await http.get(f"http://127.0.0.1:{port}/bell/readyz")).json()["status"] == "ready"
        session = await Client.open(f"ws://127.0.0.1:{port}/bell/ws/v1")
        await session.send("auth", api_key="pk_dev", user="ann")
        await session.next("welcome")
        assert redis_server.client.pubsub_shardchannels()
    assert await session.close_code() == 1012  # which means come back
    await until(lambda: not redis_server.client.pubsub_shardchannels())


async def test_a_mounted_hub_that_has_lost_a_part_is_not_ready(redis_server: RedisServer) -> None:
    """Nobody ends the process around it."""
    hub = Hub(Settings(_env_file=None, redis_url=redis_server.url, log_level="warning"))
    bell = create_app(hub)
    app = Starlette(routes=[Mount("/bell", app=bell)], lifespan=bell.router.lifespan_context)
    async with serving(app) as port, client() as http:
        ready = f"http://127.0.0.1:{port}/bell/readyz"
        assert (await http.get(ready)).status_code == 200
        hub.failed.set()
        answer = await http.get(ready)
    assert answer.status_code == 503
    assert [name for name, good in answer.json()["checks"].items() if not good] == ["parts"]


async def test_what_is_around_may_take_a_prefix_off_the_path_alone(redis_server: RedisServer) -> None:
    hub = hub_app(redis_server.url)

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["path"].removeprefix("/bell")}
        await hub(scope, receive, send)

    async with serving(around) as port, httpx2.AsyncClient(verify=False) as http:
        for prefix in ("/bell", ""):
            assert (await http.get(f"http://127.0.0.1:{port}{prefix}/healthz")).status_code == 200
