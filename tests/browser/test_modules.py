"""The pure modules of the browser client, in the browser: backoff, inbox and protocol; then the socket around them."""

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

JSON = dict[str, Any]
REPOSITORY = Path(__file__).parents[2]
AT = "2026-01-01T00:00:05.000Z"
LATER = "2026-01-01T00:00:06.000Z"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(browser: Browser, modules_url: str) -> AsyncIterator[Page]:
    """One page for all: the pure modules keep nothing between two calls."""
    page = await browser.new_page()
    await page.goto(modules_url)
    yield page
    await page.close()


async def call(page: Page, module: str, expression: str, value: Any = None) -> Any:
    """The value of a JavaScript expression over a module `m` and the given `value`."""
    source = f'async (value) => {{ const m = await import("./static/{module}.js"); return {expression}; }}'
    return await page.evaluate(source, value)


# ---- what the hub says -------------------------------------------------------------------------------


def counts(unseen: int, unread: int, total: int) -> JSON:
    return {"unseen": unseen, "unread": unread, "total": total}


def entry(name: str, second: int = 0, **more: Any) -> JSON:
    times = dict.fromkeys(("seen_at", "read_at", "clicked_at", "archived_at", "dismissed_at"))
    at = f"2026-01-01T00:00:{second:02}.000Z"
    return {"id": name, "data": {"title": name}, "sent_at": at, "status": "unseen", **times, **more}


def event(kind: str, cursor: str, prev: str, tally: JSON | None = None, **more: Any) -> JSON:
    return {
        "type": kind,
        "channel": "inbox",
        "cursor": cursor,
        "prev": prev,
        "counts": tally or counts(9, 9, 9),
        **more,
    }


def arrival(name: str, cursor: str, prev: str, tally: JSON | None = None) -> JSON:
    return event("entry", cursor, prev, tally, entry=entry(name))


def marked(cursor: str, prev: str, ids: list[str], *verbs: str, at: str = AT) -> JSON:
    return event("state", cursor, prev, by=None, verbs=list(verbs), at=at, ids=ids)


def subscribed(mode: str, cursor: str, tally: JSON | None = None, **more: Any) -> JSON:
    head = {"type": "subscribed", "channel": "inbox", "channel_id": "c1", "mode": mode, "cursor": cursor}
    return {**head, "counts": tally or counts(0, 0, 0), **more}


def snapshot(cursor: str, *entries: JSON, tally: JSON | None = None, after: str | None = None, **more: Any) -> JSON:
    page = {"after": after, "before": None, "has_more_after": after is not None, "has_more_before": False, "limit": 20}
    return subscribed("snapshot", cursor, tally, entries=list(entries), page=page, **more)


# ---- backoff -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "luck", "wait"),
    [
        (0, 0, 500),
        (0, 1, 1000),
        (1, 1, 2000),
        (3, 0, 500),
        (3, 0.5, 4250),
        (4, 1, 16_000),
        (5, 1, 20_000),
        (99, 1, 20_000),
    ],
)
async def test_a_wait_lies_between_half_a_second_and_a_ceiling_that_doubles(
    page: Page, attempt: int, luck: float, wait: int
) -> None:
    assert await call(page, "backoff", "m.jitter(value[0], () => value[1], [500, 20_000])", [attempt, luck]) == wait


async def test_every_wait_is_within_the_range_the_hub_gave(page: Page) -> None:
    expression = """(() => {
      const backoff = new m.Backoff(Math.random);
      backoff.range = [100, 3000];
      return Array.from({length: 500}, () => backoff.next(0));
    })()"""
    waits = await call(page, "backoff", expression)
    assert min(waits) >= 100
    assert 2000 < max(waits) <= 3000


@pytest.mark.parametrize(("lasted", "wait"), [(9_999, 8000), (10_000, 1000)])
async def test_only_a_connection_of_ten_seconds_forgets_earlier_failures(page: Page, lasted: int, wait: int) -> None:
    expression = """(() => {
      const backoff = new m.Backoff(() => 1);
      for (let i = 0; i < 3; i++) backoff.next(0);
      backoff.up(1000);
      return backoff.next(1000 + value);
    })()"""
    assert await call(page, "backoff", expression, lasted) == wait


async def test_failures_after_a_long_connection_count_anew(page: Page) -> None:
    expression = """(() => {
      const backoff = new m.Backoff(() => 1);
      backoff.up(0);
      return [10000, 20000, 30000].map((now) => backoff.next(now));
    })()"""
    assert await call(page, "backoff", expression) == [1000, 2000, 4000]


async def test_the_wait_a_hub_asks_for_wins(page: Page) -> None:
    assert await call(page, "backoff", "new m.Backoff(() => 0.5).next(0, [2000, 60000])") == 31_000


# ---- inbox -------------------------------------------------------------------------------------------


async def fold(page: Page, *frames: JSON) -> JSON:
    """The inbox after these frames, with `active`: the names of what a bell would list."""
    expression = """(() => {
      const state = value.reduce((state, frame) => m.apply(state, frame), m.EMPTY);
      return {...state, active: state.entries.filter(m.active).map((entry) => entry.id)};
    })()"""
    return await call(page, "inbox", expression, frames)


