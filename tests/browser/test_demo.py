"""The demo page against a real hub: a laptop and a phone of one user, with all that can happen to their lines."""

import asyncio
import itertools
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

BACK_MS = 15_000
CATEGORIES = {
    "chat.message": "normal",
    "chat.mention": "high",
    "chat.added": "low",
    "order.updated": "normal",
    "agent.run_completed": "normal",
    "agent.alert": "high",
    "system.broadcast": "low",
}


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


class Device:
    """One of the two devices on the page, as a person sees it."""

    def __init__(self, page: Page, name: str, element: str) -> None:
        self.root = page.get_by_role("region", name=name, exact=True)
        self.element = page.locator(element)
        self.status = self.root.locator(".status")
        self.said = self.root.locator(".said")
        self.list = self.element.locator(".panel")
        self.rows = self.list.get_by_role("listitem")
        self.titles = self.rows.locator(".title")
        self._wire = page.get_by_role("region", name=f"Frames of the {name.lower()}").get_by_role("list")

    def row(self, title: str) -> Locator:
        return self.rows.filter(has_text=title)

    async def read(self, title: str) -> None:
        await self.row(title).hover()
        await self.list.get_by_role("button", name=f"Mark read: {title}").click()

    async def press(self, knob: str) -> None:
        await self.root.get_by_role("button", name=knob).click()

    async def connected(self) -> None:
        await expect(self.status).to_contain_text("connected", timeout=BACK_MS)

    def frames(self, text: str) -> Locator:
        return self._wire.locator("summary", has_text=text)

    async def snapshot(self) -> dict[str, Any]:
        """What its client holds: counts, and the state of each entry."""
        return await self.element.evaluate(
            """(element) => {
              const { counts, entries } = element.current.getSnapshot();
              return { counts: {...counts}, entries: entries.map(({id, status}) => [id, status]) };
            }"""
        )


class Demo:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.user = ""
        self.problems: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        self.laptop = Device(page, "Laptop", "notification-bell")
        self.phone = Device(page, "Phone", "notification-inbox")
        self.devices = (self.laptop, self.phone)
        self.bell = self.laptop.element.locator(".bell")
        self.laptop_badge = self.laptop.element.locator(".badge")
        self.inbox_tab = self.phone.root.get_by_role("button", name="Inbox")
        self.phone_badge = self.inbox_tab.locator(".badge")
        self.note = page.locator("#sent")
        self.verdict = page.locator("#verdict")

    async def visit(self, user: str) -> None:
        self.user = user
        await self.page.goto(f"{self.url}?user={user}")
        for device in self.devices:
            await device.connected()

    async def sign_in(self, user: str) -> None:
        self.user = user
        await self.page.get_by_label("User").fill(user)
        await self.page.get_by_role("button", name="Sign in").click()
        for device in self.devices:
            await device.connected()

    async def send(self, *titles: str) -> None:
        """Sends through the page's own panel, one after the other."""
        for title in titles:
            await self.page.get_by_label("Title").fill(title)
            async with self.page.expect_response("**/v1/messaging/notifications") as answer:
                await self.page.get_by_role("button", name="Send", exact=True).click()
            assert (await answer.value).status == 202

    async def cut_phone_off_over(self, title: str) -> None:
        """Sends one, lets the phone see it, and cuts its network while nothing is on its way."""
        await self.send(title)
        await self.inbox_tab.click()
        await expect(self.bell).to_have_accessible_name("Notifications, 1 unread")
        await expect(self.phone.status).to_have_text("connected")
        await self.phone.press("Cut network")

    async def badges(self, text: str) -> None:
        """Waits until both devices show this badge; an empty one is hidden."""
        for badge in (self.laptop_badge, self.phone_badge):
            await (expect(badge).to_have_text(text) if text else expect(badge).to_be_hidden())

    async def open(self) -> None:
        await self.bell.click()
        await expect(self.laptop.list).to_be_visible()

    async def feed(self) -> dict[str, Any]:
        """The user's feed over REST."""
        answer = await self.page.request.get(
            f"{self.url}user/v1/channels/inbox/feed/entries?limit=100",
            headers={"x-notiflows-api-key": "pk_dev", "x-notiflows-user-id": self.user},
        )
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def agree(self) -> None:
        """Waits until both devices hold what REST answers, and the page says so."""
        async with asyncio.timeout(15):
            while not await self._agrees():
                await self.page.wait_for_timeout(50)

    async def _agrees(self) -> bool:
        """All at one time: what was sent may still be seen meanwhile."""
        feed = await self.truth()
        held = [await device.snapshot() for device in self.devices]
        table = await self.page.locator(".agree tbody td").all_text_contents()
        said = await self.verdict.text_content()
        counts = [str(count) for count in feed["counts"].values()]
        return (held, table, said) == ([feed, feed], counts * 3, "All three agree")

    async def truth(self) -> dict[str, Any]:
        feed = await self.feed()
        items = feed["items"]
        counts = {"unseen": feed["total_unseen"], "unread": feed["total_unread"], "total": len(items)}
        return {"counts": counts, "entries": [[item["id"], item["status"]] for item in items]}


