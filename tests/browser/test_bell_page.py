"""What is around a bell: the looks that a page gives it, who is signed in, what entries link to, other tabs."""

import json
import re
from typing import Any

import pytest
from playwright.async_api import Page, Route, WebSocketRoute, expect

from tests.browser.shop import Opens, Shop
from tests.browser.tools import REPOSITORY

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


# ---- looks -------------------------------------------------------------------------------------------

# Each property: a value, and where it shows as what.
PROPERTIES = {
    "--bell-accent": ("rgb(1, 2, 3)", "li .dot", "background-color"),
    "--bell-surface": ("rgb(1, 2, 3)", ".panel", "background-color"),
    "--bell-text": ("rgb(1, 2, 3)", ".panel", "color"),
    "--bell-muted": ("rgb(1, 2, 3)", "[part=item-text]", "color"),
    "--bell-line": ("rgb(1, 2, 3)", ".header", "border-bottom-color"),
    "--bell-hover": ("rgb(1, 2, 3)", "[aria-pressed=true]", "background-color"),
    "--bell-new": ("rgb(1, 2, 3)", "li.new", "background-color"),
    "--bell-badge": ("rgb(1, 2, 3)", ".badge", "background-color"),
    "--bell-badge-text": ("rgb(1, 2, 3)", ".badge", "color"),
    "--bell-radius": ("3px", ".panel", "border-top-left-radius"),
    "--bell-shadow": ("rgb(1, 2, 3) 0px 0px 4px 0px", ".panel", "box-shadow"),
    "--bell-width": ("321px", ".panel", "width"),
    "--bell-height": ("234px", ".panel", "max-height"),
}
STYLE = "([element, name, style]) => getComputedStyle(element.shadowRoot.querySelector(name))[style]"


async def style(ann: Shop, name: str, style: str) -> str:
    element = await ann.element.element_handle()
    return str(await ann.page.evaluate(STYLE, [element, name, style]))


async def test_every_custom_property_has_the_effect_that_the_documents_promise(shop: Opens) -> None:
    documented = re.findall(r"`(--bell-[a-z-]+)`", (REPOSITORY / "docs" / "bell.md").read_text())
    assert sorted(documented) == sorted(PROPERTIES)
    ann = await shop()
    await ann.send("one", body="text")
    await ann.open_panel()
    await expect(ann.rows).to_have_count(1)
    for name, (value, where, what) in PROPERTIES.items():
        assert value not in await style(ann, where, what), name
        # On something around it: the element inherits them.
        await ann.page.evaluate("([name, value]) => document.body.style.setProperty(name, value)", [name, value])
        assert value in await style(ann, where, what), name
        await ann.page.evaluate("(name) => document.body.style.removeProperty(name)", name)


