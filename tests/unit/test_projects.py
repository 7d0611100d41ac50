"""Projects in a real store, changed by several processes at once, and the snapshot that doors ask."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hub import auth, notiflows, projects
from hub.auth import new_secret_key, new_signing_key, origin_allowed
from hub.errors import Code, Refused
from hub.keys import CONTROL, PROJECTS, SCHEMA
from hub.model import Channel, Project, timestamp
from hub.notiflows import read_definition
from hub.projects import Directory, NewerSchema, Projects, check_schema, decode, development_project, encode

NOW = 1_800_000_000.25


# ---- a private store -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def socket() -> Iterator[str]:
    """A redis-server of this module's own, on a unix socket; short paths, as a socket's name has 107 bytes."""
    directory = tempfile.mkdtemp(prefix="hub")
    path = str(Path(directory) / "s")
    command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([*command, "--dir", directory], stdout=subprocess.DEVNULL)
    try:
        wait_until_up(path, server)
        yield path
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory)


def wait_until_up(path: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    with redis.Redis(unix_socket_path=path) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                assert server.poll() is None, "redis-server ended"
                assert time.monotonic() < deadline, "redis-server did not come up in 10 s"
                time.sleep(0.01)


def connect(path: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0))


@pytest.fixture
async def client(socket: str) -> AsyncIterator[redis.asyncio.Redis]:
    """One process' connection to an empty store."""
    async with connect(socket) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def rival(socket: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Another process' connection to the same store."""
    async with connect(socket) as client:
        yield client


@pytest.fixture
async def store(client: redis.asyncio.Redis) -> Projects:
    return Projects(client)


@pytest.fixture
async def news(client: redis.asyncio.Redis, socket: str) -> AsyncIterator["News"]:
    async with connect(socket) as listener, listener.pubsub() as pubsub:
        await pubsub.ssubscribe(CONTROL)
        assert (await pubsub.get_message(timeout=5))["type"] == "ssubscribe"
        yield News(pubsub, client)


class News:
    """What the other processes were told so far."""

    def __init__(self, pubsub: redis.asyncio.client.PubSub, client: redis.asyncio.Redis) -> None:
        self._pubsub, self._client = pubsub, client

    async def heard(self) -> list[str]:
        """All announcements before this call: a mark of our own ends the reading."""
        await self._client.execute_command("SPUBLISH", CONTROL, "--mark--")
        heard: list[str] = []
        while (message := await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=5)) is not None:
            if message["data"] == b"--mark--":
                return heard
            heard.append(message["data"].decode())
        raise AssertionError("the mark did not arrive within 5 s")


def refused(caught: pytest.ExceptionInfo[Refused]) -> tuple[Code, object, object]:
    return caught.value.code, caught.value.details.get("resource"), caught.value.details.get("id")


def origin(number: int) -> str:
    return f"https://app{number}.example.com"


# ---- documents -----------------------------------------------------------------------------------------


def full_project() -> Project:
    project = Project("acme", "Acme ✓", "pk_acme", (Channel("c1", "inbox"),), origins=("https://acme.example",))
    project = projects.add_channel(project, "push", "mobile_push", "fcm")
    project = projects.add_signing_key(project, new_signing_key("ES256")[0])
    project = projects.add_secret_key(project, new_secret_key("owner")[0])
    definition = read_definition({"template": {"title": "{{ data.x }}", "body": "b"}, "channel": "inbox"})
    project = notiflows.put(project, "news", definition, timestamp(1))
    return projects.retire_key(project, project.signing_keys[0].kid, NOW)


def test_a_project_survives_its_document() -> None:
    project = full_project()
    assert decode(encode(project)) == project
    assert decode(encode(project).encode()) == project
    assert decode(encode(project)).feed_channel("inbox") == Channel("c1", "inbox")


def test_a_document_of_a_time_before_notiflows_is_read() -> None:
    project = full_project()
    document = json.loads(encode(project))
    del document["notiflows"]
    assert decode(json.dumps(document)) == replace(project, notiflows=())


def test_a_document_holds_no_secret() -> None:
    key, secret = new_secret_key("owner")
    assert secret not in encode(projects.add_secret_key(full_project(), key))


# ---- the store -----------------------------------------------------------------------------------------


