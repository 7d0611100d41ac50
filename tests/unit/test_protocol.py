"""The conversation with one client, sentence by sentence: the test plays client, store and clock."""

import json
from collections import deque
from typing import Any

import pytest

from hub import frames
from hub.actions import Admission, Admit, Apply, Close, Do, Fetch, Read, Renew, Send
from hub.errors import Broken, CloseCode, Code, Refused
from hub.frames import JSON_PROTOCOL, Encoded
from hub.model import CatchUp, Channel, Claims, Counts, Entry, Event, Marked, Page
from hub.protocol import HELD_BYTES, REFUSED, REPAIR_RETRY_S, SETTLE_S, SLOW_BYTES, START_BYTES, Conversation, Timing

TIMING = Timing(auth_s=5, ping_s=25, pong_s=10, max_age_s=43_200, leeway_s=30)
CHANNELS = {f"c{n}": Channel(f"00000000-0000-7000-8000-{n:012d}", f"c{n}") for n in range(20)}
INBOX = Channel("11111111-1111-7111-8111-111111111111", "inbox")
BY_NAME = {name: c for c in (INBOX, *CHANNELS.values()) for name in (c.handle, c.id)}
NOBODY_KNOWS = Refused(Code.UNAVAILABLE, "the store did not answer")
STRANGER = Refused(Code.REVOKED, "this user's tokens were revoked")


def cursor(n: int) -> str:
    return f"{1_790_000_000_000_000 + n}-7" if n else "0"


def counts(n: int) -> Counts:
    return Counts(n, n, n)


def entry_event(n: int, channel: str = "inbox", prev: int | None = None, size: int = 0) -> Event:
    body = f'{{"id":"e{n}","data":"{"x" * size}"'
    return Event(channel, cursor(n), cursor(n - 1 if prev is None else prev), counts(n), "entry", body=body)


def live(n: int) -> CatchUp:
    return CatchUp("live", cursor(n), counts(n))


def replay(first: int, last: int, size: int = 0) -> CatchUp:
    events = tuple(entry_event(n, size=size) for n in range(first, last + 1))
    return CatchUp("replay", cursor(last), counts(last), events=events)


def page_of(n: int, entries: int = 1, size: int = 0) -> Page:
    shown = tuple(Entry(f"e{i}", f'{{"id":"e{i}","data":"{"x" * size}"', 1000 + i) for i in range(n, n - entries, -1))
    return Page(shown, 20, cursor(n), counts(n), None, None)


def snapshot(n: int) -> CatchUp:
    return CatchUp("snapshot", cursor(n), counts(n), page=page_of(n))


class Talk:
    """A conversation at time `now`. `got` has the frames for the client, `todo` the requests to the store.

    While `reading` is set every frame leaves at once; otherwise they stay unsent until `read` is called.
    """

    def __init__(self, *, issued_at: int | None = 1000, lives_s: float | None = None) -> None:
        self.now = 100.0
        self.claims = Claims("default", "ann", issued_at, None if lives_s is None else 5_000_000 + lives_s)
        self.admission = Admission(self.claims, BY_NAME.get, lives_s)
        self.talk = Conversation("s1", JSON_PROTOCOL, TIMING, self.now)
        self.got: list[dict[str, Any]] = []
        self.todo: deque[Any] = deque()
        self.closed: Close | None = None
        self.reading = True
        self.unsent: deque[Encoded] = deque()

    def perform(self, actions: list[Any]) -> None:
        for action in actions:
            assert self.closed is None, f"{action} after the close"
            match action:
                case Send(frame):
                    self.got.append(json.loads(frame.text))
                    self.unsent.append(frame)
                case Do(request):
                    self.todo.append(request)
                case Close():
                    self.closed = action
        while self.reading and self.unsent:
            self.perform(self.talk.sent(self.unsent.popleft().size, self.now))

    def read(self, bytes_left: int = 0) -> None:
        """The client reads until at most so much is unsent."""
        while self.unsent and sum(frame.size for frame in self.unsent) > bytes_left:
            self.perform(self.talk.sent(self.unsent.popleft().size, self.now))

    def say(self, kind: str, **fields: Any) -> None:
        self.raw(json.dumps({"type": kind} | fields))

    def raw(self, message: str) -> None:
        self.perform(self.talk.receive(message, self.now))

    def answer(self, answer: object) -> Any:
        """The store's answer to the oldest open request, which is returned."""
        request = self.todo.popleft()
        self.perform(self.talk.answered(request, answer, self.now))
        return request

    def happens(self, *events: Event) -> None:
        for event in events:
            self.perform(self.talk.event(event, frames.event(event), self.now))

    def doubt(self) -> None:
        self.perform(self.talk.doubt(self.now))

    def checked(self, tops: dict[str, str], revoked_before: int | None = None) -> None:
        self.perform(self.talk.checked(tops, revoked_before, self.now))

    def passes(self, seconds: float) -> None:
        """Time passes: the conversation is ticked at each time it asked for on the way."""
        end = self.now + seconds
        while (due := self.talk.next_tick) is not None and due <= end:
            self.now = max(self.now, due)
            self.perform(self.talk.tick(self.now))
            if self.talk.next_tick == due:
                break
        self.now = end
        self.perform(self.talk.tick(self.now))

    def take(self) -> list[dict[str, Any]]:
        """The frames since the last look."""
        got, self.got = self.got, []
        return got

    def kinds(self) -> list[str]:
        return [frame["type"] for frame in self.take()]

    def cursors(self) -> list[str]:
        """Those of the events since the last look."""
        return [frame["cursor"] for frame in self.take() if frame["type"] in ("entry", "state", "gone")]


@pytest.fixture
def guest() -> Talk:
    """Connected, and has not said who it is."""
    return Talk()


def welcomed(**options: Any) -> Talk:
    talk = Talk(**options)
    talk.say("auth", api_key="pk_1", token="t")
    talk.answer(talk.admission)
    talk.take()
    return talk


@pytest.fixture
def ann() -> Talk:
    """Welcomed, and follows nothing."""
    return welcomed()


