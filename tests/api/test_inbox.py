"""The Messaging API's notifications as their user sees them: lists over all channels, marks, counts, callers."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hub.auth import new_secret_key
from hub.feeds import Feeds, Position, Wanted
from hub.keys import User
from hub.projects import add_channel, add_secret_key
from hub.sending import new_entry_id
from tests.harness import RunningHub

NOTIFICATIONS = "/v1/messaging/notifications"
UNKNOWN = "0198f000-0000-7000-8000-000000000000"
CHANNELS = ("inbox", "billing", "z_last")

Response = httpx2.Response
Http = httpx2.AsyncClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three_channels(shared_hub: RunningHub) -> RunningHub:
    await shared_hub.change_project(lambda p: add_channel(p, "push", "mobile_push", "fcm"))
    for handle in CHANNELS[1:]:
        await shared_hub.change_project(lambda p, handle=handle: add_channel(p, handle, "in_app", None))
    return shared_hub


@pytest.fixture
def hub(three_channels: RunningHub) -> RunningHub:
    return three_channels


def as_user(hub: RunningHub, user: str) -> dict[str, str]:
    return {"x-notiflows-api-key": hub.api_key, "authorization": f"Bearer {hub.token(user)}"}


@pytest_asyncio.fixture(loop_scope="module")
async def http(hub: RunningHub, ann: str) -> AsyncIterator[Http]:
    """Ann's own requests."""
    async with hub.http() as client:
        client.headers.update(as_user(hub, ann))
        yield client


async def listed(http: Http, **query: Any) -> dict[str, Any]:
    answer = await http.get(NOTIFICATIONS, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ids(http: Http, **query: Any) -> list[str]:
    return [notification["id"] for notification in (await listed(http, **query))["data"]]


async def walk(http: Http, **query: Any) -> list[list[str]]:
    """The ids of every page, forth; each way back shows the same pages."""
    pages, page = [], await listed(http, **query)
    while True:
        pages.append([notification["id"] for notification in page["data"]])
        url = page["page_info"]["next_page_url"]
        assert page["page_info"]["has_next_page"] is (url is not None)
        if url is None:
            break
        page = (await http.get(url)).json()
        assert page["page_info"]["has_prev_page"] is True
    back = [pages[-1]]
    while (url := page["page_info"]["previous_page_url"]) is not None:
        page = (await http.get(url)).json()
        assert page["page_info"]["has_next_page"] is True
        back.append([notification["id"] for notification in page["data"]])
    assert page["page_info"]["has_prev_page"] is False
    assert list(itertools.chain(*back[::-1])) == list(itertools.chain(*pages))
    return pages


async def act(http: Http, entry_id: str, verb: str) -> Response:
    return await http.post(f"{NOTIFICATIONS}/{entry_id}/actions/{verb}")


async def archive(hub: RunningHub, user: str, entry_id: str, channel: str = "inbox") -> None:
    async with hub.http() as client:
        path = f"/user/v1/channels/{channel}/feed/entries/{entry_id}"
        answer = await client.patch(path, json={"archived": True}, headers=hub.user_headers(user))
        assert answer.status_code == 200


def refused(answer: Response, param: str) -> str:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["details"]["reason"]) == (
        "invalid_request_error",
        param,
        "invalid_param",
    )
    return str(error["message"])


# ---- lists -------------------------------------------------------------------------------------------


async def test_a_list_is_newest_first_over_all_channels(hub: RunningHub, http: Http, ann: str) -> None:
    sent = [await hub.send(ann, channel=channel) for channel in ("inbox", "z_last", "billing", "inbox")]
    page = await listed(http)
    assert [notification["id"] for notification in page["data"]] == sent[::-1]
    assert page | {"data": ...} == {
        "object": "list",
        "page_info": {
            "next_page_url": None,
            "previous_page_url": None,
            "has_next_page": False,
            "has_prev_page": False,
        },
        "data": ...,
    }


async def test_a_user_who_was_sent_nothing_has_an_empty_list(http: Http) -> None:
    assert (await listed(http))["data"] == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_there_and_back_show_every_notification_once(
    hub: RunningHub, http: Http, ann: str, limit: int
) -> None:
    sent = [await hub.send(ann, channel=CHANNELS[n % 3]) for n in range(8)]
    pages = await walk(http, limit=limit)
    assert list(itertools.chain(*pages)) == sent[::-1]
    assert {len(page) for page in pages[:-1]} <= {limit}


