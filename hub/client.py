"""What a back end says to a hub, from Python.

    from hub.client import Bellhub

    with Bellhub("https://bell.example.com", secret="sk_…") as bell:
        bell.send("ann", "Order 17 has shipped", category="order.updated", url="/orders/17")

`AsyncBellhub` has the same methods, to be awaited. Both may be shared by threads or tasks, and keep their connections:
make one and close it at the end. Nothing else of the hub is imported here.

A call that changes something happens once, however often it must be tried: every POST carries an `Idempotency-Key`.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import update_wrapper
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Required,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)
from urllib.parse import quote

import httpx2

from hub import __version__

TRIES = 4
"""Requests that one call may cost."""
BACKOFF_S = 0.5
"""The second try comes at a random time within so many seconds, each further one within twice as many."""
RETRY_AFTER_S = 60.0
"""The longest pause that a hub asks for. A proxy before it that asks for more is not waited for."""

_NOTIFICATIONS = "v1/messaging/notifications"
_ANNOUNCEMENTS = "v1/messaging/announcements"
_USERS = "admin/v1/users"
_WHOLE = {"include": "sender,resource"}

P = ParamSpec("P")
T = TypeVar("T")
JSON = dict[str, Any]
Priority = Literal["low", "normal", "high", "urgent"]
Status = Literal["unseen", "seen", "read", "dismissed"]
Verb = Literal["seen", "read", "dismiss"]


class BellhubError(Exception):
    """A call failed. `code` and `details` are for programs (`docs/api.md`, Errors), the message is for developers.

    `status` is None when no answer came (`code` is then `unreachable`). After that, and after a status from 500 on,
    nobody knows whether the call took effect; any other status says that nothing changed.
    """

    def __init__(
        self,
        status: int | None,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(status, code, message, details, request_id)  # all of it, for queues that pickle what failed
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Party(TypedDict, total=False):
    """Who caused a notification (`type`: `user`, `group`, `agent`, `api_key`), or what it is about (any `type`)."""

    id: str
    type: str
    name: str | None
    handle: str | None
    avatar_url: str | None


class Content(TypedDict, total=False):
    """What a notification may have beside its category and title (`docs/api.md`, Send). Times need an offset."""

    body: str
    priority: Priority
    url: str
    topic: str
    data: JSON
    sender: Party
    resource: Party
    channel: str
    expires_at: datetime | str


class Sending(Content, total=False):
    """What goes to one user may have a name under which it is taken back."""

    source_key: str


class Announcing(Content, total=False):
    """What goes to everybody may wait for its time."""

    publish_at: datetime | str


class Fields(TypedDict, total=False):
    """What is known of a user (`docs/api.md`, Users). None takes a value away; `custom_fields` are merged."""

    email: str | None
    first_name: str | None
    last_name: str | None
    phone: str | None
    avatar: str | None
    locale: str | None
    timezone: str | None
    custom_fields: JSON | None


class Recipient(Fields):
    """Whom a run is for, or who caused it, with what is to be known of them from then on."""

    external_id: Required[str]


class User(TypedDict):
    """A user as the hub shows it. `id` is the hub's, `external_id` your own."""

    id: str
    external_id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    phone: str | None
    avatar: str | None
    locale: str | None
    timezone: str | None
    custom_fields: JSON
    created_at: str
    updated_at: str