def follow(talk: Talk, n: int = 5, channel: str = "inbox") -> Talk:
    talk.say("subscribe", channel=channel, cursor=cursor(n))
    talk.answer(live(n))
    talk.take()
    return talk


@pytest.fixture
def follower(ann: Talk) -> Talk:
    """Follows `inbox`, whose fifth event was the last."""
    return follow(ann)


def settled(talk: Talk, n: int = 5) -> Talk:
    """The event that was the top of the last read arrived, too: from now on nothing older can."""
    talk.happens(entry_event(n))
    assert talk.take() == []
    return talk


# ---- who is it ---------------------------------------------------------------------------------------


def test_auth_is_judged_and_answered_with_welcome(guest: Talk) -> None:
    guest.say("auth", api_key="pk_1", token="t")
    assert guest.todo[0] == Admit(frames.Auth("pk_1", "t"))
    guest.answer(guest.admission)
    (welcome,) = guest.take()
    assert (welcome["type"], welcome["session"], welcome["user"]) == ("welcome", "s1", "ann")
    assert (welcome["expires_at"], welcome["ping_s"], welcome["retry_ms"]) == (None, 25, [500, 20_000])
    assert welcome["limits"] == {"frame_bytes": 32_768, "ids": 500, "channels": 16, "waiting": 32, "page": 100}
    assert guest.talk.authenticated


def test_no_auth_in_time_ends_it(guest: Talk) -> None:
    guest.passes(4.9)
    assert guest.closed is None
    guest.passes(0.1)
    assert guest.closed is not None
    assert guest.closed.code is CloseCode.AUTH_TIMEOUT
    assert guest.take()[-1] == {
        "type": "bye",
        "code": 4006,
        "reason": "no auth within 5 s",
        "reconnect": True,
        "delay_ms": [500, 20_000],
    }


def test_a_slow_judgement_is_not_the_clients_fault(guest: Talk) -> None:
    guest.say("auth", api_key="pk_1", token="t")
    guest.passes(60)
    assert guest.closed is None
    guest.answer(guest.admission)
    assert guest.kinds() == ["welcome"]


@pytest.mark.parametrize(
    "first", ['{"type":"ping"}', '{"type":"subscribe","channel":"inbox"}', "[]", "{", '{"type":7}']
)
def test_another_first_frame_ends_it(guest: Talk, first: str) -> None:
    guest.raw(first)
    assert guest.closed is not None
    assert guest.closed.code is CloseCode.BAD_FRAME
    assert [frame["type"] for frame in guest.take()] == ["bye"]
    assert not guest.todo


@pytest.mark.parametrize(
    "fields", [{}, {"api_key": "k"}, {"api_key": "k", "token": "t", "user": "u"}, {"api_key": 7, "token": "t"}]
)
def test_an_auth_with_wrong_fields_ends_it(guest: Talk, fields: dict[str, Any]) -> None:
    guest.say("auth", **fields)
    assert guest.closed is not None
    assert guest.closed.code is CloseCode.BAD_TOKEN


@pytest.mark.parametrize("code", [CloseCode.BAD_TOKEN, CloseCode.TOKEN_EXPIRED, CloseCode.FORBIDDEN])
def test_a_refused_auth_says_bye_with_its_code_and_whether_to_come_back(guest: Talk, code: CloseCode) -> None:
    guest.say("auth", api_key="pk_1", token="t")
    guest.answer(Broken(code, "no"))
    (bye,) = guest.take()
    assert (bye["code"], bye["reason"], bye["reconnect"]) == (int(code), "no", code < 4500)
    assert guest.closed == Close(code, "no")


def test_a_second_auth_is_an_error_and_the_socket_lives(ann: Talk) -> None:
    ann.say("auth", api_key="pk_1", token="t")
    (error,) = ann.take()
    assert (error["type"], error["code"], error["temporary"]) == ("error", "invalid_request", False)
    assert ann.closed is None


def test_after_the_end_nothing_is_done_any_more(follower: Talk) -> None:
    follower.perform(follower.talk.close(CloseCode.DRAINING, "leaving"))
    assert follower.closed is not None
    follower.take()
    follower.say("ping")
    follower.say("subscribe", channel="inbox")
    follower.happens(entry_event(6))
    follower.doubt()
    follower.checked({"inbox": cursor(9)}, 9999)
    follower.passes(100_000)
    follower.perform(follower.talk.close(CloseCode.SLOW, "again"))
    assert (follower.take(), list(follower.todo), follower.talk.next_tick) == ([], [], None)
    assert follower.talk.follows == ()


def test_an_answer_that_comes_after_the_end_is_dropped(ann: Talk) -> None:
    ann.say("read", channel="inbox", ids=["e1"])
    ann.perform(ann.talk.close(CloseCode.DRAINING, "leaving"))
    ann.take()
    ann.answer(Marked(cursor(1), counts(1), ("e1",)))
    assert ann.take() == []


def test_an_abandoned_conversation_does_nothing(follower: Talk) -> None:
    follower.talk.abandon()
    follower.happens(entry_event(6))
    follower.doubt()
    follower.say("ping")
    follower.passes(1000)
    assert (follower.take(), follower.closed, follower.talk.next_tick) == ([], None, None)


# ---- following ---------------------------------------------------------------------------------------


def test_subscribe_reads_from_the_cursor_and_answers_live(ann: Talk) -> None:
    ann.say("subscribe", ref="r1", channel="inbox", cursor=cursor(5), limit=7)
    request = ann.todo[0]
    assert (request.channel, request.cursor, request.limit) == (INBOX, cursor(5), 7)
    ann.answer(live(5))
    assert ann.take() == [
        {
            "type": "subscribed",
            "ref": "r1",
            "channel": "inbox",
            "channel_id": INBOX.id,
            "mode": "live",
            "cursor": cursor(5),
            "counts": {"unseen": 5, "unread": 5, "total": 5},
        }
    ]