def held(state: JSON, name: str) -> JSON:
    return next(entry for entry in state["entries"] if entry["id"] == name)


async def test_events_that_link_move_cursor_counts_and_list(page: Page) -> None:
    state = await fold(
        page, snapshot("0"), arrival("a", "1", "0", counts(1, 1, 1)), arrival("b", "2", "1", counts(2, 2, 2))
    )
    assert state["cursor"] == "2"
    assert state["counts"] == counts(2, 2, 2)
    assert state["active"] == ["b", "a"]
    assert state["gap"] is False


async def test_an_event_at_the_own_cursor_is_ignored(page: Page) -> None:
    state = await fold(page, snapshot("1", entry("a")), arrival("b", "1", "0", counts(5, 5, 5)))
    assert state["active"] == ["a"]
    assert state["counts"] == counts(0, 0, 0)
    assert state["gap"] is False


async def test_an_event_that_does_not_link_is_a_gap_and_changes_nothing_else(page: Page) -> None:
    state = await fold(page, snapshot("1", entry("a")), arrival("c", "3", "2"))
    assert (state["gap"], state["cursor"], state["active"]) == (True, "1", ["a"])


async def test_live_takes_cursor_and_counts_and_keeps_the_list(page: Page) -> None:
    state = await fold(page, snapshot("1", entry("a")), subscribed("live", "1", counts(1, 1, 1)))
    assert (state["cursor"], state["counts"], state["active"]) == ("1", counts(1, 1, 1), ["a"])


async def test_replay_takes_nothing_itself_and_the_missed_events_lead_to_its_end(page: Page) -> None:
    before = [snapshot("1", entry("a"), tally=counts(1, 1, 1)), arrival("x", "9", "8")]
    replay = subscribed("replay", "3", counts(2, 2, 2), missed=2)
    state = await fold(page, *before, replay)
    assert (state["cursor"], state["counts"], state["gap"]) == ("1", counts(1, 1, 1), False)

    missed = [arrival("b", "2", "1", counts(2, 2, 2)), marked("3", "2", ["a"], "seen")]
    state = await fold(page, *before, replay, *missed)
    assert (state["cursor"], state["active"], state["gap"]) == ("3", ["b", "a"], False)
    assert held(state, "a")["status"] == "seen"


async def test_a_snapshot_drops_what_was_held(page: Page) -> None:
    state = await fold(page, snapshot("1", entry("a"), after="p1"), snapshot("7", entry("b"), tally=counts(1, 1, 1)))
    assert (state["cursor"], state["active"], state["after"]) == ("7", ["b"], None)


async def test_an_entry_that_is_held_is_replaced_in_its_place(page: Page) -> None:
    again = event("entry", "2", "1", entry=entry("a", data={"title": "new"}))
    state = await fold(page, snapshot("1", entry("b"), entry("a")), again)
    assert state["active"] == ["b", "a"]
    assert held(state, "a")["data"] == {"title": "new"}


async def test_gone_entries_leave_the_list(page: Page) -> None:
    gone = event("gone", "2", "1", counts(0, 0, 1), ids=["a", "c"], reason="expired")
    state = await fold(page, snapshot("1", entry("c"), entry("b"), entry("a")), gone)
    assert (state["active"], state["counts"]) == (["b"], counts(0, 0, 1))


TIMES = {
    "seen": "seen_at",
    "read": "read_at",
    "click": "clicked_at",
    "archive": "archived_at",
    "dismiss": "dismissed_at",
}


@pytest.mark.parametrize(
    ("verbs", "sets", "status"),
    [
        (["seen"], {"seen_at"}, "seen"),
        (["read"], {"read_at", "seen_at"}, "read"),
        (["click"], {"clicked_at", "read_at", "seen_at"}, "read"),
        (["archive"], {"archived_at"}, "archived"),
        (["dismiss"], {"dismissed_at"}, "dismissed"),
        (["unarchive"], set(), "unseen"),
        (["read", "archive"], {"seen_at", "read_at", "archived_at"}, "archived"),
        (["dismiss", "archive"], {"archived_at", "dismissed_at"}, "dismissed"),
    ],
)
async def test_a_verb_sets_its_times_and_those_it_implies(
    page: Page, verbs: list[str], sets: set[str], status: str
) -> None:
    state = await fold(page, snapshot("1", entry("a")), marked("2", "1", ["a"], *verbs))
    changed = held(state, "a")
    assert {name for name in TIMES.values() if changed[name] == AT} == sets
    assert all(changed[name] is None for name in set(TIMES.values()) - sets)
    assert changed["status"] == status


@pytest.mark.parametrize("verb", TIMES)
async def test_a_time_that_is_set_stays(page: Page, verb: str) -> None:
    state = await fold(
        page,
        snapshot("1", entry("a")),
        marked("2", "1", ["a"], verb),
        marked("3", "2", ["a"], verb, at=LATER),
    )
    assert held(state, "a")[TIMES[verb]] == AT


