"""One live socket: carries out what the conversation wants. Knows no ASGI; the transport is given.

Calls to the store run in tasks that the session owns and awaits, and are never cancelled: a cancelled command
says nothing about whether it happened.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hub.actions import Action, Admission, Admit, Apply, Close, Do, Fetch, Read, Renew, Request, Send
from hub.auth import BadToken
from hub.codec import frame_digest
from hub.errors import Broken, CloseCode, Code, Refused
from hub.frames import Auth, Encoded
from hub.identity import Identity
from hub.keys import Feed, User
from hub.model import JSON, CatchUp, Channel, Claims, Event, Marked, timestamp
from hub.projects import Directory
from hub.protocol import Conversation, Timing
from hub.registry import Registry
from hub.store import Store, op_memory
from hub.wheel import Wheel

log = logging.getLogger("bellhub.session")

CLOSE_S = 5.0
"""Time a client is given to take the last frames."""


class Transport(Protocol):
    """The socket under a session. Both raise `Gone` when the peer is not there any more."""

    async def send(self, frame: Encoded) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...


class Gone(Exception):
    """The peer has left."""


@dataclass(frozen=True)
class Surroundings:
    """What every session of a process works with."""

    store: Store
    directory: Directory
    identity: Identity
    registry: Registry
    wheel: Wheel
    timing: Timing
    clock: Callable[[], float]


class Session:
    """Feed it messages with `receive`; await `finish` when the socket has ended.

    `abort` ends the socket at once, for a peer that does not even read the last frames.
    """

    def __init__(
        self,
        around: Surroundings,
        transport: Transport,
        protocol: str,
        origin: str | None,
        abort: Callable[[], object],
    ) -> None:
        self.user = User("", "")
        self.slot: int | None = None
        self._around = around
        self._transport = transport
        self._origin = origin
        self._client: str | None = None
        self._opened = int(time.time() * 1_000_000)
        self._claims: Claims | None = None
        self._talk = Conversation(secrets.token_hex(8), protocol, around.timing, around.clock())
        self._outbox: deque[Encoded] = deque()
        self._abort = abort
        self._closing: Close | None = None
        self._last_resort: asyncio.TimerHandle | None = None
        self.aborted = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.Task[None] | None = None
        self._judged: asyncio.Future[None] | None = None
        around.registry.arrive(self)
        around.wheel.schedule(self, self._talk.next_tick or 0)

    # ---- inputs --------------------------------------------------------------------------------------

    async def receive(self, message: str | bytes) -> None:
        """One message. Returns when the next one may be read: not before the first one has been judged."""
        self._hear(self._talk.receive, message)
        if not self._talk.authenticated and self._closing is None:
            self._judged = asyncio.get_running_loop().create_future()
            await self._judged
            self._judged = None

    def event(self, event: Event, frame: Encoded) -> None:
        self._hear(self._talk.event, event, frame)

    def doubt(self) -> None:
        self._hear(self._talk.doubt)

    def checked(self, tops: dict[str, str], revoked_before: int | None) -> None:
        self._hear(self._talk.checked, tops, revoked_before)

    def close(self, code: CloseCode, reason: str) -> None:
        self._perform(self._talk.close(code, reason))

    def tick(self, now: float) -> float | None:
        self._hear(self._talk.tick)
        return self._talk.next_tick

    @property
    def follows(self) -> tuple[str, ...]:
        return self._talk.follows

    @property
    def shown(self) -> JSON | None:
        """What an administrator sees of it (`docs/api.md`); None once it ends."""
        if self._talk.closed:
            return None
        return {
            "id": self._talk.session,
            "client": self._client,
            "origin": self._origin,
            "opened_at": timestamp(self._opened),
            "channels": list(self.follows),
            "protocol": self._talk.protocol,
        }

    async def finish(self) -> None:
        """The socket has ended: waits for what is under way, then leaves."""
        self._talk.abandon()
        self._around.wheel.forget(self)
        if self._last_resort is not None:
            self._last_resort.cancel()
        if self._writer is not None and self.aborted:
            self._writer.cancel()
        while self._tasks or self._writer:
            await asyncio.wait([*self._tasks, *([self._writer] if self._writer else [])])
        self._around.registry.leave(self)

    def _hear(self, step: Callable[..., list[Action]], *args: object) -> None:
        """Tells the conversation something. A fault of ours ends this one socket, never what is done for others."""
        try:
            self._perform(step(*args, self._around.clock()))
        except Exception:
            log.exception("session.failed", extra={"session": self._talk.session})
            self._perform(self._talk.close(CloseCode.UNAVAILABLE, "something went wrong in the hub"))

    # ---- actions -------------------------------------------------------------------------------------

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(frame):
                    self._outbox.append(frame)
                case Do(request):
                    task = asyncio.create_task(self._do(request))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case Close():
                    self._close(action)
        due = self._talk.next_tick  # also when nothing is to be done now: something may be due soon
        if due is not None:
            self._around.wheel.schedule(self, due)
        if self._outbox and self._writer is None:
            self._writer = asyncio.create_task(self._write())

    def _close(self, action: Close) -> None:
        self._closing = action
        self._read_on()
        if action.code is CloseCode.SLOW:  # what it did not read it will be told again
            self._outbox = deque([self._outbox[-1]])
        self._last_resort = asyncio.get_running_loop().call_later(CLOSE_S, self._give_up)
        log.info("session.closed", extra={"code": int(action.code), "reason": action.reason})

    def _read_on(self) -> None:
        if self._judged is not None and not self._judged.done():
            self._judged.set_result(None)

    def _give_up(self) -> None:
        self.aborted = True
        self._abort()

    async def _write(self) -> None:
        try:
            while self._outbox:
                frame = self._outbox.popleft()
                await self._transport.send(frame)
                if actions := self._talk.sent(frame.size, self._around.clock()):
                    self._perform(actions)
            if self._closing is not None:
                await self._transport.close(int(self._closing.code), self._closing.reason)
        except Gone:
            self._outbox.clear()
            self._talk.abandon()
        except Exception:  # a frame may be missing now: the client must come back and resume
            log.exception("session.write_failed", extra={"session": self._talk.session})
            self._outbox.clear()
            self._talk.abandon()
            self._give_up()
        finally:
            self._writer = None

    async def _do(self, request: Request) -> None:
        answer: object
        try:
            answer = await self._answer(request)
        except (Refused, Broken) as refusal:
            answer = refusal
        except Exception:
            log.exception("session.failed", extra={"request": type(request).__name__})
            answer = Refused(Code.INTERNAL, "something went wrong in the hub")
            if isinstance(request, Admit):
                answer = Broken(CloseCode.UNAVAILABLE, "something went wrong in the hub")
        self._hear(self._talk.answered, request, answer)
        self._read_on()

    async def _answer(self, request: Request) -> object:
        store, claims = self._around.store, self._claims
        match request:
            case Admit(auth):
                return await self._admit(auth)
            case Renew(_, token):
                return await self._renew(token)
            case Read(channel, cursor, limit):
                feed = self._feed(channel)
                found: CatchUp = await store.catch_up(feed, cursor, limit, claims)
                self._around.registry.expect(feed, found.expires)
                return found
            case Apply(channel):
                return await self._mark(request, self._feed(channel))
            case Fetch(channel, frame):
                return await store.page(self._feed(channel), frame.filters, claims)

    def _feed(self, channel: Channel) -> Feed:
        return self.user.feed(channel.handle)

    async def _mark(self, request: Apply, feed: Feed) -> Marked:
        frame, store = request.frame, self._around.store
        memory = op_memory(feed, frame.op, frame_digest(frame, feed.channel)) if frame.op else None
        by = self._talk.session
        if frame.ids is not None:
            return await store.mark(feed, (frame.verb,), frame.ids, by=by, memory=memory, claims=self._claims)
        assert frame.upto is not None
        return await store.mark_upto(
            feed, (frame.verb,), frame.upto, topic=frame.topic, by=by, memory=memory, claims=self._claims
        )

    # ---- who this is ---------------------------------------------------------------------------------

    async def _admit(self, auth: Auth) -> Admission:
        """Raises `Broken` with the close code that says why not (protocol, sections 2 and 7)."""
        try:
            admission = self._judge(auth)
            self._claims, self._client = admission.claims, auth.client
            self.user = User(admission.claims.project, admission.claims.user)
            # Joined before the revocation is read: a revocation is either read, or heard.
            await self._around.registry.enter(self)
            self._around.identity.project(auth.api_key)  # which may have gone meanwhile, with its sessions
            await self._around.identity.not_revoked(admission.claims)
        except BadToken as bad:
            raise Broken(CloseCode.TOKEN_EXPIRED if bad.expired else CloseCode.BAD_TOKEN, bad.message) from None
        except Refused as refused:
            raise Broken(_ADMISSION.get(refused.code, CloseCode.BAD_TOKEN), refused.message) from None
        log.info(
            "session.opened",
            extra={"session": self._talk.session, "project": self.user.project, "client": auth.client},
        )
        return admission

    def _judge(self, auth: Auth) -> Admission:
        identity = self._around.identity
        project = identity.project(auth.api_key)
        if not identity.origin_allowed(project, self._origin):
            raise Refused(Code.FORBIDDEN, f"origin {(self._origin or '')[:100]!r} is not allowed")
        if auth.token is not None:
            claims = identity.by_token(project, auth.token)
        else:
            claims = identity.by_name(project, auth.user or "")
        return self._admission(claims)

    def _admission(self, claims: Claims) -> Admission:
        directory = self._around.directory

        def resolve(name: str) -> Channel | None:
            project = directory.project(claims.project)
            return project.feed_channel(name) if project else None

        return Admission(claims, resolve, self._around.identity.lives_s(claims))

    async def _renew(self, token: str) -> Admission:
        assert self._claims is not None
        project = self._around.directory.project(self._claims.project)
        if project is None:
            raise Broken(CloseCode.FORBIDDEN, "the project is gone")
        identity = self._around.identity
        try:
            claims = identity.by_token(project, token)
        except BadToken:
            if identity.another_projects(project, token):
                raise Broken(CloseCode.BAD_TOKEN, "the fresh token is another project's") from None
            raise
        if claims.user != self._claims.user:
            raise Broken(CloseCode.BAD_TOKEN, "the fresh token is another user's")
        await identity.not_revoked(claims)
        self._claims = claims
        return self._admission(claims)


_ADMISSION = {
    Code.FORBIDDEN: CloseCode.FORBIDDEN,
    Code.REVOKED: CloseCode.FORBIDDEN,
    Code.UNAVAILABLE: CloseCode.UNAVAILABLE,
    Code.LIMIT: CloseCode.TOO_MANY_SESSIONS,
    Code.INVALID_REQUEST: CloseCode.BAD_TOKEN,
}