def test_a_replay_announces_the_missed_events_and_brings_them_in_order(ann: Talk) -> None:
    ann.say("subscribe", ref=1, channel="inbox", cursor=cursor(5))
    ann.answer(replay(6, 8))
    subscribed, *events = ann.take()
    assert (subscribed["mode"], subscribed["missed"], subscribed["ref"]) == ("replay", 3, 1)
    assert (subscribed["cursor"], subscribed["counts"]["total"]) == (cursor(8), 8)
    assert [(e["prev"], e["cursor"]) for e in events] == [(cursor(n - 1), cursor(n)) for n in (6, 7, 8)]
    ann.happens(entry_event(9))
    assert ann.cursors() == [cursor(9)]


def test_a_snapshot_brings_the_newest_page(ann: Talk) -> None:
    ann.say("subscribe", channel="inbox")
    assert ann.answer(snapshot(4)).cursor is None
    (subscribed,) = ann.take()
    assert (subscribed["mode"], [entry["id"] for entry in subscribed["entries"]]) == ("snapshot", ["e4"])
    assert subscribed["page"] == {
        "after": None,
        "before": None,
        "has_more_after": False,
        "has_more_before": False,
        "limit": 20,
    }
    assert "ref" not in subscribed


def test_what_happens_while_it_is_read_comes_after_what_was_read(ann: Talk) -> None:
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.happens(entry_event(6), entry_event(7), entry_event(8))
    assert ann.take() == []
    ann.answer(replay(6, 7))
    assert [frame["type"] for frame in ann.got] == ["subscribed", "entry", "entry", "entry"]
    assert ann.cursors() == [cursor(6), cursor(7), cursor(8)]


def test_events_of_a_channel_that_is_not_followed_are_nothing(follower: Talk) -> None:
    follower.happens(entry_event(1, channel="c1"))
    assert follower.take() == []


def test_a_channel_goes_by_its_id_or_handle_and_is_followed_once(ann: Talk) -> None:
    ann.say("subscribe", channel=INBOX.id, cursor=cursor(5))
    assert ann.answer(live(5)).channel == INBOX
    assert ann.take()[0]["channel"] == "inbox"
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.answer(live(5))
    assert ann.talk.follows == ("inbox",)
    ann.take()
    ann.happens(entry_event(6))
    assert ann.cursors() == [cursor(6)]


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe", "list", "read"])
def test_an_unknown_channel_is_not_found(ann: Talk, kind: str) -> None:
    ann.say(kind, ref="r", channel="nowhere", **({"ids": ["e1"]} if kind == "read" else {}))
    (error,) = ann.take()
    assert (error["ref"], error["code"], error["temporary"]) == ("r", "not_found", False)
    assert error["details"] == {"resource": "channel", "id": "nowhere"}
    assert not ann.todo


def test_16_channels_may_be_followed_and_not_17(ann: Talk) -> None:
    for n in range(16):
        follow(ann, channel=f"c{n}")
    ann.say("subscribe", ref="r", channel="c16")
    (error,) = ann.take()
    assert (error["ref"], error["code"], error["message"]) == ("r", "limit", "17 channels, at most 16")
    assert not ann.todo
    follow(ann, channel="c3")  # a followed one again is no further one
    ann.say("unsubscribe", channel="c3")
    follow(ann, channel="c16")
    assert set(ann.talk.follows) == {f"c{n}" for n in range(17)} - {"c3"}


def test_a_failed_subscribe_follows_nothing(ann: Talk) -> None:
    ann.say("subscribe", ref="r", channel="inbox")
    ann.happens(entry_event(6))
    ann.answer(NOBODY_KNOWS)
    (error,) = ann.take()
    assert (error["ref"], error["code"], error["temporary"], error["retry_ms"]) == ("r", "unavailable", True, 500)
    assert ann.talk.follows == ()
    ann.happens(entry_event(7))
    assert ann.take() == []


def test_after_unsubscribe_nothing_of_the_channel_follows(follower: Talk) -> None:
    follower.say("unsubscribe", ref="r", channel="inbox")
    assert follower.take() == [{"type": "unsubscribed", "ref": "r", "channel": "inbox"}]
    follower.happens(entry_event(6))
    assert (follower.take(), follower.talk.follows) == ([], ())


def test_subscribing_again_starts_again_from_the_cursor_given(follower: Talk) -> None:
    follower.happens(entry_event(6))
    follower.say("subscribe", channel="inbox", cursor=cursor(4))
    follower.take()
    follower.happens(entry_event(7))
    assert follower.take() == []
    follower.answer(replay(5, 7))
    assert follower.cursors() == [cursor(5), cursor(6), cursor(7)]


# ---- the chain ---------------------------------------------------------------------------------------


def test_an_event_that_links_goes_out_with_its_counts(follower: Talk) -> None:
    follower.happens(entry_event(6))
    (event,) = follower.take()
    assert (event["type"], event["cursor"], event["prev"]) == ("entry", cursor(6), cursor(5))
    assert event["counts"] == {"unseen": 6, "unread": 6, "total": 6}


def test_the_event_that_was_the_top_of_the_read_is_not_told_twice(follower: Talk) -> None:
    follower.happens(entry_event(5))
    assert (follower.take(), list(follower.todo)) == ([], [])


def test_events_older_than_the_read_are_dropped_until_the_top_arrives(follower: Talk) -> None:
    follower.happens(entry_event(3), entry_event(4))
    follower.passes(SETTLE_S / 2)
    follower.happens(entry_event(5), entry_event(6))
    assert follower.cursors() == [cursor(6)]
    follower.passes(SETTLE_S * 2)
    assert not follower.todo


def test_events_older_than_the_read_are_dropped_until_one_links(follower: Talk) -> None:
    follower.happens(entry_event(4), entry_event(6))
    assert follower.cursors() == [cursor(6)]
    follower.passes(SETTLE_S * 2)
    assert not follower.todo


def test_when_nothing_links_for_250_ms_after_a_drop_the_log_is_read_again(follower: Talk) -> None:
    follower.happens(entry_event(7))
    follower.passes(SETTLE_S - 0.01)
    assert not follower.todo
    assert follower.talk.next_tick == pytest.approx(follower.now + 0.01)
    follower.passes(0.01)
    assert follower.todo[0] == Read(INBOX, cursor(5), 20, None)
    follower.answer(replay(6, 7))
    assert follower.cursors() == [cursor(6), cursor(7)]


