"""Whatever a client sends: an exact error and a socket that lives, or the documented close; nothing half-applied."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
import pytest_asyncio
import websockets

from hub.app import store_client
from hub.frames import JSON_PROTOCOL, MSGPACK_PROTOCOL, PROTOCOLS
from tests.harness import Client, RunningHub

KIB = 1024
UNKNOWN = "0198f000-0000-7000-8000-000000000000"
VERBS = ("seen", "read", "click", "archive", "unarchive", "dismiss")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def hub(shared_hub: RunningHub) -> RunningHub:
    return shared_hub


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(loop_scope="module")
async def session(hub: RunningHub, ann: str, protocol: str) -> AsyncIterator[Client]:
    """Ann's session in each codec, following nothing."""
    client = await hub.connect(ann, protocol=protocol, subscribe=False)
    yield client
    await client.close()


@pytest_asyncio.fixture(loop_scope="module")
async def entry_id(hub: RunningHub, ann: str) -> AsyncIterator[str]:
    """Ann's one entry. It is as unseen after the test as it was before."""
    entry_id = await hub.send(ann)
    (before,) = (await hub.feed(ann))["items"]
    yield entry_id
    (after,) = (await hub.feed(ann))["items"]
    assert after == before


async def refused(session: Client, kind: str, **fields: Any) -> dict[str, Any]:
    """The `error` that answers a frame, on a socket that lives on."""
    error = await session.ask(kind, **fields)
    assert error["type"] == "error", error
    assert (await session.ask("ping"))["type"] == "pong"
    return error


def faults(error: dict[str, Any]) -> dict[str, str]:
    """The fields of an `invalid_request`, and what is wrong with each."""
    assert error["type"] == "error"
    assert (error["code"], error["temporary"]) == ("invalid_request", False)
    assert "retry_ms" not in error
    assert set(error["details"]) == {"fields"}
    for fault in error["details"]["fields"]:
        assert set(fault) == {"field", "message", "reason"}
        assert fault["message"] in error["message"]
    return {fault["field"]: f"{fault['reason']}: {fault['message']}" for fault in error["details"]["fields"]}


async def ended(session: Client, code: int) -> dict[str, Any]:
    """The `bye` before the close, with the close code 4500 or 4501; after it there was nothing."""
    assert await session.close_code() == code
    bye = session.frames[-1]
    assert set(bye) == {"type", "code", "reason", "reconnect", "delay_ms"}
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", code, code < 4500)
    assert bye["delay_ms"] == [500, 20_000]
    assert session.socket.close_reason == bye["reason"]
    return bye


# ---- ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
async def test_an_unknown_id_is_named_and_nothing_of_the_frame_is_applied(
    session: Client, entry_id: str, verb: str
) -> None:
    error = await refused(session, verb, channel="inbox", ids=[entry_id, UNKNOWN, "x"])
    assert (error["code"], error["temporary"]) == ("not_found", False)
    assert error["details"] == {"resource": "entry", "id": UNKNOWN, "ids": [UNKNOWN, "x"]}
    assert error["message"] == f"no such entry: '{UNKNOWN}' and 1 more"


async def test_another_users_entry_is_unknown(hub: RunningHub, ann: str, session: Client, entry_id: str) -> None:
    bob = f"bob, {ann}"
    foreign = await hub.send(bob)
    error = await refused(session, "read", channel="inbox", ids=[entry_id, foreign])
    assert (error["code"], error["details"]["ids"]) == ("not_found", [foreign])
    assert (await hub.feed(bob))["items"][0]["status"] == "unseen"


@pytest.mark.parametrize(
    "odd", ["", "x" * 200, "a\x00b", "{default/bob}", "%s", "*", "😀", "0", "null", "\n", UNKNOWN.upper()]
)
async def test_an_ill_formed_id_is_unknown(session: Client, entry_id: str, odd: str) -> None:
    error = await refused(session, "seen", channel="inbox", ids=[entry_id, odd])
    assert (error["code"], error["details"]["ids"]) == ("not_found", [odd])


