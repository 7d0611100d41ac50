"""Every frame of the socket protocol, version 1 (`docs/protocol.md`).

Client frames arrive as dataclasses, made by `codec.decode`. Hub frames are built here as JSON text, entries
spliced in as the bytes they were published as; `Encoded` turns a frame into msgpack once, if anybody wants it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from hub.errors import CloseCode, Refused
from hub.model import Channel, Counts, Entry, Event, Filters, Marked, Page, micros_of, timestamp

JSON_PROTOCOL = "bellhub.v1.json"
MSGPACK_PROTOCOL = "bellhub.v1.msgpack"
PROTOCOLS = (JSON_PROTOCOL, MSGPACK_PROTOCOL)

FRAME_BYTES = 32 * 1024
"""Largest client frame."""
AUTH_BYTES = 8 * 1024
"""Largest first frame."""
TRANSPORT_BYTES = 64 * 1024
"""Beyond this the transport itself closes with 1009."""
HUB_FRAME_BYTES = 512 * 1024
"""Largest hub frame; a page ends early instead."""
_PAGE_BYTES = HUB_FRAME_BYTES - 4096
IDS = 500
"""Ids in one mark."""
CHANNELS = 16
"""Channels one session may follow."""
WAITING = 32
"""Frames of one session that may wait for an answer."""
PAGE = 100
"""Entries in one page."""
RETRY_MS = (500, 20_000)
"""Between which delays a client waits before it comes back, full jitter."""

Ref = str | int | None


# ---- client -> hub -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Auth:
    """Who I am. Exactly one of `token` and `user` (development mode only)."""

    api_key: str
    token: str | None = None
    user: str | None = None
    client: str | None = None
    """`name/version` of the client library, for the log."""


@dataclass(frozen=True, slots=True)
class Refresh:
    ref: Ref
    token: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    ref: Ref
    channel: str
    cursor: str | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    ref: Ref
    channel: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A state frame: one verb for `ids` (first mention first, no repeats) or for everything `upto` a cursor."""

    ref: Ref
    verb: str
    channel: str
    ids: tuple[str, ...] | None = None
    upto: str | None = None
    topic: str | None = None
    op: str | None = None


@dataclass(frozen=True, slots=True)
class List:
    ref: Ref
    channel: str
    filters: Filters


@dataclass(frozen=True, slots=True)
class Ping:
    ref: Ref


@dataclass(frozen=True, slots=True)
class Pong:
    pass


ClientFrame = Auth | Refresh | Subscribe | Unsubscribe | Mark | List | Ping | Pong


# ---- hub -> client -----------------------------------------------------------------------------------


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
"""Made once: `json.dumps` would make one for each call."""


def dumps(value: Any) -> str:
    """Compact JSON. Raises ValueError for NaN and infinities, which no frame may hold."""
    return _COMPACT.encode(value)


