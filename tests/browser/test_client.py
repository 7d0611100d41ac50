"""The browser client in a real Chromium against a real hub: lost networks, restarts, sleep, tokens, marks, reloads."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, WebSocketRoute, async_playwright

from tests.browser.agreement import agree
from tests.browser.conftest import ARGUMENTS, StaticFiles, chromium
from tests.browser.tab import CONNECTED, LANDED, Tab
from tests.browser.tools import REPOSITORY, bundled
from tests.harness import RedisServer, RunningHub

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

JSON = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub(modules_url: str) -> AsyncIterator[RunningHub]:
    server = RedisServer()
    hub = await RunningHub(server.url, origins=(modules_url.rstrip("/"),)).start()
    yield hub
    await hub.stop()
    server.remove()


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    return request.node.name[5:60]


@pytest.fixture
def over() -> list[str]:
    """Why no page is connected when a test ends, if none can be."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, hub: RunningHub, user: str, over: list[str]) -> AsyncIterator[BrowserContext]:
    """A browser, which shows what REST says when a test ends."""
    context = await browser.new_context()
    yield context
    try:
        await agree(hub, user, [context], over=", ".join(over))
    finally:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def tab(context: BrowserContext, hub: RunningHub, modules_url: str, user: str) -> Tab:
    """A page, not connected yet."""
    tab = Tab(await context.new_page(), hub, user)
    await tab.load(modules_url)
    return tab


# ---- the store ---------------------------------------------------------------------------------------


async def test_a_snapshot_is_the_same_object_until_something_changes(tab: Tab) -> None:
    await tab.connect()
    await tab.js("""() => {
      globalThis.told = 0;
      globalThis.held = client.getSnapshot();
      globalThis.end = client.subscribe(() => told++);
    }""")
    assert await tab.js("held === client.getSnapshot() && Object.isFrozen(held)")
    await tab.hub.send(tab.user)
    await tab.until("told === 1")
    assert await tab.js("held !== client.getSnapshot() && client.getSnapshot().counts.unseen === 1")
    await tab.js("end()")
    await tab.hub.send(tab.user)
    await tab.until("client.getSnapshot().counts.unseen === 2")
    assert await tab.js("told") == 1
    assert await tab.js("client.getSnapshot().user") == tab.user


@pytest.mark.parametrize(
    ("framework", "use"),
    [
        ("vue", "import { effect } from 'vue'; effect(() => told.push(bell.value.counts.unread));"),
        ("svelte/store", "bell.subscribe(({ counts }) => told.push(counts.unread));"),
    ],
    ids=["vue", "svelte"],
)
async def test_the_stores_of_the_documents_follow_the_client(
    tab: Tab, tmp_path: Path, framework: str, use: str
) -> None:
    blocks = re.findall(r"```js\n(.+?)```", (REPOSITORY / "docs" / "bell.md").read_text(), re.DOTALL)
    [store] = [block for block in blocks if f'from "{framework}"' in block]
    (tmp_path / "page.js").write_text(f"{store} {use}")
    await tab.connect()
    # Vue's own package is this one, and a way to draw.
    code = bundled(tmp_path / "page.js", "--alias:vue=@vue/reactivity", '--define:process.env.NODE_ENV="production"')
    await tab.js("globalThis.told = []")  # a module runs when the browser pleases
    await tab.page.add_script_tag(type="module", content=code.decode())
    await tab.until("told.at(-1) === 0")
    first = await tab.hub.send(tab.user)
    await tab.until("told.at(-1) === 1")
    await tab.js("(id) => client.mark('read', [id])", first)
    await tab.until("told.at(-1) === 0")
    await tab.agrees()


async def test_what_a_callback_throws_is_reported_and_the_socket_lives(tab: Tab) -> None:
    thrown: list[str] = []
    tab.page.on("pageerror", lambda error: thrown.append(error.message))
    await tab.connect()
    await tab.js("""() => {
      client.subscribe(() => { throw new Error("from a subscriber"); });
      client.addEventListener("notification", () => { throw new Error("from a listener"); });
    }""")
    await tab.hub.send(tab.user)
    await tab.hub.send(tab.user)
    await tab.until("client.getSnapshot().counts.unseen === 2")
    assert set(thrown) == {"from a subscriber", "from a listener"}
    assert await tab.js("sockets.length") == 1


