"""The demo page against a real hub: two sessions of one user in a real browser."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

BACK_MS = 15_000
"""A cut line is dead for four seconds; then a client is back at once."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a hub in development mode with a store of its own."""
    directory = tmp_path_factory.mktemp("hub")
    command = (sys.executable, "-m", "hub", "serve", "--dev", "--port", "0", "--data-dir", str(directory))
    with (directory / "log").open("w") as log:
        hub = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
    try:
        yield await asyncio.wait_for(address(hub, directory / "log"), 30)
    finally:
        if hub.returncode is None:
            hub.send_signal(signal.SIGTERM)
        await hub.wait()


async def address(hub: asyncio.subprocess.Process, log: Path) -> str:
    assert hub.stdout is not None
    async for line in hub.stdout:
        if found := re.search(rb"http://[\w.:]+\d", line):
            return found[0].decode() + "/"
    raise AssertionError(f"the hub ended with {await hub.wait()}: {log.read_text()}")


class Pane:
    """One of the two sessions on the page, as a person sees it."""

    def __init__(self, page: Page, name: str) -> None:
        self.root = page.locator(".pane", has=page.get_by_role("heading", name=name))
        self.bell = self.root.get_by_role("button", name="Notifications")
        self.badge = self.root.locator(".badge")
        self.panel = self.root.get_by_role("dialog", name="Notifications")
        self.rows = self.panel.get_by_role("listitem")
        self.titles = self.rows.locator(".title")
        self.status = self.root.get_by_role("status")

    def row(self, title: str) -> Locator:
        return self.rows.filter(has_text=title)

    async def act(self, title: str, action: str) -> None:
        await self.panel.get_by_role("button", name=f"{action}: {title}").click()

    async def counts(self, unseen: int, unread: int, total: int) -> None:
        """Waits until the pane shows these counts."""
        await expect(self.root.locator("[data-count]")).to_have_text([str(unseen), str(unread), str(total)])

    def frames(self, text: str) -> Locator:
        return self.root.get_by_role("list", name="Frames").locator("summary", has_text=text)


class Demo:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.left, self.right = Pane(page, "Laptop"), Pane(page, "Phone")

    async def sign_in(self, user: str) -> None:
        await self.page.get_by_label("User").fill(user)
        await self.page.get_by_role("button", name="Sign in").click()
        for pane in (self.left, self.right):
            await expect(pane.status).to_have_text("connected")

    async def send(self, *titles: str) -> None:
        """Sends through the page's own box, one after the other."""
        note = self.page.locator("#sent")
        for title in titles:
            before = await note.text_content()
            await self.page.get_by_label("Title").fill(title)
            await self.page.get_by_role("button", name="Send").click()
            await expect(note).not_to_have_text(before or "-")
            await expect(note).to_contain_text("sent: ")


@pytest_asyncio.fixture(loop_scope="session")
async def demo(browser: Browser, hub_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Demo]:
    """The page with a user of this test's own in both panes. Nothing may be logged as an error by the browser."""
    page = await browser.new_page()
    demo = Demo(page)
    await page.goto(hub_url)
    await demo.sign_in(re.sub(r"\W", "-", request.node.name)[-40:])
    yield demo
    await page.close()
    assert demo.problems == []


async def test_both_sessions_get_a_notification_and_its_badge(demo: Demo) -> None:
    await demo.send("Order shipped")
    for pane in (demo.left, demo.right):
        await expect(pane.badge).to_have_text("1")
        await expect(pane.root.get_by_role("button", name="Notifications, 1 unseen")).to_be_visible()
        await pane.counts(1, 1, 1)
        await expect(pane.frames("entry")).to_have_count(1)


async def test_opening_one_bell_marks_as_seen_in_both(demo: Demo) -> None:
    await demo.send("one", "two")
    await expect(demo.right.badge).to_have_text("2")
    await demo.left.bell.click()
    await expect(demo.left.titles).to_have_text(["two", "one"])
    await expect(demo.right.badge).to_be_hidden()
    await demo.right.counts(0, 2, 2)


