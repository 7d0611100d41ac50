"""Names of everything the hub keeps in Redis.

Every key of a user, and the user's one shard channel, carries the hash tag `{project/user}`, so that one
script may touch all of them in one slot. User names are percent-encoded and free text (`op`, idempotency
and source keys) appears only as a digest: no choice of names can spell another user's key.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from urllib.parse import quote

PROJECTS = "{bellhub}:projects"
"""Hash: project id -> the project's JSON document."""
SCHEMA = "{bellhub}:schema"
"""String: the number of the layout of all keys."""
CONTROL = "{bellhub}:control"
"""Shard channel: one message whenever a project changes, or its announcements, and for every run that is queued."""
ANNOUNCED = "announcements "
RUN_NEWS = "run "
"""How the latter two begin; the project follows."""


def digest(*parts: str) -> str:
    """A short name for free text. Parts are length-prefixed: ("a", "bc") and ("ab", "c") differ."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def project_idem(project: str, key: str) -> str:
    """The record of a request that is about no single user's feeds."""
    return f"{{{project}}}:idem:{key}"


def project_rate(project: str, caller: str) -> str:
    """Beginning of the counters of one secret key's requests."""
    return f"{{{project}}}:rate:{digest(caller)}"


def users(project: str) -> str:
    """Sorted set: users of the project's directory -> µs of their creation."""
    return f"{{{project}}}:users"


def profiles(project: str) -> str:
    """Hash: user -> the JSON document of everything known about them."""
    return f"{{{project}}}:profiles"


def topics(project: str) -> str:
    """Sorted set: topic -> µs of its creation."""
    return f"{{{project}}}:topics"


def topic(project: str, name: str) -> str:
    """Sorted set: users subscribed to a topic -> since when, µs."""
    return f"{{{project}}}:topic:{digest(name)}"


def topics_of(project: str, user: str) -> str:
    """Sorted set: topics that a user is subscribed to -> since when, µs."""
    return f"{{{project}}}:topics-of:{digest(user)}"


def runs(project: str) -> str:
    """Sorted set: runs of notiflows that are not done -> µs from when on any hub may go on with them."""
    return f"{{{project}}}:runs"


def run(project: str, run_id: str) -> str:
    """Hash: one run: `spec`, `started`, `position`, from which it goes on, and named recipients in `chunk:<number>`."""
    return f"{{{project}}}:run:{run_id}"


def erased(project: str) -> str:
    """Sorted set: users who were erased while runs waited, by the keys of their logs -> when, µs."""
    return f"{{{project}}}:erased"


def log_index(project: str) -> str:
    """Sorted set: what was sent to users, by entry id -> µs."""
    return f"{{{project}}}:log:index"


def log_rows(project: str) -> str:
    """Hash: entry id -> its row, a JSON list (`hub/logs.py`)."""
    return f"{{{project}}}:log:rows"


def log_of(project: str, user: str) -> str:
    """As `log_index`, of one user."""
    return f"{{{project}}}:log:of:{digest(user)}"


def log_topic(project: str, topic: str) -> str:
    """As `log_index`, of one topic."""
    return f"{{{project}}}:log:topic:{digest(topic)}"


def log_failed(project: str) -> str:
    """As `log_index`, of what could not be rendered."""
    return f"{{{project}}}:log:failed"


def announcements(project: str, part: str) -> str:
    """One part of what a project has announced: see `lua/lib/announcements.lua`."""
    return f"{{{project}}}:announcements:{part}"


def probe_channel(name: str) -> str:
    """The shard channel on which one hub process listens to itself."""
    return f"{{bellhub}}:probe:{name}"


@dataclass(frozen=True)
class User:
    """One user of one project, as the store names them."""

    project: str
    name: str

    @cached_property
    def tag(self) -> str:
        return f"{{{self.project}/{quote(self.name, safe='._~@-')}}}"

    @property
    def events(self) -> str:
        """The user's shard channel: every event of every feed, and control messages."""
        return f"{self.tag}:events"

    @property
    def meta(self) -> str:
        return f"{self.tag}:meta"

    @property
    def ops(self) -> str:
        return f"{self.tag}:ops"

    @property
    def memo(self) -> str:
        return f"{self.tag}:memo"

    @property
    def answers(self) -> str:
        """Sorted set: records of requests whose answers may show the user's entries -> seconds."""
        return f"{self.tag}:answers"

    @property
    def rate(self) -> str:
        """Beginning of the counters of the user's requests."""
        return f"{self.tag}:rate"

    def idem(self, key: str) -> str:
        return f"{self.tag}:idem:{key}"

    def feed(self, channel: str) -> "Feed":
        return Feed(self, channel)


@dataclass(frozen=True)
class Feed:
    """One user's feed on one in-app channel. `channel` is the channel's handle."""

    user: User
    channel: str

    def key(self, part: str) -> str:
        """The key of one part of the feed: `log`, `items`, `marks` or one of the indexes."""
        return f"{self.user.tag}:{self.channel}:{part}"

    def source(self, key: str) -> str:
        """The set of entries sent with one source key."""
        return self.key(f"source:{digest(key)}")
