"""`<notification-bell>` and `<notification-inbox>` on a real hub: what is counted, shown, marked and taken back."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from tests.browser.shop import BELL, Opens

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

INBOX = '<notification-inbox api-key="{api_key}" token-endpoint="/token"></notification-inbox>'


# ---- badge, dot, seen --------------------------------------------------------------------------------


async def test_the_badge_counts_what_is_unseen_and_a_dot_is_left_for_what_is_unread(shop: Opens) -> None:
    ann = await shop()
    await ann.named("Notifications")
    await expect(ann.badge).to_be_hidden()
    await ann.send("one", "two", "three")
    await ann.named("Notifications, 3 new")
    await expect(ann.badge).to_have_text("3")
    await ann.open_panel()
    await ann.named("Notifications, 3 unread")
    await expect(ann.badge).to_be_hidden()
    await expect(ann.element.locator(".bell .dot")).to_be_visible()
    await ann.button("Mark 3 read").click()
    await ann.named("Notifications")
    await expect(ann.element.locator(".bell .dot")).to_be_hidden()
    await ann.until_counts(0, 0)


async def test_a_badge_has_a_largest_number(shop: Opens) -> None:
    ann = await shop(attributes='max-badge="2"')
    await ann.send("one", "two")
    await expect(ann.badge).to_have_text("2")
    await ann.send("three")
    await expect(ann.badge).to_have_text("2+")
    await ann.named("Notifications, 3 new")


async def test_opening_clears_the_badge_on_every_device_after_a_moment(shop: Opens) -> None:
    ann, phone = await shop(visit=False), await shop()
    await ann.set_clock()
    await ann.visit()
    await ann.send("one", "two")
    await expect(phone.badge).to_have_text("2")
    await ann.caught_up()
    await ann.stop_clock()
    await ann.open_panel()
    await expect(ann.rows).to_have_count(2)
    await ann.page.clock.run_for(400)
    assert await ann.counts() == (2, 2)
    await ann.page.clock.run_for(1_600)
    await expect(phone.badge).to_be_hidden()
    await ann.until_counts(0, 2)


async def test_a_panel_that_is_closed_at_once_has_shown_nothing(shop: Opens) -> None:
    ann = await shop(visit=False)
    await ann.set_clock()
    await ann.visit()
    await ann.send("one")
    await ann.caught_up()
    await ann.stop_clock()
    await ann.open_panel()
    await ann.page.clock.run_for(400)
    await ann.page.keyboard.press("Escape")
    await ann.page.clock.run_for(2_000)
    await ann.send("two")
    await ann.named("Notifications, 2 new")
    assert await ann.counts() == (2, 2)


async def test_a_hidden_page_shows_nothing(shop: Opens) -> None:
    ann = await shop()
    await ann.hide(True)
    await ann.send("one")
    await ann.open_panel()
    await ann.moment()
    assert await ann.counts() == (1, 1)
    await ann.hide(False)
    await ann.until_counts(0, 1)


async def test_an_inbox_below_the_fold_has_shown_nothing_until_it_is_scrolled_to(shop: Opens) -> None:
    ann = await shop(main=f'<div class="below">{INBOX}</div>')
    await ann.send("one")
    inbox = ann.page.locator("notification-inbox")
    await expect(inbox.locator("li")).to_have_count(1)
    await ann.moment()
    assert await ann.counts() == (1, 1)
    await inbox.scroll_into_view_if_needed()
    await ann.until_counts(0, 1)


async def test_who_reads_the_archive_has_not_seen_what_arrives_meanwhile(shop: Opens) -> None:
    ann = await shop()
    await ann.send("old")
    await ann.open_panel()
    await ann.until_counts(0, 1)
    await ann.find_in_archive("old")
    await ann.send("new")
    await ann.named("Notifications, 1 new")
    await ann.moment()
    assert await ann.counts() == (1, 1)
    await ann.button("All").click()
    await ann.until_counts(0, 1)


async def test_what_was_new_stays_marked_as_new_until_the_panel_is_closed(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await expect(ann.badge).to_have_text("1")
    await ann.open_panel()
    await ann.until_counts(0, 1)
    await ann.send("two")
    await ann.until_counts(0, 2)
    await expect(ann.panel.locator("li.new")).to_have_count(2)
    await ann.page.keyboard.press("Escape")
    await ann.open_panel()
    await expect(ann.rows).to_have_count(2)
    await expect(ann.panel.locator("li.new")).to_have_count(0)


async def test_a_panel_that_is_closed_and_opened_again_at_once_begins_anew(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await ann.open_panel()
    await ann.until_counts(0, 1)
    await ann.button("Archived").click()
    await expect(ann.panel.get_by_text("Nothing is archived")).to_be_visible()
    await ann.element.evaluate("(bell) => { bell.close(); bell.open(); }")
    await expect(ann.titles).to_have_text(["one"])
    await expect(ann.panel.locator("li.new")).to_have_count(0)
    await ann.focus_is_on("one")


# ---- clicks ------------------------------------------------------------------------------------------


async def test_a_click_marks_and_follows_the_link(shop: Opens) -> None:
    ann = await shop()
    [entry] = await ann.send("shipped", url="/orders/1")
    await ann.open_panel()
    await ann.row("shipped").get_by_role("link").click()
    await expect(ann.page).to_have_title("An order")
    await ann.visit()  # a mark that was under way when the page went is sent by the next one
    await ann.until_set(entry, "clicked_at")
    assert await ann.counts() == (0, 0)


async def test_the_page_can_take_a_click_over(shop: Opens) -> None:
    ann = await shop()
    [entry] = await ann.send("shipped", url="/orders/1")
    await ann.page.evaluate(
        """addEventListener("bell-click", (event) => {
          event.preventDefault();
          window.clicked = [event.composed, event.detail.entry.id, event.target.localName];
        })"""
    )
    await ann.open_panel()
    await ann.row("shipped").get_by_role("link").click()
    await expect(ann.panel).to_be_hidden()
    assert await ann.page.evaluate("clicked") == [True, entry, "notification-bell"]
    await ann.until_set(entry, "clicked_at")
    await expect(ann.page).to_have_title("Orders")


async def test_a_click_without_a_link_that_the_page_takes_over_closes_the_panel_too(shop: Opens) -> None:
    ann = await shop()
    [entry] = await ann.send("a dialog of the page")
    await ann.page.evaluate("addEventListener('bell-click', (event) => event.preventDefault())")
    await ann.open_panel()
    await ann.row("a dialog of the page").locator(".main").click()
    await expect(ann.panel).to_be_hidden()
    await ann.until_set(entry, "clicked_at")


@pytest.mark.parametrize("options", [{"button": "middle"}, {"modifiers": ["Control"]}])
async def test_a_link_opens_in_a_new_tab_and_is_marked_all_the_same(shop: Opens, options: dict[str, Any]) -> None:
    ann = await shop()
    [entry] = await ann.send("shipped", url="/orders/1")
    # A router takes over what would leave the page; this does not.
    await ann.page.evaluate("addEventListener('bell-click', (event) => event.preventDefault())")
    await ann.open_panel()
    async with ann.context.expect_page() as opened:
        await ann.row("shipped").get_by_role("link").click(**options)
    await expect(await opened.value).to_have_url(f"{ann.address}/orders/1")
    await ann.until_set(entry, "clicked_at")
    await expect(ann.page).to_have_title("Orders")


async def test_an_entry_without_a_link_is_a_button(shop: Opens) -> None:
    ann = await shop()
    [entry] = await ann.send("nothing behind it")
    await ann.open_panel()
    await ann.row("nothing behind it").get_by_role("button", name="Unread. nothing").click()
    await ann.until_set(entry, "clicked_at")
    await expect(ann.panel).to_be_visible()


async def test_an_entry_that_was_clicked_is_not_marked_again(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await ann.open_panel()
    await ann.focus_is_on("one")
    await ann.element.evaluate(
        """(bell) => {
          window.verbs = [];
          bell.current.addEventListener("frame", ({ detail: { direction, frame } }) => {
            if (direction === "out" && frame.op) verbs.push(frame.type);
          });
        }"""
    )
    for key in ("Enter", "Enter", "I", "e"):
        await ann.page.keyboard.press(key)
    await ann.until("verbs.at(-1) === 'archive'")
    assert [verb for verb in await ann.page.evaluate("verbs") if verb != "seen"] == ["click", "archive"]


async def test_the_context_menu_of_a_link_marks_nothing(shop: Opens) -> None:
    ann = await shop()
    [entry] = await ann.send("shipped", url="/orders/1")
    await ann.open_panel()
    await ann.focus_is_on("shipped")
    await ann.row("shipped").get_by_role("link").click(button="right")
    await ann.page.keyboard.press("Escape")  # of the menu, where there is one
    await ann.element.evaluate("(bell, id) => bell.current.mark('archive', [id])", entry)
    assert (await ann.entry(entry, "archived"))["clicked_at"] is None


async def test_markup_and_scripts_are_shown_as_text(shop: Opens) -> None:
    ann = await shop()
    title = "<b>bold</b><img src=x onerror=alert(1)><script>alert(1)</script>"
    await ann.send(title, body="<i>body</i>")
    await ann.open_panel()
    await expect(ann.titles).to_have_text([title])
    assert await ann.panel.locator("b, i:not(.edge, .skeleton i), img, script, a").count() == 0


async def test_a_title_of_blanks_is_replaced_as_a_missing_one_is(shop: Opens) -> None:
    ann = await shop()
    await ann.send(" \n\u3000", category="orders.late")
    await ann.open_panel()
    await expect(ann.titles).to_have_text(["orders.late"])
    await expect(ann.rows.get_by_role("button", name="Unread. orders.late")).to_be_visible()


async def test_a_picture_that_does_not_load_gives_way_to_initials(shop: Opens) -> None:
    ann = await shop()
    sender = {"id": "u1", "type": "user", "name": "Ada Lovelace", "avatar_url": f"{ann.address}/nobody.png"}
    await ann.send("one", sender=sender)
    await ann.open_panel()
    await expect(ann.rows.locator(".face")).to_have_text("AL")
    ann.forgiven = "404"  # the browser logs it


async def test_a_mark_does_not_make_the_picture_anew_which_would_blink(shop: Opens) -> None:
    ann = await shop()
    sender = {"id": "u1", "type": "user", "name": "Ada Lovelace", "avatar_url": f"{ann.address}/static/icon.svg"}
    await ann.send("one", sender=sender)
    await ann.open_panel()
    picture = await ann.rows.locator("img").element_handle()
    await ann.button("Mark 1 read").click()
    await expect(ann.rows.get_by_text("Unread.")).to_have_count(0)
    assert await picture.evaluate("(image) => image.isConnected")


# ---- marks -------------------------------------------------------------------------------------------


async def test_marking_all_read_spares_what_was_not_shown_yet(shop: Opens) -> None:
    ann = await shop()
    await ann.send_many(20)
    await ann.open_panel()
    await ann.until_counts(0, 20)
    await ann.rows.last.scroll_into_view_if_needed()
    [late] = await ann.send("late")
    await expect(ann.button("1 new")).to_be_visible()
    await ann.button("Mark 20 read").click()
    await ann.until_counts(1, 1)
    assert (await ann.entry(late))["read_at"] is None


async def test_an_archived_entry_can_be_taken_back_with_a_button_or_a_key(shop: Opens) -> None:
    ann, phone = await shop(), await shop()
    await ann.send("one", "two", "three")
    await ann.open_panel()
    await phone.open_panel()
    await expect(phone.rows).to_have_count(3)
    await ann.row("two").hover()
    await ann.button("Archive: two").click()
    for device in (ann, phone):
        await expect(device.titles).to_have_text(["three", "one"])
    await ann.focus_is_on("one")
    await ann.button("Undo").click()
    for device in (ann, phone):
        await expect(device.titles).to_have_text(["three", "two", "one"])
    await ann.focus_is_on("two")
    await ann.page.keyboard.press("e")
    await expect(phone.titles).to_have_text(["three", "one"])
    await ann.page.keyboard.press("z")
    await expect(phone.titles).to_have_text(["three", "two", "one"])
    await expect(ann.button("Undo")).to_be_hidden()


async def test_an_archive_can_be_taken_back_for_seven_seconds(shop: Opens) -> None:
    ann = await shop()
    await ann.set_clock()
    await ann.visit()
    await ann.send("one")
    await ann.open_panel()
    await ann.focus_is_on("one")
    await ann.stop_clock()
    await ann.page.keyboard.press("e")
    await expect(ann.button("Undo")).to_be_visible()
    await ann.page.clock.run_for(6_900)
    await expect(ann.button("Undo")).to_be_visible()
    await ann.button("Undo").hover()
    await ann.page.clock.run_for(10_000)
    await expect(ann.button("Undo")).to_be_visible()  # it is not taken away from under the pointer
    await ann.page.mouse.move(0, 0)
    await ann.page.clock.run_for(7_000)
    await expect(ann.button("Undo")).to_be_hidden()


async def test_a_mark_that_the_hub_refuses_is_undone_and_told(shop: Opens) -> None:
    ann = await shop(visit=False)
    line = await cut(ann.page)
    await ann.visit()
    [entry, _] = await ann.send("one", "two")
    await ann.open_panel()
    await expect(ann.rows).to_have_count(2)
    await line.cut()
    await ann.row("one").get_by_role("button", name="Unread").focus()
    await ann.page.keyboard.press("e")
    await expect(ann.titles).to_have_text(["two"])
    async with ann.hub.http() as http:
        answer = await http.delete(
            f"/v1/messaging/notifications/{entry}", params={"user": ann.user}, headers=ann.hub.producer
        )
    assert answer.is_success
    await line.mend()
    await expect(ann.panel.get_by_text("That did not work")).to_be_visible()
    await ann.until_counts(0, 1)


# ---- lists -------------------------------------------------------------------------------------------


async def test_filters_show_what_is_unread_and_what_is_archived(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two", "three")
    await ann.open_panel()
    await ann.row("three").hover()
    await ann.button("Archive: three").click()
    await ann.row("two").hover()
    await ann.button("Mark read: two").click()

    await ann.button("Unread").and_(ann.panel.locator("[part=filter]")).click()
    await expect(ann.titles).to_have_text(["one"])
    await ann.send("four")
    await expect(ann.titles).to_have_text(["four", "one"])
    await ann.row("one").hover()
    await ann.button("Mark read: one").click()
    await expect(ann.titles).to_have_text(["four"])

    await ann.button("Archived").click()
    await expect(ann.titles).to_have_text(["three"])
    await ann.row("three").hover()
    await ann.button("Move back: three").click()
    await expect(ann.panel.get_by_text("Nothing is archived")).to_be_visible()
    await ann.button("All").click()
    await expect(ann.titles).to_have_text(["four", "three", "two", "one"])


# For each page of the feed: its token, how many rows there are then, and how long script and layout take, ms.
WATCH_PAGES = """(bell) => {
  const rows = () => bell.shadowRoot.querySelectorAll("li").length;
  window.pages = [];
  bell.current.addEventListener("frame", ({ detail: { direction, frame } }) => {
    if (direction === "out" && frame.type === "list") pages.push({ after: frame.after });
    if (direction === "out" || frame.type !== "page") return;
    const page = pages.at(-1), began = performance.now();
    const told = bell.current.subscribe(() => queueMicrotask(() => queueMicrotask(() => {
      told();
      bell.shadowRoot.querySelector(".scroll").scrollHeight;
      Object.assign(page, { rows: rows(), ms: performance.now() - began });
    })));
  });
}"""


async def test_a_thousand_entries_can_be_scrolled_through_in_order_and_none_is_fetched_twice(
    shop: Opens,
) -> None:
    ann = await shop(visit=False)
    await ann.send_many(1000)
    await ann.visit()
    await ann.element.evaluate(WATCH_PAGES)
    await ann.open_panel()
    rows = ann.element.locator("li")
    await expect(rows.first).to_be_in_viewport()
    assert await rows.count() < 100
    await ann.panel.hover()
    async with asyncio.timeout(60):
        while await rows.count() < 100:
            await ann.page.mouse.wheel(0, 5000)
        while await rows.count() < 1000:
            await ann.page.keyboard.press("End")
    await ann.page.mouse.wheel(0, 1_000_000)
    await expect(rows.last).to_be_in_viewport()
    pages = await ann.page.evaluate("pages")
    assert len({page["after"] for page in pages}) == len(pages)
    for ends in pages[:3], pages[-3:]:
        took = ", ".join(f"{page['ms']:.1f} ms for {page['rows']}" for page in ends)
        print(f"rows after a page, and what it took to draw them: {took}")
    await ann.until_counts(0, 1000)
    for key, row in [("Home", rows.first), ("End", rows.last)]:
        await ann.page.keyboard.press(key)
        await expect(row.locator(".main")).to_be_focused()
        await expect(row).to_be_in_viewport()


async def test_what_arrives_while_reading_waits_behind_a_pill(shop: Opens) -> None:
    ann = await shop()
    await ann.send_many(20)
    await ann.open_panel()
    await expect(ann.rows).to_have_count(20)
    row = ann.row(await ann.titles.last.text_content() or "")
    await row.scroll_into_view_if_needed()
    place = await row.bounding_box()
    await ann.send("late", "later")
    await expect(ann.button("2 new")).to_be_visible()
    assert await row.bounding_box() == place
    await ann.moment()
    assert (await ann.counts())[0] == 2  # held back is not shown
    await ann.button("2 new").click()
    await ann.focus_is_on("later")
    await expect(ann.titles.first).to_be_in_viewport()
    await expect(ann.button("2 new")).to_be_hidden()
    await ann.until_counts(0, 22)
    await ann.send("at the top")
    await expect(ann.titles.first).to_have_text("at the top")


# ---- states ------------------------------------------------------------------------------------------


class Line:
    """The way between a page and the hub, which can be cut."""

    def __init__(self) -> None:
        self.open = True
        self.sockets: list[WebSocketRoute] = []

    async def connect(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        if self.open:
            socket.connect_to_server()

    async def cut(self) -> None:
        """What is connected is lost; what connects next hears nothing."""
        self.open = False
        for socket in self.sockets:
            await socket.close(code=4000)
        self.sockets.clear()

    async def mend(self) -> None:
        self.open = True
        for socket in self.sockets:
            await socket.close(code=4000)
        self.sockets.clear()


async def cut(page: Page) -> Line:
    line = Line()
    await page.route_web_socket(re.compile("/ws/v1$"), line.connect)
    return line


class Lists:
    """A hub that lists nothing: it answers with a fault, or, where that is None, not at all. Until it is `mended`."""

    def __init__(self, fault: dict[str, Any] | None) -> None:
        self.fault = fault
        self.mended = False
        self.asked = asyncio.Event()

    def connect(self, socket: WebSocketRoute) -> None:
        hub = socket.connect_to_server()

        def ask(text: str | bytes) -> None:
            frame = json.loads(text)
            if self.mended or frame["type"] != "list":
                return hub.send(text)
            self.asked.set()
            return self.fault and socket.send(json.dumps({"type": "error", "ref": frame["ref"], **self.fault}))

        socket.on_message(ask)


async def test_a_list_that_cannot_be_had_is_told_and_can_be_tried_again(shop: Opens) -> None:
    ann = await shop(visit=False)
    lists = Lists({"code": "internal", "message": "a fault of the hub", "temporary": False})
    await ann.page.route_web_socket(re.compile("/ws/v1$"), lists.connect)
    await ann.set_clock()
    await ann.visit()
    await ann.until("document.querySelector('notification-bell').snapshot.state === 'connected'")
    await ann.open_panel()
    await ann.stop_clock()
    await ann.send("one")
    await expect(ann.rows).to_have_count(1)  # so the hub is heard, and needs not to be asked whether it is there
    await ann.button("Archived").click()
    await ann.page.clock.run_for(100)
    note = ann.panel.get_by_text("That did not work: a fault of the hub")
    await expect(note).to_be_visible()
    await expect(ann.element.locator(".skeleton")).to_be_hidden()
    await ann.page.clock.run_for(10_000)  # longer than other notes stay
    await expect(note).to_be_visible()
    lists.mended = True
    await ann.button("Try again").click()
    await expect(note).to_be_hidden()
    await ann.page.clock.run_for(100)
    await expect(ann.panel.get_by_text("Nothing is archived")).to_be_visible()
    await expect(ann.button("Try again")).to_be_hidden()


async def test_a_list_that_was_asked_for_when_the_client_was_closed_comes_with_the_next_connection(shop: Opens) -> None:
    ann = await shop(visit=False)
    lists = Lists(None)
    await ann.page.route_web_socket(re.compile("/ws/v1$"), lists.connect)
    await ann.visit()
    await ann.named("Notifications")
    await ann.open_panel()
    await ann.button("Archived").click()
    await asyncio.wait_for(lists.asked.wait(), 10)
    await ann.element.evaluate("(bell) => bell.current.close()")
    lists.mended = True
    await ann.button("Try again").click()
    await expect(ann.panel.get_by_text("Nothing is archived")).to_be_visible()


async def test_a_skeleton_is_shown_only_to_those_who_wait(shop: Opens) -> None:
    ann = await shop(visit=False)
    line = await cut(ann.page)
    line.open = False
    await ann.visit()
    await ann.open_panel(at_once=True)
    delays = ann.element.locator(".skeleton").evaluate("(e) => getComputedStyle(e).animationDelay")
    assert await delays == "0.15s"
    await expect(ann.element.locator(".skeleton")).to_be_visible()
    await line.mend()
    await expect(ann.panel.get_by_text("You’re all caught up")).to_be_visible(timeout=30_000)
    await expect(ann.element.locator(".skeleton")).to_be_hidden()


async def test_a_lost_connection_is_told_quietly_and_only_when_it_lasts(shop: Opens) -> None:
    ann = await shop(visit=False)
    line = await cut(ann.page)
    await ann.visit()
    await ann.send("one")
    await ann.open_panel()
    await expect(ann.rows).to_have_count(1)
    away = ann.element.locator("[part=reconnecting]")
    await expect(away).to_be_hidden()
    await line.cut()
    await expect(away).not_to_have_attribute("hidden", "")
    await expect(away).to_be_hidden()
    assert await away.evaluate("(e) => getComputedStyle(e).animationDelay") == "2.5s"
    await expect(ann.bell).to_have_class("bell off")
    assert await ann.bell.locator("slot").evaluate("(e) => getComputedStyle(e).transitionDelay") == "2.5s"
    await expect(away).to_be_visible()
    await expect(ann.rows).to_have_count(1)
    await line.mend()
    await expect(away).to_be_hidden(timeout=30_000)


async def test_a_refusal_is_told_and_can_be_tried_again(shop: Opens) -> None:
    ann = await shop(visit=False)
    ann.html = ann.html.replace(ann.hub.api_key, "pk_of_nobody")
    # People cannot do anything about that. Who made the page can, and is told where they look.
    async with ann.page.expect_console_message(lambda message: "unknown api key" in message.text):
        await ann.visit()
    await ann.open_panel(at_once=True)
    await expect(ann.panel.get_by_text("Notifications can’t be shown")).to_be_visible()
    await expect(ann.button("Try again")).to_be_visible()
    await ann.element.evaluate("(bell, key) => bell.setAttribute('api-key', key)", ann.hub.api_key)
    await expect(ann.panel.get_by_text("You’re all caught up")).to_be_visible()


@pytest.mark.parametrize(
    ("ends", "key", "text"),
    [
        ("bell.getToken = async () => null", "nobody", "Nobody is signed in"),
        ("bell.current.logout()", "signed_out", "You have signed out"),
        ("bell.current.close()", "closed", "Notifications can’t be shown"),
        ("bell.setAttribute('channel', 'unknown')", "not_found", "Notifications can’t be shown (not_found)"),
    ],
)
async def test_why_nothing_is_shown_is_told_in_the_language_of_the_page(
    shop: Opens, ends: str, key: str, text: str
) -> None:
    ann = await shop()
    await ann.named("Notifications")
    await ann.open_panel()
    await ann.element.evaluate(f"(bell) => {{ {ends} }}")
    note = ann.element.locator("[part=note] > span")
    await expect(note).to_have_text(text)
    await ann.element.evaluate("(bell, key) => { bell.strings = {[key]: 'Powód'} }", key)
    await expect(note).to_have_text("Powód")
    ann.over = "the client is closed"


async def test_a_refusal_is_told_by_its_code_in_the_language_of_the_page(shop: Opens) -> None:
    ann = await shop()
    await ann.element.evaluate("(bell) => { bell.strings = {failed: 'Błąd: {error}', not_found: 'nie ma'} }")
    await ann.open_panel()
    await ann.element.evaluate("(bell) => { bell.current.mark('archive', ['nowhere']) }")
    await expect(ann.element.locator("[part=note] > span")).to_have_text("Błąd: nie ma")


# ---- embedding ---------------------------------------------------------------------------------------


async def test_elements_with_the_same_attributes_share_one_socket(shop: Opens) -> None:
    ann = await shop(main=INBOX, visit=False)
    sockets: list[str] = []
    ann.page.on("websocket", lambda socket: sockets.append(socket.url))
    await ann.visit()
    await ann.send("one")
    await expect(ann.page.locator("notification-inbox li")).to_have_count(1)
    await ann.open_panel()
    await expect(ann.rows).to_have_count(1)
    assert len(sockets) == 1


async def test_before_javascript_there_is_a_link(shop: Opens) -> None:
    ann = await shop(java_script_enabled=False)
    await expect(ann.page.get_by_role("link", name="All notifications")).to_be_visible()
    ann.over = "nothing runs on this page"


async def test_what_is_wrong_with_a_bell_without_a_key_is_told_in_the_list_and_in_the_console(shop: Opens) -> None:
    ann = await shop(bell=BELL.replace('api-key="{api_key}"', ""), visit=False)
    async with ann.page.expect_console_message(lambda said: "api_key" in said.text):
        await ann.visit()
    await ann.open_panel(at_once=True)
    await expect(ann.panel.get_by_text("Notifications can’t be shown")).to_be_visible()
    ann.over = "the hub knows no project without a key"


async def test_another_user_is_another_feed_and_the_first_connection_ends(shop: Opens) -> None:
    ann = await shop()
    await ann.send("mine")
    await ann.named("Notifications, 1 new")
    before = await ann.element.evaluate("(bell) => { window.first = bell.current; return first.getSnapshot().state }")
    assert before == "connected"
    await ann.element.evaluate(
        "(bell, token) => { bell.getToken = async () => token }", ann.hub.token(ann.user + "-friend")
    )
    await ann.named("Notifications")
    await ann.page.evaluate(
        """async () => {
          const told = () => new Promise((done) => first.addEventListener("state", done));
          while (first.getSnapshot().state !== "closed") await told();
        }"""
    )


async def test_the_next_user_is_shown_nothing_of_the_one_before(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two")
    await ann.open_panel()
    await ann.row("two").hover()
    await ann.button("Archive: two").click()
    await ann.button("Archived").click()
    await expect(ann.titles).to_have_text(["two"])
    # Every text that the panel shows from now on.
    await ann.element.evaluate(
        """(bell, token) => {
          const panel = bell.shadowRoot.querySelector("#panel");
          window.texts = [];
          new MutationObserver(() => bell.getToken && texts.push(panel.innerText))
            .observe(panel, { subtree: true, childList: true, attributes: true, characterData: true });
          bell.getToken = async () => token;
        }""",
        ann.hub.token(ann.user + "-next"),
    )
    await expect(ann.panel.get_by_text("You’re all caught up")).to_be_visible()
    texts = await ann.page.evaluate("texts")
    assert texts
    assert [text for text in texts if "two" in text or "Undo" in text] == []


async def test_a_page_brings_its_own_client_strings_and_drawing(shop: Opens) -> None:
    ann = await shop(attributes="open")
    await ann.send("one")
    await expect(ann.rows).to_have_count(1)
    await ann.page.evaluate(
        """() => {
          const bell = document.querySelector("notification-bell");
          bell.strings = {heading: "Neues", markAll: "{n} gelesen"};
          bell.renderItem = ({data}) => Object.assign(document.createElement("em"), {textContent: data.title + "!"});
        }"""
    )
    await expect(ann.page.get_by_role("heading", name="Neues")).to_be_visible()
    await expect(ann.page.get_by_role("button", name="1 gelesen")).to_be_visible()
    await expect(ann.page.locator("notification-bell > div em")).to_have_text("one!")
    await expect(ann.page.get_by_role("button", name="Unread. one!")).to_be_visible()
    await ann.page.get_by_role("button", name="Archive: one").focus()
    await ann.page.keyboard.press("Enter")
    await expect(ann.page.locator("notification-bell > div em")).to_have_count(0)


async def test_an_entry_that_the_page_draws_is_clicked_like_any_other(shop: Opens) -> None:
    ann = await shop()
    [entry] = await ann.send("shipped", url="/orders/1")
    await ann.element.evaluate(
        """(bell) => {
          // Lists and names of the page's own, which mean nothing in the bell.
          bell.renderItem = ({ data: { title } }) => {
            const list = document.createElement("ul");
            list.append(Object.assign(document.createElement("li"), { className: "main", textContent: title }));
            return list;
          };
          bell.addEventListener("bell-click", (event) => {
            event.preventDefault();
            window.clicked = event.detail.entry.id;
          });
        }"""
    )
    await ann.open_panel()
    await ann.page.locator("notification-bell > div li").click()
    await expect(ann.panel).to_be_hidden()
    assert await ann.page.evaluate("clicked") == entry
    await ann.until_set(entry, "clicked_at")
    await expect(ann.page).to_have_title("Orders")


async def test_an_entry_that_the_page_fails_to_draw_or_leaves_alone_is_drawn_as_ever(shop: Opens) -> None:
    ann = await shop()
    await ann.send("fails", "left alone", "drawn")
    await ann.element.evaluate(
        """(bell) => {
          bell.renderItem = ({ data: { title } }) => {
            if (title === "fails") throw new Error("it fails");
            return title === "drawn" ? new Text("drawn by the page") : null;
          };
        }"""
    )
    await ann.open_panel()
    await expect(ann.rows).to_have_count(3)
    await expect(ann.titles).to_have_text(["left alone", "fails"])
    await expect(ann.page.locator("notification-bell > div")).to_have_text("drawn by the page")
    assert set(ann.problems) == {"it fails"}
    ann.forgiven = "it fails"


async def test_slots_and_methods(shop: Opens) -> None:
    bell = """<notification-bell api-key="{api_key}" token-endpoint="/token"><b slot="header">Acme</b>
      <p slot="empty">Go outside.</p><a slot="footer" href="/all">See all</a></notification-bell>"""
    ann = await shop(bell=bell)
    await ann.element.evaluate("(bell) => bell.open()")
    for text in ("Acme", "Go outside.", "See all"):
        await expect(ann.page.get_by_text(text)).to_be_visible()
    await expect(ann.element).to_have_attribute("open", "")
    await ann.element.evaluate("(bell) => bell.removeAttribute('open')")
    await expect(ann.panel).to_be_hidden()
    await ann.send("one")
    await ann.named("Notifications, 1 new")
    await ann.element.evaluate("(bell) => bell.markAllRead()")
    await ann.named("Notifications")
    await ann.element.evaluate("(bell) => bell.toggle()")
    await expect(ann.panel).to_be_visible()
    await ann.element.evaluate("(bell) => bell.close()")
    await expect(ann.panel).to_be_hidden()


async def test_a_bell_that_is_moved_is_closed_and_one_made_open_opens_once_it_is_in_the_page(shop: Opens) -> None:
    ann = await shop()
    await ann.open_panel()
    await ann.page.evaluate("document.querySelector('main').append(document.querySelector('notification-bell'))")
    await expect(ann.bell).to_have_attribute("aria-expanded", "false")
    await expect(ann.element).not_to_have_attribute("open", "")
    await ann.open_panel()
    await expect(ann.element).to_have_attribute("open", "")
    await ann.page.evaluate(
        """async () => {
          const closed = document.querySelector("notification-bell");
          closed.remove();
          const bell = closed.cloneNode();
          bell.setAttribute("open", "");
          await 0; // by then it has heard of its attribute
          document.querySelector("main").append(bell);
        }"""
    )
    await expect(ann.panel).to_be_visible()


async def test_open_can_be_set_as_a_property_before_and_after_the_element_is_known(shop: Opens) -> None:
    """Frameworks do so with an attribute when the element has a property of its name."""
    ann = await shop(visit=False)
    ann.html = ann.html.replace('<script type="module" src="/static/bell.js"></script>', "")
    await ann.visit()
    await ann.page.evaluate(
        """async () => {
          document.querySelector("notification-bell").open = true;
          await import("/static/bell.js");
        }"""
    )
    await expect(ann.panel).to_be_visible()
    await ann.element.evaluate("(bell) => { bell.open = false }")
    await expect(ann.panel).to_be_hidden()
    await ann.element.evaluate("(bell) => bell.open()")
    await expect(ann.panel).to_be_visible()


async def test_keys_that_mean_something_in_the_list_mean_nothing_else_to_the_page(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await ann.open_panel()
    await ann.focus_is_on("one")
    await ann.page.evaluate("window.keys = []; document.addEventListener('keydown', ({key}) => keys.push(key)); 0")
    for key in ("x", "j", "e", "z", "Control+e"):
        await ann.page.keyboard.press(key)
    await ann.focus_is_on("one")
    await expect(ann.rows).to_have_count(1)
    assert await ann.page.evaluate("keys") == ["x", "Control", "e"]


async def test_an_element_takes_the_focus_like_any_other(shop: Opens) -> None:
    ann = await shop(main=INBOX)
    await ann.send("one")
    await expect(ann.page.locator("notification-inbox li")).to_have_count(1)
    await ann.element.evaluate("(bell) => bell.focus()")
    await expect(ann.bell).to_be_focused()
    await ann.page.locator("notification-inbox").evaluate("(inbox) => inbox.focus()")
    await expect(ann.page.locator("notification-inbox .main")).to_be_focused()


async def test_a_bell_in_a_shadow_tree_speaks_the_language_of_the_page(shop: Opens) -> None:
    ann = await shop(lang="pl", locale="en-US", main=INBOX)
    await ann.page.evaluate(
        """() => {
          const bell = document.querySelector("notification-bell");
          const header = document.createElement("div");
          bell.replaceWith(header);
          header.attachShadow({ mode: "open" }).append(bell.cloneNode(true));
        }"""
    )
    await ann.send("jeden")
    await ann.open_panel()
    await expect(ann.rows.locator("time")).to_have_text("teraz")
    await ann.page.keyboard.press("Escape")
    await expect(ann.bell).to_be_focused()


async def test_what_a_header_says_of_its_texts_is_not_meant_for_the_panel(shop: Opens) -> None:
    ann = await shop(bell=f"<div id='shouts'>{BELL}</div>")
    await ann.page.evaluate(
        """Object.assign(document.querySelector("#shouts").style, {whiteSpace: "nowrap", textTransform: "uppercase",
          textAlign: "center", letterSpacing: ".3em", fontStyle: "italic", fontFamily: "monospace"})"""
    )
    await ann.send("long " * 50)
    await ann.open_panel()
    title = ann.titles.first
    for name, value in {"text-transform": "none", "letter-spacing": "normal", "font-style": "normal"}.items():
        await expect(title).to_have_css(name, value)
    await expect(title).to_have_css("font-family", "monospace")
    assert await title.evaluate("(title) => title.scrollWidth <= title.clientWidth")


@pytest.mark.parametrize(
    ("placement", "direction", "edges"),
    [("bottom-end", "ltr", ("right",)), ("bottom-start", "ltr", ("left",)), ("bottom-start", "rtl", ("right",))],
)
async def test_a_panel_is_put_beside_its_bell(shop: Opens, placement: str, direction: str, edges: tuple[str]) -> None:
    ann = await shop(
        attributes=f'placement="{placement}"', direction=direction, viewport={"width": 1200, "height": 700}
    )
    await ann.page.add_style_tag(url="/shop.css")
    await ann.page.evaluate("document.querySelector('header').style.padding = '1rem 30rem'")
    await ann.open_panel()
    rects = await ann.element.evaluate(
        """(bell) => [bell.shadowRoot.querySelector(".bell"), bell.shadowRoot.querySelector(".panel")]
          .map((element) => element.getBoundingClientRect().toJSON())"""
    )
    assert rects[1]["top"] >= rects[0]["bottom"]
    for edge in edges:
        assert abs(rects[0][edge] - rects[1][edge]) < 2


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_a_panel_of_a_bell_at_the_near_edge_is_in_sight(shop: Opens, direction: str) -> None:
    ann = await shop(direction=direction)
    await ann.page.evaluate(
        "Object.assign(document.querySelector('header').style, {position: 'fixed', width: '4rem', flexFlow: 'column'})"
    )
    await ann.open_panel()
    await expect(ann.panel).to_be_in_viewport(ratio=1)


async def test_a_panel_opens_upwards_where_there_is_no_room_below(shop: Opens) -> None:
    ann = await shop()
    await ann.page.evaluate(
        "Object.assign(document.querySelector('header').style, {position: 'fixed', bottom: 0, width: '100%'})"
    )
    await ann.open_panel()
    rects = await ann.element.evaluate(
        """(bell) => [bell.shadowRoot.querySelector(".bell"), bell.shadowRoot.querySelector(".panel")]
          .map((element) => element.getBoundingClientRect().toJSON())"""
    )
    assert 0 <= rects[1]["top"] < rects[1]["bottom"] <= rects[0]["top"]


# ---- pictures ----------------------------------------------------------------------------------------

STORY: list[tuple[str, dict[str, Any]]] = [
    ("Weekly report is ready", {"body": "Traffic, orders and returns of the week.", "url": "/orders/9"}),
    ("Grace Hopper joined the team", {"sender": {"id": "u2", "type": "user", "name": "Grace Hopper"}}),
    ("Your order has shipped", {"body": "Order 12345 left our warehouse and arrives tomorrow.", "url": "/orders/1"}),
    ("Payment failed", {"body": "The card ending in 4242 was declined.", "url": "/orders/2", "priority": "high"}),
    (
        "Ada Lovelace mentioned you",
        {
            "body": "“Could you look at the second paragraph before we publish?”",
            "url": "/orders/3",
            "sender": {"id": "u1", "type": "user", "name": "Ada Lovelace"},
        },
    ),
]
ARABIC = {"heading": "الإشعارات", "all": "الكل", "unread": "غير مقروء", "archived": "المؤرشفة"}


@pytest.mark.parametrize("look", ["light", "dark", "rtl", "phone"])
async def test_nothing_of_the_panel_is_cut_off(shop: Opens, look: str, picture: Callable[..., Awaitable[None]]) -> None:
    size = {"width": 360, "height": 720} if look == "phone" else {"width": 900, "height": 720}
    rtl = {"direction": "rtl", "lang": "ar"} if look == "rtl" else {}
    scheme = "dark" if look == "dark" else "light"
    ann = await shop(viewport=size, color_scheme=scheme, has_touch=look == "phone", device_scale_factor=2, **rtl)
    for title, fields in STORY:
        await ann.send(title, **fields)
    if rtl:
        await ann.element.evaluate("(bell, strings) => { bell.strings = strings }", ARABIC)
    await expect(ann.badge).to_have_text("5")
    await ann.bell.click()
    await expect(ann.element.locator("li.new")).to_have_count(5)
    await ann.element.locator(".panel").evaluate("(e) => Promise.all(e.getAnimations().map((a) => a.finished))")
    await picture(ann.page, f"bell-{look}")
    wide = await ann.element.evaluate(
        """(bell) => [...bell.shadowRoot.querySelectorAll(".panel, .panel *:not(.hidden)")]
          .filter((element) => element.checkVisibility())
          .map((element) => element.getBoundingClientRect())
          .filter(({left, right}) => left < 0 || right > innerWidth + 0.5).length"""
    )
    assert wide == 0
    # Text of another direction begins in its own way, but at the same edge.
    starts = await ann.element.locator("li").first.evaluate(
        """(row, side) => [...row.querySelectorAll(".title, time")].map((element) => {
          const text = new Range();
          text.selectNodeContents(element);
          return Math.round(text.getBoundingClientRect()[side]);
        })""",
        "right" if rtl else "left",
    )
    assert len(set(starts)) == 1