def test_the_250_ms_count_from_the_first_drop(follower: Talk) -> None:
    follower.happens(entry_event(7))
    follower.passes(SETTLE_S * 0.8)
    follower.happens(entry_event(8))
    follower.passes(SETTLE_S * 0.2)
    assert len(follower.todo) == 1


def test_once_settled_an_event_that_does_not_link_has_the_log_read_at_once(follower: Talk) -> None:
    settled(follower)
    follower.happens(entry_event(8))
    assert follower.todo[0] == Read(INBOX, cursor(5), 20, None)
    follower.happens(entry_event(9))
    assert len(follower.todo) == 1
    follower.answer(replay(6, 8))
    assert follower.cursors() == [cursor(6), cursor(7), cursor(8), cursor(9)]
    assert not follower.todo


def test_an_event_that_linked_settles_it_too(follower: Talk) -> None:
    follower.happens(entry_event(6), entry_event(8))
    assert follower.todo[0] == Read(INBOX, cursor(6), 20, None)


def test_a_cursor_that_is_larger_is_not_taken_for_newer(follower: Talk) -> None:
    """After a failover the log goes on from an earlier event: its cursors need not be above those that were lost."""
    settled(follower)
    lost_and_found = Event("inbox", cursor(3), cursor(2), counts(3), "gone", ids=("e1",), reason="withdrawn")
    follower.happens(lost_and_found)
    assert follower.todo[0] == Read(INBOX, cursor(5), 20, None)
    follower.answer(snapshot(3))
    (subscribed,) = follower.take()
    assert (subscribed["mode"], subscribed["cursor"]) == ("snapshot", cursor(3))
    assert "ref" not in subscribed


def test_where_the_log_no_longer_reaches_back_an_unasked_snapshot_comes(follower: Talk) -> None:
    follower.doubt()
    follower.happens(entry_event(999))
    follower.answer(snapshot(998))
    subscribed, event = follower.take()
    assert (subscribed["type"], subscribed["mode"], "ref" in subscribed) == ("subscribed", "snapshot", False)
    assert event["cursor"] == cursor(999)


# ---- doubt and repairs -------------------------------------------------------------------------------


def test_doubt_reads_every_followed_feed_from_its_cursor_and_tells_nothing_when_nothing_was_missed(
    follower: Talk,
) -> None:
    follow(follower, 3, "c1")
    follower.doubt()
    assert follower.answer(live(5)).cursor == cursor(5)
    assert follower.answer(live(3)).channel == CHANNELS["c1"]
    assert (follower.take(), list(follower.todo)) == ([], [])


def test_doubt_brings_what_was_missed_without_a_word_about_it(follower: Talk) -> None:
    follower.doubt()
    follower.answer(replay(6, 7))
    assert [frame["type"] for frame in follower.got] == ["entry", "entry"]
    assert follower.cursors() == [cursor(6), cursor(7)]


def test_many_doubts_are_one_read(follower: Talk) -> None:
    follower.say("read", channel="inbox", ids=["e1"])
    for _ in range(3):
        follower.doubt()
    follower.answer(Marked(cursor(5), counts(5), ()))
    assert len(follower.todo) == 1
    follower.answer(live(5))
    assert not follower.todo


def test_doubt_during_a_read_has_it_read_once_more(ann: Talk) -> None:
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.doubt()
    ann.answer(live(5))
    assert ann.kinds() == ["subscribed"]
    assert ann.todo[0] == Read(INBOX, cursor(5), 20, None)
    ann.answer(replay(6, 6))
    assert ann.cursors() == [cursor(6)]
    assert not ann.todo


def test_doubt_during_other_work_is_settled_before_the_next_frame(follower: Talk) -> None:
    follower.say("read", channel="inbox", ids=["e1"])
    follower.say("read", channel="inbox", ids=["e2"])
    follower.doubt()
    follower.answer(Marked(cursor(5), counts(5), ()))
    assert isinstance(follower.todo[0], Read)
    follower.answer(live(5))
    assert isinstance(follower.todo[0], Apply)


def test_doubt_while_nothing_is_followed_is_nothing(ann: Talk, guest: Talk) -> None:
    for talk in (ann, guest):
        talk.doubt()
        assert not talk.todo


def test_a_repair_goes_before_a_subscribe_that_waits(follower: Talk) -> None:
    follower.say("read", channel="inbox", ids=["e1"])
    follower.say("subscribe", channel="inbox", cursor=cursor(2))
    follower.doubt()
    follower.say("ping")
    assert follower.kinds() == ["pong"]
    follower.answer(Marked(cursor(5), counts(5), ()))
    assert follower.answer(live(5)).frame is None  # the repair was first in the queue
    assert follower.answer(replay(3, 5)).cursor == cursor(2)
    assert not follower.todo


def test_a_repair_goes_before_an_unsubscribe_that_waits(follower: Talk) -> None:
    follower.reading = False
    follower.happens(entry_event(6, size=START_BYTES))
    follower.say("unsubscribe", channel="inbox")
    follower.doubt()
    follower.reading = True
    follower.read()
    read = follower.todo.popleft()
    assert isinstance(read, Read)
    follower.perform(follower.talk.answered(read, live(6), follower.now))
    assert (follower.kinds()[-1], list(follower.todo), follower.talk.follows) == ("unsubscribed", [], ())


def test_a_failed_repair_is_tried_again_a_second_later(follower: Talk) -> None:
    follower.doubt()
    follower.answer(NOBODY_KNOWS)
    assert (follower.take(), list(follower.todo)) == ([], [])
    assert follower.talk.next_tick == follower.now + REPAIR_RETRY_S
    follower.passes(REPAIR_RETRY_S)
    follower.answer(replay(6, 7))
    assert follower.cursors() == [cursor(6), cursor(7)]
    follower.passes(REPAIR_RETRY_S * 3)
    assert not follower.todo


def test_events_that_link_go_out_after_a_failed_repair(follower: Talk) -> None:
    follower.doubt()
    follower.happens(entry_event(6))
    follower.answer(NOBODY_KNOWS)
    assert follower.cursors() == [cursor(6)]


# ---- the periodic check ------------------------------------------------------------------------------


