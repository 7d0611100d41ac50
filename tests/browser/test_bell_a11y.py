"""The bell for everybody: what screen readers are told, every action by keyboard alone, and what axe finds."""

import re
from importlib.resources import files

import pytest
from playwright.async_api import Locator, Route, expect

from tests.browser.shop import Opens, Shop

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()


async def violations(ann: Shop) -> list[str]:
    """What axe finds in all its rules, best practice included."""
    await ann.element.evaluate(
        "(bell) => Promise.all(bell.shadowRoot.getAnimations().map((a) => a.finished.catch(() => 0)))"
    )
    await ann.page.evaluate(f"globalThis.axe ?? (() => {{ {AXE} }})()")
    found = await ann.page.evaluate("axe.run(document)")
    assert len(found["passes"]) > 10
    return [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_any_state(shop: Opens, scheme: str) -> None:
    ann = await shop(color_scheme=scheme)
    assert await violations(ann) == []
    await ann.open_panel()
    await expect(ann.panel.get_by_text("You’re all caught up")).to_be_visible()
    assert await violations(ann) == []
    await ann.send("one", "two", priority="high", body="text", url="/orders/1")
    await expect(ann.rows).to_have_count(2)
    assert await violations(ann) == []
    await ann.page.keyboard.press("ArrowDown")
    await ann.page.keyboard.press("e")
    await expect(ann.button("Undo")).to_be_visible()
    assert await violations(ann) == []
    await ann.button("Archived").click()
    await expect(ann.rows).to_have_count(1)
    assert await violations(ann) == []
    await ann.element.evaluate("(bell) => bell.setAttribute('api-key', 'pk_of_nobody')")
    await expect(ann.button("Try again")).to_be_visible()
    assert await violations(ann) == []
    await ann.element.evaluate("(bell, key) => bell.setAttribute('api-key', key)", ann.hub.api_key)


async def test_the_bell_is_a_button_to_a_dialog_with_a_heading_a_toolbar_and_a_list(shop: Opens) -> None:
    ann = await shop()
    await ann.send("shipped", url="/orders/1")
    await ann.named("Notifications, 1 new")
    bell = ann.page.get_by_role("button", name="Notifications, 1 new")
    await expect(bell).to_have_attribute("aria-haspopup", "dialog")
    await expect(bell).to_have_attribute("aria-expanded", "false")
    await expect(ann.badge).to_have_attribute("aria-hidden", "true")  # the name says it
    await bell.click()
    await expect(ann.bell).to_have_attribute("aria-expanded", "true")
    await expect(ann.panel.get_by_role("heading", name="Notifications", level=2)).to_be_visible()
    await expect(ann.panel.get_by_role("toolbar", name="Filter").get_by_role("button", pressed=True)).to_have_text(
        "All"
    )
    link = ann.panel.get_by_role("list", name="Notifications").get_by_role("listitem").get_by_role("link")
    await expect(link).to_have_accessible_name(re.compile("^Unread. shipped"))
    assert await link.locator("button").count() == 0
    await expect(ann.button("Archive: shipped")).to_be_attached()


async def tab_to(ann: Shop, target: Locator) -> None:
    """Backwards: what is above the list comes before it."""
    for _ in range(8):
        await ann.page.keyboard.press("Shift+Tab")
        if await target.evaluate("(element) => element.matches(':focus')"):
            return
    await expect(target).to_be_focused()


async def test_every_action_can_be_done_with_the_keyboard_alone(shop: Opens) -> None:
    ann = await shop()
    press = ann.page.keyboard.press
    for title in ("one", "two", "three", "four"):
        await ann.send(title, url=f"/orders/{title}")
    await ann.named("Notifications, 4 new")
    await ann.page.locator("#before").focus()
    await press("Tab")
    await expect(ann.bell).to_be_focused()
    await press("Enter")
    await ann.focus_is_on("four")
    for key, title in [
        ("ArrowDown", "three"),
        ("j", "two"),
        ("k", "three"),
        ("ArrowUp", "four"),
        ("ArrowUp", "four"),
        ("End", "one"),
        ("ArrowDown", "one"),
        ("Home", "four"),
    ]:
        await press(key)
        await ann.focus_is_on(title)

    await press("Shift+I")
    await expect(ann.row("four")).not_to_have_class(re.compile("unread"))
    await ann.until_counts(0, 3)
    await press("e")
    await ann.focus_is_on("three")
    await ann.until_counts(0, 3)
    await press("z")
    await ann.focus_is_on("four")
    await press("Shift+A")
    await ann.until_counts(0, 0)

    await press("Tab")  # to the buttons of this row only
    await expect(ann.button("Archive: four")).to_be_focused()
    await press("Enter")
    await ann.focus_is_on("three")
    await expect(ann.rows).to_have_count(3)

    await tab_to(ann, ann.button("All"))
    await press("ArrowRight")
    await press("ArrowRight")
    await press("Enter")
    await expect(ann.titles).to_have_text(["four"])
    await press("ArrowDown")
    await ann.focus_is_on("four")
    await press("e")
    await expect(ann.rows).to_have_count(0)
    await expect(ann.panel.get_by_role("heading")).to_be_focused()
    await press("Escape")
    await expect(ann.panel).to_be_hidden()
    await expect(ann.bell).to_be_focused()

    await press("Space")
    await ann.focus_is_on("four")
    await press("Enter")
    await expect(ann.page).to_have_title("An order")
    await ann.visit()


async def test_among_archived_entries_no_key_marks_all_read_as_no_button_does(shop: Opens) -> None:
    ann = await shop()
    await ann.send("kept")
    await ann.send("archived")
    await ann.open_panel()
    await ann.until_counts(0, 2)
    await ann.find_in_archive("archived")
    await ann.page.keyboard.press("ArrowDown")
    await ann.focus_is_on("archived")
    await ann.page.keyboard.press("Shift+A")
    await ann.page.keyboard.press("e")  # later than all that the other key may have marked
    await expect(ann.rows).to_have_count(0)
    await ann.until_counts(0, 2)


async def test_the_pill_and_an_undo_are_reached_with_the_keyboard(shop: Opens) -> None:
    ann = await shop()
    await ann.send_many(20)
    await ann.open_panel()
    await expect(ann.rows).to_have_count(20)
    await ann.page.keyboard.press("End")
    await expect(ann.titles.last).to_be_in_viewport()
    await ann.send("late")
    await expect(ann.button("1 new")).to_be_visible()
    await tab_to(ann, ann.button("1 new"))
    await ann.page.keyboard.press("Enter")
    await ann.focus_is_on("late")
    await ann.page.keyboard.press("e")
    await expect(ann.row("late")).to_have_count(0)
    for _ in range(4):  # through the buttons of the row, to the note below the list
        await ann.page.keyboard.press("Tab")
        if await ann.button("Undo").evaluate("(element) => element.matches(':focus')"):
            break
    await expect(ann.button("Undo")).to_be_focused()
    await ann.page.keyboard.press("Enter")
    await ann.focus_is_on("late")


async def test_who_signs_in_again_tries_again_with_the_keyboard(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await ann.named("Notifications, 1 new")
    signed_out = True

    async def answer(route: Route) -> None:
        await (route.fulfill(status=204) if signed_out else route.fallback())

    await ann.page.route("**/token", answer)
    await ann.visit()
    await ann.until("document.querySelector('notification-bell').snapshot?.state === 'closed'")
    await ann.page.locator("#before").focus()
    await ann.page.keyboard.press("Tab")
    await ann.page.keyboard.press("Enter")
    await expect(ann.button("Try again")).to_be_visible()
    signed_out = False
    await expect(ann.panel.get_by_role("heading")).to_be_focused()
    for _ in range(6):  # close, filters, and then the note
        await ann.page.keyboard.press("Tab")
        if await ann.button("Try again").evaluate("(element) => element.matches(':focus')"):
            break
    await expect(ann.button("Try again")).to_be_focused()
    await ann.page.keyboard.press("Enter")
    await expect(ann.titles).to_have_text(["one"])


async def test_a_finger_has_44_pixels_for_every_control(shop: Opens) -> None:
    main = '<notification-toasts api-key="{api_key}" token-endpoint="/token"></notification-toasts>'
    ann = await shop(main=main, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    small = """(element) => [...element.shadowRoot.querySelectorAll("a, button")]
      .filter((control) => control.checkVisibility())
      .map((control) => [control.part.value, control.getBoundingClientRect()])
      .filter(([, { width, height }]) => Math.min(width, height) < 43.9).map(([part]) => part)"""
    toasts = ann.page.locator("notification-toasts")
    await ann.send("one", url="/orders/1")
    await ann.named("Notifications, 1 new")
    await ann.send("two", url="/orders/2")  # the first may have been there before the page
    await expect(toasts.locator("li .title").first).to_have_text("two")
    assert await toasts.evaluate(small) == []
    await ann.bell.tap()
    await ann.row("one").get_by_role("button", name="Archive").tap()
    await expect(ann.button("Undo")).to_be_visible()
    assert await ann.element.evaluate(small) == []
    assert await ann.page.evaluate("document.documentElement.scrollWidth") == 360


async def test_after_an_archive_the_focus_goes_on_else_back_else_to_the_heading(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two", "three")
    await ann.named("Notifications, 3 new")
    await ann.open_panel()
    await ann.focus_is_on("three")
    await ann.page.keyboard.press("j")
    await ann.page.keyboard.press("e")
    await ann.focus_is_on("one")
    await ann.page.keyboard.press("e")
    await ann.focus_is_on("three")
    await ann.page.keyboard.press("e")
    await expect(ann.panel.get_by_role("heading")).to_be_focused()


async def test_a_row_that_another_device_archives_takes_no_focus_with_it(shop: Opens) -> None:
    ann, phone = await shop(), await shop()
    await ann.send("one", "two")
    for device in (ann, phone):
        await device.named("Notifications, 2 new")
    for device in (ann, phone):
        await device.open_panel()
        await device.focus_is_on("two")
    await phone.page.keyboard.press("e")
    await ann.focus_is_on("one")
    await ann.send("three")
    await expect(ann.rows).to_have_count(2)
    await ann.focus_is_on("one")


async def test_the_focus_returns_to_the_bell_but_is_not_stolen_from_elsewhere(shop: Opens) -> None:
    ann = await shop()
    await ann.open_panel()
    await ann.button("Close").click()
    await expect(ann.bell).to_be_focused()
    await ann.open_panel()
    await ann.page.locator("#after").click()
    await expect(ann.panel).to_be_hidden()
    await expect(ann.page.locator("#after")).to_be_focused()


async def test_a_panel_that_is_opened_again_begins_with_the_newest(shop: Opens) -> None:
    ann = await shop()
    await ann.send_many(20)
    await ann.open_panel()
    await expect(ann.rows).to_have_count(20)
    await ann.page.keyboard.press("End")
    await expect(ann.titles.last).to_be_in_viewport()
    await ann.page.keyboard.press("Escape")
    await ann.send("new")
    await ann.open_panel()
    await ann.focus_is_on("new")
    await expect(ann.titles.first).to_be_in_viewport()


async def test_tab_out_of_the_panel_closes_it(shop: Opens) -> None:
    ann = await shop()
    await ann.open_panel()
    await ann.button("Archived").focus()
    await ann.page.keyboard.press("Tab")
    await expect(ann.page.locator("#after")).to_be_focused()
    await expect(ann.panel).to_be_hidden()
    await ann.open_panel()
    await ann.button("Close").focus()
    await ann.page.keyboard.press("Shift+Tab")
    await expect(ann.bell).to_be_focused()
    await expect(ann.panel).to_be_visible()


async def test_letters_typed_into_the_pages_own_fields_do_nothing_else(shop: Opens) -> None:
    bell = '<notification-bell api-key="{api_key}" token-endpoint="/token"><input slot="header"></notification-bell>'
    ann = await shop(bell=bell)
    await ann.send("one")
    await ann.named("Notifications, 1 new")
    await ann.open_panel()
    await ann.focus_is_on("one")
    await ann.page.locator("input").focus()
    await ann.page.keyboard.type("ejkzAI")
    await expect(ann.page.locator("input")).to_have_value("ejkzAI")
    await ann.until_counts(0, 1)


async def test_arrivals_are_announced_politely_and_together(shop: Opens) -> None:
    main = '<notification-inbox api-key="{api_key}" token-endpoint="/token"></notification-inbox>'
    ann = await shop(main=main, visit=False)
    await ann.set_clock()
    await ann.visit()
    region = ann.page.locator("body > [role=status]")
    await expect(region).to_have_count(1)  # of all elements of the page, and in the light DOM
    await ann.named("Notifications")
    await ann.stop_clock()
    await ann.send("one", "two", "three")
    await ann.named("Notifications, 3 new")
    await expect(region).to_be_empty()
    await ann.page.clock.run_for(300)
    await expect(region).to_have_text("3 new notifications")
    await ann.send("four")
    await ann.named("Notifications, 4 new")
    await ann.page.clock.run_for(4_900)  # between two there are five seconds of quiet
    await expect(region).to_have_text("3 new notifications")
    await ann.page.clock.run_for(100)
    await expect(region).to_have_text("1 new notification")


async def test_what_is_there_already_is_not_announced_and_nothing_is_in_a_hidden_page(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one")
    await ann.named("Notifications, 1 new")
    await ann.visit()
    await ann.named("Notifications, 1 new")
    await ann.hide(True)
    await ann.send("two")
    await ann.named("Notifications, 2 new")
    await ann.moment()
    await expect(ann.page.locator("body > [role=status]")).to_be_empty()


async def test_an_archive_is_announced_with_its_undo(shop: Opens) -> None:
    ann = await shop(visit=False)
    await ann.send("one", "two", "three")
    await ann.visit()  # by now nothing arrives any more, of which there would be something to say
    await ann.named("Notifications, 3 new")
    await ann.open_panel()
    await ann.focus_is_on("three")
    await ann.page.keyboard.press("e")
    region = ann.page.locator("body > [role=status]")
    await expect(region).to_have_text("Archived. Press Z to undo.")
    said = await region.text_content()
    await ann.focus_is_on("two")
    await ann.page.keyboard.press("e")
    await ann.focus_is_on("one")
    await expect(region).to_have_text("Archived. Press Z to undo.")
    assert await region.text_content() != said  # or nothing would be read out
    await region.evaluate("(region) => region.remove()")  # as a page does that draws itself anew
    await ann.page.keyboard.press("e")
    await expect(region).to_have_text("Archived. Press Z to undo.")


async def test_a_control_that_goes_with_its_click_leaves_the_focus_near_by(shop: Opens) -> None:
    ann = await shop()
    await ann.send("one", "two")
    await ann.open_panel()
    await ann.focus_is_on("two")
    await ann.page.keyboard.press("Tab")
    await expect(ann.button("Mark read: two")).to_be_focused()
    await ann.page.keyboard.press("Enter")
    await expect(ann.button("Mark read: two")).to_be_hidden()
    await ann.focus_is_on("two")
    await ann.button("Mark 1 read").focus()
    await ann.page.keyboard.press("Enter")
    await expect(ann.button("Mark 1 read")).to_be_hidden()
    await expect(ann.panel.get_by_role("heading")).to_be_focused()


async def test_arrows_follow_the_reading_direction(shop: Opens) -> None:
    ann = await shop(direction="rtl")
    await ann.open_panel()
    await ann.button("All").focus()
    await ann.page.keyboard.press("ArrowLeft")
    await expect(ann.button("Unread")).to_be_focused()


async def test_nothing_moves_for_those_who_asked_for_that_and_forced_colours_keep_the_dots(shop: Opens) -> None:
    ann = await shop(reduced_motion="reduce", forced_colors="active")
    await ann.send("one", "two")
    await expect(ann.badge).to_have_text("2")
    await ann.open_panel()
    await expect(ann.rows).to_have_count(2)
    moving = await ann.element.evaluate(
        "(bell) => bell.shadowRoot.getAnimations().map((animation) => animation.animationName)"
    )
    assert set(moving) <= {"appear", "unfold"}  # delays, not movements
    dot = ann.rows.first.locator(".dot")
    assert await dot.evaluate("(dot) => getComputedStyle(dot).backgroundColor") != await ann.panel.evaluate(
        "(panel) => getComputedStyle(panel).backgroundColor"
    )


async def test_where_colours_are_forced_what_has_only_a_background_gets_a_border(shop: Opens) -> None:
    ann = await shop(forced_colors="active")
    await ann.send("one")
    await expect(ann.badge).to_have_css("border-top-style", "solid")
    await ann.open_panel()
    await expect(ann.panel).to_have_css("border-top-style", "solid")
    await expect(ann.button("All")).to_have_css("border-top-style", "solid")
    await expect(ann.button("Archived")).to_have_css("border-top-style", "none")


async def test_who_wants_more_contrast_has_no_lesser_text(shop: Opens) -> None:
    ann = await shop(contrast="more")
    await ann.send("one", body="text")
    await ann.open_panel()
    colours = await ann.rows.first.evaluate(
        "(row) => [...row.querySelectorAll('.title, .text, time')].map((text) => getComputedStyle(text).color)"
    )
    assert len(colours) == 3
    assert len(set(colours)) == 1


async def test_times_and_plurals_are_those_of_the_language(shop: Opens) -> None:
    ann = await shop(lang="pl")
    await ann.send("jeden", "dwa")
    await ann.element.evaluate(
        "(bell) => { bell.strings = {bellNew: {one: '{n} nowe', few: '{n} nowe, few', many: '{n} nowych'}} }"
    )
    await ann.named("2 nowe, few")
    await ann.send("trzy", "cztery", "pięć")
    await ann.named("5 nowych")
    await ann.open_panel()
    time = ann.rows.first.locator("time")
    await expect(time).to_have_text("teraz")
    await expect(time).to_have_attribute("title", re.compile(r"20\d\d.* \d\d:\d\d"))
    await ann.element.evaluate("(bell) => { bell.lang = 'en' }")
    await expect(time).to_have_text("now")


async def test_a_time_that_is_shown_goes_on(shop: Opens) -> None:
    ann = await shop()
    await ann.page.clock.install()
    await ann.visit()
    await ann.send("one")
    await ann.open_panel()
    time = ann.rows.first.locator("time")
    await expect(time).to_have_text("now")
    await ann.page.clock.fast_forward(180_000)
    await expect(time).to_have_text(re.compile("[23] min"))