async def test_a_notification_is_told_once_and_those_of_the_first_page_never(tab: Tab) -> None:
    await tab.hub.send(tab.user, "before")
    await tab.connect()
    sent = await tab.hub.send(tab.user, "live")
    await tab.until("events.some(({ type }) => type === 'notification')")
    assert [event["entry"]["id"] for event in await tab.events("notification")] == [sent]


async def test_two_parts_of_a_page_share_a_client_and_a_closed_one_is_replaced(tab: Tab) -> None:
    await tab.connect()
    assert await tab.js("""async () => {
      const { shared } = await import("/static/client.js");
      const options = { apiKey: "pk", channel: "inbox", user: "ann" };
      const first = shared({ ...options });
      const same = shared({ ...options }) === first;
      const other = shared({ ...options, channel: "other" }) === first;
      first.close();
      return [same, other, shared({ ...options }) === first];
    }""") == [True, False, False]


# ---- marks -------------------------------------------------------------------------------------------


async def test_a_mark_shows_before_the_hub_knows_and_ends_as_the_hub_says(tab: Tab) -> None:
    ids = [await tab.hub.send(tab.user) for _ in range(3)]
    await tab.connect()
    shown = await tab.js("""(id) => { client.mark("archive", [id]); return client.getSnapshot(); }""", ids[1])
    assert shown["pending"] == 1
    assert [entry["id"] for entry in shown["entries"]] == [ids[2], ids[0]]
    assert shown["counts"] == {"unseen": 2, "unread": 2, "total": 2}
    await tab.agrees()


async def test_an_archived_entry_never_flickers_back(tab: Tab) -> None:
    ids = [await tab.hub.send(tab.user) for _ in range(20)]
    await tab.connect()
    await tab.js("""() => {
      globalThis.totals = [];
      client.subscribe(() => totals.push(client.getSnapshot().counts.total));
    }""")
    for name in ids:
        await tab.js("(id) => client.mark('archive', [id])", name)
    await tab.agrees()
    totals = await tab.js("totals")
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] == 0


async def test_an_archive_that_another_device_takes_back_is_taken_back_here_as_well(tab: Tab) -> None:
    sent = await tab.hub.send(tab.user)
    await tab.connect()
    await tab.js("(id) => client.mark('archive', [id])", sent)
    await tab.until("client.getSnapshot().counts.total === 0")
    device = await tab.hub.connect(tab.user)
    await device.ask("unarchive", channel="inbox", ids=[sent])
    await device.close()
    await tab.until("client.getSnapshot().counts.total === 1")
    await tab.agrees()


async def test_mark_all_spares_what_arrives_after_the_snapshot_that_was_shown(tab: Tab) -> None:
    old = await tab.hub.send(tab.user)
    await tab.connect()
    cursor = await tab.js("client.getSnapshot().cursor")
    new = await tab.hub.send(tab.user)
    await tab.until("client.getSnapshot().counts.unread === 2")
    shown = await tab.js("(upto) => { client.markAll('read', { upto }); return client.getSnapshot(); }", cursor)
    assert {entry["id"]: entry["status"] for entry in shown["entries"]} == {old: "read", new: "unseen"}
    assert shown["counts"] == {"unseen": 1, "unread": 1, "total": 2}
    await tab.agrees()


async def test_a_refused_mark_is_undone_with_a_plain_message(tab: Tab) -> None:
    known = await tab.hub.send(tab.user)
    await tab.connect()
    before = await tab.shown()
    message = await tab.js(
        """async (id) => {
          const promise = client.mark("archive", [id, "nowhere"]);
          globalThis.at_once = client.getSnapshot().entries.length;
          return promise.catch((error) => [error.name, error.code, error.message]);
        }""",
        known,
    )
    assert await tab.js("at_once") == 0
    assert message[:2] == ["BellhubError", "not_found"]
    assert await tab.shown() == before
    [refused] = await tab.events("refused")
    assert (refused["verb"], refused["ids"], refused["error"]) == ("archive", [known, "nowhere"], message[2])
    await tab.agrees()


