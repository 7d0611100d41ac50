"""The pages in `docs/recipes`, on an origin that is not the hub's, under a policy that allows only what they say."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.agreement import agree
from tests.browser.tools import REPOSITORY, bundled
from tests.harness import RedisServer, RunningHub

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

RECIPES = REPOSITORY / "docs" / "recipes"
REACT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Orders</title>
<script type="module" src="/react.js"></script></head><body><div id="root"></div></body></html>"""


class Origin(ThreadingHTTPServer):
    """A web server of somebody else's: whatever is in `files`, and a token for whoever is in `user`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.hub: RunningHub
        self.user = ""
        self.files: dict[str, tuple[str, str]] = {}

    def here(self, recipe: Path | str) -> str:
        """A recipe with the addresses and the key of this test."""
        text = recipe if isinstance(recipe, str) else recipe.read_text()
        at = f"127.0.0.1:{self.hub.port}"
        text = text.replace("https://bell.example.com", f"http://{at}").replace("wss://bell.example.com", f"ws://{at}")
        return text.replace("pk_…", self.hub.api_key).replace(r"pk_\u2026", self.hub.api_key)

    @property
    def policy(self) -> str:
        """As the plain recipe says, and what nothing here needs to be spared of."""
        said = next(line for line in (RECIPES / "bell.html").read_text().splitlines() if "default-src" in line)
        return self.here(said).strip() + "; require-trusted-types-for 'script'"


class Request(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        if self.path == "/bell-token":
            kind, text = "text/plain", self.server.hub.token(self.server.user)
        else:
            kind, text = self.server.files.get(self.path, ("text/html", "<!doctype html><title>Elsewhere</title>"))
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", self.server.policy)
        self.send_header("cross-origin-embedder-policy", "require-corp")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    server = Origin()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub(origin: Origin) -> AsyncIterator[RunningHub]:
    """A hub in secure mode that lets pages of that origin in."""
    server = RedisServer()
    origin.hub = await RunningHub(server.url, origins=(origin.address,)).start()
    yield origin.hub
    await origin.hub.stop()
    server.remove()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, hub: RunningHub, origin: Origin, ann: str) -> AsyncIterator[Page]:
    """A page of a browser of this test's own. At its end it shows what REST says, and has logged no error."""
    origin.user = ann
    context = await browser.new_context()
    page = await context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    try:
        await agree(hub, ann, [context])
    finally:
        await context.close()
    assert problems == []


async def test_one_script_tag_puts_a_bell_on_a_page_of_another_origin(
    page: Page, hub: RunningHub, origin: Origin, ann: str
) -> None:
    origin.files["/"] = "text/html", origin.here(RECIPES / "bell.html")
    loaded: dict[str, str | None] = {}
    page.on("response", lambda answer: loaded.update({answer.url: answer.headers.get("cache-control")}))
    await page.goto(origin.address)
    await hub.send(ann, "Order 17 has shipped")
    bell = page.get_by_role("button", name="Notifications, 1 new")
    await bell.click()
    await expect(page.get_by_role("dialog", name="Notifications").get_by_role("listitem")).to_have_count(1)
    await expect(page.get_by_role("button", name="Notifications, 1 unread")).to_be_visible()

    modules = {url: kept for url, kept in loaded.items() if "/static/" in url}
    unversioned = f"http://127.0.0.1:{hub.port}/static/bell.js"
    assert modules.pop(unversioned) == "public, max-age=60"
    assert len(modules) > 5
    assert set(modules.values()) == {"public, max-age=31536000, immutable"}


async def test_a_react_application_has_the_element_and_a_list_of_its_own(
    page: Page, hub: RunningHub, origin: Origin, ann: str
) -> None:
    options = ("--jsx=automatic", '--define:process.env.NODE_ENV="production"')
    source = bundled(RECIPES / "react.jsx", *options)
    origin.files["/"] = "text/html", REACT
    origin.files["/react.js"] = "text/javascript", origin.here(source.decode())
    await page.goto(origin.address)
    latest = page.get_by_role("region", name="Latest")
    await expect(latest).to_contain_text("0 unread")
    for number in (17, 18):
        await hub.send(ann, f"Order {number}", url=f"/orders/{number}")
    await expect(latest.get_by_role("listitem")).to_contain_text(["Order 18", "Order 17"])
    await expect(page.get_by_role("button", name="Notifications, 2 new")).to_be_visible()

    await latest.get_by_role("listitem").filter(has_text="Order 17").get_by_role("button", name="Read").click()
    await expect(latest).to_contain_text("1 unread")
    await page.locator("notification-bell .bell").click()
    await page.get_by_role("dialog", name="Notifications").get_by_text("Order 18").click()
    await page.wait_for_url(f"{origin.address}/orders/18")
    await expect(latest).to_contain_text("0 unread")  # it is still there: the router has moved, not the browser
    feed = await hub.feed(ann)
    assert (feed["total_unseen"], feed["total_unread"]) == (0, 0)
