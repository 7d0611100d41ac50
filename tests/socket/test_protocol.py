"""The socket protocol as a client sees it; each docstring quotes the sentence of `docs/protocol.md` that it proves.

What bad input does is in `test_inputs.py`, who is let in in `test_tokens.py`, resume and slow clients in `tests/chaos`.
"""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
import pytest_asyncio

from hub.errors import unavailable
from hub.frames import HUB_FRAME_BYTES, MSGPACK_PROTOCOL, PROTOCOLS
from hub.projects import add_channel
from tests.conftest import StartHub
from tests.harness import Client, RedisServer, RunningHub

CURSOR = re.compile(r"[0-9]{16}-[0-9]{1,10}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NO_EVENT = "0"

pytestmark = pytest.mark.asyncio(loop_scope="module")
alone = pytest.mark.asyncio(loop_scope="function")
"""For tests with hubs of their own."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(shared_hub: RunningHub) -> RunningHub:
    """A project with 17 channels."""
    for number in range(16):
        await shared_hub.change_project(lambda p, n=number: add_channel(p, f"c{n}", "in_app", None))
    return shared_hub


@pytest_asyncio.fixture(loop_scope="module", params=PROTOCOLS)
async def session(hub: RunningHub, ann: str, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Ann's session in each codec, following `inbox`."""
    client = await hub.connect(ann, protocol=request.param)
    yield client
    await client.close()


def kinds(session: Client) -> list[str]:
    return [frame["type"] for frame in session.frames]


def uuid_of(hub: RunningHub, handle: str) -> str:
    project = hub.hub.directory.project("default")
    assert project is not None
    return project.by_name[handle].id


async def caught_up(session: Client, hub: RunningHub, user: str, channel: str = "inbox") -> list[dict[str, Any]]:
    """All frames up to that of an entry which is sent now: what has not come before it does not come."""
    last = await hub.send(user, "last", channel=channel)
    await session.first(lambda frame: frame.get("entry", {}).get("id") == last)
    return session.frames


# ---- 1. transport ------------------------------------------------------------------------------------


async def test_both_codecs_carry_the_same_maps(hub: RunningHub, ann: str) -> None:
    """Section 1: "the same maps as msgpack"; times are "the same strings in both subprotocols"."""
    text, packed = await hub.connect(ann), await hub.connect(ann, protocol=MSGPACK_PROTOCOL)
    entry_id = await hub.send(ann, "é😀\x00", data={"n": [1, 2.5, None, True, {}]}, topic="t")
    other = await hub.connect(ann, subscribe=False)
    await other.ask("read", channel="inbox", ids=[entry_id])
    async with hub.http() as http:
        await http.delete(f"/v1/messaging/notifications/{entry_id}", params={"user": ann}, headers=hub.producer)
    for session in (text, packed):
        await session.next("gone")
        await session.ask("list", channel="inbox", status="archived")
        await session.ask("read", channel="inbox", ids=["x"])
    assert kinds(text) == ["welcome", "subscribed", "entry", "state", "gone", "page", "error"]
    assert packed.frames[1:] == text.frames[1:]
    assert set(packed.frames[0]) == set(text.frames[0])


async def test_a_msgpack_frame_holds_nothing_that_json_could_not(hub: RunningHub, ann: str) -> None:
    """Section 1: "without binary and extension values"."""
    session = await hub.connect(ann, protocol=MSGPACK_PROTOCOL)
    await hub.send(ann, data={"n": [1, 2.5, None, True, {}]})
    await session.next("entry")
    for frame in session.frames:
        assert json.loads(json.dumps(frame)) == frame  # fails for bytes and extension types
        assert all(isinstance(key, str) for key in frame)


@pytest.mark.parametrize("ref", ["r", "x" * 64, "😀", "\x00", 0, -1, 2**53 - 1], ids=repr)
async def test_a_ref_is_echoed_in_the_one_answer(session: Client, hub: RunningHub, ann: str, ref: Any) -> None:
    """Section 3: "a string of 1 to 64 characters or an integer"; "the one answer carries it"."""
    entry_id = await hub.send(ann)
    await session.next("entry")
    asked = [
        ("subscribe", {"channel": "inbox"}, "subscribed"),
        ("list", {"channel": "inbox"}, "page"),
        ("read", {"channel": "inbox", "ids": [entry_id]}, "ack"),
        ("read", {"channel": "inbox", "ids": ["x"]}, "error"),
        ("read", {"channel": "inbox"}, "error"),
        ("refresh", {"token": hub.token(ann)}, "refreshed"),
        ("refresh", {"token": "x"}, "error"),
        ("ping", {}, "pong"),
        ("unsubscribe", {"channel": "inbox"}, "unsubscribed"),
    ]
    for kind, fields, answered in asked:
        before = len(session.frames)
        await session.send(kind, ref=ref, **fields)
        answer = await session.first(lambda frame, n=before: "ref" in frame and session.frames.index(frame) >= n)
        assert (answer["type"], answer["ref"]) == (answered, ref)
        assert type(answer["ref"]) is type(ref)


async def test_without_a_ref_the_answer_has_none(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 3: "A frame without `ref` is answered too, without"."""
    await hub.send(ann)
    frames = (("list", "page"), ("unsubscribe", "unsubscribed"), ("ping", "pong"), ("read", "error"))
    for kind, answered in frames:
        await session.send(kind, channel="inbox")
        assert "ref" not in await session.next(answered)


async def test_frames_are_answered_in_the_order_sent(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 3: "take effect, and are answered, in the order sent, one at a time"."""
    entry_id = await hub.send(ann)
    verbs = ["archive", "unarchive"] * 6
    for number, verb in enumerate(verbs):
        await session.send(verb, ref=number, channel="inbox", ids=[entry_id])
        await session.send("list", ref=100 + number, channel="inbox", limit=1)
    await session.first(lambda frame: frame.get("ref") == 100 + len(verbs) - 1)
    answers = [frame for frame in session.frames if isinstance(frame.get("ref"), int)]
    assert [frame["ref"] for frame in answers] == [n + i * 100 for n in range(len(verbs)) for i in (0, 1)]
    shown = [len(frame["entries"]) for frame in answers if frame["type"] == "page"]
    assert shown == [0, 1] * 6
    assert all(frame["changed"] == [entry_id] for frame in answers if frame["type"] == "ack")


@alone
async def test_32_frames_wait_and_one_more_is_refused_out_of_order(start_hub: StartHub) -> None:
    """Section 3: "the next one is refused with `rate_limited`, out of order, while later ones may succeed"."""
    store = RedisServer()
    try:
        hub = await start_hub(redis_url=store.url)
        session = await hub.connect("ann", subscribe=False)
        entry_id = await hub.send("ann")
        store.signal(signal.SIGSTOP)
        for number in range(34):  # one is under way, 32 wait
            await session.send("seen", ref=number, channel="inbox", ids=[entry_id])
        refused = await session.next("error")
        assert (refused["ref"], refused["code"], refused["temporary"]) == (33, "rate_limited", True)
        assert refused["message"] == "33 frames wait, at most 32"
        assert refused["retry_ms"] > 0
        assert (await session.ask("ping"))["type"] == "pong"
        assert "ack" not in kinds(session)
        store.signal(signal.SIGCONT)
        await session.first(lambda frame: frame.get("ref") == 32)
        assert [frame["ref"] for frame in session.frames if frame["type"] == "ack"] == list(range(33))
        assert (await session.ask("seen", channel="inbox", ids=[entry_id]))["type"] == "ack"
    finally:
        store.signal(signal.SIGCONT)
        store.remove()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def heavy(hub: RunningHub) -> str:
    """A user with 50 entries of 15 KiB, more than one frame holds."""
    await asyncio.gather(*(hub.send("heavy", str(n), data={"x": "ü" * 7500}) for n in range(50)))
    return "heavy"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_page_ends_early_where_the_frame_would_grow_too_large(
    hub: RunningHub, heavy: str, protocol: str
) -> None:
    """Section 6: "A page that would make its frame too large ends early"; section 1: "at most 512 KiB"."""
    session = await hub.connect(heavy, protocol=protocol, subscribe=False)
    snapshot = await session.ask("subscribe", channel="inbox", limit=100)
    newest = await session.ask("list", channel="inbox", limit=100)
    for first in (snapshot, newest):
        pages = [first]
        while pages[-1]["page"]["has_more_after"]:
            pages.append(await session.ask("list", channel="inbox", limit=100, after=pages[-1]["page"]["after"]))
        assert len(pages) == 2
        assert len({entry["id"] for page in pages for entry in page["entries"]}) == 50
        back = await session.ask("list", channel="inbox", limit=100, before=pages[-1]["page"]["before"])
        # Upwards, the page keeps what is nearest to where it was asked from.
        assert back["entries"][-1] == first["entries"][-1]
    for frame in session.frames:
        size = len(json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode())
        assert size <= HUB_FRAME_BYTES
        assert len(msgpack.packb(frame)) <= HUB_FRAME_BYTES
    assert newest["page"]["limit"] == 100


async def test_walking_up_through_pages_that_end_early_loses_nothing(hub: RunningHub, heavy: str) -> None:
    """Section 6: "for the nearest newer page, newest first too"."""
    session = await hub.connect(heavy, subscribe=False)
    everything = [entry["id"] for entry in (await hub.feed(heavy, limit=100))["items"]]
    oldest = (await hub.feed(heavy, limit=49))["page"]["after"]
    page = await session.ask("list", channel="inbox", limit=1, after=oldest)
    found = [entry["id"] for entry in page["entries"]]
    while page["page"]["before"]:
        page = await session.ask("list", channel="inbox", limit=100, before=page["page"]["before"])
        found[:0] = [entry["id"] for entry in page["entries"]]
    assert found == everything


# ---- 3. `op` -----------------------------------------------------------------------------------------


async def test_the_same_op_again_is_acknowledged_without_a_second_change(
    session: Client, hub: RunningHub, ann: str
) -> None:
    """Section 3: "`replayed: true`, the first time's `cursor`, the **current** `counts`"."""
    one, two = await hub.send(ann), await hub.send(ann)
    first = await session.ask("read", channel="inbox", ids=[one, two], op="o")
    await session.ask("archive", channel="inbox", ids=[one])
    again = await session.ask("read", channel="inbox", ids=[two, one, two], op="o", colour="blue")
    by_uuid = await session.ask("read", channel=uuid_of(hub, "inbox"), ids=[one, two], op="o")
    assert "replayed" not in first
    for replay in (again, by_uuid):
        assert replay | {"ref": 0} == {
            "type": "ack",
            "ref": 0,
            "channel": "inbox",
            "cursor": first["cursor"],
            "changed": [one, two],
            "counts": {"unseen": 0, "unread": 0, "total": 1},
            "replayed": True,
        }
    assert [frame["type"] for frame in await caught_up(session, hub, ann)].count("state") == 2


async def test_an_op_is_remembered_across_sockets(hub: RunningHub, ann: str) -> None:
    """Section 3: "Send the same `op` again", which a client does on its next socket."""
    entry_id = await hub.send(ann)
    first = await hub.connect(ann, subscribe=False)
    ack = await first.ask("archive", channel="inbox", ids=[entry_id], op="o")
    await first.ask("unarchive", channel="inbox", ids=[entry_id])
    await first.close()
    second = await hub.connect(ann, subscribe=False, protocol=MSGPACK_PROTOCOL)
    replay = await second.ask("archive", channel="inbox", ids=[entry_id], op="o")
    assert (replay["replayed"], replay["cursor"]) == (True, ack["cursor"])
    assert (await hub.feed(ann))["items"][0]["status"] == "unseen"


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("seen", {"ids": ["{one}"]}),
        ("read", {"ids": ["{one}", "{two}"]}),
        ("read", {"ids": ["{two}"]}),
        ("read", {"upto": "{top}"}),
        ("read", {"upto": "{top}", "topic": "t"}),
    ],
    ids=str,
)
async def test_the_same_op_with_another_frame_is_refused(
    session: Client, hub: RunningHub, ann: str, verb: str, fields: dict[str, Any]
) -> None:
    """Section 3: "The same `op` with another frame: `error` `idempotency_key_reused`"."""
    names = {"{one}": await hub.send(ann), "{two}": await hub.send(ann)}
    await session.ask("read", channel="inbox", ids=[names["{one}"]], op="o")
    await session.next("state")
    names["{top}"] = session.cursor
    text = json.dumps(fields)
    for name, value in names.items():
        text = text.replace(name, value)
    error = await session.ask(verb, channel="inbox", op="o", **json.loads(text))
    assert (error["code"], error["temporary"]) == ("idempotency_key_reused", False)
    statuses = [entry["status"] for entry in (await hub.feed(ann))["items"]]
    assert statuses == ["unseen", "read"]


