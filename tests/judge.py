"""The judge: from what sessions received, what producers were told and a last look over REST, whether all is well.

It knows the protocol (sections 4 to 6) and nothing of the hub: its fold of events into entries is its own. `judge`
returns findings in plain words, none when all is well.

A record is of one feed that began empty and lost nothing in the store. Somebody must have followed it all the time
(a witness that missed no event, be it by resuming); everybody else may come and go. A `subscribe` must carry a
`ref`, since a `subscribed` without one is what nobody asked for. `Recording` makes such records.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.harness import Client, Doors, until

Frame = dict[str, Any]
Feed = dict[str, Frame]
"""Entries by id, oldest first. Never changed in place: an event makes a new one."""

START = "0"
EVENTS = ("entry", "state", "gone")
VERBS = ("seen", "read", "click", "archive", "unarchive", "dismiss")
TIMES = ("seen_at", "read_at", "clicked_at", "archived_at", "dismissed_at")
REPLAY = 500
"""Events in one replay at most."""


@dataclass
class Connection:
    """One socket of a session, from `welcome` on. `resumed`: the cursor of its first `subscribe`, or None."""

    frames: list[Frame]
    resumed: str | None = None
    open: bool = True
    """Still connected, and idle, when REST was read."""


@dataclass
class Record:
    """What there is to judge. `sessions`: of each its connections in order, `items`: every entry over REST."""

    sessions: list[list[Connection]]
    sent: list[str]
    """Ids that producers were given."""
    withdrawn: list[str]
    """Ids that producers were told are withdrawn."""
    items: list[Frame]
    """`archived=true`, all pages, newest first."""
    dismissed: list[Frame]
    """`status=dismissed`, all pages, newest first."""
    total_unseen: int
    total_unread: int
    channel: str = "inbox"
    announced: frozenset[str] = frozenset()
    """Those of `sent` that were announced: they were made before they reached the feed."""
    unanswered: bool = False
    """Some producer's request got no answer: more may have been sent or withdrawn than is listed."""


def judge(record: Record) -> list[str]:
    """Everything that is wrong, in no particular order."""
    history, found = _history(record)
    found += _check_rest(record, history)
    for number, session in enumerate(record.sessions, 1):
        reader = _Session(record, history, _anchors(session, record.channel))
        found += [f"session {number}, {finding}" for finding in reader.judge(session)]
    return found


# ---- words -------------------------------------------------------------------------------------------


def micros(cursor: str) -> int:
    return int(cursor.partition("-")[0])


def shown(at: int) -> str:
    """µs as the protocol spells a time: UTC, cut to ms."""
    seconds, rest = divmod(at, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:03d}Z"


def is_active(entry: Frame) -> bool:
    return entry["archived_at"] is None and entry["dismissed_at"] is None


def status_of(entry: Frame) -> str:
    for status in ("dismissed", "archived", "read", "seen"):
        if entry[f"{status}_at"] is not None:
            return status
    return "unseen"


def recount(entries: Iterable[Frame]) -> dict[str, int]:
    active = [entry for entry in entries if is_active(entry)]
    return {
        "unseen": sum(entry["seen_at"] is None for entry in active),
        "unread": sum(entry["read_at"] is None for entry in active),
        "total": len(active),
    }


# ---- the fold ----------------------------------------------------------------------------------------


def marked(entry: Frame, verb: str, at: str) -> Frame:
    """Section 6, one verb: what it sets if null, and what unarchive clears."""
    times = {name: entry[name] for name in TIMES}
    sets = {
        "seen": ("seen_at",),
        "read": ("seen_at", "read_at"),
        "click": ("seen_at", "read_at", "clicked_at"),
        "dismiss": ("dismissed_at",),
    }
    if verb in sets:
        times |= {name: times[name] or at for name in sets[verb]}
    elif times["dismissed_at"] is None:
        times["archived_at"] = None if verb == "unarchive" else times["archived_at"] or at
    after = entry | times
    return after | {"status": status_of(after)}


def fold(feed: Feed, event: Frame) -> Feed:
    """The feed after an event; ids that are not held are passed over."""
    match event["type"]:
        case "entry":
            return {
                **{i: e for i, e in feed.items() if i != event["entry"]["id"]},
                event["entry"]["id"]: event["entry"],
            }
        case "gone":
            return {entry_id: entry for entry_id, entry in feed.items() if entry_id not in event["ids"]}
    changes: Feed = {}
    for entry_id in event["ids"]:
        if entry_id in feed:
            entry = feed[entry_id]
            for verb in event["verbs"]:
                entry = marked(entry, verb, event["at"])
            changes[entry_id] = entry
    return feed | changes