@pytest.mark.parametrize(
    ("verbs", "active"),
    [
        (["archive"], ["b"]),
        (["archive", "unarchive"], ["b", "a"]),
        (["archive", "unarchive", "archive"], ["b"]),
        (["dismiss"], ["b"]),
        (["dismiss", "unarchive"], ["b"]),
        (["archive", "dismiss", "unarchive"], ["b"]),
        (["read"], ["b", "a"]),
    ],
)
async def test_archived_and_dismissed_entries_leave_the_list_and_only_unarchive_brings_back(
    page: Page, verbs: list[str], active: list[str]
) -> None:
    events = [marked(str(place + 2), str(place + 1), ["a"], verb) for place, verb in enumerate(verbs)]
    state = await fold(page, snapshot("1", entry("b"), entry("a")), *events)
    assert state["active"] == active
    assert state["gap"] is False


@pytest.mark.parametrize(
    ("verbs", "archived_at"), [(["dismiss", "archive"], None), (["archive", "dismiss", "unarchive"], AT)]
)
async def test_archive_and_unarchive_change_nothing_on_a_dismissed_entry(
    page: Page, verbs: list[str], archived_at: str | None
) -> None:
    events = [marked(str(place + 2), str(place + 1), ["a"], verb) for place, verb in enumerate(verbs)]
    state = await fold(page, snapshot("1", entry("a")), *events)
    assert held(state, "a")["archived_at"] == archived_at


async def test_an_unarchived_entry_that_is_not_held_asks_for_a_snapshot(page: Page) -> None:
    state = await fold(page, snapshot("1", entry("b")), marked("2", "1", ["a"], "unarchive"))
    assert (state["gap"], state["cursor"], state["active"]) == (True, None, ["b"])


async def test_other_marks_of_entries_that_are_not_held_are_no_gap(page: Page) -> None:
    state = await fold(page, snapshot("1", entry("b")), marked("2", "1", ["a", "b"], "read"))
    assert (state["gap"], state["cursor"]) == (False, "2")
    assert held(state, "b")["status"] == "read"


async def test_an_older_page_is_added_at_the_end_without_repeating_an_entry(page: Page) -> None:
    older = {
        "type": "page",
        "cursor": "5",
        "counts": counts(9, 9, 9),
        "entries": [entry("b"), entry("a")],
        "page": {"after": None},
    }
    expression = "m.append(m.apply(m.EMPTY, value[0]), value[1])"
    state = await call(page, "inbox", expression, [snapshot("4", entry("c"), entry("b"), after="p4"), older])
    assert [held["id"] for held in state["entries"]] == ["c", "b", "a"]
    assert (state["cursor"], state["counts"], state["after"]) == ("4", counts(0, 0, 0), None)


async def test_apply_changes_nothing_in_place(page: Page) -> None:
    expression = """(() => {
      const first = m.apply(m.EMPTY, value[0]);
      const before = JSON.stringify(first);
      value.slice(1).reduce((state, frame) => m.apply(state, frame), first);
      return JSON.stringify(first) === before;
    })()"""
    frames = [snapshot("1", entry("a")), marked("2", "1", ["a"], "click", "archive"), arrival("b", "3", "2")]
    assert await call(page, "inbox", expression, frames)


# ---- protocol ----------------------------------------------------------------------------------------


class Rules:
    """A `Connection` in the page. Each input gives back the steps it caused."""

    def __init__(self, page: Page, **options: Any) -> None:
        self.page = page
        self.inputs: list[list[Any]] = []
        given = {name: value for name, value in options.items() if value is not None}
        self.options = {"apiKey": "pk_dev", "channel": "inbox", **given}

    async def __call__(self, *inputs: list[Any]) -> list[JSON]:
        """The steps after the last of these inputs; all earlier inputs are run again before it."""
        self.inputs += inputs
        return (await self.run())["steps"]

    async def run(self) -> JSON:
        expression = """(() => {
          const rules = new m.Connection({...value.options, random: () => 0.5});
          let steps = [];
          for (const [input, ...values] of value.inputs) steps = rules[input](...values);
          return {steps: JSON.parse(JSON.stringify(steps)), state: rules.state, inbox: rules.inbox, due: rules.due};
        })()"""
        value = {"options": self.options, "inputs": self.inputs}
        return await call(self.page, "protocol", expression, value)


WELCOME = {
    "type": "welcome",
    "session": "s1",
    "user": "ann",
    "expires_at": None,
    "ping_s": 25,
    "retry_ms": [500, 20_000],
    "limits": {"ids": 500},
}


def sent(steps: list[JSON]) -> list[JSON]:
    return [step["frame"] for step in steps if step["act"] == "send"]


def acts(steps: list[JSON]) -> list[str]:
    return [step["act"] for step in steps]


