"""The directory: users of a project, what they chose, and the topics they are subscribed to. One slot a project.

Every change of one user is one script: the document, read before, is replaced if nobody came between, else the
change is made again. A `Refused` other than `unavailable` means that nothing changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hub import keys, profiles
from hub.engine import Engine, text
from hub.errors import Code, Refused, unavailable
from hub.idempotency import Idempotency, operands
from hub.indexes import index_page
from hub.keys import User
from hub.lists import Listed, Place, Window
from hub.logs import Logs
from hub.model import JSON, Project, timestamp
from hub.profiles import Profile, UserChanges, UserFields
from hub.redis import Value
from hub.store import Store

TOPICS = 1000
"""Topics that one user may be subscribed to."""
ATTEMPTS = 50
"""Times a change starts over because another one came between; one of the rivals wins each round."""
READ = 100
"""Documents read at once for a page, and"""
PAGE_BYTES = 4 * 1024 * 1024
"""how much of them may be in one before it ends."""
CHUNK = 250
"""Subscriptions that one script makes or ends, so that nobody else waits for long."""

Change = Callable[[Profile, int], Profile]
"""What makes a profile of the one before; also given the store's time, µs. Pure: it may run again."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One user's to one topic, since when (µs)."""

    project_id: str
    user: str
    topic: str
    since: int

    def shown(self) -> JSON:
        """As the Admin API shows it."""
        return {
            "id": profiles.subscription_id(self.project_id, self.user, self.topic),
            "topic_name": self.topic,
            "user_id": profiles.user_id(self.project_id, self.user),
            "created_at": timestamp(self.since),
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """The run for which users are asked about: when it was stored, µs, and where it stood then."""

    run: str
    started: int
    position: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one user of a subscription of many: `why` is empty, or says why there is no `subscription`."""

    user: str
    subscription: Subscription | None
    why: str = ""
    new: bool = False
    replayed: bool = False


