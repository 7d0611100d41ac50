"""The OpenAPI document against a running hub, driven by schemathesis as each kind of caller, in all its phases.

No 5xx, no status that the document does not know, no answer of another form. `BELLHUB_SCHEMATHESIS=300 pytest …` makes
300 examples of every operation instead of a few, and others each time, which takes hours.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hub import auth
from hub.keys import User
from hub.projects import add_channel, add_secret_key, add_signing_key
from hub.sending import entry_body, read_sending
from tests.harness import SIGNING_KEY, RedisServer, RunningHub

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(0)]
LONG = os.environ.get("BELLHUB_SCHEMATHESIS")
TOGETHER = 2
"""Runs at a time: they are slower than the hub."""
CONFIG = Path(__file__).parent / "schemathesis.toml"
KNOWN = "01a20561-37ca-7174-a696-0ccaf6fc4b4f"
"""The entry of the document's examples."""
OPERATOR_KEY = "k" * 32
CALLERS = {
    "owner": ("Messaging API", "Admin API"),
    "admin": ("Admin API",),
    "user": ("User API", "Messaging API"),
    "sender": ("Messaging API",),
    "reader": ("Messaging API",),
    "support": ("Messaging API",),
    "operator": ("Console",),
    "nobody": ("The hub", "User API"),
}
"""Who asks, and which operations: elsewhere all that they get is 401 or 403, which `test_tenants.py` is about."""


async def furnish(hub: RunningHub, project_id: str) -> str:
    """A project with all that the document's examples name; an owner's secret."""
    await hub.add_project(project_id)
    key, secret = auth.new_secret_key("owner")
    await hub.change_project(lambda p: add_channel(p, "push", "mobile_push", "fcm"), project_id)
    await hub.change_project(lambda p: add_signing_key(add_secret_key(p, key), SIGNING_KEY), project_id)
    sending = read_sending({"category": "order.updated", "target": {"type": "user", "id": "ann"}, "title": "hello"})
    await hub.hub.store.publish(User(project_id, "ann").feed("inbox"), KNOWN, entry_body(KNOWN, sending))
    project = hub.hub.directory.project(project_id)
    assert project is not None
    headers = {"x-notiflows-api-key": project.api_key, "x-notiflows-secret-key": secret}
    async with hub.http() as http:
        for path, body in (
            ("users/ann", {"first_name": "Ann"}),
            ("users/bob", {}),
            ("notiflows/order-updates", {"template": {"title": "hello"}}),
        ):
            answer = await http.put(f"/admin/v1/{path}", json=body, headers=headers)
            assert answer.status_code == 201, answer.text
    return secret


async def headers_of(hub: RunningHub, caller: str) -> dict[str, str]:
    """The credentials of a kind of caller, for all APIs, in a project of its own."""
    secret = await furnish(hub, caller)
    project = hub.hub.directory.project(caller)
    assert project is not None
    headers = {"x-notiflows-api-key": project.api_key}
    if caller == "operator":
        return headers | {"x-bellhub-operator": OPERATOR_KEY}
    if caller == "user":
        token = hub.token("ann", ttl_s=24 * 3600)
        return headers | {"x-notiflows-user-key": token, "authorization": f"Bearer {token}"}
    if caller != "owner":
        key, secret = auth.new_secret_key(caller)
        await hub.change_project(lambda p: add_secret_key(p, key), caller)
    return headers | {"x-notiflows-secret-key": secret, "authorization": f"Bearer {secret}"}


async def drive(hub: RunningHub, caller: str, directory: Path, turn: asyncio.Semaphore) -> str:
    """What schemathesis says of a run in which it found something; empty when it did not."""
    headers = {} if caller == "nobody" else await headers_of(hub, caller)
    argv = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)]
    argv += ["run", f"http://127.0.0.1:{hub.port}/openapi.json"]
    stateful = "" if caller == "operator" else ",stateful"  # no operation of the console leads to another one
    argv += ["--phases", f"examples,coverage,fuzzing{stateful}", "--max-examples", LONG or "2"]
    argv += [] if LONG else ["--generation-deterministic"]
    argv += ["--suppress-health-check", "all", "--warnings", "off"]
    argv += ["--continue-on-failure", "--no-color"]
    argv += [word for tag in CALLERS[caller] for word in ("--include-tag", tag)]
    argv += [word for name, value in headers.items() for word in ("--header", f"{name}:{value}")]
    async with turn:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    return "" if process.returncode == 0 else said.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, "asyncio.Task[str]"]]:
    """All callers on one hub, which counts nobody's requests."""
    server = RedisServer()
    hub = await RunningHub(server.url, key_rate="", user_rate="", console_key=OPERATOR_KEY).start()
    turn, directory = asyncio.Semaphore(TOGETHER), tmp_path_factory.mktemp("schemathesis")
    tasks = {caller: asyncio.create_task(drive(hub, caller, directory, turn)) for caller in CALLERS}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    await hub.stop()
    server.remove()


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_answer_is_one_that_the_document_describes(
    runs: dict[str, "asyncio.Task[str]"], caller: str
) -> None:
    found = await runs[caller]
    assert not found, found