def live(page: Page, *frames: JSON, **options: Any) -> Rules:
    """A connection that follows an inbox at cursor 1 with the entry `a`, all at time 0; `subscribe` had ref 1."""
    rules = Rules(page, **({"user": "ann"} | options))
    rules.inputs = [["start", 0], *([["token", "t1", 0]] if "user" in options else []), ["open", 0]]
    told = [WELCOME, snapshot("1", entry("a"), tally=counts(1, 1, 1), ref=1), *frames]
    rules.inputs += [["frame", frame, 0] for frame in told]
    return rules


CLOSE_CODES = {
    **dict.fromkeys((1000, 1001, 1004, 1005, 1006, 1011, 1012, 1013, 1014, 1015), True),
    **dict.fromkeys((1002, 1003, 1007, 1008, 1009, 1010), False),
    **dict.fromkeys((3000, 3999, 4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4321, 4499), True),
    **dict.fromkeys((4500, 4501, 4503, 4504, 4700, 4999), False),
}


@pytest.mark.parametrize(("code", "returns"), CLOSE_CODES.items())
async def test_the_close_code_says_whether_to_come_back(page: Page, code: int, returns: bool) -> None:
    rules = live(page)
    steps = await rules(["closed", code, 100])
    state = "reconnecting" if returns else "closed"
    assert {"act": "state", "state": state, "code": code, "reason": ""} in steps
    assert (await rules.run())["due"] == (850 if returns else math.inf)


async def test_auth_comes_first_and_subscribe_does_not_wait_for_welcome(page: Page) -> None:
    rules = Rules(page, user="ann")
    assert acts(await rules(["start", 0])) == ["state", "connect"]
    auth, subscribe = sent(await rules(["open", 10]))
    assert auth == {"type": "auth", "api_key": "pk_dev", "user": "ann"}
    assert subscribe == {"type": "subscribe", "ref": 1, "channel": "inbox"}


async def test_a_token_is_fetched_before_the_socket_opens_and_kept_for_the_next(page: Page) -> None:
    rules = Rules(page)
    assert acts(await rules(["start", 0])) == ["state", "token"]
    assert acts(await rules(["token", "t1", 5])) == ["connect"]
    assert sent(await rules(["open", 10]))[0] == {"type": "auth", "api_key": "pk_dev", "token": "t1"}
    assert acts(await rules(["closed", 1006, 20], ["tick", 2000])) == ["connect"]
    assert sent(await rules(["open", 2010]))[0]["token"] == "t1"


async def test_an_expired_token_is_replaced_before_coming_back(page: Page) -> None:
    rules = live(page, user=None)
    await rules(["closed", 4003, 100])
    assert acts(await rules(["tick", 5000])) == ["token"]
    await rules(["token", "t2", 5010])
    assert sent(await rules(["open", 5020]))[0]["token"] == "t2"


async def test_a_token_that_cannot_be_fetched_is_tried_again_later(page: Page) -> None:
    rules = Rules(page)
    assert await rules(["start", 0], ["tokenFailed", 100]) == [{"act": "state", "state": "reconnecting"}]
    assert (await rules.run())["due"] == 850
    assert acts(await rules(["tick", 850])) == ["token"]


async def test_an_expiring_token_is_refreshed_on_the_same_connection(page: Page) -> None:
    rules = live(page, {"type": "expiring", "expires_at": AT}, user=None)
    assert sent(await rules(["token", "t2", 100])) == [{"type": "refresh", "ref": 2, "token": "t2"}]
    await rules(["frame", {"type": "refreshed", "ref": 2, "expires_at": AT}, 110], ["closed", 1006, 200])
    assert sent(await rules(["tick", 9000], ["open", 9010]))[0]["token"] == "t2"


async def test_a_token_that_is_being_fetched_is_not_asked_for_twice(page: Page) -> None:
    expiring = {"type": "expiring", "expires_at": AT}
    assert await live(page, expiring, user=None)(["frame", expiring, 10]) == []


async def test_a_refused_refresh_is_told_and_the_next_connection_asks_for_another_token(page: Page) -> None:
    rules = live(page, {"type": "expiring", "expires_at": AT}, user=None)
    error = {"type": "error", "ref": 2, "code": "invalid_token", "message": "expired", "temporary": False}
    assert await rules(["token", "t2", 100], ["frame", error, 110]) == [{"act": "error", "error": error}]
    assert acts(await rules(["closed", 1006, 200], ["tick", 9000])) == ["token"]


async def test_a_reconnect_subscribes_with_the_held_cursor(page: Page) -> None:
    rules = live(page, arrival("b", "2", "1"))
    await rules(["closed", 1006, 100], ["tick", 9000])
    assert sent(await rules(["open", 9010]))[1] == {"type": "subscribe", "ref": 2, "channel": "inbox", "cursor": "2"}


async def test_connected_means_that_the_feed_is_followed(page: Page) -> None:
    rules = Rules(page, user="ann")
    assert await rules(["start", 0], ["open", 1], ["frame", WELCOME, 2]) == []
    assert acts(await rules(["frame", snapshot("1", ref=1), 3])) == ["state"]
    assert (await rules.run())["state"] == "connected"


