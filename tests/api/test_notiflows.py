"""Notiflows over the Admin API and the command line: defining them."""

from typing import Any

import httpx2
import pytest

from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEMPLATE = {"title": "Order {{ data.order }} has shipped", "action_url": "/orders/{{ data.order }}"}


async def call(hub: RunningHub, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
    """One request to the Admin API with the owner's key."""
    async with hub.http() as http:
        keys = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
        return await http.request(method, f"/admin/v1{path}", json=body, headers=keys | headers)


async def put(hub: RunningHub, handle: str, **fields: Any) -> dict[str, Any]:
    answer = await call(hub, "PUT", f"/notiflows/{handle}", {"template": TEMPLATE} | fields)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def fields(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "validation_error"
    return [fault["field"] for fault in answer.json()["error"]["details"]["fields"]]


async def test_a_notiflow_that_was_put_is_there_in_the_next_request(shared_hub: RunningHub) -> None:
    answer = await call(shared_hub, "PUT", "/notiflows/order-shipped", {"template": TEMPLATE})
    assert answer.status_code == 201
    made = answer.json()
    assert made == {
        "id": made["id"],
        "handle": "order-shipped",
        "name": "order-shipped",
        "template": {"title": TEMPLATE["title"], "body": None, "action_url": TEMPLATE["action_url"]},
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "active": True,
        "include_in_preferences": True,
        "channel": None,
        "category": None,
        "priority": "normal",
    }
    assert (await call(shared_hub, "GET", "/notiflows/order-shipped")).json() == made
    assert made in (await call(shared_hub, "GET", "/notiflows")).json()["items"]


async def test_putting_it_again_replaces_it_whole_under_its_id(shared_hub: RunningHub) -> None:
    first = await put(shared_hub, "replaced", name="First", category="a.b", channel="inbox", priority="high")
    assert (first["channel"], first["category"], first["priority"]) == ("inbox", "a.b", "high")
    second = await put(shared_hub, "replaced", active=False, include_in_preferences=False)
    assert second == first | {
        "name": "replaced",
        "category": None,
        "channel": None,
        "priority": "normal",
        "active": False,
        "include_in_preferences": False,
        "updated_at": second["updated_at"],
    }
    assert second["updated_at"] > first["updated_at"]
    again = await put(shared_hub, "replaced", active=False, include_in_preferences=False)
    assert again == second, "nothing changed, so nothing was updated"


async def test_a_deleted_notiflow_is_gone(shared_hub: RunningHub) -> None:
    await put(shared_hub, "short-lived")
    assert (await call(shared_hub, "DELETE", "/notiflows/short-lived")).status_code == 204
    for method in ("GET", "DELETE"):
        answer = await call(shared_hub, method, "/notiflows/short-lived")
        assert answer.status_code == 404
        assert answer.json()["error"]["details"] == {"resource": "notiflow", "id": "short-lived"}


@pytest.mark.parametrize("handle", ["order_shipped", "Order", "1st", "a" * 64, "-a"])
async def test_a_handle_has_small_letters_digits_and_hyphens(shared_hub: RunningHub, handle: str) -> None:
    answer = await call(shared_hub, "PUT", f"/notiflows/{handle}", {"template": TEMPLATE})
    assert fields(answer) == ["handle"]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["template"]),
        ({"template": {}}, ["template.title"]),
        ({"template": {"title": "{{"}}, ["template.title"]),
        (
            {"template": {"title": "a", "body": "{% x %}", "action_url": "{{ x | y }}"}},
            ["template.body", "template.action_url"],
        ),
        ({"template": {"title": "a", "subject": "b"}}, ["template.subject"]),
        ({"template": {"title": "a" * 9000}}, ["template.title"]),
        ({"template": TEMPLATE, "channel": "nowhere"}, ["channel"]),
        ({"template": TEMPLATE, "category": "Not One"}, ["category"]),
        ({"template": TEMPLATE, "priority": "urgent"}, ["priority"]),
        ({"template": TEMPLATE, "active": "yes", "colour": 1}, ["active", "colour"]),
        ([], ["body"]),
    ],
)
async def test_every_fault_of_a_definition_is_named_and_nothing_is_stored(
    shared_hub: RunningHub, body: Any, wrong: list[str]
) -> None:
    assert fields(await call(shared_hub, "PUT", "/notiflows/faulty", body)) == wrong
    assert (await call(shared_hub, "GET", "/notiflows/faulty")).status_code == 404


@pytest.mark.asyncio(loop_scope="function")
async def test_a_project_has_a_hundred_notiflows_at_most(start_hub: Any) -> None:
    hub = await start_hub()
    for number in range(100):
        await put(hub, f"n{number}")
    answer = await call(hub, "PUT", "/notiflows/one-more", {"template": TEMPLATE})
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["details"] == {"reason": "limit", "resource": "notiflow"}
    await put(hub, "n5", name="Changed")


@pytest.mark.asyncio(loop_scope="function")
async def test_development_mode_has_one_to_begin_with_which_can_be_replaced(start_hub: Any) -> None:
    hub = await start_hub(development=True)
    hub.api_key, hub.secret = "pk_dev", "sk_dev"
    welcome = (await call(hub, "GET", "/notiflows/welcome")).json()
    assert welcome["active"]
    assert (await put(hub, "welcome", name="Mine"))["name"] == "Mine"
    assert [n["name"] for n in (await call(hub, "GET", "/notiflows")).json()["items"]] == ["Mine"]
