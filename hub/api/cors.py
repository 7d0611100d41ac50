"""Which browsers' pages may speak to the HTTP APIs (Fetch standard, CORS protocol).

A project's list of origins is for browsers: what comes without an `Origin` is not asked. Here an origin passes that any
project lists, since a pre-flight request does not say whose it is; `Callers` turns it away from the other projects.
"""

from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAY_ASK = {
    "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
    "access-control-allow-headers": ", ".join(
        (
            "authorization",
            "content-type",
            "idempotency-key",
            "x-bellhub-user",
            "x-notiflows-api-key",
            "x-notiflows-user-id",
            "x-notiflows-user-key",
            "x-request-id",
        )
    ),
    "access-control-max-age": "7200",  # seconds; browsers keep it no longer
}
_MAY_READ = b"x-request-id, idempotent-replayed, ratelimit, ratelimit-policy, retry-after"


class Cors:
    """Answers pre-flight requests, and lets pages of allowed origins read what is answered below `prefixes`.

    Credentials of the browser's own (cookies) play no part in any API, so they are not allowed.
    """

    def __init__(self, app: ASGIApp, allowed: Callable[[str], bool], prefixes: Sequence[str]) -> None:
        self._app = app
        self._allowed = allowed
        self._prefixes = tuple(f"{prefix}/" for prefix in prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].removeprefix(scope["state"]["root"]).startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        welcome = origin if origin is not None and self._allowed(origin) else None
        if scope["method"] == "OPTIONS" and origin is not None and "access-control-request-method" in headers:
            await _preflight(origin, welcome)(scope, receive, send)
            return

        more = [(b"vary", b"origin")]
        if welcome is not None:
            more += [
                (b"access-control-allow-origin", welcome.encode("latin-1")),
                (b"access-control-expose-headers", _MAY_READ),
            ]

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_readable)


def _preflight(origin: str, welcome: str | None) -> Response:
    if welcome is None:
        return PlainTextResponse(f"origin {origin[:100]!r} is not allowed\n", 403, {"vary": "origin"})
    return Response(status_code=204, headers=_MAY_ASK | {"access-control-allow-origin": welcome, "vary": "origin"})
