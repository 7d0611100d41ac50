"""What is left in the store of a project or a user after they were deleted."""

import asyncio
from typing import Any

from hub import auth
from hub.app import store_client
from hub.model import Project
from hub.projects import Projects, add_secret_key
from tests.conftest import StartHub
from tests.harness import RedisServer, RunningHub, until


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
    client = store_client(redis_server.url)
    await Projects(client).delete("acme")
    await client.aclose()
    assert keys_of(redis_server, "acme") == []
    await asyncio.gather(*(until(lambda hub=hub: hub.hub.directory.project("acme") is None) for hub in hubs))
    assert keys_of(redis_server, "acme") == []
