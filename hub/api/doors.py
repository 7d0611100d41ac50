"""What the HTTP dialects share: reading a request, answering in JSON, and naming each error in their own way."""

import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.auth import loopback_origin
from hub.errors import TEMPORARY, Code, Refused
from hub.frames import dumps
from hub.model import JSON

log = logging.getLogger("bellhub.api")

BODY_BYTES = 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

Endpoint = Callable[[Request], Awaitable[Response]]
Dialect = Callable[[Request, Refused], Response]

STATUS = {
    Code.INVALID_REQUEST: 400,
    Code.INVALID_TOKEN: 401,
    Code.FORBIDDEN: 403,
    Code.REVOKED: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.IDEMPOTENCY_KEY_REUSED: 422,
    Code.RATE_LIMITED: 429,
    Code.LIMIT: 429,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}


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
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


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


def door(dialect: Dialect, endpoint: Endpoint) -> Endpoint:
    """The endpoint, with what it refuses told in a dialect; a fault of the hub's own is logged and tells nothing."""

    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            return dialect(request, refused)
        except Exception:
            log.exception("request.failed", extra={"request_id": request.state.request_id})
            return dialect(request, Refused(Code.INTERNAL, "something went wrong in the hub"))

    return answering


def answer(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON text that may not be cached: it is one user's."""
    return Response(text, status, {"cache-control": "no-store"} | (headers or {}), "application/json")


async def read_json(request: Request) -> Any:
    """The request's body. Raises `Refused` invalid_request (`reason`, no `fields`) for no JSON or too much of it."""
    body = await _read(request)
    try:
        return json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise Refused(Code.INVALID_REQUEST, "the body is not JSON", reason="invalid_json") from None


async def _read(request: Request) -> bytes:
    size = 0
    chunks = []
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > BODY_BYTES:
                raise Refused(Code.INVALID_REQUEST, f"a body of more than {BODY_BYTES} bytes", reason="body_too_large")
            chunks.append(chunk)
    except ClientDisconnect:  # nobody is there to read this, and nothing is wrong with the hub
        raise Refused(Code.INVALID_REQUEST, "the body ended early", reason="invalid_json") from None
    return b"".join(chunks)


def _not_json(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def bad_param(name: str, message: str) -> Refused:
    """A fault in the address: 400 with `reason` and `param`."""
    return Refused(Code.INVALID_REQUEST, f"{name}: {message}", reason="invalid_param", param=name)


def feed_dialect(docs_url: str | None) -> Dialect:
    """Seed 2's envelope, for the User and the Admin API."""

    def error(request: Request, refused: Refused) -> Response:
        status, code = STATUS[refused.code], _FEED_CODE[refused.code]
        if refused.code is Code.INVALID_REQUEST and "fields" in refused.details:
            status, code = 422, "validation_error"
        body = {
            "type": f"{_docs(request, docs_url)}/errors#{code}-{status}",
            "code": code,
            "message": refused.message,
            "status": status,
            "request_id": request.state.request_id,
            "details": {key: value for key, value in refused.details.items() if key != "ids"},
        }
        return answer(dumps({"error": body}), status, _retry_headers(refused))

    return error


_FEED_CODE = {code: code.value for code in Code} | {
    Code.INVALID_REQUEST: "bad_request",
    Code.INVALID_TOKEN: "unauthenticated",
    Code.REVOKED: "forbidden",
    Code.LIMIT: "rate_limited",
    Code.INTERNAL: "internal_error",
}


def messaging_dialect(docs_url: str | None) -> Dialect:
    """Seed 1's envelope, for the Messaging API."""

    def error(request: Request, refused: Refused) -> Response:
        status = STATUS[refused.code]
        kind = "invalid_request_error" if status < 500 else "api_error"
        if refused.code is Code.IDEMPOTENCY_KEY_REUSED:
            kind = "idempotency_error"
        fields: list[JSON] = refused.details.get("fields", [])
        body = {
            "type": kind,
            "code": refused.code.value,
            "message": refused.message,
            "param": fields[0]["field"] if fields else refused.details.get("param"),
            "doc_url": f"{_docs(request, docs_url)}/errors#{refused.code.value}-{status}",
            "is_transient": refused.code in TEMPORARY,
            "request_id": request.state.request_id,
            "details": refused.details,
        }
        return answer(dumps({"error": body}), status, _retry_headers(refused))

    return error


def _docs(request: Request, docs_url: str | None) -> str:
    if docs_url:
        return docs_url.rstrip("/")
    return f"{request.url.scheme}://{request.url.netloc}{request.state.root.rstrip('/')}/docs"


def _retry_headers(refused: Refused) -> dict[str, str]:
    """A deterministic conflict says so to clients that would try again; a passing trouble says when."""
    if refused.code is Code.CONFLICT:
        return {"x-should-retry": "false"}
    return {"retry-after": "1"} if refused.code in TEMPORARY else {}
