"""Lists of the Admin API and the like: newest first, by the time of what they hold, in pages.

A *place* in such a list is (µs, name): names tell apart what came in the same microsecond. It stays good whatever
comes or goes, also what was at that place.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Generic, TypeVar

from hub.model import JSON

Place = tuple[int, str]
LIMIT = 25
"""Items of a page, where nobody asks for another number."""
LIMIT_MAX = 1000
TOKEN_MAX = 2048
"""Characters of a page token; that of the longest name is shorter."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Window:
    """What is asked of a list. The times are µs, exclusive; `after` leads to older items, `before` to the nearest newer
    ones, and at most one of the two is given.
    """

    limit: int = LIMIT
    after: Place | None = None
    before: Place | None = None
    created_after: int | None = None
    created_before: int | None = None


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """One page, newest first. `after` and `before` are the places of its last and first item where more follows."""

    items: tuple[T, ...]
    limit: int
    after: Place | None
    before: Place | None

    def page(self) -> JSON:
        """The `page` object (seed 2's siblings): `after` is null on the last page."""
        return {
            "after": place_token(self.after),
            "before": place_token(self.before),
            "has_more_after": self.after is not None,
            "has_more_before": self.before is not None,
            "limit": self.limit,
        }


def place_token(place: Place | None) -> str | None:
    """A place as an opaque page token."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(f"{place[0]} {place[1]}".encode()).decode().rstrip("=")


def parse_place(token: str) -> Place:
    """The place of a token of `place_token`. Raises ValueError."""
    try:
        if len(token) > TOKEN_MAX or not token.isascii():
            raise ValueError("no token has this form")
        padded = token + "=" * (-len(token) % 4)
        micros, space, name = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(" ")
        if not (space and micros.isascii() and micros.isdigit() and len(micros) <= 17):
            raise ValueError("no place has this form")
    except (ValueError, binascii.Error):
        raise ValueError(f"{token[:32]!r} is not a page token") from None
    return int(micros), name
