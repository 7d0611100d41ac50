"""The feed engine: one method a script. The only place that knows Lua and what Redis answers.

Every method is atomic. A `Refused` other than `unavailable` means that nothing changed. `issued_at` is the
token's time of a user's own request (None where a producer or the hub itself asks): the script refuses tokens
older than the user's last revocation.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub.announcements import Live, Op
from hub.engine import Engine, text
from hub.errors import unavailable
from hub.idempotency import Idempotency, operands, parse
from hub.keys import Feed, User, digest
from hub.model import (
    START,
    VERBS,
    CatchUp,
    Check,
    Claims,
    Counts,
    Entry,
    Event,
    Explained,
    Filters,
    Marked,
    Page,
    Published,
    Withdrawn,
)
from hub.redis import Value

OP_MS = 24 * 3600 * 1000
OPS = 1000
"""`op`s remembered for one user (protocol, section 1)."""
REPLAY_BYTES = 1024 * 1024
DAY_MS = 24 * 3600 * 1000
BROUGHT = 20
"""Announcements that one script brings into a feed: what it costs others is as bounded as a page."""
WITHDRAWN = 500
"""All that one script does to a feed, withdrawals included: of most of those the feed holds nothing."""
_BRINGS = 3
"""How often a request is told that the feed is behind again, before it is sent away."""

_AS_IT_IS = frozenset({"publish", "withdraw", "withdraw_source", "evict", "bring"})
"""Scripts that nobody asks for a feed's sake: what was announced may wait until its user does."""
_PARTS = ("log", "items", "marks", "active", "unseen", "unread", "archived", "dismissed", "expires")


@dataclass(frozen=True, slots=True)
class Memory:
    """A client's `op`: digests of the op within its feed, and of the frame (protocol, section 1)."""

    op: str
    frame: str