class Users:
    """The directories of all projects."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # ---- users ---------------------------------------------------------------------------------------

    async def upsert(self, project: Project, name: str, changes: UserChanges) -> tuple[Profile, bool]:
        """Describes a user, who is created if need be; whether they were. Only what is given changes."""
        return await self.change(
            project.id, name, lambda profile, now: profiles.changed(profile, project, changes, now)
        )

    async def change(self, project_id: str, name: str, fn: Change, *, create: bool = True) -> tuple[Profile, bool]:
        """Stores what `fn` makes of a user, with no change of anybody else lost; whether the user was created.

        Raises `Refused`: not_found where there is no such user and none is to be created; what `fn` raises.
        """
        for _ in range(ATTEMPTS):
            now, (before,) = await self._read(project_id, [name])
            if not before and not create:
                raise no_user(name)
            known = profiles.decode(before) if before else profiles.new_profile(project_id, name, now)
            profile = fn(known, now)
            if before and profile == known:
                return known, False
            profile = replace(profile, updated_at=max(now, known.updated_at))
            args: dict[str, Value] = {
                "name": name,
                "before": before,
                "document": profiles.encode(profile),
                "created_us": profile.created_at,
            }
            reply = await self._engine.run("user_put", self._keys(project_id), args)
            if reply[0] == b"ok":
                return profile, not before
        raise unavailable(f"user {name[:64]!r}: {ATTEMPTS} changes came between; nothing was changed")

    async def get(self, project_id: str, name: str) -> Profile:
        """Raises `Refused` not_found."""
        (profile,) = await self.profiles(project_id, [name])
        if profile is None:
            raise no_user(name)
        return profile

    async def profiles(self, project_id: str, names: Sequence[str]) -> list[Profile | None]:
        """In the order of the names; None for users whom the directory does not know."""
        if not names:
            return []
        documents = await self._engine.call("HMGET", keys.profiles(project_id), *names)
        return [None if document is None else profiles.decode(document) for document in documents]

    async def ensure(
        self, project_id: str, recipients: Sequence[UserFields], asked: Asked | None = None
    ) -> list[Profile | None]:
        """The profiles in the order asked. Unknown users are created, as described, in one script; known ones stay as
        they are. For a run None, and nobody is created, where a user was erased since, or another hub has gone on.
        """
        described = {fields.external_id: fields for fields in reversed(recipients)}  # the first one counts
        if not described:
            return []
        now, documents = await self._read(project_id, list(described))
        rows: list[Value] = []
        for (name, fields), document in zip(described.items(), documents, strict=True):
            new = (
                ""
                if document
                else profiles.encode(profiles.described(profiles.new_profile(project_id, name, now), fields))
            )
            rows += (name, keys.log_of(project_id, name), new)
        run = asked or Asked("", 0, "")
        args: dict[str, Value] = {"created_us": now, "started_us": run.started, "position": run.position}
        names = self._keys(project_id) | {"erased": keys.erased(project_id), "run": keys.run(project_id, run.run)}
        reply = await self._engine.run("user_add", names, args, rows)
        found = dict(zip(described, reply[1:], strict=True))
        known = {name: profiles.decode(document) if document else None for name, document in found.items()}
        return [known[fields.external_id] for fields in recipients]

    async def page(self, project_id: str, window: Window) -> Listed[Profile]:
        """A page of the directory, newest first. One of large documents ends early."""
        page = await index_page(self._engine, keys.users(project_id), window)
        upwards = window.before is not None
        places = page.items[::-1] if upwards else page.items
        documents: list[bytes | None] = []
        while len(documents) < len(places) and sum(map(len, filter(None, documents))) < PAGE_BYTES:
            names = [name for _, name in places[len(documents) : len(documents) + READ]]
            documents += await self._engine.call("HMGET", keys.profiles(project_id), *names)
        # One who left in between is missing.
        shown = tuple(profiles.decode(document) for document in documents if document is not None)
        if len(documents) < len(places):
            edge = places[len(documents) - 1]
            page = replace(page, before=edge) if upwards else replace(page, after=edge)
        return Listed(shown[::-1] if upwards else shown, page.limit, page.after, page.before)

    async def erase(self, project_id: str, name: str) -> int:
        """Since when, µs, the user is erased: now. What runs were asked for before does not make or name them again."""
        names = {"queue": keys.runs(project_id), "erased": keys.erased(project_id)}
        reply = await self._engine.run("user_erase", names, {"of": keys.log_of(project_id, name)})
        return int(reply[1])

    async def delete(self, project_id: str, name: str) -> bool:
        """Takes a user out of the directory and of all topics, in one step; False where there was no such user."""
        topics_of = keys.topics_of(project_id, name)
        for _ in range(ATTEMPTS):
            names = [text(topic) for topic in await self._engine.call("ZRANGE", topics_of, 0, -1)]
            reply = await self._engine.run(
                "user_delete",
                self._keys(project_id) | {"topics_of": topics_of},
                {"user": name},
                names,
                [keys.topic(project_id, topic) for topic in names],
            )
            if reply[0] == b"ok":
                return bool(reply[1])
        raise unavailable(f"user {name[:64]!r}: {ATTEMPTS} changes came between; nothing was deleted")

    # ---- topics --------------------------------------------------------------------------------------

    async def subscribe(
        self, project_id: str, name: str, topic: str, once: Idempotency | None = None
    ) -> tuple[Subscription, Outcome]:
        """Subscribes a user. The topic is created with its first subscriber.

        Raises `Refused`: not_found for an unknown user, invalid_request for one who is in `TOPICS` topics.
        """
        (outcome,) = await self.subscribe_many(project_id, topic, [name], once)
        if outcome.subscription is not None:
            return outcome.subscription, outcome
        if outcome.why == _WHY[b"unknown"]:
            raise no_user(name)
        message = f"this user is in {TOPICS} topics, at most {TOPICS}"
        field = {"field": "topic_name", "message": message, "reason": "too_many"}
        raise Refused(Code.INVALID_REQUEST, message, fields=[field])

    async def unsubscribe(self, project_id: str, name: str, topic: str) -> None:
        """Ends a subscription. Raises `Refused` not_found for an unknown user, and where there is none."""
        (outcome,) = await self.unsubscribe_many(project_id, topic, [name])
        if outcome.why == _WHY[b"unknown"]:
            raise no_user(name)
        if outcome.subscription is None:
            raise _no_subscription(topic)

    async def subscribe_many(
        self, project_id: str, topic: str, names: Sequence[str], once: Idempotency | None = None
    ) -> list[Outcome]:
        """Subscribes users, each for themselves: in chunks, and again makes no difference. `once`: with one user."""
        idem, args = operands(once, keys.topics(project_id))
        keys_of = self._keys(project_id) | {
            "topics": keys.topics(project_id),
            "topic": keys.topic(project_id, topic),
        }
        return await self._many("topic_subscribe", keys_of | idem, args | {"most": TOPICS}, project_id, topic, names)

    async def unsubscribe_many(self, project_id: str, topic: str, names: Sequence[str]) -> list[Outcome]:
        """Ends subscriptions, each for itself: in chunks. The topic stays, also with its last subscriber gone."""
        keys_of = self._keys(project_id) | {"topic": keys.topic(project_id, topic)}
        return await self._many("topic_unsubscribe", keys_of, {}, project_id, topic, names)

    async def subscription(self, project_id: str, name: str, topic: str) -> Subscription:
        """Raises `Refused` not_found for an unknown user, and where there is none."""
        since = await self._engine.call("ZSCORE", keys.topic(project_id, topic), name)
        if since is None:
            await self._known(project_id, name)
            raise _no_subscription(topic)
        return Subscription(project_id, name, topic, int(since))

    async def subscriptions(self, project_id: str, name: str, window: Window) -> Listed[Subscription]:
        """A page of a user's subscriptions, newest first. Raises `Refused` not_found for an unknown user."""
        page = await index_page(self._engine, keys.topics_of(project_id, name), window)
        if not page.items:
            await self._known(project_id, name)
        items = tuple(Subscription(project_id, name, topic, since) for since, topic in page.items)
        return Listed(items, page.limit, page.after, page.before)

    async def topics(self, project_id: str, window: Window) -> Listed[Place]:
        """A page of the project's topics, as (µs of creation, name), newest first."""
        return await index_page(self._engine, keys.topics(project_id), window)

    async def topic(self, project_id: str, topic: str) -> Place:
        """(µs of creation, name). Raises `Refused` not_found."""
        created = await self._engine.call("ZSCORE", keys.topics(project_id), topic)
        if created is None:
            raise _no_topic(topic)
        return int(created), topic

    async def topic_subscriptions(self, project_id: str, topic: str, window: Window) -> Listed[Subscription]:
        """A page of a topic's subscriptions, newest first. Raises `Refused` not_found."""
        await self.topic(project_id, topic)
        page = await index_page(self._engine, keys.topic(project_id, topic), window)
        items = tuple(Subscription(project_id, name, topic, since) for since, name in page.items)
        return Listed(items, page.limit, page.after, page.before)

    async def subscribers(
        self, project_id: str, topic: str, after: Place | None, until_us: int, limit: int
    ) -> tuple[Place, ...]:
        """The next users of a topic, oldest subscription first, as (µs, user): those behind the place `after` who
        subscribed at `until_us` or before. The last of them is the place to go on from; none: that was all.
        """
        window = Window(limit, before=after or (0, ""), created_before=until_us + 1)
        page = await index_page(self._engine, keys.topic(project_id, topic), window)
        return page.items[::-1]

    async def delete_topic(self, project_id: str, topic: str) -> None:
        """Ends all subscriptions that a topic has now, in chunks, then forgets it unless there are newer ones.

        A death half way leaves a topic that can be deleted again. Raises `Refused` not_found.
        """
        newest = (await self.topic_subscriptions(project_id, topic, Window(1))).items
        until = newest[0].since if newest else 0
        while some := await self.subscribers(project_id, topic, None, until, CHUNK):
            await self.unsubscribe_many(project_id, topic, [name for _, name in some])
        topics = {"topics": keys.topics(project_id), "topic": keys.topic(project_id, topic)}
        await self._engine.run("topic_drop", topics, {"name": topic})

    # ---- how scripts are run -------------------------------------------------------------------------

    async def _read(self, project_id: str, names: Sequence[str]) -> tuple[int, list[bytes]]:
        """The store's time, and the documents."""
        _, now, *documents = await self._engine.run("user_read", {"profiles": keys.profiles(project_id)}, {}, names)
        return int(now), documents

    async def _many(
        self,
        script: str,
        keys_of: dict[str, str],
        args: dict[str, Value],
        project_id: str,
        topic: str,
        names: Sequence[str],
    ) -> list[Outcome]:
        outcomes = []
        for first in range(0, len(names), CHUNK):
            chunk = names[first : first + CHUNK]
            of = [keys.topics_of(project_id, name) for name in chunk]
            head, *flat = await self._engine.run(script, keys_of, args | {"name": topic}, chunk, of)
            for name, word, since in zip(chunk, flat[::2], flat[1::2], strict=True):
                subscription = Subscription(project_id, name, topic, int(since)) if word not in _WHY else None
                outcomes.append(Outcome(name, subscription, _WHY.get(word, ""), word == b"new", head == b"replayed"))
        return outcomes

    async def _known(self, project_id: str, name: str) -> None:
        if await self._engine.call("ZSCORE", keys.users(project_id), name) is None:
            raise no_user(name)

    @staticmethod
    def _keys(project_id: str) -> dict[str, str]:
        return {"users": keys.users(project_id), "profiles": keys.profiles(project_id)}


