"""From what a producer sends to the entry that is stored (`docs/api.md`): one rule for REST and command line."""

import re
import secrets
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from hub.bodies import ExternalId, Part, fault, read_body, refused
from hub.codec import parse_timestamp
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.model import JSON, Channel, Entry, Project, SecretKey, timestamp

ENTRY_BYTES = 16 * 1024
"""Largest entry, encoded as the User API shows it."""
TARGETS = 100
"""Users one request may send to."""
_SHOWN = len(Entry("", "", 1, 1, 1, 1, 1, 1).json()) - len('"')
"""What showing an entry adds to its stored body at most."""


Name = Annotated[str, Field(min_length=1, max_length=256)]


class Target(Part):
    """One user by `id`, or several by `ids`, as `type` says."""

    type: Literal["user", "users"]
    id: ExternalId | None = None
    ids: Annotated[list[ExternalId], Field(min_length=1, max_length=TARGETS)] | None = None

    @property
    def users(self) -> tuple[str, ...]:
        """Each once, in the order of first mention."""
        return tuple(dict.fromkeys(self.ids or (self.id or "",)))


class Sender(Part):
    """Who caused it. For a user, `handle` is the e-mail address."""

    id: Name
    type: Literal["user", "group", "agent", "api_key"]
    name: Name | None = None
    handle: Name | None = None
    avatar_url: Annotated[str, Field(max_length=2048)] | None = None


class Resource(Part):
    """What it is about."""

    id: Name
    type: Name
    name: Name | None = None
    handle: Name | None = None


class Content(Part):
    """What a notification says, whomever it is for."""

    category: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,64}$")]
    title: Annotated[str, Field(min_length=1, max_length=1000)]
    body: Annotated[str, Field(max_length=10_000)] | None = None
    priority: Literal["low", "normal", "high", "urgent"] = "normal"
    sender: Sender | None = None
    resource: Resource | None = None
    topic: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    channel: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    expires_at: str | None = None

    @property
    def expires(self) -> int:
        """`expires_at` in µs, or 0."""
        return 0 if self.expires_at is None else parse_timestamp(self.expires_at)


class Sending(Content):
    """One notification to one user or to several, as `POST /v1/messaging/notifications` takes it."""

    target: Target
    source_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class Announcing(Content):
    """One notification to all users, as `POST /v1/messaging/announcements` takes it."""

    publish_at: str | None = None

    @property
    def publish(self) -> int:
        """`publish_at` in µs, or 0."""
        return 0 if self.publish_at is None else parse_timestamp(self.publish_at)


def read_sending(value: object) -> Sending:
    """Checks a decoded JSON value. Raises `Refused` invalid_request with one entry in `fields` per fault."""
    sending = _read(Sending, value)
    _check_target(sending.target)
    _check_time("expires_at", sending.expires_at)
    return sending


def read_announcing(value: object) -> Announcing:
    """As `read_sending`."""
    announcing = _read(Announcing, value)
    _check_time("publish_at", announcing.publish_at)
    _check_time("expires_at", announcing.expires_at)
    return announcing


_Content = TypeVar("_Content", bound=Content)


def _read(model: type[_Content], value: object) -> _Content:
    content = read_body(model, value, inside=2)  # its `data` will lie two levels deeper in a `page` frame
    if content.url is not None and not link_allowed(content.url):
        raise _bad_link("url")
    check_link(content.data)
    return content


def _check_time(name: str, value: str | None) -> None:
    """A time that is left out is fine."""
    if value is None:
        return
    try:
        micros = parse_timestamp(value)
    except ValueError as error:
        raise refused([fault((name,), str(error), "timestamp")]) from None
    if micros <= 0:  # which the store would take for never
        raise refused([fault((name,), "must be in the future", "past")])


def channel_of(project: Project, name: str | None) -> Channel:
    """The in-app channel with this name, or the project's oldest one. Raises `Refused` not_found."""
    oldest = next(iter(project.feed_channels), None)
    channel = project.feed_channel(name) if name is not None else oldest
    if channel is None:
        shown = (name or "in_app")[:64]
        raise Refused(Code.NOT_FOUND, f"no such channel: {shown!r}", resource="channel", id=shown)
    return channel


