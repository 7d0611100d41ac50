"""The operator's key: what it opens where it is set, and that nothing else has changed where it is not."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hub.model import Project
from hub.projects import add_channel
from tests.conftest import StartHub
from tests.harness import RedisServer, RunningHub, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "an-operator's-key-of-32-characters"
FEED = "/user/v1/channels/inbox/feed"
MESSAGES = "/v1/messaging/notifications"
CONSOLE = ("/console/api/projects", "/console/api/health")
APIS = (f"{FEED}/counts", MESSAGES, "/admin/v1/users")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub() -> AsyncIterator[RunningHub]:
    """A hub with a console and a second project, which has a channel of its own."""
    server = RedisServer()
    hub = await RunningHub(server.url, console_key=KEY).start()
    await hub.add_project("shop")
    await hub.change_project(lambda p: add_channel(p, "deals", "in_app", None), "shop")
    yield hub
    await hub.stop()
    server.remove()


def operator(project: Project | None, user: str | None = None, key: str = KEY) -> dict[str, str]:
    headers = {"x-bellhub-operator": key}
    if project is not None:
        headers["x-notiflows-api-key"] = project.api_key
    return headers | ({"x-bellhub-user": user} if user else {})


def project_of(hub: RunningHub, project_id: str = "default") -> Project:
    found = hub.hub.directory.project(project_id)
    assert found is not None
    return found


async def ask(
    hub: RunningHub, method: str, path: str, headers: dict[str, str], body: Any = None, **query: Any
) -> httpx2.Response:
    async with hub.http() as http:
        return await http.request(method, path, json=body, headers=headers, params=query)


def sending(user: str, **fields: Any) -> dict[str, Any]:
    return {"category": "order.updated", "target": {"type": "user", "id": user}, "title": "hello"} | fields


# ---- off, and without the key ------------------------------------------------------------------------


async def test_without_the_setting_there_is_no_console_and_the_key_opens_nothing(
    shared_hub: RunningHub, ann: str
) -> None:
    for path in ("/console", *CONSOLE):
        assert (await ask(shared_hub, "GET", path, operator(None))).status_code == 404
    for path in APIS:
        headers = operator(project_of(shared_hub), ann)
        assert (await ask(shared_hub, "GET", path, headers)).status_code == 401, path
        assert (await ask(shared_hub, "GET", path, headers | {"x-bellhub-operator": ""})).status_code == 401, path


async def test_without_the_setting_a_header_of_that_name_disturbs_nobody(shared_hub: RunningHub, ann: str) -> None:
    headers = shared_hub.user_headers(ann) | {"x-bellhub-operator": KEY}
    assert (await ask(shared_hub, "GET", f"{FEED}/counts", headers)).status_code == 200


@pytest.mark.parametrize("key", ["", KEY[:-1], KEY + "x", KEY.upper(), "ÿ" * len(KEY)])
async def test_a_wrong_key_is_401_everywhere_and_is_not_repeated(hub: RunningHub, ann: str, key: str) -> None:
    headers = operator(project_of(hub), ann) | {"x-bellhub-operator": key.encode("latin-1")}
    for path in (*APIS, *CONSOLE):
        answer = await ask(hub, "GET", path, headers)  # type: ignore[arg-type]
        error = answer.json()["error"]
        assert (answer.status_code, error["details"]) == (401, {"auth": "operator_key"}), path
        assert error["message"] == "x-bellhub-operator: not the operator's key"


async def test_a_wrong_key_beside_good_credentials_is_refused(hub: RunningHub, ann: str) -> None:
    for headers, path in ((hub.user_headers(ann), f"{FEED}/counts"), (hub.producer, MESSAGES)):
        assert (await ask(hub, "GET", path, headers)).status_code == 200
        assert (await ask(hub, "GET", path, headers | {"x-bellhub-operator": "x" * 32})).status_code == 401


async def test_the_console_needs_the_key_of_the_operator_and_takes_no_other(hub: RunningHub) -> None:
    for path in CONSOLE:
        for headers in ({}, hub.producer, hub.user_headers("ann")):
            answer = await ask(hub, "GET", path, headers)
            assert (answer.status_code, answer.json()["error"]["details"]) == (401, {"auth": "operator_key"})
        assert (await ask(hub, "GET", path, {"cookie": f"x-bellhub-operator={KEY}"})).status_code == 401
        assert (await ask(hub, "GET", path, {}, **{"x-bellhub-operator": KEY})).status_code == 401


async def test_the_key_alone_names_no_project(hub: RunningHub) -> None:
    for path in APIS:
        answer = await ask(hub, "GET", path, operator(None, "ann"))
        assert (answer.status_code, answer.json()["error"]["details"]) == (401, {"auth": "api_key"}), path


@pytest.mark.asyncio(loop_scope="function")
async def test_pages_of_other_origins_cannot_send_the_key(start_hub: StartHub) -> None:
    page = "https://app.example"
    hub = await start_hub(console_key=KEY, origins=(page,))
    headers = {"origin": page, "access-control-request-method": "GET"}
    for path in APIS[:2]:
        answer = await ask(hub, "OPTIONS", path, headers | {"access-control-request-headers": "x-bellhub-operator"})
        assert answer.status_code == 204
        assert "operator" not in answer.headers["access-control-allow-headers"]
    for path in CONSOLE:
        answer = await ask(hub, "GET", path, operator(None) | {"origin": page})
        assert "access-control-allow-origin" not in answer.headers


# ---- the page ----------------------------------------------------------------------------------------


async def test_the_page_is_for_nobody_to_frame_or_keep_and_runs_only_what_the_hub_serves(hub: RunningHub) -> None:
    answer = await ask(hub, "GET", "/console", {})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert KEY not in answer.text
    assert (await ask(hub, "GET", "/console/", {})).status_code == 404
    assert (await ask(hub, "POST", "/console/api/health", operator(None))).status_code == 405


# ---- with the key ------------------------------------------------------------------------------------


async def test_the_operator_is_told_every_project_with_its_public_key_and_feeds(hub: RunningHub) -> None:
    answer = await ask(hub, "GET", "/console/api/projects", operator(None))
    projects = {project["id"]: project for project in answer.json()["items"]}
    assert projects.keys() == {"default", "shop"}
    assert projects["default"]["api_key"] == hub.api_key
    assert [channel["handle"] for channel in projects["shop"]["channels"]] == ["inbox", "deals"]
    assert "digest" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("project_id", ["default", "shop"])
async def test_the_operator_sends_explains_and_withdraws_in_any_project(
    hub: RunningHub, ann: str, project_id: str
) -> None:
    project = project_of(hub, project_id)
    headers = operator(project, ann)
    sent = await ask(hub, "POST", MESSAGES, headers, sending(ann))
    assert sent.status_code == 202, sent.text
    explained = (await ask(hub, "GET", f"{FEED}/explain", headers)).json()
    assert [entry["id"] for entry in explained["unseen"]["entries"]] == [sent.json()["id"]]
    other = project_of(hub, "shop" if project_id == "default" else "default")
    assert (await ask(hub, "GET", f"{FEED}/counts", operator(other, ann))).json()["total"] == 0
    withdrawn = await ask(hub, "DELETE", f"{MESSAGES}/{sent.json()['id']}", headers, user=ann)
    assert withdrawn.json()["withdrawn"] == 1
    assert (await ask(hub, "GET", f"{FEED}/counts", headers)).json()["total"] == 0


async def test_the_operator_acts_only_for_the_user_who_is_named(hub: RunningHub, ann: str) -> None:
    await hub.send(ann)
    listed = await ask(hub, "GET", MESSAGES, operator(project_of(hub), f"not-{ann}"))
    assert listed.json()["data"] == []
    assert (await ask(hub, "GET", MESSAGES, operator(project_of(hub)))).json()["data"] == []
    for path in (f"{FEED}/counts", "/user/v1/preferences"):
        answer = await ask(hub, "GET", path, operator(project_of(hub)))
        assert (answer.status_code, answer.json()["error"]["details"]["param"]) == (400, "X-Bellhub-User")


async def test_the_operator_lists_and_ends_sessions_and_revokes(hub: RunningHub, ann: str) -> None:
    token = hub.token(ann, now=1_700_000_000, ttl_s=10**9)
    first, second = await hub.connect(ann, token=token), await hub.connect(ann, token=token)
    headers, sessions = operator(project_of(hub)), f"/admin/v1/users/{ann}/sessions"
    listed = (await ask(hub, "GET", sessions, headers)).json()["items"]
    assert (await ask(hub, "DELETE", f"{sessions}/{listed[0]['id']}", headers)).status_code == 204
    assert await first.close_code() == 4503
    assert (await ask(hub, "POST", f"/admin/v1/users/{ann}/revoke", headers)).status_code == 200
    assert await second.close_code() == 4503


@pytest.mark.asyncio(loop_scope="function")
async def test_the_operator_has_a_limit_apart_from_those_of_keys_and_users(start_hub: StartHub) -> None:
    hub = await start_hub(console_key=KEY, key_rate="2/hour", user_rate="1/hour")
    headers = operator(project_of(hub), "ann")
    assert (await ask(hub, "GET", f"{FEED}/counts", hub.user_headers("ann"))).status_code == 200
    answers = [await ask(hub, "GET", f"{FEED}/counts", headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (await ask(hub, "GET", MESSAGES, hub.producer)).status_code == 200
    assert (await ask(hub, "GET", "/console/api/health", operator(None))).status_code == 200


# ---- health ------------------------------------------------------------------------------------------


async def test_health_tells_what_readyz_and_the_doctor_tell(hub: RunningHub, ann: str) -> None:
    socket = await hub.connect(ann)
    health = (await ask(hub, "GET", "/console/api/health", operator(None))).json()
    assert health["status"] == "ready"
    assert health["checks"] == (await ask(hub, "GET", "/readyz", {})).json()["checks"]
    assert health["sessions"] >= 1
    found = {finding["check"]: finding for finding in health["findings"]}
    assert found["durability"]["state"] == "warn"  # the tests' Redis keeps nothing
    assert "appendonly is off" in found["durability"]["message"]
    assert found["project shop"]["state"] == "warn"
    assert {found[check]["state"] for check in ("versions", "store", "schema", "clock", "project default")} == {"ok"}
    sessions = await ask(hub, "GET", f"/admin/v1/users/{ann}/sessions", operator(project_of(hub)))
    assert sessions.json()["items"][0]["hub"] == health["hub"]
    await socket.close()


async def test_health_is_told_where_the_store_is_gone() -> None:
    server = RedisServer()
    hub = await RunningHub(server.url, console_key=KEY).start()
    server.remove()
    await until(lambda: not hub.hub.checks()["store"])
    health = (await ask(hub, "GET", "/console/api/health", operator(None))).json()
    assert (health["status"], health["checks"]["store"]) == ("unready", False)
    assert [finding["check"] for finding in health["findings"] if finding["state"] == "fail"] == ["store"]
    await hub.stop()