async def test_an_op_of_a_frame_that_failed_or_of_another_feed_is_free(
    session: Client, hub: RunningHub, ann: str
) -> None:
    """Section 3: "A frame that failed is not remembered"; an `op` is remembered "per feed"."""
    here, there = await hub.send(ann), await hub.send(ann, channel="c0")
    assert (await session.ask("read", channel="inbox", ids=[here, "x"], op="o"))["code"] == "not_found"
    assert (await session.ask("read", channel="inbox", ids=[here], op="o"))["changed"] == [here]
    other = await session.ask("seen", channel="c0", ids=[there], op="o")
    assert (other["changed"], other.get("replayed")) == ([there], None)


@alone
async def test_what_changed_is_null_once_the_log_is_trimmed(start_hub: StartHub) -> None:
    """Section 3: "or `null` when the log does not reach back so far"."""
    hub = await start_hub(log_events=1)
    session = await hub.connect("ann")
    entry_id = await hub.send("ann")
    first = await session.ask("seen", channel="inbox", ids=[entry_id], op="o")
    await session.ask("read", channel="inbox", ids=[entry_id])
    replay = await session.ask("seen", channel="inbox", ids=[entry_id], op="o")
    assert (replay["changed"], replay["replayed"], replay["cursor"]) == (None, True, first["cursor"])


