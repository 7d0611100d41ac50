"""What the User API says and does about a feed as a whole: counts, mark-all, explain (docs/api.md)."""

import asyncio
import json
import time
from typing import Any

import pytest

from hub.keys import User
from hub.model import START, timestamp
from hub.projects import add_channel
from tests.api.user_api import FEED, Http, Response, details, fields, patch, shown
from tests.conftest import StartHub
from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNTS = ("unseen", "unread", "total")


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


async def counts(http: Http) -> dict[str, Any]:
    answer = await http.get(f"{FEED}/counts")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def mark_all(http: Http, verb: str, **more: Any) -> Response:
    return await http.post(f"{FEED}/mark-all", json={"verb": verb} | more)


async def marked(http: Http, verb: str, **more: Any) -> Any:
    answer = await mark_all(http, verb, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def explained(http: Http, **query: Any) -> Any:
    answer = await http.get(f"{FEED}/explain", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- counts ------------------------------------------------------------------------------------------


async def test_counts_are_those_of_the_list_and_of_the_socket(hub: RunningHub, http: Http, ann: str) -> None:
    ids = [await hub.send(ann) for _ in range(5)]
    await patch(http, ids[0], seen=True)
    await patch(http, ids[1], read=True)
    await patch(http, ids[2], archived=True)
    session = await hub.connect(ann)
    (subscribed,) = [frame for frame in session.frames if frame["type"] == "subscribed"]
    assert await counts(http) == {"unseen": 2, "unread": 3, "total": 4, "cursor": subscribed["cursor"]}
    assert subscribed["counts"] == {"unseen": 2, "unread": 3, "total": 4}
    page = await hub.feed(ann)
    assert (page["total_unseen"], page["total_unread"]) == (2, 3)


async def test_the_counts_of_an_empty_feed_are_zero(http: Http) -> None:
    assert await counts(http) == {"unseen": 0, "unread": 0, "total": 0, "cursor": START}


async def test_every_feed_has_counts_of_its_own(hub: RunningHub, http: Http, ann: str) -> None:
    await hub.change_project(lambda p: add_channel(p, "billing", "in_app", None))
    await hub.send(ann, channel="billing")
    await hub.send(f"bob, {ann}")
    assert (await counts(http))["total"] == 0
    assert (await http.get(f"{FEED}/counts".replace("inbox", "billing"))).json()["total"] == 1


# ---- mark-all ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "left", "status"),
    [
        ("seen", {"unseen": 0, "unread": 3, "total": 3}, "seen"),
        ("read", {"unseen": 0, "unread": 0, "total": 3}, "read"),
        ("archive", {"unseen": 0, "unread": 0, "total": 0}, "archived"),
        ("dismiss", {"unseen": 0, "unread": 0, "total": 0}, "dismissed"),
    ],
)
async def test_mark_all_changes_everything_in_one_event(
    hub: RunningHub, http: Http, verb: str, left: dict[str, int], status: str, ann: str
) -> None:
    """docs/api.md: "everything active that has arrived"."""
    ids = [await hub.send(ann) for _ in range(3)]
    session = await hub.connect(ann)
    answer = await marked(http, verb)
    state = await session.next("state")
    assert answer == {"cursor": state["cursor"], "changed": 3, "counts": left}
    assert (state["verbs"], state["ids"], state["by"], state["counts"]) == ([verb], ids, None, left)
    assert [(await shown(http, entry_id))["status"] for entry_id in ids] == [status] * 3
    again = await marked(http, verb)
    assert again == {"cursor": state["cursor"], "changed": 0, "counts": left}


async def test_mark_all_upto_a_cursor_spares_what_arrived_later(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "what arrived later is spared"."""
    first = await hub.send(ann)
    here = (await counts(http))["cursor"]
    later = await hub.send(ann)
    assert (await marked(http, "read", upto=here))["counts"] == {"unseen": 1, "unread": 1, "total": 2}
    assert [(await shown(http, entry_id))["status"] for entry_id in (first, later)] == ["read", "unseen"]
    assert (await marked(http, "read", upto=START))["changed"] == 0
    assert (await marked(http, "read", upto=None))["changed"] == 1


async def test_mark_all_of_a_topic_leaves_the_others(hub: RunningHub, http: Http, ann: str) -> None:
    orders, other = await hub.send(ann, topic="orders"), await hub.send(ann)
    assert (await marked(http, "archive", topic="orders"))["changed"] == 1
    assert [(await shown(http, entry_id))["status"] for entry_id in (orders, other)] == ["archived", "unseen"]


@pytest.mark.parametrize("ahead", [True, False], ids=["above the top", "lost"])
async def test_a_cursor_of_another_history_is_409(hub: RunningHub, http: Http, ahead: bool, ann: str) -> None:
    """docs/api.md: "`reason`: `unknown_cursor`"."""
    await hub.send(ann)
    here = (await counts(http))["cursor"]
    await hub.send(ann)
    unknown = f"9{here[1:]}" if ahead else f"{here.partition('-')[0]}-{int(here.partition('-')[2]) ^ 1}"
    answer = await mark_all(http, "read", upto=unknown)
    assert details(answer, 409, "conflict") == {"reason": "unknown_cursor"}
    assert answer.headers["x-should-retry"] == "false"
    assert (await counts(http))["unread"] == 2


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {"verb": "required"}),
        ([], {"body": "type"}),
        (None, {"body": "type"}),
        ({"verb": "click"}, {"verb": "format"}),
        ({"verb": "unarchive"}, {"verb": "format"}),
        ({"verb": ["read"]}, {"verb": "format"}),
        ({"verb": "read", "upto": "top"}, {"upto": "format"}),
        ({"verb": "read", "upto": 0}, {"upto": "format"}),
        ({"verb": "read", "topic": ""}, {"topic": "length"}),
        ({"verb": "read", "topic": "x" * 256}, {"topic": "length"}),
        ({"verb": "read", "topic": 7}, {"topic": "type"}),
        ({"verb": "read", "ids": []}, {"ids": "unknown"}),
        ({"upto": "x", "topic": [], "a": 1}, {"verb": "required", "upto": "format", "topic": "type", "a": "unknown"}),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_wrong_mark_all_is_422_and_names_its_fields(
    hub: RunningHub, http: Http, body: Any, faults: dict[str, str], ann: str
) -> None:
    await hub.send(ann)
    assert fields(await http.post(f"{FEED}/mark-all", content=json.dumps(body))) == faults
    assert (await counts(http))["unseen"] == 1


async def test_mark_all_of_a_lone_surrogate_is_422(http: Http) -> None:
    answer = await http.post(f"{FEED}/mark-all", content=rb'{"verb":"read","topic":"\ud800"}')
    assert fields(answer) == {"topic": "text"}


# ---- explain -----------------------------------------------------------------------------------------


async def test_explain_tells_which_entries_each_count_counts(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "answers why the badge says 3"."""
    titles = ("new", "seen", "read", "archived", "dismissed")
    ids = {title: await hub.send(ann, title, expires_at="2100-01-01T00:00:00Z") for title in titles}
    for title in ("seen", "read", "archived"):
        await patch(http, ids[title], **{title: True})
    await (await hub.connect(ann, subscribe=False)).ask("dismiss", channel="inbox", ids=[ids["dismissed"]])
    answer = await explained(http)
    now = await counts(http)
    assert set(answer) == {"cursor", *COUNTS, "archived", "dismissed"}
    assert {name: answer[name]["count"] for name in COUNTS} | {"cursor": answer["cursor"]} == now
    behind = {name: [entry["title"] for entry in answer[name]["entries"]] for name in COUNTS}
    assert behind == {"unseen": ["new"], "unread": ["seen", "new"], "total": ["read", "seen", "new"]}
    assert not any(answer[name]["has_more"] for name in COUNTS)
    assert (answer["archived"], answer["dismissed"]) == (1, 1)
    entry = await shown(http, ids["seen"])
    names = ("id", "status", "sent_at", "seen_at", "read_at", "archived_at", "dismissed_at", "expires_at")
    assert answer["unread"]["entries"][0] == {name: entry[name] for name in names} | {"title": "seen"}


async def test_the_rule_of_each_count_is_true_of_its_entries(hub: RunningHub, http: Http, ann: str) -> None:
    ids = [await hub.send(ann) for _ in range(3)]
    await patch(http, ids[0], read=True)
    answer = await explained(http)
    rules = {
        "unseen": "seen_at, archived_at and dismissed_at are null",
        "unread": "read_at, archived_at and dismissed_at are null",
        "total": "archived_at and dismissed_at are null",
    }
    for name, rule in rules.items():
        assert answer[name]["rule"] == rule
        times = rule.removesuffix(" are null").replace(" and ", ", ").split(", ")
        assert all(entry[time] is None for entry in answer[name]["entries"] for time in times)


async def test_explain_shows_the_newest_and_says_that_there_are_more(hub: RunningHub, http: Http, ann: str) -> None:
    await asyncio.gather(*(hub.send(ann, str(n)) for n in range(23)))
    newest = [entry["id"] for entry in (await hub.feed(ann, limit=23))["items"]]
    answer = await explained(http)
    assert [entry["id"] for entry in answer["unseen"]["entries"]] == newest[:20]
    assert (answer["unseen"]["count"], answer["unseen"]["has_more"]) == (23, True)
    few = await explained(http, limit=2)
    assert [[entry["id"] for entry in few[name]["entries"]] for name in COUNTS] == [newest[:2]] * 3
    assert (await explained(http, limit=23))["total"]["has_more"] is False


@pytest.mark.parametrize("limit", ["0", "101", "x", ""])
async def test_a_wrong_limit_of_explain_is_400(http: Http, limit: str) -> None:
    answer = await http.get(f"{FEED}/explain", params={"limit": limit})
    assert details(answer, 400, "bad_request") == {"reason": "invalid_param", "param": "limit"}


# ---- all of them -------------------------------------------------------------------------------------

OPERATIONS = (("GET", "counts"), ("GET", "explain"), ("POST", "mark-all"))


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_who_asks_and_the_channel_are_checked_first(
    hub: RunningHub, http: Http, method: str, path: str, ann: str
) -> None:
    nowhere = f"{FEED}/{path}?limit=0".replace("inbox", "nowhere")
    async with hub.http() as anybody:
        details(await anybody.request(method, nowhere), 401, "unauthenticated")
    found = details(await http.request(method, nowhere, content=b"{"), 404, "not_found")
    assert found == {"resource": "channel", "id": "nowhere"}
    await hub.hub.store.revoke(User("default", ann))
    details(await http.request(method, nowhere, content=b"{"), 403, "forbidden")


@pytest.mark.asyncio(loop_scope="function")
async def test_what_expired_is_in_no_count_and_behind_none(start_hub: StartHub) -> None:
    hub = await start_hub()
    await hub.send("ann", "stays")
    session = await hub.connect("ann")
    async with hub.http() as http:
        http.headers.update(hub.user_headers("ann"))
        soon = await hub.send("ann", "short", expires_at=timestamp(int((time.time() + 0.3) * 1_000_000)))
        assert (await session.next("gone"))["ids"] == [soon]
        assert (await counts(http))["total"] == 1
        assert [entry["title"] for entry in (await explained(http))["total"]["entries"]] == ["stays"]
        assert (await marked(http, "read"))["changed"] == 1