async def test_500_ids_are_looked_up_and_501_are_too_many(session: Client, entry_id: str) -> None:
    unknown = [f"{n:036}" for n in range(501)]
    error = await refused(session, "read", channel="inbox", ids=unknown[:500])
    assert (error["code"], error["details"]["ids"]) == ("not_found", unknown[:500])
    error = await refused(session, "read", channel="inbox", ids=[entry_id, *unknown[:500]])
    assert faults(error) == {"ids": "length: 501 ids, at most 500"}


# ---- wrong fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "wrong"),
    [
        ("read", {"channel": "inbox"}, {"ids": "required: neither ids nor upto, exactly one of them"}),
        ("read", {"channel": "inbox", "ids": []}, {"ids": "length: 0 ids, at least 1"}),
        ("read", {"channel": "inbox", "ids": "all"}, {"ids": "type: 'all' is no list of 1 to 500 ids"}),
        ("read", {"channel": "inbox", "ids": ["x", 7]}, {"ids[1]": "type: 7 is not a string"}),
        ("read", {"channel": "inbox", "ids": [["x"]]}, {"ids[0]": "type: a list of 1 is not a string"}),
        ("read", {"channel": 7, "ids": ["x"]}, {"channel": "type: 7 is no string of 1 to 64 characters"}),
        ("read", {"ids": ["x"]}, {"channel": "required: required"}),
        ("read", {"channel": "", "ids": ["x"]}, {"channel": "length: '' has 0 characters, at least 1"}),
        (
            "read",
            {"channel": "x" * 65, "ids": ["x"]},
            {"channel": f"length: '{'x' * 32}'… has 65 characters, at most 64"},
        ),
        (
            "read",
            {"channel": "inbox", "ids": ["x"], "upto": "0"},
            {"upto": "exclusive: both ids and upto, exactly one of them"},
        ),
        ("click", {"channel": "inbox", "upto": "0"}, {"upto": "exclusive: not with click"}),
        ("unarchive", {"channel": "inbox", "upto": "0"}, {"upto": "exclusive: not with unarchive"}),
        ("read", {"channel": "inbox", "upto": "now"}, {"upto": "format: 'now' is not a cursor"}),
        ("read", {"channel": "inbox", "upto": 0}, {"upto": "format: 0 is not a cursor"}),
        ("seen", {"channel": "inbox", "ids": ["x"], "topic": "t"}, {"topic": "exclusive: only with upto"}),
        (
            "seen",
            {"channel": "inbox", "ids": ["x"], "op": ""},
            {"op": "length: '' has 0 characters, at least 1"},
        ),
        (
            "seen",
            {"channel": "inbox", "ids": ["x"], "op": "o" * 65},
            {"op": f"length: '{'o' * 32}'… has 65 characters, at most 64"},
        ),
        ("seen", {"channel": "inbox", "ids": ["x"], "op": 5}, {"op": "type: 5 is no string of 1 to 64 characters"}),
        ("subscribe", {"channel": None}, {"channel": "required: required"}),
        ("subscribe", {"channel": "inbox", "cursor": "1-1"}, {"cursor": "format: '1-1' is not a cursor"}),
        ("subscribe", {"channel": "inbox", "limit": 0}, {"limit": "range: 0 is no integer from 1 to 100"}),
        ("subscribe", {"channel": "inbox", "limit": 101}, {"limit": "range: 101 is no integer from 1 to 100"}),
        ("subscribe", {"channel": "inbox", "limit": 1.5}, {"limit": "range: 1.5 is no integer from 1 to 100"}),
        ("subscribe", {"channel": "inbox", "limit": True}, {"limit": "range: true is no integer from 1 to 100"}),
        ("unsubscribe", {"channel": ["inbox"]}, {"channel": "type: a list of 1 is no string of 1 to 64 characters"}),
        (
            "list",
            {"channel": "inbox", "status": "new"},
            {"status": "format: 'new' is none of unseen, seen, unread, read, archived, dismissed"},
        ),
        ("list", {"channel": "inbox", "archived": 1}, {"archived": "type: 1 is neither true nor false"}),
        ("list", {"channel": "inbox", "after": "p1x"}, {"after": "format: 'p1x' is not a page token"}),
        (
            "list",
            {"channel": "inbox", "after": "p1", "before": "p2"},
            {"before": "exclusive: both after and before, at most one of them"},
        ),
        (
            "list",
            {"channel": "inbox", "created_after": "2026-01-01"},
            {"created_after": "format: '2026-01-01' is not an RFC 3339 time with Z or an offset"},
        ),
        ("refresh", {}, {"token": "required: required"}),
        ("refresh", {"token": 5}, {"token": "type: a number is no string of 1 to 8192 characters"}),
        ("refresh", {"token": "x" * 8193}, {"token": "length: a string has 8193 characters, at most 8192"}),
        ("Read", {"channel": "inbox", "ids": ["x"]}, {"type": "unknown: 'Read' is unknown"}),
        ("", {}, {"type": "unknown: '' is unknown"}),
        ("ack", {}, {"type": "unknown: 'ack' is unknown"}),
        ("x" * 100, {}, {"type": f"unknown: '{'x' * 32}'… is unknown"}),
    ],
    ids=lambda value: str(value)[:50],
)
@pytest.mark.usefixtures("entry_id")
async def test_wrong_fields_are_named_with_their_value_and_limit(
    session: Client, kind: str, fields: dict[str, Any], wrong: dict[str, str]
) -> None:
    assert faults(await refused(session, kind, **fields)) == wrong