def check_link(data: JSON) -> None:
    """The other way to the link that users click: in the producer's own `data`. Raises `Refused` as for `url`."""
    link = data.get("action_url")
    if link is not None and not (isinstance(link, str) and link_allowed(link)):
        raise _bad_link("data", "action_url")


def _bad_link(*where: str) -> Refused:
    return refused([fault(where, "must be http, https or relative", "scheme")])


def _check_target(target: Target) -> None:
    needed, other = ("id", "ids") if target.type == "user" else ("ids", "id")
    if getattr(target, needed) is None:
        raise refused([fault(("target", needed), "Field required", "missing")])
    if getattr(target, other) is not None:
        message = f"not permitted where type is {target.type}"
        raise refused([fault(("target", other), message, "extra_forbidden")])


def introduced(sending: _Content, keys: Iterable[SecretKey]) -> _Content:
    """With what the project knows of a sender that is one of its keys or agents: its name, and a key's redacted value
    (seed 1, handle).
    """
    sender = sending.sender
    key = next((key for key in keys if sender and (key.kind, key.id) == (sender.type, sender.id)), None)
    if sender is None or key is None:
        return sending
    handle = key.redacted if key.kind == "api_key" else sender.handle
    known = sender.model_copy(update={"name": sender.name or key.name, "handle": handle})
    return sending.model_copy(update={"sender": known})


_BLANK = re.compile(r"[\x00- ]")


def link_allowed(url: str) -> bool:
    """http(s) or relative: a stored link is clicked by users, and `javascript:` is one of them."""
    head = url.strip().lower()
    scheme, colon, _ = head.partition(":")
    if _BLANK.search(url):
        return False
    return not colon or scheme in ("http", "https") or any(char in scheme for char in "/?#")


def entry_body(entry_id: str, sending: Content) -> str:
    """The immutable part of the entry as JSON without the closing brace. Raises `Refused` when it is too large."""
    data = dict(sending.data) | {"title": sending.title}
    if sending.body is not None:
        data["body"] = sending.body
    if sending.url is not None:
        data["action_url"] = sending.url
    return stored_body(
        {
            "id": entry_id,
            "notiflow_handle": sending.category,
            "category": sending.category,
            "priority": "high" if sending.priority == "urgent" else sending.priority,
            "topic": sending.topic,
            "actor": _actor(sending.sender),
            "sender": sending.sender.model_dump() if sending.sender else None,
            "resource": sending.resource.model_dump() if sending.resource else None,
            "data": data,
            "expires_at": timestamp(sending.expires) if sending.expires else None,
        }
    )


def stored_body(entry: JSON) -> str:
    """An entry's immutable part, all fields of it, as it is stored. Raises `Refused` when it is too large."""
    body = dumps(entry)
    size = len(body.encode()) + _SHOWN
    if size > ENTRY_BYTES:
        raise Refused(
            Code.INVALID_REQUEST,
            f"an entry of {size} bytes, at most {ENTRY_BYTES}",
            fields=[{"field": "data", "message": f"{size} bytes, at most {ENTRY_BYTES}", "reason": "too_large"}],
        )
    return body[:-1]


def _actor(sender: Sender | None) -> JSON | None:
    """Seed 2's actor: from a user all of it, from another type only its name."""
    if sender is None:
        return None
    actor: JSON = dict.fromkeys(("id", "external_id", "first_name", "last_name", "email", "avatar"))
    if sender.type != "user":
        return actor | {"first_name": sender.name}
    first, _, last = (sender.name or "").partition(" ")
    return {
        "id": sender.id,
        "external_id": sender.id,
        "first_name": first or None,
        "last_name": last or None,
        "email": sender.handle,
        "avatar": sender.avatar_url,
    }


def new_entry_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): its first 48 bits are milliseconds since 1970."""
    value = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
