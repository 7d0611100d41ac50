"""Bytes of the socket to frames, and every limit on what a client may send (protocol, sections 1 and 3).

`decode` is on the path of every message: cheap checks come first, and a small flat frame is walked once.
There are three outcomes: a frame; `Malformed`, an `error` frame while the socket lives; `Broken`, its end.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import msgpack

from hub.errors import Broken, CloseCode, Code, Refused
from hub.frames import (
    AUTH_BYTES,
    FRAME_BYTES,
    IDS,
    JSON_PROTOCOL,
    PAGE,
    Auth,
    ClientFrame,
    List,
    Mark,
    Ping,
    Pong,
    Ref,
    Refresh,
    Subscribe,
    Unsubscribe,
)
from hub.keys import digest
from hub.model import CURSOR, STATUSES, USER_MAX, VERBS, Filters

NUMBER = 2**53 - 1
"""Beyond ± this a number is not exact in JavaScript."""
DEPTH = 16
"""Levels of lists and maps, the frame itself being the first."""
NAME = 64
"""Characters of a `ref`, an `op`, a channel's name."""
TOPIC = 255
API_KEY = 128
TOKEN = 8192
FAULTS = 16
"""Breaches of the text rules that one answer names; a frame has fewer known fields than that."""
REASON_BYTES = 123
"""What a close frame has room for (RFC 6455, section 5.5)."""

Fault = dict[str, str]
"""One wrong field: `field`, `message` and `reason`, as in the seed's error envelope."""

