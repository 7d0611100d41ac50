"""What is left in the store of a project or a user after they were deleted."""

import asyncio
import json
from typing import Any

import pytest

from hub import auth, keys, runs
from hub.app import store_client
from hub.keys import PROJECTS, User
from hub.model import Project, SecretKey
from hub.projects import Projects, add_secret_key, add_signing_key
from tests.conftest import StartHub
from tests.harness import SIGNING_KEY, RedisServer, RunningHub, until


async def admin(hub: RunningHub, project: Project, secret: str, method: str, path: str, body: Any = None) -> Any:
    headers = {"x-notiflows-api-key": project.api_key, "x-notiflows-secret-key": secret}
    async with hub.http() as http:
        answer = await http.request(method, f"/admin/v1{path}", json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def keys_of(server: RedisServer, project: str) -> list[str]:
    return [
        key for key in server.client.scan_iter(count=1000) if key.startswith(("{" + project + "}", "{" + project + "/"))
    ]


async def test_a_project_that_is_deleted_in_the_middle_of_a_fan_out_leaves_nothing(
    start_hub: StartHub, redis_server: RedisServer
) -> None:
    hubs = [await start_hub() for _ in range(2)]
    await hubs[0].add_project("acme")
    key, secret = auth.new_secret_key("owner")
    acme = await hubs[0].change_project(lambda p: add_secret_key(p, key), "acme")
    await admin(hubs[0], acme, secret, "PUT", "/notiflows/hello", {"template": {"title": "Hello"}})
    recipients = [{"external_id": f"user-{number}"} for number in range(1000)]
    for _ in range(4):
        await admin(hubs[0], acme, secret, "POST", "/notiflows/hello/run", {"recipients": recipients})
    await until(lambda: redis_server.client.zcard("{acme}:log:index") >= 200)
    assert redis_server.client.zcard(keys.runs("acme")), "they are not done"
    client = store_client(redis_server.url)
    await Projects(client).delete("acme")
    await client.aclose()
    assert keys_of(redis_server, "acme") == []
    await asyncio.gather(*(until(lambda hub=hub: hub.hub.directory.project("acme") is None) for hub in hubs))
    assert keys_of(redis_server, "acme") == []


async def test_a_project_made_again_under_the_same_id_knows_nothing_of_the_first_one(
    start_hub: StartHub, redis_server: RedisServer
) -> None:
    hubs = [await start_hub() for _ in range(2)]
    client = store_client(redis_server.url)
    projects = Projects(client)

    async def made(secret: SecretKey) -> Project:
        await projects.create("acme", "Acme")
        await projects.change("acme", lambda p: add_signing_key(p, SIGNING_KEY))
        acme = await projects.change("acme", lambda p: add_secret_key(p, secret))
        for hub in hubs:
            await until(lambda hub=hub: hub.hub.directory.project("acme") == acme)
        return acme

    key, secret = auth.new_secret_key("owner")
    hubs[0].api_key = (await made(key)).api_key
    async with hubs[0].http() as http:
        said = {"category": "news", "title": "Of the first one"}
        headers = {"authorization": f"Bearer {secret}"}
        assert (await http.post("/v1/messaging/announcements", json=said, headers=headers)).status_code == 201
    for hub in hubs:
        hub.api_key = hubs[0].api_key
        assert len((await hub.feed("ann"))["items"]) == 1
    sessions = [await hub.connect("ann") for hub in hubs]
    # All at once, as a hub sees it that has not heard of the deletion.
    await client.hdel(PROJECTS, "acme")
    for name in keys_of(redis_server, "acme"):
        await client.delete(name)
    again = await made(auth.new_secret_key("owner")[0])
    await client.aclose()
    assert [await session.close_code() for session in sessions] == [4503, 4503]
    for hub in hubs:
        hub.api_key = again.api_key
        assert (await hub.feed("ann"))["items"] == []


async def test_a_send_that_is_tried_again_after_its_user_was_erased_is_not_logged_again(
    hub: RunningHub, redis_server: RedisServer
) -> None:
    said = {"category": "order.updated", "target": {"type": "user", "id": "ann"}, "title": "Hello"}
    headers = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
    async with hub.http() as http:

        async def send() -> Any:
            once = {"idempotency-key": "once"}
            return await http.post("/v1/messaging/notifications", json=said, headers=hub.producer | once)

        assert (await send()).status_code == 202
        assert redis_server.client.hlen("{default}:log:rows") == 1
        assert (await http.delete("/admin/v1/users/ann", headers=headers)).status_code == 204
        assert (await send()).headers["idempotent-replayed"] == "true"
    assert redis_server.client.hlen("{default}:log:rows") == 0


async def test_what_was_answered_about_a_users_entries_is_gone_with_the_user(
    hub: RunningHub, redis_server: RedisServer
) -> None:
    said = {"category": "order.updated", "target": {"type": "user", "id": "ann"}, "title": "Secret"}
    about_ann = hub.producer | {"x-bellhub-user": "ann", "idempotency-key": "once"}
    headers = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
    async with hub.http() as http:
        sent = (await http.post("/v1/messaging/notifications", json=said, headers=hub.producer)).json()["id"]

        async def read() -> Any:
            return await http.post(f"/v1/messaging/notifications/{sent}/actions/read", headers=about_ann)

        assert [(await read()).status_code for _ in range(2)] == [200, 200]
        assert "Secret" in redis_text(redis_server, "{default/ann}")
        assert (await http.delete("/admin/v1/users/ann", headers=headers)).status_code == 204
        assert "Secret" not in redis_text(redis_server, "{default/ann}")
        assert (await read()).status_code == 404


async def test_a_run_passes_over_whoever_was_erased_since_it_was_asked_for(
    hub: RunningHub, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "CHUNK", 1)
    redis = redis_server.client
    project = hub.hub.directory.project("default")
    assert project is not None

    async def ask(method: str, path: str, body: Any = None) -> Any:
        return await admin(hub, project, hub.secret, method, path, body)

    async def run(*names: str) -> None:
        recipients = [{"external_id": name, "first_name": "Described"} for name in names]
        actor = {"external_id": "eve", "first_name": "Eve"}
        await ask("POST", "/notiflows/hello/run", {"recipients": recipients, "actor": actor})

    def entries(name: str) -> int:
        return int(redis.zcard(User("default", name).feed("inbox").key("active")))

    await ask("PUT", "/notiflows/hello", {"template": {"title": "Hello"}})
    for name in ("ann", "bob"):
        await ask("PUT", f"/users/{name}", {})
    async with hub.hub.fanout._turn:  # nothing is rendered: ann's chunk is under way, the others wait
        await run("ann", "bob", "cy")
        await until(lambda: redis.hexists(keys.profiles("default"), "eve"))
        for name in ("ann", "bob", "eve"):
            await ask("DELETE", f"/users/{name}")
        await ask("PUT", "/users/bob", {})
    await until(lambda: redis.zcard(keys.runs("default")) == 0)
    assert sorted(redis.hkeys(keys.profiles("default"))) == ["bob", "cy"]
    assert (await ask("GET", "/users/bob"))["first_name"] is None, "another one, not the one who was described"
    assert [entries(name) for name in ("ann", "bob", "cy")] == [0, 0, 1]
    (entry,) = (await hub.feed("cy"))["items"]
    assert entry["actor"] is None
    assert [json.loads(row)[0] for row in redis.hvals(keys.log_rows("default"))] == ["cy"]
    stored = redis_text(redis_server, "{default}")
    assert [name for name in ("ann", "eve", "Eve") if f'"{name}"' in stored] == []
    await run("bob")
    await until(lambda: redis.zcard(keys.runs("default")) == 0)
    assert [entries(name) for name in ("ann", "bob")] == [0, 1], "what was asked for since comes"


def redis_text(server: RedisServer, tag: str) -> str:
    """All that is stored in hashes and strings under a hash tag."""
    read = {"hash": server.client.hgetall, "string": server.client.get}
    found = [(server.client.type(key), key) for key in server.client.scan_iter(match=f"{tag}:*")]
    return "".join(str(read[kind](key)) for kind, key in found if kind in read)
