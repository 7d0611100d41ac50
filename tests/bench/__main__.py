"""`python -m tests.bench [scenario ...]`: the figures of this machine, each beside those of the reference server.

The hub and the reference run in turns, so that what else the machine does meets both. Figures are medians of the
rounds; a ratio is the median of the rounds' own ratios. See `docs/performance.md`.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from statistics import median

from hub.frames import event
from hub.model import START, Counts, Event
from hub.sending import entry_body, new_entry_id, read_sending
from tests.bench.load import notification, rest_request, run
from tests.bench.processes import ENGINE, HUB, ROOT, Cores, ServerProcess, pin, raise_file_limit
from tests.bench.scenarios import SCENARIOS, Bed, Figure, Outcome, Size
from tests.harness import Doors, RedisServer, set_up

LIBRARIES = ("uvicorn", "starlette", "websockets", "uvloop", "httptools", "redis", "hiredis", "pyjwt", "cryptography")
SPARE_FILES = 200
"""Files that a process has open beside its sessions' sockets."""


@dataclass(frozen=True, slots=True)
class Row:
    figure: Figure
    ratio: float | None


class Bench:
    """Runs scenarios, each against processes of its own."""

    def __init__(self, size: Size, cores: Cores, *, aof: bool = False) -> None:
        self._size = size
        self._cores = cores
        self._aof = aof
        self._token = lru_cache(maxsize=None)(Doors().token)

    async def hub(self, name: str) -> Outcome:
        redis = RedisServer(aof=self._aof)
        try:
            api_key, secret = await set_up(redis.url)
            server = ServerProcess.hub(ENGINE if name == "engine" else HUB, redis.url, self._cores.server)
            assert redis.process is not None
            return await self._run(name, server, redis.process.pid, api_key, secret)
        finally:
            redis.remove()

    async def reference(self, name: str) -> Outcome:
        return await self._run(name, ServerProcess.reference(self._cores.server), None, "-", "-")

    async def _run(self, name: str, server: ServerProcess, redis_pid: int | None, api_key: str, secret: str) -> Outcome:
        try:
            await server.ready()
            return await SCENARIOS[name](Bed(server, redis_pid, api_key, secret, self._token), self._size)
        finally:
            server.stop()

    async def rows(self, name: str, rounds: int) -> list[Row]:
        """The figures of one scenario, and what was lost or doubled in all rounds."""
        pairs = [(await self.hub(name), await self.reference(name)) for _ in range(rounds)]
        columns = zip(*(zip(hub.figures, ref.figures, strict=True) for hub, ref in pairs), strict=True)
        rows = [_row(column) for column in columns]
        tallies = [outcome.tally for pair in pairs for outcome in pair]
        wrong = sum(tally.lost + tally.doubled for tally in tallies)
        return [*rows, Row(Figure(f"{name}: events lost or doubled", wrong, "events"), None)]


def _row(column: Iterable[tuple[Figure, Figure]]) -> Row:
    pairs = list(column)
    values = [hub.value for hub, _ in pairs if hub.value is not None]
    ratios = [hub.value / ref.value for hub, ref in pairs if hub.value is not None and ref.value]
    value = median(values) if values else None
    return Row(replace(pairs[0][0], value=value), median(ratios) if ratios else None)


# ---- the table ---------------------------------------------------------------------------------------


def line(row: Row) -> str:
    ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
    return f"{row.figure.name:<66} {_shown(row.figure.value):>10}  {row.figure.unit:<11} {ratio:>7}"


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def surroundings(size: Size, cores: Cores, rounds: int, aof: bool) -> str:
    """Everything that a figure depends on and that can be told."""
    body = len(rest_request("", "user-00000", 1).partition(b"\r\n\r\n")[2])
    entry = entry_body(new_entry_id(), read_sending(notification("user-00000", 1)))
    frame = event(Event("inbox", START, START, Counts(1, 1, 1), "entry", body=entry)).size
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    pinned = "not pinned" if cores.server is None else f"server on core {cores.server}, all else on {cores.rest}"
    return "\n".join(
        (
            f"revision {_revision()}, {platform.python_implementation()} {platform.python_version()}, {libraries}",
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {pinned}; loopback",
            f"Redis {'with appendfsync always' if aof else 'without persistence'}; "
            f"{size.users} users, {size.per_user} sessions each; body of a send {body} bytes, "
            f"frame of an event {frame} bytes",
            f"medians of {rounds} rounds of {size.seconds:g} s",
        )
    )


def _revision() -> str:
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# ---- the command line --------------------------------------------------------------------------------


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="*", help=f"any of {', '.join(SCENARIOS)}; all of them if none is named")
    parser.add_argument("--seconds", type=float, default=Size().seconds, help="time measured in each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each scenario, hub and reference in turns")
    parser.add_argument("--aof", action="store_true", help="Redis keeps an append-only file, appendfsync always")
    parsed = parser.parse_args(argv)
    for name in parsed.scenario:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    if parsed.seconds <= 0 or parsed.rounds < 1:
        parser.error(f"{parsed.seconds:g} seconds, {parsed.rounds} rounds: more than 0 and at least 1 are needed")
    return parsed


def fitting(size: Size, files: int) -> Size:
    """The sessions that the file limit leaves room for; says so when it is too low for all."""
    room = files - SPARE_FILES
    if room >= max(size.idle):
        return size
    print(
        f"warning: {files} open files allowed, {max(size.idle) + SPARE_FILES} needed: fewer sessions", file=sys.stderr
    )
    kept = tuple(count for count in size.idle if count <= room)
    return replace(size, idle=kept or (room,), connects=min(size.connects, room // 2))


async def bench(asked: argparse.Namespace) -> int:
    cores = Cores.apart()
    pin(0, cores.rest)
    size = fitting(Size(seconds=asked.seconds), raise_file_limit())
    runs = Bench(size, cores, aof=asked.aof)
    print(surroundings(size, cores, asked.rounds, asked.aof))
    print(f"\n{'figure':<66} {'value':>10}  {'unit':<11} {'÷ ref':>7}")
    wrong = 0.0
    for name in asked.scenario or SCENARIOS:
        rows = await runs.rows(name, asked.rounds)
        print("\n".join(map(line, rows)), flush=True)
        wrong += rows[-1].figure.value or 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run(bench(arguments(sys.argv[1:]))))
