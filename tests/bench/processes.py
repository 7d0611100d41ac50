"""The processes of a run, each on its core, and what the kernel says they cost."""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.harness import PATIENCE_S, free_port

ROOT = Path(__file__).parents[2]
HUB = ("-m", "hub", "serve")
ENGINE = ("-m", "tests.bench.engine")
REFERENCE = ("-m", "tests.bench.reference")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core what is measured runs on, and which one everything else; None: wherever the kernel likes."""

    server: int | None = None
    rest: int | None = None

    @classmethod
    def apart(cls) -> "Cores":
        """Two cores where the machine and its system allow for that."""
        if not hasattr(os, "sched_setaffinity"):
            return cls()
        mine = sorted(os.sched_getaffinity(0))
        return cls(mine[0], mine[1]) if len(mine) > 1 else cls()


def pin(pid: int, core: int | None) -> None:
    """Keeps a process, and what it will start, on one core. 0 is this process."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


_NO_LIMIT = "1000000000/minute"
"""Of requests with one key: counted as always, but never refused."""


class ServerProcess:
    """A server on a free port of this machine. Its standard input is a pipe: see `load.PipeDoor`."""

    def __init__(self, port: int, argv: tuple[str, ...], environment: dict[str, str], core: int | None) -> None:
        self.port = port
        self._argv = " ".join(argv)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `stop`)
        others = {name: value for name, value in os.environ.items() if not name.startswith("BELLHUB_")}
        self._process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env=others | environment,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
        )
        pin(self.pid, core)

    @classmethod
    def hub(cls, argv: tuple[str, ...], redis_url: str, core: int | None) -> "ServerProcess":
        """A hub with its settings as shipped, but for where it listens, its store and a limit never reached."""
        port = free_port()
        environment = {"BELLHUB_REDIS_URL": redis_url, "BELLHUB_PORT": str(port), "BELLHUB_KEY_RATE": _NO_LIMIT}
        return cls(port, argv, environment, core)

    @classmethod
    def reference(cls, core: int | None) -> "ServerProcess":
        port = free_port()
        return cls(port, (*REFERENCE, str(port)), {}, core)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    async def ready(self) -> None:
        """Waits until it answers. Raises RuntimeError with what it said, if it ended or does not come up."""
        deadline = time.monotonic() + PATIENCE_S
        while not await _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._argv} did not come up:\n{self._said()}")
            await asyncio.sleep(0.02)

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-4000:].decode(errors="replace")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._log.close()


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return b" 200 " in line


# ---- what they cost ----------------------------------------------------------------------------------


def cpu_us(pid: int) -> float | None:
    """µs of CPU that the process has used, all threads, in nanosecond grain; None where the kernel does not say."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000
    except (OSError, IndexError, ValueError):
        return None


def rss_kib(pid: int) -> float | None:
    """KiB of memory that is resident; None where the kernel does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * resource.getpagesize() / 1024


def raise_file_limit() -> int:
    """Sockets, and other files, that this process and those it starts may have open from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
