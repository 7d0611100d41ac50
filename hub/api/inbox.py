"""The Messaging API's notifications as their user sees them (seed 1 and its siblings): list, one, marks, counts."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, once_of, step_of
from hub.api.requests import bad_param, limit_of, list_of, parsed
from hub.feeds import Feeds, Part, Position, Wanted, no_notification
from hub.frames import dumps
from hub.model import JSON
from hub.notification import INCLUDABLE, STATUSES, notification
from hub.store import Store

LIMIT = 50
LIMIT_MAX = 100
FILTER_MAX = 256
"""Characters in `category`, `q` and a sender's id."""
SENDERS_MAX = 100
SENDER_TYPES = ("user", "group", "agent", "api_key", "system")
"""`system`: notifications without a sender."""
_CURSOR = re.compile(r"([ab])([0-9a-f]{1,13})\.(~|[a-z0-9_-]{0,63})")
_READ, _UPDATE = "messaging:read", "messaging:update"


class InboxApi:
    """The endpoints. Of a key that names no user, nothing is there: empty lists, zero counts, no ids."""

    def __init__(self, store: Store, door: Door) -> None:
        self._store = store
        self._door = door

    def routes(self) -> list[Route]:
        route, one = self._door.route, "/notifications/{entry_id}"
        return [
            route("GET", "/notifications", self.list_notifications, _READ),
            route("GET", "/notifications/unread-count", self.unread_count, _READ),
            route("GET", "/notifications/unread-summary", self.unread_summary, _READ),
            route("POST", "/notifications/actions/mark-all-seen", self.mark_all_seen, _UPDATE, once=Once.STEPS),
            route("GET", one, self.get_notification, _READ),
            route("POST", one + "/actions/seen", self.seen, _UPDATE, once=Once.ANSWER),
            route("POST", one + "/actions/read", self.read, _UPDATE, once=Once.ANSWER),
            route("POST", one + "/actions/dismiss", self.dismiss, _UPDATE, once=Once.ANSWER),
        ]

    async def list_notifications(self, request: Request, caller: Caller) -> Response:
        """A page of what is not dismissed, or of what has the status asked for, newest first."""
        include, wanted = _include(request), _wanted(request)
        limit = limit_of(request.query_params, LIMIT, LIMIT_MAX)
        place, older = parsed(request.query_params, "cursor", _position) or (None, True)
        feeds = self._feeds(caller)
        part = await feeds.page(wanted, limit, place, older) if feeds else Part((), None, None)
        data = [notification(entry, include) for entry in part.entries]
        beside = _cursor(part.older, older=True), _cursor(part.newer, older=False)
        return answer(dumps(list_of(request, data, *beside)))

    async def get_notification(self, request: Request, caller: Caller) -> Response:
        """One notification, dismissed or not."""
        include = _include(request)
        _, entry = await self._their(request, caller).find(request.path_params["entry_id"])
        return answer(dumps(notification(entry, include)))

    async def seen(self, request: Request, caller: Caller) -> Response:
        """Sets `seen_at` if it is null."""
        return await self._mark(request, caller, "seen")

    async def read(self, request: Request, caller: Caller) -> Response:
        """Sets `read_at` if it is null, and what `seen` sets."""
        return await self._mark(request, caller, "read")

    async def dismiss(self, request: Request, caller: Caller) -> Response:
        """Sets `dismissed_at` if it is null, and nothing else."""
        return await self._mark(request, caller, "dismiss")

    async def mark_all_seen(self, request: Request, caller: Caller) -> Response:
        """Sets `seen_at` of everything that is unseen now, in all channels."""
        feeds = self._feeds(caller)
        if feeds:
            await feeds.mark_all_seen(lambda channel: step_of(request, caller.user, channel))
        return answer("{}")

    async def unread_count(self, request: Request, caller: Caller) -> Response:
        """What a badge shows."""
        return answer(dumps(_counts(sum((await self._unseen(caller)).values()))))

    async def unread_summary(self, request: Request, caller: Caller) -> Response:
        """The same by account, which is the project, and by channel."""
        unseen = await self._unseen(caller)
        counts = _counts(sum(unseen.values()))
        summary = {
            "accounts": [{"id": caller.project.id, "object": "account", "name": caller.project.name} | counts],
            "channels": [
                {"id": channel.id, "object": "channel", "handle": channel.handle}
                | {"notifications": unseen.get(channel.handle, 0)}
                for channel in caller.project.feed_channels
            ],
            "total": counts["total"],
        }
        return answer(dumps(summary))

    async def _mark(self, request: Request, caller: Caller, verb: str) -> Response:
        include = _include(request)
        entry_id = request.path_params["entry_id"]
        entry = await self._their(request, caller).mark(entry_id, verb, once_of(request))
        return answer(dumps(notification(entry, include)))

    def _feeds(self, caller: Caller) -> Feeds | None:
        """The feeds of the user that the caller is, or acts for."""
        return Feeds(self._store, caller.project, caller.user, caller.claims) if caller.user else None

    def _their(self, request: Request, caller: Caller) -> Feeds:
        feeds = self._feeds(caller)
        if feeds is None:
            raise no_notification(request.path_params["entry_id"])
        return feeds

    async def _unseen(self, caller: Caller) -> dict[str, int]:
        feeds = self._feeds(caller)
        return await feeds.unseen() if feeds else {}


