"""A page with a browser client, as its user would have it."""

import time
from typing import Any

from playwright.async_api import Page

from tests.harness import RunningHub

JSON = dict[str, Any]

START = """async (options) => {
  const { BellhubClient } = await import("/static/client.js");
  globalThis.sockets ??= [];
  globalThis.events = [];
  globalThis.lose = null;
  // A real socket; `lose` names the type of a frame that breaks the connection instead of arriving.
  class Socket extends WebSocket {
    constructor(...address) { super(...address); sockets.push(this); }
    addEventListener(type, listener) {
      super.addEventListener(type, (event) => {
        if (type !== "message" || JSON.parse(event.data).type !== lose) return listener(event);
        lose = null;
        this.close();
      });
    }
  }
  const getToken = () => bellToken(options.who);
  globalThis.client = new BellhubClient({ random: () => 0, WebSocket: Socket, tabs: false, getToken, ...options });
  for (const type of ["state", "notification", "refused", "auth", "frame", "error"])
    client.addEventListener(type, ({ detail }) => events.push({ type, ...detail, error: detail.error?.message }));
  client.connect();
}"""

CONNECTED = "client.getSnapshot().state === 'connected'"
LANDED = "client.getSnapshot().pending === 0"


class Tab:
    """A page with a client of one user. `ttls`: how long each token lasts that it asks for, s; `left`: signed out."""

    def __init__(self, page: Page, hub: RunningHub, user: str) -> None:
        self.page, self.hub, self.user = page, hub, user
        self.ttls: list[int] = []
        self.tokens = 0
        self.left = False

    async def load(self, url: str) -> None:
        await self.page.expose_function("bellToken", self._token)
        await self.page.goto(url)

    def _token(self, user: str) -> str | None:
        self.tokens += 1
        if self.left:
            return None
        if user == "forger":
            return "forged"
        ttl = self.ttls.pop(0) if self.ttls else 3600
        # One that ends in the past was issued in the past.
        return self.hub.token(user, ttl_s=abs(ttl), now=time.time() + min(0, 2 * ttl))

    @property
    def address(self) -> JSON:
        """Options of any client of this hub."""
        return {"url": f"ws://127.0.0.1:{self.hub.port}/ws/v1", "apiKey": self.hub.api_key, "channel": "inbox"}

    async def start(self, **options: Any) -> None:
        await self.page.evaluate(START, {**self.address, "who": self.user, **options})

    async def connect(self, **options: Any) -> None:
        await self.start(**options)
        await self.until(CONNECTED)

    async def until(self, condition: str) -> None:
        await self.page.wait_for_function(condition, polling=20)

    async def js(self, expression: str, value: Any = None) -> Any:
        return await self.page.evaluate(expression, value)

    async def events(self, kind: str) -> list[JSON]:
        return [event for event in await self.js("events") if event["type"] == kind]

    async def frames(self, direction: str, kind: str) -> list[JSON]:
        said = [event["frame"] for event in await self.events("frame") if event["direction"] == direction]
        return [frame for frame in said if frame["type"] == kind]

    async def shown(self) -> JSON:
        snapshot: JSON = await self.js("client.getSnapshot()")
        statuses = {entry["id"]: entry["status"] for entry in snapshot["entries"]}
        return {"counts": snapshot["counts"], "statuses": statuses, "pending": snapshot["pending"]}

    async def agrees(self) -> None:
        """Nothing waits any more, and what is shown is what REST says."""
        await self.until(LANDED)
        feed = await self.hub.feed(self.user)
        statuses = {entry["id"]: entry["status"] for entry in feed["items"]}
        counts = await self.hub.counts(self.user)
        counts.pop("cursor")
        await self.until(f"client.getSnapshot().counts.total === {counts['total']}")
        assert await self.shown() == {"counts": counts, "statuses": statuses, "pending": 0}