def test_a_check_that_finds_another_top_reads_the_log(follower: Talk) -> None:
    follower.checked({"inbox": cursor(7), "elsewhere": cursor(9)})
    follower.answer(replay(6, 7))
    assert follower.cursors() == [cursor(6), cursor(7)]


def test_a_check_that_finds_the_same_top_does_nothing(follower: Talk) -> None:
    follower.checked({"inbox": cursor(5)})
    assert not follower.todo


def test_a_check_that_is_older_than_the_session_does_no_harm(follower: Talk) -> None:
    follower.happens(entry_event(6))
    follower.take()
    follower.checked({"inbox": cursor(5)})
    follower.answer(live(6))
    follower.happens(entry_event(7))
    assert follower.cursors() == [cursor(7)]


def test_a_check_during_a_read_is_left_to_the_read(ann: Talk) -> None:
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.checked({"inbox": cursor(7)})
    ann.answer(replay(6, 7))
    assert not ann.todo


@pytest.mark.parametrize(("issued_at", "ends"), [(999, True), (1000, False), (1001, False), (None, True)])
def test_a_revocation_ends_sessions_with_older_tokens_and_those_without_a_time(
    issued_at: int | None, ends: bool
) -> None:
    talk = welcomed(issued_at=issued_at)
    talk.checked({}, 1000)
    if ends:
        assert talk.closed is not None
        assert talk.closed.code is CloseCode.FORBIDDEN
        assert talk.take()[-1]["reconnect"] is False
    else:
        assert talk.closed is None


def test_a_revocation_that_comes_while_the_token_is_judged_ends_the_session(guest: Talk) -> None:
    guest.say("auth", api_key="pk_1", token="t")
    guest.checked({}, 1001)
    guest.answer(guest.admission)
    assert guest.closed is not None
    assert guest.closed.code is CloseCode.FORBIDDEN
    assert guest.kinds() == ["bye"]


def test_an_older_revocation_heard_while_the_token_is_judged_is_no_reason_to_end(guest: Talk) -> None:
    guest.say("auth", api_key="pk_1", token="t")
    guest.checked({}, 1000)
    guest.answer(guest.admission)
    assert guest.kinds() == ["welcome"]


@pytest.mark.parametrize("kind", ["subscribe", "list", "read"])
def test_a_store_that_knows_of_the_revocation_first_ends_the_session(follower: Talk, kind: str) -> None:
    follower.say(kind, channel="inbox", **({"ids": ["e1"]} if kind == "read" else {}))
    follower.answer(STRANGER)
    assert follower.closed is not None
    assert follower.closed.code is CloseCode.FORBIDDEN


def test_a_repair_that_learns_of_the_revocation_ends_the_session(follower: Talk) -> None:
    follower.doubt()
    follower.answer(STRANGER)
    assert follower.closed is not None
    assert follower.closed.code is CloseCode.FORBIDDEN


# ---- marks and lists ---------------------------------------------------------------------------------


def test_a_mark_is_applied_and_acknowledged(ann: Talk) -> None:
    ann.say("read", ref=7, op="o1", channel="inbox", ids=["e1", "e2", "e1"])
    assert ann.todo[0] == Apply(INBOX, frames.Mark(7, "read", "inbox", ids=("e1", "e2"), op="o1"))
    ann.answer(Marked(cursor(6), counts(4), ("e2",)))
    assert ann.take() == [
        {
            "type": "ack",
            "ref": 7,
            "channel": "inbox",
            "cursor": cursor(6),
            "changed": ["e2"],
            "counts": {"unseen": 4, "unread": 4, "total": 4},
        }
    ]


def test_a_replayed_mark_says_so_and_may_no_longer_know_what_changed(ann: Talk) -> None:
    ann.say("read", op="o1", channel="inbox", upto=cursor(3))
    ann.answer(Marked(cursor(4), counts(4), None, replayed=True))
    (ack,) = ann.take()
    assert (ack["replayed"], ack["changed"]) == (True, None)


@pytest.mark.parametrize(
    "refused",
    [
        Refused(Code.NOT_FOUND, "no such entry: 'e9'", resource="entry", id="e9", ids=["e9"]),
        Refused(Code.CONFLICT, "subscribe again", reason="unknown_cursor"),
        Refused(Code.RATE_LIMITED, "1000 ops remembered"),
        Refused(Code.INTERNAL, "something went wrong"),
    ],
)
def test_a_refused_mark_is_an_error_with_its_details_and_the_socket_lives(ann: Talk, refused: Refused) -> None:
    ann.say("read", ref="r", channel="inbox", ids=["e9"])
    ann.answer(refused)
    (error,) = ann.take()
    assert (error["type"], error["ref"], error["code"]) == ("error", "r", refused.code.value)
    assert (error["message"], error.get("details", {})) == (refused.message, refused.details)
    assert error["temporary"] == ("retry_ms" in error) == refused.temporary
    ann.say("ping")
    assert ann.kinds() == ["pong"]


def test_the_state_event_may_come_before_the_ack(follower: Talk) -> None:
    follower.say("read", channel="inbox", ids=["e1"])
    event = Event("inbox", cursor(6), cursor(5), counts(5), "state", ids=("e1",), verbs=("read",), by="s1")
    follower.happens(event)
    follower.answer(Marked(cursor(6), counts(5), ("e1",)))
    state, ack = follower.take()
    assert (state["type"], state["by"], state["verbs"], state["ids"]) == ("state", "s1", ["read"], ["e1"])
    assert state["at"] == "2026-09-21T14:13:20.000Z"
    assert ack["cursor"] == state["cursor"]


def test_a_list_is_answered_with_a_page(ann: Talk) -> None:
    ann.say("list", ref="r", channel="inbox", status="unread", limit=3)
    request = ann.todo[0]
    assert isinstance(request, Fetch)
    assert (request.frame.filters.status, request.frame.filters.limit) == ("unread", 3)
    ann.answer(page_of(5, entries=2))
    (page,) = ann.take()
    assert (page["type"], page["ref"], page["channel"], page["cursor"]) == ("page", "r", "inbox", cursor(5))
    assert [entry["id"] for entry in page["entries"]] == ["e5", "e4"]


