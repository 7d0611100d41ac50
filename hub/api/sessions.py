"""The Admin API's sessions of a user, and the end of them: `/admin/v1/users/{external_id}/sessions`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, about
from hub.api.requests import bad_param
from hub.codec import check_user
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.keys import User
from hub.model import timestamp
from hub.rollcall import SESSION_ID, Roll, RollCall
from hub.store import Store


class SessionsApi:
    """The endpoints. A user whom nobody ever upserted may have sessions: a valid token is enough for one."""

    def __init__(self, store: Store, rollcall: RollCall, door: Door) -> None:
        self._store = store
        self._rollcall = rollcall
        self._door = door

    def routes(self) -> list[Route]:
        user = "/users/{external_id}"
        route = self._door.route
        return [
            route("GET", f"{user}/sessions", self.list_sessions, "admin"),
            route("DELETE", f"{user}/sessions", self.end_sessions, "admin"),
            route("DELETE", f"{user}/sessions/{{session_id}}", self.end_session, "admin"),
            route("POST", f"{user}/revoke", self.revoke, "admin", once=Once.SCRIPT),
        ]

    async def list_sessions(self, request: Request, caller: Caller) -> Response:
        """The user's open sockets, oldest first, and whether every hub that has some could be asked."""
        roll = await self._rollcall.sessions(_user(request, caller))
        hubs = {"asked": roll.asked, "answered": roll.answered}
        return answer(dumps({"items": roll.sessions, "hubs": hubs}))

    async def end_sessions(self, request: Request, caller: Caller) -> Response:
        """Ends all of them; there may be none. 503 when a hub did not say that it has."""
        _certain(await self._rollcall.end(_user(request, caller)))
        return answer("", 204)

    async def end_session(self, request: Request, caller: Caller) -> Response:
        """Ends one; 404 when no hub has it, 503 when one that may have it did not answer."""
        session = request.path_params["session_id"]
        user = _user(request, caller)
        if SESSION_ID.fullmatch(session):
            roll = await self._rollcall.end(user, session)
            if roll.sessions:
                return answer("", 204)
            _certain(roll)
        shown = session[:64]
        raise Refused(Code.NOT_FOUND, f"no such session: {shown!r}", resource="session", id=shown)

    async def revoke(self, request: Request, caller: Caller) -> Response:
        """Refuses every token issued to the user before now; the sessions that came with one end."""
        user = _user(request, caller)
        before, replayed = await self._store.revoke_once(user, about(request, user))
        headers = {"idempotent-replayed": "true"} if replayed else None
        return answer(dumps({"revoked_before": timestamp(before * 1_000_000)}), headers=headers)


def _user(request: Request, caller: Caller) -> User:
    """The user in the path. Raises `Refused`."""
    try:
        return User(caller.project.id, check_user(request.path_params["external_id"]))
    except Refused as refused:
        raise bad_param("external_id", refused.message) from None


def _certain(roll: Roll) -> None:
    """Raises `Refused` unavailable where a hub stands still: it ends what it was asked to as soon as it goes on."""
    if not roll.complete:
        silent = roll.asked - roll.answered
        message = f"{silent} of {roll.asked} hubs did not answer; ask again"
        raise Refused(Code.UNAVAILABLE, message, asked=roll.asked, answered=roll.answered)
