"""Many tabs of one user in one browser: one socket, one token, and no two of them ever disagree for long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.browser.conftest import ARGUMENTS, chromium
from tests.browser.tab import CONNECTED, Tab
from tests.harness import RedisServer, RunningHub

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

Open = Callable[..., Awaitable[Tab]]
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  Object.defineProperty(document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub(modules_url: str) -> AsyncIterator[RunningHub]:
    server = RedisServer()
    hub = await RunningHub(server.url, origins=(modules_url.rstrip("/"),)).start()
    yield hub
    await hub.stop()
    server.remove()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context()
    yield context
    await context.close()


@pytest.fixture
def open_tab(context: BrowserContext, hub: RunningHub, modules_url: str, request: pytest.FixtureRequest) -> Open:
    """Opens a tab of this test's user, or of another one, and waits until it is connected."""

    async def open_tab(user: str = request.node.name[5:60], *, clock: bool = False, connect: bool = True) -> Tab:
        tab = Tab(await context.new_page(), hub, user)
        if clock:
            await tab.page.clock.install()
        await tab.load(modules_url)
        if connect:
            await tab.connect(tabs=True)
        return tab

    return open_tab


async def role(tab: Tab) -> str:
    return str(await tab.js("client.getSnapshot().role"))


async def leads(tab: Tab) -> None:
    await tab.until(f"client.getSnapshot().role === 'leader' && {CONNECTED}")


async def sockets(*tabs: Tab) -> int:
    """Those open to the hub."""
    return sum([await tab.js("sockets.filter(({ readyState }) => readyState < 2).length") for tab in tabs])


async def holds_nothing(tab: Tab) -> None:
    """Whoever looks at the screen after a user has left finds nothing of them."""
    shown = await tab.js("client.getSnapshot()")
    assert (shown["entries"], shown["counts"]) == ([], {"unseen": 0, "unread": 0, "total": 0})


async def agree(*tabs: Tab) -> None:
    """All show what REST says, through one socket."""
    for tab in tabs:
        await tab.until(CONNECTED)
        await tab.agrees()
    assert await sockets(*tabs) == 1


async def test_tabs_that_know_who_is_signed_in_share_one_token(open_tab: Open) -> None:
    tabs = [await open_tab(connect=False) for _ in range(3)]
    for tab in tabs:
        await tab.connect(tabs=True, user=tab.user)
    assert [tab.tokens for tab in tabs] == [1, 0, 0]
    await tabs[0].page.close()
    await agree(*tabs[1:])
    assert sum(tab.tokens for tab in tabs) == 2


async def test_tabs_share_one_socket(open_tab: Open) -> None:
    # A name whose token has all 64 characters in which it may be written.
    tabs = [await open_tab("everybody?????>>>>>") for _ in range(3)]
    assert [await role(tab) for tab in tabs] == ["leader", "follower", "follower"]
    sent = await tabs[0].hub.send(tabs[0].user)
    for tab in tabs:
        await tab.until("events.some(({ type }) => type === 'notification')")
        assert [event["entry"]["id"] for event in await tab.events("notification")] == [sent]
    await agree(*tabs)


async def test_tabs_that_a_browser_restores_all_at_once_all_connect(open_tab: Open) -> None:
    tabs = [await open_tab(connect=False) for _ in range(10)]
    await asyncio.gather(*(tab.start(tabs=True) for tab in tabs))
    await agree(*tabs)


async def test_a_client_that_is_closed_before_its_token_comes_leads_nobody(open_tab: Open) -> None:
    tab = await open_tab(connect=False)
    await tab.js(
        """async ({ user, ...options }) => {
          const { BellhubClient } = await import("/static/client.js");
          const token = Promise.withResolvers();
          const client = new BellhubClient({ ...options, getToken: () => token.promise });
          client.connect();
          client.close();
          token.resolve(await bellToken(user));
        }""",
        {**tab.address, "user": tab.user},
    )
    assert await tab.js("navigator.locks.query().then(({ held }) => held)") == []
    await tab.connect(tabs=True)
    await agree(tab)


async def test_a_mark_in_any_tab_shows_in_all(open_tab: Open) -> None:
    tabs = [await open_tab() for _ in range(3)]
    ids = [await tabs[0].hub.send(tabs[0].user) for _ in range(3)]
    for tab, name in zip(tabs, ids, strict=True):
        await tab.until("client.getSnapshot().counts.total === 3")
        await tab.js("(id) => client.mark('read', [id])", name)
    await agree(*tabs)
    assert set((await tabs[2].shown())["statuses"].values()) == {"read"}


