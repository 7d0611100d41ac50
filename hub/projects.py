"""Projects in the store, and the snapshot of them that every door asks.

All projects live in one hash, each as one JSON document. A change and its announcement are one transaction: a
process that dies in between cannot leave the others with what was before. An announcement can still be lost
on its way, so whoever listens loads again after every reconnect.
"""

import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TypeVar

from redis import exceptions
from redis.asyncio import Redis

from hub.auth import check_origin, secret_digest, secret_key, secret_record
from hub.errors import Code, Refused, unavailable
from hub.keys import CONTROL, PROJECTS, SCHEMA
from hub.model import (
    CHANNEL_TYPES,
    HANDLE,
    JSON,
    PROJECT,
    UUID,
    Channel,
    Notiflow,
    Project,
    SecretKey,
    SigningKey,
    Template,
    timestamp,
)

log = logging.getLogger("bellhub.projects")

SCHEMA_VERSION = 1
"""The layout of all keys; raised when an older hub would misread them."""
ATTEMPTS = 50
"""Times a change starts over because another one came between; one of the rivals wins each round."""
SETTLE_S = 0.3
"""In which every hub has heard of a change, and has done what it was doing."""
NAME_MAX = 128
"""Characters in a project's name."""
_Key = TypeVar("_Key", SigningKey, SecretKey)
DEFAULT = "default"
DEV_API_KEY = "pk_dev"
DEV_SECRET = "sk_dev"
# ResponseError: full memory, a replica, a disk that takes no more. An outage to the caller; the cause is chained.
_NO_ANSWER = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ResponseError)
_DEV_IDS = uuid.UUID("2f1d7c0e-6a53-4a0b-9d57-0c1e5b8f4e21")


class NewerSchema(RuntimeError):
    """The store was written by a newer hub, whose layout this one does not know."""

    def __init__(self, found: int) -> None:
        super().__init__(
            f"the store has schema {found}, this hub knows {SCHEMA_VERSION}: start a newer hub or another store"
        )


# ---- documents ---------------------------------------------------------------------------------------


def encode(project: Project) -> str:
    """The document of a project. Secrets are in it as digests only."""
    return json.dumps(
        {
            "id": project.id,
            "name": project.name,
            "api_key": project.api_key,
            "channels": [asdict(channel) for channel in project.channels],
            "signing_keys": [asdict(key) for key in project.signing_keys],
            "secret_keys": [asdict(key) for key in project.secret_keys],
            "origins": project.origins,
            "notiflows": [asdict(notiflow) for notiflow in project.notiflows],
        },
        separators=(",", ":"),
    )


def decode(text: str | bytes) -> Project:
    """The project of a document that `encode` made; raises KeyError, TypeError or ValueError for another."""
    document = json.loads(text)
    return Project(
        id=document["id"],
        name=document["name"],
        api_key=document["api_key"],
        channels=tuple(Channel(**channel) for channel in document["channels"]),
        signing_keys=tuple(SigningKey(**key) for key in document["signing_keys"]),
        secret_keys=tuple(SecretKey(**key) for key in document["secret_keys"]),
        origins=tuple(document["origins"]),
        notiflows=tuple(_notiflow(notiflow) for notiflow in document.get("notiflows", ())),  # older documents have none
    )


def _notiflow(document: JSON) -> Notiflow:
    return Notiflow(**document | {"template": Template(**document["template"])})


# ---- changes, to be used with Projects.change --------------------------------------------------------


def add_channel(project: Project, handle: str, kind: str, provider: str | None) -> Project:
    """With one more channel, the newest, under a fresh id. `kind` is the channel's type."""
    if not HANDLE.fullmatch(handle) or UUID.fullmatch(handle):
        raise _invalid("handle", f"{handle[:64]!r} does not match {HANDLE.pattern} or is shaped like an id")
    if handle in project.by_name:
        raise _conflict("channel", handle)
    if kind not in CHANNEL_TYPES:
        raise _invalid("type", f"{kind[:64]!r} is not one of {', '.join(CHANNEL_TYPES)}")
    if provider is not None and not HANDLE.fullmatch(provider):
        raise _invalid("provider", f"{provider[:64]!r} does not match {HANDLE.pattern}")
    channel = Channel(str(uuid.uuid4()), handle, kind, provider)
    return replace(project, channels=(*project.channels, channel))


