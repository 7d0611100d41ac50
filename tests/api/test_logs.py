"""The Admin API's logs: notifications and deliveries of runs and sends, as the SDK's types have them."""

import asyncio
from typing import Any

import httpx2
import notiflows
import pytest
from notiflows.types import Delivery, Notification

from hub import keys
from hub.logs import Row
from hub.running import notification_id
from hub.sending import new_entry_id
from tests.api.test_notiflows import call, idle, put, run, subscribe
from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTHING = "00000000-0000-0000-0000-000000000000"


def sdk(hub: RunningHub) -> notiflows.AsyncNotiflows:
    """The published client, which checks every answer against its types."""
    return notiflows.AsyncNotiflows(
        api_key=hub.api_key,
        secret=hub.secret,
        base_url=f"http://127.0.0.1:{hub.port}/admin/v1",
        max_retries=0,
        _strict_response_validation=True,
    )


async def listed(hub: RunningHub, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = await get(hub, path, **query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def get(hub: RunningHub, path: str, **query: Any) -> httpx2.Response:
    async with hub.http() as http:
        headers = {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}
        return await http.get(f"/admin/v1{path}", params=query, headers=headers)


async def test_a_run_is_a_notification_and_a_delivery_for_each_recipient(shared_hub: RunningHub, ann: str) -> None:
    made = await put(shared_hub, "logged", template={"title": "Hi {{ recipient.first_name }}"})
    await call(shared_hub, "PUT", f"/users/{ann}", {"first_name": "Ann", "custom_fields": {"plan": "gold"}})
    await subscribe(shared_hub, ann, ann)
    body = {"topic": ann, "actor": {"external_id": f"{ann}-eve", "first_name": "Eve"}, "data": {"order": 7}}
    run_id = (await run(shared_hub, "logged", body)).json()["notiflow_run_id"]
    await idle(shared_hub)
    (entry,) = (await shared_hub.feed(ann))["items"]
    user = (await call(shared_hub, "GET", f"/users/{ann}")).json()
    eve = (await call(shared_hub, "GET", f"/users/{ann}-eve")).json()

    (notification,) = await listed(shared_hub, f"/users/{ann}/notifications")
    assert notification == {
        "id": notification["id"],
        "status": "processed",
        "notiflow_id": made["id"],
        "notiflow_handle": "logged",
        "topic": ann,
        "recipient": user,
        "actor": eve,
        "notiflow_run_id": run_id,
        "data": {"order": 7},
        "error": None,
        "created_at": entry["sent_at"],
        "updated_at": entry["sent_at"],
        "processed_at": entry["sent_at"],
    }
    (delivery,) = await listed(shared_hub, f"/users/{ann}/deliveries")
    channel = shared_hub.hub.directory.project("default").channels[0]  # type: ignore[union-attr]
    assert delivery == {
        "id": entry["id"],
        "notification_id": notification["id"],
        "notiflow_id": made["id"],
        "notiflow_handle": "logged",
        "topic": ann,
        "recipient": user,
        "actor": eve,
        "channel_id": channel.id,
        "channel_type": "in_app",
        "status": "sent",
        "data": {"order": 7, "title": "Hi Ann"},
        "created_at": entry["sent_at"],
        "updated_at": entry["sent_at"],
        "sent_at": entry["sent_at"],
        "seen_at": None,
        "read_at": None,
        "clicked_at": None,
        "archived_at": None,
        "dismissed_at": None,
    }
    assert notification["id"] != delivery["id"]
    one = await get(shared_hub, f"/notifications/{notification['id']}")
    assert one.json() == notification | {"deliveries": [delivery]}
    assert (await get(shared_hub, f"/deliveries/{delivery['id']}")).json() == delivery
    assert await listed(shared_hub, f"/notifications/{notification['id']}/deliveries") == [delivery]


async def test_what_became_of_an_entry_is_seen_in_its_delivery(shared_hub: RunningHub, ann: str) -> None:
    entry_id = await shared_hub.send(ann)
    phone = await shared_hub.connect(ann)
    await phone.ask("click", channel="inbox", ids=[entry_id])
    await phone.ask("archive", channel="inbox", ids=[entry_id])
    (entry,) = (await shared_hub.feed(ann, status="archived"))["items"]
    delivery = (await get(shared_hub, f"/deliveries/{entry_id}")).json()
    for name in ("sent_at", "seen_at", "read_at", "clicked_at", "archived_at", "dismissed_at"):
        assert delivery[name] == entry[name]
    assert delivery["updated_at"] == entry["archived_at"]


async def test_a_send_is_logged_without_a_notiflow_and_a_run(shared_hub: RunningHub, ann: str) -> None:
    sender = {"id": f"{ann}-bob", "type": "user", "name": "Bob"}
    entry_id = await shared_hub.send(ann, "Shipped", topic="orders", sender=sender, data={"order": 7})
    (notification,) = await listed(shared_hub, f"/users/{ann}/notifications")
    assert (notification["notiflow_id"], notification["notiflow_run_id"]) == (NOTHING, NOTHING)
    assert (notification["notiflow_handle"], notification["topic"]) == ("order.updated", "orders")
    assert notification["data"] == {"order": 7, "title": "Shipped"}
    assert notification["recipient"]["external_id"] == ann
    assert notification["actor"]["external_id"] == f"{ann}-bob"
    assert (await get(shared_hub, f"/users/{ann}")).status_code == 404, "a send makes nobody known"
    created = (await call(shared_hub, "PUT", f"/users/{ann}", {})).json()
    assert notification["recipient"]["id"] == created["id"], "but the id is the same then"
    async with shared_hub.http() as http:
        await http.delete(f"/v1/messaging/notifications/{entry_id}", params={"user": ann}, headers=shared_hub.producer)
    (delivery,) = await listed(shared_hub, f"/users/{ann}/deliveries")
    assert (delivery["id"], delivery["status"], delivery["data"]) == (entry_id, "sent", None), (
        "it was sent, and is gone"
    )


async def test_a_send_that_is_repeated_under_its_key_is_in_the_log_once(shared_hub: RunningHub, ann: str) -> None:
    body = {"category": "a", "target": {"type": "user", "id": ann}, "title": "x"}
    async with shared_hub.http() as http:
        headers = shared_hub.producer | {"idempotency-key": ann}
        first, second = [await http.post("/v1/messaging/notifications", json=body, headers=headers) for _ in "ab"]
    assert first.json() == second.json()
    # As if the hub had died between the entry and its row.
    await shared_hub.hub.logs.forget("default", ann)
    async with shared_hub.http() as http:
        await http.post("/v1/messaging/notifications", json=body, headers=headers)
    (delivery,) = await listed(shared_hub, f"/users/{ann}/deliveries")
    (entry,) = (await shared_hub.feed(ann))["items"]
    assert (delivery["id"], delivery["sent_at"]) == (entry["id"], entry["sent_at"])


async def test_a_send_to_several_is_one_row_each(shared_hub: RunningHub, ann: str) -> None:
    bob = f"{ann}-bob"
    body = {"category": "a", "target": {"type": "users", "ids": [ann, bob]}, "title": "x"}
    async with shared_hub.http() as http:
        answer = await http.post("/v1/messaging/notifications", json=body, headers=shared_hub.producer)
    assert answer.status_code == 202, answer.text
    found = [(await listed(shared_hub, f"/users/{user}/deliveries"))[0]["id"] for user in (ann, bob)]
    assert found == answer.json()["ids"]


async def test_a_recipient_who_switched_it_off_has_a_notification_without_a_delivery(
    shared_hub: RunningHub, ann: str
) -> None:
    await put(shared_hub, "unwanted")
    await call(shared_hub, "PUT", f"/users/{ann}", {"preferences": {"notiflows": {"unwanted": {"enabled": False}}}})
    await run(shared_hub, "unwanted", {"recipients": [{"external_id": ann}]})
    await idle(shared_hub)
    (notification,) = await listed(shared_hub, f"/users/{ann}/notifications", status="processed")
    assert await listed(shared_hub, f"/users/{ann}/deliveries") == []
    one = (await get(shared_hub, f"/notifications/{notification['id']}")).json()
    assert (one["status"], one["deliveries"]) == ("processed", [])


async def test_what_could_not_be_rendered_failed_and_says_why(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "failing", template={"title": "{{ recipient.custom_fields.name }}"})
    named = {"external_id": f"{ann}-named", "custom_fields": {"name": "x"}}
    await run(shared_hub, "failing", {"recipients": [{"external_id": ann}, named]})
    await idle(shared_hub)
    (notification,) = await listed(shared_hub, f"/users/{ann}/notifications", status="failed")
    assert notification["error"] == "template.title: nothing is left of it"
    assert notification["id"] in [item["id"] for item in await listed(shared_hub, "/notifications", status="failed")]
    assert await listed(shared_hub, f"/users/{ann}/deliveries") == []
    (fine,) = await listed(shared_hub, f"/users/{ann}-named/notifications")
    assert fine["status"] == "processed"
    assert await listed(shared_hub, f"/users/{ann}-named/notifications", status="failed") == []


async def test_filters_find_exactly_what_they_say(shared_hub: RunningHub, ann: str) -> None:
    here = await shared_hub.send(ann, topic=f"{ann}-a")
    there = await shared_hub.send(ann, topic=f"{ann}-b")
    for path in (f"/users/{ann}/deliveries", "/deliveries"):
        assert [item["id"] for item in await listed(shared_hub, path, topic=f"{ann}-a")] == [here]
        assert [item["id"] for item in await listed(shared_hub, path, topic=f"{ann}-b", status="sent")] == [there]
        for status in ("pending", "failed"):
            assert await listed(shared_hub, path, topic=f"{ann}-a", status=status) == []
    for path in (f"/users/{ann}/notifications", "/notifications"):
        assert len(await listed(shared_hub, path, topic=f"{ann}-a")) == 1
        for status in ("pending", "processing", "failed"):
            assert await listed(shared_hub, path, topic=f"{ann}-a", status=status) == []
    for name in ("inbox", shared_hub.hub.directory.project("default").channels[0].id):  # type: ignore[union-attr]
        found = await listed(shared_hub, f"/users/{ann}/deliveries", channel_id=name)
        assert [item["id"] for item in found] == [there, here]
    first = (await get(shared_hub, f"/deliveries/{here}")).json()["created_at"]
    last = (await get(shared_hub, f"/deliveries/{there}")).json()["created_at"]
    assert first < last
    after = await listed(shared_hub, f"/users/{ann}/deliveries", created_after=first)
    before = await listed(shared_hub, f"/users/{ann}/deliveries", created_before=last)
    assert ([item["id"] for item in after], [item["id"] for item in before]) == ([there], [here])
    notification = (await listed(shared_hub, f"/users/{ann}/notifications", topic=f"{ann}-a"))[0]["id"]
    of = f"/notifications/{notification}/deliveries"
    for query, count in (({"topic": f"{ann}-a"}, 1), ({"topic": "b"}, 0), ({"created_after": first}, 0)):
        assert len(await listed(shared_hub, of, **query)) == count


@pytest.mark.parametrize("kind", ["notifications", "deliveries"])
async def test_pages_lead_through_all_of_it_in_both_directions(shared_hub: RunningHub, ann: str, kind: str) -> None:
    rows = [  # three in the same microsecond, and every second one without a delivery
        Row(new_entry_id(), 1_795_000_000_000_000 + number // 3, ann, "inbox" if number % 2 else None, "x")
        for number in range(23)
    ]
    await shared_hub.hub.logs.add("default", rows)
    kept = sorted((row for row in rows if row.channel or kind == "notifications"), key=lambda row: (row.us, row.id))
    ids = [row.id if kind == "deliveries" else notification_id(row.id) for row in reversed(kept)]

    pages: list[dict[str, Any]] = []
    query: dict[str, Any] = {}
    while not pages or query:
        pages.append((await get(shared_hub, f"/users/{ann}/{kind}", limit=5, **query)).json())
        after = pages[-1]["page"]["after"]
        query = {"after": after} if after else {}
    assert [item["id"] for page in pages for item in page["items"]] == ids
    assert {len(page["items"]) for page in pages[:-1]} == {5}
    assert pages[0]["page"]["before"] is None
    for number in range(len(pages) - 1, 0, -1):
        before = pages[number]["page"]["before"]
        page = (await get(shared_hub, f"/users/{ann}/{kind}", limit=5, before=before)).json()
        assert page["items"] == pages[number - 1]["items"]
    assert page["page"]["before"] is None
    assert page["page"]["after"] == pages[0]["page"]["after"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"status": "seen"}, "status"),
        ({"topic": ""}, "topic"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"after": "x"}, "after"),
        ({"after": "MSBh", "before": "MSBh"}, "after"),
        ({"created_after": "yesterday"}, "created_after"),
    ],
)
async def test_a_wrong_parameter_is_named(shared_hub: RunningHub, query: dict[str, Any], param: str) -> None:
    for path in ("/notifications", "/deliveries"):
        answer = await get(shared_hub, path, **query)
        assert answer.status_code == 400
        assert answer.json()["error"]["details"] == {"reason": "invalid_param", "param": param}