async def test_1000_ops_of_a_user_are_remembered_and_the_next_is_refused(hub: RunningHub, ann: str) -> None:
    """Section 3: "At most 1,000 are remembered for one user"."""
    entry_id = await hub.send(ann)
    session = await hub.connect(ann, subscribe=False)
    for first in range(0, 1000, 25):
        for number in range(first, first + 25):
            await session.send("seen", ref=number, channel="inbox", ids=[entry_id], op=f"o{number}")
        await session.first(lambda frame, n=first + 24: frame.get("ref") == n)
    refused = await session.ask("read", channel="inbox", ids=[entry_id], op="one more")
    assert (refused["code"], refused["temporary"]) == ("rate_limited", True)
    assert (await hub.feed(ann))["items"][0]["status"] == "seen"
    assert (await session.ask("seen", channel="inbox", ids=[entry_id], op="o0"))["replayed"] is True
    assert (await session.ask("read", channel="inbox", ids=[entry_id]))["changed"] == [entry_id]


# ---- 2. a conversation -------------------------------------------------------------------------------


async def test_a_client_need_not_wait_for_its_welcome(hub: RunningHub, ann: str) -> None:
    """Section 2: "It need not wait for `welcome`"; "up to 64 KiB may wait unread"."""
    entry_id = await hub.send(ann)
    session = await hub.connect()
    await session.send("auth", api_key=hub.api_key, token=hub.token(ann))
    await session.send("subscribe", ref=0, channel="inbox")
    await session.send("read", ref=1, channel="inbox", ids=[entry_id], padding="x" * 30_000)
    await session.send("list", ref=2, channel="inbox", padding="x" * 30_000)
    page = await session.first(lambda frame: frame.get("ref") == 2)
    assert [f["type"] for f in session.frames if f["type"] != "state"] == ["welcome", "subscribed", "ack", "page"]
    assert page["entries"][0]["status"] == "read"