async def test_what_is_new_is_seen_as_new_under_the_pointer_too(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await ann.open_panel()
    row = ann.rows.first
    await expect(row).to_have_css("background-image", "none")
    new = await style(ann, "li.new", "background-color")
    await row.hover()
    await expect(row).not_to_have_css("background-image", "none")
    await expect(row).to_have_css("background-color", new)


async def test_an_archive_can_be_taken_back_on_a_phone_that_lies_on_its_side(shop: Opens) -> None:
    ann = await shop(viewport={"width": 740, "height": 360}, has_touch=True, is_mobile=True, visit=False)
    await ann.set_clock()
    await ann.visit()
    await ann.send("one", "two", "three")
    await ann.open_panel()
    await ann.stop_clock()
    await ann.button("Archive: three").tap()
    await expect(ann.button("Undo")).to_be_in_viewport(ratio=1)
    await ann.button("Undo").tap()
    await expect(ann.titles).to_have_text(["three", "two", "one"])


async def test_a_page_styles_the_parts(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await ann.page.evaluate(
        """() => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(`notification-bell::part(badge) { background-color: rgb(1, 2, 3) }
            notification-bell::part(item-title) { color: rgb(4, 5, 6) }`);
          document.adoptedStyleSheets.push(sheet);
        }"""
    )
    await ann.open_panel()
    await expect(ann.titles).to_have_css("color", "rgb(4, 5, 6)")
    await expect(ann.badge).to_have_css("background-color", "rgb(1, 2, 3)")


@pytest.mark.parametrize(
    ("theme", "system", "dark"),
    [
        ("light", "dark", False),
        ("dark", "light", True),
        ("auto", "dark", True),
        ("auto", "light", False),
        ("", "dark", True),
    ],
)
async def test_the_theme_is_the_attributes_or_else_the_pages(shop: Opens, theme: str, system: str, dark: bool) -> None:
    ann = await shop(attributes=f'theme="{theme}"' if theme else "", color_scheme=system)
    await ann.open_panel()
    red = int((re.findall(r"\d+", await style(ann, ".panel", "background-color")))[0])
    assert (red < 128) is dark


# ---- who is signed in --------------------------------------------------------------------------------


async def test_a_token_may_come_as_json_and_an_endpoint_that_fails_is_asked_again(shop: Opens) -> None:
    ann = await shop(visit=False)
    answers: list[dict[str, Any]] = [
        {"status": 500, "body": "out of order"},
        {"status": 200, "body": json.dumps({"token": ann.hub.token(ann.user)}), "content_type": "application/json"},
    ]

    async def answer(route: Route) -> None:
        await route.fulfill(**answers.pop(0))

    await ann.page.route("**/token", answer)
    await ann.send("one")
    await ann.visit()
    await ann.named("Notifications, 1 new")
    assert answers == []
    ann.forgiven = "500"  # the browser logs it


@pytest.mark.parametrize("status", [204, 401])
async def test_where_nobody_is_signed_in_nothing_is_shown_and_nothing_is_asked_again(shop: Opens, status: int) -> None:
    ann = await shop(visit=False)
    asked = []

    async def answer(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=status)

    await ann.page.route("**/token", answer)
    await ann.page.clock.install()
    await ann.visit()
    await ann.until("document.querySelector('notification-bell').snapshot?.state === 'closed'")
    await ann.page.clock.fast_forward("01:00:00")
    await ann.named("Notifications")
    await expect(ann.badge).to_be_hidden()
    assert len(asked) == 1
    ann.over = "nobody is signed in"
    ann.forgiven = "401"  # the browser logs it


# ---- links -------------------------------------------------------------------------------------------


async def spoil(page: Page) -> None:
    """As if a hub let through what it never does: addresses that run as a script."""

    def connect(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        spoiled = lambda text: str(text).replace("https://bad.example", "javascript:window.harmed=1//")  # noqa: E731
        server.on_message(lambda message: socket.send(spoiled(message)))

    await page.route_web_socket(re.compile("/ws/v1$"), connect)


async def test_an_address_that_would_run_as_a_script_is_no_link_and_no_picture(shop: Opens) -> None:
    ann = await shop(visit=False)
    await spoil(ann.page)
    sender = {"id": "eve", "type": "user", "name": "Eve Adams", "avatar_url": "https://bad.example/eve.png"}
    await ann.send("one", url="https://bad.example/", sender=sender)
    await ann.visit()
    await ann.open_panel()
    await expect(ann.titles).to_have_text(["one"])
    actor, data = await ann.element.evaluate("({ snapshot: { entries: [{ actor, data }] } }) => [actor, data]")
    assert data["action_url"].startswith("javascript:")
    assert actor["avatar"].startswith("javascript:")
    assert await ann.rows.evaluate_all("(rows) => rows[0].querySelectorAll('a, img').length") == 0
    await ann.row("one").locator(".main").click()
    await ann.until_counts(0, 0)
    assert await ann.page.evaluate("window.harmed") is None


# ---- what the hub refuses ----------------------------------------------------------------------------


async def test_a_seen_that_the_hub_refuses_is_told_to_nobody_and_not_sent_again(shop: Opens) -> None:
    ann = await shop(visit=False)
    seen: list[str] = []

    def connect(socket: WebSocketRoute) -> None:
        """As if a hub that lost its latest events did not know the place up to which this page shows the feed."""
        server = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            frame = json.loads(message)
            if frame["type"] == "seen":
                seen.append(frame["upto"])
                frame["upto"] = "9999999999999999-1"
            server.send(json.dumps(frame))

        socket.on_message(pass_on)

    await ann.page.route_web_socket(re.compile("/ws/v1$"), connect)
    await ann.set_clock()
    await ann.visit()
    await ann.element.evaluate(
        """({ current }) => {
          window.refused = [];
          current.addEventListener("refused", ({ detail }) => refused.push(detail.verb));
        }"""
    )
    await ann.stop_clock()
    await ann.send("one")
    await ann.named("Notifications, 1 new")
    await ann.open_panel()
    await ann.focus_is_on("one")
    await ann.page.clock.run_for(600)
    await ann.until("refused[0] === 'seen'")
    await expect(ann.element.locator("[part=note]")).to_be_hidden()
    await ann.named("Notifications, 1 new")
    await ann.page.clock.run_for(10_000)
    await ann.send("two")
    await ann.named("Notifications, 2 new")
    assert len(seen) == 1


# ---- tabs and devices --------------------------------------------------------------------------------


async def test_two_browsers_with_three_tabs_each_never_disagree(shop: Opens) -> None:
    """A mark in any tab, the tab with the socket closed, the network gone: two sockets, six equal bells."""
    browsers: list[list[Shop]] = []
    for _ in range(2):
        first = await shop()
        browsers.append([first] + [await shop(page=await first.context.new_page()) for _ in range(2)])
    (here, *_), (there, *_) = browsers
    everywhere = [tab for tabs in browsers for tab in tabs]
    sent = await here.send("one", "two", "three")
    for tab in everywhere:
        await tab.named("Notifications, 3 new")
    await browsers[1][2].element.evaluate("(bell, id) => bell.current.mark('archive', [id])", sent[0])
    for tab in everywhere:
        await tab.named("Notifications, 2 new")
    await here.context.set_offline(True)
    await here.page.close()
    await here.send("four")
    for tab in browsers[1]:
        await tab.named("Notifications, 3 new")
    await browsers[0][1].element.evaluate("(bell, id) => void bell.current.mark('read', [id])", sent[1])
    await browsers[0][1].named("Notifications, 1 new")
    await here.context.set_offline(False)
    await there.page.close()
    await browsers[1][1].element.evaluate("(bell) => bell.markAllRead()")
    for tab in [*browsers[0][1:], *browsers[1][1:]]:
        await tab.named("Notifications")
    for tab in browsers[0]:
        tab.forgiven = "ERR_INTERNET_DISCONNECTED"  # the browser logs that there was no network
