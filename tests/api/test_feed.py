"""The User API's feed. Each docstring quotes a few words of the place in seed 2 or of `docs/api.md` that it proves."""

import asyncio
import json
import re
import signal
import time
import uuid
from typing import Any

import pytest
import pytest_asyncio

from hub.keys import User
from hub.model import timestamp
from hub.projects import add_channel
from tests.api.user_api import ENTRIES, NOWHERE, Http, Response, details, fields, patch, shown
from tests.conftest import StartHub
from tests.harness import RedisServer, RunningHub

FLAGS = ("seen", "read", "clicked", "archived")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


def titles_of(page: Any) -> list[str]:
    return [entry["data"]["title"] for entry in page["items"]]


async def listed(http: Http, **query: Any) -> list[str]:
    """Titles of the entries that a list shows."""
    answer = await http.get(ENTRIES, params=query)
    assert answer.status_code == 200, answer.text
    return titles_of(answer.json())


# ---- what a PATCH means ------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [{"seen": True, "read": False}, {"clicked": False, "archived": True}])
async def test_a_legal_and_an_illegal_flag_together_change_nothing(
    hub: RunningHub, http: Http, flags: dict[str, bool], ann: str
) -> None:
    """Seed 2: "These will return 409 Conflict"; docs/api.md: "together are 409 and change nothing"."""
    entry_id = await hub.send(ann)
    before = await shown(http, entry_id)
    details(await patch(http, entry_id, **flags), 409, "conflict")
    assert await shown(http, entry_id) == before


async def test_a_dismissed_entry_still_takes_marks_but_stays_dismissed(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "but stays dismissed and where it is"."""
    entry_id = await hub.send(ann)
    await (await hub.connect(ann, subscribe=False)).ask("dismiss", channel="inbox", ids=[entry_id])
    entry = (await patch(http, entry_id, read=True, archived=True)).json()
    assert (entry["status"], entry["archived_at"]) == ("dismissed", None)
    assert entry["read_at"]


# ---- bodies that are refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {"body": "required"}),
        ([], {"body": "type"}),
        ("read", {"body": "type"}),
        (None, {"body": "type"}),
        ({"opened": True}, {"opened": "unknown"}),
        ({"read": True, "dismissed": True}, {"dismissed": "unknown"}),
        ({"read": 1}, {"read": "type"}),
        ({"read": "true"}, {"read": "type"}),
        ({"read": None}, {"read": "type"}),
        ({"archived": []}, {"archived": "type"}),
        ({"seen": 0, "x": 1, "read": True}, {"seen": "type", "x": "unknown"}),
    ],
    ids=str,
)
async def test_a_body_of_wrong_fields_is_422_and_names_them_all(
    hub: RunningHub, http: Http, body: Any, faults: dict[str, str], ann: str
) -> None:
    """Seed 2: "fields", "reason"; docs/api.md: "422 `validation_error`"."""
    entry_id = await hub.send(ann)
    before = await shown(http, entry_id)
    answer = await http.patch(f"{ENTRIES}/{entry_id}", content=json.dumps(body))
    assert fields(answer) == faults
    assert await shown(http, entry_id) == before


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"read":tru}', b'{"read":NaN}', b'{"read":true}x', b"\xff\xfe\xfd", b"[" * 60_000],
    ids=["empty", "cut", "word", "NaN", "trailing", "no text", "deep"],
)
async def test_a_body_that_is_no_json_is_400(hub: RunningHub, http: Http, body: bytes, ann: str) -> None:
    """docs/api.md: "400 `bad_request` (`reason`: `invalid_json`"."""
    entry_id = await hub.send(ann)
    assert details(await http.patch(f"{ENTRIES}/{entry_id}", content=body), 400, "bad_request") == {
        "reason": "invalid_json"
    }
    assert (await shown(http, entry_id))["status"] == "unseen"


async def test_a_body_beyond_64_kib_is_400_and_names_the_limit(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "a request body is at most 64 KiB"."""
    entry_id = await hub.send(ann)
    body = b'{"read":true}' + b" " * 65_536
    answer = await http.patch(f"{ENTRIES}/{entry_id}", content=body)
    assert details(answer, 400, "bad_request") == {"reason": "body_too_large"}
    assert "65536" in answer.json()["error"]["message"]
    assert (await patch(http, entry_id, seen=True)).json()["read_at"] is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/{id}", rb'{"\ud800":true}'),
        ("/{id}", rb'{"read":"\ud800"}'),
        ("", rb'{"entry_ids":["\udfff"],"set":{"read":true}}'),
        ("", rb'{"entry_ids":["{id}"],"set":{"\ud800":true}}'),
    ],
)
async def test_a_lone_surrogate_is_refused_not_stumbled_over(
    hub: RunningHub, http: Http, path: str, body: bytes, ann: str
) -> None:
    """docs/api.md: "Text holds no lone surrogates"."""
    entry_id = await hub.send(ann)
    answer = await http.patch(
        ENTRIES + path.replace("{id}", entry_id), content=body.replace(b"{id}", entry_id.encode())
    )
    assert set(fields(answer).values()) <= {"text", "unknown", "type"}
    assert (await shown(http, entry_id))["status"] == "unseen"


