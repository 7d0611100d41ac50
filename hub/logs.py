"""The log of what was sent to users: who was sent what, where and when. What became of it stands in the feeds.

A row is written after the entry, before the producer is answered; who tries again writes it again, which changes
nothing. It leaves when it is too old, at the next append. All keys of a project's log are in one slot.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub import keys
from hub.engine import Engine, text
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.indexes import index_page
from hub.keys import Feed
from hub.lists import Listed, Place, Window
from hub.model import Published, micros_of
from hub.redis import Value
from hub.store import Store

DAY_MS = 24 * 3600 * 1000
STEP = 200
"""Rows read at once where not all of them are shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One user's part in one send or run. `id` is the entry's id, `us` when the entry came into the feed; 0: now.

    `channel` is the handle of the feed's channel, or None: the user did not want it, or `error` says why it could not
    be made. `handle` is the notiflow's, or the category of what was sent without one; then `run` is None.
    """

    id: str
    us: int
    user: str
    channel: str | None
    handle: str
    topic: str | None = None
    actor: str | None = None
    run: str | None = None
    error: str | None = None


async def entered(store: Store, feed: Feed, published: Published) -> int:
    """When an entry came into its feed, µs; 0 where a replay cannot tell any more."""
    if not published.replayed:
        return micros_of(published.cursor)
    try:
        (entry,) = await store.entries(feed, [published.id])
    except Refused as refused:
        if refused.code is not Code.NOT_FOUND:
            raise
        return 0
    return entry.score


class Logs:
    """The logs of all projects; rows leave after `days`."""

    def __init__(self, engine: Engine, days: int) -> None:
        self._engine = engine
        self._days = days

    async def add(self, project_id: str, rows: Sequence[Row]) -> None:
        """Writes rows; one that is there already stays as it is."""
        log_keys, log_args, values, places = self.operands(project_id, rows)
        await self._engine.run("log_add", log_keys, log_args, values, places)

    def operands(
        self, project_id: str, rows: Sequence[Row]
    ) -> tuple[dict[str, str], dict[str, Value], list[Value], list[str]]:
        """Keys, arguments, values and places of `lua/lib/log.lua`."""
        index = keys.log_index(project_id)
        values: list[Value] = []
        places: list[str] = []
        for row in rows:
            values += (row.id, row.us or "", _encode(row))
            places += (
                keys.log_of(project_id, row.user),
                keys.log_topic(project_id, row.topic) if row.topic is not None else index,
                keys.log_failed(project_id) if row.error is not None else index,
            )
        log_keys = {"log_index": index, "log_rows": keys.log_rows(project_id)}
        return log_keys, {"log_ms": self._days * DAY_MS}, values, places

    async def get(self, project_id: str, entry_id: str) -> Row | None:
        """One row."""
        row = await self._engine.call("HGET", keys.log_rows(project_id), entry_id)
        us = None if row is None else await self._engine.call("ZSCORE", keys.log_index(project_id), entry_id)
        return None if us is None else _decode(entry_id, int(us), row)

    async def page(
        self, project_id: str, index: str, window: Window, good: Callable[[Row], bool] | None = None
    ) -> Listed[Row]:
        """The rows of one page, newest first, of those that are `good`; `index` is one of the log's."""
        upwards = window.before is not None
        place = window.before if upwards else window.after
        found: list[Row] = []
        while len(found) <= window.limit:
            step = Window(
                limit=window.limit + 1 if good is None else max(STEP, window.limit + 1),
                before=place if upwards else None,
                after=None if upwards else place,
                created_after=window.created_after,
                created_before=window.created_before,
            )
            page = await index_page(self._engine, index, step)
            rows = [row for row in await self._rows(project_id, page.items) if good is None or good(row)]
            found = rows + found if upwards else found + rows
            place = page.before if upwards else page.after
            if place is None:
                break
        shown = found[-window.limit :] if upwards else found[: window.limit]
        more = len(found) > len(shown)
        older = upwards or more
        newer = more if upwards else window.after is not None
        return Listed(
            tuple(shown),
            window.limit,
            after=(shown[-1].us, shown[-1].id) if older and shown else None,
            before=(shown[0].us, shown[0].id) if newer and shown else None,
        )

    async def has(self, project_id: str, user: str) -> bool:
        """Whether anything is logged of a user."""
        return bool(await self._engine.call("EXISTS", keys.log_of(project_id, user)))

    async def forget(self, project_id: str, user: str) -> None:
        """Takes all rows of a user out."""
        of = keys.log_of(project_id, user)
        known = {"log_index": keys.log_index(project_id), "log_rows": keys.log_rows(project_id), "of": of}
        while ids := await self._engine.call("ZRANGE", of, 0, 999):
            await self._engine.run("log_forget", known, {}, ids)

    async def _rows(self, project_id: str, places: Sequence[Place]) -> list[Row]:
        """The rows at these places; what was forgotten meanwhile is missing."""
        if not places:
            return []
        found = await self._engine.call("HMGET", keys.log_rows(project_id), *(name for _, name in places))
        return [_decode(name, us, row) for (us, name), row in zip(places, found, strict=True) if row is not None]


def _encode(row: Row) -> str:
    return dumps([row.user, row.channel, row.handle, row.topic, row.actor, row.run, row.error])


def _decode(entry_id: str, us: int, row: bytes) -> Row:
    return Row(entry_id, us, *json.loads(text(row)))
