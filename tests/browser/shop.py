"""A page of a shop with a bell in its header: a real browser, a real hub, a policy that forbids everything inline."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.browser.agreement import agree
from tests.harness import RedisServer, RunningHub

POLICY = "default-src 'self'"
CLOCK_S = 1_900_000_000
BELL = """<notification-bell api-key="{api_key}" token-endpoint="/token" {attributes}>
  <a href="/notifications">All notifications</a></notification-bell>"""
HTML = """<!doctype html><html lang="{lang}" dir="{dir}"><head><meta charset="utf-8"><title>Orders</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<link rel="stylesheet" href="/shop.css"><script type="module" src="/static/bell.js"></script></head>
<body><header><b>Northwind</b><button id="before">Before</button>{bell}<button id="after">After</button></header>
<main><h1>Orders</h1>{main}</main></body></html>"""
CSS = """body { margin: 0; font: 16px/1.5 system-ui, sans-serif }
header { display: flex; justify-content: flex-end; gap: 1rem; align-items: center; padding: .6rem 1.5rem;
  border-bottom: 1px solid #8884 }
header b { margin-inline-end: auto }
main { padding: 1rem 1.5rem }
.below { margin-top: 150vh }
.tall { height: 30rem }"""


@asynccontextmanager
async def open_hub() -> AsyncIterator[RunningHub]:
    """A hub in secure mode whose own address is an allowed origin."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = RedisServer()
    hub = await RunningHub(server.url, origins=(f"http://127.0.0.1:{port}",)).start(port)
    try:
        yield hub
    finally:
        await hub.stop()
        server.remove()


async def close(*shops: "Shop") -> None:
    """The end of a test: all tabs and devices agree with REST, and no browser has logged an error."""
    contexts = list(dict.fromkeys(shop.context for shop in shops))
    try:
        if shops:
            await agree(shops[0].hub, shops[0].user, contexts, over=shops[0].over)
    finally:
        for context in contexts:
            await context.close()
    problems = [(problem, shop.forgiven) for shop in shops for problem in shop.problems]
    assert [problem for problem, forgiven in problems if not forgiven or forgiven not in problem] == []


class Shop:
    """One browser context, signed in as `user`. A second one is a second device."""

    def __init__(self, hub: RunningHub, user: str, context: BrowserContext) -> None:
        self.hub, self.user, self.context = hub, user, context
        self.address = f"http://127.0.0.1:{hub.port}"
        self.problems: list[str] = []
        self.forgiven = ""
        """A part of what the browser may complain of."""
        self.html = ""
        self.over = ""
        """Why no page is connected when a test ends, if none can be."""
        self.page: Page

    @classmethod
    async def open(
        cls,
        hub: RunningHub,
        browser: Browser,
        user: str,
        *,
        bell: str = BELL,
        main: str = "",
        attributes: str = "",
        lang: str = "en",
        direction: str = "ltr",
        page: Page | None = None,
        **options: Any,
    ) -> "Shop":
        shop = cls(hub, user, page.context if page else await browser.new_context(**options))
        fill = {"api_key": hub.api_key, "attributes": attributes}
        shop.html = HTML.format(lang=lang, dir=direction, bell=bell.format(**fill), main=main.format(**fill))
        await shop.context.route(f"{shop.address}/**", shop._serve)
        shop.page = page or await shop.context.new_page()
        shop.page.on("console", lambda m: shop.problems.append(m.text) if m.type == "error" else None)
        shop.page.on("pageerror", lambda error: shop.problems.append(str(error)))
        return shop

    async def visit(self) -> "Shop":
        await self.page.goto(f"{self.address}/shop")
        return self

    async def _serve(self, route: Route) -> None:
        match route.request.url.removeprefix(self.address):
            case "/shop":
                headers = {"content-security-policy": POLICY, "content-type": "text/html"}
                await route.fulfill(body=self.html, headers=headers)
            case "/shop.css":
                await route.fulfill(body=CSS, content_type="text/css")
            case "/token":
                await route.fulfill(body=f"{self.hub.token(self.user)}\n", content_type="text/plain")
            case path if path.startswith("/orders/"):
                await route.fulfill(body="<!doctype html><title>An order</title>", content_type="text/html")
            case _:
                await route.continue_()

    # ---- what a person sees ---------------------------------------------------------------------------

    @property
    def element(self) -> Locator:
        return self.page.locator("notification-bell")

    @property
    def bell(self) -> Locator:
        return self.element.locator(".bell")

    @property
    def badge(self) -> Locator:
        return self.element.locator(".badge")

    @property
    def panel(self) -> Locator:
        return self.page.get_by_role("dialog", name="Notifications")

    @property
    def rows(self) -> Locator:
        return self.panel.get_by_role("listitem")

    @property
    def titles(self) -> Locator:
        return self.panel.locator("li .title")

    def row(self, title: str) -> Locator:
        return self.rows.filter(has=self.page.locator(".title", has_text=title))

    def button(self, name: str) -> Locator:
        return self.panel.get_by_role("button", name=name)

    async def named(self, name: str) -> None:
        """Waits until the bell is called so."""
        await expect(self.bell).to_have_accessible_name(name)

    async def caught_up(self) -> None:
        """Waits until the page has all that has been sent."""
        async with asyncio.timeout(10):
            while await self.element.evaluate("(bell) => bell.snapshot.cursor") != await self.cursor():  # noqa: ASYNC110  (nothing announces it)
                await asyncio.sleep(0.02)

    async def open_panel(self, *, at_once: bool = False) -> None:
        """`at_once`: though there may be something to come, to which the focus would go."""
        if not at_once:
            await self.caught_up()
        await self.bell.click()
        await expect(self.panel).to_be_visible()

    async def focus_is_on(self, title: str) -> None:
        await expect(self.row(title).locator(".main")).to_be_focused()

    async def find_in_archive(self, title: str) -> None:
        """Archives the entry that has the focus by its key, and shows the archive, where it is alone."""
        await self.focus_is_on(title)
        await self.page.keyboard.press("e")
        await self.button("Archived").click()
        await expect(self.titles).to_have_text([title])

    # ---- what the hub says ----------------------------------------------------------------------------

    async def send(self, *titles: str, **fields: Any) -> list[str]:
        return [await self.hub.send(self.user, title, **fields) for title in titles]

    async def send_many(self, count: int) -> None:
        """`number 0` to `number <count - 1>`, in no order."""
        async with self.hub.http() as http:

            async def send(numbers: Iterator[int]) -> None:
                for at in numbers:
                    body = {"category": "a", "target": {"type": "user", "id": self.user}, "title": f"number {at}"}
                    answer = await http.post("/v1/messaging/notifications", json=body, headers=self.hub.producer)
                    assert answer.status_code == 202

            numbers = iter(range(count))
            await asyncio.gather(*(send(numbers) for _ in range(8)))

    async def cursor(self) -> str:
        """Of the last event, over REST."""
        return str((await self.hub.counts(self.user))["cursor"])

    async def counts(self) -> tuple[int, int]:
        """Unseen and unread over REST."""
        counts = await self.hub.counts(self.user)
        return counts["unseen"], counts["unread"]

    async def until_counts(self, unseen: int, unread: int) -> None:
        async with asyncio.timeout(10):
            while await self.counts() != (unseen, unread):  # noqa: ASYNC110  (nothing announces it)
                await asyncio.sleep(0.02)

    async def entry(self, name: str, status: str | None = None) -> dict[str, Any]:
        query = {"status": status} if status else {}
        return next(entry for entry in (await self.hub.feed(self.user, **query))["items"] if entry["id"] == name)

    async def until_set(self, entry: str, name: str) -> None:
        """Waits until this time of an entry is set on the hub."""
        async with asyncio.timeout(10):
            while (await self.entry(entry))[name] is None:  # noqa: ASYNC110  (nothing announces it)
                await asyncio.sleep(0.02)

    async def until(self, condition: str) -> None:
        """As `wait_for_function`, which a page that forbids `eval` lets through only if it is true at once."""
        async with asyncio.timeout(10):
            while not await self.page.evaluate(condition):  # noqa: ASYNC110  (nothing announces it)
                await asyncio.sleep(0.02)

    async def set_clock(self) -> None:
        """Before a visit: a clock of this browser's own, which `page.clock` moves and `stop_clock` stops."""
        await self.page.clock.install(time=CLOCK_S)

    async def stop_clock(self) -> None:
        """From here on no time passes by itself."""
        await self.page.clock.pause_at(CLOCK_S + 600)

    async def hide(self, hidden: bool) -> None:
        """As if another tab were in front."""
        state = json.dumps("hidden" if hidden else "visible")
        await self.page.evaluate(
            f"""Object.defineProperty(document, "visibilityState", {{get: () => {state}, configurable: true}});
            document.dispatchEvent(new Event("visibilitychange", {{bubbles: true}}))"""
        )

    def moment(self) -> Any:
        """Longer than it takes to be seen."""
        return self.page.wait_for_timeout(700)


Opens = Callable[..., Awaitable[Shop]]
"""Opens a shop, and visits it."""