def add_signing_key(project: Project, key: SigningKey) -> Project:
    """With one more key that may sign for the project's users. A key id is never used again."""
    if any(key.kid == known.kid for known in project.signing_keys):
        raise _conflict("signing_key", key.kid)
    return replace(project, signing_keys=(*project.signing_keys, key))


def add_secret_key(project: Project, key: SecretKey) -> Project:
    """With one more key of a producer."""
    if any(key.id == known.id for known in project.secret_keys):
        raise _conflict("secret_key", key.id)
    return replace(project, secret_keys=(*project.secret_keys, key))


def retire_key(project: Project, kid_or_id: str, now: float) -> Project:
    """With that signing or secret key refused from `now` (seconds since 1970) on. Retired already: unchanged."""
    at = timestamp(int(now * 1_000_000))
    known = {key.kid for key in project.signing_keys} | {key.id for key in project.secret_keys}
    if kid_or_id not in known:
        raise _not_found("key", kid_or_id)
    signing = tuple(_retired(key, at) if key.kid == kid_or_id else key for key in project.signing_keys)
    secret = tuple(_retired(key, at) if key.id == kid_or_id else key for key in project.secret_keys)
    return replace(project, signing_keys=signing, secret_keys=secret)


def add_origin(project: Project, text: str) -> Project:
    """With browsers of that origin let in. There already: unchanged."""
    origin = check_origin(text)
    return project if origin in project.origins else replace(project, origins=(*project.origins, origin))


def remove_origin(project: Project, text: str) -> Project:
    """With browsers of that origin turned away."""
    origin = check_origin(text)
    if origin not in project.origins:
        raise _not_found("origin", origin)
    return replace(project, origins=tuple(known for known in project.origins if known != origin))


def _retired(key: _Key, at: str) -> _Key:
    return key if key.retired_at is not None else replace(key, retired_at=at)


def _invalid(field: str, message: str) -> Refused:
    fields = [{"field": field, "message": message, "reason": "invalid"}]
    return Refused(Code.INVALID_REQUEST, f"{field}: {message}", fields=fields)


def _conflict(resource: str, name: str) -> Refused:
    return Refused(Code.CONFLICT, f"{resource} {name!r} exists already", reason="exists", resource=resource, id=name)


def _not_found(resource: str, name: str) -> Refused:
    return Refused(Code.NOT_FOUND, f"no {resource} {name[:64]!r}", resource=resource, id=name[:64])


# ---- the store ---------------------------------------------------------------------------------------


def _readable(document: str | bytes) -> Project | None:
    """One spoilt document must not end every hub; its project is missing until it is mended."""
    try:
        return decode(document)
    except (ValueError, KeyError, TypeError, AttributeError):
        log.exception("projects.unreadable")
        return None


