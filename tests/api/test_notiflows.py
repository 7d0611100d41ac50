"""Notiflows over the Admin API and the command line: defining and running them."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from hub import keys
from hub.profiles import UserFields
from tests.harness import PATIENCE_S, RedisServer, RunningHub, until

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
    assert (await run(hub, "welcome", {"recipients": [{"external_id": "ann", "first_name": "Ann"}]})).status_code == 202
    phone = await hub.connect()
    await phone.send("auth", api_key="pk_dev", user="ann")
    await phone.ask("subscribe", channel="inbox")
    await until(
        lambda: any(
            frame["type"] in ("entry", "subscribed") and "Welcome, Ann!" in str(frame) for frame in phone.frames
        )
    )
    assert (await put(hub, "welcome", name="Mine"))["name"] == "Mine"
    assert [n["name"] for n in (await call(hub, "GET", "/notiflows")).json()["items"]] == ["Mine"]


# ---- running -----------------------------------------------------------------------------------------


async def run(hub: RunningHub, handle: str, body: Any, **headers: str) -> httpx2.Response:
    return await call(hub, "POST", f"/notiflows/{handle}/run", body, **headers)


async def entries(hub: RunningHub, user: str, count: int = 1) -> list[dict[str, Any]]:
    """The user's feed, once it holds so many entries."""
    async with asyncio.timeout(PATIENCE_S):
        while len(items := (await hub.feed(user))["items"]) < count:  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.01)
    return items


async def idle(hub: RunningHub) -> None:
    """Waits until every run is done."""
    async with asyncio.timeout(PATIENCE_S):
        while await hub.hub.engine.call("ZCARD", keys.runs("default")):  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.01)


async def subscribe(hub: RunningHub, topic: str, *users: str) -> None:
    await hub.hub.users.ensure("default", [UserFields(external_id=user) for user in users])
    await hub.hub.users.subscribe_many("default", topic, users)


async def test_a_run_gives_every_recipient_an_entry_made_from_the_template(shared_hub: RunningHub, ann: str) -> None:
    template = {
        "title": "{{ actor.first_name }} mentioned you, {{ recipient.first_name | default: 'friend' }}",
        "body": "In {{ data.document.name }} ({{ recipient.custom_fields.plan }})",
        "action_url": "/documents/{{ data.document.id }}",
    }
    await put(shared_hub, "mention", template=template, priority="high", category="docs.mention")
    await call(shared_hub, "PUT", f"/users/{ann}", {"first_name": "Ann"})
    phone = await shared_hub.connect(ann)
    bob = f"{ann}-bob"
    recipients = [
        {"external_id": ann, "first_name": "Not Ann"},
        {"external_id": bob, "custom_fields": {"plan": "gold"}},
    ]
    actor = {"external_id": f"{ann}-eve", "first_name": "Eve", "avatar": "https://example.com/eve.png"}
    data = {"document": {"id": 7, "name": "Plans"}, "title": "shadowed"}
    answer = await run(shared_hub, "mention", {"recipients": recipients, "actor": actor, "data": data})
    assert answer.status_code == 202
    assert list(answer.json()) == ["notiflow_run_id"]
    entry = (await phone.next("entry"))["entry"]
    assert entry["data"] == {
        "document": {"id": 7, "name": "Plans"},
        "title": "Eve mentioned you, Ann",
        "body": "In Plans ()",
        "action_url": "/documents/7",
    }
    assert (entry["notiflow_handle"], entry["category"], entry["priority"]) == ("mention", "docs.mention", "high")
    eve = (await call(shared_hub, "GET", f"/users/{ann}-eve")).json()
    assert entry["actor"] == {
        "id": eve["id"],
        "external_id": f"{ann}-eve",
        "first_name": "Eve",
        "last_name": None,
        "email": None,
        "avatar": "https://example.com/eve.png",
    }
    assert await entries(shared_hub, ann) == [entry], "the same over REST"
    (other,) = await entries(shared_hub, bob)
    assert other["data"]["title"] == "Eve mentioned you, friend"
    assert other["data"]["body"] == "In Plans (gold)"
    assert (await call(shared_hub, "GET", f"/users/{bob}")).json()["custom_fields"] == {"plan": "gold"}


async def test_a_run_for_a_topic_reaches_those_who_were_subscribed_when_it_began(
    shared_hub: RunningHub, ann: str
) -> None:
    await put(shared_hub, "news")
    users = [f"{ann}-{number}" for number in range(450)]  # more than two chunks
    await subscribe(shared_hub, ann, *users)
    assert (await run(shared_hub, "news", {"topic": ann, "data": {"order": 3}})).status_code == 202
    await subscribe(shared_hub, ann, f"{ann}-late")
    await idle(shared_hub)
    for user in (users[0], users[249], users[-1]):
        (entry,) = await entries(shared_hub, user)
        assert entry["topic"] == ann
        assert entry["actor"] is None
    found = [await shared_hub.hub.engine.call("ZCARD", f"{{default/{user}}}:inbox:active") for user in users]
    assert found == [1] * 450
    assert (await shared_hub.feed(f"{ann}-late"))["items"] == []


