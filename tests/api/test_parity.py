"""One store behind every door: what is done at one of them looks the same at all of them, and is one event.

Doors that change an entry: the socket, the User API, the Messaging API, the command line, runs of notiflows. The Admin
API shows it as a delivery.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

from hub.cli import bellhub
from hub.keys import User
from hub.model import START
from tests.api.user_api import ENTRIES, FEED, Http
from tests.conftest import StartHub
from tests.harness import Client, RunningHub, clean_env, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTIFICATIONS = "/v1/messaging/notifications"
NO_SETTINGS = dict.fromkeys(name for name in os.environ if name not in clean_env())
SENDING: dict[str, Any] = {
    "body": "It is on its way",
    "url": "/orders/17",
    "topic": "orders",
    "priority": "high",
    "data": {"n": [1, None, {"é": "😀"}]},
    "sender": {"id": "bob", "type": "user", "name": "Bob Ågren", "handle": "bob@example.com"},
    "resource": {"id": "17", "type": "order", "name": "Order 17"},
}


@dataclass
class World:
    """Ann at every door."""

    hub: RunningHub
    name: str
    user: Http
    messaging: Http
    key: Http
    admin: Http
    socket: Client

    async def command(self, *args: str) -> Any:
        """What a command answers; it runs in a thread, since it has a loop of its own."""
        argv = [*args, "--json", "--redis-url", str(self.hub.settings.redis_url)]
        result = await asyncio.to_thread(CliRunner().invoke, bellhub, argv, env=NO_SETTINGS)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


@asynccontextmanager
async def world_of(hub: RunningHub, ann: str) -> AsyncIterator[World]:
    async with hub.http() as user, hub.http() as messaging, hub.http() as key, hub.http() as admin:
        user.headers.update(hub.user_headers(ann))
        messaging.headers.update({"x-notiflows-api-key": hub.api_key, "authorization": f"Bearer {hub.token(ann)}"})
        key.headers.update(hub.producer | {"x-bellhub-user": ann})
        admin.headers.update({"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret})
        socket = await hub.connect(ann, subscribe=False)
        yield World(hub, ann, user, messaging, key, admin, socket)
        await socket.close()


@pytest_asyncio.fixture(loop_scope="module")
async def world(hub: RunningHub, ann: str) -> AsyncIterator[World]:
    async with world_of(hub, ann) as found:
        yield found


# ---- the doors ---------------------------------------------------------------------------------------


async def by_socket(world: World, verb: str, entry_id: str) -> None:
    assert (await world.socket.ask(verb, channel="inbox", ids=[entry_id]))["type"] == "ack"


async def by_socket_upto(world: World, verb: str, entry_id: str) -> None:
    cursor = (await world.socket.ask("list", channel="inbox"))["cursor"]
    assert (await world.socket.ask(verb, channel="inbox", upto=cursor))["type"] == "ack"


FLAGS = {
    "seen": {"seen": True},
    "read": {"read": True},
    "click": {"clicked": True},
    "archive": {"archived": True},
    "unarchive": {"archived": False},
}


async def by_patch(world: World, verb: str, entry_id: str) -> None:
    answer = await world.user.patch(f"{ENTRIES}/{entry_id}", json=FLAGS[verb])
    assert (answer.status_code, answer.json()["id"]) == (200, entry_id)


async def by_batch(world: World, verb: str, entry_id: str) -> None:
    answer = await world.user.patch(ENTRIES, json={"entry_ids": [entry_id], "set": FLAGS[verb]})
    assert (answer.status_code, answer.json()[0]["id"]) == (200, entry_id)


async def by_mark_all(world: World, verb: str, entry_id: str) -> None:
    assert (await world.user.post(f"{FEED}/mark-all", json={"verb": verb})).status_code == 200


async def by_action(world: World, verb: str, entry_id: str) -> None:
    answer = await world.messaging.post(f"{NOTIFICATIONS}/{entry_id}/actions/{verb}")
    assert (answer.status_code, answer.json()["id"]) == (200, entry_id)


async def by_action_of_a_key(world: World, verb: str, entry_id: str) -> None:
    answer = await world.key.post(f"{NOTIFICATIONS}/{entry_id}/actions/{verb}")
    assert (answer.status_code, answer.json()["id"]) == (200, entry_id)


async def by_mark_all_seen(world: World, verb: str, entry_id: str) -> None:
    assert (await world.messaging.post(f"{NOTIFICATIONS}/actions/mark-all-{verb}")).status_code == 200


async def by_command(world: World, verb: str, entry_id: str) -> None:
    await world.command("mark", verb, world.name, entry_id)


async def by_command_upto(world: World, verb: str, entry_id: str) -> None:
    await world.command("mark", verb, world.name, "--upto", "top")


Door = Callable[[World, str, str], Awaitable[None]]
EVERY_VERB = ("seen", "read", "click", "archive", "unarchive", "dismiss")
WITH_UPTO = ("seen", "read", "archive", "dismiss")
DOORS: dict[Door, tuple[str, ...]] = {
    by_socket: EVERY_VERB,
    by_socket_upto: WITH_UPTO,
    by_patch: tuple(FLAGS),
    by_batch: tuple(FLAGS),
    by_mark_all: WITH_UPTO,
    by_action: ("seen", "read", "dismiss"),
    by_action_of_a_key: ("seen", "read", "dismiss"),
    by_mark_all_seen: ("seen",),
    by_command: EVERY_VERB,
    by_command_upto: WITH_UPTO,
}
"""Every door, and the verbs that can be asked for there."""
SETS = {
    "seen": {"seen_at"},
    "read": {"seen_at", "read_at"},
    "click": {"seen_at", "read_at", "clicked_at"},
    "archive": {"archived_at"},
    "unarchive": set(),
    "dismiss": {"dismissed_at"},
}
STATUS = {"seen": "seen", "read": "read", "click": "read", "archive": "archived", "unarchive": "unseen"}
COUNTS = {
    "seen": {"unseen": 0, "unread": 1, "total": 1},
    "read": {"unseen": 0, "unread": 0, "total": 1},
    "click": {"unseen": 0, "unread": 0, "total": 1},
    "archive": {"unseen": 0, "unread": 0, "total": 0},
    "unarchive": {"unseen": 1, "unread": 1, "total": 1},
    "dismiss": {"unseen": 0, "unread": 0, "total": 0},
}


# ---- how it looks ------------------------------------------------------------------------------------


async def everywhere(world: World, entry_id: str, *, logged: bool = True) -> dict[str, Any]:
    """The entry, once it was seen to be the same at every door: as the User API shows it, and `updated_at`.

    `logged`: it is a delivery, too; what is announced is not.
    """
    one = (await world.user.get(f"{ENTRIES}/{entry_id}")).json()
    status = one["status"]
    listed = (await world.user.get(ENTRIES, params={"status": status})).json()["items"]
    page = await world.socket.ask("list", channel="inbox", status=status)
    assert listed == page["entries"] == [one]
    include = {"include": "sender,resource"}
    notification = (await world.messaging.get(f"{NOTIFICATIONS}/{entry_id}", params=include)).json()
    assert notification == (await world.key.get(f"{NOTIFICATIONS}/{entry_id}", params=include)).json()
    below = "read" if one["read_at"] else "seen" if one["seen_at"] else "unseen"
    assert notification["status"] == (below if status == "archived" else status)
    for name in ("id", "category", "priority", "created_at", "seen_at", "read_at", "dismissed_at"):
        assert notification[name] == one[name], name
    assert (notification["title"], notification["body"]) == (one["data"]["title"], one["data"].get("body"))
    if one["actor"] is not None:
        assert notification["sender"]["handle"] == one["actor"]["email"]
        assert notification["resource"]["id"] == one["resource"]["id"]
    delivery = await world.admin.get(f"/admin/v1/users/{world.name}/deliveries/{entry_id}")
    assert delivery.status_code == (200 if logged else 404)
    if logged:
        times = ("created_at", "sent_at", "seen_at", "read_at", "clicked_at", "archived_at", "dismissed_at")
        shared = ("id", "topic", "data", *times)
        assert {name: delivery.json()[name] for name in shared} == {name: one[name] for name in shared}
        assert delivery.json()["updated_at"] == notification["updated_at"]
    return one | {"updated_at": notification["updated_at"]}


async def counts_everywhere(world: World) -> dict[str, int]:
    """The counts, once they were seen to be the same at every door."""
    counts = (await world.user.get(f"{FEED}/counts")).json()
    cursor = counts.pop("cursor")
    page = await world.socket.ask("list", channel="inbox")
    listed = (await world.user.get(ENTRIES)).json()
    explained = (await world.user.get(f"{FEED}/explain")).json()
    unread = (await world.messaging.get(f"{NOTIFICATIONS}/unread-count")).json()
    assert (page["counts"], page["cursor"]) == (counts, cursor)
    assert (listed["total_unseen"], listed["total_unread"]) == (counts["unseen"], counts["unread"])
    assert {name: explained[name]["count"] for name in counts} == counts
    assert unread["notifications"] == counts["unseen"]
    found: dict[str, int] = counts
    return found


async def told(world: World, begins: str, *sessions: Client) -> list[dict[str, Any]]:
    """The events that every one of the sessions got after the one with the cursor `begins`: the same for all."""
    last = await world.hub.send(world.name, "last")
    found = []
    for session in sessions:
        await session.first(lambda frame: frame["type"] == "entry" and frame["entry"]["id"] == last)
        events = [frame for frame in session.frames if frame["type"] in ("entry", "state", "gone")]
        cursors = [frame["cursor"] for frame in events]
        first = cursors.index(begins) + 1 if begins in cursors else 0
        assert [frame["prev"] for frame in events[first:]] == [begins, *cursors[first:-1]]
        found.append(events[first:-1])
    assert all(events == found[0] for events in found)
    return found[0]


# ---- marks -------------------------------------------------------------------------------------------

CASES = [pytest.param(door, verb, id=f"{door.__name__}-{verb}") for door, verbs in DOORS.items() for verb in verbs]


@pytest.mark.parametrize(("door", "verb"), CASES)
async def test_a_mark_is_the_same_whoever_makes_it(world: World, door: Door, verb: str) -> None:
    """docs/protocol.md, section 5: "It makes no difference who asked: a session, a REST call"."""
    entry_id = await world.hub.send(world.name, "Order 17", **SENDING)
    if verb == "unarchive":
        await by_socket(world, "archive", entry_id)
    sessions = await both(world)
    before, begins = await everywhere(world, entry_id), sessions[0].cursor
    await door(world, verb, entry_id)
    after = await everywhere(world, entry_id)
    assert await counts_everywhere(world) == COUNTS[verb]
    # The same again, at every door where it can be said, changes nothing more.
    for other, verbs in DOORS.items():
        if verb in verbs:
            await other(world, verb, entry_id)
    assert await everywhere(world, entry_id) == after
    (state,) = await told(world, begins, *sessions)
    by = world.socket.frames[0]["session"] if door in (by_socket, by_socket_upto) else None
    assert (state["type"], state["verbs"], state["ids"], state["by"]) == ("state", [verb], [entry_id], by)
    assert state["counts"] == COUNTS[verb]
    # And its time is that of everything which it set.
    changes = dict.fromkeys(SETS[verb], state["at"]) | {"updated_at": state["at"]}
    if verb == "unarchive":
        changes["archived_at"] = None
    assert after == before | changes | {"status": STATUS.get(verb, "dismissed")}


async def both(world: World) -> list[Client]:
    """Two more sessions, one in each codec."""
    return [await world.hub.connect(world.name, protocol=f"bellhub.v1.{codec}") for codec in ("json", "msgpack")]


# ---- coming and going --------------------------------------------------------------------------------


async def send_over_rest(world: World) -> str:
    more = {"body": "soon", "url": "/17", "data": {"number": 17}, "source_key": "s"}
    return await world.hub.send(world.name, "Order 17", **more)


async def send_by_command(world: World) -> str:
    options = ["--body", "soon", "--url", "/17", "--data", '{"number": 17}', "--source-key", "s"]
    options += ["--category", "order.updated"]
    return str((await world.command("send", world.name, "Order 17", *options))["id"])


async def run_a_notiflow(world: World) -> str:
    template = {"title": "Order {{ data.number }}", "body": "soon", "action_url": "/{{ data.number }}"}
    definition = {"name": "Orders", "category": "order.updated", "template": template}
    assert (await world.admin.put("/admin/v1/notiflows/orders", json=definition)).status_code in (200, 201)
    body = {"recipients": [{"external_id": world.name}], "data": {"number": 17}}
    assert (await world.admin.post("/admin/v1/notiflows/orders/run", json=body)).status_code == 202
    deliveries: list[Any] = []
    while not deliveries:  # it is logged after it is in the feed
        page = await world.admin.get("/admin/v1/deliveries", params={"limit": 1})
        deliveries = [one for one in page.json()["items"] if one["recipient"]["external_id"] == world.name]
    return str(deliveries[0]["id"])


@pytest.mark.parametrize("send", [send_over_rest, send_by_command, run_a_notiflow], ids=lambda door: door.__name__)
async def test_an_entry_is_the_same_whoever_sends_it(world: World, send: Callable[[World], Awaitable[str]]) -> None:
    sessions = await both(world)
    entry_id = await send(world)
    shown = await everywhere(world, entry_id)
    assert await counts_everywhere(world) == {"unseen": 1, "unread": 1, "total": 1}
    (event,) = await told(world, START, *sessions)
    del shown["updated_at"]
    assert (event["type"], event["entry"], event["counts"]["total"]) == ("entry", shown, 1)
    assert shown["data"] == {"title": "Order 17", "body": "soon", "action_url": "/17", "number": 17}
    assert shown["category"] == "order.updated"


async def take_over_rest(world: World, entry_id: str) -> None:
    answer = await world.key.delete(f"{NOTIFICATIONS}/{entry_id}", params={"user": world.name})
    assert answer.json()["ids"] == [entry_id]


async def take_source_over_rest(world: World, entry_id: str) -> None:
    answer = await world.key.delete(NOTIFICATIONS, params={"user": world.name, "source_key": "s"})
    assert answer.json()["ids"] == [entry_id]


async def take_by_command(world: World, entry_id: str) -> None:
    assert (await world.command("withdraw", world.name, entry_id))["ids"] == [entry_id]


async def take_source_by_command(world: World, entry_id: str) -> None:
    assert (await world.command("withdraw", world.name, "--source-key", "s"))["ids"] == [entry_id]


@pytest.mark.parametrize(
    "take",
    [take_over_rest, take_source_over_rest, take_by_command, take_source_by_command],
    ids=lambda door: door.__name__,
)
async def test_what_is_taken_back_is_gone_everywhere(
    world: World, take: Callable[[World, str], Awaitable[None]]
) -> None:
    entry_id = await send_over_rest(world)
    sessions = await both(world)
    begins = sessions[0].cursor
    await take(world, entry_id)
    for http, path in (
        (world.user, f"{ENTRIES}/{entry_id}"),
        (world.messaging, f"{NOTIFICATIONS}/{entry_id}"),
        (world.key, f"{NOTIFICATIONS}/{entry_id}"),
    ):
        assert (await http.get(path)).status_code == 404
    refused = await world.socket.ask("read", channel="inbox", ids=[entry_id])
    assert (refused["type"], refused["code"]) == ("error", "not_found")
    assert (await world.messaging.get(NOTIFICATIONS)).json()["data"] == []
    assert await counts_everywhere(world) == {"unseen": 0, "unread": 0, "total": 0}
    (gone,) = await told(world, begins, *sessions)
    assert (gone["type"], gone["ids"], gone["reason"]) == ("gone", [entry_id], "withdrawn")


# ---- announcements -----------------------------------------------------------------------------------


async def announce_over_rest(world: World) -> str:
    body = {"category": "news", "title": "Hello all"}
    answer = await world.key.post("/v1/messaging/announcements", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def announce_by_command(world: World) -> str:
    return str((await world.command("announce", "Hello all", "--category", "news"))["id"])


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("announce", [announce_over_rest, announce_by_command], ids=lambda door: door.__name__)
@pytest.mark.parametrize("door", [door for door, verbs in DOORS.items() if "read" in verbs], ids=lambda d: d.__name__)
async def test_what_was_announced_can_be_marked_at_once_at_every_door(
    start_hub: StartHub, announce: Callable[[World], Awaitable[str]], door: Door
) -> None:
    """docs/api.md, Announcements: the entry is there for whoever asks, first of all for a mark."""
    hub = await start_hub()
    async with world_of(hub, "ann") as world, world_of(hub, "bob") as other:
        entry_id = await announce(world)
        await until(lambda: hub.hub.store.live.newest(User("default", "ann").feed("inbox")))
        await door(world, "read", entry_id)
        assert (await everywhere(world, entry_id, logged=False))["status"] == "read"
        assert await counts_everywhere(world) == {"unseen": 0, "unread": 0, "total": 1}
        assert (await everywhere(other, entry_id, logged=False))["status"] == "unseen"
        assert await counts_everywhere(other) == {"unseen": 1, "unread": 1, "total": 1}
