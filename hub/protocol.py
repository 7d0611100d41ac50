"""The conversation with one client, as a state machine: no await, no clock, no Redis, no socket.

Inputs: messages, events, answers of the store, the passing of time. Outputs: `Send`, `Do`, `Close`. Times are
seconds of any clock that does not step; the same one for every input of a conversation.

Work that touches the store happens one piece at a time, in the order sent; what is followed is repaired by the
same queue. While something is read for a channel, that channel's events are held back: join first, read,
deliver, then release what was held.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hub import frames
from hub.actions import Action, Admission, Admit, Apply, Close, Do, Fetch, Read, Renew, Request, Send
from hub.auth import revoked
from hub.codec import Malformed, decode, decode_first
from hub.errors import Broken, CloseCode, Code, Refused
from hub.frames import Auth, ClientFrame, Encoded, Ref
from hub.model import CatchUp, Channel, Claims, Event, Marked, Page, timestamp

START_BYTES = 256 * 1024
"""With more than this unsent, no further piece of work is started and no further slice of a replay is sent."""
SLOW_BYTES = 1024 * 1024
"""With more than this unsent the client is too slow: close 4001."""
OBJECT_BYTES = 150
"""What an unsent frame costs beside its text: many small ones would otherwise take ten times the bounds above."""
HELD_BYTES = 256 * 1024
"""Events held back for one channel beyond this are dropped, and the log is read again."""
REFUSED = 8 * frames.WAITING
"""Frames refused for want of room, since the queue was last empty, after which the socket is closed."""
SETTLE_S = 0.25
"""After a read, an event that does not link is taken for an older one this long; then the log is read again."""
REPAIR_RETRY_S = 1.0
EXPIRING_S = 60.0

_DELAY_MS = {
    CloseCode.DRAINING: (0, 5_000),
    CloseCode.TOKEN_EXPIRED: (0, 1_000),
    CloseCode.MAX_AGE: (0, 10_000),
    CloseCode.UNAVAILABLE: (1_000, 20_000),
    CloseCode.RATE_LIMITED: (5_000, 20_000),
}


# ---- state -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, from the settings."""

    auth_s: float
    ping_s: float
    pong_s: float
    max_age_s: float
    leeway_s: float


@dataclass(slots=True)
class Follow:
    """One followed channel. `cursor` is that of the last event sent to the client."""

    channel: Channel
    cursor: str | None
    settling: bool = True
    """Just read: an event that does not link is older than the read, until one links or the top arrives."""
    dropped_at: float | None = None
    dirty: bool = False
    """Something may be missing: a repair is in the queue, or comes when what is held is released."""
    repair_at: float | None = None
    """A repair failed; when to try again."""
    held: list[tuple[Event, Encoded]] | None = None
    held_bytes: int = 0

    def hold(self) -> None:
        self.held = [] if self.held is None else self.held

    def keep(self, event: Event, frame: Encoded) -> None:
        assert self.held is not None
        self.held_bytes += frame.size
        if self.held_bytes > HELD_BYTES:
            self.held.clear()
            self.dirty = True
        else:
            self.held.append((event, frame))


