"""Nobody reaches what is another user's or another project's: asked of every operation of the OpenAPI document.

The requests are made from the document, aimed at all that one user and one project have. A new operation is asked too,
and fails here until it is told what to aim its body at, and if it may answer anything but 404.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import redis
import yaml

from hub import auth, keys
from hub.auth import ALL_PERMISSIONS
from hub.model import Project
from hub.pages import operations, resolved
from hub.projects import add_channel, add_secret_key, add_signing_key
from tests.harness import SIGNING_KEY, Client, RedisServer, RunningHub, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text())
SECRET = "only for vic 7d1f9c"
"""In everything that is said to vic or about vic: no answer to anybody else may hold it."""
VIC, EVE = "vic", "eve"


@dataclass(frozen=True)
class Operation:
    """One operation of the document; `needs` is the permission that it demands."""

    id: str
    method: str
    path: str
    api: str
    needs: str | None
    parameters: list[dict[str, Any]]
    has_body: bool

    def takes(self, name: str) -> bool:
        return any(parameter["name"] == name for parameter in self.parameters)

    def named(self, where: str) -> list[str]:
        """The components that describe its parameters, which are more telling than the names."""
        return [parameter["component"] for parameter in self.parameters if parameter["in"] == where]


def _operation(method: str, path: str, operation: dict[str, Any]) -> Operation:
    said = [*DOCUMENT["paths"][path].get("parameters", ()), *operation.get("parameters", ())]
    parameters = [
        {"component": part.get("$ref", part.get("name", "")).rpartition("/")[2]} | dict(resolved(DOCUMENT, part))
        for part in said
    ]
    body = "requestBody" in operation
    needs = operation.get("x-permission")
    return Operation(operation["operationId"], method.upper(), path, operation["tags"][0], needs, parameters, body)


APIS = ("User API", "Messaging API", "Admin API")
OPERATIONS = {found.id: found for found in (_operation(*one) for one in operations(DOCUMENT)) if found.api in APIS}


@dataclass
class World:
    """A hub, a user vic with a bit of everything, and others who would like to have it.

    `things` are vic's and the project's own, by the components that name them in the document. `headers`: by attacker.
    """

    hub: RunningHub
    server: RedisServer
    socket: Client
    mine: Project
    theirs: Project
    things: dict[str, str]
    channels: dict[str, str]
    headers: dict[str, dict[str, str]] = field(default_factory=dict)

    async def ask(self, operation: Operation, headers: dict[str, str]) -> httpx2.Response:
        """The operation, aimed at all that is vic's."""
        path = operation.path
        for parameter in operation.parameters:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", self.thing(parameter["component"], operation))
        query = {
            parameter["name"]: self.thing(parameter["component"], operation)
            for parameter in operation.parameters
            if parameter["in"] == "query" and (parameter.get("required") or parameter["name"] == "channel_id")
        }
        body = aimed(operation, self) if operation.has_body else None
        async with self.hub.http() as http:
            return await http.request(operation.method, path, params=query, json=body, headers=headers)

    def thing(self, component: str, operation: Operation) -> str:
        if component == "channel_id":
            kind = next((kind for kind in ("feed", "settings", "subscriptions") if kind in operation.path), "feed")
            return self.channels[kind]
        return self.things[component]

    def forget_others(self) -> None:
        """Nothing is there of the attackers' own, which might answer in the place of what is vic's."""
        client = self.server.client
        own = [*client.scan_iter("{other*", count=1000), *client.scan_iter(f"{{{self.mine.id}/{EVE}}}:*", count=1000)]
        if own:
            client.delete(*own)
        client.hdel(keys.profiles(self.mine.id), EVE)
        client.zrem(keys.users(self.mine.id), EVE)
        client.close()

    def standing(self, but: str) -> dict[str, Any]:
        """Everything in the store that is vic's or vic's project's, but what lies there about another user."""
        client = redis.Redis(unix_socket_path=str(self.server.socket))
        found: dict[str, Any] = {"project": client.hget("{bellhub}:projects", self.mine.id)}
        prefix = f"{{{self.mine.id}"
        for key in sorted(client.scan_iter(f"{prefix}[/}}]*", count=1000)):
            name = key.decode()
            if name.startswith(f"{prefix}/{but}}}") or name.endswith(keys.digest(but)):
                continue
            found[name] = _value(client, key, but.encode())
        client.close()
        return found