async def test_between_subscribe_and_its_answer_events_and_unasked_snapshots_are_ignored(page: Page) -> None:
    rules = live(page)
    await rules(["closed", 1006, 100], ["tick", 9000], ["open", 9010])
    early = [arrival("b", "2", "1"), arrival("x", "9", "8"), snapshot("9", entry("x"))]
    assert await rules(*(["frame", frame, 9020] for frame in early)) == []
    assert (await rules.run())["inbox"]["cursor"] == "1"

    replay = [subscribed("replay", "2", ref=2, missed=1), arrival("b", "2", "1")]
    await rules(*(["frame", frame, 9030] for frame in replay))
    inbox = (await rules.run())["inbox"]
    assert ([entry["id"] for entry in inbox["entries"]], inbox["cursor"]) == (["b", "a"], "2")


async def test_the_answer_to_an_older_subscribe_is_not_the_one_awaited(page: Page) -> None:
    rules = live(page, arrival("x", "9", "8"))
    assert await rules(["frame", snapshot("5", entry("old"), ref=1), 10]) == []
    await rules(["frame", snapshot("6", entry("new"), ref=2), 20])
    assert (await rules.run())["inbox"]["cursor"] == "6"


async def test_a_stale_answer_to_subscribe_is_ignored(page: Page) -> None:
    assert await live(page)(["frame", snapshot("0", ref=77), 10]) == []


async def test_a_gap_subscribes_again_from_the_own_cursor_once(page: Page) -> None:
    rules = live(page)
    again = {"type": "subscribe", "ref": 2, "channel": "inbox", "cursor": "1"}
    assert sent(await rules(["frame", arrival("x", "9", "8"), 10])) == [again]
    assert await rules(["frame", arrival("y", "10", "9"), 20]) == []


async def test_an_unasked_snapshot_replaces_the_inbox(page: Page) -> None:
    rules = live(page)
    assert await rules(["frame", snapshot("9", entry("z")), 10]) == []
    assert [entry["id"] for entry in (await rules.run())["inbox"]["entries"]] == ["z"]


async def test_a_temporary_refusal_of_subscribe_is_tried_again_and_a_final_one_ends(page: Page) -> None:
    rules = Rules(page, user="ann")
    busy = {"type": "error", "ref": 1, "code": "unavailable", "message": "no", "temporary": True, "retry_ms": 500}
    assert await rules(["start", 0], ["open", 0], ["frame", WELCOME, 0], ["frame", busy, 0]) == []
    due = (await rules.run())["due"]
    assert 500 <= due <= 1000
    assert sent(await rules(["tick", due])) == [{"type": "subscribe", "ref": 2, "channel": "inbox"}]

    unknown = {"type": "error", "ref": 2, "code": "not_found", "message": "no such channel", "temporary": False}
    steps = await rules(["frame", unknown, due])
    assert {"act": "state", "state": "closed", "code": "not_found", "reason": "no such channel"} in steps
    assert {"act": "error", "error": unknown} in steps
    assert "drop" in acts(steps)


async def test_subscribe_waits_longer_each_time_it_is_refused(page: Page) -> None:
    rules = Rules(page, user="ann")
    rules.inputs = [["start", 0], ["open", 0], ["frame", WELCOME, 0]]
    waits, now = [], 0
    for ref in (1, 2, 3):
        busy = {"type": "error", "ref": ref, "code": "unavailable", "message": "", "temporary": True, "retry_ms": 500}
        await rules(["frame", busy, now])
        due = (await rules.run())["due"]
        waits.append(due - now)
        now = due
        await rules(["tick", now])
    assert waits == [750, 1250, 2250]


# Is anybody there?


async def test_silence_of_the_ping_interval_and_ten_seconds_sends_a_ping(page: Page) -> None:
    rules = live(page, {"type": "pong"})
    assert (await rules.run())["due"] == 35_000
    assert await rules(["tick", 34_999]) == []
    assert await rules(["tick", 35_000]) == [{"act": "send", "frame": {"type": "ping"}}]


async def test_five_more_silent_seconds_drop_the_socket_and_come_back(page: Page) -> None:
    rules = live(page)
    assert await rules(["tick", 35_000], ["tick", 39_999]) == []
    steps = await rules(["tick", 40_000])
    assert "drop" in acts(steps)
    assert {"act": "state", "state": "reconnecting", "code": 1006, "reason": ""} in steps
    assert (await rules.run())["due"] == 40_750


async def test_the_hubs_own_ping_interval_and_waits_are_used(page: Page) -> None:
    rules = live(page, {**WELCOME, "ping_s": 5, "retry_ms": [3000, 9000]})
    assert (await rules.run())["due"] == 15_000
    await rules(["closed", 1006, 100])
    assert (await rules.run())["due"] == 100 + 4500


async def test_a_stable_connection_starts_the_waits_anew(page: Page) -> None:
    rules = Rules(page, user="ann")
    await rules(["start", 0], ["closed", 1006, 0], ["tick", 1000], ["closed", 1006, 1000], ["tick", 9000])
    await rules(["open", 9000], ["frame", WELCOME, 9000], ["closed", 1006, 19_000])
    assert (await rules.run())["due"] == 19_000 + 750