async def test_all_wrong_fields_of_a_frame_are_named_at_once(session: Client) -> None:
    error = await refused(session, "list", channel=5, status="x", limit=0, topic="")
    assert set(faults(error)) == {"channel", "status", "limit", "topic"}


@pytest.mark.parametrize("ref", ["", "r" * 65, 1.5, True, ["x"], {"x": 1}], ids=str)
async def test_a_wrong_ref_is_named_and_not_echoed(session: Client, ref: Any) -> None:
    await session.send("ping", ref=ref)
    error = await session.next("error")
    assert "ref" not in error
    assert set(faults(error)) == {"ref"}
    assert (await session.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("named", ["nowhere", UNKNOWN, "Inbox", "inbox\x00", "in{}box", "😀"])
async def test_an_unknown_channel_is_named(session: Client, named: str) -> None:
    for kind, more in {"read": {"ids": ["x"]}, "subscribe": {}, "unsubscribe": {}, "list": {}}.items():
        error = await refused(session, kind, channel=named, **more)
        assert (error["code"], error["temporary"]) == ("not_found", False)
        assert error["details"] == {"resource": "channel", "id": named}
        assert repr(named) in error["message"]


async def test_a_second_auth_is_refused_and_changes_nothing(hub: RunningHub, ann: str, session: Client) -> None:
    await session.send("auth", api_key=hub.api_key, token=hub.token(f"bob, {ann}"))
    error = await session.next("error")
    assert (error["code"], error["message"]) == ("invalid_request", "this socket is authenticated already")
    entry_id = await hub.send(ann)
    assert (await session.ask("list", channel="inbox"))["entries"][0]["id"] == entry_id


async def test_what_nobody_asked_about_is_ignored(session: Client, hub: RunningHub, ann: str) -> None:
    entry_id = await hub.send(ann)
    ack = await session.ask("read", channel="inbox", ids=[entry_id], upto=None, colour="blue", x={"y": [1, None]})
    assert (ack["type"], ack["changed"]) == ("ack", [entry_id])


# ---- text and numbers --------------------------------------------------------------------------------


def written(protocol: str, **frame: Any) -> str | bytes:
    """A frame with what the codecs of other languages let through: lone surrogates, NaN."""
    if protocol == JSON_PROTOCOL:
        return json.dumps(frame)
    packed: bytes = msgpack.packb(frame, unicode_errors="surrogatepass")
    return packed


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ({"type": "read", "channel": "inbox", "ids": ["\ud800"]}, "ids[0]"),
        ({"type": "read", "channel": "\udfff", "ids": ["x"]}, "channel"),
        ({"type": "read", "channel": "inbox", "ids": ["x"], "op": "a\udc00"}, "op"),
        ({"type": "\ud800"}, "type"),
        ({"type": "ping", "nobody": {"asked": ["\ud800"]}}, "nobody.asked[0]"),
        ({"type": "ping", "\ud800": 1}, "'\\ud800'"),
        ({"type": "ping", "ref": "\ud800"}, "ref"),
    ],
    ids=lambda value: str(value).encode("unicode_escape").decode()[:60],
)
@pytest.mark.usefixtures("entry_id")
async def test_a_lone_surrogate_is_refused_where_it_stands(
    session: Client, protocol: str, frame: dict[str, Any], field: str
) -> None:
    await session.raw(written(protocol, **frame))
    wrong = faults(await session.next("error"))
    assert wrong[field].startswith("text: a lone surrogate at character ")
    assert (await session.ask("ping"))["type"] == "pong"