# ---- what happened, from all sessions together -------------------------------------------------------


@dataclass
class History:
    """The log of the feed, as far as it links to the start without a gap."""

    events: dict[str, Frame]
    """By cursor, all that anybody received."""
    counts: dict[str, dict[str, int]]
    """After each event, recounted."""
    feeds: dict[str, Feed]
    """The feed at every cursor at which somebody was shown entries."""
    top: str = START
    feed: Feed = field(default_factory=dict)
    """At the top."""
    gone: set[str] = field(default_factory=set)

    def add(self, event: Frame, wanted: set[str]) -> None:
        self.top, self.feed = event["cursor"], fold(self.feed, event)
        self.counts[self.top] = recount(self.feed.values())
        if self.top in wanted:
            self.feeds[self.top] = self.feed
        if event["type"] == "gone":
            self.gone |= set(event["ids"])


def _history(record: Record) -> tuple[History, list[str]]:
    found: list[str] = []
    events: dict[str, Frame] = {}
    following: dict[str, str] = {}
    for frame in _frames(record, EVENTS):
        if events.setdefault(frame["cursor"], frame) != frame:
            found.append(f"two different events at {frame['cursor']}: {events[frame['cursor']]} and {frame}")
        other = following.setdefault(frame["prev"], frame["cursor"])
        if other != frame["cursor"]:
            found.append(f"two events follow {frame['prev']}: {other} and {frame['cursor']}")
    wanted = {frame["cursor"] for frame in _frames(record, ("subscribed", "page"))}
    history = History(events, {START: recount(())}, {START: {}})
    while (cursor := following.get(history.top)) is not None and cursor not in history.counts:
        found += _check_event(record, history, events[cursor])
        history.add(events[cursor], wanted)
    beyond = events.keys() - history.counts.keys()
    if beyond:
        found.append(f"nobody received what lies between {history.top} and {min(beyond, key=micros)}")
    return history, found


def _frames(record: Record, types: tuple[str, ...]) -> Iterator[Frame]:
    for connection in itertools.chain(*record.sessions):
        for frame in connection.frames:
            if frame["type"] in types and frame["channel"] == record.channel:
                yield frame


def _check_event(record: Record, history: History, event: Frame) -> Iterator[str]:
    """One event against the feed before it."""
    before, at = history.feed, f"at {event['cursor']}"
    if micros(event["cursor"]) <= micros(event["prev"]):
        yield f"{at}: the cursor does not rise above {event['prev']}"
    counts = recount(fold(before, event).values())
    if event["counts"] != counts:
        yield f"{at}: counts {event['counts']}, a recount gives {counts}"
    match event["type"]:
        case "entry":
            yield from _check_entry(record, history, event, at)
        case "state":
            yield from _check_state(before, event, at)
        case _:
            yield from _check_gone(record, before, event, at)


def _check_entry(record: Record, history: History, event: Frame, at: str) -> Iterator[str]:
    entry, time = event["entry"], shown(micros(event["cursor"]))
    if entry["id"] in history.feed or entry["id"] in history.gone:
        yield f"{at}: entry {entry['id']} for the second time"
    announced = entry["id"] in record.announced and entry["created_at"] <= time
    if entry["sent_at"] != time or not (announced or entry["created_at"] == time):
        yield f"{at}: entry {entry['id']} was sent at {entry['sent_at']}, its event was at {time}"
    if entry["status"] != "unseen" or any(entry[name] is not None for name in TIMES):
        yield f"{at}: entry {entry['id']} is new and has marks"


def _check_state(before: Feed, event: Frame, at: str) -> Iterator[str]:
    if event["at"] != shown(micros(event["cursor"])):
        yield f"{at}: marked at {event['at']}, its cursor says {shown(micros(event['cursor']))}"
    if event["verbs"] != [verb for verb in VERBS if verb in event["verbs"]] or not event["verbs"]:
        yield f"{at}: verbs {event['verbs']}"
    if not event["ids"] or len(set(event["ids"])) != len(event["ids"]):
        yield f"{at}: no ids, or one twice: {event['ids']}"
    after = fold(before, event)
    for entry_id in event["ids"]:
        if entry_id not in before:
            yield f"{at}: entry {entry_id} changed, which the feed does not hold"
        elif before[entry_id] == after[entry_id]:
            yield f"{at}: entry {entry_id} is said to have changed and did not"


