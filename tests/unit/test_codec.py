"""What a client may send (protocol, sections 1 and 3), rule by rule; then anything at all, by hypothesis.

`BELLHUB_FUZZ_EXAMPLES=1000000` makes the last part long.
"""

import json
import math
import os
import tracemalloc
from datetime import timedelta, timezone
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hub.codec import (
    Malformed,
    check_user,
    check_value,
    decode,
    decode_first,
    frame_digest,
    parse_page_token,
    parse_timestamp,
)
from hub.errors import Broken, CloseCode, Code, Refused
from hub.frames import (
    AUTH_BYTES,
    FRAME_BYTES,
    HUB_FRAME_BYTES,
    JSON_PROTOCOL,
    MSGPACK_PROTOCOL,
    PROTOCOLS,
    Auth,
    ClientFrame,
    List,
    Mark,
    Ping,
    Pong,
    Refresh,
    Subscribe,
    Unsubscribe,
    page_token,
)
from hub.model import STATUSES, VERBS, Filters

CURSOR = "1790000000000000-7"
BIG = 2**53
both = pytest.mark.parametrize("protocol", PROTOCOLS)


def encode(value: Any, protocol: str) -> str | bytes:
    return json.dumps(value, ensure_ascii=False) if protocol == JSON_PROTOCOL else pack(value)


def pack(value: Any) -> bytes:
    """msgpack with lone surrogates spelled as WTF-8, which is how they leave a careless encoder."""
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


def send(kind: str, protocol: str = JSON_PROTOCOL, **fields: Any) -> ClientFrame:
    return decode(encode({"type": kind} | fields, protocol), protocol)


def refusal(kind: str, protocol: str = JSON_PROTOCOL, **fields: Any) -> Malformed:
    with pytest.raises(Malformed) as caught:
        send(kind, protocol, **fields)
    return caught.value


def faults(refused: Refused) -> dict[str, str]:
    """What is wrong, by field."""
    assert refused.code is Code.INVALID_REQUEST
    listed = {fault["field"]: fault["message"] for fault in refused.details["fields"]}
    assert all(fault.keys() == {"field", "message", "reason"} for fault in refused.details["fields"])
    assert all(message in refused.message for message in listed.values())
    return listed


def mark(**fields: Any) -> dict[str, str]:
    """What is wrong with a `seen` frame on a known channel."""
    return faults(refusal("seen", channel="inbox", **fields))


def end(message: str | bytes, protocol: str = JSON_PROTOCOL) -> str:
    with pytest.raises(Broken) as caught:
        decode(message, protocol)
    assert caught.value.code is CloseCode.BAD_FRAME
    assert 0 < len(caught.value.reason.encode()) <= 123
    return caught.value.reason


# ---- frames that are accepted ----------------------------------------------------------------------------


@both
def test_every_type_becomes_its_frame(protocol: str) -> None:
    assert send("auth", protocol, api_key="pk", token="t") == Auth("pk", token="t")
    assert send("refresh", protocol, ref=1, token="t") == Refresh(1, "t")
    assert send("subscribe", protocol, ref="a", channel="inbox") == Subscribe("a", "inbox", None, 20)
    assert send("unsubscribe", protocol, channel="inbox") == Unsubscribe(None, "inbox")
    assert send("list", protocol, channel="inbox") == List(None, "inbox", Filters())
    assert send("ping", protocol, ref=-1) == Ping(-1)
    assert send("pong", protocol) == Pong()


@both
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_becomes_a_mark(verb: str, protocol: str) -> None:
    made = send(verb, protocol, ref=1, op="o", channel="inbox", ids=["b", "a", "b"])
    assert made == Mark(1, verb, "inbox", ids=("b", "a"), op="o")


@pytest.mark.parametrize("verb", ["seen", "read", "archive", "dismiss"])
def test_a_mark_up_to_a_cursor_may_name_a_topic(verb: str) -> None:
    made = send(verb, channel="inbox", upto=CURSOR, topic="t" * 255)
    assert made == Mark(None, verb, "inbox", upto=CURSOR, topic="t" * 255)


def test_filters_are_read_into_micros() -> None:
    made = send(
        "list",
        channel="inbox",
        status="read",
        archived=True,
        topic="t",
        created_after="1970-01-01T00:00:01Z",
        created_before="1970-01-01T01:00:02.5+01:00",
        before="pff",
        limit=100,
    )
    wanted = Filters("read", True, "t", created_after=1_000_000, created_before=2_500_000, before=255, limit=100)
    assert made == List(None, "inbox", wanted)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_may_be_listed(status: str) -> None:
    assert send("list", channel="inbox", status=status) == List(None, "inbox", Filters(status))


