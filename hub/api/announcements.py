"""The Messaging API's announcements: one notification for all users of a project (`docs/api.md`)."""

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.announcements import Announcement, Announcements, no_such
from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, about, again
from hub.api.requests import limit_of, list_of, parsed, read_json
from hub.codec import parse_timestamp
from hub.frames import dumps
from hub.idempotency import Idempotency
from hub.lists import Place, Window, parse_place, place_token
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
        found = await self._announcements.page(caller.project.id, _window(request.query_params))
        data = [shown(one) for one in found.items if _visible(one, caller)]
        return answer(dumps(list_of(request, data, _cursor("a", found.after), _cursor("b", found.before))))

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


def _window(query: Mapping[str, str]) -> Window:
    """`limit` and `cursor`. Raises `Refused` naming the parameter."""
    limit = limit_of(query, LIMIT, LIMIT_MAX)
    place, older = parsed(query, "cursor", _place) or (None, True)
    return Window(limit, after=place) if older else Window(limit, before=place)


def _place(text: str) -> tuple[Place, bool]:
    """A place, and whether what is older is asked for. Raises ValueError."""
    if text[:1] not in ("a", "b"):
        raise ValueError(f"{text[:64]!r} is out of no page_info")
    return parse_place(text[1:]), text[:1] == "a"


def _cursor(side: str, place: Place | None) -> str | None:
    return None if place is None else f"{side}{place_token(place)}"
