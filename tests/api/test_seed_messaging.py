"""Seed 1, sentence by sentence: *Mark Notification Seen*, `POST /v1/messaging/notifications/{id}/actions/seen`.

Each docstring names the place on that page that the test holds.
"""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hub.auth import new_secret_key
from hub.model import UUID
from hub.projects import add_secret_key
from tests.harness import RunningHub

NOTIFICATIONS = "/v1/messaging/notifications"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SENDER = {
    "id": "bob",
    "type": "user",
    "name": "Bob Ågren",
    "handle": "bob@example.com",
    "avatar_url": "https://x.example/b",
}
RESOURCE = {"id": "17", "type": "account", "name": "Acme", "handle": "acme"}

Response = httpx2.Response
Http = httpx2.AsyncClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


@pytest_asyncio.fixture(loop_scope="module")
async def http(hub: RunningHub, ann: str) -> AsyncIterator[Http]:
    """Ann's own requests."""
    async with hub.http() as client:
        client.headers.update({"x-notiflows-api-key": hub.api_key, "authorization": f"Bearer {hub.token(ann)}"})
        yield client


async def act(http: Http, entry_id: str, verb: str = "seen", **query: Any) -> Response:
    return await http.post(f"{NOTIFICATIONS}/{entry_id}/actions/{verb}", params=query)


