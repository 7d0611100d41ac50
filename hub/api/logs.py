"""The Admin API's logs: notifications, one for each recipient of a run or a send, and deliveries, what they became.

What became of a delivery is read from its feed; once it has left the feed (withdrawn, expired, evicted), only that it
was sent is known.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub import keys
from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door
from hub.api.requests import bad_param, window_of
from hub.codec import check_user
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.keys import User
from hub.lists import Listed, Window
from hub.logs import Logs, Row
from hub.model import JSON, UUID, Channel, Entry, Project, timestamp
from hub.profiles import Profile, new_profile
from hub.running import Spec, notification_id
from hub.runs import Runs
from hub.store import Store
from hub.users import Users

NOTIFICATION_STATUSES = ("pending", "processing", "processed", "failed")
DELIVERY_STATUSES = ("pending", "sent", "failed")
NOTHING = "00000000-0000-0000-0000-000000000000"
"""The notiflow and the run of what was sent without one (the Nil UUID, RFC 9562, section 5.9)."""

Good = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class _Around:
    """What rows refer to, as far as it is still known."""

    project: Project
    specs: dict[str, Spec]
    people: dict[str, Profile]
    entries: dict[str, Entry]


class LogsApi:
    """The endpoints."""

    def __init__(self, logs: Logs, runs: Runs, users: Users, store: Store, door: Door) -> None:
        self._logs = logs
        self._runs = runs
        self._users = users
        self._store = store
        self._door = door

    def routes(self) -> list[Route]:
        user, route = "/users/{external_id}", self._door.route
        return [
            route("GET", "/notifications", self.list_notifications, "admin"),
            route("GET", "/notifications/{notification_id}", self.get_notification, "admin"),
            route("GET", "/notifications/{notification_id}/deliveries", self.list_deliveries_of, "admin"),
            route("GET", "/deliveries", self.list_deliveries, "admin"),
            route("GET", "/deliveries/{delivery_id}", self.get_delivery, "admin"),
            route("GET", f"{user}/notifications", self.list_notifications, "admin"),
            route("GET", f"{user}/notifications/{{notification_id}}", self.get_notification, "admin"),
            route("GET", f"{user}/deliveries", self.list_deliveries, "admin"),
            route("GET", f"{user}/deliveries/{{delivery_id}}", self.get_delivery, "admin"),
        ]

    async def list_notifications(self, request: Request, caller: Caller) -> Response:
        """A page of the project's notifications, or of one user's, newest first."""
        query, user = request.query_params, _user(request)
        status, topic = _status(query, NOTIFICATION_STATUSES), _topic(query)
        tests: list[Good] = []
        if topic is not None:
            tests.append(lambda row: row.topic == topic)
        if status is not None:
            tests.append(lambda row: _status_of(row) == status)
        none = status in ("pending", "processing")  # a row is written when the work is done
        page = await self._page(caller.project, query, user, topic, tests, failed=status == "failed", none=none)
        around = await self._around(caller.project, page.items, deliveries=False)
        return answer(dumps({"items": [_notification(row, around) for row in page.items], "page": page.page()}))

    async def get_notification(self, request: Request, caller: Caller) -> Response:
        """One notification with its deliveries."""
        row = await self._notification(request, caller)
        around = await self._around(caller.project, [row], deliveries=True)
        return answer(dumps(_notification(row, around) | {"deliveries": _deliveries([row], around)}))

    async def list_deliveries_of(self, request: Request, caller: Caller) -> Response:
        """The deliveries of one notification: one, or none."""
        row = await self._notification(request, caller)
        window, tests = window_of(request.query_params), _delivery_tests(request.query_params, caller)
        rows = (row,) if tests is not None and all(good(row) for good in tests) and _within(window, row) else ()
        around = await self._around(caller.project, rows, deliveries=True)
        page: Listed[Row] = Listed(rows, window.limit, None, None)
        return answer(dumps({"items": _deliveries(rows, around), "page": page.page()}))

    async def list_deliveries(self, request: Request, caller: Caller) -> Response:
        """A page of the project's deliveries, or of one user's, newest first."""
        query, user = request.query_params, _user(request)
        tests = _delivery_tests(query, caller)
        page = await self._page(caller.project, query, user, _topic(query), tests or [], none=tests is None)
        around = await self._around(caller.project, page.items, deliveries=True)
        return answer(dumps({"items": _deliveries(page.items, around), "page": page.page()}))

    async def get_delivery(self, request: Request, caller: Caller) -> Response:
        """One delivery."""
        delivery_id = request.path_params["delivery_id"]
        row = await self._row(request, caller, delivery_id)
        if row is None or row.channel is None:
            raise _missing("delivery", delivery_id)
        around = await self._around(caller.project, [row], deliveries=True)
        return answer(dumps(_delivery(row, row.channel, around)))

    # ---- reading -------------------------------------------------------------------------------------

    async def _notification(self, request: Request, caller: Caller) -> Row:
        shown = request.path_params["notification_id"]
        row = await self._row(request, caller, notification_id(shown)) if UUID.fullmatch(shown) else None
        if row is None:
            raise _missing("notification", shown)
        return row

    async def _row(self, request: Request, caller: Caller, entry_id: str) -> Row | None:
        """A row by the entry's id; of the user in the path, where there is one."""
        user = _user(request)
        row = await self._logs.get(caller.project.id, entry_id)
        return None if row is None or (user is not None and row.user != user) else row

    async def _page(
        self,
        project: Project,
        query: QueryParams,
        user: str | None,
        topic: str | None,
        tests: list[Good],
        *,
        failed: bool = False,
        none: bool = False,
    ) -> Listed[Row]:
        """The rows that pass all tests, read from the smallest index that has them."""
        window = window_of(query)
        if user is not None:
            index = keys.log_of(project.id, user)
        elif topic is not None:
            index = keys.log_topic(project.id, topic)
        else:
            index = keys.log_failed(project.id) if failed else keys.log_index(project.id)
        page: Listed[Row] = Listed((), window.limit, None, None)
        if not none:
            good = (lambda row: all(test(row) for test in tests)) if tests else None
            page = await self._logs.page(project.id, index, window, good)
        if user is not None and not page.items and not await self._logs.has(project.id, user):
            await self._users.get(project.id, user)  # refuses somebody of whom nothing is known
        return page

    async def _around(self, project: Project, rows: Sequence[Row], *, deliveries: bool) -> _Around:
        names = list(dict.fromkeys(name for row in rows for name in (row.user, row.actor) if name is not None))
        found = await self._users.profiles(project.id, names)
        people = {name: profile for name, profile in zip(names, found, strict=True) if profile is not None}
        specs = await self._runs.specs(project.id, [row.run for row in rows if row.run is not None])
        feeds: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in rows:
            if row.channel is not None and (deliveries or row.run is None):
                feeds[row.user, row.channel].append(row.id)
        standing = await asyncio.gather(
            *(self._store.standing(User(project.id, user).feed(channel), ids) for (user, channel), ids in feeds.items())
        )
        return _Around(project, specs, people, {id_: entry for part in standing for id_, entry in part.items()})