@pytest_asyncio.fixture(loop_scope="session")
async def demo(browser: Browser, hub_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Demo]:
    """The page with a user of this test's own. At the end both devices and REST agree, nothing was asked of anybody
    but the hub, and the browser has logged no error."""
    context = await browser.new_context()
    page = await context.new_page()
    demo = Demo(page, hub_url)
    await demo.visit(re.sub(r"\W", "-", request.node.name)[-40:])
    yield demo
    await demo.agree()
    await context.close()
    assert [url for url in demo.asked if not url.startswith(hub_url)] == []
    assert demo.problems == []


async def test_both_devices_get_a_notification_and_its_badge(demo: Demo) -> None:
    await demo.send("Order shipped")
    await demo.badges("1")
    await expect(demo.bell).to_have_accessible_name("Notifications, 1 new")
    for device in demo.devices:
        await expect(device.frames("entry")).to_have_count(1)
    await expect(demo.note).to_contain_text(re.compile(r"1 sent\. Laptop: \d+ ms, Phone: \d+ ms"))


async def test_the_page_says_that_all_agree_only_of_what_the_hub_was_asked_about(demo: Demo) -> None:
    await expect(demo.verdict).to_have_text("All three agree")
    answer = asyncio.Event()

    async def hold(route: Route) -> None:
        await answer.wait()
        await route.continue_()

    await demo.page.route("**/feed/counts", hold)
    await demo.send("one")
    await demo.badges("1")
    await expect(demo.verdict).to_have_text("Asking the hub…")
    answer.set()
    await expect(demo.verdict).to_have_text("All three agree")


async def test_a_device_with_marks_to_send_is_not_up_to_date_though_it_counts_the_same(demo: Demo) -> None:
    await demo.cut_phone_off_over("one")
    await demo.phone.row("one").hover()
    await demo.phone.list.get_by_role("button", name="Archive: one").click()
    await expect(demo.verdict).to_have_text("Not up to date: phone")
    await demo.verdict.evaluate("(verdict) => { verdict.textContent = 'before' }")
    await demo.phone.list.get_by_role("button", name="Undo").click()
    await expect(demo.phone.status).to_contain_text("1 to send")
    await expect(demo.verdict).to_have_text("Not up to date: phone")
    await demo.phone.press("Mend network")
    await demo.phone.connected()


async def test_opening_the_bell_marks_as_seen_on_the_phone(demo: Demo) -> None:
    await demo.send("one", "two")
    await demo.badges("2")
    await demo.open()
    await expect(demo.laptop.titles).to_have_text(["two", "one"])
    await demo.badges("")


async def test_what_arrives_in_an_open_inbox_is_seen_by_the_laptop(demo: Demo) -> None:
    await demo.inbox_tab.click()
    await demo.send("one")
    await expect(demo.phone.titles).to_have_text(["one"])
    await expect(demo.bell).to_have_accessible_name("Notifications, 1 unread")


async def test_read_on_the_phone_is_read_on_the_laptop(demo: Demo) -> None:
    await demo.send("one", "two")
    await demo.inbox_tab.click()
    await demo.phone.read("one")
    await expect(demo.bell).to_have_accessible_name("Notifications, 1 unread")
    await demo.open()
    await expect(demo.laptop.list.get_by_role("button", name="Mark 1 read")).to_be_visible()


async def test_archived_on_the_phone_leaves_the_laptop(demo: Demo) -> None:
    await demo.send("one", "two")
    await demo.inbox_tab.click()
    await demo.phone.row("one").hover()
    await demo.phone.list.get_by_role("button", name="Archive: one").click()
    await demo.open()
    for device in demo.devices:
        await expect(device.titles).to_have_text(["two"])


async def test_a_device_that_is_cut_off_says_so_and_catches_up_on_what_it_missed(demo: Demo) -> None:
    await demo.send("before")
    await demo.badges("1")
    await demo.laptop.press("Cut network")
    await expect(demo.laptop.status).to_contain_text("reconnecting")
    await demo.send("missed one", "missed two")
    await expect(demo.phone_badge).to_have_text("3")
    await expect(demo.laptop_badge).to_have_text("1")
    await expect(demo.note).to_contain_text("Laptop: cut off")
    await expect(demo.verdict).to_have_text("Not up to date: laptop")

    await demo.laptop.press("Mend network")
    await demo.laptop.connected()
    await demo.badges("3")
    await expect(demo.laptop.said).to_have_text("Back again: caught up on 2 missed.")
    await demo.open()
    await expect(demo.laptop.titles).to_have_text(["missed two", "missed one", "before"])
    await expect(demo.laptop.frames("replay, 2 missed")).to_have_count(1)


