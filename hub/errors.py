"""What can go wrong, in the words of the wire.

Two kinds of failure. `Refused`: somebody asked for the impossible; the answer is an `error` frame or a 4xx
and the conversation goes on. `Broken`: the conversation itself is broken; the socket is closed with a code.
Anything else is a bug and rises to the edge, where it is logged once.
"""

from enum import IntEnum, StrEnum
from typing import Any


class Code(StrEnum):
    """The error codes of the protocol, section 4; `docs/api.md` gives their HTTP forms."""

    INVALID_REQUEST = "invalid_request"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    FORBIDDEN = "forbidden"
    REVOKED = "revoked"
    INVALID_TOKEN = "invalid_token"
    RATE_LIMITED = "rate_limited"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


TEMPORARY = frozenset({Code.RATE_LIMITED, Code.UNAVAILABLE, Code.INTERNAL})


class CloseCode(IntEnum):
    """Why a socket ends, protocol section 7. 4000-4499: come back; 4500-4999: stay away."""

    DRAINING = 4000
    SLOW = 4001
    NO_PONG = 4002
    TOKEN_EXPIRED = 4003
    UNAVAILABLE = 4004
    MAX_AGE = 4005
    AUTH_TIMEOUT = 4006
    RATE_LIMITED = 4007
    BAD_FRAME = 4500
    BAD_TOKEN = 4501
    FORBIDDEN = 4503
    TOO_MANY_SESSIONS = 4504

    @property
    def reconnect(self) -> bool:
        return self < 4500


class Refused(Exception):
    """One request failed; nothing of it was applied unless the code is temporary.

    `message` names the value and the limit, never a token or a body. `details` uses the keys of the seed's
    error envelope where one fits (`fields`, `resource`, `id`, `reason`, ...).
    """

    def __init__(self, code: Code, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def temporary(self) -> bool:
        return self.code in TEMPORARY


class Broken(Exception):
    """The conversation cannot go on: `bye`, then close with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def unavailable(what: str) -> Refused:
    """The store cannot answer now. Says nothing about whether the change happened (protocol, section 1)."""
    return Refused(Code.UNAVAILABLE, what)
