"""The directory, one behaviour a test, through `Users` on a real Redis: no hub."""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.crc import key_slot

from hub import keys, profiles
from hub.engine import Engine
from hub.errors import Code, Refused
from hub.indexes import index_page
from hub.keys import User
from hub.lists import Listed, Place, Window, parse_place, place_token
from hub.logs import Logs, Row
from hub.model import Channel, Project
from hub.profiles import CUSTOM_BYTES, NamedSettings, Profile, UserChanges, UserFields
from hub.sending import new_entry_id
from hub.users import CHUNK, PAGE_BYTES, READ, TOPICS, Users, erase
from tests.harness import PATIENCE_S, RedisServer, open_store

PROJECT = Project(
    "default", "Default", "pk_test", (Channel("c1", "inbox"), Channel("c2", "push", "mobile_push", "fcm"))
)
FOREVER = 10**16


@pytest.fixture
async def engine(redis_server: RedisServer) -> AsyncIterator[Engine]:
    engine = Engine()
    engine.link.url = redis_server.url
    running = asyncio.create_task(engine.link.run())
    async with asyncio.timeout(PATIENCE_S):
        await engine.link.up.wait()
    yield engine
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def users(engine: Engine) -> Users:
    return Users(engine)


@pytest.fixture
def logs(engine: Engine) -> Logs:
    return Logs(engine, 30)


async def upsert(users: Users, name: str = "ann", **fields: Any) -> Profile:
    profile, _ = await users.upsert(PROJECT, name, UserChanges(**fields))
    return profile