async def test_nothing_behind_a_failed_auth_is_answered(hub: RunningHub, ann: str) -> None:
    """Section 2: "Nothing behind a failed `auth` is answered"."""
    entry_id = await hub.send(ann)
    session = await hub.connect()
    await session.send("auth", api_key="pk_unknown", token=hub.token(ann))
    await session.send("auth", api_key=hub.api_key, token=hub.token(ann))
    await session.send("read", ref=1, channel="inbox", ids=[entry_id])
    assert await session.close_code() == 4503
    assert kinds(session) == ["bye"]
    assert (await hub.feed(ann))["items"][0]["status"] == "unseen"


async def test_welcome_says_who_and_how(hub: RunningHub, ann: str) -> None:
    """Section 5, `welcome`: "in `welcome.limits`" (section 12)."""
    first, second = await hub.connect(ann, subscribe=False), await hub.connect(ann, subscribe=False)
    (welcome,) = first.frames
    assert welcome.pop("session") != second.frames[0]["session"]
    assert TIME.fullmatch(welcome.pop("expires_at"))
    assert welcome == {
        "type": "welcome",
        "user": ann,
        "ping_s": 25,
        "retry_ms": [500, 20_000],
        "limits": {"frame_bytes": 32_768, "ids": 500, "channels": 16, "waiting": 32, "page": 100},
    }


async def test_the_name_of_the_client_may_be_told(hub: RunningHub, ann: str) -> None:
    """Section 4, `auth`: "`name` and `version`, 1–64 characters each"."""
    session = await hub.connect()
    client = {"name": "bell.js", "version": "1.2.3"}
    await session.send("auth", api_key=hub.api_key, token=hub.token(ann), client=client)
    assert (await session.next("welcome"))["user"] == ann


async def test_no_cookie_is_set(hub: RunningHub) -> None:
    """Section 1: "The hub uses no cookie"."""
    session = await hub.connect()
    assert session.socket.response is not None
    assert "set-cookie" not in session.socket.response.headers


# ---- 4. subscribe, unsubscribe -----------------------------------------------------------------------


