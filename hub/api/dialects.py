"""Answering: JSON that is one user's, and what was refused in the words of each API (`docs/errors.md`)."""

from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hub.errors import TEMPORARY, Code, Refused
from hub.frames import dumps
from hub.model import JSON

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


def answer(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON text that may not be cached: it is one user's. Nothing at all where `text` is empty."""
    kind = "application/json" if text else None
    return Response(text or None, status, {"cache-control": "no-store"} | (headers or {}), kind)


def no_such_operation(dialects: Mapping[str, Dialect]) -> Callable[[Request, Exception], Response]:
    """Answers 404 and 405 of the router in the dialect of the API whose path it is; elsewhere in plain text."""

    def handler(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.scope["path"].removeprefix(request.state.root)
        dialect = next((dialect for prefix, dialect in dialects.items() if path.startswith(f"{prefix}/")), None)
        if dialect is None or error.status_code not in (404, 405):
            return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
        shown = path[:100]
        if error.status_code == 404:
            refused = Refused(Code.NOT_FOUND, f"nothing is at {shown!r}", resource="path", id=shown)
        else:
            refused = Refused(Code.INVALID_REQUEST, f"{request.method} is not possible at {shown!r}", reason=_METHOD)
        response = dialect(request, refused)
        response.headers.update(error.headers or {})
        return response

    return handler


_METHOD = "method_not_allowed"


def _status(refused: Refused) -> int:
    return 405 if refused.details.get("reason") == _METHOD else STATUS[refused.code]


def feed_dialect(docs_url: str | None) -> Dialect:
    """Seed 2's envelope, for the User and the Admin API."""

    def error(request: Request, refused: Refused) -> Response:
        status, code = _status(refused), _FEED_CODE[refused.code]
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
        status = _status(refused)
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
            "is_transient": is_transient(refused),
            "quota": None,  # seed 1's product sells quotas and keeps request logs
            "request_log_url": None,
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
    if is_transient(refused):
        return {"retry-after": str(refused.details.get("retry_after", 1))}
    return {"x-should-retry": "false"} if refused.code is Code.CONFLICT else {}


def is_transient(refused: Refused) -> bool:
    """Whether the same request may do better in a moment."""
    return refused.code in TEMPORARY or refused.details.get("reason") == "idempotency_in_progress"