async def test_of_joined_marks_only_the_one_that_is_wrong_is_undone(tab: Tab) -> None:
    ids = [await tab.hub.send(tab.user) for _ in range(2)]
    await tab.connect()
    outcomes = await tab.js(
        """async ([one, two]) => {
          const read = (id) => client.mark("read", [id]);
          const calls = [client.mark("seen", [one]), read(one), read("nowhere"), read(two)];
          return (await Promise.allSettled(calls)).map(({ status }) => status);
        }""",
        ids,
    )
    assert outcomes == ["fulfilled", "fulfilled", "rejected", "fulfilled"]
    assert [event["ids"] for event in await tab.events("refused")] == [["nowhere"]]
    assert (await tab.frames("out", "read"))[0]["ids"] == [ids[0], "nowhere", ids[1]]
    await tab.agrees()


async def test_a_mark_whose_ack_was_lost_is_the_same_frame_again_and_counts_once(tab: Tab) -> None:
    sent = await tab.hub.send(tab.user)
    await tab.connect()
    ack = await tab.js("(id) => { lose = 'ack'; return client.mark('read', [id]); }", sent)
    first, again = await tab.frames("out", "read")
    assert ack["replayed"] is True
    assert {**first, "ref": 0} == {**again, "ref": 0}
    assert first["op"]
    assert len(await tab.frames("in", "state")) == 1
    await tab.agrees()


async def test_marks_outlive_a_reload_and_are_sent_when_the_hub_is_back(
    context: BrowserContext, hub: RunningHub, modules_url: str, user: str
) -> None:
    tab = Tab(await context.new_page(), hub, user)
    await tab.load(modules_url)
    ids = [await hub.send(user) for _ in range(3)]
    await tab.connect()
    await tab.js("lose = 'ack'")
    await context.set_offline(True)
    await tab.js("sockets.at(-1).close()")
    await tab.js("([one, two]) => { client.mark('archive', [one]); client.mark('read', [two]); }", ids[:2])
    assert await tab.js("localStorage.length") == 1
    await context.set_offline(False)
    await tab.page.reload()
    await tab.connect()
    await tab.until(LANDED)
    assert [frame["ids"] for frame in await tab.frames("out", "archive")] == [[ids[0]]]
    assert await tab.js("localStorage.length") == 0
    await tab.agrees()
    assert (await tab.shown())["statuses"] == {ids[2]: "unseen", ids[1]: "read"}


async def test_a_storage_that_is_full_or_damaged_holds_no_mark_up(tab: Tab) -> None:
    address = tab.address
    name = f"bellhub:{address['url']}:{address['apiKey']}:inbox:{tab.user}:an-earlier-page"
    await tab.js("(name) => localStorage.setItem(name, '[{')", name)
    await tab.connect()
    assert len(await tab.events("error")) == 1
    assert await tab.js("localStorage.length") == 0  # it is met only once
    await tab.js("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); } }")
    sent = await tab.hub.send(tab.user)
    answer = await tab.js("(id) => client.mark('read', [id])", sent)
    assert answer["changed"] == [sent]
    assert {event["error"] for event in (await tab.events("error"))[1:]} == {"full"}
    await tab.agrees()


async def test_marks_of_one_user_are_never_sent_for_another(
    context: BrowserContext, hub: RunningHub, modules_url: str, user: str
) -> None:
    owner = f"{user}:1"  # what is kept of them begins like what would be kept of the other
    tab = Tab(await context.new_page(), hub, owner)
    await tab.load(modules_url)
    sent = await hub.send(owner)
    await tab.connect()
    await context.set_offline(True)
    await tab.js("(id) => { sockets.at(-1).close(); client.mark('archive', [id]); client.close(); }", sent)
    await context.set_offline(False)
    await tab.connect(who=user)
    assert (await tab.shown())["pending"] == 0
    assert await tab.js("localStorage.length") == 1
    assert await tab.frames("out", "archive") == []


