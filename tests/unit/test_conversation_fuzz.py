"""Random conversations in a random world: nothing a client sends, and nothing that pub/sub loses, doubles or delays,
breaks the rules that every client relies on. Set BELLHUB_FUZZ_EXAMPLES for more (5,000 are a million frames)."""

import json
import os
import random
from dataclasses import dataclass, field
from typing import Any

import msgpack
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hub import frames
from hub.actions import Admission, Admit, Apply, Close, Do, Fetch, Read, Renew, Request, Send
from hub.errors import Broken, CloseCode, Code, Refused
from hub.frames import JSON_PROTOCOL, MSGPACK_PROTOCOL
from hub.model import START, CatchUp, Channel, Claims, Counts, Entry, Event, Marked, Page
from hub.protocol import SLOW_BYTES, Conversation, Timing

EXAMPLES = int(os.environ.get("BELLHUB_FUZZ_EXAMPLES", "120"))
FRAMES = 200
CHANNELS = {name: Channel(f"0000000{n}-0000-4000-8000-000000000000", name) for n, name in enumerate(("inbox", "news"))}
TIMING = Timing(auth_s=50, ping_s=25, pong_s=50, max_age_s=3600, leeway_s=30)
NOTHING = Counts(0, 0, 0)


@dataclass
class World:
    """A store whose pub/sub is worse than any real one, a hub that carries out actions late, and a strict client."""

    dice: random.Random
    packed: bool
    lossy: bool
    now: float = 100.0
    logs: dict[str, list[Event]] = field(default_factory=lambda: {name: [] for name in CHANNELS})
    under_way: list[Event] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    replies: list[object] = field(default_factory=list)
    """What the store has answered to the first of `requests`; the world goes on until the hub hears it."""
    unsent: list[int] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    replaying: dict[str, tuple[str, int]] = field(default_factory=dict)
    resumes: dict[str, str | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    in_order: list[str] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        protocol = MSGPACK_PROTOCOL if self.packed else JSON_PROTOCOL
        self.talk = Conversation("s1", protocol, TIMING, self.now)

    # ---- what happens ------------------------------------------------------------------------------

    def step(self) -> None:
        self.now += self.dice.choice((0, 0.01, 0.3, 5))
        often = (self.client, self.deliver, self.execute, self.answer)
        happening = self.dice.choice((*often, *often, self.client, self.publish, self.drain, self.time, self.trouble))
        happening()

    def client(self) -> None:
        self.perform(self.talk.receive(self.encode(self.message()), self.now))

    def publish(self) -> None:
        name = self.dice.choice(list(CHANNELS))
        log = self.logs[name]
        prev = log[-1].cursor if log else START
        cursor = f"{1_700_000_000_000_000 + len(log) + 1}-{self.dice.getrandbits(32)}"
        event = Event(name, cursor, prev, NOTHING, "gone", ids=("x",), reason="withdrawn")
        log.append(event)
        if not self.lossy or self.dice.random() < 0.9:  # else pub/sub loses it
            self.under_way.extend([event] * self.dice.choice((1, 1, 1, 2)))
        if self.lossy and self.dice.random() < 0.02:  # a failover: the tail is gone, and others follow
            del log[-self.dice.randint(1, len(log)) :]

    def deliver(self) -> None:
        if self.under_way:
            event = self.under_way.pop(0)
            self.perform(self.talk.event(event, frames.event(event), self.now))

    def execute(self) -> None:
        if len(self.replies) < len(self.requests):
            self.replies.append(self.reply(self.requests[len(self.replies)]))

    def answer(self) -> None:
        if self.replies:
            self.perform(self.talk.answered(self.requests.pop(0), self.replies.pop(0), self.now))

    def drain(self) -> None:
        sizes, self.unsent = self.unsent, []
        for size in sizes:
            self.perform(self.talk.sent(size, self.now))

    def time(self) -> None:
        self.perform(self.talk.tick(self.now))

    def trouble(self) -> None:
        match self.dice.randrange(3 if self.lossy else 1):
            case 0:
                self.perform(self.talk.doubt(self.now))
            case 1:
                self.check()
            case _:
                self.perform(self.talk.checked({}, self.dice.choice((None, 1)), self.now))

    def check(self) -> None:
        tops = {name: self.top(name) for name in self.logs}
        self.perform(self.talk.checked(tops, None, self.now))

    def come_to_rest(self) -> None:
        """Everything under way arrives, everything asked is answered."""
        for _ in range(10 * FRAMES):
            if self.closed or not (self.requests or self.unsent or self.under_way):
                return
            for happening in (self.execute, self.deliver, self.answer, self.drain):
                happening()
        raise AssertionError("it never comes to rest")

    # ---- the store ---------------------------------------------------------------------------------

    def reply(self, request: Request) -> object:
        if self.lossy and self.dice.random() < 0.05 and not isinstance(request, Admit):
            return Refused(self.dice.choice((Code.UNAVAILABLE, Code.NOT_FOUND, Code.INTERNAL)), "no")
        match request:
            case Admit() | Renew():
                if self.dice.random() < 0.01:
                    return Broken(CloseCode.BAD_TOKEN, "no")
                lives = 40.0 if self.dice.random() < 0.02 else self.dice.choice((None, 9000.0))
                return Admission(Claims("p", "ann", 100, lives), CHANNELS.get, lives)
            case Read(channel, cursor):
                return self.catch_up(channel.handle, cursor)
            case Apply(channel):
                return Marked(self.top(channel.handle), NOTHING, ("x",), self.dice.random() < 0.1)
            case Fetch(channel):
                return self.page(channel.handle)

    def catch_up(self, name: str, cursor: str | None) -> CatchUp:
        log, top = self.logs[name], self.top(name)
        if cursor == top:
            return CatchUp("live", top, NOTHING)
        places = [START, *(event.cursor for event in log)]
        if cursor in places:
            return CatchUp("replay", top, NOTHING, events=tuple(log[places.index(cursor) :]))
        return CatchUp("snapshot", top, NOTHING, page=self.page(name))

    def page(self, name: str) -> Page:
        body = json.dumps({"id": "x", "data": {"title": "t" * self.dice.choice((1, 1, 200_000))}})[:-1]
        return Page((Entry("x", body, 1_700_000_000_000_000),), 20, self.top(name), NOTHING, None, None)

    def top(self, name: str) -> str:
        return self.logs[name][-1].cursor if self.logs[name] else START

    # ---- the client --------------------------------------------------------------------------------

    def message(self) -> Any:
        if self.talk.claims is None and self.dice.random() < 0.95:
            return {"type": "auth", "api_key": "pk", "user": "ann"}
        ref = f"r{len(self.asked)}"
        channel = self.dice.choice(("inbox", "inbox", "news", CHANNELS["news"].id, "none"))
        kind = self.dice.choice(
            ("subscribe", "subscribe", "unsubscribe", "read", "list", "ping", "refresh", "odd", "pong")
        )
        message: dict[str, Any] = {"type": kind, "ref": ref, "channel": channel}
        match kind:
            case "subscribe":
                message["cursor"] = self.dice.choice((self.cursors.get("inbox", START), "1600000000000000-1", None))
                self.resumes[ref] = message["cursor"]
            case "read":
                message |= self.dice.choice(({"ids": ["x"]}, {"upto": START}, {"ids": "x"}, {}))
            case "refresh":
                message["token"] = "t"
            case "odd":
                message |= {
                    "type": self.dice.choice(("auth", "entry", "zzz")),
                    "limit": self.dice.choice((0, 1e30, [])),
                }
            case "pong":
                return {"type": "pong"}
        if self.dice.random() < 0.001:
            return self.dice.choice(([], "x", {"type": 1}))
        self.asked.append(ref)
        if kind in ("subscribe", "unsubscribe", "list", "read"):
            self.in_order.append(ref)
        return message

    def encode(self, message: Any) -> str | bytes:
        return msgpack.packb(message) if self.packed else json.dumps(message)

    # ---- what must hold ----------------------------------------------------------------------------

    def perform(self, actions: list[Any]) -> None:
        for action in actions:
            assert not self.closed, f"{action} after the end"
            match action:
                case Send(frame):
                    self.unsent.append(frame.size)
                    self.receive(json.loads(frame.text))
                case Do(request):
                    self.requests.append(request)
                    work = [r for r in self.requests if isinstance(r, Read | Apply | Fetch)]
                    assert len(work) <= 1, "two pieces of work at once"
                case Close():
                    self.closed = True
        assert sum(self.unsent) <= SLOW_BYTES + frames.HUB_FRAME_BYTES

    def receive(self, frame: dict[str, Any]) -> None:
        kind, name = frame["type"], frame.get("channel")
        if "ref" in frame:
            self.answered.append(frame["ref"])
            if frame.get("code") in ("rate_limited", "invalid_request"):  # out of the order
                self.refused.add(frame["ref"])
        match kind:
            case "subscribed":
                self.replaying.pop(name, None)
                self.cursors[name] = frame["cursor"]
                if frame["mode"] == "replay":  # exactly so many events lead from where the client was to there
                    self.cursors[name] = self.resumes[frame["ref"]] or ""
                    self.replaying[name] = (frame["cursor"], frame["missed"])
            case "gone":
                assert frame["prev"] == self.cursors[name], "the chain is broken"
                self.cursors[name] = frame["cursor"]
                if name in self.replaying:
                    end, left = self.replaying.pop(name)
                    assert (frame["cursor"] == end) == (left == 1), "a replay that does not end where it said"
                    if left > 1:
                        self.replaying[name] = (end, left - 1)
            case "page":
                shown = self.cursors.get(name)
                places = [event.cursor for event in self.logs[name]]
                if shown in places and frame["cursor"] in places:
                    assert places.index(shown) <= places.index(frame["cursor"]), "a page older than an event sent"
            case "unsubscribed":
                self.cursors.pop(name, None)
                self.replaying.pop(name, None)


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), packed=st.booleans(), lossy=st.booleans())
def test_a_conversation_keeps_its_rules_in_any_world(seed: int, packed: bool, lossy: bool) -> None:
    world = World(random.Random(seed), packed, lossy)
    for _ in range(FRAMES * 3):
        world.step()
        if world.closed:
            break
    world.perform(world.talk.doubt(world.now))  # the last events arrive while the log is being read
    world.execute()
    world.publish()
    world.come_to_rest()
    assert len(set(world.answered)) == len(world.answered), "a frame was answered twice"
    if not world.closed:
        assert set(world.answered) == set(world.asked), "a frame was never answered"
        order = [ref for ref in world.answered if ref in world.in_order and ref not in world.refused]
        assert order == [ref for ref in world.in_order if ref in order], "answered out of order"
    event(f"at the end {'closed' if world.closed else 'open'}")
    for _ in range(20 if lossy else 1):  # the world is whole again; where nothing was lost nobody need check
        if lossy:
            world.lossy = False
            world.check()
        world.now += 2
        world.time()
        world.come_to_rest()
    if not world.closed:
        shown = {name: world.cursors[name] for name in world.talk.follows}
        assert shown == {name: world.top(name) for name in shown}, "a session stays behind"
