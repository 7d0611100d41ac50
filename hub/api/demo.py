"""The page of a hub in development mode, and the one thing it needs of a back end: tokens for its user."""

import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from hub.errors import Refused

DAY_S = 86_400
_POLICY = "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'"

SignToken = Callable[[str, int, float], str]
"""A token of a user that ends some seconds after a time."""


class Demo:
    """`/`, and `/demo/token`, which answers whoever asks: in development mode anybody is who they say.

    `sign`: None where the key of development mode is not known; then there are no tokens.
    """

    def __init__(self, page: Path, sign: SignToken | None, leeway_s: int) -> None:
        self._page = page
        self._sign = sign
        self._leeway_s = leeway_s

    def routes(self) -> list[Route]:
        return [Route("/", self.page), *([Route("/demo/token", self.token)] if self._sign else [])]

    async def page(self, request: Request) -> Response:
        """The demo page."""
        return FileResponse(self._page, headers={"content-security-policy": _POLICY, "cache-control": "no-cache"})

    async def token(self, request: Request) -> Response:
        """A token for `user`, good for `lives_s` seconds more (1 to a day, else an hour), the hub's leeway included."""
        assert self._sign is not None
        lives = request.query_params.get("lives_s", "3600")
        if not lives.isascii() or not lives.isdecimal() or not 1 <= int(lives[:9]) <= DAY_S:
            return PlainTextResponse(f"lives_s is {lives[:20]!r}, not a whole number from 1 to {DAY_S}\n", 400)
        ttl_s = int(lives) - self._leeway_s
        # Issued before it ends, however soon that is.
        early_s = max(0, 1 - ttl_s)
        try:
            token = self._sign(request.query_params.get("user", ""), ttl_s + early_s, time.time() - early_s)
        except Refused as refused:
            return PlainTextResponse(refused.message + "\n", 400)
        return PlainTextResponse(token, headers={"cache-control": "no-store"})
