"""The Admin API's topics and subscriptions, over HTTP (`docs/api.md`, Topics)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from hub.profiles import subscription_id, user_id
from tests.api.admin_api import Admin, error_of, fields_of
from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


@pytest_asyncio.fixture(loop_scope="module")
async def admin(hub: RunningHub, ann: str) -> AsyncIterator[Admin]:
    """A back end that knows ann and bob."""
    async with hub.http() as http:
        admin = Admin(hub, http)
        for name in (ann, bob(ann)):
            await admin.good("PUT", f"/users/{name}", {})
        yield admin


def bob(ann: str) -> str:
    return ann.replace("ann", "bob")


def news(ann: str) -> str:
    """A topic of this test."""
    return f"news-{ann}"


async def test_a_subscription_is_201_then_200_and_creates_the_topic(admin: Admin, ann: str) -> None:
    path, topic = f"/users/{ann}/subscriptions", news(ann)
    error_of(await admin.ask("GET", f"/topics/{topic}"), 404, "not_found")
    first = await admin.ask("POST", path, {"topic_name": topic})
    assert first.status_code == 201
    assert first.json() == {
        "id": subscription_id("default", ann, topic),
        "topic_name": topic,
        "user_id": user_id("default", ann),
        "created_at": first.json()["created_at"],
    }
    second = await admin.ask("POST", path, {"topic_name": topic})
    assert (second.status_code, second.json()) == (200, first.json())
    assert await admin.good("GET", f"{path}/{topic}") == first.json()
    assert (await admin.good("GET", f"/topics/{topic}")).keys() == {"name", "created_at"}


async def test_subscribing_at_the_same_time_creates_once(admin: Admin, ann: str) -> None:
    body = {"topic_name": news(ann)}
    answers = await asyncio.gather(*(admin.ask("POST", f"/users/{ann}/subscriptions", body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.text for answer in answers}) == 1


async def test_an_ended_subscription_is_gone_from_both_sides_and_the_topic_stays(admin: Admin, ann: str) -> None:
    path, topic = f"/users/{ann}/subscriptions", news(ann)
    await admin.good("POST", path, {"topic_name": topic})
    answer = await admin.ask("DELETE", f"{path}/{topic}", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await admin.good("GET", path))["items"] == []
    assert (await admin.good("GET", f"/topics/{topic}/subscriptions"))["items"] == []
    for method in ("GET", "DELETE"):
        error = error_of(await admin.ask(method, f"{path}/{topic}"), 404, "not_found")
        assert error["details"] == {"resource": "subscription", "id": topic}


async def test_a_users_subscriptions_come_in_pages_newest_first(admin: Admin, ann: str) -> None:
    path = f"/users/{ann}/subscriptions"
    for number in range(5):
        await admin.good("POST", path, {"topic_name": f"t{number}"})
    first = await admin.good("GET", path, params={"limit": 3})
    rest = await admin.good("GET", path, params={"limit": 3, "after": first["page"]["after"]})
    shown = [subscription["topic_name"] for subscription in first["items"] + rest["items"]]
    assert shown == ["t4", "t3", "t2", "t1", "t0"]
    assert rest["page"]["after"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "topic_name"),
        ({"topic_name": ""}, "topic_name"),
        ({"topic_name": "x" * 256}, "topic_name"),
        ({"topic_name": "a\nb"}, "topic_name"),
        ({"topic_name": "a\n"}, "topic_name"),
        ({"topic_name": 7}, "topic_name"),
        ({"topic_name": "a", "extra": 1}, "extra"),
    ],
)
async def test_a_bad_topic_is_422(admin: Admin, ann: str, body: Any, field: str) -> None:
    assert fields_of(await admin.ask("POST", f"/users/{ann}/subscriptions", body)) == [field]
    assert (await admin.good("GET", f"/users/{ann}/subscriptions"))["items"] == []


async def test_a_topic_with_odd_characters_is_one_segment(admin: Admin, ann: str) -> None:
    await admin.good("POST", f"/users/{ann}/subscriptions", {"topic_name": "team/7 & co %"})
    topic = await admin.good("GET", "/topics/team%2F7%20%26%20co%20%25")
    assert topic["name"] == "team/7 & co %"
    assert await admin.good("GET", f"/users/{ann}/subscriptions/team%2F7%20%26%20co%20%25")


async def test_topics_are_listed_and_a_deleted_one_ends_its_subscriptions(admin: Admin, ann: str) -> None:
    topic, other = news(ann), f"other-{ann}"
    for name in (topic, other):
        await admin.good("POST", f"/topics/{name}/subscriptions", {"user_external_ids": [ann, bob(ann)]})
    listed = [topic["name"] for topic in (await admin.good("GET", "/topics", params={"limit": 2}))["items"]]
    assert listed == [other, topic]
    answer = await admin.ask("DELETE", f"/topics/{topic}", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.content) == (204, b"")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/subscriptions")):
        error = error_of(await admin.ask(method, f"/topics/{topic}{path}"), 404, "not_found")
        assert error["details"] == {"resource": "topic", "id": topic}
    left = await admin.good("GET", f"/users/{ann}/subscriptions")
    assert [subscription["topic_name"] for subscription in left["items"]] == [other]


# ---- many at once ------------------------------------------------------------------------------------


async def test_many_are_subscribed_with_200_and_again_with_200(admin: Admin, ann: str) -> None:
    path = f"/topics/{news(ann)}/subscriptions"
    body = {"user_external_ids": [ann, bob(ann), ann]}
    first = await admin.ask("POST", path, body)
    assert first.status_code == 200
    assert [subscription["user_id"] for subscription in first.json()["successful"]] == [
        user_id("default", ann),
        user_id("default", bob(ann)),
    ]
    assert first.json()["failed"] == []
    assert (await admin.ask("POST", path, body)).json() == first.json()
    assert len((await admin.good("GET", path))["items"]) == 2


async def test_who_is_unknown_fails_alone_with_207(admin: Admin, ann: str) -> None:
    path = f"/topics/{news(ann)}/subscriptions"
    answer = await admin.ask("POST", path, {"user_external_ids": [ann, "nobody", ""]})
    assert answer.status_code == 207
    assert [subscription["user_id"] for subscription in answer.json()["successful"]] == [user_id("default", ann)]
    assert answer.json()["failed"] == [
        {"external_id": "nobody", "reason": "User not found"},
        {"external_id": "", "reason": "User not found"},
    ]


async def test_many_are_unsubscribed_by_a_delete_with_a_body(admin: Admin, ann: str) -> None:
    path = f"/topics/{news(ann)}/subscriptions"
    await admin.good("POST", path, {"user_external_ids": [ann, bob(ann)]})
    answer = await admin.ask("DELETE", path, {"user_external_ids": [ann]})
    assert answer.status_code == 200
    assert answer.json()["successful"][0]["user_id"] == user_id("default", ann)
    answer = await admin.ask("DELETE", path, {"user_external_ids": [ann, bob(ann), "nobody"]})
    assert answer.status_code == 207
    assert [subscription["user_id"] for subscription in answer.json()["successful"]] == [user_id("default", bob(ann))]
    assert answer.json()["failed"] == [
        {"external_id": ann, "reason": "User is not subscribed"},
        {"external_id": "nobody", "reason": "User not found"},
    ]
    assert (await admin.good("GET", path))["items"] == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "ids",
    [None, [], "ann", [7], [str(number) for number in range(1001)]],
    ids=["none", "empty", "text", "numbers", "too many"],
)
async def test_a_bad_list_of_users_is_422(admin: Admin, ann: str, method: str, ids: Any) -> None:
    body = {} if ids is None else {"user_external_ids": ids}
    fields = fields_of(await admin.ask(method, f"/topics/{news(ann)}/subscriptions", body))
    assert fields[0].startswith("user_external_ids")
    error_of(await admin.ask("GET", f"/topics/{news(ann)}"), 404, "not_found")


async def test_nobody_can_be_taken_out_of_a_topic_that_is_not_there(admin: Admin, ann: str) -> None:
    answer = await admin.ask("DELETE", f"/topics/{news(ann)}/subscriptions", {"user_external_ids": [ann]})
    assert error_of(answer, 404, "not_found")["details"]["resource"] == "topic"


async def test_a_thousand_users_of_the_longest_names_fit_in_one_request(admin: Admin, ann: str) -> None:
    names = [f"{number:04}".ljust(256, "x") for number in range(1000)]
    answer = await admin.ask("POST", f"/topics/{news(ann)}/subscriptions", {"user_external_ids": names})
    assert answer.status_code == 207
    assert len(answer.json()["failed"]) == 1000
    error_of(await admin.ask("GET", f"/topics/{news(ann)}"), 404, "not_found")


async def test_an_impossible_topic_in_a_path_is_422(admin: Admin, ann: str) -> None:
    answer = await admin.ask("POST", "/topics/a%07b/subscriptions", {"user_external_ids": [ann]})
    assert fields_of(answer) == ["topic"]


# ---- Idempotency-Key ---------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
async def test_a_subscription_under_a_key_answers_the_same_again(admin: Admin, ann: str, many: bool) -> None:
    path = f"/topics/{news(ann)}/subscriptions" if many else f"/users/{ann}/subscriptions"
    body = {"user_external_ids": [ann, "nobody"]} if many else {"topic_name": news(ann)}
    headers = {"idempotency-key": f"key-{ann}"}
    first = await admin.ask("POST", path, body, headers=headers)
    await admin.good("DELETE", f"/users/{ann}/subscriptions/{news(ann)}")
    again = await admin.ask("POST", path, body, headers=headers)
    assert first.status_code == (207 if many else 201)
    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await admin.good("GET", f"/users/{ann}/subscriptions"))["items"] == []
    other = {"user_external_ids": [bob(ann)]} if many else {"topic_name": "other"}
    error_of(await admin.ask("POST", path, other, headers=headers), 422, "idempotency_key_reused")