def test_a_null_is_an_absent_field() -> None:
    assert send("seen", channel="inbox", ids=["a"], ref=None, op=None, upto=None, topic=None) == Mark(
        None, "seen", "inbox", ("a",)
    )
    assert send("subscribe", channel="inbox", cursor=None, limit=None) == Subscribe(None, "inbox")
    assert send("list", channel="inbox", archived=None, after=None) == List(None, "inbox", Filters())


def test_ids_are_any_strings_because_the_store_answers_for_them() -> None:
    made = send("seen", channel="inbox", ids=["", "y" * 200, "*"])
    assert made == Mark(None, "seen", "inbox", ("", "y" * 200, "*"))


@both
def test_500_ids_are_accepted(protocol: str) -> None:
    made = send("seen", protocol, channel="inbox", ids=[str(n) for n in range(500)])
    assert isinstance(made, Mark)
    assert made.ids == tuple(str(n) for n in range(500))


@both
def test_unknown_fields_are_ignored_however_long_their_lists(protocol: str) -> None:
    assert send("ping", protocol, ref=1, later={"a": list(range(3000))}) == Ping(1)


@both
def test_numbers_up_to_the_limit_and_16_levels_are_accepted(protocol: str) -> None:
    nested: Any = [BIG - 1, 1 - BIG, -0.5]
    for _ in range(14):
        nested = {"a": nested}
    assert send("ping", protocol, ref=BIG - 1, later=nested) == Ping(BIG - 1)


def test_a_surrogate_pair_is_a_character_however_it_is_written() -> None:
    assert decode('{"type":"ping","ref":"\\ud83d\\udd14"}', JSON_PROTOCOL) == Ping("🔔")
    assert decode('{"type":"ping","ref":"🔔"}', JSON_PROTOCOL) == Ping("🔔")


# ---- messages that end the conversation ------------------------------------------------------------------


def test_the_wrong_kind_of_message_is_the_end() -> None:
    assert "text" in end(b'{"type":"ping"}', JSON_PROTOCOL)
    assert "binary" in end('{"type":"ping"}', MSGPACK_PROTOCOL)


@pytest.mark.parametrize("text", ["", "{", "{} x", "{'type':'ping'}", '{"type":"ping",}', "\ufeff{}", '{"a":"\t"}'])
def test_bad_json_is_the_end(text: str) -> None:
    assert "bad JSON" in end(text)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_know_is_the_end(word: str) -> None:
    assert word in end(f'{{"type":"ping","later":[{word}]}}')


@pytest.mark.parametrize("hexed", ["", "c1", "81", "81a474797065", "a4ff", "81a474797065a2c328", "c7", "8080"])
def test_bad_msgpack_is_the_end(hexed: str) -> None:
    assert "bad msgpack" in end(bytes.fromhex(hexed), MSGPACK_PROTOCOL)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_until_the_parser_gives_up_is_the_end(opening: str) -> None:
    assert end((opening * FRAME_BYTES)[:FRAME_BYTES])


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a"])
def test_msgpack_nested_until_the_parser_gives_up_is_the_end(opening: bytes) -> None:
    assert "nested too deeply" in end((opening * FRAME_BYTES)[:FRAME_BYTES], MSGPACK_PROTOCOL)


@both
@pytest.mark.parametrize("value", [[], "ping", 1, 1.5, None, True])
def test_what_is_no_map_is_the_end(value: Any, protocol: str) -> None:
    assert "not a map" in end(encode(value, protocol), protocol)


@both
@pytest.mark.parametrize("value", [{}, {"type": None}, {"type": 1}, {"type": ["ping"]}])
def test_a_map_without_a_string_type_is_the_end(value: Any, protocol: str) -> None:
    assert "no string type" in end(encode(value, protocol), protocol)


def test_lists_that_claim_more_than_they_hold_cost_neither_memory_nor_time() -> None:
    # A thousand nested claims of 32,767 elements: 80 ms and 60 MB if each list is made as long as it claims.
    message = b"\xdc\x7f\xff" * 1000 + b"\x01" * (FRAME_BYTES - 3000)
    tracemalloc.start()
    try:
        end(message, MSGPACK_PROTOCOL)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


