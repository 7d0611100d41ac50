"""The operator's page at `/console`, and the two things that it asks for and no API tells (`docs/operations.md`).

All else it does through the APIs, which take the operator's key in the place of other credentials (`callers.py`).
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from hub.api.dialects import Dialect, answer
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.model import JSON, Project
from hub.projects import Directory

_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",  # nor is it kept for the way back, with the key in its memory
}


class Console:
    """The routes. `is_operator` raises `Refused` for a wrong key; `health` tells of this hub and its store.

    Nothing here is counted: `health` is for the moment in which the store, where counters are, does not answer.
    """

    def __init__(
        self,
        page: Path,
        is_operator: Callable[[Request], bool],
        directory: Directory,
        health: Callable[[], Awaitable[JSON]],
        dialect: Dialect,
    ) -> None:
        self._page = page
        self._is_operator = is_operator
        self._directory = directory
        self._health = health
        self._dialect = dialect

    def routes(self) -> list[BaseRoute]:
        api = [self._route("/projects", self.projects), self._route("/health", self.health)]
        return [Route("/console", self.page), Mount("/console/api", Router(api, redirect_slashes=False))]

    async def page(self, request: Request) -> Response:
        """For anybody: there is nothing in it."""
        return FileResponse(self._page, headers=_HEADERS)

    async def projects(self) -> JSON:
        """All projects, with what it takes to ask for theirs."""
        return {"items": [_shown(project) for project in self._directory.projects()]}

    async def health(self) -> JSON:
        """Of this hub and its store."""
        return await self._health()

    def _route(self, path: str, tell: Callable[[], Awaitable[JSON]]) -> Route:
        async def answering(request: Request) -> Response:
            try:
                if not self._is_operator(request):
                    raise Refused(Code.INVALID_TOKEN, "x-bellhub-operator is missing", auth="operator_key")
                return answer(dumps(await tell()))
            except Refused as refused:
                return self._dialect(request, refused)

        return Route(path, answering, methods=["GET"])


def _shown(project: Project) -> JSON:
    channels: list[JSON] = [{"id": channel.id, "handle": channel.handle} for channel in project.feed_channels]
    return {"id": project.id, "name": project.name, "api_key": project.api_key, "channels": channels}
