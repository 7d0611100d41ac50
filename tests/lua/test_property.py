"""Two feeds of one user against a model in Python, on a real Redis: whatever is done, in whatever order.

After every step the events that the store wrote are those that the model foretold, and the whole feed equals it.
`BELLHUB_PROPERTY_EXAMPLES=2000` makes it long.
"""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hub.errors import Code, Refused
from hub.keys import Feed, User
from hub.model import START, STATUSES, VERBS, Counts, Entry, Event, Filters, Marked, micros_of
from hub.sending import new_entry_id
from hub.store import Memory, Store, op_memory, parse_event
from tests.harness import RedisServer, open_store

EXAMPLES = int(os.environ.get("BELLHUB_PROPERTY_EXAMPLES", "100"))
CAP, LOG = 12, 9
"""Small, so that a few steps reach them."""
SOON_US = 12_000
LOST = "1111111111111111-1"

T = TypeVar("T")
pick = st.integers(0, 999)
"""One of those that there are then, modulo their number."""
picks = st.lists(pick, min_size=1, max_size=4)
feeds = st.sampled_from(["inbox", "alerts"])
topics = st.sampled_from(["", "a", "b"])
ops = st.sampled_from([None, None, "o1", "o2"])


# ---- the model ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """An entry as the rules of protocol section 6 make it; times in µs, 0 for none."""

    id: str
    score: int
    topic: str
    source: str | None
    expires: int
    seen: int = 0
    read: int = 0
    clicked: int = 0
    archived: int = 0
    dismissed: int = 0

    def marked(self, verbs: Sequence[str], at: int) -> "Known":
        after = self
        for verb in verbs:
            after = after._marked(verb, at)
        return after

    def _marked(self, verb: str, at: int) -> "Known":
        match verb:
            case "seen":
                return replace(self, seen=self.seen or at)
            case "read":
                return replace(self._marked("seen", at), read=self.read or at)
            case "click":
                return replace(self._marked("read", at), clicked=self.clicked or at)
            case "dismiss":
                return replace(self, dismissed=self.dismissed or at)
            case _ if self.dismissed:
                return self
            case "archive":
                return replace(self, archived=self.archived or at)
        return replace(self, archived=0)

    @property
    def active(self) -> bool:
        return not self.archived and not self.dismissed

    @property
    def status(self) -> str:
        for name in ("dismissed", "archived", "read", "seen"):
            if getattr(self, name):
                return name
        return "unseen"

    def shown(self) -> tuple[Any, ...]:
        return self.id, self.score, self.seen, self.read, self.clicked, self.archived, self.dismissed


State = dict[str, Known]
"""Entries by id, oldest first."""


def recount(state: State) -> Counts:
    active = [entry for entry in state.values() if entry.active]
    return Counts(sum(not e.seen for e in active), sum(not e.read for e in active), len(active))


@dataclass
class Expected:
    """An event that must have been written: its kind, ids, verbs and reason."""

    kind: str
    ids: tuple[str, ...]
    verbs: tuple[str, ...] = ()
    reason: str = ""


@dataclass
class Model:
    """One feed: all its events so far, and its entries after each of them."""

    feed: Feed
    entries: State = field(default_factory=dict)
    log: list[Event] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=lambda: {START: {}})
    ever: list[str] = field(default_factory=list)
    """Every id there ever was, and one that never was."""
    memories: dict[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)
    """op -> frame, cursor, changed."""
    frames: dict[str, Callable[[], None]] = field(default_factory=dict)
    """op -> does the same again."""

    @property
    def cursor(self) -> str:
        return self.log[-1].cursor if self.log else START

    @property
    def cursors(self) -> list[str]:
        return list(self.states)

    @property
    def kept(self) -> list[Event]:
        """What the log still holds."""
        return self.log[-LOG:]

    def follow(self, event: Event, entries: State) -> None:
        """One more event, after which the feed holds `entries`."""
        assert event.prev == self.cursor
        assert micros_of(event.cursor) > micros_of(self.cursor)
        assert event.counts == recount(entries), event
        self.entries = entries
        self.log.append(event)
        self.states[event.cursor] = entries


def without(state: State, ids: Sequence[str]) -> State:
    return {entry_id: entry for entry_id, entry in state.items() if entry_id not in ids}