# ---- frames that are answered ----------------------------------------------------------------------------


@both
def test_an_unknown_type_is_named_and_answered_with_its_ref(protocol: str) -> None:
    refused = refusal("shout", protocol, ref="r")
    assert faults(refused) == {"type": "'shout' is unknown"}
    assert refused.ref == "r"


@both
def test_all_wrong_fields_are_reported_at_once(protocol: str) -> None:
    wrong: dict[str, Any] = {"channel": 1, "ids": "a", "op": "", "topic": "t" * 256, "later": BIG, "ref": 2.5}
    refused = refusal("seen", protocol, **wrong)
    assert faults(refused).keys() == wrong.keys()
    assert refused.ref is None


def test_a_message_over_the_limit_is_measured_in_utf8_and_not_decoded() -> None:
    with pytest.raises(Malformed, match=r"^40000 bytes, at most 32768$") as caught:
        decode("x" * 40_000, JSON_PROTOCOL)
    assert caught.value.ref is None
    with pytest.raises(Malformed, match=r"^40000 bytes, at most 32768$"):
        decode("é" * 20_000, JSON_PROTOCOL)
    with pytest.raises(Malformed, match=r"^40000 bytes, at most 32768$"):
        decode(b"\xc1" * 40_000, MSGPACK_PROTOCOL)
    with pytest.raises(Malformed, match=r"^16 bytes, at most 15$"):
        decode('{"type": "ping"}', JSON_PROTOCOL, 15)


def test_a_message_of_exactly_the_limit_is_decoded() -> None:
    text = '{"type":"ping"}'
    assert decode(text.ljust(FRAME_BYTES), JSON_PROTOCOL) == Ping(None)
    assert decode(text, JSON_PROTOCOL, len(text)) == Ping(None)


@pytest.mark.parametrize("ref", ["", "r" * 65, 1.5, 1.0, True, False, [], {}, BIG, -BIG])
def test_a_ref_is_a_short_string_or_an_integer(ref: Any) -> None:
    refused = refusal("ping", ref=ref)
    assert faults(refused).keys() == {"ref"}
    assert refused.ref is None


@pytest.mark.parametrize("channel", [None, "", "c" * 65, 7, ["inbox"]])
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe", "list"])
def test_a_channel_is_required_and_short(kind: str, channel: Any) -> None:
    refused = refusal(kind, ref=1, channel=channel)
    assert faults(refused).keys() == {"channel"}
    assert refused.ref == 1


def test_too_many_ids_are_counted_before_repeats_are_removed() -> None:
    assert mark(ids=["x"] * 501) == {"ids": "501 ids, at most 500"}
    packed = refusal("seen", MSGPACK_PROTOCOL, channel="inbox", ids=["x"] * 3000, ref=5)
    assert faults(packed) == {"ids": "3000 ids, at most 500"}
    assert packed.ref == 5


@pytest.mark.parametrize("ids", ["a", 1, {"a": 1}, True])
def test_ids_are_a_list(ids: Any) -> None:
    assert "no list of 1 to 500 ids" in mark(ids=ids)["ids"]


@pytest.mark.parametrize("wrong", [1, None, True, ["b"], {}])
def test_an_id_that_is_no_string_is_named_by_its_place(wrong: Any) -> None:
    assert mark(ids=["a", wrong]).keys() == {"ids[1]"}


def test_a_mark_has_exactly_one_of_ids_and_upto() -> None:
    assert "neither ids nor upto" in mark()["ids"]
    assert "neither ids nor upto" in mark(ids=None)["ids"]
    assert "both ids and upto" in mark(ids=["a"], upto=CURSOR)["upto"]
    assert "at least 1" in mark(ids=[])["ids"]


@pytest.mark.parametrize("verb", ["click", "unarchive"])
def test_upto_is_not_for_every_verb(verb: str) -> None:
    assert faults(refusal(verb, channel="inbox", upto=CURSOR)) == {"upto": f"not with {verb}"}


def test_a_topic_goes_only_with_upto() -> None:
    assert mark(ids=["a"], topic="t") == {"topic": "only with upto"}
    assert "256 characters, at most 255" in mark(upto="0", topic="t" * 256)["topic"]
    assert "at least 1" in mark(upto="0", topic="")["topic"]


@pytest.mark.parametrize("op", ["", "o" * 65, 1, True])
def test_an_op_is_a_short_string(op: Any) -> None:
    assert mark(ids=["a"], op=op).keys() == {"op"}