class Projects:
    """The projects of one store, over a client that never sends a command twice.

    Every method raises Refused `unavailable` when the store cannot answer; a change may have happened then.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._known: dict[str | bytes, Project | None] = {}
        """What the last `load` made of each document: most of them have not changed since."""

    async def load(self) -> dict[str, Project]:
        """All projects by id, in the order of their ids."""
        with _answering():
            documents = await self._client.hvals(PROJECTS)
        known = self._known
        self._known = {text: known[text] if text in known else _readable(text) for text in documents}
        found = [project for project in self._known.values() if project is not None]
        return {project.id: project for project in sorted(found, key=lambda project: project.id)}

    async def create(self, project_id: str, name: str) -> Project:
        """A new project with a fresh api key and the in-app channel `inbox`; conflict if the id is taken."""
        project = _new_project(project_id, name)
        if not await self._announced("HSETNX", project_id, encode(project)):
            raise _conflict("project", project_id)
        return project

    async def change(self, project_id: str, fn: Callable[[Project], Project]) -> Project:
        """Stores what `fn` makes of the project, with no change of anybody else lost.

        `fn` must be pure: it runs again when another change came between. What it raises leaves the project
        as it was; when it changes nothing, nothing is written or announced.
        """
        for _ in range(ATTEMPTS):
            try:
                return await self._change_once(project_id, fn)
            except exceptions.WatchError:
                continue
        raise unavailable(f"project {project_id!r}: {ATTEMPTS} changes came between; nothing was changed")

    async def delete(self, project_id: str) -> None:
        """Removes the project and everything of its users: a later project of that id starts empty."""
        if not await self._announced("HDEL", project_id):
            raise _not_found("project", project_id)
        # What hubs were in the middle of may still arrive while this looks: it looks until there is nothing any more.
        while await self._removed_keys(project_id):  # noqa: ASYNC110  (nobody tells when they are done)
            await asyncio.sleep(SETTLE_S)

    async def _removed_keys(self, project_id: str) -> int:
        """Removes the keys of a project that is gone: how many there were; none where there is one of that id again."""
        removed = 0
        with _answering():
            if await self._client.hexists(PROJECTS, project_id):
                return 0
            for match in (f"{{{project_id}}}:*", f"{{{project_id}/*"):
                async for key in self._client.scan_iter(match=match, count=1000):
                    removed += await self._client.unlink(key)
        return removed

    async def ensure_default(self) -> Project:
        """The project `default`, created if the store holds no project at all; else the first there is.

        Safe when several processes start at once: all return the same project.
        """
        projects = await self.load()
        if not projects:
            await self._announced("HSETNX", DEFAULT, encode(_new_project(DEFAULT, "Default")))
            projects = await self.load()
        return projects.get(DEFAULT) or next(iter(projects.values()))

    async def _change_once(self, project_id: str, fn: Callable[[Project], Project]) -> Project:
        with _answering():
            async with self._client.pipeline(transaction=True) as pipe:
                await pipe.watch(PROJECTS)
                document = await pipe.hget(PROJECTS, project_id)
                if document is None:
                    raise _not_found("project", project_id)
                before = decode(document)
                after = fn(before)
                if after != before:
                    pipe.multi()  # type: ignore[no-untyped-call]
                    pipe.execute_command("HSET", PROJECTS, project_id, encode(after))
                    pipe.execute_command("SPUBLISH", CONTROL, project_id)
                    await pipe.execute()
                return after

    async def _announced(self, command: str, project_id: str, *args: str) -> bool:
        """Whether one command on the hash of projects changed it. Announced even if not: that only costs a look."""
        with _answering():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.execute_command(command, PROJECTS, project_id, *args)
                pipe.execute_command("SPUBLISH", CONTROL, project_id)
                changed, _ = await pipe.execute()
        return bool(changed)


async def check_schema(client: Redis) -> None:
    """Writes the schema number into a fresh store. Raises NewerSchema if a newer hub wrote this one."""
    with _answering():
        await client.set(SCHEMA, SCHEMA_VERSION, nx=True)
        found = int(await client.get(SCHEMA) or SCHEMA_VERSION)
    if found > SCHEMA_VERSION:
        raise NewerSchema(found)


@contextmanager
def _answering() -> Iterator[None]:
    """Turns a store that does not answer, or takes no writes now, into Refused `unavailable`."""
    try:
        yield
    except _NO_ANSWER as error:
        raise unavailable(f"the store does not answer ({type(error).__name__})") from error


def _new_project(project_id: str, name: str) -> Project:
    if not PROJECT.fullmatch(project_id):
        raise _invalid("id", f"{project_id[:64]!r} does not match {PROJECT.pattern}")
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise _invalid("name", f"{name[:64]!r}: {len(name)} characters, 1 to {NAME_MAX} printable ones are needed")
    project = Project(project_id, name, f"pk_{secrets.token_urlsafe(24)}", ())
    return add_channel(project, "inbox", "in_app", None)


# ---- the snapshot ------------------------------------------------------------------------------------


def development_project(signing_key: SigningKey | None) -> Project:
    """The project of development mode. Its keys are in every copy of this program: they must not be stored."""
    channels = (
        Channel(_dev_id("inbox"), "inbox"),
        Channel(_dev_id("push"), "push", "mobile_push", "fcm"),
    )
    return Project(
        id=DEFAULT,
        name="Development",
        api_key=DEV_API_KEY,
        channels=channels,
        signing_keys=() if signing_key is None else (signing_key,),
        secret_keys=(secret_record(_dev_id(DEV_SECRET), DEV_SECRET, "owner"),),
        notiflows=(WELCOME,),
    )


def _dev_id(name: str) -> str:
    return str(uuid.uuid5(_DEV_IDS, f"{DEFAULT}/{name}"))


WELCOME = Notiflow(
    id=_dev_id("welcome"),
    handle="welcome",
    name="Welcome",
    template=Template(
        "Welcome{% if recipient.first_name %}, {{ recipient.first_name }}{% endif %}!",
        "{{ actor.first_name | default: 'Somebody' }} says hello.",
        "{{ data.url }}",
    ),
    created_at=timestamp(0),
    updated_at=timestamp(0),
)
"""The notiflow of development mode."""


class Directory:
    """All projects in memory, as every door of this process sees them.

    `development` is laid over the stored project of the same id, and only here: what is stored stays valid, its
    keys come on top, and channels that are missing are added.
    """

    def __init__(self, development: Project | None = None) -> None:
        self._development = development
        self._by_id: dict[str, Project] = {}
        self.replace(())

    def replace(self, projects: Iterable[Project]) -> set[str]:
        """Takes over what the store holds now; everything before is forgotten at once.

        The ids of projects that are gone. One made since under the same id is another project: its api key tells.
        """
        before = self._by_id
        by_id = {project.id: project for project in projects}
        by_api_key = {project.api_key: project.id for project in by_id.values()}
        if self._development is not None:
            overlay = self._development
            by_id[overlay.id] = _laid_over(by_id[overlay.id], overlay) if overlay.id in by_id else overlay
            by_api_key[overlay.api_key] = overlay.id
        self._by_id = by_id
        self._by_api_key = {api_key: by_id[project_id] for api_key, project_id in by_api_key.items()}
        self._origins = {origin for project in by_id.values() for origin in project.origins}
        self._by_digest = {key.digest: project for project in by_id.values() for key in project.secret_keys}
        return {id_ for id_, project in before.items() if id_ not in by_id or by_id[id_].api_key != project.api_key}

    def projects(self) -> list[Project]:
        return list(self._by_id.values())

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all projects."""
        return tuple(self._by_id)

    def project(self, project_id: str) -> Project | None:
        return self._by_id.get(project_id)

    def with_signing_key(self, kid: str) -> list[Project]:
        """Projects that have a signing key of this id, retired or not."""
        return [project for project in self._by_id.values() if any(key.kid == kid for key in project.signing_keys)]

    def has_origin(self, origin: str) -> bool:
        """Whether any project lists this origin, as a browser sends it."""
        try:
            return check_origin(origin) in self._origins
        except Refused:
            return False

    def by_api_key(self, api_key: str) -> Project | None:
        """The project with this public key."""
        return self._by_api_key.get(api_key)

    def by_secret(self, secret: str) -> tuple[Project, SecretKey] | None:
        """The project and the live key that this `sk_` key is."""
        # The look-up is by a digest that nobody can choose bit by bit; what it finds is compared in constant time.
        project = self._by_digest.get(secret_digest(secret))
        key = None if project is None else secret_key(project, secret)
        return None if project is None or key is None else (project, key)


def _laid_over(stored: Project, overlay: Project) -> Project:
    """Stored things come first, so that the oldest in-app channel stays the default of sends."""
    kids = {key.kid for key in stored.signing_keys}
    return replace(
        stored,
        notiflows=stored.notiflows + tuple(n for n in overlay.notiflows if stored.notiflow(n.handle) is None),
        channels=stored.channels + tuple(c for c in overlay.channels if c.handle not in stored.by_name),
        signing_keys=stored.signing_keys + tuple(key for key in overlay.signing_keys if key.kid not in kids),
        secret_keys=stored.secret_keys + overlay.secret_keys,
    )