# ---- the order of checks -----------------------------------------------------------------------------


async def test_checks_come_in_the_documented_order(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "401, 403, 404 of the channel, 400 and 422, 404 of the entry, 409"."""
    entry_id = await hub.send(ann)
    nowhere = f"/user/v1/channels/nowhere/feed/entries/{NOWHERE}"
    here = f"{ENTRIES}/{NOWHERE}"
    async with hub.http() as anybody:
        details(await anybody.patch(nowhere, content=b"{"), 401, "unauthenticated")
    answer = details(await http.patch(nowhere, content=b"{"), 404, "not_found")
    assert answer["resource"] == "channel"
    details(await http.patch(here, content=b"{"), 400, "bad_request")
    assert fields(await http.patch(here, json={"seen": False, "x": 1})) == {"x": "unknown"}
    assert details(await http.patch(here, json={"seen": False}), 404, "not_found")["resource"] == "entry"
    details(await http.patch(f"{ENTRIES}/{entry_id}", json={"seen": False}), 409, "conflict")
    before = await hub.hub.store.revoke(User("default", ann))
    details(await http.patch(nowhere, content=b"{"), 403, "forbidden")
    async with hub.http() as late:  # signed in after the revocation
        late.headers.update(hub.user_headers(ann))
        late.headers["x-notiflows-user-key"] = hub.token(ann, now=before)
        assert (await patch(late, entry_id, seen=True)).status_code == 200


# ---- errors ------------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="function")
async def test_the_links_of_errors_go_where_the_setting_says(start_hub: StartHub) -> None:
    """docs/api.md: "is the setting `BELLHUB_DOCS_URL`"."""
    hub = await start_hub(docs_url="https://docs.example/bell/")
    async with hub.http() as http:
        answer = await http.get(ENTRIES)
    assert answer.json()["error"]["type"] == "https://docs.example/bell/errors#unauthenticated-401"


@pytest.mark.parametrize("given", [None, "", "two words", "ü", "x" * 129, 'a"b'])
async def test_a_request_without_a_usable_id_is_given_one(http: Http, given: str | None) -> None:
    """docs/api.md: "else a fresh one", in good answers too."""
    headers = {} if given is None else {"x-request-id": given.encode()}
    answers = [await http.get(ENTRIES, headers=headers) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(re.fullmatch("req_[0-9a-f]{24}", found) for found in ids)


@pytest.mark.asyncio(loop_scope="function")
async def test_a_store_that_is_gone_is_503_and_says_when_to_come_back(start_hub: StartHub) -> None:
    """docs/api.md: "503 `unavailable`, with `Retry-After`"."""
    store = RedisServer()
    try:
        hub = await start_hub(redis_url=store.url)
        store.signal(signal.SIGKILL)
        async with hub.http() as http:
            answer = await http.get(ENTRIES, headers=hub.user_headers("ann"))
        assert details(answer, 503, "unavailable") == {}
        assert answer.headers["retry-after"] == "1"
    finally:
        store.remove()


async def test_a_fault_of_the_hub_is_500_in_the_same_envelope(
    hub: RunningHub, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/api.md: "500 `internal_error`"; nothing of the fault is told."""

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(hub.hub.store, "page", broken)
    answer = await http.get(ENTRIES)
    assert details(answer, 500, "internal_error") == {}
    assert "secret" not in answer.text


# ---- what is not there -------------------------------------------------------------------------------


@pytest.mark.parametrize("entry_id", [NOWHERE, "x", "..%2e", "a b", "%00", "x" * 300, "é", "%ff", "{ann}"])
async def test_an_unknown_or_ill_formed_entry_id_is_404(http: Http, entry_id: str) -> None:
    """docs/api.md: "404, as any id that is not there"."""
    for answer in (await http.get(f"{ENTRIES}/{entry_id}"), await patch(http, entry_id, read=True)):
        assert details(answer, 404, "not_found")["resource"] == "entry"


async def test_a_channel_that_holds_no_feed_is_404(hub: RunningHub, http: Http) -> None:
    """docs/api.md: "(`resource`: `channel` or `entry`, `id`)"."""
    project = await hub.change_project(lambda p: add_channel(p, "push", "mobile_push", "fcm"))
    other = await hub.add_project("other")
    names = ["nowhere", "push", project.by_name["push"].id, other.by_name["inbox"].id, str(uuid.uuid4()), "Inbox"]
    for name in [*names, "inbox ", "%00", "x" * 100]:
        answer = await http.get(f"/user/v1/channels/{name}/feed/entries")
        assert details(answer, 404, "not_found")["resource"] == "channel"


# ---- who asks ----------------------------------------------------------------------------------------


async def test_user_api_is_also_found_under_api(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "`/api/user/v1` is the same as `/user/v1`"."""
    entry_id = await hub.send(ann)
    alias = f"/api{ENTRIES}"
    assert (await http.patch(f"{alias}/{entry_id}", json={"read": True})).json() == await shown(http, entry_id)
    assert (await http.get(alias)).json() == (await http.get(ENTRIES)).json()
    await http.patch(alias, json={"entry_ids": [entry_id], "set": {"archived": True}})
    assert (await http.get(f"{alias}/{entry_id}")).json()["status"] == "archived"


# ---- one entry ---------------------------------------------------------------------------------------


async def test_what_is_one_users_is_not_cached(hub: RunningHub, http: Http) -> None:
    """docs/api.md: "Answers carry `cache-control: no-store`"."""
    for path in (ENTRIES, f"{ENTRIES}/{await hub.send('ann')}", f"{ENTRIES}/{NOWHERE}"):
        assert (await http.get(path)).headers["cache-control"] == "no-store"


async def test_rest_and_socket_show_the_same_entry(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/protocol.md, section 6: "the same as in the HTTP feed"."""
    entry_id = await hub.send(ann, data={"n": 1.5, "list": [None, True, {"é": "😀"}]})
    session = await hub.connect(ann, protocol="bellhub.v1.msgpack")
    ack = await session.ask("click", channel="inbox", ids=[entry_id])
    state = await session.next("state")
    page = await session.ask("list", channel="inbox")
    entry = await shown(http, entry_id)
    assert ack["changed"] == [entry_id]
    assert page["entries"] == [entry] == (await http.get(ENTRIES)).json()["items"]
    assert entry["clicked_at"] == entry["read_at"] == entry["seen_at"] == state["at"]


async def test_a_patch_reaches_open_sockets_as_one_event_of_nobodys_session(
    hub: RunningHub, http: Http, ann: str
) -> None:
    """docs/protocol.md, section 5: "It makes no difference who asked: a session, a REST call"."""
    entry_id = await hub.send(ann)
    session = await hub.connect(ann)
    entry = (await patch(http, entry_id, read=True)).json()
    state = await session.next("state")
    assert (state["by"], state["verbs"], state["ids"]) == (None, ["read"], [entry_id])
    assert state["at"] == entry["read_at"]
    assert state["counts"] == {"unseen": 0, "unread": 0, "total": 1}
    later = await hub.send(ann)
    assert (await session.next("entry"))["prev"] == state["cursor"]
    assert [f["type"] for f in session.frames if f["type"] == "state"] == ["state"]
    assert later


async def test_an_entry_that_expired_is_gone_and_not_counted(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "then the entry leaves the feed"."""
    session = await hub.connect(ann)
    entry_id = await hub.send(ann, expires_at=timestamp(int((time.time() + 0.7) * 1_000_000)))
    assert (await shown(http, entry_id))["expires_at"]
    gone = await session.next("gone")
    assert (gone["ids"], gone["reason"]) == ([entry_id], "expired")
    details(await patch(http, entry_id, read=True), 404, "not_found")
    page = (await http.get(ENTRIES)).json()
    assert (page["items"], page["total_unseen"]) == ([], 0)


# ---- lists -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def shelf(hub: RunningHub, http: Http, ann: str) -> dict[str, str]:
    """One entry in each state, oldest first; its title is its state. Ids by title."""
    titles = ("unseen", "seen", "read", "archived", "archived read", "dismissed")
    ids = {title: await hub.send(ann, title, topic=title.partition(" ")[0]) for title in titles}
    await patch(http, ids["seen"], seen=True)
    await patch(http, ids["read"], read=True)
    await patch(http, ids["archived"], archived=True)
    await patch(http, ids["archived read"], read=True, archived=True)
    await (await hub.connect(ann, subscribe=False)).ask("dismiss", channel="inbox", ids=[ids["dismissed"]])
    return ids


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ({}, ["read", "seen", "unseen"]),
        ({"status": "unseen"}, ["unseen"]),
        ({"status": "seen"}, ["seen"]),
        ({"status": "unread"}, ["seen", "unseen"]),
        ({"status": "read"}, ["read"]),
        ({"status": "archived"}, ["archived read", "archived"]),
        ({"status": "dismissed"}, ["dismissed"]),
        ({"archived": "true"}, ["archived read", "archived", "read", "seen", "unseen"]),
        ({"archived": "false"}, ["read", "seen", "unseen"]),
        ({"archived": "true", "status": "read"}, ["read"]),
        ({"archived": "true", "status": "unread"}, ["seen", "unseen"]),
        ({"topic": "seen"}, ["seen"]),
        ({"topic": "archived", "archived": "true"}, ["archived read", "archived"]),
        ({"topic": "archived", "status": "archived"}, ["archived read", "archived"]),
        ({"topic": "none"}, []),
        ({"topic": "dismissed"}, []),
        ({"limit": "2"}, ["read", "seen"]),
        ({"colour": "blue", "include": "actor"}, ["read", "seen", "unseen"]),
    ],
    ids=str,
)
async def test_a_list_shows_what_its_filters_say_newest_first(
    http: Http, query: dict[str, str], titles: list[str]
) -> None:
    """docs/api.md: "`unread` is unseen and seen together"; "Unknown parameters are ignored"."""
    assert await listed(http, **query) == titles


@pytest.mark.usefixtures("shelf")
async def test_totals_are_of_the_whole_feed_whatever_is_listed(http: Http) -> None:
    """docs/api.md: "The totals are of the whole feed, whatever is listed"."""
    for query in ({}, {"status": "read"}, {"limit": "1"}, {"topic": "none"}):
        page = (await http.get(ENTRIES, params=query)).json()
        assert set(page) == {"items", "page", "total_unread", "total_unseen"}
        assert (page["total_unread"], page["total_unseen"]) == (2, 1)


async def test_created_after_and_before_are_exclusive(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "the bounds themselves are excluded", with any offset and precision."""
    ids = []
    for n in range(3):
        ids.append(await hub.send(ann, str(n)))
        await asyncio.sleep(0.002)  # shown times are cut to milliseconds; these three must differ
    middle = (await shown(http, ids[1]))["created_at"]
    assert await listed(http, created_before=middle) == ["0"]
    assert await listed(http, created_after=middle) == ["2"]
    # Entries are compared as they are shown, cut to milliseconds; a bound may be finer.
    finer = middle.replace("Z", "001+00:00")
    assert await listed(http, created_before=finer) == ["1", "0"]
    assert await listed(http, created_after=finer) == ["2"]


async def test_pages_lead_through_the_feed_both_ways(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "the next older page, or the nearest newer one"; "`after` is null on the last page"."""
    for n in range(7):
        await hub.send(ann, str(n))
    pages = [(await http.get(ENTRIES, params={"limit": 3})).json()]
    while pages[-1]["page"]["after"]:
        after = pages[-1]["page"]["after"]
        pages.append((await http.get(ENTRIES, params={"limit": 3, "after": after})).json())
    assert [titles_of(page) for page in pages] == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    assert [page["page"]["has_more_after"] for page in pages] == [True, True, False]
    assert [page["page"]["has_more_before"] for page in pages] == [False, True, True]
    assert {page["page"]["limit"] for page in pages} == {3}
    assert all(set(page["page"]) == set(PAGE_KEYS) for page in pages)
    back = [pages[-1]]
    while back[-1]["page"]["before"]:
        before = back[-1]["page"]["before"]
        back.append((await http.get(ENTRIES, params={"limit": 3, "before": before})).json())
    assert [titles_of(page) for page in back] == [["0"], ["3", "2", "1"], ["6", "5", "4"]]
    assert back[-1]["page"]["before"] is None


PAGE_KEYS = ("after", "before", "has_more_after", "has_more_before", "limit")


async def test_what_arrives_meanwhile_moves_no_page(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "which stays good whatever arrives or leaves"."""
    for n in range(4):
        await hub.send(ann, str(n))
    first = (await http.get(ENTRIES, params={"limit": 2})).json()
    await hub.send(ann, "new")
    await patch(http, first["items"][1]["id"], archived=True)  # the entry that the token was made of
    second = (await http.get(ENTRIES, params={"limit": 2, "after": first["page"]["after"]})).json()
    assert titles_of(second) == ["1", "0"]
    newer = (await http.get(ENTRIES, params={"limit": 9, "before": second["page"]["before"]})).json()
    assert titles_of(newer) == ["new", "3"]


async def test_pages_of_a_filtered_list_hold_only_what_passes(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "Filters and pages combine"."""
    for n in range(12):
        await hub.send(ann, str(n), topic="even" if n % 2 == 0 else "odd")
    first = (await http.get(ENTRIES, params={"limit": 4, "topic": "even"})).json()
    assert titles_of(first) == ["10", "8", "6", "4"]
    second = (await http.get(ENTRIES, params={"limit": 4, "topic": "even", "after": first["page"]["after"]})).json()
    assert titles_of(second) == ["2", "0"]
    assert second["page"]["after"] is None


async def test_an_empty_feed_is_an_empty_page(http: Http) -> None:
    """docs/api.md: "A user who was never sent anything has an empty feed"."""
    assert (await http.get(ENTRIES)).json() == {
        "items": [],
        "page": {"after": None, "before": None, "has_more_after": False, "has_more_before": False, "limit": 20},
        "total_unread": 0,
        "total_unseen": 0,
    }


async def test_limit_is_20_unless_asked_and_100_at_most(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "1 to 100, else 20"."""
    await asyncio.gather(*(hub.send(ann, str(n)) for n in range(101)))
    assert len(await listed(http)) == 20
    assert len(await listed(http, limit=100)) == 100
    assert len(await listed(http, limit=1)) == 1


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"status": "new"}, "status"),
        ({"status": ""}, "status"),
        ({"status": "unseen,seen"}, "status"),
        ({"archived": "yes"}, "archived"),
        ({"archived": ""}, "archived"),
        ({"topic": ""}, "topic"),
        ({"topic": "x" * 256}, "topic"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"after": ""}, "after"),
        ({"after": "xyz"}, "after"),
        ({"before": "p" + "f" * 40}, "before"),
        ({"after": "p1", "before": "p1"}, "after"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
        ({"created_before": "2026-02-30T00:00:00Z"}, "created_before"),
    ],
    ids=str,
)
async def test_a_wrong_parameter_is_400_and_is_named(http: Http, query: dict[str, str], param: str) -> None:
    """Seed 2: "param", "reason"."""
    answer = await http.get(ENTRIES, params=query)
    assert details(answer, 400, "bad_request") == {"reason": "invalid_param", "param": param}
    assert len(answer.json()["error"]["message"]) < 300


# ---- several at once ---------------------------------------------------------------------------------


async def batch(http: Http, ids: list[Any], **flags: Any) -> Response:
    return await http.patch(ENTRIES, json={"entry_ids": ids, "set": flags})


async def test_a_batch_changes_all_its_entries_in_one_event(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "a bare list of the entries, in the order asked, repeats once"."""
    ids = [await hub.send(ann, str(n)) for n in range(3)]
    session = await hub.connect(ann)
    answer = await batch(http, [ids[2], ids[0], ids[2]], read=True)
    state = await session.next("state")
    assert answer.status_code == 200
    assert answer.json() == [await shown(http, ids[2]), await shown(http, ids[0])]
    assert state["ids"] == [ids[2], ids[0]]
    assert {entry["read_at"] for entry in answer.json()} == {state["at"]}
    assert (await shown(http, ids[1]))["status"] == "unseen"
    assert state["counts"] == {"unseen": 1, "unread": 1, "total": 3}


async def test_a_batch_with_one_unknown_id_changes_nothing(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "all of them change, in one event, or none does"."""
    mine, bobs = await hub.send(ann), await hub.send(f"bob, {ann}")
    for unknown in (bobs, NOWHERE, "", "x"):
        answer = await batch(http, [mine, unknown], read=True)
        assert details(answer, 404, "not_found") == {"resource": "entry", "id": unknown}
    assert (await shown(http, mine))["status"] == "unseen"
    assert (await hub.feed(f"bob, {ann}"))["total_unseen"] == 1


async def test_a_batch_that_takes_back_is_409_and_changes_nothing(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "(of several, the first)"."""
    ids = [await hub.send(ann) for _ in range(2)]
    await patch(http, ids[0], seen=True)
    before = [await shown(http, entry_id) for entry_id in ids]
    answer = await batch(http, ids, archived=True, seen=False)
    assert details(answer, 409, "conflict")["current_status"] == "seen"
    assert answer.headers["x-should-retry"] == "false"
    assert [await shown(http, entry_id) for entry_id in ids] == before


async def test_a_batch_archives_and_unarchives(hub: RunningHub, http: Http, ann: str) -> None:
    """docs/api.md: "clears `archived_at`"."""
    ids = [await hub.send(ann) for _ in range(2)]
    before = [await shown(http, entry_id) for entry_id in ids]
    assert {entry["status"] for entry in (await batch(http, ids, archived=True)).json()} == {"archived"}
    assert (await batch(http, ids, archived=False)).json() == before


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {"entry_ids": "type"}),
        ([], {"body": "type"}),
        ({"entry_ids": [], "set": {"read": True}}, {"entry_ids": "length"}),
        ({"entry_ids": ["x"] * 501, "set": {"read": True}}, {"entry_ids": "length"}),
        ({"entry_ids": "x", "set": {"read": True}}, {"entry_ids": "type"}),
        ({"entry_ids": [1], "set": {"read": True}}, {"entry_ids": "type"}),
        ({"entry_ids": ["x"]}, {"set": "type"}),
        ({"entry_ids": ["x"], "set": {}}, {"set": "required"}),
        ({"entry_ids": ["x"], "set": [True]}, {"set": "type"}),
        ({"entry_ids": ["x"], "set": {"read": 1, "x": True}}, {"set.read": "type", "set.x": "unknown"}),
        ({"entry_ids": ["x"], "set": {"read": True}, "all": True}, {"all": "unknown"}),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_wrong_batch_is_422_and_names_its_fields(http: Http, body: Any, faults: dict[str, str]) -> None:
    """docs/api.md: "with 1 to 500 ids"."""
    answer = await http.patch(ENTRIES, json=body)
    assert fields(answer) == faults


async def test_a_batch_takes_500_ids(hub: RunningHub, http: Http) -> None:
    """docs/api.md: "One unknown id: 404, named"."""
    ids = [f"{n}" for n in range(500)]
    assert details(await batch(http, ids, read=True), 404, "not_found") == {"resource": "entry", "id": "0"}
    too_many = await batch(http, [*ids, "500"], read=True)
    assert "501 ids, 1 to 500" in too_many.json()["error"]["message"]
