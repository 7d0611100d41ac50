"""The judge is worth something: a good record of a real hub passes, and no doctored one does."""

import asyncio
import copy
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from hub.frames import MSGPACK_PROTOCOL
from tests.harness import RedisServer, RunningHub
from tests.judge import Connection, Frame, Record, Recording, judge

CAP, LOG = 12, 30


async def record_a_day() -> Record:
    """A little of everything that the protocol knows, on a small feed."""
    redis = RedisServer()
    hub = await RunningHub(redis.url, feed_entries=CAP, log_events=LOG).start()
    try:
        recording = Recording(hub, "ann")
        laptop = await recording.join("laptop")
        phone = await recording.join("phone", protocol=MSGPACK_PROTOCOL)
        away = await recording.join("away")
        first = [await recording.send(f"first {n}", topic="orders") for n in range(3)]
        soon = datetime.fromtimestamp(time.time() + 0.2, UTC).isoformat()
        await recording.send("soon over", expires_at=soon)
        await recording.settled()
        await away.close()
        await phone.ask("read", channel="inbox", ids=first[:2], op="o1")
        await phone.ask("read", channel="inbox", ids=first[:2], op="o1")
        await laptop.ask("seen", channel="inbox", ids=first)
        await laptop.ask("archive", channel="inbox", ids=[first[0]])
        await laptop.ask("list", channel="inbox", archived=True)
        await recording.resume("away")
        sourced = [await recording.send("sourced", source_key="s") for _ in range(2)]
        await recording.settled()
        phone = await recording.resume("phone", protocol=MSGPACK_PROTOCOL)
        await phone.ask("unarchive", channel="inbox", ids=[first[0]])
        await phone.ask("click", channel="inbox", ids=[sourced[0]])
        await recording.withdraw_source("s")
        await laptop.first(lambda frame: frame["type"] == "gone" and frame["reason"] == "expired")
        many = [await recording.send(f"many {n}") for n in range(CAP)]
        await recording.join("late")
        await laptop.ask("subscribe", channel="inbox", cursor=laptop.cursor)
        await laptop.ask("unsubscribe", channel="inbox")
        await laptop.ask("dismiss", channel="inbox", ids=[many[-4]])
        await laptop.ask("subscribe", channel="inbox", cursor=laptop.cursor)
        top = (await laptop.ask("list", channel="inbox", limit=2))["cursor"]
        await recording.withdraw(many[-3])
        await laptop.ask("archive", channel="inbox", ids=[many[-2]])
        await phone.ask("seen", channel="inbox", upto=top)
        await recording.send("last")
        return await recording.finish()
    finally:
        await hub.stop()
        redis.remove()


@pytest.fixture(scope="module")
def good() -> Record:
    return asyncio.run(record_a_day())


@pytest.fixture
def record(good: Record) -> Record:
    """To be doctored."""
    return copy.deepcopy(good)


# ---- finding a place for the knife -------------------------------------------------------------------


def where(record: Record, wanted: Callable[[Frame], Any], session: int = 0) -> tuple[Connection, int]:
    """The first such frame of a session: its connection and its place there."""
    for connection in record.sessions[session]:
        for place, frame in enumerate(connection.frames):
            if wanted(frame):
                return connection, place
    raise AssertionError("the record holds no such frame")


def frame_of(record: Record, wanted: Callable[[Frame], Any], session: int = 0) -> Frame:
    connection, place = where(record, wanted, session)
    return connection.frames[place]


def everywhere(record: Record, cursor: str) -> list[Frame]:
    """One event as each session received it."""
    return [
        frame
        for session in record.sessions
        for connection in session
        for frame in connection.frames
        if frame["type"] in ("entry", "state", "gone") and frame["cursor"] == cursor
    ]


def is_a(kind: str, **fields: Any) -> Callable[[Frame], bool]:
    return lambda frame: frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items())


def assert_found(record: Record, words: str) -> None:
    findings = judge(record)
    assert any(words in finding for finding in findings), findings


# ---- the good one ------------------------------------------------------------------------------------


def test_a_good_record_has_no_findings(good: Record) -> None:
    assert judge(good) == []