_WHY = {
    b"unknown": "User not found",
    b"full": f"User is in {TOPICS} topics, at most {TOPICS}",
    b"none": "User is not subscribed",
}
"""Why there is no subscription, by the word of the script."""


async def erase(users: Users, store: Store, logs: Logs, project: Project, name: str) -> None:
    """Removes everything about a user: tokens are refused and sessions close, feeds and what is logged of them vanish,
    then the directory forgets them. In this order, so that a death half way leaves somebody who can be erased again.
    Runs that were asked for before pass them over from the beginning on.

    Raises `Refused` not_found for a user of whom there is nothing.
    """
    user = User(project.id, name)
    (profile,) = await users.profiles(project.id, [name])
    if profile is None and not await store.has_feeds(user) and not await logs.has(project.id, name):
        raise no_user(name)
    erased = await users.erase(project.id, name)
    await store.revoke(user)
    await store.forget_answers(user)
    for channel in project.feed_channels:
        await store.forget(user.feed(channel.handle), erased)
    await logs.forget(project.id, name)
    await users.delete(project.id, name)


def no_user(name: str) -> Refused:
    shown = name[:64]
    return Refused(Code.NOT_FOUND, f"no such user: {shown!r}", resource="user", id=shown)


def _no_topic(topic: str) -> Refused:
    shown = topic[:64]
    return Refused(Code.NOT_FOUND, f"no such topic: {shown!r}", resource="topic", id=shown)


def _no_subscription(topic: str) -> Refused:
    shown = topic[:64]
    message = f"this user is not subscribed to {shown!r}"
    return Refused(Code.NOT_FOUND, message, resource="subscription", id=shown)