async def test_entries_of_the_same_moment_are_neither_skipped_nor_doubled(
    hub: RunningHub, http: Http, ann: str
) -> None:
    """Equal µs in several channels: they stand by handle. The clock cannot be told to do it, so the store is edited."""
    redis, by_place = hub.hub.client, []
    moments = [1_790_000_000_000_000, 1_790_000_000_000_001, 1_790_000_000_000_002]
    for channel in CHANNELS:
        feed = User("default", ann).feed(channel)
        for moment in moments:
            entry_id = await hub.send(ann, channel=channel)
            await redis.zadd(feed.key("active"), {entry_id: moment})
            await redis.zadd(feed.key("unseen"), {entry_id: moment})
            by_place.append((-moment, channel, entry_id))
    expected = [entry_id for _, _, entry_id in sorted(by_place)]
    for limit in range(1, 10):
        for query in ({}, {"status": "unseen"}, {"q": "hello"}):
            assert list(itertools.chain(*await walk(http, limit=limit, **query))) == expected


async def test_the_way_back_from_an_empty_page_shows_what_is_there(hub: RunningHub, http: Http, ann: str) -> None:
    first, second = await hub.send(ann), await hub.send(ann)
    url = (await listed(http, limit=1))["page_info"]["next_page_url"]
    await act(http, first, "dismiss")
    page = (await http.get(url)).json()
    assert (page["data"], page["page_info"]["has_next_page"]) == ([], False)
    back = (await http.get(page["page_info"]["previous_page_url"])).json()
    assert [notification["id"] for notification in back["data"]] == [second]
    assert back["page_info"]["has_prev_page"] is False
    await act(http, second, "dismiss")
    page = (await http.get(url)).json()
    assert (page["data"], page["page_info"]["previous_page_url"]) == ([], None)


async def test_a_cursor_stays_good_whatever_arrives_and_leaves(hub: RunningHub, http: Http, ann: str) -> None:
    sent = [await hub.send(ann, channel=CHANNELS[n % 2]) for n in range(4)]
    page = await listed(http, limit=2)
    await hub.send(ann)
    await act(http, sent[2], "dismiss")  # the one that the cursor names
    after = (await http.get(page["page_info"]["next_page_url"])).json()
    assert [notification["id"] for notification in after["data"]] == [sent[1], sent[0]]


async def test_page_urls_are_relative_and_repeat_what_was_asked(hub: RunningHub, http: Http, ann: str) -> None:
    for _ in range(3):
        await hub.send(ann, "a & b", sender={"id": "x,y", "type": "user"})
    query = {"limit": 1, "status": "unseen", "q": "A &", "sender_ids[]": ["x,y", "z"], "include[]": "sender"}
    page = await listed(http, **query)
    while True:
        (notification,) = page["data"]
        assert notification["sender"]["id"] == "x,y"
        url = page["page_info"]["next_page_url"]
        if url is None:
            break
        assert url.startswith(f"{NOTIFICATIONS}?")
        asked = httpx2.URL(url).params
        assert asked.get_list("sender_ids[]") == ["x,y", "z"]
        assert {name: asked[name] for name in ("limit", "status", "q", "include[]")} == {
            "limit": "1",
            "status": "unseen",
            "q": "A &",
            "include[]": "sender",
        }
        assert len(asked.get_list("cursor")) == 1
        page = (await http.get(url)).json()


async def test_50_are_shown_unless_up_to_100_are_asked_for(hub: RunningHub, http: Http, ann: str) -> None:
    feed = User("default", ann).feed("inbox")
    for _ in range(101):
        entry_id = new_entry_id()
        body = f'{{"id":"{entry_id}","notiflow_handle":"welcome","data":{{}}'
        await hub.hub.store.publish(feed, entry_id, body)
    assert [len(await ids(http, **query)) for query in ({}, {"limit": 100}, {"limit": 1})] == [50, 100, 1]
    for limit in ("0", "101", "-1", "x", "", "1e1", "٣"):
        assert "from 1 to 100" in refused(await http.get(NOTIFICATIONS, params={"limit": limit}), "limit")


