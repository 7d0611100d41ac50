"""The Messaging API's announcements: one notification for all users of a project (`docs/api.md`)."""

import json
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.announcements import Announcement, Announcements, no_such
from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, about, again
from hub.api.requests import bad_param, read_json
from hub.codec import parse_timestamp
from hub.frames import dumps
from hub.idempotency import Idempotency
from hub.lists import Listed, Place, Window, parse_place, place_token
from hub.model import JSON, Answer, Project, timestamp
from hub.sending import Announcing, channel_of, entry_body, introduced, new_entry_id, read_announcing

LIMIT = 50
LIMIT_MAX = 100
_SOME_TIME = "2000-01-01T00:00:00.000Z"


class AnnouncementsApi:
    """The endpoints. Producers see all of it, users only what is published now."""

    def __init__(self, announcements: Announcements, door: Door) -> None:
        self._announcements = announcements
        self._door = door

    def routes(self) -> list[Route]:
        route, one = self._door.route, "/announcements/{announcement_id}"
        return [
            route("POST", "/announcements", self.announce, "alerts:create", once=Once.ANSWER),
            route("GET", "/announcements", self.list_announcements, "messaging:read"),
            route("GET", one, self.get_announcement, "messaging:read"),
            route("DELETE", one, self.withdraw, "alerts:create"),
        ]

    async def announce(self, request: Request, caller: Caller) -> Response:
        """Stores one: 201 when it is published, 202 when that is to come."""
        once = about(request, None)  # no user's: it lies beside the announcements
        announcing = read_announcing(await read_json(request))
        made = await announce(self._announcements, caller.project, announcing, once)
        if isinstance(made, Answer):
            return again(made)
        return answer(dumps(shown(made)), 202 if announcing.publish_at else 201)

    async def list_announcements(self, request: Request, caller: Caller) -> Response:
        """A page of all there are, the last one made first."""
        found = await self._announcements.page(caller.project.id, _window(request))
        data = [shown(one) for one in found.items if _visible(one, caller)]
        return answer(dumps(_list(request, found, data)))

    async def get_announcement(self, request: Request, caller: Caller) -> Response:
        """One of them, whatever became of it."""
        found = await self._announcements.get(caller.project.id, request.path_params["announcement_id"])
        if not _visible(found, caller):
            raise no_such(found.id)
        return answer(dumps(shown(found)))

    async def withdraw(self, request: Request, caller: Caller) -> Response:
        """Takes one back from everybody; once more is no error."""
        found = await self._announcements.withdraw(caller.project.id, request.path_params["announcement_id"])
        return answer(dumps(shown(found)))


async def announce(
    announcements: Announcements, project: Project, announcing: Announcing, once: Idempotency | None = None
) -> Announcement | Answer:
    """Stores an announcement for the channel it names. Raises `Refused`, also as `Announcements.create`."""
    channel = channel_of(project, announcing.channel)
    announcing = introduced(announcing, project.secret_keys)
    announcement_id = new_entry_id()
    # Measured with a time, since the entry will have one: the store says which, where nobody else does.
    timed = announcing.model_copy(update={"expires_at": announcing.expires_at or _SOME_TIME})
    entry = entry_body(announcement_id, timed)
    content = announcing.model_dump(exclude={"channel", "expires_at"})
    return await announcements.create(
        project.id,
        channel.handle,
        announcement_id,
        content,
        json.loads(f"{entry}}}"),
        publish=announcing.publish,
        expires=announcing.expires,
        once=once,
    )


def shown(announcement: Announcement) -> JSON:
    """The announcement object."""
    content = dict(announcement.content)
    publish_at = content.pop("publish_at")
    planned = announcement.published if publish_at is None else parse_timestamp(publish_at)
    return {
        "object": "announcement",
        "id": announcement.id,
        "status": announcement.status,
        "channel": announcement.channel,
        **content,
        "priority": announcement.entry["priority"],
        "publish_at": _at(planned),
        "published_at": _at(announcement.published),
        "expires_at": _at(announcement.ends),
        "withdrawn_at": _at(announcement.withdrawn),
        "created_at": _at(announcement.made),
    }


def _at(micros: int | None) -> str | None:
    return None if micros is None else timestamp(micros)


def _visible(announcement: Announcement, caller: Caller) -> bool:
    """What is not published is nobody's business but the producers'."""
    return caller.claims is None or announcement.status == "published"


def _window(request: Request) -> Window:
    """`limit` and `cursor`. Raises `Refused` naming the parameter."""
    query = request.query_params
    limit = query.get("limit", str(LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 6 and 1 <= int(limit) <= LIMIT_MAX):
        raise bad_param("limit", f"{limit[:64]!r} is not a number from 1 to {LIMIT_MAX}")
    cursor = query.get("cursor")
    if cursor is None:
        return Window(int(limit))
    try:
        place = parse_place(cursor[1:])
    except ValueError:
        place = None
    match cursor[:1]:
        case "a" if place:
            return Window(int(limit), after=place)
        case "b" if place:
            return Window(int(limit), before=place)
    raise bad_param("cursor", f"{cursor[:64]!r} is out of no page_info")


def _list(request: Request, found: Listed[Announcement], data: list[JSON]) -> JSON:
    return {
        "object": "list",
        "page_info": {
            "next_page_url": _page_url(request, "a", found.after),
            "previous_page_url": _page_url(request, "b", found.before),
            "has_next_page": found.after is not None,
            "has_prev_page": found.before is not None,
        },
        "data": data,
    }


def _page_url(request: Request, side: str, place: Place | None) -> str | None:
    """The same request from another place: relative."""
    if place is None:
        return None
    said = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.url.path}?{urlencode([*said, ('cursor', f'{side}{place_token(place)}')])}"