def test_the_good_record_holds_what_the_others_doctor(good: Record) -> None:
    frames = [f for session in good.sessions for connection in session for f in connection.frames]
    modes = {frame["mode"] for frame in frames if frame["type"] == "subscribed"}
    assert modes == {"live", "replay", "snapshot"}
    assert {frame["reason"] for frame in frames if frame["type"] == "gone"} == {"expired", "withdrawn", "evicted"}
    verbs = {verb for frame in frames if frame["type"] == "state" for verb in frame["verbs"]}
    assert verbs == {"seen", "read", "click", "archive", "unarchive", "dismiss"}
    assert {item["status"] for item in good.items} >= {"seen", "unseen", "archived"}
    assert good.dismissed
    assert any(frame.get("replayed") for frame in frames)


# ---- events ------------------------------------------------------------------------------------------


def test_a_dropped_event_is_found(record: Record) -> None:
    connection, place = where(record, is_a("state"), session=1)
    del connection.frames[place]
    assert_found(record, "session 2, connection 1")
    assert_found(record, "links to")


def test_a_dropped_last_event_is_found(record: Record) -> None:
    del record.sessions[3][-1].frames[-1]
    assert_found(record, "session 4, connection 1, at the end: is at")


def test_an_event_that_nobody_received_is_found(record: Record) -> None:
    cursor = frame_of(record, is_a("state", verbs=["read"]))["cursor"]
    for session in record.sessions:
        for connection in session:
            connection.frames[:] = [f for f in connection.frames if f["type"] != "state" or f["cursor"] != cursor]
    assert_found(record, "nobody received what lies between")


def test_a_doubled_event_is_found(record: Record) -> None:
    connection, place = where(record, is_a("entry"))
    connection.frames.insert(place, connection.frames[place])
    assert_found(record, "for the second time")


def test_two_events_in_the_wrong_order_are_found(record: Record) -> None:
    connection, place = where(record, is_a("entry"))
    frames = connection.frames
    frames[place], frames[place + 1] = frames[place + 1], frames[place]
    assert_found(record, "links to")


def test_a_broken_prev_is_found(record: Record) -> None:
    event = frame_of(record, is_a("state", verbs=["archive"]))
    event["prev"] = "1234567890123456-1"
    assert_found(record, "links to 1234567890123456-1")


def test_a_cursor_that_falls_is_found(record: Record) -> None:
    cursor = frame_of(record, is_a("entry"))["cursor"]
    for session in record.sessions:
        for connection in session:
            connection.frames[:] = renamed(connection.frames, cursor, "1234567890123456-1")
    second = everywhere(record, "1234567890123456-1")[0]
    assert second["prev"] == "0"
    assert_found(record, "at 1234567890123456-1: entry")
    third = frame_of(record, lambda f: f.get("prev") == "1234567890123456-1")["cursor"]
    for session in record.sessions:
        for connection in session:
            connection.frames[:] = renamed(connection.frames, third, "1234567890123455-1")
    assert_found(record, "at 1234567890123455-1: the cursor does not rise above 1234567890123456-1")


def renamed(value: Any, old: str, new: str) -> Any:
    """The same frames with one string changed wherever it is."""
    match value:
        case dict():
            return {key: renamed(item, old, new) for key, item in value.items()}
        case list():
            return [renamed(item, old, new) for item in value]
    return new if value == old else value


def test_a_wrong_count_is_found_even_when_all_sessions_agree(record: Record) -> None:
    for event in everywhere(record, frame_of(record, is_a("state", verbs=["archive"]))["cursor"]):
        event["counts"]["unread"] += 1
    assert_found(record, "a recount gives")


def test_a_wrong_time_is_found_even_when_all_sessions_agree(record: Record) -> None:
    for event in everywhere(record, frame_of(record, is_a("state", verbs=["read"]))["cursor"]):
        event["at"] = "2020-01-01T00:00:00.000Z"
    assert_found(record, "marked at 2020-01-01T00:00:00.000Z")


def test_a_changed_id_list_is_found_even_when_all_sessions_agree(record: Record) -> None:
    for event in everywhere(record, frame_of(record, is_a("state", verbs=["read"]))["cursor"]):
        event["ids"].pop()
    assert_found(record, "without such an event")
    assert_found(record, "a recount gives")