async def test_what_a_notiflow_made_has_its_handle_for_title_and_category(
    hub: RunningHub, http: Http, ann: str
) -> None:
    actor = {"id": "1", "external_id": "bob", "first_name": "Bob", "last_name": None, "email": "b@x", "avatar": None}
    bare = {"notiflow_handle": "welcome", "category": None, "data": {"title": 7}, "actor": actor}
    published_at = "2026-01-02T03:04:05.678Z"
    for more in ({}, {"data": {"title": "Hi", "body": "there"}, "created_at": published_at, "priority": "low"}):
        entry_id = new_entry_id()
        body = json.dumps({"id": entry_id} | bare | more)[:-1]
        await hub.hub.store.publish(User("default", ann).feed("inbox"), entry_id, body)
    titled, untitled = (await listed(http, include="sender"))["data"]
    assert (untitled["title"], untitled["body"], untitled["category"]) == ("welcome", None, "welcome")
    assert (titled["title"], titled["body"], titled["priority"]) == ("Hi", "there", "low")
    assert titled["created_at"] == published_at
    assert titled["sender"] == {
        "id": "bob",
        "object": "actor",
        "type": "user",
        "name": "Bob",
        "handle": "b@x",
        "avatar_url": None,
        "role": None,
    }


# ---- filters -----------------------------------------------------------------------------------------


async def test_the_status_is_the_one_that_is_shown_archived_or_not(hub: RunningHub, http: Http, ann: str) -> None:
    made = {}
    for verb, archived in itertools.product((None, "seen", "read", "dismiss"), (False, True)):
        entry_id = await hub.send(ann)
        if verb:
            await act(http, entry_id, verb)
        if archived:
            await archive(hub, ann, entry_id)
        made[entry_id] = {None: "unseen", "dismiss": "dismissed"}.get(verb, verb)
    newest_first = list(made)[::-1]
    for status in ("unseen", "seen", "read", "dismissed"):
        expected = [entry_id for entry_id in newest_first if made[entry_id] == status]
        assert await ids(http, status=status) == expected
        assert list(itertools.chain(*await walk(http, status=status, limit=1))) == expected
        assert {notification["status"] for notification in (await listed(http, status=status))["data"]} == {status}
    assert await ids(http) == [entry_id for entry_id in newest_first if made[entry_id] != "dismissed"]


CONTENTS: dict[str, dict[str, Any]] = {
    "order": {"title": "Order 17 has SHIPPED", "body": "Über Nacht", "category": "order.updated"},
    "chat": {"title": "Hi", "body": "shipped?", "category": "chat.message", "sender": {"id": "bob", "type": "user"}},
    "agent": {"title": "Done", "category": "agent.alert", "sender": {"id": "a1", "type": "agent"}},
    "key": {"title": "100%", "category": "chat.message", "sender": {"id": "bob", "type": "api_key"}},
    "group": {"title": "STRASSE", "category": "x", "sender": {"id": "cs", "type": "group"}},
}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"category": "chat.message"}, {"chat", "key"}),
        ({"category": "chat"}, set()),
        ({"q": "shipped"}, {"order", "chat"}),
        ({"q": "ÜBER"}, {"order"}),
        ({"q": "straße"}, {"group"}),
        ({"q": "%"}, {"key"}),
        ({"q": "Hishipped"}, set()),
        ({"q": "chat.message"}, set()),
        ({"sender_ids[]": "bob"}, {"chat", "key"}),
        ({"sender_ids[]": ["cs", "a1"]}, {"group", "agent"}),
        ({"sender_ids": "cs,a1"}, {"group", "agent"}),
        ({"sender_ids[]": "cs,a1"}, set()),
        ({"sender_types[]": "user"}, {"chat"}),
        ({"sender_types[]": ["group", "system"]}, {"group", "order"}),
        ({"sender_types": "agent,api_key"}, {"agent", "key"}),
        ({"sender_types": "user", "sender_ids": "bob", "q": "hi", "category": "chat.message"}, {"chat"}),
        ({"sender_types": "agent", "sender_ids": "bob"}, set()),
        ({"colour": "red"}, set(CONTENTS)),
    ],
    ids=str,
)
async def test_filters_find_what_is_inside(
    hub: RunningHub, http: Http, ann: str, query: dict[str, Any], found: set[str]
) -> None:
    names = {}
    for (name, content), channel in zip(CONTENTS.items(), itertools.cycle(CHANNELS)):
        names[await hub.send(ann, channel=channel, **content)] = name
    expected = [entry_id for entry_id in reversed(names) if names[entry_id] in found]
    assert await ids(http, **query) == expected
    assert list(itertools.chain(*await walk(http, limit=1, **query))) == expected