def _check_gone(record: Record, before: Feed, event: Frame, at: str) -> Iterator[str]:
    for entry_id in event["ids"]:
        entry = before.get(entry_id)
        if entry is None:
            yield f"{at}: entry {entry_id} is gone, which the feed does not hold"
        elif event["reason"] == "expired" and not (entry["expires_at"] or "9") <= shown(micros(event["cursor"])):
            yield f"{at}: entry {entry_id} expired before {entry['expires_at']}"
        elif event["reason"] == "withdrawn" and entry_id not in record.withdrawn and not record.unanswered:
            yield f"{at}: entry {entry_id} is withdrawn, and nobody did that"
    if event["reason"] == "evicted" and list(before)[: len(event["ids"])] != event["ids"]:
        yield f"{at}: evicted are not the oldest: {event['ids']}"
    if event["reason"] not in ("expired", "withdrawn", "evicted"):
        yield f"{at}: gone for {event['reason']}"


# ---- REST --------------------------------------------------------------------------------------------


def _check_rest(record: Record, history: History) -> Iterator[str]:
    """What is stored against what happened, and against what producers were told."""
    everything = [*record.items, *record.dismissed]
    held = {item["id"]: item for item in everything}
    if len(held) != len(everything):
        yield "REST lists an entry twice"
    counts = recount(everything)
    if (record.total_unseen, record.total_unread) != (counts["unseen"], counts["unread"]):
        yield f"REST counts {record.total_unseen} unseen, {record.total_unread} unread; its items say {counts}"
    for item in everything:
        if item["status"] != status_of(item):
            yield f"REST says entry {item['id']} is {item['status']}; its times say {status_of(item)}"
    yield from _check_acknowledged(record, history, held)
    yield from _compare_rest(record, history.feed)


def _check_acknowledged(record: Record, history: History, held: Feed) -> Iterator[str]:
    for entry_id in record.sent:
        if entry_id not in held and entry_id not in history.gone:
            yield f"entry {entry_id} was sent and is lost"
    for entry_id in record.withdrawn:
        if entry_id in held:
            yield f"entry {entry_id} was withdrawn and is still there"
    if not record.unanswered:
        for entry_id in held.keys() - set(record.sent):
            yield f"entry {entry_id} is there and nobody sent it"


def _compare_rest(record: Record, feed: Feed) -> Iterator[str]:
    newest_first = list(reversed(feed.values()))
    parts = (
        ("listed", record.items, [entry for entry in newest_first if entry["dismissed_at"] is None]),
        ("dismissed", record.dismissed, [entry for entry in newest_first if entry["dismissed_at"] is not None]),
    )
    for name, items, expected in parts:
        if [item["id"] for item in items] != [entry["id"] for entry in expected]:
            yield f"REST has {name} {[i['id'] for i in items]}, the events say {[e['id'] for e in expected]}"
        for item in items:
            if item["id"] in feed and item != feed[item["id"]]:
                yield f"REST has entry {item['id']} as {item}, the events say {feed[item['id']]}"


# ---- one session -------------------------------------------------------------------------------------


@dataclass
class View:
    """What a session holds of the feed, and since which snapshot it has followed every event."""

    cursor: str
    counts: dict[str, int]
    entries: Feed
    base: str
    """Cursor of that snapshot, or the start."""
    whole: bool
    """The snapshot had no more entries behind it."""


NOTHING = View(START, recount(()), {}, START, True)