async def test_bytes_that_are_no_text_end_a_text_frame_with_1007(hub: RunningHub, ann: str) -> None:
    session = await hub.connect(ann)
    await session.socket.send(b'{"type":"ping","ref":"\xed\xa0\x80"}', text=True)
    assert await session.close_code() == 1007


@pytest.mark.parametrize("number", [10**30, -(10**30), 2**53, -(2**53), 1e308], ids=str)
async def test_a_number_beyond_2_to_the_53_is_refused(session: Client, protocol: str, number: float) -> None:
    sent = number if protocol == JSON_PROTOCOL or abs(number) < 2**63 else float(number)
    for frame, field in (({"ref": sent}, "ref"), ({"x": [{"y": sent}]}, "x[0].y")):
        await session.raw(written(protocol, type="ping", **frame))
        wrong = faults(await session.next("error"))
        assert "beyond ±9007199254740991" in wrong[field]
    assert (await session.ask("ping", x=2**53 - 1))["type"] == "pong"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=str)
async def test_a_number_that_is_not_finite_is_bad_json_and_a_refused_msgpack(
    hub: RunningHub, ann: str, number: float
) -> None:
    session = await hub.connect(ann, protocol=MSGPACK_PROTOCOL)
    await session.raw(written(MSGPACK_PROTOCOL, type="ping", x=number))
    assert "beyond" in faults(await session.next("error"))["x"]
    assert (await session.ask("ping"))["type"] == "pong"
    session = await hub.connect(ann)
    await session.raw(written(JSON_PROTOCOL, type="ping", x=number))
    assert (await ended(session, 4500))["reason"].startswith("bad JSON")


@pytest.mark.parametrize("value", [b"bin", msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)], ids=str)
async def test_msgpack_of_no_form_in_json_is_refused(hub: RunningHub, ann: str, value: Any) -> None:
    session = await hub.connect(ann, protocol=MSGPACK_PROTOCOL)
    await session.raw(msgpack.packb({"type": "ping", "ref": 1, "x": value}))
    assert "has no form in JSON" in faults(await session.next("error"))["x"]
    assert (await session.ask("ping"))["type"] == "pong"


async def test_a_key_that_is_no_string_is_refused(hub: RunningHub, ann: str) -> None:
    session = await hub.connect(ann, protocol=MSGPACK_PROTOCOL)
    for key in (1, None, (1, 2)):
        await session.raw(msgpack.packb({"type": "ping", key: 1}))
        assert (await session.next("error"))["code"] == "invalid_request"
    assert (await session.ask("ping"))["type"] == "pong"


# ---- size and depth ----------------------------------------------------------------------------------


def of_size(protocol: str, size: int, kind: str = "ping", **fields: Any) -> str | bytes:
    """A frame of exactly so many bytes."""
    empty = len(written(protocol, type=kind, **fields, x="x" * 256))
    for extra in range(size - empty - 4, size - empty + 4):
        message = written(protocol, type=kind, **fields, x="x" * (256 + extra))
        if len(message) == size:
            return message
    raise AssertionError(f"no frame of {size} bytes")