async def test_what_is_rare_is_found_however_far_back(hub: RunningHub, http: Http, ann: str) -> None:
    """More than one slice apart, and in an order of its own on each side."""
    feeds = {channel: User("default", ann).feed(channel) for channel in CHANNELS[:2]}
    rare = []
    for n, channel in itertools.product(range(130), feeds):
        entry_id = new_entry_id()
        category = "rare" if n % 60 == 3 else "common"
        body = f'{{"id":"{entry_id}","notiflow_handle":"x","category":"{category}","data":{{"title":"t"}}'
        await hub.hub.store.publish(feeds[channel], entry_id, body)
        if category == "rare":
            rare.insert(0, entry_id)
    for limit in (1, 4, 6, 50):
        assert list(itertools.chain(*await walk(http, category="rare", limit=limit))) == rare


@pytest.mark.parametrize(
    ("query", "param", "words"),
    [
        ({"status": "archived"}, "status", "'archived' is none of unseen, seen, read, dismissed"),
        ({"status": ""}, "status", "none of"),
        ({"category": ""}, "category", "0 characters"),
        ({"category": "x" * 257}, "category", "257 characters, 1 to 256"),
        ({"q": ""}, "q", "0 characters"),
        ({"q": "x" * 257}, "q", "257 characters, 1 to 256"),
        ({"sender_ids[]": ""}, "sender_ids", "0 characters"),
        ({"sender_ids": "a,,b"}, "sender_ids", "0 characters"),
        ({"sender_ids[]": ["x"] * 101}, "sender_ids", "101 ids, at most 100"),
        ({"sender_types[]": "robot"}, "sender_types", "'robot' is none of user"),
        ({"cursor": ""}, "cursor", "out of no page_info"),
        ({"cursor": "x"}, "cursor", "'x'"),
        ({"cursor": "é"}, "cursor", "'é'"),
        ({"cursor": "YTEuSW5ib3g"}, "cursor", "page_info"),  # a1.Inbox
        ({"cursor": "YzEuaW5ib3g"}, "cursor", "page_info"),  # c1.inbox
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_wrong_parameter_is_named(http: Http, query: dict[str, Any], param: str, words: str) -> None:
    assert words in refused(await http.get(NOTIFICATIONS, params=query), param)


async def test_a_list_of_any_filter_is_what_a_list_in_memory_would_be(hub: RunningHub, http: Http, ann: str) -> None:
    """Random feeds, random states, every status, pages of every size; from both sides."""
    chance = random.Random(17)
    for n in range(24):
        entry_id = await hub.send(ann, f"t{n % 3}", channel=chance.choice(CHANNELS))
        for verb in chance.sample(["seen", "read", "dismiss"], chance.randrange(2)):
            await act(http, entry_id, verb)
    everything = [n for status in (None, "dismissed") for n in (await listed(http, limit=100, **given(status)))["data"]]
    everything.sort(key=lambda n: (n["created_at"], n["id"]), reverse=True)
    for status, q, limit in itertools.product((None, "unseen", "seen", "read", "dismissed"), (None, "t1"), (1, 5)):
        expected = [
            n["id"]
            for n in everything
            if (n["status"] == status if status else n["status"] != "dismissed") and (q is None or q in n["title"])
        ]
        query = given(status) | ({"q": q} if q else {})
        assert list(itertools.chain(*await walk(http, limit=limit, **query))) == expected


def given(status: str | None) -> dict[str, str]:
    return {"status": status} if status else {}


# ---- marks -------------------------------------------------------------------------------------------


async def test_a_mark_finds_its_notification_in_any_channel(hub: RunningHub, http: Http, ann: str) -> None:
    session = await hub.connect(ann, subscribe=False)
    for channel, verb in itertools.product(CHANNELS, ("seen", "read", "dismiss")):
        if verb == "seen":
            await session.ask("subscribe", channel=channel)
        entry_id = await hub.send(ann, channel=channel)
        answer = await act(http, entry_id, verb)
        assert (answer.status_code, answer.json()["id"]) == (200, entry_id)
        state = await session.next("state")
        assert (state["channel"], state["ids"], state["verbs"]) == (channel, [entry_id], [verb])


async def test_dismissing_sets_only_dismissed_at_and_takes_it_off_the_badge(
    hub: RunningHub, http: Http, ann: str
) -> None:
    entry_id = await hub.send(ann)
    found = (await act(http, entry_id, "dismiss")).json()
    assert [name for name in ("seen_at", "read_at", "dismissed_at") if found[name]] == ["dismissed_at"]
    assert (await http.get(f"{NOTIFICATIONS}/{entry_id}")).json() == found
    assert await ids(http, status="dismissed") == [entry_id]
    assert (await counts(http))["total"] == 0


async def test_marking_what_is_dismissed_keeps_it_dismissed(hub: RunningHub, http: Http, ann: str) -> None:
    entry_id = await hub.send(ann)
    first = (await act(http, entry_id, "dismiss")).json()
    found = (await act(http, entry_id, "read")).json()
    assert (found["status"], found["dismissed_at"]) == ("dismissed", first["dismissed_at"])
    assert found["read_at"]


async def counts(http: Http) -> dict[str, Any]:
    answer = await http.get(f"{NOTIFICATIONS}/unread-count")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def mark_all(http: Http, **headers: str) -> Response:
    return await http.post(f"{NOTIFICATIONS}/actions/mark-all-seen", headers=headers)


async def test_mark_all_seen_leaves_nothing_unseen_in_any_channel(hub: RunningHub, http: Http, ann: str) -> None:
    sessions = {channel: await hub.connect(ann, subscribe=False) for channel in CHANNELS}
    for channel, session in sessions.items():
        await session.ask("subscribe", channel=channel)
    sent = {channel: [await hub.send(ann, channel=channel) for _ in range(2)] for channel in CHANNELS}
    read = (await act(http, sent["inbox"][0], "read")).json()
    await archive(hub, ann, sent["billing"][0], "billing")
    await act(http, sent["z_last"][0], "dismiss")
    answer = await mark_all(http)
    assert (answer.status_code, answer.json()) == (200, {})
    assert await ids(http, status="unseen") == []
    assert len(await ids(http, status="seen")) == 4
    assert (await http.get(f"{NOTIFICATIONS}/{read['id']}")).json() == read
    (dismissed,) = (await listed(http, status="dismissed"))["data"]
    assert dismissed["seen_at"] is None
    assert await counts(http) == {"notifications": 0, "conversations": 0, "total": 0}
    changed = {
        channel: (await session.first(lambda f: f["type"] == "state" and f["verbs"] == ["seen"]))["ids"]
        for channel, session in sessions.items()
    }
    assert {channel: set(ids) for channel, ids in changed.items()} == {
        "inbox": {sent["inbox"][1]},
        "billing": set(sent["billing"]),
        "z_last": {sent["z_last"][1]},
    }
    assert (await mark_all(http)).json() == {}


async def test_mark_all_seen_under_a_key_spares_what_came_later(hub: RunningHub, http: Http, ann: str) -> None:
    await hub.send(ann)
    first = await mark_all(http, **{"idempotency-key": "k"})
    later = await hub.send(ann, channel="billing")
    again = await mark_all(http, **{"idempotency-key": "k"})
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert await ids(http, status="unseen") == [later]


async def test_mark_all_seen_that_was_cut_short_goes_on_where_it_stopped(hub: RunningHub, http: Http, ann: str) -> None:
    """A hub that died between the change and the answer: the outer record is still `running`, and lapses."""
    await hub.send(ann)
    await mark_all(http, **{"idempotency-key": "k"})
    later = await hub.send(ann)
    redis = hub.hub.client
    names = [key async for key in redis.scan_iter(match=f"{User('default', ann).tag}:idem:*")]
    (outer,) = [name for name in names if (await redis.get(name)).endswith(b" 200 {}")]
    digest = (await redis.get(outer)).split()[0].decode()
    await redis.set(outer, f"{digest} running 1")
    assert (await mark_all(http, **{"idempotency-key": "k"})).json() == {}
    assert await ids(http, status="unseen") == [later]


# ---- counts ------------------------------------------------------------------------------------------


async def test_the_count_is_what_the_badge_shows(hub: RunningHub, http: Http, ann: str) -> None:
    sent = [await hub.send(ann, channel=channel) for channel in (*CHANNELS, "inbox", "inbox", "billing")]
    await act(http, sent[0], "seen")
    await act(http, sent[3], "dismiss")
    await archive(hub, ann, sent[4])
    assert await counts(http) == {"notifications": 3, "conversations": 0, "total": 3}
    assert (await hub.feed(ann))["total_unseen"] == 0
    project = hub.hub.directory.project("default")
    assert project is not None
    answer = await http.get(f"{NOTIFICATIONS}/unread-summary")
    assert answer.json() == {
        "accounts": [
            {
                "id": "default",
                "object": "account",
                "name": project.name,
                "notifications": 3,
                "conversations": 0,
                "total": 3,
            }
        ],
        "channels": [
            {"id": project.by_name[handle].id, "object": "channel", "handle": handle, "notifications": unseen}
            for handle, unseen in (("inbox", 0), ("billing", 2), ("z_last", 1))
        ],
        "total": 3,
    }


# ---- who asks ----------------------------------------------------------------------------------------

Ask = Callable[[Http, str], Awaitable[Response]]


def get(path: str) -> Ask:
    return lambda http, entry_id: http.get(NOTIFICATIONS + path.replace("{id}", entry_id))


def post(path: str) -> Ask:
    return lambda http, entry_id: http.post(NOTIFICATIONS + path.replace("{id}", entry_id))


READS = {path: get(path) for path in ("", "/{id}", "/unread-count", "/unread-summary")}
MARKS = {
    path: post(path)
    for path in ("/{id}/actions/seen", "/{id}/actions/read", "/{id}/actions/dismiss", "/actions/mark-all-seen")
}
SENDS: dict[str, Ask] = {
    "send": lambda http, entry_id: http.post(NOTIFICATIONS, content=b"{}"),
    "withdraw": lambda http, entry_id: http.delete(f"{NOTIFICATIONS}/{entry_id}"),
    "withdraw source": lambda http, entry_id: http.delete(NOTIFICATIONS),
}
NEEDS = (
    {name: (ask, "messaging:read") for name, ask in READS.items()}
    | {name: (ask, "messaging:update") for name, ask in MARKS.items()}
    | {name: (ask, "alerts:create") for name, ask in SENDS.items()}
)
PERMISSIONS = ("messaging:read", "messaging:update", "alerts:create", "admin")


async def acting(hub: RunningHub, role: str, kind: str = "api_key") -> dict[str, str]:
    key, secret = new_secret_key(role, kind=kind, name="Bot")
    await hub.change_project(lambda p: add_secret_key(p, key))
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("operation", NEEDS)
@pytest.mark.parametrize("kind", ["api_key", "agent"])
async def test_each_operation_needs_its_permission_and_no_other(
    hub: RunningHub, ann: str, operation: str, kind: str
) -> None:
    """Seed 1, Permissions required; the role of a key, the role of an agent, or a list of permissions."""
    ask, needed = NEEDS[operation]
    entry_id = await hub.send(ann)
    others = ",".join(permission for permission in PERMISSIONS if permission != needed)
    async with hub.http() as http:
        http.headers.update(await acting(hub, others, kind) | {"x-bellhub-user": ann})
        answer = await ask(http, entry_id)
        assert answer.status_code == 403, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["details"]) == ("forbidden", {"required_scope": needed})
        assert needed in error["message"]
        assert (await hub.feed(ann))["total_unseen"] == 1
        http.headers.update(await acting(hub, needed, kind))
        assert (await ask(http, entry_id)).status_code != 403


@pytest.mark.parametrize("operation", [*READS, *MARKS])
async def test_a_user_reads_and_marks_the_own_feed(hub: RunningHub, http: Http, ann: str, operation: str) -> None:
    entry_id = await hub.send(ann)
    assert (await NEEDS[operation][0](http, entry_id)).status_code == 200


@pytest.mark.parametrize("operation", SENDS)
async def test_a_user_neither_sends_nor_takes_back(hub: RunningHub, http: Http, ann: str, operation: str) -> None:
    answer = await SENDS[operation](http, await hub.send(ann))
    assert answer.status_code == 403
    assert answer.json()["error"]["details"] == {"required_scope": "alerts:create"}


@pytest.mark.parametrize("operation", NEEDS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer sk_x"},
        {"authorization": "Bearer {token}"},
        {"authorization": "Bearer {token}", "x-notiflows-api-key": "pk_x"},
        {"authorization": "Bearer {token}x", "x-notiflows-api-key": "{pk}"},
        {"authorization": "Basic {token}", "x-notiflows-api-key": "{pk}"},
        {"x-notiflows-user-key": "{token}", "x-notiflows-api-key": "{pk}"},
        {"x-notiflows-user-id": "ann", "x-notiflows-api-key": "{pk}"},
        {"authorization": "Bearer {pk}", "x-notiflows-api-key": "{pk}"},
    ],
    ids=str,
)
async def test_who_proves_nothing_is_401(hub: RunningHub, ann: str, operation: str, headers: dict[str, str]) -> None:
    filled = {name: value.format(token=hub.token(ann), pk=hub.api_key) for name, value in headers.items()}
    entry_id = await hub.send(ann)
    async with hub.http() as http:
        http.headers.update(filled)
        answer = await NEEDS[operation][0](http, entry_id)
    assert answer.status_code == 401, answer.text
    assert answer.json()["error"]["code"] == "invalid_token"


