"""What is measured, and how. Each scenario runs alike against the hub and against the reference server."""

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles

from tests.bench.load import NUMBER, Door, Load, PipeDoor, RestDoor, Session, Tally
from tests.bench.processes import ServerProcess, cpu_us, rss_kib

WARM_UP = 0.25
"""Part of a run's time that goes by before anything is counted."""
CONNECTIONS = 16
"""Keep-alive connections of the producer; each has one send under way."""
WINDOW = 64
"""Sends under way through the engine: written, and not yet received by every session."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything. `users` have `per_user` sessions each; `rate` is sends a second, open loop."""

    seconds: float = 2.0
    users: int = 100
    per_user: int = 2
    rate: int = 500
    connects: int = 1000
    idle: tuple[int, ...] = (1000, 5000)


@dataclass(frozen=True, slots=True)
class Bed:
    """What a scenario runs against. `redis_pid` is None for the reference, which has none."""

    server: ServerProcess
    redis_pid: int | None
    api_key: str
    secret: str
    token: Callable[[str], str]

    def load(self) -> Load:
        return Load(self.server.port, self.api_key, self.token)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; None where this system cannot tell."""

    name: str
    value: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Outcome:
    figures: list[Figure]
    tally: Tally


Scenario = Callable[[Bed, Size], Awaitable[Outcome]]


# ---- measuring ---------------------------------------------------------------------------------------


class Meter:
    """Time, operations and CPU between its making and `figures`."""

    def __init__(self, bed: Bed, done: Callable[[], int]) -> None:
        self._bed = bed
        self._done = done
        self._start = self._read()

    def _read(self) -> tuple[float, int, float | None, float | None, float]:
        redis = None if self._bed.redis_pid is None else cpu_us(self._bed.redis_pid)
        return time.perf_counter(), self._done(), cpu_us(self._bed.server.pid), redis, time.process_time() * 1e6

    def figures(self, name: str, one: str) -> list[Figure]:
        """Rate and cost of what was done meanwhile; `one` is the unit of doing it once."""
        now, before = self._read(), self._start
        seconds, count = now[0] - before[0], now[1] - before[1]
        server, redis, load = (_difference(now[i], before[i]) for i in (2, 3, 4))
        return [
            Figure(f"{name}, rate", count / seconds, f"{one}s/s"),
            Figure(f"{name}, CPU of the server", _share(server, count), f"µs/{one}"),
            Figure(f"{name}, CPU of Redis", _share(redis, count), f"µs/{one}"),
            Figure(f"{name}, CPU of the load client", _share(load, count), f"µs/{one}"),
            Figure(f"{name}, the server's core in use", _share(server, seconds * 1e4), "%"),
        ]


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _share(whole: float | None, parts: float) -> float | None:
    return None if whole is None or not parts else whole / parts


def percentiles(name: str, seconds: list[float]) -> list[Figure]:
    """p50 and p99 in ms. Raises ValueError for fewer than two samples."""
    if len(seconds) < 2:
        raise ValueError(f"{name}: {len(seconds)} samples, at least 2")
    cuts = quantiles(seconds, n=100, method="inclusive")
    return [Figure(f"{name}, p50", cuts[49] * 1000, "ms"), Figure(f"{name}, p99", cuts[98] * 1000, "ms")]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The load client collects no garbage while it measures: its pauses would be taken for the server's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:05d}" for number in range(count)]


async def _crowd(bed: Bed, size: Size) -> Load:
    """`users` with `per_user` sessions each, all following `inbox`."""
    load = bed.load()
    users = _names("user", size.users)
    await load.connect(users * size.per_user)
    return load


# ---- sends -------------------------------------------------------------------------------------------


class Sends:
    """Sends to one user after the other through a door; `done` of those `issued` are over."""

    def __init__(self, load: Load, door: Door) -> None:
        self.issued = 0
        self.done = 0
        self.going_on = True
        self._load = load
        self._door = door
        self._users = itertools.cycle(load.sessions)

    def issue(self) -> None:
        user = next(self._users)
        self._load.expected[user] += 1
        self.issued += 1
        self._door.send(user, self.issued)

    def one_done(self) -> None:
        """Closed loop: the next one leaves when one is over."""
        self.done += 1
        if self.going_on:
            self.issue()

    async def finish(self) -> Tally:
        self.going_on = False
        return await self._load.settle(lambda: self.done >= self.issued)


async def send(bed: Bed, size: Size) -> Outcome:
    """Sends over REST, closed loop: one under way on each keep-alive connection, over when it was answered."""
    load = await _crowd(bed, size)
    door = RestDoor(load, bed.secret, lambda: sends.one_done())
    sends = Sends(load, door)
    await door.open(bed.server.port, CONNECTIONS)
    outcome = await _closed_loop("send over REST", bed, size, load, sends, CONNECTIONS)
    door.close()
    return outcome


async def engine(bed: Bed, size: Size) -> Outcome:
    """Sends that the hub process makes itself, closed loop: a send is over when every session has it."""
    load = await _crowd(bed, size)
    sends = Sends(load, PipeDoor(bed.server.stdin))
    received = itertools.count(1)

    def on_event(session: Session, payload: bytes) -> None:
        if next(received) % size.per_user == 0:
            sends.one_done()

    load.on_event = on_event
    return await _closed_loop("send by the engine", bed, size, load, sends, WINDOW)


async def _closed_loop(name: str, bed: Bed, size: Size, load: Load, sends: Sends, window: int) -> Outcome:
    with _undisturbed():
        for _ in range(window):
            sends.issue()
        await load.go_on(size.seconds * WARM_UP)
        meter = Meter(bed, lambda: sends.done)
        await load.go_on(size.seconds)
        figures = meter.figures(name, "send")
        tally = await sends.finish()
    load.end()
    return Outcome(figures, tally)


# ---- latency -----------------------------------------------------------------------------------------


def metronome(start: float, interval: float, count: int, beat: Callable[[int], None]) -> threading.Thread:
    """Calls `beat` in this loop at `start + n * interval`, however late the beats before were dealt with.

    A thread, because the timers of event loops are a millisecond wide.
    """
    loop = asyncio.get_running_loop()

    def run() -> None:
        for number in range(count):
            time.sleep(max(0.0, start + number * interval - time.perf_counter()))
            loop.call_soon_threadsafe(beat, number)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


async def latency(bed: Bed, size: Size) -> Outcome:
    """From send to receipt, open loop: each send has its time before the first one leaves, and its latency counts
    from then, even if the hub, or the load client itself, kept it waiting (no coordinated omission)."""
    load = await _crowd(bed, size)
    door = RestDoor(load, bed.secret, lambda: sends.one_done())
    sends = Sends(load, door)
    sends.going_on = False  # the schedule alone says when the next one leaves
    await door.open(bed.server.port, 4 * CONNECTIONS)
    warm = int(size.rate * size.seconds * WARM_UP)
    start, interval = time.perf_counter() + 0.1, 1 / size.rate
    waits: list[float] = []
    late: list[float] = []

    def beat(number: int) -> None:
        late.append(time.perf_counter() - (start + number * interval))
        sends.issue()

    def on_event(session: Session, payload: bytes) -> None:
        found = NUMBER.search(payload)
        assert found is not None
        number = int(found[1]) - 1  # `Sends` counts from 1
        if number >= warm:
            waits.append(time.perf_counter() - (start + number * interval))

    load.on_event = on_event
    count = warm + int(size.rate * size.seconds)
    with _undisturbed():
        beats = metronome(start, interval, count, beat)
        await load.go_on(start + count * interval - time.perf_counter())
        await asyncio.to_thread(beats.join)
        tally = await sends.finish()
    door.close()
    load.end()
    name = f"send to receipt at {size.rate}/s"
    figures = percentiles(name, waits)
    lateness = percentiles(f"{name}, of that the load client's own lateness", late[warm:])
    return Outcome([*figures, lateness[1]], tally)


# ---- marks -------------------------------------------------------------------------------------------


async def mark(bed: Bed, size: Size) -> Outcome:
    """Marks over the sockets: each session archives an entry of its own, takes it back, and so on, with one mark
    under way. Every mark changes something, so every session of the user is told."""
    load = await _crowd(bed, size)
    entries = await _give_entries(bed, load)
    trips: list[float] = []
    issued = 0
    going_on = True

    def next_mark(session: Session) -> None:
        nonlocal issued
        issued += 1
        load.expected[session.user] += 1
        session.mark("unarchive" if session.asked % 2 else "archive", entries[session])

    def on_ack(session: Session, payload: bytes) -> None:
        trips.append(time.perf_counter() - session.asked_at)
        if going_on:
            next_mark(session)

    load.on_ack = on_ack
    with _undisturbed():
        for session in load.all_sessions:
            next_mark(session)
        await load.go_on(size.seconds * WARM_UP)
        warm = len(trips)
        meter = Meter(bed, lambda: len(trips))
        await load.go_on(size.seconds)
        figures = meter.figures("mark", "mark")
        figures += percentiles("mark to ack, all sessions at once", trips[warm:])
        going_on = False
        tally = await load.settle(lambda: len(trips) >= issued)
    load.end()
    return Outcome(figures, tally)


async def _give_entries(bed: Bed, load: Load) -> dict[Session, str]:
    """Sends every user as many entries as it has sessions; which session marks which."""
    door = RestDoor(load, bed.secret, lambda: sends.one_done())
    sends = Sends(load, door)
    sends.going_on = False
    await door.open(bed.server.port, CONNECTIONS)
    for _ in load.all_sessions:
        sends.issue()
    tally = await sends.finish()
    if tally != Tally(0, 0):
        raise RuntimeError(f"before the marks: {tally}")
    door.close()
    rows = (zip(sessions, sessions[0].entries, strict=True) for sessions in load.sessions.values())
    return {session: entry.decode() for row in rows for session, entry in row}


# ---- connects and memory -----------------------------------------------------------------------------


async def connect(bed: Bed, size: Size) -> Outcome:
    """Sockets that connect, show an ES256 token and subscribe, 64 at once, each of another user."""
    load = bed.load()
    await load.connect(_names("warm", max(1, size.connects // 10)))
    users = _names("new", size.connects)
    for user in users:
        bed.token(user)  # signed, and remembered, before the clock runs
    with _undisturbed():
        meter = Meter(bed, lambda: len(load.all_sessions))
        await load.connect(users)
        figures = meter.figures("connect", "connect")
        tally = await load.settle(lambda: True)
    load.end()
    return Outcome(figures, tally)


async def idle(bed: Bed, size: Size) -> Outcome:
    """Memory of a session that is authenticated and follows its feed, each of another user."""
    return await _memory(bed, size, follow=True)


async def idle_unsubscribed(bed: Bed, size: Size) -> Outcome:
    """Memory of a session that is authenticated and follows nothing."""
    return await _memory(bed, size, follow=False)


async def _memory(bed: Bed, size: Size, follow: bool) -> Outcome:
    load = bed.load()
    await load.connect(_names("first", 10), follow=follow)  # what is loaded with the first sessions is no session's
    before = rss_kib(bed.server.pid)
    figures = []
    users = iter(_names("idle", max(size.idle)))
    there = 0
    for count in sorted(size.idle):
        await load.connect(itertools.islice(users, count - there), follow=follow)
        there = count
        await load.go_on(0.5)  # what was allocated for the moment of connecting is given back
        grown = _difference(rss_kib(bed.server.pid), before)
        what = "subscribed" if follow else "not subscribed"
        figures.append(Figure(f"memory of a session, {count:,} {what}", _share(grown, count), "KiB"))
    tally = await load.settle(lambda: True)
    load.end()
    return Outcome(figures, tally)


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario for scenario in (send, engine, latency, mark, connect, idle, idle_unsubscribed)
}