def _counts(unseen: int) -> JSON:
    """There are no conversations here; the key is seed 1's sibling's."""
    return {"notifications": unseen, "conversations": 0, "total": unseen}


def _cursor(place: Position | None, *, older: bool) -> str | None:
    if place is None:
        return None
    plain = f"{'a' if older else 'b'}{place.score:x}.{place.channel}"
    return urlsafe_b64encode(plain.encode()).decode().rstrip("=")


# ---- parameters --------------------------------------------------------------------------------------


def _position(text: str) -> tuple[Position, bool]:
    """A place, and whether what is older is asked for. Raises ValueError."""
    try:
        plain = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except ValueError:
        plain = ""
    found = _CURSOR.fullmatch(plain)
    if found is None:
        raise ValueError(f"{text[:64]!r} is out of no page_info")
    return Position(int(found[2], 16), found[3]), found[1] == "a"


def _wanted(request: Request) -> Wanted:
    """The list's filters. Raises `Refused` naming the parameter."""
    query = request.query_params
    sender_ids = _many(request, "sender_ids")
    if len(sender_ids) > SENDERS_MAX:
        raise bad_param("sender_ids", f"{len(sender_ids)} ids, at most {SENDERS_MAX}")
    for sender_id in sender_ids:
        _check_text("sender_ids", sender_id)
    for name in ("category", "q"):
        if name in query:
            _check_text(name, query[name])
    status = query.get("status")
    if status is not None:
        _one_of("status", [status], STATUSES)
    return Wanted(
        status=status,
        category=query.get("category"),
        q=query.get("q"),
        sender_ids=frozenset(sender_ids),
        sender_types=frozenset(_one_of("sender_types", _many(request, "sender_types"), SENDER_TYPES)),
    )


def _include(request: Request) -> Sequence[str]:
    """Which sub-objects are to be filled in (seed 1)."""
    return _one_of("include", _many(request, "include"), INCLUDABLE)


def _many(request: Request, name: str) -> list[str]:
    """`name[]=a&name[]=b`, each as it is, or `name=a,b`."""
    query = request.query_params
    listed = [word for value in query.getlist(name) for word in value.split(",")]
    return query.getlist(f"{name}[]") + listed


def _one_of(name: str, words: Sequence[str], known: Iterable[str]) -> Sequence[str]:
    for word in words:
        if word not in known:
            raise bad_param(name, f"{word[:64]!r} is none of {', '.join(known)}")
    return words


def _check_text(name: str, text: str) -> None:
    if not 1 <= len(text) <= FILTER_MAX:
        raise bad_param(name, f"{len(text)} characters, 1 to {FILTER_MAX}")