async def test_what_arrives_in_an_open_bell_is_seen_at_once(demo: Demo) -> None:
    await demo.left.bell.click()
    await demo.send("one")
    await demo.right.counts(0, 1, 1)
    await expect(demo.left.row("one")).to_have_attribute("data-status", "seen")


async def test_read_in_one_session_shows_as_read_in_the_other(demo: Demo) -> None:
    await demo.send("one", "two")
    await demo.left.bell.click()
    await demo.right.bell.click()
    await expect(demo.right.row("one").get_by_text("Unread")).to_be_attached()
    await demo.left.act("one", "Read")
    await expect(demo.right.row("one")).to_have_attribute("data-status", "read")
    await expect(demo.right.row("one").locator(".unread-word")).to_be_hidden()
    await expect(demo.right.row("two")).to_have_attribute("data-status", "seen")
    await demo.right.counts(0, 1, 2)


async def test_a_click_on_an_entry_reads_it(demo: Demo) -> None:
    await demo.send("one")
    await demo.left.bell.click()
    await demo.left.row("one").locator(".open").click()
    await demo.right.counts(0, 0, 1)
    await expect(demo.right.frames("click")).to_have_count(1)


@pytest.mark.parametrize("action", ["Archive", "Dismiss"])
async def test_an_archived_or_dismissed_entry_leaves_both_lists(demo: Demo, action: str) -> None:
    await demo.send("one", "two")
    await demo.left.bell.click()
    await demo.right.bell.click()
    await demo.left.act("one", action)
    for pane in (demo.left, demo.right):
        await expect(pane.titles).to_have_text(["two"])
        await pane.counts(0, 1, 1)


async def test_mark_all_read_reads_everything_in_both(demo: Demo) -> None:
    await demo.send("one", "two", "three")
    await demo.left.bell.click()
    await demo.left.panel.get_by_role("button", name="Mark all read").click()
    for pane in (demo.left, demo.right):
        await pane.counts(0, 0, 3)
    await expect(demo.left.panel.get_by_role("button", name="Mark all read")).to_be_disabled()


async def test_a_cut_session_says_so_and_catches_up_on_what_it_missed(demo: Demo) -> None:
    await demo.send("before")
    await expect(demo.left.badge).to_have_text("1")
    await demo.left.root.get_by_role("button", name="Cut").click()
    await expect(demo.left.status).to_have_text("reconnecting")
    await demo.send("missed one", "missed two")
    await expect(demo.right.badge).to_have_text("3")
    await expect(demo.left.badge).to_have_text("1")

    await expect(demo.left.status).to_have_text("connected", timeout=BACK_MS)
    await expect(demo.left.badge).to_have_text("3")
    await demo.left.bell.click()
    await expect(demo.left.titles).to_have_text(["missed two", "missed one", "before"])
    await expect(demo.left.frames("replay, 2 missed")).to_have_count(1)


async def test_a_mark_made_while_cut_is_delivered_after_coming_back(demo: Demo) -> None:
    await demo.send("one")
    await demo.left.bell.click()
    await demo.left.counts(0, 1, 1)
    await demo.left.root.get_by_role("button", name="Cut").click()
    await expect(demo.left.status).to_have_text("reconnecting")
    await demo.left.act("one", "Read")
    await expect(demo.left.status).to_have_text("connected", timeout=BACK_MS)
    await demo.right.counts(0, 0, 1)


async def test_older_entries_are_fetched_on_demand(demo: Demo) -> None:
    await demo.page.evaluate(
        """async (user) => {
          for (let i = 0; i < 23; i++) await fetch("v1/messaging/notifications", {
            method: "POST",
            headers: {Authorization: "Bearer sk_dev", "Content-Type": "application/json"},
            body: JSON.stringify({category: "a", target: {type: "user", id: user}, title: `number ${i}`}),
          });
        }""",
        await demo.page.get_by_label("User").input_value(),
    )
    await demo.page.get_by_role("button", name="Sign in").click()
    await demo.left.counts(23, 23, 23)
    await demo.left.bell.click()
    await expect(demo.left.rows).to_have_count(20)
    await demo.left.panel.get_by_role("button", name="Show older").click()
    await expect(demo.left.titles).to_have_text([f"number {i}" for i in reversed(range(23))])
    await expect(demo.left.panel.get_by_role("button", name="Show older")).to_be_hidden()