@pytest.mark.parametrize(("position", "kept"), [("after", "e60"), ("before", "e1")])
def test_a_page_that_is_too_large_keeps_the_entries_nearest_to_its_position(
    ann: Talk, position: str, kept: str
) -> None:
    ann.say("list", channel="inbox", limit=60, **{position: frames.page_token(1)})
    ann.answer(page_of(60, entries=60, size=16_000))
    (page,) = ann.take()
    ids = [entry["id"] for entry in page["entries"]]
    assert 20 < len(ids) < 60
    assert kept in (ids[0], ids[-1])


def test_while_a_list_runs_the_channels_events_wait_for_its_page(follower: Talk) -> None:
    follower.say("list", channel="inbox")
    follower.happens(entry_event(6), entry_event(7))
    assert follower.take() == []
    follower.answer(page_of(6))
    assert [(f["type"], f["cursor"]) for f in follower.take()] == [
        ("page", cursor(6)),
        ("entry", cursor(6)),
        ("entry", cursor(7)),
    ]


def test_while_a_list_runs_the_events_of_other_channels_go_out(follower: Talk) -> None:
    follow(follower, 3, "c1")
    follower.say("list", channel="c1")
    follower.happens(entry_event(6))
    assert follower.cursors() == [cursor(6)]


def test_a_failed_list_releases_the_events_after_its_error(follower: Talk) -> None:
    follower.say("list", channel="inbox")
    follower.happens(entry_event(6))
    follower.answer(NOBODY_KNOWS)
    assert follower.kinds() == ["error", "entry"]


def test_a_gap_that_shows_when_events_are_released_is_repaired(follower: Talk) -> None:
    settled(follower)
    follower.say("list", channel="inbox")
    follower.happens(entry_event(7), entry_event(8))
    follower.answer(page_of(8))
    assert follower.kinds() == ["page"]
    assert follower.answer(replay(6, 8)).cursor == cursor(5)
    assert follower.cursors() == [cursor(6), cursor(7), cursor(8)]


def test_more_than_256_kib_held_back_are_dropped_and_read_from_the_log(follower: Talk) -> None:
    follower.say("list", channel="inbox")
    size = HELD_BYTES // 4
    follower.happens(*(entry_event(n, size=size) for n in range(6, 12)))
    follower.answer(page_of(11))
    assert follower.kinds() == ["page"]
    assert follower.todo[0] == Read(INBOX, cursor(5), 20, None)
    follower.happens(entry_event(12))
    follower.answer(replay(6, 11))
    assert follower.cursors() == [cursor(n) for n in range(6, 13)]
    follower.say("list", channel="inbox")  # and holding back works again
    follower.happens(entry_event(13))
    follower.answer(page_of(12))
    assert follower.cursors() == [cursor(13)]
    assert not follower.todo


def test_more_than_256_kib_held_back_while_subscribing_are_read_after_it(ann: Talk) -> None:
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.happens(*(entry_event(n, size=HELD_BYTES // 2) for n in range(6, 10)))
    ann.answer(replay(6, 6))
    assert ann.cursors() == [cursor(6)]
    assert ann.answer(replay(7, 9)).cursor == cursor(6)
    assert ann.cursors() == [cursor(7), cursor(8), cursor(9)]


def test_an_answer_of_the_wrong_kind_is_a_bug_and_rises(ann: Talk) -> None:
    ann.say("list", channel="inbox")
    with pytest.raises(TypeError, match="Marked does not answer Fetch"):
        ann.answer(Marked(cursor(6), counts(4), ()))


# ---- order and waiting -------------------------------------------------------------------------------


def test_one_piece_of_work_at_a_time_in_the_order_sent(ann: Talk) -> None:
    ann.say("archive", ref=1, channel="inbox", ids=["e1"])
    ann.say("unarchive", ref=2, channel="inbox", ids=["e1"])
    ann.say("unsubscribe", ref=3, channel="inbox")
    ann.say("list", ref=4, channel="inbox")
    assert [type(request) for request in ann.todo] == [Apply]
    ann.answer(Marked(cursor(6), counts(4), ("e1",)))
    assert [request.frame.verb for request in ann.todo] == ["unarchive"]
    ann.answer(Marked(cursor(7), counts(4), ("e1",)))
    ann.answer(page_of(7))
    assert [frame["ref"] for frame in ann.take()] == [1, 2, 3, 4]


def test_ping_is_answered_at_once_whatever_waits(ann: Talk) -> None:
    ann.say("read", channel="inbox", ids=["e1"])
    ann.say("ping", ref="p")
    assert ann.take() == [{"type": "pong", "ref": "p"}]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"type": "read", "ref": 2, "channel": "inbox", "ids": []}, "ids"),
        ({"type": "subscribe", "ref": 2, "channel": 7}, "channel"),
        ({"type": "nonsense", "ref": 2}, "type"),
    ],
)
def test_a_wrong_frame_is_answered_in_its_turn_and_the_socket_lives(
    ann: Talk, wrong: dict[str, Any], field: str
) -> None:
    ann.say("read", ref=1, channel="inbox", ids=["e1"])
    ann.raw(json.dumps(wrong))
    ann.say("read", ref=3, channel="inbox", ids=["e1"])
    assert ann.take() == []
    ann.answer(Marked(cursor(6), counts(4), ("e1",)))
    ann.answer(Marked(cursor(6), counts(4), ()))
    answers = ann.take()
    assert [(f["ref"], f["type"]) for f in answers] == [(1, "ack"), (2, "error"), (3, "ack")]
    assert (answers[1]["code"], answers[1]["details"]["fields"][0]["field"]) == ("invalid_request", field)


@pytest.mark.parametrize("broken", ["[]", "{", '{"ref":1}', '{"type":1}', "null"])
def test_what_is_no_frame_at_all_ends_it(ann: Talk, broken: str) -> None:
    ann.raw(broken)
    assert ann.closed is not None
    assert ann.closed.code is CloseCode.BAD_FRAME


def fill(talk: Talk, count: int) -> None:
    for n in range(count):
        talk.say("read", ref=n, channel="inbox", ids=["e1"])