async def marked(http: Http, entry_id: str, verb: str = "seen", **query: Any) -> dict[str, Any]:
    answer = await act(http, entry_id, verb, **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# ---- the operation -----------------------------------------------------------------------------------


async def test_the_answer_has_the_shape_of_the_page(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1: "POST /v1/messaging/notifications/{id}/actions/seen"; Responses: 200, "Successful
    response for Mark Notification Seen"."""
    entry_id = await hub.send(ann, "Order 17", body="It is on its way", sender=SENDER, resource=RESOURCE)
    answer = await act(http, entry_id, **{"include[]": ["sender", "resource"]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    for name in ("seen_at", "created_at", "updated_at"):
        assert TIME.fullmatch(found.pop(name)), name
    assert found == {
        "id": entry_id,
        "object": "notification",
        "category": "order.updated",
        "title": "Order 17",
        "body": "It is on its way",
        "status": "seen",
        "priority": "normal",
        "sender": {
            "id": "bob",
            "object": "actor",
            "type": "user",
            "name": "Bob Ågren",
            "handle": "bob@example.com",
            "avatar_url": "https://x.example/b",
            "role": None,
        },
        "resource": {"id": "17", "object": "entity", "type": "account", "name": "Acme", "handle": "acme"},
        "read_at": None,
        "dismissed_at": None,
    }


async def test_the_keys_stand_in_the_order_of_the_page(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, the fields of the response, top to bottom."""
    found = await marked(http, await hub.send(ann, sender=SENDER, resource=RESOURCE), include="sender,resource")
    assert list(found) == [
        *("id", "object", "category", "title", "body", "status", "priority", "sender", "resource"),
        *("seen_at", "read_at", "dismissed_at", "created_at", "updated_at"),
    ]
    assert list(found["sender"]) == ["id", "object", "type", "name", "handle", "avatar_url", "role"]
    assert list(found["resource"]) == ["id", "object", "type", "name", "handle"]


async def test_it_marks_a_notification_as_seen(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, the summary: "Marks a notification as seen"; in every API and on every open socket."""
    session = await hub.connect(ann)
    entry_id = await hub.send(ann)
    found = await marked(http, entry_id)
    assert found["status"] == "seen"
    state = await session.next("state")
    assert (state["ids"], state["verbs"], state["at"]) == ([entry_id], ["seen"], found["seen_at"])
    assert state["counts"] == {"unseen": 0, "unread": 1, "total": 1}
    (entry,) = (await hub.feed(ann))["items"]
    assert (entry["status"], entry["seen_at"]) == ("seen", found["seen_at"])


async def test_it_is_idempotent_with_an_idempotency_key(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, below the title: "Idempotent with Idempotency-Key header"."""
    entry_id, key = await hub.send(ann), {"idempotency-key": "k"}
    path = f"{NOTIFICATIONS}/{entry_id}/actions/seen"
    first = await http.post(path, headers=key)
    await marked(http, entry_id, "read")
    again = await http.post(path, headers=key)
    assert (again.status_code, again.text) == (200, first.text)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("role", "status"), [("support", 200), ("messaging:update", 200), ("owner", 200), ("reader", 403), ("sender", 403)]
)
@pytest.mark.parametrize("kind", ["api_key", "agent"])
async def test_the_role_behind_the_key_must_grant_messaging_update(
    hub: RunningHub, ann: str, role: str, status: int, kind: str
) -> None:
    """Seed 1, Permissions required: "Values: messaging:update", "The role behind your API key or agent must grant every
    one of these permissions"."""
    entry_id = await hub.send(ann)
    key, secret = new_secret_key(role, kind=kind, name="Bot")
    await hub.change_project(lambda p: add_secret_key(p, key))
    async with hub.http() as client:
        client.headers.update({"authorization": f"Bearer {secret}", "x-bellhub-user": ann})
        answer = await act(client, entry_id)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["details"] == {"required_scope": "messaging:update"}
        assert (await hub.feed(ann))["total_unseen"] == 1


async def test_the_id_in_the_path_is_the_notifications(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, path parameter id: "Notification ID"."""
    first, second = await hub.send(ann, "1"), await hub.send(ann, "2")
    assert (await marked(http, first))["id"] == first
    assert {e["id"]: e["status"] for e in (await hub.feed(ann))["items"]} == {first: "seen", second: "unseen"}


@pytest.mark.parametrize("unknown", ["x", "0198f000-0000-7000-8000-000000000000", "%00", "a%2Fb"])
async def test_an_id_that_is_nobodys_is_404(http: Http, unknown: str) -> None:
    """Seed 1, path parameter id."""
    answer = await act(http, unknown)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


# ---- include[] ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expanded"),
    [
        ({}, set()),
        ({"include[]": "sender"}, {"sender"}),
        ({"include[]": "resource"}, {"resource"}),
        ({"include[]": ["sender", "resource"]}, {"sender", "resource"}),
        ({"include": "resource,sender"}, {"sender", "resource"}),
        ({"include": "sender"}, {"sender"}),
        ({"include": ["sender", "resource"]}, {"sender", "resource"}),
        ({"include[]": ["sender", "sender"]}, {"sender"}),
    ],
    ids=str,
)
async def test_sub_objects_are_null_unless_included(
    hub: RunningHub, http: Http, ann: str, query: dict[str, Any], expanded: set[str]
) -> None:
    """Seed 1, include[]: "Sub-objects to expand in the response. When omitted, sub-objects are returned as null"; in
    every answer that shows one."""
    entry_id = await hub.send(ann, sender=SENDER, resource=RESOURCE)
    one = await http.get(f"{NOTIFICATIONS}/{entry_id}", params=query)
    listed = await http.get(NOTIFICATIONS, params=query)
    shown = [await marked(http, entry_id, verb, **query) for verb in ("seen", "read", "dismiss")]
    for found in [*shown, one.json(), *listed.json()["data"]]:
        assert {name for name in ("sender", "resource") if found[name] is not None} == expanded


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"include[]": "actor"}, "'actor'"),
        ({"include[]": ["sender", "Sender"]}, "'Sender'"),
        ({"include": "sender,data"}, "'data'"),
        ({"include": "sender.role"}, "'sender.role'"),
        ({"include[]": "sender,resource"}, "'sender,resource'"),
        ({"include": ""}, "''"),
    ],
    ids=str,
)
async def test_what_cannot_be_included_is_named(
    hub: RunningHub, http: Http, ann: str, query: dict[str, Any], named: str
) -> None:
    """Seed 1, include[]: "Values: sender, resource"."""
    entry_id = await hub.send(ann)
    answers = [
        *[await act(http, entry_id, verb, **query) for verb in ("seen", "read", "dismiss")],
        await http.get(f"{NOTIFICATIONS}/{entry_id}", params=query),
        await http.get(NOTIFICATIONS, params=query),
    ]
    for answer in answers:
        assert answer.status_code == 400
        found = answer.json()["error"]
        assert (found["type"], found["param"]) == ("invalid_request_error", "include")
        assert named in found["message"]
        assert "sender, resource" in found["message"]
    assert (await hub.feed(ann))["total_unseen"] == 1


# ---- the notification --------------------------------------------------------------------------------


async def test_the_object_is_a_notification_with_its_id(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, id: "Notification ID"; object: "Resource type identifier", "Values: notification"."""
    entry_id = await hub.send(ann)
    found = await marked(http, entry_id)
    assert (found["id"], found["object"]) == (entry_id, "notification")
    assert UUID.fullmatch(found["id"])


@pytest.mark.parametrize(
    "category",
    [
        "chat.message",
        "chat.mention",
        "chat.added",
        "order.updated",
        "agent.run_completed",
        "agent.alert",
        "system.broadcast",
        "customer.registered",
        "anything_else.1",
    ],
)
async def test_any_category_is_kept(hub: RunningHub, http: Http, ann: str, category: str) -> None:
    """Seed 1, category: "The kind of event this notification represents. The set is open-ended and may grow over time",
    and each of the "Common first-party categories": "chat.message: a new message in a conversation", "chat.mention: a
    direct @mention, delivered even when the conversation is muted" (here nothing is: it arrives as all do),
    "chat.added: the user was added to a conversation", "order.updated: an order the user is involved with changed",
    "agent.run_completed: an agent run the user triggered finished", "agent.alert: an agent raised an alert during a
    run", "system.broadcast: a targeted system message"."""
    assert (await marked(http, await hub.send(ann, category=category)))["category"] == category


async def test_the_title_is_text(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, title: "Human-readable title"."""
    assert (await marked(http, await hub.send(ann, "Ann, look")))["title"] == "Ann, look"


@pytest.mark.parametrize(("body", "shown"), [("It is on its way", "It is on its way"), ("", ""), (None, None)])
async def test_the_body_is_text_or_null(hub: RunningHub, http: Http, ann: str, body: Any, shown: Any) -> None:
    """Seed 1, body, nullable: "Preview/body text"."""
    assert (await marked(http, await hub.send(ann, body=body)))["body"] == shown


async def test_the_status_goes_through_the_lifecycle(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, status: "Where the notification is in its lifecycle", "unseen: not yet surfaced in the notification
    dropdown", "seen: surfaced in the dropdown but not yet opened", "read: explicitly opened by the user", "dismissed:
    removed from the active feed"."""
    entry_id = await hub.send(ann)
    path = f"{NOTIFICATIONS}/{entry_id}"
    assert (await http.get(path)).json()["status"] == "unseen"
    assert [(await marked(http, entry_id, verb))["status"] for verb in ("seen", "read")] == ["seen", "read"]
    assert [n["id"] for n in (await http.get(NOTIFICATIONS)).json()["data"]] == [entry_id]
    assert (await marked(http, entry_id, "dismiss"))["status"] == "dismissed"
    assert (await http.get(NOTIFICATIONS)).json()["data"] == []
    assert (await http.get(path)).json()["status"] == "dismissed"


@pytest.mark.parametrize("before", ["read", "dismiss"])
async def test_the_status_never_goes_back(hub: RunningHub, http: Http, ann: str, before: str) -> None:
    """Seed 1, status: what is read or dismissed stays so when it is seen."""
    entry_id = await hub.send(ann)
    status = (await marked(http, entry_id, before))["status"]
    assert (await marked(http, entry_id))["status"] == status


@pytest.mark.parametrize(
    ("sent", "shown"), [("low", "low"), ("normal", "normal"), ("high", "high"), ("urgent", "high"), (None, "normal")]
)
async def test_the_priority_is_one_of_three(hub: RunningHub, http: Http, ann: str, sent: Any, shown: str) -> None:
    """Seed 1, priority: "Delivery priority", "Values: low, normal, high"; urgent is its send page's."""
    more = {} if sent is None else {"priority": sent}
    assert (await marked(http, await hub.send(ann, **more)))["priority"] == shown


# ---- its sender --------------------------------------------------------------------------------------


ACTOR = {"object": "actor", "role": None}


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        (
            SENDER,
            {
                "id": "bob",
                "type": "user",
                "name": "Bob Ågren",
                "handle": "bob@example.com",
                "avatar_url": "https://x.example/b",
            },
        ),
        (
            {"id": "u", "type": "user"},
            {"id": "u", "type": "user", "name": None, "handle": None, "avatar_url": None},
        ),
        (
            {"id": "k", "type": "api_key", "name": "CI", "handle": "sk_…9f2c", "avatar_url": "https://x.example/k"},
            {"id": "k", "type": "api_key", "name": "CI", "handle": "sk_…9f2c", "avatar_url": None},
        ),
        (
            {"id": "a", "type": "agent", "name": "Bot", "handle": "bot@x", "avatar_url": "https://x.example/a"},
            {"id": "a", "type": "agent", "name": "Bot", "handle": None, "avatar_url": None},
        ),
        (
            {
                "id": "g",
                "type": "group",
                "name": "Customer Service",
                "handle": "cs",
                "avatar_url": "https://x.example/g",
            },
            {"id": "g", "type": "group", "name": "Customer Service", "handle": None, "avatar_url": None},
        ),
    ],
    ids=lambda value: value["type"],
)
async def test_the_sender_is_an_actor_of_its_kind(
    hub: RunningHub, http: Http, ann: str, sender: dict[str, Any], shown: dict[str, Any]
) -> None:
    """Seed 1, sender: "The actor that generated this notification — a user, group, agent, or API key"; id "Unique
    identifier of the actor"; object "Values: actor"; type "user: a human user account", "api_key: a programmatic caller
    authenticating with an API key", "agent: an automated agent acting on the account's behalf", "group: a shared group
    identity, such as a "Customer Service" persona"; name "The actor's display name"; handle "Human-readable handle
    identifying the actor. For user actors: the user's email address. For api_key actors: the redacted key value. Other
    actor types carry no handle"; avatar_url "URL of the actor's profile photo, if one is set. Only populated for user
    actors"; role "Assigned role. Always returned as null in this endpoint"."""
    found = await marked(http, await hub.send(ann, sender=sender), include="sender")
    assert found["sender"] == shown | ACTOR


async def test_the_system_is_no_sender(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, sender: "System-generated notifications have no sender"."""
    assert (await marked(http, await hub.send(ann), include="sender"))["sender"] is None


# ---- its resource ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["account", "actor", "entity", "sales_order"])
async def test_the_resource_is_an_entity_that_names_what_it_refers_to(
    hub: RunningHub, http: Http, ann: str, kind: str
) -> None:
    """Seed 1, resource: id "Unique identifier for the entity"; object "Values: entity"; type "The resource kind that
    this entity references, as an object-type value. Unlike object — which is always entity — this names the underlying
    resource the id points to"; name "Human-readable display name for the entity"; handle "Secondary human-readable
    identifier"."""
    full, least = RESOURCE | {"type": kind}, {"id": "17", "type": kind}
    found = [
        (await marked(http, await hub.send(ann, resource=r), include="resource"))["resource"] for r in (full, least)
    ]
    assert found == [
        {"id": "17", "object": "entity", "type": kind, "name": "Acme", "handle": "acme"},
        {"id": "17", "object": "entity", "type": kind, "name": None, "handle": None},
    ]


async def test_a_notification_may_link_to_nothing(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, resource: "The app resource this notification links to, if any"."""
    assert (await marked(http, await hub.send(ann), include="resource"))["resource"] is None


# ---- its times ---------------------------------------------------------------------------------------


async def test_each_time_is_set_once(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, seen_at "When the notification first appeared in the dropdown", read_at "When the notification was
    explicitly opened", dismissed_at "When the notification was dismissed", created_at "Creation timestamp", updated_at
    "Last update timestamp"."""
    entry_id = await hub.send(ann)
    times = ("created_at", "seen_at", "read_at", "dismissed_at")
    fresh = (await http.get(f"{NOTIFICATIONS}/{entry_id}")).json()
    assert TIME.fullmatch(fresh["created_at"])
    assert [fresh[name] for name in times[1:]] == [None, None, None]
    assert fresh["updated_at"] == fresh["created_at"]
    before = fresh
    for verb, name in (("seen", "seen_at"), ("read", "read_at"), ("dismiss", "dismissed_at")):
        after = await marked(http, entry_id, verb)
        assert TIME.fullmatch(after[name])
        assert after["updated_at"] == after[name]
        assert {**after, name: None, "updated_at": ..., "status": ...} == {**before, "updated_at": ..., "status": ...}
        assert await marked(http, entry_id, verb) == after
        before = after


async def test_reading_sees_and_dismissing_does_neither(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 1, status: read comes after seen; and its siblings: dismissing sets nothing else."""
    read = await marked(http, await hub.send(ann), "read")
    assert read["seen_at"] == read["read_at"]
    dismissed = await marked(http, await hub.send(ann), "dismiss")
    assert (dismissed["seen_at"], dismissed["read_at"]) == (None, None)


# ---- and nothing is left out -------------------------------------------------------------------------

PAGE = """
POST /v1/messaging/notifications/{id}/actions/seen
Idempotent with Idempotency-Key header
Marks a notification as seen
Values: messaging:update
The role behind your API key or agent must grant every one of these permissions
Notification ID
Values: sender, resource
Sub-objects to expand in the response
When omitted, sub-objects are returned as null
Resource type identifier
Values: notification
The kind of event this notification represents
The set is open-ended and may grow over time
Common first-party categories
chat.message: a new message in a conversation
chat.mention: a direct @mention, delivered even when the conversation is muted
chat.added: the user was added to a conversation
order.updated: an order the user is involved with changed
agent.run_completed: an agent run the user triggered finished
agent.alert: an agent raised an alert during a run
system.broadcast: a targeted system message
Human-readable title
Preview/body text
Where the notification is in its lifecycle
unseen: not yet surfaced in the notification dropdown
seen: surfaced in the dropdown but not yet opened
read: explicitly opened by the user
dismissed: removed from the active feed
Values: low, normal, high
Delivery priority
The actor that generated this notification — a user, group, agent, or API key
System-generated notifications have no sender
Unique identifier of the actor
Values: actor
user: a human user account
api_key: a programmatic caller authenticating with an API key
agent: an automated agent acting on the account's behalf
group: a shared group identity, such as a "Customer Service" persona
The actor's display name
Human-readable handle identifying the actor
For user actors: the user's email address
For api_key actors: the redacted key value
Other actor types carry no handle
URL of the actor's profile photo, if one is set
Only populated for user actors
Assigned role
Always returned as null in this endpoint
The app resource this notification links to, if any
Unique identifier for the entity
Values: entity
The resource kind that this entity references, as an object-type value
Unlike object — which is always entity — this names the underlying resource the id points to
Human-readable display name for the entity
Secondary human-readable identifier
When the notification first appeared in the dropdown
When the notification was explicitly opened
When the notification was dismissed
Creation timestamp
Last update timestamp
Successful response for Mark Notification Seen
"""
"""All that the page says in words, top to bottom; lists of values without their marks."""


@pytest.mark.parametrize("sentence", PAGE.strip().splitlines())
async def test_every_sentence_of_the_page_is_quoted_by_a_test(sentence: str) -> None:
    tests = [found for name, found in globals().items() if name.startswith("test_")]
    quotes = [" ".join((found.__doc__ or "").split()) for found in tests]
    assert any(sentence in quote for quote in quotes)