async def test_any_frame_is_a_sign_of_life(page: Page) -> None:
    rules = live(page)
    await rules(["tick", 35_000], ["frame", {"type": "pong"}, 39_999])
    assert await rules(["tick", 74_998]) == []
    assert sent(await rules(["tick", 74_999])) == [{"type": "ping"}]


async def test_a_timer_that_comes_an_hour_late_asks_before_it_gives_up(page: Page) -> None:
    assert await live(page)(["tick", 3_600_000]) == [{"act": "send", "frame": {"type": "ping"}}]


async def test_the_hubs_ping_is_answered(page: Page) -> None:
    assert sent(await live(page)(["frame", {"type": "ping"}, 10])) == [{"type": "pong"}]


async def test_a_socket_that_does_not_open_within_ten_seconds_is_given_up(page: Page) -> None:
    rules = Rules(page, user="ann")
    assert await rules(["start", 0], ["tick", 9_999]) == []
    assert "drop" in acts(await rules(["tick", 10_000]))
    assert (await rules.run())["state"] == "reconnecting"


# Leaving and coming back


async def test_the_delay_of_bye_wins_over_backoff(page: Page) -> None:
    bye = {"type": "bye", "code": 4000, "reason": "draining", "reconnect": True, "delay_ms": [10_000, 30_000]}
    rules = live(page, bye)
    steps = await rules(["closed", 4000, 100])
    assert {"act": "state", "state": "reconnecting", "code": 4000, "reason": "draining"} in steps
    assert (await rules.run())["due"] == 20_100


async def test_what_bye_said_holds_when_the_connection_breaks_without_a_close_frame(page: Page) -> None:
    bye = {"type": "bye", "code": 4503, "reason": "forbidden", "reconnect": False, "delay_ms": [0, 0]}
    steps = await live(page, bye)(["closed", 1006, 100])
    assert {"act": "state", "state": "closed", "code": 4503, "reason": "forbidden"} in steps


async def test_after_bye_a_close_that_never_comes_is_not_waited_for(page: Page) -> None:
    bye = {"type": "bye", "code": 4001, "reason": "slow", "reconnect": True, "delay_ms": [0, 0]}
    rules = live(page, bye)
    assert "drop" in acts(await rules(["tick", 5000]))


async def test_waking_skips_a_wait_unless_the_hub_asked_for_it(page: Page) -> None:
    rules = live(page)
    assert acts(await rules(["closed", 1006, 100], ["wake", 101])) == ["connect"]

    bye = {"type": "bye", "code": 4000, "reason": "draining", "reconnect": True, "delay_ms": [1000, 2000]}
    rules = live(page, bye)
    assert await rules(["closed", 4000, 100], ["wake", 101]) == []
    assert acts(await rules(["start", 102])) == ["connect"]


async def test_stop_drops_the_socket_and_only_start_brings_another(page: Page) -> None:
    rules = live(page)
    assert acts(await rules(["stop", {"code": "closed", "reason": "closed"}])) == ["state", "drop"]
    assert await rules(["wake", 20]) == []
    assert (await rules.run())["due"] == math.inf
    assert await rules(["stop", {"code": "closed", "reason": "closed"}], ["start", 30]) == [
        {"act": "state", "state": "connecting"},
        {"act": "connect"},
    ]
    assert sent(await rules(["open", 40]))[1]["cursor"] == "1"


async def test_after_the_end_nothing_is_heard_and_the_next_start_asks_for_another_token(page: Page) -> None:
    rules = live(page, user=None)
    await rules(["closed", 4501, 10])
    assert await rules(["frame", arrival("b", "2", "1"), 20]) == []
    assert acts(await rules(["start", 30])) == ["state", "token"]


# ---- the socket around the rules ---------------------------------------------------------------------

FAKE_SOCKET = """
globalThis.sockets = [];
globalThis.FakeSocket = class extends EventTarget {
  sent = []; closed = false;
  constructor(url, protocols) { super(); Object.assign(this, {url, protocols}); sockets.push(this); }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.closed = true; }
  open() { this.dispatchEvent(new Event("open")); }
  say(frame) { this.dispatchEvent(new MessageEvent("message", {data: JSON.stringify(frame)})); }
  end(code) { this.dispatchEvent(new CloseEvent("close", {code})); }
};
globalThis.until = async (condition) => { while (!condition()) await new Promise((done) => setTimeout(done, 5)); };
"""


async def client(page: Page, body: str, value: Any = None) -> Any:
    """Run JavaScript over `BellhubClient`, a fake socket and a log of all events."""
    source = f"""async (value) => {{
      const {{ BellhubClient, BellhubError }} = await import("./static/client.js");
      {FAKE_SOCKET}
      const log = [];
      const make = (options) => {{
        const fixed = {{ apiKey: "pk_dev", channel: "inbox", WebSocket: FakeSocket, random: () => 0 }};
        const client = new BellhubClient({{ ...fixed, storage: null, tabs: false, ...options }});
        for (const type of ["state", "frame", "error"])
          client.addEventListener(type, ({{ detail }}) => log.push([type, detail]));
        return client;
      }};
      {body}
    }}"""
    return await page.evaluate(source, value)


