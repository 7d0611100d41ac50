"""`<notification-toasts>`, the count in the title and desktop notifications, on a real hub and in many tabs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from tests.browser.conftest import ARGUMENTS, chromium
from tests.browser.shop import BELL, Opens, Shop, close
from tests.harness import RunningHub

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

Axe = Callable[[Page], Awaitable[list[str]]]
TOASTS = '<notification-toasts api-key="{api_key}" token-endpoint="/token"></notification-toasts>'
DESKTOP = TOASTS.replace(" api-key", " desktop api-key")
LOOKED_AT = "navigator.locks.query().then(({held}) => held.some(({name}) => name.startsWith('bellhub:visible')))"
# Every notification of the system that a page makes is a real one; it is only written down.
SPY = """window.shown = []; window.Notification = class extends Notification {
  constructor(title, options) { super(title, options); shown.push(this); }
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def shop(shop_hub: RunningHub, browser: Browser, ann: str) -> AsyncIterator[Opens]:
    """Opens shops of one user that no other test knows; `beside`: another tab of that browser."""
    shops: list[Shop] = []

    async def opens(*, beside: Shop | None = None, main: str = TOASTS, desktop: bool = False, **options: Any) -> Shop:
        page = await beside.context.new_page() if beside else None
        one = await Shop.open(shop_hub, browser, ann, main=DESKTOP if desktop else main, page=page, **options)
        shops.append(one)
        if desktop and not beside:
            await one.context.grant_permissions(["notifications"], origin=one.address)
            await one.context.add_init_script(SPY)
        await one.visit()
        await one.named("Notifications")
        await expect(one.bell).not_to_have_class("bell off")
        await one.until("document.querySelector('notification-bell').snapshot.state === 'connected'")
        return one

    yield opens
    await close(*shops)


async def style(shop: Shop, css: str) -> None:
    await shop.page.evaluate(
        """(css) => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(css);
          document.adoptedStyleSheets.push(sheet);
        }""",
        css,
    )


def toasts(shop: Shop) -> Locator:
    return shop.page.locator("notification-toasts li")


async def until_unseen(shop: Shop, n: int) -> None:
    """The tab has heard of it, whatever it shows."""
    await shop.named(f"Notifications, {n} new")


async def desktop(*tabs: Shop) -> list[str]:
    """What the system was told by tabs that have heard of it, each after all that it does then."""
    after = "navigator.locks.query().then(() => navigator.locks.request('after', () => 0))"
    for tab in tabs:
        await tab.page.evaluate(after)
    return [tag for tab in tabs for tag in await tab.page.evaluate("shown.map(({tag}) => tag)")]


async def stand_still(shop: Shop) -> None:
    """In every tab of this browser no time passes by itself from here on: no toast goes because a test was slow."""
    await shop.set_clock()
    await shop.visit()
    await shop.until("document.querySelector('notification-bell').snapshot.state === 'connected'")
    await shop.stop_clock()


async def hide(*tabs: Shop) -> None:
    """As if another program were in front of all tabs of a browser, and each of them knew."""
    for tab in tabs:
        await tab.hide(True)
    await tabs[0].until(f"{LOOKED_AT}.then((looked) => !looked)")


# ---- toasts ------------------------------------------------------------------------------------------


async def test_what_arrives_is_shown_and_said_and_leaves_the_focus_where_it_is(shop: Opens) -> None:
    ann = await shop()
    await ann.page.locator("#before").focus()
    await ann.send("<b>one</b>")
    await expect(toasts(ann).locator(".title")).to_have_text("<b>one</b>")
    await expect(ann.page.locator("#before")).to_be_focused()
    await expect(ann.page.get_by_role("status")).to_have_text("1 new notification. <b>one</b>")
    assert await ann.counts() == (1, 1)


async def test_at_most_three_are_shown_the_newest_first(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two", "three", "four")
    await until_unseen(ann, 4)
    await expect(toasts(ann).locator(".title")).to_have_text(["four", "three", "two"])


async def test_of_many_at_once_only_the_latest_titles_are_said(shop: Opens) -> None:
    ann = await shop()
    await stand_still(ann)
    await ann.send("one", "two", "three", "four", "five")
    await until_unseen(ann, 5)
    await ann.page.clock.run_for(300)
    await expect(ann.page.get_by_role("status")).to_have_text("5 new notifications. three. four. five")


async def test_a_toast_stays_while_it_is_pointed_at_or_has_the_focus(shop: Opens) -> None:
    left, pointed, focused = await shop(), await shop(), await shop()
    await left.send("one", url="/orders/1")
    for one in (left, pointed, focused):
        await expect(toasts(one)).to_have_count(1)
    await left.page.evaluate("window.since = performance.now()")
    await toasts(pointed).hover()
    await toasts(focused).locator("a").focus()
    await expect(toasts(left)).to_have_count(0)
    assert await left.page.evaluate("performance.now() - since") >= 4000  # it was there before the clock was read
    await left.moment()
    await expect(toasts(pointed)).to_have_count(1)
    await expect(toasts(focused)).to_have_count(1)
    await pointed.page.mouse.move(0, 0)
    await focused.page.locator("#before").focus()
    await expect(toasts(pointed)).to_have_count(0)
    await expect(toasts(focused)).to_have_count(0)
    assert await left.counts() == (1, 1)


async def test_a_toast_that_is_pointed_at_is_pushed_out_by_none(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two", "three")
    await expect(toasts(ann)).to_have_count(3)
    await toasts(ann).last.hover()
    await ann.send("four")
    await expect(toasts(ann).locator(".title")).to_have_text(["four", "three", "one"])


async def test_a_toast_that_is_pointed_at_is_moved_by_none(shop: Opens) -> None:
    ann = await shop()
    await stand_still(ann)
    await ann.send("one", "two", "three")
    await expect(toasts(ann)).to_have_count(3)
    two = toasts(ann).nth(1)
    await two.hover()
    place = await two.bounding_box()
    await ann.send("four")
    await expect(toasts(ann).locator(".title")).to_have_text(["four", "two", "one"])
    assert await toasts(ann).nth(1).bounding_box() == place


async def test_escape_dismisses_toasts_and_marks_nothing(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two")
    await expect(toasts(ann)).to_have_count(2)
    await ann.page.keyboard.press("Escape")
    await expect(toasts(ann)).to_have_count(0)
    assert await ann.counts() == (2, 2)


async def test_a_click_follows_the_link_and_marks_clicked(shop: Opens) -> None:
    ann = await shop()
    [order] = await ann.send("one", url="/orders/1")
    await toasts(ann).get_by_role("link").click()
    await ann.page.wait_for_url("**/orders/1")
    await ann.page.go_back()
    await ann.until_set(order, "clicked_at")


async def test_the_page_may_take_a_click_over_and_the_toast_goes_with_what_was_read(shop: Opens) -> None:
    ann = await shop()
    await ann.page.evaluate(
        "document.addEventListener('bell-click', (e) => (e.preventDefault(), (window.got = e.detail.entry.id)))"
    )
    [order] = await ann.send("one", url="/orders/1")
    await toasts(ann).get_by_role("link").click()
    await expect(toasts(ann)).to_have_count(0)
    assert await ann.page.evaluate("got") == order
    assert ann.page.url.endswith("/shop")


async def test_a_toast_can_be_archived_and_goes_on_every_device(shop: Opens) -> None:
    ann, phone = await shop(), await shop()
    [one] = await ann.send("one")
    await expect(toasts(phone)).to_have_count(1)
    await toasts(ann).hover()
    await toasts(ann).get_by_role("button", name="Archive: one").click()
    await expect(toasts(ann)).to_have_count(0)
    await expect(toasts(phone)).to_have_count(0)
    await ann.until_counts(0, 0)
    assert (await ann.entry(one, "archived"))["archived_at"]


async def test_nothing_pops_up_while_the_panel_is_open_or_the_page_is_hidden(shop: Opens) -> None:
    ann = await shop()
    await ann.hide(True)
    await ann.send("hidden")
    await until_unseen(ann, 1)
    await expect(toasts(ann)).to_have_count(0)
    await ann.hide(False)
    await ann.open_panel()
    await ann.send("open")
    await expect(ann.row("open")).to_be_visible()
    await expect(toasts(ann)).to_have_count(0)
    await ann.page.keyboard.press("Escape")
    await ann.send("shown")
    await expect(toasts(ann).locator(".title")).to_have_text(["shown"])
    await ann.open_panel()
    await expect(toasts(ann)).to_have_count(0)


async def test_an_open_panel_that_the_page_removes_holds_no_toast_back(shop: Opens) -> None:
    ann = await shop()
    await ann.open_panel()
    await ann.send("open")
    await ann.until_counts(0, 1)  # it was looked at
    await ann.element.evaluate("(bell) => bell.remove()")
    await ann.send("removed")
    await expect(toasts(ann).locator(".title")).to_have_text(["removed"])


async def test_nothing_pops_up_while_an_inbox_is_in_sight(shop: Opens) -> None:
    inbox = TOASTS.replace("toasts", "inbox")
    below, ann = await shop(main=f'{TOASTS}<div class="below">{inbox}</div>'), await shop(main=TOASTS + inbox)
    await ann.send("one")
    await expect(toasts(below).locator(".title")).to_have_text(["one"])
    await expect(ann.page.locator("notification-inbox li")).to_have_count(1)
    await below.page.locator("notification-inbox").scroll_into_view_if_needed()
    await expect(toasts(below)).to_have_count(0)
    await expect(toasts(ann)).to_have_count(0)


async def test_the_focus_goes_on_to_the_next_toast_and_from_the_last_one_back(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two", "three")
    await expect(toasts(ann)).to_have_count(3)
    await ann.bell.focus()
    await toasts(ann).get_by_role("button", name="Mark read: two").focus()
    await ann.page.keyboard.press("Tab")
    await expect(toasts(ann).get_by_role("button", name="Archive: two")).to_be_focused()
    await ann.page.keyboard.press("Enter")
    await expect(toasts(ann)).to_have_count(2)
    await expect(toasts(ann).locator(".main").first).to_be_focused()
    await ann.page.keyboard.press("Escape")
    await expect(toasts(ann)).to_have_count(0)
    await expect(ann.bell).to_be_focused()


async def test_toasts_are_above_everything_wherever_their_element_is(shop: Opens) -> None:
    """A header that moves, cuts off or lies below something does so to whatever is fixed in it."""
    ann = await shop(bell=BELL + TOASTS, main="", viewport={"width": 640, "height": 360})
    await style(
        ann,
        """header { position: sticky; top: 0; overflow: hidden; height: 3rem; backdrop-filter: blur(2px); z-index: 1 }
        main { position: relative; z-index: 99999; background: pink; height: 200vh }""",
    )
    await ann.send("one", "two", "the newest", body="text " * 50)
    await expect(toasts(ann)).to_have_count(3)
    title = toasts(ann).locator(".title", has_text="the newest")
    await expect(title).to_be_in_viewport(ratio=1)
    await title.click()  # nothing is over it
    await expect(toasts(ann)).to_have_count(2)


async def test_a_toast_makes_no_page_scroll(shop: Opens) -> None:
    """Not even what is said of it, which nobody sees."""
    ann = await shop(viewport={"width": 360, "height": 640})
    await style(ann, "body { height: 100vh; padding: 0 } h1 { margin: 0 }")
    await ann.send("long " * 50)
    await expect(ann.page.get_by_role("status")).to_contain_text("long long")
    size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    assert await ann.page.evaluate(size) == [360, 640]


async def test_a_page_that_may_keep_nothing_shows_toasts_all_the_same(
    shop_hub: RunningHub, browser: Browser, blocking: BrowserContext, ann: str
) -> None:
    one = await Shop.open(shop_hub, browser, ann, main=DESKTOP, page=await blocking.new_page())
    await one.visit()
    await one.until("document.querySelector('notification-bell').snapshot.state === 'connected'")
    await one.send("one")
    await expect(toasts(one).locator(".title")).to_have_text(["one"])
    await one.hide(True)
    await one.send("two")
    await until_unseen(one, 2)
    await one.hide(False)
    await close(one)  # no promise was rejected that nobody waits for


async def test_axe_finds_nothing_while_toasts_are_shown(shop: Opens, axe: Axe) -> None:
    ann = await shop(main=DESKTOP)
    await ann.page.evaluate(ASKED)
    # In no landmark of the page.
    await ann.page.evaluate("document.body.append(document.querySelector('notification-toasts'))")
    await ann.send("one", "two", body="text", url="/orders/1", priority="high")
    await expect(toasts(ann)).to_have_count(2)
    await toasts(ann).first.hover()
    await expect(ann.page.get_by_role("region", name="2 new notifications")).to_be_visible()
    await expect(ann.page.get_by_role("button", name="Show on desktop")).to_be_visible()
    for scheme in ("light", "dark"):
        await ann.page.emulate_media(color_scheme=scheme)
        assert await axe(ann.page) == []


async def test_a_page_with_toasts_may_enter_the_back_forward_cache_and_goes_on(shop_hub: RunningHub, ann: str) -> None:
    """Open sockets, channels and held locks keep a page out. In a browser of its own, as the client's test."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=list(ARGUMENTS), ignore_default_args=["--disable-back-forward-cache"]
        )
        one = await (await Shop.open(shop_hub, browser, ann, main=DESKTOP)).visit()
        connected = "(({role, state}) => role + state)(document.querySelector('notification-bell').snapshot)"
        await one.until(f"{connected} === 'leaderconnected'")
        await one.until(LOOKED_AT)
        await one.send("one")
        await expect(toasts(one)).to_have_count(1)
        await one.page.evaluate("addEventListener('pageshow', (event) => { window.persisted = event.persisted })")
        await one.page.goto(f"{one.address}/orders/1")
        await one.send("two")
        await one.page.go_back(wait_until="commit")
        await one.until("window.persisted !== undefined")
        assert await one.page.evaluate("persisted") is True
        await until_unseen(one, 2)
        await one.send("three")
        await expect(toasts(one).locator(".title").first).to_have_text("three")
        await one.until(f"{connected} === 'leaderconnected'")
        await one.until(LOOKED_AT)
        await browser.close()


async def test_reduced_motion_is_obeyed(shop: Opens) -> None:
    moving, still = await shop(), await shop(reduced_motion="reduce")
    await moving.send("one")
    for one, name in ((moving, "rise"), (still, "none")):
        await expect(toasts(one)).to_have_css("animation-name", name)


@pytest.mark.parametrize("look", ["light", "dark", "rtl", "phone"])
async def test_toasts_are_inside_the_window_beside_the_edge_where_lines_end(
    shop: Opens, look: str, picture: Callable[..., Awaitable[None]]
) -> None:
    width = 360 if look == "phone" else 900
    ann = await shop(
        viewport={"width": width, "height": 600},
        color_scheme="dark" if look == "dark" else "light",
        has_touch=look == "phone",
        device_scale_factor=2,
        direction="rtl" if look == "rtl" else "ltr",
    )
    await ann.send("Payment failed", body="The card ending in 4242 was declined.", priority="high", url="/orders/2")
    sender = {"id": "u1", "type": "user", "name": "Ada Lovelace"}
    await ann.send("Ada Lovelace mentioned you", body="“Could you look at this before we publish?”", sender=sender)
    await expect(toasts(ann)).to_have_count(2)
    await ann.page.evaluate(
        "Promise.all(document.querySelector('notification-toasts').shadowRoot.getAnimations().map((a) => a.finished))"
    )
    await picture(ann.page, f"toasts-{look}")
    for toast in await toasts(ann).all():
        box = await toast.bounding_box()
        assert box is not None
        left = 16 if look == "rtl" else width - 16 - box["width"]
        assert abs(box["x"] - left) < 1
        assert box["y"] > 0
        assert box["y"] + box["height"] <= 600


# ---- the title ---------------------------------------------------------------------------------------


async def test_the_title_counts_over_changes_of_the_page_and_is_left_as_it_was(shop: Opens) -> None:
    ann = await shop(attributes="title-count", main="")
    await expect(ann.page).to_have_title("Orders")
    await ann.send("one", "two")
    await expect(ann.page).to_have_title("(2) Orders")
    await ann.page.evaluate("document.title = 'Order 7'")
    await expect(ann.page).to_have_title("(2) Order 7")
    await ann.page.evaluate("document.title = document.title + '!'")
    await ann.send("three")
    await expect(ann.page).to_have_title("(3) Order 7!")
    await ann.page.evaluate("document.title = ''")
    await expect(ann.page).to_have_title("(3)")
    await ann.page.evaluate("document.querySelector('title').remove(); document.title = 'Order 8'")
    await expect(ann.page).to_have_title("(3) Order 8")
    await ann.open_panel()
    await ann.until_counts(0, 3)
    await expect(ann.page).to_have_title("Order 8")


async def test_the_title_is_the_pages_own_without_the_attribute_or_the_bell(shop: Opens) -> None:
    ann = await shop(main="")
    await ann.send("one")
    await until_unseen(ann, 1)
    await expect(ann.page).to_have_title("Orders")
    await ann.page.evaluate("document.querySelector('notification-bell').toggleAttribute('title-count')")
    await expect(ann.page).to_have_title("(1) Orders")
    await ann.page.evaluate("window.bell = document.querySelector('notification-bell'); bell.remove()")
    await expect(ann.page).to_have_title("Orders")
    await ann.page.evaluate("document.body.append(bell)")


# ---- desktop notifications ---------------------------------------------------------------------------


async def test_one_tab_of_hidden_ones_tells_the_system_and_none_while_one_is_looked_at(shop: Opens) -> None:
    first = await shop(desktop=True)
    tabs = [first, await shop(beside=first, desktop=True), await shop(beside=first, desktop=True)]
    for tab in tabs[:2]:
        await tab.hide(True)
    await first.send("looked at")
    await expect(toasts(tabs[2])).to_have_count(1)
    for tab in tabs:
        await until_unseen(tab, 1)
    assert await desktop(*tabs) == []
    await hide(*tabs)
    [order] = await first.send("hidden")
    for tab in tabs:
        await until_unseen(tab, 2)
    assert await desktop(*tabs) == [order]
    await tabs[1].hide(False)
    await first.until(LOOKED_AT)
    await first.send("looked at again")
    await expect(toasts(tabs[1]).locator(".title").first).to_have_text("looked at again")
    for tab in tabs:
        await until_unseen(tab, 3)
    assert await desktop(*tabs) == [order]
    await hide(*tabs)
    [last] = await first.send("hidden again")
    for tab in tabs:
        await until_unseen(tab, 4)
    assert sorted(await desktop(*tabs)) == sorted([order, last])


async def test_a_tab_with_desktop_notifications_tells_the_system_whichever_tab_has_the_socket(shop: Opens) -> None:
    leader = await shop(desktop=True)
    follower = await shop(beside=leader, desktop=True)
    await leader.page.evaluate("document.querySelector('notification-toasts').remove()")
    await hide(leader, follower)
    [order] = await leader.send("one")
    for tab in (leader, follower):
        await until_unseen(tab, 1)
    assert await desktop(leader) == []
    assert await desktop(follower) == [order]


async def test_the_system_is_told_of_a_few_of_many_that_come_at_once_however_many_tabs(shop: Opens) -> None:
    first = await shop(desktop=True)
    await first.set_clock()  # of every tab of this browser
    await first.visit()
    tabs = [first, await shop(beside=first, desktop=True)]
    for tab in tabs:
        await tab.until("document.querySelector('notification-bell').snapshot.state === 'connected'")
    await first.stop_clock()
    await hide(*tabs)
    sent = await first.send(*(f"number {number}" for number in range(8)))
    for tab in tabs:
        await until_unseen(tab, 8)
    assert sorted(await desktop(*tabs)) == sorted(sent[:3])
    await first.page.clock.run_for(7_000)
    [late] = await first.send("late")
    for tab in tabs:
        await until_unseen(tab, 9)
    assert sorted(await desktop(*tabs)) == sorted([*sent[:3], late])


async def test_a_bell_that_is_looked_at_keeps_the_system_from_being_told(shop: Opens) -> None:
    bell = await shop(desktop=True)
    hidden = await shop(beside=bell, desktop=True)
    hidden.html = hidden.html.replace("notification-toasts", "div")  # of all tabs: it came last
    await bell.visit()
    await hidden.hide(True)
    await hidden.until(LOOKED_AT)
    await hidden.send("one")
    await until_unseen(bell, 1)
    await until_unseen(hidden, 1)
    assert await desktop(hidden) == []


async def test_the_next_leader_goes_on(shop: Opens) -> None:
    first = await shop(desktop=True)
    second = await shop(beside=first, desktop=True)
    await second.hide(True)
    await first.page.close()
    await second.until("document.querySelector('notification-bell').snapshot.role === 'leader'")
    await second.until("document.querySelector('notification-bell').snapshot.state === 'connected'")
    [order] = await second.send("one")
    await second.until("shown.length > 0")
    assert await desktop(second) == [order]


async def test_a_click_on_it_brings_the_page_forward_marks_clicked_and_leads_there(shop: Opens) -> None:
    ann = await shop(desktop=True)
    await ann.page.evaluate("void (window.focus = () => sessionStorage.setItem('focused', 'yes'))")
    await ann.hide(True)
    [order] = await ann.send("one", body="two", url="/orders/1")
    await ann.until("shown.length > 0")
    assert await ann.page.evaluate("[shown[0].title, shown[0].body]") == ["one", "two"]
    await ann.page.evaluate("shown[0].onclick()")
    await ann.page.wait_for_url("**/orders/1")
    assert await ann.page.evaluate("sessionStorage.getItem('focused')") == "yes"
    await ann.page.go_back()
    await ann.until_set(order, "clicked_at")


async def test_the_page_may_take_over_a_click_on_it(shop: Opens) -> None:
    ann = await shop(desktop=True)
    await ann.page.evaluate(
        "document.addEventListener('bell-click', (e) => (e.preventDefault(), (window.got = e.detail.entry.id)))"
    )
    await ann.hide(True)
    [order] = await ann.send("one", url="/orders/1")
    await ann.until("shown.length > 0")
    await ann.page.evaluate("shown[0].onclick()")
    await ann.until_set(order, "clicked_at")
    assert await ann.page.evaluate("got") == order
    assert ann.page.url.endswith("/shop")


async def test_a_clock_that_is_set_back_keeps_nothing_from_being_told(shop: Opens) -> None:
    ann = await shop(desktop=True)
    now = 1_900_000_000
    await ann.page.clock.install(time=now)
    await ann.visit()
    await ann.until("document.querySelector('notification-bell').snapshot.state === 'connected'")
    await ann.send("one")
    await expect(ann.page.get_by_role("status")).to_have_text("1 new notification. one")
    await ann.hide(True)
    await ann.send("two", "three", "four")
    await ann.until("shown.length > 2")
    await ann.hide(False)
    await ann.page.clock.set_system_time(now - 7200)
    await ann.page.clock.run_for(7_000)  # longer than the pause after either
    await ann.send("five")
    await ann.page.clock.run_for(1_000)
    await expect(ann.page.get_by_role("status")).to_have_text("1 new notification. five")
    await ann.hide(True)
    await ann.send("six")
    await ann.until("shown.length > 3")


async def test_the_system_hears_nothing_without_the_attribute(shop: Opens) -> None:
    ann = await shop(desktop=True)
    await ann.page.evaluate("document.querySelector('notification-toasts').toggleAttribute('desktop')")
    await ann.hide(True)
    await ann.send("one")
    await until_unseen(ann, 1)
    await ann.moment()
    assert await desktop(ann) == []


ASKED = """window.asked = 0; Object.defineProperty(Notification, "permission", {get: () => "default"});
Notification.requestPermission = async () => { asked += 1; return "default"; }; null"""


async def test_permission_is_asked_for_only_by_a_click_on_a_control(shop: Opens) -> None:
    ann = await shop(desktop=True)
    await ann.page.evaluate(ASKED)
    await ann.send("one")
    allow = ann.page.get_by_role("button", name="Show on desktop")
    await expect(allow).to_be_visible()
    assert await ann.page.evaluate("asked") == 0
    await allow.click()
    assert await ann.page.evaluate("asked") == 1


async def test_a_browser_without_desktop_notifications_is_fine(shop: Opens) -> None:
    ann = await shop(desktop=True)
    await ann.page.evaluate("delete window.Notification")
    await ann.hide(True)
    await ann.send("one")
    await until_unseen(ann, 1)
    await ann.hide(False)
    await ann.send("two")
    await expect(toasts(ann).locator(".title")).to_have_text(["two"])
