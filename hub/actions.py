"""What a conversation wants done, and what it is told in return."""

from collections.abc import Callable
from dataclasses import dataclass

from hub import frames
from hub.errors import CloseCode
from hub.frames import Auth, Encoded, Ref
from hub.model import Channel, Claims


@dataclass(frozen=True, slots=True)
class Send:
    frame: Encoded


@dataclass(frozen=True, slots=True)
class Close:
    code: CloseCode
    reason: str


@dataclass(frozen=True, slots=True)
class Admit:
    """Find out who this is; the answer is an `Admission`, or `Broken`."""

    auth: Auth


@dataclass(frozen=True, slots=True)
class Renew:
    """Check a fresh token; the answer is an `Admission`, or `Refused`, or `Broken` for another user's."""

    ref: Ref
    token: str


@dataclass(frozen=True, slots=True)
class Read:
    """Read from a cursor to the top; the answer is a `CatchUp`, or `Refused`. Without `frame`: a repair."""

    channel: Channel
    cursor: str | None
    limit: int
    frame: frames.Subscribe | None


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply a mark; the answer is `Marked`, or `Refused`."""

    channel: Channel
    frame: frames.Mark


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch a page; the answer is a `Page`, or `Refused`."""

    channel: Channel
    frame: frames.List


Request = Admit | Renew | Read | Apply | Fetch


@dataclass(frozen=True, slots=True)
class Do:
    request: Request


Action = Send | Close | Do


@dataclass(frozen=True, slots=True)
class Admission:
    """Who the client is, and how channels of its project are found (by UUID or handle, in memory)."""

    claims: Claims
    resolve: Callable[[str], Channel | None]
    lives_s: float | None
    """From now until the token's end, leeway included; None: for ever."""