async def test_a_token_is_in_the_auth_frame_and_neither_in_the_url_nor_in_an_event(page: Page) -> None:
    result = await client(
        page,
        """const client = make({ getToken: async () => "very-secret" });
        client.connect();
        await until(() => sockets.length === 1);
        sockets[0].open();
        client.close();
        const { url, protocols, sent: [auth] } = sockets[0];
        return {url, protocols, auth, log: JSON.stringify(log)};""",
    )
    assert result["auth"] == {"type": "auth", "api_key": "pk_dev", "token": "very-secret"}
    assert result["url"].startswith("ws://127.0.0.1:")
    assert result["url"].endswith("/ws/v1")
    assert result["protocols"] == ["bellhub.v1.json"]
    assert "very-secret" not in result["log"]
    assert '"token":"…"' in result["log"]


async def test_a_mark_resolves_with_its_ack_and_rejects_with_its_error(page: Page) -> None:
    answer = {"type": "ack", "ref": 2, "channel": "inbox", "cursor": "7", "changed": [], "counts": counts(0, 0, 1)}
    result = await client(
        page,
        """const client = make({ user: "ann" });
        client.connect();
        sockets[0].open();
        sockets[0].say(value.welcome);
        sockets[0].say(value.snapshot);
        const first = client.mark("read", ["a"]);
        sockets[0].say(value.ack);
        const second = client.markAll("seen").catch((error) => error);
        sockets[0].say({type: "error", ref: 3, code: "conflict", message: "unknown cursor", temporary: false});
        const [ack, error] = [await first, await second];
        client.close();
        const late = await client.mark("read", ["a"]).catch((error) => error.message);
        return {ack, error: [error instanceof BellhubError, error.code, error.message], late,
                marks: sockets[0].sent.slice(2), inbox: client.getSnapshot()};""",
        {"welcome": WELCOME, "snapshot": snapshot("7", entry("a"), ref=1), "ack": answer},
    )
    assert result["ack"]["counts"] == counts(0, 0, 1)
    assert result["error"] == [True, "conflict", "unknown cursor"]
    assert [(mark["type"], mark.get("upto")) for mark in result["marks"]] == [("read", None), ("seen", "7")]
    assert result["marks"][0]["op"] != result["marks"][1]["op"]
    assert result["late"] == "closed"
    assert (result["inbox"]["cursor"], result["inbox"]["more"]) == ("7", False)


async def test_a_mark_that_was_stored_before_the_snapshot_hides_nothing_that_came_after(page: Page) -> None:
    """Its answer was lost. It comes again, for an event that does not."""
    ack = {"type": "ack", "ref": 4, "channel": "inbox", "cursor": "2", "changed": ["a"], "replayed": True}
    result = await client(
        page,
        """const client = make({ user: "ann" });
        client.connect();
        sockets[0].open();
        sockets[0].say(value.welcome);
        sockets[0].say(value.before);
        client.mark("archive", ["a"]);
        const [, , mark] = sockets[0].sent;
        sockets[0].end(1006);
        await until(() => sockets.length === 2);
        sockets[1].open();
        sockets[1].say(value.welcome);
        sockets[1].say(value.after);
        const again = sockets[1].sent.at(-1);
        sockets[1].say({ ...value.ack, ref: again.ref, counts: value.after.counts });
        const { entries, counts, pending } = client.getSnapshot();
        client.close();
        return { same: [again.op === mark.op, again.ids], shown: entries.map(({ id }) => id), counts, pending };""",
        {
            "welcome": WELCOME,
            "before": snapshot("1", entry("a"), tally=counts(1, 1, 1), ref=1),
            "after": snapshot("9", entry("a"), tally=counts(1, 1, 1), ref=3),
            "ack": ack,
        },
    )
    assert result == {"same": [True, ["a"]], "shown": ["a"], "counts": counts(1, 1, 1), "pending": 0}


async def test_a_mark_whose_event_comes_before_its_ack_hides_nothing_that_comes_after(page: Page) -> None:
    told = [marked("2", "1", ["a"], "archive"), None, marked("3", "2", ["a"], "unarchive")]
    shown = await client(
        page,
        """const client = make({ user: "ann" });
        client.connect();
        sockets[0].open();
        sockets[0].say(value.welcome);
        sockets[0].say(value.snapshot);
        client.mark("archive", ["a"]);
        const ack = { type: "ack", ref: sockets[0].sent.at(-1).ref, cursor: "2", changed: ["a"] };
        const shown = value.told.map((frame) => {
          sockets[0].say(frame ?? ack);
          return client.getSnapshot().entries.length;
        });
        client.close();
        return shown;""",
        {"welcome": WELCOME, "snapshot": snapshot("1", entry("a"), ref=1), "told": told},
    )
    assert shown == [0, 0, 1]