async def refusal(call: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


def names_of(page: Listed[Profile]) -> list[str]:
    return [profile.external_id for profile in page.items]


# ---- users -------------------------------------------------------------------------------------------


async def test_an_upsert_creates_then_updates_and_changes_only_what_is_given(users: Users) -> None:
    first, created = await users.upsert(PROJECT, "ann", UserChanges(email="ann@example.com", first_name="Ann"))
    second, again = await users.upsert(PROJECT, "ann", UserChanges(first_name="Anna"))
    assert (created, again) == (True, False)
    assert (second.email, second.first_name) == ("ann@example.com", "Anna")
    assert second.id == first.id == profiles.user_id("default", "ann")
    assert second.created_at == first.created_at < second.updated_at
    assert await users.get("default", "ann") == second


async def test_null_takes_a_value_away(users: Users) -> None:
    await upsert(users, email="ann@example.com", custom_fields={"a": 1})
    profile = await upsert(users, email=None, custom_fields=None)
    assert (profile.email, profile.custom_fields) == (None, {})


async def test_custom_fields_are_merged_deeply_and_null_removes_a_key(users: Users) -> None:
    await upsert(users, custom_fields={"plan": {"name": "pro", "seats": 3, "old": True}, "tags": ["a", "b"], "keep": 1})
    profile = await upsert(users, custom_fields={"plan": {"seats": 5, "old": None}, "tags": ["c"], "new": {"x": None}})
    assert profile.custom_fields == {"plan": {"name": "pro", "seats": 5}, "tags": ["c"], "keep": 1, "new": {}}


async def test_an_upsert_that_changes_nothing_leaves_updated_at(users: Users) -> None:
    first = await upsert(users, first_name="Ann")
    assert await upsert(users, first_name="Ann") == first


async def test_upserts_at_the_same_time_lose_nothing(users: Users) -> None:
    """Each changes a key of its own; a document written blindly would keep the last one's only."""
    answers = await asyncio.gather(
        *(users.upsert(PROJECT, "ann", UserChanges(custom_fields={f"k{number}": number})) for number in range(20))
    )
    assert (await users.get("default", "ann")).custom_fields == {f"k{number}": number for number in range(20)}
    assert sum(created for _, created in answers) == 1


async def test_what_is_too_large_is_refused_and_nothing_changes(users: Users) -> None:
    before = await upsert(users, custom_fields={"a": "x" * 9000})
    refused = await refusal(users.upsert(PROJECT, "ann", UserChanges(custom_fields={"b": "x" * 9000}, first_name="B")))
    assert refused.code is Code.INVALID_REQUEST
    assert str(CUSTOM_BYTES) in refused.message
    assert refused.details["fields"][0]["field"] == "custom_fields"
    assert await users.get("default", "ann") == before


async def test_profiles_come_in_the_order_asked_and_are_none_for_strangers(users: Users) -> None:
    await upsert(users, "ann")
    await upsert(users, "bob")
    found = await users.profiles("default", ["bob", "nobody", "ann"])
    assert [profile and profile.external_id for profile in found] == ["bob", None, "ann"]
    assert await users.profiles("default", []) == []


async def test_another_project_has_users_of_its_own(users: Users) -> None:
    await upsert(users)
    assert await users.profiles("other", ["ann"]) == [None]
    assert (await refusal(users.get("other", "ann"))).details == {"resource": "user", "id": "ann"}
    assert profiles.user_id("other", "ann") != profiles.user_id("default", "ann")


async def test_ensure_creates_strangers_and_leaves_others_as_they_are(users: Users) -> None:
    ann = await upsert(users, "ann", first_name="Ann")
    recipients = [
        UserFields(external_id="bob", first_name="Bob", custom_fields={"vip": True, "not": None}),
        UserFields(external_id="ann", first_name="Other"),
        UserFields(external_id="bob", first_name="Second"),
    ]
    found = await users.ensure("default", recipients)
    assert [profile.first_name for profile in found] == ["Bob", "Ann", "Bob"]
    assert found[0].custom_fields == {"vip": True}
    assert await users.get("default", "ann") == ann
    assert names_of(await users.page("default", Window())) == ["bob", "ann"]
    assert await users.ensure("default", []) == []


async def test_two_ensures_at_the_same_time_agree(users: Users) -> None:
    asked = [UserFields(external_id="bob", first_name=f"Bob {number}") for number in range(10)]
    found = await asyncio.gather(*(users.ensure("default", [fields]) for fields in asked))
    assert len({profile.first_name for (profile,) in found}) == 1


@pytest.mark.parametrize("upwards", [False, True])
async def test_a_page_of_large_documents_ends_early_and_loses_nobody(users: Users, upwards: bool) -> None:
    custom = {"x": "x" * 15_000}
    tokens = NamedSettings(channel_id="push", settings={"device_tokens": [f"{n:02}" + "t" * 2000 for n in range(20)]})
    names = [f"user-{number:03}" for number in range(2 * PAGE_BYTES // 50_000)]
    for name in names:
        await upsert(users, name, custom_fields=custom, channel_settings=[tokens])
    window, walked = Window(1000, before=(0, "") if upwards else None), list[str]()
    while True:
        page = await users.page("default", window)
        assert len(page.items) * 50_000 < PAGE_BYTES + READ * 60_000
        walked = names_of(page) + walked if upwards else walked + names_of(page)
        place = page.before if upwards else page.after
        if place is None:
            break
        window = Window(1000, before=place) if upwards else Window(1000, after=place)
    assert walked == names[::-1]
    assert len(page.items) < len(names)


async def test_everything_of_a_project_is_in_one_slot(users: Users, redis_server: RedisServer) -> None:
    """So that each script works on a Redis Cluster."""
    await upsert(users, "ann }{ ü")
    await users.subscribe("default", "ann }{ ü", "a {topic}")
    slots = {key_slot(key.encode()) for key in redis_server.client.keys("*")}
    assert slots == {key_slot(b"{default}")}


async def test_a_deleted_user_is_in_no_list_and_no_topic(users: Users, redis_server: RedisServer) -> None:
    await upsert(users, "ann")
    await upsert(users, "bob")
    for topic in ("news", "sport"):
        await users.subscribe_many("default", topic, ["ann", "bob"])
    assert await users.delete("default", "ann")
    assert not await users.delete("default", "ann")
    assert names_of(await users.page("default", Window())) == ["bob"]
    for topic in ("news", "sport"):
        assert [s.user for s in (await users.topic_subscriptions("default", topic, Window())).items] == ["bob"]
    assert not redis_server.client.exists(keys.topics_of("default", "ann"))


async def test_a_subscription_that_races_a_deletion_leaves_no_trace_of_a_user_who_is_gone(
    users: Users, redis_server: RedisServer
) -> None:
    for number in range(30):
        name = f"user-{number}"
        await upsert(users, name)
        subscribing = [users.subscribe_many("default", f"t{topic}", [name]) for topic in range(5)]
        await asyncio.gather(*subscribing, users.delete("default", name))
        assert await users.profiles("default", [name]) == [None]
        assert not redis_server.client.exists(keys.topics_of("default", name))
        for topic in range(5):
            assert redis_server.client.zscore(keys.topic("default", f"t{topic}"), name) is None


# ---- erasing -----------------------------------------------------------------------------------------


async def test_erasing_revokes_and_removes_feeds_but_not_the_revocation(
    users: Users, logs: Logs, redis_server: RedisServer
) -> None:
    async with open_store(redis_server.url) as store:
        feed = User("default", "ann").feed("inbox")
        await upsert(users)
        entry_id = new_entry_id()
        await store.publish(feed, entry_id, f'{{"id":"{entry_id}"')
        await erase(users, store, logs, PROJECT, "ann")
        left = set(redis_server.client.scan_iter(match="{default/ann}*"))
        assert left == {feed.user.meta}
        assert sorted(redis_server.client.hgetall(feed.user.meta)) == ["erased", "revoked"]
        assert redis_server.client.ttl(feed.user.meta) == -1
        assert (await refusal(erase(users, store, logs, PROJECT, "ann"))).details["resource"] == "user"


async def test_erasing_takes_a_user_out_of_the_log_and_nobody_else(
    users: Users, logs: Logs, redis_server: RedisServer
) -> None:
    async with open_store(redis_server.url) as store:
        rows = {name: Row(new_entry_id(), 0, name, "inbox", "welcome", topic="news") for name in ("ann", "bob")}
        await logs.add("default", list(rows.values()))
        await erase(users, store, logs, PROJECT, "ann")
        assert await logs.get("default", rows["ann"].id) is None
        assert await logs.get("default", rows["bob"].id) is not None
        assert (await refusal(erase(users, store, logs, PROJECT, "ann"))).code is Code.NOT_FOUND


async def test_a_user_with_a_feed_and_no_profile_can_be_erased(
    users: Users, logs: Logs, redis_server: RedisServer
) -> None:
    async with open_store(redis_server.url) as store:
        entry_id = new_entry_id()
        feed = User("default", "ann").feed("inbox")
        await store.publish(feed, entry_id, f'{{"id":"{entry_id}"')
        await erase(users, store, logs, PROJECT, "ann")
        assert not redis_server.client.exists(feed.key("items"))


@pytest.mark.parametrize("step", ["revoke", "feeds", "log"])
async def test_an_erasure_that_dies_half_way_can_be_asked_for_again(
    users: Users, logs: Logs, redis_server: RedisServer, step: str
) -> None:
    """As a killed hub leaves it: tokens revoked, feeds gone or the log as well, and the directory not."""
    async with open_store(redis_server.url) as store:
        await upsert(users)
        feed = User("default", "ann").feed("inbox")
        await store.publish(feed, new_entry_id(), "{")
        await store.revoke(feed.user)
        if step != "revoke":
            await store.forget(feed)
        if step == "log":
            await logs.forget("default", "ann")
        await erase(users, store, logs, PROJECT, "ann")
        assert await users.profiles("default", ["ann"]) == [None]
        assert not await store.has_feeds(feed.user)


async def test_a_stranger_who_is_erased_leaves_nothing(users: Users, logs: Logs, redis_server: RedisServer) -> None:
    async with open_store(redis_server.url) as store:
        assert (await refusal(erase(users, store, logs, PROJECT, "nobody"))).code is Code.NOT_FOUND
    assert not list(redis_server.client.scan_iter(match="{default/nobody}*"))


# ---- topics ------------------------------------------------------------------------------------------


async def test_a_topic_comes_into_being_with_its_first_subscriber_and_stays_when_the_last_one_leaves(
    users: Users,
) -> None:
    await upsert(users)
    assert (await users.topics("default", Window())).items == ()
    first, made = await users.subscribe("default", "ann", "news")
    second, again = await users.subscribe("default", "ann", "news")
    assert (made.new, again.new, first) == (True, False, second)
    await users.unsubscribe("default", "ann", "news")
    assert [name for _, name in (await users.topics("default", Window())).items] == ["news"]
    assert (await refusal(users.unsubscribe("default", "ann", "news"))).details["resource"] == "subscription"
    assert (await refusal(users.subscription("default", "ann", "news"))).details["resource"] == "subscription"


async def test_strangers_are_not_subscribed_and_make_no_topic(users: Users) -> None:
    assert (await refusal(users.subscribe("default", "nobody", "news"))).details["resource"] == "user"
    assert (await refusal(users.topic("default", "news"))).details == {"resource": "topic", "id": "news"}


async def test_many_are_subscribed_each_for_themselves(users: Users) -> None:
    await upsert(users, "ann")
    await upsert(users, "bob")
    await users.subscribe("default", "bob", "news")
    outcomes = await users.subscribe_many("default", "news", ["ann", "nobody", "bob"])
    assert [(o.user, o.new, o.why) for o in outcomes] == [
        ("ann", True, ""),
        ("nobody", False, "User not found"),
        ("bob", False, ""),
    ]
    outcomes = await users.unsubscribe_many("default", "news", ["ann", "nobody", "ann", "bob"])
    assert [o.why for o in outcomes] == ["", "User not found", "User is not subscribed", ""]


async def test_a_user_is_in_so_many_topics_at_most(users: Users, redis_server: RedisServer) -> None:
    await upsert(users)
    redis_server.client.zadd(keys.topics_of("default", "ann"), {f"t{number}": number for number in range(TOPICS)})
    refused = await refusal(users.subscribe("default", "ann", "one more"))
    assert refused.code is Code.INVALID_REQUEST
    assert str(TOPICS) in refused.message
    assert not redis_server.client.exists(keys.topic("default", "one more"))


async def test_a_deleted_topic_leaves_its_subscribers(users: Users, redis_server: RedisServer) -> None:
    names = [f"user-{number}" for number in range(CHUNK + 10)]
    await users.ensure("default", [UserFields(external_id=name) for name in names])
    await users.subscribe_many("default", "news", names)
    await users.subscribe_many("default", "sport", names[:1])
    await users.delete_topic("default", "news")
    assert [name for _, name in (await users.topics("default", Window())).items] == ["sport"]
    assert [s.topic for s in (await users.subscriptions("default", names[0], Window())).items] == ["sport"]
    assert not redis_server.client.exists(keys.topic("default", "news"))
    assert (await refusal(users.delete_topic("default", "news"))).details["resource"] == "topic"


async def test_the_two_sides_of_a_subscription_agree_whatever_races(users: Users, redis_server: RedisServer) -> None:
    names, topics = [f"user-{number}" for number in range(6)], ["a", "b", "c"]
    await users.ensure("default", [UserFields(external_id=name) for name in names])
    rng = random.Random(7)

    async def something() -> None:
        topic, some = rng.choice(topics), rng.sample(names, 3)
        match rng.randrange(4):
            case 0:
                await users.unsubscribe_many("default", topic, some)
            case 1:
                with suppress(Refused):  # it may not be there now
                    await users.delete_topic("default", topic)
            case _:
                await users.subscribe_many("default", topic, some)

    for _ in range(20):
        await asyncio.gather(*(something() for _ in range(10)))
        redis = redis_server.client
        by_topic = {(t, u) for t in topics for u in redis.zrange(keys.topic("default", t), 0, -1)}
        by_user = {(t, u) for u in names for t in redis.zrange(keys.topics_of("default", u), 0, -1)}
        assert by_topic == by_user
        assert {topic for topic, _ in by_topic} <= set(redis.zrange(keys.topics("default"), 0, -1))


async def test_subscribers_are_walked_oldest_first_up_to_a_time(users: Users) -> None:
    names = [f"user-{number:02}" for number in range(25)]
    await users.ensure("default", [UserFields(external_id=name) for name in [*names, "late"]])
    await users.subscribe_many("default", "news", names)  # one script: all in the same µs
    until = (await users.subscription("default", names[0], "news")).since
    await users.subscribe("default", "late", "news")
    walked: list[str] = []
    place: Place | None = None
    while some := await users.subscribers("default", "news", place, until, 10):
        assert len(some) <= 10
        walked += [name for _, name in some]
        place = some[-1]
        await users.unsubscribe("default", place[1], "news")  # a place is good also when nobody is there any more
    assert walked == names
    assert [name for _, name in await users.subscribers("default", "news", place, FOREVER, 10)] == ["late"]


# ---- pages of an index -------------------------------------------------------------------------------


@dataclasses.dataclass
class Model:
    """What a page must be, the slow way."""

    members: dict[str, int]

    def page(self, window: Window) -> Listed[Place]:
        rows = sorted(((us, name.encode()) for name, us in self.members.items()), reverse=True)
        rows = [
            row
            for row in rows
            if (window.created_after is None or row[0] > window.created_after)
            and (window.created_before is None or row[0] < window.created_before)
        ]
        if window.after is not None:
            part = [row for row in rows if row < (window.after[0], window.after[1].encode())][: window.limit]
        elif window.before is not None:
            part = [row for row in rows if row > (window.before[0], window.before[1].encode())][-window.limit :]
        else:
            part = rows[: window.limit]
        places = tuple((us, name.decode()) for us, name in part)
        older = bool(part) and part[-1] != rows[-1]
        newer = bool(part) and part[0] != rows[0]
        return Listed(places, window.limit, places[-1] if older else None, places[0] if newer else None)


async def test_pages_are_those_of_a_sorted_list_with_ties_gaps_and_bounds(
    engine: Engine, redis_server: RedisServer
) -> None:
    """Names in many scripts, few different times, places of members that left."""
    rng = random.Random(11)
    base = 1_795_000_000_000_000
    alphabet = ["a", "B", "ä", "€", "z", "0", "-", "😀"]
    names = {"".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 4))) for _ in range(60)}
    members = {name: base + rng.randrange(6) for name in sorted(names)}
    redis_server.client.zadd("{default}:test", members)
    gone = [(us, name) for name, us in members.items() if rng.random() < 0.3]
    redis_server.client.zrem("{default}:test", *(name for _, name in gone))
    model = Model({name: us for name, us in members.items() if (us, name) not in gone})
    places: list[Place | None] = [None, *gone, *((us, name) for name, us in model.members.items())]
    for _ in range(400):
        place = rng.choice(places)
        up = rng.random() < 0.5
        window = Window(
            rng.randrange(1, 12),
            after=None if up else place,
            before=place if up else None,
            created_after=rng.choice([None, base + rng.randrange(-1, 7)]),
            created_before=rng.choice([None, base + rng.randrange(-1, 7)]),
        )
        assert await index_page(engine, "{default}:test", window) == model.page(window), window