async def test_a_created_project_has_an_inbox_a_random_key_and_nobody_who_may_come(store: Projects) -> None:
    acme, beta = await store.create("acme", "Acme"), await store.create("beta", "Beta")
    assert [(c.handle, c.type, c.provider) for c in acme.channels] == [("inbox", "in_app", None)]
    assert str(UUID(acme.channels[0].id)) == acme.channels[0].id
    assert UUID(acme.channels[0].id).version == 4
    assert acme.api_key.startswith("pk_")
    assert acme.api_key != beta.api_key
    assert (acme.signing_keys, acme.secret_keys, acme.origins) == ((), (), ())
    assert await store.load() == {"acme": acme, "beta": beta}


async def test_projects_load_the_same_over_a_client_that_decodes(store: Projects, socket: str) -> None:
    acme = await store.create("acme", "Acme")
    async with redis.asyncio.Redis(unix_socket_path=socket, decode_responses=True) as decoding:
        assert await Projects(decoding).load() == {"acme": acme}
        assert (await Projects(decoding).change("acme", lambda p: replace(p, name="New"))).name == "New"


async def test_an_id_is_given_once(store: Projects) -> None:
    acme = await store.create("acme", "Acme")
    with pytest.raises(Refused) as caught:
        await store.create("acme", "Usurper")
    assert refused(caught) == (Code.CONFLICT, "project", "acme")
    assert await store.load() == {"acme": acme}


@pytest.mark.parametrize("project_id", ["", "Acme", "a/b", "a" * 64, "-a", "a}b", "a\n"])
async def test_an_id_must_fit_into_keys(store: Projects, project_id: str) -> None:
    with pytest.raises(Refused) as caught:
        await store.create(project_id, "Acme")
    assert caught.value.code is Code.INVALID_REQUEST
    assert await store.load() == {}


@pytest.mark.parametrize("name", ["", "a" * 129, "a\nb", "a\udc80"])
async def test_a_name_is_short_and_printable(store: Projects, name: str) -> None:
    with pytest.raises(Refused, match="1 to 128 printable"):
        await store.create("acme", name)


async def test_a_change_is_stored_and_returned(store: Projects) -> None:
    await store.create("acme", "Acme")
    changed = await store.change("acme", lambda p: projects.add_origin(p, origin(1)))
    assert changed.origins == (origin(1),)
    assert await store.load() == {"acme": changed}


async def test_a_deleted_project_is_gone(store: Projects) -> None:
    await store.create("acme", "Acme")
    await store.delete("acme")
    assert await store.load() == {}


async def test_unknown_projects_are_not_found(store: Projects) -> None:
    with pytest.raises(Refused) as caught:
        await store.change("nobody", lambda p: p)
    assert refused(caught) == (Code.NOT_FOUND, "project", "nobody")
    with pytest.raises(Refused) as caught:
        await store.delete("nobody")
    assert refused(caught) == (Code.NOT_FOUND, "project", "nobody")


async def test_every_change_is_announced_by_the_id_of_its_project(store: Projects, news: News) -> None:
    await store.create("acme", "Acme")
    await store.change("acme", lambda p: projects.add_origin(p, origin(1)))
    await store.delete("acme")
    assert await news.heard() == ["acme", "acme", "acme"]


async def test_a_change_that_fails_or_changes_nothing_is_not_announced(store: Projects, news: News) -> None:
    acme = await store.create("acme", "Acme")
    assert await store.change("acme", lambda p: p) == acme
    with pytest.raises(Refused):
        await store.change("acme", lambda p: projects.remove_origin(p, origin(1)))
    assert await store.load() == {"acme": acme}
    assert await news.heard() == ["acme"]


async def test_a_change_that_another_process_overtakes_starts_again_from_the_new_state(
    store: Projects, socket: str
) -> None:
    await store.create("acme", "Acme")
    seen: list[tuple[str, ...]] = []

    def overtaken_once(project: Project) -> Project:
        seen.append(project.origins)
        if len(seen) == 1:
            with redis.Redis(unix_socket_path=socket) as other:
                other.hset(PROJECTS, "acme", encode(projects.add_origin(project, origin(1))))
        return projects.add_origin(project, origin(2))

    changed = await store.change("acme", overtaken_once)
    assert seen == [(), (origin(1),)]
    assert changed.origins == (origin(1), origin(2))
    assert await store.load() == {"acme": changed}


async def test_a_change_that_is_always_overtaken_gives_up_and_changes_nothing(store: Projects, socket: str) -> None:
    await store.create("acme", "Acme")
    calls = 0

    def always_overtaken(project: Project) -> Project:
        nonlocal calls
        calls += 1
        with redis.Redis(unix_socket_path=socket) as other:
            other.hset(PROJECTS, "acme", encode(replace(project, name=f"rival {calls}")))
        return projects.add_origin(project, origin(1))

    with pytest.raises(Refused, match="50 changes came between") as caught:
        await store.change("acme", always_overtaken)
    assert caught.value.code is Code.UNAVAILABLE
    left = (await store.load())["acme"]
    assert (calls, left.name, left.origins) == (50, "rival 50", ())


