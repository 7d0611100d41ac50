"""`docs/protocol.md` and `docs/asyncapi.yaml` say what the code does: frames, codes, limits.

Both are read as they are. The AsyncAPI document is judged by the official schema, which lies in
`tests/vectors/asyncapi` with its notice; nothing is fetched.
"""

import copy
import functools
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT7

from hub import codec, frames, protocol, store
from hub.actions import Send
from hub.codec import Malformed
from hub.errors import CloseCode, Code
from hub.frames import JSON_PROTOCOL, PROTOCOLS, ClientFrame
from hub.model import CURSOR, HANDLE, USER_MAX, VERBS
from hub.protocol import Conversation, Timing
from hub.sending import ENTRY_BYTES
from hub.settings import Settings

ROOT = Path(__file__).parent.parent.parent
VECTORS = ROOT / "tests" / "vectors"
TEXT = (ROOT / "docs" / "protocol.md").read_text("utf-8")
PROSE = re.sub(r"\s+", " ", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text("utf-8"))
CHANNEL = DOCUMENT["channels"]["socket"]
MESSAGES = DOCUMENT["components"]["messages"]
CLIENT: list[dict[str, Any]] = json.loads((VECTORS / "client_frames.json").read_text("utf-8"))
HUB: list[dict[str, Any]] = json.loads((VECTORS / "hub_frames.json").read_text("utf-8"))


# ---- reading the AsyncAPI document -----------------------------------------------------------------------


def messages_of(action: str) -> set[str]:
    """Names of the messages that the hub receives, or sends: in operations of its own or in replies."""
    operations = DOCUMENT["operations"].values()
    own = [ref for operation in operations if operation["action"] == action for ref in operation["messages"]]
    replies = [ref for operation in operations for ref in operation.get("reply", {}).get("messages", ())]
    return {ref["$ref"].rpartition("/")[2] for ref in own + (replies if action == "send" else [])}


FROM_CLIENT, FROM_HUB = messages_of("receive"), messages_of("send")


def message_of(kind: str, names: set[str]) -> str:
    """The name of the message for a frame type in one direction."""
    (name,) = (name for name in names if MESSAGES[name]["name"] == kind)
    return name