async def test_a_mark_made_without_a_network_is_shown_at_once_and_sent_later(demo: Demo) -> None:
    await demo.cut_phone_off_over("one")
    await expect(demo.phone.status).to_contain_text("reconnecting")
    await demo.phone.read("one")
    await expect(demo.phone.status).to_contain_text("1 to send")
    await expect(demo.bell).to_have_accessible_name("Notifications, 1 unread")
    await demo.phone.press("Mend network")
    await demo.phone.connected()
    await expect(demo.bell).to_have_accessible_name("Notifications")


async def test_both_come_back_from_being_cut_off_together(demo: Demo) -> None:
    for device in demo.devices:
        await device.press("Cut network")
        await expect(device.status).to_contain_text("reconnecting")
    await demo.page.get_by_role("button", name="Burst of 20").click()
    await expect(demo.note).to_contain_text("20 sent")
    for device in demo.devices:
        await device.press("Mend network")
        await device.connected()
    await demo.badges("20")
    await expect(demo.note).to_contain_text(re.compile(r"20 sent\. Laptop: \d+ ms, Phone: \d+ ms"))


async def test_a_token_that_expires_is_renewed_on_the_open_socket_and_none_is_shown(demo: Demo) -> None:
    for device in demo.devices:
        await device.press("Expire token")
        await expect(device.frames("expiring")).to_have_count(1)
        await expect(device.frames("refreshed")).to_have_count(2)
        await expect(device.said).to_have_text("Token renewed, on the open socket.")
    await demo.send("afterwards")
    await demo.badges("1")
    for device in demo.devices:
        await expect(device.frames("welcome")).to_have_count(1)
    # At once: a frame that comes in between would move the others.
    await demo.page.evaluate(
        """for (const summary of document.querySelectorAll("details summary"))
             summary.parentElement.open = summary.textContent.includes("token")"""
    )
    await expect(demo.page.locator("details[open] pre", has_text='"token": "…"')).to_have_count(6)
    await expect(demo.page.locator("details[open]")).to_have_count(6)
    assert "eyJ" not in await demo.page.content()


async def test_every_category_has_a_text_of_its_own_and_the_priority_chosen(demo: Demo) -> None:
    for category in CATEGORIES:
        await demo.page.get_by_role("radio", name=category).check()
        await demo.page.get_by_role("button", name="Send", exact=True).click()
        await expect(demo.note).to_contain_text("ms, Phone")
    await demo.page.get_by_role("radio", name="high").check()
    await demo.send("Flooded")
    await demo.badges("8")
    last, *items = (await demo.feed())["items"]
    assert (last["category"], last["priority"], last["data"]["title"]) == ("system.broadcast", "high", "Flooded")
    assert {item["category"]: item["priority"] for item in items} == CATEGORIES
    assert len({item["data"]["title"] for item in items}) == len(CATEGORIES)


async def test_the_product_hears_of_its_order_and_the_notification_leads_to_it(demo: Demo) -> None:
    order = demo.page.locator("#order-1042")
    await expect(order).not_to_contain_text("Shipped")
    await demo.send("Order 1042 has shipped")
    await expect(order).to_contain_text("Shipped")
    await demo.open()
    await demo.laptop.row("Order 1042").locator(".main").click()
    await expect(demo.page.locator("#order-1042:target")).to_be_visible()
    await expect(demo.phone.frames("click")).to_have_count(1)


async def test_another_user_has_another_feed(demo: Demo) -> None:
    await demo.send("mine")
    await demo.badges("1")
    await demo.sign_in(f"other-{demo.user}"[:40])
    await demo.badges("")
    await expect(demo.laptop.frames("entry")).to_have_count(0)


async def test_a_title_with_markup_is_shown_as_text(demo: Demo) -> None:
    await demo.send("<b>bold</b><script>x</script>")
    await demo.inbox_tab.click()
    await demo.open()
    for device in demo.devices:
        await expect(device.titles).to_have_text(["<b>bold</b><script>x</script>"])
        await expect(device.list.locator(".title b")).to_have_count(0)


async def test_a_refused_send_says_why(demo: Demo) -> None:
    await demo.page.get_by_label("Title").evaluate("(field) => field.removeAttribute('required')")
    await demo.page.get_by_label("Title").fill("")
    await demo.page.get_by_role("button", name="Send", exact=True).click()
    await expect(demo.note).to_contain_text(re.compile("Not sent: .*title"))
    # The browser itself logs every 4xx as an error.
    assert [re.search(r"status of (\d+)", problem)[1] for problem in demo.problems] == ["400"]  # type: ignore[index]
    demo.problems.clear()