# ---- what is asked -----------------------------------------------------------------------------------


def _user(request: Request) -> str | None:
    """The user in the path, where there is one. Raises `Refused`."""
    name = request.path_params.get("external_id")
    try:
        return None if name is None else check_user(name)
    except Refused as refused:
        raise bad_param("external_id", refused.message) from None


def _status(query: QueryParams, known: tuple[str, ...]) -> str | None:
    status = query.get("status")
    if status is not None and status not in known:
        raise bad_param("status", f"{status[:64]!r} is none of {', '.join(known)}")
    return status


def _topic(query: QueryParams) -> str | None:
    topic = query.get("topic")
    if topic is not None and not 1 <= len(topic) <= 255:
        raise bad_param("topic", f"{len(topic)} characters, 1 to 255")
    return topic


def _delivery_tests(query: QueryParams, caller: Caller) -> list[Good] | None:
    """What a delivery must be; None where none can be: an entry is sent, or there is no delivery."""
    status, topic, named = _status(query, DELIVERY_STATUSES), _topic(query), query.get("channel_id")
    channel: Channel | None = None if named is None else caller.channel(named)
    if status in ("pending", "failed"):
        return None
    tests: list[Good] = [lambda row: row.channel is not None]
    if topic is not None:
        tests.append(lambda row: row.topic == topic)
    if channel is not None:
        tests.append(lambda row: row.channel == channel.handle)
    return tests


def _within(window: Window, row: Row) -> bool:
    place = (row.us, row.id)
    return (
        (window.after is None or place < window.after)
        and (window.before is None or place > window.before)
        and (window.created_after is None or row.us > window.created_after)
        and (window.created_before is None or row.us < window.created_before)
    )


def _missing(resource: str, shown: str) -> Refused:
    shown = shown[:64]
    return Refused(Code.NOT_FOUND, f"no such {resource}: {shown!r}", resource=resource, id=shown)


# ---- what is shown (the SDK's types) -----------------------------------------------------------------


def _notification(row: Row, around: _Around) -> JSON:
    at = timestamp(row.us)
    entry = around.entries.get(row.id)
    spec = around.specs.get(row.run) if row.run else None
    return {
        "id": notification_id(row.id),
        "status": _status_of(row),
        **_origin(row, around),
        "notiflow_run_id": row.run or NOTHING,
        "data": spec.data if spec else (_content(entry) if entry and row.run is None else {}),
        "error": row.error,
        "created_at": at,
        "updated_at": at,
        "processed_at": at,
    }


def _deliveries(rows: Sequence[Row], around: _Around) -> list[JSON]:
    return [_delivery(row, row.channel, around) for row in rows if row.channel is not None]


def _delivery(row: Row, channel: str, around: _Around) -> JSON:
    entry = around.entries.get(row.id)
    at, known = timestamp(row.us), around.project.by_name.get(channel)
    return {
        "id": row.id,
        "notification_id": notification_id(row.id),
        **_origin(row, around),
        "channel_id": known.id if known else None,
        "channel_type": "in_app",
        "status": "sent",
        "data": _content(entry) if entry else None,
        "created_at": at,
        "updated_at": timestamp(max(row.us, entry.updated)) if entry else at,
        "sent_at": at,
        **{f"{name}_at": _at(entry, name) for name in ("seen", "read", "clicked", "archived", "dismissed")},
    }


def _origin(row: Row, around: _Around) -> JSON:
    """What both objects say of where it came from and whom it was for."""
    spec = around.specs.get(row.run) if row.run else None
    return {
        "notiflow_id": spec.notiflow.id if spec else NOTHING,
        "notiflow_handle": row.handle,
        "topic": row.topic,
        "recipient": _person(row.user, row, around),
        "actor": None if row.actor is None else _person(row.actor, row, around),
    }


def _person(name: str, row: Row, around: _Around) -> JSON:
    """A user; one whom the directory does not know has a name, an id, and the time of the row."""
    return (around.people.get(name) or new_profile(around.project.id, name, row.us)).shown()


def _content(entry: Entry) -> JSON:
    data: JSON = json.loads(f"{entry.body}}}")["data"]
    return data


def _status_of(row: Row) -> str:
    return "processed" if row.error is None else "failed"


def _at(entry: Entry | None, name: str) -> str | None:
    micros = getattr(entry, name) if entry else 0
    return timestamp(micros) if micros else None
