"""The documents, served by the hub that they are about: `/docs`, `/docs/errors` and the others, `/openapi.json`."""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from hub.pages import page, reference

_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


class Docs:
    """The documents of one directory; each is read and made a page once, when it is first asked for.

    That is done beside the loop: half a second of it would be felt at every socket.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pages = sorted(path.stem for path in directory.glob("*.md"))
        files = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".md")
        self._files = {path.relative_to(directory).as_posix() for path in files}
        self._document: Callable[[], dict[str, Any]] = cache(self._read_document)
        self._json: Callable[[], bytes] = cache(self._made_json)
        self._page: Callable[[str], str] = cache(self._made_page)
        self._reference: Callable[[], str] = cache(self._made_reference)

    def routes(self) -> list[Route]:
        return [
            Route("/openapi.json", self.openapi),
            Route("/docs", self.index),
            Route("/docs/{name:path}", self.named),
        ]

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document."""
        text = await asyncio.to_thread(self._json)
        return Response(text, headers=_HEADERS, media_type="application/json")

    async def index(self, request: Request) -> Response:
        """The reference of the HTTP APIs, made from the document."""
        return HTMLResponse(await asyncio.to_thread(self._reference), headers=_HEADERS)

    async def named(self, request: Request) -> Response:
        """One of the other pages, or a file that belongs to them."""
        name = request.path_params["name"]
        if name in self._pages:
            return HTMLResponse(await asyncio.to_thread(self._page, name), headers=_HEADERS)
        if name in self._files:
            return FileResponse(self._directory / name, headers=_HEADERS)
        raise HTTPException(404)

    def _read_document(self) -> dict[str, Any]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # where libyaml is, six times as fast
        document: dict[str, Any] = yaml.load((self._directory / "openapi.yaml").read_text("utf-8"), Loader=loader)
        return document

    def _made_json(self) -> bytes:
        return json.dumps(self._document(), ensure_ascii=False).encode()

    def _made_page(self, name: str) -> str:
        return page((self._directory / f"{name}.md").read_text("utf-8"), self._pages, "../")

    def _made_reference(self) -> str:
        return page(reference(self._document()), self._pages, "")