async def test_logout_closes_and_forgets_what_was_not_sent(tab: Tab) -> None:
    await tab.connect()
    outcome = await tab.js("""async () => {
      sockets[0].close();
      const mark = client.mark("read", ["x"]).catch(({ code }) => code);
      const before = localStorage.length;
      client.logout();
      return [before, await mark, localStorage.length, client.getSnapshot().state];
    }""")
    assert outcome == [1, "closed", 0, "closed"]
    await tab.js("client.connect()")


async def test_a_logout_from_a_listener_leaves_no_call_without_an_answer(tab: Tab) -> None:
    await tab.connect()
    assert (
        await tab.js("""() => {
      sockets[0].close();
      const calls = [client.mark("read", ["x"]), client.list()];
      const leave = client.subscribe(() => { leave(); client.logout(); });
      client.addEventListener("auth", () => client.logout());
      calls.push(client.mark("read", ["y"]));
      return Promise.all(calls.map((call) => call.catch(({ code }) => code)));
    }""")
        == ["closed"] * 3
    )
    assert await tab.js("localStorage.length") == 0
    assert len(await tab.events("auth")) == 1
    await tab.js("client.connect()")


async def test_a_listener_that_signs_out_at_every_change_is_told_once(tab: Tab) -> None:
    sent = await tab.hub.send(tab.user)
    await tab.connect()
    assert await tab.js(
        """(id) => {
          client.mark("read", [id]);
          let told = 0;
          const leave = client.subscribe(() => {
            if (++told >= 50) throw new Error("for ever");
            client.logout();
          });
          client.logout();
          client.logout();
          leave();
          return [told, localStorage.length, client.getSnapshot().pending];
        }""",
        sent,
    ) == [1, 0, 0]
    await tab.js("client.connect()")


async def test_a_list_that_is_aborted_fails_at_once_and_a_mark_not_sent_is_taken_back(tab: Tab) -> None:
    sent = await tab.hub.send(tab.user)
    await tab.connect()
    outcomes = await tab.js(
        """async (id) => {
          sockets[0].close();
          const abort = new AbortController(), { signal } = abort;
          const calls = [client.list({}, { signal }), client.mark("archive", [id], { signal })];
          const told = [];
          client.subscribe(() => told.push(client.getSnapshot().entries.length));
          abort.abort();
          return [told.at(-1), ...(await Promise.allSettled(calls)).map(({ reason }) => reason.name)];
        }""",
        sent,
    )
    assert outcomes == [1, "AbortError", "AbortError"]
    await tab.until(CONNECTED)
    await tab.agrees()
    assert (await tab.shown())["statuses"] == {sent: "unseen"}


async def test_a_page_that_comes_before_the_event_of_a_mark_does_not_undo_it(tab: Tab) -> None:
    event = asyncio.get_running_loop().create_future()

    def connect(line: WebSocketRoute) -> None:
        def pass_on(text: str | bytes) -> None:
            if json.loads(text)["type"] == "state":
                event.set_result(lambda: line.send(text))
            else:
                line.send(text)

        line.connect_to_server().on_message(pass_on)

    await tab.page.route_web_socket(re.compile("/ws/v1$"), connect)
    sent = await tab.hub.send(tab.user)
    await tab.connect()
    shown = await tab.js(
        """async (id) => {
          const shown = [];
          client.subscribe(() => shown.push(client.getSnapshot().counts.total));
          await client.mark("archive", [id]);
          await client.list({});
          return shown;
        }""",
        sent,
    )
    assert set(shown) == {0}
    (await asyncio.wait_for(event, 10))()
    await tab.agrees()


async def test_older_pages_join_the_snapshot_until_there_are_no_more(tab: Tab) -> None:
    ids = [await tab.hub.send(tab.user) for _ in range(25)]
    await tab.connect()
    assert await tab.js("client.getSnapshot().more") is True
    await tab.js("client.older()")
    assert await tab.js("client.getSnapshot().entries.map(({ id }) => id)") == ids[::-1]
    assert await tab.js("client.getSnapshot().more") is False


