"""The User API's feed (seed 2): `/user/v1/channels/{channel_id}/feed/…`.

Checked in this order: 401, 403, 404 of the channel, 400 and 422, 404 of the entry, 409.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub import codec
from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, once_of
from hub.api.requests import bad_param, limit_of, parsed, read_json
from hub.errors import Code, Refused
from hub.frames import IDS, PAGE, dumps, page_object
from hub.keys import Feed
from hub.model import JSON, STATUSES, Entry, Filters
from hub.notification import title_of
from hub.store import Store

_VERB_OF = {"seen": "seen", "read": "read", "clicked": "click", "archived": "archive"}
"""The flags of a PATCH, and the verbs they mean when true."""
_MAY_BECOME = {
    "unseen": ["seen", "read", "archived"],
    "seen": ["read", "archived"],
    "read": ["archived"],
    "archived": ["unseen", "seen", "read"],
    "dismissed": [],
}


_RULES = {
    "unseen": "seen_at, archived_at and dismissed_at are null",
    "unread": "read_at, archived_at and dismissed_at are null",
    "total": "archived_at and dismissed_at are null",
}
"""Which entries each count counts."""


class FeedApi:
    """The endpoints. Every one is a user's own: the feed is that of the token's user."""

    def __init__(self, store: Store, door: Door) -> None:
        self._store = store
        self._door = door

    def routes(self) -> list[Route]:
        feed = "/channels/{channel_id}/feed"
        entries = feed + "/entries"
        one = entries + "/{entry_id}"
        route = self._door.route
        return [
            route("GET", entries, self.list_entries),
            route("PATCH", entries, self.update_entries, once=Once.ANSWER),
            route("GET", one, self.get_entry),
            route("PATCH", one, self.update_entry, once=Once.ANSWER),
            route("GET", feed + "/counts", self.counts),
            route("GET", feed + "/explain", self.explain),
            route("POST", feed + "/mark-all", self.mark_all, once=Once.ANSWER),
        ]

    async def list_entries(self, request: Request, caller: Caller) -> Response:
        """A page of the feed, newest first, with the counts of the whole feed."""
        feed = _feed(request, caller)
        page = await self._store.page(feed, _filters(request.query_params), caller.claims)
        items = ",".join(entry.json() for entry in page.entries)
        rest = f'"page":{dumps(page_object(page))},"total_unread":{page.counts.unread}'
        return answer(f'{{"items":[{items}],{rest},"total_unseen":{page.counts.unseen}}}')

    async def get_entry(self, request: Request, caller: Caller) -> Response:
        """One entry of the feed."""
        feed = _feed(request, caller)
        return answer((await self._one(feed, request.path_params["entry_id"], caller)).json())

    async def update_entry(self, request: Request, caller: Caller) -> Response:
        """Sets states of one entry (seed 2); all of the body in one change, or nothing."""
        feed = _feed(request, caller)
        flags = _flags(await _body(request), "")
        entry = await self._one(feed, request.path_params["entry_id"], caller)
        verbs = _verbs(flags, entry)
        await self._store.mark(feed, verbs, [entry.id], once=once_of(request), claims=caller.claims)
        return answer((await self._one(feed, entry.id, caller)).json())

    async def update_entries(self, request: Request, caller: Caller) -> Response:
        """Sets states of several entries: all of them, or none."""
        feed = _feed(request, caller)
        ids, flags = _batch(await _body(request))
        entries = await self._store.entries(feed, ids, caller.claims)
        verbs = _verbs(flags, entries[0])
        await self._store.mark(feed, verbs, ids, once=once_of(request), claims=caller.claims)
        entries = await self._store.entries(feed, ids, caller.claims)
        return answer(f"[{','.join(entry.json() for entry in entries)}]")

    async def counts(self, request: Request, caller: Caller) -> Response:
        """What a badge shows."""
        cursor, counts = await self._store.counts(_feed(request, caller), caller.claims)
        return answer(dumps(asdict(counts) | {"cursor": cursor}))

    async def mark_all(self, request: Request, caller: Caller) -> Response:
        """Marks everything that had arrived at a cursor, by default the feed's last one."""
        feed = _feed(request, caller)
        verb, upto, topic = codec.read_mark_all(await read_json(request))
        once = once_of(request)
        marked = await self._store.mark_upto(feed, [verb], upto, topic=topic, once=once, claims=caller.claims)
        value = {"cursor": marked.cursor, "changed": marked.number, "counts": asdict(marked.counts)}
        return answer(dumps(value))

    async def explain(self, request: Request, caller: Caller) -> Response:
        """Why the badge says what it says: the newest entries behind each count."""
        feed = _feed(request, caller)
        limit = limit_of(request.query_params, 20, PAGE)
        explained = await self._store.explain(feed, limit, caller.claims)
        reasons = functools.cache(_reasons)  # most entries are counted thrice
        value: JSON = {"cursor": explained.cursor}
        for name, number in asdict(explained.counts).items():
            entries = [reasons(entry) for entry in explained.entries[name]]
            value[name] = {"count": number, "rule": _RULES[name], "entries": entries, "has_more": number > len(entries)}
        return answer(dumps(value | {"archived": explained.archived, "dismissed": explained.dismissed}))

    async def _one(self, feed: Feed, entry_id: str, caller: Caller) -> Entry:
        (entry,) = await self._store.entries(feed, [entry_id], caller.claims)
        return entry