@pytest.mark.parametrize(
    "cursor", ["", "1", "00", "+", "179000000000000-1", CURSOR + "\n", CURSOR + "0" * 10, "١" * 16 + "-1", 0, ["0"]]
)
def test_a_cursor_has_one_form_and_never_gets_further_without(cursor: Any) -> None:
    assert mark(upto=cursor).keys() == {"upto"}
    assert faults(refusal("subscribe", channel="inbox", cursor=cursor)).keys() == {"cursor"}


@pytest.mark.parametrize("limit", [0, 101, -1, 1.0, "20", True, BIG])
def test_a_limit_is_an_integer_from_1_to_100(limit: Any) -> None:
    assert faults(refusal("subscribe", channel="inbox", limit=limit)).keys() == {"limit"}
    assert faults(refusal("list", channel="inbox", limit=limit)).keys() == {"limit"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "new"),
        ("status", ["read"]),
        ("archived", 1),
        ("archived", "true"),
        ("topic", ""),
        ("created_after", "2026-01-01T00:00:00"),
        ("created_before", 1790000000),
        ("after", "65bff7ba44000"),
        ("before", "p" + "1" * 14),
        ("after", 5),
    ],
)
def test_a_wrong_filter_is_named(name: str, value: Any) -> None:
    assert faults(refusal("list", channel="inbox", **{name: value})).keys() == {name}


def test_a_list_goes_one_way() -> None:
    assert "both after and before" in faults(refusal("list", channel="inbox", after="p1", before="p2"))["before"]


def test_a_refresh_needs_a_token_and_never_shows_it() -> None:
    assert faults(refusal("refresh")) == {"token": "required"}
    long = refusal("refresh", token="s3cret" * 2000)
    assert "12000 characters, at most 8192" in faults(long)["token"]
    assert "s3cret" not in str(long.details) + long.message
    assert "424242" not in refusal("refresh", token=424242).message


def test_values_in_messages_are_short_and_printable() -> None:
    message = mark(ids=["a"], op="\x1b\n\u202e" + "o" * 1000)["op"]
    assert message.isprintable()
    assert len(message) < 120
    assert len(refusal("ping", ref=1, later=int("9" * 4000)).message) < 120


def test_the_answer_to_a_frame_full_of_faults_is_bounded() -> None:
    unknown: dict[str, Any] = {f"f{n}": BIG for n in range(1000)}
    refused = refusal("ping", **unknown)
    assert len(faults(refused)) == 16


# ---- text rules ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("number", [BIG, -BIG, 1e300, -1e16])
def test_a_number_beyond_the_limit_is_refused_anywhere(number: float, protocol: str) -> None:
    refused = refusal("ping", protocol, ref=1, later={"a": [0, number]})
    assert "beyond ±9007199254740991" in faults(refused)["later.a[1]"]
    assert refused.ref == 1


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(Malformed, match="later: inf"):
        decode('{"type":"ping","later":1e999}', JSON_PROTOCOL)
    for number in (math.nan, math.inf, -math.inf):
        assert faults(refusal("ping", MSGPACK_PROTOCOL, later=[number])).keys() == {"later[0]"}


def test_a_number_too_long_to_convert_is_refused() -> None:
    with pytest.raises(Malformed, match="beyond"):
        decode('{"type":"ping","later":' + "9" * 10_000 + "}", JSON_PROTOCOL)