def test_32_frames_may_wait_and_one_more_is_refused_out_of_turn(ann: Talk) -> None:
    fill(ann, 1 + 32)
    assert ann.take() == []
    ann.say("read", ref="more", channel="inbox", ids=["e1"])
    (error,) = ann.take()
    assert (error["ref"], error["code"], error["temporary"]) == ("more", "rate_limited", True)
    assert error["message"] == "33 frames wait, at most 32"
    for _ in range(33):
        ann.answer(Marked(cursor(6), counts(4), ()))
    assert [frame["ref"] for frame in ann.take()] == list(range(33))
    ann.say("read", ref="later", channel="inbox", ids=["e1"])
    ann.answer(Marked(cursor(6), counts(4), ()))
    assert ann.take()[0]["ref"] == "later"


def test_repairs_take_no_place_in_the_queue(follower: Talk) -> None:
    follow(follower, 3, "c1")
    fill(follower, 1)
    follower.doubt()
    fill(follower, 32)
    assert follower.take() == []


def test_256_refused_frames_are_borne_and_one_more_ends_it(ann: Talk) -> None:
    fill(ann, 33 + REFUSED)
    assert (ann.closed, len(ann.take())) == (None, REFUSED)
    fill(ann, 1)
    assert ann.closed is not None
    assert ann.closed.code is CloseCode.RATE_LIMITED
    assert ann.take()[-1]["delay_ms"] == [5_000, 20_000]


def test_refusals_are_forgotten_once_nothing_waits(ann: Talk) -> None:
    for _ in range(3):
        fill(ann, 33 + REFUSED)
        assert ann.closed is None
        for _ in range(33):
            ann.answer(Marked(cursor(6), counts(4), ()))
        assert not ann.todo


def test_pings_pongs_and_refreshes_take_no_place_in_the_queue(ann: Talk) -> None:
    fill(ann, 33)
    for _ in range(3 * REFUSED):
        ann.say("ping")
        ann.say("pong")
    ann.say("refresh", token="t2")
    assert isinstance(ann.todo[-1], Renew)
    assert ann.closed is None


def test_wrong_frames_are_not_a_way_around_the_queue(ann: Talk) -> None:
    fill(ann, 33)
    for _ in range(REFUSED + 1):
        ann.say("nonsense")
    assert ann.closed is not None
    assert ann.closed.code is CloseCode.RATE_LIMITED


# ---- a client that reads slowly ----------------------------------------------------------------------


def test_a_replay_is_written_in_slices_as_the_client_reads(ann: Talk) -> None:
    ann.reading = False
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.answer(replay(6, 25, size=30_000))
    first = len(ann.take())
    assert 1 < first < 21
    assert sum(frame.size for frame in ann.unsent) <= START_BYTES + 31_000
    ann.happens(entry_event(26))
    while ann.unsent:
        ann.read(sum(frame.size for frame in ann.unsent) - 1)
        assert sum(frame.size for frame in ann.unsent) <= START_BYTES + 31_000
    assert ann.cursors() == [cursor(n) for n in range(5 + first, 27)]
    assert ann.closed is None


def test_while_a_replay_is_written_nothing_else_is_started(ann: Talk) -> None:
    ann.reading = False
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.answer(replay(6, 25, size=30_000))
    ann.say("read", channel="inbox", ids=["e1"])
    ann.checked({"inbox": cursor(27)})
    assert not ann.todo
    ann.read()
    assert isinstance(ann.todo[0], Apply)


def test_doubt_while_a_replay_is_written_reads_again_after_it(ann: Talk) -> None:
    ann.reading = False
    ann.say("subscribe", channel="inbox", cursor=cursor(5))
    ann.answer(replay(6, 25, size=30_000))
    ann.doubt()
    assert not ann.todo
    ann.read()
    assert ann.todo[0] == Read(INBOX, cursor(25), 20, None)


def test_no_work_is_started_for_a_client_that_does_not_read(follower: Talk) -> None:
    follower.reading = False
    follower.happens(entry_event(6, size=START_BYTES))
    follower.say("read", ref=1, channel="inbox", ids=["e1"])
    follower.say("list", ref=2, channel="inbox")
    assert not follower.todo
    follower.reading = True
    follower.read()
    follower.answer(Marked(cursor(6), counts(4), ()))
    follower.answer(page_of(6))
    assert [frame.get("ref") for frame in follower.take()] == [None, 1, 2]


def test_more_than_a_mebibyte_unsent_ends_it(follower: Talk) -> None:
    follower.reading = False
    size, n = 50_000, 6
    while follower.closed is None:
        follower.happens(entry_event(n, size=size))
        n += 1
    assert follower.closed.code is CloseCode.SLOW
    assert (n - 7) * size <= SLOW_BYTES < (n - 6) * (size + 500)
    bye = follower.take()[-1]
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", 4001, True)


def test_a_client_that_reads_is_never_too_slow(follower: Talk) -> None:
    for n in range(6, 200):
        follower.happens(entry_event(n, size=50_000))
    assert follower.closed is None
    assert follower.cursors() == [cursor(n) for n in range(6, 200)]


# ---- silence, tokens, age ----------------------------------------------------------------------------


def test_a_silent_client_is_pinged_and_then_left(ann: Talk) -> None:
    ann.passes(24.9)
    assert ann.take() == []
    ann.passes(0.1)
    assert ann.kinds() == ["ping"]
    ann.passes(9.9)
    assert (ann.take(), ann.closed) == ([], None)
    ann.passes(0.1)
    assert ann.closed is not None
    assert ann.closed.code is CloseCode.NO_PONG


@pytest.mark.parametrize("sign", ['{"type":"pong"}', '{"type":"ping"}', '{"type":"nonsense"}'])
def test_any_frame_is_a_sign_of_life(ann: Talk, sign: str) -> None:
    ann.passes(30)
    ann.raw(sign)
    ann.take()
    ann.passes(24.9)
    assert (ann.take(), ann.closed) == ([], None)
    ann.passes(0.2)
    assert ann.kinds() == ["ping"]