def _feed(request: Request, caller: Caller) -> Feed:
    """The caller's feed on the channel in the path. Raises `Refused` not_found."""
    channel_id = request.path_params["channel_id"]
    channel = caller.project.feed_channel(channel_id)
    if channel is None or caller.user is None:
        shown = channel_id[:64]
        raise Refused(Code.NOT_FOUND, f"no such channel: {shown!r}", resource="channel", id=shown)
    return caller.user.feed(channel.handle)


def _reasons(entry: Entry) -> JSON:
    """What tells an entry, and why it is counted."""
    shown = json.loads(entry.json())
    times = ("sent_at", "seen_at", "read_at", "archived_at", "dismissed_at", "expires_at")
    names = ("id", "status", *times)
    return {"title": title_of(shown)} | {name: shown[name] for name in names}


async def _body(request: Request) -> object:
    """The body's JSON value; what an answer or the store could not repeat is refused here."""
    value = await read_json(request)
    codec.check_value(value, "body")
    return value


def _filters(query: Mapping[str, str]) -> Filters:
    """The list's parameters (seed 2's sibling page). Raises `Refused` naming the parameter."""
    status = query.get("status")
    if status is not None and status not in STATUSES:
        raise bad_param("status", f"{status[:64]!r} is none of {', '.join(STATUSES)}")
    topic = query.get("topic")
    if topic is not None and not 1 <= len(topic) <= 255:
        raise bad_param("topic", f"{len(topic)} characters, 1 to 255")
    if "after" in query and "before" in query:
        raise bad_param("after", "one of after and before")
    return Filters(
        status=status,
        archived=_flag(query, "archived"),
        topic=topic,
        created_after=parsed(query, "created_after", codec.parse_timestamp),
        created_before=parsed(query, "created_before", codec.parse_timestamp),
        after=parsed(query, "after", codec.parse_page_token),
        before=parsed(query, "before", codec.parse_page_token),
        limit=limit_of(query, 20, PAGE),
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = query.get(name, "false")
    if value not in ("true", "false"):
        raise bad_param(name, f"{value[:64]!r} is neither true nor false")
    return value == "true"


def _flags(body: object, where: str) -> dict[str, bool]:
    """The states to set. Raises `Refused` with `fields`: no object, empty, unknown keys, no booleans."""
    if not isinstance(body, dict):
        raise _invalid([(where or "body", "must be an object", "type")])
    inside = f"{where}." if where else ""
    faults = [
        (inside + key[:64], f"unknown; known are {', '.join(_VERB_OF)}", "unknown")
        for key in body
        if key not in _VERB_OF
    ]
    faults += [
        (inside + key, "must be true or false", "type")
        for key, value in body.items()
        if key in _VERB_OF and not isinstance(value, bool)
    ]
    if not body:
        faults.append((where or "body", f"needs one of {', '.join(_VERB_OF)}", "required"))
    if faults:
        raise _invalid(faults)
    return body


def _batch(body: object) -> tuple[list[str], dict[str, bool]]:
    if not isinstance(body, dict):
        raise _invalid([("body", "must be an object", "type")])
    faults = [
        (key[:64], "unknown; known are entry_ids, set", "unknown") for key in body if key not in ("entry_ids", "set")
    ]
    ids = body.get("entry_ids")
    if not isinstance(ids, list) or not all(isinstance(entry_id, str) for entry_id in ids):
        faults.append(("entry_ids", "must be a list of strings", "type"))
    elif not 1 <= len(ids) <= IDS:
        faults.append(("entry_ids", f"{len(ids)} ids, 1 to {IDS}", "length"))
    if faults:
        raise _invalid(faults)
    assert isinstance(ids, list)
    return list(dict.fromkeys(ids)), _flags(body.get("set"), "set")


def _verbs(flags: dict[str, bool], entry: Entry) -> list[str]:
    """What the flags ask for. Raises `Refused` conflict for a state that cannot be taken back (seed 2)."""
    for name in ("seen", "read", "clicked"):
        if flags.get(name) is False:
            raise Refused(
                Code.CONFLICT,
                f"{name} cannot be taken back; only archived can",
                reason="irreversible",
                current_status=entry.status,
                allowed_statuses=_MAY_BECOME[entry.status],
                allowed_transitions=["seen", "read", "clicked", "archived", "unarchived"],
            )
    return ["unarchive" if value is False else _VERB_OF[name] for name, value in flags.items()]


def _invalid(faults: list[tuple[str, str, str]]) -> Refused:
    fields: list[JSON] = [{"field": f, "message": m, "reason": r} for f, m, r in faults]
    return Refused(Code.INVALID_REQUEST, f"{faults[0][0]}: {faults[0][1]}", fields=fields)