async def test_another_user_has_another_feed(demo: Demo) -> None:
    await demo.send("mine")
    await demo.left.counts(1, 1, 1)
    await demo.sign_in("somebody-else")
    await demo.left.counts(0, 0, 0)


async def test_a_title_with_markup_is_shown_as_text(demo: Demo) -> None:
    await demo.send("<b>bold</b><script>x</script>")
    await demo.left.bell.click()
    await expect(demo.left.titles).to_have_text(["<b>bold</b><script>x</script>"])
    await expect(demo.page.locator(".title b")).to_have_count(0)


async def test_the_keyboard_goes_on_at_the_next_entry_when_one_leaves(demo: Demo) -> None:
    await demo.send("one", "two")
    await demo.left.bell.click()
    await demo.left.panel.get_by_role("button", name="Archive: two").press("Enter")
    await expect(demo.left.panel.get_by_role("button", name="Archive: one")).to_be_focused()
    await demo.page.keyboard.press("Enter")
    await expect(demo.left.bell).to_be_focused()


async def test_a_refused_send_says_why(demo: Demo) -> None:
    await demo.page.evaluate("document.querySelector('#category').removeAttribute('pattern')")
    await demo.page.get_by_label("Category").fill("Not A Category")
    await demo.page.get_by_role("button", name="Send").click()
    await expect(demo.page.locator("#sent")).to_contain_text(re.compile("not sent: .*category"))
    # The browser itself logs every 4xx as an error.
    assert [re.search(r"status of (\d+)", problem)[1] for problem in demo.problems] == ["400"]  # type: ignore[index]
    demo.problems.clear()


async def test_the_curl_line_follows_the_form_and_is_quoted(demo: Demo) -> None:
    await demo.page.get_by_label("Title").fill("it's here")
    curl = await demo.page.locator("#curl").text_content()
    assert curl is not None
    assert "Authorization: Bearer sk_dev" in curl
    assert r"""it'\''s here""" in curl
    assert "/v1/messaging/notifications" in curl


async def test_a_frame_unfolds_to_its_text(demo: Demo) -> None:
    await demo.left.frames("auth").click()
    await expect(demo.left.root.locator("details[open] pre")).to_contain_text('"api_key": "pk_dev"')


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_the_window_and_its_text_can_be_read(demo: Demo, width: int, scheme: str) -> None:
    await demo.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await demo.page.set_viewport_size({"width": width, "height": 900})
    await demo.send("one")
    await demo.left.bell.click()
    await expect(demo.left.row("one")).to_be_visible()
    assert await demo.page.evaluate("document.documentElement.scrollWidth") == width
    assert await demo.page.evaluate(FAINT) == []


FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : colour;
  };
  const ratio = (element) => {
    const [dark, bright] = [getComputedStyle(element).color, behind(element)].map(light).sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  return [...document.querySelectorAll("body *:not(:disabled, [aria-disabled=true])")]
    .filter((element) => element.checkVisibility() && [...element.childNodes].some((node) => node.data?.trim()))
    .filter((element) => ratio(element) < 4.5)
    .map((element) => `${element.className || element.tagName}: ${ratio(element).toFixed(2)}`);
}"""
"""Texts with less contrast to what is behind them than WCAG 2.2 asks for (1.4.3, AA)."""


async def test_under_a_path_prefix_every_address_stays_below_it(browser: Browser, hub_url: str) -> None:
    page = await browser.new_page()
    asked: list[str] = []

    async def strip(route: Route) -> None:
        path = route.request.url.removeprefix(hub_url)
        asked.append(path)
        await route.fulfill(response=await route.fetch(url=hub_url + path.removeprefix("some/where/")))

    await page.route(hub_url + "**", strip)
    async with page.expect_websocket() as socket:
        await page.goto(hub_url + "some/where/")
    assert (await socket.value).url == hub_url.replace("http", "ws", 1) + "some/where/ws/v1"
    assert len(asked) > 3
    assert all(path.startswith("some/where/") for path in asked)
    await page.close()