@pytest.mark.parametrize("kind", ["api_key", "agent"])
async def test_a_key_that_names_nobody_has_nothing(hub: RunningHub, ann: str, kind: str) -> None:
    entry_id = await hub.send(ann)
    async with hub.http() as http:
        http.headers.update(await acting(hub, "owner", kind))
        assert (await listed(http))["data"] == []
        assert await counts(http) == {"notifications": 0, "conversations": 0, "total": 0}
        summary = (await http.get(f"{NOTIFICATIONS}/unread-summary")).json()
        assert summary["total"] == summary["accounts"][0]["total"] == 0
        assert [channel["notifications"] for channel in summary["channels"]] == [0, 0, 0]
        assert (await mark_all(http)).json() == {}
        for path, ask in (READS | MARKS).items():
            if "{id}" in path:
                assert (await ask(http, entry_id)).status_code == 404
    assert (await hub.feed(ann))["total_unseen"] == 1


async def test_a_key_acts_for_the_user_it_names_whatever_the_name(hub: RunningHub) -> None:
    for name in ("Zoë 例え", "a/b", "{x}"):
        entry_id = await hub.send(name)
        async with hub.http() as http:
            headers: dict[str, Any] = hub.producer | {"x-bellhub-user": name.encode()}
            (found,) = (await http.get(NOTIFICATIONS, headers=headers)).json()["data"]
            assert found["id"] == entry_id
            answer = await http.post(f"{NOTIFICATIONS}/{entry_id}/actions/read", headers=headers)
            assert answer.json()["status"] == "read"
    async with hub.http() as http:
        for name in ("", "x" * 257):
            answer = await http.get(NOTIFICATIONS, headers=hub.producer | {"x-bellhub-user": name})
            refused(answer, "X-Bellhub-User")