def test_a_page_token_says_its_place_and_nothing_else_is_one() -> None:
    place = (1_795_000_000_000_000, "ann 😀/?")
    token = place_token(place)
    assert token is not None
    assert parse_place(token) == place
    for wrong in ("", "p1", "%", "ä", token[:-3] + "*", "x" * 5000, "YWJj", "LTEgYQ"):
        with pytest.raises(ValueError, match="page token"):
            parse_place(wrong)


# ---- preferences -------------------------------------------------------------------------------------


def profile_preferring(**preferences: Any) -> Profile:
    return dataclasses.replace(profiles.new_profile("default", "ann", 1), preferences=preferences)


@pytest.mark.parametrize(
    ("preferences", "allowed"),
    [
        ({}, True),
        ({"channel_types": {"in_app": False}}, False),
        ({"channel_types": {"email": False}}, True),
        ({"notiflows": {"welcome": {"enabled": False}}}, False),
        ({"notiflows": {"other": {"enabled": False}}}, True),
        ({"notiflows": {"welcome": {"channel_types": {"in_app": False}}}}, False),
        ({"channel_types": {"in_app": False}, "notiflows": {"welcome": {"channel_types": {"in_app": True}}}}, True),
        ({"notiflows": {"welcome": {"enabled": False, "channel_types": {"in_app": True}}}}, False),
    ],
)
def test_what_is_chosen_for_a_notiflow_wins_over_what_is_chosen_at_large(
    preferences: dict[str, Any], allowed: bool
) -> None:
    assert profiles.in_app_allowed(profile_preferring(**preferences), "welcome") is allowed


def test_who_chose_nothing_gets_everything() -> None:
    assert profiles.in_app_allowed(None, "welcome")


def test_internal_ids_are_uuids_of_version_8() -> None:
    made = profiles.user_id("default", "ann")
    assert made[14] == "8"
    assert made[19] in "89ab"
    assert made == profiles.user_id("default", "ann") != profiles.user_id("defaul", "tann")
