"""A user with a laptop and a phone: what one does, the other sees."""

from tests.harness import RunningHub


async def test_a_notification_reaches_every_session_the_moment_it_is_sent(hub: RunningHub) -> None:
    laptop, phone = await hub.connect("ann"), await hub.connect("ann", protocol="bellhub.v1.msgpack")
    entry_id = await hub.send("ann", "shipped")
    for session in (laptop, phone):
        event = await session.next("entry")
        assert event["entry"]["id"] == entry_id
        assert event["entry"]["data"] == {"title": "shipped"}
        assert event["counts"] == {"unseen": 1, "unread": 1, "total": 1}


async def test_read_on_one_session_is_read_on_the_other_and_over_rest(hub: RunningHub) -> None:
    laptop, phone = await hub.connect("ann"), await hub.connect("ann")
    entry_id = await hub.send("ann")
    ack = await phone.ask("read", channel="inbox", ids=[entry_id], op="o1")
    state = await laptop.next("state")
    assert ack["type"] == "ack"
    assert ack["changed"] == state["ids"] == [entry_id]
    assert state["verbs"] == ["read"]
    assert state["by"] == phone.frames[0]["session"]
    assert ack["cursor"] == state["cursor"] == (await phone.next("state"))["cursor"]
    assert ack["counts"] == state["counts"] == {"unseen": 0, "unread": 0, "total": 1}
    (item,) = (await hub.feed("ann"))["items"]
    assert (item["status"], item["read_at"], item["seen_at"]) == ("read", state["at"], state["at"])
    assert await laptop.next("entry")


async def test_a_session_that_comes_back_has_missed_nothing(hub: RunningHub) -> None:
    first = await hub.connect("ann")
    await hub.send("ann", "one")
    seen = (await first.next("entry"))["cursor"]
    await first.close()
    ids = [await hub.send("ann", f"missed {n}") for n in range(3)]
    again = await hub.connect("ann", cursor=seen)
    subscribed = await again.first(lambda frame: frame["type"] == "subscribed")
    assert (subscribed["mode"], subscribed["missed"]) == ("replay", 3)
    events = [await again.next("entry") for _ in ids]
    assert [event["entry"]["id"] for event in events] == ids
    assert [event["prev"] for event in events] == [seen, events[0]["cursor"], events[1]["cursor"]]
    assert events[-1]["cursor"] == subscribed["cursor"]


async def test_two_hubs_on_one_store_are_one(start_hub) -> None:  # type: ignore[no-untyped-def]
    east, west = await start_hub(), await start_hub()
    here, there = await east.connect("ann"), await west.connect("ann")
    entry_id = await east.send("ann")
    assert (await there.next("entry"))["entry"]["id"] == entry_id
    await there.ask("archive", channel="inbox", ids=[entry_id])
    assert (await here.next("state"))["ids"] == [entry_id]