class Notification(TypedDict):
    """A notification as the Messaging API shows it; times are RFC 3339 in UTC."""

    id: str
    object: str
    category: str
    title: str
    body: str | None
    status: Status
    priority: str
    sender: JSON | None
    resource: JSON | None
    seen_at: str | None
    read_at: str | None
    dismissed_at: str | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a user's notifications, newest first; cursors of older and newer ones, if there are any."""

    items: list[Notification]
    next: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of the API: the request, and how its answer is read.

    `query` without what is None; `user`: for whom a key acts; `missing`: what 404 means, where it is no error.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    body: JSON | None = None
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    user: str | None = None
    key: str | None = None
    missing: T | None = None

    def request(self, http: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """To be sent as it is by every try: the idempotency key is made here."""
        headers: dict[bytes, bytes] = {}  # bytes, since a name is UTF-8
        if self.user is not None:
            if self.user != self.user.strip(" \t"):
                raise ValueError(f"user {self.user!r}: HTTP takes space off both ends, and that is another user")
            headers[b"x-bellhub-user"] = self.user.encode()
        if self.method in ("POST", "PATCH"):
            headers[b"idempotency-key"] = (str(uuid.uuid4()) if self.key is None else self.key).encode()
        content = None
        if self.body is not None:
            headers[b"content-type"] = b"application/json"
            content = json.dumps(self.body, default=_time).encode()
        query = {name: value for name, value in self.query.items() if value is not None}
        return http.build_request(self.method, self.path, params=query, headers=headers, content=content)

    def tries(self) -> Generator[float, httpx2.Response | httpx2.TransportError, T]:
        """Yields the seconds to wait before each try and is sent what came of it. Returns what the call returns, or
        raises `BellhubError`.
        """
        pause: float | None = 0.0
        attempt = 0
        while pause is not None:
            outcome = yield pause
            attempt += 1
            pause = _pause(outcome, attempt)
        if isinstance(outcome, httpx2.TransportError):
            raise BellhubError(None, "unreachable", f"{type(outcome).__name__} {outcome}".strip()) from outcome
        if not outcome.is_success:
            error = _error(outcome)
            # A path that is nowhere is a wrong `base_url`, or a hub that cannot do this yet.
            gone = error.code == "not_found" and error.details.get("resource") != "path"
            if gone and self.missing is not None:
                return self.missing
            raise error
        try:
            return self.read(outcome.json() if outcome.content else None)
        except (ValueError, LookupError, TypeError) as fault:
            message = f"no answer of a hub, but {outcome.text[:100]!r}"
            raise BellhubError(outcome.status_code, "unexpected_answer", message) from fault


class _method(Generic[P, T]):
    """A method of both clients that is written down once, as what is to be called."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "Bellhub", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncBellhub", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: "Bellhub | AsyncBellhub | None", owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.do(self._describe(client, *args, **kwargs))

        return update_wrapper(method, self._describe)


class _Calls:
    """All that can be asked. `idempotency_key`: give one that survives your own repeats, such as a job's id."""

    @_method
    def send(
        self, user: str, title: str, *, category: str, idempotency_key: str | None = None, **content: Unpack[Sending]
    ) -> Call[str]:
        """Puts a notification into a user's feed; its id. It is stored when this returns."""
        body = {"category": category, "target": {"type": "user", "id": user}, "title": title, **content}
        return Call("POST", _NOTIFICATIONS, _id, body, key=idempotency_key)

    @_method
    def send_many(
        self,
        users: list[str] | tuple[str, ...],
        title: str,
        *,
        category: str,
        idempotency_key: str | None = None,
        **content: Unpack[Sending],
    ) -> Call[dict[str, str]]:
        """Puts a notification into the feed of each of up to 100 users; each one's id."""
        body = {"category": category, "target": {"type": "users", "ids": users}, "title": title, **content}

        def read(sent: JSON) -> dict[str, str]:
            return dict(zip(dict.fromkeys(users), sent["ids"], strict=True))

        return Call("POST", _NOTIFICATIONS, read, body, key=idempotency_key)

    @_method
    def withdraw(self, user: str, notification_id: str) -> Call[bool]:
        """Takes a notification back, in whatever state it is. False: it was not there, or a first try took it."""
        path = f"{_NOTIFICATIONS}/{_segment(notification_id)}"
        return Call("DELETE", path, _done, query={"user": user}, missing=False)

    @_method
    def withdraw_source(self, user: str, source_key: str) -> Call[list[str]]:
        """Takes back all that a user was sent with one source key: the ids that left, which may be none."""
        return Call("DELETE", _NOTIFICATIONS, _ids, query={"user": user, "source_key": source_key})

    @_method
    def announce(
        self, title: str, *, category: str, idempotency_key: str | None = None, **content: Unpack[Announcing]
    ) -> Call[str]:
        """Publishes one notification for all users, those to come too, at once or at `publish_at`; its id."""
        body = {"category": category, "title": title, **content}
        return Call("POST", _ANNOUNCEMENTS, _id, body, key=idempotency_key)

    @_method
    def withdraw_announcement(self, announcement_id: str) -> Call[bool]:
        """Takes an announcement back from everybody. False: there was none."""
        return Call("DELETE", f"{_ANNOUNCEMENTS}/{_segment(announcement_id)}", _done, missing=False)

    # ---- what a user has ---------------------------------------------------------------------------------

    @_method
    def notifications(
        self,
        user: str,
        *,
        status: Status | None = None,
        category: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Call[Page]:
        """A page of a user's notifications, in all channels. Without `status`: all that is not dismissed."""
        query = {"status": status, "category": category, "limit": limit, "cursor": cursor}
        return Call("GET", _NOTIFICATIONS, _page, query=_WHOLE | query, user=user)

    @_method
    def notification(self, user: str, notification_id: str) -> Call[Notification]:
        """One notification of a user."""
        return Call("GET", f"{_NOTIFICATIONS}/{_segment(notification_id)}", _notification, query=_WHOLE, user=user)

    @_method
    def mark(self, user: str, notification_id: str, verb: Verb) -> Call[Notification]:
        """Marks a notification for a user, who sees it on every device. The same again changes nothing."""
        path = f"{_NOTIFICATIONS}/{_segment(notification_id)}/actions/{verb}"
        return Call("POST", path, _notification, query=_WHOLE, user=user)

    @_method
    def mark_all_seen(self, user: str) -> Call[None]:
        """Marks everything of a user as seen."""
        return Call("POST", f"{_NOTIFICATIONS}/actions/mark-all-seen", _nothing, user=user)

    @_method
    def unread_count(self, user: str) -> Call[int]:
        """The number on a user's bell: what is not seen."""
        return Call("GET", f"{_NOTIFICATIONS}/unread-count", lambda counts: int(counts["total"]), user=user)

    # ---- users, topics and runs: with the project's api key ----------------------------------------------------

    @_method
    def upsert_user(self, user: str, **fields: Unpack[Fields]) -> Call[User]:
        """Makes a user known, or changes what is given."""
        return Call("PUT", f"{_USERS}/{_segment(user)}", _as_user, dict(fields))

    @_method
    def user(self, user: str) -> Call[User]:
        """What is known of a user."""
        return Call("GET", f"{_USERS}/{_segment(user)}", _as_user)

    @_method
    def delete_user(self, user: str) -> Call[bool]:
        """Removes a user with feeds, preferences and subscriptions, and ends the sessions. False: not known."""
        return Call("DELETE", f"{_USERS}/{_segment(user)}", _done, missing=False)

    @_method
    def subscribe(self, topic: str, *users: str) -> Call[dict[str, str]]:
        """Subscribes users to a topic, which is made if need be. For whom it failed, and why; as a rule nobody."""
        return Call("POST", _topic(topic), _failed, {"user_external_ids": users})

    @_method
    def unsubscribe(self, topic: str, *users: str) -> Call[dict[str, str]]:
        """Ends subscriptions. For whom it failed, and why: who was not subscribed, or was parted by a first try."""
        return Call("DELETE", _topic(topic), _failed, {"user_external_ids": users})

    @_method
    def run(
        self,
        notiflow: str,
        *recipients: str | Recipient,
        topic: str | None = None,
        data: JSON | None = None,
        actor: str | Recipient | None = None,
        idempotency_key: str | None = None,
    ) -> Call[str]:
        """Runs a notiflow for recipients, or for those who are subscribed to a topic; the run's id.

        It is sure to reach each of them once when this returns, and does so soon after.
        """
        said = {
            "recipients": [_recipient(recipient) for recipient in recipients] or None,
            "topic": topic,
            "data": data,
            "actor": None if actor is None else _recipient(actor),
        }
        body = {name: value for name, value in said.items() if value is not None}
        path = f"admin/v1/notiflows/{_segment(notiflow)}/run"
        return Call("POST", path, lambda run: str(run["notiflow_run_id"]), body, key=idempotency_key)


class _Client(_Calls):
    def _options(self, base_url: str, secret: str, api_key: str | None, timeout: float) -> JSON:
        headers = {"authorization": f"Bearer {secret}", "user-agent": f"bellhub-python/{__version__}"}
        if api_key is not None:
            headers |= {"x-notiflows-api-key": api_key, "x-notiflows-secret-key": secret}
        return {"base_url": base_url.rstrip("/") + "/", "headers": headers, "timeout": timeout}


class Bellhub(_Client):
    """A hub at `base_url`, which may have a path, as a producer with a secret key sees it.

    `api_key`: the project's; users, topics and runs need it too. `timeout`: seconds that one try may be silent. All
    methods raise `BellhubError`.
    """

    def __init__(self, base_url: str, *, secret: str, api_key: str | None = None, timeout: float = 10.0) -> None:
        self._http = httpx2.Client(**self._options(base_url, secret, api_key, timeout))

    def do(self, call: Call[T]) -> T:
        """Makes a call."""
        request, tries = call.request(self._http), call.tries()
        pause = next(tries)
        while True:
            time.sleep(pause)
            try:
                outcome: httpx2.Response | httpx2.TransportError = self._http.send(request)
            except _TROUBLE as error:
                outcome = error
            try:
                pause = tries.send(outcome)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncBellhub(_Client):
    """As `Bellhub`, for asyncio."""

    def __init__(self, base_url: str, *, secret: str, api_key: str | None = None, timeout: float = 10.0) -> None:
        self._http = httpx2.AsyncClient(**self._options(base_url, secret, api_key, timeout))

    async def do(self, call: Call[T]) -> T:
        """Makes a call."""
        request, tries = call.request(self._http), call.tries()
        pause = next(tries)
        while True:
            await asyncio.sleep(pause)
            try:
                outcome: httpx2.Response | httpx2.TransportError = await self._http.send(request)
            except _TROUBLE as error:
                outcome = error
            try:
                pause = tries.send(outcome)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


_TROUBLE = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)
"""What may pass; the other transport errors are the caller's, such as an address that is none."""


def _pause(outcome: httpx2.Response | httpx2.TransportError, attempt: int) -> float | None:
    """Seconds until the next try, None for no further one.

    Random over the whole interval, so that clients that failed together do not come back together.
    """
    after = 0.0
    if isinstance(outcome, httpx2.Response):
        asked = outcome.headers.get("retry-after")
        # A conflict passes only where it says when: another request with this key is still under way.
        passing = outcome.status_code == 429 or outcome.status_code >= 500 or (outcome.status_code == 409 and asked)
        after = _seconds(asked) if asked else 0.0
        if not passing or after > RETRY_AFTER_S:
            return None
    return after + random.uniform(0, BACKOFF_S * 2 ** (attempt - 1)) if attempt < TRIES else None


def _seconds(retry_after: str) -> float:
    """RFC 9110, section 10.2.3: seconds or a date; 0 for anything else."""
    try:
        if retry_after.strip().isdigit():
            return float(retry_after)
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _error(response: httpx2.Response) -> BellhubError:
    """What either dialect says; a proxy in between says something else."""
    request_id = response.headers.get("x-request-id")
    try:
        error = response.json()["error"]
        return BellhubError(response.status_code, error["code"], error["message"], error["details"], request_id)
    except (ValueError, LookupError, TypeError):
        return BellhubError(response.status_code, f"http_{response.status_code}", response.text[:100], None, request_id)


def _done(answer: Any) -> bool:
    return True


def _nothing(answer: Any) -> None:
    return None


def _id(answer: JSON) -> str:
    return str(answer["id"])


def _as_user(answer: JSON) -> User:
    answer["external_id"]  # or it is no answer of a hub
    return cast(User, answer)


def _recipient(user: str | Recipient) -> Recipient:
    return {"external_id": user} if isinstance(user, str) else user


def _topic(name: str) -> str:
    return f"admin/v1/topics/{_segment(name)}/subscriptions"


def _failed(outcome: JSON) -> dict[str, str]:
    return {failed["external_id"]: failed["reason"] for failed in outcome["failed"]}


def _notification(answer: JSON) -> Notification:
    answer["id"]  # or it is no answer of a hub
    return cast(Notification, answer)


def _page(answer: JSON) -> Page:
    next_url, previous_url = answer["page_info"]["next_page_url"], answer["page_info"]["previous_page_url"]
    return Page(answer["data"], _cursor(next_url), _cursor(previous_url))


def _cursor(url: str | None) -> str | None:
    return None if url is None else httpx2.URL(url).params["cursor"]


def _ids(withdrawn: JSON) -> list[str]:
    ids: list[str] = withdrawn["ids"]
    return ids


def _segment(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")  # `..` would lead elsewhere


def _time(value: Any) -> str:
    """For JSON: a datetime, which the hub takes only with an offset."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")