class Encoded:
    """One hub frame, encoded once per codec however many sessions it goes to."""

    __slots__ = ("_packed", "size", "text")

    size: int
    """Bytes of the JSON form; what the bounds of a session count."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text) if text.isascii() else len(text.encode())
        self._packed: bytes | None = None

    @property
    def packed(self) -> bytes:
        if self._packed is None:
            self._packed = msgpack.packb(json.loads(self.text))
        return self._packed


def _frame(kind: str, ref: Ref = None, **fields: Any) -> Encoded:
    head: dict[str, Any] = {"type": kind}
    if ref is not None:
        head["ref"] = ref
    return Encoded(dumps(head | fields))


def welcome(session: str, user: str, expires_at: str | None, ping_s: float) -> Encoded:
    limits = {"frame_bytes": FRAME_BYTES, "ids": IDS, "channels": CHANNELS, "waiting": WAITING, "page": PAGE}
    return _frame(
        "welcome",
        session=session,
        user=user,
        expires_at=expires_at,
        ping_s=ping_s,
        retry_ms=list(RETRY_MS),
        limits=limits,
    )


def _splice(kind: str, ref: Ref, channel: str, more: Iterable[str]) -> Encoded:
    """A frame some of whose fields are JSON text already."""
    head = f'{{"type":"{kind}",' + (f'"ref":{dumps(ref)},' if ref is not None else "") + f'"channel":"{channel}"'
    return Encoded(",".join((head, *more)) + "}")


def _page_fields(page: Page, upwards: bool = False) -> tuple[str, str]:
    """`entries` and `page`, ending early where the frame would grow too large (protocol, section 1).

    A page that was asked `before` something keeps the entries nearest to it, which are its last.
    """
    texts = [entry.json() for entry in page.entries]
    if sum(map(len, texts)) * 4 > _PAGE_BYTES:
        page, texts = _fitting(page, texts, upwards)
    return f'"entries":[{",".join(texts)}]', f'"page":{dumps(page_object(page))}'


def _fitting(page: Page, texts: list[str], upwards: bool) -> tuple[Page, list[str]]:
    left, room = 0, _PAGE_BYTES
    for text in reversed(texts) if upwards else texts:
        room -= len(text.encode()) + 1
        if room < 0:
            break
        left += 1
    if left == len(texts):
        return page, texts
    if upwards:
        kept = page.entries[-left:]
        return replace(page, entries=kept, before=kept[0].score), texts[-left:]
    kept = page.entries[:left]
    return replace(page, entries=kept, after=kept[-1].score), texts[:left]


def page_object(page: Page) -> dict[str, Any]:
    """The `page` of a list (protocol, section 4); its tokens are opaque, and null where nothing follows."""
    return {
        "after": page_token(page.after),
        "before": page_token(page.before),
        "has_more_after": page.after is not None,
        "has_more_before": page.before is not None,
        "limit": page.limit,
    }


def page_token(micros: int | None) -> str | None:
    return None if micros is None else f"p{micros:x}"


def subscribed(
    ref: Ref,
    channel: Channel,
    mode: str,
    cursor: str,
    counts: Counts,
    page: Page | None = None,
    missed: int = 0,
) -> Encoded:
    fields = [
        f'"channel_id":"{channel.id}"',
        f'"mode":"{mode}"',
        f'"cursor":"{cursor}"',
        f'"counts":{counts.json()}',
    ]
    if page is not None:
        fields.extend(_page_fields(page))
    if mode == "replay":
        fields.append(f'"missed":{missed}')
    return _splice("subscribed", ref, channel.handle, fields)


def event(ev: Event) -> Encoded:
    """`entry`, `state` or `gone`. Ids and handles are the hub's own and need no escaping."""
    fields = [f'"cursor":"{ev.cursor}"', f'"prev":"{ev.prev}"', f'"counts":{ev.counts.json()}']
    ids = '","'.join(ev.ids)
    match ev.kind:
        case "entry":
            fields.append(f'"entry":{Entry("", ev.body, micros_of(ev.cursor)).json()}')
        case "state":
            verbs = '","'.join(ev.verbs)
            by = f'"{ev.by}"' if ev.by else "null"
            at = timestamp(micros_of(ev.cursor))
            fields.append(f'"by":{by},"verbs":["{verbs}"],"at":"{at}","ids":["{ids}"]')
        case _:
            fields.append(f'"ids":["{ids}"],"reason":"{ev.reason}"')
    return _splice(ev.kind, None, ev.channel, fields)


def page_frame(ref: Ref, channel: str, page: Page, upwards: bool = False) -> Encoded:
    """`upwards`: the page was asked `before` something."""
    fields = (f'"cursor":"{page.cursor}"', f'"counts":{page.counts.json()}', *_page_fields(page, upwards))
    return _splice("page", ref, channel, fields)


def ack(ref: Ref, channel: str, marked: Marked) -> Encoded:
    changed = dumps(marked.changed)
    fields = [f'"cursor":"{marked.cursor}"', f'"changed":{changed}', f'"counts":{marked.counts.json()}']
    if marked.replayed:
        fields.append('"replayed":true')
    return _splice("ack", ref, channel, fields)


def error(ref: Ref, refused: Refused) -> Encoded:
    fields: dict[str, Any] = {
        "code": refused.code.value,
        "message": refused.message,
        "temporary": refused.temporary,
    }
    if refused.temporary:
        fields["retry_ms"] = RETRY_MS[0]
    if refused.details:
        fields["details"] = refused.details
    return _frame("error", ref, **fields)


def unsubscribed(ref: Ref, channel: str) -> Encoded:
    return _frame("unsubscribed", ref, channel=channel)


def refreshed(ref: Ref, expires_at: str | None) -> Encoded:
    return _frame("refreshed", ref, expires_at=expires_at)


def expiring(expires_at: str) -> Encoded:
    return _frame("expiring", expires_at=expires_at)


def pong(ref: Ref) -> Encoded:
    return _frame("pong", ref)


PING = _frame("ping")


def bye(code: CloseCode, reason: str, delay_ms: tuple[int, int]) -> Encoded:
    return _frame("bye", code=int(code), reason=reason, reconnect=code.reconnect, delay_ms=list(delay_ms))
