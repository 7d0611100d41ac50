"""`/healthz`: the process is alive, whatever its store does. `/readyz`: it may be given traffic."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub import __version__


def health_routes(checks: Callable[[], dict[str, bool]]) -> list[Route]:
    """`checks` names what readiness depends on. Liveness never depends on the store: its failover would
    otherwise restart every hub at once."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def readyz(request: Request) -> Response:
        found = checks()
        ready = all(found.values())
        return JSONResponse({"status": "ready" if ready else "unready", "checks": found}, 200 if ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
