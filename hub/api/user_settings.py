"""The User API beside the feed (seed 2's siblings): what users choose, and where they can be reached."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub import profiles
from hub.api.callers import Caller
from hub.api.dialects import answer
from hub.api.doors import Door, Once, once_of
from hub.api.requests import read_json
from hub.bodies import read_body
from hub.frames import dumps
from hub.keys import digest
from hub.profiles import Profile
from hub.users import Users


class UserSettingsApi:
    """The endpoints. Every one is a user's own. Whom the directory does not know enters it with the first change.

    Checked in this order: 401, 403, 404 of the channel, 400 and 422, 404 of what is asked for.
    """

    def __init__(self, users: Users, door: Door) -> None:
        self._users = users
        self._door = door

    def routes(self) -> list[Route]:
        settings, subscriptions = "/channels/{channel_id}/settings", "/channels/{channel_id}/subscriptions"
        route = self._door.route
        return [
            route("GET", "/preferences", self.get_preferences),
            route("PUT", "/preferences", self.update_preferences),
            route("GET", settings, self.get_settings),
            route("PUT", settings, self.update_settings),
            route("DELETE", settings, self.delete_settings),
            route("GET", subscriptions, self.list_subscriptions),
            route("POST", subscriptions, self.subscribe, once=Once.STEPS),
            route("DELETE", subscriptions, self.unsubscribe),
        ]

    async def get_preferences(self, request: Request, caller: Caller) -> Response:
        """What the user chose, in full; who chose nothing gets everything."""
        return answer(dumps(profiles.preferences_of(await self._profile(caller), caller.project)))

    async def update_preferences(self, request: Request, caller: Caller) -> Response:
        """Changes what is given; the answer is all of it."""
        project = caller.project
        changes = read_body(profiles.PreferenceChanges, await read_json(request))
        profile, _ = await self._users.change(
            project.id, _name(caller), lambda profile, _: profiles.preferring(profile, project, changes)
        )
        return answer(dumps(profiles.preferences_of(profile, project)))

    async def get_settings(self, request: Request, caller: Caller) -> Response:
        """How the user is reached on a channel; 404 where nobody said."""
        channel = caller.channel(request.path_params["channel_id"])
        profile = await self._profile(caller)
        if profile is None:
            raise profiles.no_settings(channel)
        return answer(dumps(profiles.settings_of(profile, channel)))

    async def update_settings(self, request: Request, caller: Caller) -> Response:
        """Puts settings in place of those before."""
        channel = caller.channel(request.path_params["channel_id"])
        body = read_body(profiles.SettingsBody, await read_json(request))
        profile, _ = await self._users.change(
            caller.project.id,
            _name(caller),
            lambda profile, now: profiles.reachable(profile, channel, body.settings, now),
        )
        return answer(dumps(profiles.settings_of(profile, channel)))

    async def delete_settings(self, request: Request, caller: Caller) -> Response:
        """Forgets them; 404 where there are none."""
        channel = caller.channel(request.path_params["channel_id"])
        await self._users.change(
            caller.project.id, _name(caller), lambda profile, _: profiles.unreachable(profile, channel)
        )
        return answer("", 204)

    async def list_subscriptions(self, request: Request, caller: Caller) -> Response:
        """The user's push subscriptions on a channel, oldest first; all of them, there are few."""
        channel = caller.channel(request.path_params["channel_id"])
        return answer(dumps({"items": profiles.pushes_of(await self._profile(caller), channel)}))

    async def subscribe(self, request: Request, caller: Caller) -> Response:
        """Remembers a push subscription, 201; a known identifier gets the new settings, 200."""
        channel = caller.channel(request.path_params["channel_id"])
        push = read_body(profiles.Push, await read_json(request))
        once = once_of(request)
        by = digest(once.record, once.digest) if once else ""
        known = False

        def put(profile: Profile, now: int) -> Profile:
            nonlocal known  # as it was when the change that counts was made
            known = profiles.push_known(profile, channel, push.identifier, by)
            return profiles.pushed(profile, channel, push, now, by)

        profile, _ = await self._users.change(caller.project.id, _name(caller), put)
        return answer(dumps(profiles.push_of(profile, channel, push.identifier)), 200 if known else 201)

    async def unsubscribe(self, request: Request, caller: Caller) -> Response:
        """Forgets one; 404 where there is none."""
        channel = caller.channel(request.path_params["channel_id"])
        identifier = read_body(profiles.PushIdentifier, await read_json(request)).identifier
        await self._users.change(
            caller.project.id, _name(caller), lambda profile, _: profiles.unpushed(profile, channel, identifier)
        )
        return answer("", 204)

    async def _profile(self, caller: Caller) -> Profile | None:
        (profile,) = await self._users.profiles(caller.project.id, [_name(caller)])
        return profile


def _name(caller: Caller) -> str:
    assert caller.user is not None, "the User API lets in users only"
    return caller.user.name