@both
@pytest.mark.parametrize(("opening", "path"), [([], "[0]"), ({}, ".a")])
def test_depth_17_is_refused(opening: Any, path: str, protocol: str) -> None:
    nested: Any = opening
    for _ in range(15):
        nested = [nested] if path == "[0]" else {"a": nested}
    refused = refusal("ping", protocol, later=nested)
    assert faults(refused) == {"later" + path * 15: "depth 17, at most 16"}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("later", '"later":"a\\uD800b"'),
        ("later.a[0]", '"later":{"a":["\\udfff\\ud800"]}'),
        ("later", '"later":"a\ud800"'),
        ("ref", '"ref":"\\ud800"'),
        ("channel", '"channel":"\\ud800"'),
        ("'\\udc00'", '"\\udc00":1'),
        ("ids[1]", '"ids":["a","\\ud800"]'),
    ],
)
def test_a_lone_surrogate_is_refused_anywhere(field: str, text: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode('{"type":"seen","upto":"0",' + text + "}", JSON_PROTOCOL)
    listed = faults(caught.value)
    assert "lone surrogate" in listed[field]
    assert caught.value.ref is None
    json.dumps(caught.value.details, ensure_ascii=False).encode()


def test_a_lone_surrogate_in_msgpack_is_answered_and_other_bad_utf8_is_the_end() -> None:
    good = msgpack.packb({"type": "ping", "ref": 1, "later": "abc"})
    with pytest.raises(Malformed, match="later: a lone surrogate at character 0") as caught:
        decode(good.replace(b"abc", b"\xed\xa0\x80"), MSGPACK_PROTOCOL)
    assert caught.value.ref == 1
    assert "bad msgpack" in end(good.replace(b"abc", b"\xff\xff\xff"), MSGPACK_PROTOCOL)


@pytest.mark.parametrize("value", [b"bin", msgpack.ExtType(5, b"x"), msgpack.Timestamp(0), msgpack.Timestamp(2**33, 1)])
def test_a_msgpack_value_without_a_form_in_json_is_refused_anywhere(value: Any) -> None:
    assert "no form in JSON" in faults(refusal("ping", MSGPACK_PROTOCOL, ref=1, later=value))["later"]
    assert "no form in JSON" in faults(refusal("ping", MSGPACK_PROTOCOL, later={"a": [value]}))["later.a[0]"]
    assert faults(refusal("ping", MSGPACK_PROTOCOL, ref=value)).keys() == {"ref"}


@pytest.mark.parametrize("key", [1, None, True, 1.5, b"k"])
def test_a_key_that_is_no_string_is_refused_anywhere(key: Any) -> None:
    assert "not a string" in faults(refusal("ping", MSGPACK_PROTOCOL, ref=1, later=[{key: 1}]))["later[0]"]
    with pytest.raises(Malformed, match="not a string") as caught:
        decode(msgpack.packb({"type": "ping", "ref": 1, key: 1}), MSGPACK_PROTOCOL)
    assert caught.value.ref == 1


@pytest.mark.parametrize("key", [b"\x90", b"\x80"])
def test_a_key_that_is_a_list_or_a_map_is_refused(key: bytes) -> None:
    with pytest.raises(Malformed, match="not a string"):
        decode(b"\x82\xa4type\xa4ping" + key + b"\x01", MSGPACK_PROTOCOL)


@pytest.mark.parametrize("value", [None, True, "é🔔", 1.5, BIG - 1, [], {"a": [{"b": None}]}])
def test_a_producers_value_within_the_rules_passes(value: Any) -> None:
    check_value(value, "data")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": [1, "\ud800"]}, "data.a[1]"),
        ({"a": math.nan}, "data.a"),
        ({"\ud800": 1}, "data.'\\ud800'"),
        ({1: 1}, "data"),
        (BIG, "data"),
        (b"x", "data"),
        ({"a": object()}, "data.a"),
    ],
)
def test_a_producers_value_beyond_the_rules_is_refused_by_its_path(value: Any, field: str) -> None:
    with pytest.raises(Refused) as caught:
        check_value(value, "data")
    assert faults(caught.value).keys() == {field}


def test_the_depth_of_a_producers_value_counts_what_will_be_around_it() -> None:
    nested: Any = []
    for _ in range(13):
        nested = [nested]
    check_value([[nested]], "data")
    check_value(nested, "data", inside=2)
    with pytest.raises(Refused, match="depth 17, at most 16"):
        check_value(nested, "data", inside=3)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Refused, match="depth 17, at most 16"):
        check_value(endless, "data")


# ---- the first frame -------------------------------------------------------------------------------------


def first(protocol: str = JSON_PROTOCOL, **fields: Any) -> Auth:
    fields = {"type": "auth"} | fields
    return decode_first(encode(fields, protocol), protocol)


def first_end(**fields: Any) -> str:
    """Why an `auth` with these fields beside a good api key is refused."""
    with pytest.raises(Broken) as caught:
        first(**({"api_key": "pk"} | fields))
    assert caught.value.code is CloseCode.BAD_TOKEN
    assert len(caught.value.reason.encode()) <= 123
    return caught.value.reason


@both
def test_the_first_frame_says_who_connects_and_with_what(protocol: str) -> None:
    assert first(protocol, api_key="k" * 128, token="t" * 7000) == Auth("k" * 128, token="t" * 7000)
    made = first(protocol, api_key="pk", user="ann", client={"name": "bell", "version": "1.2", "os": "x"})
    assert made == Auth("pk", user="ann", client="bell/1.2")