class Store:
    """All feeds of all users. `capacity`, `days` and `log_events` are the limits of one feed.

    Whatever a user reads, or marks, holds what was announced (`live`): a feed that is behind gets it first.
    """

    def __init__(self, engine: Engine, *, feed_entries: int, feed_days: int, log_events: int) -> None:
        self._engine = engine
        self._cap = feed_entries
        self._days = feed_days
        self._log_events = log_events
        self.live = Live()

    async def publish(
        self,
        feed: Feed,
        entry_id: str,
        body: str,
        *,
        topic: str = "",
        expires: int = 0,
        source_key: str | None = None,
        asked: int = 0,
        once: Idempotency | None = None,
    ) -> Published:
        """Puts one entry into a feed. `body` is its JSON without the closing brace; `expires` in µs, 0 never.

        `asked`: when it was asked for, µs by the clock of `Users.erase`; 0 is now. Raises `Refused`:
        idempotency_key_reused; invalid_request when `expires` is not in the future; not_found for a user erased since.
        """
        keys, args = operands(once, feed.user.meta)
        reply = await self._feed_script(
            "publish",
            feed,
            keys=keys | {"source": feed.source(source_key) if source_key else feed.user.meta},
            args=args
            | {
                "id": entry_id,
                "body": body,
                "topic": topic,
                "expires_us": expires,
                "asked_us": asked,
                "idem_answer": once.answer if once else "",
                "sourced": "1" if source_key else "",
            },
        )
        if reply[0] == b"ok":
            return Published(text(reply[1]), text(reply[2]))
        return Published(entry_id, START, answer=parse(reply), replayed=True)

    async def mark(
        self,
        feed: Feed,
        verbs: Sequence[str],
        ids: Sequence[str],
        *,
        by: str | None = None,
        memory: Memory | None = None,
        once: Idempotency | None = None,
        claims: Claims | None = None,
    ) -> Marked:
        """Applies verbs to entries: all of `ids` are in the feed, or `Refused` not_found and nothing happens.

        Raises `Refused`: idempotency_key_reused, rate_limited (too many ops), revoked.
        """
        return _marked(await self._mark("mark", feed, verbs, by, memory, once, claims, {}, tuple(dict.fromkeys(ids))))

    async def mark_upto(
        self,
        feed: Feed,
        verbs: Sequence[str],
        upto: str | None,
        *,
        topic: str | None = None,
        by: str | None = None,
        memory: Memory | None = None,
        once: Idempotency | None = None,
        claims: Claims | None = None,
    ) -> Marked:
        """Applies verbs to every active entry that arrived at or before the cursor `upto`; None: by now.

        Raises `Refused`: conflict for a cursor that this feed's history does not hold, and as `mark`.
        """
        args: dict[str, Value] = {"upto": upto or "", "topic": topic or ""}
        return _marked(await self._mark("mark_upto", feed, verbs, by, memory, once, claims, args))

    async def mark_all_seen(
        self, feed: Feed, *, once: Idempotency | None = None, claims: Claims | None = None
    ) -> Marked:
        """Marks everything seen that is not dismissed, archived entries too. Raises `Refused` as `mark`."""
        return _marked(await self._mark("mark_all_seen", feed, ["seen"], None, None, once, claims, {}))

    async def withdraw(self, feed: Feed, entry_id: str) -> Withdrawn:
        """Takes one entry back. Raises `Refused` not_found."""
        return _withdrawn(await self._feed_script("withdraw", feed, args={"id": entry_id}))

    async def withdraw_source(self, feed: Feed, source_key: str) -> Withdrawn:
        """Takes back every entry sent with this source key; none is no error."""
        return _withdrawn(await self._feed_script("withdraw_source", feed, keys={"source": feed.source(source_key)}))

    async def page(
        self, feed: Feed, filters: Filters, claims: Claims | None = None, *, see_through: bool = False
    ) -> Page:
        """One page, newest first; cursor and counts are those of the whole feed at the same moment.

        `see_through`: archived entries too, under the status that they have below (seed 1 knows no archive).
        """
        args = {
            "status": filters.status or "",
            "with_archived": "1" if see_through or (filters.archived and not filters.status) else "",
            "topic": filters.topic or "",
            # Compared as they are shown, in whole milliseconds.
            "created_after": "" if filters.created_after is None else filters.created_after // 1000 * 1000 + 999,
            "created_before": "" if filters.created_before is None else -(-filters.created_before // 1000) * 1000,
            "after": _optional(filters.after),
            "before": _optional(filters.before),
            "limit": filters.limit,
        }
        reply = await self._feed_script("page", feed, args=args, claims=claims)
        after, before = (int(token) if token else None for token in reply[5:7])
        return Page(_entries(reply[7:]), filters.limit, text(reply[1]), _counts(reply[2:5]), after, before)

    async def counts(self, feed: Feed, claims: Claims | None = None) -> tuple[str, Counts]:
        """The feed's cursor and its counts."""
        reply = await self._feed_script("counts", feed, claims=claims)
        return text(reply[1]), _counts(reply[2:5])

    async def explain(self, feed: Feed, limit: int, claims: Claims | None = None) -> Explained:
        """The counts and what stands behind them: at most `limit` entries for each, the newest."""
        reply = await self._feed_script("explain", feed, args={"limit": limit}, claims=claims)
        entries = {entry.id.encode(): entry for entry in _entries(reply[10])}
        behind = {
            name: tuple(entries[entry_id] for entry_id in ids if entry_id in entries)
            for name, ids in zip(("unseen", "unread", "total"), reply[7:10], strict=True)
        }
        return Explained(text(reply[1]), _counts(reply[2:5]), reply[5], reply[6], behind)

    async def entries(self, feed: Feed, ids: Sequence[str], claims: Claims | None = None) -> tuple[Entry, ...]:
        """Entries by id, in the order asked; all of them, or `Refused` not_found."""
        return _entries((await self._feed_script("entries", feed, rest=ids, claims=claims))[1:])

    async def standing(self, feed: Feed, ids: Sequence[str]) -> dict[str, Entry]:
        """Those of some entries that are in the feed, by id, for a log of what was sent: without their places in it,
        which the log knows.
        """
        items, marks = await asyncio.gather(
            *(self._engine.call("HMGET", feed.key(part), *ids) for part in ("items", "marks"))
        )
        rows = zip(ids, items, marks, strict=True)
        return {id_: _entry(id_, "0", text(body), text(packed)) for id_, body, packed in rows if body and packed}

    async def catch_up(self, feed: Feed, cursor: str | None, limit: int, claims: Claims | None = None) -> CatchUp:
        """From a session's cursor to the top; None asks for a snapshot. `limit` bounds the snapshot's page."""
        args: dict[str, Value] = {"cursor": cursor or "", "limit": limit, "bytes": REPLAY_BYTES}
        reply = await self._feed_script("catch_up", feed, args=args, claims=claims)
        mode, top, counts, expires = text(reply[0]), text(reply[1]), _counts(reply[2:5]), int(reply[5])
        match mode:
            case "replay":
                rows = zip(reply[6::3], reply[7::3], reply[8::3], strict=True)
                events = tuple(parse_event(feed.channel, *(text(part) for part in row)) for row in rows)
                return CatchUp(mode, top, counts, events=events, expires=expires)
            case "snapshot":
                after = int(reply[6]) if reply[6] else None
                page = Page(_entries(reply[7:]), limit, top, counts, after, None)
                return CatchUp(mode, top, counts, page=page, expires=expires)
        return CatchUp(mode, top, counts, expires=expires)

    async def evict(self, feed: Feed) -> Check:
        """Takes out what is due now; tells when the next entry is."""
        reply = await self._feed_script("evict", feed)
        return Check(text(reply[1]), int(reply[2]))

    async def bring(self, feed: Feed, since: int | None = None) -> None:
        """Brings what was announced into a feed, each once, however many do so at the same time.

        `since`: the number up to which the feed has it, where that is known.
        """
        if not self.live.newest(feed):
            return
        if since is None:
            since = int(await self._engine.call("HGET", feed.user.meta, f"announced:{feed.channel}") or 0)
        while ops := _at_once(self.live.after(feed, since)):
            rest = [part for op in ops for part in (op.number, op.id, op.expires, op.topic, op.body)]
            # One after the other: what is brought from the middle on would leave out what comes before.
            keys, args = {"source": feed.user.meta}, {"since": since, "sourced": ""}
            reply = await self._feed_script("bring", feed, keys=keys, args=args, rest=rest)
            since = int(reply[1])

    async def check(self, user: User, channels: Sequence[str]) -> tuple[int | None, dict[str, str]]:
        """The user's `revoked_before` (seconds or None) and the cursors of some feeds, in one cheap read."""
        fields = ("revoked", *(f"cursor:{channel}" for channel in channels))
        revoked, *cursors = await self._engine.call("HMGET", user.meta, *fields)
        tops = {c: text(top) if top else START for c, top in zip(channels, cursors, strict=True)}
        return int(revoked) if revoked else None, tops

    async def revoke(self, user: User) -> int:
        """Refuses the user's tokens issued before now (seconds, rounded up); every hub ends their sessions."""
        before, _ = await self.revoke_once(user, None)
        return before

    async def revoke_once(self, user: User, once: Idempotency | None) -> tuple[int, bool]:
        """As `revoke`; and whether it is what the same request did before. Raises `Refused` idempotency_key_reused."""
        keys, args = operands(once, user.meta)
        word, before = await self._engine.run("revoke", keys | {"meta": user.meta, "events": user.events}, args)
        return int(before), word == b"replayed"

    async def has_feeds(self, user: User) -> bool:
        """Whether anything was ever in a feed of the user's, or is."""
        fields = await self._engine.call("HKEYS", user.meta)
        return any(field not in (b"revoked", b"erased") for field in fields)

    async def forget_answers(self, user: User) -> None:
        """Removes what was answered to requests about the user's feeds. That something was sent stays remembered."""
        while records := await self._engine.call("ZRANGE", user.answers, 0, 999):
            await self._engine.call("UNLINK", *records)
            await self._engine.call("ZREM", user.answers, *records)

    async def forget(self, feed: Feed, erased: int = 0) -> None:
        """Removes a feed, also from `has_feeds`; nobody is told. What the user revoked stays revoked. `erased`: the µs
        from which on what was asked for before does not reach the user any more.
        """
        keys = {part: feed.key(part) for part in _PARTS}
        keys |= {"meta": feed.user.meta, "ops": feed.user.ops, "memo": feed.user.memo}
        await self._engine.run("forget", keys, {"handle": feed.channel, "erased_us": erased})

    async def say(self, channel: str, message: str) -> int:
        """Publishes to a shard channel: probes, `CONTROL`, questions. How many connections hear it."""
        heard: int = await self._engine.call("SPUBLISH", channel, message)
        return heard

    def tell(self, channel: str, message: str) -> None:
        """As `say`, where it does not matter whether anybody hears it."""
        self._engine.link.call("SPUBLISH", channel, message).add_done_callback(_unheeded)

    # ---- how scripts are run ----------------------------------------------------------------------

    async def _mark(
        self,
        name: str,
        feed: Feed,
        verbs: Sequence[str],
        by: str | None,
        memory: Memory | None,
        once: Idempotency | None,
        claims: Claims | None,
        args: dict[str, Value],
        ids: Sequence[str] = (),
    ) -> list[Any]:
        keys, once_args = operands(once, feed.user.meta)
        args |= once_args | {
            "by": by or "-",
            "verbs": ",".join(verb for verb in VERBS if verb in verbs),
            "op": memory.op if memory else "",
            "digest": memory.frame if memory else "",
            "op_ms": OP_MS,
            "ops_max": OPS,
        }
        keys |= {"ops": feed.user.ops, "memo": feed.user.memo}
        return await self._feed_script(name, feed, keys=keys, args=args, rest=ids, claims=claims)

    async def _feed_script(
        self,
        name: str,
        feed: Feed,
        *,
        keys: dict[str, str] | None = None,
        args: dict[str, Any] | None = None,
        rest: Sequence[Value] = (),
        claims: Claims | None = None,
    ) -> list[Any]:
        """Runs a script over a feed; one that a user asks for, when the feed holds all that was announced."""
        all_keys = {part: feed.key(part) for part in _PARTS}
        all_keys |= {"meta": feed.user.meta, "events": feed.user.events} | (keys or {})
        all_args: dict[str, Value] = {
            "handle": feed.channel,
            "iat": _issued(claims),
            "log_events": self._log_events,
            "keep_ms": (self._days + 1) * DAY_MS,
            "cap": self._cap,
            "age_us": self._days * DAY_MS * 1000,
        }
        all_args |= args or {}
        for _ in range(_BRINGS):
            all_args["nonce"] = random.getrandbits(32)
            all_args["announced"] = "" if name in _AS_IT_IS else self.live.newest(feed) or ""
            reply = await self._engine.run(name, all_keys, all_args, rest)
            if not reply or reply[0] != b"behind":
                return reply
            await self.bring(feed, int(reply[1]))
        raise unavailable("more was announced than this feed could take at once")


def parse_event(channel: str, cursor: str, prev: str, data: str) -> Event:
    """The event that a script wrote: `kind unseen unread total …`, see `lua/lib/feed.lua`."""
    kind, unseen, unread, total, rest = data.split(" ", 4)
    counts = Counts(int(unseen), int(unread), int(total))
    match kind:
        case "entry":
            expires, _, body = rest.partition(" ")
            return Event(channel, cursor, prev, counts, kind, body=body, expires=int(expires))
        case "state":
            by, verbs, ids = rest.split(" ")
            who = None if by == "-" else by
            return Event(
                channel,
                cursor,
                prev,
                counts,
                kind,
                ids=tuple(ids.split(",")),
                verbs=tuple(verbs.split(",")),
                by=who,
            )
        case "gone":
            reason, _, ids = rest.partition(" ")
            return Event(channel, cursor, prev, counts, kind, ids=tuple(ids.split(",")), reason=reason)
    raise ValueError(f"an event of an unknown kind: {kind[:20]!r}")


def op_memory(feed: Feed, op: str, frame: str) -> Memory:
    """The memory of a client's `op`, which counts per feed."""
    return Memory(digest(feed.channel, op), frame)


def _issued(claims: Claims | None) -> str:
    if claims is None:
        return ""
    return "-" if claims.issued_at is None else str(claims.issued_at)


def _unheeded(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()  # looked at, so that nobody complains that nobody looked


def _optional(micros: int | None) -> str:
    return "" if micros is None else str(micros)


def _counts(values: list[int]) -> Counts:
    return Counts(*values)


def _entries(flat: list[bytes]) -> tuple[Entry, ...]:
    rows = zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
    return tuple(_entry(*(text(part) for part in row)) for row in rows)


def _entry(entry_id: str, score: str, body: str, packed: str) -> Entry:
    times = [int(part) if part else 0 for part in packed.split("|", 6)[:6]]
    return Entry(entry_id, body, int(score), *times)


def _at_once(ops: Sequence[Op]) -> Sequence[Op]:
    """What one script does, of what a feed misses."""
    brought = 0
    for at, op in enumerate(ops[:WITHDRAWN]):
        brought += bool(op.body)
        if brought > BROUGHT:
            return ops[:at]
    return ops[:WITHDRAWN]


def _marked(reply: list[Any]) -> Marked:
    ids = tuple(text(part) for part in reply[6:])
    changed = ids if len(ids) == reply[5] else None
    return Marked(text(reply[1]), _counts(reply[2:5]), changed, replayed=reply[0] == b"replayed", number=reply[5])


def _withdrawn(reply: list[Any]) -> Withdrawn:
    return Withdrawn(text(reply[1]), _counts(reply[2:5]), tuple(text(part) for part in reply[5:]))
