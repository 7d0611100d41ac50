"""A real Chromium, driven by Playwright, and a static server for the modules it imports."""

import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.browser.shop import Opens, Shop, close, open_hub
from tests.harness import RunningHub

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = ("chromium", "google-chrome", "chromium-browser")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Pages that a test serves itself (`route`) belong to no address, so that this machine would be foreign to them.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
)


def chromium() -> str:
    """The browser of this machine. In CI a missing one is a failure: nothing would be tested."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs chromium, which is not installed")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    program = chromium()
    expect.set_options(timeout=15_000)  # a slow machine is no fault
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def blocking(tmp_path: Path) -> AsyncIterator[BrowserContext]:
    """The browser of somebody who blocks cookies: a page has neither storage nor locks there."""
    (tmp_path / "Default").mkdir()
    blocked = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(blocked))
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path, executable_path=chromium(), args=list(ARGUMENTS)
        )
        yield context
        await context.close()


@pytest.fixture(scope="session")
def picture() -> Callable[..., Awaitable[None]]:
    """Keeps what a page looks like, for people: where `BELLHUB_SCREENSHOTS` says, else nowhere."""
    directory = os.environ.get("BELLHUB_SCREENSHOTS")

    async def keep(page: Page, name: str, *, whole: bool = False) -> None:
        if not directory:
            return
        if whole:  # not by `full_page`, which leaves out what is drawn only on the screen
            size = await page.evaluate("({ width: innerWidth, height: document.documentElement.scrollHeight })")
            await page.set_viewport_size(size)
        await page.screenshot(path=Path(directory, f"{name}.png"))

    return keep


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], Awaitable[list[str]]]:
    """Asks axe-core what is wrong with a page as it is now: a line for each fault, best practice included."""
    source = (files("axe_playwright_python") / "axe.min.js").read_text()

    async def faults(page: Page) -> list[str]:
        await page.evaluate(source)
        # What is fading in has not its colours yet.
        await page.evaluate(
            """() => Promise.all([document, ...[...document.querySelectorAll("*")].flatMap((e) => e.shadowRoot ?? [])]
                 .flatMap((root) => root.getAnimations()).map((a) => a.finished.catch(() => 0)))"""
        )
        found: list[str] = await page.evaluate(
            """async () => (await axe.run()).violations.flatMap(
                 ({id, nodes}) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`))"""
        )
        return found

    return faults


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop_hub() -> AsyncIterator[RunningHub]:
    async with open_hub() as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="session")
async def shop(shop_hub: RunningHub, browser: Browser, ann: str) -> AsyncIterator[Opens]:
    """Opens shops of one user that no other test knows."""
    shops: list[Shop] = []

    async def opens(*, visit: bool = True, **options: Any) -> Shop:
        shops.append(await Shop.open(shop_hub, browser, ann, **options))
        return await shops[-1].visit() if visit else shops[-1]

    yield opens
    await close(*shops)


class StaticFiles(SimpleHTTPRequestHandler):
    """The repository's `static/`, an empty page to import it from, and tokens that a cache may keep."""

    tokens: ClassVar[list[str]] = []
    """What `/token` answers, one after the other."""

    extensions_map = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}  # noqa: RUF012

    def do_GET(self) -> None:
        match self.path:
            case "/":
                self._answer("text/html", "<!doctype html><title>modules</title>")
            case "/token":
                self._answer("text/plain", self.tokens.pop(0), "max-age=3600")
            case _:
                super().do_GET()

    def _answer(self, kind: str, text: str, cache: str = "no-cache") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", cache)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def modules_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(StaticFiles, directory=str(REPOSITORY)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()
