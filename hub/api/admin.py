"""The Admin API's directory: users with their preferences and channel settings, topics and subscriptions.

Requests and answers are those of the SDK `notiflows` 0.0.2 (`docs/api.md`). Checked in this order: 401, 403, 404 of the
channel, 400 and 422, 404 of the user, the topic or the subscription.
"""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub import profiles
from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Endpoint, Once, once_of
from hub.api.requests import bad_param, read_json, window_of
from hub.bodies import Part, TopicName, read_body
from hub.codec import check_user
from hub.errors import Refused
from hub.frames import dumps
from hub.lists import Listed, Place
from hub.logs import Logs
from hub.model import JSON, timestamp
from hub.store import Store
from hub.users import Outcome, Subscription, Users, erase

BULK = 1000
"""Users in one request about a topic."""


class Subscribing(Part):
    topic_name: TopicName


class Bulk(Part):
    user_external_ids: Annotated[list[str], Field(min_length=1, max_length=BULK)]


class TopicPath(Part):
    topic: TopicName


class AdminApi:
    """The endpoints. A back end acts with an `sk_` key that grants `admin`, on the project of that key."""

    def __init__(self, users: Users, store: Store, logs: Logs, door: Door) -> None:
        self._users = users
        self._store = store
        self._logs = logs
        self._door = door

    def routes(self) -> list[Route]:
        def route(method: str, path: str, endpoint: Endpoint, once: Once | None = None) -> Route:
            return self._door.route(method, path, endpoint, "admin", once)

        user, topic = "/users/{external_id}", "/topics/{topic}"
        settings = user + "/channel-settings/{channel_id}"
        return [
            route("GET", "/users", self.list_users),
            route("GET", user, self.get_user),
            route("PUT", user, self.upsert_user),
            route("DELETE", user, self.delete_user),
            route("GET", f"{user}/preferences", self.get_preferences),
            route("PUT", f"{user}/preferences", self.update_preferences),
            route("GET", settings, self.get_settings),
            route("PUT", settings, self.update_settings),
            route("DELETE", settings, self.delete_settings),
            route("GET", f"{user}/subscriptions", self.list_subscriptions),
            route("POST", f"{user}/subscriptions", self.subscribe, Once.ANSWER),
            route("GET", f"{user}/subscriptions/{{topic}}", self.get_subscription),
            route("DELETE", f"{user}/subscriptions/{{topic}}", self.unsubscribe),
            route("GET", "/topics", self.list_topics),
            route("GET", topic, self.get_topic),
            route("DELETE", topic, self.delete_topic),
            route("GET", f"{topic}/subscriptions", self.list_topic_subscriptions),
            route("POST", f"{topic}/subscriptions", self.subscribe_many, Once.STEPS),
            route("DELETE", f"{topic}/subscriptions", self.unsubscribe_many),
        ]

    # ---- users ---------------------------------------------------------------------------------------

    async def list_users(self, request: Request, caller: Caller) -> Response:
        """A page of the users that the directory knows, newest first."""
        page = await self._users.page(caller.project.id, window_of(request.query_params))
        return _listed(page, (profile.shown() for profile in page.items))

    async def get_user(self, request: Request, caller: Caller) -> Response:
        """One user."""
        profile = await self._users.get(caller.project.id, _user(request))
        return answer(dumps(profile.shown()))

    async def upsert_user(self, request: Request, caller: Caller) -> Response:
        """Creates a user, 201, or changes what is given, 200."""
        name = _user(request)
        changes = read_body(profiles.UserChanges, await read_json(request))
        profile, created = await self._users.upsert(caller.project, name, changes)
        return answer(dumps(profile.shown()), 201 if created else 200)

    async def delete_user(self, request: Request, caller: Caller) -> Response:
        """Removes everything about a user, feeds and logs included, and ends their sessions."""
        await erase(self._users, self._store, self._logs, caller.project, _user(request))
        return answer("", 204)

    async def get_preferences(self, request: Request, caller: Caller) -> Response:
        """What the user chose, in full."""
        profile = await self._users.get(caller.project.id, _user(request))
        return answer(dumps(profiles.preferences_of(profile, caller.project)))

    async def update_preferences(self, request: Request, caller: Caller) -> Response:
        """Changes what is given; the answer is all of it."""
        name, project = _user(request), caller.project
        changes = read_body(profiles.PreferenceChanges, await read_json(request))
        profile, _ = await self._users.change(
            project.id, name, lambda profile, _: profiles.preferring(profile, project, changes), create=False
        )
        return answer(dumps(profiles.preferences_of(profile, project)))

    async def get_settings(self, request: Request, caller: Caller) -> Response:
        """How the user is reached on a channel; 404 where nobody said."""
        channel = caller.channel(request.path_params["channel_id"])
        profile = await self._users.get(caller.project.id, _user(request))
        return answer(dumps(profiles.settings_of(profile, channel)))

    async def update_settings(self, request: Request, caller: Caller) -> Response:
        """Puts settings in place of those before."""
        channel, name = caller.channel(request.path_params["channel_id"]), _user(request)
        body = read_body(profiles.SettingsBody, await read_json(request))
        profile, _ = await self._users.change(
            caller.project.id,
            name,
            lambda profile, now: profiles.reachable(profile, channel, body.settings, now),
            create=False,
        )
        return answer(dumps(profiles.settings_of(profile, channel)))

    async def delete_settings(self, request: Request, caller: Caller) -> Response:
        """Forgets them; 404 where there are none."""
        channel, name = caller.channel(request.path_params["channel_id"]), _user(request)
        await self._users.change(
            caller.project.id, name, lambda profile, _: profiles.unreachable(profile, channel), create=False
        )
        return answer("", 204)

    # ---- a user's subscriptions ----------------------------------------------------------------------

    async def list_subscriptions(self, request: Request, caller: Caller) -> Response:
        """A page of the topics that a user is subscribed to, newest subscription first."""
        page = await self._users.subscriptions(caller.project.id, _user(request), window_of(request.query_params))
        return _subscriptions(page)

    async def subscribe(self, request: Request, caller: Caller) -> Response:
        """Subscribes a user, 201; 200 where they were. The topic is created if need be."""
        name = _user(request)
        topic = read_body(Subscribing, await read_json(request)).topic_name
        subscription, outcome = await self._users.subscribe(caller.project.id, name, topic, once_of(request))
        headers = {"idempotent-replayed": "true"} if outcome.replayed else None
        return answer(dumps(subscription.shown()), 201 if outcome.new else 200, headers)

    async def get_subscription(self, request: Request, caller: Caller) -> Response:
        """A user's subscription to a topic; 404 where there is none."""
        found = await self._users.subscription(caller.project.id, _user(request), request.path_params["topic"])
        return answer(dumps(found.shown()))

    async def unsubscribe(self, request: Request, caller: Caller) -> Response:
        """Ends a user's subscription; 404 where there is none."""
        await self._users.unsubscribe(caller.project.id, _user(request), request.path_params["topic"])
        return answer("", 204)

    # ---- topics --------------------------------------------------------------------------------------

    async def list_topics(self, request: Request, caller: Caller) -> Response:
        """A page of the project's topics, newest first."""
        page = await self._users.topics(caller.project.id, window_of(request.query_params))
        return _listed(page, map(_topic, page.items))

    async def get_topic(self, request: Request, caller: Caller) -> Response:
        """One topic."""
        return answer(dumps(_topic(await self._users.topic(caller.project.id, request.path_params["topic"]))))

    async def delete_topic(self, request: Request, caller: Caller) -> Response:
        """Ends all of a topic's subscriptions, and forgets it."""
        await self._users.delete_topic(caller.project.id, request.path_params["topic"])
        return answer("", 204)

    async def list_topic_subscriptions(self, request: Request, caller: Caller) -> Response:
        """A page of a topic's subscriptions, newest first."""
        window = window_of(request.query_params)
        page = await self._users.topic_subscriptions(caller.project.id, request.path_params["topic"], window)
        return _subscriptions(page)

    async def subscribe_many(self, request: Request, caller: Caller) -> Response:
        """Subscribes users, each for themselves; 207 when some could not be."""
        topic = read_body(TopicPath, {"topic": request.path_params["topic"]}).topic
        names = await _names(request)
        return _outcomes(await self._users.subscribe_many(caller.project.id, topic, names))

    async def unsubscribe_many(self, request: Request, caller: Caller) -> Response:
        """Ends subscriptions, each for itself; 207 when some could not be. 404 for an unknown topic."""
        names = await _names(request)
        _, topic = await self._users.topic(caller.project.id, request.path_params["topic"])
        return _outcomes(await self._users.unsubscribe_many(caller.project.id, topic, names))


def _user(request: Request) -> str:
    """The user in the path. Raises `Refused`."""
    try:
        return check_user(request.path_params["external_id"])
    except Refused as refused:
        raise bad_param("external_id", refused.message) from None


async def _names(request: Request) -> list[str]:
    return list(dict.fromkeys(read_body(Bulk, await read_json(request)).user_external_ids))


def _topic(place: Place) -> JSON:
    created, name = place
    return {"name": name, "created_at": timestamp(created)}


def _listed(page: Listed[Any], items: Iterable[JSON]) -> Response:
    return answer(dumps({"items": list(items), "page": page.page()}))


def _subscriptions(page: Listed[Subscription]) -> Response:
    return _listed(page, (subscription.shown() for subscription in page.items))


def _outcomes(outcomes: list[Outcome]) -> Response:
    """Whom it worked for, and whom it did not; 207 when there are some of those."""
    successful = [outcome.subscription.shown() for outcome in outcomes if outcome.subscription]
    failed = [{"external_id": outcome.user, "reason": outcome.why} for outcome in outcomes if outcome.why]
    return answer(dumps({"successful": successful, "failed": failed}), 207 if failed else 200)
