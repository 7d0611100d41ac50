"""`python -m tests.bench.bell`: how soon a badge follows in a second tab and on a second device.

Three pages in a real browser: a tab that has the socket, a second tab of the same browser, which has none, and a second
device. The reference is the least that could do it: a bare WebSocket in each page, and a server that repeats to all of
them what it is told, without a store; the page writes it down. Times are from the call to the change in the page.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import websockets
from playwright.async_api import Browser, Page, Route, async_playwright

from tests.bench.load import run
from tests.bench.processes import HUB, ServerProcess
from tests.bench.scenarios import Figure
from tests.browser.conftest import ARGUMENTS, chromium
from tests.harness import Doors, RedisServer, set_up

USER = "ann"
PLACES = ("the tab with the socket", "a second tab", "a second device")
NOW = "performance.timeOrigin + performance.now()"
BELL = """<!doctype html><title>bell</title><script type="module" src="/static/bell.js"></script>
<notification-bell api-key="{api_key}" token-endpoint="/token"></notification-bell>"""
BARE = "<!doctype html><title>bare</title><output></output>"
# `shows(badge)`: a promise of the time at which that is what the page shows.
WATCH_BELL = """async () => {
  const bell = document.querySelector("notification-bell");
  await customElements.whenDefined("notification-bell");
  while (bell.current?.getSnapshot().state !== "connected") await new Promise((go) => setTimeout(go, 10));
  globalThis.mark = () => bell.current.markAll("seen");
  const badge = bell.shadowRoot.querySelector(".badge");
  globalThis.shown = () => (badge.hidden ? "0" : badge.textContent);
  globalThis.place = badge;
}"""
WATCH_BARE = """async (address) => {
  const socket = new WebSocket(address);
  const output = document.querySelector("output");
  socket.onmessage = ({ data }) => (output.textContent = data);
  await new Promise((go) => (socket.onopen = go));
  globalThis.mark = () => socket.send("0");
  globalThis.shown = () => output.textContent;
  globalThis.place = output;
}"""
SHOWS = """() => {
  globalThis.shows = (badge) => new Promise((go) => {
    const look = () => shown() === badge && (observer.disconnect(), go(NOW));
    const observer = new MutationObserver(look);
    observer.observe(place, { attributes: true, childList: true, characterData: true, subtree: true });
  });
}""".replace("NOW", NOW)

Times = dict[str, list[float]]
Send = Callable[[], Awaitable[object]]


async def follows(pages: list[Page], badge: str, act: Callable[[], Awaitable[float]]) -> list[float]:
    """ms from an action, which tells when it began, to each page that shows this badge."""
    for page in pages:
        await page.evaluate(f"() => {{ globalThis.coming = shows({json.dumps(badge)}); }}")
    began = await act()
    return [await page.evaluate("coming") - began for page in pages]


async def rounds(pages: list[Page], send: Send, count: int) -> Times:
    """What is sent, then marked in the first tab; sent, then marked in the second; so many times."""
    times: Times = {}

    async def sending() -> float:
        began = time.time() * 1000
        await send()
        return began

    for _ in range(count):
        for marking, page in zip(PLACES, pages[:2], strict=False):

            async def mark(page: Page = page) -> float:
                began: float = await page.evaluate(f"() => {{ const began = {NOW}; mark(); return began; }}")
                return began

            for what, badge, act in (("a send", "1", sending), (f"a mark in {marking}", "0", mark)):
                for place, ms in zip(PLACES, await follows(pages, badge, act), strict=True):
                    if place != marking or what == "a send":
                        times.setdefault(f"{what} → {place}", []).append(ms)
    return times


@asynccontextmanager
async def opened(browser: Browser, address: str, html: str, token: str) -> AsyncIterator[list[Page]]:
    """Two tabs of one browser, one of another, which have all loaded this page from this address."""

    async def serve(route: Route) -> None:
        asked = route.request.url.endswith("/token")
        await route.fulfill(body=token if asked else html, content_type="text/plain" if asked else "text/html")

    pages = []
    async with AsyncExitStack() as stack:
        for tabs in (2, 1):
            context = await browser.new_context()
            stack.push_async_callback(context.close)
            for path in ("/page", "/token"):
                await context.route(address + path, serve)
            for _ in range(tabs):
                pages.append(await context.new_page())
                await pages[-1].goto(f"{address}/page")
                await pages[-1].evaluate(SHOWS)
        yield pages


async def of_bell(browser: Browser, count: int) -> Times:
    redis = RedisServer()
    server = ServerProcess.hub(HUB, redis.url, None)
    try:
        address = f"http://127.0.0.1:{server.port}"
        api_key, secret = await set_up(redis.url, (address,))
        await server.ready()
        body = {"category": "a", "target": {"type": "user", "id": USER}, "title": "hello"}
        headers = {"authorization": f"Bearer {secret}"}
        async with (
            opened(browser, address, BELL.format(api_key=api_key), Doors().token(USER)) as pages,
            httpx2.AsyncClient(base_url=address, headers=headers) as http,
        ):
            for page in pages:
                await page.evaluate(WATCH_BELL)
            return await rounds(pages, lambda: http.post("/v1/messaging/notifications", json=body), count)
    finally:
        server.stop()
        redis.remove()


async def of_reference(browser: Browser, count: int) -> Times:
    sockets: set[websockets.ServerConnection] = set()

    async def repeat(socket: websockets.ServerConnection) -> None:
        sockets.add(socket)
        async for said in socket:
            websockets.broadcast(sockets, said)

    async def send() -> None:
        websockets.broadcast(sockets, "1")

    async with websockets.serve(repeat, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with opened(browser, f"http://{address}", BARE, "") as pages:
            for page in pages:
                await page.evaluate(WATCH_BARE, f"ws://{address}")
            return await rounds(pages, send, count)


async def bench(asked: argparse.Namespace) -> list[Figure]:
    """Medians and 95th percentiles, ms, and how many times the reference's median that is."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        mine, least = await of_bell(browser, asked.rounds), await of_reference(browser, asked.rounds)
        await browser.close()
    figures = []
    for what, times in mine.items():
        median = statistics.median(times)
        figures.append(Figure(f"{what}, median", median, "ms"))
        figures.append(Figure(f"{what}, p95", statistics.quantiles(times, n=20)[-1], "ms"))
        figures.append(Figure(f"{what}, median ÷ the reference's", median / statistics.median(least[what]), ""))
    return figures


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.bench.bell", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50, help="of two sends and two marks each")
    return parser.parse_args(argv)


if __name__ == "__main__":
    for figure in run(bench(arguments(sys.argv[1:]))):
        print(f"{figure.name:<72} {figure.value:>10,.2f}  {figure.unit}")
