"""`bellhub serve`, as a process of its own: what it prints, whom it lets in, and why it will not start."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import redis
from click.testing import CliRunner, Result

from hub.cli import bellhub
from hub.embedded import lent
from hub.keys import PROJECTS, SCHEMA
from tests.harness import PATIENCE_S, HubProcess, RedisServer, clean_env, free_port, until

ROOT = Path(__file__).parents[2]
NO_SETTINGS = dict.fromkeys(name for name in os.environ if name not in clean_env())
FEED = "/user/v1/channels/inbox/feed/entries"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "data"


@pytest.fixture(scope="module")
def dev(data_dir: Path) -> Iterator[HubProcess]:
    """A hub in development mode; `said` is what a person reads."""
    hub = HubProcess("--dev", "--data-dir", str(data_dir), said="curl")
    hub.page, hub.token_line = (
        hub.said[hub.said.index(title) + 1] for title in ("The demo page:", "A token for ann, valid for a day:")
    )
    hub.port = httpx2.URL(hub.page).port
    hub.api_key = "pk_dev"
    yield hub
    hub.stop()


def refusal(*options: str, start: str = "from hub.cli import main; main()", **env: str) -> tuple[int, str]:
    """The exit code and the last line of a hub that does not start. A traceback is never told."""
    done = subprocess.run(
        [sys.executable, "-c", start, "serve", "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 3,
        env=clean_env() | env,
        cwd=ROOT,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr.strip().rpartition("\n")[2]


# ---- development mode --------------------------------------------------------------------------------


def test_the_printed_address_shows_the_demo_page(dev: HubProcess) -> None:
    page = httpx2.get(dev.page)
    assert page.status_code == 200
    assert "<title>Bellhub demo</title>" in page.text


def test_the_printed_curl_line_sends_to_the_user_of_the_printed_token(dev: HubProcess) -> None:
    sent = subprocess.run(dev.said[-1], shell=True, capture_output=True, text=True, check=True)
    feed = httpx2.get(
        f"http://127.0.0.1:{dev.port}{FEED}",
        headers={"x-notiflows-api-key": "pk_dev", "x-notiflows-user-key": dev.token_line},
    )
    assert feed.status_code == 200
    assert [item["id"] for item in feed.json()["items"]] == [json.loads(sent.stdout)["id"]]


async def test_the_printed_token_opens_a_session(dev: HubProcess) -> None:
    session = await dev.connect("ann", token=dev.token_line)
    assert session.frames[0]["user"] == "ann"
    await session.close()


def test_the_development_key_is_kept_for_its_owner_alone_and_nothing_of_it_is_stored(
    dev: HubProcess, data_dir: Path
) -> None:
    assert (data_dir / "dev-signing-key.pem").stat().st_mode & 0o777 == 0o600
    with redis.Redis.from_url(lent(data_dir) or "") as client:
        (document,) = client.hvals(PROJECTS)
    project = json.loads(document)
    assert project["api_key"] != "pk_dev"
    assert project["signing_keys"] == project["secret_keys"] == []


@pytest.fixture
def serve_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`serve` in this process, for what is refused before anything starts."""
    monkeypatch.setattr("hub.server.serve", lambda *args: pytest.fail("it starts"))
    return lambda *options, env: CliRunner(env=NO_SETTINGS).invoke(bellhub, ["serve", *options], env=env)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_development_mode_listens_on_this_machine_only(serve_here: Callable[..., Result], host: str) -> None:
    for options, env in ((["--host", host], {}), ([], {"BELLHUB_HOST": host})):
        result = serve_here("--dev", *options, env=env)
        assert result.exit_code == 2
        assert f"not on {host!r}" in result.stderr


# ---- secure mode -------------------------------------------------------------------------------------


async def test_nothing_of_development_mode_is_let_in_by_a_secure_hub_on_the_same_store(tmp_path: Path) -> None:
    was = HubProcess("--dev", "--data-dir", str(tmp_path))
    token = was.greeting["token"]
    assert was.stop() == 0
    hub = HubProcess("--data-dir", str(tmp_path))
    try:
        with redis.Redis.from_url(lent(tmp_path) or "") as client:
            hub.api_key = json.loads(client.hget(PROJECTS, "default") or "")["api_key"]
        async with hub.http() as http:
            body = {"category": "a", "target": {"type": "user", "id": "ann"}, "title": "t"}
            send = await http.post("/v1/messaging/notifications", json=body, headers={"authorization": "Bearer sk_dev"})
            assert send.status_code == 401
            for api_key in ("pk_dev", hub.api_key):
                for credential in ({"x-notiflows-user-id": "ann"}, {"x-notiflows-user-key": token}):
                    asked = await http.get(FEED, headers={"x-notiflows-api-key": api_key} | credential)
                    assert asked.status_code in (401, 403)
            assert (await http.get("/")).status_code == 404
        for auth, close_code in (
            ({"api_key": "pk_dev", "user": "ann"}, 4503),
            ({"api_key": hub.api_key, "user": "ann"}, 4501),
            ({"api_key": hub.api_key, "token": token}, 4501),
        ):
            socket = await hub.connect()
            await socket.send("auth", **auth)
            assert await socket.close_code() == close_code
    finally:
        hub.stop()


