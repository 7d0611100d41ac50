"""What is remembered of requests with an `Idempotency-Key`, for 24 h (`docs/api.md`).

A change that one script makes remembers its request in that same script, under the same record; what is here serves
requests that need more than one, and the answers that are known only after the change.
"""

from dataclasses import dataclass

from hub.engine import Engine, text
from hub.keys import User
from hub.model import Answer
from hub.redis import Value

MEMORY_MS = 24 * 3600 * 1000
RUNNING_MS = 10_000
"""How long a request of several steps holds its key without finishing: then its hub is taken for dead."""
ANSWER_BYTES = 64 * 1024
"""Largest answer that is kept; a larger one is made anew from what the change left."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """One request: the name of its record, and the digest of what was asked.

    `answer` (`<status> <body>`) is what a script remembers with its change, where that is known before.
    """

    record: str
    digest: str
    answer: str = ""
    user: User | None = None
    """Whose feeds it is about."""


def operands(once: Idempotency | None, unused: str) -> tuple[dict[str, str], dict[str, Value]]:
    """Keys and arguments of `lua/lib/once.lua`. `unused`: any key of the slot, for a request without a key."""
    keys = {"idem": once.record if once else unused}
    return keys, {"idem_digest": once.digest if once else "", "idem_ms": MEMORY_MS}


class Answers:
    """Raises `Refused` idempotency_key_reused where another request was made under the same key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def recall(self, once: Idempotency) -> Answer | None:
        """What was answered before; status 0 where the change is made and its answer to be made anew; else None."""
        return _recalled(await self._run("once_recall", once))

    async def begin(self, once: Idempotency) -> Answer | None:
        """Takes the key for a request of several steps, or tells what was answered before.

        Raises `Refused` conflict (`reason` `idempotency_in_progress`) while another one is at it.
        """
        return parse(await self._run("once_begin", once, running_ms=RUNNING_MS))

    async def finish(self, once: Idempotency, answer: Answer) -> Answer | None:
        """Keeps an answer, before it leaves; one that was kept before counts instead, and is returned."""
        if len(answer.body.encode()) > ANSWER_BYTES:
            await self.release(once)
            return None
        listed = {"answers": once.user.answers if once.user else once.record}
        return parse(await self._run("once_finish", once, listed, answer=f"{answer.status} {answer.body}"))

    async def release(self, once: Idempotency) -> None:
        """Gives up a key that `begin` took: the request came to nothing and may be tried again."""
        await self._run("once_release", once)

    async def _run(
        self, script: str, once: Idempotency, more_keys: dict[str, str] | None = None, **more: Value
    ) -> list[bytes]:
        keys, args = operands(once, "")
        return await self._engine.run(script, keys | (more_keys or {}), args | more)


def parse(reply: list[bytes]) -> Answer | None:
    """The answer in a script's reply; None where it has none (yet)."""
    found = _recalled(reply)
    return found if found and found.status else None


def _recalled(reply: list[bytes]) -> Answer | None:
    if reply[0] != b"recalled":
        return None
    status, _, body = text(reply[1]).partition(" ")
    return Answer(int(status), body) if status.isdigit() else None