def test_an_event_that_names_an_entry_it_did_not_change_is_found(record: Record) -> None:
    for event in everywhere(record, frame_of(record, is_a("state", verbs=["archive"]))["cursor"]):
        event["verbs"] = ["seen"]
    assert_found(record, "is said to have changed and did not")


def test_one_session_that_was_told_something_else_is_found(record: Record) -> None:
    frame_of(record, is_a("entry"), session=1)["entry"]["data"]["title"] = "forged"
    assert_found(record, "two different events at")


def test_an_entry_that_comes_back_after_it_was_gone_is_found(record: Record) -> None:
    gone = frame_of(record, is_a("gone", reason="withdrawn"))
    entry = frame_of(record, lambda f: f["type"] == "entry" and f["entry"]["id"] in gone["ids"])
    later = frame_of(record, lambda f: f["type"] == "entry" and f["entry"]["data"]["title"] == "last")
    for event in everywhere(record, later["cursor"]):
        event["entry"] = entry["entry"]
    assert_found(record, "for the second time")


def test_an_entry_gone_too_early_is_found(record: Record) -> None:
    gone = frame_of(record, is_a("gone", reason="withdrawn"))
    for event in everywhere(record, gone["cursor"]):
        event["reason"] = "expired"
    assert_found(record, "expired before")


def test_an_eviction_of_any_but_the_oldest_is_found(record: Record) -> None:
    gone = frame_of(record, is_a("gone", reason="withdrawn"))
    for event in everywhere(record, gone["cursor"]):
        event["reason"] = "evicted"
    assert_found(record, "evicted are not the oldest")


def test_a_withdrawal_that_nobody_asked_for_is_found(record: Record) -> None:
    record.withdrawn.pop()
    assert_found(record, "nobody did that")
    record.unanswered = True
    assert judge(record) == []


# ---- answers -----------------------------------------------------------------------------------------


def test_an_ack_without_an_event_is_found(record: Record) -> None:
    frame_of(record, is_a("ack"), session=1)["cursor"] = "1234567890123456-1"
    assert_found(record, "without such an event at 1234567890123456-1")


def test_an_ack_of_more_than_changed_is_found(record: Record) -> None:
    frame_of(record, is_a("ack"), session=1)["changed"].append("more")
    assert_found(record, "without such an event")


def test_an_ack_of_somebody_elses_change_is_found(record: Record) -> None:
    ack = frame_of(record, is_a("ack"), session=1)
    connection, place = where(record, is_a("ack"))
    connection.frames[place] = copy.deepcopy(ack)
    assert_found(record, "acknowledges a change of")


def test_an_own_change_that_was_never_acknowledged_is_found(record: Record) -> None:
    connection, place = where(record, lambda f: f["type"] == "ack" and f["changed"])
    del connection.frames[place]
    assert_found(record, "were never acknowledged")


def test_an_ack_with_wrong_counts_is_found(record: Record) -> None:
    frame_of(record, is_a("ack"))["counts"]["total"] += 1
    assert_found(record, "(ack): counts")


def test_a_page_with_a_wrong_entry_is_found(record: Record) -> None:
    frame_of(record, is_a("page"))["entries"][0]["status"] = "dismissed"
    assert_found(record, "(page): entry")


def test_a_page_out_of_order_is_found(record: Record) -> None:
    frame_of(record, lambda f: f["type"] == "page" and len(f["entries"]) > 1)["entries"].reverse()
    assert_found(record, "entries are not newest first")


def test_a_page_older_than_the_event_before_it_is_found(record: Record) -> None:
    connection, place = where(record, is_a("page"))
    later = frame_of(record, lambda f: f["type"] == "entry" and f["entry"]["data"]["title"] == "many 0")
    connection.frames.insert(connection.frames.index(later) + 1, connection.frames[place])
    assert_found(record, "older than the event at")


# ---- beginning and resuming --------------------------------------------------------------------------


def test_a_snapshot_without_one_of_its_entries_is_found(record: Record) -> None:
    del frame_of(record, is_a("subscribed"), session=3)["entries"][0]
    assert_found(record, "not the newest of the feed")
    assert_found(record, "does not hold entry")


