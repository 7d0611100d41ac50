"""Runs the Lua scripts: the one command connection, and what Redis' own refusals mean.

Nothing is sent twice but a script that Redis says it does not know. A `Refused` other than `unavailable` means that
nothing changed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hiredis

from hub.errors import Code, Refused, unavailable
from hub.redis import Ask, Link, Reply, Value
from hub.scripts import load

log = logging.getLogger("bellhub.engine")

_DOWN = (
    "LOADING",
    "READONLY",
    "MISCONF",
    "OOM",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "NOREPLICAS",
)


class Engine:
    """The scripts and the connection that they run on; `link.url` is to be set, and `link.run` kept running."""

    def __init__(self) -> None:
        self.link = Link(self._prepare)
        self._scripts = load()

    async def _prepare(self, ask: Ask) -> None:
        """Loads all scripts: once for every connection, before its first command."""
        for script in self._scripts.values():
            await ask("SCRIPT", "LOAD", script.source)

    async def run(
        self,
        name: str,
        keys: Mapping[str, str],
        args: Mapping[str, Value],
        rest: Sequence[Value] = (),
        rest_keys: Sequence[str] = (),
    ) -> list[Any]:
        """The reply of the script `hub/lua/{name}.lua`; a refusal in it is raised."""
        script = self._scripts[name]
        operands = script.operands(keys, args, rest, rest_keys)
        try:
            reply = await self.call("EVALSHA", script.sha, *operands)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            # The script cache is volatile (SCRIPT FLUSH, failover): the source goes along once more.
            reply = await self.call("EVAL", script.source, *operands)
        assert isinstance(reply, list)
        refusal = REFUSALS.get(reply[0]) if reply else None
        if refusal is not None:
            raise refusal([text(part) for part in reply[1:]])
        return reply

    async def call(self, *command: Value) -> Reply:
        """One command's reply. Raises `Refused` unavailable where the store is away or takes no writes now."""
        try:
            return await self.link.call(*command)
        except hiredis.ReplyError as error:
            if str(error).startswith(_DOWN):
                log.warning("store.refuses", extra={"error": str(error)})
                raise unavailable("the store cannot take this now") from error
            raise


def text(value: bytes) -> str:
    return value.decode()


def _not_found(ids: list[str]) -> Refused:
    message = f"no such entry: {ids[0][:64]!r}" + (f" and {len(ids) - 1} more" if len(ids) > 1 else "")
    return Refused(Code.NOT_FOUND, message, resource="entry", id=ids[0], ids=ids)


def _past(where: list[str]) -> Refused:
    name, start = where or ("expires_at", "now")
    return _time(name, "must be in the future" if start == "now" else f"must be after {start}", "past")


def _far(where: list[str]) -> Refused:
    name, start, days = where
    return _time(name, f"must be at most {days} days after {start}", "too_far")


def _time(name: str, must: str, reason: str) -> Refused:
    field = {"field": name, "message": must, "reason": reason}
    return Refused(Code.INVALID_REQUEST, f"{name} {must}", fields=[field])


def _unknown_cursor(_: list[str]) -> Refused:
    message = "this cursor is not in the feed's history; subscribe again"
    return Refused(Code.CONFLICT, message, reason="unknown_cursor")


def _reused(_: list[str]) -> Refused:
    return Refused(Code.IDEMPOTENCY_KEY_REUSED, "this key was used for another request within 24 hours")


def _in_progress(_: list[str]) -> Refused:
    message = "the first request with this key is still running; ask again in a moment"
    return Refused(Code.CONFLICT, message, reason="idempotency_in_progress")


REFUSALS: dict[bytes, Callable[[list[str]], Refused]] = {
    b"not_found": _not_found,
    b"revoked": lambda _: Refused(Code.REVOKED, "this user's tokens were revoked; sign in again"),
    b"unknown_cursor": _unknown_cursor,
    b"idempotency_key_reused": _reused,
    b"in_progress": _in_progress,
    b"rate_limited": lambda most: Refused(
        Code.RATE_LIMITED, f"{most[0]} ops remembered, at most {most[0]} in 24 hours"
    ),
    b"queue_full": lambda most: Refused(
        Code.RATE_LIMITED, f"{most[0]} runs are waiting, at most {most[0]}", limit=int(most[0])
    ),
    b"erased": lambda _: Refused(Code.NOT_FOUND, "this user was erased", resource="user"),
    b"past": _past,
    b"far": _far,
    b"limit": lambda most: Refused(Code.LIMIT, f"{most[0]} announcements are not over yet, more cannot be"),
}
"""What a script's reply begins with when it refused, and what that is to whoever asked."""