def fold(state: State, events: Sequence[Event], born: dict[str, Known]) -> State:
    """What a client makes of events; `born` has the entries as they were sent."""
    for event in events:
        match event.kind:
            case "entry":
                entry_id = event.body.split('"')[3]
                state = state | {entry_id: born[entry_id]}
            case "state":
                at = micros_of(event.cursor)
                state = state | {i: state[i].marked(event.verbs, at) for i in event.ids}
            case _:
                state = without(state, event.ids)
    return state


# ---- the machine -------------------------------------------------------------------------------------


class Feeds(RuleBasedStateMachine):
    """What producers, users and time do to two feeds of a fresh user."""

    store: Store
    run: Callable[[Awaitable[Any]], Any]
    redis: redis.Redis
    users = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).users += 1
        user = User("default", f"user{self.users}")
        self.models = {handle: Model(user.feed(handle), ever=["never"]) for handle in ("inbox", "alerts")}
        self.born: dict[str, Known] = {}

    # ---- doing and foretelling -----------------------------------------------------------------------

    def now(self) -> int:
        seconds, micros = self.redis.time()
        return int(seconds) * 1_000_000 + int(micros)

    def do(self, model: Model, call: Callable[[], Awaitable[T]]) -> tuple[T | Refused, list[Event]]:
        """Runs one call; its result, and the events it wrote after those of the expiries, which are followed."""
        before = self.now()
        result: T | Refused
        try:
            result = self.run(call())
        except Refused as refused:
            result = refused
        after = self.now()
        rows = self.redis.xrange(model.feed.key("log"), f"({model.cursor}" if model.log else "-")
        events = [parse_event(model.feed.channel, cursor, row["prev"], row["data"]) for cursor, row in rows]
        while events and events[0].reason == "expired":
            self.expired(model, events.pop(0), after)
        overdue = [entry for entry in model.entries.values() if 0 < entry.expires <= before]
        assert not overdue
        return result, events

    def expired(self, model: Model, event: Event, now: int) -> None:
        assert all(0 < model.entries[entry_id].expires <= now for entry_id in event.ids)
        model.follow(event, without(model.entries, event.ids))

    def wrote(self, events: list[Event], *expected: Expected) -> None:
        assert [(e.kind, e.ids if e.kind != "entry" else (), e.verbs, e.reason) for e in events] == [
            (e.kind, e.ids, e.verbs, e.reason) for e in expected
        ]

    # ---- producers -----------------------------------------------------------------------------------

    @initialize(counts=st.tuples(st.integers(0, CAP), st.integers(0, CAP)))
    def begin_with_some(self, counts: tuple[int, int]) -> None:
        for feed, count in zip(self.models, counts, strict=True):
            self.send(feed, count, "", None, 0)

    @rule(
        feed=feeds,
        count=st.integers(1, 4),
        topic=topics,
        source=st.sampled_from([None, "s1", "s2"]),
        life=st.sampled_from([0, 0, 1, 2]),
    )
    def send(self, feed: str, count: int, topic: str, source: str | None, life: int) -> None:
        for _ in range(count):
            self.send_one(feed, topic, source, life)

    def send_one(self, feed: str, topic: str, source: str | None, life: int) -> None:
        model, entry_id = self.models[feed], new_entry_id()
        expires = self.now() + (0, SOON_US, 10**9)[life] if life else 0
        result, events = self.do(
            model,
            lambda: self.store.publish(
                model.feed, entry_id, f'{{"id":"{entry_id}"', topic=topic, expires=expires, source_key=source
            ),
        )
        if isinstance(result, Refused):  # on a slow machine: over before it was there
            assert 0 < expires <= self.now()
            self.wrote(events)
            return
        score = micros_of(result.cursor)
        entry = self.born[entry_id] = Known(entry_id, score, topic, source, expires)
        model.ever.append(entry_id)
        full = model.entries | {entry_id: entry}
        over = math.ceil(CAP / 10) if len(full) > CAP else 0
        oldest = tuple(full)[:over]
        expected = [Expected("entry", ()), *([Expected("gone", oldest, reason="evicted")] if over else [])]
        self.wrote(events, *expected)
        assert (events[0].cursor, events[0].expires) == (result.cursor, expires)
        model.follow(events[0], full)
        if over:
            model.follow(events[1], without(full, oldest))

    @rule(feed=feeds, chosen=pick)
    def withdraw(self, feed: str, chosen: int) -> None:
        model = self.models[feed]
        entry_id = model.ever[chosen % len(model.ever)]
        result, events = self.do(model, lambda: self.store.withdraw(model.feed, entry_id))
        if entry_id not in model.entries:
            assert isinstance(result, Refused)
            assert result.code is Code.NOT_FOUND
            self.wrote(events)
            return
        assert not isinstance(result, Refused)
        self.gone(model, events, (entry_id,))
        assert (result.ids, result.cursor, result.counts) == ((entry_id,), model.cursor, recount(model.entries))

    @rule(feed=feeds, source=st.sampled_from(["s1", "s2"]))
    def withdraw_source(self, feed: str, source: str) -> None:
        model = self.models[feed]
        result, events = self.do(model, lambda: self.store.withdraw_source(model.feed, source))
        assert not isinstance(result, Refused)
        ids = tuple(sorted(e.id for e in model.entries.values() if e.source == source))
        if ids:
            self.gone(model, events, ids)
        else:
            self.wrote(events)
        assert (result.ids, result.cursor, result.counts) == (ids, model.cursor, recount(model.entries))

    def gone(self, model: Model, events: list[Event], ids: tuple[str, ...]) -> None:
        self.wrote(events, Expected("gone", ids, reason="withdrawn"))
        model.follow(events[0], without(model.entries, ids))

    # ---- the user ------------------------------------------------------------------------------------

    @rule(feed=feeds, verbs=st.sets(st.sampled_from(VERBS), min_size=1, max_size=2), chosen=picks, op=ops)
    def mark(self, feed: str, verbs: set[str], chosen: list[int], op: str | None) -> None:
        """Often in vain: some of the ids are of entries that have left, or never were."""
        ever = self.models[feed].ever
        self.mark_ids(feed, verbs, tuple(dict.fromkeys(ever[place % len(ever)] for place in chosen)), op)

    @rule(feed=feeds, verbs=st.lists(st.sampled_from(VERBS), min_size=1, max_size=4), chosen=picks, op=ops)
    def mark_in_turn(self, feed: str, verbs: list[str], chosen: list[int], op: str | None) -> None:
        """One verb after the other on the same entries, all of which are there; the first one with an `op`."""
        there = list(self.models[feed].entries)
        ids = tuple(dict.fromkeys(there[place % len(there)] for place in chosen)) if there else ()
        for place, verb in enumerate(verbs):
            if ids:
                self.mark_ids(feed, {verb}, ids, None if place else op)

    @rule(feed=feeds, op=st.sampled_from(["o1", "o2"]))
    def repeat(self, feed: str, op: str) -> None:
        self.models[feed].frames.get(op, lambda: None)()

    def mark_ids(self, feed: str, verbs: set[str], ids: tuple[str, ...], op: str | None) -> None:
        model = self.models[feed]
        asked = tuple(verb for verb in VERBS if verb in verbs)
        frame = f"{asked} {sorted(ids)}"
        memory = self.memory(model, op, frame)
        if op is not None:
            model.frames.setdefault(op, lambda: self.mark_ids(feed, verbs, ids, op))
        result, events = self.do(model, lambda: self.store.mark(model.feed, list(verbs), ids, memory=memory))
        if self.remembered(model, op, frame, result, events):
            return
        missing = [entry_id for entry_id in ids if entry_id not in model.entries]
        if missing:
            assert isinstance(result, Refused)
            assert (result.code, result.details["ids"]) == (Code.NOT_FOUND, missing)
            self.wrote(events)
            return
        self.marked(model, asked, ids, op, frame, result, events)

    @rule(feed=feeds, verb=st.sampled_from([v for v in VERBS if v not in ("click", "unarchive")]))
    def mark_all(self, feed: str, verb: str) -> None:
        self.upto(feed, verb, self.models[feed].cursor, "", None)

    @rule(
        feed=feeds,
        verb=st.sampled_from([v for v in VERBS if v not in ("click", "unarchive")]),
        chosen=pick,
        topic=topics,
        op=ops,
    )
    def mark_upto(self, feed: str, verb: str, chosen: int, topic: str, op: str | None) -> None:
        cursors = self.models[feed].cursors[-LOG - 3 :]
        self.upto(feed, verb, cursors[chosen % len(cursors)], topic, op)

    @rule(feed=feeds, chosen=pick)
    def mark_upto_a_lost_cursor(self, feed: str, chosen: int) -> None:
        """One that another history had: of the time of an event here, or just above the top."""
        model = self.models[feed]
        cursors = model.cursors[-LOG:]
        micros, _, nonce = cursors[chosen % len(cursors)].partition("-")
        lost = f"{int(micros) or self.now()}-{(int(nonce or 0) + 1) % 2**32}"
        result, events = self.do(model, lambda: self.store.mark_upto(model.feed, ["read"], lost))
        kept = model.kept
        if kept and micros_of(lost) < micros_of(kept[0].cursor):  # older than the log, so nobody can tell
            ids = tuple(e.id for e in model.entries.values() if e.active and e.score <= micros_of(lost))
            self.marked(model, ("read",), ids, None, "", result, events)
            return
        assert isinstance(result, Refused)
        assert result.code is Code.CONFLICT
        self.wrote(events)

    def upto(self, feed: str, verb: str, cursor: str, topic: str, op: str | None) -> None:
        model = self.models[feed]
        frame = f"{verb} upto {cursor} {topic}"
        memory = self.memory(model, op, frame)
        if op is not None:
            model.frames.setdefault(op, lambda: self.upto(feed, verb, cursor, topic, op))
        result, events = self.do(
            model, lambda: self.store.mark_upto(model.feed, [verb], cursor, topic=topic or None, memory=memory)
        )
        if self.remembered(model, op, frame, result, events):
            return
        arrived = [e for e in model.entries.values() if e.active and e.score <= micros_of(cursor)]
        ids = tuple(entry.id for entry in arrived if topic in ("", entry.topic))
        self.marked(model, (verb,), ids, op, frame, result, events)

    def memory(self, model: Model, op: str | None, frame: str) -> Memory | None:
        return op_memory(model.feed, op, frame.replace(" ", "_")) if op else None

    def remembered(
        self, model: Model, op: str | None, frame: str, result: Marked | Refused, events: list[Event]
    ) -> bool:
        """Whether this `op` had succeeded before; then it is checked that it was treated so."""
        if op is None or op not in model.memories:
            return False
        self.wrote(events)
        first_frame, cursor, changed = model.memories[op]
        if first_frame != frame:
            assert isinstance(result, Refused)
            assert result.code is Code.IDEMPOTENCY_KEY_REUSED
            return True
        known = not changed or cursor in {event.cursor for event in model.kept}
        told = changed if known else None
        assert result == Marked(cursor, recount(model.entries), told, replayed=True, number=len(changed))
        return True

    def marked(
        self,
        model: Model,
        verbs: tuple[str, ...],
        ids: tuple[str, ...],
        op: str | None,
        frame: str,
        result: Marked | Refused,
        events: list[Event],
    ) -> None:
        assert isinstance(result, Marked), result
        at = micros_of(result.cursor)
        after = model.entries | {i: model.entries[i].marked(verbs, at) for i in ids}
        changed = tuple(i for i in ids if after[i] != model.entries[i])
        if changed:
            self.wrote(events, Expected("state", changed, verbs))
            model.follow(events[0], after)
        else:
            self.wrote(events)
        assert result == Marked(model.cursor, recount(model.entries), changed, number=len(changed))
        if op is not None:
            model.memories[op] = frame, model.cursor, changed

    # ---- time ----------------------------------------------------------------------------------------

    @rule()
    def time_passes(self) -> None:
        """Until everything that expires soon is due."""
        until = self.now() + SOON_US
        due = [e.expires for model in self.models.values() for e in model.entries.values() if 0 < e.expires < until]
        while due and self.now() <= max(due):
            time.sleep(0.001)

    @rule(feed=feeds)
    def look(self, feed: str) -> None:
        model = self.models[feed]
        check, events = self.do(model, lambda: self.store.evict(model.feed))
        self.wrote(events)
        assert not isinstance(check, Refused)
        expiries = [entry.expires for entry in model.entries.values() if entry.expires]
        assert (check.cursor, check.expires) == (model.cursor, min(expiries, default=0))

    @rule()
    def the_script_cache_is_flushed(self) -> None:
        self.redis.script_flush()

    # ---- reading -------------------------------------------------------------------------------------

    @rule(feed=feeds, chosen=pick, limit=st.integers(1, 5))
    def catch_up(self, feed: str, chosen: int, limit: int) -> None:
        model = self.models[feed]
        cursors = [*model.cursors[-LOG - 4 :], LOST]
        self.caught_up(model, cursors[chosen % len(cursors)], limit)

    @rule(feed=feeds, limit=st.integers(1, 5))
    def begin(self, feed: str, limit: int) -> None:
        self.caught_up(self.models[feed], None, limit)

    def caught_up(self, model: Model, cursor: str | None, limit: int) -> None:
        found, events = self.do(model, lambda: self.store.catch_up(model.feed, cursor, limit))
        self.wrote(events)
        assert not isinstance(found, Refused)
        assert (found.cursor, found.counts) == (model.cursor, recount(model.entries))
        reach = [event.prev for event in model.kept]
        assert found.mode == ("live" if cursor == model.cursor else "replay" if cursor in reach else "snapshot")
        if found.mode == "replay":
            assert cursor is not None
            assert list(found.events) == model.kept[reach.index(cursor) :]
            assert fold(model.states[cursor], found.events, self.born) == model.entries
        elif found.mode == "snapshot":
            active = [entry for entry in reversed(model.entries.values()) if entry.active]
            assert found.page is not None
            assert shown(found.page.entries) == [entry.shown() for entry in active[:limit]]
            assert found.page.after == (active[limit - 1].score if len(active) > limit else None)

    @rule(
        feed=feeds,
        status=st.sampled_from([None, *STATUSES]),
        archived=st.booleans(),
        topic=topics,
        limit=st.integers(1, 5),
    )
    def walk(self, feed: str, status: str | None, archived: bool, topic: str, limit: int) -> None:
        """All pages of a filtered list; what expires meanwhile is not there in later ones."""
        model, after = self.models[feed], None
        while True:
            filters = Filters(status, archived, topic or None, limit=limit, after=after)
            page, events = self.do(model, lambda f=filters: self.store.page(model.feed, f))
            self.wrote(events)
            assert not isinstance(page, Refused)
            listed = [e for e in reversed(model.entries.values()) if matches(e, filters)]
            left = [entry for entry in listed if after is None or entry.score < after]
            assert shown(page.entries) == [entry.shown() for entry in left[:limit]]
            assert (page.after is not None) == (len(left) > limit)
            if page.after is None:
                return
            after = page.after

    @invariant()
    def the_whole_feed_is_as_foretold(self) -> None:
        for model in self.models.values():
            for filters in (Filters(archived=True, limit=100), Filters(status="dismissed", limit=100)):
                page, events = self.do(model, lambda m=model, f=filters: self.store.page(m.feed, f))
                self.wrote(events)
                assert not isinstance(page, Refused)
                expected = [e.shown() for e in reversed(model.entries.values()) if matches(e, filters)]
                assert shown(page.entries) == expected
                assert (page.cursor, page.counts) == (model.cursor, recount(model.entries))

    @invariant()
    def the_log_is_the_end_of_all_that_happened(self) -> None:
        for model in self.models.values():
            rows = self.redis.xrange(model.feed.key("log"))
            found = [parse_event(model.feed.channel, cursor, row["prev"], row["data"]) for cursor, row in rows]
            assert found == model.kept


def matches(entry: Known, filters: Filters) -> bool:
    if filters.topic not in (None, entry.topic):
        return False
    match filters.status:
        case None:
            return entry.active or (filters.archived and entry.status == "archived")
        case "unread":
            return entry.status in ("unseen", "seen")
    return entry.status == filters.status


def shown(entries: Sequence[Entry]) -> list[tuple[Any, ...]]:
    return [(e.id, e.score, e.seen, e.read, e.clicked, e.archived, e.dismissed) for e in entries]


def test_two_feeds_are_always_what_a_model_in_memory_says(redis_server: RedisServer) -> None:
    with asyncio.Runner() as runner:
        opened = open_store(redis_server.url, feed_entries=CAP, log_events=LOG)
        store = runner.run(opened.__aenter__())

        async def awaited(call: Awaitable[T]) -> T:
            return await call

        class Here(Feeds):
            pass

        Here.store, Here.redis = store, redis_server.client
        Here.run = staticmethod(lambda call: runner.run(awaited(call)))
        try:
            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=40,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