async def test_without_a_cursor_a_feed_begins_with_its_newest_page(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 5, `subscribed`: "`entries` is the newest page"."""
    ids = [await hub.send(ann, str(n)) for n in range(3)]
    await caught_up(session, hub, ann)
    top = session.cursor
    found = await session.ask("subscribe", channel="inbox", limit=2)
    assert [entry["id"] for entry in found["entries"]][1:] == ids[2:]
    assert found["page"].pop("after")
    assert found | {"ref": 0, "entries": []} == {
        "type": "subscribed",
        "ref": 0,
        "channel": "inbox",
        "channel_id": uuid_of(hub, "inbox"),
        "mode": "snapshot",
        "cursor": top,
        "counts": {"unseen": 4, "unread": 4, "total": 4},
        "entries": [],
        "page": {"before": None, "has_more_after": True, "has_more_before": False, "limit": 2},
    }


async def test_an_empty_feed_begins_at_the_start(session: Client) -> None:
    """Section 8: "`0` names the start of a feed that never had an event"."""
    found = session.frames[1]
    assert (found["mode"], found["cursor"], found["entries"]) == ("snapshot", NO_EVENT, [])
    assert found["page"] == {
        "after": None,
        "before": None,
        "has_more_after": False,
        "has_more_before": False,
        "limit": 20,
    }
    again = await session.ask("subscribe", channel="inbox", cursor=NO_EVENT)
    assert (again["mode"], again["cursor"]) == ("live", NO_EVENT)


async def test_from_the_top_nothing_was_missed(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 5, `subscribed`: "nothing was missed"."""
    await hub.send(ann)
    cursor = (await session.next("entry"))["cursor"]
    found = await session.ask("subscribe", channel="inbox", cursor=cursor, limit=5)
    assert found | {"ref": 0} == {
        "type": "subscribed",
        "ref": 0,
        "channel": "inbox",
        "channel_id": uuid_of(hub, "inbox"),
        "mode": "live",
        "cursor": cursor,
        "counts": {"unseen": 1, "unread": 1, "total": 1},
    }


async def test_what_was_missed_follows_and_ends_at_cursor_and_counts(
    session: Client, hub: RunningHub, ann: str
) -> None:
    """Section 5, `subscribed`: "the `missed` events follow and end exactly at `cursor` and `counts`"."""
    one = await hub.send(ann)
    start = (await session.next("entry"))["cursor"]
    await session.ask("read", channel="inbox", ids=[one])
    await hub.send(ann)
    async with hub.http() as http:
        await http.delete(f"/v1/messaging/notifications/{one}", params={"user": ann}, headers=hub.producer)
    await session.next("gone")
    live = [frame for frame in session.frames if frame["type"] in ("entry", "state", "gone")][1:]
    late = await hub.connect(ann, subscribe=False)
    found = await late.ask("subscribe", channel="inbox", cursor=start)
    last = await late.next("gone")
    assert (found["mode"], found["missed"]) == ("replay", 3)
    assert set(found) == {"type", "ref", "channel", "channel_id", "mode", "cursor", "counts", "missed"}
    assert late.frames[2:] == live
    assert (found["cursor"], found["counts"]) == (last["cursor"], last["counts"])


async def test_a_channel_has_one_subscription_by_either_name(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 4: "both name one subscription"; section 5: "`channel` is always the handle"."""
    found = await session.ask("subscribe", channel=uuid_of(hub, "inbox"))
    assert (found["channel"], found["channel_id"]) == ("inbox", uuid_of(hub, "inbox"))
    frames = await caught_up(session, hub, ann)
    assert [frame["type"] for frame in frames].count("entry") == 1
    left = await session.ask("unsubscribe", channel=uuid_of(hub, "inbox"))
    assert left | {"ref": 0} == {"type": "unsubscribed", "ref": 0, "channel": "inbox"}
    for kind, more in (("list", {}), ("read", {"upto": NO_EVENT})):
        assert (await session.ask(kind, channel=uuid_of(hub, "inbox"), **more))["channel"] == "inbox"


async def test_nothing_of_a_channel_follows_its_unsubscribed(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 4: "Nothing of that channel follows the answer, except answers"."""
    await session.ask("subscribe", channel="c0")
    await session.ask("unsubscribe", channel="inbox")
    silent = await hub.send(ann)
    frames = await caught_up(session, hub, ann, "c0")
    assert silent not in [frame.get("entry", {}).get("id") for frame in frames]
    again = await session.ask("subscribe", channel="inbox")
    assert [entry["id"] for entry in again["entries"]] == [silent]
    assert (await session.ask("unsubscribe", channel="c9"))["type"] == "unsubscribed"  # never followed


async def test_16_channels_are_followed_and_a_17th_is_refused(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 4: "At most 16 channels a session; the next is refused with `limit`"."""
    for number in range(15):
        assert (await session.ask("subscribe", channel=f"c{number}"))["type"] == "subscribed"
    refused = await session.ask("subscribe", channel="c15")
    assert (refused["code"], refused["temporary"]) == ("limit", False)
    assert refused["message"] == "17 channels, at most 16"
    assert (await session.ask("subscribe", channel="c3"))["type"] == "subscribed"
    await session.ask("unsubscribe", channel="c0")
    assert (await session.ask("subscribe", channel="c15"))["type"] == "subscribed"
    await caught_up(session, hub, ann, "c15")
    await caught_up(session, hub, ann)


async def test_channels_have_cursors_and_counts_of_their_own(session: Client, hub: RunningHub, ann: str) -> None:
    """The five words: "a feed belongs to one user on one in-app **channel**"."""
    await session.ask("subscribe", channel="c0")
    await hub.send(ann)
    await hub.send(ann, channel="c0")
    first, second = await session.next("entry"), await session.next("entry")
    assert (first["channel"], second["channel"]) == ("inbox", "c0")
    assert (first["prev"], second["prev"]) == (NO_EVENT, NO_EVENT)
    assert first["counts"] == second["counts"] == {"unseen": 1, "unread": 1, "total": 1}


async def test_a_subscribe_that_failed_follows_nothing(
    hub: RunningHub, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 4: "If it is answered with `error`, the channel is not followed"."""
    session = await hub.connect(ann)

    async def away(*_: Any) -> None:
        raise unavailable("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(hub.hub.store, "catch_up", away)
        assert (await session.ask("subscribe", channel="inbox"))["code"] == "unavailable"
    await hub.send(ann)
    await session.ask("subscribe", channel="c0")
    frames = await caught_up(session, hub, ann, "c0")
    assert [frame["channel"] for frame in frames if frame["type"] == "entry"] == ["c0"]
    assert (await session.ask("subscribe", channel="inbox"))["counts"]["total"] == 1


# ---- 4. marks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "status", "counts"),
    [
        ("seen", "seen", (0, 1, 1)),
        ("read", "read", (0, 0, 1)),
        ("click", "read", (0, 0, 1)),
        ("archive", "archived", (0, 0, 0)),
        ("dismiss", "dismissed", (0, 0, 0)),
    ],
)
async def test_a_mark_is_acknowledged_and_told_to_every_session(
    session: Client, hub: RunningHub, ann: str, verb: str, status: str, counts: tuple[int, int, int]
) -> None:
    """Section 2: "to every session of that user on that channel"."""
    other = await hub.connect(ann)
    entry_id = await hub.send(ann)
    entry = await session.next("entry")
    ack = await session.ask(verb, channel="inbox", ids=[entry_id])
    state = await session.next("state")
    assert state == await other.next("state")
    expected = dict(zip(("unseen", "unread", "total"), counts, strict=True))
    assert TIME.fullmatch(state.pop("at"))
    assert state == {
        "type": "state",
        "channel": "inbox",
        "cursor": ack["cursor"],
        "prev": entry["cursor"],
        "counts": expected,
        "by": session.frames[0]["session"],
        "verbs": [verb],
        "ids": [entry_id],
    }
    assert ack | {"ref": 0} == {
        "type": "ack",
        "ref": 0,
        "channel": "inbox",
        "cursor": state["cursor"],
        "changed": [entry_id],
        "counts": expected,
    }
    page = await session.ask("list", channel="inbox", status=status)
    assert [entry["status"] for entry in page["entries"]] == [status]


async def test_unarchive_brings_an_entry_back_with_its_marks(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 7: "enters `total`, and `unseen` and `unread` where that time is null"."""
    one, two = await hub.send(ann), await hub.send(ann)
    await session.ask("seen", channel="inbox", ids=[one])
    archived = await session.ask("archive", channel="inbox", ids=[one, two])
    assert archived["counts"] == {"unseen": 0, "unread": 0, "total": 0}
    back = await session.ask("unarchive", channel="inbox", ids=[two, one])
    assert (back["changed"], back["counts"]) == ([two, one], {"unseen": 1, "unread": 2, "total": 2})
    assert [entry["id"] for entry in (await session.ask("list", channel="inbox"))["entries"]] == [two, one]


async def test_a_mark_needs_no_subscription(hub: RunningHub, ann: str) -> None:
    """Section 4: "Needs no subscription"."""
    session = await hub.connect(ann, subscribe=False)
    entry_id = await hub.send(ann)
    assert (await session.ask("read", channel="inbox", ids=[entry_id]))["changed"] == [entry_id]
    assert (await session.ask("ping"))["type"] == "pong"
    assert kinds(session) == ["welcome", "ack", "pong"]


async def test_changed_are_the_ids_that_changed_in_the_order_asked_once(
    session: Client, hub: RunningHub, ann: str
) -> None:
    """Section 4: "repeats count once"; section 5: "in the order asked; with `upto`, oldest first"."""
    ids = [await hub.send(ann) for _ in range(4)]
    await session.ask("seen", channel="inbox", ids=[ids[1]])
    await session.next("state")
    ack = await session.ask("seen", channel="inbox", ids=[ids[3], ids[1], ids[0], ids[3]])
    assert ack["changed"] == (await session.next("state"))["ids"] == [ids[3], ids[0]]


async def test_a_mark_that_changes_nothing_is_no_event_and_acknowledges_the_top(
    session: Client, hub: RunningHub, ann: str
) -> None:
    """Section 7: "no event, an empty `changed`"; section 5: "where nothing changed, the top of the feed"."""
    entry_id = await hub.send(ann)
    await session.ask("read", channel="inbox", ids=[entry_id])
    top = (await session.next("state"))["cursor"]
    for verb in ("read", "seen", "unarchive"):
        ack = await session.ask(verb, channel="inbox", ids=[entry_id])
        assert (ack["changed"], ack["cursor"]) == ([], top)
        assert ack["counts"] == {"unseen": 0, "unread": 0, "total": 1}
    frames = await caught_up(session, hub, ann)
    assert (frames[-1]["type"], frames[-1]["prev"]) == ("entry", top)


async def test_upto_marks_what_had_arrived_and_spares_what_came_later(
    session: Client, hub: RunningHub, ann: str
) -> None:
    """Section 4: "What arrived later is spared; later changes of state do not move an entry"."""
    ids = [await hub.send(ann) for _ in range(3)]
    await caught_up(session, hub, ann)
    third = [frame["cursor"] for frame in session.frames if frame["type"] == "entry"][2]
    await session.ask("archive", channel="inbox", ids=[ids[1]])
    await session.next("state")
    ack = await session.ask("read", channel="inbox", upto=third)
    assert ack["changed"] == (await session.next("state"))["ids"] == [ids[0], ids[2]]
    assert ack["counts"] == {"unseen": 1, "unread": 1, "total": 3}
    assert (await session.ask("read", channel="inbox", upto=third))["changed"] == []


@pytest.mark.parametrize("verb", ["seen", "read", "archive", "dismiss"])
async def test_upto_may_be_of_one_topic(session: Client, hub: RunningHub, ann: str, verb: str) -> None:
    """Section 4: "only with `upto`: entries of this topic"."""
    chosen = await hub.send(ann, topic="a|b c")
    await hub.send(ann, topic="a")
    await hub.send(ann)
    await caught_up(session, hub, ann)
    ack = await session.ask(verb, channel="inbox", upto=session.cursor, topic="a|b c")
    assert ack["changed"] == [chosen]


async def test_upto_the_start_marks_nothing(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 4: "`0` marks nothing"."""
    await hub.send(ann)
    top = (await session.next("entry"))["cursor"]
    ack = await session.ask("seen", channel="inbox", upto=NO_EVENT)
    assert (ack["changed"], ack["cursor"]) == ([], top)


async def test_upto_a_cursor_that_the_feed_never_had_is_a_conflict(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 4: "`error` `conflict` with `details.reason` `unknown_cursor`"; "A cursor older than the log is fine"."""
    await hub.send(ann)
    top = (await session.next("entry"))["cursor"]
    micros = int(top.partition("-")[0])
    await hub.send(ann)
    for unknown in (f"{micros + 10**10}-1", f"{micros + 1}-1", f"{micros}-4294967295"):
        error = await session.ask("seen", channel="inbox", upto=unknown)
        assert (error["code"], error["temporary"]) == ("conflict", False)
        assert error["details"] == {"reason": "unknown_cursor"}
    assert (await hub.feed(ann))["total_unseen"] == 2
    older = await session.ask("seen", channel="inbox", upto=f"{micros - 10**9}-1")
    assert (older["type"], older["changed"]) == ("ack", [])


# ---- 4. refresh, list, ping -----------------------------------------------------------------------------------


async def test_one_refresh_at_a_time(hub: RunningHub, ann: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 3: "One `refresh` at a time; another is `rate_limited`"."""
    session = await hub.connect(ann)
    judged = asyncio.Event()

    async def slow(*_: Any) -> None:
        await judged.wait()

    monkeypatch.setattr(hub.hub.identity, "not_revoked", slow)
    await session.send("refresh", ref="first", token=hub.token(ann))
    second = await session.ask("refresh", token=hub.token(ann))
    assert (second["code"], second["temporary"]) == ("rate_limited", True)
    judged.set()
    assert (await session.first(lambda frame: frame.get("ref") == "first"))["type"] == "refreshed"
    assert (await session.ask("refresh", token=hub.token(ann)))["type"] == "refreshed"


async def test_a_list_is_what_rest_lists(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 4: "The filters are those of the HTTP feed"; section 6: "the same as in the HTTP feed"."""
    ids = [await hub.send(ann, str(n), topic="even" if n % 2 == 0 else "odd") for n in range(6)]
    await session.ask("read", channel="inbox", ids=ids[:2])
    await session.ask("archive", channel="inbox", ids=[ids[2]])
    shown = (await hub.feed(ann))["items"]
    queries: list[dict[str, Any]] = [
        {},
        {"limit": 2},
        {"status": "read"},
        {"status": "archived"},
        {"archived": True},
        {"topic": "odd"},
        {"topic": "even", "archived": True, "limit": 1},
        {"created_before": shown[0]["created_at"]},
        {"created_after": "2099-01-01T00:00:00+01:00"},
    ]
    for query in queries:
        page = await session.ask("list", channel="inbox", **query)
        rest = await hub.feed(ann, **query)
        assert (page["entries"], page["page"]) == (rest["items"], rest["page"])
        assert (page["counts"]["unread"], page["counts"]["unseen"]) == (rest["total_unread"], rest["total_unseen"])


async def test_a_page_carries_cursor_and_counts_of_the_whole_feed(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 5, `page`: "of the whole feed, not of the filter"."""
    for number in range(3):
        await hub.send(ann, str(number))
    await caught_up(session, hub, ann)
    page = await session.ask("list", channel="inbox", status="read", limit=1)
    assert set(page) == {"type", "ref", "channel", "cursor", "entries", "page", "counts"}
    assert (page["cursor"], page["entries"]) == (session.cursor, [])
    assert page["counts"] == {"unseen": 4, "unread": 4, "total": 4}


async def test_pages_lead_down_and_up_again(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 6: "for the next older page; null on the last one"."""
    for number in range(5):
        await hub.send(ann, str(number))
    down = [await session.ask("list", channel="inbox", limit=2)]
    while down[-1]["page"]["after"]:
        down.append(await session.ask("list", channel="inbox", limit=2, after=down[-1]["page"]["after"]))
    up = [down[-1]]
    while up[-1]["page"]["before"]:
        up.append(await session.ask("list", channel="inbox", limit=2, before=up[-1]["page"]["before"]))
    titles = [[entry["data"]["title"] for entry in page["entries"]] for page in down]
    assert titles == [["4", "3"], ["2", "1"], ["0"]]
    assert [page["entries"] for page in up] == [page["entries"] for page in reversed(down)]
    assert [page["page"]["has_more_before"] for page in down] == [False, True, True]


async def test_a_page_is_never_older_than_the_last_event(hub: RunningHub, ann: str) -> None:
    """Section 5: "never older than the last event that this session was sent"."""
    session, other = await hub.connect(ann), await hub.connect(ann, subscribe=False)
    entry_id = await hub.send(ann)
    for number in range(20):
        await other.send("archive" if number % 2 == 0 else "unarchive", channel="inbox", ids=[entry_id])
        await session.send("list", ref=number, channel="inbox")
    await session.first(lambda frame: frame.get("ref") == 19)
    chain = [NO_EVENT]
    for frame in session.frames:
        if frame["type"] in ("entry", "state"):
            assert frame["prev"] == chain[-1]
            chain.append(frame["cursor"])
        elif frame["type"] == "page":
            # A page from above the last event is fine, its event is still to come; one from below is not.
            assert frame["cursor"] not in chain[:-1]


async def test_a_ping_is_answered_at_once(session: Client) -> None:
    """Section 4: "is answered by `pong` at once, whatever waits"."""
    assert await session.ask("ping") == {"type": "pong", "ref": "r2"}
    await session.send("pong")
    await session.send("ping")
    assert await session.first(lambda frame: frame == {"type": "pong"})


# ---- 5. events and errors ----------------------------------------------------------------------------


async def test_an_entry_event_is_the_entry_as_rest_shows_it(session: Client, hub: RunningHub, ann: str) -> None:
    """Section 5: "a new entry, whole"."""
    await hub.send(ann, "hello", sender={"id": "u", "type": "user"}, resource={"id": "r", "type": "t"})
    event = await session.next("entry")
    (entry,) = (await hub.feed(ann))["items"]
    assert CURSOR.fullmatch(event["cursor"])
    assert event == {
        "type": "entry",
        "channel": "inbox",
        "cursor": event["cursor"],
        "prev": NO_EVENT,
        "counts": {"unseen": 1, "unread": 1, "total": 1},
        "entry": entry,
    }


async def test_events_are_one_unbroken_chain_the_same_for_every_session(
    session: Client, hub: RunningHub, ann: str
) -> None:
    """Section 5: "in the order of the log, each once"; section 13: "its own changes included"."""
    others = [await hub.connect(ann) for _ in range(2)]
    ids = await asyncio.gather(*(hub.send(ann, str(n)) for n in range(20)))
    await asyncio.gather(
        session.ask("read", channel="inbox", ids=ids[:10]),
        others[0].ask("archive", channel="inbox", ids=ids[5:15]),
        others[1].ask("dismiss", channel="inbox", ids=[ids[0]]),
    )
    await caught_up(session, hub, ann)
    top = session.cursor
    chains = []
    for client in (session, *others):
        await client.first(lambda frame: frame.get("cursor") == top and frame["type"] == "entry")
        chains.append([f for f in client.frames if f["type"] in ("entry", "state", "gone")])
    assert chains[0] == chains[1] == chains[2]
    assert len(chains[0]) == 24
    cursors = [NO_EVENT, *(event["cursor"] for event in chains[0])]
    assert [event["prev"] for event in chains[0]] == cursors[:-1]


@alone
async def test_entries_that_make_room_are_gone_after_the_new_one(start_hub: StartHub) -> None:
    """Section 5, `gone`: "the feed was full, or they were too old"."""
    hub = await start_hub(feed_entries=2)
    session = await hub.connect("ann")
    ids = [await hub.send("ann", str(n)) for n in range(3)]
    gone = await session.next("gone")
    assert kinds(session)[-2:] == ["entry", "gone"]
    assert gone == {
        "type": "gone",
        "channel": "inbox",
        "cursor": gone["cursor"],
        "prev": session.frames[-2]["cursor"],
        "counts": {"unseen": 2, "unread": 2, "total": 2},
        "ids": ids[:1],
        "reason": "evicted",
    }


@alone
async def test_a_store_that_is_gone_is_a_temporary_error_and_4004_for_newcomers(start_hub: StartHub) -> None:
    """Section 10: "While its store is away a hub keeps its sessions"; section 11: 4004."""
    store = RedisServer()
    try:
        hub = await start_hub(redis_url=store.url)
        session = await hub.connect("ann")
        store.signal(signal.SIGKILL)
        error = await session.ask("read", channel="inbox", ids=["x"], op="o")
        assert set(error) == {"type", "ref", "code", "message", "temporary", "retry_ms"}
        assert (error["code"], error["temporary"]) == ("unavailable", True)
        assert error["retry_ms"] > 0
        assert (await session.ask("refresh", token=hub.token("ann")))["code"] == "unavailable"
        assert (await session.ask("ping"))["type"] == "pong"
        late = await hub.connect()
        await late.send("auth", api_key=hub.api_key, token=hub.token("ann"))
        assert await late.close_code() == 4004
        (bye,) = late.frames
        assert (bye["code"], bye["reconnect"], bye["delay_ms"]) == (4004, True, [1000, 20_000])
    finally:
        store.remove()


@alone
async def test_a_fault_of_the_hub_is_one_failed_frame(start_hub: StartHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 5: "One frame failed; the session goes on"."""
    hub = await start_hub()
    session = await hub.connect("ann")

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(hub.hub.store, "page", broken)
    error = await session.ask("list", channel="inbox")
    assert (error["code"], error["temporary"]) == ("internal", True)
    assert "secret" not in json.dumps(error)
    assert (await session.ask("ping"))["type"] == "pong"


# ---- 11. closes ---------------------------------------------------------------------------------------


@alone
async def test_a_user_has_so_many_sessions_and_one_more_is_4504(start_hub: StartHub) -> None:
    """Section 11: "the user has too many sessions on this hub"."""
    hub = await start_hub(sessions_per_user=2)
    first, second = await hub.connect("ann"), await hub.connect("ann")
    third = await hub.connect()
    await third.send("auth", api_key=hub.api_key, token=hub.token("ann"))
    assert await third.close_code() == 4504
    (bye,) = third.frames
    assert (bye["code"], bye["reconnect"], bye["delay_ms"]) == (4504, False, [500, 20_000])
    assert bye["reason"] == "3 sessions of one user, at most 2"
    assert await hub.connect("bob")
    await first.close()
    again = await hub.connect()
    await again.send("auth", api_key=hub.api_key, token=hub.token("ann"))
    assert await again.next("welcome")
    assert (await second.ask("ping"))["type"] == "pong"


@alone
async def test_a_hub_that_leaves_says_so_to_everybody(start_hub: StartHub) -> None:
    """Section 11: "the hub is going away"; section 5: `bye` comes "before every close"."""
    hub = await start_hub()
    sessions = [await hub.connect(user, protocol=protocol) for user in ("ann", "bob") for protocol in PROTOCOLS]
    await hub.stop()
    for session in sessions:
        assert await session.close_code() == 4000
        bye = session.frames[-1]
        assert bye == {
            "type": "bye",
            "code": 4000,
            "reason": "this hub is going away",
            "reconnect": True,
            "delay_ms": [0, 5000],
        }
