"""The commands, on the data directory of a hub that runs in secure mode, and on one that no hub runs on."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx2
import jwt
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

from hub import auth
from hub.cli import bellhub
from hub.keys import SCHEMA
from hub.model import timestamp
from tests.harness import HubProcess, RedisServer, clean_env, free_port, until

NO_SETTINGS = dict.fromkeys(name for name in os.environ if name not in clean_env())
FEED = "/user/v1/channels/inbox/feed/entries"


class Desk:
    """Where commands are given. `running` is the hub on the same data directory, if one is."""

    def __init__(self, data_dir: Path, running: HubProcess | None = None) -> None:
        self.data_dir = data_dir
        self.running = running

    def run(self, *args: str, code: int = 0, **given: Any) -> Result:
        """One command, in this process; the code it must end with."""
        env = NO_SETTINGS | {"BELLHUB_DATA_DIR": str(self.data_dir)} | given.pop("env", {})
        result = CliRunner().invoke(bellhub, args, env=env, **given)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *args: str, **given: Any) -> Any:
        return json.loads(self.run(*args, "--json", **given).stdout)

    async def arun(self, *args: str) -> Any:
        """The same from a test that has a loop of its own."""
        return await asyncio.to_thread(self.json, *args)

    def status(self, token: str) -> int:
        """What the hub answers to a user who shows this token."""
        assert self.running is not None
        headers = {"x-notiflows-api-key": self.running.api_key, "x-notiflows-user-key": token}
        return httpx2.get(f"http://127.0.0.1:{self.running.port}{FEED}", headers=headers).status_code

    def becomes(self, status: int, token: str) -> None:
        asyncio.run(until(lambda: self.status(token) == status))

    @contextmanager
    def tail(self, user: str, *options: str) -> Iterator[IO[str]]:
        """The lines of a `tail` that follows; it must end with 0 at Ctrl-C."""
        tail = subprocess.Popen(
            [sys.executable, "-m", "hub", "tail", user, "--data-dir", str(self.data_dir), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_env(),
        )
        with tail:
            assert tail.stdout is not None
            assert tail.stderr is not None
            try:
                assert tail.stderr.readline().startswith("Following inbox of")
                yield tail.stdout
            finally:
                tail.send_signal(signal.SIGINT)
                rest = tail.stderr.read()
        assert (tail.returncode, rest) == (0, "")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    data_dir = tmp_path_factory.mktemp("desk")
    running = HubProcess("--data-dir", str(data_dir))
    desk = Desk(data_dir, running)
    running.api_key = desk.json("project", "show")["api_key"]
    yield desk
    running.stop()


@pytest.fixture
def lonely(tmp_path: Path) -> Desk:
    """No hub runs here: commands start the store themselves."""
    return Desk(tmp_path / "data")


# ---- notifications -----------------------------------------------------------------------------------


async def test_send_reaches_an_open_session_and_withdraw_takes_it_back(desk: Desk) -> None:
    new_key = await desk.arun("keys", "new", "--alg", "ES256")
    token = await asyncio.to_thread(
        lambda: desk.json("token", "ann", env={"BELLHUB_SIGNING_KEY": new_key["private_key_base64"]})["token"]
    )
    await until(lambda: desk.status(token) == 200)
    session = await desk.running.connect("ann", token=token)
    sent = await desk.arun(
        *("send", "ann", "Shipped", "--body", "Soon", "--url", "/orders/1", "--category", "order.shipped"),
        *("--priority", "high", "--topic", "orders", "--data", '{"order":1}', "--expires-in", "600"),
    )
    event = await session.next("entry")
    entry = event["entry"]
    assert (entry["id"], event["cursor"]) == (sent["id"], sent["cursor"])
    assert entry["data"] == {"order": 1, "title": "Shipped", "body": "Soon", "action_url": "/orders/1"}
    assert (entry["category"], entry["priority"], entry["topic"]) == ("order.shipped", "high", "orders")
    assert entry["expires_at"] > entry["sent_at"]
    assert await desk.arun("withdraw", "ann", entry["id"]) == {"ids": [entry["id"]], "withdrawn": 1}
    assert (await session.next("gone"))["reason"] == "withdrawn"
    await session.close()


async def test_an_announcement_reaches_open_and_other_feeds_and_is_taken_back(desk: Desk) -> None:
    new_key = await desk.arun("keys", "new", "--alg", "ES256")
    token = auth.sign("kim", new_key["private_key"], new_key["kid"], "ES256", 600, time.time())
    await until(lambda: desk.status(token) == 200)
    session = await desk.running.connect("kim", token=token)
    made = await desk.arun("announce", "Down on Sunday", "--body", "At ten", "--topic", "status", "--data", '{"n":1}')
    entry = (await session.next("entry"))["entry"]
    assert (entry["id"], entry["created_at"], made["status"]) == (made["id"], made["published_at"], "published")
    assert entry["data"] == {"n": 1, "title": "Down on Sunday", "body": "At ten"}
    assert (entry["category"], entry["topic"]) == ("system.announcement", "status")
    assert (await desk.arun("mark", "read", "never seen", made["id"]))["changed"] == [made["id"]]
    assert (await desk.arun("unannounce", made["id"]))["status"] == "withdrawn"
    assert (await session.next("gone"))["ids"] == [made["id"]]
    assert (await desk.arun("mark", "read", "never seen", "--upto", "top"))["counts"]["total"] == 0
    await session.close()


def test_a_planned_announcement_is_published_by_the_first_command_after_its_time(lonely: Desk) -> None:
    at = time.time() + 1
    made = lonely.json("announce", "soon", "--publish-at", timestamp(int(at * 1_000_000)))
    assert (made["status"], made["published_at"]) == ("scheduled", None)
    asyncio.run(until(lambda: time.time() > at))
    assert lonely.json("mark", "read", "ann", made["id"])["changed"] == [made["id"]]
    assert lonely.run("unannounce", made["id"]).stdout == f"{made['id']} withdrawn\n"
    refused = lonely.run("announce", "late", "--publish-at", "2020-01-01T00:00:00Z", code=1)
    assert refused.stderr == "Error: publish_at must be in the future\n"
    assert lonely.run("unannounce", "nope", code=1).stderr == "Error: no such announcement: 'nope'\n"


def test_tail_shows_what_is_announced(lonely: Desk) -> None:
    with lonely.tail("ann") as lines:
        made = lonely.run("announce", "for all").stdout.strip()
        assert lines.readline().endswith(f"unseen=1 unread=1 total=1 entry {made} system.announcement 'for all'\n")


async def test_marks_are_those_of_every_door_and_reach_an_open_session(desk: Desk) -> None:
    new_key = await desk.arun("keys", "new", "--alg", "ES256")
    token = auth.sign("mia", new_key["private_key"], new_key["kid"], "ES256", 600, time.time())
    await until(lambda: desk.status(token) == 200)
    ids = [(await desk.arun("send", "mia", title, "--topic", title))["id"] for title in ("a", "b", "c")]
    session = await desk.running.connect("mia", token=token)
    read = await desk.arun("mark", "read", "mia", ids[1], ids[0])
    state = await session.next("state")
    assert read == {"cursor": state["cursor"], "changed": [ids[1], ids[0]], "counts": state["counts"]}
    assert (state["verbs"], state["by"], state["counts"]) == (["read"], None, {"unseen": 1, "unread": 1, "total": 3})
    assert (await desk.arun("mark", "click", "mia", ids[0]))["changed"] == [ids[0]]
    assert (await desk.arun("mark", "archive", "mia", "--upto", read["cursor"], "--topic", "b"))["changed"] == [ids[1]]
    assert (await desk.arun("mark", "unarchive", "mia", ids[1]))["counts"]["total"] == 3
    assert (await desk.arun("mark", "dismiss", "mia", "--upto", "top"))["changed"] == ids
    again = await desk.arun("mark", "dismiss", "mia", "--upto", "top", "--channel", "inbox")
    assert again == {"cursor": session.cursor, "changed": [], "counts": {"unseen": 0, "unread": 0, "total": 0}}
    await session.close()


def test_a_mark_of_an_unknown_id_marks_nothing(desk: Desk) -> None:
    entry_id = desk.run("send", "leo", "t").stdout.strip()
    refused = desk.run("mark", "read", "leo", entry_id, "nobody", code=1)
    assert refused.stderr == "Error: no such entry: 'nobody'\n"
    assert desk.run("mark", "read", "leo", entry_id).stdout == "1 changed\n"
    assert desk.run("mark", "read", "leo", entry_id).stdout == "0 changed\n"


def test_tail_shows_what_happens_from_now_on_one_line_an_event(desk: Desk) -> None:
    desk.run("send", "bob", "before")
    with desk.tail("bob") as lines, desk.tail("bob", "--json") as raw:
        entry_id = desk.run("send", "bob", "a\x1b[2Jb", "--source-key", "s").stdout.strip()
        assert lines.readline().endswith(f"unseen=2 unread=2 total=2 entry {entry_id} system.message 'a\\x1b[2Jb'\n")
        assert desk.run("withdraw", "bob", "--source-key", "s").stdout == "1 withdrawn\n"
        assert lines.readline().endswith(f"unseen=1 unread=1 total=1 gone withdrawn {entry_id}\n")
        entry, gone = json.loads(raw.readline()), json.loads(raw.readline())
    assert (entry["type"], entry["entry"]["id"], entry["channel"]) == ("entry", entry_id, "inbox")
    assert (gone["type"], gone["ids"], gone["prev"]) == ("gone", [entry_id], entry["cursor"])


def test_tail_tells_when_an_entry_expires_though_nobody_else_is_there(lonely: Desk) -> None:
    with lonely.tail("ann") as lines:
        lonely.run("send", "ann", "short", "--expires-in", "1")
        assert " entry " in lines.readline()
        assert " gone expired " in lines.readline()


def test_without_a_hub_the_store_is_started_and_keeps_what_was_sent(lonely: Desk) -> None:
    entry_id = lonely.run("send", "ann", "hello").stdout.strip()
    assert lonely.json("withdraw", "ann", entry_id)["ids"] == [entry_id]
    assert lonely.run("withdraw", "ann", entry_id, code=1).stderr == f"Error: no such notification: {entry_id!r}\n"


def test_an_outside_store_is_used_as_it_is_told(redis_server: RedisServer, lonely: Desk) -> None:
    lonely.run("send", "ann", "hello", "--redis-url", redis_server.url)
    assert redis_server.client.hlen("{default/ann}:inbox:items") == 1
    assert not lonely.data_dir.exists()


def test_another_project_and_channel_can_be_named(desk: Desk) -> None:
    made = desk.json("project", "new", "Äcme Shop")
    assert made["id"] == "acme-shop"
    desk.run("channel", "new", "news", "--project", "acme-shop")
    entry_id = desk.run("send", "ann", "hi", "--project", "acme-shop", "--channel", "news").stdout.strip()
    assert desk.run("withdraw", "ann", entry_id, code=1)
    assert desk.json("withdraw", "ann", entry_id, "--project", "acme-shop")["withdrawn"] == 1


# ---- keys and tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", auth.ALGORITHMS)
def test_a_new_key_signs_tokens_until_it_is_retired(desk: Desk, algorithm: str, tmp_path: Path) -> None:
    key = desk.json("keys", "new", "--alg", algorithm)
    assert base64.b64decode(key["private_key_base64"]).decode() == key["private_key"]
    pem = tmp_path / "key.pem"
    pem.write_text(key["private_key"])
    token = desk.run("token", "ann", "--key", str(pem)).stdout.strip()
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": key["kid"], "typ": "JWT"}
    desk.becomes(200, token)
    desk.run("keys", "retire", key["kid"])
    desk.becomes(401, token)
    refused = desk.run("token", "ann", "--key", str(pem), code=1)
    assert "no live signing key of project 'default' belongs to this private key" in refused.stderr


def test_a_jwk_of_your_own_is_imported_and_its_private_half_refused(desk: Desk) -> None:
    key, pem = auth.new_signing_key("EdDSA")
    private = auth.serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    public_jwk, private_jwk = (OKPAlgorithm.to_jwk(half) for half in (private.public_key(), private))
    assert "a private key" in desk.run("keys", "import", "-", input=private_jwk, code=1).stderr
    assert desk.json("keys", "import", "-", "--kid", "mine", input=public_jwk)["public_pem"] == key.public_pem
    desk.becomes(200, desk.json("token", "ann", "--key", "-", input=pem)["token"])
    again = desk.run("keys", "import", "-", "--kid", "mine", input=public_jwk, code=1)
    assert again.stderr == "Error: signing_key 'mine' exists already\n"


async def test_revoke_ends_the_sessions_of_a_user(desk: Desk) -> None:
    key = await desk.arun("keys", "new", "--alg", "ES256")
    token = auth.sign("eve", key["private_key"], key["kid"], "ES256", 600, time.time() - 60)
    await until(lambda: desk.status(token) == 200)
    session = await desk.running.connect("eve", token=token)
    assert (await desk.arun("revoke", "eve"))["user"] == "eve"
    assert await session.close_code() == 4503
    assert desk.status(token) == 403


def test_a_secret_key_is_shown_once_and_sends_until_it_is_retired(desk: Desk) -> None:
    made = desk.json("keys", "secret", "--role", "sender")
    body = {"category": "a", "target": {"type": "user", "id": "ann"}, "title": "t"}

    def status() -> int:
        return httpx2.post(
            f"http://127.0.0.1:{desk.running.port}/v1/messaging/notifications",
            json=body,
            headers={"authorization": f"Bearer {made['secret_key']}"},
        ).status_code

    asyncio.run(until(lambda: status() == 202))
    desk.run("keys", "retire", made["id"])
    asyncio.run(until(lambda: status() == 401))
    for command in (["keys", "list"], ["project", "show"]):
        for options in ([], ["--json"]):
            shown = desk.run(*command, *options).stdout
            assert made["secret_key"] not in shown
            assert auth.secret_digest(made["secret_key"]) not in shown


@pytest.mark.parametrize(("option", "kind"), [("--agent", "agent"), ("--name", "api_key")])
def test_a_key_has_the_name_of_its_agent_or_of_its_own(desk: Desk, option: str, kind: str) -> None:
    """Seed 1, Permissions required: "your API key or agent"."""
    made = desk.json("keys", "secret", "--role", "support", option, "Night watch")
    assert (made["kind"], made["name"], made["role"]) == (kind, "Night watch", "support")
    (shown,) = [key for key in desk.json("keys", "list")["secret_keys"] if key["id"] == made["id"]]
    assert (shown["kind"], shown["name"]) == (kind, "Night watch")
    (line,) = [line for line in desk.run("keys", "list").stdout.splitlines() if made["id"] in line]
    assert all(word in line for word in (kind, "support", made["redacted"], "Night watch"))


def test_a_token_without_any_key_says_how_to_get_one(lonely: Desk) -> None:
    assert "bellhub keys new" in lonely.run("token", "ann", code=1).stderr


def test_the_development_key_is_told_to_be_one(lonely: Desk) -> None:
    lonely.data_dir.mkdir()
    (lonely.data_dir / "dev-signing-key.pem").write_text(auth.new_signing_key("ES256")[1])
    result = lonely.run("token", "ann", "--ttl", "60")
    assert jwt.get_unverified_header(result.stdout.strip())["kid"] == "dev"
    assert "only a hub in development mode accepts this token" in result.stderr


# ---- projects ----------------------------------------------------------------------------------------


def test_a_project_is_deleted_only_on_purpose(desk: Desk) -> None:
    desk.run("project", "new", "Gone", "--id", "gone")
    assert "--yes" in desk.run("project", "delete", "gone", code=2).stderr
    assert "gone" in [project["id"] for project in desk.json("project", "list")]
    desk.run("project", "delete", "gone", "--yes")
    assert desk.run("project", "show", "gone", code=1).stderr == "Error: no project 'gone'\n"


async def test_an_origin_that_was_added_may_connect_until_it_is_removed(desk: Desk) -> None:
    key = await desk.arun("keys", "new", "--alg", "ES256")
    token = auth.sign("ann", key["private_key"], key["kid"], "ES256", 60, time.time())

    async def let_in() -> bool:
        socket = await desk.running.connect(origin="https://app.example")
        await socket.send("auth", api_key=desk.running.api_key, token=token)
        first = await socket.first(lambda frame: True)
        await socket.close()
        return first["type"] == "welcome"

    async def becomes(wanted: bool) -> None:
        async with asyncio.timeout(10):
            while await let_in() is not wanted:
                pass

    assert not await let_in()
    assert await desk.arun("project", "origin", "add", "https://App.example:443") == ["https://app.example"]
    await becomes(True)
    assert await desk.arun("project", "origin", "remove", "https://app.example") == []
    await becomes(False)


def test_every_answer_is_json_when_asked(desk: Desk) -> None:
    assert {"id", "name", "api_key", "channels", "origins", "signing_keys", "secret_keys"} == set(
        desk.json("project", "list")[0]
    )
    assert desk.json("project", "origin", "list") == []
    assert [channel["handle"] for channel in desk.json("channel", "list")] == ["inbox"]
    assert desk.json("channel", "new", "mail", "--type", "email", "--provider", "smtp")["provider"] == "smtp"
    assert set(desk.json("keys", "list")) == {"signing_keys", "secret_keys"}
    assert desk.json("revoke", "zoe")["revoked_before"].endswith("Z")
    assert desk.json("withdraw", "zoe", "--source-key", "none") == {"ids": [], "withdrawn": 0}


# ---- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("send", "an\nn", "t"), 1, r"'an\nn' has a control character"),
        (("send", "a" * 257, "t"), 1, "257 characters"),
        (("send", "ann\udcff", "t"), 2, r"the argument 'ann\udcff' is not UTF-8"),
        (("send", "ann", "\udcff"), 2, r"the argument '\udcff' is not UTF-8"),
        (("send", "ann", ""), 1, "title: "),
        (("send", "ann", "t", "--data", '{"n":1' + "0" * 30 + "}"), 1, "is beyond ±9007199254740991"),
        (("send", "ann", "t", "--data", '{"a":"\\ud800"}'), 1, "surrogate"),
        (("send", "ann", "t", "--data", '{"n":NaN}'), 1, "data.n"),
        (("send", "ann", "t", "--data", "[" * 100_000), 1, "--data: 100000 characters that are not JSON"),
        (("send", "ann", "t", "--data", "[1]"), 1, "data: "),
        (("send", "ann", "t", "--url", "javascript:alert(1)"), 1, "url: must be http, https or relative"),
        (("send", "ann", "t", "--expires-in", "1" + "0" * 30), 2, "is not in the range 1<=x<=315360000"),
        (("send", "ann", "t", "--expires-in", "0"), 2, "is not in the range 1<=x<=315360000"),
        (("send", "ann", "t", "--channel", "nix"), 1, "no such channel: 'nix'"),
        (("send", "ann", "t", "--project", "nix"), 1, "no project 'nix'"),
        (("send", "ann", "t", "--project", "../x"), 1, "no project '../x'"),
        (("withdraw", "ann"), 2, "either an ID or --source-key"),
        (("withdraw", "ann", "x", "--source-key", "y"), 2, "either an ID or --source-key"),
        (("withdraw", "ann", "--source-key", "s" * 256), 1, "256 characters, 1 to 255"),
        (("mark", "open", "ann", "x"), 2, "'open'"),
        (("mark", "read", "ann"), 1, "neither ids nor upto"),
        (("mark", "read", "ann", "x", "--upto", "top"), 1, "both ids and upto"),
        (("mark", "click", "ann", "--upto", "top"), 1, "upto: not with click"),
        (("mark", "read", "ann", "x", "--topic", "t"), 1, "topic: only with upto"),
        (("mark", "read", "ann", "--upto", "top", "--topic", "t" * 256), 1, "256 characters, at most 255"),
        (("mark", "read", "ann", "--upto", "now"), 1, "upto: 'now' is not a cursor"),
        (("mark", "read", "ann", "--upto", "9999999999999999-1"), 1, "not in the feed's history"),
        (("mark", "read", "ann", *map(str, range(501))), 1, "ids: 501 ids, at most 500"),
        (("mark", "read", "an\nn", "x"), 1, r"'an\nn' has a control character"),
        (("mark", "read", "ann", "x", "--channel", "nix"), 1, "no such channel: 'nix'"),
        (("revoke", ""), 1, "0 characters"),
        (("tail", "ann", "--channel", "nix"), 1, "no such channel: 'nix'"),
        (("token", "ann", "--kid", "k"), 2, "--kid goes with --key"),
        (("token", "ann", "--key", "/nowhere/key.pem"), 2, "/nowhere/key.pem"),
        (("channel", "new", "Nö"), 1, "'Nö' does not match"),
        (("channel", "new", "x", "--type", "pigeon"), 1, "'pigeon' is not one of in_app"),
        (("project", "new", "жж"), 1, "give one with --id"),
        (("project", "new", "x" * 129, "--id", "x"), 1, "129 characters, 1 to 128"),
        (("project", "new", "x", "--id", ""), 1, "'' does not match"),
        (("project", "origin", "add", "http://app.example"), 1, "http only for"),
        (("keys", "new", "--alg", "HS256"), 2, "'HS256'"),
        (("keys", "secret", "--role", "boss"), 1, "'boss' is not one of owner"),
        (("keys", "secret", "--name", "a", "--agent", "b"), 2, "say either --name or --agent"),
        (("keys", "secret", "--agent", ""), 1, "0 characters, 1 to 128"),
        (("keys", "secret", "--name", "a\nb"), 1, "printable"),
        (("keys", "retire", "nix"), 1, "no key 'nix'"),
    ],
)
def test_bad_input_is_refused_with_the_value_and_the_limit(
    desk: Desk, args: tuple[str, ...], code: int, words: str
) -> None:
    result = desk.run(*args, code=code)
    assert result.stdout == ""
    assert words in result.stderr.replace("\n", " ")


def test_a_lifetime_beyond_the_calendar_is_refused(desk: Desk) -> None:
    _, pem = auth.new_signing_key("ES256")
    refused = desk.run("token", "ann", "--ttl", "1" + "0" * 30, "--key", "-", "--kid", "k", input=pem, code=1)
    assert refused.stderr.startswith("Error: ttl_s: 1000000000000000000000000000000 s, at least 1")


@pytest.mark.parametrize(
    "text", ["", "nonsense", "\x00", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_private_key_is_not_repeated(desk: Desk, text: str) -> None:
    for given in (
        {"args": ["--key", "-"], "input": text},
        {"args": [], "env": {"BELLHUB_SIGNING_KEY": base64.b64encode(text.encode() or b"?").decode()}},
    ):
        refused = desk.run("token", "ann", *given.pop("args"), code=1, **given)
        assert "not an unencrypted private key in PEM" in refused.stderr
        assert "nonsense" not in refused.stderr


def test_arguments_that_are_not_utf8_end_a_real_command_with_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hub", "send", b"ann\xff", "t"], capture_output=True, text=True, env=clean_env()
    )
    assert done.returncode == 2
    assert r"the argument 'ann\udcff' is not UTF-8" in done.stderr


# ---- stores that cannot be had -----------------------------------------------------------------------


def test_a_store_that_does_not_answer_ends_commands_with_3(lonely: Desk) -> None:
    port = free_port()
    for command in (["project", "list"], ["send", "ann", "t"], ["tail", "ann"]):
        refused = lonely.run(*command, "--redis-url", f"redis://me:geheim@127.0.0.1:{port}", code=3)
        assert f"looked for at 127.0.0.1:{port}" in refused.stderr
        assert "geheim" not in refused.stderr


def test_a_store_of_a_newer_hub_ends_commands_with_3(lonely: Desk, redis_server: RedisServer) -> None:
    redis_server.client.set(SCHEMA, "99")
    assert "schema 99" in lonely.run("project", "list", "--redis-url", redis_server.url, code=3).stderr


def test_a_missing_server_program_ends_commands_with_3(lonely: Desk) -> None:
    refused = lonely.run("project", "list", env={"BELLHUB_REDIS_BIN": "/nowhere/valkey-server"}, code=3)
    assert "/nowhere/valkey-server does not exist" in refused.stderr


# ---- doctor ------------------------------------------------------------------------------------------


def states(findings: list[dict[str, str]]) -> dict[str, str]:
    return {finding["check"]: finding["state"] for finding in findings}


def test_doctor_finds_a_running_hub_well(desk: Desk) -> None:
    findings = desk.json("doctor", env={"BELLHUB_PORT": str(desk.running.port)})
    found = states(findings)
    for check in ("versions", "store", "durability", "schema", "clock", "scripts", "pub/sub", "hub"):
        assert found[check] == "ok", findings
    assert desk.run("doctor").stdout.count("\n") == len(findings)


def test_doctor_warns_of_what_may_be_lost_and_of_a_project_nobody_can_use(
    lonely: Desk, redis_server: RedisServer
) -> None:
    lonely.run("project", "list", "--redis-url", redis_server.url)
    found = states(lonely.json("doctor", "--redis-url", redis_server.url))
    assert (found["durability"], found["project default"]) == ("warn", "warn")


def test_doctor_fails_where_the_store_is_of_a_newer_hub_or_not_there(lonely: Desk, redis_server: RedisServer) -> None:
    redis_server.client.set(SCHEMA, "99")
    assert states(lonely.json("doctor", "--redis-url", redis_server.url, code=1))["schema"] == "fail"
    nowhere = f"redis://127.0.0.1:{free_port()}"
    assert states(lonely.json("doctor", "--redis-url", nowhere, code=1))["store"] == "fail"


# ---- notiflows -----------------------------------------------------------------------------------------


def test_a_notiflow_is_put_shown_listed_and_deleted(desk: Desk) -> None:
    made = desk.json(
        *(
            "notiflow",
            "put",
            "shipped",
            "Order {{ data.order }} has shipped",
            "--action-url",
            "/orders/{{ data.order }}",
        ),
        *("--name", "Order shipped", "--priority", "high", "--mandatory"),
    )
    assert (made["name"], made["priority"], made["include_in_preferences"]) == ("Order shipped", "high", False)
    assert made["template"]["action_url"] == "/orders/{{ data.order }}"
    assert desk.json("notiflow", "show", "shipped") == made
    assert "Order {{ data.order }} has shipped" in desk.run("notiflow", "show", "shipped").stdout
    assert made in desk.json("notiflow", "list")
    desk.json("notiflow", "put", "shipped", "Shipped", "--inactive")
    assert "inactive" in desk.run("notiflow", "list").stdout
    assert desk.json("notiflow", "delete", "shipped") == {"deleted": "shipped"}
    assert "no such notiflow: 'shipped'" in desk.run("notiflow", "show", "shipped", code=1).stderr
    assert "template.title: expected '}}'" in desk.run("notiflow", "put", "shipped", "{{ x", code=1).stderr
    assert "handle: 'a_b'" in desk.run("notiflow", "put", "a_b", "x", code=1).stderr


def test_a_notiflow_is_run_for_users_by_the_hub_that_runs(desk: Desk) -> None:
    desk.run(
        "notiflow", "put", "greeting", "Hello {{ recipient.external_id }} from {{ actor.external_id }}: {{ data.x }}"
    )
    run = desk.json("notiflow", "run", "greeting", "nina", "olga", "--actor", "eve", "--data", '{"x": 1}')
    assert desk.running is not None
    secret = desk.json("keys", "secret", "--role", "owner")["secret_key"]
    base, headers = f"http://127.0.0.1:{desk.running.port}/admin/v1", {"x-notiflows-secret-key": secret}

    def titles() -> list[str]:
        assert desk.running is not None
        answer = httpx2.get(f"{base}/deliveries", headers=headers | {"x-notiflows-api-key": desk.running.api_key})
        items = answer.json().get("items", ())  # none while the hub has not heard of the key
        return sorted(item["data"]["title"] for item in items if item["notiflow_handle"] == "greeting")

    asyncio.run(until(lambda: titles() == ["Hello nina from eve: 1", "Hello olga from eve: 1"]))
    assert len(run["notiflow_run_id"]) == 36
    assert "exactly one" in desk.run("notiflow", "run", "greeting", code=1).stderr
    assert "exactly one" in desk.run("notiflow", "run", "greeting", "nina", "--topic", "t", code=1).stderr
    assert "no such notiflow" in desk.run("notiflow", "run", "nothing", "nina", code=1).stderr