def test_wrong_fields_in_the_first_frame_are_a_bad_token() -> None:
    assert "both token and user" in first_end(token="t", user="ann")
    assert "neither token nor user" in first_end()
    assert "api_key: required" in first_end(api_key=None, user="ann")
    assert "129 characters, at most 128" in first_end(api_key="s3cret" + "k" * 123, user="ann")
    assert "s3cret" not in first_end(api_key="s3cret" + "k" * 123, user="ann")
    assert "s3cret" not in first_end(token=["s3cret"])
    assert "257 characters, at most 256" in first_end(user="u" * 257)
    assert "control character" in first_end(user="ann\x00")
    assert "lone surrogate" in first_end(user="ann\ud800")
    assert "beyond" in first_end(user="ann", later=BIG)


@pytest.mark.parametrize("client", ["bell", [], {"name": "bell"}, {"name": "b" * 65, "version": "1"}])
def test_a_wrong_client_in_the_first_frame_is_a_bad_token(client: Any) -> None:
    assert "client" in first_end(user="ann", client=client)


def test_a_client_cannot_write_lines_of_the_log() -> None:
    assert "control character" in first_end(user="ann", client={"name": "bell\n", "version": "1"})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('{"type":"ping"}', "'ping'"),
        ('{"type":"' + "🔔" * 100 + '"}', "🔔"),
        ('{"type":"auth"}'.ljust(AUTH_BYTES + 1), "8193 bytes, at most 8192"),
        (b'{"type":"auth"}', "binary"),
        ("[]", "a list"),
        ("{", "bad JSON"),
        ('{"type":"auth","later":' + "9" * 5000 + "}", "beyond"),
    ],
)
def test_any_other_first_message_is_a_bad_frame(message: str | bytes, reason: str) -> None:
    with pytest.raises(Broken) as caught:
        decode_first(message, JSON_PROTOCOL)
    assert caught.value.code is CloseCode.BAD_FRAME
    assert reason in caught.value.reason
    assert len(caught.value.reason.encode()) <= 123


def test_a_second_auth_is_decoded_and_its_faults_are_answered() -> None:
    assert send("auth", api_key="pk", user="ann") == Auth("pk", user="ann")
    assert faults(refusal("auth", api_key="pk")).keys() == {"token"}


# ---- users, times, page tokens, digests ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "u" * 256, "Zoë 例え", "../{x}:*", "🔔"])
def test_a_user_name_is_any_printable_text(name: str) -> None:
    assert check_user(name) == name


@pytest.mark.parametrize("name", ["", "u" * 257, "a\x00", "a\n", "a\x7f", "a\x85", "\ud800"])
def test_an_unfit_user_name_is_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        check_user(name)
    assert faults(caught.value).keys() == {"user"}