async def test_a_follower_lists_pages_and_hears_refusals_as_a_leader_does(open_tab: Open) -> None:
    leader, follower = await open_tab(), await open_tab()
    ids = [await leader.hub.send(leader.user) for _ in range(25)]
    later = await open_tab()
    await later.until("client.getSnapshot().counts.total === 25")
    assert [entry["id"] for entry in (await follower.js("client.list({ limit: 2 })"))["entries"]] == ids[:-3:-1]
    code = await follower.js("client.mark('read', ['nowhere']).catch(({ code }) => code)")
    assert code == "not_found"
    assert await leader.events("refused") == []
    assert len(await follower.events("refused")) == 1
    await follower.hub.send(follower.user)
    await follower.until("client.getSnapshot().counts.total === 26")


async def test_when_the_leader_is_closed_another_leads_and_no_event_is_lost(open_tab: Open) -> None:
    leader, *others = [await open_tab() for _ in range(3)]
    titles = [await leader.hub.send(leader.user)]
    await asyncio.gather(leader.page.close(), *(leader.hub.send(leader.user) for _ in range(5)))
    titles.append(await leader.hub.send(leader.user))
    for tab in others:
        await tab.until("events.filter(({ type }) => type === 'notification').length === 7")
        told = [event["entry"]["id"] for event in await tab.events("notification")]
        assert len(set(told)) == 7
        assert {told[0], told[-1]} == set(titles)
    assert sorted([await role(tab) for tab in others]) == ["follower", "leader"]
    await agree(*others)


async def test_a_mark_under_way_when_the_leader_goes_is_stored_all_the_same(open_tab: Open) -> None:
    leader, follower = await open_tab(), await open_tab()
    ids = [await leader.hub.send(leader.user) for _ in range(10)]
    await follower.until("client.getSnapshot().counts.total === 10")
    closing = asyncio.create_task(leader.page.close())
    for name in ids:
        await follower.js("(id) => client.mark('archive', [id]) && undefined", name)
    await closing
    await agree(follower)
    assert (await follower.shown())["counts"]["total"] == 0


async def test_a_frozen_leader_is_relieved_by_a_visible_tab_and_does_not_fight_back(open_tab: Open) -> None:
    leader = await open_tab()
    follower, hidden = await open_tab(clock=True), await open_tab(clock=True)
    await hidden.js(HIDE, True)
    devtools = await leader.page.context.new_cdp_session(leader.page)
    for _ in range(10):  # Chromium may thaw a page of its own accord
        await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        for tab in (hidden, follower):  # all at once: a page that is thawed in between would be heard
            await tab.page.clock.run_for(12_000)
        if await role(follower) == "leader":
            break
    await leads(follower)
    assert await role(hidden) == "follower"
    await follower.hub.send(follower.user)
    await follower.until("client.getSnapshot().counts.total === 1")

    await devtools.send("Page.setWebLifecycleState", {"state": "active"})
    await leader.until("client.getSnapshot().role === 'follower'")
    await agree(follower, leader, hidden)
    assert await role(follower) == "leader"


async def holder(tab: Tab) -> str:
    """Whose the lock is, once all that this tab has asked of it is done."""
    return str(await tab.js("navigator.locks.query().then(({ held }) => held[0].clientId)"))


async def test_a_tab_that_slept_asks_whether_the_leader_is_there_and_takes_no_place(open_tab: Open) -> None:
    leader, follower = await open_tab(), await open_tab(clock=True)
    before = await holder(leader)
    await follower.page.clock.fast_forward(20_000)
    assert len(await follower.frames("out", "ping")) == 1
    assert await holder(follower) == before
    await follower.until("events.some(({ frame }) => frame?.type === 'pong')")
    await agree(leader, follower)
    assert await role(leader) == "leader"


async def test_a_leader_that_is_hidden_for_a_blink_keeps_its_place(open_tab: Open) -> None:
    leader, follower = await open_tab(), await open_tab()
    before = await holder(leader)
    address = leader.address
    await leader.js(
        """async (name) => {
          const channel = new BroadcastChannel(name);
          globalThis.taken = new Promise((told) => (channel.onmessage = ({ data }) => data.say === "take" && told()));
        }""",
        f"bellhub:{address['url']}:{address['apiKey']}:{address['channel']}",
    )
    await leader.js(f"({HIDE})(true); ({HIDE})(false); globalThis.taken")
    await leader.hub.send(leader.user)
    await follower.until("client.getSnapshot().counts.total === 1")  # told after whatever the leader said to the other
    assert await holder(follower) == before
    await agree(leader, follower)