_PLAIN = frozenset((str, bool, type(None)))
_SECRET = frozenset(("token", "api_key"))
_NOT_WITH_UPTO = frozenset(("click", "unarchive"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PAGE_TOKEN = re.compile(r"p[0-9a-f]{1,13}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_SORTS = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
    list: "a list",
    dict: "a map",
    bytes: "binary data",
}


class Malformed(Refused):
    """A frame that is answered with `invalid_request` and `details.fields`. `ref` is its own, if usable."""

    def __init__(self, faults: list[Fault], ref: Ref = None) -> None:
        message = "; ".join(_sentence(fault) for fault in faults)
        super().__init__(Code.INVALID_REQUEST, message, fields=faults)
        self.ref = ref


def decode(message: str | bytes, protocol: str, limit: int = FRAME_BYTES) -> ClientFrame:
    """The frame that one WebSocket message holds.

    Raises `Broken` (4500) for what is no map with a string `type` in this subprotocol, and `Malformed` for a
    message over `limit` bytes, a breach of the text rules or wrong fields: all of them at once.
    """
    return _frame(*_load(message, protocol, limit))


def decode_first(message: str | bytes, protocol: str) -> Auth:
    """The `auth` that opens a socket. Raises `Broken` only: 4501 for wrong fields of an `auth`, else 4500."""
    try:
        frame, clean = _load(message, protocol, AUTH_BYTES)
    except Malformed as refused:
        raise _broken(refused.message) from None
    if frame["type"] != "auth":
        raise _broken(f"the first frame is {_show(frame['type'])}, not auth")
    try:
        fields = _Fields(frame, clean)
        auth = _auth(fields)
        fields.sound()
    except Malformed as refused:
        raise _broken(refused.message, CloseCode.BAD_TOKEN) from None
    return auth


def read_mark_all(value: object) -> tuple[str, str | None, str | None]:
    """Verb, `upto` and `topic` of a mark of everything, as HTTP asks for it. Unknown keys too raise `Malformed`."""
    if type(value) is not dict:
        raise Malformed([_fault("body", f"{_sort(value)}, not a map", "type")])
    fields = _Fields(value, False)
    for name in value:
        if name not in ("verb", "upto", "topic"):
            fields.refuse(_name(name), "unknown; known are verb, upto, topic", "unknown")
    verb = fields.one_of("verb", tuple(verb for verb in VERBS if verb not in _NOT_WITH_UPTO))
    if not fields.has("verb"):
        fields.refuse("verb", "required", "required")
    upto, topic = fields.cursor("upto"), fields.text("topic", TOPIC)
    fields.sound()
    return verb or "", upto, topic


def frame_digest(frame: Mark, handle: str) -> str:
    """What "the same frame" means for an `op` (protocol, section 1): `ref`, order and repeats do not count.

    `handle` is the channel's, because a frame may name the channel by its UUID as well.
    """
    if frame.ids is not None:
        return digest(frame.verb, handle, "ids", *sorted(set(frame.ids)))
    return digest(frame.verb, handle, "upto", frame.upto or "", frame.topic or "")


# ---- values: the same rules for the socket, REST and the command line ------------------------------------


def check_value(value: object, what: str, inside: int = 0) -> None:
    """The text rules of protocol section 1 for any decoded value, called `what` in the message.

    `inside`: how many levels of lists and maps will be around it on the wire. Raises `Refused`.
    """
    breach = _breach(value, inside)
    if breach is not None:
        raise _refused(_fault(what + breach[0], *breach[1:]))


def check_user(name: str) -> str:
    """A user name fit to be one: 1–256 characters, none of them a control character. Raises `Refused`."""
    if not 1 <= len(name) <= USER_MAX:
        raise _refused(_fault("user", *_bad_length(_show(name), len(name), USER_MAX)))
    if _CONTROL.search(name):
        raise _refused(_fault("user", f"{_show(name)} has a control character", "format"))
    check_value(name, "user")
    return name


def parse_timestamp(text: str) -> int:
    """µs since 1970 of an RFC 3339 time with `Z` or an offset; finer digits are cut. Raises ValueError."""
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{_show(text)} is not an RFC 3339 time with Z or an offset")
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MICRO
    except ValueError:
        raise ValueError(f"{_show(text)} is not a day of the calendar, years 0001 to 9999") from None


def parse_page_token(text: str) -> int:
    """µs of the entry that a page token of `frames.page_token` names. Raises ValueError."""
    if not _PAGE_TOKEN.fullmatch(text):
        raise ValueError(f"{_show(text)} is not a page token")
    return int(text[1:], 16)


def _breach(value: object, depth: int) -> tuple[str, str, str] | None:
    """The first breach of the text rules: path from `value`, message, reason. `depth`: levels around it."""
    match value:
        case None | bool():
            return None
        case str():
            return _lone_surrogate(value)
        case int() | float():
            # Written so that NaN, which compares with nothing, is refused too.
            return None if -NUMBER <= value <= NUMBER else ("", f"{_show(value)} is beyond ±{NUMBER}", "range")
        case dict() | list() if depth >= DEPTH:
            return "", f"depth {depth + 1}, at most {DEPTH}", "depth"
        case dict():
            return _breach_in_map(value, depth + 1)
        case list():
            return _breach_in_list(value, depth + 1)
        case _:
            return "", f"{_sort(value)} has no form in JSON", "type"


def _lone_surrogate(text: str) -> tuple[str, str, str] | None:
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return "", f"a lone surrogate at character {error.start}", "text"
    return None


def _breach_in_map(value: dict[object, object], depth: int) -> tuple[str, str, str] | None:
    for key, item in value.items():
        if type(key) is not str:
            return "", f"key {_show(key)} is not a string", "key"
        if type(item) is str and key.isascii() and item.isascii():
            continue  # most of what is sent
        breach = _lone_surrogate(key) or _breach(item, depth)
        if breach is not None:
            return f".{_name(key)}{breach[0]}", *breach[1:]
    return None


def _breach_in_list(value: list[object], depth: int) -> tuple[str, str, str] | None:
    for place, item in enumerate(value):
        breach = _breach(item, depth)
        if breach is not None:
            return f"[{place}]{breach[0]}", *breach[1:]
    return None


# ---- bytes to a map --------------------------------------------------------------------------------------


def _load(message: str | bytes, protocol: str, limit: int) -> tuple[dict[Any, Any], bool]:
    """A map with a string `type`, and whether no string in it can hold a lone surrogate."""
    value, clean = (_load_json if protocol == JSON_PROTOCOL else _load_msgpack)(message, limit)
    if type(value) is not dict:
        raise _broken(f"{_sort(value)}, not a map")
    if type(value.get("type")) is not str:
        raise _broken("no string type")
    return value, clean


def _load_json(message: str | bytes, limit: int) -> tuple[object, bool]:
    if not isinstance(message, str):
        raise _broken("a binary message, this subprotocol takes text")
    size, clean = _measure(message)
    _check_size(size, limit)
    try:
        return _json(message), clean
    except json.JSONDecodeError as error:
        raise _broken(f"bad JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _broken("bad JSON: nested too deeply") from None
    except ValueError:
        # A number of thousands of digits: Python does not even convert it (CVE-2020-10735).
        raise Malformed([_fault("frame", f"a number is beyond ±{NUMBER}", "range")]) from None


def _measure(message: str) -> tuple[int, bool]:
    """Its size in bytes, and whether no string in it can hold a lone surrogate, raw or escaped."""
    if message.isascii():
        return len(message), "\\u" not in message
    try:
        return len(message.encode()), "\\u" not in message
    except UnicodeEncodeError:
        return len(message.encode(errors="surrogatepass")), False


def _not_json(word: str) -> NoReturn:
    raise _broken(f"bad JSON: {word}")


_json = json.JSONDecoder(parse_constant=_not_json).decode


def _load_msgpack(message: str | bytes, limit: int) -> tuple[object, bool]:
    if not isinstance(message, bytes):
        raise _broken("a text message, this subprotocol takes binary")
    _check_size(len(message), limit)
    try:
        # A list is allocated by the length it claims: a thousand nested claims of 32,767 would take 80 ms.
        return msgpack.unpackb(message, max_array_len=IDS), True
    except ValueError:
        return _load_odd_msgpack(message), False


def _load_odd_msgpack(message: bytes) -> object:
    """For long lists, odd keys and lone surrogates, which are answered by the rules; else raises `Broken`."""
    try:
        # Building nothing, this proves that the bytes hold as many values as they claim.
        walker = msgpack.Unpacker(max_buffer_size=len(message) or 1)
        walker.feed(message)
        walker.skip()
        return msgpack.unpackb(message, strict_map_key=False, unicode_errors="surrogatepass")
    except TypeError:
        raise Malformed([_fault("frame", "a key is a list or a map, not a string", "key")]) from None
    except msgpack.OutOfData:
        raise _broken("bad msgpack: it ends early") from None
    except msgpack.StackError:
        raise _broken("bad msgpack: nested too deeply") from None
    except ValueError as error:
        raise _broken(f"bad msgpack: {str(error) or 'an unknown code'}") from None


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Malformed([_fault("frame", f"{size} bytes, at most {limit}", "too_large")])


# ---- a map to a frame ------------------------------------------------------------------------------------


def _frame(frame: dict[Any, Any], clean: bool) -> ClientFrame:
    fields = _Fields(frame, clean)
    made = _made(frame["type"], fields)
    fields.sound()
    return made


def _made(kind: str, fields: "_Fields") -> ClientFrame:
    """The frame of this type; its values mean something only if `fields` turn out to be sound."""
    match kind:
        case verb if verb in VERBS:
            return _mark(verb, fields)
        case "ping":
            return Ping(fields.ref())
        case "pong":
            return Pong()
        case "subscribe":
            return Subscribe(fields.ref(), fields.channel(), fields.cursor("cursor"), fields.limit())
        case "unsubscribe":
            return Unsubscribe(fields.ref(), fields.channel())
        case "list":
            return List(fields.ref(), fields.channel(), _filters(fields))
        case "refresh":
            return Refresh(fields.ref(), fields.need("token", TOKEN))
        case "auth":
            return _auth(fields)
        case _:
            fields.refuse("type", f"{_show(kind)} is unknown", "unknown")
            return Pong()


def _auth(fields: "_Fields") -> Auth:
    auth = Auth(fields.need("api_key", API_KEY), fields.text("token", TOKEN), fields.user(), fields.client())
    if fields.has("token") and fields.has("user"):
        fields.refuse("user", "both token and user, exactly one of them", "exclusive")
    if not fields.has("token") and not fields.has("user"):
        fields.refuse("token", "neither token nor user, exactly one of them", "required")
    return auth


def _mark(verb: str, fields: "_Fields") -> Mark:
    ids, upto, topic = fields.ids(), fields.cursor("upto"), fields.text("topic", TOPIC)
    if fields.has("upto"):
        if fields.has("ids"):
            fields.refuse("upto", "both ids and upto, exactly one of them", "exclusive")
        if verb in _NOT_WITH_UPTO:
            fields.refuse("upto", f"not with {verb}", "exclusive")
    else:
        if not fields.has("ids"):
            fields.refuse("ids", "neither ids nor upto, exactly one of them", "required")
        if topic is not None:
            fields.refuse("topic", "only with upto", "exclusive")
    return Mark(fields.ref(), verb, fields.channel(), ids, upto, topic, fields.text("op", NAME))


def _filters(fields: "_Fields") -> Filters:
    if fields.has("after") and fields.has("before"):
        fields.refuse("before", "both after and before, at most one of them", "exclusive")
    return Filters(
        status=fields.one_of("status", STATUSES),
        archived=fields.flag("archived"),
        topic=fields.text("topic", TOPIC),
        created_after=fields.time("created_after"),
        created_before=fields.time("created_before"),
        after=fields.page_token("after"),
        before=fields.page_token("before"),
        limit=fields.limit(),
    )


class _Fields:
    """The fields of one frame, read one by one. What is wrong is gathered so that one answer names it all.

    A null is an absent field. A reader that meets a wrong value notes it and returns a placeholder, which
    never leaves this module: `sound` raises. Only the first fault of a field is kept.
    """

    __slots__ = ("frame", "wrong")

    def __init__(self, frame: dict[Any, Any], clean: bool) -> None:
        self.frame = frame
        self.wrong: dict[str, Fault] = {}
        for name, value in frame.items():
            if clean and type(name) is str:
                kind = type(value)
                if kind in _PLAIN or (kind is int and -NUMBER <= value <= NUMBER):
                    continue
                if kind is list and _PLAIN.issuperset(map(type, value)):
                    continue
            self._check_text(name, value)

    def _check_text(self, name: object, value: object) -> None:
        breach = _breach_in_map({name: value}, 1)
        if breach is not None and len(self.wrong) < FAULTS:
            self.wrong[_name(name)] = _fault(breach[0].removeprefix(".") or "frame", *breach[1:])

    def sound(self) -> None:
        """Raises `Malformed` if anything was wrong so far."""
        if self.wrong:
            ref = self.frame.get("ref")
            usable = _is_ref(ref) and _breach(ref, 1) is None
            raise Malformed(list(self.wrong.values()), ref if usable else None)

    def refuse(self, name: str, message: str, reason: str, inner: str = "") -> None:
        if name not in self.wrong:
            self.wrong[name] = _fault(name + inner, message, reason)

    def has(self, name: str) -> bool:
        return self.frame.get(name) is not None

    def text(self, name: str, most: int) -> str | None:
        value = self.frame.get(name)
        if value is None or (type(value) is str and 0 < len(value) <= most):
            return value
        shown = _sort(value) if name in _SECRET else _show(value)
        self.refuse(name, *_bad_text(shown, value, most))
        return None

    def need(self, name: str, most: int) -> str:
        value = self.text(name, most)
        if value is None:
            self.refuse(name, "required", "required")
        return value or ""

    def ref(self) -> Ref:
        value: Ref = self.frame.get("ref")
        if value is None or _is_ref(value):
            return value
        self.refuse("ref", f"{_show(value)} is no string of 1 to {NAME} characters, nor an integer", "type")
        return None

    def channel(self) -> str:
        return self.need("channel", NAME)

    def cursor(self, name: str) -> str | None:
        value = self.frame.get(name)
        if value is None or (type(value) is str and CURSOR.fullmatch(value)):
            return value
        self.refuse(name, f"{_show(value)} is not a cursor", "format")
        return None

    def limit(self) -> int:
        value = self.frame.get("limit")
        if value is None:
            return 20
        if type(value) is int and 1 <= value <= PAGE:
            return value
        self.refuse("limit", f"{_show(value)} is no integer from 1 to {PAGE}", "range")
        return 20

    def ids(self) -> tuple[str, ...] | None:
        """Any strings: whether one names an entry is for the store to say (protocol, section 3)."""
        value = self.frame.get("ids")
        if value is None:
            return None
        if type(value) is not list:
            self.refuse("ids", f"{_show(value)} is no list of 1 to {IDS} ids", "type")
        elif not value:
            self.refuse("ids", "0 ids, at least 1", "length")
        elif len(value) > IDS:
            self.refuse("ids", f"{len(value)} ids, at most {IDS}", "length")
        elif set(map(type, value)) != {str}:
            place, wrong = next((at, item) for at, item in enumerate(value) if type(item) is not str)
            self.refuse("ids", f"{_show(wrong)} is not a string", "type", f"[{place}]")
        else:
            return tuple(dict.fromkeys(value))
        return None

    def one_of(self, name: str, words: tuple[str, ...]) -> str | None:
        value = self.frame.get(name)
        if value is None or (type(value) is str and value in words):
            return value
        self.refuse(name, f"{_show(value)} is none of {', '.join(words)}", "format")
        return None

    def flag(self, name: str) -> bool:
        value = self.frame.get(name)
        if value is None or type(value) is bool:
            return value or False
        self.refuse(name, f"{_show(value)} is neither true nor false", "type")
        return False

    def time(self, name: str) -> int | None:
        text = self.text(name, NAME)
        try:
            return None if text is None else parse_timestamp(text)
        except ValueError as error:
            self.refuse(name, str(error), "format")
            return None

    def page_token(self, name: str) -> int | None:
        text = self.text(name, NAME)
        try:
            return None if text is None else parse_page_token(text)
        except ValueError as error:
            self.refuse(name, str(error), "format")
            return None

    def user(self) -> str | None:
        value = self.text("user", USER_MAX)
        try:
            return None if value is None else check_user(value)
        except Refused as refused:
            self.wrong.setdefault("user", refused.details["fields"][0])
            return None

    def client(self) -> str | None:
        value = self.frame.get("client")
        if value is None:
            return None
        if type(value) is not dict:
            self.refuse("client", f"{_show(value)} is no map of name and version", "type")
            return None
        for part in ("name", "version"):
            text = value.get(part)
            if type(text) is not str or not 0 < len(text) <= NAME:
                self.refuse("client", *_bad_text(_show(text), text, NAME), f".{part}")
            elif _CONTROL.search(text):  # it goes into the log
                self.refuse("client", f"{_show(text)} has a control character", "format", f".{part}")
        return f"{value.get('name')}/{value.get('version')}"


def _is_ref(value: object) -> bool:
    return type(value) is int or (type(value) is str and 0 < len(value) <= NAME)


# ---- words for what is wrong -----------------------------------------------------------------------------


def _fault(field: str, message: str, reason: str) -> Fault:
    return {"field": field, "message": message, "reason": reason}


def _sentence(fault: Fault) -> str:
    return fault["message"] if fault["field"] == "frame" else f"{fault['field']}: {fault['message']}"


def _refused(fault: Fault) -> Refused:
    return Refused(Code.INVALID_REQUEST, _sentence(fault), fields=[fault])


def _broken(reason: str, code: CloseCode = CloseCode.BAD_FRAME) -> Broken:
    return Broken(code, reason.encode()[:REASON_BYTES].decode(errors="ignore"))


def _bad_text(shown: str, value: object, most: int) -> tuple[str, str]:
    if type(value) is str:
        return _bad_length(shown, len(value), most)
    return f"{shown} is no string of 1 to {most} characters", "type"


def _bad_length(shown: str, length: int, most: int) -> tuple[str, str]:
    bound = f"at most {most}" if length else "at least 1"
    return f"{shown} has {length} characters, {bound}", "length"


def _sort(value: object) -> str:
    return _SORTS.get(type(value), "an extension value")


def _show(value: object) -> str:
    """A value in a message: short, printable, without lone surrogates, whatever it is."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return repr(value) if len(value) <= 32 else f"{value[:32]!r}…"
        case int() | float():
            text = repr(value)
            return text if len(text) <= 32 else f"{text[:32]}…"
        case list() | dict():
            return f"{_sort(value)} of {len(value)}"
        case _:
            return _sort(value)


def _name(key: object) -> str:
    """A map's key in the path of a fault."""
    return key if isinstance(key, str) and 0 < len(key) <= NAME and key.isprintable() else _show(key)
