"""What the HTTP dialects share: reading a request, answering in JSON, and naming each error in their own way."""

import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub import keys
from hub.api.callers import Caller
from hub.auth import loopback_origin
from hub.codec import parse_timestamp
from hub.errors import TEMPORARY, Code, Refused
from hub.frames import dumps
from hub.idempotency import Answers, Idempotency
from hub.keys import User
from hub.lists import LIMIT, LIMIT_MAX, Window, parse_place
from hub.model import JSON, Answer
from hub.rates import Rates

log = logging.getLogger("bellhub.api")

BODY_BYTES = 64 * 1024
ADMIN_BODY_BYTES = 1024 * 1024
"""The Admin API's: a thousand users may be named in one request."""
KEY_MAX = 255
"""Characters in an `Idempotency-Key`."""
_NOT_KEPT = (401, 403, 429)
"""Answers that depend on more than what was asked: the same request may do better with another token, or later."""
_REPLAYED = {"idempotent-replayed": "true"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_T = TypeVar("_T")
Open = Callable[[Request], Awaitable[Response]]
Identify = Callable[[Request], Awaitable[Caller]]
Endpoint = Callable[[Request, Caller], Awaitable[Response]]
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


class Once(Enum):
    """How a request with an `Idempotency-Key` is made to happen once.

    ANSWER: it changes one feed, in one script, which remembers it under `request.state.once`; the answer is made
    afterwards. SCRIPT: the answer is known before, and the script remembers both. STEPS: it takes several steps, each
    of which can be repeated; while they run, the key is taken.
    """

    ANSWER = "answer"
    SCRIPT = "script"
    STEPS = "steps"


Manner = Once | Callable[[Request], Awaitable[Once]]
"""Which it is, or what tells it from the request. Raises nothing: what is wrong with the request comes later."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with an `Idempotency-Key`: who asks what under which key, and a digest of all that was asked."""

    caller: Caller
    operation: str
    key: str
    digest: str

    def record(self, user: User | None, status: int = 0, body: str = "") -> Idempotency:
        """Its record beside a user's feeds, or the project's where it is about no single user.

        `status` and `body` are the answer, where it is known before.
        """
        name = user.name if user else ""
        record = keys.digest(self.caller.id, self.operation, name, self.key)
        where = user.idem(record) if user else keys.project_idem(self.caller.project.id, record)
        return Idempotency(where, self.digest, f"{status} {body}" if status else "")


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


class Segments:
    """Keeps an encoded slash inside its segment of the path: an id may hold one (RFC 3986, section 2.2).

    ASGI servers decode the path before it is split. Here `/` and `%` of a segment stay encoded; doors decode what they
    find in it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw: bytes | None = scope.get("raw_path")  # optional in ASGI
            segments = scope["path"].split("/") if raw is None else map(unquote, raw.decode("latin-1").split("/"))
            scope = {**scope, "path": "/".join(_segment(text) for text in segments)}
        await self._app(scope, receive, send)


def _segment(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2F")


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


class Operation(Route):
    """One operation of an API. `permission` is what its caller must have; None: being somebody is enough."""

    permission: str | None = None
    once: Manner | None = None
    methods_here: set[str]
    """Of all operations at this address; the router knows only of this one."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.methods_here:
            raise HTTPException(405, headers={"allow": ", ".join(sorted(self.methods_here))})
        await super().handle(scope, receive, send)


class Door:
    """The way into one API: who asks is found out, an `Idempotency-Key` is honoured, and what is refused is told in the
    API's own dialect. A fault of the hub's own is logged and tells nothing.

    `base` is the API's path: keys of one API are not those of another. `body_bytes`: how much a body may have.
    """

    def __init__(
        self,
        base: str,
        dialect: Dialect,
        identify: Identify,
        answers: Answers,
        rates: Rates,
        body_bytes: int = BODY_BYTES,
    ) -> None:
        self._base = base
        self._dialect = dialect
        self._identify = identify
        self._answers = answers
        self._rates = rates
        self._body_bytes = body_bytes
        self._methods: dict[str, set[str]] = {}

    def route(
        self, method: str, path: str, endpoint: Endpoint, permission: str | None = None, once: Manner | None = None
    ) -> Operation:
        """One operation. `permission` is what the caller must have, `once` how an `Idempotency-Key` works there."""

        async def answering(request: Request) -> Response:
            request.state.body_bytes = self._body_bytes
            # What `Segments` left encoded.
            request.scope["path_params"] = {name: unquote(text) for name, text in request.path_params.items()}
            enter = self._let_in(endpoint, permission, once, f"{method} {self._base}{path}")
            response = await self._answer(request, enter)
            response.raw_headers.extend(getattr(request.state, "rate_headers", ()))
            return response

        operation = Operation(path, answering, methods=[method], name=f"{method} {self._base}{path}")
        operation.permission, operation.once = permission, once
        operation.methods_here = self._methods.setdefault(path, set())
        operation.methods_here |= operation.methods or set()
        return operation

    def _let_in(self, endpoint: Endpoint, permission: str | None, once: Manner | None, operation: str) -> Open:
        async def enter(request: Request) -> Response:
            caller = await self._identify(request)
            await self._count(request, caller)
            caller.need(permission)
            given = request.headers.get("idempotency-key")
            if given is None or once is None:
                return await endpoint(request, caller)
            if not 1 <= len(given) <= KEY_MAX:
                raise bad_param("Idempotency-Key", f"{len(given)} characters, 1 to {KEY_MAX}")
            asked = Asked(caller, operation, given, await _request_digest(request))
            manner = once if isinstance(once, Once) else await once(request)
            return await self._once(request, asked, manner, lambda: endpoint(request, caller))

        return enter

    async def _count(self, request: Request, caller: Caller) -> None:
        """Counts the request, and leaves for its answer what the caller is told. Raises `Refused` rate_limited."""
        if caller.claims and caller.user:
            standing = await self._rates.take("user", caller.user.rate)
        else:
            standing = await self._rates.take("key", keys.project_rate(caller.project.id, caller.id))
        if standing is not None:
            request.state.rate_headers = standing.headers()
            standing.check()

    async def _once(
        self, request: Request, asked: Asked, once: Once, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Does the work, unless it was done before: then the first answer is given again."""
        request.state.asked = asked
        request.state.once = record = asked.record(asked.caller.user)
        try:
            match once:
                case Once.ANSWER:
                    first = await self._answers.recall(record)
                case Once.STEPS:
                    first = await self._answers.begin(record)
                case Once.SCRIPT:  # the script of the change recalls and remembers
                    first = None
        except Refused as refused:
            raise _naming_key(refused, asked) from None
        if first is not None and first.status:
            return again(first)

        async def doing(request: Request) -> Response:
            try:
                return await work()
            except Refused as refused:
                raise _naming_key(refused, asked) from None

        response = await self._answer(request, doing)
        record = request.state.once  # the endpoint may have said more closely what it is about
        if response.status_code in _NOT_KEPT or response.status_code >= 500:
            if once is Once.STEPS:
                await self._answers.release(record)
            return response
        if once is Once.SCRIPT and response.status_code < 300:
            return response
        if first is not None:
            response.headers.update(_REPLAYED)
        given = Answer(response.status_code, bytes(response.body).decode())
        try:
            first = await self._answers.finish(record, given)
        except Refused as refused:
            raise _naming_key(refused, asked) from None
        return response if first is None else again(first)

    async def _answer(self, request: Request, endpoint: Open) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            return self._dialect(request, refused)
        except Exception:
            log.exception("request.failed", extra={"request_id": request.state.request_id})
            return self._dialect(request, Refused(Code.INTERNAL, "something went wrong in the hub"))


def _naming_key(refused: Refused, asked: Asked) -> Refused:
    if refused.code is Code.IDEMPOTENCY_KEY_REUSED:
        refused.details["idempotency_key"] = asked.key
    return refused


def again(first: Answer) -> Response:
    """The first answer once more. A conflict that was kept is one that stays."""
    final = {"x-should-retry": "false"} if first.status == 409 else {}
    return answer(first.body, first.status, final | _REPLAYED)


def answer(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON text that may not be cached: it is one user's. Nothing at all where `text` is empty."""
    kind = "application/json" if text else None
    return Response(text or None, status, {"cache-control": "no-store"} | (headers or {}), kind)


async def read_json(request: Request) -> Any:
    """The request's body. Raises `Refused` invalid_request (`reason`, no `fields`) for no JSON or too much of it."""
    return _parsed(await _read(request))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise Refused(Code.INVALID_REQUEST, "the body is not JSON", reason="invalid_json") from None


async def _request_digest(request: Request) -> str:
    """The same for the same request, however its body was spelled: query and body are what was asked."""
    body = await _read(request)
    try:
        said = json.dumps(_parsed(body), sort_keys=True, separators=(",", ":"))
    except (Refused, RecursionError):
        said = body.hex()
    path = json.dumps(request.path_params, sort_keys=True)
    return keys.digest(path, *sorted(f"{name}={value}" for name, value in request.query_params.multi_items()), said)


async def _read(request: Request) -> bytes:
    """The body, which is kept for whoever asks again."""
    known: bytes | None = getattr(request.state, "body", None)
    if known is not None:
        return known
    size, most = 0, request.state.body_bytes
    chunks = []
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise Refused(Code.INVALID_REQUEST, f"a body of more than {most} bytes", reason="body_too_large")
            chunks.append(chunk)
    except ClientDisconnect:  # nobody is there to read this, and nothing is wrong with the hub
        raise Refused(Code.INVALID_REQUEST, "the body ended early", reason="invalid_json") from None
    request.state.body = body = b"".join(chunks)
    return body


def _not_json(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def once_of(request: Request) -> Idempotency | None:
    """The record of this request, where it came with a key: for the script that makes the change."""
    found: Idempotency | None = getattr(request.state, "once", None)
    return found


def about(request: Request, user: User | None, status: int = 0, body: str = "") -> Idempotency | None:
    """As `once_of`, for a request that turns out to be about this user's feeds, and whose answer is known before."""
    asked: Asked | None = getattr(request.state, "asked", None)
    if asked is None:
        return None
    request.state.once = record = asked.record(user, status, body)
    return record


def step_of(request: Request, user: User | None, step: str, answer: str = "") -> Idempotency | None:
    """The record of one step of a request of several: started again, the request goes on with the other ones.

    `answer` is what the step has to tell when it is asked for again.
    """
    asked: Asked | None = getattr(request.state, "asked", None)
    if asked is None or user is None:
        return None
    # With the digest in its name it can never be taken for that of another request under the same key.
    record = keys.digest(asked.caller.id, asked.operation, user.name, asked.key, asked.digest, step)
    return Idempotency(user.idem(record), asked.digest, f"200 {answer}" if answer else "")


def bad_param(name: str, message: str) -> Refused:
    """A fault in the address: 400 with `reason` and `param`."""
    return Refused(Code.INVALID_REQUEST, f"{name}: {message}", reason="invalid_param", param=name)


def window_of(query: Mapping[str, str]) -> Window:
    """What is asked of a list of the Admin API. Raises `Refused` naming the parameter."""
    if "after" in query and "before" in query:
        raise bad_param("after", "one of after and before")
    created_after = parsed(query, "created_after", parse_timestamp)
    created_before = parsed(query, "created_before", parse_timestamp)
    return Window(
        limit_of(query, LIMIT, LIMIT_MAX),
        after=parsed(query, "after", parse_place),
        before=parsed(query, "before", parse_place),
        # Compared as they are shown, in whole milliseconds.
        created_after=None if created_after is None else created_after // 1000 * 1000 + 999,
        created_before=None if created_before is None else -(-created_before // 1000) * 1000,
    )


def limit_of(query: Mapping[str, str], default: int, most: int) -> int:
    """How many items a page may have. Raises `Refused`."""
    text = query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
        raise bad_param("limit", f"{text[:64]!r} is not a number from 1 to {most}")
    return int(text)


def parsed(query: Mapping[str, str], name: str, parse: Callable[[str], _T]) -> _T | None:
    """A parameter, where it is given. Raises `Refused` with what `parse` says of it."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise bad_param(name, str(error)) from None


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
