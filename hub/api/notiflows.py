"""The Admin API's notiflows: `/admin/v1/notiflows`."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub import notiflows
from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, about, again
from hub.api.requests import read_json
from hub.frames import dumps
from hub.model import Project, timestamp
from hub.running import read_run
from hub.runs import Runs
from hub.sending import new_entry_id

Change = Callable[[str, Callable[[Project], Project]], Awaitable[Project]]
"""Stores what the function makes of a project; this hub knows when it returns."""


class NotiflowsApi:
    """The endpoints: what can be run, and running it."""

    def __init__(self, change: Change, runs: Runs, door: Door) -> None:
        self._change = change
        self._runs = runs
        self._door = door

    def routes(self) -> list[Route]:
        one = "/notiflows/{handle}"
        route = self._door.route
        return [
            route("GET", "/notiflows", self.list_notiflows, "admin"),
            route("GET", one, self.get_notiflow, "admin"),
            route("PUT", one, self.put_notiflow, "admin"),
            route("DELETE", one, self.delete_notiflow, "admin"),
            route("POST", one + "/run", self.run, "admin", once=Once.SCRIPT),
        ]

    async def list_notiflows(self, request: Request, caller: Caller) -> Response:
        """All of them, oldest first."""
        return answer(dumps({"items": [notiflows.shown(notiflow) for notiflow in caller.project.notiflows]}))

    async def get_notiflow(self, request: Request, caller: Caller) -> Response:
        """One of them."""
        return answer(dumps(notiflows.shown(notiflows.existing(caller.project, request.path_params["handle"]))))

    async def put_notiflow(self, request: Request, caller: Caller) -> Response:
        """Defines it, as a whole: what the body does not say is the default again. 201 for a new one."""
        handle = notiflows.check_handle(request.path_params["handle"])
        definition = notiflows.read_definition(await read_json(request))
        now = timestamp(int(time.time() * 1_000_000))
        changed = await self._change(caller.project.id, lambda p: notiflows.put(p, handle, definition, now))
        notiflow = notiflows.existing(changed, handle)
        return answer(
            dumps(notiflows.shown(notiflow)), 201 if notiflow.created_at == notiflow.updated_at == now else 200
        )

    async def delete_notiflow(self, request: Request, caller: Caller) -> Response:
        """What was run already goes on: a run has its own copy."""
        handle = request.path_params["handle"]
        await self._change(caller.project.id, lambda p: notiflows.remove(p, handle))
        return answer("", 204)

    async def run(self, request: Request, caller: Caller) -> Response:
        """Queues a run; 202 when it is stored, and every recipient will have exactly one entry."""
        notiflow = notiflows.existing(caller.project, request.path_params["handle"])
        run_id = new_entry_id()
        result = dumps({"notiflow_run_id": run_id})
        once = about(request, None, 202, result)
        body = await read_json(request)
        # In a thread: to check a thousand described recipients takes longer than sockets and other requests may wait.
        spec, recipients = await asyncio.to_thread(read_run, caller.project, notiflow, body)
        before = await self._runs.start(caller.project.id, run_id, spec, recipients, once)
        return answer(result, 202) if before is None else again(before)