def closed(value: Any) -> Any:
    """The document with every map of known fields closed, so that a field too many is a failure."""
    if isinstance(value, list):
        return [closed(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: closed(item) for key, item in value.items()}
    if isinstance(value.get("properties"), dict) and value.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner


@functools.cache
def validator(name: str, *, strict: bool = False) -> jsonschema.Draft7Validator:
    """For the payload of a message. Strict: fields that the document does not know are refused."""
    contents = closed(DOCUMENT) if strict else DOCUMENT
    registry = Registry().with_resource("urn:asyncapi", DRAFT7.create_resource(contents))
    schema = {"$ref": f"urn:asyncapi#/components/messages/{name}/payload"}
    return jsonschema.Draft7Validator(schema, registry=registry)


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every map in a tree."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(item)


# ---- reading the page ------------------------------------------------------------------------------------


def table(first: str) -> list[list[str]]:
    """The cells of the table whose first heading is `first`; one that is a word in backticks without them."""
    head = rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)"
    (rows,) = re.findall(head, TEXT, re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    return [[re.sub(r"^`(\w+)`$", r"\1", cell) for cell in row] for row in cells]


def section(number: int) -> str:
    (text,) = re.findall(rf"^## {number}\. .*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return str(text)


def examples(text: str = TEXT) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def parts_about(kind: str, number: int) -> str:
    """What a section says under the headings that name a frame type."""
    found = re.findall(rf"^### [^\n]*`{kind}`.*?(?=^###? |\Z)", section(number), re.MULTILINE | re.DOTALL)
    return "".join(found)


# ---- what the code knows ---------------------------------------------------------------------------------


def decoded_types() -> set[str]:
    classes = {frame.__name__.lower() for frame in get_args(ClientFrame)}
    return classes - {"mark"} | set(VERBS)


def built_types() -> set[str]:
    """Types that `hub.frames` spells out where it builds, and the kinds of event that the scripts write."""
    named = set(re.findall(r'\b_(?:frame|splice)\(\s*"(\w+)"', inspect.getsource(frames)))
    scripts = "".join(path.read_text("utf-8") for path in (ROOT / "hub" / "lua").rglob("*.lua"))
    return named | set(re.findall(r"append\(us, '(\w+)'", scripts))


def delay_ms(code: CloseCode) -> list[int]:
    """What the `bye` of a conversation that ends with this code asks for."""
    conversation = Conversation("s", JSON_PROTOCOL, Timing(5, 25, 10, 43200, 30), 0)
    bye = conversation.close(code, "over")[0]
    assert isinstance(bye, Send)
    delay: list[int] = json.loads(bye.frame.text)["delay_ms"]
    return delay


def default(setting: str) -> Any:
    return Settings.model_fields[setting].default


# ---- the AsyncAPI document -------------------------------------------------------------------------------


def test_the_document_is_valid_asyncapi_3() -> None:
    schema = json.loads((VECTORS / "asyncapi" / "3.0.0.json").read_text("utf-8"))
    # An empty registry: what the schema does not hold itself would be an error, never a download.
    judge = jsonschema.Draft7Validator(schema, registry=Registry())
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert [f"{fault.json_path}: {fault.message[:200]}" for fault in judge.iter_errors(DOCUMENT)] == []
    broken = copy.deepcopy(DOCUMENT)
    broken["components"]["schemas"]["counts"]["properties"]["unseen"]["type"] = "number of things"
    assert not judge.is_valid(broken)


def test_every_reference_leads_to_something() -> None:
    references = [part["$ref"] for part in parts(DOCUMENT) if "$ref" in part]
    assert len(references) > 100
    for reference in references:
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_every_part_of_the_document_is_used() -> None:
    used = {part["$ref"] for part in parts(DOCUMENT) if "$ref" in part}
    for room, named in DOCUMENT["components"].items():
        assert {f"#/components/{room}/{name}" for name in named} <= used


def test_operations_name_each_message_of_the_channel_in_one_direction() -> None:
    for operation in DOCUMENT["operations"].values():
        assert operation["channel"]["$ref"] == "#/channels/socket"
        for ref in operation["messages"] + operation.get("reply", {}).get("messages", []):
            assert ref["$ref"].startswith("#/channels/socket/messages/")
    assert CHANNEL["messages"].keys() == FROM_CLIENT | FROM_HUB
    assert not FROM_CLIENT & FROM_HUB
    assert CHANNEL["messages"] == {name: {"$ref": f"#/components/messages/{name}"} for name in MESSAGES}


def test_there_is_one_message_for_every_type_that_the_codec_reads() -> None:
    types = [MESSAGES[name]["name"] for name in FROM_CLIENT]
    assert sorted(types) == sorted(decoded_types())


def test_there_is_one_message_for_every_type_that_the_hub_builds() -> None:
    types = [MESSAGES[name]["name"] for name in FROM_HUB]
    assert sorted(types) == sorted(built_types())
    assert built_types() == {vector["meaning"]["type"] for vector in HUB}


def test_the_channel_has_the_address_and_the_subprotocols_of_the_hub() -> None:
    from hub.ws import socket_route

    assert CHANNEL["address"] == socket_route(lambda: pytest.fail("not asked")).path
    assert [known["name"] for known in CHANNEL["x-subprotocols"]] == list(PROTOCOLS)
    assert CHANNEL["bindings"]["ws"]["headers"]["properties"]["Sec-WebSocket-Protocol"]["enum"] == list(PROTOCOLS)


def test_the_document_has_the_close_codes_and_error_codes_of_the_hub() -> None:
    described = [(code["code"], code["name"], code["reconnect"]) for code in CHANNEL["x-close-codes"]]
    assert described == [(int(code), code.name.lower(), code.reconnect) for code in CloseCode]
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["closeCode"]["enum"] == [int(code) for code in CloseCode]
    assert schemas["errorCode"]["enum"] == [code.value for code in Code]


def test_the_words_in_the_schemas_are_spelled_as_in_the_code() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["cursor"]["pattern"] == f"^({CURSOR.pattern})$"
    assert schemas["handle"]["pattern"] == f"^{HANDLE.pattern}$"
    assert MESSAGES["state"]["payload"]["properties"]["verbs"]["items"]["enum"] == list(VERBS)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_examples_of_a_message_are_frames_of_its_type(name: str) -> None:
    assert MESSAGES[name]["examples"]
    for example in MESSAGES[name]["examples"]:
        assert example["payload"]["type"] == MESSAGES[name]["name"]
        validator(name, strict=name in FROM_HUB).validate(example["payload"])
        assert not validator(name).is_valid(example["payload"] | {"type": "another"})


# ---- the vectors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", HUB, ids=lambda vector: vector["name"])
def test_a_hub_vector_is_as_the_document_describes_it(vector: dict[str, Any]) -> None:
    name = message_of(vector["meaning"]["type"], FROM_HUB)
    validator(name, strict=True).validate(vector["meaning"])


@pytest.mark.parametrize("vector", HUB, ids=lambda vector: vector["name"])
def test_the_document_requires_every_field_of_a_hub_vector_but_the_optional_ones(vector: dict[str, Any]) -> None:
    judge = validator(message_of(vector["meaning"]["type"], FROM_HUB))
    for field in vector["meaning"].keys() - {"ref", "details"}:
        rest = {name: value for name, value in vector["meaning"].items() if name != field}
        # Without `replayed` it is another ack, unless there are no ids to tell.
        optional = field == "replayed" and rest["changed"] is not None
        assert judge.is_valid(rest) is optional, field


@pytest.mark.parametrize("vector", [v for v in CLIENT if v["ok"] and "json" in v], ids=lambda vector: vector["name"])
def test_an_accepted_client_vector_is_as_the_document_describes_it(vector: dict[str, Any]) -> None:
    frame = json.loads(vector["json"])
    validator(message_of(frame["type"], FROM_CLIENT)).validate(frame)


IN_NO_SCHEMA = {"a day that does not exist"}
"""JSON Schema has no calendar."""
SHAPE = {"required", "type", "length", "range", "format", "exclusive"}


def has_shape(fault: dict[str, str]) -> bool:
    """Whether the fault is that of a field that the document describes; the vectors call unknown ones `later`."""
    return fault["reason"] in SHAPE and not fault["field"].startswith(("later", "frame"))


REFUSED = [vector for vector in CLIENT if "error" in vector and "json" in vector]
MISSHAPEN = [v for v in REFUSED if v["name"] not in IN_NO_SCHEMA and all(map(has_shape, v["error"]["fields"]))]


@pytest.mark.parametrize("vector", MISSHAPEN, ids=lambda vector: vector["name"])
def test_a_refused_client_vector_is_refused_by_the_document_too(vector: dict[str, Any]) -> None:
    frame = json.loads(vector["json"])
    assert not validator(message_of(frame["type"], FROM_CLIENT)).is_valid(frame)


def test_every_refusal_of_the_codec_is_an_error_frame_as_the_document_describes_it() -> None:
    refusals = []
    for vector in REFUSED:
        with pytest.raises(Malformed) as caught:
            codec.decode(vector["json"] + " " * vector.get("pad", 0), JSON_PROTOCOL)
        refusals.append(json.loads(frames.error(caught.value.ref, caught.value).text))
    for refusal in refusals:
        validator("error", strict=True).validate(refusal)
    used = {fault["reason"] for refusal in refusals for fault in refusal["details"]["fields"]}
    assert used <= set(DOCUMENT["components"]["schemas"]["fault"]["properties"]["reason"]["enum"])


# ---- the page --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", examples(), ids=lambda frame: str(frame.get("type")))
def test_an_example_on_the_page_is_as_the_document_describes_it(frame: dict[str, Any]) -> None:
    client = [name for name in FROM_CLIENT if MESSAGES[name]["name"] == frame["type"]]
    hub = [name for name in FROM_HUB if MESSAGES[name]["name"] == frame["type"]]
    assert client or hub
    assert any(
        [validator(name).is_valid(frame) for name in client]
        + [validator(name, strict=True).is_valid(frame) for name in hub]
    )


def test_the_page_shows_every_type_of_frame_in_its_section() -> None:
    assert {frame["type"] for frame in examples(section(4))} >= decoded_types() - set(VERBS)
    assert {frame["type"] for frame in examples(section(4))} & set(VERBS)
    assert {frame["type"] for frame in examples(section(5))} == built_types()


@pytest.mark.parametrize("name", MESSAGES)
def test_the_page_names_every_field_of_a_frame_under_its_heading(name: str) -> None:
    message, number = MESSAGES[name], 4 if name in FROM_CLIENT else 5
    text = parts_about(message["name"], number)
    payload = message["payload"]
    schemas = [payload, *(DOCUMENT["components"]["schemas"][part] for part in ("mark", "markByIds", "markUpto"))]
    fields = {field for schema in schemas[: 4 if "allOf" in payload else 1] for field in schema.get("properties", ())}
    said_for_all = {"type", "ref"} if name in FROM_HUB else {"type"}
    assert text
    assert [field for field in fields - said_for_all if f"`{field}`" not in text] == []


def test_the_page_has_the_fields_of_an_entry() -> None:
    named = set(re.findall(r"`(\w+)`", section(6).split("**Entry**")[1]))
    assert DOCUMENT["components"]["schemas"]["entry"]["properties"].keys() <= named


def test_the_welcome_on_the_page_has_the_limits_of_the_hub() -> None:
    real = json.loads(frames.welcome("s", "ann", None, default("ping_s")).text)
    shown = [frame for frame in examples() if frame["type"] == "welcome"]
    for welcome in [*shown, *(example["payload"] for example in MESSAGES["welcome"]["examples"])]:
        for field in ("limits", "retry_ms", "ping_s"):
            assert welcome[field] == real[field]


def test_the_page_has_the_close_codes_of_the_hub_with_their_delays_and_no_others() -> None:
    rows = [(int(code), name, delay) for code, name, delay, _ in table("code")]
    expected = [(int(code), code.name.lower(), "–".join(f"{ms:,}" for ms in delay_ms(code))) for code in CloseCode]
    assert rows == expected
    ranges = {"4499", "4999"}
    assert set(re.findall(r"(?<![\d-])4\d{3}(?!\d)", TEXT)) - ranges == {str(int(code)) for code in CloseCode}


def test_the_page_has_the_error_codes_of_the_hub_and_no_others() -> None:
    rows = table("`code`")
    assert [code for code, _, _ in rows] == [code.value for code in Code]
    temporary = {code for code, temporary, _ in rows if temporary == "yes"}
    assert temporary == {"rate_limited", "unavailable", "internal"}


def test_the_page_has_the_reasons_of_the_document() -> None:
    reasons = DOCUMENT["components"]["schemas"]["fault"]["properties"]["reason"]["enum"]
    assert [reason for reason, _ in table("`reason`")] == reasons


KIB, MIB, HOUR_MS = 1024, 1024 * 1024, 3_600_000
LIMITS = {
    "a client frame": f"{frames.FRAME_BYTES // KIB} KiB",
    "ids of a mark": f"{frames.IDS}",
    "followed channels": f"{frames.CHANNELS}",
    "frames that wait": f"{frames.WAITING}",
    "entries of a page": f"{frames.PAGE}",
    "refusals in one stretch": f"{protocol.REFUSED}",
    "the first frame": f"{frames.AUTH_BYTES // KIB} KiB",
    "a message": f"{frames.TRANSPORT_BYTES // KIB} KiB",
    "a hub frame": f"{frames.HUB_FRAME_BYTES // KIB} KiB",
    "an entry, as it is sent": f"{ENTRY_BYTES // KIB} KiB",
    "events of a replay": f"{default('log_events')}",
    "bytes of a replay": f"{store.REPLAY_BYTES // MIB} MiB",
    "memory of an `op`": f"{store.OP_MS // HOUR_MS} h",
    "`op`s of a user": f"{store.OPS:,}",
    "unsent, with which new work is begun": f"{protocol.START_BYTES // KIB} KiB",
    "unsent": f"{protocol.SLOW_BYTES // MIB} MiB",
    "sessions of a user in one hub process": f"{default('sessions_per_user')} (setting)",
    "age of a socket": f"{default('max_age_s') // 3600} h (setting)",
    "time until `auth`": f"{default('auth_timeout_s')} s (setting)",
    "silence before `ping`": f"{default('ping_s')} s (setting)",
    "silence after `ping`": f"{default('pong_s')} s (setting)",
    "time before the token's end": f"{protocol.EXPIRING_S:g} s",
    "clock difference forgiven in tokens": f"{default('token_leeway_s')} s (setting)",
}


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    assert {limit: value for limit, value, _ in table("limit")} == LIMITS


def test_every_size_in_the_text_is_one_of_the_limits() -> None:
    sizes = set(re.findall(r"\d[\d,]* (?:KiB|MiB)", PROSE))
    assert sizes == {value for value in LIMITS.values() if value.endswith(("KiB", "MiB"))}


@pytest.mark.parametrize(
    ("quoted", "real"),
    [
        (r"list of 1–(\S+) strings", frames.IDS),
        (r"[Aa]t most (\S+) channels", frames.CHANNELS),
        (r"at most (\S+) wait", frames.WAITING),
        (r"[Aa]fter (\S+) such refusals", protocol.REFUSED),
        (r"(\S+) frames were refused", protocol.REFUSED),
        (r"integer 1–(\S+), default 20", frames.PAGE),
        (r"at most (\S+) events", default("log_events")),
        (r"[Aa]t most (\S+) are remembered", store.OPS),
        (r"(?:for|within) (\d+) h\b", store.OP_MS // HOUR_MS),
        (r"\*\*Depth\*\* is at most (\d+)", codec.DEPTH),
        (r"1 to (\d+) characters", codec.NAME),
        (r"(?:`op`|`channel`) \| string, 1–(\d+)", codec.NAME),
        (r"`topic` \| string, 1–(\d+)", codec.TOPIC),
        (r"`token` \| string, 1–([\d,]+)", codec.TOKEN),
        (r"`api_key` \| string, 1–(\d+)", codec.API_KEY),
        (r"`user` \| string, 1–(\d+)", USER_MAX),
        (r"(?:`auth`|no `auth`) within (\d+) s", default("auth_timeout_s")),
        (r"comes (\d+) s before the token's end", protocol.EXPIRING_S),
    ],
)
def test_a_number_in_the_text_is_that_of_the_code(quoted: str, real: float) -> None:
    found = re.findall(quoted, PROSE)
    assert found
    assert {int(number.replace(",", "")) for number in found} == {int(real)}


def test_links_within_the_page_lead_to_its_headings() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert links
    assert links <= anchors
