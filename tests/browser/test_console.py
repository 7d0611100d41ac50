"""The operator's console against a real hub, in a real browser, beside real sockets of the users it is about."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from hub.projects import add_channel
from tests.harness import RedisServer, RunningHub

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

KEY = "an-operator's-key-of-32-characters"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub() -> AsyncIterator[RunningHub]:
    server = RedisServer()
    hub = await RunningHub(server.url, console_key=KEY).start()
    await hub.add_project("shop")
    await hub.change_project(lambda p: add_channel(p, "deals", "in_app", None), "shop")
    yield hub
    await hub.stop()
    server.remove()


@dataclass
class Desk:
    """The page, as an operator sees it. `problems` is what the browser complained of."""

    page: Page
    hub: RunningHub
    problems: list[str]

    def part(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("region", name=name)

    async def open(self, key: str = KEY) -> None:
        await self.page.get_by_label("BELLHUB_CONSOLE_KEY").fill(key)
        await self.page.get_by_role("button", name="Open the console").click()

    async def look_up(self, user: str) -> None:
        await self.page.get_by_role("textbox", name="User").fill(user)
        await self.page.get_by_role("button", name="Look up").click()
        await expect(self.part(f"Feed of {user}")).to_be_visible()

    async def count(self, name: str, count: int) -> None:
        await expect(self.page.get_by_role("button", name=f"{count} {name}")).to_be_visible()

    @property
    def titles(self) -> Locator:
        return self.part(re.compile("^Feed of")).locator(".title")

    @property
    def reasons(self) -> Locator:
        return self.page.get_by_role("list", name="Entries that are counted").locator(".title")

    @property
    def sessions(self) -> Locator:
        return self.page.get_by_role("list", name="Open sockets").get_by_role("listitem")

    def call(self, text: str) -> Locator:
        return self.page.get_by_role("list", name="Calls").locator("li", has_text=text)


@pytest_asyncio.fixture(loop_scope="session")
async def locked(browser: Browser, hub: RunningHub) -> AsyncIterator[Desk]:
    """The page before a key is given."""
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    desk = Desk(page, hub, [])
    page.on("console", lambda message: desk.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: desk.problems.append(str(error)))
    await page.goto(f"http://127.0.0.1:{hub.port}/console")
    yield desk
    await context.close()
    assert desk.problems == []


@pytest_asyncio.fixture(loop_scope="session")
async def desk(locked: Desk) -> Desk:
    await locked.open()
    await expect(locked.part("Hub").get_by_text("ready", exact=True)).to_be_visible()
    return locked


async def test_a_wrong_key_opens_nothing_and_says_so(locked: Desk) -> None:
    await locked.open("x" * 32)
    await expect(locked.page.get_by_role("alert")).to_have_text("x-bellhub-operator: not the operator's key")
    await expect(locked.part("Hub")).to_be_hidden()
    await expect(locked.page.get_by_label("BELLHUB_CONSOLE_KEY")).to_be_focused()
    assert all("401" in problem for problem in locked.problems)
    locked.problems.clear()


async def test_the_key_is_in_no_storage_cookie_address_or_text_and_gone_after_a_reload(desk: Desk) -> None:
    page = desk.page
    await desk.look_up("ann")
    kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    assert KEY not in await page.evaluate(kept)
    assert KEY not in await page.content()
    await expect(page.get_by_label("BELLHUB_CONSOLE_KEY")).to_have_value("")
    await page.reload()
    await expect(page.get_by_role("button", name="Open the console")).to_be_visible()
    await desk.open()
    await desk.look_up("ann")
    await page.get_by_role("button", name="Forget the key").click()
    await expect(desk.part("Hub")).to_be_hidden()
    await expect(desk.call("GET")).to_have_count(0)


async def test_the_badge_is_explained_by_the_entries_behind_it(desk: Desk) -> None:
    for title in ("one", "two", "three", "four"):
        await desk.hub.send("bea", title)
    socket = await desk.hub.connect("bea")
    entries = {entry["data"]["title"]: entry["id"] for entry in (await desk.hub.feed("bea"))["items"]}
    await socket.ask("read", channel="inbox", ids=[entries["two"]])
    await socket.ask("archive", channel="inbox", ids=[entries["four"]])
    await socket.close()
    await desk.look_up("bea")
    await expect(desk.part("Why is the badge 2?")).to_be_visible()
    await expect(desk.reasons).to_have_text(["three", "one"])
    await expect(desk.part("Why is the badge 2?")).to_contain_text("seen_at, archived_at and dismissed_at are null")
    await expect(desk.part("Why is the badge 2?")).to_contain_text("1 archived, 0 dismissed")
    await desk.page.get_by_role("button", name="3 total").click()
    await expect(desk.reasons).to_have_text(["three", "two", "one"])
    await desk.page.get_by_label("Show").select_option("archived")
    await expect(desk.titles).to_have_text(["four"])


async def test_what_is_sent_reaches_the_users_socket_and_leaves_it_when_withdrawn(desk: Desk) -> None:
    socket = await desk.hub.connect("cem")
    await desk.look_up("cem")
    await desk.page.get_by_label("Title").fill("We are back")
    await desk.page.get_by_label("Link").fill("/status")
    await desk.page.get_by_role("button", name="Send", exact=True).click()
    entry = (await socket.next("entry"))["entry"]
    assert (entry["data"]["title"], entry["data"]["action_url"]) == ("We are back", "/status")
    await expect(desk.part("Send")).to_contain_text(f"Sent: {entry['id']}")
    await expect(desk.titles).to_have_text(["We are back"])
    await desk.count("unseen", 1)
    await desk.page.get_by_role("button", name="Withdraw: We are back").press("Enter")
    assert (await socket.next("gone"))["ids"] == [entry["id"]]
    await desk.count("unseen", 0)
    await expect(desk.part("Feed of cem")).to_contain_text("Nothing here.")
    await expect(desk.page.get_by_role("heading", name="Feed of cem")).to_be_focused()
    await socket.close()


async def test_a_refused_send_says_why(desk: Desk) -> None:
    await desk.look_up("cem")
    await desk.page.get_by_label("Link").fill("javascript:alert(1)")
    await desk.page.get_by_role("button", name="Send", exact=True).click()
    await expect(desk.part("Send").get_by_role("status")).to_contain_text("url")
    await expect(desk.call("POST").locator(".status")).to_have_text("400")
    assert all("400" in problem for problem in desk.problems)
    desk.problems.clear()


async def test_a_session_that_is_ended_sees_its_socket_close_with_4503(desk: Desk) -> None:
    first, second = await desk.hub.connect("dan"), await desk.hub.connect("dan")
    await desk.look_up("dan")
    await expect(desk.sessions).to_have_count(2)
    await expect(desk.sessions.first).to_contain_text("inbox")
    await desk.sessions.first.get_by_role("button", name="End").click()
    assert await first.close_code() == 4503
    await expect(desk.sessions).to_have_count(1)
    assert not second.closed.done()
    await desk.page.get_by_role("button", name="End all").click()
    await desk.page.get_by_role("dialog").get_by_role("button", name="End all").click()
    assert await second.close_code() == 4503
    await expect(desk.part("Sessions")).to_contain_text("No open socket.")


async def test_tokens_are_revoked_only_by_somebody_who_is_sure(desk: Desk) -> None:
    token = desk.hub.token("eva", now=1_700_000_000, ttl_s=10**9)
    socket = await desk.hub.connect("eva", token=token)
    await desk.look_up("eva")
    await desk.page.get_by_role("button", name="Revoke tokens").click()
    await desk.page.keyboard.press("Escape")
    await expect(desk.page.get_by_role("dialog")).to_be_hidden()
    await expect(desk.page.get_by_role("button", name="Revoke tokens")).to_be_focused()
    await expect(desk.call("revoke")).to_have_count(0)
    await desk.page.keyboard.press("Enter")
    await desk.page.get_by_role("dialog", name="Revoke all tokens of eva?").get_by_role("button", name="Revoke").click()
    assert await socket.close_code() == 4503
    await expect(desk.part("Sessions")).to_contain_text("are refused")
    again = await desk.hub.connect()
    await again.send("auth", api_key=desk.hub.api_key, token=token)
    assert await again.close_code() == 4503


async def test_another_project_has_other_channels_and_other_feeds(desk: Desk) -> None:
    await desk.hub.send("fay", "of the first project")
    await desk.look_up("fay")
    await expect(desk.titles).to_have_text(["of the first project"])
    await desk.page.get_by_role("combobox", name="Project").select_option("shop")
    await desk.page.get_by_role("combobox", name="Channel").select_option("deals")
    await desk.look_up("fay")
    await desk.count("total", 0)
    await desk.page.get_by_role("button", name="Send", exact=True).click()
    await expect(desk.titles).to_have_text(["A word from the operator"])
    assert [entry["data"]["title"] for entry in (await desk.hub.feed("fay"))["items"]] == ["of the first project"]


async def test_every_call_is_shown_with_the_key_blotted_out_and_can_be_copied(desk: Desk) -> None:
    await desk.look_up("it's ğreta")
    call = desk.call("/explain")
    await expect(call).to_contain_text("200")
    await call.locator("summary").click()
    await expect(call).to_contain_text("x-bellhub-operator: ••••••••")
    await expect(call).to_contain_text("x-bellhub-user: it's ğreta")
    await expect(call).to_contain_text(f"x-notiflows-api-key: {desk.hub.api_key}")
    await expect(call).to_contain_text('"rule": "seen_at')
    await call.get_by_role("button", name="Copy as curl").click()
    await expect(call.get_by_text("Copied")).to_be_visible()
    copied = await desk.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl -X GET 'http://127.0.0.1:{desk.hub.port}/user/v1/channels/inbox/feed/explain'")
    assert '-H "x-bellhub-operator: $BELLHUB_CONSOLE_KEY"' in copied
    assert r"-H 'x-bellhub-user: it'\''s ğreta'" in copied
    assert KEY not in copied


async def test_older_entries_are_fetched_on_demand(desk: Desk) -> None:
    for number in range(22):
        await desk.hub.send("hal", f"number {number}")
    await desk.look_up("hal")
    await expect(desk.titles).to_have_count(20)
    await expect(desk.part(re.compile("badge 22"))).to_contain_text("The newest 20 of 22")
    await desk.page.get_by_role("button", name="Show older").click()
    await expect(desk.titles).to_have_text([f"number {number}" for number in reversed(range(22))])
    await expect(desk.page.get_by_role("button", name="Show older")).to_be_hidden()


async def test_markup_in_what_a_user_was_sent_is_shown_as_text(desk: Desk) -> None:
    title = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\">"
    await desk.hub.send("ivo", title, body=title, source_key="ivo")
    await desk.look_up("ivo")
    await expect(desk.titles).to_have_text([title])
    await expect(desk.reasons).to_have_text([title])
    assert await desk.page.title() == "Bellhub console"
    assert await desk.page.locator("main img, main script").count() == 0


async def test_the_hub_and_its_store_are_told_with_their_warnings(desk: Desk) -> None:
    await expect(desk.page.get_by_role("list", name="Readiness").get_by_role("listitem")).to_have_text(
        ["store", "subscriber", "serving", "parts"]
    )
    await expect(desk.page.get_by_role("list", name="Warnings")).to_contain_text("durability appendonly is off")
    await desk.part("Hub").locator("summary").click()
    await expect(desk.page.get_by_role("list", name="What is fine")).to_contain_text("versions bellhub")


async def test_the_keyboard_alone_signs_in_looks_up_and_ends_a_session(locked: Desk) -> None:
    socket = await locked.hub.connect("kim")
    keyboard = locked.page.keyboard
    await keyboard.type(KEY)
    await keyboard.press("Enter")
    await expect(locked.page.get_by_label("User")).to_be_focused()
    await keyboard.type("kim")
    await keyboard.press("Enter")
    await expect(locked.sessions).to_have_count(1)
    for _ in range(40):
        await keyboard.press("Tab")
        if (await locked.page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")).startswith("End: "):
            break
    await keyboard.press("Enter")
    assert await socket.close_code() == 4503
    await expect(locked.page.get_by_role("heading", name="Sessions")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(
    locked: Desk, axe: Callable[[Page], Awaitable[list[str]]], picture: Callable[..., Awaitable[None]], scheme: str
) -> None:
    user = f"moe-{scheme}"
    socket = await locked.hub.connect(user)
    await locked.hub.send(user, "Your order has shipped", body="Order 12345 left our warehouse.")
    await locked.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    assert await axe(locked.page) == []
    await locked.open()
    await locked.look_up(user)
    await expect(locked.sessions).to_have_count(1)
    await expect(locked.reasons).to_have_count(1)
    for width in (1440, 360):
        await locked.page.set_viewport_size({"width": width, "height": 900})
        await picture(locked.page, f"console-{width}-{scheme}", whole=True)
    await locked.page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    for width in (1440, 360):
        await locked.page.set_viewport_size({"width": width, "height": 900})
        assert await axe(locked.page) == []
    await locked.page.get_by_role("button", name="Revoke tokens").click()
    assert await axe(locked.page) == []
    await socket.close()


@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_the_page_fits_the_window(desk: Desk, width: int) -> None:
    await desk.page.set_viewport_size({"width": width, "height": 800})
    await desk.hub.send("lea", "W" * 300)
    await desk.look_up("lea" + "m" * 200 if width == 360 else "lea")
    await expect(desk.call("/entries")).to_have_count(1)
    await desk.call("/entries").locator("summary").click()
    assert await desk.page.evaluate("document.documentElement.scrollWidth") == width