async def test_a_run_for_a_topic_without_subscribers_is_done_at_once(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "news")
    assert (await run(shared_hub, "news", {"topic": f"nobody-{ann}"})).status_code == 202
    await idle(shared_hub)


async def test_a_thousand_named_recipients_get_one_each(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "thousand")
    named = [f"{ann}-{number}" for number in range(1_000)]
    answer = await run(shared_hub, "thousand", {"recipients": [{"external_id": name} for name in named]})
    assert answer.status_code == 202
    await idle(shared_hub)
    found = [await shared_hub.hub.engine.call("XLEN", f"{{default/{name}}}:inbox:log") for name in named]
    assert found == [1] * 1_000


async def test_a_recipient_named_twice_gets_one_entry(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "twice")
    await run(shared_hub, "twice", {"recipients": [{"external_id": ann, "first_name": "A"}, {"external_id": ann}]})
    await idle(shared_hub)
    assert len((await shared_hub.feed(ann))["items"]) == 1
    assert (await call(shared_hub, "GET", f"/users/{ann}")).json()["first_name"] == "A"


async def test_what_a_user_switched_off_does_not_come_unless_it_is_mandatory(shared_hub: RunningHub, ann: str) -> None:
    for handle, optional in (("optional", True), ("other", True), ("mandatory", False)):
        await put(shared_hub, handle, include_in_preferences=optional, template={"title": handle})
    bob = f"{ann}-bob"
    for user in (ann, bob):
        await call(shared_hub, "PUT", f"/users/{user}", {})
    await call(shared_hub, "PUT", f"/users/{ann}/preferences", {"notiflows": {"optional": {"enabled": False}}})
    await call(shared_hub, "PUT", f"/users/{bob}/preferences", {"channel_types": {"in_app": False}})
    for handle in ("optional", "other", "mandatory"):
        await run(shared_hub, handle, {"recipients": [{"external_id": ann}, {"external_id": bob}]})
    await idle(shared_hub)
    assert [entry["data"]["title"] for entry in (await shared_hub.feed(ann))["items"]] == ["mandatory", "other"]
    assert [entry["data"]["title"] for entry in (await shared_hub.feed(bob))["items"]] == ["mandatory"]


async def test_a_recipient_for_whom_it_cannot_be_rendered_does_not_keep_it_from_the_others(
    shared_hub: RunningHub, ann: str
) -> None:
    template = {"title": "Hello", "action_url": "{{ recipient.custom_fields.link }}"}
    await put(shared_hub, "linked", template=template)
    bad = {"external_id": f"{ann}-bad", "custom_fields": {"link": "javascript:alert(1)"}}
    good = {"external_id": f"{ann}-good", "custom_fields": {"link": "/fine"}}
    await run(shared_hub, "linked", {"recipients": [bad, good]})
    await idle(shared_hub)
    assert (await shared_hub.feed(f"{ann}-good"))["items"][0]["data"]["action_url"] == "/fine"
    assert (await shared_hub.feed(f"{ann}-bad"))["items"] == []


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["recipients"]),
        ({"recipients": [{"external_id": "ann"}], "topic": "t"}, ["recipients"]),
        ({"recipients": []}, ["recipients"]),
        ({"recipients": [{}]}, ["recipients.0.external_id"]),
        ({"recipients": [{"external_id": "ann", "mail": "x"}]}, ["recipients.0.mail"]),
        ({"recipients": [{"external_id": f"u{n}"} for n in range(1001)]}, ["recipients"]),
        ({"topic": ""}, ["topic"]),
        ({"topic": "t", "data": []}, ["data"]),
        ({"topic": "t", "data": {"x": "x" * 17_000}}, ["data"]),
        ({"topic": "t", "actor": {"first_name": "Eve"}}, ["actor.external_id"]),
        ({"topic": "t", "recipient": "ann"}, ["recipient"]),
        ([], ["body"]),
    ],
)
async def test_every_fault_of_a_run_is_named_and_nothing_runs(
    shared_hub: RunningHub, body: Any, wrong: list[str]
) -> None:
    await put(shared_hub, "checked")
    assert fields(await run(shared_hub, "checked", body)) == wrong


async def test_an_unknown_notiflow_is_404_and_an_inactive_one_409_not_to_be_retried(shared_hub: RunningHub) -> None:
    answer = await run(shared_hub, "no-such", {"topic": "t"})
    assert answer.status_code == 404
    assert answer.json()["error"]["details"] == {"resource": "notiflow", "id": "no-such"}
    await put(shared_hub, "asleep", active=False)
    answer = await run(shared_hub, "asleep", {"topic": "t"})
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["details"] == {"reason": "inactive", "resource": "notiflow", "id": "asleep"}


