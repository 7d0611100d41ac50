"""The Messaging API (seed 1): so far, sending and taking back."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub import auth, keys
from hub.api.doors import Dialect, answer, bad_param, door, read_json
from hub.codec import check_user
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.keys import User
from hub.model import Channel, Project, Published, SecretKey
from hub.projects import Directory
from hub.sending import Sending, entry_body, new_entry_id, read_sending, request_digest_text
from hub.store import Idempotency, Store

KEY_MAX = 255
"""Characters in an `Idempotency-Key`."""


class MessagingApi:
    """The endpoints. A producer acts with an `sk_` key, whose role must grant what it does."""

    def __init__(self, store: Store, directory: Directory, dialect: Dialect) -> None:
        self._store = store
        self._directory = directory
        self._dialect = dialect

    def routes(self) -> list[Route]:
        return [
            Route("/notifications", door(self._dialect, self.send), methods=["POST"]),
            Route("/notifications", door(self._dialect, self.withdraw_source), methods=["DELETE"]),
            Route("/notifications/{entry_id}", door(self._dialect, self.withdraw), methods=["DELETE"]),
        ]

    async def send(self, request: Request) -> Response:
        """Puts one entry into a user's feed; 202 when it is stored. With `Idempotency-Key` it happens once."""
        project, key = self._producer(request, "alerts:create")
        body = await read_json(request)
        sending = read_sending(body)
        once = _idempotency(request, key, sending, request_digest_text(body))
        try:
            published = await publish(self._store, project, sending, once)
        except Refused as refused:
            if refused.code is Code.IDEMPOTENCY_KEY_REUSED:
                refused.details["idempotency_key"] = request.headers["idempotency-key"]
            raise
        headers = {"idempotent-replayed": "true"} if published.replayed else {}
        result = {"object": "notification_send_result", "id": published.id, "enqueued": 1}
        return answer(dumps(result), 202, headers)

    async def withdraw(self, request: Request) -> Response:
        """Takes one entry back, from whichever of the user's feeds holds it; 404 when none does."""
        project, _ = self._producer(request, "alerts:create")
        entry_id = request.path_params["entry_id"]
        return _withdrawn(await withdraw(self._store, project, _user(request, project), entry_id))

    async def withdraw_source(self, request: Request) -> Response:
        """Takes back everything the user was sent with one source key; nothing there is no error."""
        project, _ = self._producer(request, "alerts:create")
        user = _user(request, project)
        source_key = request.query_params.get("source_key", "")
        return _withdrawn(await withdraw_source(self._store, project, user, source_key))

    def _producer(self, request: Request, permission: str) -> tuple[Project, SecretKey]:
        """Who sends. Raises `Refused`: 401 without a live key, 403 without the permission."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        found = self._directory.by_secret(secret.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Refused(Code.INVALID_TOKEN, "a live secret key is needed: Authorization: Bearer sk_…")
        project, key = found
        if permission not in auth.permissions(key.role):
            raise Refused(Code.FORBIDDEN, f"this key does not grant {permission}", required_scope=permission)
        return project, key


async def publish(store: Store, project: Project, sending: Sending, once: Idempotency | None = None) -> Published:
    """Puts what a producer sends into the feed it names. Raises `Refused`, also as `Store.publish`."""
    channel = channel_of(project, sending.channel)
    entry_id = new_entry_id()
    return await store.publish(
        User(project.id, sending.target.id).feed(channel.handle),
        entry_id,
        entry_body(entry_id, sending),
        topic=sending.topic or "",
        expires=sending.expires,
        source_key=sending.source_key,
        idempotency=once,
    )


async def withdraw(store: Store, project: Project, user: User, entry_id: str) -> tuple[str, ...]:
    """Takes one entry back, from whichever of the user's feeds holds it: its id. Raises `Refused` not_found."""
    for channel in _feeds(project):
        try:
            return (await store.withdraw(user.feed(channel.handle), entry_id)).ids
        except Refused as refused:
            if refused.code is not Code.NOT_FOUND:
                raise
    shown = entry_id[:64]
    raise Refused(Code.NOT_FOUND, f"no such entry: {shown!r}", resource="notification", id=shown)


async def withdraw_source(store: Store, project: Project, user: User, source_key: str) -> tuple[str, ...]:
    """Takes back everything the user was sent with one source key: the ids, which may be none."""
    if not 1 <= len(source_key) <= 255:
        raise bad_param("source_key", f"{len(source_key)} characters, 1 to 255")
    ids: list[str] = []
    for channel in _feeds(project):
        ids += (await store.withdraw_source(user.feed(channel.handle), source_key)).ids
    return tuple(ids)


def channel_of(project: Project, name: str | None) -> Channel:
    """The in-app channel with this name, or the project's oldest one. Raises `Refused` not_found."""
    channel = project.feed_channel(name) if name is not None else next(iter(_feeds(project)), None)
    if channel is None:
        shown = (name or "in_app")[:64]
        raise Refused(Code.NOT_FOUND, f"no such channel: {shown!r}", resource="channel", id=shown)
    return channel


def _feeds(project: Project) -> Iterable[Channel]:
    return (channel for channel in project.channels if channel.type == "in_app")


def _user(request: Request, project: Project) -> User:
    name = request.query_params.get("user")
    if name is None:
        raise bad_param("user", "is required")
    try:
        return User(project.id, check_user(name))
    except Refused as refused:
        raise bad_param("user", refused.message) from None


def _idempotency(request: Request, key: SecretKey, sending: Sending, body: str) -> Idempotency | None:
    """The record of this send: by caller, method, route, target and key (`docs/api.md`)."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not 1 <= len(given) <= KEY_MAX:
        raise bad_param("Idempotency-Key", f"{len(given)} characters, 1 to {KEY_MAX}")
    scope = (key.id, "POST", "/v1/messaging/notifications", sending.target.id, given)
    return Idempotency(keys.digest(*scope), keys.digest(body))


def _withdrawn(ids: Iterable[str]) -> Response:
    removed = list(ids)
    return answer(dumps({"object": "notification_withdraw_result", "ids": removed, "withdrawn": len(removed)}))