async def test_a_lost_socket_is_replaced_and_its_late_words_are_not_heard(page: Page) -> None:
    states = await client(
        page,
        """const client = make({ user: "ann" });
        client.connect();
        sockets[0].open();
        sockets[0].say(value.welcome);
        sockets[0].say(value.snapshot);
        sockets[0].end(1006);
        await until(() => sockets.length === 2);
        sockets[0].say({type: "ping"});
        sockets[0].end(4503);
        sockets[1].open();
        sockets[1].say(value.welcome);
        sockets[1].say(value.live);
        const answered = sockets[0].sent.some(({type}) => type === "pong");
        client.close();
        return {answered, cursor: sockets[1].sent[1].cursor, closed: sockets[1].closed,
                states: log.filter(([type]) => type === "state").map(([, {state}]) => state)};""",
        {"welcome": WELCOME, "snapshot": snapshot("7", ref=1), "live": subscribed("live", "7", ref=2)},
    )
    assert states == {
        "answered": False,
        "cursor": "7",
        "closed": True,
        "states": ["connecting", "connected", "reconnecting", "connected", "closed"],
    }


async def test_closing_inside_a_listener_leaves_no_socket_behind(page: Page) -> None:
    result = await client(
        page,
        """const client = make({ user: "ann" });
        client.addEventListener("state", ({ detail }) => detail.state === "connecting" && client.close());
        client.connect();
        return [client.getSnapshot().state, sockets.map(({ closed }) => closed)];""",
    )
    assert result == ["closed", [True]]


async def test_every_listener_hears_events_in_the_order_they_happened(page: Page) -> None:
    states = await client(
        page,
        """const client = make({ user: "ann" }), states = [];
        client.addEventListener("state", ({ detail }) => detail.state === "connecting" && client.close());
        client.addEventListener("state", ({ detail }) => states.push(detail.state));
        client.connect();
        return states;""",
    )
    assert states == ["connecting", "closed"]


@pytest.mark.parametrize(("target", "event"), [("window", "online"), ("document", "visibilitychange")])
async def test_a_client_that_waits_connects_at_once_when_network_or_page_are_back(
    page: Page, target: str, event: str
) -> None:
    sockets = await client(
        page,
        f"""const client = make({{ user: "ann" }});
        client.connect();
        sockets[0].end(1006);
        const before = sockets.length;
        {target}.dispatchEvent(new Event("{event}"));
        const after = sockets.length;
        client.close();
        return [before, after];""",
    )
    assert sockets == [1, 2]


async def test_of_two_users_who_connect_at_once_only_the_one_who_was_there_before_ends(page: Page) -> None:
    """As after a hub's restart: coming back is no signing in, or either would end the other."""
    states = await client(
        page,
        """const url = new URL("ws/v1", location).href.replace("http", "ws");
        const heard = new BroadcastChannel(`bellhub:${url}:pk_dev:inbox`);
        const news = [];
        heard.onmessage = ({ data }) => data.say === "user" && news.push(data.user);
        const greet = (socket) => {
          socket.open();
          socket.say({ ...value.welcome, user: socket.sent[0].user });
          socket.say({ ...value.snapshot, ref: socket.sent.at(-1).ref });
        };
        const [ann, bob] = ["ann", "bob"].map((user) => make({ user, tabs: true }));
        ann.connect();
        await until(() => sockets.length === 1);
        greet(sockets[0]);
        await until(() => news.length === 1);
        sockets[0].end(1006);
        bob.connect();
        await until(() => sockets.length === 3);
        sockets.slice(1).forEach(greet); // neither has heard of the other
        await until(() => ann.getSnapshot().state === "closed");
        new BroadcastChannel(heard.name).postMessage({ say: "user", user: "bob" }); // behind all that the two have said
        await until(() => news.length > 2);
        const states = [ann.getSnapshot().reason.code, bob.getSnapshot().state];
        bob.close();
        return [...states, ...news];""",
        {"welcome": WELCOME, "snapshot": snapshot("1")},
    )
    assert states == ["other_user", "connected", "ann", "bob", "bob"]


async def test_a_token_that_cannot_be_fetched_is_told_and_waited_for(page: Page) -> None:
    result = await client(
        page,
        """let calls = 0;
        const getToken = async () => { if (++calls === 1) throw new Error("no token today"); return "t"; };
        const client = make({ getToken });
        client.connect();
        await until(() => sockets.length === 1);
        client.close();
        return log.filter(([type]) => type === "error").map(([, { error }]) => error.message);""",
    )
    assert result == ["no token today"]


async def test_a_client_needs_a_token_or_a_user(page: Page) -> None:
    with pytest.raises(Exception, match="getToken or user is needed"):
        await client(page, "make({});")


@pytest.mark.parametrize("module", ["backoff", "inbox", "protocol", "outbox"])
async def test_a_pure_module_touches_no_socket_clock_or_page(module: str) -> None:
    source = (REPOSITORY / f"static/{module}.js").read_text()
    code = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("*", "/*", "//")))
    impure = ("WebSocket", "Date.now", "performance", "setTimeout", "document", "window", "Math.random", "await")
    assert [word for word in impure if word in code] == []