def test_a_secure_hub_says_where_it_listens_and_how_to_go_on(tmp_path: Path) -> None:
    hub = HubProcess("--data-dir", str(tmp_path), said="bellhub project origin add")
    assert hub.stop() == 0
    assert hub.said[0].split(" listens on ")[1].startswith("http://127.0.0.1:")
    assert [line.split()[:3] for line in hub.said[3:6]] == [
        ["bellhub", "project", "show"],
        ["bellhub", "keys", "new"],
        ["bellhub", "keys", "secret"],
    ]


# ---- starts that fail --------------------------------------------------------------------------------


def test_a_data_directory_in_use_is_named_with_its_owner(dev: HubProcess, data_dir: Path) -> None:
    code, message = refusal("--data-dir", str(data_dir))
    assert code == 3
    assert f"pid {dev.process.pid} already runs on {data_dir}; stop it, or choose another --data-dir" in message


def test_a_port_in_use_is_named(dev: HubProcess, tmp_path: Path) -> None:
    code, message = refusal("--port", str(dev.port), "--data-dir", str(tmp_path))
    assert code == 3
    assert f"cannot listen on 127.0.0.1:{dev.port}" in message
    assert "choose another --host or --port" in message


def test_a_redis_that_cannot_be_reached_is_named_without_its_password() -> None:
    port = free_port()
    start = "import hub.app; hub.app.START_S = 0; from hub.cli import main; main()"
    code, message = refusal("--redis-url", f"redis://me:geheim@127.0.0.1:{port}", start=start)
    assert code == 3
    assert f"127.0.0.1:{port}" in message
    assert "geheim" not in message


def test_a_redis_that_comes_later_is_waited_for() -> None:
    port = free_port()
    argv = [sys.executable, "-m", "hub", "serve", "--port", "0", "--redis-url", f"redis://127.0.0.1:{port}"]
    hub = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_env())
    with hub:
        assert "store.unreachable" in hub.stderr.readline()
        server = RedisServer(port=port)
        assert hub.stdout.readline().startswith("Bellhub")
        hub.send_signal(signal.SIGINT)
        assert hub.wait(PATIENCE_S) == 0
    server.remove()


def test_a_store_of_a_newer_hub_is_left_alone(redis_server: RedisServer) -> None:
    redis_server.client.set(SCHEMA, "99")
    code, message = refusal("--redis-url", redis_server.url)
    assert code == 3
    assert "schema 99" in message
    assert redis_server.client.keys() == [SCHEMA]


def test_a_data_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, message = refusal("--data-dir", str(tmp_path / "file"))
    assert code == 3
    assert message == "Try another --data-dir, or an outside store with --redis-url."
    code, message = refusal("--dev", "--data-dir", str(tmp_path / "file"))
    assert code == 3
    assert f"cannot keep the development key {tmp_path / 'file' / 'dev-signing-key.pem'}" in message


@pytest.mark.parametrize(
    ("env", "code", "words"),
    [
        ({"BELLHUB_REDIS_BIN": "/nowhere/redis-server"}, 3, "/nowhere/redis-server does not exist"),
        ({"BELLHUB_CHECK_S": "-1"}, 2, "BELLHUB_CHECK_S: '-1': Input should be greater than 0"),
        ({"BELLHUB_LOG_LEVEL": "loud"}, 2, "BELLHUB_LOG_LEVEL: 'loud'"),
        ({"PORT": "99999"}, 2, "PORT: '99999': Input should be less than or equal to 65535"),
        ({"REDIS_URL": "foo://geheim"}, 2, "the Redis URL is none"),
        ({"REDIS_URL": "redis://geheim\udcff"}, 2, "the Redis URL is none"),
    ],
)
def test_a_setting_that_cannot_be_is_told_in_one_sentence(
    serve_here: Callable[..., Result], env: dict[str, str], code: int, words: str
) -> None:
    result = serve_here(env=env)
    assert result.exit_code == code
    assert words in result.stderr
    assert "geheim" not in result.stderr


# ---- deployment --------------------------------------------------------------------------------------


def test_the_procfile_runs_a_hub_on_the_port_that_is_given(tmp_path: Path) -> None:
    command = tmp_path / "bellhub"  # as installed, but of this checkout
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hub "$@"\n')
    command.chmod(0o755)
    port = free_port()
    env = clean_env() | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PORT": str(port),
        "BELLHUB_DATA_DIR": str(tmp_path / "data"),
    }
    honcho = subprocess.Popen(
        [sys.executable, "-m", "honcho", "start"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )

    def ready() -> bool:
        assert honcho.poll() is None, "honcho ended"
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    try:
        asyncio.run(until(ready))
    finally:
        honcho.send_signal(signal.SIGTERM)
        honcho.wait(PATIENCE_S)
    assert lent(tmp_path / "data") is None