def test_a_long_user_name_is_refused_with_its_length_and_the_limit() -> None:
    with pytest.raises(Refused, match="300 characters, at most 256"):
        check_user("u" * 300)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00.000001z", 1),
        ("1970-01-01T00:00:00.0000019Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59-00:00", -1_000_000),
        ("2026-09-21T14:13:20.1Z", 1_790_000_000_100_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000),
        ("9999-12-31T23:59:59.999999-23:59", 253_402_387_139_999_999),
    ],
)
def test_a_timestamp_is_read_in_micros(text: str, micros: int) -> None:
    assert parse_timestamp(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-09-21",
        "2026-09-21T14:13:20",
        "2026-09-21T14:13Z",
        "2026-09-21 14:13:20Z",
        "20260921T141320Z",
        "2026-W39-1T14:13:20Z",
        "2026-09-21T14:13:20Z\n",
        "2026-09-21T14:13:20.Z",
        "2026-09-21T24:00:00Z",
        "2026-09-21T14:13:20+24:00",
        "2026-09-21T14:13:20+0100",
        "2026-02-30T14:13:20Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-09-21T14:13:20Z",
        "1" * 10_000,
    ],
)
def test_what_is_no_rfc_3339_time_with_offset_is_named(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_timestamp(text)
    assert repr(text[:32]) in str(caught.value)
    assert len(str(caught.value)) < 150


@given(st.integers(0, 16**13 - 1))
def test_a_page_token_comes_back_as_the_place_it_names(micros: int) -> None:
    token = page_token(micros)
    assert token is not None
    assert parse_page_token(token) == micros


@pytest.mark.parametrize("text", ["", "p", "1", "pG", "pFF", "p-1", "p0x1", "p1 ", "p1\n", "p1_0", "p" + "1" * 14])
def test_what_is_no_page_token_is_named(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_page_token(text)
    assert repr(text) in str(caught.value)


def test_the_same_frame_has_the_same_digest_whatever_its_ref_order_and_repeats() -> None:
    one = Mark(1, "seen", "inbox", ids=("a", "b"), op="x")
    for other in (Mark(None, "seen", "0198c0de", ids=("b", "a")), Mark("r", "seen", "inbox", ids=("b", "a", "b"))):
        assert frame_digest(one, "inbox") == frame_digest(other, "inbox")


def test_another_frame_has_another_digest() -> None:
    frames = [
        (Mark(1, "seen", "inbox", ids=("a", "b")), "inbox"),
        (Mark(1, "read", "inbox", ids=("a", "b")), "inbox"),
        (Mark(1, "seen", "inbox", ids=("a", "b")), "other"),
        (Mark(1, "seen", "inbox", ids=("ab",)), "inbox"),
        (Mark(1, "seen", "inbox", ids=("a",)), "inbox"),
        (Mark(1, "seen", "inbox", ids=("0", "")), "inbox"),
        (Mark(1, "seen", "inbox", upto="0"), "inbox"),
        (Mark(1, "seen", "inbox", upto="0"), "other"),
        (Mark(1, "seen", "inbox", upto=CURSOR), "inbox"),
        (Mark(1, "seen", "inbox", upto="0", topic="t"), "inbox"),
        (Mark(1, "seen", "inbox", upto="0", topic="u"), "inbox"),
    ]
    assert len({frame_digest(frame, handle) for frame, handle in frames}) == len(frames)


# ---- anything at all -------------------------------------------------------------------------------------

EXAMPLES = int(os.environ.get("BELLHUB_FUZZ_EXAMPLES", "300"))
fuzz = settings(
    max_examples=EXAMPLES,
    # The bound on time: the worst message known takes 10 ms.
    deadline=1000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TEXT = st.text(st.characters(exclude_categories=()), max_size=70)
"""Any code points, lone surrogates too."""
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([BIG, BIG - 1, -BIG, 1 - BIG, 0]),
    st.floats(),
    TEXT,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT, inner, max_size=6),
    max_leaves=25,
)
PACKED = st.recursive(
    SCALARS
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
    | st.builds(msgpack.Timestamp, st.integers(-(2**40), 2**40), st.integers(0, 999_999_999)),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(SCALARS | st.binary(max_size=5), inner, max_size=6),
    max_leaves=25,
)
SHORT = st.text(min_size=1, max_size=64)
USERS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=256)
CURSORS = st.just("0") | st.from_regex(r"[0-9]{16,17}-[0-9]{1,10}", fullmatch=True)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(timezones=ZONES).map(lambda time: time.isoformat())
TOKENS = st.integers(0, 16**13 - 1).map(page_token)
REF = {"ref": SHORT | st.integers(1 - BIG, BIG - 1) | st.none()}
LIMIT = {"limit": st.integers(1, 100) | st.none()}
FEED = {"channel": SHORT}
BY_IDS = {"type": st.sampled_from(VERBS)} | FEED
BY_CURSOR = {"type": st.sampled_from(("seen", "read", "archive", "dismiss"))} | FEED
FRAMES = st.one_of(
    st.fixed_dictionaries({"type": st.just("auth"), "api_key": SHORT, "user": USERS}),
    st.fixed_dictionaries({"type": st.just("refresh"), "token": SHORT}, optional=REF),
    st.fixed_dictionaries(
        {"type": st.just("subscribe")} | FEED, optional=REF | LIMIT | {"cursor": CURSORS | st.none()}
    ),
    st.fixed_dictionaries({"type": st.just("unsubscribe")} | FEED, optional=REF),
    st.fixed_dictionaries(
        BY_IDS | {"ids": st.lists(st.text(max_size=70), min_size=1, max_size=8)}, optional=REF | {"op": SHORT}
    ),
    st.fixed_dictionaries(BY_CURSOR | {"upto": CURSORS}, optional=REF | {"op": SHORT, "topic": SHORT}),
    st.fixed_dictionaries(
        {"type": st.just("list")} | FEED,
        optional=REF
        | LIMIT
        | {
            "status": st.sampled_from(STATUSES),
            "archived": st.booleans(),
            "topic": SHORT,
            "created_after": TIMES,
            "created_before": TIMES,
            "after": TOKENS,
        },
    ),
    st.fixed_dictionaries({"type": st.just("ping")}, optional=REF),
    st.fixed_dictionaries({"type": st.just("pong")}),
)
KNOWN = sorted(Mark.__slots__ + Subscribe.__slots__ + Filters.__slots__ + Auth.__slots__ + ("type", "later"))
MUTATED = st.builds(
    lambda frame, more: frame | more, FRAMES, st.dictionaries(st.sampled_from(KNOWN), VALUES, max_size=3)
)


