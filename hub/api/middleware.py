"""What happens to every HTTP request before it reaches a door: an id, a path whose segments hold what they held."""

import re
import secrets
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.auth import loopback_origin

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestIds:
    """Gives every HTTP request an id: the caller's `x-request-id` where it is fit to print, else a fresh one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        # The root of this application, which routes further down no longer know when it is mounted in another one.
        scope.setdefault("state", {}).update(request_id=request_id, root=scope.get("root_path", ""))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


class Segments:
    """Keeps an encoded slash inside its segment of the path: an id may hold one (RFC 3986, section 2.2).

    ASGI servers decode the path before it is split. Here `/` and `%` of a segment stay encoded; doors decode what they
    find in it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("%" in scope["path"] or b"%" in (scope.get("raw_path") or b"")):
            segments = _segments(scope["path"], scope.get("raw_path"))
            path = "/".join(text.replace("%", "%25").replace("/", "%2F") for text in segments)
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


def _segments(path: str, raw_path: bytes | None) -> list[str]:
    """Decoded. `raw_path` is optional in ASGI, and not the same address where somebody around has changed `path`."""
    raw = (raw_path or b"").decode("latin-1")
    return [unquote(text) for text in raw.split("/")] if unquote(raw) == path else path.split("/")


class LocalPages:
    """Development mode: answers 403 to pages of other machines, whose requests a browser here would carry in.

    The socket does the same with close code 4503, which browsers can see.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None or loopback_origin(origin):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(f"origin {origin[:100]!r} is not allowed\n", 403)(scope, receive, send)