# ---- the connection ----------------------------------------------------------------------------------


async def test_a_network_that_goes_and_comes_back_loses_nothing(
    context: BrowserContext, hub: RunningHub, modules_url: str, user: str
) -> None:
    tab = Tab(await context.new_page(), hub, user)
    await tab.load(modules_url)
    ids = [await hub.send(user) for _ in range(2)]
    await tab.connect()
    await context.set_offline(True)
    await tab.js("sockets.at(-1).close()")
    await tab.until("client.getSnapshot().state === 'reconnecting'")
    await tab.js("(id) => client.mark('read', [id]) && undefined", ids[0])
    missed = await hub.send(user)
    assert (await tab.shown())["statuses"] == {ids[1]: "unseen", ids[0]: "read"}
    await context.set_offline(False)
    await tab.until(CONNECTED)
    await tab.agrees()
    assert [event["entry"]["id"] for event in await tab.events("notification")] == [missed]


async def test_a_hub_that_restarts_is_come_back_to_with_everything(
    browser: Browser, redis_server: RedisServer, modules_url: str
) -> None:
    hub = await RunningHub(redis_server.url, origins=(modules_url.rstrip("/"),)).start()
    context = await browser.new_context()
    tab = Tab(await context.new_page(), hub, "ann")
    await tab.load(modules_url)
    sent = await hub.send("ann")
    await tab.connect()
    await hub.stop()
    await tab.until("client.getSnapshot().state === 'reconnecting'")
    assert (await tab.js("client.getSnapshot().reason"))["code"] == 4000
    await tab.js("(id) => client.mark('click', [id]) && undefined", sent)
    tab.hub = await RunningHub(redis_server.url, origins=(modules_url.rstrip("/"),)).start(hub.port)
    await tab.until(CONNECTED)
    await tab.agrees()
    assert (await tab.shown())["statuses"] == {sent: "read"}
    await agree(tab.hub, "ann", [context])
    await context.close()
    await tab.hub.stop()


async def test_an_hour_asleep_ends_in_a_question_and_not_in_another_socket(tab: Tab) -> None:
    await tab.page.clock.install()
    await tab.connect()
    await tab.page.clock.fast_forward("01:00:00")
    await tab.until("events.some(({ frame }) => frame?.type === 'pong')")
    assert len(await tab.frames("out", "ping")) == 1
    await tab.hub.send(tab.user)
    await tab.until("client.getSnapshot().counts.total === 1")
    assert await tab.js("sockets.length") == 1


async def test_a_socket_that_died_in_its_sleep_is_replaced_though_it_says_open(tab: Tab) -> None:
    await tab.page.clock.install()
    await tab.connect()
    # As after a sleep: the hub's words do not arrive any more, and nobody says that the connection is gone.
    await tab.js("lose = 'pong'; sockets[0].close = () => { globalThis.hung = true; }")
    await tab.page.clock.fast_forward(60_000)
    await tab.until("globalThis.hung")
    assert await tab.js("sockets[0].readyState") == 1
    await tab.page.clock.fast_forward(5_000)
    await tab.page.clock.fast_forward(1_000)
    await tab.until("sockets.length === 2")
    await tab.until(CONNECTED)
    await tab.js("delete sockets[0].close; sockets[0].close()")  # the system has noticed, too


async def test_a_clock_that_is_set_back_holds_nothing_up(tab: Tab) -> None:
    await tab.page.clock.install(time=2_000_000_000)
    await tab.connect()
    await tab.page.clock.set_system_time(1_000_000_000)
    await tab.js("sockets[0].close()")
    await tab.page.clock.fast_forward(1_000)
    await tab.until("sockets.length === 2")
    await tab.until(CONNECTED)