async def test_a_frame_of_32_kib_is_read_and_a_larger_one_is_refused_with_its_size(
    session: Client, protocol: str
) -> None:
    await session.raw(of_size(protocol, 32 * KIB, ref="fits"))
    assert (await session.next("pong"))["ref"] == "fits"
    for size in (32 * KIB + 1, 33 * KIB, 64 * KIB):
        await session.raw(of_size(protocol, size, ref="large"))
        error = await session.next("error")
        assert faults(error) == {"frame": f"too_large: {size} bytes, at most 32768"}
        assert "ref" not in error
    assert (await session.ask("ping"))["type"] == "pong"


async def test_a_large_mark_is_not_applied(session: Client, protocol: str, entry_id: str) -> None:
    await session.raw(of_size(protocol, 33 * KIB, "read", channel="inbox", ids=[entry_id]))
    assert (await session.next("error"))["code"] == "invalid_request"


async def test_a_message_beyond_64_kib_ends_the_socket_with_1009(session: Client, protocol: str) -> None:
    await session.raw(of_size(protocol, 65 * KIB))
    assert await session.close_code() == 1009


async def test_size_is_counted_in_bytes_not_characters(session: Client, protocol: str) -> None:
    frame = {"type": "ping", "x": "é" * (16 * KIB + 1)}
    message = json.dumps(frame, ensure_ascii=False) if protocol == JSON_PROTOCOL else msgpack.packb(frame)
    await session.raw(message)
    assert faults(await session.next("error"))["frame"].endswith("bytes, at most 32768")
    assert (await session.ask("ping"))["type"] == "pong"


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels > 1 else []


async def test_16_levels_are_read_and_17_refused(session: Client, protocol: str) -> None:
    assert (await session.ask("ping", x=nested(15)))["type"] == "pong"
    await session.raw(written(protocol, type="ping", x=nested(16)))
    (wrong,) = faults(await session.next("error")).values()
    assert wrong == "depth: depth 17, at most 16"
    assert (await session.ask("ping"))["type"] == "pong"


async def test_levels_beyond_what_any_parser_takes_are_a_bad_frame(session: Client, protocol: str) -> None:
    if protocol == JSON_PROTOCOL:
        await session.raw('{"type":"ping","x":' + "[" * 30_000)
    else:
        await session.raw(b"\x82\xa4type\xa4ping\xa1x" + b"\x91" * 30_000)
    assert "nested too deeply" in (await ended(session, 4500))["reason"]


# ---- messages that are no frames ---------------------------------------------------------------------

BROKEN = {
    JSON_PROTOCOL: {
        "": "bad JSON",
        "{": "bad JSON",
        "ping": "bad JSON",
        '{"type":"ping"}x': "bad JSON",
        "{'type':'ping'}": "bad JSON",
        '{"type":"ping","x":"\n"}': "bad JSON",
        "[]": "a list, not a map",
        '"ping"': "a string, not a map",
        "5": "a number, not a map",
        "null": "null, not a map",
        "{}": "no string type",
        '{"type":5}': "no string type",
        '{"type":["ping"]}': "no string type",
    },
    MSGPACK_PROTOCOL: {
        b"": "bad msgpack",
        b"\xc1": "bad msgpack",
        b"\x81\xa4type\xa4pin": "bad msgpack",
        b"\x81\xa4type\xa4ping\x00": "bad msgpack",
        b"\xdf\xff\xff\xff\xff": "bad msgpack",
        b"\x82\xa4type\xa4ping\xa1x\xdd\xff\xff\xff\xff": "bad msgpack",
        b'{"type":"ping"}': "bad msgpack",
        b"\x81\xa4type\xa4\xff\xfe\xfd\xfc": "bad msgpack",
        b"\x90": "a list, not a map",
        b"\xa4ping": "a string, not a map",
        b"\x05": "a number, not a map",
        b"\xc0": "null, not a map",
        b"\x80": "no string type",
        b"\x81\xa4type\x05": "no string type",
        b"\x81\xa4type\xc4\x04ping": "no string type",
    },
}