@dataclass
class _Session:
    """Reads the frames of one session in order."""

    record: Record
    history: History
    anchors: set[str]
    """Cursors that the session goes back to, by resuming."""
    view: View | None = None
    views: dict[str, View] = field(default_factory=lambda: {START: NOTHING})
    """What it held at its anchors."""
    highest: str = START
    following: bool = False
    first: bool = True
    """No `subscribed` came on this connection so far."""
    resumed: str | None = None
    replay: Frame = field(default_factory=dict)
    first_replay: bool = False
    missed: int = 0
    """Events of the replay that are still to come."""
    me: str = ""
    mine: list[str] = field(default_factory=list)
    """Cursors of own changes that were not acknowledged so far."""
    acknowledged: set[str] = field(default_factory=set)
    unsure: bool = False
    """A temporary error came: something may have happened that nobody acknowledged."""

    def judge(self, connections: list[Connection]) -> Iterator[str]:
        for number, connection in enumerate(connections, 1):
            self.following, self.first, self.missed, self.resumed = False, True, 0, connection.resumed
            self.mine, self.unsure = [], False
            for place, frame in enumerate(connection.frames):
                for finding in self._read(frame):
                    yield f"connection {number}, frame {place} ({frame['type']}): {finding}"
            if connection.open:
                for finding in self._check_end():
                    yield f"connection {number}, at the end: {finding}"

    def _read(self, frame: Frame) -> Iterator[str]:
        if frame["type"] == "welcome":
            self.me = frame["session"]
        if frame["type"] == "error" and frame["temporary"]:
            self.unsure = True
        if frame.get("channel") != self.record.channel:
            return
        match frame["type"]:
            case "subscribed":
                yield from self._subscribed(frame)
                self.first = False
            case "unsubscribed":
                self.following = False
            case "entry" | "state" | "gone":
                yield from self._event(frame)
            case "ack":
                yield from self._ack(frame)
            case "page":
                yield from self._page(frame)

    # ---- following -----------------------------------------------------------------------------------

    def _subscribed(self, frame: Frame) -> Iterator[str]:
        if "ref" not in frame and (frame["mode"] != "snapshot" or not self.following):
            yield f"unasked, with mode {frame['mode']}"
        if self.missed:
            yield f"{self.missed} events of the replay before are missing"
        self.missed, self.following = 0, True
        yield from self._check_counts(frame)
        match frame["mode"]:
            case "live":
                if self.first and frame["cursor"] != self.resumed:
                    yield f"live at {frame['cursor']}, resumed from {self.resumed}"
                yield from self._go_back(frame["cursor"])
            case "replay":
                self.missed, self.replay, self.first_replay = frame["missed"], frame, self.first
                if not 1 <= self.missed <= REPLAY:
                    yield f"a replay of {self.missed} events"
            case _:
                yield from self._snapshot(frame)

    def _go_back(self, cursor: str) -> Iterator[str]:
        """The session goes on from a cursor where it was before."""
        self.view = self.views.get(cursor)
        if self.view is None:
            yield f"goes on from {cursor}, where this session never was"

    def _snapshot(self, frame: Frame) -> Iterator[str]:
        if micros(frame["cursor"]) < micros(self.highest):
            yield f"snapshot at {frame['cursor']}, older than {self.highest}"
        whole = not frame["page"]["has_more_after"]
        entries = {entry["id"]: entry for entry in reversed(frame["entries"])}
        self._move(View(frame["cursor"], frame["counts"], entries, frame["cursor"], whole))
        feed = self.history.feeds.get(frame["cursor"])
        if feed is None:
            yield f"a snapshot at {frame['cursor']}, which is the cursor of no event"
            return
        active = [entry for entry in reversed(feed.values()) if is_active(entry)]
        if frame["entries"] != active[: len(frame["entries"])]:
            yield "the snapshot's entries are not the newest of the feed at its cursor"
        if whole != (len(frame["entries"]) == len(active)):
            yield f"{len(frame['entries'])} of {len(active)} entries, has_more_after {not whole}"

    def _event(self, event: Frame) -> Iterator[str]:
        if not self.following:
            yield "an event of a channel that is not followed"
        if self.missed:
            yield from self._replayed(event)
        if self.view is None:
            return
        if event["cursor"] == self.view.cursor:
            yield f"the event at {event['cursor']} for the second time"
        elif event["prev"] != self.view.cursor:
            yield f"links to {event['prev']}, the one before was {self.view.cursor}"
        is_new = micros(event["cursor"]) > micros(self.highest)
        if is_new and event.get("by") == self.me and event["cursor"] not in self.acknowledged:
            self.mine.append(event["cursor"])
        entries = fold(self.view.entries, event)
        self._move(View(event["cursor"], event["counts"], entries, self.view.base, self.view.whole))

    def _replayed(self, event: Frame) -> Iterator[str]:
        if self.missed == self.replay["missed"]:
            if self.first_replay and event["prev"] != self.resumed:
                yield f"the replay begins after {event['prev']}, resumed from {self.resumed}"
            yield from self._go_back(event["prev"])
        self.missed -= 1
        if not self.missed and (event["cursor"], event["counts"]) != (self.replay["cursor"], self.replay["counts"]):
            yield f"the replay ends at {event['cursor']}, announced was {self.replay['cursor']}"

    def _move(self, view: View) -> None:
        self.view = view
        if view.cursor in self.anchors:
            self.views[view.cursor] = view
        self.highest = max(self.highest, view.cursor, key=micros)

    # ---- answers -------------------------------------------------------------------------------------

    def _check_counts(self, frame: Frame) -> Iterator[str]:
        counts = self.history.counts.get(frame["cursor"])
        if counts is None:
            yield f"{frame['cursor']} is the cursor of no event"
        elif counts != frame["counts"]:
            yield f"counts {frame['counts']}, a recount gives {counts}"

    def _ack(self, ack: Frame) -> Iterator[str]:
        event = self.history.events.get(ack["cursor"], {})
        if ack["changed"] and event.get("ids") != ack["changed"]:
            yield f"changed {ack['changed']}, without such an event at {ack['cursor']}"
        if ack.get("replayed"):
            return
        yield from self._check_counts(ack)
        if ack["changed"] and event.get("by") != self.me:
            yield f"acknowledges a change of {event.get('by')}"
        self.acknowledged.add(ack["cursor"])
        skipped = [cursor for cursor in self.mine if micros(cursor) < micros(ack["cursor"])]
        if skipped and not self.unsure:
            yield f"own changes at {skipped} were never acknowledged"
        self.mine = [cursor for cursor in self.mine if micros(cursor) > micros(ack["cursor"])]

    def _page(self, page: Frame) -> Iterator[str]:
        if self.following and self.view is not None and micros(page["cursor"]) < micros(self.view.cursor):
            yield f"a page at {page['cursor']}, older than the event at {self.view.cursor}"
        yield from self._check_counts(page)
        feed = self.history.feeds.get(page["cursor"], {})
        for entry in page["entries"]:
            if feed.get(entry["id"]) != entry:
                yield f"entry {entry}, the events say {feed.get(entry['id'])}"
        listed = {entry["id"]: entry for entry in page["entries"]}
        if list(listed) != [entry_id for entry_id in reversed(feed) if entry_id in listed]:
            yield f"entries are not newest first: {list(listed)}"

    # ---- the end -------------------------------------------------------------------------------------

    def _check_end(self) -> Iterator[str]:
        """An open session is at the top, and holds what REST has, as far as it was ever shown."""
        if self.missed:
            yield f"{self.missed} events of the replay are missing"
        if not self.following or self.view is None:
            return
        if self.view.cursor != self.history.top:
            yield f"is at {self.view.cursor}, the top is {self.history.top}"
        rest = {item["id"]: item for item in [*self.record.items, *self.record.dismissed]}
        if self.view.counts != recount(rest.values()):
            yield f"counts {self.view.counts}, REST says {recount(rest.values())}"
        yield from self._compare(self.view, rest)

    def _compare(self, view: View, rest: Feed) -> Iterator[str]:
        for entry_id, entry in view.entries.items():
            if entry != rest.get(entry_id):
                yield f"holds {entry}, REST has {rest.get(entry_id)}"
        active = [entry_id for entry_id, item in rest.items() if is_active(item)]
        listed = [entry_id for entry_id in reversed(view.entries) if is_active(view.entries[entry_id])]
        if listed != [entry_id for entry_id in active if entry_id in view.entries]:
            yield f"lists {listed}, REST {active}"
        base = self.history.feeds.get(view.base, {})
        for entry_id in active:
            known = entry_id not in base or (view.whole and is_active(base[entry_id]))
            if known and entry_id not in view.entries:
                yield f"does not hold entry {entry_id}, which it was told of and REST has"