@pytest.mark.parametrize("path", [path for path in READS | MARKS if "{id}" in path])
async def test_what_is_anothers_is_404_and_stays_as_it_is(hub: RunningHub, http: Http, ann: str, path: str) -> None:
    theirs = await hub.send(f"bob, {ann}")
    for unknown in (theirs, UNKNOWN, "x" * 300, "x%00"):
        answer = await (READS | MARKS)[path](http, unknown)
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "not_found")
        assert error["details"]["resource"] == "notification"
    assert (await hub.feed(f"bob, {ann}"))["total_unseen"] == 1


async def test_a_user_cannot_act_for_another(hub: RunningHub, http: Http, ann: str) -> None:
    await hub.send(f"bob, {ann}")
    http.headers["x-bellhub-user"] = f"bob, {ann}"
    assert await ids(http) == []


async def test_a_revoked_token_reads_and_marks_nothing(hub: RunningHub, http: Http, ann: str) -> None:
    entry_id = await hub.send(ann)
    await hub.hub.store.revoke(User("default", ann))
    for path, ask in (READS | MARKS).items():
        answer = await ask(http, entry_id)
        assert answer.status_code == 403, path
        assert answer.json()["error"]["details"] == {}
    async with hub.http() as producer:
        producer.headers.update(hub.producer | {"x-bellhub-user": ann})
        assert await counts(producer) == {"notifications": 1, "conversations": 0, "total": 1}


