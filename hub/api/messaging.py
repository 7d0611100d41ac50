"""The Messaging API's producers (seed 1's siblings): sending and taking back."""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, about, again, step_of
from hub.api.requests import bad_param, read_json
from hub.codec import check_user
from hub.errors import Code, Refused
from hub.feeds import no_notification
from hub.frames import dumps
from hub.idempotency import Idempotency
from hub.keys import User
from hub.logs import Logs, Row, entered
from hub.model import START, UUID, Answer, Project, Published
from hub.sending import Sending, channel_of, entry_body, introduced, new_entry_id, read_sending
from hub.store import Store


class MessagingApi:
    """The endpoints. A producer acts with an `sk_` key, whose role must grant what it does."""

    def __init__(self, store: Store, logs: Logs, door: Door) -> None:
        self._store = store
        self._logs = logs
        self._door = door

    def routes(self) -> list[Route]:
        route = self._door.route
        return [
            route("POST", "/notifications", self.send, "alerts:create", once=_manner),
            route("DELETE", "/notifications", self.withdraw_source, "alerts:create"),
            route("DELETE", "/notifications/{entry_id}", self.withdraw, "alerts:create"),
        ]

    async def send(self, request: Request, caller: Caller) -> Response:
        """Puts one entry into the feed of a user, or one into that of each of several; 202 when all are stored."""
        body = await read_json(request)
        if _to_several(body):
            return await self._send_to_several(request, caller, read_sending(body))
        entry_id = new_entry_id()
        result = dumps({"object": "notification_send_result", "id": entry_id, "enqueued": 1})
        once = about(request, _target(body, caller.project), 202, result)
        sending = read_sending(body)
        published = await publish(
            self._store, self._logs, caller.project, sending, sending.target.users[0], entry_id, once
        )
        if published.answer is not None:
            return again(published.answer)
        return answer(result, 202)

    async def _send_to_several(self, request: Request, caller: Caller, sending: Sending) -> Response:
        """One after the other; what can be refused is, at the first one. Each remembers the id that it was sent."""
        ids: list[str] = []
        for name in sending.target.users:
            entry_id = new_entry_id()
            once = step_of(request, User(caller.project.id, name), "send", entry_id)
            try:
                published = await publish(self._store, self._logs, caller.project, sending, name, entry_id, once)
            except Refused as refused:
                if not ids or refused.code is not Code.INVALID_REQUEST:
                    raise
                ids.append(entry_id)  # its `expires_at` came while the others were sent: it has come and gone
            else:
                ids.append(published.answer.body if published.answer else entry_id)
        return answer(dumps({"object": "notification_send_result", "ids": ids, "enqueued": len(ids)}), 202)

    async def withdraw(self, request: Request, caller: Caller) -> Response:
        """Takes one entry back, from whichever of the user's feeds holds it; 404 when none does."""
        entry_id = request.path_params["entry_id"]
        return _withdrawn(await withdraw(self._store, caller.project, _user(request, caller.project), entry_id))

    async def withdraw_source(self, request: Request, caller: Caller) -> Response:
        """Takes back everything the user was sent with one source key; nothing there is no error."""
        user = _user(request, caller.project)
        source_key = request.query_params.get("source_key", "")
        return _withdrawn(await withdraw_source(self._store, caller.project, user, source_key))


async def publish(
    store: Store,
    logs: Logs,
    project: Project,
    sending: Sending,
    user: str,
    entry_id: str,
    once: Idempotency | None = None,
) -> Published:
    """Puts what a producer sends into one user's feed, and logs it. Raises `Refused`, also as `Store.publish`."""
    feed = User(project.id, user).feed(channel_of(project, sending.channel).handle)
    published = await store.publish(
        feed,
        entry_id,
        entry_body(entry_id, introduced(sending, project.secret_keys)),
        topic=sending.topic or "",
        expires=sending.expires,
        source_key=sending.source_key,
        once=once,
    )
    first = published if published.answer is None else _first(published.answer)
    if first is not None:  # a replay logs again, in case that the first one's hub died before it did
        sender = sending.sender.id if sending.sender and sending.sender.type == "user" else None
        at = await entered(store, feed, first)
        if at:  # else it has left the feed since, perhaps with its user, of whom the log shall say no more
            row = Row(first.id, at, user, feed.channel, sending.category, topic=sending.topic, actor=sender)
            await logs.add(project.id, [row])
    return published


def _first(answer: Answer) -> Published | None:
    """What was sent when the same request was answered before; nothing where it was refused."""
    found = UUID.search(answer.body)
    return Published(found[0], START, replayed=True) if answer.status < 300 and found else None


async def withdraw(store: Store, project: Project, user: User, entry_id: str) -> tuple[str, ...]:
    """Takes one entry back, from whichever of the user's feeds holds it: its id. Raises `Refused` not_found."""
    for channel in project.feed_channels:
        try:
            return (await store.withdraw(user.feed(channel.handle), entry_id)).ids
        except Refused as refused:
            if refused.code is not Code.NOT_FOUND:
                raise
    raise no_notification(entry_id)


async def withdraw_source(store: Store, project: Project, user: User, source_key: str) -> tuple[str, ...]:
    """Takes back everything the user was sent with one source key: the ids, which may be none."""
    if not 1 <= len(source_key) <= 255:
        raise bad_param("source_key", f"{len(source_key)} characters, 1 to 255")
    ids: list[str] = []
    for channel in project.feed_channels:
        ids += (await store.withdraw_source(user.feed(channel.handle), source_key)).ids
    return tuple(ids)


def _user(request: Request, project: Project) -> User:
    name = request.query_params.get("user")
    if name is None:
        raise bad_param("user", "is required")
    try:
        return User(project.id, check_user(name))
    except Refused as refused:
        raise bad_param("user", refused.message) from None


def _to_several(body: Any) -> bool:
    target = body.get("target") if isinstance(body, dict) else None
    return isinstance(target, dict) and target.get("type") == "users"


async def _manner(request: Request) -> Once:
    """A send to one user is one script; to several it takes as many."""
    try:
        body = await read_json(request)
    except Refused:
        return Once.SCRIPT
    return Once.STEPS if _to_several(body) else Once.SCRIPT


def _target(body: Any, project: Project) -> User | None:
    """Whom a send is for, as far as can be told before it is checked: a refusal belongs to the same key."""
    try:
        return User(project.id, check_user(body["target"]["id"]))
    except (Refused, TypeError, KeyError):
        return None


def _withdrawn(ids: Iterable[str]) -> Response:
    removed = list(ids)
    return answer(dumps({"object": "notification_withdraw_result", "ids": removed, "withdrawn": len(removed)}))