def _anchors(session: list[Connection], channel: str) -> set[str]:
    """Where each resumption of a session goes on: at a `live` cursor, or before the first event of a replay."""
    found = set()
    for connection in session:
        frames = [frame for frame in connection.frames if frame.get("channel") == channel]
        for place, frame in enumerate(frames):
            if frame["type"] == "subscribed" and frame["mode"] == "live":
                found.add(frame["cursor"])
            elif frame["type"] == "subscribed" and frame["mode"] == "replay":
                found |= {event["prev"] for event in frames[place + 1 :][:1] if event["type"] in EVENTS}
    return found


# ---- making a record ---------------------------------------------------------------------------------


class Recording:
    """Sessions of one user, whose frames are kept, and what producers did to the user's `inbox`."""

    def __init__(self, doors: Doors, user: str) -> None:
        self.doors = doors
        self.user = user
        self.sent: list[str] = []
        self.withdrawn: list[str] = []
        self.http = doors.http()
        self._sessions: dict[str, list[tuple[Client, str | None]]] = {}

    async def join(
        self, session: str, *, cursor: str | None = None, doors: Doors | None = None, **options: Any
    ) -> Client:
        """One more connection of a session, subscribed from `cursor` or from nothing, perhaps at another hub."""
        options = {"cursor": cursor} | options if cursor else options
        client = await (doors or self.doors).connect(self.user, **options)
        self._sessions.setdefault(session, []).append((client, cursor))
        return client

    async def resume(self, session: str, **options: Any) -> Client:
        """A connection that goes on where the session's last one ended, which is closed first."""
        last, _ = self._sessions[session][-1]
        await last.close()
        return await self.join(session, cursor=last.cursor, **options)

    async def send(self, title: str = "hello", **fields: Any) -> str:
        body = {"category": "order.updated", "target": {"type": "user", "id": self.user}, "title": title} | fields
        answer = await self.http.post("/v1/messaging/notifications", json=body, headers=self.doors.producer)
        assert answer.status_code == 202, answer.text
        self.sent.append(answer.json()["id"])
        return self.sent[-1]

    async def withdraw(self, entry_id: str) -> bool:
        """Whether the entry was there."""
        return await self._delete(f"/v1/messaging/notifications/{entry_id}")

    async def withdraw_source(self, source_key: str) -> bool:
        return await self._delete("/v1/messaging/notifications", source_key=source_key)

    async def _delete(self, path: str, **query: str) -> bool:
        answer = await self.http.delete(path, params={"user": self.user} | query, headers=self.doors.producer)
        assert answer.status_code in (200, 404), answer.text
        if answer.status_code == 404:
            return False
        self.withdrawn += answer.json()["ids"]
        return bool(answer.json()["ids"])

    async def settled(self) -> str:
        """Waits until every open session that follows the feed is at its top, which is returned."""
        clients = [client for client, _ in self._open()]
        while True:
            top = (await clients[0].ask("list", channel="inbox", limit=1))["cursor"]
            await until(lambda top=top: all(micros(c.cursor) >= micros(top) for c in clients if _follows(c)))
            if all(client.cursor == top for client in clients if _follows(client)):
                return str(top)

    async def finish(self) -> Record:
        """The record, once all is quiet; then every socket is closed. At least one must be open."""
        top = ""
        while top != (top := await self.settled()):  # an entry may expire between two pages
            listed = [page async for page in self._pages(archived="true")]
            dismissed = [page async for page in self._pages(status="dismissed")]
        still_open = [client for client, _ in self._open()]
        record = Record(
            sessions=[
                [Connection(client.frames, resumed, client in still_open) for client, resumed in connections]
                for connections in self._sessions.values()
            ],
            sent=self.sent,
            withdrawn=self.withdrawn,
            items=[item for page in listed for item in page["items"]],
            dismissed=[item for page in dismissed for item in page["items"]],
            total_unseen=listed[-1]["total_unseen"],
            total_unread=listed[-1]["total_unread"],
        )
        await self.close()
        return record

    async def close(self) -> None:
        """Closes every socket; for a recording that is not finished, too."""
        await asyncio.gather(*(client.close() for client, _ in self._open()))
        await self.http.aclose()

    def _open(self) -> list[tuple[Client, str | None]]:
        return [
            connection
            for connections in self._sessions.values()
            for connection in connections
            if not connection[0].closed.done()
        ]

    async def _pages(self, **query: str) -> AsyncIterator[Frame]:
        page: Frame = {"page": {"has_more_after": True}}
        while page["page"]["has_more_after"]:
            after = {"after": page["page"]["after"]} if "after" in page["page"] else {}
            answer = await self.http.get(
                "/user/v1/channels/inbox/feed/entries",
                params={"limit": "100"} | query | after,
                headers=self.doors.user_headers(self.user),
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield page


def _follows(client: Client) -> bool:
    kinds = [f["type"] for f in client.frames if f["type"] in ("subscribed", "unsubscribed")]
    return bool(kinds) and kinds[-1] == "subscribed"