def test_a_snapshot_that_hides_that_there_is_more_is_found(record: Record) -> None:
    del frame_of(record, is_a("subscribed"), session=3)["entries"][-1]
    assert_found(record, "has_more_after False")


def test_a_snapshot_with_wrong_counts_is_found(record: Record) -> None:
    frame_of(record, is_a("subscribed"), session=3)["counts"]["unseen"] += 1
    assert_found(record, "(subscribed): counts")


def test_a_replay_that_begins_elsewhere_is_found(record: Record) -> None:
    record.sessions[2][1].resumed = "1234567890123456-1"
    assert_found(record, "resumed from 1234567890123456-1")


def test_a_replay_with_an_event_too_few_is_found(record: Record) -> None:
    connection, place = where(record, is_a("subscribed", mode="replay"), session=2)
    del connection.frames[place + connection.frames[place]["missed"]]
    assert_found(record, "the replay ends at")


def test_a_replay_that_announces_another_end_is_found(record: Record) -> None:
    frame_of(record, is_a("subscribed", mode="replay"), session=2)["cursor"] = "1234567890123456-1"
    assert_found(record, "announced was 1234567890123456-1")


def test_a_live_that_was_none_is_found(record: Record) -> None:
    connection, place = where(record, is_a("subscribed", mode="replay"), session=2)
    missed = connection.frames[place]["missed"]
    connection.frames[place]["mode"] = "live"
    del connection.frames[place + 1 : place + 1 + missed]
    assert_found(record, "live at")


def test_an_event_after_unsubscribed_is_found(record: Record) -> None:
    connection, place = where(record, is_a("unsubscribed"))
    later = frame_of(record, is_a("state", verbs=["dismiss"]))
    connection.frames.insert(place + 1, later)
    assert_found(record, "not followed")


def test_a_subscribed_that_nobody_asked_for_must_be_a_snapshot(record: Record) -> None:
    del frame_of(record, is_a("subscribed", mode="live"))["ref"]
    assert_found(record, "unasked, with mode live")


# ---- REST and the producers --------------------------------------------------------------------------


def test_a_lost_entry_is_found(record: Record) -> None:
    record.sent.append("0190b000-0000-7000-8000-000000000000")
    assert_found(record, "was sent and is lost")


def test_an_entry_that_rest_lost_is_found(record: Record) -> None:
    del record.items[2]
    assert_found(record, "was sent and is lost")


def test_an_entry_that_nobody_sent_is_found(record: Record) -> None:
    record.sent.remove(record.items[0]["id"])
    assert_found(record, "nobody sent it")


def test_an_entry_that_outlived_its_withdrawal_is_found(record: Record) -> None:
    record.withdrawn.append(record.items[0]["id"])
    assert_found(record, "was withdrawn and is still there")


def test_another_status_over_rest_is_found(record: Record) -> None:
    record.items[0]["status"] = "read"
    assert_found(record, "its times say")


def test_another_time_over_rest_is_found(record: Record) -> None:
    item = next(item for item in record.items if item["seen_at"])
    item["seen_at"] = "2020-01-01T00:00:00.000Z"
    assert_found(record, f"REST has entry {item['id']}")


def test_another_order_over_rest_is_found(record: Record) -> None:
    record.items[0], record.items[1] = record.items[1], record.items[0]
    assert_found(record, "REST has listed")


def test_an_entry_twice_over_rest_is_found(record: Record) -> None:
    record.items.append(record.items[-1])
    assert_found(record, "REST lists an entry twice")


def test_wrong_totals_over_rest_are_found(record: Record) -> None:
    record.total_unread += 1
    assert_found(record, "REST counts")


def test_a_session_left_behind_is_found(record: Record) -> None:
    connection = record.sessions[2][-1]
    place = max(place for place, frame in enumerate(connection.frames) if frame["type"] == "gone")
    del connection.frames[place:]
    assert_found(record, "session 3, connection 2, at the end: is at")


def test_a_session_that_left_is_not_expected_to_know_the_end(record: Record) -> None:
    connection = record.sessions[2][-1]
    del connection.frames[-2:]
    connection.open = False
    assert judge(record) == []