async def test_a_leader_that_is_hidden_gives_its_place_to_a_tab_that_is_seen(open_tab: Open) -> None:
    leader, follower = await open_tab(), await open_tab()
    await leader.js(HIDE, True)
    await leads(follower)
    await leader.until("client.getSnapshot().role === 'follower'")
    await leader.hub.send(leader.user)
    await agree(leader, follower)


async def test_tabs_that_lead_by_turns_leave_nothing_behind(open_tab: Open) -> None:
    leader, follower = await open_tab(), await open_tab()
    for _ in range(4):
        await follower.js(HIDE, False)
        await leader.js(HIDE, True)
        await leads(follower)
        await leader.until("client.getSnapshot().role === 'follower'")
        leader, follower = follower, leader
    locks = await leader.js("navigator.locks.query()")
    assert len(locks["held"]) == 1
    assert len(locks["pending"]) <= 2
    await agree(leader, follower)


async def test_a_tab_that_was_away_hears_of_each_event_from_whoever_leads_by_then(open_tab: Open) -> None:
    leader, other, away = [await open_tab() for _ in range(3)]
    await away.js("dispatchEvent(new Event('pagehide'))")
    sent = [await leader.hub.send(leader.user) for _ in range(3)]
    await other.until("client.getSnapshot().counts.total === 3")
    await leader.page.close()
    await leads(other)
    await away.js("dispatchEvent(new Event('pageshow'))")
    await agree(other, away)
    assert [event["entry"]["id"] for event in await away.events("notification")] == sent


async def test_a_tab_out_of_the_back_forward_cache_follows_whoever_leads_by_then(
    hub: RunningHub, modules_url: str
) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=list(ARGUMENTS),
            ignore_default_args=["--disable-back-forward-cache"],
        )
        context = await browser.new_context()
        back, other = [Tab(await context.new_page(), hub, "back") for _ in range(2)]
        for tab in (back, other):
            await tab.load(modules_url)
            await tab.connect(tabs=True)
        for times in (1, 2):  # as a leader, then as a follower
            await back.js("addEventListener('pageshow', ({ persisted }) => { globalThis.persisted = persisted; })")
            await back.page.goto(f"{modules_url}static/icon.svg")
            await leads(other)
            await hub.send("back")
            await back.page.go_back(wait_until="commit")
            await back.until("globalThis.persisted")
            await back.until(f"client.getSnapshot().counts.total === {times}")
            assert await back.js("delete globalThis.persisted") is True
            assert await role(back) == "follower"
            await agree(back, other)
        await browser.close()


async def test_a_page_that_may_keep_nothing_connects_all_the_same(
    hub: RunningHub, modules_url: str, blocking: BrowserContext
) -> None:
    tabs = [Tab(await blocking.new_page(), hub, "blocked") for _ in range(2)]
    sent = await hub.send("blocked")
    for tab in tabs:
        await tab.load(modules_url)
        assert await tab.js("navigator.locks.request('', () => 0).catch(({ name }) => name)") == "SecurityError"
        await tab.connect(tabs=True)
    await tabs[0].js("(id) => client.mark('read', [id])", sent)
    await tabs[1].until("client.getSnapshot().counts.unread === 0")
    for tab in tabs:
        await tab.agrees()


async def test_what_happens_while_the_network_is_away_reaches_every_tab_once(
    open_tab: Open, context: BrowserContext
) -> None:
    leader, follower = await open_tab(), await open_tab()
    await context.set_offline(True)
    await leader.js("sockets.at(-1).close()")
    await follower.until("client.getSnapshot().state === 'reconnecting'")
    sent = [await leader.hub.send(leader.user) for _ in range(3)]
    await context.set_offline(False)
    for tab in (leader, follower):
        await tab.until("events.filter(({ type }) => type === 'notification').length === 3")
        assert [event["entry"]["id"] for event in await tab.events("notification")] == sent
    await agree(leader, follower)


