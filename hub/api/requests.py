"""Reading a request: its body, a digest of all that is asked, what lists share."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from hub import keys
from hub.codec import parse_timestamp
from hub.errors import Code, Refused
from hub.lists import LIMIT, LIMIT_MAX, Window, parse_place
from hub.model import JSON

BODY_BYTES = 64 * 1024

ADMIN_BODY_BYTES = 1024 * 1024
"""The Admin API's: a thousand users may be named in one request."""

_T = TypeVar("_T")


def noted(request: Request, name: str) -> Any:
    """What was left in the request's state, or None; `getattr` would come to that by an exception with a message."""
    return request.scope["state"].get(name)


async def read_json(request: Request) -> Any:
    """The request's body. Raises `Refused` invalid_request (`reason`, no `fields`) for no JSON or too much of it."""
    return _parsed(await _read(request))


def _parsed(body: bytes) -> Any:
    try:
        return _STRICT.decode(body.decode(json.detect_encoding(body), "surrogatepass"))  # as `json.loads`
    except (ValueError, RecursionError):
        raise Refused(Code.INVALID_REQUEST, "the body is not JSON", reason="invalid_json") from None


async def request_digest(request: Request) -> str:
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
    known: bytes | None = noted(request, "body")
    if known is not None:
        return known
    body, most, more = bytearray(), request.state.body_bytes, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":  # nobody is there to read this, and nothing is wrong with the hub
            raise Refused(Code.INVALID_REQUEST, "the body ended early", reason="invalid_json")
        body += message.get("body", b"")
        if len(body) > most:
            raise Refused(Code.INVALID_REQUEST, f"a body of more than {most} bytes", reason="body_too_large")
        more = message.get("more_body", False)
    request.state.body = said = bytes(body)
    return said


def _not_json(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


_STRICT = json.JSONDecoder(parse_constant=_not_json)
"""Made once: `json.loads` would make one for each request."""


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


def list_of(request: Request, data: list[JSON], older: str | None, newer: str | None) -> JSON:
    """The Messaging API's list: the cursors of the pages beside this one are inside addresses, which are relative."""
    return {
        "object": "list",
        "page_info": {
            "next_page_url": _page_url(request, older),
            "previous_page_url": _page_url(request, newer),
            "has_next_page": older is not None,
            "has_prev_page": newer is not None,
        },
        "data": data,
    }


def _page_url(request: Request, cursor: str | None) -> str | None:
    """The same request from another place, with its filters."""
    if cursor is None:
        return None
    said = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.url.path}?{urlencode([*said, ('cursor', cursor)])}"
