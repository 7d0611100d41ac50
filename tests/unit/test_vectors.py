"""The vectors in `tests/vectors`: what crosses the socket, byte for byte, for this hub and for other clients.

`client_frames.json` is written by hand. A vector has the message of the JSON socket (`json`), of the msgpack
socket (`msgpack`, hex), or of the wrong kind (`json_binary`, hex; `msgpack_text`); `pad` spaces follow the
JSON text; `first` says that it opens the socket. What must come of it: a `frame`, a `close` code or an `error`.

`hub_frames.json` holds what the builders of `hub.frames` build from fixed values, with its `meaning`. After a
change of the protocol: `python -m tests.unit.test_vectors --write`, and read the difference.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack
import pytest

from hub import frames
from hub.codec import Malformed, decode, decode_first
from hub.errors import TEMPORARY, Broken, CloseCode, Code, Refused
from hub.frames import JSON_PROTOCOL, MSGPACK_PROTOCOL, ClientFrame, Encoded, List, Mark
from hub.model import VERBS, Channel, Counts, Entry, Event, Marked, Page

VECTORS = Path(__file__).parent.parent / "vectors"
CLIENT: list[dict[str, Any]] = json.loads((VECTORS / "client_frames.json").read_text("utf-8"))


# ---- client frames ---------------------------------------------------------------------------------------


def messages(vector: dict[str, Any]) -> Iterator[tuple[str, str | bytes]]:
    """Each subprotocol of a vector with the message sent on it."""
    if "json" in vector:
        yield JSON_PROTOCOL, vector["json"] + " " * vector.get("pad", 0)
    if "json_binary" in vector:
        yield JSON_PROTOCOL, bytes.fromhex(vector["json_binary"])
    if "msgpack" in vector:
        yield MSGPACK_PROTOCOL, bytes.fromhex(vector["msgpack"])
    if "msgpack_text" in vector:
        yield MSGPACK_PROTOCOL, vector["msgpack_text"]


def canonical(frame: ClientFrame) -> dict[str, Any]:
    """A frame as a vector spells it: one flat map with its type and without what is absent."""
    fields = asdict(frame)
    kind = fields.pop("verb") if isinstance(frame, Mark) else type(frame).__name__.lower()
    if isinstance(frame, List):
        fields |= fields.pop("filters")
    if fields.get("ids") is not None:
        fields["ids"] = list(fields["ids"])
    return {"type": kind} | {name: value for name, value in fields.items() if value is not None}


def outcome(vector: dict[str, Any], protocol: str, message: str | bytes) -> dict[str, Any]:
    try:
        first = vector.get("first", False)
        return {"frame": canonical(decode_first(message, protocol) if first else decode(message, protocol))}
    except Broken as broken:
        return {"close": int(broken.code)}
    except Malformed as refused:
        named = [{"field": f["field"], "reason": f["reason"]} for f in refused.details["fields"]]
        return {"error": {"code": refused.code.value, "ref": refused.ref, "fields": in_order(named)}}


def in_order(fields: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(fields, key=lambda field: field["field"])


def expected(vector: dict[str, Any]) -> dict[str, Any]:
    [face] = {"frame", "close", "error"} & vector.keys()
    if face == "error":
        vector["error"]["fields"] = in_order(vector["error"]["fields"])
    return {face: vector[face]}


@pytest.mark.parametrize("vector", CLIENT, ids=lambda vector: vector["name"])
def test_a_client_message_means_what_its_vector_says(vector: dict[str, Any]) -> None:
    outcomes = [outcome(vector, protocol, message) for protocol, message in messages(vector)]
    assert outcomes
    assert outcomes == [expected(vector)] * len(outcomes)
    assert vector["ok"] is ("frame" in vector)


def test_both_codecs_of_an_accepted_vector_hold_the_same_map() -> None:
    pairs = [vector for vector in CLIENT if vector["ok"] and {"json", "msgpack"} <= vector.keys()]
    assert len(pairs) > 20
    for vector in pairs:
        assert msgpack.unpackb(bytes.fromhex(vector["msgpack"])) == json.loads(vector["json"])


def test_the_client_vectors_cover_every_type_close_code_and_reason() -> None:
    accepted = {vector["frame"]["type"] for vector in CLIENT if vector["ok"]}
    others = {"auth", "refresh", "subscribe", "unsubscribe", "list", "ping", "pong"}
    assert accepted == others | set(VERBS)
    assert {vector["close"] for vector in CLIENT if "close" in vector} == {4500, 4501}
    reasons = {fault["reason"] for vector in CLIENT if "error" in vector for fault in vector["error"]["fields"]}
    shape = {"required", "type", "length", "range", "format", "exclusive", "unknown"}
    assert reasons == shape | {"too_large", "text", "key", "depth"}
    names = [vector["name"] for vector in CLIENT]
    assert len(names) == len(set(names))


# ---- hub frames ------------------------------------------------------------------------------------------

INBOX = Channel("0198c0de-0000-7000-8000-0000000000c1", "inbox")
FIRST, SECOND = (f"0198c0de-0000-7000-8000-00000000000{n}" for n in (1, 2))
SESSION = "0198c0de-0000-7000-8000-0000000000f1"
T1, T2, T3 = 1_790_000_000_000_000, 1_790_000_001_234_567, 1_790_000_002_000_999
C1, C2, C3 = f"{T1}-1", f"{T2}-4294967295", f"{T3}-20"
NONE, ONE, TWO = Counts(0, 0, 0), Counts(1, 1, 1), Counts(1, 2, 2)


def body(entry_id: str, **fields: Any) -> str:
    """An immutable entry body as the store keeps it: JSON text without its closing brace."""
    title = fields.get("data", {}).get("title", "")
    blank = dict.fromkeys(("actor", "sender", "resource", "topic")) | {"category": "orders", "priority": "normal"}
    known = {"id": entry_id, "notiflow_handle": "order-updates", "data": {"title": title}, "expires_at": None}
    return frames.dumps(known | blank | fields)[:-1]


SHIPPED = body(
    FIRST,
    data={"title": "Order shipped", "body": "Your order №12345 is on its way 📦", "action_url": "/orders/12345"},
    actor={
        "id": "0198c0de-0000-7000-8000-0000000000a1",
        "external_id": "ann",
        "first_name": "Ann",
        "last_name": "Ägren",
        "email": "ann@example.com",
        "avatar": None,
    },
    sender={"id": "ann", "type": "user", "name": "Ann Ägren", "handle": "ann@example.com", "avatar_url": None},
    resource={"id": "12345", "type": "order", "name": "Order 12345", "handle": None},
    topic="orders",
    expires_at="2026-12-31T00:00:00.000Z",
)
PLAIN = body(SECOND, data={"title": "Hello"}, priority="high")


def built() -> dict[str, Encoded]:
    """Every type of hub frame, by the name of its vector."""
    older, newer = Entry(FIRST, SHIPPED, T1, seen=T2, updated=T2), Entry(SECOND, PLAIN, T2)
    whole = Page((newer, older), 20, C2, TWO, None, None)
    part = Page((older,), 1, C2, TWO, T1, T1)
    late = Refused(Code.RATE_LIMITED, "33 frames wait, at most 32", limit=32)
    unknown = Refused(Code.NOT_FOUND, "no such entry", resource="entry", id=FIRST, ids=[FIRST])
    return {
        "welcome": frames.welcome(SESSION, "ann", "2026-09-21T15:13:20.000Z", 25),
        "welcome without an end": frames.welcome(SESSION, "Zoë@例え.jp", None, 25),
        "subscribed live": frames.subscribed(1, INBOX, "live", C2, TWO),
        "subscribed replay": frames.subscribed("r-2", INBOX, "replay", C3, ONE, missed=2),
        "subscribed snapshot": frames.subscribed(3, INBOX, "snapshot", C2, TWO, whole),
        "subscribed unasked": frames.subscribed(None, INBOX, "snapshot", C2, TWO, whole),
        "subscribed to an empty feed": frames.subscribed(
            4, INBOX, "snapshot", "0", NONE, Page((), 20, "0", NONE, None, None)
        ),
        "entry": frames.event(Event("inbox", C1, "0", ONE, "entry", SHIPPED, (FIRST,))),
        "state by a session": frames.event(
            Event("inbox", C2, C1, ONE, "state", ids=(FIRST, SECOND), verbs=("seen", "read"), by=SESSION)
        ),
        "state by nobody": frames.event(Event("inbox", C3, C2, ONE, "state", ids=(FIRST,), verbs=("archive",))),
        "gone": frames.event(Event("inbox", C3, C2, NONE, "gone", ids=(FIRST, SECOND), reason="withdrawn")),
        "page": frames.page_frame(5, "inbox", part),
        "page without ref": frames.page_frame(None, "inbox", whole),
        "ack": frames.ack(6, "inbox", Marked(C2, ONE, (FIRST,))),
        "ack of nothing": frames.ack(None, "inbox", Marked(C2, ONE, ())),
        "replayed ack": frames.ack(7, "inbox", Marked(C2, ONE, (FIRST,), replayed=True)),
        "replayed ack older than the log": frames.ack("r-8", "inbox", Marked(C1, ONE, None, replayed=True)),
        "error": frames.error(9, unknown),
        "temporary error": frames.error(10, late),
        "error without details": frames.error(None, Refused(Code.INTERNAL, "internal error")),
        "ping": frames.PING,
        "pong": frames.pong(11),
        "pong without ref": frames.pong(None),
        "refreshed": frames.refreshed(12, "2026-09-21T15:13:20.000Z"),
        "refreshed without an end": frames.refreshed(13, None),
        "expiring": frames.expiring("2026-09-21T15:13:20.000Z"),
        "unsubscribed": frames.unsubscribed(14, "inbox"),
        "bye, come back": frames.bye(CloseCode.DRAINING, "draining", (0, 5000)),
        "bye, stay away": frames.bye(CloseCode.BAD_FRAME, "no string type", (500, 20000)),
    }


def vectors() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "json": frame.text,
            "msgpack": frame.packed.hex(),
            "meaning": json.loads(frame.text),
        }
        for name, frame in built().items()
    ]


def committed() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((VECTORS / "hub_frames.json").read_text("utf-8"))
    return loaded


def write() -> None:
    lines = ",\n".join(frames.dumps(vector) for vector in vectors())
    (VECTORS / "hub_frames.json").write_text(f"[\n{lines}\n]\n", "utf-8")


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "welcome": (words("session user expires_at ping_s retry_ms limits"), words("")),
    "subscribed": (words("channel channel_id mode cursor counts"), words("ref entries page missed")),
    "entry": (words("channel cursor prev counts entry"), words("")),
    "state": (words("channel cursor prev counts by verbs at ids"), words("")),
    "gone": (words("channel cursor prev counts ids reason"), words("")),
    "page": (words("channel cursor entries page counts"), words("ref")),
    "ack": (words("channel cursor changed counts"), words("ref replayed")),
    "refreshed": (words("expires_at"), words("ref")),
    "expiring": (words("expires_at"), words("")),
    "error": (words("code message temporary"), words("ref retry_ms details")),
    "ping": (words(""), words("")),
    "pong": (words(""), words("ref")),
    "unsubscribed": (words("channel"), words("ref")),
    "bye": (words("code reason reconnect delay_ms"), words("")),
}
"""Protocol, section 4: the fields that a frame of each type must have, and those it may have beside them."""

MODE_FIELDS = {"live": words(""), "replay": words("missed"), "snapshot": words("entries page")}
INNER = {
    "counts": words("unseen unread total"),
    "page": words("after before has_more_after has_more_before limit"),
    "limits": words("frame_bytes ids channels waiting page"),
    "entry": words(
        "id notiflow_handle category data priority actor sender resource topic expires_at created_at sent_at seen_at "
        "read_at clicked_at archived_at dismissed_at status"
    ),
}


@pytest.mark.parametrize("name", built())
def test_a_committed_hub_vector_is_what_the_builders_build_now(name: str) -> None:
    now = {vector["name"]: vector for vector in vectors()}
    then = {vector["name"]: vector for vector in committed()}
    assert then[name] == now[name]
    assert then.keys() == now.keys()


@pytest.mark.parametrize("vector", committed(), ids=lambda vector: vector["name"])
def test_both_codecs_of_a_hub_vector_hold_its_meaning(vector: dict[str, Any]) -> None:
    assert json.loads(vector["json"]) == vector["meaning"]
    assert msgpack.unpackb(bytes.fromhex(vector["msgpack"])) == vector["meaning"]


@pytest.mark.parametrize("vector", committed(), ids=lambda vector: vector["name"])
def test_a_hub_frame_has_the_fields_of_the_protocol_and_no_others(vector: dict[str, Any]) -> None:
    fields = dict(vector["meaning"])
    required, allowed = FIELDS[fields.pop("type")]
    assert required <= fields.keys() <= required | allowed
    for name, inner in INNER.items():
        if name in fields:
            assert fields[name].keys() == inner
    for entry in fields.get("entries", ()):
        assert entry.keys() == INNER["entry"]


def test_the_hub_vectors_cover_every_type_and_mode() -> None:
    meanings = [vector["meaning"] for vector in committed()]
    assert {meaning["type"] for meaning in meanings} == FIELDS.keys()
    assert {meaning["mode"] for meaning in meanings if "mode" in meaning} == MODE_FIELDS.keys()


@pytest.mark.parametrize("meaning", [v["meaning"] for v in committed() if "mode" in v["meaning"]])
def test_each_mode_of_subscribed_brings_exactly_its_own_fields(meaning: dict[str, Any]) -> None:
    always, _ = FIELDS["subscribed"]
    assert meaning.keys() - always - {"type", "ref"} == MODE_FIELDS[meaning["mode"]]


@pytest.mark.parametrize("meaning", [v["meaning"] for v in committed() if v["meaning"]["type"] == "error"])
def test_only_temporary_errors_carry_a_delay(meaning: dict[str, Any]) -> None:
    assert meaning["temporary"] is (Code(meaning["code"]) in TEMPORARY)
    assert ("retry_ms" in meaning) is meaning["temporary"]


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
