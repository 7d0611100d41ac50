"""The floor that Python sets: the same frames to the same sockets, with nothing in between.

A raw `asyncio.Protocol` that writes one ready frame to each recipient. It believes every token, stores nothing,
asks no Redis, and knows only what the load client says. `python -m tests.bench.reference PORT`
"""

import asyncio
import base64
import hashlib
import json
import sys
from collections import defaultdict
from typing import Any, cast

from tests.bench.load import notification, read_pipe_door, run

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
_AT = "2026-01-01T00:00:00.000Z"
_COUNTS = {"unseen": 1, "unread": 1, "total": 1}


def frame(payload: bytes) -> bytes:
    """A server's text frame."""
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2)) + payload


def _ready_entry() -> str:
    """An `entry` frame with the hub's fields, but for its cursor and its number."""
    sent = notification("-", 0)
    entry = {
        "id": "@cursor",
        "notiflow_handle": sent["category"],
        "category": sent["category"],
        "priority": "normal",
        "topic": sent["topic"],
        "actor": dict.fromkeys(("id", "external_id", "first_name", "last_name", "email", "avatar"), "x" * 16),
        "resource": None,
        "data": {"n": "@n", "title": sent["title"], "body": sent["body"], "action_url": sent["url"]},
        "expires_at": None,
        **dict.fromkeys(("created_at", "sent_at"), _AT),
        **dict.fromkeys(("seen_at", "read_at", "clicked_at", "archived_at", "dismissed_at")),
        "status": "unseen",
    }
    event = {"type": "entry", "channel": "inbox", "cursor": "@cursor", "prev": "@cursor", "counts": _COUNTS}
    return json.dumps(event | {"entry": entry}, separators=(",", ":"))


class Reference:
    """Who is connected, and the one counter that cursors are made of."""

    def __init__(self) -> None:
        self._rooms: defaultdict[str, list[asyncio.Transport]] = defaultdict(list)
        self._events = 0
        self._ready = _ready_entry()

    def enter(self, user: str, transport: asyncio.Transport) -> None:
        self._rooms[user].append(transport)

    def leave(self, user: str, transport: asyncio.Transport) -> None:
        self._rooms[user].remove(transport)

    def send(self, user: str, number: int) -> None:
        self._tell(user, self._ready.replace("@cursor", self._cursor()).replace('"@n"', str(number)))

    def mark(self, user: str, transport: asyncio.Transport, asked: dict[str, Any]) -> None:
        what = f'"channel":"inbox","cursor":"{self._cursor()}","counts":{{"unseen":1,"unread":1,"total":1}}'
        ids = f'["{asked["ids"][0]}"]'
        transport.write(frame(f'{{"type":"ack","ref":{asked["ref"]},{what},"changed":{ids}}}'.encode()))
        self._tell(user, f'{{"type":"state",{what},"by":null,"verbs":["{asked["type"]}"],"at":"{_AT}","ids":{ids}}}')

    def _cursor(self) -> str:
        self._events += 1
        return f"{self._events:016d}-1"

    def _tell(self, user: str, text: str) -> None:
        ready = frame(text.encode())
        for transport in self._rooms[user]:
            transport.write(ready)


class Connection(asyncio.Protocol):
    """HTTP until somebody upgrades, WebSocket from then on."""

    __slots__ = ("_reference", "_rest", "_transport", "_upgraded", "_user")

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._rest = b""
        self._upgraded = False
        self._user: str | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._user is not None:
            self._reference.leave(self._user, self._transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        self._rest = self._frames(data) if self._upgraded else self._request(data)

    def _request(self, data: bytes) -> bytes:
        head, done, body = data.partition(b"\r\n\r\n")
        length = _header(head, b"Content-Length")
        if not done or len(body) < int(length or 0):
            return data
        if head.startswith(b"POST"):
            asked = json.loads(body)
            self._reference.send(asked["target"]["id"], asked["data"]["n"])
            self._transport.write(b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"enqueued": 1}')
        elif key := _header(head, b"Sec-WebSocket-Key"):
            self._upgraded = True
            self._transport.write(_accept(key))
        else:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return b""

    def _frames(self, data: bytes) -> bytes:
        while len(data) >= 6:
            size, head = data[1] & 0x7F, 2
            if size == 126:
                size, head = int.from_bytes(data[2:4]), 4
            end = head + 4 + size
            if len(data) < end:
                break
            if data[0] & 0x0F == 1:
                self._frame(unmasked(data[head : head + 4], data[head + 4 : end]))
            data = data[end:]
        return data

    def _frame(self, payload: bytes) -> None:
        asked = json.loads(payload)
        match asked["type"]:
            case "auth":
                self._user = _believed_user(asked["token"])
                self._reference.enter(self._user, self._transport)
                self._transport.write(frame(b'{"type":"welcome"}'))
            case "subscribe":
                self._transport.write(frame(b'{"type":"subscribed"}'))
            case "archive" | "unarchive":
                assert self._user is not None
                self._reference.mark(self._user, self._transport, asked)


def unmasked(mask: bytes, payload: bytes) -> bytes:
    """RFC 6455, section 5.3, as one long XOR."""
    size = len(payload)
    long_mask = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(long_mask)).to_bytes(size)


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(name + b": ")[2].partition(b"\r\n")[0]


def _accept(key: bytes) -> bytes:
    digest = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return upgrade + b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"


def _believed_user(token: str) -> str:
    claims = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"])


async def serve(port: int) -> None:
    reference = Reference()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(reference), "127.0.0.1", port, backlog=2048)
    read_pipe_door(reference.send)
    await server.serve_forever()


if __name__ == "__main__":
    run(serve(int(sys.argv[1])))
