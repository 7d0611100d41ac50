"""Seed 2, sentence by sentence: *Update feed entry state*, `PATCH /channels/{channel_id}/feed/entries/{entry_id}`.

Each docstring names the place on that page, or on a sibling of it, that the test holds. What the page leaves open is in
`docs/api.md`, and in `test_feed.py`.
"""

import base64
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import pytest

from hub.auth import new_secret_key, new_signing_key, sign
from hub.keys import User
from hub.projects import add_channel, add_secret_key, add_signing_key
from tests.api.user_api import ENTRIES, FEED, NOWHERE, RFC3339, Http, Response, details, patch, shown
from tests.conftest import StartHub
from tests.harness import PRIVATE_PEM, SIGNING_KEY, RunningHub

FLAGS = ("seen", "read", "clicked", "archived")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


# ---- Idempotent Semantics, Invalid Operations --------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "status", "times"),
    [
        ("seen", "seen", {"seen_at"}),
        ("read", "read", {"seen_at", "read_at"}),
        ("clicked", "read", {"seen_at", "read_at", "clicked_at"}),
        ("archived", "archived", {"archived_at"}),
    ],
)
async def test_a_true_flag_sets_its_time(
    hub: RunningHub, http: Http, flag: str, status: str, times: set[str], ann: str
) -> None:
    """Seed 2: "Use this to mark notifications as seen, read, clicked, or archived."; "seen: true → Sets seen_at
    timestamp", "read: true → Sets read_at timestamp", "clicked: true → Sets clicked_at timestamp", "archived: true
    → Sets archived_at timestamp". docs/api.md: "and what `seen` sets".
    """
    entry_id = await hub.send(ann)
    answer = await patch(http, entry_id, **{flag: True})
    entry = answer.json()
    assert answer.status_code == 200
    assert entry["id"] == entry_id
    assert entry["status"] == status
    assert {name for name in entry if name.endswith("_at") and entry[name]} == times | {"created_at", "sent_at"}
    assert len({entry[name] for name in times}) == 1
    assert entry == await shown(http, entry_id)


@pytest.mark.parametrize("flag", FLAGS)
async def test_the_same_update_again_has_no_effect(hub: RunningHub, http: Http, flag: str, ann: str) -> None:
    """Seed 2: "State changes are idempotent - calling the same update multiple times has no additional effect"."""
    entry_id = await hub.send(ann)
    session = await hub.connect(ann)
    first = await patch(http, entry_id, **{flag: True})
    changed = await session.next("state")
    again = await patch(http, entry_id, **{flag: True})
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    other = await hub.send(ann)
    # Nothing lies between the one change and the next entry: the second PATCH wrote no event.
    assert (await session.next("entry"))["prev"] == changed["cursor"]
    assert (await shown(http, other))["status"] == "unseen"