@dataclass(frozen=True, slots=True)
class Repair:
    """A turn in the queue: read the log again for this channel."""

    handle: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A turn in the queue: a frame that was refused unread, whose answer must not overtake earlier ones."""

    ref: Ref
    refused: Refused


@dataclass(slots=True)
class Conversation:
    """One client. Every input returns what is to be done, in order. After `Close`, inputs return nothing.

    `now` is when it began.
    """

    session: str
    protocol: str
    timing: Timing
    now: float
    claims: Claims | None = None
    _resolve: Callable[[str], Channel | None] = field(default=lambda _: None)
    _authenticating: bool = False
    _renewing: bool = False
    _closed: bool = False
    _busy: Request | None = None
    _waiting: list[ClientFrame | Repair | Refusal] = field(default_factory=list)
    _slices: list[Encoded] = field(default_factory=list)
    """What is left of a replay, last first."""
    _refused: int = 0
    _revoked_before: int | None = None
    """The last revocation heard of, seconds since 1970; perhaps before it was known whose token this is."""
    _unsent: int = 0
    _follows: dict[str, Follow] = field(default_factory=dict)
    _now: float = 0.0
    _heard: float = 0.0
    _pinged: float | None = None
    """When the hub asked for a sign of life that has not come so far."""
    _expires: float | None = None
    _warned: bool = False
    _out: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._now = self._heard = self.now

    # ---- inputs --------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """One WebSocket message."""
        if self._closed:
            return []
        self._now = self._heard = now
        self._pinged = None
        try:
            if self.claims is None:
                self._first(message)
            else:
                self._frame(decode(message, self.protocol))
        except Malformed as refused:
            self._enqueue(Refusal(refused.ref, refused))
        except Broken as broken:
            self._close(broken.code, broken.reason)
        return self._take()

    def answered(self, request: Request, answer: object, now: float) -> list[Action]:
        """The answer to a `Do`: what the request promises, or a `Refused` or `Broken` as a value."""
        if self._closed:
            return []
        self._now = now
        if isinstance(answer, Broken):
            self._close(answer.code, answer.reason)
        elif isinstance(answer, Refused) and answer.code is Code.REVOKED:
            self._close(CloseCode.FORBIDDEN, "this user's tokens were revoked")
        else:
            self._answer(request, answer)
            self._work()
        return self._take()

    def event(self, event: Event, frame: Encoded, now: float) -> list[Action]:
        """One event of the user, on whatever channel."""
        follow = self._follows.get(event.channel)
        if follow is None or self._closed:
            return []
        self._now = now
        if follow.held is not None:
            follow.keep(event, frame)
        else:
            self._advance(follow, event, frame)
        return self._take()

    def doubt(self, now: float) -> list[Action]:
        """Something may have been missed: read every followed channel from its cursor."""
        self._now = now
        for follow in self._follows.values():
            self._repair(follow)
        return self._take()

    def checked(self, tops: dict[str, str], revoked_before: int | None, now: float) -> list[Action]:
        """What the periodic check read: the cursors of feeds, and the user's last revocation."""
        if self._closed:
            return []
        self._now = now
        if revoked_before is not None:
            self._revoked_before = revoked_before
            self._end_if_revoked()
        for handle, top in tops.items():
            follow = self._follows.get(handle)
            if follow is not None and follow.held is None and follow.cursor != top:
                self._repair(follow)
        return self._take()

    def sent(self, size: int, now: float) -> list[Action]:
        """One frame of this size has left."""
        self._now = now
        self._unsent -= size + OBJECT_BYTES
        if not self._closed and (self._slices or self._waiting) and self._unsent <= START_BYTES:
            self._work()
        return self._take()

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        if self._closed:
            return []
        self._now = now
        if self.claims is None:
            if now >= self.now + self.timing.auth_s and not self._authenticating:
                self._close(CloseCode.AUTH_TIMEOUT, f"no auth within {self.timing.auth_s:g} s")
            return self._take()
        self._tick_silence(now)
        self._tick_token(now)
        if now >= self.now + self.timing.max_age_s:
            self._close(CloseCode.MAX_AGE, "this socket is old; come back")
        for follow in self._follows.values():
            due = follow.repair_at is not None and now >= follow.repair_at
            if due or (follow.dropped_at is not None and now >= follow.dropped_at + SETTLE_S):
                self._repair(follow)
        return self._take()

    def close(self, code: CloseCode, reason: str) -> list[Action]:
        """The hub wants this socket to end."""
        self._close(code, reason)
        return self._take()

    def abandon(self) -> None:
        """The socket is gone: nothing is to be done any more."""
        self._closed = True

    @property
    def next_tick(self) -> float | None:
        """When `tick` is needed at the latest."""
        if self._closed:
            return None
        if self.claims is None:
            return self.now + self.timing.auth_s
        silence = self._heard + self.timing.ping_s if self._pinged is None else self._pinged + self.timing.pong_s
        due = [silence, self.now + self.timing.max_age_s]
        if self._expires is not None:
            due.append(self._expires if self._warned else self._warn_at)
        for follow in self._follows.values():
            if follow.repair_at is not None:
                due.append(follow.repair_at)
            if follow.dropped_at is not None:
                due.append(follow.dropped_at + SETTLE_S)
        return min(due)

    @property
    def authenticated(self) -> bool:
        return self.claims is not None

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def follows(self) -> tuple[str, ...]:
        """Handles of the followed channels."""
        return tuple(self._follows)

    # ---- frames --------------------------------------------------------------------------------------

    def _first(self, message: str | bytes) -> None:
        auth = decode_first(message, self.protocol)
        self._authenticating = True
        self._out.append(Do(Admit(auth)))

    def _frame(self, frame: ClientFrame) -> None:
        match frame:
            case frames.Ping():
                self._send(frames.pong(frame.ref))
            case frames.Pong():
                pass
            case frames.Refresh():
                self._refresh(frame)
            case Auth():
                refused = Refused(Code.INVALID_REQUEST, "this socket is authenticated already")
                self._enqueue(Refusal(None, refused))
            case _:
                self._enqueue(frame)

    def _refresh(self, frame: frames.Refresh) -> None:
        if self._renewing:
            self._refuse(frame.ref, Refused(Code.RATE_LIMITED, "one refresh at a time"))
            return
        self._renewing = True
        self._out.append(Do(Renew(frame.ref, frame.token)))

    def _enqueue(self, frame: ClientFrame | Refusal) -> None:
        if sum(not isinstance(turn, Repair) for turn in self._waiting) < frames.WAITING:
            self._waiting.append(frame)
            self._work()
            return
        self._refused += 1
        message = f"{frames.WAITING + 1} frames wait, at most {frames.WAITING}"
        self._refuse(_ref(frame), Refused(Code.RATE_LIMITED, message))
        if self._refused > REFUSED:
            self._close(CloseCode.RATE_LIMITED, f"{self._refused} frames refused, at most {REFUSED}")

    # ---- work, one piece at a time -------------------------------------------------------------------

    def _work(self) -> None:
        """Sends what is left of a replay, then starts the next piece of work, while the client keeps up."""
        while not self._closed and self._unsent <= START_BYTES:
            if self._slices:
                self._send(self._slices.pop())
                if not self._slices:
                    self._finish()
            elif self._busy is None and self._waiting:
                self._start(self._waiting.pop(0))
            else:
                break
        if not self._waiting:
            self._refused = 0

    def _start(self, work: ClientFrame | Repair | Refusal) -> None:
        if isinstance(work, Repair):
            follow = self._follows.get(work.handle)
            if follow is not None and follow.dirty:  # else a subscribe or a leave has voided it
                follow.dirty = False
                follow.hold()
                self._do(Read(follow.channel, follow.cursor, 20, None))
            return
        if isinstance(work, Refusal):
            self._refuse(work.ref, work.refused)
            return
        assert isinstance(work, frames.Subscribe | frames.Unsubscribe | frames.Mark | frames.List)
        channel = self._resolve(work.channel)
        if channel is None:
            named = work.channel[:64]
            refused = Refused(Code.NOT_FOUND, f"no such channel: {named!r}", resource="channel", id=named)
            self._refuse(work.ref, refused)
            return
        match work:
            case frames.Subscribe():
                self._subscribe(work, channel)
            case frames.Unsubscribe():
                self._follows.pop(channel.handle, None)
                self._send(frames.unsubscribed(work.ref, channel.handle))
            case frames.Mark():
                self._do(Apply(channel, work))
            case frames.List():
                if channel.handle in self._follows:
                    self._follows[channel.handle].hold()
                self._do(Fetch(channel, work))

    def _subscribe(self, frame: frames.Subscribe, channel: Channel) -> None:
        if channel.handle not in self._follows and len(self._follows) >= frames.CHANNELS:
            message = f"{frames.CHANNELS + 1} channels, at most {frames.CHANNELS}"
            self._refuse(frame.ref, Refused(Code.LIMIT, message))
            return
        # A new Follow voids a queued repair of the old one; it holds events back from here on.
        follow = self._follows[channel.handle] = Follow(channel, frame.cursor)
        follow.hold()
        self._do(Read(channel, frame.cursor, frame.limit, frame))

    def _do(self, request: Request) -> None:
        self._busy = request
        self._out.append(Do(request))

    # ---- answers -------------------------------------------------------------------------------------

    def _answer(self, request: Request, answer: object) -> None:
        match request, answer:
            case Admit(), Admission():
                self._admitted(answer)
            case Renew(), _:
                self._renewed(request, answer)
            case Read(), CatchUp():
                self._caught_up(request, answer)
            case Read(frame=None), _:
                self._repair_failed(request)
            case Apply(), Marked():
                self._finish(frames.ack(request.frame.ref, request.channel.handle, answer))
            case Fetch(), Page():
                upwards = request.frame.filters.before is not None
                self._finish(frames.page_frame(request.frame.ref, request.channel.handle, answer, upwards))
            case Read() | Apply() | Fetch(), Refused():
                if isinstance(request, Read):
                    self._follows.pop(request.channel.handle, None)
                assert request.frame is not None
                self._finish(frames.error(request.frame.ref, answer))
            case _:
                raise TypeError(f"{type(answer).__name__} does not answer {type(request).__name__}")

    def _end_if_revoked(self) -> None:
        if self.claims is not None and revoked(self.claims, self._revoked_before):
            self._close(CloseCode.FORBIDDEN, "this user's tokens were revoked")

    def _admitted(self, admission: Admission) -> None:
        self._authenticating = False
        self.claims, self._resolve = admission.claims, admission.resolve
        self._end_if_revoked()
        self._heard = self._now
        self._set_expiry(admission.lives_s)
        ends = _ends(self.claims)
        self._send(frames.welcome(self.session, self.claims.user, ends, self.timing.ping_s))
        self._tick_token(self._now)

    def _renewed(self, request: Renew, answer: object) -> None:
        self._renewing = False
        if isinstance(answer, Refused):
            self._refuse(request.ref, answer)
            return
        assert isinstance(answer, Admission)
        self.claims = answer.claims
        self._end_if_revoked()
        self._set_expiry(answer.lives_s)
        self._send(frames.refreshed(request.ref, _ends(answer.claims)))

    def _caught_up(self, request: Read, found: CatchUp) -> None:
        handle = request.channel.handle
        follow = self._follows[handle]
        follow.cursor, follow.settling, follow.dropped_at = found.cursor, True, None
        self._slices = [frames.event(event) for event in reversed(found.events)]
        frame = request.frame
        if frame is not None or found.mode == "snapshot":
            ref = frame.ref if frame is not None else None
            missed = len(found.events)
            self._slices.append(
                frames.subscribed(ref, request.channel, found.mode, found.cursor, found.counts, found.page, missed)
            )
        if not self._slices:
            self._finish()

    def _repair_failed(self, request: Read) -> None:
        follow = self._follows[request.channel.handle]
        follow.repair_at = self._now + REPAIR_RETRY_S
        self._finish()

    def _finish(self, frame: Encoded | None = None) -> None:
        """The piece of work is done: its last frame goes out, and then what was held back meanwhile."""
        done, self._busy = self._busy, None
        if frame is not None:
            self._send(frame)
        if isinstance(done, Read | Fetch):
            follow = self._follows.get(done.channel.handle)
            if follow is not None:
                self._release(follow)

    def _release(self, follow: Follow) -> None:
        held, follow.held, follow.held_bytes = follow.held or [], None, 0
        for event, frame in held:
            self._advance(follow, event, frame)
        if follow.dirty:
            follow.dirty = False
            self._repair(follow)

    # ---- events --------------------------------------------------------------------------------------

    def _advance(self, follow: Follow, event: Event, frame: Encoded) -> None:
        """The chain rule: what links goes out. Never by comparing which cursor is larger."""
        if event.prev == follow.cursor:
            follow.cursor, follow.settling, follow.dropped_at = event.cursor, False, None
            self._send(frame)
        elif event.cursor == follow.cursor:
            follow.settling, follow.dropped_at = False, None
        elif not follow.settling:
            self._repair(follow)
        elif follow.dropped_at is None:
            follow.dropped_at = self._now

    def _repair(self, follow: Follow) -> None:
        """Has the log read again from the follow's cursor; once, however many reasons there are."""
        follow.dropped_at = follow.repair_at = None
        if not follow.dirty:
            follow.dirty = True
            if follow.held is None:  # else it comes when what is held is released
                self._waiting.insert(0, Repair(follow.channel.handle))
                self._work()

    # ---- time ----------------------------------------------------------------------------------------

    def _tick_silence(self, now: float) -> None:
        silent = now - self._heard
        if self._pinged is None:
            if silent >= self.timing.ping_s:
                self._pinged = now
                self._send(frames.PING)
        elif now >= self._pinged + self.timing.pong_s:  # counted from the ping: this process may have stood still
            self._close(CloseCode.NO_PONG, f"nothing heard for {silent:.0f} s")

    def _set_expiry(self, lives_s: float | None) -> None:
        self._expires = None if lives_s is None else self._now + lives_s
        self._warned = False

    @property
    def _warn_at(self) -> float:
        assert self._expires is not None
        return self._expires - self.timing.leeway_s - EXPIRING_S

    def _tick_token(self, now: float) -> None:
        if self._expires is None or self.claims is None:
            return
        if now >= self._expires:
            self._close(CloseCode.TOKEN_EXPIRED, "the token has expired; come back with a fresh one")
        elif now >= self._warn_at and not self._warned:
            self._warned = True
            ends = _ends(self.claims)
            assert ends is not None
            self._send(frames.expiring(ends))

    # ---- output --------------------------------------------------------------------------------------

    def _send(self, frame: Encoded) -> None:
        if self._closed:
            return
        self._unsent += frame.size + OBJECT_BYTES
        self._out.append(Send(frame))
        if self._unsent > SLOW_BYTES:
            self._close(CloseCode.SLOW, f"{self._unsent} bytes unsent, at most {SLOW_BYTES}")

    def _refuse(self, ref: Ref, refused: Refused) -> None:
        self._send(frames.error(ref, refused))

    def _close(self, code: CloseCode, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._waiting.clear()
        self._slices.clear()
        self._follows.clear()
        self._out.append(Send(frames.bye(code, reason, _DELAY_MS.get(code, frames.RETRY_MS))))
        self._out.append(Close(code, reason))

    def _take(self) -> list[Action]:
        out, self._out = self._out, []
        return out


def _ref(frame: ClientFrame | Refusal) -> Ref:
    return getattr(frame, "ref", None)


def _ends(claims: Claims) -> str | None:
    return None if claims.expires_at is None else timestamp(int(claims.expires_at * 1_000_000))