async def test_the_late_end_of_a_socket_that_was_given_up_is_no_news_to_other_tabs(open_tab: Open) -> None:
    leader, follower = await open_tab(clock=True), await open_tab()
    # As after a sleep: the hub's words do not arrive any more, and nobody says that the connection is gone.
    await leader.js("lose = 'pong'; sockets[0].close = () => { globalThis.hung = true; }")
    await leader.page.clock.fast_forward(60_000)
    await leader.until("globalThis.hung")
    await leader.page.clock.fast_forward(5_000)
    await leader.page.clock.fast_forward(1_000)
    await leader.until("sockets.length === 2")
    for tab in (leader, follower):
        await tab.until(CONNECTED)
    states = len(await follower.events("state"))
    await leader.js("delete sockets[0].close; new Promise((end) => { sockets[0].onclose = end; sockets[0].close(); })")
    await leader.hub.send(leader.user)
    await follower.until("client.getSnapshot().counts.total === 1")
    assert len(await follower.events("state")) == states
    await agree(leader, follower)


async def test_marks_of_a_tab_that_was_closed_offline_are_sent_by_those_that_stay(
    open_tab: Open, context: BrowserContext
) -> None:
    leader, follower = await open_tab(), await open_tab()
    sent = await leader.hub.send(leader.user)
    await follower.until("client.getSnapshot().counts.total === 1")
    await context.set_offline(True)
    await leader.js("sockets.at(-1).close()")
    await follower.until("client.getSnapshot().state === 'reconnecting'")
    await follower.js("(id) => client.mark('archive', [id]) && undefined", sent)
    await follower.page.close()
    await context.set_offline(False)
    await leader.until("client.getSnapshot().counts.total === 0")
    await agree(leader)
    assert await leader.js("localStorage.length") == 0


@pytest.mark.parametrize("locks", [True, False])
async def test_logout_in_one_tab_ends_the_others(open_tab: Open, locks: bool) -> None:
    tabs = [await open_tab(connect=False) for _ in range(3)]
    await tabs[0].hub.send(tabs[0].user)
    for tab in tabs:
        if not locks:
            await tab.js("Object.defineProperty(navigator, 'locks', { value: undefined })")
        await tab.connect(tabs=True)
        assert await tab.js("client.getSnapshot().counts.unseen") == 1
    assert await sockets(*tabs) == (1 if locks else 3)
    await tabs[1].js("client.logout()")
    for tab in tabs:
        await tab.until("client.getSnapshot().state === 'closed'")
        await holds_nothing(tab)
    assert await sockets(*tabs) == 0
    assert [event["code"] for event in await tabs[0].events("auth")] == ["signed_out"]


async def test_logout_before_the_hub_has_said_who_this_is_counts_all_the_same(open_tab: Open) -> None:
    tab = await open_tab(connect=False)
    await tab.start(tabs=True)
    await tab.js("client.logout()")
    assert await tab.js("client.getSnapshot().state") == "closed"
    assert await sockets(tab) == 0


async def test_a_page_that_was_away_during_the_logout_shows_nothing_of_that_user(open_tab: Open) -> None:
    away, other = await open_tab(), await open_tab()
    await away.hub.send(away.user)
    await away.until("client.getSnapshot().counts.total === 1")
    await away.js("dispatchEvent(new Event('pagehide'))")
    away.left = True
    await other.js("client.logout()")
    await away.js("dispatchEvent(new Event('pageshow'))")
    await away.until("client.getSnapshot().state === 'closed'")
    assert [event["code"] for event in await away.events("auth")] == ["nobody"]
    assert await away.js("client.getSnapshot().entries") == []


async def test_another_user_in_one_tab_ends_the_others(open_tab: Open) -> None:
    first, second = await open_tab("before"), await open_tab("before")
    await first.hub.send("before")
    await second.until("client.getSnapshot().counts.unseen === 1")
    other = await open_tab("after")
    for tab in (first, second):
        await tab.until("client.getSnapshot().state === 'closed'")
        await holds_nothing(tab)
        assert [event["code"] for event in await tab.events("auth")] == ["other_user"]
    await agree(other)


async def test_a_token_of_another_user_ends_a_client_before_it_shows_anything_of_theirs(open_tab: Open) -> None:
    tab = await open_tab("before", connect=False)
    await tab.hub.send("after")
    await tab.start(who="after", user="before")
    await tab.until("client.getSnapshot().state === 'closed'")
    assert [event["code"] for event in await tab.events("auth")] == ["other_user"]
    assert await tab.js("client.getSnapshot().entries") == []