@pytest.mark.parametrize(
    ("protocol", "message", "reason"),
    [(protocol, *case) for protocol, cases in BROKEN.items() for case in cases.items()],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("when", ["first", "later"])
async def test_what_is_no_map_with_a_type_ends_the_socket(
    hub: RunningHub, ann: str, protocol: str, message: str | bytes, reason: str, when: str
) -> None:
    session = await hub.connect(ann if when == "later" else None, protocol=protocol)
    await session.raw(message)
    assert reason in (await ended(session, 4500))["reason"]


async def test_the_wrong_kind_of_message_ends_the_socket(session: Client, protocol: str) -> None:
    good = written(JSON_PROTOCOL, type="ping"), written(MSGPACK_PROTOCOL, type="ping")
    await session.raw(good[1] if protocol == JSON_PROTOCOL else good[0])
    assert "this subprotocol takes" in (await ended(session, 4500))["reason"]


async def test_nothing_behind_a_bad_frame_is_read(
    hub: RunningHub, ann: str, session: Client, protocol: str, entry_id: str
) -> None:
    await session.send("nothing", ref="before")
    await session.raw("{" if protocol == JSON_PROTOCOL else b"\xc1")
    await session.send("read", ref="after", channel="inbox", ids=[entry_id])
    await ended(session, 4500)
    assert [frame["type"] for frame in session.frames] == ["welcome", "error", "bye"]


# ---- the first frame ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["subscribe", "ping", "pong", "refresh", "read", "Auth", "nothing"])
async def test_a_first_frame_that_is_not_auth_ends_the_socket(hub: RunningHub, protocol: str, kind: str) -> None:
    session = await hub.connect(protocol=protocol)
    await session.send(kind, channel="inbox", token="x")
    assert (await ended(session, 4500))["reason"] == f"the first frame is '{kind}', not auth"
    assert len(session.frames) == 1


async def test_an_auth_of_8_kib_is_read_and_a_larger_one_ends_the_socket(
    hub: RunningHub, ann: str, protocol: str
) -> None:
    good = {"api_key": hub.api_key, "token": hub.token(ann)}
    session = await hub.connect(protocol=protocol)
    await session.raw(of_size(protocol, 8 * KIB, "auth", **good))
    assert (await session.next("welcome"))["user"] == ann
    session = await hub.connect(protocol=protocol)
    await session.raw(of_size(protocol, 8 * KIB + 1, "auth", **good))
    assert (await ended(session, 4500))["reason"] == "8193 bytes, at most 8192"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"token": None}, "neither token nor user"),
        ({"user": "ann"}, "both token and user"),
        ({"token": ""}, "token: a string has 0 characters, at least 1"),
        ({"token": 5}, "token: a number is no string"),
        ({"api_key": None}, "api_key: required"),
        ({"api_key": 5}, "api_key: a number is no string"),
        ({"api_key": "k" * 129}, "api_key: a string has 129 characters, at most 128"),
        ({"client": "browser"}, "client: 'browser' is no map"),
        ({"client": {"name": "x"}}, "client.version"),
        ({"client": {"name": "x\n", "version": "1"}}, "client.name: 'x\\n' has a control character"),
        ({"x": {"y": "\ud800"}}, "x.y: a lone surrogate"),
    ],
    ids=lambda value: str(value).encode("unicode_escape").decode()[:40],
)
async def test_wrong_fields_of_auth_are_4501(
    hub: RunningHub, ann: str, protocol: str, change: dict[str, Any], reason: str
) -> None:
    session = await hub.connect(protocol=protocol)
    frame = {"type": "auth", "api_key": hub.api_key, "token": hub.token(ann)} | change
    await session.raw(written(protocol, **frame))
    bye = await ended(session, 4501)
    assert reason in bye["reason"]
    assert hub.api_key not in bye["reason"]


# ---- the handshake -----------------------------------------------------------------------------------


async def opened(hub: RunningHub, *offered: str) -> websockets.ClientConnection:
    protocols = [websockets.Subprotocol(name) for name in offered]
    return await websockets.connect(f"ws://127.0.0.1:{hub.port}/ws/v1", subprotocols=protocols or None)