def _value(client: redis.Redis, key: bytes, but: bytes) -> Any:
    match client.type(key):
        case b"hash":
            return {name: value for name, value in client.hgetall(key).items() if name != but}
        case b"zset":
            return [pair for pair in client.zrange(key, 0, -1, withscores=True) if pair[0] != but]
        case b"set":
            return client.smembers(key)
    return client.dump(key)


def aimed(operation: Operation, world: World) -> Any:
    """A body that reaches for what is vic's. KeyError: a new operation, whose body is to be written here."""
    entry, feed, push = world.things["entry_id"], world.channels["feed"], world.channels["settings"]
    send = {"category": "order.updated", "title": "from somebody else", "channel": feed}
    settings = {"settings": {"device_tokens": ["token of somebody else"]}}
    endpoint = "https://push.example/of-somebody-else"
    bodies: dict[str, Any] = {
        "updateFeedEntries": {"entry_ids": [entry], "set": {"read": True}},
        "updateFeedEntry": {"read": True},
        "markAll": {"verb": "dismiss", "upto": world.things["cursor"]},
        "updatePreferences": {"channel_types": {"in_app": False}},
        "updateChannelSettings": settings,
        "putPushSubscription": {
            "identifier": world.things["identifier"],
            "settings": {"endpoint": endpoint, "p256dh": "key", "auth": "auth"},
        },
        "deletePushSubscription": {"identifier": world.things["identifier"]},
        "sendNotification": send | {"target": {"type": "user", "id": VIC}},
        "announce": send,
        "upsertUser": {"first_name": "Other", "channel_settings": [{"channel_id": push} | settings]},
        "updateUserPreferences": {"channel_types": {"in_app": False}},
        "updateUserChannelSettings": settings,
        "subscribeUser": {"topic_name": world.things["topic"]},
        "subscribeUsers": {"user_external_ids": [VIC]},
        "unsubscribeUsers": {"user_external_ids": [VIC]},
        "putNotiflow": {"template": {"title": "from somebody else"}, "channel": feed},
        "runNotiflow": {"recipients": [{"external_id": VIC}]},
    }
    return bodies[operation.id]


# ---- the world ---------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    server = RedisServer()
    hub = await RunningHub(server.url, key_rate="", user_rate="", ping_s=3600, console_key="k" * 32).start()
    for handle, kind in (("phone", "mobile_push"), ("browser", "web_push")):
        mine = await hub.change_project(lambda p, h=handle, k=kind: add_channel(p, h, k, None))
    await hub.add_project("other")
    key, secret = auth.new_secret_key("owner")
    theirs = await hub.change_project(lambda p: add_signing_key(add_secret_key(p, key), SIGNING_KEY), "other")
    socket = await hub.connect(VIC)
    channels = {kind: mine.by_name[name].id for kind, name in CHANNELS.items()}
    world = World(hub, server, socket, mine, theirs, {}, channels)
    world.things = await furnish(world)
    token = {"x-notiflows-user-key": hub.token(EVE), "authorization": f"Bearer {hub.token(EVE)}"}
    vics = {"x-notiflows-user-key": hub.token(VIC), "authorization": f"Bearer {hub.token(VIC)}"}
    admin = {"x-notiflows-api-key": theirs.api_key, "x-notiflows-secret-key": secret}
    rightful = {"x-notiflows-api-key": mine.api_key, "x-notiflows-secret-key": hub.secret}
    world.headers = {
        "vic": hub.user_headers(VIC),
        "my key": rightful | {"authorization": f"Bearer {hub.secret}", "x-bellhub-user": VIC},
        "eve": {"x-notiflows-api-key": mine.api_key, "x-bellhub-user": VIC} | token,
        "a key for eve": {"authorization": f"Bearer {hub.secret}", "x-bellhub-user": EVE},
        "their vic": {"x-notiflows-api-key": theirs.api_key} | vics,
        "their key": admin | {"authorization": f"Bearer {secret}", "x-bellhub-user": VIC},
    }
    yield world
    await socket.close()
    await hub.stop()
    server.remove()


CHANNELS = {"feed": "inbox", "settings": "phone", "subscriptions": "browser"}


