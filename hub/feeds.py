"""All in-app feeds of one user as one: what the Messaging API lists, counts and marks (`docs/api.md`).

Newest first; where entries of several channels came in the same µs, by the handle of the channel. Each step is one
script of one feed, so a list of several feeds is exact for each of them and belongs to no single moment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub.errors import Code, Refused
from hub.idempotency import Idempotency
from hub.keys import Feed, User
from hub.model import JSON, Claims, Entry, Filters, Project
from hub.notification import body_of, content, sender_of, title_of
from hub.store import Store

SLICE = 100
"""Entries that are read at a time where each must be looked into."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the list: that of the entry with this score in this channel."""

    score: int
    channel: str

    def edge(self, channel: str, older: bool) -> int:
        """The µs beyond which, exclusive, the entries of a channel lie older or newer than this place."""
        if older:
            return self.score + (channel > self.channel)
        return self.score - (channel < self.channel)

    def and_itself(self, older: bool) -> "Position":
        """The place from which this one is itself older or newer. `~` is beyond every handle."""
        return Position(self.score + 1, "~") if older else Position(self.score - 1, "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list shows. Without a status: all that is not dismissed."""

    status: str | None = None
    category: str | None = None
    q: str | None = None
    """A part of title or body, whatever the case."""
    sender_ids: frozenset[str] = frozenset()
    sender_types: frozenset[str] = frozenset()
    """Also `system`: nobody."""

    @property
    def looks_inside(self) -> bool:
        """Whether the store alone cannot tell."""
        return bool(self.category or self.q or self.sender_ids or self.sender_types)

    def passes(self, entry: Entry) -> bool:
        """Whether the stored part is as it should be; the status is the store's to judge."""
        return not self.looks_inside or self._passes(content(entry))

    def _passes(self, said: JSON) -> bool:
        if self.category and (said.get("category") or said.get("notiflow_handle")) != self.category:
            return False
        if self.q and not any(self.q.casefold() in text.casefold() for text in (title_of(said), body_of(said) or "")):
            return False
        sender = sender_of(said)
        if self.sender_ids and (sender is None or sender["id"] not in self.sender_ids):
            return False
        return not self.sender_types or (sender["type"] if sender else "system") in self.sender_types


@dataclass(frozen=True, slots=True)
class Part:
    """A page of the list, newest first; the places from which the next ones are to be had, where there are any."""

    entries: tuple[Entry, ...]
    older: Position | None
    newer: Position | None


class Feeds:
    """One user's. `claims` are there where the user asks in person: every step refuses revoked tokens."""

    def __init__(self, store: Store, project: Project, user: User, claims: Claims | None) -> None:
        self._store = store
        self._claims = claims
        self._feeds = [user.feed(channel.handle) for channel in project.feed_channels]

    async def page(self, wanted: Wanted, limit: int, place: Position | None, older: bool = True) -> Part:
        """What lies next to a place, on its older or newer side; the newest entries without one."""
        near = await self._near(wanted, place, older, limit + 1)
        shown = near[:limit] if older else near[:limit][::-1]
        beyond = _place(shown[-1] if older else shown[0]) if len(near) > limit else None
        if place is None:
            return Part(_entries(shown), beyond, None)
        start = _place(shown[0] if older else shown[-1]) if shown else place.and_itself(not older)
        behind = start if await self._near(wanted, start, not older, 1) else None
        return Part(_entries(shown), beyond if older else behind, behind if older else beyond)

    async def find(self, entry_id: str) -> tuple[Feed, Entry]:
        """The entry and the feed that holds it. Raises `Refused` not_found."""
        for feed in self._feeds:
            try:
                (entry,) = await self._store.entries(feed, [entry_id], self._claims)
            except Refused as refused:
                if refused.code is not Code.NOT_FOUND:
                    raise
            else:
                return feed, entry
        raise no_notification(entry_id)

    async def mark(self, entry_id: str, verb: str, once: Idempotency | None) -> Entry:
        """The entry after the mark. Raises `Refused` not_found."""
        feed, _ = await self.find(entry_id)
        await self._store.mark(feed, [verb], [entry_id], once=once, claims=self._claims)
        return (await self.find(entry_id))[1]

    async def mark_all_seen(self, once_of: Callable[[str], Idempotency | None]) -> None:
        """Everything that is unseen now. `once_of` gives the record of each channel's step."""
        for feed in self._feeds:
            await self._store.mark_all_seen(feed, once=once_of(feed.channel), claims=self._claims)

    async def unseen(self) -> dict[str, int]:
        """By channel: what each feed's badge says, exactly."""
        return {feed.channel: (await self._store.counts(feed, self._claims))[1].unseen for feed in self._feeds}

    async def _near(self, wanted: Wanted, place: Position | None, older: bool, want: int) -> list[tuple[Entry, str]]:
        """Up to `want` entries with their channels, the nearest first."""
        found = [
            (entry, feed.channel)
            for feed in self._feeds
            for entry in await self._walk(feed, wanted, place, older, want)
        ]
        found.sort(key=lambda row: (-row[0].score, row[1]), reverse=not older)
        return found[:want]

    async def _walk(
        self, feed: Feed, wanted: Wanted, place: Position | None, older: bool, want: int
    ) -> Sequence[Entry]:
        """Up to `want` entries of one feed, the nearest first."""
        found: list[Entry] = []
        edge = None if place is None else place.edge(feed.channel, older)
        while True:
            filters = Filters(
                status=wanted.status,
                after=edge if older else None,
                before=None if older else edge,
                limit=SLICE if wanted.looks_inside else want,
            )
            page = await self._store.page(feed, filters, self._claims, see_through=True)
            rows = page.entries if older else page.entries[::-1]
            found += (entry for entry in rows if wanted.passes(entry))
            edge = page.after if older else page.before
            if edge is None or len(found) >= want:
                return found[:want]


def no_notification(entry_id: str) -> Refused:
    shown = entry_id[:64]
    return Refused(Code.NOT_FOUND, f"no such notification: {shown!r}", resource="notification", id=shown)


def _place(row: tuple[Entry, str]) -> Position:
    return Position(row[0].score, row[1])


def _entries(rows: Sequence[tuple[Entry, str]]) -> tuple[Entry, ...]:
    return tuple(entry for entry, _ in rows)