async def test_without_a_subprotocol_json_is_spoken(hub: RunningHub, ann: str) -> None:
    async with await opened(hub) as socket:
        assert socket.subprotocol is None
        await socket.send(written(JSON_PROTOCOL, type="auth", api_key=hub.api_key, token=hub.token(ann)))
        assert json.loads(await socket.recv())["type"] == "welcome"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (PROTOCOLS, JSON_PROTOCOL),
        (PROTOCOLS[::-1], MSGPACK_PROTOCOL),
        (("bellhub.v9.json", "chat", MSGPACK_PROTOCOL, JSON_PROTOCOL), MSGPACK_PROTOCOL),
    ],
)
async def test_of_several_subprotocols_the_first_known_in_the_clients_order_is_chosen(
    hub: RunningHub, ann: str, offered: tuple[str, ...], chosen: str
) -> None:
    async with await opened(hub, *offered) as socket:
        assert socket.subprotocol == chosen
        await socket.send(written(chosen, type="auth", api_key=hub.api_key, token=hub.token(ann)))
        answer = await socket.recv()
        frame = json.loads(answer) if chosen == JSON_PROTOCOL else msgpack.unpackb(answer)
        assert frame["type"] == "welcome"


@pytest.mark.parametrize("offered", [("bellhub.v2.json",), ("BELLHUB.V1.JSON",), ("chat", "superchat")])
async def test_subprotocols_of_which_none_is_known_are_http_400(hub: RunningHub, offered: tuple[str, ...]) -> None:
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await opened(hub, *offered)
    assert refusal.value.response.status_code == 400
    assert ", ".join(offered) in refusal.value.response.body.decode()


# ---- names that could spell something else -----------------------------------------------------------

NAMES = [
    "ann",
    "Ann",
    " ann",
    "ann}",
    "{ann}",
    "{default/ann}",
    "ann}:inbox:log",
    "ann:inbox",
    "default/ann",
    "../default/ann",
    "%61nn",
    "ann%",
    "ann%7D",
    "ann\u0301",
    "änn",
    "a\u0308nn",
    "ann*",
    "ann?",
    "!",
    "a" * 200,
    "a" * 199 + "}",
    "😀" * 200,
    "ann events",
]


async def test_no_choice_of_names_makes_two_users_one(hub: RunningHub) -> None:
    sessions = {name: await hub.connect(name) for name in NAMES}
    ids = {name: await hub.send(name, name) for name in NAMES}
    for name, session in sessions.items():
        await session.next("entry")
        await session.ask("read", channel="inbox", ids=[ids[name]], op="the same for all")
    for name, session in sessions.items():
        # Whatever was pushed to anybody else came before this answer.
        page = await session.ask("list", channel="inbox")
        assert [entry["data"]["title"] for entry in page["entries"]] == [name]
        kinds = [frame["type"] for frame in session.frames]
        assert (kinds.count("entry"), kinds.count("state")) == (1, 1)
        assert (await hub.feed(name))["items"] == page["entries"]
    async with store_client(hub.settings.redis_url or "") as store:
        for key in await store.keys():
            assert re.fullmatch(rb"\{(bellhub|default(/[A-Za-z0-9._~@%-]+)?)\}:[A-Za-z0-9:_/-]+", key)


@pytest.mark.parametrize("part", ["ops", "memo", "meta", "events", "inbox:log", "inbox:items"])
async def test_an_op_cannot_spell_another_users_key(hub: RunningHub, ann: str, part: str) -> None:
    bob = f"bob-{ann}"
    op = f"{{default/{bob}}}:{part}"
    theirs, ours = await hub.send(bob), await hub.send(ann)
    before = await hub.feed(bob)
    session = await hub.connect(ann, subscribe=False)
    assert (await session.ask("read", channel="inbox", ids=[ours], op=op))["changed"] == [ours]
    assert await hub.feed(bob) == before
    ack = await (await hub.connect(bob, subscribe=False)).ask("read", channel="inbox", ids=[theirs], op=op)
    assert (ack["changed"], ack.get("replayed")) == ([theirs], None)
