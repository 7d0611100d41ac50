"""A client and a producer as the protocol wants them (`docs/protocol.md`), which never give up, and one client that
never reads; `verdict` judges what they were told.

The follower comes back with its cursor whenever it is cut, and sends what was not acknowledged again with the same
`op`. The producer sends again with the same Idempotency-Key.
"""

import asyncio
import base64
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import httpx2
import websockets

from tests.harness import Client, Doors
from tests.judge import EVENTS, Connection, Feed, Frame, Record, fold, judge
from tests.proxy import frame_end

PATIENCE_S = 30.0
RETRY_S = 0.1
INBOX = "/user/v1/channels/inbox/feed/entries"


class Follower:
    """Follows `inbox` until it leaves, whatever happens to its sockets. Use as an async context.

    `port` is asked at each connection; `cursor` is where it goes on. `connections` is its record for the judge.
    """

    def __init__(
        self,
        doors: Doors,
        user: str,
        *,
        port: Callable[[], int] | None = None,
        protocol: str | None = None,
        cursor: str | None = None,
    ) -> None:
        self.cursor = cursor
        self.modes: list[str] = []
        """Of every `subscribed` so far."""
        self.errors: list[Frame] = []
        self.connections: list[Connection] = []
        self.closed: list[int | None] = []
        """Close codes of the sockets that ended."""
        self._doors = doors
        self._user = user
        self._port = port or (lambda: doors.port)
        self._protocol = protocol
        self._client: Client | None = None
        self._missed = 0
        self._unacknowledged: dict[str, tuple[str, Frame]] = {}
        self._answers: dict[str, asyncio.Future[Frame]] = {}
        self._changed = asyncio.Condition()
        self._life: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Follower":
        self._life = asyncio.create_task(self._live())
        await self.until(lambda: self.modes != [])
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._life is not None
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    @property
    def frames(self) -> list[Frame]:
        """Every frame of every socket, in order."""
        return [frame for connection in self.connections for frame in connection.frames]

    @property
    def events(self) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] in EVENTS]

    async def until(self, good: Callable[[], bool]) -> None:
        """Waits for something that frames, or the end of a socket, bring about."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(good)

    async def reach(self, cursor: str) -> None:
        """Waits until it has been told everything up to there, and nothing else."""
        try:
            await self.until(lambda: self.cursor == cursor and not self._missed)
        except TimeoutError:
            raise AssertionError(f"{self._user} is at {self.cursor}, not at {cursor}: {self.frames[-3:]}") from None

    async def mark(self, verb: str, op: str, **fields: Any) -> Frame:
        """Sends a state frame until it is acknowledged, or refused for good; that answer."""
        answer = self._answers[op] = asyncio.get_running_loop().create_future()
        self._unacknowledged[op] = verb, {"channel": "inbox", "op": op, "ref": op} | fields
        await self._mark_again(op)
        async with asyncio.timeout(PATIENCE_S):
            return await answer

    async def ask(self, kind: str, **fields: Any) -> Frame:
        """One frame and its answer, on the socket that is open now."""
        assert self._client is not None
        return await self._client.ask(kind, **fields)

    async def _live(self) -> None:
        while True:
            options: dict[str, Any] = {"port": self._port(), "protocol": self._protocol, "subscribe": False}
            try:
                self._client = await self._doors.connect(self._user, **options)
            except (OSError, EOFError, AssertionError, websockets.WebSocketException):
                await asyncio.sleep(0.02)
                continue
            self.connections.append(Connection(self._client.frames, self.cursor))
            await self._subscribe()
            for op in list(self._unacknowledged):
                await self._mark_again(op)
            async for frame in self._client:
                await self._heard(frame)
            async with self._changed:
                self.closed.append(self._client.closed.result())
                self.connections[-1].open = False
                self._changed.notify_all()

    async def _heard(self, frame: Frame) -> None:
        async with self._changed:
            if frame["type"] == "subscribed":
                self.modes.append(frame["mode"])
                self._missed = frame.get("missed", 0)
            if frame["type"] in EVENTS:
                self._missed = max(self._missed - 1, 0)
            if frame["type"] in EVENTS or frame.get("mode") in ("live", "snapshot"):
                self.cursor = frame["cursor"]
            self._changed.notify_all()
        if frame["type"] in ("ack", "error"):
            await self._answered(frame)

    async def _answered(self, frame: Frame) -> None:
        ref = frame.get("ref")
        if frame["type"] == "error":
            self.errors.append(frame)
        if frame.get("temporary"):
            await asyncio.sleep(RETRY_S)
            await (self._subscribe() if ref == "subscribe" else self._mark_again(ref))
        elif ref in self._unacknowledged:
            del self._unacknowledged[ref]
            self._answers.pop(ref).set_result(frame)

    async def _subscribe(self) -> None:
        cursor = {} if self.cursor is None else {"cursor": self.cursor}
        await self._say("subscribe", ref="subscribe", channel="inbox", limit=100, **cursor)

    async def _mark_again(self, op: str | None) -> None:
        if op in self._unacknowledged:
            verb, frame = self._unacknowledged[op]
            await self._say(verb, **frame)

    async def _say(self, kind: str, **fields: Any) -> None:
        try:
            if self._client is not None:
                await self._client.send(kind, **fields)
        except websockets.ConnectionClosed:
            pass  # said again on the next socket


class Mute:
    """A client that speaks and never reads, until `rest`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, doors: Doors, user: str) -> "Mute":
        """One that has authenticated and subscribed; it has not seen the answers."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        mute = cls(connection)
        await mute._loop.sock_connect(connection, ("127.0.0.1", doors.port))
        key = base64.b64encode(os.urandom(16)).decode()
        head = "GET /ws/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        await mute._loop.sock_sendall(connection, head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await mute._loop.sock_recv(connection, 1)
        await mute.say({"type": "auth", "api_key": doors.api_key, "token": doors.token(user)})
        await mute.say({"type": "subscribe", "ref": "s", "channel": "inbox"})
        return mute

    async def say(self, frame: Frame) -> None:
        """Raises OSError once the hub has dropped the connection."""
        body = json.dumps(frame).encode()
        assert len(body) < 65536
        size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + len(body).to_bytes(2)
        # Masked with zeros, which leave it as it is (RFC 6455, section 5.3).
        await self._loop.sock_sendall(self._socket, b"\x81" + size + bytes(4) + body)

    async def rest(self) -> tuple[list[Frame], int | None, int]:
        """Reads now, to the end: the whole frames, the close code (None: just dropped) and the number of bytes."""
        frames: list[Frame] = []
        data, at = b"", 0
        async with asyncio.timeout(10):
            with suppress(ConnectionError), self._socket:
                while chunk := await self._loop.sock_recv(self._socket, 1 << 16):
                    data += chunk
                    while (end := frame_end(data, at)) is not None:
                        payload = data[at + (2 if data[at + 1] < 126 else 4 if data[at + 1] == 126 else 10) : end]
                        if data[at] == 0x88:
                            return frames, int.from_bytes(payload[:2]), len(data)
                        frames.append(json.loads(payload))
                        at = end
        return frames, None, len(data)


class Producer:
    """Sends over REST and keeps what the hub acknowledged. Use as an async context."""

    def __init__(self, doors: Doors) -> None:
        self.acknowledged: dict[str, tuple[str, str]] = {}
        """Title: user and entry id."""
        self.unanswered: set[str] = set()
        """Titles that were sent once, without a key, and not acknowledged: they may be there or not."""
        self._doors = doors

    async def __aenter__(self) -> "Producer":
        self._http = self._doors.http()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    async def send(self, user: str, title: str) -> str:
        """With an Idempotency-Key (the title), again and again until the hub accepts it; the id."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                entry_id = await self._send(user, title, {"idempotency-key": title})
                if entry_id is not None:
                    return entry_id
                await asyncio.sleep(RETRY_S)

    async def send_once(self, user: str, title: str) -> str | None:
        """Without a key, once; the id, or None when it was not acknowledged."""
        entry_id = await self._send(user, title, {})
        if entry_id is None:
            self.unanswered.add(title)
        return entry_id

    async def _send(self, user: str, title: str, headers: dict[str, str]) -> str | None:
        body = {"category": "test", "target": {"type": "user", "id": user}, "title": title}
        try:
            answer = await self._http.post(
                "/v1/messaging/notifications", json=body, headers=self._doors.producer | headers
            )
        except httpx2.TransportError:
            return None
        if answer.status_code != 202:
            assert answer.status_code == 503, answer.text
            return None
        self.acknowledged[title] = user, str(answer.json()["id"])
        return self.acknowledged[title][1]

    def sent_to(self, user: str) -> list[str]:
        """Ids that were acknowledged."""
        return [entry_id for name, entry_id in self.acknowledged.values() if name == user]


