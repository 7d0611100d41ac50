"""Held after every scenario: all tabs and devices show the same as REST, through one socket for each browser.

A page that shows a feed is connected, so its browser has a socket; and the hub counts no more sessions of the user than
there are browsers. So each of them has exactly one, which its tabs share.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from playwright.async_api import BrowserContext

from tests.harness import Doors

JSON = dict[str, Any]

PATIENCE_S = 10
PAGE = 100
OVER = {"closed", "idle"}

# What a page holds and draws. `client`: one that a page without elements made.
LOOK = """() => {
  const elements = [...document.querySelectorAll("notification-bell, notification-inbox, notification-toasts")];
  const used = [globalThis.client, ...elements.map(({ current }) => current)];
  const clients = new Set(used.filter((client) => client?.getSnapshot));
  const brief = ({ id, status }) => [id, status];
  const view = (element) => {
    const { current, shadowRoot } = element;
    if (!current) return null;
    const text = (name) => {
      const found = shadowRoot.querySelector(name);
      return found?.checkVisibility() ? found.textContent : null;
    };
    const list = shadowRoot.querySelector("[part=list]");
    return {
      user: current.getSnapshot().user,
      bell: shadowRoot.querySelector(".bell") && [text(".badge"), text(".bell .dot") !== null],
      most: Number(element.getAttribute("max-badge")) || 99,
      filter: shadowRoot.querySelector("[aria-pressed=true]")?.value,
      held: parseInt(text(".pill") ?? 0),
      list: list?.checkVisibility() ? [...list.children].map(({ row }) => brief(row.entry)) : null,
    };
  };
  return {
    clients: [...clients].map((client) => {
      const { state, user, counts, cursor, pending, more, entries } = client.getSnapshot();
      return { state, user, counts, cursor, pending, more, entries: entries.map(brief) };
    }),
    views: elements.map(view).filter(Boolean),
  };
}"""


class Rest:
    """What REST says of each user, asked at most once."""

    def __init__(self, hub: Doors, http: Any) -> None:
        self._hub, self._http = hub, http
        self._counts: dict[str, JSON] = {}
        self._listed: dict[tuple[str, str], list[list[str]]] = {}

    async def counts(self, user: str) -> JSON:
        if user not in self._counts:
            self._counts[user] = await self._get(user, "counts")
        return self._counts[user]

    async def listed(self, user: str, status: str, least: int) -> list[list[str]]:
        """Id and status of the newest, newest first: so many, if there are, and all of the page that has the last."""
        known = self._listed.get((user, status), [])
        if len(known) < least or not known:
            query = {"limit": PAGE} | ({} if status == "all" else {"status": status})
            answer, known = await self._get(user, "entries", **query), []
            known += [[entry["id"], entry["status"]] for entry in answer["items"]]
            while len(known) < least and answer["page"]["has_more_after"]:
                answer = await self._get(user, "entries", after=answer["page"]["after"], **query)
                known += [[entry["id"], entry["status"]] for entry in answer["items"]]
            self._listed[user, status] = known
        return known

    async def sessions(self, user: str) -> int:
        headers = {"x-notiflows-api-key": self._hub.api_key, "x-notiflows-secret-key": self._hub.secret}
        answer = await self._http.get(f"/admin/v1/users/{user}/sessions", headers=headers)
        return len(answer.json()["items"])

    async def _get(self, user: str, what: str, **query: Any) -> JSON:
        path = f"/user/v1/channels/inbox/feed/{what}"
        answer = await self._http.get(path, params=query, headers=self._hub.user_headers(user))
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found


async def agree(hub: Doors, user: str, contexts: Iterable[BrowserContext], *, over: str = "") -> None:
    """Waits until every open page of these browsers shows what REST says, and each browser has one socket.

    At least one page must show something, unless a test says why it is `over` for all of them: then none has a socket.
    """
    known = list(contexts)
    deadline = time.monotonic() + PATIENCE_S
    async with hub.http() as http:
        while True:
            wrong = await _disagreements(Rest(hub, http), user, known, over)
            if not wrong:
                return
            assert time.monotonic() < deadline, "\n".join(wrong)
            await asyncio.sleep(0.02)


async def _disagreements(rest: Rest, user: str, contexts: list[BrowserContext], over: str) -> list[str]:
    wrong: list[str] = []
    browsers: Counter[str] = Counter({user: 0})
    for number, context in enumerate(contexts):
        pages = await asyncio.gather(*(page.evaluate(LOOK) for page in context.pages))
        clients = [client for page in pages for client in page["clients"]]
        if over:
            wrong += [f"{client['state']}, though {over}" for client in clients if client["state"] not in OVER]
            continue
        browsers.update({client["user"] or user for client in clients})
        for page in pages:
            for client in page["clients"]:
                wrong += [f"device {number}: {fault}" for fault in await _of_client(rest, client, user)]
            for view in page["views"]:
                wrong += [f"device {number}: {fault}" for fault in await _of_view(rest, view, user)]
    if not over and not browsers.total():
        wrong.append("no page shows a feed, and no test says why")
    for name, count in browsers.items():
        if (sessions := await rest.sessions(name)) != count:
            wrong.append(f"{sessions} sockets of {name} on {count} browsers")
    return wrong


async def _of_client(rest: Rest, client: JSON, user: str) -> list[str]:
    if client["state"] != "connected" or client["pending"]:
        return [f"{client['state']}, {client['pending']} marks not sent"]
    name = client["user"] or user
    truth = await rest.counts(name)
    mine = client["counts"] | {"cursor": client["cursor"]}
    if mine != truth:
        return [f"holds {json.dumps(mine)}, REST says {json.dumps(truth)}"]
    held = client["entries"]
    newest = await rest.listed(name, "all", len(held))
    faults = [] if held == newest[: len(held)] else [f"holds {held}, REST lists {newest[: len(held)]}"]
    if client["more"] != (truth["total"] > len(held)):
        faults.append(f"holds {len(held)} of {truth['total']}, more: {client['more']}")
    return faults


async def _of_view(rest: Rest, view: JSON, user: str) -> list[str]:
    name = view["user"] or user
    faults = []
    if view["bell"] is not None:
        counts = await rest.counts(name)
        unseen, most = counts["unseen"], view["most"]
        badge = None if not unseen else f"{most}+" if unseen > most else str(unseen)
        wanted = [badge, not unseen and counts["unread"] > 0]
        if view["bell"] != wanted:
            faults.append(f"badge and dot are {view['bell']}, by REST {wanted}")
    if view["list"] is not None:
        first, count = view["held"], len(view["list"])
        listed = (await rest.listed(name, view["filter"], first + count))[first : first + count]
        if view["list"] != listed:
            faults.append(f"list {view['filter']} shows {view['list']}, REST lists {listed}")
    return faults