async def test_the_same_request_again_under_one_key_runs_once(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "once")
    key = {"idempotency-key": ann}
    body = {"recipients": [{"external_id": ann}]}
    answers = await asyncio.gather(*(run(shared_hub, "once", body, **key) for _ in range(4)))
    answers.append(await run(shared_hub, "once", body, **key))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["notiflow_run_id"] for answer in answers}) == 1
    assert answers[-1].headers["idempotent-replayed"] == "true"
    await idle(shared_hub)
    assert len((await shared_hub.feed(ann))["items"]) == 1
    other = await run(shared_hub, "once", {"recipients": [{"external_id": f"{ann}-bob"}]}, **key)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert other.json()["error"]["details"]["idempotency_key"] == ann


async def test_a_run_goes_on_as_it_was_asked_whatever_becomes_of_its_notiflow(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "deleted-soon", template={"title": "as it was"})
    await run(shared_hub, "deleted-soon", {"recipients": [{"external_id": ann}]})
    await call(shared_hub, "DELETE", "/notiflows/deleted-soon")
    (entry,) = await entries(shared_hub, ann)
    assert entry["data"]["title"] == "as it was"


async def test_a_withdrawn_entry_of_a_run_does_not_come_back_when_a_chunk_is_done_again(
    shared_hub: RunningHub, ann: str
) -> None:
    await put(shared_hub, "repeated")
    answer = await run(shared_hub, "repeated", {"recipients": [{"external_id": ann}]})
    run_id = answer.json()["notiflow_run_id"]
    (entry,) = await entries(shared_hub, ann)
    await idle(shared_hub)
    async with shared_hub.http() as http:
        gone = await http.delete(
            f"/v1/messaging/notifications/{entry['id']}", params={"user": ann}, headers=shared_hub.producer
        )
    assert gone.status_code == 200
    call_ = shared_hub.hub.engine.call
    recipients = json.dumps([{"external_id": ann}])
    await call_("HSET", keys.run("default", run_id), "chunks", 1, "chunk:0", recipients, "position", "0 ")
    await call_("ZADD", keys.runs("default"), 0, run_id)
    shared_hub.hub.fanout.nudge("default")
    await idle(shared_hub)
    assert (await shared_hub.feed(ann))["items"] == []


async def test_a_short_run_does_not_wait_for_a_long_one(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "fair")
    await subscribe(shared_hub, ann, *(f"{ann}-{number}" for number in range(2_000)))
    await run(shared_hub, "fair", {"topic": ann})
    await run(shared_hub, "fair", {"recipients": [{"external_id": ann}]})
    await idle(shared_hub)
    (short,) = await entries(shared_hub, ann)
    (last,) = await entries(shared_hub, f"{ann}-1999")
    assert short["sent_at"] < last["sent_at"], "the long one was still under way"


@pytest.mark.asyncio(loop_scope="function")
async def test_only_so_many_runs_may_wait(hub: RunningHub) -> None:
    await put(hub, "many")
    waiting = {f"r{number}": 9e15 for number in range(1_000)}
    await hub.hub.engine.call(
        "ZADD", keys.runs("default"), *(part for id_, us in waiting.items() for part in (us, id_))
    )
    answer = await run(hub, "many", {"topic": "t"})
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "1000 runs are waiting, at most 1000"
    assert answer.json()["error"]["details"] == {"limit": 1000}
    assert "retry-after" in answer.headers


async def test_the_link_that_users_click_is_held_to_the_rules_of_a_send_also_in_data(shared_hub: RunningHub) -> None:
    await put(shared_hub, "linked", template={"title": "Look"})
    run = {"recipients": [{"external_id": "ann"}], "data": {"action_url": "javascript:alert(1)"}}
    assert fields(await call(shared_hub, "POST", "/notiflows/linked/run", run)) == ["data.action_url"]


@pytest.mark.asyncio(loop_scope="function")
async def test_a_template_that_takes_long_leaves_the_hub_to_others(hub: RunningHub, redis_server: RedisServer) -> None:
    slow = "{{ data.s" + " | split: '' | sort_natural | join: ''" * 100 + " }}"
    await put(hub, "slow", template={"title": "Slow", "body": slow})
    recipients = [{"external_id": f"user-{number}"} for number in range(15)]
    run = {"recipients": recipients, "data": {"s": "ba" * 6000}}
    assert (await call(hub, "POST", "/notiflows/slow/run", run)).status_code == 202
    sent = 0
    while redis_server.client.zcard(keys.runs("default")):
        await hub.send("ann")
        sent += 1
    assert sent >= 10
    assert redis_server.client.zcard(keys.log_failed("default")) == 15