# ---- the end of each test ----------------------------------------------------------------------------


async def everything(doors: Doors, user: str, **query: str) -> tuple[list[Frame], Frame]:
    """All pages of the user's feed over REST, and the last answer, whose counts are those of the feed."""
    items: list[Frame] = []
    answer: Frame = {}
    async with doors.http() as http:
        while not answer or answer["page"]["has_more_after"]:
            after = {"after": answer["page"]["after"]} if answer else {}
            response = await http.get(INBOX, params={"limit": "100"} | query | after, headers=doors.user_headers(user))
            assert response.status_code == 200, response.text
            answer = response.json()
            items += answer["items"]
    return items, answer


async def verdict(
    doors: Doors,
    user: str,
    producer: Producer,
    *followers: Follower,
    more: Iterable[str] = (),
    announced: Iterable[str] = (),
) -> Record:
    """Waits until all is quiet, then has the judge find nothing wrong; the record.

    The first follower must have followed from the start. `more`: ids that were sent in other ways;
    `announced` to everybody.
    """
    more = [*more, *announced]
    async with Follower(doors, user) as fresh:
        assert fresh.cursor is not None
        for follower in followers:
            await follower.reach(fresh.cursor)
        items, last = await everything(doors, user, archived="true")
        dismissed, _ = await everything(doors, user, status="dismissed")
        record = Record(
            sessions=[follower.connections for follower in (*followers, fresh)],
            sent=[*producer.sent_to(user), *more],
            withdrawn=[],
            announced=frozenset(announced),
            items=items,
            dismissed=dismissed,
            total_unseen=last["total_unseen"],
            total_unread=last["total_unread"],
            unanswered=bool(producer.unanswered),
        )
        findings = judge(record)
    assert findings == [], "\n".join(findings[:10])
    titles = Counter(item["data"]["title"] for item in [*items, *dismissed] if item["id"] not in set(more))
    assert [title for title, count in titles.items() if count > 1] == [], "sent once, there twice"
    assert titles.keys() <= producer.acknowledged.keys() | producer.unanswered
    return record


def held(follower: Follower) -> Feed:
    """What a follower holds, for feeds whose store has lost something, which are none for the judge."""
    feed: Feed = {}
    for frame in follower.frames:
        if frame.get("mode") == "snapshot":
            feed = {entry["id"]: entry for entry in reversed(frame["entries"])}
        elif frame["type"] in EVENTS:
            feed = fold(feed, frame)
    return feed