async def test_of_two_processes_that_write_at_once_both_survive(store: Projects, rival: redis.asyncio.Redis) -> None:
    await store.create("acme", "Acme")
    other = Projects(rival)
    writers = [
        (store, other)[n % 2].change("acme", lambda p, n=n: projects.add_origin(p, origin(n))) for n in range(20)
    ]
    await asyncio.gather(*writers)
    assert set((await store.load())["acme"].origins) == {origin(n) for n in range(20)}


# ---- the default project -------------------------------------------------------------------------------


async def test_an_empty_store_gets_a_default_project_once(store: Projects, news: News) -> None:
    created = await store.ensure_default()
    assert (created.id, [c.handle for c in created.channels]) == ("default", ["inbox"])
    assert await store.ensure_default() == created
    assert await store.load() == {"default": created}
    assert await news.heard() == ["default"]


async def test_a_process_overtaken_at_start_takes_the_default_project_of_the_other(
    client: redis.asyncio.Redis, rival: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, created = client.hvals, []

    async def overtaken(key: str) -> list[bytes]:
        documents = await read(key)
        if not created:
            created.append(await Projects(rival).ensure_default())
        return documents

    monkeypatch.setattr(client, "hvals", overtaken)
    assert await Projects(client).ensure_default() == created[0]
    assert await Projects(rival).load() == {"default": created[0]}


async def test_processes_that_start_at_once_agree_on_the_default_project(
    store: Projects, rival: redis.asyncio.Redis
) -> None:
    found = await asyncio.gather(*((store, Projects(rival))[n % 2].ensure_default() for n in range(10)))
    assert list((await store.load()).values()) == found[:1]
    assert all(project == found[0] for project in found)


async def test_a_store_with_other_projects_gets_no_default_one(store: Projects) -> None:
    zeta, acme = await store.create("zeta", "Zeta"), await store.create("acme", "Acme")
    assert await store.ensure_default() == acme
    assert await store.load() == {"acme": acme, "zeta": zeta}


# ---- a store that is gone ------------------------------------------------------------------------------


async def test_a_store_that_does_not_answer_makes_every_call_unavailable() -> None:
    async with connect("/nonexistent/socket") as nobody:
        gone = Projects(nobody)
        for call in (
            gone.load(),
            gone.create("acme", "Acme"),
            gone.change("acme", lambda p: p),
            gone.delete("acme"),
            gone.ensure_default(),
            check_schema(nobody),
        ):
            with pytest.raises(Refused) as caught:
                await call
            assert caught.value.code is Code.UNAVAILABLE


async def test_a_store_without_memory_makes_a_change_unavailable(client: redis.asyncio.Redis, store: Projects) -> None:
    acme = await store.create("acme", "Acme")
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(Refused) as caught:
            await store.change("acme", lambda p: projects.add_origin(p, origin(1)))
    finally:
        await client.config_set("maxmemory", "0")
    assert caught.value.code is Code.UNAVAILABLE
    assert await store.load() == {"acme": acme}


# ---- the schema ----------------------------------------------------------------------------------------


async def test_a_fresh_store_is_numbered_and_known_again(client: redis.asyncio.Redis) -> None:
    await check_schema(client)
    assert await client.get(SCHEMA) == b"1"
    await check_schema(client)


async def test_a_store_of_a_newer_hub_is_refused_and_left_alone(client: redis.asyncio.Redis) -> None:
    await client.set(SCHEMA, 2)
    with pytest.raises(NewerSchema, match="schema 2, this hub knows 1"):
        await check_schema(client)
    assert await client.get(SCHEMA) == b"2"


# ---- changes -------------------------------------------------------------------------------------------

ACME = Project("acme", "Acme", "pk_acme", (Channel("c1", "inbox"),))


def test_a_channel_is_added_as_the_newest_with_its_own_id() -> None:
    changed = projects.add_channel(ACME, "push", "mobile_push", "fcm")
    inbox, push = changed.channels
    assert inbox == ACME.channels[0]
    assert (push.handle, push.type, push.provider) == ("push", "mobile_push", "fcm")
    assert UUID(push.id).version == 4
    assert changed.by_name["push"] == changed.by_name[push.id] == push
    assert changed.feed_channel("push") is None
    assert projects.add_channel(ACME, "feed", "in_app", None).feed_channel("feed") is not None


def test_a_handle_names_one_channel() -> None:
    with pytest.raises(Refused) as caught:
        projects.add_channel(ACME, "inbox", "in_app", None)
    assert refused(caught) == (Code.CONFLICT, "channel", "inbox")


@pytest.mark.parametrize(
    "handle", ["", "Inbox", "1inbox", "in box", "a" * 64, "inbox\n", "abcdef12-0000-4000-8000-000000000000"]
)
def test_a_handle_is_a_plain_word_and_not_shaped_like_an_id(handle: str) -> None:
    with pytest.raises(Refused) as caught:
        projects.add_channel(ACME, handle, "in_app", None)
    assert caught.value.details["fields"][0]["field"] == "handle"


def test_types_and_providers_are_checked() -> None:
    with pytest.raises(Refused, match="'pigeon' is not one of in_app, email"):
        projects.add_channel(ACME, "loft", "pigeon", None)
    with pytest.raises(Refused, match="provider: 'F C M'"):
        projects.add_channel(ACME, "push", "mobile_push", "F C M")


def test_a_key_id_is_never_used_again_even_after_retirement() -> None:
    key = replace(new_signing_key("ES256")[0], kid="main")
    retired = projects.retire_key(projects.add_signing_key(ACME, key), "main", NOW)
    with pytest.raises(Refused) as caught:
        projects.add_signing_key(retired, replace(new_signing_key("ES256")[0], kid="main"))
    assert refused(caught) == (Code.CONFLICT, "signing_key", "main")


def test_a_retired_signing_key_refuses_tokens_at_once_and_others_stay() -> None:
    (old, old_pem), (new, new_pem) = new_signing_key("ES256"), new_signing_key("ES256")
    both = projects.add_signing_key(projects.add_signing_key(ACME, old), new)
    token = auth.sign("ann", old_pem, old.kid, "ES256", 60, NOW)
    assert auth.verify(token, both, leeway_s=0, require_exp=True, now=NOW).user == "ann"
    changed = projects.retire_key(both, old.kid, NOW)
    assert changed.signing_keys == (replace(old, retired_at="2027-01-15T08:00:00.250Z"), new)
    with pytest.raises(auth.BadToken):
        auth.verify(token, changed, leeway_s=0, require_exp=True, now=NOW)
    fresh = auth.sign("ann", new_pem, new.kid, "ES256", 60, NOW)
    assert auth.verify(fresh, changed, leeway_s=0, require_exp=True, now=NOW).user == "ann"


def test_a_secret_key_is_retired_by_its_id_and_keeps_its_first_date() -> None:
    key, secret = new_secret_key("sender")
    retired = projects.retire_key(projects.add_secret_key(ACME, key), key.id, NOW)
    assert auth.secret_key(retired, secret) is None
    assert projects.retire_key(retired, key.id, NOW + 60) == retired


def test_a_secret_key_is_added_once() -> None:
    key, _ = new_secret_key("sender")
    with pytest.raises(Refused) as caught:
        projects.add_secret_key(projects.add_secret_key(ACME, key), key)
    assert refused(caught) == (Code.CONFLICT, "secret_key", key.id)


def test_unknown_keys_and_origins_are_not_found() -> None:
    with pytest.raises(Refused) as caught:
        projects.retire_key(ACME, "nobody", NOW)
    assert refused(caught) == (Code.NOT_FOUND, "key", "nobody")
    with pytest.raises(Refused) as caught:
        projects.remove_origin(ACME, "https://acme.example")
    assert refused(caught) == (Code.NOT_FOUND, "origin", "https://acme.example")


def test_origins_are_stored_in_one_spelling_and_once() -> None:
    once = projects.add_origin(ACME, "https://ACME.example:443")
    assert once.origins == ("https://acme.example",)
    assert projects.add_origin(once, "https://acme.example") == once
    assert origin_allowed(once, "https://acme.example")
    assert projects.remove_origin(once, "https://Acme.example").origins == ()
    with pytest.raises(Refused):
        projects.add_origin(ACME, "https://*.example")


# ---- the snapshot --------------------------------------------------------------------------------------


def with_secret(project: Project, role: str = "owner") -> tuple[Project, str]:
    key, secret = new_secret_key(role)
    return projects.add_secret_key(project, key), secret


def found_by_secret(directory: Directory, secret: str) -> tuple[str, str] | None:
    found = directory.by_secret(secret)
    return None if found is None else (found[0].id, found[1].role)


def test_doors_find_projects_by_id_public_key_and_secret_key() -> None:
    (acme, acme_secret), (beta, beta_secret) = (
        with_secret(ACME),
        with_secret(replace(ACME, id="beta", api_key="pk_beta"), "reader"),
    )
    directory = Directory()
    directory.replace([acme, beta])
    assert (directory.project("acme"), directory.project("beta")) == (acme, beta)
    assert (directory.by_api_key("pk_acme"), directory.by_api_key("pk_beta")) == (acme, beta)
    assert found_by_secret(directory, acme_secret) == ("acme", "owner")
    assert found_by_secret(directory, beta_secret) == ("beta", "reader")
    assert directory.project("gone") is directory.by_api_key("pk_gone") is directory.by_secret("sk_gone") is None


def test_a_new_snapshot_forgets_the_old_one() -> None:
    acme, secret = with_secret(ACME)
    directory = Directory()
    directory.replace([acme])
    directory.replace([projects.retire_key(acme, acme.secret_keys[0].id, NOW)])
    assert directory.by_secret(secret) is None
    assert directory.by_api_key("pk_acme") is not None
    directory.replace([])
    assert directory.by_api_key("pk_acme") is directory.project("acme") is None


# ---- development mode ----------------------------------------------------------------------------------


def test_the_development_project_is_there_before_anything_is_stored() -> None:
    directory = Directory(development_project(None))
    project = directory.by_api_key("pk_dev")
    assert project is not None
    assert project is directory.project("default")
    assert [(c.handle, c.type, c.provider) for c in project.channels] == [
        ("inbox", "in_app", None),
        ("push", "mobile_push", "fcm"),
    ]
    assert found_by_secret(directory, "sk_dev") == ("default", "owner")


def test_channels_of_the_development_project_have_the_same_ids_in_every_process() -> None:
    ids = [channel.id for channel in development_project(None).channels]
    assert ids == ["48d6e20b-df1c-51f6-8445-5f6a97474623", "492db32b-36f9-51e3-bde3-2ceaced1608d"]


async def test_development_keys_work_on_top_of_what_is_stored(store: Projects) -> None:
    (key, pem), (dev_key, dev_pem) = new_signing_key("ES256"), new_signing_key("ES256")
    secret_record, secret = new_secret_key("sender")
    stored = await store.ensure_default()
    for change in (
        lambda p: projects.add_channel(p, "news", "in_app", None),
        lambda p: projects.add_signing_key(p, key),
        lambda p: projects.add_secret_key(p, secret_record),
        lambda p: projects.add_origin(p, "https://acme.example"),
    ):
        stored = await store.change("default", change)
    directory = Directory(development_project(dev_key))
    directory.replace((await store.load()).values())

    merged = directory.project("default")
    assert merged is not None
    assert merged is directory.by_api_key("pk_dev") is directory.by_api_key(stored.api_key)
    assert found_by_secret(directory, "sk_dev") == ("default", "owner")
    assert found_by_secret(directory, secret) == ("default", "sender")
    assert merged.channels[:2] == stored.channels
    assert [c.handle for c in merged.channels] == ["inbox", "news", "push"]
    assert merged.feed_channel("inbox") == stored.feed_channel("inbox")
    assert merged.origins == ("https://acme.example",)
    for kid, private in ((key.kid, pem), (dev_key.kid, dev_pem)):
        token = auth.sign("ann", private, kid, "ES256", 60, NOW)
        assert auth.verify(token, merged, leeway_s=0, require_exp=True, now=NOW).user == "ann"


async def test_development_keys_are_unknown_to_a_process_without_development_mode(
    store: Projects, client: redis.asyncio.Redis, rival: redis.asyncio.Redis
) -> None:
    stored = await store.ensure_default()
    developing, serving = Directory(development_project(new_signing_key("ES256")[0])), Directory()
    developing.replace((await store.load()).values())
    await store.change("default", lambda p: projects.add_origin(p, "https://acme.example"))
    serving.replace((await Projects(rival).load()).values())

    assert developing.by_api_key("pk_dev") is not None
    assert serving.by_api_key("pk_dev") is serving.by_secret("sk_dev") is None
    assert serving.by_api_key(stored.api_key) == (await store.load())["default"]
    document = (await client.hget(PROJECTS, "default")).decode()
    assert "pk_dev" not in document
    assert auth.secret_digest("sk_dev") not in document


def test_other_projects_are_untouched_by_development_mode() -> None:
    directory = Directory(development_project(None))
    directory.replace([ACME])
    assert directory.project("acme") == ACME
    assert directory.by_api_key("pk_acme") == ACME
    assert directory.by_api_key("pk_dev") == directory.project("default")
