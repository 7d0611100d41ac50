"""Sessions of a user over the Admin API: two hubs on one Redis, real sockets."""

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

import pytest

from hub import auth, rollcall
from hub.keys import User
from hub.projects import add_secret_key
from tests.conftest import StartHub
from tests.harness import PATIENCE_S, Client, HubProcess, RedisServer, RunningHub, set_up, until


def admin(hub: RunningHub | HubProcess) -> dict[str, str]:
    return {"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret}


async def ask(hub: RunningHub | HubProcess, method: str, path: str, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request with an owner's key; no JSON where there is none."""
    async with hub.http() as http:
        answer = await http.request(method, f"/admin/v1/users/{path}", headers=admin(hub) | headers)
    return answer.status_code, answer.json() if answer.content else None


async def ids(hub: RunningHub, user: str) -> set[str]:
    status, body = await ask(hub, "GET", f"{user}/sessions")
    assert status == 200, body
    return {session["id"] for session in body["items"]}


def session_of(client: Client) -> str:
    return str(client.frames[0]["session"])


@pytest.fixture
async def hubs(start_hub: StartHub) -> tuple[RunningHub, RunningHub]:
    return await start_hub(origins=("https://app.example",)), await start_hub()


# ---- listing -----------------------------------------------------------------------------------------


async def test_the_sessions_on_all_hubs_are_listed_oldest_first(hubs: tuple[RunningHub, RunningHub], ann: str) -> None:
    here, there = hubs
    first = await there.connect(ann, origin="https://app.example", protocol="bellhub.v1.msgpack")
    second = await here.connect(subscribe=False)
    await second.send("auth", api_key=here.api_key, token=here.token(ann), client={"name": "app", "version": "1.2"})
    await second.next("welcome")
    status, body = await ask(here, "GET", f"{ann}/sessions")
    assert status == 200
    assert body["hubs"] == {"asked": 2, "answered": 2}
    shown, plain = body["items"]
    assert shown.pop("opened_at") <= plain.pop("opened_at")
    assert shown == {
        "id": session_of(first),
        "client": None,
        "origin": "https://app.example",
        "channels": ["inbox"],
        "protocol": "bellhub.v1.msgpack",
        "hub": there.hub.registry.name,
    }
    assert plain == {
        "id": session_of(second),
        "client": "app/1.2",
        "origin": None,
        "channels": [],
        "protocol": "bellhub.v1.json",
        "hub": here.hub.registry.name,
    }


async def test_somebody_who_is_nowhere_has_none_and_nobody_is_waited_for(
    hub: RunningHub, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollcall, "WAIT_S", 3 * PATIENCE_S)  # longer than the request may take
    assert await ask(hub, "GET", f"{ann}/sessions") == (200, {"items": [], "hubs": {"asked": 0, "answered": 0}})


async def test_a_session_that_has_gone_is_not_listed(hubs: tuple[RunningHub, RunningHub], ann: str) -> None:
    client = await hubs[1].connect(ann)
    await client.close()
    await until(lambda: not hubs[1].hub.registry.sessions)
    assert await ids(hubs[0], ann) == set()


async def test_a_question_leaves_nothing_joined(hubs: tuple[RunningHub, RunningHub], ann: str) -> None:
    await hubs[1].connect(ann)
    joined = set(hubs[0].hub.bus._joins)
    await ask(hubs[0], "GET", f"{ann}/sessions")
    assert set(hubs[0].hub.bus._joins) == joined
    assert not hubs[0].hub.rollcall.asks(next(iter(joined)))


# ---- ending ------------------------------------------------------------------------------------------


async def test_one_session_ends_on_whichever_hub_it_is_and_the_others_stay(
    hubs: tuple[RunningHub, RunningHub], ann: str
) -> None:
    phone, laptop = await hubs[0].connect(ann), await hubs[1].connect(ann)
    assert await ask(hubs[0], "DELETE", f"{ann}/sessions/{session_of(laptop)}") == (204, None)
    bye = await laptop.next("bye")
    assert (bye["code"], bye["reconnect"], await laptop.close_code()) == (4503, False, 4503)
    assert await ids(hubs[1], ann) == {session_of(phone)}
    assert (await phone.ask("ping"))["type"] == "pong"


async def test_a_session_that_was_ended_is_not_found_a_second_time(hub: RunningHub, ann: str) -> None:
    client = await hub.connect(ann)
    assert (await ask(hub, "DELETE", f"{ann}/sessions/{session_of(client)}"))[0] == 204
    assert (await ask(hub, "DELETE", f"{ann}/sessions/{session_of(client)}"))[0] == 404


@pytest.mark.parametrize("name", ["0123456789abcdef", "*", "-", "nonsense", "0123456789ABCDEF", "0123456789abcdef%20"])
async def test_a_session_that_no_hub_has_is_404_and_ends_nothing(hub: RunningHub, ann: str, name: str) -> None:
    client = await hub.connect(ann)
    status, body = await ask(hub, "DELETE", f"{ann}/sessions/{name}")
    assert (status, body["error"]["code"], body["error"]["details"]["resource"]) == (404, "not_found", "session")
    assert (await client.ask("ping"))["type"] == "pong"


async def test_all_sessions_end_on_all_hubs_and_the_user_may_come_back(
    hubs: tuple[RunningHub, RunningHub], ann: str
) -> None:
    clients = [await hub.connect(ann) for hub in hubs for _ in range(2)]
    assert await ask(hubs[0], "DELETE", f"{ann}/sessions") == (204, None)
    assert [await client.close_code() for client in clients] == [4503] * 4
    assert await ids(hubs[0], ann) == set()
    assert (await (await hubs[1].connect(ann)).ask("ping"))["type"] == "pong"


async def test_ending_all_sessions_of_somebody_who_has_none_is_no_error(hub: RunningHub, ann: str) -> None:
    assert await ask(hub, "DELETE", f"{ann}/sessions") == (204, None)


async def test_somebody_elses_session_is_not_found_and_stays(hub: RunningHub, ann: str) -> None:
    bob = await hub.connect("bob")
    await hub.connect(ann)
    assert (await ask(hub, "DELETE", f"{ann}/sessions/{session_of(bob)}"))[0] == 404
    assert (await ask(hub, "DELETE", f"{ann}/sessions"))[0] == 204
    assert (await bob.ask("ping"))["type"] == "pong"


async def test_another_projects_user_of_the_same_name_is_untouched(hub: RunningHub, ann: str) -> None:
    other = await hub.add_project("other")
    key, secret = auth.new_secret_key("owner")
    other = await hub.change_project(lambda p: add_secret_key(p, key), "other")
    client = await hub.connect(ann)
    theirs = {"x-notiflows-api-key": other.api_key, "x-notiflows-secret-key": secret}
    assert (await ask(hub, "GET", f"{ann}/sessions", **theirs))[1]["items"] == []
    assert (await ask(hub, "DELETE", f"{ann}/sessions/{session_of(client)}", **theirs))[0] == 404
    assert (await ask(hub, "DELETE", f"{ann}/sessions", **theirs))[0] == 204
    assert (await ask(hub, "POST", f"{ann}/revoke", **theirs))[0] == 200
    assert (await client.ask("ping"))["type"] == "pong"
    assert (await hub.feed(ann))["items"] == []


# ---- revoking ----------------------------------------------------------------------------------------


async def test_revoking_ends_the_sessions_everywhere_and_refuses_their_tokens(
    hubs: tuple[RunningHub, RunningHub], ann: str
) -> None:
    token = hubs[0].token(ann)
    clients = [await hub.connect(ann, token=token) for hub in hubs]
    status, body = await ask(hubs[0], "POST", f"{ann}/revoke")
    assert (status, list(body)) == (200, ["revoked_before"])
    assert body["revoked_before"].endswith("Z")
    assert [await client.close_code() for client in clients] == [4503, 4503]
    again = await hubs[1].connect(subscribe=False)
    await again.send("auth", api_key=hubs[1].api_key, token=token)
    assert await again.close_code() == 4503


async def test_a_revocation_under_one_key_happens_once(hub: RunningHub, ann: str) -> None:
    first = await ask(hub, "POST", f"{ann}/revoke", **{"idempotency-key": "once"})
    store = hub.hub.store
    before, _ = await store.check(User("default", ann), ())
    assert before is not None
    await until(lambda: time.time() > before + 0.1)  # a second revocation would say a later second
    assert await ask(hub, "POST", f"{ann}/revoke", **{"idempotency-key": "once"}) == first
    assert (await store.check(User("default", ann), ()))[0] == before


# ---- who may -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/sessions"), ("DELETE", "/sessions"), ("DELETE", "/sessions/0123456789abcdef"), ("POST", "/revoke")],
)
async def test_a_key_that_may_not_administrate_is_refused(hub: RunningHub, ann: str, method: str, path: str) -> None:
    key, secret = auth.new_secret_key("sender")
    await hub.change_project(lambda p: add_secret_key(p, key))
    client = await hub.connect(ann)
    status, body = await ask(hub, method, f"{ann}{path}", **{"x-notiflows-secret-key": secret})
    assert (status, body["error"]["details"]["required_scope"]) == (403, "admin")
    assert (await ask(hub, method, f"{ann}{path}", **{"x-notiflows-secret-key": "sk_no"}))[0] == 401
    assert (await client.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("name", ["a" * 257, "a%00b", "a%7Fb"])
async def test_an_impossible_user_is_refused(hub: RunningHub, name: str) -> None:
    status, body = await ask(hub, "GET", f"{name}/sessions")
    assert (status, body["error"]["details"]["param"]) == (400, "external_id")


@pytest.mark.parametrize("name", ["acme/ann", "/", "%2F", "100%", "a%2Fb", "..", "é?#&", "a b+c"])
async def test_a_user_may_have_any_name_that_a_path_can_spell(hub: RunningHub, name: str) -> None:
    client = await hub.connect(name)
    await hub.connect("acme")
    spelled = (
        name.replace("%", "%25").replace("/", "%2f").replace("?", "%3F").replace("#", "%23").replace("..", "%2e%2e")
    )
    assert await ids(hub, spelled) == {session_of(client)}


# ---- a hub in trouble --------------------------------------------------------------------------------


async def test_a_frozen_hub_neither_holds_up_the_answer_nor_is_passed_over(
    hub: RunningHub, redis_server: RedisServer, ann: str
) -> None:
    other = HubProcess(env={"REDIS_URL": redis_server.url})
    try:
        other.api_key, other.secret = await set_up(redis_server.url)
        phone, laptop = await hub.connect(ann), await other.connect(ann)
        os.kill(other.process.pid, signal.SIGSTOP)
        try:
            status, body = await ask(hub, "GET", f"{ann}/sessions")
            assert (status, body["hubs"]) == (200, {"asked": 2, "answered": 1})
            assert [session["id"] for session in body["items"]] == [session_of(phone)]
            status, body = await ask(hub, "DELETE", f"{ann}/sessions/{session_of(laptop)}")
            assert (status, body["error"]["details"]) == (503, {"asked": 2, "answered": 1})
            assert (await ask(hub, "DELETE", f"{ann}/sessions/{session_of(phone)}"))[0] == 204
        finally:
            os.kill(other.process.pid, signal.SIGCONT)
        assert await laptop.close_code() == 4503  # as soon as its hub heard of it
    finally:
        other.stop()


@pytest.mark.parametrize(
    "message",
    [
        "!",
        "! ",
        "! sessions ",
        "! sessions 0123456789abcdef",
        "! sessions 0123456789abcdef *\n",
        "! sessions 0123456789abcdef 0123456789abcdef and more",
        f"! sessions {'0' * 1_000_000}",
        f"! revoked {'9' * 1_000_000}",
        b"! sessions \xff\xfe",
        "x" * 8_000_000,
    ],
)
async def test_a_control_message_that_is_none_hurts_nobody(
    hub: RunningHub, redis_server: RedisServer, ann: str, message: str | bytes
) -> None:
    client, bob = await hub.connect(ann), await hub.connect("bob")
    wire = hub.hub.bus._wire
    redis_server.client.execute_command("SPUBLISH", User("default", ann).events, message)
    entry = await hub.send(ann)
    assert (await client.next("entry"))["entry"]["id"] == entry
    assert (await bob.ask("ping"))["type"] == "pong"
    assert hub.hub.bus._wire is wire
    assert await ids(hub, ann) == {session_of(client)}


NO_ANSWERS = ["", "none", "[]", "{}", '{"hub":1}', '{"hub":1,"sessions":[1]}', '{"hub":1,"sessions":3}', "[" * 100_000]


async def test_an_answer_that_is_none_is_left_out(hub: RunningHub, redis_server: RedisServer, ann: str) -> None:
    """Somebody else listens on the user's channel, and answers nonsense."""
    listener = redis_server.client.pubsub()
    listener.ssubscribe(User("default", ann).events)
    client = await hub.connect(ann)
    asking = asyncio.create_task(ask(hub, "GET", f"{ann}/sessions"))
    question: dict[str, Any] | None = None
    while question is None or question["type"] != "smessage":
        question = await asyncio.to_thread(listener.get_sharded_message, False, 5)
    nonce = question["data"].split(" ")[2]
    for message in NO_ANSWERS:
        redis_server.client.execute_command("SPUBLISH", f"{{default/{ann}}}:answers:{nonce}", message)
    status, body = await asking
    listener.close()
    assert (status, body["hubs"]) == (200, {"asked": 2, "answered": 1})
    assert [session["id"] for session in body["items"]] == [session_of(client)]


async def test_who_follows_the_feed_on_the_command_line_is_no_hub_that_is_silent(
    hub: RunningHub, redis_server: RedisServer, ann: str
) -> None:
    client = await hub.connect(ann)
    tail = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub", "tail", ann, "--redis-url", redis_server.url), stderr=asyncio.subprocess.PIPE
    )
    assert tail.stderr is not None
    await tail.stderr.readline()
    status, body = await ask(hub, "GET", f"{ann}/sessions")
    assert (status, body["hubs"]) == (200, {"asked": 2, "answered": 2})
    assert [session["id"] for session in body["items"]] == [session_of(client)]
    tail.send_signal(signal.SIGINT)
    await tail.wait()


# ---- the command line --------------------------------------------------------------------------------


async def command(redis_server: RedisServer, *argv: str) -> tuple[int, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub", "sessions", *argv, "--json", "--redis-url", redis_server.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, json.loads(out) if out else None


async def test_the_command_line_lists_and_ends_sessions(
    hubs: tuple[RunningHub, RunningHub], redis_server: RedisServer, ann: str
) -> None:
    phone, laptop = await hubs[0].connect(ann), await hubs[1].connect(ann)
    code, found = await command(redis_server, "list", ann)
    assert (code, [session["id"] for session in found]) == (0, [session_of(phone), session_of(laptop)])
    assert await command(redis_server, "end", ann, session_of(phone)) == (0, {"ended": [session_of(phone)]})
    assert await phone.close_code() == 4503
    assert await command(redis_server, "end", ann, session_of(phone)) == (1, None)
    assert await command(redis_server, "end", ann) == (0, {"ended": [session_of(laptop)]})
    assert await laptop.close_code() == 4503