async def test_the_curl_line_follows_the_panel_and_is_quoted(demo: Demo) -> None:
    await demo.page.get_by_label("Title").fill("it's here")
    curl = await demo.page.locator("#curl").text_content()
    assert curl is not None
    assert "Authorization: Bearer sk_dev" in curl
    shell = await asyncio.create_subprocess_exec("sh", "-c", curl, stdout=-1, stderr=-3)
    assert b"notification_send_result" in (await shell.communicate())[0]
    await demo.badges("1")
    await demo.inbox_tab.click()
    await expect(demo.phone.titles).to_have_text(["it's here"])


async def test_the_snippet_alone_makes_a_bell(demo: Demo) -> None:
    await demo.send("one")
    snippet = await demo.page.locator("#snippet").text_content()
    assert snippet is not None
    assert len(snippet.splitlines()) == 3
    page = await demo.page.context.new_page()
    await page.route("**/elsewhere", lambda route: route.fulfill(body=snippet, content_type="text/html"))
    await page.goto(f"{demo.url}elsewhere")
    await expect(page.locator("notification-bell .badge")).to_have_text("1")
    await page.close()


async def test_a_second_tab_of_the_laptop_uses_the_socket_of_the_first(demo: Demo) -> None:
    page = await demo.page.context.new_page()
    second = Demo(page, demo.url)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await second.visit(demo.user)
    await expect(second.laptop.status).to_have_text("connected, follower")
    assert len(sockets) == 1  # its phone's
    for knob in ("Cut network", "Expire token"):
        await second.laptop.press(knob)
        await expect(second.laptop.said).to_contain_text("another tab’s")
    await second.send("one")
    await second.badges("1")
    await second.agree()
    await page.close()
    assert second.problems == []


async def test_a_token_of_the_page_is_good_for_rest_and_an_impossible_one_is_refused(demo: Demo) -> None:
    async def token(query: str) -> tuple[int, str]:
        answer = await demo.page.request.get(f"{demo.url}demo/token{query}")
        return answer.status, await answer.text()

    status, good = await token("?user=ann&lives_s=40")
    headers = {"x-notiflows-api-key": "pk_dev", "x-notiflows-user-key": good}
    counts = await demo.page.request.get(f"{demo.url}user/v1/channels/inbox/feed/counts", headers=headers)
    assert (status, counts.status) == (200, 200)
    assert (await token("?user=ann&lives_s=0"))[0] == (await token("?user=ann&lives_s=1e9"))[0] == 400
    assert await token("") == (400, "user: '' has 0 characters, at least 1\n")


async def test_the_documents_are_a_click_away(demo: Demo) -> None:
    links = demo.page.get_by_role("navigation", name="Documents").get_by_role("link")
    addresses = await links.evaluate_all("(links) => links.map(({href}) => href)")
    assert f"{demo.url}docs" in addresses
    assert f"{demo.url}openapi.json" in addresses
    for address in addresses:
        assert (await demo.page.request.get(address)).status == 200, address


async def test_light_and_dark_can_be_chosen(demo: Demo) -> None:
    await demo.page.emulate_media(color_scheme="light")
    surface = "getComputedStyle(document.body).backgroundColor"
    light = await demo.page.evaluate(surface)
    await demo.page.get_by_role("button", name="Light or dark").click()
    assert await demo.page.evaluate(surface) != light
    await demo.page.get_by_role("button", name="Light or dark").click()
    assert await demo.page.evaluate(surface) == light


async def test_axe_finds_nothing(demo: Demo, axe: Callable[[Page], Awaitable[list[str]]]) -> None:
    await demo.send("one")
    await demo.badges("1")
    assert await axe(demo.page) == []
    await demo.inbox_tab.click()
    await demo.open()
    await expect(demo.laptop.row("one")).to_be_visible()
    assert await axe(demo.page) == []


async def test_the_page_fits_the_window_and_its_text_can_be_read(
    demo: Demo, picture: Callable[..., Awaitable[None]]
) -> None:
    for category in ("system.broadcast", "order.updated", "chat.mention"):
        await demo.page.get_by_role("radio", name=category).check()
        await demo.page.get_by_role("button", name="Send", exact=True).click()
        await expect(demo.note).to_contain_text("ms, Phone")
    await demo.badges("3")
    await demo.phone.press("Cut network")
    await demo.inbox_tab.click()
    for width, scheme in itertools.product((360, 800, 1440), ("light", "dark")):
        await demo.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        await demo.page.set_viewport_size({"width": width, "height": 900})
        assert await demo.page.evaluate("document.documentElement.scrollWidth") == width
        assert await demo.page.evaluate(FAINT) == [], (width, scheme)
        await picture(demo.page, f"demo-{width}-{scheme}", whole=True)
    await demo.phone.press("Mend network")


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
    await page.unroute_all(behavior="ignoreErrors")
    await page.close()