async def test_original_timestamps_are_preserved(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "if currently null (preserves original timestamp if already set)"."""
    entry_id = await hub.send(ann)
    seen = (await patch(http, entry_id, seen=True)).json()
    read = (await patch(http, entry_id, read=True)).json()
    clicked = (await patch(http, entry_id, clicked=True, read=True, seen=True)).json()
    archived = (await patch(http, entry_id, archived=True)).json()
    once_more = (await patch(http, entry_id, archived=True, clicked=True)).json()
    assert seen["seen_at"] == read["seen_at"] == clicked["seen_at"]
    assert read["read_at"] == clicked["read_at"]
    assert once_more == archived
    assert archived["clicked_at"] == clicked["clicked_at"]


async def test_archived_false_clears_archived_at_and_nothing_else(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "archived: false → Clears archived_at (unarchives the entry)"."""
    entry_id = await hub.send(ann)
    read = (await patch(http, entry_id, read=True)).json()
    archived = (await patch(http, entry_id, archived=True)).json()
    assert archived["archived_at"]
    assert archived["status"] == "archived"
    assert (await patch(http, entry_id, archived=False)).json() == read
    again = await patch(http, entry_id, archived=False)
    assert (again.status_code, again.json()) == (200, read)


async def test_several_flags_are_one_change(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "State changes to apply", all of them optional booleans of one body."""
    entry_id = await hub.send(ann)
    session = await hub.connect(ann)
    entry = (await patch(http, entry_id, archived=True, clicked=True)).json()
    state = await session.next("state")
    assert state["verbs"] == ["click", "archive"]
    assert entry["seen_at"] == entry["read_at"] == entry["clicked_at"] == entry["archived_at"] == state["at"]
    assert state["counts"] == {"unseen": 0, "unread": 0, "total": 0}


@pytest.mark.parametrize("flag", ["seen", "read", "clicked"])
@pytest.mark.parametrize("already", [False, True], ids=["not set", "set"])
async def test_only_archived_can_be_taken_back(hub: RunningHub, http: Http, flag: str, already: bool, ann: str) -> None:
    """Seed 2: "These will return 409 Conflict: seen: false - Cannot unmark as seen, read: false - Cannot unmark as
    read, clicked: false - Cannot unmark as clicked. Only archived can be set to false to unarchive an entry." 409
    also where there is nothing to take back.
    """
    entry_id = await hub.send(ann)
    if already:
        await patch(http, entry_id, **{flag: True})
    before = await shown(http, entry_id)
    answer = await patch(http, entry_id, **{flag: False})
    found = details(answer, 409, "conflict")
    assert found.pop("reason") == "irreversible"
    assert found.pop("current_status") == before["status"]
    assert found.pop("allowed_transitions") == ["seen", "read", "clicked", "archived", "unarchived"]
    assert set(found) == {"allowed_statuses"}
    assert flag in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert await shown(http, entry_id) == before


@pytest.mark.parametrize(
    ("verbs", "status", "may_become"),
    [
        ((), "unseen", ["seen", "read", "archived"]),
        (("seen",), "seen", ["read", "archived"]),
        (("read",), "read", ["archived"]),
        (("archive",), "archived", ["unseen", "seen", "read"]),
        (("archive", "dismiss"), "dismissed", []),
    ],
)
async def test_a_conflict_says_where_the_entry_is_and_where_it_may_go(
    hub: RunningHub, http: Http, verbs: tuple[str, ...], status: str, may_become: list[str], ann: str
) -> None:
    """Seed 2: "current_status", "allowed_statuses"."""
    entry_id = await hub.send(ann)
    session = await hub.connect(ann, subscribe=False)
    for verb in verbs:
        assert (await session.ask(verb, channel="inbox", ids=[entry_id]))["changed"] == [entry_id]
    found = details(await patch(http, entry_id, seen=False), 409, "conflict")
    assert (found["current_status"], found["allowed_statuses"]) == (status, may_become)


async def test_an_error_is_the_seeds_envelope_exactly(hub: RunningHub, http: Http) -> None:
    """Seed 2: "request_id", "type": "https://…/errors#not_found-404"."""
    answer = await http.get(f"{ENTRIES}/{NOWHERE}", headers={"x-request-id": "req_abc123"})
    assert answer.headers["x-request-id"] == "req_abc123"
    assert answer.json() == {
        "error": {
            "code": "not_found",
            "details": {"resource": "entry", "id": NOWHERE},
            "message": f"no such entry: '{NOWHERE}'",
            "request_id": "req_abc123",
            "status": 404,
            "type": f"http://127.0.0.1:{hub.port}/docs/errors#not_found-404",
        }
    }


async def test_an_entry_of_another_user_or_channel_is_404(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "JWT token identifying the current user", whose feed it is."""
    await hub.change_project(lambda p: add_channel(p, "billing", "in_app", None))
    bobs, elsewhere = await hub.send(f"bob, {ann}"), await hub.send(ann, channel="billing")
    for entry_id in (bobs, elsewhere):
        assert details(await patch(http, entry_id, read=True), 404, "not_found") == {
            "resource": "entry",
            "id": entry_id,
        }
    assert (await hub.feed(f"bob, {ann}"))["items"][0]["read_at"] is None


async def test_a_channel_is_named_by_its_uuid_or_its_handle(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "channel_id", "Channel ID (UUID)"."""
    entry_id = await hub.send(ann)
    project = hub.hub.directory.project("default")
    assert project is not None
    by_id = f"/user/v1/channels/{project.by_name['inbox'].id}/feed/entries"
    assert (await http.get(by_id)).json() == (await http.get(ENTRIES)).json()
    assert (await http.patch(f"{by_id}/{entry_id}", json={"read": True})).json() == await shown(http, entry_id)


async def test_secure_mode_takes_an_api_key_and_a_token_signed_with_rs256(hub: RunningHub, ann: str) -> None:
    """Seed 2: "Must be signed with your Application Signing Key (RS256)"."""
    key, private = new_signing_key("RS256")
    await hub.change_project(lambda p: add_signing_key(p, key))
    entry_id = await hub.send(ann)
    token = sign(ann, private, key.kid, "RS256", 60, time.time())
    async with hub.http() as http:
        answer = await http.get(ENTRIES, headers={"x-notiflows-api-key": hub.api_key, "x-notiflows-user-key": token})
    assert [item["id"] for item in answer.json()["items"]] == [entry_id]


@pytest.mark.asyncio(loop_scope="function")
async def test_development_mode_takes_an_external_id_instead(start_hub: StartHub) -> None:
    """Seed 2: "Development Mode: Use x-notiflows-user-id header with the user's external_id instead"."""
    hub = await start_hub(development=True)
    hub.api_key = "pk_dev"
    entry_id, theirs = await hub.send("ann"), await hub.send("jürgen")
    async with hub.http() as http:
        http.headers["x-notiflows-api-key"] = "pk_dev"
        for user, found in (("ann", entry_id), ("jürgen", theirs)):
            entry = await http.patch(
                f"{ENTRIES}/{found}", json={"read": True}, headers={"x-notiflows-user-id": user.encode()}
            )
            assert (entry.status_code, entry.json().get("status")) == (200, "read")
        both = hub.user_headers("ann") | {"x-notiflows-user-id": "ann"}
        assert details(await http.get(ENTRIES, headers=both), 401, "unauthenticated") == {"auth": "user_key"}
        for unfit in (b"", b"\xc2\x85", b"x" * 257, b"\xff"):
            answer = await http.get(ENTRIES, headers={"x-notiflows-user-id": unfit})
            assert details(answer, 401, "unauthenticated") == {"auth": "user_key"}


async def test_an_entry_has_every_key_of_the_seed_and_ours(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2's example body: "notiflow_handle", "actor", "sent_at", …"""
    entry_id = await hub.send(
        ann,
        "Order Shipped",
        body="Your order #12345 has shipped!",
        url="https://example.com/orders/12345",
        topic="order-updates",
        sender={
            "id": "admin_001",
            "type": "user",
            "name": "Admin User",
            "handle": "admin@example.com",
            "avatar_url": "https://example.com/avatars/admin.jpg",
        },
    )
    entry = await shown(http, entry_id)
    assert RFC3339.fullmatch(entry.pop("created_at"))
    assert RFC3339.fullmatch(entry.pop("sent_at"))
    assert entry == {
        "id": entry_id,
        "status": "unseen",
        "notiflow_handle": "order.updated",
        "category": "order.updated",
        "priority": "normal",
        "topic": "order-updates",
        "actor": {
            "id": "admin_001",
            "external_id": "admin_001",
            "first_name": "Admin",
            "last_name": "User",
            "email": "admin@example.com",
            "avatar": "https://example.com/avatars/admin.jpg",
        },
        "sender": {
            "id": "admin_001",
            "type": "user",
            "name": "Admin User",
            "handle": "admin@example.com",
            "avatar_url": "https://example.com/avatars/admin.jpg",
        },
        "resource": None,
        "data": {
            "title": "Order Shipped",
            "body": "Your order #12345 has shipped!",
            "action_url": "https://example.com/orders/12345",
        },
        "expires_at": None,
        "seen_at": None,
        "read_at": None,
        "clicked_at": None,
        "archived_at": None,
        "dismissed_at": None,
    }
    assert uuid.UUID(entry_id).version == 7


async def test_the_least_that_can_be_sent_has_the_same_keys(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "archived_at": null."""
    entry = await shown(http, await hub.send(ann, "hello"))
    empty = {name for name, value in entry.items() if value is None}
    times = {"seen_at", "read_at", "clicked_at", "archived_at", "dismissed_at", "expires_at"}
    assert empty == times | {"topic", "actor", "sender", "resource"}
    assert entry["data"] == {"title": "hello"}
    assert entry["created_at"] == entry["sent_at"]


# ---- Authorization -----------------------------------------------------------------------------------


async def test_the_api_key_starts_with_pk_and_is_looked_for_in_the_header_alone(
    hub: RunningHub, http: Http, ann: str
) -> None:
    """Seed 2: "Your project's public API key. Safe to include in client-side code. Starts with pk_.", "In: header":
    alone it opens nothing.
    """
    assert hub.api_key.startswith("pk_")
    key, token = http.headers["x-notiflows-api-key"], http.headers["x-notiflows-user-key"]
    entry_id = await hub.send(ann)
    del http.headers["x-notiflows-api-key"]
    for query in ({}, {"x-notiflows-api-key": key}, {"api_key": key}):
        answer = await http.patch(f"{ENTRIES}/{entry_id}", params=query, json={"read": True})
        assert details(answer, 401, "unauthenticated") == {"auth": "api_key"}
    http.headers["x-notiflows-api-key"] = "pk_nobody"
    assert details(await patch(http, entry_id, read=True), 401, "unauthenticated") == {"auth": "api_key"}
    http.headers["x-notiflows-api-key"] = key
    del http.headers["x-notiflows-user-key"]
    for headers in ({}, {"authorization": f"Bearer {token}"}, {"cookie": f"x-notiflows-user-key={token}"}):
        answer = await http.patch(f"{ENTRIES}/{entry_id}", json={"read": True}, headers=headers)
        assert details(answer, 401, "unauthenticated") == {"auth": "user_key"}
    assert (await hub.feed(ann))["total_unread"] == 1


def token_of(claims: dict[str, Any]) -> str:
    """A token with these claims and no others."""
    return jwt.encode(claims, PRIVATE_PEM, "ES256", {"kid": SIGNING_KEY.kid})


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"sub": "ann"}, 200),
        ({"sub": "ann", "exp": 4_000_000_000}, 200),
        ({"sub": "ann", "iat": 1_700_000_000}, 200),
        ({"sub": "ann", "iat": 1_700_000_000, "exp": 1_700_003_600}, 401),
        ({"iat": 1_700_000_000, "exp": 4_000_000_000}, 401),
        ({"sub": "", "exp": 4_000_000_000}, 401),
        ({"sub": 7, "exp": 4_000_000_000}, 401),
    ],
    ids=str,
)
async def test_sub_is_required_exp_and_iat_are_recommended(http: Http, claims: dict[str, Any], status: int) -> None:
    """Seed 2: "Required claims: sub: User's external_id (required), exp: Expiration timestamp (recommended), iat:
    Issued at timestamp (recommended)".
    """
    http.headers["x-notiflows-user-key"] = token_of(claims)
    answer = await http.get(ENTRIES)
    assert answer.status_code == status
    if status == 401:
        assert details(answer, 401, "unauthenticated") == {"auth": "user_key"}


async def test_a_token_of_an_unknown_key_is_401(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "Must be signed with your Application Signing Key"."""
    key, private = new_signing_key("RS256")
    http.headers["x-notiflows-user-key"] = sign(ann, private, key.kid, "RS256", 60, time.time())
    assert details(await http.get(ENTRIES), 401, "unauthenticated") == {"auth": "user_key"}
    unsigned = {"alg": "none", "typ": "JWT"}, {"sub": ann}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in unsigned)
    http.headers["x-notiflows-user-key"] = ".".join([*parts, ""])
    assert details(await http.get(ENTRIES), 401, "unauthenticated") == {"auth": "user_key"}


async def test_the_name_alone_is_for_development_only(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "(insecure, testing only)"."""
    del http.headers["x-notiflows-user-key"]
    http.headers["x-notiflows-user-id"] = ann
    assert details(await http.get(ENTRIES), 401, "unauthenticated") == {"auth": "user_key"}


# ---- Path Parameters ---------------------------------------------------------------------------------


async def test_both_path_parameters_are_required(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "channel_id*string", "entry_id*string", "Entry ID (UUID)"."""
    entry_id = await hub.send(ann)
    for path in (f"/user/v1/channels//feed/entries/{entry_id}", f"{ENTRIES}/"):
        assert details(await http.patch(path, json={"read": True}), 404, "not_found")
    assert (await shown(http, entry_id))["status"] == "unseen"


# ---- Response Body -----------------------------------------------------------------------------------


async def test_the_curl_line_as_it_stands(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "Update a single feed entry's state."; "PATCH /channels/{channel_id}/feed/entries/{entry_id}", as its
    line of curl has it.
    """
    entry_id = await hub.send(ann)
    answer = await http.patch(
        f"{ENTRIES}/{entry_id}", content=b'{    "read": true  }', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["read_at"]


EXAMPLE: dict[str, Any] = {
    "actor": {
        "avatar": "https://example.com/avatars/admin.jpg",
        "email": "admin@example.com",
        "external_id": "admin_001",
        "first_name": "Admin",
        "id": "01HQABC987654321ZYXWVUTSRQ",
        "last_name": "User",
    },
    "archived_at": None,
    "clicked_at": None,
    "created_at": "2024-01-15T10:30:00Z",
    "data": {
        "action_url": "https://example.com/orders/12345",
        "body": "Your order #12345 has shipped!",
        "title": "Order Shipped",
    },
    "id": "01HQXYZ123456789ABCDEFGHIJ",
    "notiflow_handle": "order-updates",
    "read_at": None,
    "seen_at": None,
    "sent_at": "2024-01-15T10:30:00Z",
    "status": "unseen",
    "topic": "order-updates",
}
"""The example of the page."""
OURS = {"category", "priority", "sender", "resource", "expires_at", "dismissed_at"}
"""Keys beside those of the example (docs/api.md)."""


def shape(value: Any) -> Any:
    """Keys, types and nesting."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value)


async def test_an_entry_has_the_shape_of_the_example(hub: RunningHub, http: Http, ann: str) -> None:
    """The example of 200: keys, types and nesting."""
    actor, data = EXAMPLE["actor"], EXAMPLE["data"]
    sender = {
        "id": actor["external_id"],
        "type": "user",
        "name": f"{actor['first_name']} {actor['last_name']}",
        "handle": actor["email"],
        "avatar_url": actor["avatar"],
    }
    entry_id = await hub.send(
        ann, data["title"], body=data["body"], url=data["action_url"], topic=EXAMPLE["topic"], sender=sender
    )
    unarchived = await patch(http, entry_id, archived=False)
    entry = unarchived.json()
    ours = {key: entry.pop(key) for key in OURS}
    assert shape(entry) == shape(EXAMPLE)
    assert set(ours) == OURS
    for same in ("status", "topic", "data", "archived_at", "clicked_at", "read_at", "seen_at"):
        assert entry[same] == EXAMPLE[same]
    assert entry["actor"] == actor | {"id": entry["actor"]["id"]}
    for name in ("created_at", "sent_at"):
        assert RFC3339.fullmatch(entry[name])


async def test_every_time_that_is_set_has_the_form_of_the_others(hub: RunningHub, http: Http, ann: str) -> None:
    """Seed 2: "seen_at", "read_at", "clicked_at", "archived_at": timestamps."""
    entry = (await patch(http, await hub.send(ann), clicked=True, archived=True)).json()
    times = ("created_at", "sent_at", "seen_at", "read_at", "clicked_at", "archived_at")
    assert all(RFC3339.fullmatch(entry[name]) for name in times)


# ---- errors ------------------------------------------------------------------------------------------

ERROR: dict[str, Any] = {
    "error": {
        "code": "not_found",
        "details": {
            "allowed_statuses": ["string"],
            "allowed_transitions": ["string"],
            "auth": "api_key",
            "current_status": "string",
            "fields": [{"field": "email", "message": "can't be blank", "reason": "required"}],
            "id": "string",
            "idempotency_key": "string",
            "limit": 0,
            "param": "string",
            "reason": "string",
            "required_scope": "string",
            "resource": "string",
            "retry_after": 0,
            "window": "string",
        },
        "message": "User not found",
        "request_id": "req_abc123",
        "status": 404,
        "type": "https://notiflows.com/docs/api/errors#not_found-404",
    }
}
"""The example of every error on the page: it has seven beside the 200."""

Case = Callable[[RunningHub, Http, str], Awaitable[Response]]


async def bad_json(hub: RunningHub, http: Http, entry_id: str) -> Response:
    return await http.patch(f"{ENTRIES}/{entry_id}", content=b"{")


async def bad_parameter(hub: RunningHub, http: Http, entry_id: str) -> Response:
    return await http.get(ENTRIES, params={"status": "new"})


async def nobody(hub: RunningHub, http: Http, entry_id: str) -> Response:
    http.headers["x-notiflows-api-key"] = "pk_nobody"
    return await patch(http, entry_id, read=True)


async def a_strange_page(hub: RunningHub, http: Http, entry_id: str) -> Response:
    return await http.patch(f"{ENTRIES}/{entry_id}", json={"read": True}, headers={"origin": "https://evil.example"})


async def a_lesser_key(hub: RunningHub, http: Http, entry_id: str) -> Response:
    """A key without the permission, at the Admin API: users have all that the User API asks for."""
    key, secret = new_secret_key("reader")
    await hub.change_project(lambda p: add_secret_key(p, key))
    return await http.get("/admin/v1/users/ann/sessions", headers={"x-notiflows-secret-key": secret})


async def no_entry(hub: RunningHub, http: Http, entry_id: str) -> Response:
    return await patch(http, NOWHERE, read=True)


async def no_way_back(hub: RunningHub, http: Http, entry_id: str) -> Response:
    return await patch(http, entry_id, read=False)


async def unknown_field(hub: RunningHub, http: Http, entry_id: str) -> Response:
    return await patch(http, entry_id, opened=True)


async def used_key(hub: RunningHub, http: Http, entry_id: str) -> Response:
    http.headers["idempotency-key"] = "k"
    await patch(http, entry_id, seen=True)
    return await patch(http, entry_id, read=True)


async def too_often(hub: RunningHub, http: Http, entry_id: str) -> Response:
    """One request a minute is allowed."""
    await patch(http, entry_id, read=True)
    return await patch(http, entry_id, read=True)


CASES: dict[Case, tuple[int, str, set[str]]] = {
    bad_json: (400, "bad_request", {"reason"}),
    bad_parameter: (400, "bad_request", {"reason", "param"}),
    nobody: (401, "unauthenticated", {"auth"}),
    a_strange_page: (403, "forbidden", {"reason"}),
    a_lesser_key: (403, "forbidden", {"required_scope"}),
    no_entry: (404, "not_found", {"resource", "id"}),
    no_way_back: (409, "conflict", {"reason", "current_status", "allowed_statuses", "allowed_transitions"}),
    unknown_field: (422, "validation_error", {"fields"}),
    used_key: (422, "idempotency_key_reused", {"idempotency_key"}),
    too_often: (429, "rate_limited", {"limit", "window", "retry_after"}),
}
"""Every documented case: its status, its code, and the keys of its `details`."""


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_every_error_has_the_envelope_of_the_example(start_hub: StartHub, case: Case) -> None:
    """The examples of the errors: keys, types and nesting; "type": "…/errors#<code>-<status>"."""
    hub = await start_hub(user_rate="1/minute" if case is too_often else "")
    entry_id = await hub.send("ann")
    async with hub.http() as http:
        http.headers.update(hub.user_headers("ann") | {"x-request-id": "req_abc123"})
        answer = await case(hub, http, entry_id)
    status, code, keys = CASES[case]
    found = details(answer, status, code)
    assert set(found) == keys
    error = answer.json()["error"]
    example = ERROR["error"]
    assert shape(found) == {key: shape(example["details"][key]) for key in keys} | lists(found)
    assert shape(error | {"details": {}}) == shape(example | {"details": {}})
    assert (error["request_id"], error["type"].rpartition("#")[2]) == ("req_abc123", f"{code}-{status}")


def lists(found: dict[str, Any]) -> dict[str, Any]:
    """The shape of the lists in it, however long they are: the example shows one item."""
    for key, value in found.items():
        if isinstance(value, list):
            assert value, key
            assert all(shape(item) == shape(ERROR["error"]["details"][key][0]) for item in value)
    return {key: shape(value) for key, value in found.items() if isinstance(value, list)}


async def test_the_cases_produce_every_key_of_details_and_all_seven_statuses() -> None:
    """The examples of the errors: every key of "details"; 200 and seven errors in the page's list of bodies."""
    produced = set().union(*(keys for _, _, keys in CASES.values()))
    assert produced == set(ERROR["error"]["details"])
    assert {status for status, _, _ in CASES.values()} == {400, 401, 403, 404, 409, 422, 429}


# ---- the page's siblings -----------------------------------------------------------------------------


async def test_the_list_has_items_page_and_totals(hub: RunningHub, http: Http, ann: str) -> None:
    """*List feed entries*: "with metadata including unread/unseen counts"; the page object of the Admin API's lists."""
    for _ in range(3):
        await hub.send(ann)
    page = (await http.get(ENTRIES, params={"limit": 2})).json()
    middle = (await http.get(ENTRIES, params={"limit": 1, "after": page["page"]["after"]})).json()
    for found, after in ((page, str), (middle, type(None))):
        assert shape(found | {"items": []}) == {
            "items": [],
            "page": {
                "after": after,
                "before": type(found["page"]["before"]),
                "has_more_after": bool,
                "has_more_before": bool,
                "limit": int,
            },
            "total_unread": int,
            "total_unseen": int,
        }
    assert isinstance(middle["page"]["before"], str)
    assert page["items"][0] == await shown(http, page["items"][0]["id"])


async def test_a_batch_takes_entry_ids_and_set_and_answers_a_bare_list(hub: RunningHub, http: Http, ann: str) -> None:
    """*Batch update feed entries*: `{entry_ids, set}`; the body is a list of entries; at least one id."""
    ids = [await hub.send(ann) for _ in range(2)]
    answer = await http.patch(ENTRIES, json={"entry_ids": ids, "set": dict.fromkeys(FLAGS, True)})
    assert answer.status_code == 200
    assert [entry["id"] for entry in answer.json()] == ids
    assert all(entry["archived_at"] and entry["clicked_at"] for entry in answer.json())
    empty = await http.patch(ENTRIES, json={"entry_ids": [], "set": {"read": True}})
    assert details(empty, 422, "validation_error")["fields"][0]["field"] == "entry_ids"


async def test_a_batch_is_atomic(hub: RunningHub, http: Http, ann: str) -> None:
    """*Batch update feed entries*, "Partial Success": any entry that fails fails the whole request."""
    entry_id = await hub.send(ann)
    for ids, flags, status in (([entry_id, NOWHERE], {"read": True}, 404), ([entry_id], {"read": False}, 409)):
        answer = await http.patch(ENTRIES, json={"entry_ids": ids, "set": flags})
        assert answer.status_code == status
    assert (await shown(http, entry_id))["status"] == "unseen"


@pytest.mark.parametrize(("method", "path"), [("DELETE", f"{ENTRIES}/x"), ("POST", ENTRIES), ("PUT", f"{ENTRIES}/x")])
async def test_there_is_no_other_way_to_change_an_entry(http: Http, method: str, path: str) -> None:
    """The User API's list of operations: GET and PATCH of the list, PATCH of one."""
    assert (await http.request(method, path, json={})).status_code == 405


async def test_a_revoked_user_is_told_by_every_operation(hub: RunningHub, http: Http, ann: str) -> None:
    """*Errors*: "applies to every non-2xx response"."""
    entry_id = await hub.send(ann)
    await hub.hub.store.revoke(User("default", ann))
    for method, path in (("GET", ENTRIES), ("PATCH", f"{ENTRIES}/{entry_id}"), ("PATCH", ENTRIES)):
        details(await http.request(method, path, json={}), 403, "forbidden")
    details(await http.get(f"{FEED}/counts"), 403, "forbidden")


# ---- and nothing is left out -------------------------------------------------------------------------

PAGE = """
Update a single feed entry's state. Use this to mark notifications as seen, read, clicked, or archived.
State changes are idempotent - calling the same update multiple times has no additional effect
seen: true → Sets seen_at timestamp
if currently null (preserves original timestamp if already set)
read: true → Sets read_at timestamp
clicked: true → Sets clicked_at timestamp
archived: true → Sets archived_at timestamp
archived: false → Clears archived_at (unarchives the entry)
These will return 409 Conflict
seen: false - Cannot unmark as seen
read: false - Cannot unmark as read
clicked: false - Cannot unmark as clicked
Only archived can be set to false to unarchive an entry.
PATCH /channels/{channel_id}/feed/entries/{entry_id}
Your project's public API key. Safe to include in client-side code. Starts with pk_.
In: header
JWT token identifying the current user
Must be signed with your Application Signing Key (RS256)
sub: User's external_id (required)
exp: Expiration timestamp (recommended)
iat: Issued at timestamp (recommended)
Development Mode: Use x-notiflows-user-id header with the user's external_id instead
(insecure, testing only)
Channel ID (UUID)
Entry ID (UUID)
State changes to apply
"""
"""All that the page says in words."""


@pytest.mark.parametrize(
    "sentence", [part for line in PAGE.strip().splitlines() for part in re.split(r"(?<=\.) ", line)]
)
async def test_every_sentence_of_the_page_is_quoted_by_a_test(sentence: str) -> None:
    tests = [found for name, found in globals().items() if name.startswith("test_")]
    quotes = [" ".join((found.__doc__ or "").split()) for found in tests]
    assert any(sentence in quote for quote in quotes)
