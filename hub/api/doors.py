"""The way into an API: who asks, how often they may, and that a request with an `Idempotency-Key` happens once."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from hub import keys
from hub.api.callers import Caller
from hub.api.dialects import Dialect, answer
from hub.api.requests import BODY_BYTES, bad_param, noted, request_digest
from hub.errors import Code, Refused
from hub.idempotency import Answers, Idempotency
from hub.keys import User
from hub.model import Answer
from hub.rates import Rates

log = logging.getLogger("bellhub.api")

KEY_MAX = 255
"""Characters in an `Idempotency-Key`."""

_NOT_KEPT = (401, 403, 429)
"""Answers that depend on more than what was asked: the same request may do better with another token, or later."""

_REPLAYED = {"idempotent-replayed": "true"}

Open = Callable[[Request], Awaitable[Response]]

Identify = Callable[[Request], Awaitable[Caller]]

Endpoint = Callable[[Request, Caller], Awaitable[Response]]


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
        return Idempotency(where, self.digest, f"{status} {body}" if status else "", user)


class Operation(Route):
    """One operation of an API. `permission` is what its caller must have; None: being somebody is enough."""

    permission: str | None = None
    once: Manner | None = None
    methods_here: set[str]
    """Of all operations at this address; the router knows only of this one."""

    def __init__(self, path: str, app: ASGIApp, method: str, name: str) -> None:
        super().__init__(path, app, methods=[method], name=name)
        self.app = app  # without Starlette's wrapper around functions: a door answers all errors itself

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.methods_here:
            raise HTTPException(405, headers={"allow": ", ".join(sorted(self.methods_here))})
        await super().handle(scope, receive, send)


class Operations(Router):
    """The operations of one API. One whose address has no parameters is looked up, before the others are tried in turn.

    An address with a slash too many is unknown: a redirect would send the request's secrets once more, where TLS ends
    at a proxy in the clear.
    """

    def __init__(self, operations: Sequence[Route]) -> None:
        super().__init__(operations, redirect_slashes=False)
        plain = [operation for operation in operations if "{" not in operation.path]
        self._plain = {(method, operation.path): operation for operation in plain for method in operation.methods or ()}

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._plain.get((scope.get("method", ""), scope["path"].removeprefix(scope["root_path"])))
        if found is None:
            await super().app(scope, receive, send)
        else:
            await found.app(scope, receive, send)


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
        name = f"{method} {self._base}{path}"
        enter = self._let_in(endpoint, permission, once, name)

        async def answering(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            request.state.body_bytes = self._body_bytes
            # What `Segments` left encoded.
            request.scope["path_params"] = {name: unquote(text) for name, text in request.path_params.items()}
            response = await self._answer(request, enter)
            response.raw_headers.extend(noted(request, "rate_headers") or ())
            await response(scope, receive, send)

        operation = Operation(path, answering, method, name)
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
            asked = Asked(caller, operation, given, await request_digest(request))
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


def once_of(request: Request) -> Idempotency | None:
    """The record of this request, where it came with a key: for the script that makes the change."""
    found: Idempotency | None = noted(request, "once")
    return found


def about(request: Request, user: User | None, status: int = 0, body: str = "") -> Idempotency | None:
    """As `once_of`, for a request that turns out to be about this user's feeds, and whose answer is known before."""
    asked: Asked | None = noted(request, "asked")
    if asked is None:
        return None
    request.state.once = record = asked.record(user, status, body)
    return record


def step_of(request: Request, user: User | None, step: str, answer: str = "") -> Idempotency | None:
    """The record of one step of a request of several: started again, the request goes on with the other ones.

    `answer` is what the step has to tell when it is asked for again.
    """
    asked: Asked | None = noted(request, "asked")
    if asked is None or user is None:
        return None
    # With the digest in its name it can never be taken for that of another request under the same key.
    record = keys.digest(asked.caller.id, asked.operation, user.name, asked.key, asked.digest, step)
    return Idempotency(user.idem(record), asked.digest, f"200 {answer}" if answer else "")