async def furnish(world: World) -> dict[str, str]:
    """Gives vic, and the project, one of everything."""
    hub = world.hub
    admin = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
    things = {"external_id": VIC, "user": VIC, "handle": "vics", "topic": "vics", "source_key": "vics"}
    things["identifier"] = "https://push.example/of-vic"

    async with hub.http() as http:

        async def make(method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
            answer = await http.request(method, path, json=body, headers=headers)
            assert answer.status_code < 300, answer.text
            return answer.json() if answer.text else None

        await make("PUT", "/admin/v1/users/vic", admin, {"custom_fields": {"note": SECRET}})
        await make(
            "PUT", "/admin/v1/users/vic/channel-settings/phone", admin, {"settings": {"device_tokens": [SECRET]}}
        )
        await make("PUT", "/admin/v1/notiflows/vics", admin, {"template": {"title": SECRET}})
        await make("POST", "/admin/v1/topics/vics/subscriptions", admin, {"user_external_ids": [VIC]})
        await make("POST", "/admin/v1/notiflows/vics/run", admin, {"recipients": [{"external_id": VIC}]})
        push = {"endpoint": things["identifier"], "p256dh": SECRET, "auth": SECRET}
        await make(
            "POST",
            "/user/v1/channels/browser/subscriptions",
            hub.user_headers(VIC),
            {"identifier": things["identifier"], "settings": push},
        )
        things["entry_id"] = await hub.send(VIC, SECRET, source_key="vics")
        made = await make(
            "POST",
            "/v1/messaging/announcements",
            hub.producer,
            {"category": "system.news", "title": "for everybody of this project"},
        )
        things["announcement_id"] = made["id"]
        await until(lambda: len([frame for frame in world.socket.frames if frame["type"] == "entry"]) == 3)
        log = await make("GET", "/admin/v1/users/vic/notifications", admin)
        counts = await make("GET", "/user/v1/channels/inbox/feed/counts", hub.user_headers(VIC))
    things["notification_id"] = log["items"][0]["id"]
    things["id"] = things["delivery_id"] = things["entry_id"]
    things["cursor"] = counts["cursor"]
    things["session_id"] = _session(world.socket)
    return things


def _session(socket: Client) -> str:
    return str(next(frame for frame in socket.frames if frame["type"] == "welcome")["session"])


# ---- another user, another project -------------------------------------------------------------------

PROJECTS_OWN = {"channel_id", "announcement_id"}
"""What users of one project share."""
NOT_404 = {
    ("their key", "upsertUser"): (422, "a channel of another project, in the body"),
    ("their key", "putNotiflow"): (422, "a channel of another project, in the body"),
    ("their key", "listSessions"): (200, "users need not be known; there are none"),
    ("their key", "endSessions"): (204, "the same"),
    ("their key", "revokeTokens"): (200, "the same: it is their own vic"),
    ("their key", "subscribeUsers"): (207, "the topic is their own; their vic is not known"),
    ("their key", "withdrawNotifications"): (200, "none is no error"),
}
"""Where a foreign id is answered by something else than 404, and why that is right."""


def attackers(operation: Operation) -> list[str]:
    match operation.api:
        case "User API":
            return ["eve", "their vic"]
        case "Messaging API":
            for_eve = ["a key for eve"] if operation.takes("X-Bellhub-User") else []
            return ["eve", "their vic", "their key", *for_eve]
    return ["their key"]


def foreign(attacker: str, operation: Operation) -> bool:
    """Whether the operation names something that is not the attacker's."""
    named = set(operation.named("path"))
    if operation.has_body and operation.id in NAMING_BODIES:
        named.add("body")
    if attacker in ("eve", "a key for eve"):
        named -= PROJECTS_OWN
    return bool(named)


NAMING_BODIES = {"updateFeedEntries", "deletePushSubscription", "sendNotification", "announce"}
"""Operations whose body names what is not there for others."""


@pytest.mark.parametrize(
    ("attacker", "operation"),
    [(attacker, operation.id) for operation in OPERATIONS.values() for attacker in attackers(operation)],
)
async def test_what_is_somebody_elses_is_not_there_and_stays_as_it_is(
    world: World, attacker: str, operation: str
) -> None:
    asked, but = OPERATIONS[operation], EVE if "eve" in attacker else "-"
    world.forget_others()
    before, heard = world.standing(but), len(world.socket.frames)
    answer = await world.ask(asked, world.headers[attacker])
    assert SECRET not in answer.text
    assert answer.status_code < 500, answer.text
    expected = NOT_404.get((attacker, operation), (404, ""))[0]
    is_user = attacker in ("eve", "their vic")
    if is_user and asked.needs not in (None, "messaging:read", "messaging:update"):
        assert answer.status_code == 403
    elif foreign(attacker, asked) or (attacker, operation) in NOT_404:
        assert answer.status_code == expected, answer.text
    assert world.standing(but) == before
    assert len(world.socket.frames) == heard
    assert not world.socket.closed.done()


# ---- permissions and credentials ---------------------------------------------------------------------


async def key_of(world: World, role: str) -> dict[str, str]:
    """Credentials of a fresh key of vic's own project, for both APIs that know keys."""
    key, secret = auth.new_secret_key(role)
    await world.hub.change_project(lambda p: add_secret_key(p, key))
    return {
        "x-notiflows-api-key": world.hub.api_key,
        "x-notiflows-secret-key": secret,
        "authorization": f"Bearer {secret}",
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys_without(world: World) -> dict[str, dict[str, str]]:
    """By permission, a key that has all the others."""
    return {
        one: await key_of(world, ",".join(other for other in ALL_PERMISSIONS if other != one))
        for one in ALL_PERMISSIONS
    }


DEMANDING = [operation.id for operation in OPERATIONS.values() if operation.needs]


async def test_every_operation_for_keys_demands_a_permission() -> None:
    assert {operation.id for operation in OPERATIONS.values() if operation.api != "User API"} == set(DEMANDING)
    assert {OPERATIONS[operation].needs for operation in DEMANDING} == set(ALL_PERMISSIONS)


@pytest.mark.parametrize("operation", DEMANDING)
async def test_a_key_with_every_other_permission_is_told_which_one_it_lacks(
    world: World, keys_without: dict[str, dict[str, str]], operation: str
) -> None:
    asked = OPERATIONS[operation]
    assert asked.needs
    before = world.standing("-")
    answer = await world.ask(asked, keys_without[asked.needs] | {"x-bellhub-user": VIC})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "forbidden")
    assert error["details"] == {"required_scope": asked.needs}
    assert world.standing("-") == before


CREDENTIALS = {
    "none at all": {},
    "only the api key": {"x-notiflows-api-key": "mine"},
    "a key that nobody has": {
        "x-notiflows-api-key": "mine",
        "x-notiflows-secret-key": "sk_nobody",
        "authorization": "Bearer sk_nobody",
        "x-notiflows-user-key": "a.b.c",
    },
    "a name, outside of development": {"x-notiflows-api-key": "mine", "x-notiflows-user-id": VIC},
    "an operator's key that is none": {
        "x-notiflows-api-key": "mine",
        "x-bellhub-operator": "k" * 33,
        "x-bellhub-user": VIC,
    },
    "keys of two projects, a token of none": {
        "x-notiflows-api-key": "theirs",
        "x-notiflows-secret-key": "my secret",
        "authorization": "Bearer a token",
        "x-notiflows-user-key": "a token",
    },
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_without_good_credentials_everything_is_401(world: World, operation: str) -> None:
    nobodys = auth.sign(VIC, auth.new_signing_key("ES256")[1], "of-nobody", "ES256", 60, 0)
    real = {"mine": world.hub.api_key, "theirs": world.theirs.api_key, "my secret": world.hub.secret}
    before = world.standing("-")
    for credentials, headers in CREDENTIALS.items():
        said = {name: real.get(value, value.replace("a token", nobodys)) for name, value in headers.items()}
        answer = await world.ask(OPERATIONS[operation], said)
        assert answer.status_code == 401, (credentials, answer.text)
    assert world.standing("-") == before


# ---- those whose it is -------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [operation.id for operation in OPERATIONS.values() if operation.method == "GET"])
async def test_all_of_it_is_there_for_those_whose_it_is(world: World, operation: str) -> None:
    asked = OPERATIONS[operation]
    answer = await world.ask(asked, world.headers["vic" if asked.api == "User API" else "my key"])
    assert answer.status_code == 200, answer.text


ENDS = (
    "updateFeedEntries",
    "deletePushSubscription",
    "endSession",
    "withdrawNotification",
    "withdrawAnnouncement",
    "deleteNotiflow",
    "deleteUserChannelSettings",
    "unsubscribeUsers",
    "deleteTopic",
    "deleteUser",
)


async def test_the_same_requests_change_something_for_those_whose_it_is(world: World) -> None:
    for operation in ENDS:
        asked, before = OPERATIONS[operation], world.standing("-")
        answer = await world.ask(asked, world.headers["vic" if asked.api == "User API" else "my key"])
        assert answer.status_code in (200, 204), (operation, answer.text)
        changed = world.standing("-") != before
        assert changed or operation == "endSession"
    assert await world.socket.close_code() == 4503