def test_what_the_hub_sends_is_no_sign_of_life(follower: Talk) -> None:
    for n in range(6, 12):
        follower.passes(6)
        follower.happens(entry_event(n))
    assert follower.closed is not None
    assert follower.closed.code is CloseCode.NO_PONG


def test_a_client_has_its_time_to_answer_even_when_the_hub_was_late_to_ask(ann: Talk) -> None:
    ann.now += 60  # nothing was ticked: the process stood still
    ann.perform(ann.talk.tick(ann.now))
    assert ann.kinds() == ["ping"]
    ann.passes(9.9)
    assert ann.closed is None
    ann.passes(0.1)
    assert ann.closed is not None


def test_an_old_socket_is_asked_to_come_back(ann: Talk) -> None:
    while ann.now < 100 + TIMING.max_age_s - 1:
        ann.say("pong")
        ann.passes(20 if ann.now < 43_200 else 1)
    assert ann.closed is None
    ann.passes(1)
    assert ann.closed is not None
    assert ann.closed.code is CloseCode.MAX_AGE
    assert ann.take()[-1]["delay_ms"] == [0, 10_000]


def keep_alive(talk: Talk, seconds: float) -> None:
    """Time passes, and the client answers."""
    end = talk.now + seconds
    while talk.now < end and talk.closed is None:
        talk.say("pong")
        talk.passes(min(20, end - talk.now))


def test_a_token_is_warned_about_60_s_before_its_end_and_forgiven_the_leeway() -> None:
    talk = welcomed(lives_s=330)  # its end is in 300 s; 30 s of leeway are in it
    keep_alive(talk, 239)
    assert talk.take() == []
    keep_alive(talk, 1)
    assert talk.kinds() == ["expiring"]
    keep_alive(talk, 89)
    assert (talk.take(), talk.closed) == ([], None)
    keep_alive(talk, 1)
    assert talk.closed is not None
    assert talk.closed.code is CloseCode.TOKEN_EXPIRED
    assert talk.take()[-1]["delay_ms"] == [0, 1_000]


def test_a_token_that_ends_within_60_s_is_warned_about_right_after_welcome() -> None:
    talk = Talk(lives_s=80)
    talk.say("auth", api_key="pk_1", token="t")
    talk.answer(talk.admission)
    welcome, expiring = talk.take()
    assert (welcome["type"], expiring["type"]) == ("welcome", "expiring")
    assert welcome["expires_at"] == expiring["expires_at"] == "1970-02-27T20:54:40.000Z"


def test_a_fresh_token_moves_the_end_and_the_warning() -> None:
    talk = welcomed(lives_s=330)
    keep_alive(talk, 250)
    talk.take()
    talk.say("refresh", ref="r", token="t2")
    fresh = Admission(Claims("default", "ann", 1300, 5_001_000.0), BY_NAME.get, 330)
    assert talk.answer(fresh) == Renew("r", "t2")
    assert talk.take() == [{"type": "refreshed", "ref": "r", "expires_at": "1970-02-27T21:10:00.000Z"}]
    keep_alive(talk, 239)
    assert talk.take() == []
    keep_alive(talk, 1)
    assert talk.kinds() == ["expiring"]


def test_a_fresh_token_for_ever_ends_the_waiting() -> None:
    talk = welcomed(lives_s=330)
    talk.say("refresh", token="t2")
    talk.answer(Admission(Claims("default", "ann", 1300, None), BY_NAME.get, None))
    assert talk.take() == [{"type": "refreshed", "expires_at": None}]
    keep_alive(talk, 1000)
    assert talk.take() == []


def test_a_bad_fresh_token_is_an_error_and_the_old_one_stays() -> None:
    talk = welcomed(lives_s=330)
    talk.say("refresh", ref="r", token="bad")
    talk.answer(Refused(Code.INVALID_TOKEN, "no"))
    (error,) = talk.take()
    assert (error["ref"], error["code"]) == ("r", "invalid_token")
    keep_alive(talk, 329)
    assert talk.closed is None
    keep_alive(talk, 1)
    assert talk.closed is not None
    assert talk.closed.code is CloseCode.TOKEN_EXPIRED


def test_a_fresh_token_of_somebody_else_ends_it(ann: Talk) -> None:
    ann.say("refresh", token="bobs")
    ann.answer(Broken(CloseCode.BAD_TOKEN, "another user's"))
    assert ann.closed == Close(CloseCode.BAD_TOKEN, "another user's")


def test_a_fresh_token_counts_at_the_next_revocation(ann: Talk) -> None:
    ann.say("refresh", token="t2")
    ann.answer(Admission(Claims("default", "ann", 2000, None), BY_NAME.get, None))
    ann.checked({}, 2000)
    assert ann.closed is None


def test_one_refresh_at_a_time(ann: Talk) -> None:
    ann.say("refresh", ref=1, token="t2")
    ann.say("refresh", ref=2, token="t3")
    (error,) = ann.take()
    assert (error["ref"], error["code"]) == (2, "rate_limited")
    ann.answer(ann.admission)
    ann.say("refresh", ref=3, token="t4")
    ann.answer(ann.admission)
    assert [(frame["type"], frame["ref"]) for frame in ann.take()] == [("refreshed", 1), ("refreshed", 3)]


def test_a_refresh_does_not_wait_for_work(ann: Talk) -> None:
    ann.say("read", channel="inbox", ids=["e1"])
    ann.say("refresh", ref="r", token="t2")
    renew = ann.todo.pop()
    ann.perform(ann.talk.answered(renew, ann.admission, ann.now))
    assert ann.kinds() == ["refreshed"]
    assert isinstance(ann.todo[0], Apply)


@pytest.mark.parametrize("code", list(CloseCode))
def test_whatever_the_hub_ends_it_for_bye_says_it_first(ann: Talk, code: CloseCode) -> None:
    ann.perform(ann.talk.close(code, "because"))
    (bye,) = ann.take()
    assert (bye["type"], bye["code"], bye["reason"]) == ("bye", int(code), "because")
    assert bye["reconnect"] == (code < 4500)
    low, high = bye["delay_ms"]
    assert 0 <= low < high <= 20_000
    assert ann.closed == Close(code, "because")