async def test_a_page_out_of_the_back_forward_cache_goes_on_where_it_was(hub: RunningHub, modules_url: str) -> None:
    """In a browser of its own: Playwright switches that cache off unless told otherwise."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=list(ARGUMENTS),
            ignore_default_args=["--disable-back-forward-cache"],
        )
        tab = Tab(await browser.new_page(), hub, "bfcache")
        await tab.load(modules_url)
        await tab.connect()
        await tab.js("addEventListener('pageshow', ({ persisted }) => { globalThis.persisted = persisted; })")
        await tab.page.goto(f"{modules_url}static/icon.svg")
        sent = await hub.send("bfcache")
        await tab.page.go_back(wait_until="commit")
        await tab.until("globalThis.persisted !== undefined")
        assert await tab.js("persisted") is True
        await tab.until("client.getSnapshot().counts.total === 1")
        assert [event["entry"]["id"] for event in await tab.events("notification")] == [sent]
        assert await tab.js("sockets.map(({ readyState }) => readyState)") == [3, 1]
        assert await tab.js("sockets.length") == 2
        await agree(hub, "bfcache", [tab.page.context])
        await browser.close()


# ---- tokens ------------------------------------------------------------------------------------------


async def test_a_token_is_asked_for_once_and_not_at_each_reconnect(tab: Tab) -> None:
    await tab.connect()
    await tab.js("sockets[0].close()")
    await tab.until("sockets.length === 2")
    await tab.until(CONNECTED)
    assert tab.tokens == 1


async def test_a_token_that_ends_soon_is_replaced_on_the_open_socket(tab: Tab) -> None:
    tab.ttls = [30]
    await tab.connect()
    await tab.until("events.some(({ frame }) => frame?.type === 'refreshed')")
    assert (tab.tokens, await tab.js("sockets.length")) == (2, 1)


async def test_an_expired_token_is_replaced_by_a_fresh_one(tab: Tab) -> None:
    tab.ttls = [-60]
    await tab.connect()
    assert (tab.tokens, await tab.js("sockets.length")) == (2, 2)
    assert await tab.events("auth") == []


async def test_a_token_that_a_cache_may_keep_is_asked_for_again_all_the_same(tab: Tab) -> None:
    hub, hour = tab.hub, 3600
    StaticFiles.tokens[:] = [hub.token(tab.user, ttl_s=60, now=time.time() - hour), hub.token(tab.user)]
    await tab.js(
        """async ({ url, apiKey }) => {
          await import("/static/bell.js");
          const bell = document.createElement("notification-bell");
          for (const [name, value] of Object.entries({ url, "api-key": apiKey, "token-endpoint": "/token" }))
            bell.setAttribute(name, value);
          document.body.append(bell);
          globalThis.state = () => bell.snapshot.state;
        }""",
        tab.address,
    )
    await tab.until("['connected', 'closed'].includes(state())")
    assert await tab.js("state()") == "connected"
    assert StaticFiles.tokens == []


async def test_tokens_that_are_all_expired_end_in_an_event_and_not_in_a_loop(tab: Tab) -> None:
    tab.ttls = [-60] * 9
    await tab.start()
    await tab.until("events.some(({ type }) => type === 'auth')")
    assert (tab.tokens, await tab.js("sockets.length")) == (2, 2)
    assert [event["code"] for event in await tab.events("auth")] == [4003]
    assert await tab.js("client.getSnapshot().state") == "closed"
    tab.ttls = []
    await tab.js("client.connect()")


@pytest.mark.parametrize(("options", "code"), [({"apiKey": "pk_unknown"}, 4503), ({"who": "forger"}, 4501)])
async def test_a_refusal_is_an_event_and_nothing_is_tried_again(
    tab: Tab, over: list[str], options: JSON, code: int
) -> None:
    over.append("the hub refuses this user")
    await tab.page.clock.install()
    await tab.start(**options)
    await tab.until("events.some(({ type }) => type === 'auth')")
    await tab.page.clock.fast_forward("01:00:00")
    await tab.js("dispatchEvent(new Event('online'))")
    assert [event["code"] for event in await tab.events("auth")] == [code]
    assert await tab.js("sockets.length") == 1


async def test_after_a_refusal_connect_asks_for_another_token(tab: Tab) -> None:
    tab.left = True
    await tab.start()
    await tab.until("events.some(({ type }) => type === 'auth')")
    tab.left = False
    await tab.js("client.connect()")
    await tab.until(CONNECTED)
    assert tab.tokens == 2