def outcome(message: str | bytes, protocol: str) -> ClientFrame | Broken | Malformed:
    try:
        return decode(message, protocol)
    except (Broken, Malformed) as error:
        return error


def judge(message: str | bytes, protocol: str) -> ClientFrame | None:
    """One of the three outcomes, or the test fails; what can be said about each of them is checked here."""
    match outcome(message, protocol):
        case Broken() as broken:
            assert broken.code is CloseCode.BAD_FRAME
            assert 0 < len(broken.reason.encode()) <= 123
        case Malformed() as refused:
            assert faults(refused)
            answer = json.dumps([refused.message, refused.details], ensure_ascii=False)
            assert len(answer.encode()) < HUB_FRAME_BYTES
            if refused.ref is not None:
                assert send("ping", ref=refused.ref) == Ping(refused.ref)
        case frame:
            return frame
    return None


def judge_in_both(message: str | bytes, protocol: str) -> None:
    """What one codec accepts, the other accepts as the same frame."""
    made = judge(message, protocol)
    if made is None:
        return
    if isinstance(message, str):
        again = decode(pack(json.loads(message)), MSGPACK_PROTOCOL, 2**20)
    else:
        again = decode(json.dumps(msgpack.unpackb(message)), JSON_PROTOCOL, 2**20)
    assert again == made


@fuzz
@given(st.binary(max_size=300))
@example(b"\x82\xa4type\xa4ping\x90\x01")
def test_any_bytes_have_one_of_three_outcomes(message: bytes) -> None:
    judge_in_both(message, MSGPACK_PROTOCOL)
    judge_in_both(message.decode("utf-8", "replace"), JSON_PROTOCOL)


@fuzz
@given(VALUES, st.booleans())
def test_any_json_value_has_one_of_three_outcomes(value: Any, escaped: bool) -> None:
    for fields in (value, {"type": "ping", "later": value}):
        judge_in_both(json.dumps(fields, ensure_ascii=escaped), JSON_PROTOCOL)


@fuzz
@given(PACKED)
def test_any_msgpack_value_has_one_of_three_outcomes(value: Any) -> None:
    for fields in (value, {"type": "ping", "later": value}):
        judge_in_both(pack(fields), MSGPACK_PROTOCOL)


@fuzz
@given(MUTATED, st.booleans())
def test_a_frame_with_some_fields_replaced_has_one_of_three_outcomes(frame: Any, escaped: bool) -> None:
    judge_in_both(json.dumps(frame, ensure_ascii=escaped), JSON_PROTOCOL)
    judge_in_both(pack(frame), MSGPACK_PROTOCOL)


@fuzz
@given(FRAMES.map(pack), st.data())
def test_a_frame_with_some_bytes_replaced_has_one_of_three_outcomes(packed: bytes, data: st.DataObject) -> None:
    mutable = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 4))):
        mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(st.integers(0, 255))
    judge_in_both(bytes(mutable), MSGPACK_PROTOCOL)


@fuzz
@given(FRAMES.map(json.dumps), st.data())
def test_a_frame_with_some_characters_replaced_has_one_of_three_outcomes(text: str, data: st.DataObject) -> None:
    mutable = list(text)
    for _ in range(data.draw(st.integers(1, 4))):
        mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(st.sampled_from('{}[]",:\\u0d8e-+. \ud800é'))
    judge_in_both("".join(mutable), JSON_PROTOCOL)


@fuzz
@given(FRAMES)
def test_a_frame_within_the_rules_is_accepted_by_both_codecs_alike(frame: dict[str, Any]) -> None:
    one, other = (decode(encode(frame, protocol), protocol) for protocol in PROTOCOLS)
    assert one == other
