"""Who is here of one user, over all hub processes: asked for when somebody wants to know, stored nowhere.

The question rings on the user's own channel, so only processes where that user is connected hear it, and the store
tells how many they are. They answer on a channel of that one question. Pub/sub is at most once, and a process may stand
still: whoever asks waits a bounded time and is told how many did not answer.
"""

import asyncio
import json
import logging
import re
import secrets
from dataclasses import dataclass, field

from hub.bus import Bus
from hub.frames import dumps
from hub.keys import User
from hub.model import JSON
from hub.store import Store

log = logging.getLogger("bellhub.rollcall")

WAIT_S = 1.0
"""Time that the other processes are given to answer."""
SESSION_ID = re.compile(r"[0-9a-f]{16}")
ALL = "*"
_ASKED = "! sessions "
_QUESTION = re.compile(r"([0-9a-f]{16}) ([0-9a-f]{16}|\*|-)")


@dataclass(frozen=True, slots=True)
class Question:
    """What a process is asked: who is here. `end` names the session that is to end, `*` all; `-` is none."""

    answers: str
    """The shard channel to answer on."""
    end: str


@dataclass(frozen=True, slots=True)
class Roll:
    """Sessions as `Session.shown` tells them, oldest first; of an order to end, only those that it ended.

    `asked` processes have heard the question, `answered` of them have said who is there.
    """

    sessions: list[JSON]
    asked: int
    answered: int

    @property
    def complete(self) -> bool:
        return self.answered >= self.asked


@dataclass(slots=True)
class _Answers:
    """What has come so far, by the process that said it."""

    by_hub: dict[str, list[JSON]] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for(self, count: int) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while len(self.by_hub) < count:
                    await self.arrived.wait()
                    self.arrived.clear()
        except TimeoutError:
            log.warning("rollcall.unanswered", extra={"asked": count, "answered": len(self.by_hub)})


class RollCall:
    """Asks the other processes, and this one. Its bus hands it what is said on channels that `asks` knows."""

    def __init__(self, store: Store) -> None:
        self.bus: Bus  # set by whoever wires the two together: each calls the other
        self._store = store
        self._open: dict[str, _Answers] = {}

    async def sessions(self, user: User) -> Roll:
        """Who is here. Raises `Refused` unavailable where the store cannot be asked."""
        return await self._ask(user, "-")

    async def end(self, user: User, session: str = ALL) -> Roll:
        """Ends one session, or all that are open now (close 4503): they are told, and may not have gone yet.

        A process that did not answer does it as soon as it hears. Raises as `sessions`.
        """
        return await self._ask(user, session)

    def asks(self, channel: str) -> bool:
        """Whether an answer is awaited on this shard channel."""
        return channel in self._open

    def message(self, channel: str, payload: str) -> None:
        """One answer. What is none is left out: its sender counts as one that did not answer."""
        answers = self._open.get(channel)
        if answers is None:
            return
        try:
            said = json.loads(payload)
            answers.by_hub[str(said["hub"])] = [{**session, "hub": said["hub"]} for session in said["sessions"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            log.warning("rollcall.unreadable", extra={"channel": channel, "bytes": len(payload)})
        answers.arrived.set()

    async def _ask(self, user: User, end: str) -> Roll:
        nonce = secrets.token_hex(8)
        channel = _answers_channel(user.events, nonce)
        await self.bus.join(channel)
        answers = self._open[channel] = _Answers()
        try:
            asked = await self._store.say(user.events, f"{_ASKED}{nonce} {end}")
            await answers.wait_for(asked)
        finally:
            del self._open[channel]
            self.bus.leave(channel)
        sessions = [session for said in answers.by_hub.values() for session in said]
        sessions.sort(key=lambda session: (str(session.get("opened_at")), str(session.get("id"))))
        return Roll(sessions, asked, len(answers.by_hub))


def question(channel: str, payload: str) -> Question | None:
    """The question in a message on a user's shard channel; None where it is something else."""
    if not payload.startswith(_ASKED):
        return None
    found = _QUESTION.fullmatch(payload, len(_ASKED))
    return None if found is None else Question(_answers_channel(channel, found[1]), found[2])


def reply(store: Store, question: Question, hub: str, sessions: list[JSON]) -> None:
    """Answers for the process `hub`; an answer that is lost is one that the asker does not wait for long."""
    store.tell(question.answers, dumps({"hub": hub, "sessions": sessions}))


def _answers_channel(events: str, nonce: str) -> str:
    """In the user's slot, beside the channel on which the question is asked."""
    return f"{events.removesuffix('events')}answers:{nonce}"