# ---- once --------------------------------------------------------------------------------------------

ACTIONS = ("seen", "read", "dismiss")


@pytest.mark.parametrize("verb", ACTIONS)
async def test_a_mark_under_a_key_is_answered_as_the_first_time(
    hub: RunningHub, http: Http, ann: str, verb: str
) -> None:
    entry_id, key = await hub.send(ann), {"idempotency-key": "k"}
    path = f"{NOTIFICATIONS}/{entry_id}/actions/{verb}"
    answers = await asyncio.gather(*(http.post(path, headers=key) for _ in range(8)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) >= 1
    await act(http, entry_id, "dismiss")
    again = await http.post(path, headers=key)
    assert (again.text, again.headers["idempotent-replayed"]) == (answers[0].text, "true")


@pytest.mark.parametrize("verb", ACTIONS)
async def test_another_mark_under_the_same_key_is_422(hub: RunningHub, http: Http, ann: str, verb: str) -> None:
    first, second, key = await hub.send(ann), await hub.send(ann), {"idempotency-key": "k"}
    assert (await http.post(f"{NOTIFICATIONS}/{first}/actions/{verb}", headers=key)).status_code == 200
    for path, body in (
        (f"{NOTIFICATIONS}/{second}/actions/{verb}", b""),
        (f"{NOTIFICATIONS}/{first}/actions/{verb}?include=sender", b""),
        (f"{NOTIFICATIONS}/{first}/actions/{verb}", b"{}"),
    ):
        answer = await http.post(path, content=body, headers=key)
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("idempotency_error", "idempotency_key_reused")
        assert error["details"] == {"idempotency_key": "k"}
    assert (await http.get(f"{NOTIFICATIONS}/{second}")).json()["status"] == "unseen"


async def test_one_key_serves_each_operation_and_each_caller_once(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: the key belongs to caller, operation and user."""
    entry_id, key = await hub.send(ann), {"idempotency-key": "k"}
    answers = [await http.post(f"{NOTIFICATIONS}/{entry_id}/actions/{verb}", headers=key) for verb in ACTIONS]
    answers.append(await mark_all(http, **key))
    answers.append(
        await http.post(
            f"{NOTIFICATIONS}/{entry_id}/actions/seen", headers=key | hub.producer | {"x-bellhub-user": ann}
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert not any("idempotent-replayed" in answer.headers for answer in answers)


@pytest.mark.parametrize("verb", ACTIONS)
async def test_a_refused_mark_is_refused_again_under_its_key(hub: RunningHub, http: Http, ann: str, verb: str) -> None:
    entry_id, key = await hub.send(ann), {"idempotency-key": "k"}
    for path in (f"{NOTIFICATIONS}/{UNKNOWN}/actions/{verb}", f"{NOTIFICATIONS}/{entry_id}/actions/{verb}?include=x"):
        first, again = [await http.post(path, headers=key | {"idempotency-key": path}) for _ in range(2)]
        assert first.status_code in (400, 404)
        assert (again.status_code, again.text) == (first.status_code, first.text)
        assert again.headers["idempotent-replayed"] == "true"


async def test_a_mark_that_was_made_and_not_answered_is_answered_when_it_is_asked_again(
    hub: RunningHub, http: Http, ann: str
) -> None:
    """A hub that died between the change and the answer: only the script's own record is there."""
    entry_id, key = await hub.send(ann), {"idempotency-key": "k"}
    path = f"{NOTIFICATIONS}/{entry_id}/actions/seen"
    first = await http.post(path, headers=key)
    redis = hub.hub.client
    (name,) = [key async for key in redis.scan_iter(match=f"{User('default', ann).tag}:idem:*")]
    digest = (await redis.get(name)).split()[0].decode()
    top, _ = await hub.hub.store.counts(User("default", ann).feed("inbox"))
    await redis.set(name, f"{digest} 0 {top} 1")
    again = await http.post(path, headers=key)
    assert again.json() == first.json()
    assert (await hub.hub.store.counts(User("default", ann).feed("inbox")))[0] == top


# ---- the list's own arithmetic -----------------------------------------------------------------------


async def test_a_place_lies_between_all_entries_of_all_channels(hub: RunningHub, ann: str) -> None:
    """What is older than a place and what is newer are all there is but that place itself."""
    project = hub.hub.directory.project("default")
    assert project is not None
    feeds = Feeds(hub.hub.store, project, User("default", ann), None)
    for n in range(6):
        await hub.send(ann, channel=CHANNELS[n % 3])
    everything = (await feeds.page(Wanted(), 100, None)).entries
    for at, entry in enumerate(everything):
        channel = (await feeds.find(entry.id))[0].channel
        place = Position(entry.score, channel)
        older = (await feeds.page(Wanted(), 100, place, older=True)).entries
        newer = (await feeds.page(Wanted(), 100, place, older=False)).entries
        assert (newer, older) == (everything[:at], everything[at + 1 :])
        with_itself = (await feeds.page(Wanted(), 100, place.and_itself(older=True), older=True)).entries
        assert with_itself == everything[at:]