async def test_what_is_another_users_or_nobodys_is_404(shared_hub: RunningHub, ann: str) -> None:
    delivery = await shared_hub.send(ann)
    (notification,) = await listed(shared_hub, f"/users/{ann}/notifications")
    await shared_hub.send(f"{ann}-bob")
    wrong = (
        ("delivery", "/deliveries/no-uuid"),
        ("delivery", f"/deliveries/{notification['id']}"),
        ("delivery", f"/users/{ann}-bob/deliveries/{delivery}"),
        ("notification", "/notifications/no-uuid"),
        ("notification", f"/notifications/{delivery}"),
        ("notification", f"/notifications/{delivery}/deliveries"),
        ("notification", f"/users/{ann}-bob/notifications/{notification['id']}"),
        ("user", f"/users/{ann}-nobody/notifications"),
        ("user", f"/users/{ann}-nobody/deliveries"),
    )
    for resource, path in wrong:
        answer = await get(shared_hub, path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["details"]["resource"] == resource
    answer = await get(shared_hub, "/deliveries", channel_id="nowhere")
    assert (answer.status_code, answer.json()["error"]["details"]["resource"]) == (404, "channel")
    for path in (f"/deliveries/{delivery}", f"/notifications/{notification['id']}"):
        assert (await get(shared_hub, f"/users/{ann}{path}")).status_code == 200


async def test_a_known_user_without_notifications_has_an_empty_log(shared_hub: RunningHub, ann: str) -> None:
    await call(shared_hub, "PUT", f"/users/{ann}", {})
    page = (await get(shared_hub, f"/users/{ann}/notifications")).json()
    assert (page["items"], page["page"]["after"], page["page"]["limit"]) == ([], None, 25)


async def test_a_deleted_user_leaves_no_log(shared_hub: RunningHub, ann: str) -> None:
    delivery = await shared_hub.send(ann, topic=ann)
    assert (await call(shared_hub, "DELETE", f"/users/{ann}")).status_code == 204
    assert (await get(shared_hub, f"/deliveries/{delivery}")).status_code == 404
    assert await listed(shared_hub, "/deliveries", topic=ann) == []
    assert (await get(shared_hub, f"/users/{ann}/notifications")).status_code == 404


async def test_the_published_sdk_reads_all_of_it_and_finds_its_types_held(shared_hub: RunningHub, ann: str) -> None:
    await put(shared_hub, "typed")
    await run(shared_hub, "typed", {"recipients": [{"external_id": ann}], "actor": {"external_id": "eve"}})
    await idle(shared_hub)
    for number in range(3):
        await shared_hub.send(ann, f"{number}")
    async with sdk(shared_hub) as client:
        notifications = [n async for n in client.users.notifications.list(ann, limit=2)]
        deliveries = [d async for d in client.users.deliveries.list(ann, limit=2)]
        assert [type(n) for n in notifications] == [Notification] * 4
        assert [type(d) for d in deliveries] == [Delivery] * 4
        one = await client.notifications.retrieve(notifications[0].id)
        assert [d.id for d in one.deliveries or ()] == [deliveries[0].id]
        of = await client.notifications.list_deliveries(notifications[0].id)
        assert [d.id for d in of.items] == [deliveries[0].id]
        assert (await client.deliveries.retrieve(deliveries[0].id)).id == deliveries[0].id
        users = client.users
        assert (await users.notifications.retrieve(one.id, user_external_id=ann)).id == one.id
        assert (await users.deliveries.retrieve(deliveries[0].id, user_external_id=ann)).id == deliveries[0].id
        newest = await client.notifications.list(limit=1)
        assert newest.items[0].id == notifications[0].id
        assert (await client.deliveries.list(limit=1)).items[0].id == deliveries[0].id
        with pytest.raises(notiflows.NotFoundError):
            await client.deliveries.retrieve("nothing")


@pytest.mark.asyncio(loop_scope="function")
async def test_rows_that_are_too_old_leave_with_the_next_ones(start_hub: Any) -> None:
    hub = await start_hub(log_days=1)
    old = [Row(f"old-{n}", 1_000_000 + n, "ann", "inbox", "x", topic="t", error="e") for n in range(30)]
    await hub.hub.logs.add("default", old[:10])
    await hub.hub.logs.add("default", old[10:])
    entry_id = await hub.send("ann", topic="t")
    engine = hub.hub.engine
    for index in (keys.log_index("default"), keys.log_of("default", "ann"), keys.log_topic("default", "t")):
        assert await engine.call("ZRANGE", index, 0, -1) == [entry_id.encode()]
        assert 0 < await engine.call("PTTL", index) <= 24 * 3600 * 1000
    assert await engine.call("HKEYS", keys.log_rows("default")) == [entry_id.encode()]


@pytest.mark.asyncio(loop_scope="function")
async def test_many_sends_at_once_are_all_logged(hub: RunningHub) -> None:
    await asyncio.gather(*(hub.send(f"user-{number % 7}") for number in range(60)))
    assert len(await listed(hub, "/deliveries", limit=1000)) == 60
