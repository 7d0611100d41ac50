"""What the hub talks about: projects and channels, entries, events and counts.

Five ideas carry everything: an *entry* is one notification in a *feed*; an *event* is one change of a feed;
a *cursor* names a place in the feed's log of events; a *session* is one live socket; a *frame* is one message.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

CURSOR = re.compile(r"0|[0-9]{16,17}-[0-9]{1,10}")
"""What a client may send as a cursor (protocol, section 5)."""
START = "0"
"""The cursor of a feed that never had an event."""
HANDLE = re.compile(r"[a-z][a-z0-9_-]{0,62}")
NOTIFLOW = re.compile(r"[a-z][a-z0-9-]{0,62}")
"""A notiflow's handle: unlike a channel's it has no underscore (Notiflows' own rule)."""
PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
USER_MAX = 256
"""Characters in a user name (a JWT's `sub`, a user's external id)."""

VERBS = ("seen", "read", "click", "archive", "unarchive", "dismiss")
"""The verbs of a mark, in the order in which they are applied (protocol, section 4)."""
STATUSES = ("unseen", "seen", "unread", "read", "archived", "dismissed")
"""What a list may ask for: `unread` is unseen and seen together (seed 2's sibling page on lists)."""


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def timestamp(micros: int) -> str:
    """RFC 3339 UTC with three decimals and `Z`; microseconds are cut, not rounded."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest // 1000:03d}Z"


def micros_of(cursor: str) -> int:
    """The time of the event that a cursor names, in µs since 1970; 0 for `START`."""
    return int(cursor.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the whole feed: absolute, exact, never capped. Archived, dismissed and expired entries are in none."""

    unseen: int
    unread: int
    total: int

    def json(self) -> str:
        return f'{{"unseen":{self.unseen},"unread":{self.unread},"total":{self.total}}}'


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a feed, as the log keeps it and as it is pushed. `prev` is the cursor before it.

    `kind` is `entry`, `state` or `gone`. `body` holds the encoded entry without its closing brace for
    `entry`; `ids` the entries that changed for the other two. `reason` is why entries are `gone`; `by` is the
    session that marked, or None. `expires` is when the new entry expires, µs, or 0.
    """

    channel: str
    cursor: str
    prev: str
    counts: Counts
    kind: str
    body: str = ""
    ids: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    by: str | None = None
    reason: str = ""
    expires: int = 0


_PUBLISHED = '{"created_at":'
"""How the body of an announced entry begins: when it was published. Its event tells when it reached this feed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored entry: its immutable body as JSON text without the closing brace, and its marks (µs or 0)."""

    id: str
    body: str
    score: int
    """µs of the event that brought it: its `sent_at`, and its place in the feed."""
    seen: int = 0
    read: int = 0
    clicked: int = 0
    archived: int = 0
    dismissed: int = 0
    updated: int = 0

    @property
    def status(self) -> str:
        """Derived, never stored (protocol, section 6)."""
        if self.dismissed:
            return "dismissed"
        if self.archived:
            return "archived"
        if self.read:
            return "read"
        return "seen" if self.seen else "unseen"

    def json(self) -> str:
        """The entry in the form of the User API and the socket (seed 2, `docs/api.md`)."""

        def at(micros: int) -> str:
            return f'"{timestamp(micros)}"' if micros else "null"

        created = "" if self.body.startswith(_PUBLISHED) else f'"created_at":{at(self.score)},'
        return (
            f'{self.body},{created}"sent_at":{at(self.score)},"seen_at":{at(self.seen)},'
            f'"read_at":{at(self.read)},"clicked_at":{at(self.clicked)},"archived_at":{at(self.archived)},'
            f'"dismissed_at":{at(self.dismissed)},"status":"{self.status}"}}'
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a feed, newest first; `after` leads to older entries, `before` to newer ones (µs, or None)."""

    entries: tuple[Entry, ...]
    limit: int
    cursor: str
    counts: Counts
    after: int | None
    before: int | None


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list shows: the seed's filters and one of two keyset positions (opaque outside: page tokens)."""

    status: str | None = None
    archived: bool = False
    topic: str | None = None
    created_after: int | None = None
    """µs, exclusive."""
    created_before: int | None = None
    """µs, exclusive."""
    after: int | None = None
    before: int | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Explained:
    """What stands behind the counts of a feed: `entries` holds the newest of each count, by its name."""

    cursor: str
    counts: Counts
    archived: int
    dismissed: int
    entries: Mapping[str, tuple[Entry, ...]]


@dataclass(frozen=True, slots=True)
class CatchUp:
    """How a session gets from its cursor to the top of a feed (protocol, section 5).

    `mode` `live`: nothing was missed. `replay`: `events` lead exactly to `cursor` and `counts`. `snapshot`:
    `page` is the newest page. Never partial. `expires`: when the next entry expires, µs, or 0.
    """

    mode: str
    cursor: str
    counts: Counts
    events: tuple[Event, ...] = ()
    page: Page | None = None
    expires: int = 0


@dataclass(frozen=True, slots=True)
class Marked:
    """What a mark did: the ids it changed (None when a replayed one is older than the log), and how many they were."""

    cursor: str
    counts: Counts
    changed: tuple[str, ...] | None
    replayed: bool = False
    number: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a request with an idempotency key."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Published:
    """What a send did. `replayed`: nothing, since it was done before; `answer` is what was answered then, if known."""

    id: str
    cursor: str
    answer: Answer | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What a withdrawal removed from one feed."""

    cursor: str
    counts: Counts
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """The state of one feed, as the periodic cursor check reads it."""

    cursor: str
    expires: int
    """When the next entry expires, µs, or 0."""


ChannelType = Literal["in_app", "email", "sms", "chat", "mobile_push", "web_push"]
CHANNEL_TYPES: tuple[str, ...] = get_args(ChannelType)


@dataclass(frozen=True, slots=True)
class Channel:
    """An in-app channel holds feeds; other types exist so that the Admin API can name them."""

    id: str
    handle: str
    type: str = "in_app"
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public half of a key that signs user tokens. One algorithm per key (RFC 8725, section 3.1)."""

    kid: str
    algorithm: str
    public_pem: str
    created_at: str
    retired_at: str | None = None


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A producer's or an agent's `sk_` key: only its digest and its last characters are kept."""

    id: str
    digest: str
    redacted: str
    role: str
    created_at: str
    retired_at: str | None = None
    kind: str = "api_key"
    """What holds it: `api_key` or `agent`, as senders are called (seed 1)."""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """What recipients of a notiflow read, in Liquid (`hub/templates.py`)."""

    title: str
    body: str | None = None
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template filled in for one recipient: plain text."""

    title: str
    body: str | None
    action_url: str | None


@dataclass(frozen=True, slots=True)
class Notiflow:
    """A kind of notification that is run for recipients or for a topic."""

    id: str
    handle: str
    name: str
    template: Template
    created_at: str
    updated_at: str
    active: bool = True
    include_in_preferences: bool = True
    channel: str | None = None
    """Handle of an in-app channel; None: the project's oldest."""
    category: str | None = None
    priority: str = "normal"


@dataclass(frozen=True, slots=True)
class Project:
    """One tenant: its public key, who may sign for its users, who may send, from where browsers may come."""

    id: str
    name: str
    api_key: str
    """Public, `pk_`; safe in client code."""
    channels: tuple[Channel, ...]
    """Oldest first."""
    signing_keys: tuple[SigningKey, ...] = ()
    secret_keys: tuple[SecretKey, ...] = ()
    origins: tuple[str, ...] = ()
    """Origins of browsers that may connect; empty: no browser may."""
    notiflows: tuple[Notiflow, ...] = ()
    """Oldest first."""
    by_name: Mapping[str, Channel] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = {c.id: c for c in self.channels} | {c.handle: c for c in self.channels}
        object.__setattr__(self, "by_name", names)

    @property
    def feed_channels(self) -> tuple[Channel, ...]:
        """The in-app channels, oldest first."""
        return tuple(channel for channel in self.channels if channel.type == "in_app")

    def feed_channel(self, name: str) -> Channel | None:
        """The in-app channel with this UUID or handle."""
        channel = self.by_name.get(name)
        return channel if channel is not None and channel.type == "in_app" else None

    def notiflow(self, handle: str) -> Notiflow | None:
        """The notiflow with this handle."""
        return next((notiflow for notiflow in self.notiflows if notiflow.handle == handle), None)


@dataclass(frozen=True, slots=True)
class Claims:
    """Who is speaking: the outcome of a verified user token, or of development sign-in."""

    project: str
    user: str
    issued_at: int | None
    """Seconds since 1970 (`iat`), or None: refused once the user was ever revoked."""
    expires_at: float | None
    """Seconds since 1970 (`exp`), or None."""


JSON = dict[str, Any]
