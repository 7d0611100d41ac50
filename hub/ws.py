"""The socket's door: `GET /ws/v1`. A thin layer of ASGI around `Session`."""

import asyncio
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from hub.frames import MSGPACK_PROTOCOL, PROTOCOLS, Encoded
from hub.session import Gone, Session, Surroundings


class _Socket:
    """A Starlette WebSocket as the transport of a session."""

    def __init__(self, socket: WebSocket, protocol: str) -> None:
        self._socket = socket
        self._packed = protocol == MSGPACK_PROTOCOL

    async def send(self, frame: Encoded) -> None:
        try:
            if self._packed:
                await self._socket.send_bytes(frame.packed)
            else:
                await self._socket.send_text(frame.text)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise Gone from error

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._socket.close(code, reason.encode()[:120].decode(errors="ignore"))  # RFC 6455, section 5.5
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise Gone from error


def socket_route(around: Callable[[], Surroundings]) -> WebSocketRoute:
    """The route of the socket; `around` is asked once a connection."""

    async def endpoint(socket: WebSocket) -> None:
        if around().registry.draining:
            busy = PlainTextResponse("this hub is going away\n", 503, {"retry-after": "1"})
            await socket.send_denial_response(busy)
            return
        protocol = _chosen(socket)
        if protocol is None:
            offered = ", ".join(socket.scope["subprotocols"])[:200]
            await socket.send_denial_response(
                PlainTextResponse(f"none of the subprotocols is known: {offered}\n", status_code=400)
            )
            return
        await socket.accept(subprotocol=protocol if socket.scope["subprotocols"] else None)
        task = asyncio.current_task()
        assert task is not None
        session = Session(around(), _Socket(socket, protocol), protocol, _origin(socket), abort=task.cancel)
        try:
            await _read(socket, session)
        except asyncio.CancelledError:
            if not session.aborted:
                raise
        finally:
            await session.finish()

    return WebSocketRoute("/ws/v1", endpoint)


async def _read(socket: WebSocket, session: Session) -> None:
    """Messages into the session until the socket has ended; after a close they are taken and dropped."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        await session.receive(message["bytes"] if text is None else text)


def _chosen(socket: WebSocket) -> str | None:
    """The first known subprotocol in the client's order; JSON when it offers none; None when it knows none."""
    offered = socket.scope["subprotocols"]
    if not offered:
        return PROTOCOLS[0]
    return next((protocol for protocol in offered if protocol in PROTOCOLS), None)


def _origin(connection: HTTPConnection) -> str | None:
    return connection.headers.get("origin")
