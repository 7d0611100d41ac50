"""How often a secret key or a user may ask over HTTP (`docs/api.md`, Rate limits).

The library `limits` knows the notation. Windows are fixed; the counters are in the store, for all hubs.
"""

import math
from dataclasses import dataclass

from hub.engine import Engine
from hub.errors import Code, Refused
from hub.settings import rate

RETRY_S = 60
"""The longest wait that a refusal asks for: clients that obey `Retry-After` believe no more than that."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands after a request: of `limit` in `window_s` seconds, `remaining` are left for `reset_s`."""

    policy: str
    limit: int
    window_s: int
    remaining: int
    reset_s: int
    allowed: bool

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Structured fields of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4."""
        policy = f'"{self.policy}";q={self.limit};w={self.window_s}'
        now = f'"{self.policy}";r={self.remaining};t={self.reset_s}'
        return (b"ratelimit-policy", policy.encode()), (b"ratelimit", now.encode())

    def check(self) -> None:
        """Raises `Refused` rate_limited where there was nothing left."""
        if self.allowed:
            return
        window = f"{self.window_s}s"
        retry_after = min(self.reset_s, RETRY_S)
        message = f"more than {self.limit} requests of this {self.policy} in {window}"
        raise Refused(Code.RATE_LIMITED, message, limit=self.limit, window=window, retry_after=retry_after)


class Rates:
    """The limits of `key_rate` and `user_rate`; an empty one is none. Raises ValueError for what is no limit."""

    def __init__(self, engine: Engine, *, key_rate: str, user_rate: str) -> None:
        self._engine = engine
        self._items = {"key": rate(key_rate), "user": rate(user_rate)}
        self._windows = {policy: item.key_for() for policy, item in self._items.items() if item}

    async def take(self, policy: str, counter: str) -> Standing | None:
        """Counts one request under a key of the store; None where nothing is limited. One command.

        Raises `Refused` unavailable.
        """
        item = self._items[policy]
        if item is None:
            return None
        window_s = item.get_expiry()
        keys = {"counter": f"{counter}/{self._windows[policy]}"}
        _, count, left_ms = await self._engine.run("rate", keys, {"window_ms": window_s * 1000})
        remaining, reset_s = max(0, item.amount - count), max(1, math.ceil(left_ms / 1000))
        return Standing(policy, item.amount, window_s, remaining, reset_s, allowed=count <= item.amount)
